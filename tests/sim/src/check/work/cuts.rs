//! Workers whose logs are cut. Who knows of a cut when, nobody can say from outside: what is left in the end is judged, by the numbers of the records.
//! Each is handled or dead-lettered, also those that were written where others had been, though a commit, or its metadata, said of those others
//! that they are finished.

use std::collections::{BTreeMap, BTreeSet};

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
}

impl Cuts {
    pub(super) fn feed(&mut self, event: &Event) {
        match &event.what {
            What::Appended { id, .. } => self.last = Some(*id),
            What::Wrote { digest, .. } => {
                self.by_digest.extend(self.last.map(|id| (*digest, id)));
            }
            What::Committed { at, offset, .. } => {
                self.commits.insert(at.clone(), *offset);
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

    /// As [`Work::left`](super::Work::left).
    pub(super) fn left(&self, ledger: &Ledger) -> Vec<(Place, i64, usize)> {
        let mut left = Vec::new();
        for place in ledger.places() {
            let Some(log) = ledger.log(place) else { continue };
            let committed = self.commits.get(place).copied().unwrap_or_default();
            let mut due = log.records.iter().filter(|(offset, record)| {
                ledger.is_due(record) && (committed <= **offset || !self.finished.contains(&record.id))
            });
            if let Some((first, _)) = due.next() {
                left.push((place.clone(), *first, due.count() + 1));
            }
        }
        left
    }
}
