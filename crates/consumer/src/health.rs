//! [`Health`]: a consumer's health, for the probes of its operators. A snapshot, which costs a short lock and
//! no message.

mod vitals;

use std::{fmt, time::Duration};

pub(crate) use self::vitals::{Loss, Vitals};

/// A consumer's health at the time of the call of [`Handle::health`](crate::Handle::health).
///
/// ```no_run
/// # fn probes(consumer: &offtake::Consumer) {
/// let health = consumer.handle().health();
/// let (ready, live) = (health.is_ready(), health.is_live()); // of Kubernetes' readiness and liveness probe
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Health {
    /// Whether the engine runs, and the consumer has not been closed.
    pub is_running: bool,
    /// Its state in its group.
    pub membership: MembershipState,
    /// How long it has been in that state; for a [closed](MembershipState::Closed) consumer, since its health
    /// was first queried after closing.
    pub membership_age: Duration,
    /// The generation, or with KIP-848 the member epoch; `None` while it is no member.
    pub generation: Option<i32>,
    /// The member id; `None` while it is no member.
    pub member_id: Option<String>,
    /// The number of assigned partitions, by the group or manually.
    pub assigned: usize,
    /// The time since the last `poll`; zero while a `poll` waits for records, `None` before the first.
    pub last_poll: Option<Duration>,
    /// The time since the last fetch response, with records or without; `None` before the first.
    pub last_fetch: Option<Duration>,
    /// `max.poll.interval.ms`.
    pub max_poll_interval: Duration,
    /// The id of the group's coordinator; `None` while it is not known, or if there is no group.
    pub coordinator: Option<i32>,
    /// The ids of the brokers that answered the last request to them. A broker to which no request was sent
    /// is in neither list.
    pub answering_brokers: Vec<i32>,
    /// The brokers that did not answer the last request to them.
    pub failing_brokers: Vec<FailingBroker>,
    /// Why no broker can be queried for metadata; `None` while one can.
    pub cluster_error: Option<String>,
    /// How long ago the first unfinished record was handed out, to within a second. For a consumer that
    /// finishes records [one by one](crate::Builder::finish_each); `None` if there is none.
    pub oldest_unfinished: Option<Duration>,
}

impl Health {
    /// Whether it works: it is a member of its group, or has manually assigned partitions; and the cluster
    /// responds. For a readiness probe.
    ///
    /// A member in a rebalance is ready, as it stays in the group; so is one without any assigned partition.
    /// Partitions that an error has stopped do not count: `poll` has returned their errors, each once.
    pub fn is_ready(&self) -> bool {
        self.why_not_ready().is_none()
    }

    /// Why it is not [ready](Self::is_ready), as a sentence; `None` if it is.
    pub fn why_not_ready(&self) -> Option<String> {
        let limit = self.max_poll_interval.as_millis();
        let why = match self.membership {
            MembershipState::Stable | MembershipState::Rebalancing => None,
            MembershipState::AssignedByHand if self.assigned > 0 => None,
            MembershipState::AssignedByHand => Some("no partition is assigned".to_owned()),
            MembershipState::NotSubscribed => Some("nothing is subscribed to or assigned".to_owned()),
            MembershipState::Joining => Some("it is joining its group".to_owned()),
            MembershipState::NotPolled => Some(format!(
                "the application did not poll for max.poll.interval.ms ({limit}): it has left its group until it polls"
            )),
            MembershipState::Leaving => Some("it is leaving its group".to_owned()),
            MembershipState::Failed => Some("the group refuses it: poll says why".to_owned()),
            MembershipState::Closed => Some("the consumer is closed".to_owned()),
        };
        let unreachable =
            || Some(format!("no broker can be asked about the cluster: {}", self.cluster_error.as_ref()?));
        match (why, unreachable()) {
            (Some(why), Some(unreachable)) => Some(format!("{why}; {unreachable}")),
            (why, unreachable) => why.or(unreachable),
        }
    }

    /// Whether waiting may help. For a liveness probe: if it is false, only a new consumer or a restarted
    /// process can help.
    ///
    /// False once the engine has ended or the consumer was closed; when the group refuses it for good
    /// (another member took its `group.instance.id`, an ACL forbids it); and when a subscribed application
    /// has not polled for `max.poll.interval.ms`, because it probably hangs. An unreachable cluster does not
    /// make it false.
    pub fn is_live(&self) -> bool {
        let is_subscribed =
            !matches!(self.membership, MembershipState::NotSubscribed | MembershipState::AssignedByHand);
        // A consumer that has never polled is removed from its group in the same way.
        let is_late = self.last_poll.is_some_and(|age| age > self.max_poll_interval);
        let hangs = is_subscribed && (is_late || self.membership == MembershipState::NotPolled);
        self.is_running && self.membership != MembershipState::Failed && !hangs
    }
}

/// Prints one line, for a probe's response or a log.
impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.why_not_ready() {
            None => f.write_str("ready")?,
            Some(why) => write!(f, "not ready, as {why}")?,
        }
        write!(f, "; {} for {}", self.membership, Age(self.membership_age))?;
        if let Some(generation) = self.generation {
            write!(f, ", generation {generation}")?;
        }
        let s = if self.assigned == 1 { "" } else { "s" };
        write!(f, ", {} partition{s}", self.assigned)?;
        for (what, age) in [("polled", self.last_poll), ("fetched", self.last_fetch)] {
            match age {
                Some(age) => write!(f, ", {what} {} ago", Age(age))?,
                None => write!(f, ", never {what}")?,
            }
        }
        for FailingBroker { id, .. } in &self.failing_brokers {
            write!(f, ", broker {id} does not answer")?;
        }
        match self.oldest_unfinished {
            Some(age) => write!(f, ", oldest unfinished record handed out {} ago", Age(age)),
            None => Ok(()),
        }
    }
}

/// Prints a duration to a tenth of a second.
struct Age(Duration);

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} s", self.0.as_secs_f64())
    }
}

/// A consumer's state in its group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MembershipState {
    /// There is no subscription and no manual assignment.
    #[default]
    NotSubscribed,
    /// It reads manually assigned partitions, and is a member of no group.
    AssignedByHand,
    /// It is joining the group.
    Joining,
    /// It is a member, in a rebalance.
    Rebalancing,
    /// It is a member, with its assignment.
    Stable,
    /// It has left because the application did not poll for `max.poll.interval.ms`, and rejoins when it does.
    NotPolled,
    /// It is leaving the group.
    Leaving,
    /// The group refused it for good.
    Failed,
    /// The consumer was closed or dropped, or its engine has ended.
    Closed,
}

impl fmt::Display for MembershipState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotSubscribed => "not subscribed",
            Self::AssignedByHand => "assigned by hand",
            Self::Joining => "joining",
            Self::Rebalancing => "rebalancing",
            Self::Stable => "stable",
            Self::NotPolled => "not polled",
            Self::Leaving => "leaving",
            Self::Failed => "failed",
            Self::Closed => "closed",
        })
    }
}

/// A broker that did not answer the last request to it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailingBroker {
    /// Its id.
    pub id: i32,
    /// The error, for display.
    pub error: String,
}

/// The records of a partition that were handed out and are not finished
/// ([`Builder::finish_each`](crate::Builder::finish_each)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unfinished {
    /// The number of these records. In batches that were not opened yet
    /// ([`poll_batches`](crate::Consumer::poll_batches)) each offset counts.
    pub count: u64,
    /// The offset of the first: everything before it may be committed.
    pub first: i64,
    /// How long ago the first was handed out, to within a second; less exact if records have been unfinished
    /// for minutes.
    pub age: Duration,
    /// The first offset whose [`Ticket`](crate::Ticket) was dropped.
    pub dropped: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(300);

    fn health(membership: MembershipState, last_poll: Option<Duration>) -> Health {
        Health {
            is_running: true,
            membership,
            membership_age: Duration::ZERO,
            generation: None,
            member_id: None,
            assigned: 1,
            last_poll,
            last_fetch: None,
            max_poll_interval: LIMIT,
            coordinator: None,
            answering_brokers: Vec::new(),
            failing_brokers: Vec::new(),
            cluster_error: None,
            oldest_unfinished: None,
        }
    }

    #[test]
    fn an_application_that_polls_too_late_is_not_live_in_whatever_state_it_is_in_its_group() {
        use MembershipState::{
            AssignedByHand, Joining, Leaving, NotPolled, NotSubscribed, Rebalancing, Stable,
        };
        for membership in [Stable, Rebalancing, Joining, Leaving] {
            assert!(health(membership, None).is_live(), "{membership}: it may still poll");
            assert!(health(membership, Some(LIMIT)).is_live(), "{membership}");
            assert!(!health(membership, Some(LIMIT + Duration::from_millis(1))).is_live(), "{membership}");
            assert!(!health(membership, Some(LIMIT * 2)).is_live(), "{membership}");
        }
        for membership in [AssignedByHand, NotSubscribed] {
            assert!(health(membership, Some(LIMIT * 2)).is_live(), "{membership}: nothing expects a poll");
        }
        assert!(!health(NotPolled, None).is_live());
        assert!(!Health { is_running: false, ..health(Stable, None) }.is_live());
    }
}
