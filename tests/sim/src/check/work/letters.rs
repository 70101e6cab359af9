//! SAFE12: dead letters.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Scene, ended};
use crate::{
    check::Complaints,
    clock::ms,
    events::{Event, How, Place, What, Who},
};

#[derive(Debug, Default)]
pub(super) struct Letters {
    digests: BTreeMap<(Place, i64), u64>,
    /// Where each letter is, and of which record it is.
    written: BTreeMap<(Place, i64), (Place, i64)>,
    /// Attempts under way, and since when.
    running: BTreeMap<(Who, Place, i64), Duration>,
    /// How often each life has failed with a record since it was given its partition.
    failures: BTreeMap<(Who, Place, i64), u32>,
    /// Records of which a handler said that they are poison.
    poison: BTreeSet<(Place, i64)>,
    /// The most failures of one life with each record.
    most: BTreeMap<(Place, i64), u32>,
    /// Not before this may it be tried again.
    delays: BTreeMap<(Who, Place, i64), Duration>,
}

impl Letters {
    pub(super) fn feed(&mut self, scene: Scene<'_>, event: &Event, complaints: &mut Complaints) {
        let now = event.at;
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
                    How::Done | How::Dropped | How::Fatal => {}
                }
            }
            What::Retried { who, at, offset, delay } => {
                self.delays.insert((*who, at.clone(), *offset), now + *delay);
            }
            What::Assigned { who, places, .. } => {
                self.failures.retain(|(of, place, _), _| of != who || !places.contains(place));
                self.delays.retain(|(of, place, _), _| of != who || !places.contains(place));
            }
            What::Letter { at, offset, of, digest } => {
                if let Some(text) = self.is_wrong(scene, of.as_ref(), *digest) {
                    complaints.add("SAFE12", now, format!("the dead letter at {at} offset {offset} {text}"));
                }
                if let Some(of) = of {
                    self.written.insert((at.clone(), *offset), of.clone());
                }
            }
            What::LetterTold { who, at, offset, to, to_offset: Some(to_offset) } => {
                let written = self.written.get(&(to.clone(), *to_offset));
                if written != Some(&(at.clone(), *offset)) {
                    let text = format!(
                        "{who} says that the dead letter of {at} offset {offset} is at {to} offset {to_offset}: of there is {written:?}"
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

    fn is_wrong(&self, scene: Scene<'_>, of: Option<&(Place, i64)>, digest: u64) -> Option<String> {
        let Some(of) = of else { return Some("does not say what it is of".to_owned()) };
        let (place, offset) = of;
        let Some(original) = self.digests.get(of) else {
            return Some(format!("is of {place} offset {offset}, where there is no record"));
        };
        if *original != digest {
            return Some(format!("has not all bytes of {place} offset {offset}"));
        }
        if self.poison.contains(of) {
            return None;
        }
        let failures = self.most.get(of).copied().unwrap_or_default();
        // A batch that fails as a whole has failed with what its handler did not come to.
        let least = if scene.options.batch == 1 { scene.options.attempts } else { 0 };
        let too_few = failures < least || scene.options.attempts == 0;
        too_few
            .then(|| format!("is of {place} offset {offset}, which is no poison and failed {failures} times"))
    }
}
