//! The cluster to read from: real Kafka or, for more partitions than it can hold on a small machine, the broker in a box.

use std::sync::mpsc;
use std::time::Duration;

use offtake::{Config, Consumer};
use offtake_admin::{Admin, NewTopic};
use offtake_tests::{Kafka, V4_3_0};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::{TOPIC, clock::micros, reader::stand_at_end};

pub(crate) struct Cluster {
    kind: Kind,
    bootstrap: String,
    /// The port of partition 0's leader.
    leader_port: u16,
}

enum Kind {
    Real {
        _kafka: Box<Kafka>,
    },
    /// Runs on a thread of its own until this is dropped.
    Embedded {
        _stop: oneshot::Sender<()>,
    },
}

impl Cluster {
    /// Starts it with the topic.
    pub(crate) fn start(brokers: u32, partitions: u32, real: bool) -> Result<Self, String> {
        let count = i32::try_from(partitions).map_err(|error| error.to_string())?;
        if !real {
            return embedded(i32::try_from(brokers).map_err(|error| error.to_string())?, count);
        }
        let kafka = Kafka::builder().version(V4_3_0).brokers(usize::try_from(brokers).unwrap_or(1)).start();
        let bootstrap = kafka.bootstrap();
        let leader = runtime()?.block_on(create(&bootstrap, count)).map_err(|error| error.to_string())?;
        let leader_port = kafka.broker(leader).port();
        Ok(Self { kind: Kind::Real { _kafka: Box::new(kafka) }, bootstrap, leader_port })
    }

    pub(crate) fn bootstrap(&self) -> String {
        self.bootstrap.clone()
    }

    pub(crate) fn leader_port(&self) -> u16 {
        self.leader_port
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Real { .. } => "Kafka 4.3.0",
            Kind::Embedded { .. } => "embedded",
        }
    }
}

fn runtime() -> Result<Runtime, String> {
    Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())
}

fn embedded(brokers: i32, partitions: i32) -> Result<Cluster, String> {
    let (stop, stopped) = oneshot::channel();
    let (say, said) = mpsc::channel();
    std::thread::spawn(move || {
        let serving = async {
            let mut config = offtake_broker::Config::default();
            config.wall_ms = micros() / 1000;
            let builder =
                offtake_broker::Cluster::builder().config(config).brokers(brokers).topic(TOPIC, partitions);
            let cluster = builder.start().await.map_err(|error| error.to_string())?;
            let leader = cluster.with(|model, _| model.leader_of(TOPIC, 0));
            let port = leader.and_then(|leader| cluster.port(leader)).ok_or("partition 0 has no leader")?;
            Ok::<_, String>((cluster, port))
        };
        let served = runtime().and_then(|runtime| runtime.block_on(serving).map(|served| (runtime, served)));
        match served {
            Ok((runtime, (cluster, port))) => {
                let _ = say.send(Ok((cluster.bootstrap(), port)));
                let _ = runtime.block_on(stopped);
                drop(cluster);
            }
            Err(error) => drop(say.send(Err(error))),
        }
    });
    let (bootstrap, leader_port) = said.recv().map_err(|_| "the embedded broker did not start")??;
    Ok(Cluster { kind: Kind::Embedded { _stop: stop }, bootstrap, leader_port })
}

/// Creates the topic; returns the leader of partition 0, once all partitions have one.
async fn create(bootstrap: &str, partitions: i32) -> Result<i32, String> {
    let mut config = Config::default();
    config.set("bootstrap.servers", bootstrap).map_err(|error| error.to_string())?;
    let mut admin = Admin::new(config).map_err(|error| error.to_string())?;
    let topic = NewTopic { name: TOPIC.to_owned(), partitions: Some(partitions), ..NewTopic::default() };
    admin.create_topic(&topic).await.map_err(|error| error.to_string())?;
    let leader = loop {
        let described = admin.describe_topics([TOPIC]).await.map_err(|error| error.to_string())?;
        let leaders: Vec<_> = described
            .iter()
            .flat_map(|topic| topic.partitions.values().filter_map(|partition| partition.leader))
            .collect();
        match leaders.first() {
            Some(first) if leaders.len() == usize::try_from(partitions).unwrap_or(0) => break first.0,
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    };
    admin.close().await;
    // A known leader may still have to create its log: Kafka takes milliseconds for each.
    let mut consumer = Consumer::builder(bootstrap).build().await.map_err(|error| error.to_string())?;
    stand_at_end(&mut consumer, TOPIC, partitions).await.map_err(|error| error.to_string())?;
    Ok(leader)
}
