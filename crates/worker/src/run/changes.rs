//! What comes out of the consumer: records, changes of ownership, errors.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use offtake::{
    Consumer, Error, ErrorKind, Event as ConsumerEvent, Handover, MembershipState, Next, OwnedRecord,
    OwnershipChange, PartitionRecords, Position, Records, ResetReason, StartAt, TopicPartition,
};
use tokio::task::JoinError;

use super::{AFTER_ERROR, Loaded, Runner, transaction::is_mark};
use crate::{
    Event, StopReason, StoppedPartition, clock,
    dead_letters::Origin,
    machine::{AssignmentId, Before, CommittedOffset, Due, FinishedBeyond, Item, Machine, PartitionCommit},
};

/// Partitions that are being handed over.
pub(super) struct Handing {
    handover: Handover,
    /// When they are given up, whatever is not done: the group's deadline, or before it where the worker stops.
    by: Instant,
    /// When it was last looked whether the member is one still.
    looked: Instant,
    phase: HandoverPhase,
}

/// Nothing is polled while partitions are handed over, so that a loss has to be looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, PartialEq, Eq)]
enum HandoverPhase {
    /// What is at a handler may end, until then.
    Draining { until: Instant },
    /// The commit that is on its way is waited for, to make another of what is finished since.
    Committing { ends_by: Instant },
    /// That one is on its way: with its end they go, however it ends. But handlers that were cancelled may end before, until then.
    LastCommit { ends_by: Instant },
}

/// For the commit a tenth of the time to hand over is kept, and no more than this.
const MOST_FOR_COMMIT: Duration = Duration::from_secs(5);

/// A handler that blocks its thread ends some time after it was told. It is waited for no longer than this, nor than half of what is left: the group waits too.
const MOST_FOR_ENDS: Duration = Duration::from_secs(5);

impl Handing {
    fn new(now: Instant, handover: Handover, grace: Duration) -> Self {
        let by = handover.deadline();
        let left = by.saturating_duration_since(now);
        let for_handlers = left.saturating_sub((left / 10).min(MOST_FOR_COMMIT));
        let until = clock::later(now, for_handlers.min(grace));
        Self { handover, by, looked: now, phase: HandoverPhase::Draining { until } }
    }

    /// When to look again. Whatever happens wakes the loop as well.
    pub(super) fn wake(&self, now: Instant) -> Instant {
        let phase = match self.phase {
            HandoverPhase::Draining { until } => until,
            HandoverPhase::LastCommit { ends_by } if now < ends_by => ends_by.min(self.by),
            HandoverPhase::Committing { .. } | HandoverPhase::LastCommit { .. } => self.by,
        };
        phase.min(clock::later(self.looked, LOOK_EVERY))
    }

    /// What runs is waited for no longer, and the commit no longer than this.
    pub(super) fn hurry(&mut self, now: Instant, for_commit: Duration) {
        self.by = self.by.min(clock::later(now, for_commit));
        if let HandoverPhase::Draining { until } = &mut self.phase {
            *until = now.min(*until);
        }
    }

    /// The last commit may go better at once, or have left something out: what is finished since, too.
    pub(super) fn commit_again(&mut self, machine: &Machine<OwnedRecord>) {
        if let HandoverPhase::LastCommit { ends_by } = self.phase
            && machine.has_uncommitted(&self.handover.partitions)
        {
            self.phase = HandoverPhase::Committing { ends_by };
        }
    }

    /// Whether the group has gone on without this member: what it holds is lost, as the next poll will tell.
    fn is_lost(&mut self, now: Instant, consumer: &Consumer) -> bool {
        use MembershipState::{Closed, Failed, Joining, NotPolled};
        if now < clock::later(self.looked, LOOK_EVERY) {
            return false;
        }
        self.looked = now;
        let health = consumer.health();
        health.generation.is_none() || matches!(health.membership, Closed | Failed | Joining | NotPolled)
    }

    /// Whether the group waits no longer.
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
                self.handing = Some(Handing::new(now, handover, grace));
            }
            Ok(Next::Lost(handover)) => {
                // Somebody else may have them: a commit that was not sent is not sent any more.
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
        // All that a retry topic holds was put there for this group, also what came before anything of it was committed: the consumer's
        // `auto.offset.reset` is for other topics.
        let retries = assigned.iter().filter(|(_, name)| self.is_of_a_retry_topic(name));
        let elsewhere = retries.map(|(_, name)| (name.clone(), StartAt::Earliest)).collect();
        self.load(now, assigned, elsewhere);
    }

    /// Whether what was finished of these is committed nobody knows: they go back to what is, where they are this member's still.
    pub(super) fn start_over(&mut self, commits: &[PartitionCommit]) {
        let begun = self.machine.start_over(commits);
        let begin =
            |base: Option<i64>| base.map_or(StartAt::Earliest, |at| StartAt::Offset(Position::at(at)));
        let elsewhere = begun.iter().map(|(_, name, base)| (name.clone(), begin(*base))).collect();
        let assigned = begun.into_iter().map(|(id, name, _)| (id, name)).collect();
        self.load(clock::now(), assigned, elsewhere);
    }

    /// Asks what was finished of partitions, and sends the consumer to what is committed of those that are read `elsewhere`, or to this where nothing is.
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
            for (name, at) in elsewhere {
                if let Err(error) = handle.seek(name.clone(), StartAt::committed_or(at)).await {
                    tracing::debug!(%error, "a partition is gone again");
                    assigned.retain(|(_, loads)| *loads != name);
                }
            }
            let names: Vec<_> = assigned.iter().map(|(_, name)| name.clone()).collect();
            let committed = match reads_metadata && !names.is_empty() {
                true => handle.committed(names).await,
                false => Ok(BTreeMap::new()),
            };
            (assigned, committed)
        });
    }

    fn read_from_the_start(&mut self, partition: TopicPartition) {
        let Some(id) = self.machine.goes_elsewhere(&partition) else { return };
        let handle = self.consumer.handle();
        self.loads.spawn(async move {
            if let Err(error) = handle.seek(partition.clone(), StartAt::Earliest).await {
                tracing::debug!(%error, "a partition is gone again");
            }
            (vec![(id, partition)], Ok(BTreeMap::new()))
        });
    }

    fn is_of_a_retry_topic(&self, name: &TopicPartition) -> bool {
        self.settings.options.retry.topic_index(name.topic.as_str()).is_some()
    }

    /// What was finished beyond the committed offsets of partitions is known, or is not.
    pub(super) fn loaded(&mut self, loaded: Result<Loaded, JoinError>) {
        let (assigned, committed) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => return tracing::error!(%error, "the task that reads what is committed ended"),
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
                    tracing::info!(partition = %name, "the metadata of its commit is not ours, or damaged: it is of no account");
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
            // What a retry topic holds is not passed, whatever `auto.offset.reset` says. Where its end was cut off, what is left was read before.
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
            ConsumerEvent::Truncated { partition, to: Some(to), .. } => {
                self.machine.rewound(partition, *to);
                self.begins_at(partition, *to);
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

    /// Nothing of a partition has come yet, and it is read from this offset on.
    fn begins_at(&mut self, partition: &TopicPartition, offset: i64) {
        if self.is_handed_out_to(partition, offset) {
            self.machine.begins_at(partition, offset);
        }
    }

    /// Whether nothing comes before this offset any more: what the consumer has read and not handed out yet does.
    fn is_handed_out_to(&self, partition: &TopicPartition, offset: i64) -> bool {
        self.consumer.position(partition).is_none_or(|position| position >= offset)
    }

    fn on_error(&mut self, now: Instant, error: Error) {
        let partition = error.partition().cloned();
        let is_our_fault = matches!(error.kind(), ErrorKind::Config | ErrorKind::Misuse);
        match partition {
            // It is about to be told where to begin.
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
                // Every further call would fail with it.
                self.poll_from = clock::later(now, Duration::MAX);
                self.end_with(crate::Error::Client(error));
            }
            // Each partition tells its own once. There may be many, and a rebalance may stand behind them.
            Some(_) => self.tell(Event::Error(error)),
            None => {
                // It may come again at once.
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

    /// Goes on with partitions that are being handed over: what runs ends or is cancelled, what is finished is committed, then they go.
    pub(super) fn go_on_handing_over(&mut self, now: Instant) {
        let Some(handing) = &mut self.handing else { return };
        let (by, partitions) = (handing.by, handing.handover.partitions.clone());
        if handing.is_lost(now, &self.consumer) {
            self.give_up_commit();
            return self.hand_over(&partitions, Event::Lost);
        }
        let (ends_by, is_last) = match handing.phase {
            HandoverPhase::Draining { until } if now < until && !self.machine.are_idle(&partitions) => return,
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
        // Whoever has them next begins when their handlers here have ended, if they end in time.
        if !self.machine.have_ended(&partitions) {
            if now < ends_by && !is_late {
                return;
            }
            tracing::warn!(
                "handlers that were cancelled block their threads still: others begin with their partitions"
            );
        }
        let is_overdue = self.handing.as_ref().is_some_and(|handing| handing.is_overdue(now));
        // A transaction that is on its way says itself how it ends.
        if is_late && !is_overdue && !self.committing.is_on_its_way() {
            self.note_uncommitted(now, &partitions);
        }
        // The group did not wait longer: it took no commit.
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

/// Whether an error that names a partition has stopped it. The others are of what the consumer goes on trying.
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
        // What waits holds its own bytes alone: they are what the queue counts.
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
