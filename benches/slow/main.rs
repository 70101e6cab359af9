//! An application that is slow between polls and commits after each, on Offtake and on Java's consumer beside each
//! other. `benches/README.md` explains the table and how to repeat it.
#![allow(
    clippy::disallowed_methods,
    reason = "a bench watches processes from outside: it reads clocks and waits"
)]

mod reader;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use offtake_tests::{JavaTool, Kafka, V4_3_0, unique};
use serde_json::Value;

const USAGE: &str = "slow [--runs 3] [--seconds 10] [--work 20] [--before PROGRAM]";
const PATIENCE: Duration = Duration::from_secs(30);

/// Partitions and records per second.
const CASES: [(i32, u64); 2] = [(12, 1000), (100, 200)];

struct Settings {
    runs: u32,
    seconds: u64,
    /// Milliseconds of work after each poll.
    work: u64,
    /// This bench, built before a change.
    before: Option<PathBuf>,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    let done = match arguments.next_if(|first| first == "reader") {
        Some(_) => reader::run(&arguments.collect::<Vec<_>>()),
        None => read_settings(arguments).and_then(|settings| measure(&settings)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("slow: {message}");
            ExitCode::FAILURE
        }
    }
}

fn read_settings(mut arguments: impl Iterator<Item = String>) -> Result<Settings, String> {
    let mut settings = Settings { runs: 3, seconds: 10, work: 20, before: None };
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} wants a value\n{USAGE}"))?;
        let number = || value.parse::<u64>().map_err(|error| format!("{name} {value}: {error}\n{USAGE}"));
        match name.as_str() {
            "--runs" => settings.runs = u32::try_from(number()?).unwrap_or(u32::MAX),
            "--seconds" => settings.seconds = number()?.max(2),
            "--work" => settings.work = number()?,
            "--before" => settings.before = Some(value.into()),
            _ => return Err(format!("{name} is not known\n{USAGE}")),
        }
    }
    Ok(settings)
}

fn measure(settings: &Settings) -> Result<(), String> {
    let kafka = Kafka::builder().version(V4_3_0).start();
    let tool = JavaTool::start(&kafka);
    println!(
        "| partitions × records/s | run | | read/s | behind at the end | at worst | its lag says | polls/s | records a poll | polls of several partitions | commits/s | CPU ms/s |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    for (partitions, rate) in CASES {
        for run in 0..settings.runs {
            one(settings, &kafka, &tool, partitions, rate, run)?;
        }
    }
    Ok(())
}

/// All systems read the same records, each as a group of its own.
fn one(
    settings: &Settings,
    kafka: &Kafka,
    tool: &JavaTool,
    partitions: i32,
    rate: u64,
    run: u32,
) -> Result<(), String> {
    let topic = tool.create_topic(&unique("slow"), partitions, &[]);
    let (bootstrap, work) = (kafka.bootstrap(), settings.work.to_string());
    let ours = |program: Option<PathBuf>| {
        let mut command = Command::new(program.unwrap_or_else(|| PathBuf::from("slow")));
        command.args(["reader", &bootstrap, &unique("group"), &topic, &work]);
        command
    };
    let mut java = V4_3_0.java();
    java.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "Tool", &bootstrap, "slow"]);
    java.args([format!("group={}", unique("group")), format!("topic={topic}"), format!("work={work}")]);
    java.arg("seconds=3600");
    let mut readers = vec![Reader::start("offtake", ours(std::env::current_exe().ok()))?];
    if settings.before.is_some() {
        readers.push(Reader::start("before", ours(settings.before.clone()))?);
    }
    readers.push(Reader::start("java", java)?);
    for reader in &readers {
        reader.rows.recv_timeout(PATIENCE).map_err(|_| format!("{} does not begin", reader.name))?;
    }
    // Started and settled: nothing has been read yet.
    let began = Instant::now();
    let before: Vec<Value> = readers.iter().map(|reader| reader.last().unwrap_or_default()).collect();
    let (records, _) = tool.trickle(&topic, partitions, rate, settings.seconds);
    let took = began.elapsed().as_secs_f64();
    for (reader, before) in readers.iter().zip(before) {
        let rows: Vec<Value> = reader.rows.try_iter().collect();
        let Some(last) = rows.last() else { return Err(format!("{} says nothing", reader.name)) };
        let of = |row: &Value, name: &str| row[name].as_f64().unwrap_or_default();
        let worst = rows.iter().map(|row| of(row, "behind")).fold(0.0, f64::max);
        let grown = |name: &str| of(last, name) - of(&before, name);
        let seconds = of(last, "seconds").max(1.0) - of(&before, "seconds");
        let seconds = if seconds > 0.0 { seconds } else { took };
        println!(
            "| {partitions} × {rate} | {run} | {} | {:.0} | {:.0} | {worst:.0} | {:.0} | {:.1} | {:.1} | {:.0} % | {:.1} | {:.0} |",
            reader.name,
            grown("records") / seconds,
            of(last, "behind"),
            of(last, "lag"),
            grown("polls") / seconds,
            grown("records") / grown("polls").max(1.0),
            grown("mixed") / grown("polls").max(1.0) * 100.0,
            grown("commits") / seconds,
            grown("cpu_ms") / seconds,
        );
    }
    if records == 0 { Err("nothing was produced".to_owned()) } else { Ok(()) }
}

/// A process that prints its progress each second. Dropping it kills it.
struct Reader {
    name: &'static str,
    child: Child,
    rows: Receiver<Value>,
}

impl Reader {
    fn start(name: &'static str, mut command: Command) -> Result<Self, String> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{name} does not start: {error}"))?;
        let stdout = child.stdout.take().map(BufReader::new).ok_or("no stdout")?;
        let (say, rows) = mpsc::channel();
        std::thread::spawn(move || {
            let values =
                stdout.lines().map_while(Result::ok).filter_map(|line| serde_json::from_str(&line).ok());
            values.map(|value| say.send(value)).take_while(Result::is_ok).count()
        });
        Ok(Self { name, child, rows })
    }

    fn last(&self) -> Option<Value> {
        self.rows.try_iter().last()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
