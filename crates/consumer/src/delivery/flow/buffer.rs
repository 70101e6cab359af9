//! What has come of a partition and is not handed out yet: it comes, is dropped, and is given back.

use offtake_fetch::Chunk;
use offtake_machine::{Position, Token, TopicPartition};

use super::{Entry, Flow, State};
use crate::{
    delivery::{chunk_reader::ChunkReader, moved::Moved},
    error::Error,
    inbox::Restart,
};

impl Flow {
    /// Reading starts, or goes on elsewhere.
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
            // It is told behind what was buffered before it.
            self.queue.push_back(Entry::Reset { to: position, restart });
        }
    }

    pub(in crate::delivery) fn push(&mut self, chunk: Chunk) {
        self.queue.push_back(Entry::Chunk(Box::new(ChunkReader::new(chunk))));
    }

    pub(in crate::delivery) fn fails(&mut self, error: Error) {
        self.queue.push_back(Entry::Failed(error));
    }

    /// The application has moved the position, perhaps to where only a broker knows.
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

    /// Offers what is buffered, or may still come of the time before it was paused: where to read on from, if it is to be
    /// dropped and read again.
    pub(in crate::delivery) fn offer(&mut self) -> Option<Position> {
        let is_offered = self.state == State::Reading && self.gauges.is_paused();
        let from = self.lowest().filter(|_| is_offered)?;
        self.state = State::GivingBack { from };
        Some(from)
    }

    /// Nothing that is to be handed out lies before this. What comes behind a reset backwards lies before the position.
    fn lowest(&self) -> Option<Position> {
        let starts = self.queue.iter().filter_map(|entry| match entry {
            Entry::Chunk(reader) => Some(Position::at(reader.chunk.fetch_offset)),
            Entry::Reset { to, .. } => Some(*to),
            Entry::Failed(_) => None,
        });
        self.position.into_iter().chain(starts).min_by_key(|position| position.offset)
    }

    /// What was offered was accepted: it comes again from there on, and so does an error behind it. Resets are told where they
    /// were to be told.
    ///
    /// What has come since the offer may lie before it: then that is to be offered, and the engine to answer once more.
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
