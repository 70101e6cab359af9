//! The behaviour of workers, from the events of their handlers, of the coordinator and of the log of dead letters alone.
//!
//! - SAFE1: a commit covers no record, below its offset or claimed beyond it, that is neither handled nor dead-lettered.
//! - SAFE2: a finished record is handled again only if it was not committed; a hand-over and a stop that end well leave nothing uncommitted.
//! - SAFE3: a record begins when those before it in its lane are finished, and no handler has another one of them.
//! - SAFE12: a dead letter has every byte of a record that failed as often as allowed, and a reported letter is in its log. A record that is put
//!   aside in a retry topic is handled there when it is due, or goes on to the next one, with its attempts and its first failure.
//! - SAFE15: no more handlers run, and no more records wait, than configured.
//! - SAFE21: a breaker changes its state only for a reason, and admits only what it may.

mod aside;
mod bounds;
mod breakers;
mod cuts;
mod letters;
mod order;
mod repeats;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use self::{
    bounds::Bounds, breakers::Breakers, cuts::Cuts, letters::Letters, order::Lanes, repeats::Repeats,
};
use super::{Complaints, ledger::Ledger, ownership::Ownership, records::Scene, spoken::Spoken};
use crate::{
    events::{Event, How, Place, What, Who},
    plan::{Plan, Work as Options},
};

#[derive(Debug, Default)]
pub(super) struct Work {
    open: Open,
    commits: BTreeMap<Place, i64>,
    lanes: Lanes,
    repeats: Repeats,
    letters: Letters,
    bounds: Bounds,
    breakers: Breakers,
    cuts: Cuts,
    /// Processes that died. Work started by them may still reach its handler, to be dropped there.
    died: BTreeSet<Who>,
}

/// Records that are neither handled nor dead-lettered.
#[derive(Debug, Default)]
pub(super) struct Open(BTreeMap<Place, BTreeSet<i64>>);

impl Open {
    fn of(&self, place: &Place) -> impl Iterator<Item = i64> + '_ {
        self.0.get(place).into_iter().flatten().copied()
    }

    fn finish(&mut self, place: &Place, offset: i64) {
        if let Some(open) = self.0.get_mut(place) {
            open.remove(&offset);
        }
    }
}

/// The context of the rules.
#[derive(Clone, Copy)]
struct WorkScene<'a> {
    plan: &'a Plan,
    options: &'a Options,
    ledger: &'a Ledger,
    spoken: &'a Spoken,
    ownership: &'a Ownership,
}

impl WorkScene<'_> {
    /// Whether a member may pass this unhandled record: it is gone, or of an aborted transaction.
    fn may_pass(&self, place: &Place, offset: i64) -> bool {
        let Some(record) = self.ledger.log(place).and_then(|log| log.records.get(&offset)) else {
            return true;
        };
        let hides_aborted = self.plan.members.iter().all(|member| member.read_committed);
        record.gone || (hides_aborted && self.ledger.outcome(record.transaction) == Some(false))
    }
}

impl Work {
    pub(super) fn feed(&mut self, scene: Scene<'_>, event: &Event, complaints: &mut Complaints) {
        let Scene { plan, ledger, spoken, ownership, .. } = scene;
        let Some(options) = &plan.work else { return };
        let scene = WorkScene { plan, options, ledger, spoken, ownership };
        match &event.what {
            What::Crashed { who } => drop(self.died.insert(*who)),
            What::HandlerBegan { who, .. } if self.died.contains(who) => return,
            _ => {}
        }
        if options.cuts {
            self.cuts.feed(scene, event, complaints);
            self.bounds.feed(scene, event, complaints);
            return self.breakers.feed(scene, event, complaints);
        }
        match &event.what {
            What::Appended { at, offset, .. } => {
                self.open.0.entry(at.clone()).or_default().insert(*offset);
            }
            What::HandlerBegan { who, at, offset, id, .. } => {
                let written = ledger.log(at).and_then(|log| log.records.get(offset)).map(|record| record.id);
                if written != Some(*id) {
                    let text =
                        format!("{who} was given record {id} at {at} offset {offset}: there is {written:?}");
                    complaints.add("SAFE3", event.at, text);
                }
            }
            What::HandlerEnded { at, offset, how: How::Done, .. } => self.open.finish(at, *offset),
            What::Letter { of: Some(of), at, .. } | What::PutAside { of: Some(of), at, .. } => {
                for (place, offset) in self.letters.finished_by(scene, of, at) {
                    self.open.finish(&place, offset);
                }
            }
            What::Committed { at, offset, .. } => {
                self.passes(scene, event, (at, *offset), &[], complaints);
                self.commits.insert(at.clone(), *offset);
            }
            What::Claimed { at, beyond } => {
                let committed = self.commits.get(at).copied().unwrap_or_default();
                self.passes(scene, event, (at, committed), beyond, complaints);
            }
            _ => {}
        }
        self.lanes.feed(scene, &self.open, event, complaints);
        self.repeats.feed(scene, event, complaints);
        self.letters.feed(scene, event, complaints);
        self.bounds.feed(scene, event, complaints);
        self.breakers.feed(scene, event, complaints);
    }

    /// SAFE1: whether a commit marks an open record as finished.
    fn passes(
        &self,
        scene: WorkScene<'_>,
        event: &Event,
        (place, committed): (&Place, i64),
        beyond: &[(i64, i64)],
        complaints: &mut Complaints,
    ) {
        let is_finished = |offset: i64| {
            offset < committed || beyond.iter().any(|(from, to)| (*from..*to).contains(&offset))
        };
        let passed =
            self.open.of(place).find(|offset| is_finished(*offset) && !scene.may_pass(place, *offset));
        if let Some(passed) = passed {
            let text = format!(
                "{committed} is committed in {place}, and {beyond:?} beyond it: offset {passed} is neither handled nor dead-lettered"
            );
            complaints.add("SAFE1", event.at, text);
        }
    }

    /// The records not handled, or not committed: a partition, the offset of the first one, and their number.
    pub(super) fn left(&self, plan: &Plan, ledger: &Ledger) -> Vec<(Place, i64, usize)> {
        if plan.work.as_ref().is_some_and(|work| work.cuts) {
            return self.cuts.left(ledger);
        }
        let mut left = Vec::new();
        for place in ledger.places() {
            let Some(log) = ledger.log(place) else { continue };
            let open = self.open.0.get(place);
            let committed = self.commits.get(place).copied().unwrap_or_default();
            let is_left =
                |offset: i64| committed <= offset || open.is_some_and(|open| open.contains(&offset));
            let mut due =
                log.records.iter().filter(|(offset, record)| ledger.is_due(record) && is_left(**offset));
            if let Some((first, _)) = due.next() {
                left.push((place.clone(), *first, due.count() + 1));
            }
        }
        left
    }
}

/// The life that this event ends.
fn ended(what: &What) -> Option<Who> {
    match what {
        What::Crashed { who } | What::CloseEnds { who } | What::Panicked { who, .. } => Some(*who),
        _ => None,
    }
}
