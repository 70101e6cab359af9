//! A consumer controlled from other tasks: a handle's calls have the same results as the consumer's.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use crate::support::{A_WHILE, cluster, member, orders, read, reading};
use offtake::{
    Consumer, ConsumerStream, Error, ErrorKind, GroupMetadata, Handle, Listener, ListenerFuture, Rebalance,
    Records,
};

/// The calls of a listener.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<&'static str>>>);

impl Heard {
    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn hears(&self, what: &'static str) -> ListenerFuture {
        self.0.lock().unwrap().push(what);
        Box::pin(async { Ok(()) })
    }
}

impl Listener for Heard {
    fn assigned(&self, _: Rebalance) -> ListenerFuture {
        self.hears("assigned")
    }

    fn revoked(&self, _: Rebalance) -> ListenerFuture {
        self.hears("revoked")
    }

    fn lost(&self, _: Rebalance) -> ListenerFuture {
        self.hears("lost")
    }
}

async fn committed(handle: &Handle) -> Option<i64> {
    let committed = handle.committed(("orders", 0)).await.unwrap();
    committed.get(&orders(0)).map(|committed| committed.offset)
}

async fn records(consumer: &mut Consumer) -> Records {
    let records = consumer.poll(A_WHILE).await.unwrap();
    assert!(!records.is_empty());
    records
}

#[tokio::test]
async fn an_offset_that_was_never_delivered_is_not_committed_by_handle_or_consumer() {
    let cluster = cluster().await;
    let mut consumer = reading(&cluster).await;
    let handle = consumer.handle();
    for offset in [11, 5_000_000] {
        let refused = handle.commit_offsets([(orders(0), offset)]).await.unwrap_err();
        assert_eq!((refused.kind(), refused.partition()), (ErrorKind::Misuse, Some(&orders(0))), "{refused}");
        let by_consumer = consumer.commit_offsets([(orders(0), offset)]).await.unwrap_err();
        assert_eq!(refused.to_string(), by_consumer.to_string());
    }
    assert_eq!(committed(&handle).await, None);
    handle.commit_offsets([(orders(0), 10)]).await.unwrap();
    assert_eq!(committed(&handle).await, Some(10));
    // A seek there makes it permitted.
    handle.seek(orders(0), 20).await.unwrap();
    handle.commit_offsets([(orders(0), 20)]).await.unwrap();
    assert_eq!(committed(&handle).await, Some(20));
    assert_eq!(handle.commit_offsets([(orders(0), 21)]).await.unwrap_err().kind(), ErrorKind::Misuse);
    let elsewhere = handle.commit_offsets([(("returns", 0), 1)]).await.unwrap_err();
    assert_eq!(elsewhere.kind(), ErrorKind::NotOwned);
    consumer.close(A_WHILE).await.unwrap();
}

#[tokio::test]
async fn records_are_committed_by_a_task_that_has_only_a_handle() {
    let cluster = cluster().await;
    let mut consumer = member(&cluster).property("max.poll.records", "1").build().await.unwrap();
    consumer.subscribe("orders").await.unwrap();
    let first = records(&mut consumer).await;
    let (at, handle) = (first.partitions().next().unwrap().topic_partition().clone(), consumer.handle());
    let task = tokio::spawn({
        let (handle, first) = (handle.clone(), first.clone());
        async move { handle.commit(&first).await }
    });
    task.await.unwrap().unwrap();
    assert_eq!(handle.committed(&at).await.unwrap()[&at].offset, 1);

    // Records of a partition that was given up since are refused, and nothing is sent.
    let stale = first;
    consumer.unsubscribe().await.unwrap();
    consumer.subscribe("orders").await.unwrap();
    read(&mut consumer, 1).await;
    let refused = handle.commit(&stale).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotOwned, "{refused}");
    consumer.close(A_WHILE).await.unwrap();
    assert_eq!(handle.commit(&stale).await.unwrap_err().kind(), ErrorKind::Closed);

    let mut by_each = member(&cluster).finish_each().build().await.unwrap();
    by_each.subscribe("orders").await.unwrap();
    let one = records(&mut by_each).await;
    assert_eq!(by_each.handle().commit(&one).await.unwrap_err().kind(), ErrorKind::Misuse);
    by_each.close(A_WHILE).await.unwrap();
}

/// Polls until it is closed.
async fn service(mut consumer: Consumer) -> (usize, Error) {
    let mut count = 0;
    loop {
        match consumer.poll(A_WHILE).await {
            Ok(records) => count += records.len(),
            Err(error) => {
                consumer.close(A_WHILE).await.unwrap();
                return (count, error);
            }
        }
    }
}

#[tokio::test]
async fn a_handle_closes_what_polls_and_everything_that_closing_does_is_done() {
    let cluster = cluster().await;
    let heard = Heard::default();
    let mut consumer = member(&cluster)
        .listener(Arc::new(heard.clone()))
        .property("auto.commit.interval.ms", "3600000")
        .build()
        .await
        .unwrap();
    consumer.subscribe("orders").await.unwrap();
    read(&mut consumer, 20).await;
    let handle = consumer.handle();
    assert!(!handle.is_closed());
    let task = tokio::spawn(service(consumer));
    handle.close(A_WHILE).await.unwrap();
    let (count, error) = task.await.unwrap();
    assert_eq!((count, error.kind()), (0, ErrorKind::Closed));
    assert_eq!(error.to_string(), "the consumer is closed");
    assert_eq!(heard.take(), ["assigned", "revoked"]);
    assert!(handle.is_closed());
    handle.close(A_WHILE).await.unwrap();
    assert_eq!(handle.wake().unwrap_err().kind(), ErrorKind::Closed);

    // The consumer has committed and left: the next one starts at once, after its offsets.
    let mut next = member(&cluster).build().await.unwrap();
    next.subscribe("orders").await.unwrap();
    cluster.produce("orders", 0, None, Some(b"10")).unwrap();
    let began = Instant::now();
    let first = records(&mut next).await;
    assert_eq!(first.iter().map(|record| record.offset()).collect::<Vec<_>>(), [10]);
    assert!(began.elapsed() < Duration::from_secs(10), "the session of the first would last for 45 s");
    next.close(A_WHILE).await.unwrap();
}

#[tokio::test]
async fn a_consumer_that_assigns_by_hand_is_closed_by_a_handle_too() {
    let cluster = cluster().await;
    let mut consumer = member(&cluster).build().await.unwrap();
    consumer.assign([("orders", 0, 0)]).await.unwrap();
    read(&mut consumer, 10).await;
    let handle = consumer.handle();
    let task = tokio::spawn(service(consumer));
    handle.close(A_WHILE).await.unwrap();
    assert_eq!(task.await.unwrap().1.kind(), ErrorKind::Closed);
    let reader = member(&cluster).build().await.unwrap();
    assert_eq!(committed(&reader.handle()).await, Some(10));
    reader.close(A_WHILE).await.unwrap();
}

#[tokio::test]
async fn a_handle_closes_what_nobody_polls_when_its_time_is_up() {
    let cluster = cluster().await;
    let heard = Heard::default();
    let mut consumer = member(&cluster).listener(heard.clone()).build().await.unwrap();
    consumer.subscribe("orders").await.unwrap();
    read(&mut consumer, 20).await;
    let handle = consumer.handle();
    let patient = handle.clone();
    let patient = tokio::spawn(async move { patient.close(Duration::MAX).await });
    let late = handle.close(Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Timeout, "{late}");
    let began = Instant::now();
    while !handle.is_closed() {
        assert!(began.elapsed() < A_WHILE);
        tokio::task::yield_now().await;
    }
    patient.await.unwrap().unwrap(); // it is closed, although by another call
    assert_eq!(handle.wake().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(heard.take(), ["assigned"], "the listener belongs to `poll`");
    assert_eq!(consumer.poll(A_WHILE).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(heard.take(), ["lost"], "the group was left before: others may have the partitions");
    consumer.close(A_WHILE).await.unwrap();
    assert!(handle.is_closed());
}

#[tokio::test]
async fn a_consumer_by_hand_has_no_listener_to_tell_though_a_handle_could_not_wait() {
    let cluster = cluster().await;
    let heard = Heard::default();
    let mut consumer = member(&cluster).listener(heard.clone()).build().await.unwrap();
    consumer.assign([("orders", 0)]).await.unwrap();
    let handle = consumer.handle();
    assert_eq!(handle.close(Duration::from_millis(50)).await.unwrap_err().kind(), ErrorKind::Timeout);
    let began = Instant::now();
    while !handle.is_closed() {
        assert!(began.elapsed() < A_WHILE);
        tokio::task::yield_now().await;
    }
    assert_eq!(consumer.poll(A_WHILE).await.unwrap_err().kind(), ErrorKind::Closed);
    assert!(heard.take().is_empty());
}

#[tokio::test]
async fn a_consumer_that_is_closed_or_dropped_is_so_for_its_handles() {
    let cluster = cluster().await;
    let consumer = reading(&cluster).await;
    let handle = consumer.handle();
    drop(consumer);
    assert!(handle.is_closed());
    handle.close(A_WHILE).await.unwrap();
    let consumer = reading(&cluster).await;
    let handle = consumer.handle();
    assert!(!handle.is_closed());
    consumer.close(A_WHILE).await.unwrap();
    assert!(handle.is_closed());
}

#[tokio::test]
async fn a_consumer_that_is_being_closed_begins_nothing() {
    let cluster = cluster().await;
    let mut consumer = reading(&cluster).await;
    let handle = consumer.handle();
    let mut closing = Box::pin(handle.close(A_WHILE));
    let is_pending = poll_fn(|cx| std::task::Poll::Ready(closing.as_mut().poll(cx).is_pending())).await;
    assert!(is_pending, "nobody polls");
    async fn begins(consumer: &mut Consumer) {
        let refused = [
            consumer.subscribe("returns").await.unwrap_err(),
            consumer.subscribe_patterns(["r.*"]).await.unwrap_err(),
            consumer.assign(("returns", 0)).await.unwrap_err(),
        ];
        assert!(refused.iter().all(|error| error.kind() == ErrorKind::Closed), "{refused:?}");
    }
    begins(&mut consumer).await;
    assert_eq!(consumer.poll(A_WHILE).await.unwrap_err().kind(), ErrorKind::Closed);
    closing.await.unwrap();
    begins(&mut consumer).await;
    assert_eq!(consumer.next().await.unwrap_err().kind(), ErrorKind::Closed);
}

async fn next(stream: &mut ConsumerStream) -> Option<Result<Records, Error>> {
    use futures_core::Stream;
    poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx)).await
}

/// A function can return this only for a stream that borrows nothing.
fn values(consumer: Consumer) -> impl futures_core::Stream<Item = Result<Records, Error>> + Send + 'static {
    consumer.into_stream()
}

#[tokio::test]
async fn a_stream_owns_its_consumer_and_ends_when_a_handle_closes_it() {
    let cluster = cluster().await;
    let consumer = member(&cluster).build().await.unwrap();
    let mut stream = consumer.into_stream();
    stream.consumer().subscribe("orders").await.unwrap();
    let mut count = 0;
    while count < 20 {
        let records = next(&mut stream).await.unwrap().unwrap();
        count += records.len();
        stream.consumer().commit(&records).await.unwrap();
    }
    let mut consumer = stream.into_consumer();
    assert_eq!(consumer.position(("orders", 0)), Some(10));
    assert!(consumer.poll(Duration::ZERO).await.unwrap().is_empty());

    let handle = consumer.handle();
    let mut stream = consumer.into_stream();
    let task = tokio::spawn(async move {
        let mut ends = Vec::new();
        while let Some(item) = next(&mut stream).await {
            ends.push(item.map(|records| records.len()));
        }
        ends
    });
    handle.close(A_WHILE).await.unwrap();
    let ends = task.await.unwrap();
    assert!(ends.is_empty(), "it just ends: {ends:?}");
    drop(values(member(&cluster).build().await.unwrap()));
}

#[tokio::test]
async fn a_producer_is_told_as_whom_the_group_knows_a_consumer() {
    let cluster = cluster().await;
    let mut consumer = member(&cluster).property("group.instance.id", "one").build().await.unwrap();
    let outside = consumer.group_metadata().await.unwrap();
    assert_eq!(outside, GroupMetadata::new("guess"), "not subscribed, so as whoever assigns by hand");
    consumer.subscribe("orders").await.unwrap();
    let early = consumer.group_metadata().await.unwrap_err();
    assert_eq!(early.kind(), ErrorKind::NotOwned, "{early}");
    read(&mut consumer, 20).await;
    let member = consumer.group_metadata().await.unwrap();
    assert_eq!((member.group_id.as_str(), member.generation_id), ("guess", 1));
    assert_eq!(member.group_instance_id.as_deref(), Some("one"));
    assert!(!member.member_id.is_empty());
    assert_eq!(consumer.handle().group_metadata().await.unwrap(), member);
    let written = serde_json::to_string(&member).unwrap();
    assert_eq!(serde_json::from_str::<GroupMetadata>(&written).unwrap(), member);

    // After a rebalance the generation is another.
    consumer.enforce_rebalance().await.unwrap();
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < A_WHILE);
        consumer.poll(Duration::from_millis(1)).await.unwrap();
        match consumer.group_metadata().await {
            Ok(again) if again.generation_id == 2 => break assert_eq!(again.member_id, member.member_id),
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotOwned, "{error}"),
        }
    }
    consumer.unsubscribe().await.unwrap();
    let refused = consumer.enforce_rebalance().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Misuse, "{refused}");
    consumer.close(A_WHILE).await.unwrap();

    let alone = Consumer::builder(cluster.bootstrap()).build().await.unwrap();
    assert_eq!(alone.group_metadata().await.unwrap_err().kind(), ErrorKind::Misuse);
    alone.close(A_WHILE).await.unwrap();
}

#[tokio::test]
async fn an_application_asks_for_a_rebalance_and_a_coordinator_that_decides_alone_is_not_asked() {
    let cluster = cluster().await;
    let heard = Heard::default();
    let mut consumer = member(&cluster).listener(heard.clone()).build().await.unwrap();
    consumer.subscribe("orders").await.unwrap();
    read(&mut consumer, 20).await;
    assert_eq!(heard.take(), ["assigned"]);
    consumer.handle().enforce_rebalance().await.unwrap();
    let began = Instant::now();
    let mut all = Vec::new();
    while all.len() < 2 {
        assert!(began.elapsed() < A_WHILE, "{all:?}");
        consumer.poll(Duration::from_millis(1)).await.unwrap();
        all.extend(heard.take());
    }
    assert_eq!(all, ["revoked", "assigned"], "by Kafka's default list of assignors it is eager");
    consumer.close(A_WHILE).await.unwrap();

    let mut modern = member(&cluster).property("group.protocol", "consumer").build().await.unwrap();
    modern.subscribe("orders").await.unwrap();
    let refused = modern.enforce_rebalance().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Misuse, "{refused}");
    modern.close(A_WHILE).await.unwrap();
}
