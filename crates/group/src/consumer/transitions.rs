//! The transitions between states of the consumer protocol, and the steps towards the target assignment.

use std::{
    mem,
    time::{Duration, Instant},
};

use super::{
    Consumer,
    requests::{JOIN, LEAVE, STATIC_LEAVE},
    state::{PendingFields, State},
};
use crate::{
    call::CoordinatorCall,
    core::AfterLeaving,
    event::{Event, GroupError, GroupMembership},
    pacer::HeartbeatBurst,
    session::Session,
};

/// Heartbeats 200, 500 and 950 ms after the start, then every 500 ms. With the broker's default interval of 5 s that adds about
/// twenty heartbeats in two intervals for a member that joins, and about ten in one interval for a member whose assignment has
/// changed. A longer interval adds no more than that.
const BURST: HeartbeatBurst = HeartbeatBurst {
    first: Duration::from_millis(200),
    longest: Duration::from_millis(500),
    lasts: Duration::ZERO,
};

/// The longest burst: two default intervals.
const LONGEST_BURST: Duration = Duration::from_secs(10);

impl Consumer {
    pub(super) fn join(&mut self, now: Instant) {
        if self.core.outbox.has_unconfirmed() {
            self.state = State::Revoking;
        } else {
            self.session_timeout.look_up(now);
            self.state = State::Joining { heartbeat: CoordinatorCall::due(now) };
        }
    }

    /// The next step towards the newest target.
    pub(super) fn reconcile(&mut self, now: Instant) {
        if !matches!(self.state, State::Member { .. })
            || self.core.outbox.has_unconfirmed()
            || self.partitions.is_settled()
        {
            return;
        }
        let generation = self.epoch;
        let partitions = self.partitions.revoke();
        if !partitions.is_empty() {
            self.core.outbox.push_revoke(partitions, generation);
            return;
        }
        let (added, complete) = self.partitions.take_assigned(&self.names);
        if complete || !added.is_empty() {
            let owned = self.partitions.names().iter().cloned().collect();
            self.core.outbox.push(Event::Assigned { added, owned, generation });
            self.announced_epoch = Some(self.epoch);
            self.expect_assignment_change(now, self.interval);
        }
        if complete {
            self.pending.owned = true;
            self.heartbeat_now(now);
        }
    }

    pub(super) fn lose_everything(&mut self) {
        self.core.outbox.turn_revokes_into_lost();
        let partitions = self.partitions.lose();
        if !partitions.is_empty() {
            self.core.outbox.push_lost(partitions, self.epoch);
        }
        self.reset_membership();
    }

    pub(super) fn reset_membership(&mut self) {
        self.epoch = JOIN;
        self.pending = PendingFields::default();
        self.heartbeat_at_once = false;
        self.pacer.stop_burst();
        self.session = Session::default();
        self.unanswered_since = None;
        self.revoking_since = None;
        self.announced_epoch = None;
        self.unreleased_since = None;
    }

    /// The group has removed this member. It rejoins with the same id, owning nothing.
    pub(super) fn lose_membership(&mut self, now: Instant) {
        self.lose_everything();
        let at = self.core.health.on_restart(now, &mut self.core.outbox, || "out of the group".to_owned());
        self.join(at);
    }

    pub(super) fn poll_interval_exceeded(&mut self, now: Instant) {
        self.core.poll_interval_exceeded();
        let known = !matches!(self.state, State::Revoking);
        self.session_timeout.cancel();
        self.lose_everything();
        if known {
            // The heartbeat is sent in any case, because otherwise a static member would keep its partitions
            // for its session.
            let epoch = self.leave_epoch(GroupMembership::Default).unwrap_or(LEAVE);
            self.start_leaving(now, epoch, AfterLeaving::Unpolled);
        } else {
            self.state = State::Unpolled;
        }
    }

    /// The member epoch of a heartbeat that leaves; `None` if none is sent (KIP-1092).
    pub(super) fn leave_epoch(&self, membership: GroupMembership) -> Option<i32> {
        match (membership, &self.core.config.instance_id) {
            (GroupMembership::Leave, _) | (GroupMembership::Default, None) => Some(LEAVE),
            (GroupMembership::Default | GroupMembership::Remain, Some(_)) => Some(STATIC_LEAVE),
            (GroupMembership::Remain, None) => None,
        }
    }

    pub(super) fn start_leaving(&mut self, now: Instant, epoch: i32, then: AfterLeaving) {
        self.heartbeat_at_once = false;
        let until = now + self.core.config.request_timeout;
        self.state = State::Leaving { heartbeat: CoordinatorCall::due(now), until, epoch, then };
    }

    /// The broker knows that the member leaves, or its time is up.
    pub(super) fn finish_leaving(&mut self, now: Instant) {
        let State::Leaving { then, .. } = mem::replace(&mut self.state, State::Outside) else { return };
        if then.emits_left() {
            self.core.outbox.push(Event::Left);
        }
        match then {
            AfterLeaving::Outside => {}
            AfterLeaving::Unpolled => self.state = State::Unpolled,
            AfterLeaving::Failed => self.state = State::Failed,
            AfterLeaving::Join | AfterLeaving::LeftThenJoin => self.join(now),
        }
    }

    pub(super) fn fail(&mut self, error: GroupError) {
        self.lose_everything();
        self.session_timeout.cancel();
        self.state = State::Failed;
        self.core.outbox.push(Event::Failed(error));
    }

    /// Fails, and leaves the group, which would keep this member until its session expires.
    pub(super) fn fail_and_leave(&mut self, now: Instant, error: GroupError, known: bool) {
        self.fail(error);
        if let Some(epoch) = self.leave_epoch(GroupMembership::Default).filter(|_| known) {
            self.start_leaving(now, epoch, AfterLeaving::Failed);
        }
    }

    /// Sends the next heartbeat at once.
    pub(super) fn heartbeat_now(&mut self, now: Instant) {
        let works = self.core.health.failures() == 0;
        let Some(heartbeat) = self.state.heartbeat_mut() else { return };
        if heartbeat.is_sent() {
            self.heartbeat_at_once = true;
        } else if works && heartbeat.is_due() && !heartbeat.is_due_by(now) {
            *heartbeat = CoordinatorCall::due(now);
        }
    }

    /// Starts a burst of heartbeats. The target may be incomplete until other members have revoked
    /// partitions, and the members learn of that with their next heartbeat.
    pub(super) fn expect_assignment_change(&mut self, now: Instant, lasts: Duration) {
        self.pacer.start_burst(now, HeartbeatBurst { lasts: lasts.min(LONGEST_BURST), ..BURST });
    }

    pub(super) fn warning_deadline(&self) -> Option<Instant> {
        let [_, warns] = self.core.poll_deadlines();
        warns.filter(|_| self.state.is_member())
    }

    pub(super) fn poll_deadline(&self) -> Option<Instant> {
        let [expires, _] = self.core.poll_deadlines();
        expires.filter(|_| self.state.is_member())
    }

    pub(super) fn session_deadline(&self) -> Option<Instant> {
        self.session.expires_at().filter(|_| matches!(self.state, State::Member { .. }))
    }
}
