//! Groups: their members, by either protocol, and their committed offsets.
//!
//! A group belongs to the broker that coordinates it, its *coordinator*. Whatever a coordinator keeps only in memory (pending
//! answers, the ends of sessions) is lost when another broker loads the group from the log.

mod admin;
mod classic;
mod consumer;
mod offsets;
pub(crate) mod settings;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use kafka_protocol::error::ResponseError;

use crate::{model::Model, observe::Observed, request::Context};

/// All groups.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    pub(crate) all: BTreeMap<String, Group>,
    /// Configs of single groups, whether the groups exist or not.
    settings: BTreeMap<String, BTreeMap<String, String>>,
    /// Brokers that answer `COORDINATOR_LOAD_IN_PROGRESS`, and until when.
    pub(crate) loading_until: BTreeMap<i32, Instant>,
    /// How long a broker takes to load groups that it takes over.
    pub(crate) loading_time: Duration,
}

/// One group.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) members: Members,
    pub(crate) offsets: offsets::Stored,
    /// The broker that has loaded it, once one had to.
    coordinator: Option<i32>,
    /// Its coordinator is down or paused, so that its timers stand still.
    asleep: bool,
}

/// The members of a group, by protocol.
#[derive(Debug, Default)]
pub(crate) enum Members {
    /// The group never had members: its offsets were committed by a client without membership.
    #[default]
    None,
    Classic(classic::Classic),
    Consumer(consumer::Consumer),
}

impl Members {
    /// The members in the classic protocol; a group that has only committed offsets becomes an empty classic group.
    fn as_classic(&mut self) -> Option<&mut classic::Classic> {
        if let Self::None = self {
            *self = Self::Classic(classic::Classic::default());
        }
        match self {
            Self::Classic(classic) => Some(classic),
            Self::None | Self::Consumer(_) => None,
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        match self {
            Self::None => None,
            Self::Classic(classic) => classic.next_timeout(),
            Self::Consumer(consumer) => consumer.next_timeout(),
        }
    }
}

impl Groups {
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.all.values().filter(|group| !group.asleep).filter_map(|group| group.members.next_timeout()).min()
    }

    /// Renames the coordinator of its groups: a broker got another id.
    pub(crate) fn rename_coordinator(&mut self, from: i32, to: i32) {
        self.all
            .values_mut()
            .filter(|group| group.coordinator == Some(from))
            .for_each(|group| group.coordinator = Some(to));
        if let Some(until) = self.loading_until.remove(&from) {
            self.loading_until.insert(to, until);
        }
    }
}

impl Model {
    /// Whether the broker that got the request is the group's coordinator now: `NOT_COORDINATOR` or
    /// `COORDINATOR_LOAD_IN_PROGRESS` if not. A group that has moved here is loaded first.
    pub(crate) fn check_coordinator(&mut self, context: &Context, group: &str) -> Result<(), ResponseError> {
        if !self.coordinates(context, group) {
            return Err(ResponseError::NotCoordinator);
        }
        if self.is_loading(context.broker) {
            return Err(ResponseError::CoordinatorLoadInProgress);
        }
        self.update_coordinator(group);
        Ok(())
    }

    /// Whether a broker is still loading the groups that it took over.
    pub(crate) fn is_loading(&self, broker: i32) -> bool {
        self.groups.loading_until.get(&broker).is_some_and(|until| self.now < *until)
    }

    /// Updates a group's coordinator, and whether that is running; loads the group if it has moved.
    fn update_coordinator(&mut self, name: &str) {
        let coordinator = self.coordinator_of(name);
        let runs = coordinator
            .and_then(|coordinator| self.nodes.all.get(&coordinator))
            .is_some_and(|node| node.up && !node.paused);
        let Some(group) = self.groups.all.get_mut(name) else { return };
        group.asleep = !runs;
        let moved = group.coordinator.is_some() && group.coordinator != coordinator;
        group.coordinator = coordinator;
        if moved {
            self.reload_group(name);
        }
    }

    /// Expires sessions and rebalances whose time is up, at the coordinators that are running.
    pub(crate) fn expire_groups(&mut self) {
        let names: Vec<String> = self.groups.all.keys().cloned().collect();
        for name in names {
            self.update_coordinator(&name);
            let due = |group: &Group| {
                let timeout = match &group.members {
                    Members::Classic(classic) => classic.next_timeout(),
                    Members::None | Members::Consumer(_) => None,
                };
                !group.asleep && timeout.is_some_and(|at| at <= self.now)
            };
            if self.groups.all.get(&name).is_some_and(due) {
                self.turn(&name, classic::Classic::expire);
            }
        }
        self.expire_consumer_groups();
    }

    /// Topics were created, deleted or extended: groups of the consumer protocol check their assignment again, and
    /// offsets of deleted topics are removed.
    pub(crate) fn topics_changed(&mut self) {
        let Self { topics, groups, .. } = self;
        for group in groups.all.values_mut() {
            group.offsets.keep_topics(|topic| topics.all.contains_key(topic));
        }
        self.consumer_groups_topics_changed();
    }

    /// A broker died, or lost the leadership of its partitions of `__consumer_offsets`: other brokers load its groups,
    /// without the state that was only in memory.
    pub(crate) fn reload_groups_of(&mut self, broker: i32) {
        let coordinator =
            |name: &str, group: &Group| group.coordinator.or_else(|| self.nodes.usual_coordinator_of(name));
        let moved: Vec<String> = self
            .groups
            .all
            .iter()
            .filter(|(name, group)| coordinator(name, group) == Some(broker))
            .map(|(name, _)| name.clone())
            .collect();
        for name in moved {
            self.reload_group(&name);
        }
    }

    /// Loads this group at another broker, or at the same one again: pending joins and syncs are answered
    /// `NOT_COORDINATOR`, the members are those of the last stored generation, and their sessions begin anew.
    pub(crate) fn reload_group(&mut self, name: &str) {
        if !self.groups.all.contains_key(name) {
            return;
        }
        let coordinator = self.coordinator_of(name);
        if let Some(coordinator) = coordinator.filter(|_| !self.groups.loading_time.is_zero()) {
            self.groups.loading_until.insert(coordinator, self.now + self.groups.loading_time);
        }
        self.observe(|at| crate::observe::Observed::GroupLoaded { at, group: name.to_owned() });
        let Some(group) = self.groups.all.get_mut(name) else { return };
        group.coordinator = coordinator;
        match &mut group.members {
            Members::None => {}
            Members::Classic(_) => {
                self.turn(name, classic::Classic::reload);
            }
            Members::Consumer(_) => self.reload_consumer_group(name),
        }
    }

    /// Makes a broker load its groups for this long: it answers requests about them with COORDINATOR_LOAD_IN_PROGRESS,
    /// except that it accepts a classic member's heartbeat without effect. The sessions begin anew when it has
    /// finished.
    pub fn load_groups(&mut self, now: Instant, broker: i32, lasts: Duration) {
        self.now = now;
        let until = now + lasts;
        self.groups.loading_until.insert(broker, until);
        let nodes = &self.nodes;
        let ours = self.groups.all.iter().filter(|(name, group)| {
            group.coordinator.or_else(|| nodes.usual_coordinator_of(name)) == Some(broker)
        });
        let ours: Vec<String> = ours.map(|(name, _)| name.clone()).collect();
        for name in ours {
            let timeout = self.consumer_session_timeout(&name);
            match self.groups.all.get_mut(&name).map(|group| &mut group.members) {
                Some(Members::Classic(classic)) => classic.sessions_begin_at(until),
                Some(Members::Consumer(consumer)) => consumer.sessions_begin_at(until, timeout),
                Some(Members::None) | None => {}
            }
        }
    }

    /// Makes the coordinator lose all state of a group, offsets included.
    pub fn forget_group(&mut self, now: Instant, name: &str) {
        self.now = now;
        if let Some(Group { members: Members::Classic(_), .. }) = self.groups.all.get(name) {
            self.turn(name, classic::Classic::reload);
        }
        self.groups.all.remove(name);
    }

    /// Ends a transaction in a group: its pending offsets become the group's, or are dropped.
    pub(crate) fn end_transaction_in_group(&mut self, group: &str, producer: i64, commit: bool) {
        let Some(Group { offsets, .. }) = self.groups.all.get_mut(group) else { return };
        for commit in offsets.end_transaction(producer, commit) {
            self.observe(|at| commit.observed(at, group));
        }
    }

    /// Lets a classic group act, then applies its outputs. Answers are sent only once its state is settled, as an
    /// answer admits the connection's next request.
    fn turn<R>(
        &mut self,
        name: &str,
        act: impl FnOnce(&mut classic::Classic, &mut classic::Turn<'_>) -> R,
    ) -> Option<R> {
        let classic = self.groups.all.get_mut(name)?.members.as_classic()?;
        let mut turn = classic::Turn::new(self.now, &self.config);
        let result = act(classic, &mut turn);
        let classic::Turn { events, answers, .. } = turn;
        for event in events {
            self.observe(|at| event.observed(at, name));
        }
        for (context, response) in answers {
            self.answer_later(&context, response);
        }
        Some(result)
    }

    /// Whether this group has members of the consumer protocol, whose code then serves its classic members too.
    fn is_of_consumer_protocol(&self, name: &str) -> bool {
        matches!(
            self.groups.all.get(name),
            Some(Group { members: Members::Consumer(consumer), .. }) if !consumer.is_empty()
        )
    }

    /// The code of a refusal. One that a correct client in a world without faults does not cause is observed.
    pub(crate) fn refusal(&mut self, context: &Context, error: ResponseError) -> i16 {
        use ResponseError as E;
        let expected = matches!(
            error,
            E::NotCoordinator
                | E::CoordinatorNotAvailable
                | E::CoordinatorLoadInProgress
                | E::MemberIdRequired
                | E::RebalanceInProgress
                | E::UnstableOffsetCommit
        );
        if !expected {
            self.observe(|at| Observed::Refused {
                at,
                broker: context.broker,
                api: context.key as i16,
                code: error.code(),
                client: context.client_id.as_deref().unwrap_or_default().to_owned(),
            });
        }
        error.code()
    }
}
