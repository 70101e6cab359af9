//! What one transaction has done and has yet to do.

use std::{
    collections::{BTreeSet, VecDeque},
    mem,
    time::Instant,
};

use offtake_client::Error;
use offtake_machine::{GroupOffsets, TopicPartition};

use super::machine::Event;

/// How the coordinator hears of what a transaction writes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// It is told before (AddPartitionsToTxn, AddOffsetsToTxn), and an epoch may have many transactions (KIP-98).
    #[default]
    Announced,
    /// It learns of it from the broker that is written to, and each transaction has an epoch of its own (KIP-890).
    EpochPerTransaction,
}

/// A transaction that is open, or ending.
#[derive(Debug)]
pub(super) struct Work {
    /// Partitions that the coordinator is to hear of.
    pub(super) wanted: BTreeSet<TopicPartition>,
    /// Those that it was asked to add, and may have.
    pub(super) adding: BTreeSet<TopicPartition>,
    /// Since when the coordinator has, or may have, a transaction open. `None`: it has none.
    pub(super) begun: Option<Instant>,
    /// Offsets to be committed with it, in the order of the calls.
    pub(super) offsets: VecDeque<SentOffsets>,
    /// Why it cannot be committed.
    pub(super) failed: Option<Error>,
    /// Whether what was sent, and has no outcome, is to be kept from the next transaction.
    pub(super) needs_epoch: bool,
    pub(super) is_warned: bool,
}

/// One call of `send_offsets`.
#[derive(Debug)]
pub(super) struct SentOffsets {
    pub(super) id: u64,
    pub(super) offsets: GroupOffsets,
    pub(super) deadline: Instant,
    /// Whether the coordinator knows that the transaction has offsets of the group.
    pub(super) is_announced: bool,
    /// Since when each answer says of a topic of these that there is none.
    pub(super) missing_since: Option<Instant>,
    /// What the group's coordinator said last.
    pub(super) trouble: Option<String>,
}

impl Work {
    pub(super) fn new() -> Self {
        Self {
            wanted: BTreeSet::new(),
            adding: BTreeSet::new(),
            begun: None,
            offsets: VecDeque::new(),
            failed: None,
            needs_epoch: false,
            is_warned: false,
        }
    }

    /// It cannot be committed, and what it was about to do is not done.
    pub(super) fn give_up(&mut self, why: &Error, events: &mut VecDeque<Event>) {
        self.wanted.clear();
        // What is given up has a number, which will be missing.
        self.needs_epoch = true;
        self.failed = Some(why.clone());
        self.refuse_offsets(why, events);
        events.push_back(Event::Failed(why.clone()));
    }

    pub(super) fn refuse_offsets(&mut self, why: &Error, events: &mut VecDeque<Event>) {
        let refused = mem::take(&mut self.offsets).into_iter();
        events.extend(refused.map(|sent| Event::OffsetsSent(sent.id, Err(why.clone()))));
    }

    /// The coordinator may have the transaction open from now on.
    pub(super) fn begin(&mut self, now: Instant) {
        self.begun.get_or_insert(now);
    }
}
