//! The coordinator's responses to ConsumerGroupHeartbeat.

use std::{
    collections::BTreeSet,
    mem,
    time::{Duration, Instant},
};

use offtake_machine::{Answer, CallError, CallId, broker_text};
use offtake_wire::{
    ErrorCode, Response, Uuid,
    messages::consumer_group_heartbeat::{Assignment, ConsumerGroupHeartbeatResponse},
};

use super::{Consumer, requests::STATIC_LEAVE, state::State};
use crate::{
    call::{CoordinatorCall, Sent},
    config::{MOST_ASSIGNED, TOO_MANY},
    core::{AfterLeaving, Verdict},
    event::GroupError,
};

/// The shortest heartbeat interval that is accepted from a broker (FAILURES INPUT51).
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
/// The first ConsumerGroupHeartbeat version with patterns.
const PATTERNS_SINCE: i16 = 1;

impl Consumer {
    pub(crate) fn handle_answer(&mut self, now: Instant, id: CallId, answer: Result<Answer, CallError>) {
        if self.session_timeout.awaits(id) {
            if let Some(timeout) = self.session_timeout.handle_answer(now, id, answer) {
                self.learn_session_timeout(timeout);
            }
            return;
        }
        let Some(sent) = self.state.heartbeat_mut().and_then(|heartbeat| heartbeat.take(id)) else {
            return; // an answer to a call that was given up
        };
        match answer {
            Ok(Answer { version, response: Response::ConsumerGroupHeartbeat(answer), .. }) => {
                match self.state {
                    State::Leaving { .. } if answer.error_code.is_retriable() => {
                        self.on_error_code(now, sent, answer);
                    }
                    // It was sent before the application decided to leave for good.
                    State::Leaving { ref mut heartbeat, .. } if mem::take(&mut self.heartbeat_at_once) => {
                        *heartbeat = CoordinatorCall::due(now);
                    }
                    // An unknown member has left already. Other errors will not pass in the little time that
                    // is left (FAILURES F9).
                    State::Leaving { .. } => self.finish_leaving(now),
                    _ if version < PATTERNS_SINCE && !self.pattern.is_empty() => {
                        // The broker may have added the member without a subscription.
                        let known = answer.error_code.is_ok() || matches!(self.state, State::Member { .. });
                        let error = self.core.too_old_error(NO_PATTERNS);
                        self.fail_and_leave(now, error, known);
                    }
                    _ if answer.error_code.is_ok() => self.on_heartbeat(now, sent, answer),
                    _ => self.on_error_code(now, sent, answer),
                }
            }
            Ok(_) => self.retry(now, "unexpected response type"),
            Err(error) => {
                self.unreleased_since = None;
                match self.core.classify_call_error(sent, &error, USE_CLASSIC) {
                    Verdict::Retry => self.retry(now, &error.to_string()),
                    // A broker without the protocol has no member to forget.
                    Verdict::Fail(_) if matches!(self.state, State::Leaving { .. }) => {
                        self.finish_leaving(now)
                    }
                    Verdict::Fail(error) => self.fail(error),
                }
            }
        }
    }

    fn on_heartbeat(&mut self, now: Instant, sent: Sent, answer: ConsumerGroupHeartbeatResponse) {
        if answer.assignment.as_ref().is_some_and(|assignment| size(assignment) > MOST_ASSIGNED) {
            return self.retry(now, TOO_MANY);
        }
        // No other process has the instance id.
        self.unreleased_since = None;
        if answer.member_epoch <= 0 && matches!(self.state, State::Joining { .. }) {
            return self.retry(now, "the answer to a joining heartbeat has no epoch");
        }
        self.core.health.on_success(&mut self.core.outbox);
        if let Some(id) = answer.member_id.filter(|id| !id.is_empty()) {
            self.member_id = id;
        }
        if answer.member_epoch > 0 {
            self.epoch = answer.member_epoch;
        }
        let session_timeout = self.core.config.session_timeout;
        if let Ok(wanted @ 1..) = u64::try_from(answer.heartbeat_interval_ms) {
            // A member that sends heartbeats more rarely than the session allows is removed, whatever
            // interval the broker requested (FAILURES INPUT51).
            let longest = (session_timeout / 3).max(SHORTEST_INTERVAL);
            self.interval = Duration::from_millis(wanted).clamp(SHORTEST_INTERVAL, longest);
        }
        self.session.on_accepted(sent.at, session_timeout);
        if matches!(self.state, State::Joining { .. }) {
            self.expect_assignment_change(now, self.interval.saturating_mul(2));
        }
        let next = self.pacer.next(now, sent.at + self.interval);
        let at = if mem::take(&mut self.heartbeat_at_once) { now } else { next };
        self.state = State::Member { heartbeat: CoordinatorCall::due(at) };
        let unanswered_since = self.unanswered_since.take();
        // The broker waits for this member only until it knows about the revocation, even if partitions are
        // still to be added. It does not know yet about partitions that were revoked after this heartbeat was
        // sent.
        if !self.partitions.is_revoking() && !self.pending.owned {
            self.revoking_since = None;
        }
        if let Some(target) = answer.assignment.map(partitions)
            // The response to a full heartbeat has the full assignment, which may be the current one.
            && !(self.announced_epoch == Some(self.epoch) && self.partitions.is_at(&target))
        {
            // With each new target the broker begins to wait anew, even if an earlier revocation has not ended.
            let is_new = !self.partitions.is_on_the_way_to(&target);
            if self.partitions.set_target(target) && (is_new || self.revoking_since.is_none()) {
                self.revoking_since = unanswered_since.or(self.revoking_since);
            }
        }
        self.reconcile(now);
    }

    fn on_error_code(&mut self, now: Instant, sent: Sent, answer: ConsumerGroupHeartbeatResponse) {
        let group = || self.core.config.group.clone();
        let (code, words) = (answer.error_code, answer.error_message.as_deref().map(broker_text));
        if code != ErrorCode::UnreleasedInstanceId {
            // With another coordinator the session of the process before a restart starts again.
            self.unreleased_since = None;
        }
        let verdict = match code {
            // The group has removed this member, or has a newer epoch: rejoin with the same id (FAILURES F1,
            // C8).
            ErrorCode::UnknownMemberId | ErrorCode::FencedMemberEpoch => return self.lose_membership(now),
            ErrorCode::GroupIdNotFound if matches!(self.state, State::Member { .. }) => {
                return self.lose_membership(now);
            }
            ErrorCode::UnreleasedInstanceId => match self.unreleased_since {
                // A crashed process has it no longer than its session, which a coordinator that restarts
                // between two heartbeats starts again (FAILURES G6). If our process was stopped meanwhile,
                // the next response it reads answers a request from before the stop, so that request's time
                // counts.
                Some(since) if since + 2 * self.core.config.session_timeout <= sent.at => {
                    let instance_id = self.core.instance_id();
                    Verdict::Fail(GroupError::UnreleasedInstanceId { group: group(), instance_id })
                }
                // The owner may be this member itself: its session has ended only here, or not yet at the
                // coordinator. Only a member that has left temporarily can take over its own id; the request
                // of any other is refused.
                None if matches!(self.state, State::Joining { .. }) => {
                    self.unreleased_since = Some(now);
                    return self.start_leaving(now, STATIC_LEAVE, AfterLeaving::Join);
                }
                Some(_) | None => Verdict::Retry,
            },
            // One of several topics: the membership stays, and the broker assigns what may be read (FAILURES B8, O5).
            ErrorCode::TopicAuthorizationFailed => Verdict::Retry,
            ErrorCode::InvalidRegularExpression => {
                let reason = words.unwrap_or_else(|| code.name().into());
                let error =
                    GroupError::InvalidPattern { group: group(), pattern: self.pattern.clone(), reason };
                let known = matches!(self.state, State::Member { .. });
                return self.fail_and_leave(now, error, known);
            }
            ErrorCode::UnsupportedVersion => {
                let what = words.unwrap_or_else(|| "it has no consumer protocol".into());
                Verdict::Fail(self.core.too_old_error(format!("{what}{USE_CLASSIC}")))
            }
            ErrorCode::UnsupportedAssignor => {
                let words = words.unwrap_or_default();
                let message = Some(format!("see group.remote.assignor. {words}").trim_end().to_owned());
                Verdict::Fail(GroupError::Refused { group: group(), code, message })
            }
            code => self.core.classify_code(sent, code, words),
        };
        match verdict {
            Verdict::Retry if code == ErrorCode::UnreleasedInstanceId => {
                let id = self.core.instance_id();
                let why = format!(
                    "{}: group.instance.id {id} is in use; waiting until the member that has it leaves or its \
                     session expires",
                    code.name()
                );
                self.retry(now, &why);
            }
            Verdict::Retry => self.retry(now, code.name()),
            Verdict::Fail(error) => self.fail(error),
        }
    }

    /// Repeats the heartbeat, after a wait. The broker may or may not have received the last one, so the next one is full: a
    /// broker accepts an old epoch only together with the owned partitions (FAILURES F1).
    pub(super) fn retry(&mut self, now: Instant, why: &str) {
        let at = self.core.retry_at(now, self.state_name(), why);
        self.pending.full = true;
        self.heartbeat_at_once = false;
        let at = match self.state {
            State::Member { .. } => at.min(now + self.interval),
            _ => at,
        };
        if let Some(heartbeat) = self.state.heartbeat_mut() {
            *heartbeat = CoordinatorCall::due(at);
        }
    }
}

const USE_CLASSIC: &str =
    "; group.protocol=consumer needs Kafka 4.0 or newer, group.protocol=classic does not";
const NO_PATTERNS: &str =
    "its consumer protocol has no patterns (KIP-848, Kafka 4.0); subscribe_patterns matches in the client";

fn size(assignment: &Assignment) -> usize {
    assignment.topic_partitions.iter().map(|topic| topic.partitions.len()).sum()
}

/// The partitions of an assignment, each once (FAILURES F5).
fn partitions(assignment: Assignment) -> BTreeSet<(Uuid, i32)> {
    let each = assignment.topic_partitions.into_iter().filter(|topic| !topic.topic_id.is_zero());
    each.flat_map(|topic| topic.partitions.into_iter().filter(|p| *p >= 0).map(move |p| (topic.topic_id, p)))
        .collect()
}
