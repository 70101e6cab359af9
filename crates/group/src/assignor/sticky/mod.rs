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

pub(super) fn assign(group: &Group<'_>, moves: Moves) -> Plan {
    let table = group.table();
    let claims = Claims::settle(group, &table);
    let near = group.racks.count > 0 && group.racks.matter(0..group.members.len(), 0..group.partitions());
    let (mut plan, withheld) = if group.alike {
        equal::assign(group, &table, &claims, near)
    } else {
        let plan = unequal::assign(group, &table, &claims, near);
        let withheld = if moves == Moves::AfterRelease { claims.moving(group, &plan) } else { Vec::new() };
        (plan, withheld)
    };
    if moves == Moves::AfterRelease {
        for list in &mut plan {
            list.retain(|partition| !withheld.get(*partition).copied().unwrap_or(false));
        }
    }
    plan
}
