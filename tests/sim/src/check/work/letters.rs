//! SAFE12: dead letters, and records that are put aside in retry topics.
//!
//! A record and all its copies in retry topics and among the dead letters are its family; the number of topics that one of them has been
//! through is its stage.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    WorkScene,
    aside::{Aside, RecordAt},
    ended,
};
use crate::{
    check::Complaints,
    clock::ms,
    events::{Event, How, Place, What, Who},
};

#[derive(Debug, Default)]
pub(super) struct Letters {
    digests: BTreeMap<(Place, i64), u64>,
    /// Each letter's place, also in retry topics, and its original record.
    written: BTreeMap<RecordAt, RecordAt>,
    /// Attempts in progress, and since when.
    running: BTreeMap<(Who, Place, i64), Duration>,
    /// How often each life has failed with a record since it was given the partition.
    failures: BTreeMap<(Who, Place, i64), u32>,
    /// Records that a handler reported as poison.
    poison: BTreeSet<(Place, i64)>,
    /// The most failures of one life with each record.
    most: BTreeMap<(Place, i64), u32>,
    /// The earliest time at which it may be tried again.
    delays: BTreeMap<(Who, Place, i64), Duration>,
    aside: Aside,
}

impl Letters {
    pub(super) fn feed(&mut self, scene: WorkScene<'_>, event: &Event, complaints: &mut Complaints) {
        let now = event.at;
        if let Some(text) = self.aside.feed(scene, event) {
            complaints.add("SAFE12", now, text);
        }
        match &event.what {
            What::Wrote { at, offset, digest, .. } => {
                self.digests.insert((at.clone(), *offset), *digest);
            }
            What::HandlerBegan { who, at, offset, .. } => {
                let key = (*who, at.clone(), *offset);
                if let Some(from) = self.delays.remove(&key).filter(|from| now < *from) {
                    let early = (from - now).as_millis();
                    let text = format!("{who} tried {at} offset {offset} again {early} ms too early");
                    complaints.add("SAFE12", now, text);
                }
                self.running.insert(key, now);
            }
            What::HandlerEnded { who, at, offset, how, .. } => {
                let key = (*who, at.clone(), *offset);
                let began = self.running.remove(&key).unwrap_or(now);
                let timed_out = scene.options.timeout.is_some_and(|timeout| began + ms(timeout) <= now);
                match how {
                    How::Poison => drop(self.poison.insert((at.clone(), *offset))),
                    How::Failed | How::Panicked => self.failed(key),
                    How::Dropped if timed_out => self.failed(key),
                    How::Done | How::Dropped | How::Fatal | How::Ignored => {}
                }
            }
            What::Retried { who, at, offset, delay } => {
                self.delays.insert((*who, at.clone(), *offset), now + *delay);
            }
            What::Assigned { who, places, .. } => {
                self.failures.retain(|(of, place, _), _| of != who || !places.contains(place));
                self.delays.retain(|(of, place, _), _| of != who || !places.contains(place));
            }
            What::Letter { at, offset, of, digest, attempts } => {
                let wrong = of.as_ref().map_or(Some("does not say what it is of".to_owned()), |of| {
                    self.has_other_bytes(of, *digest).or_else(|| self.is_wrong(scene, of, *attempts))
                });
                if let Some(text) = wrong {
                    complaints.add("SAFE12", now, format!("the dead letter at {at} offset {offset} {text}"));
                }
                if let Some(of) = of {
                    self.written.insert((at.clone(), *offset), of.clone());
                }
            }
            What::PutAside { at, offset, of, attempts, first, .. } => {
                if let Some(text) = self.is_put_aside_wrongly(scene, (at, *offset), (of, *attempts, first)) {
                    let text = format!("the record that was put aside at {at} offset {offset} {text}");
                    complaints.add("SAFE12", now, text);
                }
                if let Some(of) = of {
                    self.written.insert((at.clone(), *offset), of.clone());
                }
            }
            What::LetterTold { who, at, offset, to, to_offset: Some(to_offset) } => {
                let written = self.written.get(&(to.clone(), *to_offset));
                let (stage, to_stage) =
                    (scene.options.stage_of(&at.topic), scene.options.stage_of(&to.topic));
                let is_next = to_stage == 0 || to_stage == stage + 1;
                if written != Some(&self.aside.origin(at, *offset)) || !is_next {
                    let text = format!(
                        "{who} says that the letter of {at} offset {offset} is at {to} offset {to_offset}: of there is {written:?}"
                    );
                    complaints.add("SAFE12", now, text);
                }
            }
            what => {
                if let Some(who) = ended(what) {
                    self.running.retain(|(of, ..), _| *of != who);
                }
            }
        }
    }

    fn failed(&mut self, key: (Who, Place, i64)) {
        let failures = self.failures.entry(key.clone()).or_default();
        *failures += 1;
        let most = self.most.entry((key.1, key.2)).or_default();
        *most = (*most).max(*failures);
    }

    fn has_other_bytes(&self, of: &RecordAt, digest: u64) -> Option<String> {
        let (place, offset) = of;
        match self.digests.get(of) {
            None => Some(format!("is of {place} offset {offset}, where there is no record")),
            Some(original) if *original != digest => {
                Some(format!("has not all bytes of {place} offset {offset}"))
            }
            Some(_) => None,
        }
    }

    /// A dead letter must be of poison, or of a record that has been through all retry topics.
    fn is_wrong(&self, scene: WorkScene<'_>, of: &RecordAt, attempts: Option<u32>) -> Option<String> {
        let (place, offset) = of;
        let mut given_up = self.given_up(scene, of).peekable();
        if given_up.peek().is_none() {
            let failures = self.most.get(of).copied().unwrap_or_default();
            return Some(format!(
                "is of {place} offset {offset}, which is no poison and failed {failures} times"
            ));
        }
        let fits = attempts.is_some_and(|attempts| {
            given_up.any(|one| {
                let stage = scene.options.stage_of(&one.0.topic);
                let before = scene.options.attempts_in(stage).map_or(0, |attempts| *attempts.start());
                let Some(all) = scene.options.attempts_in(stage + 1) else { return attempts > 0 };
                let least = if self.poison.contains(&one) { before + 1 } else { *all.start() };
                (least..=*all.end()).contains(&attempts)
            })
        });
        (!fits).then(|| format!("is of {place} offset {offset}, and says {attempts:?} attempts"))
    }

    /// A record is put aside in the topic after the one in which it is out of attempts. The reason of its first failure is kept.
    fn is_put_aside_wrongly(
        &self,
        scene: WorkScene<'_>,
        (at, at_offset): (&Place, i64),
        (of, attempts, first): (&Option<RecordAt>, Option<u32>, &Option<String>),
    ) -> Option<String> {
        let Some(of) = of else { return Some("does not say what it is of".to_owned()) };
        let digest = self.digests.get(&(at.clone(), at_offset)).copied().unwrap_or_default();
        if let Some(text) = self.has_other_bytes(of, digest) {
            return Some(text);
        }
        let (place, offset) = of;
        let before = scene.options.stage_of(&at.topic).checked_sub(1)?;
        let Some(from) = self.out_of_attempts(scene, of, before).next() else {
            return Some(format!("is of {place} offset {offset}, which has attempts left where it was"));
        };
        let all = scene.options.attempts_in(before + 1);
        if !all.zip(attempts).is_some_and(|(all, attempts)| all.contains(&attempts)) {
            return Some(format!("is of {place} offset {offset}, and says {attempts:?} attempts"));
        }
        let is_known = first.as_ref().is_some_and(|first| match before {
            0 => self.aside.may_have_failed_so(&from, first) || scene.options.batch > 1,
            _ => self.aside.of_stage(of, before, scene).any(|one| self.aside.first(&one) == Some(first)),
        });
        (!is_known)
            .then(|| format!("is of {place} offset {offset}, and says that it failed at first so: {first:?}"))
    }

    /// The members of a family that have failed as often as allowed at this stage.
    fn out_of_attempts<'a>(
        &'a self,
        scene: WorkScene<'a>,
        of: &'a RecordAt,
        stage: usize,
    ) -> impl Iterator<Item = RecordAt> + 'a {
        let options = scene.options;
        // When a batch fails as a whole, records that its handler did not reach have failed too.
        let least = if options.batch == 1 { options.attempts } else { 0 };
        let has_failed = move |one: &RecordAt| {
            options.attempts > 0 && self.most.get(one).copied().unwrap_or_default() >= least
        };
        self.aside.of_stage(of, stage, scene).filter(has_failed)
    }

    /// The members of a family that a dead letter may be of.
    fn given_up<'a>(&'a self, scene: WorkScene<'a>, of: &'a RecordAt) -> impl Iterator<Item = RecordAt> + 'a {
        let poison = self.aside.family(of).filter(|one| self.poison.contains(one));
        poison.chain(self.out_of_attempts(scene, of, scene.options.retries.len()))
    }

    /// The records finished by writing this one's copy to that place.
    pub(super) fn finished_by(&self, scene: WorkScene<'_>, of: &RecordAt, to: &Place) -> Vec<RecordAt> {
        match scene.options.stage_of(&to.topic).checked_sub(1) {
            Some(before) => self.out_of_attempts(scene, of, before).collect(),
            None if scene.options.retries.is_empty() => vec![of.clone()],
            None => self.given_up(scene, of).collect(),
        }
    }
}
