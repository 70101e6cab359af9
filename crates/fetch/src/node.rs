//! One broker: its fetch session, its one outstanding call, and the partitions to fetch from it.

use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use offtake_machine::{Backoff, BackoffConfig, CallId, CallIds, TopicPartition, after};

use crate::session::Session;

/// The pause after a response without news while a partition is over its share. It doubles each time, up to
/// [`MAX_IDLE_BACKOFF`].
const IDLE_BACKOFF: Duration = Duration::from_millis(20);
const MAX_IDLE_BACKOFF: Duration = Duration::from_millis(500);

/// `max_bytes` of the first request to a broker, and the factor by which it grows with each response that brings records.
const FIRST_REQUEST_BYTES: usize = 64 << 10;
const REQUEST_GROWTH: usize = 4;

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) call: NodeCall,
    pub(crate) session: Session,
    /// Partitions to fetch.
    pub(crate) wanted: BTreeSet<TopicPartition>,
    /// Whether no request was sent to it since the fetcher had no started partition. More partitions are
    /// likely to start in a moment, and should not wait for a long poll.
    pub(crate) begins: bool,
    /// Partitions that are not fetched because they already hold their share of the budget.
    pub(crate) over_share: BTreeSet<TopicPartition>,
    /// Partitions whose entry in the session may have changed: the others cost nothing.
    pub(crate) dirty: BTreeSet<TopicPartition>,
    /// Partitions one of which has a batch that is too large: each is fetched alone until that one is found.
    pub(crate) oversize_candidates: VecDeque<TopicPartition>,
    pub(crate) backoff: Backoff,
    /// The number of consecutive session refusals.
    pub(crate) refusals: u32,
    /// Backoff for responses that arrive at once and have no news.
    pub(crate) empty_backoff: Backoff,
    /// The number of consecutive responses without news while a partition was over its share.
    pub(crate) idle_answers: u32,
    /// The largest request: small at first, so that the first records arrive before a large response has been
    /// read.
    pub(crate) max_request_bytes: usize,
    /// Until then requests to it omit the rack, so that it sends records itself (KIP-392).
    pub(crate) without_rack_until: Option<Instant>,
    /// Whether the engine has been notified that it fails.
    pub(crate) reported: bool,
}

/// The request of a broker, of which there is at most one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NodeCall {
    /// It may be sent as soon as a partition is wanted and there is memory, but not before this time.
    Unsent {
        not_before: Option<Instant>,
    },
    Sent(InFlight),
}

/// A request in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InFlight {
    /// The id of the call.
    pub(crate) id: CallId,
    pub(crate) sent: Instant,
    /// When it is given up, even if the driver never responds.
    pub(crate) deadline: Instant,
    /// `max_bytes` of the request: reserved in the budget until the response has arrived.
    pub(crate) bytes: usize,
    /// Whether it is a long poll.
    pub(crate) may_wait: bool,
}

impl NodeCall {
    /// No request, and none before this time.
    pub(crate) fn not_before(at: Instant) -> Self {
        Self::Unsent { not_before: Some(at) }
    }

    /// Whether a request may be sent now.
    pub(crate) fn may_be_sent(self, now: Instant) -> bool {
        matches!(self, Self::Unsent { not_before } if not_before.is_none_or(|at| at <= now))
    }

    pub(crate) fn in_flight(self) -> Option<InFlight> {
        match self {
            Self::Sent(in_flight) => Some(in_flight),
            Self::Unsent { .. } => None,
        }
    }

    /// Returns the id to send the request under.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        ids: &mut CallIds,
        timeout: Duration,
        bytes: usize,
        may_wait: bool,
    ) -> CallId {
        let id = ids.next_id();
        // The driver answers at `timeout`; the margin is for a driver that forgot.
        let deadline = after(after(now, timeout), timeout);
        *self = Self::Sent(InFlight { id, sent: now, deadline, bytes, may_wait });
        id
    }

    /// If `id` answers the request, the request is complete.
    pub(crate) fn take(&mut self, id: CallId) -> Option<InFlight> {
        let ours = self.in_flight().filter(|in_flight| in_flight.id == id)?;
        *self = Self::Unsent { not_before: None };
        Some(ours)
    }
}

impl Node {
    pub(crate) fn new(backoff: BackoffConfig, seed: u64) -> Self {
        Self {
            call: NodeCall::Unsent { not_before: None },
            session: Session::default(),
            wanted: BTreeSet::new(),
            begins: true,
            over_share: BTreeSet::new(),
            dirty: BTreeSet::new(),
            oversize_candidates: VecDeque::new(),
            backoff: Backoff::new(backoff, seed),
            refusals: 0,
            empty_backoff: Backoff::new(backoff, !seed),
            idle_answers: 0,
            max_request_bytes: FIRST_REQUEST_BYTES,
            without_rack_until: None,
            reported: false,
        }
    }

    /// The next candidate that is still wanted.
    pub(crate) fn next_oversize_candidate(&mut self) -> Option<&TopicPartition> {
        while self.oversize_candidates.front().is_some_and(|tp| !self.wanted.contains(tp)) {
            self.oversize_candidates.pop_front();
        }
        self.oversize_candidates.front()
    }

    /// A response had no news, and a partition is over its share: sends the next request after a pause. A
    /// long poll would delay that partition when it has memory again; [`fetch_now`](Self::fetch_now) ends the
    /// pause.
    pub(crate) fn back_off_idle(&mut self, now: Instant) {
        let rest = IDLE_BACKOFF.saturating_mul(1 << self.idle_answers.min(16)).min(MAX_IDLE_BACKOFF);
        self.idle_answers = self.idle_answers.saturating_add(1);
        self.call = NodeCall::not_before(now + rest);
    }

    /// A response had news.
    pub(crate) fn on_news(&mut self) {
        self.idle_answers = 0;
        self.max_request_bytes = self.max_request_bytes.saturating_mul(REQUEST_GROWTH);
    }

    /// A partition was added: ends the pause of [`back_off_idle`](Self::back_off_idle).
    pub(crate) fn fetch_now(&mut self) {
        if std::mem::take(&mut self.idle_answers) > 0
            && let NodeCall::Unsent { not_before } = &mut self.call
        {
            *not_before = None;
        }
    }

    /// Whether a request is in flight, or should be.
    pub(crate) fn is_active(&self) -> bool {
        self.call.in_flight().is_some() || !self.wanted.is_empty()
    }

    /// Whether a request may be sent now.
    pub(crate) fn due(&self, now: Instant) -> bool {
        self.call.may_be_sent(now) && !self.wanted.is_empty()
    }
}
