//! One member of one consumer group: it joins, learns what it owns, says that it is alive, leaves.
//!
//! [`Member`] is the machine, [`Event`] what it tells, [`assignor`] who gets what. It owns no socket and reads no clock.
//! After every command, `handle_*` and `released`, drain [`poll_transmit`](Member::poll_transmit) and
//! [`poll_event`](Member::poll_event), then ask [`poll_timeout`](Member::poll_timeout) when to come back.
//!
//! Always true:
//! - for each partition the events read `(Assigned (Revoke|Lost))*`; after `Lost` nothing may be committed, after
//!   `Revoke` until [`released`](Member::revocation_done) it may;
//! - the member does not join again before everything it revoked or lost is released;
//! - what it holds is not to be handed out beyond [`valid_until`](Member::valid_until): a member that was stopped, or
//!   cut off, ends its ownership by its own clock;
//! - nothing leaves for the coordinator while nobody knows who that is.

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
pub struct Member(Machine);

/// Where a member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Not a member, and not trying to be one.
    Outside,
    /// Out because the application stopped polling; back when it does.
    Unpolled,
    /// On its way in.
    Joining,
    /// A member, in a rebalance.
    Rebalancing,
    /// A member that has all that it was assigned.
    Stable,
    /// On its way out.
    Leaving,
    /// Out for good.
    Failed,
}

#[derive(Clone, Debug)]
enum Machine {
    Classic(Box<Classic>),
    Consumer(Box<Consumer>),
}

/// The same to either machine.
macro_rules! either {
    ($member:expr, $machine:ident => $call:expr) => {
        match $member {
            Machine::Classic($machine) => $call,
            Machine::Consumer($machine) => $call,
        }
    };
}

impl Member {
    /// Not a member of anything yet.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self(match config.protocol {
            Protocol::Classic => Machine::Classic(Box::new(Classic::new(config))),
            Protocol::Consumer { .. } => Machine::Consumer(Box::new(Consumer::new(config))),
        }))
    }

    /// Wants these topics: joins, or joins again if they are others than before. The same again changes nothing.
    pub fn subscribe(&mut self, now: Instant, topics: BTreeSet<Topic>) {
        match &mut self.0 {
            Machine::Classic(machine) => machine.subscribe(now, topics),
            Machine::Consumer(machine) => machine.subscribe(now, topics, ""),
        }
    }

    /// Wants all topics whose names match, now or later, by the broker's judgement: RE2 syntax, whole names (KIP-848).
    /// In the place of topics, as [`subscribe`](Self::subscribe) is in the place of a pattern. An invalid pattern fails,
    /// and so does the classic protocol, which has no word for patterns.
    pub fn subscribe_pattern(&mut self, now: Instant, pattern: &str) {
        match &mut self.0 {
            Machine::Classic(machine) => machine.refuse_pattern(),
            Machine::Consumer(machine) => machine.subscribe(now, BTreeSet::new(), pattern),
        }
    }

    /// Leaves, or falls silent (KIP-1092). The application has let go of everything already; [`Event::Left`] follows, at
    /// the latest after `request.timeout.ms`.
    pub fn leave(&mut self, now: Instant, reason: &str, membership: GroupMembership) {
        match &mut self.0 {
            Machine::Classic(machine) => machine.leave(now, reason, membership),
            // The consumer protocol has no word for reasons.
            Machine::Consumer(machine) => machine.leave(now, membership),
        }
    }

    /// The application asks for a rebalance (KIP-568): a member of a classic group joins again, unless it is on its way to
    /// that anyway. With the consumer protocol the coordinator alone decides, and nothing changes.
    pub fn enforce_rebalance(&mut self, now: Instant) {
        match &mut self.0 {
            Machine::Classic(machine) => machine.enforce_rebalance(now),
            Machine::Consumer(_) => {}
        }
    }

    /// What is known of the cluster has changed. As leader: joins again when topics of the group have more or fewer
    /// partitions than it assigned.
    pub fn handle_cluster(&mut self, now: Instant, cluster: &Cluster) {
        either!(&mut self.0, machine => machine.handle_cluster(now, cluster));
    }

    /// The answer to a call.
    pub fn handle_answer(&mut self, now: Instant, id: CallId, answer: Result<Answer, CallError>) {
        either!(&mut self.0, machine => machine.handle_answer(now, id, answer));
    }

    /// The time of [`poll_timeout`](Self::poll_timeout) has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        either!(&mut self.0, machine => machine.handle_timeout(now));
    }

    /// The application polls. Also to be told while a poll waits: an application that waits for records is not slow.
    pub fn on_poll(&mut self, now: Instant) {
        either!(&mut self.0, machine => machine.on_poll(now));
    }

    /// The application has let go of what the [`Event::Revoke`] or [`Event::Lost`] of this id named. The member joins again,
    /// or says what it has left, after the last that was taken. An id that is not open (any longer) changes nothing.
    pub fn revocation_done(&mut self, now: Instant, id: RevocationId) {
        either!(&mut self.0, machine => machine.revocation_done(now, id));
    }

    /// A commit made as `identity` was refused with `code`. Means nothing if we have become somebody else since.
    pub fn on_commit_refused(&mut self, now: Instant, code: ErrorCode, identity: &Identity) {
        either!(&mut self.0, machine => machine.on_commit_refused(now, code, identity));
    }

    /// What to send.
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        coordinator: Option<BrokerId>,
        cluster: &Cluster,
    ) -> Option<Transmit> {
        either!(&mut self.0, machine => machine.poll_transmit(now, coordinator, cluster))
    }

    /// When to come back.
    pub fn poll_timeout(&self) -> Option<Instant> {
        either!(&self.0, machine => machine.poll_timeout())
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        either!(&mut self.0, machine => machine.poll_event())
    }

    /// Whether somebody should look for the coordinator if it is not known.
    pub fn wants_coordinator(&self) -> bool {
        either!(&self.0, machine => machine.wants_coordinator())
    }

    /// As leader: the topics of all members. Their metadata is needed although we may not subscribe to them; the
    /// assignment waits for it, though not for ever.
    pub fn group_topics(&self) -> Option<&BTreeSet<Topic>> {
        match &self.0 {
            Machine::Classic(machine) => machine.group_topics(),
            Machine::Consumer(_) => None,
        }
    }

    /// Consumer protocol: topics that we have been assigned but whose names nobody has told. They are taken when
    /// [`handle_cluster`](Self::handle_cluster) brings the names.
    pub fn unnamed_topic_ids(&self) -> Vec<Uuid> {
        match &self.0 {
            Machine::Classic(_) => Vec::new(),
            Machine::Consumer(machine) => machine.unnamed_topic_ids(),
        }
    }

    /// Consumer protocol: by which ids the group gave the topics of what is owned. A topic that was deleted and created again
    /// is another one, of which nothing is ours before the group says so.
    pub fn topic_ids(&self) -> BTreeMap<Topic, Uuid> {
        match &self.0 {
            Machine::Classic(_) => BTreeMap::new(),
            Machine::Consumer(machine) => machine.topic_ids(),
        }
    }

    /// What to commit as. `None` while commits would be refused.
    pub fn identity(&self) -> Option<Identity> {
        either!(&self.0, machine => machine.identity())
    }

    /// What the application holds, that which is being revoked included.
    pub fn owned(&self) -> &BTreeSet<TopicPartition> {
        either!(&self.0, machine => machine.owned())
    }

    /// Until when what is [`owned`](Self::owned) may be handed out, by what the coordinator last confirmed. `None`: no
    /// member, so nothing may.
    pub fn valid_until(&self) -> Option<Instant> {
        either!(&self.0, machine => machine.valid_until())
    }

    /// Until when what is being revoked has to be released: then the group goes on without us. `None` while nothing is
    /// known to wait for us.
    pub fn revoke_by(&self) -> Option<Instant> {
        either!(&self.0, machine => machine.revoke_by())
    }

    /// Whether the group goes on without us, and we come back when all that we had is released: what is being revoked, of
    /// which no [`Event::Lost`] tells a second time, can be committed no more.
    pub fn is_out_until_revoked(&self) -> bool {
        either!(&self.0, machine => machine.is_out_until_revoked())
    }

    /// Where it stands.
    pub fn stage(&self) -> Stage {
        either!(&self.0, machine => machine.stage())
    }

    /// The assignor that the members of a classic group agreed on, while this one is a member; by the consumer protocol the
    /// one that the broker was asked for, if any.
    pub fn assignor(&self) -> Option<&str> {
        match &self.0 {
            Machine::Classic(machine) => machine.assignor(),
            Machine::Consumer(machine) => machine.assignor(),
        }
    }

    /// Where it stands, for people.
    pub fn state_name(&self) -> &'static str {
        either!(&self.0, machine => machine.state_name())
    }
}
