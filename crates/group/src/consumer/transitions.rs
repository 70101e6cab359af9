//! How a member of the consumer protocol gets from one state to the next, and from what it has to what it should have.

use std::{mem, time::Instant};

use offtake_machine::Call;

use super::{
    Consumer,
    requests::JOIN,
    state::{Next, Say, State},
};
use crate::event::{Event, GroupError};

impl Consumer {
    pub(super) fn join(&mut self, now: Instant) {
        self.state =
            if self.outbox.waits() { State::Releasing } else { State::Joining { call: Call::Due(now) } };
    }

    /// Towards the newest target, as far as it goes now.
    pub(super) fn reconcile(&mut self, now: Instant) {
        if !matches!(self.state, State::Member { .. }) || self.outbox.waits() || self.holding.is_settled() {
            return;
        }
        let generation = self.epoch;
        let partitions = self.holding.let_go();
        if !partitions.is_empty() {
            self.outbox.push(Event::Revoke { partitions, generation });
            return;
        }
        let (added, complete) = self.holding.take(&self.names);
        if complete || !added.is_empty() {
            let owned = self.holding.names().iter().cloned().collect();
            self.outbox.push(Event::Assigned { added, owned, generation });
            self.announced = Some(self.epoch);
        }
        if complete {
            self.say.owned = true;
            self.beat_soon(now);
        }
    }

    pub(super) fn lose_everything(&mut self) {
        self.outbox.revokes_are_lost();
        let partitions = self.holding.lose();
        if !partitions.is_empty() {
            self.outbox.push(Event::Lost { partitions, generation: self.epoch });
        }
        self.step_out();
    }

    pub(super) fn step_out(&mut self) {
        self.epoch = JOIN;
        self.say = Say::default();
        self.hurry = false;
        self.alive = None;
        self.unheard_since = None;
        self.giving_up_since = None;
        self.announced = None;
        self.deadline = None;
        self.unreleased_since = None;
    }

    /// The group goes on without us; we come back under the same name, owning nothing.
    pub(super) fn lost(&mut self, now: Instant) {
        self.lose_everything();
        let at = self.health.soon(now);
        self.join(at);
    }

    pub(super) fn poll_interval_exceeded(&mut self, now: Instant) {
        tracing::warn!(group = %self.config.group, interval = ?self.config.rebalance_timeout,
            "not polled within max.poll.interval.ms: leaving the group until the next poll");
        self.outbox.push(Event::PollIntervalExceeded);
        let known = !matches!(self.state, State::Releasing);
        self.lose_everything();
        if known {
            self.say_goodbye(now, Next::Unpolled);
        } else {
            self.state = State::Unpolled;
        }
    }

    pub(super) fn say_goodbye(&mut self, now: Instant, then: Next) {
        let until = now + self.config.request_timeout;
        self.state = State::Leaving { call: Call::Due(now), until, then };
    }

    /// The goodbye is said, or it has been tried for long enough.
    pub(super) fn gone(&mut self, now: Instant) {
        let State::Leaving { then, .. } = mem::replace(&mut self.state, State::Outside) else { return };
        if matches!(then, Next::Outside | Next::LeftThenJoin) {
            self.outbox.push(Event::Left);
        }
        match then {
            Next::Outside => {}
            Next::Unpolled => self.state = State::Unpolled,
            Next::Join | Next::LeftThenJoin => self.join(now),
        }
    }

    pub(super) fn fail(&mut self, error: GroupError) {
        self.lose_everything();
        self.state = State::Failed;
        self.outbox.push(Event::Failed(error));
    }

    /// There is something to say that should not wait for the interval.
    pub(super) fn beat_soon(&mut self, now: Instant) {
        match self.state.call_mut() {
            Some(call @ Call::Due(_))
                if matches!(*call, Call::Due(at) if at > now) && self.health.failures() == 0 =>
            {
                *call = Call::Due(now);
            }
            Some(Call::Sent { .. }) => self.hurry = true,
            _ => {}
        }
    }

    pub(super) fn poll_deadline(&self) -> Option<Instant> {
        self.polled.filter(|_| self.state.is_member())?.checked_add(self.config.rebalance_timeout)
    }

    pub(super) fn session_deadline(&self) -> Option<Instant> {
        self.deadline.filter(|_| matches!(self.state, State::Member { .. }))
    }
}
