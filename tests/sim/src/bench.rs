//! The bug bench: historic bugs put back one at a time, and how many seeds it takes to find each (FAILURES §2).
//!
//! Only in builds with `--cfg offtake_mutants`: `scripts/simulate --bench N` makes one.

#[cfg(not(offtake_mutants))]
pub(crate) fn bench(_: u64, _: u64, _: Option<u8>) -> bool {
    eprintln!("this build has no bugs in it: scripts/simulate --bench makes one that has");
    false
}

#[cfg(offtake_mutants)]
pub(crate) use real::bench;

#[cfg(offtake_mutants)]
mod real {
    use std::sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    };

    use offtake_machine::mutant;

    use crate::{panics, plan::Plan, run};

    /// The catalogue, and what finds each. Those of features that are still to come wait for them.
    const BUGS: &[(u8, &str)] = &[
        (1, "auto-commit of what was prefetched (KAFKA-2942)"),
        (2, "the commit's snapshot runs ahead of the application (KAFKA-18641)"),
        (3, "STALE_MEMBER_EPOCH on OffsetFetch taken for no offset (platformatic#267)"),
        (4, "an abort hides later committed records (librdkafka 1.7.0)"),
        (5, "an emptied batch is fetched for ever (KAFKA-5443)"),
        (6, "paused records dropped, position moved on (kafka-python#2011)"),
        (7, "a passing error runs auto.offset.reset (librdkafka#4447)"),
        (8, "new partitions begin at latest (KAFKA-12261)"),
        (11, "aborts out of order (franz-go 1.21.4)"),
        (13, "records handed out after the revoke began (KAFKA-14196)"),
        (14, "resume goes back to an old offset (librdkafka#4636)"),
        (15, "an answer from before the seek or validation counts (librdkafka#4261)"),
        (16, "back from a replica at an older offset (franz-go 1.20.3)"),
        (17, "the older commit lands last (spring-kafka#3186)"),
        (18, "a repeated partition in an assignment rewinds it (franz-go)"),
        (19, "commit after revoke (redpanda-connect#4477)"),
        (20, "a pending offset load lost in a rebalance (franz-go 1.2.2)"),
        (21, "a stale claim honoured (KAFKA-12984)"),
        (22, "the session is not enforced locally (librdkafka 1.6.0)"),
        (23, "coordinator discovery never cleared (KAFKA-10793)"),
        (24, "cannot rejoin with a dead member id (KAFKA-9815)"),
        (25, "a partition left out of OffsetFetch is never asked for again (franz-go)"),
        (26, "the assignor never settles (librdkafka#4800)"),
        (27, "a fetch session's epochs never agree again (KAFKA-8052)"),
        (28, "a busy application starves heartbeats (KAFKA-6593)"),
        (29, "lag by the high watermark under read_committed (librdkafka#3423)"),
        (30, "an idle fetch spins (librdkafka#5324)"),
    ];

    /// Looks for each bug three times, from other seeds. True when none survived `limit` seeds.
    pub(crate) fn bench(limit: u64, jobs: u64, only: Option<u8>) -> bool {
        let mut survived = 0;
        println!("| bug | seeds to find it, three times | found by | |\n|---|---|---|---|");
        for (number, name) in BUGS.iter().filter(|(number, _)| only.is_none_or(|only| only == *number)) {
            mutant::choose(*number);
            let found: Vec<_> = (0..3).map(|time| hunt(time * 1_000_000, limit, jobs)).collect();
            let seeds: Vec<_> = found
                .iter()
                .map(|found| found.as_ref().map_or("–".to_owned(), |(seeds, _)| seeds.to_string()))
                .collect();
            let rules: std::collections::BTreeSet<_> =
                found.iter().flatten().map(|(_, rule)| rule.as_str()).collect();
            survived += found.iter().filter(|found| found.is_none()).count();
            let rules: Vec<_> = rules.into_iter().collect();
            println!("| {number} | {} | {} | {name} |", seeds.join(", "), rules.join(", "));
        }
        println!("{survived} of the hunts found nothing within {limit} seeds");
        survived == 0
    }

    /// How many seeds until something breaks, and what.
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
}
