//! Workers whose logs are cut, whose topics are created again, whose offsets an operator sets. Who knows of that when, nobody can say from outside: what is
//! left in the end is judged, by the numbers of the records.
//! Each is handled or dead-lettered, also those that were written where others had been, though a commit, or its metadata, said of those others
//! that they are finished. Excused are records that an operator has the group pass over, and those of a topic that was created again before an
//! offset that was committed by its name, as a member may have meant the former topic.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use crate::{
    check::ledger::Ledger,
    events::{Event, How, Place, What, Who},
};

#[derive(Debug, Default)]
pub(super) struct Cuts {
    commits: BTreeMap<Place, i64>,
    /// What is at a handler.
    running: BTreeMap<(Who, u64, Place, i64), u64>,
    finished: BTreeSet<u64>,
    /// The record last written, and which one has these bytes.
    last: Option<u64>,
    by_digest: BTreeMap<u64, u64>,
    /// Offsets that were set, and when.
    set: BTreeMap<Place, Vec<(Duration, i64)>>,
    /// When each topic was created again last.
    recreated: BTreeMap<Arc<str>, Duration>,
    /// The highest offset that may be meant of a former topic.
    most_of_former: BTreeMap<Place, i64>,
}

/// By then whoever lives has heard of a topic that was created again, or has sent what it meant for the former one.
const HEARD: Duration = Duration::from_secs(20);

impl Cuts {
    pub(super) fn feed(&mut self, event: &Event) {
        match &event.what {
            What::Appended { id, .. } => self.last = Some(*id),
            What::Wrote { digest, .. } => {
                self.by_digest.extend(self.last.map(|id| (*digest, id)));
            }
            What::Committed { at, offset, .. } => {
                self.commits.insert(at.clone(), *offset);
                if self.recreated.get(&at.topic).is_some_and(|since| event.at < *since + HEARD) {
                    self.may_be_of_former(at, *offset);
                }
            }
            What::OffsetSet { at, offset } => {
                self.set.entry(at.clone()).or_default().push((event.at, *offset));
            }
            What::Recreated { topic } => {
                let of_topic = self.commits.iter().filter(|(place, _)| place.topic == *topic);
                let former: Vec<_> = of_topic.map(|(place, offset)| (place.clone(), *offset)).collect();
                former.iter().for_each(|(place, offset)| self.may_be_of_former(place, *offset));
                self.recreated.insert(topic.clone(), event.at);
            }
            What::HandlerBegan { who, call, at, offset, id, .. } => {
                self.running.insert((*who, *call, at.clone(), *offset), *id);
            }
            What::HandlerEnded { who, call, at, offset, how } => {
                let id = self.running.remove(&(*who, *call, at.clone(), *offset));
                self.finished.extend(id.filter(|_| *how == How::Done));
            }
            What::Letter { digest, .. } => self.finished.extend(self.by_digest.get(digest)),
            _ => {}
        }
    }

    fn may_be_of_former(&mut self, place: &Place, offset: i64) {
        let most = self.most_of_former.entry(place.clone()).or_default();
        *most = (*most).max(offset);
    }

    /// As [`Work::left`](super::Work::left).
    pub(super) fn left(&self, ledger: &Ledger) -> Vec<(Place, i64, usize)> {
        let mut left = Vec::new();
        for place in ledger.places() {
            let Some(log) = ledger.log(place) else { continue };
            let committed = self.commits.get(place).copied().unwrap_or_default();
            let set = self.set.get(place).map(Vec::as_slice).unwrap_or_default();
            let most_of_former = self.most_of_former.get(place).copied().unwrap_or_default();
            let is_excused = |offset: i64, since: Duration| {
                offset < most_of_former || set.iter().any(|(at, to)| since <= *at && offset < *to)
            };
            let mut due = log.records.iter().filter(|(offset, record)| {
                let is_finished = self.finished.contains(&record.id) || is_excused(**offset, record.since);
                ledger.is_due(record) && (committed <= **offset || !is_finished)
            });
            if let Some((first, _)) = due.next() {
                left.push((place.clone(), *first, due.count() + 1));
            }
        }
        left
    }
}
