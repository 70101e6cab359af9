//! A TCP proxy that does not parse its traffic, so that it can stand before a TLS listener. It cuts, delays and flips
//! single bits on request, and counts its actions.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::dice::Dice;

/// Lives as long as its value; connections through it end with it.
#[derive(Debug)]
pub struct BytesProxy {
    port: u16,
    shared: Arc<Shared>,
}

/// The sender of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// Those of the client.
    Client,
    /// Those of the broker.
    Broker,
}

/// The fault at a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteFault {
    /// One of its bits is flipped.
    Flip,
    /// The connection ends before it.
    Cut,
    /// It is delayed by this time, and so are the bytes after it.
    Delay(Duration),
}

/// A planned fault, which strikes once.
#[derive(Debug, Clone, Copy)]
struct Planned {
    sender: Sender,
    /// The number of bytes that pass before it.
    after: usize,
    fault: ByteFault,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    target: Option<u16>,
    closed: bool,
    dice: Dice,
    open: Vec<TcpStream>,
    accepted: u64,
    /// For whichever connection has these bytes.
    anywhere: Vec<Planned>,
    /// For the next connection.
    next: Vec<Planned>,
    done: BTreeMap<String, u64>,
}

impl BytesProxy {
    /// Listens on a free port; connections wait until [`to`](Self::to) sets their target.
    pub fn listen() -> Self {
        let port = crate::ports::free_port();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a free port can be bound");
        let state = State {
            target: None,
            closed: false,
            dice: Dice::new(0),
            open: Vec::new(),
            accepted: 0,
            anywhere: Vec::new(),
            next: Vec::new(),
            done: BTreeMap::new(),
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let accepting = Arc::clone(&shared);
        thread(move || accept(&listener, &accepting));
        Self { port, shared }
    }

    /// The port for clients.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sets the port on loopback that connections are forwarded to.
    pub fn to(&self, port: u16) {
        self.shared.lock().target = Some(port);
        self.shared.changed.notify_all();
    }

    /// Sets the seed for the choice of bits.
    pub fn seed(&self, seed: u64) {
        self.shared.lock().dice = Dice::new(seed);
    }

    /// The fault strikes the byte after this many others of this sender, counted over all connections.
    pub fn fault(&self, sender: Sender, after: usize, fault: ByteFault) {
        self.shared.lock().anywhere.push(Planned { sender, after, fault });
    }

    /// The fault strikes the byte after this many others of this sender on the next connection.
    pub fn fault_next(&self, sender: Sender, after: usize, fault: ByteFault) {
        self.shared.lock().next.push(Planned { sender, after, fault });
    }

    /// Ends all open connections, and accepts new ones.
    pub fn cut_all(&self) {
        let mut state = self.shared.lock();
        for stream in state.open.drain(..) {
            stream.shutdown(Shutdown::Both).ok();
        }
    }

    /// How many connections have been made so far.
    pub fn accepted(&self) -> u64 {
        self.shared.lock().accepted
    }

    /// The actions so far, with their counts: `flip client`, `cut broker`, `delay broker`, …
    pub fn done(&self) -> BTreeMap<String, u64> {
        self.shared.lock().done.clone()
    }
}

impl Drop for BytesProxy {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        self.cut_all();
        // Wakes the accepting thread, which then sees the end.
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn target(&self) -> Option<u16> {
        let mut state = self.lock();
        while state.target.is_none() && !state.closed {
            state = self.changed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        state.target.filter(|_| !state.closed)
    }

    /// Waits for this long, or less if the proxy is gone.
    fn wait(&self, span: Duration) {
        let until = Instant::now() + span;
        let mut state = self.lock();
        while !state.closed {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
    }
}

impl State {
    /// Takes the first fault among this many bytes, and counts the bytes before it as passed.
    fn next_fault(
        &mut self,
        own: &mut Vec<Planned>,
        sender: Sender,
        bytes: usize,
    ) -> (usize, Option<ByteFault>) {
        let all = || self.anywhere.iter().chain(own.iter()).filter(|planned| planned.sender == sender);
        let first = all().map(|planned| planned.after).filter(|after| *after < bytes).min();
        let passed = first.unwrap_or(bytes);
        let mut found = None;
        for plans in [&mut self.anywhere, own] {
            plans.retain_mut(|planned| {
                let strikes = planned.sender == sender && first == Some(planned.after) && found.is_none();
                if strikes {
                    found = Some(planned.fault);
                } else if planned.sender == sender {
                    planned.after -= passed;
                }
                !strikes
            });
        }
        if let Some(fault) = found {
            *self.done.entry(format!("{} {}", fault.name(), sender.name())).or_default() += 1;
        }
        (passed, found)
    }
}

impl Sender {
    fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Broker => "broker",
        }
    }
}

impl ByteFault {
    fn name(self) -> &'static str {
        match self {
            Self::Flip => "flip",
            Self::Cut => "cut",
            Self::Delay(_) => "delay",
        }
    }
}

fn thread(body: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().name("bytes-proxy".into()).spawn(body).expect("a thread can be started");
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        let Ok(client) = client else { continue };
        let mut state = shared.lock();
        if state.closed {
            return;
        }
        state.accepted += 1;
        let plans = std::mem::take(&mut state.next);
        drop(state);
        let shared = Arc::clone(shared);
        thread(move || {
            connect(client, plans, &shared);
        });
    }
}

/// For a broker that is down, the connection ends at once.
fn connect(client: TcpStream, plans: Vec<Planned>, shared: &Arc<Shared>) -> Option<()> {
    let broker = TcpStream::connect((Ipv4Addr::LOCALHOST, shared.target()?)).ok()?;
    for end in [&client, &broker] {
        end.set_nodelay(true).ok();
        shared.lock().open.push(end.try_clone().ok()?);
    }
    let (asks, is_asked) = (client.try_clone().ok()?, broker.try_clone().ok()?);
    let (of_client, of_broker) = plans.into_iter().partition(|planned| planned.sender == Sender::Client);
    let there = Arc::clone(shared);
    thread(move || pass(&asks, &is_asked, Sender::Client, of_client, &there));
    pass(&broker, &client, Sender::Broker, of_broker, shared);
    Some(())
}

/// Forwards the sender's bytes until an end closes.
fn pass(mut from: &TcpStream, mut to: &TcpStream, sender: Sender, mut own: Vec<Planned>, shared: &Shared) {
    let mut buffer = vec![0; 16 << 10];
    'passing: while let Ok(read @ 1..) = from.read(&mut buffer) {
        let mut at = 0;
        while let Some(rest) = buffer.get_mut(at..read).filter(|rest| !rest.is_empty()) {
            let (passed, fault) = shared.lock().next_fault(&mut own, sender, rest.len());
            if to.write_all(rest.get(..passed).unwrap_or_default()).is_err() {
                break 'passing;
            }
            at += passed;
            match fault {
                None => {}
                Some(ByteFault::Cut) => break 'passing,
                Some(ByteFault::Delay(span)) => shared.wait(span),
                Some(ByteFault::Flip) => {
                    if let Some(byte) = rest.get_mut(passed) {
                        *byte ^= 1 << shared.lock().dice.roll(8);
                    }
                }
            }
        }
    }
    from.shutdown(Shutdown::Both).ok();
    to.shutdown(Shutdown::Both).ok();
}
