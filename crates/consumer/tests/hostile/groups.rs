//! INPUT50: data written by other members of a group and by its leader.

use offtake_wire::{
    ApiKey, ConsumerProtocolAssignment, ConsumerProtocolSubscription, Response, TopicPartition, Uuid,
    messages::{
        consumer_group_heartbeat::{Assignment, TopicPartitions},
        join_group::JoinGroupResponseMember,
    },
};

use crate::{
    peer::Answer,
    scene::{Outcome, Row, play_all},
};

/// Subscriptions that cannot be decoded, or make no sense.
fn subscriptions() -> Vec<(&'static str, Vec<u8>)> {
    let subscription = |topics: &[&str]| ConsumerProtocolSubscription {
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        ..Default::default()
    };
    let mut odd = subscription(&["", "no-such-topic", "no-such-topic"]);
    odd.owned_partitions =
        vec![TopicPartition { topic: "orders".to_owned(), partitions: vec![-1, i32::MAX, 0, 0] }];
    odd.generation_id = i32::MAX;
    vec![
        ("nothing", vec![]),
        ("a byte", vec![0]),
        ("a negative version", vec![0xff, 0xff, 0, 0, 0, 0]),
        ("two billion topics", vec![0, 0, 0x7f, 0xff, 0xff, 0xff]),
        ("null topics", vec![0, 0, 0xff, 0xff, 0xff, 0xff]),
        ("user data beyond the end", vec![0, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff]),
        ("topics and partitions that are none", odd.encode_versioned(3).unwrap().to_vec()),
        ("a megabyte of topics", {
            let topics = vec!["x".repeat(1000); 1000];
            ConsumerProtocolSubscription { topics, ..Default::default() }
                .encode_versioned(0)
                .unwrap()
                .to_vec()
        }),
    ]
}

/// The consumer leads its group, and the coordinator lists a member that does not exist. Its subscription is
/// ignored: all partitions are assigned to the consumer.
#[test]
fn input50_subscriptions_of_others() {
    let mut rows = Vec::new();
    for (what, metadata) in subscriptions() {
        rows.push(Row::on(ApiKey::JoinGroup, format!("INPUT50: a subscription of {what}"), move |answer| {
            let Response::JoinGroup(mut join) = answer.response() else { panic!("{}", answer.api) };
            if !join.members.is_empty() {
                let metadata = metadata.clone().into();
                let member_id = "another".to_owned();
                join.members.push(JoinGroupResponseMember { member_id, metadata, group_instance_id: None });
            }
            answer.with(join)
        }));
    }
    rows.push(Row::on(ApiKey::JoinGroup, "INPUT50: every member twice", |answer| {
        let Response::JoinGroup(mut join) = answer.response() else { panic!("{}", answer.api) };
        join.members.extend_from_within(..);
        answer.with(join)
    }));
    rows.push(Row::on(ApiKey::JoinGroup, "INPUT50: it leads a group without members", |answer| {
        let Response::JoinGroup(mut join) = answer.response() else { panic!("{}", answer.api) };
        join.members.clear();
        answer.with(join)
    }));
    rows.push(Row::on(ApiKey::JoinGroup, "INPUT50: it leads a group of others", |answer| {
        let Response::JoinGroup(mut join) = answer.response() else { panic!("{}", answer.api) };
        for member in &mut join.members {
            member.member_id.push('x');
        }
        answer.with(join)
    }));
    rows.push(Row::on(ApiKey::JoinGroup, "INPUT50: a protocol that nobody offered", |answer| {
        let Response::JoinGroup(mut join) = answer.response() else { panic!("{}", answer.api) };
        join.protocol_name = Some("none-of-ours".to_owned());
        answer.with(join)
    }));
    for generation in [-1, i32::MIN, i32::MAX] {
        let name = format!("INPUT50: generation {generation}");
        rows.push(Row::on(ApiKey::JoinGroup, name, move |answer| {
            let Response::JoinGroup(mut join) = answer.response() else { panic!("{}", answer.api) };
            join.generation_id = generation;
            answer.with(join)
        }));
    }
    play_all(rows);
}

#[test]
fn input50_assignments_of_its_own() {
    let assigned = |partitions: &[i32]| ConsumerProtocolAssignment {
        assigned_partitions: vec![
            TopicPartition { topic: "orders".to_owned(), partitions: partitions.to_vec() },
            TopicPartition { topic: String::new(), partitions: vec![0, -1] },
            TopicPartition { topic: "no-such-topic".to_owned(), partitions: vec![0, i32::MAX] },
        ],
        user_data: None,
    };
    let assignments = [
        ("nothing that can be read", vec![0, 1, 0xff]),
        ("two billion topics", vec![0, 0, 0x7f, 0xff, 0xff, 0xff]),
        ("a negative version", vec![0xff, 0xff, 0, 0, 0, 0]),
        (
            "partitions that are none",
            assigned(&[0, 1, -1, i32::MIN, i32::MAX]).encode_versioned(0).unwrap().to_vec(),
        ),
        ("partitions twice", assigned(&[0, 1, 0, 1, 1]).encode_versioned(1).unwrap().to_vec()),
        ("a thousand partitions", {
            let partitions: Vec<i32> = (0..1000).collect();
            assigned(&partitions).encode_versioned(0).unwrap().to_vec()
        }),
        ("a million partitions", {
            let partitions: Vec<i32> = (0..1_000_000).collect();
            assigned(&partitions).encode_versioned(0).unwrap().to_vec()
        }),
    ];
    let rows = assignments.map(|(what, assignment)| {
        Row::on(ApiKey::SyncGroup, format!("INPUT50: an assignment of {what}"), move |answer| {
            let Response::SyncGroup(mut sync) = answer.response() else { panic!("{}", answer.api) };
            sync.assignment = assignment.clone().into();
            answer.with(sync)
        })
        .outcome(Outcome::Misleads)
        .mended_within(std::time::Duration::from_secs(700)) // a wrong assignment that can be read is read by; the group has to give another
    });
    play_all(rows.into());
}

/// Assignments by the broker, with KIP-848.
#[test]
fn input50_assignments_by_the_broker() {
    type Change = fn(&mut Assignment);
    let changes: [(&str, Change); 5] = [
        ("twice", |assignment| assignment.topic_partitions.extend_from_within(..)),
        ("topics without an id", |assignment| {
            let topic = TopicPartitions { topic_id: Uuid::ZERO, partitions: vec![0, 1] };
            assignment.topic_partitions.push(topic);
        }),
        ("partitions that are none", |assignment| {
            for topic in &mut assignment.topic_partitions {
                topic.partitions.extend([-1, i32::MIN]);
            }
        }),
        ("a thousand partitions", |assignment| {
            for topic in &mut assignment.topic_partitions {
                topic.partitions.extend(2..1000);
            }
        }),
        ("a million partitions", |assignment| {
            for topic in &mut assignment.topic_partitions {
                topic.partitions.extend(2..1_000_000);
            }
        }),
    ];
    let rows = changes.map(|(what, change)| {
        let name = format!("INPUT50: assigned by the broker: {what}");
        Row::on(ApiKey::ConsumerGroupHeartbeat, name, move |answer: &Answer| {
            let Response::ConsumerGroupHeartbeat(mut beat) = answer.response() else {
                panic!("{}", answer.api)
            };
            if let Some(assignment) = &mut beat.assignment {
                change(assignment);
            }
            answer.with(beat)
        })
        .property("group.protocol", "consumer")
        .outcome(Outcome::Misleads)
        .mended_within(std::time::Duration::from_secs(700))
    });
    play_all(rows.into());
}
