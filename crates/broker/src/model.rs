//! [`Model`]: the whole cluster as plain data.

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
    /// The moment of the current call.
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

    /// A client dials a broker. Returns its connection, or `None` when the broker is down and the dial is refused.
    /// `host` is the client's address without a port.
    pub fn connect(&mut self, now: Instant, broker: i32, host: &str) -> Option<ConnectionId> {
        self.now = now;
        self.nodes
            .accepts(broker)
            .then(|| self.connections.accept(broker, StrBytes::from_string(host.to_owned())))
    }

    /// Removes a connection that the client closed.
    pub fn disconnect(&mut self, now: Instant, connection: ConnectionId) {
        self.now = now;
        self.forget_connection(connection);
    }

    /// Receives a frame, given without its length field.
    pub fn receive(&mut self, now: Instant, connection: ConnectionId, frame: Bytes) {
        self.now = now;
        if let Some(open) = self.connections.open.get_mut(&connection) {
            open.waiting.push_back(frame);
            self.serve(connection);
        }
    }

    /// The next action to take on a connection.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The next event, if [`Config::observe`] is set.
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

    /// Handles everything that is due at `now`.
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

    /// Carries out the reply of a handler, or of a rule in its place.
    pub(crate) fn apply_reply(&mut self, context: &Context, reply: Reply) {
        match reply {
            Reply::Now(response) => self.answer(context, *response),
            Reply::Nothing => self.unanswered(context),
            Reply::Later => {}
            Reply::Close => self.close(context.connection),
        }
    }

    /// Answers a request, now or after [`Reply::Later`], and goes on with the connection's next request. Does nothing
    /// when the connection is gone.
    pub(crate) fn answer_later(&mut self, context: &Context, response: ResponseKind) {
        self.answer(context, response);
        self.serve(context.connection);
    }

    fn answer(&mut self, context: &Context, response: ResponseKind) {
        if self.connections.open.contains_key(&context.connection) {
            self.send(context, response);
        }
    }

    /// Lets the connection go on with its next request.
    pub(crate) fn idle(&mut self, connection: ConnectionId) {
        if let Some(open) = self.connections.open.get_mut(&connection) {
            open.busy = false;
        }
    }

    /// Closes a connection from the broker's side.
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
            let coordinator = self.nodes.usual_coordinator_of(key)?;
            // Until the controller notices, a dead broker still counts as the leader.
            let node = self.nodes.all.get(&coordinator)?;
            if node.up || node.fails_over.is_some() {
                return Some(coordinator);
            }
            let live: Vec<i32> = self.nodes.live().collect();
            live.get(usize::try_from(coordinator).ok()? % live.len().max(1)).copied()
        })
    }

    /// The broker that leads a partition, if any does.
    pub fn leader_of(&self, topic: &str, partition: i32) -> Option<i32> {
        self.topics.partition(topic, partition)?.leader
    }

    /// The id of a topic. One that is deleted and created again has another.
    pub fn topic_id(&self, topic: &str) -> Option<[u8; 16]> {
        self.topics.all.get(topic).map(|topic| topic.id.into_bytes())
    }

    /// The epoch of a partition's leader.
    pub fn leader_epoch_of(&self, topic: &str, partition: i32) -> Option<i32> {
        Some(self.topics.partition(topic, partition)?.leader_epoch)
    }

    /// How many partitions a topic has, if it exists.
    pub fn partition_count(&self, topic: &str) -> Option<i32> {
        i32::try_from(self.topics.all.get(topic)?.partitions.len()).ok()
    }

    /// The versions of an API, given by Kafka's number, that a broker supports.
    pub fn versions(&self, broker: i32, api: i16) -> Option<(i16, i16)> {
        self.faults.versions_of(broker, ApiKey::try_from(api).ok()?)
    }

    /// Sets the time for methods that have no `now` argument.
    pub fn at(&mut self, now: Instant) -> &mut Self {
        self.now = now;
        self
    }

    /// How many received requests of a connection are not read yet.
    pub fn waiting(&self, connection: ConnectionId) -> usize {
        self.connections.open.get(&connection).map_or(0, |open| open.waiting.len())
    }

    /// Whether a frame of this connection would be handled at once: nothing waits before it, and the broker is not paused.
    pub(crate) fn is_idle(&self, connection: ConnectionId) -> bool {
        self.connections.open.get(&connection).is_some_and(|open| {
            let paused = self.nodes.all.get(&open.broker).is_none_or(|node| node.paused);
            !open.busy && open.waiting.is_empty() && !paused
        })
    }

    /// Whether the broker at the other end of a connection supports this version of an API.
    pub(crate) fn supports(&self, connection: ConnectionId, api: ApiKey, version: i16) -> bool {
        let broker = self.connections.open.get(&connection).map(|open| open.broker);
        let range = broker.and_then(|broker| self.faults.versions_of(broker, api));
        range.is_some_and(|(min, max)| (min..=max).contains(&version))
    }

    /// Whether a request about a group or a transactional id was sent to the right broker.
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
                node.up = false; // a paused one counts as dead from now on
            }
            self.take_leadership_from(broker);
        }
    }
}

/// The milliseconds of a protocol field; 0 if it is negative.
pub(crate) fn millis(field: i32) -> Duration {
    Duration::from_millis(u64::try_from(field).unwrap_or(0))
}
