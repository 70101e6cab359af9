//! Queries of the application: committed offsets, and offsets that leaders list. They change no state.

use std::{collections::BTreeMap, time::Instant};

use offtake_machine::{
    Answer, BrokerId, CallError, CallId, Cluster, LeaderEpoch, ListedOffset, OffsetSpec, TopicPartition,
    Transmit, earliest,
};
use offtake_wire::ApiKey;

use crate::{
    Cause, Event, OffsetAndMetadata, Offsets, QueryError,
    machine::CallKind,
    remedy::{for_leader_request, for_offset_fetch, is_permanent},
    requests::{TopicIds, list_offsets, offset_fetch, take},
    retry::{BackoffSchedule, Retry},
    start::no_leader,
};

/// The id of one query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId(pub u64);

/// The results of a query, partition by partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryOutcome {
    /// The result of [`Offsets::fetch_committed`]; `None` if nothing is committed.
    Committed(BTreeMap<TopicPartition, Result<Option<OffsetAndMetadata>, QueryError>>),
    /// The result of [`Offsets::list_offsets`]; `None` if no record has that timestamp or a later one.
    Listed(BTreeMap<TopicPartition, Result<Option<ListedOffset>, QueryError>>),
}

/// All open queries.
#[derive(Debug, Default)]
pub(crate) struct Queries {
    committed: BTreeMap<QueryId, Query<(), OffsetAndMetadata>>,
    listed: BTreeMap<QueryId, Query<OffsetSpec, ListedOffset>>,
    last_id: u64,
}

/// One query about some partitions.
#[derive(Debug)]
struct Query<S, A> {
    deadline: Instant,
    open: BTreeMap<TopicPartition, (S, Retry)>,
    done: BTreeMap<TopicPartition, Result<Option<A>, QueryError>>,
}

impl<S: Copy, A> Query<S, A> {
    fn new(deadline: Instant, partitions: impl IntoIterator<Item = (TopicPartition, S)>) -> Self {
        let open = partitions.into_iter().map(|(partition, spec)| (partition, (spec, Retry::default())));
        Self { deadline, open: open.collect(), done: BTreeMap::new() }
    }

    fn ready(&self, now: Instant) -> impl Iterator<Item = (&TopicPartition, S)> {
        let ready = self.open.iter().filter(move |(_, (_, retry))| retry.is_ready(now));
        ready.map(|(partition, (spec, _))| (partition, *spec))
    }

    fn sent(&mut self, partition: &TopicPartition, id: CallId, leader: Option<(BrokerId, LeaderEpoch)>) {
        if let Some((_, retry)) = self.open.get_mut(partition) {
            retry.sent(id, leader);
        }
    }

    fn asked_in(&self, call: CallId) -> Vec<(TopicPartition, S)> {
        let asked = self.open.iter().filter(|(_, (_, retry))| retry.outstanding == Some(call));
        asked.map(|(partition, (spec, _))| (partition.clone(), *spec)).collect()
    }

    /// Records the result of one partition, or schedules a retry.
    fn record(
        &mut self,
        now: Instant,
        partition: TopicPartition,
        answer: Result<Option<A>, Cause>,
        backoffs: &BackoffSchedule,
        waits_for_metadata: bool,
    ) {
        match answer {
            Err(cause) if !is_permanent(&cause) => {
                if let Some((_, retry)) = self.open.get_mut(&partition) {
                    retry.failed(now, cause, backoffs, waits_for_metadata);
                }
            }
            answer => {
                self.open.remove(&partition);
                self.done.insert(partition, answer.map_err(QueryError::Failed));
            }
        }
    }

    fn expire(&mut self, now: Instant) -> bool {
        let late = self.deadline <= now;
        if late {
            for (partition, (_, retry)) in std::mem::take(&mut self.open) {
                self.done.insert(partition, Err(QueryError::TimedOut(retry.last_cause)));
            }
        }
        late
    }

    /// What is not asked at the moment fails. Returns whether the query is complete.
    fn refuse_unsent(&mut self, cause: &Cause) -> bool {
        let all = std::mem::take(&mut self.open).into_iter();
        let (sent, unsent): (_, BTreeMap<_, _>) =
            all.partition(|(_, (_, retry))| retry.outstanding.is_some());
        self.open = sent;
        self.done
            .extend(unsent.into_keys().map(|partition| (partition, Err(QueryError::Failed(cause.clone())))));
        self.open.is_empty()
    }

    fn next_wakeup(&self, drained: Instant) -> Option<Instant> {
        let retries = self.open.values().filter_map(|(_, retry)| retry.next_wakeup(drained));
        earliest([retries.min(), Some(self.deadline)])
    }

    fn on_cluster(&mut self, cluster: &Cluster) {
        for (partition, (_, retry)) in &mut self.open {
            if let (Some(leader), Some(info)) = (cluster.leader(partition), cluster.partition(partition)) {
                retry.on_new_leader((leader, info.epoch));
            }
        }
    }
}

impl Queries {
    fn next_id(&mut self) -> QueryId {
        self.last_id = self.last_id.wrapping_add(1);
        QueryId(self.last_id)
    }

    pub(crate) fn wants_coordinator(&self) -> bool {
        !self.committed.is_empty()
    }

    pub(crate) fn on_cluster(&mut self, cluster: &Cluster) {
        self.listed.values_mut().for_each(|query| query.on_cluster(cluster));
    }

    pub(crate) fn expire(&mut self, now: Instant) -> Vec<(QueryId, QueryOutcome)> {
        let mut late: Vec<QueryId> = Vec::new();
        late.extend(self.committed.iter_mut().filter_map(|(id, query)| query.expire(now).then_some(*id)));
        late.extend(self.listed.iter_mut().filter_map(|(id, query)| query.expire(now).then_some(*id)));
        late.into_iter().filter_map(|id| Some((id, self.finish(id)?))).collect()
    }

    /// Queries of committed offsets fail, as far as they are not in flight, because no coordinator can be
    /// found for them.
    pub(crate) fn refuse_unsent(&mut self, cause: &Cause) -> Vec<(QueryId, QueryOutcome)> {
        let queries = self.committed.iter_mut();
        let over: Vec<_> =
            queries.filter_map(|(id, query)| query.refuse_unsent(cause).then_some(*id)).collect();
        over.into_iter().filter_map(|id| Some((id, self.finish(id)?))).collect()
    }

    /// The outcome, once no partition is open.
    fn finish(&mut self, id: QueryId) -> Option<QueryOutcome> {
        if self.committed.get(&id).is_some_and(|query| query.open.is_empty()) {
            return self.committed.remove(&id).map(|query| QueryOutcome::Committed(query.done));
        }
        if self.listed.get(&id).is_some_and(|query| query.open.is_empty()) {
            return self.listed.remove(&id).map(|query| QueryOutcome::Listed(query.done));
        }
        None
    }

    pub(crate) fn next_wakeup(&self, drained: Instant) -> Option<Instant> {
        let committed = self.committed.values().filter_map(|query| query.next_wakeup(drained));
        let listed = self.listed.values().filter_map(|query| query.next_wakeup(drained));
        committed.chain(listed).min()
    }
}

impl Offsets {
    /// Looks up committed offsets. [`Event::QueryDone`] has the result, at the deadline at the latest.
    pub fn fetch_committed(
        &mut self,
        now: Instant,
        partitions: impl IntoIterator<Item = TopicPartition>,
        deadline: Instant,
    ) -> QueryId {
        self.advance_clock(now);
        let id = self.queries.next_id();
        let mut query = Query::new(deadline, partitions.into_iter().map(|partition| (partition, ())));
        if self.config.group.is_none() {
            for (partition, _) in std::mem::take(&mut query.open) {
                query.done.insert(partition, Err(QueryError::NoGroup));
            }
        }
        self.queries.committed.insert(id, query);
        self.finish_query(id);
        id
    }

    /// Looks up offsets at the leaders. [`Event::QueryDone`] has the result, at the deadline at the latest.
    pub fn list_offsets(
        &mut self,
        now: Instant,
        partitions: impl IntoIterator<Item = (TopicPartition, OffsetSpec)>,
        deadline: Instant,
    ) -> QueryId {
        self.advance_clock(now);
        let id = self.queries.next_id();
        self.queries.listed.insert(id, Query::new(deadline, partitions));
        self.finish_query(id);
        id
    }

    /// Cancels a query whose result is no longer needed: no [`Event::QueryDone`] follows.
    pub fn cancel_query(&mut self, id: QueryId) {
        self.queries.committed.remove(&id);
        self.queries.listed.remove(&id);
    }

    fn finish_query(&mut self, id: QueryId) {
        if let Some(outcome) = self.queries.finish(id) {
            self.emit(Event::QueryDone { id, outcome });
        }
    }

    pub(crate) fn send_committed_query(
        &mut self,
        now: Instant,
        of: BrokerId,
        group: &str,
        cluster: &Cluster,
    ) -> Option<Transmit> {
        let queries = self.queries.committed.iter();
        let (query, partitions) = queries
            .map(|(id, query)| {
                (*id, query.ready(now).map(|(partition, ())| partition.clone()).collect::<Vec<_>>())
            })
            .find(|(_, partitions)| !partitions.is_empty())?;
        let id = self.next_call();
        if let Some(query) = self.queries.committed.get_mut(&query) {
            partitions.iter().for_each(|partition| query.sent(partition, id, None));
        }
        // Without an identity, because the response does not depend on the membership.
        let (request, max_version, ids) = offset_fetch::request(group, None, &partitions, cluster);
        Some(self.send(now, id, of, CallKind::QueryCommitted { query, ids }, request.into(), max_version))
    }

    pub(crate) fn on_committed_query(
        &mut self,
        now: Instant,
        query: QueryId,
        call: CallId,
        of: BrokerId,
        ids: &TopicIds,
        answer: Result<Answer, CallError>,
    ) {
        let group = self.config.group.clone().unwrap_or_default();
        let mut answers = offset_fetch::answers(answer, &group, ids);
        let backoffs = self.backoffs.next_round();
        let Some(open) = self.queries.committed.get_mut(&query) else { return };
        let mut remedies = Vec::new();
        for (partition, ()) in open.asked_in(call) {
            let answer = take(&mut answers, &partition, ApiKey::OffsetFetch);
            remedies.extend(answer.as_ref().err().map(|cause| for_offset_fetch(cause).0));
            open.record(now, partition, answer, &backoffs, false);
        }
        for remedy in remedies {
            self.apply_remedy(remedy, Some(of));
        }
        self.finish_query(query);
    }

    pub(crate) fn send_list_queries(&mut self, now: Instant, cluster: &Cluster) -> Option<Transmit> {
        let ids: Vec<_> = self.queries.listed.keys().copied().collect();
        ids.into_iter().find_map(|query| self.send_list_query(now, query, cluster))
    }

    /// One ListOffsets for one leader.
    fn send_list_query(&mut self, now: Instant, query: QueryId, cluster: &Cluster) -> Option<Transmit> {
        let open = self.queries.listed.get_mut(&query)?;
        let mut leaders: BTreeMap<BrokerId, Vec<_>> = BTreeMap::new();
        let mut lost = Vec::new();
        for (partition, spec) in open.ready(now) {
            match cluster.leader(partition).zip(cluster.partition(partition)) {
                Some((leader, info)) => {
                    leaders.entry(leader).or_default().push((partition.clone(), (info.epoch, spec)));
                }
                None => lost.push(partition.clone()),
            }
        }
        if !lost.is_empty() {
            let backoffs = self.backoffs.next_round();
            for partition in lost {
                let cause = no_leader(cluster, &partition);
                open.record(now, partition, Err(cause), &backoffs, true);
            }
            self.apply_remedy(crate::remedy::Remedy::RefreshMetadata, None);
            self.finish_query(query);
        }
        let (of, partitions) = leaders.pop_first()?;
        let id = self.next_call();
        if let Some(open) = self.queries.listed.get_mut(&query) {
            for (partition, (epoch, _)) in &partitions {
                open.sent(partition, id, Some((of, *epoch)));
            }
        }
        let request = list_offsets::request(&self.config, &partitions);
        Some(self.send(now, id, of, CallKind::QueryList { query }, request.into(), None))
    }

    pub(crate) fn on_list_query(
        &mut self,
        now: Instant,
        query: QueryId,
        call: CallId,
        answer: Result<Answer, CallError>,
    ) {
        let mut answers = list_offsets::answers(answer);
        let backoffs = self.backoffs.next_round();
        let Some(open) = self.queries.listed.get_mut(&query) else { return };
        let mut remedies = Vec::new();
        for (partition, spec) in open.asked_in(call) {
            let answer = list_offsets::take_checked(&mut answers, &partition, spec);
            remedies.extend(answer.as_ref().err().map(|cause| for_leader_request(cause).0));
            open.record(now, partition, answer, &backoffs, true);
        }
        for remedy in remedies {
            self.apply_remedy(remedy, None);
        }
        self.finish_query(query);
    }
}
