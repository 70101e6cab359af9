//! From the records field of an answer to what the application may see of it, by the headers of the batches alone.
//!
//! Learns where reading goes on: behind the last whole batch, whatever compaction left of it (J3). Drops batches that
//! end before the position (§3 row 27), control batches, and under read_committed those of aborted transactions (K1 to
//! K5). What is dropped here nobody reads later, so its checksum is compared here.

use bytes::Bytes;
use offtake_machine::{LeaderEpoch, Position};
use offtake_wire::records::{
    AbortedTransactions, Batch, BatchHead, BatchHeader, Batches, ControlRecord, Crc, Decompressor,
    RecordError,
};

use crate::chunk::VisibleBatches;

/// How far beyond the high watermark of its own answer a batch may end (§3 row 39). The leader reads its watermark
/// first and the log a moment later; what it appends in between is far less than this.
const BEYOND_THE_WATERMARK: i64 = 1 << 24;

/// What was found in a records field.
#[derive(Debug)]
pub(crate) struct Found {
    /// What the application may see.
    pub(crate) visible: VisibleBatches,
    /// Where reading goes on; the position as it was if nothing moved it.
    pub(crate) next: Position,
    /// Why what follows cannot be read.
    pub(crate) error: Option<RecordError>,
}

/// Reads batch headers.
#[derive(Debug)]
pub(crate) struct Reader {
    crc: Crc,
    committed: bool,
    decompressor: Decompressor,
}

impl Reader {
    pub(crate) fn new(check_crcs: bool, committed: bool) -> Self {
        let crc = if check_crcs { Crc::Check } else { Crc::Trust };
        Self { crc, committed, decompressor: Decompressor::new() }
    }

    /// Reads `records`, which were asked for from `from` on.
    pub(crate) fn read(
        &mut self,
        from: Position,
        records: &Bytes,
        high_watermark: i64,
        mut aborted: AbortedTransactions,
    ) -> Found {
        let mut found = Found { visible: VisibleBatches::default(), next: from, error: None };
        let end = high_watermark.max(from.offset).saturating_add(BEYOND_THE_WATERMARK);
        let mut batches = Batches::new(records.clone(), Crc::Trust).ending_before(end);
        let mut at: usize = 0;
        let mut segment = at;
        while let Some(head) = batches.peek() {
            let after = at.saturating_add(head.size()).min(records.len());
            let shown = match self.shows(from, &head, &records.slice(at..after), high_watermark, &mut aborted)
            {
                Ok(shown) => shown,
                Err(error) => {
                    found.error = Some(error);
                    break;
                }
            };
            if !shown {
                found.visible.push(records.slice(segment..at));
                segment = after;
            }
            if head.last_offset() >= found.next.offset {
                found.next = Position { offset: head.next_offset(), epoch: epoch(&head) };
            }
            at = after;
            batches.pass();
        }
        found.visible.push(records.slice(segment..at));
        if found.error.is_none() {
            // Where nothing can be peeked at, this ends, or says what is wrong (J2, J4).
            found.error = batches.next().and_then(Result::err);
        }
        found
    }

    /// Whether the application may see the batch.
    fn shows(
        &mut self,
        from: Position,
        head: &BatchHead,
        bytes: &Bytes,
        high_watermark: i64,
        aborted: &mut AbortedTransactions,
    ) -> Result<bool, RecordError> {
        let old = head.last_offset() < from.offset;
        let shown = match head {
            BatchHead::V2(header) if header.is_control() => {
                self.control(header, bytes, aborted)?;
                false
            }
            BatchHead::V2(header) if self.committed && aborted.is_aborted(header) => {
                self.verify(bytes)?;
                false
            }
            // A length that is a lie must not move the position.
            _ if !old && high_watermark > 0 && head.last_offset() >= high_watermark => {
                self.verify(bytes)?;
                true
            }
            BatchHead::V2(_) | BatchHead::Legacy { .. } => true,
        };
        Ok(shown && !old)
    }

    fn control(
        &mut self,
        header: &BatchHeader,
        bytes: &Bytes,
        aborted: &mut AbortedTransactions,
    ) -> Result<(), RecordError> {
        let Some(batch) = self.verify(bytes)? else { return Ok(()) };
        if self.committed
            && let Some(marker) = ControlRecord::read(&batch, &mut self.decompressor)?
        {
            aborted.end(header, marker);
        }
        Ok(())
    }

    fn verify(&self, bytes: &Bytes) -> Result<Option<Batch>, RecordError> {
        Batches::new(bytes.clone(), self.crc).next().transpose()
    }
}

/// The epoch that the batch was written under.
fn epoch(head: &BatchHead) -> LeaderEpoch {
    match head {
        BatchHead::V2(header) => Some(header.partition_leader_epoch()).filter(|epoch| *epoch >= 0),
        BatchHead::Legacy { .. } => None,
    }
}
