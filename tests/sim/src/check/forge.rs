//! Forged histories: each rule is tested with one that breaks it and one that nearly does.

use std::{collections::BTreeSet, sync::Arc};

use super::Checker;
use crate::{
    clock::ms,
    events::{Call, Event, Place, What, Who},
    plan::{Commits, Fault, FaultKind, Member, Plan, Protocol, Reset, Topic},
    working,
};

/// The first member, in its first life.
pub(super) const M0: Who = Who { member: 0, life: 0 };
pub(super) const M1: Who = Who { member: 1, life: 0 };

/// The partition of these histories, the only one of most.
pub(super) fn orders() -> Place {
    Place::new("orders", 0)
}

fn member() -> Member {
    Member {
        joins: 0,
        leaves: None,
        returns: None,
        assignors: "range".to_owned(),
        consumer_protocol: false,
        instance_id: false,
        commits: Commits::Sync,
        auto_commit_interval: 1_000,
        read_committed: false,
        processing: (0, 0),
        max_poll_records: 500,
        poll_timeout: 100,
        listener: (0, 0),
        drops: 0,
        pauses: 0,
        fetch_max_bytes: 1 << 20,
        values: false,
        patterns: false,
        pauses_assigned: false,
        per_poll: 0,
        keeps_offsets: false,
        resubscribes: Vec::new(),
        twin_of: None,
        rival_of: None,
        by_hand: false,
    }
}

/// A history under construction.
#[derive(Clone, Debug)]
pub(super) struct Forged {
    pub(super) plan: Plan,
    now: u64,
    events: Vec<Event>,
}

impl Forged {
    /// Two members, one topic with one partition, no faults.
    pub(super) fn new() -> Self {
        let plan = Plan {
            seed: 0,
            connections: true,
            brokers: 1,
            racks: false,
            latency: (1, 1),
            topics: vec![Topic {
                name: "orders".to_owned(),
                partitions: 1,
                compacted: false,
                compression: String::new(),
            }],
            protocol: Protocol::Eager,
            reset: Reset::Earliest,
            session_timeout: 6_000,
            heartbeat_interval: 1_000,
            max_poll_interval: 60_000,
            initial_rebalance_delay: 0,
            members: vec![member(), member()],
            producers: Vec::new(),
            faults: Vec::new(),
            metadata_max_age: 10_000,
            partial_writes: false,
            opens_ahead: false,
            clock_jumps: false,
            copies: None,
            work: None,
            calm: 10_000,
        };
        Self { plan, now: 0, events: Vec::new() }
    }

    pub(super) fn planned(mut self, change: impl FnOnce(&mut Plan)) -> Self {
        change(&mut self.plan);
        self
    }

    pub(super) fn fault(self, at: u64, what: FaultKind) -> Self {
        self.planned(|plan| plan.faults.push(Fault { at, what }))
    }

    /// Lets this many milliseconds pass.
    pub(super) fn wait(mut self, millis: u64) -> Self {
        self.now += millis;
        self
    }

    pub(super) fn tell(mut self, what: What) -> Self {
        self.now += 1;
        self.events.push(Event { at: ms(self.now), what });
        self
    }

    /// Adds an event at the same instant as the one before.
    pub(super) fn at_once(mut self, what: What) -> Self {
        self.events.push(Event { at: ms(self.now), what });
        self
    }

    pub(super) fn starts(self, who: Who) -> Self {
        self.tell(What::Started { who }).tell(What::Named { who, member: who.to_string() })
    }

    pub(super) fn granted(self, who: Who, generation: i32) -> Self {
        self.tell(What::GroupAssigned { member: who.to_string(), generation, places: vec![orders()] })
    }

    pub(super) fn assigned(self, who: Who, generation: i32) -> Self {
        self.tell(What::Assigned { who, places: vec![orders()], generation })
    }

    /// The coordinator gives it the partition, and its application is told.
    pub(super) fn joins(self, who: Who, generation: i32) -> Self {
        self.starts(who).granted(who, generation).assigned(who, generation)
    }

    pub(super) fn revoked(self, who: Who) -> Self {
        self.tell(What::ListenerBegins { who, call: Call::Revoked, places: vec![orders()], generation: 1 })
            .tell(What::ListenerEnds { who, call: Call::Revoked })
            .tell(What::Revoked { who, places: vec![orders()] })
    }

    /// Records at these offsets; the value of each is its offset and `log`.
    pub(super) fn written(mut self, offsets: std::ops::Range<i64>, log: u64) -> Self {
        for offset in offsets {
            self = self.tell(What::Appended { at: orders(), offset, id: id(offset, log), transaction: 0 });
        }
        self
    }

    pub(super) fn reset(self, who: Who, from: Option<i64>, to: i64) -> Self {
        self.tell(What::Reset { who, at: orders(), from, to, reason: "forged".to_owned() })
    }

    pub(super) fn handed(mut self, who: Who, offsets: std::ops::Range<i64>, log: u64) -> Self {
        for offset in offsets {
            self = self.handed_as(who, (offset, log), 0);
        }
        self
    }

    /// Hands out a record at this offset of that log, with a timestamp later than the real one by `later`.
    pub(super) fn handed_as(self, who: Who, (offset, log): (i64, u64), later: i64) -> Self {
        let id = id(offset, log);
        let dated = self.dated(id) + later;
        self.tell(What::Delivered { who, at: orders(), offset, id, dated })
    }

    /// Hands out a record of any partition, with its value.
    pub(super) fn hand_out(self, who: Who, at: &Place, (offset, id): (i64, u64)) -> Self {
        let dated = self.dated(id);
        self.tell(What::Delivered { who, at: at.clone(), offset, id, dated })
    }

    /// The timestamp of the record with this value.
    fn dated(&self, id: u64) -> i64 {
        let written = self.events.iter().find_map(|event| match &event.what {
            What::Appended { id: of, .. } if *of == id => Some(event.at),
            _ => None,
        });
        working::dated(written.unwrap_or_default(), id)
    }

    pub(super) fn processed(mut self, who: Who, offsets: std::ops::Range<i64>, log: u64) -> Self {
        for offset in offsets {
            self = self.tell(What::Processed { who, at: orders(), offset, id: id(offset, log) });
        }
        self
    }

    /// Records are handed out, and processed.
    pub(super) fn reads(self, who: Who, offsets: std::ops::Range<i64>, log: u64) -> Self {
        self.handed(who, offsets.clone(), log).processed(who, offsets, log)
    }

    /// Sends a commit without a leader epoch.
    pub(super) fn sends(self, who: Who, offset: i64) -> Self {
        self.sends_of_epoch(who, offset, -1)
    }

    pub(super) fn sends_of_epoch(self, who: Who, offset: i64, epoch: i32) -> Self {
        self.tell(What::CommitSent { who, at: orders(), offset, epoch, metadata: String::new() })
    }

    pub(super) fn noted(self, who: Who, offset: i64) -> Self {
        let (member, at) = (who.to_string(), orders());
        self.tell(What::Committed { member, generation: 1, at, offset, leader_epoch: 0 })
    }

    pub(super) fn commits(self, who: Who, offset: i64) -> Self {
        self.sends(who, offset).noted(who, offset)
    }

    /// Truncates the log. The first truncation begins leader epoch 1.
    pub(super) fn truncated(self, end: i64) -> Self {
        let written = self.events.iter().filter_map(|event| match &event.what {
            What::Appended { offset, .. } => Some(offset + 1),
            _ => None,
        });
        let from = written.max().unwrap_or(0);
        self.truncated_from(from, end)
    }

    /// The same for a log that ended with markers.
    pub(super) fn truncated_from(self, from: i64, end: i64) -> Self {
        let before = self.events.iter().filter(|event| matches!(event.what, What::Truncated { .. })).count();
        let epoch = i32::try_from(before).unwrap_or(0) + 1;
        self.tell(What::Truncated { at: orders(), from, end, epoch })
    }

    pub(super) fn recreated(self) -> Self {
        self.tell(What::Recreated { topic: "orders".into() })
    }

    /// The first member reads ten records and commits them.
    pub(super) fn begun() -> Self {
        Self::new().written(0..10, 0).joins(M0, 1).reset(M0, None, 0).reads(M0, 0..10, 0).commits(M0, 10)
    }

    pub(super) fn events(&self) -> &[Event] {
        &self.events
    }

    /// The rules that this history breaks.
    pub(super) fn breaks(&self) -> BTreeSet<String> {
        let mut checker = Checker::new(Arc::new(self.plan.clone()));
        for event in &self.events {
            checker.feed(event);
        }
        checker.violations().into_iter().map(|violation| violation.rule).collect()
    }

    #[track_caller]
    pub(super) fn holds(&self) {
        assert_eq!(self.breaks(), BTreeSet::new());
    }

    #[track_caller]
    pub(super) fn is_found(&self, rule: &str) {
        let breaks = self.breaks();
        assert!(breaks.contains(rule), "{rule} is not among {breaks:?}");
    }
}

fn id(offset: i64, log: u64) -> u64 {
    u64::try_from(offset).unwrap_or(0) + log * 1_000
}
