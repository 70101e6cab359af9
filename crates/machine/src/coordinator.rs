//! Which broker coordinates a group: FindCoordinator, asked only while somebody needs to know.
//!
//! Forgets a coordinator when it says it is none, or when its connection ends; identity of the member is not touched by
//! either. At most one call is outstanding; a lost one is asked again.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use offtake_wire::{ErrorCode, FindCoordinatorRequest, FindCoordinatorResponse, Response};

use crate::{
    backoff::{Backoff, BackoffConfig},
    call::{Answer, Call, CallError, CallId, CallIds, Target, Transmit},
    clock::after,
    names::BrokerId,
};

/// The coordinator of one group.
#[derive(Debug)]
pub struct Coordinator {
    group: String,
    request_timeout: Duration,
    backoff: Backoff,
    ids: CallIds,
    state: State,
    /// What was told already.
    refused: Option<ErrorCode>,
    events: VecDeque<Event>,
}

#[derive(Debug)]
enum State {
    /// Nobody has asked; or the search was refused, and is not to be repeated before this.
    Unknown {
        not_before: Option<Instant>,
    },
    Finding {
        call: Call,
    },
    Known {
        broker: BrokerId,
    },
}

/// What became of the search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Found, at an address that the metadata need not know yet.
    Found {
        /// Its id.
        broker: BrokerId,
        /// Its host.
        host: String,
        /// Its port.
        port: u16,
    },
    /// The broker refused to tell. Asked again, with pauses, while somebody wants to know; told once.
    Refused(ErrorCode),
    /// No broker could be asked; it goes on trying.
    Failing(CallError),
}

impl Coordinator {
    /// The coordinator of `group`, not looked for yet.
    pub fn new(
        group: impl Into<String>,
        request_timeout: Duration,
        backoff: BackoffConfig,
        seed: u64,
    ) -> Self {
        Self {
            group: group.into(),
            request_timeout,
            backoff: Backoff::new(backoff, seed),
            ids: CallIds::default(),
            state: State::Unknown { not_before: None },
            refused: None,
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

    /// Somebody needs it: looks for it unless it is known or being looked for.
    pub fn want(&mut self, now: Instant) {
        if let State::Unknown { not_before } = self.state {
            let at = not_before.map_or(now, |at| at.max(now));
            self.state = State::Finding { call: Call::Due(at) };
        }
    }

    /// `broker` said that it is not the coordinator, or its connection ended. Says nothing about any other broker.
    pub fn lost(&mut self, now: Instant, broker: BrokerId) {
        if self.broker() == Some(broker) {
            self.state = State::Finding { call: Call::Due(after(now, self.backoff.failed())) };
        }
    }

    /// The coordinator answered a request as one: the next search starts without delay.
    pub fn answered(&mut self) {
        self.backoff.worked();
    }

    /// The answer to FindCoordinator.
    pub fn handle_answer(&mut self, now: Instant, id: CallId, answer: Result<Answer, CallError>) {
        let State::Finding { call } = &mut self.state else { return };
        if !call.take(id) {
            return;
        }
        let again = match answer {
            Ok(Answer { response: Response::FindCoordinator(found), .. }) => {
                match found_coordinator(found, &self.group) {
                    Ok(CoordinatorAddress { broker, host, port }) => {
                        self.state = State::Known { broker };
                        self.refused = None;
                        self.events.push_back(Event::Found { broker, host, port });
                        return;
                    }
                    Err((code, _)) if code.is_retriable() => true,
                    Err((code, _)) => {
                        if self.refused.replace(code) != Some(code) {
                            self.events.push_back(Event::Refused(code));
                        }
                        false
                    }
                }
            }
            Ok(_) => true,
            Err(error) => {
                let again = error.is_retriable();
                self.events.push_back(Event::Failing(error));
                again
            }
        };
        self.state = if again {
            State::Finding { call: Call::Due(after(now, self.backoff.failed())) }
        } else {
            State::Unknown { not_before: Some(after(now, self.backoff.failed())) }
        };
    }

    /// The clock moved.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let State::Finding { call } = &mut self.state
            && call.is_overdue(now)
        {
            *call = Call::Due(after(now, self.backoff.failed()));
        }
    }

    /// What to send.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        let State::Finding { call } = &mut self.state else { return None };
        let id = call.start(now, &mut self.ids, self.request_timeout)?;
        Some(Transmit {
            id,
            to: Target::Any,
            request: find_coordinator(&self.group).into(),
            max_version: None,
            timeout: self.request_timeout,
        })
    }

    /// When to come back.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Finding { call } => call.deadline(),
            State::Unknown { .. } | State::Known { .. } => None,
        }
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}

/// Where a group's coordinator is.
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
    /// The coordinator, as one to send to.
    pub fn target(&self) -> Target {
        Target::Broker(self.broker)
    }
}

/// The request that asks any broker for the coordinator of `group`.
pub fn find_coordinator(group: &str) -> FindCoordinatorRequest {
    FindCoordinatorRequest { key: group.to_owned(), key_type: 0, coordinator_keys: vec![group.to_owned()] }
}

/// What the answer says of `group`. Brokers since version 4 answer with a list of keys (KIP-699), older ones in place.
///
/// # Errors
/// The broker's code and its message; [`ErrorCode::CoordinatorNotAvailable`] for an address that cannot be.
pub fn found_coordinator(
    response: FindCoordinatorResponse,
    group: &str,
) -> Result<CoordinatorAddress, (ErrorCode, Option<String>)> {
    let (code, message, node, host, port) = match response.coordinators.into_iter().find(|c| c.key == group) {
        Some(one) => (one.error_code, one.error_message, one.node_id, one.host, one.port),
        None => (response.error_code, response.error_message, response.node_id, response.host, response.port),
    };
    match (code, BrokerId::known(node), u16::try_from(port)) {
        (ErrorCode::None, Some(broker), Ok(port)) if port > 0 && !host.is_empty() => {
            Ok(CoordinatorAddress { broker, host, port })
        }
        (ErrorCode::None, ..) => Err((ErrorCode::CoordinatorNotAvailable, None)),
        (code, ..) => Err((code, message)),
    }
}

#[cfg(test)]
mod tests;
