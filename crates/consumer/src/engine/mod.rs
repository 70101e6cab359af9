//! One consumer's engine: a machine of machines.
//!
//! Owns the metadata, the coordinator, the group's member, the offsets and the fetcher, and turns one's events into
//! another's commands; none of them knows another. Like them it owns no socket and reads no clock: the loop of
//! `offtake-client` has both.
//!
//! A partition is always in exactly one hand: waiting in `offsets`, flowing in `fetch`, or gone.

mod commands;
mod dials;
mod driven;
mod events;
mod lookups;
mod machine_config;
mod membership_log;
mod missing;
mod outbox;
mod ownership;
mod poll_watch;
mod reachability;
mod results;
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
use offtake_machine::{BrokerId, CallId, Coordinator, Metadata, Target, Token, TopicPartition, Transmit};
use offtake_net::Lane;
use offtake_offsets::Offsets;

use self::{
    dials::Dials,
    lookups::Lookups,
    membership_log::MembershipLog,
    missing::MissingTopics,
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
    gauges::PartitionGauges,
    health::{Loss, MembershipState, Vitals},
    inbox::Control,
    ledgers::Ledgers,
    offsets::StartAt,
    shared::Shared,
};

/// Which machine a call belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Machine {
    Metadata,
    Coordinator,
    Group,
    Offsets,
    Fetch,
}

/// Where the answer to a call goes, and what it was sent to.
#[derive(Clone, Copy, Debug)]
struct Route {
    machine: Machine,
    id: CallId,
    to: Target,
    lane: Lane,
}

/// How far closing has come.
#[derive(Debug)]
enum CloseState {
    Open,
    /// Waits for the commits that are under way (FAILURES N6).
    AwaitingCommits {
        until: Instant,
        deadline: Instant,
        membership: GroupMembership,
        reply: Option<Reply<()>>,
    },
    /// The group is being left and the fetch sessions are being closed, which is waited for no longer than `sessions_until`: a broker forgets
    /// them in time.
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
    reporter: Reporter,
    seed: u64,
    is_replay: bool,
    /// Where to begin where nothing is committed, if the application has said so.
    begin_at: Option<StartAt>,
    /// What to vote for in a classic group.
    assignors: Vec<Strategy>,

    metadata: Metadata,
    coordinator: Option<Coordinator>,
    member: Option<Member>,
    offsets: Offsets,
    fetch: Fetcher,

    subscriptions: Subscriptions,
    missing: MissingTopics,
    ownership: Ownership,
    waiters: Waiters,
    reachability: Reachability,
    outbox: Outbox,

    /// Which machine each call that is not answered yet belongs to.
    routes: BTreeMap<u64, Route>,
    next_tag: u64,
    /// Tags of calls that are not to be sent any more.
    withdrawals: Vec<u64>,
    dials: Dials,
    /// The group will not have us; only the application's next word changes that (FAILURES G1, D10).
    group_failed: bool,
    /// A fatal error was told that ends when the coordinator, or any broker, answers.
    is_refused: bool,
    /// When `poll` ran last, as the member knows.
    polled: Option<Instant>,
    poll_watch: PollWatch,
    suspension: Suspension,
    log: MembershipLog,
    /// Of a consumer whose records are finished one by one.
    unfinished: Option<UnfinishedWatch>,
    /// What others may read of how the engine fares.
    vitals: Arc<Vitals>,
    life: CloseState,
}

/// What an engine is told beside the configuration.
#[derive(Debug)]
pub(crate) struct EngineParts {
    pub(crate) reporter: Reporter,
    /// Where to begin where nothing is committed, if the application has said so.
    pub(crate) begin_at: Option<StartAt>,
    /// What to vote for in a classic group.
    pub(crate) assignors: Vec<Strategy>,
    /// Of records that are finished one by one.
    pub(crate) ledgers: Option<Arc<Ledgers>>,
    /// Whether nothing but a stopped process keeps the engine from running.
    pub(crate) has_own_thread: bool,
    /// Whether the clock on the wall only goes on from where it was at the start.
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
            assignors: parts.assignors,
            metadata: Metadata::new(now, config.client.metadata(config.allow_auto_create_topics, seed)),
            coordinator,
            member: None,
            offsets: Offsets::new(machine_config::offsets(&config, seed ^ 2, (now, wall_ms))),
            fetch: Fetcher::new(machine_config::fetch(&config, seed ^ 3)),
            subscriptions: Subscriptions::none(),
            missing: MissingTopics::default(),
            ownership: Ownership::default(),
            waiters: Waiters::new(Lookups::new(&config)),
            reachability: Reachability::default(),
            outbox: Outbox::default(),
            routes: BTreeMap::new(),
            next_tag: 0,
            withdrawals: Vec::new(),
            dials: Dials::default(),
            group_failed: false,
            is_refused: false,
            polled: None,
            poll_watch: PollWatch::new(parts.has_own_thread),
            suspension: Suspension::default(),
            log: MembershipLog::default(),
            unfinished: parts.ledgers.map(|ledgers| UnfinishedWatch::new(now, ledgers)),
            vitals: Arc::new(Vitals::new(now, shared.clone())),
            life: CloseState::Open,
            config,
            shared,
            reporter: parts.reporter,
        }
    }

    // ---- the end -------------------------------------------------------------------------------------------------

    fn give_up_everything(&mut self, now: Instant, reason: &str, membership: GroupMembership) {
        self.subscriptions.clear();
        // What is still being revoked is no longer among the assigned: its queued commits must not outlive it either
        // (FAILURES H2).
        let mut all = self.ownership.end_all_revocations();
        all.extend(self.ownership.clear());
        self.vitals.gave_up_everything();
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

    /// Brokers that owe an answer on the lane that fetch sessions are closed on. Whatever is sent on it waits behind that.
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

    /// Partitions begin to flow: first their start offsets.
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

    /// Nothing more of these is handed out.
    fn stop(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.fetch.forget(partition);
            self.outbox.forget(partition);
        }
    }

    /// What the application is done with is given up once its commits are answered: they go out while the partitions are ours
    /// (FAILURES H2). When the group waits no longer, nothing is being revoked any more, and so nothing holds it up.
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

    /// The group waits no longer for what is being revoked: it is lost. A commit of it would be refused, and is.
    fn lose_revoking(&mut self, now: Instant) {
        let gone = self.ownership.end_all_revocations();
        self.offsets.unassign(&gone);
        self.vitals.lost(&gone, self.loss(now));
    }

    /// Why partitions are lost now.
    fn loss(&self, now: Instant) -> Loss {
        let limit = self.config.max_poll_interval;
        let is_silent = self.polled.is_some_and(|at| now.saturating_duration_since(at) >= limit);
        if is_silent { Loss::PollInterval(limit) } else { Loss::Membership }
    }

    /// Where an assigned partition starts: what is committed, and failing that the policy; but the first record of a
    /// partition that did not exist when the topic was subscribed to (FAILURES B4).
    fn start_of(&self, partition: &TopicPartition) -> StartAt {
        if self.subscriptions.was_born_later(partition) {
            return StartAt::committed_or(StartAt::Earliest);
        }
        self.begin_at.clone().map_or(StartAt::Committed, StartAt::committed_or)
    }

    // ---- the clock, answers, what to send ------------------------------------------------------------------------

    /// A group whose coordinator is nowhere waits for it; the application hears of that.
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

    /// Tells the member when the application last called `poll`, before anything is concluded from its silence.
    fn sync_polls(&mut self, now: Instant) {
        // An old poll is no new one: a member that left for the lack of polls comes back with the next.
        let news = self.shared.last_poll(now).filter(|at| self.polled.is_none_or(|before| before < *at));
        if let (Some(at), Some(member)) = (news, &mut self.member) {
            self.polled = Some(at);
            member.on_poll(at);
            self.on_poll(at);
        }
    }

    /// A machine wants a call of its own back, if it has not been sent yet.
    fn withdraw(&mut self, of: Machine, call: CallId) {
        let mut routes = self.routes.iter();
        let route = routes.find(|(_, route)| route.machine == of && route.id == call);
        self.withdrawals.extend(route.map(|(tag, _)| *tag));
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
            // Until a heartbeat says that we still are who we were, there is nobody to commit as (FAILURES SAFE7).
            self.offsets.set_identity(None);
        }
        if let Some(mut transmit) = self.offsets.poll_transmit(now, at, &cluster) {
            if matches!(transmit.request, offtake_wire::Request::OffsetCommit(_))
                && let Some(until) =
                    self.member.as_ref().and_then(|member| self.suspension.valid_until(member))
            {
                // Not to be found on its way, waiting for a connection, when it is no longer ours to send (FAILURES SAFE7).
                transmit.timeout = transmit.timeout.min(until.saturating_duration_since(now));
            }
            return Some((Machine::Offsets, Lane::of(&transmit.request), transmit));
        }
        let transmit = self.fetch.poll_transmit(now, &cluster)?;
        // The end of a session must not stand behind the session's own long poll.
        let lane = if matches!(self.life, CloseState::Closing { .. }) { Lane::Control } else { Lane::Fetch };
        Some((Machine::Fetch, lane, transmit))
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
            // Subscribed: what keeps it out is that the topics are not known yet, or that it has to leave first.
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

    /// Every `poll` fails with this for now; what to do about it is logged, once.
    fn fail_fatally(&mut self, error: Error, then: &str) {
        tracing::error!("{error}; {then}");
        self.is_refused = true;
        self.fail(error);
    }

    /// Who refused us answers: but for what the group has said, that error stands no more.
    fn recovered(&mut self) {
        if std::mem::take(&mut self.is_refused) && !self.group_failed {
            self.outbox.control(Control::Recovered);
        }
    }

    /// The application is told, from `poll`; nothing stops.
    fn fail(&mut self, error: Error) {
        tracing::debug!(%error, "the application is told");
        self.reporter.report(|| Event::Error(error.clone()));
        self.outbox.control(Control::Failed(error));
    }

    /// The application is told; if the partition stops, behind all that was fetched of it before.
    fn partition_failed(&mut self, partition: TopicPartition, token: Token, error: Error, stops: bool) {
        if !stops {
            self.fail(error);
            return;
        }
        self.reporter.report(|| Event::Error(error.clone()));
        self.outbox.failed(partition, token, error);
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
