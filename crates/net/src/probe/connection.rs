//! [`Connection`]: an open connection for requests about the cluster, and about what this client may do there.

use std::{fmt, sync::Arc};

use offtake_machine::{
    CoordinatorAddress,
    coordinator::{find_coordinator, found_coordinator},
};
use offtake_wire::{
    Api, ApiKey, DescribeGroupsRequest, ErrorCode, Request, Response,
    messages::metadata::{MetadataRequest, MetadataRequestTopic},
};

use super::{ProbeFailure, ProbeStep};
use crate::{handshake::Handshake, shared::Shared};

/// The last version of DescribeGroups that returns the operations even of groups that do not exist (KIP-1043).
const DESCRIBE_GROUPS_OF_ANY: i16 = 5;

/// An open connection to one broker. Each request has [`Config::handshake_timeout`](crate::Config::handshake_timeout).
pub struct Connection {
    pub(super) shared: Arc<Shared>,
    pub(super) handshake: Handshake,
}

impl Connection {
    /// The brokers of the cluster. Needs no ACL.
    ///
    /// # Errors
    /// Why there is no response.
    pub async fn cluster(&mut self) -> Result<ClusterFacts, ProbeFailure> {
        let request = MetadataRequest {
            topics: Some(Vec::new()),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let answer = self.ask(request, None).await?;
        let brokers = answer.brokers.into_iter().filter_map(|broker| {
            Some((broker.node_id, broker.host, u16::try_from(broker.port).ok().filter(|port| *port > 0)?))
        });
        Ok(ClusterFacts {
            cluster_id: answer.cluster_id,
            controller: Some(answer.controller_id).filter(|id| *id >= 0),
            brokers: brokers.collect(),
        })
    }

    /// Whether a topic exists, and the operations that this client may perform on it. It is not created.
    ///
    /// # Errors
    /// Why there is no response.
    pub async fn topic(&mut self, name: &str) -> Result<TopicFacts, ProbeFailure> {
        let topic = MetadataRequestTopic { name: Some(name.to_owned()), ..MetadataRequestTopic::default() };
        let request = MetadataRequest {
            topics: Some(vec![topic]),
            allow_auto_topic_creation: false,
            include_topic_authorized_operations: self.version(ApiKey::Metadata, None) >= 8,
            ..MetadataRequest::default()
        };
        let answer = self.ask(request, None).await?;
        let topic = answer.topics.into_iter().find(|topic| topic.name.as_deref() == Some(name));
        Ok(topic.map_or(
            TopicFacts {
                error: ErrorCode::UnknownTopicOrPartition,
                partitions: 0,
                leaderless: Vec::new(),
                operations: None,
            },
            |topic| {
                let leaderless = topic.partitions.iter().filter(|partition| partition.leader_id < 0);
                TopicFacts {
                    error: topic.error_code,
                    partitions: topic.partitions.len(),
                    leaderless: leaderless.map(|partition| partition.partition_index).collect(),
                    operations: Operations::of(topic.topic_authorized_operations),
                }
            },
        ))
    }

    /// The coordinator of a group: id, host and port, or the error code of the refusal.
    ///
    /// # Errors
    /// Why there is no response.
    pub async fn coordinator(
        &mut self,
        group: &str,
    ) -> Result<Result<(i32, String, u16), ErrorCode>, ProbeFailure> {
        let answer = self.ask(find_coordinator(group), None).await?;
        let found = found_coordinator(answer, group);
        let address = |found: CoordinatorAddress| (found.broker.0, found.host, found.port);
        Ok(found.map(address).map_err(|(code, _)| code))
    }

    /// The operations that this client may perform on a group. This broker must be its coordinator; the group need not exist.
    ///
    /// # Errors
    /// Why there is no response.
    pub async fn group(&mut self, group: &str) -> Result<GroupFacts, ProbeFailure> {
        let request = DescribeGroupsRequest {
            groups: vec![group.to_owned()],
            include_authorized_operations: self.version(ApiKey::DescribeGroups, Some(DESCRIBE_GROUPS_OF_ANY))
                >= 3,
        };
        let answer = self.ask(request, Some(DESCRIBE_GROUPS_OF_ANY)).await?;
        let group = answer.groups.into_iter().find(|described| described.group_id == group);
        Ok(group.map_or(GroupFacts { error: ErrorCode::GroupIdNotFound, operations: None }, |group| {
            GroupFacts { error: group.error_code, operations: Operations::of(group.authorized_operations) }
        }))
    }

    /// The version in which a request of this API would be sent.
    fn version(&self, api: ApiKey, max: Option<i16>) -> i16 {
        self.handshake.ranges.pick(api, max).unwrap_or(-1)
    }

    /// Sends a request in the newest common version, limited by `max_version`. After an error the connection is unusable.
    pub(super) async fn ask<R>(
        &mut self,
        request: R,
        max_version: Option<i16>,
    ) -> Result<R::Response, ProbeFailure>
    where
        R: Api + Into<Request>,
        R::Response: TryFrom<Response>,
    {
        let request = request.into();
        let api = request.api_key();
        let failed = |reason| ProbeFailure { step: ProbeStep::Ask, reason };
        if self.handshake.ranges.pick(api, max_version).is_none() {
            return Err(failed(format!("does not support {api} in a version that this client speaks")));
        }
        let answer = self.handshake.ask(&self.shared, &request, max_version).await;
        let answer = answer.map_err(|error| failed(error.reason))?;
        answer.try_into().map_err(|_| failed(format!("answered {api} with something else")))
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

/// The cluster as one broker sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterFacts {
    /// The cluster's id.
    pub cluster_id: Option<String>,
    /// The broker that accepts requests for the controller, if one is known.
    pub controller: Option<i32>,
    /// All brokers: id, host and port, as they advertise themselves.
    pub brokers: Vec<(i32, String, u16)>,
}

/// A topic as visible to this client.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicFacts {
    /// `None` (the code) if there is no error.
    pub error: ErrorCode,
    /// The number of partitions.
    pub partitions: usize,
    /// The partitions without a leader.
    pub leaderless: Vec<i32>,
    /// The operations that this client may perform on it.
    pub operations: Option<Operations>,
}

/// A group as visible to this client.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupFacts {
    /// `None` (the code) if there is no error.
    pub error: ErrorCode,
    /// The operations that this client may perform on it.
    pub operations: Option<Operations>,
}

/// The operations that a client may perform on a topic or a group, as returned by the broker (KIP-430).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operations(u32);

impl Operations {
    /// From the field of a response, which is `i32::MIN` if the broker does not return operations.
    fn of(bits: i32) -> Option<Self> {
        (bits != i32::MIN).then_some(Self(bits.cast_unsigned()))
    }

    /// Read: fetching from a topic, or joining a group and committing in it.
    pub fn can_read(self) -> bool {
        self.has(3)
    }

    /// Describe: reading metadata of the topic or group.
    pub fn can_describe(self) -> bool {
        self.has(8)
    }

    /// Whether it contains the operation with this number of Kafka's `AclOperation`.
    fn has(self, operation: u32) -> bool {
        self.0 & (1 << operation) != 0
    }
}
