//! The settings of a worker, and the errors for invalid ones.

use std::time::Duration;

use offtake::Consumer;
use offtake_broker::{ApiKey, Fault, FaultRule};
use offtake_worker::{
    Breaker, BreakerState, DeadLetters, Error, Event, Failure, Order, Retry, Transactions, Worker,
};

use crate::support::*;

async fn refusal(worker: Worker) -> String {
    match worker.run(|_, _| async { Ok(()) }, std::future::pending::<()>()).await {
        Err(Error::Client(error)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn invalid_options_are_refused_in_one_sentence() {
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
        (of_orders(plain()).breaker(Breaker::open_at(1.0).of_last(1)), "`Breaker::of_last` is 1"),
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
        (
            of_orders(plain()).retry(Retry::never().then_topics([("r", secs(1))])),
            "`Order::Unordered`, or `Retry::allow_reordering`; a record that has passed all retry topics goes to the dead letter topic",
        ),
        (
            of_orders(plain()).order(Order::Unordered).dead_letters(DeadLetters::to("r")).retry(
                Retry::never().then_topics([("r", secs(1)), ("orders", secs(1)), ("orders", secs(2))]),
            ),
            "`r` is a retry topic, and would get the dead letters of its own records; `orders` is a retry topic: it is read without being subscribed to; the retry topic `orders` is given twice",
        ),
        (
            of_orders(plain())
                .order(Order::Unordered)
                .dead_letters(DeadLetters::to("d"))
                .retry(Retry::never().then_topics([("a b", secs(1))])),
            "the topic for retries cannot be `a b`",
        ),
        (of_orders(plain()).transactional(""), "transactional.id"),
        (
            of_orders(plain()).transactional("a").dead_letters(DeadLetters::to("d").property("linger.ms", 1)),
            "set its properties with `Transactions`",
        ),
        (
            of_orders(plain().property("isolation.level", "read_uncommitted"))
                .transactional("a")
                .order(Order::Unordered)
                .dead_letters(DeadLetters::to("d"))
                .retry(Retry::never().then_topics([("r", secs(1))])),
            "with `isolation.level=read_committed`",
        ),
        (
            Worker::new(plain())
                .subscribe_patterns(["payments", "orders.*"])
                .dead_letters(DeadLetters::to("orders.dlq")),
            "the pattern `orders.*` matches `orders.dlq`",
        ),
        (Worker::new(plain()).subscribe(["^orders-"]), "subscribe_patterns"),
        (
            of_orders(plain())
                .order(Order::Unordered)
                .dead_letters(DeadLetters::to("d").property("bootstrap.servers", "elsewhere:1"))
                .retry(Retry::never().then_topics([("r", secs(1))])),
            "leave out its `bootstrap.servers`",
        ),
        (Worker::new(plain()).subscribe_patterns(["("]), "`(` is not a valid regular expression"),
    ] {
        let said = refusal(worker).await;
        assert!(said.contains(says), "{said:?} does not say {says:?}");
    }
    let error =
        of_orders(plain()).run_batches(0, |_| async { Err(Failure::fatal("")) }, async {}).await.unwrap_err();
    assert!(error.to_string().contains("the batch size is 0"), "{error}");
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

#[tokio::test(start_paused = true)]
async fn an_endless_wait_is_reported() {
    let nowhere = offtake::dial::InMemory::new(|_| {
        Err::<tokio::io::DuplexStream, _>(std::io::Error::other("no way there"))
    });
    let builder = Consumer::builder("localhost:1").group("job").dial(nowhere);
    let worker = Worker::new(builder.spawn_on(tokio::runtime::Handle::current())).subscribe("orders");
    let running = Running::start(worker, |_, _| async { Ok(()) });
    let is_told = |event: &Event| matches!(event, Event::Unreachable { why } if !why.is_empty());
    running.until("it is told", |running| running.events().iter().any(is_told)).await;
    tokio::time::sleep(secs(30)).await;
    assert_eq!(running.events().iter().filter(|event| is_told(event)).count(), 1, "once");
    drop(running.stop().await);

    // A transactional worker waits for its producer first.
    let builder = Consumer::builder("localhost:1").group("job").dial(offtake::dial::InMemory::new(|_| {
        Err::<tokio::io::DuplexStream, _>(std::io::Error::other("no way there"))
    }));
    let by = Transactions::by("a").producer(|builder| {
        let nowhere = offtake_producer::dial::InMemory::new(|_| {
            Err::<tokio::io::DuplexStream, _>(std::io::Error::other("no way there"))
        });
        builder.dial(nowhere).spawn_on(tokio::runtime::Handle::current())
    });
    let worker = Worker::new(builder.spawn_on(tokio::runtime::Handle::current()));
    let running = Running::start(worker.subscribe("orders").transactional(by), |_, _| async { Ok(()) });
    let before = tokio::time::Instant::now();
    running.until("it is told", |running| running.events().iter().any(is_told)).await;
    assert!(before.elapsed() < secs(10), "{:?}", before.elapsed());
    drop(running.stop().await);

    let cluster = cluster().await;
    let worker = crate::support::worker(&cluster).subscribe(["orders", "no.such.topic"]);
    let worker = worker.dead_letters(dead_letters_to("no.such.dlq", &cluster));
    let running = Running::start(worker, |_, _| async { Ok(()) });
    for topic in ["no.such.topic", "no.such.dlq"] {
        running
            .until("it is told", |running| {
                let events = running.events();
                events
                    .iter()
                    .any(|event| matches!(event, Event::Error(error) if error.to_string().contains(topic)))
            })
            .await;
    }
    assert!(running.stop().await.is_clean());
}

/// Nothing is fetched: the breaker is open, or the worker is joining.
#[tokio::test(start_paused = true)]
async fn brokers_that_are_gone_are_reported_by_a_worker_that_fetches_nothing() {
    for is_joining in [false, true] {
        let cluster = cluster().await;
        if is_joining {
            cluster.inject(FaultRule::on(ApiKey::JoinGroup, Fault::Hold));
        }
        let breaker = Breaker::open_at(0.1).of_last(10).pause(Duration::MAX);
        let worker = worker(&cluster).retry(Retry::fixed(secs(1)).unlimited()).breaker(breaker);
        let running = Running::start(worker, |_, _| async { Err(Failure::retry("always")) });
        let count = |running: &Running, is_meant: fn(&Event) -> bool| {
            running.events().iter().filter(|event| is_meant(event)).count()
        };
        let is_open = |event: &Event| matches!(event, Event::Breaker { state: BreakerState::Open });
        if !is_joining {
            running.until("its breaker is open", |running| count(running, is_open) == 1).await;
        }
        tokio::time::sleep(secs(10)).await;
        for times in 1..=3 {
            let began = tokio::time::Instant::now();
            cluster.crash(1);
            cluster.crash(2);
            let is_gone = |event: &Event| matches!(event, Event::Unreachable { .. });
            running.until("it is told", |running| count(running, is_gone) == times).await;
            assert!(began.elapsed() < secs(10), "joining: {is_joining}: {:?}", began.elapsed());
            let began = tokio::time::Instant::now();
            cluster.restart(1);
            cluster.restart(2);
            let is_back = |event: &Event| matches!(event, Event::Reachable);
            running.until("it is told", |running| count(running, is_back) == times).await;
            assert!(began.elapsed() < secs(10), "joining: {is_joining}: {:?}", began.elapsed());
            tokio::time::sleep(secs(10)).await;
        }
        drop(running.stop().await);
    }
}

#[tokio::test(start_paused = true)]
async fn no_pause_and_no_delay_is_no_hot_loop() {
    let cluster = cluster().await;
    let attempts = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&attempts);
    let worker = worker(&cluster)
        .retry(Retry::fixed(Duration::ZERO).unlimited())
        .breaker(Breaker::open_at(0.1).of_last(1000).pause(Duration::ZERO))
        .concurrency(1);
    let running = Running::start(worker, move |_, _| {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        async { Err(Failure::retry("always")) }
    });
    tokio::time::sleep(secs(20)).await;
    drop(running.stop().await);
    let attempts = attempts.load(std::sync::atomic::Ordering::Relaxed);
    // A thousand until the breaker opens; then one each 10 ms.
    assert!((1000..1000 + 2001).contains(&attempts), "{attempts}");
}
