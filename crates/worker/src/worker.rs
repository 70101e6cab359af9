//! [`Worker`]: the settings of a worker, and the calls that run it.

use std::{fmt, sync::Arc, time::Duration};

use offtake::{Builder, OneOrMany, OwnedRecord, Topic};

use crate::{
    Attempt, Batch, Breaker, DeadLetters, Error, Event, Failure, Handled, Order, Retry, Summary,
    Transactions, WorkerHandle,
    run::{self, tasks},
};

/// Runs handlers for the records of a consumer group.
///
/// Configured like a builder; [`run`](Self::run) then runs it until it is stopped. It creates the consumer itself, from the builder that it
/// is given.
#[must_use = "a worker does nothing until it runs"]
pub struct Worker {
    pub(crate) consumer: Builder,
    pub(crate) topics: Option<Topics>,
    pub(crate) options: Options,
    pub(crate) commit_interval: Option<Duration>,
    pub(crate) dead_letters: Option<DeadLetters>,
    pub(crate) events: Option<Arc<dyn Fn(Event) + Send + Sync>>,
    pub(crate) handle: WorkerHandle,
    /// For tests: the random seed, and the wall clock at the start.
    pub(crate) replay: Option<(u64, i64)>,
    pub(crate) threads: Option<tasks::Threads>,
}

/// The maximum length of a text in the protocol.
const LONGEST_METADATA: usize = 32_767;

/// The defaults; a transactional worker commits more often because its results become visible with the commit.
pub(crate) const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
pub(crate) const TRANSACTION_INTERVAL: Duration = Duration::from_millis(100);

/// The subscription.
#[derive(Clone, Debug)]
pub(crate) enum Topics {
    Names(Vec<Topic>),
    Patterns(Vec<String>),
}

/// The settings as given.
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
    /// Creates a worker for the group that this consumer is a member of. `group.id` is required. The worker turns
    /// `enable.auto.commit` off, because it commits the finished records itself. A builder that turned it on is refused when the
    /// worker starts, and so is a builder with [`finish_each`](Builder::finish_each). The builder's listener is called only for
    /// partitions given up at the end; [`events`](Self::events) reports everything.
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

    /// Subscribes to these topics, in place of earlier subscriptions. A topic that does not exist is waited for.
    pub fn subscribe<S>(self, topics: impl OneOrMany<Topic, S>) -> Self {
        Self { topics: Some(Topics::Names(topics.into_items())), ..self }
    }

    /// Subscribes to all topics, existing and future, whose whole name matches one of these regular expressions, in place of
    /// earlier subscriptions. The client matches them, also by KIP-848; a worker has no `SubscriptionPattern`, which the broker
    /// matches.
    pub fn subscribe_patterns<P: Into<String>>(self, patterns: impl IntoIterator<Item = P>) -> Self {
        Self { topics: Some(Topics::Patterns(patterns.into_iter().map(Into::into).collect())), ..self }
    }

    /// Sets which records are handled one after the other. Default: records with the same key.
    pub fn order(mut self, order: Order) -> Self {
        self.options.order = order;
        self
    }

    /// Sets how many handlers run at once. Default: 16. 0 is refused when the worker starts.
    pub fn concurrency(mut self, handlers: usize) -> Self {
        self.options.concurrency = handlers;
        self
    }

    /// Sets how many records may wait. Default: 1,000. 0 is refused when the worker starts.
    ///
    /// When the queue is three quarters full, partitions are paused one by one, the fullest first; when it is full, all are
    /// paused; when it is down to half, they are resumed. A partition is also paused if one lane alone has filled the partition's
    /// share (the queue divided by the number of partitions), as the lane of a key that is retried may, to leave room for the
    /// others.
    ///
    /// Three things may exceed the limit: the records of one poll (`max.poll.records`, by default at most a quarter of this),
    /// records that handlers return for a retry (as many as run at once), and as much again that cannot go on, because one record
    /// before them is retried or its handler does not end. The other partitions go on meanwhile. Only if more than that is held
    /// up, which means that many partitions are, do all of them wait.
    pub fn queue(mut self, records: usize) -> Self {
        self.options.queue = records;
        self
    }

    /// Sets how many bytes may wait: keys, values and headers. Default: 64 MiB. The rules are those of [`queue`](Self::queue).
    /// Data prefetched by the consumer does not count (`fetch.buffer.max.bytes`). 0 is refused when the worker starts.
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.options.queue_bytes = bytes;
        self
    }

    /// Sets how often a record is tried, and how long it waits between attempts. Default: [`Retry::default`].
    pub fn retry(mut self, retry: Retry) -> Self {
        self.options.retry = retry;
        self
    }

    /// Sets the destination of records that cannot be handled. Without it such a record stops its partition ([`Event::Stopped`]):
    /// no record is skipped, and other partitions go on.
    pub fn dead_letters(mut self, dead_letters: DeadLetters) -> Self {
        self.dead_letters = Some(dead_letters);
        self
    }

    /// Sets the circuit breaker. Default: none.
    pub fn breaker(mut self, breaker: Breaker) -> Self {
        self.options.breaker = Some(breaker);
        self
    }

    /// Processes records exactly once: the records that handlers [send](crate::Attempt::send), dead letters, and the offsets of
    /// the handled records are written in one transaction, which consumers with `isolation.level=read_committed` see as a whole
    /// or not at all (KIP-98, KIP-447). `by` is the `transactional.id`: each instance of a service needs its own, and the same
    /// one after a restart. A worker that starts with an id fences the previous one, which ends with
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
    /// Handlers may still run twice for a record, after a restart or when a partition moves, but the records that they sent count
    /// once. Other side effects are not part of the transaction. The worker reads only committed records, unless
    /// `isolation.level` is set (which is refused with retry topics).
    ///
    /// There is one transaction at a time, each [`commit_interval`](Self::commit_interval) (by default 100 ms here), with
    /// everything finished by then. The contents of an aborted transaction go into the next one, and their records are not
    /// handled again. Results of a record wait until all earlier records of its partition are finished, so that a record which is
    /// retried holds back the following ones; they count in the [`queue`](Self::queue) meanwhile. Records finished beyond such a
    /// gap are not written into the commit's metadata.
    pub fn transactional(mut self, by: impl Into<Transactions>) -> Self {
        self.options.transactions = Some(by.into());
        self
    }

    /// Sets how often finished records are committed. They are also committed when partitions are handed over, and at the end.
    /// Default: 1 s, and 100 ms for [transactions](Self::transactional). Less than 10 ms counts as 10 ms.
    pub fn commit_interval(self, interval: Duration) -> Self {
        Self { commit_interval: Some(interval), ..self }
    }

    /// Sets how many bytes of a commit's metadata may list the records finished beyond its offset. Default: 4,096, which is the
    /// brokers' default limit (`offset.metadata.max.bytes`). With 0, metadata is neither written nor read. Records that do not
    /// fit are handled again after a restart.
    pub fn metadata_bytes(mut self, bytes: usize) -> Self {
        self.options.metadata_bytes = bytes.min(LONGEST_METADATA);
        self
    }

    /// Sets how long running handlers may take once the worker is to stop; then they are cancelled. Default: 30 s. The wait for a
    /// dead letter, or for a record to a retry topic, may take this and half of [`close_timeout`](Self::close_timeout). There is
    /// no wait for one whose topic does not exist, or refused the last one: its record is redelivered.
    ///
    /// Whatever stops the process has to allow for this and [`close_timeout`](Self::close_timeout). Kubernetes, for example,
    /// kills a process after 30 s unless `terminationGracePeriodSeconds` says otherwise.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.options.grace = grace;
        self
    }

    /// Sets how long the last steps may take after that, all together: writing dead letters (half of the time), committing, and
    /// leaving the group (for which there is 1 s in any case). Default: 10 s.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.options.close_timeout = timeout;
        self
    }

    /// Sets how long running handlers of partitions to be handed over may take; then they are cancelled. The group's deadline
    /// applies in any case. Default: the time until that deadline, less a tenth (at most 5 s) for the commit. Meanwhile the
    /// remaining partitions go on with queued records, but nothing new is read: choose a shorter time if handlers may hang.
    ///
    /// A cancelled [blocking](Self::run_blocking) handler may take 5 s more, or half of the time left until the deadline if that
    /// is less. Then its partition is handed over all the same, and the next owner may handle the same record, and those after
    /// it, while the handler is still running.
    pub fn revoke_grace(mut self, grace: Duration) -> Self {
        self.options.revoke_grace = grace;
        self
    }

    /// Sets how long an attempt may take; then it is cancelled, and has failed. A [blocking](Self::run_blocking) handler, whose
    /// thread cannot be ended, can check [`Attempt::cancelled`](crate::Attempt::cancelled); it keeps its place, and its result
    /// counts. Default: no limit. 0 is refused when the worker starts.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// Sets the event handler. The task that runs the worker calls it, in order; it must not block. A panic in it is logged.
    pub fn events(mut self, handler: impl Fn(Event) + Send + Sync + 'static) -> Self {
        self.events = Some(Arc::new(handler));
        self
    }

    /// For tests: all randomness comes from `seed`, and the wall clock starts at `wall_ms` milliseconds since 1970.
    pub fn replay(mut self, seed: u64, wall_ms: i64) -> Self {
        self.replay = Some((seed, wall_ms));
        self
    }

    /// For tests: hands each call of a [blocking](Self::run_blocking) handler to this function instead of the runtime's threads.
    /// It must return at once; dropping the call counts as a panic of the handler.
    pub fn block_with(mut self, run: impl Fn(Box<dyn FnOnce() + Send>) + Send + Sync + 'static) -> Self {
        self.threads = Some(Arc::new(run));
        self
    }

    /// Returns a handle that stops the worker from other tasks, and shows its metrics.
    pub fn handle(&self) -> WorkerHandle {
        self.handle.clone()
    }

    /// Runs a handler for each record, `async fn handle(record: OwnedRecord, attempt: Attempt) -> Result<(), Failure>` or a
    /// closure like it, until `shutdown` completes (with any output), a [`WorkerHandle`] stops the worker, or a fatal error
    /// occurs. Then no new handlers begin; running ones may end within the [grace](Self::grace), and records that wait for a
    /// retry are left for later; dead letters are written, finished records are committed, and the member leaves the group (a
    /// static member keeps its place).
    ///
    /// Handlers run as tasks of the runtime on which this runs. While nearly all of them complete at once, within microseconds,
    /// they run on the task of the worker instead, which costs far less (one that has to wait continues as a task). A handler is
    /// dropped at an `await` when its partition is revoked or lost or the worker's time has ended; its record is then handled
    /// again, here or elsewhere. A panic is a failure that is retried.
    ///
    /// If this future is dropped, running handlers are cancelled, and nothing more is committed except requests already sent:
    /// records finished since the last commit are handled again.
    ///
    /// # Errors
    /// [`Error::Client`] with `Config`: the settings are invalid. Errors that the consumer cannot recover from. [`Error::Fatal`]:
    /// a handler returned a fatal failure. In every case but the first, finished records are committed before, if possible.
    pub async fn run<F, T, S>(self, handler: F, shutdown: S) -> Result<Summary, Error>
    where
        F: Fn(OwnedRecord, Attempt) -> T + Send + Sync + 'static,
        T: Future<Output = Result<(), Failure>> + Send + 'static,
        S: Future,
    {
        run::run(self, tasks::Single::new(handler), 1, shutdown).await
    }

    /// Like [`run`](Self::run), for a handler of several records, `async fn handle(batch: Batch) -> Result<Handled, Failure>`.
    /// A batch has records of one partition: at most `records` of them, and of each lane consecutive ones. It holds whatever
    /// is available: the worker does not wait until it is full, and reads at most `max.poll.records` at a time: 500, and at most a
    /// quarter of the [`queue`](Self::queue), unless set. [`concurrency`](Self::concurrency) is the number of concurrent batches.
    ///
    /// An error does not tell which record it is about. It counts as an attempt at each of them, and gives up none: only a record
    /// that fails alone is given up. If it is a failure that is retried, all are tried again after a pause: each of them in a batch
    /// of its own for the last time, and the first of a lane after every fourth failure that counts. If it is poison, each of them
    /// is tried in a batch of its own at once. A record with [one attempt](crate::Retry::attempts) is tried once more then, alone.
    /// A handler that knows which records failed returns [`Handled::Each`](crate::Handled::Each), which is cheaper and gives up
    /// none of the others' attempts.
    ///
    /// # Errors
    /// Those of [`run`](Self::run); and `Config` for batches of 0 records.
    pub async fn run_batches<F, T, S>(self, records: usize, handler: F, shutdown: S) -> Result<Summary, Error>
    where
        F: Fn(Batch) -> T + Send + Sync + 'static,
        T: Future<Output = Result<Handled, Failure>> + Send + 'static,
        S: Future,
    {
        run::run(self, tasks::Batches::new(handler), records, shutdown).await
    }

    /// Like [`run`](Self::run), for a handler that blocks its thread, `fn handle(record: OwnedRecord, attempt: Attempt) ->
    /// Result<(), Failure>`. It runs on the runtime's threads for blocking work, at most [`concurrency`](Self::concurrency) at
    /// once (within the runtime's own limit, 512 by default).
    ///
    /// Such a thread cannot be cancelled. Its result does not count once its partition was revoked or lost, or after the
    /// [grace](Self::grace); [`Attempt::cancelled`](crate::Attempt::cancelled) reports that, and the handler should then end
    /// soon. Until it does, it keeps its place among the concurrent handlers, and nothing of its partition begins in this worker.
    /// Other members wait for it only [for a while](Self::revoke_grace), and for 1 s at most at the end of this worker. If it has
    /// not ended by then, the order of records with the same key is not kept between it and the next owner. A runtime that is
    /// dropped waits for its blocking threads: end it with tokio's `Runtime::shutdown_timeout`, or the process with
    /// `std::process::exit`, if it must not wait for such a handler.
    ///
    /// # Errors
    /// Those of [`run`](Self::run).
    pub async fn run_blocking<F, S>(self, handler: F, shutdown: S) -> Result<Summary, Error>
    where
        F: Fn(OwnedRecord, Attempt) -> Result<(), Failure> + Send + Sync + 'static,
        S: Future,
    {
        let blocking = tasks::Blocking::new(handler, self.threads.clone());
        run::run(self, blocking, 1, shutdown).await
    }
}
