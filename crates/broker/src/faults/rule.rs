//! [`FaultRule`]: which requests, and what fault.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use kafka_protocol::messages::ResponseKind;

use super::rewrite::Answered;
use crate::kafka::ApiKey;

/// Which requests a fault happens to, and which fault. Plain data: clone it, keep it, inject it again.
///
/// A rule without conditions applies to every request of every client. Rules are tried in the order they were injected; of
/// those that apply to one request, the first that keeps it from being handled (such as [`Fault::Fail`]) does so, and all that
/// change its answer change it.
#[derive(Clone, Debug)]
#[must_use = "a rule does nothing before it is given to `inject`"]
#[non_exhaustive]
pub struct FaultRule {
    /// Only requests of this API.
    pub api: Option<ApiKey>,
    /// Only requests to this broker.
    pub broker: Option<i32>,
    /// Only clients whose `client.id` begins so.
    pub client: Option<String>,
    /// Only requests that name this topic, or its id. A Fetch within a session names only what changed: the rule
    /// applies to it when its answer carries the topic.
    pub topic: Option<String>,
    /// Only requests that name this group or transactional id.
    pub group: Option<String>,
    /// Which of the requests that meet all other conditions.
    pub often: Often,
    /// Not before this moment.
    pub from: Option<Instant>,
    /// Not at this moment, nor after it.
    pub until: Option<Instant>,
    /// What happens to them.
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
                // 53 bits: what a double holds exactly.
                #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
                let drawn = (drawn() >> 11) as f64 / (1_u64 << 53) as f64;
                drawn < probability
            }
        }
    }
}

/// What happens to a request, or to its answer.
///
/// A broker answers the requests of one connection in order. So while one is late, those behind it wait.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// The request is not handled and never answered; the connection stays open and is silent from then on.
    Drop,
    /// The request is handled but never answered; the connection stays open and is silent from then on.
    Swallow,
    /// The request is not handled and never answered, but the next one is: what no broker does.
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
    /// So many bytes of the answer are sent, its length included, then the connection closes.
    Cut(usize),
    /// These bytes are sent instead of the answer, then the connection closes: what speaks another protocol.
    Raw(Bytes),
    /// The request is not handled, but answered with this error code, where Kafka puts an error that concerns the whole
    /// request: at the top, or with everything that was asked for, as the version of the API has it.
    Fail(i16),
    /// The answer is damaged on its way.
    Corrupt(Corrupt),
    /// `throttle_time_ms` of the answer says so, and no request of the connection is read for as long (KIP-219).
    Throttle(Duration),
    /// Something else is answered: wrong, but well-formed. See the constructors of [`Rewrite`].
    Rewrite(Rewrite),
}

/// What damages an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Corrupt {
    /// A bit of the records in a Fetch answer, where their checksum notices. Of the rule's topic, if it has
    /// one. An answer without records stays as it is.
    Records,
    /// A bit of this byte of the first records in a Fetch answer, of the rule's topic if it has one: byte 16 is the magic
    /// of the first batch, 22 its attributes.
    RecordsAt(usize),
    /// A bit somewhere in the answer, after its length and correlation id.
    Frame,
    /// A bit of this byte of the answer: 0 to 3 are its length, 4 to 7 the correlation id.
    FrameAt(usize),
}

/// What makes another answer of one.
type Change = dyn Fn(&mut ResponseKind, &Answered<'_>) + Send + Sync;

/// Changes answers before they are sent.
#[derive(Clone)]
pub struct Rewrite {
    name: &'static str,
    change: Arc<Change>,
}

impl Rewrite {
    /// Whatever `change` makes of the answer. `name` is for logs. What cannot be encoded in the version that was asked
    /// closes the connection.
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
    /// A fault of every request of every client.
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

    /// A fault of every request of an API.
    pub fn on(api: ApiKey, fault: impl Into<Fault>) -> Self {
        Self { api: Some(api), ..Self::any(fault) }
    }

    /// Only requests to this broker.
    pub fn broker(self, broker: i32) -> Self {
        Self { broker: Some(broker), ..self }
    }

    /// Only clients whose `client.id` begins so.
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

    /// Only the nth, counted from 1.
    pub fn nth(self, nth: u64) -> Self {
        Self { often: Often::Nth(nth), ..self }
    }

    /// Only the first.
    pub fn once(self) -> Self {
        self.times(1)
    }

    /// Only the first so many.
    pub fn times(self, times: u64) -> Self {
        Self { often: Often::Times(times), ..self }
    }

    /// Each with this probability, between 0 and 1.
    pub fn probably(self, probability: f64) -> Self {
        Self { often: Often::Probably(probability), ..self }
    }

    /// Only from `from` until before `until`.
    pub fn between(self, from: Instant, until: Instant) -> Self {
        Self { from: Some(from), until: Some(until), ..self }
    }
}
