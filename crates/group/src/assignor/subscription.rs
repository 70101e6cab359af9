//! The subscriptions that members send to the leader. The broker passes them on unread.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use offtake_machine::{Topic, TopicPartition};
use offtake_wire::{ConsumerProtocolSubscription, EncodeError, TopicPartition as OfTopic, Writer};

use super::{BuiltIn, Strategy};

/// The newest version of subscription and assignment. Older members read the part that they know.
pub(super) const VERSION: i16 = 3;

/// The leader's knowledge of a member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct MemberSubscription {
    /// Its topics. Members with equal subscriptions share the set where possible, so that comparing them is cheap.
    pub topics: Arc<BTreeSet<Topic>>,
    /// The partitions that it claims to own; for `sticky`, its previous ones.
    pub owned: Vec<TopicPartition>,
    /// The generation in which they were assigned, if known (KIP-792).
    pub generation: Option<i32>,
    /// Its `group.instance.id`, if it is a static member (KIP-345).
    pub instance_id: Option<String>,
    /// Its `client.rack` (KIP-881).
    pub rack: Option<String>,
    /// The user data of a custom assignor
    /// ([`Assignor::subscription_user_data`](super::Assignor::subscription_user_data)).
    pub user_data: Option<Bytes>,
}

/// The data that a member sends to the leader.
pub(crate) struct Claim<'a> {
    pub(crate) topics: &'a BTreeSet<Topic>,
    /// The partitions that it owns.
    pub(crate) owned: Vec<TopicPartition>,
    /// The generation in which they were assigned; -1 if none.
    pub(crate) generation: i32,
    /// Its last assignment and its generation, even if revoked since.
    pub(crate) last: Option<(&'a BTreeSet<TopicPartition>, i32)>,
    pub(crate) rack: Option<&'a str>,
}

pub(crate) fn encode_subscription(assignor: &Strategy, claim: &Claim<'_>) -> Result<Bytes, EncodeError> {
    let user_data = match (assignor, claim.last) {
        (Strategy::BuiltIn(BuiltIn::Sticky), Some((partitions, generation))) => {
            Some(write_previous(partitions, generation)?)
        }
        // Members older than KIP-792 expect the generation here.
        (Strategy::BuiltIn(BuiltIn::CooperativeSticky), _) => {
            Some(Bytes::copy_from_slice(&claim.generation.to_be_bytes()))
        }
        (Strategy::BuiltIn(BuiltIn::Sticky | BuiltIn::Range | BuiltIn::RoundRobin), _) => None,
        (Strategy::Custom(_), _) => assignor.user_data(claim.topics),
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

/// Groups partitions in order of topic and partition, so that equal claims are equal bytes (FAILURES E7).
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
    use offtake_wire::{ConsumerProtocolAssignment, DecodeError};

    use super::{
        super::{MemberAssignment, Subscriptions, decode_assignment, encode_assignment},
        *,
    };

    fn decode(
        assignor: &Strategy,
        instance_id: Option<String>,
        bytes: Bytes,
    ) -> Result<MemberSubscription, DecodeError> {
        Subscriptions::default().decode(assignor, instance_id, bytes)
    }

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
        for assignor in BuiltIn::ALL {
            let bytes = encode_subscription(&assignor.into(), &claim(&topics, &last)).unwrap();
            let read = decode(&assignor.into(), Some("i".into()), bytes).unwrap();
            assert_eq!(*read.topics, topics);
            assert_eq!(read.rack.as_deref(), Some("here"));
            assert_eq!(read.instance_id.as_deref(), Some("i"));
            let (owned, generation) = match assignor {
                BuiltIn::Sticky => (vec![TopicPartition::new("a", 0)], Some(3)),
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
    fn input50_nonsense_in_a_subscription_is_left_out() {
        let bytes = ConsumerProtocolSubscription {
            topics: vec!["a".into(), String::new(), "a".into()],
            user_data: Some(Bytes::from_static(&[1, 2])),
            owned_partitions: vec![OfTopic { topic: "a".into(), partitions: vec![-1, 0, i32::MIN] }],
            generation_id: -7,
            rack_id: None,
        }
        .encode_versioned(VERSION)
        .unwrap();
        let read = decode(&BuiltIn::CooperativeSticky.into(), None, bytes.clone()).unwrap();
        assert_eq!(*read.topics, [Topic::from("a")].into());
        assert_eq!((read.owned, read.generation), (vec![TopicPartition::new("a", 0)], None));
        let read = decode(&BuiltIn::Sticky.into(), None, bytes).unwrap();
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
        let read = decode(&BuiltIn::CooperativeSticky.into(), None, bytes).unwrap();
        assert_eq!(read.generation, Some(9));
    }

    #[test]
    fn the_first_version_of_sticky_user_data_has_no_generation() {
        let last: BTreeSet<_> = [TopicPartition::new("a", 0), TopicPartition::new("a", 5)].into();
        let second = write_previous(&last, 3).unwrap();
        let first = second.slice(..second.len() - 4);
        let bytes = ConsumerProtocolSubscription { user_data: Some(first), ..Default::default() };
        let bytes = bytes.encode_versioned(0).unwrap();
        let read = decode(&BuiltIn::Sticky.into(), None, bytes).unwrap();
        assert_eq!((read.owned, read.generation), (last.into_iter().collect(), None));
    }

    #[test]
    fn an_assignment_names_each_partition_once() {
        let twice = [TopicPartition::new("a", 1), TopicPartition::new("a", 0), TopicPartition::new("a", 1)];
        let bytes = encode_assignment(&twice, Some(&Bytes::from_static(b"mine"))).unwrap();
        let read = ConsumerProtocolAssignment::decode_versioned(bytes.clone()).unwrap();
        assert_eq!(read.assigned_partitions, [OfTopic { topic: "a".into(), partitions: vec![0, 1] }]);
        let expected = vec![TopicPartition::new("a", 0), TopicPartition::new("a", 1)];
        let user_data = Some(Bytes::from_static(b"mine"));
        let expected = MemberAssignment { partitions: expected, user_data };
        assert_eq!(decode_assignment(bytes).unwrap(), expected);
        let [first, .., second] = twice.clone();
        let in_order = encode_assignment(&[first, second], None).unwrap();
        assert_eq!(decode_assignment(in_order).unwrap().partitions, [TopicPartition::new("a", 1)]);
        let unsorted = ConsumerProtocolAssignment {
            assigned_partitions: vec![OfTopic { topic: "a".into(), partitions: vec![1, -1, 0, 1] }],
            ..read_of(b"mine")
        };
        assert_eq!(decode_assignment(unsorted.encode_versioned(0).unwrap()).unwrap(), expected);
        assert!(decode_assignment(Bytes::new()).is_err());
    }

    fn read_of(user_data: &'static [u8]) -> ConsumerProtocolAssignment {
        ConsumerProtocolAssignment {
            assigned_partitions: Vec::new(),
            user_data: Some(Bytes::from_static(user_data)),
        }
    }

    /// The leader decodes without the `message!` table: the result must be the same.
    #[test]
    fn every_version_is_read_as_its_schema_says() {
        let whole = ConsumerProtocolSubscription {
            topics: vec!["b".into(), "a".into()],
            user_data: Some(Bytes::from_static(b"mine")),
            owned_partitions: vec![OfTopic { topic: "b".into(), partitions: vec![3, 1] }],
            generation_id: 5,
            rack_id: Some("here".into()),
        };
        let custom = Strategy::custom(Mine);
        for version in 0..=VERSION {
            let bytes = whole.encode_versioned(version).unwrap();
            let decoded = ConsumerProtocolSubscription::decode_versioned(bytes.clone()).unwrap();
            let read = decode(&custom, None, bytes.clone()).unwrap();
            assert!(read.topics.iter().map(Topic::as_str).eq(["a", "b"]), "{version}");
            assert_eq!(read.user_data, decoded.user_data);
            let owned = read.owned.iter().map(|tp| (tp.topic.as_str(), tp.partition));
            let listed =
                decoded.owned_partitions.iter().flat_map(|of| of.partitions.iter().map(|p| (&*of.topic, *p)));
            assert!(owned.eq(listed), "{version}");
            assert_eq!(read.generation, Some(decoded.generation_id).filter(|generation| *generation >= 0));
            assert_eq!(read.rack, decoded.rack_id);
            for end in 0..bytes.len() {
                let cut = decode(&custom, None, bytes.slice(..end));
                assert_eq!(
                    cut.is_err(),
                    ConsumerProtocolSubscription::decode_versioned(bytes.slice(..end)).is_err()
                );
            }
            let newer = [&[0, 9], &bytes[2..], b"and more"].concat();
            assert_eq!(decode(&custom, None, newer.into()).is_ok(), version == VERSION);
        }
        assert!(decode(&custom, None, Bytes::from_static(&[255, 255, 0, 0, 0, 0])).is_err());
    }

    struct Mine;

    impl super::super::Assignor for Mine {
        fn name(&self) -> &str {
            "mine"
        }

        fn assign(
            &self,
            _: &super::super::Partitions,
            _: &super::super::Members,
        ) -> BTreeMap<String, MemberAssignment> {
            BTreeMap::new()
        }
    }

    #[test]
    fn members_with_the_same_topics_share_the_set() {
        let topics: BTreeSet<Topic> = ["a", "b"].map(Topic::from).into();
        let last = BTreeSet::new();
        let mut subscriptions = Subscriptions::default();
        let strategy = BuiltIn::Range.into();
        let bytes = encode_subscription(&strategy, &claim(&topics, &last)).unwrap();
        let one = subscriptions.decode(&strategy, None, bytes.clone()).unwrap();
        for n in 0..20 {
            let other: BTreeSet<Topic> = [Topic::from(format!("t{n}"))].into();
            let bytes = encode_subscription(&strategy, &claim(&other, &last)).unwrap();
            assert_eq!(*subscriptions.decode(&strategy, None, bytes).unwrap().topics, other);
            if n < 7 {
                let again = subscriptions.decode(&strategy, None, bytes_of(&strategy, &topics)).unwrap();
                assert!(Arc::ptr_eq(&one.topics, &again.topics));
            }
        }
        assert_eq!(subscriptions.decode(&strategy, None, bytes).unwrap(), one);
    }

    fn bytes_of(strategy: &Strategy, topics: &BTreeSet<Topic>) -> Bytes {
        encode_subscription(strategy, &claim(topics, &BTreeSet::new())).unwrap()
    }
}
