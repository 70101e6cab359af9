//! Inspects a member's requests: extracts the facts that the checks need.

use bytes::Bytes;
use kafka_protocol::{
    messages::{ApiKey, RequestKind},
    protocol::decode_request_header_from_buffer,
};

use crate::events::{Log, Place, What, Who};

const OFFSET_COMMIT: i16 = 8;
const JOIN_GROUP: i16 = 11;
const HEARTBEAT: i16 = 12;
const SYNC_GROUP: i16 = 14;
const TXN_OFFSET_COMMIT: i16 = 28;
const CONSUMER_GROUP_HEARTBEAT: i16 = 68;
/// The epoch with which a static member leaves for a while.
const STEPS_OUT: i32 = -2;

/// Logs the relevant facts of a request.
pub(super) fn request(log: &Log, who: Who, frame: &Bytes) {
    let Some(key) = frame.get(..2).and_then(|key| key.try_into().ok()).map(i16::from_be_bytes) else {
        return;
    };
    let told =
        [OFFSET_COMMIT, JOIN_GROUP, HEARTBEAT, SYNC_GROUP, TXN_OFFSET_COMMIT, CONSUMER_GROUP_HEARTBEAT];
    if !told.contains(&key) {
        return;
    }
    let mut rest = frame.clone();
    let Ok(header) = decode_request_header_from_buffer(&mut rest) else { return };
    let Ok(key) = ApiKey::try_from(key) else { return };
    let named = |member: &str| {
        log.tell(What::Named { who, member: member.to_owned() });
    };
    match RequestKind::decode(key, &mut rest, header.request_api_version) {
        Ok(RequestKind::OffsetCommit(request)) => {
            for topic in &request.topics {
                for partition in &topic.partitions {
                    let at = Place::new(&topic.name, partition.partition_index);
                    let (offset, epoch) = (partition.committed_offset, partition.committed_leader_epoch);
                    let metadata = partition.committed_metadata.as_deref().unwrap_or_default().to_owned();
                    log.tell(What::CommitSent { who, at, offset, epoch, metadata });
                }
            }
        }
        Ok(RequestKind::TxnOffsetCommit(request)) => {
            for topic in &request.topics {
                for partition in &topic.partitions {
                    let at = Place::new(&topic.name, partition.partition_index);
                    let (offset, epoch) = (partition.committed_offset, partition.committed_leader_epoch);
                    let metadata = partition.committed_metadata.as_deref().unwrap_or_default().to_owned();
                    log.tell(What::CommitSent { who, at, offset, epoch, metadata });
                }
            }
        }
        Ok(RequestKind::Heartbeat(request)) => {
            named(&request.member_id);
            log.tell(What::HeartbeatSent { who });
        }
        Ok(RequestKind::JoinGroup(_)) => log.tell(What::JoinSent { who }),
        Ok(RequestKind::SyncGroup(request)) => named(&request.member_id),
        Ok(RequestKind::ConsumerGroupHeartbeat(request)) => {
            named(&request.member_id);
            log.tell(What::HeartbeatSent { who });
            if let Some(topics) = &request.topic_partitions {
                let owned = topics.iter().map(|topic| topic.partitions.len()).sum();
                log.tell(What::OwnedSent { who, owned });
            }
            if request.member_epoch == STEPS_OUT {
                log.tell(What::StepsOut { who });
            }
        }
        _ => {}
    }
}
