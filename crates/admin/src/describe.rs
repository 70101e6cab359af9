//! One group: its members, and what each of them owns.

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
    /// Its name.
    pub group: String,
    /// `Stable`, `Empty`, `PreparingRebalance` and so on.
    pub state: String,
    /// `classic` or `consumer` (KIP-848).
    pub group_type: String,
    /// The protocol that the members speak among themselves.
    pub protocol_type: String,
    /// The assignor in use; `None` while there is none.
    pub assignor: Option<String>,
    /// The group's epoch, under KIP-848.
    pub epoch: Option<i32>,
    /// The broker that coordinates it.
    pub coordinator: BrokerId,
    /// That broker's host.
    pub host: String,
    /// That broker's port.
    pub port: u16,
    /// Its members, by id.
    pub members: Vec<GroupMember>,
}

/// A member of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupMember {
    /// The id that the coordinator or the member chose.
    pub member_id: String,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<String>,
    /// `client.id`.
    pub client_id: String,
    /// Where it connects from.
    pub host: String,
    /// Which protocol it speaks, `classic` or `consumer`: while a group moves to KIP-848 it has members of both. `None` where
    /// nobody says (brokers before 4.0, of groups of KIP-848).
    pub member_type: Option<String>,
    /// The epoch that it has reached, under KIP-848; behind the group's while it has yet to give up or take over.
    pub epoch: Option<i32>,
    /// What it was given, in order.
    pub partitions: Vec<TopicPartition>,
    /// What it is to have once others have given it up, under KIP-848.
    pub target: Option<Vec<TopicPartition>>,
}

impl GroupDescription {
    /// A group of which only its name and its coordinator are set: for tests of what is made of descriptions.
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
    /// A member of which only its id is set: for tests of what is made of descriptions.
    pub fn new(member_id: impl Into<String>) -> Self {
        Self { member_id: member_id.into(), ..Self::default() }
    }
}

impl Admin {
    /// One group, whichever protocol it speaks.
    ///
    /// # Errors
    /// `Group` if there is no such group, or it is one of another type (share groups).
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
    // A group is of the new protocol if the coordinator says so; brokers that do not know it have classic ones alone.
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

/// Why neither request found a group, where it is there all the same: because it moved from one protocol to the other
/// between the two, or is of a type that is neither.
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
            let error =
                Error::new(ErrorKind::Group, format!("cannot {what}: it changes its protocol just now"));
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

/// A group of the classic protocol, or the code that it has instead.
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

/// The only group of an answer.
fn only_classic(
    what: &str,
    group: &str,
    answer: DescribeGroupsResponse,
    place: CoordinatorAddress,
) -> Result<GroupDescription, AttemptError> {
    let Some(found) = answer.groups.into_iter().find(|found| found.group_id == group) else {
        return Err(AttemptError::malformed(what, "the answer leaves it out"));
    };
    // Before version 6 a group that does not exist is a dead one.
    if found.error_code.is_ok() && found.group_state == "Dead" {
        return Err(AttemptError::code(what, ErrorCode::GroupIdNotFound, None));
    }
    let said = found.error_message.clone();
    of_classic(found, place).map_err(|code| AttemptError::code(what, code, said.as_deref()))
}

/// What the leader gave to this member. Nothing while a rebalance is on; what cannot be read is nobody's.
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
            member("z", Bytes::new()), // while a rebalance is on
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
