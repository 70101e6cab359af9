//! Subscriptions and assignments come from other members, written in other languages and other years (FAILURES INPUT50).

use bytes::Bytes;
use offtake_wire::{ConsumerProtocolAssignment, ConsumerProtocolSubscription, DecodeError, TopicPartition};

fn subscription(bytes: &[u8]) -> Result<ConsumerProtocolSubscription, DecodeError> {
    ConsumerProtocolSubscription::decode_versioned(Bytes::copy_from_slice(bytes))
}

#[test]
fn input50_a_subscription_of_a_later_version_is_read_as_our_latest() {
    let sent = ConsumerProtocolSubscription {
        topics: vec!["orders".into()],
        user_data: Some(Bytes::from_static(b"sticky")),
        owned_partitions: vec![TopicPartition { topic: "orders".into(), partitions: vec![0, 3] }],
        generation_id: 4,
        rack_id: Some("a".into()),
    };
    for version in 0..=3 {
        let read = subscription(&sent.encode_versioned(version).unwrap()).unwrap();
        assert_eq!(read.topics, sent.topics);
        assert_eq!(read.owned_partitions.is_empty(), version < 1);
        assert_eq!(read.generation_id, if version < 2 { -1 } else { 4 });
        assert_eq!(read.rack_id.is_some(), version >= 3);
    }
    let mut later = sent.encode_versioned(3).unwrap().to_vec();
    later[..2].copy_from_slice(&9_i16.to_be_bytes());
    later.extend(b"what later members say");
    assert_eq!(subscription(&later), Ok(sent));
}

#[test]
fn input50_a_subscription_that_is_none_is_refused() {
    assert!(matches!(subscription(&[]), Err(DecodeError::Short { .. })), "no bytes at all");
    assert!(matches!(subscription(&[0]), Err(DecodeError::Short { .. })), "half a version");
    for version in [-1, i16::MIN] {
        let [a, b] = version.to_be_bytes();
        let refused = subscription(&[a, b, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(refused, Err(DecodeError::Version { what: "ConsumerProtocolSubscription", version }));
    }
    let topics = [0, 0, 0x7f, 0xff, 0xff, 0xff];
    assert!(matches!(subscription(&topics), Err(DecodeError::Count { .. })), "more topics than bytes");
    let null = [0, 0, 0xff, 0xff, 0xff, 0xff];
    assert!(matches!(subscription(&null), Err(DecodeError::Null { .. })), "no list of topics");
    let user_data = [0, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff];
    assert!(matches!(subscription(&user_data), Err(DecodeError::Short { .. })), "more user data than bytes");
}

#[test]
fn input50_an_assignment_that_makes_no_sense_is_read_and_one_that_is_broken_is_refused() {
    let sent = ConsumerProtocolAssignment {
        assigned_partitions: vec![
            TopicPartition { topic: String::new(), partitions: vec![-1, -1, i32::MAX] };
            2
        ],
        user_data: None,
    };
    let bytes = sent.encode_versioned(0).unwrap();
    assert_eq!(ConsumerProtocolAssignment::decode_versioned(bytes.clone()), Ok(sent));
    for end in 0..bytes.len() {
        assert!(ConsumerProtocolAssignment::decode_versioned(bytes.slice(..end)).is_err(), "cut at {end}");
    }
}
