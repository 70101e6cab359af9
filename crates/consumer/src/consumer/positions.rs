//! Offsets and positions: what the application says and asks of them.

use std::collections::BTreeMap;

use offtake_machine::{PartitionInfo, Topic, TopicPartition};

use super::{Consumer, compile};
use crate::{
    engine::{
        command::{Command, ListAt, Reply},
        not_assigned,
    },
    error::{Error, ErrorKind, Result},
    offsets::{OffsetAndMetadata, OffsetAndTimestamp, StartAt},
    records::{Delivered, Records},
};

impl Consumer {
    /// Commits that exactly these records are finished, retrying for `default.api.timeout.ms`.
    ///
    /// # Errors
    /// `NotOwned` if a partition was given up since (nothing is sent for it), `CommitFailed` where the group refused:
    /// the records will be delivered again, perhaps to another member.
    pub async fn commit(&mut self, records: &Records) -> Result<()> {
        let command = self.commit_of(records);
        self.handle.ask(|reply| command(Some(reply))).await
    }

    /// The same without waiting. What becomes of it comes as an [`Event`](crate::Event).
    ///
    /// # Errors
    /// `Closed`.
    pub fn commit_async(&mut self, records: &Records) -> Result<()> {
        let command = self.commit_of(records);
        self.handle.send(command(None))
    }

    fn commit_of(&mut self, records: &Records) -> impl FnOnce(Option<Reply<()>>) -> Command + use<> {
        let mut last = BTreeMap::new();
        for part in &records.parts {
            last.insert(part.partition.clone(), part.spot());
        }
        for place in last.values() {
            self.progress.finish(place.clone());
        }
        let offsets = last
            .into_values()
            .map(|place| {
                let offset = OffsetAndMetadata {
                    offset: place.next.offset,
                    leader_epoch: place.next.epoch,
                    metadata: String::new(),
                };
                (place.partition, Some(place.token), offset)
            })
            .collect();
        let deadline = self.handle.deadline();
        move |reply| Command::CommitThese { offsets, deadline, reply }
    }

    /// Commits everything that is finished: what was stored, and with `enable.auto.offset.store` (the default) also
    /// what `poll` has handed out so far.
    pub async fn commit_finished(&mut self) -> Result<()> {
        if self.handle.config.enable_auto_offset_store {
            self.progress.finish_handed();
        }
        self.report_finished();
        let deadline = self.handle.deadline();
        self.handle.ask(|reply| Command::CommitFinished { deadline, reply: Some(reply) }).await
    }

    /// Commits exactly these offsets; see [`Handle::commit_offsets`](crate::Handle::commit_offsets).
    pub async fn commit_offsets(
        &mut self,
        offsets: impl IntoIterator<Item = (TopicPartition, OffsetAndMetadata)>,
    ) -> Result<()> {
        self.handle.commit_offsets(offsets).await
    }

    /// Says that everything up to and including this is finished: the next commit, by interval or by
    /// [`commit_finished`](Self::commit_finished), includes it. Of use with `enable.auto.offset.store=false`.
    ///
    /// # Errors
    /// `NotOwned` if its partition was given up since.
    pub fn store(&mut self, delivered: &impl Delivered) -> Result<()> {
        let place = delivered.spot();
        if !self.delivery.owns(&place.partition, place.token) {
            return Err(not_assigned(&place.partition));
        }
        self.progress.finish(place);
        Ok(())
    }

    /// Reads on from elsewhere. Records fetched before are not handed out after. May be called as soon as the partition
    /// is assigned, also from a listener (through its [`Handle`](crate::Handle)).
    pub async fn seek(&mut self, partition: impl Into<TopicPartition>, at: StartAt) -> Result<()> {
        self.handle.seek(partition.into(), at).await
    }

    /// Hands out nothing more of these until [`resume`](Self::resume); what is buffered is kept.
    pub fn pause<P: Into<TopicPartition>>(&mut self, partitions: impl IntoIterator<Item = P>) -> Result<()> {
        let partitions: Vec<_> = partitions.into_iter().map(Into::into).collect();
        self.delivery.pause(&partitions);
        self.handle.pause(partitions)
    }

    /// Hands them out again.
    pub fn resume<P: Into<TopicPartition>>(&mut self, partitions: impl IntoIterator<Item = P>) -> Result<()> {
        let partitions: Vec<_> = partitions.into_iter().map(Into::into).collect();
        self.delivery.resume(&partitions);
        self.handle.resume(partitions)
    }

    /// The partitions that are paused.
    pub fn paused(&self) -> impl Iterator<Item = &TopicPartition> {
        self.delivery.paused()
    }

    /// The offset that `poll` hands out next; `None` while it is not known yet, or the partition is not ours.
    pub fn position(&self, partition: &TopicPartition) -> Option<i64> {
        self.delivery.position(partition)
    }

    /// How many records of a partition are still to be handed out, as of the last fetch and under the isolation level;
    /// `None` before the first.
    pub fn lag(&self, partition: &TopicPartition) -> Option<u64> {
        self.delivery.lag(partition)
    }

    /// The group's committed offsets; partitions without one are absent.
    pub async fn committed(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, OffsetAndMetadata>> {
        self.handle.committed(partitions).await
    }

    /// The offset of the first record of each partition, or of where it would be.
    pub async fn beginning_offsets(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, i64>> {
        self.ends(partitions, ListAt::Earliest).await
    }

    /// The offset after the last record of each partition: the high watermark, or under read_committed the last stable
    /// offset.
    pub async fn end_offsets(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, i64>> {
        self.ends(partitions, ListAt::Latest).await
    }

    async fn ends(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
        at: ListAt,
    ) -> Result<BTreeMap<TopicPartition, i64>> {
        let partitions = partitions.into_iter().map(|partition| (partition, at)).collect();
        let deadline = self.handle.deadline();
        let listed = self.handle.ask(|reply| Command::List { partitions, deadline, reply }).await?;
        Ok(listed.into_iter().map(|(partition, at)| (partition, at.offset)).collect())
    }

    /// First and next offset of a partition, asked of its leader.
    pub async fn watermarks(&self, partition: impl Into<TopicPartition>) -> Result<(i64, i64)> {
        let partition = partition.into();
        let first = self.beginning_offsets([partition.clone()]).await?;
        let next = self.end_offsets([partition.clone()]).await?;
        match (first.get(&partition), next.get(&partition)) {
            (Some(first), Some(next)) => Ok((*first, *next)),
            _ => Err(Error::new(ErrorKind::Malformed, format!("the broker told no offsets of {partition}"))),
        }
    }

    /// The first record of each partition with this timestamp (milliseconds since 1970) or a later one; partitions
    /// that have none are absent.
    pub async fn offsets_for_times(
        &self,
        times: impl IntoIterator<Item = (TopicPartition, i64)>,
    ) -> Result<BTreeMap<TopicPartition, OffsetAndTimestamp>> {
        let partitions =
            times.into_iter().map(|(partition, at)| (partition, ListAt::Timestamp(at))).collect();
        let deadline = self.handle.deadline();
        self.handle.ask(|reply| Command::List { partitions, deadline, reply }).await
    }

    /// The topic's partitions and who leads them.
    ///
    /// # Errors
    /// `UnknownTopic` or what kept the brokers from answering, after `default.api.timeout.ms`; at once where waiting
    /// cannot help.
    pub async fn partitions_for(&self, topic: impl Into<Topic>) -> Result<BTreeMap<i32, PartitionInfo>> {
        let topic = topic.into();
        let deadline = self.handle.deadline();
        self.handle.ask(|reply| Command::Partitions { topic, deadline, reply }).await
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
