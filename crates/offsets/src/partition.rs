//! One assigned partition: its phase, and its finished and committed positions.

use std::time::{Duration, Instant};

use offtake_machine::{OffsetSpec, Position, Token};
use offtake_wire::Uuid;

use crate::{ResetReason, config::StartPlace, retry::Retry};

/// Positions that are out of range this soon after one another are the broker's fault: a correct one reports
/// where its log begins and ends, and a log is not deleted as fast as it is read (FAILURES INPUT39).
const SOON_OUT_OF_RANGE: Duration = Duration::from_secs(10);

/// A partition while it is assigned.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) token: Token,
    /// The id of its topic, if known. Another topic may have the name by now.
    pub(crate) topic_id: Option<Uuid>,
    /// Whether the group assigned the partition by that id (KIP-848). Then it never becomes another topic's.
    pub(crate) is_by_id: bool,
    /// Where to start without a committed offset, if that was requested while the topic's id was not known:
    /// the response may concern a topic that had the name before.
    pub(crate) asked_by_name: Option<StartPlace>,
    /// Tokens from before this seek belong to a log that no longer exists.
    pub(crate) first_seek_of_log: u64,
    pub(crate) phase: Phase,
    /// All records before it are finished: the position that may be committed.
    pub(crate) finished: Option<Position>,
    /// Whether it is about to be unassigned: what is finished so far is in no later commit.
    pub(crate) is_given_up: bool,
    /// The position after a move back, until the caller has confirmed the move: nothing beyond it is
    /// finished.
    pub(crate) rewound: Option<Position>,
    /// How often it was moved back.
    pub(crate) rewinds: u32,
    /// The committed position, as far as known.
    pub(crate) committed: Option<Position>,
    /// Whether it was reported that automatic commits are refused, and none has succeeded since.
    pub(crate) refused: bool,
    /// How many automatic commits in a row have failed.
    pub(crate) commit_failures: u32,
    /// The position at which it was last passed to `fetch`.
    pub(crate) started: Option<Position>,
    /// The position at which `fetch` last returned it.
    returned: Option<Position>,
    /// How often in a row `fetch` returned it at the position where it started.
    pub(crate) no_progress_count: u32,
    /// The committed offset at which it was to start, when that was answered, and where to start without one. If the topic was created again, and
    /// the metadata did not show it yet, it is an offset of the new log.
    pub(crate) loaded: Option<Loaded>,
    /// Where a reset has moved it, and when: if the topic was created again, and the metadata did not show it yet, the leader listed an offset of
    /// the new log. Once they do, and the old log is discarded, it is the first offset that is not finished since.
    pub(crate) reset_to: Option<(i64, Instant)>,
    /// When its position was last out of range, and how often in a row that happened soon after the previous
    /// time.
    out_of_range: Option<(Instant, u32)>,
}

/// A committed offset as the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loaded {
    pub(crate) offset: i64,
    pub(crate) at: Instant,
    pub(crate) otherwise: StartPlace,
}

/// The phase of a partition.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Its start offset is being looked up.
    ResolvingPosition(Box<Resolving>),
    /// `fetch` owns it.
    Fetching,
    /// Only the application can decide where to continue.
    Stopped,
}

/// The lookup of a start offset.
#[derive(Debug)]
pub(crate) struct Resolving {
    pub(crate) lookup: Lookup,
    /// Whether this start is the first since the assignment or a seek. Then it also sets the finished position.
    pub(crate) fresh: bool,
    /// Why `auto.offset.reset` decides, if it does, and the position that could not be used.
    pub(crate) reset: Option<(ResetReason, Option<i64>)>,
    /// Whether a failure was reported to the application.
    pub(crate) is_reported: bool,
    pub(crate) retry: Retry,
}

/// The next lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// The committed offset; and where to start without one.
    Committed { otherwise: StartPlace },
    /// An offset that the leader lists.
    Listed { spec: OffsetSpec, then: AfterListing },
    /// Whether the leader's log contains this position (KIP-320).
    Validation { position: Position },
}

/// What to do with a listed offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterListing {
    /// Start there.
    Start,
    /// Start this many offsets before it, if there are as many.
    StartBefore(u64),
    /// Start there, or at this offset if that is earlier.
    StartAtMost(i64),
    /// It is the first offset: start there or at `offset` (`records` before the end), whichever is later.
    StartAtLeast { offset: i64, records: u64 },
}

impl Lookup {
    /// The lookup to do for a new log: without anything learnt from the old one.
    pub(crate) fn in_another_log(self) -> Self {
        match self {
            Self::Listed { then: AfterListing::StartAtLeast { records, .. }, .. } => {
                Self::Listed { spec: OffsetSpec::Latest, then: AfterListing::StartBefore(records) }
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
            asked_by_name: None,
            first_seek_of_log: 0,
            phase: Phase::Stopped,
            finished: None,
            is_given_up: false,
            rewound: None,
            rewinds: 0,
            committed: None,
            refused: false,
            commit_failures: 0,
            started: None,
            returned: None,
            no_progress_count: 0,
            loaded: None,
            reset_to: None,
            out_of_range: None,
        }
    }

    /// Whether records under this token belong to the current log. That is enough for a commit.
    pub(crate) fn is_of_this_log(&self, token: Token) -> bool {
        self.token.same_assignment(token) && token.seek >= self.first_seek_of_log
    }

    /// The topic was deleted and created again: records under the current token or an earlier one belong to a
    /// log that no longer exists. Its finished position is forgotten, and the committed offset of the new log
    /// is not known.
    pub(crate) fn discard_old_log(&mut self) {
        self.first_seek_of_log = self.token.seek.saturating_add(1);
        let finished = self.finished.take().map(|finished| finished.offset);
        if let (Some((to, _)), Some(finished)) = (&mut self.reset_to, finished) {
            *to = finished.max(*to);
        }
        self.committed = None;
        self.rewound = None;
        self.refused = false;
        self.commit_failures = 0;
    }

    pub(crate) fn resolving(&self) -> Option<&Resolving> {
        match &self.phase {
            Phase::ResolvingPosition(waiting) => Some(waiting),
            Phase::Fetching | Phase::Stopped => None,
        }
    }

    /// Whether the start in the new log of its topic is still being looked up: any offset that the
    /// application names before it is notified belongs to the log that no longer exists.
    pub(crate) fn is_between_logs(&self) -> bool {
        let reset = self.resolving().and_then(|waiting| waiting.reset);
        reset.is_some_and(|(reason, _)| reason == ResetReason::TopicRecreated)
    }

    pub(crate) fn resolving_mut(&mut self) -> Option<&mut Resolving> {
        match &mut self.phase {
            Phase::ResolvingPosition(waiting) => Some(waiting),
            Phase::Fetching | Phase::Stopped => None,
        }
    }

    /// `fetch` returns the partition at `position`: counts how often that is where it started.
    pub(crate) fn returned_at(&mut self, position: Position) {
        self.no_progress_count =
            if self.started == Some(position) { self.no_progress_count.saturating_add(1) } else { 0 };
        self.returned = Some(position);
    }

    /// Its position is out of range. Returns how often in a row that has happened within
    /// [`SOON_OUT_OF_RANGE`] of the previous time.
    pub(crate) fn out_of_range_again(&mut self, now: Instant) -> u32 {
        let times = match self.out_of_range {
            Some((last, times)) if now.saturating_duration_since(last) < SOON_OUT_OF_RANGE => {
                times.saturating_add(1)
            }
            _ => 0,
        };
        self.out_of_range = Some((now, times));
        times
    }

    /// The partition is passed to `fetch` at `position`.
    pub(crate) fn mark_started(&mut self, position: Position) {
        self.phase = Phase::Fetching;
        self.started = Some(position);
        // Whatever id the topic turns out to have, reading continues from here.
        self.asked_by_name = None;
    }

    /// It starts for the first time since the assignment or a seek: records before that were not requested,
    /// so they count as finished.
    pub(crate) fn starts_at(&mut self, position: Position) {
        self.mark_started(position);
        self.finished = Some(position);
        self.rewound = None;
    }

    /// It continues at `position`, which may differ from the one at which `fetch` returned it.
    pub(crate) fn continue_at(&mut self, position: Position) {
        self.mark_started(position);
        let (before, finished) = (self.returned.map(|at| at.offset), self.finished.map(|at| at.offset));
        if before.is_some_and(|before| position.offset < before) {
            // Beyond it the caller has records of a log that is gone, or that will be redelivered, and may
            // still report them as finished.
            self.rewinds = self.rewinds.wrapping_add(1);
            self.rewound = Some(
                self.rewound.map_or(position, |to| if to.offset < position.offset { to } else { position }),
            );
        }
        let nothing_is_open = finished.is_some() && finished == before;
        if finished.is_some_and(|finished| {
            finished > position.offset || nothing_is_open && finished < position.offset
        }) {
            // Records in between no longer exist, or were not requested.
            self.finished = Some(position);
        }
    }

    /// Whether the finished position is not committed.
    pub(crate) fn is_uncommitted(&self) -> bool {
        match (self.finished, self.committed) {
            _ if self.is_given_up => false,
            (None, _) => false,
            (Some(_), None) => true,
            (Some(done), Some(had)) => {
                // An unknown epoch does not count as a difference (FAILURES H10).
                done.offset != had.offset
                    || (done.epoch.is_some() && had.epoch.is_some() && done.epoch != had.epoch)
            }
        }
    }
}
