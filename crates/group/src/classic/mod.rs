//! The classic protocol: JoinGroup, SyncGroup, Heartbeat, LeaveGroup. The members' votes select an assignor,
//! and one of the members, the leader, applies it.
//!
//! ```text
//! Outside ─subscribe─▶ Joining ─▶ Syncing ─▶ Stable ─leave─▶ Leaving ─▶ Outside
//!                        ▲                     │ something has to be revoked first
//!                        └──── Revoking ◀─────┘
//! ```
//!
//! Always true:
//! - at most one JoinGroup, SyncGroup or LeaveGroup is outstanding, and at most one heartbeat; an answer to any other call
//!   changes nothing (FAILURES C7);
//! - a JoinGroup claims only partitions that the application still has, and is sent only when everything that has to be revoked
//!   is revoked;
//! - a heartbeat is never overdue while the member is in a generation. A JoinGroup or SyncGroup may wait at the coordinator for as
//!   long as the slowest member takes. Until it is answered, heartbeats of the previous generation show that the partitions are
//!   still owned and that the coordinator is alive. (The coordinator keeps a member whose JoinGroup waits even without them, D11,
//!   but the member cannot know that. When the generation is over and a JoinGroup was sent since, heartbeats still ask whether it
//!   does.) JoinGroup and SyncGroup need a connection of their own: Kafka reads no further request of a connection whose JoinGroup
//!   waits;
//! - an error resets no more than necessary: a moved coordinator nothing, an illegal generation the
//!   partitions, an unknown member id the partitions and the id.
//!
//! Eager and cooperative differ in `Classic::to_revoke_before_joining` alone. KIP-62, 345, 394, 429, 792, 800, 814.
//!
//! A cooperative rebalance in which partitions move is followed by a second one. The members learn of it with a heartbeat, so
//! after a SyncGroup a member that may have to expect one sends heartbeats [more often](follow_up) for a short time.

use std::{collections::BTreeSet, mem, time::Instant};

use offtake_machine::{
    BrokerId, CallId, Cluster, GroupProtocol, Identity, Topic, TopicPartition, Transmit, earliest,
};
use offtake_wire::ErrorCode;

use crate::{
    Stage,
    call::CoordinatorCall,
    config::Config,
    core::{AfterLeaving, MemberCore},
    event::{Event, GroupError, GroupMembership, RevocationId},
};

mod answers;
mod assigned;
mod assigning;
#[cfg(feature = "_model")]
mod fingerprint;
mod follow_up;
mod lead;
mod leader_marker;
mod requests;
mod state;
mod transitions;

use state::{CallKind, MemberId, OwnedPartitions, State};

/// One member.
#[derive(Clone, Debug)]
pub(crate) struct Classic {
    core: MemberCore,
    state: State,
    subscription: BTreeSet<Topic>,
    /// Empty until the coordinator has assigned one.
    member_id: String,
    owned: OwnedPartitions,
    /// This static member had to revoke partitions that move, and has not rejoined since. Until then they
    /// have no owner. The flag outlives the membership: a static member that returns gets its old assignment
    /// without a rebalance.
    must_trigger_rebalance: bool,
}

impl Classic {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            core: MemberCore::new(config),
            state: State::Outside,
            subscription: BTreeSet::new(),
            member_id: String::new(),
            owned: OwnedPartitions::default(),
            must_trigger_rebalance: false,
        }
    }

    // ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────

    pub(crate) fn subscribe(&mut self, now: Instant, topics: BTreeSet<Topic>) {
        let changed = self.subscription != topics;
        self.subscription = topics;
        match &mut self.state {
            State::Outside | State::Failed => {
                self.core.poll_timer.restart(now);
                self.join_again(now, "subscribed");
            }
            State::Leaving { then, .. } => {
                if then.on_subscribe() {
                    self.core.poll_timer.restart(now);
                }
            }
            State::Stable { .. } if changed => self.join_again(now, "the subscription has changed"),
            // The new subscription is compared when the rebalance is complete, or sent when it begins.
            State::Stable { .. }
            | State::Joining { .. }
            | State::Syncing { .. }
            | State::Revoking { .. }
            | State::Unpolled { .. } => {}
        }
    }

    pub(crate) fn enforce_rebalance(&mut self, now: Instant) {
        if matches!(self.state, State::Stable { .. }) {
            self.join_again(now, "the application asked for a rebalance");
        }
    }

    pub(crate) fn refuse_pattern(&mut self) {
        let what =
            "the classic protocol has no patterns that the broker matches; group.protocol=consumer has";
        self.fail(self.core.too_old_error(what));
    }

    pub(crate) fn leave(&mut self, now: Instant, reason: &str, membership: GroupMembership) {
        self.core.outbox.forget_partitions();
        self.owned.all.clear();
        self.owned.revoking.clear();
        let has_id = !self.member_id.is_empty();
        let mut is_known = self.state.is_member() && has_id;
        let join_without_id = match mem::replace(&mut self.state, State::Outside) {
            State::Leaving { leave, until, reason, .. } => {
                self.state = State::Leaving { leave, until, reason, then: AfterLeaving::Outside };
                return;
            }
            State::Joining { join, .. } if !has_id => join.sent().map(|sent| (join, sent)),
            State::Unpolled { static_id } => {
                is_known = !static_id.is_empty();
                self.member_id = static_id;
                None
            }
            _ => None,
        };
        let sends_leave = match membership {
            GroupMembership::Default => self.core.config.instance_id.is_none(),
            GroupMembership::Leave => true,
            GroupMembership::Remain => false,
        };
        if sends_leave && (is_known || join_without_id.is_some()) {
            self.start_leaving(now, reason, AfterLeaving::Outside);
            if let (State::Leaving { leave, until, .. }, Some((join, sent))) =
                (&mut self.state, join_without_id)
            {
                *leave = join; // its answer has the member id to leave with
                if self.core.config.instance_id.is_none() {
                    // It is due at once (since Kafka 2.2; before, the member would stay until its session timeout is over, as with
                    // Java's consumer, which does not wait at all). The coordinator forgets an id that nobody joins with by then, too.
                    *until = (*until).min(sent.at + self.core.config.heartbeats_apart());
                }
            }
        } else {
            // A static member keeps its partitions until its session expires (KIP-345).
            self.member_id.clear();
            self.core.outbox.push(Event::Left);
        }
    }

    pub(crate) fn revocation_done(&mut self, now: Instant, id: RevocationId) {
        if !self.core.outbox.confirm(id) {
            return;
        }
        for partition in mem::take(&mut self.owned.revoking) {
            self.owned.all.remove(&partition);
        }
        if let State::Revoking { reason, .. } = self.state {
            self.join_again(now, reason);
        }
    }

    pub(crate) fn on_poll(&mut self, now: Instant) {
        self.core.poll_timer.on_poll(now);
        match &mut self.state {
            State::Unpolled { .. } => self.join_again(now, "polling again"),
            State::Leaving { then, .. } => then.on_poll(),
            _ => {}
        }
    }

    pub(crate) fn on_commit_refused(&mut self, now: Instant, code: ErrorCode, identity: &Identity) {
        if self.identity().as_ref() != Some(identity) {
            return; // made with an earlier identity (FAILURES E4)
        }
        match code {
            ErrorCode::UnknownMemberId => self.lose_membership(now, MemberId::Forgotten),
            ErrorCode::IllegalGeneration => self.on_illegal_generation(now),
            ErrorCode::FencedInstanceId => self.fail(self.core.fenced_error()),
            ErrorCode::RebalanceInProgress if matches!(self.state, State::Stable { .. }) => {
                self.join_again(now, "the group is rebalancing");
            }
            _ => {}
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let is_over = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        if is_over(self.poll_deadline()) {
            self.poll_interval_exceeded(now);
        }
        if is_over(self.warning_deadline()) {
            self.core.warn_of_poll_interval();
        }
        if is_over(self.session_deadline()) {
            self.session_expired(now);
        }
        if let Some(step) = self.state.step().filter(|step| step.is_overdue(now)) {
            self.step_timed_out(now, step.sent(), "no answer");
        }
        if let Some(heartbeat) = self.state.heartbeat().filter(|heartbeat| heartbeat.is_overdue(now)) {
            self.core.coordinator_lost(heartbeat.sent());
            self.retry(now, CallKind::Heartbeat, "no answer");
        }
        if is_over(self.follow_up_deadline()) {
            self.join_again(now, UNASSIGNED);
        }
        if let State::Leaving { until, .. } = self.state
            && until <= now
        {
            self.finish_leaving(now);
        }
    }

    // ── outputs ──────────────────────────────────────────────────────────────────────────────────────────────────────

    pub(crate) fn poll_transmit(
        &mut self,
        now: Instant,
        coordinator: Option<BrokerId>,
        cluster: &Cluster,
    ) -> Option<Transmit> {
        self.check_kept_assignment(now, cluster);
        self.core.waits_for_coordinator =
            coordinator.is_none() && self.state.calls().any(|call| call.is_due_by(now));
        let coordinator = coordinator?;
        self.follow_coordinator(now, coordinator);
        self.prepare_assignment(now, cluster);
        self.transmit(now, coordinator, CallKind::Step)
            .or_else(|| self.transmit(now, coordinator, CallKind::Heartbeat))
    }

    fn transmit(&mut self, now: Instant, coordinator: BrokerId, kind: CallKind) -> Option<Transmit> {
        let (timeout, prompt) = (self.timeout(kind), self.prompt_answer(kind));
        let call = match kind {
            CallKind::Step => self.state.step_mut(),
            CallKind::Heartbeat => self.state.heartbeat_mut(),
        };
        let id = call?.start(now, &mut self.core.ids, timeout, coordinator)?;
        self.core.last_asked = Some(coordinator);
        if let (State::Joining { sent_subscription, first_sent_at, membership, .. }, CallKind::Step) =
            (&mut self.state, kind)
        {
            if let Some(membership) = membership.as_mut().filter(|membership| membership.is_over) {
                membership.heartbeat = CoordinatorCall::due(now + self.core.config.heartbeats_apart());
            }
            sent_subscription.clone_from(&self.subscription);
            first_sent_at.get_or_insert(now);
        }
        match self.request(kind) {
            Ok(request) => {
                let to = offtake_machine::Target::Broker(coordinator);
                Some(Transmit { id, to, request: request?, max_version: None, timeout, prompt })
            }
            Err(error) => {
                self.fail(GroupError::NotEncodable {
                    group: self.core.config.group.clone(),
                    reason: error.to_string(),
                });
                None
            }
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let calls = self.state.calls().filter(|call| !(self.core.waits_for_coordinator && call.is_due()));
        let until = match self.state {
            State::Leaving { until, .. } => Some(until),
            _ => None,
        };
        earliest([
            earliest(calls.map(CoordinatorCall::deadline)),
            until,
            self.warning_deadline(),
            self.poll_deadline(),
            self.session_deadline(),
            self.follow_up_deadline(),
        ])
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.core.outbox.pop()
    }

    pub(crate) fn awaits(&self, id: CallId) -> bool {
        self.state.calls().any(|call| call.awaits(id))
    }

    pub(crate) fn wants_coordinator(&self) -> bool {
        self.state.calls().any(|call| !call.is_idle())
    }

    pub(crate) fn group_topics(&self) -> Option<&BTreeSet<Topic>> {
        self.state.membership()?.lead.as_ref().map(lead::Lead::topics)
    }

    pub(crate) fn identity(&self) -> Option<Identity> {
        let membership = self.state.membership()?;
        let takes_commits = match &self.state {
            State::Stable { .. } | State::Revoking { .. } => true,
            // Until all members have joined, the coordinator accepts commits of the generation that is ending.
            State::Joining { .. } => !membership.is_over,
            // It refuses commits of a generation that has no assignment yet.
            State::Syncing { .. } => false,
            State::Outside | State::Unpolled { .. } | State::Failed | State::Leaving { .. } => false,
        };
        // A member that has not renewed its session may have been removed already.
        let is_alive = self.valid_until().is_some();
        (takes_commits && is_alive).then(|| Identity {
            protocol: GroupProtocol::Classic,
            generation: membership.generation,
            member_id: self.member_id.clone(),
            instance_id: self.core.config.instance_id.clone(),
        })
    }

    pub(crate) fn owned(&self) -> &BTreeSet<TopicPartition> {
        &self.owned.all
    }

    pub(crate) fn valid_until(&self) -> Option<Instant> {
        let membership = self.state.membership()?;
        let by_session = membership.session.valid_until(self.core.config.session_timeout)?;
        Some(by_session.min(membership.revoke_by(self.core.config.rebalance_timeout)?))
    }

    pub(crate) fn last_accepted_at(&self) -> Option<Instant> {
        self.state.membership()?.session.last_accepted_at()
    }

    pub(crate) fn revoke_by(&self) -> Option<Instant> {
        self.state.membership()?.revoke_by(self.core.config.rebalance_timeout)
    }

    pub(crate) fn is_out_until_revoked(&self) -> bool {
        matches!(self.state, State::Revoking { membership: None, .. })
    }

    pub(crate) fn stage(&self) -> Stage {
        match &self.state {
            State::Outside => Stage::Outside,
            State::Unpolled { .. } | State::Leaving { then: AfterLeaving::Unpolled, .. } => Stage::Unpolled,
            State::Failed => Stage::Failed,
            State::Joining { membership: None, .. } => Stage::Joining,
            // Its first generation has not assigned anything yet.
            State::Syncing { .. } if self.owned.all.is_empty() => Stage::Joining,
            State::Joining { .. } | State::Syncing { .. } | State::Revoking { .. } => Stage::Rebalancing,
            State::Stable { .. } => Stage::Stable,
            State::Leaving { .. } => Stage::Leaving,
        }
    }

    pub(crate) fn assignor(&self) -> Option<&str> {
        self.state.membership().map(|membership| membership.assignor.name())
    }

    pub(crate) fn state_name(&self) -> &'static str {
        match self.state {
            State::Outside => "outside",
            State::Unpolled { .. } => "not polled",
            State::Failed => "failed",
            State::Joining { .. } => "joining",
            State::Syncing { .. } => "syncing",
            State::Stable { .. } => "stable",
            State::Revoking { .. } => "revoking",
            State::Leaving { .. } => "leaving",
        }
    }
}

/// Reasons for the broker's log (KIP-800).
const UNASSIGNED: &str = "unassigned partitions after a cooperative revocation";
const PARTITIONS_CHANGED: &str = "the partitions of the group's topics have changed";
