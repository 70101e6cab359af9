//! A cluster for the tests of logs and fetches, with helpers to send requests to it.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ApiKey, FetchRequest, FetchResponse, ProduceRequest, RequestHeader, RequestKind, ResponseHeader,
        ResponseKind, TopicName,
        fetch_request::{FetchPartition, FetchTopic},
        fetch_response::PartitionData,
        produce_request::{PartitionProduceData, TopicProduceData},
        produce_response::PartitionProduceResponse,
    },
    protocol::{Decodable, Encodable, StrBytes},
};
use uuid::Uuid;

use super::{
    Log,
    batch::{Batch, Header, split},
    records::Entry,
};
use crate::{
    Config, ConnectionId, Model, Output,
    topics::{Partition, Topic},
};

pub(crate) struct Stage {
    pub(crate) model: Model,
    pub(crate) now: Instant,
    asked: BTreeMap<(ConnectionId, i32), (ApiKey, i16)>,
    answers: VecDeque<(ConnectionId, i32, ResponseKind)>,
    pub(crate) closed: Vec<ConnectionId>,
    connections: BTreeMap<i32, ConnectionId>,
    correlation: i32,
}

#[expect(clippy::disallowed_methods, reason = "the one look at a clock: virtual time starts somewhere")]
fn start() -> Instant {
    Instant::now()
}

pub(crate) fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

pub(crate) fn id_of(topic: &str) -> Uuid {
    Uuid::from_u128(0x1000 + u128::from(topic.len() as u64))
}

impl Stage {
    pub(crate) fn new(brokers: i32) -> Self {
        let now = start();
        let config = Config { brokers, observe: true, ..Config::default() };
        Self {
            model: Model::new(now, config),
            now,
            asked: BTreeMap::new(),
            answers: VecDeque::new(),
            closed: Vec::new(),
            connections: BTreeMap::new(),
            correlation: 0,
        }
    }

    /// Adds a topic whose partitions are led by broker 1, with a replica on every broker.
    pub(crate) fn with_topic(mut self, topic: &str, partitions: usize, configs: &[(&str, &str)]) -> Self {
        let replicas: Vec<i32> = self.model.nodes.all.keys().copied().collect();
        let partition = || Partition {
            leader: Some(1),
            leader_epoch: 0,
            replicas: replicas.clone(),
            isr: replicas.clone(),
            elr: Vec::new(),
            log: Log::default(),
        };
        let id = id_of(topic);
        let configs = configs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let partitions = (0..partitions).map(|_| partition()).collect();
        self.model.topics.names.insert(id, topic.to_owned());
        self.model.topics.all.insert(topic.to_owned(), Topic { id, partitions, configs, internal: false });
        self
    }

    pub(crate) fn lead(&mut self, topic: &str, partition: i32, leader: i32) {
        let found = self.model.topics.partition_mut(topic, partition).unwrap();
        found.leader = Some(leader);
        found.leader_epoch += 1;
        self.model.wake_fetches(topic, partition);
        self.drain();
    }

    pub(crate) fn dial(&mut self, broker: i32) -> ConnectionId {
        self.model.connect(self.now, broker, "127.0.0.1").unwrap()
    }

    fn connection(&mut self, broker: i32) -> ConnectionId {
        if let Some(known) = self.connections.get(&broker) {
            return *known;
        }
        let connection = self.dial(broker);
        self.connections.insert(broker, connection);
        connection
    }

    pub(crate) fn send(&mut self, connection: ConnectionId, version: i16, request: RequestKind) -> i32 {
        let key = key_of(&request);
        self.correlation += 1;
        let mut frame = BytesMut::new();
        RequestHeader::default()
            .with_request_api_key(key as i16)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .encode(&mut frame, key.request_header_version(version))
            .unwrap();
        request.encode(&mut frame, version).unwrap();
        self.asked.insert((connection, self.correlation), (key, version));
        self.model.receive(self.now, connection, frame.freeze());
        self.drain();
        self.correlation
    }

    pub(crate) fn drain(&mut self) {
        while let Some(output) = self.model.poll_output() {
            match output {
                Output::Close(connection) => self.closed.push(connection),
                Output::Send { connection, mut bytes } => {
                    assert_eq!(bytes.get_i32() as usize, bytes.len(), "a whole frame");
                    let correlation = (&bytes[..4]).get_i32();
                    let (key, version) = self.asked.remove(&(connection, correlation)).unwrap();
                    ResponseHeader::decode(&mut bytes, key.response_header_version(version)).unwrap();
                    let response = ResponseKind::decode(key, &mut bytes, version).unwrap();
                    assert!(bytes.is_empty());
                    self.answers.push_back((connection, correlation, response));
                }
            }
        }
    }

    pub(crate) fn answer_to(&mut self, connection: ConnectionId, correlation: i32) -> Option<ResponseKind> {
        let at = self.answers.iter().position(|answer| (answer.0, answer.1) == (connection, correlation))?;
        self.answers.remove(at).map(|answer| answer.2)
    }

    pub(crate) fn ask(&mut self, broker: i32, version: i16, request: RequestKind) -> Option<ResponseKind> {
        let connection = self.connection(broker);
        let correlation = self.send(connection, version, request);
        self.answer_to(connection, correlation)
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.model.handle_timeout(self.now);
        self.drain();
    }

    pub(crate) fn produce(&mut self, version: i16, topic: &str, records: Bytes) -> PartitionProduceResponse {
        self.produce_at(1, version, topic, records)
    }

    /// Produces to partition 0.
    pub(crate) fn produce_at(
        &mut self,
        broker: i32,
        version: i16,
        topic: &str,
        records: Bytes,
    ) -> PartitionProduceResponse {
        let request = produce_request(version, topic, -1, records);
        let Some(ResponseKind::Produce(mut response)) =
            self.ask(broker, version, RequestKind::Produce(request))
        else {
            panic!("no answer to Produce")
        };
        response.responses.remove(0).partition_responses.remove(0)
    }

    pub(crate) fn fetch(
        &mut self,
        broker: i32,
        version: i16,
        request: FetchRequest,
    ) -> Option<FetchResponse> {
        match self.ask(broker, version, RequestKind::Fetch(request)) {
            Some(ResponseKind::Fetch(response)) => Some(response),
            _ => None,
        }
    }

    /// Reads partition 0 of a topic at once, without a session.
    pub(crate) fn read(&mut self, topic: &str, offset: i64, committed: bool) -> PartitionData {
        let request = fetch_request(17, &[(topic, 0, offset)]).with_isolation_level(i8::from(committed));
        let mut response = self.fetch(1, 17, request).unwrap();
        response.responses.remove(0).partitions.remove(0)
    }
}

fn key_of(request: &RequestKind) -> ApiKey {
    match request {
        RequestKind::Produce(_) => ApiKey::Produce,
        RequestKind::Fetch(_) => ApiKey::Fetch,
        RequestKind::ListOffsets(_) => ApiKey::ListOffsets,
        RequestKind::OffsetForLeaderEpoch(_) => ApiKey::OffsetForLeaderEpoch,
        RequestKind::DeleteRecords(_) => ApiKey::DeleteRecords,
        RequestKind::DescribeLogDirs(_) => ApiKey::DescribeLogDirs,
        RequestKind::DescribeProducers(_) => ApiKey::DescribeProducers,
        RequestKind::InitProducerId(_) => ApiKey::InitProducerId,
        other => panic!("not for this stage: {other:?}"),
    }
}

pub(crate) fn produce_request(version: i16, topic: &str, acks: i16, records: Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default().with_records(Some(records));
    let named = TopicProduceData::default().with_partition_data(vec![data]);
    let named = if version >= 13 { named.with_topic_id(id_of(topic)) } else { named.with_name(name(topic)) };
    ProduceRequest::default().with_acks(acks).with_timeout_ms(1000).with_topic_data(vec![named])
}

pub(crate) fn fetch_request(version: i16, partitions: &[(&str, i32, i64)]) -> FetchRequest {
    let topic = |(topic, partition, offset): &(&str, i32, i64)| {
        let asked = FetchPartition::default()
            .with_partition(*partition)
            .with_fetch_offset(*offset)
            .with_partition_max_bytes(1 << 20);
        let named = FetchTopic::default().with_partitions(vec![asked]);
        if version >= 13 { named.with_topic_id(id_of(topic)) } else { named.with_topic(name(topic)) }
    };
    FetchRequest::default()
        .with_replica_id((-1).into())
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_topics(partitions.iter().map(topic).collect())
}

/// The producer fields of a batch.
#[derive(Clone, Copy)]
pub(crate) struct ProducerFields {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
    pub(crate) sequence: i32,
    pub(crate) transactional: bool,
}

pub(crate) const NO_PRODUCER: ProducerFields =
    ProducerFields { id: -1, epoch: -1, sequence: -1, transactional: false };

/// A batch as a client sends it: keys and values, 1,000 ms apart from `time` on.
pub(crate) fn batch(
    by: ProducerFields,
    attributes: i16,
    time: i64,
    records: &[(Option<&str>, &str)],
) -> Bytes {
    let entry = |((key, value), at): (&(Option<&str>, &str), i32)| Entry {
        timestamp_delta: i64::from(at) * 1000,
        offset_delta: at,
        key: key.map(|key| Bytes::copy_from_slice(key.as_bytes())),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        headers: Vec::new(),
    };
    let entries: Vec<Entry> = records.iter().zip(0_i32..).map(entry).collect();
    let header = Header {
        attributes: attributes | if by.transactional { super::batch::TRANSACTIONAL } else { 0 },
        last_delta: entries.len() as i32 - 1,
        base_timestamp: time,
        max_timestamp: time + (entries.len() as i64 - 1) * 1000,
        producer_id: by.id,
        producer_epoch: by.epoch,
        base_sequence: by.sequence,
        ..Header::plain()
    };
    Batch::build(header, &entries).unwrap().bytes
}

pub(crate) fn plain(time: i64, values: &[&str]) -> Bytes {
    let records: Vec<_> = values.iter().map(|value| (None, *value)).collect();
    batch(NO_PRODUCER, 0, time, &records)
}

/// Offsets and values of the fetched records; every batch must be whole.
pub(crate) fn values(records: &Bytes) -> Vec<(i64, String)> {
    let batches = split(records).map(|cut| Batch::read(cut.unwrap().1).unwrap());
    batches
        .filter(|batch| !batch.header.is_control())
        .flat_map(|batch| {
            assert!(batch.is_whole());
            let base = batch.header.base_offset;
            let value = |entry: Entry| (base + i64::from(entry.offset_delta), text(entry.value.as_ref()));
            batch.entries().unwrap().into_iter().map(value).collect::<Vec<_>>()
        })
        .collect()
}

fn text(value: Option<&Bytes>) -> String {
    value.map_or_else(String::new, |value| String::from_utf8(value.to_vec()).unwrap())
}
