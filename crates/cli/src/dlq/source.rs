//! Reads dead letters from the log start, or from a group's offsets, to the end as it was at the start.

use std::{collections::BTreeMap, time::Duration};

use offtake::{
    Builder, Consumer, OffsetAndMetadata, Records, StartAt, TopicPartition,
    config::{AutoOffsetReset, Config, GroupProtocol, IsolationLevel},
};

use super::letter::Letter;
use crate::{
    consume::{ends::Ends, target},
    failure::Failure,
    stop::Stop,
    text::offset_bound::OffsetBound,
};

/// How long one poll waits: an end may be reached without a record.
const POLL: Duration = Duration::from_millis(100);

pub(super) struct Source {
    consumer: Consumer,
    ends: Ends,
    /// The range to read of each partition of the topic.
    pub(super) ranges: BTreeMap<TopicPartition, Range>,
    closing: Duration,
}

/// A range that ends at the log end of the start.
#[derive(Clone, Debug)]
pub(super) struct Range {
    pub(super) from: i64,
    pub(super) end: i64,
    /// The log start.
    pub(super) start: i64,
    /// The group's commit, if a group was given.
    pub(super) committed: Option<OffsetAndMetadata>,
}

/// The next result.
pub(super) enum Next {
    Records(Records),
    End,
    /// A signal asked to stop.
    Stopped,
}

impl Source {
    /// Opens all of a topic or, with a group, everything that it has not committed. Commits nothing.
    pub(super) async fn open(config: &Config, topic: &str, group: Option<&str>) -> Result<Self, Failure> {
        let config = reading(config.clone(), group)?;
        let closing = config.client.default_api_timeout;
        let mut consumer = Builder::from_config(config).build().await?;
        let partitions = target::partitions(&consumer, &[topic.to_owned()], false, &[]).await?;
        let starts = target::ends(&consumer, &partitions, OffsetBound::Earliest).await?;
        let ends = target::ends(&consumer, &partitions, OffsetBound::Latest).await?;
        let mut committed = match group {
            Some(_) => consumer.committed(&partitions).await?,
            None => BTreeMap::new(),
        };
        let mut ranges = BTreeMap::new();
        for partition in partitions {
            let start = starts.get(&partition).copied().unwrap_or(0);
            let end = ends.get(&partition).copied().unwrap_or(0);
            let committed = committed.remove(&partition);
            let from = committed.as_ref().map_or(start, |committed| committed.offset.max(start));
            if from > end {
                return Err(Failure::failed(format!(
                    "{partition}: the group has committed offset {from}, and the log ends at {end}: was the topic created again? `offtake groups reset` sets where the group stands"
                )));
            }
            ranges.insert(partition, Range { from, end, start, committed });
        }
        let unread = ranges.iter().filter(|(_, range)| range.from < range.end);
        let begin = unread.map(|(partition, range)| (partition.clone(), StartAt::from(range.from)));
        let begin: Vec<_> = begin.collect();
        if !begin.is_empty() {
            consumer.assign(begin).await?;
        }
        Ok(Self { consumer, ends: Ends::new(ends), ranges, closing })
    }

    pub(super) fn consumer(&self) -> &Consumer {
        &self.consumer
    }

    /// The next records. Only those that [`letters`](Self::letters) returns count.
    pub(super) async fn next(&mut self, stop: &mut Stop) -> Result<Next, Failure> {
        loop {
            if self.consumer.assignment().is_empty() || self.ends.are_reached(&self.consumer)? {
                return Ok(Next::End);
            }
            let Some(polled) = stop.or(self.consumer.poll(POLL)).await else { return Ok(Next::Stopped) };
            match polled {
                Ok(records) if records.is_empty() => {}
                Ok(records) => return Ok(Next::Records(records)),
                Err(error) if error.is_retriable() => tracing::warn!("{error}"),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The dead letters among these records, without those written after the start.
    pub(super) fn letters<'a>(&self, records: &'a Records) -> impl Iterator<Item = Letter<'a>> {
        records.partitions().flat_map(|part| {
            let end = self.ends.of(part.topic_partition());
            part.iter().take_while(move |record| record.offset() < end).map(Letter::of)
        })
    }

    /// The offsets after these records, by partition.
    pub(super) fn behind(&self, records: &Records) -> BTreeMap<TopicPartition, i64> {
        let parts = records.partitions();
        parts
            .map(|part| {
                let partition = part.topic_partition();
                (partition.clone(), part.next_offset().min(self.ends.of(partition)))
            })
            .collect()
    }

    /// Returns to the beginning.
    pub(super) async fn rewind(&mut self) -> Result<(), Failure> {
        for partition in self.consumer.assignment() {
            let from = self.ranges.get(&partition).map_or(0, |range| range.from);
            self.consumer.seek(&partition, from).await?;
        }
        Ok(self.consumer.resume_all()?)
    }

    pub(super) async fn close(self) -> Result<(), Failure> {
        Ok(self.consumer.close(self.closing).await?)
    }
}

fn reading(mut config: Config, group: Option<&str>) -> Result<Config, Failure> {
    config.group_id = group.map(str::to_owned);
    config.group_instance_id = None;
    config.group_remote_assignor = None;
    config.group_protocol = GroupProtocol::Classic;
    config.enable_auto_commit = false;
    config.auto_offset_reset = AutoOffsetReset::Earliest;
    // Dead letters of aborted transactions do not count.
    config.isolation_level = IsolationLevel::ReadCommitted;
    config.validate()?;
    Ok(config)
}
