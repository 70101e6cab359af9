//! The error of a worker that could not start, or stopped by itself.

use std::fmt;

use offtake::TopicPartition;

/// Why a worker could not begin, or stopped by itself.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The consumer or the producer of dead letters cannot go on, or the configuration is invalid
    /// ([`offtake::ErrorKind::Config`]).
    Client(offtake::Error),
    /// A handler returned [`Failure::fatal`](crate::Failure::fatal), or [sent](crate::Batch::send) a record made of a whole batch of which some
    /// records failed. The record is not finished; finished records are committed.
    Fatal {
        /// The record's partition.
        partition: TopicPartition,
        /// The record's offset; of a batch that failed as a whole, that of one of its records.
        offset: i64,
        /// The handler's reason.
        reason: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(error) => error.fmt(f),
            Self::Fatal { partition, offset, reason } => {
                write!(f, "the handler of offset {offset} of {partition} failed for good: {reason}")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Client(error) => std::error::Error::source(error),
            Self::Fatal { .. } => None,
        }
    }
}

impl From<offtake::Error> for Error {
    fn from(error: offtake::Error) -> Self {
        Self::Client(error)
    }
}
