//! What members tell the leader of themselves, and what the leader tells them: Kafka's consumer protocol, and what the
//! sticky assignors put into its user data.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use offtake_machine::{Topic, TopicPartition};
use offtake_wire::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, DecodeError, EncodeError, Reader,
    TopicPartition as OfTopic, Writer,
};

use super::Assignor;

/// The newest version of subscription and assignment; older members read as much of it as they know.
const VERSION: i16 = 3;

/// What the leader knows of a member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct MemberSubscription {
    /// The topics it wants.
    pub topics: BTreeSet<Topic>,
    /// The partitions it says it has; for `sticky`, those it had.
    pub owned: Vec<TopicPartition>,
    /// The generation in which it got them, if it says (KIP-792).
    pub generation: Option<i32>,
    /// Its name beyond restarts, if it is a static member (KIP-345).
    pub instance_id: Option<String>,
    /// Where it runs (KIP-881). Not looked at yet.
    pub rack: Option<String>,
}

impl MemberSubscription {
    /// Reads what a member sent with its JoinGroup. What makes no sense in it is left out; only bytes that cannot be
    /// read at all are an error.
    pub fn decode(
        assignor: Assignor,
        instance_id: Option<String>,
        bytes: Bytes,
    ) -> Result<Self, DecodeError> {
        let read = ConsumerProtocolSubscription::decode_versioned(bytes)?;
        let told = (read.generation_id >= 0).then_some(read.generation_id);
        let (owned, generation) = match assignor {
            Assignor::Sticky => previous_assignment(read.user_data),
            Assignor::CooperativeSticky => {
                (partitions(read.owned_partitions), told.or_else(|| generation_in(read.user_data)))
            }
            Assignor::Range | Assignor::RoundRobin => (partitions(read.owned_partitions), told),
        };
        Ok(Self {
            topics: read.topics.into_iter().filter(|topic| !topic.is_empty()).map(Topic::from).collect(),
            owned,
            generation,
            instance_id,
            rack: read.rack_id,
        })
    }
}

/// What we tell the leader of ourselves.
pub(crate) struct Claim<'a> {
    pub(crate) topics: &'a BTreeSet<Topic>,
    /// What we have not given up.
    pub(crate) owned: Vec<TopicPartition>,
    /// The generation in which we got it; -1: none.
    pub(crate) generation: i32,
    /// Our last assignment and its generation, though we may have given it up since.
    pub(crate) last: Option<(&'a BTreeSet<TopicPartition>, i32)>,
    pub(crate) rack: Option<&'a str>,
}

pub(crate) fn encode_subscription(assignor: Assignor, claim: &Claim<'_>) -> Result<Bytes, EncodeError> {
    let user_data = match (assignor, claim.last) {
        (Assignor::Sticky, Some((partitions, generation))) => Some(write_previous(partitions, generation)?),
        // Members older than KIP-792 look for the generation here.
        (Assignor::CooperativeSticky, _) => Some(Bytes::copy_from_slice(&claim.generation.to_be_bytes())),
        (Assignor::Sticky | Assignor::Range | Assignor::RoundRobin, _) => None,
    };
    ConsumerProtocolSubscription {
        topics: claim.topics.iter().map(|topic| topic.as_str().to_owned()).collect(),
        user_data,
        owned_partitions: by_topic(&claim.owned),
        generation_id: claim.generation,
        rack_id: claim.rack.map(str::to_owned),
    }
    .encode_versioned(VERSION)
}

pub(crate) fn encode_assignment(assigned: &[TopicPartition]) -> Result<Bytes, EncodeError> {
    ConsumerProtocolAssignment { assigned_partitions: by_topic(assigned), user_data: None }
        .encode_versioned(VERSION)
}

/// Each partition once, however often the leader named it (FAILURES F5).
pub(crate) fn decode_assignment(bytes: Bytes) -> Result<BTreeSet<TopicPartition>, DecodeError> {
    let read = ConsumerProtocolAssignment::decode_versioned(bytes)?;
    Ok(partitions(read.assigned_partitions).into_iter().collect())
}

fn partitions(listed: Vec<OfTopic>) -> Vec<TopicPartition> {
    let mut all = Vec::new();
    for of in listed {
        let topic = Topic::from(of.topic);
        all.extend(of.partitions.into_iter().filter(|p| *p >= 0).map(|p| TopicPartition::new(&topic, p)));
    }
    all
}

/// In order of topic and partition, so that equal claims are equal bytes (FAILURES E7).
fn by_topic<'a>(partitions: impl IntoIterator<Item = &'a TopicPartition>) -> Vec<OfTopic> {
    let mut topics: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
    for each in partitions {
        topics.entry(each.topic.as_str()).or_default().insert(each.partition);
    }
    topics
        .into_iter()
        .map(|(topic, list)| OfTopic { topic: topic.to_owned(), partitions: list.into_iter().collect() })
        .collect()
}

fn generation_in(user_data: Option<Bytes>) -> Option<i32> {
    let mut r = Reader::new(user_data?);
    r.i32().ok().filter(|generation| *generation >= 0)
}

/// The user data of `sticky`: the last assignment, and since its second version the generation it is from.
fn previous_assignment(user_data: Option<Bytes>) -> (Vec<TopicPartition>, Option<i32>) {
    let Some(user_data) = user_data.filter(|bytes| !bytes.is_empty()) else { return (Vec::new(), None) };
    let mut r = Reader::new(user_data);
    r.enter("previous_assignment");
    match read_previous(&mut r) {
        Ok(owned) => (owned, r.i32().ok()),
        Err(_) => (Vec::new(), None),
    }
}

fn read_previous(r: &mut Reader) -> Result<Vec<TopicPartition>, DecodeError> {
    let mut owned = Vec::new();
    // A topic takes six bytes or more, a partition four.
    for _ in 0..r.count(false, 6, size_of::<TopicPartition>())?.unwrap_or(0) {
        let topic = Topic::from(r.string(false)?);
        for _ in 0..r.count(false, 4, size_of::<TopicPartition>())?.unwrap_or(0) {
            let partition = r.i32()?;
            if partition >= 0 {
                owned.push(TopicPartition::new(&topic, partition));
            }
        }
    }
    Ok(owned)
}

fn write_previous(partitions: &BTreeSet<TopicPartition>, generation: i32) -> Result<Bytes, EncodeError> {
    let mut w = Writer::new();
    let topics = by_topic(partitions);
    w.count(false, Some(topics.len()))?;
    for of in topics {
        w.string(false, &of.topic)?;
        w.count(false, Some(of.partitions.len()))?;
        for partition in of.partitions {
            w.i32(partition);
        }
    }
    w.i32(generation);
    Ok(w.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim<'a>(topics: &'a BTreeSet<Topic>, last: &'a BTreeSet<TopicPartition>) -> Claim<'a> {
        Claim {
            topics,
            owned: vec![
                TopicPartition::new("b", 1),
                TopicPartition::new("a", 2),
                TopicPartition::new("b", 0),
            ],
            generation: 4,
            last: Some((last, 3)),
            rack: Some("here"),
        }
    }

    #[test]
    fn a_claim_comes_back_as_the_leader_should_see_it() {
        let topics: BTreeSet<Topic> = ["a", "b"].map(Topic::from).into();
        let last: BTreeSet<_> = [TopicPartition::new("a", 0)].into();
        for assignor in Assignor::ALL {
            let bytes = encode_subscription(assignor, &claim(&topics, &last)).unwrap();
            let read = MemberSubscription::decode(assignor, Some("i".into()), bytes).unwrap();
            assert_eq!(read.topics, topics);
            assert_eq!(read.rack.as_deref(), Some("here"));
            assert_eq!(read.instance_id.as_deref(), Some("i"));
            let (owned, generation) = match assignor {
                Assignor::Sticky => (vec![TopicPartition::new("a", 0)], Some(3)),
                _ => (
                    vec![
                        TopicPartition::new("a", 2),
                        TopicPartition::new("b", 0),
                        TopicPartition::new("b", 1),
                    ],
                    Some(4),
                ),
            };
            assert_eq!((read.owned, read.generation), (owned, generation), "{assignor}");
        }
    }

    #[test]
    fn s3_50_nonsense_in_a_subscription_is_left_out() {
        let bytes = ConsumerProtocolSubscription {
            topics: vec!["a".into(), String::new(), "a".into()],
            user_data: Some(Bytes::from_static(&[1, 2])),
            owned_partitions: vec![OfTopic { topic: "a".into(), partitions: vec![-1, 0, i32::MIN] }],
            generation_id: -7,
            rack_id: None,
        }
        .encode_versioned(VERSION)
        .unwrap();
        let read = MemberSubscription::decode(Assignor::CooperativeSticky, None, bytes.clone()).unwrap();
        assert_eq!(read.topics, [Topic::from("a")].into());
        assert_eq!((read.owned, read.generation), (vec![TopicPartition::new("a", 0)], None));
        let read = MemberSubscription::decode(Assignor::Sticky, None, bytes).unwrap();
        assert_eq!((read.owned, read.generation), (vec![], None), "user data cut short claims nothing");
    }

    #[test]
    fn a_cooperative_member_older_than_kip_792_tells_its_generation_in_user_data() {
        let bytes = ConsumerProtocolSubscription {
            topics: vec!["a".into()],
            user_data: Some(Bytes::copy_from_slice(&9i32.to_be_bytes())),
            ..Default::default()
        }
        .encode_versioned(1)
        .unwrap();
        let read = MemberSubscription::decode(Assignor::CooperativeSticky, None, bytes).unwrap();
        assert_eq!(read.generation, Some(9));
    }

    #[test]
    fn the_first_version_of_sticky_user_data_has_no_generation() {
        let last: BTreeSet<_> = [TopicPartition::new("a", 0), TopicPartition::new("a", 5)].into();
        let second = write_previous(&last, 3).unwrap();
        let first = second.slice(..second.len() - 4);
        assert_eq!(previous_assignment(Some(first)), (last.into_iter().collect(), None));
    }

    #[test]
    fn an_assignment_names_each_partition_once() {
        let twice = [TopicPartition::new("a", 1), TopicPartition::new("a", 0), TopicPartition::new("a", 1)];
        let read = decode_assignment(encode_assignment(&twice).unwrap()).unwrap();
        assert_eq!(
            read.into_iter().collect::<Vec<_>>(),
            [TopicPartition::new("a", 0), TopicPartition::new("a", 1)]
        );
        assert!(decode_assignment(Bytes::new()).is_err());
    }
}
