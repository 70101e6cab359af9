//! Sends the same requests to real Kafka and to the cluster in the box, and compares every field of every answer.
//!
//! A script ([`scripts`]) is a conversation over some connections. It runs once with a real broker and once with the
//! box. Values that naturally differ (ids, ports, the time of day) are replaced by symbols in the order of their first
//! appearance, so that later answers must be consistent with earlier ones. All other allowed differences are listed in
//! [`allowed`], with reasons.
//!
//! `DIFFERENTIAL=name` runs only the scripts whose names contain that. `DIFFERENTIAL_REAL=file` stores real Kafka's
//! answers in that file, and reads them from there if it exists: for work on the box.
mod allowed;
mod batch;
mod cluster;
mod compare;
mod conversation;
mod dump;
mod scripts;

use std::path::PathBuf;

use allowed::ALLOWED;
use cluster::{Boxed, Cluster, Real};
use compare::{Compared, compare};
use conversation::{Conversation, Entry};
use offtake_broker::Config;
use offtake_tests::Kafka;

fn real() -> Kafka {
    // The support library's brokers have short timeouts; here they have Kafka's defaults, as the box does.
    Kafka::builder()
        .property("group.min.session.timeout.ms", 6000)
        .property("group.consumer.heartbeat.interval.ms", 5000)
        .property("group.consumer.min.heartbeat.interval.ms", 5000)
        .property("group.consumer.session.timeout.ms", 45_000)
        .property("group.consumer.min.session.timeout.ms", 45_000)
        .property("message.max.bytes", 1_048_588)
        // KIP-1263: assignments are made at once, not a second later on a separate thread.
        .property("group.consumer.assignment.interval.ms", 0)
        .property("group.consumer.assignor.offload.enable", false)
        .property("transaction.abort.timed.out.transaction.cleanup.interval.ms", 200)
        .start()
}

fn held_with(cluster: impl Cluster + 'static) -> Vec<Entry> {
    let wanted = std::env::var("DIFFERENTIAL").unwrap_or_default();
    let mut conversation = Conversation::with(cluster);
    for (name, script) in scripts::ALL.iter().filter(|(name, _)| name.contains(&wanted)) {
        (*name).clone_into(&mut conversation.script);
        script(&mut conversation);
    }
    conversation.transcript
}

fn held_with_real() -> Vec<Entry> {
    let file = std::env::var_os("DIFFERENTIAL_REAL").map(PathBuf::from);
    if let Some(text) = file.as_ref().and_then(|file| std::fs::read_to_string(file).ok()) {
        let wanted = std::env::var("DIFFERENTIAL").unwrap_or_default();
        return compare::read(&text).into_iter().filter(|entry| entry.script.contains(&wanted)).collect();
    }
    let kafka = real();
    let transcript = held_with(Real::at(kafka.broker(1).port()));
    if let Some(file) = file {
        std::fs::write(file, compare::write(&transcript)).unwrap();
    }
    transcript
}

fn report(compared: &Compared) {
    for difference in &compared.differences {
        println!("{difference}");
    }
    println!("{} answers, {} different", compared.answers, compared.differences.len());
    assert!(compared.differences.is_empty(), "{} answers differ", compared.differences.len());
}

#[test]
fn kafka_4_3_and_the_box_answer_the_same() {
    let real = held_with_real();
    let mut config = Config::default();
    config.wall_ms = batch::today();
    config.racks = vec!["rack-1".to_owned()]; // like every real broker of these tests
    let boxed = held_with(Boxed::new(config));
    let compared = compare(&real, &boxed, ALLOWED);
    println!("What may differ:");
    for (at, entry) in ALLOWED.iter().enumerate() {
        let times = compared.used.iter().filter(|used| **used == at).count();
        println!("  {} {}: {} ({times} times)", entry.api, entry.path, entry.reason);
    }
    report(&compared);
    if std::env::var_os("DIFFERENTIAL").is_none() {
        let idle: Vec<_> =
            (0..ALLOWED.len()).filter(|at| !compared.used.contains(at)).map(|at| &ALLOWED[at]).collect();
        assert!(idle.is_empty(), "nothing needs these permissions: {idle:#?}");
    }
}

/// Two runs of real Kafka agree: the compared values do not change by themselves.
#[test]
#[ignore = "for work on the scripts, and in scripts/test full: two boots of Kafka"]
fn kafka_answers_the_same_twice() {
    let one = held_with_real();
    let kafka = real();
    let two = held_with(Real::at(kafka.broker(1).port()));
    // Messages may contain the time.
    report(&compare(&one, &two, &ALLOWED[..1]));
}
