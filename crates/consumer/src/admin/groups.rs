//! Groups: which there are, and what each member of one owns.

use std::{collections::BTreeMap, time::Instant};

use offtake_machine::{BrokerId, Target, TopicPartition};
use offtake_wire::{
    ConsumerProtocolAssignment, ErrorCode,
    messages::{
        consumer_group_describe::{self, ConsumerGroupDescribeRequest},
        describe_groups::{self, DescribeGroupsRequest, DescribeGroupsResponse},
        find_coordinator::FindCoordinatorRequest,
        list_groups::{ListGroupsRequest, ListedGroup},
    },
};

use super::{
    Admin,
    calls::{Calls, Which},
    trouble::Trouble,
};
use crate::error::{ErrorKind, Result};

/// A group, as a broker lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
    /// Its name.
    pub group: String,
    /// `Stable`, `Empty` and so on; empty where nobody says.
    pub state: String,
    /// `classic`, `consumer`, `share` or `streams`.
    pub group_type: String,
    /// The protocol that the members speak among themselves: `consumer`, `connect`; empty while there are none.
    pub protocol_type: String,
    /// The broker that coordinates it.
    pub coordinator: BrokerId,
}

/// A group and its members.
#[derive(Clone, Debug, PartialEq, Eq)]
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// The id that the coordinator or the member chose.
    pub member_id: String,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<String>,
    /// `client.id`.
    pub client_id: String,
    /// Where it connects from.
    pub host: String,
    /// What it was given, in order.
    pub partitions: Vec<TopicPartition>,
}

impl Admin {
    /// All groups of the cluster, by name.
    pub async fn list_groups(&mut self) -> Result<Vec<GroupListing>> {
        const WHAT: &str = "list the groups";
        let deadline = self.deadline();
        let cluster = self
            .calls
            .retrying(deadline, async |calls| calls.cluster(WHAT, deadline, &Which::None).await)
            .await?;
        let mut left: Vec<BrokerId> = cluster.brokers.keys().copied().collect();
        let mut groups = BTreeMap::new();
        self.calls
            .retrying(deadline, async |calls| {
                let requests =
                    left.iter().map(|broker| ((), *broker, ListGroupsRequest::default())).collect();
                let mut trouble = None;
                for ((), broker, answer) in calls.call_each(deadline, requests).await {
                    let what = format!("{WHAT} of {broker}");
                    let answer = answer.map_err(|error| Trouble::call(&what, error));
                    match answer.map(|answer| (answer.error_code, answer.groups)) {
                        Ok((ErrorCode::None, listed)) => {
                            left.retain(|other| *other != broker);
                            groups.extend(listed.into_iter().map(|group| {
                                let listing = listing(group, broker);
                                (listing.group.clone(), listing)
                            }));
                        }
                        Ok((code, _)) => trouble = Some(Trouble::code(&what, code, None)),
                        Err(failed) => trouble = Some(failed),
                    }
                }
                trouble.map_or(Ok(()), Err)
            })
            .await?;
        self.fill_in_states(deadline, &mut groups).await?;
        Ok(groups.into_values().collect())
    }

    /// Brokers before 2.6 list groups without their states.
    async fn fill_in_states(
        &mut self,
        deadline: Instant,
        groups: &mut BTreeMap<String, GroupListing>,
    ) -> Result<()> {
        const WHAT: &str = "describe the groups";
        let mut by_broker: BTreeMap<BrokerId, Vec<String>> = BTreeMap::new();
        for listing in groups.values().filter(|listing| listing.state.is_empty()) {
            by_broker.entry(listing.coordinator).or_default().push(listing.group.clone());
        }
        for (broker, names) in by_broker {
            let described = self
                .calls
                .retrying(deadline, async |calls| {
                    let request =
                        DescribeGroupsRequest { groups: names.clone(), ..DescribeGroupsRequest::default() };
                    calls.call(WHAT, deadline, Target::Broker(broker), request).await
                })
                .await?;
            for group in described.groups {
                if let Some(listing) = groups.get_mut(&group.group_id) {
                    listing.state = group.group_state;
                }
            }
        }
        Ok(())
    }

    /// One group, whichever protocol it speaks.
    ///
    /// # Errors
    /// `Group` if there is no such group.
    pub async fn describe_group(&mut self, group: &str) -> Result<GroupDescription> {
        let deadline = self.deadline();
        self.calls.retrying(deadline, async |calls| describe(calls, deadline, group).await).await
    }
}

async fn describe(calls: &mut Calls, deadline: Instant, group: &str) -> Result<GroupDescription, Trouble> {
    let what = format!("describe group `{group}`");
    let request = FindCoordinatorRequest {
        key: group.to_owned(),
        key_type: 0,
        coordinator_keys: vec![group.to_owned()],
    };
    let answer = calls
        .call(&format!("find the coordinator of group `{group}`"), deadline, Target::Any, request)
        .await?;
    // Newer brokers answer with a list, older ones in place.
    let found = match answer.coordinators.into_iter().find(|one| one.key == group) {
        Some(one) => (one.error_code, one.node_id, one.host, one.port, one.error_message),
        None => (answer.error_code, answer.node_id, answer.host, answer.port, answer.error_message),
    };
    let (code, node, host, port, said) = found;
    if code != ErrorCode::None {
        let what = format!("find the coordinator of group `{group}`");
        return Err(Trouble::code(&what, code, said.as_deref()));
    }
    let (Some(coordinator), Ok(port)) = (BrokerId::known(node), u16::try_from(port)) else {
        return Err(Trouble::code(&what, ErrorCode::CoordinatorNotAvailable, None));
    };
    calls.learn(coordinator, &host, port);

    let place = Place { coordinator, host, port };
    // A group is of the new protocol if the coordinator says so; brokers that do not know it have classic ones alone.
    let request = ConsumerGroupDescribeRequest { group_ids: vec![group.to_owned()], ..Default::default() };
    match calls.call(&what, deadline, Target::Broker(coordinator), request).await {
        Ok(answer) => {
            if let Some(found) = answer.groups.into_iter().find(|found| found.group_id == group) {
                match found.error_code {
                    ErrorCode::None => return Ok(of_consumer(found, place)),
                    ErrorCode::GroupIdNotFound | ErrorCode::UnsupportedVersion => {}
                    code => return Err(Trouble::code(&what, code, found.error_message.as_deref())),
                }
            }
        }
        Err(trouble) if trouble.error.kind() == ErrorKind::Unsupported => {}
        Err(trouble) => return Err(trouble),
    }
    let request =
        DescribeGroupsRequest { groups: vec![group.to_owned()], ..DescribeGroupsRequest::default() };
    let answer = calls.call(&what, deadline, Target::Broker(coordinator), request).await?;
    of_classic(&what, group, answer, place)
}

/// Where a group is coordinated.
struct Place {
    coordinator: BrokerId,
    host: String,
    port: u16,
}

fn of_consumer(found: consumer_group_describe::DescribedGroup, place: Place) -> GroupDescription {
    let member = |member: consumer_group_describe::Member| {
        let topics = member.assignment.topic_partitions.into_iter();
        GroupMember {
            member_id: member.member_id,
            instance_id: member.instance_id,
            client_id: member.client_id,
            host: member.client_host,
            partitions: sorted(topics.map(|topic| (topic.topic_name, topic.partitions))),
        }
    };
    GroupDescription {
        group: found.group_id,
        state: found.group_state,
        group_type: "consumer".to_owned(),
        protocol_type: "consumer".to_owned(),
        assignor: Some(found.assignor_name).filter(|name| !name.is_empty()),
        epoch: Some(found.group_epoch),
        coordinator: place.coordinator,
        host: place.host,
        port: place.port,
        members: by_id(found.members.into_iter().map(member)),
    }
}

fn of_classic(
    what: &str,
    group: &str,
    answer: DescribeGroupsResponse,
    place: Place,
) -> Result<GroupDescription, Trouble> {
    let Some(found) = answer.groups.into_iter().find(|found| found.group_id == group) else {
        return Err(Trouble::malformed(what, "the answer leaves it out"));
    };
    match found.error_code {
        // Before version 6 a group that does not exist is a dead one.
        ErrorCode::None if found.group_state == "Dead" => {
            Err(Trouble::code(what, ErrorCode::GroupIdNotFound, None))
        }
        ErrorCode::None => {
            let speaks_consumer = found.protocol_type == "consumer";
            let member = |member: describe_groups::DescribedGroupMember| GroupMember {
                partitions: if speaks_consumer { given(&member) } else { Vec::new() },
                member_id: member.member_id,
                instance_id: member.group_instance_id,
                client_id: member.client_id,
                host: member.client_host,
            };
            Ok(GroupDescription {
                group: found.group_id,
                state: found.group_state,
                group_type: "classic".to_owned(),
                protocol_type: found.protocol_type,
                assignor: Some(found.protocol_data).filter(|name| !name.is_empty()),
                epoch: None,
                coordinator: place.coordinator,
                host: place.host,
                port: place.port,
                members: by_id(found.members.into_iter().map(member)),
            })
        }
        code => Err(Trouble::code(what, code, found.error_message.as_deref())),
    }
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

fn listing(group: ListedGroup, coordinator: BrokerId) -> GroupListing {
    // Brokers that do not say know nothing but classic groups.
    let group_type =
        if group.group_type.is_empty() { "classic".to_owned() } else { group.group_type.to_lowercase() };
    GroupListing {
        group: group.group_id,
        state: group.group_state,
        group_type,
        protocol_type: group.protocol_type,
        coordinator,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use offtake_wire::{TopicPartition as WirePartition, messages::describe_groups::DescribedGroup};

    use super::*;

    fn place() -> Place {
        Place { coordinator: BrokerId(1), host: "b".to_owned(), port: 9092 }
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
        let described = of_classic("x", "g", answer(group), place()).unwrap();
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
        let trouble = of_classic("describe group `g`", "g", answer(group), place()).unwrap_err();
        assert_eq!(trouble.error.code(), Some(ErrorCode::GroupIdNotFound));
        assert_eq!(trouble.error.kind(), ErrorKind::Group);
    }

    #[test]
    fn an_answer_about_another_group_is_none() {
        let group = DescribedGroup { group_id: "h".to_owned(), ..DescribedGroup::default() };
        let trouble = of_classic("x", "g", answer(group), place()).unwrap_err();
        assert_eq!(trouble.error.kind(), ErrorKind::Malformed);
    }
}
