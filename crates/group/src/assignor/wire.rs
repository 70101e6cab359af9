//! Kafka's consumer protocol (the embedded one) for the leader of a large group: it decodes the subscriptions of all members and
//! encodes their assignments without a copy of each topic name per member.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use offtake_machine::{Topic, TopicPartition};
use offtake_wire::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, DecodeError, EncodeError, Message, Reader,
    Writer,
};

use super::{BuiltIn, MemberAssignment, MemberSubscription, Strategy, subscription::VERSION};

/// The number of topic lists that are remembered. A group usually has few different ones.
const KNOWN_LISTS: usize = 8;

/// Decodes the subscriptions of the members of one group. Each topic name is stored once, and members with the same topics share
/// the set.
#[derive(Debug, Default)]
pub struct Subscriptions {
    names: HashSet<Topic>,
    /// Encoded lists of topics, and their sets.
    known: Vec<(Bytes, Arc<BTreeSet<Topic>>)>,
    replaced: usize,
}

impl Subscriptions {
    /// Reads what one member sent with its JoinGroup for `assignor`. Invalid entries are left out; only bytes that cannot be
    /// decoded are an error.
    pub fn decode(
        &mut self,
        assignor: &Strategy,
        instance_id: Option<String>,
        bytes: Bytes,
    ) -> Result<MemberSubscription, DecodeError> {
        let mut r = Reader::new(bytes.clone());
        r.set_context(ConsumerProtocolSubscription::NAME);
        // A newer version may have more fields at the end.
        let version = r.i16()?;
        if version < 0 {
            return Err(DecodeError::Version { what: ConsumerProtocolSubscription::NAME, version });
        }
        let topics = self.topics(&bytes, &mut r)?;
        r.set_context("user_data");
        let user_data = r.nullable_bytes(false)?;
        r.set_context("owned_partitions");
        let owned = if version >= 1 { self.partitions(&mut r)? } else { Vec::new() };
        r.set_context("generation_id");
        let generation = if version >= 2 { r.i32()? } else { -1 };
        let generation = (generation >= 0).then_some(generation);
        r.set_context("rack_id");
        let rack = if version >= 3 { r.nullable_string(false)? } else { None };

        let mut member = MemberSubscription { topics, owned, generation, instance_id, rack, user_data: None };
        match assignor {
            Strategy::BuiltIn(BuiltIn::Sticky) => {
                (member.owned, member.generation) = self.previous_assignment(user_data);
            }
            Strategy::BuiltIn(BuiltIn::CooperativeSticky) => {
                member.generation = generation.or_else(|| generation_in(user_data));
            }
            Strategy::BuiltIn(BuiltIn::Range | BuiltIn::RoundRobin) => {}
            Strategy::Custom(_) => member.user_data = user_data,
        }
        Ok(member)
    }

    fn topics(&mut self, bytes: &Bytes, r: &mut Reader) -> Result<Arc<BTreeSet<Topic>>, DecodeError> {
        r.set_context("topics");
        let from = r.position();
        // A list begins with its length, so equal bytes are equal lists.
        let rest = bytes.get(from..).unwrap_or_default();
        if let Some((list, topics)) = self.known.iter().find(|(list, _)| rest.starts_with(list)) {
            r.take(list.len())?;
            return Ok(Arc::clone(topics));
        }
        let count = r.count(false, 2, size_of::<Topic>())?.ok_or(DecodeError::Null { what: "topics" })?;
        let mut topics = Vec::with_capacity(count);
        for _ in 0..count {
            topics.push(self.name(r.str(false)?));
        }
        let topics = topics.into_iter().filter(|topic| !topic.as_str().is_empty());
        let topics: Arc<BTreeSet<Topic>> = Arc::new(topics.collect());
        let list = (bytes.slice(from..r.position()), Arc::clone(&topics));
        match self.known.get_mut(self.replaced) {
            Some(known) => *known = list,
            None => self.known.push(list),
        }
        self.replaced = (self.replaced + 1) % KNOWN_LISTS;
        Ok(topics)
    }

    fn name(&mut self, name: &str) -> Topic {
        match self.names.get(name) {
            Some(topic) => topic.clone(),
            None => {
                let topic = Topic::from(name);
                self.names.insert(topic.clone());
                topic
            }
        }
    }

    fn partitions(&mut self, r: &mut Reader) -> Result<Vec<TopicPartition>, DecodeError> {
        let what = r.context();
        let mut partitions = Vec::new();
        // A topic takes six bytes or more, a partition four.
        for _ in 0..r.count(false, 6, 0)?.ok_or(DecodeError::Null { what })? {
            let topic = self.name(r.str(false)?);
            let count = r.count(false, 4, size_of::<TopicPartition>())?.ok_or(DecodeError::Null { what })?;
            partitions.reserve(count);
            for _ in 0..count {
                let partition = r.i32()?;
                if partition >= 0 {
                    partitions.push(TopicPartition { topic: topic.clone(), partition });
                }
            }
        }
        Ok(partitions)
    }

    /// The user data of `sticky`: the last assignment and, since its second version, its generation.
    fn previous_assignment(&mut self, user_data: Option<Bytes>) -> (Vec<TopicPartition>, Option<i32>) {
        let Some(user_data) = user_data.filter(|bytes| !bytes.is_empty()) else { return (Vec::new(), None) };
        let mut r = Reader::new(user_data);
        r.set_context("previous_assignment");
        match self.partitions(&mut r) {
            Ok(owned) => (owned, r.i32().ok()),
            Err(_) => (Vec::new(), None),
        }
    }
}

fn generation_in(user_data: Option<Bytes>) -> Option<i32> {
    let mut r = Reader::new(user_data?);
    r.i32().ok().filter(|generation| *generation >= 0)
}

/// The encoded assignment of a member, with each partition once.
pub fn encode_assignment(
    partitions: &[TopicPartition],
    user_data: Option<&Bytes>,
) -> Result<Bytes, EncodeError> {
    if !partitions.is_sorted_by(|one, next| one < next) {
        let mut sorted = partitions.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        return encode_assignment(&sorted, user_data);
    }
    let by_topic = || partitions.chunk_by(|one, next| one.topic == next.topic);
    let mut w = Writer::new();
    w.set_context(ConsumerProtocolAssignment::NAME);
    w.i16(VERSION);
    w.count(false, Some(by_topic().count()))?;
    for of in by_topic() {
        w.string(false, of.first().map_or("", |first| first.topic.as_str()))?;
        w.count(false, Some(of.len()))?;
        of.iter().for_each(|each| w.i32(each.partition));
    }
    w.nullable_bytes(false, user_data.map(|bytes| &bytes[..]))?;
    Ok(w.into_bytes())
}

/// The partitions of an assignment in order, each once, even if the leader repeated it.
pub fn decode_assignment(bytes: Bytes) -> Result<MemberAssignment, DecodeError> {
    let read = ConsumerProtocolAssignment::decode_versioned(bytes)?;
    let mut partitions = Vec::new();
    for of in read.assigned_partitions {
        let topic = Topic::from(of.topic);
        let indices = of.partitions.into_iter().filter(|partition| *partition >= 0);
        partitions.extend(indices.map(|partition| TopicPartition::new(&topic, partition)));
    }
    partitions.sort_unstable();
    partitions.dedup();
    Ok(MemberAssignment { partitions, user_data: read.user_data })
}
