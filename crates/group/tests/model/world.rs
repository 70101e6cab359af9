//! A state of the model: processes with the real [`Member`] in them, the strict coordinator, messages between them.
//!
//! Time is virtual and moves from one timer to the next. Hashes contain times relative to now, so that a
//! stable group returns to the state of one heartbeat before.

use std::{collections::BTreeSet, sync::Arc};

use offtake_group::{GroupMembership, Member, RevocationId};
use offtake_machine::{Answer, BrokerId, CallError, CallId, Identity, TopicPartition};
use offtake_wire::{ErrorCode, Request, Response};

use crate::{
    coordinator::{Caller, Coordinator, Millis, Phase},
    scenario::{Budget, EARLY, Flaw, Scenario},
};

mod fingerprint;
mod machinery;

/// Nothing in the model is finer than this.
pub const TICK: Millis = 1_000;
const BROKER: BrokerId = BrokerId(1);

/// One process.
#[derive(Clone)]
pub struct Process {
    pub member: Option<Member>,
    pub life: ProcessState,
    /// The partitions that it owns, according to its callbacks.
    pub has: BTreeSet<TopicPartition>,
    /// The partitions that a callback is revoking.
    pub going: BTreeSet<TopicPartition>,
    pub callback: Option<Callback>,
    /// The id that the callback confirms.
    pub releasing: Option<RevocationId>,
    /// Whether it still polls.
    pub polls: bool,
    /// At most one call on each lane.
    calls: [Option<Outstanding>; 2],
    commit: Option<Outstanding>,
    /// How many processes have been started in this slot.
    incarnation: u64,
    /// Its last assignments, with their generations, for SAFE5.
    assigned: Vec<(i32, BTreeSet<TopicPartition>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProcessState {
    Absent,
    Running,
    /// Paused, as by SIGSTOP.
    Paused,
}

/// A listener that has been called and has not returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Callback {
    /// It was called for Lost, not for Revoke.
    lost: bool,
    /// Time passes meanwhile.
    pub slow: bool,
}

/// A connection: a broker reads the requests of one in their order, and reads none while a JoinGroup or SyncGroup waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Lane {
    /// JoinGroup and SyncGroup.
    Join,
    /// All the others.
    Group,
}

#[derive(Clone, Copy)]
struct Outstanding {
    caller: Caller,
    id: CallId,
    until: Millis,
}

/// A message in flight.
#[derive(Clone)]
pub struct Message {
    /// The process that sends or receives it.
    pub who: usize,
    caller: Caller,
    lane: Lane,
    what: What,
    /// A hash of its contents.
    digest: u64,
}

#[derive(Clone)]
enum What {
    Request(Request),
    Commit(Identity, BTreeSet<TopicPartition>),
    /// With the call it answers; `None` if the connection broke.
    Answer(CallId, Option<Response>),
    Committed(Identity, ErrorCode),
}

/// A property that must not be violated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Invariant {
    /// One owner in a generation.
    Safe5,
    /// A commit is accepted only from a member that may make it.
    Safe7,
    /// The grammar of the callbacks.
    Safe9,
    /// No member fails for good.
    Failed,
}

#[derive(Clone)]
pub struct World {
    pub now: Millis,
    pub processes: Vec<Arc<Process>>,
    pub coordinator: Arc<Coordinator>,
    pub mail: Vec<Arc<Message>>,
    pub left: Budget,
    pub broken: Option<(Invariant, String)>,
    pub serial: u64,
}

impl World {
    pub fn new(scenario: &Scenario) -> Self {
        Self {
            now: 0,
            processes: (0..scenario.slots).map(|_| Arc::new(Process::absent(0, Vec::new()))).collect(),
            coordinator: Arc::new(scenario.coordinator()),
            mail: Vec::new(),
            left: Budget::default(),
            broken: None,
            serial: 0,
        }
    }

    fn process(&mut self, who: usize) -> &mut Process {
        Arc::make_mut(&mut self.processes[who])
    }

    fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn breaks(&mut self, invariant: Invariant, how: String) {
        self.broken.get_or_insert((invariant, how));
    }

    // ── steps of a schedule ──────────────────────────────────────────────────────────────────────────────────────────

    /// A new process, or one that has left and subscribes again.
    pub fn join(&mut self, scenario: &Scenario, who: usize) {
        let now = scenario.at(self.now);
        let process = self.process(who);
        if process.life == ProcessState::Absent {
            process.life = ProcessState::Running;
            process.incarnation += 1;
            process.member = Some(scenario.member(who, process.incarnation));
        }
        if let Some(member) = &mut process.member {
            member.subscribe(now, scenario.topics());
        }
        self.drive(scenario, who);
    }

    pub fn leave(&mut self, scenario: &Scenario, who: usize) {
        let now = scenario.at(self.now);
        let process = self.process(who);
        process.has.clear();
        process.going.clear();
        process.callback = None;
        process.commit = None;
        if let Some(member) = &mut process.member {
            member.leave(now, "the story says so", GroupMembership::Default);
        }
        self.drive(scenario, who);
    }

    pub fn crash(&mut self, who: usize) {
        let process = self.process(who);
        let assigned = std::mem::take(&mut process.assigned);
        *process = Process::absent(process.incarnation, assigned);
        self.mail.retain(|message| message.who != who || message.is_request());
    }

    pub fn pause(&mut self, who: usize) {
        self.process(who).life = ProcessState::Paused;
    }

    /// Advances the time first, as the engine does.
    pub fn resume(&mut self, scenario: &Scenario, who: usize) {
        self.process(who).life = ProcessState::Running;
        self.wake(scenario, who);
    }

    pub fn stop_polling(&mut self, who: usize) {
        self.process(who).polls = false;
    }

    pub fn resume_polling(&mut self, scenario: &Scenario, who: usize) {
        self.process(who).polls = true;
        self.wake(scenario, who);
    }

    /// The callback takes time.
    pub fn slow_callback(&mut self, who: usize) {
        if let Some(callback) = &mut self.process(who).callback {
            callback.slow = true;
        }
    }

    /// The callback returns.
    pub fn release(&mut self, scenario: &Scenario, who: usize) {
        let now = scenario.at(self.now);
        let process = self.process(who);
        process.callback = None;
        let going = std::mem::take(&mut process.going);
        process.has.retain(|partition| !going.contains(partition));
        let polls = process.polls;
        if let Some(member) = &mut process.member {
            if polls {
                member.on_poll(now);
            }
            let id = process.releasing.take().filter(|_| scenario.flaw != Some(Flaw::ReleasesAtOnce));
            if let Some(id) = id {
                member.revocation_done(now, id);
            }
        }
        self.drive(scenario, who);
    }

    /// Commits some of the partitions that it may.
    pub fn commit(&mut self, scenario: &Scenario, who: usize) {
        let caller = self.serial();
        let until = self.now + scenario.request_timeout();
        let process = self.process(who);
        let Some(identity) = process.member.as_ref().and_then(Member::identity) else { return };
        let partitions = process.has.clone();
        process.commit = Some(Outstanding { caller, id: CallId(caller), until });
        self.post(who, caller, Lane::Group, What::Commit(identity, partitions));
    }

    /// Whether a process could commit now: never what is lost.
    pub fn may_commit(&self, who: usize) -> bool {
        let process = &self.processes[who];
        process.life == ProcessState::Running
            && process.commit.is_none()
            && !process.has.is_empty()
            && !process.callback.is_some_and(|callback| callback.lost)
            && process.member.as_ref().is_some_and(|member| member.identity().is_some())
    }

    pub fn is_committing(&self, who: usize) -> bool {
        self.processes[who].commit.is_some()
    }

    /// A call waits at the coordinator, and no message of it is in flight.
    pub fn waits(&self, who: usize) -> bool {
        self.waiting(who).is_some()
    }

    fn waiting(&self, who: usize) -> Option<(Lane, Outstanding)> {
        let waits = |call: &Outstanding| self.mail.iter().all(|message| message.caller != call.caller);
        let calls = [Lane::Join, Lane::Group].into_iter().zip(self.processes[who].calls);
        calls.filter_map(|(lane, call)| Some((lane, call?))).find(|(_, call)| waits(call))
    }

    /// The connection of a waiting call breaks.
    pub fn cut(&mut self, who: usize) {
        if let Some((lane, call)) = self.waiting(who) {
            self.post(who, call.caller, lane, What::Answer(call.id, None));
        }
    }

    /// A connection breaks with the message on it.
    pub fn lose(&mut self, at: usize) {
        let message = self.mail.remove(at);
        let call = self.processes[message.who].call(message.caller).copied();
        match &message.what {
            What::Request(_) | What::Answer(..) => {
                if let Some(call) = call {
                    self.post(message.who, message.caller, message.lane, What::Answer(call.id, None));
                }
            }
            What::Commit(..) | What::Committed(..) => {}
        }
    }

    pub fn repeat(&mut self, at: usize) {
        self.mail.push(self.mail[at].clone());
    }

    pub fn deliver(&mut self, scenario: &Scenario, at: usize) {
        let message = self.mail.remove(at);
        let (who, now) = (message.who, scenario.at(self.now));
        match message.what.clone() {
            What::Request(mut request) => {
                let at = self.now;
                if let (Some(Flaw::Impatient), Request::JoinGroup(join)) = (scenario.flaw, &mut request) {
                    join.session_timeout_ms -= i32::try_from(EARLY).unwrap();
                }
                Arc::make_mut(&mut self.coordinator).handle(at, message.caller, request);
                self.collect(scenario);
            }
            What::Commit(identity, partitions) => {
                let code = scenario.judge(&self.coordinator, &identity);
                let asked = self.processes[who].commit.is_some_and(|commit| commit.caller == message.caller);
                // A commit that was given up may arrive late, and Kafka cannot know.
                if code.is_ok() && asked {
                    for other in (0..self.processes.len()).filter(|other| *other != who) {
                        let both = |held: &&TopicPartition| partitions.contains(*held);
                        let taken = self.holds(scenario, other).into_iter().find(both).cloned();
                        if let Some(taken) = taken {
                            let how = format!("{who} commits {taken}, which {other} has");
                            return self.breaks(Invariant::Safe7, how);
                        }
                    }
                }
                if asked {
                    self.post(who, message.caller, message.lane, What::Committed(identity, code));
                }
            }
            What::Committed(identity, code) => {
                let process = self.process(who);
                process.commit = None;
                if let Some(member) = process.member.as_mut().filter(|_| !code.is_ok()) {
                    member.on_commit_refused(now, code, &identity);
                }
                self.drive(scenario, who);
            }
            What::Answer(id, response) => {
                let process = self.process(who);
                for call in &mut process.calls {
                    call.take_if(|call| call.caller == message.caller);
                }
                let answer = match response {
                    Some(response) => {
                        let version = response.api_key().versions().max;
                        Ok(Answer { from: Some(BROKER), version, memory: 0, response })
                    }
                    None => Err(CallError::Disconnected { address: "broker".into(), reason: "cut".into() }),
                };
                if let Some(member) = &mut process.member {
                    member.handle_answer(now, id, answer);
                }
                self.drive(scenario, who);
            }
        }
    }

    /// Moves the time to the next timer.
    pub fn tick(&mut self, scenario: &Scenario) {
        let Some(next) = self.next_time(scenario) else { return };
        self.now = next;
        Arc::make_mut(&mut self.coordinator).tick(next);
        self.collect(scenario);
        for who in 0..self.processes.len() {
            if self.processes[who].life == ProcessState::Running {
                self.wake(scenario, who);
            }
        }
    }

    pub fn next_time(&self, scenario: &Scenario) -> Option<Millis> {
        let running = self.processes.iter().filter(|process| process.life == ProcessState::Running);
        let timers = running.flat_map(|process| {
            let machine = process.member.as_ref().and_then(Member::poll_timeout);
            let [join, group] = process.calls.map(|call| call.map(|call| call.until));
            [machine.map(|at| scenario.tick_of(at)), join, group, process.commit.map(|commit| commit.until)]
        });
        let next = timers.flatten().chain(self.coordinator.next_deadline()).min()?;
        Some(next.max(self.now + TICK))
    }

    // ── queries ─────────────────────────────────────────────────────────────────────────────────────────────────

    /// The partitions that a process may still use: everything assigned, until it is notified of the loss,
    /// its revocation is done, or its own clock shows that it is no longer a member (SAFE6).
    pub fn holds(&self, scenario: &Scenario, who: usize) -> BTreeSet<&TopicPartition> {
        let process = &self.processes[who];
        let member = process.member.as_ref().filter(|_| process.life == ProcessState::Running);
        let valid = member.and_then(Member::valid_until).is_some_and(|until| scenario.at(self.now) < until);
        let lost = process.callback.is_some_and(|callback| callback.lost);
        let holds = |partition: &&TopicPartition| !(lost && process.going.contains(*partition));
        process.has.iter().filter(|_| valid).filter(holds).collect()
    }

    pub fn is_settled(&self, scenario: &Scenario) -> bool {
        let living: Vec<_> = self
            .processes
            .iter()
            .filter_map(|p| p.member.as_ref().map(|member| (p, member)))
            .filter(|(_, member)| member.state_name() != "outside")
            .collect();
        let (classic, modern) = (&self.coordinator, &self.coordinator.modern);
        let generation = if scenario.is_modern() { modern.epoch() } else { classic.generation() };
        let mut has: Vec<_> = living.iter().flat_map(|(process, _)| process.has.iter().cloned()).collect();
        has.sort_unstable();
        living.iter().all(|(process, member)| {
            member.state_name() == "stable"
                && process.callback.is_none()
                && member.identity().is_some_and(|identity| identity.generation == generation)
        }) && classic.member_ids().len() + modern.member_count() == living.len()
            && (scenario.is_modern() || living.is_empty() || classic.phase() == Phase::Stable)
            && modern.is_stable()
            && (living.is_empty() || has == scenario.all_partitions())
    }

    /// Whether a message is late if time passes now.
    pub fn message_is_late(&self) -> bool {
        self.mail.iter().any(|message| {
            !matches!(message.what, What::Answer(_, None))
                && self.processes[message.who].life != ProcessState::Paused
        })
    }

    /// Whether an older request of the same process is still in flight on the same connection.
    pub fn is_overtaking(&self, at: usize) -> bool {
        let message = &self.mail[at];
        message.is_request() && self.mail.iter().any(|other| other.is_before(message))
    }
}

impl Process {
    fn absent(incarnation: u64, assigned: Vec<(i32, BTreeSet<TopicPartition>)>) -> Self {
        Self {
            member: None,
            life: ProcessState::Absent,
            has: BTreeSet::new(),
            going: BTreeSet::new(),
            callback: None,
            releasing: None,
            polls: true,
            calls: [None; 2],
            commit: None,
            incarnation,
            assigned,
        }
    }
}

impl Process {
    /// The outstanding call of that caller.
    fn call(&self, caller: Caller) -> Option<&Outstanding> {
        self.calls.iter().flatten().find(|call| call.caller == caller)
    }
}

impl Message {
    /// Whether it is an older request over the same connection.
    fn is_before(&self, other: &Self) -> bool {
        (self.who, self.lane) == (other.who, other.lane) && self.is_request() && self.caller < other.caller
    }

    pub fn is_request(&self) -> bool {
        matches!(self.what, What::Request(_) | What::Commit(..))
    }
}
