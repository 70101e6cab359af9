//! Timeouts of the machine and its callers.

use std::time::{Duration, Instant};

use offtake_client::{Error, ErrorKind};
use offtake_machine::{Call, after, earliest};

use super::{Event, State, Transactions, ending::unknown};

/// The pause before a retry while the coordinator writes the markers of the previous transaction.
const AFTER_CONCURRENT: Duration = Duration::from_millis(20);

impl Transactions {
    /// Handles the timeouts that are due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.coordinator.handle_timeout(now);
        if let Some(group) = &mut self.group {
            group.coordinator.handle_timeout(now);
        }
        self.take_coordinator_events(now);
        if self.call.is_overdue(now) {
            self.lose_coordinator(now);
            self.is_unanswered();
            self.again(now);
        }
        if self.begin.is_some_and(|begin| begin.deadline <= now) {
            self.begin = None;
            let error = self.not_ready();
            self.events.push_back(Event::Begun(Err(error)));
        }
        self.expire_offsets(now);
        self.expire_end(now);
        self.warn_of_timeout(now);
        self.advance(now);
    }

    fn not_ready(&self) -> Error {
        let waited = self.config.max_block.as_millis();
        let what = match &self.state {
            State::Ending(_, end) if end.commits => "the previous transaction is still being committed",
            State::Ending(..) => "the previous transaction is still being aborted",
            _ if self.coordinator.broker().is_none() => "its coordinator was not found",
            _ => "its coordinator returned no producer id",
        };
        let why = match &self.state {
            State::Ending(_, end) => end.last_error.as_deref(),
            _ => self.last_error.as_deref(),
        };
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        let text = format!(
            "transactional id {}: {what}{why} ({waited} ms, `max.block.ms`); the attempt continues, and the next call may succeed",
            self.config.id
        );
        Error::new(ErrorKind::Timeout, text)
    }

    /// Describes the state of a transaction that has not ended, for a caller that cannot wait longer.
    pub(crate) fn unended(&self) -> Option<String> {
        let State::Ending(_, end) = &self.state else { return None };
        let what = match end.commits {
            true if end.progress.may_be_done() => {
                "whether the transaction was committed is not known; it may be"
            }
            true => "the transaction was not committed",
            false => {
                "the transaction was not aborted yet; the coordinator aborts it when `transaction.timeout.ms` is over"
            }
        };
        let why = match &end.last_error {
            Some(last_error) => last_error,
            None if end.awaits_records() => "the outcome of its records is not known yet",
            None if end.progress.may_be_done() => "its coordinator has not answered",
            None => "no request was sent to its coordinator yet",
        };
        Some(format!("{what}: {why}"))
    }

    fn expire_offsets(&mut self, now: Instant) {
        let sent = self.state.work().and_then(|work| work.offsets.front());
        let Some(sent) = sent.filter(|sent| sent.deadline <= now) else { return };
        let waited = self.config.max_block.as_millis();
        let why = sent.last_error.as_deref().unwrap_or("no coordinator answered");
        let text = format!("the offsets were not accepted within {waited} ms (`max.block.ms`): {why}");
        self.fail(now, Error::new(ErrorKind::Timeout, text));
    }

    fn expire_end(&mut self, now: Instant) {
        let State::Ending(work, end) = &mut self.state else { return };
        if end.waits_until().is_none_or(|until| until > now) {
            return;
        }
        let waited = self.config.max_block.as_millis();
        let why = end.last_error.as_deref().unwrap_or("its coordinator did not answer");
        let text = format!("{waited} ms (`max.block.ms`): {why}");
        if end.commits && end.progress.may_be_done() {
            // The commit is retried until its outcome is known. A new epoch then separates the next transaction from this one.
            work.needs_epoch = true;
            end.tell(&mut self.events, Err(unknown(&text)));
        } else if end.commits {
            let text = format!("the transaction was not committed within {text}");
            self.fail(now, Error::new(ErrorKind::Timeout, text));
        } else {
            let text = format!(
                "the transaction was not aborted within {text}; the attempt continues, and the next transaction waits for it"
            );
            end.tell(&mut self.events, Err(Error::new(ErrorKind::Timeout, text)));
        }
    }

    /// Warns of a transaction that lasts too long: the coordinator aborts it and fences its producer.
    fn warn_of_timeout(&mut self, now: Instant) {
        let at = self.warns_at();
        let Some(work) = self.state.work_mut() else { return };
        if at.is_some_and(|at| at <= now) {
            work.is_warned = true;
            tracing::warn!(
                transactional_id = self.config.id,
                transaction_timeout_ms = self.config.timeout.as_millis(),
                "a transaction has been open for four fifths of `transaction.timeout.ms`: when that is over the coordinator aborts it, and this \
                 producer is fenced; raise it, or do less in one transaction"
            );
        }
    }

    fn warns_at(&self) -> Option<Instant> {
        let work = self.state.work().filter(|work| !work.is_warned)?;
        let begun = work.begun?;
        Some(after(begun, self.config.timeout.saturating_mul(4) / 5))
    }

    /// When to call again.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let offsets = self.state.work().and_then(|work| work.offsets.front());
        let end = match &self.state {
            State::Ending(_, end) => end.waits_until(),
            _ => None,
        };
        earliest([
            self.call.deadline().filter(|_| self.call.is_sent() || self.target().is_some()),
            self.coordinator.poll_timeout(),
            self.group.as_ref().and_then(|group| group.coordinator.poll_timeout()),
            self.begin.map(|begin| begin.deadline),
            offsets.map(|sent| sent.deadline),
            end,
            self.warns_at(),
        ])
    }

    pub(super) fn again(&mut self, now: Instant) {
        self.call = Call::Due(after(now, self.backoff.next_wait()));
    }

    /// Retries soon: the coordinator still finishes the previous transaction.
    pub(super) fn again_soon(&mut self, now: Instant) {
        let wait = self.backoff.next_wait();
        self.call = Call::Due(after(
            now,
            if self.backoff.failures() < 10 { wait.min(AFTER_CONCURRENT) } else { wait },
        ));
    }
}
