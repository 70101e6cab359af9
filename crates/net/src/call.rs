//! What goes between [`Net`](crate::Net) and the connection tasks: calls there, events back.

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

use crate::{address::Address, handshake::Ranges};

/// Which of a broker's connections a request goes over. A broker serves one request of a connection at a time and reads no
/// further one before it is answered, so what may wait there goes apart from what must not.
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
}

impl Lane {
    pub(crate) const ALL: [Self; 4] = [Self::Control, Self::Group, Self::Join, Self::Fetch];

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
            _ => Self::Control,
        }
    }
}

/// What became of one call.
#[derive(Debug)]
pub struct Completion {
    /// The tag it was sent under.
    pub tag: u64,
    /// The answer, or why there is none.
    pub result: Result<Answer, CallError>,
}

/// Whom a connection is for. By id, never by address: two brokers may share one, and one may move (FAILURES A9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Endpoint {
    Broker(BrokerId),
    /// The nth bootstrap server.
    Bootstrap(usize),
}

/// A call on its way.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) tag: u64,
    pub(crate) lane: Lane,
    pub(crate) to: Target,
    pub(crate) request: Request,
    pub(crate) max_version: Option<i16>,
    pub(crate) timeout: Duration,
    pub(crate) deadline: Instant,
    /// Who could not be reached: a call to any broker tries each once.
    pub(crate) tried: Vec<Endpoint>,
    /// What was wrong with them, so far.
    pub(crate) trouble: Option<CallError>,
    /// A connection ended before the call was written to it, which costs the call nothing, once.
    pub(crate) moved: bool,
    pub(crate) fate: Fate,
}

/// Whether a call may still be withdrawn. [`Net`](crate::Net) and the connection that has the call share it: what comes first,
/// [`begin`](Self::begin) or [`withdraw`](Self::withdraw), decides.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fate(Arc<AtomicU8>);

impl Fate {
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

    fn decide(&self, fate: u8) -> bool {
        self.0.compare_exchange(Self::WAITING, fate, Relaxed, Relaxed).is_ok()
    }
}

impl Call {
    /// One more could not be reached. That something is no Kafka broker is the verdict only if it is so of all that were
    /// tried: where another is merely down, waiting may help.
    pub(crate) fn note(&mut self, error: CallError) {
        let keeps = match (&self.trouble, &error) {
            (Some(old), new) => old.is_retriable() && !new.is_retriable(),
            (None, _) => false,
        };
        if !keeps {
            self.trouble = Some(error);
        }
    }
}

/// Which connection an event is from.
#[derive(Debug)]
pub(crate) struct Origin {
    /// Tells it from an earlier or later one of the same endpoint and lane.
    pub(crate) serial: u64,
    pub(crate) endpoint: Endpoint,
    pub(crate) lane: Lane,
    pub(crate) address: Address,
}

/// What a connection task tells.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) from: Arc<Origin>,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    Connected {
        ranges: Arc<Ranges>,
        /// The address that worked.
        via: SocketAddr,
        /// The version of ApiVersions that worked.
        spoke: i16,
    },
    Done {
        tag: u64,
        result: Box<Result<Answer, CallError>>,
    },
    /// Its last word. These calls were never written.
    Ended {
        why: End,
        unsent: Vec<Call>,
    },
}

/// Why a connection ended.
#[derive(Debug)]
pub(crate) enum End {
    /// Nothing was under way, and one of the two ends had had enough of it: no failure (FAILURES A6).
    Idle,
    /// Nobody can send on it any more, and all answers are in.
    Retired,
    /// An answer was larger than what we read: no failure of the broker's.
    TooLarge,
    /// It never came about.
    Unreachable(CallError),
    /// It came about and broke.
    Broken(String),
}
