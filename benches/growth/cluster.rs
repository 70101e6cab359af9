//! What is read from: real Kafka, or for more partitions than a small machine has room for there, the broker in a box.

use offtake::{
    admin::{Admin, NewTopic},
    config::Config,
};
use offtake_tests::{Kafka, V4_3_0};
use tokio::runtime::Runtime;

use crate::TOPIC;

pub(crate) struct Cluster {
    kind: Kind,
    /// Of partition 0.
    leader_port: u16,
    _runtime: Runtime,
}

enum Kind {
    Real(Kafka),
    Embedded(offtake_broker::Cluster),
}

impl Cluster {
    pub(crate) fn start(brokers: u32, partitions: u32, real: bool) -> Result<Self, String> {
        let runtime = Runtime::new().map_err(|error| error.to_string())?;
        let count = i32::try_from(partitions).map_err(|error| error.to_string())?;
        let kind = if real {
            let kafka = Kafka::builder().version(V4_3_0).brokers(usize::try_from(brokers).unwrap_or(1));
            Kind::Real(kafka.property("group.initial.rebalance.delay.ms", 0).start())
        } else {
            let brokers = i32::try_from(brokers).map_err(|error| error.to_string())?;
            let cluster = offtake_broker::Cluster::builder().brokers(brokers);
            Kind::Embedded(runtime.block_on(cluster.start()).map_err(|error| error.to_string())?)
        };
        let mut cluster = Self { kind, leader_port: 0, _runtime: runtime };
        let leader = cluster
            ._runtime
            .block_on(create(&cluster.bootstrap(), count))
            .map_err(|error| error.to_string())?;
        cluster.leader_port = match &cluster.kind {
            Kind::Real(kafka) => kafka.broker(leader).port(),
            Kind::Embedded(cluster) => cluster.port(leader).ok_or("no such broker")?,
        };
        Ok(cluster)
    }

    pub(crate) fn bootstrap(&self) -> String {
        match &self.kind {
            Kind::Real(kafka) => kafka.bootstrap(),
            Kind::Embedded(cluster) => cluster.bootstrap(),
        }
    }

    pub(crate) fn leader_port(&self) -> u16 {
        self.leader_port
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Real(_) => "Kafka 4.3.0",
            Kind::Embedded(_) => "embedded",
        }
    }
}

/// The id of the leader of partition 0.
async fn create(bootstrap: &str, partitions: i32) -> Result<i32, offtake::Error> {
    let mut config = Config::default();
    config.set("bootstrap.servers", bootstrap)?;
    let mut admin = Admin::new(config)?;
    let topic = NewTopic { name: TOPIC.to_owned(), partitions: Some(partitions), ..NewTopic::default() };
    admin.create_topic(&topic).await?;
    let leader = loop {
        let described = admin.describe_topics([TOPIC]).await?;
        let all = described.iter().flat_map(|topic| &topic.partitions).collect::<Vec<_>>();
        let led = all.iter().filter(|(_, about)| about.leader.is_some()).count();
        if let Some((_, first)) = all.first()
            && let Some(leader) = first.leader
            && led == usize::try_from(partitions).unwrap_or(0)
        {
            break leader;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    admin.close().await;
    Ok(leader.0)
}
