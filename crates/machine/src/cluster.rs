//! What we know of the cluster at one moment: an immutable view, passed to whoever needs it.

use std::collections::BTreeMap;

use offtake_wire::{
    ErrorCode, MetadataResponse, Uuid,
    messages::metadata::{MetadataResponseBroker, MetadataResponsePartition},
};

use crate::names::{BrokerId, LeaderEpoch, Topic, TopicPartition, known_epoch};

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
    /// Whether we asked about all there are: a topic that is not here then does not exist.
    pub lists_all: bool,
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

impl TopicInfo {
    /// A topic that does not exist.
    pub(crate) fn unknown() -> Self {
        let error = ErrorCode::UnknownTopicOrPartition;
        Self { id: Uuid::default(), error, internal: false, partitions: BTreeMap::new() }
    }
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionInfo {
    /// Who leads it, if anybody does.
    pub leader: Option<BrokerId>,
    /// The leader's term; never goes back in successive views.
    pub epoch: LeaderEpoch,
    /// All its replicas.
    pub replicas: Vec<BrokerId>,
    /// Those in sync.
    pub isr: Vec<BrokerId>,
    /// Those that are down.
    pub offline: Vec<BrokerId>,
}

impl Cluster {
    /// What a broker answered, over what was known `before`: an older leader epoch never replaces a newer one of the same
    /// topic. `asked_all`: no topics were named in the question.
    pub fn read(response: MetadataResponse, asked_all: bool, before: &Self) -> Self {
        let mut topics = BTreeMap::new();
        for topic in response.topics {
            let Some(name) = topic.name.filter(|name| !name.is_empty()).map(Topic::from) else { continue };
            let known = before.topics.get(&name);
            let info = merge(known, topic.topic_id, topic.error_code, topic.is_internal, topic.partitions);
            topics.entry(name).or_insert(info);
        }
        Self {
            cluster_id: response.cluster_id,
            controller: BrokerId::known(response.controller_id),
            brokers: brokers(response.brokers),
            topics,
            lists_all: asked_all,
        }
    }

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

/// The brokers that can be dialled; entries with an impossible address are dropped (FAILURES §3 row 20).
fn brokers(of: Vec<MetadataResponseBroker>) -> BTreeMap<BrokerId, Broker> {
    let mut brokers = BTreeMap::new();
    for broker in of {
        let port = u16::try_from(broker.port).ok().filter(|port| *port > 0);
        if let (Some(id), Some(port), false) = (BrokerId::known(broker.node_id), port, broker.host.is_empty())
        {
            brokers.entry(id).or_insert(Broker { host: broker.host, port, rack: broker.rack });
        }
    }
    brokers
}

/// A topic as a broker tells it, over what we knew: an older epoch never replaces a newer one of the same topic.
fn merge(
    known: Option<&TopicInfo>,
    id: Uuid,
    error: ErrorCode,
    internal: bool,
    partitions: Vec<MetadataResponsePartition>,
) -> TopicInfo {
    let known = known.filter(|known| known.id == id);
    let mut infos = BTreeMap::new();
    for partition in partitions.into_iter().filter(|partition| partition.partition_index >= 0) {
        let index = partition.partition_index;
        let ids = |ids: Vec<i32>| ids.into_iter().filter_map(BrokerId::known).collect();
        let mut info = PartitionInfo {
            leader: BrokerId::known(partition.leader_id)
                .filter(|_| partition.error_code != ErrorCode::LeaderNotAvailable),
            epoch: known_epoch(partition.leader_epoch),
            replicas: ids(partition.replica_nodes),
            isr: ids(partition.isr_nodes),
            offline: ids(partition.offline_replicas),
        };
        if let Some(before) = known.and_then(|known| known.partitions.get(&index)) {
            match (before.epoch, info.epoch) {
                (Some(old), Some(new)) if new < old => info = before.clone(),
                (Some(_), None) => info.epoch = before.epoch,
                _ => {}
            }
        }
        infos.entry(index).or_insert(info);
    }
    let error = if error.is_ok() && infos.is_empty() { ErrorCode::UnknownTopicOrPartition } else { error };
    TopicInfo { id, error, internal, partitions: infos }
}
