//! The contents of the logs, as reported by their writers, and when each log became another.
//!
//! A log lives through incarnations: every truncation and every recreation of its topic is a [`Cut`], and everything beyond the cut is
//! another log. A rule that excuses something because of a cut names the cut, and excuses only what was read, or sent, before its reader
//! knew of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use crate::{
    events::{Event, Place, What},
    plan::{self, Plan},
};

#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) id: u64,
    /// 0: not in a transaction.
    pub(super) transaction: u64,
    /// Compacted away, or deleted by retention.
    pub(super) gone: bool,
    /// When it was written.
    pub(super) since: Duration,
}

/// A record that a cut removed.
#[derive(Debug)]
pub(super) struct Former {
    pub(super) record: Record,
    /// Which of the log's cuts removed it.
    pub(super) cut: usize,
}

/// From `end` on the log has been another since then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) at: Duration,
    /// The end of the log before the cut.
    pub(super) from: i64,
    pub(super) end: i64,
    /// The leader epoch that the cut began.
    pub(super) epoch: i32,
    /// The topic was deleted and created again; otherwise the log was truncated.
    pub(super) recreated: bool,
}

#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) records: BTreeMap<i64, Record>,
    /// The first offset in the log.
    pub(super) start: i64,
    /// Removed records, which may still be on their way to a reader.
    pub(super) former: BTreeMap<i64, Vec<Former>>,
    pub(super) cuts: Vec<Cut>,
    /// When it was created, if that was after the group.
    pub(super) born_late: Option<Duration>,
}

impl Cut {
    /// Whether a reader at this position has to move: an offset of another topic means nothing here, not even the first.
    pub(super) fn concerns(&self, position: i64) -> bool {
        self.recreated || self.end < position
    }
}

impl Log {
    /// The number of cuts before this time.
    pub(super) fn cuts_before(&self, at: Duration) -> usize {
        self.cuts.iter().take_while(|cut| cut.at < at).count()
    }

    /// The cuts that move a reader away from `position`.
    pub(super) fn cuts_below(&self, position: i64) -> impl Iterator<Item = (usize, &Cut)> {
        self.cuts.iter().enumerate().filter(move |(_, cut)| cut.concerns(position))
    }

    /// The offset after its last record.
    pub(super) fn end(&self) -> i64 {
        self.records.keys().next_back().map_or(self.start, |last| last + 1)
    }

    /// A record that was removed.
    pub(super) fn former(&self, offset: i64, id: u64) -> Option<&Former> {
        self.former.get(&offset)?.iter().find(|former| former.record.id == id)
    }

    fn cut(&mut self, cut: Cut) {
        let number = self.cuts.len();
        for (offset, record) in self.records.split_off(&cut.end) {
            self.former.entry(offset).or_default().push(Former { record, cut: number });
        }
        self.cuts.push(cut);
    }

    /// The topic was deleted, and perhaps created again.
    fn cut_whole(&mut self, at: Duration) {
        self.cut(Cut { at, from: self.end(), end: 0, epoch: 0, recreated: true });
    }

    /// The incarnation of a position with this leader epoch (KIP-320): the one before the first cut below it that began a newer epoch.
    /// Epochs of another topic of that name do not count: only the topic of incarnation `about` does.
    pub(super) fn incarnation_of(&self, offset: i64, epoch: i32, about: usize) -> usize {
        let recreated = |cuts: &[Cut]| cuts.iter().rposition(|cut| cut.recreated);
        let (before, since) = self.cuts.split_at(about.min(self.cuts.len()));
        let first = recreated(before).map_or(0, |last| last + 1);
        let end =
            since.iter().position(|cut| cut.recreated).map_or(self.cuts.len(), |next| before.len() + next);
        let is_newer = |cut: &usize| self.cuts[*cut].concerns(offset) && epoch < self.cuts[*cut].epoch;
        (first..end).find(is_newer).unwrap_or(end)
    }

    /// The content of `from..to` after this many cuts.
    fn incarnation(&self, from: i64, to: i64, cuts: usize) -> impl Iterator<Item = (i64, &Record)> {
        let until = self.cuts.get(cuts).map(|cut| cut.at);
        let existed = move |record: &Record| until.is_none_or(|until| record.since <= until);
        let now = self.records.range(from..to.max(from)).map(|(offset, record)| (*offset, record));
        let former = self.former.range(from..to.max(from)).flat_map(move |(offset, all)| {
            all.iter().filter(move |former| former.cut >= cuts).map(|former| (*offset, &former.record))
        });
        now.chain(former).filter(move |(_, record)| existed(record))
    }
}

#[derive(Debug)]
pub(super) struct Ledger {
    logs: BTreeMap<Place, Log>,
    /// Partitions that a topic had before it was created again with fewer, or was deleted: records read from them may still be handed out.
    departed: BTreeMap<Place, Log>,
    /// Whether each transaction that has ended committed, and when it ended.
    outcomes: BTreeMap<u64, (bool, Duration)>,
    /// When each topic was deleted, and perhaps created again.
    deletions: BTreeMap<Arc<str>, Vec<Duration>>,
    /// The partitions with which the topics are created.
    born: BTreeSet<Place>,
}

impl Ledger {
    pub(super) fn new(plan: &Plan) -> Self {
        let places =
            plan.topics.iter().flat_map(|topic| (0..topic.partitions).map(|n| Place::new(&topic.name, n)));
        let retries = plan.work.iter().flat_map(plan::Work::retry_partitions);
        let retries = retries.map(|(name, number)| Place::new(&name, number));
        let born: BTreeSet<Place> = places.chain(retries).collect();
        let logs = born.iter().map(|place| (place.clone(), Log::default())).collect();
        let (departed, outcomes, deletions) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { logs, departed, outcomes, deletions, born }
    }

    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        self.logs.keys()
    }

    pub(super) fn log(&self, place: &Place) -> Option<&Log> {
        self.logs.get(place).or_else(|| self.departed.get(place))
    }

    /// Whether a transaction committed; `None` while it is open.
    pub(super) fn outcome(&self, transaction: u64) -> Option<bool> {
        if transaction == 0 {
            Some(true)
        } else {
            self.outcomes.get(&transaction).map(|(committed, _)| *committed)
        }
    }

    /// Whether a transaction had ended before this time.
    pub(super) fn had_ended(&self, transaction: u64, before: Duration) -> bool {
        transaction == 0 || self.outcomes.get(&transaction).is_some_and(|(_, at)| *at < before)
    }

    /// Whether every group has to process this record eventually.
    pub(super) fn is_due(&self, record: &Record) -> bool {
        !record.gone && self.outcome(record.transaction) == Some(true)
    }

    /// The first record in `from..to` that a reader may not skip, in the log after this many cuts.
    pub(super) fn first_unskippable(
        &self,
        log: &Log,
        (from, to): (i64, i64),
        cuts: usize,
        read_committed: bool,
    ) -> Option<i64> {
        let passes_over = |record: &Record| {
            record.gone || (read_committed && self.outcome(record.transaction) == Some(false))
        };
        log.incarnation(from, to, cuts)
            .filter(|(_, record)| !passes_over(record))
            .map(|(offset, _)| offset)
            .min()
    }

    /// Whether any record in `from..to` has to be processed, in the log after this many cuts.
    pub(super) fn any_due(&self, log: &Log, (from, to): (i64, i64), cuts: usize) -> bool {
        log.incarnation(from, to, cuts).any(|(_, record)| self.is_due(record))
    }

    pub(super) fn feed(&mut self, event: &Event) {
        match &event.what {
            What::Appended { at, offset, id, transaction } => {
                let log = self.logs.entry(at.clone()).or_default();
                let record = Record { id: *id, transaction: *transaction, gone: false, since: event.at };
                log.records.insert(*offset, record);
            }
            What::Ended { transaction, committed } => {
                self.outcomes.insert(*transaction, (*committed, event.at));
            }
            What::Compacted { at, offset } => {
                if let Some(record) = self.logs.get_mut(at).and_then(|log| log.records.get_mut(offset)) {
                    record.gone = true;
                }
            }
            What::StartMoved { at, start } => {
                if let Some(log) = self.logs.get_mut(at) {
                    log.start = (*start).max(log.start);
                    log.records.range_mut(..*start).for_each(|(_, record)| record.gone = true);
                }
            }
            What::Truncated { at, from, end, epoch } => {
                if let Some(log) = self.logs.get_mut(at) {
                    log.cut(Cut { at: event.at, from: *from, end: *end, epoch: *epoch, recreated: false });
                    // The cut may also remove the marker of the transaction that the log ends with: the next end of a transaction by that
                    // producer then ends this one too, whether by commit or abort.
                    let last = log.records.values().next_back().map_or(0, |record| record.transaction);
                    if self.outcomes.contains_key(&last) {
                        let unsure = log.records.values_mut().filter(|record| record.transaction == last);
                        unsure.for_each(|record| (record.gone, record.transaction) = (true, 0));
                    }
                }
            }
            What::Recreated { topic } => {
                self.deletions.entry(topic.clone()).or_default().push(event.at);
                for (place, log) in self.logs.iter_mut().filter(|(place, _)| place.topic == *topic) {
                    log.cut_whole(event.at);
                    log.start = 0;
                    if !self.born.contains(place) {
                        self.departed.insert(place.clone(), std::mem::take(log));
                    }
                }
                let born = &self.born;
                self.logs.retain(|place, _| place.topic != *topic || born.contains(place));
            }
            What::Deleted { topic } => self.delete(event.at, topic),
            What::Grown { topic, partitions } => {
                for number in 0..*partitions {
                    let place = Place::new(topic, number);
                    if self.logs.contains_key(&place) {
                        continue;
                    }
                    let mut log = self.departed.remove(&place).unwrap_or_default();
                    log.born_late = Some(event.at);
                    // A member that knows a former topic of that name takes this partition for one of that.
                    let last = log.cuts.last().map_or(Duration::ZERO, |cut| cut.at);
                    let missed = self.deletions.get(topic).into_iter().flatten().filter(|at| **at > last);
                    missed.for_each(|at| log.cut_whole(*at));
                    self.logs.insert(place, log);
                }
            }
            _ => {}
        }
    }

    /// The topic is gone for good: none of its records is due, and records read from it may still be handed out.
    fn delete(&mut self, at: Duration, topic: &Arc<str>) {
        self.deletions.entry(topic.clone()).or_default().push(at);
        for (place, log) in self.logs.iter_mut().filter(|(place, _)| place.topic == *topic) {
            log.cut_whole(at);
            self.departed.insert(place.clone(), std::mem::take(log));
        }
        self.logs.retain(|place, _| place.topic != *topic);
    }
}
