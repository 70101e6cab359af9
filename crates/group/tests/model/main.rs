//! The real state machines of the group under a model checker, which tries all schedules (`docs/failures.md`).
//!
//! Each scenario defines which processes take part, and how often each fault may happen; the checker tries
//! every order. `cargo test` runs all of them with few faults. A scenario with more schedules than can be
//! tried is marked as such ([`Reach::First`]). `OFFTAKE_MODEL_TROUBLE=2` doubles the faults, which makes more
//! states than can be visited. `OFFTAKE_MODEL_STATES=2000000` sets how many are visited, at about 3 kB each;
//! use it with `--test-threads 1`.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's support: not every test needs all of it"
)]

mod checking;
#[path = "../member/sim/coordinator.rs"]
mod coordinator;
#[path = "../member/sim/modern.rs"]
mod modern;
mod scenario;
mod world;

use std::time::Instant;

use checking::{State, Step};
use offtake_group::{BuiltIn as Assignor, Config, Protocol};
use scenario::{Budget, Churn, Flaw, Scenario};
use stateright::{Checker, HasDiscoveries, Model, Path};

/// The default number of states: for a scenario that is tried completely, and for one that is not.
const ALL_STATES: usize = 400_000;
const FIRST_STATES: usize = 100_000;

fn number(variable: &str) -> Option<usize> {
    std::env::var(variable).ok()?.parse().ok()
}

/// How much of a scenario is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Every schedule.
    All,
    /// As many states as there is time for, in order of the number of steps.
    First,
}

/// An invariant, and a schedule that ends where it fails or is reached.
type Discovery = (&'static str, Path<State, Step>);

/// The invariants that do not hold, each with a short schedule that breaks it; and a schedule with all faults.
fn explore(name: &str, expected: Reach, scenario: Scenario) -> (Reach, Vec<Discovery>) {
    let mut scenario = scenario;
    if let Some(times) = number("OFFTAKE_MODEL_TROUBLE").and_then(|times| u8::try_from(times).ok()) {
        scenario.budgets.iter_mut().for_each(|budget| *budget = budget.times(times));
    }
    let states = match expected {
        Reach::All => ALL_STATES,
        Reach::First => FIRST_STATES,
    };
    let most = number("OFFTAKE_MODEL_STATES").unwrap_or(states) * 2;
    #[expect(clippy::disallowed_methods, reason = "how long the checking took")]
    let began = Instant::now();
    let checker = scenario
        .checker()
        .threads(2)
        .target_state_count(most)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let reach = if checker.state_count() < most { Reach::All } else { Reach::First };
    println!(
        "{name}: {} states, {} steps, up to {} from the first, {}, {:.1?}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        if reach == Reach::All { "all there are" } else { "cut short" },
        began.elapsed(),
    );
    let mut broken: Vec<_> = checker.discoveries().into_iter().collect();
    broken.sort_by_key(|(invariant, _)| *invariant);
    (reach, broken)
}

fn holds(name: &str, expected: Reach, scenario: Scenario) {
    let (reach, found) = explore(name, expected, scenario.clone());
    let (spent, broken): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|(invariant, _)| *invariant == checking::SPENT);
    if let Some((invariant, path)) = broken.into_iter().next() {
        let last = path.last_state().clone();
        for (state, step) in path.into_vec() {
            println!("{state:?}\n    {step:?}");
        }
        if invariant == checking::RESTS {
            println!("and then, without trouble:");
            scenario
                .continued(&last.world)
                .take(60)
                .for_each(|world| println!("{:?}", State::new(&scenario, world)));
        }
        panic!("{name}: does not hold: {invariant}");
    }
    let asked_otherwise = ["OFFTAKE_MODEL_TROUBLE", "OFFTAKE_MODEL_STATES"].map(number) != [None, None];
    assert!(
        expected == Reach::First || reach == Reach::All || asked_otherwise,
        "{name}: not every schedule was tried: take trouble out of it, or say that it is cut short"
    );
    assert!(
        !spent.is_empty() || number("OFFTAKE_MODEL_TROUBLE").is_some(),
        "{name}: never {}",
        checking::SPENT
    );
}

/// The invariants detect the flaw.
fn breaks(name: &str, invariant: &str, scenario: Scenario) {
    let (_, broken) = explore(name, Reach::First, scenario);
    assert!(
        broken.iter().any(|(found, _)| *found == invariant),
        "{name}: {:?}",
        broken.iter().map(|b| b.0).collect::<Vec<_>>()
    );
}

fn classic(assignor: Assignor) -> Scenario {
    let scenario = Scenario::new(Protocol::Classic);
    Scenario { config: Config { assignors: vec![assignor.into()], ..scenario.config.clone() }, ..scenario }
}

fn modern() -> Scenario {
    Scenario::new(Protocol::Consumer { remote_assignor: None })
}

const CALM: Budget = Budget { churn: 0, losses: 0, repeats: 0, delays: 0, slow: 0, commits: 0 };

/// Two stable members and room for a third. Members join, leave and crash: twice, or once with an unreliable network.
fn coming_and_going(scenario: Scenario) -> Scenario {
    Scenario {
        slots: 3,
        churn: vec![Churn::Join, Churn::Leave, Churn::Crash],
        budgets: vec![
            Budget { churn: 2, ..CALM },
            Budget { churn: 1, losses: 1, ..CALM },
            Budget { churn: 1, delays: 1, ..CALM },
        ],
        ..scenario
    }
}

/// Two stable members; a third joins and gets one of three partitions. Callbacks are slow, and applications commit meanwhile.
fn slow(scenario: Scenario) -> Scenario {
    Scenario {
        slots: 3,
        joining: 1,
        budgets: vec![
            Budget { slow: 1, commits: 1, ..CALM },
            Budget { slow: 1, delays: 1, ..CALM },
            Budget { slow: 1, losses: 1, ..CALM },
        ],
        ..scenario.with_partitions(3)
    }
}

/// Two stable members; a third joins and gets one of three partitions. One crashes meanwhile, and is restarted.
fn restarting(scenario: Scenario) -> Scenario {
    Scenario {
        slots: 3,
        joining: 1,
        churn: vec![Churn::Join, Churn::Crash],
        budgets: vec![Budget { churn: 2, ..CALM }],
        ..scenario.with_partitions(3)
    }
}

/// Two members. One is paused, or its application does not poll, with an unreliable network; then it continues.
fn stopped(scenario: Scenario) -> Scenario {
    Scenario {
        churn: vec![Churn::Pause, Churn::StopPolling],
        budgets: vec![
            Budget { churn: 1, commits: 1, ..CALM },
            Budget { churn: 1, losses: 1, ..CALM },
            Budget { churn: 1, delays: 1, ..CALM },
        ],
        ..scenario
    }
}

/// A group forms, over a network that loses, delays and repeats messages.
fn forming(scenario: Scenario) -> Scenario {
    Scenario {
        settled: 0,
        joining: 2,
        budgets: vec![Budget { losses: 1, repeats: 1, ..CALM }, Budget { delays: 1, repeats: 1, ..CALM }],
        ..scenario
    }
}

/// The same with static members.
fn named(scenario: Scenario) -> Scenario {
    Scenario { statics: true, ..scenario }
}

/// The same with its first budgets only: eager members all take part in every rebalance, which makes many schedules.
fn first(budgets: usize, mut scenario: Scenario) -> Scenario {
    if number("OFFTAKE_MODEL_STATES").is_none() {
        scenario.budgets.truncate(budgets);
    }
    scenario
}

/// The same, where requests overtake each other and arrive twice.
fn overtaking(scenario: Scenario) -> Scenario {
    Scenario { reorders: true, ..scenario }
}

macro_rules! stories {
    ($($name:ident: $reach:expr, $scenario:expr;)*) => {
        $(
            #[test]
            fn $name() {
                holds(stringify!($name), $reach, $scenario);
            }
        )*
    };
}

stories! {
    eager_members_come_and_go: Reach::All, coming_and_going(classic(Assignor::Range));
    eager_members_are_slow: Reach::All, first(1, slow(classic(Assignor::Range)));
    eager_members_stop: Reach::All, stopped(classic(Assignor::Range));
    eager_group_forms: Reach::All, forming(classic(Assignor::Range));
    cooperative_members_come_and_go: Reach::First, coming_and_going(classic(Assignor::CooperativeSticky));
    cooperative_members_are_slow: Reach::First, first(1, slow(classic(Assignor::CooperativeSticky)));
    cooperative_members_stop: Reach::All, stopped(classic(Assignor::CooperativeSticky));
    cooperative_requests_overtake: Reach::First, overtaking(coming_and_going(classic(Assignor::CooperativeSticky)));
    static_members_come_and_go: Reach::First, named(coming_and_going(classic(Assignor::CooperativeSticky)));
    static_members_restart: Reach::First, named(restarting(classic(Assignor::CooperativeSticky)));
    static_eager_members_restart: Reach::All, named(restarting(classic(Assignor::Range)));
    static_consumer_members_restart: Reach::All, named(restarting(modern()));
    consumer_members_restart: Reach::All, restarting(modern());
    cooperative_members_restart: Reach::First, restarting(classic(Assignor::CooperativeSticky));
    static_members_are_slow: Reach::First, named(first(1, slow(classic(Assignor::CooperativeSticky))));
    static_members_stop: Reach::All, named(stopped(classic(Assignor::CooperativeSticky)));
    consumer_members_come_and_go: Reach::All, coming_and_going(modern());
    consumer_members_are_slow: Reach::First, slow(modern());
    consumer_members_stop: Reach::All, stopped(modern());
    consumer_group_forms: Reach::All, forming(modern());
    consumer_requests_overtake: Reach::All, overtaking(coming_and_going(modern()));
    static_consumer_members_come_and_go: Reach::All, named(coming_and_going(modern()));
    static_consumer_members_stop: Reach::All, named(stopped(modern()));
}

/// Each invariant must be able to fail.
mod flaws {
    use super::*;

    fn flawed(flaw: Flaw, scenario: Scenario) -> Scenario {
        Scenario { flaw: Some(flaw), ..scenario }
    }

    #[test]
    fn safe5_an_assignment_given_twice_is_noticed() {
        let scenario = forming(classic(Assignor::CooperativeSticky));
        breaks("assigns twice", checking::SAFE5, flawed(Flaw::AssignsTwice, scenario));
    }

    #[test]
    fn safe6_a_release_before_letting_go_is_noticed() {
        for scenario in [classic(Assignor::Range), classic(Assignor::CooperativeSticky), modern()] {
            let scenario = Scenario { budgets: vec![CALM], ..slow(scenario.with_partitions(3)) };
            breaks("releases at once", checking::SAFE6, flawed(Flaw::ReleasesAtOnce, scenario));
        }
    }

    #[test]
    fn safe6_a_coordinator_with_a_shorter_session_is_noticed() {
        for scenario in [classic(Assignor::CooperativeSticky), modern()] {
            let scenario = Scenario { budgets: vec![Budget { losses: 2, ..CALM }], ..stopped(scenario) };
            breaks("impatient", checking::SAFE6, flawed(Flaw::Impatient, scenario));
        }
    }

    #[test]
    fn safe7_a_commit_by_a_former_owner_is_noticed() {
        let scenario = stopped(classic(Assignor::CooperativeSticky));
        breaks("takes any commit", checking::SAFE7, flawed(Flaw::TakesAnyCommit, scenario));
    }

    #[test]
    fn safe9_a_callback_that_comes_twice_is_noticed() {
        breaks("tells twice", checking::SAFE9, flawed(Flaw::TellsTwice, forming(modern())));
    }
}
