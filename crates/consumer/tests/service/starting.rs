//! Tests of how long starting takes.

use std::time::Duration;

use offtake::{Listener, ListenerFuture, Rebalance};
use offtake_broker::{Fault, FaultRule};
use tokio::time::{Instant, sleep};

use crate::support::{cluster, member, read, virtually};

/// The start of one partition is known a moment before that of another: a committed offset is validated, and
/// a missing one is looked up. With no new record in the first, the second used to wait for
/// `fetch.max.wait.ms`, 500 ms by default, as in Java.
#[test]
fn a_partition_that_starts_a_moment_later_does_not_wait_for_a_long_poll() {
    virtually(async {
        let cluster = cluster(2).await;
        let mut before = member(&cluster, "before").build().await.unwrap();
        before.assign([("orders", 0)]).await.unwrap();
        read(&mut before, 3).await;
        before.close(Duration::from_secs(5)).await.unwrap();
        cluster.inject(FaultRule::any(Fault::Delay(Duration::from_millis(10))));
        let mut consumer = member(&cluster, "after").build().await.unwrap();
        let began = Instant::now();
        consumer.subscribe(["orders"]).await.unwrap();
        assert_eq!(consumer.poll(Duration::from_secs(5)).await.unwrap().len(), 3);
        assert!(began.elapsed() < Duration::from_millis(300), "it took {:?}", began.elapsed());
        consumer.close(Duration::from_secs(5)).await.unwrap();
    });
}

/// A listener that takes its time, and then seeks to the start position.
struct FromTwo;

impl Listener for FromTwo {
    fn assigned(&self, rebalance: Rebalance) -> ListenerFuture {
        Box::pin(async move {
            sleep(Duration::from_secs(2)).await;
            for partition in rebalance.partitions {
                rebalance.consumer.seek(partition, 2).await?;
            }
            Ok(())
        })
    }
}

/// The start of a partition is looked up while the listener still runs: the result is ignored once the
/// listener has sought.
#[test]
fn m9_a_listener_that_seeks_is_before_whatever_auto_offset_reset_says() {
    for reset in ["none", "latest", "earliest"] {
        virtually(async {
            let cluster = cluster(2).await;
            let builder = member(&cluster, "c").property("auto.offset.reset", reset).listener(FromTwo);
            let mut consumer = builder.build().await.unwrap();
            consumer.subscribe(["orders"]).await.unwrap();
            let mut offsets = Vec::new();
            while offsets.len() < 2 {
                let records = consumer.poll(Duration::from_secs(5)).await.unwrap();
                assert!(!records.is_empty(), "{reset}: {offsets:?}");
                offsets.extend(records.iter().map(|record| record.offset()));
            }
            assert_eq!(offsets, [2, 2], "{reset}");
            consumer.close(Duration::from_secs(5)).await.unwrap();
        });
    }
}
