//! Applies rules to one request and to its answer.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{RequestKind, ResponseKind};

use super::{
    AfterAnswer, DelayedAction, Delivery, Pending, RuleId, failure,
    rewrite::{Answered, corrupt_records, draw, flip},
    rule::{Corrupt, Fault, FaultRule, Rewrite},
    subject, throttle,
};
use crate::{
    api,
    model::Model,
    request::{Context, Reply},
};

/// The message that a rule is matched against.
enum Matched<'a> {
    Request(&'a RequestKind),
    Answer(&'a ResponseKind),
}

impl Model {
    /// Applies rules to a request. Returns what happens instead of handling it; `None` lets it through.
    pub(crate) fn apply_to_request(&mut self, context: &Context, request: &RequestKind) -> Option<Reply> {
        if self.faults.rules.is_empty() {
            return None;
        }
        let mut pending = Pending::default();
        let mut instead = None;
        for (id, rule) in self.matching_rules(context, &Matched::Request(request), &mut pending) {
            if instead.is_none() {
                instead = self.keep_from(context, request, id, &rule.fault);
            }
            pending.rules.push((id, rule));
        }
        self.faults.pending.insert(context.connection, pending);
        instead
    }

    /// Applies the fault to a request that is not handled, or not yet; `None` when the fault concerns the answer.
    fn keep_from(
        &mut self,
        context: &Context,
        request: &RequestKind,
        rule: RuleId,
        fault: &Fault,
    ) -> Option<Reply> {
        let serve = || DelayedAction::Serve { context: context.clone(), request: Box::new(request.clone()) };
        match fault {
            Fault::Drop => Some(Reply::Later),
            Fault::Skip => Some(Reply::Nothing),
            Fault::Reset => Some(Reply::Close),
            Fault::Late(time) => {
                self.faults.at(self.now + *time, serve());
                Some(Reply::Later)
            }
            Fault::HoldRequest => {
                self.faults.held.entry(rule).or_default().push(serve());
                Some(Reply::Later)
            }
            Fault::Fail(code) => {
                Some(failure::answer(request, context.version, *code).map_or(Reply::Close, Reply::from))
            }
            Fault::Swallow
            | Fault::ApplyThenLose
            | Fault::Delay(_)
            | Fault::Hold
            | Fault::Cut(_)
            | Fault::Raw(_)
            | Fault::Corrupt(_)
            | Fault::Throttle(_)
            | Fault::Rewrite(_) => None,
        }
    }

    /// Records that a request without an answer was handled.
    pub(crate) fn unanswered(&mut self, context: &Context) {
        let pending = self.faults.pending.remove(&context.connection).unwrap_or_default();
        let then = pending.rules.iter().fold(AfterAnswer::Next, |then, (_, rule)| match rule.fault {
            Fault::ApplyThenLose | Fault::Cut(_) | Fault::Raw(_) => AfterAnswer::Close,
            Fault::Swallow => AfterAnswer::Silence,
            Fault::Throttle(time) => AfterAnswer::Mute(time),
            _ => then,
        });
        self.deliver(Delivery { connection: context.connection, broker: context.broker, bytes: None, then });
    }

    /// Sends an answer, unless a rule decides otherwise. The connection's next request is then served.
    pub(crate) fn send(&mut self, context: &Context, mut response: ResponseKind) {
        let mut pending = self.faults.pending.remove(&context.connection).unwrap_or_default();
        if !self.faults.rules.is_empty() {
            let late = self.matching_rules(context, &Matched::Answer(&response), &mut pending);
            pending.rules.extend(late.into_iter().map(|(id, rule)| (id, for_answer_only(rule))));
        }
        for (_, rule) in &pending.rules {
            self.change(context, rule, &mut response);
        }
        let mut bytes = match api::encode(context, &response) {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::error!(?context, %error, "an answer could not be encoded");
                return self.close(context.connection);
            }
        };
        let mut then = AfterAnswer::Next;
        let mut sent = true;
        let mut delay = None;
        let mut held = None;
        for (id, rule) in &pending.rules {
            match &rule.fault {
                Fault::Swallow => (sent, then) = (false, AfterAnswer::Silence),
                Fault::ApplyThenLose => (sent, then) = (false, AfterAnswer::Close),
                Fault::Cut(length) => {
                    bytes.truncate(*length);
                    then = AfterAnswer::Close;
                }
                Fault::Raw(raw) => {
                    bytes = raw.clone();
                    then = AfterAnswer::Close;
                }
                Fault::Corrupt(Corrupt::Frame) => bytes = self.corrupt_frame(bytes, None),
                Fault::Corrupt(Corrupt::FrameAt(at)) => bytes = self.corrupt_frame(bytes, Some(*at)),
                Fault::Throttle(time) if then == AfterAnswer::Next => then = AfterAnswer::Mute(*time),
                Fault::Delay(time) => delay = Some(delay.map_or(*time, |other| *time + other)),
                Fault::Hold => held = Some(*id),
                // Applied before: to the request, or to the response in `change`.
                Fault::Drop
                | Fault::Skip
                | Fault::Reset
                | Fault::Late(_)
                | Fault::HoldRequest
                | Fault::Fail(_)
                | Fault::Corrupt(Corrupt::Records | Corrupt::RecordsAt(_))
                | Fault::Throttle(_)
                | Fault::Rewrite(_) => {}
            }
        }
        let bytes = sent.then_some(bytes);
        let delivery = Delivery { connection: context.connection, broker: context.broker, bytes, then };
        match (held, delay) {
            (Some(rule), _) => {
                self.faults.held.entry(rule).or_default().push(DelayedAction::Deliver(delivery))
            }
            (None, Some(delay)) => self.faults.at(self.now + delay, DelayedAction::Deliver(delivery)),
            (None, None) => self.deliver(delivery),
        }
    }

    fn change(&mut self, context: &Context, rule: &FaultRule, response: &mut ResponseKind) {
        let answered = Answered {
            version: context.version,
            drawn: self.faults.random.next(),
            topic: rule.topic.as_deref(),
            topics: &self.topics,
        };
        match &rule.fault {
            Fault::Rewrite(rewrite) => rewrite.apply(response, &answered),
            Fault::Corrupt(Corrupt::Records) => corrupt_records(response, &answered, None),
            Fault::Corrupt(Corrupt::RecordsAt(at)) => corrupt_records(response, &answered, Some(*at)),
            Fault::Throttle(time) => {
                throttle::set(response, i32::try_from(time.as_millis()).unwrap_or(i32::MAX));
            }
            _ => {}
        }
    }

    fn corrupt_frame(&mut self, bytes: Bytes, at: Option<usize>) -> Bytes {
        let drawn = self.faults.random.next();
        let at = at.unwrap_or_else(|| draw(drawn, BODY, bytes.len()));
        let mut bytes = BytesMut::from(bytes);
        flip(&mut bytes, at, drawn);
        bytes.freeze()
    }

    /// The rules that apply to this message. Counts the requests that match each rule's conditions.
    fn matching_rules(
        &mut self,
        context: &Context,
        matched: &Matched<'_>,
        pending: &mut Pending,
    ) -> Vec<(RuleId, FaultRule)> {
        let mut matching = Vec::new();
        for (id, active) in &mut self.faults.rules {
            let rule = &active.rule;
            let about = rule.api.is_none_or(|api| api.number() == context.key as i16)
                && rule.broker.is_none_or(|broker| broker == context.broker)
                && rule.client.as_ref().is_none_or(|prefix| {
                    context.client_id.as_ref().is_some_and(|client| client.starts_with(prefix.as_str()))
                })
                && rule.from.is_none_or(|from| from <= self.now)
                && rule.until.is_none_or(|until| self.now < until);
            let about = about
                && match (matched, rule.topic.as_ref()) {
                    (Matched::Request(request), Some(topic)) => {
                        subject::names_topic(request, topic, &self.topics)
                    }
                    (Matched::Request(_), None) => true,
                    (Matched::Answer(answer), Some(topic)) => {
                        !pending.decided.contains(id) && subject::carries_topic(answer, topic, &self.topics)
                    }
                    (Matched::Answer(_), None) => false,
                };
            let about = about
                && match (matched, rule.group.as_ref()) {
                    (Matched::Request(request), Some(group)) => subject::names_group(request, group),
                    (_, group) => group.is_none(),
                };
            if !about {
                continue;
            }
            pending.decided.insert(*id);
            active.seen += 1;
            if rule.often.selects(active.seen, || self.faults.random.next()) {
                active.hits += 1;
                matching.push((*id, rule.clone()));
            }
        }
        matching
    }
}

/// Adapts a rule that was matched only by the answer: as the request was handled already, the fault becomes the nearest
/// one that concerns the answer.
fn for_answer_only(rule: FaultRule) -> FaultRule {
    let fault = match rule.fault {
        Fault::Drop | Fault::Skip => Fault::Swallow,
        Fault::Reset => Fault::ApplyThenLose,
        Fault::Late(time) => Fault::Delay(time),
        Fault::HoldRequest => Fault::Hold,
        Fault::Fail(code) => Rewrite::partitions_fail(code).into(),
        fault => fault,
    };
    FaultRule { fault, ..rule }
}

/// The first byte of an answer after its length and its correlation id.
const BODY: usize = 8;
