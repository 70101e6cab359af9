//! SAFE12: the headers of records in retry topics, and what their handlers are told of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::WorkScene;
use crate::{
    clock::ms,
    events::{Event, How, Place, What},
};

/// A record, by its place.
pub(super) type RecordAt = (Place, i64);

/// Records that were put aside.
#[derive(Debug, Default)]
pub(super) struct Aside {
    /// The retry records, by their place.
    records: BTreeMap<RecordAt, Postponed>,
    /// Where each record was put aside.
    families: BTreeMap<RecordAt, Vec<RecordAt>>,
    /// The reasons given by handlers for the failures of each record, wherever it is.
    said: BTreeMap<RecordAt, BTreeSet<String>>,
    /// Records of which a handler was dropped, which may have timed out.
    dropped: BTreeSet<RecordAt>,
}

/// The headers of a record that was put aside.
#[derive(Debug)]
struct Postponed {
    of: RecordAt,
    first: Option<String>,
    written: Duration,
}

/// The reasons that a worker gives for a panic, and for an attempt that takes too long.
const PANICKED: &str = "the handler panicked";
const TOO_LONG: &str = "the handler took longer than";

impl Aside {
    /// Feeds an event; returns the error in it, if any.
    pub(super) fn feed(&mut self, scene: WorkScene<'_>, event: &Event) -> Option<String> {
        match &event.what {
            What::PutAside { at, offset, of: Some(of), first, written, .. } => {
                let here = (at.clone(), *offset);
                self.families.entry(of.clone()).or_default().push(here.clone());
                let (of, first, written) = (of.clone(), first.clone(), *written);
                self.records.insert(here, Postponed { of, first, written });
            }
            What::FailureSaid { at, offset, reason, .. } => {
                self.said.entry((at.clone(), *offset)).or_default().insert(reason.clone());
            }
            What::HandlerEnded { at, offset, how: How::Panicked, .. } => {
                self.said.entry((at.clone(), *offset)).or_default().insert(PANICKED.to_owned());
            }
            What::HandlerEnded { at, offset, how: How::Dropped, .. } => {
                self.dropped.insert((at.clone(), *offset));
            }
            What::HandlerBegan { who, at, offset, attempt, .. } => {
                let stage = scene.options.stage_of(&at.topic);
                let before = scene.options.attempts_in(stage).map_or(0, |attempts| *attempts.start());
                let most = scene.options.attempts_in(stage + 1).map(|attempts| *attempts.end());
                let is_in_turn = *attempt > before && most.is_none_or(|most| *attempt <= most);
                if !is_in_turn {
                    return Some(format!(
                        "{who} began {at} offset {offset} with attempt {attempt}, after {before}"
                    ));
                }
                if stage == 0 {
                    return None;
                }
                let Some(record) = self.records.get(&(at.clone(), *offset)) else {
                    return Some(format!("{who} began {at} offset {offset}, which nobody put aside"));
                };
                let delay = scene.options.retries.get(stage - 1).copied().unwrap_or_default();
                let due = record.written + ms(delay);
                if event.at < due {
                    let early = (due - event.at).as_millis();
                    return Some(format!("{who} began {at} offset {offset} {early} ms before it is due"));
                }
            }
            What::CameAgain { who, at, offset, of, first } => {
                let record = self.records.get(&(at.clone(), *offset))?;
                if (Some(&record.of), &record.first) != (of.as_ref(), first) {
                    return Some(format!(
                        "{who} is told of {at} offset {offset} {of:?}, {first:?}: it is {record:?}"
                    ));
                }
            }
            _ => {}
        }
        None
    }

    /// The original of a record.
    pub(super) fn origin(&self, at: &Place, offset: i64) -> RecordAt {
        let here = (at.clone(), offset);
        self.records.get(&here).map_or(here, |record| record.of.clone())
    }

    /// A record, and the places where it was put aside.
    pub(super) fn family(&self, of: &RecordAt) -> impl Iterator<Item = RecordAt> + '_ {
        std::iter::once(of.clone()).chain(self.families.get(of).into_iter().flatten().cloned())
    }

    /// Those of the family that have been through this many topics.
    pub(super) fn of_stage<'a>(
        &'a self,
        of: &RecordAt,
        stage: usize,
        scene: WorkScene<'a>,
    ) -> impl Iterator<Item = RecordAt> + 'a {
        self.family(of).filter(move |(place, _)| scene.options.stage_of(&place.topic) == stage)
    }

    /// The first failure, from the headers of a record that was put aside.
    pub(super) fn first(&self, record: &RecordAt) -> Option<&String> {
        self.records.get(record)?.first.as_ref()
    }

    /// Whether a record may have failed for this reason.
    pub(super) fn may_have_failed_so(&self, record: &RecordAt, first: &str) -> bool {
        let said =
            self.said.get(record).is_some_and(|said| said.iter().any(|reason| first.starts_with(reason)));
        said || (first.starts_with(TOO_LONG) && self.dropped.contains(record))
    }
}
