//! [`Group`]: members, topics and partitions by number, as the assignors use them. Numbers are in order of name (and partition),
//! so that a sorted list of numbers is in order of names, too.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use offtake_machine::{Topic, TopicPartition};

use super::{
    Assignment, Members, Partitions,
    index::{Index, IndexVec, Indices, MemberIndex, PartitionIndex, TopicIndex, indices},
    java,
    racks::GroupRacks,
};

/// Partitions of each member, by number.
pub(super) type Plan = IndexVec<MemberIndex, Vec<PartitionIndex>>;

pub(super) struct Group<'a> {
    pub(super) members: IndexVec<MemberIndex, Member<'a>>,
    pub(super) topics: IndexVec<TopicIndex, NumberedTopic<'a>>,
    pub(super) racks: GroupRacks,
    /// Whether all members subscribe to the same topics, existing or not.
    pub(super) same_subscription: bool,
    topic_of: IndexVec<PartitionIndex, TopicIndex>,
    subscriptions: Vec<Subscription>,
}

#[derive(Clone)]
pub(super) struct Member<'a> {
    pub(super) id: &'a str,
    pub(super) owned: Vec<PartitionIndex>,
    pub(super) generation: Option<i32>,
    instance: Option<&'a str>,
    /// The index of its subscription among the distinct ones.
    subscription: usize,
}

pub(super) struct NumberedTopic<'a> {
    pub(super) name: &'a Topic,
    first: usize,
    pub(super) count: usize,
}

/// A set of topics that members subscribe to: as a list, and as bits.
struct Subscription {
    topics: Vec<TopicIndex>,
    bits: Vec<u64>,
}

impl NumberedTopic<'_> {
    pub(super) fn partitions(&self) -> Indices<PartitionIndex> {
        indices(self.first..self.first.saturating_add(self.count))
    }

    /// Its partition of this number, counted from 0.
    pub(super) fn partition(&self, number: usize) -> PartitionIndex {
        PartitionIndex::of(self.first.saturating_add(number))
    }
}

impl<'a> Group<'a> {
    pub(super) fn new(partitions: &'a Partitions, members: &'a Members) -> Self {
        let (distinct, subscribed_to) = distinct(members);
        let same_subscription = distinct.windows(2).all(|pair| matches!(pair, [one, other] if one == other));
        let wanted: BTreeSet<&Topic> = distinct.iter().flat_map(|topics| topics.iter()).collect();
        let mut topics: IndexVec<TopicIndex, NumberedTopic<'a>> = IndexVec::new();
        let mut topic_of = Vec::new();
        for (name, count) in partitions.iter().filter(|(name, _)| wanted.contains(name)) {
            let Some(count) = usize::try_from(count).ok().filter(|count| *count > 0) else { continue };
            let first = topic_of.len();
            let topic = topics.push(NumberedTopic { name, first, count });
            topic_of.resize(first.saturating_add(count), topic);
        }
        let topic_of = topic_of.into_iter().collect();
        let numbers: HashMap<&str, TopicIndex> =
            topics.entries().map(|(number, topic)| (topic.name.as_str(), number)).collect();
        let subscriptions = distinct.iter().map(|names| Subscription::new(names, &numbers, topics.len()));
        let subscriptions = subscriptions.collect();
        let numbered = members.iter().zip(subscribed_to).map(|((id, member), subscription)| Member {
            id,
            owned: claimed(&member.owned, &topics, &numbers),
            generation: member.generation,
            instance: member.instance_id.as_deref(),
            subscription,
        });
        let numbered = numbered.collect();
        let racks = GroupRacks::new(partitions, members, &topics);
        Self { members: numbered, topics, racks, same_subscription, topic_of, subscriptions }
    }

    pub(super) fn partitions(&self) -> usize {
        self.topic_of.len()
    }

    pub(super) fn topic_of(&self, partition: PartitionIndex) -> TopicIndex {
        self.topic_of.get(partition).copied().unwrap_or(TopicIndex::of(0))
    }

    /// Its number in its topic, counted from 0.
    pub(super) fn index_of(&self, partition: PartitionIndex) -> usize {
        let first = self.topics.get(self.topic_of(partition)).map_or(0, |topic| topic.first);
        partition.number().saturating_sub(first)
    }

    pub(super) fn partitions_of(&self, topic: TopicIndex) -> Indices<PartitionIndex> {
        self.topics.get(topic).map_or_else(|| indices(0..0), NumberedTopic::partitions)
    }

    /// The topics that a member subscribes to and that have partitions, in order.
    pub(super) fn topics_of(&self, member: MemberIndex) -> &[TopicIndex] {
        self.subscription(member).map_or(&[], |subscription| &subscription.topics)
    }

    pub(super) fn subscribes(&self, member: MemberIndex, topic: TopicIndex) -> bool {
        let topic = topic.number();
        let word = |subscription: &Subscription| subscription.bits.get(topic / 64).copied();
        self.subscription(member).and_then(word).unwrap_or(0) >> (topic % 64) & 1 == 1
    }

    fn subscription(&self, member: MemberIndex) -> Option<&Subscription> {
        self.subscriptions.get(self.members.get(member)?.subscription)
    }

    /// The subscribers of each topic, in this order.
    pub(super) fn subscribers(
        &self,
        order: impl IntoIterator<Item = MemberIndex>,
    ) -> IndexVec<TopicIndex, Vec<MemberIndex>> {
        let mut subscribers = IndexVec::filled(Vec::new(), self.topics.len());
        for member in order {
            for topic in self.topics_of(member) {
                subscribers.change(*topic, |subscribers: &mut Vec<_>| subscribers.push(member));
            }
        }
        subscribers
    }

    /// Members in the order of assignment: static members by instance id, then the others by member id. So a restart of a static
    /// member does not change the order (KIP-345).
    pub(super) fn member_order(&self) -> Vec<MemberIndex> {
        let mut order: Vec<MemberIndex> = self.members.indices().collect();
        order.sort_by_key(|member| {
            let instance = self.members.get(*member).and_then(|member| member.instance);
            (instance.is_none(), instance, *member)
        });
        order
    }

    /// Members in the order of Java's hash table.
    pub(super) fn java_order(&self) -> Vec<MemberIndex> {
        let ids: Vec<_> = self.members.iter().map(|member| member.id).collect();
        java::hash_table_order(&ids).into_iter().map(MemberIndex::of).collect()
    }

    /// A plan without any partition for any member.
    pub(super) fn empty_plan(&self) -> Plan {
        IndexVec::filled(Vec::new(), self.members.len())
    }

    pub(super) fn number(&self, partition: &TopicPartition) -> Option<PartitionIndex> {
        let topics = self.topics.as_slice();
        let at = topics.binary_search_by(|topic| topic.name.cmp(&partition.topic)).ok()?;
        let index = usize::try_from(partition.partition).ok()?;
        topics.get(at).filter(|topic| index < topic.count).map(|topic| topic.partition(index))
    }

    pub(super) fn member(&self, id: &str) -> Option<MemberIndex> {
        let at = self.members.as_slice().binary_search_by(|member| member.id.cmp(id)).ok()?;
        Some(MemberIndex::of(at))
    }

    pub(super) fn name(&self, partition: PartitionIndex) -> Option<TopicPartition> {
        let topic = self.topics.get(self.topic_of(partition))?;
        let index = i32::try_from(self.index_of(partition)).ok()?;
        Some(TopicPartition { topic: topic.name.clone(), partition: index })
    }

    pub(super) fn named(&self, plan: Plan) -> Assignment {
        let planned = plan.into_entries().map(|(_, planned)| planned);
        let named = self.members.iter().zip(planned).map(|(member, mut planned)| {
            planned.sort_unstable();
            (member.id.to_owned(), planned.into_iter().filter_map(|each| self.name(each)).collect())
        });
        named.collect()
    }
}

impl Subscription {
    fn new(names: &BTreeSet<Topic>, numbers: &HashMap<&str, TopicIndex>, topics: usize) -> Self {
        let mut list: Vec<TopicIndex> =
            names.iter().filter_map(|name| numbers.get(name.as_str()).copied()).collect();
        list.sort_unstable();
        let mut bits = vec![0u64; topics.div_ceil(64)];
        for topic in &list {
            let topic = topic.number();
            bits.get_mut(topic / 64).into_iter().for_each(|word| *word |= 1 << (topic % 64));
        }
        Self { topics: list, bits }
    }
}

/// The distinct subscriptions, and the index of each member's.
fn distinct(members: &Members) -> (Vec<&Arc<BTreeSet<Topic>>>, Vec<usize>) {
    let mut sets = Vec::new();
    let mut known = HashMap::new();
    let whose = members.values().map(|member| {
        *known.entry(Arc::as_ptr(&member.topics)).or_insert_with(|| {
            sets.push(&member.topics);
            sets.len() - 1
        })
    });
    let whose = whose.collect();
    (sets, whose)
}

/// The numbers of the partitions that a member claims, each once, without those that do not exist.
fn claimed(
    owned: &[TopicPartition],
    topics: &IndexVec<TopicIndex, NumberedTopic<'_>>,
    numbers: &HashMap<&str, TopicIndex>,
) -> Vec<PartitionIndex> {
    let mut claimed = Vec::with_capacity(owned.len());
    let mut last: Option<(&Topic, Option<&NumberedTopic<'_>>)> = None;
    for each in owned {
        let topic = match last {
            Some((name, topic)) if *name == each.topic => topic,
            _ => numbers.get(each.topic.as_str()).and_then(|number| topics.get(*number)),
        };
        last = Some((&each.topic, topic));
        let index = usize::try_from(each.partition).ok();
        if let Some((topic, index)) = topic.zip(index)
            && index < topic.count
        {
            claimed.push(topic.partition(index));
        }
    }
    if !claimed.is_sorted() {
        claimed.sort_unstable();
    }
    claimed.dedup();
    claimed
}
