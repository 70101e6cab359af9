//! SAFE2 for workers: a finished record is handled again only if it was in flight or not yet committed when its partition moved.

use std::{collections::BTreeMap, time::Duration};

use super::WorkScene;
use crate::{
    check::Complaints,
    events::{Event, How, Place, What, Who},
};

/// With fewer bytes, records finished beyond a gap are not always recorded.
const ENOUGH_METADATA: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct Repeats {
    claims: BTreeMap<Place, Claim>,
    held: BTreeMap<(Who, Place), Assignment>,
    /// Revoked assignments whose hand-over is not reported yet.
    given_up: BTreeMap<(Who, Place), Assignment>,
    /// Members with an error since they were given their partitions: a commit failed, or the committed offsets could not be read.
    troubled: BTreeMap<Who, Duration>,
    /// When each running call of a handler began.
    began: BTreeMap<(Who, u64), Duration>,
    /// Since when each is stopping. A handler that ended at that moment may have been cancelled.
    stopping: BTreeMap<Who, Duration>,
    /// When each last sent a new commit.
    sent: BTreeMap<Who, Duration>,
    /// The last new commit of each partition, and when it was sent.
    last_sent: BTreeMap<(Who, Place), (i64, String, Duration)>,
}

/// The content of the group's commit of a partition.
#[derive(Clone, Debug, Default)]
struct Claim {
    committed: i64,
    beyond: Vec<(i64, i64)>,
}

impl Claim {
    fn contains(&self, offset: i64) -> bool {
        offset < self.committed || self.is_beyond(offset)
    }

    fn is_beyond(&self, offset: i64) -> bool {
        self.beyond.iter().any(|(from, to)| (*from..*to).contains(&offset))
    }
}

#[derive(Clone, Debug)]
struct Assignment {
    since: Duration,
    before: Claim,
    /// The records that it has finished, and when.
    finished: BTreeMap<i64, Duration>,
    /// Reported dead letters. Those in flight when nothing more is waited for may be written once more.
    letters: BTreeMap<i64, Duration>,
    /// Since when its handlers are dropped: later ends may not count.
    cancelled: Option<Duration>,
    /// When a handler of it that was not dropped last ended.
    ended: Option<Duration>,
    /// When it was revoked. A handler that ended at that moment may have been cancelled.
    given_up: Option<Duration>,
    /// Its position was moved: records finished beyond it before may be of another log.
    was_reset: bool,
}

impl Repeats {
    pub(super) fn feed(&mut self, scene: WorkScene<'_>, event: &Event, complaints: &mut Complaints) {
        let now = event.at;
        match &event.what {
            What::Committed { at, offset, .. } => {
                self.claims.insert(at.clone(), Claim { committed: *offset, beyond: Vec::new() });
            }
            What::Claimed { at, beyond } => {
                self.claims.entry(at.clone()).or_default().beyond.clone_from(beyond);
            }
            What::Assigned { who, places, .. } => {
                for place in places {
                    let before = self.claims.get(place).cloned().unwrap_or_default();
                    let given = Assignment {
                        since: now,
                        before,
                        finished: BTreeMap::new(),
                        letters: BTreeMap::new(),
                        cancelled: None,
                        ended: None,
                        given_up: None,
                        was_reset: false,
                    };
                    self.held.insert((*who, place.clone()), given);
                }
            }
            What::Reset { who, at, from: Some(_), .. } => {
                if let Some(held) = self.held.get_mut(&(*who, at.clone())) {
                    held.was_reset = true;
                }
            }
            What::Revoked { who, places } => {
                for place in places {
                    let key = (*who, place.clone());
                    if let Some(mut assignment) = self.held.remove(&key) {
                        assignment.given_up = Some(now);
                        self.given_up.insert(key, assignment);
                    }
                }
            }
            What::Lost { who, places } => self.forget(*who, places),
            What::HandedOver { who, places, lost } if *lost => self.forget(*who, places),
            // The outcome is reported at the end.
            What::HandedOver { who, .. } if self.stopping.contains_key(who) => {}
            What::HandedOver { who, places, .. } => {
                for place in places {
                    self.judge_end(scene, now, (*who, place), "handed over", complaints);
                }
                self.forget_given_up(*who, places);
            }
            What::Failed { who, .. } => drop(self.troubled.insert(*who, now)),
            What::CloseBegins { who, .. } => drop(self.stopping.insert(*who, now)),
            What::WorkerEnded { who, clean: true } if self.stopping.contains_key(who) => {
                let places: Vec<_> = self.given_up.keys().filter(|(of, _)| of == who).cloned().collect();
                for (_, place) in places {
                    self.judge_end(scene, now, (*who, &place), "stopped", complaints);
                }
            }
            What::HandlerBegan { who, call, at, offset, .. } => {
                if let Some(text) = self.repeats(scene, *who, at, *offset) {
                    complaints.add("SAFE2", now, text);
                }
                self.began.insert((*who, *call), now);
                if let Some(held) = self.assignment(*who, at) {
                    (held.cancelled, held.ended) = (None, None);
                }
            }
            What::CommitSent { who, at, offset, metadata, .. } => {
                let key = (*who, at.clone());
                let is_repeated = self
                    .last_sent
                    .get(&key)
                    .is_some_and(|(before, said, _)| before == offset && said == metadata);
                if !is_repeated {
                    self.last_sent.insert(key, (*offset, metadata.clone(), now));
                    self.sent.insert(*who, now);
                }
            }
            What::HandlerEnded { who, call, at, offset, how } => {
                let began = self.began.remove(&(*who, *call));
                let Some(held) = self.assignment(*who, at) else { return };
                if *how == How::Done {
                    held.finished.insert(*offset, now);
                }
                match how {
                    How::Dropped => drop(held.cancelled.get_or_insert(now)),
                    // It blocked on after it was cancelled, and that was no earlier than the end of another one that was not cancelled;
                    // perhaps at that very moment.
                    How::Ignored => {
                        let tied = held.ended.filter(|ended| began.is_some_and(|began| began <= *ended));
                        held.cancelled.get_or_insert(tied.unwrap_or(now));
                    }
                    _ if held.cancelled.is_none() => held.ended = Some(now),
                    _ => {}
                }
            }
            What::LetterTold { who, at, offset, .. } => {
                if let Some(held) = self.assignment(*who, at) {
                    held.letters.insert(*offset, now);
                }
            }
            _ => {}
        }
    }

    fn assignment(&mut self, who: Who, place: &Place) -> Option<&mut Assignment> {
        let key = (who, place.clone());
        match self.held.get_mut(&key) {
            Some(held) => Some(held),
            None => self.given_up.get_mut(&key),
        }
    }

    fn forget(&mut self, who: Who, places: &[Place]) {
        self.held.retain(|(of, place), _| *of != who || !places.contains(place));
        self.forget_given_up(who, places);
    }

    fn forget_given_up(&mut self, who: Who, places: &[Place]) {
        self.given_up.retain(|(of, place), _| *of != who || !places.contains(place));
    }

    fn repeats(&self, scene: WorkScene<'_>, who: Who, place: &Place, offset: i64) -> Option<String> {
        let held = self.held.get(&(who, place.clone()))?;
        if held.finished.contains_key(&offset) || held.letters.contains_key(&offset) {
            return Some(format!(
                "{who} began {place} offset {offset}, which it has finished since it was given {place}"
            ));
        }
        if offset < held.before.committed {
            let committed = held.before.committed;
            return Some(format!(
                "{who} began {place} offset {offset}, and {committed} was committed when it was given {place}"
            ));
        }
        let could_read = scene.options.metadata_bytes > 0
            && !held.was_reset
            && self.troubled.get(&who).is_none_or(|at| *at < held.since);
        (could_read && held.before.is_beyond(offset)).then(|| {
            format!("{who} began {place} offset {offset}, which a commit said to be finished when it was given {place}")
        })
    }

    /// What was committed of a partition when a member had given it up: what stood when the next owner began, if there is one.
    fn claim_left(&self, given: &Assignment, who: Who, place: &Place) -> Claim {
        let others = self.held.iter().filter(|((of, held), _)| *of != who && held == place);
        let later = others.filter(|(_, held)| given.given_up.is_some_and(|at| held.since >= at));
        let next = later.min_by_key(|(_, held)| held.since).map(|(_, held)| held.before.clone());
        next.unwrap_or_else(|| self.claims.get(place).cloned().unwrap_or_default())
    }

    /// Checks that all records finished are committed when a partition is revoked in order.
    fn judge_end(
        &self,
        scene: WorkScene<'_>,
        now: Duration,
        (who, place): (Who, &Place),
        how: &str,
        complaints: &mut Complaints,
    ) {
        let key = (who, place.clone());
        let Some(it) = self.given_up.get(&key).or_else(|| self.held.get(&key)) else { return };
        let is_troubled = self.troubled.get(&who).is_some_and(|at| *at >= it.since);
        // A thread may have ended whose result is still on its way when its partition is revoked, and nothing is waited for.
        let may_be_on_its_way = scene.options.blocking && scene.options.revoke_grace == Some(0);
        if is_troubled || may_be_on_its_way || scene.options.metadata_bytes < ENOUGH_METADATA {
            return;
        }
        let claim = self.claim_left(it, who, place);
        let sent = self.sent.get(&who).copied().unwrap_or_default();
        // A handler that ends at the very moment of the last commit, in which its partition is, may be cancelled then.
        let cancels = self.last_sent.get(&key).map(|(.., at)| *at).filter(|at| *at == sent);
        let stops = self.stopping.get(&who).copied();
        let counts = |at: &Duration| {
            ![cancels, stops, it.given_up].contains(&Some(*at))
                && it.cancelled.is_none_or(|since| *at < since)
        };
        let done = it.finished.iter().filter(|(_, at)| counts(at));
        let written = it.letters.iter().filter(|(_, at)| **at < sent);
        let missing = done.chain(written).find(|(offset, _)| !claim.contains(**offset));
        if let Some((offset, _)) = missing {
            let committed = claim.committed;
            let text = format!(
                "{who} {how} {place} in order, and offset {offset}, which it finished, is not committed ({committed} is)"
            );
            complaints.add("SAFE2", now, text);
        }
    }
}
