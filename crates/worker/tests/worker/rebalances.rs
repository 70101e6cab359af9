//! Partitions that move while handlers run, and members that die.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use offtake_broker::{ApiKey, Cluster, Fault, FaultRule, NewRecord, Rewrite};
use offtake_worker::{Attempt, Error, Event, Failure, Worker};

use crate::support::*;

async fn settled(members: &[&Running], partitions: usize) {
    let owned = |member: &Running| member.handle.metrics().partitions.len();
    for _ in 0..600 {
        let counts: Vec<_> = members.iter().map(|member| owned(member)).collect();
        if counts.iter().sum::<usize>() == partitions && counts.iter().all(|count| *count > 0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not settled: {:?}", members.iter().map(|member| owned(member)).collect::<Vec<_>>());
}

fn with_protocol(cluster: &Cluster, protocol: &str) -> Worker {
    let inside = cluster.clone();
    let plain = || {
        offtake::Consumer::builder(cluster.bootstrap())
            .group("job")
            .spawn_on(tokio::runtime::Handle::current())
            .dial(offtake::dial::InMemory::new({
                let inside = inside.clone();
                move |port| inside.connect(port)
            }))
            .property("auto.offset.reset", "earliest")
            .property("request.timeout.ms", 2000)
    };
    worker_of(match protocol {
        "consumer" => plain().property("group.protocol", "consumer"),
        assignor => {
            plain().property("partition.assignment.strategy", assignor).property("session.timeout.ms", 6000)
        }
    })
}

/// Handlers that take half a second end in time when a second member joins, so that no record is handled twice.
#[tokio::test(start_paused = true)]
async fn handlers_running_at_a_revocation_may_end_and_are_not_repeated() {
    for protocol in ["range", "cooperative-sticky", "consumer"] {
        let cluster = cluster().await;
        let ledger = Ledger::default();
        let handler = || {
            ledger.around(|_, _| async {
                tokio::time::sleep(Duration::from_millis(500)).await;
                Ok(())
            })
        };
        let a = Running::start(with_protocol(&cluster, protocol), handler());
        a.until("it has begun", |_| ledger.done().len() > 10).await;
        let b = Running::start(with_protocol(&cluster, protocol), handler());
        settled(&[&a, &b], 3).await;
        a.until("all is done", |_| ledger.done().len() == all().len()).await;
        let revoked = a.events().iter().any(|event| matches!(event, Event::Revoked(_)));
        let cancelled = a.handle.metrics().cancelled;
        assert!(a.stop().await.is_clean() && b.stop().await.is_clean());
        assert!(revoked && cancelled == 0, "{protocol}");
        assert!(ledger.done().values().all(|times| *times == 1), "{protocol}");
        ledger.check_order(&BTreeSet::new());
        assert_eq!(committed_offsets(&cluster).await, everything(), "{protocol}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_hangs_at_a_revocation_is_cancelled_and_kept_partitions_go_on() {
    let cluster = cluster().await;
    let ledger = Ledger::default();
    // The first attempt at offset 10 hangs, whichever member makes it.
    let handler = || {
        let hung = std::sync::Arc::new(std::sync::Mutex::new(BTreeSet::new()));
        ledger.around(move |record, _| {
            let hangs = record.offset() == 10 && hung.lock().unwrap().insert(record.partition());
            async move { if hangs { std::future::pending().await } else { Ok(()) } }
        })
    };
    let a = Running::start(worker(&cluster).revoke_grace(secs(3)), handler());
    let most = all().len() - 3 * 6; // offset 10 and the later records with its key
    a.until("all but what hangs is done", |_| ledger.done().len() == most).await;
    let b = Running::start(worker(&cluster), ledger.around(|_, _| async { Ok(()) }));
    settled(&[&a, &b], 3).await;
    let cancelled = a.handle.metrics().cancelled;
    b.until("it has done what it was given", |_| ledger.done().len() >= most + 6).await;
    assert_eq!(cancelled, b.handle.metrics().partitions.len() as u64, "those that moved");
    a.handle.stop_now();
    assert!(a.task.await.unwrap().unwrap().is_clean());
    b.until("all is done", |_| ledger.done().len() == all().len()).await;
    assert!(b.stop().await.is_clean());
    assert!(
        ledger.done().values().all(|times| *times == 1),
        "what was finished beyond the gap is not repeated"
    );
    ledger.check_order(&BTreeSet::new());
}

#[tokio::test(start_paused = true)]
async fn members_that_die_lose_nothing_and_keys_keep_their_order() {
    for protocol in ["range", "cooperative-sticky", "consumer"] {
        let cluster = cluster().await;
        let ledger = Ledger::default();
        let handler = || {
            ledger.around(|record, attempt| async move {
                tokio::time::sleep(Duration::from_millis(300)).await;
                match (record.offset() % 7, attempt.number()) {
                    (2, 1) => Err(Failure::retry("not now")),
                    (3, 1) => panic!("never"),
                    _ => Ok(()),
                }
            })
        };
        let mut members: Vec<_> =
            (0..3).map(|_| Running::start(with_protocol(&cluster, protocol), handler())).collect();
        for turn in 0..4 {
            tokio::time::sleep(secs(2)).await;
            // Its tasks die with it: nothing is committed, and it does not leave the group.
            members[turn % 3].task.abort();
            let task = std::mem::replace(
                &mut members[turn % 3],
                Running::start(with_protocol(&cluster, protocol), handler()),
            )
            .task;
            drop(task.await);
        }
        members[0].until("all is done", |_| ledger.done().len() == all().len()).await;
        tokio::time::sleep(secs(20)).await;
        for member in members {
            assert!(member.stop().await.is_clean(), "{protocol}");
        }
        assert_eq!(committed_offsets(&cluster).await, everything(), "{protocol}");
        ledger.check_order(&BTreeSet::new());
        // Only records that were handled but not committed when a member died are handled again.
        let twice = ledger.done().values().filter(|times| **times > 1).count();
        assert!(twice < all().len() / 2, "{protocol}: {twice} were repeated");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_of_lost_partitions_is_committed_or_dead_lettered() {
    let cluster = cluster().await;
    let ledger = Ledger::default();
    let handler = ledger.around(|record, attempt| async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        match record.offset() {
            20 if attempt.number() < 3 => Err(Failure::retry("not now")),
            30 => {
                tokio::time::sleep(secs(8)).await;
                Ok(())
            }
            _ => Ok(()),
        }
    });
    let worker = worker(&cluster).dead_letters(dead_letters(&cluster));
    let running = Running::start(worker, handler);
    running.until("the slow one runs", |_| ledger.begun().iter().any(|(_, offset)| *offset == 30)).await;
    // The coordinator has forgotten the member.
    let rule = cluster.inject(FaultRule::on(ApiKey::Heartbeat, Fault::Fail(25)).once());
    running
        .until("they are lost", |running| {
            running.events().iter().any(|event| matches!(event, Event::Lost(_)))
        })
        .await;
    assert_eq!(cluster.hits(rule), 1);
    running.until("all is done", |_| ledger.done().len() == all().len()).await;
    let events = running.events();
    let summary = running.stop().await;
    assert!(summary.is_clean() && summary.cancelled > 0 && summary.dead_lettered == 0, "{summary:?}");
    // Between the loss and the next assignment, no event names the partitions.
    let lost = events.iter().position(|event| matches!(event, Event::Lost(_))).unwrap();
    let next = events[lost..].iter().position(|event| matches!(event, Event::Assigned(_))).unwrap();
    assert!(events[lost..lost + next].iter().all(|event| !matches!(event, Event::Committed { .. })));
    assert_eq!(committed_offsets(&cluster).await, everything());
}

/// An unclean election removes records that were read, and other records replace them.
#[tokio::test(start_paused = true)]
async fn records_that_take_the_place_of_lost_ones_are_handled() {
    let cluster = cluster().await;
    let ledger = Ledger::default();
    let values = std::sync::Arc::new(std::sync::Mutex::new(BTreeMap::<i64, BTreeSet<String>>::new()));
    let seen = values.clone();
    let handler = ledger.around(move |record, _| {
        if record.partition() == 0 {
            let value = String::from_utf8(record.value().unwrap().to_vec()).unwrap();
            seen.lock().unwrap().entry(record.offset()).or_default().insert(value);
        }
        async { Ok(()) }
    });
    let running = Running::start(worker(&cluster), handler);
    running.until("all is done", |_| ledger.done().len() == all().len()).await;
    tokio::time::sleep(secs(5)).await;
    cluster.with(|model, _| {
        let leader = model.leader_of("orders", 0).unwrap();
        let other = model.brokers().map(|(id, ..)| id).find(|id| *id != leader).unwrap();
        assert_eq!(model.elect_unclean("orders", 0, other, 30), Some(30));
        let others: Vec<_> = (30..50).map(|n| NewRecord::new(format!("other {n}")).key("k")).collect();
        model.append_records("orders", 0, &others).unwrap();
    });
    running
        .until("the others are handled", |_| {
            (30..50).all(|offset| {
                values
                    .lock()
                    .unwrap()
                    .get(&offset)
                    .is_some_and(|values| values.contains(&format!("other {offset}")))
            })
        })
        .await;
    let summary = running.stop().await;
    assert!(summary.is_clean(), "{summary:?}");
    assert_eq!(committed_offsets(&cluster).await[0], (0, 50));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_fenced_ends_and_says_so() {
    let cluster = cluster().await;
    let ledger = Ledger::default();
    let handler = || {
        ledger.around(|_, _| async {
            tokio::time::sleep(secs(1)).await;
            Ok(())
        })
    };
    let fixed = || worker_of(builder(&cluster).group_instance_id("the-one")).grace(secs(5));
    let first = Running::start(fixed(), handler());
    first.until("it has begun", |_| ledger.done().len() > 10).await;
    let second = Running::start(fixed(), handler());
    let error = first.task.await.unwrap().unwrap_err();
    assert!(
        matches!(&error, Error::Client(error) if error.kind() == offtake::ErrorKind::Fenced),
        "{error:?}"
    );
    second.until("the other does the rest", |_| ledger.done().len() == all().len()).await;
    assert!(second.stop().await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn errors_that_the_consumer_retries_stop_no_partition() {
    let cluster = cluster().await;
    let rule = FaultRule::on(ApiKey::Fetch, offtake_broker::Rewrite::partitions_fail(29)).times(3); // TOPIC_AUTHORIZATION_FAILED
    let rule = cluster.inject(rule);
    let ledger = Ledger::default();
    let running = Running::start(worker(&cluster), ledger.around(|_, _| async { Ok(()) }));
    running.until("all is done", |_| ledger.done().len() == all().len()).await;
    assert_eq!(cluster.hits(rule), 3);
    let events = running.events();
    assert!(events.iter().any(|event| matches!(event, Event::Error(_))), "it is told");
    assert!(running.stop().await.is_clean());
}

/// Each of its partitions reports its own error, and other topics do not wait until all are reported.
#[tokio::test(start_paused = true)]
async fn a_wide_topic_that_may_not_be_read_holds_up_no_others() {
    let cluster = Cluster::builder().brokers(1).topic("orders", 1).topic("shut", 200);
    let cluster = cluster.in_memory().start().await.unwrap();
    let refused = offtake_broker::Rewrite::partitions_fail(29); // TOPIC_AUTHORIZATION_FAILED
    cluster.inject(FaultRule::on(ApiKey::Fetch, refused).topic("shut"));
    let ledger = Ledger::default();
    let handler = ledger.around(|_, _| async { Ok(()) });
    let running = Running::start(worker(&cluster).subscribe(["orders", "shut"]), handler);
    let is_error = |event: &Event| matches!(event, Event::Error(_));
    running.until("it is refused", |running| running.events().iter().any(is_error)).await;
    let since = tokio::time::Instant::now();
    cluster.append("orders", 0, &[NewRecord::new("x")]).unwrap();
    running.until("it is handled", |_| ledger.done().len() == 1).await;
    assert!(since.elapsed() < secs(5), "{:?}", since.elapsed());
    let told = running.events().iter().filter(|event| is_error(event)).count();
    assert!(told > 100, "{told} were told");
    assert!(running.stop().await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_lost_while_partitions_are_handed_over_ends_the_handover() {
    let cluster = cluster().await;
    let ledger = Ledger::default();
    let handler = ledger.around(|record, _| async move {
        if record.offset() == 0 { std::future::pending().await } else { Ok(()) }
    });
    let a = Running::start(worker_of(builder(&cluster).client_id("the-first")), handler);
    let most = all().len() * 4 / 5;
    a.until("all but what hangs is done", |_| ledger.done().len() == most).await;
    let b = Running::start(worker(&cluster), ledger.around(|_, _| async { Ok(()) }));
    tokio::time::sleep(secs(5)).await; // by default it would take minutes
    assert!(!a.events().iter().any(|event| matches!(event, Event::Revoked(_))));
    let since = tokio::time::Instant::now();
    cluster.inject(FaultRule::on(ApiKey::Heartbeat, Fault::Fail(25)).client("the-first").once()); // UNKNOWN_MEMBER_ID
    a.until("it is lost", |a| a.events().iter().any(|event| matches!(event, Event::Lost(_)))).await;
    assert!(since.elapsed() < secs(30), "{:?}", since.elapsed());
    assert!(a.handle.metrics().cancelled > 0);
    a.handle.stop_now();
    assert!(a.task.await.unwrap().is_ok());
    b.until("all is done", |_| ledger.done().len() == all().len()).await;
    assert!(b.stop().await.is_clean());
}

/// Threads that ignore their cancellation keep neither the group nor the next owner waiting for long. They keep their places in
/// this worker, and their results do not count.
#[tokio::test(start_paused = true)]
async fn a_handler_that_blocks_for_good_does_not_hold_up_the_handover() {
    let cluster = cluster().await;
    let blocked = Arc::new(Mutex::new(Some(Vec::new())));
    let done = Arc::new(Mutex::new(BTreeMap::<_, usize>::new()));
    let start = |is_first: bool| {
        let (blocked, done) = (Arc::clone(&blocked), Arc::clone(&done));
        let worker = worker(&cluster).revoke_grace(secs(1)).block_with(move |thread| {
            match blocked.lock().unwrap().as_mut().filter(|_| is_first) {
                Some(blocked) => blocked.push(thread),
                None => thread(),
            }
        });
        let events = Arc::<Mutex<Vec<Event>>>::default();
        let told = Arc::clone(&events);
        let worker = worker.events(move |event| told.lock().unwrap().push(event));
        let handle = worker.handle();
        let handler = move |record: offtake::OwnedRecord, attempt: Attempt| {
            assert!(!attempt.cancelled());
            *done.lock().unwrap().entry((record.partition(), record.offset())).or_default() += 1;
            Ok(())
        };
        (handle, tokio::spawn(worker.run_blocking(handler, std::future::pending::<()>())), events)
    };
    let (first, first_task, events) = start(true);
    while first.metrics().running < 8 {
        tokio::time::sleep(secs(1)).await;
    }
    let since = tokio::time::Instant::now();
    let (second, second_task, _) = start(false);
    while second.metrics().handled < RECORDS as u64 {
        assert!(since.elapsed() < secs(20), "{:?}", since.elapsed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // A second, and five for the ends of handlers; and the member has to join again.
    assert!(since.elapsed() > secs(6), "it waits for a while: {:?}", since.elapsed());
    tokio::time::sleep(secs(1)).await;
    let is_given_up = |event: &Event| matches!(event, Event::Revoked(_));
    let has_lost = |event: &Event| matches!(event, Event::Lost(_));
    let events = events.lock().unwrap().clone();
    assert!(events.iter().any(is_given_up) && !events.iter().any(has_lost), "its commit is taken");
    let (metrics, moved) = (first.metrics(), second.metrics().partitions.len());
    assert!(metrics.cancelled > 0 && metrics.handled == 0, "{metrics:?}");
    assert_eq!((metrics.partitions.len(), moved), (3 - moved, moved), "the others go on, but have no place");
    // The threads end.
    let threads = blocked.lock().unwrap().take().unwrap();
    assert_eq!(threads.len(), 8, "each has its place");
    threads.into_iter().for_each(|thread| thread());
    while committed_offsets(&cluster).await != everything() {
        assert!(!first_task.is_finished() && !second_task.is_finished());
        tokio::time::sleep(secs(1)).await;
    }
    for (handle, task) in [(first, first_task), (second, second_task)] {
        handle.stop();
        assert!(task.await.unwrap().unwrap().is_clean());
    }
    assert!(done.lock().unwrap().values().all(|times| *times == 1));
    assert_eq!(done.lock().unwrap().len(), all().len());
}

fn a_letter_has_failed(running: &Running) -> bool {
    let is_told =
        |event: &Event| matches!(event, Event::Error(error) if error.to_string().contains("written again"));
    running.events().iter().any(is_told)
}

/// The next owner writes them, if it can.
#[tokio::test(start_paused = true)]
async fn letters_to_a_topic_that_is_missing_do_not_hold_up_a_handover() {
    for protocol in ["range", "cooperative-sticky", "consumer"] {
        let cluster = cluster().await;
        let handler = |record: offtake::OwnedRecord, _| async move {
            if record.offset() == 7 { Err(Failure::poison("no")) } else { Ok(()) }
        };
        let worker =
            || with_protocol(&cluster, protocol).dead_letters(dead_letters_to("no.such.dlq", &cluster));
        let a = Running::start(worker(), handler);
        a.until("the first could not be written", a_letter_has_failed).await;
        tokio::time::sleep(secs(5)).await;
        assert_eq!(a.handle.metrics().writing_dead_letters, 3);
        let before = tokio::time::Instant::now();
        let b = Running::start(worker(), handler);
        b.until("it has partitions", |b| !b.handle.metrics().partitions.is_empty()).await;
        assert!(before.elapsed() < secs(10), "{protocol}: {:?}", before.elapsed());
        assert!(a.stop().await.is_clean() && b.stop().await.is_clean());
    }
}

/// One that failed long enough ago to be written by now says nothing about others that are on their way.
#[tokio::test(start_paused = true)]
async fn a_handover_waits_for_letters_on_their_way_after_one_has_failed() {
    let cluster = cluster().await;
    let rule =
        cluster.inject(FaultRule::on(ApiKey::Produce, Rewrite::partitions_fail(-1)).topic("orders.dlq"));
    let handler = |record: offtake::OwnedRecord, _| async move {
        if record.offset() == 7 {
            tokio::time::sleep(Duration::from_millis(if record.partition() == 0 { 0 } else { 500 })).await;
            return Err(Failure::poison("no"));
        }
        Ok(())
    };
    let worker = || with_protocol(&cluster, "range").dead_letters(dead_letters(&cluster));
    let a = Running::start(worker(), handler);
    a.until("one could not be written", a_letter_has_failed).await;
    cluster.withdraw(rule);
    let slow = Fault::Delay(Duration::from_millis(1500));
    cluster.inject(FaultRule::on(ApiKey::Produce, slow).topic("orders.dlq"));
    a.until("others are on their way", |a| a.handle.metrics().writing_dead_letters >= 2).await;
    let b = Running::start(worker(), handler);
    tokio::time::sleep(secs(60)).await;
    assert!(a.stop().await.is_clean() && b.stop().await.is_clean());
    let mut copies = BTreeMap::<_, usize>::new();
    for letter in letters(&cluster) {
        *copies.entry(header(&letter, "original_partition").unwrap()).or_default() += 1;
    }
    assert_eq!((copies["1"], copies["2"]), (1, 1), "{copies:?}");
}
