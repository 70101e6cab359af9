//! Habits of applications and operators that most plans do not have.

use super::member;
use crate::{
    plan::{Commits, Fault, FaultKind, Leave, Member, Odd, Plan, Protocol, Resubscribe},
    random::Random,
};

/// The percentage of seeds in which members keep offsets elsewhere, where they can.
const KEEP_OFFSETS: u64 = 30;
/// The percentage in which members change their subscription.
const RESUBSCRIBE: u64 = 15;
/// The percentage in which a process is started twice.
const TWINS: u64 = 12;
/// The percentage in which all members leave for a while, and an operator sets committed offsets meanwhile.
const RESET_OFFSETS: u64 = 8;
/// Of those with two topics, the percentage in which all drop one for a while, and an operator deletes its committed offsets.
const DELETE_OFFSETS: u64 = 8;
/// The percentage in which brokers return at other addresses.
const MOVE_BROKERS: u64 = 12;
/// The percentage in which a member assigns by hand.
const BY_HAND: u64 = 12;
/// The percentage in which logs have older formats.
const LEGACY: u64 = 10;
/// The percentage in which the cleaner is busy.
const CLEAN: u64 = 10;

impl Plan {
    /// Draws habits that were added later still, from another stream.
    pub(super) fn draw_habits(&mut self, random: &mut Random) {
        // A member that finishes records in any order has no offset to keep. And where metadata have no epochs, no member can see that an
        // offset belongs to a log that was cut.
        let in_order = self.members.iter().all(|member| member.commits != Commits::Each);
        let no_epochs = |fault: &Fault| matches!(fault.what, FaultKind::Odd { which: Odd::NoEpochs, .. });
        let keeps = random.percent(KEEP_OFFSETS) && in_order && !self.faults.iter().any(no_epochs);
        for member in &mut self.members {
            member.keeps_offsets = random.percent(70) && keeps && !member.values;
        }
    }

    /// Members that add a topic, drop one, or change from names to patterns and back, while they run. In the end each subscribes to all.
    pub(super) fn draw_resubscriptions(&mut self, random: &mut Random) {
        if !random.percent(RESUBSCRIBE) {
            return;
        }
        let (topics, latest) = (self.topics.len(), self.calm - 500);
        for member in &mut self.members {
            if random.percent(30) || member.joins + 500 >= latest {
                continue;
            }
            let mut times: Vec<_> =
                (0..random.between(1, 4)).map(|_| random.between(member.joins + 100, latest)).collect();
            times.sort_unstable();
            let last = times.len();
            member.resubscribes = times
                .into_iter()
                .zip(1..)
                .map(|(at, number)| {
                    let one = (number < last && random.percent(70)).then(|| random.below(topics));
                    let topics = one.map_or_else(|| (0..topics).collect(), |one| vec![one]);
                    Resubscribe { at, topics, patterns: random.percent(30) }
                })
                .collect();
        }
    }

    /// All members leave and return; in between an operator sets the committed offsets.
    pub(super) fn draw_resets(&mut self, random: &mut Random) {
        if !random.percent(RESET_OFFSETS) {
            return;
        }
        let leave = random.between(self.calm / 4, self.calm / 2);
        // A member that dies, or does not announce its leaving, is a member until its session ends.
        let gap = if random.percent(50) { 1_500 } else { self.session_timeout + 2_000 };
        let back = leave + gap;
        self.calm = self.calm.max(back + 3_000);
        for member in &mut self.members {
            member.instance_id &= member.twin_of.is_some();
            if member.joins >= leave {
                member.joins = member.joins.max(back + random.between(0, 200));
                continue;
            }
            let how = *random.pick(&[Leave::Close, Leave::Close, Leave::Unsubscribe, Leave::Drop]);
            member.leaves = Some((leave.max(member.joins) + random.between(0, 100), how));
            member.returns = Some(gap + random.between(0, 300));
        }
        for _ in 0..random.between(1, 3) {
            let at = random.between(back.saturating_sub(gap / 3), back);
            let topic = random.below(self.topics.len());
            let percent = *random.pick(&[0, 20, 50, 80, 100]);
            self.faults.push(Fault { at, what: FaultKind::ResetOffsets { topic, percent } });
        }
    }

    /// Brokers that return at other addresses: one, two that swap, or all.
    pub(super) fn draw_addresses(&mut self, random: &mut Random) {
        // Without connections there are no addresses.
        if !random.percent(MOVE_BROKERS) || !self.connections || self.faults.is_empty() {
            return;
        }
        let latest = self.calm.saturating_sub(1_500);
        for _ in 0..random.between(1, 3) {
            let at = random.between(100, latest);
            let lasts = random.between(1, (self.calm - at).min(6_000));
            let broker = |random: &mut Random, most: i32| {
                i32::try_from(random.between(1, u64::try_from(most).unwrap_or(1))).unwrap_or(1)
            };
            let port = |random: &mut Random| u16::try_from(random.between(20_000, 60_000)).unwrap_or(20_000);
            match random.below(4) {
                0 | 1 if self.brokers > 1 => {
                    let one = broker(random, self.brokers);
                    let other = one % self.brokers + 1;
                    self.faults.push(Fault { at, what: FaultKind::Swap { one, other } });
                }
                2 => {
                    for broker in 1..=self.brokers {
                        let port = port(random);
                        self.faults.push(Fault { at, what: FaultKind::Comeback { broker, lasts, port } });
                    }
                }
                _ => {
                    let broker = broker(random, self.brokers);
                    let port = port(random);
                    self.faults.push(Fault { at, what: FaultKind::Comeback { broker, lasts, port } });
                }
            }
        }
    }

    /// Topics that are compacted again and again, with tombstones, and with batches of which only the header remains.
    pub(super) fn draw_cleaning(&mut self, random: &mut Random) {
        if !random.percent(CLEAN) {
            return;
        }
        let first = random.below(self.topics.len());
        let partitions = self.topics[first].partitions;
        self.topics[first].compacted = true;
        for producer in self.producers.iter_mut().filter(|producer| producer.topic == first) {
            producer.tombstones = *random.pick(&[0, 10, 40, 100]);
            producer.idempotent = random.percent(60);
        }
        for _ in 0..random.between(2, 8) {
            let at = random.between(100, self.calm);
            for partition in 0..partitions {
                self.faults.push(Fault { at, what: FaultKind::Compact { topic: first, partition } });
            }
        }
    }

    /// Logs begun before Kafka 0.11. Their records have no leader epoch, so no client could see that such a log was cut.
    pub(super) fn draw_formats(&mut self, random: &mut Random) {
        if !random.percent(LEGACY)
            || self.faults.is_empty()
            || self.faults.iter().any(|fault| fault.what.rewrites())
        {
            return;
        }
        for _ in 0..random.between(1, 3) {
            let at = random.between(100, self.calm);
            let magic = *random.pick(&[0, 1]);
            let times = *random.pick(&[1, 5, 1_000]);
            self.faults
                .push(Fault { at, what: FaultKind::Legacy { magic, packed: random.percent(50), times } });
        }
    }

    /// A client that is no member of a group reads what it likes, and now and then something else.
    pub(super) fn draw_hands(&mut self, random: &mut Random) {
        if !random.percent(BY_HAND) {
            return;
        }
        let mut member = member(random, 0, Protocol::Eager, self.calm, false);
        member.by_hand = true;
        (member.joins, member.instance_id, member.patterns) =
            (random.between(0, self.calm / 2), false, false);
        if member.commits == Commits::Listener {
            member.commits = Commits::Sync;
        }
        self.members.push(member);
        let number = self.members.len() - 1;
        let (topics, latest) = (self.topics.len(), self.calm - 500);
        let member = &mut self.members[number];
        let mut times: Vec<_> =
            (0..random.between(0, 4)).map(|_| random.between(member.joins, latest)).collect();
        times.sort_unstable();
        let last = times.len();
        member.resubscribes = times
            .into_iter()
            .zip(1..)
            .map(|(at, count)| {
                let one = (count < last).then(|| random.below(topics));
                let topics = one.map_or_else(|| (0..topics).collect(), |one| vec![one]);
                Resubscribe { at, topics, patterns: false }
            })
            .collect();
        if !self.faults.is_empty() && random.percent(50) {
            let at = random.between(100, latest);
            let lasts = random.between(1, self.calm - at);
            let what = match random.below(3) {
                0 => FaultKind::Freeze { member: number, lasts },
                _ => FaultKind::Crash { member: number, returns: Some(random.between(0, 5_000)) },
            };
            self.faults.push(Fault { at, what });
        }
        self.keep_polling();
    }

    /// All drop a topic for a while, and an operator deletes its committed offsets.
    pub(super) fn draw_deletion(&mut self, random: &mut Random) {
        if !random.percent(DELETE_OFFSETS) || self.topics.len() < 2 {
            return;
        }
        let drop = random.between(self.calm / 4, self.calm / 2);
        let back = drop + random.between(2_500, 6_000);
        self.calm = self.calm.max(back + 2_000);
        let all: Vec<_> = (0..self.topics.len()).collect();
        for member in &mut self.members {
            let change = |at, topics| Resubscribe { at, topics, patterns: false };
            let later = random.between(0, 200);
            member.resubscribes = vec![change(drop + later, vec![0]), change(back + later, all.clone())];
        }
        for _ in 0..2 {
            let at = random.between(drop + 1_000, back);
            self.faults.push(Fault { at, what: FaultKind::DeleteOffsets { topic: 1 } });
        }
    }

    /// A process that is started with the `group.instance.id` of another one.
    pub(super) fn draw_twins(&mut self, random: &mut Random) {
        if !random.percent(TWINS) {
            return;
        }
        let first = random.below(self.members.len());
        let latest = self.calm - 1_000;
        if self.members[first].joins + 500 >= latest {
            return;
        }
        self.members[first].instance_id = true;
        let joins = random.between(self.members[first].joins + 200, latest);
        // One of the two stays, unless there are others.
        let how = *random.pick(&[Leave::Close, Leave::Remain, Leave::Drop, Leave::Unsubscribe]);
        let leaves = (first > 0 && random.percent(40)).then(|| (random.between(joins, self.calm), how));
        let twin = Member {
            joins,
            leaves,
            returns: None,
            twin_of: Some(first),
            resubscribes: Vec::new(),
            ..self.members[first].clone()
        };
        self.members.push(twin);
    }
}
