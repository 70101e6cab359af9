//! Tests of how long closing takes, and of unsubscribing.

use std::time::Duration;

use offtake::{ErrorKind, Listener, ListenerFuture, MembershipState, Rebalance};
use offtake_broker::{ApiKey, Cluster, Fault, FaultRule};
use tokio::time::{Instant, timeout};

use crate::support::{A_MOMENT, Log, cluster, member, poll_for, read, virtually};

const LIMIT: Duration = Duration::from_secs(10);

/// The caller of the query gets `Closed`; the closing application does not need its answer.
#[test]
fn n6_closing_does_not_wait_for_a_question_that_no_broker_answers() {
    virtually(async {
        for fault in [Fault::Drop, Fault::Delay(Duration::from_secs(8))] {
            let cluster = cluster(2).await;
            let mut consumer = member(&cluster, "c").build().await.unwrap();
            consumer.subscribe(["orders"]).await.unwrap();
            read(&mut consumer, 6).await;
            // The fetch session is open, and has no more records.
            poll_for(&mut consumer, Duration::from_secs(2)).await;
            cluster.inject(FaultRule::on(ApiKey::ListOffsets, fault));
            let handle = consumer.handle();
            let asked = tokio::spawn(async move { handle.end_offsets([("orders", 0)]).await });
            poll_for(&mut consumer, A_MOMENT).await;
            let began = Instant::now();
            consumer.close(LIMIT).await.unwrap();
            assert!(began.elapsed() < Duration::from_millis(500), "it took {:?}", began.elapsed());
            assert_eq!(asked.await.unwrap().unwrap_err().kind(), offtake::ErrorKind::Closed);
            assert_eq!(committed(&cluster).await, 6, "it has committed");
        }
    });
}

/// Closing does not wait for a broker that does not confirm the end of the session; the group is left even
/// so.
#[test]
fn n6_closing_waits_a_second_for_the_end_of_a_fetch_session() {
    virtually(async {
        let cluster = cluster(1).await;
        let mut consumer = member(&cluster, "c").build().await.unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        read(&mut consumer, 3).await;
        poll_for(&mut consumer, Duration::from_secs(2)).await;
        cluster.inject(FaultRule::on(ApiKey::Fetch, Fault::Drop));
        let began = Instant::now();
        consumer.close(LIMIT).await.unwrap();
        assert!(began.elapsed() < Duration::from_millis(1_500), "it took {:?}", began.elapsed());
        // The next member is assigned everything at once.
        let mut next =
            member(&cluster, "next").property("session.timeout.ms", "45000").build().await.unwrap();
        cluster.with(|model, _| model.withdraw_all());
        cluster.produce("orders", 0, None, Some(b"more")).unwrap();
        let began = Instant::now();
        next.subscribe(["orders"]).await.unwrap();
        read(&mut next, 1).await;
        assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
        next.close(LIMIT).await.unwrap();
    });
}

/// The sum of the committed offsets of `orders`.
async fn committed(cluster: &Cluster) -> i64 {
    cluster.with(|model, _| model.withdraw_all());
    let reader = member(cluster, "reader").build().await.unwrap();
    let committed = reader.handle().committed([("orders", 0), ("orders", 1)]).await.unwrap();
    reader.close(LIMIT).await.unwrap();
    committed.values().map(|committed| committed.offset).sum()
}

/// Waits in `assigned` for the consumer to close, which waits for this listener.
struct ClosesItself;

impl Listener for ClosesItself {
    fn assigned(&self, rebalance: Rebalance) -> ListenerFuture {
        Box::pin(async move { Ok(rebalance.consumer.close(Duration::from_secs(2)).await?) })
    }
}

#[test]
fn n1_a_close_that_a_listener_waits_for_names_no_limit_that_nobody_set() {
    virtually(async {
        let (log, _guard) = Log::start();
        let cluster = cluster(1).await;
        let mut consumer = member(&cluster, "a").listener(ClosesItself).build().await.unwrap();
        consumer.subscribe("orders").await.unwrap();
        let error = loop {
            if let Err(error) = consumer.poll(A_MOMENT).await {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::Timeout, "of the close: {error}");
        assert!(consumer.poll(A_MOMENT).await.is_err());
        assert_eq!(log.with("limit=0ns"), [""; 0]);
        assert_eq!(log.with("no time was left for the handling").len(), 1, "{:?}", log.lines());
    });
}

#[test]
fn an_unsubscribe_that_is_dropped_in_the_middle_goes_on_in_later_polls_and_is_shown() {
    virtually(async {
        let (log, _guard) = Log::start();
        let cluster = cluster(2).await;
        let mut consumer = member(&cluster, "c").build().await.unwrap();
        consumer.subscribe("orders").await.unwrap();
        read(&mut consumer, 6).await;
        assert!(timeout(Duration::ZERO, consumer.unsubscribe()).await.is_err(), "its commit takes a while");
        assert!(consumer.subscription().is_empty());
        for _ in 0..10 {
            assert!(consumer.poll(A_MOMENT).await.unwrap().is_empty());
        }
        assert_eq!(consumer.assignment(), []);
        assert_eq!(consumer.handle().health().membership, MembershipState::NotSubscribed);
        assert_eq!(log.with("nothing is subscribed to").len(), 1, "{:#?}", log.lines());
        // What was finished is committed: it comes no second time.
        consumer.subscribe("orders").await.unwrap();
        assert_eq!(consumer.subscription().len(), 1);
        cluster.produce("orders", 0, None, Some(b"more")).unwrap();
        let records = loop {
            let records = consumer.poll(A_MOMENT).await.unwrap();
            if !records.is_empty() {
                break records;
            }
        };
        assert_eq!(records.len(), 1);
    });
}

/// Without a coordinator nothing can be committed. A search whose answer is lost costs a second or two, not the whole of
/// `request.timeout.ms`, which is longer than most applications give `close`.
#[test]
fn c3_a_close_commits_although_the_answers_to_its_commit_and_to_the_search_after_it_are_lost() {
    for brokers in [1, 3] {
        virtually(async move {
            let builder = Cluster::builder().in_memory().brokers(brokers).topic("orders", 2);
            let cluster = builder.start().await.unwrap();
            for partition in 0..2 {
                cluster.produce("orders", partition, None, Some(b"one")).unwrap();
            }
            let builder = member(&cluster, "c").property("auto.commit.interval.ms", "3600000");
            let mut consumer = builder.build().await.unwrap();
            consumer.subscribe(["orders"]).await.unwrap();
            read(&mut consumer, 2).await;
            poll_for(&mut consumer, A_MOMENT).await;
            cluster.inject(FaultRule::on(ApiKey::OffsetCommit, Fault::Reset).once());
            cluster.inject(FaultRule::on(ApiKey::FindCoordinator, Fault::Drop).once());
            let began = Instant::now();
            consumer.close(LIMIT).await.unwrap();
            assert!(began.elapsed() < Duration::from_secs(4), "it took {:?}", began.elapsed());
            assert_eq!(committed(&cluster).await, 2, "it has committed");
        });
    }
}
