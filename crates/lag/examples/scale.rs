//! Measures a round of the collector on the cluster in the box: `cargo run --release -p offtake-lag --example scale -- 5000 40 5`.
//!
//! The arguments are the number of groups, the number of partitions per group, each group with a topic of its own, and the number
//! of rounds. Between rounds, each partition gets a record and ten seconds pass in virtual time. Prints the seconds, the requests
//! and the memory of the process, which includes the cluster.
#![allow(clippy::disallowed_methods, reason = "it measures")]

use std::{
    error::Error,
    time::{Duration, Instant},
};

use offtake_admin::{Admin, ClientConfig, TopicPartition, dial::InMemory};
use offtake_broker::{ApiKey, Cluster, Config, Fault, FaultRule, NewRecord};
use offtake_lag::Collector;

const APIS: [ApiKey; 8] = [
    ApiKey::Metadata,
    ApiKey::ListGroups,
    ApiKey::DescribeGroups,
    ApiKey::OffsetFetch,
    ApiKey::ListOffsets,
    ApiKey::DescribeLogDirs,
    ApiKey::DescribeConfigs,
    ApiKey::Fetch,
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let groups: usize = args.next().as_deref().unwrap_or("5000").parse()?;
    let partitions: i32 = args.next().as_deref().unwrap_or("40").parse()?;
    let rounds: usize = args.next().as_deref().unwrap_or("5").parse()?;
    tokio::time::pause();
    let mut config = Config::default();
    (config.brokers, config.wall_ms) = (3, offtake_client::clock::wall_ms());
    let cluster = Cluster::builder().config(config).in_memory().start().await?;
    let admin = || {
        let config = ClientConfig::from_properties([("bootstrap.servers", cluster.bootstrap())])?;
        Admin::with_dial(config, InMemory::new(cluster.connector()))
    };
    let mut filling = admin()?;
    for nth in 0..groups {
        let topic = format!("topic-{nth}");
        cluster.create_topic(&topic, partitions)?;
        let stamped = offtake_client::clock::wall_ms() - i64::try_from(nth)? * 10;
        for partition in 0..partitions {
            cluster.append(
                &topic,
                partition,
                &[NewRecord::new("v").timestamp(stamped), NewRecord::new("v")],
            )?;
        }
        // Every second group has consumed everything.
        let committed = if nth % 2 == 0 { 2 } else { 1 };
        let offsets =
            (0..partitions).map(|partition| (TopicPartition::new(topic.as_str(), partition), committed));
        for outcome in filling.alter_offsets(&format!("group-{nth}"), offsets).await.into_values() {
            outcome?;
        }
    }
    filling.close().await;
    println!("{groups} groups on {partitions} partitions each; without a collector {} MiB", resident_mib());

    let counters = APIS.map(|api| (api, cluster.inject(FaultRule::on(api, Fault::Delay(Duration::ZERO)))));
    let mut counted = [0; APIS.len()];
    let mut collector = Collector::new(admin()?, offtake_lag::Config::default());
    for round in 1..=rounds {
        tokio::time::advance(Duration::from_secs(10)).await;
        for nth in 0..groups {
            for partition in 0..partitions {
                cluster.append(&format!("topic-{nth}"), partition, &[NewRecord::new("v")])?;
            }
        }
        let holding = resident_mib();
        let began = Instant::now();
        let report = collector.round().await?;
        let took = began.elapsed();
        let mut requests = Vec::new();
        for ((api, rule), before) in counters.iter().zip(&mut counted) {
            let hits = cluster.hits(*rule);
            requests.push(format!("{api:?} {}", hits - *before));
            *before = hits;
        }
        let rows: usize = report.groups.iter().map(|group| group.partitions.len()).sum();
        let lag: u64 = report.groups.iter().map(|group| group.lag).sum();
        println!(
            "round {round}: {:.2} s, {rows} rows, lag {lag}, {} failures, {holding} MiB before and {} after; {}",
            took.as_secs_f64(),
            report.failures.len(),
            resident_mib(),
            requests.join(", ")
        );
    }
    collector.close().await;
    Ok(())
}

/// The memory of this process, if the system reports it.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}
