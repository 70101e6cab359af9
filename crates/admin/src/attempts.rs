//! The errors of attempts, and whether a retry may help.

use std::time::Duration;

use offtake_machine::{Backoff, BackoffConfig, CallError, TopicPartition, broker_text};
use offtake_wire::ErrorCode;

use offtake_client::{Error, ErrorKind, clock};

/// Why an attempt failed.
#[derive(Debug)]
pub(super) struct AttemptError {
    pub(super) error: Error,
    pub(super) retry: Retry,
}

/// Whether to retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    Never,
    /// Retry a few times: the error is most likely final, but a broker that has just started returns it too (FAILURES B1, B6).
    AFewTimes,
    /// Retry until the deadline, because the error is transient.
    UntilDeadline,
}

/// The number of attempts for [`Retry::AFewTimes`].
const A_FEW: u32 = 3;

impl AttemptError {
    /// An attempt without a response. `what` completes "cannot …".
    pub(super) fn call(what: &str, error: CallError) -> Self {
        let retry = if error.is_retriable() { Retry::UntilDeadline } else { Retry::Never };
        let error = Error::from(error);
        Self {
            error: Error::new(error.kind(), format!("cannot {what}: {error}")).with_cause_of(&error),
            retry,
        }
    }

    /// A response with an error code. `said` is the broker's message, if there is one.
    pub(super) fn code(what: &str, code: ErrorCode, said: Option<&str>) -> Self {
        let (_, _, hint) = check(code);
        Self::hinted(what, code, said, hint)
    }

    /// The same, with a hint that depends on the request.
    pub(super) fn hinted(what: &str, code: ErrorCode, said: Option<&str>, hint: &str) -> Self {
        let (kind, retry, _) = check(code);
        let said = said.map(broker_text).unwrap_or_default();
        let said = match said.trim_end_matches('.') {
            "" => String::new(),
            said => format!(" ({said})"),
        };
        let hint = if hint.is_empty() { String::new() } else { format!(": {hint}") };
        Self { error: Error::new(kind, format!("cannot {what}: {code}{said}{hint}")).with_code(code), retry }
    }

    /// An error that no retry can change.
    pub(super) fn never(error: Error) -> Self {
        Self { error, retry: Retry::Never }
    }

    /// Adds the partition that the error concerns.
    pub(super) fn of(self, partition: &TopicPartition) -> Self {
        Self { error: self.error.with_partition(partition.clone()), ..self }
    }

    /// A response that makes no sense.
    pub(super) fn malformed(what: &str, why: &str) -> Self {
        Self {
            error: Error::new(ErrorKind::Malformed, format!("cannot {what}: {why}")),
            retry: Retry::AFewTimes,
        }
    }
}

/// The kind of error for a code, whether it is transient, and the remedy.
fn check(code: ErrorCode) -> (ErrorKind, Retry, &'static str) {
    use ErrorCode as E;
    match code {
        E::UnknownTopicOrPartition | E::UnknownTopicId => {
            (ErrorKind::UnknownTopic, Retry::AFewTimes, "no such topic or partition")
        }
        E::InvalidTopicException => (ErrorKind::UnknownTopic, Retry::Never, "that is no name for a topic"),
        E::TopicAuthorizationFailed | E::GroupAuthorizationFailed | E::ClusterAuthorizationFailed => {
            (ErrorKind::Authorization, Retry::Never, "an ACL of the cluster forbids it")
        }
        E::GroupIdNotFound => (ErrorKind::Group, Retry::Never, "there is no such group"),
        E::NonEmptyGroup => (
            ErrorKind::Group,
            Retry::Never,
            "it has members: stop them, and wait until they have left or their sessions have ended",
        ),
        E::GroupSubscribedToTopic => (
            ErrorKind::Group,
            Retry::Never,
            "a member of the group reads that topic: stop it, or let it subscribe to others",
        ),
        E::UnknownMemberId
        | E::IllegalGeneration
        | E::RebalanceInProgress
        | E::FencedInstanceId
        | E::StaleMemberEpoch => (ErrorKind::Group, Retry::Never, ""),
        E::InvalidGroupId => (ErrorKind::Group, Retry::Never, "that is no name for a group"),
        E::UnsupportedVersion => (ErrorKind::Unsupported, Retry::Never, ""),
        E::TopicAlreadyExists => (ErrorKind::Misuse, Retry::Never, "delete it first, or use it"),
        code if passes(code) => (ErrorKind::Timeout, Retry::UntilDeadline, ""),
        _ => (ErrorKind::Misuse, Retry::Never, ""),
    }
}

fn passes(code: ErrorCode) -> bool {
    // Kafka does not consider the first one retriable, because another broker has to be asked.
    matches!(code, ErrorCode::NotController | ErrorCode::BrokerNotAvailable) || code.is_retriable()
}

/// The pauses between attempts, and their number.
#[derive(Debug)]
pub(super) struct Attempts {
    backoff: Backoff,
}

impl Attempts {
    pub(super) fn new(config: BackoffConfig) -> Self {
        // There is one caller at a time and no herd, so that the jitter needs no seed of its own.
        Self { backoff: Backoff::new(config, 1) }
    }

    /// Waits before the next attempt, or returns why there is none.
    pub(super) async fn after(
        &mut self,
        failure: AttemptError,
        deadline: std::time::Instant,
        limit: Duration,
    ) -> Result<(), Error> {
        let wait = self.backoff.next_wait();
        match failure.retry {
            Retry::Never => return Err(failure.error),
            Retry::AFewTimes if self.backoff.failures() >= A_FEW => return Err(failure.error),
            Retry::AFewTimes | Retry::UntilDeadline => {}
        }
        if clock::now() + wait >= deadline {
            let seconds = (limit.as_secs_f64() * 10.0).round() / 10.0;
            let hint = match failure.error.kind() {
                ErrorKind::Unreachable => ": check the address, and that the broker is up",
                _ => "",
            };
            let message = format!("{}; gave up after {seconds} s{hint}", failure.error);
            let error = Error::new(failure.error.kind(), message).with_cause_of(&failure.error);
            return Err(match failure.error.code() {
                Some(code) => error.with_code(code),
                None => error,
            });
        }
        tracing::debug!("{}; trying again", failure.error);
        clock::timeout(wait, std::future::pending::<()>()).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_topic_is_asked_for_a_few_times_and_a_missing_leader_until_the_deadline() {
        assert_eq!(AttemptError::code("x", ErrorCode::UnknownTopicOrPartition, None).retry, Retry::AFewTimes);
        assert_eq!(AttemptError::code("x", ErrorCode::LeaderNotAvailable, None).retry, Retry::UntilDeadline);
        assert_eq!(AttemptError::code("x", ErrorCode::NotController, None).retry, Retry::UntilDeadline);
        assert_eq!(AttemptError::code("x", ErrorCode::TopicAuthorizationFailed, None).retry, Retry::Never);
    }

    #[test]
    fn the_sentence_has_what_was_tried_the_code_and_the_brokers_words() {
        let failure = AttemptError::code(
            "create topic `t`",
            ErrorCode::TopicAlreadyExists,
            Some("Topic 't' already exists."),
        );
        assert_eq!(
            failure.error.to_string(),
            "cannot create topic `t`: TOPIC_ALREADY_EXISTS (Topic 't' already exists): delete it first, or use it"
        );
    }

    #[test]
    fn a_brokers_error_text_cannot_steer_a_terminal_or_fill_it() {
        let said = |words: &str| {
            AttemptError::code("create orders", ErrorCode::PolicyViolation, Some(words)).error.to_string()
        };
        assert!(said("too small.").ends_with(" (too small)"), "{}", said("too small."));
        assert!(said("\u{1b}[2J\rtoo\u{202e} small").ends_with(" ([2Jtoo small)"));
        assert!(said(&"x".repeat(100_000)).len() < 700);
        assert_eq!(said(""), said("\n."));
    }
}
