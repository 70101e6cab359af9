//! Requests about offsets: ListOffsets, OffsetForLeaderEpoch, DeleteRecords.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::{
    error::ResponseError,
    messages::{
        DeleteRecordsRequest, DeleteRecordsResponse, ListOffsetsRequest, ListOffsetsResponse,
        OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
        delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult},
        list_offsets_request::ListOffsetsPartition,
        list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse},
        offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult},
    },
};

use super::{
    ReplicaState,
    lookup::Found,
    replica::{cleans_by, number},
};
use crate::{
    model::Model,
    request::{Context, Reply},
};

/// The sender and the kind of a request for offsets.
struct Requester {
    broker: i32,
    version: i16,
    replica: i32,
    committed: bool,
}

impl Model {
    pub(crate) fn handle_list_offsets(&mut self, context: &Context, request: ListOffsetsRequest) -> Reply {
        let requester = Requester {
            broker: context.broker,
            version: context.version,
            replica: request.replica_id.0,
            committed: request.isolation_level == 1,
        };
        let mut asked = BTreeMap::new();
        for topic in &request.topics {
            for partition in &topic.partitions {
                *asked.entry((topic.name.0.clone(), partition.partition_index)).or_insert(0) += 1;
            }
        }
        let twice: BTreeSet<_> =
            asked.into_iter().filter(|(_, times)| *times > 1).map(|(place, _)| place).collect();
        let mut topics = Vec::new();
        for topic in request.topics {
            let mut partitions = Vec::new();
            let mut refused_twice = BTreeSet::new();
            for partition in &topic.partitions {
                let index = partition.partition_index;
                if twice.contains(&(topic.name.0.clone(), index)) && !refused_twice.insert(index) {
                    continue;
                }
                let result = if twice.contains(&(topic.name.0.clone(), index)) {
                    Err(ResponseError::InvalidRequest)
                } else {
                    self.list_offset(&requester, topic.name.as_str(), partition)
                };
                let answer = ListOffsetsPartitionResponse::default().with_partition_index(index);
                partitions.push(match result {
                    Ok(Some(found)) => answer
                        .with_timestamp(found.timestamp)
                        .with_offset(found.offset)
                        .with_leader_epoch(if requester.version >= 4 { found.leader_epoch } else { -1 }),
                    Ok(None) => answer,
                    Err(code) => {
                        self.refused(context, code);
                        answer.with_error_code(code.code())
                    }
                });
            }
            topics
                .push(ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions));
        }
        ListOffsetsResponse::default().with_topics(topics).into()
    }

    fn list_offset(
        &mut self,
        requester: &Requester,
        topic: &str,
        asked: &ListOffsetsPartition,
    ) -> Result<Option<Found>, ResponseError> {
        const DEBUGGING: i32 = -2;
        if asked.timestamp < 0 && special_since(asked.timestamp).is_none_or(|since| requester.version < since)
        {
            return Err(ResponseError::UnsupportedVersion);
        }
        let place = (topic, asked.partition_index);
        let leader_only = requester.replica != DEBUGGING;
        let found = self.replica(requester.broker, place, asked.current_leader_epoch, leader_only)?;
        let replica = ReplicaState::of(found, requester.broker);
        let is_client = requester.replica == -1;
        let fetchable = match (is_client, requester.committed) {
            (true, true) => replica.last_stable,
            (true, false) => replica.high_watermark,
            (false, _) => replica.end,
        };
        let log = &found.log;
        // A new leader that has not yet confirmed the log it took over does not report the log end (KIP-207).
        let unsure =
            is_client && log.epochs.latest().is_some_and(|(_, start)| start > replica.high_watermark);
        let not_available = if requester.version >= 5 {
            ResponseError::OffsetNotAvailable
        } else {
            ResponseError::LeaderNotAvailable
        };
        let sure = |found: Option<Found>| match found {
            Some(found) if found.offset < fetchable => Ok(Some(found)),
            _ if unsure => Err(not_available),
            _ => Ok(None),
        };
        match asked.timestamp {
            LATEST if unsure => Err(not_available),
            LATEST => Ok(Some(Found { timestamp: -1, offset: fetchable, leader_epoch: found.leader_epoch })),
            EARLIEST | EARLIEST_LOCAL => {
                let leader_epoch = log.epochs.of(replica.start).unwrap_or(-1);
                Ok(Some(Found { timestamp: -1, offset: replica.start, leader_epoch }))
            }
            MAX_TIMESTAMP => sure(log.at_latest_time()),
            // Tiered storage is not implemented, so there is never a tiered offset.
            LATEST_TIERED => sure(Some(Found { timestamp: -1, offset: -1, leader_epoch: -1 })),
            timestamp => sure(log.at_time(timestamp)),
        }
    }

    pub(crate) fn handle_offset_for_leader_epoch(
        &mut self,
        context: &Context,
        request: OffsetForLeaderEpochRequest,
    ) -> Reply {
        let mut topics = Vec::new();
        for topic in request.topics {
            let mut partitions = Vec::new();
            for asked in &topic.partitions {
                let mut answer = EpochEndOffset::default().with_partition(asked.partition);
                let place = (topic.topic.as_str(), asked.partition);
                match self.replica(context.broker, place, asked.current_leader_epoch, true) {
                    Ok(found) => {
                        let end = found.log.epochs.end_of(asked.leader_epoch, found.log.end());
                        (answer.leader_epoch, answer.end_offset) = end.unwrap_or((-1, -1));
                    }
                    Err(code) => answer.error_code = code.code(),
                }
                partitions.push(answer);
            }
            topics.push(
                OffsetForLeaderTopicResult::default().with_topic(topic.topic).with_partitions(partitions),
            );
        }
        OffsetForLeaderEpochResponse::default().with_topics(topics).into()
    }

    pub(crate) fn handle_delete_records(
        &mut self,
        context: &Context,
        request: DeleteRecordsRequest,
    ) -> Reply {
        let mut topics = Vec::new();
        for topic in request.topics {
            let mut partitions = Vec::new();
            for asked in &topic.partitions {
                let place = (topic.name.as_str(), asked.partition_index);
                let answer =
                    DeleteRecordsPartitionResult::default().with_partition_index(asked.partition_index);
                partitions.push(match self.delete_records(context.broker, place, asked.offset) {
                    Ok(start) => answer.with_low_watermark(start),
                    Err(code) => answer.with_low_watermark(-1).with_error_code(code.code()),
                });
            }
            topics
                .push(DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(partitions));
        }
        DeleteRecordsResponse::default().with_topics(topics).into()
    }

    fn delete_records(&mut self, broker: i32, place: (&str, i32), offset: i64) -> Result<i64, ResponseError> {
        const HIGH_WATERMARK: i64 = -1;
        if self.topics.partition(place.0, place.1).is_none() {
            return Err(ResponseError::UnknownTopicOrPartition);
        }
        let topic = self.topics.all.get(place.0).ok_or(ResponseError::UnknownTopicOrPartition)?;
        if topic.internal {
            return Err(ResponseError::InvalidTopicException);
        }
        let may_delete = cleans_by(topic, "delete");
        let found = self.replica(broker, place, -1, true)?;
        if !may_delete {
            return Err(ResponseError::PolicyViolation);
        }
        let log = &mut found.log;
        let offset = if offset == HIGH_WATERMARK { log.high_watermark() } else { offset };
        if offset < 0 || offset > log.high_watermark() {
            return Err(ResponseError::OffsetOutOfRange);
        }
        log.move_start(offset);
        let start = log.start();
        self.wake_fetches(place.0, place.1);
        Ok(start)
    }

    /// Drops the oldest batches of a partition by its topic's `retention.ms` and `retention.bytes`, as Kafka
    /// periodically does with segments. Returns the new start of the log.
    pub fn retain(&mut self, topic: &str, partition: i32) -> Option<i64> {
        const WEEK: i64 = 7 * 24 * 3_600_000;
        let now = self.wall_ms();
        let configured = self.topics.all.get(topic)?;
        let age = number(configured, "retention.ms", WEEK);
        let bytes = number(configured, "retention.bytes", -1);
        let deletes = cleans_by(configured, "delete");
        let log = &mut self.topics.partition_mut(topic, partition)?.log;
        if !deletes {
            return Some(log.start());
        }
        let mut kept = log.bytes_before(log.end());
        let mut start = log.start();
        for stored in &log.batches {
            let header = &stored.batch.header;
            let size = stored.batch.size() as u64;
            let too_old = age >= 0 && now.saturating_sub(header.max_timestamp) > age;
            let too_many = u64::try_from(bytes).is_ok_and(|bytes| kept >= bytes.saturating_add(size));
            if !(too_old || too_many) || header.last_offset() >= log.high_watermark() {
                break;
            }
            kept -= size;
            start = header.last_offset() + 1;
        }
        log.move_start(start);
        self.wake_fetches(topic, partition);
        Some(start)
    }
}

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

/// The version that introduced a special timestamp.
fn special_since(timestamp: i64) -> Option<i16> {
    match timestamp {
        LATEST | EARLIEST => Some(1),
        MAX_TIMESTAMP => Some(7),
        EARLIEST_LOCAL => Some(8),
        LATEST_TIERED => Some(9),
        _ => None,
    }
}
