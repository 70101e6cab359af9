//! A pool of handlers that keep running: each is sent many records.

use std::sync::Arc;

use offtake::OwnedRecord;
use offtake_worker::{Attempt, Failure};
use tokio::{
    sync::{Mutex, mpsc, oneshot, watch},
    task::JoinSet,
};

use super::{
    process::ProcessReaper,
    slot::{self, Job, Shared},
};
use crate::{args::Pipe, events::EventSender};

pub(super) struct Pool {
    slots: JoinSet<()>,
    shared: Arc<Shared>,
    record_sender: RecordSender,
}

/// Sends records to the handlers of a pool; cheap to clone.
#[derive(Clone)]
pub(super) struct RecordSender {
    jobs: mpsc::Sender<Job>,
    cancelled: watch::Sender<u64>,
}

impl Pool {
    /// Starts `workers` handlers.
    pub(super) fn start(
        args: &Pipe,
        workers: u32,
        reaper: Arc<ProcessReaper>,
        events: Option<EventSender>,
    ) -> Self {
        let (jobs, queue) = mpsc::channel(1);
        let cancelled = watch::Sender::new(0);
        let shared = Arc::new(Shared {
            command: args.exec.clone(),
            framing: args.framing,
            timeout: args.timeout,
            in_flight: usize::try_from(args.in_flight).unwrap_or(usize::MAX),
            reaper,
            jobs: Mutex::new(queue),
            cancelled: cancelled.clone(),
            closing: watch::Sender::new(false),
            broken: watch::Sender::new(None),
            events,
        });
        let mut slots = JoinSet::new();
        for number in 1..=workers {
            slots.spawn(slot::run(number, Arc::clone(&shared)));
        }
        Self { slots, shared, record_sender: RecordSender { jobs, cancelled } }
    }

    pub(super) fn record_sender(&self) -> RecordSender {
        self.record_sender.clone()
    }

    /// Resolves when no handler can be run.
    pub(super) fn broken(&self) -> impl Future<Output = ()> + use<> {
        let mut broken = self.shared.broken.subscribe();
        async move {
            if broken.wait_for(Option::is_some).await.is_err() {
                std::future::pending::<()>().await; // the pool is gone
            }
        }
    }

    /// Why no handler can be run, if none can.
    pub(super) fn startup_error(&self) -> Option<String> {
        self.shared.broken.borrow().clone()
    }

    /// Lets the handlers end. They are gone when this returns.
    pub(super) async fn close(mut self) {
        self.shared.closing.send_replace(true);
        while self.slots.join_next().await.is_some() {}
    }
}

impl RecordSender {
    /// Sends a record and returns the handler's outcome. If this is dropped, the record is cancelled.
    pub(super) async fn send(self, record: OwnedRecord, attempt: Attempt) -> Result<(), Failure> {
        let gone = || Failure::retry("no handler runs any more").without_attempt();
        // Dropped after `answer`, so that a handler that then checks sees that nothing waits for it.
        let mut cancel = CancelOnDrop { cancelled: &self.cancelled, is_waited_for: true };
        let (done, answer) = oneshot::channel();
        // On the last attempt of a record that failed before, a failure must be the record's own fault, so it
        // is alone at the handler.
        let is_alone = attempt.is_last() && attempt.number() > 1;
        let sent = self.jobs.send(Job { record, attempt: attempt.number(), is_alone, done }).await;
        let answer = match sent {
            Ok(()) => answer.await,
            Err(_) => return Err(gone()),
        };
        cancel.is_waited_for = false;
        answer.unwrap_or_else(|_| Err(gone()))
    }
}

struct CancelOnDrop<'a> {
    cancelled: &'a watch::Sender<u64>,
    is_waited_for: bool,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if self.is_waited_for {
            self.cancelled.send_modify(|count| *count = count.wrapping_add(1));
        }
    }
}
