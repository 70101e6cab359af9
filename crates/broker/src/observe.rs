//! [`Observed`]: what happened in the cluster, for those who check it.

use std::time::Instant;

/// Something that happened, in the order it did. Only told when [`Config::observe`](crate::Config::observe) says so.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Observed {
    /// A request was read.
    Request {
        /// When.
        at: Instant,
        /// The broker that read it.
        broker: i32,
        /// Kafka's number of the API.
        api: i16,
        /// Its version.
        version: i16,
        /// `client.id`.
        client: String,
    },
    /// A request was refused with this code: by a handler, not by a rule.
    Refused {
        /// When.
        at: Instant,
        /// The broker.
        broker: i32,
        /// Kafka's number of the API.
        api: i16,
        /// Kafka's error code.
        code: i16,
        /// `client.id`.
        client: String,
    },
    /// A batch was appended to a log.
    Appended {
        /// When.
        at: Instant,
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// The first offset.
        first: i64,
        /// The last offset.
        last: i64,
    },
    /// A marker was appended: a producer's transaction ended in this partition.
    Ended {
        /// When.
        at: Instant,
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// The producer's id.
        producer: i64,
        /// Whether it was committed.
        committed: bool,
    },
    /// An offset was committed.
    Committed {
        /// When.
        at: Instant,
        /// `group.id`.
        group: String,
        /// The member that committed; empty for one that is no member.
        member: String,
        /// The generation or member epoch it named.
        generation: i32,
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// The offset.
        offset: i64,
        /// The leader epoch that came with it, or -1.
        leader_epoch: i32,
        /// The text that came with it.
        metadata: String,
    },
    /// What a group's member may hold, after a generation was completed (classic) or an epoch acknowledged (KIP-848).
    Assigned {
        /// When.
        at: Instant,
        /// `group.id`.
        group: String,
        /// The member.
        member: String,
        /// The generation, or the member epoch.
        generation: i32,
        /// Topic and partition.
        partitions: Vec<(String, i32)>,
    },
    /// A member is one no more.
    MemberGone {
        /// When.
        at: Instant,
        /// `group.id`.
        group: String,
        /// The member.
        member: String,
        /// Why: `left`, `session`, `rebalance`, `fenced`, `replaced`.
        why: &'static str,
    },
    /// A coordinator loaded a group from what was stored: another one, or the same again.
    GroupLoaded {
        /// When.
        at: Instant,
        /// `group.id`.
        group: String,
    },
}
