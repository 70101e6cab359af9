//! From what a worker was told to what is meant: its consumer, its producer of dead letters, or what is wrong.

use offtake::{Builder, Consumer, Error, ErrorKind};

use super::letters::Letters;
use crate::{
    clock::{self, WallClock},
    worker::{Options, Topics, Worker},
};

/// What it takes to run.
pub(super) struct Parts {
    pub(super) consumer: Consumer,
    pub(super) letters: Option<Letters>,
    pub(super) wall: WallClock,
    pub(super) seed: u64,
}

/// Checks everything, makes the clients, and joins the group.
pub(super) async fn start(worker: Worker, batch: usize) -> Result<(Parts, super::Told), Error> {
    let Worker { consumer, topics, options, dead_letters, events, handle, replay } = worker;
    check(&options, topics.as_ref(), batch)?;
    let (consumer, config) = prepared(consumer, &options)?;
    let wall = match replay {
        Some((_, start_ms)) => WallClock::Since { start: clock::now(), start_ms },
        None => WallClock::System,
    };
    let group = config.group_id.clone().unwrap_or_default();
    if let (Some(Topics::Names(names)), Some(dead_letters)) = (&topics, &dead_letters)
        && names.iter().any(|name| name.as_str() == dead_letters.topic)
    {
        let text =
            format!("`{}` is read, and would get the dead letters of its own records", dead_letters.topic);
        return Err(Error::new(ErrorKind::Config, text));
    }
    let letters = match &dead_letters {
        Some(dead_letters) => Some(Letters::start(dead_letters, &config, group.clone(), wall).await?),
        None => None,
    };
    let mut consumer = consumer.build().await?;
    // Refused of every other consumer.
    let finished = consumer.handle().commit_finished().await;
    if !finished.is_err_and(|error| error.kind() == ErrorKind::Misuse) {
        return Err(Error::misuse("the worker says itself what is finished: leave out `finish_each`"));
    }
    match topics {
        Some(Topics::Names(names)) => consumer.subscribe(names).await?,
        Some(Topics::Patterns(patterns)) => consumer.subscribe_patterns(patterns).await?,
        None => {}
    }
    let seed = replay.map_or_else(random_seed, |(seed, _)| seed);
    Ok((Parts { consumer, letters, wall, seed }, super::Told { group, options, events, handle }))
}

/// What makes no sense, all of it.
fn check(options: &Options, topics: Option<&Topics>, batch: usize) -> Result<(), Error> {
    let mut wrong = Vec::new();
    let mut not = |is_wrong: bool, what: &str| {
        if is_wrong {
            wrong.push(what.to_owned());
        }
    };
    let has_no_topic = match topics {
        None => true,
        Some(Topics::Names(names)) => names.is_empty(),
        Some(Topics::Patterns(patterns)) => patterns.is_empty(),
    };
    not(has_no_topic, "nothing is subscribed to: name a topic (`subscribe`)");
    not(options.concurrency == 0, "`concurrency` is 0: nothing would be handled");
    not(options.queue == 0, "`queue` is 0: nothing could wait for a handler");
    not(options.queue_bytes == 0, "`queue_bytes` is 0: nothing could wait for a handler");
    not(options.retry.attempts == 0, "`Retry::attempts` is 0: the first time is one");
    not(batch == 0, "a batch of 0 records is none");
    if let Some(breaker) = &options.breaker {
        let share = breaker.share;
        not(!(share > 0.0 && share <= 1.0), "`Breaker::open_at` takes a share above 0, and 1 at most");
        not(breaker.window == 0, "`Breaker::of_last` is 0: there is nothing to judge by");
        not(breaker.probes == 0, "`Breaker::probes` is 0: it would never close");
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::Config, wrong.join("; "))),
    }
}

/// The builder as the worker needs it, and its configuration.
fn prepared(builder: Builder, options: &Options) -> Result<(Builder, offtake::Config), Error> {
    let mut config = None;
    let mut commits_by_itself = false;
    let builder = builder.configure(|it| {
        commits_by_itself = it.enable_auto_commit && it.is_given("enable.auto.commit");
        it.enable_auto_commit = false;
        if !it.is_given("max.poll.records") {
            it.max_poll_records = it.max_poll_records.min(options.queue / 4).max(1);
        }
        config = Some(it.clone());
    });
    if commits_by_itself {
        let text = "the worker commits what is finished: leave `enable.auto.commit` out, or set it to false";
        return Err(Error::new(ErrorKind::Config, text));
    }
    match config {
        Some(config) if config.group_id.is_none() => Err(Error::new(
            ErrorKind::Config,
            "a worker needs a `group.id`: its group keeps what is finished",
        )),
        Some(config) => Ok((builder, config)),
        None => Err(Error::misuse("the builder keeps its configuration to itself")),
    }
}

/// What tells this worker's jitter from that of every other.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}
