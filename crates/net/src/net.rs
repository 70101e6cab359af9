//! [`Net`]: all connections of one client.

mod acceptance;
mod dispatch;
mod events;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use acceptance::Acceptance;
use offtake_machine::{BrokerId, CallError, Cluster, Transmit};
use offtake_wire::ApiKey;
use tokio::{
    sync::mpsc,
    task::{Id, JoinSet},
    time::Instant,
};

use crate::{
    address::Address,
    address_state::AddressState,
    call::{Call, CallState, Completion, ConnectionInfo, Endpoint, Event, Lane, NetEvent},
    clock,
    config::Config,
    dial::{Dial, Tcp},
    handshake::VersionRanges,
    shared::{Counters, Shared, Stats},
    shutdown::ShutdownSignal,
};

/// The most calls that may be outstanding; further calls are refused. Also the capacity of each connection's queue.
const OUTSTANDING: usize = 4096;
/// The capacity of the queue of events; connections stop reading while it is full.
const EVENTS: usize = 64;

/// All connections of one client. Belongs to one task, which alternates [`send`](Self::send) and [`next`](Self::next); must be
/// used inside a tokio runtime. Dropping it ends its tasks at once.
#[derive(Debug)]
pub struct Net {
    shared: Arc<Shared>,
    bootstrap: Vec<Address>,
    /// The known brokers and their addresses.
    brokers: BTreeMap<BrokerId, KnownBroker>,
    connections: BTreeMap<(Endpoint, Lane), ConnectionHandle>,
    addresses: BTreeMap<Address, AddressState>,
    /// Calls without a response, by tag.
    outstanding: BTreeMap<u64, Outstanding>,
    ready: VecDeque<Completion>,
    /// The brokers to report by [`NetEvent::ClosedUnanswered`].
    closed_unanswered: BTreeSet<BrokerId>,
    tasks: JoinSet<()>,
    running: HashMap<Id, Arc<ConnectionInfo>>,
    events: (mpsc::Sender<Event>, mpsc::Receiver<Event>),
    closing: ShutdownSignal,
    acceptance: Acceptance,
    next_serial: u64,
    rotation: u64,
}

#[derive(Debug)]
struct KnownBroker {
    address: Address,
    /// Whether the newest metadata lists the broker.
    listed: bool,
}

/// A call without a response.
#[derive(Debug)]
struct Outstanding {
    /// The serial number of its connection.
    serial: u64,
    state: CallState,
}

/// The handle of a connection task.
#[derive(Debug)]
struct ConnectionHandle {
    serial: u64,
    calls: mpsc::Sender<Call>,
    in_flight: usize,
    /// Since when it owes an answer and has given none.
    owes_since: Option<Instant>,
    /// The longest time for which the broker was asked to wait before it answers.
    long_poll: Duration,
    /// The common versions, once connected.
    ranges: Option<Arc<VersionRanges>>,
    /// Calls sent to it after it had ended. They wait for the reason, so that no dial is made before the backoff.
    undelivered: Vec<Call>,
    /// It is to end without waiting for its answers.
    is_cut_off: Arc<AtomicBool>,
}

/// How long a broker may owe an answer before calls that others can answer go to those: a coordinator may take 5 s for a commit.
const SILENT: Duration = Duration::from_secs(6);

impl ConnectionHandle {
    /// Notes that this call was given to it.
    fn asked(&mut self, now: Instant, long_poll: Duration) {
        self.in_flight += 1;
        self.owes_since.get_or_insert(now);
        self.long_poll = self.long_poll.max(long_poll);
    }

    /// Notes that a call was answered.
    fn answered(&mut self, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.owes_since = (self.in_flight > 0).then_some(now);
    }

    /// Notes that a call was not sent after all.
    fn withdrawn(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.owes_since = self.owes_since.filter(|_| self.in_flight > 0);
    }

    /// Whether it has answered nothing for long, though it should have.
    fn is_silent(&self, now: Instant) -> bool {
        let limit = SILENT.saturating_add(self.long_poll);
        self.owes_since.is_some_and(|since| now.saturating_duration_since(since) >= limit)
    }
}

impl Net {
    /// Makes no connection yet: each is made when the first call needs it. `bootstrap` lists the host and port of the servers to
    /// use while no broker is known, or none answers.
    pub fn new(config: Config, bootstrap: Vec<(String, u16)>) -> Self {
        let dial = Tcp { send_buffer: config.send_buffer, receive_buffer: config.receive_buffer };
        Self::with_dial(config, bootstrap, Arc::new(dial))
    }

    /// Like [`new`](Self::new), with connections made by `dial`.
    pub fn with_dial(config: Config, bootstrap: Vec<(String, u16)>, dial: Arc<dyn Dial>) -> Self {
        let rotation = config.seed;
        Self {
            shared: Arc::new(Shared {
                config,
                dial,
                counters: Counters::default(),
                frame_pool: Arc::default(),
            }),
            bootstrap: bootstrap.iter().map(|(host, port)| Address::new(host, *port)).collect(),
            brokers: BTreeMap::new(),
            connections: BTreeMap::new(),
            addresses: BTreeMap::new(),
            outstanding: BTreeMap::new(),
            ready: VecDeque::new(),
            closed_unanswered: BTreeSet::new(),
            tasks: JoinSet::new(),
            running: HashMap::new(),
            events: mpsc::channel(EVENTS),
            closing: ShutdownSignal::default(),
            acceptance: Acceptance::default(),
            next_serial: 0,
            rotation,
        }
    }

    /// Updates the brokers after a refresh of the metadata. A broker that moved gets new connections; calls outstanding on the
    /// old ones are still answered there. A broker that is gone keeps its connections until they end.
    pub fn update_brokers(&mut self, cluster: &Cluster) {
        self.shared.config.security.warn_of_ending(); // connections may last longer than a certificate
        for known in self.brokers.values_mut() {
            known.listed = false;
        }
        for (id, broker) in &cluster.brokers {
            self.set_address(*id, &broker.host, broker.port, true);
        }
        self.prune();
    }

    /// Sets the address of a broker that the metadata may not list yet: from FindCoordinator, or a leader hint (KIP-951).
    pub fn learn_broker(&mut self, id: BrokerId, host: &str, port: u16) {
        self.set_address(id, host, port, false);
    }

    fn set_address(&mut self, id: BrokerId, host: &str, port: u16, listed: bool) {
        match self.brokers.get_mut(&id) {
            Some(known) if known.address.is(host, port) => known.listed |= listed,
            known => {
                let requeued = known.is_some();
                self.brokers.insert(id, KnownBroker { address: Address::new(host, port), listed });
                if requeued {
                    self.retire(|of| of == Endpoint::Broker(id));
                }
            }
        }
    }

    /// Forgets every broker: the next calls go to the bootstrap servers, over new connections (KIP-899, KIP-1102). Outstanding
    /// calls are still answered.
    pub fn forget_brokers(&mut self) {
        self.brokers.clear();
        self.retire(|_| true);
        self.prune();
    }

    /// Retires connections: each ends when its responses have arrived.
    fn retire(&mut self, which: impl Fn(Endpoint) -> bool) {
        let mut undelivered = Vec::new();
        self.connections.retain(|(endpoint, _), connection| {
            let goes = which(*endpoint);
            if goes {
                undelivered.append(&mut connection.undelivered);
            }
            !goes
        });
        for call in undelivered {
            self.dispatch(clock::now(), call);
        }
    }

    /// Forgets brokers that are neither listed nor connected, and addresses that no broker has.
    fn prune(&mut self) {
        let connections = &self.connections;
        let connected =
            |id| Lane::ALL.iter().any(|lane| connections.contains_key(&(Endpoint::Broker(id), *lane)));
        self.brokers.retain(|id, known| known.listed || connected(*id));
        let (brokers, bootstrap) = (&self.brokers, &self.bootstrap);
        self.addresses.retain(|address, _| {
            bootstrap.contains(address) || brokers.values().any(|known| known.address == *address)
        });
    }

    /// Sends a request over the `lane` of a broker, connecting first if necessary. Never blocks; exactly one [`Completion`] under
    /// `tag` follows. The caller chooses tags, which must be unique among outstanding calls.
    ///
    /// The timeout runs from here. A call to [`Target::Any`](offtake_machine::Target::Any) tries the next candidate when one
    /// cannot be reached, until all were tried or the timeout ends. A call to a broker that has just failed waits for the
    /// reconnect backoff.
    pub fn send(&mut self, tag: u64, lane: Lane, transmit: Transmit) {
        let now = clock::now();
        let Transmit { id: _, to, request, max_version, timeout, prompt } = transmit;
        let deadline = clock::after(now, timeout);
        let (tried, last_error, requeued, state) = (Vec::new(), None, false, CallState::default());
        let call = Call {
            tag,
            lane,
            to,
            request,
            max_version,
            timeout,
            prompt,
            deadline,
            tried,
            last_error,
            requeued,
            state,
        };
        if self.outstanding.len() >= OUTSTANDING {
            self.refuse(call, format!("{OUTSTANDING} calls are outstanding already"));
        } else {
            self.dispatch(now, call);
        }
    }

    /// Withdraws a call that is not written yet: it completes with [`CallError::Withdrawn`], and is never sent. Has no effect on
    /// a call that its connection has begun to write, or that has completed, except on [`Lane::Join`]: there the connection ends.
    /// The next call would wait behind one whose response nobody needs, and which may wait at the broker for minutes, or for
    /// ever if it was lost there.
    pub fn withdraw(&mut self, tag: u64) {
        let Some(call) = self.outstanding.get(&tag) else { return };
        let serial = call.serial;
        if !call.state.withdraw() {
            return self.cut_off(serial);
        }
        if let Some(connection) = self.connections.values_mut().find(|connection| connection.serial == serial)
        {
            connection.withdrawn();
        }
        self.complete(tag, Err(CallError::Withdrawn));
    }

    /// Ends this connection, if it is one on which calls wait long: its next call goes over another one.
    fn cut_off(&mut self, serial: u64) {
        let is_it = |(key, connection): (&(Endpoint, Lane), &ConnectionHandle)| {
            (key.1 == Lane::Join && connection.serial == serial).then_some(*key)
        };
        let Some(connection) =
            self.connections.iter().find_map(is_it).and_then(|key| self.connections.remove(&key))
        else {
            return;
        };
        connection.is_cut_off.store(true, Relaxed);
        for call in connection.undelivered {
            self.dispatch(clock::now(), call);
        }
    }

    /// The next result of a call. Cancel-safe. Waits for ever while no call is outstanding.
    pub async fn next(&mut self) -> Completion {
        loop {
            if let NetEvent::Completed(completion) = self.next_event().await {
                return completion;
            }
        }
    }

    /// The next event: the result of a call, or a notice about a broker. Cancel-safe.
    pub async fn next_event(&mut self) -> NetEvent {
        loop {
            if let Some(completion) = self.ready.pop_front() {
                return NetEvent::Completed(completion);
            }
            if let Some(broker) = self.closed_unanswered.pop_first() {
                return NetEvent::ClosedUnanswered(broker);
            }
            tokio::select! {
                biased;
                Some(event) = self.events.1.recv() => self.handle(event),
                Some(ended) = self.tasks.join_next_with_id() => self.on_task_end(ended),
            }
        }
    }

    /// The versions of `api` that both this broker and this client support, while connected to it.
    pub fn version_range(&self, broker: BrokerId, api: ApiKey) -> Option<(i16, i16)> {
        let connection =
            |lane: &Lane| self.connections.get(&(Endpoint::Broker(broker), *lane))?.ranges.clone();
        let both = Lane::ALL.iter().find_map(connection)?.of(api)?;
        Some((both.min, both.max))
    }

    /// The number of calls whose [`Completion`] was not returned by [`next`](Self::next) yet.
    pub fn in_flight(&self) -> usize {
        self.outstanding.len() + self.ready.len()
    }

    /// Counters and gauges.
    pub fn stats(&self) -> Stats {
        let connections = self.connections.values().filter(|connection| connection.ranges.is_some()).count();
        self.shared.counters.stats(connections, self.in_flight())
    }

    /// Writes what is queued, closes all connections without waiting for responses, and ends all tasks. Tasks that are not done
    /// at `deadline` are aborted. No task is left afterwards.
    pub async fn close(mut self, deadline: std::time::Instant) {
        self.closing.send();
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
