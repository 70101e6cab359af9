//! What connection tasks tell, and what follows for their calls and their address.

use offtake_machine::{Answer, CallError, Target};
use tokio::task::{Id, JoinError};

use super::Net;
use crate::{
    call::{Call, Completion, End, Endpoint, Event, Origin, What},
    clock,
};

impl Net {
    pub(super) fn handle(&mut self, event: Event) {
        let Event { from, what } = event;
        let key = (from.endpoint, from.lane);
        let link = self.links.get_mut(&key).filter(|link| link.serial == from.serial);
        match what {
            What::Connected { ranges, via, spoke } => {
                if let Some(link) = link {
                    link.ranges = Some(ranges);
                }
                if let Some(standing) = self.standings.get_mut(&from.address) {
                    standing.connected(via, spoke);
                }
            }
            What::Done { tag, result } => {
                if let Some(link) = link {
                    link.in_flight = link.in_flight.saturating_sub(1);
                }
                if let (Ok(_), Some(standing)) = (&*result, self.standings.get_mut(&from.address)) {
                    standing.worked(&from.address);
                }
                self.complete_from(&from, tag, *result);
            }
            What::Ended { why, mut unsent } => {
                if let Some(link) = link {
                    unsent.append(&mut link.parked);
                    self.links.remove(&key);
                }
                self.ended(&from, &why);
                for call in unsent {
                    self.redirect(&from, &why, call);
                }
            }
        }
    }

    /// A connection is no more.
    fn ended(&mut self, from: &Origin, why: &End) {
        let reason = match why {
            End::Unreachable(CallError::Unreachable { reason, .. }) => reason.clone(),
            End::Unreachable(error) => error.to_string(),
            End::Broken(reason) => reason.clone(),
            End::Idle | End::Retired | End::TooLarge => {
                return tracing::debug!(address = %from.address, lane = ?from.lane, ?why, "connection closed");
            }
        };
        if let Some(standing) = self.standings.get_mut(&from.address) {
            standing.failed(clock::now(), &from.address, &reason);
        }
        if let Endpoint::Broker(id) = from.endpoint
            && self.brokers.get(&id).is_some_and(|known| !known.listed && known.address == from.address)
        {
            self.prune();
        }
    }

    /// A call that its connection never wrote.
    fn redirect(&mut self, from: &Origin, why: &End, mut call: Call) {
        if call.fate.is_withdrawn() {
            return; // and answered
        }
        let now = clock::now();
        let error = match why {
            End::Unreachable(error) => {
                call.tried.push(from.endpoint);
                call.note(error.clone());
                let elsewhere = match call.to {
                    Target::Any => self.anybody(now, &call).is_some(),
                    Target::Broker(_) => self.address(from.endpoint).is_some_and(|at| *at != from.address),
                };
                if elsewhere && call.deadline > now {
                    return self.place(now, call);
                }
                call.trouble.unwrap_or_else(|| error.clone())
            }
            End::Idle | End::Retired | End::TooLarge | End::Broken(_) if !call.moved => {
                call.moved = true;
                return self.place(now, call);
            }
            End::Broken(reason) => {
                CallError::Disconnected { address: from.address.to_string(), reason: reason.clone() }
            }
            End::Idle | End::Retired | End::TooLarge => CallError::Disconnected {
                address: from.address.to_string(),
                reason: "closed before the request was sent".to_owned(),
            },
        };
        self.complete(call.tag, Err(error));
    }

    /// A task is over. One that panicked has not told its calls, so we do.
    pub(super) fn joined(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        let Some(from) = self.running.remove(&id) else { return };
        let Err(error) = ended else { return };
        tracing::error!(address = %from.address, %error, "a connection's task ended in the middle");
        self.links.retain(|_, link| link.serial != from.serial);
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

    /// Exactly once: a tag that is with another connection, or answered, is none of this one's.
    fn complete_from(&mut self, from: &Origin, tag: u64, result: Result<Answer, CallError>) {
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
            Target::Any => "any broker".to_owned(),
            Target::Broker(id) => id.to_string(),
        };
        let error = CallError::Unreachable { address, reason, not_kafka: false };
        self.complete(call.tag, Err(call.trouble.unwrap_or(error)));
    }
}
