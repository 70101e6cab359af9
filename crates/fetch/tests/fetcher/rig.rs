//! Drives a fetcher: inspects its requests, and builds literal responses.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use offtake_fetch::{Chunk, Config, Event, Fetcher, Start};
use offtake_machine::{
    Answer, Broker, BrokerId, CallError, CallId, Cluster, PartitionInfo, Position, Target, Token, Topic,
    TopicInfo, TopicPartition,
};
use offtake_wire::{
    ApiKey, ErrorCode, Request, Response, Uuid,
    messages::fetch::{
        FetchRequest, FetchResponse, FetchTopic, FetchableTopicResponse, ForgottenTopic, PartitionData,
    },
    records::{BatchBuilder, Crc, Decompressor},
};

/// The first ownership.
pub(crate) const TOKEN: Token = Token { assignment: 1, seek: 0 };

#[expect(clippy::disallowed_methods, reason = "a test has to begin at some time")]
pub(crate) fn epoch() -> Instant {
    Instant::now()
}

/// The largest accepted response.
pub(crate) const LIMIT: usize = 1000;

pub(crate) fn tp(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

/// The id that the rig gives a topic.
pub(crate) fn id_of(topic: &str) -> Uuid {
    let mut id = [7; 16];
    for (to, from) in id.iter_mut().zip(topic.bytes()) {
        *to = from;
    }
    Uuid(id)
}

/// A request that was sent.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) id: CallId,
    pub(crate) broker: BrokerId,
    pub(crate) request: FetchRequest,
    pub(crate) max_version: Option<i16>,
}

impl Asked {
    pub(crate) fn session(&self) -> (i32, i32) {
        (self.request.session_id, self.request.session_epoch)
    }

    /// `topic-partition@offset` of all newly requested partitions.
    pub(crate) fn asks(&self) -> Vec<String> {
        let of = |topic: &str, partition: i32, offset: i64| format!("{topic}-{partition}@{offset}");
        let same =
            |pair: &[FetchTopic]| pair[0].topic == pair[1].topic && pair[0].topic_id == pair[1].topic_id;
        assert!(
            !self.request.topics.windows(2).any(same),
            "a topic is said once, with all of its partitions"
        );
        let topics = self.request.topics.iter();
        topics
            .flat_map(|t| t.partitions.iter().map(move |p| of(&t.topic, p.partition, p.fetch_offset)))
            .collect()
    }

    /// `topic-partition` of all forgotten partitions.
    pub(crate) fn forgets(&self) -> Vec<String> {
        let same =
            |pair: &[ForgottenTopic]| pair[0].topic == pair[1].topic && pair[0].topic_id == pair[1].topic_id;
        assert!(!self.request.forgotten_topics_data.windows(2).any(same), "and so is one that is forgotten");
        let topics = self.request.forgotten_topics_data.iter();
        topics.flat_map(|t| t.partitions.iter().map(move |p| format!("{}-{p}", t.topic))).collect()
    }
}

pub(crate) struct Rig {
    pub(crate) fetcher: Fetcher,
    pub(crate) cluster: Cluster,
    pub(crate) now: Instant,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(crate) fn with(config: Config) -> Self {
        let brokers = (1..=3).map(|id| {
            (BrokerId(id), Broker { host: format!("b{id}"), port: 9092, rack: Some(format!("rack{id}")) })
        });
        let cluster = Cluster { brokers: brokers.collect(), ..Default::default() };
        Self { fetcher: Fetcher::new(config), cluster, now: epoch() }
    }

    /// Adds partitions 0.. of a topic with these leaders, epoch 5.
    pub(crate) fn topic(mut self, name: &str, leaders: &[i32]) -> Self {
        let partitions = leaders
            .iter()
            .zip(0..)
            .map(|(leader, index)| (index, PartitionInfo::new(BrokerId::known(*leader), Some(5))));
        let info = TopicInfo {
            id: id_of(name),
            error: ErrorCode::None,
            internal: false,
            partitions: partitions.collect::<BTreeMap<_, _>>(),
        };
        self.cluster.topics.insert(Topic::from(name), info);
        self.show();
        self
    }

    pub(crate) fn topic_mut(&mut self, name: &str) -> &mut TopicInfo {
        self.cluster.topics.get_mut(name).unwrap()
    }

    pub(crate) fn lead(&mut self, topic: &str, partition: i32, leader: i32, epoch: i32) {
        let info = self.topic_mut(topic).partitions.get_mut(&partition).unwrap();
        info.leader = BrokerId::known(leader);
        info.epoch = Some(epoch);
    }

    /// Passes the current cluster metadata to the fetcher.
    pub(crate) fn show(&mut self) {
        self.fetcher.handle_cluster(self.now, &self.cluster);
    }

    pub(crate) fn start(&mut self, topic: &str, partition: i32, offset: i64) {
        self.start_as(topic, partition, TOKEN, Position::at(offset));
    }

    pub(crate) fn start_as(
        &mut self,
        topic: &str,
        partition: i32,
        token: Token,
        position: Position,
    ) -> Start {
        self.fetcher.start(tp(topic, partition), token, position)
    }

    pub(crate) fn pass(&mut self, wait: Duration) {
        self.now += wait;
        self.fetcher.handle_timeout(self.now);
    }

    pub(crate) fn pass_ms(&mut self, ms: u64) {
        self.pass(Duration::from_millis(ms));
    }

    /// The next request, if any.
    pub(crate) fn sent(&mut self) -> Option<Asked> {
        let transmit = self.fetcher.poll_transmit(self.now, &self.cluster)?;
        let Target::Broker(broker) = transmit.to else { panic!("a fetch is for one broker") };
        let Request::Fetch(request) = transmit.request else { panic!("only fetches") };
        Some(Asked { id: transmit.id, broker, request, max_version: transmit.max_version })
    }

    pub(crate) fn ask(&mut self) -> Asked {
        self.sent().expect("a fetch is due")
    }

    pub(crate) fn silent(&mut self) {
        if let Some(asked) = self.sent() {
            panic!("nothing should be sent, but {asked:?} was");
        }
    }

    pub(crate) fn answer(&mut self, to: &Asked, response: FetchResponse) {
        self.answer_in(to, response, 0);
    }

    /// Answers with a response that occupies this much memory.
    pub(crate) fn answer_in(&mut self, to: &Asked, response: FetchResponse, memory: usize) {
        let version = if to.max_version.is_some() { 12 } else { 17 };
        let answer = Answer { from: Some(to.broker), version, memory, response: Response::Fetch(response) };
        self.fetcher.handle_answer(self.now, to.id, Ok(answer));
    }

    /// Answers after the broker has waited as long as it may.
    pub(crate) fn answer_late(&mut self, to: &Asked, response: FetchResponse) {
        self.pass_ms(500);
        self.answer(to, response);
    }

    pub(crate) fn fail(&mut self, call: &Asked) {
        let error = CallError::Disconnected { address: "b:9092".to_owned(), reason: "reset".to_owned() };
        self.fetcher.handle_answer(self.now, call.id, Err(error));
    }

    /// The response was larger than the accepted size.
    pub(crate) fn too_large(&mut self, call: &Asked, size: usize) {
        let (address, api) = ("b:9092".to_owned(), ApiKey::Fetch);
        let error = CallError::TooLarge { address, api, size, limit: LIMIT };
        self.fetcher.handle_answer(self.now, call.id, Err(error));
    }

    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.fetcher.poll_event()).collect()
    }

    /// When to call again, once all events are taken.
    pub(crate) fn poll_timeout(&mut self) -> Option<Instant> {
        self.events();
        self.fetcher.poll_timeout()
    }

    /// All events except metadata requests and watermarks.
    pub(crate) fn told(&mut self) -> Vec<Event> {
        let quiet = |event: &Event| matches!(event, Event::RefreshMetadata | Event::Watermarks { .. });
        self.events().into_iter().filter(|event| !quiet(event)).collect()
    }

    /// Takes everything and releases it at once. Returns offsets by partition, as the application would see
    /// them.
    pub(crate) fn drain(&mut self) -> Vec<(String, Vec<i64>)> {
        let mut all = Vec::new();
        while let Some(chunk) = self.fetcher.take() {
            self.fetcher.release(&chunk.partition, chunk.charge);
            all.push((chunk.partition.to_string(), offsets(&chunk)));
        }
        all
    }
}

/// The offsets that the application would see of a chunk.
pub(crate) fn offsets(chunk: &Chunk) -> Vec<i64> {
    let mut decompressor = Decompressor::new();
    let mut offsets = Vec::new();
    for batch in chunk.batches.clone().read(Crc::Check) {
        let payload = batch.expect("a whole batch").open(&mut decompressor).expect("an open batch");
        let seen = payload.records().map(|record| record.expect("a whole record").offset());
        offsets.extend(seen.filter(|offset| *offset >= chunk.fetch_offset));
    }
    offsets
}

/// A batch of `count` records from `base` on, written under epoch 5.
pub(crate) fn batch(base: i64, count: i64) -> Bytes {
    build(base, count, |builder| builder)
}

pub(crate) fn build(base: i64, count: i64, as_what: impl FnOnce(BatchBuilder) -> BatchBuilder) -> Bytes {
    let mut builder = as_what(BatchBuilder::new(base).leader_epoch(5));
    for n in 0..count {
        builder.push(1_000, None, Some(format!("v{}", base + n).as_bytes()), &[]);
    }
    builder.build().unwrap()
}

pub(crate) fn joined(parts: &[Bytes]) -> Bytes {
    parts.concat().into()
}

/// A partition's part of a response: records, below a watermark of 1000.
pub(crate) fn data(partition: i32, records: Bytes) -> PartitionData {
    PartitionData {
        partition_index: partition,
        high_watermark: 1000,
        last_stable_offset: 1000,
        log_start_offset: 0,
        records: Some(records),
        ..Default::default()
    }
}

/// A partition's part of a response: an error.
pub(crate) fn error(partition: i32, error_code: ErrorCode) -> PartitionData {
    PartitionData { partition_index: partition, error_code, high_watermark: -1, ..Default::default() }
}

/// A partition's part of a response: nothing new.
pub(crate) fn nothing(partition: i32) -> PartitionData {
    PartitionData { records: None, ..data(partition, Bytes::new()) }
}

/// A response by topic id.
pub(crate) fn response(session_id: i32, topics: Vec<(&str, Vec<PartitionData>)>) -> FetchResponse {
    let responses = topics.into_iter().map(|(topic, partitions)| FetchableTopicResponse {
        topic: String::new(),
        topic_id: id_of(topic),
        partitions,
    });
    FetchResponse { session_id, responses: responses.collect(), ..Default::default() }
}

/// A response by name, as up to version 12.
pub(crate) fn named(session_id: i32, topics: Vec<(&str, Vec<PartitionData>)>) -> FetchResponse {
    let mut response = response(session_id, vec![]);
    response.responses = topics
        .into_iter()
        .map(|(topic, partitions)| FetchableTopicResponse {
            topic: topic.to_owned(),
            topic_id: Uuid::ZERO,
            partitions,
        })
        .collect();
    response
}

/// An error of the session, or any other of the whole request.
pub(crate) fn refusal(error_code: ErrorCode) -> FetchResponse {
    FetchResponse { error_code, ..Default::default() }
}
