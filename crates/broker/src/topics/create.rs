//! Creating, extending and deleting topics.

use std::collections::BTreeMap;

use kafka_protocol::error::ResponseError;
use uuid::Uuid;

use super::{Partition, Refusal, Topic, names, settings};
use crate::{kafka::KafkaError, log::Log, model::Model, nodes::INTERNAL_PARTITIONS};

/// Holds the committed offsets of groups.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// Holds the state of transactions.
pub(crate) const TRANSACTIONS_TOPIC: &str = "__transaction_state";

impl Model {
    /// Creates a topic as CreateTopics would; -1 stands for the cluster's default count or factor.
    ///
    /// # Errors
    /// Kafka's code: the name, count, factor or settings are not allowed, or the topic exists.
    pub fn create_topic(
        &mut self,
        name: &str,
        partitions: i32,
        replication_factor: i16,
        configs: &[(&str, &str)],
    ) -> Result<(), KafkaError> {
        let configs = configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.check_new_topic(name)
            .and_then(|()| settings::check_all(&configs))
            .and_then(|()| self.place_topic(partitions, replication_factor))
            .map(|replicas| {
                self.insert_topic(name, replicas, configs);
            })
            .map_err(|refusal| KafkaError::new(refusal.error))
    }

    /// Deletes a topic and all its records.
    ///
    /// # Errors
    /// Kafka's code: there is no such topic.
    pub fn delete_topic(&mut self, name: &str) -> Result<(), KafkaError> {
        let missing = KafkaError::new(ResponseError::UnknownTopicOrPartition);
        let topic = self.topics.all.remove(name).ok_or(missing)?;
        self.topics.names.remove(&topic.id);
        self.topics_changed();
        for partition in indices(topic.partitions.len()) {
            self.wake_fetches(name, partition);
        }
        Ok(())
    }

    /// Extends a topic to this many partitions.
    ///
    /// # Errors
    /// Kafka's code: there is no such topic, or it has as many already.
    pub fn add_partitions(&mut self, name: &str, total: i32) -> Result<(), KafkaError> {
        let replicas = self.place_more(name, total).map_err(|refusal| KafkaError::new(refusal.error))?;
        self.grow_topic(name, replicas);
        Ok(())
    }

    /// Creates one of Kafka's internal topics where it is missing: FindCoordinator needs [`OFFSETS_TOPIC`] for a group,
    /// and [`TRANSACTIONS_TOPIC`] for a transactional id.
    pub(crate) fn ensure_internal_topic(&mut self, name: &str) {
        // Without a live broker nothing can create it, and it would never have leaders.
        if self.topics.all.contains_key(name) || self.nodes.live().next().is_none() {
            return;
        }
        // Each partition's leader then is the coordinator that `Nodes::usual_coordinator_of` names.
        let brokers: Vec<i32> = self.nodes.all.keys().copied().collect();
        let factor = brokers.len().min(3);
        let replicas =
            (0..INTERNAL_PARTITIONS).map(|partition| place_replicas(&brokers, partition, factor)).collect();
        let configs = [
            ("cleanup.policy", "compact"),
            ("compression.type", if name == OFFSETS_TOPIC { "producer" } else { "uncompressed" }),
            ("segment.bytes", "104857600"),
        ];
        let mut configs: BTreeMap<String, String> =
            configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        if name == TRANSACTIONS_TOPIC {
            configs.insert("min.insync.replicas".to_owned(), factor.min(2).to_string());
            configs.insert("unclean.leader.election.enable".to_owned(), "false".to_owned());
        }
        self.insert_topic(name, replicas, configs);
    }

    // ---- checks of a request --------------------------------------------------------------------------------------

    pub(super) fn check_new_topic(&self, name: &str) -> Result<(), Refusal> {
        names::check(name)?;
        if self.topics.all.contains_key(name) {
            let message = format!("there is a topic '{name}' already");
            return Err(Refusal::new(ResponseError::TopicAlreadyExists, message));
        }
        if let Some(other) = self.topics.all.keys().find(|other| names::collide(name, other)) {
            let message = format!("'{name}' and '{other}' differ only in '.' and '_'");
            return Err(Refusal::new(ResponseError::InvalidTopicException, message));
        }
        Ok(())
    }

    /// The replicas of a new topic's partitions.
    pub(super) fn place_topic(&self, partitions: i32, factor: i16) -> Result<Vec<Vec<i32>>, Refusal> {
        if factor < -1 || factor == 0 {
            let message = "a replication factor is 1 or more, or -1 for the default";
            return Err(Refusal::new(ResponseError::InvalidReplicationFactor, message));
        }
        if partitions < -1 || partitions == 0 {
            let message = "a topic has 1 partition or more, or -1 for the default";
            return Err(Refusal::new(ResponseError::InvalidPartitions, message));
        }
        let partitions = if partitions == -1 { self.config.num_partitions } else { partitions };
        let factor = if factor == -1 { self.config.replication_factor } else { factor };
        self.place(self.topics.created, count(partitions), usize::try_from(factor).unwrap_or(0))
    }

    /// The replicas of the partitions that a topic lacks of `total`.
    pub(super) fn place_more(&self, name: &str, total: i32) -> Result<Vec<Vec<i32>>, Refusal> {
        let missing = self.missing_partitions(name, total)?;
        let topic = self.topics.all.get(name);
        let has = topic.map_or(0, |topic| topic.partitions.len());
        let first = topic.and_then(|topic| topic.partitions.first());
        let factor = first.map_or(1, |first| first.replicas.len());
        // Continue after the broker of the topic's last partition.
        let start = first.and_then(|first| {
            let lead = first.replicas.first()?;
            self.nodes.all.keys().position(|broker| broker == lead)
        });
        self.place(start.unwrap_or(0) + has, missing, factor)
    }

    pub(super) fn missing_partitions(&self, name: &str, total: i32) -> Result<usize, Refusal> {
        let Some(topic) = self.topics.all.get(name) else {
            return Err(Refusal::silent(ResponseError::UnknownTopicOrPartition));
        };
        let has = topic.partitions.len();
        let total = count(total);
        if total <= has {
            let message = format!("'{name}' has {has} partitions: {total} would not be more");
            return Err(Refusal::new(ResponseError::InvalidPartitions, message));
        }
        Ok(total - has)
    }

    /// Checks the replicas that a request itself assigns.
    pub(super) fn check_assignment(&self, replicas: &[i32], factor: Option<usize>) -> Result<(), Refusal> {
        let refuse = |message: String| Err(Refusal::new(ResponseError::InvalidReplicaAssignment, message));
        if replicas.is_empty() {
            return refuse("a partition without replicas".to_owned());
        }
        let mut seen = Vec::with_capacity(replicas.len());
        for broker in replicas {
            if !self.nodes.all.contains_key(broker) {
                return refuse(format!("there is no broker {broker}"));
            }
            if seen.contains(broker) {
                return refuse(format!("broker {broker} is named twice for one partition"));
            }
            seen.push(*broker);
        }
        match factor {
            Some(factor) if factor != replicas.len() => {
                refuse(format!("{} replicas where other partitions have {factor}", replicas.len()))
            }
            _ if !replicas.iter().any(|broker| self.nodes.believed_up(*broker)) => {
                refuse("none of a partition's replicas is up".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn place(&self, start: usize, partitions: usize, factor: usize) -> Result<Vec<Vec<i32>>, Refusal> {
        let brokers: Vec<i32> = self.nodes.all.keys().copied().collect();
        let refuse = |message: String| Err(Refusal::new(ResponseError::InvalidReplicationFactor, message));
        if factor > brokers.len() {
            return refuse(format!("{factor} replicas on {} brokers", brokers.len()));
        }
        let (mut order, down): (Vec<i32>, Vec<i32>) =
            brokers.into_iter().partition(|broker| self.nodes.believed_up(*broker));
        if order.is_empty() {
            return refuse("no broker is up".to_owned());
        }
        let up = order.len();
        let replicas = (0..partitions).map(|partition| {
            // Brokers that are up come first, so that one of them leads.
            order.rotate_left(if partition == 0 { start % up } else { 1 % up });
            order.iter().chain(&down).copied().take(factor).collect()
        });
        Ok(replicas.collect())
    }

    // ---- the change ----------------------------------------------------------------------------------------------

    pub(super) fn insert_topic(
        &mut self,
        name: &str,
        replicas: Vec<Vec<i32>>,
        configs: BTreeMap<String, String>,
    ) -> Uuid {
        let id = self.random.uuid();
        let partitions = replicas.into_iter().map(|replicas| self.new_partition(replicas)).collect();
        let internal = names::is_internal(name);
        if !internal {
            self.topics.created = self.topics.created.wrapping_add(1);
        }
        self.topics.all.insert(name.to_owned(), Topic { id, partitions, configs, internal });
        self.topics.names.insert(id, name.to_owned());
        self.topics_changed();
        id
    }

    pub(super) fn grow_topic(&mut self, name: &str, replicas: Vec<Vec<i32>>) {
        let more: Vec<Partition> =
            replicas.into_iter().map(|replicas| self.new_partition(replicas)).collect();
        if let Some(topic) = self.topics.all.get_mut(name) {
            topic.partitions.extend(more);
        }
        self.topics_changed();
    }

    fn new_partition(&self, replicas: Vec<i32>) -> Partition {
        let isr: Vec<i32> =
            replicas.iter().copied().filter(|broker| self.nodes.believed_up(*broker)).collect();
        Partition {
            leader: isr.first().copied(),
            leader_epoch: 0,
            replicas,
            isr,
            elr: Vec::new(),
            log: Log::default(),
        }
    }
}

fn place_replicas(brokers: &[i32], partition: usize, factor: usize) -> Vec<i32> {
    brokers.iter().cycle().skip(partition % brokers.len().max(1)).take(factor).copied().collect()
}

fn count(partitions: i32) -> usize {
    usize::try_from(partitions).unwrap_or(0)
}

/// The numbers of this many partitions.
pub(super) fn indices(count: usize) -> std::ops::Range<i32> {
    0..i32::try_from(count).unwrap_or(i32::MAX)
}
