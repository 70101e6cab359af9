//! All members subscribe to the same topics: everybody gets the quota, rounded down or up, and keeps what it owns of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Claims, Group, Plan};

/// Who gets what, and which partitions cannot be had before their owner gives them up.
pub(super) fn assign(group: &Group, claims: &Claims) -> (Plan, BTreeSet<usize>) {
    let members = group.members.len();
    let partitions = group.partitions.len();
    let (Some(low), Some(rest)) = (partitions.checked_div(members), partitions.checked_rem(members)) else {
        return (Plan::new(), BTreeSet::new());
    };
    Quotas { low, high: low + usize::from(rest > 0), above: rest }.share_out(group, claims)
}

struct Quotas {
    low: usize,
    high: usize,
    /// How many members get `high`, where that is more than `low`.
    above: usize,
}

impl Quotas {
    fn share_out(&self, group: &Group, claims: &Claims) -> (Plan, BTreeSet<usize>) {
        let mut plan: Plan = vec![Vec::new(); group.members.len()];
        let mut given_up: BTreeMap<usize, usize> = BTreeMap::new();
        let mut free: BTreeSet<usize> = (0..group.partitions.len()).collect();
        let mut below_low = Vec::new();
        let mut at_low = VecDeque::new();
        let mut above = 0;

        for &member in &group.table {
            let mut owned: Vec<usize> =
                claims.of(member).iter().copied().filter(|p| !claims.disputed.contains(p)).collect();
            // By partition first: the surplus is taken from all topics alike.
            owned.sort_by_key(|p| group.partitions.get(*p).map(|(topic, named)| (named.partition, *topic)));
            let keep = if owned.len() < self.low {
                below_low.push(member);
                owned.len()
            } else if owned.len() >= self.high && above < self.above {
                above += 1;
                if above == self.above {
                    at_low.clear();
                }
                self.high
            } else {
                if above < self.above {
                    at_low.push_back(member);
                }
                self.low
            };
            given_up.extend(owned.drain(keep.min(owned.len())..).map(|p| (p, member)));
            for partition in &owned {
                free.remove(partition);
            }
            if let Some(list) = plan.get_mut(member) {
                *list = owned;
            }
        }

        below_low.sort_unstable();
        at_low.make_contiguous().sort_unstable();
        let mut withheld = BTreeSet::new();
        let mut turn = 0;
        for partition in free {
            let taker = match below_low.get(turn).or_else(|| below_low.first()).copied() {
                Some(taker) => {
                    turn = if turn < below_low.len() { turn } else { 0 };
                    taker
                }
                // The quotas add up to the number of partitions, so somebody is left.
                None => match at_low.pop_front() {
                    Some(taker) => taker,
                    None => continue,
                },
            };
            let Some(list) = plan.get_mut(taker) else { continue };
            list.push(partition);
            let moves = given_up.get(&partition).is_some_and(|owner| *owner != taker);
            if moves || claims.disputed.contains(&partition) {
                withheld.insert(partition);
            }
            if list.len() == self.low {
                below_low.remove(turn);
                at_low.push_back(taker);
            } else {
                turn += 1;
            }
        }
        (plan, withheld)
    }
}
