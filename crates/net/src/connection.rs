//! One connection: a task that owns the socket and the table of its outstanding calls.
//!
//! Requests are written in the order of the calls, and Kafka answers them in that order. The connection ends when a response is
//! unexpected or malformed, or when a call is late; each outstanding call then fails with the reason. A connection is never
//! repaired: [`Net`](crate::Net) makes another one.

mod ending;

use std::{collections::VecDeque, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use offtake_machine::{Answer, CallError};
use offtake_wire::{
    ApiKey, DecodeError, ProduceResponse, Request, decode_response, encode_request, encode_request_parts,
    frame,
};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
    time::Instant,
};

use self::ending::JUDGED_WITHIN;

use crate::{
    address_state::{DialPlan, FirstAnswer},
    call::{Call, CloseReason, EventKind},
    clock,
    dial::ByteStream,
    establish::{establish, took_too_long},
    frames::{Frames, describe_io_error},
    handshake::{Handshake, VersionRanges},
    inbox::{Inbox, InboxEvent, Reporter},
    outgoing::Outgoing,
    phase::PhaseCell,
    renewal::Renewal,
    shared::{Shared, count},
    throttle,
};

/// The most calls that are written and unanswered. The broker processes one at a time, so that more would only wait there.
const PIPELINE: usize = 64;
/// How long to sleep when nothing is due: the timer needs a value.
const LONG: Duration = Duration::from_secs(24 * 3600);

/// Makes the connection, serves it, and reports why it ended.
pub(crate) async fn run(shared: Arc<Shared>, reporter: Reporter, mut inbox: Inbox, plan: DialPlan) {
    let phase = PhaseCell::default();
    let (last, first_answer) = (plan.last_reason.clone(), plan.first_answer);
    let reason = |call: &Call| {
        let so_far = phase.get().took_too_long(call.timeout).or_else(|| last.clone());
        so_far.unwrap_or_else(|| took_too_long("connecting", call.timeout))
    };
    let established = tokio::select! {
        biased;
        came = inbox.accept_calls(&reporter, reason) => Err(came),
        established = establish(&shared, &reporter.from.address, &plan, &phase) => Ok(established),
    };
    let why = match established {
        Err(InboxEvent::Closing) => return,
        Err(InboxEvent::Retired | InboxEvent::Calls) => CloseReason::Retired,
        Ok(Err(error)) => CloseReason::Unreachable(error.into_call_error(reporter.address())),
        Ok(Ok((handshake, via))) => {
            let ranges = Arc::new(handshake.ranges.clone());
            reporter
                .send(EventKind::Connected {
                    ranges: ranges.clone(),
                    via,
                    api_versions_version: handshake.api_versions_version,
                })
                .await;
            match Connection::new(&shared, &reporter, &mut inbox, ranges, handshake, first_answer)
                .serve()
                .await
            {
                Some(end) => end,
                None => return,
            }
        }
    };
    reporter.send(EventKind::Closed { why, unsent: inbox.close().await }).await;
}

struct Connection<'a> {
    shared: &'a Shared,
    reporter: &'a Reporter,
    inbox: &'a mut Inbox,
    ranges: Arc<VersionRanges>,
    reader: ReadHalf<Box<dyn ByteStream>>,
    writer: WriteHalf<Box<dyn ByteStream>>,
    frames: Frames,
    out: Outgoing,
    /// The requests that are written, or about to be, in the order of their responses.
    waiting: VecDeque<Waiting>,
    /// The times at which the first and the last request without a response were written.
    unanswered: Option<(Instant, Instant)>,
    renewal: Renewal,
    next_correlation: i32,
    /// The end of the throttle that the broker asked for (KIP-219).
    throttled_until: Option<Instant>,
    /// When a call or a response last arrived.
    active: Instant,
    has_answered: bool,
    /// Whether previous connections were closed at their first call.
    expects_sasl: bool,
}

struct Waiting {
    of: Asker,
    correlation: i32,
    api: ApiKey,
    version: i16,
    timeout: Duration,
    deadline: Instant,
}

/// The party that waits for a response.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asker {
    /// The call with this tag.
    Call(u64),
    /// The connection itself, for its re-authentication.
    Renewal,
}

impl<'a> Connection<'a> {
    fn new(
        shared: &'a Shared,
        reporter: &'a Reporter,
        inbox: &'a mut Inbox,
        ranges: Arc<VersionRanges>,
        handshake: Handshake,
        first_answer: FirstAnswer,
    ) -> Self {
        let (reader, writer) = tokio::io::split(handshake.stream);
        let seed = shared.config.seed.wrapping_add(reporter.from.serial);
        let sasl = shared.config.security.sasl.clone();
        let renewal = Renewal::new(sasl, &reporter.from.address.host, seed, handshake.session);
        let mut connection = Self {
            shared,
            reporter,
            inbox,
            ranges,
            reader,
            writer,
            frames: handshake.frames,
            out: Outgoing::default(),
            waiting: VecDeque::new(),
            unanswered: None,
            renewal,
            next_correlation: handshake.next_correlation,
            throttled_until: None,
            active: clock::now(),
            // If calls were answered before without SASL, the broker does not expect SASL.
            has_answered: shared.config.security.sasl.is_some() || first_answer == FirstAnswer::Had,
            expects_sasl: first_answer.expects_sasl(clock::now()),
        };
        connection.throttle_for(throttle::clamped(handshake.throttle_time_ms));
        connection
    }

    /// Serves calls until the connection ends; `None` if all connections are being closed.
    async fn serve(mut self) -> Option<CloseReason> {
        let mut timer = pin!(tokio::time::sleep_until(clock::now() + LONG));
        loop {
            if self.inbox.is_cut_off() {
                self.fail_waiting_with(&self.reporter.disconnected("its answer is not awaited any more"))
                    .await;
                return Some(CloseReason::Retired);
            }
            let now = clock::now();
            if let Some(end) = self.expire(now).await {
                return Some(end);
            }
            if !self.is_idle() {
                self.renewal.begin_if_due(now);
            }
            self.start_queued(now).await;
            if !self.inbox.is_open && self.is_idle() {
                let _ = self.writer.shutdown().await;
                return Some(CloseReason::Retired);
            }
            let wake = self.wake(now);
            if timer.deadline() != wake {
                timer.as_mut().reset(wake);
            }
            // Timers come first: data that never stops must not outrun a deadline.
            tokio::select! {
                biased;
                () = &mut timer => {}
                written = self.out.write(&mut self.writer), if !self.out.is_done() => match written {
                    Ok(bytes) => count(&self.shared.counters.bytes_out, bytes),
                    Err(error) => return Some(self.fail_waiting(describe_io_error(&error)).await),
                },
                came = self.inbox.next() => match came {
                    InboxEvent::Calls => self.active = clock::now(),
                    InboxEvent::Retired => {}
                    InboxEvent::Closing => {
                        self.close().await;
                        return None;
                    }
                },
                request = self.renewal.next_request() => {
                    let end = match request {
                        Ok(Some(request)) => self.ask_for_renewal(&request).await,
                        Ok(None) => None,
                        Err(error) => Some(self.refused(error).await),
                    };
                    if end.is_some() {
                        return end;
                    }
                }
                frame = self.frames.next(&mut self.reader) => {
                    let end = match frame {
                        Ok(frame) => self.answered(frame).await,
                        Err(end) => Some(self.ended(end).await),
                    };
                    if end.is_some() {
                        return end;
                    }
                }
            }
        }
    }

    /// Whether no call is queued or outstanding.
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.out.is_done() && self.inbox.queue.is_empty()
    }

    /// When the next timer is due.
    fn wake(&self, now: Instant) -> Instant {
        let unthrottled = self.throttled_until.filter(|_| !self.inbox.queue.is_empty());
        let idle = if self.is_idle() { self.active.checked_add(self.shared.config.max_idle) } else { None };
        let late = self.waiting.iter().map(|call| call.deadline).min();
        let renewal = if self.is_idle() { None } else { self.renewal.begins_at().filter(|at| *at > now) };
        [late, self.inbox.deadline(), unthrottled, renewal, idle]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(now + LONG)
    }

    /// Fails calls that are late. A late call that was written ends the connection (FAILURES A2), because its response could
    /// still arrive before those of other calls.
    async fn expire(&mut self, now: Instant) -> Option<CloseReason> {
        for call in self.inbox.take_expired(now) {
            self.reporter.complete(call.tag, Err(self.not_sent(&call))).await;
        }
        if let Some(late) = self.waiting.iter().find(|call| call.deadline <= now) {
            let reason =
                format!("given up: no response to {} within {} ms", late.api, late.timeout.as_millis());
            let mut others = VecDeque::new();
            for call in std::mem::take(&mut self.waiting) {
                if call.deadline <= now {
                    let error = self.timed_out(call.api, call.timeout);
                    self.answer(call.of, Err(error)).await;
                } else {
                    others.push_back(call);
                }
            }
            self.waiting = others;
            return Some(self.fail_waiting(reason).await);
        }
        let idle_at = self.active.checked_add(self.shared.config.max_idle);
        (self.is_idle() && idle_at.is_some_and(|at| at <= now)).then_some(CloseReason::Idle)
    }

    /// Moves queued calls to the output, as many as may be outstanding.
    async fn start_queued(&mut self, now: Instant) {
        self.throttled_until = self.throttled_until.filter(|until| *until > now);
        self.inbox.drop_withdrawn();
        if self.renewal.holds_calls(now) {
            return;
        }
        let throttled = self.throttled_until.is_some();
        while self.waiting.len() < PIPELINE {
            // A request without a response waits until it is written, so that the data in flight is bounded.
            let is_written = self.out.is_done();
            let may_go = |call: &Call| {
                (!throttled || throttle::is_exempt(&call.request))
                    && (is_written || !asks_for_no_answer(&call.request))
            };
            let Some(at) = self.inbox.queue.iter().position(may_go) else { return };
            let Some(call) = self.inbox.queue.remove(at).filter(|call| call.state.begin()) else { continue };
            if asks_for_no_answer(&call.request) {
                let written = self.push_unanswered(&call);
                let (first, _) = self.unanswered.unwrap_or((now, now));
                // The first of them was not refused.
                let is_proof = written.is_ok() && now.saturating_duration_since(first) > JUDGED_WITHIN;
                if written.is_ok() {
                    self.unanswered = Some((first, now));
                }
                self.reporter.complete_unanswered(call.tag, written, is_proof).await;
            } else if let Err(error) = self.encode(&call) {
                self.reporter.complete(call.tag, Err(error)).await;
            }
        }
    }

    fn encode(&mut self, call: &Call) -> Result<(), CallError> {
        let (of, timeout, deadline) = (Asker::Call(call.tag), call.timeout, call.deadline);
        let version = self.push(of, &call.request, call.max_version, timeout, deadline)?;
        if let (Some(prompt), Some(waiting)) = (call.prompt, self.waiting.back_mut())
            && version >= prompt.since
        {
            let deadline = clock::after(clock::now(), prompt.timeout);
            if deadline < waiting.deadline {
                (waiting.timeout, waiting.deadline) = (prompt.timeout, deadline);
            }
        }
        Ok(())
    }

    /// Returns the version in which the request is written.
    fn push(
        &mut self,
        of: Asker,
        request: &Request,
        max_version: Option<i16>,
        timeout: Duration,
        deadline: Instant,
    ) -> Result<i16, CallError> {
        let (parts, correlation, version) = self.frame(request, max_version)?;
        let api = request.api_key();
        self.waiting.push_back(Waiting { of, correlation, api, version, timeout, deadline });
        self.out.push(parts);
        Ok(version)
    }

    /// Writes a request that has no response. It counts as carried out.
    fn push_unanswered(&mut self, call: &Call) -> Result<Answer, CallError> {
        let (parts, _, version) = self.frame(&call.request, call.max_version)?;
        self.out.push(parts);
        let response = ProduceResponse::default().into();
        Ok(Answer { from: self.reporter.broker(), version, memory: 0, response })
    }

    /// The parts of a request's frame, its correlation id and its version.
    fn frame(
        &mut self,
        request: &Request,
        max_version: Option<i16>,
    ) -> Result<(Vec<Bytes>, i32, i16), CallError> {
        let api = request.api_key();
        let unsupported = || CallError::Unsupported { address: self.reporter.address(), api };
        let version = self.ranges.pick(api, max_version).ok_or_else(unsupported)?;
        let correlation = self.next_correlation;
        let client_id = Some(self.shared.config.client_id.as_str());
        // A stream that writes one part at a time would send a small part by itself.
        let encoded = if self.writer.is_write_vectored() {
            encode_request_parts(correlation, client_id, version, request)
        } else {
            encode_request(correlation, client_id, version, request).map(|frame| vec![frame])
        };
        let parts = encoded.map_err(|error| {
            tracing::error!(%api, version, %error, "a request does not fit the version that the broker speaks");
            unsupported()
        })?;
        self.next_correlation = correlation.checked_add(1).unwrap_or(0);
        Ok((parts, correlation, version))
    }

    /// Writes a SASL request. Its response comes after the outstanding ones, which may take up to their deadlines.
    async fn ask_for_renewal(&mut self, request: &Request) -> Option<CloseReason> {
        let timeout = self.shared.config.authentication_timeout;
        let behind = self.waiting.iter().map(|call| call.deadline).max();
        // A broker that throttles the client does not read meanwhile.
        let answered_from = behind.max(self.throttled_until).unwrap_or_else(clock::now);
        let deadline = clock::after(answered_from, timeout);
        let error = self.push(Asker::Renewal, request, None, timeout, deadline).err()?;
        self.fail_waiting(error.to_string()).await;
        Some(CloseReason::Unreachable(error))
    }

    async fn answer(&mut self, of: Asker, result: Result<Answer, CallError>) {
        match of {
            Asker::Call(tag) => self.reporter.complete(tag, result).await,
            Asker::Renewal => {}
        }
    }

    /// Handles a frame that was read. Returns the reason if that ends the connection.
    async fn answered(&mut self, frame: Bytes) -> Option<CloseReason> {
        self.active = clock::now();
        let Some(call) = self.waiting.pop_front() else {
            return Some(self.fail_waiting("unexpected response: no request is in flight".to_owned()).await);
        };
        match frame::correlation_id(&frame) {
            Ok(id) if id == call.correlation => {}
            Ok(id) => {
                let reason =
                    format!("wrong correlation id in the response: {id} instead of {}", call.correlation);
                self.waiting.push_front(call);
                return Some(self.fail_waiting(reason).await);
            }
            Err(source) => return Some(self.malformed(&call, source).await),
        }
        let decoded = match decode_response(frame, call.api, call.version) {
            Ok(decoded) => decoded,
            Err(source) => return Some(self.malformed(&call, source).await),
        };
        if decoded.trailing > 0 {
            count(&self.shared.counters.trailing, 1);
            if self.shared.config.strict {
                let source = DecodeError::Trailing { what: call.api.name(), left: decoded.trailing };
                return Some(self.malformed(&call, source).await);
            }
        }
        self.has_answered = true;
        let Asker::Call(tag) = call.of else {
            return match self.renewal.on_response(decoded.response) {
                Ok(Some(request)) => self.ask_for_renewal(&request).await,
                Ok(None) => None,
                Err(error) => Some(self.refused(error).await),
            };
        };
        self.throttle_for(throttle::throttle_time(&decoded.response));
        let (from, version, memory) = (self.reporter.broker(), call.version, self.frames.memory());
        let answer = Answer { from, version, memory, response: decoded.response };
        self.reporter.complete(tag, Ok(answer)).await;
        None
    }

    /// Notes that the broker throttles this client for this long.
    fn throttle_for(&mut self, wait: Duration) {
        if !wait.is_zero() {
            self.throttled_until = self.throttled_until.max(self.active.checked_add(wait));
        }
    }

    /// The error of a call whose deadline passed before it was written.
    fn not_sent(&self, call: &Call) -> CallError {
        let why = if self.throttled_until.is_some() {
            "the broker throttles this client"
        } else {
            "it was not sent in time"
        };
        let reason = format!("{why}, for {} ms", call.timeout.as_millis());
        CallError::NotSent { address: self.reporter.address(), api: call.request.api_key(), reason }
    }

    fn timed_out(&self, api: ApiKey, after: Duration) -> CallError {
        CallError::TimedOut { address: self.reporter.address(), api, after }
    }
}

/// Whether a request has no response: Produce with `acks=0`.
pub(crate) fn asks_for_no_answer(request: &Request) -> bool {
    matches!(request, Request::Produce(produce) if produce.acks == 0)
}
