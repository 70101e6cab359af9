//! Controls the consumer from other tasks, and from inside a listener.

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
    command::{Command, ListAt, Reply, SHORTEST_CLOSE},
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

/// Controls a consumer's engine from any task. Cheap to clone. It keeps nothing alive: once the consumer is
/// closed or dropped, every call returns [`ErrorKind::Closed`](crate::ErrorKind::Closed), and there is
/// nothing to read.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) config: Arc<Config>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) view: Viewer,
    /// How often partitions have been resumed: the consumer looks at them again when this changes.
    pub(crate) resumes: Arc<AtomicU64>,
    /// Set for a consumer whose records are finished one by one.
    pub(crate) ledgers: Option<Arc<Ledgers>>,
    /// The engine's health data.
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
        // The engine may not know yet that the consumer is gone.
        if self.inbox.is_gone() {
            return Err(error::closed());
        }
        self.commands.send(command).map_err(|_| self.inbox.ended())
    }

    pub(crate) fn deadline(&self) -> Instant {
        clock::after(self.config.client.default_api_timeout)
    }

    // ---- queries to the brokers: each ends within `default.api.timeout.ms` -------------------------------------

    /// The group's committed offsets; partitions without one are absent.
    ///
    /// # Errors
    /// `Misuse` without a `group.id`; `Closed`; the error that kept the coordinator from answering.
    pub async fn committed<S>(
        &self,
        partitions: impl OneOrMany<TopicPartition, S>,
    ) -> Result<BTreeMap<TopicPartition, OffsetAndMetadata>> {
        let partitions = partitions.into_items();
        let deadline = self.deadline();
        self.ask(|reply| Command::Committed { partitions, deadline, reply }).await
    }

    /// The offset of the first record of each partition; of an empty one, the offset that its first record
    /// would have.
    ///
    /// # Errors
    /// `UnknownTopic` for a partition that does not exist, once the brokers have reported that for 5 s;
    /// `Closed`; the error that kept the leader from answering.
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
    /// `UnknownTopic` for a partition that does not exist, once the brokers have reported that for 5 s;
    /// `Closed`; the error that kept the leader from answering.
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

    /// The first and the next offset of a partition, requested from its leader.
    ///
    /// # Errors
    /// `UnknownTopic` for a partition that does not exist, once the brokers have reported that for 5 s;
    /// `Closed`; the error that kept the leader from answering.
    pub async fn watermarks(&self, partition: impl Into<TopicPartition>) -> Result<(i64, i64)> {
        let partition = partition.into();
        // One deadline for both queries.
        let deadline = self.deadline();
        let first = self.ends(deadline, vec![partition.clone()], ListAt::Earliest).await?;
        let next = self.ends(deadline, vec![partition.clone()], ListAt::Latest).await?;
        match (first.get(&partition), next.get(&partition)) {
            (Some(first), Some(next)) => Ok((*first, *next)),
            _ => Err(Error::new(
                ErrorKind::Malformed,
                format!("the broker returned no offsets of {partition}"),
            )),
        }
    }

    /// The first record of each partition with this timestamp (milliseconds since 1970) or a later one; partitions
    /// that have none are absent.
    ///
    /// # Errors
    /// `UnknownTopic` for a partition that does not exist, once the brokers have reported that for 5 s;
    /// `Closed`; the error that kept the leader from answering.
    pub async fn offsets_for_times<P: Into<TopicPartition>>(
        &self,
        times: impl IntoIterator<Item = (P, i64)>,
    ) -> Result<BTreeMap<TopicPartition, OffsetAndTimestamp>> {
        let partitions =
            times.into_iter().map(|(partition, at)| (partition.into(), ListAt::Timestamp(at))).collect();
        let deadline = self.deadline();
        self.ask(|reply| Command::List { partitions, deadline, reply }).await
    }

    /// The topic's partitions and their leaders.
    ///
    /// # Errors
    /// `UnknownTopic` once the brokers have reported it twice, `retry.backoff.ms` apart, or with
    /// `allow.auto.create.topics` for at least a second, as a topic may just be being created. Other errors
    /// of the brokers after `default.api.timeout.ms`, or at once if waiting cannot help. `Closed`.
    pub async fn partitions_for(&self, topic: impl Into<Topic>) -> Result<BTreeMap<i32, PartitionInfo>> {
        let topic = topic.into();
        let deadline = self.deadline();
        self.ask(|reply| Command::Partitions { topic, deadline, reply }).await
    }

    // ---- reading -----------------------------------------------------------------------------------------------

    /// Moves the position of a partition to an offset or any other [`StartAt`]; the next record handed out is
    /// the one there. It may be called as soon as the partition is assigned, also from a listener. A paused
    /// partition stays paused.
    ///
    /// If the application gives no leader epoch for an offset, whatever log the leader has now is read, as in
    /// Java. But where everything before is finished, the epoch is known: there a truncation of the log is
    /// detected, and reported by an [event](crate::Event::Truncated) (KIP-320).
    ///
    /// A partition that is being revoked is still assigned until the revocation ends (the listener has
    /// ended), as in Java: nothing more of it is handed out, but a commit of what is finished commits the
    /// offset of the seek.
    ///
    /// # Errors
    /// `NotOwned` if the partition is not assigned to this consumer, `Misuse` for a negative offset.
    pub async fn seek(&self, partition: impl Into<TopicPartition>, at: impl Into<StartAt>) -> Result<()> {
        let (partition, at) = (partition.into(), at.into());
        self.ask(|reply| Command::Seek { partition, at, reply }).await?;
        Ok(())
    }

    /// Hands out nothing more of these until [`resume`](Self::resume) or until they are reassigned: a pause
    /// belongs to one assignment. It is in force when the call returns, for every `poll` that begins then.
    /// Buffered records are kept and handed out after the resume, unless others need their memory.
    ///
    /// # Errors
    /// `NotOwned` if any of them is not assigned to this consumer, as of the last `poll`; none is paused
    /// then.
    pub fn pause<S>(&self, partitions: impl OneOrMany<TopicPartition, S>) -> Result<()> {
        self.set_paused(partitions.into_items(), true)
    }

    /// The same for all that are [assigned](Self::assignment).
    ///
    /// # Errors
    /// `Closed`.
    pub fn pause_all(&self) -> Result<()> {
        self.set_all_paused(true)
    }

    /// Hands these out again.
    ///
    /// # Errors
    /// `NotOwned` if any of them is not assigned to this consumer, as of the last `poll`; none is resumed
    /// then.
    pub fn resume<S>(&self, partitions: impl OneOrMany<TopicPartition, S>) -> Result<()> {
        self.set_paused(partitions.into_items(), false)
    }

    /// The same for all that are [assigned](Self::assignment).
    ///
    /// # Errors
    /// `Closed`.
    pub fn resume_all(&self) -> Result<()> {
        self.set_all_paused(false)
    }

    /// A partition that is revoked while this runs is not affected.
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
        // Sent after the change, and without its content: however two calls overlap, the engine finds the
        // last state.
        let partitions = these.into_iter().map(|(partition, _)| partition).collect();
        self.send(Command::PausesChanged { partitions })?;
        if !is_paused {
            self.resumes.fetch_add(1, Ordering::AcqRel);
            self.inbox.send_control(Control::Recheck);
        }
        Ok(())
    }

    fn check_open(&self) -> Result<()> {
        if self.is_closed() { Err(error::closed()) } else { Ok(()) }
    }

    // Reads shared state, without a message: also from a listener, and while `poll` runs.

    /// The partitions that the consumer owns and hands out records of, as of the last `poll`. Those that are
    /// being revoked are not included, though they can be committed until their listener has ended, which
    /// receives their names.
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.view.owned(|_| true)
    }

    /// The paused ones among the assigned partitions.
    pub fn paused(&self) -> Vec<TopicPartition> {
        self.view.owned(PartitionGauges::is_paused)
    }

    /// The offset that `poll` hands out next; `None` while it is not known yet, or if the partition is not
    /// the consumer's. For a partition that is being revoked, until the revocation ends: the offset after the
    /// last record that was handed out, or that of a later seek.
    pub fn position(&self, partition: impl Into<TopicPartition>) -> Option<i64> {
        self.view.gauges(&partition.into())?.position()
    }

    /// The number of records of a partition that are still to be handed out, including those buffered in this
    /// client: the distance in offsets from the [position](Self::position) to the latest known end of the log
    /// (the last stable offset under read_committed, the high watermark otherwise). `None` before the first
    /// fetch response, and while the position is not known.
    pub fn lag(&self, partition: impl Into<TopicPartition>) -> Option<u64> {
        self.view.gauges(&partition.into())?.lag()
    }

    /// The [`lag`](Self::lag) of every partition that is [assigned](Self::assignment).
    pub fn lags(&self) -> BTreeMap<TopicPartition, Option<u64>> {
        self.view.lags()
    }

    // ---- the group -----------------------------------------------------------------------------------------------

    /// The current group metadata of this consumer, with which a producer commits offsets in a transaction
    /// (KIP-447).
    ///
    /// # Errors
    /// `Misuse` without a `group.id`. `NotOwned` while a subscribed consumer is no member that may commit:
    /// before it has joined, during a rebalance in which it has lost its partitions, after it has left.
    pub async fn group_metadata(&self) -> Result<GroupMetadata> {
        self.ask(|reply| Command::GroupMetadata { reply }).await
    }

    /// The offsets that mark these records, and all before them in their partitions, as finished, for a
    /// producer to commit in a transaction (`Transaction::send_offsets` of `offtake-producer`), with the
    /// group metadata of this consumer (KIP-447). Take it for the transaction in which the records were
    /// processed: a group that rebalances later refuses it.
    ///
    /// # Errors
    /// `NotOwned` if a partition was given up since, or if the consumer is no member that may commit.
    /// `Misuse` without a `group.id`, with `enable.auto.commit`, which would commit outside the transaction,
    /// and for a consumer whose records are finished one by one.
    pub async fn offsets_for_transaction(&self, records: &Records) -> Result<GroupOffsets> {
        if self.config.enable_auto_commit {
            return Err(Error::misuse(
                "this consumer commits by itself, outside of any transaction: set `enable.auto.commit` to false",
            ));
        }
        let offsets = self.offsets_behind(records)?;
        self.ask(|reply| Command::GroupOffsets { offsets, reply }).await
    }

    /// Asks the group for a rebalance (KIP-568): the member rejoins, with the next `poll` if partitions have
    /// to be given up first. Without effect while it is joining anyway.
    ///
    /// # Errors
    /// `Misuse` while nothing is subscribed to, and with `group.protocol=consumer`, where the coordinator alone decides.
    pub async fn enforce_rebalance(&self) -> Result<()> {
        self.ask(|reply| Command::EnforceRebalance { reply }).await
    }

    // ---- closing -----------------------------------------------------------------------------------------------

    /// Closes the consumer from another task: as [`Consumer::close`](crate::Consumer::close), but inside its
    /// `poll`, on the task that calls `poll`. That `poll` commits what is finished if `enable.auto.commit` is
    /// on, runs the listener's `revoked`, leaves the group, and then returns `Closed`, as every later call
    /// does; a stream ends. The records of the last `poll` count as finished if the next `poll` would have
    /// finished them. A consumer that is closed already stays closed, and this returns `Ok`.
    ///
    /// A listener must not wait for this, because `poll` waits for the listener.
    ///
    /// # Errors
    /// `Timeout` if nothing has called `poll` within `timeout`, or if it did not finish in that time: then
    /// the engine leaves the group by itself, within a second, without the listener. The listener's error is
    /// returned by `poll`. A last commit that is not confirmed is logged, and reported by `Event::Error`;
    /// this returns `Ok` even so.
    pub async fn close(&self, timeout: Duration) -> Result<()> {
        if self.is_closed() {
            return Ok(());
        }
        let deadline = clock::after(timeout.max(SHORTEST_CLOSE));
        self.inbox.set_closing();
        let (reply, answer) = oneshot::channel();
        self.inbox.send_control(Control::Close { deadline, reply });
        // Whichever call closed it, it is closed when its engine has ended.
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

    /// Whether the engine has ended.
    pub(crate) fn is_engine_gone(&self) -> bool {
        self.commands.is_closed()
    }

    /// Whether the consumer was closed or dropped, or its engine has ended.
    pub fn is_closed(&self) -> bool {
        self.inbox.is_gone() || self.commands.is_closed()
    }

    /// Makes the running `poll`, or the next, return at once, with no records if there are none; also while
    /// no broker responds. Only a listener that runs inside `poll` is waited for.
    ///
    /// # Errors
    /// `Closed`.
    pub fn wake(&self) -> Result<()> {
        self.check_open()?;
        self.inbox.send_control(Control::Wake);
        Ok(())
    }
}
