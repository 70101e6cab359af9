//! [`Event`]: what the fetcher reports to the engine.

use offtake_machine::{Broker, BrokerId, CallError, Position, Token, TopicPartition};
use offtake_wire::{ErrorCode, records::RecordError};

use crate::Watermarks;

/// An event that the engine has to know, or to act on.
///
/// After [`OutOfRange`](Self::OutOfRange), [`Validate`](Self::Validate), [`Diverged`](Self::Diverged) and
/// [`LogGone`](Self::LogGone) the partition is no longer fetched until it is started again, at a position that `offsets` determines. Its
/// queued chunks are still to be handed out, and lie before the position of the event.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The leader reports that the position is not in the log: the log begins after it, or ends before it.
    OutOfRange {
        /// The partition.
        partition: TopicPartition,
        /// Its ownership.
        token: Token,
        /// The position that was refused.
        position: Position,
    },
    /// There is a new leader, whose log may not contain the position (KIP-320).
    Validate {
        /// The partition.
        partition: TopicPartition,
        /// Its ownership.
        token: Token,
        /// The position to validate.
        position: Position,
    },
    /// The leader's log is not the one that was read: records before the position were truncated (KIP-320).
    Diverged {
        /// The partition.
        partition: TopicPartition,
        /// Its ownership.
        token: Token,
        /// The position that is not in the log.
        position: Position,
    },
    /// The log that was read is gone: without topic ids, the metadata repeatedly names an older leader epoch,
    /// and the leader refuses the known one. The topic was deleted and created again; `offsets` restarts it.
    LogGone {
        /// The partition.
        partition: TopicPartition,
        /// Its ownership.
        token: Token,
    },
    /// A partition cannot be fetched, and retries did not help. The others continue.
    PartitionFailed {
        /// The partition.
        partition: TopicPartition,
        /// Its ownership.
        token: Token,
        /// Its position: all records before it have been, or will be, handed out.
        position: Position,
        /// The error.
        error: PartitionError,
    },
    /// The start and the end of a log, according to the newest response: emitted for the first response since
    /// the start, and whenever they change.
    Watermarks {
        /// The partition.
        partition: TopicPartition,
        /// Its ownership.
        token: Token,
        /// The start and the end of the log.
        watermarks: Watermarks,
    },
    /// The partition is paused, and the chunks that have been [taken](crate::Fetcher::take) hold memory that
    /// others need: the handle has to drop and release them, and to call [`rewind`](crate::Fetcher::rewind).
    /// Emitted once, until that happens or the partition is resumed or paused again.
    Reclaim {
        /// The partition.
        partition: TopicPartition,
        /// Its ownership.
        token: Token,
    },
    /// The queued chunks of a paused partition were dropped, as others need the memory: it is fetched again
    /// from `position` on. Events about later offsets, such as an error, will be emitted again.
    Rewound {
        /// The partition.
        partition: TopicPartition,
        /// Its ownership.
        token: Token,
        /// Where fetching continues when the partition is resumed.
        position: Position,
    },
    /// The metadata is out of date.
    RefreshMetadata,
    /// A broker named a newer leader (KIP-951).
    LeaderHint {
        /// The partition.
        partition: TopicPartition,
        /// The new leader.
        leader: BrokerId,
        /// Its leader epoch.
        epoch: i32,
        /// Its address, if the broker sent it.
        address: Option<Broker>,
    },
    /// Fetching from this broker has failed several times in a row; it is retried with backoff.
    BrokerFailing {
        /// The broker.
        broker: BrokerId,
        /// The last error.
        error: BrokerError,
    },
    /// Fetching from this broker works again, or it has left the cluster.
    BrokerRecovered {
        /// The broker.
        broker: BrokerId,
    },
}

/// Why a partition cannot be fetched.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PartitionError {
    /// A record batch is corrupt, or in a format that cannot be read. Stops the partition: whether to skip it is the
    /// application's decision.
    #[error("cannot read {0}")]
    Records(RecordError),
    /// The broker sends no whole batch from the position on. Stops the partition.
    #[error("the broker sends no complete batch at offset {offset}")]
    NoProgress {
        /// The position.
        offset: i64,
    },
    /// The batch at the position does not fit into the largest accepted response
    /// (`receive.message.max.bytes`). Stops the partition.
    #[error("the batch at offset {offset} needs a response of {size} bytes, and the limit is {limit}")]
    TooLarge {
        /// The position.
        offset: i64,
        /// The size of the response with that batch alone, in bytes.
        size: usize,
        /// The largest accepted response, in bytes.
        limit: usize,
    },
    /// The broker refuses, for example for lack of a permission. Fetching is retried, with backoff.
    #[error("the broker refuses to send records: {0}")]
    Refused(ErrorCode),
}

impl PartitionError {
    /// Whether the partition is not fetched any more until it is started again.
    pub fn stops(&self) -> bool {
        match self {
            Self::Records(_) | Self::NoProgress { .. } | Self::TooLarge { .. } => true,
            Self::Refused(_) => false,
        }
    }

    /// The first and the last offset that cannot be read, if they are known.
    pub fn offsets(&self) -> Option<(i64, i64)> {
        match self {
            Self::Records(error) => Some((error.first_offset(), error.last_offset())),
            Self::NoProgress { offset } | Self::TooLarge { offset, .. } => Some((*offset, *offset)),
            Self::Refused(_) => None,
        }
    }
}

/// Why fetching from a broker fails.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BrokerError {
    /// The call failed.
    #[error(transparent)]
    Call(CallError),
    /// The broker refuses the request as a whole.
    #[error("refused to fetch: {0}")]
    Refused(ErrorCode),
    /// The response has another type.
    #[error("unexpected response type to Fetch")]
    UnexpectedResponse,
}
