//! The collector against the cluster in the box, in virtual time.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails says where")]
#![allow(clippy::disallowed_methods, reason = "virtual time passes")]

mod faults;
mod numbers;
mod offsets_topic;

use std::time::Duration;

use offtake_admin::{Admin, ClientConfig, TopicPartition, dial::InMemory};
use offtake_broker::{Cluster, NewRecord};
use offtake_lag::{Collector, Config, GroupReport, Report};

/// A cluster that uses the test's clock.
struct Box {
    cluster: Cluster,
}

impl Box {
    async fn start(brokers: i32) -> Self {
        // Timestamps of records are compared with this machine's clock, so that the cluster uses it too.
        let mut config = offtake_broker::Config::default();
        config.wall_ms = offtake_client::clock::wall_ms();
        config.brokers = brokers;
        Self { cluster: Cluster::builder().config(config).in_memory().start().await.unwrap() }
    }

    fn admin(&self) -> Admin {
        let config =
            ClientConfig::from_properties([("bootstrap.servers", self.cluster.bootstrap())]).unwrap();
        Admin::with_dial(config, InMemory::new(self.cluster.connector())).unwrap()
    }

    fn collector(&self, config: Config) -> Collector {
        Collector::new(self.admin(), config)
    }

    /// Writes one record for each of these ages in seconds.
    fn write(&self, topic: &str, partition: i32, ages: impl IntoIterator<Item = i64>) {
        for age in ages {
            let stamped = offtake_client::clock::wall_ms() - age * 1000;
            self.cluster.append(topic, partition, &[NewRecord::new("v").timestamp(stamped)]).unwrap();
        }
    }

    async fn commit(&self, group: &str, offsets: &[(&str, i32, i64)]) {
        let mut admin = self.admin();
        let offsets =
            offsets.iter().map(|(topic, partition, at)| (TopicPartition::new(*topic, *partition), *at));
        assert!(admin.alter_offsets(group, offsets).await.values().all(Result::is_ok));
        admin.close().await;
    }
}

fn group<'a>(report: &'a Report, name: &str) -> &'a GroupReport {
    let found = report.groups.iter().find(|group| group.group == name);
    found.unwrap_or_else(|| panic!("no {name}: {report:?}"))
}

/// Topic, partition, committed, end, lag.
type Numbers<'a> = (&'a str, i32, Option<i64>, Option<i64>, Option<u64>);

fn numbers(group: &GroupReport) -> Vec<Numbers<'_>> {
    let partitions = group.partitions.iter();
    partitions.map(|of| (of.topic.as_str(), of.partition, of.committed, of.end, of.lag)).collect()
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}
