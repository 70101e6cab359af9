//! A chunk on its way to be handed out.

use std::collections::VecDeque;

use offtake_fetch::Chunk;
use offtake_wire::records::{Crc, Decompressor, RecordError};

use super::{
    ahead::{Ahead, LoanId},
    reading::{Amount, OpenBatch, Reading, Upcoming},
};
use crate::{engine::command::Command, handle::Handle};

/// A chunk, and how far it has been read.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) chunk: Chunk,
    /// Opened, ahead of what is left to read.
    in_hand: VecDeque<OpenBatch>,
    /// `None` before it is begun, and while it is being [opened ahead](super::ahead).
    reading: Option<Reading>,
    /// Where reading begins if there is none yet, or none comes back.
    from: i64,
    loan: Option<LoanId>,
}

impl Incoming {
    pub(super) fn new(chunk: Chunk) -> Self {
        Self { from: chunk.fetch_offset, chunk, in_hand: VecDeque::new(), reading: None, loan: None }
    }

    fn reading(&mut self, crc: Crc) -> &mut Reading {
        self.reading.get_or_insert_with(|| {
            self.loan = None;
            Reading::of(self.chunk.batches.clone(), self.from, crc)
        })
    }

    /// Everything before this offset has been handed out.
    pub(super) fn stands_at(&mut self, offset: i64) {
        self.from = self.from.max(offset);
    }

    pub(super) fn has_more(&mut self, crc: Crc) -> bool {
        !self.in_hand.is_empty() || self.reading(crc).has_more()
    }

    pub(super) fn next_opened(
        &mut self,
        crc: Crc,
        decompressor: &mut Decompressor,
    ) -> Result<Option<OpenBatch>, RecordError> {
        match self.in_hand.pop_front() {
            Some(batch) => Ok(Some(batch)),
            None => self.reading(crc).next_opened(decompressor),
        }
    }

    /// The same, without opening it.
    pub(super) fn next(&mut self, crc: Crc) -> Result<Option<Upcoming>, RecordError> {
        match self.in_hand.pop_front() {
            Some(batch) => Ok(Some(Upcoming::Opened(batch))),
            None => self.reading(crc).next(),
        }
    }

    /// Gives it away to be opened ahead, unless so much waits already. False if nothing is left to open.
    pub(super) fn lend(&mut self, crc: Crc, amount: Amount, to: &mut Ahead) -> bool {
        let reading = self.reading(crc);
        if reading.has_failed() {
            return true;
        }
        if !reading.has_unopened() {
            return false;
        }
        let opened = reading.take_opened();
        self.in_hand.extend(opened);
        let wanted = amount.less(&self.in_hand);
        if let Some(wanted) = wanted
            && let Some(reading) = self.reading.take()
        {
            self.from = self.in_hand.back().map_or(self.from, |batch| batch.payload.next_offset());
            self.loan = Some(to.lend(&self.chunk.partition, reading, wanted));
        }
        true
    }

    /// Records that can be handed out without anybody.
    pub(super) fn opened_records(&self) -> usize {
        let opened = self.reading.iter().flat_map(Reading::opened);
        self.in_hand.iter().chain(opened).map(OpenBatch::records).fold(0, usize::saturating_add)
    }

    #[cfg(test)]
    pub(super) fn opened(&self) -> usize {
        self.in_hand.len() + self.reading.iter().flat_map(Reading::opened).count()
    }

    pub(super) fn has_lent(&self, loan: LoanId) -> bool {
        self.loan == Some(loan)
    }

    /// What was lent is back, or lost.
    pub(super) fn take_back(&mut self, reading: Option<Reading>) {
        self.loan = None;
        self.reading = reading;
    }
}

pub(super) fn free(chunk: &Chunk, handle: &Handle) {
    // The engine may be gone, and its budget with it.
    let _ = handle.send(Command::Freed { partition: chunk.partition.clone(), charge: chunk.charge });
}
