//! `throttle_time_ms`, a field that nearly every answer has somewhere.

use kafka_protocol::messages::ResponseKind;

/// Sets how long the client is throttled. Versions without the field leave it out.
pub(super) fn set(response: &mut ResponseKind, millis: i32) {
    macro_rules! set {
        ($($name:ident)*) => {
            match response {
                $(ResponseKind::$name(answer) => answer.throttle_time_ms = millis,)*
                _ => {}
            }
        };
    }
    set!(
        ApiVersions Metadata DescribeCluster DescribeTopicPartitions CreateTopics DeleteTopics CreatePartitions
        DescribeConfigs IncrementalAlterConfigs Produce Fetch ListOffsets OffsetForLeaderEpoch DeleteRecords
        DescribeLogDirs DescribeProducers FindCoordinator JoinGroup SyncGroup Heartbeat LeaveGroup OffsetCommit OffsetFetch OffsetDelete
        ListGroups DescribeGroups DeleteGroups ConsumerGroupHeartbeat ConsumerGroupDescribe InitProducerId
        AddPartitionsToTxn AddOffsetsToTxn EndTxn TxnOffsetCommit DescribeTransactions ListTransactions
    );
}
