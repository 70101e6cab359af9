//! Offsets and positions: what the application says and asks of them.

use std::{collections::BTreeMap, time::Duration};

use offtake_machine::{PartitionInfo, Token, Topic, TopicPartition};
use tokio::sync::oneshot;

use super::{Consumer, subscribing::compile};
use crate::{
    clock,
    command::Command,
    committing::Committing,
    error::{Error, ErrorKind, Result, not_assigned},
    offsets::{OffsetAndMetadata, OffsetAndTimestamp, OffsetToCommit, StartAt, known_offset},
    one_or_many::OneOrMany,
    records::{Delivered, PartitionRecords, Records},
};

impl Consumer {
    /// Commits that these records are finished, and all that came before them in their partitions; retries for
    /// `default.api.timeout.ms`.
    ///
    /// # Errors
    /// `NotOwned` if a partition was given up since (nothing is sent for it), `CommitFailed` where the group refused:
    /// the records will be delivered again, perhaps to another member. [`Error::commit_report`] tells partition by
    /// partition. `Misuse` of a consumer whose records are finished one by one.
    pub async fn commit(&mut self, records: &Records) -> Result<()> {
        self.commit_within(records, self.handle.config.client.default_api_timeout).await
    }

    /// The same, retrying until `timeout` has passed.
    pub async fn commit_within(&mut self, records: &Records, timeout: Duration) -> Result<()> {
        self.begin_commit(records, timeout)?.await
    }

    /// The same without waiting: the commit goes on by itself, be its outcome awaited or dropped. Later commits of the same
    /// partitions wait for it, so that it never lands after one of them, and go as one, the furthest, when it is answered.
    ///
    /// # Errors
    /// `Closed`, and `Misuse` as of [`commit`](Self::commit).
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

    /// Commits everything that is finished: what was stored or finished one by one, or with `enable.auto.offset.store` (the
    /// default) what `poll` has handed out so far.
    pub async fn commit_finished(&mut self) -> Result<()> {
        self.commit_finished_within(self.handle.config.client.default_api_timeout).await
    }

    /// The same, retrying until `timeout` has passed.
    pub async fn commit_finished_within(&mut self, timeout: Duration) -> Result<()> {
        self.finish_passed();
        self.report_finished();
        let deadline = clock::after(timeout);
        self.handle.ask(|reply| Command::CommitFinished { deadline, reply: Some(reply) }).await
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
    /// `Closed`, and `Misuse` as of [`commit_offsets`](Self::commit_offsets). The rest comes with the outcome.
    pub fn commit_offsets_async<S>(
        &mut self,
        offsets: impl OneOrMany<OffsetToCommit, S>,
    ) -> Result<Committing> {
        let offsets = self.handle.check_offsets(offsets)?;
        self.send_commit(offsets, self.handle.config.client.default_api_timeout)
    }

    /// Says that everything **up to and including** this is finished: the next commit, by interval or by
    /// [`commit_finished`](Self::commit_finished), includes it. Of use with `enable.auto.offset.store=false`, where records
    /// are finished in order; where they are not, see [`finish_each`](crate::Builder::finish_each).
    ///
    /// # Errors
    /// `NotOwned` if its partition was given up since, or sought to before it, or if the cluster has lost the record and moved the
    /// position back before it. `Misuse` of a consumer whose records are finished one by one.
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
        self.progress.finish(place);
        Ok(())
    }

    /// The application does not have yet what the last `poll` handed out: where `poll` says what is finished, these records are not,
    /// until the `poll` (commit, close) after [`hand_out_withheld`](Self::hand_out_withheld).
    #[doc(hidden)] // for the gate of typed values, whose own `poll` may be dropped while it looks through them
    pub fn withhold(&mut self) {
        self.progress.withhold();
    }

    /// Now it has all of these, but for partitions that were sought or given up since.
    #[doc(hidden)]
    pub fn hand_out_withheld(&mut self) {
        self.progress.hand_out_withheld();
    }

    /// Whether reading goes on after these as it did when they came: their partition was neither sought nor given up since.
    #[doc(hidden)]
    pub fn is_current(&self, records: &PartitionRecords) -> bool {
        self.delivery.is_current(&records.partition, records.token)
    }

    /// Reads on from elsewhere, an offset or any other [`StartAt`]; the next record handed out is the one there. Records fetched
    /// before are not handed out after. May be called as soon as the partition is assigned, also from a listener (through its
    /// [`Handle`](crate::Handle)). A paused partition stays paused. [`position`](Self::position) says at once where a seek
    /// to an offset has led.
    ///
    /// An offset for which the application names no leader epoch is read from whatever log the leader has now, as in Java. But
    /// where the partition stands, or everything before is finished, the epoch is known: there a truncation of the log is
    /// found, and an [event](crate::Event::Truncated) tells it (KIP-320).
    ///
    /// A partition that is being revoked is still assigned until that is over (the listener has ended, or the next call of
    /// [`next`](Self::next) is made), as in Java: nothing more of it is handed out, but a commit of what is finished commits
    /// where it was sought to.
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

    /// Hands out nothing more of these until [`resume`](Self::resume) or until they change hands: a pause belongs to one
    /// assignment. In force when the call returns; what is buffered is kept, unless its memory is needed for others, and
    /// comes later.
    ///
    /// # Errors
    /// `NotOwned` if any of them is not assigned to this consumer, as far as `poll` has told; none is paused then.
    pub fn pause<S>(&self, partitions: impl OneOrMany<TopicPartition, S>) -> Result<()> {
        self.handle.pause(partitions.into_items())
    }

    /// The same of all that are [assigned](Self::assignment).
    ///
    /// # Errors
    /// `Closed`.
    pub fn pause_all(&self) -> Result<()> {
        self.handle.pause_all()
    }

    /// Hands them out again.
    ///
    /// # Errors
    /// `NotOwned` if any of them is not assigned to this consumer, as far as `poll` has told; none is resumed then.
    pub fn resume<S>(&self, partitions: impl OneOrMany<TopicPartition, S>) -> Result<()> {
        self.handle.resume(partitions.into_items())
    }

    /// The same of all that are [assigned](Self::assignment).
    ///
    /// # Errors
    /// `Closed`.
    pub fn resume_all(&self) -> Result<()> {
        self.handle.resume_all()
    }

    /// The partitions that are paused, in order.
    pub fn paused(&self) -> Vec<TopicPartition> {
        self.delivery.paused().cloned().collect()
    }

    /// The offset that `poll` hands out next; `None` while it is not known yet, or the partition is not ours. Of a partition that
    /// is being revoked: the offset after the last record that was handed out, until that is over.
    pub fn position(&self, partition: impl Into<TopicPartition>) -> Option<i64> {
        let partition = partition.into();
        self.delivery.position(&partition).or_else(|| self.handle.position(partition))
    }

    /// How many records of a partition are still to be handed out, those that wait in this client among them: the
    /// distance in offsets from the [position](Self::position) to the newest end of the log that any answer has told (the
    /// last stable offset under read_committed, the high watermark otherwise). 0 when everything that can be read has been
    /// handed out; `None` before the first answer, and while the position is not known.
    pub fn lag(&self, partition: impl Into<TopicPartition>) -> Option<u64> {
        let partition = partition.into();
        self.delivery.lag(&partition).or_else(|| self.handle.lag(partition))
    }

    /// The [`lag`](Self::lag) of every partition that is owned.
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

    /// The offset of the first record of each partition, or of where it would be.
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

    /// First and next offset of a partition, asked of its leader.
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

    /// The topic's partitions and who leads them.
    ///
    /// # Errors
    /// `UnknownTopic` once the brokers have said so twice, `retry.backoff.ms` apart, or with `allow.auto.create.topics` a second
    /// at least, as a topic may just be created. What kept the brokers from answering, after `default.api.timeout.ms`; at once
    /// where waiting cannot help.
    pub async fn partitions_for(&self, topic: impl Into<Topic>) -> Result<BTreeMap<i32, PartitionInfo>> {
        self.handle.partitions_for(topic).await
    }

    /// The topics whose whole names match one of the patterns now.
    pub async fn topics_matching<P: AsRef<str>>(
        &self,
        patterns: impl IntoIterator<Item = P>,
    ) -> Result<Vec<Topic>> {
        let patterns = compile(patterns)?;
        let deadline = self.handle.deadline();
        self.handle.ask(|reply| Command::Matching { patterns, deadline, reply }).await
    }
}
