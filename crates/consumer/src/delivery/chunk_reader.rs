//! A chunk that is handed out batch by batch.

use std::collections::VecDeque;

use offtake_fetch::Chunk;
use offtake_wire::records::{Crc, Decompressor, RecordError};

use super::{
    chunk_batches::{ChunkBatches, OpenBatch, Upcoming},
    prefetch::{InFlight, Prefetcher},
};

/// A chunk, and how far it has been opened.
#[derive(Debug)]
pub(super) struct ChunkReader {
    pub(super) chunk: Chunk,
    /// Opened batches, which come before those that `source` still has.
    opened: VecDeque<OpenBatch>,
    source: Source,
}

/// The source of the batches that are not opened yet.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one a chunk, and that is boxed")]
enum Source {
    /// The chunk, from this offset on: none of it has been read.
    Chunk {
        from: i64,
    },
    Here(ChunkBatches),
    /// Submitted to be [opened ahead](super::prefetch). If that fails, the chunk is read again from this
    /// offset on.
    InFlight {
        chunk: InFlight,
        from: i64,
    },
}

impl ChunkReader {
    pub(super) fn new(chunk: Chunk) -> Self {
        Self { source: Source::Chunk { from: chunk.fetch_offset }, chunk, opened: VecDeque::new() }
    }

    /// The unread batches. If they were submitted, they are taken back.
    fn batches(&mut self, crc: Crc) -> &mut ChunkBatches {
        // This is called several times for each batch, and the value is large, so it is not moved.
        if !matches!(self.source, Source::Here(_)) {
            self.source = Source::Here(self.take_back(crc));
        }
        match &mut self.source {
            Source::Here(batches) => batches,
            // It was replaced above.
            Source::Chunk { .. } | Source::InFlight { .. } => unreachable!("the source is here"),
        }
    }

    fn take_back(&mut self, crc: Crc) -> ChunkBatches {
        let from_chunk = |chunk: &Chunk, from| ChunkBatches::of(chunk.batches.clone(), from, crc);
        match std::mem::replace(&mut self.source, Source::Chunk { from: 0 }) {
            Source::Here(batches) => batches,
            Source::Chunk { from } => from_chunk(&self.chunk, from),
            Source::InFlight { chunk, from } => {
                chunk.take_back().unwrap_or_else(|| from_chunk(&self.chunk, from))
            }
        }
    }

    /// Skips empty batches. Returns whether there may be another record, or an error to report.
    pub(super) fn skip_empty(&mut self, crc: Crc) -> bool {
        !self.opened.is_empty() || self.batches(crc).has_more()
    }

    pub(super) fn next_opened(
        &mut self,
        crc: Crc,
        decompressor: &mut Decompressor,
    ) -> Result<Option<OpenBatch>, RecordError> {
        match self.opened.pop_front() {
            Some(batch) => Ok(Some(batch)),
            None => self.batches(crc).next_opened(decompressor),
        }
    }

    /// The same, without opening it.
    pub(super) fn next(&mut self, crc: Crc) -> Result<Option<Upcoming>, RecordError> {
        match self.opened.pop_front() {
            Some(batch) => Ok(Some(Upcoming::Opened(batch))),
            None => self.batches(crc).next(),
        }
    }

    /// Submits the unread rest to be opened ahead, unless that has been done or nothing is left. Everything
    /// below `handed_out` has been handed out. Returns whether any of it is then being opened.
    pub(super) fn submit(&mut self, handed_out: Option<i64>, crc: Crc, to: &mut Prefetcher) -> bool {
        let from = match &self.source {
            Source::InFlight { chunk, .. } if chunk.is_under_way() => return true,
            Source::Chunk { from } => handed_out.map_or(*from, |at| at.max(*from)),
            Source::InFlight { .. } | Source::Here(_) => {
                let batches = self.batches(crc);
                if batches.has_failed() || !batches.has_unopened() {
                    return false;
                }
                let opened = batches.take_opened();
                self.opened.extend(opened);
                let begun = self.opened.back().map(|batch| batch.payload.next_offset());
                begun.or(handed_out).unwrap_or(self.chunk.fetch_offset)
            }
        };
        self.source = match std::mem::replace(&mut self.source, Source::Chunk { from }) {
            Source::Here(batches) => Source::InFlight { chunk: to.submit(batches), from },
            Source::Chunk { .. } => {
                let batches = ChunkBatches::of(self.chunk.batches.clone(), from, crc);
                Source::InFlight { chunk: to.submit(batches), from }
            }
            Source::InFlight { chunk, from } => Source::InFlight { chunk, from },
        };
        true
    }

    /// Drops what is opened, and what was submitted to be opened: it is opened again when it is handed out.
    /// Everything below `handed_out` has been handed out.
    pub(super) fn drop_opened(&mut self, handed_out: i64) {
        self.opened = VecDeque::new();
        self.source = Source::Chunk { from: handed_out.max(self.chunk.fetch_offset) };
    }

    /// The size in bytes of the opened batches.
    #[cfg(test)]
    pub(super) fn open_bytes(&self) -> usize {
        let ahead = match &self.source {
            Source::Chunk { .. } => 0,
            Source::Here(batches) => batches.open_bytes(),
            Source::InFlight { chunk, .. } => chunk.open_bytes(),
        };
        self.opened.iter().map(|batch| batch.payload.as_bytes().len()).sum::<usize>() + ahead
    }
}
