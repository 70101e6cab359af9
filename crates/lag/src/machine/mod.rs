//! [`Lag`]: takes samples and returns a report, without socket and clock.

mod age;
mod findings;
mod group;
mod log;
mod loss;
mod sizes;
mod window;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use offtake_admin::{Topic, TopicPartition};

use self::{
    age::Clock,
    group::{Group, lag_end},
    log::{Log, Millis},
};
use crate::{
    config::Config,
    report::{Report, TopicPartitionReport},
    sample::{LogSample, RecordTime, Retention, Sample},
};

/// Computes the lag of groups from successive samples.
///
/// 1. pass a [`Sample`];
/// 2. call [`wanted_record_times`](Self::wanted_record_times), and pass the results to [`record_times`](Self::record_times);
/// 3. take the [`report`](Self::report).
///
/// Its memory per partition is bounded, however long it runs: about 1 KB for a log and 0.5 KB for a group on it, in addition to the
/// names.
#[derive(Debug)]
pub struct Lag {
    config: Config,
    started: Option<Instant>,
    clock: Clock,
    cluster: Option<String>,
    groups: BTreeMap<String, Group>,
    logs: BTreeMap<TopicPartition, Log>,
    topics: BTreeMap<Topic, TopicInfo>,
    failures: Vec<String>,
    /// The number of timestamps wanted so far: if there are more than the limit, each has its turn.
    turn: usize,
}

/// The state of a topic.
#[derive(Debug, Default)]
struct TopicInfo {
    id: Option<String>,
    retention: Option<Retention>,
}

impl Lag {
    /// Creates a machine without any data.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            started: None,
            clock: Clock::default(),
            cluster: None,
            groups: BTreeMap::new(),
            logs: BTreeMap::new(),
            topics: BTreeMap::new(),
            failures: Vec::new(),
            turn: 0,
        }
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The partitions with committed offsets of known groups.
    pub(crate) fn partitions(&self) -> BTreeSet<TopicPartition> {
        self.groups.values().flat_map(|group| group.partitions.keys().cloned()).collect()
    }

    /// Adds the results of a round.
    pub fn handle_sample(&mut self, sample: Sample) {
        let started = *self.started.get_or_insert(sample.now);
        let at = Millis::try_from(sample.now.saturating_duration_since(started).as_millis());
        // Time does not go back, whatever the caller passes.
        self.clock = Clock { now: at.unwrap_or(Millis::MAX).max(self.clock.now), wall_ms: sample.wall_ms };
        self.cluster = sample.cluster.or(self.cluster.take());
        self.failures = sample.failures;
        for topic in sample.topics {
            let known = self.topics.entry(topic.topic.clone()).or_default();
            if known.id.is_some() && topic.id.is_some() && known.id != topic.id {
                self.forget_logs_of(&topic.topic);
            }
            let known = self.topics.entry(topic.topic).or_default();
            known.id = topic.id.or(known.id.take());
            known.retention = topic.retention.or(known.retention);
        }
        let fresh: BTreeSet<&TopicPartition> = sample.logs.keys().collect();
        for (partition, log) in &sample.logs {
            self.handle_log(partition, *log);
        }
        let answered: BTreeSet<&str> = sample.groups.iter().map(|group| group.group.as_str()).collect();
        self.groups.retain(|name, _| sample.unanswered.contains(name) || answered.contains(name.as_str()));
        for group in sample.groups {
            let known = self.groups.entry(group.group.clone()).or_default();
            let has_committed = group.committed.is_some();
            known.sample(group, self.clock.now, &self.config);
            // Only groups and logs that have both responded are compared.
            let partitions =
                known.partitions.iter_mut().filter(|(of, _)| has_committed && fresh.contains(of));
            for (of, partition) in partitions {
                if let Some(log) = self.logs.get(of) {
                    partition.push_sample(log, self.clock, &self.config);
                }
            }
        }
        self.forget_unread(&fresh);
    }

    fn handle_log(&mut self, partition: &TopicPartition, sample: LogSample) {
        let log = self.logs.entry(partition.clone()).or_default();
        match sample {
            LogSample::Missing => *log = Log::default(),
            LogSample::Offsets { start, high_watermark, last_stable, bytes } => {
                let valid = |offset: Option<i64>| offset.filter(|offset| *offset >= 0);
                let (start, high_watermark, last_stable) =
                    (valid(start), valid(high_watermark), valid(last_stable));
                let end = lag_end(self.config.isolation, high_watermark, last_stable);
                log.sample(self.clock.now, start, end);
                log.high_watermark = high_watermark.or(log.high_watermark);
                log.last_stable = last_stable.or(log.last_stable);
                if let (Some(start), Some(end), Some(bytes)) = (start, high_watermark, bytes) {
                    log.sizes.sample(self.clock.now, start, end, bytes);
                }
            }
        }
    }

    fn forget_logs_of(&mut self, topic: &Topic) {
        self.logs.retain(|partition, _| partition.topic != *topic);
        for group in self.groups.values_mut() {
            group.forget_windows_of(topic);
        }
    }

    /// Removes logs that no group consumes and that are not in the sample, and topics without a log.
    fn forget_unread(&mut self, fresh: &BTreeSet<&TopicPartition>) {
        let read: BTreeSet<&TopicPartition> =
            self.groups.values().flat_map(|group| group.partitions.keys()).collect();
        self.logs.retain(|partition, _| fresh.contains(partition) || read.contains(partition));
        let topics: BTreeSet<&Topic> =
            self.logs.keys().chain(read).map(|partition| &partition.topic).collect();
        self.topics.retain(|topic, _| topics.contains(topic));
    }

    /// The partitions and offsets for which the timestamp of the record at the offset, or of the first one after it, is wanted;
    /// at most this many, the least known first. Each is the first unread record of some group. It is wanted if the samples of
    /// the log do not determine its age to 1 s or 5 %, whichever is greater, and once if the group does not move, because samples
    /// do not distinguish a record from a transaction marker.
    pub fn wanted_record_times(&mut self, most: usize) -> Vec<(TopicPartition, i64)> {
        let mut wanted: BTreeMap<(&TopicPartition, i64), f64> = BTreeMap::new();
        for group in self.groups.values() {
            for (of, partition) in &group.partitions {
                let Some(log) = self.logs.get(of) else { continue };
                let Some(unread) = partition.first_unread() else { continue };
                if log.time_of(unread).is_some() {
                    continue;
                }
                let error = match self.clock.age(log, unread) {
                    Some(age) if age.is_good_enough() && !partition.is_unmoved() => continue,
                    Some(age) => age.error.unwrap_or(f64::INFINITY),
                    None => f64::INFINITY,
                };
                wanted.insert((of, unread), error);
            }
        }
        let mut wanted: Vec<_> = wanted.into_iter().collect();
        let turn = self.turn.checked_rem(wanted.len()).unwrap_or(0);
        wanted.rotate_left(turn);
        wanted.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        wanted.truncate(most);
        let wanted: Vec<_> =
            wanted.into_iter().map(|((partition, offset), _)| (partition.clone(), offset)).collect();
        self.turn = self.turn.wrapping_add(wanted.len());
        wanted
    }

    /// Adds failures of this round.
    pub(crate) fn note_failures(&mut self, failures: Vec<String>) {
        self.failures.extend(failures);
    }

    /// Stores the results of reading records.
    pub fn record_times(&mut self, found: impl IntoIterator<Item = (TopicPartition, i64, RecordTime)>) {
        for (partition, offset, time) in found {
            if let Some(log) = self.logs.get_mut(&partition) {
                log.read(offset, time);
            }
        }
        // Results for offsets at which no group is any more are useless.
        let mut unread: BTreeMap<&TopicPartition, BTreeSet<i64>> = BTreeMap::new();
        for group in self.groups.values() {
            for (of, partition) in &group.partitions {
                let log = self.logs.get(of).filter(|log| !log.times.is_empty());
                if let Some(offset) = log.and_then(|_| partition.first_unread()) {
                    unread.entry(of).or_default().insert(offset);
                }
            }
        }
        for (partition, log) in &mut self.logs {
            let read = unread.get(partition);
            log.times.retain(|offset, _| read.is_some_and(|read| read.contains(offset)));
        }
        for group in self.groups.values_mut() {
            for (of, partition) in &mut group.partitions {
                if let Some(log) = self.logs.get(of) {
                    partition.renew_age(log);
                }
            }
        }
    }

    /// The present report.
    #[must_use]
    pub fn report(&self) -> Report {
        let read: BTreeSet<&TopicPartition> =
            self.groups.values().flat_map(|group| group.partitions.keys()).collect();
        let partitions = read.into_iter().map(|of| {
            let log = self.logs.get(of);
            TopicPartitionReport {
                topic: of.topic.as_str().to_owned(),
                partition: of.partition,
                earliest: log.and_then(|log| log.start),
                latest: log.and_then(|log| log.high_watermark),
            }
        });
        let groups: Vec<_> = self.groups.iter().map(|(name, group)| self.group_report(name, group)).collect();
        Report {
            at: self.clock.wall_ms,
            cluster: self.cluster.clone(),
            partitions: partitions.collect(),
            findings: self.findings(&groups),
            groups,
            failures: self.failures.clone(),
            shard: None,
        }
    }

    /// The window in milliseconds.
    fn window(&self) -> Millis {
        window_of(&self.config)
    }
}

/// The window in milliseconds; never 0.
fn window_of(config: &Config) -> Millis {
    Millis::try_from(config.window.as_millis()).unwrap_or(Millis::MAX).max(1)
}
