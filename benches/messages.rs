//! Encoding and decoding of a consumer's large messages: the cost per partition of the table-driven codec.
//!
//! `cargo bench -p offtake-benches --bench messages`; an item is a partition.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on ends")]

use bytes::Bytes;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use offtake_wire::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, FetchableTopicResponse, PartitionData,
};
use offtake_wire::messages::metadata::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use offtake_wire::{Message, Reader, Uuid, Writer};

fn main() {
    divan::main();
}

const PARTITIONS: [i32; 3] = [1, 100, 10_000];
/// Uses topic ids, sessions, and tagged fields.
const FETCH: i16 = 17;
const METADATA: i16 = 13;

fn encoded(message: &impl Message, version: i16) -> Bytes {
    let mut writer = Writer::new();
    message.encode(&mut writer, version).unwrap();
    writer.into_bytes()
}

fn decoding<M: Message>(bencher: Bencher<'_, '_>, partitions: i32, message: &M, version: i16) {
    let bytes = encoded(message, version);
    bencher
        .counter(ItemsCount::new(partitions.unsigned_abs()))
        .bench_local(|| M::decode(&mut Reader::new(black_box(&bytes).clone()), version).unwrap());
}

/// Each partition has a batch, or bytes of its size.
#[divan::bench(args = PARTITIONS)]
fn decode_fetch_response(bencher: Bencher<'_, '_>, partitions: i32) {
    let of = |partition_index| PartitionData {
        partition_index,
        high_watermark: 1 << 40,
        records: Some(Bytes::from_static(&[0; 61])),
        ..PartitionData::default()
    };
    let topic = FetchableTopicResponse {
        topic_id: Uuid([7; 16]),
        partitions: (0..partitions).map(of).collect(),
        ..FetchableTopicResponse::default()
    };
    let response = FetchResponse { session_id: 5, responses: vec![topic], ..FetchResponse::default() };
    decoding(bencher, partitions, &response, FETCH);
}

/// A request that opens a session.
#[divan::bench(args = PARTITIONS)]
fn encode_fetch_request(bencher: Bencher<'_, '_>, partitions: i32) {
    let of = |partition| FetchPartition {
        partition,
        current_leader_epoch: 3,
        fetch_offset: 1 << 40,
        partition_max_bytes: 1 << 20,
        ..FetchPartition::default()
    };
    let topic = FetchTopic {
        topic_id: Uuid([7; 16]),
        partitions: (0..partitions).map(of).collect(),
        ..FetchTopic::default()
    };
    let request = FetchRequest { topics: vec![topic], session_epoch: 0, ..FetchRequest::default() };
    bencher
        .counter(ItemsCount::new(partitions.unsigned_abs()))
        .bench_local(|| encoded(black_box(&request), FETCH));
}

#[divan::bench(args = PARTITIONS)]
fn decode_metadata_response(bencher: Bencher<'_, '_>, partitions: i32) {
    let broker = |node_id| MetadataResponseBroker {
        node_id,
        host: format!("broker-{node_id}.example"),
        port: 9092,
        ..MetadataResponseBroker::default()
    };
    let of = |partition_index| MetadataResponsePartition {
        partition_index,
        leader_id: partition_index % 3,
        leader_epoch: 3,
        replica_nodes: vec![0, 1, 2],
        isr_nodes: vec![0, 1, 2],
        ..MetadataResponsePartition::default()
    };
    let topic = MetadataResponseTopic {
        name: Some("orders".to_owned()),
        topic_id: Uuid([7; 16]),
        partitions: (0..partitions).map(of).collect(),
        ..MetadataResponseTopic::default()
    };
    let response = MetadataResponse {
        brokers: (0..3).map(broker).collect(),
        topics: vec![topic],
        ..MetadataResponse::default()
    };
    decoding(bencher, partitions, &response, METADATA);
}
