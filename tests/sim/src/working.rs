//! Members that are workers: an application around `offtake-worker`, its lives, and its reaction to a stopped partition.

mod baton;
mod handler;
mod letters;
mod strikes;

use std::{
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use offtake_broker::Model;
use offtake_worker::{
    Breaker, DeadLetterHeaders, DeadLetters, Error, Event, Order, Retry, Summary, Transactions, Worker,
    WorkerHandle,
};

use self::handler::Handler;
pub(crate) use self::{
    letters::{digest, letters, put_aside},
    strikes::strike,
};
use crate::{
    clock::{self, ms},
    events::What,
    member::{Ended, MemberRun, place, places},
    plan::{self, Blow, Copies, Leave, Plan, Work},
    world::{Direct, Road, World},
};

/// The topic of dead letters.
pub(crate) const LETTERS: &str = "letters";

/// The start of a run, in milliseconds since 1970. Brokers reject dead letters with a timestamp decades ahead.
const STARTED_AT: i64 = 1_790_000_000_000;

/// How often the application checks its worker.
const LOOKS: Duration = Duration::from_millis(50);
/// A second signal follows this long after the first.
const SECOND_SIGNAL: Duration = Duration::from_millis(300);

/// A running worker, with its result.
type Run<'a> = Pin<&'a mut (dyn Future<Output = Result<Summary, Error>> + Send)>;

/// Milliseconds since 1970, the same for every life: the reader's clock decides when a record of a retry topic is due.
pub(crate) fn wall_clock(world: &World) -> i64 {
    STARTED_AT + i64::try_from(world.log.now().as_millis()).unwrap_or_default()
}

/// The timestamp of a record. No two of a batch are equal, and a later one may have an earlier time.
pub(crate) fn dated(written: Duration, id: u64) -> i64 {
    STARTED_AT + i64::try_from(written.as_millis()).unwrap_or_default() - (id % 5).cast_signed()
}

/// The time of the run at which a wall clock showed this.
fn since_start(wall_ms: i64) -> Duration {
    ms(u64::try_from(wall_ms - STARTED_AT).unwrap_or_default())
}

/// The topics that workers write to: of dead letters, and for retries.
pub(crate) fn topics(plan: &Plan) -> Vec<String> {
    let Some(work) = plan.work.as_ref().filter(|work| work.letters.is_some()) else { return Vec::new() };
    let retries = work.retry_topics().map(|(name, _)| name);
    std::iter::once(LETTERS.to_owned()).chain(retries).collect()
}

/// Creates the topics.
pub(crate) fn prepare(model: &mut Model, plan: &Plan) {
    let Some(partitions) = plan.work.as_ref().and_then(|work| work.letters) else { return };
    let replicas = i16::try_from(plan.brokers).unwrap_or(1);
    for topic in topics(plan) {
        let created = model.create_topic(&topic, partitions, replicas, &[]);
        debug_assert!(created.is_ok(), "{created:?}");
    }
}

/// Runs one life to its end.
pub(crate) async fn live(life: MemberRun, work: Work, until: Option<(Duration, Leave)>) -> Ended {
    life.tell(What::Started { who: life.who });
    let has_stopped = Arc::new(AtomicBool::new(false));
    let worker = worker(&life, &work, &has_stopped);
    let handle = worker.handle();
    let handler = Handler::new(&life, work.clone());
    let run: Pin<Box<dyn Future<Output = Result<Summary, Error>> + Send>> =
        match work.batch {
            _ if work.blocking => Box::pin(worker.run_blocking(
                move |record, attempt| handler.clone().blocks(&record, &attempt),
                std::future::pending::<()>(),
            )),
            1 => Box::pin(worker.run(
                move |record, attempt| handler.clone().one(record, attempt),
                std::future::pending::<()>(),
            )),
            batch => Box::pin(worker.run_batches(
                batch,
                move |batch| handler.clone().batch(batch),
                std::future::pending::<()>(),
            )),
        };
    let mut run = run;
    let application = Application { life, work, handle, has_stopped };
    application.live(&mut run, until.map(|(after, how)| (clock::now() + after, how))).await
}

fn worker(life: &MemberRun, work: &Work, has_stopped: &Arc<AtomicBool>) -> Worker {
    let plan = &life.plan;
    let topics: Vec<_> = plan.topics.iter().map(|topic| topic.name.clone()).collect();
    let worker = Worker::new(life.builder());
    let worker =
        if life.member().patterns { worker.subscribe_patterns(topics) } else { worker.subscribe(topics) };
    let retry = Retry::exponential(ms(work.delay.0)..ms(work.delay.1));
    let retry = if work.jitter { retry.jitter() } else { retry };
    let retry = if work.attempts == 0 { retry.unlimited() } else { retry.attempts(work.attempts) };
    let retry = if work.retries.is_empty() {
        retry
    } else {
        retry.then_topics(work.retry_topics().map(|(name, delay)| (name, ms(delay)))).allow_reordering()
    };
    let order = match work.order {
        plan::Order::Key => Order::Key,
        plan::Order::Partition => Order::Partition,
        plan::Order::Unordered => Order::Unordered,
    };
    let (told, has_stopped) = (life.clone(), Arc::clone(has_stopped));
    let mut worker = worker
        .order(order)
        .concurrency(work.concurrency)
        .queue(work.queue)
        .queue_bytes(work.queue_bytes)
        .retry(retry)
        .commit_interval(ms(work.commit_interval))
        .metadata_bytes(work.metadata_bytes)
        .grace(ms(work.grace))
        .close_timeout(ms(work.close_timeout))
        .replay(life.random(23).next(), wall_clock(&life.world))
        .events(move |event| {
            if matches!(event, Event::Stopped(_)) {
                has_stopped.store(true, Ordering::Relaxed);
            }
            tell(&told, event);
        });
    if work.blocking {
        let (world, member) = (life.world.clone(), life.who.member);
        worker = worker.block_with(move |job| drop(world.spawn(member, Box::pin(baton::run(job)))));
    }
    if let Some(grace) = work.revoke_grace {
        worker = worker.revoke_grace(ms(grace));
    }
    if let Some(timeout) = work.timeout {
        worker = worker.timeout(ms(timeout));
    }
    if let Some(breaker) = &work.breaker {
        let share = f64::from(u32::try_from(breaker.share).unwrap_or(100)) / 100.0;
        let of = Breaker::open_at(share).of_last(breaker.window);
        worker = worker.breaker(of.pause(ms(breaker.pause)).probes(breaker.probes));
    }
    if work.letters.is_some() {
        worker = worker.dead_letters(dead_letters(life, work));
    }
    if let Some(copies) = plan.copies.as_ref().filter(|_| work.transactional) {
        worker = worker.transactional(transactions(life, copies));
    }
    worker
}

fn transactions(life: &MemberRun, copies: &Copies) -> Transactions {
    let life = life.clone();
    Transactions::by(life.plan.transactional_id(life.who.member))
        .property("client.id", client_id(&life))
        .property("transaction.timeout.ms", copies.timeout)
        .property("max.block.ms", copies.max_block)
        .property("linger.ms", copies.linger)
        .property("metadata.max.age.ms", life.plan.metadata_max_age)
        .property("request.timeout.ms", 10_000)
        .property("delivery.timeout.ms", 20_000)
        .producer(move |builder| of_world(&life, builder))
}

/// A producer with the world's dialler and clock.
fn of_world(life: &MemberRun, builder: offtake_producer::Builder) -> offtake_producer::Builder {
    let (world, who) = (life.world.clone(), life.who);
    let builder = if life.plan.connections {
        builder.dial(Arc::new(Road { world: world.clone(), who, produces: true }))
    } else {
        let direct = Direct::of_producer(world.clone(), who, life.plan.brokers);
        builder.carrier(Box::new(direct))
    };
    builder
        .replay(life.random(24).next(), wall_clock(&world))
        .spawn_with(move |engine| drop(world.spawn(who.member, engine)))
}

fn dead_letters(life: &MemberRun, work: &Work) -> DeadLetters {
    let headers = match work.headers {
        0 => DeadLetterHeaders::Offtake,
        1 => DeadLetterHeaders::Spring,
        _ => DeadLetterHeaders::Connect,
    };
    let life = life.clone();
    DeadLetters::to(LETTERS)
        .headers(headers)
        .property("client.id", client_id(&life))
        .property("metadata.max.age.ms", life.plan.metadata_max_age)
        .property("max.block.ms", 10_000)
        .property("request.timeout.ms", 3_000)
        .property("delivery.timeout.ms", work.delivery_timeout)
        .producer(move |builder| of_world(&life, builder))
}

/// The client id of its producer of dead letters, like that of the members' other producers.
fn client_id(life: &MemberRun) -> String {
    crate::copying::client_id(life.who)
}

/// Writes a worker's event to the log.
fn tell(life: &MemberRun, event: Event) {
    let who = life.who;
    life.tell(match event {
        Event::Revoked(change) => What::HandedOver { who, places: places(&change.partitions), lost: false },
        Event::Lost(change) => What::HandedOver { who, places: places(&change.partitions), lost: true },
        Event::Retried { partition, offset, delay, .. } => {
            What::Retried { who, at: place(&partition), offset, delay }
        }
        Event::DeadLettered { partition, offset, to, to_offset, .. }
        | Event::Postponed { partition, offset, to, to_offset, .. } => {
            What::LetterTold { who, at: place(&partition), offset, to: place(&to), to_offset }
        }
        Event::Stopped(stopped) => {
            What::PartitionStopped { who, at: place(&stopped.partition), why: stopped.why.to_string() }
        }
        Event::Breaker { state } => What::Breaker { who, state: state.to_string() },
        Event::Error(error) => {
            let (kind, message) = (format!("{:?}", error.kind()), error.to_string());
            What::Failed { who, call: "worker", kind, message, fatal: error.is_fatal() }
        }
        // The consumer reports the rest itself.
        _ => return,
    });
}

struct Application {
    life: MemberRun,
    work: Work,
    handle: WorkerHandle,
    /// Whether one of its partitions has stopped.
    has_stopped: Arc<AtomicBool>,
}

impl Application {
    async fn live(
        self,
        run: &mut Pin<Box<dyn Future<Output = Result<Summary, Error>> + Send>>,
        end: Option<(Instant, Leave)>,
    ) -> Ended {
        let (mut restart, mut most) = (None, (0, 0, false));
        loop {
            let halted = self.life.orders.halted.notified();
            let mut halted = pin!(halted);
            halted.as_mut().enable();
            if let Some((how, returns)) = self.halt() {
                let how = if how == Blow::StopNow { Leave::Remain } else { Leave::Close };
                let left = self.leave(run.as_mut(), how).await;
                return if left == Ended::Left { Ended::Again(returns) } else { left };
            }
            if self.life.orders.stop.load(Ordering::Relaxed) {
                return self.leave(run.as_mut(), Leave::Close).await;
            }
            if let Some((_, how)) = end.filter(|(at, _)| clock::now() >= *at) {
                return self.leave(run.as_mut(), how).await;
            }
            if restart.is_none() && self.has_stopped.load(Ordering::Relaxed) {
                restart = Some(clock::now() + ms(self.work.restarts_after));
            }
            if restart.is_some_and(|at| clock::now() >= at) {
                let left = self.leave(run.as_mut(), Leave::Close).await;
                return if left == Ended::Left { Ended::Again(500) } else { left };
            }
            self.look_at_queue(&mut most);
            tokio::select! {
                biased;
                ended = run.as_mut() => return self.ended(ended),
                () = halted => {}
                () = clock::sleep(LOOKS) => {}
            }
        }
    }

    /// The blow that strikes it, if any.
    fn halt(&self) -> Option<(Blow, u64)> {
        let mut halts = self.life.orders.halts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        halts.remove(&self.life.who.member)
    }

    fn look_at_queue(&self, most: &mut (usize, usize, bool)) {
        let metrics = self.handle.metrics();
        let (records, bytes) = (metrics.queued, metrics.queued_bytes);
        most.2 |= metrics.writing_dead_letters > 0;
        if records > most.0 || bytes > most.1 {
            *most = (most.0.max(records), most.1.max(bytes), most.2);
            self.life.tell(What::Queued { who: self.life.who, records, bytes, letters: most.2 });
        }
    }

    /// How long its end may take: running handlers, dead letters, cancelled work, the last commit, both clients, and a commit for
    /// partitions that are just handed over.
    fn longest_end(&self, how: Leave) -> Duration {
        let close = ms(self.work.close_timeout);
        let grace = if how == Leave::Close { ms(self.work.grace) + close } else { SECOND_SIGNAL };
        grace + 4 * close + Duration::from_secs(1)
    }

    async fn leave(&self, mut run: Run<'_>, how: Leave) -> Ended {
        let who = self.life.who;
        if how == Leave::Drop {
            self.life.tell(What::Crashed { who });
            return Ended::Left;
        }
        self.life.tell(What::CloseBegins { who, timeout: self.longest_end(how) });
        match how {
            Leave::Remain => self.handle.stop_now(),
            _ => self.handle.stop(),
        }
        if how == Leave::Unsubscribe
            && let Ok(ended) = tokio::time::timeout(SECOND_SIGNAL, run.as_mut()).await
        {
            return self.closed(ended);
        }
        if how == Leave::Unsubscribe {
            self.handle.stop_now();
        }
        self.closed(run.await)
    }

    fn closed(&self, ended: Result<Summary, Error>) -> Ended {
        let ended = self.ended(ended);
        if ended != Ended::Failed {
            self.life.tell(What::CloseEnds { who: self.life.who });
            return Ended::Left;
        }
        ended
    }

    /// Handles its end, whether it was asked to end or not.
    fn ended(&self, ended: Result<Summary, Error>) -> Ended {
        let who = self.life.who;
        match ended {
            Ok(summary) => {
                self.life.tell(What::WorkerEnded { who, clean: summary.last_commit.is_ok() });
                Ended::Left
            }
            // The application is started again, as after any other fault.
            Err(Error::Fatal { .. }) => {
                self.life.tell(What::WorkerEnded { who, clean: false });
                self.life.tell(What::CloseEnds { who });
                Ended::Again(1_000)
            }
            // Another rule checks with which errors of its producer it may end.
            Err(Error::Client(error)) if self.work.transactional && is_of_transactions(&error) => {
                self.life.producer_failed("run", &error);
                Ended::Failed
            }
            Err(Error::Client(error)) => self.life.failed("run", &error),
            Err(error) => {
                let (kind, message) = ("Worker".to_owned(), error.to_string());
                self.life.tell(What::Failed { who, call: "run", kind, message, fatal: true });
                Ended::Failed
            }
        }
    }
}

/// Whether an error is one with which only a transactional producer ends.
pub(crate) fn is_of_transactions(error: &offtake::Error) -> bool {
    use offtake::ErrorKind::{Fenced, Refused};
    let is_of_instance = error.to_string().contains("group.instance.id");
    matches!(error.kind(), Fenced | Refused) && !is_of_instance
}
