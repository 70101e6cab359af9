//! The steps from each state, the states that they lead to, and the properties that must hold in all of them.

use std::{
    collections::BTreeSet,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use offtake_group::Member;
use stateright::{Model, Property};

use crate::{
    scenario::{Budget, Churn, PATIENCE, Scenario},
    world::{Invariant, Process, ProcessState, World},
};

/// One state in this many is continued without faults, to check that the group converges.
const SAMPLE: u64 = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Deliver(usize),
    Lose(usize),
    Repeat(usize),
    Cut(usize),
    Tick,
    Release(usize),
    SlowCallback(usize),
    Commit(usize),
    Join(usize),
    Leave(usize),
    Crash(usize),
    Pause(usize),
    Resume(usize),
    StopPolling(usize),
    ResumePolling(usize),
}

/// A [`World`] that is compared by its fingerprint.
#[derive(Clone)]
pub struct State {
    pub world: World,
    fingerprint: u64,
}

impl Hash for State {
    fn hash<H: Hasher>(&self, to: &mut H) {
        self.fingerprint.hash(to);
    }
}

impl State {
    pub fn new(scenario: &Scenario, world: World) -> Self {
        let mut hash = DefaultHasher::new();
        world.fingerprint(scenario.base, &mut hash);
        Self { world, fingerprint: hash.finish() }
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let world = &self.world;
        write!(f, "{:>6}", world.now)?;
        for (who, process) in world.processes.iter().enumerate() {
            let state = process.member.as_ref().map_or("-", Member::state_name);
            let has: Vec<_> = process.has.iter().map(|p| p.partition).collect();
            write!(f, " | #{who} {:?} {state} {has:?}", process.life)?;
        }
        write!(f, " | mail {:?}", world.mail)?;
        world.broken.iter().try_for_each(|(invariant, how)| write!(f, " | {invariant:?}: {how}"))
    }
}

impl Model for Scenario {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let mut world = World::new(self);
        for who in 0..self.settled {
            world.join(self, who);
        }
        for _ in 0..PATIENCE {
            if world.is_settled(self) && world.mail.is_empty() {
                break;
            }
            self.next_without_faults(&mut world);
        }
        for who in self.settled..self.settled + self.joining {
            world.join(self, who);
        }
        self.budgets.iter().map(|budget| State::new(self, World { left: *budget, ..world.clone() })).collect()
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        let world = &state.world;
        if world.broken.is_some() {
            return;
        }
        let left = world.left;
        for (at, message) in world.mail.iter().enumerate() {
            let process = &world.processes[message.who];
            let listens = message.is_request() || process.life == ProcessState::Running;
            if listens && (self.reorders || !world.is_overtaking(at)) {
                steps.push(Step::Deliver(at));
            }
            if left.losses > 0 {
                steps.push(Step::Lose(at));
            }
            if left.repeats > 0 && (self.reorders || !message.is_request()) {
                steps.push(Step::Repeat(at));
            }
        }
        let may = |kind| left.churn > 0 && self.churn.contains(&kind);
        for (who, process) in world.processes.iter().enumerate() {
            let outside = process.member.as_ref().is_none_or(|member| member.state_name() == "outside");
            match process.life {
                ProcessState::Absent if may(Churn::Join) => steps.push(Step::Join(who)),
                ProcessState::Absent => {}
                ProcessState::Paused => steps.push(Step::Resume(who)),
                ProcessState::Running => {
                    if let Some(callback) = process.callback {
                        if !world.is_committing(who) {
                            steps.push(Step::Release(who));
                        }
                        if left.slow > 0 && !callback.slow {
                            steps.push(Step::SlowCallback(who));
                        }
                    }
                    if left.losses > 0 && world.waits(who) {
                        steps.push(Step::Cut(who));
                    }
                    if left.commits > 0 && world.may_commit(who) {
                        steps.push(Step::Commit(who));
                    }
                    if !process.polls {
                        steps.push(Step::ResumePolling(who));
                    }
                    for (kind, step) in [
                        (Churn::Join, Step::Join(who)),
                        (Churn::Leave, Step::Leave(who)),
                        (Churn::Crash, Step::Crash(who)),
                        (Churn::Pause, Step::Pause(who)),
                        (Churn::StopPolling, Step::StopPolling(who)),
                    ] {
                        let fits = match kind {
                            Churn::Join => outside,
                            Churn::StopPolling => process.polls && !outside,
                            Churn::Leave | Churn::Crash | Churn::Pause => !outside,
                        };
                        if may(kind) && fits {
                            steps.push(step);
                        }
                    }
                }
            }
        }
        let quick = |process: &Arc<Process>| {
            process.life == ProcessState::Running && process.callback.is_some_and(|callback| !callback.slow)
        };
        let in_time = left.delays > 0 || !world.message_is_late();
        if in_time && !world.processes.iter().any(quick) && world.next_time(self).is_some() {
            steps.push(Step::Tick);
        }
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut next = last.world.clone();
        let world = &mut next;
        let left = &mut world.left;
        match step {
            Step::Join(_) | Step::Leave(_) | Step::Crash(_) | Step::Pause(_) | Step::StopPolling(_) => {
                left.churn -= 1
            }
            Step::Lose(_) | Step::Cut(_) => left.losses -= 1,
            Step::Repeat(_) => left.repeats -= 1,
            Step::SlowCallback(_) => left.slow -= 1,
            Step::Commit(_) => left.commits -= 1,
            Step::Tick if last.world.message_is_late() => left.delays -= 1,
            Step::Tick | Step::Deliver(_) | Step::Release(_) | Step::Resume(_) | Step::ResumePolling(_) => {}
        }
        match step {
            Step::Deliver(at) => world.deliver(self, at),
            Step::Lose(at) => world.lose(at),
            Step::Repeat(at) => world.repeat(at),
            Step::Cut(who) => world.cut(who),
            Step::Tick => world.tick(self),
            Step::Release(who) => world.release(self, who),
            Step::SlowCallback(who) => world.slow_callback(who),
            Step::Commit(who) => world.commit(self, who),
            Step::Join(who) => world.join(self, who),
            Step::Leave(who) => world.leave(self, who),
            Step::Crash(who) => world.crash(who),
            Step::Pause(who) => world.pause(who),
            Step::Resume(who) => world.resume(self, who),
            Step::StopPolling(who) => world.stop_polling(who),
            Step::ResumePolling(who) => world.resume_polling(self, who),
        }
        Some(State::new(self, next))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(SAFE5, |_, state| kept(Invariant::Safe5, state)),
            Property::always(SAFE6, |scenario: &Self, state: &State| {
                let mut seen = BTreeSet::new();
                (0..scenario.slots)
                    .all(|who| state.world.holds(scenario, who).into_iter().all(|p| seen.insert(p)))
            }),
            Property::always(SAFE7, |scenario, state| {
                kept(Invariant::Safe7, state) && identities_are_alive(scenario, state)
            }),
            Property::always(SAFE9, |_, state| kept(Invariant::Safe9, state)),
            Property::always(GOES_ON, |scenario: &Self, state| {
                scenario.reorders || kept(Invariant::Failed, state)
            }),
            Property::sometimes(SPENT, |scenario: &Self, state: &State| {
                state.world.left == Budget::default() && state.world.is_settled(scenario)
            }),
            Property::always(RESTS, |scenario: &Self, state: &State| {
                scenario.reorders
                    || !state.fingerprint.is_multiple_of(SAMPLE)
                    || scenario.converges(&state.world)
            }),
        ]
    }
}

pub const SAFE5: &str = "SAFE5: one owner in a generation";
pub const SAFE6: &str = "SAFE6: one owner at a time";
pub const SAFE7: &str = "SAFE7: commits are made only by who may";
pub const SAFE9: &str = "SAFE9: the grammar of the callbacks";
pub const GOES_ON: &str = "nobody ends for good";
/// Without this property the others might hold because nothing happens.
pub const SPENT: &str = "the group is at rest, and all the trouble has been";
pub const RESTS: &str = "when the trouble ends the group comes to rest";

fn kept(invariant: Invariant, state: &State) -> bool {
    state.world.broken.as_ref().is_none_or(|(broken, _)| *broken != invariant)
}

/// A process with an identity is a member, and has confirmed all losses (FAILURES G7).
fn identities_are_alive(_: &Scenario, state: &State) -> bool {
    state.world.processes.iter().all(|process| {
        let Some(member) = &process.member else { return true };
        member.identity().is_none_or(|identity| {
            member.valid_until().is_some() && !identity.member_id.is_empty() && identity.generation >= 0
        })
    })
}
