//! The one loop that acts: it reads the clock, waits, and transfers data between an engine and the sockets.

use std::time::{Duration, Instant};

use offtake_net::NetEvent;
use tokio::sync::mpsc;

use super::{Engine, Outputs, Transport, probe::Probe, transport::Io};
use crate::clock;

/// How long an engine waits for the first command before it sends a request. Usually that command arrives at
/// once, and then the first request is already for the wanted topics.
const FIRST_COMMAND: Duration = Duration::from_millis(1);

/// How many commands are handled before responses and timers get their turn: however many tasks command an
/// engine, its requests go out and its heartbeats do not wait.
const COMMANDS_PER_TURN: usize = 64;

/// How long open connections may take to close.
const CLOSING: Duration = Duration::from_millis(200);

/// Drives an engine until it is closed. Dropping the sender of its commands abandons it.
pub async fn run<E, O>(
    engine: E,
    transport: Transport,
    commands: mpsc::UnboundedReceiver<E::Command>,
    outputs: O,
) where
    E: Engine,
    O: Outputs<E::Output>,
{
    run_by(engine, transport, commands, outputs, Suspensions::new(clock::suspended)).await;
}

async fn run_by<E, O>(
    mut engine: E,
    transport: Transport,
    mut commands: mpsc::UnboundedReceiver<E::Command>,
    mut outputs: O,
    mut suspensions: Suspensions<impl FnMut() -> Duration>,
) where
    E: Engine,
    O: Outputs<E::Output>,
{
    let mut io = transport.connect();
    let mut abandoned = false;
    let mut probe = Probe::default();
    let mut may_have_commands = false;
    if let Ok(Some(command)) = tokio::time::timeout(FIRST_COMMAND, commands.recv()).await {
        engine.handle_command(clock::now(), command);
    }
    loop {
        let now = clock::now();
        engine.handle_timeout(now);
        drain(&mut engine, &mut io, &mut outputs, now);
        if engine.is_closed() {
            break;
        }
        if let Some(runtime) = engine.poll_probe(now) {
            probe.send(&runtime);
        }
        if std::mem::take(&mut may_have_commands) {
            // The connections may be tasks of this thread, and run only now.
            tokio::task::yield_now().await;
        }
        // A deadline that just became due because of this iteration is not late.
        let wake = engine.poll_timeout().map(|at| at.max(now));
        tokio::select! {
            biased;
            event = io.next() => {
                let now = woken(&mut engine, wake, &mut suspensions);
                match event {
                    NetEvent::Completed(completion) => {
                        engine.handle_answer(now, completion.tag, completion.result);
                    }
                    NetEvent::ClosedUnanswered(broker) => engine.handle_closed_unanswered(now, broker),
                }
            }
            command = commands.recv(), if !abandoned => {
                let now = woken(&mut engine, wake, &mut suspensions);
                // Time first: whether a consumer still owns anything is decided before anything is committed
                // (FAILURES M4).
                engine.handle_timeout(now);
                match command {
                    Some(command) => engine.handle_command(now, command),
                    None => {
                        abandoned = true;
                        engine.handle_abandoned(now);
                    }
                }
                may_have_commands = true;
                for _ in 1..COMMANDS_PER_TURN {
                    let Ok(command) = commands.try_recv() else {
                        may_have_commands = false;
                        break;
                    };
                    engine.handle_command(now, command);
                }
            }
            () = probe.answered() => {
                let now = woken(&mut engine, wake, &mut suspensions);
                engine.handle_probe_answered(now);
            }
            () = until(wake) => drop(woken(&mut engine, wake, &mut suspensions)),
        }
    }
    io.close(clock::now() + CLOSING).await;
}

/// The least duration that counts as a suspension, and not as a clock adjustment.
const SUSPENDED: Duration = Duration::from_secs(1);

/// Detects suspensions of the machine, by the advance of a clock that continues during them.
struct Suspensions<C> {
    ahead: C,
    before: Duration,
}

impl<C: FnMut() -> Duration> Suspensions<C> {
    fn new(mut ahead: C) -> Self {
        Self { before: ahead(), ahead }
    }

    /// The length of a suspension since the last call, if there was one.
    fn next(&mut self) -> Option<Duration> {
        let now = (self.ahead)();
        // A clock that was set back counts from its new time.
        let by = now.saturating_sub(std::mem::replace(&mut self.before, now));
        (by >= SUSPENDED).then_some(by)
    }
}

/// Returns the current time, after telling the engine if it wakes late.
fn woken(
    engine: &mut impl Engine,
    wake: Option<Instant>,
    suspensions: &mut Suspensions<impl FnMut() -> Duration>,
) -> Instant {
    let now = clock::now();
    engine.handle_wall_clock(now, clock::wall_ms());
    if let Some(by) = suspensions.next() {
        engine.handle_suspension(now, by);
    }
    if let Some(wake) = wake {
        engine.handle_late_wakeup(now, now.saturating_duration_since(wake));
    }
    now
}

/// Executes everything that the engine requests now.
fn drain<E: Engine>(engine: &mut E, io: &mut Io, outputs: &mut impl Outputs<E::Output>, now: Instant) {
    loop {
        let mut quiet = true;
        while let Some(output) = engine.poll_output(now) {
            quiet = false;
            outputs.push(output);
        }
        outputs.flush();
        if engine.take_rebootstrap() {
            io.forget_brokers();
        }
        if let Some(cluster) = engine.take_changed_cluster() {
            io.update_brokers(&cluster);
        }
        while let Some((broker, host, port)) = engine.poll_found_broker() {
            io.learn_broker(broker, &host, port);
        }
        while let Some((broker, lane)) = engine.poll_dial() {
            io.dial(broker, lane);
        }
        while let Some(tag) = engine.poll_withdrawal() {
            io.withdraw(tag);
        }
        while let Some((tag, lane, transmit)) = engine.poll_transmit(now) {
            quiet = false;
            io.send(tag, lane, transmit);
        }
        if quiet {
            break;
        }
    }
}

/// Waits until the time that the machines requested.
async fn until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
