//! One assigned partition: whose hand it is in, and how far it is done.

use offtake_machine::{Position, Token};
use offtake_wire::Uuid;

use crate::{ListSpec, Place, ResetReason, retry::Retry};

/// A partition for as long as it is assigned.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) token: Token,
    /// The topic whose log this is, if its id is known: not always the one that has its name now.
    pub(crate) topic_id: Option<Uuid>,
    /// Whether the group gave the partition by that id (KIP-848): then it is never another topic's.
    pub(crate) is_by_id: bool,
    /// Tokens before this seek are of a log that is gone.
    pub(crate) first_seek_of_log: u64,
    pub(crate) phase: Phase,
    /// All below is done; what may be committed.
    pub(crate) finished: Option<Position>,
    /// Whether the cluster has moved us back, and whoever reports what is finished does not know it yet.
    pub(crate) rewound: bool,
    /// What the group has, as far as we know.
    pub(crate) committed: Option<Position>,
    /// Whether it was told that automatic commits are refused, and none has committed since.
    pub(crate) refused: bool,
    /// How many automatic commits in a row came to nothing.
    pub(crate) commit_failures: u32,
    /// Where it was last handed to `fetch`.
    pub(crate) started: Option<Position>,
    /// How often in a row it came back from `fetch` exactly as it went.
    pub(crate) no_progress_count: u32,
}

/// Where a partition stands.
#[derive(Debug)]
pub(crate) enum Phase {
    /// It is being found out where it begins.
    ResolvingPosition(Box<Resolving>),
    /// `fetch` has it.
    Fetching,
    /// Only the application can say where to go on.
    Stopped,
}

/// A partition that has no start offset yet.
#[derive(Debug)]
pub(crate) struct Resolving {
    pub(crate) lookup: Lookup,
    /// Whether this start is the first since the assignment or a seek: then it also says what is finished.
    pub(crate) fresh: bool,
    /// Why the policy is at work, if it is, and the position that was of no use.
    pub(crate) reset: Option<(ResetReason, Option<i64>)>,
    /// Whether the application knows that something is wrong.
    pub(crate) is_reported: bool,
    pub(crate) retry: Retry,
}

/// What has to be known next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// What the group has committed; and where to begin if that is nothing.
    Committed { otherwise: Place },
    /// An offset that the leader lists.
    Listed { spec: ListSpec, then: AfterListing },
    /// Whether the leader's log agrees with this position (KIP-320).
    Validation { position: Position },
}

/// What to do with a listed offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterListing {
    /// Begin there.
    Start,
    /// Begin so many before it, if there are as many.
    StartBefore(u64),
    /// It is the first one: begin there or at `offset`, whichever is later, which is so many `records` before the end.
    StartAtLeast { offset: i64, records: u64 },
}

impl Lookup {
    /// What has to be known instead, where the log is another: nothing that the old one has told.
    pub(crate) fn in_another_log(self) -> Self {
        match self {
            Self::Listed { then: AfterListing::StartAtLeast { records, .. }, .. } => {
                Self::Listed { spec: ListSpec::Latest, then: AfterListing::StartBefore(records) }
            }
            other => other,
        }
    }
}

impl Partition {
    pub(crate) fn new(token: Token, topic_id: Option<Uuid>, is_by_id: bool) -> Self {
        Self {
            token,
            topic_id,
            is_by_id,
            first_seek_of_log: 0,
            phase: Phase::Stopped,
            finished: None,
            rewound: false,
            committed: None,
            refused: false,
            commit_failures: 0,
            started: None,
            no_progress_count: 0,
        }
    }

    /// Whether what bears this token was read of the log that the partition is now: enough for a commit.
    pub(crate) fn is_of_this_log(&self, token: Token) -> bool {
        self.token.same_assignment(token) && token.seek >= self.first_seek_of_log
    }

    /// The topic was deleted and created again: whatever bears a token of now or before is of a log that is gone. Nothing of
    /// it is finished any more, and what the group has committed of the new one is not known.
    pub(crate) fn discard_old_log(&mut self) {
        self.first_seek_of_log = self.token.seek.saturating_add(1);
        self.finished = None;
        self.committed = None;
        self.rewound = false;
        self.refused = false;
        self.commit_failures = 0;
    }

    pub(crate) fn resolving(&self) -> Option<&Resolving> {
        match &self.phase {
            Phase::ResolvingPosition(waiting) => Some(waiting),
            Phase::Fetching | Phase::Stopped => None,
        }
    }

    pub(crate) fn resolving_mut(&mut self) -> Option<&mut Resolving> {
        match &mut self.phase {
            Phase::ResolvingPosition(waiting) => Some(waiting),
            Phase::Fetching | Phase::Stopped => None,
        }
    }

    /// The position of a flowing partition that `fetch` gives back counts its steps on the spot.
    pub(crate) fn returned_at(&mut self, position: Position) {
        self.no_progress_count =
            if self.started == Some(position) { self.no_progress_count.saturating_add(1) } else { 0 };
    }

    /// Handed to `fetch` at `position`.
    pub(crate) fn mark_started(&mut self, position: Position, fresh: bool) {
        self.phase = Phase::Fetching;
        self.started = Some(position);
        if fresh {
            // All that lies before it is none of our business: neither was it asked for, nor will it be read.
            self.finished = Some(position);
            self.rewound = false;
        } else if self.finished.is_some_and(|finished| finished.offset > position.offset) {
            self.finished = Some(position);
            self.rewound = true;
        }
    }

    /// Whether something is finished that the group does not have from us.
    pub(crate) fn is_uncommitted(&self) -> bool {
        match (self.finished, self.committed) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(done), Some(had)) => {
                // An unknown epoch is no news (FAILURES H10).
                done.offset != had.offset
                    || (done.epoch.is_some() && had.epoch.is_some() && done.epoch != had.epoch)
            }
        }
    }
}
