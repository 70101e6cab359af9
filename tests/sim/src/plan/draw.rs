//! Drawing a plan from a seed: the swarm. Each class of fault is on or off for the whole seed, so that rare combinations
//! meet and common ones do not drown them (`docs/failures.md`).

use super::{
    Commits, Copies, Fault, Harm, Kind, Leave, Member, Odd, Plan, Producer, Protocol, Reset, Resubscribe,
    Topic,
};
use crate::random::Random;

/// Requests of the consumer, by their number: what rules strike.
const APIS: &[i16] = &[1, 1, 2, 3, 8, 8, 9, 10, 11, 12, 13, 14, 18, 23, 68, 68];

/// Codes that Kafka answers to each.
pub(super) fn code_for(random: &mut Random, api: i16) -> i16 {
    let codes: &[i16] = match api {
        1 => &[6, 6, 74, 76, 70, 71, -1, 3, 5, 100, 56],
        2 => &[6, 5, 3, 75, 78, -1, 7],
        3 => &[5, 3, -1],
        8 => &[14, 15, 16, 27, 22, 25, 3, 7, -1],
        9 => &[14, 15, 16, 88, 88, -1],
        10 => &[15, 14, -1],
        11 => &[14, 15, 16, 25, -1],
        // Not 27: a coordinator that says so has heard the member, and this one would not have.
        12 => &[14, 15, 16, 22, 25],
        13 => &[14, 15, 16, 25],
        14 => &[14, 15, 16, 27, 22, 25, -1],
        18 => &[35],
        23 => &[6, 5, 3, 75, -1],
        68 => &[14, 15, 16, 25, 110],
        0 => &[6, 6, 7, 3, 5, 13, 19],
        22 => &[14, 15, 16, 51],
        24 | 25 => &[14, 15, 16, 51],
        26 => &[14, 15, 16, 51, -1],
        28 => &[14, 15, 16, 7, 22, 25, 3],
        _ => &[-1],
    };
    *random.pick(codes)
}

/// Requests of a producer with transactions.
const TRANSACTION_APIS: &[i16] = &[0, 0, 3, 10, 22, 22, 24, 25, 26, 26, 26, 28, 28];

const ODDS: &[Odd] = &[
    Odd::FetchTwice,
    Odd::FetchUnasked,
    Odd::NoSession,
    Odd::AbortsReversed,
    Odd::CommittedOmitted,
    Odd::AssignedTwice,
    Odd::NegativeEpoch,
    Odd::NoPartitions,
    Odd::OldEpoch,
    Odd::NegativeOffset,
    Odd::UndefinedEpoch,
];

/// How many seeds in a hundred also have faults of the later kinds.
const LATER_FAULTS: u64 = 35;

/// In how many seeds in a hundred members keep offsets elsewhere, where they can.
const KEEP_OFFSETS: u64 = 30;
/// In how many members change what they are subscribed to.
const RESUBSCRIBE: u64 = 15;
/// In how many a process is started twice.
const TWINS: u64 = 12;
/// In how many all members leave for a while, and an operator sets committed offsets meanwhile.
const RESET_OFFSETS: u64 = 8;
/// In how many of those with two topics all drop one for a while, and an operator deletes what is committed of it.
const DELETE_OFFSETS: u64 = 8;
/// In how many brokers come back under other addresses.
const MOVE_BROKERS: u64 = 12;
/// In how many somebody assigns by hand.
const BY_HAND: u64 = 12;
/// In how many logs have older formats.
const LEGACY: u64 = 10;
/// In how many a thread that opens batches ahead is early or late, and in how many the wall clock jumps.
const OPENS_AHEAD: u64 = 30;
const CLOCK_JUMPS: u64 = 15;
/// In how many members copy what they read, in transactions; and in how many of those two have one `transactional.id`.
const COPY: u64 = 15;
const RIVALS: u64 = 20;
/// In how many of those they do it by the loop of `offtake-exactly-once`.
const STEPS: u64 = 50;
/// In how many the cleaner is busy.
const CLEAN: u64 = 10;

const LATER_ODDS: &[Odd] = &[
    Odd::NoTopics,
    Odd::NoEpochs,
    Odd::StrangeBrokers,
    Odd::AbortedTwice,
    Odd::AbortedElsewhere,
    Odd::PreferredReplica,
    Odd::NoInterval,
    Odd::CoordinatorNowhere,
];

impl Plan {
    /// The plan of a seed.
    pub(crate) fn draw(seed: u64) -> Self {
        let random = &mut Random::new(seed, 1);
        let brokers = *random.pick(&[1, 2, 3, 3]);
        let slow = random.percent(30);
        let latency =
            if slow { (random.between(1, 20), random.between(20, 80)) } else { (1, random.between(1, 5)) };
        let topics: Vec<_> = (0..random.between(1, 2))
            .map(|number| Topic {
                name: ["orders", "bills"][usize::try_from(number).unwrap_or(0) % 2].to_owned(),
                partitions: i32::try_from(random.between(1, 4)).unwrap_or(1),
                compacted: random.percent(20),
                compression: String::new(),
            })
            .collect();
        let protocol = *random.pick(&[
            Protocol::Eager,
            Protocol::Cooperative,
            Protocol::Cooperative,
            Protocol::Voting,
            Protocol::Consumer,
            Protocol::Consumer,
            Protocol::Migrating,
        ]);
        let calm = random.between(4_000, 40_000);
        let session_timeout = *random.pick(&[6_000, 6_000, 10_000, 45_000]);
        let max_poll_interval = *random.pick(&[session_timeout.max(8_000), 20_000, 60_000, 300_000]);
        let lively = random.percent(60);
        let members: Vec<_> =
            (0..random.between(1, 5)).map(|number| member(random, number, protocol, calm, lively)).collect();
        let producers = topics.iter().enumerate().map(|(topic, _)| producer(random, topic, calm)).collect();
        let mut plan = Self {
            seed,
            connections: random.percent(50),
            brokers,
            racks: brokers > 1 && random.percent(25),
            latency,
            topics,
            protocol,
            reset: if random.percent(75) { Reset::Earliest } else { Reset::Latest },
            session_timeout,
            heartbeat_interval: *random
                .pick(&[500, 1_000, 2_000, session_timeout / 3])
                .min(&(session_timeout / 3)),
            max_poll_interval,
            initial_rebalance_delay: *random.pick(&[0, 0, 0, 500, 3_000]),
            members,
            producers,
            faults: Vec::new(),
            metadata_max_age: 10_000,
            partial_writes: false,
            opens_ahead: Random::new(seed, 18).percent(OPENS_AHEAD),
            clock_jumps: Random::new(seed, 19).percent(CLOCK_JUMPS),
            copies: None,
            work: None,
            calm,
        };
        plan.keep_polling();
        plan.faults = faults(random, &plan);
        if seed % 40 == 11 {
            plan.be_slow();
        }
        plan.draw_more(&mut Random::new(seed, 9));
        plan.draw_habits(&mut Random::new(seed, 10));
        if seed % 40 != 11 && seed % 40 != 23 {
            plan.draw_resubscriptions(&mut Random::new(seed, 11));
            plan.draw_deletion(&mut Random::new(seed, 20));
            plan.draw_twins(&mut Random::new(seed, 12));
            plan.draw_resets(&mut Random::new(seed, 13));
            plan.draw_addresses(&mut Random::new(seed, 14));
            plan.draw_cleaning(&mut Random::new(seed, 15));
            plan.draw_hands(&mut Random::new(seed, 16));
            plan.draw_formats(&mut Random::new(seed, 17));
            plan.draw_copies(&mut Random::new(seed, 21));
            plan.draw_work(&mut Random::new(seed, 30));
            plan.faults.sort_by_key(|fault| fault.at);
        }
        if seed % 40 == 23 {
            plan.keep_coming();
        }
        plan
    }

    /// What came later is drawn from a stream of its own: the rest of a seed's plan stays as it was.
    fn draw_more(&mut self, random: &mut Random) {
        self.partial_writes = self.connections && random.percent(30);
        for topic in &mut self.topics {
            let codec = *random.pick(&["", "", "", "", "gzip", "snappy", "lz4", "zstd"]);
            codec.clone_into(&mut topic.compression);
        }
        for producer in &mut self.producers {
            if random.percent(5) {
                (producer.value_bytes, producer.records) = (20_000, producer.records.min(3));
            }
        }
        for member in &mut self.members {
            member.pauses_assigned = random.percent(5);
            if random.percent(4) {
                member.poll_timeout = 60_000;
            }
            if random.percent(3) && self.max_poll_interval >= 60_000 && member.listener == (0, 0) {
                member.listener = (20_000, 0);
            }
        }
        // Who is calm or slow stays so.
        if !self.faults.is_empty() && random.percent(LATER_FAULTS) {
            for _ in 0..random.between(1, 4) {
                let at = random.between(10, self.calm.saturating_sub(500));
                let what = self.later_harm(random, self.calm - at);
                self.faults.push(Fault { at, what });
            }
            self.faults.sort_by_key(|fault| fault.at);
        }
        let finds_topics = |harm: &Harm| {
            matches!(harm, Harm::Grow { .. } | Harm::Recreate { .. } | Harm::Delete { .. } | Harm::Odd { .. })
        };
        // New partitions, and topics, are found by the next refresh: that is what it is for.
        if random.percent(50) && !self.faults.iter().any(|fault| finds_topics(&fault.what)) {
            self.metadata_max_age = 300_000;
        }
    }

    /// What applications do that came later still, from another stream.
    fn draw_habits(&mut self, random: &mut Random) {
        // Who finishes records in any order has no offset to keep. And where metadata know no epochs, nobody can see that an
        // offset is of a log that was cut.
        let in_order = self.members.iter().all(|member| member.commits != Commits::Each);
        let no_epochs = |fault: &Fault| matches!(fault.what, Harm::Odd { which: Odd::NoEpochs, .. });
        let keeps = random.percent(KEEP_OFFSETS) && in_order && !self.faults.iter().any(no_epochs);
        for member in &mut self.members {
            member.keeps_offsets = random.percent(70) && keeps && !member.values;
        }
    }

    /// Members that add a topic, drop one, or go from names to patterns and back, while they run. In the end each wants all.
    fn draw_resubscriptions(&mut self, random: &mut Random) {
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

    /// All members leave and come again; in between an operator sets what is committed.
    fn draw_resets(&mut self, random: &mut Random) {
        if !random.percent(RESET_OFFSETS) {
            return;
        }
        let leave = random.between(self.calm / 4, self.calm / 2);
        // A member that dies, or does not say that it goes, is a member until its session ends.
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
            self.faults.push(Fault { at, what: Harm::ResetOffsets { topic, percent } });
        }
    }

    /// Brokers that come back elsewhere: one, two that change places, or all.
    fn draw_addresses(&mut self, random: &mut Random) {
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
                    self.faults.push(Fault { at, what: Harm::Swap { one, other } });
                }
                2 => {
                    for broker in 1..=self.brokers {
                        let port = port(random);
                        self.faults.push(Fault { at, what: Harm::Comeback { broker, lasts, port } });
                    }
                }
                _ => {
                    let broker = broker(random, self.brokers);
                    let port = port(random);
                    self.faults.push(Fault { at, what: Harm::Comeback { broker, lasts, port } });
                }
            }
        }
    }

    /// Topics that are compacted again and again, with tombstones, and with batches of which only the header stays.
    fn draw_cleaning(&mut self, random: &mut Random) {
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
                self.faults.push(Fault { at, what: Harm::Compact { topic: first, partition } });
            }
        }
    }

    /// Logs that were begun before Kafka 0.11. Their records have no leader epoch: where a log is cut nobody could see it.
    fn draw_formats(&mut self, random: &mut Random) {
        let cuts = |fault: &Fault| {
            matches!(
                fault.what,
                Harm::Truncate { .. } | Harm::Elect { .. } | Harm::Recreate { .. } | Harm::Delete { .. }
            )
        };
        if !random.percent(LEGACY) || self.faults.is_empty() || self.faults.iter().any(cuts) {
            return;
        }
        for _ in 0..random.between(1, 3) {
            let at = random.between(100, self.calm);
            let magic = *random.pick(&[0, 1]);
            let times = *random.pick(&[1, 5, 1_000]);
            self.faults.push(Fault { at, what: Harm::Legacy { magic, packed: random.percent(50), times } });
        }
    }

    /// Somebody that is no member of a group, reads what it likes, and now and then something else.
    fn draw_hands(&mut self, random: &mut Random) {
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
                0 => Harm::Freeze { member: number, lasts },
                _ => Harm::Crash { member: number, returns: Some(random.between(0, 5_000)) },
            };
            self.faults.push(Fault { at, what });
        }
        self.keep_polling();
    }

    /// All members write copies of what they read, in transactions. Nothing happens to the logs that is told as a reset: those are read again
    /// or not at all, and nobody has promised anything of that.
    fn draw_copies(&mut self, random: &mut Random) {
        if !random.percent(COPY) {
            return;
        }
        self.members.retain(|member| !member.by_hand);
        while self.members.len() < 2 {
            let number = u64::try_from(self.members.len()).unwrap_or(0);
            self.members.push(member(random, number, self.protocol, self.calm, false));
        }
        let modern = matches!(self.protocol, Protocol::Consumer | Protocol::Migrating);
        let vintage = if modern { None } else { *random.pick(&[None, None, Some(0), Some(1), Some(2)]) };
        let timeout = *random.pick(&[10_000, 10_000, 30_000, 60_000]);
        self.copies = Some(Copies {
            partitions: i32::try_from(random.between(1, 3)).unwrap_or(1),
            transaction_version: if vintage.is_some() { 0 } else { *random.pick(&[0, 2, 2]) },
            vintage,
            timeout,
            max_block: *random.pick(&[3_000, 10_000, 20_000]),
            linger: *random.pick(&[0, 0, 5, 100]),
            steps: Random::new(self.seed, 36).percent(STEPS),
        });
        self.reset = Reset::Earliest;
        let has = self.members.len();
        self.faults.retain(|fault| {
            let stays = fault.what.member().is_none_or(|member| member < has);
            stays
                && !matches!(
                    fault.what,
                    Harm::Recreate { .. }
                        | Harm::Truncate { .. }
                        | Harm::Elect { .. }
                        | Harm::Delete { .. }
                        | Harm::ResetOffsets { .. }
                        | Harm::DeleteOffsets { .. }
                        | Harm::ForgetGroup
                        | Harm::Vintage { .. }
                        | Harm::Odd { which: Odd::UndefinedEpoch, .. }
                )
        });
        for member in &mut self.members {
            (member.commits, member.read_committed, member.keeps_offsets) =
                (Commits::Transaction, true, false);
            // What one poll hands out is done within the transaction's time.
            let most = timeout / 3 / member.processing.1.max(1);
            member.max_poll_records =
                member.max_poll_records.max(3).min(u32::try_from(most).unwrap_or(u32::MAX));
        }
        self.keep_polling();
        if random.percent(RIVALS) {
            self.draw_rival(random);
        }
        if !self.faults.is_empty() {
            for _ in 0..random.between(0, 8) {
                let at = random.between(10, self.calm.saturating_sub(500));
                let what = self.transaction_harm(random, self.calm - at);
                self.faults.push(Fault { at, what });
            }
        }
    }

    /// A process that is started with the `transactional.id` of another, and is gone in the end: as long as both are there, none gets on.
    fn draw_rival(&mut self, random: &mut Random) {
        let first = random.below(self.members.len());
        let joins = random.between(self.members[first].joins, self.calm - 1_000);
        let how = *random.pick(&[Leave::Close, Leave::Drop]);
        let rival = Member {
            joins,
            leaves: Some((random.between(joins, self.calm), how)),
            returns: None,
            instance_id: false,
            twin_of: None,
            rival_of: Some(first),
            resubscribes: Vec::new(),
            ..self.members[first].clone()
        };
        self.members.push(rival);
    }

    pub(super) fn transaction_harm(&self, random: &mut Random, left: u64) -> Harm {
        let api = *random.pick(TRANSACTION_APIS);
        let broker = i32::try_from(random.between(1, u64::try_from(self.brokers).unwrap_or(1))).unwrap_or(1);
        let member = random.below(self.members.len());
        let partitions = self.copies.as_ref().map_or(1, |copies| copies.partitions);
        let partition =
            i32::try_from(random.between(1, u64::try_from(partitions).unwrap_or(1))).unwrap_or(1) - 1;
        let few = u32::try_from(random.between(1, 3)).unwrap_or(1);
        let short = random.between(1, left.min(3_000));
        let long = random.between(1, left.min(40_000));
        match random.below(16) {
            0 | 1 => Harm::Lose { api, times: few },
            2 => Harm::Drop { api, times: 1 },
            3 => Harm::Held { api, lasts: left.min(8_000) },
            4 => Harm::Late { api, by: short, times: few },
            5 => Harm::Cut { api, after: random.below(60) },
            6 => Harm::Swallow { api, times: 1 },
            7 | 8 => Harm::Code { api, code: code_for(random, api), times: few },
            9 | 10 => Harm::MoveTransactions { member, to: broker },
            11 => Harm::MoveCopies { partition, to: broker },
            12 => Harm::HoldMarkers { lasts: short },
            13 => Harm::Freeze { member, lasts: long },
            14 => Harm::Stall { member, lasts: long },
            _ => Harm::Crash { member, returns: Some(random.between(0, 3_000)) },
        }
    }

    /// All drop a topic for a while, and an operator deletes what is committed of it.
    fn draw_deletion(&mut self, random: &mut Random) {
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
            self.faults.push(Fault { at, what: Harm::DeleteOffsets { topic: 1 } });
        }
    }

    /// A process that is started with the `group.instance.id` of another one.
    fn draw_twins(&mut self, random: &mut Random) {
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

    /// Nothing is wrong: records keep coming, to many partitions, while the only application takes its time for each poll.
    fn keep_coming(&mut self) {
        self.faults.clear();
        self.calm = 10_000;
        self.members.truncate(1);
        self.producers.truncate(1);
        self.topics[0].partitions = 8;
        self.topics[0].compacted = false;
        for producer in &mut self.producers {
            (producer.kind, producer.every, producer.batches) = (Kind::Plain, 4, 2_500);
            (producer.records, producer.value_bytes) = (1, 100);
        }
        for member in &mut self.members {
            (member.processing, member.per_poll, member.poll_timeout) = ((0, 0), 25, 100);
            (member.max_poll_records, member.fetch_max_bytes) = (500, 1 << 20);
            (member.drops, member.pauses, member.pauses_assigned) = (0, 0, false);
            member.listener = (0, 0);
            member.keeps_offsets = false;
        }
    }

    fn later_harm(&self, random: &mut Random, left: u64) -> Harm {
        let api = *random.pick(APIS);
        let broker = i32::try_from(random.between(1, u64::try_from(self.brokers).unwrap_or(1))).unwrap_or(1);
        let topic = random.below(self.topics.len());
        let partitions = u64::try_from(self.topics[topic].partitions).unwrap_or(1);
        let partition = i32::try_from(random.between(0, partitions - 1)).unwrap_or(0);
        let times = u32::try_from(random.between(1, 3)).unwrap_or(1);
        match random.below(8) {
            0 => {
                let by = i64::try_from(random.between(1, 20)).unwrap_or(1);
                Harm::Elect { topic, partition, by, to: broker }
            }
            // The other topic is for those that still want something.
            1 if self.topics.len() > 1 => Harm::Delete { topic: 1 },
            2 => Harm::Drop { api, times: 1 },
            3 => Harm::Held { api, lasts: random.between(1, left.min(8_000)) },
            4 if self.connections => Harm::Readdress {
                broker,
                port: u16::try_from(random.between(20_000, 30_000)).unwrap_or(20_000),
            },
            _ => Harm::Odd { which: *random.pick(LATER_ODDS), times },
        }
    }

    /// Who is busy with one `poll` for longer than `max.poll.interval.ms` is put out each time, and rightly: it never gets on.
    /// That an application is late now and then is for [`Harm::Stall`]. And who commits one record after the other over a slow
    /// network is not through in time. Draws nothing.
    pub(super) fn keep_polling(&mut self) {
        for member in &mut self.members {
            if member.commits == Commits::Sync {
                let least = u32::try_from(self.latency.1 / 5).unwrap_or(1);
                member.max_poll_records = member.max_poll_records.max(least);
            }
            let slowest = member.processing.1.max(1);
            if slowest * u64::from(member.max_poll_records) > self.max_poll_interval {
                let most = self.max_poll_interval / 2 / slowest;
                member.max_poll_records = u32::try_from(most).unwrap_or(u32::MAX).max(1);
            }
        }
    }

    /// Nothing is wrong but that what one `poll` hands out takes longer than the session (FAILURES M3).
    fn be_slow(&mut self) {
        self.faults.clear();
        (self.session_timeout, self.heartbeat_interval, self.max_poll_interval) = (6_000, 1_000, 600_000);
        for member in &mut self.members {
            (member.processing, member.max_poll_records) = ((100, 300), 500);
        }
    }
}

pub(super) fn member(
    random: &mut Random,
    number: u64,
    protocol: Protocol,
    calm: u64,
    lively: bool,
) -> Member {
    let joins =
        if number == 0 || random.percent(50) { random.between(0, 50) } else { random.between(0, calm) };
    // The first stays to the end: somebody has to.
    let leaves = (lively && number > 0 && random.percent(40)).then(|| {
        let how = *random.pick(&[Leave::Close, Leave::Close, Leave::Remain, Leave::Drop, Leave::Unsubscribe]);
        (random.between(joins, calm), how)
    });
    let (assignors, consumer_protocol) = match protocol {
        Protocol::Eager => ("range,roundrobin", false),
        Protocol::Cooperative => ("cooperative-sticky", false),
        Protocol::Voting => (*random.pick(&["cooperative-sticky,range", "range,cooperative-sticky"]), false),
        Protocol::Consumer => ("range", true),
        Protocol::Migrating => ("cooperative-sticky", random.percent(50)),
    };
    let read_committed = random.percent(50);
    Member {
        joins,
        returns: leaves.and_then(|_| random.percent(60).then(|| random.between(0, 5_000))),
        leaves,
        assignors: assignors.to_owned(),
        consumer_protocol,
        instance_id: random.percent(20),
        commits: *random.pick(&[
            Commits::Auto,
            Commits::Auto,
            Commits::Sync,
            Commits::Async,
            Commits::Store,
            Commits::Each,
            Commits::Listener,
        ]),
        auto_commit_interval: *random.pick(&[50, 200, 1_000, 5_000]),
        read_committed,
        processing: *random.pick(&[(0, 0), (0, 2), (1, 10), (0, 60)]),
        max_poll_records: *random.pick(&[1, 3, 10, 500]),
        poll_timeout: *random.pick(&[0, 1, 50, 100, 500, 2_000]),
        listener: *random.pick(&[(0, 0), (0, 0), (5, 0), (200, 10), (1_500, 0), (20, 30)]),
        drops: *random.pick(&[0, 0, 0, 10, 40]),
        pauses: *random.pick(&[0, 0, 0, 5]),
        fetch_max_bytes: *random.pick(&[200, 2_000, 1 << 20, 1 << 20]),
        values: random.percent(20),
        patterns: random.percent(20),
        pauses_assigned: false,
        per_poll: 0,
        keeps_offsets: false,
        resubscribes: Vec::new(),
        twin_of: None,
        rival_of: None,
        by_hand: false,
    }
}

fn producer(random: &mut Random, topic: usize, calm: u64) -> Producer {
    let batches = random.between(5, 120);
    let aborts = *random.pick(&[0, 30, 100]);
    let late = *random.pick(&[0, 0, 20, 400]);
    let hangs = random.percent(15);
    Producer {
        topic,
        kind: if random.percent(60) { Kind::Plain } else { Kind::Transactional { aborts, late, hangs } },
        every: (calm / batches).max(1),
        batches,
        records: *random.pick(&[1, 1, 3, 10]),
        value_bytes: *random.pick(&[8, 8, 100, 1_000]),
        tombstones: 0,
        idempotent: false,
    }
}

fn faults(random: &mut Random, plan: &Plan) -> Vec<Fault> {
    // A tenth of the seeds are peaceful: there the tight bounds hold.
    if random.percent(10) {
        return Vec::new();
    }
    let on: Vec<usize> = (0..KINDS).filter(|_| random.percent(22)).collect();
    if on.is_empty() {
        return Vec::new();
    }
    let most = *random.pick(&[2, 5, 12, 30]);
    let count = random.between(1, most);
    let mut faults: Vec<_> = (0..count)
        .map(|_| {
            let at = random.between(10, plan.calm.saturating_sub(500));
            let kind = *random.pick(&on);
            Fault { at, what: harm(random, plan, kind, plan.calm - at) }
        })
        .collect();
    faults.sort_by_key(|fault| fault.at);
    faults
}

const KINDS: usize = 28;

/// `left`: until all must be calm again.
fn harm(random: &mut Random, plan: &Plan, kind: usize, left: u64) -> Harm {
    let member = random.below(plan.members.len());
    let broker = i32::try_from(random.between(1, u64::try_from(plan.brokers).unwrap_or(1))).unwrap_or(1);
    let topic = random.below(plan.topics.len());
    let partitions = u64::try_from(plan.topics[topic].partitions).unwrap_or(1);
    let partition = i32::try_from(random.between(0, partitions - 1)).unwrap_or(0);
    let api = *random.pick(APIS);
    let short = random.between(1, left.min(2_000));
    let longest = *random.pick(&[1_000, 8_000, 15_000, 30_000]);
    let long = random.between(1, left.min(longest));
    let most = *random.pick(&[1, 3, 12]);
    let few = u32::try_from(random.between(1, most)).unwrap_or(1);
    match kind {
        0 => Harm::Slow { member, broker, by: random.between(10, 1_500), lasts: long },
        1 => Harm::Partition { member, broker, lasts: long, one_way: random.percent(30) },
        2 => Harm::Reset { member, broker },
        3 => Harm::Cut { api, after: random.below(200) },
        4 => Harm::Lose { api, times: few },
        5 => Harm::Swallow { api, times: 1 },
        6 => Harm::Late { api, by: long.min(10_000), times: few },
        7 => Harm::Code { api, code: code_for(random, api), times: few },
        8 => Harm::Throttle { api, by: short },
        9 => Harm::Corrupt { times: few.min(3) },
        10 => Harm::Odd { which: *random.pick(ODDS), times: few },
        11 => Harm::Resolve { member, lasts: long },
        12 => Harm::PauseBroker { broker, lasts: long },
        13 => Harm::CrashBroker { broker, lasts: long },
        14 => Harm::MoveCoordinator { to: broker },
        15 => Harm::LoadGroups { broker },
        16 => Harm::ForgetGroup,
        17 => Harm::MoveLeader { topic, partition, to: broker },
        18 => Harm::EvictSessions { broker },
        19 => {
            // KIP-848 needs 4.0.
            let classic = !matches!(plan.protocol, Protocol::Consumer | Protocol::Migrating);
            Harm::Vintage {
                broker,
                which: if classic { u8::try_from(random.below(4)).unwrap_or(0) } else { 3 },
            }
        }
        20 => {
            let returns = member == 0 || random.percent(70);
            Harm::Crash { member, returns: returns.then(|| random.between(0, 10_000)) }
        }
        21 => Harm::Freeze { member, lasts: long },
        22 => Harm::Grow { topic },
        23 => Harm::Recreate { topic },
        24 => Harm::Truncate { topic, partition, by: i64::try_from(random.between(1, 20)).unwrap_or(1) },
        25 => Harm::Retain { topic, partition, keep: i64::try_from(random.between(0, 10)).unwrap_or(0) },
        26 => Harm::Compact { topic, partition },
        _ => Harm::Stall { member, lasts: long },
    }
}
