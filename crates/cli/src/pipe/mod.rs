//! `offtake pipe`: passes the records of a group to handlers in any language.
//!
//! A thin layer over [`Worker`], which retries records, passes over them or writes them to the dead letters.
//! The handlers are here: processes that are sent records and answer.

mod answer;
mod conversation;
mod events;
mod framing;
mod handler;
mod once;
mod pool;
mod process;
mod slot;

use std::{sync::Arc, thread::available_parallelism};

use offtake::{
    Builder, OwnedRecord,
    config::{AutoOffsetReset, Config},
};
use offtake_admin::Admin;
use offtake_worker::{
    Attempt, Breaker, DeadLetterHeaders, DeadLetters, Error, Retry, StoppedPartition, Summary, Worker,
};

use crate::{
    args::{Common, DlqHeaders, Mode, Order, Pipe},
    events::EventLog,
    failure::Failure,
    setup,
    stop::Stop,
};
use once::Once;
use pool::Pool;
use process::ProcessReaper;

pub(crate) async fn run(common: &Common, args: Pipe) -> Result<(), Failure> {
    let (config, of_producer) = config(common, &args)?;
    let mut stop = Stop::listen()?;
    let Some(found) = stop.or(check_topics(&config, &args)).await else { return Ok(()) };
    found?;
    let events = if args.events { Some(EventLog::start()?) } else { None };
    let reaper = ProcessReaper::start()?;
    let workers = args.workers.unwrap_or_else(|| {
        let cores = available_parallelism().map_or(1, usize::from);
        u32::try_from(cores).unwrap_or(u32::MAX)
    });
    let worker = worker(config, &of_producer, &args, workers, events.as_ref());
    let ran = match args.mode {
        Mode::Records => {
            let pool = Pool::start(&args, workers, reaper, events.as_ref().map(EventLog::sender));
            let (record_sender, broken) = (pool.record_sender(), pool.broken());
            let handle =
                move |record: OwnedRecord, attempt: Attempt| record_sender.clone().send(record, attempt);
            let shutdown = async {
                tokio::select! {
                    () = stop.asked() => {}
                    () = broken => {}
                }
            };
            let ran = worker.run(handle, shutdown).await;
            let broken = pool.startup_error();
            pool.close().await;
            broken.map_or(Ok(()), |why| Err(Failure::failed(why))).and(check_summary(ran))
        }
        Mode::Value => {
            let command = args.exec.as_str().into();
            let once = Once { command, timeout: args.timeout, reaper, has_run: Arc::default() };
            let handle =
                move |record: OwnedRecord, attempt: Attempt| once.clone().run(record, attempt.number());
            check_summary(worker.run(handle, async { stop.asked().await }).await)
        }
    };
    if let Some(events) = events {
        events.finish();
    }
    ran
}

/// The consumer's configuration, and the properties of the producer of dead letters.
fn config(common: &Common, args: &Pipe) -> Result<(Config, Vec<(String, String)>), Failure> {
    let (mut config, of_producer) = match args.dlq {
        Some(_) => {
            let both = setup::both(common)?;
            (both.consumer, both.of_producer)
        }
        None => (setup::config(common)?, Vec::new()),
    };
    config.set("group.id", &args.group)?;
    config.enable_auto_commit = false; // the worker commits finished records, whatever a shared file says
    if !config.is_given("auto.offset.reset") {
        config.auto_offset_reset = AutoOffsetReset::Earliest;
    }
    config.validate()?;
    Ok((config, of_producer))
}

/// Ends the command if the port is wrong or a topic is missing.
async fn check_topics(config: &Config, args: &Pipe) -> Result<(), Failure> {
    let limit = config.client.default_api_timeout;
    let mut admin = Admin::new(config.clone())?;
    admin.within(limit);
    let retries: Vec<_> = args.retry_topics.iter().map(|topic| topic.name(&args.group)).collect();
    let topics = args.topics.iter().chain(&args.dlq).chain(&retries).map(String::as_str);
    let found = admin.describe_topics(topics).await;
    admin.close().await;
    found?;
    Ok(())
}

fn worker(
    config: Config,
    of_producer: &[(String, String)],
    args: &Pipe,
    workers: u32,
    events: Option<&EventLog>,
) -> Worker {
    let in_flight = match args.mode {
        Mode::Records => args.in_flight,
        Mode::Value => 1,
    };
    let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let breaker = Breaker::open_at(args.breaker.share).of_last(args.breaker.of).pause(args.breaker_pause);
    let retries = args.retry_topics.iter().map(|topic| (topic.name(&args.group), topic.delay));
    let retry = Retry::exponential(args.backoff.least..args.backoff.most).jitter().attempts(args.attempts);
    let retry = retry.then_topics(retries);
    let retry = if args.allow_reordering { retry.allow_reordering() } else { retry };
    let mut worker = Worker::new(Builder::from_config(config))
        .subscribe(args.topics.iter().map(String::as_str))
        .order(match args.order {
            Order::Key => offtake_worker::Order::Key,
            Order::Partition => offtake_worker::Order::Partition,
            Order::None => offtake_worker::Order::Unordered,
        })
        .concurrency(size(workers).saturating_mul(size(in_flight)))
        .queue(size(args.queue))
        .retry(retry)
        .breaker(breaker)
        .commit_interval(args.commit_interval)
        .grace(args.grace);
    if let Some(topic) = &args.dlq {
        let letters = DeadLetters::to(topic).headers(match args.dlq_headers {
            DlqHeaders::Offtake => DeadLetterHeaders::Offtake,
            DlqHeaders::Spring => DeadLetterHeaders::Spring,
            DlqHeaders::Connect => DeadLetterHeaders::Connect,
        });
        let properties = of_producer.iter();
        worker = worker
            .dead_letters(properties.fold(letters, |letters, (name, value)| letters.property(name, value)));
    }
    if let Some(sender) = events.map(EventLog::sender) {
        worker = worker.events(move |event| {
            let (name, fields) = events::name_and_fields(event);
            sender.send(name, fields);
        });
    }
    worker
}

/// A stopped partition or a missing commit is a failure.
pub(crate) fn check_summary(ran: Result<Summary, Error>) -> Result<(), Failure> {
    let summary = ran.map_err(|error| match error {
        Error::Client(error) => error.into(),
        other => Failure::failed(other.to_string()),
    })?;
    let Summary { stopped, last_commit, .. } = summary;
    let stopped: Vec<_> = stopped.iter().map(stopped_text).collect();
    match (stopped.is_empty(), last_commit) {
        (true, Ok(())) => Ok(()),
        (true, Err(error)) => Err(error.into()),
        (false, Ok(())) => Err(Failure::failed(stopped.join("; "))),
        (false, Err(error)) => Err(Failure::failed(format!("{}; {error}", stopped.join("; ")))),
    }
}

fn stopped_text(stopped: &StoppedPartition) -> String {
    let at = stopped.offset.map(|offset| format!(" at offset {offset}")).unwrap_or_default();
    format!("{} stopped{at}: {}", stopped.partition, stopped.why)
}
