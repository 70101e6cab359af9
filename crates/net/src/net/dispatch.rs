//! The way of a call to its connection.

use std::sync::Arc;

use offtake_machine::{CallError, Target};
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::Instant,
};

use super::{Link, Net, OUTSTANDING, Outstanding};
use crate::{
    address::Address,
    call::{Call, Endpoint, Lane, Origin},
    connection,
    inbox::{Inbox, Reporter},
    route::{self, Candidate},
    standing::Standing,
};

impl Net {
    /// Gives the call to a connection, a new one if need be.
    pub(super) fn place(&mut self, now: Instant, call: Call) {
        if call.fate.is_withdrawn() {
            return; // and answered
        }
        let endpoint = match call.to {
            Target::Broker(id) => Endpoint::Broker(id),
            Target::Any => match self.anybody(now, &call) {
                Some(endpoint) => endpoint,
                None => return self.refuse(call, "no bootstrap server is configured".to_owned()),
            },
        };
        let key = (endpoint, call.lane);
        let Some(link) = self.link(now, key) else {
            let Endpoint::Broker(id) = endpoint else { return };
            return self.complete(call.tag, Err(CallError::UnknownBroker(id)));
        };
        let (tag, with) = (call.tag, Outstanding { serial: link.serial, fate: call.fate.clone() });
        match link.calls.try_send(call) {
            Ok(()) => {
                link.in_flight += 1;
                self.outstanding.insert(tag, with);
            }
            Err(TrySendError::Closed(back)) => {
                link.parked.push(back);
                self.outstanding.insert(tag, with);
            }
            Err(TrySendError::Full(back)) => self.refuse(back, "its queue is full".to_owned()),
        }
    }

    /// The best candidate for a call that any broker may answer, of those it has not tried.
    pub(super) fn anybody(&mut self, now: Instant, call: &Call) -> Option<Endpoint> {
        let brokers = self.brokers.iter().map(|(id, known)| (Endpoint::Broker(*id), &known.address));
        let bootstrap =
            self.bootstrap.iter().enumerate().map(|(at, address)| (Endpoint::Bootstrap(at), address));
        let untried = brokers.chain(bootstrap).filter(|(endpoint, _)| !call.tried.contains(endpoint));
        let candidates: Vec<Candidate> = untried
            .map(|(endpoint, address)| {
                let link = |lane| self.links.get(&(endpoint, lane));
                let connected = |lane| link(lane).is_some_and(|link| link.ranges.is_some());
                Candidate {
                    endpoint,
                    on_lane: connected(call.lane),
                    connected: Lane::ALL.into_iter().any(connected),
                    in_flight: link(call.lane).map_or(0, |link| link.in_flight),
                    failing: self.standings.get(address).is_some_and(Standing::is_failing),
                    waits: self.standings.get(address).and_then(|standing| standing.waits(now)),
                }
            })
            .collect();
        self.rotation = self.rotation.wrapping_add(1);
        route::best(&candidates, self.rotation)
    }

    /// The connection, made if there is none; `None` if nobody knows where that broker is.
    fn link(&mut self, now: Instant, key: (Endpoint, Lane)) -> Option<&mut Link> {
        if !self.links.contains_key(&key) {
            let link = self.open(now, key)?;
            self.links.insert(key, link);
        }
        self.links.get_mut(&key)
    }

    fn open(&mut self, now: Instant, (endpoint, lane): (Endpoint, Lane)) -> Option<Link> {
        let address = self.address(endpoint)?.clone();
        self.next_serial += 1;
        let serial = self.next_serial;
        let (config, seed) = (&self.shared.config, self.shared.config.seed.wrapping_add(serial));
        let standing = self.standings.entry(address.clone()).or_insert_with(|| Standing::new(config, seed));
        let plan = standing.plan(now, config);
        let from = Arc::new(Origin { serial, endpoint, lane, address });
        let (calls, inbox) = mpsc::channel(OUTSTANDING);
        let inbox = Inbox::new(inbox, self.closing.clone());
        let reporter = Reporter { from: from.clone(), events: self.events.0.clone() };
        let task = self.tasks.spawn(connection::run(self.shared.clone(), reporter, inbox, plan));
        self.running.insert(task.id(), from);
        Some(Link { serial, calls, in_flight: 0, ranges: None, parked: Vec::new() })
    }

    pub(super) fn address(&self, of: Endpoint) -> Option<&Address> {
        match of {
            Endpoint::Broker(id) => self.brokers.get(&id).map(|known| &known.address),
            Endpoint::Bootstrap(at) => self.bootstrap.get(at),
        }
    }
}
