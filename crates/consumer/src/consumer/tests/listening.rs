//! Tests of how the listener and the event handler are notified of ownership changes, and of listeners that
//! fail.

use super::*;
use crate::ListenerError;

/// Logs the events of changes and errors in a log of its own.
fn events() -> (Log, impl Fn(Event) + Send + Sync + 'static) {
    let log = Log::default();
    let told = log.clone();
    let tell = move |event| match event {
        Event::Assigned(change) => told.say(format!("assigned {}", change.partitions.len())),
        Event::Revoked(change) => told.say(format!("revoked {}", change.partitions.len())),
        Event::Lost(change) => told.say(format!("lost {}", change.partitions.len())),
        Event::RebalanceOverdue { call, partitions, limit } => {
            told.say(format!("{call} of {} overdue after {limit:?}", partitions.len()));
        }
        Event::Error(error) => told.say(format!("{:?}", error.kind())),
        other => told.say(format!("{other:?}")),
    };
    (log, tell)
}

/// A listener that takes a second for a revoke, and then fails or panics.
struct Fails {
    panics: bool,
}

impl Listener for Fails {
    fn revoked(&self, _: Rebalance) -> ListenerFuture {
        let panics = self.panics;
        Box::pin(async move {
            sleep(Duration::from_secs(1)).await;
            assert!(!panics, "on purpose");
            Err("no disk".into())
        })
    }
}

#[tokio::test(start_paused = true)]
async fn d9_a_listener_that_fails_or_panics_is_told_once_and_its_partitions_are_released() {
    for (panics, what) in [(false, "failed: no disk"), (true, "panicked")] {
        let (mut consumer, engine) = member(|builder| builder.listener(Fails { panics }), &[0]).await;
        engine.revokes(&[0], None);
        let error = consumer.poll(Duration::from_secs(2)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Listener);
        assert!(error.to_string().contains(&format!("the rebalance listener {what}")), "{error}");
        let source = std::error::Error::source(&error).map(ToString::to_string);
        assert_eq!(source, (!panics).then(|| "no disk".to_owned()));
        settle().await;
        assert_eq!(said_of_change(&engine), ["commit finished", "revocation done 7"]);
        assert!(consumer.poll(NONE).await.unwrap().is_empty());
    }
}

/// An application's error around one of the client's.
#[derive(Debug)]
struct NotSaved(Error);

impl std::fmt::Display for NotSaved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not saved")
    }
}

impl std::error::Error for NotSaved {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// A listener that fails with this error.
struct FailsWith(fn() -> ListenerError);

impl Listener for FailsWith {
    fn revoked(&self, _: Rebalance) -> ListenerFuture {
        let error = (self.0)();
        Box::pin(async { Err(error) })
    }
}

#[tokio::test(start_paused = true)]
async fn d9_the_error_of_a_listener_keeps_the_kind_of_the_client_error_in_it() {
    type MakesError = fn() -> ListenerError;
    fn timeout() -> Error {
        Error::new(ErrorKind::Timeout, "late").with_partition(orders(3))
    }
    let cases: [(MakesError, ErrorKind, bool); 5] = [
        (|| timeout().into(), ErrorKind::Timeout, true),
        (|| NotSaved(timeout()).into(), ErrorKind::Timeout, true),
        (|| NotSaved(Error::misuse("no").caused_by(timeout())).into(), ErrorKind::Misuse, false),
        (|| std::io::Error::other("no disk").into(), ErrorKind::Listener, false),
        (|| Error::new(ErrorKind::Closed, "another client is").into(), ErrorKind::Listener, false),
    ];
    for (fails, kind, is_retriable) in cases {
        let (mut consumer, engine) = member(|builder| builder.listener(FailsWith(fails)), &[0]).await;
        engine.revokes(&[0], None);
        let error = consumer.poll(Duration::from_secs(2)).await.unwrap_err();
        assert_eq!((error.kind(), error.is_retriable()), (kind, is_retriable), "{error}");
        assert_eq!(error.partition().cloned(), (kind == ErrorKind::Timeout).then(|| orders(3)));
        let source = std::error::Error::source(&error).map(ToString::to_string);
        assert_eq!(source, Some(fails().to_string()));
    }
}

#[tokio::test(start_paused = true)]
async fn d9_unsubscribe_returns_the_error_of_a_listener_that_was_waited_for() {
    let (mut consumer, engine) = member(|builder| builder.listener(Fails { panics: false }), &[0]).await;
    engine.revokes(&[0], None);
    assert!(consumer.poll(NONE).await.unwrap().is_empty());
    assert_eq!(consumer.unsubscribe().await.unwrap_err().kind(), ErrorKind::Listener);
    assert_eq!(
        said(&engine),
        ["commit finished", "revocation done 7", "commit finished", "unsubscribe", "unsubscribe"]
    );
    consumer.subscribe(["orders"]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn d9_a_revocation_that_ends_in_time_is_reported_revoked_and_a_late_one_lost() {
    let (told, tell) = events();
    let (mut consumer, engine) = hearing(|builder| builder.events(tell), Duration::from_secs(20)).await;
    assert_eq!(told.take(), ["assigned 2"]);
    engine.revokes(&[0], Some(clock::after(Duration::from_secs(30))));
    consumer.poll(Duration::from_secs(21)).await.unwrap();
    assert_eq!(told.take(), ["revoked 1"]);
    engine.revokes(&[1], Some(clock::after(Duration::from_secs(10))));
    assert_eq!(consumer.poll(ALL).await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(told.take(), ["revoked of 1 overdue after 10s", "lost 1"]);
    engine.assigns(&[0], Some(2));
    consumer.poll(NONE).await.unwrap();
    engine.loses(&[0]);
    consumer.poll(Duration::from_secs(21)).await.unwrap();
    assert_eq!(told.take(), ["assigned 1", "lost 1"]);
}

/// The commit gets nine tenths of the available time, and ten seconds at most.
#[tokio::test(start_paused = true)]
async fn h2_the_commit_before_a_revoke_leaves_the_listener_some_of_the_time() {
    for (time, expected) in [(None, 10_000), (Some(5), 4_500), (Some(60), 10_000)] {
        let (mut consumer, engine) = hearing(|builder| builder, Duration::ZERO).await;
        engine.hold_commits();
        let began = clock::now();
        engine.revokes(&[0], time.map(|time| clock::after(Duration::from_secs(time))));
        consumer.poll(NONE).await.unwrap();
        settle().await;
        let until: Vec<_> = engine.held_until().iter().map(|until| *until - began).collect();
        assert_eq!(until, [Duration::from_millis(expected)]);
    }
}

#[tokio::test(start_paused = true)]
async fn h2_a_commit_that_the_group_refuses_is_told_and_fails_no_close() {
    let (told, tell) = events();
    let (mut consumer, engine) = hearing(|builder| builder.events(tell), Duration::from_secs(1)).await;
    engine.brings(0, 0, 3);
    consumer.poll(NONE).await.unwrap();
    told.take();
    engine.hold_commits();
    beside(consumer.close(ALL), engine.refuses_commits()).await.unwrap();
    assert_eq!(told.take(), ["CommitFailed", "revoked 2"]);
    assert!(said(&engine).contains(&"revoked over".to_owned()));
}

/// A rebalance in progress gets no more time than closing has.
#[tokio::test(start_paused = true)]
async fn n1_a_close_waits_for_a_rebalance_under_way_and_no_longer_than_it_may() {
    for commits in [true, false] {
        let log = Log::default();
        let hears = Hears { log: log.clone(), takes: ALL };
        let (mut consumer, engine) = joined(logged(log, |builder| builder.listener(hears)), &[0]).await;
        if !commits {
            engine.hold_commits();
        }
        engine.revokes(&[0], None);
        consumer.poll(Duration::from_secs(1)).await.unwrap();
        let began = clock::now();
        let error = consumer.close(Duration::from_secs(5)).await.unwrap_err();
        assert_eq!((error.kind(), clock::now() - began), (ErrorKind::Timeout, Duration::from_secs(5)));
        assert_eq!(error.to_string().contains(NOT_COMMITTED), !commits, "{error}");
        settle().await;
        let said = said(&engine);
        assert!(said.contains(&"revoked 1".to_owned()), "{said:?}");
        assert!(said.contains(&"revocation done 7".to_owned()), "{said:?}");
    }
}

/// Finishes its tickets, a second after it was notified of a revoke.
#[derive(Clone, Default)]
struct Finishes(Arc<Mutex<Vec<Ticket>>>);

impl Listener for Finishes {
    fn revoked(&self, _: Rebalance) -> ListenerFuture {
        let tickets = Arc::clone(&self.0);
        Box::pin(async move {
            sleep(Duration::from_secs(1)).await;
            let tickets = std::mem::take(&mut *tickets.lock().unwrap());
            tickets.into_iter().try_for_each(Ticket::finish)?;
            Ok(())
        })
    }
}

#[tokio::test(start_paused = true)]
async fn h2_records_finished_before_the_listener_ends_are_committed_before_the_release() {
    for (commits, before, after) in [("true", "commit finished", true), ("false", "settle commits", false)] {
        let finishes = Finishes::default();
        let listener = finishes.clone();
        let build = |builder: Builder| {
            builder.property("enable.auto.commit", commits).finish_each().listener(listener)
        };
        let (mut consumer, engine) = member(build, &[0, 1]).await;
        engine.brings(0, 0, 3);
        engine.brings(1, 0, 1);
        let records = consumer.poll(NONE).await.unwrap();
        let mut tickets: Vec<_> = records.iter().map(|record| record.ticket().unwrap()).collect();
        let other = tickets.pop().unwrap();
        let late = tickets.pop().unwrap();
        finishes.0.lock().unwrap().extend(tickets);
        engine.revokes(&[0], None);
        let meanwhile = async {
            sleep(Duration::from_millis(500)).await;
            assert_eq!(said(&engine), [before]);
            engine.hold_commits();
            sleep(Duration::from_secs(1)).await;
            if after {
                assert_eq!(
                    said(&engine),
                    ["finished orders-0@2", "commit finished"],
                    "it is not answered yet"
                );
            }
            engine.answer_commits();
        };
        beside(consumer.poll(Duration::from_secs(2)), meanwhile).await.unwrap();
        settle().await;
        match after {
            true => assert_eq!(said(&engine), ["revocation done 7"]),
            false => assert_eq!(said(&engine), ["finished orders-0@2", "revocation done 7"]),
        }
        assert_eq!(late.finish().unwrap_err().kind(), ErrorKind::NotOwned);
        other.finish().unwrap();
        drop(consumer);
        settle().await;
        let report = after.then_some("finished orders-1@1".to_owned());
        let said = said(&engine);
        assert_eq!(said.first().filter(|first| first.starts_with("finished")), report.as_ref());
        let last = records.iter().last().unwrap();
        assert_eq!(last.finish().unwrap_err().kind(), ErrorKind::NotOwned, "the consumer is gone");
    }
}

#[tokio::test(start_paused = true)]
async fn h2_where_nothing_was_finished_meanwhile_nothing_is_committed_again() {
    let build = |builder: Builder| builder.finish_each().listener(Finishes::default());
    let (mut consumer, engine) = member(build, &[0]).await;
    engine.brings(0, 0, 3);
    consumer.poll(NONE).await.unwrap();
    engine.revokes(&[0], None);
    consumer.poll(Duration::from_secs(2)).await.unwrap();
    settle().await;
    assert_eq!(said_of_change(&engine), ["commit finished", "revocation done 7"]);
}

/// Lost partitions may already be owned by others: nothing more is committed for them.
#[tokio::test(start_paused = true)]
async fn h2_single_finishes_of_lost_partitions_do_not_count() {
    let (mut consumer, engine) = member(Builder::finish_each, &[0]).await;
    engine.brings(0, 0, 3);
    let records = consumer.poll(NONE).await.unwrap();
    records.iter().next().unwrap().finish().unwrap();
    engine.loses(&[0]);
    consumer.poll(Duration::from_secs(1)).await.unwrap();
    settle().await;
    assert_eq!(said(&engine), ["revocation done 8"]);
    assert_eq!(records.iter().last().unwrap().finish().unwrap_err().kind(), ErrorKind::NotOwned);
}

#[tokio::test(start_paused = true)]
async fn a_change_as_a_value_says_what_changes_and_until_when() {
    let (mut consumer, engine) = consumer(|builder| builder);
    consumer.subscribe(["orders"]).await.unwrap();
    engine.assigns(&[0, 1], Some(4));
    let Ok(Next::Assigned(change)) = consumer.next().await else { panic!("an assignment") };
    let both = vec![orders(0), orders(1)];
    assert_eq!((change.partitions, change.owned, change.generation), (both.clone(), both, Some(4)));
    engine.send(
        [Control::Assigned { added: vec![], owned: vec![orders(0), orders(1)], generation: Some(5) }],
        [],
    );
    engine.brings(0, 0, 3);
    assert!(matches!(consumer.next().await, Ok(Next::Records(_))), "nothing has come with that");
    for (seconds, limit) in [(None, 300), (Some(10), 10), (Some(1000), 300)] {
        let began = clock::now();
        let revoke_by = seconds.map(|seconds| clock::after(Duration::from_secs(seconds)));
        let (partitions, owned) = (vec![orders(0)], vec![orders(1)]);
        let id = RevocationId(7);
        engine.send([Control::Revoke { id, partitions, owned, generation: 6, revoke_by }], []);
        let Ok(Next::Revoking(value)) = consumer.next().await else { panic!("a revoke") };
        assert_eq!((&value.partitions, &value.owned), (&vec![orders(0)], &vec![orders(1)]));
        assert_eq!((value.generation, value.deadline() - began), (6, Duration::from_secs(limit)));
        assert_eq!(value.consumer.position(orders(0)), consumer.handle().position(orders(0)));
        settle().await;
        said(&engine);
        value.done();
        settle().await;
        assert_eq!(said(&engine), ["revocation done 7"]);
    }
    engine.loses(&[1]);
    let Ok(Next::Lost(value)) = consumer.next().await else { panic!("a loss") };
    assert_eq!(value.partitions, [orders(1)]);
    settle().await;
    assert!(said(&engine).is_empty());
    drop(value);
    settle().await;
    assert_eq!(said(&engine), ["revocation done 8"]);
}

#[tokio::test(start_paused = true)]
async fn m1_exceeding_the_poll_interval_is_reported_and_the_next_poll_reaches_the_engine() {
    let (mut consumer, engine) = member(|builder| builder, &[0]).await;
    let limit = Duration::from_secs(300);
    let exceeded = Event::PollIntervalExceeded { since_poll: limit, limit, stall: crate::Stall::Handler };
    engine.send([Control::PollIntervalExceeded(exceeded)], []);
    assert!(matches!(consumer.next().await, Ok(Next::Event(Event::PollIntervalExceeded { .. }))));
    settle().await;
    assert_eq!(said(&engine), ["polled"]);
}

/// Messages that the group sent before we left may arrive after that.
#[tokio::test(start_paused = true)]
async fn d10_messages_of_a_group_that_was_left_are_ignored() {
    let (mut consumer, engine) = hearing(|builder| builder, Duration::ZERO).await;
    consumer.unsubscribe().await.unwrap();
    settle().await;
    said(&engine);
    engine.assigns(&[0], Some(2));
    engine.revokes(&[0], None);
    engine.loses(&[0]);
    assert!(consumer.poll(Duration::from_secs(1)).await.unwrap().is_empty());
    settle().await;
    assert!(said(&engine).is_empty());
    assert_eq!(consumer.assignment().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_assignment_by_hand_replaces_the_one_before_and_no_listener_is_told() {
    struct Panics;
    impl Listener for Panics {
        fn assigned(&self, _: Rebalance) -> ListenerFuture {
            panic!("nobody else decides that")
        }
        fn revoked(&self, _: Rebalance) -> ListenerFuture {
            panic!("nobody else decides that")
        }
    }
    let (told, tell) = events();
    let (mut consumer, engine) = consumer(|builder| builder.listener(Panics).events(tell));
    engine.assigns(&[0, 1], None);
    consumer.assign([orders(0), orders(1)]).await.unwrap();
    engine.brings(0, 0, 3);
    assert_eq!(offsets(&mut consumer).await, [0, 1, 2]);
    engine.assigns(&[1], None);
    consumer.assign([orders(1)]).await.unwrap();
    assert_eq!(consumer.assignment(), [orders(1)]);
    assert_eq!(told.take(), ["assigned 2", "assigned 1"]);
    said(&engine);
    consumer.commit_finished().await.unwrap();
    assert_eq!(said(&engine), ["commit finished"], "nothing is finished that was not before");
    engine.brings(1, 0, 1);
    assert_eq!(offsets(&mut consumer).await, [0]);
    consumer.commit_finished().await.unwrap();
    assert_eq!(said(&engine), ["finished orders-1@1", "commit finished"], "nothing of what was given up");
    consumer.close(ALL).await.unwrap();
    settle().await;
    assert_eq!(said(&engine), ["commit finished", "close", "abandon, commits: true"]);
}

#[tokio::test(start_paused = true)]
async fn h2_an_assignment_by_hand_waits_for_the_commit_no_longer_than_a_call_may_take_and_is_made() {
    let (mut consumer, engine) = consumer(|builder| builder);
    engine.assigns(&[0, 1], None);
    consumer.assign([orders(0), orders(1)]).await.unwrap();
    engine.hold_commits();
    engine.assigns(&[1], None);
    let began = clock::now();
    let error = consumer.assign([orders(1)]).await.unwrap_err();
    assert_eq!((error.kind(), clock::now() - began), (ErrorKind::Timeout, Duration::from_secs(60)));
    assert_eq!(consumer.assignment(), [orders(1)]);
}

/// L1: offsets finished beyond the position to which the cluster moved the partition back belong to a log
/// that is gone.
#[tokio::test(start_paused = true)]
async fn l1_offsets_finished_beyond_a_rewind_are_not_finished_any_more() {
    let (mut consumer, engine) = member(|builder| builder, &[0]).await;
    engine.brings(0, 0, 6);
    assert_eq!(offsets(&mut consumer).await, [0, 1, 2, 3, 4, 5]);
    engine.resets(0, 4);
    engine.brings(0, 4, 1);
    assert_eq!(offsets(&mut consumer).await, [4]);
    consumer.commit_finished().await.unwrap();
    assert_eq!(said(&engine), ["moved orders-0", "finished orders-0@5", "commit finished"]);
}

#[tokio::test(start_paused = true)]
async fn l1_single_finishes_before_a_rewind_still_count() {
    let (mut consumer, engine) = member(Builder::finish_each, &[0]).await;
    engine.brings(0, 0, 6);
    let old = consumer.poll(NONE).await.unwrap();
    engine.resets(0, 4);
    engine.brings(0, 4, 1);
    let new = consumer.poll(NONE).await.unwrap();
    let finish = |records: &Records, nth: usize| records.iter().nth(nth).unwrap().finish();
    assert!(finish(&old, 4).is_err() && finish(&old, 5).is_err(), "they come again");
    (0..4).for_each(|nth| finish(&old, nth).unwrap());
    consumer.commit_finished().await.unwrap();
    finish(&new, 0).unwrap();
    consumer.commit_finished().await.unwrap();
    assert_eq!(
        said(&engine),
        [
            "moved orders-0",
            "finished orders-0@4",
            "commit finished",
            "finished orders-0@5",
            "commit finished"
        ]
    );
}

/// Dropping the value releases the partitions: what was finished until then is committed with it, and
/// reported once.
#[tokio::test(start_paused = true)]
async fn h2_records_finished_during_a_revoking_value_are_committed_with_its_release() {
    for commits in [true, false] {
        let (told, tell) = events();
        let build =
            |builder: Builder| builder.property("enable.auto.commit", commits).finish_each().events(tell);
        let (mut consumer, engine) = member(build, &[0, 1]).await;
        engine.brings(0, 0, 3);
        let Ok(Next::Records(records)) = consumer.next().await else { panic!("records") };
        engine.revokes(&[0], None);
        let Ok(Next::Revoking(value)) = consumer.next().await else { panic!("a revoke") };
        settle().await;
        said(&engine);
        told.take();
        records.iter().take(2).for_each(|record| record.finish().unwrap());
        assert_eq!(consumer.handle().position(orders(0)), Some(3), "until it is released");
        drop(value);
        assert_eq!(records.iter().last().unwrap().finish().unwrap_err().kind(), ErrorKind::NotOwned);
        settle().await;
        match commits {
            true => {
                assert_eq!(said(&engine), ["finished orders-0@2", "commit finished", "revocation done 7"])
            }
            false => assert_eq!(said(&engine), ["finished orders-0@2", "revocation done 7"]),
        }
        assert_eq!(told.take(), ["revoked 1"]);
        consumer.poll(NONE).await.unwrap();
        settle().await;
        assert!(said(&engine).is_empty() && told.take().is_empty(), "once");
        assert_eq!(consumer.handle().position(orders(0)), None);
    }
}

/// L1: no record may be redelivered at a position that moved back, so nothing handed out would indicate the
/// move.
#[tokio::test(start_paused = true)]
async fn l1_records_beyond_a_move_back_are_finished_no_more_though_none_comes_again() {
    let (mut consumer, engine) = member(Builder::finish_each, &[0]).await;
    engine.brings(0, 0, 6);
    let old = consumer.poll(NONE).await.unwrap();
    let emptied = BatchBuilder::new(4).last_offset_delta(4).build().unwrap();
    let next = Position::at(9);
    let again = Chunk { next, batches: [emptied].into_iter().collect(), ..chunk(0, 4, 1) };
    engine.resets(0, 4);
    engine.send([], [Data::Records(again)]);
    assert!(consumer.poll(NONE).await.unwrap().is_empty());
    let finished: Vec<_> = old.iter().map(|record| record.finish().is_ok()).collect();
    assert_eq!(finished, [true, true, true, true, false, false]);
    consumer.commit_finished().await.unwrap();
    assert_eq!(said(&engine), ["moved orders-0", "finished orders-0@9", "commit finished"]);
}
