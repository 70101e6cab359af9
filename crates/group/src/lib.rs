//! One member of one consumer group: it joins, gets its assignment, sends heartbeats, and leaves.
//!
//! [`Member`] is the machine, [`Event`] reports its changes, and [`assignor`] has the partition assignors.
//! The machine owns no socket and reads no clock. After every command and `handle_*`, drain
//! [`poll_transmit`](Member::poll_transmit) and [`poll_event`](Member::poll_event), then ask
//! [`poll_timeout`](Member::poll_timeout) when to call again.
//!
//! Always true:
//! - for each partition the events are `(Assigned (Revoke|Lost))*`; after `Lost` nothing may be committed, after `Revoke` it
//!   may be until [`revocation_done`](Member::revocation_done);
//! - the member does not rejoin before every `Revoke` and `Lost` is confirmed;
//! - records of its partitions must not be handed out after [`valid_until`](Member::valid_until): a member
//!   whose process was stopped, or that cannot reach the coordinator, ends its ownership by its own clock;
//! - nothing is sent to the coordinator while it is not known.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use offtake_machine::{
    Answer, BrokerId, CallError, CallId, Cluster, Identity, Topic, TopicPartition, Transmit,
};
use offtake_wire::{ErrorCode, Uuid};

pub mod assignor;
mod call;
mod classic;
mod config;
mod consumer;
mod core;
mod event;
#[cfg(feature = "_model")]
mod fingerprint;
mod health;
mod pacer;
mod poll_timer;
mod session;

pub use assignor::{Assignor, BuiltIn, Strategy};
pub use config::{Config, ConfigError, Protocol};
pub use event::{Event, GroupError, GroupMembership, RevocationId};

use classic::Classic;
use consumer::Consumer;

/// One member of one group, by either protocol.
#[derive(Clone, Debug)]
pub struct Member {
    machine: Machine,
    /// Calls that were sent and are not answered.
    outstanding: Vec<CallId>,
}

/// The state of a member, simplified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Not a member, and not trying to be one.
    Outside,
    /// Not a member because the application stopped polling; it rejoins when polling resumes.
    Unpolled,
    /// Joining the group.
    Joining,
    /// A member, in a rebalance.
    Rebalancing,
    /// A member with its complete assignment.
    Stable,
    /// Leaving the group.
    Leaving,
    /// Failed, until the next `subscribe`.
    Failed,
}

#[derive(Clone, Debug)]
enum Machine {
    Classic(Box<Classic>),
    Consumer(Box<Consumer>),
}

/// Calls the same method of either machine.
macro_rules! either {
    ($member:expr, $machine:ident => $call:expr) => {
        match $member {
            Machine::Classic($machine) => $call,
            Machine::Consumer($machine) => $call,
        }
    };
}

impl Member {
    /// A member that has not joined yet.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        config.check()?;
        let machine = match config.protocol {
            Protocol::Classic => Machine::Classic(Box::new(Classic::new(config))),
            Protocol::Consumer { .. } => Machine::Consumer(Box::new(Consumer::new(config))),
        };
        Ok(Self { machine, outstanding: Vec::new() })
    }

    /// Subscribes to topics: joins, or rejoins if they differ from those before. The same topics change
    /// nothing.
    pub fn subscribe(&mut self, now: Instant, topics: BTreeSet<Topic>) {
        match &mut self.machine {
            Machine::Classic(machine) => machine.subscribe(now, topics),
            Machine::Consumer(machine) => machine.subscribe(now, topics, ""),
        }
    }

    /// Subscribes to all topics that match a pattern, now or later. The broker matches whole names, in RE2 syntax (KIP-848). The
    /// pattern replaces subscribed topics, and [`subscribe`](Self::subscribe) replaces the pattern. The membership fails if the
    /// pattern is invalid, or with the classic protocol, which has no patterns.
    pub fn subscribe_pattern(&mut self, now: Instant, pattern: &str) {
        match &mut self.machine {
            Machine::Classic(machine) => machine.refuse_pattern(),
            Machine::Consumer(machine) => machine.subscribe(now, BTreeSet::new(), pattern),
        }
    }

    /// Leaves, or only stops sending heartbeats (KIP-1092). The application has given up all partitions already.
    /// [`Event::Left`] follows, at the latest after `request.timeout.ms`.
    pub fn leave(&mut self, now: Instant, reason: &str, membership: GroupMembership) {
        match &mut self.machine {
            Machine::Classic(machine) => machine.leave(now, reason, membership),
            // The consumer protocol has no reasons.
            Machine::Consumer(machine) => machine.leave(now, membership),
        }
    }

    /// The application requests a rebalance (KIP-568). A member of a classic group rejoins, unless it is
    /// joining already. With the consumer protocol only the coordinator decides, and nothing changes.
    pub fn enforce_rebalance(&mut self, now: Instant) {
        match &mut self.machine {
            Machine::Classic(machine) => machine.enforce_rebalance(now),
            Machine::Consumer(_) => {}
        }
    }

    /// The metadata has changed. The leader rejoins if the group's topics have more or fewer partitions than
    /// it assigned.
    pub fn handle_cluster(&mut self, now: Instant, cluster: &Cluster) {
        either!(&mut self.machine, machine => machine.handle_cluster(now, cluster));
    }

    /// The response to a call.
    pub fn handle_answer(&mut self, now: Instant, id: CallId, answer: Result<Answer, CallError>) {
        self.outstanding.retain(|call| *call != id);
        either!(&mut self.machine, machine => machine.handle_answer(now, id, answer));
    }

    /// The time of [`poll_timeout`](Self::poll_timeout) has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        either!(&mut self.machine, machine => machine.handle_timeout(now));
    }

    /// The application polls. Call this also while a poll waits: an application that waits for records is not slow.
    pub fn on_poll(&mut self, now: Instant) {
        either!(&mut self.machine, machine => machine.on_poll(now));
    }

    /// The application has given up the partitions of the [`Event::Revoke`] or [`Event::Lost`] with this id.
    /// After the last open one the member rejoins, or reports to the coordinator what it still owns. An id
    /// that is not open changes nothing.
    pub fn revocation_done(&mut self, now: Instant, id: RevocationId) {
        either!(&mut self.machine, machine => machine.revocation_done(now, id));
    }

    /// A commit with `identity` was refused with `code`. This is ignored if the identity has changed since.
    pub fn on_commit_refused(&mut self, now: Instant, code: ErrorCode, identity: &Identity) {
        either!(&mut self.machine, machine => machine.on_commit_refused(now, code, identity));
    }

    /// The next request.
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        coordinator: Option<BrokerId>,
        cluster: &Cluster,
    ) -> Option<Transmit> {
        let transmit =
            either!(&mut self.machine, machine => machine.poll_transmit(now, coordinator, cluster))?;
        self.outstanding.push(transmit.id);
        Some(transmit)
    }

    /// When to call again.
    pub fn poll_timeout(&self) -> Option<Instant> {
        either!(&self.machine, machine => machine.poll_timeout())
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = either!(&mut self.machine, machine => machine.poll_event());
        event.or_else(|| self.take_given_up().map(Event::Withdraw))
    }

    /// A call whose response is no longer awaited.
    fn take_given_up(&mut self) -> Option<CallId> {
        let machine = &self.machine;
        let is_given_up = |id: &CallId| !either!(machine, machine => machine.awaits(*id));
        let at = self.outstanding.iter().position(is_given_up)?;
        Some(self.outstanding.swap_remove(at))
    }

    /// Whether the coordinator is needed.
    pub fn wants_coordinator(&self) -> bool {
        either!(&self.machine, machine => machine.wants_coordinator())
    }

    /// The topics of all members, if this member is the leader. It needs their metadata even if it does not subscribe to them;
    /// the assignment waits for it for a bounded time.
    pub fn group_topics(&self) -> Option<&BTreeSet<Topic>> {
        match &self.machine {
            Machine::Classic(machine) => machine.group_topics(),
            Machine::Consumer(_) => None,
        }
    }

    /// Consumer protocol: the ids of assigned topics whose names are not known yet. Their partitions are
    /// added when [`handle_cluster`](Self::handle_cluster) receives the names.
    pub fn unnamed_topic_ids(&self) -> Vec<Uuid> {
        match &self.machine {
            Machine::Classic(_) => Vec::new(),
            Machine::Consumer(machine) => machine.unnamed_topic_ids(),
        }
    }

    /// Consumer protocol: the topic ids of the owned partitions. A topic that was deleted and created again is another topic, and
    /// none of it is owned before the group assigns it.
    pub fn topic_ids(&self) -> BTreeMap<Topic, Uuid> {
        match &self.machine {
            Machine::Classic(_) => BTreeMap::new(),
            Machine::Consumer(machine) => machine.topic_ids(),
        }
    }

    /// The identity to commit with. `None` while commits would be refused.
    pub fn identity(&self) -> Option<Identity> {
        either!(&self.machine, machine => machine.identity())
    }

    /// The owned partitions, including those that are being revoked.
    pub fn owned(&self) -> &BTreeSet<TopicPartition> {
        either!(&self.machine, machine => machine.owned())
    }

    /// Until when records of [`owned`](Self::owned) partitions may be handed out, by the last heartbeat that
    /// the coordinator accepted. `None` if this is not a member: then no records may be handed out.
    pub fn valid_until(&self) -> Option<Instant> {
        either!(&self.machine, machine => machine.valid_until())
    }

    /// When the last call was sent that the coordinator accepted as a heartbeat: [`valid_until`](Self::valid_until) counts from
    /// there.
    pub fn last_accepted_at(&self) -> Option<Instant> {
        either!(&self.machine, machine => machine.last_accepted_at())
    }

    /// When a revocation has to be done, at the latest: then the group continues without this member. `None` while the group is
    /// not known to wait.
    pub fn revoke_by(&self) -> Option<Instant> {
        either!(&self.machine, machine => machine.revoke_by())
    }

    /// Whether the group continues without this member, which rejoins when all revocations are done.
    /// Partitions that are being revoked cannot be committed any more, although no [`Event::Lost`] reports
    /// them a second time.
    pub fn is_out_until_revoked(&self) -> bool {
        either!(&self.machine, machine => machine.is_out_until_revoked())
    }

    /// Its state, simplified.
    pub fn stage(&self) -> Stage {
        either!(&self.machine, machine => machine.stage())
    }

    /// The assignor that the members of a classic group agreed on, while this one is a member; with the
    /// consumer protocol the one requested from the broker, if any.
    pub fn assignor(&self) -> Option<&str> {
        match &self.machine {
            Machine::Classic(machine) => machine.assignor(),
            Machine::Consumer(machine) => machine.assignor(),
        }
    }

    /// The name of its state, for display.
    pub fn state_name(&self) -> &'static str {
        either!(&self.machine, machine => machine.state_name())
    }
}

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
