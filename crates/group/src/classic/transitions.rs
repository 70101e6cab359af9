//! How a member of the classic protocol gets from one state to the next, and what it has to let go on the way.

use std::{
    collections::BTreeSet,
    mem,
    time::{Duration, Instant},
};

use offtake_machine::{TopicPartition, mutant};

use super::{
    Classic,
    follow_up::FollowUp,
    state::{As, Kind, Next, State},
};
use crate::{
    assignor::RebalanceProtocol,
    event::{Event, GroupError},
    exchange::Exchange,
};

/// What a JoinGroup may take beyond the rebalance timeout, as in Java.
const JOIN_MARGIN: Duration = Duration::from_secs(5);

impl Classic {
    /// What has to be let go before a JoinGroup: all of it, or only what we no longer subscribe to.
    pub(super) fn before_joining(&self) -> BTreeSet<TopicPartition> {
        let kept = |partition: &TopicPartition| match self.config.rebalance_protocol() {
            RebalanceProtocol::Eager => false,
            RebalanceProtocol::Cooperative => self.subscription.contains(&partition.topic),
        };
        self.held.all.iter().filter(|p| !kept(p) && !self.held.leaving.contains(*p)).cloned().collect()
    }

    /// Joins, or joins again: at once, or when the application has let go of what it has to.
    pub(super) fn join_again(&mut self, now: Instant, reason: &'static str) {
        let surplus = self.before_joining();
        self.revoke(surplus);
        if self.outbox.waits() {
            let heartbeat = self.heartbeat_that_goes_on();
            self.state = State::Releasing { heartbeat, reason };
        } else {
            self.again = None;
            // With a generation behind it, and another claim than before, the coordinator lets it start a rebalance.
            self.owes_rebalance &= self.generation.is_none();
            self.join_at(now, reason);
        }
    }

    /// Joins at that time. Until a JoinGroup is answered, the generation that we are in goes on.
    pub(super) fn join_at(&mut self, at: Instant, reason: &'static str) {
        let heartbeat = self.heartbeat_that_goes_on();
        self.state = State::Joining { join: Exchange::due(at), heartbeat, asked: BTreeSet::new(), reason };
    }

    /// The heartbeat of this generation, on its way or due: the next state has it too.
    fn heartbeat_that_goes_on(&self) -> Exchange {
        self.state.heartbeat().copied().filter(|_| self.generation.is_some()).unwrap_or(Exchange::IDLE)
    }

    pub(super) fn revoke(&mut self, partitions: BTreeSet<TopicPartition>) {
        if !partitions.is_empty() {
            let generation = self.held.generation();
            self.outbox.revoke(partitions.iter().cloned().collect(), generation);
            self.held.leaving.extend(partitions);
        }
    }

    /// The group goes on without us. What is being let go already is not lost a second time (invariant S9).
    pub(super) fn lose_everything(&mut self) {
        self.outbox.revokes_are_lost();
        let all = mem::take(&mut self.held.all);
        let partitions: Vec<_> = all.into_iter().filter(|p| !self.held.leaving.contains(p)).collect();
        self.held.leaving.clear();
        if !partitions.is_empty() {
            self.outbox.lose(partitions, self.held.generation());
        }
        self.step_out();
    }

    pub(super) fn step_out(&mut self) {
        self.generation = None;
        self.assignor = None;
        self.lead = None;
        self.follow_up = FollowUp::None;
        self.overdue = None;
        self.pace.calm();
        self.alive = None;
        self.undisturbed = None;
        self.deadline = None;
        self.again = None;
    }

    /// We are out of the generation, and come back.
    pub(super) fn lost(&mut self, now: Instant, r#as: As) {
        let reason = match r#as {
            As::Same => "out of the generation",
            As::New => "unknown to the coordinator",
        };
        self.lost_because(now, r#as, reason);
    }

    pub(super) fn lost_because(&mut self, now: Instant, r#as: As, reason: &'static str) {
        self.lose_everything();
        if r#as == As::New && !mutant!(24) {
            self.member_id.clear();
        }
        self.state = if self.outbox.waits() {
            State::Releasing { heartbeat: Exchange::IDLE, reason }
        } else {
            let what = || format!("out of the group: {reason}");
            State::Joining {
                join: Exchange::due(self.health.began_anew(now, &mut self.outbox, what)),
                heartbeat: Exchange::IDLE,
                asked: BTreeSet::new(),
                reason,
            }
        };
    }

    pub(super) fn session_expired(&mut self, now: Instant) {
        tracing::warn!(group = %self.config.group, timeout = ?self.config.session_timeout,
            "no heartbeat was accepted within the session timeout: membership is lost");
        if let Some(broker) = self.last_asked {
            self.outbox.push(Event::CoordinatorLost(broker));
        }
        // The coordinator may be of another opinion, or know us still: it says so when we join with the id we have.
        self.lost_because(now, As::Same, "the session has expired here");
    }

    pub(super) fn poll_interval_exceeded(&mut self, now: Instant) {
        tracing::warn!(group = %self.config.group, interval = ?self.config.rebalance_timeout,
            "not polled within max.poll.interval.ms: leaving the group until the next poll");
        self.outbox.push(Event::PollIntervalExceeded);
        self.lose_everything();
        if self.config.instance_id.is_none() && !self.member_id.is_empty() {
            self.say_goodbye(now, "max.poll.interval.ms exceeded", Next::Unpolled);
        } else {
            self.member_id.clear();
            self.state = State::Unpolled;
        }
    }

    pub(super) fn say_goodbye(&mut self, now: Instant, reason: &str, then: Next) {
        let until = now + self.config.request_timeout;
        self.state = State::Leaving { leave: Exchange::due(now), until, reason: reason.to_owned(), then };
    }

    /// The goodbye is said, or it has been tried for long enough.
    pub(super) fn gone(&mut self, now: Instant) {
        let State::Leaving { then, .. } = mem::replace(&mut self.state, State::Outside) else { return };
        self.member_id.clear();
        if matches!(then, Next::Outside | Next::LeftThenJoin) {
            self.outbox.push(Event::Left);
        }
        match then {
            Next::Outside => {}
            Next::Unpolled => self.state = State::Unpolled,
            Next::Failed => self.state = State::Failed,
            Next::Join | Next::LeftThenJoin => self.join_again(now, "joining again after leaving"),
        }
    }

    pub(super) fn fail(&mut self, error: GroupError) {
        self.lose_everything();
        self.member_id.clear();
        self.state = State::Failed;
        self.outbox.push(Event::Failed(error));
    }

    /// Fails, and takes leave of a group that would otherwise wait for us until the session is over.
    pub(super) fn fail_and_leave(&mut self, now: Instant, error: GroupError) {
        self.lose_everything();
        self.outbox.push(Event::Failed(error));
        self.say_goodbye(now, "cannot be a member", Next::Failed);
    }

    /// When to say that it is getting late: with a fifth of the time left.
    pub(super) fn warning_deadline(&self) -> Option<Instant> {
        let polled = self.polled.filter(|_| !self.warned && self.state.is_member())?;
        polled.checked_add(self.config.rebalance_timeout / 5 * 4)
    }

    pub(super) fn poll_deadline(&self) -> Option<Instant> {
        self.polled.filter(|_| self.state.is_member())?.checked_add(self.config.rebalance_timeout)
    }

    /// When to ask for the rebalance that who lets go would ask for, if it had not died on the way.
    pub(super) fn follow_up_deadline(&self) -> Option<Instant> {
        self.overdue.filter(|_| matches!(self.state, State::Stable { .. }))
    }

    /// When we give ourselves up. Not while the coordinator has a JoinGroup or SyncGroup of ours: as long as it does, it
    /// keeps us (D11), and what we still hold is anyway not handed out beyond `valid_until`.
    pub(super) fn session_deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Joining { join: step, .. } | State::Syncing { sync: step, .. } if step.is_sent() => None,
            state if state.is_member() && !mutant!(22) => self.deadline,
            _ => None,
        }
    }

    /// How long to wait for the answer to a call.
    pub(super) fn timeout(&self, kind: Kind) -> Duration {
        match (kind, &self.state) {
            // So that there is time for a second one.
            (Kind::Heartbeat, _) => self.config.request_timeout.min(self.config.session_timeout / 2),
            // The others may take the whole rebalance timeout; the rest is for the way.
            (Kind::Step, State::Joining { .. }) => {
                self.config.rebalance_timeout.saturating_add(JOIN_MARGIN).max(self.config.request_timeout)
            }
            (Kind::Step, _) => self.config.request_timeout,
        }
    }
}
