//! `sticky` and `cooperative-sticky`: balanced, and moving as few partitions as possible.
//!
//! If all members subscribe to the same topics, quotas decide ([`equal`]). Otherwise partitions are assigned and then moved while
//! that improves the balance ([`unequal`]). Where racks matter (KIP-881), no member keeps a partition without a replica in its
//! rack, and free partitions go first to members with a replica in their rack. Balance comes before racks.

use super::{
    claims::{Claims, NO_GENERATION},
    index::{IndexVec, Indices, MemberIndex, PartitionIndex, RackIndex, TopicIndex, indices},
    java,
    numbered::{Group, Plan},
};

mod equal;
mod movements;
mod unequal;

/// When a partition that has an owner may go to another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moves {
    /// At once: in an eager rebalance no member owns anything.
    AtOnce,
    /// In the next round, when its owner has revoked it.
    AfterRevocation,
}

/// If an assignment does not converge in this many rounds, racks are ignored.
const MAX_ROUNDS: usize = 8;

pub(super) fn assign(group: &mut Group<'_>, moves: Moves) -> Plan {
    let java_order = group.java_order();
    let rack_aware =
        group.racks.count > 0 && group.racks.matter(group.members.indices(), indices(0..group.partitions()));
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

/// Whether the rounds after this one, with the same members, end with one that moves nothing. If subscriptions differ, one round
/// may move a partition to a member in a better rack, and the next may move it on for the balance, again and again: the group
/// would rebalance for ever. Java's algorithm has no such check.
fn converges(group: &mut Group<'_>, java_order: &[MemberIndex], plan: &Plan) -> bool {
    let mut before = plan.clone();
    for _ in 0..MAX_ROUNDS {
        for (member, owned) in group.members.iter_mut().zip(before.iter()) {
            member.owned.clone_from(owned);
            member.generation = Some(0);
        }
        let after = round(group, java_order, Moves::AfterRevocation, true);
        if after == before {
            return true;
        }
        before = after;
    }
    false
}

/// One round of assignment. Its lists are sorted.
fn round(group: &Group<'_>, java_order: &[MemberIndex], moves: Moves, rack_aware: bool) -> Plan {
    let claims = Claims::resolve(group, java_order);
    let (mut plan, withheld) = if group.same_subscription {
        equal::assign(group, java_order, &claims, rack_aware)
    } else {
        let plan = unequal::assign(group, java_order, &claims, rack_aware);
        let withheld =
            if moves == Moves::AfterRevocation { claims.moving(group, &plan) } else { IndexVec::new() };
        (plan, withheld)
    };
    for list in plan.iter_mut() {
        if moves == Moves::AfterRevocation {
            list.retain(|partition| !withheld.get(*partition).copied().unwrap_or(false));
        }
        list.sort_unstable();
    }
    plan
}
