//! [`Passed`]: where there was nothing to hand out.

use crate::records::RecordPosition;

/// A position that moved though there was nothing to hand out: over control and aborted batches, and emptied ones.
#[derive(Clone, Debug)]
pub(crate) struct Passed {
    /// Where it stood before.
    pub(crate) from: i64,
    /// Where it stands.
    pub(crate) to: RecordPosition,
}
