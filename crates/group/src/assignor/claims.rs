//! [`Claims`]: what each member may be taken to own.

use super::numbered::{Group, Plan};

/// The generation of a claim that names none.
pub(super) const NO_GENERATION: i32 = -1;

/// Where two claim the same partition, the newer generation is right, and in the same generation neither (KIP-792,
/// FAILURES E5).
pub(super) struct Claims {
    owned: Vec<Vec<usize>>,
    disputed: Vec<bool>,
}

impl Claims {
    /// `table`: the members as Java's table lists them.
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

    /// In order.
    pub(super) fn of(&self, member: usize) -> &[usize] {
        self.owned.get(member).map_or(&[], Vec::as_slice)
    }

    /// Whether two of one generation claim it, whoever is right in the end.
    pub(super) fn disputed(&self, partition: usize) -> bool {
        self.disputed.get(partition).copied().unwrap_or(false)
    }

    /// Which partitions `plan` gives to one member although another holds them. Java overlooks one that goes to a member
    /// whose own claim to it is void: that would have two owners, so it is withheld too.
    pub(super) fn moving(&self, group: &Group<'_>, plan: &Plan) -> Vec<bool> {
        let mut planned_for = vec![None; group.partitions()];
        for (member, planned) in plan.iter().enumerate() {
            for partition in planned {
                planned_for.get_mut(*partition).into_iter().for_each(|to| *to = Some(member));
            }
        }
        // Whoever rightly has it already gains nothing.
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
