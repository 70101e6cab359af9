//! What is remembered of a partition: by the group, and by a member that reads it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::events::Who;

/// What the group has of a partition.
#[derive(Debug, Default)]
pub(super) struct Of {
    pub(super) processed: BTreeSet<i64>,
    pub(super) committed: Option<i64>,
    pub(super) leader_epoch: i32,
    /// Up to here S1 was checked.
    pub(super) checked: i64,
    /// What lies before this was not to be read (`latest`).
    pub(super) begin: Option<i64>,
    /// The commit that was last on its way.
    pub(super) sent: Option<(Who, i64)>,
    /// The commits of each offset by who sent it last.
    pub(super) sent_after: BTreeMap<i64, Sent>,
    /// Where an application last sought, by the offset alone.
    pub(super) sought: Option<(Who, i64)>,
    /// The committed offset is an application's own, without an epoch: who begins there cannot see that the log was cut.
    pub(super) blind: bool,
    /// A position went back for a reason: so may the next commit.
    pub(super) rewound: bool,
}

/// One offset, committed by one member: perhaps several times, when answers did not come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) who: Who,
    /// How often it had dialled the first time.
    pub(super) dials: u64,
    pub(super) first: Duration,
    pub(super) last: Duration,
}

/// What a member knows of a partition that it was given.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) held: bool,
    /// What was committed when it was given the partition.
    pub(super) found: Option<i64>,
    /// Where it was told to go on.
    pub(super) told: Option<i64>,
    /// The last it was handed.
    pub(super) last: Option<i64>,
    /// The last it was handed before it was told to go back: what was fetched until then still comes first.
    pub(super) stale: Option<i64>,
    /// Where it was told to go back to before it was handed anything from there on: what was fetched until then comes first,
    /// and cannot be told from what comes again.
    pub(super) again: Option<i64>,
    /// What it was told to leave out, as the policy has it.
    pub(super) skips: Vec<(i64, i64)>,
}

impl Of {
    /// Whether a member sent this offset before the other, and gave its connection up meanwhile. What lies in that one's
    /// buffers may still arrive, and after what took another way; one commit is like the other to a coordinator.
    pub(super) fn was_given_up(&self, offset: i64, newer: i64) -> bool {
        let (older, newer) = (self.sent_after.get(&offset), self.sent_after.get(&newer));
        older.zip(newer).is_some_and(|(older, newer)| {
            older.who == newer.who && older.dials < newer.dials && older.last <= newer.first
        })
    }
}
