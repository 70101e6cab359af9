//! Commits, alone or in transactions: one at a time, by interval, before partitions are handed over, and at the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use offtake::{Error, ErrorCode, ErrorKind, GroupMetadata, OffsetAndMetadata, Topic, TopicPartition};
use offtake_producer::TransactionalProducer;

use super::{
    Runner,
    letters::REPORT_EVERY,
    transaction::{self, Content, Ended, Fate, Sent},
};
use crate::{
    Event, clock,
    machine::{Effect, EffectId, PartitionCommit},
};

/// The records that a transaction sends, in the order of the logs.
type ToSend = Vec<(EffectId, Sent)>;

type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How commits are made, and the commit in flight.
pub(super) enum Committing {
    /// By offsets alone, with none in flight.
    Offsets,
    Offset {
        commits: Vec<PartitionCommit>,
        answer: Answer<Result<(), Error>>,
    },
    /// In transactions, with none in flight.
    Transactions(TransactionalProducer),
    /// A transaction is being prepared: the group metadata of this member is being fetched.
    Identity {
        producer: TransactionalProducer,
        answer: Answer<Result<GroupMetadata, Error>>,
    },
    Transaction {
        commits: Vec<PartitionCommit>,
        began: Instant,
        /// The topics that it writes to, until it is checked whether they exist.
        topics: BTreeSet<Topic>,
        /// Whether one of its partitions was lost since.
        is_lost: Arc<AtomicBool>,
        answer: Answer<Ended>,
    },
    /// In transactions, but none can be made any more.
    Never,
}

/// The result of one step of a commit.
pub(super) enum CommitAnswer {
    Offset(Result<(), Error>),
    Identity(Result<GroupMetadata, Error>),
    Transaction(Box<Ended>),
}

/// How a commit ended: its error, and whether a repetition may succeed at once.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) error: Option<Error>,
    pub(super) again: bool,
}

impl Committing {
    pub(super) fn is_on_its_way(&self) -> bool {
        match self {
            Self::Offset { .. } | Self::Identity { .. } | Self::Transaction { .. } => true,
            Self::Offsets | Self::Transactions(_) | Self::Never => false,
        }
    }

    /// Waits for the next step of the commit in flight; for ever if there is none.
    pub(super) async fn answer(&mut self) -> CommitAnswer {
        match self {
            Self::Offset { answer, .. } => CommitAnswer::Offset(answer.as_mut().await),
            Self::Identity { answer, .. } => CommitAnswer::Identity(answer.as_mut().await),
            Self::Transaction { answer, .. } => CommitAnswer::Transaction(Box::new(answer.as_mut().await)),
            Self::Offsets | Self::Transactions(_) | Self::Never => std::future::pending().await,
        }
    }

    /// Closes the transactional producer, if there is one.
    pub(super) async fn close(self, timeout: Duration) {
        if let Self::Transactions(producer) = self
            && let Err(error) = producer.close(timeout).await
        {
            tracing::warn!(%error, "the producer of transactions was not closed in time");
        }
    }
}

fn offset(commit: &PartitionCommit, metadata: &str) -> (TopicPartition, OffsetAndMetadata) {
    let what = &commit.what;
    let offset = OffsetAndMetadata::new(what.offset).with_leader_epoch(what.epoch).with_metadata(metadata);
    (commit.name.clone(), offset)
}

fn is_metadata_too_large(error: &Error) -> bool {
    error.code() == Some(ErrorCode::OffsetMetadataTooLarge)
}

impl Runner {
    pub(super) fn commit_if_due(&mut self, now: Instant) {
        if !self.committing.is_on_its_way() && self.machine.is_commit_due(now) {
            self.commit(now, None, self.consumer.config().client.default_api_timeout);
        }
    }

    /// Begins a commit of everything finished, limited to these partitions if they are given; a transaction always contains all.
    /// Returns whether a commit began.
    pub(super) fn commit(
        &mut self,
        now: Instant,
        only: Option<&[TopicPartition]>,
        timeout: Duration,
    ) -> bool {
        let handle = self.consumer.handle();
        match mem::replace(&mut self.committing, Committing::Never) {
            Committing::Offsets => {
                let commits = self.machine.take_commit(now, only);
                if commits.is_empty() {
                    self.committing = Committing::Offsets;
                    return false;
                }
                let offsets = commits.iter().map(|commit| offset(commit, &commit.what.metadata));
                let offsets: Vec<_> = offsets.collect();
                let answer = Box::pin(async move { handle.commit_offsets_within(offsets, timeout).await });
                self.committing = Committing::Offset { commits, answer };
                true
            }
            Committing::Transactions(producer) if self.machine.begin_transaction(now) => {
                let answer = Box::pin(async move { handle.group_metadata().await });
                self.committing = Committing::Identity { producer, answer };
                true
            }
            as_it_was => {
                self.committing = as_it_was;
                false
            }
        }
    }

    /// Handles the next step of a commit. Returns the outcome, if the commit has ended.
    pub(super) fn commit_answered(&mut self, answer: CommitAnswer) -> Option<Outcome> {
        match (mem::replace(&mut self.committing, Committing::Never), answer) {
            (Committing::Offset { commits, .. }, CommitAnswer::Offset(result)) => {
                self.committing = Committing::Offsets;
                Some(self.offsets_ended(&commits, result))
            }
            (Committing::Identity { producer, .. }, CommitAnswer::Identity(Ok(group))) => {
                self.begin_transaction(producer, group)
            }
            (Committing::Identity { producer, .. }, CommitAnswer::Identity(Err(error))) => {
                self.committing = Committing::Transactions(producer);
                self.machine.transaction_ended(clock::now(), &[], false, &BTreeMap::new());
                self.tell(Event::Error(error.clone()));
                Some(Outcome { again: true, error: Some(error) })
            }
            (Committing::Transaction { commits, .. }, CommitAnswer::Transaction(ended)) => {
                Some(self.transaction_ended(&commits, *ended))
            }
            (as_it_was, _) => {
                self.committing = as_it_was;
                None
            }
        }
    }

    fn begin_transaction(
        &mut self,
        producer: TransactionalProducer,
        group: GroupMetadata,
    ) -> Option<Outcome> {
        let now = clock::now();
        if self.handing.as_ref().is_some_and(|handing| handing.is_overdue(now)) {
            // The group may have reassigned the partitions, and this member may have new group metadata without them.
            self.committing = Committing::Transactions(producer);
            self.machine.transaction_ended(now, &[], false, &BTreeMap::new());
            return Some(Outcome { again: true, error: None });
        }
        let (commits, sent) = self.take_content(now);
        let sent = match sent {
            Ok(sent) => sent,
            Err((id, error)) => {
                // Another transaction is made, without it.
                self.committing = Committing::Transactions(producer);
                self.machine.transaction_ended(now, &commits, false, &BTreeMap::new());
                self.machine.effect_refused(id, error.clone());
                return Some(Outcome { again: true, error: Some(error) });
            }
        };
        if commits.is_empty() {
            self.committing = Committing::Transactions(producer);
            return Some(Outcome::default());
        }
        let mark = self.marks.next(&group);
        let metadata = mark.as_deref().unwrap_or_default();
        let offsets = commits.iter().map(|commit| offset(commit, metadata)).collect();
        let is_lost = Arc::<AtomicBool>::default();
        let topics = sent.iter().flat_map(|(_, sent)| sent.topics()).map(Topic::from).collect();
        let content = Content { group, mark, offsets, sent, is_lost: Arc::clone(&is_lost) };
        let answer = Box::pin(transaction::run(producer, self.consumer.handle(), content));
        self.committing = Committing::Transaction { commits, began: now, topics, is_lost, answer };
        None
    }

    /// The commits and the records of the next transaction: as much as its producer has room for; the rest is left for the
    /// following one. Returns an effect instead if no transaction can contain it.
    fn take_content(&mut self, now: Instant) -> (Vec<PartitionCommit>, Result<ToSend, (EffectId, Error)>) {
        let mut most = usize::MAX;
        loop {
            let commits = self.machine.take_commit(now, None);
            let sent = self.content_of(&commits);
            let Ok(all) = &sent else { return (commits, sent) };
            let (bytes, fit) = all.iter().fold((0, 0), |(bytes, fit), (_, sent)| {
                let bytes = sent.memory().saturating_add(bytes);
                (bytes, fit + usize::from(bytes <= self.transaction_bytes))
            });
            match all.last() {
                Some((id, _)) if fit < all.len() && most == 1 => {
                    let limit = self.transaction_bytes;
                    let text = format!(
                        "what is sent of its record, with what cannot be committed without that, has {bytes} bytes, more than `buffer.memory` \
                         ({limit} bytes) of the producer of transactions: raise that"
                    );
                    return (commits, Err((*id, Error::new(ErrorKind::TooLarge, text))));
                }
                Some(_) if fit < all.len() => {
                    // With a smaller limit, other effects may come first, because those that belong together are not separated.
                    most = fit.min(most / 2).max(1);
                    self.machine.take_less(&commits, most);
                }
                Some(_) | None => return (commits, sent),
            }
        }
    }

    /// The records sent by a transaction with these commits.
    fn content_of(&mut self, commits: &[PartitionCommit]) -> Result<ToSend, (EffectId, Error)> {
        let effects = self.machine.send_effects(commits).into_iter();
        let all = effects.map(|(id, effect)| match (&*effect, &self.form) {
            (Effect::DeadLetter { record, letter }, Some(form)) => match form.output(letter, record) {
                Ok(output) => Ok((id, Sent::DeadLetter(output))),
                Err(error) => Err((id, error)),
            },
            _ => Ok((id, Sent::Outputs(effect))),
        });
        all.collect()
    }

    fn transaction_ended(&mut self, commits: &[PartitionCommit], ended: Ended) -> Outcome {
        let Ended { producer, fate, error, letters, refused, sent, refused_topic } = ended;
        let is_committed = fate == Fate::Committed;
        self.machine.transaction_ended(clock::now(), commits, is_committed, &letters);
        if is_committed {
            let offsets = commits.iter().map(|commit| (commit.name.clone(), commit.what.offset));
            self.tell(Event::Committed { offsets: offsets.collect() });
        }
        self.machine.effects_refused(refused, sent);
        if let Some(error) = &error {
            let is_refused = |commit: &&PartitionCommit| Some(&commit.name.topic) == refused_topic.as_ref();
            for commit in commits.iter().filter(is_refused) {
                self.machine.offset_refused(commit.id, error.clone());
            }
            if is_metadata_too_large(error) {
                self.marks.refuse();
            }
        }
        if fate == Fate::Unknown {
            self.start_over(commits);
        }
        let is_over = producer.is_none();
        self.committing = producer.map_or(Committing::Never, Committing::Transactions);
        match error {
            Some(error) if is_over => {
                self.machine.commit_no_more();
                self.end_with(crate::Error::Client(error.clone()));
                Outcome { error: Some(error), again: false }
            }
            Some(error) => {
                self.tell(Event::Error(error.clone()));
                Outcome { again: !is_committed, error: (!is_committed).then_some(error) }
            }
            None => Outcome { error: None, again: self.machine.is_divided() },
        }
    }

    fn offsets_ended(&mut self, commits: &[PartitionCommit], result: Result<(), Error>) -> Outcome {
        let is_committed = |partition: &TopicPartition| match &result {
            Ok(()) => true,
            Err(error) => error
                .commit_report()
                .is_some_and(|report| report.committed().any(|committed| committed == partition)),
        };
        self.machine.commit_ended(commits, is_committed);
        let committed = commits.iter().filter(|commit| is_committed(&commit.name));
        let offsets: Vec<_> = committed.map(|commit| (commit.name.clone(), commit.what.offset)).collect();
        if !offsets.is_empty() {
            self.tell(Event::Committed { offsets });
        }
        // Something may be finished since: a letter that was under way.
        let Err(error) = result else {
            self.told_of_commits = None;
            return Outcome { error: None, again: true };
        };
        let is_of_one = error
            .commit_report()
            .is_some_and(|report| report.failed().any(|(_, error)| is_metadata_too_large(error)));
        let again = (is_of_one || is_metadata_too_large(&error)) && self.machine.shorten_metadata();
        if self.is_to_be_told(&error) {
            self.tell(Event::Error(error.clone()));
        }
        Outcome { error: Some(error), again }
    }

    /// Whether this failure of a commit is to be reported: at once, and then again after a while, as long as it is the same.
    fn is_to_be_told(&mut self, error: &Error) -> bool {
        let (now, what) = (clock::now(), (error.kind(), error.code()));
        let is_same = |(kind, code, at): (ErrorKind, Option<ErrorCode>, Instant)| {
            (kind, code) == what && now < clock::later(at, REPORT_EVERY)
        };
        let is_new = !self.told_of_commits.is_some_and(is_same);
        if is_new {
            self.told_of_commits = Some((what.0, what.1, now));
        }
        is_new
    }

    /// Notes that this member has lost these partitions. A transaction that contains one of them must not be committed, unless
    /// its commit was already requested.
    pub(super) fn partitions_gone(&self, partitions: &[TopicPartition]) {
        if let Committing::Transaction { commits, is_lost, .. } = &self.committing
            && commits.iter().any(|commit| partitions.contains(&commit.name))
        {
            is_lost.store(true, Ordering::Release);
        }
    }

    /// Gives up waiting for the commit in flight, so that its outcome is unknown. A transaction goes on: the group itself refuses
    /// offsets of partitions that this member has lost, and the next transaction waits for its end.
    pub(super) fn give_up_commit(&mut self) {
        match mem::replace(&mut self.committing, Committing::Never) {
            Committing::Offset { commits, .. } => {
                self.machine.commit_ended(&commits, |_| false);
                self.committing = Committing::Offsets;
            }
            as_it_was => self.committing = as_it_was,
        }
    }
}
