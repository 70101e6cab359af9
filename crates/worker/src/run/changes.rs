//! The consumer's output: records, changes of ownership, errors.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use offtake::{
    Consumer, Error, ErrorCode, ErrorKind, Event as ConsumerEvent, Handover, MembershipState, Next,
    OwnedRecord, OwnershipChange, PartitionRecords, Position, Records, ResetReason, StartAt, TopicPartition,
};
use tokio::task::{JoinError, JoinSet};

use super::{AFTER_ERROR, Loaded, Runner, transaction::is_mark};
use crate::{
    Event, StopReason, StoppedPartition, clock,
    dead_letters::Origin,
    machine::{AssignmentId, Before, CommittedOffset, Due, FinishedBeyond, Item, Machine, PartitionCommit},
};

/// Partitions being handed over.
pub(super) struct HandoverState {
    handover: Handover,
    /// When they are given up at the latest: at the group's deadline, or earlier if the worker stops.
    by: Instant,
    /// When the membership was last checked.
    looked: Instant,
    phase: HandoverPhase,
}

/// How often to check for a loss. Nothing is polled while partitions are handed over, so that it would go unnoticed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, PartialEq, Eq)]
enum HandoverPhase {
    /// Running handlers may end until this time.
    Draining { until: Instant },
    /// Waits for the commit in flight, before another commit of everything finished since.
    Committing { ends_by: Instant },
    /// That other commit is in flight. When it ends, the partitions go, whatever the result; but cancelled handlers may end
    /// before, until this time.
    LastCommit { ends_by: Instant },
}

/// How long no letter could be written before a handover no longer waits for them.
const HOPELESS_AFTER: Duration = Duration::from_secs(5);

/// The most time reserved for the commit. It is a tenth of the time for the handover, but no more than this.
const MOST_FOR_COMMIT: Duration = Duration::from_secs(5);

/// A handler that blocks its thread ends some time after it was cancelled. The wait for it is limited to this, and to half of the
/// remaining time, because the group waits too.
const MOST_FOR_ENDS: Duration = Duration::from_secs(5);

impl HandoverState {
    fn new(now: Instant, handover: Handover, grace: Duration) -> Self {
        let by = handover.deadline();
        let left = by.saturating_duration_since(now);
        let for_handlers = left.saturating_sub((left / 10).min(MOST_FOR_COMMIT));
        let until = clock::later(now, for_handlers.min(grace));
        Self { handover, by, looked: now, phase: HandoverPhase::Draining { until } }
    }

    /// When to check again. Every other event wakes the loop as well.
    pub(super) fn wake(&self, now: Instant) -> Instant {
        let phase = match self.phase {
            HandoverPhase::Draining { until } => until,
            HandoverPhase::LastCommit { ends_by } if now < ends_by => ends_by.min(self.by),
            HandoverPhase::Committing { .. } | HandoverPhase::LastCommit { .. } => self.by,
        };
        phase.min(clock::later(self.looked, LOOK_EVERY))
    }

    /// Stops waiting for running handlers, and limits the wait for the commit.
    pub(super) fn shorten(&mut self, now: Instant, for_commit: Duration) {
        self.by = self.by.min(clock::later(now, for_commit));
        if let HandoverPhase::Draining { until } = &mut self.phase {
            *until = now.min(*until);
        }
    }

    fn is_about_to_cancel(&self, now: Instant) -> bool {
        matches!(self.phase, HandoverPhase::Draining { until } if now >= until)
    }

    /// Goes back to another commit, because the last one may succeed if repeated, or left something out, such as records
    /// finished since.
    pub(super) fn commit_again(&mut self, machine: &Machine<OwnedRecord>) {
        if let HandoverPhase::LastCommit { ends_by } = self.phase
            && machine.has_uncommitted(&self.handover.partitions)
        {
            self.phase = HandoverPhase::Committing { ends_by };
        }
    }

    /// Whether the group has gone on without this member. Its partitions are then lost, as the next poll will report.
    fn is_lost(&mut self, now: Instant, consumer: &Consumer) -> bool {
        use MembershipState::{Closed, Failed, Joining, NotPolled};
        if now < clock::later(self.looked, LOOK_EVERY) {
            return false;
        }
        self.looked = now;
        let health = consumer.health();
        health.generation.is_none() || matches!(health.membership, Closed | Failed | Joining | NotPolled)
    }

    /// Whether the group has stopped waiting.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        now >= self.handover.deadline()
    }

    fn change(&self) -> OwnershipChange {
        change(&self.handover)
    }
}

fn change(handover: &Handover) -> OwnershipChange {
    let (partitions, owned) = (handover.partitions.clone(), handover.owned.clone());
    OwnershipChange::new(partitions, owned, Some(handover.generation))
}

impl Runner {
    pub(super) fn on_next(&mut self, next: Result<Next, Error>) {
        let now = clock::now();
        match next {
            Ok(Next::Records(records)) => self.received(now, &records),
            Ok(Next::Assigned(change)) => self.assigned(now, change),
            Ok(Next::Revoking(handover)) => {
                self.machine.revoking(&handover.partitions);
                let grace = self.stage.revoke_grace(self.settings.options.revoke_grace, now);
                self.handing = Some(HandoverState::new(now, handover, grace));
            }
            Ok(Next::Lost(handover)) => {
                // Another member may own them: an unsent commit is dropped.
                self.give_up_commit();
                self.partitions_gone(&handover.partitions);
                self.machine.removed(&handover.partitions);
                self.act(now);
                self.tell(Event::Lost(change(&handover)));
            }
            Ok(Next::Event(event)) => self.on_event(event),
            Ok(_) => {}
            Err(error) => self.on_error(now, error),
        }
    }

    fn received(&mut self, now: Instant, records: &Records) {
        for part in records.partitions() {
            let items = self.items(now, part);
            self.machine.received(now, part.topic_partition(), items, part.next_offset());
        }
        self.machine.look_at_room();
    }

    fn assigned(&mut self, now: Instant, change: OwnershipChange) {
        let assigned = self.machine.assigned(&change.partitions);
        self.tell(Event::Assigned(change));
        // Every record in a retry topic was written for this group, including those from before its first commit. The consumer's
        // `auto.offset.reset` is meant for other topics.
        let retries = assigned.iter().filter(|(_, name)| self.is_of_a_retry_topic(name));
        let elsewhere = retries.map(|(_, name)| (name.clone(), StartAt::Earliest)).collect();
        self.load(now, assigned, elsewhere);
    }

    /// Reloads partitions of a commit whose outcome is unknown: those that this member still owns go back to their committed
    /// offsets.
    pub(super) fn start_over(&mut self, commits: &[PartitionCommit]) {
        let begun = self.machine.start_over(commits);
        let begin =
            |base: Option<i64>| base.map_or(StartAt::Earliest, |at| StartAt::Offset(Position::at(at)));
        let elsewhere = begun.iter().map(|(_, name, base)| (name.clone(), begin(*base))).collect();
        let assigned = begun.into_iter().map(|(id, name, _)| (id, name)).collect();
        self.load(clock::now(), assigned, elsewhere);
    }

    /// Fetches the records finished before, and moves the consumer to the committed offsets of the partitions listed in
    /// `elsewhere`, or to the given start if there is none.
    fn load(
        &mut self,
        now: Instant,
        mut assigned: Vec<(AssignmentId, TopicPartition)>,
        elsewhere: BTreeMap<TopicPartition, StartAt>,
    ) {
        let reads_metadata = self.settings.options.metadata_bytes > 0;
        if !reads_metadata && elsewhere.is_empty() {
            assigned.into_iter().for_each(|(id, _)| self.machine.loaded(now, id, None));
            return;
        }
        let handle = self.consumer.handle();
        self.loads.spawn(async move {
            // All at once, so that they share their lookups.
            let seek = |(name, at): (TopicPartition, _)| {
                let handle = handle.clone();
                async move { (handle.seek(name.clone(), StartAt::committed_or(at)).await, name) }
            };
            let mut seeks: JoinSet<_> = elsewhere.into_iter().map(seek).collect();
            let mut gone = BTreeSet::new();
            while let Some(sought) = seeks.join_next().await {
                if let Ok((Err(error), name)) = sought {
                    tracing::debug!(%error, "the partition is not assigned any more");
                    gone.insert(name);
                }
            }
            assigned.retain(|(_, name)| !gone.contains(name));
            let names: Vec<_> = assigned.iter().map(|(_, name)| name.clone()).collect();
            let committed = match reads_metadata && !names.is_empty() {
                true => handle.committed(names).await,
                false => Ok(BTreeMap::new()),
            };
            (assigned, committed)
        });
    }

    fn read_from_the_start(&mut self, partition: TopicPartition) {
        let Some(id) = self.machine.begin_move(&partition) else { return };
        let handle = self.consumer.handle();
        self.loads.spawn(async move {
            if let Err(error) = handle.seek(partition.clone(), StartAt::Earliest).await {
                tracing::debug!(%error, "the partition is not assigned any more");
            }
            (vec![(id, partition)], Ok(BTreeMap::new()))
        });
    }

    fn is_of_a_retry_topic(&self, name: &TopicPartition) -> bool {
        self.settings.options.retry.topic_index(name.topic.as_str()).is_some()
    }

    /// Stores the result of fetching the records finished beyond the committed offsets.
    pub(super) fn loaded(&mut self, loaded: Result<Loaded, JoinError>) {
        let (assigned, committed) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => return tracing::error!(%error, "the task that reads committed offsets ended"),
        };
        let now = clock::now();
        for (id, name) in assigned {
            let before = committed.as_ref().ok().and_then(|committed| {
                let committed = committed.get(&name)?;
                let before = FinishedBeyond::decode(
                    &CommittedOffset { group: &self.settings.group, partition: &name, offset: committed.offset },
                    &committed.metadata,
                );
                if before.is_none() && !committed.metadata.is_empty() && !is_mark(&committed.metadata) {
                    tracing::info!(partition = %name, "ignoring the metadata of a commit: it is not a worker's, or damaged");
                }
                before
            });
            if let Some(at) = committed.as_ref().ok().and_then(|committed| committed.get(&name)) {
                self.machine.committed_at(id, at.offset, at.leader_epoch);
            }
            self.machine.loaded(now, id, before);
        }
        if let Err(error) = committed {
            self.tell(Event::Error(error));
        }
    }

    fn on_event(&mut self, event: ConsumerEvent) {
        use ResetReason::{EpochUnknown, NothingCommitted, OutOfRange, TopicRecreated};
        match &event {
            ConsumerEvent::Reset { partition, from: None, to, reason: NothingCommitted, .. }
                if !self.is_of_a_retry_topic(partition) =>
            {
                self.begins_at(partition, *to);
            }
            // No record of a retry topic may be skipped, whatever `auto.offset.reset` says. If the end of the topic was cut off,
            // the remaining records were read before.
            ConsumerEvent::Reset { partition, reason: TopicRecreated | EpochUnknown, .. }
                if self.is_of_a_retry_topic(partition) =>
            {
                self.machine.log_replaced(partition, 0);
                self.read_from_the_start(partition.clone());
            }
            ConsumerEvent::Reset { partition, from: Some(from), to, reason: OutOfRange, .. }
                if to > from && self.is_of_a_retry_topic(partition) =>
            {
                self.machine.position_reset(partition);
                self.read_from_the_start(partition.clone());
            }
            ConsumerEvent::Reset { partition, to, reason: TopicRecreated | EpochUnknown, .. } => {
                self.machine.log_replaced(partition, *to);
                self.begins_at(partition, *to);
            }
            ConsumerEvent::Reset { partition, from: Some(from), to, .. } if to < from => {
                self.machine.rewound(partition, *to);
                self.begins_at(partition, *to);
            }
            ConsumerEvent::Truncated { partition, to: Some(to), epoch, .. } => {
                self.machine.rewound(partition, *to);
                self.begins_at(partition, *to);
                if let Some(epoch) = epoch {
                    self.machine.ends_with(partition, *epoch, *to);
                }
            }
            ConsumerEvent::Reset { partition, from: Some(from), to, reason: OutOfRange, .. }
                if self.is_handed_out_to(partition, *to) =>
            {
                self.machine.moved_ahead(partition, *from, *to);
            }
            ConsumerEvent::Reset { partition, from: Some(_), .. }
            | ConsumerEvent::Truncated { partition, .. } => self.machine.position_reset(partition),
            _ => {}
        }
        self.tell(Event::Consumer(event));
    }

    /// Notes that a partition without records so far is read from this offset on.
    fn begins_at(&mut self, partition: &TopicPartition, offset: i64) {
        if self.is_handed_out_to(partition, offset) {
            self.machine.begins_at(partition, offset);
        }
    }

    /// Whether everything before this offset was delivered. The consumer may still hold records that it has read.
    fn is_handed_out_to(&self, partition: &TopicPartition, offset: i64) -> bool {
        self.consumer.position(partition).is_none_or(|position| position >= offset)
    }

    fn on_error(&mut self, now: Instant, error: Error) {
        let partition = error.partition().cloned();
        // No topic will ever have an invalid name.
        let is_our_fault = matches!(error.kind(), ErrorKind::Config | ErrorKind::Misuse)
            || error.code() == Some(ErrorCode::InvalidTopicException);
        match partition {
            // The worker is about to set its position.
            Some(partition)
                if error.kind() == ErrorKind::NoOffset
                    && self.is_of_a_retry_topic(&partition)
                    && self.machine.is_loading(&partition) => {}
            Some(partition) if stops(&error) => {
                let offset = self.consumer.position(&partition);
                let why = StopReason::Unreadable(error);
                self.machine.unreadable(StoppedPartition { partition, offset, why });
            }
            _ if error.is_fatal() || is_our_fault => {
                // Every further call would return the same error.
                self.poll_from = clock::later(now, Duration::MAX);
                self.end_with(crate::Error::Client(error));
            }
            // Each partition reports its own error once. There may be many, and a rebalance may be queued after them.
            Some(_) => self.tell(Event::Error(error)),
            None => {
                // The error may repeat at once.
                self.poll_from = clock::later(now, AFTER_ERROR);
                self.tell(Event::Error(error));
            }
        }
    }

    fn items(&self, now: Instant, part: &PartitionRecords) -> Vec<Item<OwnedRecord>> {
        let retry = &self.settings.options.retry;
        let delay = retry.topic_index(part.topic()).and_then(|index| retry.topics.get(index));
        let Some(delay) = delay.map(|topic| topic.delay) else { return items(part) };
        let now_ms = self.wall.now_ms();
        let mut items = items(part);
        for item in &mut items {
            item.before = Origin::read(item.record.headers()).map(Origin::before).unwrap_or_default();
            if item.timestamp >= 0 {
                let since = now_ms.saturating_sub(item.timestamp).max(0);
                let left = delay.saturating_sub(Duration::from_millis(since.unsigned_abs()));
                let due = || Due { at: clock::later(now, left), is_ahead: item.timestamp > now_ms };
                item.due = (!left.is_zero()).then(due);
            }
        }
        items
    }

    /// Advances the handover: running handlers end or are cancelled, finished records are committed, then the partitions go.
    pub(super) fn go_on_handing_over(&mut self, now: Instant) {
        if self.handing.as_ref().is_some_and(|handing| handing.is_about_to_cancel(now)) {
            self.take_ended_jobs();
        }
        let Some(handing) = &mut self.handing else { return };
        let (by, partitions) = (handing.by, handing.handover.partitions.clone());
        if handing.is_lost(now, &self.consumer) {
            self.give_up_commit();
            return self.hand_over(&partitions, Event::Lost);
        }
        // The next owner writes letters that cannot be written here.
        let is_hopeless =
            self.letters.as_ref().is_some_and(|letters| letters.are_hopeless_for(now, HOPELESS_AFTER));
        let is_drained =
            self.machine.are_idle(&partitions) || (is_hopeless && self.machine.run_nothing(&partitions));
        let (ends_by, is_last) = match handing.phase {
            HandoverPhase::Draining { until } if now < until && !is_drained => return,
            HandoverPhase::Draining { .. } => {
                self.machine.cancel(&partitions);
                let for_ends = (by.saturating_duration_since(now) / 2).min(MOST_FOR_ENDS);
                let ends_by = clock::later(now, for_ends);
                handing.phase = HandoverPhase::Committing { ends_by };
                (ends_by, false)
            }
            HandoverPhase::Committing { ends_by } => (ends_by, false),
            HandoverPhase::LastCommit { ends_by } => (ends_by, true),
        };
        let is_late = now >= by;
        if self.committing.is_on_its_way() && !is_late {
            return;
        }
        if !is_last && !is_late && self.machine.commit_rests_until(now).is_some() {
            return;
        }
        handing.phase = HandoverPhase::LastCommit { ends_by };
        self.give_up_commit();
        if !is_last && !is_late && self.commit(now, Some(&partitions), by.saturating_duration_since(now)) {
            return;
        }
        // The next owner begins when the handlers here have ended, if they end in time.
        if !self.machine.have_ended(&partitions) {
            if now < ends_by && !is_late {
                return;
            }
            tracing::warn!(
                "cancelled handlers still block their threads: their partitions start on other threads"
            );
        }
        let is_overdue = self.handing.as_ref().is_some_and(|handing| handing.is_overdue(now));
        // A transaction in flight reports its own result.
        if is_late && !is_overdue && !self.committing.is_on_its_way() {
            self.note_uncommitted(now, &partitions);
        }
        // The group did not wait any longer, and accepted no commit.
        self.hand_over(&partitions, if is_overdue { Event::Lost } else { Event::Revoked });
    }

    fn hand_over(&mut self, partitions: &[TopicPartition], event: impl FnOnce(OwnershipChange) -> Event) {
        self.partitions_gone(partitions);
        self.machine.removed(partitions);
        self.is_unpublished = true;
        if let Some(handing) = self.handing.take() {
            let change = handing.change();
            drop(handing);
            self.tell(event(change));
        }
    }
}

/// Whether an error that names a partition has stopped it. The consumer keeps retrying after the others.
fn stops(error: &Error) -> bool {
    use ErrorKind::{Corrupt, MissingCodec, Misuse, NoOffset, TooLarge};
    matches!(error.kind(), Corrupt | MissingCodec | Misuse | NoOffset | TooLarge)
}

fn items(part: &PartitionRecords) -> Vec<Item<OwnedRecord>> {
    let item = |record: offtake::Record<'_>| {
        let headers = record.headers().map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len));
        let bytes = headers.sum::<usize>()
            + record.key().map_or(0, <[u8]>::len)
            + record.value().map_or(0, <[u8]>::len);
        // A waiting record owns only its own bytes, which are the bytes that the queue counts.
        let record = record.detach_copied();
        Item {
            offset: record.offset(),
            epoch: record.leader_epoch(),
            timestamp: record.timestamp(),
            key: record.key_bytes().cloned(),
            bytes,
            record,
            due: None,
            before: Before::default(),
        }
    };
    part.iter().map(item).collect()
}
