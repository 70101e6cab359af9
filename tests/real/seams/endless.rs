//! `Duration::MAX` is a common way to write "however long it takes": it never causes a panic, in a call or in the
//! configuration.

use std::time::Duration;

use offtake::{CloseOptions, Config, OffsetAndMetadata, Position, StartAt};
use offtake_tests::{V4_3_0, shared, unique};

use super::{PATIENCE, member};
use crate::library::{A_MOMENT, Read, at, filled, program, take};

const EVER: Duration = Duration::MAX;

#[test]
fn seam9_every_call_may_take_for_ever() {
    program(async {
        let of = shared(V4_3_0);
        let topic = filled(of, 1, 20, "none");
        let group = unique("group");
        let builder = member(of, &group).property("max.poll.records", "5");
        let mut consumer = builder.build().await.unwrap();
        consumer.subscribe([topic.as_str()]).await.unwrap();
        let handle = consumer.handle();
        let place = at(&topic, 0);
        let records = consumer.poll(EVER).await.unwrap();
        consumer.commit_within(&records, EVER).await.unwrap();
        drop(consumer.poll(EVER).await.unwrap());
        consumer.commit_finished_within(EVER).await.unwrap();
        let five = || [(place.clone(), OffsetAndMetadata::from(Position::at(5)))];
        consumer.commit_offsets_within(five(), EVER).await.unwrap();
        handle.commit_offsets_within(five(), EVER).await.unwrap();
        drop(consumer.poll_batches(EVER).await.unwrap());
        // And while it waits for ever it can be woken.
        consumer.seek(place.clone(), StartAt::Latest).await.unwrap();
        let wake = tokio::spawn(async move {
            tokio::time::sleep(A_MOMENT).await;
            handle.wake().unwrap();
        });
        assert!(consumer.poll(EVER).await.unwrap().is_empty());
        wake.await.unwrap();
        consumer.close(EVER).await.unwrap();

        let mut consumer = member(of, &group).build().await.unwrap();
        consumer.subscribe([topic.as_str()]).await.unwrap();
        drop(consumer.poll(A_MOMENT).await.unwrap());
        consumer.close_with(CloseOptions::timeout(EVER)).await.unwrap();
    });
}

/// A limit that is set to none.
type Set = (&'static str, fn(&mut Config));

const SETTINGS: [Set; 12] = [
    ("default_api_timeout", |config| config.client.default_api_timeout = EVER),
    ("request_timeout", |config| config.client.request_timeout = EVER),
    ("metadata_max_age", |config| config.client.metadata_max_age = EVER),
    ("max_poll_interval", |config| config.max_poll_interval = EVER),
    ("auto_commit_interval", |config| config.auto_commit_interval = EVER),
    ("retry_backoff", |config| (config.client.retry_backoff, config.client.retry_backoff_max) = (EVER, EVER)),
    ("retry_backoff_max", |config| config.client.retry_backoff_max = EVER),
    ("reconnect_backoff", |config| {
        (config.client.reconnect_backoff, config.client.reconnect_backoff_max) = (EVER, EVER)
    }),
    ("connections_max_idle", |config| config.client.connections_max_idle = Some(EVER)),
    ("socket_connection_setup_timeout", |config| {
        config.client.socket_connection_setup_timeout = EVER;
        config.client.socket_connection_setup_timeout_max = EVER;
    }),
    ("socket_connection_setup_timeout_max", |config| {
        config.client.socket_connection_setup_timeout_max = EVER
    }),
    ("metadata_recovery_rebootstrap_trigger", |config| {
        config.client.metadata_recovery_rebootstrap_trigger = EVER
    }),
];

/// Each of them alone, in both protocols: it reads, asks, commits and closes.
#[test]
fn seam9_every_limit_may_be_for_ever() {
    program(async {
        let of = shared(V4_3_0);
        let topic = filled(of, 1, 10, "none");
        let place = at(&topic, 0);
        for protocol in ["classic", "consumer"] {
            for (name, set) in SETTINGS {
                let what = format!("{name} with {protocol}");
                let group = unique("group");
                let builder = member(of, &group).property("group.protocol", protocol).configure(set);
                let mut consumer = builder.build().await.unwrap_or_else(|error| panic!("{what}: {error}"));
                consumer.subscribe([topic.as_str()]).await.unwrap();
                let mut read = Read::new();
                while read.values().map(Vec::len).sum::<usize>() < 10 {
                    let records = consumer.poll(PATIENCE).await;
                    let records = records.unwrap_or_else(|error| panic!("{what}: {error}"));
                    assert!(!records.is_empty(), "{what}: nothing comes");
                    take(&mut read, &records);
                    consumer.commit(&records).await.unwrap_or_else(|error| panic!("{what}: {error}"));
                }
                let ends = consumer.end_offsets([place.clone()]).await;
                assert_eq!(ends.unwrap_or_else(|error| panic!("{what}: {error}"))[&place], 10);
                let committed = consumer.committed([place.clone()]).await;
                assert_eq!(committed.unwrap_or_else(|error| panic!("{what}: {error}"))[&place].offset, 10);
                consumer.commit_finished().await.unwrap_or_else(|error| panic!("{what}: {error}"));
                consumer.close(PATIENCE).await.unwrap_or_else(|error| panic!("{what}: {error}"));
            }
        }
    });
}
