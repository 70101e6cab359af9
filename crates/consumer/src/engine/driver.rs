//! The one loop that acts: it reads the clock, waits, and carries what the engine wants to the sockets and back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use tracing::Instrument;

use super::{
    Engine,
    command::{Command, Output},
    hands::{Hands, HandsParts},
    rooms,
    silence::Probing,
};
use crate::{
    builder::{Parts, Replay},
    clock,
    config::Config,
    consumer::Consumer,
    error::{Error, ErrorKind, Result},
    inbox::{self, InboxSender, Taken},
    shared::Shared,
};

/// What the loop holds towards the handle. Neither way has a length of its own: the inbox is coalesced, and bounded by the
/// fetcher's budget; commands are each awaited by their sender, or hints.
struct Ends {
    commands: mpsc::UnboundedReceiver<Command>,
    inbox: InboxSender,
    /// On its way into the inbox.
    new: Taken,
}

/// Starts an engine, on a thread of its own unless told otherwise, and gives the handle to it.
pub(crate) fn start(config: Arc<Config>, mut parts: Parts) -> Result<Consumer> {
    let now = clock::now();
    let shared = Arc::new(Shared::new(now));
    let span = span(&config);
    parts.sink = parts.sink.within(span.clone());
    let Replay { seed, wall_ms } =
        parts.replay.unwrap_or_else(|| Replay { seed: clock::seed(), wall_ms: clock::wall_ms() });
    let mut engine = Engine::new(now, wall_ms, seed, config.clone(), shared.clone(), &parts);
    let vitals = engine.vitals();
    let (commands, commanded) = mpsc::unbounded_channel();
    let (sender, inbox) = inbox::inbox();
    let ends = Ends { commands: commanded, inbox: sender, new: Taken::default() };
    let hands = match parts.carrier.take() {
        Some(carrier) => HandsParts::Given(carrier),
        None => HandsParts::Net(Box::new(rooms::net(&config, seed, parts.dial.take()))),
    };
    match parts.spawn.take() {
        Some(spawn) => spawn(Box::pin(run(engine, hands, ends).instrument(span))),
        None => {
            engine.has_own_thread();
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
                    Error::new(ErrorKind::Config, format!("cannot start the engine's runtime: {error}"))
                        .caused_by(error)
                })?;
            thread::Builder::new()
                .name("offtake-engine".to_owned())
                .spawn(move || runtime.block_on(run(engine, hands, ends).instrument(span)))
                .map_err(|error| {
                    Error::new(ErrorKind::Config, format!("cannot start the engine's thread: {error}"))
                        .caused_by(error)
                })?;
        }
    }
    Ok(Consumer::new(commands, config, shared, vitals, parts, inbox))
}

/// Everything that this consumer logs is within it.
fn span(config: &Config) -> tracing::Span {
    // Consumers of one group and client id are still told apart.
    static STARTED: AtomicU64 = AtomicU64::new(0);
    let id = STARTED.fetch_add(1, Ordering::Relaxed) + 1;
    tracing::info_span!("consumer", id, group = config.group_id, client_id = config.sent_client_id())
}

/// How long an engine waits for the first command before it asks a broker anything. Mostly that comes at once, and then
/// the first question is about the topics that are wanted.
const FIRST_WORD: Duration = Duration::from_millis(1);

async fn run(mut engine: Engine, hands: HandsParts, mut ends: Ends) {
    let mut net = hands.make();
    let mut abandoned = false;
    let mut probing = Probing::default();
    if let Ok(Some(command)) = tokio::time::timeout(FIRST_WORD, ends.commands.recv()).await {
        engine.handle_command(clock::now(), command);
    }
    loop {
        let now = clock::now();
        engine.handle_timeout(now);
        drain(&mut engine, &mut net, &mut ends, now);
        if engine.is_closed() {
            break;
        }
        if let Some(runtime) = engine.wants_probe(now) {
            probing.send(&runtime);
        }
        // What became due by what has just happened is not late.
        let wake = engine.poll_timeout().map(|at| at.max(now));
        tokio::select! {
            biased;
            completion = net.next() => {
                let now = woken(&mut engine, wake);
                engine.handle_answer(now, completion.tag, completion.result);
            }
            command = ends.commands.recv(), if !abandoned => {
                let now = woken(&mut engine, wake);
                // Time first: whether we still own anything is settled before anything is committed (FAILURES M4).
                engine.handle_timeout(now);
                match command {
                    Some(command) => engine.handle_command(now, command),
                    None => {
                        abandoned = true;
                        engine.abandon(now, false);
                    }
                }
                while let Ok(command) = ends.commands.try_recv() {
                    engine.handle_command(now, command);
                }
            }
            () = probing.answered() => engine.probe_answered(clock::now()),
            () = until(wake) => drop(woken(&mut engine, wake)),
        }
    }
    net.close(clock::now() + Duration::from_millis(200)).await;
}

/// Now, and whether that is much later than it should be.
fn woken(engine: &mut Engine, wake: Option<Instant>) -> Instant {
    let now = clock::now();
    if let Some(wake) = wake {
        engine.overslept(now, now.saturating_duration_since(wake));
    }
    now
}

/// Carries out everything that the engine wants done now.
fn drain(engine: &mut Engine, net: &mut Hands, ends: &mut Ends, now: Instant) {
    loop {
        let mut quiet = true;
        while let Some(output) = engine.poll_output(now) {
            quiet = false;
            match output {
                Output::Control(control) => ends.new.control.push_back(control),
                Output::Data(data) => ends.new.data.push_back(data),
                Output::Answer(answer) => {
                    ends.inbox.send(&mut ends.new);
                    answer.send();
                }
            }
        }
        ends.inbox.send(&mut ends.new);
        if engine.wants_rebootstrap() {
            net.forget_brokers();
        }
        if let Some(cluster) = engine.changed_cluster() {
            net.update_brokers(&cluster);
        }
        while let Some((broker, host, port)) = engine.found_broker() {
            net.learn_broker(broker, &host, port);
        }
        while let Some(tag) = engine.next_withdrawal() {
            net.withdraw(tag);
        }
        while let Some((tag, lane, transmit)) = engine.poll_transmit(now) {
            quiet = false;
            net.send(tag, lane, transmit);
        }
        if quiet {
            break;
        }
    }
}

/// The loop waits; the machines say until when.
async fn until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
