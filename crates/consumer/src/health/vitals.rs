//! [`Vitals`]: what the engine records for others to read, as [`Health`] or as the cause of an error.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use offtake_machine::{BrokerId, CallError, Cluster, Target, TopicPartition};

use super::{FailingBroker, Health, MembershipState};
use crate::{
    error::{Error, ErrorKind},
    shared::Shared,
};

/// What the engine records for others to read.
#[derive(Debug)]
pub(crate) struct Vitals {
    shared: Arc<Shared>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    membership: MembershipState,
    since: Instant,
    /// The member id and generation.
    member: Option<(String, i32)>,
    assigned: usize,
    coordinator: Option<BrokerId>,
    fetched: Option<Instant>,
    answering: BTreeSet<BrokerId>,
    failing: BTreeMap<BrokerId, CallError>,
    trouble: Option<CallError>,
    /// Why partitions were lost, kept until they are assigned again or properly revoked.
    losses: BTreeMap<TopicPartition, Loss>,
}

/// Why the group continues without this member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The application did not poll for this time.
    PollInterval(Duration),
    /// The session expired, or the member was fenced.
    Membership,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PollInterval(limit) => write!(
                f,
                "poll was not called for max.poll.interval.ms ({}), and the group went on without this member; poll more often, \
                 take fewer records at a time (max.poll.records), or raise max.poll.interval.ms",
                limit.as_millis()
            ),
            Self::Membership => f.write_str(
                "the group went on without this member, as its session expired or it was fenced; its records come again",
            ),
        }
    }
}

impl Vitals {
    pub(crate) fn new(now: Instant, shared: Arc<Shared>) -> Self {
        let state = State {
            membership: MembershipState::NotSubscribed,
            since: now,
            member: None,
            assigned: 0,
            coordinator: None,
            fetched: None,
            answering: BTreeSet::new(),
            failing: BTreeMap::new(),
            trouble: None,
            losses: BTreeMap::new(),
        };
        Self { shared, state: Mutex::new(state) }
    }

    /// For a consumer without an engine.
    #[cfg(test)]
    pub(crate) fn without_engine() -> Arc<Self> {
        let now = crate::clock::now();
        Arc::new(Self::new(now, Arc::new(Shared::new(now))))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a broker has responded; `None` if its id is not known yet.
    pub(crate) fn answered(&self, now: Instant, broker: Option<BrokerId>, is_fetch: bool) {
        let mut state = self.lock();
        if is_fetch {
            state.fetched = Some(now);
        }
        if let Some(broker) = broker {
            state.failing.remove(&broker);
            state.answering.insert(broker);
        }
    }

    /// Notes that a request was not answered.
    pub(crate) fn not_answered(&self, to: Target, error: &CallError) {
        let (Target::Broker(broker), true) = (to, is_of_broker(error)) else { return };
        let mut state = self.lock();
        state.answering.remove(&broker);
        state.failing.insert(broker, error.clone());
    }

    /// Keeps only the brokers that the cluster has.
    pub(crate) fn cluster_is(&self, cluster: &Cluster) {
        let mut state = self.lock();
        state.answering.retain(|broker| cluster.brokers.contains_key(broker));
        state.failing.retain(|broker, _| cluster.brokers.contains_key(broker));
    }

    pub(crate) fn note(
        &self,
        now: Instant,
        membership: MembershipState,
        member: Option<(String, i32)>,
        assigned: usize,
        coordinator: Option<BrokerId>,
        trouble: Option<&CallError>,
    ) {
        let mut state = self.lock();
        if state.membership == MembershipState::Closed {
            return;
        }
        if state.membership != membership {
            (state.membership, state.since) = (membership, now);
        }
        (state.member, state.assigned, state.coordinator) = (member, assigned, coordinator);
        if state.trouble.as_ref() != trouble {
            state.trouble = trouble.cloned();
        }
    }

    pub(crate) fn membership(&self) -> MembershipState {
        self.lock().membership
    }

    pub(crate) fn member_id(&self) -> Option<String> {
        self.lock().member.as_ref().map(|(member, _)| member.clone())
    }

    /// Notes that these were lost.
    pub(crate) fn lost(&self, partitions: &[TopicPartition], loss: Loss) {
        let mut state = self.lock();
        state.losses.extend(partitions.iter().map(|partition| (partition.clone(), loss)));
    }

    /// Notes that these were assigned again, or properly given up: an earlier loss explains nothing any more.
    pub(crate) fn forget_losses(&self, partitions: &[TopicPartition]) {
        let mut state = self.lock();
        for partition in partitions {
            state.losses.remove(partition);
        }
    }

    /// Notes that the application reads nothing any more: earlier losses explain nothing any more.
    pub(crate) fn clear_losses(&self) {
        self.lock().losses.clear();
    }

    /// Why these were lost, if known.
    pub(crate) fn loss_of(&self, partitions: &[TopicPartition]) -> Option<Arc<str>> {
        let state = self.lock();
        let loss = partitions.iter().find_map(|partition| state.losses.get(partition))?;
        Some(loss.to_string().into())
    }

    /// Why the last of these was lost, if all of them were.
    pub(crate) fn loss_of_all(&self, partitions: &[TopicPartition]) -> Option<Arc<str>> {
        let state = self.lock();
        let losses = partitions.iter().map(|partition| state.losses.get(partition));
        let losses: Option<Vec<_>> = losses.collect();
        Some(losses?.last()?.to_string().into())
    }

    /// Adds to the error why the partition is not assigned, if it was lost.
    pub(crate) fn explain(&self, error: Error) -> Error {
        let loss = error.partition().filter(|_| error.kind() == ErrorKind::NotOwned);
        match loss.and_then(|partition| self.lock().losses.get(partition).copied()) {
            Some(loss) => error.because(&loss.to_string()),
            None => error,
        }
    }

    pub(crate) fn health(
        &self,
        now: Instant,
        is_running: bool,
        max_poll_interval: Duration,
        oldest_unfinished: Option<Duration>,
    ) -> Health {
        let age = |at: Instant| now.saturating_duration_since(at);
        let mut state = self.lock();
        if !is_running && state.membership != MembershipState::Closed {
            // Whatever its engine still does, the consumer has no assignment.
            (state.membership, state.since) = (MembershipState::Closed, now);
            (state.member, state.assigned, state.coordinator) = (None, 0, None);
            state.answering.clear();
            state.failing.clear();
            state.trouble = None;
        }
        let failing = |(broker, error): (&BrokerId, &CallError)| FailingBroker {
            id: broker.0,
            error: error.to_string(),
        };
        Health {
            is_running,
            membership: state.membership,
            membership_age: age(state.since),
            generation: state.member.as_ref().map(|(_, generation)| *generation),
            member_id: state.member.as_ref().map(|(member, _)| member.clone()),
            assigned: state.assigned,
            last_poll: self.shared.last_poll(now).map(age),
            last_fetch: state.fetched.map(age),
            max_poll_interval,
            coordinator: state.coordinator.map(|broker| broker.0),
            answering_brokers: state.answering.iter().map(|broker| broker.0).collect(),
            failing_brokers: state.failing.iter().map(failing).collect(),
            cluster_error: state.trouble.as_ref().map(ToString::to_string),
            oldest_unfinished,
        }
    }
}

/// Whether the broker did not respond at all; an invalid response is one.
fn is_of_broker(error: &CallError) -> bool {
    match error {
        CallError::Unreachable { .. }
        | CallError::Authentication { .. }
        | CallError::Disconnected { .. }
        | CallError::NotSent { .. }
        | CallError::TimedOut { .. } => true,
        CallError::Unsupported { .. }
        | CallError::Malformed { .. }
        | CallError::TooLarge { .. }
        | CallError::Withdrawn
        | CallError::UnknownBroker(_) => false,
    }
}
