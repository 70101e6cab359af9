//! The consumer from other tasks, and from inside a listener.

mod commits;
mod health;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use offtake_machine::{GroupMetadata, GroupOffsets, PartitionInfo, Topic, TopicPartition};
use tokio::sync::{mpsc, oneshot};

use crate::{
    clock,
    command::{A_MOMENT, Command, ListAt, Reply},
    config::Config,
    error::{self, Error, ErrorKind, Result},
    gauges::PartitionGauges,
    health::Vitals,
    inbox::{Control, Inbox},
    ledgers::Ledgers,
    offsets::{OffsetAndMetadata, OffsetAndTimestamp, StartAt},
    one_or_many::OneOrMany,
    records::Records,
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
        answer.await.map_err(|_| self.inbox.ended())?
    }

    pub(crate) fn send(&self, command: Command) -> Result<()> {
        // The engine may not have heard yet that the consumer is gone.
        if self.inbox.is_gone() {
            return Err(error::closed());
        }
        self.commands.send(command).map_err(|_| self.inbox.ended())
    }

    pub(crate) fn deadline(&self) -> Instant {
        clock::after(self.config.client.default_api_timeout)
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
    /// `UnknownTopic` for a partition that does not exist, once the brokers have said so for 5 s; `Closed`; what kept the leader
    /// from answering.
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
    /// `UnknownTopic` for a partition that does not exist, once the brokers have said so for 5 s; `Closed`; what kept the leader
    /// from answering.
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
    /// `UnknownTopic` for a partition that does not exist, once the brokers have said so for 5 s; `Closed`; what kept the leader
    /// from answering.
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
    /// `UnknownTopic` for a partition that does not exist, once the brokers have said so for 5 s; `Closed`; what kept the leader
    /// from answering.
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
    /// `UnknownTopic` once the brokers have said so twice, `retry.backoff.ms` apart, or with `allow.auto.create.topics` a second
    /// at least, as a topic may just be created. What kept the brokers from answering, after `default.api.timeout.ms`; at once
    /// where waiting cannot help. `Closed`.
    pub async fn partitions_for(&self, topic: impl Into<Topic>) -> Result<BTreeMap<i32, PartitionInfo>> {
        let topic = topic.into();
        let deadline = self.deadline();
        self.ask(|reply| Command::Partitions { topic, deadline, reply }).await
    }

    // ---- what is read --------------------------------------------------------------------------------------------

    /// Reads on from elsewhere, an offset or any other [`StartAt`]; the next record handed out is the one there. May be called as
    /// soon as the partition is assigned, also from a listener. A paused partition stays paused.
    ///
    /// An offset for which the application names no leader epoch is read from whatever log the leader has now, as in Java. But
    /// where everything before is finished the epoch is known: there a truncation of the log is found, and an
    /// [event](crate::Event::Truncated) tells it (KIP-320).
    ///
    /// A partition that is being revoked is still assigned until that is over (the listener has ended), as in Java: nothing
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
            let gauges = gauges.ok_or_else(|| self.vitals.explain(error::not_assigned(&partition)))?;
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
        if self.is_closed() { Err(error::closed()) } else { Ok(()) }
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
    /// Of a partition that is being revoked: the offset after the last record that was handed out, until that is over.
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

    /// The [`lag`](Self::lag) of every partition that is [assigned](Self::assignment).
    pub fn lags(&self) -> BTreeMap<TopicPartition, Option<u64>> {
        self.view.lags()
    }

    // ---- the group -----------------------------------------------------------------------------------------------

    /// As whom the group knows this consumer now: what a producer commits offsets with in a transaction (KIP-447).
    ///
    /// # Errors
    /// `Misuse` without a `group.id`. `NotOwned` while a subscribed consumer is no member that may commit: before it has
    /// joined, during a rebalance of which it has lost its partitions, after it has left.
    pub async fn group_metadata(&self) -> Result<GroupMetadata> {
        self.ask(|reply| Command::GroupMetadata { reply }).await
    }

    /// That these records are finished, and all that came before them in their partitions, for a producer that says so in a transaction
    /// (`Transaction::send_offsets` of `offtake-producer`): the offsets, and as whom this consumer commits them (KIP-447). Take it for the
    /// transaction in which the records were handled: a group that rebalances later refuses it.
    ///
    /// # Errors
    /// `NotOwned` if a partition was given up since, or the consumer is no member that may commit. `Misuse` without a `group.id`, with
    /// `enable.auto.commit`, which would commit outside the transaction, and of a consumer whose records are finished one by one.
    pub async fn offsets_for_transaction(&self, records: &Records) -> Result<GroupOffsets> {
        if self.config.enable_auto_commit {
            return Err(Error::misuse(
                "this consumer commits by itself, outside of any transaction: set `enable.auto.commit` to false",
            ));
        }
        let offsets = self.offsets_behind(records)?;
        self.ask(|reply| Command::GroupOffsets { offsets, reply }).await
    }

    /// Asks the group for a rebalance (KIP-568): the member joins again, with the next `poll` where partitions have to be
    /// given up first. Without effect while it is joining anyway.
    ///
    /// # Errors
    /// `Misuse` while nothing is subscribed to, and with `group.protocol=consumer`, where the coordinator alone decides.
    pub async fn enforce_rebalance(&self) -> Result<()> {
        self.ask(|reply| Command::EnforceRebalance { reply }).await
    }

    // ---- the end -------------------------------------------------------------------------------------------------

    /// Closes the consumer from elsewhere: as [`Consumer::close`](crate::Consumer::close), but inside of its `poll`, on the task
    /// that calls it. That commits what is finished if `enable.auto.commit` is on, runs the listener's `revoked`, leaves the
    /// group, and then fails with `Closed`, as every later call does; a stream ends. The records of the last `poll` count as
    /// finished where the next `poll` would have said so. A consumer that is closed already stays so, and this is `Ok`.
    ///
    /// A listener that waits for this waits in vain, for `poll` waits for the listener.
    ///
    /// # Errors
    /// `Timeout` where nothing has called `poll` within `timeout`, or it was not done with it: then the engine leaves the group
    /// by itself, within a second, without the listener. What the listener failed with comes out of the `poll`. A last commit that
    /// is not confirmed is logged, and told by `Event::Error`; this is `Ok` all the same.
    pub async fn close(&self, timeout: Duration) -> Result<()> {
        if self.is_closed() {
            return Ok(());
        }
        let deadline = clock::after(timeout.max(A_MOMENT));
        self.inbox.set_closing();
        let (reply, answer) = oneshot::channel();
        self.inbox.send_control(Control::Close { deadline, reply });
        // Whoever closed it, it is closed when its engine has ended.
        let closed = async {
            tokio::select! {
                biased;
                Ok(Err(error)) = answer => Err(error),
                () = self.commands.closed() => Ok(()),
            }
        };
        clock::timeout_at(deadline, closed).await.unwrap_or_else(|| {
            let commits = self.config.enable_auto_commit && self.config.group_id.is_some();
            if let Some(ledgers) = self.ledgers.as_ref().filter(|_| commits) {
                ledgers.report(|positions| drop(self.send(Command::Finished { positions })));
            }
            let _ = self.send(Command::Abandon { commits });
            let message = "the consumer was not closed in time: nothing has polled it, or its listener or the coordinator \
                           took longer; it leaves its group by itself, within a second";
            Err(Error::new(ErrorKind::Timeout, message))
        })
    }

    /// Whether there is no engine any more.
    pub(crate) fn is_engine_gone(&self) -> bool {
        self.commands.is_closed()
    }

    /// Whether the consumer was closed or dropped, or its engine has ended.
    pub fn is_closed(&self) -> bool {
        self.inbox.is_gone() || self.commands.is_closed()
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
