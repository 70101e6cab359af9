//! Handles the commands of the handle.

use std::{collections::BTreeMap, time::Instant};

use offtake_group::{GroupMembership, Member};
use offtake_machine::{GroupMetadata, GroupOffsets, Position, Token, Topic, TopicPartition};
use offtake_offsets::{CommitId, FinishedError, QueryId, SeekError};

use super::{
    CloseState, Engine, answer, machine_config, no_group,
    waiters::{Listing, Question, QuestionReply},
};
use crate::{
    command::{Answer, Command, CommitBy, LAST_SECOND, Reply, Subscription},
    config::GroupProtocol,
    error::{self, Error, ErrorKind, Result, not_assigned},
    inbox::Data,
    offsets::{OffsetAndMetadata, StartAt, known_offset},
    partition_list::PartitionList,
};

impl Engine {
    pub(super) fn on_command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Subscribe { to, reply } => {
                let result = self.check_open().and_then(|()| self.subscribe(now, to));
                self.note_vitals(now);
                self.outbox.answer(Answer::Done(reply, result));
            }
            Command::Assign { partitions, reply } => {
                let result = self.check_open().and_then(|()| self.assign(now, partitions));
                self.note_vitals(now);
                self.outbox.answer(Answer::Done(reply, result));
            }
            Command::RevocationDone(id) => {
                let given_up = self.ownership.application_is_done(id);
                // A later commit of other partitions would take back what the application committed of these at last.
                self.offsets.leave_uncommitted(&given_up);
                self.end_revocations(now);
            }
            Command::Unsubscribe { reason, reply } => {
                self.give_up_everything(now, reason, GroupMembership::Default);
                self.note_vitals(now);
                self.outbox.answer(Answer::Done(reply, Ok(())));
            }
            Command::Seek { partition, at, reply } => {
                let result = self.seek(now, partition, at);
                self.outbox.answer(Answer::Sought(reply, result));
            }
            Command::PausesChanged { partitions } => {
                for partition in partitions {
                    self.follow_pause(&partition);
                }
            }
            Command::GiveBack { partition, token, from } => self.give_back(partition, token, from),
            Command::Finished { positions } => {
                for (partition, token, position) in positions {
                    // What was finished before a seek needs no report.
                    if self.offsets.mark_finished(&partition, token, position) == Err(FinishedError::NotOwned)
                    {
                        self.ownership.not_committed(&partition, position.offset);
                    }
                }
            }
            Command::CommitSoon => self.offsets.request_auto_commit(now),
            Command::CommitFinished { deadline, by, reply } => self.commit_finished(now, deadline, by, reply),
            Command::SettleCommits { partitions, deadline, reply } => {
                self.waiters.settle_commits(partitions, deadline, reply);
            }
            Command::CommitThese { offsets, deadline, reply } => {
                self.commit_these(now, offsets, deadline, reply)
            }
            Command::Committed { partitions, deadline, reply } => {
                if let Some(error) = partitions.iter().find_map(|partition| illegal_name(&partition.topic)) {
                    let _ = reply.send(Err(error));
                    return;
                }
                if self.coordinator.is_none() {
                    let _ = reply.send(Err(no_group("committed")));
                    return;
                }
                let topics = partitions.iter().map(|partition| partition.topic.clone()).collect();
                let id = self.offsets.fetch_committed(now, partitions, deadline);
                self.ask(now, id, Question { topics, reply: QuestionReply::Committed(reply) });
            }
            Command::List { partitions, deadline, reply } => {
                if let Some(error) =
                    partitions.iter().find_map(|(partition, _)| illegal_name(&partition.topic))
                {
                    let _ = reply.send(Err(error));
                    return;
                }
                let topics = partitions.iter().map(|(partition, _)| partition.topic.clone()).collect();
                let asked = self.metadata.requests_sent();
                let listing = Listing {
                    partitions: partitions.iter().map(|(partition, _)| partition.clone()).collect(),
                    asked,
                    missing_since: None,
                    reply,
                };
                let specs =
                    partitions.into_iter().map(|(partition, at)| (partition, machine_config::list_spec(at)));
                let id = self.offsets.list_offsets(now, specs, deadline);
                self.ask(now, id, Question { topics, reply: QuestionReply::List(listing) });
            }
            Command::Partitions { topic, deadline, reply } => {
                if let Some(error) = illegal_name(&topic) {
                    let _ = reply.send(Err(error));
                    return;
                }
                let is_unlisted = self.metadata.cluster().lists_all
                    && self.metadata.cluster().topic(topic.as_str()).is_none();
                self.waiters.lookups.partitions(topic, self.metadata.requests_sent(), deadline, reply);
                self.want_topics(now);
                if is_unlisted {
                    self.metadata.refresh_now(now);
                }
                self.answer_lookups(now);
            }
            Command::Matching { patterns, deadline, reply } => {
                // The answer must show the cluster as it is now: a listing requested earlier does not count.
                self.waiters.lookups.matching(patterns, self.metadata.requests_sent(), deadline, reply);
                self.want_topics(now);
                self.metadata.refresh_now(now);
                self.answer_lookups(now);
            }
            Command::Stop { partition, token } => {
                // If the partition was sought meanwhile, its current fetching must not be stopped.
                if self.offsets.stop(&partition, token) {
                    self.fetch.stop(&partition);
                    self.outbox.forget(&partition);
                }
            }
            Command::Moved { partition, token, rewinds } => {
                self.offsets.confirm_rewind(&partition, token, rewinds);
            }
            // It only wakes the engine, which counts what is freed whenever it runs.
            Command::Freed => {}
            Command::GroupOffsets { offsets, reply } => {
                let _ = reply.send(self.group_offsets(now, offsets));
            }
            Command::GroupMetadata { reply } => {
                let _ = reply.send(self.group_metadata(now));
            }
            Command::EnforceRebalance { reply } => {
                let _ = reply.send(self.enforce_rebalance(now));
            }
            Command::RunsOn(runtime) => self.runs_on(runtime),
            Command::Polled => self.sync_polls(now),
            Command::Close { deadline, group_membership, reply } => {
                self.close(now, deadline, group_membership, Some(reply));
            }
            Command::Abandon { commits } => self.abandon(now, commits),
        }
    }

    /// The consumer is dropped: commits what it has finished, if `commits` is set, and leaves, quickly.
    pub(crate) fn abandon(&mut self, now: Instant, commits: bool) {
        if matches!(self.life, CloseState::Open) {
            let deadline = now + LAST_SECOND;
            let owned = self.ownership.to_vec();
            if !owned.is_empty() {
                let (member, count) = (self.log.member(), owned.len());
                let reason = "the consumer was dropped";
                tracing::info!(member, count, partitions = %PartitionList(&owned), reason, "partitions given up");
            }
            if commits {
                self.commit_finished(now, deadline, CommitBy::Consumer, None);
            }
            self.close(now, deadline, GroupMembership::Default, None);
        }
    }

    /// Applies the current state of its gauges, whichever side set it.
    fn follow_pause(&mut self, partition: &TopicPartition) {
        let Some(token) = self.offsets.token_of(partition) else { return };
        match self.ownership.is_paused(partition, token) {
            Some(true) => self.fetch.pause(partition, token),
            Some(false) => self.fetch.resume(partition, token),
            None => {}
        }
    }

    /// The handle offers what it holds of a paused partition.
    fn give_back(&mut self, partition: TopicPartition, token: Token, from: Position) {
        let is_current = self.offsets.token_of(&partition) == Some(token);
        let accepted = is_current && self.fetch.rewind(&partition, token, from);
        if accepted {
            self.outbox.rewind(&partition, from);
            self.offsets.start_again(&partition, token, from);
        }
        self.outbox.data(Data::GivenBack { partition, token, accepted });
    }

    fn ask(&mut self, now: Instant, id: QueryId, question: Question) {
        self.waiters.ask(id, question);
        self.want_topics(now);
    }

    /// Refuses new work once the engine is closing.
    fn check_open(&self) -> Result<()> {
        if matches!(self.life, CloseState::Open) { Ok(()) } else { Err(error::closed()) }
    }

    fn subscribe(&mut self, now: Instant, to: Subscription) -> Result<()> {
        if let Subscription::Topics(topics) = &to
            && let Some(error) = topics.iter().find_map(too_long)
        {
            return Err(error);
        }
        if matches!(self.subscriptions.kind(), Subscription::Assigned) {
            return Err(Error::misuse(
                "partitions are assigned by hand: unsubscribe before subscribing to topics",
            ));
        }
        if self.config.group_id.is_none() {
            return Err(no_group("subscribe"));
        }
        if self.member.is_none() {
            let config = machine_config::group(&self.config, &self.assignors, self.seed ^ 4);
            let member =
                Member::new(config).map_err(|error| Error::new(ErrorKind::Config, error.to_string()))?;
            self.member = Some(member);
        }
        let by_pattern = to.is_by_pattern();
        let is_new = self.subscriptions.replace(to, self.metadata.requests_sent());
        // A listing that was asked for earlier may be minutes old, and whether refusals still hold is for the brokers to say.
        if is_new && by_pattern || self.subscriptions.has_refused(self.metadata.cluster()) {
            self.metadata.refresh_now(now);
        }
        self.begin_anew();
        self.sync_polls(now);
        self.want_topics(now);
        self.resolve_subscription(now);
        Ok(())
    }

    fn assign(&mut self, now: Instant, partitions: Vec<(TopicPartition, StartAt)>) -> Result<()> {
        if let Some(error) = partitions.iter().find_map(|(partition, _)| illegal_name(&partition.topic)) {
            return Err(error);
        }
        if let Some((partition, _)) = partitions.iter().find(|(partition, _)| partition.partition < 0) {
            return Err(Error::misuse(format!(
                "{partition} is not a partition: partitions are counted from 0"
            )));
        }
        let negative = |at: &StartAt| known_offset(at).is_some_and(|position| position.offset < 0);
        if let Some((partition, _)) = partitions.iter().find(|(_, at)| negative(at)) {
            let message = format!("{partition} cannot begin at a negative offset");
            return Err(Error::misuse(message).with_partition(partition.clone()));
        }
        if self.subscriptions.kind().is_of_a_group() {
            return Err(Error::misuse(
                "topics are subscribed to: unsubscribe before assigning partitions by hand",
            ));
        }
        // A group error does not affect manually assigned partitions.
        self.begin_anew();
        // A partition that is listed twice is assigned once, with its last start.
        let wanted: BTreeMap<_, _> = partitions.into_iter().collect();
        let new: Vec<_> =
            wanted.iter().filter(|(partition, _)| !self.ownership.contains(partition)).collect();
        let new: Vec<_> = new.into_iter().map(|(partition, at)| (partition.clone(), at.clone())).collect();
        let wanted: Vec<_> = wanted.into_keys().collect();
        tracing::info!(count = wanted.len(), partitions = %PartitionList(&wanted), "partitions assigned by hand");
        self.vitals.forget_losses(&wanted);
        let gone = self.ownership.assign(wanted);
        self.stop(&gone);
        self.offsets.unassign(&gone);
        self.subscriptions.replace(Subscription::Assigned, self.metadata.requests_sent());
        self.want_topics(now);
        self.begin(now, new, None);
        Ok(())
    }

    /// The application hears of nothing any more that was told before: what still stands in its way is told once more.
    fn begin_anew(&mut self) {
        self.group_failed = false;
        self.reachability.tell_again();
        if let Some(coordinator) = &mut self.coordinator {
            coordinator.report_again();
        }
    }

    fn seek(&mut self, now: Instant, partition: TopicPartition, at: StartAt) -> Result<Token> {
        let position = known_offset(&at);
        match self.offsets.seek(now, &partition, at) {
            Ok(token) => {
                self.fetch.stop(&partition);
                self.outbox.forget(&partition);
                self.ownership.sought(&partition, token, position);
                self.outbox.data(Data::Sought { partition, token, position });
                Ok(token)
            }
            Err(SeekError::NotAssigned(partition)) => Err(self.vitals.explain(not_assigned(&partition))),
            Err(error @ SeekError::NegativeOffset(_)) => {
                Err(Error::misuse(format!("cannot seek in {partition}: {error}")))
            }
        }
    }

    fn commit_finished(&mut self, now: Instant, deadline: Instant, by: CommitBy, reply: Option<Reply<()>>) {
        if let Err(error) = self.check_commit() {
            answer(reply, Err(error));
            return;
        }
        let id = self.offsets.commit(now, offtake_offsets::Commit::Finished, deadline);
        let lost = match by {
            CommitBy::Application => self.ownership.lost_uncommitted(),
            CommitBy::Consumer => {
                self.offsets.wait_for_coordinator(id);
                Vec::new()
            }
        };
        self.await_commit(now, id, lost, reply);
    }

    /// Refuses commits without a group, and once everything was given up to close.
    fn check_commit(&self) -> Result<()> {
        match self.life {
            CloseState::Closing { .. } | CloseState::Closed => Err(error::closed()),
            _ if self.coordinator.is_none() => Err(no_group("commit")),
            CloseState::Open | CloseState::AwaitingCommits { .. } => Ok(()),
        }
    }

    fn commit_these(
        &mut self,
        now: Instant,
        offsets: Vec<(TopicPartition, Option<Token>, OffsetAndMetadata)>,
        deadline: Instant,
        reply: Option<Reply<()>>,
    ) {
        if let Err(error) = self.check_commit() {
            answer(reply, Err(error));
            return;
        }
        let mut these = Vec::with_capacity(offsets.len());
        for (partition, token, offset) in offsets {
            let Some(token) = token.or_else(|| self.offsets.token_of(&partition)) else {
                answer(reply, Err(self.vitals.explain(not_assigned(&partition))));
                return;
            };
            if self.fetch.watermarks(&partition).is_some_and(|log| offset.offset > log.high) {
                let offset = offset.offset;
                tracing::warn!(%partition, offset, "commits an offset beyond the end of the log, as far as it is known");
            }
            these.push((partition, token, offset));
        }
        let id = self.offsets.commit(now, offtake_offsets::Commit::Offsets(these), deadline);
        self.await_commit(now, id, Vec::new(), reply);
    }

    /// `lost` are partitions that fail besides those of the commit.
    fn await_commit(
        &mut self,
        now: Instant,
        id: CommitId,
        lost: Vec<TopicPartition>,
        reply: Option<Reply<()>>,
    ) {
        self.waiters.await_commit(now, id, lost, reply);
        let unawaited = self.waiters.unawaited();
        if !unawaited.is_empty() {
            self.waiters.merged(&self.offsets.merge_commits(&unawaited));
        }
    }

    /// Takes identity and offsets at the same moment: if partitions are given up later, the group refuses the
    /// commit, as its generation has changed.
    fn group_offsets(
        &self,
        now: Instant,
        offsets: Vec<(TopicPartition, Option<Token>, OffsetAndMetadata)>,
    ) -> Result<GroupOffsets> {
        let owns =
            |partition, token: &Option<Token>| token.is_some_and(|token| self.offsets.owns(partition, token));
        let stale = offsets.iter().find(|(partition, token, _)| !owns(partition, token));
        if let Some((partition, ..)) = stale {
            return Err(self.vitals.explain(not_assigned(partition)));
        }
        let group = self.group_metadata(now)?;
        Ok(GroupOffsets::new(group, offsets.into_iter().map(|(partition, _, offset)| (partition, offset))))
    }

    /// A member that has lost its partitions has no identity until the application has given them up:
    /// otherwise it could commit for partitions that it does not know to be lost.
    fn group_metadata(&self, now: Instant) -> Result<GroupMetadata> {
        let Some(group_id) = self.config.group_id.clone() else { return Err(no_group("group_metadata")) };
        if !self.subscriptions.kind().is_of_a_group() {
            return Ok(GroupMetadata::new(group_id));
        }
        let member = self.member.as_ref().filter(|member| self.suspension.is_current(member, now));
        match member.and_then(Member::identity) {
            Some(identity) => Ok(GroupMetadata::of_member(group_id, identity)),
            None => {
                let message = format!("this consumer is no member of group {group_id} now: poll until it is");
                Err(Error::new(ErrorKind::NotOwned, message))
            }
        }
    }

    fn enforce_rebalance(&mut self, now: Instant) -> Result<()> {
        if self.config.group_protocol == GroupProtocol::Consumer {
            return Err(Error::misuse(
                "with group.protocol=consumer the coordinator decides when to rebalance: a member cannot ask for it",
            ));
        }
        match &mut self.member {
            Some(member) if self.subscriptions.kind().is_of_a_group() => {
                member.enforce_rebalance(now);
                Ok(())
            }
            _ => Err(Error::misuse("nothing is subscribed to: there is no group to rebalance")),
        }
    }

    fn close(
        &mut self,
        now: Instant,
        deadline: Instant,
        membership: GroupMembership,
        reply: Option<Reply<()>>,
    ) {
        match &mut self.life {
            CloseState::Open => {}
            // Already closing: the new caller is answered when it has ended.
            CloseState::AwaitingCommits { reply: waiting, .. }
            | CloseState::Closing { reply: waiting, .. } => {
                *waiting = waiting.take().or(reply);
                return;
            }
            CloseState::Closed => return answer(reply, Ok(())),
        }
        // Half of the time, so that the rest is available to leave the group.
        let until = now + deadline.saturating_duration_since(now) / 2;
        self.life = CloseState::AwaitingCommits { until, deadline, membership, reply };
        self.advance_close(now);
    }
}

/// The error if no topic can have this name: requesting it would fail everything else in the same request.
fn illegal_name(topic: &Topic) -> Option<Error> {
    let invalid = topic.check().err()?;
    Some(Error::new(
        ErrorKind::UnknownTopic,
        format!("no topic can be named {:?}: {invalid}", topic.as_str()),
    ))
}

/// The error if no request can contain this name. (For other illegal names a subscription gets the broker's
/// error, and the other topics are read: FAILURES B8.)
fn too_long(topic: &Topic) -> Option<Error> {
    illegal_name(topic).filter(|_| topic.as_str().len() > 249)
}
