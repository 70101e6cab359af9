//! Records that cannot be handled.

use std::collections::BTreeSet;

use bytes::Bytes;
use offtake::Header;
use offtake_broker::{ApiKey, Fault, FaultRule, NewRecord, Rewrite};
use offtake_worker::{
    DeadLetterHeaders, Event, Failure, Order, Retry, StopReason,
    dead_letters::{Origin, rfc3339},
};

use crate::support::*;

fn failing() -> BTreeSet<(i32, i64)> {
    all().into_iter().filter(|(_, offset)| matches!(offset, 7 | 23 | 11)).collect()
}

/// Parses the headers of a dead letter.
fn origin(letter: &NewRecord) -> Origin {
    let headers =
        letter.headers.iter().map(|(key, value)| Header { key: key.as_bytes(), value: value.as_deref() });
    Origin::read(headers).unwrap()
}

#[tokio::test(start_paused = true)]
async fn dead_letters_have_the_record_and_its_story_and_its_key_goes_on() {
    for headers in [DeadLetterHeaders::Offtake, DeadLetterHeaders::Spring, DeadLetterHeaders::Connect] {
        let cluster = cluster().await;
        let ledger = Ledger::default();
        let worker = worker(&cluster).dead_letters(dead_letters(&cluster).headers(headers));
        let running = running(worker, &ledger);
        running.until("all is finished", |running| running.handle.metrics().dead_lettered == 9).await;
        running.until("the others are done", |_| ledger.done().len() == all().len() - 9).await;
        let events = running.events();
        let summary = running.stop().await;
        assert!(summary.is_clean(), "{summary:?}");
        assert_eq!((summary.dead_lettered, summary.retried), (9, 6));
        assert_eq!(committed_offsets(&cluster).await, everything());
        ledger.check_order(&failing());

        let letters = letters(&cluster);
        let origins: BTreeSet<_> = letters
            .iter()
            .map(|letter| {
                let origin = origin(letter);
                assert_eq!(origin.topic.as_deref(), Some("orders"));
                assert_eq!(origin.group.as_deref(), Some("job"));
                let offset = origin.offset.unwrap();
                assert_eq!(letter.value, Some(Bytes::from(offset.to_string())));
                assert_eq!(letter.key, Some(Bytes::from((offset % KEYS).to_string())));
                assert_ne!(letter.timestamp, Some(WALL_MS + offset), "retention counts from now");
                assert_eq!(origin.timestamp, Some(WALL_MS + offset));
                assert_eq!(letter.headers[0], ("n".to_owned(), Some(Bytes::from(offset.to_string()))));
                let said = (origin.attempts.unwrap(), origin.reason.clone().unwrap());
                let expected = if offset == 11 { (3, "always") } else { (1, "no such customer") };
                assert_eq!((said.0, said.1.as_str()), expected);
                assert!(origin.failed_at.unwrap().as_str() >= rfc3339(WALL_MS).as_str());
                (origin.partition.unwrap(), offset)
            })
            .collect();
        assert_eq!((origins, letters.len()), (failing(), 9), "each once");
        let told = events.iter().filter(|event| {
            matches!(event, Event::DeadLettered { to, to_offset: Some(_), .. } if to.topic == "orders.dlq")
        });
        assert_eq!(told.count(), 9);
    }
}

/// In each partition the records 7 and 23 are poison, and record 11 fails at every attempt.
fn running(worker: offtake_worker::Worker, ledger: &Ledger) -> Running {
    let handler = ledger.around(|record, _| async move {
        match record.offset() {
            7 | 23 => Err(Failure::poison("no such customer")),
            11 => Err(Failure::retry("always")),
            _ => Ok(()),
        }
    });
    Running::start(worker, handler)
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_text_and_what_is_absent_are_kept_as_they_are() {
    let cluster = cluster().await;
    let odd = NewRecord::tombstone(vec![0xff, 0, 1])
        .header("n", vec![0xfe])
        .header("n", "")
        .header("failed_at", "x");
    let mut odd = odd.timestamp(5);
    odd.headers.push(("null".to_owned(), None));
    cluster.append("orders", 0, &[odd.clone(), NewRecord::new("keyless")]).unwrap();
    let ledger = Ledger::default();
    let handler = ledger.around(|record, _| async move {
        match record.offset() {
            40 | 41 => Err(Failure::poison("odd")),
            _ => Ok(()),
        }
    });
    let running = Running::start(worker(&cluster).dead_letters(dead_letters(&cluster)), handler);
    running.until("both are there", |running| running.handle.metrics().dead_lettered == 2).await;
    assert!(running.stop().await.is_clean());
    let letters = letters(&cluster);
    let letter = letters.iter().find(|letter| letter.key.is_some()).unwrap();
    assert_eq!((&letter.key, &letter.value), (&odd.key, &None));
    assert_eq!(header(letter, "original_timestamp").as_deref(), Some("5"));
    assert_eq!(letter.headers[..odd.headers.len()], odd.headers[..]);
    assert_eq!(letter.headers.len(), odd.headers.len() + 8);
    let keyless = letters.iter().find(|letter| letter.key.is_none()).unwrap();
    assert_eq!(
        (keyless.value.as_deref(), header(keyless, "original_offset")),
        (Some(&b"keyless"[..]), Some("41".to_owned()))
    );
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_topic_that_cannot_be_written_stops_partitions_and_loses_nothing() {
    let cluster = cluster().await;
    let rule = cluster.inject(FaultRule::on(ApiKey::Produce, Fault::Fail(29)).topic("orders.dlq")); // TOPIC_AUTHORIZATION_FAILED
    let ledger = Ledger::default();
    let handler = ledger.around(|record, _| async move {
        match (record.partition(), record.offset()) {
            (0, 7) => Err(Failure::poison("no")),
            _ => Ok(()),
        }
    });
    let running = Running::start(worker(&cluster).dead_letters(dead_letters(&cluster)), handler);
    running
        .until("it stopped", |running| {
            running.events().iter().any(|event| {
                matches!(event, Event::Stopped(stopped)
            if stopped.partition == orders(0) && matches!(stopped.why, StopReason::DeadLetterFailed { .. }))
            })
        })
        .await;
    running
        .until("the others are done", |_| {
            (0..RECORDS)
                .all(|offset| (1..3).all(|partition| ledger.done().contains_key(&(partition, offset))))
        })
        .await;
    let summary = running.stop().await;
    assert_eq!((summary.stopped.len(), summary.dead_lettered), (1, 0));
    assert_eq!(committed_offsets(&cluster).await, [(0, 7), (1, RECORDS), (2, RECORDS)]);

    cluster.withdraw(rule);
    let again = Ledger::default();
    let handler = again.around(|record, _| async move {
        if record.offset() == 7 { Err(Failure::poison("no")) } else { Ok(()) }
    });
    let running = Running::start(worker(&cluster).dead_letters(dead_letters(&cluster)), handler);
    running
        .until("it is there", |running| {
            let metrics = running.handle.metrics();
            metrics.partitions.get(&orders(0)).is_some_and(|partition| partition.committed == Some(RECORDS))
        })
        .await;
    assert!(running.stop().await.is_clean());
    assert_eq!(letters(&cluster).len(), 1);
    let once: BTreeSet<_> = ledger.done().into_keys().collect();
    assert!(
        again.done().into_keys().all(|at| !once.contains(&at)),
        "what was done beyond it is not repeated"
    );
}

#[tokio::test(start_paused = true)]
async fn brokers_that_lose_answers_lose_no_dead_letter_and_write_none_twice() {
    let cluster = cluster().await;
    let rule = |harm| FaultRule::on(ApiKey::Produce, harm).topic("orders.dlq").probably(0.3);
    let rules = [Fault::ApplyThenLose, Fault::Reset, Fault::Drop].map(|harm| cluster.inject(rule(harm)));
    let ledger = Ledger::default();
    let letters_to = dead_letters(&cluster).property("delivery.timeout.ms", 600_000);
    let running = running(worker(&cluster).dead_letters(letters_to), &ledger);
    running.until("all is finished", |running| running.handle.metrics().dead_lettered == 9).await;
    running.until("the others are done", |_| ledger.done().len() == all().len() - 9).await;
    assert!(running.stop().await.is_clean());
    let origins: Vec<_> =
        letters(&cluster).iter().map(|letter| (origin(letter).partition, origin(letter).offset)).collect();
    assert_eq!((origins.len(), origins.iter().collect::<BTreeSet<_>>().len()), (9, 9));
    assert!(rules.iter().all(|rule| cluster.hits(*rule) > 0), "each struck");
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_fails_again_keeps_its_first_origin() {
    let cluster = cluster().await;
    let ledger = Ledger::default();
    let first = running(worker(&cluster).dead_letters(dead_letters(&cluster)), &ledger);
    first.until("all is finished", |running| running.handle.metrics().dead_lettered == 9).await;
    assert!(first.stop().await.is_clean());
    cluster.create_topic("orders.dead", 1).unwrap();
    let worker = worker_of(builder(&cluster).group("second")).subscribe("orders.dlq");
    let worker = worker.dead_letters(dead_letters_to("orders.dead", &cluster));
    let second = Running::start(worker, |_, _| async { Err(Failure::poison("still not")) });
    second.until("all is there again", |running| running.handle.metrics().dead_lettered == 9).await;
    assert!(second.stop().await.is_clean());
    let again = cluster.with(|model, _| model.records("orders.dead", 0));
    for (_, letter) in &again {
        let origin = origin(letter);
        assert_eq!((origin.topic.as_deref(), origin.group.as_deref()), (Some("orders"), Some("job")));
        assert_eq!((origin.reason.as_deref(), origin.attempts), (Some("still not"), Some(1)));
        assert_eq!(letter.headers.len(), 9, "nothing is there twice");
    }
    assert_eq!(again.len(), 9);
}

/// Whether errors about the dead-letter topic were reported, and how many partitions stopped.
fn told(running: &Running, topic: &str) -> (usize, usize) {
    let events = running.events();
    let is_error = |event: &&Event| matches!(event, Event::Error(error) if error.to_string().contains(topic));
    let is_stop = |event: &&Event| matches!(event, Event::Stopped(_));
    (events.iter().filter(is_error).count(), events.iter().filter(is_stop).count())
}

/// The worker waits for it without a limit, says so again and again, and goes on as soon as it is created.
#[tokio::test(start_paused = true)]
async fn letters_wait_for_a_topic_that_is_missing() {
    let cluster = cluster().await;
    let ledger = Ledger::default();
    let worker = worker(&cluster).dead_letters(dead_letters_to("late.dlq", &cluster));
    let running = running(worker, &ledger);
    running.until("the others are done", |_| ledger.done().len() == all().len() - 9 - 3 * 14).await;
    tokio::time::sleep(secs(600)).await;
    let (errors, stops) = told(&running, "late.dlq");
    assert!((9..=14).contains(&errors) && stops == 0, "{errors} {stops}");
    assert_eq!(running.handle.metrics().dead_lettered, 0);
    cluster.create_topic("late.dlq", 2).unwrap();
    running.until("all is finished", |running| running.handle.metrics().dead_lettered == 9).await;
    running.until("the others are done", |_| ledger.done().len() == all().len() - 9).await;
    assert!(running.stop().await.is_clean());
    ledger.check_order(&failing());
    assert_eq!(committed_offsets(&cluster).await, everything());
    let read = |partition| cluster.with(|model, _| model.records("late.dlq", partition));
    let origins: BTreeSet<_> = (0..2)
        .flat_map(read)
        .map(|(_, letter)| (origin(&letter).partition.unwrap(), origin(&letter).offset.unwrap()))
        .collect();
    assert_eq!(origins, failing());
}

/// A clean end does not mean that each record is finished: what failed and waits comes again.
#[tokio::test(start_paused = true)]
async fn records_that_wait_at_the_end_are_counted_and_handled_by_the_next_worker() {
    let cluster = cluster().await;
    let build = || {
        let retry = Retry::fixed(secs(3_600)).attempts(2);
        worker(&cluster)
            .order(Order::Unordered)
            .dead_letters(dead_letters_to("late.dlq", &cluster))
            .retry(retry)
    };
    let running = Running::start(build(), |record, _| async move {
        match (record.partition(), record.offset()) {
            (0, 3 | 5) => Err(Failure::poison("no")),
            (1, 8) => Err(Failure::retry("not now")),
            _ => Ok(()),
        }
    });
    let handled = all().len() as u64 - 3;
    running.until("the others are done", |running| running.handle.metrics().handled == handled).await;
    let summary = running.stop().await;
    assert!(summary.is_clean(), "{summary:?}");
    assert_eq!((summary.dead_lettered, summary.failed_unfinished), (0, 3));
    let running = Running::start(build(), |_, _| async { Ok(()) });
    running.until("they are done", |running| running.handle.metrics().handled == 3).await;
    assert_eq!(running.stop().await.failed_unfinished, 0);
    assert_eq!(committed_offsets(&cluster).await, everything());
}

/// The worker says so long before its producer gives up.
#[tokio::test(start_paused = true)]
async fn letters_wait_for_a_topic_that_was_deleted_until_it_is_created_again() {
    let cluster = cluster().await;
    let ledger = Ledger::default();
    let delete = {
        let cluster = cluster.clone();
        move || cluster.with(|model, _| model.delete_topic("orders.dlq")).unwrap()
    };
    let handler = ledger.around(move |record, _| {
        let waits = record.partition() > 0;
        async move {
            if record.offset() == 7 {
                if waits {
                    tokio::time::sleep(secs(30)).await;
                }
                return Err(Failure::poison("no"));
            }
            Ok(())
        }
    });
    let letters_to = dead_letters(&cluster).property("delivery.timeout.ms", 120_000);
    let running = Running::start(worker(&cluster).dead_letters(letters_to), handler);
    running.until("the first is there", |running| running.handle.metrics().dead_lettered == 1).await;
    delete();
    let is_writing = |running: &Running| running.handle.metrics().writing_dead_letters == 2;
    running.until("the others are being written", is_writing).await;
    tokio::time::sleep(secs(15)).await;
    assert_eq!(told(&running, "orders.dlq"), (1, 0), "{:?}", running.events());
    tokio::time::sleep(secs(285)).await;
    let (errors, stops) = told(&running, "orders.dlq");
    assert!((2..=8).contains(&errors) && stops == 0, "{errors} {stops}");
    cluster.create_topic("orders.dlq", 2).unwrap();
    running.until("all is finished", |running| running.handle.metrics().dead_lettered == 3).await;
    running.until("the others are done", |_| ledger.done().len() == all().len() - 3).await;
    assert!(running.stop().await.is_clean());
    assert_eq!((letters(&cluster).len(), committed_offsets(&cluster).await), (2, everything()));
}

/// Their partition is paused once it has used up its share of the queue; the others go on.
#[tokio::test(start_paused = true)]
async fn letters_of_one_partition_that_wait_do_not_stop_the_others() {
    let cluster = cluster().await;
    let worker = worker(&cluster).queue(40).dead_letters(dead_letters_to("late.dlq", &cluster));
    let ledger = Ledger::default();
    let handler = ledger.around(|record, _| async move {
        if record.partition() == 0 { Err(Failure::poison("no")) } else { Ok(()) }
    });
    let running = Running::start(worker.order(Order::Unordered), handler);
    tokio::time::sleep(secs(30)).await;
    for partition in 1..PARTITIONS {
        cluster.append("orders", partition, &[NewRecord::new("later").timestamp(WALL_MS)]).unwrap();
    }
    let goes_on = |_: &Running| {
        let done = ledger.done();
        (1..PARTITIONS).all(|partition| (0..=RECORDS).all(|offset| done.contains_key(&(partition, offset))))
    };
    running.until("the others go on", goes_on).await;
    let metrics = running.handle.metrics();
    assert!((13..=40).contains(&metrics.writing_dead_letters), "{metrics:?}");
    assert_eq!(metrics.writing_dead_letters, metrics.queued, "{metrics:?}");
    assert_eq!((metrics.waiting_for_retry, metrics.dead_lettered), (0, 0));
    cluster.create_topic("late.dlq", 2).unwrap();
    running.until("all is there", |running| running.handle.metrics().dead_lettered == RECORDS as u64).await;
    running.until("nothing waits", |running| running.handle.metrics().queued == 0).await;
    let paused =
        |running: &Running| running.handle.metrics().partitions.values().any(|partition| partition.is_paused);
    running.until("nothing is paused", |running| !paused(running)).await;
    assert!(running.stop().await.is_clean());
    assert_eq!(committed_offsets(&cluster).await, [(0, RECORDS), (1, RECORDS + 1), (2, RECORDS + 1)]);
}

#[tokio::test(start_paused = true)]
async fn failures_are_reported_about_every_minute_also_if_another_partition_takes_letters() {
    let cluster = cluster().await;
    // NOT_ENOUGH_REPLICAS
    cluster.inject(FaultRule::on(ApiKey::Produce, Fault::Fail(19)).topic("orders.dlq").broker(1));
    let worker = worker(&cluster).order(Order::Unordered).dead_letters(dead_letters(&cluster));
    let running = Running::start(worker, |record, _| async move {
        if record.offset() >= RECORDS { Err(Failure::poison("no")) } else { Ok(()) }
    });
    for nth in 0..300i64 {
        cluster.append("orders", 0, &[NewRecord::new("x").key(nth.to_string()).timestamp(WALL_MS)]).unwrap();
        tokio::time::sleep(secs(1)).await;
    }
    let (errors, stops) = told(&running, "orders.dlq");
    assert!(running.handle.metrics().dead_lettered > 50 && stops == 0);
    assert!((2..=10).contains(&errors), "{errors}");
    drop(running.stop().await);
}

/// Each attempt after an unknown outcome may be one more copy, so they become rarer.
#[tokio::test(start_paused = true)]
async fn a_letter_whose_outcome_stays_unknown_is_written_again_ever_more_seldom() {
    let cluster = cluster().await;
    // The broker appends it, and answers UNKNOWN_SERVER_ERROR.
    cluster.inject(FaultRule::on(ApiKey::Produce, Rewrite::partitions_fail(-1)).topic("orders.dlq"));
    let running =
        Running::start(worker(&cluster).dead_letters(dead_letters(&cluster)), |record, _| async move {
            match (record.partition(), record.offset()) {
                (0, 7) => Err(Failure::poison("no")),
                _ => Ok(()),
            }
        });
    tokio::time::sleep(secs(600)).await;
    let copies = letters(&cluster).len();
    assert!((10..20).contains(&copies), "{copies}");
    drop(running.stop().await);
    assert_eq!(committed_offsets(&cluster).await[0], (0, 7));
}

/// A pattern may match the name of a dead-letter topic of another cluster, which is not read.
#[tokio::test(start_paused = true)]
async fn letters_to_another_cluster_may_have_a_topic_that_the_pattern_matches() {
    let (cluster, elsewhere) = (cluster().await, cluster().await);
    let told = format!("elsewhere:{}", elsewhere.port(1).unwrap());
    let letters_to = dead_letters_to("orders.dlq", &elsewhere).property("bootstrap.servers", told);
    let worker = worker(&cluster).subscribe_patterns(["orders.*"]).dead_letters(letters_to);
    let running = Running::start(worker, |record, _| async move {
        if record.offset() == 7 { Err(Failure::poison("no")) } else { Ok(()) }
    });
    running.until("they are there", |running| running.handle.metrics().dead_lettered == 3).await;
    assert!(running.stop().await.is_clean());
    assert_eq!((letters(&cluster).len(), letters(&elsewhere).len()), (0, 3));
}

/// Whether their topic exists is a matter of that cluster.
#[tokio::test(start_paused = true)]
async fn letters_to_another_cluster_are_waited_for_at_the_end() {
    let (here, elsewhere) = (cluster().await, cluster().await);
    elsewhere.create_topic("theirs.dlq", 2).unwrap();
    elsewhere.inject(FaultRule::on(ApiKey::Produce, Fault::Delay(secs(1))).topic("theirs.dlq"));
    let told = format!("elsewhere:{}", elsewhere.port(1).unwrap());
    let letters_to = dead_letters_to("theirs.dlq", &elsewhere).property("bootstrap.servers", told);
    let worker = worker(&here).order(Order::Unordered).dead_letters(letters_to);
    let running = Running::start(worker, |record, _| async move {
        if record.offset() == RECORDS - 1 { Err(Failure::poison("no")) } else { Ok(()) }
    });
    running
        .until("they are on their way", |running| running.handle.metrics().writing_dead_letters == 3)
        .await;
    let summary = running.stop().await;
    assert!(summary.is_clean() && summary.dead_lettered == 3, "{summary:?}");
    assert_eq!(committed_offsets(&here).await, everything());
}
