//! Starts a consumer: its engine, the loop that drives the engine, and the handle, connected by channels.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use offtake_client::{
    config,
    engine::{self as driver, Outputs, Transport},
};
use tokio::sync::mpsc;
use tracing::Instrument;

use super::{Builder, Replay};
use crate::{
    clock,
    command::Output,
    config::Config,
    consumer::{Consumer, ConsumerParts},
    delivery::Opener,
    engine::{Engine, EngineParts},
    error::Result,
    freed::FreedMemory,
    inbox::{self, InboxSender, Taken},
    shared::Shared,
};

impl Builder {
    /// Starts the engine, by default on a thread of its own, and returns the consumer connected to it.
    pub(super) fn start(mut self) -> Result<Consumer> {
        config::validate(&self.config, std::mem::take(&mut self.mistakes))?;
        let assignors = self.config.assignors(&self.own)?;
        let (spawn, dial, carrier) = (self.spawn.take(), self.dial.take(), self.carrier.take());
        let opener = self.opener(spawn.is_some());
        let is_replay = self.replay.is_some();
        let Replay { seed, wall_ms } =
            self.replay.unwrap_or_else(|| Replay { seed: clock::seed(), wall_ms: clock::wall_ms() });
        let span = span(&self.config);
        self.reporter = self.reporter.within(span.clone());
        self.reporter.log(|| self.config.client.log_ignored());
        let (config, consumer, engine) = self.into_parts();
        let (config, consumer, engine) = (
            Arc::new(config),
            ConsumerParts { opener, ..consumer },
            EngineParts { assignors, has_own_thread: spawn.is_none(), is_replay, ..engine },
        );

        let now = clock::now();
        let shared = Arc::new(Shared::new(now));
        let engine = Engine::new(now, wall_ms, seed, config.clone(), shared.clone(), engine);
        let vitals = engine.vitals();
        let transport = match carrier {
            Some(carrier) => Transport::carrier(carrier),
            None => Transport::connections(&config.client, config.largest_response(), seed, dial)?,
        };
        let (commands, commanded) = mpsc::unbounded_channel();
        let (sender, inbox) = inbox::inbox();
        let loop_ =
            driver::run(engine, transport, commanded, ToInbox { inbox: sender, new: Taken::default() });
        driver::start(spawn, "offtake-engine", loop_.instrument(span))?;
        Ok(Consumer::new(commands, config, shared, vitals, consumer, inbox))
    }

    /// Decides who opens batches ahead of the application. If the engine was given to a runtime, no thread is
    /// wanted.
    fn opener(&self, is_spawned: bool) -> Opener {
        let alone = thread::available_parallelism().is_ok_and(|threads| threads.get() == 1);
        match self.replay {
            Some(_) => self.replay_ahead.map_or(Opener::Caller, Opener::Random),
            None if is_spawned || alone => Opener::Nobody,
            None => Opener::Threads,
        }
    }

    /// The parts that the handle and the engine are made of, as configured in the builder.
    pub(crate) fn into_parts(self) -> (Config, ConsumerParts, EngineParts) {
        let (reporter, ledgers, freed) = (self.reporter, self.ledgers, Arc::<FreedMemory>::default());
        let consumer = ConsumerParts {
            listener: self.listener,
            reporter: reporter.clone(),
            ledgers: ledgers.clone(),
            opener: Opener::Nobody,
            freed: freed.clone(),
        };
        let engine = EngineParts {
            reporter,
            begin_at: self.begin_at,
            assignors: Vec::new(),
            ledgers,
            freed,
            has_own_thread: false,
            is_replay: false,
        };
        (self.config, consumer, engine)
    }
}

/// The span of everything that this consumer logs.
fn span(config: &Config) -> tracing::Span {
    // The id distinguishes consumers with the same group and client id.
    static STARTED: AtomicU64 = AtomicU64::new(0);
    let id = STARTED.fetch_add(1, Ordering::Relaxed) + 1;
    tracing::info_span!("consumer", id, group = config.group_id, client_id = config.client.sent_client_id())
}

/// The loop's channel to the handle. The inbox has no fixed length: it is coalesced, and bounded by the
/// fetcher's budget.
struct ToInbox {
    inbox: InboxSender,
    /// Items about to be added to the inbox.
    new: Taken,
}

impl Outputs<Output> for ToInbox {
    fn push(&mut self, output: Output) {
        match output {
            Output::Control(control) => self.new.control.push_back(control),
            Output::Data(data) => self.new.data.push_back(data),
            Output::Answer(answer) => {
                self.flush();
                answer.send();
            }
        }
    }

    fn flush(&mut self) {
        self.inbox.send(&mut self.new);
    }
}
