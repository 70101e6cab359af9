//! [`Config`]: the identity of a member, its timeouts and its assignors.

use std::time::Duration;

use offtake_machine::BackoffConfig;

use crate::assignor::{BuiltIn, RebalanceProtocol, Strategy};

/// The configuration of one member of one group. [`Config::new`] has Java's defaults.
#[derive(Clone, Debug)]
pub struct Config {
    /// `group.id`.
    pub group: String,
    /// `group.instance.id`: a static member keeps its partitions across a restart (KIP-345).
    pub instance_id: Option<String>,
    /// `group.protocol`.
    pub protocol: Protocol,
    /// `session.timeout.ms`: after this time without a heartbeat the coordinator removes the member, and the member gives up
    /// its partitions. With the consumer protocol the broker decides; the member looks the timeout up when it joins
    /// (DescribeConfigs) and uses this value until then.
    pub session_timeout: Duration,
    /// `heartbeat.interval.ms`. Up to 50 ms are added if it divides the session timeout. With the consumer protocol the broker
    /// decides.
    pub heartbeat_interval: Duration,
    /// `max.poll.interval.ms`: the longest time between two polls of the application, and for a revocation.
    pub rebalance_timeout: Duration,
    /// `request.timeout.ms`. A JoinGroup waits for the other members: its timeout is the rebalance timeout plus 5 s, if that is
    /// more. The first JoinGroup of a dynamic member does not: since version 4 brokers answer it at once, with a member id.
    pub request_timeout: Duration,
    /// `retry.backoff.ms` and `retry.backoff.max.ms`.
    pub backoff: BackoffConfig,
    /// `partition.assignment.strategy`, in order of preference. If any of them is eager, the member revokes everything before
    /// it joins: the group may choose that one, and then other members get what this one owns.
    pub assignors: Vec<Strategy>,
    /// `client.rack`.
    pub rack: Option<String>,
    /// The seed of the jitter in retries, and of the member id in the consumer protocol (KIP-1082).
    pub seed: u64,
}

/// `group.protocol`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// One member assigns for all: JoinGroup, SyncGroup, Heartbeat.
    #[default]
    Classic,
    /// The broker assigns (KIP-848).
    Consumer {
        /// `group.remote.assignor`; with `None` the broker chooses.
        remote_assignor: Option<String>,
    },
}

impl Config {
    /// A member of `group`, otherwise with Java's defaults.
    pub fn new(group: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            instance_id: None,
            protocol: Protocol::default(),
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            rebalance_timeout: Duration::from_secs(300),
            request_timeout: Duration::from_secs(30),
            backoff: BackoffConfig::default(),
            assignors: vec![BuiltIn::Range.into(), BuiltIn::CooperativeSticky.into()],
            rack: None,
            seed: 0,
        }
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if self.group.is_empty() {
            return Err(ConfigError::NoGroup);
        }
        if self.instance_id.as_ref().is_some_and(String::is_empty) {
            return Err(ConfigError::EmptyInstanceId);
        }
        if self.session_timeout.is_zero()
            || self.rebalance_timeout.is_zero()
            || self.request_timeout.is_zero()
        {
            return Err(ConfigError::ZeroTimeout);
        }
        if self.protocol == Protocol::Classic {
            if self.assignors.is_empty() {
                return Err(ConfigError::NoAssignor);
            }
            if self.heartbeat_interval.is_zero() || self.heartbeat_interval >= self.session_timeout {
                return Err(ConfigError::HeartbeatInterval {
                    interval: self.heartbeat_interval,
                    session: self.session_timeout,
                });
            }
        }
        Ok(())
    }

    /// Clamps timeouts to i32::MAX ms, the most that a request can carry, so that both sides count the same (FAILURES D13).
    pub(crate) fn clamp_timeouts(mut self) -> Self {
        for timeout in [
            &mut self.session_timeout,
            &mut self.heartbeat_interval,
            &mut self.rebalance_timeout,
            &mut self.request_timeout,
        ] {
            *timeout = (*timeout).min(LONGEST);
        }
        self
    }

    /// The time between heartbeats of the classic protocol: `heartbeat_interval`, or a little more if it divides the session
    /// timeout.
    /// The members of a generation send their heartbeats at the same times. If the interval divided the
    /// session timeout, all of them would just have sent one when the coordinator removes a dead member, and
    /// would hear of it a whole interval later. So the last heartbeat of a session is sent [a
    /// little](NOTICED_AFTER) after that.
    pub(crate) fn heartbeats_apart(&self) -> Duration {
        let (session, interval) = (self.session_timeout, self.heartbeat_interval);
        let heartbeats = session.as_nanos().div_ceil(interval.as_nanos().max(1));
        let Ok(heartbeats @ 1..) = u32::try_from(heartbeats) else { return interval };
        let spare = interval.saturating_mul(heartbeats).saturating_sub(session);
        let missing = NOTICED_AFTER.min(session / 20).saturating_sub(spare).as_micros();
        let more = u64::try_from(missing.div_ceil(heartbeats.into())).unwrap_or_default();
        interval.saturating_add(Duration::from_micros(more))
    }

    /// Which partitions the member revokes before it joins: all, if any of its assignors is eager.
    pub(crate) fn rebalance_protocol(&self) -> RebalanceProtocol {
        self.assignors.iter().map(|assignor| assignor.protocol()).min().unwrap_or(RebalanceProtocol::Eager)
    }
}

/// The time from the end of a dead member's session to the next heartbeats of the others.
const NOTICED_AFTER: Duration = Duration::from_millis(100);

/// About 25 days: i32::MAX ms, the most that a request can carry.
const LONGEST: Duration = Duration::from_millis(i32::MAX as u64);

/// An assignment of more partitions is refused (FAILURES INPUT50), because no consumer could read them: Fetch
/// requests and offset lookups would be larger than brokers accept, and each would keep the engine busy for a
/// second.
pub(crate) const MOST_ASSIGNED: usize = 200_000;
/// The error text for such an assignment.
pub(crate) const TOO_MANY: &str = "the assignment has more partitions than one consumer can read";

/// Milliseconds for a request, clamped to i32::MAX (FAILURES D13).
pub(crate) fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

/// Why a configuration is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// `group.id` is empty.
    #[error("group.id is empty: a member needs a group")]
    NoGroup,
    /// `group.instance.id` is empty.
    #[error("group.instance.id is empty: leave it out, or give each instance a name of its own")]
    EmptyInstanceId,
    /// There is no assignor.
    #[error(
        "partition.assignment.strategy is empty: name one assignor or more, cooperative-sticky for instance"
    )]
    NoAssignor,
    /// A timeout is zero.
    #[error("session.timeout.ms, max.poll.interval.ms and request.timeout.ms must be above zero")]
    ZeroTimeout,
    /// The heartbeat interval is zero, or not below the session timeout.
    #[error(
        "heartbeat.interval.ms ({} ms) must be above zero and below session.timeout.ms ({} ms); a third of it is usual",
        .interval.as_millis(), .session.as_millis()
    )]
    HeartbeatInterval {
        /// `heartbeat.interval.ms`.
        interval: Duration,
        /// `session.timeout.ms`.
        session: Duration,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d13_a_poll_interval_beyond_the_wire_is_as_long_as_can_be_said() {
        assert_eq!(millis(Duration::MAX), i32::MAX);
        assert_eq!(millis(Duration::from_millis(2_147_483_647)), i32::MAX);
        assert_eq!(millis(Duration::from_millis(300_000)), 300_000);
    }

    #[test]
    fn e6_one_eager_assignor_in_the_list_makes_the_member_eager() {
        let with = |assignors: &[BuiltIn]| {
            let assignors = assignors.iter().map(|assignor| (*assignor).into()).collect();
            Config { assignors, ..Config::new("g") }
        };
        assert_eq!(with(&[BuiltIn::CooperativeSticky]).rebalance_protocol(), RebalanceProtocol::Cooperative);
        let mixed = with(&[BuiltIn::CooperativeSticky, BuiltIn::Range]);
        assert_eq!(mixed.rebalance_protocol(), RebalanceProtocol::Eager);
    }

    #[test]
    fn an_invalid_config_is_refused_with_a_reason() {
        let ok = Config::new("g");
        assert_eq!(ok.check(), Ok(()));
        assert_eq!(Config::new("").check(), Err(ConfigError::NoGroup));
        assert_eq!(Config { assignors: vec![], ..ok.clone() }.check(), Err(ConfigError::NoAssignor));
        for config in [
            Config { session_timeout: Duration::ZERO, ..ok.clone() },
            Config { rebalance_timeout: Duration::ZERO, ..ok.clone() },
            Config { request_timeout: Duration::ZERO, ..ok.clone() },
        ] {
            assert_eq!(config.check(), Err(ConfigError::ZeroTimeout));
        }
        let apart = |session, interval| {
            let (session_timeout, heartbeat_interval) =
                (Duration::from_millis(session), Duration::from_millis(interval));
            Config { session_timeout, heartbeat_interval, ..ok.clone() }.heartbeats_apart()
        };
        assert_eq!(apart(6_000, 3_000), Duration::from_millis(3_050));
        assert_eq!(apart(45_000, 3_000), Duration::from_micros(3_006_667), "the fifteenth");
        assert_eq!(
            apart(6_000, 2_990),
            Duration::from_millis(2_990),
            "the third comes long after the session"
        );
        assert_eq!(apart(6_000, 3_040), Duration::from_millis(3_050));
        assert_eq!(apart(100, 50), Duration::from_micros(52_500), "never much more");
        let slow = Config { heartbeat_interval: ok.session_timeout, ..ok.clone() };
        assert!(slow.check().unwrap_err().to_string().contains("heartbeat.interval.ms (45000 ms)"));
        assert_eq!(
            Config { instance_id: Some(String::new()), ..ok }.check(),
            Err(ConfigError::EmptyInstanceId)
        );
    }
}
