//! Draws a plan from a seed: the swarm. Each class of fault is on or off for the whole seed, so that rare combinations meet and common ones
//! do not drown them (`docs/failures.md`).

mod copies;
mod faults;
mod habits;
mod workers;

use super::{Commits, FaultKind, Kind, Leave, Member, Plan, Producer, Protocol, Reset, Topic};
use crate::random::Random;

/// The percentage of seeds that also have the later kinds of fault.
const LATER_FAULTS: u64 = 35;

/// The percentages of seeds in which a thread that decodes ahead is early or late, and in which the wall clock jumps.
const OPENS_AHEAD: u64 = 30;
const CLOCK_JUMPS: u64 = 15;

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
        plan.faults = faults::faults(random, &plan);
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

    /// Draws later additions from a stream of their own: the rest of a seed's plan stays as it was.
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
        // A calm or slow plan stays so.
        if !self.faults.is_empty() && random.percent(LATER_FAULTS) {
            self.add_faults(random, (1, 4), Self::later_harm);
            self.faults.sort_by_key(|fault| fault.at);
        }
        let finds_topics = |kind: &FaultKind| {
            matches!(
                kind,
                FaultKind::Grow { .. }
                    | FaultKind::Recreate { .. }
                    | FaultKind::Delete { .. }
                    | FaultKind::Odd { .. }
            )
        };
        // New partitions, and topics, are found only by the next refresh.
        if random.percent(50) && !self.faults.iter().any(|fault| finds_topics(&fault.what)) {
            self.metadata_max_age = 300_000;
        }
    }

    /// Leaves only group members, at least two.
    fn be_one_group(&mut self, random: &mut Random, lively: bool) {
        self.members.retain(|member| !member.by_hand);
        while self.members.len() < 2 {
            let number = u64::try_from(self.members.len()).unwrap_or(0);
            self.members.push(member(random, number, self.protocol, self.calm, lively));
        }
        let has = self.members.len();
        self.faults.retain(|fault| fault.what.member().is_none_or(|member| member < has));
    }

    /// No faults: records keep arriving, in many partitions, while the only application is slow between polls.
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

    /// An application that is busy with one `poll` for longer than `max.poll.interval.ms` is rightly removed each time, and makes no
    /// progress. Occasional late polls are drawn by [`FaultKind::Stall`]. And committing record by record over a slow network would not end in
    /// time. Draws nothing.
    fn keep_polling(&mut self) {
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

    /// No faults, but the records of one `poll` take longer than the session (FAILURES M3).
    fn be_slow(&mut self) {
        self.faults.clear();
        (self.session_timeout, self.heartbeat_interval, self.max_poll_interval) = (6_000, 1_000, 600_000);
        for member in &mut self.members {
            (member.processing, member.max_poll_records) = ((100, 300), 500);
        }
    }
}

fn member(random: &mut Random, number: u64, protocol: Protocol, calm: u64, lively: bool) -> Member {
    let joins =
        if number == 0 || random.percent(50) { random.between(0, 50) } else { random.between(0, calm) };
    // The first stays to the end: at least one member has to.
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
