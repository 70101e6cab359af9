//! Common uses of a call: twice, while another call waits, from a listener, for one partition and for ten thousand. On
//! the cluster in a box, in virtual time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use offtake::{
    Consumer, ErrorKind, Event, Listener, ListenerFuture, OffsetAndMetadata, Position, Rebalance, StartAt,
    TopicPartition,
};
use offtake_broker::Cluster;
use tokio::time::{Instant, sleep};

use super::all;
use crate::library::at;
use crate::patience::{member, virtually};

const LONG: Duration = Duration::from_secs(3600);
const A_SECOND: Duration = Duration::from_secs(1);

/// `orders` with this many partitions and records in each.
async fn cluster(partitions: i32, each: usize) -> Cluster {
    let cluster = Cluster::builder().in_memory().topic("orders", partitions).start().await.unwrap();
    for partition in 0..partitions {
        for _ in 0..each {
            cluster.produce("orders", partition, None, Some(b"v")).unwrap();
        }
    }
    cluster
}

async fn read(consumer: &mut Consumer, count: usize) -> Vec<TopicPartition> {
    let mut read = Vec::new();
    while read.len() < count {
        let records = consumer.poll(LONG).await.unwrap();
        read.extend(records.iter().map(|record| record.topic_partition().clone()));
    }
    read
}

fn offset(place: &TopicPartition, offset: i64) -> (TopicPartition, OffsetAndMetadata) {
    (place.clone(), OffsetAndMetadata::from(Position::at(offset)))
}

/// SEAM3, SEAM8: a waiting poll reacts to a handle's calls meanwhile.
#[test]
fn seam3_seam8_a_poll_that_waits_wakes_for_what_a_handle_resumes_or_seeks() {
    virtually(async {
        let cluster = cluster(2, 10).await;
        let mut consumer = member(&cluster).build().await.unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        read(&mut consumer, 20).await;
        let handle = consumer.handle();
        let said = Arc::new(Mutex::new(Vec::new()));
        let (says, place) = (Arc::clone(&said), at("orders", 0));
        let other = tokio::spawn(async move {
            sleep(A_SECOND).await;
            handle.pause([place.clone()]).unwrap();
            handle.seek(place.clone(), StartAt::Offset(3.into())).await.unwrap();
            says.lock().unwrap().push((handle.position(&place), handle.paused().len()));
            sleep(A_SECOND).await;
            handle.resume([place.clone()]).unwrap();
            sleep(10 * A_SECOND).await;
            handle.seek(place.clone(), StartAt::Offset(8.into())).await.unwrap();
            says.lock().unwrap().push((handle.position(&place), handle.paused().len()));
        });
        let began = Instant::now();
        let records = consumer.poll(LONG).await.unwrap();
        assert_eq!(
            records.iter().map(|record| record.offset()).collect::<Vec<_>>(),
            (3..10).collect::<Vec<_>>()
        );
        assert!(began.elapsed() >= 2 * A_SECOND, "not while it is paused");
        assert!(began.elapsed() < 4 * A_SECOND, "as soon as it is resumed: {:?}", began.elapsed());
        let records = consumer.poll(LONG).await.unwrap();
        assert_eq!(records.iter().map(|record| record.offset()).collect::<Vec<_>>(), [8, 9]);
        assert!(began.elapsed() < 14 * A_SECOND, "{:?}", began.elapsed());
        other.await.unwrap();
        assert_eq!(*said.lock().unwrap(), [(Some(3), 1), (Some(8), 0)]);
        consumer.close(A_SECOND).await.unwrap();
    });
}

/// The listener's method, the call, and the error of its refusal.
type Said = (&'static str, &'static str, Option<ErrorKind>);

/// Calls everything that a handle has, and notes the results.
#[derive(Clone, Default)]
struct CallsAll(Arc<Mutex<Vec<Said>>>);

impl CallsAll {
    fn call(&self, what: &'static str, of: Rebalance) -> ListenerFuture {
        let said = Arc::clone(&self.0);
        Box::pin(async move {
            let (handle, place) = (of.consumer, of.partitions[0].clone());
            let note = |call: &'static str, result: offtake::Result<()>| {
                said.lock().unwrap().push((what, call, result.err().map(|error| error.kind())));
            };
            note("pause", handle.pause([place.clone()]));
            note("resume", handle.resume([place.clone()]));
            note("committed", handle.committed([place.clone()]).await.map(drop));
            note("commit", handle.commit_offsets([offset(&place, 0)]).await);
            note("wake", handle.wake());
            if what == "assigned" {
                note("seek", handle.seek(place.clone(), StartAt::Offset(1.into())).await);
                assert_eq!(handle.position(&place), Some(1));
            }
            let _ = (handle.position(&place), handle.lag(&place), handle.assignment(), handle.paused());
            Ok(())
        })
    }
}

impl Listener for CallsAll {
    fn assigned(&self, of: Rebalance) -> ListenerFuture {
        self.call("assigned", of)
    }
    fn revoked(&self, of: Rebalance) -> ListenerFuture {
        self.call("revoked", of)
    }
}

/// SEAM4: a listener may call anything. Reading begins where it sought; a partition being revoked is no longer paused.
#[test]
fn seam4_everything_may_be_called_from_a_listener() {
    virtually(async {
        let cluster = cluster(1, 10).await;
        let calls = CallsAll::default();
        let mut consumer = member(&cluster).listener(calls.clone()).build().await.unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        let mut offsets = Vec::new();
        while offsets.len() < 9 {
            let records = consumer.poll(A_SECOND).await.unwrap();
            offsets.extend(records.iter().map(|record| record.offset()));
        }
        assert_eq!(offsets, (1..10).collect::<Vec<_>>());
        consumer.close(5 * A_SECOND).await.unwrap();
        let said = calls.0.lock().unwrap().clone();
        let refused: Vec<_> = said.iter().filter(|(_, _, error)| error.is_some()).collect();
        assert!(
            refused.iter().all(|(what, call, error)| {
                (*what, *error) == ("revoked", Some(ErrorKind::NotOwned))
                    && ["pause", "resume"].contains(call)
            }),
            "{refused:?}"
        );
        assert_eq!(said.iter().filter(|(what, ..)| *what == "revoked").count(), 5, "{said:?}");
    });
}

/// Fails at every call.
struct Fails;

impl Listener for Fails {
    fn assigned(&self, _: Rebalance) -> ListenerFuture {
        Box::pin(async { Err("no room for them".into()) })
    }
    fn revoked(&self, _: Rebalance) -> ListenerFuture {
        Box::pin(async { Err("they are missed".into()) })
    }
}

/// D9: a listener's error is returned by the call that ran it, once, and the rebalance continues.
#[test]
fn d9_a_listener_error_is_returned_once_and_the_rebalance_goes_on() {
    virtually(async {
        let cluster = cluster(2, 10).await;
        let mut consumer = member(&cluster).listener(Fails).build().await.unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        let error = consumer.poll(LONG).await.unwrap_err();
        assert!(error.to_string().contains("no room for them"), "{error}");
        assert_eq!(read(&mut consumer, 20).await.len(), 20, "once; and they are ours");
        assert_eq!(consumer.assignment().len(), 2);
        let error = consumer.unsubscribe().await.unwrap_err();
        assert!(error.to_string().contains("they are missed"), "{error}");
        assert_eq!(consumer.assignment().len(), 0);
        consumer.subscribe(["orders"]).await.unwrap();
        let error = consumer.poll(LONG).await.unwrap_err();
        assert!(error.to_string().contains("no room for them"), "{error}");
        let error = consumer.close(5 * A_SECOND).await.unwrap_err();
        assert!(error.to_string().contains("they are missed"), "{error}");
    });
}

/// Each call once for all partitions.
#[test]
fn seam3_seam13_ten_thousand_partitions_are_paused_resumed_looked_at_and_committed_at_once() {
    const MANY: i32 = 10_000;
    virtually(async {
        let cluster = cluster(MANY, 0).await;
        let builder = member(&cluster).property("max.poll.records", "20000");
        let mut consumer = builder.build().await.unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        let handle = consumer.handle();
        while consumer.lags().into_values().filter(|lag| *lag == Some(0)).count() < MANY as usize {
            assert!(consumer.poll(A_SECOND).await.unwrap().is_empty());
        }
        let places = all("orders", MANY);
        consumer.pause(places.clone()).unwrap();
        assert_eq!((consumer.paused().len(), handle.paused().len()), (MANY as usize, MANY as usize));
        for place in &places {
            cluster.produce("orders", place.partition, None, Some(b"v")).unwrap();
        }
        assert!(consumer.poll(10 * A_SECOND).await.unwrap().is_empty(), "all are paused");
        handle.resume(places.clone()).unwrap();
        assert_eq!((consumer.paused().len(), handle.paused().len()), (0, 0));
        let read = read(&mut consumer, MANY as usize).await;
        assert_eq!(read.len(), MANY as usize);
        assert!(consumer.lags().into_values().all(|lag| lag == Some(0)));
        consumer.commit_finished().await.unwrap();
        consumer.commit_offsets(places.iter().map(|place| offset(place, 1))).await.unwrap();
        handle.commit_offsets(places.iter().map(|place| offset(place, 1))).await.unwrap();
        let committed = consumer.committed(places).await.unwrap();
        assert_eq!(committed.values().filter(|done| done.offset == 1).count(), MANY as usize);
        consumer.close(60 * A_SECOND).await.unwrap();
    });
}

/// Subscribed, unsubscribed, assigned, twice each, with records to read every time.
#[test]
fn seam5_subscribing_and_assigning_again_and_again_reads_everything_each_time() {
    virtually(async {
        let cluster = cluster(3, 10).await;
        let builder = member(&cluster).property("enable.auto.commit", "false");
        let mut consumer = builder.build().await.unwrap();
        for round in 0..3 {
            consumer.subscribe(["orders"]).await.unwrap();
            consumer.subscribe(["orders"]).await.unwrap();
            assert_eq!(read(&mut consumer, 30).await.len(), 30, "round {round}");
            consumer.pause(all("orders", 3)).unwrap();
            consumer.unsubscribe().await.unwrap();
            consumer.unsubscribe().await.unwrap();
            assert_eq!((consumer.assignment().len(), consumer.paused().len()), (0, 0));
            let places = || all("orders", 3).into_iter().map(|place| (place, StartAt::Earliest));
            consumer.assign(places()).await.unwrap();
            assert_eq!(read(&mut consumer, 30).await.len(), 30, "round {round}, by hand");
            consumer.unsubscribe().await.unwrap();
        }
        consumer.close(A_SECOND).await.unwrap();
    });
}

/// A7: each broker in turn moves to another address, and its old one is dead.
#[test]
fn a7_brokers_that_move_to_other_addresses_one_by_one_are_found() {
    virtually(async {
        let cluster = Cluster::builder().in_memory().brokers(3).topic("orders", 6).start().await.unwrap();
        let mut consumer = member(&cluster).build().await.unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        let brokers: Vec<(i32, String, u16)> = cluster.with(|model, _| {
            model.brokers().map(|(id, host, port, _)| (id, host.to_owned(), port)).collect()
        });
        let mut produced = 0;
        for (id, host, port) in brokers {
            cluster.with(|model, now| model.readdress(now, id, &host, port + 1000));
            for partition in 0..6 {
                cluster.produce("orders", partition, None, Some(b"v")).unwrap();
                produced += 1;
            }
            let began = Instant::now();
            read(&mut consumer, 6).await;
            assert!(began.elapsed() < Duration::from_secs(60), "broker {id}: {:?}", began.elapsed());
        }
        assert_eq!(consumer.lags().into_values().flatten().sum::<u64>(), 0);
        consumer.commit_finished().await.unwrap();
        let committed = consumer.committed(all("orders", 6)).await.unwrap();
        assert_eq!(committed.values().map(|done| done.offset).sum::<i64>(), produced);
        consumer.close(5 * A_SECOND).await.unwrap();
    });
}

/// SEAM1: replacing an assignment by hand revokes the omitted partitions, after their finished records are committed.
#[test]
fn seam1_finished_records_are_committed_when_assign_drops_their_partition() {
    virtually(async {
        let cluster = cluster(2, 10).await;
        let builder = member(&cluster).property("auto.commit.interval.ms", "3600000");
        let mut consumer = builder.build().await.unwrap();
        consumer.assign(all("orders", 2)).await.unwrap();
        read(&mut consumer, 20).await;
        assert!(consumer.poll(A_SECOND).await.unwrap().is_empty()); // so that all is finished
        consumer.assign([at("orders", 1)]).await.unwrap();
        consumer.poll(A_SECOND).await.unwrap();
        let committed = consumer.committed(all("orders", 2)).await.unwrap();
        assert_eq!(committed.get(&at("orders", 0)).map(|done| done.offset), Some(10), "{committed:?}");
        consumer.close(5 * A_SECOND).await.unwrap();
    });
}

/// SEAM7: whatever was subscribed to before, lag is known once there was time for an answer.
#[test]
fn seam7_lag_is_known_after_a_subscription_that_flaps() {
    for protocol in ["classic", "consumer"] {
        virtually(async {
            let cluster = cluster(4, 10).await;
            cluster.create_topic("others", 4).unwrap();
            let mut consumer = member(&cluster).property("group.protocol", protocol).build().await.unwrap();
            for nth in 0_u64..60 {
                consumer.subscribe(if nth % 2 == 0 { ["orders"] } else { ["others"] }).await.unwrap();
                drop(consumer.poll(Duration::from_millis(nth * 37 % 200)).await.unwrap());
                if nth % 3 == 0 {
                    consumer.unsubscribe().await.unwrap();
                }
            }
            consumer.subscribe(["orders", "others"]).await.unwrap();
            let began = Instant::now();
            while consumer.lags().into_values().filter(|lag| *lag == Some(0)).count() < 8 {
                drop(consumer.poll(A_SECOND).await.unwrap());
                let lags = consumer.lags();
                assert!(began.elapsed() < 60 * A_SECOND, "{protocol}: {lags:?}");
            }
            consumer.close(5 * A_SECOND).await.unwrap();
        });
    }
}

/// As in Java: finished records are committed, without a long wait.
#[test]
fn n1_closing_without_any_time_commits_and_leaves() {
    virtually(async {
        let cluster = cluster(2, 10).await;
        let places = [at("orders", 0), at("orders", 1)];
        for protocol in ["classic", "consumer", "by hand"] {
            let of_group = if protocol == "by hand" { "classic" } else { protocol };
            let member =
                || member(&cluster).property("group.protocol", of_group).property("group.id", protocol);
            let mut consumer = member().build().await.unwrap();
            match protocol {
                "by hand" => consumer.assign(places.clone()).await.unwrap(),
                _ => consumer.subscribe(["orders"]).await.unwrap(),
            }
            read(&mut consumer, 20).await;
            consumer.close(Duration::ZERO).await.unwrap();
            let mut next = member().build().await.unwrap();
            let committed = next.committed(places.clone()).await.unwrap();
            let offsets: Vec<_> = committed.values().map(|it| it.offset).collect();
            assert_eq!(offsets, [10, 10], "{protocol}");
            let began = Instant::now();
            next.subscribe(["orders"]).await.unwrap();
            while next.assignment().len() < 2 {
                drop(next.poll(A_SECOND).await.unwrap());
            }
            assert!(began.elapsed() < 5 * A_SECOND, "{protocol}: the group was left");
            next.close(Duration::ZERO).await.unwrap();
        }
    });
}

#[test]
fn h9_an_assignment_begins_at_no_negative_offset() {
    virtually(async {
        let cluster = cluster(1, 10).await;
        let mut consumer = member(&cluster).build().await.unwrap();
        let wrong = consumer.assign([(at("orders", 0), StartAt::Offset(Position::at(-3)))]).await;
        assert_eq!(wrong.unwrap_err().kind(), ErrorKind::Misuse);
        assert_eq!(consumer.assignment().len(), 0, "nothing is assigned then");
        consumer.assign([at("orders", 0)]).await.unwrap();
        read(&mut consumer, 10).await;
        consumer.close(A_SECOND).await.unwrap();
    });
}

/// The most frequent mistake of a beginner.
#[test]
fn seam14_a_topic_that_does_not_exist_is_told_once_and_read_when_it_comes() {
    for by_hand in [false, true] {
        virtually(async {
            let cluster = Cluster::builder().in_memory().start().await.unwrap();
            let told = Arc::new(Mutex::new(Vec::new()));
            let sink = Arc::clone(&told);
            let on_event = move |event| {
                if let Event::Error(error) = event {
                    sink.lock().unwrap().push(error.kind());
                }
            };
            let builder = member(&cluster).property("auto.offset.reset", "earliest").events(on_event);
            let mut consumer = builder.build().await.unwrap();
            match by_hand {
                true => consumer.assign([at("orders", 0)]).await.unwrap(),
                false => consumer.subscribe(["orders"]).await.unwrap(),
            }
            assert!(consumer.poll(30 * A_SECOND).await.unwrap().is_empty());
            assert_eq!(*told.lock().unwrap(), [ErrorKind::UnknownTopic], "by hand: {by_hand}");
            cluster.create_topic("orders", 1).unwrap();
            cluster.produce("orders", 0, None, Some(b"v")).unwrap();
            read(&mut consumer, 1).await;
            consumer.close(A_SECOND).await.unwrap();
            assert_eq!(told.lock().unwrap().len(), 1);
        });
    }
}
