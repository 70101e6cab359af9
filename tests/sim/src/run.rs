//! One run: carries out a plan in virtual time, and collects the checker's verdict.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use offtake_broker::{Config, Model};
use tokio::{runtime::Builder, task::JoinSet};

use crate::{
    check::{Checker, Violation},
    clock::{self, ms},
    copying,
    events::{Event, How, Log, Place, Reported, What, Who},
    member::{Ended, MemberRun, Orders},
    nemesis,
    plan::{Blow, Commits, FaultKind, Kind, Plan},
    producer::Producer,
    working,
    world::World,
};

/// The rack of a broker.
pub(crate) fn rack(broker: i32) -> String {
    format!("rack-{broker}")
}

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) violations: Vec<Violation>,
    pub(crate) virtual_time: Duration,
    /// The classes of faults that struck, and the marks that were reached.
    pub(crate) marks: BTreeMap<&'static str, u64>,
    pub(crate) events: Vec<Event>,
}

impl Outcome {
    /// A hash of every event: two runs of one plan have the same.
    pub(crate) fn hash(&self) -> u64 {
        // Made like this, the standard library's hasher has fixed keys: the same in every process.
        let mut hasher = DefaultHasher::new();
        for event in self.events.iter().filter(|event| !matches!(event.what, What::Wire { .. })) {
            event.to_string().hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// Carries out a plan. With `wire`, the events include the requests and answers of engines and brokers.
fn run(plan: &Plan, wire: bool) -> Outcome {
    let plan = Arc::new(plan.clone());
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let Ok(runtime) = runtime else {
        unreachable!("a runtime without I/O needs nothing that can be missing")
    };
    crate::panics::last();
    let mut outcome = runtime.block_on(arena(plan, wire));
    drop(runtime);
    // A panic of an engine does not spread: only the hook notices it (SAFE17).
    if let Some(text) = crate::panics::last() {
        outcome.violations.push(Violation { rule: "SAFE17".to_owned(), at: 0, text });
    }
    outcome
}

async fn arena(plan: Arc<Plan>, wire: bool) -> Outcome {
    let start = clock::now();
    let log = Log::new(start);
    let _listening = wire.then(|| crate::wire::listen(log.clone()));
    let mut config = Config::default();
    config.brokers = plan.brokers;
    if plan.racks {
        config.racks = (1..=plan.brokers).map(rack).collect();
    }
    config.seed = plan.seed;
    config.replication_factor = i16::try_from(plan.brokers).unwrap_or(1);
    config.initial_rebalance_delay = ms(plan.initial_rebalance_delay);
    config.consumer_session_timeout = ms(plan.session_timeout);
    config.consumer_heartbeat_interval = ms(1_000);
    config.observe = true;
    if let Some(copies) = &plan.copies {
        config.transaction_version = copies.transaction_version;
    }
    let mut model = Model::new(start, config);
    nemesis::create_topics(&mut model, &plan);
    let world = World::new(model, log.clone(), plan.seed, plan.latency);
    world.lock().partial_writes = plan.partial_writes;
    if let Some(work) = &plan.work {
        world.lock().retries = work.retry_topics().map(|(name, _)| name).collect();
    }
    let mut tasks = JoinSet::new();
    tasks.spawn(world.clone().run());
    let mut producers = JoinSet::new();
    for number in 0..plan.producers.len() {
        producers.spawn(Producer::new(world.clone(), plan.clone(), number).run());
    }
    let cast = Cast::default();
    if let Some(work) = &plan.work {
        working::strike(&log, work, &cast);
    }
    tasks.spawn(nemesis::run(world.clone(), plan.clone(), cast.clone()));
    let mut members = JoinSet::new();
    for number in 0..plan.members.len() {
        members.spawn(lives(world.clone(), plan.clone(), cast.clone(), number));
    }

    let mut checker = Checker::new(plan.clone());
    let mut seen = 0;
    let mut copies = copying::Reader::default();
    let deadline = ms(plan.calm) + patience(&plan);
    let calm = start + ms(plan.calm);
    let mut verdict = Verdict::Working;
    while verdict == Verdict::Working {
        clock::sleep(ms(100)).await;
        if let Some(plan) = &plan.copies {
            copies.read(&world, plan);
        }
        show(&log, &mut checker, &mut seen);
        while producers.try_join_next().is_some() {}
        if !checker.is_content() {
            verdict = Verdict::Wrong;
        } else if clock::now() > calm
            && producers.is_empty()
            && checker.unprocessed().is_empty()
            && checker.unowned().is_empty()
            && checker.uncopied().is_empty()
            && checker.unhandled().is_empty()
        {
            verdict = Verdict::Quiet;
        } else if clock::now() > start + deadline {
            verdict = Verdict::Stuck;
        }
    }
    match verdict {
        Verdict::Stuck => {
            let at = clock::now().saturating_duration_since(start);
            let (left, unowned) = (checker.unprocessed(), checker.unowned());
            let (left, uncopied) = (counted(&left), counted(&checker.uncopied()));
            let unowned: Vec<_> = unowned.iter().map(ToString::to_string).collect();
            let mut text = format!("not processed: {left:?}; nobody holds {unowned:?}");
            if plan.copies.is_some() {
                text.push_str(&format!("; not copied and committed: {uncopied:?}"));
            }
            if plan.work.is_some() {
                let unhandled = counted(&checker.unhandled());
                text.push_str(&format!("; not handled, or not committed: {unhandled:?}"));
            }
            checker.stuck(at, text);
        }
        Verdict::Quiet => {
            log.tell(What::Quiet);
            // Idle time, in which a busy loop shows.
            clock::sleep(Duration::from_secs(4)).await;
            cast.orders.stop.store(true, Ordering::Relaxed);
            while members.join_next().await.is_some() {}
            clock::sleep(ms(2 * plan.latency.1 + 300)).await;
            if let Some(plan) = &plan.copies {
                copies.read(&world, plan);
            }
            let tasks =
                || tokio::runtime::Handle::current().metrics().num_alive_tasks().saturating_sub(WORLD_TASKS);
            let until = clock::now() + PRODUCER_ENDS;
            let mut still_closes = false;
            while plan.copies.is_some() && tasks() > 0 && clock::now() < until {
                clock::sleep(ms(500)).await;
                still_closes = true;
            }
            if still_closes {
                clock::sleep(ms(2 * plan.latency.1 + 300)).await;
            }
            let connections = world.lock().open_lines();
            log.tell(What::Over { tasks: tasks(), connections });
        }
        Verdict::Working | Verdict::Wrong => {}
    }
    show(&log, &mut checker, &mut seen);
    let virtual_time = clock::now().saturating_duration_since(start);
    members.abort_all();
    tasks.abort_all();
    world.with(|state, _| {
        for process in state.processes.values_mut() {
            process.tasks.drain(..).for_each(|task| task.abort());
        }
    });
    let events = log.take();
    Outcome { marks: marks(&plan, &events), violations: checker.violations(), virtual_time, events }
}

/// Of all tasks that are left at the end, this one is the world's.
const WORLD_TASKS: usize = 1;

/// A dropped producer finishes its records for this long (`delivery.timeout.ms`).
const PRODUCER_ENDS: Duration = Duration::from_secs(21);

fn counted(left: &[(Place, i64, usize)]) -> Vec<String> {
    left.iter().map(|(place, offset, count)| format!("{count} of {place} from {offset}")).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Working,
    Quiet,
    Wrong,
    Stuck,
}

/// Feeds new events to the checker.
fn show(log: &Log, checker: &mut Checker, seen: &mut usize) {
    log.read(|all| {
        all.get(*seen..).unwrap_or_default().iter().for_each(|event| checker.feed(event));
        *seen = all.len();
    });
}

/// LIVE1 and LIVE2: how long after the last fault all partitions must be owned and read.
fn patience(plan: &Plan) -> Duration {
    let session = plan.session_timeout;
    // The group waits for members that died while they joined.
    let rebalance = plan.max_poll_interval;
    let request_timeouts = 2 * 10_000;
    let backoffs = 2 * 1_000;
    let processing: u64 =
        plan.producers.iter().map(|producer| producer.batches * producer.records * 3).sum::<u64>()
            * plan
                .members
                .iter()
                .map(|member| member.processing.1 + member.listener.0 / 100 + 2)
                .max()
                .unwrap_or(0);
    // Late markers hold up their producer.
    let late = plan.producers.iter().map(|producer| match producer.kind {
        Kind::Transactional { late, .. } => producer.batches * late,
        Kind::Plain => 0,
    });
    let processing =
        processing + late.max().unwrap_or(0) + refused_commits(plan) + transactions(plan) + retries(plan);
    let slow = plan.members.iter().map(|member| member.poll_timeout + member.listener.0).max().unwrap_or(0);
    ms(session + rebalance + request_timeouts + backoffs + 5_000 + processing + 20 * (slow + plan.latency.1))
}

/// The additional time for copying: at worst a transaction for each record, and at first a wait for transactions that dead members left
/// open, or that can no longer be committed.
fn transactions(plan: &Plan) -> u64 {
    let Some(copies) = &plan.copies else { return 0 };
    let records = plan.producers.iter().map(|producer| producer.batches * producer.records * 3).sum::<u64>();
    let each = 8 * plan.latency.1 + copies.linger + 50;
    let handful = plan.members.iter().map(|member| u64::from(member.max_poll_records)).min().unwrap_or(1);
    records / handful.clamp(1, 10) * each + 2 * (copies.timeout + copies.max_block) + plan.max_poll_interval
}

/// The additional time for workers: at worst records are retried one after the other, breakers are open, dead letters are abandoned and
/// partitions stop with them.
fn retries(plan: &Plan) -> u64 {
    let Some(work) = &plan.work else { return 0 };
    let records = plan.producers.iter().map(|producer| producer.batches * producer.records * 3).sum::<u64>();
    let stages = u64::try_from(work.retries.len()).unwrap_or(0) + 1;
    let attempts = work.attempts_in(work.retries.len() + 1).map_or(0, |attempts| *attempts.end());
    let doomed = records * work.doomed / 100 * u64::from(attempts) * (work.delay.1 + 1);
    // Each topic is read on when its next record is due.
    let aside = work.retries.iter().map(|delay| delay + 3_000).sum::<u64>();
    let breaker = work.breaker.as_ref().map_or(0, |breaker| 10 * breaker.pause);
    let letters = stages * records * (work.poison + work.doomed) / 100 * (8 * plan.latency.1 + 20);
    let ends = 3 * (work.grace + 5 * work.close_timeout + work.restarts_after);
    doomed
        + aside
        + breaker
        + letters
        + ends
        + work.delivery_timeout
        + work.commit_interval
        + 10 * work.delay.1
}

/// A topic is deleted that a member reads by hand, which continues with the fetched records: each commit of those is retried a few times
/// before it fails, and the member that waits for it hands out nothing else meanwhile.
fn refused_commits(plan: &Plan) -> u64 {
    const TRIED_FOR: u64 = 3_000;
    let deleted = plan.faults.iter().filter_map(|fault| match fault.what {
        FaultKind::Delete { topic } => Some(topic),
        _ => None,
    });
    let written = |topic: usize| {
        let producers = plan.producers.iter().filter(move |producer| producer.topic == topic);
        producers.map(|producer| producer.batches * producer.records).sum::<u64>()
    };
    let written: u64 = deleted.map(written).sum();
    let waits = plan.members.iter().filter(|member| member.by_hand && member.commits == Commits::Sync);
    waits
        .map(|member| written.div_ceil(u64::from(member.max_poll_records).max(1)) * TRIED_FOR)
        .max()
        .unwrap_or(0)
}

/// The state that the nemesis and the members share.
#[derive(Clone, Default)]
pub(crate) struct Cast {
    pub(crate) orders: Arc<Orders>,
    /// Kills, and when to return, if at all.
    kills: Arc<std::sync::Mutex<BTreeMap<usize, Option<u64>>>>,
    struck: Arc<tokio::sync::Notify>,
}

impl Cast {
    /// Stops a worker, and restarts it after that time.
    pub(crate) fn halt(&self, member: usize, how: Blow, returns: u64) {
        let mut halts = self.orders.halts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        halts.insert(member, (how, returns));
        drop(halts);
        self.orders.halted.notify_waiters();
    }

    pub(crate) fn kill(&self, member: usize, returns: Option<u64>) {
        self.kills.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(member, returns);
        self.struck.notify_waiters();
    }

    fn killed(&self, member: usize) -> Option<Option<u64>> {
        self.kills.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&member)
    }
}

/// Runs the lives of one member, one after the other.
async fn lives(world: World, plan: Arc<Plan>, cast: Cast, member: usize) {
    let mine = &plan.members[member];
    clock::sleep(ms(mine.joins)).await;
    let mut leaves = mine.leaves.map(|(at, how)| (ms(at.saturating_sub(mine.joins)), how));
    for life in 0.. {
        let who = Who { member, life };
        if life > 0 && mine.rival_of.is_some() {
            // It has left by then, however often it is fenced before.
            leaves = mine.leaves.map(|(at, how)| (ms(at).saturating_sub(world.log.now()), how));
        }
        let one = MemberRun { world: world.clone(), plan: plan.clone(), orders: cast.orders.clone(), who }
            .live(leaves.take());
        let mut task = world.spawn(member, Box::pin(one));
        let again = loop {
            let struck = cast.struck.notified();
            if let Some(returns) = cast.killed(member) {
                world.log.tell(What::Crashed { who });
                world.with(|state, _| {
                    let process = state.processes.entry(member).or_default();
                    process.tasks.drain(..).for_each(|task| task.abort());
                    process.thaw();
                });
                break returns;
            }
            tokio::select! {
                biased;
                ended = &mut task => break match ended {
                    Ok(Ended::Again(after)) => Some(after),
                    Ok(Ended::Left) => mine.returns.filter(|_| life == 0 && mine.leaves.is_some()),
                    Ok(Ended::Failed) => {
                        world.log.tell(What::Crashed { who });
                        // After a fence, the operator restarts neither of the two.
                        (!world.log.read(|events| is_fenced(events, who)) || !plan.has_a_twin(member)).then_some(1_000)
                    }
                    Err(error) if error.is_panic() => {
                        let message = crate::panics::last().unwrap_or_default();
                        world.log.tell(What::Panicked { who, message });
                        None
                    }
                    Err(_) => None,
                },
                () = struck => {}
            }
        };
        if cast.orders.stop.load(Ordering::Relaxed) {
            return;
        }
        match again {
            Some(after) => clock::sleep(ms(after)).await,
            None => return,
        }
        if cast.orders.stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// Whether it was told that another has its `group.instance.id`, and has not started anew since.
fn is_fenced(events: &[Event], who: Who) -> bool {
    let last = events.iter().rev().find_map(|event| match &event.what {
        What::Failed { who: of, kind, fatal: true, .. } if *of == who && kind == "Fenced" => Some(true),
        What::JoinSent { who: of } | What::HeartbeatSent { who: of } if *of == who => Some(false),
        _ => None,
    });
    last == Some(true)
}

fn marks(plan: &Plan, events: &[Event]) -> BTreeMap<&'static str, u64> {
    let mut marks: BTreeMap<&'static str, u64> = BTreeMap::new();
    let comes_again = |event: &Event| matches!(event.what, What::Started { who } if who.life > 0);
    let is_committed =
        |event: &Event| matches!(event.what, What::CopyingEnded { told: Reported::Committed, .. });
    let ended = |event: &Event| matches!(event.what, What::HandlerEnded { .. });
    let habits = [
        ("handler blocked", plan.has("blocking") && events.iter().any(ended)),
        ("copied in steps", plan.has("steps") && events.iter().any(is_committed)),
        ("opened ahead early or late", plan.opens_ahead),
        ("wall clock jumped", plan.clock_jumps && events.iter().any(comes_again)),
    ];
    marks.extend(habits.into_iter().filter(|(_, is_so)| *is_so).map(|(habit, _)| (habit, 1)));
    for event in events {
        let mark = match &event.what {
            What::Fault { class, waits: false, .. } | What::Struck { class } => class,
            What::Revoked { .. } => "partitions revoked",
            What::Lost { .. } => "partitions lost",
            What::Reset { from: None, .. } => "began by policy",
            What::Reset { .. } => "position reset",
            What::TruncationTold { .. } => "truncation told",
            What::Sought { epoch: 0.., .. } => "offsets kept elsewhere",
            What::Sought { .. } => "partition stopped and sought",
            What::PollEnds { dropped: true, .. } => "poll dropped",
            What::Resubscribed { .. } => "subscription changed",
            What::Assigned { generation: -1, .. } => "assigned by hand",
            What::Failed { kind, fatal: true, .. } if kind == "Fenced" => "fenced by a twin",
            What::Failed { fatal: true, .. } => "fatal error",
            What::Ended { committed: false, .. } => "transaction aborted",
            What::CopyingEnded { told: Reported::Committed, .. } => "copies committed",
            What::CopyingEnded { told: Reported::Aborted, .. } => "copies aborted",
            What::CopyingEnded { told: Reported::Unknown, .. } => "outcome of copies unknown",
            What::ProducerFailed { kind, .. } if kind == "Fenced" => "transactional id fenced",
            What::HandlerEnded { how: How::Failed, .. } => "handler failed",
            What::HandlerEnded { how: How::Panicked, .. } => "handler panicked",
            What::HandlerEnded { how: How::Dropped, .. } => "handler dropped",
            What::HandlerEnded { how: How::Ignored, .. } => "handler blocked on and was ignored",
            What::Letter { .. } => "record dead-lettered",
            What::PutAside { .. } => "record put aside",
            What::Claimed { .. } => "finished beyond a gap",
            What::PartitionStopped { .. } => "partition stopped",
            What::Breaker { state, .. } if state == "open" => "breaker opened",
            What::WorkerEnded { clean: true, .. } => "worker stopped clean",
            What::MemberGone { why, .. } => why,
            What::Delivered { .. } => "records delivered",
            What::CloseEnds { .. } => "closed",
            _ => continue,
        };
        *marks.entry(mark).or_default() += 1;
    }
    marks
}

/// Catches panics that escape from a run: the arena goes on with the next seed.
pub(crate) fn guarded(plan: &Plan) -> Outcome {
    caught(|| run(plan, false))
}

/// The same, with the requests and answers of engines and brokers among the events.
pub(crate) fn traced(plan: &Plan) -> Outcome {
    caught(|| run(plan, true))
}

fn caught(run: impl FnOnce() -> Outcome) -> Outcome {
    let caught = std::panic::catch_unwind(AssertUnwindSafe(run));
    caught.unwrap_or_else(|_| {
        let text = crate::panics::last().unwrap_or_else(|| "the run panicked".to_owned());
        Outcome {
            violations: vec![Violation { rule: "SAFE17".to_owned(), at: 0, text }],
            virtual_time: Duration::ZERO,
            marks: BTreeMap::new(),
            events: Vec::new(),
        }
    })
}
