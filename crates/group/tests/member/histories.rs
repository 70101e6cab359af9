//! Random histories: members join, leave, die, stop, are slow, change their subscriptions; the network loses
//! and delays messages; the coordinator moves. The invariants are checked at every step ([`sim`]). When the
//! faults end, everything must be owned again within bounds (LIVE1), and there must not have been more
//! generations than causes for them (LIVE4).

use std::time::Duration;

use crate::sim::{Random, Sim};
use offtake_group::BuiltIn::{self as Assignor, *};

struct Trouble {
    network: bool,
    crashes: bool,
    stops: bool,
    coordinator: bool,
    slow: bool,
    topics: bool,
}

fn history(seed: u64, modern: bool) {
    let mut random = Random::new(seed);
    let lists: [&[Assignor]; 6] = [
        &[Range],
        &[CooperativeSticky],
        &[CooperativeSticky],
        &[Sticky],
        &[CooperativeSticky, Range],
        &[RoundRobin, Sticky],
    ];
    let list = lists[random.below(6) as usize];
    let mut on = || random.percent(50);
    let trouble =
        Trouble { network: on(), crashes: on(), stops: on(), coordinator: on(), slow: on(), topics: on() };
    let mut sim = Sim::seeded(seed)
        .with_topic("a", 1 + random.below(6) as i32)
        .with_topic("b", random.below(5) as i32 + 1)
        .with(list);
    if modern {
        sim = sim.modern();
    }
    sim.template.session_timeout = Duration::from_secs([7, 10, 20][random.below(3) as usize]);
    sim.template.rebalance_timeout = Duration::from_secs([8, 30, 60][random.below(3) as usize]);
    sim.coordinator.initial_delay = random.below(2) * 1000;
    if trouble.network {
        sim.jitter = random.below(400);
        sim.loses_requests = random.below(8);
        sim.loses_answers = random.below(8);
        sim.repeats_answers = random.below(20);
    }
    for _ in 0..1 + random.below(3) {
        sim.join();
    }
    for _ in 0..random.below(25) {
        sim.run(random.below(6_000));
        let living: Vec<usize> = (0..sim.processes.len()).filter(|p| !sim.processes[*p].dead).collect();
        let who = living[random.below(living.len() as u64) as usize];
        match random.below(10) {
            0 | 1 if living.len() < 7 => {
                sim.join();
            }
            2 if living.len() > 1 => {
                sim.leave(who);
                sim.run(random.below(100));
                sim.run(6_000);
                sim.kill(who);
            }
            3 if living.len() > 1 && trouble.crashes => sim.kill(who),
            4 if trouble.stops => sim.stop_for(who, random.below(25_000)),
            5 if trouble.coordinator => sim.fail_over(random.below(3_000)),
            6 if trouble.slow => sim.processes[who].callback_takes = random.below(2) * random.below(40_000),
            7 if trouble.slow => {
                sim.processes[who].polls_every = if random.percent(50) { None } else { Some(500) };
            }
            8 if trouble.topics => {
                let more = 1 + random.below(8) as i32;
                let now = sim.partitions().iter().filter(|p| p.topic == "a").count() as i32;
                sim.set_partitions("a", now.max(more));
            }
            // Each topic needs a subscriber, or it has no owner: the first process keeps both.
            9 if trouble.topics && who != living[0] => {
                sim.subscribe(who, if random.percent(50) { &["a"] } else { &["a", "b"] });
            }
            _ if trouble.network && random.percent(30) => {
                sim.cut.insert(who);
                sim.run(random.below(15_000));
                sim.cut.clear();
            }
            _ => {}
        }
    }
    // No more faults.
    sim.loses_requests = 0;
    sim.loses_answers = 0;
    sim.jitter = 0;
    let stopped = sim.processes.iter().filter(|p| !p.dead).map(|p| p.callback_takes).max().unwrap_or(0);
    for process in &mut sim.processes {
        process.polls_every = Some(500);
        process.callback_takes = 0;
    }
    sim.subscribe_all();
    sim.run(stopped + 25_000);
    sim.settle();
    let epoch = |sim: &Sim| (sim.coordinator.generation(), sim.coordinator.modern.epoch());
    let before = epoch(&sim);
    sim.run(60_000);
    assert_eq!(epoch(&sim), before, "a group at peace does not rebalance");
}

fn histories(modern: bool) {
    let asked = std::env::var("OFFTAKE_SEEDS").ok().and_then(|seeds| {
        let (from, to) = seeds.split_once("..")?;
        Some((from.parse().ok()?, to.parse().ok()?))
    });
    let (from, to) = asked.unwrap_or((0, 400));
    for seed in from..to {
        let result = std::panic::catch_unwind(|| history(seed, modern));
        assert!(result.is_ok(), "seed {seed}");
    }
}

#[test]
fn classic_no_partition_has_two_owners_and_none_is_left_behind_whatever_happens() {
    histories(false);
}

#[test]
fn consumer_no_partition_has_two_owners_and_none_is_left_behind_whatever_happens() {
    histories(true);
}
