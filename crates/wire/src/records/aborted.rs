//! Which batches a read_committed consumer must not show (KIP-98).
//!
//! A Fetch answer lists the aborted transactions that reach into its records, each by producer and first offset. A
//! producer's data is aborted from that offset to its next abort marker. Batches are shown to this in order.

use std::collections::BTreeSet;

use super::batch::BatchHeader;
use super::control::ControlRecord;

/// The aborted transactions of one partition's answer.
#[derive(Debug, Clone, Default)]
pub struct AbortedTransactions {
    /// By first offset, the nearest last.
    ahead: Vec<(i64, i64)>,
    /// Producers whose data is being dropped.
    open: BTreeSet<i64>,
}

impl AbortedTransactions {
    /// From `(producer_id, first_offset)` pairs in any order, with or without repeats. Entries that no
    /// transaction can have are left out.
    pub fn new(listed: impl IntoIterator<Item = (i64, i64)>) -> Self {
        let possible = |(producer, first): &(i64, i64)| *producer >= 0 && *first >= 0;
        let mut ahead: Vec<_> =
            listed.into_iter().filter(possible).map(|(producer, first)| (first, producer)).collect();
        ahead.sort_unstable_by(|a, b| b.cmp(a));
        ahead.dedup();
        Self { ahead, open: BTreeSet::new() }
    }

    /// Whether nothing is listed any more and nothing being dropped.
    pub fn is_empty(&self) -> bool {
        self.ahead.is_empty() && self.open.is_empty()
    }

    /// Whether the records of this batch belong to an aborted transaction. Control batches are no records: show them to
    /// [`end`](Self::end).
    pub fn is_aborted(&mut self, batch: &BatchHeader) -> bool {
        self.reach(batch.last_offset());
        batch.is_transactional() && !batch.is_control() && self.open.contains(&batch.producer_id())
    }

    /// A control batch has been passed: an abort marker ends the producer's transaction. A second marker, or one of a
    /// transaction that was never listed, changes nothing.
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
