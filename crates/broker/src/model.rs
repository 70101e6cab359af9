//! [`Model`]: the whole cluster, as values.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;
use kafka_protocol::{
    messages::{ApiKey, ResponseKind},
    protocol::StrBytes,
};

use crate::{
    config::Config,
    connection::{ConnectionId, Connections, Output},
    faults::Faults,
    fetch::Fetches,
    groups::Groups,
    nodes::Nodes,
    observe::Observed,
    random::Random,
    request::{Context, Reply},
    topics::Topics,
    transactions::Transactions,
};

/// A cluster without sockets or clocks: frames and time go in, frames come out.
///
/// After every call: take [`poll_output`](Self::poll_output) until it is empty, and call
/// [`handle_timeout`](Self::handle_timeout) at [`poll_timeout`](Self::poll_timeout). Time never goes back.
#[derive(Debug)]
pub struct Model {
    pub(crate) config: Config,
    /// The moment of the call that is being handled.
    pub(crate) now: Instant,
    started: Instant,
    pub(crate) random: Random,
    pub(crate) nodes: Nodes,
    pub(crate) connections: Connections,
    pub(crate) topics: Topics,
    pub(crate) fetches: Fetches,
    pub(crate) groups: Groups,
    pub(crate) transactions: Transactions,
    pub(crate) faults: Faults,
    pub(crate) outputs: VecDeque<Output>,
    observed: VecDeque<Observed>,
}

impl Model {
    /// A cluster that starts now, without topics.
    pub fn new(now: Instant, config: Config) -> Self {
        Self {
            now,
            started: now,
            random: Random::new(config.seed),
            nodes: Nodes::new(config.brokers, &config.racks),
            connections: Connections::default(),
            topics: Topics::default(),
            fetches: Fetches::default(),
            groups: Groups::default(),
            transactions: Transactions::default(),
            faults: Faults::new(config.seed),
            outputs: VecDeque::new(),
            observed: VecDeque::new(),
            config,
        }
    }

    /// Wall-clock time in milliseconds since 1970.
    pub(crate) fn wall_ms(&self) -> i64 {
        let since = self.now.saturating_duration_since(self.started).as_millis();
        self.config.wall_ms.saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
    }

    /// A client dials a broker: its connection, or `None` when the broker is down and the dial is refused. `host` is the
    /// client's address without a port.
    pub fn connect(&mut self, now: Instant, broker: i32, host: &str) -> Option<ConnectionId> {
        self.now = now;
        self.nodes
            .accepts(broker)
            .then(|| self.connections.accept(broker, StrBytes::from_string(host.to_owned())))
    }

    /// A connection is gone: the client closed it.
    pub fn disconnect(&mut self, now: Instant, connection: ConnectionId) {
        self.now = now;
        self.forget_connection(connection);
    }

    /// A frame arrived, given without its length.
    pub fn receive(&mut self, now: Instant, connection: ConnectionId, frame: Bytes) {
        self.now = now;
        if let Some(open) = self.connections.open.get_mut(&connection) {
            open.waiting.push_back(frame);
            self.serve(connection);
        }
    }

    /// What is to be done to connections.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// What happened, if [`Config::observe`] asks for it.
    pub fn poll_observed(&mut self) -> Option<Observed> {
        self.observed.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let failover = self.nodes.all.values().filter_map(|node| node.fails_over).min();
        let parts = [
            failover,
            self.fetches.next_timeout(),
            self.groups.next_timeout(),
            self.transactions.next_timeout(),
            self.faults.next_timeout(),
        ];
        parts.into_iter().flatten().min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        self.fail_over();
        self.expire_fetches();
        self.expire_groups();
        self.expire_transactions();
        self.release_delayed();
    }

    // ---- requests and answers ------------------------------------------------------------------------------------

    /// Reads the next requests of a connection, as far as it may.
    pub(crate) fn serve(&mut self, connection: ConnectionId) {
        loop {
            let Some(open) = self.connections.open.get_mut(&connection) else { return };
            let broker = open.broker;
            if open.busy || self.nodes.all.get(&broker).is_none_or(|node| node.paused) {
                return;
            }
            let Some(frame) = open.waiting.pop_front() else { return };
            open.busy = true;
            match self.handle_frame(connection, broker, frame) {
                Some((context, reply)) => self.apply_reply(&context, reply),
                None => self.close(connection),
            }
        }
    }

    /// Does what a handler, or a rule in its place, said.
    pub(crate) fn apply_reply(&mut self, context: &Context, reply: Reply) {
        match reply {
            Reply::Now(response) => self.answer(context, *response),
            Reply::Nothing => self.unanswered(context),
            Reply::Later => {}
            Reply::Close => self.close(context.connection),
        }
    }

    /// Answers a request, now or after [`Reply::Later`]. Does nothing when the connection is gone. Goes on with the
    /// connection's next request.
    pub(crate) fn answer_later(&mut self, context: &Context, response: ResponseKind) {
        self.answer(context, response);
        self.serve(context.connection);
    }

    fn answer(&mut self, context: &Context, response: ResponseKind) {
        if self.connections.open.contains_key(&context.connection) {
            self.send(context, response);
        }
    }

    /// The connection may go on with its next request.
    pub(crate) fn idle(&mut self, connection: ConnectionId) {
        if let Some(open) = self.connections.open.get_mut(&connection) {
            open.busy = false;
        }
    }

    /// Closes a connection from our side.
    pub(crate) fn close(&mut self, connection: ConnectionId) {
        if self.connections.open.contains_key(&connection) {
            self.outputs.push_back(Output::Close(connection));
            self.forget_connection(connection);
        }
    }

    fn forget_connection(&mut self, connection: ConnectionId) {
        self.connections.open.remove(&connection);
        self.faults.forget(connection);
        self.forget_fetches(connection);
    }

    pub(crate) fn observe(&mut self, event: impl FnOnce(Instant) -> Observed) {
        if self.config.observe {
            let event = event(self.now);
            self.observed.push_back(event);
        }
    }

    /// The broker that coordinates a group or a transactional id: the leader of its partition of the internal topic.
    pub(crate) fn coordinator_of(&self, key: &str) -> Option<i32> {
        self.faults.coordinator(key).filter(|broker| self.nodes.is_up(*broker)).or_else(|| {
            let home = self.nodes.home_of(key)?;
            // Until the controller notices, a dead broker is still believed to lead.
            let node = self.nodes.all.get(&home)?;
            if node.up || node.fails_over.is_some() {
                return Some(home);
            }
            let live: Vec<i32> = self.nodes.live().collect();
            live.get(usize::try_from(home).ok()? % live.len().max(1)).copied()
        })
    }

    /// The broker that leads a partition, if any does.
    pub fn leader_of(&self, topic: &str, partition: i32) -> Option<i32> {
        self.topics.partition(topic, partition)?.leader
    }

    /// The epoch of its leader.
    pub fn leader_epoch_of(&self, topic: &str, partition: i32) -> Option<i32> {
        Some(self.topics.partition(topic, partition)?.leader_epoch)
    }

    /// How many partitions a topic has, if there is one of that name.
    pub fn partition_count(&self, topic: &str) -> Option<i32> {
        i32::try_from(self.topics.all.get(topic)?.partitions.len()).ok()
    }

    /// The versions of an API, by Kafka's number, that a broker speaks.
    pub fn versions(&self, broker: i32, api: i16) -> Option<(i16, i16)> {
        self.faults.versions_of(broker, ApiKey::try_from(api).ok()?)
    }

    /// Sets the moment at which methods that are not given one happen.
    pub fn at(&mut self, now: Instant) -> &mut Self {
        self.now = now;
        self
    }

    /// How many requests of a connection were received and not read yet.
    pub fn waiting(&self, connection: ConnectionId) -> usize {
        self.connections.open.get(&connection).map_or(0, |open| open.waiting.len())
    }

    /// Whether a frame of this connection would be answered at once: nothing waits before it, and the broker is not paused.
    pub(crate) fn is_idle(&self, connection: ConnectionId) -> bool {
        self.connections.open.get(&connection).is_some_and(|open| {
            let paused = self.nodes.all.get(&open.broker).is_none_or(|node| node.paused);
            !open.busy && open.waiting.is_empty() && !paused
        })
    }

    /// Whether the broker at the other end of a connection speaks this version of an API.
    pub(crate) fn speaks(&self, connection: ConnectionId, api: ApiKey, version: i16) -> bool {
        let broker = self.connections.open.get(&connection).map(|open| open.broker);
        let range = broker.and_then(|broker| self.faults.versions_of(broker, api));
        range.is_some_and(|(min, max)| (min..=max).contains(&version))
    }

    /// Whether a request about a group or a transactional id came to the right broker.
    pub(crate) fn coordinates(&self, context: &Context, key: &str) -> bool {
        self.coordinator_of(key) == Some(context.broker)
    }

    fn fail_over(&mut self) {
        let due: Vec<i32> = self
            .nodes
            .all
            .iter()
            .filter(|(_, node)| node.fails_over.is_some_and(|at| at <= self.now))
            .map(|(id, _)| *id)
            .collect();
        for broker in due {
            if let Some(node) = self.nodes.all.get_mut(&broker) {
                node.fails_over = None;
                node.up = false; // one that is paused is as good as dead now
            }
            self.take_leadership_from(broker);
        }
    }
}

/// The number of milliseconds that a protocol field says, clamped to what is sensible.
pub(crate) fn millis(field: i32) -> Duration {
    Duration::from_millis(u64::try_from(field).unwrap_or(0))
}
