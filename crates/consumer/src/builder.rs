//! Builds a [`Consumer`] from its configuration.

use std::sync::Arc;

use offtake_client::{
    Dial,
    engine::{Carrier, Spawn},
};
pub use offtake_client::{bootstrap::BootstrapServers, engine::EngineFuture};
use offtake_group::Assignor;

use crate::{
    config::{Config, ConfigError},
    consumer::Consumer,
    error::Result,
    event::{Event, Reporter},
    ledgers::Ledgers,
    listener::{Listener, NoopListener},
    offsets::StartAt,
};

mod properties;
mod start;

/// Builds a consumer. Created by [`Consumer::builder`].
pub struct Builder {
    config: Config,
    /// The errors in the settings so far.
    mistakes: Vec<ConfigError>,
    own: Vec<Arc<dyn Assignor>>,
    listener: Arc<dyn Listener>,
    reporter: Reporter,
    begin_at: Option<StartAt>,
    /// Set if records are finished one by one.
    ledgers: Option<Arc<Ledgers>>,
    /// Runs the engine; otherwise it gets a thread of its own.
    spawn: Option<Spawn>,
    /// Connects to brokers; otherwise plain TCP is used.
    dial: Option<Arc<dyn Dial>>,
    /// Carries requests; otherwise connections do.
    carrier: Option<Box<dyn Carrier>>,
    replay: Option<Replay>,
    /// The seed that decides when batches are opened ahead in a replay.
    replay_ahead: Option<u64>,
}

/// The other inputs that a consumer takes from outside. With fixed values it behaves the same again.
#[derive(Clone, Copy, Debug)]
struct Replay {
    seed: u64,
    wall_ms: i64,
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("config", &self.config)
            .field("mistakes", &self.mistakes)
            .field("reporter", &self.reporter)
            .finish_non_exhaustive()
    }
}

impl Consumer {
    /// Starts to build a consumer that finds its cluster through these brokers, each `host:port`: one
    /// comma-separated string, or several (`["a:9092", "b:9092"]`).
    pub fn builder(bootstrap: impl Into<BootstrapServers>) -> Builder {
        Builder::from_config(Config::default()).property("bootstrap.servers", bootstrap.into())
    }

    /// Starts to build a consumer with this configuration; the same as [`Builder::from_config`].
    pub fn from_config(config: Config) -> Builder {
        Builder::from_config(config)
    }
}

offtake_client::builder_methods!(Builder, Config);

impl Builder {
    /// Starts from a configuration.
    pub fn from_config(config: Config) -> Self {
        Self {
            config,
            mistakes: Vec::new(),
            own: Vec::new(),
            listener: Arc::new(NoopListener),
            reporter: Reporter::none(),
            begin_at: None,
            ledgers: None,
            spawn: None,
            dial: None,
            carrier: None,
            replay: None,
            replay_ahead: None,
        }
    }

    /// Sets the listener, which is notified of rebalances inside `poll`.
    pub fn listener(mut self, listener: impl Listener) -> Self {
        self.listener = Arc::new(listener);
        self
    }

    /// Adds an assignor of the application's own for a classic group. All members of the group need an
    /// assignor with that name.
    ///
    /// It is offered at the position where `partition.assignment.strategy` names it. Assignors that the
    /// property does not name come first, in the order in which they are given here, before those that it
    /// lists. If the property is not set, no others are offered: Kafka's default list would make the member
    /// eager. To change a running group to this assignor, also list one that the group uses now, as for any
    /// change of assignor ([`partition_assignment_strategy`](Config::partition_assignment_strategy)).
    ///
    /// [`build`](Self::build) refuses a name that is one of Kafka's own, and any assignor with
    /// `group.protocol=consumer`.
    pub fn assignor(mut self, assignor: impl Assignor) -> Self {
        self.own.push(Arc::new(assignor));
        self
    }

    /// Sets the handler of all events, which is everything that happens besides records. It is called from
    /// the engine's thread and from `poll`, and must not block.
    pub fn events(mut self, handler: impl Fn(Event) + Send + Sync + 'static) -> Self {
        self.reporter = Reporter::to(handler);
        self
    }

    /// Sets where a partition that the group assigns starts if nothing is committed for it, instead of
    /// `auto.offset.reset`. It does not apply to [`assign`](Consumer::assign), which gives the start of each
    /// partition.
    pub fn begin_at(mut self, start: impl Into<StartAt>) -> Self {
        self.begin_at = Some(start.into());
        self
    }

    /// Has records finished one by one, in any order and from any thread, by
    /// [`Record::finish`](crate::Record::finish) or a [`Ticket`](crate::Ticket). In each partition the
    /// longest unbroken run of finished records is committed periodically (`enable.auto.commit`), by
    /// [`commit_finished`](Consumer::commit_finished), and when partitions are given up. That last commit
    /// includes what is finished before [`Listener::revoked`] ends, so a listener may wait for work in
    /// progress.
    ///
    /// The next `poll` then finishes nothing (`enable.auto.offset.store` has no effect).
    /// [`store`](Consumer::store) and [`commit`](Consumer::commit) are refused, because they would mark
    /// everything before a record as finished too. A record that is never finished holds back its partition's
    /// commits, and memory grows with the records that are handed out and not finished. A record that is
    /// unfinished for longer than `max.poll.interval.ms`, or whose ticket was dropped, is logged (WARN) and
    /// reported ([`Event::Unfinished`]). [`Handle::unfinished`](crate::Handle::unfinished) lists the
    /// unfinished records at any time.
    pub fn finish_each(mut self) -> Self {
        self.ledgers = Some(Arc::default());
        self
    }

    /// Runs the engine on this runtime rather than on a thread of its own. This uses fewer threads (there is
    /// also none that decompresses ahead of a slow application). But a handler that blocks the runtime then
    /// blocks heartbeats too, and the reason why it does not poll can be diagnosed less well
    /// ([`Stall`](crate::Stall)). The runtime needs its time and I/O drivers: without them the engine's task
    /// ends with tokio's panic, and every call fails with [`ErrorKind::Closed`](crate::ErrorKind::Closed).
    pub fn spawn_on(self, runtime: tokio::runtime::Handle) -> Self {
        self.spawn_with(move |engine| drop(runtime.spawn(engine)))
    }

    /// For tests, beside [`replay`](Self::replay): batches are opened ahead as by a thread that is sometimes
    /// early, sometimes late and sometimes half done, as this seed decides.
    #[doc(hidden)]
    pub fn replay_ahead(mut self, seed: u64) -> Self {
        self.replay_ahead = Some(seed);
        self
    }

    /// For tests: everything random (the jitter of backoffs and the ids that this member generates) is
    /// derived from `seed`, and the wall clock shows `wall_ms` milliseconds since 1970 at the start. If time
    /// and brokers repeat, so does the consumer.
    pub fn replay(mut self, seed: u64, wall_ms: i64) -> Self {
        self.replay = Some(Replay { seed, wall_ms });
        self
    }

    /// Checks the configuration and starts the engine. No broker is contacted yet: the first call that needs
    /// one shows whether the brokers respond.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config), with every error in the configuration: each property,
    /// and its permitted values.
    ///
    /// # Panics
    /// It does not panic itself. But in a runtime without a timer every call that waits for a time panics,
    /// starting with the first `poll`, with tokio's message: build the runtime with `enable_time` or
    /// `enable_all`. There is no way to ask a runtime whether it has a timer. (The engine has its own, unless
    /// it is [spawned](Self::spawn_on).)
    pub async fn build(self) -> Result<Consumer> {
        self.start()
    }
}
