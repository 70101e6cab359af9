//! The brokers, the growing topic, the members that read it, and the record of their output.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use offtake_tests::{Dice, Kafka, Lease, three_brokers_behind_proxies, unique};
use serde_json::Value;

use super::history::{Commit, End, History, ProcessHistory};
use super::members::Member;
use super::{MEMBERS, PARTITIONS, Protocol, SETTLED};
use crate::flow::{self, PATIENCE, Production, wait_in_sync};

/// About four hundred records per second over all partitions.
const PACE: Duration = Duration::from_millis(140);
pub(super) struct World {
    pub(super) at: Lease,
    pub(super) protocol: Protocol,
    pub(super) topic: String,
    group: String,
    production: Production,
    pub(super) members: Vec<Member>,
    lives: Vec<ProcessHistory>,
    names: usize,
    faults: Vec<(i64, String)>,
    settled: Vec<i64>,
    done: BTreeMap<String, u64>,
    /// The proxies' counts from before.
    before: BTreeMap<String, u64>,
}

impl World {
    pub(super) fn begin(protocol: Protocol, seed: u64) -> Self {
        let at = three_brokers_behind_proxies();
        let mut dice = Dice::new(seed);
        at.kafka
            .brokers()
            .iter()
            .for_each(|each| at.kafka.proxy(each.id()).seed(dice.roll(u64::from(u32::MAX))));
        let topic = at.tool.create_topic(&unique("chaos"), PARTITIONS, &[]);
        let group = unique("chaos");
        let production = Production::paced(&at.tool, &topic, PARTITIONS, PACE);
        let before = proxied(&at.kafka);
        let mut world = Self {
            at,
            protocol,
            topic,
            group,
            production,
            members: Vec::new(),
            lives: Vec::new(),
            names: 0,
            faults: Vec::new(),
            settled: Vec::new(),
            done: BTreeMap::new(),
            before,
        };
        (0..MEMBERS).for_each(|_| world.join());
        world.settle();
        world
    }

    /// The faults so far, with their counts.
    pub(super) fn done(&self) -> BTreeMap<String, u64> {
        let mut done = self.done.clone();
        for (what, times) in proxied(&self.at.kafka) {
            let new = times - self.before.get(&what).copied().unwrap_or(0);
            if new > 0 {
                done.insert(format!("proxy: {what}"), new);
            }
        }
        done
    }

    pub(super) fn note(&mut self, what: &str, of: &str) {
        *self.done.entry(what.to_owned()).or_default() += 1;
        eprintln!("{} {what} {of}", flow::now());
        self.faults.push((flow::now(), format!("{what} {of}")));
    }

    pub(super) fn taken(&self) -> usize {
        self.production.taken()
    }

    pub(super) fn coordinator(&self) -> i32 {
        let id = self.at.tool.describe_group(&self.group)["coordinator"].as_i64().expect("a coordinator");
        i32::try_from(id).expect("a node id")
    }

    pub(super) fn join(&mut self) {
        self.names += 1;
        self.members.push(Member::start(self.names, self.protocol, &self.at.kafka, &self.topic, &self.group));
    }

    pub(super) fn collect(&mut self, at: usize, how: impl FnOnce(Member) -> ProcessHistory) {
        let member = self.members.remove(at);
        self.lives.push(how(member));
        let refused = self.lives.iter().filter(|life| life.end == End::Refused).count();
        let corrupted = self.done().get("proxy: corrupt Fetch").copied().unwrap_or(0);
        assert!(
            refused as u64 <= corrupted,
            "{refused} members met a corrupt batch, and {corrupted} were made"
        );
    }

    /// Collects the members that have ended by themselves, such as one that was handed a corrupted batch. Returns whether
    /// there were any.
    pub(super) fn collect_refused(&mut self) -> bool {
        let before = self.lives.len();
        while let Some(at) = self.members.iter_mut().position(Member::has_ended) {
            self.collect(at, Member::give_up);
        }
        self.lives.len() > before
    }

    /// Waits until the running members own all partitions, each once, and read.
    pub(super) fn settle(&mut self) {
        let mut began = Instant::now();
        loop {
            if self.collect_refused() {
                self.join();
                began = Instant::now();
            }
            let mut union = BTreeSet::new();
            let mut total = 0;
            let mut idle = false;
            for member in self.members.iter_mut().filter(|member| !member.is_asleep()) {
                let held = member.held();
                idle |= held.is_empty();
                total += held.len();
                union.extend(held.iter().copied());
            }
            if !idle && total == union.len() && union == (0..PARTITIONS).collect() {
                break;
            }
            self.patience(began, "everything is owned once");
        }
        self.settled.push(i64::try_from(began.elapsed().as_millis()).expect("some seconds"));
        let lines = |world: &Self| world.members.iter().map(Member::lines).sum::<usize>();
        let before = lines(self);
        while lines(self) < before + 50 {
            self.patience(began, "they read on");
        }
    }

    fn patience(&mut self, began: Instant, what: &str) {
        std::thread::sleep(Duration::from_millis(20));
        if began.elapsed() > SETTLED {
            let members: Vec<_> = self
                .members
                .iter_mut()
                .map(|each| (each.name, each.is_asleep(), each.held().clone(), each.last_words()))
                .collect();
            panic!(
                "LIVE1: {SETTLED:?} after the last fault it is not so that {what}: {members:#?}; {:#?}",
                self.faults
            );
        }
    }

    /// Waits until every replica follows again.
    pub(super) fn wait_in_sync(&self) {
        wait_in_sync(&self.at.tool, &self.topic);
        wait_in_sync(&self.at.tool, "__consumer_offsets");
    }

    /// Ends the run: production stops, everything is read, all leave.
    pub(super) fn end(mut self) -> History {
        let log = self.production.stop();
        let deadline = Instant::now() + PATIENCE;
        let ends: BTreeMap<i32, i64> =
            log.keys().map(|(partition, offset)| (*partition, offset + 1)).collect();
        while flow::committed(&self.at.tool, &self.group, &self.topic) != ends {
            if Instant::now() > deadline {
                break; // the check will report the missing records
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        self.members.iter().for_each(Member::ask_to_leave);
        self.lives.extend(self.members.drain(..).map(Member::leave));
        let commits = commits(&self.at, &self.group, &self.topic);
        History { protocol: self.protocol, log, lives: self.lives, commits, settled: self.settled }
    }
}

/// The group's commits in the topic, in the order of the coordinators' log.
fn commits(at: &Lease, group: &str, topic: &str) -> Vec<Commit> {
    let rows = at.tool.read(&["__consumer_offsets"], "read_uncommitted");
    let commit = |row: &Value| {
        let (key, value) = (bytes(row, "key")?, bytes(row, "value")?);
        let (mut key, mut value) = (key.as_slice(), value.as_slice());
        // Keys of versions 0 and 1 are commits, others are group metadata.
        let ours = number(&mut key, 2)? < 2 && text(&mut key)? == group && text(&mut key)? == topic;
        let partition = i32::try_from(number(&mut key, 4)?).ok().filter(|_| ours)?;
        number(&mut value, 2)?; // the version; an offset always comes next
        Some(Commit { at: row["timestamp"].as_i64()?, partition, offset: number(&mut value, 8)? })
    };
    rows.iter().filter_map(commit).collect()
}

/// The bytes of a field, which is text where possible.
fn bytes(row: &Value, field: &str) -> Option<Vec<u8>> {
    match row[format!("{field}_base64")].as_str() {
        Some(text) => STANDARD.decode(text).ok(),
        None => Some(row[field].as_str()?.as_bytes().to_vec()),
    }
}

fn number(rest: &mut &[u8], size: usize) -> Option<i64> {
    let (head, tail) = rest.split_at_checked(size)?;
    *rest = tail;
    Some(head.iter().fold(0, |number, byte| number << 8 | i64::from(*byte)))
}

fn text(rest: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(number(rest, 2)?).ok()?;
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    String::from_utf8(head.to_vec()).ok()
}

fn proxied(kafka: &Kafka) -> BTreeMap<String, u64> {
    let mut all: BTreeMap<String, u64> = BTreeMap::new();
    for (what, times) in kafka.brokers().iter().flat_map(|broker| kafka.proxy(broker.id()).done()) {
        *all.entry(what).or_default() += times;
    }
    all
}
