//! Wrong but well-formed answers that brokers, proxies and clouds have given (`docs/failures.md`).

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ResponseKind,
        fetch_response::{AbortedTransaction, PartitionData},
        metadata_response::MetadataResponseBroker,
    },
    protocol::StrBytes,
};
use uuid::Uuid;

use super::{
    response_partitions::{ResponsePartition, Visit, visit},
    rule::Rewrite,
};
use crate::topics::Topics;

/// The facts about the answered request that a [`Rewrite`] may use.
#[derive(Debug)]
pub(super) struct Answered<'a> {
    /// The version of the answer.
    pub(super) version: i16,
    /// Random, from the cluster's seed.
    pub(super) drawn: u64,
    /// The rule's topic.
    pub(super) topic: Option<&'a str>,
    pub(super) topics: &'a Topics,
}

impl Answered<'_> {
    /// Whether the rule is about the topic with this name or, where the name is empty, this id.
    pub(super) fn concerns(&self, name: &str, id: Uuid) -> bool {
        let Some(wanted) = self.topic else { return true };
        wanted == name || (!id.is_nil() && self.topics.name_of(id) == Some(wanted))
    }
}

/// For every API that answers by partition; limited to the rule's topic, if it has one.
impl Rewrite {
    /// Gives each partition this error code and nothing else. The request took effect. (A Fetch within a session
    /// answers only for partitions with news.)
    pub fn partitions_fail(code: i16) -> Self {
        struct Fail(i16);
        impl Visit for Fail {
            fn partitions(&mut self, list: &mut Vec<impl ResponsePartition>) {
                list.iter_mut().for_each(|partition| partition.fail(self.0));
            }
        }
        Self::new("partitions fail", move |response, answered| visit(response, answered, &mut Fail(code)))
    }

    /// Omits the first partition of each topic.
    pub fn first_partition_omitted() -> Self {
        struct Omit;
        impl Visit for Omit {
            fn partitions(&mut self, list: &mut Vec<impl ResponsePartition>) {
                list.drain(..list.len().min(1));
            }
        }
        Self::new("first partition omitted", |response, answered| visit(response, answered, &mut Omit))
    }

    /// Lists the partitions of each topic twice.
    pub fn partitions_repeated() -> Self {
        struct Repeat;
        impl Visit for Repeat {
            fn partitions(&mut self, list: &mut Vec<impl ResponsePartition>) {
                list.extend_from_within(..);
            }
        }
        Self::new("partitions repeated", |response, answered| visit(response, answered, &mut Repeat))
    }

    /// Adds a partition to each topic, with this number, which may be negative, and the content of the topic's first.
    pub fn unrequested_partition(index: i32) -> Self {
        struct Add(i32);
        impl Visit for Add {
            fn partitions(&mut self, list: &mut Vec<impl ResponsePartition>) {
                if let Some(mut more) = list.first().cloned() {
                    *more.index() = self.0;
                    list.push(more);
                }
            }
        }
        Self::new("unrequested partition", move |response, answered| {
            visit(response, answered, &mut Add(index));
        })
    }
}

/// For Metadata; limited to the rule's topic, if it has one.
impl Rewrite {
    /// Topics have no error and no partitions.
    pub fn metadata_without_partitions() -> Self {
        Self::new("metadata without partitions", |response, answered| {
            metadata_topics(response, answered, |topic| topic.partitions.clear());
        })
    }

    /// Topics are left out.
    pub fn metadata_without_topics() -> Self {
        Self::new("metadata without topics", |response, answered| {
            if let ResponseKind::Metadata(metadata) = response {
                metadata.topics.retain(|topic| {
                    let name = topic.name.as_ref().map_or("", |name| name.as_str());
                    !answered.concerns(name, topic.topic_id)
                });
            }
        })
    }

    /// Leader epochs are unknown: -1.
    pub fn metadata_without_epochs() -> Self {
        Self::new("metadata without epochs", |response, answered| {
            metadata_topics(response, answered, |topic| {
                topic.partitions.iter_mut().for_each(|partition| partition.leader_epoch = -1);
            });
        })
    }

    /// The answer of a lagging broker: leader epochs that are older by this, and another leader, if there is another broker.
    pub fn metadata_from_the_past(epochs: i32) -> Self {
        Self::new("metadata from the past", move |response, answered| {
            let brokers: Vec<_> = match &*response {
                ResponseKind::Metadata(metadata) => metadata.brokers.iter().map(|b| b.node_id).collect(),
                _ => return,
            };
            metadata_topics(response, answered, |topic| {
                for partition in &mut topic.partitions {
                    partition.leader_epoch = partition.leader_epoch.saturating_sub(epochs).max(0);
                    if let Some(other) = brokers.iter().find(|broker| **broker != partition.leader_id) {
                        partition.leader_id = *other;
                    }
                }
            });
        })
    }

    /// The answer of a lagging broker: topics have this id, from before they were deleted and created again.
    pub fn metadata_topic_id(id: [u8; 16]) -> Self {
        Self::new("metadata with the id of a deleted topic", move |response, answered| {
            metadata_topics(response, answered, |topic| topic.topic_id = Uuid::from_bytes(id));
        })
    }

    /// Impossible brokers: a negative id, a port of 0 and one above 65535, no host, an id twice.
    pub fn metadata_strange_brokers() -> Self {
        Self::new("metadata with strange brokers", |response, _| {
            if let ResponseKind::Metadata(metadata) = response {
                let broker = |id: i32, host: &'static str, port| {
                    let host = StrBytes::from_static_str(host);
                    MetadataResponseBroker::default().with_node_id(id.into()).with_host(host).with_port(port)
                };
                let twice = metadata.brokers.first().cloned();
                metadata.brokers.extend([
                    broker(-7, "localhost", 9092),
                    broker(1001, "localhost", 0),
                    broker(1002, "localhost", 70_000),
                    broker(1003, "", 9092),
                ]);
                metadata.brokers.extend(twice);
            }
        })
    }
}

/// For Fetch; limited to the rule's topic, if it has one.
impl Rewrite {
    /// No session is granted: the cache is full.
    pub fn no_fetch_session() -> Self {
        Self::new("no fetch session", |response, _| {
            if let ResponseKind::Fetch(fetch) = response {
                fetch.session_id = 0;
            }
        })
    }

    /// Aborted transactions are listed in the wrong order.
    pub fn aborted_unsorted() -> Self {
        fetched("aborted transactions unsorted", |partition| {
            if let Some(aborted) = &mut partition.aborted_transactions {
                aborted.reverse();
            }
        })
    }

    /// Aborted transactions are listed twice.
    pub fn aborted_repeated() -> Self {
        fetched("aborted transactions repeated", |partition| {
            if let Some(aborted) = &mut partition.aborted_transactions {
                aborted.extend_from_within(..);
            }
        })
    }

    /// Lists a transaction as aborted that has no record here.
    pub fn aborted_elsewhere(producer: i64, first_offset: i64) -> Self {
        fetched("a transaction aborted elsewhere", move |partition| {
            let more = AbortedTransaction::default();
            let more = more.with_producer_id(producer.into()).with_first_offset(first_offset);
            partition.aborted_transactions.get_or_insert_default().push(more);
        })
    }

    /// Sets the high watermark, the last stable offset and the log start offset.
    pub fn watermarks(high: i64, stable: i64, start: i64) -> Self {
        fetched("watermarks", move |partition| {
            partition.high_watermark = high;
            partition.last_stable_offset = stable;
            partition.log_start_offset = start;
        })
    }

    /// Names this broker as the replica to read from, without records (KIP-392).
    pub fn preferred_replica(broker: i32) -> Self {
        fetched("preferred replica", move |partition| {
            partition.preferred_read_replica = broker.into();
            partition.records = Some(Bytes::new());
        })
    }

    /// Passes the records, where there are any, through `change`: whole batches, unless the broker cut the last.
    pub fn records(name: &'static str, change: impl Fn(&mut Vec<u8>) + Send + Sync + 'static) -> Self {
        fetched(name, move |partition| {
            if let Some(records) = partition.records.as_mut().filter(|records| !records.is_empty()) {
                let mut changed = records.to_vec();
                change(&mut changed);
                *records = changed.into();
            }
        })
    }

    /// Cuts the records after this many bytes, as a broker may cut the last batch.
    pub fn records_cut(length: usize) -> Self {
        Self::records("records cut", move |records| records.truncate(length))
    }
}

/// For offsets and leader epochs; limited to the rule's topic, if it has one.
impl Rewrite {
    /// ListOffsets returns this offset without an error; a negative one stands for none.
    pub fn listed_offset(offset: i64) -> Self {
        Self::new("listed offset", move |response, answered| {
            if let ResponseKind::ListOffsets(listed) = response {
                let topics = listed.topics.iter_mut();
                for topic in topics.filter(|topic| answered.concerns(&topic.name, Uuid::nil())) {
                    topic.partitions.iter_mut().for_each(|partition| partition.offset = offset);
                }
            }
        })
    }

    /// OffsetForLeaderEpoch returns neither epoch nor offset, without an error.
    pub fn undefined_end_offset() -> Self {
        Self::new("undefined end offset", |response, answered| {
            if let ResponseKind::OffsetForLeaderEpoch(ends) = response {
                let topics = ends.topics.iter_mut();
                for topic in topics.filter(|topic| answered.concerns(&topic.topic, Uuid::nil())) {
                    for partition in &mut topic.partitions {
                        (partition.leader_epoch, partition.end_offset) = (-1, -1);
                    }
                }
            }
        })
    }

    /// OffsetFetch returns this offset without an error: 0 where something else was committed, or -1 for nothing.
    pub fn committed_offset(offset: i64) -> Self {
        Self::new("committed offset", move |response, answered| {
            if let ResponseKind::OffsetFetch(fetched) = response {
                for topic in &mut fetched.topics {
                    if answered.concerns(&topic.name, Uuid::nil()) {
                        topic.partitions.iter_mut().for_each(|p| p.committed_offset = offset);
                    }
                }
                for topic in fetched.groups.iter_mut().flat_map(|group| &mut group.topics) {
                    if answered.concerns(&topic.name, topic.topic_id) {
                        topic.partitions.iter_mut().for_each(|p| p.committed_offset = offset);
                    }
                }
            }
        })
    }
}

/// For groups.
impl Rewrite {
    /// An assignment of ConsumerGroupHeartbeat names each partition twice.
    pub fn assignment_repeated() -> Self {
        Self::new("assignment repeated", |response, _| {
            if let ResponseKind::ConsumerGroupHeartbeat(beat) = response
                && let Some(assignment) = &mut beat.assignment
            {
                for topic in &mut assignment.topic_partitions {
                    topic.partitions.extend_from_within(..);
                }
                assignment.topic_partitions.extend_from_within(..);
            }
        })
    }

    /// ConsumerGroupHeartbeat succeeds with this member epoch.
    pub fn member_epoch(epoch: i32) -> Self {
        Self::new("member epoch", move |response, _| {
            if let ResponseKind::ConsumerGroupHeartbeat(beat) = response {
                beat.member_epoch = epoch;
            }
        })
    }

    /// ConsumerGroupHeartbeat succeeds with this interval in milliseconds.
    pub fn heartbeat_interval(millis: i32) -> Self {
        Self::new("heartbeat interval", move |response, _| {
            if let ResponseKind::ConsumerGroupHeartbeat(beat) = response {
                beat.heartbeat_interval_ms = millis;
            }
        })
    }

    /// Names this broker at this address as the coordinator, whichever it really is.
    pub fn coordinator_at(broker: i32, host: impl Into<String>, port: u16) -> Self {
        let host = StrBytes::from_string(host.into());
        Self::new("coordinator at", move |response, answered| {
            if let ResponseKind::FindCoordinator(found) = response {
                if answered.version < 4 {
                    (found.node_id, found.port) = (broker.into(), i32::from(port));
                    found.host.clone_from(&host);
                }
                for found in &mut found.coordinators {
                    (found.node_id, found.port) = (broker.into(), i32::from(port));
                    found.host.clone_from(&host);
                }
            }
        })
    }
}

fn metadata_topics(
    response: &mut ResponseKind,
    answered: &Answered<'_>,
    mut change: impl FnMut(&mut kafka_protocol::messages::metadata_response::MetadataResponseTopic),
) {
    if let ResponseKind::Metadata(metadata) = response {
        for topic in &mut metadata.topics {
            let name = topic.name.as_ref().map_or("", |name| name.as_str());
            if answered.concerns(name, topic.topic_id) {
                change(topic);
            }
        }
    }
}

fn fetched(name: &'static str, change: impl Fn(&mut PartitionData) + Send + Sync + 'static) -> Rewrite {
    Rewrite::new(name, move |response, answered| each_fetched(response, answered, &change))
}

fn each_fetched(
    response: &mut ResponseKind,
    answered: &Answered<'_>,
    mut change: impl FnMut(&mut PartitionData),
) {
    if let ResponseKind::Fetch(fetch) = response {
        for topic in &mut fetch.responses {
            if answered.concerns(&topic.topic, topic.topic_id) {
                topic.partitions.iter_mut().for_each(&mut change);
            }
        }
    }
}

/// Flips a bit in the first records of the answer: in byte `at`, or else in one that the first batch's checksum covers.
pub(super) fn corrupt_records(response: &mut ResponseKind, answered: &Answered<'_>, at: Option<usize>) {
    let mut done = false;
    each_fetched(response, answered, |partition| {
        let Some(records) = partition.records.as_mut().filter(|records| !done && !records.is_empty()) else {
            return;
        };
        done = true;
        let at = at.unwrap_or_else(|| {
            let length = records.get(8..12).and_then(|length| <[u8; 4]>::try_from(length).ok());
            let end = length.map_or(0, u32::from_be_bytes) as usize + 12;
            draw(answered.drawn, CHECKED, end.min(records.len()))
        });
        let mut bytes = BytesMut::from(&records[..]);
        flip(&mut bytes, at, answered.drawn);
        *records = bytes.freeze();
    });
}

/// The first byte of a batch that its checksum covers.
const CHECKED: usize = 21;

/// A position from `from` until before `to`; `from` if there is none.
pub(super) fn draw(drawn: u64, from: usize, to: usize) -> usize {
    let room = u64::try_from(to.saturating_sub(from)).unwrap_or(0).max(1);
    from.saturating_add(usize::try_from(drawn % room).unwrap_or(0))
}

/// Flips one bit of a byte, if the byte exists.
pub(super) fn flip(bytes: &mut [u8], at: usize, drawn: u64) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << (drawn >> 61);
    }
}
