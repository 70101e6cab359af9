//! Offsets as the application writes and reads them.

pub use offtake_offsets::{OffsetAndMetadata, Place, StartAt};

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
