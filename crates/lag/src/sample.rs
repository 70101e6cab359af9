//! The results of a round, which a [`Lag`](crate::Lag) processes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

pub use offtake_admin::survey::RecordTime;
use offtake_admin::{Topic, TopicPartition};

/// The results of one round of requests.
///
/// The order of the requests matters: committed offsets have to be requested before the ends of the logs; otherwise an end could
/// lie before a committed offset.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When the responses arrived.
    pub now: Instant,
    /// The same time in milliseconds since 1970.
    pub wall_ms: i64,
    /// The cluster's id.
    pub cluster: Option<String>,
    /// The groups with responses.
    pub groups: Vec<GroupSample>,
    /// The groups without a response, whose previous state is kept. A group in neither list is gone.
    pub unanswered: BTreeSet<String>,
    /// The results about topics; the state of other topics is kept.
    pub topics: Vec<TopicSample>,
    /// The partitions with responses. The state of other partitions is kept, and so is the lag of groups on them.
    pub logs: BTreeMap<TopicPartition, LogSample>,
    /// The failed requests, one sentence each.
    pub failures: Vec<String>,
}

impl Sample {
    /// An empty round.
    #[must_use]
    pub fn at(now: Instant, wall_ms: i64) -> Self {
        Self {
            now,
            wall_ms,
            cluster: None,
            groups: Vec::new(),
            unanswered: BTreeSet::new(),
            topics: Vec::new(),
            logs: BTreeMap::new(),
            failures: Vec::new(),
        }
    }
}

/// A group, as described by its coordinator.
#[derive(Clone, Debug, Default)]
pub struct GroupSample {
    /// The name.
    pub group: String,
    /// The state, in Kafka's terms.
    pub state: String,
    /// `classic` or `consumer`.
    pub protocol: Option<String>,
    /// The members; `None` if the request failed.
    pub members: Option<Vec<MemberSample>>,
    /// The epoch of a group of KIP-848.
    pub epoch: Option<i32>,
    /// The committed offsets; `None` if the request failed: then its lag is kept, whatever the logs show.
    pub committed: Option<BTreeMap<TopicPartition, i64>>,
}

/// A member of a group.
#[derive(Clone, Debug, Default)]
pub struct MemberSample {
    /// The member id.
    pub member_id: String,
    /// `group.instance.id`.
    pub instance_id: Option<String>,
    /// `client.id`.
    pub client_id: String,
    /// The host from which it connects.
    pub host: String,
    /// The partitions it owns.
    pub partitions: Vec<TopicPartition>,
}

/// A topic.
#[derive(Clone, Debug)]
pub struct TopicSample {
    /// The name.
    pub topic: Topic,
    /// The id, if the brokers have ids. A topic of the same name with another id is another topic.
    pub id: Option<String>,
    /// The retention; `None` if the request failed.
    pub retention: Option<Retention>,
}

/// The retention of a topic (`cleanup.policy`, `retention.ms`, `retention.bytes`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// `retention.ms`; `None` if there is no limit, or the topic is only compacted.
    pub ms: Option<u64>,
    /// `retention.bytes` of each partition; `None` if there is no limit, or the topic is only compacted.
    pub bytes: Option<u64>,
}

/// A partition's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogSample {
    /// The partition exists.
    Offsets {
        /// The log start offset.
        start: Option<i64>,
        /// The high watermark.
        high_watermark: Option<i64>,
        /// The last stable offset; needed only if lag is counted up to it.
        last_stable: Option<i64>,
        /// The size of its segments on the leader's disk in bytes, if known.
        bytes: Option<u64>,
    },
    /// There is no such partition.
    Missing,
}
