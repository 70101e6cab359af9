//! A TCP proxy before one broker that does harm on request: cuts a connection in the middle of a response, stalls, turns
//! away. It knows no more of Kafka than that a response begins with its length.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// Lives as long as its value; connections through it end with it.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    target: Option<u16>,
    /// The next response of at least this size is cut after that many bytes of it.
    cut: Option<(u64, u64)>,
    stalled: bool,
    refusing: bool,
    closed: bool,
    open: Vec<TcpStream>,
    accepted: u64,
    cuts: u64,
    answers: u64,
    answered: u64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Proxy {
    /// Listens on a free port; connections wait until [`to`](Self::to) has said where they go.
    pub fn listen() -> Self {
        let port = crate::ports::free_port();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a free port can be bound");
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        thread("proxy", move || accept(&listener, &accepting));
        Self { port, shared }
    }

    /// The port that clients are to use.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port on loopback that connections go on to.
    pub fn to(&self, port: u16) {
        self.change(|state| state.target = Some(port));
    }

    /// Cuts the connection of the next response that is at least `size` bytes long, once `after` bytes of it (its length
    /// counted in) have been let through. Once.
    pub fn cut_response(&self, size: u64, after: u64) {
        self.change(|state| state.cut = Some((size, after)));
    }

    /// Ends every connection there is, and lets new ones in.
    pub fn cut_all(&self) {
        self.change(|state| {
            state.cuts += 1;
            state.end_all();
        });
    }

    /// Holds back what brokers and clients say until [`flow`](Self::flow); connections stay open.
    pub fn stall(&self) {
        self.change(|state| state.stalled = true);
    }

    /// Ends a stall.
    pub fn flow(&self) {
        self.change(|state| state.stalled = false);
    }

    /// Ends what is connected and whatever connects until [`admit`](Self::admit).
    pub fn refuse(&self) {
        self.change(|state| {
            state.refusing = true;
            state.end_all();
        });
    }

    /// Ends a [`refuse`](Self::refuse).
    pub fn admit(&self) {
        self.change(|state| state.refusing = false);
    }

    /// How many connections have been made so far.
    pub fn accepted(&self) -> u64 {
        self.shared.lock().accepted
    }

    /// How many cuts have happened so far: a test that wanted one can see that it got it.
    pub fn cuts(&self) -> u64 {
        self.shared.lock().cuts
    }

    /// How many answers of the broker have been let through so far, and how many bytes they had.
    pub fn answers(&self) -> (u64, u64) {
        let state = self.shared.lock();
        (state.answers, state.answered)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.lock());
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.change(|state| {
            state.closed = true;
            state.end_all();
        });
        // Wakes the thread that accepts, which then sees that it is over.
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok();
    }
}

impl State {
    fn end_all(&mut self) {
        for stream in self.open.drain(..) {
            stream.shutdown(Shutdown::Both).ok();
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
        drop(state);
        let shared = Arc::clone(shared);
        thread("proxy", move || connect(&client, &shared));
    }
}

fn connect(client: &TcpStream, shared: &Arc<Shared>) {
    let mut state = shared.lock();
    while state.target.is_none() && !state.closed {
        state = shared.changed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
    }
    let target = state.target.unwrap_or_default();
    drop(state);
    // A broker that is down is a connection that ends at once.
    let Ok(broker) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)) else { return };
    client.set_nodelay(true).ok();
    broker.set_nodelay(true).ok();
    let ends = || Some((client.try_clone().ok()?, broker.try_clone().ok()?));
    let (Some(kept), Some((from_client, to_broker))) = (ends(), ends()) else { return };
    {
        let mut state = shared.lock();
        if state.closed || state.refusing {
            return;
        }
        state.open.extend([kept.0, kept.1]);
    }
    let requests = Arc::clone(shared);
    thread("proxy", move || {
        pump(&from_client, &to_broker, &requests, u64::MAX);
        end(&from_client, &to_broker);
    });
    responses(&broker, client, shared);
    end(client, &broker);
}

fn end(a: &TcpStream, b: &TcpStream) {
    a.shutdown(Shutdown::Both).ok();
    b.shutdown(Shutdown::Both).ok();
}

/// Passes on whole responses until one is to be cut.
fn responses(mut broker: &TcpStream, mut client: &TcpStream, shared: &Shared) {
    let mut length = [0; 4];
    while broker.read_exact(&mut length).is_ok() {
        let size = u64::from(u32::from_be_bytes(length)) + 4;
        let cut = shared.lock().cut.take_if(|(at_least, _)| size >= *at_least);
        let limit = cut.map_or(size, |(_, after)| after.min(size));
        let head = length.get(..usize::try_from(limit.min(4)).unwrap_or(4)).unwrap_or_default();
        if wait_to_flow(shared)
            && client.write_all(head).is_ok()
            && pump(broker, client, shared, limit.saturating_sub(4))
            && cut.is_none()
        {
            let mut state = shared.lock();
            state.answers += 1;
            state.answered += size;
            continue;
        }
        if cut.is_some() {
            shared.lock().cuts += 1;
        }
        return;
    }
}

/// Copies up to `limit` bytes; false when an end closed first.
fn pump(mut from: &TcpStream, mut to: &TcpStream, shared: &Shared, mut limit: u64) -> bool {
    let mut buffer = vec![0; 1 << 16];
    while limit > 0 {
        let want = usize::try_from(limit).unwrap_or(usize::MAX).min(buffer.len());
        let Ok(read @ 1..) = from.read(buffer.get_mut(..want).unwrap_or_default()) else { return false };
        if !wait_to_flow(shared) || to.write_all(buffer.get(..read).unwrap_or_default()).is_err() {
            return false;
        }
        limit = limit.saturating_sub(read as u64);
    }
    true
}

fn wait_to_flow(shared: &Shared) -> bool {
    let mut state = shared.lock();
    while state.stalled && !state.closed {
        state = shared.changed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
    }
    !state.closed
}
