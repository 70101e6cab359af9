//! The findings of a probe, on a cluster in memory.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::time::Duration;

use offtake_admin::{
    ClientConfig, ErrorCode,
    dial::InMemory,
    probe::{Probe, ProbeStep},
};
use offtake_broker::{Cluster, SaslMechanism};

fn probe(cluster: &Cluster, properties: &[(&str, &str)]) -> Probe {
    let servers = [("bootstrap.servers".to_owned(), cluster.bootstrap())];
    let properties = properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let config = ClientConfig::from_properties(servers.into_iter().chain(properties)).unwrap();
    Probe::with_dial(config, InMemory::new(cluster.connector())).unwrap()
}

fn alice(password: &str) -> [(&str, &str); 4] {
    [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "SCRAM-SHA-256"),
        ("sasl.username", "alice"),
        ("sasl.password", password),
    ]
}

#[tokio::test(start_paused = true)]
async fn everything_on_the_way_is_found() {
    let cluster = Cluster::builder()
        .brokers(2)
        .topic("orders", 3)
        .in_memory()
        .sasl_user(SaslMechanism::ScramSha256, "alice", "wonder")
        .sasl_user(SaslMechanism::Plain, "bob", "builder")
        .session_lifetime(Duration::from_secs(60))
        .start()
        .await
        .unwrap();
    let probe = probe(&cluster, &alice("wonder"));
    let found = probe.connect("broker-1.example", 9092).await;
    assert_eq!(found.failure, None);
    assert_eq!(found.addresses, [found.connected.unwrap().address]);
    assert_eq!(found.tls, None);
    assert!(found.versions.iter().any(|(api, min, max)| *api == "Fetch" && min <= max));
    assert_eq!(found.mechanisms.unwrap(), ["PLAIN", "SCRAM-SHA-256"]);
    let login = found.login.unwrap();
    assert_eq!((login.mechanism, login.user.as_deref()), ("SCRAM-SHA-256", Some("alice")));
    assert_eq!(login.session_lifetime, Some(Duration::from_secs(60)));

    let mut connection = found.connection.unwrap();
    let facts = connection.cluster().await.unwrap();
    assert_eq!(facts.brokers.iter().map(|(id, ..)| *id).collect::<Vec<_>>(), [1, 2]);
    let orders = connection.topic("orders").await.unwrap();
    assert_eq!((orders.error, orders.partitions, orders.leaderless.len()), (ErrorCode::None, 3, 0));
    assert!(orders.operations.unwrap().can_read());
    let nosuch = connection.topic("nosuch").await.unwrap();
    assert_eq!((nosuch.error, nosuch.partitions), (ErrorCode::UnknownTopicOrPartition, 0));
    let (_, host, port) = connection.coordinator("g").await.unwrap().unwrap();
    let mut coordinator = probe.connect(&host, port).await.connection.unwrap();
    let group = coordinator.group("g").await.unwrap();
    assert!(group.operations.unwrap().can_read(), "also of a group that there is not: {group:?}");
    cluster.crash(1);
    cluster.crash(2);
    let failure = connection.cluster().await.unwrap_err();
    assert_eq!(failure.step, ProbeStep::Ask);
}

#[tokio::test(start_paused = true)]
async fn the_step_that_failed_is_named_and_nothing_follows_it() {
    let cluster = Cluster::builder()
        .in_memory()
        .sasl_user(SaslMechanism::ScramSha256, "alice", "wonder")
        .start()
        .await
        .unwrap();
    let found = probe(&cluster, &alice("wonderland")).connect("localhost", 9092).await;
    let failure = found.failure.unwrap();
    assert_eq!(failure.step, ProbeStep::Authenticate, "{failure:?}");
    assert!(failure.reason.contains("alice") && !failure.reason.contains("wonderland"), "{failure:?}");
    assert!(found.login.is_none() && found.connection.is_none() && found.mechanisms.is_some());

    // The mechanisms can be requested without authentication.
    let stranger = probe(&cluster, &[]);
    assert_eq!(stranger.mechanisms("localhost", 9092).await.unwrap(), ["SCRAM-SHA-256"]);
    let mut connection = stranger.connect("localhost", 9092).await.connection.unwrap();
    assert!(connection.cluster().await.is_err());
    let open = Cluster::builder().in_memory().start().await.unwrap();
    assert_eq!(probe(&open, &[]).mechanisms("localhost", 9092).await.unwrap(), [""; 0]);
    let found = probe(&open, &alice("wonder")).connect("localhost", 9092).await;
    let failure = found.failure.unwrap();
    assert!(
        failure.step == ProbeStep::Authenticate && failure.reason.contains("does not support SASL"),
        "{failure:?}"
    );

    cluster.crash(1);
    let found = stranger.connect("localhost", 9092).await;
    assert_eq!(found.failure.unwrap().step, ProbeStep::Connect);
    assert!(found.connected.is_none() && found.addresses.len() == 1);
}
