//! The entries of a partition that have arrived and are not handed out yet: received, dropped, or given back.

use offtake_fetch::Chunk;
use offtake_machine::{Position, Token, TopicPartition};

use super::{Entry, Flow, State};
use crate::{
    delivery::{chunk_reader::ChunkReader, moved::Moved},
    error::Error,
    inbox::Restart,
};

impl Flow {
    /// Reading starts, or continues from another position.
    pub(in crate::delivery) fn started(
        &mut self,
        partition: &TopicPartition,
        position: Position,
        restart: Restart,
        moved: &mut Moved,
    ) {
        if self.position.is_none() {
            self.position = Some(position);
            moved.restarts(partition, self.token, restart);
        } else if !restart.resets.is_empty() {
            // Reported after what was buffered before it.
            self.queue.push_back(Entry::Reset { to: position, restart });
        }
    }

    pub(in crate::delivery) fn push(&mut self, chunk: Chunk) {
        self.queue.push_back(Entry::Chunk(Box::new(ChunkReader::new(chunk))));
    }

    pub(in crate::delivery) fn fails(&mut self, error: Error) {
        self.queue.push_back(Entry::Failed(error));
    }

    /// The application has moved the position, perhaps to one that only a broker can resolve.
    pub(in crate::delivery) fn sought(
        &mut self,
        token: Token,
        position: Option<Position>,
        moved: &mut Moved,
    ) {
        self.token = token;
        self.position = position;
        self.is_known = position.is_some();
        self.state = State::Reading;
        self.drop_buffered(moved);
        self.show();
    }

    pub(in crate::delivery) fn drop_buffered(&mut self, moved: &mut Moved) {
        moved.freed.extend(self.open.take().map(|open| open.reader.chunk));
        moved.freed.extend(self.queue.drain(..).filter_map(Entry::into_chunk));
    }

    /// Offers to give back what is buffered and what may still arrive from before the pause. Returns the
    /// position to read on from if it is dropped and fetched again.
    pub(in crate::delivery) fn offer(&mut self) -> Option<Position> {
        let is_offered = self.state == State::Reading && self.gauges.is_paused();
        let from = self.lowest().filter(|_| is_offered)?;
        self.state = State::GivingBack { from };
        Some(from)
    }

    /// The lowest offset still to be handed out. Records after a backward reset lie before the position.
    fn lowest(&self) -> Option<Position> {
        let starts = self.queue.iter().filter_map(|entry| match entry {
            Entry::Chunk(reader) => Some(Position::at(reader.chunk.fetch_offset)),
            Entry::Reset { to, .. } => Some(*to),
            Entry::Failed(_) => None,
        });
        self.position.into_iter().chain(starts).min_by_key(|position| position.offset)
    }

    /// The offer was accepted: records are delivered again from there on, and so is an error after them.
    /// Resets are still reported at their place.
    ///
    /// Entries that have arrived since the offer may lie before it: then a lower position is offered, and the
    /// engine has to answer again.
    pub(in crate::delivery) fn given_back(&mut self, from: Position, moved: &mut Moved) -> Option<Position> {
        if let Some(lower) = self.lowest().filter(|lowest| lowest.offset < from.offset) {
            self.state = State::GivingBack { from: lower };
            return Some(lower);
        }
        self.state = State::Reading;
        let mut all: Option<Restart> = None;
        for entry in &mut self.queue {
            if let Entry::Reset { restart, .. } = entry {
                let all = all.get_or_insert_default();
                all.rewinds = restart.rewinds;
                all.resets.append(&mut restart.resets);
            }
        }
        self.drop_buffered(moved);
        self.queue.extend(all.map(|restart| Entry::Reset { to: from, restart }));
        None
    }
}
