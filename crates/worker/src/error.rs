//! What a worker ends with when it does not end as it was asked to.

use std::fmt;

use offtake::TopicPartition;

/// Why a worker could not begin, or stopped by itself.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The consumer or the producer of dead letters cannot go on, or something about the configuration is wrong ([`offtake::ErrorKind::Config`]).
    Client(offtake::Error),
    /// A handler said [`Failure::fatal`](crate::Failure::fatal). The record is not finished; what was finished is committed.
    Fatal {
        /// Where the record lies.
        partition: TopicPartition,
        /// Its offset.
        offset: i64,
        /// What the handler said.
        reason: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(error) => error.fmt(f),
            Self::Fatal { partition, offset, reason } => {
                write!(f, "the handler of offset {offset} of {partition} cannot go on: {reason}")
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
