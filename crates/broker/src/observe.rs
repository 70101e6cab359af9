//! [`Observed`]: events in the cluster, for tests that check them.

use std::time::Instant;

/// An event in the cluster, in order of occurrence. Only reported if [`Config::observe`](crate::Config::observe) is set.
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
    /// A request was refused with this code by a handler, not by a rule.
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
    /// A Fetch of a client was answered without records.
    FetchedNothing {
        /// When.
        at: Instant,
        /// The broker.
        broker: i32,
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
        /// The member that committed; empty for a client that is not a member.
        member: String,
        /// The generation or member epoch it named.
        generation: i32,
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// The offset.
        offset: i64,
        /// The leader epoch committed with it, or -1.
        leader_epoch: i32,
        /// The metadata text committed with it.
        metadata: String,
    },
    /// The partitions that a group's member may hold, after a generation was completed (classic) or an epoch
    /// acknowledged (KIP-848).
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
    /// A member was removed from its group.
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
    /// A coordinator loaded a group from its stored state: another broker, or the same one again.
    GroupLoaded {
        /// When.
        at: Instant,
        /// `group.id`.
        group: String,
    },
}
