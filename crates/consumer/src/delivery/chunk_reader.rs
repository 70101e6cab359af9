//! A chunk on its way to be handed out, batch by batch.

use std::collections::VecDeque;

use offtake_fetch::Chunk;
use offtake_wire::records::{Crc, Decompressor, RecordError};

use super::{
    chunk_batches::{Amount, OpenBatch, Reading, Upcoming},
    prefetch::{Ahead, LoanId},
};

/// A chunk, and how far it has been opened.
#[derive(Debug)]
pub(super) struct ChunkReader {
    pub(super) chunk: Chunk,
    /// Opened, ahead of what `source` still has.
    opened: VecDeque<OpenBatch>,
    source: Source,
}

/// Where the batches come from that are not opened yet.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one a chunk, and that is boxed")]
enum Source {
    /// The chunk, from this offset on: nothing was opened, or what was given away to be opened has not come back.
    Chunk {
        from: i64,
    },
    Here(Reading),
    /// Given away, to be [opened ahead](super::ahead). Should it not come back, the chunk is read again from this offset on.
    Away {
        loan: LoanId,
        from: i64,
    },
}

impl ChunkReader {
    pub(super) fn new(chunk: Chunk) -> Self {
        Self { source: Source::Chunk { from: chunk.fetch_offset }, chunk, opened: VecDeque::new() }
    }

    /// What is here to read from. What was given away and is needed now is read again.
    fn reading(&mut self, crc: Crc) -> &mut Reading {
        if let Source::Chunk { from } | Source::Away { from, .. } = self.source {
            self.source = Source::Here(Reading::of(self.chunk.batches.clone(), from, crc));
        }
        match &mut self.source {
            Source::Here(reading) => reading,
            // It was replaced above.
            Source::Chunk { .. } | Source::Away { .. } => unreachable!("the source is here"),
        }
    }

    /// Passes over what is empty; whether a record may be left, or an error to be told.
    pub(super) fn skip_empty(&mut self, crc: Crc) -> bool {
        !self.opened.is_empty() || self.reading(crc).has_more()
    }

    pub(super) fn next_opened(
        &mut self,
        crc: Crc,
        decompressor: &mut Decompressor,
    ) -> Result<Option<OpenBatch>, RecordError> {
        match self.opened.pop_front() {
            Some(batch) => Ok(Some(batch)),
            None => self.reading(crc).next_opened(decompressor),
        }
    }

    /// The same, without opening it.
    pub(super) fn next(&mut self, crc: Crc) -> Result<Option<Upcoming>, RecordError> {
        match self.opened.pop_front() {
            Some(batch) => Ok(Some(Upcoming::Opened(batch))),
            None => self.reading(crc).next(),
        }
    }

    /// Gives it away to be opened ahead, unless so much is opened already. Everything below `handed_out` has been handed out.
    pub(super) fn lend(
        &mut self,
        handed_out: Option<i64>,
        crc: Crc,
        amount: Amount,
        to: &mut Ahead,
    ) -> Lending {
        if let (Source::Chunk { from }, Some(at)) = (&mut self.source, handed_out) {
            *from = at.max(*from);
        }
        let reading = self.reading(crc);
        if reading.has_failed() {
            return Lending::Enough;
        }
        if !reading.has_unopened() {
            return Lending::NothingLeft;
        }
        let ahead = reading.take_opened();
        self.opened.extend(ahead);
        let Some(wanted) = amount.less(&self.opened) else { return Lending::Enough };
        let begun = self.opened.back().map(|batch| batch.payload.next_offset());
        let from = begun.or(handed_out).unwrap_or(self.chunk.fetch_offset);
        if let Source::Here(reading) = std::mem::replace(&mut self.source, Source::Chunk { from }) {
            let loan = to.lend(&self.chunk.partition, reading, wanted);
            self.source = Source::Away { loan, from };
        }
        Lending::Lent
    }

    /// Drops what is opened, and what was given away to be opened: it is opened again when it is handed out. Everything below
    /// `handed_out` has been.
    pub(super) fn drop_opened(&mut self, handed_out: i64) {
        self.opened = VecDeque::new();
        self.source = Source::Chunk { from: handed_out.max(self.chunk.fetch_offset) };
    }

    /// Records that can be handed out without opening anything.
    pub(super) fn opened_records(&self) -> usize {
        self.all_opened().map(OpenBatch::records).fold(0, usize::saturating_add)
    }

    fn all_opened(&self) -> impl Iterator<Item = &OpenBatch> {
        let here = match &self.source {
            Source::Here(reading) => Some(reading.opened()),
            Source::Chunk { .. } | Source::Away { .. } => None,
        };
        self.opened.iter().chain(here.into_iter().flatten())
    }

    #[cfg(test)]
    pub(super) fn opened(&self) -> impl Iterator<Item = &OpenBatch> {
        self.all_opened()
    }

    pub(super) fn has_lent(&self, asked: LoanId) -> bool {
        matches!(self.source, Source::Away { loan, .. } if loan == asked)
    }

    /// What was given away is back; or lost, and is read again.
    pub(super) fn end_handed_out(&mut self, reading: Option<Reading>) {
        if let Source::Away { from, .. } = self.source {
            self.source = reading.map_or(Source::Chunk { from }, Source::Here);
        }
    }
}

/// What came of the attempt to give something away to be opened ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lending {
    Lent,
    /// As much as is wanted is opened already, or nothing behind can be opened.
    Enough,
    /// Everything is opened.
    NothingLeft,
}
