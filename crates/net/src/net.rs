//! [`Net`]: all connections of one client.

mod dispatch;
mod events;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use offtake_machine::{BrokerId, CallError, Cluster, Transmit};
use offtake_wire::ApiKey;
use tokio::{
    sync::mpsc,
    task::{Id, JoinSet},
    time::Instant,
};

use crate::{
    address::Address,
    call::{Call, Completion, Endpoint, Event, Fate, Lane, Origin},
    clock,
    config::Config,
    dial::{Dial, Tcp},
    ending::Ending,
    handshake::Ranges,
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
    /// Calls without an answer, by tag.
    outstanding: BTreeMap<u64, Outstanding>,
    ready: VecDeque<Completion>,
    tasks: JoinSet<()>,
    running: HashMap<Id, Arc<Origin>>,
    events: (mpsc::Sender<Event>, mpsc::Receiver<Event>),
    closing: Ending,
    next_serial: u64,
    rotation: u64,
}

#[derive(Debug)]
struct Known {
    address: Address,
    /// Whether the newest metadata lists it.
    listed: bool,
}

/// A call without an answer.
#[derive(Debug)]
struct Outstanding {
    /// Of the connection that it is with.
    serial: u64,
    fate: Fate,
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
            shared: Arc::new(Shared { config, dial, counters: Counters::default(), buffers: Arc::default() }),
            bootstrap: bootstrap.iter().map(|(host, port)| Address::new(host, *port)).collect(),
            brokers: BTreeMap::new(),
            links: BTreeMap::new(),
            standings: BTreeMap::new(),
            outstanding: BTreeMap::new(),
            ready: VecDeque::new(),
            tasks: JoinSet::new(),
            running: HashMap::new(),
            events: mpsc::channel(EVENTS),
            closing: Ending::default(),
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
                    self.retire(|of| of == Endpoint::Broker(id));
                }
            }
        }
    }

    /// Forgets every broker: the next calls go to the bootstrap servers, over new connections (KIP-899, KIP-1102). Calls
    /// under way are still answered.
    pub fn forget_brokers(&mut self) {
        self.brokers.clear();
        self.retire(|_| true);
        self.prune();
    }

    /// Lets go of connections: each ends when its answers are in.
    fn retire(&mut self, which: impl Fn(Endpoint) -> bool) {
        let mut parked = Vec::new();
        self.links.retain(|(endpoint, _), link| {
            let goes = which(*endpoint);
            if goes {
                parked.append(&mut link.parked);
            }
            !goes
        });
        for call in parked {
            self.place(clock::now(), call);
        }
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
    /// The timeout runs from here. A call to [`Target::Any`](offtake_machine::Target::Any) tries the next candidate when one cannot be reached, until
    /// all were tried or its time is over; one to a broker that failed a moment ago waits for the reconnect backoff.
    pub fn send(&mut self, tag: u64, lane: Lane, transmit: Transmit) {
        let now = clock::now();
        let Transmit { id: _, to, request, max_version, timeout } = transmit;
        let deadline = clock::after(now, timeout);
        let (tried, trouble, moved, fate) = (Vec::new(), None, false, Fate::default());
        let call =
            Call { tag, lane, to, request, max_version, timeout, deadline, tried, trouble, moved, fate };
        if self.outstanding.len() >= OUTSTANDING {
            self.refuse(call, format!("{OUTSTANDING} calls are outstanding already"));
        } else {
            self.place(now, call);
        }
    }

    /// Takes a call back, which then completes with [`CallError::Withdrawn`], and its broker never sees it. A call that a
    /// connection has begun to write, or that is over, goes on as if this had not been called.
    pub fn withdraw(&mut self, tag: u64) {
        let Some(call) = self.outstanding.get(&tag).filter(|call| call.fate.withdraw()) else { return };
        let serial = call.serial;
        if let Some(link) = self.links.values_mut().find(|link| link.serial == serial) {
            link.in_flight = link.in_flight.saturating_sub(1);
        }
        self.complete(tag, Err(CallError::Withdrawn));
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

    /// Calls whose completion is still to come out of [`next`](Self::next).
    pub fn in_flight(&self) -> usize {
        self.outstanding.len() + self.ready.len()
    }

    /// How it goes.
    pub fn stats(&self) -> Stats {
        let connections = self.links.values().filter(|link| link.ranges.is_some()).count();
        self.shared.counters.stats(connections, self.in_flight())
    }

    /// Writes what was sent, closes all connections without waiting for answers, and ends all tasks; those that are not
    /// done at `deadline` are ended where they stand. None is left afterwards.
    pub async fn close(mut self, deadline: std::time::Instant) {
        self.closing.begin();
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
}
