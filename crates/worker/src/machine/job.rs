//! Records on their way to a handler and back: as they arrive, as jobs, and the ticket of a job that is running.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;

use super::AssignmentId;
use crate::{FirstFailure, dead_letters::Origin};

/// A record as it arrives.
#[derive(Clone, Debug)]
pub(crate) struct Item<R> {
    pub(crate) record: R,
    pub(crate) offset: i64,
    pub(crate) epoch: Option<i32>,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Bytes>,
    /// Its size in the queue.
    pub(crate) bytes: usize,
    /// For a record of a retry topic: when it may be handled, if not at once.
    pub(crate) due: Option<Due>,
    /// For a record of a retry topic: the attempts before it was written there.
    pub(crate) before: Before,
}

/// When a record of a retry topic may be handled: a delay after it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) at: Instant,
    /// Whether its timestamp is ahead of the clock, so that the delay counts from when it was read.
    pub(crate) is_ahead: bool,
}

/// The attempts at a record before it was written to the partition that it is read from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Before {
    pub(crate) attempts: u32,
    pub(crate) first_failure: Option<Arc<FirstFailure>>,
    /// The origin according to its headers.
    pub(crate) origin: Option<Arc<Origin>>,
}

/// Records for a handler, all of one partition.
#[derive(Debug)]
pub(crate) struct Job<R> {
    pub(crate) id: JobId,
    pub(crate) records: Vec<Started<R>>,
    /// The lanes of the records, in order, each with the number of its records.
    pub(super) lanes: Vec<(usize, usize)>,
    pub(super) began: Instant,
}

/// The rest of a job while its records are at the handler.
#[derive(Debug)]
pub(crate) struct JobTicket {
    pub(crate) id: JobId,
    pub(super) lanes: Vec<(usize, usize)>,
    pub(super) began: Instant,
}

/// The number of a job, with its assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct JobId {
    pub(super) assignment: AssignmentId,
    pub(crate) serial: u64,
}

/// A record at a handler.
#[derive(Clone, Debug)]
pub(crate) struct Started<R> {
    pub(crate) record: R,
    /// The number of the attempt, from 1.
    pub(crate) attempt: u32,
    pub(crate) is_probe: bool,
    /// Whether this is the record's last attempt, if it counts and fails.
    pub(crate) is_last: bool,
    pub(crate) first_failure: Option<Arc<FirstFailure>>,
    /// For a record of a retry topic: its origin.
    pub(crate) origin: Option<Arc<Origin>>,
}

impl<R> Job<R> {
    /// Splits off the records for the handler. The ticket is returned to the machine with the results.
    pub(crate) fn into_parts(self) -> (Vec<Started<R>>, JobTicket) {
        let Self { id, records, lanes, began } = self;
        (records, JobTicket { id, lanes, began })
    }
}
