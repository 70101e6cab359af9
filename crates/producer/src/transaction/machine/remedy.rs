//! The meaning of a coordinator's error code for the transaction.

use offtake_client::{Error, ErrorKind};
use offtake_wire::ErrorCode;

use super::Transactions;

/// The consequence of an error code.
pub(super) enum Remedy {
    Done,
    /// Retry at this coordinator.
    Again(String),
    /// Retry at this coordinator after a short pause.
    AgainSoon(String),
    /// Another broker is the coordinator.
    Elsewhere(String),
    /// The transaction cannot be committed; the next one may succeed.
    Abort(Error),
    /// There can be no further transactions.
    Over(Error),
}

impl Remedy {
    /// The more severe of two remedies.
    pub(super) fn or(self, other: Self) -> Self {
        if other.rank() > self.rank() { other } else { self }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Again(_) => 1,
            Self::AgainSoon(_) => 2,
            Self::Elsewhere(_) => 3,
            Self::Abort(_) => 4,
            Self::Over(_) => 5,
        }
    }
}

impl Transactions {
    pub(super) fn remedy(&self, code: ErrorCode, what: &str) -> Remedy {
        let text = || format!("{what}: {code}");
        match code {
            ErrorCode::None => Remedy::Done,
            ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable => Remedy::Elsewhere(text()),
            ErrorCode::ConcurrentTransactions => Remedy::AgainSoon(text()),
            ErrorCode::InvalidProducerEpoch | ErrorCode::ProducerFenced => Remedy::Over(self.fenced(code)),
            ErrorCode::TransactionalIdAuthorizationFailed => Remedy::Over(self.not_allowed()),
            ErrorCode::ClusterAuthorizationFailed => {
                let text = "this client may not be an idempotent producer (IDEMPOTENT_WRITE on the cluster, before Kafka 2.8)";
                Remedy::Over(Error::new(ErrorKind::Authorization, text).with_code(code))
            }
            ErrorCode::UnsupportedVersion => {
                Remedy::Over(Error::new(ErrorKind::Unsupported, text()).with_code(code))
            }
            code if code.is_retriable() => Remedy::Again(text()),
            ErrorCode::GroupAuthorizationFailed | ErrorCode::TopicAuthorizationFailed => {
                Remedy::Abort(Error::new(ErrorKind::Authorization, text()).with_code(code))
            }
            ErrorCode::UnknownMemberId
            | ErrorCode::IllegalGeneration
            | ErrorCode::FencedInstanceId
            | ErrorCode::StaleMemberEpoch
            | ErrorCode::RebalanceInProgress => {
                let text = format!("{what}: the group has rebalanced since ({code})");
                Remedy::Abort(Error::new(ErrorKind::CommitFailed, text).with_code(code))
            }
            code if code == ErrorCode::TransactionAbortable || knows_no_such_transaction(code) => {
                let text = format!("the transaction is aborted, nothing of it is committed: {}", text());
                Remedy::Abort(Error::new(ErrorKind::TransactionAborted, text).with_code(code))
            }
            code => Remedy::Abort(Error::new(ErrorKind::Refused, text()).with_code(code)),
        }
    }

    pub(super) fn not_allowed(&self) -> Error {
        let text = format!(
            "this client may not use transactional id {} (WRITE, DESCRIBE): allow it",
            self.config.id
        );
        Error::new(ErrorKind::Authorization, text).with_code(ErrorCode::TransactionalIdAuthorizationFailed)
    }

    fn fenced(&self, code: ErrorCode) -> Error {
        let id = &self.config.id;
        let timeout = self.config.timeout.as_millis();
        let text = format!(
            "transactional id {id}: another producer has begun with it, or a transaction was open for longer than `transaction.timeout.ms` \
             ({timeout} ms) and was aborted: this producer can do nothing more; what it did not commit is aborted"
        );
        Error::new(ErrorKind::Fenced, text).with_code(code)
    }
}

/// Whether the coordinator reports that it has no such transaction.
pub(super) fn knows_no_such_transaction(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::InvalidTxnState | ErrorCode::InvalidProducerIdMapping | ErrorCode::UnknownProducerId
    )
}
