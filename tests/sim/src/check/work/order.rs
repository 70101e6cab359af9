//! SAFE3 for workers: the records of each lane (a key, or a partition) are handled one after the other, through retries, dead letters and
//! rebalances.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Open, WorkScene, ended};
use crate::{
    check::Complaints,
    clock::ms,
    events::{Event, How, Place, What, Who},
    plan::Order,
};

/// A lane: the records of a partition with this key, or all of it.
type Lane = (Place, Option<String>);

/// The longest wait for blocking handlers to end.
const MOST_FOR_ENDS: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: BTreeMap<(Place, i64), Lane>,
    /// The records of each lane.
    records: BTreeMap<Lane, BTreeSet<i64>>,
    /// The records at handlers, with the call and its life.
    running: BTreeMap<Lane, BTreeSet<(Who, u64, i64)>>,
    /// The last record of each lane that each life has begun in an assignment; for a handler of batches, which begins with later records
    /// when one fails, the last one that it has handled.
    begun: BTreeMap<(Who, Lane), i64>,
    members: BTreeMap<String, Who>,
    /// Members that may not know that they were removed: the process was stopped (SIGSTOP), or was not told yet.
    unaware: BTreeSet<Who>,
    /// When each last lost partitions: the handlers that it drops then end at that moment.
    lost: BTreeMap<Who, Duration>,
    lives: BTreeMap<usize, Who>,
    /// Calls of blocking handlers, for partitions that were revoked since: others need not wait for them.
    ignored: BTreeSet<(Who, u64)>,
    /// When each of these began.
    began: BTreeMap<(Who, u64), Duration>,
    /// Members that revoked partitions while a handler of them blocked, and when that handler began: a member that ends by itself does not
    /// wait for it.
    hurried: BTreeMap<Who, (Duration, String)>,
    stopping: BTreeSet<Who>,
}

impl Lanes {
    pub(super) fn feed(
        &mut self,
        scene: WorkScene<'_>,
        open: &Open,
        event: &Event,
        complaints: &mut Complaints,
    ) {
        match &event.what {
            What::Wrote { at, offset, key, .. } => {
                let lane = match scene.options.order {
                    Order::Key => key.clone().map(|key| (at.clone(), Some(key))),
                    Order::Partition => Some((at.clone(), None)),
                    Order::Unordered => None,
                };
                if let Some(lane) = lane {
                    self.records.entry(lane.clone()).or_default().insert(*offset);
                    self.lanes.insert((at.clone(), *offset), lane);
                }
            }
            What::HandlerBegan { who, call, at, offset, .. } => {
                let Some(lane) = self.lanes.get(&(at.clone(), *offset)).cloned() else { return };
                self.lost.retain(|_, at| *at == event.at);
                if let Some(text) = self.overtakes(scene, open, &lane, (*who, *call, *offset)) {
                    complaints.add("SAFE3", event.at, text);
                }
                if scene.options.batch == 1 {
                    self.begun.insert((*who, lane.clone()), *offset);
                }
                self.running.entry(lane).or_default().insert((*who, *call, *offset));
                self.began.insert((*who, *call), event.at);
            }
            What::HandlerEnded { who, call, at, offset, how } => {
                let is_told = matches!(how, How::Ignored | How::Dropped);
                if self.ignored.remove(&(*who, *call)) && !is_told {
                    let text =
                        format!("{who} has lost {at}, and its handler of offset {offset} was not told");
                    complaints.add("SAFE3", event.at, text);
                }
                let Some(lane) = self.lanes.get(&(at.clone(), *offset)) else { return };
                if let Some(running) = self.running.get_mut(lane) {
                    running.remove(&(*who, *call, *offset));
                }
                if *how == How::Done {
                    self.begun.insert((*who, lane.clone()), *offset);
                }
            }
            What::Assigned { who, places, .. } => {
                self.begun.retain(|(of, (place, _)), _| of != who || !places.contains(place));
                // It continues.
                if let Some((gave_up, text)) = self.hurried.remove(who) {
                    complaints.add("SAFE3", gave_up, text);
                }
            }
            What::Started { who } => drop(self.lives.insert(who.member, *who)),
            What::Named { who, member } => drop(self.members.insert(member.clone(), *who)),
            What::Frozen { who } => self.unaware.extend(self.lives.get(&who.member)),
            // It learns of it from its next request. (A member whose session has ended by its own clock is handed nothing more, and its
            // running handlers go on until it reports the loss of all partitions: if its JoinGroup is never answered, that is when this
            // call times out.)
            What::MemberGone { member, why } if *why != "left" => {
                self.unaware.extend(self.members.get(member));
            }
            What::CloseBegins { who, .. } => drop(self.stopping.insert(*who)),
            What::Lost { who, places } => {
                self.unaware.remove(who);
                self.lost.insert(*who, event.at);
                self.ignore(scene, *who, places);
            }
            What::Revoked { who, places } => {
                let hurries = self.stopping.contains(who) || self.unaware.contains(who);
                let soon = event.at.saturating_sub(ms(scene.plan.session_timeout / 4).min(MOST_FOR_ENDS));
                let early = self.ignore(scene, *who, places).into_iter().find(|began| *began > soon);
                if let Some(began) = early.filter(|_| !hurries) {
                    let text = format!(
                        "{who} gave up {places:?}, and its handler that began at {} ms still blocks",
                        began.as_millis()
                    );
                    self.hurried.insert(*who, (event.at, text));
                }
            }
            what => {
                if let Some(who) = ended(what) {
                    self.running.values_mut().for_each(|running| running.retain(|(of, ..)| *of != who));
                }
            }
        }
    }

    /// Marks the calls of these partitions as ignored, as blocking handlers cannot be ended. Returns when those calls began: a worker that
    /// revokes partitions waits for them for half of the group's timeout, or for the time above. The group waits for half a session at
    /// least.
    fn ignore(&mut self, scene: WorkScene<'_>, who: Who, places: &[Place]) -> Vec<Duration> {
        if !scene.options.blocking {
            return Vec::new();
        }
        let given_up = self.running.iter().filter(|((place, _), _)| places.contains(place));
        let calls = given_up.flat_map(|(_, running)| running).filter(|(of, ..)| *of == who);
        let calls: Vec<_> = calls.map(|(of, call, _)| (*of, *call)).collect();
        self.ignored.extend(&calls);
        calls.iter().filter_map(|call| self.began.get(call).copied()).collect()
    }

    fn overtakes(
        &self,
        scene: WorkScene<'_>,
        open: &Open,
        lane: &Lane,
        (who, call, offset): (Who, u64, i64),
    ) -> Option<String> {
        let (place, _) = lane;
        let running = self.running.get(lane);
        let is_in_call = |other: i64| running.is_some_and(|running| running.contains(&(who, call, other)));
        let before = self.records.get(lane)?.range(..offset);
        let waiting = open.0.get(place);
        let overtaken = before.copied().find(|other| {
            waiting.is_some_and(|open| open.contains(other))
                && !scene.may_pass(place, *other)
                && !is_in_call(*other)
        });
        if let Some(other) = overtaken {
            return Some(format!(
                "{who} began {place} offset {offset}, and {other} of its lane is not finished"
            ));
        }
        let is_converted = |of| scene.ownership.is_converted(scene.plan, scene.spoken, of, place);
        let beside = running
            .into_iter()
            .flatten()
            .filter(|(of, other_call, _)| *of == who || !self.ignored.contains(&(*of, *other_call)))
            .filter(|(of, ..)| *of == who || !self.lost.contains_key(of))
            // A consumer group that a classic one has become waits for nobody who is still to let go of something.
            // Nor does that member know that another has it by now.
            .filter(|(of, ..)| *of == who || ![*of, who].into_iter().any(is_converted))
            .find(|(of, other_call, _)| (*of, *other_call) != (who, call) && !self.unaware.contains(of));
        if let Some((of, _, other)) = beside.filter(|_| !self.unaware.contains(&who)) {
            return Some(format!(
                "{who} began {place} offset {offset} while {of} was at {other} of its lane"
            ));
        }
        let last = self.begun.get(&(who, lane.clone())).filter(|last| **last > offset)?;
        Some(format!("{who} began {place} offset {offset} after {last}, which is behind it in its lane"))
    }
}
