//! Start offsets, finished positions and commits: [`Offsets`], one for each consumer.
//!
//! The machine owns a partition from its assignment until its start offset is known ([`Event::Start`]), and
//! again whenever `fetch` returns it: because the offset is out of range, or because the leader changed and
//! the log may have been truncated. It owns the finished and the committed position for as long as the
//! partition is assigned.
//!
//! It reads no clock and owns no socket. Change it with a command, [`Offsets::handle_answer`] or
//! [`Offsets::handle_timeout`]; then drain `poll_transmit` and `poll_event`; then ask `poll_timeout` when to call again.
//!
//! Always true:
//! - a partition starts at the committed offset, at an offset that the application requested, or at the one
//!   that `auto.offset.reset` chooses and [`Event::Reset`] reports; an error never counts as "nothing
//!   committed";
//! - the lookup of a start offset is repeated until the partition starts, is sought, or is no longer assigned;
//! - a response to a request from before a seek or a revoke changes nothing;
//! - for each partition at most one commit is in flight, and later ones wait for it;
//! - nothing is sent for an assignment that has ended, and [`Commit::Finished`] never exceeds what is finished.
//!
//! KIP-320 (truncation), KIP-447 (`require_stable`), KIP-709 (many groups in one OffsetFetch), KIP-848 (member epochs),
//! KIP-1106 (`by_duration`).

#![forbid(unsafe_code)]

mod answers;
mod assign;
mod commits;
mod committing;
mod config;
mod error;
mod event;
mod lookups;
mod machine;
mod ownership;
mod partition;
mod queries;
mod remedy;
mod requests;
mod retry;
mod start;

pub use assign::Assign;
pub use commits::{Commit, CommitId, CommitOutcome, MAX_QUEUED_COMMITS};
pub use config::{Config, ResetPolicy, StartAt};
pub use error::{Cause, CommitError, FinishedError, PartitionError, QueryError, SeekError};
pub use event::{Event, ResetReason};
pub use machine::Offsets;
pub use offtake_machine::OffsetAndMetadata;
pub use queries::{QueryId, QueryOutcome};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
