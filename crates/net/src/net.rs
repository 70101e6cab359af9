//! [`Net`]: all connections of one client.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use offtake_machine::{BrokerId, CallError, Cluster, Target, Transmit};
use offtake_wire::ApiKey;
use tokio::{
    sync::{
        mpsc::{self, error::TrySendError},
        watch,
    },
    task::{Id, JoinError, JoinSet},
    time::Instant,
};

use crate::{
    address::Address,
    call::{Call, Completion, End, Endpoint, Event, Lane, Origin, What},
    clock,
    config::Config,
    connection,
    dial::{Dial, Tcp},
    handshake::Ranges,
    inbox::{Inbox, Reporter},
    route::{self, Candidate},
    shared::{Counters, Shared, Stats},
    standing::Standing,
};

/// Calls without an answer, at most. Machines have one each, an application as many as it makes; beyond this a call is
/// refused. Also the room in each connection's queue, which therefore never overflows.
const OUTSTANDING: usize = 4096;
/// Answers that wait for the engine, at most; then connections stop reading.
const EVENTS: usize = 64;

/// All connections of one client. Belongs to one task, which alternates [`send`](Self::send) and
/// [`next`](Self::next); must live inside a tokio runtime. Dropping it ends its tasks without a word.
#[derive(Debug)]
pub struct Net {
    shared: Arc<Shared>,
    bootstrap: Vec<Address>,
    /// Where each broker is, as far as we were told.
    brokers: BTreeMap<BrokerId, Known>,
    links: BTreeMap<(Endpoint, Lane), Link>,
    standings: BTreeMap<Address, Standing>,
    /// Calls without an answer, and the connection they are with.
    outstanding: BTreeMap<u64, u64>,
    ready: VecDeque<Completion>,
    tasks: JoinSet<()>,
    running: HashMap<Id, Arc<Origin>>,
    events: (mpsc::Sender<Event>, mpsc::Receiver<Event>),
    closing: watch::Sender<bool>,
    next_serial: u64,
    rotation: u64,
}

#[derive(Debug)]
struct Known {
    address: Address,
    /// Whether the newest metadata lists it.
    listed: bool,
}

/// Our end of a connection task.
#[derive(Debug)]
struct Link {
    serial: u64,
    calls: mpsc::Sender<Call>,
    in_flight: usize,
    /// What the broker speaks, once connected.
    ranges: Option<Arc<Ranges>>,
    /// Calls for which it has just ended: they wait for the news of why, so that no dial overtakes its backoff.
    parked: Vec<Call>,
}

impl Net {
    /// No connection yet; each is made when the first call needs it. `bootstrap` are host and port of servers to ask
    /// while no broker is known, or none answers.
    pub fn new(config: Config, bootstrap: Vec<(String, u16)>) -> Self {
        let dial = Tcp { send_buffer: config.send_buffer, receive_buffer: config.receive_buffer };
        Self::with_dial(config, bootstrap, Arc::new(dial))
    }

    /// As [`new`](Self::new), over other connections than plain TCP.
    pub fn with_dial(config: Config, bootstrap: Vec<(String, u16)>, dial: Arc<dyn Dial>) -> Self {
        let rotation = config.seed;
        Self {
            shared: Arc::new(Shared { config, dial, counters: Counters::default() }),
            bootstrap: bootstrap.iter().map(|(host, port)| Address::new(host, *port)).collect(),
            brokers: BTreeMap::new(),
            links: BTreeMap::new(),
            standings: BTreeMap::new(),
            outstanding: BTreeMap::new(),
            ready: VecDeque::new(),
            tasks: JoinSet::new(),
            running: HashMap::new(),
            events: mpsc::channel(EVENTS),
            closing: watch::Sender::new(false),
            next_serial: 0,
            rotation,
        }
    }

    /// The metadata was refreshed. A broker that moved gets new connections; calls under way on the old ones are still
    /// answered there. One that is gone keeps what connections it has until they end.
    pub fn update_brokers(&mut self, cluster: &Cluster) {
        for known in self.brokers.values_mut() {
            known.listed = false;
        }
        for (id, broker) in &cluster.brokers {
            self.locate(*id, &broker.host, broker.port, true);
        }
        self.prune();
    }

    /// Somebody said where a broker is that the metadata may not list yet: FindCoordinator, a leader hint.
    pub fn learn_broker(&mut self, id: BrokerId, host: &str, port: u16) {
        self.locate(id, host, port, false);
    }

    fn locate(&mut self, id: BrokerId, host: &str, port: u16, listed: bool) {
        match self.brokers.get_mut(&id) {
            Some(known) if known.address.is(host, port) => known.listed |= listed,
            known => {
                let moved = known.is_some();
                self.brokers.insert(id, Known { address: Address::new(host, port), listed });
                if moved {
                    self.retire(Endpoint::Broker(id));
                }
            }
        }
    }

    /// Forgets every broker: the next calls go to the bootstrap servers, over new connections (KIP-899, KIP-1102). Calls
    /// under way are still answered.
    pub fn forget_brokers(&mut self) {
        self.brokers.clear();
        self.links.clear(); // a connection whose calls cannot come any more ends when its answers are in
        self.prune();
    }

    fn retire(&mut self, endpoint: Endpoint) {
        self.links.retain(|(of, _), _| *of != endpoint);
    }

    /// Drops what we know of brokers that are neither listed nor connected, and of addresses that are nobody's.
    fn prune(&mut self) {
        let links = &self.links;
        let connected = |id| Lane::ALL.iter().any(|lane| links.contains_key(&(Endpoint::Broker(id), *lane)));
        self.brokers.retain(|id, known| known.listed || connected(*id));
        let (brokers, bootstrap) = (&self.brokers, &self.bootstrap);
        self.standings.retain(|address, _| {
            bootstrap.contains(address) || brokers.values().any(|known| known.address == *address)
        });
    }

    /// Sends a request over the `lane` of a broker, connecting first if need be. Never blocks; exactly one
    /// [`Completion`] under `tag` follows. Tags are the caller's, unique among those outstanding.
    ///
    /// The timeout runs from here. A call to [`Target::Any`] tries the next candidate when one cannot be reached, until
    /// all were tried or its time is over; one to a broker that failed a moment ago waits for the reconnect backoff.
    pub fn send(&mut self, tag: u64, lane: Lane, transmit: Transmit) {
        let now = clock::now();
        let Transmit { id: _, to, request, max_version, timeout } = transmit;
        let deadline = now.checked_add(timeout).unwrap_or(now);
        let (tried, trouble, moved) = (Vec::new(), None, false);
        let call = Call { tag, lane, to, request, max_version, timeout, deadline, tried, trouble, moved };
        if self.outstanding.len() >= OUTSTANDING {
            self.refuse(call, format!("{OUTSTANDING} calls are outstanding already"));
        } else {
            self.place(now, call);
        }
    }

    /// What became of some call. Cancel-safe. Waits for ever while nothing is outstanding.
    pub async fn next(&mut self) -> Completion {
        loop {
            if let Some(completion) = self.ready.pop_front() {
                return completion;
            }
            tokio::select! {
                biased;
                Some(event) = self.events.1.recv() => self.handle(event),
                Some(ended) = self.tasks.join_next_with_id() => self.joined(ended),
            }
        }
    }

    /// The versions of `api` that both this broker and we speak, while connected to it.
    pub fn version_range(&self, broker: BrokerId, api: ApiKey) -> Option<(i16, i16)> {
        let link = |lane: &Lane| self.links.get(&(Endpoint::Broker(broker), *lane))?.ranges.clone();
        let both = Lane::ALL.iter().find_map(link)?.of(api)?;
        Some((both.min, both.max))
    }

    /// Calls without an answer.
    pub fn in_flight(&self) -> usize {
        self.outstanding.len()
    }

    /// How it goes.
    pub fn stats(&self) -> Stats {
        let connections = self.links.values().filter(|link| link.ranges.is_some()).count();
        self.shared.counters.stats(connections, self.outstanding.len())
    }

    /// Writes what was sent, closes all connections without waiting for answers, and ends all tasks; those that are not
    /// done at `deadline` are ended where they stand. None is left afterwards.
    pub async fn close(mut self, deadline: std::time::Instant) {
        self.closing.send_replace(true);
        let over = tokio::time::sleep_until(Instant::from_std(deadline));
        let mut over = std::pin::pin!(over);
        loop {
            tokio::select! {
                biased;
                () = &mut over => break,
                Some(_) = self.events.1.recv() => {}
                ended = self.tasks.join_next() => if ended.is_none() {
                    break;
                },
            }
        }
        self.tasks.shutdown().await;
    }

    /// Gives the call to a connection, a new one if need be.
    fn place(&mut self, now: Instant, call: Call) {
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
        let (tag, serial) = (call.tag, link.serial);
        match link.calls.try_send(call) {
            Ok(()) => {
                link.in_flight += 1;
                self.outstanding.insert(tag, serial);
            }
            Err(TrySendError::Closed(back)) => {
                link.parked.push(back);
                self.outstanding.insert(tag, serial);
            }
            Err(TrySendError::Full(back)) => self.refuse(back, "its queue is full".to_owned()),
        }
    }

    /// The best candidate for a call that any broker may answer, of those it has not tried.
    fn anybody(&mut self, now: Instant, call: &Call) -> Option<Endpoint> {
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
        let inbox = Inbox::new(inbox, self.closing.subscribe());
        let reporter = Reporter { from: from.clone(), events: self.events.0.clone() };
        let task = self.tasks.spawn(connection::run(self.shared.clone(), reporter, inbox, plan));
        self.running.insert(task.id(), from);
        Some(Link { serial, calls, in_flight: 0, ranges: None, parked: Vec::new() })
    }

    fn address(&self, of: Endpoint) -> Option<&Address> {
        match of {
            Endpoint::Broker(id) => self.brokers.get(&id).map(|known| &known.address),
            Endpoint::Bootstrap(at) => self.bootstrap.get(at),
        }
    }

    fn handle(&mut self, event: Event) {
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
            End::Idle | End::Retired => {
                return tracing::debug!(address = %from.address, lane = ?from.lane, "connection closed, unused");
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
            End::Idle | End::Retired | End::Broken(_) if !call.moved => {
                call.moved = true;
                return self.place(now, call);
            }
            End::Broken(reason) => {
                CallError::Disconnected { address: from.address.to_string(), reason: reason.clone() }
            }
            End::Idle | End::Retired => CallError::Disconnected {
                address: from.address.to_string(),
                reason: "closed before the request was sent".to_owned(),
            },
        };
        self.complete(call.tag, Err(error));
    }

    /// A task is over. One that panicked has not told its calls, so we do.
    fn joined(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        let Some(from) = self.running.remove(&id) else { return };
        let Err(error) = ended else { return };
        tracing::error!(address = %from.address, %error, "a connection's task ended in the middle");
        self.links.retain(|_, link| link.serial != from.serial);
        let orphans: Vec<u64> =
            self.outstanding.iter().filter(|(_, with)| **with == from.serial).map(|(tag, _)| *tag).collect();
        for tag in orphans {
            let (address, reason) = (from.address.to_string(), "an error in this client".to_owned());
            self.complete(tag, Err(CallError::Disconnected { address, reason }));
        }
    }

    /// Exactly once: a tag that is with another connection, or answered, is none of this one's.
    fn complete_from(&mut self, from: &Origin, tag: u64, result: Result<offtake_machine::Answer, CallError>) {
        if self.outstanding.get(&tag) == Some(&from.serial) {
            self.complete(tag, result);
        }
    }

    fn complete(&mut self, tag: u64, result: Result<offtake_machine::Answer, CallError>) {
        self.outstanding.remove(&tag);
        self.ready.push_back(Completion { tag, result });
    }

    fn refuse(&mut self, call: Call, reason: String) {
        let address = match call.to {
            Target::Any => "any broker".to_owned(),
            Target::Broker(id) => id.to_string(),
        };
        let error = CallError::Unreachable { address, reason, not_kafka: false };
        self.complete(call.tag, Err(call.trouble.unwrap_or(error)));
    }
}
