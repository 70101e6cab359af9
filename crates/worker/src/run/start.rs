//! Starts a worker: checks its settings, and creates its consumer and producers.

use std::time::Duration;

use offtake::{Builder, Consumer, Error, ErrorKind, Topic, config::IsolationLevel};
use offtake_producer::TransactionalProducer;
use regex::Regex;

use super::{
    committing::Committing,
    letters::{DeadLetterForm, DeadLetterWriter},
    telling::tell,
    watch::Watch,
};
use crate::{
    DeadLetters, Event, Order, Transactions,
    clock::{self, WallClock},
    worker::{COMMIT_INTERVAL, Options, TRANSACTION_INTERVAL, Topics, Worker},
};

/// The parts of a running worker.
pub(super) struct Parts {
    pub(super) consumer: Consumer,
    pub(super) committing: Committing,
    /// The `buffer.memory` of the transactional producer.
    pub(super) transaction_bytes: usize,
    pub(super) form: Option<DeadLetterForm>,
    pub(super) letters: Option<DeadLetterWriter>,
    pub(super) wall: WallClock,
    pub(super) seed: u64,
    pub(super) watch: Watch,
}

/// Checks all settings, creates the clients, and joins the group.
pub(super) async fn start(worker: Worker, batch: usize) -> Result<(Parts, super::Settings), Error> {
    let Worker {
        consumer,
        topics,
        mut options,
        commit_interval,
        dead_letters,
        events,
        handle,
        replay,
        threads: _,
    } = worker;
    let (consumer, config) = prepared(consumer, &options)?;
    check(&options, topics.as_ref(), dead_letters.as_ref(), batch, &config)?;
    let is_transactional = options.transactions.is_some();
    options.commit_interval =
        commit_interval.unwrap_or(if is_transactional { TRANSACTION_INTERVAL } else { COMMIT_INTERVAL });
    if is_transactional {
        // Transactions do not contain records finished beyond a gap yet.
        options.metadata_bytes = 0;
    }
    let wall = match replay {
        Some((_, start_ms)) => WallClock::Since { start: clock::now(), start_ms },
        None => WallClock::System,
    };
    let group = config.group_id.clone().unwrap_or_default();
    let form = match &dead_letters {
        Some(letters) => {
            let is_elsewhere = letters.options.is_of_another_cluster(&config);
            let retries = &options.retry.topics;
            Some(DeadLetterForm::new(letters, retries, group.clone(), wall, is_elsewhere)?)
        }
        None => None,
    };
    let mut consumer = consumer.build().await?;
    let reached = consumer.handle();
    // Other consumers refuse this call.
    let finished = reached.commit_finished().await;
    if !finished.is_err_and(|error| error.kind() == ErrorKind::Misuse) {
        return Err(Error::misuse("the worker marks records as finished itself: leave out `finish_each`"));
    }
    handle.consumes_with(reached.clone());
    let mut watch = Watch::new(clock::now());
    // This comes before joining the group, because it ends transactions left open by an earlier worker, and a fetch of offsets
    // waits for their end.
    let (committing, transaction_bytes) = match &options.transactions {
        Some(by) => {
            let tell = |event| tell(&events, event);
            let made = transactional(by, &config, |error| tell(Event::Error(error)));
            let (producer, bytes) = watch.during(&reached, tell, made).await?;
            (Committing::Transactions(producer), bytes)
        }
        None => (Committing::Offsets, 0),
    };
    let letters = match &dead_letters {
        Some(letters) if !is_transactional => Some(DeadLetterWriter::start(&letters.options, &config).await?),
        Some(_) | None => None,
    };
    let retries = options.retry.topics.iter().map(|topic| topic.name.clone());
    let written = form.iter().flat_map(DeadLetterForm::topics).map(|(_, topic)| Topic::from(topic));
    watch.need(&reached, written);
    if let Some(Topics::Names(names)) = &topics {
        watch.need(&reached, names.iter().cloned());
    }
    match topics {
        Some(Topics::Names(names)) => {
            let names: Vec<_> = names.into_iter().chain(retries).collect();
            consumer.subscribe(names).await?;
        }
        Some(Topics::Patterns(mut patterns)) => {
            patterns.extend(retries.map(|name| name.as_str().replace('.', r"\.")));
            consumer.subscribe_patterns(patterns).await?;
        }
        None => {}
    }
    let seed = replay.map_or_else(random_seed, |(seed, _)| seed);
    let parts = Parts { consumer, committing, transaction_bytes, form, letters, wall, seed, watch };
    Ok((parts, super::Settings { group, options, events, handle }))
}

/// Creates the transactional producer and waits until its coordinator has registered it. Returns it with its `buffer.memory`.
/// Until then it retries, and reports why.
async fn transactional(
    by: &Transactions,
    config: &offtake::Config,
    tell: impl Fn(Error),
) -> Result<(TransactionalProducer, usize), Error> {
    loop {
        let mut memory = 0;
        let builder = by.options.builder(config, gives_up_first).transactional_id(&by.id);
        let builder = builder.configure(|it| memory = it.buffer_memory);
        match builder.build_transactional().await {
            Err(error) if error.kind() == ErrorKind::Timeout => tell(error),
            built => return Ok((built?, memory)),
        }
    }
}

/// Makes the producer give up before the coordinator aborts the transaction: a record that cannot be written for a while is
/// retried in another transaction. If the cluster's `transaction.version` is below 2, an abort by the coordinator would fence the
/// producer.
fn gives_up_first(config: &mut offtake_producer::Config) {
    // A record waits for its topic, then for its leader; the offsets wait for their coordinator.
    config.max_block = Duration::from_secs(40);
    config.delivery_timeout = Duration::from_secs(40);
    config.transaction_timeout = Duration::from_secs(120);
}

/// Finds all invalid settings.
fn check(
    options: &Options,
    topics: Option<&Topics>,
    dead_letters: Option<&DeadLetters>,
    batch: usize,
    config: &offtake::Config,
) -> Result<(), Error> {
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
    not(options.timeout.is_some_and(|limit| limit.is_zero()), "`timeout` is 0: no attempt could end in time");
    not(options.retry.attempts == 0, "`Retry::attempts` is 0: the first attempt counts, so it is 1 at least");
    not(batch == 0, "the batch size is 0: it must be 1 at least");
    let (names, patterns): (&[Topic], &[String]) = match topics {
        Some(Topics::Names(names)) => (names, &[]),
        Some(Topics::Patterns(patterns)) => (&[], patterns),
        None => (&[], &[]),
    };
    let reads = |topic: &str| names.iter().any(|name| name.as_str() == topic);
    let retries = &options.retry.topics;
    if let Some(DeadLetters { topic, options: producer, .. }) = dead_letters {
        let is_here = !producer.is_of_another_cluster(config);
        not(
            reads(topic) && is_here,
            &format!("`{topic}` is read, and would get the dead letters of its own records"),
        );
        not(
            !is_here && !retries.is_empty(),
            "retry topics are read in the consumer's cluster, and the dead letters' producer would write to them in another: leave out its `bootstrap.servers`",
        );
        for pattern in patterns.iter().filter(|pattern| is_here && matches(pattern, topic)) {
            let text = format!(
                "the pattern `{pattern}` matches `{topic}`, which would get the dead letters of its own records: rename the dead-letter topic, or \
                 narrow the pattern"
            );
            not(true, &text);
        }
        let is_one = retries.iter().any(|retry| retry.name.as_str() == topic);
        not(
            is_one,
            &format!("`{topic}` is a retry topic, and would get the dead letters of its own records"),
        );
        let is_told = options.transactions.is_some() && !producer.is_empty();
        not(
            is_told,
            "the producer of the transactions writes the dead letters: set its properties with `Transactions`",
        );
    }
    let is_ordered = options.order != Order::Unordered && !options.retry.allows_reordering;
    not(
        !retries.is_empty() && is_ordered,
        "a record in a retry topic is overtaken by those behind it: `Order::Unordered`, or `Retry::allow_reordering`",
    );
    not(
        !retries.is_empty() && dead_letters.is_none(),
        "a record that has passed all retry topics goes to the dead letter topic: name it (`dead_letters`)",
    );
    for (nth, retry) in retries.iter().enumerate() {
        let name = &retry.name;
        let is_twice = retries.iter().take(nth).any(|other| other.name == *name);
        not(is_twice, &format!("the retry topic `{name}` is given twice"));
        not(
            reads(name.as_str()),
            &format!("`{name}` is a retry topic: it is read without being subscribed to"),
        );
    }
    if let Some(breaker) = &options.breaker {
        let share = breaker.share;
        not(!(share > 0.0 && share <= 1.0), "`Breaker::open_at` takes a share above 0, and 1 at most");
        not(breaker.window == 0, "`Breaker::of_last` is 0: there are no outcomes to count");
        not(
            breaker.window == 1,
            "`Breaker::of_last` is 1: every failure would open it, and none count as an attempt",
        );
        not(breaker.probes == 0, "`Breaker::probes` is 0: it would never close");
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::Config, wrong.join("; "))),
    }
}

/// Whether a pattern matches the whole name of a topic. The consumer refuses an invalid one.
fn matches(pattern: &str, topic: &str) -> bool {
    Regex::new(&format!("^(?:{pattern})$")).is_ok_and(|pattern| pattern.is_match(topic))
}

/// Adapts the builder to the worker. Returns it with its configuration.
fn prepared(builder: Builder, options: &Options) -> Result<(Builder, offtake::Config), Error> {
    let mut config = None;
    let mut commits_by_itself = false;
    let mut reads_twice = false;
    let builder = builder.configure(|it| {
        commits_by_itself = it.enable_auto_commit && it.is_given("enable.auto.commit");
        it.enable_auto_commit = false;
        if options.transactions.is_some() && !it.is_given("isolation.level") {
            it.isolation_level = IsolationLevel::ReadCommitted;
        }
        // A letter from an aborted transaction would be read in addition to the one from the committed transaction.
        reads_twice = options.transactions.is_some()
            && !options.retry.topics.is_empty()
            && it.isolation_level == IsolationLevel::ReadUncommitted;
        if !it.is_given("max.poll.records") {
            it.max_poll_records = it.max_poll_records.min(options.queue / 4).max(1);
        }
        config = Some(it.clone());
    });
    if commits_by_itself {
        let text =
            "the worker commits finished records itself: leave `enable.auto.commit` out, or set it to false";
        return Err(Error::new(ErrorKind::Config, text));
    }
    if reads_twice {
        let text = "retry topics of a transactional worker are read with `isolation.level=read_committed`: results of an aborted transaction are written again";
        return Err(Error::new(ErrorKind::Config, text));
    }
    match config {
        Some(config) if config.group_id.is_none() => Err(Error::new(
            ErrorKind::Config,
            "a worker needs a `group.id`: its progress is committed to that group",
        )),
        Some(config) => Ok((builder, config)),
        None => Err(Error::misuse("the builder does not reveal its configuration")),
    }
}

/// A seed that differs between workers, so that their jitter does.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}
