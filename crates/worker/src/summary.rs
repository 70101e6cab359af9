//! [`Summary`]: the totals of a worker.

use crate::StoppedPartition;

/// The totals of a worker from its start to its end.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Summary {
    /// Records whose handler succeeded.
    pub handled: u64,
    /// Attempts that failed and were followed by another.
    pub retried: u64,
    /// Records that were written to the dead letters.
    pub dead_lettered: u64,
    /// Records that were written to a retry topic.
    pub postponed: u64,
    /// Records that were not handled here, because the metadata of a commit marked them as finished.
    pub skipped: u64,
    /// Attempts that were cancelled, because their partition was revoked or lost or the worker's time had ended.
    pub cancelled: u64,
    /// Records that had failed and are not finished, of the partitions that this member had at the end, except those that had
    /// stopped at a record. They waited for another attempt, or for their dead letter to be written. The next owners of their
    /// partitions handle them, and count their attempts from one again.
    pub failed_unfinished: u64,
    /// Partitions that had stopped and were still assigned to this member at the end.
    pub stopped: Vec<StoppedPartition>,
    /// Whether all finished records are committed: the result of the last commit or transaction.
    pub last_commit: Result<(), offtake::Error>,
}

/// The summary of a worker that did nothing.
impl Default for Summary {
    fn default() -> Self {
        Self {
            handled: 0,
            retried: 0,
            dead_lettered: 0,
            postponed: 0,
            skipped: 0,
            cancelled: 0,
            failed_unfinished: 0,
            stopped: Vec::new(),
            last_commit: Ok(()),
        }
    }
}

impl Summary {
    /// Whether no partition stopped and all finished records are committed. Records that are
    /// [not finished](Self::failed_unfinished) may be left: nothing of them is lost.
    pub fn is_clean(&self) -> bool {
        self.stopped.is_empty() && self.last_commit.is_ok()
    }
}
