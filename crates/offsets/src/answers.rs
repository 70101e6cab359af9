//! Handles the responses to lookups of start offsets.

use std::time::Instant;

use offtake_machine::{
    Answer, BrokerId, CallError, CallId, Identity, ListedOffset, OffsetSpec, Position, TopicPartition,
};
use offtake_wire::{ApiKey, Response};

use crate::{
    Cause, Event, OffsetAndMetadata, Offsets, PartitionError, ResetPolicy, ResetReason,
    config::StartPlace,
    partition::{AfterListing, Loaded, Lookup, Partition},
    remedy::{REPORT_AFTER, Remedy, Report, cannot_validate, for_leader_request, for_offset_fetch},
    requests::{Answers, TopicIds, epoch_ends, list_offsets, offset_fetch, take},
    retry::BackoffSchedule,
};

impl Offsets {
    /// The partitions that wait for the response to this call.
    fn asked_in(&self, id: CallId) -> Vec<(TopicPartition, Lookup)> {
        let asked = self.lookups.sent_in(id).into_iter();
        asked.filter_map(|partition| self.lookup_of(&partition).map(|lookup| (partition, lookup))).collect()
    }

    pub(crate) fn on_offset_fetch(
        &mut self,
        now: Instant,
        id: CallId,
        of: BrokerId,
        ids: &TopicIds,
        identity: Option<Identity>,
        answer: Result<Answer, CallError>,
    ) {
        let group = self.config.group.clone().unwrap_or_default();
        let mut answers = offset_fetch::answers(answer, &group, ids);
        let backoffs = self.backoffs.next_round();
        let mut report_group_error = true;
        for (partition, lookup) in self.asked_in(id) {
            let Lookup::Committed { otherwise } = lookup else { continue };
            let answer = take(&mut answers, &partition, ApiKey::OffsetFetch);
            match answer {
                Ok(Some(committed)) => self.on_committed_offset(&partition, &committed, otherwise),
                Ok(None) => self.on_nothing_committed(now, &partition, otherwise),
                Err(cause) => {
                    let (remedy, mut weight) = for_offset_fetch(&cause);
                    if answers.is_err() && !std::mem::take(&mut report_group_error) {
                        // The error concerns the whole group: it is reported for one partition.
                        weight = Report::Never;
                    }
                    if let (Remedy::Membership, Some(code), Some(identity)) =
                        (remedy, cause.code(), &identity)
                    {
                        self.report_membership_refused(code, identity);
                    }
                    self.lookup_failed(now, &partition, cause, &backoffs, remedy, weight);
                    self.apply_remedy(remedy, Some(of));
                    if self.identity != identity
                        && let Some(waiting) =
                            self.partitions.get_mut(&partition).and_then(Partition::resolving_mut)
                    {
                        waiting.retry.retry_now();
                        self.index_lookup(&partition);
                    }
                }
            }
        }
    }

    fn on_committed_offset(
        &mut self,
        partition: &TopicPartition,
        committed: &OffsetAndMetadata,
        otherwise: StartPlace,
    ) {
        let (position, at) = (committed.position(), self.clock);
        if let Some(state) = self.partitions.get_mut(partition) {
            state.committed = Some(position);
            state.loaded = Some(Loaded { offset: position.offset, at, otherwise });
        }
        if let Some(last) = self.last_committed.get(partition).copied().filter(|last| *last > position.offset)
        {
            self.committed_regressions = self.committed_regressions.saturating_add(1);
            tracing::warn!(
                %partition, offset = position.offset, before = last,
                "the group's committed offset is below what this consumer had committed"
            );
            self.last_committed.insert(partition.clone(), position.offset);
        }
        self.look_up_next(partition, Lookup::Validation { position });
        // A committed offset that was requested by topic name waits for the topic's id, as it may be another
        // topic's (FAILURES B3).
        if !self.was_asked_by_name(partition) {
            self.start_without_epoch(partition, position);
        }
    }

    pub(crate) fn on_list_offsets(&mut self, now: Instant, id: CallId, answer: Result<Answer, CallError>) {
        let mut answers = list_offsets::answers(answer);
        let backoffs = self.backoffs.next_round();
        for (partition, lookup) in self.asked_in(id) {
            let Lookup::Listed { spec, then } = lookup else { continue };
            let answer = list_offsets::take_checked(&mut answers, &partition, spec);
            match answer {
                Ok(Some(listed)) => self.on_listed_offset(&partition, then, listed),
                // No record has that timestamp or a later one: the partition starts at the end, as in Java.
                Ok(None) => {
                    self.look_up_next(&partition, Lookup::Listed { spec: OffsetSpec::Latest, then });
                }
                Err(cause) => self.on_leader_failure(now, &partition, cause, &backoffs),
            }
        }
    }

    fn on_listed_offset(&mut self, partition: &TopicPartition, then: AfterListing, listed: ListedOffset) {
        let here = Position { offset: listed.offset, epoch: listed.leader_epoch };
        match then {
            AfterListing::StartBefore(records) if records > 0 && here.offset > 0 => {
                let back = i64::try_from(records).unwrap_or(i64::MAX);
                let offset = here.offset.saturating_sub(back).max(0);
                let then = AfterListing::StartAtLeast { offset, records };
                self.look_up_next(partition, Lookup::Listed { spec: OffsetSpec::Earliest, then });
            }
            AfterListing::StartAtLeast { offset, .. } if here.offset < offset => {
                self.start(partition, Position::at(offset))
            }
            AfterListing::StartAtMost(offset) if offset < here.offset => {
                self.start(partition, Position::at(offset))
            }
            AfterListing::Start
            | AfterListing::StartAtMost(_)
            | AfterListing::StartBefore(_)
            | AfterListing::StartAtLeast { .. } => self.start(partition, here),
        }
    }

    pub(crate) fn on_epoch_ends(&mut self, now: Instant, id: CallId, answer: Result<Answer, CallError>) {
        let mut answers = match answer {
            Ok(Answer { response: Response::OffsetForLeaderEpoch(response), .. }) => {
                Ok(epoch_ends::read(response))
            }
            Ok(_) => Ok(Answers::new()),
            Err(error) => Err(Cause::Call(error)),
        };
        let backoffs = self.backoffs.next_round();
        for (partition, lookup) in self.asked_in(id) {
            let Lookup::Validation { position } = lookup else { continue };
            let answer = take(&mut answers, &partition, ApiKey::OffsetForLeaderEpoch);
            match answer.map(|end| epoch_ends::compare(position, end)) {
                Ok(epoch_ends::Validation::Valid) => self.start(&partition, position),
                Ok(epoch_ends::Validation::Truncated(end)) => self.on_truncated(&partition, position, end),
                Ok(epoch_ends::Validation::UnknownEpoch) => {
                    let fresh = self
                        .partitions
                        .get(&partition)
                        .and_then(Partition::resolving)
                        .is_some_and(|w| w.fresh);
                    let from = Some(position.offset);
                    self.apply_reset_policy(now, &partition, ResetReason::EpochUnknown, from, fresh, None);
                }
                Err(cause) if cannot_validate(&cause) => self.start(&partition, position),
                Err(cause) => self.on_leader_failure(now, &partition, cause, &backoffs),
            }
        }
    }

    fn on_truncated(&mut self, partition: &TopicPartition, position: Position, end: Position) {
        let Some(token) = self.token_of(partition) else { return };
        let (from, to) = (position.offset, end.offset);
        let partition_ = partition.clone();
        self.emit(Event::Truncated { partition: partition_, token, from, to: Some(to), epoch: end.epoch });
        match self.config.reset {
            ResetPolicy::None => self.stop_with(partition, PartitionError::LogTruncated { from, to }),
            ResetPolicy::Earliest | ResetPolicy::Latest | ResetPolicy::ByDuration(_) => {
                self.start(partition, end)
            }
        }
    }

    pub(crate) fn on_leader_failure(
        &mut self,
        now: Instant,
        partition: &TopicPartition,
        cause: Cause,
        backoffs: &BackoffSchedule,
    ) {
        let (remedy, weight) = for_leader_request(&cause);
        self.lookup_failed(now, partition, cause, backoffs, remedy, weight);
        self.apply_remedy(remedy, None);
    }

    /// The lookup is repeated. The reset policy is never applied: a failed request does not mean that nothing is committed
    /// (FAILURES L2).
    pub(crate) fn lookup_failed(
        &mut self,
        now: Instant,
        partition: &TopicPartition,
        cause: Cause,
        backoffs: &BackoffSchedule,
        remedy: Remedy,
        weight: Report,
    ) {
        let Some(state) = self.partitions.get_mut(partition) else { return };
        let token = state.token;
        let Some(waiting) = state.resolving_mut() else { return };
        let waits_for_metadata = remedy == Remedy::RefreshMetadata;
        waiting.retry.failed(now, cause.clone(), backoffs, waits_for_metadata);
        let tell = match weight {
            Report::Never => false,
            Report::AfterRetries => waiting.retry.failures() >= REPORT_AFTER,
            Report::Immediately => true,
        };
        let tell = tell && !std::mem::replace(&mut waiting.is_reported, true);
        self.index_lookup(partition);
        if tell {
            let error = PartitionError::Unresolved(cause);
            self.emit(Event::PartitionFailed { partition: partition.clone(), token, error });
        }
    }
}
