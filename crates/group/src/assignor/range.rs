//! `range`: topic by topic, each member gets consecutive partitions. The first members get one more if the number does not
//! divide.
//!
//! Where racks matter (KIP-881), a member first gets partitions with a replica in its rack, and then the rest of its share. Topics
//! with the same members and the same number of partitions are assigned together, so that partition *n* of each still goes to the
//! same member.

use std::collections::BTreeMap;

use super::{Group, Plan};

pub(super) fn assign(group: &Group<'_>) -> Plan {
    let order = group.member_order();
    let subscribers = group.subscribers(&order);
    let mut shares: Vec<Share<'_>> = (0..group.topics.len())
        .zip(&subscribers)
        .map(|(topic, subscribers)| Share::new(group, topic, subscribers))
        .collect();
    if group.racks.count > 0 {
        rack_local_first(group, &order, &mut shares);
    }
    let mut plan = group.empty_plan();
    for share in &mut shares {
        share.take_remaining();
        for (partition, subscriber) in share.taken_by.iter().enumerate() {
            let member = subscriber.and_then(|subscriber| order.get(*share.subscribers.get(subscriber)?));
            if let Some(list) = member.and_then(|member| plan.get_mut(*member)) {
                list.push(share.first + partition);
            }
        }
    }
    plan
}

/// The assignment of one topic. Subscribers and partitions are numbered within the topic.
struct Share<'a> {
    topic: usize,
    first: usize,
    subscribers: &'a [usize],
    taken_by: Vec<Option<usize>>,
    taken: Vec<usize>,
    /// How many partitions every subscriber gets, and how many subscribers may still get one more.
    each: usize,
    extra: usize,
}

impl<'a> Share<'a> {
    fn new(group: &Group<'_>, topic: usize, subscribers: &'a [usize]) -> Self {
        let (first, count) = group.topics.get(topic).map_or((0, 0), |topic| (topic.first, topic.count));
        Self {
            topic,
            first,
            subscribers,
            taken_by: vec![None; count],
            taken: vec![0; subscribers.len()],
            each: count.checked_div(subscribers.len()).unwrap_or(0),
            extra: count.checked_rem(subscribers.len()).unwrap_or(0),
        }
    }

    /// How many more partitions a subscriber may get.
    fn room(&self, subscriber: usize) -> usize {
        let taken = self.taken.get(subscriber).copied().unwrap_or(0);
        (self.each + usize::from(self.extra > 0)).saturating_sub(taken)
    }

    fn give(&mut self, partition: usize, subscriber: usize) {
        if let (Some(by), Some(taken)) = (self.taken_by.get_mut(partition), self.taken.get_mut(subscriber)) {
            *by = Some(subscriber);
            *taken += 1;
        }
    }

    /// Counts the extra partition of a subscriber, if it has just got one.
    fn settle(&mut self, subscriber: usize, before: usize) {
        let taken = self.taken.get(subscriber).copied().unwrap_or(0);
        if taken > before && taken > self.each {
            self.extra = self.extra.saturating_sub(1);
        }
    }

    /// Gives a subscriber free partitions from `partitions`, up to its share.
    fn take(&mut self, subscriber: usize, partitions: &mut impl Iterator<Item = usize>) {
        let before = self.taken.get(subscriber).copied().unwrap_or(0);
        for _ in 0..self.room(subscriber) {
            let taken_by = &self.taken_by;
            let Some(partition) = partitions.find(|p| taken_by.get(*p).is_some_and(Option::is_none)) else {
                break;
            };
            self.give(partition, subscriber);
        }
        self.settle(subscriber, before);
    }

    fn take_remaining(&mut self) {
        let mut partitions = 0..self.taken_by.len();
        for subscriber in 0..self.subscribers.len() {
            self.take(subscriber, &mut partitions);
        }
    }

    /// Gives each subscriber the partitions of its share with a replica in its rack; one without a rack gets any.
    fn take_rack_local(&mut self, group: &Group<'_>, order: &[usize]) {
        let count = self.taken_by.len();
        let mut in_rack = vec![Vec::new(); group.racks.count];
        for partition in 0..count {
            for rack in group.racks.of_partition(self.first + partition) {
                in_rack.get_mut(*rack).into_iter().for_each(|list| list.push(partition));
            }
        }
        let mut in_rack: Vec<_> = in_rack.into_iter().map(Vec::into_iter).collect();
        let mut anywhere = 0..count;
        for (subscriber, at) in self.subscribers.iter().enumerate() {
            let rack = order.get(*at).and_then(|member| group.racks.of_member(*member));
            match rack.map(|rack| in_rack.get_mut(rack)) {
                None => self.take(subscriber, &mut anywhere),
                Some(Some(partitions)) => self.take(subscriber, partitions),
                Some(None) => {}
            }
        }
    }
}

fn rack_local_first(group: &Group<'_>, order: &[usize], shares: &mut [Share<'_>]) {
    let members = |share: &Share<'_>| -> Vec<usize> {
        share.subscribers.iter().filter_map(|at| order.get(*at).copied()).collect()
    };
    let matter = |share: &Share<'_>| {
        let partitions = group.topics.get(share.topic).map_or(0..0, |topic| topic.partitions());
        group.racks.matter(members(share).into_iter(), partitions)
    };
    let needed: Vec<bool> = shares.iter().map(matter).collect();
    if !needed.contains(&true) {
        return;
    }
    let mut together: BTreeMap<(&[usize], usize), Vec<usize>> = BTreeMap::new();
    for (number, share) in shares.iter().enumerate() {
        if members(share).iter().any(|member| group.racks.of_member(*member).is_some()) {
            together.entry((share.subscribers, share.taken_by.len())).or_default().push(number);
        }
    }
    for alike in together.into_values() {
        match alike[..] {
            [] => {}
            [one] => {
                if let (Some(share), Some(true)) = (shares.get_mut(one), needed.get(one)) {
                    share.take_rack_local(group, order);
                }
            }
            _ => take_rack_local_together(group, order, shares, &alike),
        }
    }
}

/// Assigns each partition of all these topics together: to the first subscriber with room and a replica of each in its rack.
fn take_rack_local_together(group: &Group<'_>, order: &[usize], shares: &mut [Share<'_>], alike: &[usize]) {
    let Some(first) = alike.first().and_then(|first| shares.get(*first)) else { return };
    let (subscribers, count) = (first.subscribers, first.taken_by.len());
    // The subscribers of each rack in order; the last list has those without a rack.
    let mut waiting = vec![Vec::new(); group.racks.count + 1];
    for (subscriber, at) in subscribers.iter().enumerate() {
        let rack = order.get(*at).and_then(|member| group.racks.of_member(*member));
        let list = waiting.get_mut(rack.unwrap_or(group.racks.count));
        list.into_iter().for_each(|list| list.push(subscriber));
    }
    let mut waiting: Vec<_> = waiting.into_iter().map(|list| list.into_iter().peekable()).collect();
    for partition in 0..count {
        let firsts = || alike.iter().filter_map(|number| shares.get(*number)).map(|share| share.first);
        let Some(racks) = firsts().next().map(|first| group.racks.of_partition(first + partition)) else {
            break;
        };
        let everywhere = racks
            .iter()
            .copied()
            .filter(|rack| firsts().all(|first| group.racks.of_partition(first + partition).contains(rack)));
        let candidates: Vec<usize> = everywhere.chain([group.racks.count]).collect();
        let mut best: Option<(usize, usize)> = None;
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
        for number in alike {
            if let Some(share) = shares.get_mut(*number) {
                let before = share.taken.get(subscriber).copied().unwrap_or(0);
                share.give(partition, subscriber);
                share.settle(subscriber, before);
            }
        }
    }
}
