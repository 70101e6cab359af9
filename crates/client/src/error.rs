//! The errors that the application receives: those that the client cannot recover from itself.

use std::{fmt, sync::Arc};

use offtake_machine::{CallError, TopicPartition};
use offtake_wire::ErrorCode;

use crate::{commit_report::CommitReport, config::ConfigError};

/// The result of everything that can fail here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error, with the object that it concerns and a sentence that says what to do about it.
///
/// Failures that the client can recover from (a moved leader, a broker that restarts, a lost connection)
/// never become errors.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    code: Option<ErrorCode>,
    partition: Option<TopicPartition>,
    report: Option<Arc<CommitReport>>,
    cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// The kind of an error, for programs to match on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The configuration is invalid.
    Config,
    /// A call that the client's state does not allow, such as `assign` while a consumer is subscribed.
    Misuse,
    /// No broker could be reached within the timeout.
    Unreachable,
    /// The address belongs to something other than a Kafka broker, or to a broker that expects TLS or SASL:
    /// waiting will not help. Only for a client that no broker has accepted yet: later, something else may
    /// temporarily answer at the address of a broker that is down.
    NotKafka,
    /// TLS or SASL refused the connection, and will again: the message says what to change. If connections
    /// were accepted before, only when none has been for a minute, because credentials may be changed on one
    /// side after the other.
    Authentication,
    /// The brokers support no version of a request that this client supports.
    Unsupported,
    /// The topic or partition does not exist.
    UnknownTopic,
    /// An ACL forbids it.
    Authorization,
    /// The group refused this member, and will again: the message says what to change.
    Group,
    /// Another member took over this one's `group.instance.id`; or another producer this one's
    /// `transactional.id`, or the coordinator aborted a transaction that lasted longer than
    /// `transaction.timeout.ms`.
    Fenced,
    /// The partition has no committed offset, or one that is out of range, and `auto.offset.reset` is `none`.
    NoOffset,
    /// A record batch is corrupt, or the broker sends no whole one. The partition stops before it; others
    /// continue. `Consumer::seek` past it to skip.
    Corrupt,
    /// A batch decompresses to more than is allowed, or arrives in a response larger than any that is
    /// accepted (`receive.message.max.bytes`). The partition stops before it; others continue.
    /// `Consumer::seek` past it to skip. Without a partition: another response of a broker that is too large.
    TooLarge,
    /// A record batch is compressed with a codec that this program was built without: build `offtake` with
    /// the cargo feature that the message names. The partition stops before it; others continue. Seek past it
    /// to skip.
    MissingCodec,
    /// The commit was refused; its records may be delivered again.
    CommitFailed,
    /// The partition is no longer this consumer's: nothing was sent.
    NotOwned,
    /// The call took longer than its timeout.
    Timeout,
    /// A record was sent, and it is not known whether it was written. If it is sent again, it may exist
    /// twice. For a transaction: it is not known whether it was committed.
    OutcomeUnknown,
    /// The transaction was not committed, and is aborted: `read_committed` readers will not see its records.
    /// Begin another.
    TransactionAborted,
    /// The broker refuses the record: the message says why. It was not written.
    Refused,
    /// The rebalance listener failed with an error of its own, which is the [`source`](std::error::Error::source), or
    /// panicked. If that error is an [`Error`], or one is among its sources, the error has that one's kind instead,
    /// unless it is `Closed` or fatal.
    Listener,
    /// The client is closed, or its engine has ended: with the runtime that it was spawned on, or by a panic.
    Closed,
    /// A broker sent an invalid response.
    Malformed,
}

impl Error {
    /// Creates an error of this kind, with a sentence that says what to do about it.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), code: None, partition: None, report: None, cause: None }
    }

    /// An error for a call that the client's state does not allow.
    pub fn misuse(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Misuse, message)
    }

    /// The same with the broker's code.
    #[must_use]
    pub fn with_code(self, code: ErrorCode) -> Self {
        Self { code: Some(code), ..self }
    }

    /// The same, for this partition alone.
    #[must_use]
    pub fn with_partition(self, partition: TopicPartition) -> Self {
        Self { partition: Some(partition), ..self }
    }

    /// Adds the error that caused this one, for `source`. The message is complete without it.
    #[must_use]
    pub fn caused_by(self, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { cause: Some(Arc::new(cause)), ..self }
    }

    /// An error whose cause is another's error. It has the kind, the code and the partition of the first [`Error`] among the
    /// cause and its sources, and otherwise this kind. What is closed or has failed for good there need not be this client:
    /// fatal kinds, `Closed` among them, are not taken over.
    #[doc(hidden)] // for the engines of clients
    pub fn wrapping(
        kind: ErrorKind,
        message: impl Into<String>,
        cause: Box<dyn std::error::Error + Send + Sync>,
    ) -> Self {
        let cause: Arc<dyn std::error::Error + Send + Sync> = cause.into();
        let message = message.into();
        match find(&*cause).filter(|inner| !inner.is_fatal()).cloned() {
            Some(inner) => Self { message, cause: Some(cause), ..inner },
            None => Self { cause: Some(cause), ..Self::new(kind, message) },
        }
    }

    /// Adds the same cause as that of another error.
    #[must_use]
    pub fn with_cause_of(self, other: &Self) -> Self {
        Self { cause: other.cause.clone(), ..self }
    }

    /// Makes it the error of a whole commit in which `failed` partitions failed, this one among them, and
    /// `committed` did not.
    #[must_use]
    pub(crate) fn with_report(mut self, report: CommitReport, failed: usize, committed: usize) -> Self {
        if failed > 1 {
            self.partition = None;
            self.message = format!("{} (and {} more)", self.message, failed.saturating_sub(1));
        }
        if committed > 0 {
            self.message = format!("{}; {committed} of its partitions were committed", self.message);
        }
        self.report = Some(Arc::new(report));
        self
    }

    /// The same, with the reason added to the message.
    #[must_use]
    pub fn because(mut self, why: &str) -> Self {
        self.message = format!("{}: {why}", self.message);
        self
    }

    /// The kind of this error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Kafka's code, if a broker sent one.
    pub fn code(&self) -> Option<ErrorCode> {
        self.code
    }

    /// The partition that it concerns, if it concerns just one.
    pub fn partition(&self) -> Option<&TopicPartition> {
        self.partition.as_ref()
    }

    /// For a commit that failed: the result of each of its partitions, some of which may have been committed.
    pub fn commit_report(&self) -> Option<&CommitReport> {
        self.report.as_deref()
    }

    /// Whether the same call may succeed later without a change on our side.
    pub fn is_retriable(&self) -> bool {
        match self.kind {
            ErrorKind::Unreachable | ErrorKind::Timeout | ErrorKind::Malformed => true,
            // Metadata that is too long stays so (FAILURES H13).
            ErrorKind::CommitFailed => !matches!(
                self.code,
                Some(ErrorCode::OffsetMetadataTooLarge | ErrorCode::InvalidCommitOffsetSize)
            ),
            ErrorKind::TransactionAborted => self.cause().is_none_or(|cause| match cause.kind {
                ErrorKind::TransactionAborted => cause.is_retriable(),
                kind => matches!(
                    kind,
                    ErrorKind::Timeout
                        | ErrorKind::OutcomeUnknown
                        | ErrorKind::Unreachable
                        | ErrorKind::Malformed
                        | ErrorKind::CommitFailed
                        | ErrorKind::NotOwned
                ),
            }),
            ErrorKind::Config
            | ErrorKind::Misuse
            | ErrorKind::NotKafka
            | ErrorKind::Authentication
            | ErrorKind::Unsupported
            | ErrorKind::UnknownTopic
            | ErrorKind::Authorization
            | ErrorKind::Group
            | ErrorKind::Fenced
            | ErrorKind::NoOffset
            | ErrorKind::Corrupt
            | ErrorKind::TooLarge
            | ErrorKind::MissingCodec
            | ErrorKind::NotOwned
            | ErrorKind::OutcomeUnknown
            | ErrorKind::Refused
            | ErrorKind::Listener
            | ErrorKind::Closed => false,
        }
    }

    /// The client's error that caused this one.
    fn cause(&self) -> Option<&Self> {
        find(&**self.cause.as_ref()?)
    }

    /// Whether the client cannot continue without you: remove the cause, then start anew (`subscribe` or
    /// `assign` of a consumer), or close the client and start another.
    pub fn is_fatal(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::Group
                | ErrorKind::Fenced
                | ErrorKind::NotKafka
                | ErrorKind::Authentication
                | ErrorKind::Unsupported
                | ErrorKind::Closed
        )
    }
}

/// The first [`Error`] among this one and its sources.
fn find<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Error> {
    std::iter::successors(Some(error), |error| error.source()).find_map(|error| error.downcast_ref())
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The source is the cause, if that is an error of its own: a [`ConfigError`], a system error, the failure of
/// a request. The message already contains its text.
impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Some(cause) => Some(&**cause),
            None => None,
        }
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::new(ErrorKind::Config, error.to_string()).caused_by(error)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Config => "invalid configuration",
            Self::Misuse => "call not allowed in this state",
            Self::Unreachable => "no broker can be reached",
            Self::NotKafka => "not a Kafka broker",
            Self::Authentication => "authentication failed",
            Self::Unsupported => "not supported by the broker",
            Self::UnknownTopic => "unknown topic or partition",
            Self::Authorization => "not authorized",
            Self::Group => "refused by the group",
            Self::Fenced => "fenced by another member or producer",
            Self::NoOffset => "no valid offset",
            Self::Corrupt => "corrupt record batch",
            Self::TooLarge => "too large",
            Self::MissingCodec => "codec not built in",
            Self::CommitFailed => "commit failed",
            Self::NotOwned => "partition not owned",
            Self::Timeout => "timed out",
            Self::OutcomeUnknown => "outcome unknown",
            Self::TransactionAborted => "transaction aborted",
            Self::Refused => "refused by the broker",
            Self::Listener => "rebalance listener failed",
            Self::Closed => "closed",
            Self::Malformed => "malformed response",
        })
    }
}

#[doc(hidden)] // for the engines of clients
impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        let kind = match &error {
            CallError::Unreachable { not_kafka: true, .. } => ErrorKind::NotKafka,
            CallError::Authentication { is_final: true, .. } => ErrorKind::Authentication,
            CallError::Unreachable { .. }
            | CallError::Authentication { .. }
            | CallError::Disconnected { .. }
            | CallError::Withdrawn
            | CallError::UnknownBroker(_) => ErrorKind::Unreachable,
            CallError::TimedOut { .. } | CallError::NotSent { .. } => ErrorKind::Timeout,
            CallError::Unsupported { .. } => ErrorKind::Unsupported,
            CallError::Malformed { .. } => ErrorKind::Malformed,
            CallError::TooLarge { .. } => ErrorKind::TooLarge,
        };
        Self::new(kind, error.to_string()).caused_by(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A refused commit may succeed later, unless what is committed is itself too large (FAILURES H13).
    #[test]
    fn h13_a_commit_is_repeated_unless_it_would_be_refused_again() {
        for (code, is_retriable) in [
            (None, true),
            (Some(ErrorCode::RebalanceInProgress), true),
            (Some(ErrorCode::OffsetMetadataTooLarge), false),
            (Some(ErrorCode::InvalidCommitOffsetSize), false),
        ] {
            let error = Error::new(ErrorKind::CommitFailed, "the commit failed");
            let error = code.into_iter().fold(error, Error::with_code);
            assert_eq!(error.is_retriable(), is_retriable, "{code:?}");
            let aborted = Error::new(ErrorKind::TransactionAborted, "aborted").caused_by(error);
            assert!(aborted.is_retriable(), "another transaction begins after the committed offset");
        }
    }

    /// Another transaction may succeed unless what aborted this one is for good, however deep it lies.
    #[test]
    fn whether_an_aborted_transaction_is_repeated_depends_on_its_cause() {
        let aborted = |cause| Error::new(ErrorKind::TransactionAborted, "aborted").caused_by(cause);
        assert!(Error::new(ErrorKind::TransactionAborted, "aborted").is_retriable());
        for (kind, is_retriable) in [
            (ErrorKind::Timeout, true),
            (ErrorKind::OutcomeUnknown, true),
            (ErrorKind::NotOwned, true),
            (ErrorKind::Fenced, false),
            (ErrorKind::Refused, false),
            (ErrorKind::Authorization, false),
        ] {
            let error = aborted(Error::new(kind, "why"));
            assert_eq!(error.is_retriable(), is_retriable, "{kind:?}");
            assert_eq!(aborted(error).is_retriable(), is_retriable, "{kind:?}, wrapped");
        }
    }

    /// A listener's error that comes from a client has that one's kind, code and partition, and its own words.
    #[test]
    fn an_error_that_wraps_a_clients_error_keeps_its_own_message() {
        let partition = TopicPartition::new("orders", 3);
        let inner = Error::new(ErrorKind::CommitFailed, "the commit failed")
            .with_code(ErrorCode::RebalanceInProgress)
            .with_partition(partition.clone());
        let error = Error::wrapping(ErrorKind::Listener, "the listener failed", Box::new(inner));
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (ErrorKind::CommitFailed, "the listener failed")
        );
        assert_eq!(
            (error.code(), error.partition()),
            (Some(ErrorCode::RebalanceInProgress), Some(&partition))
        );
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "the commit failed");
        for cause in [Error::new(ErrorKind::Closed, "closed").into(), "no".into()] {
            let error = Error::wrapping(ErrorKind::Listener, "the listener failed", cause);
            assert_eq!(
                (error.kind(), error.to_string().as_str()),
                (ErrorKind::Listener, "the listener failed")
            );
        }
    }
}
