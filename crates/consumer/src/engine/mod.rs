//! One consumer's engine: a machine of machines.
//!
//! Owns the metadata, the coordinator, the group's member, the offsets and the fetcher, and turns one's events into
//! another's commands; none of them knows another. Like them it owns no socket and reads no clock: the [`driver`] does.
//!
//! A partition is always in exactly one hand: waiting in `offsets`, flowing in `fetch`, or gone.

mod asked;
pub(crate) mod command;
pub(crate) mod driver;
mod events;
mod hands;
mod lookups;
mod rooms;
mod session;
mod silence;
mod topics;

pub(crate) use rooms::net_config;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Instant,
};

use offtake_fetch::Fetcher;
use offtake_group::{GroupMembership, Member, Strategy};
use offtake_machine::{
    Answer, BrokerId, CallError, CallId, Cluster, Coordinator, Metadata, Token, Topic, TopicPartition,
    Transmit, earliest, mutant,
};
use offtake_net::Lane;
use offtake_offsets::{CommitId, Offsets, QueryId};

use self::{
    command::{Notice, Output, Reply, Subscription},
    lookups::Lookups,
    session::SessionTimeout,
    silence::Silence,
};
use crate::{
    builder::Parts,
    config::Config,
    error::{Error, ErrorKind, Result},
    event::{Event, Sink},
    offsets::{OffsetAndMetadata, OffsetAndTimestamp, Place, StartAt},
    shared::Shared,
};

/// Which machine a call belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Metadata,
    Coordinator,
    Group,
    Session,
    Offsets,
    Fetch,
}

/// What a question to `offsets` was for.
#[derive(Debug)]
enum Question {
    Committed(Reply<BTreeMap<TopicPartition, OffsetAndMetadata>>),
    List(Reply<BTreeMap<TopicPartition, OffsetAndTimestamp>>),
}

/// How far closing has come.
#[derive(Debug)]
enum Life {
    Open,
    /// Waits for the commits that are under way (FAILURES N6).
    Settling {
        until: Instant,
        deadline: Instant,
        membership: GroupMembership,
        reply: Option<Reply<()>>,
    },
    /// The group is being left and the fetch sessions are being closed.
    Closing {
        deadline: Instant,
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
    sink: Sink,
    seed: u64,
    /// Where to begin where nothing is committed, if the application has said so.
    begin_at: Option<Place>,
    /// What to vote for in a classic group.
    assignors: Vec<Strategy>,

    metadata: Metadata,
    coordinator: Option<Coordinator>,
    member: Option<Member>,
    /// Of the group, if it has one that speaks the consumer protocol.
    session: Option<SessionTimeout>,
    offsets: Offsets,
    fetch: Fetcher,

    subscription: Subscription,
    /// Partition counts as they were when a topic was first seen after it was subscribed to: what is born later is read
    /// from its first record, whatever `auto.offset.reset` says (FAILURES B4).
    born: BTreeMap<Topic, i32>,
    /// Topics of the subscription that may not be seen, or cannot exist, of which the application was told.
    refused: BTreeSet<Topic>,
    /// Whether the topics are known that matched when patterns were subscribed to: what matches later was born later.
    listed: bool,
    /// What is assigned now, by the group or by hand.
    assigned: BTreeSet<TopicPartition>,
    generation: Option<i32>,
    /// Topics that somebody asked about without subscribing.
    asked: BTreeSet<Topic>,
    lookups: Lookups,

    routes: BTreeMap<u64, (Room, CallId)>,
    next_tag: u64,
    /// Commits under way, and who waits for them, if anybody.
    commits: BTreeMap<CommitId, Option<Reply<()>>>,
    /// Who waits for all of them to be over, and until when.
    settling: Vec<(Instant, Reply<()>)>,
    questions: BTreeMap<QueryId, Question>,
    /// What the handle is to release: the partitions of the revoke or loss it was told of.
    releasing: Vec<TopicPartition>,
    /// When the group waits for it no longer.
    release_by: Option<Instant>,
    outputs: VecDeque<Output>,
    /// Positions that jump, until the partitions start there.
    jumps: Vec<(TopicPartition, Event)>,
    /// The last thing that went wrong on the way to the brokers, until something goes right.
    trouble: Option<CallError>,
    reached: bool,
    found: VecDeque<(BrokerId, String, u16)>,
    rebootstrap: bool,
    cluster_changed: bool,
    /// Errors that stopped a partition: told when everything that was fetched before them has been.
    failures: VecDeque<Notice>,
    /// Partitions in which the handle met something unreadable: nothing of them is fetched before they are sought.
    stopped: BTreeMap<TopicPartition, Token>,
    /// The group will not have us; only the application's next word changes that (FAILURES G1, D10).
    group_failed: bool,
    /// When `poll` ran last, as the member knows.
    polled: Option<Instant>,
    silence: Silence,
    life: Life,
}

impl Engine {
    pub(crate) fn new(
        now: Instant,
        wall_ms: i64,
        seed: u64,
        config: Arc<Config>,
        shared: Arc<Shared>,
        parts: &Parts,
    ) -> Self {
        let backoff = rooms::backoff(&config);
        let coordinator = config
            .group_id
            .as_ref()
            .map(|group| Coordinator::new(group, config.request_timeout, backoff, seed ^ 1));
        let session = config
            .group_id
            .as_ref()
            .map(|group| SessionTimeout::new(group, config.request_timeout, backoff, seed ^ 5));
        Self {
            seed,
            begin_at: parts.begin_at,
            assignors: parts.assignors.clone(),
            metadata: Metadata::new(now, rooms::metadata(&config, seed)),
            coordinator,
            member: None,
            session,
            offsets: Offsets::new(rooms::offsets(&config, seed ^ 2, (now, wall_ms))),
            fetch: Fetcher::new(rooms::fetch(&config, seed ^ 3)),
            subscription: Subscription::None,
            born: BTreeMap::new(),
            refused: BTreeSet::new(),
            listed: false,
            assigned: BTreeSet::new(),
            generation: None,
            asked: BTreeSet::new(),
            lookups: Lookups::new(&config.bootstrap_servers),
            routes: BTreeMap::new(),
            next_tag: 0,
            commits: BTreeMap::new(),
            settling: Vec::new(),
            questions: BTreeMap::new(),
            releasing: Vec::new(),
            release_by: None,
            outputs: VecDeque::new(),
            jumps: Vec::new(),
            trouble: None,
            reached: false,
            found: VecDeque::new(),
            rebootstrap: false,
            cluster_changed: false,
            failures: VecDeque::new(),
            stopped: BTreeMap::new(),
            group_failed: false,
            polled: None,
            silence: Silence::default(),
            life: Life::Open,
            config,
            shared,
            sink: parts.sink.clone(),
        }
    }

    /// The newest view, if it changed since the last call.
    pub(crate) fn changed_cluster(&mut self) -> Option<Arc<Cluster>> {
        std::mem::take(&mut self.cluster_changed).then(|| self.metadata.cluster().clone())
    }

    /// A broker's address that came from elsewhere than the metadata.
    pub(crate) fn found_broker(&mut self) -> Option<(BrokerId, String, u16)> {
        self.found.pop_front()
    }

    /// Whether to start again from the bootstrap servers.
    pub(crate) fn wants_rebootstrap(&mut self) -> bool {
        std::mem::take(&mut self.rebootstrap)
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.life, Life::Closed)
    }

    // ---- the end -------------------------------------------------------------------------------------------------

    fn give_up_everything(&mut self, now: Instant, reason: &str, membership: GroupMembership) {
        self.subscription = Subscription::None;
        let all: Vec<_> = std::mem::take(&mut self.assigned).into_iter().collect();
        self.stop(&all);
        self.offsets.unassign(&all);
        // What is still being revoked is no longer among the assigned: its queued commits must not outlive it either (H2).
        self.releasing_is_lost();
        self.born.clear();
        self.refused.clear();
        self.generation = None;
        if let Some(member) = &mut self.member {
            member.leave(now, reason, membership);
        }
    }

    /// Who waits for commits hears that they are over, or that it has waited long enough.
    fn settle_commits(&mut self, now: Instant) {
        let none = self.commits.is_empty();
        for (_, reply) in self.settling.extract_if(.., |(deadline, _)| none || *deadline <= now) {
            answer(Some(reply), Ok(()));
        }
    }

    fn settle_close(&mut self, now: Instant) {
        if let Life::Settling { until, deadline, membership, reply } = &mut self.life
            && (self.commits.is_empty() || now >= *until)
        {
            let (deadline, membership, reply) = (*deadline, *membership, reply.take());
            let left = self.member.is_none();
            self.give_up_everything(now, "the consumer is being closed", membership);
            self.fetch.close(now);
            self.life = Life::Closing { deadline, reply, left };
        }
        if let Life::Closing { deadline, reply, left } = &mut self.life
            && ((*left && self.fetch.is_closed()) || now >= *deadline)
        {
            answer(reply.take(), Ok(()));
            self.life = Life::Closed;
        }
    }

    // ---- assignment ----------------------------------------------------------------------------------------------

    /// Partitions begin to flow: first their start offsets.
    fn begin(&mut self, now: Instant, new: Vec<(TopicPartition, StartAt)>, generation: Option<i32>) {
        let names: Vec<_> = new.iter().map(|(partition, _)| partition.clone()).collect();
        self.offsets.assign(now, new);
        let added = names
            .into_iter()
            .filter_map(|partition| self.offsets.token_of(&partition).map(|token| (partition, token)))
            .collect();
        let owned = self.owned();
        self.tell(Notice::Assigned { added, owned, generation });
    }

    /// Nothing more of these is handed out.
    fn stop(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.fetch.stop(partition);
            self.stopped.remove(partition);
        }
    }

    fn released(&mut self, now: Instant) {
        let gone = std::mem::take(&mut self.releasing);
        self.release_by = None;
        self.stop(&gone);
        self.offsets.unassign(&gone);
        if let Some(member) = &mut self.member {
            member.released(now);
        }
    }

    /// The group waits no longer for what is being revoked: a commit of it would be refused, and is.
    fn releasing_is_lost(&mut self) {
        let gone = std::mem::take(&mut self.releasing);
        self.release_by = None;
        self.offsets.unassign(&gone);
    }

    fn owned(&self) -> Vec<TopicPartition> {
        self.assigned.iter().cloned().collect()
    }

    /// Where an assigned partition starts: what is committed, and failing that the policy; but the first record of a
    /// partition that did not exist when the topic was subscribed to (FAILURES B4).
    fn start_of(&self, partition: &TopicPartition) -> StartAt {
        match self.born.get(&partition.topic) {
            Some(count) if partition.partition >= *count && !mutant!(8) => StartAt::CommittedOrEarliest,
            _ => self.begin_at.map_or(StartAt::Committed, StartAt::CommittedOr),
        }
    }

    // ---- the clock, answers, what to send ------------------------------------------------------------------------

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.sync_polls(now);
        self.metadata.handle_timeout(now);
        if let Some(coordinator) = &mut self.coordinator {
            coordinator.handle_timeout(now);
        }
        if let Some(member) = &mut self.member {
            member.handle_timeout(now);
        }
        if let Some(session) = &mut self.session {
            session.handle_timeout(now);
        }
        self.offsets.handle_timeout(now);
        self.fetch.handle_timeout(now);
        self.settle_lookups(now);
        if self.release_by.is_some_and(|by| by <= now) {
            self.releasing_is_lost();
        }
        self.settle_silence(now);
        self.settle_close(now);
    }

    /// Tells the member when the application last called `poll`, before anything is concluded from its silence.
    fn sync_polls(&mut self, now: Instant) {
        // An old poll is no new one: a member that left for the lack of polls comes back with the next.
        let news = self.shared.last_poll(now).filter(|at| self.polled.is_none_or(|before| before < *at));
        if let (Some(at), Some(member)) = (news, &mut self.member) {
            self.polled = Some(at);
            member.polled(at);
            self.silence_ends(at);
        }
    }

    pub(crate) fn handle_answer(&mut self, now: Instant, tag: u64, result: Result<Answer, CallError>) {
        let Some((room, id)) = self.routes.remove(&tag) else { return };
        if result.is_ok() {
            self.reached = true;
        }
        match room {
            Room::Metadata => self.metadata.handle_answer(now, id, result),
            Room::Coordinator => {
                if let Some(coordinator) = &mut self.coordinator {
                    coordinator.handle_answer(now, id, result);
                }
            }
            Room::Group => {
                if let Some(member) = &mut self.member {
                    member.handle_answer(now, id, result);
                }
                // It may have become the leader, who needs the metadata of all members' topics, or have been assigned a
                // topic that we know by no name yet (FAILURES F4).
                self.want_topics(now);
                if self.member.as_ref().is_some_and(|member| !member.wanted_topic_ids().is_empty()) {
                    self.metadata.refresh(now);
                }
            }
            Room::Session => {
                let learnt = self.session.as_mut().and_then(|session| session.handle_answer(now, id, result));
                if let (Some(timeout), Some(member)) = (learnt, &mut self.member) {
                    member.learn_session_timeout(timeout);
                }
            }
            Room::Offsets => self.offsets.handle_answer(now, id, result),
            Room::Fetch => self.fetch.handle_answer(now, id, result),
        }
    }

    pub(crate) fn poll_transmit(&mut self, now: Instant) -> Option<(u64, Lane, Transmit)> {
        let (room, lane, transmit) = self.next_transmit(now)?;
        self.next_tag = self.next_tag.wrapping_add(1);
        self.routes.insert(self.next_tag, (room, transmit.id));
        Some((self.next_tag, lane, transmit))
    }

    fn next_transmit(&mut self, now: Instant) -> Option<(Room, Lane, Transmit)> {
        if let Some(transmit) = self.metadata.poll_transmit(now) {
            return Some((Room::Metadata, Lane::Control, transmit));
        }
        let cluster = self.metadata.cluster().clone();
        let mut at = None;
        if let Some(coordinator) = &mut self.coordinator {
            let wanted = self.member.as_ref().is_some_and(Member::wants_coordinator)
                || self.offsets.wants_coordinator();
            if wanted {
                coordinator.want(now);
            }
            if let Some(transmit) = coordinator.poll_transmit(now) {
                return Some((Room::Coordinator, Lane::Control, transmit));
            }
            at = coordinator.broker();
        }
        let starved = mutant!(28) && self.shared.last_poll(now) != Some(now);
        if let Some(member) = self.member.as_mut().filter(|_| !starved)
            && let Some(transmit) = member.poll_transmit(now, at, &cluster)
        {
            return Some((Room::Group, Lane::Group, transmit));
        }
        if let Some(transmit) = self.session.as_mut().and_then(|session| session.poll_transmit(now)) {
            return Some((Room::Session, Lane::Control, transmit));
        }
        if self.subscription.is_of_a_group()
            && self.member.as_ref().is_some_and(|member| !is_current(member, now))
        {
            // Until a heartbeat says that we still are who we were, there is nobody to commit as (S7).
            self.offsets.set_identity(None);
        }
        if let Some(mut transmit) = self.offsets.poll_transmit(now, at, &cluster) {
            if matches!(transmit.request, offtake_wire::Request::OffsetCommit(_))
                && let Some(until) = self.member.as_ref().and_then(Member::valid_until)
            {
                // Not to be found on its way, waiting for a connection, when it is no longer ours to send (S7).
                transmit.timeout = transmit.timeout.min(until.saturating_duration_since(now));
            }
            return Some((Room::Offsets, rooms::lane_of(&transmit), transmit));
        }
        let transmit = self.fetch.poll_transmit(now, &cluster)?;
        // The end of a session must not stand behind the session's own long poll.
        let lane = if matches!(self.life, Life::Closing { .. }) { Lane::Control } else { Lane::Fetch };
        Some((Room::Fetch, lane, transmit))
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let closing = match &self.life {
            Life::Settling { until: at, .. } | Life::Closing { deadline: at, .. } => Some(*at),
            Life::Open | Life::Closed => None,
        };
        earliest([
            self.metadata.poll_timeout(),
            self.coordinator.as_ref().and_then(Coordinator::poll_timeout),
            self.member.as_ref().filter(|_| !mutant!(28)).and_then(Member::poll_timeout),
            self.session.as_ref().and_then(SessionTimeout::poll_timeout),
            self.offsets.poll_timeout(),
            self.fetch.poll_timeout(),
            self.lookups.poll_timeout(),
            self.release_by,
            self.silence_timeout(),
            self.settling.iter().map(|(deadline, _)| *deadline).min(),
            closing,
        ])
    }

    /// What the handle is to get, after every event of every machine has been carried to the others.
    pub(crate) fn poll_output(&mut self, now: Instant) -> Option<Output> {
        self.carry_events(now);
        self.settle_close(now);
        // Closing has its own consequences.
        self.carry_events(now);
        self.settle_commits(now);
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        if let Some(chunk) = self.fetch.take() {
            return Some(Output::Chunk(chunk));
        }
        self.failures.pop_front().map(Output::Notice)
    }

    fn tell(&mut self, notice: Notice) {
        self.outputs.push_back(Output::Notice(notice));
    }

    fn fail(&mut self, error: Error) {
        tracing::debug!(%error, "the application is told");
        self.partition_failed(error, false);
    }

    fn partition_failed(&mut self, error: Error, stops: bool) {
        self.sink.tell(|| Event::Error(error.clone()));
        let notice = Notice::Failed { error, last: stops };
        if stops {
            self.failures.push_back(notice);
        } else {
            self.tell(notice);
        }
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

pub(crate) fn not_assigned(partition: &TopicPartition) -> Error {
    Error::new(ErrorKind::NotOwned, format!("{partition} is not assigned to this consumer"))
        .with_partition(partition.clone())
}

/// Whether the membership is known to last.
fn is_current(member: &Member, now: Instant) -> bool {
    member.valid_until().is_some_and(|until| until > now)
}
