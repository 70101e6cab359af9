//! One broker, as far as fetching goes: its session, its one call, and what is to be asked of it.

use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use offtake_machine::{Backoff, BackoffConfig, Call, TopicPartition};

use crate::session::Session;

/// How soon to ask again for those that have nothing new while another is left out; twice as long each time after, up to the
/// longest.
const REST: Duration = Duration::from_millis(20);
const LONGEST_REST: Duration = Duration::from_millis(500);

/// How many bytes to ask of a broker the first time, and how much more each time after.
const FIRST: usize = 256 << 10;
const GROWTH: usize = 4;

#[derive(Debug)]
pub(crate) struct Node {
    /// Idle or due: may be asked as soon as something is wanted and there is room.
    pub(crate) call: Call,
    pub(crate) flight: Option<Flight>,
    pub(crate) session: Session,
    /// Partitions to be asked for.
    pub(crate) wanted: BTreeSet<TopicPartition>,
    /// Those that would be, had they not their share of the budget already.
    pub(crate) left_out: BTreeSet<TopicPartition>,
    /// Partitions of which the broker may have to be told something: idle ones cost nothing.
    pub(crate) dirty: BTreeSet<TopicPartition>,
    /// Partitions of which one has a batch too large to be read: the first is asked for, alone, until all are cleared.
    pub(crate) suspects: VecDeque<TopicPartition>,
    pub(crate) backoff: Backoff,
    /// Sessions refused in a row.
    pub(crate) refusals: u32,
    /// Answers in a row that came at once and said nothing.
    pub(crate) empty: Backoff,
    /// Answers in a row that said nothing while somebody was left out.
    pub(crate) idle_answers: u32,
    /// The most to ask for: little at first, so that the first records are here before a large answer has been read.
    pub(crate) most: usize,
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
    /// Whether the broker may wait for something to come.
    pub(crate) waits: bool,
}

impl Node {
    pub(crate) fn new(backoff: BackoffConfig, seed: u64) -> Self {
        Self {
            call: Call::Idle,
            flight: None,
            session: Session::default(),
            wanted: BTreeSet::new(),
            left_out: BTreeSet::new(),
            dirty: BTreeSet::new(),
            suspects: VecDeque::new(),
            backoff: Backoff::new(backoff, seed),
            refusals: 0,
            empty: Backoff::new(backoff, !seed),
            idle_answers: 0,
            most: FIRST,
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

    /// An answer said nothing, and somebody is left out: when to look again. A longer wait at the broker would stand in
    /// the way of who is left out when it has room again; whoever has comes [at once](Self::fetch_now).
    pub(crate) fn back_off_idle(&mut self, now: Instant) {
        let rest = REST.saturating_mul(1 << self.idle_answers.min(16)).min(LONGEST_REST);
        self.idle_answers = self.idle_answers.saturating_add(1);
        self.call = Call::Due(now + rest);
    }

    /// It has sent something.
    pub(crate) fn sent_something(&mut self) {
        self.idle_answers = 0;
        self.most = self.most.saturating_mul(GROWTH);
    }

    /// There is more to ask for.
    pub(crate) fn fetch_now(&mut self) {
        if std::mem::take(&mut self.idle_answers) > 0 && !self.call.is_sent() {
            self.call = Call::Idle;
        }
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
