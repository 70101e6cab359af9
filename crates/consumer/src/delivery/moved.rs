//! What has happened besides handing out, kept until it is queried.
//!
//! Each note carries the token under which it was made. The caller that takes it compares that with the
//! partition's current token, and drops notes from before a seek or of an earlier owner: so a seek need not
//! search the notes.

use std::collections::VecDeque;

use offtake_fetch::Chunk;
use offtake_machine::{Position, Token, TopicPartition};

use crate::{event::Event, inbox::Restart, passed::Passed};

/// Positions that moved other than by handing out, and chunks to return.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// Moved past offsets without records for the application: control and aborted batches, emptied ones.
    pub(super) over: Vec<Passed>,
    /// Moved back by the cluster, with the new position.
    pub(super) back: Vec<(TopicPartition, Token, i64)>,
    /// Moved by the cluster, with the number of such moves so far: the engine has to learn that the handle
    /// knows.
    pub(super) restarted: Vec<(TopicPartition, Token, u32)>,
    /// Resets that come before what is handed out next.
    pub(super) resets: VecDeque<(Token, Event)>,
    /// Sought by the application.
    pub(super) sought: Vec<TopicPartition>,
    /// Offers to give records back, each with the position to read on from.
    pub(super) offers: Vec<(TopicPartition, Token, Position)>,
    /// Chunks that have been completely read.
    pub(super) freed: Vec<Chunk>,
}

impl Moved {
    pub(super) fn note_rewind(&mut self, partition: &TopicPartition, token: Token, to: i64) {
        // The offsets that were passed over belong to the log as it was before.
        self.over.retain(|passed| passed.to.partition != *partition);
        self.back.push((partition.clone(), token, to));
    }

    pub(super) fn restarts(&mut self, partition: &TopicPartition, token: Token, restart: Restart) {
        if restart.rewinds > 0 {
            self.restarted.push((partition.clone(), token, restart.rewinds));
        }
        self.resets.extend(restart.resets.into_iter().map(|event| (token, event)));
    }
}
