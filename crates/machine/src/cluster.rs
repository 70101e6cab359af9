//! What we know of the cluster at one moment: an immutable view, passed to whoever needs it.

use std::collections::BTreeMap;

use offtake_wire::{ErrorCode, Uuid};

use crate::names::{BrokerId, LeaderEpoch, Topic, TopicPartition};

/// Brokers, topics and leaders as the newest metadata has them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cluster {
    /// The cluster's id, where the brokers tell it.
    pub cluster_id: Option<String>,
    /// The broker that creates and deletes topics.
    pub controller: Option<BrokerId>,
    /// The brokers that are up.
    pub brokers: BTreeMap<BrokerId, Broker>,
    /// The topics we asked about, those with errors included.
    pub topics: BTreeMap<Topic, TopicInfo>,
}

/// A broker's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Its host name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its rack, where set.
    pub rack: Option<String>,
}

/// A topic.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicInfo {
    /// Its id; zero where the broker is older than topic ids (KIP-516).
    pub id: Uuid,
    /// Why there are no partitions, if there are none.
    pub error: ErrorCode,
    /// Whether Kafka itself owns it (`__consumer_offsets`).
    pub internal: bool,
    /// Its partitions by index; a gap is a partition that the broker did not tell of.
    pub partitions: BTreeMap<i32, PartitionInfo>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionInfo {
    /// Who leads it, if anybody does.
    pub leader: Option<BrokerId>,
    /// The leader's term; never goes back in successive views (FAILURES B2).
    pub epoch: LeaderEpoch,
    /// All its replicas.
    pub replicas: Vec<BrokerId>,
    /// Those in sync.
    pub isr: Vec<BrokerId>,
    /// Those that are down.
    pub offline: Vec<BrokerId>,
}

impl Cluster {
    /// The topic, if we asked about it and it exists.
    pub fn topic(&self, name: &str) -> Option<&TopicInfo> {
        self.topics.get(name).filter(|topic| topic.error.is_ok())
    }

    /// The partition, where known.
    pub fn partition(&self, of: &TopicPartition) -> Option<&PartitionInfo> {
        self.topic(of.topic.as_str())?.partitions.get(&of.partition)
    }

    /// Its leader, if it has one whose address we know.
    pub fn leader(&self, of: &TopicPartition) -> Option<BrokerId> {
        self.partition(of)?.leader.filter(|id| self.brokers.contains_key(id))
    }

    /// The topic's id, where it has one.
    pub fn topic_id(&self, name: &str) -> Option<Uuid> {
        self.topic(name).map(|topic| topic.id).filter(|id| *id != Uuid::ZERO)
    }

    /// The name of the topic with this id.
    pub fn topic_named(&self, id: Uuid) -> Option<&Topic> {
        if id == Uuid::ZERO {
            return None;
        }
        self.topics.iter().find(|(_, topic)| topic.id == id).map(|(name, _)| name)
    }
}
