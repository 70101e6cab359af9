//! The partitions that a Fetch asks for, in the broker's terms.

use std::collections::HashMap;

use kafka_protocol::{
    messages::{FetchRequest, fetch_request::FetchPartition},
    protocol::StrBytes,
};
use uuid::Uuid;

use crate::topics::Topics;

/// How a request names a partition: by the topic's name, or from version 13 on by its id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) name: StrBytes,
    pub(super) id: Uuid,
    pub(super) partition: i32,
}

/// One partition to be read.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) key: Key,
    /// The topic's name, unless its id is not known.
    pub(super) topic: Option<String>,
    pub(super) offset: i64,
    /// The leader epoch that the client knows, or -1.
    pub(super) epoch: i32,
    /// The epoch of the last record that the client has, or -1.
    pub(super) last_epoch: i32,
    pub(super) max_bytes: i32,
}

/// A Fetch in progress.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) replica: i32,
    pub(super) min_bytes: i32,
    pub(super) max_bytes: i32,
    pub(super) committed: bool,
    /// The client's rack, from version 11 on (KIP-392).
    pub(super) rack: Option<StrBytes>,
    pub(super) wanted: Vec<Wanted>,
    pub(super) kind: Kind,
    /// How many of `wanted` could not be read when the plan began to wait: one more is a reason to answer.
    pub(super) unreadable: usize,
}

/// The effect of a request on sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Sessionless,
    /// All partitions were named: a session may begin.
    Full {
        ids: bool,
    },
    /// The session's partitions are read; it must still be in `epoch` when the answer is sent.
    Incremental {
        session: i32,
        epoch: i32,
    },
}

impl Plan {
    pub(super) fn new(
        request: &FetchRequest,
        version: i16,
        broker_max: i32,
        wanted: Vec<Wanted>,
        kind: Kind,
    ) -> Self {
        let max_bytes = request.max_bytes.min(broker_max);
        Self {
            replica: replica_of(request),
            min_bytes: request.min_bytes.min(max_bytes),
            max_bytes,
            committed: request.isolation_level == 1,
            rack: (version >= 11).then(|| request.rack_id.clone()),
            wanted,
            kind,
            unreadable: usize::MAX,
        }
    }

    pub(super) fn is_follower(&self) -> bool {
        self.replica >= 0
    }

    pub(super) fn reads(&self, topic: &str, partition: i32) -> bool {
        let reads =
            |wanted: &Wanted| wanted.key.partition == partition && wanted.topic.as_deref() == Some(topic);
        self.wanted.iter().any(reads)
    }
}

pub(super) fn replica_of(request: &FetchRequest) -> i32 {
    // From version 15 on the field is part of the replica's state (KIP-903).
    let in_state = request.replica_state.replica_id.0;
    if in_state == -1 { request.replica_id.0 } else { in_state }
}

/// The partitions that a request names, each once, with the last values given for it.
pub(super) fn named(request: &FetchRequest, version: i16, topics: &Topics) -> Vec<Wanted> {
    let mut all: Vec<Wanted> = Vec::new();
    let mut places = HashMap::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let key = key(version, &topic.topic.0, topic.topic_id, partition.partition);
            let wanted = wanted(key, partition, topics);
            let place = *places.entry(wanted.key.clone()).or_insert(all.len());
            match all.get_mut(place) {
                Some(known) => *known = wanted,
                None => all.push(wanted),
            }
        }
    }
    all
}

/// The partitions that a request removes from its session.
pub(super) fn forgotten(request: &FetchRequest, version: i16) -> Vec<Key> {
    let topics = request.forgotten_topics_data.iter();
    topics
        .flat_map(|topic| {
            topic.partitions.iter().map(|partition| key(version, &topic.topic.0, topic.topic_id, *partition))
        })
        .collect()
}

fn key(version: i16, name: &StrBytes, id: Uuid, partition: i32) -> Key {
    if version >= 13 {
        Key { name: StrBytes::default(), id, partition }
    } else {
        Key { name: name.clone(), id: Uuid::nil(), partition }
    }
}

fn wanted(key: Key, partition: &FetchPartition, topics: &Topics) -> Wanted {
    let topic = if key.id.is_nil() && !key.name.is_empty() {
        Some(key.name.to_string())
    } else {
        topics.name_of(key.id).map(str::to_owned)
    };
    Wanted {
        key,
        topic,
        offset: partition.fetch_offset,
        epoch: partition.current_leader_epoch,
        last_epoch: partition.last_fetched_epoch,
        max_bytes: partition.partition_max_bytes,
    }
}
