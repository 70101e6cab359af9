//! The arena: consumers against the cluster in a box, in virtual time, from a seed.
//!
//! ```text
//! simulate --seed S            one run                         simulate --count N [--from S] [--jobs J]    many
//! simulate --seed S --events   and all that happened in it, with what engines and brokers said to one another
//! simulate --count N --with WHAT   of them those with twins, subscriptions, hand, copies, steps, retries, …
//! simulate --plan FILE         a saved plan (--plans: a folder) simulate --shrink S                         a small one
//! simulate --json S            the plan of a seed, to be saved
//! simulate --twice N           each seed two times: the same events?
//! simulate --bench N [--only B] the bug bench, in a build that has the bugs
//! ```
//!
//! Status 0 when every invariant held, 1 when one did not, 2 for a command line that makes no sense.

mod bench;
mod check;
mod clock;
mod copying;
mod events;
mod legacy;
mod member;
mod nemesis;
mod panics;
mod plan;
mod producer;
mod random;
mod run;
mod shrink;
mod swarm;
mod wire;
mod working;
mod world;

use std::process::ExitCode;

use plan::Plan;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match command(&arguments) {
        Some(held) => ExitCode::from(u8::from(!held)),
        None => {
            eprintln!(
                "usage: simulate --seed S [--events] | --count N [--from S] [--jobs J] | --twice N | --plan FILE | --shrink S"
            );
            ExitCode::from(2)
        }
    }
}

/// Whether everything held; `None` when the arguments make no sense.
fn command(arguments: &[String]) -> Option<bool> {
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)
    };
    let number = |name: &str| value(name).and_then(|value| value.parse::<u64>().ok());
    let flag = |name: &str| arguments.iter().any(|argument| argument == name);
    panics::keep();
    if let Some(seed) = number("--json") {
        println!("{}", serde_json::to_string_pretty(&Plan::draw(seed)).unwrap_or_default());
        return Some(true);
    }
    if let Some(seed) = number("--seed") {
        return Some(one(&Plan::draw(seed), flag("--events")));
    }
    if let Some(file) = value("--plan") {
        let text = std::fs::read_to_string(file).ok()?;
        return Some(one(&serde_json::from_str(&text).ok()?, flag("--events")));
    }
    if let Some(folder) = value("--plans") {
        return saved(folder);
    }
    if let Some(seed) = number("--shrink") {
        return Some(shrunk(&Plan::draw(seed)));
    }
    let from = number("--from").unwrap_or(0);
    let jobs = number("--jobs").unwrap_or_else(swarm::cores);
    if let Some(limit) = number("--bench") {
        let only = number("--only").and_then(|number| u8::try_from(number).ok());
        return Some(bench::bench(limit, jobs, only));
    }
    if let Some(count) = number("--twice") {
        return Some(swarm::twice(from, count, jobs));
    }
    number("--count").map(|count| swarm::many(from, count, jobs, value("--with").map(String::as_str)))
}

fn one(plan: &Plan, events: bool) -> bool {
    let outcome = if events { run::traced(plan) } else { run::guarded(plan) };
    if events {
        println!("{plan:#?}");
        for event in &outcome.events {
            println!("{event}");
        }
    }
    for violation in &outcome.violations {
        println!("{violation}");
    }
    println!(
        "seed {}: {} events in {:.1} s of virtual time, hash {:016x}, {} violations",
        plan.seed,
        outcome.events.len(),
        outcome.virtual_time.as_secs_f64(),
        outcome.hash(),
        outcome.violations.len()
    );
    outcome.violations.is_empty()
}

/// Every saved plan of a folder: each broke something once.
fn saved(folder: &str) -> Option<bool> {
    let mut files: Vec<_> =
        std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    let mut held = !files.is_empty();
    for file in files {
        let text = std::fs::read_to_string(&file).ok()?;
        let plan =
            serde_json::from_str(&text).map_err(|error| eprintln!("{}: {error}", file.display())).ok()?;
        print!("{}: ", file.file_stem()?.to_string_lossy());
        held &= one(&plan, false);
    }
    Some(held)
}

fn shrunk(plan: &Plan) -> bool {
    let Some(violation) = run::guarded(plan).violations.into_iter().next() else {
        println!("seed {} breaks nothing", plan.seed);
        return true;
    };
    let small = shrink::shrink(plan, &violation.rule, 600);
    let left = run::guarded(&small).violations;
    println!("{}", serde_json::to_string_pretty(&small).unwrap_or_default());
    for violation in left {
        eprintln!("{violation}");
    }
    false
}
