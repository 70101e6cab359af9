//! A chunk's batches, opened one after the other.

use std::collections::VecDeque;

use offtake_fetch::{ReadBatches, VisibleBatches};
use offtake_wire::records::{Batch, Crc, Decompressor, Payload, PayloadPosition, RecordError, RecordSlice};

use super::prefetch::{Counted, OpenBytes};

/// The most records of a batch that are checked ahead: the position of each takes 24 bytes.
const MAX_CHECKED: usize = 10_000;

/// The unread rest of a chunk. It is independent of the consumer: its batches may be
/// [opened](Self::open_ahead) on any thread.
#[derive(Debug)]
pub(super) struct ChunkBatches {
    batches: ReadBatches,
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
    pub(super) at: PayloadPosition,
    pub(super) leader_epoch: Option<i32>,
    /// Its next records, if they were checked ahead.
    pub(super) checked: Option<Box<CheckedRecords>>,
    /// Its share of the open-ahead limit, while it is open ahead.
    pub(super) counted: Option<Counted>,
}

/// The result of [`Payload::into_slice`], ahead of the polls that hand it out.
#[derive(Debug)]
pub(super) struct CheckedRecords {
    pub(super) slice: RecordSlice,
    pub(super) failed: Option<RecordError>,
    /// The position after these records.
    pub(super) behind: PayloadPosition,
}

/// The next item of a chunk.
#[derive(Debug)]
pub(super) enum Upcoming {
    Opened(OpenBatch),
    Packed(Batch),
}

impl OpenBatch {
    /// Up to `most` records, at least one; why none follow, if that is an error; and the batch, if more of it follow.
    #[inline]
    pub(super) fn take(mut self, most: usize) -> (RecordSlice, Option<RecordError>, Option<Self>) {
        let (slice, failed, at) = match self.checked.take() {
            Some(mut checked) => {
                if let Some(behind) = checked.slice.split_off(&mut self.at, most) {
                    let slice = std::mem::replace(&mut checked.slice, behind);
                    return (slice, None, Some(Self { checked: Some(checked), ..self }));
                }
                (checked.slice, checked.failed, checked.behind)
            }
            None => {
                let mut at = self.at;
                let (slice, failed) = self.payload.into_slice(&mut at, most);
                (slice, failed, at)
            }
        };
        let has_more = failed.is_none() && slice.payload().count_from(at) > 0;
        let rest = has_more.then(|| {
            let payload = slice.payload().clone();
            Self { payload, at, leader_epoch: self.leader_epoch, checked: None, counted: self.counted }
        });
        (slice, failed, rest)
    }
}

impl ChunkBatches {
    /// The batches with records at `from` or above it.
    pub(super) fn of(batches: VisibleBatches, from: i64, crc: Crc) -> Self {
        Self { batches: batches.read(crc), from, opened: VecDeque::new(), failed: None }
    }

    /// Whether there may be another record, or an error to report.
    pub(super) fn has_more(&mut self) -> bool {
        !self.opened.is_empty() || self.failed.is_some() || self.has_unopened()
    }

    /// Whether anything is left to open.
    pub(super) fn has_unopened(&mut self) -> bool {
        loop {
            match self.batches.peek() {
                Some(Ok(batch)) if batch.next_offset() <= self.from || batch.is_header_only() => {}
                next => return next.is_some(),
            }
            self.batches.next();
        }
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

    /// Opens the next batch, to be handed out later, and checks its records, so that the thread that opens it has read its memory
    /// once and the application need not. False if nothing is left to open.
    pub(super) fn open_ahead(&mut self, decompressor: &mut Decompressor, open: &OpenBytes) -> bool {
        if self.failed.is_some() || !self.has_unopened() {
            return false;
        }
        match self.open_next(decompressor) {
            Ok(batch) => self.opened.extend(batch.map(|batch| {
                let mut behind = batch.at;
                let (slice, failed) = batch.payload.take(&mut behind, MAX_CHECKED);
                let bytes = batch.payload.as_bytes().len().saturating_add(size_of_val(slice.rows()));
                let checked = Box::new(CheckedRecords { slice, failed, behind });
                OpenBatch { checked: Some(checked), counted: Some(open.count(bytes)), ..batch }
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
        let Some(opened) = self.batches.next_opened(decompressor) else { return Ok(None) };
        let (payload, leader_epoch) = opened?;
        let mut records = payload.records();
        // A fetch may begin in the middle of a batch (FAILURES J8).
        records.skip_to(self.from)?;
        let at = records.at();
        Ok(Some(OpenBatch { at, leader_epoch, payload, checked: None, counted: None }))
    }
}
