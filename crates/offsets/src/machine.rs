//! [`Offsets`]: its state, its clock, its requests and their responses.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use offtake_machine::{
    Answer, BrokerId, CallError, CallId, CallIds, Cluster, Identity, Position, Target, Token, Topic,
    TopicPartition, Transmit, after, earliest,
};
use offtake_wire::{ApiKey, ErrorCode, Request, Uuid};

use crate::{
    Cause, Config, Event, QueryId,
    commits::Commits,
    committing::AutoCommit,
    lookups::Lookups,
    partition::{Lookup, Partition, Phase, Resolving},
    queries::Queries,
    remedy::{Remedy, is_permanent},
    requests::TopicIds,
    retry::BackoffSchedule,
};

/// The most lookups of start offsets that one broker has to answer at a time. Partitions that need one meanwhile share the next: an application
/// that seeks in each of 10,000 partitions, one by one, causes hundreds of requests instead of 10,000. A broker whose address changes has its
/// calls at the former one until they time out.
const MOST_LOOKUPS: usize = 4;

/// The offsets of one consumer.
#[derive(Debug)]
pub struct Offsets {
    pub(crate) config: Config,
    pub(crate) backoffs: BackoffSchedule,
    /// The identity that commits are sent with. With `None` no commit is sent.
    pub(crate) identity: Option<Identity>,
    pub(crate) partitions: BTreeMap<TopicPartition, Partition>,
    /// Partitions without a start offset.
    pub(crate) lookups: Lookups,
    /// Requests to leaders that are to be sent.
    pub(crate) for_leaders: VecDeque<Transmit>,
    /// Partitions whose finished position is not committed.
    pub(crate) uncommitted: BTreeSet<TopicPartition>,
    pub(crate) commits: Commits,
    pub(crate) auto: AutoCommit,
    pub(crate) queries: Queries,
    ids: CallIds,
    /// The ids of topics, from all views so far.
    pub(crate) topic_ids: BTreeMap<Topic, Uuid>,
    calls: BTreeMap<CallId, OutstandingCall>,
    /// How many of them are lookups of start offsets.
    lookup_counts: BTreeMap<(LookupKind, BrokerId), usize>,
    pub(crate) assignments: u64,
    /// The offset that this consumer has committed last of each partition (FAILURES L9): not the highest, as a seek or a truncation goes back.
    pub(crate) last_committed: BTreeMap<TopicPartition, i64>,
    pub(crate) committed_regressions: u64,
    events: VecDeque<Event>,
    pub(crate) clock: Instant,
    /// When `poll_transmit` last had nothing to send, if nothing has changed since.
    drained: Option<Instant>,
}

/// A call that is not answered yet.
#[derive(Debug)]
pub(crate) struct OutstandingCall {
    pub(crate) what: CallKind,
    pub(crate) of: BrokerId,
    deadline: Instant,
}

impl OutstandingCall {
    /// The error of a call that the driver forgot to answer.
    fn timed_out(&self, after: Duration) -> CallError {
        let api = match self.what {
            CallKind::LoadCommitted { .. } | CallKind::QueryCommitted { .. } => ApiKey::OffsetFetch,
            CallKind::ListOffsets | CallKind::QueryList { .. } => ApiKey::ListOffsets,
            CallKind::EpochEnds => ApiKey::OffsetForLeaderEpoch,
            CallKind::Commit { .. } => ApiKey::OffsetCommit,
        };
        CallError::TimedOut { address: self.of.to_string(), api, after }
    }
}

/// The purpose of a call.
#[derive(Debug)]
pub(crate) enum CallKind {
    LoadCommitted { ids: TopicIds, identity: Option<Identity> },
    ListOffsets,
    EpochEnds,
    Commit { ids: TopicIds, identity: Identity },
    QueryCommitted { query: QueryId, ids: TopicIds },
    QueryList { query: QueryId },
}

/// Those that are counted together: a coordinator that leads partitions too has a connection for each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LookupKind {
    AtCoordinator,
    AtLeader,
}

impl CallKind {
    fn lookup(&self) -> Option<LookupKind> {
        match self {
            Self::LoadCommitted { .. } => Some(LookupKind::AtCoordinator),
            Self::ListOffsets | Self::EpochEnds => Some(LookupKind::AtLeader),
            Self::Commit { .. } | Self::QueryCommitted { .. } | Self::QueryList { .. } => None,
        }
    }
}

impl Offsets {
    /// A machine without any assigned partition.
    pub fn new(config: Config) -> Self {
        Self {
            backoffs: BackoffSchedule::new(config.backoff, config.seed),
            identity: None,
            partitions: BTreeMap::new(),
            lookups: Lookups::default(),
            for_leaders: VecDeque::new(),
            uncommitted: BTreeSet::new(),
            commits: Commits::default(),
            auto: AutoCommit::default(),
            queries: Queries::default(),
            ids: CallIds::default(),
            lookup_counts: BTreeMap::new(),
            topic_ids: BTreeMap::new(),
            calls: BTreeMap::new(),
            assignments: 0,
            last_committed: BTreeMap::new(),
            committed_regressions: 0,
            events: VecDeque::new(),
            clock: config.wall.0,
            drained: None,
            config,
        }
    }

    /// Sets the wall clock's time at `now`, in milliseconds since 1970: it may have been adjusted, and it
    /// advances while the machine is suspended.
    pub fn set_wall_clock(&mut self, now: Instant, wall_ms: i64) {
        self.config.wall = (now, wall_ms);
    }

    /// Sets the identity under which the group knows this consumer. With `None` no commit is sent.
    pub fn set_identity(&mut self, identity: Option<Identity>) {
        if self.identity == identity {
            return;
        }
        self.identity = identity;
        self.commits.retry_now();
        let mut woken = Vec::new();
        for partition in self.lookups.partitions() {
            if let Some(waiting) = self.partitions.get_mut(partition).and_then(Partition::resolving_mut)
                && waiting.is_for_coordinator()
            {
                waiting.retry.retry_now();
                woken.push(partition.clone());
            }
        }
        woken.iter().for_each(|partition| self.index_lookup(partition));
        self.mark_changed();
    }

    // ---- known state -------------------------------------------------------------------------------------------

    /// The token of the partition, if it is assigned.
    pub fn token_of(&self, partition: &TopicPartition) -> Option<Token> {
        self.partitions.get(partition).map(|state| state.token)
    }

    /// The finished position: all records before it are finished.
    pub fn finished_position(&self, partition: &TopicPartition) -> Option<Position> {
        self.partitions.get(partition)?.finished
    }

    /// The committed position, as far as known.
    pub fn committed_position(&self, partition: &TopicPartition) -> Option<Position> {
        self.partitions.get(partition)?.committed
    }

    /// Whether any finished position is not committed.
    pub fn has_uncommitted(&self) -> bool {
        !self.uncommitted.is_empty()
    }

    /// The finished offset of the partition, if it is not committed.
    pub fn uncommitted_offset(&self, partition: &TopicPartition) -> Option<i64> {
        let finished = self.finished_position(partition)?.offset;
        self.uncommitted.contains(partition).then_some(finished)
    }

    /// Whether the start offset of the partition is being looked up.
    pub fn is_resolving(&self, partition: &TopicPartition) -> bool {
        self.lookups.contains(partition)
    }

    /// Whether only the application can decide where the partition continues.
    pub fn is_stopped(&self, partition: &TopicPartition) -> bool {
        self.partitions.get(partition).is_some_and(|state| matches!(state.phase, Phase::Stopped))
    }

    /// How often a committed offset was found below what this consumer had committed: the group was reset, or
    /// the brokers have lost its offsets.
    pub fn committed_regressions(&self) -> u64 {
        self.committed_regressions
    }

    /// Whether a commit of the partition is queued or in flight.
    pub fn has_commit(&self, partition: &TopicPartition) -> bool {
        self.commits.has(partition)
    }

    /// Whether any request needs the coordinator.
    pub fn wants_coordinator(&self) -> bool {
        self.config.group.is_some()
            && (self.lookups.want_coordinator()
                || self.queries.wants_coordinator()
                || (self.identity.is_some() && (!self.commits.is_empty() || self.auto_commits())))
    }

    /// Whether an automatic commit is due and there is something to commit.
    pub(crate) fn auto_commits(&self) -> bool {
        self.auto.due && !self.uncommitted.is_empty()
    }

    // ---- the clock, responses, what to send --------------------------------------------------------------------

    /// The metadata has changed: partitions that wait for a leader may have one.
    pub fn handle_cluster(&mut self, now: Instant, cluster: &Cluster) {
        self.advance_clock(now);
        let mut woken = Vec::new();
        for partition in self.lookups.partitions() {
            let (Some(leader), Some(info)) = (cluster.leader(partition), cluster.partition(partition)) else {
                continue;
            };
            if let Some(waiting) = self.partitions.get_mut(partition).and_then(Partition::resolving_mut)
                && waiting.retry.on_new_leader((leader, info.epoch))
            {
                woken.push(partition.clone());
            }
        }
        woken.iter().for_each(|partition| self.index_lookup(partition));
        self.release_held(None);
        self.queries.on_cluster(cluster);
        self.discard_deleted_logs(now, cluster);
    }

    /// Handles topics that were created again (FAILURES B3): nothing of their old logs counts as finished or
    /// committed any more. Partitions being fetched have to be returned by `fetch`; lookups of the others
    /// asked about the old log. A position still to be compared with the leader's log could, by its epoch,
    /// look as if it were in the new one.
    fn discard_deleted_logs(&mut self, now: Instant, cluster: &Cluster) {
        let mut news = BTreeSet::new();
        // A partition that starts while the metadata does not list its topic belongs to whichever log exists
        // then.
        self.topic_ids.retain(|topic, _| cluster.topic_id(topic.as_str()).is_some());
        let mut anew = BTreeSet::new();
        for topic in cluster.topics.keys() {
            let Some(id) = cluster.topic_id(topic.as_str()) else { continue };
            let before = self.topic_ids.insert(topic.clone(), id);
            if before != Some(id) {
                news.insert(topic.clone());
                anew.extend(before.map(|_| topic.clone()));
            }
        }
        // Earlier committed offsets matter only for assigned partitions and for topics that are unchanged.
        let partitions = &self.partitions;
        self.last_committed.retain(|partition, _| {
            let is_as_before =
                cluster.topic(partition.topic.as_str()).is_some() && !anew.contains(&partition.topic);
            is_as_before || partitions.contains_key(partition)
        });
        if news.is_empty() {
            return;
        }
        let (mut gone, mut given, mut unsure) = (Vec::new(), Vec::new(), Vec::new());
        for (partition, state) in self.partitions.iter_mut().filter(|(it, _)| news.contains(&it.topic)) {
            let id = self.topic_ids.get(&partition.topic).copied();
            if state.is_by_id {
                given.push((partition.clone(), state.topic_id == id));
            } else if state.topic_id.is_some() && state.topic_id != id {
                gone.push(partition.clone());
            } else if state.topic_id.is_none() && state.resolving().is_some() {
                unsure.extend(state.asked_by_name.take().map(|otherwise| (partition.clone(), otherwise)));
            }
            if !state.is_by_id {
                state.topic_id = id;
            }
        }
        for partition in gone {
            self.switch_log(now, partition);
        }
        // An offset committed before the id was known may belong to another topic, so it is requested again.
        for (partition, otherwise) in unsure {
            if let Some(state) = self.partitions.get_mut(&partition) {
                state.committed = None;
            }
            self.resolve(&partition, Lookup::Committed { otherwise }, true, None, None);
        }
        self.check_topics_by_id(given);
    }

    /// A partition that is being fetched is requested back from `fetch`; a lookup is repeated for the new
    /// log.
    fn switch_log(&mut self, now: Instant, partition: TopicPartition) {
        self.discard_old_log(&partition);
        let Some(state) = self.partitions.get(&partition) else { return };
        let token = state.token;
        let Some(Resolving { lookup, reset, .. }) = state.resolving() else {
            return self.emit(Event::LogGone { partition, token });
        };
        let (lookup, reset) = (*lookup, *reset);
        let old_offset = match (lookup, reset) {
            (Lookup::Validation { position }, _) => Some(position.offset),
            (_, Some((_, from))) => from,
            _ => None,
        };
        match old_offset {
            Some(from) => self.reset_in_new_log(now, &partition, from, None),
            None => {
                self.begin_new_log(&partition);
                self.look_up_next(&partition, lookup.in_another_log());
            }
        }
    }

    /// Handles partitions that the group assigned by topic id, with whether that topic has the name now. If
    /// not, they wait: either the metadata is old, or the group is about to revoke them.
    fn check_topics_by_id(&mut self, given: Vec<(TopicPartition, bool)>) {
        let mut resting = BTreeSet::new();
        for (partition, is_named) in given {
            let Some(state) = self.partitions.get_mut(&partition) else { continue };
            let token = state.token;
            let flows = matches!(state.phase, Phase::Fetching);
            if let Some(waiting) = state.resolving_mut() {
                // The outstanding request concerns the topic that had the name.
                waiting.retry.answered();
                self.index_lookup(&partition);
            }
            if is_named {
                continue;
            }
            resting.insert(partition.topic.clone());
            self.disown_commits(&partition);
            if flows {
                self.emit(Event::LogGone { partition, token });
            }
        }
        for topic in resting {
            tracing::warn!(%topic, "the topic with this name is not the one that the group assigned; reading continues with newer metadata or a newer assignment");
        }
    }

    /// The response to a call.
    pub fn handle_answer(&mut self, now: Instant, id: CallId, answer: Result<Answer, CallError>) {
        self.advance_clock(now);
        let Some(call) = self.calls.remove(&id) else { return };
        if let Some(kind) = call.what.lookup() {
            self.lookup_ended(now, kind, call.of, &answer);
        }
        match call.what {
            CallKind::LoadCommitted { ids, identity } => {
                self.on_offset_fetch(now, id, call.of, &ids, identity, answer)
            }
            CallKind::ListOffsets => self.on_list_offsets(now, id, answer),
            CallKind::EpochEnds => self.on_epoch_ends(now, id, answer),
            CallKind::Commit { ids, identity } => {
                self.on_offset_commit(now, id, call.of, &ids, &identity, answer)
            }
            CallKind::QueryCommitted { query, ids } => {
                self.on_committed_query(now, query, id, call.of, &ids, answer);
            }
            CallKind::QueryList { query } => self.on_list_query(now, query, id, answer),
        }
    }

    /// The clock has advanced.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance_clock(now);
        let overdue = self.calls.iter().filter(|(_, call)| call.deadline <= now);
        let overdue: Vec<_> =
            overdue.map(|(id, call)| (*id, call.timed_out(self.config.request_timeout))).collect();
        for (id, error) in overdue {
            self.handle_answer(now, id, Err(error));
        }
        let done = self.commits.expire(now);
        self.emit_commits_done(done);
        for (id, outcome) in self.queries.expire(now) {
            self.emit(Event::QueryDone { id, outcome });
        }
        if self.auto.retry_at.take_if(|at| *at <= now).is_some() {
            self.auto.due = true;
        }
    }

    /// The lookup of the coordinator has failed. If retrying cannot help, the commits and queries of the application that wait
    /// for it fail. Start offsets, automatic commits and those that [wait for it](Self::wait_for_coordinator) wait on.
    pub fn on_coordinator_lookup_failed(&mut self, now: Instant, cause: &Cause) {
        self.advance_clock(now);
        if !is_permanent(cause) {
            return;
        }
        let done = self.commits.refuse_unsent(cause);
        self.emit_commits_done(done);
        for (id, outcome) in self.queries.refuse_unsent(cause) {
            self.emit(Event::QueryDone { id, outcome });
        }
    }

    /// The next request: to the group's coordinator if it is known, or to a leader in `cluster`.
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        coordinator: Option<BrokerId>,
        cluster: &Cluster,
    ) -> Option<Transmit> {
        self.clock = now;
        self.wake_lookups();
        let mut transmit = None;
        if let (Some(of), Some(group)) = (coordinator, self.config.group.clone()) {
            transmit = self.send_offset_fetch(now, of, &group, cluster);
            if transmit.is_none() {
                transmit = self.send_commits(now, of, &group, cluster);
            }
            if transmit.is_none() {
                transmit = self.send_committed_query(now, of, &group, cluster);
            }
        }
        if transmit.is_none() {
            transmit = self.send_leader_requests(now, cluster);
        }
        if transmit.is_none() {
            transmit = self.send_list_queries(now, cluster);
        }
        self.drained = transmit.is_none().then_some(now);
        transmit
    }

    /// When to call again.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let Some(drained) = self.drained.filter(|_| self.events.is_empty()) else { return Some(self.clock) };
        earliest([
            self.lookups.next_wakeup(),
            self.calls.values().map(|call| call.deadline).min(),
            self.commits.next_wakeup(drained),
            self.queries.next_wakeup(drained),
            self.auto.retry_at,
        ])
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    // ---- for the other files of this crate -----------------------------------------------------------------------

    pub(crate) fn advance_clock(&mut self, now: Instant) {
        self.clock = now;
        self.mark_changed();
    }

    pub(crate) fn mark_changed(&mut self) {
        self.drained = None;
    }

    pub(crate) fn emit(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// Emits an event, unless the same one is already waiting.
    pub(crate) fn emit_once(&mut self, event: Event) {
        if !self.events.contains(&event) {
            self.emit(event);
        }
    }

    pub(crate) fn next_call(&mut self) -> CallId {
        self.ids.next_id()
    }

    /// Registers the call `id`.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        id: CallId,
        of: BrokerId,
        what: CallKind,
        request: Request,
        max_version: Option<i16>,
    ) -> Transmit {
        let timeout = self.config.request_timeout;
        if let Some(kind) = what.lookup() {
            *self.lookup_counts.entry((kind, of)).or_default() += 1;
        }
        // The driver answers at `timeout`; the margin is for a driver that forgot.
        self.calls.insert(id, OutstandingCall { what, of, deadline: after(after(now, timeout), timeout) });
        Transmit { id, to: Target::Broker(of), request, max_version, timeout, prompt: None }
    }

    /// Whether this broker has [enough](MOST_LOOKUPS) lookups to answer.
    pub(crate) fn is_busy(&self, kind: LookupKind, of: BrokerId) -> bool {
        self.lookup_counts.get(&(kind, of)).is_some_and(|count| *count >= MOST_LOOKUPS)
    }

    /// Partitions that waited for their leader to have less to answer can be asked about. If it may be gone, they fail as if they had been asked
    /// about with the others: the next metadata may name another leader.
    fn lookup_ended(
        &mut self,
        now: Instant,
        kind: LookupKind,
        of: BrokerId,
        answer: &Result<Answer, CallError>,
    ) {
        if let Some(count) = self.lookup_counts.get_mut(&(kind, of)) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.lookup_counts.remove(&(kind, of));
            }
        }
        match (kind, answer) {
            (LookupKind::AtCoordinator, _) => {}
            (LookupKind::AtLeader, Err(error)) if error.loses_coordinator() => self.fail_held(now, of, error),
            (LookupKind::AtLeader, _) => self.release_held(Some(of)),
        }
    }

    /// Emits the event that a failure calls for, once for all partitions that failed.
    pub(crate) fn apply_remedy(&mut self, remedy: Remedy, of: Option<BrokerId>) {
        let event = match (remedy, of) {
            (Remedy::FindCoordinator, Some(of)) => Event::CoordinatorLost(of),
            (Remedy::RefreshMetadata, _) => Event::RefreshMetadata,
            (Remedy::Wait | Remedy::Membership | Remedy::FindCoordinator, _) => return,
        };
        self.emit_once(event);
    }

    /// The coordinator refused `identity`. It is not reported if the identity has changed since (FAILURES C7, E4).
    pub(crate) fn report_membership_refused(&mut self, code: ErrorCode, identity: &Identity) {
        if self.identity.as_ref() == Some(identity) {
            let event = Event::MembershipRefused { code, identity: identity.clone() };
            self.emit_once(event);
        }
    }
}
