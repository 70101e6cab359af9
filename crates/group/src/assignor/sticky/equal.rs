//! All members subscribe to the same topics: each gets the quota, rounded down or up, and keeps what it owns up to that.

use std::collections::{BTreeSet, VecDeque};

use super::{Claims, Group, IndexVec, MemberIndex, PartitionIndex, Plan, RackIndex};

/// The plan, and the partitions that their owners have to revoke first. `rack_aware`: racks matter.
pub(super) fn assign(
    group: &Group<'_>,
    java_order: &[MemberIndex],
    claims: &Claims,
    rack_aware: bool,
) -> (Plan, IndexVec<PartitionIndex, bool>) {
    let members = group.members.len();
    let partitions = group.partitions();
    let (Some(low), Some(rest)) = (partitions.checked_div(members), partitions.checked_rem(members)) else {
        return (Plan::new(), IndexVec::new());
    };
    let mut distribution = Distribution {
        group,
        claims,
        low,
        high: low + usize::from(rest > 0),
        may_be_above: rest,
        above: 0,
        plan: group.empty_plan(),
        given_up: IndexVec::filled(None, partitions),
        withheld: IndexVec::filled(false, partitions),
        below_low: Vec::new(),
        at_low: VecDeque::new(),
    };
    let mut free = distribution.keep_what_is_owned(java_order, rack_aware);
    distribution.below_low.sort_unstable();
    distribution.at_low.make_contiguous().sort_unstable();
    if rack_aware {
        // Partitions with the fewest rack-local members come first.
        let mut in_rack: IndexVec<RackIndex, usize> = IndexVec::filled(0, group.racks.count);
        for rack in group.members.indices().filter_map(|member| group.racks.of_member(member)) {
            in_rack.change(rack, |count| *count += 1);
        }
        let local_members = |partition: &PartitionIndex| -> usize {
            let racks = group.racks.of_partition(*partition);
            racks.iter().filter_map(|rack| in_rack.get(*rack)).sum()
        };
        free.sort_by_cached_key(local_members);
        free = distribution.assign_rack_local(free);
    }
    distribution.assign_any(free);
    (distribution.plan, distribution.withheld)
}

struct Distribution<'a> {
    group: &'a Group<'a>,
    claims: &'a Claims,
    low: usize,
    high: usize,
    /// How many members may get `high`, if that is more than `low`; and how many have.
    may_be_above: usize,
    above: usize,
    plan: Plan,
    /// The previous owner of each partition that was given up.
    given_up: IndexVec<PartitionIndex, Option<MemberIndex>>,
    withheld: IndexVec<PartitionIndex, bool>,
    /// Members with fewer than `low` partitions, and members with `low` that may get one more.
    below_low: Vec<MemberIndex>,
    at_low: VecDeque<MemberIndex>,
}

impl Distribution<'_> {
    /// Members keep what they own, up to the quota. Returns the free partitions.
    fn keep_what_is_owned(&mut self, java_order: &[MemberIndex], rack_aware: bool) -> Vec<PartitionIndex> {
        let mut kept = IndexVec::filled(false, self.group.partitions());
        for &member in java_order {
            let mut owned = Vec::with_capacity(self.claims.of(member).len());
            for &partition in self.claims.of(member) {
                if rack_aware && self.group.racks.mismatch(member, partition) {
                    self.give_up(partition, member);
                } else if !self.claims.disputed(partition) {
                    owned.push(partition);
                }
            }
            let keep = if owned.len() < self.low {
                self.below_low.push(member);
                owned.len()
            } else if owned.len() >= self.high && self.above < self.may_be_above {
                self.count_one_above();
                self.high
            } else {
                if self.above < self.may_be_above {
                    self.at_low.push_back(member);
                }
                self.low
            };
            if keep < owned.len() {
                // Sorted by partition first, so that the surplus comes from all topics alike.
                owned.sort_by_cached_key(|p| (self.group.index_of(*p), *p));
                owned.drain(keep..).for_each(|partition| self.give_up(partition, member));
            }
            for partition in &owned {
                kept.set(*partition, true);
            }
            self.plan.set(member, owned);
        }
        kept.into_entries().filter(|(_, kept)| !kept).map(|(partition, _)| partition).collect()
    }

    fn count_one_above(&mut self) {
        self.above += 1;
        if self.above == self.may_be_above {
            self.at_low.clear();
        }
    }

    fn give_up(&mut self, partition: PartitionIndex, by: MemberIndex) {
        self.given_up.set(partition, Some(by));
    }

    /// Returns how many partitions the member has then.
    fn give(&mut self, partition: PartitionIndex, subscriber: MemberIndex) -> usize {
        let moves = self.given_up.get(partition).copied().flatten().is_some_and(|owner| owner != subscriber);
        if moves || self.claims.disputed(partition) {
            self.withheld.set(partition, true);
        }
        let Some(list) = self.plan.get_mut(subscriber) else { return 0 };
        list.push(partition);
        list.len()
    }

    /// Free partitions go, in turn, to rack-local members below the quota, and then to those at it. Returns the rest.
    fn assign_rack_local(&mut self, free: Vec<PartitionIndex>) -> Vec<PartitionIndex> {
        let group = self.group;
        let rack_of = |member: MemberIndex| group.racks.of_member(member);
        // For each rack, positions in `below_low` of members that are still below.
        let mut below: IndexVec<RackIndex, BTreeSet<usize>> =
            IndexVec::filled(BTreeSet::new(), self.group.racks.count);
        for (place, member) in self.below_low.iter().enumerate() {
            if let Some(rack) = rack_of(*member) {
                below.change(rack, |places| places.extend([place]));
            }
        }
        // The members at the quota, in order; and for each rack, positions among them.
        let mut at_low: Vec<Option<MemberIndex>> = Vec::new();
        let mut at_low_in: IndexVec<RackIndex, VecDeque<usize>> =
            IndexVec::filled(VecDeque::new(), self.group.racks.count);
        let add_at_low = |member, at_low: &mut Vec<_>, racks: &mut IndexVec<_, VecDeque<usize>>| {
            if let Some(rack) = rack_of(member) {
                racks.change(rack, |places| places.push_back(at_low.len()));
            }
            at_low.push(Some(member));
        };
        for member in std::mem::take(&mut self.at_low) {
            add_at_low(member, &mut at_low, &mut at_low_in);
        }
        let mut is_below = vec![true; self.below_low.len()];
        let mut turn = 0;
        let mut left = Vec::new();
        for partition in free {
            let racks = group.racks.of_partition(partition);
            let sets = || racks.iter().filter_map(|rack| below.get(*rack));
            let place = sets()
                .filter_map(|places| places.range(turn..).next())
                .min()
                .or_else(|| sets().filter_map(BTreeSet::first).min())
                .copied();
            if let Some(place) = place {
                let Some(subscriber) = self.below_low.get(place).copied() else { continue };
                turn = place + 1;
                if self.give(partition, subscriber) >= self.low {
                    is_below.get_mut(place).into_iter().for_each(|below| *below = false);
                    if let Some(rack) = rack_of(subscriber) {
                        below.change(rack, |places| {
                            places.remove(&place);
                        });
                    }
                    if self.low < self.high && self.above < self.may_be_above {
                        add_at_low(subscriber, &mut at_low, &mut at_low_in);
                    }
                }
                continue;
            }
            let first = racks
                .iter()
                .filter_map(|rack| Some((*at_low_in.get(*rack)?.front()?, *rack)))
                .min()
                .and_then(|(place, rack)| {
                    at_low_in.get_mut(rack).and_then(VecDeque::pop_front);
                    at_low.get_mut(place)?.take()
                });
            let Some(subscriber) = first else {
                left.push(partition);
                continue;
            };
            self.give(partition, subscriber);
            self.above += 1;
            if self.above == self.may_be_above {
                at_low.clear();
                at_low_in.iter_mut().for_each(VecDeque::clear);
            }
        }
        let mut is_below = is_below.into_iter();
        self.below_low.retain(|_| is_below.next().unwrap_or(false));
        self.at_low = at_low.into_iter().flatten().collect();
        left
    }

    fn assign_any(&mut self, free: Vec<PartitionIndex>) {
        let mut turn = 0;
        for partition in free {
            turn = if turn < self.below_low.len() { turn } else { 0 };
            let is_below = self.below_low.get(turn).copied();
            // The quotas add up to the number of partitions, so some member is left.
            let Some(subscriber) = is_below.or_else(|| self.at_low.pop_front()) else { continue };
            if self.give(partition, subscriber) == self.low {
                self.below_low.remove(turn);
                self.at_low.push_back(subscriber);
            } else {
                turn += 1;
            }
        }
    }
}
