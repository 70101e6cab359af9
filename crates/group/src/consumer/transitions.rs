//! How a member of the consumer protocol gets from one state to the next, and from what it has to what it should have.

use std::{
    mem,
    time::{Duration, Instant},
};

use offtake_machine::Call;

use super::{
    Consumer,
    requests::{JOIN, LEAVE, LEAVE_FOR_A_WHILE},
    state::{Next, Say, State},
};
use crate::{
    event::{Event, GroupError, GroupMembership},
    pace::Haste,
};

/// Heartbeats 200, 500 and 950 ms after the news, then every 500 ms: with the broker's default interval of 5 s some twenty
/// more than usual of a member that joins, for two intervals, and some ten, for one, of a member whose assignment has
/// changed. Never more than that: a broker that wants fewer heartbeats gets no more of these.
const HASTE: Haste =
    Haste { first: Duration::from_millis(200), longest: Duration::from_millis(500), lasts: Duration::ZERO };

/// However long the interval: two of the default ones.
const LONGEST_HASTE: Duration = Duration::from_secs(10);

impl Consumer {
    pub(super) fn join(&mut self, now: Instant) {
        if self.outbox.waits() {
            self.state = State::Releasing;
        } else {
            self.session_timeout.ask(now);
            self.state = State::Joining { call: Call::Due(now) };
        }
    }

    /// Towards the newest target, as far as it goes now.
    pub(super) fn reconcile(&mut self, now: Instant) {
        if !matches!(self.state, State::Member { .. }) || self.outbox.waits() || self.holding.is_settled() {
            return;
        }
        let generation = self.epoch;
        let partitions = self.holding.let_go();
        if !partitions.is_empty() {
            self.outbox.revoke(partitions, generation);
            return;
        }
        let (added, complete) = self.holding.take(&self.names);
        if complete || !added.is_empty() {
            let owned = self.holding.names().iter().cloned().collect();
            self.outbox.push(Event::Assigned { added, owned, generation });
            self.announced = Some(self.epoch);
            self.news_may_come(now, self.interval);
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
            self.outbox.lose(partitions, self.epoch);
        }
        self.step_out();
    }

    pub(super) fn step_out(&mut self) {
        self.epoch = JOIN;
        self.say = Say::default();
        self.hurry = false;
        self.pace.calm();
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
        let at = self.health.began_anew(now, &mut self.outbox, || "out of the group".to_owned());
        self.join(at);
    }

    pub(super) fn poll_interval_exceeded(&mut self, now: Instant) {
        tracing::warn!(group = %self.config.group, interval = ?self.config.rebalance_timeout,
            "not polled within max.poll.interval.ms: leaving the group until the next poll");
        self.outbox.push(Event::PollIntervalExceeded);
        let known = !matches!(self.state, State::Releasing);
        self.session_timeout.forget();
        self.lose_everything();
        if known {
            // With a goodbye in any case: a static member keeps its place.
            let epoch = self.farewell(GroupMembership::Default).unwrap_or(LEAVE);
            self.say_goodbye(now, epoch, Next::Unpolled);
        } else {
            self.state = State::Unpolled;
        }
    }

    /// The epoch that says goodbye; `None`: nothing does (KIP-1092).
    pub(super) fn farewell(&self, membership: GroupMembership) -> Option<i32> {
        match (membership, &self.config.instance_id) {
            (GroupMembership::Leave, _) | (GroupMembership::Default, None) => Some(LEAVE),
            (GroupMembership::Default | GroupMembership::Remain, Some(_)) => Some(LEAVE_FOR_A_WHILE),
            (GroupMembership::Remain, None) => None,
        }
    }

    pub(super) fn say_goodbye(&mut self, now: Instant, epoch: i32, then: Next) {
        let until = now + self.config.request_timeout;
        self.state = State::Leaving { call: Call::Due(now), until, epoch, then };
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
            Next::Failed => self.state = State::Failed,
            Next::Join | Next::LeftThenJoin => self.join(now),
        }
    }

    pub(super) fn fail(&mut self, error: GroupError) {
        self.lose_everything();
        self.session_timeout.forget();
        self.state = State::Failed;
        self.outbox.push(Event::Failed(error));
    }

    /// Fails, and takes leave of a group that would otherwise keep our place until the session is over.
    pub(super) fn fail_and_leave(&mut self, now: Instant, error: GroupError, known: bool) {
        self.fail(error);
        if let Some(epoch) = self.farewell(GroupMembership::Default).filter(|_| known) {
            self.say_goodbye(now, epoch, Next::Failed);
        }
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

    /// The share that we get is complete when others have let go, and they are told with their next heartbeat: for as
    /// long as that takes we ask more often.
    pub(super) fn news_may_come(&mut self, now: Instant, lasts: Duration) {
        self.pace.hurry(now, Haste { lasts: lasts.min(LONGEST_HASTE), ..HASTE });
    }

    /// When to say that it is getting late: with a fifth of the time left.
    pub(super) fn warning_deadline(&self) -> Option<Instant> {
        let polled = self.polled.filter(|_| !self.warned && self.state.is_member())?;
        polled.checked_add(self.config.rebalance_timeout / 5 * 4)
    }

    pub(super) fn poll_deadline(&self) -> Option<Instant> {
        self.polled.filter(|_| self.state.is_member())?.checked_add(self.config.rebalance_timeout)
    }

    pub(super) fn session_deadline(&self) -> Option<Instant> {
        self.deadline.filter(|_| matches!(self.state, State::Member { .. }))
    }
}
