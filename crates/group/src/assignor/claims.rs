//! [`Claims`]: which member owns which partition, if members contradict one another.

use super::numbered::{Group, Plan};

/// The generation of a claim without one.
pub(super) const NO_GENERATION: i32 = -1;

/// If two members claim a partition, the newer generation wins; in the same generation, neither does (KIP-792, FAILURES E5).
pub(super) struct Claims {
    owned: Vec<Vec<usize>>,
    disputed: Vec<bool>,
}

impl Claims {
    /// `java_order`: the members in the order of Java's hash table.
    pub(super) fn resolve(group: &Group<'_>, java_order: &[usize]) -> Self {
        #[derive(Clone, Copy)]
        struct Claim {
            member: usize,
            generation: i32,
            stands: bool,
        }
        let mut latest: Vec<Option<Claim>> = vec![None; group.partitions()];
        let mut disputed = vec![false; group.partitions()];
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
        for (partition, claim) in latest.into_iter().enumerate() {
            if let Some(claim) = claim.filter(|claim| claim.stands)
                && let Some(list) = owned.get_mut(claim.member)
            {
                list.push(partition);
            }
        }
        Self { owned, disputed }
    }

    /// What the member owns, in order.
    pub(super) fn of(&self, member: usize) -> &[usize] {
        self.owned.get(member).map_or(&[], Vec::as_slice)
    }

    /// Whether two members of one generation claim it, even if a newer claim wins.
    pub(super) fn disputed(&self, partition: usize) -> bool {
        self.disputed.get(partition).copied().unwrap_or(false)
    }

    /// Which partitions `plan` gives to one member although another one claims them. Java misses a partition that goes to a member
    /// whose own claim has lost. It would have two owners, so it is withheld, too.
    pub(super) fn moving(&self, group: &Group<'_>, plan: &Plan) -> Vec<bool> {
        let mut planned_for = vec![None; group.partitions()];
        for (member, planned) in plan.iter().enumerate() {
            for partition in planned {
                planned_for.get_mut(*partition).into_iter().for_each(|to| *to = Some(member));
            }
        }
        // A partition that stays with its owner does not move.
        for (member, owned) in self.owned.iter().enumerate() {
            for partition in owned {
                let to = planned_for.get_mut(*partition).filter(|to| **to == Some(member));
                to.into_iter().for_each(|to| *to = None);
            }
        }
        let mut moving = vec![false; group.partitions()];
        for (number, member) in group.members.iter().enumerate() {
            for partition in &member.owned {
                let elsewhere = planned_for.get(*partition).copied().flatten().is_some_and(|to| to != number);
                moving.get_mut(*partition).into_iter().for_each(|moves| *moves |= elsewhere);
            }
        }
        moving
    }
}
