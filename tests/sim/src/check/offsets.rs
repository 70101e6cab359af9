//! [`Offsets`]: a group's state of a partition: which records were processed, what was committed when, and of which log.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::ledger::Log;
use crate::events::Who;

/// A committed offset, from this time on; `None` when the group has none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noted {
    pub(super) at: Duration,
    pub(super) offset: Option<i64>,
    /// The incarnation of the log that it belongs to.
    pub(super) incarnation: usize,
    /// Committed by a member that had lost the partition already, as Kafka allows (see `Ownership::was_taken`), or for a log that had been
    /// cut: the present owner goes on from its own position.
    pub(super) stale: bool,
    /// Committed by name for a former topic: no epoch of it means anything for the topic that has its name now.
    pub(super) of_a_former_topic: bool,
}

impl Noted {
    /// From now on no offset is committed.
    pub(super) fn nothing(at: Duration) -> Self {
        Self { at, offset: None, incarnation: usize::MAX, stale: false, of_a_former_topic: false }
    }
}

/// One offset, committed by one member, perhaps several times, when answers were missing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) who: Who,
    /// How many connections the member had opened or closed at the first time.
    pub(super) connections: u64,
    pub(super) first: Duration,
    pub(super) last: Duration,
    /// The incarnation of the log that it belongs to.
    pub(super) incarnation: usize,
    /// The member had gone wherever it was told to: no earlier commit arrives after this one.
    pub(super) settled: bool,
    /// The member had been told that the topic was created again, and this commit is for the former one.
    pub(super) of_a_topic_known_to_be_gone: bool,
}

/// A position went back for a reason, so a commit sent afterwards may too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rewound {
    pub(super) at: Duration,
    pub(super) to: i64,
}

#[derive(Debug, Default)]
pub(super) struct Offsets {
    /// By the content of the records: another record at the same offset is not processed.
    pub(super) processed: BTreeSet<u64>,
    history: Vec<Noted>,
    pub(super) leader_epoch: i32,
    /// When an application last sought to its kept offset: a commit in flight then says nothing about the epoch used since.
    pub(super) sought_at: Option<Duration>,
    /// SAFE1 was checked up to here.
    pub(super) checked: i64,
    /// Records before this are not due: the policy is `latest`, or Kafka took a commit of a former log for this one.
    pub(super) begin: Option<i64>,
    /// The value of `begin` before an operator set the group back.
    pub(super) set_back: Option<i64>,
    /// The value of `begin` before a member went on, by the topic's name, in a topic that was created again.
    pub(super) passed_by_name: Option<Option<i64>>,
    /// The value of `begin` of the log before each cut.
    pub(super) began: BTreeMap<usize, Option<i64>>,
    /// The commit that was last sent.
    pub(super) last_sent: Option<(Who, i64)>,
    /// For each offset, its commits by the member that sent it last.
    pub(super) sent: BTreeMap<i64, Sent>,
    /// Where an application last sought, by offset alone.
    pub(super) sought: Option<(Who, i64)>,
    /// The committed offset is an application's own, without an epoch: a member that begins there cannot see that the log was cut.
    pub(super) blind: bool,
    pub(super) rewound: Option<Rewound>,
}

impl Offsets {
    pub(super) fn committed(&self) -> Option<i64> {
        self.history.last().and_then(|noted| noted.offset)
    }

    /// The incarnation of the log that the committed offset belongs to.
    pub(super) fn incarnation(&self) -> usize {
        self.history.last().map_or(usize::MAX, |noted| noted.incarnation)
    }

    pub(super) fn is_stale(&self) -> bool {
        self.history.last().is_some_and(|noted| noted.stale)
    }

    /// Whether a member that begins at the committed offset could not see an earlier cut of the log.
    pub(super) fn hides_cuts(&self) -> bool {
        self.blind || self.history.last().is_some_and(|noted| noted.of_a_former_topic)
    }

    /// A member that was not told that the topic was created again goes on in the new one, at an offset of the former one: it does not read
    /// earlier records until it is told.
    pub(super) fn passes_by_name(&mut self, to: i64) {
        self.passed_by_name.get_or_insert(self.begin);
        self.begin = self.begin.max(Some(to));
    }

    /// The member was told: all of the new topic is due.
    pub(super) fn hears_of_the_new_topic(&mut self, to: i64) {
        if let Some(begin) = self.passed_by_name.take() {
            (self.begin, self.checked) = (begin, self.checked.min(to));
        }
    }

    /// An operator set the committed offset: skipped records are not due, and those it goes back to are read again.
    pub(super) fn set(&mut self, at: Duration, offset: i64, log: &Log) {
        let incarnation = log.cuts.len();
        // A committed offset does not cover records written after a cut of the log.
        let stands = self.history.last().and_then(|noted| {
            let cuts = log.cuts.iter().skip(noted.incarnation);
            Some(cuts.fold(noted.offset?, |stands, cut| stands.min(cut.end)))
        });
        let goes_on = stands.is_none_or(|stands| stands < offset);
        if goes_on || self.begin.is_some_and(|begin| offset < begin) {
            self.set_back = self.begin.max(self.set_back).filter(|begin| offset < *begin);
            self.begin = Some(offset);
        }
        self.note(Noted { at, offset: Some(offset), incarnation, stale: false, of_a_former_topic: false });
        // The operator's commit has no epoch.
        (self.leader_epoch, self.checked, self.blind, self.rewound) =
            (-1, self.checked.min(offset), true, None);
    }

    pub(super) fn note(&mut self, noted: Noted) {
        self.history.push(noted);
    }

    /// The group's committed offsets at any time since then.
    pub(super) fn since(&self, since: Duration) -> impl Iterator<Item = Noted> {
        let before = self.history.iter().rposition(|noted| noted.at <= since);
        let nothing = before.is_none().then_some(Noted::nothing(Duration::ZERO));
        nothing.into_iter().chain(self.history.iter().skip(before.unwrap_or(0)).copied())
    }

    /// Whether this offset was noted since then.
    pub(super) fn was_noted(&self, offset: i64, since: Duration) -> bool {
        let late = self.history.iter().rev().take_while(|noted| noted.at >= since);
        late.into_iter().any(|noted| noted.offset == Some(offset))
    }

    /// The highest offset in this member's commits of which none was noted yet.
    pub(super) fn under_way(&self, who: Who) -> Option<i64> {
        let sent = self.sent.iter().filter(|(_, sent)| sent.who == who);
        sent.map(|(offset, sent)| (*offset, sent.last))
            .filter(|(offset, last)| !self.was_noted(*offset, *last))
            .map(|(offset, _)| offset)
            .max()
    }

    /// A member goes back, for a reason.
    pub(super) fn goes_back(&mut self, at: Duration, to: i64) {
        let to = self.rewound.map_or(to, |rewound| rewound.to.min(to));
        self.rewound = Some(Rewound { at, to });
    }

    /// Whether a member sent this offset before the other, and closed its connection in between. The bytes in that connection's buffers may
    /// still arrive, after those of the next connection; a coordinator accepts both commits alike.
    pub(super) fn was_given_up(&self, offset: i64, newer: i64) -> bool {
        let (older, newer) = (self.sent.get(&offset), self.sent.get(&newer));
        older.zip(newer).is_some_and(|(older, newer)| {
            older.who == newer.who && older.connections < newer.connections && older.last <= newer.first
        })
    }
}
