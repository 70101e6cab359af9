//! The engine without connection code: its requests go to the model as frames, without `offtake-net` in between.

use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes, BytesMut};
use offtake_machine::{Answer, BrokerId, CallError, Cluster, Target, Transmit};
use offtake_net::{Carrier, Completion, Lane};
use offtake_wire::{ApiKey, frame};
use tokio::time::Sleep;

use super::{Arrival, End, World, peek};
use crate::{clock, events::Who};

/// The wait after a refused dial, as by `reconnect.backoff.ms`.
const BACKOFF: Duration = Duration::from_millis(50);

/// Carries one member's requests.
pub(crate) struct Direct {
    world: World,
    who: Who,
    /// Whether it belongs to the member's producer.
    produces: bool,
    brokers: Vec<i32>,
    bootstrap: i32,
    lines: BTreeMap<(i32, Lane), u64>,
    waiting: BTreeMap<i32, Waiting>,
    correlation: i32,
    ready: VecDeque<(Instant, Completion)>,
    sleep: Option<Pin<Box<Sleep>>>,
    turn: usize,
}

/// A request without an answer.
struct Waiting {
    tag: u64,
    line: u64,
    broker: i32,
    api: ApiKey,
    version: i16,
    deadline: Instant,
    timeout: Duration,
}

impl Direct {
    pub(crate) fn new(world: World, who: Who, brokers: i32) -> Self {
        Self {
            world,
            who,
            produces: false,
            brokers: Vec::new(),
            bootstrap: brokers,
            lines: BTreeMap::new(),
            waiting: BTreeMap::new(),
            correlation: 0,
            ready: VecDeque::new(),
            sleep: None,
            turn: 0,
        }
    }

    /// For the member's producer.
    pub(crate) fn of_producer(world: World, who: Who, brokers: i32) -> Self {
        let mut this = Self::new(world, who, brokers);
        this.produces = true;
        this
    }

    fn client(&self) -> String {
        if self.produces { crate::copying::client_id(self.who) } else { self.who.to_string() }
    }

    fn fail(&mut self, after: Duration, tag: u64, error: CallError) {
        self.ready.push_back((clock::now() + after, Completion { tag, result: Err(error) }));
    }

    fn line_to(&mut self, broker: i32, lane: Lane) -> Option<u64> {
        if let Some(line) = self.lines.get(&(broker, lane)).copied() {
            let usable = self.world.lock().lines.get(&line).is_some_and(|line| line.end.is_none());
            if usable {
                return Some(line);
            }
            // The connection ended, and `collect` has not seen it: after this it could not.
            self.lines.remove(&(broker, lane));
            self.lost(line);
        }
        let line = self.world.with(|state, now| state.open_line(now, (self.who, self.produces), broker))?;
        self.lines.insert((broker, lane), line);
        Some(line)
    }

    /// Collects complete answers that have arrived, and connections that have ended.
    fn collect(&mut self, cx: &Context<'_>) {
        let (mut answers, mut ended) = (Vec::new(), Vec::new());
        {
            let mut state = self.world.lock();
            for (key, id) in &self.lines {
                let Some(line) = state.lines.get_mut(id) else {
                    ended.push((*key, *id));
                    continue;
                };
                while let Some(frame) = whole(&mut line.readable) {
                    answers.push((*id, frame));
                }
                match line.end {
                    Some(_) => ended.push((*key, *id)),
                    None => line.reader = Some(cx.waker().clone()),
                }
            }
        }
        for (line, frame) in answers {
            self.answered(line, frame);
        }
        for (key, line) in ended {
            self.lines.remove(&key);
            self.lost(line);
        }
    }

    fn answered(&mut self, line: u64, frame: Bytes) {
        let Some(correlation) = frame.get(..4).and_then(|id| id.try_into().ok()).map(i32::from_be_bytes)
        else {
            return;
        };
        let Some(waiting) = self.waiting.remove(&correlation).filter(|waiting| waiting.line == line) else {
            return;
        };
        let Waiting { tag, broker, api, version, .. } = waiting;
        let (from, memory) = (Some(BrokerId(broker)), frame.len());
        let result = match frame::decode_response(frame, api, version) {
            Ok(decoded) => Ok(Answer { from, version, memory, response: decoded.response }),
            Err(source) => Err(CallError::Malformed { address: address(broker), api, source }),
        };
        self.ready.push_back((clock::now(), Completion { tag, result }));
    }

    fn lost(&mut self, line: u64) {
        self.world.with(|state, now| state.at(now, Arrival::CloseAtBroker { line }));
        let gone: Vec<i32> =
            self.waiting.iter().filter(|(_, waiting)| waiting.line == line).map(|(id, _)| *id).collect();
        for correlation in gone {
            if let Some(waiting) = self.waiting.remove(&correlation) {
                let error = CallError::Disconnected {
                    address: address(waiting.broker),
                    reason: "it is gone".to_owned(),
                };
                self.fail(Duration::ZERO, waiting.tag, error);
            }
        }
    }

    /// A call that times out closes its connection.
    fn time_out(&mut self, now: Instant) {
        let late: Vec<i32> =
            self.waiting.iter().filter(|(_, waiting)| waiting.deadline <= now).map(|(id, _)| *id).collect();
        for correlation in late {
            let Some(waiting) = self.waiting.remove(&correlation) else { continue };
            let Waiting { tag, line, broker, api, timeout, .. } = waiting;
            self.fail(
                Duration::ZERO,
                tag,
                CallError::TimedOut { address: address(broker), api, after: timeout },
            );
            self.end(line);
        }
    }

    fn end(&self, line: u64) {
        let mut state = self.world.lock();
        state.disconnected(line);
        if let Some(line) = state.lines.get_mut(&line) {
            line.end = Some(End::Reset);
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let waiting = self.waiting.values().map(|waiting| waiting.deadline);
        let ready = self.ready.iter().map(|(at, _)| *at);
        waiting.chain(ready).min()
    }
}

impl Carrier for Direct {
    fn send(&mut self, tag: u64, lane: Lane, transmit: Transmit) {
        let Transmit { to, request, max_version, timeout, prompt, .. } = transmit;
        let broker = match to {
            Target::Broker(broker) => broker.0,
            Target::Any | Target::Other(_) => {
                self.turn += 1;
                let is_wanted = |broker: &&i32| to != Target::Other(BrokerId(**broker));
                let known: Vec<i32> = self.brokers.iter().filter(is_wanted).copied().collect();
                match known.get(self.turn % known.len().max(1)) {
                    Some(broker) => *broker,
                    None => 1 + i32::try_from(self.turn).unwrap_or(0) % self.bootstrap.max(1),
                }
            }
        };
        let Some(line) = self.line_to(broker, lane) else {
            let error = CallError::Unreachable {
                address: address(broker),
                reason: "connection refused".to_owned(),
                not_kafka: false,
            };
            return self.fail(BACKOFF, tag, error);
        };
        let api = request.api_key();
        let ours = api.versions();
        let theirs = self.world.lock().model.versions(broker, api as i16);
        let version = theirs
            .map(|(min, max)| (min.max(ours.min), max.min(ours.max).min(max_version.unwrap_or(i16::MAX))))
            .filter(|(min, max)| min <= max);
        let Some((_, version)) = version else {
            return self.fail(Duration::ZERO, tag, CallError::Unsupported { address: address(broker), api });
        };
        self.correlation = self.correlation.wrapping_add(1);
        let frame = match frame::encode_request(self.correlation, Some(&self.client()), version, &request) {
            Ok(frame) => frame.slice(4..),
            Err(error) => {
                let reason = error.to_string();
                let error = CallError::Unreachable { address: address(broker), reason, not_kafka: false };
                return self.fail(Duration::ZERO, tag, error);
            }
        };
        let timeout = match prompt {
            Some(prompt) if version >= prompt.since => timeout.min(prompt.timeout),
            _ => timeout,
        };
        let deadline = clock::now() + timeout;
        self.waiting.insert(self.correlation, Waiting { tag, line, broker, api, version, deadline, timeout });
        peek::request(&self.world.log, self.who, &frame);
        self.world.with(|state, now| state.travel(now, Arrival::ToBroker { line, frame }));
    }

    /// All unanswered requests were written at once, so nothing can be withdrawn. If the call is on the join lane, its connection ends.
    fn withdraw(&mut self, tag: u64) {
        let Some(waiting) = self.waiting.values().find(|waiting| waiting.tag == tag) else { return };
        if self.lines.get(&(waiting.broker, Lane::Join)) == Some(&waiting.line) {
            self.end(waiting.line);
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Completion> {
        if self.world.is_frozen(self.who.member, cx) {
            return Poll::Pending;
        }
        loop {
            let now = clock::now();
            self.collect(cx);
            self.time_out(now);
            if let Some(at) = self.ready.iter().position(|(at, _)| *at <= now)
                && let Some((_, completion)) = self.ready.remove(at)
            {
                return Poll::Ready(completion);
            }
            let Some(deadline) = self.next_deadline() else {
                self.sleep = None;
                return Poll::Pending;
            };
            let sleep = self.sleep.insert(Box::pin(tokio::time::sleep_until(deadline.into())));
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn update_brokers(&mut self, cluster: &Cluster) {
        self.brokers = cluster.brokers.keys().map(|id| id.0).collect();
    }

    fn learn_broker(&mut self, _: BrokerId, _: &str, _: u16) {}

    fn forget_brokers(&mut self) {
        self.brokers.clear();
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        let lines: Vec<u64> = self.lines.values().copied().collect();
        self.world.with(|state, now| {
            for line in lines {
                state.travel(now, Arrival::CloseAtBroker { line });
            }
        });
    }
}

fn address(broker: i32) -> String {
    format!("broker {broker}")
}

fn whole(bytes: &mut BytesMut) -> Option<Bytes> {
    let length = usize::try_from(i32::from_be_bytes(bytes.get(..4)?.try_into().ok()?)).ok()?;
    if bytes.len() < 4 + length {
        return None;
    }
    bytes.advance(4);
    Some(bytes.split_to(length).freeze())
}
