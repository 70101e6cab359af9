//! The measured member, in a process of its own.

use std::fs;
use std::io::{BufRead, stdin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use offtake::{Consumer, Event};
use serde_json::json;

use crate::heartbeats::Watching;
use crate::{GROUP, TOPIC};

const HEARTBEAT: &str = "500";
const SESSION: &str = "6000";
/// The time limit for a change, after which measuring stops.
const LONGEST: Duration = Duration::from_secs(90);

/// `BOOTSTRAP PARTITIONS SECONDS`. Prints `ready`, reads a line with the number of partitions that have changed their
/// leader, and prints the cost.
pub(crate) fn run(words: &[String]) -> Result<(), String> {
    let [bootstrap, partitions, seconds] = words else {
        return Err("usage: leaders reader BOOTSTRAP PARTITIONS SECONDS".into());
    };
    let partitions = partitions.parse().map_err(|error| format!("{partitions}: {error}"))?;
    let seconds = seconds.parse().map_err(|error| format!("{seconds}: {error}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let reading = read(bootstrap, partitions, Duration::from_secs(seconds));
    runtime.map_err(|error| error.to_string())?.block_on(reading).map_err(|error| error.to_string())
}

async fn read(bootstrap: &str, partitions: usize, window: Duration) -> Result<(), offtake::Error> {
    let dial = Watching::default();
    let heartbeats = dial.heartbeats.clone();
    let assignments = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&assignments);
    let builder = Consumer::builder(bootstrap)
        .group(GROUP)
        .property("auto.offset.reset", "earliest")
        .property("heartbeat.interval.ms", HEARTBEAT)
        .property("session.timeout.ms", SESSION)
        .events(move |event| {
            if matches!(event, Event::Assigned(_)) {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
    let mut consumer = builder.dial(dial).build().await?;
    consumer.subscribe([TOPIC]).await?;
    loop {
        consumer.poll(Duration::from_millis(100)).await?;
        let known = consumer.assignment().iter().filter(|place| consumer.position(*place).is_some()).count();
        if known == partitions {
            break;
        }
    }
    poll_for(&mut consumer, Duration::from_secs(3)).await?;
    let (since, used) = (Instant::now(), cpu());
    poll_for(&mut consumer, window).await?;
    let idle = (cpu() - used).as_secs_f64() * 1e3 / since.elapsed().as_secs_f64();

    println!("ready");
    let (say, said) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        stdin().lock().read_line(&mut line).ok();
        say.send(line.trim().parse::<usize>().unwrap_or(0))
    });
    // The change has begun before it is reported.
    let (told, used) = (Instant::now(), cpu());
    let mut said = Some(said);
    let (mut read, mut moved, mut again) = (0, None, None);
    while told.elapsed() < LONGEST {
        read += consumer.poll(Duration::from_millis(50)).await?.len();
        if let Some(mut waiting) = said.take() {
            match waiting.try_recv() {
                Ok(number) => moved = Some(number),
                Err(_) => said = Some(waiting),
            }
        }
        if again.is_none() && moved.is_some_and(|moved| read >= moved) {
            again = Some(told.elapsed());
        }
        if again.is_some_and(|again| told.elapsed() > again + window) {
            break;
        }
    }
    let all = told.elapsed().as_secs_f64();
    let change = (cpu() - used).as_secs_f64() * 1e3 - idle * all;
    let begin = heartbeats.last_before(told).unwrap_or(told);
    let line = json!({
        "idle_cpu": idle,
        "change_cpu": change,
        "gap_before": heartbeats.longest_gap(since, told),
        "gap_after": heartbeats.longest_gap(begin, Instant::now()),
        "read_again": again.map(|again| u64::try_from(again.as_millis()).unwrap_or(u64::MAX)),
        "assignments": assignments.load(Ordering::Relaxed),
    });
    println!("{line}");
    std::process::exit(0) // the cost of closing is not measured
}

async fn poll_for(consumer: &mut Consumer, span: Duration) -> Result<(), offtake::Error> {
    let until = Instant::now() + span;
    while Instant::now() < until {
        consumer.poll(Duration::from_millis(100)).await?;
    }
    Ok(())
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
