//! The model, and the rest of the state that its tasks share.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use tokio::{
    runtime::Handle,
    sync::{Notify, mpsc, watch},
};

#[cfg(feature = "tls")]
use super::secure::Listener;
use super::{
    now,
    secure::{Decision, Gate, Now, Sasl},
};
use crate::{
    connection::{ConnectionId, Output},
    model::Model,
};

/// The state shared by the tasks of a cluster.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Signals that the model wants to be woken earlier than the clock plans.
    earlier: Notify,
    runtime: Handle,
    /// Becomes true when the cluster ends.
    pub(super) end: watch::Sender<bool>,
    /// The address that brokers listen on, unless they are in memory.
    pub(super) bind: Option<IpAddr>,
    pub(super) max_frame: usize,
    pub(super) secured: Secured,
    /// Signals a call of the model: tasks that wait for their connection to be idle check again.
    pub(super) done: Notify,
}

/// The security of the listeners.
#[derive(Debug)]
pub(super) struct Secured {
    #[cfg(feature = "tls")]
    pub(super) tls: Option<Listener>,
    pub(super) sasl: Mutex<Sasl>,
}

#[derive(Debug)]
struct State {
    model: Model,
    /// The queue of each connection for frames to send. Dropping the sender closes the connection once they are sent.
    ///
    /// Unbounded, but short: a task reads on only while few requests of its connection wait, and each has one answer.
    answer_senders: BTreeMap<ConnectionId, mpsc::UnboundedSender<Bytes>>,
    /// When the clock will wake.
    wakes: Option<Instant>,
    /// The ports with listeners, and whether each should go on.
    ports: BTreeMap<u16, watch::Sender<bool>>,
}

/// One end of a connection that the model accepted.
#[derive(Debug)]
pub(super) struct AcceptedConnection {
    pub(super) id: ConnectionId,
    pub(super) answers: mpsc::UnboundedReceiver<Bytes>,
}

impl Shared {
    pub(super) fn new(model: Model, bind: Option<IpAddr>, secured: Secured) -> Self {
        let max_frame = model.config.max_frame;
        let state = State { model, answer_senders: BTreeMap::new(), wakes: None, ports: BTreeMap::new() };
        Self {
            state: Mutex::new(state),
            earlier: Notify::new(),
            runtime: Handle::current(),
            end: watch::Sender::new(false),
            bind,
            max_frame,
            secured,
            done: Notify::new(),
        }
    }

    /// Reads from the model without changing it.
    pub(super) fn read<T>(&self, what: impl FnOnce(&Model) -> T) -> T {
        what(&self.lock().model)
    }

    pub(super) fn with<T>(&self, what: impl FnOnce(&mut Model, Instant) -> T) -> T {
        self.call_model(|state, now| what(&mut state.model, now))
    }

    /// Connects a client that dials a port.
    pub(super) fn accept(&self, port: u16, client: &str) -> Option<AcceptedConnection> {
        self.call_model(|state, now| {
            let mut brokers = state.model.brokers();
            let broker = brokers.find(|(_, _, theirs, up)| *theirs == port && *up).map(|(id, ..)| id);
            drop(brokers);
            let id = state.model.connect(now, broker?, client)?;
            let (sender, answers) = mpsc::unbounded_channel();
            state.answer_senders.insert(id, sender);
            Some(AcceptedConnection { id, answers })
        })
    }

    /// Disconnects when a connection's task ends.
    pub(super) fn hang_up(&self, connection: ConnectionId) {
        self.call_model(|state, now| {
            state.answer_senders.remove(&connection);
            state.model.disconnect(now, connection);
        });
    }

    pub(super) fn sasl(&self) -> MutexGuard<'_, Sasl> {
        self.secured.sasl.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The gate of a new connection, if it has to authenticate.
    pub(super) fn gate(&self) -> Option<Gate> {
        self.sasl().is_on().then(Gate::new)
    }

    /// The gate's decision about a frame.
    pub(super) fn admit(&self, connection: ConnectionId, gate: &mut Gate, frame: &Bytes) -> Decision {
        let now = Now { clock: now(), wall_ms: wall_ms() };
        let state = self.lock();
        let supports = |api, version| state.model.supports(connection, api, version);
        gate.admit(now, &mut self.sasl(), frame, supports)
    }

    /// Informs each listener whether it is still wanted, and returns the ports without a listener yet, each with the
    /// channel that will inform it.
    pub(super) fn ports(&self) -> Vec<(u16, watch::Receiver<bool>)> {
        let mut state = self.lock();
        let wanted: Vec<u16> =
            state.model.brokers().filter(|(.., up)| *up).map(|(_, _, port, _)| port).collect();
        for (port, wants) in &state.ports {
            let up = wanted.contains(port);
            wants.send_if_modified(|was| std::mem::replace(was, up) != up);
        }
        let mut new = Vec::new();
        for port in wanted {
            state.ports.entry(port).or_insert_with(|| {
                let (sender, receiver) = watch::channel(true);
                new.push((port, receiver));
                sender
            });
        }
        new
    }

    /// Runs a task until the cluster ends.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut ended = self.end.subscribe();
        self.runtime.spawn(async move {
            tokio::select! {
                biased;
                _ = ended.wait_for(|ended| *ended) => {}
                () = task => {}
            }
        });
    }

    /// Starts the task that wakes the model in time.
    pub(super) fn start_clock(self: &Arc<Self>) {
        let shared = Arc::clone(self);
        self.spawn(async move {
            loop {
                let wakes = shared.tick();
                let sleep = async {
                    match wakes {
                        Some(at) => tokio::time::sleep_until(at.into()).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = shared.earlier.notified() => {}
                    () = sleep => {}
                }
            }
        });
    }

    fn tick(&self) -> Option<Instant> {
        let mut state = self.lock();
        let now = now();
        if state.model.poll_timeout().is_some_and(|due| due <= now) {
            state.model.handle_timeout(now);
            state.drain();
            self.done.notify_waiters();
        }
        state.wakes = state.model.poll_timeout();
        state.wakes
    }

    /// Makes one call of the model, and carries out its outputs.
    fn call_model<T>(&self, what: impl FnOnce(&mut State, Instant) -> T) -> T {
        let mut state = self.lock();
        let now = now();
        state.model.at(now);
        let done = what(&mut state, now);
        state.drain();
        let earlier = match (state.model.poll_timeout(), state.wakes) {
            (Some(due), Some(wakes)) => due < wakes,
            (due, None) => due.is_some(),
            (None, _) => false,
        };
        drop(state);
        self.done.notify_waiters();
        if earlier {
            self.earlier.notify_one();
        }
        done
    }

    /// A panic in the model, perhaps in a test's own closure, shall not be hidden behind poisoning errors.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn drain(&mut self) {
        while let Some(output) = self.model.poll_output() {
            match output {
                Output::Send { connection, bytes } => {
                    // A task that has ended disconnects by itself.
                    let _ = self.answer_senders.get(&connection).map(|sender| sender.send(bytes));
                }
                Output::Close(connection) => {
                    self.answer_senders.remove(&connection);
                }
            }
        }
    }
}

/// The time of day, in milliseconds since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "tokens and records are made by others, who go by the real time of day"
)]
pub(super) fn wall_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
