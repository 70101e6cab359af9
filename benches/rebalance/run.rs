//! One run: two members, a third that joins, and leaves again.

use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use offtake_tests::{JavaTool, Kafka, unique};

use crate::clock::{Micros, SECOND, micros};
use crate::frames::{Frame, Frames};
use crate::load::Load;
use crate::measure::{Outcome, QUIET, flows, lost_and_repeated, outcome, pipe, settled};
use crate::settings::Settings;
use crate::system::{Place, Protocol, System};
use crate::watch::{Deliveries, Delivery, Member};

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Scene<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) kafka: &'a Kafka,
    pub(crate) tool: &'a JavaTool,
    pub(crate) frames: Option<&'a Frames>,
}

pub(crate) struct Run {
    pub(crate) join: Outcome,
    pub(crate) leave: Outcome,
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    pub(crate) pipe: Option<[Micros; 3]>,
    /// The longest silence of the broker towards the load, around the join and the leave.
    pub(crate) silence: [Micros; 2],
    /// From the start of the third member's process until it began to join.
    pub(crate) boot: Micros,
    /// What was asked around the join and the leave, if that is watched.
    pub(crate) asked: [Vec<Frame>; 2],
}

/// The members of a group on a topic of their own.
struct Group<'a> {
    scene: &'a Scene<'a>,
    system: System,
    protocol: Protocol,
    topic: String,
    deliveries: Deliveries,
}

impl Group<'_> {
    fn member(&self, number: usize) -> Result<Member, String> {
        let place = Place {
            bootstrap: &self.scene.kafka.bootstrap(),
            group: &self.topic,
            topic: &self.topic,
            client: &format!("member-{number}"),
            protocol: self.protocol,
        };
        Member::start(self.system, number, self.scene.settings, &place, &self.deliveries)
    }

    /// When it came to rest with that many members.
    fn rest(&self, members: usize, since: Micros) -> Result<Micros, String> {
        let partitions = self.scene.settings.partitions;
        let rested = |all: &[Delivery]| {
            let now = micros();
            now - since > QUIET && settled(all, now, partitions, members)
        };
        if self.deliveries.wait(PATIENCE, rested) {
            return Ok(micros());
        }
        let (system, protocol, topic) = (self.system, self.protocol, &self.topic);
        let asked = self.scene.frames.map(|frames| frames.between(since, micros())).unwrap_or_default();
        write_down(self.scene.settings, self, &[("waiting", since)], &[asked])?;
        Err(format!("{system} {protocol}: the group {topic} does not come to rest with {members} members"))
    }
}

/// `phase` shifts the join against the heartbeats of the others.
pub(crate) fn run(
    scene: &Scene<'_>,
    system: System,
    protocol: Protocol,
    phase: Duration,
) -> Result<Run, String> {
    let Settings { partitions, rate, .. } = *scene.settings;
    let topic = scene.tool.create_topic(&unique(&format!("{system}-{protocol}")), partitions, &[]);
    let group = Group { scene, system, protocol, topic, deliveries: Deliveries::default() };
    let load = Load::start(scene.kafka.broker(1).port(), &group.topic, partitions, rate);

    let begun = micros();
    let stable = [group.member(0)?, group.member(1)?];
    group.rest(2, begun)?;
    sleep(phase);

    let mut third = group.member(2)?;
    let joined = third.started().ok_or("the third member does not start")?;
    let boot = joined - third.spawned;
    let whole = group.rest(3, joined)?;
    sleep(phase);
    let left = third.leave();
    let apart = group.rest(2, left)?;
    let sent = load.stop()?;
    group
        .deliveries
        .wait(Duration::from_secs(3), |all| lost_and_repeated(&flows(all), &sent, partitions).0 == 0);
    drop(stable);

    let flows = flows(&group.deliveries.all());
    let (lost, repeated) = lost_and_repeated(&flows, &sent, partitions);
    let asked = |from, to| scene.frames.map(|frames| frames.between(from, to)).unwrap_or_default();
    let asked = [asked(joined, whole), asked(left, apart)];
    write_down(scene.settings, &group, &[("join", joined), ("leave", left)], &asked)?;
    Ok(Run {
        join: outcome(&flows, &sent, joined, whole),
        leave: outcome(&flows, &sent, left, apart),
        lost,
        repeated,
        pipe: pipe(&flows),
        silence: [sent.longest_silence(joined, whole), sent.longest_silence(left, apart)],
        boot,
        asked,
    })
}

/// Deliveries and frames in the folder for logs, with times in seconds of the day (UTC), as logs have them.
fn write_down(
    settings: &Settings,
    group: &Group<'_>,
    marks: &[(&str, Micros)],
    asked: &[Vec<Frame>],
) -> Result<(), String> {
    let Some(folder) = &settings.logs else { return Ok(()) };
    let clock = |at: Micros| {
        let day = at.rem_euclid(24 * 3600 * SECOND);
        let seconds = day / SECOND;
        format!("{:02}:{:02}:{:02}.{:06}", seconds / 3600, seconds / 60 % 60, seconds % 60, day % SECOND)
    };
    let mut lines: Vec<(Micros, String)> =
        marks.iter().map(|(name, at)| (*at, format!("== {name}"))).collect();
    let deliveries = group.deliveries.all();
    lines.extend(
        deliveries.iter().map(|d| (d.at, format!("member-{} gets {} {}", d.member, d.partition, d.sequence))),
    );
    for frame in asked.iter().flatten() {
        let took =
            frame.answered.map_or_else(|| "unanswered".to_owned(), |at| format!("{} us", at - frame.asked));
        let answer: String = frame.answer.iter().skip(4).take(24).map(|byte| format!("{byte:02x}")).collect();
        let what = format!("{} {} on {} ({took}) {answer}", frame.client, frame.api_name(), frame.connection);
        lines.push((frame.asked, what));
    }
    lines.sort();
    let path = folder.join(format!("{}.txt", group.topic));
    let write = || {
        let mut file = std::io::BufWriter::new(std::fs::File::create(&path)?);
        lines.iter().try_for_each(|(at, line)| writeln!(file, "{} {line}", clock(*at)))?;
        file.flush()
    };
    write().map_err(|error| format!("{}: {error}", path.display()))
}

/// What a group of two that has nothing to do costs: for each member processor time and requests, in a second.
pub(crate) fn idle(
    scene: &Scene<'_>,
    system: System,
    protocol: Protocol,
    time: Duration,
) -> Result<Idle, String> {
    let partitions = scene.settings.partitions;
    let topic = scene.tool.create_topic(&unique(&format!("idle-{system}-{protocol}")), partitions, &[]);
    let group = Group { scene, system, protocol, topic, deliveries: Deliveries::default() };
    let load = Load::start(scene.kafka.broker(1).port(), &group.topic, partitions, scene.settings.rate);
    let begun = micros();
    let members = [group.member(0)?, group.member(1)?];
    group.rest(2, begun)?;
    drop(load);
    sleep(Duration::from_secs(6)); // what is committed, is committed now
    let cpu = || members.iter().map(Member::cpu).sum::<Duration>();
    let (from, used) = (micros(), cpu());
    sleep(time);
    let (to, used) = (micros(), cpu().saturating_sub(used));
    Ok(Idle {
        time,
        cpu: used,
        asked: scene.frames.map(|frames| frames.between(from, to)).unwrap_or_default(),
    })
}

pub(crate) struct Idle {
    pub(crate) time: Duration,
    pub(crate) cpu: Duration,
    pub(crate) asked: Vec<Frame>,
}
