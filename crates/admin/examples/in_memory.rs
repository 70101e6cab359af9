//! A test of an operator's tool against a cluster in memory, in virtual time: it resets a group to the beginning, while the
//! group's coordinator loads for a minute. The test takes a fraction of a second.
//!
//! `cargo run -p offtake-admin --example in_memory`

#![allow(clippy::disallowed_methods)] // a rule of this workspace

use std::{error::Error, time::Duration};

use offtake_admin::{Admin, ClientConfig, ErrorCode, IsolationLevel, OffsetSpec, dial::InMemory};
use offtake_broker::{ApiKey, Cluster, Fault, FaultRule};

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn Error>> {
    run().await
}

/// The code under test: makes the group consume the whole topic again.
async fn reset(admin: &mut Admin, group: &str, topic: &str) -> Result<(), offtake_admin::Error> {
    let topics = admin.describe_topics(topic).await?;
    let partitions = topics.iter().flat_map(|of| of.partitions.keys().map(|index| (topic, *index)));
    let first = admin.list_offsets(partitions, OffsetSpec::Earliest, IsolationLevel::ReadUncommitted).await?;
    let offsets = first.into_iter().map(|(partition, listed)| (partition, listed.offset));
    admin.alter_offsets(group, offsets).await.into_values().collect()
}

/// The test.
pub async fn run() -> Result<(), Box<dyn Error>> {
    let cluster = Cluster::builder().topic("orders", 2).in_memory().start().await?;
    for partition in [0, 1] {
        cluster.produce("orders", partition, None, Some(b"value"))?;
    }
    let properties =
        [("bootstrap.servers", cluster.bootstrap().as_str()), ("default.api.timeout.ms", "120000")]
            .map(|(name, value)| (name, value.to_owned()));
    let dial = InMemory::new(cluster.connector());
    let mut admin = Admin::with_dial(ClientConfig::from_properties(properties)?, dial)?;
    let ends = admin.alter_offsets("billing", [(("orders", 0), 1), (("orders", 1), 1)]).await;
    assert!(ends.values().all(Result::is_ok), "{ends:?}");

    let loads = Fault::Fail(ErrorCode::CoordinatorLoadInProgress.code());
    let rule = cluster.inject(FaultRule::on(ApiKey::OffsetCommit, loads));
    let minute = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        let tried = cluster.hits(rule);
        cluster.withdraw(rule);
        tried
    };
    let (done, tried) = tokio::join!(reset(&mut admin, "billing", "orders"), minute);
    done?;
    assert!(tried > 1, "it was tried until the coordinator had loaded");
    let committed = admin.list_offsets_of_group("billing").await?;
    assert!(committed.len() == 2 && committed.values().all(|of| of.offset == 0), "{committed:?}");
    admin.close().await;
    println!("orders is read from its beginning again");
    Ok(())
}
