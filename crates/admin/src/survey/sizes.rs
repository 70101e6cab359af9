//! The sizes of logs.

use std::collections::{BTreeMap, BTreeSet};

use offtake_machine::{BrokerId, TopicPartition, offsets::by_topic};
use offtake_wire::{
    DescribeLogDirsRequest, DescribeLogDirsResponse, ErrorCode, Message,
    messages::describe_log_dirs::DescribableLogDirTopic,
};

use super::{Answers, Survey};

const WHAT: &str = "read the sizes of logs";

impl Survey<'_> {
    /// The size of each log in bytes on its leader's disk: its segments, without their indexes. Each of these leaders gets one
    /// request. A partition without a replica there, or on a failed disk, is missing in the result; replicas that are being moved
    /// to another disk of the same broker are left out.
    ///
    /// Brokers with ACLs require `DESCRIBE` on the cluster; without it everything fails with `CLUSTER_AUTHORIZATION_FAILED`.
    pub async fn sizes(
        &mut self,
        leaders: &BTreeMap<BrokerId, Vec<TopicPartition>>,
    ) -> Answers<TopicPartition, u64> {
        let requests = leaders.iter().filter(|(_, partitions)| !partitions.is_empty());
        let requests =
            requests.map(|(leader, partitions)| (partitions.clone(), *leader, request(partitions)));
        let requests = requests.collect();
        self.ask(DescribeLogDirsRequest::VERSIONS.max, WHAT, requests, |answers, leader, about, answer| {
            let refusal = match answer.error_code {
                // This is the refusal of brokers before 3.2 (KIP-784); a broker without a directory does not start.
                ErrorCode::None if answer.results.is_empty() => ErrorCode::ClusterAuthorizationFailed,
                code => code,
            };
            if refusal != ErrorCode::None {
                about.into_iter().for_each(|partition| answers.fail(leader, partition, WHAT, refusal));
                return;
            }
            let about: BTreeSet<_> = about.into_iter().collect();
            for (partition, size) in sizes(answer) {
                if about.contains(&partition) {
                    // Two directories contain it for a moment when one replica has replaced the other.
                    let known = answers.found.entry(partition).or_insert(0);
                    *known = size.max(*known);
                }
            }
        })
        .await
    }
}

fn request(partitions: &[TopicPartition]) -> DescribeLogDirsRequest {
    let topics = by_topic(partitions.iter().map(|partition| (partition, ())));
    let topics = topics.into_iter().map(|(topic, partitions)| DescribableLogDirTopic {
        topic: topic.as_str().to_owned(),
        partitions: partitions.into_iter().map(|(partition, ())| partition).collect(),
    });
    DescribeLogDirsRequest { topics: Some(topics.collect()) }
}

/// The partitions in working directories, without future replicas.
fn sizes(answer: DescribeLogDirsResponse) -> impl Iterator<Item = (TopicPartition, u64)> {
    let works = answer.results.into_iter().filter(|directory| directory.error_code == ErrorCode::None);
    works.flat_map(|directory| directory.topics).flat_map(|topic| {
        let current = topic.partitions.into_iter().filter(|replica| !replica.is_future_key);
        current.filter_map(move |replica| {
            let partition = TopicPartition::new(topic.name.as_str(), replica.partition_index);
            Some((partition, u64::try_from(replica.partition_size).ok()?))
        })
    })
}
