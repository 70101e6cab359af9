//! [`Collector`]: asks the brokers, and gives what they say to a [`Lag`].

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

use self::brokers::{Brokers, Question, is_silence};
use crate::{
    config::Config,
    machine::Lag,
    offsets_topic::{OffsetsTopic, Shard},
    report::{FindingKind, Report},
    sample::{RecordTime, Retention, Sample},
};

/// Watches the lag of groups, one round a call.
///
/// A round asks each broker, all of them at the same time: which groups it coordinates; who their members are and what they have committed
/// (200 groups a request); where the logs that it leads begin and end (10,000 partitions a request), and how large they are (one request). Now and then it reads the settings of
/// topics (1,000 a request), and for some partitions a record (50 a request). For 5,000 groups on 200,000 partitions at three brokers that is
/// about 120 requests. A round fetches no list of partitions unless one has moved or [`Config::refresh`] has passed.
///
/// A broker that does not answer in time is left alone for a while, longer each time, up to 1 min. What it knows stays as it was, and
/// [`Report::failures`] says so. One that lists its groups and then does not answer something else is left alone with that only. The
/// others are not held up but in the round in which it fails.
#[derive(Debug)]
pub struct Collector {
    admin: Admin,
    lag: Lag,
    cluster: ClusterDescription,
    /// When the cluster was described; `None` while it must be again.
    described: Option<Instant>,
    brokers: Brokers,
    /// The groups that were listed, by name.
    listed: BTreeMap<String, GroupListing>,
    /// The brokers that there were in the round before.
    brokers_before: BTreeSet<BrokerId>,
    /// Whether something of what failed in the last round may pass by itself.
    may_pass: bool,
    /// The partitions that are read and were not there when the cluster was described: deleted, or not for us to see.
    missing: BTreeSet<TopicPartition>,
    /// What deletes the records of each topic, and since when that is read.
    retention: BTreeMap<Topic, Retention>,
    /// The topics of which brokers have only a part on their disks (KIP-405).
    tiered: BTreeSet<Topic>,
    retention_read: Option<Instant>,
    offsets_topic: Option<OffsetsTopic>,
    /// Which groups are watched, of those that are selected.
    shard: Option<Shard>,
}

impl Collector {
    /// With this client; no broker is asked yet. [`Admin::within`] would end all rounds.
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

    /// Learns what groups commit from `__consumer_offsets`, or watches a share of the groups, or both, as that is configured.
    pub fn use_offsets_topic(&mut self, topic: OffsetsTopic) {
        self.offsets_topic = Some(topic);
    }

    /// Asks the brokers, and says what is known then. It may be dropped while it waits: then this round counts as none.
    ///
    /// # Errors
    /// No broker has ever told what the cluster looks like. Later, what fails is among [`Report::failures`]. `NotOwned` of one of several replicas that
    /// has not been told yet which groups are its own.
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
        failures.extend(self.brokers.resting(clock::now()));
        sample.failures = failures;
        self.lag.handle_sample(sample);
        let (found, failures) = self.read_record_times().await;
        self.lag.record_times(found);
        self.lag.note_failures(failures);
        Ok(self.report())
    }

    /// What is known since the last round.
    #[must_use]
    pub fn report(&self) -> Report {
        let mut report = Report { shard: self.shard.clone(), ..self.lag.report() };
        if let Some(shard) = &self.shard {
            // Of several replicas that see a topic of dead letters one tells of it.
            report.findings.retain(|finding| match (finding.kind, &finding.topic) {
                (FindingKind::DeadLetters, Some(topic)) => shard.includes(topic),
                _ => true,
            });
        }
        report
    }

    /// Whether something of what failed in the last round may pass by itself: a coordinator that loads, a partition that moves. Who makes one
    /// round only may want to make another.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        self.may_pass
    }

    /// The client that it asks with, for other questions between two rounds.
    pub fn admin(&mut self) -> &mut Admin {
        &mut self.admin
    }

    /// Closes the connections, and leaves the group of the replicas.
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

    /// Describes the cluster if it is time to, or something has moved.
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

    /// Reads the timestamps that the machine wants, as far as they may be read; and says what has failed.
    async fn read_record_times(&mut self) -> (Vec<(TopicPartition, i64, RecordTime)>, Vec<String>) {
        let wanted = self.lag.wanted_record_times(self.config().record_times_per_round);
        let mut leaders: BTreeMap<BrokerId, Vec<(TopicPartition, i64)>> = BTreeMap::new();
        for (partition, offset) in wanted {
            if let Some(leader) = self.leader(&partition, Question::Records) {
                leaders.entry(leader).or_default().push((partition, offset));
            }
        }
        if leaders.is_empty() {
            return (Vec::new(), Vec::new());
        }
        let answers = self.survey().record_times(&leaders).await;
        self.mark(Question::Records, leaders.keys(), &answers.failed);
        let mut failures = Vec::new();
        for failed in &answers.failed {
            // Without the right to read records there are ages that nobody knows, and all else is there.
            tracing::debug!(partitions = failed.about.len(), "{}", failed.error);
            if failed.error.code().is_none() {
                failures.push(failed.error.to_string());
            } else if failed.error.is_retriable() {
                // Something may have moved: the next round looks where it is now.
                self.described = None;
            }
        }
        let found = answers.found.into_iter().map(|((partition, offset), time)| (partition, offset, time));
        (found.collect(), failures)
    }

    /// The leader, if it has one that may be asked this now.
    fn leader(&self, of: &TopicPartition, question: Question) -> Option<BrokerId> {
        let leader = self.cluster.topics.get(&of.topic)?.partitions.get(&of.partition)?.leader?;
        self.may_ask(leader, question).then_some(leader)
    }

    fn may_ask(&self, broker: BrokerId, question: Question) -> bool {
        self.cluster.brokers.contains_key(&broker) && self.brokers.may_ask(broker, question, clock::now())
    }

    /// Which of the brokers that were asked have answered, and which have not.
    fn mark<'a, K>(
        &mut self,
        question: Question,
        asked: impl IntoIterator<Item = &'a BrokerId>,
        failed: &[Unanswered<K>],
    ) {
        let now = clock::now();
        for broker in asked {
            if failed.iter().any(|failed| failed.broker == *broker && is_silence(&failed.error)) {
                self.brokers.failed(*broker, question, now);
            } else {
                self.brokers.answered(*broker, question);
            }
        }
    }
}

/// Whether this was never done, or so long ago.
fn is_due(last: Option<Instant>, every: Duration) -> bool {
    last.is_none_or(|last| clock::now().saturating_duration_since(last) >= every)
}
