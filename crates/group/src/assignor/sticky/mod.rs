//! `sticky` and `cooperative-sticky`: even, and moving as little as possible.
//!
//! Where all members subscribe to the same topics, quotas decide ([`equal`]); otherwise partitions are placed and then
//! moved for as long as that evens things out ([`unequal`]). Where racks matter (KIP-881), nobody keeps a partition
//! without a replica in its rack, and what is free goes first to those who are near; being even comes before being near.

use super::{
    claims::{Claims, NO_GENERATION},
    java,
    numbered::{Group, Plan},
};

mod equal;
mod movements;
mod unequal;

/// When a partition that has an owner may go to another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moves {
    /// At once: nobody owns anything while an eager group rebalances.
    AtOnce,
    /// In the next round, when its owner has given it up.
    AfterRelease,
}

/// Rounds in which a group must come to rest, or its racks are not looked at.
const MAX_ROUNDS: usize = 8;

pub(super) fn assign(group: &mut Group<'_>, moves: Moves) -> Plan {
    let java_order = group.java_order();
    let rack_aware =
        group.racks.count > 0 && group.racks.matter(0..group.members.len(), 0..group.partitions());
    let plan = round(group, &java_order, moves, rack_aware);
    if !rack_aware || moves == Moves::AtOnce {
        return plan;
    }
    let members = group.members.clone();
    if converges(group, &java_order, &plan) {
        return plan;
    }
    group.members = members;
    round(group, &java_order, moves, false)
}

/// Whether the rounds after this one, of the same members, end with one that moves nothing. Where subscriptions differ, what
/// goes to a member that is nearer may be sent on by the next round for evenness' sake, and so round and round: the group would
/// rebalance for ever. What we follow of Java's has no such end.
fn converges(group: &mut Group<'_>, java_order: &[usize], plan: &Plan) -> bool {
    let mut before = plan.clone();
    for _ in 0..MAX_ROUNDS {
        for (member, owned) in group.members.iter_mut().zip(&before) {
            member.owned.clone_from(owned);
            member.generation = Some(0);
        }
        let after = round(group, java_order, Moves::AfterRelease, true);
        if after == before {
            return true;
        }
        before = after;
    }
    false
}

/// Lists in order.
fn round(group: &Group<'_>, java_order: &[usize], moves: Moves, rack_aware: bool) -> Plan {
    let claims = Claims::resolve(group, java_order);
    let (mut plan, withheld) = if group.same_subscription {
        equal::assign(group, java_order, &claims, rack_aware)
    } else {
        let plan = unequal::assign(group, java_order, &claims, rack_aware);
        let withheld = if moves == Moves::AfterRelease { claims.moving(group, &plan) } else { Vec::new() };
        (plan, withheld)
    };
    for list in &mut plan {
        if moves == Moves::AfterRelease {
            list.retain(|partition| !withheld.get(*partition).copied().unwrap_or(false));
        }
        list.sort_unstable();
    }
    plan
}
