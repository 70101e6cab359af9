//! One connection: a task that owns the socket and the table of calls that wait on it.
//!
//! Calls go out in the order they came, answers come back in that order (Kafka promises it). Anything else, an answer
//! to nothing, an answer that cannot be read, a call that is late: the connection ends, and each call hears why. A
//! connection never heals; [`Net`](crate::Net) makes another.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use offtake_machine::{Answer, CallError};
use offtake_wire::{ApiKey, DecodeError, decode_response, encode_request, frame};
use tokio::{
    io::{AsyncWriteExt, ReadHalf, WriteHalf},
    time::Instant,
};

use crate::{
    call::{Call, End, What},
    clock,
    dial::Stream,
    establish::{establish, too_slow},
    frames::{Frames, NoMore, plain},
    handshake::{Greeted, Ranges, Trouble},
    inbox::{Came, Inbox, Reporter},
    outgoing::Outgoing,
    shared::{Shared, count},
    standing::Plan,
    throttle,
};

/// Calls written and not answered, at most; the broker works on one at a time, so more would only wait there.
const PIPELINE: usize = 64;
/// How long to sleep when nothing is due: a timer must be set to something.
const LONG: Duration = Duration::from_secs(24 * 3600);

/// Makes the connection, serves it, and tells how it ended.
pub(crate) async fn run(shared: Arc<Shared>, reporter: Reporter, mut inbox: Inbox, plan: Plan) {
    let accepted = AtomicBool::new(false);
    let last = plan.last_reason.clone();
    let reason = |call: &Call| match &last {
        _ if accepted.load(Relaxed) => Trouble::silent(call.timeout).reason,
        Some(last) => last.clone(),
        None => too_slow("connecting", call.timeout),
    };
    let established = tokio::select! {
        biased;
        came = inbox.attend(&reporter, reason) => Err(came),
        established = establish(&shared, &reporter.from.address, &plan, &accepted) => Ok(established),
    };
    let why = match established {
        Err(Came::Closing) => return,
        Err(Came::Retired | Came::Calls) => End::Retired,
        Ok(Err(trouble)) => End::Unreachable(reporter.unreachable(trouble.reason, trouble.not_kafka)),
        Ok(Ok((greeted, via))) => {
            let ranges = Arc::new(greeted.ranges.clone());
            reporter.tell(What::Connected { ranges: ranges.clone(), via, spoke: greeted.spoke }).await;
            match Connection::new(&shared, &reporter, &mut inbox, ranges, greeted).serve().await {
                Some(end) => end,
                None => return,
            }
        }
    };
    reporter.tell(What::Ended { why, unsent: inbox.close().await }).await;
}

struct Connection<'a> {
    shared: &'a Shared,
    reporter: &'a Reporter,
    inbox: &'a mut Inbox,
    ranges: Arc<Ranges>,
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    frames: Frames,
    out: Outgoing,
    /// Calls written, or about to be, in the order in which they will be answered.
    waiting: VecDeque<Waiting>,
    next_correlation: i32,
    /// The broker asked us to be quiet until then (KIP-219).
    muted_until: Option<Instant>,
    /// When something last happened.
    active: Instant,
    has_answered: bool,
}

struct Waiting {
    tag: u64,
    correlation: i32,
    api: ApiKey,
    version: i16,
    timeout: Duration,
    deadline: Instant,
}

impl<'a> Connection<'a> {
    fn new(
        shared: &'a Shared,
        reporter: &'a Reporter,
        inbox: &'a mut Inbox,
        ranges: Arc<Ranges>,
        greeted: Greeted,
    ) -> Self {
        let (reader, writer) = tokio::io::split(greeted.stream);
        let mut connection = Self {
            shared,
            reporter,
            inbox,
            ranges,
            reader,
            writer,
            frames: greeted.frames,
            out: Outgoing::default(),
            waiting: VecDeque::new(),
            next_correlation: greeted.next_correlation,
            muted_until: None,
            active: clock::now(),
            has_answered: false,
        };
        connection.mute(throttle::clamped(greeted.throttle_time_ms));
        connection
    }

    /// Until it ends; `None` if because everything does.
    async fn serve(mut self) -> Option<End> {
        let mut timer = pin!(tokio::time::sleep_until(clock::now() + LONG));
        loop {
            let now = clock::now();
            if let Some(end) = self.expire(now).await {
                return Some(end);
            }
            self.fill(now).await;
            if !self.inbox.is_open && self.is_quiet() {
                let _ = self.writer.shutdown().await;
                return Some(End::Retired);
            }
            let wake = self.wake(now);
            if timer.deadline() != wake {
                timer.as_mut().reset(wake);
            }
            // The clock first: data that never stops must not outrun a deadline.
            tokio::select! {
                biased;
                () = &mut timer => {}
                written = self.out.write(&mut self.writer), if !self.out.is_done() => match written {
                    Ok(bytes) => count(&self.shared.counters.bytes_out, bytes),
                    Err(error) => return Some(self.break_off(plain(&error)).await),
                },
                came = self.inbox.next() => match came {
                    Came::Calls => self.active = clock::now(),
                    Came::Retired => {}
                    Came::Closing => {
                        self.close().await;
                        return None;
                    }
                },
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

    /// Nothing is under way.
    fn is_quiet(&self) -> bool {
        self.waiting.is_empty() && self.out.is_done() && self.inbox.queue.is_empty()
    }

    /// When to look at the clock again.
    fn wake(&self, now: Instant) -> Instant {
        let unmuted = self.muted_until.filter(|_| !self.inbox.queue.is_empty());
        let idle = if self.is_quiet() { self.active.checked_add(self.shared.config.max_idle) } else { None };
        let late = self.waiting.iter().map(|call| call.deadline).min();
        [late, self.inbox.deadline(), unmuted, idle].into_iter().flatten().min().unwrap_or(now + LONG)
    }

    /// Calls that are late. One that was written takes the connection with it (FAILURES A2): its answer would come
    /// between others.
    async fn expire(&mut self, now: Instant) -> Option<End> {
        for call in self.inbox.take_late(now) {
            self.reporter.done(call.tag, Err(self.timed_out(call.request.api_key(), call.timeout))).await;
        }
        if let Some(late) = self.waiting.iter().find(|call| call.deadline <= now) {
            let reason =
                format!("given up: no answer to {} within {} ms", late.api, late.timeout.as_millis());
            let mut others = VecDeque::new();
            for call in std::mem::take(&mut self.waiting) {
                if call.deadline <= now {
                    self.reporter.done(call.tag, Err(self.timed_out(call.api, call.timeout))).await;
                } else {
                    others.push_back(call);
                }
            }
            self.waiting = others;
            return Some(self.break_off(reason).await);
        }
        let idle_at = self.active.checked_add(self.shared.config.max_idle);
        (self.is_quiet() && idle_at.is_some_and(|at| at <= now)).then_some(End::Idle)
    }

    /// Writes as many calls as may be out.
    async fn fill(&mut self, now: Instant) {
        self.muted_until = self.muted_until.filter(|until| *until > now);
        self.inbox.drop_withdrawn();
        let muted = self.muted_until.is_some();
        while self.waiting.len() < PIPELINE {
            let may_go = |call: &Call| !muted || throttle::is_exempt(&call.request);
            let Some(at) = self.inbox.queue.iter().position(may_go) else { return };
            let Some(call) = self.inbox.queue.remove(at).filter(|call| call.fate.begin()) else { continue };
            if let Err(error) = self.encode(&call) {
                self.reporter.done(call.tag, Err(error)).await;
            }
        }
    }

    fn encode(&mut self, call: &Call) -> Result<(), CallError> {
        let api = call.request.api_key();
        let unsupported = || CallError::Unsupported { address: self.reporter.address(), api };
        let version = self.ranges.pick(api, call.max_version).ok_or_else(unsupported)?;
        let correlation = self.next_correlation;
        let client_id = Some(self.shared.config.client_id.as_str());
        let frame = encode_request(correlation, client_id, version, &call.request).map_err(|error| {
            tracing::error!(%api, version, %error, "a request does not fit the version that the broker speaks");
            unsupported()
        })?;
        self.next_correlation = correlation.checked_add(1).unwrap_or(0);
        let (tag, timeout, deadline) = (call.tag, call.timeout, call.deadline);
        self.waiting.push_back(Waiting { tag, correlation, api, version, timeout, deadline });
        self.out.push(frame);
        Ok(())
    }

    /// A frame came. Some is the end.
    async fn answered(&mut self, frame: Bytes) -> Option<End> {
        self.active = clock::now();
        let Some(call) = self.waiting.pop_front() else {
            return Some(self.break_off("it sent what nobody asked for".to_owned()).await);
        };
        match frame::correlation_id(&frame) {
            Ok(id) if id == call.correlation => {}
            Ok(id) => {
                let reason = format!("it answered call {id} when {} was next", call.correlation);
                self.waiting.push_front(call);
                return Some(self.break_off(reason).await);
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
        self.mute(throttle::asked_by(&decoded.response));
        let (from, version, memory) = (self.reporter.broker(), call.version, self.frames.memory());
        let answer = Answer { from, version, memory, response: decoded.response };
        self.reporter.done(call.tag, Ok(answer)).await;
        None
    }

    /// The broker wants no new requests for so long.
    fn mute(&mut self, wait: Duration) {
        if !wait.is_zero() {
            self.muted_until = self.muted_until.max(self.active.checked_add(wait));
        }
    }

    /// No more frames.
    async fn ended(&mut self, end: NoMore) -> End {
        let nothing_lost = matches!(end, NoMore::Closed | NoMore::Io(_)) && self.waiting.is_empty();
        if nothing_lost {
            return End::Idle; // what is still queued was never written, and moves to the next connection
        }
        if let NoMore::TooLarge { length, cap, correlation } = end
            && self.waiting.front().is_some_and(|call| call.correlation == correlation)
            && let Some(call) = self.waiting.pop_front()
        {
            return self.too_large(&call, length, cap).await;
        }
        let mut reason = end.to_string();
        if matches!(end, NoMore::Closed) && !self.has_answered {
            reason.push_str(" the first request; the listener may expect SASL, which is not supported yet");
        }
        self.break_off(reason).await
    }

    async fn malformed(&mut self, call: &Waiting, source: DecodeError) -> End {
        let reason = format!("its answer to {} was malformed", call.api);
        let error = CallError::Malformed { address: self.reporter.address(), api: call.api, source };
        self.reporter.done(call.tag, Err(error)).await;
        self.break_off(reason).await
    }

    /// What is not read cannot be passed over either.
    async fn too_large(&mut self, call: &Waiting, size: usize, limit: usize) -> End {
        let (address, api) = (self.reporter.address(), call.api);
        let reason = format!("given up: its answer to {api} has {size} bytes, {limit} at most are read");
        self.reporter.done(call.tag, Err(CallError::TooLarge { address, api, size, limit })).await;
        self.break_off(reason).await;
        End::TooLarge
    }

    /// Tells each call that waits.
    async fn break_off(&mut self, reason: String) -> End {
        for call in self.waiting.drain(..) {
            self.reporter.done(call.tag, Err(self.reporter.disconnected(reason.clone()))).await;
        }
        End::Broken(reason)
    }

    /// What was sent goes out; answers are not waited for.
    async fn close(&mut self) {
        self.inbox.take_waiting();
        self.fill(clock::now()).await;
        while !self.out.is_done() {
            if self.out.write(&mut self.writer).await.is_err() {
                return;
            }
        }
        let _ = self.writer.shutdown().await;
    }

    fn timed_out(&self, api: ApiKey, after: Duration) -> CallError {
        CallError::TimedOut { address: self.reporter.address(), api, after }
    }
}
