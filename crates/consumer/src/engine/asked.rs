//! What the handle asks.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use offtake_group::{GroupMembership, Member};
use offtake_machine::TopicPartition;
use offtake_offsets::{CommitId, NotAssigned};

use super::{
    Engine, Life, Question, answer,
    command::{Command, Notice, Output, Reply, Subscription},
    no_group, not_assigned, rooms,
};
use crate::{
    error::{Error, ErrorKind, Result},
    offsets::{OffsetAndMetadata, StartAt},
};

impl Engine {
    pub(crate) fn handle_command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Subscribe { to, reply } => {
                let result = self.subscribe(now, to);
                self.outputs.push_back(Output::Reply(reply, result));
            }
            Command::Assign { partitions, reply } => {
                let result = self.assign(now, partitions);
                self.outputs.push_back(Output::Reply(reply, result));
            }
            Command::Released(id) => self.released(now, id),
            Command::Unsubscribe { reason, reply } => {
                self.give_up_everything(now, reason, GroupMembership::Default);
                self.outputs.push_back(Output::Reply(reply, Ok(())));
            }
            Command::Seek { partition, at, reply } => {
                let result = self.seek(now, partition, at);
                self.outputs.push_back(Output::Reply(reply, result));
            }
            Command::Pause { partitions } => {
                for partition in &partitions {
                    self.fetch.pause(partition);
                }
                self.tell(Notice::Paused { partitions });
            }
            Command::Resume { partitions } => {
                for partition in &partitions {
                    self.fetch.resume(now, partition);
                }
                self.tell(Notice::Resumed { partitions });
            }
            Command::Finished { positions } => {
                for (partition, token, position) in positions {
                    // A stale token is refused there, which is all that it deserves.
                    let _ = self.offsets.finished(&partition, token, position);
                }
            }
            Command::CommitSoon => self.offsets.commit_soon(now),
            Command::CommitFinished { deadline, reply } => self.commit_finished(now, deadline, reply),
            Command::SettleCommits { deadline, reply } => self.settling.push((deadline, reply)),
            Command::CommitThese { offsets, deadline, reply } => {
                self.commit_these(now, offsets, deadline, reply)
            }
            Command::Committed { partitions, deadline, reply } => {
                if self.coordinator.is_none() {
                    let _ = reply.send(Err(no_group("committed")));
                    return;
                }
                self.ask_about(now, partitions.iter().map(|partition| partition.topic.clone()));
                let id = self.offsets.fetch_committed(now, partitions, deadline);
                self.questions.insert(id, Question::Committed(reply));
            }
            Command::List { partitions, deadline, reply } => {
                self.ask_about(now, partitions.iter().map(|(partition, _)| partition.topic.clone()));
                let specs = partitions.into_iter().map(|(partition, at)| (partition, rooms::list_spec(at)));
                let id = self.offsets.list(now, specs, deadline);
                self.questions.insert(id, Question::List(reply));
            }
            Command::Partitions { topic, deadline, reply } => {
                self.ask_about(now, [topic.clone()]);
                self.lookups.partitions(topic, deadline, reply);
                self.settle_lookups(now);
            }
            Command::Matching { patterns, deadline, reply } => {
                self.metadata.want_all(now);
                self.lookups.matching(patterns, deadline, reply);
                self.settle_lookups(now);
            }
            Command::Stop { partition, token } => {
                // Sought meanwhile: what flows now is something else.
                if self.offsets.token_of(&partition) == Some(token) {
                    self.fetch.stop(&partition);
                    self.stopped.insert(partition, token);
                }
            }
            Command::MovedBack { partition, token } => self.offsets.moved_back(&partition, token),
            Command::Freed { partition, bytes } => self.fetch.release(now, &partition, bytes),
            Command::RunsOn(runtime) => self.runs_on(runtime),
            Command::Wake => self.tell(Notice::Wake),
            Command::Polled => self.sync_polls(now),
            Command::Close { deadline, group_membership, reply } => {
                self.close(now, deadline, group_membership, Some(reply));
            }
        }
    }

    /// The handle is gone without a word: leave, quickly.
    pub(crate) fn abandoned(&mut self, now: Instant) {
        if matches!(self.life, Life::Open) {
            self.close(now, now + Duration::from_secs(1), GroupMembership::Default, None);
        }
    }

    fn subscribe(&mut self, now: Instant, to: Subscription) -> Result<()> {
        if matches!(self.subscription, Subscription::Assigned) {
            return Err(Error::misuse(
                "partitions are assigned by hand: unsubscribe before subscribing to topics",
            ));
        }
        if self.config.group_id.is_none() {
            return Err(no_group("subscribe"));
        }
        if self.member.is_none() {
            let config = rooms::group(&self.config, &self.assignors, self.seed ^ 4);
            let member =
                Member::new(config).map_err(|error| Error::new(ErrorKind::Config, error.to_string()))?;
            self.member = Some(member);
        }
        self.subscription = to;
        self.listed = false;
        self.group_failed = false;
        self.sync_polls(now);
        self.want_topics(now);
        self.resolve_subscription(now);
        Ok(())
    }

    fn assign(&mut self, now: Instant, partitions: Vec<(TopicPartition, StartAt)>) -> Result<()> {
        if self.subscription.is_of_a_group() {
            return Err(Error::misuse(
                "topics are subscribed to: unsubscribe before assigning partitions by hand",
            ));
        }
        let wanted: BTreeSet<_> = partitions.iter().map(|(partition, _)| partition.clone()).collect();
        let gone: Vec<_> = self.assigned.difference(&wanted).cloned().collect();
        self.stop(&gone);
        self.offsets.unassign(&gone);
        let kept = self.assigned.clone();
        let new: Vec<_> = partitions.into_iter().filter(|(partition, _)| !kept.contains(partition)).collect();
        self.subscription = Subscription::Assigned;
        self.assigned = wanted;
        self.want_topics(now);
        self.begin(now, new, None);
        Ok(())
    }

    fn seek(&mut self, now: Instant, partition: TopicPartition, at: StartAt) -> Result<()> {
        match self.offsets.seek(now, &partition, at) {
            Ok(token) => {
                self.fetch.stop(&partition);
                self.tell(Notice::Sought { partition, token });
                Ok(())
            }
            Err(NotAssigned::Partition(partition)) => Err(not_assigned(&partition)),
            Err(error @ NotAssigned::NegativeOffset(_)) => {
                Err(Error::misuse(format!("cannot seek in {partition}: {error}")))
            }
        }
    }

    fn commit_finished(&mut self, now: Instant, deadline: Instant, reply: Option<Reply<()>>) {
        if self.coordinator.is_none() {
            answer(reply, Err(no_group("commit")));
            return;
        }
        let id = self.offsets.commit(now, offtake_offsets::Commit::Finished, deadline);
        self.await_commit(id, reply);
    }

    fn commit_these(
        &mut self,
        now: Instant,
        offsets: Vec<(TopicPartition, Option<offtake_machine::Token>, OffsetAndMetadata)>,
        deadline: Instant,
        reply: Option<Reply<()>>,
    ) {
        if self.coordinator.is_none() {
            answer(reply, Err(no_group("commit")));
            return;
        }
        let mut these = Vec::with_capacity(offsets.len());
        for (partition, token, offset) in offsets {
            let Some(token) = token.or_else(|| self.offsets.token_of(&partition)) else {
                answer(reply, Err(not_assigned(&partition)));
                return;
            };
            if self.fetch.watermarks(&partition).is_some_and(|log| offset.offset > log.high) {
                let offset = offset.offset;
                tracing::warn!(%partition, offset, "commits an offset beyond the end of the log, as far as it is known");
            }
            these.push((partition, token, offset));
        }
        let id = self.offsets.commit(now, offtake_offsets::Commit::These(these), deadline);
        self.await_commit(id, reply);
    }

    fn await_commit(&mut self, id: CommitId, reply: Option<Reply<()>>) {
        self.commits.insert(id, reply);
    }

    fn close(
        &mut self,
        now: Instant,
        deadline: Instant,
        membership: GroupMembership,
        reply: Option<Reply<()>>,
    ) {
        // Half of the time, so that there is some left to leave the group in.
        let until = now + deadline.saturating_duration_since(now) / 2;
        self.life = Life::Settling { until, deadline, membership, reply };
        self.settle_close(now);
    }
}
