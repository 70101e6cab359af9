//! Produce, and requests about offsets.

use bytes::Bytes;
use kafka_protocol::messages::{
    delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic},
    describe_producers_request::TopicRequest,
    offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic},
    *,
};

use super::verbs::*;
use crate::differential::{
    batch::{Batch, THEN},
    conversation::{Conversation, Line, s},
};

pub(crate) fn produce_all_versions(conversation: &mut Conversation) {
    let line = conversation.connect("a");
    let topic = topic(conversation, line, "produce", 2, &[]);
    let nobody = Topic { name: "unknown".into(), id: uuid::Uuid::from_u128(9) };
    let batch = Batch::of(&["a", "b"]).bytes();
    for version in 3..=13 {
        for acks in [-1, 1, 2] {
            conversation.ask(line, version, producing(version, &topic, 1, batch.clone()).with_acks(acks));
        }
        conversation.ask(line, version, producing(version, &nobody, 0, batch.clone()));
        conversation.ask(line, version, producing(version, &topic, 7, batch.clone()));
        conversation.ask(
            line,
            version,
            producing(version, &topic, 0, Batch { wrong_crc: true, ..Batch::of(&["a"]) }.bytes()),
        );
        conversation.ask(line, version, producing(version, &topic, 0, Batch::of(&[]).bytes()));
        conversation.ask(line, version, producing(version, &topic, 0, Bytes::new()));
        conversation.ask(
            line,
            version,
            producing(version, &topic, 0, [batch.clone(), batch.clone()].concat().into()),
        );
    }
    // It has no answer; the next answer is to this request.
    let request = producing(12, &topic, 0, batch.clone()).with_acks(0);
    let _ = conversation.say(line, 12, request);
    conversation.ask(line, 2, listing(&topic.name, 0, -1));
    // An error that cannot be answered otherwise closes the connection.
    let _ = conversation.say(line, 12, producing(12, &nobody, 0, batch).with_acks(0));
    conversation.ask(line, 2, listing(&topic.name, 0, -1));
}

pub(crate) fn produce_wrong(conversation: &mut Conversation) {
    let line = conversation.connect("a");
    let plain = topic(conversation, line, "wrong", 1, &[]);
    let compacted = topic(conversation, line, "wrong-compacted", 1, &[("cleanup.policy", "compact")]);
    let stamped =
        topic(conversation, line, "wrong-stamped", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let small = topic(conversation, line, "wrong-small", 1, &[("max.message.bytes", "200")]);
    let late = topic(conversation, line, "wrong-late", 1, &[("message.timestamp.after.max.ms", "1000")]);
    produce(conversation, line, &compacted, &Batch::of(&["a", "b"]).without_keys());
    produce(conversation, line, &compacted, &Batch::of(&["a", "b"]));
    produce(conversation, line, &stamped, &Batch::of(&["a"]));
    produce(conversation, line, &small, &Batch::of(&["a"]));
    produce(conversation, line, &small, &Batch::of(&["a".repeat(200).as_str()]));
    produce(conversation, line, &late, &Batch::of(&["a"]).at(4_000_000_000_000));
    produce(conversation, line, &plain, &Batch::of(&["a"]).at(-1));
    produce(conversation, line, &plain, &Batch::of(&["a"]).control());
    produce(conversation, line, &plain, &Batch::of(&["a"]).transactional());
    produce(conversation, line, &plain, &Batch::of(&["a"]).by(5, 0, 0).transactional());
    produce(conversation, line, &plain, &Batch { base_offset: 5, ..Batch::of(&["a", "b"]) });
    produce(conversation, line, &plain, &Batch { miscount: 1, ..Batch::of(&["a", "b"]) });
    produce(conversation, line, &plain, &Batch { magic: 1, ..Batch::of(&["a"]) });
    produce(conversation, line, &plain, &Batch { magic: 9, ..Batch::of(&["a"]) });
    let whole = Batch::of(&["a", "b"]).bytes();
    for cut in [4, 20, 60, whole.len() - 1] {
        conversation.ask(line, 12, producing(12, &plain, 0, whole.slice(..cut)));
    }
    let big = "x".repeat(1_048_600);
    produce(conversation, line, &plain, &Batch::of(&[&big]));
    conversation.ask(line, 12, producing(12, &plain, 0, whole).with_transactional_id(Some(s("some"))));
    conversation.ask(line, 5, listing("wrong", 0, -1));
    for version in [4, 12, 17] {
        for topic in [&plain, &compacted, &stamped] {
            conversation.ask(line, version, fetching(version, topic, from(0)));
        }
    }
}

pub(crate) fn idempotent(conversation: &mut Conversation) {
    let line = conversation.connect("a");
    let topic = topic(conversation, line, "idempotent", 1, &[]);
    let id = *conversation.until(line, 4, beginning(None), |answer| answer.error_code == 0).producer_id;
    let batch = |epoch: i16, sequence: i32| Batch::of(&["a", "b"]).by(id, epoch, sequence);
    let producers = |conversation: &mut Conversation, line: Line| {
        conversation.ask(
            line,
            0,
            DescribeProducersRequest::default().with_topics(vec![
                TopicRequest::default().with_name(s("idempotent")).with_partition_indexes(vec![0, 9]),
                TopicRequest::default().with_name(s("unknown")).with_partition_indexes(vec![0]),
            ]),
        );
    };
    producers(conversation, line);
    produce(conversation, line, &topic, &batch(0, 0));
    producers(conversation, line);
    produce(conversation, line, &topic, &batch(0, 0)); // a duplicate
    produce(conversation, line, &topic, &batch(0, 4)); // a gap
    produce(conversation, line, &topic, &batch(0, 2));
    produce(conversation, line, &topic, &batch(0, 1));
    for sequence in [4, 6, 8, 10, 12] {
        produce(conversation, line, &topic, &batch(0, sequence));
    }
    produce(conversation, line, &topic, &batch(0, 0)); // older than the last five
    produce(conversation, line, &topic, &batch(0, 4)); // the fifth last
    produce(conversation, line, &topic, &batch(1, 3)); // a new epoch begins at 0
    produce(conversation, line, &topic, &batch(1, 0));
    produce(conversation, line, &topic, &batch(0, 14)); // an old epoch
    produce(conversation, line, &topic, &Batch::of(&["a"]).by(id + 500, 3, 7)); // a producer that is not known
    produce(conversation, line, &topic, &Batch::of(&["a"]).by(id + 501, 0, -1));
    produce(conversation, line, &topic, &Batch::of(&["a"]).by(-1, 0, 0));
    for version in 7..=13 {
        conversation.ask(line, version, producing(version, &topic, 0, batch(0, 0).bytes()));
        conversation.ask(line, version, producing(version, &topic, 0, batch(1, 0).bytes()));
        conversation.ask(line, version, producing(version, &topic, 0, batch(1, 9).bytes()));
    }
    producers(conversation, line);
    conversation.ask(line, 12, fetching(12, &topic, from(0)));
}

pub(crate) fn list_offsets(conversation: &mut Conversation) {
    let line = conversation.connect("a");
    let topic = topic(conversation, line, "offsets", 2, &[]);
    for version in 1..=10 {
        for timestamp in [-1, -2, -3, -4, -5, -6, THEN, THEN + 1, THEN + 100, i64::MAX, 0] {
            conversation.ask(line, version, listing("offsets", 1, timestamp)); // an empty one
            if version == 1 {
                continue;
            }
            conversation.ask(line, version, listing("offsets", 0, timestamp).with_isolation_level(1));
        }
        conversation.ask(line, version, listing("offsets", 9, -1));
        conversation.ask(line, version, listing("unknown", 0, -1));
        if version == 1 {
            produce(conversation, line, &topic, &Batch::of(&["a", "b", "c"]));
            produce(conversation, line, &topic, &Batch::of(&["d", "e"]).at(THEN - 10));
            produce(conversation, line, &topic, &Batch::of(&["f"]).at(THEN + 50));
        }
        if version >= 4 {
            for epoch in [0, 1, -1] {
                let mut request = listing("offsets", 0, -1);
                request.topics[0].partitions[0].current_leader_epoch = epoch;
                conversation.ask(line, version, request);
            }
        }
        // The same partition twice, and as a replica.
        let mut twice = listing("offsets", 0, -1);
        let partition = twice.topics[0].partitions[0].clone();
        twice.topics[0].partitions.push(partition);
        conversation.ask(line, version, twice);
        conversation.ask(line, version, listing("offsets", 0, -1).with_replica_id(BrokerId(-2)));
    }
}

pub(crate) fn leader_epochs(conversation: &mut Conversation) {
    let line = conversation.connect("a");
    let topic = topic(conversation, line, "epochs", 2, &[]);
    produce(conversation, line, &topic, &Batch::of(&["a", "b", "c"]));
    for version in 2..=4 {
        for (name, partition, current, epoch) in [
            ("epochs", 0, -1, 0),
            ("epochs", 0, 0, 0),
            ("epochs", 0, 0, 1),
            ("epochs", 0, 1, 0),
            ("epochs", 0, -1, -1),
            ("epochs", 1, 0, 0),
            ("epochs", 1, 0, 3),
            ("epochs", 9, 0, 0),
            ("unknown", 0, 0, 0),
        ] {
            let partition = OffsetForLeaderPartition::default()
                .with_partition(partition)
                .with_current_leader_epoch(current)
                .with_leader_epoch(epoch);
            let topic = OffsetForLeaderTopic::default().with_topic(s(name)).with_partitions(vec![partition]);
            let request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
            let request = if version >= 3 { request.with_replica_id(BrokerId(-1)) } else { request };
            conversation.ask(line, version, request);
        }
    }
}

pub(crate) fn delete_records(conversation: &mut Conversation) {
    let line = conversation.connect("a");
    let plain = topic(conversation, line, "gone", 1, &[]);
    topic(conversation, line, "gone-compacted", 1, &[("cleanup.policy", "compact")]);
    for _ in 0..4 {
        produce(conversation, line, &plain, &Batch::of(&["a", "b"]));
    }
    let up_to = |name: &str, partition: i32, offset: i64| {
        let partition = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset);
        DeleteRecordsRequest::default().with_timeout_ms(5000).with_topics(vec![
            DeleteRecordsTopic::default().with_name(s(name)).with_partitions(vec![partition]),
        ])
    };
    for version in 0..=2 {
        conversation.ask(line, version, up_to("gone", 0, i64::from(version) * 2 + 1));
        conversation.ask(line, version, up_to("gone", 0, 0));
        conversation.ask(line, version, up_to("gone", 0, 99));
        conversation.ask(line, version, up_to("gone", 0, -2));
        conversation.ask(line, version, up_to("gone", 5, 0));
        conversation.ask(line, version, up_to("unknown", 0, 0));
        conversation.ask(line, version, up_to("gone-compacted", 0, 0));
        conversation.ask(line, version, up_to("__consumer_offsets", 0, 0));
        conversation.ask(line, 12, fetching(12, &plain, from(0)));
        conversation.ask(line, 12, fetching(12, &plain, from(i64::from(version) * 2 + 1)));
        conversation.ask(line, 6, listing("gone", 0, -2));
    }
    conversation.ask(line, 2, up_to("gone", 0, -1));
    conversation.ask(line, 6, listing("gone", 0, -2));
    conversation.ask(line, 6, listing("gone", 0, -1));
    conversation.ask(line, 7, listing("gone", 0, THEN));
    conversation.ask(line, 12, fetching(12, &plain, from(8)));
    produce(conversation, line, &plain, &Batch::of(&["a", "b"]));
    conversation.ask(line, 12, fetching(12, &plain, from(9)));
}
