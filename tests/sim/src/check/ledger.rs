//! What the logs hold, by the word of those who wrote them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use crate::{
    events::{Event, Place, What},
    plan::Plan,
};

#[derive(Debug)]
pub(super) struct Record {
    pub(super) id: u64,
    /// 0: outside of any.
    pub(super) transaction: u64,
    /// Compacted away, deleted by retention.
    pub(super) gone: bool,
}

#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) records: BTreeMap<i64, Record>,
    /// The first offset that is there.
    pub(super) start: i64,
    /// What was there and is no more may still be on its way to a reader.
    pub(super) former: BTreeMap<i64, Vec<u64>>,
    /// It was cut or replaced at some time: offsets do not say all.
    pub(super) rewritten: bool,
    pub(super) recreated: bool,
    /// It came into being after the group.
    pub(super) born_late: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Ledger {
    logs: BTreeMap<Place, Log>,
    /// Partitions that a topic had before it was created again with fewer: what was read of them may still be handed out.
    departed: BTreeMap<Place, Log>,
    outcomes: BTreeMap<u64, bool>,
    /// Those that the topics are created with.
    born: BTreeSet<Place>,
    recreated: BTreeSet<Arc<str>>,
}

impl Ledger {
    pub(super) fn new(plan: &Plan) -> Self {
        let places =
            plan.topics.iter().flat_map(|topic| (0..topic.partitions).map(|n| Place::new(&topic.name, n)));
        let born: BTreeSet<Place> = places.collect();
        let logs = born.iter().map(|place| (place.clone(), Log::default())).collect();
        Self { logs, departed: BTreeMap::new(), outcomes: BTreeMap::new(), born, recreated: BTreeSet::new() }
    }

    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        self.logs.keys()
    }

    pub(super) fn log(&self, place: &Place) -> Option<&Log> {
        self.logs.get(place).or_else(|| self.departed.get(place))
    }

    /// Whether a transaction committed; `None` while it is open.
    pub(super) fn outcome(&self, transaction: u64) -> Option<bool> {
        if transaction == 0 { Some(true) } else { self.outcomes.get(&transaction).copied() }
    }

    /// Whether every group has to process this record in the end.
    pub(super) fn is_due(&self, record: &Record) -> bool {
        !record.gone && self.outcome(record.transaction) == Some(true)
    }

    pub(super) fn feed(&mut self, event: &Event) {
        match &event.what {
            What::Appended { at, offset, id, transaction } => {
                let log = self.logs.entry(at.clone()).or_default();
                let record = Record { id: *id, transaction: *transaction, gone: false };
                log.records.insert(*offset, record);
            }
            What::Ended { transaction, committed } => {
                self.outcomes.insert(*transaction, *committed);
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
            What::Truncated { at, end } => {
                if let Some(log) = self.logs.get_mut(at) {
                    for (offset, record) in log.records.split_off(end) {
                        log.former.entry(offset).or_default().push(record.id);
                    }
                    log.rewritten = true;
                    // With the end of the log the marker of the transaction that it ends with may be gone: whatever its
                    // producer ends next then ends it too, well or not.
                    let last = log.records.values().next_back().map_or(0, |record| record.transaction);
                    if self.outcomes.contains_key(&last) {
                        let unsure = log.records.values_mut().filter(|record| record.transaction == last);
                        unsure.for_each(|record| (record.gone, record.transaction) = (true, 0));
                    }
                }
            }
            What::Recreated { topic } => {
                self.recreated.insert(topic.clone());
                for (place, log) in self.logs.iter_mut().filter(|(place, _)| place.topic == *topic) {
                    for (offset, record) in std::mem::take(&mut log.records) {
                        log.former.entry(offset).or_default().push(record.id);
                    }
                    (log.start, log.rewritten, log.recreated) = (0, true, true);
                    if !self.born.contains(place) {
                        self.departed.insert(place.clone(), std::mem::take(log));
                    }
                }
                let born = &self.born;
                self.logs.retain(|place, _| place.topic != *topic || born.contains(place));
            }
            What::Grown { topic, partitions } => {
                for number in 0..*partitions {
                    // Of a topic that was there before under this name, commits may be left.
                    let again = self.recreated.contains(topic);
                    let place = Place::new(topic, number);
                    let before = self.departed.remove(&place).unwrap_or_default();
                    let late =
                        Log { born_late: Some(event.at), rewritten: again, recreated: again, ..before };
                    self.logs.entry(place).or_insert(late);
                }
            }
            _ => {}
        }
    }
}
