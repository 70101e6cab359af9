//! A poll returns all available records, of all partitions, up to `max.poll.records`.

use std::time::{Duration, Instant};

use offtake::Consumer;
use offtake_tests::{Oversleep, SlowLoop, V4_3_0, shared, unique};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::{PATIENCE, all, bulk, member};
use crate::library::{A_MOMENT, Read, at, program, take};

const RATE: u64 = 1000;
const SECONDS: u64 = 10;
/// An application's work on a poll's records: a row in a database.
const WORK: Duration = Duration::from_millis(20);

/// SEAM12, SEAM13: records keep arriving while the application is slow. Java's loop does the same beside it.
#[test]
fn seam12_seam13_a_slow_handler_keeps_up_with_a_thousand_records_a_second_and_its_lag_is_true() {
    program(async {
        let of = shared(V4_3_0);
        let topic = of.tool.create_topic(&unique("seams"), 12, &[]);
        let (ours, theirs) = (unique("group"), unique("group"));
        let mut consumer = member(of, &ours).build().await.unwrap();
        consumer.subscribe([topic.as_str()]).await.unwrap();
        super::poll_until(&mut consumer, "all partitions", |consumer| consumer.assignment().len() == 12)
            .await;
        let java = {
            let topic = topic.clone();
            spawn_blocking(move || of.tool.slow_loop(&theirs, &topic, 20, SECONDS))
        };
        let load = {
            let topic = topic.clone();
            spawn_blocking(move || of.tool.trickle(&topic, 12, RATE, SECONDS))
        };
        let mut found = SlowLoop::default();
        let (mut worst, mut most_untold) = (0, 0);
        let machine = Oversleep::new();
        while !load.is_finished() {
            let records = consumer.poll(A_MOMENT).await.unwrap();
            if records.is_empty() {
                continue;
            }
            found.records += records.len() as u64;
            found.polls += 1;
            found.mixed += u64::from(records.partitions().len() > 1);
            sleep(WORK).await;
            consumer.commit(&records).await.unwrap();
            found.commits += 1;
            if found.polls.is_multiple_of(25) {
                let (behind, untold) = its_lag_is_true(&consumer).await;
                found.behind = behind;
                (worst, most_untold) = (worst.max(behind), most_untold.max(untold));
            }
        }
        let (behind, untold) = its_lag_is_true(&consumer).await;
        found.behind = behind;
        most_untold = most_untold.max(untold);
        let (produced, silence) = load.await.unwrap();
        let java = java.await.unwrap();
        eprintln!(
            "ours: {found:?}, {:.1} a poll, {worst} behind at worst; Java, second by second: {java:?}; {produced} records were \
             produced, the broker silent for {silence} ms at most",
            found.a_poll()
        );
        // A second of silence on a busy machine makes some hundred records; falling behind for ever would be all of them.
        let rest = u64::try_from(machine.worst().as_millis()).unwrap() + silence;
        let allowed = RATE as i64 + (RATE * rest / 1000) as i64;
        assert!(most_untold < allowed, "it was {most_untold} more behind than it said");
        assert!(found.behind < allowed, "{} of {produced} records behind", found.behind);
        assert!(worst < 2 * allowed, "{worst} records behind at worst");
        assert!(found.a_poll() > 10.0, "polls grow with what is there: {:.1} records each", found.a_poll());
        assert!(
            found.mixed * 2 > found.polls,
            "{} of {} polls had several partitions",
            found.mixed,
            found.polls
        );
        assert!(java.iter().any(|second| second.records > 0), "{java:?}");
        consumer.close(PATIENCE).await.unwrap();
    });
}

/// Returns how far it is really behind, and how much more that is than what it reported and than what may have arrived while it was
/// asked. It must not report more.
async fn its_lag_is_true(consumer: &Consumer) -> (i64, i64) {
    let owned = consumer.assignment();
    let told: u64 = consumer.lags().into_values().flatten().sum();
    let position = owned.iter().filter_map(|partition| consumer.position(partition)).sum::<i64>();
    let asked = Instant::now();
    let ends = consumer.end_offsets(owned).await.unwrap().into_values().sum::<i64>();
    let behind = ends - position;
    let unheard = i64::try_from(asked.elapsed().as_millis()).unwrap() * RATE as i64 / 1000;
    let told = i64::try_from(told).unwrap();
    assert!(told <= behind, "{told} are said to be left of {behind}");
    (behind, behind - unheard - told)
}

/// SEAM12: about 16 polls of 500, whether the consumer joins the group or has assigned partitions.
#[test]
fn seam12_two_hundred_small_partitions_are_read_in_few_polls() {
    program(async {
        let of = shared(V4_3_0);
        let topic = bulk(of, "seams", 200, 4000, 20);
        for by_hand in [false, true] {
            let mut consumer = member(of, &unique("group")).build().await.unwrap();
            if by_hand {
                consumer.assign(all(&topic, 200)).await.unwrap();
            } else {
                consumer.subscribe([topic.as_str()]).await.unwrap();
            }
            let (mut read, mut sizes) = (Read::new(), Vec::new());
            let began = Instant::now();
            while sizes.iter().sum::<usize>() < 4000 {
                let records = consumer.poll(A_MOMENT).await.unwrap();
                assert!(began.elapsed() < PATIENCE, "{sizes:?}");
                if records.is_empty() {
                    continue;
                }
                take(&mut read, &records);
                sizes.push(records.len());
                sleep(WORK).await;
                consumer.commit(&records).await.unwrap();
            }
            assert!(sizes.iter().all(|size| *size <= 500), "{sizes:?}");
            // The first answers are small, on purpose; later ones fill the polls.
            assert!(sizes.len() <= 32, "{} polls: {sizes:?}", sizes.len());
            assert!(sizes.iter().filter(|size| **size == 500).count() >= 4, "{sizes:?}");
            assert!(read.values().all(|offsets| offsets.iter().copied().eq(0..20)), "{read:?}");
            consumer.close(PATIENCE).await.unwrap();
        }
    });
}

/// SEAM12: records that arrived in the client one by one are returned together.
#[test]
fn seam12_five_hundred_records_that_came_one_by_one_are_one_poll() {
    program(async {
        let of = shared(V4_3_0);
        let topic = of.tool.create_topic(&unique("seams"), 1, &[]);
        let mut consumer = member(of, &unique("group")).build().await.unwrap();
        consumer.assign([at(&topic, 0)]).await.unwrap();
        super::poll_until(&mut consumer, "a position", |consumer| {
            consumer.position(at(&topic, 0)) == Some(0)
        })
        .await;
        let handle = consumer.handle();
        let (tool, of_topic) = (of.tool.clone(), topic.clone());
        spawn_blocking(move || tool.trickle(&of_topic, 1, 500, 1)).await.unwrap();
        // SEAM13: the application is busy; the lag shows how many records wait for it.
        let began = Instant::now();
        while handle.lag(at(&topic, 0)) != Some(500) {
            sleep(Duration::from_millis(5)).await;
            let told = (handle.lag(at(&topic, 0)), consumer.lag(at(&topic, 0)));
            assert!(began.elapsed() < Duration::from_secs(10), "500 records wait, and it says {told:?}");
        }
        assert_eq!(consumer.lag(at(&topic, 0)), Some(500));
        let records = consumer.poll(A_MOMENT).await.unwrap();
        assert_eq!(records.len(), 500, "all of them are in the client");
        assert_eq!((handle.lag(at(&topic, 0)), consumer.lag(at(&topic, 0))), (Some(0), Some(0)));
        consumer.close(PATIENCE).await.unwrap();
    });
}
