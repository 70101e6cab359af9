//! Builds the requests: one per broker, as large as the budget allows, and at the end one that closes the session.

use std::{
    collections::BTreeSet,
    ops::Bound,
    time::{Duration, Instant},
};

use offtake_machine::{BrokerId, Cluster, Target, Transmit};
use offtake_wire::messages::fetch::FetchRequest;

use super::Fetcher;
use crate::{
    Event,
    config::SHORTEST_WAIT,
    memory::Holder,
    node::{Node, NodeCall},
};

/// The last version in which topics are identified by name.
const LAST_BY_NAME: i16 = 12;
/// The session epoch that closes a session.
const FINAL_EPOCH: i32 = -1;
/// The least part of a broker's slice of the budget (1/4) that a request asks for: smaller requests while the
/// application is slow would cost more than they gain.
const MIN_REQUEST_PART: usize = 4;

/// The part of the budget that paused partitions may keep (1/4), even if others could use it.
const PAUSED_PART: usize = 4;

impl Fetcher {
    /// The next request. `None` while the budget is used up, until [`release`](Self::release) frees some of
    /// it.
    pub fn poll_transmit(&mut self, now: Instant, cluster: &Cluster) -> Option<Transmit> {
        self.polled_at = Some(now);
        if self.closing {
            return self.close_next(now);
        }
        if self.routing.has_unrouted() {
            self.routing.learn_first_brokers(cluster);
            self.route_all(now, cluster);
        }
        let broker = match self.next_due(now) {
            Some(broker) => broker,
            None => {
                self.reclaim_memory(now);
                self.next_due(now)?
            }
        };
        self.build_request(now, broker)
    }

    /// The next broker after that of the last request, so that each gets its turn when the budget is used up.
    fn next_due(&self, now: Instant) -> Option<BrokerId> {
        let after = self.last_broker.map_or(Bound::Unbounded, Bound::Excluded);
        let allowance = self.allowance();
        self.nodes
            .range((after, Bound::Unbounded))
            .chain(self.nodes.iter())
            .find(|(_, node)| node.due(now) && allowance.admits(node.wanted.len()))
            .map(|(broker, _)| *broker)
    }

    /// Whether something is not fetched until [`release`](Self::release) frees memory.
    pub fn waits_for_memory(&self) -> bool {
        let allowance = self.allowance();
        self.nodes.values().any(|node| {
            let is_refused = || node.call.in_flight().is_none() && !allowance.admits(node.wanted.len());
            !node.over_share.is_empty() || !node.wanted.is_empty() && is_refused()
        })
    }

    fn allowance(&self) -> Allowance {
        self.allowance_after(0)
    }

    /// The allowance if `expected` more bytes were free.
    fn allowance_after(&self, expected: usize) -> Allowance {
        let active = self.nodes.values().filter(|node| node.is_active()).count();
        let under_way: usize = self
            .nodes
            .values()
            .filter_map(|node| node.call.in_flight())
            .map(|in_flight| in_flight.bytes)
            .sum();
        let spent = self.memory_held().saturating_add(under_way).saturating_sub(expected);
        Allowance {
            slice: (self.config.budget / active.max(1)).max(1),
            remaining: self.config.budget.saturating_sub(spent),
            is_unused: spent == 0,
            partition: size(self.config.max_partition_bytes),
        }
    }

    /// Frees memory that paused partitions hold when others need it (FAILURES I12). Frames that only paused
    /// partitions hold may keep a quarter of the budget: the rest is enough for the others, and a partition
    /// that is paused for a moment is not read twice. Beyond that, queued chunks are dropped, the newest
    /// first, to be fetched again after the pause; and taken chunks are requested back, the oldest first.
    fn reclaim_memory(&mut self, now: Instant) {
        let must = |this: &Self, expected: usize| {
            this.pauses_hold_memory(expected) && this.lacks_memory(now, expected)
        };
        if !must(self, 0) {
            return;
        }
        let idle = self.memory.paused_frames();
        for frame in idle.iter().rev() {
            self.drop_frame(*frame);
            if !must(self, 0) {
                return;
            }
        }
        let mut expected: usize = 0;
        for frame in idle {
            if self.request_reclaim(frame) {
                expected = expected.saturating_add(self.memory.frame_bytes(frame));
            }
            if !must(self, expected) {
                return;
            }
        }
    }

    /// Whether paused partitions hold more than they may keep, when `expected` more bytes are free.
    fn pauses_hold_memory(&self, expected: usize) -> bool {
        self.memory.paused_bytes().saturating_sub(expected) > self.config.budget / PAUSED_PART
    }

    /// Whether a request could be sent to some broker if there were memory, when `expected` more bytes are
    /// free.
    fn lacks_memory(&self, now: Instant, expected: usize) -> bool {
        let allowance = self.allowance_after(expected);
        self.nodes.values().any(|node| node.due(now) && !allowance.admits(node.wanted.len()))
    }

    /// Drops the queued chunks of a frame, and what was read after them, if none of it has been taken.
    fn drop_frame(&mut self, frame: u64) {
        let holders = self.memory.holders(frame);
        if !holders.iter().all(|holder| !holder.taken && self.partitions.contains_key(&holder.partition)) {
            return;
        }
        holders.iter().for_each(|holder| self.drop_since(holder));
    }

    /// Asks the handle to return the chunks of a frame that have been taken; false if that will not free the frame.
    fn request_reclaim(&mut self, frame: u64) -> bool {
        let holders = self.memory.holders(frame);
        if holders.is_empty() || !holders.iter().all(|holder| self.partitions.contains_key(&holder.partition))
        {
            return false;
        }
        for holder in holders {
            if !holder.taken {
                self.drop_since(&holder);
                continue;
            }
            let Some(partition) = self.partitions.get_mut(&holder.partition) else { continue };
            if !std::mem::replace(&mut partition.reclaim_requested, true) {
                self.events.push_back(Event::Reclaim { token: partition.token, partition: holder.partition });
            }
        }
        true
    }

    fn drop_since(&mut self, holder: &Holder) {
        let mut back = None;
        while let Some(queued) = self
            .partitions
            .get_mut(&holder.partition)
            .and_then(|partition| partition.queue.drop_newest_since(holder.chunk))
        {
            self.dropped(&queued);
            back = Some(queued.from);
        }
        if let (Some(position), Some(partition)) = (back, self.partitions.get(&holder.partition)) {
            let (tp, token) = (holder.partition.clone(), partition.token);
            self.move_back(&tp, position);
            self.events.push_back(Event::Rewound { partition: tp, token, position });
        }
    }

    fn build_request(&mut self, now: Instant, broker: BrokerId) -> Option<Transmit> {
        let allowance = self.allowance();
        let node = self.nodes.get_mut(&broker)?;
        let next_oversize_candidate = node.next_oversize_candidate().cloned().map(|tp| BTreeSet::from([tp]));
        let begins = std::mem::take(&mut node.begins);
        // A partition over its share must not wait for a long poll of the others when it has memory again.
        let may_wait = next_oversize_candidate.is_none() && node.over_share.is_empty() && !begins;
        let max_wait = if may_wait { self.config.max_wait } else { SHORTEST_WAIT };
        let (bytes, max_partition_bytes) = match next_oversize_candidate {
            Some(_) => (1, 1), // its first batch, however large, and no more
            None => {
                let bytes = allowance
                    .request_bytes(node.wanted.len())
                    .min(node.max_request_bytes)
                    .clamp(1, size(self.config.max_bytes));
                (bytes, self.config.max_partition_bytes)
            }
        };
        let id = node.call.send(now, &mut self.ids, self.config.request_timeout, bytes, may_wait);
        if node.without_rack_until.is_some_and(|until| until <= now) {
            node.without_rack_until = None;
        }
        let rack = self.config.rack.as_ref().filter(|_| node.without_rack_until.is_none());
        let partitions = &self.partitions;
        let wanted = next_oversize_candidate.as_ref().unwrap_or(&node.wanted);
        let session_request =
            node.session.build_request(wanted, &mut node.dirty, max_partition_bytes, |tp| {
                partitions.get(tp).map(|partition| partition.entry())
            });
        self.last_broker = Some(broker);
        for (tp, watermarks) in session_request.watermarks {
            if let Some(partition) =
                self.partitions.get_mut(&tp).filter(|partition| partition.watermarks.is_none())
            {
                partition.watermarks = Some(watermarks);
                let token = partition.token;
                self.events.push_back(Event::Watermarks { partition: tp, token, watermarks });
            }
        }
        let request = FetchRequest {
            max_wait_ms: millis(max_wait),
            min_bytes: self.config.min_bytes,
            max_bytes: i32::try_from(bytes).unwrap_or(i32::MAX),
            isolation_level: self.config.isolation.code(),
            session_id: session_request.session_id,
            session_epoch: session_request.session_epoch,
            topics: session_request.topics,
            forgotten_topics_data: session_request.forgotten,
            rack_id: rack.cloned().unwrap_or_default(),
            ..Default::default()
        };
        Some(Transmit {
            id,
            to: Target::Broker(broker),
            request: request.into(),
            max_version: (!session_request.by_id).then_some(LAST_BY_NAME),
            prompt: None,
            timeout: self.config.request_timeout,
        })
    }

    /// When the next call is due to be sent or given up. A call that waits for memory has no such time, unless paused partitions have to make
    /// room for it by then.
    pub(super) fn next_call_at(&self) -> Option<Instant> {
        let allowance = self.allowance();
        let can_reclaim = self.pauses_hold_memory(0);
        let makes_room = |at: Instant| can_reclaim && self.polled_at.is_none_or(|polled| polled < at);
        let time = |node: &Node| match node.call {
            NodeCall::Unsent { not_before } if self.closing => not_before,
            NodeCall::Unsent { not_before } => {
                let is_called = |at: &Instant| allowance.admits(node.wanted.len()) || makes_room(*at);
                not_before.filter(|at| !node.wanted.is_empty() && is_called(at))
            }
            NodeCall::Sent(in_flight) => Some(in_flight.deadline),
        };
        self.nodes.values().filter_map(time).min()
    }

    /// Stops fetching and closes the fetch sessions, so that the brokers need not keep them until they are
    /// evicted.
    ///
    /// It does not wait for requests in flight, and leaves the sessions of `busy` brokers alone, as these
    /// would answer late. Keep driving the machine until [`is_closed`](Self::is_closed), or until a deadline
    /// of the caller.
    pub fn close(&mut self, now: Instant, busy: &BTreeSet<BrokerId>) {
        if self.closing {
            return;
        }
        self.closing = true;
        for tp in self.partitions.keys().cloned().collect::<Vec<_>>() {
            self.stop(&tp);
        }
        self.routing.end();
        self.refresh = false;
        self.nodes.retain(|broker, node| {
            node.call = NodeCall::not_before(now);
            // A broker that fails is not waited for.
            node.session.is_open() && node.backoff.failures() == 0 && !busy.contains(broker)
        });
    }

    /// Whether [`close`](Self::close) was called and all sessions are closed.
    pub fn is_closed(&self) -> bool {
        self.closing && self.nodes.is_empty()
    }

    fn close_next(&mut self, now: Instant) -> Option<Transmit> {
        for (broker, node) in &mut self.nodes {
            if !node.call.may_be_sent(now) {
                continue;
            }
            let id = node.call.send(now, &mut self.ids, self.config.request_timeout, 0, false);
            let request = FetchRequest {
                // The broker does not wait if no partition is requested; with 0 Redpanda would not answer at
                // all.
                max_wait_ms: millis(self.config.max_wait),
                min_bytes: self.config.min_bytes,
                max_bytes: self.config.max_bytes,
                session_id: node.session.id(),
                session_epoch: FINAL_EPOCH,
                ..Default::default()
            };
            return Some(Transmit {
                id,
                to: Target::Broker(*broker),
                request: request.into(),
                max_version: node.session.by_name().then_some(LAST_BY_NAME),
                prompt: None,
                timeout: self.config.request_timeout,
            });
        }
        None
    }
}

/// The remaining budget for one more request.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    /// Each broker's part of the budget.
    slice: usize,
    remaining: usize,
    /// Whether nothing is held and no request is in flight.
    is_unused: bool,
    /// `max.partition.fetch.bytes`.
    partition: usize,
}

impl Allowance {
    /// Whether there is enough memory to request this many partitions.
    fn admits(self, partitions: usize) -> bool {
        let least =
            (self.slice / MIN_REQUEST_PART).clamp(1, self.partition.saturating_mul(partitions).max(1));
        self.is_unused || self.remaining >= least
    }

    /// `max_bytes` of the request. At most half of the remaining budget, so that a broker that does not
    /// answer leaves something for those that are asked later (FAILURES I12).
    fn request_bytes(self, partitions: usize) -> usize {
        self.slice.min(self.remaining.div_ceil(2)).min(self.partition.saturating_mul(partitions))
    }
}

pub(super) fn size(bytes: i32) -> usize {
    usize::try_from(bytes).unwrap_or(0)
}

fn millis(wait: Duration) -> i32 {
    i32::try_from(wait.as_millis()).unwrap_or(i32::MAX)
}
