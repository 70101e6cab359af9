//! The messages between [`Net`](crate::Net) and the connection tasks: calls there, events back.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    time::Duration,
};

use offtake_machine::{Answer, BrokerId, CallError, PromptAnswer, Target};
use offtake_wire::{ApiKey, Request};
use tokio::time::Instant;

use crate::{address::Address, handshake::VersionRanges};

/// The connection of a broker that a request goes over. A broker serves the requests of a connection one after the other, so that
/// requests which may wait at the broker have a connection of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Metadata, offsets, administration: answered at once.
    Control,
    /// Heartbeat, OffsetCommit, OffsetFetch, LeaveGroup: requests that the coordinator answers at once.
    Group,
    /// JoinGroup and SyncGroup, which wait at the coordinator until all members have sent theirs.
    Join,
    /// Long polls.
    Fetch,
    /// Produced records: megabytes, answered when all replicas have them.
    Produce,
}

impl Lane {
    pub(crate) const ALL: [Self; 5] = [Self::Control, Self::Group, Self::Join, Self::Fetch, Self::Produce];

    /// The lane for a request. Whether the request may wait at the broker follows from the protocol.
    pub fn of(request: &Request) -> Self {
        match request.api_key() {
            ApiKey::JoinGroup | ApiKey::SyncGroup => Self::Join,
            ApiKey::Heartbeat
            | ApiKey::ConsumerGroupHeartbeat
            | ApiKey::LeaveGroup
            | ApiKey::OffsetCommit
            | ApiKey::OffsetFetch => Self::Group,
            ApiKey::Fetch => Self::Fetch,
            ApiKey::Produce => Self::Produce,
            _ => Self::Control,
        }
    }
}

/// The result of one call.
#[derive(Debug)]
pub struct Completion {
    /// The tag under which the call was sent.
    pub tag: u64,
    /// The response, or why there is none.
    pub result: Result<Answer, CallError>,
}

/// An event of [`Net`](crate::Net).
#[derive(Debug)]
pub enum NetEvent {
    /// The result of a call.
    Completed(Completion),
    /// This broker closed a connection soon after requests that have no response (Produce with `acks=0`). It may have refused
    /// them: closing is its only way to report that it no longer leads a partition.
    ClosedUnanswered(BrokerId),
}

/// The broker that a connection is for. It is identified by id, never by address: two brokers may share an address, and a broker
/// may move (FAILURES A9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Endpoint {
    Broker(BrokerId),
    /// The nth bootstrap server.
    Bootstrap(usize),
}

/// A call without a response.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) tag: u64,
    pub(crate) lane: Lane,
    pub(crate) to: Target,
    pub(crate) request: Request,
    pub(crate) max_version: Option<i16>,
    pub(crate) timeout: Duration,
    pub(crate) prompt: Option<PromptAnswer>,
    pub(crate) deadline: Instant,
    /// The brokers that could not be reached. A call to any broker tries each once.
    pub(crate) tried: Vec<Endpoint>,
    /// Why they could not be reached.
    pub(crate) last_error: Option<CallError>,
    /// Whether a connection ended before the call was written to it. The call is then sent to another connection, once.
    pub(crate) requeued: bool,
    pub(crate) state: CallState,
}

/// Whether a call may still be withdrawn. [`Net`](crate::Net) and the call's connection share this; the first call of
/// [`begin`](Self::begin) or [`withdraw`](Self::withdraw) decides.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallState(Arc<AtomicU8>);

impl CallState {
    const WAITING: u8 = 0;
    const BEGUN: u8 = 1;
    const WITHDRAWN: u8 = 2;

    /// Called before the connection writes the call, or fails it as late. Returns false if the call was withdrawn.
    pub(crate) fn begin(&self) -> bool {
        self.decide(Self::BEGUN)
    }

    /// Withdraws the call. Returns false if its connection has begun to write it.
    pub(crate) fn withdraw(&self) -> bool {
        self.decide(Self::WITHDRAWN)
    }

    pub(crate) fn is_withdrawn(&self) -> bool {
        self.0.load(Relaxed) == Self::WITHDRAWN
    }

    fn decide(&self, state: u8) -> bool {
        self.0.compare_exchange(Self::WAITING, state, Relaxed, Relaxed).is_ok()
    }
}

impl Call {
    /// Notes that one more broker could not be reached. `not_kafka` is reported only if it holds for all brokers tried: if
    /// another is merely down, waiting may help.
    pub(crate) fn record_failure(&mut self, error: CallError) {
        let keeps = match (&self.last_error, &error) {
            (Some(old), new) => old.is_retriable() && !new.is_retriable(),
            (None, _) => false,
        };
        if !keeps {
            self.last_error = Some(error);
        }
    }
}

/// The connection that an event is from.
#[derive(Debug)]
pub(crate) struct ConnectionInfo {
    /// Distinguishes it from earlier and later connections of the same endpoint and lane.
    pub(crate) serial: u64,
    pub(crate) endpoint: Endpoint,
    pub(crate) lane: Lane,
    pub(crate) address: Address,
}

/// An event of a connection task.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) from: Arc<ConnectionInfo>,
    pub(crate) what: EventKind,
}

#[derive(Debug)]
pub(crate) enum EventKind {
    Connected {
        ranges: Arc<VersionRanges>,
        /// The address that worked.
        via: SocketAddr,
        /// The version of ApiVersions that worked.
        api_versions_version: i16,
    },
    Completed {
        tag: u64,
        result: Box<Result<Answer, CallError>>,
        /// Whether the response shows that the broker works. A request without a response shows nothing when it is written.
        is_proof: bool,
    },
    /// The last event of a connection. These calls were never written.
    Closed { why: CloseReason, unsent: Vec<Call> },
}

/// Why a connection ended.
#[derive(Debug)]
pub(crate) enum CloseReason {
    /// No call was outstanding, and either the connection was idle for too long or the broker closed it. This is no failure
    /// (FAILURES A6).
    Idle,
    /// [`Net`](crate::Net) now uses another connection, and all responses have arrived.
    Retired,
    /// A response was larger than `max_frame`. This is no failure of the broker.
    TooLarge,
    /// The connection could not be made.
    Unreachable(CallError),
    /// The connection was made and broke.
    Broken(String),
    /// The broker closed the connection soon after a request that has no response. Closing is its only way to refuse one.
    ClosedUnanswered(String),
    /// The connection was made without SASL, and the broker closed it at its first call.
    ClosedAtFirstCall(String),
}
