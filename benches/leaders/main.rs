//! The cost to a member of 10,000 partitions when a broker shuts down in order: every partition that it led has another
//! leader, which its answers name (KIP-951). `benches/README.md` explains the table.
#![allow(
    clippy::disallowed_methods,
    reason = "a bench watches processes from outside: it reads clocks and waits"
)]

mod cluster;
mod heartbeats;
mod reader;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use serde_json::Value;

use cluster::Cluster;

const USAGE: &str = "leaders [--partitions 1000,10000] [--runs 3] [--seconds 10] [--before PROGRAM]";
const TOPIC: &str = "led";
const GROUP: &str = "group";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    let done = match arguments.next_if(|first| first == "reader") {
        Some(_) => reader::run(&arguments.collect::<Vec<_>>()),
        None => Settings::read(arguments).and_then(|settings| measure(&settings)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("leaders: {message}");
            ExitCode::FAILURE
        }
    }
}

struct Settings {
    partitions: Vec<u32>,
    runs: u32,
    seconds: u32,
    /// This bench, built before a change.
    before: Option<PathBuf>,
}

impl Settings {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut settings = Self { partitions: vec![1000, 10_000], runs: 3, seconds: 10, before: None };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} wants a value\n{USAGE}"))?;
            if name == "--before" {
                settings.before = Some(value.into());
                continue;
            }
            let numbers: Result<Vec<u32>, _> = value.split(',').map(str::parse).collect();
            let numbers = numbers.map_err(|error| format!("{name} {value}: {error}\n{USAGE}"))?;
            match (name.as_str(), numbers.as_slice()) {
                ("--partitions", _) => settings.partitions = numbers,
                ("--runs", [one]) => settings.runs = *one,
                ("--seconds", [one]) => settings.seconds = *one,
                _ => return Err(format!("{name} {value}?\n{USAGE}")),
            }
        }
        Ok(settings)
    }
}

fn measure(settings: &Settings) -> Result<(), String> {
    println!(
        "| partitions | run | | CPU ms/s before | CPU ms in all, of the change | heartbeats: longest gap before, ms | after, ms | all read again, ms | assignments |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for partitions in &settings.partitions {
        for run in 0..settings.runs {
            let mut programs = vec![("offtake", std::env::current_exe().map_err(|error| error.to_string())?)];
            programs.extend(settings.before.clone().map(|before| ("before", before)));
            for (name, program) in programs {
                let result = one(settings, *partitions, program)?;
                let number = |name: &str| result[name].as_f64().unwrap_or(f64::NAN);
                println!(
                    "| {partitions} | {run} | {name} | {:.1} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} |",
                    number("idle_cpu"),
                    number("change_cpu"),
                    number("gap_before"),
                    number("gap_after"),
                    number("read_again"),
                    number("assignments"),
                );
            }
        }
    }
    Ok(())
}

fn one(settings: &Settings, partitions: u32, program: PathBuf) -> Result<Value, String> {
    let cluster = Cluster::start(i32::try_from(partitions).map_err(|error| error.to_string())?)?;
    let mut reader = Command::new(program)
        .args(["reader", &cluster.bootstrap(), &partitions.to_string(), &settings.seconds.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let lines = reader.stdout.take().map(BufReader::new).ok_or("no stdout")?;
    let mut lines = lines.lines().map_while(Result::ok);
    let result = (|| {
        let ready = lines.next().ok_or("the reader ended before it was ready")?;
        let moved = cluster.broker_goes_down()?;
        let mut stdin = reader.stdin.take().ok_or("no stdin")?;
        writeln!(stdin, "{moved}").map_err(|error| error.to_string())?;
        let line = lines.next().ok_or_else(|| format!("the reader ended after {ready}"))?;
        serde_json::from_str(&line).map_err(|error| format!("{line}: {error}"))
    })();
    std::thread::sleep(Duration::from_millis(50)); // it exits by itself
    reader.kill().ok();
    reader.wait().ok();
    result
}
