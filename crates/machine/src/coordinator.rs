//! The broker that coordinates a group, or the transactions of one id (FindCoordinator). It is looked up only
//! while it is needed.
//!
//! A coordinator is forgotten when it responds that it is none, or when its connection ends. Neither changes
//! the identity of the member.
//!
//! Every broker answers this request at once, and without its answer a member neither commits nor sends heartbeats. So it is
//! not awaited for the whole of `request.timeout.ms`: one that is not answered soon is sent again, to another broker if there is
//! one, and the first answer counts. The connection of the unanswered one is given up somewhat later.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use offtake_wire::{ErrorCode, FindCoordinatorRequest, FindCoordinatorResponse, Response};

use crate::broker_text::broker_text;
use crate::cluster::Broker;
use crate::{
    backoff::{Backoff, BackoffConfig},
    call::{Answer, Call, CallError, CallId, CallIds, PromptAnswer, Target, Transmit},
    clock::after,
    names::BrokerId,
};

/// The coordinator of one group, or of one transactional id.
#[derive(Debug)]
pub struct Coordinator {
    of: CoordinatorKey,
    request_timeout: Duration,
    backoff: Backoff,
    /// How many requests in a row were not answered soon.
    impatient: u32,
    ids: CallIds,
    state: State,
    /// The refusal that was reported last; UNSUPPORTED_VERSION also if the broker has no such API.
    reported: Option<ErrorCode>,
    events: VecDeque<Event>,
}

/// The object that a broker coordinates.
#[derive(Debug)]
enum CoordinatorKey {
    Group(String),
    Transactions(String),
}

impl CoordinatorKey {
    fn name(&self) -> &str {
        match self {
            Self::Group(name) | Self::Transactions(name) => name,
        }
    }

    fn request(&self) -> FindCoordinatorRequest {
        let of_group = find_coordinator(self.name());
        match self {
            Self::Group(_) => of_group,
            Self::Transactions(_) => FindCoordinatorRequest { key_type: TRANSACTIONS, ..of_group },
        }
    }
}

/// The key type of transactional ids in FindCoordinator.
const TRANSACTIONS: i8 = 1;

/// How long the first request is awaited before it is sent again. Until a broker answers, each is awaited twice as long as the
/// one before it, so that brokers that are slow get no more of them than they can answer.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum State {
    /// It is not needed; or the lookup was refused, and is not repeated before `not_before`.
    Unknown {
        not_before: Option<Instant>,
    },
    Finding {
        call: Call,
        /// Earlier calls of this lookup that were not answered soon, and may be yet. Each ends when its connection is given
        /// up, so that they are few.
        unanswered: Vec<CallId>,
    },
    Known {
        broker: BrokerId,
    },
}

impl State {
    /// A lookup that begins at this time.
    fn finding(at: Instant) -> Self {
        Self::Finding { call: Call::Due(at), unanswered: Vec::new() }
    }
}

/// The outcome of a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The coordinator was found, at an address that the metadata may not list yet.
    Found {
        /// Its id.
        broker: BrokerId,
        /// Its host.
        host: String,
        /// Its port.
        port: u16,
    },
    /// The broker refused, with an error that retrying is not known to mend. The lookup is repeated, with pauses, while it is needed.
    Refused(ErrorCode),
    /// The same refusal again.
    RefusedAgain(ErrorCode),
    /// The broker does not know the request, in none of our versions. The lookup is repeated, with pauses, while it is needed; if that fails
    /// in the same way it is a `LookupFailed`.
    Unsupported(CallError),
    /// No broker could be queried. The lookup is repeated.
    LookupFailed(CallError),
}

impl Coordinator {
    /// The coordinator of `group`, not looked up yet.
    pub fn new(
        group: impl Into<String>,
        request_timeout: Duration,
        backoff: BackoffConfig,
        seed: u64,
    ) -> Self {
        Self::of(CoordinatorKey::Group(group.into()), request_timeout, backoff, seed)
    }

    /// The coordinator of a transactional id (KIP-98), not looked up yet.
    pub fn of_transactions(
        id: impl Into<String>,
        request_timeout: Duration,
        backoff: BackoffConfig,
        seed: u64,
    ) -> Self {
        Self::of(CoordinatorKey::Transactions(id.into()), request_timeout, backoff, seed)
    }

    fn of(of: CoordinatorKey, request_timeout: Duration, backoff: BackoffConfig, seed: u64) -> Self {
        Self {
            of,
            request_timeout,
            backoff: Backoff::new(backoff, seed),
            impatient: 0,
            ids: CallIds::default(),
            state: State::Unknown { not_before: None },
            reported: None,
            events: VecDeque::new(),
        }
    }

    /// The coordinator, if known.
    pub fn broker(&self) -> Option<BrokerId> {
        match self.state {
            State::Known { broker } => Some(broker),
            State::Unknown { .. } | State::Finding { .. } => None,
        }
    }

    /// Looks it up, unless it is known or being looked up.
    pub fn look_up(&mut self, now: Instant) {
        if let State::Unknown { not_before } = self.state {
            let at = not_before.map_or(now, |at| at.max(now));
            self.state = State::finding(at);
        }
    }

    /// `broker` responded that it is not the coordinator, or its connection ended. Changes nothing if another
    /// broker is the coordinator.
    pub fn on_lost(&mut self, now: Instant, broker: BrokerId) {
        if self.broker() == Some(broker) {
            self.state = State::finding(after(now, self.backoff.next_wait()));
        }
    }

    /// The coordinator responded to a request as one: the next lookup starts without delay.
    pub fn on_response(&mut self) {
        self.backoff.reset();
    }

    /// The application begins anew: a refusal that still holds counts as a new one.
    pub fn report_again(&mut self) {
        self.reported = None;
    }

    /// The answer to FindCoordinator.
    pub fn handle_answer(&mut self, now: Instant, id: CallId, answer: Result<Answer, CallError>) {
        let State::Finding { call, unanswered } = &mut self.state else { return };
        let is_latest = call.take(id);
        if !is_latest {
            let Some(at) = unanswered.iter().position(|earlier| *earlier == id) else { return };
            unanswered.remove(at);
        }
        if answer.is_ok() {
            self.impatient = 0;
        }
        let again = match answer {
            Ok(Answer { response: Response::FindCoordinator(found), .. }) => {
                match found_coordinator(found, self.of.name()) {
                    Ok(CoordinatorAddress { broker, host, port }) => {
                        self.state = State::Known { broker };
                        self.reported = None;
                        self.events.push_back(Event::Found { broker, host, port });
                        return;
                    }
                    Err((code, _)) if code.is_retriable() => true,
                    Err((code, _)) => {
                        let is_known = self.is_known(code);
                        let event = if is_known { Event::RefusedAgain } else { Event::Refused };
                        self.events.push_back(event(code));
                        false
                    }
                }
            }
            Ok(_) => true,
            Err(error) => {
                let again = error.is_retriable();
                let is_new = matches!(error, CallError::Unsupported { .. })
                    && !self.is_known(ErrorCode::UnsupportedVersion);
                let event = if is_new { Event::Unsupported } else { Event::LookupFailed };
                self.events.push_back(event(error));
                again
            }
        };
        match &mut self.state {
            State::Finding { call, .. } if again && is_latest => {
                *call = Call::Due(after(now, self.backoff.next_wait()));
            }
            // The call after this one is outstanding, or about to be made.
            _ if again => {}
            _ => self.state = State::Unknown { not_before: Some(after(now, self.backoff.next_wait())) },
        }
    }

    /// Whether this refusal is the one that was reported last. It is from now on.
    fn is_known(&mut self, code: ErrorCode) -> bool {
        self.reported.replace(code) == Some(code)
    }

    /// The clock has advanced.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let State::Finding { call, unanswered } = &mut self.state
            && let Call::Sent { id, deadline } = *call
            && deadline <= now
        {
            unanswered.push(id);
            self.impatient = self.impatient.saturating_add(1);
            *call = Call::Due(now);
        }
    }

    /// The next request.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        let State::Finding { call, .. } = &mut self.state else { return None };
        let id = call.start(now, &mut self.ids, self.request_timeout)?;
        let patience =
            PATIENCE.saturating_mul(2_u32.saturating_pow(self.impatient)).min(self.request_timeout);
        *call = Call::Sent { id, deadline: after(now, patience) };
        Some(Transmit {
            id,
            to: Target::Any,
            request: self.of.request().into(),
            max_version: None,
            prompt: Some(PromptAnswer { since: 0, timeout: patience.saturating_mul(2) }),
            timeout: self.request_timeout,
        })
    }

    /// When to call again.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Finding { call, .. } => call.deadline(),
            State::Unknown { .. } | State::Known { .. } => None,
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}

/// The address of a group's coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatorAddress {
    /// Its id.
    pub broker: BrokerId,
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl CoordinatorAddress {
    /// The coordinator as the target of a request.
    pub fn target(&self) -> Target {
        Target::Broker(self.broker)
    }
}

/// A request to any broker for the coordinator of `group`.
pub fn find_coordinator(group: &str) -> FindCoordinatorRequest {
    FindCoordinatorRequest { key: group.to_owned(), key_type: 0, coordinator_keys: vec![group.to_owned()] }
}

/// The coordinator of `group`, from the response. Version 4 and later respond with a list of keys (KIP-699),
/// earlier ones with one coordinator.
///
/// # Errors
/// The broker's code and message; [`ErrorCode::CoordinatorNotAvailable`] for an invalid address.
pub fn found_coordinator(
    response: FindCoordinatorResponse,
    group: &str,
) -> Result<CoordinatorAddress, (ErrorCode, Option<String>)> {
    let (code, message, node, host, port) = match response.coordinators.into_iter().find(|c| c.key == group) {
        Some(one) => (one.error_code, one.error_message, one.node_id, one.host, one.port),
        None => (response.error_code, response.error_message, response.node_id, response.host, response.port),
    };
    match (code, BrokerId::known(node), Broker::at(host, port, None)) {
        (ErrorCode::None, Some(broker), Some(Broker { host, port, .. })) => {
            Ok(CoordinatorAddress { broker, host, port })
        }
        (ErrorCode::None, ..) => Err((ErrorCode::CoordinatorNotAvailable, None)),
        (code, ..) => Err((code, message.as_deref().map(broker_text))),
    }
}

#[cfg(test)]
mod tests;
