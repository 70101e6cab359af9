//! The consumer protocol (KIP-848): the broker assigns, and ConsumerGroupHeartbeat is all there is to say.
//!
//! ```text
//! Outside ─subscribe─▶ Joining ─▶ Member ─leave─▶ Leaving ─▶ Outside
//!                        ▲          │ fenced: everything is lost
//!                        └─ Releasing ◀┘
//! ```
//! A member has what it owns and, at times, a target that differs. First it lets go of what is not in the target, then
//! it takes what is new, then it says what it has.
//!
//! Always true:
//! - at most one call is outstanding, and no heartbeat is overdue while we are a member, callbacks or not;
//! - a heartbeat says that we own what the application really holds: nothing not yet taken, nothing already let go
//!   (FAILURES F4, F7);
//! - only the newest target counts; one that arrives while the application lets go replaces the one before (F7);
//! - after a heartbeat of unknown fate the next one says everything (F14), and whoever joins owns nothing;
//! - the member id is our own and stays the same (KIP-1082); the epoch is the broker's, and only positive ones count (F6).

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    time::{Duration, Instant},
};

use offtake_machine::{BrokerId, Call, CallIds, Cluster, Target, Topic, TopicPartition, Transmit, earliest};
use offtake_wire::{
    ErrorCode, Uuid,
    messages::consumer_group_heartbeat::{ConsumerGroupHeartbeatRequest, TopicPartitions},
};

use crate::{
    config::{Config, Protocol, millis},
    event::{Event, GroupError, Identity, Outbox},
    health::Health,
};

mod answers;
mod holding;

use holding::Holding;

/// The epoch of a heartbeat that joins, leaves, or leaves as a static member that means to be back.
const JOIN: i32 = 0;
const LEAVE: i32 = -1;
const LEAVE_FOR_A_WHILE: i32 = -2;

/// One member.
#[derive(Debug)]
pub(crate) struct Consumer {
    config: Config,
    ids: CallIds,
    health: Health,
    outbox: Outbox,
    state: State,
    subscription: BTreeSet<Topic>,
    member_id: String,
    /// 0 while we are none.
    epoch: i32,
    /// Between heartbeats, as the broker wants it.
    interval: Duration,
    /// Names by id, of every topic we have heard of.
    names: BTreeMap<Uuid, Topic>,
    holding: Holding,
    say: Say,
    /// Send the next heartbeat as soon as the outstanding one is answered.
    hurry: bool,
    alive: Option<Instant>,
    /// Since when, at the earliest, the broker waits for us to let go of something: after the rebalance timeout it
    /// waits no longer, and takes everything.
    giving_up_since: Option<Instant>,
    /// The epoch that the application last heard of.
    announced: Option<i32>,
    deadline: Option<Instant>,
    polled: Option<Instant>,
    sent: Option<(Instant, BrokerId)>,
    /// Since when our instance id has been somebody else's.
    unreleased_since: Option<Instant>,
    blocked: bool,
}

#[derive(Debug)]
enum State {
    /// Not a member, and not trying to be one.
    Outside,
    /// Out because the application stopped polling; back when it does.
    Unpolled,
    /// Out for good.
    Failed,
    Joining {
        call: Call,
    },
    /// The call is the next heartbeat.
    Member {
        call: Call,
    },
    /// The application lets go of what is lost; then we join again. Silent until then (FAILURES F1).
    Releasing,
    Leaving {
        call: Call,
        until: Instant,
        then: Next,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Outside,
    Unpolled,
    /// The application has polled meanwhile.
    Join,
    /// It has left and subscribed again meanwhile.
    LeftThenJoin,
}

/// What the next heartbeat has to mention. Null means "as before".
#[derive(Clone, Copy, Debug, Default)]
struct Say {
    topics: bool,
    owned: bool,
    /// The broker may not have heard the last one.
    everything: bool,
}

impl State {
    fn call(&self) -> Option<&Call> {
        match self {
            Self::Outside | Self::Unpolled | Self::Failed | Self::Releasing => None,
            Self::Joining { call } | Self::Member { call } | Self::Leaving { call, .. } => Some(call),
        }
    }

    fn call_mut(&mut self) -> Option<&mut Call> {
        match self {
            Self::Outside | Self::Unpolled | Self::Failed | Self::Releasing => None,
            Self::Joining { call } | Self::Member { call } | Self::Leaving { call, .. } => Some(call),
        }
    }

    /// Whether the application is expected to poll.
    fn is_member(&self) -> bool {
        matches!(self, Self::Joining { .. } | Self::Member { .. } | Self::Releasing)
    }
}

impl Consumer {
    pub(crate) fn new(config: Config) -> Self {
        let config = config.within_the_wire();
        Self {
            health: Health::new(config.backoff, config.seed),
            ids: CallIds::default(),
            outbox: Outbox::default(),
            state: State::Outside,
            subscription: BTreeSet::new(),
            member_id: member_id(&config),
            epoch: JOIN,
            interval: config.heartbeat_interval,
            names: BTreeMap::new(),
            holding: Holding::default(),
            say: Say::default(),
            hurry: false,
            alive: None,
            giving_up_since: None,
            announced: None,
            deadline: None,
            polled: None,
            sent: None,
            unreleased_since: None,
            blocked: false,
            config,
        }
    }

    // ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────

    pub(crate) fn subscribe(&mut self, now: Instant, topics: BTreeSet<Topic>) {
        let changed = self.subscription != topics;
        self.subscription = topics;
        match &mut self.state {
            State::Outside | State::Failed => {
                self.polled = Some(now);
                self.join(now);
            }
            State::Leaving { then: then @ Next::Outside, .. } => {
                self.polled = Some(now);
                *then = Next::LeftThenJoin;
            }
            // A heartbeat that joins says it anyway, unless it is under way already.
            State::Joining { .. } | State::Member { .. } if changed => {
                self.say.topics = true;
                self.beat_soon(now);
            }
            State::Joining { .. }
            | State::Member { .. }
            | State::Releasing
            | State::Leaving { .. }
            | State::Unpolled => {}
        }
    }

    pub(crate) fn leave(&mut self, now: Instant) {
        self.outbox.forget_partitions();
        self.holding = Holding::default();
        if let State::Leaving { then, .. } = &mut self.state {
            *then = Next::Outside;
            return;
        }
        // A heartbeat that joins may have arrived already.
        let known = match &self.state {
            State::Member { .. } => true,
            State::Joining { call } => call.is_sent() || self.say.everything,
            _ => false,
        };
        self.step_out();
        if known {
            self.say_goodbye(now, Next::Outside);
        } else {
            self.state = State::Outside;
            self.outbox.push(Event::Left);
        }
    }

    pub(crate) fn released(&mut self, now: Instant) {
        if !self.outbox.released() {
            return;
        }
        self.holding.released();
        match self.state {
            State::Releasing => self.join(now),
            State::Member { .. } => {
                self.say.owned = true;
                self.beat_soon(now);
                self.reconcile(now);
            }
            _ => {}
        }
    }

    pub(crate) fn polled(&mut self, now: Instant) {
        self.polled = Some(now);
        match &mut self.state {
            State::Unpolled => self.join(now),
            State::Leaving { then: then @ Next::Unpolled, .. } => *then = Next::Join,
            _ => {}
        }
    }

    pub(crate) fn commit_refused(&mut self, now: Instant, code: ErrorCode, identity: &Identity) {
        if self.identity().as_ref() != Some(identity) {
            return; // made as somebody that we no longer are
        }
        match code {
            // The next heartbeat brings the epoch; what we own is ours all the same (FAILURES F2, F3).
            ErrorCode::StaleMemberEpoch | ErrorCode::IllegalGeneration => self.beat_soon(now),
            ErrorCode::UnknownMemberId | ErrorCode::FencedMemberEpoch => self.lost(now),
            ErrorCode::FencedInstanceId => self.fail(self.fenced()),
            _ => {}
        }
    }

    pub(crate) fn handle_cluster(&mut self, now: Instant, cluster: &Cluster) {
        for (name, topic) in cluster.topics.iter().filter(|(_, topic)| topic.id != Uuid::ZERO) {
            self.names.insert(topic.id, name.clone());
        }
        self.reconcile(now);
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.poll_deadline().is_some_and(|deadline| deadline <= now) {
            self.poll_interval_exceeded(now);
        }
        if self.session_deadline().is_some_and(|deadline| deadline <= now) {
            tracing::warn!(group = %self.config.group, timeout = ?self.config.session_timeout,
                "no heartbeat was accepted within the session timeout: membership is lost");
            self.coordinator_lost();
            self.lost(now);
        }
        if self.state.call().is_some_and(|call| call.is_overdue(now)) {
            self.coordinator_lost();
            self.retry(now, "no answer");
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
        if !self.wanted_topic_ids().is_empty() {
            self.handle_cluster(now, cluster);
        }
        self.blocked =
            coordinator.is_none() && matches!(self.state.call(), Some(Call::Due(at)) if *at <= now);
        let coordinator = coordinator?;
        let timeout = match self.state {
            State::Member { .. } => self.config.request_timeout.min(self.config.session_timeout / 2),
            _ => self.config.request_timeout,
        };
        let id = self.state.call_mut()?.start(now, &mut self.ids, timeout)?;
        self.sent = Some((now, coordinator));
        let request = self.request();
        Some(Transmit {
            id,
            to: Target::Broker(coordinator),
            request: request.into(),
            max_version: None,
            timeout,
        })
    }

    fn request(&mut self) -> ConsumerGroupHeartbeatRequest {
        let say = mem::take(&mut self.say);
        let (joins, leaves) =
            (matches!(self.state, State::Joining { .. }), matches!(self.state, State::Leaving { .. }));
        let everything = !leaves && (joins || say.everything);
        let remote_assignor = match &self.config.protocol {
            Protocol::Consumer { remote_assignor } => remote_assignor.clone(),
            Protocol::Classic => None,
        };
        let topics = || self.subscription.iter().map(|topic| topic.as_str().to_owned()).collect();
        ConsumerGroupHeartbeatRequest {
            group_id: self.config.group.clone(),
            member_id: self.member_id.clone(),
            member_epoch: match (&self.state, &self.config.instance_id) {
                (State::Leaving { .. }, None) => LEAVE,
                (State::Leaving { .. }, Some(_)) => LEAVE_FOR_A_WHILE,
                (State::Joining { .. }, _) => JOIN,
                _ => self.epoch,
            },
            instance_id: self.config.instance_id.clone(),
            rack_id: self.config.rack.clone().filter(|_| everything),
            rebalance_timeout_ms: if everything { millis(self.config.rebalance_timeout) } else { -1 },
            subscribed_topic_names: (everything || say.topics).then(topics),
            subscribed_topic_regex: None,
            server_assignor: remote_assignor.filter(|_| everything),
            topic_partitions: (everything || say.owned).then(|| by_topic(self.holding.ids())),
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let call = self.state.call().filter(|call| !(self.blocked && matches!(call, Call::Due(_))));
        let until = match self.state {
            State::Leaving { until, .. } => Some(until),
            _ => None,
        };
        earliest([call.and_then(Call::deadline), until, self.poll_deadline(), self.session_deadline()])
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.outbox.pop()
    }

    pub(crate) fn wants_coordinator(&self) -> bool {
        self.state.call().is_some_and(|call| !matches!(call, Call::Idle))
    }

    pub(crate) fn wanted_topic_ids(&self) -> Vec<Uuid> {
        self.holding.unnamed(&self.names)
    }

    pub(crate) fn identity(&self) -> Option<Identity> {
        matches!(self.state, State::Member { .. }).then(|| Identity {
            generation: self.epoch,
            member_id: self.member_id.clone(),
            instance_id: self.config.instance_id.clone(),
        })
    }

    pub(crate) fn owned(&self) -> &BTreeSet<TopicPartition> {
        self.holding.names()
    }

    pub(crate) fn valid_until(&self) -> Option<Instant> {
        let by_session = self.alive?.checked_add(self.config.session_timeout)?;
        let by_rebalance =
            self.giving_up_since.and_then(|since| since.checked_add(self.config.rebalance_timeout));
        Some(by_rebalance.map_or(by_session, |until| until.min(by_session)))
    }

    pub(crate) fn state_name(&self) -> &'static str {
        match self.state {
            State::Outside => "outside",
            State::Unpolled => "not polled",
            State::Failed => "failed",
            State::Joining { .. } => "joining",
            State::Member { .. } if self.holding.is_settled() => "stable",
            State::Member { .. } => "reconciling",
            State::Releasing => "releasing",
            State::Leaving { .. } => "leaving",
        }
    }

    // ── transitions ──────────────────────────────────────────────────────────────────────────────────────────────────

    fn join(&mut self, now: Instant) {
        self.state =
            if self.outbox.waits() { State::Releasing } else { State::Joining { call: Call::Due(now) } };
    }

    /// Towards the newest target, as far as it goes now.
    fn reconcile(&mut self, now: Instant) {
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

    fn lose_everything(&mut self) {
        self.outbox.revokes_are_lost();
        let partitions = self.holding.lose();
        if !partitions.is_empty() {
            self.outbox.push(Event::Lost { partitions, generation: self.epoch });
        }
        self.step_out();
    }

    fn step_out(&mut self) {
        self.epoch = JOIN;
        self.say = Say::default();
        self.hurry = false;
        self.alive = None;
        self.giving_up_since = None;
        self.announced = None;
        self.deadline = None;
        self.unreleased_since = None;
    }

    /// The group goes on without us; we come back under the same name, owning nothing.
    fn lost(&mut self, now: Instant) {
        self.lose_everything();
        let at = self.health.soon(now);
        self.join(at);
    }

    fn poll_interval_exceeded(&mut self, now: Instant) {
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

    fn say_goodbye(&mut self, now: Instant, then: Next) {
        let until = now + self.config.request_timeout;
        self.state = State::Leaving { call: Call::Due(now), until, then };
    }

    /// The goodbye is said, or it has been tried for long enough.
    fn gone(&mut self, now: Instant) {
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

    fn fail(&mut self, error: GroupError) {
        self.lose_everything();
        self.state = State::Failed;
        self.outbox.push(Event::Failed(error));
    }

    /// There is something to say that should not wait for the interval.
    fn beat_soon(&mut self, now: Instant) {
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

    fn poll_deadline(&self) -> Option<Instant> {
        self.polled.filter(|_| self.state.is_member())?.checked_add(self.config.rebalance_timeout)
    }

    fn session_deadline(&self) -> Option<Instant> {
        self.deadline.filter(|_| matches!(self.state, State::Member { .. }))
    }
}

/// Partition indices by topic id.
fn by_topic(ids: impl Iterator<Item = (Uuid, i32)>) -> Vec<TopicPartitions> {
    let mut topics: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in ids {
        topics.entry(topic).or_default().push(partition);
    }
    topics.into_iter().map(|(topic_id, partitions)| TopicPartitions { topic_id, partitions }).collect()
}

/// An id that no other member has, written as Kafka writes them (KIP-1082).
fn member_id(config: &Config) -> String {
    let mut random = config.seed;
    let mut draw = || {
        random = random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (random ^ (random >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        u128::from(z ^ (z >> 31))
    };
    Uuid(((draw() << 64) | draw()).to_be_bytes()).to_string()
}
