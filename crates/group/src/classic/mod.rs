//! The classic protocol: JoinGroup, SyncGroup, Heartbeat, LeaveGroup. The members vote for an assignor, one of them
//! applies it.
//!
//! ```text
//! Outside ─subscribe─▶ Joining ─▶ Syncing ─▶ Stable ─leave─▶ Leaving ─▶ Outside
//!                        ▲                     │ something has to be let go first
//!                        └──── Releasing ◀─────┘
//! ```
//!
//! Always true:
//! - at most one JoinGroup, SyncGroup or LeaveGroup is outstanding, and beside it at most one heartbeat; an answer to any
//!   other call changes nothing (FAILURES C7);
//! - a JoinGroup claims only what the application has not let go of, and leaves only when nothing that has to be let go
//!   is still held;
//! - a heartbeat is never overdue while we are in a generation. A JoinGroup or SyncGroup may wait at the coordinator for as
//!   long as the slowest member takes: until it is answered, the heartbeats of the generation we were in keep what we hold
//!   ours, and tell whether the coordinator still lives. (It keeps a member whose JoinGroup waits without them, D11; but
//!   then only it knows.) For that they need connections of their own: Kafka reads no further request of a connection
//!   whose JoinGroup waits;
//! - the identity is reset no further than an error implies: a moved coordinator costs nothing, an illegal generation
//!   the partitions, an unknown member id that too.
//!
//! Eager and cooperative differ in `Classic::before_joining` alone. KIP-62, 345, 394, 429, 792, 800, 814.
//!
//! A cooperative rebalance in which partitions move is followed by a second one. Its members hear of that with a
//! heartbeat, so that after a SyncGroup who may have to expect one beats [quickly](follow_up) for a while.

use std::{collections::BTreeSet, mem, time::Instant};

use offtake_machine::{BrokerId, CallIds, Cluster, Topic, TopicPartition, Transmit, earliest};
use offtake_wire::ErrorCode;

use crate::{
    assignor::{RebalanceProtocol, Strategy},
    config::Config,
    event::{Event, GroupError, GroupMembership, Identity, Outbox, ReleaseId},
    exchange::Exchange,
    health::Health,
    pace::Pace,
};

mod answers;
mod fingerprint;
mod follow_up;
mod lead;
mod requests;
mod stamp;
mod state;
mod transitions;

use follow_up::{FollowUp, WithheldFrom};
use lead::Lead;
use stamp::Stamp;
use state::{As, Held, Kind, Next, Plan, State};

/// One member.
#[derive(Clone, Debug)]
pub(crate) struct Classic {
    config: Config,
    ids: CallIds,
    health: Health,
    outbox: Outbox,
    state: State,
    subscription: BTreeSet<Topic>,
    /// Empty before the coordinator has given one.
    member_id: String,
    /// The generation we have joined, unless it is over for us.
    generation: Option<i32>,
    /// What the generation voted for.
    assignor: Option<Strategy>,
    lead: Option<Lead>,
    /// Whether this generation is to be followed by another.
    follow_up: FollowUp,
    /// As leader: when to ask for that rebalance ourselves.
    overdue: Option<Instant>,
    pace: Pace,
    held: Held,
    /// When the last call left that the coordinator took as a sign of life.
    alive: Option<Instant>,
    /// When the last call left that was answered as if nothing was the matter: no rebalance that we do not take part in
    /// can be over before the rebalance timeout counted from here.
    undisturbed: Option<Instant>,
    /// When we give ourselves up.
    deadline: Option<Instant>,
    polled: Option<Instant>,
    /// Whether that silence has been spoken of.
    warned: bool,
    /// The coordinator that was asked last.
    last_asked: Option<BrokerId>,
    /// A call is due but nobody knows the coordinator.
    blocked: bool,
    /// Why to join again as soon as this rebalance is through.
    again: Option<&'static str>,
    /// As a static member: we were told to let go of partitions that move, and have not joined again since. Until then
    /// nobody has them. Outlives the membership: who comes back gets its old assignment, without a rebalance.
    owes_rebalance: bool,
}

impl Classic {
    pub(crate) fn new(config: Config) -> Self {
        let config = config.within_the_wire();
        Self {
            health: Health::new(config.backoff, config.seed),
            config,
            ids: CallIds::default(),
            outbox: Outbox::default(),
            state: State::Outside,
            subscription: BTreeSet::new(),
            member_id: String::new(),
            generation: None,
            assignor: None,
            lead: None,
            follow_up: FollowUp::None,
            overdue: None,
            pace: Pace::default(),
            held: Held::default(),
            alive: None,
            undisturbed: None,
            deadline: None,
            polled: None,
            warned: false,
            last_asked: None,
            blocked: false,
            again: None,
            owes_rebalance: false,
        }
    }

    // ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────

    pub(crate) fn subscribe(&mut self, now: Instant, topics: BTreeSet<Topic>) {
        let changed = self.subscription != topics;
        self.subscription = topics;
        match &mut self.state {
            State::Outside | State::Failed => {
                (self.polled, self.warned) = (Some(now), false);
                self.join_again(now, "subscribed");
            }
            State::Leaving { then: then @ Next::Outside, .. } => {
                (self.polled, self.warned) = (Some(now), false);
                *then = Next::LeftThenJoin;
            }
            State::Leaving { then: then @ Next::Failed, .. } => {
                (self.polled, self.warned) = (Some(now), false);
                *then = Next::Join;
            }
            State::Stable { .. } if changed => self.join_again(now, "the subscription has changed"),
            // Compared with what was asked for when the rebalance is through; or asked for when it begins.
            State::Stable { .. }
            | State::Joining { .. }
            | State::Syncing { .. }
            | State::Releasing { .. }
            | State::Leaving { .. }
            | State::Unpolled => {}
        }
    }

    pub(crate) fn refuse_pattern(&mut self) {
        self.fail(GroupError::UnsupportedVersion {
            group: self.config.group.clone(),
            what:
                "the classic protocol has no patterns that the broker resolves; group.protocol=consumer has"
                    .into(),
        });
    }

    pub(crate) fn leave(&mut self, now: Instant, reason: &str, membership: GroupMembership) {
        self.outbox.forget_partitions();
        self.held.all.clear();
        self.held.leaving.clear();
        if let State::Leaving { then, .. } = &mut self.state {
            *then = Next::Outside;
            return;
        }
        let (is_member, is_named) = (self.state.is_member(), !self.member_id.is_empty());
        let asks_for_a_name = match &self.state {
            State::Joining { join, .. } if join.is_sent() && !is_named => Some(*join),
            _ => None,
        };
        self.step_out();
        let says_so = match membership {
            GroupMembership::Default => self.config.instance_id.is_none(),
            GroupMembership::Leave => true,
            GroupMembership::Remain => false,
        };
        if is_member && says_so && (is_named || asks_for_a_name.is_some()) {
            self.say_goodbye(now, reason, Next::Outside);
            if let (State::Leaving { leave, .. }, Some(asked)) = (&mut self.state, asks_for_a_name) {
                *leave = asked; // the answer says who it is that has to be taken leave of
            }
        } else {
            // Away for as long as its session lasts (KIP-345).
            self.member_id.clear();
            self.state = State::Outside;
            self.outbox.push(Event::Left);
        }
    }

    pub(crate) fn released(&mut self, now: Instant, id: ReleaseId) {
        if !self.outbox.released(id) {
            return;
        }
        for partition in mem::take(&mut self.held.leaving) {
            self.held.all.remove(&partition);
        }
        if let State::Releasing { reason, .. } = self.state {
            self.join_again(now, reason);
        }
    }

    pub(crate) fn polled(&mut self, now: Instant) {
        if self.polled < Some(now) {
            (self.polled, self.warned) = (Some(now), false);
        }
        match &mut self.state {
            State::Unpolled => self.join_again(now, "polling again"),
            State::Leaving { then: then @ Next::Unpolled, .. } => *then = Next::Join,
            _ => {}
        }
    }

    pub(crate) fn commit_refused(&mut self, now: Instant, code: ErrorCode, identity: &Identity) {
        if self.identity().as_ref() != Some(identity) {
            return; // made as somebody that we no longer are (FAILURES E4)
        }
        match code {
            ErrorCode::UnknownMemberId => self.lost(now, As::New),
            ErrorCode::IllegalGeneration => self.generation_is_over(now),
            ErrorCode::FencedInstanceId => self.fail(self.fenced()),
            ErrorCode::RebalanceInProgress if matches!(self.state, State::Stable { .. }) => {
                self.join_again(now, "the group is rebalancing");
            }
            _ => {}
        }
    }

    pub(crate) fn handle_cluster(&mut self, now: Instant, cluster: &Cluster) {
        let Some(lead) = &mut self.lead else { return };
        match &mut self.state {
            State::Syncing { plan: Plan::Make, .. } if !lead.knows_enough(cluster) => {}
            State::Syncing { sync, plan: Plan::Make, .. } => *sync = Exchange::due(now),
            State::Syncing { .. } if lead.outdated_by(cluster) => self.again = Some(PARTITIONS_CHANGED),
            State::Stable { .. } if lead.outdated_by(cluster) => self.join_again(now, PARTITIONS_CHANGED),
            _ => {}
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.poll_deadline().is_some_and(|deadline| deadline <= now) {
            self.poll_interval_exceeded(now);
        }
        if self.warning_deadline().is_some_and(|deadline| deadline <= now)
            && let Some(since) = self.polled
        {
            self.warned = true;
            self.outbox.push(Event::PollIntervalWarning { since });
        }
        if self.session_deadline().is_some_and(|deadline| deadline <= now) {
            self.session_expired(now);
        }
        if let Some(step) = self.state.step().filter(|step| step.is_overdue(now)) {
            self.coordinator_lost(step.sent());
            self.retry(now, "no answer");
        }
        if let Some(heartbeat) = self.state.heartbeat().filter(|heartbeat| heartbeat.is_overdue(now)) {
            self.coordinator_lost(heartbeat.sent());
            self.retry_heartbeat(now, "no answer");
        }
        if self.follow_up_deadline().is_some_and(|deadline| deadline <= now) {
            self.join_again(now, NOBODYS);
        }
        if let State::Leaving { until, .. } = self.state
            && until <= now
        {
            self.gone(now);
        }
    }

    // ── outputs ──────────────────────────────────────────────────────────────────────────────────────────────────────

    pub(crate) fn poll_transmit(
        &mut self,
        now: Instant,
        coordinator: Option<BrokerId>,
        cluster: &Cluster,
    ) -> Option<Transmit> {
        if let (State::Stable { .. }, Some(lead)) = (&self.state, &mut self.lead)
            && lead.is_new()
            && lead.outdated_by(cluster)
        {
            self.join_again(now, PARTITIONS_CHANGED);
        }
        self.blocked =
            coordinator.is_none() && self.state.exchanges().any(|exchange| exchange.is_due_by(now));
        let coordinator = coordinator?;
        self.follow_coordinator(now, coordinator);
        if let State::Syncing { sync, plan, .. } = &mut self.state
            && sync.is_due()
            && let Some(lead) = &mut self.lead
        {
            match plan {
                Plan::Make if sync.is_due_by(now) || lead.knows_enough(cluster) => {
                    let mut assignments = lead.assign(cluster);
                    let cooperates = self.assignor.as_ref().map(Strategy::protocol)
                        == Some(RebalanceProtocol::Cooperative);
                    let withheld = follow_up::withheld(lead, cluster, &assignments).filter(|_| cooperates);
                    if let Some(from) = withheld {
                        self.follow_up = FollowUp::Certain(from);
                    }
                    if let (Some(print), Some(_)) = (lead.print(), &self.config.instance_id) {
                        let withholds = withheld == Some(WithheldFrom::Static);
                        Stamp { withholds, print }.write(&mut assignments, &self.member_id);
                    }
                    *plan = Plan::Say(assignments);
                    *sync = Exchange::due(now);
                }
                Plan::Keep => {
                    lead.keep(cluster);
                    *plan = Plan::Say(Vec::new());
                }
                Plan::Make | Plan::Say(_) => {}
            }
        }
        self.transmit(now, coordinator, Kind::Step)
            .or_else(|| self.transmit(now, coordinator, Kind::Heartbeat))
    }

    fn transmit(&mut self, now: Instant, coordinator: BrokerId, kind: Kind) -> Option<Transmit> {
        let timeout = self.timeout(kind);
        let exchange = match kind {
            Kind::Step => self.state.step_mut(),
            Kind::Heartbeat => self.state.heartbeat_mut(),
        };
        let id = exchange?.start(now, &mut self.ids, timeout, coordinator)?;
        self.last_asked = Some(coordinator);
        if let (State::Joining { asked, .. }, Kind::Step) = (&mut self.state, kind) {
            asked.clone_from(&self.subscription);
        }
        match self.request(kind) {
            Ok(request) => {
                let to = offtake_machine::Target::Broker(coordinator);
                Some(Transmit { id, to, request: request?, max_version: None, timeout })
            }
            Err(error) => {
                self.fail(GroupError::Unsayable {
                    group: self.config.group.clone(),
                    reason: error.to_string(),
                });
                None
            }
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let calls = self.state.exchanges().filter(|exchange| !(self.blocked && exchange.is_due()));
        let until = match self.state {
            State::Leaving { until, .. } => Some(until),
            _ => None,
        };
        earliest([
            earliest(calls.map(Exchange::deadline)),
            until,
            self.warning_deadline(),
            self.poll_deadline(),
            self.session_deadline(),
            self.follow_up_deadline(),
        ])
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.outbox.pop()
    }

    pub(crate) fn wants_coordinator(&self) -> bool {
        self.state.exchanges().any(|exchange| !exchange.is_idle())
    }

    pub(crate) fn group_topics(&self) -> Option<&BTreeSet<Topic>> {
        self.lead.as_ref().map(Lead::topics)
    }

    pub(crate) fn identity(&self) -> Option<Identity> {
        let is_of_a_generation = match &self.state {
            State::Stable { .. } | State::Releasing { .. } => true,
            // Until the others have joined too, the coordinator takes commits of the generation that is ending.
            State::Joining { heartbeat, .. } => !heartbeat.is_idle(),
            // It refuses those of the generation that has no assignment yet.
            State::Syncing { .. } => false,
            State::Outside | State::Unpolled | State::Failed | State::Leaving { .. } => false,
        };
        // A member that the coordinator has not heard of for a session may be gone already.
        let is_alive = self.valid_until().is_some();
        (is_of_a_generation && is_alive).then_some(Identity {
            generation: self.generation?,
            member_id: self.member_id.clone(),
            instance_id: self.config.instance_id.clone(),
        })
    }

    pub(crate) fn owned(&self) -> &BTreeSet<TopicPartition> {
        &self.held.all
    }

    pub(crate) fn valid_until(&self) -> Option<Instant> {
        let by_session = self.alive?.checked_add(self.config.session_timeout)?;
        Some(by_session.min(self.release_by()?))
    }

    pub(crate) fn release_by(&self) -> Option<Instant> {
        self.undisturbed?.checked_add(self.config.rebalance_timeout)
    }

    pub(crate) fn state_name(&self) -> &'static str {
        match self.state {
            State::Outside => "outside",
            State::Unpolled => "not polled",
            State::Failed => "failed",
            State::Joining { .. } => "joining",
            State::Syncing { .. } => "syncing",
            State::Stable { .. } => "stable",
            State::Releasing { .. } => "releasing",
            State::Leaving { .. } => "leaving",
        }
    }
}

const NOBODYS: &str = "partitions that were to move are still nobody's";
const PARTITIONS_CHANGED: &str = "the partitions of the group's topics have changed";
