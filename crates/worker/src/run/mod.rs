//! The loop: it alone has the clients, the tasks and the clock, and does what the machine says.

mod changes;
mod committing;
mod letters;
mod pace;
mod start;
mod stopping;
pub(crate) mod tasks;

use std::{
    collections::{BTreeMap, HashMap},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use offtake::{Consumer, Next, OffsetAndMetadata, TopicPartition};
use offtake_producer::RecordMetadata;
use tokio::{
    sync::watch,
    task::{self, JoinError, JoinSet},
    time::Instant as TokioInstant,
};

use self::{
    changes::Handing,
    committing::Committing,
    letters::Letters,
    start::Parts,
    stopping::Stage,
    tasks::{Begun, Running, Tasks, panicked},
};
use crate::{
    Error, Event, Summary, WorkerHandle,
    clock::{self, WallClock},
    handle::StopStage,
    machine::{Action, AssignmentId, JobTicket, LetterTicket, Machine, Results},
    worker::{Options, Worker},
};

/// How old what a [`WorkerHandle`] shows may be.
const METRICS_EVERY: Duration = Duration::from_millis(250);
/// After an error that stops nothing, polling rests for so long.
const AFTER_ERROR: Duration = Duration::from_millis(200);
/// So many ends of tasks are taken at once.
const ENDS_AT_ONCE: usize = 256;
/// So many handlers run in place before the loop looks at everything else.
const IN_PLACE_AT_ONCE: usize = 256;

/// What a worker was told beside its clients.
struct Told {
    group: String,
    options: Options,
    events: Option<Arc<dyn Fn(Event) + Send + Sync>>,
    handle: WorkerHandle,
}

/// Partitions whose commits are being read, and what came of it.
type Loaded = (
    Vec<(AssignmentId, TopicPartition)>,
    Result<BTreeMap<TopicPartition, OffsetAndMetadata>, offtake::Error>,
);

struct Runner {
    told: Told,
    consumer: Consumer,
    letters: Option<Letters>,
    wall: WallClock,
    machine: Machine<offtake::OwnedRecord>,
    tasks: Box<dyn Tasks>,
    jobs: JoinSet<Results>,
    running: HashMap<task::Id, (JobTicket, Running)>,
    loads: JoinSet<Loaded>,
    committing: Option<Committing>,
    /// Partitions that are being handed over: nothing is polled meanwhile.
    handing: Option<Handing>,
    stage: Stage,
    /// Why it ends by itself.
    error: Option<Error>,
    poll_from: Instant,
    published: Instant,
    /// Whether anything has happened since.
    is_unpublished: bool,
}

/// What the loop was woken by.
enum Woken {
    Shutdown,
    Stop(StopStage),
    Letter(Result<(LetterTicket, Result<RecordMetadata, offtake::Error>), JoinError>),
    Loaded(Result<Loaded, JoinError>),
    Committed(Result<(), offtake::Error>),
    Next(Result<Next, offtake::Error>),
    Ended(Result<(task::Id, Results), JoinError>),
    Time,
}

/// Runs a worker to its end.
pub(crate) async fn run(
    worker: Worker,
    tasks: impl Tasks + 'static,
    batch: usize,
    shutdown: impl Future,
) -> Result<Summary, Error> {
    let stages = worker.handle.stages();
    let (parts, told) = start::start(worker, batch).await?;
    Runner::new(parts, told, Box::new(tasks), batch).run(stages, shutdown).await
}

impl Runner {
    fn new(parts: Parts, told: Told, tasks: Box<dyn Tasks>, batch: usize) -> Self {
        let Parts { consumer, letters, wall, seed } = parts;
        let now = clock::now();
        Self {
            machine: Machine::new(
                now,
                told.options.clone(),
                batch,
                letters.is_some(),
                told.group.clone(),
                seed,
            ),
            told,
            consumer,
            letters,
            wall,
            tasks,
            jobs: JoinSet::new(),
            running: HashMap::new(),
            loads: JoinSet::new(),
            committing: None,
            handing: None,
            stage: Stage::Running,
            error: None,
            poll_from: now,
            published: now,
            is_unpublished: true,
        }
    }

    async fn run(
        mut self,
        mut stages: watch::Receiver<StopStage>,
        shutdown: impl Future,
    ) -> Result<Summary, Error> {
        let mut shutdown = pin!(shutdown);
        let mut is_shut_down = false;
        let mut alarm = pin!(tokio::time::sleep_until(clock::now().into()));
        self.reach(*stages.borrow_and_update());
        loop {
            let now = clock::now();
            self.machine.advance(now);
            self.go_on_handing_over(now);
            self.go_on_stopping(now);
            let goes_on = self.act(now);
            self.commit_if_due(now);
            self.publish(now);
            if self.is_over(now) {
                break;
            }
            let wake = self.next_wake(now);
            if alarm.deadline() != TokioInstant::from_std(wake) {
                alarm.as_mut().reset(wake.into());
            }
            let polls = self.handing.is_none() && self.poll_from <= now;
            let woken = tokio::select! {
                biased;
                _ = &mut shutdown, if !is_shut_down => Woken::Shutdown,
                Ok(()) = stages.changed() => Woken::Stop(*stages.borrow_and_update()),
                letter = next_letter(&mut self.letters) => Woken::Letter(letter),
                Some(loaded) = self.loads.join_next() => Woken::Loaded(loaded),
                committed = committing::ended(&mut self.committing) => Woken::Committed(committed),
                () = &mut alarm => Woken::Time,
                next = self.consumer.next(), if polls => Woken::Next(next),
                Some(ended) = self.jobs.join_next_with_id() => Woken::Ended(ended),
                () = task::yield_now(), if goes_on => Woken::Time,
            };
            self.is_unpublished |= !matches!(woken, Woken::Time);
            match woken {
                Woken::Time => {}
                Woken::Shutdown => {
                    is_shut_down = true;
                    self.reach(StopStage::Stopping);
                }
                Woken::Stop(stage) => self.reach(stage),
                Woken::Letter(letter) => self.letter_ended(letter),
                Woken::Loaded(loaded) => self.loaded(loaded),
                Woken::Committed(result) => {
                    let again = self.commit_ended(result);
                    if let Some(handing) = self.handing.as_mut().filter(|_| again) {
                        handing.commit_again();
                    }
                }
                Woken::Next(next) => self.on_next(next),
                Woken::Ended(ended) => self.jobs_ended(ended),
            }
        }
        self.end().await
    }

    /// Does what the machine says. Whether there may be more to do at once: others have their turn in between.
    fn act(&mut self, mut now: Instant) -> bool {
        let (mut in_place, now_ms) = (0, self.wall.now_ms());
        while let Some(action) = self.machine.poll_action(now) {
            self.is_unpublished = true;
            match action {
                Action::Start(job) => {
                    let (records, ticket) = job.into_parts();
                    match self.tasks.begin(records, self.told.options.timeout, &mut self.jobs) {
                        Begun::Runs(running) => {
                            drop(self.running.insert(running.task.id(), (ticket, running)));
                        }
                        Begun::Ended(results, ended) => {
                            now = ended;
                            self.machine.job_ended(now, now_ms, &ticket, &results);
                            in_place += 1;
                            if in_place == IN_PLACE_AT_ONCE || self.is_to_stop() {
                                return true;
                            }
                        }
                    }
                }
                Action::Cancel(job) => {
                    let cancelled = self.running.values().filter(|(ticket, _)| ticket.id == job);
                    cancelled.for_each(|(_, running)| running.cancel());
                }
                // One that was given up meanwhile needs neither.
                Action::Pause(partition) => drop(self.consumer.pause(&partition)),
                Action::Resume(partition) => drop(self.consumer.resume(&partition)),
                Action::DeadLetter { letter, record } => {
                    let Some(letters) = &mut self.letters else { continue };
                    match letters.send(letter, &record) {
                        Ok(()) => {}
                        Err(refused) => self.machine.letter_ended(refused.0, Err(refused.1)),
                    }
                }
                Action::Tell(event) => self.tell(event),
                Action::Fatal { partition, offset, reason } => {
                    tracing::error!(%partition, offset, reason, "the handler cannot go on");
                    self.end_with(Error::Fatal { partition, offset, reason });
                }
            }
        }
        false
    }

    /// Whether the loop is still to be told that the worker stops: a handler may have asked for it.
    fn is_to_stop(&self) -> bool {
        self.stage == Stage::Running && self.told.handle.is_to_stop()
    }

    /// A task has ended, and perhaps others with it.
    fn jobs_ended(&mut self, ended: Result<(task::Id, Results), JoinError>) {
        let (now, now_ms) = (clock::now(), self.wall.now_ms());
        let (mut next, mut taken) = (Some(ended), 0);
        while let Some(ended) = next {
            let (id, results) = match ended {
                Ok(ended) => ended,
                Err(error) => (error.id(), Results::All(panicked(None))),
            };
            if let Some((ticket, _)) = self.running.remove(&id) {
                self.machine.job_ended(now, now_ms, &ticket, &results);
            }
            taken += 1;
            next = if taken < ENDS_AT_ONCE { self.jobs.try_join_next_with_id() } else { None };
        }
    }

    fn letter_ended(
        &mut self,
        ended: Result<(LetterTicket, Result<RecordMetadata, offtake::Error>), JoinError>,
    ) {
        match ended {
            Ok((letter, Ok(written))) => {
                self.machine.letter_ended(letter, Ok((written.partition, written.offset)));
            }
            Ok((letter, Err(error))) => self.machine.letter_ended(letter, Err(error)),
            // The task only waits.
            Err(error) => tracing::error!(%error, "the task that waits for a dead letter ended"),
        }
    }

    /// When to look again, whatever happens.
    fn next_wake(&self, now: Instant) -> Instant {
        const AT_LEAST: Duration = Duration::from_secs(3600);
        let poll = (self.poll_from > now).then_some(self.poll_from);
        let handing = self.handing.as_ref().map(|handing| handing.wake());
        let publish = self.is_unpublished.then(|| clock::later(self.published, METRICS_EVERY));
        let wakes = [self.machine.poll_timeout(), poll, handing, self.stage.wake(now), publish];
        wakes.into_iter().flatten().fold(clock::later(now, AT_LEAST), Instant::min)
    }

    fn publish(&mut self, now: Instant) {
        if self.is_unpublished && now >= clock::later(self.published, METRICS_EVERY) {
            (self.published, self.is_unpublished) = (now, false);
            self.told.handle.publish(self.machine.metrics());
        }
    }

    /// Tells an event to whoever listens, and logs it.
    fn tell(&self, event: Event) {
        log(&event);
        if let Some(events) = &self.told.events
            && catch_unwind(AssertUnwindSafe(|| events(event))).is_err()
        {
            tracing::error!("the function that takes the worker's events panicked");
        }
    }
}

/// A dead letter that has an outcome; never, where there are none.
async fn next_letter(
    letters: &mut Option<Letters>,
) -> Result<(LetterTicket, Result<RecordMetadata, offtake::Error>), JoinError> {
    if let Some(letters) = letters
        && let Some(ended) = letters.written.join_next().await
    {
        return ended;
    }
    std::future::pending().await
}

fn log(event: &Event) {
    match event {
        Event::DeadLettered { partition, offset, attempts, reason, .. } => {
            tracing::warn!(%partition, offset, attempts, reason, "a record was dead-lettered");
        }
        Event::Stopped(stopped) => {
            tracing::error!(partition = %stopped.partition, offset = stopped.offset, why = %stopped.why,
                "a partition stopped");
        }
        Event::Breaker { state } => tracing::warn!(%state, "the breaker changed"),
        Event::Retried { partition, offset, attempt, reason, delay } => {
            tracing::debug!(%partition, offset, attempt, reason, ?delay, "a record is tried again");
        }
        Event::Error(error) => tracing::warn!(%error, "the worker goes on"),
        // The consumer logs them itself.
        Event::Assigned(_)
        | Event::Revoked(_)
        | Event::Lost(_)
        | Event::Committed { .. }
        | Event::Consumer(_) => {}
    }
}
