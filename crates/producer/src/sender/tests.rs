//! The machine and the log of one partition, over connections that end at any moment. A sent request may have arrived or not, or
//! may arrive later. Unsent requests go over the next connection.

use std::{
    collections::VecDeque,
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use offtake_machine::{SplitMix64, Topic};
use offtake_wire::{
    ApiKey, ErrorCode, MetadataResponse, ProduceResponse, Request, Uuid,
    messages::{
        metadata::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
        produce::{LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse},
    },
    records::{Batches, Crc, Decompressor, V2Batch},
};

use super::*;
use crate::{
    Delivery, ProducerRecord,
    accumulator::{Accumulator, TopicState},
};

/// The number of a producer's batches that a broker remembers (`ProducerStateEntry`).
const REMEMBERED: usize = 5;

/// The log of the partition, and the producer state of its leader.
#[derive(Default)]
struct Log {
    values: Vec<u32>,
    epoch: i16,
    /// The first and last sequences of the newest batches.
    known: VecDeque<(i32, i32)>,
}

impl Log {
    /// The broker's response for this batch.
    fn append(&mut self, records: &Bytes) -> ErrorCode {
        let mut bytes = records.clone();
        let batch = V2Batch::split_from(&mut bytes, Crc::Check).unwrap().unwrap();
        let (first, last) = (batch.base_sequence(), batch.base_sequence() + batch.count() as i32 - 1);
        if batch.producer_epoch() < self.epoch {
            return ErrorCode::InvalidProducerEpoch;
        }
        if batch.producer_epoch() > self.epoch {
            if first != 0 {
                return ErrorCode::OutOfOrderSequenceNumber;
            }
            self.epoch = batch.producer_epoch();
            self.known.clear();
        } else if self.known.contains(&(first, last)) {
            return ErrorCode::None;
        } else if self.known.back().is_some_and(|(_, newest)| *newest + 1 != first) {
            return ErrorCode::OutOfOrderSequenceNumber;
        }
        if self.known.len() == REMEMBERED {
            self.known.pop_front();
        }
        self.known.push_back((first, last));
        self.values.extend(values(records));
        ErrorCode::None
    }
}

fn values(records: &Bytes) -> Vec<u32> {
    let opened = Batches::new(records.clone(), Crc::Trust).next().unwrap().unwrap();
    let payload = opened.open(&mut Decompressor::with_limit(1 << 20)).unwrap();
    let value = |record: offtake_wire::records::Record<'_>| {
        String::from_utf8(record.value().unwrap().to_vec()).unwrap().parse().unwrap()
    };
    payload.records().map(|record| value(record.unwrap())).collect()
}

/// A request without a response.
struct Outstanding {
    id: CallId,
    records: Bytes,
    told: Option<ErrorCode>,
}

struct World {
    now: Instant,
    random: SplitMix64,
    shared: Shared,
    sender: Sender,
    cluster: Cluster,
    log: Log,
    outstanding: VecDeque<Outstanding>,
    /// Requests that arrived on connections that have ended, and were not carried out yet.
    stale: VecDeque<Bytes>,
    deliveries: Vec<Delivery>,
    /// Whether the broker restarts when a connection ends, and then remembers only the last batch.
    restarts: bool,
}

fn one_partition() -> Cluster {
    let broker = MetadataResponseBroker { node_id: 1, host: "b".into(), port: 9092, rack: None };
    let partition = MetadataResponsePartition { leader_id: 1, leader_epoch: 1, ..Default::default() };
    let topic = MetadataResponseTopic {
        name: Some("orders".into()),
        partitions: vec![partition],
        ..Default::default()
    };
    let response = MetadataResponse { brokers: vec![broker], topics: vec![topic], ..Default::default() };
    Cluster::from_response(response, false, &Cluster::default())
}

impl World {
    fn new(seed: u64, restarts: bool) -> Self {
        let config = Config {
            batch_size: 1,
            linger: Duration::ZERO,
            delivery_timeout: Duration::from_secs(86_400),
            ..Config::default()
        };
        let shared = Shared::new(Accumulator::new(&config, None, seed));
        let (cluster, now) = (one_partition(), offtake_client::clock::now());
        let mut sender = Sender::new(&config, seed);
        sender.identify(ProducerIdentity { id: 7, epoch: 0 });
        sender.learn_leaders(&cluster);
        let _topic = shared.lock().append(&ProducerRecord::to("orders").partition(9).value(""), 0, || now);
        let state = TopicState::Known { partitions: 1, leaderless: BTreeSet::new() };
        shared.lock().learn_topic(now, &Topic::from("orders"), state);
        Self {
            now,
            random: SplitMix64::new(seed),
            shared,
            sender,
            cluster,
            log: Log::default(),
            outstanding: VecDeque::new(),
            stale: VecDeque::new(),
            deliveries: Vec::new(),
            restarts,
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.random.next_u64() % bound.max(1) as u64) as usize
    }

    fn send(&mut self) {
        let value = self.deliveries.len().to_string();
        let record = ProducerRecord::to("orders").partition(0).value(&value);
        let now = self.now;
        let appended = self.shared.lock().append(&record, 0, || now);
        self.deliveries.push(appended.delivery);
    }

    fn transmit(&mut self) {
        let ready = self.shared.lock().take_ready(self.now);
        self.sender.ready(ready, &self.shared, &self.cluster);
        while let Some(transmit) = self.sender.poll_transmit(self.now, &self.shared, &self.cluster) {
            let Request::Produce(mut request) = transmit.request else { panic!("{:?}", transmit.request) };
            let records = request.topic_data.remove(0).partition_data.remove(0).records.unwrap();
            self.outstanding.push_back(Outstanding { id: transmit.id, records, told: None });
        }
        while self.sender.poll_event().is_some() {}
    }

    /// Lets the broker carry out the next request of the connection.
    fn carry_out(&mut self) {
        if let Some(next) = self.outstanding.iter_mut().find(|request| request.told.is_none()) {
            next.told = Some(self.log.append(&next.records));
        }
    }

    fn answer(&mut self) {
        let Some(code) = self.outstanding.front().and_then(|request| request.told) else { return };
        let Some(request) = self.outstanding.pop_front() else { return };
        let told = PartitionProduceResponse { error_code: code, base_offset: 0, ..Default::default() };
        let topic = TopicProduceResponse {
            name: "orders".into(),
            partition_responses: vec![told],
            ..Default::default()
        };
        let response = ProduceResponse { responses: vec![topic], ..Default::default() };
        let answer = Answer { from: Some(BrokerId(1)), version: 11, memory: 0, response: response.into() };
        self.sender.handle_answer(self.now, request.id, Ok(answer), &self.shared);
    }

    /// Cuts the connection. Only some of its requests were written, and the broker sees some of those, now or later.
    fn cut(&mut self) {
        let carried_out = self.outstanding.iter().filter(|request| request.told.is_some()).count();
        let written = carried_out + self.below(self.outstanding.len() - carried_out + 1);
        let arrived = carried_out + self.below(written - carried_out + 1);
        for (nth, request) in self.outstanding.drain(..written).collect::<Vec<_>>().into_iter().enumerate() {
            if request.told.is_none() && nth < arrived {
                self.stale.push_back(request.records);
            }
            let error = CallError::Disconnected { address: "b:9092".into(), reason: "cut".into() };
            self.sender.handle_answer(self.now, request.id, Err(error), &self.shared);
        }
    }

    fn wait(&mut self) {
        if let Some(due) = self.sender.poll_timeout() {
            self.now = self.now.max(due);
            self.sender.handle_timeout(self.now, &self.shared);
        }
    }

    fn step(&mut self, records: usize) {
        match self.below(100) {
            0..20 if self.deliveries.len() < records => self.send(),
            0..45 => self.carry_out(),
            45..70 => self.answer(),
            70..80 => self.cut(),
            80..85 => {
                let dropped = self.below(4) == 0;
                if let Some(late) = self.stale.pop_front().filter(|_| !dropped) {
                    self.log.append(&late);
                }
            }
            85..86 if self.restarts => {
                let last = self.log.known.len().saturating_sub(1);
                self.log.known.drain(..last);
                self.stale.clear();
                self.cut();
            }
            _ => self.wait(),
        }
        self.transmit();
    }

    /// The outcome of each record.
    fn end(&mut self) -> Vec<Result<(), ErrorKind>> {
        for _ in 0..10_000 {
            self.carry_out();
            self.answer();
            self.wait();
            self.transmit();
            if self.outstanding.is_empty() && self.sender.is_idle(SlotId::at(0)) {
                break;
            }
        }
        let mut context = Context::from_waker(Waker::noop());
        let outcome = |delivery: Delivery| match pin!(delivery).poll(&mut context) {
            Poll::Ready(told) => told.map(|_| ()).map_err(|error| error.kind()),
            Poll::Pending => panic!("no outcome"),
        };
        self.deliveries.drain(..).map(outcome).collect()
    }
}

/// A broker remembers five batches. Whatever was sent behind one that may be written has to be among them, whatever the order of
/// events.
#[test]
fn each_batch_is_written_once_and_in_order_wherever_connections_end() {
    for seed in 0..500 {
        let mut world = World::new(seed, false);
        for _ in 0..600 {
            world.step(60);
        }
        let outcomes = world.end();
        assert!(outcomes.iter().all(Result::is_ok), "seed {seed}: {outcomes:?}");
        assert_eq!(world.log.values, (0..outcomes.len() as u32).collect::<Vec<_>>(), "seed {seed}");
    }
}

/// A restarted broker remembers only the last batch. It cannot recognize an earlier one.
#[test]
fn a_record_that_a_restarted_broker_cannot_recognize_is_not_written_twice() {
    let mut unknown = 0;
    for seed in 0..500 {
        let mut world = World::new(seed, true);
        for _ in 0..600 {
            world.step(60);
        }
        for (value, outcome) in world.end().into_iter().enumerate() {
            let times = world.log.values.iter().filter(|other| **other as usize == value).count();
            match outcome {
                Ok(()) => assert_eq!(times, 1, "seed {seed}: {value}"),
                Err(ErrorKind::OutcomeUnknown) => {
                    unknown += 1;
                    assert!(times <= 1, "seed {seed}: {value}");
                }
                Err(other) => panic!("seed {seed}: {value}: {other:?}"),
            }
        }
    }
    assert!(unknown > 100, "{unknown}");
}

impl World {
    /// A world in which one record is written, so that the broker knows the producer.
    fn proven() -> Self {
        let mut world = Self::new(1, false);
        world.cluster.topics.get_mut("orders").unwrap().id = Uuid([1; 16]);
        world.sender.learn_leaders(&world.cluster);
        world.send();
        world.transmit();
        world.carry_out();
        world.answer();
        world.send();
        world.send();
        world.transmit();
        assert_eq!(world.outstanding.len(), 2, "several at once");
        world.carry_out();
        world.answer();
        world.carry_out();
        world.answer();
        world
    }

    /// Lets the broker answer the oldest request with this response for its partition.
    fn answer_with(&mut self, topic: TopicProduceResponse, node_endpoints: Vec<NodeEndpoint>) {
        let id = self.outstanding.pop_front().unwrap().id;
        let response = ProduceResponse { responses: vec![topic], node_endpoints, ..Default::default() };
        let answer = Answer { from: Some(BrokerId(1)), version: 13, memory: 0, response: response.into() };
        self.sender.handle_answer(self.now, id, Ok(answer), &self.shared);
    }
}

/// Wraps a partition's response in its topic.
fn of_topic(name: &str, topic_id: Uuid, told: PartitionProduceResponse) -> TopicProduceResponse {
    TopicProduceResponse { name: name.to_owned(), topic_id, partition_responses: vec![told] }
}

/// The new log accepts any first sequence, so that a second batch could be accepted before the first.
#[test]
fn where_a_topic_was_created_again_the_first_batch_goes_alone() {
    let mut world = World::proven();
    world.cluster.topics.get_mut("orders").unwrap().id = Uuid([2; 16]);
    world.sender.learn_leaders(&world.cluster);
    world.send();
    world.send();
    world.transmit();
    assert_eq!(world.outstanding.len(), 1);
    world.carry_out();
    world.answer();
    world.send();
    world.transmit();
    assert_eq!(world.outstanding.len(), 2, "then the broker knows of the producer");
    // A late response about the former log says nothing about the new one.
    world.cluster.topics.get_mut("orders").unwrap().id = Uuid([3; 16]);
    world.sender.learn_leaders(&world.cluster);
    for _ in 0..2 {
        world.carry_out();
        world.answer();
    }
    world.send();
    world.send();
    world.transmit();
    assert_eq!(world.outstanding.len(), 1);
}

#[test]
fn after_a_long_time_the_first_batch_goes_alone() {
    for (minutes, at_once) in [(50, 2), (70, 1)] {
        let mut world = World::proven();
        world.now += Duration::from_secs(minutes * 60);
        world.send();
        world.send();
        world.transmit();
        assert_eq!(world.outstanding.len(), at_once, "after {minutes} min");
    }
}

#[test]
fn an_unknown_error_code_leaves_the_outcome_unknown() {
    for code in [ErrorCode::UnknownServerError, ErrorCode::Unknown(999)] {
        let mut world = World::new(1, false);
        world.send();
        world.transmit();
        let told = PartitionProduceResponse { error_code: code, ..Default::default() };
        world.answer_with(of_topic("orders", Uuid::ZERO, told), Vec::new());
        assert_eq!(world.end(), [Err(ErrorKind::OutcomeUnknown)]);
    }
}

#[test]
fn an_answer_by_topic_id_is_understood_after_the_view_has_lost_the_id() {
    let mut world = World::new(1, false);
    world.cluster.topics.get_mut("orders").unwrap().id = Uuid([1; 16]);
    world.send();
    world.transmit();
    world.cluster.topics.clear();
    world.sender.learn_leaders(&world.cluster);
    world.answer_with(of_topic("", Uuid([1; 16]), PartitionProduceResponse::default()), Vec::new());
    assert!(world.sender.is_idle(SlotId::at(0)), "nothing is sent again");
    assert_eq!(world.end(), [Ok(())]);
}

#[test]
fn a_leader_with_an_invalid_address_is_looked_up() {
    for (host, is_taken) in [("b2.example", true), ("b2\n\u{1b}[2J", false), ("", false)] {
        let mut world = World::new(1, false);
        world.send();
        world.transmit();
        let told = PartitionProduceResponse {
            error_code: ErrorCode::NotLeaderOrFollower,
            current_leader: Some(LeaderIdAndEpoch { leader_id: 2, leader_epoch: 9 }),
            ..Default::default()
        };
        let at = NodeEndpoint { node_id: 2, host: host.to_owned(), port: 9092, rack: None };
        world.answer_with(of_topic("orders", Uuid::ZERO, told), vec![at]);
        let Some(Event::LeaderMoved { at, leader: BrokerId(2), .. }) = world.sender.poll_event() else {
            panic!("a leader was named")
        };
        assert_eq!(at.is_some(), is_taken, "{host:?}");
    }
}

/// A deleted topic, for example: it is not in doubt whether its records were written.
#[test]
fn a_refusal_before_the_append_means_not_written() {
    for (code, kind) in [
        (ErrorCode::UnknownTopicId, ErrorKind::Timeout),
        (ErrorCode::NotEnoughReplicas, ErrorKind::Timeout),
        (ErrorCode::NotEnoughReplicasAfterAppend, ErrorKind::OutcomeUnknown),
        (ErrorCode::NotLeaderOrFollower, ErrorKind::OutcomeUnknown),
    ] {
        let mut world = World::new(1, false);
        (world.sender.config.retries, world.sender.config.delivery_timeout) = (0, Duration::from_secs(120));
        world.send();
        world.transmit();
        let told = PartitionProduceResponse { error_code: code, ..Default::default() };
        world.answer_with(of_topic("orders", Uuid::ZERO, told), Vec::new());
        assert_eq!(world.end(), [Err(kind)], "{code:?}");
    }
}

#[test]
fn a_request_that_was_not_sent_is_no_attempt_and_writes_nothing() {
    let mut world = World::new(1, false);
    (world.sender.config.retries, world.sender.config.delivery_timeout) = (0, Duration::from_secs(120));
    world.send();
    world.transmit();
    for _ in 0..3 {
        let id = world.outstanding.pop_front().expect("it is sent again").id;
        let (address, reason) = ("b:9092".to_owned(), "the broker throttles this client".to_owned());
        let error = CallError::NotSent { address, api: ApiKey::Produce, reason };
        world.sender.handle_answer(world.now, id, Err(error), &world.shared);
        world.wait();
        world.transmit();
    }
    assert_eq!((world.outstanding.len(), world.end()), (1, vec![Ok(())]));
}
