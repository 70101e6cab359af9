//! The invariants of `docs/failures.md`, checked on the event log.
//!
//! A [`Checker`] is fed every event in order and keeps the state it needs; each file holds the rules of one subject.

mod commits;
mod copies;
mod dials;
mod errors;
#[cfg(test)]
mod forge;
mod hands;
mod heartbeats;
mod lag;
mod ledger;
mod liveness;
mod offsets;
mod ownership;
mod pace;
mod reader;
mod records;
mod requests;
mod resets;
mod rest;
mod spoken;
mod work;

use std::{fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use self::{
    copies::Copies,
    dials::Dials,
    errors::Errors,
    hands::Hands,
    heartbeats::Heartbeats,
    ledger::Ledger,
    liveness::Liveness,
    ownership::Ownership,
    pace::Pace,
    records::{Records, Scene},
    requests::Requests,
    rest::Rest,
    spoken::Spoken,
    work::Work,
};
use crate::{
    events::{Event, Place},
    plan::Plan,
};

/// A rule that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Violation {
    /// `SAFE1` … `SAFE21`, `LIVE1` … `LIVE8`.
    pub(crate) rule: String,
    /// Milliseconds of virtual time.
    pub(crate) at: u64,
    pub(crate) text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.at / 1000, self.at % 1000);
        write!(f, "{} at {seconds}.{millis:03} s: {}", self.rule, self.text)
    }
}

/// Collects the violations.
#[derive(Debug, Default)]
struct Complaints(Vec<Violation>);

impl Complaints {
    fn add(&mut self, rule: &str, at: Duration, text: String) {
        // One run has one cause: later violations only hide it.
        if self.0.len() < 20 {
            let at = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
            self.0.push(Violation { rule: rule.to_owned(), at, text });
        }
    }
}

/// Checks a run.
pub(crate) struct Checker {
    plan: Arc<Plan>,
    ledger: Ledger,
    spoken: Spoken,
    records: Records,
    hands: Hands,
    copies: Copies,
    work: Work,
    ownership: Ownership,
    requests: Requests,
    liveness: Liveness,
    errors: Errors,
    heartbeats: Heartbeats,
    dials: Dials,
    pace: Pace,
    rest: Rest,
    complaints: Complaints,
}

impl Checker {
    pub(crate) fn new(plan: Arc<Plan>) -> Self {
        Self {
            ledger: Ledger::new(&plan),
            spoken: Spoken::default(),
            records: Records::default(),
            hands: Hands::default(),
            copies: Copies::default(),
            work: Work::default(),
            ownership: Ownership::default(),
            requests: Requests::default(),
            liveness: Liveness::default(),
            errors: Errors::default(),
            heartbeats: Heartbeats::default(),
            dials: Dials::default(),
            pace: Pace::default(),
            rest: Rest::default(),
            complaints: Complaints::default(),
            plan,
        }
    }

    /// The next event.
    pub(crate) fn feed(&mut self, event: &Event) {
        let complaints = &mut self.complaints;
        self.ledger.feed(event);
        self.spoken.feed(&self.plan, event);
        let scene = Scene {
            plan: &self.plan,
            ledger: &self.ledger,
            spoken: &self.spoken,
            ownership: &self.ownership,
            at: event.at,
        };
        self.hands.feed(scene, event, complaints);
        if !hands::is_by_hand(&self.plan, &event.what) {
            // For workers only their handlers are checked.
            if self.plan.work.is_none() {
                self.records.feed(scene, event, complaints);
                self.rest.feed(scene, &self.records, event, complaints);
            }
            self.ownership.feed(&self.plan, (&self.ledger, &self.spoken), event, complaints);
        }
        let scene = Scene {
            plan: &self.plan,
            ledger: &self.ledger,
            spoken: &self.spoken,
            ownership: &self.ownership,
            at: event.at,
        };
        self.copies.feed(scene, event, complaints);
        self.work.feed(scene, event, complaints);
        self.requests.feed((&self.plan, &self.ledger), event, complaints);
        self.liveness.feed(&self.plan, &self.spoken, event, complaints);
        self.errors.feed(&self.plan, event, complaints);
        self.heartbeats.feed(&self.plan, event, complaints);
        self.dials.feed(&self.plan, event, complaints);
        self.pace.feed(&self.plan, event, complaints);
    }

    /// The records that a group has yet to process: a partition, the offset of the first one, and their number.
    pub(crate) fn unprocessed(&self) -> Vec<(Place, i64, usize)> {
        if self.plan.work.is_some() {
            return Vec::new();
        }
        let left = self.records.unprocessed(&self.ledger).into_iter();
        let forgotten = self.spoken.rebalance_is_forgotten();
        let left = left.filter(|(place, ..)| !forgotten || self.ownership.is_held(place));
        left.chain(self.hands.unprocessed(&self.ledger)).collect()
    }

    /// The records without a copy, or whose copy is not committed with them.
    pub(crate) fn uncopied(&self) -> Vec<(Place, i64, usize)> {
        if self.plan.copies.is_none() { Vec::new() } else { self.copies.left(&self.ledger) }
    }

    /// The records that workers have not handled, or not committed.
    pub(crate) fn unhandled(&self) -> Vec<(Place, i64, usize)> {
        if self.plan.work.is_none() { Vec::new() } else { self.work.left(&self.plan, &self.ledger) }
    }

    /// Partitions without an owner.
    pub(crate) fn unowned(&self) -> Vec<Place> {
        if self.spoken.rebalance_is_forgotten() {
            return Vec::new();
        }
        self.ledger.places().filter(|place| !self.ownership.is_held(place)).cloned().collect()
    }

    /// Reports that this was still unfinished when the time limit was reached.
    pub(crate) fn stuck(&mut self, at: Duration, text: String) {
        if self.plan.copies.is_some() {
            self.copies.judge(&self.ledger, at, &mut self.complaints);
        }
        self.complaints.add("LIVE1", at, text);
    }

    pub(crate) fn violations(self) -> Vec<Violation> {
        self.complaints.0
    }

    pub(crate) fn is_content(&self) -> bool {
        self.complaints.0.is_empty()
    }
}
