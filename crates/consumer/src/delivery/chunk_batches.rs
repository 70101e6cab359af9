//! A chunk's batches, opened one after the other.

use std::{collections::VecDeque, iter::Peekable};

use offtake_fetch::{ReadBatches, VisibleBatches};
use offtake_wire::records::{self as wire, Batch, Crc, Decompressor, Payload, RecordError};

use super::prefetch::{Counted, OpenBytes};

/// The unread rest of a chunk. It is independent of the consumer: its batches may be
/// [opened](Self::open_ahead) on any thread.
#[derive(Debug)]
pub(super) struct ChunkBatches {
    batches: Peekable<ReadBatches>,
    /// Records below this offset are not for the application.
    from: i64,
    /// Opened, and not yet handed out.
    opened: VecDeque<OpenBatch>,
    /// The unreadable record or batch that follows the opened ones.
    failed: Option<RecordError>,
}

/// A batch that is being handed out.
#[derive(Debug)]
pub(super) struct OpenBatch {
    pub(super) payload: Payload,
    pub(super) at: wire::PayloadPosition,
    pub(super) leader_epoch: Option<i32>,
    /// Its share of the open-ahead limit, while it is open ahead.
    pub(super) _counted: Option<Counted>,
}

/// The next item of a chunk.
#[derive(Debug)]
pub(super) enum Upcoming {
    Opened(OpenBatch),
    Packed(Batch),
}

impl ChunkBatches {
    /// The batches with records at `from` or above it.
    pub(super) fn of(batches: VisibleBatches, from: i64, crc: Crc) -> Self {
        Self { batches: batches.read(crc).peekable(), from, opened: VecDeque::new(), failed: None }
    }

    /// Whether there may be another record, or an error to report.
    pub(super) fn has_more(&mut self) -> bool {
        !self.opened.is_empty() || self.failed.is_some() || self.has_unopened()
    }

    /// Whether anything is left to open.
    pub(super) fn has_unopened(&mut self) -> bool {
        let from = self.from;
        let has_none = |batch: &Result<Batch, RecordError>| {
            batch.as_ref().is_ok_and(|batch| batch.next_offset() <= from || batch.is_header_only())
        };
        while self.batches.next_if(has_none).is_some() {}
        self.batches.peek().is_some()
    }

    /// The next batch with records at or above the position, opened.
    pub(super) fn next_opened(
        &mut self,
        decompressor: &mut Decompressor,
    ) -> Result<Option<OpenBatch>, RecordError> {
        match self.opened.pop_front() {
            Some(batch) => Ok(Some(batch)),
            None => match self.failed {
                Some(failed) => Err(failed),
                None => self.open_next(decompressor),
            },
        }
    }

    /// The same, without opening it.
    pub(super) fn next(&mut self) -> Result<Option<Upcoming>, RecordError> {
        match self.opened.pop_front() {
            Some(batch) => Ok(Some(Upcoming::Opened(batch))),
            None => match self.failed {
                Some(failed) => Err(failed),
                None => Ok(self.batches.next().transpose()?.map(Upcoming::Packed)),
            },
        }
    }

    /// Opens the next batch, to be handed out later. False if nothing is left to open.
    pub(super) fn open_ahead(&mut self, decompressor: &mut Decompressor, open: &OpenBytes) -> bool {
        if self.failed.is_some() || !self.has_unopened() {
            return false;
        }
        match self.open_next(decompressor) {
            Ok(batch) => self.opened.extend(batch.map(|batch| {
                let counted = open.count(batch.payload.as_bytes().len());
                OpenBatch { _counted: Some(counted), ..batch }
            })),
            Err(failed) => self.failed = Some(failed),
        }
        true
    }

    /// Whether an unreadable record or batch follows the opened ones.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// The size in bytes of the opened batches.
    #[cfg(test)]
    pub(super) fn open_bytes(&self) -> usize {
        self.opened.iter().map(|batch| batch.payload.as_bytes().len()).sum()
    }

    pub(super) fn take_opened(&mut self) -> VecDeque<OpenBatch> {
        std::mem::take(&mut self.opened)
    }

    fn open_next(&mut self, decompressor: &mut Decompressor) -> Result<Option<OpenBatch>, RecordError> {
        let Some(batch) = self.batches.next() else { return Ok(None) };
        let batch = batch?;
        let leader_epoch = batch.leader_epoch();
        let payload = batch.into_payload(decompressor)?;
        let mut records = payload.records();
        // A fetch may begin in the middle of a batch (FAILURES J8).
        records.skip_to(self.from)?;
        let at = records.at();
        Ok(Some(OpenBatch { at, leader_epoch, payload, _counted: None }))
    }
}
