//! Records on their way to a handler and back: as they come in, as jobs, and what is kept of a job meanwhile.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;

use super::AssignmentId;
use crate::{FirstFailure, dead_letters::Origin};

/// A record as it comes in.
#[derive(Clone, Debug)]
pub(crate) struct Item<R> {
    pub(crate) record: R,
    pub(crate) offset: i64,
    pub(crate) epoch: Option<i32>,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Bytes>,
    /// What it counts in the queue.
    pub(crate) bytes: usize,
    /// Of a retry topic: when it may be handled, if that is later.
    pub(crate) due: Option<Due>,
    /// Of a retry topic: what was tried before it came there.
    pub(crate) before: Before,
}

/// When a record of a retry topic may be handled: a delay after it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) at: Instant,
    /// Its timestamp is ahead of the clock, so that this is a delay after it was read.
    pub(crate) is_ahead: bool,
}

/// What was tried of a record before it came to the partition that it is read from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Before {
    pub(crate) attempts: u32,
    pub(crate) first_failure: Option<Arc<FirstFailure>>,
    /// What its headers say.
    pub(crate) origin: Option<Arc<Origin>>,
}

/// Records for a handler, all of one partition.
#[derive(Debug)]
pub(crate) struct Job<R> {
    pub(crate) id: JobId,
    pub(crate) records: Vec<Started<R>>,
    /// The lanes that they are of, in order, and how many of each.
    pub(super) lanes: Vec<(usize, usize)>,
    pub(super) began: Instant,
}

/// What is left of a job while its records are at the handler.
#[derive(Debug)]
pub(crate) struct JobTicket {
    pub(crate) id: JobId,
    pub(super) lanes: Vec<(usize, usize)>,
    pub(super) began: Instant,
}

/// Which job, of which assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct JobId {
    pub(super) assignment: AssignmentId,
    pub(crate) serial: u64,
}

/// A record at a handler.
#[derive(Clone, Debug)]
pub(crate) struct Started<R> {
    pub(crate) record: R,
    /// From 1.
    pub(crate) attempt: u32,
    pub(crate) is_probe: bool,
    /// Whether it has no other attempt left, if this one counts and fails.
    pub(crate) is_last: bool,
    pub(crate) first_failure: Option<Arc<FirstFailure>>,
    /// Of a retry topic: where it comes from.
    pub(crate) origin: Option<Arc<Origin>>,
}

impl<R> Job<R> {
    /// The records for the handler, and what the machine wants back with their results.
    pub(crate) fn into_parts(self) -> (Vec<Started<R>>, JobTicket) {
        let Self { id, records, lanes, began } = self;
        (records, JobTicket { id, lanes, began })
    }
}
