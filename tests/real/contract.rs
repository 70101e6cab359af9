//! An application's treatment of a consumer, on the cluster in a box: it blocks its thread, starves it, is stopped, and
//! panics in a listener. With real threads and a real process; cases for virtual time are in `patience`.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use offtake::{Consumer, Event, Listener, ListenerFuture, Rebalance, Records, Stall};
use offtake_broker::{Cluster, Config, Observed};
use offtake_tests::{Offtake, Oversleep};
use serde_json::json;

use crate::library::{A_MOMENT, program};

async fn cluster() -> Cluster {
    let mut config = Config::default();
    config.observe = true;
    let cluster = Cluster::builder().config(config).topic("orders", 2).start().await.unwrap();
    for value in 0..10_u8 {
        cluster.produce("orders", i32::from(value % 2), None, Some(&[value])).unwrap();
    }
    cluster
}

/// The members that were removed from the group, by reason.
fn gone(cluster: &Cluster) -> Vec<&'static str> {
    cluster.with(|model, _| {
        let mut gone = Vec::new();
        while let Some(observed) = model.poll_observed() {
            if let Observed::MemberGone { why, .. } = observed {
                gone.push(why);
            }
        }
        gone
    })
}

/// M3, LIVE6, BUG28: the handler holds its thread for longer than the session lasts.
#[test]
fn m3_a_handler_that_blocks_its_thread_costs_no_membership() {
    program(async {
        let cluster = cluster().await;
        let told = Arc::new(Mutex::new(Vec::new()));
        let events = told.clone();
        let mut consumer = Consumer::builder(cluster.bootstrap())
            .group("m3")
            .property("auto.offset.reset", "earliest")
            .property("session.timeout.ms", "6000")
            .property("heartbeat.interval.ms", "500")
            .events(move |event| events.lock().unwrap().push(event))
            .build()
            .await
            .unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        let mut read = 0;
        while read < 10 {
            read += consumer.poll(A_MOMENT).await.unwrap().len();
        }
        std::thread::sleep(Duration::from_secs(8));
        cluster.produce("orders", 0, None, Some(b"after")).unwrap();
        while consumer.poll(A_MOMENT).await.unwrap().is_empty() {}
        consumer.commit_finished().await.unwrap();
        assert_eq!(gone(&cluster), Vec::<&str>::new());
        let told = told.lock().unwrap();
        assert!(!told.iter().any(|event| matches!(event, Event::Lost(_) | Event::Revoked(_))), "{told:?}");
    });
}

/// The cluster, on threads of its own; and a runtime with one thread for the application.
fn apart() -> (tokio::runtime::Runtime, Cluster, tokio::runtime::Runtime) {
    let theirs = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let cluster = theirs.block_on(cluster());
    let ours = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    (theirs, cluster, ours)
}

/// `max.poll.interval.ms` where it is to be exceeded.
const LIMIT: Duration = Duration::from_secs(4);

async fn impatient(cluster: &Cluster, told: &Arc<Mutex<Vec<Event>>>) -> Consumer {
    let events = told.clone();
    let mut consumer = Consumer::builder(cluster.bootstrap())
        .group("m1")
        .property("auto.offset.reset", "earliest")
        .property("max.poll.interval.ms", LIMIT.as_millis())
        .events(move |event| events.lock().unwrap().push(event))
        .build()
        .await
        .unwrap();
    consumer.subscribe(["orders"]).await.unwrap();
    let mut read = 0;
    while read < 10 {
        read += consumer.poll(A_MOMENT).await.unwrap().len();
    }
    consumer
}

/// The causes in the warnings, and those of the removals.
fn stalls(told: &Arc<Mutex<Vec<Event>>>) -> (Vec<Stall>, Vec<Stall>) {
    let (mut warned, mut exceeded) = (Vec::new(), Vec::new());
    for event in told.lock().unwrap().iter() {
        match event {
            Event::PollIntervalWarning { stall, limit, .. } if *limit == LIMIT => warned.push(*stall),
            Event::PollIntervalExceeded { stall, limit, .. } if *limit == LIMIT => exceeded.push(*stall),
            _ => {}
        }
    }
    (warned, exceeded)
}

/// The same, once there are this many removals: the engine may be late on a busy machine.
fn stalls_after(told: &Arc<Mutex<Vec<Event>>>, removals: usize) -> (Vec<Stall>, Vec<Stall>) {
    let began = std::time::Instant::now();
    while stalls(told).1.len() < removals && began.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(20));
    }
    stalls(told)
}

/// Whether the machine did not run this process for a while: it was stopped, and may be told so; a warning may be left out.
fn stood_still(machine: &Oversleep) -> bool {
    machine.worst() > Duration::from_millis(300)
}

fn assert_causes(found: &[Stall], wanted: &[Stall], machine: &Oversleep) {
    let stood_still = stood_still(machine);
    let is = |(found, wanted): (&Stall, &Stall)| {
        found == wanted || (stood_still && matches!(found, Stall::Stopped { .. }))
    };
    assert!(
        found.len() == wanted.len() && found.iter().zip(wanted).all(is),
        "{found:?}, not {wanted:?}; a thread overslept by {:?}",
        machine.worst()
    );
}

/// M1, M3: the runtime has one thread, and the handler blocks it.
#[test]
fn m3_a_handler_that_blocks_its_runtime_is_told_from_one_that_is_slow() {
    let (_theirs, cluster, ours) = apart();
    let (told, machine) = (Arc::default(), Oversleep::new());
    let mut consumer = ours.block_on(impatient(&cluster, &told));
    let (warned, exceeded) = ours.block_on(async {
        std::thread::sleep(LIMIT + LIMIT / 4);
        stalls_after(&told, 1)
    });
    if !(warned.is_empty() && stood_still(&machine)) {
        assert_causes(&warned, &[Stall::Blocked], &machine);
    }
    assert_causes(&exceeded, &[Stall::Blocked], &machine);
    // It polls again, and awaits something else for too long: the runtime runs.
    ours.block_on(async {
        while consumer.poll(A_MOMENT).await.unwrap().is_empty() {}
        let began = std::time::Instant::now();
        while stalls(&told).1.len() < 2 && began.elapsed() < Duration::from_secs(30) {
            tokio::time::sleep(LIMIT / 4).await;
        }
    });
    assert_causes(&stalls(&told).1, &[Stall::Blocked, Stall::Handler], &machine);
}

/// M1: another task blocks the thread, while there are records for the `poll` that waits.
#[test]
fn m1_a_poll_that_its_runtime_does_not_run_is_told_from_a_handler() {
    let (_theirs, cluster, ours) = apart();
    let (told, machine) = (Arc::default(), Oversleep::new());
    let mut consumer = ours.block_on(impatient(&cluster, &told));
    ours.block_on(async {
        let polling =
            tokio::spawn(async move { consumer.poll(LIMIT * 10).await.map(|records| records.len()) });
        // It waits for longer than a handler may take, without consequences.
        tokio::time::sleep(LIMIT + LIMIT / 4).await;
        assert_eq!(stalls(&told), (vec![], vec![]));
        cluster.produce("orders", 0, None, Some(b"more")).unwrap();
        std::thread::sleep(LIMIT + LIMIT / 2);
        let (warned, exceeded) = stalls_after(&told, 1);
        if !(warned.is_empty() && stood_still(&machine)) {
            assert_causes(&warned, &[Stall::Starved], &machine);
        }
        assert_causes(&exceeded, &[Stall::Starved], &machine);
        assert!(polling.await.unwrap().unwrap() > 0, "it joins again, and reads");
    });
}

/// The settings of the member in a process of its own.
const SESSION: Duration = Duration::from_secs(6);
const ITS_LIMIT: Duration = Duration::from_secs(9);

/// Not a test: the process that stops itself in the next one.
#[test]
#[ignore = "run by the test after it"]
fn a_member_in_a_process() {
    let say = |what: serde_json::Value| println!("\n{what}");
    program(async {
        let mut consumer = Consumer::builder(std::env::var("BOOTSTRAP").unwrap())
            .group("m4")
            .property("auto.offset.reset", "earliest")
            .property("enable.auto.commit", "false")
            .property("session.timeout.ms", SESSION.as_millis())
            .property("heartbeat.interval.ms", "500")
            .property("max.poll.interval.ms", ITS_LIMIT.as_millis())
            .events(move |event| say(json!({"event": format!("{event:?}")})))
            .build()
            .await
            .unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        let mut held: Vec<Records> = Vec::new();
        while held.iter().map(Records::len).sum::<usize>() < 10 {
            held.push(consumer.poll(A_MOMENT).await.unwrap());
        }
        held.retain(|records| !records.is_empty());
        say(json!({"held": true}));
        // A handler, which notices that time has passed. It stops its own process: on a busy machine another might be late.
        let mut last = std::time::Instant::now();
        let itself = std::process::id().to_string();
        std::process::Command::new("kill").args(["-STOP", &itself]).status().unwrap();
        while last.elapsed() < SESSION {
            last = std::time::Instant::now();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for records in &held {
            let committed = consumer.commit(records).await;
            say(json!({"commit": committed.map_err(|error| format!("{:?}", error.kind())).err()}));
        }
        say(json!({"committed": true}));
        let mut again = 0;
        while again < 10 {
            again += consumer.poll(A_MOMENT).await.unwrap().len();
        }
        consumer.commit_finished().await.unwrap();
        say(json!({"read": again, "owned": consumer.assignment().len()}));
        consumer.close(Duration::from_secs(5)).await.unwrap();
    });
}

/// M4: records handed out before the process was stopped are committed afterwards only if the partition is still its own.
#[test]
fn m4_a_process_that_was_stopped_past_its_session_commits_nothing_and_says_what_happened() {
    let (_theirs, cluster, _) = apart();
    let patience = Duration::from_secs(30);
    let child = Offtake::new(["--ignored", "--exact", "contract::a_member_in_a_process", "--nocapture"])
        .instead(std::env::current_exe().unwrap())
        .env("BOOTSTRAP", cluster.bootstrap())
        .start();
    child.wait_json(patience, |line| line["held"] == true);
    // On a busy machine it takes a while until the process is stopped, and until the broker looks at its session.
    let deadline = std::time::Instant::now() + patience;
    let goes_on = || std::time::Instant::now() < deadline;
    let stat = format!("/proc/{}/stat", child.id());
    while goes_on() && !std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T ")) {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(ITS_LIMIT + Duration::from_secs(1));
    let mut why = gone(&cluster);
    while why.is_empty() && goes_on() {
        std::thread::sleep(Duration::from_millis(20));
        why = gone(&cluster);
    }
    assert_eq!(why, ["session"], "the group has gone on without it");
    child.signal("CONT");
    child.wait_json(patience, |line| line["committed"] == true);
    // Before it is assigned them again.
    let committed = cluster.with(|model, _| {
        let observed = std::iter::from_fn(|| model.poll_observed());
        let mut before = observed.take_while(|seen| !matches!(seen, Observed::Assigned { .. }));
        before.any(|seen| matches!(seen, Observed::Committed { .. }))
    });
    assert!(!committed, "nothing of the old membership reached the coordinator");
    let finished = child.finish(patience);
    assert_eq!(finished.code, Some(0), "{:#?}", finished.stderr);
    let lines =
        finished.stdout.iter().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let lines: Vec<_> = lines.collect();
    let commits: Vec<_> = lines.iter().filter(|line| line.get("commit").is_some()).collect();
    assert!(!commits.is_empty() && commits.iter().all(|line| line["commit"] == "NotOwned"), "{commits:?}");
    let said =
        |what: &str| lines.iter().any(|line| line["event"].as_str().is_some_and(|of| of.starts_with(what)));
    assert!(said("ProcessStopped"), "{lines:#?}");
    let exceeded = lines.iter().filter_map(|line| line["event"].as_str());
    let exceeded: Vec<_> = exceeded.filter(|event| event.starts_with("PollIntervalExceeded")).collect();
    assert!(matches!(exceeded[..], [one] if one.contains("Stopped")), "{exceeded:?}");
    assert!(lines.iter().any(|line| line["read"] == 10 && line["owned"] == 2), "{lines:#?}");
}

/// Panics in its first call.
struct Panics(Arc<AtomicUsize>);

impl Listener for Panics {
    fn assigned(&self, _: Rebalance) -> ListenerFuture {
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            assert!(before > 0, "the first call goes wrong");
            Ok(())
        })
    }
}

/// D9: it is returned by `poll` as an error, once, and the rebalance continues.
#[test]
fn d9_a_listener_that_panics_fails_one_poll_and_nothing_else() {
    program(async {
        let cluster = cluster().await;
        let calls = Arc::new(AtomicUsize::new(0));
        let mut consumer = Consumer::builder(cluster.bootstrap())
            .group("d9")
            .property("auto.offset.reset", "earliest")
            .listener(Panics(calls.clone()))
            .build()
            .await
            .unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        let (mut read, mut failed) = (0, Vec::new());
        while read < 10 {
            match consumer.poll(A_MOMENT).await {
                Ok(records) => read += records.len(),
                Err(error) => failed.push(error.to_string()),
            }
        }
        assert_eq!(failed.len(), 1, "{failed:?}");
        assert!(failed[0].contains("panicked"), "{failed:?}");
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        consumer.close(Duration::from_secs(5)).await.unwrap();
        assert_eq!(gone(&cluster), ["left"]);
    });
}
