//! The results of a round.

use offtake_broker::{ApiKey, Fault, FaultRule, KafkaVersion, Rewrite};
use offtake_lag::{GroupSelection, Severity, Status};

use super::*;

#[tokio::test(start_paused = true)]
async fn a_round_tells_committed_offsets_ends_and_the_age_of_the_first_unread_record() {
    let at = Box::start(3).await;
    at.cluster.create_topic("orders", 3).unwrap();
    at.write("orders", 0, [100, 90, 80, 70]);
    at.write("orders", 1, [50]);
    at.commit("audit", &[("orders", 0, 1), ("orders", 1, 1), ("orders", 2, 0)]).await;
    at.commit("billing", &[("orders", 0, 3)]).await;
    let mut collector = at.collector(Config::default());
    let report = collector.round().await.unwrap();
    assert_eq!(report.failures, Vec::<String>::new());
    assert!(report.cluster.is_some() && report.at > 0);
    let audit = group(&report, "audit");
    assert_eq!(
        numbers(audit),
        [
            ("orders", 0, Some(1), Some(4), Some(3)),
            ("orders", 1, Some(1), Some(1), Some(0)),
            ("orders", 2, Some(0), Some(0), Some(0)),
        ]
    );
    let seconds: Vec<_> = audit.partitions.iter().map(|of| of.lag_seconds.unwrap().round()).collect();
    assert_eq!(seconds, [90.0, 0.0, 0.0]);
    assert!(audit.partitions.iter().all(|of| of.lag_seconds_error == Some(0.0)), "{audit:?}");
    assert_eq!((audit.lag, audit.severity, audit.status), (3, Severity::High, None));
    assert_eq!((audit.state.as_str(), audit.protocol.as_deref()), ("Empty", Some("classic")));
    assert_eq!(group(&report, "billing").lag_seconds.unwrap().round(), 70.0);
    // A week, Kafka's default, less the time that has passed.
    let loss = audit.partitions[0].time_to_data_loss_seconds.unwrap();
    assert!((loss - (7.0 * 86_400.0 - 90.0)).abs() < 2.0, "{loss}");
    let ends: Vec<_> = report.partitions.iter().map(|of| (of.partition, of.earliest, of.latest)).collect();
    assert_eq!(ends, [(0, Some(0), Some(4)), (1, Some(0), Some(1)), (2, Some(0), Some(0))]);
    collector.close().await;
}

#[tokio::test(start_paused = true)]
async fn known_facts_are_not_requested_in_each_round() {
    let at = Box::start(1).await;
    at.cluster.create_topic("orders", 2).unwrap();
    at.write("orders", 0, [60, 50]);
    at.commit("audit", &[("orders", 0, 0)]).await;
    let count = |api| at.cluster.inject(FaultRule::on(api, Fault::Delay(Duration::ZERO)));
    let [metadata, configs, fetch, lists] =
        [ApiKey::Metadata, ApiKey::DescribeConfigs, ApiKey::Fetch, ApiKey::ListOffsets].map(count);
    let mut collector = at.collector(Config::default());
    for _ in 0..5 {
        assert!(collector.round().await.unwrap().failures.is_empty());
        pass(Duration::from_secs(10)).await;
    }
    let asked = [metadata, configs, fetch, lists].map(|rule| at.cluster.hits(rule));
    assert_eq!(asked, [1, 1, 1, 10]);
    pass(Duration::from_secs(300)).await;
    collector.round().await.unwrap();
    assert_eq!([metadata, configs, fetch].map(|rule| at.cluster.hits(rule)), [2, 2, 1], "now and then");
    collector.close().await;
}

#[tokio::test(start_paused = true)]
async fn groups_topics_and_partitions_may_come_and_go() {
    let at = Box::start(2).await;
    at.cluster.create_topic("orders", 1).unwrap();
    at.commit("audit", &[("orders", 0, 0)]).await;
    let mut config = Config::default();
    config.window = Duration::from_secs(20);
    let mut collector = at.collector(config);
    assert_eq!(collector.round().await.unwrap().groups.len(), 1);
    // A topic and a group are created later.
    at.cluster.create_topic("returns", 1).unwrap();
    at.write("returns", 0, [0, 0, 0]);
    at.commit("billing", &[("returns", 0, 1)]).await;
    let report = collector.round().await.unwrap();
    assert_eq!(numbers(group(&report, "billing")), [("returns", 0, Some(1), Some(3), Some(2))]);
    // A group does not move, in a window of two more rounds.
    for _ in 0..2 {
        pass(Duration::from_secs(10)).await;
        collector.round().await.unwrap();
    }
    let report = collector.report();
    assert_eq!(group(&report, "billing").partitions[0].status, Some(Status::Stop));
    assert_eq!(group(&report, "audit").status, Some(Status::Ok));
    // A topic and a group are deleted. The commits on the topic are deleted with it.
    let mut admin = at.admin();
    admin.delete_topic("returns").await.unwrap();
    assert!(admin.delete_groups(["audit"]).await["audit"].is_ok());
    admin.close().await;
    collector.round().await.unwrap();
    let report = collector.round().await.unwrap();
    assert_eq!(report.groups.iter().map(|group| group.group.as_str()).collect::<Vec<_>>(), ["billing"]);
    assert!(report.groups[0].partitions.is_empty() && report.partitions.is_empty(), "{report:?}");
    assert_eq!(report.failures, Vec::<String>::new());
    collector.close().await;
}

#[tokio::test(start_paused = true)]
async fn only_the_groups_that_are_watched_are_asked_for() {
    let at = Box::start(1).await;
    at.cluster.create_topic("orders", 1).unwrap();
    for group in ["audit", "billing", "billing-eu"] {
        at.commit(group, &[("orders", 0, 0)]).await;
    }
    let watched = async |groups| {
        let mut config = Config::default();
        config.groups = groups;
        let mut collector = at.collector(config);
        let report = collector.round().await.unwrap();
        collector.close().await;
        report.groups.into_iter().map(|group| group.group).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(watched(GroupSelection::All).await, "audit billing billing-eu");
    assert_eq!(watched(GroupSelection::Named(vec!["audit".to_owned(), "nosuch".to_owned()])).await, "audit");
    let pattern = regex::Regex::new("^bill").unwrap();
    assert_eq!(watched(GroupSelection::Matching(pattern)).await, "billing billing-eu");
}

/// There, OffsetFetch accepts one group at a time, and groups are listed without a type.
#[tokio::test(start_paused = true)]
async fn brokers_of_kafka_2_8_are_asked_in_their_way() {
    let at = Box::start(2).await;
    at.cluster.create_topic("orders", 1).unwrap();
    at.write("orders", 0, [30]);
    for broker in 1..=2 {
        at.cluster.with(|model, _| model.set_kafka_version(broker, KafkaVersion::V2_8));
    }
    for group in ["audit", "billing"] {
        at.commit(group, &[("orders", 0, 0)]).await;
    }
    let mut collector = at.collector(Config::default());
    let report = collector.round().await.unwrap();
    assert_eq!(report.failures, Vec::<String>::new());
    for name in ["audit", "billing"] {
        assert_eq!(numbers(group(&report, name)), [("orders", 0, Some(0), Some(1), Some(1))]);
        assert_eq!(group(&report, name).lag_seconds.unwrap().round(), 30.0);
    }
    collector.close().await;
}

#[tokio::test(start_paused = true)]
async fn dead_letters_are_looked_at_though_nobody_reads_them() {
    let at = Box::start(1).await;
    at.cluster.create_topic("orders.dlq", 2).unwrap();
    let mut collector = at.collector(Config::default());
    assert!(collector.round().await.unwrap().findings.is_empty());
    pass(Duration::from_secs(60)).await;
    at.write("orders.dlq", 1, [0, 0, 0]);
    let report = collector.round().await.unwrap();
    assert!(report.partitions.is_empty(), "no group reads it");
    assert_eq!(report.findings.len(), 1);
    assert!(
        report.findings[0].message.contains("`orders.dlq` grows by 3.0 dead letters a minute"),
        "{report:?}"
    );
    collector.close().await;
}

/// For example a topic that this client is not allowed to see.
#[tokio::test(start_paused = true)]
async fn a_topic_that_is_not_there_is_looked_for_seldom() {
    let at = Box::start(1).await;
    at.cluster.create_topic("orders", 1).unwrap();
    at.commit("audit", &[("orders", 0, 0)]).await;
    let metadata = at.cluster.inject(FaultRule::on(ApiKey::Metadata, Rewrite::metadata_without_topics()));
    let mut collector = at.collector(Config::default());
    for _ in 0..9 {
        let report = collector.round().await.unwrap();
        assert_eq!(numbers(group(&report, "audit")), [("orders", 0, Some(0), None, None)]);
        assert_eq!(report.failures, Vec::<String>::new());
        pass(Duration::from_secs(10)).await;
    }
    assert!(at.cluster.hits(metadata) <= 5, "{}", at.cluster.hits(metadata));
    collector.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_lag_in_bytes_is_what_the_unread_records_take() {
    let at = Box::start(3).await;
    at.cluster.create_topic("orders", 3).unwrap();
    let batch = |partition| at.write("orders", partition, [5]);
    let count = at.cluster.inject(FaultRule::on(ApiKey::DescribeLogDirs, Fault::Delay(Duration::ZERO)));
    (0..10).for_each(|_| batch(0));
    (0..4).for_each(|_| batch(1));
    at.commit("audit", &[("orders", 0, 6), ("orders", 1, 4), ("orders", 2, 0)]).await;
    let mut collector = at.collector(Config::default());
    let report = collector.round().await.unwrap();
    let bytes = |report: &Report| {
        let partitions = &group(report, "audit").partitions;
        partitions.iter().map(|of| (of.lag_bytes.unwrap(), of.lag_bytes_error.unwrap())).collect::<Vec<_>>()
    };
    let [(unread, error), ..] = bytes(&report)[..] else { panic!("{report:?}") };
    assert!(unread > 4 * 61 && unread % 4 == 0 && error == unread / 4 * 6, "{unread} ± {error}");
    assert_eq!(bytes(&report)[1..], [(0, 0), (0, 0)]);
    assert_eq!(at.cluster.hits(count), 3, "one request a broker");
    // The size of later data is known.
    pass(Duration::from_secs(10)).await;
    (0..2).for_each(|_| batch(1));
    let report = collector.round().await.unwrap();
    assert_eq!(bytes(&report)[1], (unread / 2, 0));
    collector.close().await;
}

/// Records of 1,000 bytes and more, of which a third is read, while 50,000 bytes are retained.
#[tokio::test(start_paused = true)]
async fn a_log_that_is_limited_by_its_size_is_told_before_it_loses_a_record() {
    let at = Box::start(1).await;
    let limit = [("retention.bytes", "50000")];
    at.cluster.with(|model, _| model.create_topic("orders", 1, -1, &limit)).unwrap();
    let mut config = Config::default();
    config.window = Duration::from_secs(20);
    let mut collector = at.collector(config);
    let (mut committed, mut foretold) = (0, None);
    for round in 0..200 {
        let record = || NewRecord::new("v".repeat(1000)).timestamp(offtake_client::clock::wall_ms());
        (0..3).for_each(|_| at.cluster.append("orders", 0, &[record()]).map(drop).unwrap());
        let start = at.cluster.with(|model, _| model.retain("orders", 0)).unwrap();
        if start > committed {
            let (told, seconds) = foretold.expect("it was told before");
            let truth = f64::from(round - told) * 5.0;
            assert!(seconds <= truth + 5.0 && seconds >= truth - 30.0, "{seconds}, and it was {truth}");
            collector.close().await;
            return;
        }
        committed += 1;
        at.commit("audit", &[("orders", 0, committed)]).await;
        let report = collector.round().await.unwrap();
        assert_eq!(report.failures, Vec::<String>::new());
        let audit = group(&report, "audit");
        if let (Severity::DataLoss, Some(seconds)) =
            (audit.severity, audit.partitions[0].time_to_data_loss_seconds)
        {
            foretold.get_or_insert((round, seconds));
        }
        pass(Duration::from_secs(5)).await;
    }
    panic!("nothing was lost");
}
