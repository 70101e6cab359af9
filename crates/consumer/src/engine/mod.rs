//! One consumer's engine: a machine of machines.
//!
//! Owns the metadata, the coordinator, the group's member, the offsets and the fetcher, and turns one's
//! events into another's commands; none of them knows another. Like them it owns no socket and reads no
//! clock: the loop of `offtake-client` has both.
//!
//! A partition is always in exactly one place: waiting in `offsets`, being read in `fetch`, or removed.

mod commands;
mod dials;
mod driven;
mod events;
mod failing;
mod lookups;
mod machine_config;
mod membership_log;
mod missing;
mod outbox;
mod ownership;
mod poll_watch;
mod reachability;
pub(crate) mod results;
mod subscriptions;
mod suspension;
mod topics;
mod unfinished;
mod waiters;
mod wire_log;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use offtake_fetch::Fetcher;
use offtake_group::{GroupMembership, Member, Stage, Strategy};
use offtake_machine::{BrokerId, CallId, Coordinator, Metadata, Target, Topic, TopicPartition, Transmit};
use offtake_net::Lane;
use offtake_offsets::Offsets;

use self::{
    dials::Dials,
    failing::Refused,
    lookups::Lookups,
    membership_log::MembershipLog,
    missing::Missing,
    outbox::Outbox,
    ownership::Ownership,
    poll_watch::PollWatch,
    reachability::{CoordinatorNews, Reachability},
    subscriptions::Subscriptions,
    suspension::Suspension,
    unfinished::UnfinishedWatch,
    waiters::Waiters,
};
use crate::{
    command::{LAST_SECOND, Reply, Subscription},
    config::{Config, IsolationLevel},
    error::{Error, ErrorKind, Result},
    event::{Event, Reporter},
    freed::{FreedChunk, FreedMemory},
    gauges::PartitionGauges,
    health::{Loss, MembershipState, Vitals},
    inbox::Control,
    ledgers::Ledgers,
    offsets::StartAt,
    shared::Shared,
};

/// The machine that a call belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Machine {
    Metadata,
    Coordinator,
    Group,
    Offsets,
    Fetch,
}

/// Where the response to a call is delivered, and where the call was sent.
#[derive(Clone, Copy, Debug)]
struct Route {
    machine: Machine,
    id: CallId,
    to: Target,
    lane: Lane,
}

/// The progress of closing.
#[derive(Debug)]
enum CloseState {
    Open,
    /// Waits for the commits in flight (FAILURES N6).
    AwaitingCommits {
        until: Instant,
        deadline: Instant,
        membership: GroupMembership,
        reply: Option<Reply<()>>,
    },
    /// Leaves the group and closes the fetch sessions. The sessions are awaited no longer than
    /// `sessions_until`, because brokers expire them by themselves.
    Closing {
        deadline: Instant,
        sessions_until: Instant,
        reply: Option<Reply<()>>,
        left: bool,
    },
    Closed,
}

/// The engine.
#[derive(Debug)]
pub(crate) struct Engine {
    config: Arc<Config>,
    shared: Arc<Shared>,
    freed: Arc<FreedMemory>,
    reporter: Reporter,
    seed: u64,
    is_replay: bool,
    /// Where to start if nothing is committed, if the application has set it.
    begin_at: Option<StartAt>,
    /// The assignors to offer in a classic group.
    assignors: Vec<Strategy>,

    metadata: Metadata,
    coordinator: Option<Coordinator>,
    member: Option<Member>,
    offsets: Offsets,
    fetch: Fetcher,

    subscriptions: Subscriptions,
    missing_topics: Missing<Topic>,
    missing_partitions: Missing<TopicPartition>,
    ownership: Ownership,
    waiters: Waiters,
    reachability: Reachability,
    outbox: Outbox,

    /// The machine of each call that is not answered yet.
    routes: BTreeMap<u64, Route>,
    next_tag: u64,
    /// Tags of calls that should not be sent any more.
    withdrawals: Vec<u64>,
    dials: Dials,
    /// The group refuses us; only a new call of the application changes that (FAILURES G1, D10).
    group_failed: bool,
    refused: Refused,
    /// The time of the last `poll`, as the member knows it.
    polled: Option<Instant>,
    poll_watch: PollWatch,
    suspension: Suspension,
    log: MembershipLog,
    /// Set for a consumer whose records are finished one by one.
    unfinished: Option<UnfinishedWatch>,
    /// The health data that others may read.
    vitals: Arc<Vitals>,
    /// The number of cluster views that the machines were shown.
    #[cfg(test)]
    views: u64,
    life: CloseState,
}

/// The inputs of an engine besides the configuration.
#[derive(Debug)]
pub(crate) struct EngineParts {
    pub(crate) reporter: Reporter,
    /// Where to start if nothing is committed, if the application has set it.
    pub(crate) begin_at: Option<StartAt>,
    /// The assignors to offer in a classic group.
    pub(crate) assignors: Vec<Strategy>,
    /// Set for a consumer whose records are finished one by one.
    pub(crate) ledgers: Option<Arc<Ledgers>>,
    /// What the handle is done with.
    pub(crate) freed: Arc<FreedMemory>,
    /// Whether nothing but a stopped process keeps the engine from running.
    pub(crate) has_own_thread: bool,
    /// Whether the wall clock only advances from its value at the start.
    pub(crate) is_replay: bool,
}

impl Engine {
    pub(crate) fn new(
        now: Instant,
        wall_ms: i64,
        seed: u64,
        config: Arc<Config>,
        shared: Arc<Shared>,
        parts: EngineParts,
    ) -> Self {
        let backoff = config.client.backoff();
        let coordinator = config
            .group_id
            .as_ref()
            .map(|group| Coordinator::new(group, config.client.request_timeout, backoff, seed ^ 1));
        Self {
            seed,
            is_replay: parts.is_replay,
            begin_at: parts.begin_at,
            freed: parts.freed,
            assignors: parts.assignors,
            metadata: Metadata::new(now, config.client.metadata(config.allow_auto_create_topics, seed)),
            coordinator,
            member: None,
            offsets: Offsets::new(machine_config::offsets(&config, seed ^ 2, (now, wall_ms))),
            fetch: Fetcher::new(machine_config::fetch(&config, seed ^ 3)),
            subscriptions: Subscriptions::none(),
            missing_topics: Missing::default(),
            missing_partitions: Missing::default(),
            ownership: Ownership::default(),
            waiters: Waiters::new(Lookups::new(&config)),
            reachability: Reachability::default(),
            outbox: Outbox::default(),
            routes: BTreeMap::new(),
            next_tag: 0,
            withdrawals: Vec::new(),
            dials: Dials::default(),
            group_failed: false,
            refused: Refused::default(),
            polled: None,
            poll_watch: PollWatch::new(parts.has_own_thread),
            suspension: Suspension::default(),
            log: MembershipLog::default(),
            unfinished: parts.ledgers.map(|ledgers| UnfinishedWatch::new(now, ledgers)),
            vitals: Arc::new(Vitals::new(now, shared.clone())),
            #[cfg(test)]
            views: 0,
            life: CloseState::Open,
            config,
            shared,
            reporter: parts.reporter,
        }
    }

    // ---- closing -----------------------------------------------------------------------------------------------

    fn give_up_everything(&mut self, now: Instant, reason: &str, membership: GroupMembership) {
        self.subscriptions.clear();
        // Partitions that are still being revoked are no longer among the assigned ones: their queued commits
        // must not outlive them either (FAILURES H2).
        let mut all = self.ownership.end_all_revocations();
        all.extend(self.ownership.clear());
        self.vitals.clear_losses();
        self.group_failed = false;
        self.stop(&all);
        self.offsets.unassign(&all);
        if let Some(member) = &mut self.member {
            member.leave(now, reason, membership);
        }
    }

    fn advance_close(&mut self, now: Instant) {
        if let CloseState::AwaitingCommits { until, deadline, membership, reply } = &mut self.life
            && (!self.waiters.has_commits() || now >= *until)
        {
            let (deadline, membership, reply) = (*deadline, *membership, reply.take());
            let left = self.member.is_none();
            self.give_up_everything(now, "the consumer is being closed", membership);
            let busy = self.busy_brokers();
            self.fetch.close(now, &busy);
            let sessions_until = deadline.min(now + LAST_SECOND);
            self.life = CloseState::Closing { deadline, sessions_until, reply, left };
        }
        if let CloseState::Closing { deadline, sessions_until, reply, left } = &mut self.life
            && (*left && (self.fetch.is_closed() || now >= *sessions_until) || now >= *deadline)
        {
            answer(reply.take(), Ok(()));
            self.life = CloseState::Closed;
        }
    }

    /// Brokers with an unanswered request on the lane that fetch sessions are closed on. Requests on it wait
    /// behind that one.
    fn busy_brokers(&self) -> BTreeSet<BrokerId> {
        let owing = self.routes.values().filter(|route| route.lane == Lane::Control);
        owing
            .filter_map(|route| match route.to {
                Target::Broker(broker) => Some(broker),
                Target::Any | Target::Other(_) => None,
            })
            .collect()
    }

    // ---- assignment ----------------------------------------------------------------------------------------------

    /// Starts to read partitions: their start offsets first.
    fn begin(&mut self, now: Instant, new: Vec<(TopicPartition, StartAt)>, generation: Option<i32>) {
        let names: Vec<_> = new.iter().map(|(partition, _)| partition.clone()).collect();
        self.waiters.assigned(&names, |partition| self.ownership.contains(partition));
        let ids = self.member.as_ref().filter(|_| generation.is_some()).map(Member::topic_ids);
        let ids = ids.unwrap_or_default();
        let new = new.into_iter().map(|(partition, at)| {
            let id = ids.get(&partition.topic).copied();
            (partition, at, id)
        });
        self.offsets.assign_by_id(now, new);
        self.dials.begin(&names, self.metadata.cluster());
        let committed_only = self.config.isolation_level == IsolationLevel::ReadCommitted;
        let mut added = Vec::with_capacity(names.len());
        for partition in names {
            if let Some(token) = self.offsets.token_of(&partition) {
                let gauges = Arc::new(PartitionGauges::new(token, committed_only));
                self.ownership.begin(partition.clone(), gauges.clone());
                added.push((partition, gauges));
            }
        }
        let owned = self.ownership.to_vec();
        self.outbox.control(Control::Assigned { added, owned, generation });
    }

    /// Stops handing out records of these.
    fn stop(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.fetch.forget(partition);
            self.outbox.forget(partition);
        }
    }

    /// Ends revocations that the application is done with, once their commits are answered: these are sent
    /// while the partitions are ours (FAILURES H2). Once the group has stopped waiting, nothing is being
    /// revoked any more, so nothing delays it.
    fn end_revocations(&mut self, now: Instant) {
        while let Some(id) = self.ownership.next_done(|partition| self.offsets.has_commit(partition)) {
            let gone = self.ownership.end_revocation(id);
            self.stop(&gone);
            self.offsets.unassign(&gone);
            if let Some(member) = &mut self.member {
                member.revocation_done(now, id);
            }
        }
    }

    /// The group no longer waits for what is being revoked: it is lost, and a commit of it would be refused.
    fn lose_revoking(&mut self, now: Instant) {
        let gone = self.ownership.lose_revoking(|partition| self.offsets.uncommitted_offset(partition));
        self.offsets.unassign(&gone);
        self.vitals.lost(&gone, self.loss(now));
    }

    /// Why partitions are lost now.
    fn loss(&self, now: Instant) -> Loss {
        let limit = self.config.max_poll_interval;
        let is_silent = self.polled.is_some_and(|at| now.saturating_duration_since(at) >= limit);
        if is_silent { Loss::PollInterval(limit) } else { Loss::Membership }
    }

    /// Where an assigned partition starts: at the committed offset, or else by the policy; but at the first
    /// record of a partition that did not exist when its topic was subscribed to (FAILURES B4).
    fn start_of(&self, partition: &TopicPartition) -> StartAt {
        if self.subscriptions.is_newer_than_subscription(partition) {
            return StartAt::committed_or(StartAt::Earliest);
        }
        self.begin_at.clone().map_or(StartAt::Committed, StartAt::committed_or)
    }

    // ---- the clock, responses, what to send --------------------------------------------------------------------

    /// Reports to the application if the group's coordinator cannot be found for long.
    fn look_for_coordinator(&mut self, now: Instant) {
        let is_wanted =
            self.member.as_ref().is_some_and(Member::wants_coordinator) || self.offsets.wants_coordinator();
        let is_missing = is_wanted && self.coordinator.as_ref().is_some_and(|it| it.broker().is_none());
        match self.reachability.coordinator_is_missing(now, is_missing) {
            Some(CoordinatorNews::Missing) => {
                let message = "the cluster names no coordinator for the group; trying again: look whether the partitions of \
                               __consumer_offsets have leaders";
                tracing::warn!("{message}");
                self.reporter.report(|| Event::Error(Error::new(ErrorKind::Unreachable, message)));
            }
            Some(CoordinatorNews::Found)
                if self.coordinator.as_ref().is_some_and(|it| it.broker().is_some()) =>
            {
                tracing::info!("the group has a coordinator again");
            }
            Some(CoordinatorNews::Found) | None => {}
        }
    }

    /// Tells the member when the application last called `poll`, before it draws conclusions from the time
    /// without one.
    fn sync_polls(&mut self, now: Instant) {
        // An old poll is not a new one: a member that left for the lack of polls rejoins with the next.
        let news = self.shared.last_poll(now).filter(|at| self.polled.is_none_or(|before| before < *at));
        if let (Some(at), Some(member)) = (news, &mut self.member) {
            self.polled = Some(at);
            member.on_poll(at);
            self.on_poll(at);
        }
    }

    /// Withdraws a machine's call, if it has not been sent yet.
    fn withdraw(&mut self, of: Machine, call: CallId) {
        let mut routes = self.routes.iter();
        let route = routes.find(|(_, route)| route.machine == of && route.id == call);
        let Some((tag, lane)) = route.map(|(tag, route)| (*tag, route.lane)) else { return };
        self.withdrawals.push(tag);
        if lane == Lane::Join {
            // Its connection ends with it, which says nothing of the broker.
            self.routes.remove(&tag);
        }
    }

    fn next_transmit(&mut self, now: Instant) -> Option<(Machine, Lane, Transmit)> {
        if let Some(transmit) = self.metadata.poll_transmit(now) {
            return Some((Machine::Metadata, Lane::Control, transmit));
        }
        let cluster = self.metadata.cluster().clone();
        let mut at = None;
        if let Some(coordinator) = &mut self.coordinator {
            let wanted = self.member.as_ref().is_some_and(Member::wants_coordinator)
                || self.offsets.wants_coordinator();
            if wanted {
                coordinator.look_up(now);
            }
            if let Some(transmit) = coordinator.poll_transmit(now) {
                return Some((Machine::Coordinator, Lane::Control, transmit));
            }
            at = coordinator.broker();
        }
        if let Some(member) = &mut self.member
            && let Some(transmit) = member.poll_transmit(now, at, &cluster)
        {
            return Some((Machine::Group, Lane::of(&transmit.request), transmit));
        }
        if self.subscriptions.kind().is_of_a_group()
            && self.member.as_ref().is_some_and(|member| !self.suspension.is_current(member, now))
        {
            // Until a heartbeat confirms our membership, there is no identity to commit with (FAILURES
            // SAFE7).
            self.offsets.set_identity(None);
        }
        if let Some(mut transmit) = self.offsets.poll_transmit(now, at, &cluster) {
            if matches!(transmit.request, offtake_wire::Request::OffsetCommit(_))
                && let Some(until) =
                    self.member.as_ref().and_then(|member| self.suspension.valid_until(member))
            {
                // A commit must not still wait for a connection when we may no longer send it (FAILURES
                // SAFE7).
                transmit.timeout = transmit.timeout.min(until.saturating_duration_since(now));
            }
            return Some((Machine::Offsets, Lane::of(&transmit.request), transmit));
        }
        let transmit = loop {
            if let Some(transmit) = self.fetch.poll_transmit(now, &cluster) {
                break transmit;
            }
            let freed = self.freed.take_or_await(self.fetch.waits_for_memory());
            if freed.is_empty() {
                return None;
            }
            self.release(freed);
        };
        // The request that ends a session must not wait behind the session's own long poll.
        let lane = if matches!(self.life, CloseState::Closing { .. }) { Lane::Control } else { Lane::Fetch };
        Some((Machine::Fetch, lane, transmit))
    }

    /// Releases memory that the handle is done with.
    fn release(&mut self, freed: Vec<FreedChunk>) {
        for (partition, charge) in freed {
            self.fetch.release(&partition, charge);
        }
    }

    pub(crate) fn vitals(&self) -> Arc<Vitals> {
        self.vitals.clone()
    }

    fn note_vitals(&self, now: Instant) {
        let kind = self.subscriptions.kind();
        let stage = self.member.as_ref().map(Member::stage);
        let state = match (stage, kind) {
            _ if self.group_failed => MembershipState::Failed,
            (_, Subscription::Assigned) => MembershipState::AssignedByHand,
            (Some(Stage::Leaving), Subscription::None) => MembershipState::Leaving,
            (_, Subscription::None) => MembershipState::NotSubscribed,
            // Subscribed, and not a member: the topics are not known yet, or it has to leave first.
            (None | Some(Stage::Outside | Stage::Joining | Stage::Leaving), _) => MembershipState::Joining,
            (Some(Stage::Unpolled), _) => MembershipState::NotPolled,
            (Some(Stage::Rebalancing), _) => MembershipState::Rebalancing,
            (Some(Stage::Stable), _) => MembershipState::Stable,
            (Some(Stage::Failed), _) => MembershipState::Failed,
        };
        let member = self.member.as_ref().filter(|_| kind.is_of_a_group());
        self.vitals.note(
            now,
            state,
            member.and_then(Member::identity).map(|identity| (identity.member_id, identity.generation)),
            self.ownership.len(),
            self.coordinator.as_ref().and_then(Coordinator::broker),
            self.reachability.trouble(),
        );
    }
}

fn answer(reply: Option<Reply<()>>, result: Result<()>) {
    if let Some(reply) = reply {
        let _ = reply.send(result);
    }
}

fn no_group(what: &str) -> Error {
    Error::misuse(format!("{what} needs a consumer group: set group.id"))
}

#[cfg(test)]
mod tests;
