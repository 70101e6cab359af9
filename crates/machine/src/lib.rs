//! What a state machine is here, and the two that every client needs: the cluster's metadata and a group's coordinator.
//!
//! A machine owns no socket and reads no clock. Time comes in as `now`, what it wants done goes out as values:
//!
//! 1. change it: a command, [`handle_answer`](metadata::Metadata::handle_answer), or the clock reaching `poll_timeout`;
//! 2. drain it: `poll_transmit` until `None`, `poll_event` until `None`;
//! 3. ask `poll_timeout` when to come back, and do.
//!
//! A [`Transmit`] is answered exactly once, by [`Answer`] or [`CallError`], under the [`CallId`] it left with. An answer
//! to a call that the machine has given up changes nothing. A machine may ask for a call to be withdrawn: one that was not
//! written yet is then answered by [`CallError::Withdrawn`], any other as if nothing had been asked.

pub mod backoff;
pub mod call;
pub mod clock;
pub mod cluster;
pub mod coordinator;
pub mod identity;
pub mod isolation;
pub mod metadata;
pub mod names;
pub mod random;

pub use backoff::{Backoff, BackoffConfig};
pub use call::{Answer, Call, CallError, CallId, CallIds, Target, Transmit};
pub use clock::{after, earliest};
pub use cluster::{Broker, Cluster, PartitionInfo, TopicInfo};
pub use coordinator::{Coordinator, CoordinatorAddress};
pub use identity::{GroupProtocol, Identity};
pub use isolation::IsolationLevel;
pub use metadata::{Metadata, MetadataConfig};
pub use names::{BrokerId, InvalidTopic, LeaderEpoch, Position, Token, Topic, TopicPartition};
pub use random::SplitMix64;
