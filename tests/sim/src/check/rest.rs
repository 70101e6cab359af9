//! LIVE2: once all is well again, a partition with an owner and records does not rest. A lost wakeup that the next refresh of the metadata
//! would repair is found in runs with refreshes five minutes apart.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    Complaints,
    records::{Records, Scene},
};
use crate::{
    clock::ms,
    events::{Event, Place, What, Who},
    plan::Plan,
};

/// JoinGroup and SyncGroup.
const JOIN: i16 = 11;
const SYNC: i16 = 14;

/// A call that is never answered (10 s), twice the backoff, and finding a leader and a position.
const LONGEST: Duration = Duration::from_secs(15);

/// In addition, a transaction that was left open hides its offsets from all members until it times out.
fn longest(plan: &Plan) -> Duration {
    LONGEST + plan.copies.as_ref().map_or(Duration::ZERO, |copies| ms(copies.timeout))
}

#[derive(Debug, Default)]
pub(super) struct Rest {
    healed: Option<Duration>,
    held: BTreeMap<Who, BTreeSet<Place>>,
    paused: BTreeSet<(Who, Place)>,
    /// Since when each polls without a result.
    idle: BTreeMap<Who, Duration>,
    /// Members whose listener runs: until it ends, `poll` waits for it and hands out nothing.
    listening: BTreeSet<Who>,
    /// Members whose JoinGroup waits at the coordinator, and since when.
    joining: BTreeMap<Who, Duration>,
    members: BTreeMap<String, Who>,
    /// Members that were handed a record in this poll.
    handed: BTreeSet<Who>,
    judged: BTreeSet<(Who, Place)>,
}

impl Rest {
    pub(super) fn feed(
        &mut self,
        scene: Scene<'_>,
        records: &Records,
        event: &Event,
        complaints: &mut Complaints,
    ) {
        let at = event.at;
        match &event.what {
            What::Healed => {
                self.healed = Some(at);
                self.idle.clear();
            }
            What::Assigned { who, places, .. } => {
                self.held.entry(*who).or_default().extend(places.iter().cloned());
                self.idle.remove(who);
            }
            What::Revoked { who, places } | What::Lost { who, places } => {
                if let Some(held) = self.held.get_mut(who) {
                    held.retain(|place| !places.contains(place));
                }
                self.idle.remove(who);
            }
            What::Crashed { who } | What::CloseBegins { who, .. } | What::CloseEnds { who } => {
                self.held.remove(who);
                self.idle.remove(who);
                self.listening.remove(who);
                self.paused.retain(|(paused, _)| paused != who);
            }
            What::Named { who, member } => {
                self.members.insert(member.clone(), *who);
            }
            What::Request { api: JOIN, client, .. } => {
                // A member that abandoned an unanswered JoinGroup has waited since the first one.
                if let Some(who) = Who::parse(client) {
                    self.joining.entry(who).or_insert(at);
                }
            }
            What::Request { api: SYNC, client, .. } => self.joined(Who::parse(client)),
            What::MemberGone { member, .. } => self.joined(self.members.get(member).copied()),
            What::ListenerBegins { who, .. } => {
                self.listening.insert(*who);
                self.idle.remove(who);
            }
            What::ListenerEnds { who, .. } => {
                self.listening.remove(who);
                self.idle.remove(who);
            }
            What::Paused { who, at: place } => {
                self.paused.insert((*who, place.clone()));
            }
            What::Resumed { who, at: place } => {
                self.paused.remove(&(*who, place.clone()));
                self.idle.remove(who);
            }
            What::Resubscribed { who, .. }
            | What::Sought { who, .. }
            | What::Reset { who, .. }
            | What::TruncationTold { who, .. } => {
                self.idle.remove(who);
            }
            // The process is stopped, and its time stands still.
            What::Frozen { who } | What::Thawed { who } => {
                self.idle.retain(|idle, _| idle.member != who.member);
            }
            What::Delivered { who, .. } => {
                self.handed.insert(*who);
                self.idle.remove(who);
            }
            What::PollBegins { who, .. } => {
                if !self.handed.remove(who) && !self.listening.contains(who) {
                    self.idle.entry(*who).or_insert(at);
                }
                self.judge(scene, records, *who, complaints);
            }
            _ => {}
        }
    }

    fn joined(&mut self, who: Option<Who>) {
        let Some(who) = who else { return };
        self.joining.remove(&who);
        self.idle.remove(&who);
    }

    fn judge(&mut self, scene: Scene<'_>, records: &Records, who: Who, complaints: &mut Complaints) {
        let Some(healed) = self.healed else { return };
        let Some(idle) = self.idle.get(&who).map(|since| (*since).max(healed)) else { return };
        if scene.at < idle + longest(scene.plan) {
            return;
        }
        // A member hands out its remaining partitions while it waits for the others, but not for longer than the rebalance timeout since it
        // last got a good answer: if faults came in between, that was long ago.
        if self.joining.get(&who).is_some_and(|since| *since <= healed) {
            return;
        }
        for place in self.held.get(&who).into_iter().flatten() {
            let key = (who, place.clone());
            if self.paused.contains(&key) || self.judged.contains(&key) {
                continue;
            }
            let before = scene.at.saturating_sub(longest(scene.plan));
            if let Some(offset) = records.oldest_unread(scene.plan, scene.ledger, (who, place), before) {
                let text = format!(
                    "{who} polls and gets nothing for {} ms, and {place} has had offset {offset} for as long",
                    (scene.at - idle).as_millis()
                );
                complaints.add("LIVE2", scene.at, text);
                self.judged.insert(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::forge::{Forged, M0, orders};
    use crate::{
        clock::ms,
        events::{Call, What},
    };

    fn polls(forged: Forged, times: u64) -> Forged {
        (0..times).fold(forged, |forged, _| {
            let begins = What::PollBegins { who: M0, timeout: ms(100) };
            forged.tell(begins).wait(100).tell(What::PollEnds { who: M0, dropped: false })
        })
    }

    #[test]
    fn live2_a_partition_rests_though_it_has_records() {
        let waits = Forged::begun().tell(What::Healed).written(10..12, 0);
        polls(waits.clone(), 200).is_found("LIVE2");
        polls(waits.clone(), 100).holds();
        // It continues in time.
        polls(polls(waits.clone(), 100).handed(M0, 10..12, 0), 200).holds();
        // The partition is paused.
        polls(waits.clone().tell(What::Paused { who: M0, at: orders() }), 200).holds();
        // Its listener takes its time; and when it has ended, none is left.
        let listens = waits.clone().tell(What::ListenerBegins {
            who: M0,
            call: Call::Revoked,
            places: Vec::new(),
            generation: 1,
        });
        polls(listens.clone(), 200).holds();
        let over = polls(listens, 200).tell(What::ListenerEnds { who: M0, call: Call::Revoked });
        polls(over.clone(), 100).holds();
        polls(over, 200).is_found("LIVE2");
        // It has waited for the others since before that; or has only begun to now, or no longer waits.
        let asks = |api| What::Request { broker: 1, api, client: M0.to_string() };
        let joins = Forged::begun().tell(asks(11)).tell(What::Healed).written(10..12, 0);
        polls(joins.clone(), 200).holds();
        // It got no answer, and asks again.
        polls(polls(joins.clone(), 60).tell(asks(11)), 160).holds();
        polls(polls(joins.clone(), 60).tell(asks(14)).tell(asks(11)), 160).is_found("LIVE2");
        polls(waits.clone().tell(asks(11)), 200).is_found("LIVE2");
        polls(joins.tell(asks(14)), 200).is_found("LIVE2");
        // The faults are not over yet.
        polls(Forged::begun().written(10..12, 0), 200).holds();
    }
}
