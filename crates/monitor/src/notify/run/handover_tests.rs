//! Two monitors in one shard group, each with a webhook, on the embedded cluster in virtual time: one of them dies.
#![allow(clippy::disallowed_methods, reason = "virtual time passes, and replicas run beside the test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    future::ready,
    sync::{Arc, Mutex},
    time::Duration,
};

use offtake::Consumer;
use offtake_admin::{Admin, ClientConfig, TopicPartition, dial::InMemory};
use offtake_broker::{ApiKey, Cluster, Fault, FaultRule, NewRecord};
use offtake_lag::{Collector, Config, OffsetsTopic, OffsetsTopicConfig};
use tokio::task::JoinHandle;

use super::*;

const SESSION: u64 = 10;
const INTERVAL: u64 = 10;

/// For each message: the replica that sent it, the group, and whether it reports the end.
type Told = Arc<Mutex<Vec<(&'static str, String, bool)>>>;

async fn cluster() -> Cluster {
    let mut config = offtake_broker::Config::default();
    config.wall_ms = wall_clock();
    Cluster::builder().config(config).in_memory().start().await.unwrap()
}

fn admin(cluster: &Cluster) -> Admin {
    let config = ClientConfig::from_properties([("bootstrap.servers", cluster.bootstrap())]).unwrap();
    Admin::with_dial(config, InMemory::new(cluster.connector())).unwrap()
}

async fn commit(cluster: &Cluster, group: &str, offset: i64) {
    let mut admin = admin(cluster);
    let done = admin.alter_offsets(group, [(TopicPartition::new("orders", 0), offset)]).await;
    assert!(done.values().all(Result::is_ok));
    admin.close().await;
}

/// A monitor's rounds and webhooks.
struct Replica(JoinHandle<()>);

impl Replica {
    fn start(cluster: &Cluster, name: &'static str, told: &Told) -> Self {
        let mut shard = OffsetsTopicConfig::default();
        shard.shard_group = Some("monitors".to_owned());
        let inside = cluster.clone();
        let topic = OffsetsTopic::start(shard, move || {
            let dial = inside.clone();
            Consumer::builder(inside.bootstrap())
                .property("client.id", name)
                .property("session.timeout.ms", SESSION * 1000)
                .dial(InMemory::new(move |port| dial.connect(port)))
                .spawn_on(tokio::runtime::Handle::current())
        });
        let mut collector = Collector::new(admin(cluster), Config::default());
        collector.use_offsets_topic(topic);
        let told = Arc::clone(told);
        let send = move |_, body: Value| {
            for alert in body["alerts"].as_array().unwrap() {
                let group = alert["labels"]["group"].as_str().unwrap().to_owned();
                told.lock().unwrap().push((name, group, alert["status"] == "resolved"));
            }
            ready(Ok(()))
        };
        Self(tokio::task::spawn_local(async move {
            let views = watch::Sender::new(View::default());
            let webhooks = vec![Webhook::new("http://alerts.example/hook").unwrap()];
            let settings = watch::Sender::new(Settings { webhooks, ..Settings::default() });
            let rounds = async {
                loop {
                    // Before it knows its share, and after it has lost it for good, there is no report.
                    match collector.round().await {
                        Ok(report) => views.send_modify(|view| view.on_report(Arc::new(report), 0.1)),
                        Err(why) => tracing::debug!("{why}"),
                    }
                    tokio::time::sleep(Duration::from_secs(INTERVAL)).await;
                }
            };
            tokio::select! {
                () = rounds => {}
                () = run(views.subscribe(), settings.subscribe(), send) => {}
            }
        }))
    }
}

/// The groups that each replica has notified since the last call.
fn taken(told: &Told, is_over: bool) -> BTreeMap<&'static str, BTreeSet<String>> {
    let mut by_replica: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (replica, group, over) in std::mem::take(&mut *told.lock().unwrap()) {
        assert_eq!(over, is_over, "{replica} of {group}");
        assert!(
            by_replica.entry(replica).or_default().insert(group.clone()),
            "{replica} told of {group} twice"
        );
    }
    by_replica
}

#[tokio::test(start_paused = true)]
async fn the_surviving_replica_notifies_once_of_the_groups_of_the_other() {
    tokio::task::LocalSet::new().run_until(one_of_two_dies()).await;
}

async fn one_of_two_dies() {
    let pass = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
    let cluster = cluster().await;
    cluster.create_topic("orders", 1).unwrap();
    let stamped = wall_clock() - 400_000;
    cluster.append("orders", 0, &[NewRecord::new("v").timestamp(stamped)]).unwrap();
    // Without lag at first. The shared topic is created with the first commit.
    let all: BTreeSet<_> = (0..40).map(|nth| format!("group-{nth}")).collect();
    for group in &all {
        commit(&cluster, group, 1).await;
    }
    let told = Told::default();
    let one = Replica::start(&cluster, "one", &told);
    let _two = Replica::start(&cluster, "two", &told);
    pass(60).await; // each has its share
    for group in &all {
        commit(&cluster, group, 0).await;
    }
    pass(120).await;
    let first = taken(&told, false);
    let (of_one, of_two) = (first["one"].clone(), first["two"].clone());
    assert!(of_one.is_disjoint(&of_two), "one incident, one monitor");
    assert_eq!(&of_one | &of_two, all, "and none without");
    assert!(of_one.len() >= 2);
    // The first dies, and one of its groups recovers before another replica watches it.
    one.0.abort();
    for api in ApiKey::ALL {
        let mut rule = FaultRule::on(*api, Fault::Drop);
        rule.client = Some("one".to_owned());
        cluster.inject(rule);
    }
    let recovered = of_one.first().unwrap();
    commit(&cluster, recovered, 1).await;
    // A session, a rebalance, `pending_for`, and a gap between messages.
    pass(SESSION + 120).await;
    let second = taken(&told, false);
    let left: BTreeSet<_> = of_one.iter().filter(|group| *group != recovered).cloned().collect();
    assert_eq!(second, BTreeMap::from([("two", left.clone())]), "what goes on is told once again");
    for group in &all {
        commit(&cluster, group, 1).await;
    }
    pass(600).await;
    let over = taken(&told, true);
    assert_eq!(over, BTreeMap::from([("two", &left | &of_two)]), "but of what ended during the handover");
}
