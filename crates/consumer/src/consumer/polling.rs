//! The inside of `poll`: handles control messages, reports changes, hands out records. All its state is in
//! the consumer, none in the future, so the future may be dropped at any point.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use tokio::runtime;

use super::{Consumer, Group};
use crate::{
    clock,
    command::Command,
    delivery::PollOutput,
    error::{ErrorKind, Result},
    ledger::Refusal,
    next::Next,
    records::Records,
};

/// A waiting `poll` commits no more often than this, however short `auto.commit.interval.ms` is.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);

/// The result of one poll.
pub(super) enum Item<H> {
    Output(H),
    /// [`Handle::wake`](crate::Handle::wake).
    Woken,
    Change(Next),
}

impl Consumer {
    /// Passes changes to the listener, and events to the event handler.
    pub(super) fn poll_output<H: PollOutput>(&mut self, cx: &mut Context<'_>) -> Poll<Result<H>> {
        loop {
            let result = match ready!(self.poll_item(cx, false)) {
                Ok(Item::Output(output)) => Ok(output),
                Ok(Item::Woken) => Ok(H::default()),
                Ok(Item::Change(_)) => continue,
                Err(error) => Err(error),
            };
            self.is_woken = false;
            return Poll::Ready(result);
        }
    }

    /// The same, but returns changes and events as values.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next>> {
        let item = ready!(self.poll_item(cx, true));
        self.is_woken = false;
        Poll::Ready(item.map(|item| match item {
            Item::Output(records) => Next::Records(records),
            Item::Woken => Next::Records(Records::default()),
            Item::Change(change) => change,
        }))
    }

    fn poll_item<H: PollOutput>(&mut self, cx: &mut Context<'_>, as_values: bool) -> Poll<Result<Item<H>>> {
        self.shared.poll_runs(clock::now());
        self.as_values = as_values;
        if !as_values {
            self.notify_listener();
        }
        if !self.in_poll {
            self.in_poll = true;
            self.delivery.application_returns(clock::now());
            self.begin_poll();
        }
        let waker = self.waker.of(cx.waker(), &self.shared);
        let Poll::Ready(mut item) = self.next_item::<H>(&mut Context::from_waker(&waker)) else {
            self.shared.poll_waits(clock::now());
            return Poll::Pending;
        };
        self.end_poll();
        self.release_freed();
        if let Ok(Item::Output(output)) = &mut item {
            self.progress.hand_out(output.parts());
            if H::OPENED {
                self.leave();
            }
        }
        Poll::Ready(item)
    }

    fn begin_poll(&mut self) {
        self.end_handed_out();
        if let Ok(runtime) = runtime::Handle::try_current()
            && self.runtime.replace(runtime.id()) != Some(runtime.id())
        {
            let _ = self.handle.send(Command::RunsOn(runtime));
        }
        self.finish_passed();
    }

    /// Sends the automatic commit, if it is due.
    fn commit_if_due(&mut self) {
        let now = clock::now();
        let due = clock::later(self.last_commit, self.handle.config.auto_commit_interval);
        if self.commits_by_itself() && now >= due {
            self.last_commit = now;
            self.report_finished();
            let _ = self.handle.send(Command::CommitSoon);
        }
    }

    /// Becomes ready when the automatic commit is due. The task is woken then, however long it waits for
    /// records.
    fn poll_commit_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.commits_by_itself() {
            return Poll::Pending;
        }
        let interval = self.handle.config.auto_commit_interval.max(SHORTEST_WAIT);
        self.commit_alarm.poll(cx, clock::later(self.last_commit, interval))
    }

    /// Marks what earlier polls handed out as finished, if the configuration says that the next poll does so.
    pub(super) fn finish_passed(&mut self) {
        self.progress.on_next_poll(self.delivery.passed());
    }

    pub(super) fn end_poll(&mut self) {
        if self.in_poll {
            self.in_poll = false;
            self.shared.poll_ends(clock::now());
        }
    }

    pub(super) fn commits_by_itself(&self) -> bool {
        self.handle.config.enable_auto_commit && self.handle.config.group_id.is_some()
    }

    pub(super) fn report_finished(&mut self) {
        self.progress.report(&self.handle);
    }

    /// The next item of `poll`. All its state is in `self`, so that it may be dropped at any point.
    fn next_item<H: PollOutput>(&mut self, cx: &mut Context<'_>) -> Poll<Result<Item<H>>> {
        self.commit_if_due();
        loop {
            match self.next_but_commits(cx) {
                Poll::Ready(item) => return Poll::Ready(item),
                Poll::Pending => ready!(self.poll_commit_due(cx)),
            }
            self.commit_if_due();
        }
    }

    fn next_but_commits<H: PollOutput>(&mut self, cx: &mut Context<'_>) -> Poll<Result<Item<H>>> {
        // The result of a `subscribe` whose future was dropped: its caller does not want it.
        let _ = self.poll_subscribing(cx);
        loop {
            if let Some(running) = &mut self.running {
                let told = ready!(running.poll(cx));
                match self.on_notified(told) {
                    Some(told) => return Poll::Ready(told.map(Item::Change)),
                    None => continue,
                }
            }
            if let Some(control) = self.taken.control.pop_front() {
                match self.handle_control(control) {
                    Some(told) => return Poll::Ready(told.map(Item::Change)),
                    None => continue,
                }
            }
            match self.inbox.poll_take(cx, &mut self.taken) {
                Poll::Ready(true) => continue,
                Poll::Ready(false) => return self.poll_ended(cx).map(Err),
                // Pending may also mean that the task's cooperative budget is used up; the waker is then
                // already notified. Control messages that have arrived are handled before any record.
                Poll::Pending if !self.inbox.is_empty() => return Poll::Pending,
                Poll::Pending => {}
            }
            if let Some(fatal) = ready!(self.poll_fatal(cx)) {
                return Poll::Ready(Err(fatal));
            }
            // For example after a pause of the process: the engine checks the membership and says when to
            // look again (FAILURES M2, M4).
            if !self.shared.is_valid(clock::now()) {
                return if self.is_woken { Poll::Ready(Ok(Item::Woken)) } else { Poll::Pending };
            }
            self.receive_data();
            if let Some(reset) = self.as_values.then(|| self.delivery.next_reset()).flatten() {
                return Poll::Ready(Ok(Item::Change(Next::Event(reset))));
            }
            let handed_out: Option<Result<H>> = self.delivery.hand_out(&self.handle, self.as_values);
            self.forget_moved();
            match handed_out {
                // A reset, which is returned as a value of its own.
                Some(Ok(output)) if self.as_values && output.is_empty() => {}
                Some(Ok(output)) => return Poll::Ready(Ok(Item::Output(output))),
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => {
                    self.finish_passed();
                    self.release_freed();
                    self.warn_if_nothing_to_read();
                    return if self.is_woken { Poll::Ready(Ok(Item::Woken)) } else { Poll::Pending };
                }
            }
        }
    }

    /// Logs, once, that this waits in vain: the application has chosen nothing to read. Java's `poll` throws.
    fn warn_if_nothing_to_read(&mut self) {
        let is_outside = self.group == Group::Outside || self.has_begun_to_unsubscribe();
        let is_idle = is_outside && self.delivery.owned().next().is_none();
        if is_idle && !self.is_idle_logged {
            self.reporter.log(|| {
                tracing::warn!("poll returns no records: nothing is subscribed to and no partition is assigned; call subscribe or assign");
            });
        }
        self.is_idle_logged = is_idle;
    }

    /// Takes the data of partitions that has arrived. Called only after all control messages taken with it
    /// were handled.
    fn receive_data(&mut self) {
        while let Some(data) = self.taken.data.pop_front() {
            self.delivery.receive(data);
        }
        self.forget_moved();
        for (partition, token, from) in self.delivery.offers() {
            let _ = self.handle.send(Command::GiveBack { partition, token, from });
        }
        self.release_freed();
    }

    /// Returns the memory of records that have been read to the engine, which may fetch into it again.
    pub(super) fn release_freed(&mut self) {
        let freed = self.delivery.freed();
        if !freed.is_empty() {
            let chunks = freed.into_iter().map(|chunk| (chunk.partition, chunk.charge));
            if self.freed.add(chunks) {
                // The engine, with its budget, may have ended.
                let _ = self.handle.send(Command::Freed);
            }
        }
    }

    /// From here on the application is busy.
    fn leave(&mut self) {
        if self.delivery.wants_more() {
            // Chunks that arrived meanwhile can be opened ahead, unless a control message must be handled
            // first.
            self.inbox.take(&mut self.taken);
            if self.taken.control.is_empty() {
                self.receive_data();
            }
        }
        self.delivery.application_leaves(clock::now());
    }

    /// Forgets what was finished at positions that have been left.
    pub(super) fn forget_moved(&mut self) {
        self.progress.forget(&self.delivery.newly_sought(), &Refusal::Sought);
        self.progress.moved_back(&self.delivery.moved_back());
        for (partition, token, rewinds) in self.delivery.restarted() {
            let _ = self.handle.send(Command::Moved { partition, token, rewinds });
        }
    }
}

/// Tells the engine that `poll` runs, as long as this exists.
#[derive(Debug)]
pub(super) struct Polling<'a> {
    pub(super) consumer: &'a mut Consumer,
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        self.consumer.end_poll();
    }
}

/// A stream of records, made by [`Consumer::stream`].
#[derive(Debug)]
pub struct RecordStream<'a> {
    pub(super) polling: Polling<'a>,
    /// The consumer is closed, or the error that the engine has ended was returned.
    pub(super) has_ended: bool,
}

impl RecordStream<'_> {
    /// Returns the consumer between two items: to commit, pause or seek.
    pub fn consumer(&mut self) -> &mut Consumer {
        self.polling.consumer
    }
}

impl Stream for RecordStream<'_> {
    type Item = Result<Records>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { polling, has_ended } = self.get_mut();
        polling.consumer.poll_stream(has_ended, cx)
    }
}

/// A stream of records, made by [`Consumer::into_stream`]. Dropping it drops the consumer.
#[derive(Debug)]
pub struct ConsumerStream {
    pub(super) consumer: Consumer,
    /// The consumer is closed, or the error that the engine has ended was returned.
    pub(super) has_ended: bool,
}

impl ConsumerStream {
    /// Returns the consumer between two items: to commit, pause or seek.
    pub fn consumer(&mut self) -> &mut Consumer {
        &mut self.consumer
    }

    /// Returns the consumer, for example to close it.
    pub fn into_consumer(mut self) -> Consumer {
        self.consumer.end_poll();
        self.consumer
    }
}

impl Stream for ConsumerStream {
    type Item = Result<Records>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { consumer, has_ended } = self.get_mut();
        consumer.poll_stream(has_ended, cx)
    }
}

impl Consumer {
    /// The next item of a stream, which ends once the consumer is closed, or after the error that reports
    /// that its engine has ended by itself.
    fn poll_stream(&mut self, has_ended: &mut bool, cx: &mut Context<'_>) -> Poll<Option<Result<Records>>> {
        if *has_ended {
            return Poll::Ready(None);
        }
        let result = ready!(self.poll_output(cx));
        *has_ended = matches!(&result, Err(error) if error.kind() == ErrorKind::Closed);
        // A close that was requested ends the stream without an error; an engine that ends by itself is an
        // error.
        let is_end = *has_ended && self.handle.inbox.is_closing();
        Poll::Ready((!is_end).then_some(result))
    }
}
