//! A chunk on its way to be handed out, batch by batch.

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
    /// Opened, ahead of what `source` still has.
    opened: VecDeque<OpenBatch>,
    source: Source,
}

/// Where the batches come from that are not opened yet.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one a chunk, and that is boxed")]
enum Source {
    /// The chunk, from this offset on: nothing has been read of it.
    Chunk {
        from: i64,
    },
    Here(ChunkBatches),
    /// Submitted, to be [opened ahead](super::prefetch). If that fails, the chunk is read again from this offset on.
    InFlight {
        chunk: InFlight,
        from: i64,
    },
}

impl ChunkReader {
    pub(super) fn new(chunk: Chunk) -> Self {
        Self { source: Source::Chunk { from: chunk.fetch_offset }, chunk, opened: VecDeque::new() }
    }

    /// What is left to read. What was submitted is taken back.
    fn batches(&mut self, crc: Crc) -> &mut ChunkBatches {
        // It is asked for several times a batch, and large: it stays where it is.
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

    /// Passes over what is empty; whether a record may be left, or an error to be told.
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

    /// Submits what is left of it to be opened ahead, unless that has been done or nothing is left. Everything below
    /// `handed_out` has been handed out. Whether anything of it is being opened then.
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

    /// Drops what is opened, and what was submitted to be opened: it is opened again when it is handed out. Everything below
    /// `handed_out` has been.
    pub(super) fn drop_opened(&mut self, handed_out: i64) {
        self.opened = VecDeque::new();
        self.source = Source::Chunk { from: handed_out.max(self.chunk.fetch_offset) };
    }

    /// Bytes of the batches that are opened.
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
