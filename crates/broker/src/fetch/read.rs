//! Reads the partitions that a Fetch asks for.

use bytes::Bytes;
use kafka_protocol::{
    error::ResponseError,
    messages::{
        BrokerId,
        fetch_response::{AbortedTransaction, EpochEndOffset, PartitionData},
    },
};

use super::plan::{Plan, Wanted};
use crate::{
    log::{Limit, ReplicaState, Slice},
    model::Model,
    request::Context,
    topics::Partition,
};

/// The result of reading one partition of a plan.
#[derive(Debug)]
pub(super) enum PartitionRead {
    /// The partition does not exist: reported along with the others, but no reason to answer.
    Unreadable(ResponseError),
    /// Reading it was refused: a reason to answer at once.
    Refused(ResponseError),
    /// A replica nearer to the client has the data.
    Preferred(BrokerId, ReplicaState),
    /// The client's log has diverged from this one.
    Diverging {
        epoch: i32,
        end: i64,
        replica: ReplicaState,
    },
    Read(Slice, ReplicaState),
}

impl Model {
    /// Reads a plan's partitions in order, and returns whether that is enough for an answer now.
    pub(super) fn read_plan(&mut self, context: &Context, plan: &Plan) -> (Vec<PartitionRead>, bool) {
        let mut readings = Vec::with_capacity(plan.wanted.len());
        let mut left = plan.max_bytes;
        let mut got = 0_usize;
        let mut at_least_one = true;
        let mut urgent = false;
        let mut readable = false;
        for wanted in &plan.wanted {
            let reading = self.read_partition(context, plan, wanted, left, at_least_one);
            match &reading {
                PartitionRead::Unreadable(_) => {}
                PartitionRead::Read(slice, _) => {
                    readable = true;
                    at_least_one &= slice.records.is_empty();
                    got += slice.records.len();
                    left = left.saturating_sub(i32::try_from(slice.records.len()).unwrap_or(i32::MAX)).max(0);
                }
                PartitionRead::Refused(_)
                | PartitionRead::Preferred(..)
                | PartitionRead::Diverging { .. } => {
                    readable = true;
                    urgent = true;
                }
            }
            readings.push(reading);
        }
        let unreadable = unreadable(&readings);
        let enough = usize::try_from(plan.min_bytes).unwrap_or(0) <= got || unreadable > plan.unreadable;
        (readings, urgent || enough || !readable)
    }

    fn read_partition(
        &mut self,
        context: &Context,
        plan: &Plan,
        wanted: &Wanted,
        left: i32,
        at_least_one: bool,
    ) -> PartitionRead {
        let Some(name) = wanted.topic.as_deref() else {
            return PartitionRead::Unreadable(ResponseError::UnknownTopicId);
        };
        let place = (name, wanted.key.partition);
        let Some(topic) =
            self.topics.all.get(name).filter(|_| self.topics.partition(name, place.1).is_some())
        else {
            return PartitionRead::Unreadable(ResponseError::UnknownTopicOrPartition);
        };
        if context.version < 10 && topic.configs.get("compression.type").is_some_and(|codec| codec == "zstd")
        {
            return PartitionRead::Unreadable(ResponseError::UnsupportedCompressionType);
        }
        if !wanted.key.id.is_nil() && wanted.key.id != topic.id {
            return PartitionRead::Refused(ResponseError::InconsistentTopicId);
        }
        let nearer = self.nearer_replica(context.broker, plan, place, wanted.offset);
        // Followers fetch from the leader alone, and so do consumers without a rack.
        let leader_only = plan.is_follower() || plan.rack.is_none();
        let leader_only = leader_only && nearer.is_none();
        let found = match self.replica(context.broker, place, wanted.epoch, leader_only) {
            Ok(found) => found,
            Err(code) => return PartitionRead::Refused(code),
        };
        let replica = ReplicaState::of(found, context.broker);
        if let Some(nearer) = nearer {
            return PartitionRead::Preferred(nearer.into(), replica);
        }
        if plan.is_follower() && !found.replicas.contains(&plan.replica) {
            return PartitionRead::Refused(ResponseError::NotLeaderOrFollower);
        }
        if wanted.last_epoch >= 0 {
            match diverges(found, &replica, wanted) {
                Ok(None) => {}
                Ok(Some((epoch, end))) => return PartitionRead::Diverging { epoch, end, replica },
                Err(code) => return PartitionRead::Refused(code),
            }
        }
        let limit = Limit {
            bytes: wanted.max_bytes.min(left),
            at_least_one,
            offset: match (plan.is_follower(), plan.committed) {
                (true, _) => replica.end,
                (false, true) => replica.last_stable,
                (false, false) => replica.high_watermark,
            },
            aborted: plan.committed && !plan.is_follower(),
        };
        match found.log.read(&replica, wanted.offset, limit) {
            Ok(slice) => PartitionRead::Read(slice, replica),
            Err(code) => PartitionRead::Refused(code),
        }
    }

    /// The replica that a leader sends a consumer to: in sync, in the consumer's rack, not the leader itself, and in
    /// possession of the requested offset (KIP-392). Of several, the one with the longest log.
    fn nearer_replica(
        &self,
        broker: i32,
        plan: &Plan,
        (topic, partition): (&str, i32),
        offset: i64,
    ) -> Option<i32> {
        let rack = plan.rack.as_deref().filter(|rack| !rack.is_empty())?;
        let found = self.topics.partition(topic, partition)?;
        if plan.is_follower() || found.leader != Some(broker) {
            return None;
        }
        let is_near = |id: i32| {
            self.nodes.all.get(&id).is_some_and(|node| node.up && node.rack.as_deref() == Some(rack))
        };
        if is_near(broker) {
            return None;
        }
        let end_of = |id: i32| ReplicaState::of(found, id).end;
        let has = |id: &i32| found.log.start() <= offset && offset <= end_of(*id);
        let replicas = found.replicas.iter().copied().filter(|id| found.isr.contains(id) && is_near(*id));
        replicas.filter(has).max_by_key(|id| (end_of(*id), std::cmp::Reverse(*id)))
    }
}

pub(super) fn unreadable(readings: &[PartitionRead]) -> usize {
    readings.iter().filter(|reading| matches!(reading, PartitionRead::Unreadable(_))).count()
}

/// Where the log diverges from the client's, if it does.
fn diverges(
    found: &Partition,
    replica: &ReplicaState,
    wanted: &Wanted,
) -> Result<Option<(i32, i64)>, ResponseError> {
    let (epoch, end) =
        found.log.end_of_epoch(wanted.last_epoch, replica.end).ok_or(ResponseError::OffsetOutOfRange)?;
    if wanted.offset < replica.start {
        return Err(ResponseError::OffsetOutOfRange);
    }
    Ok((epoch < wanted.last_epoch || end < wanted.offset).then_some((epoch, end)))
}

impl PartitionRead {
    /// The partition's part of the answer.
    pub(super) fn into_data(self, partition: i32) -> PartitionData {
        let data = PartitionData::default().with_partition_index(partition).with_records(Some(Bytes::new()));
        let with_offsets = |data: PartitionData, replica: ReplicaState| {
            data.with_high_watermark(replica.high_watermark)
                .with_last_stable_offset(replica.last_stable)
                .with_log_start_offset(replica.start)
                .with_aborted_transactions(None)
        };
        match self {
            Self::Unreadable(code) => data.with_error_code(code.code()).with_high_watermark(-1),
            Self::Refused(code) => {
                data.with_error_code(code.code()).with_high_watermark(-1).with_aborted_transactions(None)
            }
            Self::Preferred(preferred, replica) => {
                with_offsets(data, replica).with_preferred_read_replica(preferred)
            }
            Self::Diverging { epoch, end, replica } => with_offsets(data, replica)
                .with_diverging_epoch(EpochEndOffset::default().with_epoch(epoch).with_end_offset(end)),
            Self::Read(slice, replica) => {
                let transaction = |(producer, first): (i64, i64)| {
                    AbortedTransaction::default().with_producer_id(producer.into()).with_first_offset(first)
                };
                let aborted = slice.aborted.map(|all| all.into_iter().map(transaction).collect());
                with_offsets(data, replica)
                    .with_records(Some(slice.records))
                    .with_aborted_transactions(aborted)
            }
        }
    }
}
