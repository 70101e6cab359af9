//! A request that a machine wants to send, and its outcome.

use std::{
    fmt,
    time::{Duration, Instant},
};

use offtake_wire::{ApiKey, DecodeError, Request, Response};

use crate::{clock::after, names::BrokerId};

/// The id of one call. It is unique within its machine and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Generates call ids.
#[derive(Clone, Debug, Default)]
pub struct CallIds(u64);

impl CallIds {
    /// An id that was never returned before.
    pub fn next_id(&mut self) -> CallId {
        self.0 = self.0.wrapping_add(1);
        CallId(self.0)
    }
}

/// The broker that a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Any broker that responds: a known one, or else one of the bootstrap servers.
    Any,
    /// The same, but this broker only if no other can be used.
    Other(BrokerId),
    /// This broker.
    Broker(BrokerId),
}

/// A request that a machine wants to send.
#[derive(Clone, Debug)]
pub struct Transmit {
    /// The id of the call, which its answer has.
    pub id: CallId,
    /// The broker to send it to.
    pub to: Target,
    /// The request.
    pub request: Request,
    /// The highest version that can encode the request, if newer ones need data that is missing (topic ids,
    /// for example).
    pub max_version: Option<i16>,
    /// If there is no answer within this time, the call has failed, and its connection is closed.
    pub timeout: Duration,
    /// If brokers answer this request at once from some version on: the shorter timeout that applies then.
    pub prompt: Option<PromptAnswer>,
}

/// A request that waits at old brokers only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromptAnswer {
    /// The first version that is answered at once.
    pub since: i16,
    /// The timeout in these versions, from when the request is written.
    pub timeout: Duration,
}

/// A broker's response.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The broker that responded; `None` for a bootstrap server whose id is not known yet.
    pub from: Option<BrokerId>,
    /// The version of the response.
    pub version: i16,
    /// The memory that is held while any slice of the response exists, in bytes; 0 if unknown.
    pub memory: usize,
    /// The response.
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
        /// Why it cannot be reached, ready for display.
        reason: String,
        /// Whether something other than a Kafka broker answered, and waiting does not help. False once a
        /// broker has accepted this client: something else may temporarily answer at the address of a broker
        /// that is down.
        not_kafka: bool,
    },
    /// No secured connection could be made: TLS or SASL refused it.
    #[error("cannot connect to {address}: {reason}")]
    Authentication {
        /// The broker's address.
        address: String,
        /// What was refused and what to do about it, ready for display. It contains no secret.
        reason: String,
        /// Whether waiting does not help. False while it may: credentials may be about to change on one side
        /// or the other.
        is_final: bool,
    },
    /// The connection ended before the answer arrived. The broker may or may not have executed the request.
    #[error("{address} closed the connection: {reason}")]
    Disconnected {
        /// The broker's address.
        address: String,
        /// Why, as far as known.
        reason: String,
    },
    /// The request was not written to a connection. It was not executed.
    #[error("{api:?} was not sent to {address}: {reason}")]
    NotSent {
        /// The broker's address.
        address: String,
        /// The request.
        api: ApiKey,
        /// Why, as far as known.
        reason: String,
    },
    /// No answer arrived within the request's timeout. The broker may or may not have executed the request.
    #[error("{address} did not answer {api:?} within {} ms", .after.as_millis())]
    TimedOut {
        /// The broker's address.
        address: String,
        /// The request.
        api: ApiKey,
        /// How long the client waited.
        after: Duration,
    },
    /// The broker and this client have no version of this request in common.
    #[error("{address} does not support {api:?} in a version that this client speaks")]
    Unsupported {
        /// The broker's address.
        address: String,
        /// The request.
        api: ApiKey,
    },
    /// The answer cannot be decoded.
    #[error("{address} sent a malformed answer to {api:?}: {source}")]
    Malformed {
        /// The broker's address.
        address: String,
        /// The request.
        api: ApiKey,
        /// The decoding error.
        source: DecodeError,
    },
    /// The answer is larger than this client accepts. The broker has executed the request.
    #[error(
        "{address} answers {api:?} with {size} bytes, and the limit is {limit}; raise \
         receive.message.max.bytes"
    )]
    TooLarge {
        /// The broker's address.
        address: String,
        /// The request.
        api: ApiKey,
        /// The length of the answer's frame, in bytes.
        size: usize,
        /// The longest accepted frame, in bytes.
        limit: usize,
    },
    /// The machine that made the call withdrew it before it was written to a connection. It was not executed.
    #[error("withdrawn before it was sent")]
    Withdrawn,
    /// The metadata does not list this broker, or no longer does.
    #[error("{0} is not in the cluster's metadata")]
    UnknownBroker(BrokerId),
}

impl CallError {
    /// Whether the same call may succeed later without a change on the client's side.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Unreachable { not_kafka, .. } => !not_kafka,
            Self::Authentication { is_final, .. } => !is_final,
            Self::Disconnected { .. }
            | Self::NotSent { .. }
            | Self::TimedOut { .. }
            | Self::Malformed { .. }
            | Self::Withdrawn
            | Self::UnknownBroker(_) => true,
            Self::Unsupported { .. } | Self::TooLarge { .. } => false,
        }
    }

    /// Whether the broker may have executed the request although there is no answer.
    pub fn may_have_arrived(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Authentication { .. }
            | Self::NotSent { .. }
            | Self::Withdrawn
            | Self::UnknownBroker(_)
            | Self::Unsupported { .. } => false,
            Self::Disconnected { .. }
            | Self::TimedOut { .. }
            | Self::Malformed { .. }
            | Self::TooLarge { .. } => true,
        }
    }

    /// Whether the broker may be gone. If it was a group's coordinator, the coordinator has to be looked up again.
    pub fn loses_coordinator(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Authentication { .. }
            | Self::Disconnected { .. }
            | Self::NotSent { .. }
            | Self::TimedOut { .. }
            | Self::UnknownBroker(_) => true,
            Self::Unsupported { .. } | Self::Malformed { .. } | Self::TooLarge { .. } | Self::Withdrawn => {
                false
            }
        }
    }
}

/// The one call that a machine may have outstanding.
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
    /// Sent. It is given up at the deadline, even if the driver never answers.
    Sent {
        /// The id of the call.
        id: CallId,
        /// When the machine stops waiting.
        deadline: Instant,
    },
}

impl Call {
    /// Starts the call if its time has come. Returns the id to send it under.
    pub fn start(&mut self, now: Instant, ids: &mut CallIds, timeout: Duration) -> Option<CallId> {
        match *self {
            Self::Due(at) if at <= now => {
                let id = ids.next_id();
                // The driver answers at `timeout`; the margin is for a driver that forgot.
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

    /// If `id` answers this call, it becomes idle again. Returns whether it does.
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

    /// When to send it, or to give it up.
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
