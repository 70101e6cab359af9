//! [`Connection`]: what an open connection can be asked: of the cluster, and what this client may do there.

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

/// Also groups that do not exist have operations up to this version of DescribeGroups (KIP-1043).
const DESCRIBE_GROUPS_OF_ANY: i16 = 5;

/// An open connection to one broker. Each question has [`Config::handshake_timeout`](crate::Config::handshake_timeout).
pub struct Connection {
    pub(super) shared: Arc<Shared>,
    pub(super) handshake: Handshake,
}

impl Connection {
    /// The brokers that there are. Needs no ACL.
    ///
    /// # Errors
    /// Why there is no answer.
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

    /// Whether a topic is there and what may be done with it. It is not created.
    ///
    /// # Errors
    /// Why there is no answer.
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

    /// The broker that coordinates a group: id, host and port, or the code of the refusal.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn coordinator(
        &mut self,
        group: &str,
    ) -> Result<Result<(i32, String, u16), ErrorCode>, ProbeFailure> {
        let answer = self.ask(find_coordinator(group), None).await?;
        let found = found_coordinator(answer, group);
        let address = |found: CoordinatorAddress| (found.broker.0, found.host, found.port);
        Ok(found.map(address).map_err(|(code, _)| code))
    }

    /// What may be done with a group, of the broker that coordinates it. It need not exist.
    ///
    /// # Errors
    /// Why there is no answer.
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

    /// The version in which an API would be asked.
    fn version(&self, api: ApiKey, max: Option<i16>) -> i16 {
        self.handshake.ranges.pick(api, max).unwrap_or(-1)
    }

    /// Asks, in the newest version that both speak, or that `max_version` allows. After an error the connection is of no use.
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
    /// Its id.
    pub cluster_id: Option<String>,
    /// The broker that requests for the controller go to, if one is known.
    pub controller: Option<i32>,
    /// All brokers: id, host and port, as they advertise themselves.
    pub brokers: Vec<(i32, String, u16)>,
}

/// A topic as this client may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicFacts {
    /// `None` (the code) if there is nothing wrong with it.
    pub error: ErrorCode,
    /// How many partitions it has.
    pub partitions: usize,
    /// Those without a leader.
    pub leaderless: Vec<i32>,
    /// What this client may do with it.
    pub operations: Option<Operations>,
}

/// A group as this client may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupFacts {
    /// `None` (the code) if there is nothing wrong with it.
    pub error: ErrorCode,
    /// What this client may do with it.
    pub operations: Option<Operations>,
}

/// What a client may do with a topic or a group, as the broker says (KIP-430).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operations(u32);

impl Operations {
    /// Of the field of an answer: `i32::MIN` where the broker does not say.
    fn of(bits: i32) -> Option<Self> {
        (bits != i32::MIN).then_some(Self(bits.cast_unsigned()))
    }

    /// Read: fetching a topic, joining a group and committing in it.
    pub fn can_read(self) -> bool {
        self.has(3)
    }

    /// Describe: knowing of it.
    pub fn can_describe(self) -> bool {
        self.has(8)
    }

    /// By the number of Kafka's `AclOperation`.
    fn has(self, operation: u32) -> bool {
        self.0 & (1 << operation) != 0
    }
}
