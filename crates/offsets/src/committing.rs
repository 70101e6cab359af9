//! What is committed and when, and the responses to commits.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use offtake_machine::{
    Answer, BrokerId, CallError, CallId, Cluster, Identity, Token, TopicPartition, Transmit, after, earliest,
};
use offtake_wire::Response;

use crate::{
    Cause, Commit, CommitError, CommitId, CommitOutcome, Event, OffsetAndMetadata, Offsets,
    commits::Done,
    machine::CallKind,
    partition::Partition,
    remedy::{REPORT_AFTER, Remedy},
    requests::{Answers, TopicIds, offset_commit},
};

/// How often consumers that are not members renew their committed offsets. The broker deletes these
/// `offsets.retention.minutes` after the commit, even while the consumers run.
const RENEWAL: Duration = Duration::from_secs(3600);

/// The state of the automatic commit, which [`Offsets::request_auto_commit`] requests.
#[derive(Debug, Default)]
pub(crate) struct AutoCommit {
    /// A commit is due, once the coordinator is known and there is something to commit.
    pub(crate) due: bool,
    /// When to retry one that failed.
    pub(crate) retry_at: Option<Instant>,
    /// When all offsets were last renewed.
    renewed_at: Option<Instant>,
}

impl Offsets {
    /// Commits, with retries until `deadline`: through moves of the coordinator and changes of the generation, as long as the
    /// partitions are assigned. [`Event::CommitDone`] has the result.
    pub fn commit(&mut self, now: Instant, what: Commit, deadline: Instant) -> CommitId {
        self.advance_clock(now);
        let mut refused = CommitOutcome::new();
        let mut offsets = Vec::new();
        match what {
            Commit::Finished => {
                self.renew_commits(now);
                offsets = self.uncommitted_offsets();
                // A partition whose topic was replaced may be another member's, so its commit is refused.
                let resting = self.uncommitted.iter().filter(|partition| self.is_replaced(partition));
                refused.extend(resting.map(|partition| (partition.clone(), Err(CommitError::NotOwned))));
            }
            Commit::Offsets(these) => {
                for (partition, token, offset) in these {
                    match self.check_commit(&partition, token, &offset) {
                        Ok(()) => offsets.push((partition, token, offset)),
                        Err(error) => {
                            refused.insert(partition, Err(error));
                        }
                    }
                }
            }
        }
        let (id, outcome) = self.commits.queue(deadline, offsets, refused);
        if let Some(outcome) = outcome {
            self.emit(Event::CommitDone { id, outcome });
        }
        id
    }

    /// This commit waits until its deadline, even if the lookup of the coordinator fails meanwhile
    /// ([`on_coordinator_lookup_failed`](Self::on_coordinator_lookup_failed)).
    pub fn wait_for_coordinator(&mut self, commit: CommitId) {
        self.commits.be_patient(commit);
    }

    /// Merges commits that no caller waits for: each into another one with the same offsets and no earlier
    /// deadline. Returns those that are covered completely; they get no [`Event::CommitDone`].
    pub fn merge_commits(&mut self, unawaited: &BTreeSet<CommitId>) -> BTreeSet<CommitId> {
        self.commits.merge(unawaited)
    }

    /// Makes an automatic commit due, of what is finished by the time that it can be sent. The caller manages
    /// the interval. A second request before then changes nothing, so nothing accumulates while the
    /// coordinator is unavailable.
    pub fn request_auto_commit(&mut self, now: Instant) {
        self.advance_clock(now);
        self.renew_commits(now);
        self.auto.due = true;
    }

    fn check_commit(
        &self,
        partition: &TopicPartition,
        token: Token,
        offset: &OffsetAndMetadata,
    ) -> Result<(), CommitError> {
        if self.config.group.is_none() {
            return Err(CommitError::NoGroup);
        }
        if offset.offset < 0 {
            return Err(CommitError::NegativeOffset(offset.offset));
        }
        if i16::try_from(offset.metadata.len()).is_err() {
            return Err(CommitError::MetadataTooLong(offset.metadata.len()));
        }
        if self.owns(partition, token) { Ok(()) } else { Err(CommitError::NotOwned) }
    }

    /// Whether offsets of records that were handed out under this token can be committed: the partition is still assigned, perhaps sought since,
    /// and its log is still the same.
    pub fn owns(&self, partition: &TopicPartition, token: Token) -> bool {
        let is_of_this_log = |state: &Partition| state.is_of_this_log(token) && !state.is_between_logs();
        self.partitions.get(partition).is_some_and(is_of_this_log) && !self.is_replaced(partition)
    }

    /// The finished positions that are not committed.
    fn uncommitted_offsets(&self) -> Vec<(TopicPartition, Token, OffsetAndMetadata)> {
        let ours = self.uncommitted.iter().filter(|partition| !self.is_replaced(partition));
        let finished = ours.filter_map(|partition| {
            let state = self.partitions.get(partition)?;
            Some((partition.clone(), state.token, state.finished?.into()))
        });
        finished.collect()
    }

    /// Marks all finished positions as uncommitted from time to time, if the broker would delete them otherwise.
    pub(crate) fn renew_commits(&mut self, now: Instant) {
        let last = *self.auto.renewed_at.get_or_insert(now);
        let outside = self.identity.as_ref().is_some_and(|identity| identity.member_id.is_empty());
        if outside && now.saturating_duration_since(last) >= RENEWAL {
            self.auto.renewed_at = Some(now);
            let finished = self.partitions.iter().filter(|(_, state)| state.finished.is_some());
            self.uncommitted.extend(finished.map(|(partition, _)| partition.clone()));
        }
    }

    /// One OffsetCommit with all offsets that may be sent.
    pub(crate) fn send_commits(
        &mut self,
        now: Instant,
        of: BrokerId,
        group: &str,
        cluster: &Cluster,
    ) -> Option<Transmit> {
        let identity = self.identity.clone()?;
        if self.auto.due {
            self.auto.due = false;
            for (partition, token, offset) in self.uncommitted_offsets() {
                self.commits.queue_auto_commit(&partition, token, offset);
            }
        }
        let offsets = self.commits.ready(now, &identity);
        if offsets.is_empty() {
            return None;
        }
        let id = self.next_call();
        for (partition, _) in &offsets {
            self.commits.sent(partition, id);
        }
        let of_log = |partition: &TopicPartition| {
            let known = self.partitions.get(partition).and_then(|state| state.topic_id);
            known.or_else(|| cluster.topic_id(partition.topic.as_str()))
        };
        let (request, max_version, ids) = offset_commit::request(group, &identity, &offsets, of_log);
        Some(self.send(now, id, of, CallKind::Commit { ids, identity }, request.into(), max_version))
    }

    pub(crate) fn on_offset_commit(
        &mut self,
        now: Instant,
        id: CallId,
        of: BrokerId,
        ids: &TopicIds,
        identity: &Identity,
        answer: Result<Answer, CallError>,
    ) {
        let answers = match answer {
            Err(CallError::Withdrawn) => {
                let (done, was_auto) = self.commits.withdrawn(id);
                self.auto.due |= was_auto;
                return self.emit_commits_done(done);
            }
            Ok(Answer { response: Response::OffsetCommit(response), .. }) => {
                Ok(offset_commit::read(response, ids))
            }
            Ok(_) => Ok(Answers::new()),
            Err(error) => Err(Cause::Call(error)),
        };
        let backoffs = self.backoffs.next_round();
        let results = self.commits.on_response(now, id, answers, identity, self.identity.as_ref(), &backoffs);
        for (remedy, code) in results.remedies {
            if let (Remedy::Membership, Some(code)) = (remedy, code) {
                self.report_membership_refused(code, identity);
            }
            self.apply_remedy(remedy, Some(of));
        }
        if self.identity.as_ref() != Some(identity) {
            self.commits.retry_now();
        }
        self.on_committed(results.committed);
        self.emit_commits_done(results.done);
        let mut failed = results.auto_failed;
        for failure in results.auto_retries {
            let Some(state) = self.partitions.get_mut(&failure.partition) else { continue };
            state.commit_failures = state.commit_failures.saturating_add(1);
            if failure.a_few_times && state.commit_failures >= REPORT_AFTER {
                // From now on it is committed only together with others.
                failed.insert(failure.partition, Err(CommitError::Failed(failure.cause)));
            } else {
                let soon = after(now, backoffs.after(state.commit_failures.saturating_sub(1)));
                self.auto.retry_at = earliest([self.auto.retry_at, Some(soon)]);
            }
        }
        // Later ones are likely to be refused as well, so it is reported once.
        failed.retain(|partition, _| {
            let state = self.partitions.get_mut(partition);
            state.is_none_or(|state| !std::mem::replace(&mut state.refused, true))
        });
        if !failed.is_empty() {
            let id = self.commits.next_id();
            self.emit(Event::CommitDone { id, outcome: failed });
        }
    }

    fn on_committed(&mut self, committed: Vec<(TopicPartition, Token, OffsetAndMetadata)>) {
        if committed.is_empty() {
            return;
        }
        for (partition, token, offset) in &committed {
            let state =
                self.partitions.get_mut(partition).filter(|state| state.token.same_assignment(*token));
            if state.as_ref().is_some_and(|state| !state.is_of_this_log(*token)) {
                continue; // of a log that no longer exists
            }
            self.last_committed.insert(partition.clone(), offset.offset);
            if let Some(state) = state {
                state.committed = Some(offset.position());
                state.refused = false;
                state.commit_failures = 0;
                // Offsets that the application has committed itself are finished: the next automatic commit
                // does not go back below them.
                let is_ahead = state.finished.is_none_or(|done| done.offset < offset.offset);
                if is_ahead && state.token == *token && state.rewound.is_none() {
                    state.finished = state.committed;
                }
                self.update_uncommitted(partition);
            }
        }
        let offsets =
            committed.into_iter().map(|(partition, _, offset)| (partition, offset.offset)).collect();
        self.emit(Event::Committed { offsets });
    }

    pub(crate) fn emit_commits_done(&mut self, done: Done) {
        for (id, outcome) in done {
            self.emit(Event::CommitDone { id, outcome });
        }
    }
}
