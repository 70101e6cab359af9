//! Each example does what it is there to show.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use offtake_broker::NewRecord;

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
    assert_eq!(count, 3, "each has a test here");
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

#[tokio::test(start_paused = true)]
async fn what_is_no_number_is_dead_lettered() {
    // Its worker has the real clock: the cluster takes no timestamps of a day to come.
    let mut config = offtake_broker::Config::default();
    config.wall_ms = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis().try_into().unwrap();
    let cluster = cluster_with(config).await;
    cluster.append("orders", 1, &[NewRecord::new("no number"), NewRecord::new("7")]).unwrap();
    let letters_to = crate::support::dead_letters(&cluster);
    let summary = dead_letters::run(builder(&cluster), letters_to, a_while()).await.unwrap();
    assert_eq!((summary.handled, summary.dead_lettered), (all().len() as u64 + 1, 1));
    assert_eq!(letters(&cluster)[0].value.as_deref(), Some(&b"no number"[..]));
}
