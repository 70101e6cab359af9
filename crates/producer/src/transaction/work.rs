//! The work of one transaction: what it has done and what remains.

use std::{
    collections::{BTreeSet, VecDeque},
    mem,
    time::Instant,
};

use offtake_client::Error;
use offtake_machine::{GroupOffsets, TopicPartition};

use super::machine::Event;

/// The protocol by which the coordinator learns of the partitions and groups that a transaction writes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// They are announced first (AddPartitionsToTxn, AddOffsetsToTxn), and an epoch may have many transactions (KIP-98).
    #[default]
    Announced,
    /// The broker that is written to reports them, and each transaction has its own epoch (KIP-890).
    EpochPerTransaction,
}

/// A transaction that is open or ending.
#[derive(Debug)]
pub(super) struct Work {
    /// Partitions to be announced to the coordinator.
    pub(super) wanted: BTreeSet<TopicPartition>,
    /// Partitions in an announcement whose outcome is unknown. They may have been added.
    pub(super) adding: BTreeSet<TopicPartition>,
    /// Since when the coordinator may have opened the transaction. `None`: it has not.
    pub(super) begun: Option<Instant>,
    /// Offsets to be committed with it, in the order of the calls.
    pub(super) offsets: VecDeque<SentOffsets>,
    /// Why it cannot be committed.
    pub(super) failed: Option<Error>,
    /// Whether the next transaction needs a new epoch, so that late requests of this one cannot affect it.
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
    /// Since when every response reports that a topic of these offsets does not exist.
    pub(super) missing_since: Option<Instant>,
    /// The last error of the group's coordinator.
    pub(super) last_error: Option<String>,
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

    /// Gives the transaction up: it cannot be committed, and its outstanding work is dropped.
    pub(super) fn give_up(&mut self, why: &Error, events: &mut VecDeque<Event>) {
        self.wanted.clear();
        // A record that is given up leaves a gap in the sequences.
        self.needs_epoch = true;
        self.failed = Some(why.clone());
        self.refuse_offsets(why, events);
        events.push_back(Event::Failed(why.clone()));
    }

    pub(super) fn refuse_offsets(&mut self, why: &Error, events: &mut VecDeque<Event>) {
        let refused = mem::take(&mut self.offsets).into_iter();
        events.extend(refused.map(|sent| Event::OffsetsSent(sent.id, Err(why.clone()))));
    }

    /// Notes that the coordinator may have opened the transaction.
    pub(super) fn begin(&mut self, now: Instant) {
        self.begun.get_or_insert(now);
    }
}
