//! [`Collector`]: queries the brokers, and passes the results to a [`Lag`].

mod brokers;
mod commits;
mod groups;
mod logs;
mod sizes;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use offtake_admin::{
    Admin, BrokerId, Error, GroupListing, Topic, TopicPartition,
    survey::{ClusterDescription, Survey, Unanswered},
};
use offtake_client::clock;

use self::brokers::{Brokers, RequestKind, is_silence};
use crate::{
    config::Config,
    machine::Lag,
    offsets_topic::{OffsetsTopic, Shard},
    report::{FindingKind, Report},
    sample::{RecordTime, Retention, Sample},
};

/// Watches the lag of groups, with one round per call.
///
/// A round queries all brokers at the same time: for the groups that each coordinates; for their members and committed offsets
/// (200 groups a request); for the start and end offsets of the logs that it leads (10,000 partitions a request), and for their
/// sizes (one request). From time to time it reads the settings of topics (1,000 a request), and for some partitions a record (50
/// a request). For 5,000 groups on 200,000 partitions at three brokers, that is about 120 requests. A round fetches the list of
/// partitions only if one has moved or [`Config::refresh`] has passed.
///
/// A broker that does not respond in time is not queried for a while, longer each time, up to 1 min. Its data stays unchanged,
/// and [`Report::failures`] says so. If a broker lists its groups and then does not respond to another kind of request, only that
/// kind pauses. Other brokers are delayed only in the round in which it fails.
#[derive(Debug)]
pub struct Collector {
    admin: Admin,
    lag: Lag,
    cluster: ClusterDescription,
    /// When the cluster was described; `None` if it has to be described again.
    described: Option<Instant>,
    brokers: Brokers,
    /// The listed groups, by name.
    listed: BTreeMap<String, GroupListing>,
    /// The brokers of the previous round.
    brokers_before: BTreeSet<BrokerId>,
    /// Whether some failure of the last round may be transient.
    may_pass: bool,
    /// Partitions with committed offsets that did not exist when the cluster was described: deleted, or not visible to this
    /// client.
    missing: BTreeSet<TopicPartition>,
    /// The retention of each topic, and when it was read.
    retention: BTreeMap<Topic, Retention>,
    /// The topics with only part of their data on the brokers' disks (KIP-405).
    tiered: BTreeSet<Topic>,
    retention_read: Option<Instant>,
    offsets_topic: Option<OffsetsTopic>,
    /// The groups that this replica watches, among the selected ones.
    shard: Option<Shard>,
}

impl Collector {
    /// Creates a collector with this client, and sends no request yet. A limit by [`Admin::within`] would apply to all rounds
    /// together.
    #[must_use]
    pub fn new(admin: Admin, config: Config) -> Self {
        Self {
            admin,
            lag: Lag::new(config),
            cluster: ClusterDescription::default(),
            described: None,
            brokers: Brokers::default(),
            listed: BTreeMap::new(),
            brokers_before: BTreeSet::new(),
            may_pass: false,
            missing: BTreeSet::new(),
            retention: BTreeMap::new(),
            tiered: BTreeSet::new(),
            retention_read: None,
            offsets_topic: None,
            shard: None,
        }
    }

    /// Reads the committed offsets from `__consumer_offsets`, or watches a share of the groups, or both, as configured.
    pub fn use_offsets_topic(&mut self, topic: OffsetsTopic) {
        self.offsets_topic = Some(topic);
    }

    /// Queries the brokers, and reports what is known then. The future may be dropped; the round then does not count.
    ///
    /// # Errors
    /// No broker has ever described the cluster. Later failures are listed in [`Report::failures`]. `NotOwned` if there are
    /// several replicas and this one does not know its groups yet.
    pub async fn round(&mut self) -> Result<Report, Error> {
        let mut failures = Vec::new();
        self.may_pass = false;
        self.brokers.begin_round();
        self.describe_cluster(&mut failures).await?;
        self.look_up_shard(&mut failures)?;
        let mut sample = Sample::at(clock::now(), clock::wall_ms());
        self.ask_groups(&mut sample, &mut failures).await;
        self.ask_logs(&mut sample, &mut failures).await;
        self.ask_sizes(&mut sample).await;
        sample.cluster.clone_from(&self.cluster.id);
        failures.extend(self.brokers.paused(clock::now()));
        sample.failures = failures;
        self.lag.handle_sample(sample);
        let (found, failures) = self.read_record_times().await;
        self.lag.record_times(found);
        self.lag.note_failures(failures);
        Ok(self.report())
    }

    /// The state after the last round.
    #[must_use]
    pub fn report(&self) -> Report {
        let mut report = Report { shard: self.shard.clone(), ..self.lag.report() };
        if let Some(shard) = &self.shard {
            // If several replicas see a dead-letter topic, one of them reports it.
            report.findings.retain(|finding| match (finding.kind, &finding.topic) {
                (FindingKind::DeadLetters, Some(topic)) => shard.includes(topic),
                _ => true,
            });
        }
        report
    }

    /// Whether some failure of the last round may be transient, such as a coordinator that loads or a partition that moves. A
    /// caller that makes a single round may then want another one.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        self.may_pass
    }

    /// The client, for other requests between two rounds.
    pub fn admin(&mut self) -> &mut Admin {
        &mut self.admin
    }

    /// Closes the connections, and leaves the replicas' group.
    pub async fn close(self) {
        if let Some(topic) = self.offsets_topic {
            topic.close().await;
        }
        self.admin.close().await;
    }

    fn config(&self) -> &Config {
        self.lag.config()
    }

    fn survey(&mut self) -> Survey<'_> {
        let limit = self.lag.config().broker_timeout;
        self.admin.survey(limit)
    }

    /// Describes the cluster if that is due, or if something has moved.
    async fn describe_cluster(&mut self, failures: &mut Vec<String>) -> Result<(), Error> {
        if !is_due(self.described, self.config().refresh) {
            return Ok(());
        }
        match self.survey().cluster(None).await {
            Ok(cluster) => {
                self.cluster = cluster;
                self.described = Some(clock::now());
                Ok(())
            }
            Err(error) if self.cluster.brokers.is_empty() => Err(error),
            Err(error) => {
                failures.push(error.to_string());
                Ok(())
            }
        }
    }

    /// Reads the timestamps that the machine wants, up to the limit. Also returns the failures.
    async fn read_record_times(&mut self) -> (Vec<(TopicPartition, i64, RecordTime)>, Vec<String>) {
        let wanted = self.lag.wanted_record_times(self.config().record_times_per_round);
        let mut leaders: BTreeMap<BrokerId, Vec<(TopicPartition, i64)>> = BTreeMap::new();
        for (partition, offset) in wanted {
            if let Some(leader) = self.leader(&partition, RequestKind::Records) {
                leaders.entry(leader).or_default().push((partition, offset));
            }
        }
        if leaders.is_empty() {
            return (Vec::new(), Vec::new());
        }
        let answers = self.survey().record_times(&leaders).await;
        self.mark(RequestKind::Records, leaders.keys(), &answers.failed);
        let mut failures = Vec::new();
        for failed in &answers.failed {
            // Without permission to read records, only some ages are missing.
            tracing::debug!(partitions = failed.about.len(), "{}", failed.error);
            if failed.error.code().is_none() {
                failures.push(failed.error.to_string());
            } else if failed.error.is_retriable() {
                // Something may have moved: the next round updates the metadata.
                self.described = None;
            }
        }
        let found = answers.found.into_iter().map(|((partition, offset), time)| (partition, offset, time));
        (found.collect(), failures)
    }

    /// The leader, if there is one that may get this request now.
    fn leader(&self, of: &TopicPartition, kind: RequestKind) -> Option<BrokerId> {
        let leader = self.cluster.topics.get(&of.topic)?.partitions.get(&of.partition)?.leader?;
        self.may_ask(leader, kind).then_some(leader)
    }

    fn may_ask(&self, broker: BrokerId, kind: RequestKind) -> bool {
        self.cluster.brokers.contains_key(&broker) && self.brokers.may_ask(broker, kind, clock::now())
    }

    /// Notes which of the queried brokers have responded, and which have not.
    fn mark<'a, K>(
        &mut self,
        kind: RequestKind,
        asked: impl IntoIterator<Item = &'a BrokerId>,
        failed: &[Unanswered<K>],
    ) {
        let now = clock::now();
        for broker in asked {
            if failed.iter().any(|failed| failed.broker == *broker && is_silence(&failed.error)) {
                self.brokers.failed(*broker, kind, now);
            } else {
                self.brokers.answered(*broker, kind);
            }
        }
    }
}

/// Whether it never happened, or not within this time.
fn is_due(last: Option<Instant>, every: Duration) -> bool {
    last.is_none_or(|last| clock::now().saturating_duration_since(last) >= every)
}
