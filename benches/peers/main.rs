//! The cost of consumers: Offtake and its rivals on the same topics of one real Kafka, in turn. `benches/README.md`
//! explains the tables, how each rival is set up, and how to repeat them.
#![allow(
    clippy::disallowed_methods,
    reason = "a bench watches processes from outside: it reads clocks and waits"
)]

#[path = "../rebalance/broker.rs"]
mod as_shipped;
mod broker;
#[path = "../rebalance/clock.rs"]
#[allow(dead_code, reason = "shared with the other bench")]
mod clock;
mod figures;
#[path = "../rebalance/load.rs"]
#[allow(dead_code, reason = "shared with the other bench")]
mod load;
mod ours;
mod reading;
mod rows;
mod sections;
mod sending;
mod settings;
mod system;
mod topics;
mod transacting;

use std::process::ExitCode;

use offtake_tests::JavaTool;

use broker::Broker;
use figures::Figures;
use sections::Bench;
use settings::{Settings, USAGE};
use system::System;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    let done = if arguments.next_if(|first| first == "offtake").is_some() {
        let words: Vec<_> = arguments.collect();
        match words.first().map(String::as_str) {
            Some("transact") => transacting::ours(&words),
            _ => ours::run(&words),
        }
    } else {
        Settings::read(arguments)
            .map_err(|error| format!("{error}\n{USAGE}"))
            .and_then(|settings| measure(&settings))
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(settings: &Settings) -> Result<(), String> {
    let mut systems: Vec<System> = Vec::new();
    for system in &settings.systems {
        match system.obstacle(settings) {
            Some(why) => println!("{system} is left out: {why}"),
            None => systems.push(*system),
        }
    }
    let figures = Figures::to(settings.out.as_deref())?;
    let broker = Broker::start(settings)?;
    let tool = JavaTool::start(broker.kafka());
    let mut bench =
        Bench { settings, broker: &broker, tool: &tool, systems: &systems, figures, topics: Vec::new() };
    for section in &settings.sections {
        bench.measure(*section)?;
    }
    Ok(())
}
