//! The record of a group in `__consumer_offsets`, how another coordinator starts from it, and how it is described.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use kafka_protocol::{
    error::ResponseError,
    messages::describe_groups_response::{DescribedGroup, DescribedGroupMember},
    protocol::StrBytes,
};

use super::{Classic, Member, State, Turn, join, sync};

/// Kafka's `GroupMetadataValue`.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    generation: i32,
    protocol_type: Option<StrBytes>,
    protocol: Option<StrBytes>,
    leader: Option<String>,
    members: BTreeMap<String, MemberRecord>,
}

#[derive(Clone, Debug)]
struct MemberRecord {
    instance: Option<StrBytes>,
    client_id: StrBytes,
    client_host: StrBytes,
    rebalance_timeout: Duration,
    session_timeout: Duration,
    /// The metadata of the chosen protocol; the member's other protocols are forgotten.
    metadata: Bytes,
    assignment: Bytes,
}

impl Classic {
    /// Stores the group's present state.
    pub(super) fn store(&mut self) {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let record = |(id, member): (&String, &Member)| {
            let record = MemberRecord {
                instance: member.instance.clone(),
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                rebalance_timeout: member.rebalance_timeout,
                session_timeout: member.session_timeout,
                metadata: member.metadata(protocol),
                assignment: member.assignment.clone(),
            };
            (id.clone(), record)
        };
        *self.stored = Record {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            members: self.members.iter().map(record).collect(),
        };
    }

    /// Another coordinator takes over: it reads the stored record, and clients that wait here must look for it.
    pub(crate) fn reload(&mut self, turn: &mut Turn<'_>) {
        let lost = ResponseError::NotCoordinator;
        for (id, member) in &mut self.members {
            if let Some(waiting) = member.join.take() {
                turn.answer_join(waiting, join::refused(id, lost));
            }
            if let Some(waiting) = member.sync.take() {
                turn.answer_sync(waiting, sync::refused(lost));
            }
        }
        let stored = std::mem::take(&mut self.stored);
        let protocol = stored.protocol.clone().unwrap_or_default();
        let member = |(id, record): (&String, &MemberRecord)| {
            let member = Member {
                instance: record.instance.clone(),
                client_id: record.client_id.clone(),
                client_host: record.client_host.clone(),
                rebalance_timeout: record.rebalance_timeout,
                session_timeout: record.session_timeout,
                protocols: vec![(protocol.clone(), record.metadata.clone())],
                assignment: record.assignment.clone(),
                new: false,
                expires: Some(turn.now + record.session_timeout),
                join: None,
                sync: None,
            };
            (id.clone(), member)
        };
        let static_id = |(id, record): (&String, &MemberRecord)| {
            Some((record.instance.as_ref()?.as_str().to_owned(), id.clone()))
        };
        *self = Self {
            state: if stored.members.is_empty() { State::Empty } else { State::Stable },
            generation: stored.generation,
            protocol_type: stored.protocol_type.clone(),
            protocol: stored.protocol.clone(),
            leader: stored.leader.clone(),
            members: stored.members.iter().map(member).collect(),
            statics: stored.members.iter().filter_map(static_id).collect(),
            ..Self::default()
        };
        self.subscribed = self.read_subscriptions();
        self.stored = stored;
        // Too many members: `group.max.size` was lowered meanwhile.
        if self.members.len() > turn.config.group_max_size {
            self.prepare(turn);
        }
    }

    /// For DescribeGroups. Subscriptions are shown only while the group is stable.
    pub(in crate::groups) fn describe(&self) -> DescribedGroup {
        let stable = self.state == State::Stable;
        let protocol = self.protocol.clone().filter(|_| stable).unwrap_or_default();
        let describe = |(id, member): (&String, &Member)| {
            let metadata = if stable { member.metadata(&protocol) } else { Bytes::new() };
            DescribedGroupMember::default()
                .with_member_id(StrBytes::from_string(id.clone()))
                .with_group_instance_id(member.instance.clone())
                .with_client_id(member.client_id.clone())
                .with_client_host(member.client_host.clone())
                .with_member_metadata(metadata)
                .with_member_assignment(member.assignment.clone())
        };
        DescribedGroup::default()
            .with_group_state(StrBytes::from_static_str(self.state()))
            .with_protocol_type(self.protocol_type.clone().unwrap_or_default())
            .with_protocol_data(protocol.clone())
            .with_members(self.members.iter().map(describe).collect())
    }
}
