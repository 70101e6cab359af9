//! A member in a process of its own, and its end.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use offtake_tests::{Kafka, Running};
use serde_json::Value;

use super::history::{End, ProcessHistory};
use super::{BACKOFF, IN_HAND, Protocol, REBALANCE, SESSION};
use crate::flow::{self, PATIENCE, printed};

#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: usize,
    running: Running,
    /// How many lines of stderr were read.
    seen: usize,
    held: BTreeSet<i32>,
    /// When it was stopped and resumed.
    stops: Vec<(i64, Option<i64>)>,
}

impl Member {
    pub(super) fn start(name: usize, protocol: Protocol, kafka: &Kafka, topic: &str, group: &str) -> Self {
        let mut properties = vec![
            ("auto.commit.interval.ms", 1000),
            ("max.poll.interval.ms", REBALANCE.as_millis()),
            ("max.poll.records", IN_HAND as u128),
            ("request.timeout.ms", 5000),
            ("retry.backoff.max.ms", BACKOFF.as_millis()),
            ("reconnect.backoff.max.ms", BACKOFF.as_millis()),
        ];
        let consume = flow::consume(kafka, topic).args(["--group", group]);
        let consume = match protocol {
            Protocol::Eager => consume.args(["--assignor", "range"]),
            Protocol::Cooperative => consume.args(["--assignor", "cooperative-sticky"]),
            Protocol::Consumer => consume.args(["--protocol", "consumer"]),
        };
        if protocol != Protocol::Consumer {
            properties.extend([("session.timeout.ms", SESSION.as_millis()), ("heartbeat.interval.ms", 1000)]);
        }
        let args = properties.iter().flat_map(|(name, value)| ["-X".to_owned(), format!("{name}={value}")]);
        Self { name, running: consume.args(args).start(), seen: 0, held: BTreeSet::new(), stops: Vec::new() }
    }

    /// The partitions that it holds, by its own account.
    pub(super) fn held(&mut self) -> &BTreeSet<i32> {
        let (seen, held) = (&mut self.seen, &mut self.held);
        self.running.stderr().wait_until(Duration::ZERO, |lines| {
            for line in lines.get(*seen..).unwrap_or_default() {
                if let Ok(event) = serde_json::from_str::<Value>(line)
                    && event["owned"].is_array()
                {
                    *held = flow::partitions(&event["owned"]);
                }
            }
            *seen = lines.len();
            true
        });
        &self.held
    }

    pub(super) fn lines(&self) -> usize {
        self.running.stdout().len()
    }

    pub(super) fn last_words(&self) -> Vec<String> {
        let mut all = self.running.stderr().all();
        all.split_off(all.len().saturating_sub(20))
    }

    pub(super) fn has_ended(&mut self) -> bool {
        !self.running.is_running()
    }

    pub(super) fn is_asleep(&self) -> bool {
        self.stops.last().is_some_and(|(_, woken)| woken.is_none())
    }

    pub(super) fn sleep(&mut self) {
        self.running.signal("STOP");
        self.stops.push((flow::now(), None));
    }

    pub(super) fn wake(&mut self) {
        if let Some((_, woken @ None)) = self.stops.last_mut() {
            *woken = Some(flow::now());
            self.running.signal("CONT");
        }
    }

    pub(super) fn kill(mut self) -> ProcessHistory {
        let held = self.held().clone();
        self.running.signal("KILL");
        self.collect(End::Killed { at: flow::now(), held })
    }

    /// Asks it to leave; [`leave`](Self::leave) has to follow, once.
    pub(super) fn ask_to_leave(&self) {
        self.running.signal("TERM");
    }

    /// Waits until it has left.
    pub(super) fn leave(self) -> ProcessHistory {
        self.collect(End::Left)
    }

    /// It has ended by itself, with an error about records that cannot be read.
    pub(super) fn give_up(self) -> ProcessHistory {
        self.collect(End::Refused)
    }

    /// `meant` is the planned end; a corrupted batch may have ended it before.
    fn collect(self, meant: End) -> ProcessHistory {
        let stops: Vec<(i64, i64)> =
            self.stops.iter().filter_map(|(from, to)| Some((*from, (*to)?))).collect();
        let name = self.name;
        let (stdout, stderr) = (self.running.stdout().clone(), self.running.stderr().clone());
        let finished = self.running.finish(PATIENCE);
        let has_said = |why| finished.code == Some(1) && finished.last_line().contains(why);
        let has_refused = has_said("the partition stops there");
        // Its session ended before its last commit: those records are delivered again.
        let was_late = has_said("the group went on without this member");
        let end = if has_refused { End::Refused } else { meant };
        let code = match end {
            End::Left => Some(i32::from(was_late)),
            End::Refused => Some(1),
            End::Killed { .. } => None,
        };
        assert_eq!(finished.code, code, "member {name}: {:#?}", finished.stderr);
        assert_eq!(end == End::Refused, has_refused, "member {name}: {:#?}", finished.stderr);
        let mut records = printed(&finished.stdout, code.is_none()).into_iter();
        let came = stdout.came().into_iter().map(millis);
        let records = came.map_while(|came| Some((records.next()?, came))).collect();
        let events: Vec<Value> =
            finished.stderr.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let said = stderr.all().into_iter().zip(stderr.came().into_iter().map(millis));
        let lateness = |(line, came): (String, i64)| {
            let at =
                flow::at(&serde_json::from_str::<Value>(&line).ok().filter(|event| event["at"].is_i64())?);
            let asleep = stops.iter().any(|(from, to)| at <= *to && came >= *from);
            (!asleep).then_some(came - at)
        };
        let late = said.filter_map(lateness).max().unwrap_or(0);
        ProcessHistory { name, records, events, stops, late, end }
    }
}

fn millis(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).expect("it is later than 1970");
    i64::try_from(since.as_millis()).expect("it is not that late")
}
