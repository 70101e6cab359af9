//! Where to begin, what is finished, what to commit: [`Offsets`], one for each consumer.
//!
//! Owns a partition from its assignment until its start offset is known ([`Event::Start`]), and again whenever `fetch`
//! gives it back: because its offset is out of range, or because its leader changed and the log may have been truncated.
//! Owns what is finished and what is committed for as long as the partition is assigned.
//!
//! Reads no clock and owns no socket: change it with a command, [`Offsets::handle_answer`] or
//! [`Offsets::handle_timeout`], then drain `poll_transmit` and `poll_event`, then ask `poll_timeout` when to come back.
//!
//! Always true:
//! - a partition starts at what the group has committed, at what the application asked for, or at what
//!   `auto.offset.reset` says and [`Event::Reset`] tells; no error on the way stands for "nothing committed";
//! - a partition that waits goes on being asked for until it starts, is sought elsewhere, or is gone;
//! - an answer to a question from before a seek or a revoke moves nothing;
//! - of each partition one commit at most is on the wire, and later ones wait behind it;
//! - nothing is sent for an assignment that has ended, and [`Commit::Finished`] never exceeds what is finished.
//!
//! KIP-320 (truncation), KIP-447 (`require_stable`), KIP-709 (many groups in one OffsetFetch), KIP-848 (member epochs),
//! KIP-1106 (`by_duration`).

#![forbid(unsafe_code)]

mod ask;
mod begin;
mod commits;
mod committing;
mod config;
mod error;
mod event;
mod found;
mod machine;
mod ownership;
mod partition;
mod queries;
mod remedy;
mod retry;

pub use commits::{Commit, CommitId, CommitOutcome, MAX_QUEUED_COMMITS};
pub use config::{Config, Place, ResetPolicy, StartAt};
pub use error::{Cause, CommitError, FinishedError, PartitionError, QueryError, SeekError};
pub use event::{Event, OffsetAndMetadata, ResetReason};
pub use machine::Offsets;
pub use queries::{ListSpec, ListedOffset, QueryId, QueryOutcome};
