//! Chooses a connection for a call, and makes one if there is none.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use offtake_machine::{BrokerId, CallError, Target};
use offtake_wire::Request;
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::Instant,
};

use tracing::Instrument;

use super::{ConnectionHandle, Net, OUTSTANDING, Outstanding};
use crate::{
    address::Address,
    address_state::AddressState,
    call::{Call, ConnectionInfo, Endpoint, Lane},
    clock, connection,
    inbox::{Inbox, Reporter},
    route::{self, Candidate},
};

impl Net {
    /// Gives the call to a connection, which is made if there is none.
    pub(super) fn dispatch(&mut self, now: Instant, call: Call) {
        if call.state.is_withdrawn() {
            return; // it has completed already
        }
        let endpoint = match call.to {
            Target::Broker(id) => Endpoint::Broker(id),
            Target::Any | Target::Other(_) => match self.any_broker(now, &call) {
                Some(endpoint) => endpoint,
                None => return self.refuse(call, "no bootstrap server is configured".to_owned()),
            },
        };
        let key = (endpoint, call.lane);
        let Some(connection) = self.connection(now, key) else {
            let Endpoint::Broker(id) = endpoint else { return };
            return self.complete(call.tag, Err(CallError::UnknownBroker(id)));
        };
        let long_poll = long_poll(&call.request);
        let (tag, with) = (call.tag, Outstanding { serial: connection.serial, state: call.state.clone() });
        match connection.calls.try_send(call) {
            Ok(()) => {
                connection.asked(now, long_poll);
                self.outstanding.insert(tag, with);
            }
            Err(TrySendError::Closed(back)) => {
                connection.undelivered.push(back);
                self.outstanding.insert(tag, with);
            }
            Err(TrySendError::Full(back)) => self.refuse(back, "its queue is full".to_owned()),
        }
    }

    /// Makes the connection that calls to this broker will take on this lane, unless it is there or the broker's address is not known:
    /// the first of them will not have to wait for it.
    pub fn dial(&mut self, broker: BrokerId, lane: Lane) {
        self.connection(clock::now(), (Endpoint::Broker(broker), lane));
    }

    /// The best candidate, of those not tried yet, for a call that any broker may answer.
    pub(super) fn any_broker(&mut self, now: Instant, call: &Call) -> Option<Endpoint> {
        let brokers = self.brokers.iter().map(|(id, known)| (Endpoint::Broker(*id), &known.address));
        let bootstrap =
            self.bootstrap.iter().enumerate().map(|(at, address)| (Endpoint::Bootstrap(at), address));
        let unwanted = match call.to {
            Target::Other(id) => self.address(Endpoint::Broker(id)),
            Target::Any | Target::Broker(_) => None,
        };
        // On the lane for joins a broker may take minutes.
        let answers_at_once = self.connections.iter().filter(|((_, lane), _)| *lane != Lane::Join);
        let silent = answers_at_once.filter(|(_, connection)| connection.is_silent(now));
        let silent: BTreeSet<_> = silent.filter_map(|((of, _), _)| self.address(*of)).collect();
        let untried = brokers.chain(bootstrap).filter(|(endpoint, _)| !call.tried.contains(endpoint));
        let candidates: Vec<Candidate> = untried
            .map(|(endpoint, address)| {
                let connection = |lane| self.connections.get(&(endpoint, lane));
                let connected = |lane| connection(lane).is_some_and(|connection| connection.ranges.is_some());
                Candidate {
                    endpoint,
                    on_lane: connected(call.lane),
                    connected: Lane::ALL.into_iter().any(connected),
                    in_flight: connection(call.lane).map_or(0, |connection| connection.in_flight),
                    unwanted: unwanted == Some(address),
                    silent: silent.contains(address),
                    failing: self.addresses.get(address).is_some_and(AddressState::is_failing),
                    backoff_until: self
                        .addresses
                        .get(address)
                        .and_then(|address_state| address_state.backoff_until(now)),
                }
            })
            .collect();
        self.rotation = self.rotation.wrapping_add(1);
        route::best(&candidates, self.rotation)
    }

    /// The connection, made if there is none; `None` if the broker's address is not known.
    fn connection(&mut self, now: Instant, key: (Endpoint, Lane)) -> Option<&mut ConnectionHandle> {
        if !self.connections.contains_key(&key) {
            let connection = self.open(now, key)?;
            self.connections.insert(key, connection);
        }
        self.connections.get_mut(&key)
    }

    fn open(&mut self, now: Instant, (endpoint, lane): (Endpoint, Lane)) -> Option<ConnectionHandle> {
        let address = self.address(endpoint)?.clone();
        self.next_serial += 1;
        let serial = self.next_serial;
        let (config, seed) = (&self.shared.config, self.shared.config.seed.wrapping_add(serial));
        let others_answer = self.addresses.values().any(AddressState::has_answered);
        let address_state =
            self.addresses.entry(address.clone()).or_insert_with(|| AddressState::new(config, seed));
        let plan = address_state.plan(now, config, others_answer);
        let from = Arc::new(ConnectionInfo { serial, endpoint, lane, address });
        let (calls, inbox) = mpsc::channel(OUTSTANDING);
        let is_cut_off = Arc::<AtomicBool>::default();
        let inbox = Inbox::new(inbox, self.closing.clone(), is_cut_off.clone());
        let reporter = Reporter { from: from.clone(), events: self.events.0.clone() };
        let run = connection::run(self.shared.clone(), reporter, inbox, plan);
        let task = self.tasks.spawn(run.in_current_span());
        self.running.insert(task.id(), from);
        let undelivered = Vec::new();
        Some(ConnectionHandle {
            serial,
            calls,
            in_flight: 0,
            owes_since: None,
            long_poll: Duration::ZERO,
            ranges: None,
            undelivered,
            is_cut_off,
        })
    }

    pub(super) fn address(&self, of: Endpoint) -> Option<&Address> {
        match of {
            Endpoint::Broker(id) => self.brokers.get(&id).map(|known| &known.address),
            Endpoint::Bootstrap(at) => self.bootstrap.get(at),
        }
    }
}

/// How long the broker is asked to wait before it answers.
fn long_poll(request: &Request) -> Duration {
    match request {
        Request::Fetch(fetch) => Duration::from_millis(u64::try_from(fetch.max_wait_ms).unwrap_or(0)),
        _ => Duration::ZERO,
    }
}
