//! The handle without its engine: a task answers commands and keeps them in the order in which they came.

use std::{
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
};

use offtake_fetch::{Charge, Chunk};
use offtake_group::ReleaseId;
use offtake_machine::{Position, Token, TopicPartition};
use offtake_wire::records::BatchBuilder;
use tokio::{sync::mpsc, time::advance};

use super::*;
use crate::{
    Event, Listener, ListenerFuture, Rebalance, StartAt, Ticket,
    gauges::PartitionGauges,
    inbox::{self, Data, InboxSender},
    rebalance::NOT_COMMITTED,
};

const ALL: Duration = Duration::from_secs(3600);
const NONE: Duration = Duration::ZERO;

/// What the handle has asked of the engine, and the listener has heard, in order.
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

/// Answers to commits and when each is due at the latest, while they are held back.
type Held = Arc<Mutex<Option<Vec<(Instant, oneshot::Sender<Result<()>>)>>>>;

/// The engine's end.
struct Engine {
    inbox: InboxSender,
    shared: Arc<Shared>,
    log: Log,
    held: Held,
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

    /// As `offsets` does with a commit that cannot be made.
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

    /// Gives these partitions of `orders` to the consumer, each to be read from its first record on.
    fn assigns(&self, partitions: &[i32], generation: Option<i32>) {
        let added =
            partitions.iter().map(|index| (orders(*index), Arc::new(PartitionGauges::new(TOKEN, false))));
        let owned = partitions.iter().map(|index| orders(*index)).collect();
        let started = partitions.iter().map(|index| Data::Started {
            partition: orders(*index),
            token: TOKEN,
            position: Position::at(0),
            jumps: vec![],
        });
        self.send([Control::Assigned { added: added.collect(), owned, generation }], started);
    }

    fn revokes(&self, partitions: &[i32], release_by: Option<Instant>) {
        let partitions = partitions.iter().map(|index| orders(*index)).collect();
        let id = ReleaseId(7);
        self.send([Control::Revoke { id, partitions, owned: vec![], generation: 1, release_by }], []);
    }

    fn loses(&self, partitions: &[i32]) {
        let partitions = partitions.iter().map(|index| orders(*index)).collect();
        self.send([Control::Lost { id: ReleaseId(8), partitions, owned: vec![], generation: 1 }], []);
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
        run: 1,
        fetch_offset: from,
        next: Position::at(from + count),
        batches: [batch(from, count)].into_iter().collect(),
        charge: Charge::unaccounted(1),
    }
}

/// Answers commands as an engine would that finds nothing wrong.
async fn answers(mut commands: mpsc::UnboundedReceiver<Command>, log: Log, held: Held) {
    let answer = |deadline: Instant, reply: Option<oneshot::Sender<Result<()>>>| {
        let Some(reply) = reply else { return };
        match held.lock().unwrap().as_mut() {
            Some(held) => held.push((deadline, reply)),
            None => drop(reply.send(Ok(()))),
        }
    };
    while let Some(command) = commands.recv().await {
        match command {
            Command::Subscribe { reply, .. } | Command::Unsubscribe { reply, .. } => drop(reply.send(Ok(()))),
            Command::Close { reply, .. } => {
                log.say("close");
                let _ = reply.send(Ok(()));
            }
            Command::Released(id) => log.say(format!("released {}", id.0)),
            Command::Finished { positions } => {
                for (partition, _, position) in positions {
                    log.say(format!("finished {}@{}", name(&partition), position.offset));
                }
            }
            Command::CommitSoon => log.say("commit soon"),
            Command::CommitFinished { deadline, reply } => {
                log.say("commit finished");
                answer(deadline, reply);
            }
            Command::SettleCommits { deadline, reply } => {
                log.say("settle commits");
                answer(deadline, Some(reply));
            }
            Command::CommitThese { offsets, deadline, reply } => {
                for (partition, token, offset) in offsets {
                    assert_eq!(token, Some(TOKEN));
                    log.say(format!("commit {}@{}", name(&partition), offset.offset));
                }
                answer(deadline, reply);
            }
            Command::Seek { partition, reply, .. } => {
                log.say(format!("seek {}", name(&partition)));
                let _ = reply.send(Ok(TOKEN.sought()));
            }
            Command::PausesChanged { partitions } => log.say(format!("pauses of {}", partitions.len())),
            Command::GiveBack { partition, from, .. } => {
                log.say(format!("give back {} from {}", name(&partition), from.offset));
            }
            Command::Freed { chunks } => log.say(format!("freed {}", chunks.len())),
            Command::Stop { partition, .. } => log.say(format!("stop {}", name(&partition))),
            Command::MovedBack { partition, .. } => log.say(format!("moved back {}", name(&partition))),
            Command::Abandon { commits } => log.say(format!("abandon, commits: {commits}")),
            Command::Assign { partitions, reply } => {
                log.say(format!("assign {}", partitions.len()));
                let _ = reply.send(Ok(()));
            }
            Command::Polled
            | Command::RunsOn(_)
            | Command::Committed { .. }
            | Command::List { .. }
            | Command::Partitions { .. }
            | Command::Matching { .. } => {}
        }
    }
}

fn consumer(build: impl FnOnce(Builder) -> Builder) -> (Consumer, Engine) {
    logged(Log::default(), build)
}

fn logged(log: Log, build: impl FnOnce(Builder) -> Builder) -> (Consumer, Engine) {
    let builder = build(Consumer::builder("localhost:9092").group("readers"));
    let (config, parts) = builder.into_parts().unwrap();
    let (commands, commanded) = mpsc::unbounded_channel();
    let (sender, receiver) = inbox::inbox();
    let shared = Arc::new(Shared::new(clock::now()));
    let held = Held::default();
    #[expect(clippy::disallowed_methods, reason = "a test's own engine")]
    tokio::spawn(answers(commanded, log.clone(), Arc::clone(&held)));
    let consumer = Consumer::new(commands, config.into(), shared.clone(), parts, receiver);
    (consumer, Engine { inbox: sender, shared, log, held })
}

/// A member of the group that owns these partitions, whose listener has heard of it.
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

/// In virtual time.
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

/// Without what only says that memory is free.
fn said(engine: &Engine) -> Vec<String> {
    engine.log.take().into_iter().filter(|what| !what.starts_with("freed")).collect()
}

/// Nor what the interval of the automatic commit brings with it.
fn said_of_change(engine: &Engine) -> Vec<String> {
    said(engine).into_iter().filter(|what| what != "commit soon").collect()
}

/// Runs both until the first is done; what the second does meanwhile is beside it.
async fn beside<T>(waits: impl Future<Output = T>, meanwhile: impl Future<Output = ()>) -> T {
    let (result, ()) = tokio::join!(waits, meanwhile);
    result
}

/// Writes what it hears into the log, and takes this long over it.
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

// ---- what is finished, and when it is committed -------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn h3_what_a_poll_hands_out_is_finished_by_the_next_and_committed_by_interval() {
    let (mut consumer, engine) = member(|builder| builder, &[0, 1]).await;
    engine.brings(0, 0, 3);
    engine.brings(1, 0, 2);
    assert_eq!(offsets(&mut consumer).await, [0, 1, 2, 0, 1]);
    advance(Duration::from_secs(6)).await;
    settle().await;
    assert!(said(&engine).is_empty(), "the application is at work");
    engine.brings(0, 3, 1);
    assert_eq!(offsets(&mut consumer).await, [3]);
    let first = ["finished orders-0@3", "finished orders-1@2", "commit soon"];
    assert_eq!(said(&engine), first, "and nothing of what was handed out just now");
    assert!(offsets(&mut consumer).await.is_empty());
    assert!(said(&engine).is_empty(), "the interval has not passed");
    advance(Duration::from_secs(5)).await;
    assert!(offsets(&mut consumer).await.is_empty());
    assert_eq!(said(&engine), ["finished orders-0@4", "finished orders-1@2", "commit soon"]);
}

#[tokio::test(start_paused = true)]
async fn b1_the_interval_is_kept_while_a_poll_waits() {
    let (mut consumer, engine) = member(|builder| builder, &[0]).await;
    engine.brings(0, 0, 3);
    assert_eq!(offsets(&mut consumer).await, [0, 1, 2]);
    let began = clock::now();
    assert!(consumer.poll(Duration::from_secs(12)).await.unwrap().is_empty());
    assert_eq!(clock::now() - began, Duration::from_secs(12));
    settle().await;
    assert_eq!(said(&engine), ["finished orders-0@3", "commit soon", "commit soon"]);
}

#[tokio::test(start_paused = true)]
async fn b1_what_workers_finish_while_next_waits_is_committed() {
    let (mut consumer, engine) = member(Builder::finish_each, &[0]).await;
    engine.brings(0, 0, 3);
    let Ok(Next::Records(records)) = consumer.next().await else { panic!("records") };
    let tickets: Vec<_> = records.iter().map(|record| record.ticket().unwrap()).collect();
    drop(records);
    let finishes = async {
        sleep(Duration::from_secs(1)).await;
        tickets.into_iter().try_for_each(Ticket::finish).unwrap();
        sleep(Duration::from_secs(5)).await;
        assert_eq!(said(&engine), ["finished orders-0@3", "commit soon"]);
        engine.brings(0, 3, 1);
    };
    let next = beside(consumer.next(), finishes).await;
    assert!(matches!(next, Ok(Next::Records(records)) if records.len() == 1));
}

/// No setting makes a waiting poll spin.
#[tokio::test(start_paused = true)]
async fn b1_an_interval_of_nothing_commits_at_each_poll_and_no_faster_than_ten_times_a_second_inside_one() {
    let (mut consumer, engine) =
        member(|builder| builder.property("auto.commit.interval.ms", "0"), &[0]).await;
    for _ in 0..3 {
        advance(Duration::from_millis(1)).await;
        offsets(&mut consumer).await;
    }
    assert_eq!(said(&engine), ["commit soon"; 3]);
    consumer.poll(Duration::from_secs(1)).await.unwrap();
    settle().await;
    let commits = said(&engine).len();
    assert!((5..=12).contains(&commits), "{commits}");
}

#[tokio::test(start_paused = true)]
async fn h3_with_manual_commits_nothing_is_committed_by_itself() {
    let (mut consumer, engine) =
        member(|builder| builder.property("enable.auto.commit", "false"), &[0]).await;
    engine.brings(0, 0, 3);
    let records = consumer.poll(NONE).await.unwrap();
    advance(Duration::from_secs(60)).await;
    consumer.poll(Duration::from_secs(60)).await.unwrap();
    settle().await;
    assert!(said(&engine).is_empty());
    consumer.commit(&records).await.unwrap();
    assert_eq!(said(&engine), ["commit orders-0@3"]);
    consumer.commit_finished().await.unwrap();
    assert_eq!(said(&engine), ["finished orders-0@3", "commit finished"]);
}

#[tokio::test(start_paused = true)]
async fn h3_what_is_stored_is_finished_and_what_is_only_polled_is_not() {
    let (mut consumer, engine) =
        member(|builder| builder.property("enable.auto.offset.store", "false"), &[0]).await;
    engine.brings(0, 0, 3);
    let records = consumer.poll(NONE).await.unwrap();
    consumer.store(&records.iter().nth(1).unwrap()).unwrap();
    consumer.poll(NONE).await.unwrap();
    consumer.commit_finished().await.unwrap();
    assert_eq!(said(&engine), ["finished orders-0@2", "commit finished"]);
    consumer.commit_finished().await.unwrap();
    assert_eq!(said(&engine), ["commit finished"], "nothing new is finished");
}

// ---- changes of ownership -----------------------------------------------------------------------------------------------

async fn hearing(build: impl FnOnce(Builder) -> Builder, takes: Duration) -> (Consumer, Engine) {
    let log = Log::default();
    let hears = Hears { log: log.clone(), takes };
    joined(logged(log, |builder| build(builder).listener(hears)), &[0, 1]).await
}

#[tokio::test(start_paused = true)]
async fn h2_before_a_revoke_what_is_finished_is_committed_then_the_listener_runs_then_it_is_released() {
    let (mut consumer, engine) = hearing(|builder| builder, Duration::from_secs(3)).await;
    engine.brings(0, 0, 3);
    consumer.poll(NONE).await.unwrap();
    engine.hold_commits();
    engine.revokes(&[0], None);
    let meanwhile = async {
        sleep(Duration::from_secs(1)).await;
        assert_eq!(
            said(&engine),
            ["finished orders-0@3", "commit finished"],
            "the commit is not answered yet"
        );
        engine.answer_commits();
        sleep(Duration::from_secs(1)).await;
        assert_eq!(said(&engine), ["revoked 1"]);
        engine.brings(0, 3, 1);
        engine.brings(1, 0, 1);
    };
    let records = beside(consumer.poll(ALL), meanwhile).await.unwrap();
    settle().await;
    assert_eq!(said(&engine), ["revoked over", "released 7"]);
    let got: Vec<_> = records.iter().map(|record| (record.partition(), record.offset())).collect();
    assert_eq!(got, [(1, 0)], "nothing more of what was revoked");
    assert!(consumer.assignment().eq([&orders(1)]));
    consumer.commit_finished().await.unwrap();
    settle().await;
    assert_eq!(said(&engine), ["finished orders-1@1", "commit finished"], "nor is anything of it finished");
}

#[tokio::test(start_paused = true)]
async fn h2_with_manual_commits_those_under_way_are_over_before_the_listener_runs() {
    let build = |builder: Builder| builder.property("enable.auto.commit", "false");
    let (mut consumer, engine) = hearing(build, Duration::ZERO).await;
    engine.hold_commits();
    engine.revokes(&[0, 1], None);
    let meanwhile = async {
        sleep(Duration::from_secs(1)).await;
        assert_eq!(said(&engine), ["settle commits"]);
        engine.answer_commits();
    };
    beside(consumer.poll(Duration::from_secs(2)), meanwhile).await.unwrap();
    settle().await;
    assert_eq!(said(&engine), ["revoked 2", "revoked over", "released 7"]);
}

#[tokio::test(start_paused = true)]
async fn h2_what_is_lost_is_not_committed() {
    let (mut consumer, engine) = hearing(|builder| builder, Duration::ZERO).await;
    engine.brings(0, 0, 3);
    consumer.poll(NONE).await.unwrap();
    engine.loses(&[0, 1]);
    consumer.poll(Duration::from_secs(1)).await.unwrap();
    settle().await;
    assert_eq!(said(&engine), ["lost 2", "lost over", "released 8"]);
    assert_eq!(consumer.assignment().count(), 0);
    consumer.commit_finished().await.unwrap();
    settle().await;
    assert_eq!(said(&engine), ["commit finished"], "nothing is finished");
}

#[tokio::test(start_paused = true)]
async fn d9_a_listener_that_misses_the_deadline_is_left_and_the_poll_says_so() {
    let (mut consumer, engine) = hearing(|builder| builder, ALL).await;
    let by = clock::after(Duration::from_secs(10));
    engine.revokes(&[0], Some(by));
    let error = consumer.poll(ALL).await.unwrap_err();
    assert_eq!((error.kind(), clock::now()), (ErrorKind::Timeout, by));
    settle().await;
    assert_eq!(said_of_change(&engine), ["commit finished", "revoked 1", "released 7"]);
}

#[tokio::test(start_paused = true)]
async fn h2_a_commit_that_is_not_answered_in_time_is_told_and_fails_no_poll() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&told);
    let tells = move |event| {
        if let Event::Error(error) = event {
            sink.lock().unwrap().push(error.to_string());
        }
    };
    let (mut consumer, engine) = hearing(|builder| builder.events(tells), Duration::ZERO).await;
    engine.hold_commits();
    engine.revokes(&[0], Some(clock::after(Duration::from_secs(10))));
    consumer.poll(Duration::from_secs(11)).await.unwrap();
    settle().await;
    assert_eq!(*told.lock().unwrap(), [NOT_COMMITTED]);
    assert_eq!(said_of_change(&engine), ["commit finished", "revoked 1", "revoked over", "released 7"]);
}

/// A poll that is dropped in the middle of a rebalance leaves it to the next, with the same listener's future.
#[tokio::test(start_paused = true)]
async fn d9_a_rebalance_goes_on_in_the_next_poll_and_the_listener_runs_once() {
    let (mut consumer, engine) = hearing(|builder| builder, Duration::from_secs(5)).await;
    engine.revokes(&[0], None);
    for _ in 0..4 {
        consumer.poll(Duration::from_secs(1)).await.unwrap();
    }
    assert_eq!(said(&engine), ["commit finished", "revoked 1"]);
    consumer.poll(Duration::from_secs(2)).await.unwrap();
    settle().await;
    assert_eq!(said_of_change(&engine), ["revoked over", "released 7"]);
}

/// B16: a poll that was dropped may be gone on with on another runtime, though that one's timers are not the first one's.
#[test]
fn d9_a_rebalance_goes_on_in_a_poll_on_another_runtime() {
    struct Waits;
    impl Listener for Waits {
        fn revoked(&self, _: Rebalance) -> ListenerFuture {
            Box::pin(std::future::pending())
        }
    }
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().start_paused(true).build().unwrap()
    };
    let (first, second) = (runtime(), runtime());
    let (mut consumer, engine) = first.block_on(async {
        let (mut consumer, engine) = member(|builder| builder.listener(Waits), &[0]).await;
        engine.revokes(&[0], None);
        consumer.poll(Duration::from_secs(1)).await.unwrap();
        (consumer, engine)
    });
    drop(first);
    let polled = second.block_on(consumer.poll(Duration::from_secs(3)));
    assert!(polled.is_ok_and(|records| records.is_empty()), "it waits for the listener");
    drop(engine);
}

#[tokio::test(start_paused = true)]
async fn next_hands_a_change_out_and_the_call_after_it_releases() {
    let (mut consumer, engine) = member(|builder| builder, &[0, 1]).await;
    engine.brings(0, 0, 3);
    assert!(matches!(consumer.next().await, Ok(Next::Records(records)) if records.len() == 3));
    engine.revokes(&[0], None);
    let Ok(Next::Revoking(revoking)) = consumer.next().await else { panic!("a revoke") };
    assert_eq!(revoking.partitions(), [orders(0)]);
    assert_eq!(said(&engine), ["finished orders-0@3", "commit finished"]);
    settle().await;
    assert!(said(&engine).is_empty(), "it is still ours");
    engine.brings(1, 0, 1);
    assert!(matches!(consumer.next().await, Ok(Next::Records(records)) if records.len() == 1));
    settle().await;
    assert_eq!(said(&engine), ["released 7"]);
    drop(revoking);
    settle().await;
    assert!(said(&engine).is_empty(), "once");
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
    assert!(consumer.paused().eq([&orders(0)]));
    consumer.resume([("orders", 0)]).unwrap();
    assert_eq!(offsets(&mut consumer).await, [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn i11_who_is_resumed_by_another_task_wakes_the_poll_that_waits() {
    let (mut consumer, engine) = member(|builder| builder, &[0]).await;
    consumer.pause([("orders", 0)]).unwrap();
    engine.brings(0, 0, 3);
    let handle = consumer.handle();
    let resumes = async {
        sleep(Duration::from_secs(1)).await;
        handle.resume([orders(0)]).unwrap();
    };
    assert_eq!(beside(consumer.poll(ALL), resumes).await.unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_assigned_by_hand_is_ours_when_the_call_returns() {
    let (mut consumer, engine) = consumer(|builder| builder);
    engine.assigns(&[0, 1], None);
    consumer.assign([("orders", 0), ("orders", 1)]).await.unwrap();
    assert_eq!(consumer.assignment().count(), 2);
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
    assert_eq!((consumer.position(&orders(0)), handle.position(&orders(0))), (Some(1), Some(1)));
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
async fn a_poll_that_is_woken_returns_at_once_with_what_there_is() {
    let (mut consumer, engine) = member(|builder| builder, &[0]).await;
    let handle = consumer.handle();
    for _ in 0..3 {
        handle.wake().unwrap();
    }
    let began = clock::now();
    assert!(consumer.poll(ALL).await.unwrap().is_empty());
    engine.brings(0, 0, 3);
    handle.wake().unwrap();
    assert_eq!(consumer.poll(ALL).await.unwrap().len(), 3);
    assert_eq!(clock::now(), began);
    assert!(consumer.poll(Duration::from_secs(1)).await.unwrap().is_empty(), "one wake is one");
    assert_eq!(clock::now() - began, Duration::from_secs(1));
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
        engine.send([Control::LookAgain], []);
    };
    let began = clock::now();
    assert_eq!(beside(consumer.poll(ALL), renews).await.unwrap().len(), 3);
    assert_eq!(clock::now() - began, Duration::from_secs(1));
}

/// A shutdown by `wake` does not wait for a coordinator that is away.
#[tokio::test(start_paused = true)]
async fn a_wake_ends_a_poll_also_while_ownership_is_not_known_to_hold() {
    let (mut consumer, engine) = member(|builder| builder, &[0]).await;
    engine.brings(0, 0, 3);
    engine.shared.set_validity(clock::now(), crate::shared::Validity::Until(None));
    let handle = consumer.handle();
    let wakes = async {
        sleep(Duration::from_secs(1)).await;
        handle.wake().unwrap();
    };
    let began = clock::now();
    assert!(beside(consumer.poll(ALL), wakes).await.unwrap().is_empty());
    handle.wake().unwrap();
    assert!(matches!(consumer.next().await, Ok(Next::Records(records)) if records.is_empty()));
    assert_eq!(clock::now() - began, Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_wake_is_not_lost_to_what_comes_out_of_next_alone() {
    let (mut consumer, engine) = member(|builder| builder, &[0]).await;
    let limit = Duration::from_secs(300);
    let exceeded = Event::PollIntervalExceeded { since_poll: limit, limit, stall: crate::Stall::Handler };
    engine.send([Control::Wake, Control::PollIntervalExceeded(exceeded)], []);
    let began = clock::now();
    assert!(consumer.poll(ALL).await.unwrap().is_empty());
    assert_eq!(clock::now(), began);
}

#[tokio::test(start_paused = true)]
async fn a_wake_that_was_said_before_a_subscription_counts_after_it() {
    let (mut consumer, _engine) = consumer(|builder| builder);
    consumer.handle().wake().unwrap();
    consumer.subscribe(["orders"]).await.unwrap();
    consumer.unsubscribe().await.unwrap();
    let began = clock::now();
    assert!(consumer.poll(ALL).await.unwrap().is_empty());
    assert_eq!(clock::now(), began);
}

/// As Java's: with another assignment by hand partitions are given up.
#[tokio::test(start_paused = true)]
async fn h3_what_is_finished_of_partitions_that_an_assignment_drops_is_committed_before_it() {
    let (mut consumer, engine) = consumer(|builder| builder);
    engine.assigns(&[0, 1], None);
    consumer.assign([("orders", 0), ("orders", 1)]).await.unwrap();
    engine.brings(0, 0, 3);
    assert_eq!(offsets(&mut consumer).await, [0, 1, 2]);
    said(&engine);
    consumer.assign([("orders", 0), ("orders", 1)]).await.unwrap();
    assert_eq!(said(&engine), ["assign 2"], "nothing goes");
    consumer.assign([("orders", 1)]).await.unwrap();
    assert_eq!(said(&engine), ["finished orders-0@3", "commit finished", "assign 1"]);
}

#[tokio::test(start_paused = true)]
async fn j1_an_error_that_stops_a_partition_is_told_to_the_sink_by_whoever_finds_it() {
    let log = Log::default();
    let sink = log.clone();
    let tells = move |event| {
        if let Event::Error(error) = event {
            sink.say(error.to_string());
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

#[tokio::test(start_paused = true)]
async fn d5_a_drop_commits_what_is_finished_and_not_what_was_handed_out_last() {
    for (commits, expected) in [
        ("true", vec!["finished orders-0@3", "abandon, commits: true"]),
        ("false", vec!["abandon, commits: false"]),
    ] {
        let (mut consumer, engine) =
            member(|builder| builder.property("enable.auto.commit", commits), &[0]).await;
        engine.brings(0, 0, 3);
        assert_eq!(offsets(&mut consumer).await.len(), 3);
        engine.brings(0, 3, 2);
        assert_eq!(offsets(&mut consumer).await.len(), 2);
        let handle = consumer.handle();
        drop(consumer);
        settle().await;
        assert_eq!(said(&engine), expected);
        assert_eq!(handle.wake().unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(handle.pause([orders(0)]).unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(handle.seek(orders(0), StartAt::Earliest).await.unwrap_err().kind(), ErrorKind::Closed);
        assert!(handle.assignment().is_empty() && handle.position(&orders(0)).is_none());
    }
}

/// As in Java: closing is the next poll of what the last one handed out.
#[tokio::test(start_paused = true)]
async fn n1_a_close_commits_what_was_handed_out_runs_the_listener_and_takes_any_time() {
    let (mut consumer, engine) = hearing(|builder| builder, Duration::from_secs(2)).await;
    engine.brings(0, 0, 3);
    consumer.poll(NONE).await.unwrap();
    let handle = consumer.handle();
    consumer.close(Duration::MAX).await.unwrap();
    settle().await;
    let expected = [
        "finished orders-0@3",
        "commit finished",
        "revoked 2",
        "revoked over",
        "close",
        "abandon, commits: true",
    ];
    assert_eq!(said(&engine), expected);
    assert_eq!(handle.wake().unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn n4_a_poll_says_that_the_engine_has_ended() {
    let (mut consumer, engine) = member(|builder| builder, &[0]).await;
    drop(engine);
    let error = consumer.poll(ALL).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(error.to_string().contains("nobody closed"), "{error}");
    let error = consumer.handle().committed([orders(0)]).await.unwrap_err();
    assert!(error.to_string().contains("nobody closed"), "{error}");
}

/// The last commit has most of the time that closing has; who closes is told if that was not enough.
#[tokio::test(start_paused = true)]
async fn n1_a_close_says_that_the_last_commit_was_not_made_in_time() {
    let (mut consumer, engine) = member(|builder| builder, &[0]).await;
    engine.brings(0, 0, 3);
    consumer.poll(NONE).await.unwrap();
    engine.hold_commits();
    let began = clock::now();
    let closed = beside(consumer.close(Duration::from_secs(60)), engine.times_out_commits()).await;
    assert_eq!(closed.unwrap_err().kind(), ErrorKind::Timeout, "{:?}", said(&engine));
    assert_eq!(clock::now() - began, Duration::from_secs(54));
}

/// A change of ownership has `max.poll.interval.ms` at most, whatever closing may take.
#[tokio::test(start_paused = true)]
async fn n1_a_commit_that_is_not_answered_leaves_the_listener_its_time() {
    let short =
        |builder: Builder| builder.configure(|config| config.max_poll_interval = Duration::from_secs(20));
    let (mut consumer, engine) = hearing(short, Duration::from_secs(1)).await;
    engine.brings(0, 0, 3);
    consumer.poll(NONE).await.unwrap();
    engine.hold_commits();
    let closed = beside(consumer.close(Duration::from_secs(30)), engine.times_out_commits()).await;
    assert_eq!(closed.unwrap_err().kind(), ErrorKind::Timeout);
    let said = said(&engine);
    assert!(said.iter().any(|what| what == "revoked over"), "{said:?}");
}

/// By hand nobody else waits for the partition: all the more reason not to drop what was asked for.
#[tokio::test(start_paused = true)]
async fn h2_by_hand_too_commits_under_way_are_over_before_partitions_are_given_up() {
    for assigns in [false, true] {
        let (mut consumer, engine) = consumer(|builder| builder.property("enable.auto.commit", "false"));
        engine.assigns(&[0], None);
        consumer.assign([orders(0)]).await.unwrap();
        engine.brings(0, 0, 3);
        let records = consumer.poll(NONE).await.unwrap();
        let _committing = consumer.commit_async(&records).unwrap();
        match assigns {
            true => consumer.assign([orders(1)]).await.unwrap(),
            false => consumer.unsubscribe().await.unwrap(),
        }
        settle().await;
        let said = said(&engine);
        assert!(said.iter().any(|what| what == "settle commits"), "{assigns}: {said:?}");
    }
}
