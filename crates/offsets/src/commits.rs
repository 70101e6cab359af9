//! The queue of commits: in order for each partition, until they are done, refused or too late.
//!
//! For each partition at most one commit is in flight. The next is sent when that one is answered, so that an
//! older one never overwrites a newer one (FAILURES H1). Commits that arrive meanwhile are merged into one,
//! with the highest offset: however often an application commits, the queue is one round trip behind. An
//! automatic commit is not queued. It is created when it can be sent, from what is finished then; after a
//! failure a new one is created (FAILURES H4).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Instant,
};

use offtake_machine::{CallId, Identity, Token, TopicPartition, earliest};
use offtake_wire::{ApiKey, ErrorCode};

use crate::{
    Cause, CommitError, OffsetAndMetadata,
    remedy::{REPORT_AFTER, Remedy, Retrying, for_commit},
    requests::{Answers, take},
    retry::{BackoffSchedule, Retry},
};

/// How many commits of one partition that cannot be merged may wait; the next one is refused. Any number of
/// commits with growing offsets are merged into one.
pub const MAX_QUEUED_COMMITS: usize = 1000;

/// The id of one commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitId(pub u64);

/// The offsets to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Commit {
    /// All finished positions that are not committed, start positions included.
    Finished,
    /// These offsets. Those of an assignment that has ended are refused; those from before a seek are not.
    Offsets(Vec<(TopicPartition, Token, OffsetAndMetadata)>),
}

/// The result of a commit, partition by partition.
pub type CommitOutcome = BTreeMap<TopicPartition, Result<(), CommitError>>;

/// All commits that are not complete.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    /// No queue is empty; only the first commit of each may be in flight.
    queues: BTreeMap<TopicPartition, VecDeque<QueuedCommit>>,
    open: BTreeMap<CommitId, OpenCommit>,
    last_id: u64,
}

/// One offset to commit.
#[derive(Debug)]
struct QueuedCommit {
    by: RequestedBy,
    token: Token,
    /// The assignment has ended: the answer still counts, but there is no retry.
    disowned: bool,
    offset: OffsetAndMetadata,
    retry: Retry,
    /// The identity with which it must not be sent again.
    refused_as: Option<Identity>,
}

/// The origin of a commit.
#[derive(Debug)]
enum RequestedBy {
    /// The application, with these commits; with none after all of them have timed out.
    Application(Vec<CommitId>),
    AutoCommit,
}

/// A commit of the application.
#[derive(Debug)]
struct OpenCommit {
    deadline: Instant,
    /// It waits until its deadline, even for a coordinator whose lookup is refused.
    is_patient: bool,
    left: usize,
    outcome: CommitOutcome,
}

/// Commits that are complete.
pub(crate) type Done = Vec<(CommitId, CommitOutcome)>;

/// The consequences of a response.
#[derive(Debug, Default)]
pub(crate) struct CommitResults {
    pub(crate) committed: Vec<(TopicPartition, Token, OffsetAndMetadata)>,
    pub(crate) done: Done,
    pub(crate) remedies: Vec<(Remedy, Option<ErrorCode>)>,
    /// Automatic commits that are retried.
    pub(crate) auto_retries: Vec<AutoFailure>,
    /// Automatic commits that are not retried.
    pub(crate) auto_failed: CommitOutcome,
}

/// An automatic commit that failed.
#[derive(Debug)]
pub(crate) struct AutoFailure {
    pub(crate) partition: TopicPartition,
    pub(crate) cause: Cause,
    /// It is retried only a few times: the topic may be deleted (FAILURES H6).
    pub(crate) a_few_times: bool,
}

impl Commits {
    pub(crate) fn next_id(&mut self) -> CommitId {
        self.last_id = self.last_id.wrapping_add(1);
        CommitId(self.last_id)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    pub(crate) fn has(&self, partition: &TopicPartition) -> bool {
        self.queues.contains_key(partition)
    }

    /// Queues `offsets`. `refused` are partitions that were refused already.
    pub(crate) fn queue(
        &mut self,
        deadline: Instant,
        offsets: Vec<(TopicPartition, Token, OffsetAndMetadata)>,
        mut refused: CommitOutcome,
    ) -> (CommitId, Option<CommitOutcome>) {
        let id = self.next_id();
        let mut left: usize = 0;
        for (partition, token, offset) in offsets {
            let queue = self.queues.entry(partition.clone()).or_default();
            let is_full = queue.len() >= MAX_QUEUED_COMMITS;
            match queue.back_mut().filter(|last| last.is_superseded_by(token, &offset)) {
                Some(QueuedCommit { by: RequestedBy::Application(ids), offset: last, .. }) => {
                    *last = offset;
                    ids.push(id);
                }
                _ if is_full => {
                    refused.insert(partition, Err(CommitError::QueueFull));
                    continue;
                }
                _ => queue.push_back(QueuedCommit::new(RequestedBy::Application(vec![id]), token, offset)),
            }
            left = left.saturating_add(1);
        }
        if left == 0 {
            return (id, Some(refused));
        }
        self.open.insert(id, OpenCommit { deadline, is_patient: false, left, outcome: refused });
        (id, None)
    }

    pub(crate) fn be_patient(&mut self, id: CommitId) {
        if let Some(open) = self.open.get_mut(&id) {
            open.is_patient = true;
        }
    }

    /// Merges commits that no caller waits for: another commit with the same offset and no earlier deadline
    /// covers them. Returns those that are covered completely.
    pub(crate) fn merge(&mut self, unawaited: &BTreeSet<CommitId>) -> BTreeSet<CommitId> {
        let mut merged = BTreeSet::new();
        for entry in self.queues.values_mut().flatten() {
            let RequestedBy::Application(ids) = &mut entry.by else { continue };
            // All commits of one entry have the same offset.
            let deadline = |id: &&CommitId| self.open.get(id).map(|open| open.deadline);
            let Some(kept) = ids.iter().max_by_key(deadline).copied() else { continue };
            // A commit that has failed in part is reported when the rest is complete.
            let is_good = |open: &OpenCommit| open.outcome.values().all(Result::is_ok);
            let goes = |id: &CommitId| {
                *id != kept && unawaited.contains(id) && self.open.get(id).is_none_or(is_good)
            };
            let mut is_patient = false;
            for id in ids.extract_if(.., |id| goes(id)).collect::<Vec<_>>() {
                if let Some(open) = self.open.get_mut(&id) {
                    is_patient |= open.is_patient;
                    open.left = open.left.saturating_sub(1);
                    if open.left == 0 {
                        self.open.remove(&id);
                        merged.insert(id);
                    }
                }
            }
            if is_patient && let Some(open) = self.open.get_mut(&kept) {
                open.is_patient = true;
            }
        }
        merged
    }

    /// One offset of `by` is complete.
    fn complete_offset(
        &mut self,
        by: RequestedBy,
        partition: &TopicPartition,
        result: &Result<(), CommitError>,
        done: &mut Done,
    ) {
        let RequestedBy::Application(ids) = by else { return };
        for id in ids {
            let Some(open) = self.open.get_mut(&id) else { continue };
            open.left = open.left.saturating_sub(1);
            let outcome = open.outcome.entry(partition.clone()).or_insert(Ok(()));
            if result.is_err() {
                outcome.clone_from(result);
            }
            if open.left == 0
                && let Some(open) = self.open.remove(&id)
            {
                done.push((id, open.outcome));
            }
        }
    }

    /// The assignment has ended: queued commits are refused, and one in flight is not sent again (FAILURES H2).
    pub(crate) fn end_assignment(&mut self, partition: &TopicPartition) -> Done {
        let mut done = Done::new();
        let Some(mut queue) = self.queues.remove(partition) else { return done };
        let mut kept = VecDeque::new();
        while let Some(mut entry) = queue.pop_front() {
            if entry.retry.outstanding.is_some() {
                entry.disowned = true;
                kept.push_back(entry);
            } else {
                self.complete_offset(entry.by, partition, &Err(CommitError::NotOwned), &mut done);
            }
        }
        if !kept.is_empty() {
            self.queues.insert(partition.clone(), kept);
        }
        done
    }

    /// The call that contains a commit of this partition, if any.
    pub(crate) fn call_of(&self, partition: &TopicPartition) -> Option<CallId> {
        self.queues.get(partition)?.front()?.retry.outstanding
    }

    /// Commits whose deadline has passed. One in flight keeps its place until it is answered.
    pub(crate) fn expire(&mut self, now: Instant) -> Done {
        let mut done = Done::new();
        if self.open.values().all(|open| open.deadline > now) {
            return done;
        }
        let mut late = Vec::new();
        for (partition, queue) in &mut self.queues {
            queue.retain_mut(|entry| {
                let RequestedBy::Application(ids) = &mut entry.by else { return true };
                let is_late = |id: &CommitId| self.open.get(id).is_some_and(|open| open.deadline <= now);
                for id in ids.extract_if(.., |id| is_late(id)) {
                    late.push((id, partition.clone(), entry.retry.last_cause.clone()));
                }
                !ids.is_empty() || entry.retry.outstanding.is_some()
            });
        }
        self.queues.retain(|_, queue| !queue.is_empty());
        for (id, partition, last) in late {
            let by = RequestedBy::Application(vec![id]);
            self.complete_offset(by, &partition, &Err(CommitError::TimedOut(last)), &mut done);
        }
        done
    }

    /// Commits that are neither in flight nor patient fail, because no coordinator can be found for them.
    pub(crate) fn refuse_unsent(&mut self, cause: &Cause) -> Done {
        let mut refused = Vec::new();
        for (partition, queue) in &mut self.queues {
            queue.retain_mut(|entry| {
                let RequestedBy::Application(ids) = &mut entry.by else { return true };
                if entry.retry.outstanding.is_some() {
                    return true;
                }
                let is_impatient = |id: &CommitId| self.open.get(id).is_none_or(|open| !open.is_patient);
                refused.extend(ids.extract_if(.., |id| is_impatient(id)).map(|id| (id, partition.clone())));
                !ids.is_empty()
            });
        }
        self.queues.retain(|_, queue| !queue.is_empty());
        let mut done = Done::new();
        for (id, partition) in refused {
            let by = RequestedBy::Application(vec![id]);
            self.complete_offset(by, &partition, &Err(CommitError::Failed(cause.clone())), &mut done);
        }
        done
    }

    /// Ends the waits of all commits, because something has changed.
    pub(crate) fn retry_now(&mut self) {
        for entry in self.queues.values_mut().filter_map(VecDeque::front_mut) {
            entry.retry.retry_now();
        }
    }

    /// The commits that may be sent now with `identity`.
    pub(crate) fn ready(
        &self,
        now: Instant,
        identity: &Identity,
    ) -> Vec<(TopicPartition, OffsetAndMetadata)> {
        let heads = self.queues.iter().filter_map(|(partition, queue)| Some((partition, queue.front()?)));
        heads
            .filter(|(_, entry)| entry.retry.is_ready(now) && entry.refused_as.as_ref() != Some(identity))
            .map(|(partition, entry)| (partition.clone(), entry.offset.clone()))
            .collect()
    }

    /// An automatic commit, unless a commit of the application is queued.
    pub(crate) fn queue_auto_commit(
        &mut self,
        partition: &TopicPartition,
        token: Token,
        offset: OffsetAndMetadata,
    ) {
        self.queues
            .entry(partition.clone())
            .or_insert_with(|| VecDeque::from([QueuedCommit::new(RequestedBy::AutoCommit, token, offset)]));
    }

    pub(crate) fn sent(&mut self, partition: &TopicPartition, id: CallId) {
        if let Some(entry) = self.queues.get_mut(partition).and_then(VecDeque::front_mut) {
            entry.retry.sent(id, None);
        }
    }

    pub(crate) fn on_response(
        &mut self,
        now: Instant,
        call: CallId,
        mut answers: Result<Answers<()>, Cause>,
        asked_as: &Identity,
        current_identity: Option<&Identity>,
        backoffs: &BackoffSchedule,
    ) -> CommitResults {
        let mut results = CommitResults::default();
        for (partition, mut entry) in self.take_outstanding(call) {
            let answer = take(&mut answers, &partition, ApiKey::OffsetCommit);
            let result = match answer {
                Ok(()) => {
                    results.committed.push((partition.clone(), entry.token, entry.offset));
                    Ok(())
                }
                Err(cause) => {
                    let next =
                        results.note_refusal(&cause, asked_as, current_identity, entry.retry.failures());
                    match entry.after_refusal(next, cause) {
                        AfterRefusal::Complete(result) => result,
                        AfterRefusal::AutoFailed(error) => {
                            results.auto_failed.insert(partition.clone(), Err(error));
                            Ok(())
                        }
                        AfterRefusal::AutoRetry(cause) => {
                            let a_few_times = next == Retrying::AFewTimes;
                            let partition = partition.clone();
                            results.auto_retries.push(AutoFailure { partition, cause, a_few_times });
                            Ok(())
                        }
                        AfterRefusal::Retry(cause) => {
                            entry.refused_as = (next == Retrying::WithNewIdentity).then(|| asked_as.clone());
                            entry.retry.failed(now, cause, backoffs, false);
                            self.queues.entry(partition).or_default().push_front(entry);
                            continue;
                        }
                    }
                }
            };
            self.complete_offset(entry.by, &partition, &result, &mut results.done);
        }
        self.queues.retain(|_, queue| !queue.is_empty());
        results
    }

    /// Takes out the commits that this call contained.
    fn take_outstanding(&mut self, call: CallId) -> Vec<(TopicPartition, QueuedCommit)> {
        let queues = self.queues.iter_mut();
        let outstanding = queues.filter_map(|(partition, queue)| {
            let is_of_it = queue.front()?.retry.outstanding == Some(call);
            Some((partition.clone(), is_of_it.then(|| queue.pop_front()).flatten()?))
        });
        outstanding.collect()
    }

    /// The call was never sent. The commits that are still valid are sent with the next one. Returns also
    /// whether an automatic commit, which is created anew, was among them.
    pub(crate) fn withdrawn(&mut self, call: CallId) -> (Done, bool) {
        let (mut done, mut was_auto, mut disowned) = (Done::new(), false, Vec::new());
        for (partition, queue) in &mut self.queues {
            let is_of_it = queue.front().is_some_and(|entry| entry.retry.outstanding == Some(call));
            let Some(mut entry) = is_of_it.then(|| queue.pop_front()).flatten() else { continue };
            match &entry.by {
                _ if entry.disowned => disowned.push((partition.clone(), entry.by)),
                RequestedBy::AutoCommit => was_auto = true,
                RequestedBy::Application(ids) if ids.is_empty() => {}
                RequestedBy::Application(_) => {
                    entry.retry.withdrawn();
                    queue.push_front(entry);
                }
            }
        }
        self.queues.retain(|_, queue| !queue.is_empty());
        for (partition, by) in disowned {
            self.complete_offset(by, &partition, &Err(CommitError::NotOwned), &mut done);
        }
        (done, was_auto)
    }

    pub(crate) fn next_wakeup(&self, drained: Instant) -> Option<Instant> {
        let heads = self.queues.values().filter_map(VecDeque::front);
        earliest([
            heads.filter_map(|entry| entry.retry.next_wakeup(drained)).min(),
            self.open.values().map(|open| open.deadline).min(),
        ])
    }
}

impl CommitResults {
    /// Notes the consequences of a refusal, once. Returns whether a commit that has failed `failures` times
    /// before is retried.
    fn note_refusal(
        &mut self,
        cause: &Cause,
        asked_as: &Identity,
        current_identity: Option<&Identity>,
        failures: u32,
    ) -> Retrying {
        let (remedy, next) = for_commit(cause);
        if !self.remedies.contains(&(remedy, cause.code())) {
            self.remedies.push((remedy, cause.code()));
        }
        match next {
            Retrying::AFewTimes if failures >= REPORT_AFTER => Retrying::Never,
            // A standalone consumer has no other identity to retry with.
            Retrying::WithNewIdentity if asked_as.member_id.is_empty() => Retrying::Never,
            // The refused identity is not the current one.
            Retrying::Never
                if remedy == Remedy::Membership && current_identity.is_some_and(|we| we != asked_as) =>
            {
                Retrying::UntilDeadline
            }
            next => next,
        }
    }
}

/// Decides what follows a refused commit.
enum AfterRefusal {
    /// It is complete, with this result for its callers.
    Complete(Result<(), CommitError>),
    /// An automatic commit has failed for good.
    AutoFailed(CommitError),
    /// An automatic commit is created anew.
    AutoRetry(Cause),
    /// It is sent again.
    Retry(Cause),
}

impl QueuedCommit {
    fn after_refusal(&self, next: Retrying, cause: Cause) -> AfterRefusal {
        match (&self.by, next) {
            (RequestedBy::Application(ids), _) if ids.is_empty() => AfterRefusal::Complete(Ok(())),
            (_, _) if self.disowned => AfterRefusal::Complete(Err(CommitError::NotOwned)),
            (RequestedBy::AutoCommit, Retrying::Never) => {
                AfterRefusal::AutoFailed(CommitError::Failed(cause))
            }
            (RequestedBy::AutoCommit, _) => AfterRefusal::AutoRetry(cause),
            (RequestedBy::Application(_), Retrying::Never) => {
                AfterRefusal::Complete(Err(CommitError::Failed(cause)))
            }
            (
                RequestedBy::Application(_),
                Retrying::UntilDeadline | Retrying::AFewTimes | Retrying::WithNewIdentity,
            ) => AfterRefusal::Retry(cause),
        }
    }

    fn new(by: RequestedBy, token: Token, offset: OffsetAndMetadata) -> Self {
        Self { by, token, disowned: false, offset, retry: Retry::default(), refused_as: None }
    }

    /// Whether a later commit of its partition replaces it, and it was not sent yet.
    fn is_superseded_by(&self, token: Token, offset: &OffsetAndMetadata) -> bool {
        self.retry.outstanding.is_none()
            && self.retry.failures() == 0
            && self.token == token
            && self.offset.metadata == offset.metadata
            && self.offset.offset <= offset.offset
    }
}
