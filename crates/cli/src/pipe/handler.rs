//! A handler that keeps running: it is sent records and read until it ends.
//!
//! Always true: the receiver of an answer is told that there will be none only after the handler's processes
//! are gone, so that no two attempts at a record overlap.

use std::{
    io,
    process::ExitStatus,
    time::{Duration, Instant},
};

use offtake_worker::Failure;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{ChildStdin, ChildStdout},
    time::timeout,
};

use super::{
    answer::HandlerResult,
    conversation::Conversation,
    framing,
    process::{Process, cannot_run, ending},
    slot::{Job, Shared, Ticket},
};
use crate::clock::now;

/// How long it may take to end by itself after its stdin was closed, and then after a signal.
const END_TIMEOUTS: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(1)];
/// How long to wait for output written before its end.
const LAST_OUTPUT: Duration = Duration::from_secs(1);
const READ: usize = 64 << 10;

/// Why a handler has ended.
pub(super) enum Ended {
    /// It is no longer needed.
    Closed,
    Again {
        has_answered: bool,
    },
    Broken(String),
}

/// Why a handler that is still needed is abandoned.
enum Why {
    Exited(io::Result<ExitStatus>),
    /// The handler has closed its output, or its input.
    Closed(&'static str),
    Overdue,
    /// A receiver does not wait for its answer any more.
    Cancelled,
    ProtocolViolation(String),
}

/// One process, from its start to its end.
pub(super) struct Handler<'a> {
    number: u32,
    process: Process,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    conversation: Conversation<Ticket>,
    /// A record that must be alone at the handler, kept until all others are answered.
    held: Option<Job>,
    /// Whether the record at the handler must be alone there.
    is_alone: bool,
    shared: &'a Shared,
}

impl<'a> Handler<'a> {
    pub(super) fn new(number: u32, mut process: Process, shared: &'a Shared) -> Self {
        let (stdin, stdout) = (process.take_stdin(), process.take_stdout());
        let conversation = Conversation::new(shared.framing, shared.timeout);
        Self { number, process, stdin, stdout, conversation, held: None, is_alone: false, shared }
    }

    pub(super) async fn run(mut self) -> Ended {
        self.send_event("started", None);
        let Some(why) = self.run_session().await else {
            self.end_gracefully().await;
            self.send_event("ended", Some("it is no longer needed"));
            return Ended::Closed;
        };
        let status = self.end(&why).await;
        let (pid, timeout) = (self.process.pid(), self.shared.timeout);
        let reason = match &why {
            Why::Exited(status) => ending(status),
            Why::Closed(what) => status.as_ref().map_or(format!("closed its {what}"), ending),
            Why::Overdue => format!("did not answer within {timeout:?}"),
            Why::Cancelled => "had a record of a partition that is no longer owned".to_owned(),
            Why::ProtocolViolation(why) => format!("gave an invalid answer: {why}"),
        };
        self.send_event("ended", Some(&reason));
        if let Some(job) = self.held.take() {
            let reason = "the handler ended before the record was given to it";
            drop(job.done.send(Err(Failure::retry(reason).without_attempt())));
        }
        let has_answered = self.conversation.has_answered();
        let status = match &why {
            Why::Exited(status) => Some(status),
            _ => status.as_ref(),
        };
        let cannot_run = status.and_then(|status| cannot_run(&self.shared.command, status));
        if let Some(why) = cannot_run.filter(|_| !has_answered) {
            let why = format!("the handler {why}");
            for (ticket, _) in self.conversation.end(now()) {
                drop(ticket.send(Err(Failure::fatal(why.clone()))));
            }
            return Ended::Broken(why);
        }
        match why {
            Why::Cancelled => tracing::info!("handler {} ({pid}) {reason}; it is ended", self.number),
            _ => tracing::warn!("handler {} ({pid}) {reason}; starting it again", self.number),
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
                        "the handler was ended: it had a record of a partition that is not owned any more";
                    Failure::retry(reason).without_attempt()
                }
                // The handler died once, for whatever reason.
                _ if is_told => Failure::retry(format!("the handler {reason}")).not_counted_by_breaker(),
                _ => {
                    is_told = !ticket.is_closed();
                    Failure::retry(format!("the handler {reason}"))
                }
            };
            drop(ticket.send(Err(failure)));
        }
        Ended::Again { has_answered }
    }

    /// Sends records and reads answers. `None` when the pool is closed and the handler has nothing to do.
    async fn run_session(&mut self) -> Option<Why> {
        let (Some(mut stdin), Some(mut stdout)) = (self.stdin.take(), self.stdout.take()) else {
            return Some(Why::Closed("input"));
        };
        let why = self.exchange(&mut stdin, &mut stdout).await;
        (self.stdin, self.stdout) = (Some(stdin), Some(stdout));
        why
    }

    async fn exchange(&mut self, stdin: &mut ChildStdin, stdout: &mut ChildStdout) -> Option<Why> {
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
                            return Some(Why::ProtocolViolation(why));
                        }
                    }
                    Ok(0) | Err(_) => return Some(Why::Closed("output")),
                },
                status = self.process.wait() => return Some(Why::Exited(status)),
                () = until(self.conversation.poll_timeout()) => return Some(Why::Overdue),
                _ = cancelled.changed() => {
                    self.held.take_if(|job| job.done.is_closed());
                    if self.conversation.tickets().any(Ticket::is_closed) {
                        return Some(Why::Cancelled);
                    }
                }
                // After the pool is closed, no answer is waited for.
                _ = closing.wait_for(|closing| *closing) => {
                    return (self.conversation.len() > 0).then_some(Why::Cancelled);
                }
                job = shared.next_job(), if has_room => match job {
                    Some(job) if job.is_alone => self.held = Some(job),
                    Some(job) => self.give(job, &mut outgoing),
                    None => return None,
                },
                written = stdin.write(outgoing.unwritten()), if !outgoing.unwritten().is_empty() => match written {
                    Ok(count @ 1..) => {
                        outgoing.on_written(count);
                        self.conversation.on_written(count);
                    }
                    Ok(0) | Err(_) => return Some(Why::Closed("input")),
                },
            }
        }
    }

    fn give(&mut self, job: Job, outgoing: &mut Outgoing) {
        let Job { record, attempt, done, .. } = job;
        if done.is_closed() {
            return; // the record was cancelled while it waited
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

    /// Forwards the answers to their receivers.
    fn listen(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.conversation.receive(bytes);
        while let Some((ticket, result)) = self.conversation.next_answer()? {
            let outcome = match result {
                HandlerResult::Ok => Ok(()),
                HandlerResult::Retry(why) => Err(Failure::retry(why)),
                HandlerResult::Poison(why) => Err(Failure::poison(why)),
            };
            drop(ticket.send(outcome));
        }
        Ok(())
    }

    /// Makes sure that the process is gone. Its output before an end of its own counts.
    async fn end(&mut self, why: &Why) -> Option<io::Result<ExitStatus>> {
        let mut status = None;
        if let Why::Closed(_) = why {
            // In most cases the process ends then.
            status = timeout(LAST_OUTPUT, self.process.wait()).await.ok();
        }
        self.process.kill().await;
        if let (Why::Exited(_) | Why::Closed("input"), Some(mut stdout)) = (why, self.stdout.take()) {
            let mut buffer = vec![0; READ];
            while let Ok(Ok(count @ 1..)) = timeout(LAST_OUTPUT, stdout.read(&mut buffer)).await {
                if self.listen(buffer.get(..count).unwrap_or_default()).is_err() {
                    break;
                }
            }
        }
        status
    }

    /// Lets the handler end by itself, as it has nothing more to do.
    async fn end_gracefully(&mut self) {
        drop(self.stdin.take());
        let [by_itself, asked] = END_TIMEOUTS;
        if timeout(by_itself, self.process.wait()).await.is_err() {
            self.process.terminate();
            let _ = timeout(asked, self.process.wait()).await;
        }
        self.process.kill().await;
    }

    fn send_event(&self, state: &str, reason: Option<&str>) {
        if let Some(events) = &self.shared.events {
            events.send(
                "child",
                json!({
                    "child": self.number, "pid": self.process.pid(), "state": state, "reason": reason,
                }),
            );
        }
    }
}

/// The bytes that are not written yet.
#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    written: usize,
}

impl Outgoing {
    fn unwritten(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    fn on_written(&mut self, count: usize) {
        self.written = self.written.saturating_add(count);
        // Fewer bytes are moved than were written since the last time.
        if self.written >= self.unwritten().len() {
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
