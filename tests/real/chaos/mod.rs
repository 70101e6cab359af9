//! Three brokers behind proxies, five members in processes of their own, a constant producer, and a seeded nemesis:
//! members join, leave, die and sleep, brokers die and restart, leaders move, and connections fail. Afterwards all
//! output is checked against the invariants (`check.rs`).
//!
//! Each protocol has a short run of about ten thousand records with one fault of each kind. `OFFTAKE_CHAOS=full` makes
//! a long one instead: a hundred thousand records, each fault several times, some minutes. `OFFTAKE_CHAOS_SEED=n` makes
//! the nemesis repeat the choices of the seed that it printed; the interleaving of processes and brokers is not
//! reproducible.

mod check;
mod forged;
mod history;
mod members;
mod nemesis;
mod world;

use std::time::Duration;

use nemesis::Nemesis;
use world::World;

/// `session.timeout.ms` of the members; with KIP-848 the brokers set it (`tests/support/config.rs`).
const SESSION: Duration = Duration::from_secs(6);
/// `max.poll.interval.ms`, which is also the rebalance timeout.
const REBALANCE: Duration = Duration::from_secs(15);
/// `retry.backoff.max.ms` and `reconnect.backoff.max.ms`.
const BACKOFF: Duration = Duration::from_secs(1);
/// LIVE1: this long after the last fault every partition has an owner again.
const SETTLED: Duration =
    SESSION.saturating_add(REBALANCE).saturating_add(BACKOFF).saturating_add(Duration::from_secs(6));
const PARTITIONS: i32 = 12;
const MEMBERS: usize = 5;
/// `max.poll.records`: the records that a member may hold when it is stopped.
const IN_HAND: usize = 100;

/// The protocol of the group's members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Eager,
    Cooperative,
    Consumer,
}

/// The length of a run.
#[derive(Debug, Clone, Copy)]
struct Size {
    records: usize,
    /// The least number of times of each fault.
    times: usize,
}

impl Size {
    fn of_env() -> Self {
        match std::env::var("OFFTAKE_CHAOS").as_deref() {
            Ok("full") => Self { records: 100_000, times: 3 },
            _ => Self { records: 10_000, times: 1 },
        }
    }
}

fn seed() -> u64 {
    match std::env::var("OFFTAKE_CHAOS_SEED") {
        Ok(text) => text.parse().expect("OFFTAKE_CHAOS_SEED is a number"),
        Err(_) => {
            u64::from(std::process::id()).wrapping_mul(u64::try_from(crate::flow::now()).unwrap_or(1))
                % 1_000_000
        }
    }
}

fn chaos(protocol: Protocol) {
    let (seed, size) = (seed(), Size::of_env());
    eprintln!("chaos, {protocol:?}: OFFTAKE_CHAOS_SEED={seed}");
    let mut world = World::begin(protocol, seed);
    Nemesis::new(seed, size).run(&mut world);
    let done = world.done();
    let history = world.end();
    let found = check::check(&history);
    eprintln!("chaos, {protocol:?}, seed {seed}: {}\nfaults: {done:?}", found.figures);
    assert!(
        found.wrong.is_empty(),
        "OFFTAKE_CHAOS_SEED={seed}: {} things are wrong:\n{}",
        found.wrong.len(),
        found.wrong.iter().take(40).cloned().collect::<Vec<_>>().join("\n")
    );
}

#[test]
#[ignore = "minutes with three brokers: scripts/test full runs it"]
fn safe1_safe2_safe3_safe5_safe6_safe7_safe8_safe9_live1_live5_hold_in_chaos_eager() {
    chaos(Protocol::Eager);
}

#[test]
#[ignore = "minutes with three brokers: scripts/test full runs it"]
fn safe1_safe2_safe3_safe5_safe6_safe7_safe8_safe9_live1_live5_hold_in_chaos_cooperative() {
    chaos(Protocol::Cooperative);
}

#[test]
#[ignore = "minutes with three brokers: scripts/test full runs it"]
fn safe1_safe2_safe3_safe5_safe6_safe7_safe8_safe9_live1_live5_hold_in_chaos_by_the_consumer_protocol() {
    chaos(Protocol::Consumer);
}
