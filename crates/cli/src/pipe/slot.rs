//! A slot for one handler at a time, for as long as there are records: when a handler ends, another one is started.

use std::{io, process::Stdio, sync::Arc, time::Duration};

use offtake::OwnedRecord;
use offtake_worker::Failure;
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use super::{
    handler::{Ended, Handler},
    process::{Process, ProcessReaper},
};
use crate::{args::Framing, clock::now, events::EventSender};

/// The first and the longest wait before a handler is started again after one that answered nothing.
const RESTART: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(10)];

/// A record for a handler, and the receiver of its outcome.
pub(super) struct Job {
    pub(super) record: OwnedRecord,
    pub(super) attempt: u32,
    /// Whether the record must be alone at its handler.
    pub(super) is_alone: bool,
    pub(super) done: Ticket,
}

pub(super) type Ticket = oneshot::Sender<Result<(), Failure>>;

/// The state that all handlers share.
pub(super) struct Shared {
    pub(super) command: String,
    pub(super) framing: Framing,
    pub(super) timeout: Duration,
    pub(super) in_flight: usize,
    pub(super) reaper: Arc<ProcessReaper>,
    pub(super) jobs: Mutex<mpsc::Receiver<Job>>,
    /// Changes when a receiver does not wait any more.
    pub(super) cancelled: watch::Sender<u64>,
    pub(super) closing: watch::Sender<bool>,
    /// Why no handler can be run.
    pub(super) broken: watch::Sender<Option<String>>,
    pub(super) events: Option<EventSender>,
}

impl Shared {
    pub(super) async fn next_job(&self) -> Option<Job> {
        self.jobs.lock().await.recv().await
    }

    async fn closing(&self) {
        // Cannot fail: the sender is here.
        let _ = self.closing.subscribe().wait_for(|closing| *closing).await;
    }
}

/// Runs handlers one after the other, until the pool is closed.
pub(super) async fn run(number: u32, shared: Arc<Shared>) {
    let [mut wait, most] = RESTART;
    while !*shared.closing.borrow() {
        let started = Process::spawn(&shared.command, &shared.reaper, |shell| {
            shell.stdout(Stdio::piped());
        });
        let ended = match started {
            Ok(process) => Handler::new(number, process, &shared).run().await,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ended::Broken(format!("cannot run /bin/sh: {error}"))
            }
            Err(error) => {
                tracing::warn!("handler {number} cannot be started: {error}; trying again");
                Ended::Again { has_answered: false }
            }
        };
        match ended {
            Ended::Closed => return,
            Ended::Broken(why) => return refuse_all(&shared, why).await,
            Ended::Again { has_answered: true } => [wait, _] = RESTART,
            Ended::Again { has_answered: false } => {
                tokio::select! {
                    () = shared.closing() => return,
                    () = tokio::time::sleep_until((now() + wait).into()) => {}
                }
                wait = wait.saturating_mul(2).min(most);
            }
        }
    }
}

/// Refuses all records, as no handler can be run; none of them must be passed over for that.
async fn refuse_all(shared: &Shared, why: String) {
    shared.broken.send_if_modified(|broken| {
        let is_first = broken.is_none();
        broken.get_or_insert_with(|| why.clone());
        is_first
    });
    loop {
        tokio::select! {
            () = shared.closing() => return,
            job = shared.next_job() => match job {
                Some(job) => drop(job.done.send(Err(Failure::fatal(why.clone())))),
                None => return,
            },
        }
    }
}
