//! [`Summary`]: what a worker did.

use crate::StoppedPartition;

/// What a worker did, from its start to its end.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Summary {
    /// Records whose handler said that they are done.
    pub handled: u64,
    /// Attempts that failed and were followed by another.
    pub retried: u64,
    /// Records that were written to the dead letters.
    pub dead_lettered: u64,
    /// Records that were written to a retry topic.
    pub postponed: u64,
    /// Records that were not handled here, as the metadata of a commit said that they are finished.
    pub skipped: u64,
    /// Attempts that were cut short: by the loss of their partition, or as the worker's time was over.
    pub cancelled: u64,
    /// Partitions that stopped and were still this member's at the end, and why.
    pub stopped: Vec<StoppedPartition>,
    /// Whether what was finished is committed: the last commit or transaction, at the end.
    pub last_commit: Result<(), offtake::Error>,
}

/// Of a worker that did nothing.
impl Default for Summary {
    fn default() -> Self {
        Self {
            handled: 0,
            retried: 0,
            dead_lettered: 0,
            postponed: 0,
            skipped: 0,
            cancelled: 0,
            stopped: Vec::new(),
            last_commit: Ok(()),
        }
    }
}

impl Summary {
    /// No partition stopped, and what was finished is committed.
    pub fn is_clean(&self) -> bool {
        self.stopped.is_empty() && self.last_commit.is_ok()
    }
}
