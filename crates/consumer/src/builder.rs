//! From what was written to what is meant: a [`Consumer`].

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

/// Puts a consumer together. Made by [`Consumer::builder`].
pub struct Builder {
    config: Config,
    /// What is wrong with what was set so far.
    mistakes: Vec<ConfigError>,
    own: Vec<Arc<dyn Assignor>>,
    listener: Arc<dyn Listener>,
    reporter: Reporter,
    begin_at: Option<StartAt>,
    /// Of records that are finished one by one.
    ledgers: Option<Arc<Ledgers>>,
    /// Who runs the engine, unless it gets a thread of its own.
    spawn: Option<Spawn>,
    /// How brokers are reached, unless by plain TCP.
    dial: Option<Arc<dyn Dial>>,
    /// What carries requests, unless connections do.
    carrier: Option<Box<dyn Carrier>>,
    replay: Option<Replay>,
    /// What decides when batches are opened ahead in a replay.
    replay_ahead: Option<u64>,
}

/// What else a consumer takes from outside: fixed, it does the same again.
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
    /// Starts to build a consumer that finds its cluster through these brokers, each `host:port`: one text with commas, or
    /// several (`["a:9092", "b:9092"]`).
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

    /// Who is told of rebalances, inside `poll`.
    pub fn listener(mut self, listener: impl Listener) -> Self {
        self.listener = Arc::new(listener);
        self
    }

    /// An assignor of the application's own for a classic group. All members of the group need one of that name.
    ///
    /// It is offered at the place where `partition.assignment.strategy` names it. If that does not name it, it comes first,
    /// before those that the property lists (several in the order in which they are given here); and if the property is
    /// not set, nothing else is offered: Kafka's default list would make the member eager. To change a running group over
    /// to it, list one that the group has now beside it, as for any change of assignor
    /// ([`partition_assignment_strategy`](Config::partition_assignment_strategy)).
    ///
    /// [`build`](Self::build) refuses a name that is one of Kafka's own, and any with `group.protocol=consumer`.
    pub fn assignor(mut self, assignor: impl Assignor) -> Self {
        self.own.push(Arc::new(assignor));
        self
    }

    /// Who is told of everything that happens beside records. Called from the engine's thread and from `poll`; it must
    /// not block.
    pub fn events(mut self, handler: impl Fn(Event) + Send + Sync + 'static) -> Self {
        self.reporter = Reporter::to(handler);
        self
    }

    /// Where a partition that the group assigns begins if nothing is committed for it, instead of where `auto.offset.reset`
    /// says. It does not apply to [`assign`](Consumer::assign), which says of each partition where it begins.
    pub fn begin_at(mut self, start: impl Into<StartAt>) -> Self {
        self.begin_at = Some(start.into());
        self
    }

    /// Records are finished one by one, in any order and from any thread, by [`Record::finish`](crate::Record::finish) or
    /// a [`Ticket`](crate::Ticket); in each partition the longest unbroken run of finished ones is committed, by interval
    /// (`enable.auto.commit`), by [`commit_finished`](Consumer::commit_finished), and when partitions are given up. There
    /// what is finished until [`Listener::revoked`] has ended counts, so that a listener may
    /// wait for those who are at work.
    ///
    /// Neither does the next `poll` then finish anything (`enable.auto.offset.store` is of no account), nor do
    /// [`store`](Consumer::store) and [`commit`](Consumer::commit), which are refused: they would say of all that comes
    /// before a record that it is finished too. A record that nobody finishes holds back its partition's commits; memory
    /// grows with the records that are handed out and not finished. One that is older than `max.poll.interval.ms`, or whose
    /// ticket was dropped, is logged (WARN) and told ([`Event::Unfinished`]); [`Handle::unfinished`](crate::Handle::unfinished)
    /// says at any time what is open.
    pub fn finish_each(mut self) -> Self {
        self.ledgers = Some(Arc::default());
        self
    }

    /// Runs the engine on this runtime rather than on a thread of its own: fewer threads (nor does one unpack ahead of a
    /// slow application), but a handler that blocks the runtime then blocks heartbeats with it, and why it does not poll can
    /// be told less well ([`Stall`](crate::Stall)). The runtime needs its time and I/O drivers: without them the engine ends with
    /// tokio's panic, in its own task, and every call fails with [`ErrorKind::Closed`](crate::ErrorKind::Closed).
    pub fn spawn_on(self, runtime: tokio::runtime::Handle) -> Self {
        self.spawn_with(move |engine| drop(runtime.spawn(engine)))
    }

    /// For tests, beside [`replay`](Self::replay): batches are opened ahead as by a thread that is sometimes early, sometimes
    /// late and sometimes in the middle of it, drawn from this seed.
    #[doc(hidden)]
    pub fn replay_ahead(mut self, seed: u64) -> Self {
        self.replay_ahead = Some(seed);
        self
    }

    /// For tests: all that is random, the jitter of backoffs and the ids this member makes up, comes from `seed`, and the
    /// wall clock shows `wall_ms` milliseconds since 1970 at the start. With time and brokers that do the same again, so
    /// does the consumer.
    pub fn replay(mut self, seed: u64, wall_ms: i64) -> Self {
        self.replay = Some(Replay { seed, wall_ms });
        self
    }

    /// Checks the configuration and starts the engine. No broker is asked yet: whether they answer shows with the first
    /// call that needs one.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config), with everything that is wrong: each property, and what it may be.
    ///
    /// # Panics
    /// Not here, but every call that waits for a time panics in a runtime without a timer, the first `poll` for one, with what
    /// tokio says of it: build the runtime with `enable_time` or `enable_all`. Nobody can ask a runtime whether it has one.
    /// (The engine has its own, unless it is [spawned](Self::spawn_on).)
    pub async fn build(self) -> Result<Consumer> {
        self.start()
    }
}
