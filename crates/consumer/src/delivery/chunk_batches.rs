//! A chunk's batches, one after the other, opened.

use std::{collections::VecDeque, iter::Peekable};

use offtake_fetch::{ReadBatches, VisibleBatches};
use offtake_wire::records::{self as wire, Batch, Crc, Decompressor, Payload, RecordError};

use super::prefetch::{Counted, OpenBytes};

/// What is left to be read of a chunk. Knows nothing of the consumer: its batches may be [opened](Self::open_ahead) on any thread.
#[derive(Debug)]
pub(super) struct ChunkBatches {
    batches: Peekable<ReadBatches>,
    /// Records below it are not for the application.
    from: i64,
    /// Opened, and not yet handed out.
    opened: VecDeque<OpenBatch>,
    /// What cannot be read, behind what is opened.
    failed: Option<RecordError>,
}

/// A batch that is being handed out.
#[derive(Debug)]
pub(super) struct OpenBatch {
    pub(super) payload: Payload,
    pub(super) at: wire::PayloadPosition,
    pub(super) leader_epoch: Option<i32>,
    /// What it counts as while it is open ahead.
    pub(super) _counted: Option<Counted>,
}

/// What comes next of a chunk.
#[derive(Debug)]
pub(super) enum Upcoming {
    Opened(OpenBatch),
    Packed(Batch),
}

impl ChunkBatches {
    /// Of the records at `from` and above it.
    pub(super) fn of(batches: VisibleBatches, from: i64, crc: Crc) -> Self {
        Self { batches: batches.read(crc).peekable(), from, opened: VecDeque::new(), failed: None }
    }

    /// Whether a record may be left, or an error to be told.
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

    /// The next batch, at or above where reading begins.
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

    /// Opens the next one, to be handed out later. False if nothing is left to open.
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

    /// Whether what is opened ends with something that cannot be read.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Bytes of the batches that are opened.
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
