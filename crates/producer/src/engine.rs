//! The producer's engine: it turns one machine's events into another's commands. The loop of `offtake-client` drives it.

mod driven;
mod transactions;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use offtake_client::{Error, ErrorKind, Result, clock};
use offtake_machine::{BrokerId, CallId, Metadata, PartitionInfo, Topic, after, metadata};
use offtake_wire::ErrorCode;
use tokio::sync::oneshot;

use crate::{
    Config,
    accumulator::{FlushMark, Shared, TopicState},
    identity::Identity,
    sender::{self, Sender},
    transaction::machine::{Part, TransactionConfig, Transactions},
};

use transactions::Transacting;
pub(crate) use transactions::TransactionCommand;

/// The minimum of `metadata.max.idle.ms`, as in Java.
const SHORTEST_IDLE: Duration = Duration::from_secs(5);

/// A request from the handle.
pub(crate) enum Command {
    /// Something in the accumulator has changed.
    Look,
    /// Answered when everything that was sent before it has an outcome.
    Flush(oneshot::Sender<()>),
    /// Accepts no more records, and ends when everything has an outcome, or at the deadline.
    Close {
        deadline: Instant,
        done: oneshot::Sender<Result<()>>,
    },
    Transaction(TransactionCommand),
}

/// The engine.
pub(crate) struct Engine {
    shared: Arc<Shared>,
    metadata: Metadata,
    identity: Identity,
    sender: Sender,
    /// For a transactional producer, whose id comes from here.
    transacting: Option<Transacting>,
    /// The machine and the call that each tag belongs to.
    routes: HashMap<u64, (Machine, CallId)>,
    next_tag: u64,
    flushes: Vec<(FlushMark, oneshot::Sender<()>)>,
    life: EngineState,
    is_cluster_new: bool,
    rebootstraps: bool,
    max_idle: Duration,
    delivery_timeout: Duration,
    /// When to look for idle topics next.
    idle_check: Instant,
    wanted: BTreeSet<Topic>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Machine {
    Metadata,
    Identity,
    Sender,
    Transactions(Part),
}

enum EngineState {
    Open,
    /// Nothing will be written any more, for this reason. No more requests are sent either, but the handle still exists.
    Failed(Error),
    Closing {
        deadline: Option<Instant>,
        done: Vec<oneshot::Sender<Result<()>>>,
    },
    Closed,
}

impl Engine {
    pub(crate) fn new(now: Instant, config: &Config, shared: Arc<Shared>, seed: u64) -> Self {
        let client = &config.client;
        Self {
            shared,
            // A topic that a record is sent to is created, if the broker creates topics (`auto.create.topics.enable`).
            metadata: Metadata::new(now, client.metadata(true, seed)),
            identity: Identity::new(client.request_timeout, client.backoff(), seed.wrapping_add(1)),
            sender: Sender::new(config, seed.wrapping_add(2)),
            transacting: config.transactional_id.clone().map(|id| {
                let config = TransactionConfig {
                    id,
                    timeout: config.transaction_timeout,
                    max_block: config.max_block,
                    request_timeout: client.request_timeout,
                    backoff: client.backoff(),
                };
                Transacting::new(Transactions::new(now, config, seed.wrapping_add(3)))
            }),
            routes: HashMap::new(),
            next_tag: 0,
            flushes: Vec::new(),
            life: EngineState::Open,
            is_cluster_new: false,
            rebootstraps: false,
            max_idle: config.metadata_max_idle.max(SHORTEST_IDLE),
            delivery_timeout: config.total_timeout(),
            idle_check: after(now, config.metadata_max_idle.max(SHORTEST_IDLE)),
            wanted: BTreeSet::new(),
        }
    }

    /// Handles whatever is new in the accumulator.
    fn look(&mut self, now: Instant) {
        if matches!(self.life, EngineState::Failed(_) | EngineState::Closed) {
            return;
        }
        let mut accumulator = self.shared.lock();
        accumulator.engine_is_awake();
        accumulator.expire_waiting(now);
        let ready = accumulator.take_ready(now);
        let has_news = accumulator.take_topic_news();
        let topics = has_news.then(|| accumulator.topics());
        let fault = accumulator.take_fault();
        drop(accumulator);
        if let Some(fault) = fault {
            self.fail_transaction(now, fault);
        }
        self.drop_unsent(now);
        if let Some(topics) = topics {
            self.want(now, topics);
        }
        if !ready.is_empty() {
            self.sender.ready(ready, &self.shared, self.metadata.cluster());
        }
        if self.sender.wants_identity() && self.transacting.is_none() {
            self.identity.want(now);
        }
    }

    /// Requests metadata for these topics. Known topics are requested again if a record waits for a partition that they lack.
    fn want(&mut self, now: Instant, topics: BTreeSet<Topic>) {
        if topics == self.wanted {
            self.metadata.refresh(now);
        } else {
            self.wanted = topics.clone();
            self.metadata.want_topics(now, topics);
        }
    }

    fn forget_idle_topics(&mut self, now: Instant) {
        if self.idle_check > now {
            return;
        }
        self.idle_check = after(now, self.max_idle);
        let mut accumulator = self.shared.lock();
        let sender = &self.sender;
        if accumulator.forget_idle_topics(|slot| sender.is_idle(slot)) {
            let topics = accumulator.topics();
            drop(accumulator);
            self.want(now, topics);
        }
    }

    /// Routes the sender's events to the other machines.
    fn route_sender(&mut self, now: Instant) {
        while let Some(event) = self.sender.poll_event() {
            match event {
                sender::Event::RefreshMetadata => self.metadata.refresh(now),
                sender::Event::IdentityLost => self.identity.want(now),
                sender::Event::WantsPartition(partition) => {
                    if let Some(transacting) = &mut self.transacting {
                        transacting.machine.add(now, partition);
                    }
                }
                sender::Event::TransactionSent => {
                    if let Some(transacting) = &mut self.transacting {
                        transacting.machine.note_sent(now);
                    }
                }
                sender::Event::BatchFailed(why) => self.fail_transaction(now, why),
                sender::Event::StallsChanged => self.learn_stalls(&self.sender.stalled()),
                sender::Event::LeaderMoved { partition, leader, epoch, at } => {
                    self.metadata.learn_leader(now, &partition, leader, epoch, at);
                }
            }
        }
    }

    /// Routes each machine's events to the others.
    fn route_events(&mut self, now: Instant) {
        // The sender goes first, because its events change the metadata.
        self.route_sender(now);
        while let Some(event) = self.metadata.poll_event() {
            match event {
                metadata::Event::Updated => self.learn_cluster(now),
                metadata::Event::Rebootstrap => self.rebootstraps = true,
                metadata::Event::RefreshFailed(error) if !error.is_retriable() => {
                    self.fail(now, error.into())
                }
                metadata::Event::RefreshFailed(error) => {
                    tracing::debug!(%error, "the metadata could not be refreshed");
                }
            }
        }
        match self.identity.take_result() {
            Some(Ok(identity)) => self.sender.identify(identity),
            Some(Err(error)) => self.fail(now, error),
            None => {}
        }
        self.route_transactions(now);
        self.end_flushes();
        self.advance_close(now);
    }

    fn learn_cluster(&mut self, now: Instant) {
        self.is_cluster_new = true;
        let cluster = self.metadata.cluster().clone();
        let mut accumulator = self.shared.lock();
        for (name, topic) in &cluster.topics {
            let state = match topic.error {
                ErrorCode::None => {
                    let leaderless = topic.partitions.iter().filter(|(_, info)| info.leader.is_none());
                    TopicState::Known {
                        // Partitions are numbered from 0. One that the response left out has no leader.
                        partitions: topic
                            .partitions
                            .last_key_value()
                            .map_or(0, |(last, _)| last.unsigned_abs().saturating_add(1)),
                        leaderless: leaderless.map(|(index, _)| *index).collect(),
                    }
                }
                ErrorCode::TopicAuthorizationFailed => TopicState::Refused(
                    Error::new(
                        ErrorKind::Authorization,
                        format!("this client may not see topic {name} (DESCRIBE), nor write to it"),
                    )
                    .with_code(topic.error),
                ),
                ErrorCode::InvalidTopicException => TopicState::Refused(
                    Error::new(ErrorKind::UnknownTopic, format!("{name} is not a valid topic name"))
                        .with_code(topic.error),
                ),
                ErrorCode::UnknownTopicOrPartition => {
                    accumulator.topic_is_missing(now, name);
                    continue;
                }
                _ => continue,
            };
            accumulator.learn_topic(now, name, state);
        }
        drop(accumulator);
        let stalled = self.sender.stalled();
        if !stalled.is_empty() {
            self.learn_stalls(&stalled);
        }
        self.sender.learn_leaders(&cluster);
        // Records that waited for their topic's metadata have their places now.
        self.look(now);
    }

    /// Keeps records without a key away from partitions that these brokers lead, if other partitions are available.
    fn learn_stalls(&self, stalled: &BTreeSet<BrokerId>) {
        let mut accumulator = self.shared.lock();
        for (name, topic) in &self.metadata.cluster().topics {
            let is_stalled =
                |info: &PartitionInfo| info.leader.is_some_and(|leader| stalled.contains(&leader));
            let partitions = topic.partitions.iter().filter(|(_, info)| is_stalled(info));
            accumulator.learn_stalls(name, partitions.map(|(index, _)| *index).collect());
        }
    }

    fn end_flushes(&mut self) {
        if self.flushes.is_empty() {
            return;
        }
        let mut accumulator = self.shared.lock();
        let ended: Vec<_> = self.flushes.extract_if(.., |(mark, _)| accumulator.is_flushed(mark)).collect();
        if self.flushes.is_empty() {
            accumulator.no_flush_is_left();
        }
        drop(accumulator); // a task that is woken may send the next record at once
        for (_, done) in ended {
            let _ = done.send(());
        }
    }

    /// Fails the producer: nothing will be written any more, for this reason.
    fn fail(&mut self, now: Instant, error: Error) {
        if matches!(self.life, EngineState::Failed(_) | EngineState::Closed) {
            return;
        }
        tracing::error!(%error, "the producer has ended");
        if let Some(transacting) = &mut self.transacting {
            transacting.stop(error.clone());
        }
        self.shared.lock().close(error.clone());
        self.end_rest(now, &error);
        if let EngineState::Closing { done, .. } =
            std::mem::replace(&mut self.life, EngineState::Failed(error.clone()))
        {
            for done in done {
                let _ = done.send(Err(error.clone()));
            }
            self.life = EngineState::Closed;
        }
    }

    /// Gives this outcome to everything that has none.
    fn end_rest(&mut self, now: Instant, why: &Error) {
        self.sender.end_all(now, why, &self.shared);
        let ended = self.shared.lock().take_all();
        for info in ended {
            info.outcome.end(crate::delivery::Outcome::Failed(why.clone()));
        }
        self.flushes.clear();
    }

    fn close(&mut self, now: Instant, deadline: Option<Instant>, done: Option<oneshot::Sender<Result<()>>>) {
        self.shared.lock().close_for_good();
        match &mut self.life {
            EngineState::Failed(error) => {
                if let Some(done) = done {
                    let _ = done.send(Err(error.clone()));
                }
                self.life = EngineState::Closed;
            }
            EngineState::Closed => {
                if let Some(done) = done {
                    let _ = done.send(Ok(()));
                }
            }
            EngineState::Closing { deadline: before, done: waiting } => {
                *before = match (*before, deadline) {
                    (Some(before), Some(deadline)) => Some(before.min(deadline)),
                    (before, deadline) => before.or(deadline),
                };
                waiting.extend(done);
            }
            EngineState::Open => self.life = EngineState::Closing { deadline, done: Vec::from_iter(done) },
        }
        // An open transaction that was not committed is aborted.
        if let Some(transacting) =
            self.transacting.as_mut().filter(|transacting| transacting.machine.is_open())
        {
            transacting.machine.end(now, false);
        }
        self.look(now);
    }

    fn advance_close(&mut self, now: Instant) {
        let EngineState::Closing { deadline, .. } = &self.life else { return };
        let has_transaction =
            self.transacting.as_ref().is_some_and(|transacting| !transacting.machine.is_idle());
        let is_empty = self.shared.lock().is_empty();
        let is_done = is_empty && !has_transaction;
        let is_late = deadline.is_some_and(|deadline| deadline <= now);
        if !is_done && !is_late {
            return;
        }
        let result = if is_done {
            Ok(())
        } else {
            let is_settled = is_empty && self.sender.is_quiet();
            let text = "the producer was closed before the record was written";
            let why = Error::new(ErrorKind::Closed, text);
            let unended = self.transacting.as_mut().and_then(|transacting| {
                let unended = transacting.machine.unended();
                // A transaction is committed only with all of its records, and only if its caller learns the result. An abort
                // must not overtake a record.
                if !(is_settled && transacting.machine.is_aborting()) {
                    transacting.stop(why.clone());
                }
                unended
            });
            self.end_rest(now, &why);
            let text = unended.unwrap_or_else(|| {
                "not everything was written before the producer had to close; each send reports its own result"
                    .to_owned()
            });
            Err(Error::new(ErrorKind::Timeout, text))
        };
        if let EngineState::Closing { done, .. } = std::mem::replace(&mut self.life, EngineState::Closed) {
            for done in done {
                let _ = done.send(result.clone());
            }
        }
    }
}

/// However the engine ends, even with its runtime or in a panic, each record gets an outcome.
impl Drop for Engine {
    fn drop(&mut self) {
        let text = "the producer's engine has ended, with the runtime that it was spawned on or by a panic";
        let why = Error::new(ErrorKind::Closed, text);
        if let Some(transacting) = &mut self.transacting {
            transacting.stop(why.clone());
        }
        self.end_rest(clock::now(), &why);
    }
}
