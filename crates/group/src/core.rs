//! [`MemberCore`]: the state and functions common to members of both protocols.

use std::time::Instant;

use offtake_machine::{BrokerId, CallError, CallIds};
use offtake_wire::ErrorCode;

use crate::{
    call::Sent,
    config::Config,
    event::{Event, GroupError, Outbox},
    health::Health,
    poll_timer::PollTimer,
};

/// The number of retries after an unknown error code (FAILURES Q4) or UNKNOWN_SERVER_ERROR, with which
/// brokers always answer an assignment that is too large for their log.
const UNKNOWN_CODE_RETRIES: u32 = 5;

#[derive(Clone, Debug)]
pub(crate) struct MemberCore {
    pub(crate) config: Config,
    pub(crate) ids: CallIds,
    pub(crate) health: Health,
    pub(crate) outbox: Outbox,
    pub(crate) poll_timer: PollTimer,
    /// The coordinator that received the last request.
    pub(crate) last_asked: Option<BrokerId>,
    /// A call is due, but the coordinator is not known.
    pub(crate) waits_for_coordinator: bool,
}

/// The consequence of a failure that is not specific to one request.
pub(crate) enum Verdict {
    /// Retry, after a wait.
    Retry,
    Fail(GroupError),
}

/// The next step after the member has left, or could not notify the coordinator in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum AfterLeaving {
    Outside,
    Unpolled,
    Failed,
    /// Join: the application has polled or subscribed meanwhile.
    Join,
    /// Report that the member has left, then join: the application has left and subscribed again.
    LeftThenJoin,
}

impl MemberCore {
    pub(crate) fn new(config: Config) -> Self {
        let config = config.clamp_timeouts();
        Self {
            health: Health::new(config.backoff, config.seed),
            ids: CallIds::default(),
            outbox: Outbox::default(),
            poll_timer: PollTimer::default(),
            last_asked: None,
            waits_for_coordinator: false,
            config,
        }
    }

    /// The broker of the request is not the coordinator, or is unreachable.
    pub(crate) fn coordinator_lost(&mut self, sent: Option<Sent>) {
        if let Some(sent) = sent {
            self.outbox.push(Event::CoordinatorLost(sent.to));
        }
    }

    /// No heartbeat was accepted within the session timeout.
    pub(crate) fn session_expired(&mut self) {
        tracing::warn!(group = %self.config.group, timeout = ?self.config.session_timeout,
            "no heartbeat was accepted within the session timeout: membership is lost");
        if let Some(broker) = self.last_asked {
            self.outbox.push(Event::CoordinatorLost(broker));
        }
    }

    pub(crate) fn poll_interval_exceeded(&mut self) {
        self.outbox.push(Event::PollIntervalExceeded);
    }

    /// The application has not polled for four fifths of the poll interval.
    pub(crate) fn warn_of_poll_interval(&mut self) {
        if let Some(since) = self.poll_timer.warn() {
            self.outbox.push(Event::PollIntervalWarning { since });
        }
    }

    /// When the poll interval is exceeded, and when to warn of that.
    pub(crate) fn poll_deadlines(&self) -> [Option<Instant>; 2] {
        let interval = self.config.rebalance_timeout;
        [self.poll_timer.expires_at(interval), self.poll_timer.warns_at(interval)]
    }

    /// When to retry a failed call. `state` is for the report.
    pub(crate) fn retry_at(&mut self, now: Instant, state: &str, why: &str) -> Instant {
        self.health.on_failure(now, &mut self.outbox, || format!("{state}: {why}"))
    }

    /// The general meaning of an error code. `message` is the broker's.
    pub(crate) fn classify_code(&mut self, sent: Sent, code: ErrorCode, message: Option<String>) -> Verdict {
        let group = || self.config.group.clone();
        Verdict::Fail(match code {
            ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable => {
                self.coordinator_lost(Some(sent));
                return Verdict::Retry;
            }
            ErrorCode::UnknownServerError | ErrorCode::Unknown(_)
                if self.health.failures() < UNKNOWN_CODE_RETRIES =>
            {
                return Verdict::Retry;
            }
            code if code.is_retriable() => return Verdict::Retry,
            ErrorCode::FencedInstanceId => self.fenced_error(),
            ErrorCode::GroupAuthorizationFailed => GroupError::GroupAuthorizationFailed { group: group() },
            ErrorCode::GroupMaxSizeReached => GroupError::GroupMaxSizeReached { group: group() },
            code => GroupError::Refused { group: group(), code, message },
        })
    }

    /// The meaning of a call without a response. `advice` is added to the error of a broker that is too old.
    pub(crate) fn classify_call_error(&mut self, sent: Sent, error: &CallError, advice: &str) -> Verdict {
        if matches!(error, CallError::Unsupported { .. }) {
            return Verdict::Fail(self.too_old_error(format!("{error}{advice}")));
        }
        if error.loses_coordinator() {
            self.coordinator_lost(Some(sent));
        }
        Verdict::Retry
    }

    pub(crate) fn too_old_error(&self, what: impl Into<String>) -> GroupError {
        GroupError::UnsupportedVersion { group: self.config.group.clone(), what: what.into() }
    }

    pub(crate) fn fenced_error(&self) -> GroupError {
        GroupError::FencedInstanceId { group: self.config.group.clone(), instance_id: self.instance_id() }
    }

    /// The instance id, for error messages.
    pub(crate) fn instance_id(&self) -> String {
        self.config.instance_id.clone().unwrap_or_default()
    }
}

impl AfterLeaving {
    /// The application subscribes meanwhile. Returns whether that changes anything.
    pub(crate) fn on_subscribe(&mut self) -> bool {
        let then = match self {
            Self::Outside => Self::LeftThenJoin,
            Self::Failed => Self::Join,
            Self::Unpolled | Self::Join | Self::LeftThenJoin => return false,
        };
        *self = then;
        true
    }

    /// The application polls meanwhile.
    pub(crate) fn on_poll(&mut self) {
        if *self == Self::Unpolled {
            *self = Self::Join;
        }
    }

    /// Whether the application waits for [`Event::Left`].
    pub(crate) fn emits_left(self) -> bool {
        matches!(self, Self::Outside | Self::LeftThenJoin)
    }
}
