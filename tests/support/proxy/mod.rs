//! A TCP proxy before one broker that causes faults on request. It reads the headers of requests and pairs each answer with
//! its request (by correlation id), so that a [`FaultRule`] can drop, delay, cut, stall or corrupt the answers to one kind
//! of request. It can also refuse all connections, hold back everything, or limit the bandwidth. It makes random
//! choices by its seed, and counts its actions.
//!
//! It is for clients that expect an answer to every request: consumers, not producers with `acks=0`.

mod batch;
mod link;
mod rule;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use crate::dice::Dice;
use link::Link;
pub use rule::{AnswerFault, Api, FaultRule};

/// Lives as long as its value; connections through it end with it.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

/// Gets the bytes that passed: on which connection (they count from 1), whether from the client.
type Tap = Box<dyn Fn(u64, bool, &[u8]) + Send + Sync>;

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    tap: OnceLock<Tap>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("state", &self.state).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct State {
    target: Option<u16>,
    rules: Vec<FaultRule>,
    /// Bytes of answers per second, for each connection.
    bandwidth: Option<u32>,
    stalled: bool,
    refusing: bool,
    closed: bool,
    dice: Dice,
    open: Vec<TcpStream>,
    accepted: u64,
    /// Answers that were forwarded completely, and their bytes.
    answers: (u64, u64),
    done: BTreeMap<String, u64>,
}

impl Proxy {
    /// Listens on a free port; connections wait until [`to`](Self::to) sets their target.
    pub fn listen() -> Self {
        let port = crate::ports::free_port();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a free port can be bound");
        let state = State {
            target: None,
            rules: Vec::new(),
            bandwidth: None,
            stalled: false,
            refusing: false,
            closed: false,
            dice: Dice::new(0),
            open: Vec::new(),
            accepted: 0,
            answers: (0, 0),
            done: BTreeMap::new(),
        };
        let shared =
            Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), tap: OnceLock::new() });
        let accepting = Arc::clone(&shared);
        thread("proxy", move || accept(&listener, &accepting));
        Self { port, shared }
    }

    /// The port for clients.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sets the port on loopback that connections are forwarded to.
    pub fn to(&self, port: u16) {
        self.shared.change(|state| state.target = Some(port));
    }

    /// Sets the seed of all further choices.
    pub fn seed(&self, seed: u64) {
        self.shared.change(|state| state.dice = Dice::new(seed));
    }

    /// Adds a rule; several may strike one answer.
    pub fn rule(&self, rule: FaultRule) {
        self.shared.change(|state| state.rules.push(rule));
    }

    /// Cuts the connection of the next response of at least `size` bytes, after `after` bytes of it (including its
    /// length) have passed. Once.
    pub fn cut_response(&self, size: usize, after: usize) {
        self.rule(FaultRule::next_of_size(size, AnswerFault::CutAfter(after)));
    }

    /// Ends all open connections, and accepts new ones.
    pub fn cut_all(&self) {
        self.shared.change(|state| {
            state.count("cut all".to_owned());
            state.end_all();
        });
    }

    /// Holds back the data of brokers and clients until [`flow`](Self::flow); connections stay open. The last data of a
    /// client that has closed its connection by then never arrives.
    pub fn stall(&self) {
        self.shared.change(|state| {
            state.stalled = true;
            state.count("stall all".to_owned());
        });
    }

    /// Ends a stall.
    pub fn flow(&self) {
        self.shared.change(|state| state.stalled = false);
    }

    /// Limits the answers on each connection to this many bytes per second; `None`: no limit.
    pub fn bandwidth(&self, bytes: Option<u32>) {
        self.shared.change(|state| {
            state.bandwidth = bytes;
            bytes.into_iter().for_each(|_| state.count("slow".to_owned()));
        });
    }

    /// Ends all connections, and new ones too, until [`admit`](Self::admit).
    pub fn refuse(&self) {
        self.shared.change(|state| {
            state.refusing = true;
            state.count("refuse".to_owned());
            state.end_all();
        });
    }

    /// Ends a [`refuse`](Self::refuse).
    pub fn admit(&self) {
        self.shared.change(|state| state.refusing = false);
    }

    /// Removes all rules and limits, and forwards everything. Connections that a rule has stalled stay so.
    pub fn heal(&self) {
        self.shared.change(|state| {
            state.rules.clear();
            state.bandwidth = None;
            state.stalled = false;
            state.refusing = false;
        });
    }

    /// Shows all data that passes from now on to `tap`, in pieces of any size, once they have been forwarded: the
    /// connection (they count from 1), whether the client sent it, the bytes. Once in the life of a proxy.
    pub fn tap(&self, tap: impl Fn(u64, bool, &[u8]) + Send + Sync + 'static) {
        assert!(self.shared.tap.set(Box::new(tap)).is_ok(), "this proxy has a tap already");
    }

    /// How many answers of the broker have been forwarded completely so far, and their bytes.
    pub fn answers(&self) -> (u64, u64) {
        self.shared.lock().answers
    }

    /// How many connections have been made so far.
    pub fn accepted(&self) -> u64 {
        self.shared.lock().accepted
    }

    /// How many cuts have happened so far, so that a test can check that it got one.
    pub fn cuts(&self) -> u64 {
        self.done().iter().filter(|(what, _)| what.starts_with("cut")).map(|(_, times)| times).sum()
    }

    /// The actions so far, with their counts: `drop Fetch`, `corrupt Fetch`, `slow`, `refuse`, …
    pub fn done(&self) -> BTreeMap<String, u64> {
        self.shared.lock().done.clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.change(|state| {
            state.closed = true;
            state.end_all();
        });
        // Wakes the accepting thread, which then sees the end.
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok();
    }
}

impl State {
    fn count(&mut self, what: String) {
        *self.done.entry(what).or_default() += 1;
    }

    fn end_all(&mut self) {
        for stream in self.open.drain(..) {
            stream.shutdown(Shutdown::Both).ok();
        }
    }

    /// The faults of an answer, by the rules in their order.
    fn faults(&mut self, api: Option<Api>, answer: &[u8]) -> Vec<AnswerFault> {
        let has_batch = || !batch::covered(answer).is_empty();
        let faults: Vec<AnswerFault> =
            self.rules.iter_mut().filter_map(|rule| rule.strikes(api, answer.len(), has_batch)).collect();
        self.rules.retain(|rule| !rule.is_spent());
        for fault in &faults {
            let to = api.map_or_else(|| "anything".to_owned(), |api| api.to_string());
            self.count(format!("{} {to}", fault.name()));
        }
        faults
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn show(&self, connection: u64, from_client: bool, bytes: &[u8]) {
        if let Some(tap) = self.tap.get() {
            tap(connection, from_client, bytes);
        }
    }

    fn wait_while(&self, mut unfit: impl FnMut(&State) -> bool) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        while unfit(&state) && !state.closed {
            state = self.changed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        state
    }

    /// Waits out a stall; false when the proxy is gone.
    fn wait_to_flow(&self) -> bool {
        !self.wait_while(|state| state.stalled).closed
    }

    /// Waits for this long; false if the proxy is gone.
    fn wait(&self, span: Duration) -> bool {
        let until = Instant::now() + span;
        let mut state = self.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || state.closed {
                return !state.closed;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
    }
}

fn thread(name: &str, body: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().name(name.into()).spawn(body).expect("a thread can be started");
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        let Ok(client) = client else { continue };
        let mut state = shared.lock();
        if state.closed {
            return;
        }
        state.accepted += 1;
        if state.refusing {
            continue;
        }
        let number = state.accepted;
        drop(state);
        let shared = Arc::clone(shared);
        thread("proxy", move || {
            connect(client, number, &shared);
        });
    }
}

/// For a broker that is down, the connection ends at once.
fn connect(client: TcpStream, number: u64, shared: &Arc<Shared>) -> Option<()> {
    let target = shared.wait_while(|state| state.target.is_none()).target?;
    let broker = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).ok()?;
    let ends = [client.try_clone().ok()?, broker.try_clone().ok()?];
    {
        let mut state = shared.lock();
        if state.closed || state.refusing {
            return None;
        }
        state.open.extend(ends);
    }
    let link = Arc::new(Link::new(number, client, broker));
    let (asking, proxy) = (Arc::clone(&link), Arc::clone(shared));
    thread("proxy", move || asking.requests(&proxy));
    link.answers(shared);
    Some(())
}
