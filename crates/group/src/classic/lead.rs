//! The state of a generation's leader: the subscriptions of all members, and the partitions of their topics.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use offtake_machine::{BrokerId, Cluster, PartitionInfo, Topic, TopicInfo, TopicPartition};
use offtake_wire::{
    ErrorCode,
    messages::{join_group::JoinGroupResponseMember, sync_group::SyncGroupRequestAssignment},
};

use super::follow_up::WithheldFrom;
use crate::assignor::{Members, Partitions, Racks, Strategy, Subscriptions, encode_assignment};

#[derive(Clone, Debug, Hash)]
pub(super) struct Lead {
    assignor: Strategy,
    members: Members,
    topics: BTreeSet<Topic>,
    /// The partitions that the assignment was made for; `None` until it is made.
    partitions: Option<Partitions>,
    /// The topology of the assignment that the coordinator kept, if this member made it.
    kept_topology: Option<u64>,
    /// The racks of brokers, if any member has a rack (KIP-881). A broker that is down keeps its rack: otherwise each restart of a
    /// broker would change the racks of replicas twice.
    racks: Option<BTreeMap<BrokerId, String>>,
}

impl Lead {
    /// Decodes the subscriptions of all members. A member whose subscription cannot be decoded gets nothing,
    /// and one that is listed twice counts once (FAILURES D6, INPUT50).
    pub(super) fn new(assignor: Strategy, listed: Vec<JoinGroupResponseMember>) -> Self {
        let mut members = Members::new();
        let mut subscriptions = Subscriptions::default();
        for member in listed {
            if members.contains_key(&member.member_id) {
                tracing::warn!(member = %member.member_id, "listed twice by the coordinator; the first counts");
                continue;
            }
            let instance = member.group_instance_id;
            let subscription = subscriptions
                .decode(&assignor, instance, member.metadata)
                .inspect_err(
                    |error| tracing::warn!(member = %member.member_id, %error, "unreadable subscription"),
                )
                .unwrap_or_default();
            members.insert(member.member_id, subscription);
        }
        let mut topics = BTreeSet::new();
        let mut last = None;
        for subscription in members.values().map(|member| &member.topics) {
            // Members with equal subscriptions share the set.
            if !last.is_some_and(|last| Arc::ptr_eq(last, subscription)) {
                topics.extend(subscription.iter().cloned());
            }
            last = Some(subscription);
        }
        let racks =
            members.values().any(|member| member.rack.as_deref().is_some_and(|rack| !rack.is_empty()));
        Self {
            assignor,
            members,
            topics,
            partitions: None,
            kept_topology: None,
            racks: racks.then(BTreeMap::new),
        }
    }

    /// A leader that knows only its own subscription, and that does not have to assign.
    pub(super) fn for_restarted_static_leader(assignor: Strategy, topics: &BTreeSet<Topic>) -> Self {
        let (members, topics) = (Members::new(), topics.clone());
        Self { assignor, members, topics, partitions: None, kept_topology: None, racks: None }
    }

    /// Whether it has not read the partitions yet.
    pub(super) fn is_new(&self) -> bool {
        self.partitions.is_none()
    }

    /// All topics of the group.
    pub(super) fn topics(&self) -> &BTreeSet<Topic> {
        &self.topics
    }

    /// The partitions that members claim to own, of topics that the group subscribes to, and the kind of each member.
    pub(super) fn claims(&self) -> impl Iterator<Item = (&TopicPartition, WithheldFrom)> {
        let claims = self.members.values().flat_map(|member| {
            let is_static = member.instance_id.is_some();
            let kind = if is_static { WithheldFrom::Static } else { WithheldFrom::Dynamic };
            member.owned.iter().map(move |claimed| (claimed, kind))
        });
        claims.filter(|(claimed, _)| self.topics.contains(&claimed.topic))
    }

    /// Whether the metadata of all topics is complete.
    pub(super) fn has_metadata(&self, cluster: &Cluster) -> bool {
        self.topics.iter().all(|topic| count(cluster.topics.get(topic)).is_some())
    }

    /// The partitions of each topic. For a topic with a retriable error, the last known ones are kept.
    fn read_partitions(&mut self, cluster: &Cluster) -> Partitions {
        if let Some(known) = &mut self.racks {
            let racks = cluster.brokers.iter().filter_map(|(id, broker)| Some((*id, broker.rack.clone()?)));
            known.extend(racks);
        }
        let mut partitions = Partitions::default();
        let mut racks = RacksOf { brokers: self.racks.as_ref(), known: BTreeMap::new() };
        for topic in &self.topics {
            let info = cluster.topics.get(topic);
            match (count(info), info) {
                (Some(0), _) => {}
                (Some(count), Some(info)) => {
                    partitions.insert_with_racks(topic, count, racks.of_topic(info, count));
                }
                _ => {
                    let before = self.partitions.as_ref();
                    let count = before.map_or(0, |before| before.count(topic.as_str()));
                    if count > 0 {
                        let racks = before.map(|before| before.all_racks(topic.as_str()).to_vec());
                        partitions.insert_with_racks(topic, count, racks.unwrap_or_default());
                    }
                }
            }
        }
        partitions
    }

    /// The assignment of all members, from the current metadata.
    pub(super) fn assign(&mut self, cluster: &Cluster) -> Vec<SyncGroupRequestAssignment> {
        let partitions = self.read_partitions(cluster);
        let (assignment, fault) = self.assignor.assign(&partitions, &self.members);
        if let Some(fault) = fault {
            tracing::warn!("{fault}");
        }
        self.partitions = Some(partitions);
        self.kept_topology = None;
        tracing::debug!(assignor = %self.assignor, ?assignment, "assigned as leader");
        assignment
            .into_iter()
            // Topic names came from requests, so they can be encoded.
            .filter_map(|(member_id, given)| {
                let assignment = encode_assignment(&given.partitions, given.user_data.as_ref()).ok()?;
                Some(SyncGroupRequestAssignment { member_id, assignment })
            })
            .collect()
    }

    /// The coordinator kept the current assignment (KIP-814). From now on this member watches the partitions (FAILURES G3).
    pub(super) fn watch_partitions(&mut self, cluster: &Cluster) {
        if self.has_metadata(cluster) {
            self.partitions = Some(self.read_partitions(cluster));
        }
    }

    /// The assignment that was kept was made for the partitions with this [`topology_hash`](Self::topology_hash). Partitions may
    /// have been added while this member was away.
    pub(super) fn set_assigned_topology(&mut self, topology_hash: u64) {
        self.kept_topology = Some(topology_hash);
    }

    /// A hash of all topics and their partition counts, the same in every process.
    pub(super) fn topology_hash(&self) -> Option<u64> {
        let partitions = self.partitions.as_ref()?;
        // FNV-1a.
        let mut topology_hash = 0xCBF2_9CE4_8422_2325_u64;
        for (topic, count) in partitions.iter() {
            for byte in topic.as_str().bytes().chain([0]).chain(count.to_be_bytes()) {
                topology_hash = (topology_hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
            }
        }
        Some(topology_hash)
    }

    /// Whether the assignment that was kept was made for other partitions than the current ones.
    pub(super) fn is_outdated(&self) -> bool {
        self.kept_topology.is_some_and(|kept| self.topology_hash().is_some_and(|now| now != kept))
    }

    /// Whether the assignment no longer fits the current partitions or, if members have racks, the racks of their replicas.
    pub(super) fn outdated_by(&mut self, cluster: &Cluster) -> bool {
        if self.partitions.is_none() {
            self.watch_partitions(cluster);
            return self.is_outdated();
        }
        let now = self.read_partitions(cluster);
        self.partitions.as_ref() != Some(&now)
    }
}

/// How many partitions a topic has; `None` if that is not known now. A topic that does not exist has none.
fn count(info: Option<&TopicInfo>) -> Option<i32> {
    match info? {
        // A missing index is a partition that the broker left out; it exists (FAILURES B5).
        info if info.error.is_ok() => {
            Some(info.partitions.last_key_value().map_or(0, |(last, _)| last.saturating_add(1)))
        }
        info if info.error == ErrorCode::UnknownTopicOrPartition || !info.error.is_retriable() => Some(0),
        _ => None,
    }
}

/// The racks of replicas. Partitions with the same replicas share the set.
struct RacksOf<'a> {
    brokers: Option<&'a BTreeMap<BrokerId, String>>,
    known: BTreeMap<&'a [BrokerId], Racks>,
}

impl<'a> RacksOf<'a> {
    fn of_topic(&mut self, info: &'a TopicInfo, count: i32) -> Vec<Racks> {
        match self.brokers {
            Some(brokers) => {
                (0..count).map(|index| self.of_partition(brokers, info.partitions.get(&index))).collect()
            }
            None => Vec::new(),
        }
    }

    fn of_partition(
        &mut self,
        brokers: &BTreeMap<BrokerId, String>,
        partition: Option<&'a PartitionInfo>,
    ) -> Racks {
        let replicas = partition.map_or(&[][..], |partition| &partition.replicas);
        let racks = || replicas.iter().filter_map(|broker| brokers.get(broker).cloned()).collect();
        Arc::clone(self.known.entry(replicas).or_insert_with(|| Arc::new(racks())))
    }
}

#[cfg(test)]
mod tests {
    use offtake_machine::Broker;
    use offtake_wire::{ConsumerProtocolSubscription, Uuid};

    use super::*;
    use crate::assignor::{BuiltIn, decode_assignment};

    /// Three brokers in three racks, one topic with a replica of each partition at one of them.
    fn cluster(up: &[i32], racks: [&str; 3], replicas: &[i32]) -> Cluster {
        let broker = |id: &i32| {
            let rack = racks.get(*id as usize).map(|rack| (*rack).to_owned());
            (BrokerId(*id), Broker { host: "h".into(), port: 1, rack })
        };
        let partition = |(index, at): (usize, &i32)| {
            let mut info = PartitionInfo::new(None, None);
            info.replicas = vec![BrokerId(*at)];
            info.isr = info.replicas.clone();
            (index as i32, info)
        };
        let partitions = replicas.iter().enumerate().map(partition).collect();
        let topic = TopicInfo { id: Uuid::ZERO, error: ErrorCode::None, internal: false, partitions };
        Cluster {
            brokers: up.iter().map(broker).collect(),
            topics: [("t".into(), topic)].into(),
            ..Cluster::default()
        }
    }

    fn lead(racks: &[Option<&str>]) -> Lead {
        let member = |(nth, rack): (usize, &Option<&str>)| {
            let rack_id = rack.map(str::to_owned);
            let subscription =
                ConsumerProtocolSubscription { topics: vec!["t".into()], rack_id, ..Default::default() };
            JoinGroupResponseMember {
                member_id: format!("m{nth}"),
                group_instance_id: None,
                metadata: subscription.encode_versioned(3).unwrap(),
            }
        };
        Lead::new(BuiltIn::Range.into(), racks.iter().enumerate().map(member).collect())
    }

    fn given(lead: &mut Lead, cluster: &Cluster) -> Vec<Vec<i32>> {
        let all = lead.assign(cluster).into_iter().map(|given| decode_assignment(given.assignment).unwrap());
        all.map(|given| given.partitions.iter().map(|each| each.partition).collect()).collect()
    }

    const RACKS: [&str; 3] = ["a", "b", "c"];

    #[test]
    fn a_member_in_a_rack_gets_the_partitions_of_that_rack() {
        let cluster = cluster(&[0, 1, 2], RACKS, &[2, 1, 0]);
        assert_eq!(given(&mut lead(&[Some("a"), Some("b"), Some("c")]), &cluster), [[2], [1], [0]]);
        assert_eq!(given(&mut lead(&[None, None, None]), &cluster), [[0], [1], [2]]);
        assert_eq!(given(&mut lead(&[Some(""), None, Some("elsewhere")]), &cluster), [[0], [1], [2]]);
    }

    #[test]
    fn replicas_that_go_to_another_rack_are_a_reason_to_assign_again_if_members_have_racks() {
        let before = cluster(&[0, 1, 2], RACKS, &[2, 1, 0]);
        let moved = cluster(&[0, 1, 2], RACKS, &[2, 2, 0]);
        let mut near = lead(&[Some("a"), Some("b")]);
        near.assign(&before);
        assert!(!near.outdated_by(&before));
        assert!(near.outdated_by(&moved));
        let mut anywhere = lead(&[None, None]);
        anywhere.assign(&before);
        assert!(!anywhere.outdated_by(&moved));
    }

    #[test]
    fn b8_a_topic_that_cannot_be_told_for_a_while_keeps_its_partitions() {
        let mut lead = lead(&[None, None]);
        let known = cluster(&[0, 1, 2], RACKS, &[2, 1, 0]);
        assert_eq!(given(&mut lead, &known), [vec![0, 1], vec![2]]);
        let mut failing = known.clone();
        for info in failing.topics.values_mut() {
            info.error = ErrorCode::LeaderNotAvailable;
            info.partitions.clear();
        }
        assert!(!lead.outdated_by(&failing));
        assert_eq!(given(&mut lead, &failing), [vec![0, 1], vec![2]]);
    }

    #[test]
    fn a_broker_that_is_down_has_not_moved() {
        let mut near = lead(&[Some("a"), Some("b")]);
        near.assign(&cluster(&[0, 1, 2], RACKS, &[2, 1, 0]));
        assert!(!near.outdated_by(&cluster(&[1, 2], RACKS, &[2, 1, 0])), "no rebalance when it goes");
        assert!(!near.outdated_by(&cluster(&[0, 1, 2], RACKS, &[2, 1, 0])), "nor when it is back");
        assert!(near.outdated_by(&cluster(&[0, 1, 2], ["b", "b", "c"], &[2, 1, 0])), "but if it has moved");
    }
}
