//! Tests of the wall clock beside the monotonic clock.

use std::time::{Duration, SystemTime};

use offtake_broker::{Cluster, Config, NewRecord};

use crate::support::{member, virtually};

const MINUTE: Duration = Duration::from_secs(60);

/// The monotonic clock advances by 45 minutes, and the wall clock does not, as if it had been set back. In a
/// replay it only advances.
#[test]
fn m4_by_duration_counts_from_what_the_wall_clock_shows_when_the_position_is_reset() {
    for (replays, expected) in [(false, 1), (true, 0)] {
        virtually(async {
            let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
            let at = |minutes: u32| i64::try_from((since - minutes * MINUTE).as_millis()).unwrap();
            let mut config = Config::default();
            config.wall_ms = at(0);
            let cluster =
                Cluster::builder().config(config).in_memory().topic("orders", 1).start().await.unwrap();
            let records = [70, 20].map(|age| NewRecord::new("value").timestamp(at(age)));
            cluster.append("orders", 0, &records).unwrap();
            let builder = member(&cluster, "c").property("auto.offset.reset", "by_duration:PT1H");
            let builder = if replays { builder.replay(7, at(0)) } else { builder };
            let mut consumer = builder.build().await.unwrap();
            tokio::time::sleep(45 * MINUTE).await;
            consumer.assign([("orders", 0)]).await.unwrap();
            let records = consumer.poll(Duration::from_secs(5)).await.unwrap();
            assert_eq!(records.len(), expected, "replays: {replays}");
            consumer.close(MINUTE).await.unwrap();
        });
    }
}
