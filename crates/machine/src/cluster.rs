//! The known state of the cluster at one moment: an immutable view.

use std::collections::BTreeMap;

use offtake_wire::{
    ErrorCode, MetadataResponse, Uuid,
    messages::metadata::{MetadataResponseBroker, MetadataResponsePartition},
};

use crate::{
    broker_text::is_host,
    names::{BrokerId, LeaderEpoch, Topic, TopicPartition, known_epoch},
};

/// Brokers, topics and leaders, from the newest metadata.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cluster {
    /// The cluster's id, if the brokers report one.
    pub cluster_id: Option<String>,
    /// The broker that creates and deletes topics.
    pub controller: Option<BrokerId>,
    /// The brokers that are up.
    pub brokers: BTreeMap<BrokerId, Broker>,
    /// The topics that were requested, including those with errors.
    pub topics: BTreeMap<Topic, TopicInfo>,
    /// Whether all topics were requested. Then a topic that is not listed does not exist.
    pub lists_all: bool,
}

/// A broker's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Its host name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its rack (`broker.rack`), if set.
    pub rack: Option<String>,
}

impl Broker {
    /// Another broker's address as sent by a broker; `None` if it cannot be one.
    pub fn at(host: String, port: i32, rack: Option<String>) -> Option<Self> {
        let port = u16::try_from(port).ok().filter(|port| *port > 0)?;
        is_host(&host).then_some(Self { host, port, rack })
    }
}

/// A topic.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicInfo {
    /// Its id; zero if the broker is older than topic ids (KIP-516).
    pub id: Uuid,
    /// Why it cannot be used; [`ErrorCode::None`] if it can.
    pub error: ErrorCode,
    /// Whether Kafka itself owns it (`__consumer_offsets`).
    pub internal: bool,
    /// Its partitions by index. A gap is a partition that the broker left out.
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
#[non_exhaustive]
pub struct PartitionInfo {
    /// Its leader, if it has one.
    pub leader: Option<BrokerId>,
    /// The leader epoch. It never decreases in successive views of one topic; for a topic without an id
    /// (KIP-516) only if the topic was probably created again.
    pub epoch: LeaderEpoch,
    /// All its replicas.
    pub replicas: Vec<BrokerId>,
    /// The in-sync replicas.
    pub isr: Vec<BrokerId>,
    /// The replicas that are offline.
    pub offline: Vec<BrokerId>,
}

impl PartitionInfo {
    /// A partition with this leader in this epoch; its replicas are not known.
    pub fn new(leader: Option<BrokerId>, epoch: LeaderEpoch) -> Self {
        Self { leader, epoch, replicas: Vec::new(), isr: Vec::new(), offline: Vec::new() }
    }
}

impl Cluster {
    /// The view after a broker's response, given the view `before`. An older leader epoch never replaces a
    /// newer one of the same topic. `asked_all`: the request named no topics.
    pub fn from_response(response: MetadataResponse, asked_all: bool, before: &Self) -> Self {
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

    /// The topic, if it was requested and has no error.
    pub fn topic(&self, name: &str) -> Option<&TopicInfo> {
        self.topics.get(name).filter(|topic| topic.error.is_ok())
    }

    /// The partition, if known.
    pub fn partition(&self, of: &TopicPartition) -> Option<&PartitionInfo> {
        self.topic(of.topic.as_str())?.partitions.get(&of.partition)
    }

    /// The partition's leader, if it has one whose address is known.
    pub fn leader(&self, of: &TopicPartition) -> Option<BrokerId> {
        self.partition(of)?.leader.filter(|id| self.brokers.contains_key(id))
    }

    /// The topic's id, if it has one.
    pub fn topic_id(&self, name: &str) -> Option<Uuid> {
        self.topic(name).map(|topic| topic.id).filter(|id| *id != Uuid::ZERO)
    }

    /// The name of the topic with this id.
    pub fn topic_with_id(&self, id: Uuid) -> Option<&Topic> {
        if id == Uuid::ZERO {
            return None;
        }
        self.topics.iter().find(|(_, topic)| topic.id == id).map(|(name, _)| name)
    }
}

/// The brokers with a valid address; the others are left out.
fn brokers(of: Vec<MetadataResponseBroker>) -> BTreeMap<BrokerId, Broker> {
    let mut brokers = BTreeMap::new();
    for broker in of {
        let address = Broker::at(broker.host, broker.port, broker.rack);
        if let (Some(id), Some(address)) = (BrokerId::known(broker.node_id), address) {
            brokers.entry(id).or_insert(address);
        }
    }
    brokers
}

/// How many partitions of a topic a response may leave out, beyond as many as it contains. Partitions are
/// numbered from 0, and assignors allocate memory for all of them up to the last; so a partition with a
/// higher number is ignored (FAILURES INPUT21).
const MISSING_PARTITIONS: usize = 64;

/// Merges a topic from a broker's response with what was known. An older epoch never replaces a newer one of
/// the same topic.
fn merge(
    known: Option<&TopicInfo>,
    id: Uuid,
    error: ErrorCode,
    internal: bool,
    partitions: Vec<MetadataResponsePartition>,
) -> TopicInfo {
    let known = known.filter(|known| known.id == id);
    let end = partitions.len().saturating_mul(2).saturating_add(MISSING_PARTITIONS);
    let mut infos = BTreeMap::new();
    for partition in partitions {
        let index = partition.partition_index;
        if usize::try_from(index).map_or(true, |index| index >= end) {
            continue;
        }
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
