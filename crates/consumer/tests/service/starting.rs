//! How long it takes to begin.

use std::time::Duration;

use offtake_broker::{Fault, FaultRule};
use tokio::time::Instant;

use crate::support::{cluster, member, read, virtually};

/// Where partitions begin is known of one a moment before another: a committed offset is validated, and one that nobody has committed yet is
/// asked for. With nothing new in the first, the second waited for `fetch.max.wait.ms`, 500 ms by default, as in Java.
#[test]
fn what_begins_a_moment_later_does_not_wait_until_the_first_has_something_new() {
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
