//! The transitions between states of the classic protocol, and the revocations that they require.

use std::{
    collections::BTreeSet,
    mem,
    time::{Duration, Instant},
};

use offtake_machine::{PromptAnswer, TopicPartition};

use super::{
    Classic,
    state::{CallKind, MemberId, Membership, State},
};
use crate::{
    assignor::RebalanceProtocol,
    call::CoordinatorCall,
    core::AfterLeaving,
    event::{Event, GroupError},
};

/// Added to the rebalance timeout for a JoinGroup, as in Java.
const JOIN_MARGIN: Duration = Duration::from_secs(5);

/// The first JoinGroup version in which a dynamic member has to join with the id that the coordinator gave (KIP-394).
const MEMBER_ID_REQUIRED_SINCE: i16 = 4;

impl Classic {
    /// The partitions to revoke before a JoinGroup: all (eager), or only those of topics without a
    /// subscription (cooperative).
    pub(super) fn to_revoke_before_joining(&self) -> BTreeSet<TopicPartition> {
        let kept = |partition: &TopicPartition| match self.core.config.rebalance_protocol() {
            RebalanceProtocol::Eager => false,
            RebalanceProtocol::Cooperative => self.subscription.contains(&partition.topic),
        };
        let owned = &self.owned;
        owned.all.iter().filter(|p| !kept(p) && !owned.revoking.contains(*p)).cloned().collect()
    }

    /// Joins or rejoins: at once, or when the application has completed the necessary revocations.
    pub(super) fn join_again(&mut self, now: Instant, reason: &'static str) {
        let surplus = self.to_revoke_before_joining();
        self.revoke(surplus);
        if self.core.outbox.has_unconfirmed() {
            let membership = self.take_membership();
            self.state = State::Revoking { membership, reason };
        } else {
            // A JoinGroup from a generation, with another claim than before, starts a rebalance.
            self.must_trigger_rebalance &= self.state.membership().is_none();
            if let Some(membership) = self.state.membership_mut() {
                membership.rejoin_reason = None;
            }
            self.join_at(now, reason);
        }
    }

    /// Joins at this time. The current generation continues until the JoinGroup is answered.
    pub(super) fn join_at(&mut self, at: Instant, reason: &'static str) {
        let membership = self.take_membership();
        self.state = State::Joining {
            join: CoordinatorCall::due(at),
            first_sent_at: None,
            membership,
            sent_subscription: BTreeSet::new(),
            reason,
        };
    }

    /// Takes the membership out of the state, for the next one.
    fn take_membership(&mut self) -> Option<Box<Membership>> {
        mem::replace(&mut self.state, State::Outside).into_membership()
    }

    pub(super) fn revoke(&mut self, partitions: BTreeSet<TopicPartition>) {
        if !partitions.is_empty() {
            let generation = self.owned.generation();
            self.core.outbox.push_revoke(partitions.iter().cloned().collect(), generation);
            self.owned.revoking.extend(partitions);
        }
    }

    /// The group continues without this member. Partitions that are being revoked are not reported as lost (FAILURES SAFE9).
    pub(super) fn lose_everything(&mut self) {
        self.core.outbox.turn_revokes_into_lost();
        let all = mem::take(&mut self.owned.all);
        let partitions: Vec<_> = all.into_iter().filter(|p| !self.owned.revoking.contains(p)).collect();
        self.owned.revoking.clear();
        if !partitions.is_empty() {
            self.core.outbox.push_lost(partitions, self.owned.generation());
        }
        self.state = State::Outside;
    }

    /// The member is out of the generation, and joins again.
    pub(super) fn lose_membership(&mut self, now: Instant, member_id: MemberId) {
        let reason = match member_id {
            MemberId::Kept => "out of the generation",
            MemberId::Forgotten => "unknown to the coordinator",
        };
        self.lose_membership_because(now, member_id, reason);
    }

    pub(super) fn lose_membership_because(
        &mut self,
        now: Instant,
        member_id: MemberId,
        reason: &'static str,
    ) {
        self.lose_everything();
        if member_id == MemberId::Forgotten {
            self.member_id.clear();
        }
        if self.core.outbox.has_unconfirmed() {
            self.state = State::Revoking { membership: None, reason };
        } else {
            let what = || format!("out of the group: {reason}");
            let at = self.core.health.on_restart(now, &mut self.core.outbox, what);
            self.join_at(at, reason);
        }
    }

    pub(super) fn session_expired(&mut self, now: Instant) {
        self.core.session_expired();
        // The coordinator may still know the member: the JoinGroup has the current id.
        self.lose_membership_because(now, MemberId::Kept, "the session has expired by this member's clock");
    }

    pub(super) fn poll_interval_exceeded(&mut self, now: Instant) {
        self.core.poll_interval_exceeded();
        self.lose_everything();
        if self.core.config.instance_id.is_none() && !self.member_id.is_empty() {
            self.start_leaving(now, "max.poll.interval.ms exceeded", AfterLeaving::Unpolled);
        } else {
            self.state = State::Unpolled { static_id: mem::take(&mut self.member_id) };
        }
    }

    pub(super) fn start_leaving(&mut self, now: Instant, reason: &str, then: AfterLeaving) {
        let until = now + self.core.config.request_timeout;
        self.state =
            State::Leaving { leave: CoordinatorCall::due(now), until, reason: reason.to_owned(), then };
    }

    /// The coordinator knows that the member leaves, or its time is up.
    pub(super) fn finish_leaving(&mut self, now: Instant) {
        let State::Leaving { then, .. } = mem::replace(&mut self.state, State::Outside) else { return };
        self.member_id.clear();
        if then.emits_left() {
            self.core.outbox.push(Event::Left);
        }
        match then {
            AfterLeaving::Outside => {}
            AfterLeaving::Unpolled => self.state = State::Unpolled { static_id: String::new() },
            AfterLeaving::Failed => self.state = State::Failed,
            AfterLeaving::Join | AfterLeaving::LeftThenJoin => {
                self.join_again(now, "joining again after leaving");
            }
        }
    }

    pub(super) fn fail(&mut self, error: GroupError) {
        self.lose_everything();
        self.member_id.clear();
        self.state = State::Failed;
        self.core.outbox.push(Event::Failed(error));
    }

    /// Fails, and leaves the group, which would wait for this member until its session expires.
    pub(super) fn fail_and_leave(&mut self, now: Instant, error: GroupError) {
        self.lose_everything();
        self.core.outbox.push(Event::Failed(error));
        self.start_leaving(now, "cannot be a member", AfterLeaving::Failed);
    }

    pub(super) fn warning_deadline(&self) -> Option<Instant> {
        let [_, warns] = self.core.poll_deadlines();
        warns.filter(|_| self.state.is_member())
    }

    pub(super) fn poll_deadline(&self) -> Option<Instant> {
        let [expires, _] = self.core.poll_deadlines();
        expires.filter(|_| self.state.is_member())
    }

    /// When the leader starts the second rebalance, if a static member has not.
    pub(super) fn follow_up_deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Stable { membership } => membership.follow_up_at,
            _ => None,
        }
    }

    /// When the member gives up its partitions. Not while a JoinGroup or SyncGroup is outstanding: the coordinator keeps the
    /// member meanwhile (FAILURES D11), and nothing is handed out after `valid_until` in any case.
    pub(super) fn session_deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Joining { join: step, .. } | State::Syncing { sync: step, .. } if step.is_sent() => None,
            state => state.membership()?.session.expires_at(),
        }
    }

    /// How long to wait for the answer to a call.
    pub(super) fn timeout(&self, kind: CallKind) -> Duration {
        match (kind, &self.state) {
            // So that there is time for a second attempt.
            (CallKind::Heartbeat, _) => {
                self.core.config.request_timeout.min(self.core.config.session_timeout / 2)
            }
            // The other members may take the whole rebalance timeout; the margin is for the network.
            (CallKind::Step, State::Joining { .. }) => self
                .core
                .config
                .rebalance_timeout
                .saturating_add(JOIN_MARGIN)
                .max(self.core.config.request_timeout),
            (CallKind::Step, _) => self.core.config.request_timeout,
        }
    }

    /// The first JoinGroup of a dynamic member does not wait for other members: it is answered with a member id (KIP-394).
    pub(super) fn prompt_answer(&self, kind: CallKind) -> Option<PromptAnswer> {
        let asks_for_id = self.member_id.is_empty() && self.core.config.instance_id.is_none();
        let is_prompt = asks_for_id && matches!((kind, &self.state), (CallKind::Step, State::Joining { .. }));
        is_prompt.then_some(PromptAnswer {
            since: MEMBER_ID_REQUIRED_SINCE,
            timeout: self.core.config.request_timeout,
        })
    }
}
