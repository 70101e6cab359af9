//! The partitions of an answer, whatever the API calls them.

use kafka_protocol::messages::{
    ResponseKind,
    add_partitions_to_txn_response::AddPartitionsToTxnPartitionResult,
    delete_records_response::DeleteRecordsPartitionResult,
    describe_producers_response::PartitionResponse,
    describe_topic_partitions_response::DescribeTopicPartitionsResponsePartition,
    fetch_response::PartitionData,
    list_offsets_response::ListOffsetsPartitionResponse,
    metadata_response::MetadataResponsePartition,
    offset_commit_response::OffsetCommitResponsePartition,
    offset_delete_response::OffsetDeleteResponsePartition,
    offset_fetch_response::{OffsetFetchResponsePartition, OffsetFetchResponsePartitions},
    offset_for_leader_epoch_response::EpochEndOffset,
    produce_response::PartitionProduceResponse,
    txn_offset_commit_response::TxnOffsetCommitResponsePartition,
};
use uuid::Uuid;

use super::{failure, rewrite::Answered};

/// One partition of an answer.
pub(super) trait ResponsePartition: Clone {
    fn index(&mut self) -> &mut i32;

    /// Replaces the content by this error alone, as a broker does.
    fn fail(&mut self, code: i16);
}

/// An operation on each topic's partitions.
pub(super) trait Visit {
    fn partitions(&mut self, list: &mut Vec<impl ResponsePartition>);
}

/// Visits the partitions of the answer's topics, limited to the topics that the rule is about.
pub(super) fn visit(response: &mut ResponseKind, answered: &Answered<'_>, visitor: &mut impl Visit) {
    use ResponseKind as A;
    let named = |name: &str| answered.concerns(name, Uuid::nil());
    macro_rules! each {
        ($topics:expr, $topic:ident, $wanted:expr, $partitions:ident) => {
            for $topic in $topics {
                if $wanted {
                    visitor.partitions(&mut $topic.$partitions);
                }
            }
        };
    }
    match response {
        A::Metadata(r) => each!(
            &mut r.topics,
            t,
            answered.concerns(t.name.as_ref().map_or("", |name| name.as_str()), t.topic_id),
            partitions
        ),
        A::DescribeTopicPartitions(r) => each!(
            &mut r.topics,
            t,
            answered.concerns(t.name.as_ref().map_or("", |name| name.as_str()), t.topic_id),
            partitions
        ),
        A::Produce(r) => {
            each!(&mut r.responses, t, answered.concerns(&t.name, t.topic_id), partition_responses)
        }
        A::Fetch(r) => each!(&mut r.responses, t, answered.concerns(&t.topic, t.topic_id), partitions),
        A::ListOffsets(r) => each!(&mut r.topics, t, named(&t.name), partitions),
        A::OffsetForLeaderEpoch(r) => each!(&mut r.topics, t, named(&t.topic), partitions),
        A::DeleteRecords(r) => each!(&mut r.topics, t, named(&t.name), partitions),
        A::DescribeProducers(r) => each!(&mut r.topics, t, named(&t.name), partitions),
        A::OffsetCommit(r) => {
            each!(&mut r.topics, t, answered.concerns(&t.name, t.topic_id), partitions)
        }
        A::TxnOffsetCommit(r) => each!(&mut r.topics, t, named(&t.name), partitions),
        A::OffsetDelete(r) => each!(&mut r.topics, t, named(&t.name), partitions),
        A::OffsetFetch(r) => {
            each!(&mut r.topics, t, named(&t.name), partitions);
            for group in &mut r.groups {
                each!(&mut group.topics, t, answered.concerns(&t.name, t.topic_id), partitions);
            }
        }
        A::AddPartitionsToTxn(r) => {
            each!(&mut r.results_by_topic_v3_and_below, t, named(&t.name), results_by_partition);
            for result in &mut r.results_by_transaction {
                each!(&mut result.topic_results, t, named(&t.name), results_by_partition);
            }
        }
        _ => {}
    }
}

macro_rules! place {
    ($type:ty, $index:ident, |$place:ident, $code:ident| $fail:expr) => {
        impl ResponsePartition for $type {
            fn index(&mut self) -> &mut i32 {
                &mut self.$index
            }

            fn fail(&mut self, code: i16) {
                let ($place, $code) = (self, code);
                $fail
            }
        }
    };
}

place!(PartitionData, partition_index, |p, code| *p = failure::unfetched(p.partition_index, code));
place!(PartitionProduceResponse, index, |p, code| {
    *p = failure::unproduced(p.index, code);
});
place!(ListOffsetsPartitionResponse, partition_index, |p, code| {
    *p = failure::unlisted(p.partition_index, code);
});
place!(EpochEndOffset, partition, |p, code| *p = failure::no_end_offset(p.partition, code));
place!(MetadataResponsePartition, partition_index, |p, code| {
    p.error_code = code;
    p.leader_id = (-1).into();
});
place!(DescribeTopicPartitionsResponsePartition, partition_index, |p, code| {
    p.error_code = code;
    p.leader_id = (-1).into();
});
place!(OffsetFetchResponsePartition, partition_index, |p, code| {
    (p.error_code, p.committed_offset, p.committed_leader_epoch) = (code, -1, -1);
    p.metadata = Some(Default::default());
});
place!(OffsetFetchResponsePartitions, partition_index, |p, code| {
    (p.error_code, p.committed_offset, p.committed_leader_epoch) = (code, -1, -1);
    p.metadata = Some(Default::default());
});
place!(OffsetCommitResponsePartition, partition_index, |p, code| p.error_code = code);
place!(TxnOffsetCommitResponsePartition, partition_index, |p, code| p.error_code = code);
place!(OffsetDeleteResponsePartition, partition_index, |p, code| p.error_code = code);
place!(DeleteRecordsPartitionResult, partition_index, |p, code| {
    (p.error_code, p.low_watermark) = (code, -1);
});
place!(PartitionResponse, partition_index, |p, code| {
    p.error_code = code;
    p.active_producers.clear();
});
place!(AddPartitionsToTxnPartitionResult, partition_index, |p, code| p.partition_error_code = code);
