//! [`FaultRule`]: which requests get which fault.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use kafka_protocol::messages::ResponseKind;

use super::rewrite::Answered;
use crate::kafka::ApiKey;

/// Which requests get a fault, and which fault. Plain data: clone it, keep it, inject it again.
///
/// A rule without conditions applies to every request of every client. Rules are tried in the order in which they were
/// injected. If several apply to one request, the first that prevents handling (such as [`Fault::Fail`]) does so, and
/// every rule that changes the answer changes it.
#[derive(Clone, Debug)]
#[must_use = "a rule does nothing before it is given to `inject`"]
#[non_exhaustive]
pub struct FaultRule {
    /// Only requests of this API.
    pub api: Option<ApiKey>,
    /// Only requests to this broker.
    pub broker: Option<i32>,
    /// Only clients whose `client.id` has this prefix.
    pub client: Option<String>,
    /// Only requests that name this topic, or its id. A Fetch within a session names only the changes: the rule applies
    /// to it when its answer carries the topic.
    pub topic: Option<String>,
    /// Only requests that name this group or transactional id.
    pub group: Option<String>,
    /// To which of the requests that meet all other conditions the rule applies.
    pub often: Often,
    /// Not before this moment.
    pub from: Option<Instant>,
    /// Not at this moment, nor after it.
    pub until: Option<Instant>,
    /// The fault.
    pub fault: Fault,
}

/// To which of the requests that meet its other conditions a rule applies.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Often {
    /// All.
    Every,
    /// One: the nth, counted from 1.
    Nth(u64),
    /// The first so many.
    Times(u64),
    /// Each with this probability, between 0 and 1, drawn from the cluster's seed.
    Probably(f64),
}

impl Often {
    /// Whether the rule applies to the `seen`th request (from 1); `drawn` is random.
    pub(super) fn selects(self, seen: u64, drawn: impl FnOnce() -> u64) -> bool {
        match self {
            Self::Every => true,
            Self::Nth(nth) => seen == nth,
            Self::Times(times) => seen <= times,
            Self::Probably(probability) => {
                // 53 bits: as many as a double holds exactly.
                #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
                let drawn = (drawn() >> 11) as f64 / (1_u64 << 53) as f64;
                drawn < probability
            }
        }
    }
}

/// The fault of a request, or of its answer.
///
/// A broker answers the requests of one connection in order. So while one is late, those behind it wait.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// The request is not handled and never answered; the connection stays open and is silent from then on.
    Drop,
    /// The request is handled but never answered; the connection stays open and is silent from then on.
    Swallow,
    /// The request is not handled and never answered, but the next one is. No real broker does this.
    Skip,
    /// The connection closes before the request is handled.
    Reset,
    /// The request is handled, then the connection closes without its answer.
    ApplyThenLose,
    /// The request is handled only after this time.
    Late(Duration),
    /// The request is handled only after [`Model::release`](crate::Model::release).
    HoldRequest,
    /// The answer is sent only after this time.
    Delay(Duration),
    /// The answer is sent only after [`Model::release`](crate::Model::release).
    Hold,
    /// This many bytes of the answer are sent, its length field included, then the connection closes.
    Cut(usize),
    /// These bytes are sent instead of the answer, then the connection closes, as by a server of another protocol.
    Raw(Bytes),
    /// The request is not handled, but answered with this error code, where Kafka puts an error that concerns the whole
    /// request: at the top level, or with every requested item, depending on the version of the API.
    Fail(i16),
    /// The answer is damaged on the way.
    Corrupt(Corrupt),
    /// `throttle_time_ms` of the answer is set to this time, during which no request of the connection is read (KIP-219).
    Throttle(Duration),
    /// The answer is replaced by another that is wrong, but well-formed. See the constructors of [`Rewrite`].
    Rewrite(Rewrite),
}

/// The damage to an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Corrupt {
    /// Flips a bit of the records in a Fetch answer where their checksum detects it; limited to the rule's topic, if it
    /// has one. An answer without records stays as it is.
    Records,
    /// Flips a bit of this byte of the first records in a Fetch answer; limited to the rule's topic, if it has one.
    /// Byte 16 is the magic of the first batch, 22 its attributes.
    RecordsAt(usize),
    /// Flips a bit somewhere in the answer, after its length and correlation id.
    Frame,
    /// Flips a bit of this byte of the answer: 0 to 3 are its length, 4 to 7 the correlation id.
    FrameAt(usize),
}

/// Turns an answer into another.
type Change = dyn Fn(&mut ResponseKind, &Answered<'_>) + Send + Sync;

/// Changes answers before they are sent.
#[derive(Clone)]
pub struct Rewrite {
    name: &'static str,
    change: Arc<Change>,
}

impl Rewrite {
    /// A rewrite by `change`. `name` is for logs. If the result cannot be encoded in the requested version, the
    /// connection closes.
    pub(super) fn new(
        name: &'static str,
        change: impl Fn(&mut ResponseKind, &Answered<'_>) + Send + Sync + 'static,
    ) -> Self {
        Self { name, change: Arc::new(change) }
    }

    pub(super) fn apply(&self, response: &mut ResponseKind, answered: &Answered<'_>) {
        (self.change)(response, answered);
    }
}

impl fmt::Debug for Rewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rewrite({})", self.name)
    }
}

impl From<Rewrite> for Fault {
    fn from(rewrite: Rewrite) -> Self {
        Self::Rewrite(rewrite)
    }
}

impl FaultRule {
    /// A rule for every request of every client.
    pub fn any(fault: impl Into<Fault>) -> Self {
        Self {
            api: None,
            broker: None,
            client: None,
            topic: None,
            group: None,
            often: Often::Every,
            from: None,
            until: None,
            fault: fault.into(),
        }
    }

    /// A rule for every request of one API.
    pub fn on(api: ApiKey, fault: impl Into<Fault>) -> Self {
        Self { api: Some(api), ..Self::any(fault) }
    }

    /// Only requests to this broker.
    pub fn broker(self, broker: i32) -> Self {
        Self { broker: Some(broker), ..self }
    }

    /// Only clients whose `client.id` has this prefix.
    pub fn client(self, prefix: impl Into<String>) -> Self {
        Self { client: Some(prefix.into()), ..self }
    }

    /// Only requests about this topic; see [`FaultRule::topic`](FaultRule#structfield.topic).
    pub fn topic(self, topic: impl Into<String>) -> Self {
        Self { topic: Some(topic.into()), ..self }
    }

    /// Only requests about this group or transactional id.
    pub fn group(self, group: impl Into<String>) -> Self {
        Self { group: Some(group.into()), ..self }
    }

    /// Only the nth request, counted from 1.
    pub fn nth(self, nth: u64) -> Self {
        Self { often: Often::Nth(nth), ..self }
    }

    /// Only the first request.
    pub fn once(self) -> Self {
        self.times(1)
    }

    /// Only the first so many requests.
    pub fn times(self, times: u64) -> Self {
        Self { often: Often::Times(times), ..self }
    }

    /// Each request with this probability, between 0 and 1.
    pub fn probably(self, probability: f64) -> Self {
        Self { often: Often::Probably(probability), ..self }
    }

    /// Only requests from `from` until before `until`.
    pub fn between(self, from: Instant, until: Instant) -> Self {
        Self { from: Some(from), until: Some(until), ..self }
    }
}
