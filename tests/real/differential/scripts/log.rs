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
    talk::{Line, Talk, s},
};

pub(crate) fn produce_all_versions(talk: &mut Talk) {
    let line = talk.connect("a");
    let topic = topic(talk, line, "produce", 2, &[]);
    let nobody = Topic { name: "unknown".into(), id: uuid::Uuid::from_u128(9) };
    let batch = Batch::of(&["a", "b"]).bytes();
    for version in 3..=13 {
        for acks in [-1, 1, 2] {
            talk.ask(line, version, producing(version, &topic, 1, batch.clone()).with_acks(acks));
        }
        talk.ask(line, version, producing(version, &nobody, 0, batch.clone()));
        talk.ask(line, version, producing(version, &topic, 7, batch.clone()));
        talk.ask(
            line,
            version,
            producing(version, &topic, 0, Batch { wrong_crc: true, ..Batch::of(&["a"]) }.bytes()),
        );
        talk.ask(line, version, producing(version, &topic, 0, Batch::of(&[]).bytes()));
        talk.ask(line, version, producing(version, &topic, 0, Bytes::new()));
        talk.ask(
            line,
            version,
            producing(version, &topic, 0, [batch.clone(), batch.clone()].concat().into()),
        );
    }
    // It has no answer; the next answer is to this request.
    let request = producing(12, &topic, 0, batch.clone()).with_acks(0);
    let _ = talk.say(line, 12, request);
    talk.ask(line, 2, listing(&topic.name, 0, -1));
    // An error that cannot be answered otherwise closes the connection.
    let _ = talk.say(line, 12, producing(12, &nobody, 0, batch).with_acks(0));
    talk.ask(line, 2, listing(&topic.name, 0, -1));
}

pub(crate) fn produce_wrong(talk: &mut Talk) {
    let line = talk.connect("a");
    let plain = topic(talk, line, "wrong", 1, &[]);
    let compacted = topic(talk, line, "wrong-compacted", 1, &[("cleanup.policy", "compact")]);
    let stamped = topic(talk, line, "wrong-stamped", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let small = topic(talk, line, "wrong-small", 1, &[("max.message.bytes", "200")]);
    let late = topic(talk, line, "wrong-late", 1, &[("message.timestamp.after.max.ms", "1000")]);
    produce(talk, line, &compacted, &Batch::of(&["a", "b"]).without_keys());
    produce(talk, line, &compacted, &Batch::of(&["a", "b"]));
    produce(talk, line, &stamped, &Batch::of(&["a"]));
    produce(talk, line, &small, &Batch::of(&["a"]));
    produce(talk, line, &small, &Batch::of(&["a".repeat(200).as_str()]));
    produce(talk, line, &late, &Batch::of(&["a"]).at(4_000_000_000_000));
    produce(talk, line, &plain, &Batch::of(&["a"]).at(-1));
    produce(talk, line, &plain, &Batch::of(&["a"]).control());
    produce(talk, line, &plain, &Batch::of(&["a"]).transactional());
    produce(talk, line, &plain, &Batch::of(&["a"]).by(5, 0, 0).transactional());
    produce(talk, line, &plain, &Batch { base_offset: 5, ..Batch::of(&["a", "b"]) });
    produce(talk, line, &plain, &Batch { miscount: 1, ..Batch::of(&["a", "b"]) });
    produce(talk, line, &plain, &Batch { magic: 1, ..Batch::of(&["a"]) });
    produce(talk, line, &plain, &Batch { magic: 9, ..Batch::of(&["a"]) });
    let whole = Batch::of(&["a", "b"]).bytes();
    for cut in [4, 20, 60, whole.len() - 1] {
        talk.ask(line, 12, producing(12, &plain, 0, whole.slice(..cut)));
    }
    let big = "x".repeat(1_048_600);
    produce(talk, line, &plain, &Batch::of(&[&big]));
    talk.ask(line, 12, producing(12, &plain, 0, whole).with_transactional_id(Some(s("some"))));
    talk.ask(line, 5, listing("wrong", 0, -1));
    for version in [4, 12, 17] {
        for topic in [&plain, &compacted, &stamped] {
            talk.ask(line, version, fetching(version, topic, from(0)));
        }
    }
}

pub(crate) fn idempotent(talk: &mut Talk) {
    let line = talk.connect("a");
    let topic = topic(talk, line, "idempotent", 1, &[]);
    let id = *talk.until(line, 4, beginning(None), |answer| answer.error_code == 0).producer_id;
    let batch = |epoch: i16, sequence: i32| Batch::of(&["a", "b"]).by(id, epoch, sequence);
    let producers = |talk: &mut Talk, line: Line| {
        talk.ask(
            line,
            0,
            DescribeProducersRequest::default().with_topics(vec![
                TopicRequest::default().with_name(s("idempotent")).with_partition_indexes(vec![0, 9]),
                TopicRequest::default().with_name(s("unknown")).with_partition_indexes(vec![0]),
            ]),
        );
    };
    producers(talk, line);
    produce(talk, line, &topic, &batch(0, 0));
    producers(talk, line);
    produce(talk, line, &topic, &batch(0, 0)); // a duplicate
    produce(talk, line, &topic, &batch(0, 4)); // a gap
    produce(talk, line, &topic, &batch(0, 2));
    produce(talk, line, &topic, &batch(0, 1));
    for sequence in [4, 6, 8, 10, 12] {
        produce(talk, line, &topic, &batch(0, sequence));
    }
    produce(talk, line, &topic, &batch(0, 0)); // older than the last five
    produce(talk, line, &topic, &batch(0, 4)); // the fifth last
    produce(talk, line, &topic, &batch(1, 3)); // a new epoch begins at 0
    produce(talk, line, &topic, &batch(1, 0));
    produce(talk, line, &topic, &batch(0, 14)); // an old epoch
    produce(talk, line, &topic, &Batch::of(&["a"]).by(id + 500, 3, 7)); // a producer that is not known
    produce(talk, line, &topic, &Batch::of(&["a"]).by(id + 501, 0, -1));
    produce(talk, line, &topic, &Batch::of(&["a"]).by(-1, 0, 0));
    for version in 7..=13 {
        talk.ask(line, version, producing(version, &topic, 0, batch(0, 0).bytes()));
        talk.ask(line, version, producing(version, &topic, 0, batch(1, 0).bytes()));
        talk.ask(line, version, producing(version, &topic, 0, batch(1, 9).bytes()));
    }
    producers(talk, line);
    talk.ask(line, 12, fetching(12, &topic, from(0)));
}

pub(crate) fn list_offsets(talk: &mut Talk) {
    let line = talk.connect("a");
    let topic = topic(talk, line, "offsets", 2, &[]);
    for version in 1..=10 {
        for timestamp in [-1, -2, -3, -4, -5, -6, THEN, THEN + 1, THEN + 100, i64::MAX, 0] {
            talk.ask(line, version, listing("offsets", 1, timestamp)); // an empty one
            if version == 1 {
                continue;
            }
            talk.ask(line, version, listing("offsets", 0, timestamp).with_isolation_level(1));
        }
        talk.ask(line, version, listing("offsets", 9, -1));
        talk.ask(line, version, listing("unknown", 0, -1));
        if version == 1 {
            produce(talk, line, &topic, &Batch::of(&["a", "b", "c"]));
            produce(talk, line, &topic, &Batch::of(&["d", "e"]).at(THEN - 10));
            produce(talk, line, &topic, &Batch::of(&["f"]).at(THEN + 50));
        }
        if version >= 4 {
            for epoch in [0, 1, -1] {
                let mut request = listing("offsets", 0, -1);
                request.topics[0].partitions[0].current_leader_epoch = epoch;
                talk.ask(line, version, request);
            }
        }
        // The same partition twice, and as a replica.
        let mut twice = listing("offsets", 0, -1);
        let partition = twice.topics[0].partitions[0].clone();
        twice.topics[0].partitions.push(partition);
        talk.ask(line, version, twice);
        talk.ask(line, version, listing("offsets", 0, -1).with_replica_id(BrokerId(-2)));
    }
}

pub(crate) fn leader_epochs(talk: &mut Talk) {
    let line = talk.connect("a");
    let topic = topic(talk, line, "epochs", 2, &[]);
    produce(talk, line, &topic, &Batch::of(&["a", "b", "c"]));
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
            talk.ask(line, version, request);
        }
    }
}

pub(crate) fn delete_records(talk: &mut Talk) {
    let line = talk.connect("a");
    let plain = topic(talk, line, "gone", 1, &[]);
    topic(talk, line, "gone-compacted", 1, &[("cleanup.policy", "compact")]);
    for _ in 0..4 {
        produce(talk, line, &plain, &Batch::of(&["a", "b"]));
    }
    let up_to = |name: &str, partition: i32, offset: i64| {
        let partition = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset);
        DeleteRecordsRequest::default().with_timeout_ms(5000).with_topics(vec![
            DeleteRecordsTopic::default().with_name(s(name)).with_partitions(vec![partition]),
        ])
    };
    for version in 0..=2 {
        talk.ask(line, version, up_to("gone", 0, i64::from(version) * 2 + 1));
        talk.ask(line, version, up_to("gone", 0, 0));
        talk.ask(line, version, up_to("gone", 0, 99));
        talk.ask(line, version, up_to("gone", 0, -2));
        talk.ask(line, version, up_to("gone", 5, 0));
        talk.ask(line, version, up_to("unknown", 0, 0));
        talk.ask(line, version, up_to("gone-compacted", 0, 0));
        talk.ask(line, version, up_to("__consumer_offsets", 0, 0));
        talk.ask(line, 12, fetching(12, &plain, from(0)));
        talk.ask(line, 12, fetching(12, &plain, from(i64::from(version) * 2 + 1)));
        talk.ask(line, 6, listing("gone", 0, -2));
    }
    talk.ask(line, 2, up_to("gone", 0, -1));
    talk.ask(line, 6, listing("gone", 0, -2));
    talk.ask(line, 6, listing("gone", 0, -1));
    talk.ask(line, 7, listing("gone", 0, THEN));
    talk.ask(line, 12, fetching(12, &plain, from(8)));
    produce(talk, line, &plain, &Batch::of(&["a", "b"]));
    talk.ask(line, 12, fetching(12, &plain, from(9)));
}
