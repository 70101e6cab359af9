//! Sessions that end, and credentials that change, while a group reads.

use std::fs;
use std::time::Duration;

use offtake::security::Sasl;
use offtake_tests::{Oversleep, V4_3_0};

use super::readers::{Readers, produce};
use super::{PASSWORD, SASL_CLEAR, SASL_TLS, Secured};
use crate::flow::Production;

/// How long records are produced before the change, and after it.
const HALF: Duration = Duration::from_secs(10);

/// A group reads for a while with these properties, and `change` is made in the middle.
pub(super) fn all_is_read_once(
    secured: &Secured,
    listener: &str,
    properties: &[(&str, String)],
    change: impl FnOnce(),
) {
    let (topic, production) = produce(secured);
    let readers = Readers::start(secured, Some(listener), "readers", &topic, properties);
    changes_and_finishes(readers, production, change);
}

/// The same with credentials by value.
pub(super) fn all_is_read_once_as(
    secured: &Secured,
    listener: &str,
    sasl: impl Fn() -> Sasl,
    change: impl FnOnce(),
) {
    let (topic, production) = produce(secured);
    let readers = Readers::start_as(secured, listener, "readers", &topic, sasl);
    changes_and_finishes(readers, production, change);
}

fn changes_and_finishes(readers: Readers<'_>, production: Production, change: impl FnOnce()) {
    std::thread::sleep(HALF);
    change();
    std::thread::sleep(HALF);
    readers.finish(&production.stop());
}

/// The longest gap of members with short sessions; a longer one is allowed only where members without sessions have it, too.
const GAP: Duration = Duration::from_millis(200);

/// A group reads for this long with SASL and sessions of three seconds, from three brokers, and another the same
/// without SASL, to separate the effects of the machine and the brokers from those of the sessions.
fn beside_a_group_without_sessions(span: Duration) {
    let secured = Secured::start_with(V4_3_0, |builder| {
        builder.brokers(3).property("listener.name.saslclear.connections.max.reauth.ms", 3000)
    });
    let properties = [
        ("security.protocol", "SASL_PLAINTEXT".to_owned()),
        ("sasl.mechanism", "SCRAM-SHA-256".to_owned()),
        ("sasl.username", "alice".to_owned()),
        ("sasl.password", PASSWORD.to_owned()),
    ];
    let (topic, production) = produce(&secured);
    let machine = Oversleep::new();
    let others = Readers::start(&secured, None, "others", &topic, &[]);
    let readers = Readers::start(&secured, Some(SASL_CLEAR), "readers", &topic, &properties);
    std::thread::sleep(span);
    let log = production.stop();
    let (read, others) = (readers.finish(&log), others.finish(&log));
    let mut later: Vec<Duration> = Vec::new();
    let mut sooner: Vec<Duration> = Vec::new();
    for (which, at) in read.came {
        let without = others.came[&which];
        // Records from before each member had its share show how long joining takes.
        if without > read.settled {
            later.push(at.saturating_duration_since(without));
            sooner.push(without.saturating_duration_since(at));
        }
    }
    for (what, lags) in [("later", &mut later), ("sooner", &mut sooner)] {
        lags.sort_unstable();
        let at = |thousandths: usize| lags[(lags.len() - 1) * thousandths / 1000];
        println!(
            "{what} than without: median {:?}, 99 % {:?}, 99.9 % {:?}, most {:?}",
            at(500),
            at(990),
            at(999),
            at(1000)
        );
    }
    println!("the longest gaps: {:?} with sessions, {:?} without", read.longest_gap, others.longest_gap);
    let bound = GAP.max(2 * others.longest_gap) + machine.allowance();
    assert!(
        read.longest_gap < bound && later.last().is_some_and(|most| *most < bound),
        "{:?}",
        read.longest_gap
    );
}

#[test]
fn sessions_of_three_seconds_are_renewed_under_load_and_nothing_is_lost() {
    beside_a_group_without_sessions(2 * HALF);
}

#[test]
#[ignore = "two minutes; scripts/test full runs it"]
fn sessions_of_three_seconds_are_renewed_for_two_minutes() {
    beside_a_group_without_sessions(Duration::from_secs(120));
}

#[test]
fn a_password_that_is_rotated_is_used_without_a_restart_or_a_rebalance() {
    let secured = Secured::start_with(V4_3_0, |builder| {
        builder.property("listener.name.sasltls.connections.max.reauth.ms", 3000)
    });
    let file = secured.settings("secrets.properties", "password=first\n");
    secured.tool.user("bob", "first", "SCRAM-SHA-512", 4096);
    let properties = [
        ("config.providers", "file".to_owned()),
        ("security.protocol", "SASL_SSL".to_owned()),
        ("ssl.ca.location", secured.path("ca.pem").display().to_string()),
        ("sasl.mechanism", "SCRAM-SHA-512".to_owned()),
        ("sasl.username", "bob".to_owned()),
        ("sasl.password", format!("${{file:{}:password}}", file.display())),
    ];
    // The file first: a session that begins in between fails once, and is retried.
    all_is_read_once(&secured, SASL_TLS, &properties, || {
        fs::write(&file, "password=second\n").unwrap();
        secured.tool.user("bob", "second", "SCRAM-SHA-512", 4096);
    });
}
