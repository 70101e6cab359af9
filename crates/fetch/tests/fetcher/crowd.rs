//! Tests with hundreds of partitions, paused and resumed at any time: memory stays within its limit, and
//! partitions that are not paused are read.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use offtake_fetch::{Chunk, Config, Event};
use offtake_machine::{BrokerId, Position};
use offtake_wire::messages::fetch::FetchResponse;
use proptest::prelude::*;

use crate::{
    model::{Fault, Model, TOPIC},
    rig::{Asked, Rig, TOKEN, tp},
};

const PARTITIONS: usize = 500;
const BROKERS: i32 = 3;

/// The memory of one response; it counts until the last slice of it is dropped.
struct Frame {
    bytes: Vec<u8>,
    held: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Frame {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// The application's state of one partition.
#[derive(Default)]
struct Reading {
    queue: VecDeque<Chunk>,
    delivered: i64,
    paused: bool,
}

struct Crowd {
    rig: Rig,
    model: Model,
    budget: usize,
    under_way: BTreeMap<BrokerId, Asked>,
    readings: Vec<Reading>,
    channel: VecDeque<Chunk>,
    random: u64,
    held: Arc<AtomicUsize>,
    largest: usize,
    given_back: usize,
}

impl Crowd {
    fn new(random: u64, budget: usize, batch: usize) -> Self {
        let config = Config { budget, max_partition_bytes: 64 << 10, ..Config::default() };
        let leaders: Vec<i32> = (1..=BROKERS).cycle().take(PARTITIONS).collect();
        let rig = Rig::with(config).topic(TOPIC, &leaders);
        let model = Model::new(leaders.into_iter().map(|leader| (leader, 5)).collect());
        let readings = (0..PARTITIONS).map(|_| Reading::default()).collect();
        let mut crowd = Self {
            rig,
            model,
            budget,
            under_way: BTreeMap::new(),
            readings,
            channel: VecDeque::new(),
            random: random | 1,
            held: Arc::default(),
            largest: 0,
            given_back: 0,
        };
        for index in 0..PARTITIONS {
            // Some partitions have small records, some large ones.
            let size = if crowd.below(4) == 0 { batch } else { 1 + crowd.below(500) };
            for _ in 0..10 + crowd.below(20) {
                crowd.model.logs[index].append_wide(size);
            }
            let partition = i32::try_from(index).unwrap();
            crowd.rig.start_as(TOPIC, partition, TOKEN, Position::at(0));
        }
        crowd
    }

    fn below(&mut self, most: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random % u64::try_from(most).unwrap()).unwrap()
    }

    /// Copies the records of a response into one buffer, as in a real response.
    fn in_one_frame(&mut self, mut response: FetchResponse) -> FetchResponse {
        let partitions = || response.responses.iter().flat_map(|topic| &topic.partitions);
        let bytes: Vec<u8> =
            partitions().filter_map(|data| data.records.as_deref()).flatten().copied().collect();
        self.held.fetch_add(bytes.len(), Ordering::Relaxed);
        self.largest = self.largest.max(bytes.len() + 500 * partitions().count());
        let mut frame = Bytes::from_owner(Frame { bytes, held: Arc::clone(&self.held) });
        for data in response.responses.iter_mut().flat_map(|topic| &mut topic.partitions) {
            if let Some(records) = &mut data.records {
                *records = frame.split_to(records.len());
            }
        }
        response
    }

    /// Acts as the loop does after every change.
    fn drain(&mut self) {
        loop {
            while let Some(event) = self.rig.fetcher.poll_event() {
                self.told(event);
            }
            while let Some(asked) = self.rig.sent() {
                assert!(self.under_way.insert(asked.broker, asked).is_none(), "one request per broker");
            }
            // Where memory is short, a request that is not sent may reclaim some.
            let Some(event) = self.rig.fetcher.poll_event() else { break };
            self.told(event);
        }
        let (held, charged) = (self.held.load(Ordering::Relaxed), self.rig.fetcher.memory_held());
        assert!(held <= charged, "{held} bytes are held, and {charged} are charged");
        let most = self.budget + self.largest * usize::try_from(BROKERS).unwrap();
        assert!(
            charged <= most,
            "{charged} bytes, with a budget of {} and answers of {}",
            self.budget,
            self.largest
        );
    }

    fn told(&mut self, event: Event) {
        match event {
            Event::Reclaim { partition: tp, token } => {
                assert_eq!(token, TOKEN);
                self.rewind(tp.partition);
            }
            Event::Watermarks { .. } | Event::Rewound { .. } | Event::RefreshMetadata => {}
            event => panic!("{event:?}"),
        }
    }

    fn rewind(&mut self, partition: i32) {
        // Chunks on their way arrive before the response.
        self.receive();
        let reading = &mut self.readings[usize::try_from(partition).unwrap()];
        if !reading.paused {
            return;
        }
        self.given_back += 1;
        for chunk in reading.queue.drain(..) {
            self.rig.fetcher.release(&chunk.partition, chunk.charge);
        }
        let position = Position::at(reading.delivered);
        assert!(self.rig.fetcher.rewind(&tp(TOPIC, partition), TOKEN, position), "it flows");
    }

    fn answer(&mut self, broker: i32) {
        let Some(asked) = self.under_way.remove(&BrokerId(broker)) else { return };
        let response = self.model.serve(&asked, Fault::None).expect("an answer");
        if response.responses.iter().all(|topic| topic.partitions.is_empty()) {
            self.rig.pass_ms(500);
        }
        let response = self.in_one_frame(response);
        self.rig.answer(&asked, response);
        self.drain();
    }

    fn take(&mut self) {
        while let Some(chunk) = self.rig.fetcher.take() {
            self.channel.push_back(chunk);
        }
        self.drain();
    }

    fn receive(&mut self) {
        while let Some(chunk) = self.channel.pop_front() {
            let reading = &mut self.readings[usize::try_from(chunk.partition.partition).unwrap()];
            reading.queue.push_back(chunk);
        }
    }

    /// The application reads a chunk of the partition, unless it is paused.
    fn read(&mut self, index: usize) -> bool {
        let reading = &mut self.readings[index];
        if reading.paused {
            return false;
        }
        let Some(chunk) = reading.queue.pop_front() else { return false };
        assert_eq!(chunk.fetch_offset, reading.delivered, "neither hole nor repeat (SAFE3)");
        reading.delivered = chunk.next.offset;
        let (waits, timeout) = (self.rig.fetcher.waits_for_memory(), self.rig.fetcher.poll_timeout());
        self.rig.fetcher.release(&chunk.partition, chunk.charge);
        drop(chunk);
        if !waits {
            assert!(self.rig.sent().is_none(), "nothing waited for memory");
            assert_eq!(self.rig.fetcher.poll_timeout(), timeout);
        }
        self.drain();
        true
    }

    fn pause(&mut self, index: usize, pause: bool) {
        let of = tp(TOPIC, i32::try_from(index).unwrap());
        self.readings[index].paused = pause;
        if pause {
            self.rig.fetcher.pause(&of, TOKEN);
        } else {
            self.rig.fetcher.resume(&of, TOKEN);
        }
        self.drain();
    }

    /// Whether each partition that is not paused has been read to its end.
    fn is_read(&self) -> bool {
        let ends = self.model.logs.iter().map(|log| log.end);
        self.readings.iter().zip(ends).all(|(it, end)| it.paused || it.delivered == end)
    }

    fn finish(&mut self) {
        for round in 0.. {
            if self.is_read() {
                return;
            }
            assert!(round < 5_000, "who is not paused is not read: {:#?}", self.rig.fetcher);
            for broker in 1..=BROKERS {
                self.answer(broker);
            }
            self.take();
            self.receive();
            for index in 0..PARTITIONS {
                while self.read(index) {}
            }
            self.rig.pass_ms(20);
        }
    }
}

/// Pauses partitions at any time, most of them when some of their records have just arrived, and reads in
/// between.
fn crowd(seed: u64, budget: usize, batch: usize) {
    let mut crowd = Crowd::new(seed, budget, batch);
    crowd.drain();
    for _ in 0..1_000 {
        let index = crowd.below(PARTITIONS);
        match crowd.below(12) {
            0..3 => {
                let broker = 1 + i32::try_from(crowd.below(3)).unwrap();
                crowd.answer(broker);
            }
            3 => crowd.take(),
            4 => crowd.receive(),
            5 | 6 => {
                let waits = crowd.readings.iter().position(|it| !it.queue.is_empty() && !it.paused);
                crowd.pause(waits.unwrap_or(index), true);
            }
            7 => crowd.pause(index, false),
            8 => crowd.rig.pass_ms(20),
            _ => {
                let waits = crowd.readings.iter().position(|it| !it.queue.is_empty() && !it.paused);
                crowd.read(waits.unwrap_or(index));
            }
        }
    }
    crowd.finish();
    let paused = crowd.readings.iter().filter(|it| it.paused).count();
    assert!(paused > 20, "{paused} of them are paused");
    assert!(crowd.given_back > 0, "nobody had to make room");
    for index in 0..PARTITIONS {
        crowd.pause(index, false);
    }
    crowd.finish();
    assert_eq!((crowd.rig.fetcher.memory_held(), crowd.held.load(Ordering::Relaxed)), (0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3, failure_persistence: None, ..Default::default() })]

    #[test]
    fn i12_p1_hundreds_of_paused_partitions_hold_up_nobody_and_no_more_than_the_budget(seed in any::<u64>()) {
        crowd(seed, 1 << 20, 20_000);
    }

    #[test]
    fn i12_p1_the_same_where_a_batch_is_larger_than_a_share_of_the_budget(seed in any::<u64>()) {
        crowd(seed, 100_000, 60_000);
    }
}

/// A request that is not sent leaves an event behind, and something is read before that is looked at.
#[test]
fn i12_p1_histories_that_had_an_event_waiting() {
    crowd(516_039_243_787_092_232, 1 << 20, 20_000);
    crowd(8_462_274_621_224_862_393, 1 << 20, 20_000);
}

#[test]
fn i12_partitions_that_are_paused_with_their_first_records_do_not_stop_the_others() {
    let mut crowd = Crowd::new(7, 320_000, 10_000);
    crowd.drain();
    for _ in 0..20 {
        for broker in 1..=BROKERS {
            crowd.answer(broker);
        }
        crowd.take();
        crowd.receive();
        for index in (0..PARTITIONS).rev() {
            if !crowd.readings[index].queue.is_empty() {
                crowd.pause(index, true);
            }
        }
    }
    crowd.finish();
    let paused = crowd.readings.iter().filter(|it| it.paused).count();
    assert!(paused > 50 && crowd.given_back > 10, "{paused} paused, {} given back", crowd.given_back);
}
