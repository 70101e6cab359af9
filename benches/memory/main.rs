//! What a consumer holds at most, in cases that make others grow. `benches/README.md` says what the table means.
#![allow(
    clippy::disallowed_methods,
    reason = "a bench watches processes from outside: it reads clocks and waits"
)]

use std::{
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use offtake::{Consumer, StartAt, TopicPartition};
use offtake_tests::{JavaTool, Kafka, V4_3_0};
use serde_json::json;

const SMALL: &str = "small";
const LARGE: &str = "large";
const PARTITIONS: i32 = 6;
/// Of 1 KiB, dealt out over the partitions.
const SMALL_RECORDS: u64 = 300_000;
/// Of 12 MB, in one partition.
const LARGE_RECORDS: u64 = 20;
const LARGE_SIZE: usize = 12_000_000;

#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    topic: &'static str,
    budget_mib: usize,
    does: Does,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    /// Assigned, at the end of everything.
    Nothing,
    ReadsAll,
    /// One poll, and then none for three seconds, in which nothing keeps the engine from fetching.
    Stops,
    /// Reads one partition while all others are paused.
    Pauses,
}

const CASES: [Case; 6] = [
    Case { name: "has nothing to read", topic: SMALL, budget_mib: 32, does: Does::Nothing },
    Case { name: "reads all", topic: SMALL, budget_mib: 32, does: Does::ReadsAll },
    Case { name: "reads all, small budget", topic: SMALL, budget_mib: 4, does: Does::ReadsAll },
    Case { name: "stops reading", topic: SMALL, budget_mib: 32, does: Does::Stops },
    Case { name: "five of six paused", topic: SMALL, budget_mib: 32, does: Does::Pauses },
    Case { name: "records of 12 MB", topic: LARGE, budget_mib: 4, does: Does::ReadsAll },
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => measure(),
        ["reader", case, bootstrap] => read(case, bootstrap),
        _ => Err("memory takes no arguments".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("memory: {message}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<(), String> {
    let kafka = Kafka::builder().version(V4_3_0).start();
    let tool = JavaTool::start(&kafka);
    tool.fill(&tool.create_topic(SMALL, PARTITIONS, &[]), PARTITIONS, SMALL_RECORDS, 1024, json!({}));
    let limit = [("max.message.bytes", "13000000")];
    tool.fill(&tool.create_topic(LARGE, 1, &limit), 1, LARGE_RECORDS, LARGE_SIZE, json!({}));
    println!("| a consumer that | budget MiB | peak RSS MiB | records |\n|---|---|---|---|");
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    for (index, case) in CASES.iter().enumerate() {
        let said = Command::new(&program)
            .args(["reader", &index.to_string(), &kafka.bootstrap()])
            .output()
            .map_err(|error| error.to_string())?;
        let line = String::from_utf8_lossy(&said.stdout);
        let Some((peak, records)) = line.trim().split_once(' ') else {
            return Err(format!("{}: {}", case.name, String::from_utf8_lossy(&said.stderr)));
        };
        println!("| {} | {} | {peak} | {records} |", case.name, case.budget_mib);
    }
    Ok(())
}

/// Prints the most memory that the process has had, in MiB, and how many records it read.
fn read(case: &str, bootstrap: &str) -> Result<(), String> {
    let case = case.parse().ok().and_then(|index: usize| CASES.get(index)).ok_or("no such case")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let records = runtime.block_on(run(case, bootstrap)).map_err(|error| error.to_string())?;
    let status = std::fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    let peak: f64 = peak.and_then(|peak| peak.parse().ok()).ok_or("VmHWM is not told here")?;
    println!("{:.1} {records}", peak / 1024.0);
    Ok(())
}

async fn run(case: &Case, bootstrap: &str) -> Result<u64, offtake::Error> {
    let budget = (case.budget_mib << 20).to_string();
    let mut consumer =
        Consumer::builder(bootstrap).property("fetch.buffer.max.bytes", &budget).build().await?;
    let partitions = if case.topic == LARGE { 1 } else { PARTITIONS };
    let all: Vec<_> = (0..partitions).map(|index| TopicPartition::new(case.topic, index)).collect();
    let from = if case.does == Does::Nothing { StartAt::Latest } else { StartAt::Earliest };
    consumer.assign(all.iter().map(|partition| (partition.clone(), from))).await?;
    let mut records = 0;
    match case.does {
        Does::Nothing => records += read_for(&mut consumer, Duration::from_secs(3)).await?,
        Does::ReadsAll => {
            let wanted = if case.topic == LARGE { LARGE_RECORDS } else { SMALL_RECORDS };
            while records < wanted {
                records += consumer.poll(Duration::from_secs(1)).await?.len() as u64;
            }
        }
        Does::Stops => {
            records += consumer.poll(Duration::from_secs(5)).await?.len() as u64;
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        Does::Pauses => {
            records += consumer.poll(Duration::from_secs(5)).await?.len() as u64;
            consumer.pause(all.iter().skip(1).cloned())?;
            records += read_for(&mut consumer, Duration::from_secs(3)).await?;
        }
    }
    Ok(records)
}

async fn read_for(consumer: &mut Consumer, span: Duration) -> Result<u64, offtake::Error> {
    let until = Instant::now() + span;
    let mut records = 0;
    while Instant::now() < until {
        records += consumer.poll(Duration::from_millis(100)).await?.len() as u64;
    }
    Ok(records)
}
