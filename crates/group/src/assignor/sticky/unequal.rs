//! Members subscribe to different topics: what is owned stays, what is free goes to whoever has least, and then
//! partitions move for as long as that evens things out.

use std::collections::{BTreeMap, BTreeSet};

use super::{Claims, Group, NO_GENERATION, Plan, movements::Movements};

/// Moves for each partition and member: far beyond what evening out takes, and an end to what never settles.
const PATIENCE: usize = 16;

pub(super) fn assign(group: &Group, claims: &Claims) -> Plan {
    let mut table = Table::new(group);
    let mut released_any = false;
    for member in 0..group.members.len() {
        for &partition in claims.of(member) {
            if group.subscribes(member, group.topic_of(partition)) {
                table.give(partition, member);
            } else {
                released_any = true; // no longer subscribed to
            }
        }
    }
    table.even_out(&previous_owners(group), released_any);
    table.plan()
}

/// Who had each partition before the newest generation: it goes back there rather than to a third.
fn previous_owners(group: &Group) -> BTreeMap<usize, usize> {
    let newest = group.members.iter().filter_map(|member| member.generation).max().unwrap_or(NO_GENERATION);
    let mut previous: BTreeMap<usize, (usize, i32)> = BTreeMap::new();
    for &number in &group.table {
        let Some(member) = group.member(number) else { continue };
        let generation = member.generation.unwrap_or(NO_GENERATION);
        if generation >= newest {
            continue;
        }
        for &partition in &member.owned {
            let newer = previous.get(&partition).is_none_or(|(_, other)| generation > *other);
            // Who has unsubscribed since cannot have it back.
            if newer && group.subscribes(number, group.topic_of(partition)) {
                previous.insert(partition, (number, generation));
            }
        }
    }
    previous.into_iter().map(|(partition, (member, _))| (partition, member)).collect()
}

/// Who has what at the moment.
struct Table<'a> {
    group: &'a Group,
    /// The members that subscribe to each topic.
    takers: Vec<Vec<usize>>,
    owner: Vec<Option<usize>>,
    /// How many partitions each member has: in all, and of each topic.
    size: Vec<usize>,
    held: Vec<BTreeMap<usize, usize>>,
    /// Members that may still gain or lose something: least first, then by name.
    order: BTreeSet<(usize, usize)>,
    movements: Movements,
    moves_left: usize,
}

impl<'a> Table<'a> {
    fn new(group: &'a Group) -> Self {
        let members = group.members.len();
        let partitions = group.partitions.len();
        let takers = (0..group.topics.len())
            .map(|topic| (0..members).filter(|member| group.subscribes(*member, topic)).collect())
            .collect();
        Self {
            group,
            takers,
            owner: vec![None; partitions],
            size: vec![0; members],
            held: vec![BTreeMap::new(); members],
            order: (0..members).map(|member| (0, member)).collect(),
            movements: Movements::default(),
            moves_left: partitions.saturating_add(members).saturating_mul(PATIENCE),
        }
    }

    fn size(&self, member: usize) -> usize {
        self.size.get(member).copied().unwrap_or(0)
    }

    fn owner(&self, partition: usize) -> Option<usize> {
        self.owner.get(partition).copied().flatten()
    }

    fn takers(&self, topic: usize) -> &[usize] {
        self.takers.get(topic).map_or(&[], Vec::as_slice)
    }

    fn resize(&mut self, member: usize, topic: usize, by: isize) {
        let (Some(size), Some(held)) = (self.size.get_mut(member), self.held.get_mut(member)) else { return };
        let listed = self.order.remove(&(*size, member));
        *size = size.saturating_add_signed(by);
        if listed {
            self.order.insert((*size, member));
        }
        let of_topic = held.entry(topic).or_default();
        *of_topic = of_topic.saturating_add_signed(by);
        if *of_topic == 0 {
            held.remove(&topic);
        }
    }

    fn give(&mut self, partition: usize, to: usize) {
        let topic = self.group.topic_of(partition);
        let before = self.owner.get_mut(partition).and_then(|owner| owner.replace(to));
        if let Some(before) = before {
            self.resize(before, topic, -1);
        }
        self.resize(to, topic, 1);
    }

    /// Whoever has least and subscribes to the topic.
    fn neediest(&self, topic: usize) -> Option<usize> {
        self.order.iter().map(|(_, member)| *member).find(|member| self.group.subscribes(*member, topic))
    }

    fn even_out(&mut self, previous: &BTreeMap<usize, usize>, released_any: bool) {
        let fresh = self.order.last().is_none_or(|(most, _)| *most == 0);
        // Topics that few can take come first.
        let mut topics: Vec<usize> = (0..self.group.topics.len()).collect();
        topics.sort_by_key(|topic| (self.takers(*topic).len(), *topic));
        let all: Vec<usize> = topics
            .iter()
            .filter_map(|topic| self.group.topics.get(*topic))
            .flat_map(|topic| topic.first..topic.first.saturating_add(topic.count))
            .collect();
        let free: Vec<usize> = all.iter().copied().filter(|p| self.owner(*p).is_none()).collect();
        for &partition in &free {
            if let Some(taker) = self.neediest(self.group.topic_of(partition)) {
                self.give(partition, taker);
            }
        }

        let movable = |partitions: Vec<usize>| -> Vec<usize> {
            partitions.into_iter().filter(|p| self.takers(self.group.topic_of(*p)).len() > 1).collect()
        };
        let (all, free) = (movable(all), movable(free));
        let involved: BTreeSet<(usize, usize)> =
            self.order.iter().copied().filter(|(_, member)| self.may_change(*member)).collect();
        self.order = involved;
        let before = (self.owner.clone(), self.score());

        if !released_any {
            self.reassign(&free, previous);
        }
        let reassigned = self.reassign(&all, previous);
        if !fresh && reassigned && self.score() >= before.1 {
            // All that moving was for nothing.
            for (partition, owner) in before.0.into_iter().enumerate() {
                if let Some(owner) = owner.filter(|owner| self.owner(partition) != Some(*owner)) {
                    self.give(partition, owner);
                }
            }
        }
    }

    fn may_change(&self, member: usize) -> bool {
        let Some(numbered) = self.group.member(member) else { return false };
        let most: usize =
            numbered.topics.iter().filter_map(|t| self.group.topics.get(*t)).map(|t| t.count).sum();
        self.size(member) < most
            || self
                .held
                .get(member)
                .is_some_and(|held| held.keys().any(|topic| self.takers(*topic).len() > 1))
    }

    /// Whether nobody could take a partition from somebody who has two more.
    fn is_even(&self) -> bool {
        let (Some((least, _)), Some((most, _))) = (self.order.first(), self.order.last()) else {
            return true;
        };
        if least + 1 >= *most {
            return true;
        }
        // Of those who hold any of a topic, how many partitions the richest has in all. Ascending order: the last wins.
        let mut richest: BTreeMap<usize, usize> = BTreeMap::new();
        for (size, member) in &self.order {
            let topics = self.held.get(*member).into_iter().flat_map(BTreeMap::keys);
            richest.extend(topics.map(|topic| (*topic, *size)));
        }
        self.order.iter().all(|(size, member)| {
            let topics = self.group.member(*member).into_iter().flat_map(|numbered| &numbered.topics);
            topics.filter_map(|topic| richest.get(topic)).all(|most| size + 1 >= *most)
        })
    }

    /// The sum of the differences of all pairs: zero when everybody has the same.
    fn score(&self) -> usize {
        let mut below = 0usize;
        let mut score = 0usize;
        for (nth, (size, _)) in self.order.iter().enumerate() {
            score = score.saturating_add(size.saturating_mul(nth).saturating_sub(below));
            below = below.saturating_add(*size);
        }
        score
    }

    fn reassign(&mut self, partitions: &[usize], previous: &BTreeMap<usize, usize>) -> bool {
        let mut any = false;
        loop {
            let mut moved = false;
            for &partition in partitions {
                if self.moves_left == 0 || self.is_even() {
                    break;
                }
                let Some(owner) = self.owner(partition) else { continue };
                let topic = self.group.topic_of(partition);
                let has_two_more = |than: usize| self.size(owner) > self.size(than) + 1;
                let home = previous.get(&partition).copied().filter(|member| has_two_more(*member));
                let to = home.or_else(|| {
                    self.takers(topic)
                        .iter()
                        .any(|m| has_two_more(*m))
                        .then(|| self.neediest(topic))
                        .flatten()
                });
                if let Some(to) = to {
                    let chosen = self.movements.instead_of(self.group, partition, owner, to);
                    if let Some(from) = self.owner(chosen) {
                        self.movements.moved(self.group, chosen, from, to);
                        self.give(chosen, to);
                    }
                    self.moves_left -= 1;
                    moved = true;
                }
            }
            any |= moved;
            if !moved || self.moves_left == 0 {
                return any;
            }
        }
    }

    fn plan(&self) -> Plan {
        let mut plan: Plan = vec![Vec::new(); self.group.members.len()];
        for (partition, owner) in self.owner.iter().enumerate() {
            if let Some(list) = owner.and_then(|owner| plan.get_mut(owner)) {
                list.push(partition);
            }
        }
        plan
    }
}
