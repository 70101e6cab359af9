//! The end of a connection: its reason, and the errors of the outstanding calls.

use std::time::Duration;

use offtake_machine::CallError;
use offtake_wire::DecodeError;
use tokio::io::AsyncWriteExt;

use super::{Asker, Connection, Waiting};
use crate::{call::CloseReason, clock, frames::ReadError, handshake::ConnectError};

/// A broker that refuses a request without a response usually closes the connection within this time.
pub(super) const JUDGED_WITHIN: Duration = Duration::from_secs(10);

/// Follows "closed the connection: before a response".
const FIRST_REQUEST: &str = " to the first request; the listener may expect SASL: set security.protocol to SASL_PLAINTEXT or SASL_SSL";

/// Follows "cannot connect to host:port: ", when that has happened again and again for some seconds.
const EXPECTS_SASL: &str = "closes each connection at the first request, as a listener does that expects SASL: set security.protocol to \
                            SASL_PLAINTEXT or SASL_SSL";

impl Connection<'_> {
    /// Ends the connection because it could not re-authenticate.
    pub(super) async fn refused(&mut self, error: ConnectError) -> CloseReason {
        self.fail_waiting(error.reason.clone()).await;
        CloseReason::Unreachable(error.into_call_error(self.reporter.address()))
    }

    /// Ends the connection because no more frames can be read.
    pub(super) async fn ended(&mut self, end: ReadError) -> CloseReason {
        let nothing_lost = matches!(end, ReadError::Closed | ReadError::Io(_)) && self.waiting.is_empty();
        if nothing_lost && self.may_be_refused() {
            return CloseReason::ClosedUnanswered("after a request without a response".to_owned());
        }
        if nothing_lost {
            return CloseReason::Idle; // calls still queued were never written, and move to the next connection
        }
        if let ReadError::TooLarge { length, cap, correlation } = end
            && self.waiting.front().is_some_and(|call| call.correlation == correlation)
            && let Some(call) = self.waiting.pop_front()
        {
            return self.too_large(&call, length, cap).await;
        }
        let reason = end.to_string();
        if !matches!(end, ReadError::Closed) || self.has_answered {
            return self.fail_waiting(reason).await;
        }
        let reason = format!("{reason}{FIRST_REQUEST}");
        if self.expects_sasl {
            let (address, why) = (self.reporter.address(), EXPECTS_SASL.to_owned());
            let error = CallError::Authentication { address, reason: why, is_final: true };
            self.fail_waiting_with(&error).await;
        } else {
            self.fail_waiting_with(&self.reporter.disconnected(reason.clone())).await;
        }
        CloseReason::ClosedAtFirstCall(reason)
    }

    pub(super) async fn malformed(&mut self, call: &Waiting, source: DecodeError) -> CloseReason {
        let reason = format!("malformed response to {}", call.api);
        let error = CallError::Malformed { address: self.reporter.address(), api: call.api, source };
        self.answer(call.of, Err(error)).await;
        self.fail_waiting(reason).await
    }

    /// A frame that is not read cannot be skipped either, so that the connection ends.
    async fn too_large(&mut self, call: &Waiting, size: usize, limit: usize) -> CloseReason {
        let (address, api) = (self.reporter.address(), call.api);
        let reason =
            format!("given up: the response to {api} has {size} bytes, more than the limit of {limit}");
        self.answer(call.of, Err(CallError::TooLarge { address, api, size, limit })).await;
        self.fail_waiting(reason).await;
        CloseReason::TooLarge
    }

    /// Fails each outstanding call.
    pub(super) async fn fail_waiting(&mut self, reason: String) -> CloseReason {
        self.fail_waiting_with(&self.reporter.disconnected(reason.clone())).await;
        if self.may_be_refused() {
            CloseReason::ClosedUnanswered(reason)
        } else {
            CloseReason::Broken(reason)
        }
    }

    /// Whether the broker may have ended the connection to refuse a request without a response.
    fn may_be_refused(&self) -> bool {
        let since_last = |(_, last)| clock::now().saturating_duration_since(last);
        self.unanswered.map(since_last).is_some_and(|since| since <= JUDGED_WITHIN)
    }

    pub(super) async fn fail_waiting_with(&mut self, error: &CallError) {
        for call in self.waiting.drain(..) {
            if let Asker::Call(tag) = call.of {
                self.reporter.complete(tag, Err(error.clone())).await;
            }
        }
    }

    /// Writes what is queued, without waiting for responses.
    pub(super) async fn close(&mut self) {
        self.inbox.drain_channel();
        self.start_queued(clock::now()).await;
        while !self.out.is_done() {
            if self.out.write(&mut self.writer).await.is_err() {
                return;
            }
        }
        let _ = self.writer.shutdown().await;
    }
}
