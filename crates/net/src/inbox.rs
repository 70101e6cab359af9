//! [`Inbox`]: calls that a connection has accepted and not yet written, and [`Reporter`], by which it answers them.

use std::{collections::VecDeque, sync::Arc};

use offtake_machine::{Answer, BrokerId, CallError};
use tokio::{sync::mpsc, time::Instant};

use crate::{
    call::{Call, Endpoint, Event, Origin, What},
    clock,
    ending::Ending,
};

/// Calls accepted and not yet written. Bounded by the calls that [`Net`](crate::Net) lets be outstanding.
pub(crate) struct Inbox {
    calls: mpsc::Receiver<Call>,
    closing: Ending,
    pub(crate) queue: VecDeque<Call>,
    /// Whether more may come.
    pub(crate) is_open: bool,
}

/// What came in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// One call or several.
    Calls,
    /// Nobody can send any more.
    Retired,
    /// All connections are being closed.
    Closing,
}

impl Inbox {
    pub(crate) fn new(calls: mpsc::Receiver<Call>, closing: Ending) -> Self {
        Self { calls, closing, queue: VecDeque::new(), is_open: true }
    }

    /// Waits for what comes next. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Came {
        tokio::select! {
            biased;
            () = self.closing.begun() => Came::Closing,
            call = self.calls.recv(), if self.is_open => match call {
                Some(call) => {
                    self.queue.push_back(call);
                    self.take_waiting();
                    Came::Calls
                }
                None => {
                    self.is_open = false;
                    Came::Retired
                }
            },
        }
    }

    /// All that have been sent so far: several of them make one write.
    pub(crate) fn take_waiting(&mut self) {
        while let Ok(call) = self.calls.try_recv() {
            self.queue.push_back(call);
        }
    }

    /// Those that were withdrawn were answered then.
    pub(crate) fn drop_withdrawn(&mut self) {
        self.queue.retain(|call| !call.fate.is_withdrawn());
    }

    /// Takes no more, and gives up what it has. Waits for a call that is being put in at this moment.
    pub(crate) async fn close(mut self) -> Vec<Call> {
        self.calls.close();
        while let Some(call) = self.calls.recv().await {
            self.queue.push_back(call);
        }
        self.queue.into()
    }

    /// The earliest time at which one of them is late.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.queue.iter().map(|call| call.deadline).min()
    }

    /// Those that are late.
    pub(crate) fn take_late(&mut self, now: Instant) -> Vec<Call> {
        if self.deadline().is_none_or(|first| first > now) {
            return Vec::new();
        }
        let (late, queue): (Vec<_>, Vec<_>) = self.queue.drain(..).partition(|call| call.deadline <= now);
        self.queue = queue.into();
        late.into_iter().filter(|call| call.fate.begin()).collect()
    }

    /// While there is no connection yet: takes calls in, and tells those that cannot wait any longer. Returns when nobody
    /// needs the connection any more.
    pub(crate) async fn attend(&mut self, reporter: &Reporter, reason: impl Fn(&Call) -> String) -> Came {
        loop {
            let deadline = self.deadline();
            let came = tokio::select! {
                biased;
                came = self.next() => Some(came),
                () = sleep_until(deadline), if deadline.is_some() => None,
            };
            match came {
                Some(Came::Calls) => {}
                Some(came @ (Came::Retired | Came::Closing)) => return came,
                None => {
                    for mut call in self.take_late(clock::now()) {
                        let reason = reason(&call);
                        call.note(reporter.unreachable(reason, false));
                        let error = call.trouble.unwrap_or_else(|| reporter.disconnected("too late"));
                        reporter.done(call.tag, Err(error)).await;
                    }
                }
            }
        }
    }
}

/// Until `at`, or for ever.
pub(crate) async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Tells what becomes of a connection and its calls.
#[derive(Clone)]
pub(crate) struct Reporter {
    pub(crate) from: Arc<Origin>,
    pub(crate) events: mpsc::Sender<Event>,
}

impl Reporter {
    /// Waits while the engine is behind. If it is gone there is nobody left to tell.
    pub(crate) async fn tell(&self, what: What) {
        let _ = self.events.send(Event { from: self.from.clone(), what }).await;
    }

    pub(crate) async fn done(&self, tag: u64, result: Result<Answer, CallError>) {
        self.tell(What::Done { tag, result: Box::new(result) }).await;
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
