//! [`Passed`]: offsets without records to hand out.

use crate::records::RecordPosition;

/// A position that moved without a record to hand out: past control and aborted batches, and emptied ones.
#[derive(Clone, Debug)]
pub(crate) struct Passed {
    /// The position before.
    pub(crate) from: i64,
    /// The position after.
    pub(crate) to: RecordPosition,
}
