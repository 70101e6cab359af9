//! The figures of all runs, for people.

use std::collections::BTreeMap;

use crate::clock::Micros;
use crate::frames::Frame;
use crate::measure::{Outcome, median, ms};
use crate::run::{Beside, Idle, Run};
use crate::system::{Protocol, System};

/// `median (least … most)`.
fn spread(values: &[Micros]) -> String {
    match (median(values), values.iter().min(), values.iter().max()) {
        (Some(middle), Some(least), Some(most)) => format!("{} ({} … {})", ms(middle), ms(*least), ms(*most)),
        _ => "–".to_owned(),
    }
}

fn worst(values: &[Micros]) -> Option<Micros> {
    values.iter().copied().max()
}

pub(crate) const HEAD: &str = "protocol,event,system,run,still,kept_max,kept_meanwhile,kept_median,kept_late,moved_max,moved_median,moved,first,whole,silence,boot,lost,repeated,pipe_median,pipe_p99,pipe_max";

/// A run as two lines; times in milliseconds.
pub(crate) fn lines(protocol: Protocol, system: System, number: u32, run: &Run) -> String {
    let line = |event: &str, outcome: &Outcome, silence: Micros| {
        let time = |value: Option<Micros>| {
            value.map(|value| format!("{:.1}", value as f64 / 1000.0)).unwrap_or_default()
        };
        let pipe = run.pipe.map(|all| all.map(Some)).unwrap_or_default();
        let cells = [
            protocol.name().to_owned(),
            event.to_owned(),
            system.name().to_owned(),
            number.to_string(),
            time(Some(outcome.still)),
            time(worst(&outcome.kept)),
            time(Some(outcome.meanwhile)),
            time(median(&outcome.kept)),
            time(Some(outcome.late)),
            time(worst(&outcome.moved)),
            time(median(&outcome.moved)),
            outcome.moved.len().to_string(),
            time(outcome.first),
            time(Some(outcome.whole)),
            time(Some(silence)),
            time(Some(run.boot)),
            run.lost.to_string(),
            run.repeated.to_string(),
        ];
        cells.into_iter().chain(pipe.map(time)).collect::<Vec<_>>().join(",")
    };
    format!("{}\n{}\n", line("join", &run.join, run.silence[0]), line("leave", &run.leave, run.silence[1]))
}

pub(crate) fn print(protocol: Protocol, results: &[(System, &Vec<Run>)]) {
    for (event, at) in [("a third member joins", 0), ("it leaves", 1)] {
        println!("\n### {protocol}: {event} (ms: median over the runs, least … most)\n");
        println!(
            "| | runs | still | kept, worst | kept, meanwhile | kept, median | kept, late | moved, worst | moved, median | first record | whole | lost | repeated |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|");
        for (system, runs) in results {
            let outcome = |run: &'_ Run| -> [Option<Micros>; 9] {
                let of = if at == 0 { &run.join } else { &run.leave };
                [
                    Some(of.still),
                    worst(&of.kept),
                    Some(of.meanwhile),
                    median(&of.kept),
                    Some(of.late),
                    worst(&of.moved),
                    median(&of.moved),
                    of.first,
                    Some(of.whole),
                ]
            };
            let rows: Vec<_> = runs.iter().map(outcome).collect();
            let columns = (0..9).map(|column| {
                let values: Vec<Micros> =
                    rows.iter().filter_map(|row| row.get(column).copied().flatten()).collect();
                spread(&values)
            });
            let cells = columns.collect::<Vec<_>>().join(" | ");
            let lost: u64 = runs.iter().map(|run| run.lost).sum();
            let repeated: u64 = runs.iter().map(|run| run.repeated).sum();
            println!("| {system} | {} | {cells} | {lost} | {repeated} |", runs.len());
        }
    }
}

/// Prints the requests of each member by name, without Fetch.
pub(crate) fn print_asked(what: &str, frames: &[Frame]) {
    let mut counts: BTreeMap<(String, String), u32> = BTreeMap::new();
    for frame in frames.iter().filter(|frame| frame.client.starts_with("member-")) {
        *counts.entry((frame.client.clone(), frame.api_name())).or_default() += 1;
    }
    let cells: Vec<String> =
        counts.iter().map(|((client, api), count)| format!("{client} {api} {count}")).collect();
    println!("  {what}: {}", cells.join(", "));
}

pub(crate) fn print_idle(protocol: Protocol, system: System, idle: &Idle) {
    let seconds = idle.time.as_secs_f64() * 2.0;
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for frame in idle.asked.iter().filter(|frame| !frame.client.starts_with("load")) {
        *counts.entry(frame.api_name()).or_default() += 1;
    }
    let cells: Vec<String> =
        counts.iter().map(|(api, count)| format!("{api} {:.2}/s", f64::from(*count) / seconds)).collect();
    let cpu = idle.cpu.as_secs_f64() * 1000.0 / seconds;
    println!("{protocol} {system}: {cpu:.2} ms of processor time a second and member; {}", cells.join(", "));
}

/// Prints a line for each run beside a slow member, and at the end one for each system.
pub(crate) fn beside_line(protocol: Protocol, system: System, number: u32, run: &Beside) -> String {
    let cells = [
        Some(run.still),
        worst(&run.kept),
        Some(run.late),
        worst(&run.slow),
        worst(&run.again),
        Some(run.took),
    ];
    let cells: Vec<String> = cells
        .iter()
        .map(|time| time.map(|time| format!("{:.1}", time as f64 / 1000.0)).unwrap_or_default())
        .collect();
    let (kept, moved) = (run.kept.len(), run.again.len());
    format!("{protocol},{system},{number},{},{kept},{moved},{},{}\n", cells.join(","), run.lost, run.repeated)
}

pub(crate) const BESIDE_HEAD: &str =
    "protocol,system,run,still,kept_max,kept_late,slow_max,again_max,took,kept,moved,lost,repeated";

pub(crate) fn print_beside(protocol: Protocol, results: &[(System, &Vec<Beside>)]) {
    println!("\n### {protocol}: beside a slow member (ms: median over the runs, least … most)\n");
    println!(
        "| | runs | still | kept, worst | kept, late | at the slow one, worst | read again, worst | lost | repeated |\n|---|---|---|---|---|---|---|---|---|"
    );
    for (system, runs) in results {
        let column =
            |of: fn(&Beside) -> Option<Micros>| spread(&runs.iter().filter_map(of).collect::<Vec<_>>());
        let cells = [
            column(|run| Some(run.still)),
            column(|run| worst(&run.kept)),
            column(|run| Some(run.late)),
            column(|run| worst(&run.slow)),
            column(|run| worst(&run.again)),
        ];
        let lost: u64 = runs.iter().map(|run| run.lost).sum();
        let repeated: u64 = runs.iter().map(|run| run.repeated).sum();
        println!("| {system} | {} | {} | {lost} | {repeated} |", runs.len(), cells.join(" | "));
    }
}
