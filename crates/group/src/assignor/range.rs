//! `range`: topic by topic, each member gets consecutive partitions. The first members get one more if the number does not
//! divide.
//!
//! Where racks matter (KIP-881), a member first gets partitions with a replica in its rack, and then the rest of its share. Topics
//! with the same members and the same number of partitions are assigned together, so that partition *n* of each still goes to the
//! same member.

use std::collections::BTreeMap;

use super::{
    Group, Plan,
    index::{Index, IndexVec, MemberIndex, PartitionIndex, RackIndex, SubscriberIndex, TopicIndex, indices},
    numbered::NumberedTopic,
};

pub(super) fn assign(group: &Group<'_>) -> Plan {
    let subscribers = group.subscribers(group.member_order());
    let of_topics = group.topics.iter().zip(subscribers.iter());
    let mut shares: IndexVec<TopicIndex, _> =
        of_topics.map(|(topic, subscribers)| Share::new(topic, subscribers)).collect();
    if group.racks.count > 0 {
        rack_local_first(group, &mut shares);
    }
    let mut plan = group.empty_plan();
    for share in shares.iter_mut() {
        share.take_remaining();
        for (number, subscriber) in share.taken_by.iter().enumerate() {
            if let Some(member) = subscriber.and_then(|subscriber| share.member(subscriber)) {
                plan.change(member, |list| list.push(share.topic.partition(number)));
            }
        }
    }
    plan
}

/// The assignment of one topic, whose partitions are numbered from 0.
struct Share<'a> {
    topic: &'a NumberedTopic<'a>,
    subscribers: &'a [MemberIndex],
    taken_by: Vec<Option<SubscriberIndex>>,
    taken: IndexVec<SubscriberIndex, usize>,
    /// How many partitions every subscriber gets, and how many subscribers may still get one more.
    each: usize,
    extra: usize,
}

impl<'a> Share<'a> {
    fn new(topic: &'a NumberedTopic<'a>, subscribers: &'a [MemberIndex]) -> Self {
        let count = topic.count;
        Self {
            topic,
            subscribers,
            taken_by: vec![None; count],
            taken: IndexVec::filled(0, subscribers.len()),
            each: count.checked_div(subscribers.len()).unwrap_or(0),
            extra: count.checked_rem(subscribers.len()).unwrap_or(0),
        }
    }

    fn member(&self, subscriber: SubscriberIndex) -> Option<MemberIndex> {
        self.subscribers.get(subscriber.number()).copied()
    }

    fn taken(&self, subscriber: SubscriberIndex) -> usize {
        self.taken.get(subscriber).copied().unwrap_or(0)
    }

    /// How many more partitions a subscriber may get.
    fn room(&self, subscriber: SubscriberIndex) -> usize {
        (self.each + usize::from(self.extra > 0)).saturating_sub(self.taken(subscriber))
    }

    fn give(&mut self, number: usize, subscriber: SubscriberIndex) {
        if let Some(by) = self.taken_by.get_mut(number) {
            *by = Some(subscriber);
            self.taken.change(subscriber, |taken| *taken += 1);
        }
    }

    /// Counts the extra partition of a subscriber, if it has just got one.
    fn count_extra(&mut self, subscriber: SubscriberIndex, before: usize) {
        let taken = self.taken(subscriber);
        if taken > before && taken > self.each {
            self.extra = self.extra.saturating_sub(1);
        }
    }

    /// Gives a subscriber free partitions of these numbers, up to its share.
    fn take(&mut self, subscriber: SubscriberIndex, numbers: &mut impl Iterator<Item = usize>) {
        let before = self.taken(subscriber);
        for _ in 0..self.room(subscriber) {
            let taken_by = &self.taken_by;
            let Some(number) = numbers.find(|n| taken_by.get(*n).is_some_and(Option::is_none)) else {
                break;
            };
            self.give(number, subscriber);
        }
        self.count_extra(subscriber, before);
    }

    fn take_remaining(&mut self) {
        let mut numbers = 0..self.taken_by.len();
        for subscriber in self.taken.indices() {
            self.take(subscriber, &mut numbers);
        }
    }

    /// Gives each subscriber the partitions of its share with a replica in its rack; one without a rack gets any.
    fn take_rack_local(&mut self, group: &Group<'_>) {
        let count = self.taken_by.len();
        let mut in_rack: IndexVec<RackIndex, Vec<usize>> = IndexVec::filled(Vec::new(), group.racks.count);
        for number in 0..count {
            for rack in group.racks.of_partition(self.topic.partition(number)) {
                in_rack.change(*rack, |numbers| numbers.push(number));
            }
        }
        let mut in_rack: IndexVec<RackIndex, _> =
            in_rack.into_entries().map(|(_, numbers)| numbers.into_iter()).collect();
        let mut anywhere = 0..count;
        for (subscriber, member) in indices(0..self.subscribers.len()).zip(self.subscribers) {
            match group.racks.of_member(*member).map(|rack| in_rack.get_mut(rack)) {
                None => self.take(subscriber, &mut anywhere),
                Some(Some(numbers)) => self.take(subscriber, numbers),
                Some(None) => {}
            }
        }
    }
}

fn rack_local_first(group: &Group<'_>, shares: &mut IndexVec<TopicIndex, Share<'_>>) {
    let matter =
        |share: &Share<'_>| group.racks.matter(share.subscribers.iter().copied(), share.topic.partitions());
    let needed: IndexVec<TopicIndex, bool> = shares.iter().map(matter).collect();
    if !needed.iter().any(|needed| *needed) {
        return;
    }
    let mut together: BTreeMap<(&[MemberIndex], usize), Vec<TopicIndex>> = BTreeMap::new();
    for (topic, share) in shares.entries() {
        if share.subscribers.iter().any(|member| group.racks.of_member(*member).is_some()) {
            together.entry((share.subscribers, share.taken_by.len())).or_default().push(topic);
        }
    }
    for alike in together.into_values() {
        match alike[..] {
            [] => {}
            [one] => {
                if let (Some(share), Some(true)) = (shares.get_mut(one), needed.get(one)) {
                    share.take_rack_local(group);
                }
            }
            _ => take_rack_local_together(group, shares, &alike),
        }
    }
}

/// Assigns each partition of all these topics together: to the first subscriber with room and a replica of each in its rack.
fn take_rack_local_together(
    group: &Group<'_>,
    shares: &mut IndexVec<TopicIndex, Share<'_>>,
    alike: &[TopicIndex],
) {
    let Some(first) = alike.first().and_then(|first| shares.get(*first)) else { return };
    let (subscribers, count) = (first.subscribers, first.taken_by.len());
    // The subscribers of each rack in order; the last list has those without a rack.
    let mut waiting = group.racks.with_nowhere(Vec::new());
    for (subscriber, member) in indices::<SubscriberIndex>(0..subscribers.len()).zip(subscribers) {
        let rack = group.racks.of_member(*member).unwrap_or(group.racks.nowhere());
        waiting.change(rack, |list| list.push(subscriber));
    }
    let mut waiting: IndexVec<RackIndex, _> =
        waiting.into_entries().map(|(_, list)| list.into_iter().peekable()).collect();
    for number in 0..count {
        let of_topic = |topic: &TopicIndex| Some(shares.get(*topic)?.topic.partition(number));
        let partitions = || alike.iter().filter_map(of_topic);
        let Some(racks) = partitions().next().map(|partition| group.racks.of_partition(partition)) else {
            break;
        };
        let holds =
            |rack: &RackIndex, partition: PartitionIndex| group.racks.of_partition(partition).contains(rack);
        let everywhere =
            racks.iter().copied().filter(|rack| partitions().all(|partition| holds(rack, partition)));
        let candidates: Vec<RackIndex> = everywhere.chain([group.racks.nowhere()]).collect();
        let mut best: Option<(SubscriberIndex, RackIndex)> = None;
        for rack in candidates {
            let Some(queue) = waiting.get_mut(rack) else { continue };
            // These topics are assigned alike, so a subscriber without room in one has none in any.
            let share = alike.first().and_then(|first| shares.get(*first));
            while queue.next_if(|subscriber| share.is_none_or(|share| share.room(*subscriber) == 0)).is_some()
            {
            }
            if let Some(subscriber) = queue.peek() {
                best = best.min(Some((*subscriber, rack))).or(Some((*subscriber, rack)));
            }
        }
        let Some((subscriber, _)) = best else { continue };
        for topic in alike {
            shares.change(*topic, |share| {
                let before = share.taken(subscriber);
                share.give(number, subscriber);
                share.count_extra(subscriber, before);
            });
        }
    }
}
