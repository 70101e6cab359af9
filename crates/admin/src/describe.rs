//! Describes one group: its members, and the partitions of each.

use std::time::Instant;

use offtake_machine::{BrokerId, CoordinatorAddress, TopicPartition, broker_text};
use offtake_wire::{
    ConsumerProtocolAssignment, ErrorCode,
    messages::{
        consumer_group_describe::{self, ConsumerGroupDescribeRequest},
        describe_groups::{self, DescribeGroupsRequest, DescribeGroupsResponse},
        list_groups::ListGroupsRequest,
    },
};

use crate::{
    Admin,
    attempts::{AttemptError, Retry},
    calls::Calls,
    coordinator,
};
use offtake_client::{Error, ErrorKind, Result};

/// A group and its members.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupDescription {
    /// The name of the group.
    pub group: String,
    /// `Stable`, `Empty`, `PreparingRebalance` and so on.
    pub state: String,
    /// `classic` or `consumer` (KIP-848).
    pub group_type: String,
    /// The embedded protocol of the members.
    pub protocol_type: String,
    /// The assignor in use; `None` while there is none.
    pub assignor: Option<String>,
    /// The group's epoch, with KIP-848.
    pub epoch: Option<i32>,
    /// The coordinator.
    pub coordinator: BrokerId,
    /// The coordinator's host.
    pub host: String,
    /// The coordinator's port.
    pub port: u16,
    /// The members, ordered by id.
    pub members: Vec<GroupMember>,
}

/// A member of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupMember {
    /// The id, chosen by the coordinator or the member.
    pub member_id: String,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<String>,
    /// `client.id`.
    pub client_id: String,
    /// The host from which it connects.
    pub host: String,
    /// The protocol that it uses, `classic` or `consumer`: a group that migrates to KIP-848 has members of both. `None` if
    /// unknown (brokers before 4.0, for groups of KIP-848).
    pub member_type: Option<String>,
    /// Its epoch, with KIP-848. It is behind the group's while the member has partitions to revoke or to take over.
    pub epoch: Option<i32>,
    /// The assigned partitions, in order.
    pub partitions: Vec<TopicPartition>,
    /// The target assignment, with KIP-848, which waits for other members' revocations.
    pub target: Option<Vec<TopicPartition>>,
}

impl GroupDescription {
    /// A group with only a name and a coordinator, for tests of code that uses descriptions.
    pub fn new(group: impl Into<String>, coordinator: BrokerId) -> Self {
        Self {
            group: group.into(),
            state: String::new(),
            group_type: String::new(),
            protocol_type: String::new(),
            assignor: None,
            epoch: None,
            coordinator,
            host: String::new(),
            port: 0,
            members: Vec::new(),
        }
    }
}

impl GroupMember {
    /// A member with only an id, for tests of code that uses descriptions.
    pub fn new(member_id: impl Into<String>) -> Self {
        Self { member_id: member_id.into(), ..Self::default() }
    }
}

impl Admin {
    /// Describes one group of either protocol.
    ///
    /// # Errors
    /// `Group` if there is no such group, or it has another type (share groups).
    pub async fn describe_group(&mut self, group: &str) -> Result<GroupDescription> {
        let deadline = self.deadline();
        self.calls.retrying(deadline, async |calls| describe(calls, deadline, group).await).await
    }
}

async fn describe(
    calls: &mut Calls,
    deadline: Instant,
    group: &str,
) -> Result<GroupDescription, AttemptError> {
    let what = format!("describe group `{group}`");
    let place = coordinator::find(calls, deadline, group).await?;
    let to = place.target();
    // The coordinator decides whether the group uses the new protocol; brokers that do not support that protocol have only
    // classic groups.
    let request = ConsumerGroupDescribeRequest { group_ids: vec![group.to_owned()], ..Default::default() };
    match calls.call(&what, deadline, to, request).await {
        Ok(answer) => {
            if let Some(found) = answer.groups.into_iter().find(|found| found.group_id == group) {
                match found.error_code {
                    ErrorCode::None if found.group_state != "Dead" => return Ok(of_consumer(found, place)),
                    ErrorCode::None | ErrorCode::GroupIdNotFound | ErrorCode::UnsupportedVersion => {}
                    code => return Err(AttemptError::code(&what, code, found.error_message.as_deref())),
                }
            }
        }
        Err(failure) if failure.error.kind() == ErrorKind::Unsupported => {}
        Err(failure) => return Err(failure),
    }
    let request =
        DescribeGroupsRequest { groups: vec![group.to_owned()], ..DescribeGroupsRequest::default() };
    let answer = calls.call(&what, deadline, to, request).await?;
    match only_classic(&what, group, answer, place.clone()) {
        Err(failure) if failure.error.code() == Some(ErrorCode::GroupIdNotFound) => {
            Err(missing(calls, deadline, group, &place).await.unwrap_or(failure))
        }
        described => described,
    }
}

/// The error if neither request found the group although it exists: it moved from one protocol to the other between the two
/// requests, or is of another type.
async fn missing(
    calls: &mut Calls,
    deadline: Instant,
    group: &str,
    place: &CoordinatorAddress,
) -> Option<AttemptError> {
    let what = format!("describe group `{group}`");
    let listed = calls.call(&what, deadline, place.target(), ListGroupsRequest::default()).await.ok()?;
    let found = listed.groups.into_iter().find(|found| found.group_id == group)?;
    let group_type = found.group_type.to_lowercase();
    Some(match group_type.as_str() {
        "" | "classic" | "consumer" => {
            let error = Error::new(ErrorKind::Group, format!("cannot {what}: it is changing its protocol"));
            AttemptError { error, retry: Retry::UntilDeadline }
        }
        other => AttemptError::never(Error::new(
            ErrorKind::Group,
            format!("cannot {what}: it is a {} group, and this is for consumer groups", broker_text(other)),
        )),
    })
}

pub(super) fn of_consumer(
    found: consumer_group_describe::DescribedGroup,
    place: CoordinatorAddress,
) -> GroupDescription {
    let held = |assignment: consumer_group_describe::Assignment| {
        sorted(assignment.topic_partitions.into_iter().map(|topic| (topic.topic_name, topic.partitions)))
    };
    let member = |member: consumer_group_describe::Member| GroupMember {
        member_id: member.member_id,
        instance_id: member.instance_id,
        client_id: member.client_id,
        host: member.client_host,
        member_type: match member.member_type {
            0 => Some("classic".to_owned()),
            1 => Some("consumer".to_owned()),
            _ => None,
        },
        epoch: Some(member.member_epoch),
        partitions: held(member.assignment),
        target: Some(held(member.target_assignment)),
    };
    GroupDescription {
        group: found.group_id,
        state: found.group_state,
        group_type: "consumer".to_owned(),
        protocol_type: "consumer".to_owned(),
        assignor: Some(found.assignor_name).filter(|name| !name.is_empty()),
        epoch: Some(found.group_epoch),
        coordinator: place.broker,
        host: place.host,
        port: place.port,
        members: by_id(found.members.into_iter().map(member)),
    }
}

/// Converts a group of the classic protocol, or returns its error code.
pub(super) fn of_classic(
    found: describe_groups::DescribedGroup,
    place: CoordinatorAddress,
) -> Result<GroupDescription, ErrorCode> {
    found.error_code.ok()?;
    let speaks_consumer = found.protocol_type == "consumer";
    let member = |member: describe_groups::DescribedGroupMember| GroupMember {
        partitions: if speaks_consumer { given(&member) } else { Vec::new() },
        member_id: member.member_id,
        instance_id: member.group_instance_id,
        client_id: member.client_id,
        host: member.client_host,
        member_type: Some("classic".to_owned()),
        epoch: None,
        target: None,
    };
    Ok(GroupDescription {
        group: found.group_id,
        state: found.group_state,
        group_type: "classic".to_owned(),
        protocol_type: found.protocol_type,
        assignor: Some(found.protocol_data).filter(|name| !name.is_empty()),
        epoch: None,
        coordinator: place.broker,
        host: place.host,
        port: place.port,
        members: by_id(found.members.into_iter().map(member)),
    })
}

/// The only group in a response.
fn only_classic(
    what: &str,
    group: &str,
    answer: DescribeGroupsResponse,
    place: CoordinatorAddress,
) -> Result<GroupDescription, AttemptError> {
    let Some(found) = answer.groups.into_iter().find(|found| found.group_id == group) else {
        return Err(AttemptError::malformed(what, "missing in the response"));
    };
    // Before version 6, a group that does not exist has the state "Dead".
    if found.error_code.is_ok() && found.group_state == "Dead" {
        return Err(AttemptError::code(what, ErrorCode::GroupIdNotFound, None));
    }
    let said = found.error_message.clone();
    of_classic(found, place).map_err(|code| AttemptError::code(what, code, said.as_deref()))
}

/// The member's assignment by the leader. Empty during a rebalance, or if it cannot be decoded.
fn given(member: &describe_groups::DescribedGroupMember) -> Vec<TopicPartition> {
    if member.member_assignment.is_empty() {
        return Vec::new();
    }
    match ConsumerProtocolAssignment::decode_versioned(member.member_assignment.clone()) {
        Ok(assignment) => {
            sorted(assignment.assigned_partitions.into_iter().map(|topic| (topic.topic, topic.partitions)))
        }
        Err(error) => {
            tracing::warn!(member = member.member_id, "its assignment cannot be read: {error}");
            Vec::new()
        }
    }
}

fn sorted(topics: impl Iterator<Item = (String, Vec<i32>)>) -> Vec<TopicPartition> {
    let mut partitions: Vec<_> = topics
        .flat_map(|(topic, partitions)| {
            let topic: offtake_machine::Topic = topic.into();
            partitions.into_iter().map(move |index| TopicPartition::new(topic.clone(), index))
        })
        .collect();
    partitions.sort();
    partitions
}

fn by_id(members: impl Iterator<Item = GroupMember>) -> Vec<GroupMember> {
    let mut members: Vec<_> = members.collect();
    members.sort_by(|a, b| a.member_id.cmp(&b.member_id));
    members
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use offtake_wire::{TopicPartition as WirePartition, messages::describe_groups::DescribedGroup};

    use super::*;

    fn place() -> CoordinatorAddress {
        CoordinatorAddress { broker: BrokerId(1), host: "b".to_owned(), port: 9092 }
    }

    fn answer(group: DescribedGroup) -> DescribeGroupsResponse {
        DescribeGroupsResponse { groups: vec![group], ..DescribeGroupsResponse::default() }
    }

    fn member(id: &str, assignment: Bytes) -> describe_groups::DescribedGroupMember {
        describe_groups::DescribedGroupMember {
            member_id: id.to_owned(),
            member_assignment: assignment,
            ..describe_groups::DescribedGroupMember::default()
        }
    }

    #[test]
    fn members_come_by_id_with_what_they_own_in_order() {
        let assignment = ConsumerProtocolAssignment {
            assigned_partitions: vec![
                WirePartition { topic: "b".to_owned(), partitions: vec![3, 1] },
                WirePartition { topic: "a".to_owned(), partitions: vec![0] },
            ],
            user_data: None,
        };
        let members = vec![
            member("z", Bytes::new()), // during a rebalance
            member("y", assignment.encode_versioned(3).unwrap()),
            member("x", Bytes::from_static(b"\x00")), // no assignment at all
        ];
        let group = DescribedGroup {
            group_id: "g".to_owned(),
            group_state: "Stable".to_owned(),
            protocol_type: "consumer".to_owned(),
            protocol_data: "range".to_owned(),
            members,
            ..DescribedGroup::default()
        };
        let described = only_classic("x", "g", answer(group), place()).unwrap();
        let ids: Vec<_> = described.members.iter().map(|member| member.member_id.as_str()).collect();
        assert_eq!(ids, ["x", "y", "z"]);
        let owned: Vec<_> = described.members.iter().map(|member| member.partitions.len()).collect();
        assert_eq!(owned, [0, 3, 0]);
        let of = |topic: &str, index| TopicPartition::new(topic, index);
        assert_eq!(described.members[1].partitions, [of("a", 0), of("b", 1), of("b", 3)]);
        assert_eq!(described.assignor.as_deref(), Some("range"));
    }

    #[test]
    fn a_dead_group_is_one_that_does_not_exist() {
        let group = DescribedGroup {
            group_id: "g".to_owned(),
            group_state: "Dead".to_owned(),
            ..DescribedGroup::default()
        };
        let failure = only_classic("describe group `g`", "g", answer(group), place()).unwrap_err();
        assert_eq!(failure.error.code(), Some(ErrorCode::GroupIdNotFound));
        assert_eq!(failure.error.kind(), ErrorKind::Group);
    }

    #[test]
    fn an_answer_about_another_group_is_none() {
        let group = DescribedGroup { group_id: "h".to_owned(), ..DescribedGroup::default() };
        let failure = only_classic("x", "g", answer(group), place()).unwrap_err();
        assert_eq!(failure.error.kind(), ErrorKind::Malformed);
    }
}
