//! Each example does what it demonstrates.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use offtake_broker::{Cluster, NewRecord};
use offtake_worker::Transactions;

use crate::support::*;

#[allow(dead_code, unreachable_pub)]
#[path = "../../examples/at_least_once.rs"]
mod at_least_once;
#[allow(dead_code, unreachable_pub)]
#[path = "../../examples/at_most_once.rs"]
mod at_most_once;
#[allow(dead_code, unreachable_pub)]
#[path = "../../examples/dead_letters.rs"]
mod dead_letters;

#[allow(dead_code, unreachable_pub)]
#[path = "../../examples/exactly_once.rs"]
mod exactly_once;

#[test]
fn an_example_is_short() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    let mut count = 0;
    for example in std::fs::read_dir(folder).unwrap() {
        let path = example.unwrap().path();
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 60, "{} has {lines} lines", path.display());
        count += 1;
    }
    assert_eq!(count, 5, "each has a test here, and `postgres_sink` in `tests/real/working.rs`");
}

async fn a_while() {
    tokio::time::sleep(Duration::from_secs(20)).await;
}

#[tokio::test(start_paused = true)]
async fn at_least_once_handles_all() {
    let cluster = cluster().await;
    let summary = at_least_once::run(builder(&cluster), a_while()).await.unwrap();
    assert_eq!(summary.handled, all().len() as u64);
    assert_eq!(committed_offsets(&cluster).await, everything());
}

#[tokio::test(start_paused = true)]
async fn at_most_once_has_committed_a_record_when_it_is_handled() {
    let cluster = cluster().await;
    let mut handled = BTreeSet::new();
    let note = |record: &offtake::Record<'_>| {
        assert!(handled.insert((record.partition(), record.offset())));
    };
    at_most_once::run(builder(&cluster), note, a_while()).await.unwrap();
    assert_eq!(handled, all());
    assert_eq!(committed_offsets(&cluster).await, everything());
}

/// The examples' workers use the real clock, and the cluster accepts no timestamps a day in the future.
async fn cluster_of_today() -> Cluster {
    let mut config = offtake_broker::Config::default();
    config.wall_ms = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis().try_into().unwrap();
    let cluster = cluster_with(config).await;
    cluster.append("orders", 1, &[NewRecord::new("no number"), NewRecord::new("7")]).unwrap();
    cluster
}

#[tokio::test(start_paused = true)]
async fn each_order_has_its_invoice_once() {
    let cluster = cluster_of_today().await;
    cluster.create_topic("invoices", 1).unwrap();
    let inside = cluster.clone();
    let by = Transactions::by("billing-1").producer(move |builder| {
        let inside = inside.clone();
        let dial = offtake_producer::dial::InMemory::new(move |port| inside.connect(port));
        builder.dial(dial).spawn_on(tokio::runtime::Handle::current())
    });
    let summary = exactly_once::run(builder(&cluster), by, a_while()).await.unwrap();
    assert_eq!((summary.handled, summary.dead_lettered), (all().len() as u64 + 1, 1));
    let invoices = cluster.with(|model, _| model.records("invoices", 0));
    let texts: BTreeSet<_> = invoices.iter().filter_map(|(_, record)| record.value.clone()).collect();
    assert_eq!(texts.len(), all().len() + 1);
    assert_eq!(letters(&cluster).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_is_not_a_number_is_dead_lettered() {
    let cluster = cluster_of_today().await;
    let letters_to = crate::support::dead_letters(&cluster);
    let summary = dead_letters::run(builder(&cluster), letters_to, a_while()).await.unwrap();
    assert_eq!((summary.handled, summary.dead_lettered), (all().len() as u64 + 1, 1));
    assert_eq!(letters(&cluster)[0].value.as_deref(), Some(&b"no number"[..]));
}
