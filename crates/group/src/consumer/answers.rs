//! What the coordinator's answers to ConsumerGroupHeartbeat mean.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use offtake_machine::{Answer, Call, CallError, CallId};
use offtake_wire::{
    ErrorCode, Response, Uuid,
    messages::consumer_group_heartbeat::{Assignment, ConsumerGroupHeartbeatResponse},
};

use super::{Consumer, state::State};
use crate::event::{Event, GroupError};

/// The shortest heartbeat interval that a broker may ask for (FAILURES §3 row 51).
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
/// The first ConsumerGroupHeartbeat version with patterns.
const PATTERNS_SINCE: i16 = 1;
/// Times that we ask again after a code that says nothing: one we have never heard of (Q4), or UNKNOWN_SERVER_ERROR.
const UNKNOWN_CODE_RETRIES: u32 = 5;

impl Consumer {
    pub(crate) fn handle_answer(&mut self, now: Instant, id: CallId, answer: Result<Answer, CallError>) {
        if self.session_timeout.awaits(id) {
            if let Some(timeout) = self.session_timeout.handle_answer(now, id, answer) {
                self.learn_session_timeout(timeout);
            }
            return;
        }
        if !self.state.call_mut().is_some_and(|call| call.take(id)) {
            return; // answers a call we have given up
        }
        match answer {
            Ok(Answer { version, response: Response::ConsumerGroupHeartbeat(beat), .. }) => {
                match self.state {
                    State::Leaving { .. } if beat.error_code.is_retriable() => self.refused(now, beat),
                    // Who is not known has left. Other refusals will not get better in the little time there is (F9).
                    State::Leaving { .. } => self.gone(now),
                    _ if version < PATTERNS_SINCE && !self.pattern.is_empty() => {
                        let what = "its consumer protocol has no patterns (KIP-848, Kafka 4.0); subscribe_patterns matches here";
                        let group = self.config.group.clone();
                        let error = GroupError::UnsupportedVersion { group, what: what.into() };
                        // It may have taken us in, subscribed to nothing.
                        let known = beat.error_code.is_ok() || matches!(self.state, State::Member { .. });
                        self.fail_and_leave(now, error, known);
                    }
                    _ if beat.error_code.is_ok() => self.beaten(now, beat),
                    _ => self.refused(now, beat),
                }
            }
            Ok(_) => self.retry(now, "an answer to another question"),
            Err(error) => self.unanswered(now, &error),
        }
    }

    fn beaten(&mut self, now: Instant, beat: ConsumerGroupHeartbeatResponse) {
        if beat.member_epoch <= 0 && matches!(self.state, State::Joining { .. }) {
            return self.retry(now, "an answer to a join without an epoch");
        }
        self.health.worked(&mut self.outbox);
        self.unreleased_since = None;
        if let Some(id) = beat.member_id.filter(|id| !id.is_empty()) {
            self.member_id = id;
        }
        if beat.member_epoch > 0 {
            self.epoch = beat.member_epoch;
        }
        if let Ok(wanted @ 1..) = u64::try_from(beat.heartbeat_interval_ms) {
            // A member that beats more rarely than the session allows is out, whatever the broker said (row 51).
            let longest = (self.config.session_timeout / 3).max(SHORTEST_INTERVAL);
            self.interval = Duration::from_millis(wanted).clamp(SHORTEST_INTERVAL, longest);
        }
        let sent = self.sent.map(|(at, _)| at);
        self.alive = self.alive.max(sent);
        self.deadline = sent.and_then(|at| at.checked_add(self.config.session_timeout)).max(self.deadline);
        if matches!(self.state, State::Joining { .. }) {
            self.news_may_come(now, self.interval.saturating_mul(2));
        }
        let next = self.pace.next(now, sent.map_or(now, |at| at + self.interval));
        let at = if std::mem::take(&mut self.hurry) { now } else { next };
        self.state = State::Member { call: Call::Due(at) };
        let unheard_since = self.unheard_since.take();
        // What we have let go of after this one left, the broker does not know yet.
        if self.holding.is_settled() && !self.say.owned {
            self.giving_up_since = None;
        }
        if let Some(target) = beat.assignment.map(partitions)
            // Who has said everything is told everything again.
            && !(self.announced == Some(self.epoch) && self.holding.is_as_wanted(&target))
            && self.holding.wants(target)
        {
            self.giving_up_since = self.giving_up_since.or(unheard_since);
        }
        self.reconcile(now);
    }

    fn refused(&mut self, now: Instant, beat: ConsumerGroupHeartbeatResponse) {
        let group = || self.config.group.clone();
        let code = beat.error_code;
        let error = match code {
            ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable => {
                self.coordinator_lost();
                return self.retry(now, code.name());
            }
            // The group has forgotten us, or moved on: back under the same name (F1, C8).
            ErrorCode::UnknownMemberId | ErrorCode::FencedMemberEpoch => return self.lost(now),
            ErrorCode::GroupIdNotFound if matches!(self.state, State::Member { .. }) => {
                return self.lost(now);
            }
            ErrorCode::UnreleasedInstanceId => match self.unreleased_since {
                // A crashed predecessor holds it no longer than its session (G6).
                Some(since) if since + self.config.session_timeout <= now => {
                    GroupError::UnreleasedInstanceId { group: group(), instance_id: self.instance_id() }
                }
                since => {
                    self.unreleased_since = Some(since.unwrap_or(now));
                    return self.retry(now, code.name());
                }
            },
            // Of one topic among others: the membership stays, and the broker assigns what may be read (B8, O5).
            ErrorCode::TopicAuthorizationFailed => return self.retry(now, code.name()),
            ErrorCode::UnknownServerError | ErrorCode::Unknown(_)
                if self.health.failures() < UNKNOWN_CODE_RETRIES =>
            {
                return self.retry(now, code.name());
            }
            code if code.is_retriable() => return self.retry(now, code.name()),
            ErrorCode::InvalidRegularExpression => {
                let error = GroupError::InvalidPattern {
                    group: group(),
                    pattern: self.pattern.clone(),
                    reason: beat.error_message.unwrap_or_else(|| code.name().into()),
                };
                let known = matches!(self.state, State::Member { .. });
                return self.fail_and_leave(now, error, known);
            }
            ErrorCode::FencedInstanceId => self.fenced(),
            ErrorCode::GroupAuthorizationFailed => GroupError::GroupAuthorizationFailed { group: group() },
            ErrorCode::GroupMaxSizeReached => GroupError::GroupMaxSizeReached { group: group() },
            ErrorCode::UnsupportedVersion => {
                let what = beat.error_message.unwrap_or_else(|| "it has no consumer protocol".into());
                GroupError::UnsupportedVersion { group: group(), what: format!("{what}; {USE_CLASSIC}") }
            }
            code => GroupError::Refused { group: group(), code, message: beat.error_message },
        };
        self.fail(error);
    }

    fn unanswered(&mut self, now: Instant, error: &CallError) {
        match error {
            CallError::Unsupported { .. } => {
                return self.fail(GroupError::UnsupportedVersion {
                    group: self.config.group.clone(),
                    what: format!("{error}; {USE_CLASSIC}"),
                });
            }
            CallError::Unreachable { .. }
            | CallError::Disconnected { .. }
            | CallError::TimedOut { .. }
            | CallError::UnknownBroker(_) => self.coordinator_lost(),
            CallError::Malformed { .. } | CallError::TooLarge { .. } => {}
        }
        self.retry(now, &error.to_string());
    }

    /// Again, after a while. Whether the broker has heard the last one nobody knows, so the next says everything: with
    /// an old epoch it is believed only together with what we own (F1).
    pub(super) fn retry(&mut self, now: Instant, why: &str) {
        let state = self.state_name();
        let at = self.health.failed(now, &mut self.outbox, || format!("{state}: {why}"));
        self.say.everything = true;
        self.hurry = false;
        let at = match self.state {
            State::Member { .. } => at.min(now + self.interval),
            _ => at,
        };
        if let Some(call) = self.state.call_mut() {
            *call = Call::Due(at);
        }
    }

    pub(super) fn coordinator_lost(&mut self) {
        if let Some((_, broker)) = self.sent {
            self.outbox.push(Event::CoordinatorLost(broker));
        }
    }

    fn instance_id(&self) -> String {
        self.config.instance_id.clone().unwrap_or_default()
    }

    pub(super) fn fenced(&self) -> GroupError {
        GroupError::FencedInstanceId { group: self.config.group.clone(), instance_id: self.instance_id() }
    }
}

const USE_CLASSIC: &str = "group.protocol=consumer needs Kafka 4.0 or newer, group.protocol=classic does not";

/// Each partition once (F5).
fn partitions(assignment: Assignment) -> BTreeSet<(Uuid, i32)> {
    let each = assignment.topic_partitions.into_iter().filter(|topic| !topic.topic_id.is_zero());
    each.flat_map(|topic| topic.partitions.into_iter().filter(|p| *p >= 0).map(move |p| (topic.topic_id, p)))
        .collect()
}
