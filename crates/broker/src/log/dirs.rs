//! DescribeLogDirs: the sizes of logs.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::{
    messages::{
        DescribeLogDirsRequest, DescribeLogDirsResponse,
        describe_log_dirs_response::{DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic},
    },
    protocol::StrBytes,
};

use super::{Log, ReplicaState};
use crate::{
    model::Model,
    request::{Context, Reply},
    topics::text,
};

/// The only directory of every broker, which does not really exist.
const DIRECTORY: &str = "/memory";

impl Model {
    /// The broker's replicas, of those that are asked for. Partitions without a replica here are left out, as in Kafka.
    pub(crate) fn handle_describe_log_dirs(
        &mut self,
        context: &Context,
        request: DescribeLogDirsRequest,
    ) -> Reply {
        let asked: Option<BTreeMap<String, BTreeSet<i32>>> = request.topics.map(|topics| {
            let mut asked: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
            for topic in topics {
                asked.entry(topic.topic.as_str().to_owned()).or_default().extend(topic.partitions);
            }
            asked
        });
        let is_asked = |name: &str, partition: i32| {
            let partitions = asked.as_ref().map(|asked| asked.get(name));
            partitions.is_none_or(|partitions| partitions.is_some_and(|all| all.contains(&partition)))
        };
        let mut topics = Vec::new();
        for (name, topic) in &self.topics.all {
            let mut partitions = Vec::new();
            for (index, partition) in (0..).zip(&topic.partitions) {
                if !partition.replicas.contains(&context.broker) || !is_asked(name, index) {
                    continue;
                }
                let replica = ReplicaState::of(partition, context.broker);
                let size = partition.log.bytes_before(replica.end);
                let lag = partition.log.high_watermark().saturating_sub(replica.end).max(0);
                partitions.push(
                    DescribeLogDirsPartition::default()
                        .with_partition_index(index)
                        .with_partition_size(i64::try_from(size).unwrap_or(i64::MAX))
                        .with_offset_lag(lag),
                );
            }
            if !partitions.is_empty() {
                let named = DescribeLogDirsTopic::default().with_name(text(name).into());
                topics.push(named.with_partitions(partitions));
            }
        }
        let directory = DescribeLogDirsResult::default().with_log_dir(StrBytes::from_static_str(DIRECTORY));
        let answer = DescribeLogDirsResponse::default();
        answer.with_results(vec![directory.with_topics(topics)]).into()
    }
}

impl Log {
    /// The bytes of the present batches that end before this offset.
    pub(super) fn bytes_before(&self, offset: i64) -> u64 {
        let begins = self.batches.first().map_or(0, |first| first.position);
        self.size_to(self.at_or_after(offset)).saturating_sub(begins)
    }
}
