//! [`KafkaVersion`]: the API versions of brokers of older releases.

use crate::{api::VERSIONS, kafka::ApiKey};

/// A release of Kafka, by the versions of the APIs that its brokers advertise.
///
/// Only the highest versions differ: the lowest are those of the cluster in the box, which may be higher than the old
/// broker's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum KafkaVersion {
    /// 2.8: fetches by topic name, looks up one coordinator at a time, no KIP-848.
    V2_8,
    /// 3.3: topic ids in Fetch (KIP-516), several groups in one OffsetFetch, no KIP-848.
    V3_3,
    /// 3.9 with its default settings, so without KIP-848.
    V3_9,
    /// 4.0: KIP-848 and KIP-890; Produce and OffsetCommit by topic name.
    V4_0,
}

impl KafkaVersion {
    /// API, lowest and highest version, of every API in which these brokers differ from Kafka 4.3. An API that they do
    /// not support at all has a highest version below the lowest.
    pub fn limits(self) -> Vec<(ApiKey, i16, i16)> {
        let column = match self {
            Self::V2_8 => 0,
            Self::V3_3 => 1,
            Self::V3_9 => 2,
            Self::V4_0 => 3,
        };
        let highest = |key: ApiKey| {
            HIGHEST.iter().find(|(known, _)| *known == key).and_then(|(_, row)| row.get(column).copied())
        };
        let ranges = VERSIONS.iter().filter_map(|(key, min, max)| {
            let key = ApiKey::from_number(*key as i16)?;
            let highest = highest(key)?;
            (highest < *max).then_some((key, *min, highest))
        });
        ranges.collect()
    }
}

/// The highest versions of 2.8, 3.3, 3.9 and 4.0; -1 where an API is not supported.
const HIGHEST: &[(ApiKey, [i16; 4])] = &[
    (ApiKey::Produce, [9, 9, 11, 12]),
    (ApiKey::Fetch, [12, 13, 17, 17]),
    (ApiKey::ListOffsets, [6, 7, 9, 10]),
    (ApiKey::Metadata, [11, 12, 12, 13]),
    (ApiKey::OffsetCommit, [8, 8, 9, 9]),
    (ApiKey::OffsetFetch, [7, 8, 9, 9]),
    (ApiKey::FindCoordinator, [3, 4, 6, 6]),
    (ApiKey::JoinGroup, [7, 9, 9, 9]),
    (ApiKey::LeaveGroup, [4, 5, 5, 5]),
    (ApiKey::DescribeGroups, [5, 5, 5, 6]),
    (ApiKey::ListGroups, [4, 4, 5, 5]),
    (ApiKey::ApiVersions, [3, 3, 4, 4]),
    (ApiKey::InitProducerId, [4, 4, 5, 5]),
    (ApiKey::AddPartitionsToTxn, [3, 3, 5, 5]),
    (ApiKey::AddOffsetsToTxn, [3, 3, 4, 4]),
    (ApiKey::EndTxn, [3, 3, 4, 5]),
    (ApiKey::TxnOffsetCommit, [3, 3, 4, 5]),
    (ApiKey::DescribeLogDirs, [2, 4, 4, 4]),
    (ApiKey::DescribeCluster, [0, 0, 1, 2]),
    (ApiKey::DescribeTransactions, [-1, 0, 0, 0]),
    (ApiKey::ListTransactions, [-1, 0, 1, 1]),
    (ApiKey::ConsumerGroupHeartbeat, [-1, -1, -1, 1]),
    (ApiKey::ConsumerGroupDescribe, [-1, -1, -1, 1]),
    (ApiKey::DescribeTopicPartitions, [-1, -1, 0, 0]),
];
