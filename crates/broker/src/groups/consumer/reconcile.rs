//! How a member reaches the target: it revokes partitions, then its epoch grows, then it gets the free partitions.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{
    Assigned, ClusterView, Consumer, Partitions,
    member::{Member, Stage},
};

impl Consumer {
    /// Brings a member as near to the target as is possible now. `owned` is what it reports to own; `None` if it
    /// reports nothing.
    pub(super) fn reconcile(
        &mut self,
        id: &str,
        subscription_changed: bool,
        owned: Option<&Partitions>,
        world: &ClusterView,
    ) {
        let Some(member) = self.members.get(id) else { return };
        if member.is_at(self.target_epoch) && !subscription_changed {
            return;
        }
        let subscribed = self.subscribed_ids(member, world);
        let waits = || still_owns(owned, &member.revoking);
        let next = match member.stage {
            // The target is unchanged, but the member may no longer read all that it owns.
            Stage::Stable if member.epoch == self.target_epoch => {
                drop_unsubscribed(member, owned, &subscribed)
            }
            Stage::Unrevoked if waits() && subscription_changed => {
                drop_unsubscribed(member, owned, &subscribed)
            }
            Stage::Unrevoked if waits() => None,
            Stage::Stable | Stage::Unrevoked | Stage::Unreleased => {
                Some(self.next_step(member, owned, &subscribed))
            }
        };
        let Some(mut next) = next else { return };
        next.previous_epoch = member.epoch;
        let moved = (next.epoch, next.previous_epoch, next.stage)
            != (member.epoch, member.previous_epoch, member.stage)
            || next.assigned != member.assigned
            || next.revoking != member.revoking;
        // Classic members are timed by their joins and syncs instead.
        if moved && next.classic.is_none() {
            let revokes = next.stage == Stage::Unrevoked;
            next.rebalance = revokes.then(|| (world.now + next.rebalance_timeout, next.epoch));
        }
        self.members.insert(id.to_owned(), next);
    }

    /// The member's state after this step. With partitions to revoke it keeps its epoch; otherwise it takes the target's.
    fn next_step(&self, member: &Member, owned: Option<&Partitions>, subscribed: &BTreeSet<Uuid>) -> Member {
        let nothing = Partitions::new();
        let target = self.target.get(&member.id).unwrap_or(&nothing);
        let wanted = |topic: &Uuid, partition: &i32| {
            subscribed.contains(topic) && target.get(topic).is_some_and(|target| target.contains(partition))
        };
        let (mut assigned, mut revoking) = (Assigned::new(), Assigned::new());
        for (topic, partitions) in &member.assigned {
            for (partition, since) in partitions {
                let side = if wanted(topic, partition) { &mut assigned } else { &mut revoking };
                side.entry(*topic).or_default().insert(*partition, *since);
            }
        }
        if still_owns(owned, &revoking) && !revoking.is_empty() {
            return Member { stage: Stage::Unrevoked, assigned, revoking, ..member.clone() };
        }
        let mut unreleased = false;
        for (topic, partition) in
            target.iter().flat_map(|(topic, all)| all.iter().map(move |one| (topic, one)))
        {
            let has = assigned.get(topic).is_some_and(|has| has.contains_key(partition));
            if has || !subscribed.contains(topic) {
                continue;
            }
            // A partition that it was to revoke itself has no other owner.
            let its_own = member.revoking.get(topic).is_some_and(|own| own.contains_key(partition));
            if self.is_held(*topic, *partition) && !its_own {
                unreleased = true;
            } else {
                assigned.entry(*topic).or_default().insert(*partition, self.target_epoch);
            }
        }
        let stage = if unreleased { Stage::Unreleased } else { Stage::Stable };
        Member { stage, epoch: self.target_epoch, assigned, revoking: Assigned::new(), ..member.clone() }
    }

    /// Whether a member waits for partitions that others still own.
    pub(super) fn waits_for_others(&self, member: &Member) -> bool {
        let Some(target) = self.target.get(&member.id) else { return false };
        member.stage == Stage::Unreleased
            && target.iter().flat_map(|(topic, all)| all.iter().map(move |one| (topic, one))).any(
                |(topic, partition)| {
                    let has = member.assigned.get(topic).is_some_and(|has| has.contains_key(partition));
                    !has && self.is_held(*topic, *partition)
                },
            )
    }
}

/// After a change of subscription, a member revokes at once the topics that it no longer reads, whatever the target
/// says. `None` if there are none.
fn drop_unsubscribed(
    member: &Member,
    owned: Option<&Partitions>,
    subscribed: &BTreeSet<Uuid>,
) -> Option<Member> {
    let mut assigned = member.assigned.clone();
    let mut revoking = member.revoking.clone();
    for (topic, partitions) in member.assigned.iter().filter(|(topic, _)| !subscribed.contains(*topic)) {
        assigned.remove(topic);
        revoking.entry(*topic).or_default().extend(partitions);
    }
    if assigned == member.assigned {
        return None;
    }
    Some(if still_owns(owned, &revoking) {
        Member { stage: Stage::Unrevoked, assigned, revoking, ..member.clone() }
    } else {
        // It had revoked them already.
        Member { assigned, ..member.clone() }
    })
}

/// Whether a member still owns some of these partitions. A member that reports nothing does.
fn still_owns(owned: Option<&Partitions>, revoking: &Assigned) -> bool {
    owned.is_none_or(|owned| {
        owned.iter().any(|(topic, partitions)| {
            revoking
                .get(topic)
                .is_some_and(|revoking| partitions.iter().any(|one| revoking.contains_key(one)))
        })
    })
}
