//! Tests of the handle without its engine: a task answers commands and logs them in the order in which they
//! arrive.

use std::{
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
};

use offtake_fetch::{Charge, Chunk};
use offtake_group::RevocationId;
use offtake_machine::{Position, Token, TopicPartition};
use offtake_wire::records::BatchBuilder;
use tokio::{
    sync::{mpsc, oneshot},
    time::advance,
};

use super::*;
use crate::{
    Event, Listener, ListenerFuture, OffsetAndTimestamp, Rebalance, StartAt, Ticket,
    builder::Builder,
    command::ListAt,
    error::{ErrorKind, NOT_COMMITTED},
    gauges::PartitionGauges,
    inbox::{self, Control, Data, InboxSender, Restart},
};

mod closing;
mod committing;
mod listening;
mod offsets;
mod reading;
mod rebalances;
mod runtimes;
mod waking;

const ALL: Duration = Duration::from_secs(3600);
const NONE: Duration = Duration::ZERO;

/// The handle's commands to the engine and the listener's calls, in order.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, what: impl Into<String>) {
        self.lock().push(what.into());
    }

    /// Everything since the last call.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.lock())
    }
}

/// Answers to commits that are held back, each with its deadline.
type Held = Arc<Mutex<Option<Vec<(Instant, oneshot::Sender<Result<()>>)>>>>;

/// Stands in for the engine.
struct Engine {
    inbox: InboxSender,
    shared: Arc<Shared>,
    log: Log,
    held: Held,
    freed: Arc<FreedMemory>,
}

fn name(partition: &TopicPartition) -> String {
    format!("{partition}")
}

impl Engine {
    fn hold_commits(&self) {
        *self.held.lock().unwrap() = Some(Vec::new());
    }

    fn answer_commits(&self) {
        for (_, reply) in self.held.lock().unwrap().take().unwrap() {
            let _ = reply.send(Ok(()));
        }
    }

    /// The deadlines of the commits that are held back.
    fn held_until(&self) -> Vec<Instant> {
        self.held.lock().unwrap().iter().flatten().map(|(until, _)| *until).collect()
    }

    /// Refuses commits after a second, as a group that has continued without this member.
    fn refuses_commits(&self) -> impl Future<Output = ()> + use<> {
        let held = Arc::clone(&self.held);
        async move {
            sleep(Duration::from_secs(1)).await;
            for (_, reply) in held.lock().unwrap().take().unwrap() {
                let _ = reply.send(Err(Error::new(ErrorKind::CommitFailed, "refused")));
            }
        }
    }

    /// Times out commits, as `offsets` does with a commit that cannot be made.
    fn times_out_commits(&self) -> impl Future<Output = ()> + use<> {
        let held = Arc::clone(&self.held);
        async move {
            settle().await;
            let held = held.lock().unwrap().take().unwrap();
            for (deadline, reply) in held {
                tokio::time::sleep_until(deadline.into()).await;
                let _ = reply.send(Err(Error::new(ErrorKind::Timeout, "not committed in time")));
            }
        }
    }

    fn send(&self, control: impl IntoIterator<Item = Control>, data: impl IntoIterator<Item = Data>) {
        let mut new = Taken { control: control.into_iter().collect(), data: data.into_iter().collect() };
        self.inbox.send(&mut new);
    }

    /// The cluster has moved the partition to another position.
    fn resets(&self, partition: i32, to: i64) {
        let partition = orders(partition);
        let reset = Event::Truncated { partition: partition.clone(), from: 6, to: Some(to), epoch: None };
        let restart = Restart { resets: vec![reset], rewinds: 1 };
        self.send([], [Data::Started { partition, token: TOKEN, position: Position::at(to), restart }]);
    }

    /// Assigns these partitions of `orders` to the consumer, each to be read from its first record on.
    fn assigns(&self, partitions: &[i32], generation: Option<i32>) {
        let added =
            partitions.iter().map(|index| (orders(*index), Arc::new(PartitionGauges::new(TOKEN, false))));
        let owned = partitions.iter().map(|index| orders(*index)).collect();
        let started = partitions.iter().map(|index| Data::Started {
            partition: orders(*index),
            token: TOKEN,
            position: Position::at(0),
            restart: Restart::default(),
        });
        self.send([Control::Assigned { added: added.collect(), owned, generation }], started);
    }

    fn revokes(&self, partitions: &[i32], revoke_by: Option<Instant>) {
        let partitions = partitions.iter().map(|index| orders(*index)).collect();
        let id = RevocationId(7);
        self.send([Control::Revoke { id, partitions, owned: vec![], generation: 1, revoke_by }], []);
    }

    fn loses(&self, partitions: &[i32]) {
        let partitions = partitions.iter().map(|index| orders(*index)).collect();
        self.send([Control::Lost { id: RevocationId(8), partitions, owned: vec![], generation: 1 }], []);
    }

    fn brings(&self, partition: i32, from: i64, count: i64) {
        self.send([], [Data::Records(chunk(partition, from, count))]);
    }
}

const TOKEN: Token = Token { assignment: 1, seek: 0 };

fn orders(partition: i32) -> TopicPartition {
    TopicPartition::new("orders", partition)
}

fn batch(from: i64, count: i64) -> bytes::Bytes {
    let mut builder = BatchBuilder::new(from);
    for _ in 0..count {
        builder.push(1, None, Some(b"value"), &[]);
    }
    builder.build().unwrap()
}

fn chunk(partition: i32, from: i64, count: i64) -> Chunk {
    Chunk {
        partition: orders(partition),
        token: TOKEN,
        start_id: 1,
        fetch_offset: from,
        next: Position::at(from + count),
        batches: [batch(from, count)].into_iter().collect(),
        charge: Charge::unaccounted(1),
    }
}

/// The first and the end offset of each partition of `orders`, and its record for a time. For partition 9 the
/// leader sends nothing.
fn listed((partition, at): (TopicPartition, ListAt)) -> Option<(TopicPartition, OffsetAndTimestamp)> {
    let (offset, timestamp) = match at {
        ListAt::Earliest => (5, None),
        ListAt::Latest => (42, None),
        ListAt::Timestamp(time) => (7, Some(time)),
    };
    (partition != orders(9))
        .then_some((partition, OffsetAndTimestamp { offset, timestamp, leader_epoch: None }))
}

/// Answers commands as an engine without errors would.
async fn answers(
    mut commands: mpsc::UnboundedReceiver<Command>,
    log: Log,
    held: Held,
    freed: Arc<FreedMemory>,
) {
    let answer = |deadline: Instant, reply: Option<oneshot::Sender<Result<()>>>| {
        let Some(reply) = reply else { return };
        match held.lock().unwrap().as_mut() {
            Some(held) => held.push((deadline, reply)),
            None => drop(reply.send(Ok(()))),
        }
    };
    while let Some(command) = commands.recv().await {
        match command {
            Command::Subscribe { to, reply } => {
                log.say(format!("subscribe {to:?}"));
                let _ = reply.send(Ok(()));
            }
            Command::Unsubscribe { reply, .. } => {
                log.say("unsubscribe");
                let _ = reply.send(Ok(()));
            }
            Command::Close { reply, .. } => {
                log.say("close");
                let _ = reply.send(Ok(()));
            }
            Command::GroupOffsets { offsets, reply } => {
                let offsets = offsets.into_iter().map(|(partition, _, offset)| (partition, offset));
                let _ = reply.send(Ok(crate::GroupOffsets::new(crate::GroupMetadata::new("group"), offsets)));
            }
            Command::GroupMetadata { reply } => {
                let _ = reply.send(Ok(crate::GroupMetadata::new("group")));
            }
            Command::EnforceRebalance { reply } => {
                log.say("enforce rebalance");
                let _ = reply.send(Ok(()));
            }
            Command::RevocationDone(id) => log.say(format!("revocation done {}", id.0)),
            Command::Finished { positions } => {
                for (partition, _, position) in positions {
                    log.say(format!("finished {}@{}", name(&partition), position.offset));
                }
            }
            Command::CommitSoon => log.say("commit soon"),
            Command::CommitFinished { deadline, reply, .. } => {
                log.say("commit finished");
                answer(deadline, reply);
            }
            Command::SettleCommits { deadline, reply, .. } => {
                log.say("settle commits");
                answer(deadline, Some(reply));
            }
            Command::CommitThese { offsets, deadline, reply } => {
                for (partition, token, offset) in offsets {
                    // Offsets given by the application have no token.
                    assert!(token.is_none_or(|token| token == TOKEN), "{token:?}");
                    log.say(format!("commit {}@{}", name(&partition), offset.offset));
                }
                answer(deadline, reply);
            }
            Command::Seek { partition, reply, .. } => {
                log.say(format!("seek {}", name(&partition)));
                let _ = reply.send(Ok(TOKEN.after_seek()));
            }
            Command::PausesChanged { partitions } => log.say(format!("pauses of {}", partitions.len())),
            Command::GiveBack { partition, from, .. } => {
                log.say(format!("give back {} from {}", name(&partition), from.offset));
            }
            Command::Freed => {
                log.say(format!("freed {}", freed.take().len()));
                freed.take_or_await(true);
            }
            Command::Stop { partition, .. } => log.say(format!("stop {}", name(&partition))),
            Command::Moved { partition, .. } => log.say(format!("moved {}", name(&partition))),
            Command::Abandon { commits } => log.say(format!("abandon, commits: {commits}")),
            Command::Assign { partitions, reply } => {
                log.say(format!("assign {}", partitions.len()));
                let _ = reply.send(Ok(()));
            }
            Command::List { partitions, reply, .. } => {
                let _ = reply.send(Ok(partitions.into_iter().filter_map(listed).collect()));
            }
            Command::Matching { patterns, reply, .. } => {
                log.say(format!("topics matching {patterns:?}"));
                let _ = reply.send(Ok(vec!["orders".into()]));
            }
            Command::Polled => log.say("polled"),
            Command::RunsOn(_) | Command::Committed { .. } | Command::Partitions { .. } => {}
        }
    }
}

fn consumer(build: impl FnOnce(Builder) -> Builder) -> (Consumer, Engine) {
    logged(Log::default(), build)
}

fn logged(log: Log, build: impl FnOnce(Builder) -> Builder) -> (Consumer, Engine) {
    let (consumer, engine, commanded) = unanswered(log, build);
    #[expect(clippy::disallowed_methods, reason = "a test's own engine")]
    tokio::spawn(answers(commanded, engine.log.clone(), Arc::clone(&engine.held), Arc::clone(&engine.freed)));
    (consumer, engine)
}

/// The same, but nothing receives its commands.
fn unanswered(
    log: Log,
    build: impl FnOnce(Builder) -> Builder,
) -> (Consumer, Engine, mpsc::UnboundedReceiver<Command>) {
    built(log, build(Consumer::builder("localhost:9092").group("readers")))
}

fn built(log: Log, builder: Builder) -> (Consumer, Engine, mpsc::UnboundedReceiver<Command>) {
    let (config, parts, _) = builder.into_parts();
    let parts = ConsumerParts { opener: Opener::Caller, ..parts };
    let (commands, commanded) = mpsc::unbounded_channel();
    let (sender, receiver) = inbox::inbox();
    let shared = Arc::new(Shared::new(clock::now()));
    let (held, freed) = (Held::default(), parts.freed.clone());
    freed.take_or_await(true);
    let vitals = Arc::new(Vitals::new(clock::now(), shared.clone()));
    let consumer = Consumer::new(commands, config.into(), shared.clone(), vitals, parts, receiver);
    (consumer, Engine { inbox: sender, shared, log, held, freed }, commanded)
}

/// A member of the group that owns these partitions, whose listener has been notified of them.
async fn member(build: impl FnOnce(Builder) -> Builder, partitions: &[i32]) -> (Consumer, Engine) {
    joined(consumer(build), partitions).await
}

async fn joined((mut consumer, engine): (Consumer, Engine), partitions: &[i32]) -> (Consumer, Engine) {
    consumer.subscribe(["orders"]).await.unwrap();
    engine.assigns(partitions, Some(1));
    assert!(consumer.poll(NONE).await.unwrap().is_empty());
    settle().await;
    engine.log.take();
    (consumer, engine)
}

/// Sleeps in virtual time.
#[expect(clippy::disallowed_methods, reason = "what the application does meanwhile takes its time")]
async fn sleep(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Lets the engine's task run.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

async fn offsets(consumer: &mut Consumer) -> Vec<i64> {
    let records = consumer.poll(NONE).await.unwrap();
    settle().await;
    records.iter().map(|record| record.offset()).collect()
}

/// The logged commands, without those that only free memory.
fn said(engine: &Engine) -> Vec<String> {
    engine.log.take().into_iter().filter(|what| !what.starts_with("freed")).collect()
}

/// The same, also without the periodic automatic commit.
fn said_of_change(engine: &Engine) -> Vec<String> {
    said(engine).into_iter().filter(|what| what != "commit soon").collect()
}

/// Runs both until the first is done, and ignores the second's result.
async fn beside<T>(waits: impl Future<Output = T>, meanwhile: impl Future<Output = ()>) -> T {
    let (result, ()) = tokio::join!(waits, meanwhile);
    result
}

/// A listener that logs its calls, and takes this long for each.
struct Hears {
    log: Log,
    takes: Duration,
}

impl Hears {
    fn hears(&self, what: &'static str, rebalance: &Rebalance) -> ListenerFuture {
        let (log, takes, count) = (self.log.clone(), self.takes, rebalance.partitions.len());
        log.say(format!("{what} {count}"));
        Box::pin(async move {
            sleep(takes).await;
            log.say(format!("{what} over"));
            Ok(())
        })
    }
}

impl Listener for Hears {
    fn revoked(&self, rebalance: Rebalance) -> ListenerFuture {
        self.hears("revoked", &rebalance)
    }

    fn lost(&self, rebalance: Rebalance) -> ListenerFuture {
        self.hears("lost", &rebalance)
    }
}

// ---- what is finished, and when it is committed ----------------------------------------------------------------

// ---- changes of ownership -----------------------------------------------------------------------------------------------

async fn hearing(build: impl FnOnce(Builder) -> Builder, takes: Duration) -> (Consumer, Engine) {
    let log = Log::default();
    let hears = Hears { log: log.clone(), takes };
    joined(logged(log, |builder| build(builder).listener(hears)), &[0, 1]).await
}

// ---- between two polls --------------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn i11_a_listener_that_pauses_gets_no_record() {
    struct Pauses;
    impl Listener for Pauses {
        fn assigned(&self, rebalance: Rebalance) -> ListenerFuture {
            Box::pin(async move {
                rebalance.consumer.pause(rebalance.partitions.clone())?;
                Ok(())
            })
        }
    }
    let (mut consumer, engine) = consumer(|builder| builder.listener(Pauses));
    consumer.subscribe(["orders"]).await.unwrap();
    engine.assigns(&[0], Some(1));
    engine.brings(0, 0, 3);
    assert!(offsets(&mut consumer).await.is_empty());
    assert_eq!(consumer.paused(), [orders(0)]);
    consumer.resume([("orders", 0)]).unwrap();
    assert_eq!(offsets(&mut consumer).await, [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn manually_assigned_partitions_are_owned_when_assign_returns() {
    let (mut consumer, engine) = consumer(|builder| builder);
    engine.assigns(&[0, 1], None);
    consumer.assign([("orders", 0), ("orders", 1)]).await.unwrap();
    assert_eq!(consumer.assignment().len(), 2);
    consumer.pause([("orders", 1)]).unwrap();
    engine.brings(1, 0, 3);
    engine.brings(0, 0, 1);
    assert_eq!(offsets(&mut consumer).await, [0]);
}

#[tokio::test(start_paused = true)]
async fn l8_position_is_that_of_a_seek_when_it_returns_and_bounds_commits() {
    let (mut consumer, engine) = member(|builder| builder, &[0]).await;
    engine.brings(0, 0, 3);
    assert_eq!(offsets(&mut consumer).await, [0, 1, 2]);
    engine.brings(0, 3, 3);
    consumer.seek(("orders", 0), StartAt::Offset(1.into())).await.unwrap();
    let handle = consumer.handle();
    assert_eq!((consumer.position(orders(0)), handle.position(orders(0))), (Some(1), Some(1)));
    let beyond = [(orders(0), crate::OffsetAndMetadata::from(Position::at(3)))];
    assert_eq!(consumer.commit_offsets(beyond).await.unwrap_err().kind(), ErrorKind::Misuse);
    assert!(offsets(&mut consumer).await.is_empty(), "what was fetched before is not handed out");
    consumer.commit_finished().await.unwrap();
    assert_eq!(
        said(&engine),
        ["seek orders-0", "commit finished"],
        "nor is what was handed out before finished"
    );
}

#[tokio::test(start_paused = true)]
async fn i12_a_paused_partition_offers_what_it_holds_and_memory_is_freed() {
    let (mut consumer, engine) = member(|builder| builder.property("max.poll.records", "2"), &[0]).await;
    engine.brings(0, 0, 6);
    assert_eq!(offsets(&mut consumer).await, [0, 1]);
    consumer.pause([("orders", 0)]).unwrap();
    engine.send([], [Data::GiveBack { partition: orders(0), token: TOKEN }]);
    assert!(offsets(&mut consumer).await.is_empty());
    assert_eq!(engine.log.take(), ["pauses of 1", "give back orders-0 from 2"]);
    engine.send([], [Data::GivenBack { partition: orders(0), token: TOKEN, accepted: true }]);
    assert!(offsets(&mut consumer).await.is_empty());
    assert_eq!(engine.log.take(), ["freed 1"]);
}

#[tokio::test(start_paused = true)]
async fn m4_nothing_is_handed_out_while_ownership_is_not_known_to_hold() {
    let (mut consumer, engine) = member(|builder| builder, &[0]).await;
    engine.brings(0, 0, 3);
    let validity = |until| crate::shared::Validity::Until(Some(until));
    engine.shared.set_validity(clock::now(), validity(clock::now()));
    let renews = async {
        sleep(Duration::from_secs(1)).await;
        let now = clock::now();
        assert!(engine.shared.set_validity(now, validity(clock::after(ALL))), "it has to be told");
        engine.send([Control::Recheck], []);
    };
    let began = clock::now();
    assert_eq!(beside(consumer.poll(ALL), renews).await.unwrap().len(), 3);
    assert_eq!(clock::now() - began, Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn j1_an_error_that_stops_a_partition_reaches_the_event_handler_once() {
    let log = Log::default();
    let into = log.clone();
    let tells = move |event| {
        if let Event::Error(error) = event {
            into.say(error.to_string());
        }
    };
    let (mut consumer, engine) = joined(logged(log, |builder| builder.events(tells)), &[0, 1]).await;
    let error = Error::new(ErrorKind::Corrupt, "by the engine");
    engine.send([], [Data::Failed { partition: orders(0), token: TOKEN, error }]);
    assert_eq!(consumer.poll(NONE).await.unwrap_err().to_string(), "by the engine");
    settle().await;
    assert!(said(&engine).is_empty(), "it has told it when it found it");
    let mut bytes = bytes::BytesMut::from(&batch(0, 3)[..]);
    *bytes.last_mut().unwrap() ^= 0xff;
    let damaged = Chunk { batches: [bytes.freeze()].into_iter().collect(), ..chunk(1, 0, 3) };
    engine.send([], [Data::Records(damaged)]);
    assert_eq!(consumer.poll(NONE).await.unwrap_err().kind(), ErrorKind::Corrupt);
    settle().await;
    let told = said(&engine);
    assert_eq!(told.len(), 2, "once, and that nothing more is to be fetched: {told:?}");
}

// ---- the end ------------------------------------------------------------------------------------------------------------
