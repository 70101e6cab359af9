//! The loop: it alone has the clients, the tasks and the clock, and carries out the machine's actions.

mod changes;
mod committing;
mod in_turn;
mod letters;
mod pace;
mod reading;
mod start;
mod stopping;
pub(crate) mod tasks;
mod telling;
mod transaction;
mod watch;

use std::{
    collections::{BTreeMap, HashMap},
    pin::{Pin, pin},
    sync::Arc,
    time::{Duration, Instant},
};

use offtake::{
    Consumer, ErrorCode, ErrorKind, Next, OffsetAndMetadata, OwnedRecord, Position, TopicPartition,
};
use offtake_producer::RecordMetadata;
use tokio::{
    sync::watch::Receiver,
    task::{self, JoinError, JoinSet},
    time::Instant as TokioInstant,
};

use self::{
    changes::HandoverState,
    committing::{CommitAnswer, Committing},
    in_turn::InTurn,
    letters::{DeadLetterEvent, DeadLetterForm, DeadLetterWriter},
    start::Parts,
    stopping::Stage,
    tasks::{Begun, Running, Tasks, panicked},
    transaction::Marks,
    watch::Watch,
};
use crate::{
    Attempt, Error, Event, Summary, WorkerHandle,
    clock::{self, WallClock},
    handle::StopStage,
    machine::{Action, AssignmentId, DeadLetterTicket, JobTicket, Machine, Results, SeekId, Started},
    output::Outbox,
    worker::{Options, Worker},
};

/// The maximum age of the metrics in a [`WorkerHandle`].
const METRICS_EVERY: Duration = Duration::from_millis(250);
/// The pause in polling after an error that stops nothing and names no partition.
const AFTER_ERROR: Duration = Duration::from_millis(200);
/// How often to check ownership, while this member is not known to own its partitions.
const LOOK_FOR_OWNERSHIP: Duration = Duration::from_millis(100);
/// The most ended tasks handled at once.
const ENDS_AT_ONCE: usize = 256;
/// The most handlers run in place before the loop checks everything else.
const IN_PLACE_AT_ONCE: usize = 256;

/// The settings of a worker, without its clients.
struct Settings {
    group: String,
    options: Options,
    events: Option<Arc<dyn Fn(Event) + Send + Sync>>,
    handle: WorkerHandle,
}

/// The result of fetching the commits of partitions.
type Loaded = (
    Vec<(AssignmentId, TopicPartition)>,
    Result<BTreeMap<TopicPartition, OffsetAndMetadata>, offtake::Error>,
);

/// The result of a seek.
type Sought = (SeekId, Result<(), offtake::Error>);

struct Runner {
    settings: Settings,
    consumer: Consumer,
    /// The format of letters, if any are written.
    form: Option<DeadLetterForm>,
    letters: Option<DeadLetterWriter>,
    wall: WallClock,
    machine: Machine<OwnedRecord>,
    tasks: Box<dyn Tasks>,
    jobs: JoinSet<Results>,
    running: HashMap<task::Id, (JobTicket, Running)>,
    loads: JoinSet<Loaded>,
    /// Seeks back to records that are not due.
    seeks: InTurn<(SeekId, TopicPartition, Position), Sought>,
    watch: Watch,
    committing: Committing,
    /// The most that one transaction may contain: its producer's `buffer.memory`.
    transaction_bytes: usize,
    marks: Marks,
    /// Partitions being handed over; nothing is polled meanwhile.
    handing: Option<HandoverState>,
    /// How far the worker was asked to stop.
    asked: Receiver<StopStage>,
    stage: Stage,
    /// The error by which it ends on its own.
    error: Option<Error>,
    /// The error because of which partitions handed over at the end may be uncommitted.
    uncommitted: Option<offtake::Error>,
    poll_from: Instant,
    /// The failure of commits that was reported last, and when; `None` after a commit that succeeded.
    told_of_commits: Option<(ErrorKind, Option<ErrorCode>, Instant)>,
    published: Instant,
    /// Whether anything has happened since the last publication.
    is_unpublished: bool,
}

/// The event that woke the loop.
enum Woken {
    Shutdown,
    Stop(StopStage),
    DeadLetter(DeadLetterEvent),
    Loaded(Result<Loaded, JoinError>),
    Sought(Sought),
    Needed(Result<Option<offtake::Error>, JoinError>),
    Committing(CommitAnswer),
    Next(Result<Next, offtake::Error>),
    Ended(Result<(task::Id, Results), JoinError>),
    Time,
}

/// Runs a worker until it ends.
pub(crate) async fn run(
    worker: Worker,
    tasks: impl Tasks + 'static,
    batch: usize,
    shutdown: impl Future,
) -> Result<Summary, Error> {
    let mut asked = worker.handle.stages();
    let mut shutdown = pin!(shutdown);
    let (parts, settings) = tokio::select! {
        biased;
        started = start::start(worker, batch) => started?,
        // Stopped before it could begin.
        _ = &mut shutdown => return Ok(Summary::default()),
        Ok(_) = asked.wait_for(|stage| *stage != StopStage::Running) => return Ok(Summary::default()),
    };
    Runner::new(parts, settings, Box::new(tasks), batch, asked).run(shutdown).await
}

impl Runner {
    fn new(
        parts: Parts,
        settings: Settings,
        tasks: Box<dyn Tasks>,
        batch: usize,
        asked: Receiver<StopStage>,
    ) -> Self {
        let Parts { consumer, committing, transaction_bytes, form, letters, wall, seed, watch } = parts;
        let now = clock::now();
        Self {
            machine: Machine::new(
                now,
                settings.options.clone(),
                batch,
                form.is_some(),
                settings.group.clone(),
                seed,
            ),
            settings,
            watch,
            consumer,
            form,
            letters,
            wall,
            tasks,
            jobs: JoinSet::new(),
            running: HashMap::new(),
            loads: JoinSet::new(),
            seeks: InTurn::new(),
            committing,
            transaction_bytes,
            marks: Marks::new(seed),
            handing: None,
            asked,
            stage: Stage::Running,
            error: None,
            uncommitted: None,
            poll_from: now,
            told_of_commits: None,
            published: now,
            is_unpublished: true,
        }
    }

    async fn run(mut self, mut shutdown: Pin<&mut impl Future>) -> Result<Summary, Error> {
        let mut is_shut_down = false;
        let mut alarm = pin!(tokio::time::sleep_until(clock::now().into()));
        let asked = *self.asked.borrow_and_update();
        self.reach(asked);
        loop {
            let now = clock::now();
            // A process that was suspended for longer than its session learns only later that others own its partitions.
            let is_owner = self.consumer.owns_assignment();
            self.machine.owns(is_owner);
            self.machine.advance(now);
            self.go_on_handing_over(now);
            self.go_on_stopping(now);
            let goes_on = self.act(now);
            self.seek_next();
            self.commit_if_due(now);
            self.look_at_cluster(now);
            self.publish(now);
            if let Some(by) = self.is_over() {
                return self.end(by).await;
            }
            let mut wake = self.next_wake(now);
            if !is_owner && self.machine.has_partitions() {
                wake = wake.min(clock::later(now, LOOK_FOR_OWNERSHIP));
            }
            if alarm.deadline() != TokioInstant::from_std(wake) {
                alarm.as_mut().reset(wake.into());
            }
            let polls = self.handing.is_none() && self.poll_from <= now;
            let woken = tokio::select! {
                biased;
                _ = &mut shutdown, if !is_shut_down => Woken::Shutdown,
                Ok(()) = self.asked.changed() => Woken::Stop(*self.asked.borrow_and_update()),
                letter = next_letter(&mut self.letters) => Woken::DeadLetter(letter),
                Some(loaded) = self.loads.join_next() => Woken::Loaded(loaded),
                sought = self.seeks.ended() => Woken::Sought(sought),
                Some(needed) = self.watch.topics.join_next() => Woken::Needed(needed),
                answer = self.committing.answer() => Woken::Committing(answer),
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
                Woken::DeadLetter(DeadLetterEvent::Ended(letter)) => self.letter_ended(letter),
                Woken::DeadLetter(DeadLetterEvent::Unwritable(error)) => self.tell(Event::Error(error)),
                Woken::Loaded(loaded) => self.loaded(loaded),
                Woken::Sought(sought) => self.sought(sought),
                Woken::Needed(Ok(Some(error))) => self.tell(Event::Error(error)),
                Woken::Needed(Ok(None) | Err(_)) => {}
                Woken::Committing(answer) => {
                    let again = self.commit_answered(answer).is_some_and(|outcome| outcome.again);
                    if let Some(handing) = self.handing.as_mut().filter(|_| again) {
                        handing.commit_again(&self.machine);
                    }
                }
                Woken::Next(next) => {
                    self.on_next(next);
                    // While there is always something to read, nothing else would look for them.
                    if let Some(ended) = self.jobs.try_join_next_with_id() {
                        self.jobs_ended(ended);
                    }
                }
                Woken::Ended(ended) => self.jobs_ended(ended),
            }
        }
    }

    /// Carries out the machine's actions. Returns whether there may be more to do at once, after others have had their turn.
    fn act(&mut self, mut now: Instant) -> bool {
        let (mut in_place, now_ms) = (0, self.wall.now_ms());
        while let Some(action) = self.machine.poll_action(now) {
            self.is_unpublished = true;
            match action {
                Action::Start(job) => {
                    let (records, ticket) = job.into_parts();
                    let mut records = records.into_iter().map(|started| self.split(started));
                    // A job has at least one record.
                    let Some(first) = records.next() else { continue };
                    let rest: Vec<_> = records.collect();
                    let all = std::iter::once(&first).chain(&rest);
                    let outboxes: Vec<_> = all.filter_map(|(_, attempt)| attempt.outbox.clone()).collect();
                    match self.tasks.begin(first, rest, self.settings.options.timeout, &mut self.jobs) {
                        Begun::Runs(mut running) => {
                            running.outboxes = outboxes;
                            drop(self.running.insert(running.task.id(), (ticket, running)));
                        }
                        Begun::Ended(results, ended) => {
                            now = ended;
                            let outputs = outboxes.iter().map(Outbox::close).collect();
                            self.machine.job_ended(now, now_ms, &ticket, &results, outputs);
                            in_place += 1;
                            // A handler may have requested the stop.
                            if in_place == IN_PLACE_AT_ONCE || self.asked.has_changed().unwrap_or(false) {
                                return true;
                            }
                        }
                    }
                }
                Action::Cancel(job) => {
                    let cancelled = self.running.values().filter(|(ticket, _)| ticket.id == job);
                    cancelled.for_each(|(_, running)| running.cancel());
                }
                Action::SetPaused { partitions, is_paused } => self.set_paused(partitions, is_paused),
                Action::Seek { seek, partition, to } => self.seeks.push((seek, partition, to)),
                // Its record may not be committed any more: the next owner writes it.
                Action::Write { .. } if matches!(self.stage, Stage::Over { .. }) => {}
                Action::Write { letter, record } => {
                    let (Some(form), Some(letters)) = (&self.form, &mut self.letters) else { continue };
                    match form.output(&letter.letter, &record) {
                        Ok(output) => {
                            letters.hold(letter, output);
                            letters.send_held(|letter| self.machine.wants_letter(letter));
                        }
                        Err(refused) => self.machine.letter_ended(now, letter, Err(refused)),
                    }
                }
                Action::Tell(event) => self.tell(event),
                Action::Fatal { partition, offset, reason } => {
                    // A batch that failed as a whole did so for each of its lanes.
                    if !matches!(&self.error, Some(Error::Fatal { reason: before, .. }) if *before == reason)
                    {
                        tracing::error!(%partition, offset, reason, "the handler failed for good");
                    }
                    self.end_with(Error::Fatal { partition, offset, reason });
                }
            }
        }
        false
    }

    /// Handles the end of a task, and of others that have ended as well.
    fn jobs_ended(&mut self, ended: Result<(task::Id, Results), JoinError>) {
        self.job_ended(ended);
        for _ in 1..ENDS_AT_ONCE {
            let Some(ended) = self.jobs.try_join_next_with_id() else { return };
            self.job_ended(ended);
        }
    }

    /// Handles the end of every task that has ended, before tasks are cancelled: what is done counts.
    fn take_ended_jobs(&mut self) {
        while let Some(ended) = self.jobs.try_join_next_with_id() {
            self.job_ended(ended);
        }
    }

    fn job_ended(&mut self, ended: Result<(task::Id, Results), JoinError>) {
        let (id, results) = match ended {
            Ok(ended) => ended,
            Err(error) => (error.id(), Results::All(panicked(None))),
        };
        if let Some((ticket, running)) = self.running.remove(&id) {
            let outputs = running.outboxes.iter().map(Outbox::close).collect();
            self.machine.job_ended(clock::now(), self.wall.now_ms(), &ticket, &results, outputs);
        }
    }

    fn letter_ended(
        &mut self,
        ended: Result<(DeadLetterTicket, Result<RecordMetadata, offtake::Error>), JoinError>,
    ) {
        match ended {
            Ok((letter, written)) => {
                let to = letter.letter.to;
                let news = self.letters.as_mut().and_then(|letters| letters.note(to, written.as_ref().err()));
                if let Some(error) = news {
                    self.tell(Event::Error(error));
                }
                let written = written.map(|written| (written.partition, written.offset));
                self.machine.letter_ended(clock::now(), letter, written);
            }
            // The task only waits for the result.
            Err(error) => tracing::error!(%error, "the task that waits for a dead letter ended"),
        }
        if let Some(letters) = &mut self.letters {
            letters.send_held(|letter| self.machine.wants_letter(letter));
        }
    }

    /// Splits a started record into the handler's arguments.
    fn split(&self, started: Started<OwnedRecord>) -> (OwnedRecord, Attempt) {
        let Started { record, attempt, is_probe, is_last, first_failure, origin } = started;
        let outbox = self.settings.options.transactions.is_some().then(Outbox::open);
        let (limit, cancelled) = (self.settings.options.timeout, None);
        let attempt =
            Attempt { number: attempt, is_probe, is_last, first_failure, limit, cancelled, outbox, origin };
        (record, attempt)
    }

    /// When to wake at the latest.
    fn next_wake(&self, now: Instant) -> Instant {
        const AT_LEAST: Duration = Duration::from_secs(3600);
        let poll = (self.poll_from > now).then_some(self.poll_from);
        let handing = self.handing.as_ref().map(|handing| handing.wake(now));
        let publish = self.is_unpublished.then(|| clock::later(self.published, METRICS_EVERY));
        let again = self.handing.as_ref().and_then(|_| self.machine.commit_rests_until(now));
        let watch = Some(self.watch.wake());
        let wakes = [self.machine.poll_timeout(), poll, handing, self.stage.wake(now), publish, again, watch];
        wakes.into_iter().flatten().fold(clock::later(now, AT_LEAST), Instant::min)
    }

    fn publish(&mut self, now: Instant) {
        if self.is_unpublished && now >= clock::later(self.published, METRICS_EVERY) {
            (self.published, self.is_unpublished) = (now, false);
            self.settings.handle.publish(self.machine.metrics());
        }
    }
}

/// The next event about letters; never, if none are written.
async fn next_letter(letters: &mut Option<DeadLetterWriter>) -> DeadLetterEvent {
    match letters {
        Some(letters) => letters.next().await,
        None => std::future::pending().await,
    }
}
