//! The common parts of all state machines, and the two machines that every client needs: the cluster's
//! metadata and a group's coordinator.
//!
//! A machine owns no socket and reads no clock. The time is passed in as `now`, and the actions that it
//! requests are returned as values:
//!
//! 1. change it: by a command, by [`handle_answer`](metadata::Metadata::handle_answer), or by `handle_timeout` when the
//!    time of `poll_timeout` has come;
//! 2. drain it: `poll_transmit` until `None`, `poll_event` until `None`;
//! 3. ask `poll_timeout` when to call again, and do so.
//!
//! A [`Transmit`] is answered exactly once, by an [`Answer`] or a [`CallError`], under its [`CallId`]. An
//! answer to a call that the machine has given up changes nothing. A machine may withdraw a call: one that
//! was not written yet is then answered by [`CallError::Withdrawn`], any other as if it had not been
//! withdrawn. Withdrawing a written JoinGroup or SyncGroup ends its connection.

pub mod backoff;
mod broker_text;
pub mod call;
pub mod clock;
pub mod cluster;
pub mod coordinator;
pub mod identity;
pub mod isolation;
pub mod metadata;
pub mod names;
pub mod offsets;
pub mod random;

pub use backoff::{Backoff, BackoffConfig};
pub use broker_text::{broker_text, is_host};
pub use call::{Answer, Call, CallError, CallId, CallIds, PromptAnswer, Target, Transmit};
pub use clock::{after, earliest};
pub use cluster::{Broker, Cluster, PartitionInfo, TopicInfo};
pub use coordinator::{Coordinator, CoordinatorAddress};
pub use identity::{GroupMetadata, GroupOffsets, GroupProtocol, Identity};
pub use isolation::IsolationLevel;
pub use metadata::{Metadata, MetadataConfig};
pub use names::{
    BrokerId, InvalidTopic, LeaderEpoch, ParseTopicPartitionError, Position, Token, Topic, TopicPartition,
};
pub use offsets::{ListedOffset, OffsetAndMetadata, OffsetSpec};
pub use random::SplitMix64;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
