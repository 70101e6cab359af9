//! Offsets as the application writes and reads them.

pub use offtake_offsets::{Place, StartAt};

/// An offset to commit, or one that was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetAndMetadata {
    /// The next offset to read: everything below it is done.
    pub offset: i64,
    /// The leader epoch of the record before it, where known (KIP-320).
    pub leader_epoch: Option<i32>,
    /// Whatever the committer wanted to remember; at most `offset.metadata.max.bytes` (4096 by default).
    pub metadata: String,
}

impl OffsetAndMetadata {
    /// `offset`, with nothing to remember.
    pub fn new(offset: i64) -> Self {
        Self { offset, leader_epoch: None, metadata: String::new() }
    }
}

impl From<i64> for OffsetAndMetadata {
    fn from(offset: i64) -> Self {
        Self::new(offset)
    }
}

/// Where a search by time, or for an end of a log, arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetAndTimestamp {
    /// The offset.
    pub offset: i64,
    /// The timestamp of the record there, in milliseconds since 1970; `None` for the ends of a log.
    pub timestamp: Option<i64>,
    /// The leader epoch of the record there, where known.
    pub leader_epoch: Option<i32>,
}
