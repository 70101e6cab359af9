//! How a partition gets its start offset: the committed one, or else a listed one, validated by the leader.
//! The responses are handled in `answers.rs`.

use std::{collections::BTreeMap, time::Instant};

use offtake_machine::{
    BrokerId, CallId, Cluster, LeaderEpoch, OffsetSpec, Position, Token, TopicPartition, Transmit,
};
use offtake_wire::ErrorCode;

use crate::{
    Cause, Event, Offsets, PartitionError, ResetPolicy, ResetReason, StartAt,
    config::StartPlace,
    machine::{CallKind, LookupKind},
    partition::{AfterListing, Lookup, Partition, Phase, Resolving},
    remedy::{Remedy, Report, for_leader_request},
    requests::{epoch_ends, list_offsets, offset_fetch},
    retry::Retry,
};

/// How often the metadata are refreshed for a position of a newer leader epoch than they have, before the leader that they name is asked about
/// it: about half a minute with the default pauses. It can only say that it does not know the epoch: a broker that is cut off from the
/// controller, and has been replaced as leader, would have the position reset. So would the leader of a topic that was created again, which
/// shows in nothing else where topics have no ids.
const REFRESHES_FOR_EPOCH: u32 = 30;

/// The lookups for one leader.
#[derive(Default)]
struct ForLeader {
    list: Vec<(TopicPartition, (LeaderEpoch, OffsetSpec))>,
    epochs: Vec<(TopicPartition, (LeaderEpoch, i32))>,
}

impl Resolving {
    /// Whether the request goes to the coordinator.
    pub(crate) fn is_for_coordinator(&self) -> bool {
        matches!(self.lookup, Lookup::Committed { .. })
    }
}

impl Offsets {
    // ---- from one lookup to the next -----------------------------------------------------------------------------

    /// Starts at `at`, after an assignment or a seek.
    pub(crate) fn resolve_start(&mut self, now: Instant, partition: &TopicPartition, at: StartAt) {
        if let Some(state) = self.partitions.get_mut(partition) {
            state.asked_by_name = None;
            (state.loaded, state.reset_to) = (None, None);
        }
        let (committed, place) = at.parts();
        match (committed, &self.config.group) {
            (true, Some(_)) => {
                self.resolve(partition, Lookup::Committed { otherwise: place }, true, None, None);
            }
            (true, None) => self.on_nothing_committed(now, partition, place),
            (false, _) => self.resolve_place(now, partition, place, None),
        }
    }

    /// The partition has no start offset until `lookup` is answered.
    pub(crate) fn resolve(
        &mut self,
        partition: &TopicPartition,
        lookup: Lookup,
        fresh: bool,
        reset: Option<(ResetReason, Option<i64>)>,
        not_before: Option<Instant>,
    ) {
        if let Some(state) = self.partitions.get_mut(partition) {
            let retry = Retry::at(not_before);
            let waiting = Resolving { lookup, fresh, reset, is_reported: false, retry };
            state.phase = Phase::ResolvingPosition(Box::new(waiting));
            self.index_lookup(partition);
        }
    }

    /// The next lookup of a partition; the rest stays as it was.
    pub(crate) fn look_up_next(&mut self, partition: &TopicPartition, lookup: Lookup) {
        if let Some(waiting) = self.partitions.get_mut(partition).and_then(Partition::resolving_mut) {
            waiting.lookup = lookup;
            waiting.retry.answered();
            self.index_lookup(partition);
        }
    }

    pub(crate) fn on_nothing_committed(
        &mut self,
        now: Instant,
        partition: &TopicPartition,
        otherwise: StartPlace,
    ) {
        let waiting = self.partitions.get(partition).and_then(Partition::resolving);
        let asked = waiting.filter(|waiting| waiting.is_for_coordinator());
        let reset = asked.and_then(|waiting| waiting.reset).or(Some((ResetReason::NothingCommitted, None)));
        self.resolve_place(now, partition, otherwise, reset);
    }

    /// Starts at a place that does not depend on a committed offset.
    fn resolve_place(
        &mut self,
        now: Instant,
        partition: &TopicPartition,
        place: StartPlace,
        reset: Option<(ResetReason, Option<i64>)>,
    ) {
        let (spec, then) = match place {
            StartPlace::Policy => {
                let (reason, from) = reset.unwrap_or((ResetReason::Asked, None));
                return self.apply_reset_policy(now, partition, reason, from, true, None);
            }
            StartPlace::Offset(Position { offset, .. }) if offset < 0 => {
                return self.stop_with(partition, PartitionError::NegativeOffset(offset));
            }
            StartPlace::Offset(position) => {
                self.resolve(partition, Lookup::Validation { position }, true, reset, None);
                return self.start_without_epoch(partition, position);
            }
            StartPlace::Earliest => (OffsetSpec::Earliest, AfterListing::Start),
            StartPlace::Latest => (OffsetSpec::Latest, AfterListing::Start),
            StartPlace::Timestamp(at) => (OffsetSpec::Timestamp(at), AfterListing::Start),
            StartPlace::BeforeEnd(records) => (OffsetSpec::Latest, AfterListing::StartBefore(records)),
        };
        self.resolve(partition, Lookup::Listed { spec, then }, true, reset, None);
    }

    /// Lets `auto.offset.reset` decide.
    pub(crate) fn apply_reset_policy(
        &mut self,
        now: Instant,
        partition: &TopicPartition,
        reason: ResetReason,
        from: Option<i64>,
        fresh: bool,
        not_before: Option<Instant>,
    ) {
        let spec = match self.config.reset {
            ResetPolicy::Earliest => OffsetSpec::Earliest,
            ResetPolicy::Latest => OffsetSpec::Latest,
            ResetPolicy::ByDuration(ago) => OffsetSpec::Timestamp(self.config.millis_before(now, ago)),
            ResetPolicy::None => {
                let error = match from {
                    Some(position) => PartitionError::OffsetOutOfRange { position },
                    None => PartitionError::NoOffset,
                };
                return self.stop_with(partition, error);
            }
        };
        let lookup = Lookup::Listed { spec, then: AfterListing::Start };
        self.resolve(partition, lookup, fresh, Some((reason, from)), not_before);
    }

    /// Validates the position of a partition that was being fetched (KIP-320).
    pub(crate) fn compare_with_leader(
        &mut self,
        partition: &TopicPartition,
        position: Position,
        not_before: Option<Instant>,
    ) {
        self.resolve(partition, Lookup::Validation { position }, false, None, not_before);
        if not_before.is_none() {
            self.start_without_epoch(partition, position);
        }
    }

    /// Whether its committed offset was requested while the topic's id was not known.
    pub(crate) fn was_asked_by_name(&self, partition: &TopicPartition) -> bool {
        self.partitions.get(partition).is_some_and(|state| state.asked_by_name.is_some())
    }

    /// Starts at once if the position has no epoch: then there is nothing to validate.
    pub(crate) fn start_without_epoch(&mut self, partition: &TopicPartition, position: Position) {
        if position.epoch.is_none() {
            self.start(partition, position);
        }
    }

    /// Stops the partition: only the application can decide where to continue.
    pub(crate) fn stop_with(&mut self, partition: &TopicPartition, error: PartitionError) {
        if let Some(token) = self.token_of(partition) {
            self.stop(partition, token);
            self.emit(Event::PartitionFailed { partition: partition.clone(), token, error });
        }
    }

    /// The records before an error that stopped the partition were dropped, and the error with them: the
    /// partition returns to `fetch` at `position`, and will meet the error again. A partition that has not
    /// stopped is not changed.
    pub fn start_again(&mut self, partition: &TopicPartition, token: Token, position: Position) {
        let stopped = self.partitions.get_mut(partition).filter(|state| state.token == token);
        let Some(state) = stopped.filter(|state| matches!(state.phase, Phase::Stopped)) else { return };
        state.mark_started(position);
        self.index_lookup(partition);
        self.update_uncommitted(partition);
        self.emit(Event::Start { partition: partition.clone(), token, position });
    }

    /// Passes the partition to `fetch`.
    pub(crate) fn start(&mut self, partition: &TopicPartition, position: Position) {
        if self.is_replaced(partition) {
            return; // another topic's log is not read
        }
        let Some(state) = self.partitions.get_mut(partition) else { return };
        let Some(Resolving { fresh, reset, .. }) = state.resolving() else { return };
        let (fresh, reset) = (*fresh, *reset);
        match fresh {
            true => state.starts_at(position),
            false => state.continue_at(position),
        }
        let token = state.token;
        self.index_lookup(partition);
        self.update_uncommitted(partition);
        if let Some((reason, from)) = reset {
            let to = position.offset;
            let comparable = match reason {
                ResetReason::NothingCommitted | ResetReason::OutOfRange | ResetReason::Asked => from,
                // These are offsets of different logs.
                ResetReason::EpochUnknown | ResetReason::TopicRecreated => None,
            };
            let skipped = comparable.map(|from| u64::try_from(to.saturating_sub(from)).unwrap_or(0));
            self.emit(Event::Reset { partition: partition.clone(), token, from, to, reason, skipped });
        }
        self.emit(Event::Start { partition: partition.clone(), token, position });
        if let Some((reason, from)) = reset {
            if let Some(state) = self.partitions.get_mut(partition) {
                state.reset_to = Some((position.offset, self.clock));
            }
            if suggests_new_log(reason, from, position.offset) {
                self.apply_remedy(Remedy::RefreshMetadata, None);
            }
        }
    }

    // ---- requests ------------------------------------------------------------------------------------------------

    pub(crate) fn lookup_of(&self, partition: &TopicPartition) -> Option<Lookup> {
        self.partitions.get(partition)?.resolving().map(|waiting| waiting.lookup)
    }

    /// Refreshes the metadata while another topic has the name of an assigned one: the metadata may be old.
    fn refresh_replaced_topics(&mut self, now: Instant) {
        let resting = self.lookups.replaced();
        if resting.is_empty() {
            return;
        }
        let backoffs = self.backoffs.next_round();
        for partition in resting {
            let cause = Cause::Topic(ErrorCode::UnknownTopicId);
            // A new leader under this name belongs to the other topic.
            self.lookup_failed(now, &partition, cause, &backoffs, Remedy::Wait, Report::Never);
        }
        self.apply_remedy(Remedy::RefreshMetadata, None);
    }

    /// Whether newer metadata are worth waiting for.
    fn waits_for_epoch(&self, partition: &TopicPartition) -> bool {
        let waiting = self.partitions.get(partition).and_then(Partition::resolving);
        waiting.is_some_and(|waiting| waiting.retry.failures() < REFRESHES_FOR_EPOCH)
    }

    fn sent(&mut self, partition: &TopicPartition, id: CallId, leader: Option<(BrokerId, LeaderEpoch)>) {
        if let Some(waiting) = self.partitions.get_mut(partition).and_then(Partition::resolving_mut) {
            waiting.retry.sent(id, leader);
            self.index_lookup(partition);
        }
    }

    /// One OffsetFetch for all partitions that wait for one.
    pub(crate) fn send_offset_fetch(
        &mut self,
        now: Instant,
        of: BrokerId,
        group: &str,
        cluster: &Cluster,
    ) -> Option<Transmit> {
        if self.is_busy(LookupKind::AtCoordinator, of) {
            return None;
        }
        let mut partitions = Vec::new();
        for partition in self.lookups.ready_for_coordinator() {
            let Some(Lookup::Committed { otherwise }) = self.lookup_of(&partition) else { continue };
            if let Some(state) = self.partitions.get_mut(&partition) {
                let is_known = cluster.topic_id(partition.topic.as_str()).is_some();
                state.asked_by_name = (!is_known).then_some(otherwise);
            }
            partitions.push(partition);
        }
        if partitions.is_empty() {
            return None;
        }
        let id = self.next_call();
        for partition in &partitions {
            self.sent(partition, id, None);
        }
        let identity = self.identity.clone();
        let (request, max_version, ids) =
            offset_fetch::request(group, identity.as_ref(), &partitions, cluster);
        Some(self.send(now, id, of, CallKind::LoadCommitted { ids, identity }, request.into(), max_version))
    }

    /// One ListOffsets and one OffsetForLeaderEpoch for each leader, one after the other.
    pub(crate) fn send_leader_requests(&mut self, now: Instant, cluster: &Cluster) -> Option<Transmit> {
        if self.for_leaders.is_empty() {
            self.prepare_leader_requests(now, cluster);
        }
        self.for_leaders.pop_front()
    }

    fn prepare_leader_requests(&mut self, now: Instant, cluster: &Cluster) {
        self.refresh_replaced_topics(now);
        let mut leaders: BTreeMap<BrokerId, ForLeader> = BTreeMap::new();
        let (mut lost, mut behind) = (Vec::new(), Vec::new());
        for partition in self.lookups.ready_for_leaders() {
            let Some(lookup) = self.lookup_of(&partition) else { continue };
            let place = cluster.leader(&partition).zip(cluster.partition(&partition));
            let is_listed = cluster.partition(&partition).is_some();
            match (lookup, place) {
                (Lookup::Committed { .. }, _) => {}
                (Lookup::Validation { position }, _)
                    if position.epoch.is_none() && (is_listed || !self.was_asked_by_name(&partition)) =>
                {
                    self.start(&partition, position)
                }
                (_, None) => lost.push(partition),
                (Lookup::Validation { position }, Some((leader, info))) => {
                    match (position.epoch, info.epoch) {
                        (Some(of), Some(known)) if of > known && self.waits_for_epoch(&partition) => {
                            behind.push((partition, (leader, info.epoch), Cause::OldMetadata { known, of }));
                        }
                        (Some(_), Some(_)) if self.is_busy(LookupKind::AtLeader, leader) => {
                            self.lookups.hold(&partition, leader)
                        }
                        (Some(ours), Some(current)) => {
                            let ask = leaders.entry(leader).or_default();
                            ask.epochs.push((partition, (Some(current), ours)));
                        }
                        // A leader without an epoch keeps no history of epochs either (FAILURES L6).
                        _ => self.start(&partition, position),
                    }
                }
                (Lookup::Listed { .. }, Some((leader, _))) if self.is_busy(LookupKind::AtLeader, leader) => {
                    self.lookups.hold(&partition, leader);
                }
                (Lookup::Listed { spec, .. }, Some((leader, info))) => {
                    leaders.entry(leader).or_default().list.push((partition, (info.epoch, spec)));
                }
            }
        }
        let backoffs = self.backoffs.next_round();
        for partition in lost {
            let cause = no_leader(cluster, &partition);
            let (remedy, weight) = for_leader_request(&cause);
            self.lookup_failed(now, &partition, cause, &backoffs, remedy, weight);
            self.apply_remedy(remedy, None);
        }
        for (partition, leader, cause) in behind {
            if let Some(waiting) = self.partitions.get_mut(&partition).and_then(Partition::resolving_mut) {
                waiting.retry.passed_over(leader);
            }
            self.on_leader_failure(now, &partition, cause, &backoffs);
        }
        for (of, ForLeader { list, epochs }) in leaders {
            if !epochs.is_empty() {
                let id = self.next_call();
                for (partition, (epoch, _)) in &epochs {
                    self.sent(partition, id, Some((of, *epoch)));
                }
                let request = epoch_ends::request(&epochs);
                let transmit = self.send(now, id, of, CallKind::EpochEnds, request.into(), None);
                self.for_leaders.push_back(transmit);
            }
            if !list.is_empty() {
                let id = self.next_call();
                for (partition, (epoch, _)) in &list {
                    self.sent(partition, id, Some((of, *epoch)));
                }
                let request = list_offsets::request(&self.config, &list);
                let transmit = self.send(now, id, of, CallKind::ListOffsets, request.into(), None);
                self.for_leaders.push_back(transmit);
            }
        }
    }
}

/// Whether a reset may have another cause than it says: the topic was deleted and created again, and the leader knows it before the metadata do.
fn suggests_new_log(reason: ResetReason, from: Option<i64>, to: i64) -> bool {
    match reason {
        ResetReason::OutOfRange => from.is_some_and(|from| to < from),
        ResetReason::EpochUnknown => true,
        ResetReason::NothingCommitted | ResetReason::TopicRecreated | ResetReason::Asked => false,
    }
}

/// Why there is no leader to query.
pub(crate) fn no_leader(cluster: &Cluster, partition: &TopicPartition) -> Cause {
    match cluster.topics.get(&partition.topic).map(|topic| topic.error) {
        Some(error) if !error.is_ok() && !error.is_retriable() => Cause::Topic(error),
        _ => Cause::NoLeader,
    }
}
