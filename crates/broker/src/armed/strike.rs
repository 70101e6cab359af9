//! What rules make of one request and of its answer.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{RequestKind, ResponseKind};

use super::{
    Delivery, Later, Pending, RuleId, Then, failure,
    rewrite::{Answered, corrupt_records, draw, flip},
    rule::{Corrupt, Harm, Rewrite, Rule},
    subject, throttle,
};
use crate::{
    api,
    model::Model,
    request::{Context, Reply},
};

/// What a rule that looks at a request may see.
enum Seen<'a> {
    Request(&'a RequestKind),
    Answer(&'a ResponseKind),
}

impl Model {
    /// What rules make of a request, instead of an answer; `None` lets it through.
    pub(crate) fn strike(&mut self, context: &Context, request: &RequestKind) -> Option<Reply> {
        if self.arms.rules.is_empty() {
            return None;
        }
        let mut pending = Pending::default();
        let mut instead = None;
        for (id, rule) in self.struck(context, &Seen::Request(request), &mut pending) {
            if instead.is_none() {
                instead = self.keep_from(context, request, id, &rule.harm);
            }
            pending.rules.push((id, rule));
        }
        self.arms.pending.insert(context.connection, pending);
        instead
    }

    /// What happens to a request that is not handled, or not yet; `None` when the harm is of another kind.
    fn keep_from(
        &mut self,
        context: &Context,
        request: &RequestKind,
        rule: RuleId,
        harm: &Harm,
    ) -> Option<Reply> {
        let serve = || Later::Serve { context: context.clone(), request: Box::new(request.clone()) };
        match harm {
            Harm::Drop => Some(Reply::Later),
            Harm::Skip => Some(Reply::Nothing),
            Harm::Reset => Some(Reply::Close),
            Harm::Late(time) => {
                self.arms.at(self.now + *time, serve());
                Some(Reply::Later)
            }
            Harm::HoldRequest => {
                self.arms.held.entry(rule).or_default().push(serve());
                Some(Reply::Later)
            }
            Harm::Fail(code) => {
                Some(failure::answer(request, context.version, *code).map_or(Reply::Close, Reply::from))
            }
            Harm::Swallow
            | Harm::ApplyThenLose
            | Harm::Delay(_)
            | Harm::Hold
            | Harm::Cut(_)
            | Harm::Raw(_)
            | Harm::Corrupt(_)
            | Harm::Throttle(_)
            | Harm::Rewrite(_) => None,
        }
    }

    /// A request that wants no answer is done.
    pub(crate) fn unanswered(&mut self, context: &Context) {
        let pending = self.arms.pending.remove(&context.connection).unwrap_or_default();
        let then = pending.rules.iter().fold(Then::Next, |then, (_, rule)| match rule.harm {
            Harm::ApplyThenLose | Harm::Cut(_) | Harm::Raw(_) => Then::Close,
            Harm::Swallow => Then::Silence,
            Harm::Throttle(time) => Then::Mute(time),
            _ => then,
        });
        self.deliver(Delivery { connection: context.connection, broker: context.broker, bytes: None, then });
    }

    /// An answer goes out, unless a rule wants otherwise. The connection may go on.
    pub(crate) fn send(&mut self, context: &Context, mut response: ResponseKind) {
        let mut pending = self.arms.pending.remove(&context.connection).unwrap_or_default();
        if !self.arms.rules.is_empty() {
            let late = self.struck(context, &Seen::Answer(&response), &mut pending);
            pending.rules.extend(late.into_iter().map(|(id, rule)| (id, after_the_fact(rule))));
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
        let mut then = Then::Next;
        let mut sent = true;
        let mut delay = None;
        let mut held = None;
        for (id, rule) in &pending.rules {
            match &rule.harm {
                Harm::Swallow => (sent, then) = (false, Then::Silence),
                Harm::ApplyThenLose => (sent, then) = (false, Then::Close),
                Harm::Cut(length) => {
                    bytes.truncate(*length);
                    then = Then::Close;
                }
                Harm::Raw(raw) => {
                    bytes = raw.clone();
                    then = Then::Close;
                }
                Harm::Corrupt(Corrupt::Frame) => bytes = self.corrupt_frame(bytes, None),
                Harm::Corrupt(Corrupt::FrameAt(at)) => bytes = self.corrupt_frame(bytes, Some(*at)),
                Harm::Throttle(time) if then == Then::Next => then = Then::Mute(*time),
                Harm::Delay(time) => delay = Some(delay.map_or(*time, |other| *time + other)),
                Harm::Hold => held = Some(*id),
                // Seen to, of the request or of the response.
                Harm::Drop
                | Harm::Skip
                | Harm::Reset
                | Harm::Late(_)
                | Harm::HoldRequest
                | Harm::Fail(_)
                | Harm::Corrupt(Corrupt::Records | Corrupt::RecordsAt(_))
                | Harm::Throttle(_)
                | Harm::Rewrite(_) => {}
            }
        }
        let bytes = sent.then_some(bytes);
        let delivery = Delivery { connection: context.connection, broker: context.broker, bytes, then };
        match (held, delay) {
            (Some(rule), _) => self.arms.held.entry(rule).or_default().push(Later::Deliver(delivery)),
            (None, Some(delay)) => self.arms.at(self.now + delay, Later::Deliver(delivery)),
            (None, None) => self.deliver(delivery),
        }
    }

    fn change(&mut self, context: &Context, rule: &Rule, response: &mut ResponseKind) {
        let answered = Answered {
            version: context.version,
            drawn: self.arms.random.next(),
            topic: rule.topic.as_deref(),
            topics: &self.topics,
        };
        match &rule.harm {
            Harm::Rewrite(rewrite) => rewrite.apply(response, &answered),
            Harm::Corrupt(Corrupt::Records) => corrupt_records(response, &answered, None),
            Harm::Corrupt(Corrupt::RecordsAt(at)) => corrupt_records(response, &answered, Some(*at)),
            Harm::Throttle(time) => {
                throttle::set(response, i32::try_from(time.as_millis()).unwrap_or(i32::MAX));
            }
            _ => {}
        }
    }

    fn corrupt_frame(&mut self, bytes: Bytes, at: Option<usize>) -> Bytes {
        let drawn = self.arms.random.next();
        let at = at.unwrap_or_else(|| draw(drawn, BODY, bytes.len()));
        let mut bytes = BytesMut::from(bytes);
        flip(&mut bytes, at, drawn);
        bytes.freeze()
    }

    /// The rules that strike here. Counts what it looks at.
    fn struck(&mut self, context: &Context, seen: &Seen<'_>, pending: &mut Pending) -> Vec<(RuleId, Rule)> {
        let mut struck = Vec::new();
        for (id, armed) in &mut self.arms.rules {
            let rule = &armed.rule;
            let about = rule.api.is_none_or(|api| api.number() == context.key as i16)
                && rule.broker.is_none_or(|broker| broker == context.broker)
                && rule.client.as_ref().is_none_or(|prefix| {
                    context.client_id.as_ref().is_some_and(|client| client.starts_with(prefix.as_str()))
                })
                && rule.from.is_none_or(|from| from <= self.now)
                && rule.until.is_none_or(|until| self.now < until);
            let about = about
                && match (seen, rule.topic.as_ref()) {
                    (Seen::Request(request), Some(topic)) => {
                        subject::names_topic(request, topic, &self.topics)
                    }
                    (Seen::Request(_), None) => true,
                    (Seen::Answer(answer), Some(topic)) => {
                        !pending.decided.contains(id) && subject::carries_topic(answer, topic, &self.topics)
                    }
                    (Seen::Answer(_), None) => false,
                };
            let about = about
                && match (seen, rule.group.as_ref()) {
                    (Seen::Request(request), Some(group)) => subject::names_group(request, group),
                    (_, group) => group.is_none(),
                };
            if !about {
                continue;
            }
            pending.decided.insert(*id);
            armed.seen += 1;
            if rule.often.strikes(armed.seen, || self.arms.random.next()) {
                armed.hits += 1;
                struck.push((*id, rule.clone()));
            }
        }
        struck
    }
}

/// A rule that only the answer told us strikes: the request was handled already.
fn after_the_fact(rule: Rule) -> Rule {
    let harm = match rule.harm {
        Harm::Drop | Harm::Skip => Harm::Swallow,
        Harm::Reset => Harm::ApplyThenLose,
        Harm::Late(time) => Harm::Delay(time),
        Harm::HoldRequest => Harm::Hold,
        Harm::Fail(code) => Rewrite::partitions_fail(code).into(),
        harm => harm,
    };
    Rule { harm, ..rule }
}

/// The first byte of an answer after its length and its correlation id.
const BODY: usize = 8;
