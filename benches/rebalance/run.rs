//! One run: two members, a third that joins, and leaves again.

use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use offtake_tests::{JavaTool, Kafka, unique};

use crate::clock::{Micros, SECOND, micros};
use crate::frames::{Frame, Frames};
use crate::load::Load;
use crate::measure::{Outcome, QUIET, flows, gaps, lost_and_repeated, outcome, pipe, settled};
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
    /// The requests around the join and the leave, if they are watched.
    pub(crate) asked: [Vec<Frame>; 2],
}

/// The members of a group on a topic of their own.
struct Group<'a> {
    scene: &'a Scene<'a>,
    system: System,
    protocol: Protocol,
    topic: String,
    deliveries: Deliveries,
    session: Option<Duration>,
}

impl<'a> Group<'a> {
    fn new(scene: &'a Scene<'a>, system: System, protocol: Protocol, what: &str) -> Self {
        let name = unique(&format!("{what}{system}-{protocol}"));
        let topic = scene.tool.create_topic(&name, scene.settings.partitions, &[]);
        Self { scene, system, protocol, topic, deliveries: Deliveries::default(), session: None }
    }

    fn load(&self) -> Load {
        let Settings { partitions, rate, .. } = *self.scene.settings;
        Load::start(self.scene.kafka.broker(1).port(), &self.topic, partitions, rate)
    }

    fn member(&self, number: usize) -> Result<Member, String> {
        self.member_that_revokes(number, None)
    }

    fn member_that_revokes(&self, number: usize, revokes: Option<Duration>) -> Result<Member, String> {
        let place = Place {
            bootstrap: &self.scene.kafka.bootstrap(),
            group: &self.topic,
            topic: &self.topic,
            client: &format!("member-{number}"),
            protocol: self.protocol,
            session: self.session,
            revokes,
        };
        Member::start(self.system, number, self.scene.settings, &place, &self.deliveries)
    }

    /// When it settled with this many members.
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

/// `phase` shifts the join relative to the others' heartbeats.
pub(crate) fn run(
    scene: &Scene<'_>,
    system: System,
    protocol: Protocol,
    phase: Duration,
) -> Result<Run, String> {
    let partitions = scene.settings.partitions;
    let group = Group::new(scene, system, protocol, "");
    let load = group.load();

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

/// Writes deliveries and frames to the folder for logs, with times in seconds of the day (UTC), as in the logs.
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

/// The cost of an idle group of two: processor time and requests of each member, per second.
pub(crate) fn idle(
    scene: &Scene<'_>,
    system: System,
    protocol: Protocol,
    time: Duration,
) -> Result<Idle, String> {
    let group = Group::new(scene, system, protocol, "idle-");
    let load = group.load();
    let begun = micros();
    let members = [group.member(0)?, group.member(1)?];
    group.rest(2, begun)?;
    drop(load);
    sleep(Duration::from_secs(6)); // pending commits are done by now
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

/// The effects beside a slow member. Times in microseconds.
pub(crate) struct Beside {
    /// The longest gap of any partition just before, while nothing happened.
    pub(crate) still: Micros,
    /// The longest gap of each partition that stays with another member than the slow one.
    pub(crate) kept: Vec<Micros>,
    /// The longest time that a record of such a partition was at the broker before it was delivered.
    pub(crate) late: Micros,
    /// The longest gap of each partition that stays with the slow member.
    pub(crate) slow: Vec<Micros>,
    /// For each partition that moved: from the end of the slow member's revocation to the first record at the new owner.
    pub(crate) again: Vec<Micros>,
    /// How long the slow member took.
    pub(crate) took: Micros,
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
}

/// The session timeout, which passes three times while the slow member is busy.
const SESSION: Duration = Duration::from_secs(6);

/// A group of four, one of which is slow to revoke when a fifth joins. Meanwhile a sixth joins, one leaves, and the
/// fifth dies.
pub(crate) fn beside_a_slow_one(
    scene: &Scene<'_>,
    system: System,
    protocol: Protocol,
) -> Result<Beside, String> {
    let partitions = scene.settings.partitions;
    let time = Duration::from_secs(scene.settings.slow.into());
    let session = (protocol == Protocol::Cooperative).then_some(SESSION);
    let group = Group { session, ..Group::new(scene, system, protocol, "slow-") };
    let load = group.load();
    let begun = micros();
    // The slow one joins last, so that the others' revocations for it are done at once.
    let (first, second, mut leaves) = (group.member(1)?, group.member(2)?, group.member(3)?);
    group.rest(3, begun)?;
    let slow = group.member_that_revokes(0, Some(time))?;
    group.rest(4, micros())?;

    let mut dies = group.member(4)?;
    let joined = dies.started().ok_or("the fifth member does not start")?;
    let nothing = || format!("{system} {protocol}: nothing is revoked from the slow member");
    let from = slow.revokes(false, PATIENCE).ok_or_else(nothing)?;
    sleep(time / 6);
    let joins = group.member(5)?;
    sleep(time / 6);
    leaves.leave();
    sleep(time / 6);
    dies.die();
    let to = slow.revokes(true, time + PATIENCE).ok_or("the slow member is never done")?;
    let whole = group.rest(4, to)?;
    let sent = load.stop()?;
    group
        .deliveries
        .wait(Duration::from_secs(3), |all| lost_and_repeated(&flows(all), &sent, partitions).0 == 0);
    drop([first, second, joins, slow]);

    let flows = flows(&group.deliveries.all());
    write_down(scene.settings, &group, &[("join", joined), ("slow", from), ("done", to)], &[])?;
    let (lost, repeated) = lost_and_repeated(&flows, &sent, partitions);
    let mut beside = Beside {
        still: outcome(&flows, &sent, joined, joined).still,
        kept: Vec::new(),
        late: 0,
        slow: Vec::new(),
        again: Vec::new(),
        took: to - from,
        lost,
        repeated,
    };
    for flow in flows.values() {
        let within = |delivery: &&Delivery| (joined..=whole).contains(&delivery.at);
        let during: Vec<Delivery> = flow.iter().filter(within).copied().collect();
        let members: std::collections::BTreeSet<usize> =
            during.iter().map(|delivery| delivery.member).collect();
        let rest = gaps(&during).map(|(_, gap)| gap).max().unwrap_or(whole - joined);
        match members.into_iter().collect::<Vec<_>>().as_slice() {
            [0] => beside.slow.push(rest),
            // A partition taken from it for the one that died has returned to it, so it moved.
            [_] if rest < beside.took => {
                beside.kept.push(rest);
                let late =
                    during.iter().filter_map(|d| Some(d.at - sent.acknowledged.get(d.sequence as usize)?));
                beside.late = beside.late.max(late.max().unwrap_or(0));
            }
            _ => {
                let next = during.iter().find(|delivery| delivery.at > to);
                beside.again.push(next.map_or(whole, |delivery| delivery.at) - to);
            }
        }
    }
    Ok(beside)
}
