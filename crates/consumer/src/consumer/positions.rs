//! Offsets and positions: what the application sets and queries.

use std::{collections::BTreeMap, time::Duration};

use offtake_machine::{PartitionInfo, Token, Topic, TopicPartition};
use tokio::sync::oneshot;

use super::{Consumer, Running, subscribing::compile};
use crate::{
    clock,
    command::{CLOSING_COMMIT, Command, CommitBy},
    committing::Committing,
    error::{Error, ErrorKind, Result, not_assigned},
    offsets::{OffsetAndMetadata, OffsetAndTimestamp, OffsetToCommit, StartAt, known_offset},
    one_or_many::OneOrMany,
    records::{Delivered, PartitionRecords, Records},
};

impl Consumer {
    /// Commits that these records, and all before them in their partitions, are finished; retries for
    /// `default.api.timeout.ms`.
    ///
    /// # Errors
    /// `NotOwned` if a partition was given up since (nothing is sent for it), `CommitFailed` if the group
    /// refused: the records will be delivered again, perhaps to another member. [`Error::commit_report`] has
    /// the result of each partition. `Authorization`, at once, if the client may not use the group.
    /// `Misuse` for a consumer whose records are finished one by one.
    pub async fn commit(&mut self, records: &Records) -> Result<()> {
        self.commit_within(records, self.handle.config.client.default_api_timeout).await
    }

    /// The same, retrying until `timeout` has passed.
    pub async fn commit_within(&mut self, records: &Records, timeout: Duration) -> Result<()> {
        self.begin_commit(records, timeout)?.await
    }

    /// The same without waiting: the commit continues by itself, whether the returned value is awaited or
    /// dropped. Later commits of the same partitions wait for it, so that it never overwrites one of them.
    /// They are merged into one, with the highest offset, when it is answered.
    ///
    /// # Errors
    /// `Closed`, and `Misuse` as for [`commit`](Self::commit).
    pub fn commit_async(&mut self, records: &Records) -> Result<Committing> {
        self.begin_commit(records, self.handle.config.client.default_api_timeout)
    }

    fn begin_commit(&mut self, records: &Records, timeout: Duration) -> Result<Committing> {
        let offsets = self.handle.offsets_behind(records)?;
        for part in &records.parts {
            self.progress.finish(part.record_position());
        }
        self.send_commit(offsets, timeout)
    }

    fn send_commit(
        &self,
        offsets: Vec<(TopicPartition, Option<Token>, OffsetAndMetadata)>,
        timeout: Duration,
    ) -> Result<Committing> {
        let deadline = clock::after(timeout);
        let (reply, answer) = oneshot::channel();
        self.handle.send(Command::CommitThese { offsets, deadline, reply: Some(reply) })?;
        Ok(Committing::new(answer, self.reporter.clone()))
    }

    /// Commits everything that is finished: what was stored or finished one by one, or with
    /// `enable.auto.offset.store` (the default) what `poll` has handed out so far.
    ///
    /// # Errors
    /// As [`commit`](Self::commit). `NotOwned` too if the group has taken a partition away, of which something is finished and not committed, and
    /// the application has not been told, or is still handling that (`lost`, `Next::Lost`): its records are delivered again. (Java's `commitSync` throws `CommitFailedException`.)
    pub async fn commit_finished(&mut self) -> Result<()> {
        self.commit_finished_within(self.handle.config.client.default_api_timeout).await
    }

    /// The same, retrying until `timeout` has passed.
    pub async fn commit_finished_within(&mut self, timeout: Duration) -> Result<()> {
        self.finish_passed();
        self.report_finished();
        let deadline = clock::after(timeout);
        self.handle
            .ask(|reply| Command::CommitFinished { deadline, by: CommitBy::Application, reply: Some(reply) })
            .await
    }

    /// Commits exactly these offsets, `(&partition, 42)`, `[(("orders", 0), 42)]`, or with an [`OffsetAndMetadata`] each, retrying
    /// for `default.api.timeout.ms`.
    ///
    /// # Errors
    /// As [`Handle::commit_offsets`](crate::Handle::commit_offsets).
    pub async fn commit_offsets<S>(&mut self, offsets: impl OneOrMany<OffsetToCommit, S>) -> Result<()> {
        self.commit_offsets_within(offsets, self.handle.config.client.default_api_timeout).await
    }

    /// The same, retrying until `timeout` has passed.
    pub async fn commit_offsets_within<S>(
        &mut self,
        offsets: impl OneOrMany<OffsetToCommit, S>,
        timeout: Duration,
    ) -> Result<()> {
        self.handle.commit_offsets_within(offsets, timeout).await
    }

    /// The same without waiting, as [`commit_async`](Self::commit_async) does.
    ///
    /// # Errors
    /// `Closed`, and `Misuse` as for [`commit_offsets`](Self::commit_offsets). Other errors are returned with
    /// the result.
    pub fn commit_offsets_async<S>(
        &mut self,
        offsets: impl OneOrMany<OffsetToCommit, S>,
    ) -> Result<Committing> {
        let offsets = self.handle.check_offsets(offsets)?;
        self.send_commit(offsets, self.handle.config.client.default_api_timeout)
    }

    /// Marks everything **up to and including** this as finished: the next commit, periodic or by
    /// [`commit_finished`](Self::commit_finished), includes it. Useful with `enable.auto.offset.store=false`,
    /// if records are finished in order; if they are not, see [`finish_each`](crate::Builder::finish_each). For a partition that is being given up
    /// ([`Next::Revoking`](crate::Next::Revoking)) that commit, if `enable.auto.commit` is on, is begun at once.
    ///
    /// # Errors
    /// `NotOwned` if its partition was given up since, or if a seek went to before it, or if the cluster has
    /// lost the record and moved the position back before it. `Misuse` for a consumer whose records are
    /// finished one by one.
    pub fn store(&mut self, delivered: &impl Delivered) -> Result<()> {
        self.handle.check_up_to("store")?;
        let place = delivered.record_position();
        if !self.delivery.owns(&place.partition, place.token) {
            return Err(self.handle.vitals.explain(not_assigned(&place.partition)));
        }
        self.handle.check_not_moved_back(&place)?;
        if self.delivery.is_sought_before(&place) {
            let (partition, next) = (&place.partition, place.next.offset);
            let message = format!(
                "{partition} goes on before offset {next}, as it was sought or its topic created again since it was handed out"
            );
            return Err(Error::new(ErrorKind::NotOwned, message).with_partition(partition.clone()));
        }
        let giving_up = self.handed_out.as_ref().or_else(|| self.running.as_ref().map(Running::pending));
        let Some(change) = giving_up.filter(|change| change.gives_up(&place.partition)) else {
            self.progress.finish(place);
            return Ok(());
        };
        // Its end is the last moment for a commit, and the end forgets what is stored.
        let commits = self.commits_by_itself();
        let partition = place.partition.clone();
        let stored = change.clone().unless_over(|| {
            self.progress.finish(place);
            if commits {
                self.progress.report(&self.handle);
                let deadline = clock::after(CLOSING_COMMIT);
                let _ = self.handle.send(Command::CommitFinished {
                    deadline,
                    by: CommitBy::Consumer,
                    reply: None,
                });
            }
        });
        stored.ok_or_else(|| not_assigned(&partition))
    }

    /// The application has not received the records of the last `poll` yet: if `poll` marks records as
    /// finished, it leaves these out, until the `poll` (commit, close) after
    /// [`hand_out_withheld`](Self::hand_out_withheld).
    #[doc(hidden)] // for the gate of typed values, whose own `poll` may be dropped while it looks through them
    pub fn withhold(&mut self) {
        self.progress.withhold();
    }

    /// The application has now received all of these, except those of partitions that were sought or given up
    /// since.
    #[doc(hidden)]
    pub fn hand_out_withheld(&mut self) {
        self.progress.hand_out_withheld();
    }

    /// Whether reading continues after these records: their partition was neither sought nor given up since
    /// they were handed out.
    #[doc(hidden)]
    pub fn is_current(&self, records: &PartitionRecords) -> bool {
        self.delivery.is_current(&records.partition, records.token)
    }

    /// Moves the position of a partition to an offset or any other [`StartAt`]; the next record handed out is
    /// the one there, and no record fetched before is handed out. It may be called as soon as the partition
    /// is assigned, also from a listener (through its [`Handle`](crate::Handle)). A paused partition stays
    /// paused. [`position`](Self::position) returns the new position at once after a seek to an offset. The
    /// records there may have to wait for the end of a fetch that is under way, at most `fetch.max.wait.ms`.
    ///
    /// If the application gives no leader epoch for an offset, whatever log the leader has now is read, as in
    /// Java. But at the partition's position, or where everything before is finished, the epoch is known:
    /// there a truncation of the log is detected, and reported by an [event](crate::Event::Truncated)
    /// (KIP-320).
    ///
    /// A partition that is being revoked is still assigned until the revocation ends (the listener has ended,
    /// or [`next`](Self::next) is called again), as in Java: nothing more of it is handed out, but a commit
    /// of what is finished commits the offset of the seek.
    ///
    /// # Errors
    /// `NotOwned` if the partition is not assigned to this consumer, `Misuse` for a negative offset.
    pub async fn seek(&mut self, partition: impl Into<TopicPartition>, at: impl Into<StartAt>) -> Result<()> {
        let partition = partition.into();
        let at = self.delivery.with_epoch(&partition, at.into());
        let known = known_offset(&at);
        let token =
            self.handle.ask(|reply| Command::Seek { partition: partition.clone(), at, reply }).await?;
        self.delivery.sought(&partition, token, known);
        self.forget_moved();
        self.release_freed();
        Ok(())
    }

    /// Hands out nothing more of these until [`resume`](Self::resume) or until they are reassigned: a pause
    /// belongs to one assignment. It is in force when the call returns. Buffered records are kept and handed
    /// out after the resume, unless others need their memory.
    ///
    /// # Errors
    /// `NotOwned` if any of them is not assigned to this consumer, as of the last `poll`; none is paused
    /// then.
    pub fn pause<S>(&self, partitions: impl OneOrMany<TopicPartition, S>) -> Result<()> {
        self.handle.pause(partitions.into_items())
    }

    /// The same for all that are [assigned](Self::assignment).
    ///
    /// # Errors
    /// `Closed`.
    pub fn pause_all(&self) -> Result<()> {
        self.handle.pause_all()
    }

    /// Hands these out again.
    ///
    /// # Errors
    /// `NotOwned` if any of them is not assigned to this consumer, as of the last `poll`; none is resumed
    /// then.
    pub fn resume<S>(&self, partitions: impl OneOrMany<TopicPartition, S>) -> Result<()> {
        self.handle.resume(partitions.into_items())
    }

    /// The same for all that are [assigned](Self::assignment).
    ///
    /// # Errors
    /// `Closed`.
    pub fn resume_all(&self) -> Result<()> {
        self.handle.resume_all()
    }

    /// The paused partitions, in order.
    pub fn paused(&self) -> Vec<TopicPartition> {
        self.delivery.paused().cloned().collect()
    }

    /// The offset that `poll` hands out next; `None` while it is not known yet, or if the partition is not
    /// ours. For a partition that is being revoked, until the revocation ends: the offset after the last
    /// record that was handed out, or that of a later seek.
    pub fn position(&self, partition: impl Into<TopicPartition>) -> Option<i64> {
        let partition = partition.into();
        self.delivery.position(&partition).or_else(|| self.handle.position(partition))
    }

    /// The number of records of a partition that are still to be handed out, including those buffered in this
    /// client: the distance in offsets from the [position](Self::position) to the latest known end of the log
    /// (the last stable offset under read_committed, the high watermark otherwise). 0 when everything
    /// readable has been handed out; `None` before the first fetch response, and while the position is not
    /// known.
    pub fn lag(&self, partition: impl Into<TopicPartition>) -> Option<u64> {
        let partition = partition.into();
        self.delivery.lag(&partition).or_else(|| self.handle.lag(partition))
    }

    /// The [`lag`](Self::lag) of every owned partition.
    pub fn lags(&self) -> BTreeMap<TopicPartition, Option<u64>> {
        let lags = self.delivery.owned().map(|partition| (partition.clone(), self.delivery.lag(partition)));
        lags.collect()
    }

    /// The group's committed offsets; partitions without one are absent.
    ///
    /// # Errors
    /// As [`Handle::committed`](crate::Handle::committed).
    pub async fn committed<S>(
        &self,
        partitions: impl OneOrMany<TopicPartition, S>,
    ) -> Result<BTreeMap<TopicPartition, OffsetAndMetadata>> {
        self.handle.committed(partitions).await
    }

    /// The offset of the first record of each partition; of an empty one, the offset that its first record
    /// would have.
    ///
    /// # Errors
    /// As [`Handle::beginning_offsets`](crate::Handle::beginning_offsets).
    pub async fn beginning_offsets<S>(
        &self,
        partitions: impl OneOrMany<TopicPartition, S>,
    ) -> Result<BTreeMap<TopicPartition, i64>> {
        self.handle.beginning_offsets(partitions).await
    }

    /// The offset after the last record of each partition: the high watermark, or under read_committed the last stable
    /// offset.
    ///
    /// # Errors
    /// As [`Handle::end_offsets`](crate::Handle::end_offsets).
    pub async fn end_offsets<S>(
        &self,
        partitions: impl OneOrMany<TopicPartition, S>,
    ) -> Result<BTreeMap<TopicPartition, i64>> {
        self.handle.end_offsets(partitions).await
    }

    /// The first and the next offset of a partition, requested from its leader.
    ///
    /// # Errors
    /// As [`Handle::watermarks`](crate::Handle::watermarks).
    pub async fn watermarks(&self, partition: impl Into<TopicPartition>) -> Result<(i64, i64)> {
        self.handle.watermarks(partition).await
    }

    /// The first record of each partition with this timestamp (milliseconds since 1970) or a later one; partitions
    /// that have none are absent.
    ///
    /// # Errors
    /// As [`Handle::offsets_for_times`](crate::Handle::offsets_for_times).
    pub async fn offsets_for_times<P: Into<TopicPartition>>(
        &self,
        times: impl IntoIterator<Item = (P, i64)>,
    ) -> Result<BTreeMap<TopicPartition, OffsetAndTimestamp>> {
        self.handle.offsets_for_times(times).await
    }

    /// The topic's partitions and their leaders.
    ///
    /// # Errors
    /// `UnknownTopic` once the brokers have reported it twice, `retry.backoff.ms` apart, or with
    /// `allow.auto.create.topics` for at least a second, as a topic may just be being created. Other errors
    /// of the brokers after `default.api.timeout.ms`, or at once if waiting cannot help.
    pub async fn partitions_for(&self, topic: impl Into<Topic>) -> Result<BTreeMap<i32, PartitionInfo>> {
        self.handle.partitions_for(topic).await
    }

    /// The topics whose whole names match one of the patterns now.
    ///
    /// # Errors
    /// `Config` for an invalid regular expression, or an empty one; those of the brokers after `default.api.timeout.ms`.
    pub async fn topics_matching<P: AsRef<str>>(
        &self,
        patterns: impl IntoIterator<Item = P>,
    ) -> Result<Vec<Topic>> {
        let patterns = compile(patterns)?;
        let deadline = self.handle.deadline();
        self.handle.ask(|reply| Command::Matching { patterns, deadline, reply }).await
    }
}
