//! Tests of the loop with an engine that logs its inputs, and a carrier that answers each call with a
//! failure.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use offtake_machine::{Answer, BrokerId, CallError, CallId, Cluster, Target, Transmit};
use offtake_net::{Carrier, Completion, Lane};
use offtake_wire::messages::metadata::MetadataRequest;
use tokio::runtime;

use super::*;

/// What happened, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Sends one request for each command, and is closed half a second after its handle was dropped.
struct Recorder {
    log: Log,
    outputs: VecDeque<&'static str>,
    requests: VecDeque<u64>,
    closes_at: Option<Instant>,
    is_closed: bool,
    /// Whether it requests a probe of a runtime.
    wants_probe: bool,
    wall: Option<(Instant, i64)>,
}

impl Engine for Recorder {
    type Command = u64;
    type Output = &'static str;

    fn handle_command(&mut self, _: Instant, command: u64) {
        self.log.note(format!("command {command}"));
        self.outputs.push_back("heard");
        self.requests.push_back(command);
    }

    fn handle_abandoned(&mut self, now: Instant) {
        self.log.note("abandoned");
        self.closes_at = Some(now + Duration::from_millis(500));
    }

    fn handle_wall_clock(&mut self, now: Instant, wall_ms: i64) {
        self.wall = Some((now, wall_ms));
    }

    fn handle_answer(&mut self, now: Instant, tag: u64, result: Result<Answer, CallError>) {
        let shown_now = self.wall.is_some_and(|(at, wall_ms)| at == now && wall_ms <= clock::wall_ms());
        assert!(shown_now, "it does not know the time on the wall: {:?}", self.wall);
        self.log.note(format!("answer {tag}: {}", result.is_ok()));
    }

    fn handle_timeout(&mut self, now: Instant) {
        if !self.is_closed && self.closes_at.is_some_and(|at| at <= now) {
            self.log.note("closed");
            self.is_closed = true;
        }
    }

    fn handle_late_wakeup(&mut self, _: Instant, by: Duration) {
        if by > Duration::from_secs(1) {
            self.log.note(format!("late by {} s", by.as_secs()));
        }
    }

    fn poll_probe(&mut self, _: Instant) -> Option<runtime::Handle> {
        std::mem::take(&mut self.wants_probe).then(runtime::Handle::current)
    }

    fn handle_probe_answered(&mut self, _: Instant) {
        self.log.note("probe answered");
    }

    fn handle_suspension(&mut self, _: Instant, by: Duration) {
        self.log.note(format!("suspended for {} s", by.as_secs()));
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.closes_at
    }

    fn is_closed(&self) -> bool {
        self.is_closed
    }

    fn poll_output(&mut self, _: Instant) -> Option<&'static str> {
        self.outputs.pop_front()
    }

    fn take_rebootstrap(&mut self) -> bool {
        false
    }

    fn take_changed_cluster(&mut self) -> Option<Arc<Cluster>> {
        None
    }

    fn poll_found_broker(&mut self) -> Option<(BrokerId, String, u16)> {
        None
    }

    fn poll_withdrawal(&mut self) -> Option<u64> {
        None
    }

    fn poll_transmit(&mut self, _: Instant) -> Option<(u64, Lane, Transmit)> {
        let tag = self.requests.pop_front()?;
        let transmit = Transmit {
            id: CallId(tag),
            to: Target::Any,
            request: MetadataRequest::default().into(),
            max_version: None,
            timeout: Duration::from_secs(1),
            prompt: None,
        };
        Some((tag, Lane::Control, transmit))
    }
}

struct Failing {
    log: Log,
    waiting: VecDeque<u64>,
}

impl Carrier for Failing {
    fn send(&mut self, tag: u64, _: Lane, _: Transmit) {
        self.log.note(format!("request {tag}"));
        self.waiting.push_back(tag);
    }

    fn withdraw(&mut self, _: u64) {}

    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Completion> {
        match self.waiting.pop_front() {
            Some(tag) => Poll::Ready(Completion { tag, result: Err(CallError::Withdrawn) }),
            None => Poll::Pending,
        }
    }

    fn update_brokers(&mut self, _: &Cluster) {}

    fn learn_broker(&mut self, _: BrokerId, _: &str, _: u16) {}

    fn forget_brokers(&mut self) {}
}

/// Answers each call from a task of its own, on the same thread, as connections do.
struct ByTasks {
    log: Log,
    answers: (mpsc::UnboundedSender<u64>, mpsc::UnboundedReceiver<u64>),
}

impl Carrier for ByTasks {
    #[expect(clippy::disallowed_methods, reason = "it stands in for connections")]
    fn send(&mut self, tag: u64, _: Lane, _: Transmit) {
        self.log.note(format!("request {tag}"));
        let answer = self.answers.0.clone();
        tokio::spawn(async move { answer.send(tag) });
    }

    fn withdraw(&mut self, _: u64) {}

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Completion> {
        let answered = self.answers.1.poll_recv(cx);
        answered.map(|tag| Completion { tag: tag.unwrap_or_default(), result: Err(CallError::Withdrawn) })
    }

    fn update_brokers(&mut self, _: &Cluster) {}

    fn learn_broker(&mut self, _: BrokerId, _: &str, _: u16) {}

    fn forget_brokers(&mut self) {}
}

impl Outputs<&'static str> for Log {
    fn push(&mut self, output: &'static str) {
        self.note(output);
    }

    fn flush(&mut self) {}
}

fn start(log: &Log) -> (mpsc::UnboundedSender<u64>, impl Future<Output = ()>) {
    start_by(log, || Duration::ZERO)
}

fn start_by(
    log: &Log,
    ahead: impl FnMut() -> Duration,
) -> (mpsc::UnboundedSender<u64>, impl Future<Output = ()>) {
    start_probing(log, ahead, false)
}

fn start_probing(
    log: &Log,
    ahead: impl FnMut() -> Duration,
    wants_probe: bool,
) -> (mpsc::UnboundedSender<u64>, impl Future<Output = ()>) {
    start_with(log, ahead, wants_probe, Box::new(Failing { log: log.clone(), waiting: VecDeque::new() }))
}

fn start_with(
    log: &Log,
    ahead: impl FnMut() -> Duration,
    wants_probe: bool,
    carrier: Box<dyn Carrier>,
) -> (mpsc::UnboundedSender<u64>, impl Future<Output = ()>) {
    let engine = Recorder {
        log: log.clone(),
        outputs: VecDeque::new(),
        requests: VecDeque::new(),
        closes_at: None,
        is_closed: false,
        wants_probe,
        wall: None,
    };
    let transport = Transport::carrier(carrier);
    let (commands, commanded) = mpsc::unbounded_channel();
    (commands, run_by(engine, transport, commanded, log.clone(), Suspensions::new(ahead)))
}

#[tokio::test(start_paused = true)]
async fn a_command_is_answered_to_the_handle_before_its_request_goes_and_an_abandoned_engine_ends() {
    let log = Log::default();
    let (commands, running) = start(&log);
    for command in [1, 2] {
        commands.send(command).unwrap();
    }
    drop(commands);
    running.await;
    let expected = [
        "command 1",
        "heard",
        "request 1",
        "answer 1: false",
        "command 2",
        "heard",
        "request 2",
        "answer 2: false",
        "abandoned",
        "closed",
    ];
    assert_eq!(log.take(), expected);
}

/// Other threads may send commands faster than they are handled, for ever.
#[tokio::test(start_paused = true)]
async fn a_flood_of_commands_delays_neither_requests_nor_answers() {
    const FLOOD: u64 = 10_000;
    let log = Log::default();
    let carrier = ByTasks { log: log.clone(), answers: mpsc::unbounded_channel() };
    let (commands, running) = start_with(&log, || Duration::ZERO, false, Box::new(carrier));
    for command in 1..=FLOOD {
        commands.send(command).unwrap();
    }
    drop(commands);
    running.await;
    let log = log.take();
    let handled: Vec<_> = log.iter().filter_map(|what| what.strip_prefix("command ")).collect();
    assert!(handled.iter().map(|number| number.parse()).eq((1..=FLOOD).map(Ok)), "each once, in order");
    for what in ["request 2", "answer 2: false"] {
        let at = log.iter().position(|line| line == what).unwrap();
        let before = log[..at].iter().filter(|line| line.starts_with("command ")).count();
        assert!(before <= 3 * COMMANDS_PER_TURN, "{what}: after {before} commands");
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_hears_that_it_was_woken_late_before_it_acts() {
    let log = Log::default();
    let (commands, running) = start(&log);
    drop(commands);
    let mut running = std::pin::pin!(running);
    let until_it_waits = tokio::time::timeout(Duration::from_millis(100), &mut running);
    assert!(until_it_waits.await.is_err());
    tokio::time::advance(Duration::from_secs(60)).await; // the loop is not polled meanwhile
    running.await;
    assert_eq!(log.take(), ["abandoned", "late by 59 s", "closed"]);
}

/// The machine is suspended for two hours: the loop's clock stands still, and another does not. A clock that
/// is set back, or advances by less than a second, means no suspension.
#[tokio::test(start_paused = true)]
async fn m4_an_engine_hears_that_the_machine_was_suspended_before_it_acts() {
    let log = Log::default();
    let mut ahead = [100, 100, 7_300, 50, 50].into_iter().map(Duration::from_secs);
    let (commands, running) = start_by(&log, move || ahead.next().unwrap_or(Duration::from_millis(50_900)));
    for command in [1, 2] {
        commands.send(command).unwrap();
    }
    drop(commands);
    running.await;
    let log = log.take();
    let suspended: Vec<_> = log.iter().filter(|what| what.starts_with("suspended")).collect();
    assert_eq!(suspended, ["suspended for 7200 s"], "{log:?}");
    let at = log.iter().position(|what| what.starts_with("suspended")).unwrap();
    assert_eq!(log.get(at + 1).map(String::as_str), Some("command 2"), "{log:?}");
}

/// The wake-up may come from the application's runtime, which reports that it runs again.
#[tokio::test(start_paused = true)]
async fn m4_m1_an_engine_hears_of_a_suspension_before_it_hears_that_a_runtime_runs() {
    let log = Log::default();
    let mut ahead = [0, 60].into_iter().map(Duration::from_secs);
    let ahead = move || ahead.next().unwrap_or(Duration::from_secs(60));
    let (commands, running) = start_probing(&log, ahead, true);
    let mut running = std::pin::pin!(running);
    let until_it_waits = tokio::time::timeout(Duration::from_millis(100), &mut running);
    assert!(until_it_waits.await.is_err());
    assert_eq!(log.take(), ["suspended for 60 s", "probe answered"]);
    drop(commands);
    running.await;
}

#[test]
fn m4_the_machine_is_not_suspended_while_this_runs() {
    let mut suspensions = Suspensions::new(clock::suspended);
    assert_eq!((suspensions.next(), suspensions.next()), (None, None));
}
