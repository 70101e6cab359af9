//! One request that a machine wants sent, and what may become of it.

use std::{
    fmt,
    time::{Duration, Instant},
};

use offtake_wire::{ApiKey, DecodeError, Request, Response};

use crate::{clock::after, names::BrokerId};

/// Names one call of one machine. Unique within that machine, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Hands out call ids.
#[derive(Clone, Debug, Default)]
pub struct CallIds(u64);

impl CallIds {
    /// An id that was never handed out before.
    pub fn next_id(&mut self) -> CallId {
        self.0 = self.0.wrapping_add(1);
        CallId(self.0)
    }
}

/// Whom a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Any broker that answers: one we know, else one of the bootstrap servers.
    Any,
    /// This broker.
    Broker(BrokerId),
}

/// A request that a machine wants sent.
#[derive(Clone, Debug)]
pub struct Transmit {
    /// The answer comes back under this id.
    pub id: CallId,
    /// Whom to send it to.
    pub to: Target,
    /// What to send.
    pub request: Request,
    /// The highest version it may be sent in, where the newest does not fit what we know (topic ids, say).
    pub max_version: Option<i16>,
    /// After this long without an answer it has failed, and its connection with it.
    pub timeout: Duration,
}

/// What a broker answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Who answered; `None` while a bootstrap server has not yet told its id.
    pub from: Option<BrokerId>,
    /// The version it was spoken in.
    pub version: i16,
    /// The memory that is held for as long as a slice of the answer is left, in bytes; 0 if that is not known.
    pub memory: usize,
    /// The answer.
    pub response: Response,
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No connection could be made.
    #[error("cannot connect to {address}: {reason}")]
    Unreachable {
        /// The address we tried.
        address: String,
        /// What was wrong with it, ready for a person.
        reason: String,
        /// Whether something answered that is no Kafka broker: waiting will not help.
        not_kafka: bool,
    },
    /// The connection ended before the answer came. The request may or may not have been carried out.
    #[error("{address} closed the connection: {reason}")]
    Disconnected {
        /// The broker's address.
        address: String,
        /// Why, as far as we know.
        reason: String,
    },
    /// No answer within the request's timeout. It may or may not have been carried out.
    #[error("{address} did not answer {api:?} within {} ms", .after.as_millis())]
    TimedOut {
        /// The broker's address.
        address: String,
        /// What was asked.
        api: ApiKey,
        /// How long we waited.
        after: Duration,
    },
    /// The broker speaks no version of this request that we speak.
    #[error("{address} does not support {api:?} in a version that this client speaks")]
    Unsupported {
        /// The broker's address.
        address: String,
        /// What was asked.
        api: ApiKey,
    },
    /// The answer could not be read.
    #[error("{address} sent a malformed answer to {api:?}: {source}")]
    Malformed {
        /// The broker's address.
        address: String,
        /// What was asked.
        api: ApiKey,
        /// What was wrong with it.
        source: DecodeError,
    },
    /// The answer was larger than what we read, so it was not read. It was carried out.
    #[error(
        "{address} answers {api:?} with {size} bytes, of which this client reads {limit}; raise \
         receive.message.max.bytes"
    )]
    TooLarge {
        /// The broker's address.
        address: String,
        /// What was asked.
        api: ApiKey,
        /// The length of the answer's frame, in bytes.
        size: usize,
        /// The longest frame that is read, in bytes.
        limit: usize,
    },
    /// The machine that made the call took it back before it was written to a connection. It was not carried out.
    #[error("withdrawn before it was sent")]
    Withdrawn,
    /// The metadata does not (any longer) know this broker.
    #[error("{0} is not known")]
    UnknownBroker(BrokerId),
}

impl CallError {
    /// Whether the same call may succeed later though nothing changes on our side.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Unreachable { not_kafka, .. } => !not_kafka,
            Self::Disconnected { .. }
            | Self::TimedOut { .. }
            | Self::Malformed { .. }
            | Self::Withdrawn
            | Self::UnknownBroker(_) => true,
            // What is too long stays so.
            Self::Unsupported { .. } | Self::TooLarge { .. } => false,
        }
    }

    /// Whether the broker may be gone: if it coordinates a group, its coordinator is to be looked up again.
    pub fn loses_coordinator(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Disconnected { .. }
            | Self::TimedOut { .. }
            | Self::UnknownBroker(_) => true,
            Self::Unsupported { .. } | Self::Malformed { .. } | Self::TooLarge { .. } | Self::Withdrawn => false,
        }
    }
}

/// The one call that a machine may have outstanding: waiting for its time, under way, or nothing to do.
///
/// ```text
/// Idle ──at(t)──▶ Due(t) ──start(now ≥ t)──▶ Sent(id) ──take(id)──▶ Idle
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Nothing to send.
    Idle,
    /// To be sent at this time.
    Due(Instant),
    /// Sent; given up at the deadline even if the loop never answers.
    Sent {
        /// The answer we wait for.
        id: CallId,
        /// When we stop waiting.
        deadline: Instant,
    },
}

impl Call {
    /// Starts it if its time has come: the id to send it under.
    pub fn start(&mut self, now: Instant, ids: &mut CallIds, timeout: Duration) -> Option<CallId> {
        match *self {
            Self::Due(at) if at <= now => {
                let id = ids.next_id();
                // The loop answers at `timeout`; the margin is for a loop that forgot.
                *self = Self::Sent { id, deadline: after(after(now, timeout), timeout) };
                Some(id)
            }
            _ => None,
        }
    }

    /// Whether `id` answers this call.
    pub fn awaits(&self, id: CallId) -> bool {
        matches!(*self, Self::Sent { id: sent, .. } if sent == id)
    }

    /// If `id` answers this call: takes it back to idle.
    pub fn take(&mut self, id: CallId) -> bool {
        let ours = self.awaits(id);
        if ours {
            *self = Self::Idle;
        }
        ours
    }

    /// Whether an answer is outstanding.
    pub fn is_sent(&self) -> bool {
        matches!(self, Self::Sent { .. })
    }

    /// When to come back for it: to send it, or to give it up.
    pub fn deadline(&self) -> Option<Instant> {
        match *self {
            Self::Idle => None,
            Self::Due(at) => Some(at),
            Self::Sent { deadline, .. } => Some(deadline),
        }
    }

    /// Whether it was sent and its deadline has passed.
    pub fn is_overdue(&self, now: Instant) -> bool {
        matches!(*self, Self::Sent { deadline, .. } if deadline <= now)
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle => f.write_str("Idle"),
            Self::Due(_) => f.write_str("Due"),
            Self::Sent { id, .. } => write!(f, "Sent({})", id.0),
        }
    }
}
