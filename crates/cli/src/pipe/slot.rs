//! One handler at a time, for as long as there are records: it is started, given records, listened to, and started again when it ends.
//!
//! Always true: whoever waits for an answer hears that there will be none only after the handler's processes are gone, so that no two
//! attempts at a record overlap.

use std::{
    io,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use offtake::OwnedRecord;
use offtake_worker::Failure;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{ChildStdin, ChildStdout},
    sync::{Mutex, mpsc, oneshot, watch},
    time::timeout,
};

use super::{
    answer::Verdict,
    conversation::Conversation,
    framing,
    process::{Guardian, Process, ending},
};
use crate::{args::Framing, clock::now, events::Teller};

/// How long a handler may take to end by itself when its stdin is closed, and then when it was asked to.
const FAREWELL: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(1)];
/// How long what it wrote at its end is waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long it is waited before one is started again that answered nothing, at first and at most.
const RESTART: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(10)];
const READ: usize = 64 << 10;

/// A record for a handler, and whom to tell what became of it.
pub(super) struct Job {
    pub(super) record: OwnedRecord,
    pub(super) attempt: u32,
    /// Whether no other record may be at its handler at the same time.
    pub(super) is_alone: bool,
    pub(super) done: Ticket,
}

pub(super) type Ticket = oneshot::Sender<Result<(), Failure>>;

/// What all of them need.
pub(super) struct Shared {
    pub(super) command: String,
    pub(super) framing: Framing,
    pub(super) timeout: Duration,
    pub(super) in_flight: usize,
    pub(super) guardian: Arc<Guardian>,
    pub(super) jobs: Mutex<mpsc::Receiver<Job>>,
    /// Changes when somebody does not wait any more.
    pub(super) cancelled: watch::Sender<u64>,
    pub(super) closing: watch::Sender<bool>,
    /// Why no handler can be run.
    pub(super) broken: watch::Sender<Option<String>>,
    pub(super) events: Option<Teller>,
}

impl Shared {
    async fn next_job(&self) -> Option<Job> {
        self.jobs.lock().await.recv().await
    }

    async fn closing(&self) {
        // It cannot fail: the sender is here.
        let _ = self.closing.subscribe().wait_for(|closing| *closing).await;
    }
}

/// Handlers one after the other, until the pool is closed.
pub(super) async fn run(number: u32, shared: Arc<Shared>) {
    let [mut wait, most] = RESTART;
    loop {
        let started = Process::spawn(&shared.command, &shared.guardian, |shell| {
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

/// Why a handler is no more.
enum Ended {
    /// It is not needed any more.
    Closed,
    Again {
        has_answered: bool,
    },
    Broken(String),
}

/// No handler can be run: nothing is to be passed for that.
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

/// Why a handler is listened to no more.
enum Why {
    /// The pool is closed.
    Done,
    Exited(io::Result<ExitStatus>),
    /// It has closed its output, or its input.
    Closed(&'static str),
    Overdue,
    /// Somebody does not wait for its answer any more.
    Cancelled,
    Nonsense(String),
}

struct Handler<'a> {
    number: u32,
    process: Process,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    conversation: Conversation<Ticket>,
    /// A record that is to be alone at the handler, until all others are answered.
    held: Option<Job>,
    /// Whether the one at the handler is.
    is_alone: bool,
    shared: &'a Shared,
}

impl<'a> Handler<'a> {
    fn new(number: u32, mut process: Process, shared: &'a Shared) -> Self {
        let (stdin, stdout) = (process.take_stdin(), process.take_stdout());
        let conversation = Conversation::new(shared.framing, shared.timeout);
        Self { number, process, stdin, stdout, conversation, held: None, is_alone: false, shared }
    }

    async fn run(mut self) -> Ended {
        self.tell("started", None);
        let why = self.talk().await;
        if let Why::Done = why {
            self.farewell().await;
            self.tell("ended", Some("it is not needed any more"));
            return Ended::Closed;
        }
        let status = self.end(&why).await;
        let (pid, timeout) = (self.process.pid(), self.shared.timeout);
        let reason = match &why {
            Why::Done => "is not needed any more".to_owned(),
            Why::Exited(status) => ending(status),
            Why::Closed(what) => status.as_ref().map_or(format!("closed its {what}"), ending),
            Why::Overdue => format!("did not answer within {timeout:?}"),
            Why::Cancelled => "had a record that is not to be handled here any more".to_owned(),
            Why::Nonsense(why) => format!("makes no sense: {why}"),
        };
        self.tell("ended", Some(&reason));
        let has_answered = self.conversation.has_answered();
        let code = match (&why, &status) {
            (Why::Exited(Ok(status)), _) | (_, Some(Ok(status))) => status.code(),
            _ => None,
        };
        if let (Some(code @ (126 | 127)), false) = (code, has_answered) {
            let why = format!(
                "the handler cannot be run: the shell ended with {code} for `{}`",
                self.shared.command
            );
            for (ticket, _) in self.conversation.end(now()) {
                drop(ticket.send(Err(Failure::fatal(why.clone()))));
            }
            return Ended::Broken(why);
        }
        match why {
            Why::Cancelled => tracing::info!("handler {} ({pid}) {reason}; starting it again", self.number),
            _ => tracing::warn!("handler {} ({pid}) {reason}; starting it again", self.number),
        }
        if let Some(job) = self.held {
            let reason = "the handler ended before the record was given to it";
            drop(job.done.send(Err(Failure::retry(reason).without_attempt())));
        }
        let mut is_told = false;
        for (ticket, is_overdue) in self.conversation.end(now()) {
            let failure = match &why {
                Why::Overdue if is_overdue => Failure::retry(format!("the handler {reason}")),
                Why::Overdue => {
                    let reason =
                        format!("the handler was ended: it did not answer another record within {timeout:?}");
                    Failure::retry(reason).without_attempt()
                }
                Why::Cancelled => {
                    let reason =
                        "the handler was ended: another record of its is not to be handled here any more";
                    Failure::retry(reason).without_attempt()
                }
                // It died once, whatever for.
                _ if is_told => Failure::retry(format!("the handler {reason}")).of_shared_cause(),
                _ => {
                    is_told = !ticket.is_closed();
                    Failure::retry(format!("the handler {reason}"))
                }
            };
            drop(ticket.send(Err(failure)));
        }
        Ended::Again { has_answered }
    }

    /// Gives it records and listens to it.
    async fn talk(&mut self) -> Why {
        let (Some(mut stdin), Some(mut stdout)) = (self.stdin.take(), self.stdout.take()) else {
            return Why::Closed("input");
        };
        let why = self.exchange(&mut stdin, &mut stdout).await;
        (self.stdin, self.stdout) = (Some(stdin), Some(stdout));
        why
    }

    async fn exchange(&mut self, stdin: &mut ChildStdin, stdout: &mut ChildStdout) -> Why {
        let shared = self.shared;
        let (mut cancelled, mut closing) = (shared.cancelled.subscribe(), shared.closing.subscribe());
        let mut buffer = vec![0; READ];
        let mut outgoing = Outgoing::default();
        loop {
            if self.conversation.len() == 0 {
                self.is_alone = false;
                if let Some(job) = self.held.take() {
                    self.give(job, &mut outgoing);
                    self.is_alone = self.conversation.len() > 0;
                }
            }
            let takes_any = !self.is_alone && self.held.is_none();
            let has_room = takes_any && self.conversation.len() < shared.in_flight;
            tokio::select! {
                biased;
                read = stdout.read(&mut buffer) => match read {
                    Ok(count @ 1..) => {
                        if let Err(why) = self.listen(buffer.get(..count).unwrap_or_default()) {
                            return Why::Nonsense(why);
                        }
                    }
                    Ok(0) | Err(_) => return Why::Closed("output"),
                },
                status = self.process.wait() => return Why::Exited(status),
                () = until(self.conversation.poll_timeout()) => return Why::Overdue,
                _ = cancelled.changed() => {
                    self.held.take_if(|job| job.done.is_closed());
                    if self.conversation.tickets().any(Ticket::is_closed) {
                        return Why::Cancelled;
                    }
                }
                // Whoever closes the pool waits for no answer.
                _ = closing.wait_for(|closing| *closing) => {
                    return if self.conversation.len() == 0 { Why::Done } else { Why::Cancelled };
                }
                job = shared.next_job(), if has_room => match job {
                    Some(job) if job.is_alone => self.held = Some(job),
                    Some(job) => self.give(job, &mut outgoing),
                    None => return Why::Done,
                },
                written = stdin.write(outgoing.rest()), if !outgoing.rest().is_empty() => match written {
                    Ok(count @ 1..) => {
                        outgoing.wrote(count);
                        self.conversation.wrote(count);
                    }
                    Ok(0) | Err(_) => return Why::Closed("input"),
                },
            }
        }
    }

    fn give(&mut self, job: Job, outgoing: &mut Outgoing) {
        let Job { record, attempt, done, .. } = job;
        if done.is_closed() {
            return; // it was taken away while it waited
        }
        let before = outgoing.bytes.len();
        match framing::push_record(self.shared.framing, &mut outgoing.bytes, &record, attempt) {
            Ok(()) => {
                let bytes = outgoing.bytes.len().saturating_sub(before);
                let partition = record.topic_partition().clone();
                self.conversation.ask(now(), partition, record.offset(), bytes, done);
            }
            Err(why) => drop(done.send(Err(Failure::poison(why)))),
        }
    }

    /// Tells those who wait what it answered.
    fn listen(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.conversation.receive(bytes);
        while let Some((ticket, verdict)) = self.conversation.next_answer()? {
            let told = match verdict {
                Verdict::Ok => Ok(()),
                Verdict::Retry(why) => Err(Failure::retry(why)),
                Verdict::Poison(why) => Err(Failure::poison(why)),
            };
            drop(ticket.send(told));
        }
        Ok(())
    }

    /// Makes sure that it is gone. What it wrote before it ended by itself counts.
    async fn end(&mut self, why: &Why) -> Option<io::Result<ExitStatus>> {
        let mut status = None;
        if let Why::Closed(_) = why {
            // Most of those end.
            status = timeout(LAST_WORDS, self.process.wait()).await.ok();
        }
        self.process.kill().await;
        if let (Why::Exited(_) | Why::Closed("input"), Some(mut stdout)) = (why, self.stdout.take()) {
            let mut buffer = vec![0; READ];
            while let Ok(Ok(count @ 1..)) = timeout(LAST_WORDS, stdout.read(&mut buffer)).await {
                if self.listen(buffer.get(..count).unwrap_or_default()).is_err() {
                    break;
                }
            }
        }
        status
    }

    /// It has nothing to do any more: it may end by itself.
    async fn farewell(&mut self) {
        drop(self.stdin.take());
        let [alone, asked] = FAREWELL;
        if timeout(alone, self.process.wait()).await.is_err() {
            self.process.terminate();
            let _ = timeout(asked, self.process.wait()).await;
        }
        self.process.kill().await;
    }

    fn tell(&self, state: &str, reason: Option<&str>) {
        if let Some(events) = &self.shared.events {
            events.tell(
                "child",
                json!({
                    "child": self.number, "pid": self.process.pid(), "state": state, "reason": reason,
                }),
            );
        }
    }
}

/// What was not written yet.
#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    written: usize,
}

impl Outgoing {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    fn wrote(&mut self, count: usize) {
        self.written = self.written.saturating_add(count);
        // What is moved is no more than what was written since the last time.
        if self.written >= self.rest().len() {
            self.bytes.drain(..self.written.min(self.bytes.len()));
            self.written = 0;
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
