//! Members subscribe to different topics: owned partitions stay, free ones go to the member with the fewest, and then partitions
//! move while that improves the balance.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{Claims, Group, NO_GENERATION, Plan, movements::Movements};

/// The most moves per partition and member. Balancing takes far fewer; this bounds the work if it never ends.
const MOVES_EACH: usize = 16;

/// `rack_aware`: racks matter.
pub(super) fn assign(group: &Group<'_>, java_order: &[usize], claims: &Claims, rack_aware: bool) -> Plan {
    let mut state = AssignmentState::new(group);
    let mut released_any = false;
    for member in 0..group.members.len() {
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

/// The owner of each partition before the newest generation: the partition rather moves back there than to a third member. Empty
/// if all claims are of the newest generation.
fn previous_owners(group: &Group<'_>, java_order: &[usize]) -> Vec<Option<usize>> {
    let generation = |member: usize| {
        group.members.get(member).and_then(|member| member.generation).unwrap_or(NO_GENERATION)
    };
    let newest = java_order.iter().map(|member| generation(*member)).max().unwrap_or(NO_GENERATION);
    let mut previous: Vec<Option<usize>> = Vec::new();
    for &number in java_order.iter().filter(|member| generation(**member) < newest) {
        previous.resize(group.partitions(), None);
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

/// Members in order of their number of partitions, then by name. Entries that are out of date are skipped.
#[derive(Default)]
struct Queue(BinaryHeap<Reverse<(usize, usize)>>);

impl Queue {
    fn of(members: impl Iterator<Item = usize>, sizes: &[usize]) -> Self {
        Self(members.filter_map(|member| Some(Reverse((*sizes.get(member)?, member)))).collect())
    }

    fn first(&mut self, sizes: &[usize]) -> Option<(usize, usize)> {
        loop {
            let Reverse((size, member)) = *self.0.peek()?;
            if sizes.get(member) == Some(&size) {
                return Some((size, member));
            }
            self.0.pop();
        }
    }

    fn changed(&mut self, member: usize, sizes: &[usize]) {
        self.0.extend(sizes.get(member).map(|size| Reverse((*size, member))));
    }
}

/// The assignment while it is being balanced.
struct AssignmentState<'a> {
    group: &'a Group<'a>,
    /// The members that subscribe to each topic.
    subscribers: Vec<Vec<usize>>,
    owner: Vec<Option<usize>>,
    /// How many partitions each member has.
    size: Vec<usize>,
    movements: Movements,
    moves_left: usize,
}

impl<'a> AssignmentState<'a> {
    fn new(group: &'a Group<'a>) -> Self {
        let members = group.members.len();
        let partitions = group.partitions();
        Self {
            group,
            subscribers: group.subscribers(&(0..members).collect::<Vec<_>>()),
            owner: vec![None; partitions],
            size: vec![0; members],
            movements: Movements::new(group),
            moves_left: partitions.saturating_add(members).saturating_mul(MOVES_EACH),
        }
    }

    fn size(&self, member: usize) -> usize {
        self.size.get(member).copied().unwrap_or(0)
    }

    fn owner(&self, partition: usize) -> Option<usize> {
        self.owner.get(partition).copied().flatten()
    }

    fn subscribers(&self, topic: usize) -> &[usize] {
        self.subscribers.get(topic).map_or(&[], Vec::as_slice)
    }

    fn give(&mut self, partition: usize, to: usize) {
        let before = self.owner.get_mut(partition).and_then(|owner| owner.replace(to));
        if let Some(size) = before.and_then(|before| self.size.get_mut(before)) {
            *size = size.saturating_sub(1);
        }
        if let Some(size) = self.size.get_mut(to) {
            *size = size.saturating_add(1);
        }
    }

    fn balance(&mut self, previous: &[Option<usize>], released_any: bool, rack_aware: bool) {
        let fresh = self.size.iter().all(|size| *size == 0);
        // Topics with few subscribers come first.
        let mut topics: Vec<usize> = (0..self.group.topics.len()).collect();
        topics.sort_by_key(|topic| (self.subscribers(*topic).len(), *topic));
        let was_free: Vec<bool> = self.owner.iter().map(Option::is_none).collect();
        if rack_aware {
            topics.iter().for_each(|topic| self.assign_rack_local(*topic));
        }
        topics.iter().for_each(|topic| self.assign_any(*topic));

        let involved: Vec<usize> = self.involved();
        let before = (self.owner.clone(), self.score(&involved));
        topics.retain(|topic| self.subscribers(*topic).len() > 1);
        if !released_any {
            self.reassign(&topics, previous, |partition| was_free.get(partition) == Some(&true));
        }
        let reassigned = self.reassign(&topics, previous, |_| true);
        if !fresh && reassigned && self.score(&involved) >= before.1 {
            // The moves have not improved the balance: they are undone.
            for (partition, owner) in before.0.into_iter().enumerate() {
                if let Some(owner) = owner.filter(|owner| self.owner(partition) != Some(*owner)) {
                    self.give(partition, owner);
                }
            }
        }
    }

    fn partitions_of(&self, topic: usize) -> std::ops::Range<usize> {
        self.group.topics.get(topic).map_or(0..0, |topic| topic.partitions())
    }

    /// Gives the free partitions of a topic to the subscribers with the fewest.
    fn assign_any(&mut self, topic: usize) {
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
    fn assign_rack_local(&mut self, topic: usize) {
        let racks = &self.group.racks;
        // The last queue has the members without a rack.
        let mut queues: Vec<Queue> = Vec::new();
        for partition in self.partitions_of(topic).filter(|p| self.owner(*p).is_none()).collect::<Vec<_>>() {
            if queues.is_empty() {
                let mut members = vec![Vec::new(); racks.count + 1];
                for subscriber in self.subscribers(topic) {
                    let rack = members.get_mut(racks.of_member(*subscriber).unwrap_or(racks.count));
                    rack.into_iter().for_each(|rack| rack.push(*subscriber));
                }
                queues = members.into_iter().map(|rack| Queue::of(rack.into_iter(), &self.size)).collect();
            }
            let racks = racks.of_partition(partition).iter().copied().chain([racks.count]);
            let first = racks.filter_map(|rack| Some((queues.get_mut(rack)?.first(&self.size)?, rack))).min();
            if let Some(((_, subscriber), rack)) = first {
                self.give(partition, subscriber);
                queues.get_mut(rack).into_iter().for_each(|queue| queue.changed(subscriber, &self.size));
            }
        }
    }

    /// The members that may still get or lose partitions.
    fn involved(&self) -> Vec<usize> {
        let shared = |topic: usize| self.subscribers(topic).len() > 1;
        let mut holds_shared = vec![false; self.size.len()];
        for (partition, owner) in self.owner.iter().enumerate() {
            if shared(self.group.topic_of(partition))
                && let Some(holds) = owner.and_then(|owner| holds_shared.get_mut(owner))
            {
                *holds = true;
            }
        }
        let most = |member: usize| -> usize {
            self.group.topics_of(member).iter().map(|topic| self.partitions_of(*topic).len()).sum()
        };
        let members = holds_shared.into_iter().enumerate();
        let involved = members.filter(|(member, holds)| *holds || self.size(*member) < most(*member));
        involved.map(|(member, _)| member).collect()
    }

    /// The sum of the differences of all pairs: zero if all members have the same number.
    fn score(&self, involved: &[usize]) -> usize {
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
        topics: &[usize],
        previous: &[Option<usize>],
        may_move: impl Fn(usize) -> bool,
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
        topic: usize,
        previous: &[Option<usize>],
        may_move: impl Fn(usize) -> bool,
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
        for (partition, owner) in self.owner.iter().enumerate() {
            if let Some(list) = owner.and_then(|owner| plan.get_mut(owner)) {
                list.push(partition);
            }
        }
        plan
    }
}
