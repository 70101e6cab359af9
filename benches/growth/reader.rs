//! The measured consumer, in a process of its own. It prints three lines of JSON: ready, the cost of idling, and the
//! cost of one busy partition.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use offtake::{Consumer, StartAt, TopicPartition};
use serde_json::{Value, json};

use crate::clock::{Micros, micros};
use crate::counting::{Counting, Counts};

/// The time until sessions exist and the start-up work is over.
const SETTLING: Duration = Duration::from_secs(3);

/// `BOOTSTRAP TOPIC PARTITIONS SECONDS`
pub(crate) fn run(words: &[String]) -> Result<(), String> {
    let [bootstrap, topic, partitions, seconds] = words else {
        return Err("usage: growth reader BOOTSTRAP TOPIC PARTITIONS SECONDS".into());
    };
    let partitions: i32 = partitions.parse().map_err(|error| format!("{partitions}: {error}"))?;
    let seconds: u32 = seconds.parse().map_err(|error| format!("{seconds}: {error}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let reading = read(bootstrap, topic, partitions, Duration::from_secs(seconds.into()));
    runtime.map_err(|error| error.to_string())?.block_on(reading).map_err(|error| error.to_string())
}

async fn read(bootstrap: &str, topic: &str, partitions: i32, window: Duration) -> Result<(), offtake::Error> {
    let began = Instant::now();
    let dial = Counting::default();
    let counts = Arc::clone(&dial.counts);
    let mut consumer = Consumer::builder(bootstrap).dial(dial).build().await?;
    stand_at_end(&mut consumer, topic, partitions).await?;
    println!("{}", json!({ "ready_ms": began.elapsed().as_millis() as u64 }));
    idle(&mut consumer, SETTLING).await?;

    let before = Used::now(&counts);
    idle(&mut consumer, window).await?;
    println!("{}", Used::now(&counts).since(&before));

    while consumer.poll(window).await?.is_empty() {}
    let before = Used::now(&counts);
    let mut late: Vec<Micros> = Vec::new();
    while before.at.elapsed() < window {
        for record in &consumer.poll(Duration::from_secs(1)).await? {
            late.extend(produced(record.value().unwrap_or_default()).map(|at| micros() - at));
        }
    }
    let mut busy = Used::now(&counts).since(&before);
    late.sort_unstable();
    for (name, hundredths) in [("p50", 50), ("p99", 99)] {
        let micros = late.get(late.len().saturating_sub(1) * hundredths / 100).copied().unwrap_or(-1);
        busy[name] = json!(micros as f64 / 1e3);
    }
    println!("{busy}");
    std::process::exit(0) // the cost of closing is not measured
}

/// Waits until every partition has its start offset.
pub(crate) async fn stand_at_end(
    consumer: &mut Consumer,
    topic: &str,
    partitions: i32,
) -> Result<(), offtake::Error> {
    let all: Vec<_> = (0..partitions).map(|each| TopicPartition::new(topic, each)).collect();
    consumer.assign(all.iter().map(|each| (each.clone(), StartAt::Latest))).await?;
    while !all.iter().all(|each| consumer.position(each).is_some()) {
        consumer.poll(Duration::from_millis(10)).await?;
    }
    Ok(())
}

async fn idle(consumer: &mut Consumer, window: Duration) -> Result<(), offtake::Error> {
    let until = Instant::now() + window;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        consumer.poll(left).await?;
    }
    Ok(())
}

/// The third word of a value that the load wrote.
fn produced(value: &[u8]) -> Option<Micros> {
    std::str::from_utf8(value).ok()?.split(' ').nth(2)?.parse().ok()
}

struct Used {
    at: Instant,
    cpu: Duration,
    bytes_in: u64,
    bytes_out: u64,
    writes: u64,
}

impl Used {
    fn now(counts: &Counts) -> Self {
        Self {
            at: Instant::now(),
            cpu: cpu(),
            bytes_in: counts.bytes_in.load(Relaxed),
            bytes_out: counts.bytes_out.load(Relaxed),
            writes: counts.writes.load(Relaxed),
        }
    }

    /// The difference per second.
    fn since(&self, before: &Self) -> Value {
        let seconds = self.at.duration_since(before.at).as_secs_f64();
        let of = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        json!({
            "cpu_ms": self.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e3 / seconds,
            "in": of(self.bytes_in, before.bytes_in),
            "out": of(self.bytes_out, before.bytes_out),
            "requests": of(self.writes, before.writes),
            "rss_mib": rss_mib(),
        })
    }
}

/// Processor time of all threads, in nanoseconds, where `/proc/self/stat` has hundredths of a second.
fn cpu() -> Duration {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let nanos = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

fn rss_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().map_or(f64::NAN, |kib: f64| kib / 1024.0)
}
