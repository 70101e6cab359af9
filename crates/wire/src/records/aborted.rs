//! The batches that a read_committed consumer must not deliver (KIP-98).
//!
//! A Fetch response lists the aborted transactions that overlap its records, each by producer and first offset. A producer's data
//! is aborted from that offset to its next abort marker. The batches are passed in order.

use std::collections::BTreeSet;

use super::batch::BatchHeader;
use super::control::ControlRecord;

/// The aborted transactions in the response for one partition.
#[derive(Debug, Clone, Default)]
pub struct AbortedTransactions {
    /// By first offset, the nearest one last.
    ahead: Vec<(i64, i64)>,
    /// Producers whose data is aborted at present.
    open: BTreeSet<i64>,
}

impl AbortedTransactions {
    /// From `(producer_id, first_offset)` pairs in any order, with or without repetitions. Invalid entries are ignored.
    pub fn new(listed: impl IntoIterator<Item = (i64, i64)>) -> Self {
        let possible = |(producer, first): &(i64, i64)| *producer >= 0 && *first >= 0;
        let mut ahead: Vec<_> =
            listed.into_iter().filter(possible).map(|(producer, first)| (first, producer)).collect();
        ahead.sort_unstable_by(|a, b| b.cmp(a));
        ahead.dedup();
        Self { ahead, open: BTreeSet::new() }
    }

    /// Whether no transaction is listed any more and no producer's data is aborted at present.
    pub fn is_empty(&self) -> bool {
        self.ahead.is_empty() && self.open.is_empty()
    }

    /// Whether the records of this batch belong to an aborted transaction. Control batches contain no records: pass them to
    /// [`end`](Self::end).
    pub fn is_aborted(&mut self, batch: &BatchHeader) -> bool {
        self.reach(batch.last_offset());
        batch.is_transactional() && !batch.is_control() && self.open.contains(&batch.producer_id())
    }

    /// Handles a control batch: an abort marker ends the producer's transaction. A second marker, or the marker of a transaction
    /// that was never listed, has no effect.
    pub fn end(&mut self, batch: &BatchHeader, marker: ControlRecord) {
        self.reach(batch.last_offset());
        if let ControlRecord::Abort { .. } = marker {
            self.open.remove(&batch.producer_id());
        }
    }

    fn reach(&mut self, offset: i64) {
        while let Some((_, producer)) = self.ahead.pop_if(|(first, _)| *first <= offset) {
            self.open.insert(producer);
        }
    }
}
