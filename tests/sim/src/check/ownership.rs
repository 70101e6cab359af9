//! Who holds what: S5 one owner in a generation, S6 one owner at a time, S7 no commit of what was given up, S9 the grammar of
//! listeners.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{Complaints, spoken::Spoken};
use crate::{
    events::{Event, Place, What, Who},
    plan::{Plan, Protocol},
};

/// JoinGroup.
const JOIN: i16 = 11;
/// How long a commit may be on its way out.
const GOING: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Ownership {
    /// The generation, and since when.
    held: BTreeMap<Place, BTreeMap<Who, (i32, Duration)>>,
    members: BTreeMap<String, Who>,
    /// By what name each goes now.
    names: BTreeMap<Who, String>,
    /// Who was put out of the group, when and why, since it was last given something.
    gone: BTreeMap<Who, (Duration, &'static str)>,
    /// When the coordinator last gave them anything, and all that they may hold since.
    granted: BTreeMap<Who, Duration>,
    allowed: BTreeMap<Who, Vec<Place>>,
    /// Who was last given anything by a classic group, which a consumer group may have followed.
    classic: BTreeSet<Who>,
    /// When the coordinator last named a partition to a member.
    named: BTreeMap<(Who, Place), Duration>,
    joins: Vec<(Duration, Who)>,
    given_up: BTreeMap<(Who, Place), Duration>,
    recreated: BTreeMap<Arc<str>, Duration>,
    listening: BTreeMap<Who, u32>,
    ended: BTreeMap<Who, Duration>,
    /// The coordinator lost its mind: members learn of it one by one.
    forgotten: Option<Duration>,
}

impl Ownership {
    pub(super) fn is_held(&self, place: &Place) -> bool {
        self.held.get(place).is_some_and(|holders| !holders.is_empty())
    }

    pub(super) fn feed(&mut self, plan: &Plan, spoken: &Spoken, event: &Event, complaints: &mut Complaints) {
        let at = event.at;
        match &event.what {
            What::Named { who, member } if !member.is_empty() => {
                self.members.insert(member.clone(), *who);
                self.names.insert(*who, member.clone());
            }
            What::GroupAssigned { member, places, .. } => {
                if let Some(who) = self.members.get(member) {
                    self.granted.insert(*who, at);
                    self.named.extend(places.iter().map(|place| ((*who, place.clone()), at)));
                    self.allowed.insert(*who, places.clone());
                    self.gone.remove(who);
                    if spoken.is_classic() {
                        self.classic.insert(*who);
                    } else {
                        self.classic.remove(who);
                    }
                }
            }
            What::MemberGone { member, why } => {
                // A name that was refused once, and that it goes by no longer, may expire later.
                let who = self.members.get(member).filter(|who| self.names.get(who) == Some(member));
                if let Some(who) = who {
                    self.gone.insert(*who, (at, why));
                }
            }
            What::StepsOut { who } => {
                self.gone.insert(*who, (at, "stepped out"));
            }
            What::Request { api: JOIN, client, .. } => {
                self.joins.extend(Who::parse(client).map(|who| (at, who)));
            }
            What::Recreated { topic } => {
                self.recreated.insert(topic.clone(), at);
            }
            What::Forgotten => self.forgotten = Some(at),
            What::Assigned { who, places, generation } => {
                for place in places {
                    self.assigned(plan, spoken, at, (*who, place, *generation), complaints);
                }
            }
            // A process that dies with a change in hand, as a value, lets go of it.
            What::Revoked { who, .. } | What::Lost { who, .. } if self.ended.contains_key(who) => {}
            What::Revoked { who, places } | What::Lost { who, places } => {
                for place in places {
                    self.given_up.insert((*who, place.clone()), at);
                    let held = self.held.get_mut(place).and_then(|holders| holders.remove(who));
                    if held.is_none() {
                        complaints.add(
                            "S9",
                            at,
                            format!("{who} was told that {place} goes, and did not hold it"),
                        );
                    }
                }
            }
            What::Crashed { who } | What::CloseEnds { who } | What::Panicked { who, .. } => {
                self.ended.insert(*who, at);
                self.held.values_mut().for_each(|holders| {
                    holders.remove(who);
                });
            }
            What::ListenerBegins { who, call, .. } => {
                let running = self.listening.entry(*who).or_default();
                *running += 1;
                if *running > 1 {
                    complaints.add("S9", at, format!("{who}: {call:?} began within another listener's call"));
                }
            }
            What::ListenerEnds { who, .. } => {
                let running = self.listening.entry(*who).or_default();
                *running = running.saturating_sub(1);
            }
            What::Delivered { who, at: place, offset, .. } => {
                self.delivered(plan, at, (*who, place, *offset), complaints);
            }
            What::CommitSent { who, at: place, offset } => {
                // What a consumer that was dropped still finishes in the background is not looked at.
                let over = self.ended.contains_key(who) || self.is_coming(plan, *who, place);
                // As a value a change is told to be over when it is let go of; a commit that nobody waited for, or the last
                // of records that are finished one by one, may leave after that, before the group hears of it. And what
                // waited for a connection when the group was forgotten is refused by the coordinator.
                let on_the_way_out = plan.members.get(who.member).is_some_and(|member| member.values);
                let forgotten = self.forgotten.is_some_and(|since| at < since + GOING);
                let going =
                    self.given_up.get(&(*who, place.clone())).is_some_and(|since| at < *since + GOING);
                let over = over || (going && (on_the_way_out || forgotten));
                if !over && !self.held.get(place).is_some_and(|holders| holders.contains_key(who)) {
                    let text = format!("{who} sent a commit of {offset} in {place}, which it does not hold");
                    complaints.add("S7", at, text);
                }
            }
            _ => {}
        }
    }

    /// Whether the coordinator has given it the partition, and the application is still to be told: where reading starts
    /// may be committed by then.
    fn is_coming(&self, plan: &Plan, who: Who, place: &Place) -> bool {
        let allowed = self.allowed.get(&who).is_some_and(|places| places.contains(place));
        let granted = self.granted.get(&who).copied().unwrap_or_default();
        let given_up = self.given_up.get(&(who, place.clone())).copied();
        if allowed {
            return given_up.is_none_or(|given_up| given_up < granted);
        }
        // KIP-848: what is taken away again before the application was told of it is its own until it says that it lets go,
        // and nobody else's before that.
        let named = |who| self.named.get(&(who, place.clone())).copied();
        let Some(mine) = named(who).filter(|_| plan.members[who.member].consumer_protocol) else {
            return false;
        };
        let mut others = self.names.keys().filter(|other| **other != who);
        given_up.is_none_or(|given_up| given_up < mine)
            && others.all(|other| named(*other).is_none_or(|theirs| theirs <= mine))
    }

    /// Whether a member of the classic protocols may still have a partition that is another's. A classic group that becomes a
    /// consumer group takes over what its members were last assigned, or were to be when the consumer group before it ended.
    /// What they still have beyond that counts as free: Kafka waits for nobody.
    fn is_converted(&self, plan: &Plan, spoken: &Spoken, who: Who, place: &Place) -> bool {
        let granted = self.granted.get(&who).copied().unwrap_or_default();
        let lets_go = self.allowed.get(&who).is_some_and(|places| !places.contains(place));
        let converted = self.classic.contains(&who) && lets_go && !spoken.is_classic();
        (converted || spoken.was_classic_after(granted)) && !plan.members[who.member].consumer_protocol
    }

    /// Whether this member commits what was so given to another while it has it: Kafka asks a commit only for the member's
    /// epoch, and takes it.
    pub(super) fn was_taken(&self, plan: &Plan, spoken: &Spoken, member: &str, place: &Place) -> bool {
        let Some(who) = self.members.get(member) else { return false };
        let holds = |who: &Who| self.held.get(place).is_some_and(|holders| holders.contains_key(who));
        holds(who) && self.is_converted(plan, spoken, *who, place)
    }

    /// Whether a static member has not joined again within the rebalance timeout. Of the classic protocols' members Kafka
    /// removes only the others then: this one it keeps, and lets the leader assign by what it said when it last joined, which
    /// was before it had anything.
    fn is_passed_over(&self, plan: &Plan, at: Duration, who: Who) -> bool {
        let member = &plan.members[who.member];
        let granted = self.granted.get(&who).copied().unwrap_or_default();
        let timeout = Duration::from_millis(plan.max_poll_interval);
        let mut since = self.joins.iter().filter(|(joined, _)| *joined > granted);
        let waited = since.clone().any(|(joined, _)| *joined + timeout <= at);
        member.instance_id && !member.consumer_protocol && waited && since.all(|(_, joiner)| *joiner != who)
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
            complaints.add("S9", at, format!("{who} was given {place}, which it holds"));
        }
        // It may hear of an assignment late, when it has been put out already: it is told so next, and handed nothing.
        let outdated = self.gone.contains_key(&who)
            || self
                .forgotten
                .is_some_and(|forgotten| self.granted.get(&who).is_none_or(|granted| *granted <= forgotten));
        // KIP-848 gives partitions by topic id. What it last named before the topic was created again is of the former one,
        // whoever has the new one meanwhile: an application that stalls hears of it late, and next that it is gone. Members of
        // the classic protocols in such a group have what they were given, by name, before it was created again.
        let of = match plan.members[who.member].consumer_protocol {
            true => self.named.get(&(who, place.clone())).copied(),
            false if spoken.is_classic() => None,
            false => self.granted.get(&who).copied(),
        };
        let recreated = self.recreated.get(&place.topic).copied();
        let former = recreated.filter(|recreated| of.is_some_and(|of| of <= *recreated));
        for (other, (theirs, since)) in holders.iter().filter(|_| !outdated && former.is_none()) {
            // A coordinator that forgot everything begins again at generation 1; who was in it learns of it one by one.
            let granted = self.granted.get(other).copied().unwrap_or_default();
            if self.recreated.get(&place.topic).is_some_and(|recreated| *since <= *recreated) {
                continue; // theirs is another topic of that name
            }
            if self.forgotten.is_some_and(|forgotten| (*since).min(granted) <= forgotten) {
                continue;
            }
            if self.is_converted(plan, spoken, *other, place) {
                continue;
            }
            if *other != who && self.is_passed_over(plan, at, *other) {
                continue;
            }
            let classic = !matches!(plan.protocol, Protocol::Consumer | Protocol::Migrating);
            if *other != who && *theirs == generation && classic {
                let text = format!("{other} and {who} both hold {place} in generation {generation}");
                complaints.add("S5", at, text);
            }
            // The other may not know yet that it is out; but it must be out.
            if *other != who && !self.gone.contains_key(other) {
                complaints.add(
                    "S6",
                    at,
                    format!("{who} was given {place} while {other} holds it and is a member"),
                );
            }
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
            complaints.add("S9", at, text);
        }
        if self.listening.get(&who).is_some_and(|running| *running > 0) {
            complaints.add(
                "S9",
                at,
                format!("{who} was handed {place} offset {offset} while its listener ran"),
            );
        }
        let session = Duration::from_millis(plan.session_timeout);
        if let Some((gone, why)) = self.gone.get(&who) {
            // The session ran out at the coordinator, which began to count later than the member did.
            let late = at > *gone && (*why == "session" || at > *gone + session);
            if late {
                let since = at.saturating_sub(*gone).as_millis();
                let text = format!(
                    "{who} was handed {place} offset {offset} {since} ms after it was put out of the group ({why})"
                );
                complaints.add("S6", at, text);
            }
        }
    }
}
