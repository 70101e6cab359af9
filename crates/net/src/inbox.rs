//! [`Inbox`]: calls that a connection has accepted and not yet written. [`Reporter`]: sends the connection's events.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use offtake_machine::{Answer, BrokerId, CallError};
use tokio::{sync::mpsc, time::Instant};

use crate::{
    call::{Call, ConnectionInfo, Endpoint, Event, EventKind},
    clock,
    shutdown::ShutdownSignal,
};

/// Calls accepted and not yet written, bounded by the outstanding calls that [`Net`](crate::Net) allows.
pub(crate) struct Inbox {
    calls: mpsc::Receiver<Call>,
    closing: ShutdownSignal,
    pub(crate) queue: VecDeque<Call>,
    /// Whether more calls may arrive.
    pub(crate) is_open: bool,
    is_cut_off: Arc<AtomicBool>,
}

/// The result of [`Inbox::next`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum InboxEvent {
    /// One call or several.
    Calls,
    /// [`Net`](crate::Net) has dropped its end of the queue.
    Retired,
    /// All connections are being closed.
    Closing,
}

impl Inbox {
    pub(crate) fn new(
        calls: mpsc::Receiver<Call>,
        closing: ShutdownSignal,
        is_cut_off: Arc<AtomicBool>,
    ) -> Self {
        Self { calls, closing, queue: VecDeque::new(), is_open: true, is_cut_off }
    }

    /// Whether [`Net`](crate::Net) has dropped its end, and nobody waits for what is not answered yet.
    pub(crate) fn is_cut_off(&self) -> bool {
        !self.is_open && self.is_cut_off.load(Relaxed)
    }

    /// Waits for the next call, or for the end of the connection. Cancel-safe.
    pub(crate) async fn next(&mut self) -> InboxEvent {
        tokio::select! {
            biased;
            () = self.closing.received() => InboxEvent::Closing,
            call = self.calls.recv(), if self.is_open => match call {
                Some(call) => {
                    self.queue.push_back(call);
                    self.drain_channel();
                    InboxEvent::Calls
                }
                None => {
                    self.is_open = false;
                    InboxEvent::Retired
                }
            },
        }
    }

    /// Receives all calls that have been sent so far, so that they go out in one write.
    pub(crate) fn drain_channel(&mut self) {
        while let Ok(call) = self.calls.try_recv() {
            self.queue.push_back(call);
        }
    }

    /// Removes calls that were withdrawn, which have completed already.
    pub(crate) fn drop_withdrawn(&mut self) {
        self.queue.retain(|call| !call.state.is_withdrawn());
    }

    /// Accepts no more calls, and returns those that were not written.
    pub(crate) async fn close(mut self) -> Vec<Call> {
        self.calls.close();
        while let Some(call) = self.calls.recv().await {
            self.queue.push_back(call);
        }
        self.queue.into()
    }

    /// The earliest deadline of the queued calls.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.queue.iter().map(|call| call.deadline).min()
    }

    /// Removes the calls whose deadline has passed.
    pub(crate) fn take_expired(&mut self, now: Instant) -> Vec<Call> {
        if self.deadline().is_none_or(|first| first > now) {
            return Vec::new();
        }
        let (late, queue): (Vec<_>, Vec<_>) = self.queue.drain(..).partition(|call| call.deadline <= now);
        self.queue = queue.into();
        late.into_iter().filter(|call| call.state.begin()).collect()
    }

    /// Accepts calls while the connection is being made, and fails those whose deadline passes. Returns when the connection is no
    /// longer needed.
    pub(crate) async fn accept_calls(
        &mut self,
        reporter: &Reporter,
        reason: impl Fn(&Call) -> String,
    ) -> InboxEvent {
        loop {
            let deadline = self.deadline();
            let came = tokio::select! {
                biased;
                came = self.next() => Some(came),
                () = sleep_until(deadline), if deadline.is_some() => None,
            };
            match came {
                Some(InboxEvent::Calls) => {}
                Some(came @ (InboxEvent::Retired | InboxEvent::Closing)) => return came,
                None => {
                    for mut call in self.take_expired(clock::now()) {
                        let reason = reason(&call);
                        call.record_failure(reporter.unreachable(reason, false));
                        let error = call.last_error.unwrap_or_else(|| reporter.disconnected("too late"));
                        reporter.complete(call.tag, Err(error)).await;
                    }
                }
            }
        }
    }
}

/// Sleeps until `at`, or for ever.
pub(crate) async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Reports the events of a connection to [`Net`](crate::Net).
#[derive(Clone)]
pub(crate) struct Reporter {
    pub(crate) from: Arc<ConnectionInfo>,
    pub(crate) events: mpsc::Sender<Event>,
}

impl Reporter {
    /// Sends an event, waiting while the queue is full. Does nothing if [`Net`](crate::Net) is gone.
    pub(crate) async fn send(&self, what: EventKind) {
        let _ = self.events.send(Event { from: self.from.clone(), what }).await;
    }

    pub(crate) async fn complete(&self, tag: u64, result: Result<Answer, CallError>) {
        let is_proof = result.is_ok();
        self.send(EventKind::Completed { tag, result: Box::new(result), is_proof }).await;
    }

    /// Completes a request that has no response.
    pub(crate) async fn complete_unanswered(
        &self,
        tag: u64,
        written: Result<Answer, CallError>,
        is_proof: bool,
    ) {
        self.send(EventKind::Completed { tag, result: Box::new(written), is_proof }).await;
    }

    pub(crate) fn broker(&self) -> Option<BrokerId> {
        match self.from.endpoint {
            Endpoint::Broker(id) => Some(id),
            Endpoint::Bootstrap(_) => None,
        }
    }

    pub(crate) fn address(&self) -> String {
        self.from.address.to_string()
    }

    pub(crate) fn disconnected(&self, reason: impl Into<String>) -> CallError {
        CallError::Disconnected { address: self.address(), reason: reason.into() }
    }

    pub(crate) fn unreachable(&self, reason: String, not_kafka: bool) -> CallError {
        CallError::Unreachable { address: self.address(), reason, not_kafka }
    }
}
