//! What to send: one request per broker, as large as the budget allows, and at the end one that closes the session.

use std::{
    collections::BTreeSet,
    ops::Bound,
    time::{Duration, Instant},
};

use offtake_machine::{BrokerId, Call, Cluster, Target, Transmit};
use offtake_wire::messages::fetch::FetchRequest;

use crate::{
    Event, Fetcher,
    config::SHORTEST_WAIT,
    memory::Holder,
    node::{Flight, Node},
    partition::State,
};

/// The last version in which topics go by name.
const LAST_BY_NAME: i16 = 12;
/// The session epoch that closes a session.
const FINAL_EPOCH: i32 = -1;
/// A broker is asked only for this part of its slice of the budget, or more: small requests while the application is
/// slow would cost more than they bring.
const LEAST_PART: usize = 4;

/// Paused partitions may keep this part of the budget, though others could use it.
const PAUSED_PART: usize = 4;

impl Fetcher {
    /// What to send. With the budget spent nothing, until [`release`](Self::release) makes room.
    pub fn poll_transmit(&mut self, now: Instant, cluster: &Cluster) -> Option<Transmit> {
        if self.closing {
            return self.close_next(now);
        }
        if !self.unplaced.is_empty() {
            if self.brokers.is_empty() {
                self.brokers = cluster.brokers.keys().copied().collect();
            }
            self.place_all(now, cluster);
        }
        let broker = match self.next_due(now) {
            Some(broker) => broker,
            None => {
                self.make_room(now);
                self.next_due(now)?
            }
        };
        self.ask(now, broker)
    }

    /// The next broker after the one asked last, so that under a full budget each gets its turn.
    fn next_due(&self, now: Instant) -> Option<BrokerId> {
        let after = self.last_asked.map_or(Bound::Unbounded, Bound::Excluded);
        let allowance = self.allowance();
        self.nodes
            .range((after, Bound::Unbounded))
            .chain(self.nodes.iter())
            .find(|(_, node)| node.due(now) && allowance.admits(node.wanted.len()))
            .map(|(broker, _)| *broker)
    }

    fn allowance(&self) -> Allowance {
        self.allowance_after(0)
    }

    /// As it will be when so many bytes have come free.
    fn allowance_after(&self, expected: usize) -> Allowance {
        let active = self.nodes.values().filter(|node| node.is_active()).count();
        let under_way: usize =
            self.nodes.values().filter_map(|node| node.flight).map(|flight| flight.ask).sum();
        let spent = self.buffered().saturating_add(under_way).saturating_sub(expected);
        Allowance {
            slice: (self.config.budget / active.max(1)).max(1),
            left: self.config.budget.saturating_sub(spent),
            untouched: spent == 0,
            partition: size(self.config.max_partition_bytes),
        }
    }

    /// Paused partitions must not hold up the others (I12). Of the frames that nobody but they hold they may keep a quarter
    /// of the budget: the others can do with the rest, once they are read, and a partition that is paused for a moment is not
    /// read twice. Beyond that what waits here is dropped, the newest first, to be read again after the pause; and what has been
    /// taken is asked for, the oldest first.
    fn make_room(&mut self, now: Instant) {
        let enough = self.config.budget / PAUSED_PART;
        let must = |this: &Self, expected: usize| {
            this.memory.idle_bytes().saturating_sub(expected) > enough && this.starves(now, expected)
        };
        if !must(self, 0) {
            return;
        }
        let idle = self.memory.idle();
        for frame in idle.iter().rev() {
            self.drop_frame(*frame);
            if !must(self, 0) {
                return;
            }
        }
        let mut expected: usize = 0;
        for frame in idle {
            if self.ask_back(frame) {
                expected = expected.saturating_add(self.memory.frame_bytes(frame));
            }
            if !must(self, expected) {
                return;
            }
        }
    }

    /// Whether a broker waits for room, with so many bytes to come free.
    fn starves(&self, now: Instant, expected: usize) -> bool {
        let allowance = self.allowance_after(expected);
        self.nodes.values().any(|node| node.due(now) && !allowance.admits(node.wanted.len()))
    }

    /// Drops the chunks of an idle frame that wait here, with what was read after them, if none of it has been taken.
    fn drop_frame(&mut self, frame: u64) {
        let holders = self.memory.holders(frame);
        if !holders.iter().all(|holder| !holder.lent && self.may_go_back(holder)) {
            return;
        }
        holders.iter().for_each(|holder| self.drop_since(holder));
    }

    /// Asks for the chunks of an idle frame that have been taken; false if it will not come free by that.
    fn ask_back(&mut self, frame: u64) -> bool {
        let holders = self.memory.holders(frame);
        if holders.is_empty() || !holders.iter().all(|holder| self.may_go_back(holder)) {
            return false;
        }
        for holder in holders {
            if !holder.lent {
                self.drop_since(&holder);
                continue;
            }
            let Some(partition) = self.partitions.get_mut(&holder.partition) else { continue };
            if !std::mem::replace(&mut partition.asked_back, true) {
                self.events.push_back(Event::GiveBack { token: partition.token, tp: holder.partition });
            }
        }
        true
    }

    /// Not while somebody else has its position in hand, which must not go back meanwhile.
    fn may_go_back(&self, holder: &Holder) -> bool {
        self.partitions.get(&holder.partition).is_some_and(|partition| partition.state != State::Parked)
    }

    fn drop_since(&mut self, holder: &Holder) {
        let mut back = None;
        while let Some(waiting) = self
            .partitions
            .get_mut(&holder.partition)
            .and_then(|partition| partition.queue.drop_newest_since(holder.chunk))
        {
            self.dropped(&waiting);
            back = Some(waiting.from);
        }
        if let (Some(position), Some(partition)) = (back, self.partitions.get(&holder.partition)) {
            let (tp, token) = (holder.partition.clone(), partition.token);
            self.go_back(&tp, position);
            self.events.push_back(Event::WentBack { tp, token, position });
        }
    }

    fn ask(&mut self, now: Instant, broker: BrokerId) -> Option<Transmit> {
        let allowance = self.allowance();
        let node = self.nodes.get_mut(&broker)?;
        let suspect = node.suspect().cloned().map(|tp| BTreeSet::from([tp]));
        // Nobody who is left out shall have to wait for those who have nothing.
        let waits = suspect.is_none() && node.left_out.is_empty();
        let max_wait = if waits { self.config.max_wait } else { SHORTEST_WAIT };
        let (ask, max_partition_bytes) = match suspect {
            Some(_) => (1, 1), // its first batch, however large, and no more
            None => {
                let ask =
                    allowance.ask(node.wanted.len()).min(node.most).clamp(1, size(self.config.max_bytes));
                (ask, self.config.max_partition_bytes)
            }
        };
        if node.call == Call::Idle {
            node.call = Call::Due(now);
        }
        let id = node.call.start(now, &mut self.ids, self.config.request_timeout)?;
        node.flight = Some(Flight { sent: now, ask, waits });
        if node.rackless_until.is_some_and(|until| until <= now) {
            node.rackless_until = None;
        }
        let rack = self.config.rack.as_ref().filter(|_| node.rackless_until.is_none());
        let partitions = &self.partitions;
        let wanted = suspect.as_ref().unwrap_or(&node.wanted);
        let said = node.session.ask(wanted, &mut node.dirty, max_partition_bytes, |tp| {
            partitions.get(tp).map(|partition| partition.entry())
        });
        self.last_asked = Some(broker);
        for (tp, watermarks) in said.ends {
            if let Some(partition) =
                self.partitions.get_mut(&tp).filter(|partition| partition.watermarks.is_none())
            {
                partition.watermarks = Some(watermarks);
                let token = partition.token;
                self.events.push_back(Event::Watermarks { tp, token, watermarks });
            }
        }
        let request = FetchRequest {
            max_wait_ms: millis(max_wait),
            min_bytes: self.config.min_bytes,
            max_bytes: i32::try_from(ask).unwrap_or(i32::MAX),
            isolation_level: self.config.isolation.code(),
            session_id: said.session_id,
            session_epoch: said.session_epoch,
            topics: said.topics,
            forgotten_topics_data: said.forgotten,
            rack_id: rack.cloned().unwrap_or_default(),
            ..Default::default()
        };
        Some(Transmit {
            id,
            to: Target::Broker(broker),
            request: request.into(),
            max_version: (!said.by_id).then_some(LAST_BY_NAME),
            timeout: self.config.request_timeout,
        })
    }

    /// When the next call is due to be sent or given up. One that waits for room has no time.
    pub(crate) fn next_call(&self) -> Option<Instant> {
        let allowance = self.allowance();
        let time = |node: &Node| match node.call {
            Call::Idle => None,
            Call::Due(at) if self.closing => Some(at),
            Call::Due(at) => {
                Some(at).filter(|_| !node.wanted.is_empty() && allowance.admits(node.wanted.len()))
            }
            Call::Sent { deadline, .. } => Some(deadline),
        };
        self.nodes.values().filter_map(time).min()
    }

    /// Fetches no more and closes the sessions at the brokers, so that they need not keep them until they age.
    ///
    /// Answers to requests under way are not waited for. Drive it on until [`is_closed`](Self::is_closed), or for as
    /// long as you like.
    pub fn close(&mut self, now: Instant) {
        if self.closing {
            return;
        }
        self.closing = true;
        for tp in self.partitions.keys().cloned().collect::<Vec<_>>() {
            self.stop(&tp);
        }
        self.lookup_at = None;
        self.refresh = false;
        self.nodes.retain(|_, node| {
            node.flight = None;
            node.call = Call::Due(now);
            // One that fails is not worth waiting for.
            node.session.is_open() && node.backoff.failures() == 0
        });
    }

    /// Whether it has been closed and no broker need be told any more.
    pub fn is_closed(&self) -> bool {
        self.closing && self.nodes.is_empty()
    }

    fn close_next(&mut self, now: Instant) -> Option<Transmit> {
        for (broker, node) in &mut self.nodes {
            let Some(id) = node.call.start(now, &mut self.ids, self.config.request_timeout) else { continue };
            let request = FetchRequest {
                // Nobody waits when nothing is asked for; with 0 Redpanda would not answer at all.
                max_wait_ms: millis(self.config.max_wait),
                min_bytes: self.config.min_bytes,
                max_bytes: self.config.max_bytes,
                isolation_level: 0,
                session_id: node.session.id(),
                session_epoch: FINAL_EPOCH,
                ..Default::default()
            };
            return Some(Transmit {
                id,
                to: Target::Broker(*broker),
                request: request.into(),
                max_version: node.session.by_name().then_some(LAST_BY_NAME),
                timeout: self.config.request_timeout,
            });
        }
        None
    }
}

/// What is left of the budget, for one more request.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    /// Each broker's part of the whole.
    slice: usize,
    left: usize,
    /// Whether nothing is held and nothing under way.
    untouched: bool,
    /// The most that is wanted of one partition.
    partition: usize,
}

impl Allowance {
    /// Whether there is enough to ask for so many partitions.
    fn admits(self, partitions: usize) -> bool {
        let least = (self.slice / LEAST_PART).clamp(1, self.partition.saturating_mul(partitions).max(1));
        self.untouched || self.left >= least
    }

    /// How much to ask for. Never more than half of what is left, so that a broker that does not answer leaves
    /// something for those that join later (I12).
    fn ask(self, partitions: usize) -> usize {
        self.slice.min(self.left.div_ceil(2)).min(self.partition.saturating_mul(partitions))
    }
}

pub(crate) fn size(bytes: i32) -> usize {
    usize::try_from(bytes).unwrap_or(0)
}

fn millis(wait: Duration) -> i32 {
    i32::try_from(wait.as_millis()).unwrap_or(i32::MAX)
}
