//! One broker, as far as fetching goes: its session, its one call, and what is to be asked of it.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Instant,
};

use offtake_machine::{Backoff, BackoffConfig, Call, TopicPartition};

use crate::session::Session;

#[derive(Debug)]
pub(crate) struct Node {
    /// Idle or due: may be asked as soon as something is wanted and there is room.
    pub(crate) call: Call,
    pub(crate) flight: Option<Flight>,
    pub(crate) session: Session,
    /// Partitions to be asked for.
    pub(crate) wanted: BTreeSet<TopicPartition>,
    /// Partitions of which the broker may have to be told something: idle ones cost nothing.
    pub(crate) dirty: BTreeSet<TopicPartition>,
    /// Partitions of which one has a batch too large to be read: the first is asked for, alone, until all are cleared.
    pub(crate) suspects: VecDeque<TopicPartition>,
    pub(crate) backoff: Backoff,
    /// Sessions refused in a row.
    pub(crate) refusals: u32,
    /// Answers in a row that came at once and said nothing.
    pub(crate) empty: Backoff,
    /// Until then it is not told our rack, so that it sends records itself.
    pub(crate) rackless_until: Option<Instant>,
    /// Whether the engine has been told that it fails.
    pub(crate) announced: bool,
}

/// A request under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flight {
    pub(crate) sent: Instant,
    /// Bytes that were asked for: set aside in the budget until the answer is here.
    pub(crate) ask: usize,
}

impl Node {
    pub(crate) fn new(backoff: BackoffConfig, seed: u64) -> Self {
        Self {
            call: Call::Idle,
            flight: None,
            session: Session::default(),
            wanted: BTreeSet::new(),
            dirty: BTreeSet::new(),
            suspects: VecDeque::new(),
            backoff: Backoff::new(backoff, seed),
            refusals: 0,
            empty: Backoff::new(backoff, !seed),
            rackless_until: None,
            announced: false,
        }
    }

    /// Who is asked for alone next; nobody, if nobody is suspected whom we still want.
    pub(crate) fn suspect(&mut self) -> Option<&TopicPartition> {
        while self.suspects.front().is_some_and(|tp| !self.wanted.contains(tp)) {
            self.suspects.pop_front();
        }
        self.suspects.front()
    }

    /// Whether it has, or should have, a request under way.
    pub(crate) fn is_active(&self) -> bool {
        self.flight.is_some() || !self.wanted.is_empty()
    }

    /// When it may be asked, if anything is to be asked.
    pub(crate) fn due(&self, now: Instant) -> bool {
        match self.call {
            Call::Idle => !self.wanted.is_empty(),
            Call::Due(at) => at <= now && !self.wanted.is_empty(),
            Call::Sent { .. } => false,
        }
    }
}
