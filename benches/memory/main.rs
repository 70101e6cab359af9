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
use offtake_tests::{Dice, JavaTool, Kafka, V4_3_0};
use serde_json::json;

const SMALL: &str = "small";
const LARGE: &str = "large";
const PARTITIONS: i32 = 6;
/// Of 1 KiB, dealt out over the partitions.
const SMALL_RECORDS: u64 = 300_000;
/// Of 12 MB, in one partition.
const LARGE_RECORDS: u64 = 20;
const LARGE_SIZE: usize = 12_000_000;
const MANY: &str = "many";
const MANY_PARTITIONS: i32 = 500;
/// Of 200 B, dealt out over the partitions: 300 KiB each.
const MANY_RECORDS: u64 = 750_000;

#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    topic: &'static str,
    budget_mib: usize,
    /// `fetch.max.bytes`, where it is not the default.
    answers: Option<u32>,
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
    /// Pauses partitions at random times, in the middle of what has come of them, until all are; resumes them, and again.
    PausesAtRandom,
}

const CASES: [Case; 9] = [
    Case { name: "has nothing to read", topic: SMALL, budget_mib: 32, answers: None, does: Does::Nothing },
    Case { name: "reads all", topic: SMALL, budget_mib: 32, answers: None, does: Does::ReadsAll },
    Case {
        name: "reads all, small budget",
        topic: SMALL,
        budget_mib: 4,
        answers: None,
        does: Does::ReadsAll,
    },
    Case { name: "stops reading", topic: SMALL, budget_mib: 32, answers: None, does: Does::Stops },
    Case { name: "five of six paused", topic: SMALL, budget_mib: 32, answers: None, does: Does::Pauses },
    Case { name: "records of 12 MB", topic: LARGE, budget_mib: 4, answers: None, does: Does::ReadsAll },
    Case {
        name: "pauses 500 at random, large answers",
        topic: MANY,
        budget_mib: 32,
        answers: None,
        does: Does::PausesAtRandom,
    },
    Case {
        name: "pauses 500 at random, answers of 1 MiB",
        topic: MANY,
        budget_mib: 32,
        answers: Some(1 << 20),
        does: Does::PausesAtRandom,
    },
    Case {
        name: "pauses 500 at random, answers of 64 KiB",
        topic: MANY,
        budget_mib: 32,
        answers: Some(64 << 10),
        does: Does::PausesAtRandom,
    },
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => measure(""),
        ["--only", part] => measure(part),
        ["reader", case, bootstrap] => read(case, bootstrap),
        _ => Err("memory [--only PART OF A NAME]".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("memory: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Those cases whose names have that part.
fn measure(part: &str) -> Result<(), String> {
    let kafka = Kafka::builder().version(V4_3_0).start();
    let tool = JavaTool::start(&kafka);
    let wanted = |topic: &str| CASES.iter().any(|case| case.topic == topic && case.name.contains(part));
    let fill = |topic: &str, partitions: i32, limit: &[(&str, &str)], count: u64, size: usize| {
        if wanted(topic) {
            tool.fill(&tool.create_topic(topic, partitions, limit), partitions, count, size, json!({}));
        }
    };
    fill(SMALL, PARTITIONS, &[], SMALL_RECORDS, 1024);
    fill(LARGE, 1, &[("max.message.bytes", "13000000")], LARGE_RECORDS, LARGE_SIZE);
    fill(MANY, MANY_PARTITIONS, &[], MANY_RECORDS, 200);
    println!("| a consumer that | budget MiB | peak RSS MiB | records |\n|---|---|---|---|");
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    for (index, case) in CASES.iter().enumerate().filter(|(_, case)| case.name.contains(part)) {
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
    let mut builder = Consumer::builder(bootstrap).property("fetch.buffer.max.bytes", &budget);
    if let Some(answers) = case.answers {
        builder = builder.property("fetch.max.bytes", &answers.to_string());
    }
    let mut consumer = builder.build().await?;
    let partitions = match case.topic {
        LARGE => 1,
        MANY => MANY_PARTITIONS,
        _ => PARTITIONS,
    };
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
        Does::PausesAtRandom => records += pause_at_random(&mut consumer, all.len()).await?,
    }
    Ok(records)
}

/// For ten seconds, or until all is read.
async fn pause_at_random(consumer: &mut Consumer, partitions: usize) -> Result<u64, offtake::Error> {
    let (mut dice, mut records) = (Dice::new(1), 0);
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until && records < MANY_RECORDS {
        let polled = consumer.poll(Duration::from_millis(100)).await?;
        records += polled.len() as u64;
        let some: Vec<TopicPartition> = polled
            .partitions()
            .filter(|_| dice.roll(2) == 0)
            .map(|part| part.topic_partition().clone())
            .collect();
        consumer.pause(some)?;
        let paused: Vec<TopicPartition> = consumer.paused().cloned().collect();
        if paused.len() == partitions {
            consumer.resume(paused)?;
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
