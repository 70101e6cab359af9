//! What a worker is told, and what is said of what makes no sense.

use std::time::Duration;

use offtake::Consumer;
use offtake_worker::{Breaker, DeadLetters, Error, Failure, Retry, Worker};

use crate::support::*;

async fn refusal(worker: Worker) -> String {
    match worker.run(|_, _| async { Ok(()) }, std::future::pending::<()>()).await {
        Err(Error::Client(error)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_is_refused_in_one_sentence() {
    let plain = || Consumer::builder("localhost:1").group("job");
    let of_orders = |builder| Worker::new(builder).subscribe("orders");
    for (worker, says) in [
        (Worker::new(plain()), "nothing is subscribed to"),
        (of_orders(Consumer::builder("localhost:1")), "a worker needs a `group.id`"),
        (of_orders(plain().enable_auto_commit(true)), "leave `enable.auto.commit` out"),
        (of_orders(plain().finish_each()), "leave out `finish_each`"),
        (of_orders(plain().property("acks", "1")), "property `acks` is a producer's"),
        (of_orders(plain()).concurrency(0), "`concurrency` is 0"),
        (
            of_orders(plain()).queue(0).queue_bytes(0),
            "`queue` is 0: nothing could wait for a handler; `queue_bytes` is 0",
        ),
        (of_orders(plain()).retry(Retry::never().attempts(0)), "`Retry::attempts` is 0"),
        (of_orders(plain()).breaker(Breaker::open_at(0.0)), "a share above 0"),
        (of_orders(plain()).breaker(Breaker::open_at(f64::NAN)), "a share above 0"),
        (of_orders(plain()).breaker(Breaker::open_at(0.5).of_last(0)), "`Breaker::of_last` is 0"),
        (of_orders(plain()).breaker(Breaker::open_at(0.5).probes(0)), "`Breaker::probes` is 0"),
        (
            of_orders(plain()).dead_letters(DeadLetters::to("a b")),
            "the topic of dead letters cannot be `a b`",
        ),
        (of_orders(plain()).dead_letters(DeadLetters::to("d").property("acks", "1")), "with `acks=all`"),
        (
            of_orders(plain()).dead_letters(DeadLetters::to("d").property("enable.idempotence", false)),
            "an idempotent producer",
        ),
        (of_orders(plain()).dead_letters(DeadLetters::to("d").property("group.id", "x")), "group.id"),
        (
            of_orders(plain()).dead_letters(DeadLetters::to("orders")),
            "`orders` is read, and would get the dead letters",
        ),
        (Worker::new(plain()).subscribe_patterns(["("]), "`(` is no regular expression"),
    ] {
        let said = refusal(worker).await;
        assert!(said.contains(says), "{said:?} does not say {says:?}");
    }
    let error =
        of_orders(plain()).run_batches(0, |_| async { Err(Failure::fatal("")) }, async {}).await.unwrap_err();
    assert!(error.to_string().contains("a batch of 0"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn extremes_are_no_panic() {
    let cluster = cluster().await;
    let ledger = Ledger::default();
    let worker = worker(&cluster)
        .concurrency(usize::MAX)
        .queue(usize::MAX)
        .queue_bytes(usize::MAX)
        .timeout(Duration::MAX)
        .grace(Duration::MAX)
        .close_timeout(secs(3600))
        .commit_interval(Duration::ZERO)
        .metadata_bytes(0)
        .retry(Retry::exponential(Duration::MAX..Duration::MAX).jitter().unlimited())
        .breaker(Breaker::open_at(1.0).of_last(usize::MAX).pause(Duration::MAX));
    let handler = ledger.around(|record, _| async move {
        if record.offset() == 39 { Err(Failure::retry("for ever")) } else { Ok(()) }
    });
    let running = Running::start(worker, handler);
    running.until("the others are done", |_| ledger.done().len() == all().len() - 3).await;
    let summary = running.stop().await;
    assert!(summary.is_clean() && summary.retried == 3, "{summary:?}");

    let least = Ledger::default();
    let worker = crate::support::worker_of(builder(&cluster).group("least"))
        .concurrency(1)
        .queue(1)
        .queue_bytes(1)
        .metadata_bytes(1)
        .commit_interval(Duration::MAX);
    let running = Running::start(worker, least.around(|_, _| async { Ok(()) }));
    running.until("all is done, one at a time", |_| least.done().len() == all().len()).await;
    assert!(running.stop().await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn topics_may_be_patterns_and_a_function_that_takes_events_may_panic() {
    let cluster = cluster().await;
    let ledger = Ledger::default();
    let worker = worker(&cluster).subscribe_patterns(["ord.*s"]).events(|_| panic!("no"));
    let handle = worker.handle();
    let task = tokio::spawn(worker.run(ledger.around(|_, _| async { Ok(()) }), std::future::pending::<()>()));
    while ledger.done().len() < all().len() {
        assert!(!task.is_finished());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    handle.stop();
    assert!(task.await.unwrap().unwrap().is_clean());
}
