//! Brokers that are slow, dead, or refuse requests.

use offtake_broker::{ApiKey, Fault, FaultRule};
use offtake_client::clock;

use super::*;

const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;

/// Three brokers, a topic with as many partitions, and groups at each of them.
async fn three() -> (Box, Vec<String>) {
    let at = Box::start(3).await;
    at.cluster.create_topic("orders", 3).unwrap();
    for partition in 0..3 {
        at.write("orders", partition, [60, 50]);
    }
    let groups: Vec<_> = (0..12).map(|nth| format!("group-{nth}")).collect();
    for group in &groups {
        at.commit(group, &[("orders", 0, 0), ("orders", 1, 0), ("orders", 2, 0)]).await;
    }
    (at, groups)
}

fn config() -> Config {
    let mut config = Config::default();
    config.broker_timeout = Duration::from_secs(2);
    config
}

#[tokio::test(start_paused = true)]
async fn a2_a_broker_that_does_not_answer_delays_one_round_and_only_its_own_part_is_old() {
    let (at, groups) = three().await;
    let mut collector = at.collector(config());
    let first = collector.round().await.unwrap();
    assert_eq!((first.groups.len(), first.failures.len()), (12, 0));
    let coordinators = groups.iter().map(|name| at.cluster.with(|model, _| model.coordinator(name)));
    let coordinators: Vec<_> = coordinators.collect();
    at.cluster.pause(2);
    for partition in 0..3 {
        at.write("orders", partition, [0]);
    }
    let began = clock::now();
    let report = collector.round().await.unwrap();
    let took = clock::now() - began;
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(3), "{took:?}");
    assert!(report.failures.iter().any(|failure| failure.contains("broker 2")), "{:?}", report.failures);
    // All groups are still in the report. Only the logs led by broker 2, and the groups coordinated by it, keep their old values.
    assert_eq!(report.groups.len(), 12);
    for (name, coordinator) in groups.iter().zip(coordinators) {
        let ends: Vec<_> = group(&report, name).partitions.iter().map(|of| of.end.unwrap()).collect();
        let as_it_was = ends.iter().filter(|end| **end == 2).count();
        assert_eq!(as_it_was, if coordinator == Some(2) { 3 } else { 1 }, "{ends:?}");
    }
    // It does not delay the others any more.
    let began = clock::now();
    let report = collector.round().await.unwrap();
    assert!(clock::now() - began < Duration::from_millis(100), "{:?}", clock::now() - began);
    assert!(
        report.failures.iter().any(|failure| failure.contains("no requests for")),
        "{:?}",
        report.failures
    );
    at.cluster.resume(2);
    pass(Duration::from_secs(10)).await;
    let report = collector.round().await.unwrap();
    assert_eq!(report.failures, Vec::<String>::new());
    assert!(groups.iter().all(|name| group(&report, name).partitions.iter().all(|of| of.end == Some(3))));
    collector.close().await;
}

#[tokio::test(start_paused = true)]
async fn a2_a_broker_that_is_slow_in_one_thing_answers_everything_else() {
    let (at, groups) = three().await;
    let mut collector = at.collector(config());
    collector.round().await.unwrap();
    at.cluster.inject(FaultRule::on(ApiKey::DescribeGroups, Fault::Delay(Duration::from_secs(10))).broker(2));
    let (mut held_up, mut end) = (0, 2);
    for _ in 0..12 {
        pass(Duration::from_secs(10)).await;
        (0..3).for_each(|partition| at.write("orders", partition, [0]));
        end += 1;
        let began = clock::now();
        let report = collector.round().await.unwrap();
        let took = clock::now() - began;
        assert!(took < Duration::from_secs(3), "{took:?}");
        held_up += u32::from(took > Duration::from_secs(1));
        assert!(
            report.failures.iter().any(|failure| failure.contains("broker 2 did not describe its groups")),
            "{:?}",
            report.failures
        );
        for name in &groups {
            let ends: Vec<_> = group(&report, name).partitions.iter().map(|of| of.end.unwrap()).collect();
            assert_eq!(ends, [end, end, end]);
        }
    }
    assert!((2..=5).contains(&held_up), "{held_up} of 12 rounds: it is asked ever less often");
    collector.close().await;
}

#[tokio::test(start_paused = true)]
async fn c4_groups_outlive_their_coordinator() {
    let (at, groups) = three().await;
    let mut collector = at.collector(config());
    collector.round().await.unwrap();
    at.cluster.crash(3);
    for _ in 0..8 {
        let report = collector.round().await.unwrap();
        assert_eq!(report.groups.len(), 12, "none is gone meanwhile");
        pass(Duration::from_secs(1)).await;
    }
    let report = collector.round().await.unwrap();
    assert_eq!(report.groups.len(), 12);
    assert!(groups.iter().all(|name| !group(&report, name).partitions.is_empty()));
    collector.close().await;
}

#[tokio::test(start_paused = true)]
async fn b8_a_group_forbidden_by_an_acl_fails_alone() {
    const GROUP_AUTHORIZATION_FAILED: i16 = 30;
    let (at, _) = three().await;
    at.cluster
        .inject(FaultRule::on(ApiKey::OffsetFetch, Fault::Fail(GROUP_AUTHORIZATION_FAILED)).group("group-3"));
    let mut collector = at.collector(config());
    let report = collector.round().await.unwrap();
    let told = &report.failures;
    assert!(told.len() == 1 && told[0].contains("an ACL of the cluster forbids it"), "{told:?}");
    assert!(!collector.may_pass());
    assert!(report.groups.len() == 12 && !group(&report, "group-5").partitions.is_empty(), "{report:?}");
    collector.close().await;
}

#[tokio::test(start_paused = true)]
async fn c2_a_coordinator_that_loads_is_asked_again_in_the_next_round() {
    let (at, groups) = three().await;
    at.cluster.inject(FaultRule::on(ApiKey::ListGroups, Fault::Fail(COORDINATOR_LOAD_IN_PROGRESS)).once());
    let mut collector = at.collector(config());
    let report = collector.round().await.unwrap();
    assert!(report.groups.len() < 12 && collector.may_pass());
    let report = collector.round().await.unwrap();
    assert_eq!((report.groups.len(), report.failures.len()), (groups.len(), 0));
    collector.close().await;
}

/// The old coordinator does not list the group any more, and the new one refuses to list anything while it loads.
#[tokio::test(start_paused = true)]
async fn c2_groups_outlive_a_move_to_a_coordinator_that_loads() {
    let (at, groups) = three().await;
    let mut collector = at.collector(config());
    assert_eq!(collector.round().await.unwrap().groups.len(), groups.len());
    let loads = at
        .cluster
        .inject(FaultRule::on(ApiKey::ListGroups, Fault::Fail(COORDINATOR_LOAD_IN_PROGRESS)).broker(3));
    for group in &groups {
        at.cluster.with(|model, now| model.move_coordinator(now, group, 3));
    }
    for _ in 0..3 {
        let report = collector.round().await.unwrap();
        assert_eq!(report.groups.len(), groups.len(), "none is gone meanwhile");
    }
    at.cluster.withdraw(loads);
    let report = collector.round().await.unwrap();
    assert_eq!((report.groups.len(), report.failures), (groups.len(), Vec::new()));
    collector.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_deleted_while_another_broker_does_not_answer_is_gone() {
    let (at, groups) = three().await;
    let mut collector = at.collector(config());
    collector.round().await.unwrap();
    at.cluster.inject(FaultRule::on(ApiKey::ListGroups, Fault::Fail(COORDINATOR_LOAD_IN_PROGRESS)).broker(3));
    let mut admin = at.admin();
    for group in &groups {
        assert!(admin.delete_groups([group.as_str()]).await[group.as_str()].is_ok());
    }
    admin.close().await;
    assert!(collector.round().await.unwrap().groups.is_empty());
    collector.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_round_that_is_dropped_counts_as_none() {
    let (at, _) = three().await;
    let mut collector = at.collector(config());
    let before = collector.round().await.unwrap();
    at.cluster.inject(FaultRule::on(ApiKey::ListOffsets, Fault::Delay(Duration::from_millis(900))));
    assert!(clock::timeout(Duration::from_millis(500), collector.round()).await.is_none());
    assert_eq!(collector.report(), before);
    let after = collector.round().await.unwrap();
    assert_eq!((after.groups.len(), after.failures.len()), (12, 0));
    collector.close().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_broker_the_first_round_fails_and_a_later_one_works() {
    let at = Box::start(1).await;
    at.cluster.crash(1);
    let mut collector = at.collector(config());
    let error = collector.round().await.unwrap_err();
    assert!(error.is_retriable(), "{error}");
    at.cluster.restart(1);
    pass(Duration::from_secs(5)).await;
    assert!(collector.round().await.unwrap().groups.is_empty());
    // When the broker is gone again, the last state stays.
    at.cluster.crash(1);
    let report = collector.round().await.unwrap();
    assert!(!report.failures.is_empty());
    collector.close().await;
}

/// Without `DESCRIBE` on the cluster, only bytes are missing, and the brokers are not asked in vain each round.
#[tokio::test(start_paused = true)]
async fn sizes_that_are_refused_are_asked_for_now_and_then() {
    let at = Box::start(2).await;
    at.cluster.create_topic("orders", 2).unwrap();
    at.write("orders", 0, [30]);
    at.commit("audit", &[("orders", 0, 0), ("orders", 1, 0)]).await;
    const CLUSTER_AUTHORIZATION_FAILED: i16 = 31;
    let refused = FaultRule::on(ApiKey::DescribeLogDirs, Fault::Fail(CLUSTER_AUTHORIZATION_FAILED));
    let refused = at.cluster.inject(refused);
    let mut collector = at.collector(Config::default());
    for _ in 0..50 {
        let report = collector.round().await.unwrap();
        assert_eq!(report.failures, Vec::<String>::new());
        let audit = group(&report, "audit");
        assert_eq!((audit.lag, audit.partitions[0].lag_bytes), (1, None));
        pass(Duration::from_secs(10)).await;
    }
    assert_eq!(at.cluster.hits(refused), 2, "each broker once");
    at.cluster.withdraw(refused);
    pass(Duration::from_secs(110)).await;
    let report = collector.round().await.unwrap();
    assert!(group(&report, "audit").partitions[0].lag_bytes.is_some_and(|bytes| bytes > 61));
    collector.close().await;
}
