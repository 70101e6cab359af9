//! Every API can report an error and a throttle time.

use kafka_protocol::messages::*;

use super::*;
use crate::{api::VERSIONS, faults::failure};

/// A request of each API that asks for one item of each kind.
fn request(key: ApiKey, version: i16) -> RequestKind {
    use RequestKind as R;
    let topic = || TopicName(StrBytes::from_static_str("t"));
    let group = || GroupId(StrBytes::from_static_str("g"));
    let id = || TransactionalId(StrBytes::from_static_str("x"));
    macro_rules! plain {
        ($($name:ident $request:ident),*) => {
            match key {
                $(ApiKey::$name => return R::$name($request::default()),)*
                _ => {}
            }
        };
    }
    plain!(
        ApiVersions ApiVersionsRequest, DescribeCluster DescribeClusterRequest, JoinGroup JoinGroupRequest,
        SyncGroup SyncGroupRequest, Heartbeat HeartbeatRequest, LeaveGroup LeaveGroupRequest,
        OffsetDelete OffsetDeleteRequest, ListGroups ListGroupsRequest, InitProducerId InitProducerIdRequest,
        ConsumerGroupHeartbeat ConsumerGroupHeartbeatRequest, AddOffsetsToTxn AddOffsetsToTxnRequest,
        EndTxn EndTxnRequest, ListTransactions ListTransactionsRequest, SaslHandshake SaslHandshakeRequest,
        SaslAuthenticate SaslAuthenticateRequest, DescribeLogDirs DescribeLogDirsRequest
    );
    match key {
        ApiKey::FindCoordinator => R::FindCoordinator(
            FindCoordinatorRequest::default().with_coordinator_keys(vec![StrBytes::default()]),
        ),
        ApiKey::Metadata => R::Metadata(MetadataRequest::default().with_topics(Some(vec![
            metadata_request::MetadataRequestTopic::default().with_name(Some(topic())),
        ]))),
        ApiKey::DescribeTopicPartitions => {
            let topic = describe_topic_partitions_request::TopicRequest::default().with_name(topic());
            R::DescribeTopicPartitions(DescribeTopicPartitionsRequest::default().with_topics(vec![topic]))
        }
        ApiKey::CreateTopics => R::CreateTopics(
            CreateTopicsRequest::default()
                .with_topics(vec![create_topics_request::CreatableTopic::default().with_name(topic())]),
        ),
        ApiKey::DeleteTopics => {
            R::DeleteTopics(DeleteTopicsRequest::default().with_topic_names(vec![topic()]).with_topics(vec![
                delete_topics_request::DeleteTopicState::default().with_name(Some(topic())),
            ]))
        }
        ApiKey::CreatePartitions => R::CreatePartitions(
            CreatePartitionsRequest::default()
                .with_topics(vec![create_partitions_request::CreatePartitionsTopic::default()]),
        ),
        ApiKey::DescribeConfigs => R::DescribeConfigs(
            DescribeConfigsRequest::default()
                .with_resources(vec![describe_configs_request::DescribeConfigsResource::default()]),
        ),
        ApiKey::IncrementalAlterConfigs => R::IncrementalAlterConfigs(
            IncrementalAlterConfigsRequest::default()
                .with_resources(vec![incremental_alter_configs_request::AlterConfigsResource::default()]),
        ),
        ApiKey::Produce => R::Produce(ProduceRequest::default().with_acks(1).with_topic_data(vec![
            produce_request::TopicProduceData::default()
                .with_partition_data(vec![produce_request::PartitionProduceData::default()]),
        ])),
        ApiKey::Fetch => R::Fetch(FetchRequest::default().with_topics(vec![
            fetch_request::FetchTopic::default()
                .with_partitions(vec![fetch_request::FetchPartition::default()]),
        ])),
        ApiKey::ListOffsets => R::ListOffsets(ListOffsetsRequest::default().with_topics(vec![
            list_offsets_request::ListOffsetsTopic::default()
                .with_partitions(vec![list_offsets_request::ListOffsetsPartition::default()]),
        ])),
        ApiKey::OffsetForLeaderEpoch => {
            R::OffsetForLeaderEpoch(OffsetForLeaderEpochRequest::default().with_topics(vec![
                offset_for_leader_epoch_request::OffsetForLeaderTopic::default().with_partitions(vec![
                    offset_for_leader_epoch_request::OffsetForLeaderPartition::default(),
                ]),
            ]))
        }
        ApiKey::DeleteRecords => R::DeleteRecords(DeleteRecordsRequest::default().with_topics(vec![
            delete_records_request::DeleteRecordsTopic::default()
                .with_partitions(vec![delete_records_request::DeleteRecordsPartition::default()]),
        ])),
        ApiKey::DescribeProducers => {
            R::DescribeProducers(DescribeProducersRequest::default().with_topics(vec![
                describe_producers_request::TopicRequest::default().with_partition_indexes(vec![0]),
            ]))
        }
        ApiKey::OffsetCommit => R::OffsetCommit(OffsetCommitRequest::default().with_topics(vec![
                OffsetCommitRequestTopic::default()
                    .with_partitions(vec![OffsetCommitRequestPartition::default()]),
            ])),
        ApiKey::OffsetFetch if version >= 8 => R::OffsetFetch(
            OffsetFetchRequest::default()
                .with_groups(vec![offset_fetch_request::OffsetFetchRequestGroup::default()]),
        ),
        ApiKey::OffsetFetch => R::OffsetFetch(OffsetFetchRequest::default().with_topics(Some(vec![
            offset_fetch_request::OffsetFetchRequestTopic::default().with_partition_indexes(vec![0]),
        ]))),
        ApiKey::DescribeGroups => {
            R::DescribeGroups(DescribeGroupsRequest::default().with_groups(vec![group()]))
        }
        ApiKey::DeleteGroups => {
            R::DeleteGroups(DeleteGroupsRequest::default().with_groups_names(vec![group()]))
        }
        ApiKey::ConsumerGroupDescribe => {
            R::ConsumerGroupDescribe(ConsumerGroupDescribeRequest::default().with_group_ids(vec![group()]))
        }
        ApiKey::AddPartitionsToTxn => {
            let topic =
                add_partitions_to_txn_request::AddPartitionsToTxnTopic::default().with_partitions(vec![0]);
            R::AddPartitionsToTxn(AddPartitionsToTxnRequest::default().with_v3_and_below_topics(vec![topic]))
        }
        ApiKey::TxnOffsetCommit => R::TxnOffsetCommit(TxnOffsetCommitRequest::default().with_topics(vec![
                txn_offset_commit_request::TxnOffsetCommitRequestTopic::default().with_partitions(vec![
                    txn_offset_commit_request::TxnOffsetCommitRequestPartition::default(),
                ]),
            ])),
        ApiKey::DescribeTransactions => {
            R::DescribeTransactions(DescribeTransactionsRequest::default().with_transactional_ids(vec![id()]))
        }
        other => panic!("{other:?} has no request here"),
    }
}

#[test]
fn can_say_that_it_failed_in_every_version() {
    const CODE: i16 = 0x5A5B; // no other field has these bytes
    for (key, min, max) in VERSIONS {
        for version in *min..=*max {
            let request = request(*key, version);
            let answer = failure::answer(&request, version, CODE).unwrap();
            let mut bytes = BytesMut::new();
            answer.encode(&mut bytes, version).unwrap_or_else(|error| panic!("{key:?} v{version}: {error}"));
            let said = bytes.windows(2).filter(|two| **two == CODE.to_be_bytes()).count();
            // Metadata from 13 on and Fetch from 7 to 12 report it at both levels.
            let both = matches!((key, version), (ApiKey::Metadata, 13) | (ApiKey::Fetch, 7..=12));
            assert_eq!(said, if both { 2 } else { 1 }, "{key:?} v{version}");
            ResponseKind::decode(*key, &mut bytes.freeze(), version).unwrap();
        }
    }
}

#[test]
fn can_say_that_it_is_throttled() {
    // The SASL APIs have no such field.
    let is_sasl = |key: &ApiKey| matches!(key, ApiKey::SaslHandshake | ApiKey::SaslAuthenticate);
    for (key, _, max) in VERSIONS.iter().filter(|(key, ..)| !is_sasl(key)) {
        let mut answer = failure::answer(&request(*key, *max), *max, 0).unwrap();
        crate::faults::throttle::set(&mut answer, 0x5A5B);
        let mut bytes = BytesMut::new();
        answer.encode(&mut bytes, *max).unwrap();
        assert!(bytes.windows(4).any(|four| *four == [0, 0, 0x5A, 0x5B]), "{key:?}");
    }
}
