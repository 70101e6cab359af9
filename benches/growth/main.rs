//! The cost of a consumer with nothing to read, by the number of its partitions. `benches/README.md` explains the table
//! and how to repeat it.
#![allow(
    clippy::disallowed_methods,
    reason = "a bench watches processes from outside: it reads clocks and waits"
)]

#[path = "../rebalance/clock.rs"]
#[allow(dead_code, reason = "shared with the other benches")]
mod clock;
mod cluster;
mod counting;
#[path = "../rebalance/load.rs"]
#[allow(dead_code, reason = "shared with the other benches")]
mod load;
mod reader;

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use serde_json::Value;

use cluster::Cluster;
use load::Load;

const USAGE: &str =
    "growth [--partitions 1,100,1000,10000] [--brokers 1,3] [--seconds 10] [--rate 100] [--kafka-up-to 1000]";
const TOPIC: &str = "growing";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    let done = match arguments.next_if(|first| first == "reader") {
        Some(_) => reader::run(&arguments.collect::<Vec<_>>()),
        None => Settings::read(arguments).and_then(|settings| measure(&settings)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("growth: {message}");
            ExitCode::FAILURE
        }
    }
}

struct Settings {
    partitions: Vec<u32>,
    brokers: Vec<u32>,
    seconds: u32,
    /// Records per second in the busy partition.
    rate: u32,
    /// More partitions than this only in the embedded broker.
    kafka_up_to: u32,
}

impl Settings {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut settings = Self {
            partitions: vec![1, 100, 1000, 10_000],
            brokers: vec![1, 3],
            seconds: 10,
            rate: 100,
            kafka_up_to: 1000,
        };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} wants a value\n{USAGE}"))?;
            let numbers: Result<Vec<u32>, _> = value.split(',').map(str::parse).collect();
            let numbers = numbers.map_err(|error| format!("{name} {value}: {error}\n{USAGE}"))?;
            match (name.as_str(), numbers.as_slice()) {
                ("--partitions", _) => settings.partitions = numbers,
                ("--brokers", _) => settings.brokers = numbers,
                ("--seconds", [one]) => settings.seconds = *one,
                ("--rate", [one]) => settings.rate = *one,
                ("--kafka-up-to", [one]) => settings.kafka_up_to = *one,
                _ => return Err(format!("{name} {value}?\n{USAGE}")),
            }
        }
        Ok(settings)
    }
}

fn measure(settings: &Settings) -> Result<(), String> {
    println!(
        "| partitions | brokers | which | ready ms | idle: CPU ms/s | requests/s | B/s out | B/s in | RSS MiB | busy: CPU ms/s | B/s out | p50 ms | p99 ms |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    for brokers in &settings.brokers {
        for partitions in &settings.partitions {
            let cluster = Cluster::start(*brokers, *partitions, *partitions <= settings.kafka_up_to)?;
            let [ready, idle, busy] = one(settings, &cluster, *partitions)?;
            let number = |of: &Value, name: &str, digits: usize| {
                format!("{:.digits$}", of[name].as_f64().unwrap_or(f64::NAN))
            };
            println!(
                "| {partitions} | {brokers} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                cluster.kind(),
                number(&ready, "ready_ms", 0),
                number(&idle, "cpu_ms", 2),
                number(&idle, "requests", 1),
                number(&idle, "out", 0),
                number(&idle, "in", 0),
                number(&idle, "rss_mib", 1),
                number(&busy, "cpu_ms", 2),
                number(&busy, "out", 0),
                number(&busy, "p50", 2),
                number(&busy, "p99", 2),
            );
        }
    }
    Ok(())
}

/// The reader's reports when it is ready, when it has idled, and when it has read the busy partition.
fn one(settings: &Settings, cluster: &Cluster, partitions: u32) -> Result<[Value; 3], String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let words = [cluster.bootstrap(), TOPIC.to_owned(), partitions.to_string(), settings.seconds.to_string()];
    let mut reader = Command::new(program)
        .arg("reader")
        .args(words)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let stdout = reader.stdout.take().map(BufReader::new).ok_or("no stdout")?;
    let (say, lines) = mpsc::channel();
    std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| say.send(line)));
    let next = |load: Option<&Load>| loop {
        match lines.recv_timeout(Duration::from_secs(1)) {
            Ok(line) => {
                break serde_json::from_str::<Value>(&line).map_err(|error| format!("{line}: {error}"));
            }
            Err(RecvTimeoutError::Disconnected) => break Err("the reader ended early".to_owned()),
            Err(RecvTimeoutError::Timeout) if load.is_some_and(Load::has_ended) => break Ok(Value::Null),
            Err(RecvTimeoutError::Timeout) => {}
        }
    };
    let result = (|| {
        let (ready, idle) = (next(None)?, next(None)?);
        let load = Load::start(cluster.leader_port(), TOPIC, 1, settings.rate);
        let busy = next(Some(&load))?;
        load.stop()?;
        Ok([ready, idle, busy])
    })();
    let _ = reader.kill();
    let _ = reader.wait();
    result
}
