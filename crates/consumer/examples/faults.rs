//! Tests a service against an in-memory cluster that misbehaves on request, in virtual time: a commit whose
//! response is lost, an unexpected rebalance, a broker that is down for two minutes. It takes a fraction of a
//! second.
//!
//! `cargo run -p offtake --example faults`

use std::{collections::BTreeMap, error::Error, time::Duration};

use offtake::{AutoOffsetReset, Consumer, ErrorCode, dial::InMemory};
use offtake_broker::{ApiKey, Cluster, Fault, FaultRule};

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn Error>> {
    run().await
}

/// The test.
pub async fn run() -> Result<(), Box<dyn Error>> {
    let cluster = Cluster::builder().brokers(2).topic("orders", 2).in_memory().start().await?;
    let mut consumer = Consumer::builder(cluster.bootstrap().as_str())
        .group("service")
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .dial(InMemory::new(cluster.connector()))
        .spawn_on(tokio::runtime::Handle::current()) // so that the engine uses the same clock
        .build()
        .await?;
    consumer.subscribe("orders").await?;

    let lost = cluster.inject(FaultRule::on(ApiKey::OffsetCommit, Fault::ApplyThenLose).nth(2));
    let in_progress = Fault::Fail(ErrorCode::RebalanceInProgress.code());
    let rebalance = cluster.inject(FaultRule::on(ApiKey::Heartbeat, in_progress).nth(3));
    let mut seen = BTreeMap::new();
    for round in 0..30_i64 {
        for partition in 0..2 {
            cluster.produce("orders", partition, None, Some(b"value"))?;
        }
        match round {
            10 => cluster.crash(2),
            20 => cluster.restart(2),
            _ => {}
        }
        loop {
            let records = consumer.poll(Duration::from_secs(12)).await?;
            if records.is_empty() {
                break; // no record has arrived for 12 seconds of the paused clock
            }
            for record in &records {
                *seen.entry((record.partition(), record.offset())).or_insert(0) += 1;
            }
            consumer.commit(&records).await?;
        }
    }
    consumer.close(Duration::from_secs(10)).await?;
    assert!(seen.len() == 60 && seen.values().all(|times| *times == 1), "each record once: {seen:?}");
    assert_eq!((cluster.hits(lost), cluster.hits(rebalance)), (1, 1), "all of it has happened");
    println!("60 records, each once");
    Ok(())
}
