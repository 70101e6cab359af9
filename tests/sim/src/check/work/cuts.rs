//! Workers whose logs are cut, whose topics are created again, whose offsets an operator sets. From outside one cannot tell who knows of
//! that when, so the result is checked at the end, by the numbers of the records. Each record is handled or dead-lettered, even if it was
//! written at the offset of a former one that a commit, or its metadata, marks as finished. And no two handlers of one worker are at one
//! lane at a time, whatever happened to its log meanwhile. Excused are records that an operator has the group skip, and those of a topic
//! that was created again below an offset committed by name, as the member may have meant the former topic. An operator's commit has no
//! leader epoch: a member that begins there cannot see that the log was cut since.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::WorkScene;
use crate::{
    check::{Complaints, ledger::Ledger},
    events::{Event, How, Place, What, Who},
    plan::Order,
};

#[derive(Debug, Default)]
pub(super) struct Cuts {
    commits: BTreeMap<Place, i64>,
    /// The records at handlers.
    running: BTreeMap<(Who, u64, Place, i64), u64>,
    finished: BTreeSet<u64>,
    /// The record last written at each place; below, which record has these bytes, and the key of each.
    written: BTreeMap<(Place, i64), u64>,
    by_digest: BTreeMap<u64, u64>,
    keys: BTreeMap<u64, String>,
    /// Offsets that were set, and when.
    set: BTreeMap<Place, Vec<(Duration, i64)>>,
    /// The committed offset where no member has committed since, and whether the log was cut below it.
    blind: BTreeMap<Place, (i64, bool)>,
    /// When each topic was last created again.
    recreated: BTreeMap<Arc<str>, Duration>,
    /// The highest offset that may be meant for a former topic.
    most_of_former: BTreeMap<Place, i64>,
}

/// By then every live member knows that a topic was created again, and has sent its last commits for the former one.
const HEARD: Duration = Duration::from_secs(20);

impl Cuts {
    pub(super) fn feed(&mut self, scene: WorkScene<'_>, event: &Event, complaints: &mut Complaints) {
        match &event.what {
            What::Appended { at, offset, id, .. } => {
                self.written.insert((at.clone(), *offset), *id);
            }
            What::Wrote { at, offset, digest, key } => {
                let id = self.written.get(&(at.clone(), *offset)).copied();
                self.by_digest.extend(id.map(|id| (*digest, id)));
                self.keys.extend(id.zip(key.clone()));
            }
            What::Committed { member, at, offset, .. } => {
                self.commits.insert(at.clone(), *offset);
                // A member may have begun there, until one has committed.
                if let Some((to, true)) = self.blind.remove(at) {
                    self.set.entry(at.clone()).or_default().push((event.at, to));
                }
                if member.is_empty() {
                    self.blind.insert(at.clone(), (*offset, false));
                }
                if self.recreated.get(&at.topic).is_some_and(|since| event.at < *since + HEARD) {
                    self.may_be_of_former(at, *offset);
                }
            }
            What::OffsetSet { at, offset } => {
                self.set.entry(at.clone()).or_default().push((event.at, *offset));
            }
            What::Truncated { at, end, .. } => {
                if let Some((_, is_cut)) = self.blind.get_mut(at).filter(|(to, _)| *to > *end) {
                    *is_cut = true;
                }
            }
            What::OffsetDeleted { at } => drop(self.blind.remove(at)),
            What::Recreated { topic } => {
                self.blind.retain(|place, _| place.topic != *topic);
                let of_topic = self.commits.iter().filter(|(place, _)| place.topic == *topic);
                let former: Vec<_> = of_topic.map(|(place, offset)| (place.clone(), *offset)).collect();
                former.iter().for_each(|(place, offset)| self.may_be_of_former(place, *offset));
                self.recreated.insert(topic.clone(), event.at);
            }
            What::HandlerBegan { who, call, at, offset, id, .. } => {
                if let Some(other) = self.beside(scene.options.order, (*who, *call), at, *id) {
                    let text =
                        format!("{who} began {at} offset {offset} while it was at {other} of its lane");
                    complaints.add("SAFE3", event.at, text);
                }
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

    /// The offset of another record in this record's lane that is at another handler of this worker.
    fn beside(&self, order: Order, (who, call): (Who, u64), at: &Place, id: u64) -> Option<i64> {
        let is_of_lane = |other: u64| match order {
            Order::Partition => true,
            Order::Key => self.keys.get(&id).is_some_and(|key| self.keys.get(&other) == Some(key)),
            Order::Unordered => false,
        };
        let other = self.running.iter().find(|((of, its_call, place, _), other)| {
            *of == who && *its_call != call && place == at && (**other == id || is_of_lane(**other))
        });
        other.map(|((.., offset), _)| *offset)
    }

    fn may_be_of_former(&mut self, place: &Place, offset: i64) {
        let most = self.most_of_former.entry(place.clone()).or_default();
        *most = (*most).max(offset);
    }

    /// Like [`Work::left`](super::Work::left).
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
