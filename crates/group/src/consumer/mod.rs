//! The consumer protocol (KIP-848): the broker assigns, and ConsumerGroupHeartbeat is the only request of a member.
//!
//! ```text
//! Outside ─subscribe─▶ Joining ─▶ Member ─leave─▶ Leaving ─▶ Outside
//!                        ▲          │ fenced: everything is lost
//!                        └─ Revoking ◀┘
//! ```
//! A member owns partitions and may have a target that differs. First it revokes what is not in the target, then it adds what
//! is new, then it reports what it owns.
//!
//! A member whose assignment has just changed, or that has just joined, sends heartbeats more often for a short time
//! ([`Consumer::expect_assignment_change`]): it learns only with a heartbeat what other members have revoked for it.
//!
//! Always true:
//! - at most one heartbeat is outstanding, and none is overdue while this is a member, even during callbacks;
//! - a heartbeat reports as owned what the application has: nothing that was not added yet, and nothing that is revoked
//!   (FAILURES F4, F7);
//! - only the newest target counts; one that arrives during a revocation replaces the one before (FAILURES F7);
//! - after a heartbeat without an answer the next one is full (FAILURES F14), and a member that joins owns nothing;
//! - the member makes its id itself and keeps it (KIP-1082); the broker sets the epoch, and only positive ones count
//!   (FAILURES F6).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use offtake_machine::{
    BrokerId, CallId, Cluster, GroupProtocol, Identity, SplitMix64, Target, Topic, TopicPartition, Transmit,
    earliest,
};
use offtake_wire::{ErrorCode, Uuid};

use crate::{
    Stage,
    call::CoordinatorCall,
    config::Config,
    core::{AfterLeaving, MemberCore},
    event::{Event, GroupMembership, RevocationId},
    pacer::HeartbeatPacer,
    session::Session,
};

mod answers;
#[cfg(feature = "_model")]
mod fingerprint;
mod reconciliation;
mod requests;
mod session_timeout;
mod state;
mod transitions;

use reconciliation::Reconciliation;
use requests::{JOIN, LEAVE, STATIC_LEAVE};
use session_timeout::SessionTimeout;
use state::{PendingFields, State};

/// One member.
#[derive(Clone, Debug)]
pub(crate) struct Consumer {
    core: MemberCore,
    state: State,
    subscription: BTreeSet<Topic>,
    /// The subscribed pattern; empty if there is none.
    pattern: String,
    /// Whether the broker may have a pattern of this member. Then an empty one has to be sent.
    pattern_sent: bool,
    member_id: String,
    /// The member epoch; 0 while this is no member.
    epoch: i32,
    /// The time between heartbeats, from the broker.
    interval: Duration,
    pacer: HeartbeatPacer,
    /// Topic names by id, from all metadata so far, without those of topics that are known to be gone.
    names: BTreeMap<Uuid, Topic>,
    partitions: Reconciliation,
    pending: PendingFields,
    /// Send the next heartbeat as soon as the outstanding one is answered. For a static member that leaves:
    /// the outstanding one leaves only temporarily.
    heartbeat_at_once: bool,
    session: Session,
    session_timeout: SessionTimeout,
    /// When the first heartbeat was sent that is still unanswered. Its response may have requested a
    /// revocation.
    unanswered_since: Option<Instant>,
    /// Since when, at the earliest, the broker waits for a revocation. After the rebalance timeout it removes the member.
    revoking_since: Option<Instant>,
    /// The epoch of the last `Assigned` event.
    announced_epoch: Option<i32>,
    /// Since when another process, or this member before its session ended, has the instance id.
    unreleased_since: Option<Instant>,
}

impl Consumer {
    pub(crate) fn new(config: Config) -> Self {
        let core = MemberCore::new(config);
        Self {
            state: State::Outside,
            subscription: BTreeSet::new(),
            pattern: String::new(),
            pattern_sent: false,
            member_id: member_id(&core.config),
            epoch: JOIN,
            interval: core.config.heartbeat_interval,
            pacer: HeartbeatPacer::default(),
            names: BTreeMap::new(),
            partitions: Reconciliation::default(),
            pending: PendingFields::default(),
            heartbeat_at_once: false,
            session: Session::default(),
            session_timeout: SessionTimeout::new(&core.config),
            unanswered_since: None,
            revoking_since: None,
            announced_epoch: None,
            unreleased_since: None,
            core,
        }
    }

    // ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────

    pub(crate) fn subscribe(&mut self, now: Instant, topics: BTreeSet<Topic>, pattern: &str) {
        let changed = self.subscription != topics || self.pattern != pattern;
        self.subscription = topics;
        pattern.clone_into(&mut self.pattern);
        match &mut self.state {
            State::Outside | State::Failed => {
                self.core.poll_timer.restart(now);
                self.join(now);
            }
            State::Leaving { then, .. } => {
                if then.on_subscribe() {
                    self.core.poll_timer.restart(now);
                }
            }
            // A joining heartbeat contains the subscription anyway, unless it was sent already.
            State::Joining { .. } | State::Member { .. } if changed => {
                self.pending.subscription = true;
                self.heartbeat_now(now);
            }
            State::Joining { .. } | State::Member { .. } | State::Revoking | State::Unpolled => {}
        }
    }

    fn learn_session_timeout(&mut self, timeout: Duration) {
        self.core.config.session_timeout = timeout;
        self.session.set_timeout(timeout);
    }

    pub(crate) fn leave(&mut self, now: Instant, membership: GroupMembership) {
        self.core.outbox.forget_partitions();
        self.partitions = Reconciliation::default();
        if let State::Leaving { heartbeat, epoch, then, .. } = &mut self.state {
            *then = AfterLeaving::Outside;
            if *epoch == STATIC_LEAVE && membership == GroupMembership::Leave {
                *epoch = LEAVE;
                self.heartbeat_at_once = heartbeat.is_sent();
            }
            self.unreleased_since = None;
            return;
        }
        // The broker may have received a heartbeat that joins.
        self.session_timeout.cancel();
        let known = match &self.state {
            State::Member { .. } => true,
            State::Joining { heartbeat } => heartbeat.is_sent() || self.pending.full,
            // The broker keeps the place of a static member that has left temporarily.
            State::Unpolled => membership == GroupMembership::Leave && self.core.config.instance_id.is_some(),
            State::Outside | State::Failed | State::Revoking | State::Leaving { .. } => false,
        };
        self.reset_membership();
        if let Some(epoch) = self.leave_epoch(membership).filter(|_| known) {
            self.start_leaving(now, epoch, AfterLeaving::Outside);
        } else {
            self.state = State::Outside;
            self.core.outbox.push(Event::Left);
        }
    }

    pub(crate) fn revocation_done(&mut self, now: Instant, id: RevocationId) {
        if !self.core.outbox.confirm(id) {
            return;
        }
        self.partitions.revocation_done();
        match self.state {
            State::Revoking => self.join(now),
            State::Member { .. } => {
                self.pending.owned = true;
                self.expect_assignment_change(now, self.interval);
                self.heartbeat_now(now);
                self.reconcile(now);
            }
            _ => {}
        }
    }

    pub(crate) fn on_poll(&mut self, now: Instant) {
        self.core.poll_timer.on_poll(now);
        match &mut self.state {
            State::Unpolled => self.join(now),
            State::Leaving { then, .. } => then.on_poll(),
            _ => {}
        }
    }

    pub(crate) fn on_commit_refused(&mut self, now: Instant, code: ErrorCode, identity: &Identity) {
        if self.identity().as_ref() != Some(identity) {
            return; // made with an earlier identity
        }
        match code {
            // The next heartbeat's response has the epoch; the partitions are still owned (FAILURES F2, F3).
            ErrorCode::StaleMemberEpoch | ErrorCode::IllegalGeneration => self.heartbeat_now(now),
            ErrorCode::UnknownMemberId | ErrorCode::FencedMemberEpoch => self.lose_membership(now),
            ErrorCode::FencedInstanceId => self.fail(self.core.fenced_error()),
            _ => {}
        }
    }

    pub(crate) fn handle_cluster(&mut self, now: Instant, cluster: &Cluster) {
        let named = || cluster.topics.iter().filter(|(_, topic)| topic.id != Uuid::ZERO);
        let shown: BTreeSet<Uuid> = named().map(|(_, topic)| topic.id).collect();
        // If the broker matches a pattern, all topics are listed only now and then.
        let shows_all = cluster.lists_all || self.pattern.is_empty();
        self.names.retain(|id, name| {
            let is_gone = shows_all || cluster.topics.contains_key(name);
            shown.contains(id) || !is_gone || self.partitions.is_to_be_assigned(*id)
        });
        self.names.extend(named().map(|(name, topic)| (topic.id, name.clone())));
        self.reconcile(now);
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
            self.core.session_expired();
            self.lose_membership(now);
        }
        if let Some(heartbeat) = self.state.heartbeat().filter(|heartbeat| heartbeat.is_overdue(now)) {
            self.core.coordinator_lost(heartbeat.sent());
            self.retry(now, "no answer");
        }
        if let State::Leaving { until, .. } = self.state
            && until <= now
        {
            self.finish_leaving(now);
        }
        self.session_timeout.handle_timeout(now);
    }

    // ── outputs ──────────────────────────────────────────────────────────────────────────────────────────────────────

    pub(crate) fn poll_transmit(
        &mut self,
        now: Instant,
        coordinator: Option<BrokerId>,
        cluster: &Cluster,
    ) -> Option<Transmit> {
        if !self.unnamed_topic_ids().is_empty() {
            self.handle_cluster(now, cluster);
        }
        if let Some(transmit) = self.session_timeout.poll_transmit(now, &mut self.core.ids) {
            return Some(transmit);
        }
        let is_due = self.state.heartbeat().is_some_and(|heartbeat| heartbeat.is_due_by(now));
        self.core.waits_for_coordinator = is_due && coordinator.is_none();
        let coordinator = coordinator?;
        let config = &self.core.config;
        let timeout = match self.state {
            State::Member { .. } => config.request_timeout.min(config.session_timeout / 2),
            _ => config.request_timeout,
        };
        let id = self.state.heartbeat_mut()?.start(now, &mut self.core.ids, timeout, coordinator)?;
        self.core.last_asked = Some(coordinator);
        self.unanswered_since.get_or_insert(now);
        let request = self.request();
        Some(Transmit {
            id,
            to: Target::Broker(coordinator),
            request: request.into(),
            max_version: None,
            prompt: None,
            timeout,
        })
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let heartbeat = self
            .state
            .heartbeat()
            .filter(|heartbeat| !(self.core.waits_for_coordinator && heartbeat.is_due()));
        let until = match self.state {
            State::Leaving { until, .. } => Some(until),
            _ => None,
        };
        earliest([
            heartbeat.and_then(CoordinatorCall::deadline),
            until,
            self.warning_deadline(),
            self.poll_deadline(),
            self.session_deadline(),
            self.session_timeout.poll_timeout(),
        ])
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.core.outbox.pop()
    }

    pub(crate) fn awaits(&self, id: CallId) -> bool {
        self.session_timeout.awaits(id)
            || self.state.heartbeat().is_some_and(|heartbeat| heartbeat.awaits(id))
    }

    pub(crate) fn wants_coordinator(&self) -> bool {
        self.state.heartbeat().is_some_and(|heartbeat| !heartbeat.is_idle())
    }

    pub(crate) fn unnamed_topic_ids(&self) -> Vec<Uuid> {
        self.partitions.unnamed(&self.names)
    }

    pub(crate) fn topic_ids(&self) -> BTreeMap<Topic, Uuid> {
        self.partitions.topic_ids()
    }

    pub(crate) fn identity(&self) -> Option<Identity> {
        matches!(self.state, State::Member { .. }).then(|| Identity {
            protocol: GroupProtocol::Consumer,
            generation: self.epoch,
            member_id: self.member_id.clone(),
            instance_id: self.core.config.instance_id.clone(),
        })
    }

    pub(crate) fn owned(&self) -> &BTreeSet<TopicPartition> {
        self.partitions.names()
    }

    pub(crate) fn valid_until(&self) -> Option<Instant> {
        let by_session = self.session.valid_until(self.core.config.session_timeout)?;
        Some(self.revoke_by().map_or(by_session, |until| until.min(by_session)))
    }

    pub(crate) fn last_accepted_at(&self) -> Option<Instant> {
        self.session.last_accepted_at()
    }

    pub(crate) fn revoke_by(&self) -> Option<Instant> {
        earliest([self.revoking_since, self.unanswered_since])?
            .checked_add(self.core.config.rebalance_timeout)
    }

    pub(crate) fn is_out_until_revoked(&self) -> bool {
        matches!(self.state, State::Revoking)
    }

    pub(crate) fn stage(&self) -> Stage {
        match &self.state {
            State::Outside => Stage::Outside,
            State::Unpolled | State::Leaving { then: AfterLeaving::Unpolled, .. } => Stage::Unpolled,
            State::Failed => Stage::Failed,
            State::Joining { .. } => Stage::Joining,
            State::Member { .. } if self.partitions.is_settled() => Stage::Stable,
            State::Member { .. } | State::Revoking => Stage::Rebalancing,
            State::Leaving { .. } => Stage::Leaving,
        }
    }

    pub(crate) fn assignor(&self) -> Option<&str> {
        match &self.core.config.protocol {
            crate::Protocol::Consumer { remote_assignor } => remote_assignor.as_deref(),
            crate::Protocol::Classic => None,
        }
    }

    pub(crate) fn state_name(&self) -> &'static str {
        match self.state {
            State::Outside => "outside",
            State::Unpolled => "not polled",
            State::Failed => "failed",
            State::Joining { .. } => "joining",
            State::Member { .. } if self.partitions.is_settled() => "stable",
            State::Member { .. } => "reconciling",
            State::Revoking => "revoking",
            State::Leaving { .. } => "leaving",
        }
    }
}

/// A random id, in Kafka's format (KIP-1082).
fn member_id(config: &Config) -> String {
    let mut random = SplitMix64::new(config.seed);
    let mut draw = || u128::from(random.next_u64());
    Uuid(((draw() << 64) | draw()).to_be_bytes()).to_string()
}
