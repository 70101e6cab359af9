//! The peak memory of a consumer, in cases that make other clients grow. `benches/README.md` explains the table.
#![allow(
    clippy::disallowed_methods,
    reason = "a bench watches processes from outside: it reads clocks and waits"
)]

use std::{
    path::PathBuf,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use offtake::{Consumer, StartAt, TopicPartition};
use offtake_tests::{Dice, JavaTool, Kafka, V4_3_0};
use serde_json::json;

const SMALL: &str = "small";
const LARGE: &str = "large";
const PARTITIONS: i32 = 6;
/// Records of 1 KiB, distributed over the partitions.
const SMALL_RECORDS: u64 = 300_000;
/// Records of 12 MB, in one partition.
const LARGE_RECORDS: u64 = 20;
const LARGE_SIZE: usize = 12_000_000;
const MANY: &str = "many";
const MANY_PARTITIONS: i32 = 500;
/// Records of 200 B, distributed over the partitions: 300 KiB each.
const MANY_RECORDS: u64 = 750_000;
const PACKED: &str = "packed";
/// Records of 200 B, distributed over as many partitions, in batches of 100 KB in zstd, two each.
const PACKED_RECORDS: u64 = 500_000;

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
    /// Assigned, at the end of every partition.
    Nothing,
    ReadsAll,
    /// One poll, and then none for three seconds, in which nothing stops the engine from fetching.
    Stops,
    /// Reads one partition while all others are paused.
    Pauses,
    /// Pauses partitions at random times, in the middle of their fetched records, until all are; resumes them, and again.
    PausesAtRandom,
    /// The same beside six that flow, whose records fill the answers: a small part of each answer belongs to paused
    /// partitions.
    PausesBesideOthers,
}

const CASES: [Case; 11] = [
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
    Case {
        name: "pauses 500 at random beside 6 that flow",
        topic: MANY,
        budget_mib: 32,
        answers: None,
        does: Does::PausesBesideOthers,
    },
    Case {
        name: "pauses 500 at random, compressed",
        topic: PACKED,
        budget_mib: 32,
        answers: None,
        does: Does::PausesAtRandom,
    },
];

const USAGE: &str = "memory [--only PART OF A NAME] [--runs 1] [--before PROGRAM]";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["reader", case, bootstrap] => read(case, bootstrap),
        options => Settings::of(options).and_then(|settings| measure(&settings)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("memory: {message}");
            ExitCode::FAILURE
        }
    }
}

struct Settings {
    /// A part of the names of the cases to measure.
    part: String,
    runs: usize,
    /// This bench, built before a change: its readers take turns with ours.
    before: Option<PathBuf>,
}

impl Settings {
    fn of(options: &[&str]) -> Result<Self, String> {
        let mut settings = Self { part: String::new(), runs: 1, before: None };
        for option in options.chunks(2) {
            match option {
                ["--only", part] => settings.part = (*part).to_owned(),
                ["--runs", runs] => settings.runs = runs.parse().map_err(|_| USAGE)?,
                ["--before", program] => settings.before = Some(program.into()),
                _ => return Err(USAGE.to_owned()),
            }
        }
        Ok(settings)
    }
}

fn measure(settings: &Settings) -> Result<(), String> {
    let kafka = Kafka::builder().version(V4_3_0).start();
    let tool = JavaTool::start(&kafka);
    let cases = || CASES.iter().enumerate().filter(|(_, case)| case.name.contains(&settings.part));
    let wanted = |topic: &str| {
        cases()
            .any(|(_, case)| case.topic == topic || (topic == SMALL && case.does == Does::PausesBesideOthers))
    };
    let fill = |topic: &str, partitions: i32, limit: &[(&str, &str)], count: u64, size: usize, options| {
        if wanted(topic) {
            tool.fill(&tool.create_topic(topic, partitions, limit), partitions, count, size, options);
        }
    };
    fill(SMALL, PARTITIONS, &[], SMALL_RECORDS, 1024, json!({}));
    fill(LARGE, 1, &[("max.message.bytes", "13000000")], LARGE_RECORDS, LARGE_SIZE, json!({}));
    fill(MANY, MANY_PARTITIONS, &[], MANY_RECORDS, 200, json!({}));
    let packing = json!({ "codec": "zstd", "batch_size": 100_000 });
    fill(PACKED, MANY_PARTITIONS, &[], PACKED_RECORDS, 200, packing);
    println!("| a consumer that | budget MiB | build | peak RSS MiB | records |\n|---|---|---|---|---|");
    let now = std::env::current_exe().map_err(|error| error.to_string())?;
    let builds = settings.before.iter().map(|program| ("before", program)).chain([("now", &now)]);
    for (index, case) in cases() {
        for (build, program) in (0..settings.runs).flat_map(|_| builds.clone()) {
            let said = Command::new(program)
                .args(["reader", &index.to_string(), &kafka.bootstrap()])
                .output()
                .map_err(|error| error.to_string())?;
            let line = String::from_utf8_lossy(&said.stdout);
            let Some((peak, records)) = line.trim().split_once(' ') else {
                return Err(format!("{}: {}", case.name, String::from_utf8_lossy(&said.stderr)));
            };
            println!("| {} | {} | {build} | {peak} | {records} |", case.name, case.budget_mib);
        }
    }
    Ok(())
}

/// Prints the peak memory of the process, in MiB, and the number of records it read.
fn read(case: &str, bootstrap: &str) -> Result<(), String> {
    let case = case.parse().ok().and_then(|index: usize| CASES.get(index)).ok_or("no such case")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let records = runtime.block_on(run(case, bootstrap)).map_err(|error| error.to_string())?;
    let status = std::fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    let peak: f64 = peak.and_then(|peak| peak.parse().ok()).ok_or("VmHWM is not reported here")?;
    println!("{:.1} {records}", peak / 1024.0);
    Ok(())
}

async fn run(case: &Case, bootstrap: &str) -> Result<u64, offtake::Error> {
    let mut builder = Consumer::builder(bootstrap).property("fetch.buffer.max.bytes", case.budget_mib << 20);
    if let Some(answers) = case.answers {
        builder = builder.property("fetch.max.bytes", answers);
    }
    let of = |topic, partitions| (0..partitions).map(move |index| TopicPartition::new(topic, index));
    let mut all: Vec<_> = match case.topic {
        LARGE => of(LARGE, 1).collect(),
        SMALL => of(SMALL, PARTITIONS).collect(),
        topic => of(topic, MANY_PARTITIONS).collect(),
    };
    if case.does == Does::PausesBesideOthers {
        builder = builder.property("max.poll.records", "50");
        all.extend(of(SMALL, PARTITIONS));
    }
    let mut consumer = builder.build().await?;
    let from = if case.does == Does::Nothing { StartAt::Latest } else { StartAt::Earliest };
    consumer.assign(all.iter().map(|partition| (partition.clone(), from.clone()))).await?;
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
        Does::PausesBesideOthers => records += pause_beside_others(&mut consumer, &all).await?,
        Does::PausesAtRandom => {
            let wanted = if case.topic == PACKED { PACKED_RECORDS } else { MANY_RECORDS };
            records += pause_at_random(&mut consumer, all.len(), wanted).await?;
        }
    }
    Ok(records)
}

/// Runs for ten seconds, or until all is read.
async fn pause_at_random(
    consumer: &mut Consumer,
    partitions: usize,
    wanted: u64,
) -> Result<u64, offtake::Error> {
    let (mut dice, mut records) = (Dice::new(1), 0);
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until && records < wanted {
        let polled = consumer.poll(Duration::from_millis(100)).await?;
        records += polled.len() as u64;
        let some: Vec<TopicPartition> = polled
            .partitions()
            .filter(|_| dice.roll(2) == 0)
            .map(|part| part.topic_partition().clone())
            .collect();
        consumer.pause(some)?;
        let paused = consumer.paused();
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

/// Runs for ten seconds: each of the many is paused in the middle of its fetched records, and some time later read
/// again from its beginning, while six others flow as fast as they can.
async fn pause_beside_others(consumer: &mut Consumer, all: &[TopicPartition]) -> Result<u64, offtake::Error> {
    let many: Vec<_> = all.iter().filter(|place| place.topic.as_str() == MANY).cloned().collect();
    let (mut dice, mut records) = (Dice::new(1), 0);
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until {
        let polled = consumer.poll(Duration::from_millis(100)).await?;
        records += polled.len() as u64;
        let come: Vec<TopicPartition> =
            polled.partitions().map(|part| part.topic_partition().clone()).collect();
        let (of_others, of_many): (Vec<_>, Vec<_>) =
            come.into_iter().partition(|place| place.topic.as_str() == SMALL);
        consumer.pause(of_many)?;
        for place in of_others {
            if consumer.lag(&place) == Some(0) {
                consumer.seek(place, StartAt::Earliest).await?;
            }
        }
        if dice.roll(4) == 0 {
            let again = dice.pick(&many).clone();
            consumer.seek(again.clone(), StartAt::Earliest).await?;
            consumer.resume([again])?;
        }
    }
    Ok(records)
}
