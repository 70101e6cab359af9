//! The events of connection tasks, and the consequences for calls and addresses.

use offtake_machine::{Answer, CallError, Target};
use tokio::task::{Id, JoinError};

use super::Net;
use crate::{
    call::{Call, CloseReason, Completion, ConnectionInfo, Endpoint, Event, EventKind},
    clock,
    connection::asks_for_no_answer,
};

impl Net {
    pub(super) fn handle(&mut self, event: Event) {
        let Event { from, what } = event;
        let key = (from.endpoint, from.lane);
        let connection = self.connections.get_mut(&key).filter(|connection| connection.serial == from.serial);
        match what {
            EventKind::Connected { ranges, via, api_versions_version } => {
                if let Some(connection) = connection {
                    connection.ranges = Some(ranges);
                }
                self.acceptance.accepted();
                if let Some(address_state) = self.addresses.get_mut(&from.address) {
                    address_state.connected(via, api_versions_version);
                }
            }
            EventKind::Completed { tag, result, is_proof } => {
                if let Some(connection) = connection {
                    connection.answered(clock::now());
                }
                if let Some(address_state) = self.addresses.get_mut(&from.address).filter(|_| is_proof) {
                    address_state.worked(&from.address);
                }
                self.complete_from(&from, tag, *result);
            }
            EventKind::Closed { why, mut unsent } => {
                if let Some(connection) = connection {
                    unsent.append(&mut connection.undelivered);
                    self.connections.remove(&key);
                }
                let is_connected = self.connections.values().any(|connection| connection.ranges.is_some());
                let why = self.acceptance.check(clock::now(), is_connected, why);
                self.ended(&from, &why);
                if let (CloseReason::ClosedUnanswered(_), Endpoint::Broker(id)) = (&why, from.endpoint) {
                    self.closed_unanswered.insert(id);
                }
                for call in unsent {
                    self.redispatch(&from, &why, call);
                }
            }
        }
    }

    /// Handles the end of a connection.
    fn ended(&mut self, from: &ConnectionInfo, why: &CloseReason) {
        let reason = match why {
            CloseReason::Unreachable(
                CallError::Unreachable { reason, .. } | CallError::Authentication { reason, .. },
            ) => reason.clone(),
            CloseReason::Unreachable(error) => error.to_string(),
            CloseReason::Broken(reason)
            | CloseReason::ClosedUnanswered(reason)
            | CloseReason::ClosedAtFirstCall(reason) => reason.clone(),
            CloseReason::Idle | CloseReason::Retired | CloseReason::TooLarge => {
                return tracing::debug!(address = %from.address, lane = ?from.lane, ?why, "connection closed");
            }
        };
        if let Some(address_state) = self.addresses.get_mut(&from.address) {
            address_state.failed(clock::now(), &from.address, &reason);
            if matches!(why, CloseReason::ClosedAtFirstCall(_)) {
                address_state.closed_at_first_call(clock::now());
            }
        }
        if let Endpoint::Broker(id) = from.endpoint
            && self.brokers.get(&id).is_some_and(|known| !known.listed && known.address == from.address)
        {
            self.prune();
        }
    }

    /// Sends a call that its connection never wrote to another connection, or fails it.
    fn redispatch(&mut self, from: &ConnectionInfo, why: &CloseReason, mut call: Call) {
        if call.state.is_withdrawn() {
            return; // it has completed already
        }
        let now = clock::now();
        let error = match why {
            CloseReason::Unreachable(error) => {
                call.tried.push(from.endpoint);
                call.record_failure(error.clone());
                let elsewhere = match call.to {
                    Target::Any | Target::Other(_) => self.any_broker(now, &call).is_some(),
                    Target::Broker(_) => self.address(from.endpoint).is_some_and(|at| *at != from.address),
                };
                if elsewhere && call.deadline > now {
                    return self.dispatch(now, call);
                }
                call.last_error.unwrap_or_else(|| error.clone())
            }
            // If it were sent to the same broker again, it could be lost without notice.
            CloseReason::ClosedUnanswered(reason) if asks_for_no_answer(&call.request) => {
                CallError::Unreachable {
                    address: from.address.to_string(),
                    reason: reason.clone(),
                    not_kafka: false,
                }
            }
            CloseReason::Idle
            | CloseReason::Retired
            | CloseReason::TooLarge
            | CloseReason::Broken(_)
            | CloseReason::ClosedUnanswered(_)
            | CloseReason::ClosedAtFirstCall(_)
                if !call.requeued =>
            {
                call.requeued = true;
                return self.dispatch(now, call);
            }
            CloseReason::Broken(reason)
            | CloseReason::ClosedUnanswered(reason)
            | CloseReason::ClosedAtFirstCall(reason) => not_sent(from, &call, reason.clone()),
            CloseReason::Idle | CloseReason::Retired | CloseReason::TooLarge => {
                not_sent(from, &call, "two connections ended before it was sent".to_owned())
            }
        };
        self.complete(call.tag, Err(error));
    }

    /// Handles the end of a task. If the task panicked, its calls are completed here.
    pub(super) fn on_task_end(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        let Some(from) = self.running.remove(&id) else { return };
        let Err(error) = ended else { return };
        tracing::error!(address = %from.address, %error, "the task of a connection panicked");
        self.connections.retain(|_, connection| connection.serial != from.serial);
        let orphans: Vec<u64> = self
            .outstanding
            .iter()
            .filter(|(_, call)| call.serial == from.serial)
            .map(|(tag, _)| *tag)
            .collect();
        for tag in orphans {
            let (address, reason) = (from.address.to_string(), "an error in this client".to_owned());
            self.complete(tag, Err(CallError::Disconnected { address, reason }));
        }
    }

    /// Completes a call, unless it has completed before or belongs to another connection.
    fn complete_from(&mut self, from: &ConnectionInfo, tag: u64, result: Result<Answer, CallError>) {
        if self.outstanding.get(&tag).is_some_and(|call| call.serial == from.serial) {
            self.complete(tag, result);
        }
    }

    pub(super) fn complete(&mut self, tag: u64, result: Result<Answer, CallError>) {
        self.outstanding.remove(&tag);
        self.ready.push_back(Completion { tag, result });
    }

    pub(super) fn refuse(&mut self, call: Call, reason: String) {
        let address = match call.to {
            Target::Any | Target::Other(_) => "any broker".to_owned(),
            Target::Broker(id) => id.to_string(),
        };
        let error = CallError::Unreachable { address, reason, not_kafka: false };
        self.complete(call.tag, Err(call.last_error.unwrap_or(error)));
    }
}

/// The error of a call that its connection never wrote.
fn not_sent(from: &ConnectionInfo, call: &Call, reason: String) -> CallError {
    CallError::NotSent { address: from.address.to_string(), api: call.request.api_key(), reason }
}
