//! The execution of jobs, as tasks or in place, by a handler of single records, of batches, or one that blocks. The loop knows
//! only [`Tasks`].

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use offtake::OwnedRecord;
use tokio::{
    sync::oneshot,
    task::{AbortHandle, JoinSet},
};
use tracing::{Instrument, Span, field};

use super::pace::Pace;
use crate::{
    Attempt, Batch, Failure, FailureKind, Handled, TraceContext, clock,
    failure::Weight,
    machine::{Cause, HandlerResult, Results},
    output::Outbox,
};

/// The arguments of a handler.
pub(crate) type ForHandler = (OwnedRecord, Attempt);

/// Runs handlers.
pub(crate) trait Tasks: Send + Sync {
    /// Begins a handler of these records. It ends at once, or becomes a task, which returns the results. `limit` is its time
    /// limit.
    fn begin(
        &self,
        first: ForHandler,
        rest: Vec<ForHandler>,
        limit: Option<Duration>,
        tasks: &mut JoinSet<Results>,
    ) -> Begun;
}

/// A handler that has begun.
#[derive(Debug)]
pub(crate) enum Begun {
    Runs(Running),
    /// It ran in place, and ended at this time.
    Ended(Results, Instant),
}

/// A task that runs a handler.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) task: AbortHandle,
    /// Set for a handler that cannot be dropped.
    flag: Option<Arc<AtomicBool>>,
    /// The outboxes of its attempts, by record.
    pub(crate) outboxes: Vec<Outbox>,
}

impl Running {
    fn new(task: AbortHandle, flag: Option<Arc<AtomicBool>>) -> Self {
        Self { task, flag, outboxes: Vec::new() }
    }

    /// Cancels the handler, whose results no longer count. The task ends when its handler does.
    pub(crate) fn cancel(&self) {
        match &self.flag {
            Some(flag) => flag.store(true, Ordering::Release),
            None => self.task.abort(),
        }
    }
}

/// Informs a handler that cannot be dropped when its result is no longer awaited.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A handler of single records.
pub(crate) struct Single<H>(Arc<Paced<H>>);

struct Paced<H> {
    handler: H,
    pace: Pace,
}

impl<H> Single<H> {
    pub(crate) fn new(handler: H) -> Self {
        Self(Arc::new(Paced { handler, pace: Pace::default() }))
    }
}

impl<F, T> Tasks for Single<F>
where
    F: Fn(OwnedRecord, Attempt) -> T + Send + Sync + 'static,
    T: Future<Output = Result<(), Failure>> + Send + 'static,
{
    fn begin(
        &self,
        (record, attempt): ForHandler,
        _: Vec<ForHandler>,
        limit: Option<Duration>,
        tasks: &mut JoinSet<Results>,
    ) -> Begun {
        let span = record_span(&record, &attempt);
        let shared = Arc::clone(&self.0);
        if !self.0.pace.is_quick() {
            let task = async move {
                let work = handled(&shared.handler, record, attempt, limit).instrument(span);
                shared.pace.as_task(work).await
            };
            return Begun::Runs(Running::new(tasks.spawn(task), None));
        }
        let work = async move { handled(&shared.handler, record, attempt, limit).await };
        let mut work = Box::pin(work.instrument(span));
        match self.0.pace.in_place(work.as_mut()) {
            Ok((Poll::Ready(results), ended)) => Begun::Ended(results, ended),
            Ok((Poll::Pending, _)) => Begun::Runs(Running::new(tasks.spawn(work), None)),
            Err(panic) => Begun::Ended(Results::All(panicked(Some(&*panic))), clock::now()),
        }
    }
}

/// Runs a handler of one record to its end.
async fn handled<F, T>(handler: &F, record: OwnedRecord, attempt: Attempt, limit: Option<Duration>) -> Results
where
    F: Fn(OwnedRecord, Attempt) -> T,
    T: Future<Output = Result<(), Failure>>,
{
    let handled = contained(limit, async move { handler(record, attempt).await }).await;
    Results::All(handled.map_or_else(|failed| failed, handler_result))
}

/// A handler of batches.
pub(crate) struct Batches<H>(Arc<H>);

impl<H> Batches<H> {
    pub(crate) fn new(handler: H) -> Self {
        Self(Arc::new(handler))
    }
}

impl<F, T> Tasks for Batches<F>
where
    F: Fn(Batch) -> T + Send + Sync + 'static,
    T: Future<Output = Result<Handled, Failure>> + Send + 'static,
{
    fn begin(
        &self,
        first: ForHandler,
        rest: Vec<ForHandler>,
        limit: Option<Duration>,
        tasks: &mut JoinSet<Results>,
    ) -> Begun {
        let handler = Arc::clone(&self.0);
        let span = tracing::info_span!(
            "batch",
            topic = first.0.topic(),
            partition = first.0.partition(),
            records = 1 + rest.len()
        );
        let records = std::iter::once(first).chain(rest).collect();
        let work = async move {
            match contained(limit, async move { handler(Batch { records }).await }).await {
                Err(failed) => Results::All(failed),
                Ok(Err(failure)) => Results::All(failed(&failure)),
                Ok(Ok(Handled::All)) => Results::All(HandlerResult::Done),
                Ok(Ok(Handled::Each(results))) => {
                    Results::Each(results.into_iter().map(handler_result).collect())
                }
            }
        };
        Begun::Runs(Running::new(tasks.spawn(work.instrument(span)), None))
    }
}

/// A handler of single records that runs on a thread for blocking work.
pub(crate) struct Blocking<H> {
    handler: Arc<H>,
    threads: Option<Threads>,
}

/// A test's threads for blocking work, in place of the runtime's.
pub(crate) type Threads = Arc<dyn Fn(Box<dyn FnOnce() + Send>) + Send + Sync>;

impl<H> Blocking<H> {
    pub(crate) fn new(handler: H, threads: Option<Threads>) -> Self {
        Self { handler: Arc::new(handler), threads }
    }
}

/// Runs a job on a thread for blocking work. Returns its result or its panic, or nothing if it never ran.
fn on_thread<T: Send + 'static>(
    threads: Option<&Threads>,
    job: impl FnOnce() -> T + Send + 'static,
) -> oneshot::Receiver<Result<T, Box<dyn Any + Send>>> {
    let (ends, ended) = oneshot::channel();
    let job = move || drop(ends.send(catch_unwind(AssertUnwindSafe(job))));
    match threads {
        Some(threads) => threads(Box::new(job)),
        None => drop(tokio::task::spawn_blocking(job)),
    }
    ended
}

impl<F> Tasks for Blocking<F>
where
    F: Fn(OwnedRecord, Attempt) -> Result<(), Failure> + Send + Sync + 'static,
{
    fn begin(
        &self,
        (record, attempt): ForHandler,
        _: Vec<ForHandler>,
        limit: Option<Duration>,
        tasks: &mut JoinSet<Results>,
    ) -> Begun {
        let (handler, threads) = (Arc::clone(&self.handler), self.threads.clone());
        let flag = Arc::new(AtomicBool::new(false));
        let attempt = Attempt { cancelled: Some(Arc::clone(&flag)), ..attempt };
        let span = record_span(&record, &attempt);
        let (guard, is_cancelled) = (CancelOnDrop(Arc::clone(&flag)), Arc::clone(&flag));
        let work = async move {
            let (begins, has_begun) = oneshot::channel();
            let mut thread = on_thread(threads.as_ref(), move || {
                let _ = begins.send(());
                match is_cancelled.load(Ordering::Acquire) {
                    // It waited for a thread until its result was no longer awaited.
                    true => Err(Failure::retry("no thread was free in time")),
                    false => span.in_scope(|| handler(record, attempt)),
                }
            });
            // The time limit counts from the start of the handler.
            let _ = has_begun.await;
            let in_time = match limit {
                Some(limit) => tokio::time::timeout(limit, &mut thread).await.ok(),
                None => None,
            };
            let ended = match in_time {
                Some(ended) => ended,
                None => {
                    if limit.is_some() {
                        guard.0.store(true, Ordering::Release);
                    }
                    thread.await
                }
            };
            Results::All(match ended {
                Ok(Ok(result)) => handler_result(result),
                Ok(Err(panic)) => panicked(Some(&*panic)),
                Err(_) => panicked(None),
            })
        };
        Begun::Runs(Running::new(tasks.spawn(work), Some(flag)))
    }
}

/// The span of a handler, which contains its logs and belongs to the record's trace.
fn record_span(record: &OwnedRecord, attempt: &Attempt) -> Span {
    let span = tracing::info_span!(
        "record",
        topic = record.topic(),
        partition = record.partition(),
        offset = record.offset(),
        attempt = attempt.number,
        trace_id = field::Empty,
        parent_id = field::Empty,
    );
    if !span.is_disabled()
        && let Some(context) = TraceContext::of(record)
    {
        span.record("trace_id", format_args!("{:032x}", context.trace_id));
        span.record("parent_id", format_args!("{:016x}", context.parent_id));
    }
    span
}

fn handler_result(result: Result<(), Failure>) -> HandlerResult {
    match result {
        Ok(()) => HandlerResult::Done,
        Err(failure) => failed(&failure),
    }
}

fn failed(failure: &Failure) -> HandlerResult {
    let (kind, weight) = (failure.kind(), failure.weight());
    HandlerResult::Failed { kind, cause: Cause::Handler, weight, reason: failure.reason() }
}

/// The result of a handler that panicked.
pub(crate) fn panicked(panic: Option<&(dyn Any + Send)>) -> HandlerResult {
    let said = panic.and_then(|panic| {
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str))
    });
    let reason = Failure::retry(match said {
        Some(said) => format!("the handler panicked: {said}"),
        None => "the handler panicked".to_owned(),
    });
    let (kind, weight) = (FailureKind::Retry, Weight::Whole);
    HandlerResult::Failed { kind, cause: Cause::Panic, weight, reason: reason.reason() }
}

/// Runs a handler's future with a time limit, after which it is dropped; a panic becomes its result.
async fn contained<T>(limit: Option<Duration>, future: impl Future<Output = T>) -> Result<T, HandlerResult> {
    let mut future = pin!(future);
    let guarded =
        std::future::poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(panic) => Poll::Ready(Err(panicked(Some(&*panic)))),
        });
    let Some(limit) = limit else { return guarded.await };
    tokio::time::timeout(limit, guarded).await.unwrap_or_else(|_| {
        let reason = format!("the handler took longer than {limit:?}");
        let (kind, weight) = (FailureKind::Retry, Weight::Whole);
        Err(HandlerResult::Failed { kind, cause: Cause::Timeout, weight, reason })
    })
}
