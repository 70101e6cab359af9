//! [`Claims`]: which member owns which partition, if members contradict one another.

use super::{
    index::{IndexVec, MemberIndex, PartitionIndex},
    numbered::{Group, Plan},
};

/// The generation of a claim without one.
pub(super) const NO_GENERATION: i32 = -1;

/// If two members claim a partition, the newer generation wins; in the same generation, neither does (KIP-792, FAILURES E5).
pub(super) struct Claims {
    owned: Plan,
    disputed: IndexVec<PartitionIndex, bool>,
}

impl Claims {
    /// `java_order`: the members in the order of Java's hash table.
    pub(super) fn resolve(group: &Group<'_>, java_order: &[MemberIndex]) -> Self {
        #[derive(Clone, Copy)]
        struct Claim {
            member: MemberIndex,
            generation: i32,
            stands: bool,
        }
        let mut latest: IndexVec<_, Option<Claim>> = IndexVec::filled(None, group.partitions());
        let mut disputed = IndexVec::filled(false, group.partitions());
        for &number in java_order {
            let Some(member) = group.members.get(number) else { continue };
            let generation = member.generation.unwrap_or(NO_GENERATION);
            for &partition in &member.owned {
                let (Some(latest), Some(disputed)) = (latest.get_mut(partition), disputed.get_mut(partition))
                else {
                    continue;
                };
                let stands = match latest {
                    None => true,
                    Some(other) if other.generation < generation => true,
                    Some(other) if other.generation > generation => continue,
                    Some(_) => {
                        *disputed = true;
                        false
                    }
                };
                *latest = Some(Claim { member: number, generation, stands });
            }
        }
        let mut owned = group.empty_plan();
        for (partition, claim) in latest.into_entries() {
            if let Some(claim) = claim.filter(|claim| claim.stands) {
                owned.change(claim.member, |list| list.push(partition));
            }
        }
        Self { owned, disputed }
    }

    /// The partitions that the member owns, in order.
    pub(super) fn of(&self, member: MemberIndex) -> &[PartitionIndex] {
        self.owned.get(member).map_or(&[], Vec::as_slice)
    }

    /// Whether two members of one generation claim it, even if a newer claim wins.
    pub(super) fn disputed(&self, partition: PartitionIndex) -> bool {
        self.disputed.get(partition).copied().unwrap_or(false)
    }

    /// The partitions that `plan` gives to one member although another one claims them. Java misses a
    /// partition that goes to a member whose own claim has lost. It would have two owners, so it is withheld,
    /// too.
    pub(super) fn moving(&self, group: &Group<'_>, plan: &Plan) -> IndexVec<PartitionIndex, bool> {
        let mut planned_for = IndexVec::filled(None, group.partitions());
        for (member, planned) in plan.entries() {
            for partition in planned {
                planned_for.set(*partition, Some(member));
            }
        }
        // A partition that stays with its owner does not move.
        for (member, owned) in self.owned.entries() {
            for partition in owned {
                planned_for.change(*partition, |to| *to = to.filter(|to| *to != member));
            }
        }
        let mut moving = IndexVec::filled(false, group.partitions());
        for (number, member) in group.members.entries() {
            for partition in &member.owned {
                let elsewhere = planned_for.get(*partition).copied().flatten().is_some_and(|to| to != number);
                moving.change(*partition, |moves| *moves |= elsewhere);
            }
        }
        moving
    }
}
