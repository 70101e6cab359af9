//! [`Worker`]: how it is told what to do.

use std::{fmt, sync::Arc, time::Duration};

use offtake::{Builder, OneOrMany, OwnedRecord, Topic};

use crate::{
    Attempt, Batch, Breaker, DeadLetters, Error, Event, Failure, Handled, Order, Retry, Summary,
    Transactions, WorkerHandle,
    run::{self, tasks},
};

/// Runs handlers for the records of a consumer group.
///
/// Put together like a builder, then [`run`](Self::run) until it is told to stop. It makes the consumer itself, out of the builder that it is given.
#[must_use = "a worker does nothing until it runs"]
pub struct Worker {
    pub(crate) consumer: Builder,
    pub(crate) topics: Option<Topics>,
    pub(crate) options: Options,
    pub(crate) commit_interval: Option<Duration>,
    pub(crate) dead_letters: Option<DeadLetters>,
    pub(crate) events: Option<Arc<dyn Fn(Event) + Send + Sync>>,
    pub(crate) handle: WorkerHandle,
    /// Of a test: what is random, and the wall clock at the start.
    pub(crate) replay: Option<(u64, i64)>,
    pub(crate) threads: Option<tasks::Threads>,
}

/// No text in the protocol is longer.
const LONGEST_METADATA: usize = 32_767;

/// Unless something else is said; in a transactional worker results are seen with the commit.
pub(crate) const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
pub(crate) const TRANSACTION_INTERVAL: Duration = Duration::from_millis(100);

/// What is subscribed to.
#[derive(Clone, Debug)]
pub(crate) enum Topics {
    Names(Vec<Topic>),
    Patterns(Vec<String>),
}

/// As it was told.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) order: Order,
    pub(crate) concurrency: usize,
    pub(crate) queue: usize,
    pub(crate) queue_bytes: usize,
    pub(crate) retry: Retry,
    pub(crate) breaker: Option<Breaker>,
    pub(crate) transactions: Option<Transactions>,
    pub(crate) commit_interval: Duration,
    pub(crate) metadata_bytes: usize,
    pub(crate) grace: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) revoke_grace: Duration,
    pub(crate) timeout: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            order: Order::default(),
            concurrency: 16,
            queue: 1000,
            queue_bytes: 64 << 20,
            retry: Retry::default(),
            breaker: None,
            transactions: None,
            commit_interval: COMMIT_INTERVAL,
            metadata_bytes: 4096,
            grace: Duration::from_secs(30),
            close_timeout: Duration::from_secs(10),
            revoke_grace: Duration::MAX,
            timeout: None,
        }
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("consumer", &self.consumer)
            .field("topics", &self.topics)
            .field("options", &self.options)
            .field("dead_letters", &self.dead_letters)
            .finish_non_exhaustive()
    }
}

impl Worker {
    /// A worker for the group that this consumer is a member of. `group.id` is needed. `enable.auto.commit` is turned off, as the worker commits what is
    /// finished; a builder that turned it on is refused when the worker starts, and so is one with [`finish_each`](Builder::finish_each).
    /// A listener is told of nothing but what is given up at the end: [`events`](Self::events) tells all.
    pub fn new(consumer: Builder) -> Self {
        Self {
            consumer,
            topics: None,
            options: Options::default(),
            commit_interval: None,
            dead_letters: None,
            events: None,
            handle: WorkerHandle::new(),
            replay: None,
            threads: None,
        }
    }

    /// Reads its share of these topics. Replaces what was subscribed to before. A topic that does not exist is waited for.
    pub fn subscribe<S>(self, topics: impl OneOrMany<Topic, S>) -> Self {
        Self { topics: Some(Topics::Names(topics.into_items())), ..self }
    }

    /// Reads its share of all topics whose whole name matches one of these regular expressions, now or later. Replaces what was subscribed to before.
    pub fn subscribe_patterns<P: Into<String>>(self, patterns: impl IntoIterator<Item = P>) -> Self {
        Self { topics: Some(Topics::Patterns(patterns.into_iter().map(Into::into).collect())), ..self }
    }

    /// What is handled one after the other. Default: records of one key.
    pub fn order(mut self, order: Order) -> Self {
        self.options.order = order;
        self
    }

    /// So many handlers run at once. Default: 16. 0 is refused when the worker starts.
    pub fn concurrency(mut self, handlers: usize) -> Self {
        self.options.concurrency = handlers;
        self
    }

    /// So many records wait at most. Default: 1,000. 0 is refused when the worker starts.
    ///
    /// From three quarters on partitions are paused one by one, the fullest first; when it is full, all of them; they are resumed when half is left. A
    /// partition of which one lane alone has its share (this, divided by the number of partitions), as that of a key that is retried may, is paused by itself, so that
    /// it leaves room for others. Two things may come on top: what one poll brings (`max.poll.records`, which is made a quarter of this at
    /// most unless it is set), and what comes back from handlers to be tried again (as many as run at once).
    pub fn queue(mut self, records: usize) -> Self {
        self.options.queue = records;
        self
    }

    /// So many bytes wait at most: keys, values, headers. Default: 64 MiB. The same holds for it as for [`queue`](Self::queue). What the consumer has
    /// fetched ahead is not among it (`fetch.buffer.max.bytes`). 0 is refused when the worker starts.
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.options.queue_bytes = bytes;
        self
    }

    /// How often a record is tried, and how long it waits in between. Default: [`Retry::default`].
    pub fn retry(mut self, retry: Retry) -> Self {
        self.options.retry = retry;
        self
    }

    /// Where records go that cannot be handled. Without it such a record stops its partition ([`Event::Stopped`]): nothing is passed, and the others
    /// go on.
    pub fn dead_letters(mut self, dead_letters: DeadLetters) -> Self {
        self.dead_letters = Some(dead_letters);
        self
    }

    /// When to stop trying for a while. Default: never.
    pub fn breaker(mut self, breaker: Breaker) -> Self {
        self.options.breaker = Some(breaker);
        self
    }

    /// Exactly once: what handlers [send](crate::Attempt::send), dead letters, and that their records are done are written in one transaction, which those who
    /// read with `isolation.level=read_committed` see as a whole or not at all (KIP-98, KIP-447). By this `transactional.id`: each instance of a
    /// service has its own, the same after a restart; one that starts with an id fences whoever has it, whose worker ends with
    /// [`Fenced`](offtake::ErrorKind::Fenced).
    ///
    /// ```no_run
    /// # use offtake_worker::{Attempt, Failure, ProducerRecord};
    /// async fn handle(order: offtake::OwnedRecord, attempt: Attempt) -> Result<(), Failure> {
    ///     let invoice = format!("invoice for {}", std::str::from_utf8(order.value().unwrap_or_default())?);
    ///     attempt.send(ProducerRecord::to("invoices").maybe_key(order.key()).value(&invoice))
    /// }
    /// ```
    ///
    /// Handlers may still run twice for a record, at a restart or when a partition moves; what they sent counts once. What else they do is no
    /// part of the transaction. It reads what is committed alone, unless `isolation.level` is set (which is refused with retry topics).
    ///
    /// There is one transaction at a time, each [`commit_interval`](Self::commit_interval) (100 ms here, unless it is set), with all that is finished by then. What a
    /// transaction had that was aborted goes into the next one; it is not handled again. Results of a record wait until all before it in its partition are
    /// finished, so that one that is retried holds back what is behind it; they count in the [`queue`](Self::queue) meanwhile. What is finished beyond such a
    /// gap is not written into the commit's metadata.
    pub fn transactional(mut self, by: impl Into<Transactions>) -> Self {
        self.options.transactions = Some(by.into());
        self
    }

    /// How often what is finished is committed; it is also when partitions are handed over, and at the end. Default: 1 s, and 100 ms for
    /// [transactions](Self::transactional). Less than 10 ms counts as 10 ms.
    pub fn commit_interval(self, interval: Duration) -> Self {
        Self { commit_interval: Some(interval), ..self }
    }

    /// So many bytes of a commit's metadata at most say what is finished beyond its offset. Default: 4,096, which is what brokers take
    /// (`offset.metadata.max.bytes`). 0 writes none; nor is any read then. What does not fit is handled again after a restart.
    pub fn metadata_bytes(mut self, bytes: usize) -> Self {
        self.options.metadata_bytes = bytes.min(LONGEST_METADATA);
        self
    }

    /// How long what runs may take once the worker is to stop; then it is cancelled. Default: 30 s. A dead letter, or a record to a retry topic, is waited for
    /// as long and the [`close_timeout`](Self::close_timeout); but for none to a topic that does not exist, or took none when it was last tried: its record comes again.
    ///
    /// What stops the process has to give it this and [`close_timeout`](Self::close_timeout): Kubernetes, for one, kills after 30 s unless
    /// `terminationGracePeriodSeconds` says otherwise.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.options.grace = grace;
        self
    }

    /// How long the end may take after that: to write dead letters, to commit, and to leave the group, each. Default: 10 s.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.options.close_timeout = timeout;
        self
    }

    /// How long what runs of a partition that is to be handed over may take; then it is cancelled. The group's deadline holds in any case. Default: all that
    /// there is until then, less a tenth (5 s at most) for the commit. What is kept goes on meanwhile with what is queued, and reads nothing new: a shorter time here
    /// is better for it where handlers may hang.
    ///
    /// A [blocking](Self::run_blocking) handler that was cancelled may end within 5 s more, or half of what is left until the deadline if that is less. Then its
    /// partition goes all the same, and whoever has it next may handle the same record, and those behind it, while it is still at it.
    pub fn revoke_grace(mut self, grace: Duration) -> Self {
        self.options.revoke_grace = grace;
        self
    }

    /// How long an attempt may take; then it is cancelled, and has failed. A [blocking](Self::run_blocking)
    /// handler, whose thread cannot be ended, is told by [`Attempt::cancelled`](crate::Attempt::cancelled), keeps its place, and what it returns counts.
    /// Default: as long as it likes. 0 is refused when the worker starts.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// Who is told what happens. Called by the task that runs the worker, in order; it must not block. One that panics is logged.
    pub fn events(mut self, handler: impl Fn(Event) + Send + Sync + 'static) -> Self {
        self.events = Some(Arc::new(handler));
        self
    }

    /// For tests: all that is random comes from `seed`, and the wall clock shows `wall_ms` milliseconds since 1970 at the start.
    pub fn replay(mut self, seed: u64, wall_ms: i64) -> Self {
        self.replay = Some((seed, wall_ms));
        self
    }

    /// For tests: [blocking](Self::run_blocking) handlers are not run by the runtime's threads, but handed to this, each as a call that blocks. It must
    /// return at once; a call that it drops is a handler that panicked.
    pub fn block_with(mut self, run: impl Fn(Box<dyn FnOnce() + Send>) + Send + Sync + 'static) -> Self {
        self.threads = Some(Arc::new(run));
        self
    }

    /// Stops it from elsewhere, and tells how it fares.
    pub fn handle(&self) -> WorkerHandle {
        self.handle.clone()
    }

    /// Runs a handler for each record, `async fn handle(record: OwnedRecord, attempt: Attempt) -> Result<(), Failure>` or a closure like it, until `shutdown` ends (whatever it ends with), a [`WorkerHandle`] stops it, or something is fatal. Then nothing new is
    /// begun; what runs may end within the [grace](Self::grace), what waits for another attempt is left for later; dead letters are written, what is finished is
    /// committed, and the group is left (a static member keeps its place).
    ///
    /// Handlers run as tasks of the runtime on which this runs; while nearly all of them are ready as soon as they are called, and within microseconds, on the task
    /// that runs the worker instead, which costs far less (one that has to wait goes on as a task). One is dropped where it stands, at an `await`, when its partition is taken away or the
    /// worker's time is over; its record is handled again then, here or elsewhere. A panic is a failure that is retried.
    ///
    /// If this future is dropped, what runs is cancelled, and nothing more is committed but what was sent already: what was finished since the last commit is
    /// handled again.
    ///
    /// # Errors
    /// [`Error::Client`] with `Config`: what it was told makes no sense. What the consumer cannot mend. [`Error::Fatal`]: a handler said so. In
    /// each case but the first what is finished is committed before, if it can be.
    pub async fn run<F, T, S>(self, handler: F, shutdown: S) -> Result<Summary, Error>
    where
        F: Fn(OwnedRecord, Attempt) -> T + Send + Sync + 'static,
        T: Future<Output = Result<(), Failure>> + Send + 'static,
        S: Future,
    {
        run::run(self, tasks::Single::new(handler), 1, shutdown).await
    }

    /// The same for a handler of several records, `async fn handle(batch: Batch) -> Result<Handled, Failure>`; an error says that each of them failed so. A batch is of one
    /// partition: at most `records` at a time, of each lane as many as follow one another. A batch is what is there: it is not
    /// waited for until it is full. [`concurrency`](Self::concurrency) is how many batches there are at once.
    ///
    /// # Errors
    /// As [`run`](Self::run); and `Config` for batches of 0 records.
    pub async fn run_batches<F, T, S>(self, records: usize, handler: F, shutdown: S) -> Result<Summary, Error>
    where
        F: Fn(Batch) -> T + Send + Sync + 'static,
        T: Future<Output = Result<Handled, Failure>> + Send + 'static,
        S: Future,
    {
        run::run(self, tasks::Batches::new(handler), records, shutdown).await
    }

    /// The same for a handler that blocks its thread, `fn handle(record: OwnedRecord, attempt: Attempt) -> Result<(), Failure>`: on the runtime's threads for blocking work, at most [`concurrency`](Self::concurrency) at once (of the runtime's
    /// own bound, 512 unless it was built otherwise).
    ///
    /// Such a thread cannot be cancelled. What it does after its partition was taken away, or after the [grace](Self::grace), is of no account;
    /// [`Attempt::cancelled`](crate::Attempt::cancelled) tells it, and it should end soon then. Until it does, it keeps its place among those that run at once, and
    /// nothing of its partition begins in this worker. Other members wait for it only [for a while](Self::revoke_grace), and at the end of this worker for 1 s: if it
    /// is not over by then, the order of records of one key is not kept between it and the next owner.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn run_blocking<F, S>(self, handler: F, shutdown: S) -> Result<Summary, Error>
    where
        F: Fn(OwnedRecord, Attempt) -> Result<(), Failure> + Send + Sync + 'static,
        S: Future,
    {
        let blocking = tasks::Blocking::new(handler, self.threads.clone());
        run::run(self, blocking, 1, shutdown).await
    }
}
