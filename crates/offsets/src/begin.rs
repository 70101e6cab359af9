//! How a waiting partition comes to its start: what is committed, else what is listed, and whether the leader agrees.

use std::{collections::BTreeMap, time::Instant};

use offtake_machine::{
    Answer, BrokerId, CallError, CallId, Cluster, LeaderEpoch, Position, TopicPartition, Transmit, mutant,
};
use offtake_wire::{ApiKey, ErrorCode, Response};

use crate::{
    Cause, Event, Identity, ListSpec, ListedOffset, OffsetAndMetadata, Offsets, PartitionError, Place,
    ResetPolicy, ResetReason, StartAt,
    ask::{Answers, TopicIds, epochs, offset_fetch, offset_list},
    machine::Asked,
    partition::{Hand, Need, Partition, Then, Waiting},
    remedy::{LASTING, Remedy, Weight, cannot_validate, of_leader, of_load},
    retry::{Pauses, Retry},
};

/// What to ask of one leader.
#[derive(Default)]
struct ForLeader {
    list: Vec<(TopicPartition, (LeaderEpoch, ListSpec))>,
    epochs: Vec<(TopicPartition, (LeaderEpoch, i32))>,
}

impl Waiting {
    /// Whether the coordinator has to be asked.
    pub(crate) fn is_for_coordinator(&self) -> bool {
        matches!(self.need, Need::Committed { .. })
    }
}

impl Offsets {
    // ---- from one need to the next -------------------------------------------------------------------------------

    /// To a place of the application's choice, for the first time or after a seek.
    pub(crate) fn send_to(&mut self, now: Instant, partition: &TopicPartition, at: StartAt) {
        let (committed, place) = at.parts();
        match (committed, &self.config.group) {
            (true, Some(_)) => {
                self.wait(partition, Need::Committed { otherwise: place }, true, None, None);
            }
            (true, None) => self.nothing_committed(now, partition, place),
            (false, _) => self.go_to(now, partition, place, None),
        }
    }

    /// In our hand until `need` is known.
    fn wait(
        &mut self,
        partition: &TopicPartition,
        need: Need,
        fresh: bool,
        reset: Option<(ResetReason, Option<i64>)>,
        not_before: Option<Instant>,
    ) {
        if let Some(state) = self.partitions.get_mut(partition) {
            let retry = Retry::at(not_before);
            state.hand = Hand::Waiting(Waiting { need, fresh, reset, told: false, retry });
            self.waiting.insert(partition.clone());
        }
    }

    /// One step further, the rest as it was.
    fn wait_for(&mut self, partition: &TopicPartition, need: Need) {
        if let Some(waiting) = self.partitions.get_mut(partition).and_then(Partition::waiting_mut) {
            waiting.need = need;
            waiting.retry.answered();
        }
    }

    fn nothing_committed(&mut self, now: Instant, partition: &TopicPartition, otherwise: Place) {
        let reset = Some((ResetReason::NothingCommitted, None));
        self.go_to(now, partition, otherwise, reset);
    }

    /// The first start at a place that needs nothing committed.
    fn go_to(
        &mut self,
        now: Instant,
        partition: &TopicPartition,
        place: Place,
        reset: Option<(ResetReason, Option<i64>)>,
    ) {
        let (spec, then) = match place {
            Place::Policy => {
                let (reason, from) = reset.unwrap_or((ResetReason::Asked, None));
                return self.by_policy(now, partition, reason, from, true, None);
            }
            Place::Offset(Position { offset, .. }) if offset < 0 => {
                return self.stop(partition, PartitionError::NegativeOffset(offset));
            }
            Place::Offset(position) => {
                self.wait(partition, Need::Agreement { position }, true, reset, None);
                return self.begin_unless_validated(partition, position);
            }
            Place::Earliest => (ListSpec::Earliest, Then::Begin),
            Place::Latest => (ListSpec::Latest, Then::Begin),
            Place::Timestamp(at) => (ListSpec::Timestamp(at), Then::Begin),
            Place::BeforeEnd(records) => (ListSpec::Latest, Then::Back(records)),
        };
        self.wait(partition, Need::Listed { spec, then }, true, reset, None);
    }

    /// `auto.offset.reset` decides.
    pub(crate) fn by_policy(
        &mut self,
        now: Instant,
        partition: &TopicPartition,
        reason: ResetReason,
        from: Option<i64>,
        fresh: bool,
        not_before: Option<Instant>,
    ) {
        let spec = match self.config.reset {
            ResetPolicy::Earliest => ListSpec::Earliest,
            ResetPolicy::Latest => ListSpec::Latest,
            ResetPolicy::ByDuration(ago) => ListSpec::Timestamp(self.config.millis_before(now, ago)),
            ResetPolicy::None => {
                let error = match from {
                    Some(position) => PartitionError::OffsetOutOfRange { position },
                    None => PartitionError::NoOffset,
                };
                return self.stop(partition, error);
            }
        };
        let need = Need::Listed { spec, then: Then::Begin };
        self.wait(partition, need, fresh, Some((reason, from)), not_before);
    }

    /// A flowing partition whose position may not be in the leader's log.
    pub(crate) fn compare_with_leader(
        &mut self,
        partition: &TopicPartition,
        position: Position,
        not_before: Option<Instant>,
    ) {
        self.wait(partition, Need::Agreement { position }, false, None, not_before);
        if not_before.is_none() {
            self.begin_unless_validated(partition, position);
        }
    }

    /// Without an epoch there is nothing to compare.
    fn begin_unless_validated(&mut self, partition: &TopicPartition, position: Position) {
        if position.epoch.is_none() {
            self.begin(partition, position);
        }
    }

    /// Only the application can say where to go on.
    fn stop(&mut self, partition: &TopicPartition, error: PartitionError) {
        if let Some(state) = self.partitions.get_mut(partition) {
            state.hand = Hand::Stopped;
            let token = state.token;
            self.waiting.remove(partition);
            self.tell(Event::PartitionFailed { partition: partition.clone(), token, error });
        }
    }

    /// Into the hand of `fetch`.
    fn begin(&mut self, partition: &TopicPartition, position: Position) {
        let Some(state) = self.partitions.get_mut(partition) else { return };
        let Some(Waiting { fresh, reset, .. }) = state.waiting() else { return };
        let (fresh, reset) = (*fresh, *reset);
        state.starts(position, fresh);
        let token = state.token;
        self.waiting.remove(partition);
        self.note_finished(partition);
        if let Some((reason, from)) = reset {
            let to = position.offset;
            let skipped = from.map(|from| u64::try_from(to.saturating_sub(from)).unwrap_or(0));
            self.tell(Event::Reset { partition: partition.clone(), token, from, to, reason, skipped });
        }
        self.tell(Event::Start { partition: partition.clone(), token, position });
    }

    // ---- what is asked -------------------------------------------------------------------------------------------

    /// Those that wait for something that may be asked for now.
    fn ready(&self, now: Instant) -> Vec<(TopicPartition, Need)> {
        let waiting = self.waiting.iter().filter_map(|partition| {
            let waiting = self.partitions.get(partition)?.waiting()?;
            waiting.retry.is_ready(now).then(|| (partition.clone(), waiting.need))
        });
        waiting.collect()
    }

    fn sent(&mut self, partition: &TopicPartition, id: CallId, leader: Option<(BrokerId, LeaderEpoch)>) {
        if let Some(waiting) = self.partitions.get_mut(partition).and_then(Partition::waiting_mut) {
            waiting.retry.sent(id, leader);
        }
    }

    /// One OffsetFetch for all that wait for one.
    pub(crate) fn ask_committed(
        &mut self,
        now: Instant,
        of: BrokerId,
        group: &str,
        cluster: &Cluster,
    ) -> Option<Transmit> {
        let partitions: Vec<_> = self
            .ready(now)
            .into_iter()
            .filter(|(_, need)| matches!(need, Need::Committed { .. }))
            .map(|(partition, _)| partition)
            .collect();
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
        Some(self.send(now, id, of, Asked::Load { ids, identity }, request.into(), max_version))
    }

    /// One ListOffsets and one OffsetForLeaderEpoch for each leader, one after the other.
    pub(crate) fn ask_leaders(&mut self, now: Instant, cluster: &Cluster) -> Option<Transmit> {
        let mut leaders: BTreeMap<BrokerId, ForLeader> = BTreeMap::new();
        let mut lost = Vec::new();
        for (partition, need) in self.ready(now) {
            let place = cluster.leader(&partition).zip(cluster.partition(&partition));
            match (need, place) {
                (Need::Committed { .. }, _) => {}
                (Need::Agreement { position }, _) if position.epoch.is_none() => {
                    self.begin(&partition, position)
                }
                (_, None) => lost.push(partition),
                (Need::Agreement { position }, Some((leader, info))) => match (position.epoch, info.epoch) {
                    (Some(ours), Some(current)) => {
                        let ask = leaders.entry(leader).or_default();
                        ask.epochs.push((partition, (Some(current), ours)));
                    }
                    // A leader without an epoch has no history of epochs either (FAILURES L6).
                    _ => self.begin(&partition, position),
                },
                (Need::Listed { spec, .. }, Some((leader, info))) => {
                    leaders.entry(leader).or_default().list.push((partition, (info.epoch, spec)));
                }
            }
        }
        let pauses = self.pauses.next_round();
        for partition in lost {
            let cause = no_leader(cluster, &partition);
            let (remedy, weight) = of_leader(&cause);
            self.failed(now, &partition, cause, &pauses, remedy, weight);
            self.apply(remedy, None);
        }
        let (of, ask) = leaders.pop_first()?;
        let id = self.next_call();
        let request = if ask.epochs.is_empty() {
            for (partition, (epoch, _)) in &ask.list {
                self.sent(partition, id, Some((of, *epoch)));
            }
            let request = offset_list::request(self.config.isolation, self.config.request_timeout, &ask.list);
            return Some(self.send(now, id, of, Asked::List, request.into(), None));
        } else {
            for (partition, (epoch, _)) in &ask.epochs {
                self.sent(partition, id, Some((of, *epoch)));
            }
            epochs::request(&ask.epochs)
        };
        Some(self.send(now, id, of, Asked::Epochs, request.into(), None))
    }

    // ---- what is answered ----------------------------------------------------------------------------------------

    /// Those that wait for the answer to this call.
    fn asked_in(&self, id: CallId) -> Vec<(TopicPartition, Need)> {
        let waiting = self.waiting.iter().filter_map(|partition| {
            let waiting = self.partitions.get(partition)?.waiting()?;
            (waiting.retry.asked == Some(id)).then(|| (partition.clone(), waiting.need))
        });
        waiting.collect()
    }

    pub(crate) fn loaded(
        &mut self,
        now: Instant,
        id: CallId,
        of: BrokerId,
        ids: &TopicIds,
        identity: Option<Identity>,
        answer: Result<Answer, CallError>,
    ) {
        let group = self.config.group.clone().unwrap_or_default();
        let mut answers = match answer {
            Ok(Answer { response: Response::OffsetFetch(response), version, .. }) => {
                offset_fetch::read(response, version, &group, ids)
            }
            Ok(_) => Ok(Answers::new()),
            Err(error) => Err(Cause::Call(error)),
        };
        let pauses = self.pauses.next_round();
        let mut loud = true;
        for (partition, need) in self.asked_in(id) {
            let Need::Committed { otherwise } = need else { continue };
            let answer = match &mut answers {
                Ok(answers) => {
                    answers.remove(&partition).unwrap_or(Err(Cause::LeftOut { api: ApiKey::OffsetFetch }))
                }
                Err(cause) => Err(cause.clone()),
            };
            match answer {
                Ok(Some(committed)) => self.found_committed(&partition, &committed),
                Ok(None) => self.nothing_committed(now, &partition, otherwise),
                Err(Cause::LeftOut { .. }) if mutant!(25) => {}
                Err(cause)
                    if mutant!(7) || (mutant!(3) && cause.code() == Some(ErrorCode::StaleMemberEpoch)) =>
                {
                    self.nothing_committed(now, &partition, otherwise);
                }
                Err(cause) => {
                    let (remedy, mut weight) = of_load(&cause);
                    if answers.is_err() && !std::mem::take(&mut loud) {
                        // It concerns the group: one partition speaks for all.
                        weight = Weight::Quiet;
                    }
                    if let (Remedy::Membership, Some(code), Some(identity)) =
                        (remedy, cause.code(), &identity)
                    {
                        self.refused_as(code, identity);
                    }
                    self.failed(now, &partition, cause, &pauses, remedy, weight);
                    self.apply(remedy, Some(of));
                    if self.identity != identity
                        && let Some(waiting) =
                            self.partitions.get_mut(&partition).and_then(Partition::waiting_mut)
                    {
                        waiting.retry.hurry();
                    }
                }
            }
        }
    }

    fn found_committed(&mut self, partition: &TopicPartition, committed: &OffsetAndMetadata) {
        let position = committed.position();
        if let Some(state) = self.partitions.get_mut(partition) {
            state.committed = Some(position);
        }
        if let Some(high) = self.high.get(partition).copied().filter(|high| *high > position.offset) {
            self.went_back = self.went_back.saturating_add(1);
            tracing::warn!(
                %partition, offset = position.offset, before = high,
                "the group's committed offset is below what this consumer had committed"
            );
            self.high.insert(partition.clone(), position.offset);
        }
        self.wait_for(partition, Need::Agreement { position });
        self.begin_unless_validated(partition, position);
    }

    pub(crate) fn listed(&mut self, now: Instant, id: CallId, answer: Result<Answer, CallError>) {
        let mut answers = match answer {
            Ok(Answer { response: Response::ListOffsets(response), .. }) => Ok(offset_list::read(response)),
            Ok(_) => Ok(Answers::new()),
            Err(error) => Err(Cause::Call(error)),
        };
        let pauses = self.pauses.next_round();
        for (partition, need) in self.asked_in(id) {
            let Need::Listed { spec, then } = need else { continue };
            let answer = match &mut answers {
                Ok(answers) => offset_list::checked(spec, answers.remove(&partition)),
                Err(cause) => Err(cause.clone()),
            };
            match answer {
                Ok(Some(listed)) => self.found_listed(&partition, then, listed),
                // Nothing of that time or later: the end, as in Java.
                Ok(None) => {
                    self.wait_for(&partition, Need::Listed { spec: ListSpec::Latest, then: Then::Begin });
                }
                Err(cause) => self.leader_failed(now, &partition, cause, &pauses),
            }
        }
    }

    fn found_listed(&mut self, partition: &TopicPartition, then: Then, listed: ListedOffset) {
        let here = Position { offset: listed.offset, epoch: listed.leader_epoch };
        match then {
            Then::Back(records) if records > 0 && here.offset > 0 => {
                let back = i64::try_from(records).unwrap_or(i64::MAX);
                let then = Then::NotBelow(here.offset.saturating_sub(back).max(0));
                self.wait_for(partition, Need::Listed { spec: ListSpec::Earliest, then });
            }
            Then::NotBelow(offset) if here.offset < offset => self.begin(partition, Position::at(offset)),
            Then::Begin | Then::Back(_) | Then::NotBelow(_) => self.begin(partition, here),
        }
    }

    pub(crate) fn epochs_told(&mut self, now: Instant, id: CallId, answer: Result<Answer, CallError>) {
        let mut answers = match answer {
            Ok(Answer { response: Response::OffsetForLeaderEpoch(response), .. }) => {
                Ok(epochs::read(response))
            }
            Ok(_) => Ok(Answers::new()),
            Err(error) => Err(Cause::Call(error)),
        };
        let pauses = self.pauses.next_round();
        for (partition, need) in self.asked_in(id) {
            let Need::Agreement { position } = need else { continue };
            let answer = match &mut answers {
                Ok(answers) => answers
                    .remove(&partition)
                    .unwrap_or(Err(Cause::LeftOut { api: ApiKey::OffsetForLeaderEpoch })),
                Err(cause) => Err(cause.clone()),
            };
            match answer.map(|end| epochs::compare(position, end)) {
                Ok(epochs::Agreement::Agrees) => self.begin(&partition, position),
                Ok(epochs::Agreement::Ends(end)) => self.truncated(&partition, position, end),
                Ok(epochs::Agreement::Unknown) => {
                    let fresh =
                        self.partitions.get(&partition).and_then(Partition::waiting).is_some_and(|w| w.fresh);
                    let from = Some(position.offset);
                    self.by_policy(now, &partition, ResetReason::EpochUnknown, from, fresh, None);
                }
                Err(cause) if cannot_validate(&cause) => self.begin(&partition, position),
                Err(cause) => self.leader_failed(now, &partition, cause, &pauses),
            }
        }
    }

    fn truncated(&mut self, partition: &TopicPartition, position: Position, end: Position) {
        let Some(token) = self.token_of(partition) else { return };
        let (from, to) = (position.offset, end.offset);
        let partition_ = partition.clone();
        self.tell(Event::Truncated { partition: partition_, token, from, to: Some(to), epoch: end.epoch });
        match self.config.reset {
            ResetPolicy::None => self.stop(partition, PartitionError::LogTruncated { from, to }),
            ResetPolicy::Earliest | ResetPolicy::Latest | ResetPolicy::ByDuration(_) => {
                self.begin(partition, end)
            }
        }
    }

    fn leader_failed(&mut self, now: Instant, partition: &TopicPartition, cause: Cause, pauses: &Pauses) {
        let (remedy, weight) = of_leader(&cause);
        self.failed(now, partition, cause, pauses, remedy, weight);
        self.apply(remedy, None);
    }

    /// It goes on waiting. Never the policy: that we could not ask does not mean that there is nothing (FAILURES L2).
    fn failed(
        &mut self,
        now: Instant,
        partition: &TopicPartition,
        cause: Cause,
        pauses: &Pauses,
        remedy: Remedy,
        weight: Weight,
    ) {
        let Some(state) = self.partitions.get_mut(partition) else { return };
        let token = state.token;
        let Some(waiting) = state.waiting_mut() else { return };
        let needs_news = remedy == Remedy::RefreshMetadata;
        waiting.retry.failed(now, cause.clone(), pauses, needs_news);
        let tell = match weight {
            Weight::Quiet => false,
            Weight::IfItLasts => waiting.retry.failures() >= LASTING,
            Weight::AtOnce => true,
        };
        if tell && !std::mem::replace(&mut waiting.told, true) {
            let error = PartitionError::Failing(cause);
            self.tell(Event::PartitionFailed { partition: partition.clone(), token, error });
        }
    }
}

/// Why there is nobody to ask.
pub(crate) fn no_leader(cluster: &Cluster, partition: &TopicPartition) -> Cause {
    match cluster.topics.get(&partition.topic).map(|topic| topic.error) {
        Some(error) if !error.is_ok() && !error.is_retriable() => Cause::Topic(error),
        _ => Cause::NoLeader,
    }
}
