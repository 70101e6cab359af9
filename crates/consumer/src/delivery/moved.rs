//! What has happened beside handing out, until somebody asks for it.
//!
//! Each note bears the token that it was made under. Whoever takes it compares that with the partition's token of now, and
//! drops what was noted before a seek or for an earlier owner: a seek need not look through the notes.

use std::collections::VecDeque;

use offtake_fetch::Chunk;
use offtake_machine::{Position, Token, TopicPartition};

use crate::{event::Event, inbox::Restart, passed::Passed};

/// Positions that moved otherwise than by handing out, and chunks that go back.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// Beyond the last record handed out: control and aborted batches, emptied ones.
    pub(super) over: Vec<Passed>,
    /// Back, by the cluster, and to where.
    pub(super) back: Vec<(TopicPartition, Token, i64)>,
    /// By the cluster, back so often by then: the engine has to hear that the handle knows.
    pub(super) restarted: Vec<(TopicPartition, Token, u32)>,
    /// Ahead of what is handed out next.
    pub(super) resets: VecDeque<(Token, Event)>,
    /// By the application.
    pub(super) sought: Vec<TopicPartition>,
    /// What is offered to be given back, and from where it is then to be read.
    pub(super) offers: Vec<(TopicPartition, Token, Position)>,
    /// Chunks that are done with.
    pub(super) freed: Vec<Chunk>,
}

impl Moved {
    pub(super) fn goes_back(&mut self, partition: &TopicPartition, token: Token, to: i64) {
        // What was passed over lay in the log as it was before.
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
