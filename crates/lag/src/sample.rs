//! What is found out in a round: what a [`Lag`](crate::Lag) is made of.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

pub use offtake_admin::survey::RecordTime;
use offtake_admin::{Topic, TopicPartition};

/// What one round of questions found out.
///
/// The order of the questions matters: what is committed is to be asked before the ends of the logs, or an end may lie before what is
/// committed.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When the answers were there.
    pub now: Instant,
    /// The same in milliseconds since 1970.
    pub wall_ms: i64,
    /// The cluster's id.
    pub cluster: Option<String>,
    /// The groups that answered.
    pub groups: Vec<GroupSample>,
    /// The groups that nobody could be asked about: what was known of them stays. A group that is in neither list is gone.
    pub unanswered: BTreeSet<String>,
    /// What has been found out about topics; of others what was known stays.
    pub topics: Vec<TopicSample>,
    /// The partitions that were answered for; of others what was known stays, and so does the lag of groups on them.
    pub logs: BTreeMap<TopicPartition, LogSample>,
    /// What could not be asked, one sentence each.
    pub failures: Vec<String>,
}

impl Sample {
    /// A round in which nothing has been found out yet.
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

/// A group, as its coordinator tells it.
#[derive(Clone, Debug, Default)]
pub struct GroupSample {
    /// Its name.
    pub group: String,
    /// Its state, as Kafka names it.
    pub state: String,
    /// `classic` or `consumer`.
    pub protocol: Option<String>,
    /// Its members; `None` if they could not be asked for.
    pub members: Option<Vec<MemberSample>>,
    /// Of a group of KIP-848, its epoch.
    pub epoch: Option<i32>,
    /// All that it has committed; `None` if it could not be asked for: then its lag stays as it was, whatever the logs say.
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
    /// The host it connects from.
    pub host: String,
    /// What it owns.
    pub partitions: Vec<TopicPartition>,
}

/// A topic.
#[derive(Clone, Debug)]
pub struct TopicSample {
    /// Its name.
    pub topic: Topic,
    /// Its id, where the brokers have ids: a topic of the same name with another id is another topic.
    pub id: Option<String>,
    /// What deletes its records; `None` if it could not be asked for.
    pub retention: Option<Retention>,
}

/// What deletes the records of a topic (`cleanup.policy`, `retention.ms`, `retention.bytes`).
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
    /// It is there.
    Offsets {
        /// The log start offset.
        start: Option<i64>,
        /// The high watermark.
        high_watermark: Option<i64>,
        /// The last stable offset; only needed where lag counts to it.
        last_stable: Option<i64>,
        /// The size of its segments on the leader's disk in bytes, if told.
        bytes: Option<u64>,
    },
    /// There is no such partition.
    Missing,
}
