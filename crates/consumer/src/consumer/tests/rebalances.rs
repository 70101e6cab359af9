//! Tests of ownership changes reported in the middle of a poll.

use super::*;

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
    assert_eq!(said(&engine), ["revoked over", "revocation done 7"]);
    let got: Vec<_> = records.iter().map(|record| (record.partition(), record.offset())).collect();
    assert_eq!(got, [(1, 0)], "nothing more of what was revoked");
    assert_eq!(consumer.assignment(), [orders(1)]);
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
    assert_eq!(said(&engine), ["revoked 2", "revoked over", "revocation done 7"]);
}

#[tokio::test(start_paused = true)]
async fn h2_lost_partitions_are_not_committed() {
    let (mut consumer, engine) = hearing(|builder| builder, Duration::ZERO).await;
    engine.brings(0, 0, 3);
    consumer.poll(NONE).await.unwrap();
    engine.loses(&[0, 1]);
    consumer.poll(Duration::from_secs(1)).await.unwrap();
    settle().await;
    assert_eq!(said(&engine), ["lost 2", "lost over", "revocation done 8"]);
    assert_eq!(consumer.assignment().len(), 0);
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
    assert_eq!(said_of_change(&engine), ["commit finished", "revoked 1", "revocation done 7"]);
}

#[tokio::test(start_paused = true)]
async fn h2_a_commit_that_is_not_answered_in_time_is_told_and_fails_no_poll() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&told);
    let tells = move |event| {
        if let Event::Error(error) = event {
            into.lock().unwrap().push(error.to_string());
        }
    };
    let (mut consumer, engine) = hearing(|builder| builder.events(tells), Duration::ZERO).await;
    engine.hold_commits();
    engine.revokes(&[0], Some(clock::after(Duration::from_secs(10))));
    consumer.poll(Duration::from_secs(11)).await.unwrap();
    settle().await;
    assert_eq!(*told.lock().unwrap(), [NOT_COMMITTED]);
    assert_eq!(
        said_of_change(&engine),
        ["commit finished", "revoked 1", "revoked over", "revocation done 7"]
    );
}

/// A poll that is dropped in the middle of a rebalance leaves it to the next one, with the same listener
/// future.
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
    assert_eq!(said_of_change(&engine), ["revoked over", "revocation done 7"]);
}

/// D9: a dropped poll may be continued on another runtime, although that runtime has other timers.
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
    assert_eq!(revoking.partitions, [orders(0)]);
    assert_eq!(consumer.position(orders(0)), Some(3), "where to commit");
    assert_eq!(consumer.handle().position(orders(0)), Some(3));
    assert_eq!(said(&engine), ["finished orders-0@3", "commit finished"]);
    settle().await;
    assert!(said(&engine).is_empty(), "it is still ours");
    engine.brings(1, 0, 1);
    assert!(matches!(consumer.next().await, Ok(Next::Records(records)) if records.len() == 1));
    settle().await;
    assert_eq!(said(&engine), ["revocation done 7"]);
    drop(revoking);
    settle().await;
    assert!(said(&engine).is_empty(), "once");
}

/// `next` is dropped, as by `select!`, while the commit before a revoke is under way.
#[tokio::test(start_paused = true)]
async fn d9_a_change_that_next_was_to_hand_out_is_the_listeners_where_something_else_goes_on_with_it() {
    for closes in [false, true] {
        let (mut consumer, engine) = hearing(|builder| builder, Duration::ZERO).await;
        engine.hold_commits();
        engine.revokes(&[0], None);
        assert!(tokio::time::timeout(Duration::from_secs(1), consumer.next()).await.is_err());
        engine.answer_commits();
        match closes {
            false => drop(consumer.poll(NONE).await.unwrap()),
            true => consumer.close(ALL).await.unwrap(),
        }
        settle().await;
        let said = said_of_change(&engine);
        assert_eq!(
            said[..4],
            ["commit finished", "revoked 1", "revoked over", "revocation done 7"],
            "{said:?}"
        );
    }
}

/// The application polls again after the group has continued without it.
#[tokio::test(start_paused = true)]
async fn d9_m1_partitions_that_the_group_no_longer_waits_for_are_lost() {
    let (mut consumer, engine) = hearing(|builder| builder, Duration::from_secs(1)).await;
    engine.brings(0, 0, 3);
    consumer.poll(NONE).await.unwrap();
    engine.revokes(&[0], Some(clock::after(Duration::from_secs(10))));
    sleep(Duration::from_secs(20)).await;
    consumer.poll(Duration::from_secs(2)).await.unwrap();
    settle().await;
    let mut said = said_of_change(&engine);
    said.retain(|what| !what.starts_with("finished"));
    assert_eq!(said, ["lost 1", "lost over", "revocation done 7"], "and nothing is committed");
}

/// A `subscribe`'s result is valid even if its future was dropped.
#[tokio::test(start_paused = true)]
async fn a_dropped_subscribe_call_takes_the_result_of_the_engine() {
    for refuses in [false, true] {
        let (mut consumer, _engine, mut commanded) = unanswered(Log::default(), |builder| builder);
        let begun = tokio::time::timeout(Duration::from_secs(1), consumer.subscribe(["orders"])).await;
        assert!(begun.is_err(), "nobody has answered");
        assert_eq!(consumer.group, Group::Subscribed, "what the group says meanwhile is heard");
        let Some(Command::Subscribe { reply, .. }) = commanded.recv().await else { panic!("a subscription") };
        reply.send(if refuses { Err(Error::misuse("assigned by hand")) } else { Ok(()) }).unwrap();
        assert!(consumer.poll(NONE).await.unwrap().is_empty());
        let (group, topics) =
            if refuses { (Group::Outside, vec![]) } else { (Group::Subscribed, vec![Topic::from("orders")]) };
        assert_eq!((consumer.group, consumer.subscription()), (group, topics));
    }
}

/// Records are confidential, and a consumer may be printed by code that does not think of its records.
#[tokio::test(start_paused = true)]
async fn safe17_neither_a_consumer_nor_a_handle_prints_records() {
    let (mut consumer, engine) = member(|builder| builder.property("max.poll.records", "1"), &[0]).await;
    let shown = |consumer: &Consumer| format!("{consumer:?} {:?}", consumer.handle());
    // Records would show as text or as numbers.
    let clean = |shown: &str| !shown.contains("canary") && !shown.contains("99, 97, 110, 97, 114, 121");
    let chunk = |from: i64| {
        let mut builder = BatchBuilder::new(from);
        for _ in 0..3 {
            builder.push(1, None, Some(b"canary"), &[]);
        }
        Chunk { batches: [builder.build().unwrap()].into_iter().collect(), ..chunk(0, from, 3) }
    };
    engine.send([], [Data::Records(chunk(0))]);
    assert!(clean(&shown(&consumer)), "as it waits: {}", shown(&consumer));
    assert_eq!(offsets(&mut consumer).await, [0]);
    engine.send([], [Data::Records(chunk(3))]);
    let shown = shown(&consumer);
    assert!(clean(&shown) && shown.contains("owned: 1"), "as it is read: {shown}");
    assert!(clean(&format!("{:?}", chunk(0))), "{:?}", chunk(0));
}

/// Nothing more of it is handed out, and the partitions that stay need the memory while the listener runs.
#[tokio::test(start_paused = true)]
async fn i12_buffered_records_of_what_is_given_up_are_freed_before_the_listener_ends() {
    for is_lost in [false, true] {
        let build = |builder: Builder| builder.property("max.poll.records", "1");
        let (mut consumer, engine) = hearing(build, Duration::from_secs(60)).await;
        engine.brings(0, 0, 3);
        engine.brings(1, 0, 3);
        assert_eq!(consumer.poll(NONE).await.unwrap().len(), 1);
        // One chunk is being handed out, one is buffered, and one has not been received yet.
        engine.brings(0, 3, 3);
        match is_lost {
            false => engine.revokes(&[0], None),
            true => engine.loses(&[0]),
        }
        assert!(consumer.poll(Duration::from_secs(1)).await.unwrap().is_empty());
        settle().await;
        let log = engine.log.take();
        assert!(!log.iter().any(|what| what.ends_with("over")), "the listener runs: {log:?}");
        let freed = log.iter().filter_map(|what| what.strip_prefix("freed ")?.parse::<usize>().ok());
        assert_eq!(freed.sum::<usize>(), 2, "{log:?}");
        consumer.poll(Duration::from_secs(61)).await.unwrap();
        assert_eq!(consumer.assignment(), [orders(1)]);
    }
}
