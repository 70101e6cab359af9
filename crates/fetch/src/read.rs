//! Reads the headers of the batches in a records field, and selects those that the application may see.
//!
//! It determines the next position: after the last whole batch, whatever compaction left of it (FAILURES J3).
//! It drops batches that end before the position (FAILURES INPUT27), control batches, and under
//! read_committed those of aborted transactions (FAILURES K1 to K5). The checksum of a dropped batch is
//! verified here, as the batch is not read later.

use bytes::Bytes;
use offtake_machine::{LeaderEpoch, Position};
use offtake_wire::records::{
    AbortedTransactions, AnyBatchHeader, Batch, BatchHeader, Batches, ControlRecord, Crc, Decompressor,
    RecordError,
};

use crate::chunk::VisibleBatches;

/// How far beyond the high watermark of its own response a batch may end (FAILURES INPUT39). The broker reads
/// its watermark first and the log a moment later; what it appends in between is far less than this, and has
/// no gaps.
const MAX_BEYOND_WATERMARK: i64 = 1 << 24;

/// The limit for a decompressed control batch: it has one small record, and is read on the engine's thread.
const MAX_CONTROL_BATCH: usize = 4 << 10;

/// The result of reading the batches of a records field.
#[derive(Debug)]
pub(crate) struct ReadOutcome {
    /// The batches that the application may see.
    pub(crate) visible: VisibleBatches,
    /// The next position; the old one if no batch moved it.
    pub(crate) next: Position,
    /// The error that prevents reading the rest.
    pub(crate) error: Option<RecordError>,
}

/// Reads batch headers.
#[derive(Debug)]
pub(crate) struct Reader {
    crc: Crc,
    read_committed: bool,
    decompressor: Decompressor,
}

impl Reader {
    pub(crate) fn new(check_crcs: bool, read_committed: bool) -> Self {
        let crc = if check_crcs { Crc::Check } else { Crc::Trust };
        Self { crc, read_committed, decompressor: Decompressor::with_limit(MAX_CONTROL_BATCH) }
    }

    /// Reads `records`, which were requested from `from` on.
    pub(crate) fn read(
        &mut self,
        from: Position,
        records: &Bytes,
        high_watermark: i64,
        mut aborted: AbortedTransactions,
    ) -> ReadOutcome {
        let mut outcome = ReadOutcome { visible: VisibleBatches::default(), next: from, error: None };
        let end = high_watermark.max(from.offset).saturating_add(MAX_BEYOND_WATERMARK);
        let mut batches = Batches::new(records.clone(), Crc::Trust).ending_before(end);
        if high_watermark > 0 {
            batches = batches.gapless_from(high_watermark);
        }
        let mut at: usize = 0;
        let mut segment = at;
        while let Some(head) = batches.peek() {
            let after = at.saturating_add(head.size()).min(records.len());
            let bytes = || records.slice(at..after);
            let visible = match self.is_visible(from, &head, bytes, high_watermark, &mut aborted) {
                Ok(visible) => visible,
                Err(error) => {
                    outcome.error = Some(error);
                    break;
                }
            };
            if !visible {
                outcome.visible.push(records.slice(segment..at));
                segment = after;
            }
            if head.last_offset() >= outcome.next.offset {
                outcome.next = Position { offset: head.next_offset(), epoch: epoch(&head) };
            }
            at = after;
            batches.skip_batch(&head);
        }
        outcome.visible.push(records.slice(segment..at));
        if outcome.error.is_none() {
            // If the header cannot be read, this ends the loop, or returns the error (FAILURES J2, J4).
            outcome.error = batches.next().and_then(Result::err);
        }
        outcome
    }

    /// Whether the application may see the batch.
    fn is_visible(
        &mut self,
        from: Position,
        head: &AnyBatchHeader,
        bytes: impl FnOnce() -> Bytes,
        high_watermark: i64,
        aborted: &mut AbortedTransactions,
    ) -> Result<bool, RecordError> {
        let old = head.last_offset() < from.offset;
        let visible = match head {
            AnyBatchHeader::V2(header) if header.is_control() => {
                self.control(header, bytes(), aborted)?;
                false
            }
            AnyBatchHeader::V2(header) if self.read_committed && aborted.is_aborted(header) => {
                self.verify(bytes())?;
                false
            }
            // A false length must not move the position.
            _ if !old && high_watermark > 0 && head.last_offset() >= high_watermark => {
                self.verify(bytes())?;
                true
            }
            AnyBatchHeader::V2(_) | AnyBatchHeader::Legacy { .. } => true,
        };
        Ok(visible && !old)
    }

    fn control(
        &mut self,
        header: &BatchHeader,
        bytes: Bytes,
        aborted: &mut AbortedTransactions,
    ) -> Result<(), RecordError> {
        let Some(batch) = self.verify(bytes)? else { return Ok(()) };
        if self.read_committed
            && let Some(marker) = ControlRecord::read(&batch, &mut self.decompressor)?
        {
            aborted.end(header, marker);
        }
        Ok(())
    }

    fn verify(&self, bytes: Bytes) -> Result<Option<Batch>, RecordError> {
        Batches::new(bytes, self.crc).next().transpose()
    }
}

/// The epoch that the batch was written under.
fn epoch(head: &AnyBatchHeader) -> LeaderEpoch {
    match head {
        AnyBatchHeader::V2(header) => Some(header.partition_leader_epoch()).filter(|epoch| *epoch >= 0),
        AnyBatchHeader::Legacy { .. } => None,
    }
}
