//! What the engine has to know.

use offtake_machine::{Broker, BrokerId, CallError, LeaderEpoch, Position, Token, TopicPartition};
use offtake_wire::{ErrorCode, records::RecordError};

use crate::Watermarks;

/// Something that concerns more than fetching.
///
/// Of [`OutOfRange`](Self::OutOfRange), [`Validate`](Self::Validate) and [`Diverged`](Self::Diverged) each says that the
/// partition is no longer asked for: it is in the hand of `offsets` until it is started again. What is buffered of it
/// remains to be handed out, and lies before the position that the event names.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The leader says that the position is not in the log: the log begins after it, or ends before it.
    OutOfRange {
        /// Of which partition.
        tp: TopicPartition,
        /// Under which ownership.
        token: Token,
        /// The position that was refused.
        position: Position,
    },
    /// There is a new leader: is the position still in its log (KIP-320)?
    Validate {
        /// Of which partition.
        tp: TopicPartition,
        /// Under which ownership.
        token: Token,
        /// The position to validate.
        position: Position,
    },
    /// The leader's log is not the one that was read: records before the position have been truncated (KIP-320).
    Diverged {
        /// Of which partition.
        tp: TopicPartition,
        /// Under which ownership.
        token: Token,
        /// The position that is not in the log.
        position: Position,
        /// The largest epoch of the leader that is not above the position's.
        epoch: LeaderEpoch,
        /// Where that epoch ends: what was read from here on is gone.
        end_offset: i64,
    },
    /// Something is wrong with this partition that waiting did not mend. The others go on.
    Failed {
        /// Which partition.
        tp: TopicPartition,
        /// Under which ownership.
        token: Token,
        /// Where it stands: everything before has been, or will be, handed out.
        position: Position,
        /// What is wrong.
        error: PartitionError,
    },
    /// Where a log begins and ends, as the newest response says: told by the first since the partition was started, and
    /// whenever it changes.
    Watermarks {
        /// Of which partition.
        tp: TopicPartition,
        /// Under which ownership.
        token: Token,
        /// Where the log begins and ends.
        watermarks: Watermarks,
    },
    /// The partition is paused, and what has been [taken](crate::Fetcher::take) of it holds memory that others need:
    /// whoever has it drops and releases it, and calls [`give_back`](crate::Fetcher::give_back). Told once, until that or
    /// until it is resumed or paused again.
    GiveBack {
        /// Of which partition.
        tp: TopicPartition,
        /// Under which ownership.
        token: Token,
    },
    /// What waited here of a paused partition has been dropped, as others need the memory: it is read again from `position`
    /// on. What was told of what lies behind it, such as an error, will be told again.
    WentBack {
        /// Of which partition.
        tp: TopicPartition,
        /// Under which ownership.
        token: Token,
        /// Where reading goes on when it is resumed.
        position: Position,
    },
    /// The metadata is out of date.
    RefreshMetadata,
    /// A broker told who leads now (KIP-951), newer than what we knew.
    LeaderHint {
        /// Of which partition.
        tp: TopicPartition,
        /// Who leads.
        leader: BrokerId,
        /// Since when.
        epoch: i32,
        /// Where it is, if told.
        address: Option<Broker>,
    },
    /// Fetching from this broker has failed several times in a row; it is tried again and again, with pauses.
    BrokerFailing {
        /// Which broker.
        broker: BrokerId,
        /// What went wrong last.
        error: BrokerError,
    },
    /// It works again.
    BrokerRecovered {
        /// Which broker.
        broker: BrokerId,
    },
}

/// What is wrong with one partition.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PartitionError {
    /// Bytes that are no record batch, or not one that we can read. Stops the partition: skipping is the application's
    /// decision.
    #[error("cannot read {0}")]
    Records(RecordError),
    /// The broker sends less than one batch, or none at the position. Stops the partition.
    #[error("the broker sends nothing that moves the position beyond {offset}")]
    NoProgress {
        /// The position.
        offset: i64,
    },
    /// The batch at the position does not fit into the largest answer that is read. Stops the partition.
    #[error("the batch at offset {offset} comes in an answer of {size} bytes, and {limit} at most are read")]
    TooLarge {
        /// The position.
        offset: i64,
        /// The answer with that batch alone, in bytes.
        size: usize,
        /// The largest answer that is read, in bytes.
        limit: usize,
    },
    /// The broker refuses. Asking goes on, with pauses: permissions come back.
    #[error("the broker refuses to send records: {0}")]
    Refused(ErrorCode),
}

impl PartitionError {
    /// Whether the partition is asked for no more until it is started again.
    pub fn stops(&self) -> bool {
        match self {
            Self::Records(_) | Self::NoProgress { .. } | Self::TooLarge { .. } => true,
            Self::Refused(_) => false,
        }
    }

    /// The offsets that cannot be read, as far as can be told: first and last.
    pub fn offsets(&self) -> Option<(i64, i64)> {
        match self {
            Self::Records(error) => Some((error.first_offset(), error.last_offset())),
            Self::NoProgress { offset } | Self::TooLarge { offset, .. } => Some((*offset, *offset)),
            Self::Refused(_) => None,
        }
    }
}

/// Why a broker gives us nothing.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BrokerError {
    /// There is no answer.
    #[error(transparent)]
    Call(CallError),
    /// It refuses the request as a whole.
    #[error("refused to fetch: {0}")]
    Refused(ErrorCode),
    /// It answers with a response of another type.
    #[error("unexpected response type to Fetch")]
    UnexpectedResponse,
}
