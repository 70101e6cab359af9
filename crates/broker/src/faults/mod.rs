//! Faults: rules that inject them, and operations of a test on the cluster.
//!
//! A rule is matched twice. When a request is read, [`Model::apply_to_request`] finds the rules that apply to it; one
//! of them may keep it from being handled. Their changes to the answer are stored under the connection, which has only
//! one request in progress at a time, until [`Model::send`] has the answer.

mod apply;
mod cluster;
mod failure;
mod kafka_version;
mod log_dirs;
mod response_partitions;
mod rewrite;
mod rule;
mod subject;
#[cfg(test)]
mod tests;
mod throttle;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, RequestKind};

pub use kafka_version::KafkaVersion;
pub use rule::{Corrupt, Fault, FaultRule, Often, Rewrite};

use crate::{
    api::VERSIONS,
    connection::{ConnectionId, Output},
    model::Model,
    random::Random,
    request::Context,
};

/// A rule that was injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(u64);

/// The rules, and the faults in progress.
#[derive(Debug)]
pub(crate) struct Faults {
    rules: BTreeMap<RuleId, ActiveRule>,
    /// Separate from the cluster's own, so that a rule does not change the ids that brokers generate.
    random: Random,
    /// The faults to apply to the answer that a connection waits for.
    pending: BTreeMap<ConnectionId, Pending>,
    /// Scheduled actions, by their moment and then in the order in which they were scheduled.
    later: BTreeMap<(Instant, u64), DelayedAction>,
    /// The actions that run when a rule is released.
    held: BTreeMap<RuleId, Vec<DelayedAction>>,
    /// Answers of brokers that are paused.
    frozen: Vec<Delivery>,
    /// Numbers rules and scheduled actions.
    next: u64,
    coordinators: BTreeMap<String, i32>,
    /// Lowest and highest versions, by broker and API key, where they are not Kafka 4.3's.
    versions: BTreeMap<(i32, i16), (i16, i16)>,
}

#[derive(Debug)]
struct ActiveRule {
    rule: FaultRule,
    /// Requests that met the rule's conditions, and how many of them the rule applied to.
    seen: u64,
    hits: u64,
}

/// Faults for an answer that is not there yet.
#[derive(Debug, Default)]
struct Pending {
    rules: Vec<(RuleId, FaultRule)>,
    /// Rules that were matched against the request already.
    decided: BTreeSet<RuleId>,
}

/// An action that waits for a moment, or for a release.
#[derive(Debug)]
enum DelayedAction {
    Serve { context: Context, request: Box<RequestKind> },
    Deliver(Delivery),
    Unmute(ConnectionId),
}

impl DelayedAction {
    fn connection(&self) -> ConnectionId {
        match self {
            Self::Serve { context, .. } => context.connection,
            Self::Deliver(delivery) => delivery.connection,
            Self::Unmute(connection) => *connection,
        }
    }
}

/// An answer to send, and what to do after it.
#[derive(Debug)]
struct Delivery {
    connection: ConnectionId,
    broker: i32,
    bytes: Option<Bytes>,
    then: AfterAnswer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AfterAnswer {
    /// The next request is read.
    Next,
    /// It is read after a while.
    Mute(Duration),
    /// It is never read.
    Silence,
    Close,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            rules: BTreeMap::new(),
            random: Random::new(!seed),
            pending: BTreeMap::new(),
            later: BTreeMap::new(),
            held: BTreeMap::new(),
            frozen: Vec::new(),
            next: 0,
            coordinators: BTreeMap::new(),
            versions: BTreeMap::new(),
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.later.keys().next().map(|(at, _)| *at)
    }

    /// The broker that a test made the coordinator of this group or transactional id.
    pub(crate) fn coordinator(&self, key: &str) -> Option<i32> {
        self.coordinators.get(key).copied()
    }

    /// The versions of an API that a broker supports, if it supports it.
    pub(crate) fn versions_of(&self, broker: i32, key: ApiKey) -> Option<(i16, i16)> {
        let all = VERSIONS.iter().find(|(known, ..)| *known == key).map(|(_, min, max)| (*min, *max))?;
        let limit = self.versions.get(&(broker, key as i16)).copied().unwrap_or(all);
        let range = (all.0.max(limit.0), all.1.min(limit.1));
        (range.0 <= range.1).then_some(range)
    }

    /// Forgets a connection that is gone: nothing waits for it any more.
    pub(crate) fn forget(&mut self, connection: ConnectionId) {
        self.pending.remove(&connection);
        self.later.retain(|_, later| later.connection() != connection);
        self.held.values_mut().for_each(|held| held.retain(|later| later.connection() != connection));
        self.frozen.retain(|delivery| delivery.connection != connection);
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn at(&mut self, at: Instant, later: DelayedAction) {
        let number = self.number();
        self.later.insert((at, number), later);
    }
}

impl Model {
    /// Adds a rule, which applies to requests that are read from now on.
    pub fn inject(&mut self, rule: FaultRule) -> RuleId {
        let id = RuleId(self.faults.number());
        self.faults.rules.insert(id, ActiveRule { rule, seen: 0, hits: 0 });
        id
    }

    /// Removes a rule, which then applies to no more requests. Whatever it holds already stays held until it is released.
    pub fn withdraw(&mut self, rule: RuleId) {
        self.faults.rules.remove(&rule);
    }

    /// Removes all rules.
    pub fn withdraw_all(&mut self) {
        self.faults.rules.clear();
    }

    /// How many requests a rule has applied to; 0 once it is withdrawn.
    pub fn hits(&self, rule: RuleId) -> u64 {
        self.faults.rules.get(&rule).map_or(0, |active| active.hits)
    }

    /// How many requests or answers a rule holds ([`Fault::Hold`], [`Fault::HoldRequest`]).
    pub fn held(&self, rule: RuleId) -> usize {
        self.faults.held.get(&rule).map_or(0, Vec::len)
    }

    /// Releases whatever a rule holds, in order of arrival. The rule goes on holding later messages.
    pub fn release(&mut self, now: Instant, rule: RuleId) {
        self.now = now;
        for later in self.faults.held.remove(&rule).unwrap_or_default() {
            self.run_action(later);
        }
    }

    pub(crate) fn release_delayed(&mut self) {
        while let Some(entry) = self.faults.later.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let later = entry.remove();
            self.run_action(later);
        }
    }

    fn run_action(&mut self, later: DelayedAction) {
        let connection = later.connection();
        match later {
            DelayedAction::Serve { context, request } => {
                if self.connections.open.contains_key(&connection) {
                    let reply = self.dispatch(&context, *request);
                    self.apply_reply(&context, reply);
                }
            }
            DelayedAction::Deliver(delivery) => self.deliver(delivery),
            DelayedAction::Unmute(connection) => self.idle(connection),
        }
        self.serve(connection);
    }

    /// Sends an answer; if the broker is paused, once it resumes.
    fn deliver(&mut self, delivery: Delivery) {
        let Delivery { connection, broker, bytes, then } = delivery;
        if !self.connections.open.contains_key(&connection) {
            return;
        }
        if self.nodes.all.get(&broker).is_some_and(|node| node.paused) {
            self.faults.frozen.push(Delivery { connection, broker, bytes, then });
            return;
        }
        self.outputs.extend(bytes.map(|bytes| Output::Send { connection, bytes }));
        match then {
            AfterAnswer::Next => self.idle(connection),
            AfterAnswer::Mute(time) => {
                let until = self.now + time;
                self.faults.at(until, DelayedAction::Unmute(connection));
            }
            AfterAnswer::Silence => {}
            AfterAnswer::Close => self.close(connection),
        }
    }
}
