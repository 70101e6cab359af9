//! A pause is in force when the call returns, belongs to one assignment, and takes no memory from other partitions.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use offtake::{Consumer, ErrorKind, Listener, ListenerFuture, Rebalance};
use offtake_tests::{Offtake, Shared, V4_3_0, shared, unique};
use tokio::time::sleep;

use super::{PATIENCE, all, bulk, member, poll_until};
use crate::library::{A_MOMENT, Read, at, filled, program, take};

const MANY: i32 = 50;
/// The bytes of a partition: all partitions together have three times the budget.
const FULL: u64 = 2 << 20;

/// Creates them with records of `size` bytes.
fn many_full_partitions(of: &Shared, size: usize) -> String {
    let each = FULL / (size as u64 + 10);
    bulk(of, "seams", MANY, each * u64::from(MANY.unsigned_abs()), size)
}

/// SEAM2: an application that pauses each partition while its worker is busy. Nothing is resumed.
#[test]
fn seam2_fifty_partitions_that_are_paused_after_their_first_records_are_all_read() {
    program(async {
        let of = shared(V4_3_0);
        let topic = many_full_partitions(of, 200);
        let mut consumer = member(of, &unique("group")).build().await.unwrap();
        consumer.assign(all(&topic, MANY)).await.unwrap();
        let mut read = BTreeSet::new();
        let mut last = Instant::now();
        while read.len() < MANY as usize {
            let records = consumer.poll(A_MOMENT).await.unwrap();
            let these: Vec<_> = records.partitions().map(|part| part.topic_partition().clone()).collect();
            for place in &these {
                assert!(read.insert(place.partition), "{place} is paused");
                last = Instant::now();
            }
            consumer.pause(these).unwrap();
            let still = last.elapsed();
            assert!(still < PATIENCE, "{} of {MANY} are read; then none for {still:?}", read.len());
        }
        assert_eq!(consumer.paused().len(), MANY as usize);
        // SEAM2: and the retained records of each arrive, in order, when it is resumed.
        let mut rest = Read::new();
        consumer.resume([at(&topic, 7)]).unwrap();
        while rest.get(&7).map_or(0, Vec::len) < 2000 {
            take(&mut rest, &consumer.poll(A_MOMENT).await.unwrap());
        }
        let offsets = &rest[&7];
        assert!(offsets.windows(2).all(|two| two[0] + 1 == two[1]), "{offsets:?}");
        assert!(rest.len() == 1 && offsets[0] > 0 && offsets[0] <= 500, "{:?}", offsets[0]);
        consumer.close(PATIENCE).await.unwrap();
    });
}

/// SEAM2: the command pauses partitions that have reached their end. It takes 5,000 records per poll, and a partition's
/// share of an answer has twice as many.
#[test]
fn seam2_the_command_reads_the_first_hundred_of_fifty_full_partitions_and_ends() {
    let of = shared(V4_3_0);
    let topic = many_full_partitions(of, 90);
    let args = ["consume", &topic, "--from", "earliest", "--until", "100", "-f", "%p %o\n"];
    let done = Offtake::new(args).brokers(&of.kafka).patience(4 * PATIENCE).run();
    assert_eq!(done.code, Some(0), "{:?}", done.stderr);
    assert_eq!(done.stdout.len(), 100 * MANY as usize);
}

/// One partition that is paused and resumed, and another that flows, both with more records than a test reads.
async fn two_that_flow(of: &Shared) -> (Consumer, String) {
    let topic = bulk(of, "seams", 2, 40_000, 20);
    let mut consumer = member(of, &unique("group")).property("max.poll.records", "10").build().await.unwrap();
    consumer.assign(all(&topic, 2)).await.unwrap();
    let mut seen = BTreeSet::new();
    while seen.len() < 2 {
        seen.extend(consumer.poll(A_MOMENT).await.unwrap().iter().map(|record| record.partition()));
        // Neither is read to its end while the other is awaited.
        consumer.pause(seen.iter().map(|index| at(&topic, *index)).collect::<Vec<_>>()).unwrap();
    }
    consumer.resume_all().unwrap();
    (consumer, topic)
}

/// SEAM3: a worker that is full, has room, and is full again.
#[test]
fn seam3_a_partition_paused_again_hands_out_nothing() {
    program(async {
        let of = shared(V4_3_0);
        let (mut consumer, topic) = two_that_flow(of).await;
        let place = at(&topic, 0);
        let mut broken = 0;
        for _ in 0..300 {
            consumer.pause([place.clone()]).unwrap();
            consumer.resume([place.clone()]).unwrap();
            sleep(Duration::from_millis(1)).await; // other work
            consumer.pause([place.clone()]).unwrap();
            let records = consumer.poll(Duration::ZERO).await.unwrap();
            broken += usize::from(records.iter().any(|record| record.partition() == 0));
            assert_eq!(consumer.paused(), std::slice::from_ref(&place));
        }
        assert_eq!(broken, 0, "of 300 polls so many returned records of the paused partition");
        consumer.close(PATIENCE).await.unwrap();
    });
}

/// SEAM3, the other way: a resumed partition hands out records, whatever was called just before.
#[test]
fn seam3_a_partition_resumed_again_hands_out_at_once() {
    program(async {
        let of = shared(V4_3_0);
        let (mut consumer, topic) = two_that_flow(of).await;
        let (place, other) = (at(&topic, 0), at(&topic, 1));
        consumer.pause([other]).unwrap();
        let mut late = 0;
        let mut all = Read::new();
        for _ in 0..300 {
            consumer.pause([place.clone()]).unwrap();
            sleep(Duration::from_millis(1)).await;
            consumer.resume([place.clone()]).unwrap();
            let began = Instant::now();
            let records = consumer.poll(PATIENCE).await.unwrap();
            assert!(!records.is_empty() && records.iter().all(|record| record.partition() == 0));
            late += usize::from(began.elapsed() > Duration::from_millis(200));
            take(&mut all, &records);
        }
        let offsets = &all[&0];
        assert!(offsets.windows(2).all(|two| two[0] + 1 == two[1]), "in order and once: {offsets:?}");
        assert!(late <= 3, "{late} of 300 polls had to wait, though records are there");
        consumer.close(PATIENCE).await.unwrap();
    });
}

/// SEAM5: a pause before the assignment, or after its end, is refused and has no effect later.
#[test]
fn seam5_a_partition_that_is_not_owned_can_not_be_paused_and_flows_when_it_is_assigned() {
    program(async {
        let of = shared(V4_3_0);
        let topic = filled(of, 2, 20, "none");
        let mut consumer = member(of, &unique("group")).build().await.unwrap();
        let handle = consumer.handle();
        let refused = |result: offtake::Result<()>, when: &str| {
            assert_eq!(result.map_err(|error| error.kind()), Err(ErrorKind::NotOwned), "{when}");
        };
        refused(consumer.pause([at(&topic, 0)]), "before any subscription");
        consumer.subscribe([topic.as_str()]).await.unwrap();
        refused(consumer.pause([at(&topic, 0)]), "before it is assigned");
        refused(handle.pause([at(&topic, 1)]), "through a handle");
        let mut read = Read::new();
        let began = Instant::now();
        while read.values().map(Vec::len).sum::<usize>() < 40 {
            take(&mut read, &consumer.poll(A_MOMENT).await.unwrap());
            assert!(
                began.elapsed() < PATIENCE,
                "{read:?} is all that comes; {:?} is paused",
                handle.paused()
            );
        }
        assert!(read.values().all(|offsets| offsets.iter().copied().eq(0..20)), "{read:?}");
        refused(consumer.pause([at(&topic, 0), at(&topic, 9)]), "one of them is nobody's");
        // A partition paused at the end of an assignment is not paused in the next.
        consumer.pause(all(&topic, 2)).unwrap();
        assert_eq!(handle.paused().len(), 2);
        consumer.unsubscribe().await.unwrap();
        refused(consumer.pause([at(&topic, 0)]), "after it is over");
        refused(handle.pause([at(&topic, 0)]), "through a handle, after it is over");
        crate::library::more(of, &topic, 2, 10, "none");
        consumer.subscribe([topic.as_str()]).await.unwrap();
        let mut read = 0;
        let began = Instant::now();
        while read < 20 {
            read += consumer.poll(A_MOMENT).await.unwrap().len();
            assert!(began.elapsed() < PATIENCE, "{read} of 20 come; {:?} is paused", handle.paused());
        }
        assert_eq!(consumer.paused().len(), 0);
        consumer.close(PATIENCE).await.unwrap();
    });
}

/// Loads its state, and pauses the assigned partitions until the application resumes them.
#[derive(Default)]
struct PausesAtFirst(AtomicBool);

impl Listener for PausesAtFirst {
    fn assigned(&self, rebalance: Rebalance) -> ListenerFuture {
        let first = !self.0.swap(true, Ordering::Relaxed);
        Box::pin(async move {
            sleep(Duration::from_millis(500)).await; // the engine fetches meanwhile
            if first {
                rebalance.consumer.pause(rebalance.partitions.clone())?;
                // SEAM4: true when the call returns.
                assert_eq!(rebalance.consumer.paused(), rebalance.partitions);
            }
            Ok(())
        })
    }
}

/// SEAM4: it holds from the first record on.
#[test]
fn seam4_a_pause_by_the_assigned_listener_holds_from_the_first_record() {
    program(async {
        let of = shared(V4_3_0);
        for protocol in ["classic", "consumer"] {
            let topic = filled(of, 3, 20, "none");
            let builder = member(of, &unique("group")).property("group.protocol", protocol);
            let mut consumer = builder.listener(PausesAtFirst::default()).build().await.unwrap();
            consumer.subscribe([topic.as_str()]).await.unwrap();
            let (mut early, mut paused_since) = (0, None);
            let began = Instant::now();
            while paused_since.is_none_or(|since: Instant| since.elapsed() < Duration::from_secs(3)) {
                early += consumer.poll(Duration::from_millis(100)).await.unwrap().len();
                if consumer.paused().len() == 3 {
                    paused_since = paused_since.or_else(|| Some(Instant::now()));
                }
                assert!(began.elapsed() < PATIENCE, "{protocol}: nothing is assigned");
            }
            assert_eq!(early, 0, "{protocol}: records of what the listener has paused");
            assert_eq!(consumer.paused().len(), 3, "{protocol}");
            assert!(consumer.paused().iter().all(|place| consumer.position(place).is_none_or(|at| at == 0)));
            consumer.resume(all(&topic, 3)).unwrap();
            let mut read = Read::new();
            let began = Instant::now();
            while read.values().map(Vec::len).sum::<usize>() < 60 {
                take(&mut read, &consumer.poll(A_MOMENT).await.unwrap());
                assert!(began.elapsed() < PATIENCE, "{protocol}: {read:?}");
            }
            assert!(read.values().all(|offsets| offsets.iter().copied().eq(0..20)), "{protocol}: {read:?}");
            consumer.close(PATIENCE).await.unwrap();
        }
    });
}

/// SEAM5: assigned and paused by the listener, revoked before anything was read, and assigned again: it is not paused.
#[test]
fn seam5_a_pause_of_a_past_assignment_does_not_stick_to_the_next() {
    program(async {
        let of = shared(V4_3_0);
        let topic = filled(of, 2, 20, "none");
        let group = unique("group");
        let build = || {
            member(of, &group).property("session.timeout.ms", "6000").property("heartbeat.interval.ms", "300")
        };
        let mut consumer = build().listener(PausesAtFirst::default()).build().await.unwrap();
        consumer.subscribe([topic.as_str()]).await.unwrap();
        poll_until(&mut consumer, "an assignment", |consumer| consumer.paused().len() == 2).await;
        // Eager: both are revoked, and one returns.
        let mut other = build().build().await.unwrap();
        other.subscribe([topic.as_str()]).await.unwrap();
        let mut read = 0;
        let began = Instant::now();
        while read < 20 || other.assignment().is_empty() {
            read += consumer.poll(Duration::from_millis(50)).await.unwrap().len();
            drop(other.poll(Duration::from_millis(50)).await.unwrap());
            assert!(began.elapsed() < PATIENCE, "{read} records; {:?} is paused", consumer.handle().paused());
        }
        assert_eq!(consumer.paused().len(), 0);
        other.close(PATIENCE).await.unwrap();
        consumer.close(PATIENCE).await.unwrap();
    });
}

/// Calling it twice is the same as once; and a pause of thousands at once is one.
#[test]
fn seam3_pause_and_resume_said_twice_are_said_once() {
    program(async {
        let of = shared(V4_3_0);
        let topic = filled(of, 3, 30, "none");
        let mut consumer =
            member(of, &unique("group")).property("max.poll.records", "5").build().await.unwrap();
        consumer.subscribe([topic.as_str()]).await.unwrap();
        poll_until(&mut consumer, "an assignment", |consumer| consumer.assignment().len() == 3).await;
        let handle = consumer.handle();
        consumer.resume(all(&topic, 3)).unwrap();
        consumer.pause([at(&topic, 0), at(&topic, 0)]).unwrap();
        handle.pause([at(&topic, 0)]).unwrap();
        assert_eq!(handle.paused(), [at(&topic, 0)], "true when it returns");
        assert_eq!(consumer.paused(), [at(&topic, 0)]);
        handle.resume([at(&topic, 0)]).unwrap();
        assert_eq!((handle.paused(), consumer.paused().len()), (vec![], 0));
        handle.pause(all(&topic, 3)).unwrap();
        assert_eq!(consumer.paused().len(), 3, "of either, by either");
        assert!(consumer.poll(A_MOMENT).await.unwrap().is_empty());
        consumer.resume(all(&topic, 3)).unwrap();
        consumer.resume(all(&topic, 3)).unwrap();
        let mut read = Read::new();
        while read.values().map(Vec::len).sum::<usize>() < 75 {
            take(&mut read, &consumer.poll(PATIENCE).await.unwrap());
        }
        assert!(read.values().all(|offsets| offsets.windows(2).all(|two| two[0] + 1 == two[1])), "{read:?}");
        consumer.close(PATIENCE).await.unwrap();
    });
}
