//! How long the group waits for an application, and the application for the group: on the cluster in a box, in memory
//! and in virtual time, so that minutes of silence take none.

use std::{
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    time::Duration,
};

use offtake::{
    Builder, Consumer, Dial, ErrorKind, Event, Handle, Listener, ListenerFuture, Next, OffsetAndMetadata,
    Position, Rebalance, RebalanceCall, Stall, StartAt, TopicPartition, dial::InMemory,
};
use offtake_broker::{ApiKey, Cluster, Corrupt, Fault, FaultRule};
use tokio::time::{Instant, sleep, timeout};

use crate::library::at;

/// The default of `max.poll.interval.ms`.
const LIMIT: Duration = Duration::from_secs(300);
const A_MOMENT: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_secs(3600);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Runs a program in virtual time, for less than a day.
pub(crate) fn virtually<T>(body: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let body: Pin<&mut dyn Future<Output = T>> = pin!(body);
    runtime.block_on(async { timeout(24 * LONG, body).await.expect("it ends in time") })
}

/// A dialler into that cluster, without a socket.
pub(crate) fn inside(cluster: &Cluster) -> Arc<dyn Dial> {
    Arc::new(InMemory::new(cluster.connector()))
}

/// A topic with this many partitions, ten records in each.
async fn cluster(partitions: i32) -> Cluster {
    let cluster = Cluster::builder().in_memory().topic("orders", partitions).start().await.unwrap();
    for partition in 0..partitions {
        for value in 0..10_u8 {
            cluster.produce("orders", partition, None, Some(&[value])).unwrap();
        }
    }
    cluster
}

pub(crate) fn member(cluster: &Cluster) -> Builder {
    Consumer::builder(cluster.bootstrap())
        .group("group")
        .dial(inside(cluster))
        .spawn_on(tokio::runtime::Handle::current())
        .property("auto.offset.reset", "earliest")
}

/// The events, and when each occurred.
#[derive(Clone)]
struct Told(Arc<Mutex<Vec<(Duration, Event)>>>, Instant);

impl Told {
    fn new() -> Self {
        Self(Arc::default(), Instant::now())
    }

    fn by(&self, builder: Builder) -> Builder {
        let told = self.clone();
        builder.events(move |event| told.0.lock().unwrap().push((told.1.elapsed(), event)))
    }

    fn pick<T>(&self, wanted: impl Fn(&Event) -> Option<T>) -> Vec<(Duration, T)> {
        let told = self.0.lock().unwrap();
        told.iter().filter_map(|(at, event)| Some((*at, wanted(event)?))).collect()
    }

    fn warnings(&self) -> Vec<(Duration, (Duration, Duration, Stall))> {
        self.pick(|event| match event {
            Event::PollIntervalWarning { since_poll, limit, stall } => Some((*since_poll, *limit, *stall)),
            _ => None,
        })
    }

    fn exceeded(&self) -> Vec<(Duration, (Duration, Duration, Stall))> {
        self.pick(|event| match event {
            Event::PollIntervalExceeded { since_poll, limit, stall } => Some((*since_poll, *limit, *stall)),
            _ => None,
        })
    }

    fn count(&self, wanted: fn(&Event) -> bool) -> usize {
        self.pick(|event| wanted(event).then_some(())).len()
    }
}

/// A consumer that has subscribed and been handed this many records.
async fn reading(builder: Builder, count: usize) -> Consumer {
    let mut consumer = builder.build().await.unwrap();
    consumer.subscribe(["orders"]).await.unwrap();
    read(&mut consumer, count).await;
    consumer
}

async fn read(consumer: &mut Consumer, count: usize) -> Vec<(i32, i64)> {
    let mut read = Vec::new();
    while read.len() < count {
        let records = consumer.poll(A_MOMENT).await.unwrap();
        read.extend(records.iter().map(|record| (record.partition(), record.offset())));
    }
    read
}

/// Another member, which polls until it is stopped.
struct Other {
    stop: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
    handle: Handle,
}

impl Other {
    async fn joins(builder: Builder) -> Self {
        let mut consumer = builder.build().await.unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        let handle = consumer.handle();
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            while stopped.try_recv().is_err() {
                consumer.poll(A_MOMENT).await.unwrap();
            }
            consumer.close(seconds(5)).await.unwrap();
        });
        Self { stop, task, handle }
    }

    async fn stops(self) {
        let _ = self.stop.send(());
        self.task.await.unwrap();
    }
}

fn close_to(time: Duration, wanted: Duration) -> bool {
    time >= wanted && time < wanted + seconds(1)
}

// ---- the poll contract -------------------------------------------------------------------------------------------------

/// M1, M5: reported at 80 %, and when it is too late; by the monotonic clock.
#[test]
fn m1_a_slow_handler_is_warned_of_at_four_fifths_and_then_left_behind() {
    let mut timelines = Vec::new();
    for wall_ms in [1_790_000_000_000, 0, i64::MAX / 2] {
        timelines.push(virtually(async {
            let cluster = cluster(2).await;
            let told = Told::new();
            let mut consumer = reading(told.by(member(&cluster)).replay(1, wall_ms), 20).await;
            let since = told.1.elapsed();
            sleep(LIMIT + seconds(100)).await; // a handler
            let [(warned, warning)] = told.warnings()[..] else { panic!("{:?}", told.0) };
            assert!(close_to(warned - since, LIMIT / 5 * 4), "{warned:?}");
            assert!(close_to(warning.0, LIMIT / 5 * 4), "{warning:?}");
            assert_eq!((warning.1, warning.2), (LIMIT, Stall::Handler));
            let [(left, exceeded)] = told.exceeded()[..] else { panic!("{:?}", told.0) };
            assert!(close_to(left - since, LIMIT) && close_to(exceeded.0, LIMIT), "{left:?}");
            assert_eq!(exceeded.2, Stall::Handler);
            // The last records were never finished: they are delivered again, after the loss is known.
            assert!(!read(&mut consumer, 1).await.is_empty());
            assert_eq!(told.count(|event| matches!(event, Event::Lost(_))), 1);
            // The next silence is reported again.
            sleep(LIMIT / 10 * 9).await;
            assert_eq!((told.warnings().len(), told.exceeded().len()), (2, 1));
            consumer.close(seconds(5)).await.unwrap();
            (warned, left)
        }));
    }
    assert!(timelines.windows(2).all(|two| two[0] == two[1]), "{timelines:?}");
}

#[test]
fn m1_a_poll_that_waits_for_records_is_not_slow() {
    virtually(async {
        let cluster = cluster(2).await;
        let told = Told::new();
        let mut consumer = reading(told.by(member(&cluster)), 20).await;
        assert!(consumer.poll(LONG).await.unwrap().is_empty());
        assert_eq!((told.warnings(), told.exceeded()), (vec![], vec![]));
        assert_eq!(told.count(|event| matches!(event, Event::Lost(_))), 0);
    });
}

/// M1: a poll that was called, and has records to return, but is not polled by a runtime.
#[test]
fn m1_a_poll_that_is_woken_and_not_run_counts_as_silence() {
    virtually(async {
        let cluster = cluster(1).await;
        let told = Told::new();
        let mut consumer = reading(told.by(member(&cluster)), 10).await;
        {
            let mut poll = std::pin::pin!(consumer.poll(LONG));
            assert!(timeout(LIMIT * 2, &mut poll).await.is_err(), "there is nothing to read");
            cluster.produce("orders", 0, None, Some(b"more")).unwrap();
            let since = told.1.elapsed();
            sleep(LIMIT + seconds(10)).await; // it is kept, and not polled
            let [(warned, (_, _, Stall::Starved))] = told.warnings()[..] else { panic!("{:?}", told.0) };
            assert!(close_to(warned - since, LIMIT / 5 * 4), "{warned:?}");
            assert!(
                matches!(told.exceeded()[..], [(_, (_, limit, Stall::Starved))] if limit == LIMIT),
                "{:?}",
                told.0
            );
            let records = poll.await.unwrap();
            assert!(records.iter().all(|record| record.offset() <= 10), "after it has joined again");
        }
        assert_eq!(told.count(|event| matches!(event, Event::Lost(_))), 1);
    });
}

/// M3: with the engine on the application's own runtime, a blocked runtime is detected afterwards.
#[test]
fn m3_a_runtime_that_was_blocked_with_its_engine_is_told_from_a_slow_handler() {
    virtually(async {
        let cluster = cluster(1).await;
        let told = Told::new();
        let mut consumer = reading(told.by(member(&cluster)), 10).await;
        tokio::time::advance(LIMIT + seconds(50)).await; // nothing runs meanwhile
        let mut again = consumer.poll(A_MOMENT).await.unwrap().len();
        assert_eq!(told.warnings(), vec![]);
        assert!(
            matches!(told.exceeded()[..], [(_, (_, limit, Stall::Blocked))] if limit == LIMIT),
            "{:?}",
            told.0
        );
        assert_eq!(told.count(|event| matches!(event, Event::ProcessStopped { .. })), 0, "nobody knows");
        again += read(&mut consumer, 10 - again).await.len();
        assert_eq!(again, 10, "it comes back");
    });
}

/// M6: with the engine on the same thread, which such a loop must let run.
#[test]
fn m6_a_loop_of_polls_that_do_not_wait_gets_on() {
    virtually(async {
        let cluster = cluster(2).await;
        let mut consumer = member(&cluster).build().await.unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        let (mut read, mut polls) = (0, 0);
        while read < 20 {
            read += consumer.poll(Duration::ZERO).await.unwrap().len();
            polls += 1;
            assert!(polls < 1_000_000);
        }
    });
}

/// M8: an application that gets nothing but errors takes part in rebalances all the same.
#[test]
fn m8_a_poll_that_returns_only_errors_lets_the_group_rebalance() {
    virtually(async {
        // One batch in each partition, and one per answer: it is the damaged one.
        let cluster = Cluster::builder().in_memory().topic("orders", 4).start().await.unwrap();
        for partition in 0..4 {
            cluster.produce("orders", partition, None, Some(b"value")).unwrap();
        }
        cluster.inject(FaultRule::on(ApiKey::Fetch, Fault::Corrupt(Corrupt::Records)));
        let mut consumer = member(&cluster).property("fetch.max.bytes", "1").build().await.unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        let (mut errors, mut other) = (0, None);
        while errors < 500 {
            match consumer.poll(A_MOMENT).await {
                Ok(records) => assert!(records.is_empty()),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                    errors += 1;
                    let place = error.partition().unwrap().clone();
                    // Seeks at once, so that there is always a next error.
                    match consumer.seek(place, StartAt::Earliest).await {
                        Err(error) if error.kind() != ErrorKind::NotOwned => panic!("{error}"),
                        _ => {}
                    }
                }
            }
            if errors == 100 && other.is_none() {
                assert_eq!(consumer.assignment().len(), 4);
                let mut second = member(&cluster).build().await.unwrap();
                second.subscribe(["orders"]).await.unwrap();
                other = Some((
                    second.handle(),
                    tokio::spawn(async move {
                        loop {
                            drop(second.poll(A_MOMENT).await);
                        }
                    }),
                ));
            }
        }
        let (handle, task) = other.unwrap();
        assert_eq!((consumer.assignment().len(), handle.assignment().len()), (2, 2));
        task.abort();
    });
}

// ---- listeners ---------------------------------------------------------------------------------------------------------

/// Never ends in this call; keeps its argument.
struct Hangs(RebalanceCall, Arc<Mutex<Vec<Rebalance>>>);

impl Hangs {
    fn tell(&self, call: RebalanceCall, rebalance: Rebalance) -> ListenerFuture {
        if call == self.0 && self.1.lock().unwrap().is_empty() {
            self.1.lock().unwrap().push(rebalance);
            return Box::pin(std::future::pending());
        }
        Box::pin(async { Ok(()) })
    }
}

impl Listener for Hangs {
    fn assigned(&self, rebalance: Rebalance) -> ListenerFuture {
        self.tell(RebalanceCall::Assigned, rebalance)
    }
    fn revoked(&self, rebalance: Rebalance) -> ListenerFuture {
        self.tell(RebalanceCall::Revoked, rebalance)
    }
    fn lost(&self, rebalance: Rebalance) -> ListenerFuture {
        self.tell(RebalanceCall::Lost, rebalance)
    }
}

fn offset(partition: &TopicPartition, offset: i64) -> [(TopicPartition, OffsetAndMetadata); 1] {
    [(partition.clone(), OffsetAndMetadata::from(Position::at(offset)))]
}

/// M1, M9: partitions that a listener does not release in time are lost, and the listener cannot use them any more.
#[test]
fn m9_a_revoked_listener_that_never_ends_loses_its_partitions_and_holds_up_nobody() {
    for protocol in ["classic", "consumer"] {
        virtually(async {
            let cluster = cluster(2).await;
            let (told, kept) = (Told::new(), Arc::<Mutex<Vec<Rebalance>>>::default());
            let hangs = Hangs(RebalanceCall::Revoked, kept.clone());
            let builder = |told: &Told| told.by(member(&cluster)).property("group.protocol", protocol);
            let mut consumer = reading(builder(&told).listener(hangs), 20).await;
            let other = Other::joins(builder(&Told::new())).await;
            let failed = loop {
                if let Err(error) = consumer.poll(A_MOMENT).await {
                    break error;
                }
            };
            assert_eq!(failed.kind(), ErrorKind::Timeout, "{failed}");
            assert!(failed.to_string().contains("`revoked`"), "{failed}");
            let rebalance = kept.lock().unwrap()[0].clone();
            let late = Instant::now().into_std() - rebalance.deadline();
            assert!(late < seconds(1), "{protocol}: {late:?}");
            let overdue = told.pick(|event| match event {
                Event::RebalanceOverdue { call, partitions, limit } => {
                    Some((*call, partitions.clone(), *limit))
                }
                _ => None,
            });
            let [(_, (call, partitions, limit))] = &overdue[..] else { panic!("{:?}", told.0) };
            assert_eq!((*call, partitions), (RebalanceCall::Revoked, &rebalance.partitions));
            assert!(*limit <= LIMIT && *limit > LIMIT / 2, "{limit:?}");
            assert_eq!(told.count(|event| matches!(event, Event::Revoked(_))), 0);
            assert_eq!(told.count(|event| matches!(event, Event::Lost(_))), 1, "that is what became of them");
            let commit = rebalance.consumer.commit_offsets(offset(&rebalance.partitions[0], 1)).await;
            assert_eq!(commit.unwrap_err().kind(), ErrorKind::NotOwned, "{protocol}");
            // And the group continues, with both members.
            while (consumer.assignment().len(), other.handle.assignment().len()) != (1, 1) {
                consumer.poll(A_MOMENT).await.unwrap();
            }
            other.stops().await;
            consumer.close(seconds(5)).await.unwrap();
        });
    }
}

/// M1: the other two callbacks delay nothing for longer than a handler may take.
#[test]
fn m9_an_assigned_listener_that_never_ends_holds_up_its_partitions_for_a_time_only() {
    virtually(async {
        let cluster = cluster(2).await;
        let told = Told::new();
        let hangs = Hangs(RebalanceCall::Assigned, Arc::default());
        let mut consumer = told.by(member(&cluster)).listener(hangs).build().await.unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        let failed = loop {
            match consumer.poll(A_MOMENT).await {
                Ok(records) => assert!(records.is_empty()),
                Err(error) => break error,
            }
        };
        assert_eq!(failed.kind(), ErrorKind::Timeout, "{failed}");
        assert_eq!(read(&mut consumer, 20).await.len(), 20);
        assert_eq!(told.exceeded(), vec![], "it polled all the time");
    });
}

#[test]
fn n1_a_listener_that_never_ends_does_not_hold_up_closing() {
    virtually(async {
        let cluster = cluster(2).await;
        let kept = Arc::<Mutex<Vec<Rebalance>>>::default();
        let consumer =
            reading(member(&cluster).listener(Hangs(RebalanceCall::Revoked, kept.clone())), 20).await;
        let began = Instant::now();
        let closed = consumer.close(seconds(5)).await.unwrap_err();
        assert!(began.elapsed() < seconds(6), "{:?}", began.elapsed());
        assert_eq!(closed.kind(), ErrorKind::Timeout, "{closed}");
        let deadline = kept.lock().unwrap()[0].deadline();
        assert_eq!(deadline, (began + seconds(5)).into_std(), "it is told");
    });
}

/// The call, the numbers of owned and paused partitions, and position and lag of those that it concerns.
type Look = (&'static str, usize, usize, Vec<Option<i64>>, Vec<Option<u64>>);

/// The values that a listener reads through its handle.
#[derive(Clone, Default)]
struct Reads(Arc<Mutex<Vec<Look>>>);

impl Reads {
    fn look(&self, what: &'static str, of: Rebalance) -> ListenerFuture {
        let (owned, paused) = (of.consumer.assignment(), of.consumer.paused());
        let positions = of.partitions.iter().map(|partition| of.consumer.position(partition)).collect();
        let lags = of.partitions.iter().map(|partition| of.consumer.lag(partition)).collect();
        self.0.lock().unwrap().push((what, owned.len(), paused.len(), positions, lags));
        Box::pin(async { Ok(()) })
    }
}

impl Listener for Reads {
    fn assigned(&self, of: Rebalance) -> ListenerFuture {
        self.look("assigned", of)
    }
    fn revoked(&self, of: Rebalance) -> ListenerFuture {
        self.look("revoked", of)
    }
}

#[test]
fn m9_a_listener_reads_positions_lag_and_what_is_paused() {
    virtually(async {
        let cluster = cluster(2).await;
        let reads = Reads::default();
        let builder = member(&cluster).listener(reads.clone()).property("max.poll.records", "7");
        let consumer = reading(builder, 14).await;
        let handle = consumer.handle();
        consumer.pause([at("orders", 0)]).unwrap();
        assert_eq!((handle.assignment().len(), handle.paused()), (2, vec![at("orders", 0)]));
        let positions = [0, 1].map(|index| consumer.position(at("orders", index)));
        assert_eq!(
            positions,
            [0, 1].map(|index| handle.position(at("orders", index))),
            "the same from outside"
        );
        let lags = [0, 1].map(|index| consumer.lag(at("orders", index)));
        assert_eq!(lags, [0, 1].map(|index| handle.lag(at("orders", index))));
        assert!(positions.iter().zip(lags).all(|(at, lag)| at.unwrap() + lag.unwrap() as i64 == 10));
        consumer.close(seconds(5)).await.unwrap();
        let seen = reads.0.lock().unwrap();
        assert_eq!(seen[0], ("assigned", 2, 0, vec![None, None], vec![None, None]));
        assert_eq!(seen[1], ("revoked", 0, 0, positions.to_vec(), lags.to_vec()), "until it is released");
        assert!(handle.assignment().is_empty() && handle.position(at("orders", 0)).is_none());
    });
}

// ---- kept partitions ---------------------------------------------------------------------------------------------------

/// E10: partitions that a member keeps in a rebalance stay as they were. A revoked partition is no longer paused, even
/// if it returns, and reading continues from the offset committed at its revocation, which is where it was sought to.
/// Eager rebalances revoke everything. All of it is as in Java.
#[test]
fn e10_a_paused_and_sought_partition_stays_so_if_it_is_kept() {
    let cases = [
        ("partition.assignment.strategy", "cooperative-sticky", true),
        ("group.protocol", "consumer", true),
        ("partition.assignment.strategy", "range", false),
    ];
    for (property, value, keeps) in cases {
        virtually(async {
            let cluster = cluster(4).await;
            let builder = || member(&cluster).property(property, value);
            let mut consumer = reading(builder(), 40).await;
            let all: Vec<_> = (0..4).map(|index| at("orders", index)).collect();
            consumer.poll(A_MOMENT).await.unwrap();
            consumer.commit_finished().await.unwrap();
            consumer.pause(all.clone()).unwrap();
            for place in &all {
                consumer.seek(place.clone(), StartAt::Offset(7.into())).await.unwrap();
            }
            let other = Other::joins(builder()).await;
            while other.handle.assignment().len() != 2 || consumer.assignment().len() != 2 {
                drop(consumer.poll(A_MOMENT).await.unwrap());
            }
            let mut came = Vec::new();
            for _ in 0..20 {
                let records = consumer.poll(A_MOMENT).await.unwrap();
                came.extend(records.iter().map(|record| (record.partition(), record.offset())));
            }
            let owned = consumer.assignment();
            let paused = consumer.paused();
            let positions: Vec<_> = owned.iter().map(|place| consumer.position(place)).collect();
            if keeps {
                assert_eq!(came, [], "{value}");
                assert_eq!(paused, owned, "{value}");
                assert_eq!(positions, [Some(7), Some(7)], "{value}");
                consumer.resume(owned).unwrap();
                let read = read(&mut consumer, 6).await;
                assert!(read.iter().all(|(_, offset)| *offset >= 7), "{value}: {read:?}");
            } else {
                assert_eq!(paused, [] as [TopicPartition; 0], "{value}");
                assert!(came.iter().all(|(_, offset)| *offset >= 7), "{value}: {came:?}");
                assert_eq!(positions, [Some(10), Some(10)], "{value}: read from where it was sought to");
            }
            other.stops().await;
        });
    }
}

// ---- changes as values -------------------------------------------------------------------------------------------------

/// Its short name.
fn name(next: &Next) -> &'static str {
    match next {
        Next::Records(_) => "records",
        Next::Assigned(_) => "assigned",
        Next::Revoking(_) => "revoking",
        Next::Lost(_) => "lost",
        Next::Event(Event::PollIntervalExceeded { .. }) => "exceeded",
        Next::Event(Event::Reset { .. }) => "reset",
        _ => "other",
    }
}

/// The next result other than records and the usual ones.
async fn change(consumer: &mut Consumer) -> Next {
    loop {
        let next = timeout(LONG, consumer.next()).await.expect("something comes").unwrap();
        if !matches!(name(&next), "records" | "reset") {
            return next;
        }
    }
}

#[test]
fn e1_changes_come_as_values_in_order_and_what_is_revoked_can_still_be_committed() {
    for (property, value) in [("partition.assignment.strategy", "range"), ("group.protocol", "consumer")] {
        virtually(async {
            let cluster = cluster(2).await;
            let told = Told::new();
            let manual =
                || member(&cluster).property(property, value).property("enable.auto.commit", "false");
            let mut consumer = told.by(manual()).build().await.unwrap();
            consumer.subscribe(["orders"]).await.unwrap();
            let first = consumer.next().await.unwrap();
            let Next::Assigned(assigned) = &first else { panic!("{first:?}") };
            assert_eq!(assigned.partitions.len(), 2, "before their first record");
            let mut held = Vec::new();
            while held.iter().map(offtake::Records::len).sum::<usize>() < 20 {
                if let Next::Records(records) = consumer.next().await.unwrap() {
                    held.push(records);
                }
            }
            let other = Other::joins(manual()).await;
            let next = change(&mut consumer).await;
            let Next::Revoking(revoking) = next else { panic!("{next:?}") };
            let going = revoking.partitions.clone();
            assert_eq!(consumer.assignment().len(), 2 - going.len(), "nothing more of them comes");
            assert!(going.iter().all(|place| revoking.consumer.position(place) == Some(10)));
            // The group waits. Held records can be finished, and committed.
            sleep(seconds(60)).await;
            assert_eq!(other.handle.assignment().len(), 0);
            for records in held.iter().filter(|records| !records.is_empty()) {
                for part in records.partitions() {
                    consumer.store(part).unwrap();
                }
            }
            consumer.commit_finished().await.unwrap();
            assert_eq!(told.count(|event| matches!(event, Event::Revoked(_))), 0);
            revoking.done();
            assert_eq!(told.count(|event| matches!(event, Event::Revoked(_))), 1);
            let late = consumer.commit_offsets(offset(&going[0], 3)).await.unwrap_err();
            assert_eq!(late.kind(), ErrorKind::NotOwned, "{value}");
            if value == "range" {
                assert!(matches!(change(&mut consumer).await, Next::Assigned(_)));
            } else {
                assert!(timeout(seconds(20), change(&mut consumer)).await.is_err(), "it keeps the other");
            }
            assert_eq!((consumer.assignment().len(), other.handle.assignment().len()), (1, 1));
            let committed = consumer.committed([at("orders", 0), at("orders", 1)]).await.unwrap();
            assert!(committed.len() >= going.len() && committed.values().all(|done| done.offset == 10));
            other.stops().await;
            consumer.close(seconds(5)).await.unwrap();
        });
    }
}

/// D9: a dropped or forgotten value delays nothing.
#[test]
fn d9_a_value_that_is_dropped_or_forgotten_releases_its_partitions() {
    for forgets in [false, true] {
        virtually(async {
            let cluster = cluster(2).await;
            let mut consumer = member(&cluster).build().await.unwrap();
            consumer.subscribe(["orders"]).await.unwrap();
            assert!(matches!(change(&mut consumer).await, Next::Assigned(_)));
            let other = Other::joins(member(&cluster)).await;
            let next = change(&mut consumer).await;
            assert!(matches!(next, Next::Revoking(_)), "{next:?}");
            if forgets {
                std::mem::forget(next);
            } else {
                drop(next); // and is busy otherwise
                sleep(seconds(5)).await;
            }
            assert!(matches!(change(&mut consumer).await, Next::Assigned(_)), "the next call releases it");
            assert_eq!((consumer.assignment().len(), other.handle.assignment().len()), (1, 1));
            other.stops().await;
            consumer.close(seconds(5)).await.unwrap();
        });
    }
}

/// M7: a `next` that is dropped all the time loses neither a record nor a change.
#[test]
fn m7_dropped_futures_of_next_lose_nothing() {
    virtually(async {
        let cluster = cluster(4).await;
        let mut consumer = member(&cluster).property("max.poll.records", "1").build().await.unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        let (mut seen, mut owned, mut dropped) = (Vec::new(), Vec::new(), 0);
        let mut other = None;
        for nth in 0_u64..4000 {
            let patience = Duration::from_micros(nth * 7919 % 3000);
            let Ok(next) = timeout(patience, consumer.next()).await else {
                dropped += 1;
                continue;
            };
            match next.unwrap() {
                Next::Records(records) => {
                    for record in &records {
                        assert!(owned.contains(record.topic_partition()));
                        seen.push((record.partition(), record.offset()));
                    }
                }
                Next::Assigned(change) => {
                    assert!(!change.partitions.iter().any(|place| owned.contains(place)));
                    owned.extend(change.partitions);
                }
                Next::Revoking(gone) | Next::Lost(gone) => {
                    assert!(gone.partitions.iter().all(|place| owned.contains(place)));
                    owned.retain(|place| !gone.partitions.contains(place));
                }
                _ => {}
            }
            if seen.len() == 15 && other.is_none() {
                other = Some(Other::joins(member(&cluster)).await);
            }
        }
        assert!(dropped > 100 && other.is_some(), "{dropped}");
        let unique: std::collections::BTreeSet<_> = seen.iter().collect();
        assert_eq!(unique.len(), seen.len(), "nothing is repeated: it commits before it gives up");
        let mut kept: Vec<_> = consumer.assignment();
        kept.sort();
        owned.sort();
        assert_eq!(kept, owned);
        assert!(owned.len() == 2 && seen.len() >= 20, "{owned:?} {}", seen.len());
    });
}

#[test]
fn m1_an_exceeded_poll_interval_comes_as_a_value_before_what_it_cost() {
    virtually(async {
        let cluster = cluster(1).await;
        let mut consumer = member(&cluster).build().await.unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        assert!(matches!(change(&mut consumer).await, Next::Assigned(_)));
        sleep(LIMIT * 2).await;
        let mut names = Vec::new();
        while names.len() < 3 {
            names.push(name(&change(&mut consumer).await));
        }
        assert_eq!(names, ["exceeded", "lost", "assigned"]);
    });
}
