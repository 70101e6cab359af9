//! Ownership: SAFE5 one owner in a generation, SAFE6 one owner at a time, SAFE7 no commit for revoked partitions, SAFE9 the order of
//! listener calls.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{Complaints, ledger::Ledger, spoken::Spoken};
use crate::{
    clock::ms,
    events::{Event, Place, What, Who},
    nemesis::LOADS,
    plan::{FaultKind, Plan, Protocol},
};

/// JoinGroup.
const JOIN: i16 = 11;
/// How long a commit may wait for a connection: the request timeout.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// After that the coordinator is looked up again.
const RECONNECTS: Duration = Duration::from_secs(2);

/// Why a member was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// Its session expired at the coordinator, which began to count later than the member did: the member knows.
    Session,
    /// It left by itself: it knows.
    Left,
    /// The coordinator removed it without a request of its own, and tells it with the next answer.
    Unheard,
    /// The coordinator lost the group's state: members learn of it one by one.
    Forgotten,
}

/// How a life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Closed,
    /// A dropped consumer may still finish its work in the background.
    Died,
}

#[derive(Debug, Default)]
pub(super) struct Ownership {
    /// The generation of each holder, and since when it holds.
    held: BTreeMap<Place, BTreeMap<Who, (i32, Duration)>>,
    members: BTreeMap<String, Who>,
    /// The present member id of each.
    names: BTreeMap<Who, String>,
    /// When a coordinator that was loading its groups last answered a heartbeat of each: without a look at its members, as in Kafka.
    renewed: BTreeMap<Who, Duration>,
    /// Members that were removed from the group since they were last given something: when and why.
    gone: BTreeMap<Who, (Duration, Why)>,
    /// When the coordinator last gave each member anything; below, all that it may hold since.
    granted: BTreeMap<Who, Duration>,
    /// The generation of that.
    generations: BTreeMap<Who, i32>,
    allowed: BTreeMap<Who, Vec<Place>>,
    /// Members that were last given partitions by a classic group, which a consumer group may have followed.
    classic: BTreeSet<Who>,
    /// When the coordinator last named a partition to a member.
    named: BTreeMap<(Who, Place), Duration>,
    joins: Vec<(Duration, Who)>,
    /// When members left, each of which begins a rebalance.
    left: Vec<Duration>,
    given_up: BTreeMap<(Who, Place), Duration>,
    /// Revoked partitions of which the coordinator is still to be told: by a JoinGroup, or with KIP-848 by the member's owned partitions.
    /// With each, the first of its records that the application finished only after the revocation.
    untold: BTreeMap<(Who, Place), Option<i64>>,
    /// Commits that a throttled connection held up until their partition was revoked.
    held_up: BTreeMap<(Who, Place), i64>,
    recreated: BTreeMap<Arc<str>, Duration>,
    /// When a coordinator last lost all state of the group.
    forgotten: Option<Duration>,
    /// When a coordinator last loaded the group. Pending joins were waiting at the previous one.
    loaded: Option<Duration>,
    /// Partitions named before the topic was created again, of which the member was told afterwards: it has the former topic's.
    former: BTreeSet<(Who, Place)>,
    listening: BTreeMap<Who, u32>,
    /// Members whose `close` was called.
    closing: BTreeSet<Who>,
    ended: BTreeMap<Who, Ended>,
    /// Calls of workers' handlers.
    calls: BTreeSet<(Who, u64)>,
}

/// Whether a coordinator may be loading its groups.
fn is_loading(plan: &Plan, at: Duration) -> bool {
    plan.faults.iter().any(|fault| {
        let loads = ms(fault.at)..ms(fault.at) + LOADS;
        matches!(fault.what, FaultKind::LoadGroups { .. }) && loads.contains(&at)
    })
}

impl Ownership {
    pub(super) fn is_held(&self, place: &Place) -> bool {
        self.held.get(place).is_some_and(|holders| !holders.is_empty())
    }

    pub(super) fn feed(
        &mut self,
        plan: &Plan,
        (ledger, spoken): (&Ledger, &Spoken),
        event: &Event,
        complaints: &mut Complaints,
    ) {
        let at = event.at;
        match &event.what {
            What::Named { who, member } if !member.is_empty() => {
                self.members.insert(member.clone(), *who);
                self.names.insert(*who, member.clone());
            }
            What::GroupAssigned { member, places, generation } => {
                if let Some(who) = self.members.get(member) {
                    self.granted.insert(*who, at);
                    self.generations.insert(*who, *generation);
                    self.named.extend(places.iter().map(|place| ((*who, place.clone()), at)));
                    self.allowed.insert(*who, places.clone());
                    if !plan.members[who.member].consumer_protocol {
                        // They have partitions by name: a partition given again is of the present topic.
                        for place in places {
                            let held = self.held.get_mut(place).and_then(|holders| holders.get_mut(who));
                            if let Some((_, since)) = held {
                                *since = at;
                            }
                        }
                    }
                    self.gone.remove(who);
                    if spoken.is_classic() {
                        self.classic.insert(*who);
                    } else {
                        self.classic.remove(who);
                    }
                }
            }
            What::MemberGone { member, why } => {
                // An id that was refused once, and that the member no longer uses, may expire later.
                let who = self.members.get(member).filter(|who| self.names.get(who) == Some(member));
                let why = match *why {
                    "session" => Why::Session,
                    "left" => Why::Left,
                    _ => Why::Unheard,
                };
                if let Some(who) = who {
                    self.gone.insert(*who, (at, why));
                }
                self.left.push(at);
            }
            // It was built before the revocation, and waited for a connection: the revoked ones are among them.
            What::OwnedSent { who, owned } if *owned > self.count_held(*who) => {}
            What::OwnedSent { who, .. } | What::JoinSent { who } => {
                self.untold.retain(|(of, _), _| of != who);
            }
            What::Processed { who, at: place, offset, .. } => {
                if let Some(first) = self.untold.get_mut(&(*who, place.clone())) {
                    *first = Some(first.unwrap_or(*offset).min(*offset));
                }
            }
            What::HeartbeatSent { who } if is_loading(plan, at) => {
                self.renewed.insert(*who, at);
            }
            What::CloseBegins { who, .. } => {
                self.closing.insert(*who);
            }
            What::StepsOut { who } => {
                self.gone.insert(*who, (at, Why::Left));
            }
            What::Request { api: JOIN, client, .. } => {
                self.joins.extend(Who::parse(client).map(|who| (at, who)));
            }
            What::Recreated { topic } => {
                self.recreated.insert(topic.clone(), at);
            }
            What::GroupLoaded => self.loaded = Some(at),
            What::Forgotten => {
                self.forgotten = Some(at);
                for who in self.names.keys() {
                    self.gone.entry(*who).or_insert((at, Why::Forgotten));
                }
            }
            What::Assigned { who, places, generation } => {
                for place in places {
                    self.assigned(plan, spoken, at, (*who, place, *generation), complaints);
                }
            }
            // A process that dies while it holds a change of ownership as a value drops it.
            What::Revoked { who, .. } | What::Lost { who, .. } if self.ended.contains_key(who) => {}
            What::Revoked { who, places } | What::Lost { who, places } => {
                for place in places {
                    self.given_up.insert((*who, place.clone()), at);
                    if matches!(event.what, What::Revoked { .. }) {
                        self.untold.insert((*who, place.clone()), None);
                    }
                    self.former.remove(&(*who, place.clone()));
                    let held = self.held.get_mut(place).and_then(|holders| holders.remove(who));
                    if held.is_none() {
                        complaints.add(
                            "SAFE9",
                            at,
                            format!("{who} was told that {place} goes, and did not hold it"),
                        );
                    }
                }
            }
            What::Crashed { who } | What::CloseEnds { who } | What::Panicked { who, .. } => {
                let closed = matches!(event.what, What::CloseEnds { .. });
                self.ended.insert(*who, if closed { Ended::Closed } else { Ended::Died });
                self.held.values_mut().for_each(|holders| {
                    holders.remove(who);
                });
            }
            What::ListenerBegins { who, call, .. } => {
                let running = self.listening.entry(*who).or_default();
                *running += 1;
                if *running > 1 {
                    complaints.add(
                        "SAFE9",
                        at,
                        format!("{who}: {call:?} began within another listener's call"),
                    );
                }
            }
            What::ListenerEnds { who, .. } => {
                let running = self.listening.entry(*who).or_default();
                *running = running.saturating_sub(1);
            }
            What::Delivered { who, at: place, offset, id, .. } => {
                self.delivered(plan, at, (*who, place, *offset), complaints);
                self.of_the_new_topic(plan, ledger, at, (*who, place, *offset, *id), complaints);
            }
            // Work that was started when the process died is dropped on arrival at its handler.
            What::HandlerBegan { who, .. } if self.ended.get(who) == Some(&Ended::Died) => {}
            // The handler goes on with the rest of its batch.
            What::HandlerBegan { who, call, at: place, offset, .. } if self.calls.insert((*who, *call)) => {
                self.delivered(plan, at, (*who, place, *offset), complaints);
            }
            What::CommitSent { who, at: place, offset, .. } => {
                self.commit_sent(plan, at, (*who, place, *offset), complaints);
            }
            What::Committed { member, at: place, offset, .. } => {
                let Some(who) = self.members.get(member) else { return };
                let held_up = self.held_up.get(&(*who, place.clone())) == Some(offset);
                if held_up && !self.holds(*who, place) && !self.is_coming(plan, *who, place) {
                    let text = format!("{who} committed {offset} in {place}, which it had let go of");
                    complaints.add("SAFE7", at, text);
                }
            }
            _ => {}
        }
    }

    fn count_held(&self, who: Who) -> usize {
        self.held.values().filter(|holders| holders.contains_key(&who)).count()
    }

    fn holds(&self, who: Who, place: &Place) -> bool {
        self.held.get(place).is_some_and(|holders| holders.contains_key(&who))
    }

    fn commit_sent(
        &mut self,
        plan: &Plan,
        at: Duration,
        (who, place, offset): (Who, &Place, i64),
        complaints: &mut Complaints,
    ) {
        match self.ended.get(&who) {
            Some(Ended::Died) => return,
            Some(Ended::Closed) => {
                let text = format!("{who} sent a commit of {offset} in {place} after its close had returned");
                return complaints.add("SAFE7", at, text);
            }
            None => {}
        }
        let holds = self.holds(who, place);
        // The application gets the end of a change before the group does: commits promised by then may wait for a connection or a broker
        // longer than the listener does, and the group is told once they are answered. Until then the partition is this member's, and the
        // coordinator waits: with KIP-848 until the member reports what it owns, else until it joins again. Records that the application
        // finished only afterwards are not part of that. A change taken as a value is over when the value is dropped; the last commit may
        // be sent as long as the coordinator counts the partition as this member's. The same holds for a closing member, if a commit waits
        // for the coordinator when the listener's time is over.
        let member = &plan.members[who.member];
        let key = (who, place.clone());
        let given_up = self.given_up.get(&key).copied();
        let late = self.untold.get(&key);
        let is_untold = late.is_some_and(|late| late.is_none_or(|late| offset <= late));
        let is_allowed = self.allowed.get(&who).is_some_and(|places| places.contains(place));
        let is_on_its_way = is_untold || (member.values && is_allowed);
        let is_closing = is_allowed && self.closing.contains(&who);
        let on_the_way_out = (is_on_its_way || is_closing) && !self.gone.contains_key(&who);
        // A commit that waited for a connection when the group was forgotten, or when the partition was revoked since, is refused by the
        // coordinator.
        let forgotten = self.gone.get(&who).is_some_and(|(gone, why)| {
            let since = given_up.filter(|_| is_untold).map_or(*gone, |given_up| given_up.max(*gone));
            *why == Why::Forgotten && at < since + REQUEST_TIMEOUT + RECONNECTS
        });
        // A commit in a worker's transaction names the former member id; the group refuses it, or accepts it and the transaction is
        // aborted. SAFE11 checks the result.
        let in_transaction = plan.work.as_ref().is_some_and(|work| work.transactional);
        if holds || on_the_way_out || forgotten || in_transaction || self.is_coming(plan, who, place) {
            return;
        }
        // Heartbeats are sent all the same, and overtake it. It names the former epoch, which the coordinator now refuses: that is checked
        // when it is answered.
        let quiet = |given_up: &Duration| {
            plan.faults.iter().any(|fault| {
                let FaultKind::Throttle { by, .. } = fault.what else { return false };
                ms(fault.at) <= *given_up && at <= *given_up + ms(by)
            })
        };
        if member.consumer_protocol && given_up.as_ref().is_some_and(quiet) {
            self.held_up.insert((who, place.clone()), offset);
        } else {
            let text = format!("{who} sent a commit of {offset} in {place}, which it does not hold");
            complaints.add("SAFE7", at, text);
        }
    }

    /// Whether the coordinator has given it the partition, and the application has yet to be told: the start of reading may be committed by
    /// then.
    fn is_coming(&self, plan: &Plan, who: Who, place: &Place) -> bool {
        let allowed = self.allowed.get(&who).is_some_and(|places| places.contains(place));
        let granted = self.granted.get(&who).copied().unwrap_or_default();
        let given_up = self.given_up.get(&(who, place.clone())).copied();
        if allowed {
            return given_up.is_none_or(|given_up| given_up < granted);
        }
        // Cooperative, and KIP-848: a partition taken away again before the application was told of it remains the member's until it
        // reports the revocation, and no other member's before that.
        let named = |who| self.named.get(&(who, place.clone())).copied();
        let member = &plan.members[who.member];
        let keeps = member.consumer_protocol || member.assignors.contains("cooperative");
        let Some(mine) = named(who).filter(|_| keeps) else { return false };
        let mut others = self.names.keys().filter(|other| **other != who);
        given_up.is_none_or(|given_up| given_up < mine)
            && others.all(|other| named(*other).is_none_or(|theirs| theirs <= mine))
    }

    /// Whether a member of the classic protocols may still have a partition of another. A classic group that becomes a consumer group takes
    /// over the last assignment of its members, or the one planned when the consumer group before it ended. (In a generation that began and
    /// whose leader never sent an assignment, that is empty.) All other partitions that they still have count as free: Kafka does not wait
    /// for their revocation.
    pub(super) fn is_converted(&self, plan: &Plan, spoken: &Spoken, who: Who, place: &Place) -> bool {
        let named = self.named.get(&(who, place.clone())).copied().unwrap_or_default();
        let lets_go = self.allowed.get(&who).is_some_and(|places| !places.contains(place));
        let converted = self.classic.contains(&who) && lets_go && !spoken.is_classic();
        let missed = self.generations.get(&who).is_some_and(|given| *given < spoken.converted_in());
        let unassigned = self.classic.contains(&who) && missed && !spoken.is_classic();
        (converted || unassigned || spoken.was_classic_after(named))
            && !plan.members[who.member].consumer_protocol
    }

    /// The member with this id.
    pub(super) fn who(&self, member: &str) -> Option<Who> {
        self.members.get(member).copied()
    }

    /// Whether this member commits for a partition that was given to another in this way while it has it: Kafka checks a commit only for
    /// the member's epoch, and accepts it.
    pub(super) fn was_taken(&self, plan: &Plan, spoken: &Spoken, member: &str, place: &Place) -> bool {
        let Some(who) = self.members.get(member) else { return false };
        let holds = |who: &Who| self.held.get(place).is_some_and(|holders| holders.contains_key(who));
        // In a consumer group the members of the classic protocols have partitions by topic id, too, though they do not know.
        let by_id = plan.members[who.member].consumer_protocol || !spoken.is_classic();
        holds(who)
            && (self.is_converted(plan, spoken, *who, place)
                || (by_id && self.has_the_former_topic(*who, place))
                || self.was_forgotten_with(*who, place))
    }

    /// Whether it was given this one by a group that the coordinator has forgotten since. If the group that began anew admits it before it
    /// learns of that, its commits count again: they are checked only for the generation, which may be the same.
    fn was_forgotten_with(&self, who: Who, place: &Place) -> bool {
        let named = self.named.get(&(who, place.clone()));
        named.is_some_and(|named| self.forgotten.is_some_and(|forgotten| *named < forgotten))
    }

    /// Whether it was given this one before the topic was created again.
    fn has_the_former_topic(&self, who: Who, place: &Place) -> bool {
        let named = self.named.get(&(who, place.clone()));
        let recreated = self.recreated.get(&place.topic);
        named.zip(recreated).is_some_and(|(named, recreated)| named <= recreated)
    }

    /// Whether a static member has not joined again within the rebalance timeout. Of members of the classic protocols Kafka then removes
    /// only the dynamic ones: this one it keeps, and the leader assigns by its last JoinGroup, which was sent before it had anything.
    fn is_passed_over(&self, plan: &Plan, at: Duration, who: Who) -> bool {
        let member = &plan.members[who.member];
        let granted = self.granted.get(&who).copied().max(self.loaded).unwrap_or_default();
        let timeout = Duration::from_millis(plan.max_poll_interval);
        let mut since = self.joins.iter().filter(|(joined, _)| *joined > granted);
        let begun =
            since.clone().map(|(joined, _)| joined).chain(self.left.iter().filter(|left| **left > granted));
        let waited = begun.into_iter().any(|begun| *begun + timeout <= at);
        // Its request may have been lost on the way, or answered by an error instead of the coordinator.
        let is_lost = |joined: &Duration| {
            plan.faults.iter().filter(|fault| ms(fault.at) <= *joined).any(|fault| {
                matches!(fault.what, FaultKind::Drop { api: JOIN, .. } | FaultKind::Code { api: JOIN, .. })
            })
        };
        let has_joined = since.any(|(joined, joiner)| *joiner == who && !is_lost(joined));
        member.instance_id && !member.consumer_protocol && waited && !has_joined
    }

    fn assigned(
        &mut self,
        plan: &Plan,
        spoken: &Spoken,
        at: Duration,
        (who, place, generation): (Who, &Place, i32),
        complaints: &mut Complaints,
    ) {
        let holders = self.held.get(place).cloned().unwrap_or_default();
        if holders.contains_key(&who) {
            complaints.add("SAFE9", at, format!("{who} was given {place}, which it holds"));
        }
        // It may learn of an assignment late, when it has been removed already: it is told so next, and handed nothing. (If it is handed
        // records all the same, that is checked then.)
        let outdated = self.gone.contains_key(&who);
        // KIP-848 gives partitions by topic id. A partition last named before the topic was created again is of the former one, whoever has
        // the new one meanwhile: an application that stalls is told of it late, and next that it is gone. Members of the classic protocols
        // in such a group have the former one too, by its name.
        let by_id = plan.members[who.member].consumer_protocol || !spoken.is_classic();
        let of = self.named.get(&(who, place.clone())).copied().filter(|_| by_id);
        let recreated = self.recreated.get(&place.topic).copied();
        let former = recreated.filter(|recreated| of.is_some_and(|of| of <= *recreated));
        for (other, (theirs, since)) in holders.iter().filter(|_| !outdated && former.is_none()) {
            if self.recreated.get(&place.topic).is_some_and(|recreated| *since <= *recreated) {
                continue; // theirs is of another topic of that name
            }
            // It may not know yet that it was removed; but it must have been. A coordinator that forgot everything begins again at
            // generation 1.
            if self.gone.contains_key(other) {
                continue;
            }
            // Either may have what it was given before that, even if it is told of it late.
            if self.is_converted(plan, spoken, *other, place) || self.is_converted(plan, spoken, who, place) {
                continue;
            }
            // A consumer group that began anew admits a classic member by its present id, without its owned partitions.
            let is_classic = !plan.members[other.member].consumer_protocol;
            if is_classic && !spoken.is_classic() && self.was_forgotten_with(*other, place) {
                continue;
            }
            if *other != who && self.is_passed_over(plan, at, *other) {
                continue;
            }
            let classic = !matches!(plan.protocol, Protocol::Consumer | Protocol::Migrating);
            if *other != who && *theirs == generation && classic {
                let text = format!("{other} and {who} both hold {place} in generation {generation}");
                complaints.add("SAFE5", at, text);
            }
            if *other != who {
                complaints.add(
                    "SAFE6",
                    at,
                    format!("{who} was given {place} while {other} holds it and is a member"),
                );
            }
        }
        // (Classic members go on by that name, whoever has the new topic by its id: they are not told which of the two theirs is.)
        if former.is_some() && plan.members[who.member].consumer_protocol {
            self.former.insert((who, place.clone()));
        }
        let since = former.unwrap_or(at);
        self.held.entry(place.clone()).or_default().insert(who, (generation, since));
    }

    fn delivered(
        &self,
        plan: &Plan,
        at: Duration,
        (who, place, offset): (Who, &Place, i64),
        complaints: &mut Complaints,
    ) {
        let holders = self.held.get(place);
        if !holders.is_some_and(|holders| holders.contains_key(&who)) {
            let text = format!("{who} was handed {place} offset {offset}, and does not hold {place}");
            complaints.add("SAFE9", at, text);
        }
        if self.listening.get(&who).is_some_and(|running| *running > 0) {
            complaints.add(
                "SAFE9",
                at,
                format!("{who} was handed {place} offset {offset} while its listener ran"),
            );
        }
        let session = Duration::from_millis(plan.session_timeout);
        if let Some((gone, why)) = self.gone.get(&who) {
            let until = match why {
                Why::Session | Why::Left => *gone,
                // It learns of it from the answer to its next heartbeat; without an answer, its session expires.
                Why::Unheard | Why::Forgotten => {
                    let renewed = self.renewed.get(&who).copied().unwrap_or_default();
                    renewed.max(*gone) + session
                }
            };
            if at > until {
                let since = at.saturating_sub(*gone).as_millis();
                let text = format!(
                    "{who} was handed {place} offset {offset} {since} ms after it was put out of the group ({why:?})"
                );
                complaints.add("SAFE6", at, text);
            }
        }
    }

    /// A member that was given a topic by its id before it was created again, while others were given the new one, reads nothing of the new
    /// one.
    fn of_the_new_topic(
        &self,
        plan: &Plan,
        ledger: &Ledger,
        at: Duration,
        (who, place, offset, id): (Who, &Place, i64, u64),
        complaints: &mut Complaints,
    ) {
        let Some(recreated) = self.recreated.get(&place.topic) else { return };
        let record = ledger.log(place).and_then(|log| log.records.get(&offset));
        let is_new = record.is_some_and(|record| record.id == id && record.since > *recreated);
        let others = self.held.get(place).is_some_and(|holders| {
            holders.iter().any(|(other, (_, since))| *other != who && since > recreated)
        });
        // KIP-848 gives partitions by topic id.
        let by_id = plan.members[who.member].consumer_protocol;
        let has_the_former =
            self.former.contains(&(who, place.clone())) || (by_id && self.has_the_former_topic(who, place));
        if has_the_former && is_new && others {
            let text = format!(
                "{who} was given {place} before the topic was created again, and was handed offset {offset} of the new one, \
                 which others hold"
            );
            complaints.add("SAFE6", at, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::forge::{Forged, M0, M1, orders};
    use crate::{
        clock::ms,
        events::{Call, What, Who},
        plan::FaultKind,
    };

    fn gone(forged: Forged, why: &'static str) -> Forged {
        // There was a fault, or no member would be removed (LIVE6).
        let late = FaultKind::Late { api: 12, by: 7_000, times: 1 };
        forged.fault(1, late).tell(What::MemberGone { member: M0.to_string(), why })
    }

    #[test]
    fn safe5_safe6_two_owners() {
        let two = Forged::begun().joins(M1, 1);
        two.is_found("SAFE5");
        two.is_found("SAFE6");
        gone(Forged::begun(), "session").joins(M1, 2).holds();
        Forged::begun().revoked(M0).joins(M1, 2).holds();
    }

    #[test]
    fn safe6_a_member_that_left_is_handed_nothing_more() {
        let left = gone(Forged::begun().written(10..11, 0), "left");
        left.clone().handed(M0, 10..11, 0).is_found("SAFE6");
        // A member that was removed by a rebalance learns of it from its next heartbeat.
        let out = gone(Forged::begun().written(10..12, 0), "rebalance");
        out.clone().handed(M0, 10..11, 0).holds();
        out.wait(6_100).handed(M0, 10..11, 0).is_found("SAFE6");
        // The plan of seed 26143937: its heartbeat was answered by a coordinator that was loading, which does not look whether it is a member.
        let answered = |forged: Forged| {
            let out = gone(forged.written(10..12, 0), "replaced").wait(3_000);
            out.tell(What::HeartbeatSent { who: M0 }).wait(3_100).handed(M0, 10..11, 0)
        };
        let loads = |at| Forged::begun().fault(at, FaultKind::LoadGroups { broker: 1 });
        answered(loads(3_000)).holds();
        answered(loads(1)).is_found("SAFE6");
    }

    #[test]
    fn safe6_a_group_that_was_forgotten_is_known_of_within_a_session() {
        let forgotten = Forged::begun().written(10..12, 0).tell(What::Forgotten);
        forgotten.clone().handed(M0, 10..11, 0).holds();
        forgotten.wait(6_100).handed(M0, 10..11, 0).is_found("SAFE6");
    }

    #[test]
    fn safe6_nor_is_an_exemption_left_when_it_has_joined_again() {
        let again =
            Forged::begun().tell(What::Forgotten).tell(What::Lost { who: M0, places: vec![orders()] });
        let again = again.granted(M0, 1).assigned(M0, 1);
        again.joins(M1, 1).is_found("SAFE6");
    }

    #[test]
    fn safe7_a_commit_of_what_was_given_up() {
        Forged::begun().revoked(M0).tell(What::JoinSent { who: M0 }).sends(M0, 10).is_found("SAFE7");
        Forged::begun().sends(M0, 10).revoked(M0).tell(What::JoinSent { who: M0 }).holds();
    }

    #[test]
    fn safe7_a_promised_commit_may_wait_for_a_connection_until_the_group_is_told() {
        // The plan of seed 6051057: the listener has ended, and an earlier commit still waits for its connection.
        let revoked = || Forged::begun().written(10..12, 0).handed(M0, 10..12, 0).revoked(M0);
        revoked().wait(900).sends(M0, 10).holds();
        // The application finished this one after it had lost the partition.
        let late = || revoked().processed(M0, 10..11, 0);
        late().sends(M0, 10).holds();
        late().sends(M0, 11).is_found("SAFE7");
        // The group, as far as the member knows, no longer counts it as the owner.
        let lost = Forged::begun().tell(What::Lost { who: M0, places: vec![orders()] });
        lost.sends(M0, 10).is_found("SAFE7");
        gone(revoked(), "session").sends(M0, 10).is_found("SAFE7");
    }

    #[test]
    fn safe7_a_commit_after_the_close() {
        let closed = Forged::begun().tell(What::CloseEnds { who: M0 });
        closed.clone().sends(M0, 10).is_found("SAFE7");
        // A dropped consumer may finish its work in the background.
        Forged::begun().tell(What::Crashed { who: M0 }).sends(M0, 10).holds();
    }

    #[test]
    fn safe7_a_closing_member_may_commit_until_it_has_left() {
        let begins = What::CloseBegins { who: M0, timeout: ms(10_000) };
        let closing = || Forged::begun().tell(begins.clone()).revoked(M0);
        closing().sends(M0, 10).holds();
        gone(closing(), "left").sends(M0, 10).is_found("SAFE7");
        // The rebalance completed without it.
        let nothing = What::GroupAssigned { member: M0.to_string(), generation: 2, places: Vec::new() };
        closing().tell(What::JoinSent { who: M0 }).tell(nothing).sends(M0, 10).is_found("SAFE7");
    }

    #[test]
    fn safe7_as_a_value_only_until_the_group_has_heard() {
        let begun = Forged::begun().planned(|plan| plan.members[0].values = true).revoked(M0);
        begun.clone().sends(M0, 10).holds();
        begun.clone().joins(M1, 2).sends(M0, 10).holds();
        let narrowed = What::GroupAssigned { member: M0.to_string(), generation: 2, places: Vec::new() };
        begun.clone().tell(narrowed.clone()).sends(M0, 10).holds();
        begun.tell(What::JoinSent { who: M0 }).tell(narrowed).sends(M0, 10).is_found("SAFE7");
    }

    #[test]
    fn safe7_a_partition_being_revoked_is_the_members_until_it_reports_the_revocation() {
        // The plans of seeds 6003247, 6004788 and 6016464: it commits while it revokes, and its poll is dropped in the middle.
        let of = |consumer_protocol| {
            let begun = Forged::begun().planned(|plan| {
                (plan.members[0].consumer_protocol, plan.members[0].values) = (consumer_protocol, true);
            });
            let says = begun.tell(What::OwnedSent { who: M0, owned: 0 });
            let narrowed = What::GroupAssigned { member: M0.to_string(), generation: 1, places: Vec::new() };
            says.tell(narrowed).revoked(M0)
        };
        of(false).sends(M0, 10).holds();
        of(false).tell(What::JoinSent { who: M0 }).sends(M0, 10).is_found("SAFE7");
        // The plan of seed 6004897: while a commit is awaited, heartbeats are sent, and another commit follows.
        of(true).tell(What::HeartbeatSent { who: M0 }).sends(M0, 10).holds();
        of(true).tell(What::OwnedSent { who: M0, owned: 0 }).sends(M0, 10).is_found("SAFE7");
        gone(of(true), "session").sends(M0, 10).is_found("SAFE7");
        gone(of(false), "session").sends(M0, 10).is_found("SAFE7");
    }

    #[test]
    fn safe7_a_commit_that_waited_for_a_connection_when_the_group_was_forgotten_is_refused() {
        // The plan of seed 6015106: its request is swallowed, and after it gives up it has to find the coordinator again.
        let closing = Forged::begun().tell(What::CloseBegins { who: M0, timeout: ms(10_000) });
        let forgotten = closing.tell(What::Forgotten).revoked(M0);
        forgotten.clone().wait(10_800).sends(M0, 10).holds();
        forgotten.wait(12_100).sends(M0, 10).is_found("SAFE7");
        // The plan of seed 3965309: it has not heard of that when it gives the partition up, as it cannot reach the coordinator.
        let given_up = Forged::begun().tell(What::Forgotten).wait(11_000).revoked(M0);
        given_up.clone().wait(5_400).sends(M0, 10).holds();
        given_up.wait(12_100).sends(M0, 10).is_found("SAFE7");
        let lost = What::Lost { who: M0, places: vec![orders()] };
        Forged::begun().tell(What::Forgotten).wait(12_100).tell(lost).sends(M0, 10).is_found("SAFE7");
    }

    #[test]
    fn safe6_a_static_member_that_did_not_join_in_time_is_passed_over() {
        let begun = || Forged::begun().planned(|plan| plan.members[0].instance_id = true).starts(M1);
        let leaves = What::MemberGone { member: M1.to_string(), why: "left" };
        let timeout = 60_000;
        let rebalanced = begun().tell(leaves).wait(timeout);
        rebalanced.clone().joins(M1, 2).holds();
        // It has joined again meanwhile.
        let joins = What::Request { broker: 1, api: 11, client: M0.to_string() };
        rebalanced.clone().tell(joins.clone()).joins(M1, 2).is_found("SAFE6");
        // Or it has not, as its request was lost, or answered by an error (the plan of seed 9200556).
        let lost = |at, kind| rebalanced.clone().fault(at, kind).tell(joins.clone()).joins(M1, 2);
        for kind in [FaultKind::Drop { api: 11, times: 1 }, FaultKind::Code { api: 11, code: 16, times: 1 }] {
            lost(1, kind.clone()).holds();
            lost(10 * timeout, kind).is_found("SAFE6");
        }
        // While it waited to join, another coordinator loaded the group, and all members have to join anew.
        let joined = |who: Who| What::Request { broker: 1, api: 11, client: who.to_string() };
        let moved = |forged: Forged| forged.tell(joins.clone()).tell(What::GroupLoaded).tell(joined(M1));
        moved(begun()).wait(timeout).joins(M1, 2).holds();
        moved(begun()).tell(joins.clone()).wait(timeout).joins(M1, 2).is_found("SAFE6");
        moved(begun()).joins(M1, 2).is_found("SAFE6");
        // No rebalance has lasted that long.
        begun().wait(timeout).joins(M1, 2).is_found("SAFE6");
    }

    /// Both protocols in one group: Kafka does not wait for members whose owned partitions it has not kept.
    #[test]
    fn safe6_partitions_that_a_group_forgot_with_its_protocol_are_free() {
        let migrating = |plan: &mut crate::plan::Plan| {
            plan.protocol = crate::plan::Protocol::Migrating;
            plan.members[1].consumer_protocol = true;
        };
        // The first is given the partition; the last member of KIP-848 leaves; another joins.
        let begun = || Forged::begun().planned(migrating).starts(M1);
        let nothing =
            |who: Who| What::GroupAssigned { member: who.to_string(), generation: 2, places: Vec::new() };
        let classic =
            begun().tell(nothing(M1)).tell(What::MemberGone { member: M1.to_string(), why: "left" });
        classic.clone().tell(nothing(M0)).joins(M1, 3).holds();
        // The group never was a classic one in between, or has given the partition anew since.
        begun().tell(nothing(M1)).tell(nothing(M0)).joins(M1, 3).is_found("SAFE6");
        classic.tell(nothing(M1)).granted(M0, 3).joins(M1, 3).is_found("SAFE6");
        // The application of the first is told only then of its assignment.
        let late = || {
            let given = Forged::new().planned(migrating).starts(M0).granted(M0, 1).tell(nothing(M0));
            given.starts(M1).granted(M1, 3).assigned(M1, 3)
        };
        late().assigned(M0, 1).holds();
        late().granted(M0, 4).assigned(M0, 4).is_found("SAFE6");
        late().planned(|plan| plan.members[1].consumer_protocol = false).assigned(M0, 1).is_found("SAFE6");
    }

    #[test]
    fn safe6_a_consumer_group_takes_over_nothing_of_a_generation_that_nobody_was_assigned_in() {
        let migrating = |plan: &mut crate::plan::Plan| {
            plan.protocol = crate::plan::Protocol::Migrating;
            plan.members[1].consumer_protocol = true;
        };
        let begun = || Forged::begun().planned(migrating).starts(M1);
        // The classic group is in generation 2 by then.
        begun().granted(M1, 3).assigned(M1, 3).holds();
        begun().granted(M1, 2).assigned(M1, 2).is_found("SAFE6");
        begun().granted(M0, 2).granted(M1, 3).assigned(M1, 3).is_found("SAFE6");
    }

    #[test]
    fn safe6_a_consumer_group_that_began_anew_does_not_know_what_a_classic_member_has() {
        let migrating = |plan: &mut crate::plan::Plan| {
            plan.protocol = crate::plan::Protocol::Migrating;
            plan.members[1].consumer_protocol = true;
        };
        let nothing = What::GroupAssigned { member: M0.to_string(), generation: 2, places: Vec::new() };
        let taken_in = |forged: Forged| forged.granted(M1, 1).tell(nothing.clone()).joins(M1, 2);
        let begun = || Forged::begun().planned(migrating).starts(M1);
        taken_in(begun().tell(What::Forgotten)).holds();
        taken_in(begun()).is_found("SAFE6");
        // It was given the partition by the new group.
        taken_in(begun().tell(What::Forgotten).granted(M0, 1)).is_found("SAFE6");
    }

    #[test]
    fn safe6_a_classic_member_that_is_given_a_partition_again_has_that_of_the_new_topic() {
        let migrating = |plan: &mut crate::plan::Plan| {
            plan.protocol = crate::plan::Protocol::Migrating;
            plan.members[1].consumer_protocol = true;
        };
        let modern = What::GroupAssigned { member: M1.to_string(), generation: 1, places: Vec::new() };
        let begun = Forged::new().planned(migrating).starts(M1).tell(modern);
        // It is told of its former assignment when the topic is another already, whose partition another member has.
        let late = |forged: Forged| {
            let former =
                forged.starts(M0).granted(M0, 2).recreated().wait(5).assigned(M0, 2).written(0..2, 1);
            former.reset(M0, None, 0)
        };
        let both = |forged: Forged| forged.granted(M1, 3).assigned(M1, 3).handed(M0, 0..1, 1);
        both(late(begun.clone())).holds();
        both(late(begun.clone()).granted(M0, 3)).is_found("SAFE6");
        // By then it has been told already that it lost the partition.
        let nothing = What::GroupAssigned { member: M0.to_string(), generation: 3, places: Vec::new() };
        let given = || begun.clone().starts(M0).granted(M0, 2);
        let taken = |forged: Forged| forged.wait(5).tell(nothing.clone());
        taken(given().recreated()).assigned(M0, 2).granted(M1, 3).assigned(M1, 3).holds();
        taken(given().recreated()).granted(M1, 3).assigned(M1, 3).assigned(M0, 2).holds();
        taken(given()).assigned(M0, 2).granted(M1, 3).assigned(M1, 3).is_found("SAFE6");
        taken(given()).granted(M1, 3).assigned(M1, 3).assigned(M0, 2).is_found("SAFE6");
        // A member of KIP-848 knows the topic id of its partition.
        let by_id = begun.planned(|plan| plan.members[0].consumer_protocol = true);
        both(late(by_id)).is_found("SAFE6");
    }

    #[test]
    fn safe7_a_partition_taken_away_before_the_application_is_told_is_still_its_own() {
        let taken = |assignors: &str| {
            let forged = Forged::new().planned(|plan| plan.members[0].assignors = assignors.to_owned());
            let granted = forged.written(0..1, 0).starts(M0).granted(M0, 1).reset(M0, None, 0);
            granted.tell(What::GroupAssigned { member: M0.to_string(), generation: 2, places: Vec::new() })
        };
        taken("cooperative-sticky").sends(M0, 0).holds();
        // Eager: it revoked all before it joined.
        taken("range").sends(M0, 0).is_found("SAFE7");
        // Another member was given it: so this one has revoked it.
        taken("cooperative-sticky").starts(M1).granted(M1, 3).sends(M0, 0).is_found("SAFE7");
    }

    #[test]
    fn safe7_a_commit_that_waited_for_a_connection_precedes_the_revoking_heartbeat() {
        let modern = || Forged::begun().planned(|plan| plan.members[0].consumer_protocol = true).revoked(M0);
        modern().sends(M0, 10).holds();
        modern().tell(What::OwnedSent { who: M0, owned: 0 }).sends(M0, 10).is_found("SAFE7");
        // The plans of seeds 26113129 and 26115580: the heartbeat was built before the revocation, and waited for a connection too.
        modern().tell(What::OwnedSent { who: M0, owned: 1 }).sends(M0, 10).holds();
        // With the classic protocols it is a JoinGroup, which has its own connection, but is sent after the commit is answered.
        Forged::begun().revoked(M0).sends(M0, 10).holds();
        Forged::begun().revoked(M0).tell(What::JoinSent { who: M0 }).sends(M0, 10).is_found("SAFE7");
    }

    #[test]
    fn safe7_a_commit_held_up_by_a_broker_is_overtaken_by_the_heartbeat_and_refused() {
        let modern = || Forged::begun().planned(|plan| plan.members[0].consumer_protocol = true);
        let held_up = |forged: Forged, after| {
            let released = forged.revoked(M0).tell(What::OwnedSent { who: M0, owned: 0 });
            let nothing = What::GroupAssigned { member: M0.to_string(), generation: 2, places: Vec::new() };
            released.tell(nothing).wait(after).sends(M0, 10)
        };
        let quiet = || modern().fault(1, FaultKind::Throttle { api: 8, by: 1_000 });
        held_up(quiet(), 900).holds();
        held_up(quiet(), 1_100).is_found("SAFE7");
        held_up(modern(), 900).is_found("SAFE7");
        // The coordinator accepted it.
        held_up(quiet(), 900).noted(M0, 10).is_found("SAFE7");
        held_up(quiet(), 900).granted(M0, 3).noted(M0, 10).holds();
    }

    #[test]
    fn safe9_the_grammar_of_listeners() {
        let begins =
            || What::ListenerBegins { who: M0, call: Call::Revoked, places: Vec::new(), generation: 1 };
        let running = Forged::begun().written(10..11, 0).tell(begins());
        running.clone().handed(M0, 10..11, 0).is_found("SAFE9");
        running.clone().tell(begins()).is_found("SAFE9");
        running.tell(What::ListenerEnds { who: M0, call: Call::Revoked }).handed(M0, 10..11, 0).holds();
        Forged::begun().assigned(M0, 2).is_found("SAFE9");
        Forged::begun().revoked(M0).tell(What::Lost { who: M0, places: vec![orders()] }).is_found("SAFE9");
    }
}
