use std::{
    pin::pin,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    task::{Context, Poll, Wake, Waker},
};

use offtake_client::{ErrorKind, Result};
use offtake_machine::Topic;
use offtake_wire::records::{BuildError, Compression};

use super::*;
use crate::{Delivery, ProducerRecord, RecordMetadata};

/// A task of an executor that runs it where it is woken; there it would send the next record.
struct RunsInPlace {
    shared: Arc<Shared>,
    runs: AtomicU32,
}

impl Wake for RunsInPlace {
    fn wake(self: Arc<Self>) {
        assert!(!self.shared.is_locked(), "woken while the accumulator is locked");
        self.runs.fetch_add(1, Relaxed);
    }
}

struct Bench {
    now: Instant,
    shared: Arc<Shared>,
    task: Arc<RunsInPlace>,
}

impl Bench {
    fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        change(&mut config);
        let shared = Arc::new(Shared::new(Accumulator::new(&config, None, 1)));
        let task = Arc::new(RunsInPlace { shared: shared.clone(), runs: AtomicU32::new(0) });
        Self { now: offtake_client::clock::now(), shared, task }
    }

    fn send(&self, value: &[u8]) -> Delivery {
        let record = ProducerRecord::to("orders").value(value);
        self.shared.lock().append(&record, 0, || self.now).delivery
    }

    fn learn(&self, partitions: u32) {
        let state = TopicState::Known { partitions, leaderless: BTreeSet::new() };
        self.shared.lock().learn_topic(self.now, &Topic::from("orders"), state);
    }

    fn poll(&self, delivery: &mut Delivery) -> Poll<Result<RecordMetadata>> {
        pin!(delivery).poll(&mut Context::from_waker(&Waker::from(self.task.clone())))
    }

    fn poll_error(&self, delivery: &mut Delivery) -> ErrorKind {
        match self.poll(delivery) {
            Poll::Ready(Err(error)) => error.kind(),
            other => panic!("not an error: {other:?}"),
        }
    }

    fn runs(&self) -> u32 {
        self.task.runs.load(Relaxed)
    }
}

#[test]
fn a_record_is_woken_without_the_lock_when_its_topic_is_learnt() {
    let bench = Bench::new(|_| {});
    let mut delivery = bench.send(b"1");
    assert!(bench.poll(&mut delivery).is_pending());
    bench.learn(4);
    assert_eq!(bench.runs(), 1);
    assert!(bench.poll(&mut delivery).is_pending(), "it is in its batch");
}

#[test]
fn a_record_that_memory_was_found_for_is_told_without_the_lock() {
    let bench = Bench::new(|config| config.buffer_memory = 1000);
    bench.learn(1);
    let first = bench.send(&[0; 600]);
    bench.learn(1);
    let mut second = bench.send(&[0; 600]);
    assert!(bench.poll(&mut second).is_pending());
    assert_eq!(bench.runs(), 0);
    let held = bench.shared.lock().memory;
    bench.shared.lock().release(bench.now, held);
    assert_eq!(bench.runs(), 1);
    drop(first);
}

#[test]
fn a_record_that_waited_too_long_is_told_without_the_lock() {
    let bench = Bench::new(|_| {});
    let mut delivery = bench.send(b"1");
    assert!(bench.poll(&mut delivery).is_pending());
    bench.shared.lock().expire_waiting(bench.now + Duration::from_secs(60));
    assert_eq!(bench.runs(), 1);
    assert_eq!(bench.poll_error(&mut delivery), ErrorKind::Timeout);
}

#[test]
fn a_record_that_the_end_refuses_is_told_without_the_lock() {
    let bench = Bench::new(|_| {});
    let mut delivery = bench.send(b"1");
    assert!(bench.poll(&mut delivery).is_pending());
    assert!(bench.shared.lock().take_all().is_empty());
    assert_eq!(bench.runs(), 1);
    assert_eq!(bench.poll_error(&mut delivery), ErrorKind::Closed);
}

#[test]
fn the_engine_is_woken_for_a_partition_once_until_it_has_taken_all_that_is_full() {
    let bench = Bench::new(|config| config.batch_size = 150);
    let wakes = || {
        let record = ProducerRecord::to("orders").value(&[0; 60]);
        let mut accumulator = bench.shared.lock();
        accumulator.engine_is_awake();
        accumulator.append(&record, 0, || bench.now).wakes_engine
    };
    let slot = SlotId::at(0);
    let take_all = || {
        let mut accumulator = bench.shared.lock();
        let mut taken = 0;
        while accumulator.is_ready_now(bench.now, slot) {
            taken += usize::from(accumulator.take(slot).is_some());
        }
        taken
    };
    assert!(wakes(), "nothing is known of the topic");
    assert!(bench.shared.lock().take_topic_news());
    bench.learn(1);
    for _ in 0..3 {
        assert!(wakes(), "the open batch is full");
        assert_eq!([wakes(), wakes(), wakes()], [false; 3]);
        assert_eq!(bench.shared.lock().take_ready(bench.now), [slot]);
        assert_eq!((take_all(), take_all()), (4, 0), "one is open");
    }
}

#[test]
fn the_time_of_a_batch_behind_one_that_is_being_compressed_is_told_when_that_has_ended() {
    let bench = Bench::new(|config| {
        config.batch_size = 150;
        config.compression = Compression::Gzip;
    });
    let waited = bench.send(b""); // its topic is requested
    bench.learn(1);
    drop(waited);
    let mut accumulator = bench.shared.lock();
    let record = ProducerRecord::to("orders").value(&[0; 60]);
    let append = |accumulator: &mut Accumulator| accumulator.append(&record, 0, || bench.now).filled;
    let first = (0..5).find_map(|_| append(&mut accumulator)).unwrap();
    while accumulator.slots[0].open.is_none() {
        assert!(append(&mut accumulator).is_none());
    }
    // The process was suspended for that long.
    let late = bench.now + Duration::from_secs(3600);
    for _ in 0..2 {
        let (slot, serial) = accumulator.take_overdue(late).unwrap();
        assert!(matches!(accumulator.take_if(slot, serial), Overdue::Compressing));
    }
    assert!(accumulator.take_overdue(late).is_none());
    let failed = Err((BuildError::TooLarge, first.writer.size()));
    accumulator.sealed(first.slot, first.serial, failed);
    for _ in 0..2 {
        let (slot, serial) = accumulator.take_overdue(late).unwrap();
        assert!(matches!(accumulator.take_if(slot, serial), Overdue::Unsent(_)));
    }
    assert!(accumulator.slots[0].is_empty());
}

/// Consumers have to decompress it.
#[test]
fn a_batch_is_full_at_some_size_however_well_it_compresses() {
    let bench = Bench::new(|config| config.compression = Compression::Lz4);
    let _first = bench.send(&[0; 1000]);
    bench.learn(1);
    (0..200).for_each(|_| bench.shared.lock().slots[0].learn_ratio(0.0));
    let _rest: Vec<_> = (0..1000).map(|_| bench.send(&[0; 1000])).collect();
    assert_eq!(bench.shared.lock().slots[0].queue_length(), 0, "a megabyte");
    let _more: Vec<_> = (0..100).map(|_| bench.send(&[0; 1000])).collect();
    assert_eq!(bench.shared.lock().slots[0].queue_length(), 1);
}

/// A flush takes all batches out of the order in which they linger, and those that are open when it ends go back into it.
#[test]
fn batches_that_linger_again_after_a_flush_are_taken_when_each_is_due() {
    let bench = Bench::new(|config| {
        config.batch_size = 150;
        config.linger = Duration::from_secs(10);
    });
    let start = bench.now;
    let at = |seconds| start + Duration::from_secs(seconds);
    let send = |partition, now: Instant| {
        let record = ProducerRecord::to("orders").partition(partition).value(&[0; 60]);
        drop(bench.shared.lock().append(&record, 0, || now));
    };
    send(9, start);
    bench.learn(2);
    let _mark = bench.shared.lock().flush();
    for (partition, opened) in [(0, 1), (1, 5)] {
        // The second record finds no room, and opens the next batch.
        send(partition, at(opened));
        send(partition, at(opened));
    }
    let mut accumulator = bench.shared.lock();
    assert!(accumulator.slots.iter().all(|slot| slot.queue_length() == 1 && slot.open.is_some()));
    accumulator.take_ready(at(6));
    accumulator.no_flush_is_left();
    for slot in [SlotId::at(0), SlotId::at(1)] {
        assert!(accumulator.take(slot).is_some());
        assert!(!accumulator.is_ready_now(at(6), slot), "the open one is not due");
    }
    assert_eq!(accumulator.take_ready(at(11)), [SlotId::at(0)], "the first one is due");
}

#[test]
fn a_topic_that_was_refused_and_is_missing_now_is_waited_for() {
    let bench = Bench::new(|_| {});
    let refused = Error::new(ErrorKind::Authorization, "this client may not see the topic");
    let mut first = bench.send(b"1");
    bench.shared.lock().learn_topic(bench.now, &Topic::from("orders"), TopicState::Refused(refused));
    assert_eq!(bench.poll_error(&mut first), ErrorKind::Authorization);
    bench.shared.lock().topic_is_missing(bench.now, &Topic::from("orders"));
    let mut second = bench.send(b"2");
    assert!(bench.poll(&mut second).is_pending());
}
