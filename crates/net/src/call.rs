//! The messages between [`Net`](crate::Net) and the connection tasks: calls there, events back.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    time::Duration,
};

use offtake_machine::{Answer, BrokerId, CallError, Target};
use offtake_wire::{ApiKey, Request};
use tokio::time::Instant;

use crate::{address::Address, handshake::VersionRanges};

/// Which of a broker's connections a request goes over. A broker serves the requests of a connection one after the other, so
/// requests that may wait at the broker have a connection of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Metadata, offsets, administration: answered at once.
    Control,
    /// Heartbeat, OffsetCommit, OffsetFetch, LeaveGroup: what the coordinator answers at once.
    Group,
    /// JoinGroup and SyncGroup: they wait at the coordinator until all members have sent theirs.
    Join,
    /// Long polls.
    Fetch,
    /// Records that are written: megabytes, and answered when all replicas have them.
    Produce,
}

impl Lane {
    pub(crate) const ALL: [Self; 5] = [Self::Control, Self::Group, Self::Join, Self::Fetch, Self::Produce];

    /// The lane of a request by what it is: whether it may wait at the broker is a matter of the protocol.
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
    /// The tag it was sent under.
    pub tag: u64,
    /// The answer, or why there is none.
    pub result: Result<Answer, CallError>,
}

/// What comes out of [`Net`](crate::Net).
#[derive(Debug)]
pub enum NetEvent {
    /// The result of a call.
    Completed(Completion),
    /// This broker closed a connection soon after requests that it does not answer (Produce with `acks=0`). It may have refused them: a broker
    /// that leads a partition no longer has no other way to say so.
    ClosedUnanswered(BrokerId),
}

/// The broker that a connection is for. By id, never by address: two brokers may share an address, and a broker may move
/// (FAILURES A9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Endpoint {
    Broker(BrokerId),
    /// The nth bootstrap server.
    Bootstrap(usize),
}

/// A call that is not answered yet.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) tag: u64,
    pub(crate) lane: Lane,
    pub(crate) to: Target,
    pub(crate) request: Request,
    pub(crate) max_version: Option<i16>,
    pub(crate) timeout: Duration,
    pub(crate) deadline: Instant,
    /// The brokers that could not be reached: a call to any broker tries each once.
    pub(crate) tried: Vec<Endpoint>,
    /// Why they could not be reached.
    pub(crate) last_error: Option<CallError>,
    /// Whether a connection ended before the call was written to it. The call then goes to another connection, once.
    pub(crate) requeued: bool,
    pub(crate) state: CallState,
}

/// Whether a call may still be withdrawn. [`Net`](crate::Net) and the connection that has the call share it: what comes first,
/// [`begin`](Self::begin) or [`withdraw`](Self::withdraw), decides.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallState(Arc<AtomicU8>);

impl CallState {
    const WAITING: u8 = 0;
    const BEGUN: u8 = 1;
    const WITHDRAWN: u8 = 2;

    /// The connection is about to write the call, or to say that it is too late; false if it was withdrawn.
    pub(crate) fn begin(&self) -> bool {
        self.decide(Self::BEGUN)
    }

    /// The call is taken back; false if its connection has begun with it.
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
    /// One more broker could not be reached. `not_kafka` is reported only if it holds for all that were tried: where another is
    /// merely down, waiting may help.
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

/// Which connection an event is from.
#[derive(Debug)]
pub(crate) struct ConnectionInfo {
    /// Tells it from an earlier or later one of the same endpoint and lane.
    pub(crate) serial: u64,
    pub(crate) endpoint: Endpoint,
    pub(crate) lane: Lane,
    pub(crate) address: Address,
}

/// What a connection task reports.
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
        /// Whether an answer shows that the broker works; what is never answered shows nothing when it is written.
        is_proof: bool,
    },
    /// The last event of a connection. These calls were never written.
    Closed { why: CloseReason, unsent: Vec<Call> },
}

/// Why a connection ended.
#[derive(Debug)]
pub(crate) enum CloseReason {
    /// No call was outstanding, and the connection was idle for too long, or the broker closed it: no failure (FAILURES A6).
    Idle,
    /// [`Net`](crate::Net) uses another connection by now, and all responses are in.
    Retired,
    /// A response was larger than `max_frame`: no failure of the broker.
    TooLarge,
    /// It could not be made.
    Unreachable(CallError),
    /// It was made and broke.
    Broken(String),
    /// The broker closed it soon after a request that it does not answer. It has no other way to refuse one.
    ClosedUnanswered(String),
    /// It was made without SASL, and the broker closed it at its first call.
    ClosedAtFirstCall(String),
}
