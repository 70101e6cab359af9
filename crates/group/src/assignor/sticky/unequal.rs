//! Members subscribe to different topics: owned partitions stay, free ones go to the member with the fewest, and then partitions
//! move while that improves the balance.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{
    Claims, Group, IndexVec, Indices, MemberIndex, NO_GENERATION, PartitionIndex, Plan, TopicIndex,
    movements::Movements,
};

/// The most moves per partition and member. Balancing takes far fewer; this bounds the work if it never ends.
const MOVES_EACH: usize = 16;

/// `rack_aware`: racks matter.
pub(super) fn assign(
    group: &Group<'_>,
    java_order: &[MemberIndex],
    claims: &Claims,
    rack_aware: bool,
) -> Plan {
    let mut state = AssignmentState::new(group);
    let mut released_any = false;
    for member in group.members.indices() {
        for &partition in claims.of(member) {
            if !group.subscribes(member, group.topic_of(partition))
                || rack_aware && group.racks.mismatch(member, partition)
            {
                released_any = true;
            } else {
                state.give(partition, member);
            }
        }
    }
    state.balance(&previous_owners(group, java_order), released_any, rack_aware);
    state.plan()
}

/// The owner of each partition before the newest generation: a partition moves back there in preference to a
/// third member. Empty if all claims are of the newest generation.
fn previous_owners(group: &Group<'_>, java_order: &[MemberIndex]) -> Owners {
    let generation = |member: MemberIndex| {
        group.members.get(member).and_then(|member| member.generation).unwrap_or(NO_GENERATION)
    };
    let newest = java_order.iter().map(|member| generation(*member)).max().unwrap_or(NO_GENERATION);
    let mut previous: Owners = IndexVec::new();
    for &number in java_order.iter().filter(|member| generation(**member) < newest) {
        if previous.len() == 0 {
            previous = IndexVec::filled(None, group.partitions());
        }
        for &partition in group.members.get(number).map_or(&[][..], |member| &member.owned) {
            let Some(before) = previous.get_mut(partition) else { continue };
            let newer = before.is_none_or(|other| generation(number) > generation(other));
            // A member that has unsubscribed since cannot get it back.
            if newer && group.subscribes(number, group.topic_of(partition)) {
                *before = Some(number);
            }
        }
    }
    previous
}

/// The owner of each partition.
type Owners = IndexVec<PartitionIndex, Option<MemberIndex>>;

/// How many partitions each member has.
type Sizes = IndexVec<MemberIndex, usize>;

/// Members in order of their number of partitions, then by name. Entries that are out of date are skipped.
#[derive(Default)]
struct Queue(BinaryHeap<Reverse<(usize, MemberIndex)>>);

impl Queue {
    fn of(members: impl Iterator<Item = MemberIndex>, sizes: &Sizes) -> Self {
        Self(members.filter_map(|member| Some(Reverse((*sizes.get(member)?, member)))).collect())
    }

    fn first(&mut self, sizes: &Sizes) -> Option<(usize, MemberIndex)> {
        loop {
            let Reverse((size, member)) = *self.0.peek()?;
            if sizes.get(member) == Some(&size) {
                return Some((size, member));
            }
            self.0.pop();
        }
    }

    fn changed(&mut self, member: MemberIndex, sizes: &Sizes) {
        self.0.extend(sizes.get(member).map(|size| Reverse((*size, member))));
    }
}

/// The assignment while it is being balanced.
struct AssignmentState<'a> {
    group: &'a Group<'a>,
    /// The members that subscribe to each topic.
    subscribers: IndexVec<TopicIndex, Vec<MemberIndex>>,
    owner: Owners,
    size: Sizes,
    movements: Movements,
    moves_left: usize,
}

impl<'a> AssignmentState<'a> {
    fn new(group: &'a Group<'a>) -> Self {
        let members = group.members.len();
        let partitions = group.partitions();
        Self {
            group,
            subscribers: group.subscribers(group.members.indices()),
            owner: IndexVec::filled(None, partitions),
            size: IndexVec::filled(0, members),
            movements: Movements::new(group),
            moves_left: partitions.saturating_add(members).saturating_mul(MOVES_EACH),
        }
    }

    fn size(&self, member: MemberIndex) -> usize {
        self.size.get(member).copied().unwrap_or(0)
    }

    fn owner(&self, partition: PartitionIndex) -> Option<MemberIndex> {
        self.owner.get(partition).copied().flatten()
    }

    fn subscribers(&self, topic: TopicIndex) -> &[MemberIndex] {
        self.subscribers.get(topic).map_or(&[], Vec::as_slice)
    }

    fn give(&mut self, partition: PartitionIndex, to: MemberIndex) {
        let before = self.owner.get_mut(partition).and_then(|owner| owner.replace(to));
        if let Some(before) = before {
            self.size.change(before, |size| *size = size.saturating_sub(1));
        }
        self.size.change(to, |size| *size = size.saturating_add(1));
    }

    fn balance(&mut self, previous: &Owners, released_any: bool, rack_aware: bool) {
        let fresh = self.size.iter().all(|size| *size == 0);
        // Topics with few subscribers come first.
        let mut topics: Vec<TopicIndex> = self.group.topics.indices().collect();
        topics.sort_by_key(|topic| (self.subscribers(*topic).len(), *topic));
        let was_free: IndexVec<PartitionIndex, bool> = self.owner.iter().map(Option::is_none).collect();
        if rack_aware {
            topics.iter().for_each(|topic| self.assign_rack_local(*topic));
        }
        topics.iter().for_each(|topic| self.assign_any(*topic));

        let involved = self.involved();
        let before = (self.owner.clone(), self.score(&involved));
        topics.retain(|topic| self.subscribers(*topic).len() > 1);
        if !released_any {
            self.reassign(&topics, previous, |partition| was_free.get(partition) == Some(&true));
        }
        let reassigned = self.reassign(&topics, previous, |_| true);
        if !fresh && reassigned && self.score(&involved) >= before.1 {
            // The moves have not improved the balance: they are undone.
            for (partition, owner) in before.0.into_entries() {
                if let Some(owner) = owner.filter(|owner| self.owner(partition) != Some(*owner)) {
                    self.give(partition, owner);
                }
            }
        }
    }

    fn partitions_of(&self, topic: TopicIndex) -> Indices<PartitionIndex> {
        self.group.partitions_of(topic)
    }

    /// Gives the free partitions of a topic to the subscribers with the fewest.
    fn assign_any(&mut self, topic: TopicIndex) {
        let mut queue = None;
        for partition in self.partitions_of(topic).filter(|p| self.owner(*p).is_none()).collect::<Vec<_>>() {
            let subscribers = self.subscribers.get(topic).map_or(&[][..], Vec::as_slice);
            let queue = queue.get_or_insert_with(|| Queue::of(subscribers.iter().copied(), &self.size));
            if let Some((_, subscriber)) = queue.first(&self.size) {
                self.give(partition, subscriber);
                queue.changed(subscriber, &self.size);
            }
        }
    }

    /// The same, but only to subscribers in a rack with a replica or without a rack.
    fn assign_rack_local(&mut self, topic: TopicIndex) {
        let racks = &self.group.racks;
        // The last queue has the members without a rack.
        let mut queues: IndexVec<_, Queue> = IndexVec::new();
        for partition in self.partitions_of(topic).filter(|p| self.owner(*p).is_none()).collect::<Vec<_>>() {
            if queues.len() == 0 {
                let mut members = racks.with_nowhere(Vec::new());
                for subscriber in self.subscribers(topic) {
                    let rack = racks.of_member(*subscriber).unwrap_or(racks.nowhere());
                    members.change(rack, |members| members.push(*subscriber));
                }
                let queue = |members: Vec<_>| Queue::of(members.into_iter(), &self.size);
                queues = members.into_entries().map(|(_, members)| queue(members)).collect();
            }
            let racks = racks.of_partition(partition).iter().copied().chain([racks.nowhere()]);
            let first = racks.filter_map(|rack| Some((queues.get_mut(rack)?.first(&self.size)?, rack))).min();
            if let Some(((_, subscriber), rack)) = first {
                self.give(partition, subscriber);
                queues.change(rack, |queue| queue.changed(subscriber, &self.size));
            }
        }
    }

    /// The members that may still get or lose partitions.
    fn involved(&self) -> Vec<MemberIndex> {
        let shared = |topic: TopicIndex| self.subscribers(topic).len() > 1;
        let mut holds_shared = IndexVec::filled(false, self.size.len());
        for (partition, owner) in self.owner.entries() {
            if shared(self.group.topic_of(partition))
                && let Some(owner) = owner
            {
                holds_shared.set(*owner, true);
            }
        }
        let most = |member: MemberIndex| -> usize {
            self.group.topics_of(member).iter().map(|topic| self.partitions_of(*topic).len()).sum()
        };
        let members = holds_shared.into_entries();
        let involved = members.filter(|(member, holds)| *holds || self.size(*member) < most(*member));
        involved.map(|(member, _)| member).collect()
    }

    /// The sum of the differences of all pairs: zero if all members have the same number.
    fn score(&self, involved: &[MemberIndex]) -> usize {
        let mut sizes: Vec<usize> = involved.iter().map(|member| self.size(*member)).collect();
        sizes.sort_unstable();
        let mut below = 0usize;
        let mut score = 0usize;
        for (nth, size) in sizes.into_iter().enumerate() {
            score = score.saturating_add(size.saturating_mul(nth).saturating_sub(below));
            below = below.saturating_add(size);
        }
        score
    }

    /// Moves partitions to members with at least two fewer, until there are none. Returns whether any moved.
    fn reassign(
        &mut self,
        topics: &[TopicIndex],
        previous: &Owners,
        may_move: impl Fn(PartitionIndex) -> bool,
    ) -> bool {
        let mut any = false;
        loop {
            let mut moved = false;
            for &topic in topics {
                moved |= self.reassign_topic(topic, previous, &may_move);
            }
            any |= moved;
            if !moved || self.moves_left == 0 {
                return any;
            }
        }
    }

    fn reassign_topic(
        &mut self,
        topic: TopicIndex,
        previous: &Owners,
        may_move: impl Fn(PartitionIndex) -> bool,
    ) -> bool {
        let sizes = self.subscribers(topic).iter().map(|subscriber| self.size(*subscriber));
        let Some(mut least) = sizes.min() else { return false };
        // Moves within one topic change only its subscribers' numbers, so one queue serves for the whole topic.
        let mut queue = None;
        let mut moved = false;
        for partition in self.partitions_of(topic).filter(|partition| may_move(*partition)) {
            if self.moves_left == 0 {
                break;
            }
            let Some(owner) = self.owner(partition).filter(|owner| self.size(*owner) > least + 1) else {
                continue;
            };
            let subscribers = self.subscribers.get(topic).map_or(&[][..], Vec::as_slice);
            let queue = queue.get_or_insert_with(|| Queue::of(subscribers.iter().copied(), &self.size));
            let home = previous.get(partition).copied().flatten();
            let home = home.filter(|member| self.size(owner) > self.size(*member) + 1);
            let Some(to) = home.or_else(|| queue.first(&self.size).map(|(_, subscriber)| subscriber)) else {
                continue;
            };
            let chosen = self.movements.instead_of(self.group, partition, owner, to);
            if let Some(from) = self.owner(chosen) {
                self.movements.record_move(self.group, chosen, from, to);
                self.give(chosen, to);
                queue.changed(from, &self.size);
                queue.changed(to, &self.size);
                least = queue.first(&self.size).map_or(least, |(size, _)| size);
            }
            self.moves_left -= 1;
            moved = true;
        }
        moved
    }

    fn plan(&self) -> Plan {
        let mut plan = self.group.empty_plan();
        for (partition, owner) in self.owner.entries() {
            if let Some(owner) = owner {
                plan.change(*owner, |list| list.push(partition));
            }
        }
        plan
    }
}
