//! The coordinator's responses: first the codes that Kafka documents for the request, then the general
//! meaning of a code.

use std::{
    mem,
    time::{Duration, Instant},
};

use offtake_machine::{Answer, BrokerId, CallError, CallId};
use offtake_wire::{
    ErrorCode, Response,
    messages::{
        heartbeat::HeartbeatResponse, join_group::JoinGroupResponse, leave_group::LeaveGroupResponse,
        sync_group::SyncGroupResponse,
    },
};

use super::{
    Classic,
    assigned::assignment,
    follow_up::FollowUp,
    lead::Lead,
    leader_marker::LeaderMarker,
    requests::PROTOCOL_TYPE,
    state::{CallKind, MemberId, Membership, State, SyncPlan},
};
use crate::{
    call::{CoordinatorCall, Sent},
    config::{MOST_ASSIGNED, TOO_MANY, millis},
    core::Verdict,
    event::GroupError,
};

/// The first JoinGroup version with static members (KIP-345).
const STATIC_MEMBERS_SINCE: i16 = 5;

impl Classic {
    pub(crate) fn handle_answer(&mut self, now: Instant, id: CallId, answer: Result<Answer, CallError>) {
        match self.state.take(id) {
            Some((CallKind::Step, sent)) => self.on_step_answer(now, sent, answer),
            Some((CallKind::Heartbeat, sent)) => self.on_heartbeat_answer(now, sent, answer),
            None => {} // an answer to a call that was given up
        }
    }

    fn on_step_answer(&mut self, now: Instant, sent: Sent, answer: Result<Answer, CallError>) {
        match (&self.state, answer) {
            (State::Joining { .. }, Ok(Answer { version, response: Response::JoinGroup(join), .. })) => {
                self.on_join_group(now, sent, version, join);
            }
            (State::Syncing { .. }, Ok(Answer { response: Response::SyncGroup(sync), .. })) => {
                self.on_sync_group(now, sent, sync)
            }
            (State::Leaving { .. }, Ok(Answer { response: Response::LeaveGroup(leave), .. })) => {
                self.on_leave_group(now, sent, &leave)
            }
            // The JoinGroup was sent before we left: its answer has the member id to leave with. An id that nobody joins or leaves with holds
            // up the next rebalance until the session timeout is over.
            (State::Leaving { .. }, Ok(Answer { response: Response::JoinGroup(join), .. })) => {
                self.member_id = join.member_id;
                if let State::Leaving { until, .. } = &mut self.state {
                    *until = now + self.core.config.request_timeout;
                }
                self.retry_step_at(now);
                if self.member_id.is_empty() {
                    self.finish_leaving(now);
                }
            }
            (State::Leaving { .. }, _) if self.member_id.is_empty() => self.finish_leaving(now),
            (_, Ok(_)) => self.retry(now, CallKind::Step, "unexpected response type"),
            (_, Err(error)) => self.on_call_error(now, CallKind::Step, sent, &error),
        }
    }

    fn on_heartbeat_answer(&mut self, now: Instant, sent: Sent, answer: Result<Answer, CallError>) {
        match answer {
            Ok(Answer { response: Response::Heartbeat(heartbeat), .. }) => {
                self.on_heartbeat(now, sent, &heartbeat);
            }
            Ok(_) => self.retry(now, CallKind::Heartbeat, "unexpected response type"),
            Err(error) => self.on_call_error(now, CallKind::Heartbeat, sent, &error),
        }
    }

    fn on_join_group(&mut self, now: Instant, sent: Sent, version: i16, join: JoinGroupResponse) {
        match join.error_code {
            ErrorCode::None => self.on_joined(now, sent, version, join),
            // KIP-394: the JoinGroup is repeated with the id that the coordinator gave.
            ErrorCode::MemberIdRequired if !join.member_id.is_empty() => {
                let again = || "the coordinator asks for a member id again".to_owned();
                let at = match self.member_id.is_empty() {
                    true => now,
                    false => self.core.health.on_restart(now, &mut self.core.outbox, again),
                };
                self.member_id = join.member_id;
                self.retry_step_at(at);
            }
            ErrorCode::UnknownMemberId => self.lose_membership(now, MemberId::Forgotten),
            ErrorCode::IllegalGeneration => self.lose_membership(now, MemberId::Kept),
            code => self.on_error_code(now, CallKind::Step, sent, code),
        }
    }

    fn on_joined(&mut self, now: Instant, sent: Sent, version: i16, join: JoinGroupResponse) {
        let config = &self.core.config;
        if join.generation_id < 0 || join.member_id.is_empty() {
            return self.retry(now, CallKind::Step, "a JoinGroup answer without a generation or a member id");
        }
        if config.instance_id.is_some() && version < STATIC_MEMBERS_SINCE {
            // The broker has added us as a dynamic member.
            self.member_id = join.member_id;
            let error = self.core.too_old_error("group.instance.id needs Kafka 2.3 or newer; leave it out");
            return self.fail_and_leave(now, error);
        }
        let chosen = config.assignors.iter().find(|ours| Some(ours.name()) == join.protocol_name.as_deref());
        let is_consumer_group = join.protocol_type.as_deref().is_none_or(|of| of == PROTOCOL_TYPE);
        let Some(assignor) = chosen.filter(|_| is_consumer_group).cloned() else {
            return self.fail(self.inconsistent_protocol());
        };
        if self.missed_generations(now, join.generation_id) {
            tracing::warn!(group = %config.group, generation = join.generation_id,
                "the group has rebalanced without this member: what it held may have had another owner");
            self.member_id = join.member_id;
            return self.lose_membership_because(
                now,
                MemberId::Kept,
                "the group rebalanced without this member",
            );
        }
        let leads = join.leader == join.member_id;
        if leads && !join.skip_assignment && !join.members.iter().any(|of| of.member_id == join.member_id) {
            // Its own assignment would be empty, and no later response would correct that.
            self.member_id = join.member_id;
            return self.retry(now, CallKind::Step, "a JoinGroup answer that does not list the leader");
        }
        let State::Joining { first_sent_at, sent_subscription, membership: before, .. } = &mut self.state
        else {
            return;
        };
        let (sent_subscription, before) = (mem::take(sent_subscription), before.take());
        // The generation began after that, except for a static member: the group continues with it even if it
        // does not join in time.
        let is_kept = config.instance_id.is_some() && !self.member_id.is_empty();
        let kept_until = before.as_ref().and_then(|before| before.revoke_by(config.rebalance_timeout));
        let began_after = if is_kept { kept_until.min(*first_sent_at) } else { *first_sent_at };
        self.member_id = join.member_id;
        // A member that joins a generation which it is in already does not renew its session.
        let previous_generation = before.as_ref().map(|membership| membership.generation);
        let known = [previous_generation, self.owned.last.as_ref().map(|(_, generation)| *generation)];
        let is_new_generation = !known.contains(&Some(join.generation_id));
        let before =
            before.map(|before| (before.session, before.last_stable_at, before.pacer, before.rejoin_reason));
        let (mut session, last_stable_at, pacer, rejoin_reason) = before.unwrap_or_default();
        session.restart(now, config.session_timeout);
        let mut membership = Box::new(Membership {
            generation: join.generation_id,
            lead: leads.then(|| Lead::new(assignor.clone(), join.members)),
            follow_up: if leads { FollowUp::None } else { FollowUp::of_follower(&assignor) },
            assignor,
            follow_up_at: None,
            // The session counts from now: the other members may take long to sync, too.
            heartbeat: CoordinatorCall::due(now + config.heartbeats_apart()),
            is_over: false,
            pacer,
            session,
            last_stable_at,
            rejoin_reason,
        });
        // The generation began after the JoinGroup was sent, and the next rebalance after that.
        membership.stable_at(sent.at);
        let (plan, at) = match (leads, join.skip_assignment) {
            (false, _) => (SyncPlan::Send(Vec::new()), now),
            (true, true) => (SyncPlan::Keep, now),
            (true, false) => (SyncPlan::Make, now + self.metadata_wait()),
        };
        let counts_from = began_after.filter(|_| is_new_generation);
        self.state = State::Syncing {
            sync: CoordinatorCall::due(at),
            membership,
            counts_from,
            sent_subscription,
            plan,
        };
    }

    /// Whether other members may have been assigned what we own: generations are missing between our last one
    /// and this one, and our session may have expired. A coordinator that removed a member may add it again
    /// under its id without reporting that: a static member that did not join in time (FAILURES E5, E11), and
    /// in a KIP-848 group any member that took too long to revoke.
    ///
    /// A lower generation than our last one means that the coordinator has lost the group and created it again: the member
    /// that joined first was assigned everything.
    fn missed_generations(&self, now: Instant, generation: i32) -> bool {
        let last = self.state.membership().map(|last| last.generation);
        let lapsed = self.valid_until().is_none_or(|until| until <= now);
        let was_skipped = lapsed && last.is_none_or(|last| generation > last.saturating_add(1));
        let was_recreated = last.is_some_and(|last| generation < last);
        !self.owned.all.is_empty() && (was_skipped || was_recreated)
    }

    /// How long the leader waits for metadata before it assigns without: its session runs meanwhile.
    fn metadata_wait(&self) -> Duration {
        let config = &self.core.config;
        config.request_timeout.min(config.session_timeout / 3).min(config.rebalance_timeout / 2)
    }

    fn on_sync_group(&mut self, now: Instant, sent: Sent, sync: SyncGroupResponse) {
        match sync.error_code {
            ErrorCode::None => {
                let Some(membership) = self.state.membership_mut() else { return };
                let chosen = membership.assignor.name();
                let is_consumer_group = sync.protocol_type.as_deref().is_none_or(|of| of == PROTOCOL_TYPE);
                if !is_consumer_group || sync.protocol_name.as_deref().is_some_and(|name| name != chosen) {
                    return self.fail(self.inconsistent_protocol());
                }
                if let Some(marker) = LeaderMarker::read(&sync.assignment) {
                    membership.restore_leader_state(marker, &self.subscription);
                }
                match assignment(sync.assignment) {
                    Ok(assigned) if assigned.partitions.len() > MOST_ASSIGNED => {
                        let partitions = assigned.partitions.len();
                        tracing::warn!(group = %self.core.config.group, partitions, most = MOST_ASSIGNED, "{TOO_MANY}: joining again");
                        self.rejoin_after_failure(now, TOO_MANY);
                    }
                    Ok(assigned) => self.on_assignment(now, sent, assigned),
                    Err(error) => {
                        tracing::warn!(group = %self.core.config.group, %error, "unreadable assignment: joining again");
                        self.rejoin_after_failure(now, "could not read the assignment");
                    }
                }
            }
            // We still own what we own; the generation of our claim stays as it was (FAILURES D4).
            ErrorCode::RebalanceInProgress => {
                self.rejoin_after_failure(now, "the group began another rebalance")
            }
            ErrorCode::UnknownMemberId => self.lose_membership(now, MemberId::Forgotten),
            ErrorCode::IllegalGeneration => self.lose_membership(now, MemberId::Kept),
            code => self.on_error_code(now, CallKind::Step, sent, code),
        }
    }

    fn on_heartbeat(&mut self, now: Instant, sent: Sent, answer: &HeartbeatResponse) {
        let is_over = self.state.membership().is_some_and(|membership| membership.is_over);
        match answer.error_code {
            // The coordinator knows the member. Whether it has its JoinGroup, or has answered that, this does not say.
            ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration if is_over => {
                self.schedule_heartbeat(now, sent);
            }
            // It has loaded the group as it was before.
            ErrorCode::None if is_over => {
                self.schedule_heartbeat(now, sent);
                self.resend_lost_join(now, sent);
            }
            ErrorCode::None => {
                self.on_sign_of_life(sent);
                if let Some(membership) = self.state.membership_mut() {
                    membership.stable_at(sent.at);
                }
                self.schedule_heartbeat(now, sent);
                self.resend_lost_join(now, sent);
            }
            // While we sync, brokers before Kafka 2.7 answer this for the current rebalance, and renew no
            // session.
            ErrorCode::RebalanceInProgress if matches!(self.state, State::Syncing { .. }) => {
                self.schedule_heartbeat(now, sent);
            }
            ErrorCode::RebalanceInProgress => {
                self.on_sign_of_life(sent);
                self.schedule_heartbeat(now, sent);
                if matches!(self.state, State::Stable { .. }) {
                    self.join_again(now, "the group is rebalancing");
                }
            }
            ErrorCode::UnknownMemberId => self.lose_membership(now, MemberId::Forgotten),
            ErrorCode::IllegalGeneration => self.on_illegal_generation(now),
            code => self.on_error_code(now, CallKind::Heartbeat, sent, code),
        }
    }

    /// The group is in another generation. If a JoinGroup is outstanding, its response has more information; it will arrive soon,
    /// or is lost. The next JoinGroup may wait for other members again. Meanwhile heartbeats [ask](Classic::transmit) whether the
    /// coordinator knows this member: the coordinator keeps a member whose JoinGroup waits (FAILURES D11), and refuses the
    /// JoinGroup of a member that it has removed. So once it does not know the member, the response to that JoinGroup is not
    /// worth waiting for.
    pub(super) fn on_illegal_generation(&mut self, now: Instant) {
        match &mut self.state {
            State::Joining { join, membership: Some(membership), .. } => {
                (membership.heartbeat, membership.is_over) = (CoordinatorCall::IDLE, true);
                join.give_up_by(now + self.core.config.request_timeout);
            }
            _ => self.lose_membership(now, MemberId::Kept),
        }
    }

    /// While a JoinGroup waits, the coordinator answers heartbeats with REBALANCE_IN_PROGRESS. If it answers without an error long
    /// after the JoinGroup was sent, it has not received it.
    fn resend_lost_join(&mut self, now: Instant, heartbeat: Sent) {
        if let State::Joining { join, .. } = &mut self.state
            && let Some(join_sent) = join.sent()
            && heartbeat.at.saturating_duration_since(join_sent.at) >= self.core.config.request_timeout
        {
            *join = CoordinatorCall::due(now);
        }
    }

    fn on_leave_group(&mut self, now: Instant, sent: Sent, answer: &LeaveGroupResponse) {
        let code = match answer.members.first() {
            Some(member) if answer.error_code.is_ok() => member.error_code,
            _ => answer.error_code,
        };
        // An unknown member has left already. Other errors will not pass in the little time that is left.
        if code.is_retriable() {
            self.on_error_code(now, CallKind::Step, sent, code);
        } else {
            self.finish_leaving(now);
        }
    }

    /// An error code that is not specific to one request.
    fn on_error_code(&mut self, now: Instant, kind: CallKind, sent: Sent, code: ErrorCode) {
        let group = || self.core.config.group.clone();
        let verdict = match code {
            ErrorCode::RebalanceInProgress => Verdict::Retry,
            ErrorCode::InconsistentGroupProtocol => Verdict::Fail(self.inconsistent_protocol()),
            ErrorCode::InvalidSessionTimeout => {
                let session_ms = millis(self.core.config.session_timeout);
                Verdict::Fail(GroupError::InvalidSessionTimeout { group: group(), session_ms })
            }
            ErrorCode::UnsupportedVersion => Verdict::Fail(self.core.too_old_error(
                "it does not support the versions of the classic group protocol that this client uses",
            )),
            code => self.core.classify_code(sent, code, None),
        };
        match verdict {
            Verdict::Retry => self.retry(now, kind, code.name()),
            Verdict::Fail(error) => self.fail(error),
        }
    }

    fn on_call_error(&mut self, now: Instant, kind: CallKind, sent: Sent, error: &CallError) {
        if let (CallKind::Step, CallError::TimedOut { .. } | CallError::NotSent { .. }) = (kind, error) {
            return self.step_timed_out(now, Some(sent), &error.to_string());
        }
        match self.core.classify_call_error(sent, error, "") {
            Verdict::Retry => self.retry(now, kind, &error.to_string()),
            Verdict::Fail(error) => self.fail(error),
        }
    }

    /// A JoinGroup or SyncGroup was not answered in time. If the coordinator has answered heartbeats since, it is alive, and the
    /// answer waits for other members.
    pub(super) fn step_timed_out(&mut self, now: Instant, sent: Option<Sent>, why: &str) {
        let heard = self.state.membership().and_then(|membership| membership.session.last_accepted_at());
        self.core.coordinator_lost(sent.filter(|sent| heard.is_none_or(|at| at <= sent.at)));
        self.retry(now, CallKind::Step, why);
    }

    /// Repeats the call, after a wait. A SyncGroup is followed by a JoinGroup, as the generation may be over
    /// by then. After a failed heartbeat, an outstanding JoinGroup or SyncGroup keeps waiting, unless the
    /// coordinator [has moved](Self::follow_coordinator).
    pub(super) fn retry(&mut self, now: Instant, kind: CallKind, why: &str) {
        let at = self.core.retry_at(now, self.state_name(), why);
        let interval = self.core.config.heartbeats_apart();
        match (kind, &mut self.state) {
            (CallKind::Heartbeat, state) => {
                if let Some(heartbeat) = state.heartbeat_mut() {
                    *heartbeat = CoordinatorCall::due(at.min(now + interval));
                }
            }
            (CallKind::Step, State::Syncing { .. }) => self.join_at(at, "the assignment did not arrive"),
            (CallKind::Step, _) => self.retry_step_at(at),
        }
    }

    /// A JoinGroup or SyncGroup that waits at a broker other than the coordinator would wait in vain, so it
    /// is given up.
    pub(super) fn follow_coordinator(&mut self, now: Instant, coordinator: BrokerId) {
        let waits_elsewhere = |step: &CoordinatorCall| step.sent().is_some_and(|sent| sent.to != coordinator);
        match &mut self.state {
            State::Joining { join, .. } if waits_elsewhere(join) => *join = CoordinatorCall::due(now),
            State::Syncing { sync, .. } if waits_elsewhere(sync) => {
                self.join_at(now, "the coordinator has moved");
            }
            _ => {}
        }
    }

    fn rejoin_after_failure(&mut self, now: Instant, reason: &'static str) {
        let at = self.core.health.on_rebalance(now);
        self.join_at(at, reason);
    }

    fn retry_step_at(&mut self, at: Instant) {
        if let Some(step) = self.state.step_mut() {
            *step = CoordinatorCall::due(at);
        }
    }

    /// The next heartbeat is due an interval after the last one was sent, or sooner in a burst.
    fn schedule_heartbeat(&mut self, now: Instant, sent: Sent) {
        let regular = sent.at + self.core.config.heartbeats_apart();
        // With an outstanding JoinGroup or SyncGroup its answer comes next. This heartbeat does not show that it succeeds.
        let step_is_sent = matches!(self.state, State::Joining { .. } | State::Syncing { .. });
        if !step_is_sent {
            self.core.health.on_success(&mut self.core.outbox);
        }
        if let Some(membership) = self.state.membership_mut() {
            let next = if step_is_sent { regular.max(now) } else { membership.pacer.next(now, regular) };
            membership.heartbeat = CoordinatorCall::due(next);
        }
    }

    /// The answered heartbeat renewed the session, counted from when it was sent.
    fn on_sign_of_life(&mut self, sent: Sent) {
        if let Some(membership) = self.state.membership_mut() {
            membership.session.on_accepted(sent.at, self.core.config.session_timeout);
        }
    }

    fn inconsistent_protocol(&self) -> GroupError {
        let ours: Vec<_> = self.core.config.assignors.iter().map(|assignor| assignor.name()).collect();
        GroupError::InconsistentGroupProtocol { group: self.core.config.group.clone(), ours: ours.join(", ") }
    }
}
