//! The consumer from other tasks, and from inside a listener.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use offtake_machine::{PartitionInfo, Position, Topic, TopicPartition};
use tokio::sync::{mpsc, oneshot};

use crate::{
    clock,
    config::Config,
    engine::{
        command::{Command, ListAt, Reply},
        not_assigned,
    },
    error::{Error, ErrorKind, Result},
    gauges::PartitionGauges,
    health::Vitals,
    inbox::{Control, Inbox},
    ledgers::Ledgers,
    offsets::{OffsetAndMetadata, OffsetAndTimestamp, StartAt},
    one_or_many::OneOrMany,
    view::Viewer,
};

/// Speaks to a consumer's engine from any task. Cheap to clone; keeps nothing alive: once the consumer is closed or
/// dropped, every call answers [`ErrorKind::Closed`](crate::ErrorKind::Closed),
/// and there is nothing to read.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) config: Arc<Config>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) view: Viewer,
    /// How often anybody has resumed partitions: the consumer looks at them again when it changes.
    pub(crate) resumes: Arc<AtomicU64>,
    /// Of a consumer whose records are finished one by one.
    pub(crate) ledgers: Option<Arc<Ledgers>>,
    /// What the engine notes of how it fares.
    pub(crate) vitals: Arc<Vitals>,
}

impl Handle {
    /// Sends a command and waits for its answer. Dropping the future does not undo the command.
    pub(crate) async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.send(command(reply))?;
        answer.await.map_err(|_| self.ended())?
    }

    pub(crate) fn send(&self, command: Command) -> Result<()> {
        // The engine may not have heard yet that the consumer is gone.
        if self.inbox.is_gone() {
            return Err(Error::closed());
        }
        self.commands.send(command).map_err(|_| self.ended())
    }

    /// Why there is no engine.
    fn ended(&self) -> Error {
        if self.inbox.is_closing() { Error::closed() } else { Error::engine_ended() }
    }

    pub(crate) fn deadline(&self) -> Instant {
        clock::after(self.config.default_api_timeout)
    }

    /// Commits exactly these offsets, retrying for `default.api.timeout.ms`. It is not checked here whether they were
    /// handed out: what is committed too high is read by nobody.
    ///
    /// # Errors
    /// `NotOwned` if a partition is not assigned to this consumer (nothing is sent then), `CommitFailed` where the
    /// group refused; [`Error::commit_report`] tells partition by partition.
    pub async fn commit_offsets<P: Into<TopicPartition>, O: Into<OffsetAndMetadata>>(
        &self,
        offsets: impl IntoIterator<Item = (P, O)>,
    ) -> Result<()> {
        self.commit_offsets_within(offsets, self.config.default_api_timeout).await
    }

    /// The same, retrying until `timeout` has passed.
    pub async fn commit_offsets_within<P: Into<TopicPartition>, O: Into<OffsetAndMetadata>>(
        &self,
        offsets: impl IntoIterator<Item = (P, O)>,
        timeout: Duration,
    ) -> Result<()> {
        let offsets: Vec<_> = converted(offsets);
        let offsets = offsets.into_iter().map(|(partition, offset)| (partition, None, offset)).collect();
        let deadline = clock::after(timeout);
        self.ask(|reply| Command::CommitThese { offsets, deadline, reply: Some(reply) }).await
    }

    /// Commits what is finished by now of a consumer whose records are finished one by one; from a listener too, when
    /// those who were at work have ended.
    ///
    /// # Errors
    /// As [`commit_offsets`](Self::commit_offsets); and `Misuse` unless it was built with
    /// [`finish_each`](crate::Builder::finish_each), for otherwise only the consumer itself knows what is finished.
    pub async fn commit_finished(&self) -> Result<()> {
        self.check_open()?;
        let Some(ledgers) = &self.ledgers else {
            return Err(Error::misuse(
                "commit_finished through a handle needs a consumer that was built with finish_each: call the consumer's own",
            ));
        };
        ledgers.report(|positions| drop(self.send(Command::Finished { positions })));
        let deadline = self.deadline();
        self.ask(|reply| Command::CommitFinished { deadline, reply: Some(reply) }).await
    }

    // ---- questions to the brokers: each ends within `default.api.timeout.ms` --------------------------------------

    /// The group's committed offsets; partitions without one are absent.
    ///
    /// # Errors
    /// `Misuse` without a `group.id`; `Closed`; what kept the coordinator from answering.
    pub async fn committed<S>(
        &self,
        partitions: impl OneOrMany<TopicPartition, S>,
    ) -> Result<BTreeMap<TopicPartition, OffsetAndMetadata>> {
        let partitions = partitions.into_items();
        let deadline = self.deadline();
        self.ask(|reply| Command::Committed { partitions, deadline, reply }).await
    }

    /// The offset of the first record of each partition, or of where it would be.
    ///
    /// # Errors
    /// `Closed`; what kept the leaders from answering.
    pub async fn beginning_offsets<S>(
        &self,
        partitions: impl OneOrMany<TopicPartition, S>,
    ) -> Result<BTreeMap<TopicPartition, i64>> {
        self.ends(self.deadline(), partitions.into_items(), ListAt::Earliest).await
    }

    /// The offset after the last record of each partition: the high watermark, or under read_committed the last stable
    /// offset.
    ///
    /// # Errors
    /// `Closed`; what kept the leaders from answering.
    pub async fn end_offsets<S>(
        &self,
        partitions: impl OneOrMany<TopicPartition, S>,
    ) -> Result<BTreeMap<TopicPartition, i64>> {
        self.ends(self.deadline(), partitions.into_items(), ListAt::Latest).await
    }

    async fn ends(
        &self,
        deadline: Instant,
        partitions: Vec<TopicPartition>,
        at: ListAt,
    ) -> Result<BTreeMap<TopicPartition, i64>> {
        let partitions = partitions.into_iter().map(|partition| (partition, at)).collect();
        let listed = self.ask(|reply| Command::List { partitions, deadline, reply }).await?;
        Ok(listed.into_iter().map(|(partition, at)| (partition, at.offset)).collect())
    }

    /// First and next offset of a partition, asked of its leader.
    ///
    /// # Errors
    /// `Closed`; what kept the leader from answering.
    pub async fn watermarks(&self, partition: impl Into<TopicPartition>) -> Result<(i64, i64)> {
        let partition = partition.into();
        // One deadline for both questions.
        let deadline = self.deadline();
        let first = self.ends(deadline, vec![partition.clone()], ListAt::Earliest).await?;
        let next = self.ends(deadline, vec![partition.clone()], ListAt::Latest).await?;
        match (first.get(&partition), next.get(&partition)) {
            (Some(first), Some(next)) => Ok((*first, *next)),
            _ => Err(Error::new(ErrorKind::Malformed, format!("the broker told no offsets of {partition}"))),
        }
    }

    /// The first record of each partition with this timestamp (milliseconds since 1970) or a later one; partitions
    /// that have none are absent.
    ///
    /// # Errors
    /// `Closed`; what kept the leaders from answering.
    pub async fn offsets_for_times<P: Into<TopicPartition>>(
        &self,
        times: impl IntoIterator<Item = (P, i64)>,
    ) -> Result<BTreeMap<TopicPartition, OffsetAndTimestamp>> {
        let partitions =
            times.into_iter().map(|(partition, at)| (partition.into(), ListAt::Timestamp(at))).collect();
        let deadline = self.deadline();
        self.ask(|reply| Command::List { partitions, deadline, reply }).await
    }

    /// The topic's partitions and who leads them.
    ///
    /// # Errors
    /// `UnknownTopic` or what kept the brokers from answering, after `default.api.timeout.ms`; at once where waiting
    /// cannot help. `Closed`.
    pub async fn partitions_for(&self, topic: impl Into<Topic>) -> Result<BTreeMap<i32, PartitionInfo>> {
        let topic = topic.into();
        let deadline = self.deadline();
        self.ask(|reply| Command::Partitions { topic, deadline, reply }).await
    }

    // ---- what is read --------------------------------------------------------------------------------------------

    /// Reads on from elsewhere, an offset or any other [`StartAt`]; the next record handed out is the one there. May be called as soon as the partition is
    /// assigned, also from a listener. A paused partition stays paused.
    ///
    /// A partition that is being revoked is still assigned until it is released (the listener has ended), as in Java: nothing
    /// more of it is handed out, but a commit of what is finished commits where it was sought to.
    ///
    /// # Errors
    /// `NotOwned` if the partition is not assigned to this consumer, `Misuse` for a negative offset.
    pub async fn seek(&self, partition: impl Into<TopicPartition>, at: impl Into<StartAt>) -> Result<()> {
        let (partition, at) = (partition.into(), at.into());
        self.ask(|reply| Command::Seek { partition, at, reply }).await?;
        Ok(())
    }

    /// Hands out nothing more of these until [`resume`](Self::resume) or until they change hands: a pause belongs to one
    /// assignment. In force when the call returns, for every `poll` that begins then; what is buffered is kept, unless its
    /// memory is needed for others, and comes later.
    ///
    /// # Errors
    /// `NotOwned` if any of them is not assigned to this consumer, as far as `poll` has told; none is paused then.
    pub fn pause<S>(&self, partitions: impl OneOrMany<TopicPartition, S>) -> Result<()> {
        self.set_paused(partitions.into_items(), true)
    }

    /// The same of all that are [assigned](Self::assignment).
    ///
    /// # Errors
    /// `Closed`.
    pub fn pause_all(&self) -> Result<()> {
        self.set_all_paused(true)
    }

    /// Hands them out again.
    ///
    /// # Errors
    /// `NotOwned` if any of them is not assigned to this consumer, as far as `poll` has told; none is resumed then.
    pub fn resume<S>(&self, partitions: impl OneOrMany<TopicPartition, S>) -> Result<()> {
        self.set_paused(partitions.into_items(), false)
    }

    /// The same of all that are [assigned](Self::assignment).
    ///
    /// # Errors
    /// `Closed`.
    pub fn resume_all(&self) -> Result<()> {
        self.set_all_paused(false)
    }

    /// A partition that goes while this runs is none of them.
    fn set_all_paused(&self, is_paused: bool) -> Result<()> {
        self.check_open()?;
        let owned = |partition: TopicPartition| Some((self.view.gauges(&partition)?, partition));
        let these = self.assignment().into_iter().filter_map(owned);
        self.show_paused(these.map(|(gauges, partition)| (partition, gauges)).collect(), is_paused)
    }

    fn set_paused(&self, partitions: Vec<TopicPartition>, is_paused: bool) -> Result<()> {
        self.check_open()?;
        let found = partitions.into_iter().map(|partition| {
            let gauges = self.view.gauges(&partition).filter(|gauges| !gauges.is_leaving());
            let gauges = gauges.ok_or_else(|| not_assigned(&partition))?;
            Ok((partition, gauges))
        });
        self.show_paused(found.collect::<Result<_>>()?, is_paused)
    }

    fn show_paused(&self, these: Vec<(TopicPartition, Arc<PartitionGauges>)>, is_paused: bool) -> Result<()> {
        these.iter().for_each(|(_, gauges)| gauges.set_paused(is_paused));
        // Said after it is done, and without saying what: however two calls cross, the last word is what the engine finds.
        let partitions = these.into_iter().map(|(partition, _)| partition).collect();
        self.send(Command::PausesChanged { partitions })?;
        if !is_paused {
            self.resumes.fetch_add(1, Ordering::AcqRel);
            self.inbox.send_control(Control::LookAgain);
        }
        Ok(())
    }

    fn check_open(&self) -> Result<()> {
        if self.inbox.is_gone() { Err(Error::closed()) } else { Ok(()) }
    }

    // Read without a message: also from a listener, and while `poll` runs.

    /// The partitions that the consumer owns and hands records out of, as far as `poll` has told. Those that are being
    /// revoked are not among them, though they can be committed until their listener has ended: it is told which they are.
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.view.owned(|_| true)
    }

    /// Those of them that are paused.
    pub fn paused(&self) -> Vec<TopicPartition> {
        self.view.owned(PartitionGauges::is_paused)
    }

    /// The offset that `poll` hands out next; `None` while it is not known yet, or the partition is not the consumer's.
    /// Of a partition that is being revoked: the offset after the last record that was handed out, until it is released.
    pub fn position(&self, partition: impl Into<TopicPartition>) -> Option<i64> {
        self.view.gauges(&partition.into())?.position()
    }

    /// How many records of a partition are still to be handed out, those that wait in this client among them: the
    /// distance in offsets from the [position](Self::position) to the newest end of the log that any answer has told (the
    /// last stable offset under read_committed, the high watermark otherwise). `None` before the first answer, and while the
    /// position is not known.
    pub fn lag(&self, partition: impl Into<TopicPartition>) -> Option<u64> {
        self.view.gauges(&partition.into())?.lag()
    }

    /// Makes the running `poll`, or the next, return at once, with no records if there are none; also while no broker
    /// answers. Only a listener that runs inside of `poll` is waited for.
    ///
    /// # Errors
    /// `Closed`.
    pub fn wake(&self) -> Result<()> {
        self.check_open()?;
        self.inbox.send_control(Control::Wake);
        Ok(())
    }
}

/// Offsets to commit, however the caller has them.
pub(crate) fn converted<P: Into<TopicPartition>, O: Into<OffsetAndMetadata>>(
    offsets: impl IntoIterator<Item = (P, O)>,
) -> Vec<(TopicPartition, OffsetAndMetadata)> {
    offsets.into_iter().map(|(partition, offset)| (partition.into(), offset.into())).collect()
}

/// Where a seek leads, if no broker has to be asked.
pub(crate) fn known_offset(at: &StartAt) -> Option<Position> {
    match at {
        StartAt::Offset(position) => Some(*position),
        _ => None,
    }
}
