//! The start and end offsets of logs, and their retention settings.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use offtake_admin::{
    BrokerId, ErrorCode, IsolationLevel, ListedOffset, OffsetSpec, Topic, TopicPartition, survey::Answers,
};
use offtake_client::clock;

use super::{Collector, brokers::RequestKind, is_due};
use crate::sample::{LogSample, Retention, Sample, TopicSample};

/// The settings that delete records.
const SETTINGS: [&str; 4] = ["cleanup.policy", "retention.bytes", "retention.ms", TIERED];
/// Whether old segments are moved from the brokers' disks to remote storage (KIP-405).
const TIERED: &str = "remote.storage.enable";

/// How often to look for missing partitions.
const MISSING: Duration = Duration::from_secs(30);

pub(super) type Leaders = BTreeMap<BrokerId, Vec<TopicPartition>>;
type Offsets = Answers<TopicPartition, Option<ListedOffset>>;

impl Collector {
    pub(super) async fn ask_logs(&mut self, sample: &mut Sample, failures: &mut Vec<String>) {
        let mut wanted = self.lag.partitions();
        for group in &sample.groups {
            wanted.extend(group.committed.iter().flat_map(BTreeMap::keys).cloned());
            let members = group.members.iter().flatten();
            wanted.extend(members.flat_map(|member| member.partitions.iter().cloned()));
        }
        // Topics that were created, or got partitions, since the cluster was described.
        let described_at = self.described;
        let missing: BTreeSet<_> =
            wanted.iter().filter(|partition| !self.exists(partition)).cloned().collect();
        if !missing.is_subset(&self.missing) || (!missing.is_empty() && is_due(self.described, MISSING)) {
            self.described = None;
            if let Err(error) = self.describe_cluster(failures).await {
                failures.push(error.to_string());
            }
        }
        let is_fresh = self.described.is_some() && self.described != described_at;
        if is_fresh || missing.is_empty() {
            self.missing = missing.into_iter().filter(|partition| !self.exists(partition)).collect();
        }
        self.add_dead_letters(&mut wanted);
        let mut leaders = Leaders::new();
        let mut leaderless = BTreeSet::new();
        for partition in &wanted {
            match self.leader(partition, RequestKind::Offsets) {
                Some(leader) => leaders.entry(leader).or_default().push(partition.clone()),
                None if self.exists(partition) => drop(leaderless.insert(partition)),
                None if self.missing.contains(partition) => {
                    sample.logs.insert(partition.clone(), LogSample::Missing);
                }
                None => {}
            }
        }
        if let Some(first) = leaderless.first() {
            let others = leaderless.len() - 1;
            failures.push(format!(
                "cannot list offsets of {first} and {others} other partitions: they have no leader that answers"
            ));
            self.described = None;
        }
        self.list_offsets(leaders, sample, failures).await;
        self.ask_topics(&wanted, sample, failures).await;
    }

    fn exists(&self, partition: &TopicPartition) -> bool {
        let topic = self.cluster.topics.get(&partition.topic);
        topic.is_some_and(|topic| topic.partitions.contains_key(&partition.partition))
    }

    /// Adds dead-letter topics even if no group consumes them.
    fn add_dead_letters(&self, wanted: &mut BTreeSet<TopicPartition>) {
        for (name, topic) in &self.cluster.topics {
            let is_ours = self.shard.as_ref().is_none_or(|shard| shard.includes(name.as_str()));
            if is_ours && !topic.internal && self.config().dead_letters.is_match(name.as_str()) {
                let partitions = topic.partitions.keys();
                wanted.extend(partitions.map(|partition| TopicPartition::new(name.clone(), *partition)));
            }
        }
    }

    async fn list_offsets(&mut self, mut leaders: Leaders, sample: &mut Sample, failures: &mut Vec<String>) {
        let (all, stable) = (IsolationLevel::ReadUncommitted, IsolationLevel::ReadCommitted);
        let starts = self.survey().list_offsets(&leaders, OffsetSpec::Earliest, all).await;
        self.note_offsets(&leaders, &starts, failures);
        leaders.retain(|leader, _| self.may_ask(*leader, RequestKind::Offsets));
        // Brokers that respond at once read their end offsets now; a broker that does not respond in time is not in the sample.
        (sample.now, sample.wall_ms) = (clock::now(), clock::wall_ms());
        let ends = self.survey().list_offsets(&leaders, OffsetSpec::Latest, all).await;
        self.note_offsets(&leaders, &ends, failures);
        leaders.retain(|leader, _| self.may_ask(*leader, RequestKind::Offsets));
        let stables = match self.config().isolation {
            IsolationLevel::ReadCommitted => {
                let stables = self.survey().list_offsets(&leaders, OffsetSpec::Latest, stable).await;
                self.note_offsets(&leaders, &stables, failures);
                Some(stables)
            }
            _ => None,
        };
        let offset =
            |answers: &Offsets, of| answers.found.get(of).copied().flatten().map(|found| found.offset);
        for (partition, end) in &ends.found {
            let log = LogSample::Offsets {
                start: offset(&starts, partition),
                high_watermark: end.map(|end| end.offset),
                last_stable: stables.as_ref().and_then(|stables| offset(stables, partition)),
                bytes: None,
            };
            sample.logs.insert(partition.clone(), log);
        }
    }

    /// Notes failures. Partitions that have moved or are gone are not reported: the next round looks for them.
    fn note_offsets(&mut self, asked: &Leaders, answers: &Offsets, failures: &mut Vec<String>) {
        use ErrorCode as E;
        let mut told = Answers { found: BTreeMap::<(), ()>::new(), failed: Vec::new() };
        for failed in &answers.failed {
            let moved = [E::NotLeaderOrFollower, E::UnknownTopicOrPartition, E::LeaderNotAvailable];
            if failed.error.code().is_some_and(|code| moved.contains(&code)) {
                self.described = None;
                self.may_pass = true;
            } else {
                let error = failed.error.clone();
                told.failed.push(offtake_admin::survey::Unanswered {
                    broker: failed.broker,
                    about: Vec::new(),
                    error,
                });
            }
        }
        self.note(RequestKind::Offsets, asked.keys(), &told, failures);
    }

    /// Reports the known topics, and requests the retention settings of the others.
    async fn ask_topics(
        &mut self,
        wanted: &BTreeSet<TopicPartition>,
        sample: &mut Sample,
        failures: &mut Vec<String>,
    ) {
        let topics: BTreeSet<Topic> = wanted.iter().map(|partition| partition.topic.clone()).collect();
        self.retention.retain(|topic, _| topics.contains(topic));
        self.tiered.retain(|topic| topics.contains(topic));
        if is_due(self.retention_read, self.config().refresh) {
            self.retention_read = Some(clock::now());
            self.retention.clear();
            self.tiered.clear();
        }
        let unknown = topics
            .iter()
            .filter(|topic| self.cluster.topics.contains_key(*topic) && !self.retention.contains_key(*topic));
        let unknown: Vec<Topic> = unknown.cloned().collect();
        let may_ask = |broker: &BrokerId| self.may_ask(*broker, RequestKind::Settings);
        let broker = self.cluster.brokers.keys().copied().find(may_ask);
        if let (Some(broker), false) = (broker, unknown.is_empty()) {
            let answers = self.survey().topic_configs(broker, &unknown, &SETTINGS).await;
            self.mark(RequestKind::Settings, [&broker], &answers.failed);
            for failed in &answers.failed {
                // Without permission to read settings, only the time until data loss is missing.
                tracing::debug!(topics = failed.about.len(), "{}", failed.error);
                if failed.error.code().is_none() {
                    failures.push(failed.error.to_string());
                }
            }
            for (topic, settings) in answers.found {
                if settings.get(TIERED).is_some_and(|value| value == "true") {
                    self.tiered.insert(topic.clone());
                }
                self.retention.insert(topic, retention(&settings));
            }
        }
        for topic in topics {
            let id = self.cluster.topics.get(&topic).and_then(|topic| topic.id.clone());
            let retention = self.retention.get(&topic).copied();
            sample.topics.push(TopicSample { topic, id, retention });
        }
    }
}

/// The retention according to these settings.
fn retention(settings: &BTreeMap<String, String>) -> Retention {
    let policy = settings.get("cleanup.policy").map_or("delete", String::as_str);
    if !policy.split(',').any(|policy| policy.trim() == "delete") {
        return Retention::default();
    }
    // -1 means no limit.
    let limit = |name| settings.get(name).and_then(|value| value.parse().ok());
    Retention { ms: limit("retention.ms"), bytes: limit("retention.bytes") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compacted_topic_is_not_deleted_by_age() {
        let of = |settings: &[(&str, &str)]| {
            let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            retention(&settings.collect())
        };
        let limits = [("retention.ms", "5000"), ("retention.bytes", "-1")];
        assert_eq!(of(&limits), Retention { ms: Some(5000), bytes: None });
        let policy = |policy| [limits[0], limits[1], ("cleanup.policy", policy)];
        assert_eq!(of(&policy("compact")), Retention::default());
        assert_eq!(of(&policy("compact, delete")), Retention { ms: Some(5000), bytes: None });
    }
}
