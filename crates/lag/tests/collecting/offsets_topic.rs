//! Commits read from `__consumer_offsets`, and replicas that share it. The embedded cluster stores commits elsewhere, so that
//! these tests write the records in the topic.

use std::collections::BTreeSet;

use offtake::Consumer;
use offtake_broker::{ApiKey, Fault, FaultRule};
use offtake_client::clock;
use offtake_lag::{OffsetsTopic, OffsetsTopicConfig};
use offtake_wire::{
    Message, Writer,
    offsets_topic::{OffsetCommitKey, OffsetCommitValue},
};

use super::*;

const TOPIC: &str = "__consumer_offsets";
const SESSION: u64 = 10;

impl Box {
    /// Reads the topic, as a client of this name.
    fn read(&self, client: &'static str, commits: bool, shard_group: Option<&str>) -> OffsetsTopic {
        let mut config = OffsetsTopicConfig::default();
        (config.commits, config.shard_group) = (commits, shard_group.map(str::to_owned));
        let cluster = self.cluster.clone();
        OffsetsTopic::start(config, move || {
            Consumer::builder(cluster.bootstrap())
                .property("client.id", client)
                .property("session.timeout.ms", SESSION * 1000)
                .dial(InMemory::new(cluster.connector()))
                .spawn_on(tokio::runtime::Handle::current())
        })
    }

    /// The number of partitions of the topic.
    fn partitions(&self) -> i32 {
        (0..)
            .find(|partition| self.cluster.with(|model, _| model.offsets_of(TOPIC, *partition)).is_none())
            .unwrap()
    }

    /// Writes a coordinator's record: this offset, or the deletion of the commit.
    fn log_commit(&self, group: &str, partition: i32, offset: Option<i64>) {
        let (mut key, mut value) = (Writer::new(), Writer::new());
        key.i16(1);
        let whose = OffsetCommitKey { group: group.to_owned(), topic: "orders".to_owned(), partition };
        whose.encode(&mut key, 1).unwrap();
        let key = key.into_bytes();
        let record = offset.map_or(NewRecord::tombstone(key.clone()), |offset| {
            value.i16(3);
            OffsetCommitValue { offset, ..OffsetCommitValue::default() }.encode(&mut value, 3).unwrap();
            NewRecord::new(value.into_bytes()).key(key)
        });
        let hash =
            group.bytes().fold(0_i32, |hash, byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte)));
        self.cluster.append(TOPIC, hash.checked_abs().unwrap() % self.partitions(), &[record]).unwrap();
    }
}

/// Makes rounds until one has no failures.
async fn settled(collector: &mut Collector) -> Report {
    for _ in 0..100 {
        match collector.round().await {
            Ok(report) if report.failures.is_empty() => return report,
            _ => pass(Duration::from_secs(1)).await,
        }
    }
    panic!("it never is: {:?}", collector.round().await);
}

#[tokio::test(start_paused = true)]
async fn commits_are_learnt_from_the_topic_and_nobody_is_asked() {
    let at = Box::start(2).await;
    at.cluster.create_topic("orders", 2).unwrap();
    (0..9).for_each(|_| at.write("orders", 0, [30]));
    for group in ["audit", "billing"] {
        at.commit(group, &[("orders", 0, 1)]).await;
        at.log_commit(group, 0, Some(2));
    }
    at.log_commit("audit", 0, Some(5));
    at.log_commit("audit", 1, Some(0));
    let mut collector = at.collector(Config::default());
    collector.use_offsets_topic(at.read("reader", true, None));
    settled(&mut collector).await;
    let asked = at.cluster.inject(FaultRule::on(ApiKey::OffsetFetch, Fault::Delay(Duration::ZERO)));
    let report = collector.round().await.unwrap();
    let audit = [("orders", 0, Some(5), Some(9), Some(4)), ("orders", 1, Some(0), Some(0), Some(0))];
    assert_eq!(numbers(group(&report, "audit")), audit);
    assert_eq!(numbers(group(&report, "billing")), [("orders", 0, Some(2), Some(9), Some(7))]);
    // Commits before a round are known in it, and so are deletions.
    for offset in 3..8 {
        at.log_commit("billing", 0, Some(offset));
        at.log_commit("audit", 1, None);
        let report = collector.round().await.unwrap();
        assert_eq!(group(&report, "billing").partitions[0].committed, Some(offset));
        assert_eq!(numbers(group(&report, "audit")), audit[..1]);
        assert_eq!(report.failures, Vec::<String>::new());
    }
    assert_eq!(at.cluster.hits(asked), 0);
    collector.close().await;
}

#[tokio::test(start_paused = true)]
async fn offsets_that_the_offsets_topic_does_not_show_are_fetched() {
    let at = Box::start(1).await;
    at.cluster.create_topic("orders", 1).unwrap();
    at.write("orders", 0, [30, 30, 30]);
    at.commit("audit", &[("orders", 0, 1)]).await;
    at.log_commit("audit", 0, Some(2));
    let mut rule = FaultRule::on(ApiKey::Fetch, Fault::Swallow);
    rule.client = Some("reader".to_owned());
    let silent = at.cluster.inject(rule);
    let mut collector = at.collector(Config::default());
    collector.use_offsets_topic(at.read("reader", true, None));
    for _ in 0..3 {
        let began = clock::now();
        let report = collector.round().await.unwrap();
        assert!(clock::now() - began < Duration::from_secs(3), "it does not wait for long");
        assert_eq!(group(&report, "audit").partitions[0].committed, Some(1), "as its coordinator says");
        assert!(
            report.failures[0].contains("1 of 1 partitions of __consumer_offsets"),
            "{:?}",
            report.failures
        );
    }
    // From then on, the topic is read.
    at.cluster.withdraw(silent);
    let report = settled(&mut collector).await;
    assert_eq!(group(&report, "audit").partitions[0].committed, Some(2));
    // If a commit cannot be decoded, the coordinator's response is used.
    let unreadable = NewRecord::new(&b"\0\x63"[..]).key(&b"\0\x01\0\x05audit\0\x06orders\0\0\0\0"[..]);
    for partition in 0..at.partitions() {
        at.cluster.append(TOPIC, partition, std::slice::from_ref(&unreadable)).unwrap();
    }
    let report = collector.round().await.unwrap();
    assert_eq!(group(&report, "audit").partitions[0].committed, Some(1));
    collector.close().await;
}

fn names(report: &Report) -> BTreeSet<String> {
    report.groups.iter().map(|group| group.group.clone()).collect()
}

/// Two replicas share the groups; one of them falls silent, as if its machine was gone, and the other has all groups when the
/// session has ended.
#[tokio::test(start_paused = true)]
async fn replicas_share_the_groups_and_one_takes_over_from_another_that_dies() {
    for commits in [false, true] {
        let at = Box::start(3).await;
        at.cluster.create_topic("orders", 1).unwrap();
        at.write("orders", 0, [30, 20]);
        let all: BTreeSet<_> = (0..40).map(|nth| format!("group-{nth}")).collect();
        for group in &all {
            at.commit(group, &[("orders", 0, 1)]).await;
            at.log_commit(group, 0, Some(1));
        }
        let mut first = at.collector(Config::default());
        first.use_offsets_topic(at.read("one", commits, Some("monitors")));
        let error = first.round().await.unwrap_err();
        assert!(error.to_string().contains("not a member of the group `monitors`"), "{error}");
        let report = settled(&mut first).await;
        assert_eq!(names(&report), all, "the first has all, and does not watch itself");
        assert_eq!(report.shard.unwrap().partitions.len(), at.partitions() as usize);
        let mut second = at.collector(Config::default());
        second.use_offsets_topic(at.read("two", commits, Some("monitors")));
        let mut shares = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..60 {
            pass(Duration::from_secs(1)).await;
            let (one, two) = (first.round().await.unwrap(), second.round().await);
            shares = (names(&one), two.map(|two| names(&two)).unwrap_or_default());
            assert!(shares.0.is_disjoint(&shares.1), "one group, one replica");
            if !shares.1.is_empty() && shares.0.len() + shares.1.len() == all.len() {
                break;
            }
        }
        assert!(
            shares.0.len() >= 5 && shares.1.len() >= 5 && shares.0.len() + shares.1.len() == all.len(),
            "{shares:?}"
        );
        // The first replica's consumer is cut off; its collector goes on.
        for api in ApiKey::ALL {
            let mut rule = FaultRule::on(*api, Fault::Drop);
            rule.client = Some("one".to_owned());
            at.cluster.inject(rule);
        }
        let died = clock::now();
        loop {
            pass(Duration::from_secs(1)).await;
            let (one, two) = (first.round().await.unwrap(), second.round().await.unwrap());
            assert!(names(&one).is_disjoint(&names(&two)), "one group, one replica");
            if names(&two) == all {
                assert!(
                    names(&one).is_empty() && one.failures.iter().any(|why| why.contains("not a member")),
                    "{one:?}"
                );
                break;
            }
            assert!(clock::now() - died < Duration::from_secs(SESSION + 15), "{:?}", names(&two).len());
        }
        // A replica that leaves hands over at once.
        second.close().await;
        let mut third = at.collector(Config::default());
        third.use_offsets_topic(at.read("three", commits, Some("monitors")));
        let left = clock::now();
        let report = settled(&mut third).await;
        assert_eq!(names(&report), all);
        assert!(clock::now() - left < Duration::from_secs(SESSION), "it left");
        third.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_given_nothing_watches_nothing_and_says_so() {
    let at = Box::start(1).await;
    at.cluster.create_topic("orders", 1).unwrap();
    at.commit("audit", &[("orders", 0, 0)]).await;
    let mut replicas = Vec::new();
    for _ in 0..at.partitions() + 1 {
        let mut collector = at.collector(Config::default());
        collector.use_offsets_topic(at.read("replica", false, Some("monitors")));
        replicas.push(collector);
    }
    pass(Duration::from_secs(60)).await;
    let (mut idle, mut watched) = (0, 0);
    for collector in &mut replicas {
        let report = collector.round().await.unwrap();
        idle += usize::from(report.shard.clone().unwrap().partitions.is_empty());
        watched += report.groups.len();
    }
    assert_eq!((idle, watched), (1, 1));
    for collector in replicas {
        collector.close().await;
    }
}
