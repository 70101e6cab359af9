//! Partitions from their assignment to its end, and their finished positions.

use std::time::{Duration, Instant};

use offtake_machine::{OffsetSpec, Position, Token, TopicPartition, after};
use offtake_wire::Uuid;

use crate::{
    Event, FinishedError, Offsets, ResetPolicy, ResetReason, SeekError, StartAt,
    config::StartPlace,
    partition::{AfterListing, Loaded, Lookup, Partition, Phase},
};

/// Metadata that do not show a new topic for this long after an offset was found say that it was found in the log that they do show.
const METADATA_CATCH_UP: Duration = Duration::from_secs(300);

impl Offsets {
    // ---- partitions ----------------------------------------------------------------------------------------------

    /// Adds partitions, each under a new token. Partitions that are assigned already stay as they are.
    pub fn assign(&mut self, now: Instant, partitions: impl IntoIterator<Item = (TopicPartition, StartAt)>) {
        self.assign_by_id(now, partitions.into_iter().map(|(partition, at)| (partition, at, None)));
    }

    /// The same, for a group that identifies topics by id (KIP-848). If another topic has the name by now,
    /// because the old one was deleted and created again, the partition waits until the group assigns the new
    /// one.
    pub fn assign_by_id(
        &mut self,
        now: Instant,
        partitions: impl IntoIterator<Item = (TopicPartition, StartAt, Option<Uuid>)>,
    ) {
        self.advance_clock(now);
        for (partition, at, id) in partitions {
            if self.partitions.contains_key(&partition) {
                continue;
            }
            self.assignments = self.assignments.wrapping_add(1);
            let token = Token { assignment: self.assignments, seek: 0 };
            let topic_id = id.or_else(|| self.topic_ids.get(&partition.topic).copied());
            self.partitions.insert(partition.clone(), Partition::new(token, topic_id, id.is_some()));
            self.resolve_start(now, &partition, at);
        }
    }

    /// Removes partitions. Their finished positions and lookups are forgotten, and queued commits for them
    /// are not sent.
    pub fn unassign<'a>(&mut self, partitions: impl IntoIterator<Item = &'a TopicPartition>) {
        self.mark_changed();
        for partition in partitions {
            if self.partitions.remove(partition).is_some() {
                self.index_lookup(partition);
                self.uncommitted.remove(partition);
                self.disown_commits(partition);
            }
        }
    }

    /// Commits that are queued, or still on their way to a connection, are not sent.
    pub(crate) fn disown_commits(&mut self, partition: &TopicPartition) {
        let done = self.commits.end_assignment(partition);
        self.emit_commits_done(done);
        if let Some(call) = self.commits.call_of(partition) {
            self.emit_once(Event::Withdraw(call));
        }
    }

    /// Continues at another place, under a new token. The caller has stopped the partition in `fetch`.
    /// Lookups from before no longer count. If everything up to an offset without an epoch is finished, the
    /// offset gets the epoch of the finished position, so that the leader is asked whether its log was
    /// truncated since (KIP-320).
    pub fn seek(
        &mut self,
        now: Instant,
        partition: &TopicPartition,
        at: StartAt,
    ) -> Result<Token, SeekError> {
        self.advance_clock(now);
        let Some(state) = self.partitions.get_mut(partition) else {
            return Err(SeekError::NotAssigned(partition.clone()));
        };
        if let (_, StartPlace::Offset(Position { offset, .. })) = at.parts()
            && offset < 0
        {
            return Err(SeekError::NegativeOffset(offset));
        }
        // A topic that the metadata does not list may be another one by the time it is read.
        if !state.is_by_id {
            let known = self.topic_ids.get(&partition.topic).copied();
            let before = std::mem::replace(&mut state.topic_id, known);
            if known.is_none() && before.is_some() {
                self.discard_old_log(partition);
            }
        }
        let Some(state) = self.partitions.get_mut(partition) else {
            return Err(SeekError::NotAssigned(partition.clone()));
        };
        state.token = state.token.after_seek();
        state.no_progress_count = 0;
        let token = state.token;
        let at = match (&at, state.finished) {
            (StartAt::Offset(to), Some(finished)) if *to == Position::at(finished.offset) => {
                StartAt::Offset(finished)
            }
            _ => at,
        };
        if let (false, StartPlace::Offset(position)) = at.parts()
            && state.finished.is_some_and(|finished| finished.offset > position.offset)
        {
            // The records in between will be redelivered, however long the leader takes to validate the position.
            state.finished = Some(position);
            self.update_uncommitted(partition);
        }
        self.resolve_start(now, partition, at);
        Ok(token)
    }

    /// The partition cannot be read any further under this token, and only the application can decide where
    /// to continue. False if it continues under another token.
    pub fn stop(&mut self, partition: &TopicPartition, token: Token) -> bool {
        let Some(state) = self.partitions.get_mut(partition).filter(|state| state.token == token) else {
            return false;
        };
        state.phase = Phase::Stopped;
        self.index_lookup(partition);
        true
    }

    /// `fetch` returns the partition because the position is not in the log. The policy decides.
    pub fn on_out_of_range(
        &mut self,
        now: Instant,
        partition: &TopicPartition,
        token: Token,
        position: Position,
    ) {
        self.advance_clock(now);
        if let Some(not_before) = self.take_from_fetch(now, partition, token, position) {
            // The cause that moved the position there may do so again at once.
            let backoffs = self.backoffs.next_round();
            let times = self.partitions.get_mut(partition).map_or(0, |state| state.out_of_range_again(now));
            let again = times.checked_sub(1).map(|failures| after(now, backoffs.after(failures)));
            let not_before = not_before.max(again);
            let reason = ResetReason::OutOfRange;
            self.apply_reset_policy(now, partition, reason, Some(position.offset), false, not_before);
        }
    }

    /// `fetch` returns the partition because the topic was deleted and created again: the position belongs to
    /// a log that no longer exists. The partition continues in the new log under a new token
    /// ([`Event::NewLog`](crate::Event::NewLog)); the policy decides where. A partition that the group
    /// assigned by topic id never continues in another log. It waits until the metadata, which may be old,
    /// shows its topic under the name again, or until the group revokes it.
    pub fn on_topic_recreated(
        &mut self,
        now: Instant,
        partition: &TopicPartition,
        token: Token,
        position: Position,
    ) {
        self.advance_clock(now);
        if let Some(not_before) = self.take_from_fetch(now, partition, token, position) {
            if self.partitions.get(partition).is_some_and(|state| state.is_by_id) {
                return self.resolve(partition, Lookup::Validation { position }, false, None, not_before);
            }
            self.reset_in_new_log(now, partition, position.offset, not_before);
        }
    }

    /// The policy decides where the partition continues in the new log of its topic, unless it has found its place there already, from what is
    /// committed or by a reset: the policy `latest`, applied once more, would skip the records in between. (`earliest` only repeats them, and
    /// `none` leaves it to the application. What is committed might still be of the old log, so it is read again, and where that is not
    /// needed the policy is the safer choice.)
    pub(crate) fn reset_in_new_log(
        &mut self,
        now: Instant,
        partition: &TopicPartition,
        from: i64,
        not_before: Option<Instant>,
    ) {
        let state = self.partitions.get_mut(partition);
        let skips = matches!(self.config.reset, ResetPolicy::Latest | ResetPolicy::ByDuration(_));
        let loaded = state.and_then(|state| state.loaded.take()).filter(|loaded| {
            skips && loaded.offset == from && now.saturating_duration_since(loaded.at) < METADATA_CATCH_UP
        });
        self.begin_new_log(partition);
        if let Some(Loaded { otherwise, .. }) = loaded {
            let reset = Some((ResetReason::TopicRecreated, Some(from)));
            return self.resolve(partition, Lookup::Committed { otherwise }, true, reset, not_before);
        }
        self.apply_reset_policy(now, partition, ResetReason::TopicRecreated, Some(from), true, not_before);
        let Some(state) = self.partitions.get_mut(partition) else { return };
        if let (Some((offset, at)), Some(waiting)) = (state.reset_to.take(), state.resolving_mut())
            && now.saturating_duration_since(at) < METADATA_CATCH_UP
            && let Lookup::Listed { spec: OffsetSpec::Latest | OffsetSpec::Timestamp(_), then } =
                &mut waiting.lookup
        {
            *then = AfterListing::StartAtMost(offset);
        }
    }

    /// Whether the group assigned the partition by topic id, and another topic has the name now.
    pub(crate) fn is_replaced(&self, partition: &TopicPartition) -> bool {
        let named = self.topic_ids.get(&partition.topic);
        let given = self.partitions.get(partition).filter(|state| state.is_by_id);
        given.is_some_and(|state| named.is_some() && named != state.topic_id.as_ref())
    }

    /// The log that was read no longer exists: its finished position is forgotten, and its commits are not sent.
    pub(crate) fn discard_old_log(&mut self, partition: &TopicPartition) {
        let Some(state) = self.partitions.get_mut(partition) else { return };
        state.discard_old_log();
        self.uncommitted.remove(partition);
        self.last_committed.remove(partition);
        self.disown_commits(partition);
    }

    /// The partition continues in a new log, under a new token.
    pub(crate) fn begin_new_log(&mut self, partition: &TopicPartition) {
        if self.partitions.get(partition).is_some_and(|state| state.first_seek_of_log <= state.token.seek) {
            self.discard_old_log(partition);
        }
        let Some(state) = self.partitions.get_mut(partition) else { return };
        state.token = state.token.after_seek();
        let token = state.token;
        self.emit(Event::NewLog { partition: partition.clone(), token });
    }

    /// `fetch` returns the partition because the leader has changed. It starts again when the leader's log is
    /// known to contain the position, or at the end of that log (KIP-320).
    pub fn validate(&mut self, now: Instant, partition: &TopicPartition, token: Token, position: Position) {
        self.advance_clock(now);
        if let Some(not_before) = self.take_from_fetch(now, partition, token, position) {
            self.compare_with_leader(partition, position, not_before);
        }
    }

    /// Takes back a partition that is being fetched under this token. Returns when to send the next lookup:
    /// at once the first time that it returns from where it was started, and later each further time, so that
    /// there is no busy loop (FAILURES L5).
    fn take_from_fetch(
        &mut self,
        now: Instant,
        partition: &TopicPartition,
        token: Token,
        position: Position,
    ) -> Option<Option<Instant>> {
        let state = self.partitions.get_mut(partition)?;
        if state.token != token || !matches!(state.phase, Phase::Fetching) {
            return None;
        }
        state.returned_at(position);
        let backoffs = self.backoffs.next_round();
        Some(state.no_progress_count.checked_sub(2).map(|failures| after(now, backoffs.after(failures))))
    }

    // ---- finished ------------------------------------------------------------------------------------------------

    /// Marks all records before `next` as finished. A lower position than before changes nothing. After a
    /// truncation or reset has moved the position back, nothing beyond it counts until
    /// [`confirm_rewind`](Self::confirm_rewind), as it may belong to the old log.
    pub fn mark_finished(
        &mut self,
        partition: &TopicPartition,
        token: Token,
        next: Position,
    ) -> Result<(), FinishedError> {
        if next.offset < 0 {
            return Err(FinishedError::NegativeOffset);
        }
        let Some(state) =
            self.partitions.get_mut(partition).filter(|state| state.token.same_assignment(token))
        else {
            return Err(FinishedError::NotOwned);
        };
        if state.token != token || !state.is_of_this_log(token) {
            return Err(FinishedError::BeforeSeek);
        }
        let next = state.rewound.filter(|to| to.offset < next.offset).unwrap_or(next);
        if state.finished.is_none_or(|done| done.offset <= next.offset) {
            (state.finished, state.is_given_up) = (Some(next), false);
            self.update_uncommitted(partition);
            self.mark_changed();
        }
        Ok(())
    }

    /// Commits of what is finished no longer contain these, unless more of them is marked as finished: the caller is about to unassign
    /// them, once the commits that were made of them before are answered.
    pub fn leave_uncommitted(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            if let Some(state) = self.partitions.get_mut(partition) {
                state.is_given_up = true;
            }
            self.update_uncommitted(partition);
        }
    }

    /// How often the cluster has moved the position back: the argument of
    /// [`confirm_rewind`](Self::confirm_rewind).
    pub fn rewinds(&self, partition: &TopicPartition) -> u32 {
        self.partitions.get(partition).map_or(0, |state| state.rewinds)
    }

    /// The caller has learnt of this number of moves back: finished positions that it reports from now on
    /// belong to redelivered records. The position may have been moved back once more since.
    pub fn confirm_rewind(&mut self, partition: &TopicPartition, token: Token, rewinds: u32) {
        let of_now = |state: &&mut Partition| state.token == token && state.rewinds == rewinds;
        if let Some(state) = self.partitions.get_mut(partition).filter(of_now) {
            state.rewound = None;
        }
    }

    /// Updates the set of partitions with uncommitted positions.
    pub(crate) fn update_uncommitted(&mut self, partition: &TopicPartition) {
        let news = self.config.group.is_some()
            && self.partitions.get(partition).is_some_and(Partition::is_uncommitted);
        if news {
            self.uncommitted.insert(partition.clone());
        } else {
            self.uncommitted.remove(partition);
        }
    }
}
