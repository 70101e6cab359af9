//! Runs many seeds, on all cores.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use crate::{
    panics,
    plan::{CLASSES, HABITS, Plan},
    run::{self, Outcome},
};

/// The number of seeds that run at a time.
pub(crate) fn cores() -> u64 {
    std::thread::available_parallelism().map_or(1, |count| u64::try_from(count.get()).unwrap_or(1))
}

/// The results of many runs.
#[derive(Debug, Default)]
struct Tally {
    runs: u64,
    virtual_time: Duration,
    events: u64,
    marks: BTreeMap<&'static str, u64>,
    failures: Vec<(u64, String)>,
}

/// Runs seeds and prints the results. Returns true when every invariant held. `with`: only plans with this feature.
pub(crate) fn many(from: u64, count: u64, jobs: u64, with: Option<&str>) -> bool {
    let tally = Mutex::new(Tally::default());
    let started = now();
    each(from, count, jobs, |seed| {
        let plan = Plan::draw(seed);
        if with.is_some_and(|what| !plan.has(what)) {
            return;
        }
        let outcome = run::guarded(&plan);
        if let Some(violation) = outcome.violations.first() {
            // At once, as many runs take long.
            eprintln!("seed {seed}: {violation}");
        }
        note(&mut tally.lock().unwrap_or_else(PoisonError::into_inner), seed, outcome);
    });
    let mut tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    let took = now().saturating_duration_since(started).as_secs_f64();
    tally.failures.sort();
    for (seed, violation) in &tally.failures {
        println!("seed {seed}: {violation}");
    }
    for (mark, runs) in &tally.marks {
        println!("{runs:>8} runs: {mark}");
    }
    let hours = tally.virtual_time.as_secs_f64() / 3600.0;
    println!(
        "{} seeds in {took:.1} s ({:.1} a second), {hours:.1} virtual hours ({:.0} an hour), {} events, {} failed",
        tally.runs,
        f64::from(u32::try_from(tally.runs).unwrap_or(u32::MAX)) / took,
        hours * 3600.0 / took,
        tally.events,
        tally.failures.len()
    );
    let missing = if with.is_some() { Vec::new() } else { missing(&tally) };
    for class in &missing {
        println!("never struck: {class}");
    }
    tally.failures.is_empty() && missing.is_empty()
}

/// This many seeds meet every class of fault, and every habit; fewer may not.
const ALL_CLASSES: u64 = 1_000;

/// Classes of faults that never struck, and habits that never occurred, which might as well not be drawn.
fn missing(tally: &Tally) -> Vec<&'static str> {
    if tally.runs < ALL_CLASSES {
        return Vec::new();
    }
    let struck = |class: &&'static str| tally.marks.contains_key(*class);
    CLASSES.iter().chain(HABITS).copied().filter(|class| !struck(class)).collect()
}

fn note(tally: &mut Tally, seed: u64, outcome: Outcome) {
    tally.runs += 1;
    tally.virtual_time += outcome.virtual_time;
    tally.events += u64::try_from(outcome.events.len()).unwrap_or(0);
    for mark in outcome.marks.keys() {
        *tally.marks.entry(mark).or_default() += 1;
    }
    if let Some(violation) = outcome.violations.first() {
        tally.failures.push((seed, violation.to_string()));
    }
}

/// Runs each seed twice and compares every event.
pub(crate) fn twice(from: u64, count: u64, jobs: u64) -> bool {
    let different = Mutex::new(Vec::new());
    each(from, count, jobs, |seed| {
        let plan = Plan::draw(seed);
        let (first, second) = (run::guarded(&plan), run::guarded(&plan));
        if first.hash() != second.hash() {
            let at =
                first.events.iter().zip(&second.events).position(|(a, b)| a.to_string() != b.to_string());
            let text = at.map_or("one is longer".to_owned(), |at| {
                format!("event {at}:\n  {}\n  {}", first.events[at], second.events[at])
            });
            different.lock().unwrap_or_else(PoisonError::into_inner).push((seed, text));
        }
    });
    let different = different.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (seed, text) in &different {
        println!("seed {seed} does not repeat itself: {text}");
    }
    println!("{count} seeds run twice, {} differ", different.len());
    different.is_empty()
}

/// A run takes some tens of milliseconds. One that takes this many of these rounds spins without its time passing. Rounds are counted
/// because by the clock a process that was stopped meanwhile would seem to spin.
const LONGEST_RUN: u64 = 36;
const ROUND: Duration = Duration::from_secs(5);

/// Runs seeds on `jobs` threads, and ends the process when one does not end (SAFE15).
fn each(from: u64, count: u64, jobs: u64, run: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(from);
    let rounds = &AtomicU64::new(0);
    // The round in which each running seed began.
    let running: Mutex<BTreeMap<u64, u64>> = Mutex::default();
    let lock = || running.lock().unwrap_or_else(PoisonError::into_inner);
    let (over, is_over) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while is_over.recv_timeout(ROUND) == Err(RecvTimeoutError::Timeout) {
                let round = rounds.fetch_add(1, Ordering::Relaxed) + 1;
                let endless = |began: &u64| round.saturating_sub(*began) > LONGEST_RUN;
                if let Some((seed, _)) = lock().iter().find(|(_, began)| endless(began)) {
                    println!(
                        "seed {seed}: SAFE15: it does not come to an end: something spins, and no time passes"
                    );
                    std::process::exit(1);
                }
            }
        });
        for _ in 0..jobs.max(1) {
            let over = over.clone();
            scope.spawn(|| {
                let _over = over;
                panics::keep();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count {
                        return;
                    }
                    lock().insert(seed, rounds.load(Ordering::Relaxed));
                    run(seed);
                    lock().remove(&seed);
                }
            });
        }
        drop(over);
    });
}

#[expect(clippy::disallowed_methods, reason = "how long it took, for people")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_of_workers_is_the_same_each_time() {
        let seeds = (0..200).filter(|seed| Plan::draw(*seed).has("workers"));
        for seed in seeds.take(6) {
            let (first, second) = (run::guarded(&Plan::draw(seed)), run::guarded(&Plan::draw(seed)));
            assert!(first.events.iter().any(|event| event.to_string().contains("HandlerEnded")), "{seed}");
            assert_eq!(first.hash(), second.hash(), "seed {seed}");
            assert_eq!(first.events.len(), second.events.len(), "seed {seed}");
        }
    }

    #[test]
    fn workers_are_in_one_seed_of_eight() {
        let workers = (0..2_000).filter(|seed| Plan::draw(*seed).has("workers")).count();
        assert!((200..300).contains(&workers), "{workers} of 2000");
    }
}
