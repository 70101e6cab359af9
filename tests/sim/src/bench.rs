//! The bug bench: puts historic bugs back one at a time, and counts how many seeds it takes to find each.
//!
//! The bugs are patches in `tests/sim/mutants`. `scripts/simulate --bench N` builds a copy of the sources that contains them all, each
//! behind a switch; any other build contains none.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{panics, plan::Plan, run};

/// Makes one of the bugs, and no other, in the whole process. The first patch puts its switch here.
const CHOOSE: Option<fn(u8)> = None;

/// The patches of all bugs by number. The first line of each says what the bug is, and who shipped it.
fn bugs() -> io::Result<BTreeMap<u8, String>> {
    let mut bugs = BTreeMap::new();
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/mutants"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let number = name.split('-').next().and_then(|number| number.parse().ok());
        let Some(number) = number.filter(|_| name.ends_with(".patch")) else { continue };
        if bugs.insert(number, fs::read_to_string(&path)?).is_some() {
            return Err(io::Error::other(format!("two patches have the number {number}")));
        }
    }
    bugs.remove(&0); // the switch itself
    Ok(bugs)
}

/// Searches for each bug three times, from different seeds. Returns true when none survived `limit` seeds.
pub(crate) fn bench(limit: u64, jobs: u64, only: Option<u8>) -> bool {
    let Some(choose) = CHOOSE else {
        eprintln!("this build has no bugs in it: scripts/simulate --bench makes one that has");
        return false;
    };
    let bugs = match bugs() {
        Ok(bugs) => bugs,
        Err(error) => {
            eprintln!("tests/sim/mutants cannot be read: {error}");
            return false;
        }
    };
    let mut survived = 0;
    let mut hunted = 0;
    println!("| bug | seeds to find it, three times | found by | |\n|---|---|---|---|");
    for (number, patch) in bugs.iter().filter(|(number, _)| only.is_none_or(|only| only == **number)) {
        choose(*number);
        let found: Vec<_> = (0..3).map(|time| hunt(time * 1_000_000, limit, jobs)).collect();
        let seeds: Vec<_> = found
            .iter()
            .map(|found| found.as_ref().map_or("–".to_owned(), |(seeds, _)| seeds.to_string()))
            .collect();
        let rules: BTreeSet<_> = found.iter().flatten().map(|(_, rule)| rule.as_str()).collect();
        let rules: Vec<_> = rules.into_iter().collect();
        hunted += found.len();
        survived += found.iter().filter(|found| found.is_none()).count();
        let title = patch.lines().next().unwrap_or_default();
        println!("| {number} | {} | {} | {title} |", seeds.join(", "), rules.join(", "));
    }
    println!("{survived} of {hunted} hunts found nothing within {limit} seeds");
    survived == 0 && hunted > 0
}

/// The number of seeds until a rule breaks, and which.
fn hunt(from: u64, limit: u64, jobs: u64) -> Option<(u64, String)> {
    let next = AtomicU64::new(from);
    let found: Mutex<Option<(u64, String)>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                panics::keep();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let earlier = found.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    if seed >= from + limit || earlier.is_some_and(|(found, _)| found < seed) {
                        return;
                    }
                    let broken = run::guarded(&Plan::draw(seed)).violations.into_iter().next();
                    if let Some(violation) = broken {
                        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                        if found.as_ref().is_none_or(|(first, _)| seed < *first) {
                            *found = Some((seed, violation.rule));
                        }
                        return;
                    }
                }
            });
        }
    });
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.map(|(seed, rule)| (seed - from + 1, rule))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_patch_has_a_title_and_its_own_number() {
        let bugs = bugs().unwrap();
        assert!(bugs.len() > 20, "{} patches", bugs.len());
        for (number, patch) in &bugs {
            let title = patch.lines().next().unwrap_or_default();
            assert!(
                title.contains(" (") && title.ends_with(')'),
                "{number}: what it is (who shipped it): {title:?}"
            );
            let switches: Vec<_> =
                patch.split("mutant::is(").skip(1).filter_map(|rest| rest.split(')').next()).collect();
            assert!(!switches.is_empty(), "{number}: no switch");
            assert!(
                switches.iter().all(|of| *of == number.to_string()),
                "{number}: switches of {switches:?}"
            );
        }
    }
}
