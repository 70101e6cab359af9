//! Our loop, as in the README, in a process of its own; `tests/java/Slow.java` is Java's.

use std::fs;
use std::time::{Duration, Instant};

use offtake::{Consumer, Error};
use serde_json::json;

/// `BOOTSTRAP GROUP TOPIC WORK`. Prints the same as `Slow.java` each second.
pub(crate) fn run(words: &[String]) -> Result<(), String> {
    let [bootstrap, group, topic, work] = words else {
        return Err("usage: slow reader BOOTSTRAP GROUP TOPIC WORK".into());
    };
    let work = work.parse().map(Duration::from_millis).map_err(|error| format!("{work}: {error}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let reading = read(bootstrap, group, topic, work);
    runtime.map_err(|error| error.to_string())?.block_on(reading).map_err(|error| error.to_string())
}

async fn read(bootstrap: &str, group: &str, topic: &str, work: Duration) -> Result<(), Error> {
    let builder = Consumer::builder(bootstrap).group(group).property("auto.offset.reset", "earliest");
    let mut consumer = builder.build().await?;
    consumer.subscribe([topic]).await?;
    while consumer.assignment().is_empty() {
        consumer.poll(Duration::from_millis(1)).await?;
    }
    let (began, used) = (Instant::now(), cpu());
    let (mut records, mut polls, mut mixed, mut commits, mut seconds) = (0, 0, 0, 0, 0);
    loop {
        let polled = consumer.poll(Duration::from_millis(500)).await?;
        if !polled.is_empty() {
            records += polled.len();
            polls += 1;
            mixed += usize::from(polled.partitions().len() > 1);
            tokio::time::sleep(work).await; // a row in a database
            consumer.commit(&polled).await?;
            commits += 1;
        }
        if began.elapsed() >= Duration::from_secs(seconds + 1) {
            seconds += 1;
            let used = cpu().saturating_sub(used);
            let lag: u64 = consumer.lags().into_values().flatten().sum();
            let owned = consumer.assignment();
            let position: i64 = owned.iter().filter_map(|place| consumer.position(place)).sum();
            let end: i64 = consumer.end_offsets(owned).await?.into_values().sum();
            println!(
                "{}",
                json!({
                    "seconds": seconds, "records": records, "polls": polls, "mixed": mixed, "commits": commits,
                    "behind": end - position, "lag": lag, "cpu_ms": u64::try_from(used.as_millis()).unwrap_or(u64::MAX),
                })
            );
        }
    }
}

/// Processor time of all threads.
fn cpu() -> Duration {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let nanos = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}
