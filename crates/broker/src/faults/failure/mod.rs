//! How each API reports that a whole request failed: the answer of Kafka's brokers when handling it threw an error.
//!
//! Some APIs have a top-level error, some repeat the error for each requested item, and some moved from one to the
//! other with a version.

mod admin;
mod data;
mod groups;
mod transactions;

use kafka_protocol::messages::{
    ApiVersionsResponse, FindCoordinatorResponse, RequestKind, ResponseKind, SaslAuthenticateResponse,
    SaslHandshakeResponse, find_coordinator_response::Coordinator,
};
use kafka_protocol::protocol::StrBytes;

pub(super) use data::{no_end_offset, unfetched, unlisted, unproduced};

/// The answer that reports `code` for the whole request; `None` where there is no such answer: for a Produce without
/// acknowledgement, where Kafka closes the connection instead, or for an unsupported API.
pub(super) fn answer(request: &RequestKind, version: i16, code: i16) -> Option<ResponseKind> {
    use RequestKind as R;
    use ResponseKind as A;
    Some(match request {
        R::ApiVersions(_) => A::ApiVersions(ApiVersionsResponse::default().with_error_code(code)),
        R::SaslHandshake(_) => A::SaslHandshake(SaslHandshakeResponse::default().with_error_code(code)),
        R::SaslAuthenticate(_) => {
            A::SaslAuthenticate(SaslAuthenticateResponse::default().with_error_code(code))
        }
        R::FindCoordinator(r) => {
            let nowhere = StrBytes::default;
            let answer = FindCoordinatorResponse::default();
            A::FindCoordinator(if version < 4 {
                answer.with_error_code(code).with_node_id((-1).into()).with_host(nowhere()).with_port(-1)
            } else {
                let failed = |key: &StrBytes| {
                    let place = Coordinator::default().with_key(key.clone()).with_error_code(code);
                    place.with_node_id((-1).into()).with_host(nowhere()).with_port(-1)
                };
                answer.with_coordinators(r.coordinator_keys.iter().map(failed).collect())
            })
        }

        R::Metadata(r) => A::Metadata(admin::metadata(r, version, code)),
        R::DescribeCluster(_) => A::DescribeCluster(admin::describe_cluster(code)),
        R::DescribeTopicPartitions(r) => {
            A::DescribeTopicPartitions(admin::describe_topic_partitions(r, code))
        }
        R::CreateTopics(r) => A::CreateTopics(admin::create_topics(r, code)),
        R::DeleteTopics(r) => A::DeleteTopics(admin::delete_topics(r, version, code)),
        R::CreatePartitions(r) => A::CreatePartitions(admin::create_partitions(r, code)),
        R::DescribeConfigs(r) => A::DescribeConfigs(admin::describe_configs(r, code)),
        R::IncrementalAlterConfigs(r) => {
            A::IncrementalAlterConfigs(admin::incremental_alter_configs(r, code))
        }

        R::Produce(r) if r.acks == 0 => return None,
        R::Produce(r) => A::Produce(data::produce(r, code)),
        R::Fetch(r) => A::Fetch(data::fetch(r, version, code)),
        R::ListOffsets(r) => A::ListOffsets(data::list_offsets(r, code)),
        R::OffsetForLeaderEpoch(r) => A::OffsetForLeaderEpoch(data::offset_for_leader_epoch(r, code)),
        R::DeleteRecords(r) => A::DeleteRecords(data::delete_records(r, code)),
        R::DescribeLogDirs(_) => A::DescribeLogDirs(data::describe_log_dirs(version, code)),
        R::DescribeProducers(r) => A::DescribeProducers(data::describe_producers(r, code)),

        R::JoinGroup(_) => A::JoinGroup(groups::join_group(version, code)),
        R::SyncGroup(_) => A::SyncGroup(groups::sync_group(code)),
        R::Heartbeat(_) => A::Heartbeat(groups::heartbeat(code)),
        R::LeaveGroup(_) => A::LeaveGroup(groups::leave_group(code)),
        R::OffsetCommit(r) => A::OffsetCommit(groups::offset_commit(r, code)),
        R::OffsetFetch(r) => A::OffsetFetch(groups::offset_fetch(r, version, code)),
        R::OffsetDelete(_) => A::OffsetDelete(groups::offset_delete(code)),
        R::ListGroups(_) => A::ListGroups(groups::list_groups(code)),
        R::DescribeGroups(r) => A::DescribeGroups(groups::describe_groups(r, code)),
        R::DeleteGroups(r) => A::DeleteGroups(groups::delete_groups(r, code)),
        R::ConsumerGroupHeartbeat(_) => A::ConsumerGroupHeartbeat(groups::consumer_group_heartbeat(code)),
        R::ConsumerGroupDescribe(r) => A::ConsumerGroupDescribe(groups::consumer_group_describe(r, code)),

        R::InitProducerId(_) => A::InitProducerId(transactions::init_producer_id(code)),
        R::AddPartitionsToTxn(r) => {
            A::AddPartitionsToTxn(transactions::add_partitions_to_txn(r, version, code))
        }
        R::AddOffsetsToTxn(_) => A::AddOffsetsToTxn(transactions::add_offsets_to_txn(code)),
        R::EndTxn(_) => A::EndTxn(transactions::end_txn(version, code)),
        R::TxnOffsetCommit(r) => A::TxnOffsetCommit(transactions::txn_offset_commit(r, code)),
        R::DescribeTransactions(r) => A::DescribeTransactions(transactions::describe_transactions(r, code)),
        R::ListTransactions(_) => A::ListTransactions(transactions::list_transactions(code)),
        _ => return None,
    })
}

/// Stands for an unknown offset, timestamp, epoch or producer.
const NONE: i64 = -1;
