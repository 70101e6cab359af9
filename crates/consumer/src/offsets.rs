//! Offsets as the application sets and reads them.

use offtake_machine::{Position, TopicPartition};
pub use offtake_offsets::{Assign, OffsetAndMetadata, StartAt};

/// An argument of `commit_offsets` ([`OneOrMany`](crate::OneOrMany)): a partition and the offset to commit,
/// which is that of the next record to read. Converts from a pair: `(&partition, 42)`, `(("orders", 0), 42)`,
/// or with an [`OffsetAndMetadata`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetToCommit {
    pub(crate) partition: TopicPartition,
    pub(crate) offset: OffsetAndMetadata,
}

impl<P: Into<TopicPartition>, O: Into<OffsetAndMetadata>> From<(P, O)> for OffsetToCommit {
    fn from((partition, offset): (P, O)) -> Self {
        Self { partition: partition.into(), offset: offset.into() }
    }
}

/// The result of a search by time, or for an end of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct OffsetAndTimestamp {
    /// The offset.
    pub offset: i64,
    /// The timestamp of the record there, in milliseconds since 1970; `None` for the ends of a log.
    pub timestamp: Option<i64>,
    /// The leader epoch of the record there, if known.
    pub leader_epoch: Option<i32>,
}

impl OffsetAndTimestamp {
    /// This offset, with the timestamp of the record there in milliseconds since 1970; no leader epoch.
    pub fn new(offset: i64, timestamp: Option<i64>) -> Self {
        Self { offset, timestamp, leader_epoch: None }
    }
}

/// The found offset, with its leader epoch.
impl From<OffsetAndTimestamp> for StartAt {
    fn from(found: OffsetAndTimestamp) -> Self {
        Position { offset: found.offset, epoch: found.leader_epoch }.into()
    }
}

impl From<&OffsetAndTimestamp> for StartAt {
    fn from(found: &OffsetAndTimestamp) -> Self {
        (*found).into()
    }
}

/// The found offset, with its leader epoch and without metadata.
impl From<OffsetAndTimestamp> for OffsetAndMetadata {
    fn from(found: OffsetAndTimestamp) -> Self {
        Position { offset: found.offset, epoch: found.leader_epoch }.into()
    }
}

/// The target of a seek, if no broker has to resolve it.
pub(crate) fn known_offset(at: &StartAt) -> Option<Position> {
    match at {
        StartAt::Offset(position) => Some(*position),
        _ => None,
    }
}
