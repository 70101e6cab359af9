//! Committed offsets of groups, read from `__consumer_offsets` and fetched from coordinators.

use std::time::{Duration, Instant};

use offtake::{AutoOffsetReset, Consumer, TopicPartition};
use offtake_admin::{Admin, ClientConfig};
use offtake_lag::{Collector, Config, GroupSelection, OffsetsTopic, OffsetsTopicConfig, Report};
use offtake_producer::Producer;
use offtake_tests::{V2_8_2, V3_9_1, V4_3_0, unique};

use crate::administration::on;

const PATIENCE: Duration = Duration::from_secs(60);

/// Two collectors: one fetches the committed offsets of these groups, the other reads them.
struct Both {
    asks: Collector,
    reads: Collector,
}

/// Group, topic, partition, committed, end, lag.
type Numbers = Vec<(String, String, i32, Option<i64>, Option<i64>, Option<u64>)>;

impl Both {
    fn of(bootstrap: &str, groups: &[&str]) -> Self {
        let collector = || {
            let mut config = Config::default();
            config.groups = GroupSelection::Named(groups.iter().map(|group| (*group).to_owned()).collect());
            let client = ClientConfig::from_properties([("bootstrap.servers", bootstrap)]).unwrap();
            Collector::new(Admin::new(client).unwrap(), config)
        };
        let (asks, mut reads) = (collector(), collector());
        let mut config = OffsetsTopicConfig::default();
        config.commits = true;
        let bootstrap = bootstrap.to_owned();
        reads.use_offsets_topic(OffsetsTopic::start(config, move || Consumer::builder(bootstrap.as_str())));
        Self { asks, reads }
    }

    /// Makes rounds until both have the same numbers, and this many. Where `is_read`, no coordinator was asked.
    async fn agree(&mut self, rows: usize, is_read: bool) -> Numbers {
        let numbers = |report: &Report| -> Numbers {
            let groups = report.groups.iter().flat_map(|group| {
                let rows = group.partitions.iter().map(|of| {
                    (group.group.clone(), of.topic.clone(), of.partition, of.committed, of.end, of.lag)
                });
                rows.collect::<Vec<_>>()
            });
            groups.collect()
        };
        let began = Instant::now();
        loop {
            let (asked, read) = (self.asks.round().await.unwrap(), self.reads.round().await.unwrap());
            let (ours, theirs) = (numbers(&read), numbers(&asked));
            if ours == theirs && ours.len() == rows && read.failures.is_empty() == is_read {
                return ours;
            }
            assert!(began.elapsed() < PATIENCE, "{ours:?}, asked for {theirs:?}, {:?}", read.failures);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Commits of each protocol, in transactions and outside, deleted commits, and a deleted group.
#[test]
fn commits_that_are_read_are_those_that_are_asked_for() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    on([V4_3_0, V3_9_1, V2_8_2], |at| {
        let topic = at.topic();
        let [byhand, classic, exact] = ["byhand", "classic", "exact"].map(unique);
        let modern = unique("modern");
        at.tool.alter_offsets(&byhand, &[(&topic, 0, 7), (&topic, 1, 0), (&topic, 2, 0)]);
        let mut members = vec![("classic", &classic)];
        if at.is_newest() {
            members.push(("consumer", &modern));
        }
        for (protocol, group) in &members {
            let args =
                format!("consume {topic} -g {group} --protocol {protocol} --from earliest --until latest -q");
            assert_eq!(at.offtake(&args).run().code, Some(0));
        }
        let rows = 3 * (1 + members.len());
        runtime.block_on(async {
            let mut both = Both::of(&at.bootstrap, &[&byhand, &classic, &modern, &exact]);
            let first = both.agree(rows, true).await;
            assert!(first.iter().any(|row| row.0 == classic && row.3 == Some(20)), "{first:?}");

            // In transactions: none while it is open, all when it is committed, none when it is aborted.
            let mut consumer = Consumer::builder(at.bootstrap.as_str())
                .group(&exact)
                .property("enable.auto.commit", false)
                .auto_offset_reset(AutoOffsetReset::Earliest)
                .build()
                .await
                .unwrap();
            consumer.assign([(topic.as_str(), 1)]).await.unwrap();
            let mut records = consumer.poll(PATIENCE).await.unwrap();
            assert!(!records.is_empty());
            let producer = Producer::builder(at.bootstrap.as_str()).transactional_id(&exact);
            let mut producer = producer.build_transactional().await.unwrap();
            let committed = consumer.offsets_for_transaction(&records).await.unwrap();
            let open = producer.begin().await.unwrap();
            open.send_offsets(committed.clone()).await.unwrap();
            both.agree(rows, false).await;
            open.commit().await.unwrap();
            let after = both.agree(rows + 1, true).await;
            let of_exact = |rows: &Numbers| rows.iter().find(|row| row.0 == exact).unwrap().3;
            assert!(of_exact(&after) > Some(0), "{after:?}");
            records = consumer.poll(Duration::from_millis(200)).await.unwrap();
            drop(records);
            let aborted = producer.begin().await.unwrap();
            aborted.send_offsets(committed).await.unwrap();
            aborted.abort().await.unwrap();
            assert_eq!(both.agree(rows + 1, true).await, after);

            // Deleted commits, and a deleted group.
            let client =
                ClientConfig::from_properties([("bootstrap.servers", at.bootstrap.as_str())]).unwrap();
            let mut admin = Admin::new(client).unwrap();
            let forgotten = admin.delete_offsets(&byhand, TopicPartition::new(topic.as_str(), 1)).await;
            assert!(forgotten.values().all(Result::is_ok), "{forgotten:?}");
            let rest = both.agree(rows, true).await;
            assert!(!rest.iter().any(|row| row.0 == byhand && row.2 == 1), "{rest:?}");
            assert!(admin.delete_groups([classic.as_str()]).await.values().all(Result::is_ok));
            let rest = both.agree(rows - 3, true).await;
            assert!(!rest.iter().any(|row| row.0 == classic), "{rest:?}");
            both.reads.close().await;
            both.asks.close().await;
        });
    });
}
