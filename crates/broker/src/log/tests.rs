//! Logs, tested through Produce and the requests about offsets.

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    error::ResponseError as E,
    indexmap::IndexMap,
    messages::{
        DeleteRecordsRequest, DescribeLogDirsRequest, InitProducerIdRequest, ListOffsetsRequest,
        OffsetForLeaderEpochRequest, RequestKind, ResponseKind,
        delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic},
        describe_log_dirs_request::DescribableLogDirTopic,
        describe_log_dirs_response::DescribeLogDirsPartition,
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
        offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic},
    },
    records::{
        Compression, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
    },
};

use super::{
    NewRecord,
    stage::{NO_PRODUCER, ProducerFields, Stage, batch, name, plain, produce_request, values},
};
use crate::Observed;

/// A time before the stage's wall clock.
const T: i64 = 1_789_999_000_000;

fn stage() -> Stage {
    Stage::new(1).with_topic("orders", 2, &[])
}

fn list(stage: &mut Stage, version: i16, committed: bool, timestamp: i64) -> (i16, i64, i64, i32) {
    let partition = ListOffsetsPartition::default().with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default().with_name(name("orders")).with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default()
        .with_replica_id((-1).into())
        .with_isolation_level(i8::from(committed))
        .with_topics(vec![topic]);
    let Some(ResponseKind::ListOffsets(response)) = stage.ask(1, version, RequestKind::ListOffsets(request))
    else {
        panic!("no answer")
    };
    let found = &response.topics[0].partitions[0];
    (found.error_code, found.offset, found.timestamp, found.leader_epoch)
}

fn end_of_epoch(stage: &mut Stage, epoch: i32) -> (i32, i64) {
    let partition =
        OffsetForLeaderPartition::default().with_current_leader_epoch(-1).with_leader_epoch(epoch);
    let topic = OffsetForLeaderTopic::default().with_topic(name("orders")).with_partitions(vec![partition]);
    let request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
    let Some(ResponseKind::OffsetForLeaderEpoch(response)) =
        stage.ask(1, 4, RequestKind::OffsetForLeaderEpoch(request))
    else {
        panic!("no answer")
    };
    let found = &response.topics[0].partitions[0];
    (found.leader_epoch, found.end_offset)
}

#[test]
fn batches_of_the_protocol_crate_go_in_and_come_out() {
    let mut stage = stage();
    let record = |at: i64| Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset: at,
        sequence: -1 + at as i32,
        timestamp: T + at,
        key: Some(Bytes::from_static(b"k")),
        value: Some(Bytes::from(format!("v{at}"))),
        headers: IndexMap::from([("h".into(), Some(Bytes::from_static(b"x")))]),
    };
    let records = [record(0), record(1)];
    let mut sent = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut sent, &records, &options).unwrap();

    stage.produce(12, "orders", plain(T, &["first"]));
    let answer = stage.produce(12, "orders", sent.freeze());
    assert_eq!((answer.error_code, answer.base_offset, answer.log_start_offset), (0, 1, 0));
    let mut fetched = stage.read("orders", 1, false).records.unwrap();
    let read = RecordBatchDecoder::decode(&mut fetched).unwrap().records;
    assert_eq!(read.iter().map(|record| record.offset).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((&read[1].value, &read[1].headers), (&records[1].value, &records[1].headers));
    assert_eq!(read[0].partition_leader_epoch, 0);
}

#[test]
fn every_codec_is_read_and_checked() {
    let mut stage = Stage::new(1).with_topic("orders", 1, &[("cleanup.policy", "compact")]);
    for codec in 0..=4 {
        let answer = stage.produce(12, "orders", batch(NO_PRODUCER, codec, T, &[(Some("k"), "v")]));
        assert_eq!((answer.error_code, answer.base_offset), (0, i64::from(codec)));
        let refused =
            stage.produce(12, "orders", batch(NO_PRODUCER, codec, T, &[(Some("k"), "v"), (None, "w")]));
        assert_eq!(refused.error_code, E::InvalidRecord.code(), "a compacted topic needs keys");
        assert_eq!((refused.record_errors.len(), refused.record_errors[0].batch_index), (1, 1));
        assert_eq!((refused.base_offset, refused.log_start_offset), (-1, 0));
        assert!(refused.error_message.is_some());
    }
    assert_eq!(values(&stage.read("orders", 0, false).records.unwrap()).len(), 5);
    // zstd was introduced with Produce 7.
    let answer = stage.produce(6, "orders", batch(NO_PRODUCER, 4, T, &[(Some("k"), "v")]));
    assert_eq!(answer.error_code, E::UnsupportedCompressionType.code());
}

#[test]
fn data_other_than_one_valid_batch_is_refused() {
    let mut stage = Stage::new(1).with_topic("orders", 1, &[("max.message.bytes", "200")]);
    let sound = plain(T, &["v"]);
    let with = |at: usize, byte: u8| {
        let mut bytes = BytesMut::from(sound.as_ref());
        bytes[at] ^= byte;
        bytes.freeze()
    };
    let twice = Bytes::from([sound.as_ref(), sound.as_ref()].concat());
    let control = batch(NO_PRODUCER, super::batch::CONTROL, T, &[(Some("\0\0\0\x01"), "")]);
    let unnumbered =
        batch(ProducerFields { id: 7, epoch: 0, sequence: -1, transactional: false }, 0, T, &[(None, "v")]);
    let cases: [(&str, Bytes, E, i64); 9] = [
        ("crc", with(sound.len() - 1, 1), E::CorruptMessage, -1),
        ("magic 1", with(16, 3), E::InvalidRecord, -1),
        ("cut short", sound.slice(..sound.len() - 1), E::InvalidRecord, -1),
        ("nothing", Bytes::new(), E::InvalidRecord, -1),
        ("two", twice, E::InvalidRecord, -1),
        ("base offset", with(7, 1), E::InvalidRecord, 0),
        ("too large", plain(T, &["v".repeat(200).as_str()]), E::MessageTooLarge, -1),
        ("control", control, E::InvalidRecord, 0),
        ("no sequence", unnumbered, E::InvalidRecord, 0),
    ];
    for (what, bytes, code, start) in cases {
        let answer = stage.produce(12, "orders", bytes);
        assert_eq!((answer.error_code, answer.log_start_offset), (code.code(), start), "{what}");
    }
    let future = stage.produce(12, "orders", plain(T + 10 * 3_600_000, &["v"]));
    assert_eq!(future.error_code, E::InvalidTimestamp.code());
    assert_eq!(stage.model.offsets_of("orders", 0), Some((0, 0, 0)));
    let mut refused = 0;
    while let Some(event) = stage.model.poll_observed() {
        refused += usize::from(matches!(event, Observed::Refused { .. }));
    }
    assert_eq!(refused, 8);
}

#[test]
fn the_time_of_appending_is_written_in_and_sealed() {
    let mut stage = Stage::new(1).with_topic("orders", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let now = stage.model.wall_ms();
    let answer = stage.produce(12, "orders", plain(T, &["a", "b"]));
    assert_eq!(answer.log_append_time_ms, now);
    let mut fetched = stage.read("orders", 0, false).records.unwrap();
    let records = RecordBatchDecoder::decode(&mut fetched).unwrap().records; // checks the CRC
    assert_eq!(records[0].timestamp_type, TimestampType::LogAppend);
    assert_eq!(list(&mut stage, 7, false, -3), (0, 0, now, 0));
}

#[test]
fn an_idempotent_producer_is_held_to_its_sequences() {
    let mut stage = stage();
    let by = |epoch, sequence| ProducerFields { id: 9, epoch, sequence, transactional: false };
    let mut send = |epoch, sequence| {
        let answer =
            stage.produce(12, "orders", batch(by(epoch, sequence), 0, T, &[(None, "a"), (None, "b")]));
        (answer.error_code, answer.base_offset)
    };
    // Without state any sequence is accepted (KIP-360).
    assert_eq!(send(1, 4), (0, 0));
    for at in 1..=5 {
        assert_eq!(send(1, 4 + 2 * at), (0, i64::from(2 * at)));
    }
    assert_eq!(send(1, 6), (0, 2), "one of the last five is answered with the offset it has");
    assert_eq!(send(1, 4).0, E::OutOfOrderSequenceNumber.code(), "the sixth last is not known any more");
    assert_eq!(send(1, 18).0, E::OutOfOrderSequenceNumber.code());
    assert_eq!(send(0, 0).0, E::InvalidProducerEpoch.code());
    assert_eq!(send(2, 1).0, E::OutOfOrderSequenceNumber.code(), "a new epoch begins with 0");
    assert_eq!(send(2, 0), (0, 12));
}

#[test]
fn transactions_hold_the_stable_offset_back_and_name_the_aborted() {
    let mut stage = stage();
    let by = |id, sequence| ProducerFields { id, epoch: 0, sequence, transactional: true };
    let named = |id: &str| Some(kafka_protocol::messages::TransactionalId(id.to_owned().into()));
    let mut begin = |id: &str| {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(named(id))
            .with_transaction_timeout_ms(60_000);
        let Some(ResponseKind::InitProducerId(answer)) =
            stage.ask(1, 5, RequestKind::InitProducerId(request))
        else {
            panic!("no answer")
        };
        assert_eq!((answer.error_code, answer.producer_epoch), (0, 0));
        answer.producer_id.0
    };
    let (one, two) = (begin("one"), begin("two"));
    let send =
        |stage: &mut Stage, id: i64, sequence: i32| {
            let records = batch(by(id, sequence), 0, T, &[(None, "x")]);
            let request = produce_request(12, "orders", -1, records)
                .with_transactional_id(named(if id == one { "one" } else { "two" }));
            let Some(ResponseKind::Produce(answer)) = stage.ask(1, 12, RequestKind::Produce(request)) else {
                panic!("no answer")
            };
            assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
        };
    stage.produce(12, "orders", plain(T, &["before"])); // 0
    send(&mut stage, one, 0); // 1
    send(&mut stage, two, 0); // 2
    send(&mut stage, one, 1); // 3
    let data = stage.read("orders", 0, true);
    assert_eq!((data.high_watermark, data.last_stable_offset), (4, 1));
    assert_eq!(values(&data.records.unwrap()), [(0, "before".to_owned())]);
    assert_eq!(list(&mut stage, 5, true, -1).1, 1);
    assert_eq!(list(&mut stage, 5, false, -1).1, 4);

    stage.model.append_marker("orders", 0, one, 0, false, 5); // 4
    assert_eq!(stage.read("orders", 0, true).last_stable_offset, 2);
    stage.model.append_marker("orders", 0, two, 0, true, 5); // 5
    let data = stage.read("orders", 0, true);
    assert_eq!((data.high_watermark, data.last_stable_offset), (6, 6));
    let aborted = data.aborted_transactions.unwrap();
    assert_eq!(aborted.iter().map(|a| (a.producer_id.0, a.first_offset)).collect::<Vec<_>>(), [(one, 1)]);
    assert_eq!(stage.read("orders", 5, true).aborted_transactions, Some(Vec::new()));
    assert_eq!(stage.read("orders", 0, false).aborted_transactions, None);
    let mut fetched = stage.read("orders", 4, true).records.unwrap();
    let marker = &RecordBatchDecoder::decode(&mut fetched).unwrap().records[0];
    assert!(marker.control && marker.transactional);
    assert_eq!(marker.key.as_deref(), Some(b"\0\0\0\0".as_ref()));
    assert_eq!(marker.value.as_deref(), Some(b"\0\0\0\0\0\x05".as_ref()));

    // A transactional batch without a transactional id is refused for every partition.
    let answer = stage.produce(11, "orders", batch(by(one, 2), 0, T, &[(None, "x")]));
    assert_eq!(answer.error_code, E::TransactionalIdAuthorizationFailed.code());
}

#[test]
fn offsets_are_found_by_time_and_by_name() {
    let mut stage = stage();
    assert_eq!(list(&mut stage, 7, false, -3), (0, -1, -1, -1));
    stage.produce(12, "orders", plain(T, &["a", "b"])); // T, T + 1 s
    stage.produce(12, "orders", batch(NO_PRODUCER, 3, T + 5000, &[(None, "c"), (None, "d")]));
    stage.produce(12, "orders", plain(T + 2000, &["e"]));
    assert_eq!(list(&mut stage, 4, false, T + 500), (0, 1, T + 1000, 0));
    assert_eq!(list(&mut stage, 4, false, T + 1001), (0, 2, T + 5000, 0));
    assert_eq!(list(&mut stage, 4, false, T + 60_000), (0, -1, -1, -1));
    assert_eq!(list(&mut stage, 7, false, -3), (0, 3, T + 6000, 0));
    assert_eq!(list(&mut stage, 3, false, -1), (0, 5, -1, -1), "epochs came with version 4");
    assert_eq!(list(&mut stage, 8, false, -4), (0, 0, -1, 0));
    assert_eq!(list(&mut stage, 6, false, -3).0, E::UnsupportedVersion.code());
    stage.model.hold_high_watermark("orders", 0, Some(2));
    assert_eq!(list(&mut stage, 4, false, T + 5000).1, -1, "nothing beyond the high watermark is told");
    stage.lead("orders", 0, 1);
    assert_eq!(list(&mut stage, 5, false, -1).0, E::OffsetNotAvailable.code(), "KIP-207");
    assert_eq!(list(&mut stage, 4, false, -1).0, E::LeaderNotAvailable.code());
}

#[test]
fn deleted_records_move_the_start() {
    let mut stage = stage();
    for value in ["a", "b", "c"] {
        stage.produce(12, "orders", plain(T, &[value]));
    }
    let delete = |stage: &mut Stage, offset| {
        let partition = DeleteRecordsPartition::default().with_offset(offset);
        let topic = DeleteRecordsTopic::default().with_name(name("orders")).with_partitions(vec![partition]);
        let request = DeleteRecordsRequest::default().with_topics(vec![topic]);
        let Some(ResponseKind::DeleteRecords(response)) =
            stage.ask(1, 2, RequestKind::DeleteRecords(request))
        else {
            panic!("no answer")
        };
        let found = &response.topics[0].partitions[0];
        (found.error_code, found.low_watermark)
    };
    assert_eq!(delete(&mut stage, 2), (0, 2));
    assert_eq!(delete(&mut stage, 1), (0, 2), "never back");
    assert_eq!(delete(&mut stage, 4), (E::OffsetOutOfRange.code(), -1));
    assert_eq!(list(&mut stage, 4, false, -2), (0, 2, -1, 0));
    assert_eq!(stage.read("orders", 1, false).error_code, E::OffsetOutOfRange.code());
    assert_eq!(delete(&mut stage, -1), (0, 3));
    assert_eq!(stage.read("orders", 3, false).error_code, 0);
    let answer = stage.produce(12, "orders", plain(T, &["d"]));
    assert_eq!((answer.base_offset, answer.log_start_offset), (3, 3));
}

#[test]
fn epochs_tell_where_a_log_was_cut() {
    let mut stage = stage();
    stage.produce(12, "orders", plain(T, &["a"]));
    stage.produce(12, "orders", plain(T, &["b"]));
    stage.lead("orders", 0, 1);
    stage.lead("orders", 0, 1);
    stage.produce(12, "orders", plain(T, &["c"]));
    assert_eq!(end_of_epoch(&mut stage, 0), (0, 2));
    assert_eq!(end_of_epoch(&mut stage, 1), (0, 2), "epoch 1 wrote nothing");
    assert_eq!(end_of_epoch(&mut stage, 2), (2, 3));
    assert_eq!(end_of_epoch(&mut stage, 3), (-1, -1));
    assert_eq!(stage.model.truncate_to("orders", 0, 1), Some(1));
    stage.lead("orders", 0, 1);
    stage.produce(12, "orders", plain(T, &["B"]));
    assert_eq!(end_of_epoch(&mut stage, 2), (0, 1));
    assert_eq!(values(&stage.read("orders", 0, false).records.unwrap())[1], (1, "B".to_owned()));
}

#[test]
fn compaction_keeps_the_last_of_each_key_where_it_was() {
    let mut stage = Stage::new(1).with_topic("orders", 1, &[("cleanup.policy", "compact")]);
    let by = ProducerFields { id: 3, epoch: 0, sequence: 0, transactional: false };
    stage.produce(12, "orders", batch(NO_PRODUCER, 0, T, &[(Some("a"), "1"), (Some("b"), "1")])); // 0, 1
    stage.produce(12, "orders", batch(by, 3, T, &[(Some("c"), "1"), (Some("a"), "2")])); // 2, 3
    stage.produce(12, "orders", batch(NO_PRODUCER, 0, T, &[(Some("c"), "2"), (Some("a"), "3")])); // 4, 5
    stage.produce(12, "orders", batch(NO_PRODUCER, 0, T, &[(Some("a"), "4")])); // 6
    stage.model.compact("orders", 0);
    let fetched = stage.read("orders", 0, false).records.unwrap();
    let left: Vec<_> = [(1, "1"), (4, "2"), (6, "4")].map(|(at, value)| (at, value.to_owned())).into();
    assert_eq!(values(&fetched), left);
    let batches: Vec<_> = super::batch::split(&fetched)
        .map(|cut| super::batch::Batch::read(cut.unwrap().1).unwrap().header)
        .map(|header| (header.base_offset, header.last_offset(), header.count))
        .collect();
    // The second batch is empty and stays, to keep its producer's sequences; the third still reaches to offset 5.
    assert_eq!(batches, [(0, 1, 1), (2, 3, 0), (4, 5, 1), (6, 6, 1)]);
    let again = stage.produce(12, "orders", batch(by, 3, T, &[(Some("c"), "1"), (Some("a"), "2")]));
    assert_eq!((again.error_code, again.base_offset), (0, 2));
}

#[test]
fn retention_takes_whole_batches() {
    let mut stage = Stage::new(1).with_topic("orders", 1, &[("retention.ms", "2000000")]);
    let record = |timestamp| NewRecord { timestamp: Some(timestamp), ..NewRecord::default() };
    let now = stage.model.wall_ms();
    assert_eq!(
        stage.model.append_records("orders", 0, &[record(now - 3_000_000), record(now - 2_500_000)]),
        Ok(0)
    );
    assert_eq!(stage.model.append_records("orders", 0, &[record(now - 2_500_000), record(now)]), Ok(2));
    assert_eq!(stage.model.append_records("orders", 0, &[record(now)]), Ok(4));
    assert_eq!(stage.model.retain("orders", 0), Some(2));
    assert_eq!(stage.model.offsets_of("orders", 0), Some((2, 5, 5)));
}

#[test]
fn acks_zero_is_silent_and_acks_all_waits_for_the_high_watermark() {
    let mut stage = stage();
    let connection = stage.dial(1);
    stage.send(connection, 12, RequestKind::Produce(produce_request(12, "orders", 0, plain(T, &["a"]))));
    assert!(stage.closed.is_empty());
    stage.model.hold_high_watermark("orders", 0, Some(1));
    let held =
        stage.send(connection, 12, RequestKind::Produce(produce_request(12, "orders", -1, plain(T, &["b"]))));
    assert_eq!(stage.answer_to(connection, held), None);
    stage.model.hold_high_watermark("orders", 0, None);
    stage.drain();
    assert!(stage.answer_to(connection, held).is_some());
    stage.send(connection, 12, RequestKind::Produce(produce_request(12, "nowhere", 0, plain(T, &["a"]))));
    assert_eq!(stage.closed, [connection], "an error without an answer closes the connection");
}

#[test]
fn the_wrong_broker_names_the_leader() {
    let mut stage = Stage::new(2).with_topic("orders", 1, &[]);
    let request = produce_request(13, "orders", -1, plain(T, &["a"]));
    let Some(ResponseKind::Produce(answer)) = stage.ask(2, 13, RequestKind::Produce(request)) else {
        panic!("no answer")
    };
    let partition = &answer.responses[0].partition_responses[0];
    assert_eq!(partition.error_code, E::NotLeaderOrFollower.code());
    assert_eq!((partition.current_leader.leader_id.0, partition.current_leader.leader_epoch), (1, 0));
    assert_eq!((answer.node_endpoints[0].node_id.0, answer.node_endpoints[0].port), (1, 9092));
    let older = stage.produce_at(2, 9, "orders", plain(T, &["a"]));
    assert_eq!(older.current_leader.leader_id.0, -1);
    let unknown = produce_request(13, "unheard-of", -1, plain(T, &["a"]));
    let Some(ResponseKind::Produce(answer)) = stage.ask(1, 13, RequestKind::Produce(unknown)) else {
        panic!("no answer")
    };
    assert_eq!(answer.responses[0].partition_responses[0].error_code, E::UnknownTopicId.code());
}

#[test]
fn a_broker_tells_how_large_its_replicas_are() {
    let mut stage = Stage::new(2).with_topic("orders", 1, &[("retention.bytes", "1")]);
    let sizes = |stage: &mut Stage, version, asked: Option<&str>| {
        let topics = asked.map(|topic| {
            vec![DescribableLogDirTopic::default().with_topic(name(topic)).with_partitions(vec![0, 7])]
        });
        let request = RequestKind::DescribeLogDirs(DescribeLogDirsRequest::default().with_topics(topics));
        let Some(ResponseKind::DescribeLogDirs(answer)) = stage.ask(1, version, request) else {
            panic!("no answer")
        };
        let topics = answer.results.into_iter().flat_map(|directory| directory.topics);
        let sizes = topics.flat_map(|topic| {
            let name = topic.name.as_str().to_owned();
            let size =
                move |of: &DescribeLogDirsPartition| (name.clone(), of.partition_index, of.partition_size);
            topic.partitions.iter().map(size).collect::<Vec<_>>()
        });
        sizes.collect::<Vec<_>>()
    };
    let of = |size: usize| vec![("orders".to_owned(), 0, i64::try_from(size).unwrap())];
    assert_eq!(sizes(&mut stage, 4, Some("orders")), of(0));
    let (one, two) = (plain(T, &["a"]), plain(T, &["longer", "b"]));
    stage.produce(12, "orders", one.clone());
    stage.produce(12, "orders", two.clone());
    for (version, asked) in [(1, None), (2, Some("orders")), (4, None)] {
        assert_eq!(sizes(&mut stage, version, asked), of(one.len() + two.len()));
    }
    assert_eq!(sizes(&mut stage, 4, Some("nowhere")), []);
    assert_eq!(stage.model.retain("orders", 0), Some(1), "what is left is no less than retention.bytes");
    assert_eq!(sizes(&mut stage, 4, None), of(two.len()));
}
