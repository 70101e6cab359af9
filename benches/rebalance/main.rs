//! The figures of a rebalance: how long records stop flowing when a member joins or leaves, for Offtake and for others,
//! beside one another on one real Kafka. `benches/README.md` explains the columns and how to repeat them.
#![allow(
    clippy::disallowed_methods,
    reason = "a bench watches processes from outside: it reads clocks and waits"
)]

mod broker;
mod clock;
mod frames;
#[allow(dead_code, reason = "shared with the other benches")]
mod load;
mod measure;
mod member;
mod run;
mod settings;
mod system;
mod table;
mod watch;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use offtake_tests::JavaTool;

use frames::Frames;
use run::{Beside, Run, Scene};
use settings::{Settings, USAGE};
use system::{Protocol, System};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    let done = if arguments.next_if(|first| first == "member").is_some() {
        member(&arguments.collect::<Vec<_>>())
    } else {
        Settings::read(arguments)
            .map_err(|error| format!("{error}\n{USAGE}"))
            .and_then(|settings| measure(&settings))
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rebalance: {error}");
            ExitCode::FAILURE
        }
    }
}

fn member(words: &[String]) -> Result<(), String> {
    let [bootstrap, group, topic, client, protocol] = words else {
        return Err("usage: rebalance member BOOTSTRAP GROUP TOPIC CLIENT PROTOCOL".into());
    };
    let protocol = settings::named(protocol, &Protocol::ALL, Protocol::name)?;
    let [bootstrap, group, topic, client] = [bootstrap, group, topic, client].map(String::clone);
    let Some(protocol) = protocol.first().copied() else { return Ok(()) };
    if std::env::var_os("RUST_LOG").is_some() {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(false)
            .with_writer(std::io::stderr)
            .init();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let run = member::run(member::Arguments { bootstrap, group, topic, client, protocol });
    runtime.map_err(|error| error.to_string())?.block_on(run).map_err(|error| error.to_string())
}

fn measure(settings: &Settings) -> Result<(), String> {
    if let Some(folder) = &settings.logs {
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let mut pairs = Vec::new();
    for protocol in &settings.protocols {
        for system in &settings.systems {
            match system.obstacle(*protocol, settings) {
                Some(why) => println!("{system} is not measured with {protocol}: {why}"),
                None => pairs.push((*protocol, *system)),
            }
        }
    }
    let builder = broker::as_shipped();
    let watched = settings.wire || settings.idle > 0;
    let kafka = if watched { builder.proxied().start() } else { builder.start() };
    let tool = JavaTool::start(&kafka);
    let frames = watched.then(|| Frames::watch(kafka.proxy(1)));
    let scene = Scene { settings, kafka: &kafka, tool: &tool, frames: frames.as_ref() };
    if settings.idle > 0 {
        for (protocol, system) in pairs {
            let time = Duration::from_secs(settings.idle.into());
            match run::idle(&scene, system, protocol, time) {
                Ok(idle) => table::print_idle(protocol, system, &idle),
                Err(why) => println!("# {why}"),
            }
        }
        return Ok(());
    }
    if settings.slow > 0 {
        return measure_beside(&scene, &pairs);
    }
    let all = measure_all(&scene, &pairs)?;
    for protocol in &settings.protocols {
        let of: Vec<(System, &Vec<Run>)> = all
            .iter()
            .filter(|((each, _), runs)| each == protocol && !runs.is_empty())
            .map(|((_, system), runs)| (*system, runs))
            .collect();
        table::print(*protocol, &of);
    }
    Ok(())
}

/// Measures the group beside a slow member.
fn measure_beside(scene: &Scene<'_>, pairs: &[(Protocol, System)]) -> Result<(), String> {
    let mut write = writer(scene.settings)?;
    write(&format!("{}\n", table::BESIDE_HEAD))?;
    let mut all: Vec<((Protocol, System), Vec<Beside>)> =
        pairs.iter().map(|pair| (*pair, Vec::new())).collect();
    for number in 0..scene.settings.runs {
        for ((protocol, system), runs) in &mut all {
            match run::beside_a_slow_one(scene, *system, *protocol) {
                Ok(run) => {
                    write(&table::beside_line(*protocol, *system, number, &run))?;
                    runs.push(run);
                }
                Err(why) => println!("# {why}"),
            }
        }
    }
    for protocol in &scene.settings.protocols {
        let of = all.iter().filter(|((each, _), runs)| each == protocol && !runs.is_empty());
        let of: Vec<(System, &Vec<Beside>)> = of.map(|((_, system), runs)| (*system, runs)).collect();
        table::print_beside(*protocol, &of);
    }
    Ok(())
}

/// Writes to stdout, and to the file of `--out`.
fn writer(settings: &Settings) -> Result<impl FnMut(&str) -> Result<(), String>, String> {
    let create = |path: &std::path::PathBuf| {
        std::fs::File::create(path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let mut out = settings.out.as_ref().map(create).transpose()?;
    Ok(move |text: &str| {
        print!("{text}");
        out.as_mut().map_or(Ok(()), |file| file.write_all(text.as_bytes())).map_err(|error| error.to_string())
    })
}

type All = Vec<((Protocol, System), Vec<Run>)>;

/// Measures in turn, so that other load on the machine affects all alike.
fn measure_all(scene: &Scene<'_>, pairs: &[(Protocol, System)]) -> Result<All, String> {
    let mut write = writer(scene.settings)?;
    write(&format!("{}\n", table::HEAD))?;
    let mut all: All = pairs.iter().map(|pair| (*pair, Vec::new())).collect();
    for number in 0..scene.settings.runs {
        // By then the faster heartbeats after a rebalance have ended; spread over the 5 s between two heartbeats, for all alike.
        let phase = Duration::from_millis(10_000 + u64::from(number) * 1700 % 5000);
        for ((protocol, system), runs) in &mut all {
            match run::run(scene, *system, *protocol, phase) {
                Ok(run) => {
                    write(&table::lines(*protocol, *system, number, &run))?;
                    if scene.frames.is_some() {
                        table::print_asked("around the join", &run.asked[0]);
                        table::print_asked("around the leave", &run.asked[1]);
                    }
                    runs.push(run);
                }
                Err(why) => println!("# {why}"),
            }
        }
    }
    Ok(all)
}
