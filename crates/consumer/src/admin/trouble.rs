//! What went wrong with one attempt, and whether another may go better.

use std::time::Duration;

use offtake_machine::{Backoff, BackoffConfig, CallError, TopicPartition};
use offtake_wire::ErrorCode;

use crate::{
    clock,
    error::{Error, ErrorKind},
};

/// Why an attempt failed.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) error: Error,
    pub(super) again: Again,
}

/// Whether to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    Never,
    /// A few times: most likely it is so, but a broker that has just started says the same (FAILURES B1, B6).
    Soon,
    /// Until the deadline: it passes.
    Yes,
}

/// How often [`Again::Soon`] is believed.
const SOON: u32 = 3;

impl Trouble {
    /// No answer. `what` completes "cannot …".
    pub(super) fn call(what: &str, error: CallError) -> Self {
        let again = if error.is_retriable() { Again::Yes } else { Again::Never };
        let error = Error::from(error);
        Self {
            error: Error::new(error.kind(), format!("cannot {what}: {error}")).with_cause_of(&error),
            again,
        }
    }

    /// The broker answered with an error. `said` is what it has to say about it.
    pub(super) fn code(what: &str, code: ErrorCode, said: Option<&str>) -> Self {
        let (_, _, hint) = judge(code);
        Self::hinted(what, code, said, hint)
    }

    /// The same where what to do about it depends on what was asked.
    pub(super) fn hinted(what: &str, code: ErrorCode, said: Option<&str>, hint: &str) -> Self {
        let (kind, again, _) = judge(code);
        let said =
            said.filter(|said| !said.is_empty()).map(|said| format!(" ({})", said.trim_end_matches('.')));
        let said = said.unwrap_or_default();
        let hint = if hint.is_empty() { String::new() } else { format!(": {hint}") };
        Self { error: Error::new(kind, format!("cannot {what}: {code}{said}{hint}")).with_code(code), again }
    }

    /// What no other attempt can change.
    pub(super) fn never(error: Error) -> Self {
        Self { error, again: Again::Never }
    }

    /// It concerns this partition alone.
    pub(super) fn of(self, partition: &TopicPartition) -> Self {
        Self { error: self.error.with_partition(partition.clone()), ..self }
    }

    /// The answer makes no sense.
    pub(super) fn malformed(what: &str, why: &str) -> Self {
        Self { error: Error::new(ErrorKind::Malformed, format!("cannot {what}: {why}")), again: Again::Soon }
    }
}

/// What kind of error a code is, whether it passes, and what to do about it.
fn judge(code: ErrorCode) -> (ErrorKind, Again, &'static str) {
    use ErrorCode as E;
    match code {
        E::UnknownTopicOrPartition | E::UnknownTopicId => {
            (ErrorKind::UnknownTopic, Again::Soon, "no such topic or partition")
        }
        E::InvalidTopicException => (ErrorKind::UnknownTopic, Again::Never, "that is no name for a topic"),
        E::TopicAuthorizationFailed | E::GroupAuthorizationFailed | E::ClusterAuthorizationFailed => {
            (ErrorKind::Authorization, Again::Never, "an ACL of the cluster forbids it")
        }
        E::GroupIdNotFound => (ErrorKind::Group, Again::Never, "there is no such group"),
        E::NonEmptyGroup => (
            ErrorKind::Group,
            Again::Never,
            "it has members: stop them, and wait until they have left or their sessions have ended",
        ),
        E::GroupSubscribedToTopic => (
            ErrorKind::Group,
            Again::Never,
            "a member of the group reads that topic: stop it, or let it subscribe to others",
        ),
        E::UnknownMemberId
        | E::IllegalGeneration
        | E::RebalanceInProgress
        | E::FencedInstanceId
        | E::StaleMemberEpoch => (ErrorKind::Group, Again::Never, ""),
        E::InvalidGroupId => (ErrorKind::Group, Again::Never, "that is no name for a group"),
        E::UnsupportedVersion => (ErrorKind::Unsupported, Again::Never, ""),
        E::TopicAlreadyExists => (ErrorKind::Misuse, Again::Never, "delete it first, or use it"),
        code if passes(code) => (ErrorKind::Timeout, Again::Yes, ""),
        _ => (ErrorKind::Misuse, Again::Never, ""),
    }
}

fn passes(code: ErrorCode) -> bool {
    // Kafka does not call the first retriable, because it is another broker that has to be asked.
    matches!(code, ErrorCode::NotController | ErrorCode::BrokerNotAvailable) || code.is_retriable()
}

/// The pauses between attempts, and how many there were.
#[derive(Debug)]
pub(super) struct Attempts {
    backoff: Backoff,
}

impl Attempts {
    pub(super) fn new(config: BackoffConfig) -> Self {
        // One at a time and no herd: the jitter needs no seed of its own.
        Self { backoff: Backoff::new(config, 1) }
    }

    /// Waits for the next attempt, or says why there is none.
    pub(super) async fn after(
        &mut self,
        trouble: Trouble,
        deadline: std::time::Instant,
        limit: Duration,
    ) -> Result<(), Error> {
        let wait = self.backoff.next_wait();
        match trouble.again {
            Again::Never => return Err(trouble.error),
            Again::Soon if self.backoff.failures() >= SOON => return Err(trouble.error),
            Again::Soon | Again::Yes => {}
        }
        if clock::now() + wait >= deadline {
            let seconds = (limit.as_secs_f64() * 10.0).round() / 10.0;
            let hint = match trouble.error.kind() {
                ErrorKind::Unreachable => ": check the address, and that the broker is up",
                _ => "",
            };
            let message = format!("{}; gave up after {seconds} s{hint}", trouble.error);
            let error = Error::new(trouble.error.kind(), message).with_cause_of(&trouble.error);
            return Err(match trouble.error.code() {
                Some(code) => error.with_code(code),
                None => error,
            });
        }
        tracing::debug!("{}; trying again", trouble.error);
        clock::timeout(wait, std::future::pending::<()>()).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_topic_is_asked_for_a_few_times_and_a_missing_leader_until_the_deadline() {
        assert_eq!(Trouble::code("x", ErrorCode::UnknownTopicOrPartition, None).again, Again::Soon);
        assert_eq!(Trouble::code("x", ErrorCode::LeaderNotAvailable, None).again, Again::Yes);
        assert_eq!(Trouble::code("x", ErrorCode::NotController, None).again, Again::Yes);
        assert_eq!(Trouble::code("x", ErrorCode::TopicAuthorizationFailed, None).again, Again::Never);
    }

    #[test]
    fn the_sentence_has_what_was_tried_the_code_and_the_brokers_words() {
        let trouble = Trouble::code(
            "create topic `t`",
            ErrorCode::TopicAlreadyExists,
            Some("Topic 't' already exists."),
        );
        assert_eq!(
            trouble.error.to_string(),
            "cannot create topic `t`: TOPIC_ALREADY_EXISTS (Topic 't' already exists): delete it first, or use it"
        );
    }
}
