//! One member of one consumer group: it joins, learns what it owns, says that it is alive, leaves.
//!
//! [`Member`] is the machine, [`Event`] what it tells, [`assignor`] who gets what. It owns no socket and reads no clock.
//! After every command, `handle_*` and `released`, drain [`poll_transmit`](Member::poll_transmit) and
//! [`poll_event`](Member::poll_event), then ask [`poll_timeout`](Member::poll_timeout) when to come back.
//!
//! Always true:
//! - for each partition the events read `(Assigned (Revoke|Lost))*`; after `Lost` nothing may be committed, after
//!   `Revoke` until [`released`](Member::released) it may;
//! - the member does not join again before everything it revoked or lost is released;
//! - what it holds is not to be handed out beyond [`valid_until`](Member::valid_until): a member that was stopped, or
//!   cut off, ends its ownership by its own clock (FAILURES M2, M4);
//! - nothing leaves for the coordinator while nobody knows who that is.

use std::{collections::BTreeSet, time::Instant};

use offtake_machine::{Answer, BrokerId, CallError, CallId, Cluster, Topic, TopicPartition, Transmit};
use offtake_wire::ErrorCode;

pub mod assignor;
mod classic;
mod config;
mod event;

pub use assignor::Assignor;
pub use config::{Config, ConfigError, Protocol};
pub use event::{Event, GroupError, Identity};

use classic::Classic;

/// One member of one group, by either protocol.
#[derive(Debug)]
pub struct Member(Classic);

impl Member {
    /// Not a member of anything yet.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self(Classic::new(config)))
    }

    /// Wants these topics: joins, or joins again if they are others than before. The same again changes nothing.
    pub fn subscribe(&mut self, now: Instant, topics: BTreeSet<Topic>) {
        self.0.subscribe(now, topics);
    }

    /// Leaves. The application has let go of everything already; [`Event::Left`] follows, at the latest after
    /// `request.timeout.ms`. A static member says nothing: it keeps its partitions for as long as its session lasts.
    pub fn leave(&mut self, now: Instant, reason: &str) {
        self.0.leave(now, reason);
    }

    /// What is known of the cluster has changed. As leader: joins again when topics of the group have more or fewer
    /// partitions than it assigned.
    pub fn handle_cluster(&mut self, now: Instant, cluster: &Cluster) {
        self.0.handle_cluster(now, cluster);
    }

    /// The answer to a call.
    pub fn handle_answer(&mut self, now: Instant, id: CallId, answer: Result<Answer, CallError>) {
        self.0.handle_answer(now, id, answer);
    }

    /// The time of [`poll_timeout`](Self::poll_timeout) has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.0.handle_timeout(now);
    }

    /// The application polls. Also to be told while a poll waits: who waits for records is not slow.
    pub fn polled(&mut self, now: Instant) {
        self.0.polled(now);
    }

    /// The application has let go of what the [`Event::Revoke`] or [`Event::Lost`] taken last named. To be called once
    /// for each; more often does no harm.
    pub fn released(&mut self, now: Instant) {
        self.0.released(now);
    }

    /// A commit made as `identity` was refused with `code`. Means nothing if we have become somebody else since.
    pub fn commit_refused(&mut self, now: Instant, code: ErrorCode, identity: &Identity) {
        self.0.commit_refused(now, code, identity);
    }

    /// What to send.
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        coordinator: Option<BrokerId>,
        cluster: &Cluster,
    ) -> Option<Transmit> {
        self.0.poll_transmit(now, coordinator, cluster)
    }

    /// When to come back.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.0.poll_timeout()
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.0.poll_event()
    }

    /// Whether somebody should look for the coordinator if it is not known.
    pub fn wants_coordinator(&self) -> bool {
        self.0.wants_coordinator()
    }

    /// As leader: the topics of all members. Their metadata is needed although we may not subscribe to them; the
    /// assignment waits for it, though not for ever.
    pub fn group_topics(&self) -> Option<&BTreeSet<Topic>> {
        self.0.group_topics()
    }

    /// What to commit as. `None` while commits would be refused.
    pub fn identity(&self) -> Option<Identity> {
        self.0.identity()
    }

    /// What the application holds, that which is being revoked included.
    pub fn owned(&self) -> &BTreeSet<TopicPartition> {
        self.0.owned()
    }

    /// Until when what is [`owned`](Self::owned) may be handed out, by what the coordinator last confirmed. `None`: no
    /// member, so nothing may.
    pub fn valid_until(&self) -> Option<Instant> {
        self.0.valid_until()
    }

    /// Where it stands, for people.
    pub fn state_name(&self) -> &'static str {
        self.0.state_name()
    }
}
