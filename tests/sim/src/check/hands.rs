//! Members that assign by hand. Each is a group of its own: its records and commits are checked by the same rules as a group's, and
//! partitions have no owners.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Complaints,
    ledger::Ledger,
    records::{Records, Scene},
    rest::Rest,
};
use crate::{
    events::{Event, Place, What, Who},
    plan::Plan,
};

#[derive(Debug, Default)]
pub(super) struct Hands {
    groups: BTreeMap<usize, Hand>,
}

#[derive(Debug, Default)]
struct Hand {
    records: Records,
    rest: Rest,
    held: BTreeSet<Place>,
    /// The assignment of the previous life when its application dropped the consumer, which still commits.
    let_go: Option<(Who, BTreeSet<Place>)>,
}

/// The member to which alone an event belongs.
fn whose(plan: &Plan, what: &What) -> Option<usize> {
    match what {
        What::Committed { member, .. } => {
            let number = member.strip_prefix('h')?.parse().ok()?;
            plan.is_by_hand(number).then_some(number)
        }
        _ => what.who().map(|who| who.member).filter(|member| plan.is_by_hand(*member)),
    }
}

pub(super) fn is_by_hand(plan: &Plan, what: &What) -> bool {
    whose(plan, what).is_some()
}

impl Hands {
    pub(super) fn feed(&mut self, scene: Scene<'_>, event: &Event, complaints: &mut Complaints) {
        for number in (0..scene.plan.members.len()).filter(|number| scene.plan.is_by_hand(*number)) {
            self.groups.entry(number).or_default();
        }
        // Events without a member belong to the cluster; but those of a group belong to its members.
        let is_the_groups = matches!(
            event.what,
            What::Committed { .. }
                | What::GroupAssigned { .. }
                | What::MemberGone { .. }
                | What::GroupLoaded
                | What::OffsetSet { .. }
                | What::OffsetDeleted { .. }
                | What::Forgotten
        );
        match whose(scene.plan, &event.what) {
            Some(number) => {
                if let Some(hand) = self.groups.get_mut(&number) {
                    hand.feed(scene, event, complaints);
                }
            }
            None if event.what.who().is_some() || is_the_groups => {}
            None => self.groups.values_mut().for_each(|hand| hand.feed(scene, event, complaints)),
        }
    }

    pub(super) fn unprocessed(&self, ledger: &Ledger) -> Vec<(Place, i64, usize)> {
        let left = |hand: &Hand| {
            let left = hand.records.unprocessed(ledger).into_iter();
            left.filter(|(place, ..)| hand.held.contains(place)).collect::<Vec<_>>()
        };
        self.groups.values().flat_map(left).collect()
    }
}

impl Hand {
    fn feed(&mut self, scene: Scene<'_>, event: &Event, complaints: &mut Complaints) {
        match &event.what {
            What::Assigned { places, .. } => self.held.extend(places.iter().cloned()),
            What::Revoked { places, .. } => self.held.retain(|place| !places.contains(place)),
            What::Crashed { who } => self.let_go = Some((*who, std::mem::take(&mut self.held))),
            What::Started { .. } | What::CloseEnds { .. } => self.held.clear(),
            What::Delivered { who, at, offset, .. } if !self.held.contains(at) => {
                let text = format!("{who} was handed {at} offset {offset}, and has not assigned {at}");
                complaints.add("SAFE9", event.at, text);
            }
            What::CommitSent { who, at, offset, .. } if !self.may_commit(*who, at) => {
                let text = format!("{who} sent a commit of {offset} in {at}, which it has not assigned");
                complaints.add("SAFE7", event.at, text);
            }
            _ => {}
        }
        self.records.feed(scene, event, complaints);
        self.rest.feed(scene, &self.records, event, complaints);
    }

    /// An assignment by hand ends when the application ends it, not with a poll that fails: a consumer dropped after that commits what it
    /// still has to.
    fn may_commit(&self, who: Who, place: &Place) -> bool {
        let let_go = self.let_go.as_ref().filter(|(it, _)| *it == who);
        let_go.map_or(&self.held, |(_, held)| held).contains(place)
    }
}

#[cfg(test)]
mod tests {
    use super::super::forge::{Forged, M1, orders};
    use crate::events::What;

    fn noted(forged: Forged, offset: i64) -> Forged {
        let (member, at) = ("h1".to_owned(), orders());
        let what = What::Committed { member, generation: -1, at, offset, leader_epoch: 0 };
        forged.sends(M1, offset).tell(what)
    }

    /// The second member reads by hand the partition that the first reads as a group member.
    fn both() -> Forged {
        let begun = Forged::begun().planned(|plan| plan.members[1].by_hand = true);
        begun.tell(What::Started { who: M1 }).assigned(M1, -1).reset(M1, None, 0)
    }

    #[test]
    fn by_hand_it_reads_what_another_owns_and_commits_for_itself() {
        noted(both().reads(M1, 0..4, 0), 4).holds();
        noted(both().handed(M1, 0..4, 0), 4).is_found("SAFE1");
        both().handed(M1, 0..2, 0).handed(M1, 3..4, 0).is_found("SAFE3");
        // Where its group began says nothing about the other.
        noted(both().reads(M1, 0..4, 0), 4)
            .written(10..12, 0)
            .commits(crate::check::forge::M0, 12)
            .is_found("SAFE1");
    }

    #[test]
    fn by_hand_it_is_handed_only_what_it_assigned() {
        let gone = || both().reads(M1, 0..4, 0).tell(What::Revoked { who: M1, places: vec![orders()] });
        gone().handed(M1, 4..5, 0).is_found("SAFE9");
        gone().sends(M1, 4).is_found("SAFE7");
        // Its consumer is dropped, and commits what it still has to.
        let dropped = |forged: Forged| forged.tell(What::Crashed { who: M1 });
        noted(dropped(both().reads(M1, 0..4, 0)), 4).holds();
        dropped(gone()).sends(M1, 4).is_found("SAFE7");
        // Its next life goes on from its own commits, not from those of others.
        let again = |forged: Forged| {
            let who = crate::events::Who { life: 1, ..M1 };
            let started = forged.tell(What::Crashed { who: M1 }).tell(What::Started { who });
            (started.assigned(who, -1), who)
        };
        let (forged, who) = again(noted(both().reads(M1, 0..4, 0), 4));
        forged.clone().handed(who, 4..6, 0).holds();
        forged.handed(who, 2..3, 0).is_found("SAFE2");
    }
}
