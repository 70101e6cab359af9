//! Callers that wait for the brokers' answers: to commits and to queries.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use offtake_machine::{CallError, Cluster, Topic, TopicPartition};
use offtake_offsets::{CommitError, CommitId, CommitOutcome, QueryId, QueryOutcome};
use offtake_wire::ErrorCode;

use super::{
    lookups::{self, Lookups},
    results,
};
use crate::{
    command::Reply,
    error::{Error, ErrorKind, NOT_COMMITTED, Result},
    offsets::{OffsetAndMetadata, OffsetAndTimestamp},
};

#[derive(Debug)]
pub(super) struct Waiters {
    commits: BTreeMap<CommitId, InFlight>,
    /// The number of commits above which those without a waiting caller are looked for.
    sweep_at: usize,
    settling: Vec<Settling>,
    questions: BTreeMap<QueryId, Question>,
    pub(super) lookups: Lookups,
    /// The partitions of commits that failed while no caller waited, and that were not committed since.
    failing: BTreeSet<TopicPartition>,
}

/// A commit in flight.
#[derive(Debug)]
struct InFlight {
    began: Instant,
    /// The partitions for which it has failed from the start.
    lost: Vec<TopicPartition>,
    /// The caller that waits, if any.
    reply: Option<Reply<()>>,
}

/// A caller that waits for the end of other callers' commits.
#[derive(Debug)]
struct Settling {
    /// All commits, if `None`.
    partitions: Option<Vec<TopicPartition>>,
    deadline: Instant,
    reply: Reply<()>,
}

/// A query to `offsets`, and its caller.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) topics: BTreeSet<Topic>,
    pub(super) reply: QuestionReply,
}

/// A ListOffsets query to the leaders of these partitions.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) partitions: Vec<TopicPartition>,
    /// How many metadata requests had been sent when the query arrived: only newer metadata counts.
    pub(super) asked: u64,
    /// Since when newer metadata has lacked one of them.
    pub(super) missing_since: Option<Instant>,
    pub(super) reply: Reply<BTreeMap<TopicPartition, OffsetAndTimestamp>>,
}

/// How long a queried partition may be missing: it may have been created just now.
const MISSING_FOR: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) enum QuestionReply {
    Committed(Reply<BTreeMap<TopicPartition, OffsetAndMetadata>>),
    List(Listing),
}

/// The least number of commits at which they are swept.
const MIN_SWEPT: usize = 64;

impl Waiters {
    pub(super) fn new(lookups: Lookups) -> Self {
        Self {
            commits: BTreeMap::new(),
            sweep_at: MIN_SWEPT,
            settling: Vec::new(),
            questions: BTreeMap::new(),
            lookups,
            failing: BTreeSet::new(),
        }
    }

    // ---- commits -------------------------------------------------------------------------------------------------

    /// Waits for a commit, which has failed already for the partitions in `lost`.
    pub(super) fn await_commit(
        &mut self,
        began: Instant,
        id: CommitId,
        lost: Vec<TopicPartition>,
        reply: Option<Reply<()>>,
    ) {
        self.commits.insert(id, InFlight { began, lost, reply });
    }

    /// Commits without a waiting caller, once many are in flight: each may be merged into a later one of its
    /// partitions, which then covers it.
    pub(super) fn unawaited(&mut self) -> BTreeSet<CommitId> {
        // The next sweep waits for twice as many as were left, because looking through them all takes time.
        let next = self.commits.len().saturating_mul(2).max(MIN_SWEPT);
        if self.commits.len() < self.sweep_at {
            self.sweep_at = self.sweep_at.min(next);
            return BTreeSet::new();
        }
        self.sweep_at = next;
        let is_unawaited = |it: &InFlight| it.reply.as_ref().is_none_or(Reply::is_closed);
        self.commits.iter().filter(|(_, it)| is_unawaited(it)).map(|(id, _)| *id).collect()
    }

    /// Removes these, which have been merged into others.
    pub(super) fn merged(&mut self, ids: &BTreeSet<CommitId>) {
        self.commits.retain(|id, _| !ids.contains(id));
    }

    /// Ends a commit. Returns an error that no caller waited for, if it is the first of a series, and when
    /// that commit began.
    pub(super) fn commit_done(
        &mut self,
        id: CommitId,
        mut outcome: CommitOutcome,
        trouble: Option<&CallError>,
        explain: impl Fn(Error) -> Error,
    ) -> Option<(Error, Option<Instant>)> {
        let (began, lost, reply) = match self.commits.remove(&id) {
            Some(InFlight { began, lost, reply }) => (Some(began), lost, reply),
            None => (None, Vec::new(), None),
        };
        outcome.extend(lost.into_iter().map(|partition| (partition, Err(CommitError::NotOwned))));
        let failed = outcome.iter().filter(|(_, result)| result.is_err());
        let failed: Vec<TopicPartition> = failed.map(|(partition, _)| partition.clone()).collect();
        let result = results::committed(outcome, trouble, explain);
        let error = match reply {
            // A caller that has stopped waiting has not received the error.
            Some(reply) => reply.send(result).err().and_then(Result::err)?,
            None => result.err()?,
        };
        let before = self.failing.len();
        self.failing.extend(failed);
        (self.failing.len() > before).then_some((error, began))
    }

    /// Notes that offsets of these have been committed.
    pub(super) fn commit_landed<'a>(&mut self, partitions: impl Iterator<Item = &'a TopicPartition>) {
        if self.failing.is_empty() {
            return;
        }
        for partition in partitions {
            self.failing.remove(partition);
        }
    }

    /// Notes what is owned now, and which of it was `added`. For partitions that were added or removed, the
    /// next failure is reported again.
    pub(super) fn assigned(&mut self, added: &[TopicPartition], is_owned: impl Fn(&TopicPartition) -> bool) {
        if !self.failing.is_empty() {
            let added: BTreeSet<_> = added.iter().collect();
            self.failing.retain(|partition| is_owned(partition) && !added.contains(partition));
        }
    }

    pub(super) fn has_commits(&self) -> bool {
        !self.commits.is_empty()
    }

    /// Waits until the commits of these partitions, or all commits, are over.
    pub(super) fn settle_commits(
        &mut self,
        partitions: Option<Vec<TopicPartition>>,
        deadline: Instant,
        reply: Reply<()>,
    ) {
        self.settling.push(Settling { partitions, deadline, reply });
    }

    /// Answers callers whose awaited commits are over, or whose time is up.
    pub(super) fn answer_settled(&mut self, now: Instant, has_commit: impl Fn(&TopicPartition) -> bool) {
        let settled = |partitions: &Option<Vec<TopicPartition>>| match partitions {
            Some(partitions) => !partitions.iter().any(&has_commit),
            None => self.commits.is_empty(),
        };
        let over = |it: &mut Settling| it.deadline <= now || settled(&it.partitions);
        for Settling { partitions, reply, .. } in self.settling.extract_if(.., over) {
            let late = || Error::new(ErrorKind::Timeout, NOT_COMMITTED);
            let _ = reply.send(if settled(&partitions) { Ok(()) } else { Err(late()) });
        }
    }

    // ---- queries -----------------------------------------------------------------------------------------------

    pub(super) fn ask(&mut self, id: QueryId, question: Question) {
        self.questions.insert(id, question);
    }

    /// Refuses queries about a partition that has not existed for a while. Returns them, as their answers are
    /// no longer needed.
    pub(super) fn refuse_missing(&mut self, now: Instant, cluster: &Cluster, learnt: u64) -> Vec<QueryId> {
        let mut refused = BTreeMap::new();
        for (id, question) in &mut self.questions {
            let QuestionReply::List(listing) = &mut question.reply else { continue };
            let missing = listing.missing(cluster).filter(|_| learnt > listing.asked);
            listing.missing_since = missing.as_ref().map(|_| listing.missing_since.unwrap_or(now));
            let since = listing.missing_since.map(|since| now.saturating_duration_since(since));
            if let Some(error) = missing.filter(|_| since.is_some_and(|since| since >= MISSING_FOR)) {
                refused.insert(*id, error);
            }
        }
        for (id, error) in &refused {
            if let Some(Question { reply: QuestionReply::List(listing), .. }) = self.questions.remove(id) {
                let _ = listing.reply.send(Err(error.clone()));
            }
        }
        refused.into_keys().collect()
    }

    pub(super) fn question_done(
        &mut self,
        id: QueryId,
        outcome: QueryOutcome,
        trouble: Option<&CallError>,
        cluster: &Cluster,
    ) {
        match self.questions.remove(&id).map(|question| question.reply) {
            Some(QuestionReply::Committed(reply)) => {
                drop(reply.send(results::committed_offsets(outcome, trouble)));
            }
            Some(QuestionReply::List(listing)) => {
                // The partition was waited for until the time was up.
                let missing = listing.missing_since.and_then(|_| listing.missing(cluster));
                let listed =
                    results::listed_offsets(outcome, trouble).map_err(|error| missing.unwrap_or(error));
                let _ = listing.reply.send(listed);
            }
            None => {}
        }
    }

    /// Topics that callers are asking about, subscribed to or not.
    pub(super) fn topics(&self) -> BTreeSet<Topic> {
        let questions = self.questions.values().flat_map(|question| question.topics.iter());
        questions.chain(self.lookups.topics()).cloned().collect()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let settling = self.settling.iter().map(|it| it.deadline).min();
        let missing = self.questions.values().filter_map(|question| match &question.reply {
            QuestionReply::List(listing) => listing.missing_since?.checked_add(MISSING_FOR),
            QuestionReply::Committed(_) => None,
        });
        offtake_machine::earliest([settling, self.lookups.poll_timeout(), missing.min()])
    }
}

impl Listing {
    /// The error for the first partition that does not exist, as far as the cluster is known.
    fn missing(&self, cluster: &Cluster) -> Option<Error> {
        self.partitions.iter().find_map(|partition| missing(partition, cluster))
    }
}

/// The error for a partition that does not exist, as far as the cluster is known.
pub(super) fn missing(partition: &TopicPartition, cluster: &Cluster) -> Option<Error> {
    const UNKNOWN: ErrorCode = ErrorCode::UnknownTopicOrPartition;
    let no_topic = || Some(lookups::refused(&partition.topic, UNKNOWN).with_partition(partition.clone()));
    match cluster.topics.get(&partition.topic) {
        None if cluster.lists_all => no_topic(),
        None => None,
        Some(info) => match info.error {
            UNKNOWN | ErrorCode::UnknownTopicId => no_topic(),
            ErrorCode::None if !info.partitions.contains_key(&partition.partition) => {
                let count = info.partitions.len();
                let partitions = if count == 1 { "partition" } else { "partitions" };
                let message = format!(
                    "{partition} does not exist: topic {} has {count} {partitions}, counted from 0",
                    partition.topic
                );
                Some(
                    Error::new(ErrorKind::UnknownTopic, message)
                        .with_code(UNKNOWN)
                        .with_partition(partition.clone()),
                )
            }
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn as_it_is(error: Error) -> Error {
        error
    }

    fn refused() -> CommitOutcome {
        [(TopicPartition::new("orders", 0), Err(CommitError::NotOwned))].into()
    }

    fn listing(reply: Reply<BTreeMap<TopicPartition, OffsetAndTimestamp>>) -> Listing {
        Listing { partitions: Vec::new(), asked: 0, missing_since: None, reply }
    }

    fn waiters() -> Waiters {
        Waiters::new(Lookups::new(&crate::config::Config::default()))
    }

    #[test]
    fn h5_a_failed_commit_reaches_its_waiter_and_otherwise_the_first_failure_is_reported() {
        let mut waiters = waiters();
        let (reply, mut answer) = oneshot::channel();
        waiters.await_commit(crate::clock::now(), CommitId(1), Vec::new(), Some(reply));
        assert!(waiters.commit_done(CommitId(1), refused(), None, as_it_is).is_none());
        assert!(answer.try_recv().is_ok_and(|result| result.is_err()));
        for id in 2..10 {
            let (reply, _) = oneshot::channel();
            waiters.await_commit(crate::clock::now(), CommitId(id), Vec::new(), Some(reply));
            assert_eq!(
                waiters.commit_done(CommitId(id), refused(), None, as_it_is).is_some(),
                id == 2,
                "once"
            );
        }
        waiters.commit_landed([&TopicPartition::new("returns", 0)].into_iter());
        waiters.await_commit(crate::clock::now(), CommitId(10), Vec::new(), None);
        assert!(
            waiters.commit_done(CommitId(10), refused(), None, as_it_is).is_none(),
            "another partition's success"
        );
        waiters.commit_landed([&TopicPartition::new("orders", 0)].into_iter());
        waiters.await_commit(crate::clock::now(), CommitId(11), Vec::new(), None);
        assert!(waiters.commit_done(CommitId(11), refused(), None, as_it_is).is_some(), "once more");
    }

    #[test]
    fn h15_only_those_that_nobody_waits_for_are_merged() {
        let mut waiters = waiters();
        let mut awaited = Vec::new();
        for id in 0..100 {
            let (reply, answer) = oneshot::channel();
            waiters.await_commit(crate::clock::now(), CommitId(id), Vec::new(), Some(reply));
            if id % 10 == 0 {
                awaited.push(answer);
            }
        }
        let unawaited = waiters.unawaited();
        assert_eq!(unawaited.len(), 90);
        waiters.merged(&unawaited);
        assert_eq!(waiters.commits.len(), awaited.len());
        assert!(waiters.unawaited().is_empty(), "not before there are many again");
    }

    #[test]
    fn h15_once_many_commits_are_over_few_are_many_again() {
        let mut waiters = waiters();
        let awaited: Vec<_> = (0..1000)
            .map(|id| {
                let (reply, answer) = oneshot::channel();
                waiters.await_commit(crate::clock::now(), CommitId(id), Vec::new(), Some(reply));
                assert!(waiters.unawaited().is_empty());
                answer
            })
            .collect();
        for id in 0..1000 {
            waiters.commit_done(CommitId(id), CommitOutcome::new(), None, as_it_is);
        }
        drop(awaited);
        let swept = (1000..1128).position(|id| {
            waiters.await_commit(crate::clock::now(), CommitId(id), Vec::new(), None);
            !waiters.unawaited().is_empty()
        });
        assert_eq!(swept, Some(MIN_SWEPT - 1));
    }

    #[test]
    fn safe15_a_topic_is_wanted_while_somebody_asks_about_it_and_not_after() {
        let mut waiters = waiters();
        let (reply, mut answer) = oneshot::channel();
        let topics = BTreeSet::from([Topic::from("orders")]);
        waiters
            .ask(QueryId(1), Question { topics: topics.clone(), reply: QuestionReply::List(listing(reply)) });
        let (reply, _) = oneshot::channel();
        let others = BTreeSet::from([Topic::from("others")]);
        waiters.ask(QueryId(2), Question { topics: others, reply: QuestionReply::Committed(reply) });
        assert_eq!(waiters.topics().len(), 2);
        waiters.question_done(
            QueryId(2),
            QueryOutcome::Committed(BTreeMap::new()),
            None,
            &Cluster::default(),
        );
        assert_eq!(waiters.topics(), topics);
        waiters.question_done(QueryId(1), QueryOutcome::Listed(BTreeMap::new()), None, &Cluster::default());
        assert!(answer.try_recv().is_ok_and(|result| result.is_ok()));
        assert!(waiters.topics().is_empty());
    }

    #[test]
    fn h2_settle_commits_returns_when_the_last_commit_ends_or_time_is_up() {
        let mut waiters = waiters();
        let now = crate::clock::now();
        waiters.await_commit(crate::clock::now(), CommitId(1), Vec::new(), None);
        let (reply, mut answer) = oneshot::channel();
        waiters.settle_commits(None, crate::clock::after(std::time::Duration::from_secs(1)), reply);
        waiters.answer_settled(now, |_| true);
        assert!(answer.try_recv().is_err());
        waiters.commit_done(CommitId(1), CommitOutcome::new(), None, as_it_is);
        waiters.answer_settled(now, |_| true);
        assert!(answer.try_recv().is_ok_and(|result| result.is_ok()));
        waiters.await_commit(crate::clock::now(), CommitId(2), Vec::new(), None);
        let (reply, mut answer) = oneshot::channel();
        waiters.settle_commits(None, now, reply);
        waiters.answer_settled(now, |_| true);
        let told = answer.try_recv().unwrap().unwrap_err();
        assert_eq!(told.kind(), ErrorKind::Timeout, "and which of the two it was");
    }

    #[test]
    fn h2_commits_of_kept_partitions_do_not_delay_waiters_for_others() {
        let mut waiters = waiters();
        let now = crate::clock::now();
        let orders = |partition| TopicPartition::new("orders", partition);
        waiters.await_commit(now, CommitId(1), Vec::new(), None);
        let (reply, mut answer) = oneshot::channel();
        let deadline = crate::clock::after(std::time::Duration::from_secs(1));
        waiters.settle_commits(Some(vec![orders(0), orders(1)]), deadline, reply);
        waiters.answer_settled(now, |partition| *partition != orders(0));
        assert!(answer.try_recv().is_err(), "of one of them a commit is under way");
        waiters.answer_settled(now, |partition| *partition == orders(2));
        assert!(
            answer.try_recv().is_ok_and(|result| result.is_ok()),
            "the other partition's is not waited for"
        );
        let (reply, mut answer) = oneshot::channel();
        waiters.settle_commits(Some(vec![orders(2)]), now, reply);
        waiters.answer_settled(now, |partition| *partition == orders(2));
        assert_eq!(answer.try_recv().unwrap().unwrap_err().kind(), ErrorKind::Timeout);
    }

    /// H5: the owner of a newly assigned partition gets its first failed commit reported, whatever has failed
    /// before.
    #[test]
    fn h5_a_failure_is_told_again_once_its_partition_has_come_anew() {
        let mut waiters = waiters();
        let orders = TopicPartition::new("orders", 0);
        let is_told = |waiters: &mut Waiters, id| {
            waiters.await_commit(crate::clock::now(), CommitId(id), Vec::new(), None);
            waiters.commit_done(CommitId(id), refused(), None, as_it_is).is_some()
        };
        assert!(is_told(&mut waiters, 1));
        waiters.assigned(&[], |partition| *partition == orders);
        assert!(!is_told(&mut waiters, 2), "it was kept");
        waiters.assigned(std::slice::from_ref(&orders), |partition| *partition == orders);
        assert!(is_told(&mut waiters, 3), "it has come anew");
        waiters.assigned(&[], |_| false);
        assert!(waiters.failing.is_empty(), "what is gone is forgotten");
    }

    #[test]
    fn safe15_a_committed_query_is_answered() {
        let mut waiters = waiters();
        let (reply, mut answer) = oneshot::channel();
        waiters.ask(QueryId(1), Question { topics: BTreeSet::new(), reply: QuestionReply::Committed(reply) });
        waiters.question_done(
            QueryId(2),
            QueryOutcome::Committed(BTreeMap::new()),
            None,
            &Cluster::default(),
        );
        assert!(answer.try_recv().is_err(), "that was another");
        waiters.question_done(
            QueryId(1),
            QueryOutcome::Committed(BTreeMap::new()),
            None,
            &Cluster::default(),
        );
        assert!(answer.try_recv().is_ok_and(|result| result.is_ok()));
    }

    #[test]
    fn safe15_the_engine_wakes_at_the_earliest_deadline_of_its_waiters() {
        let mut waiters = waiters();
        let after = |seconds| crate::clock::after(std::time::Duration::from_secs(seconds));
        assert_eq!(waiters.poll_timeout(), None);
        let (second, first) = (after(2), after(1));
        for deadline in [second, first] {
            let (reply, _) = oneshot::channel();
            waiters.settle_commits(None, deadline, reply);
            assert_eq!(waiters.poll_timeout(), Some(deadline));
        }
        let (reply, _) = oneshot::channel();
        let before_both = after(0);
        waiters.lookups.partitions("orders".into(), 0, before_both, reply);
        assert_eq!(waiters.poll_timeout(), Some(before_both));
        waiters.await_commit(crate::clock::now(), CommitId(1), Vec::new(), None);
        waiters.answer_settled(first, |_| true);
        assert_eq!(waiters.settling.len(), 1, "the second waits on");
    }
}
