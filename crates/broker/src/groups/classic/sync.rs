//! SyncGroup, v0 to v5, and Heartbeat, v0 to v4.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::{
    error::ResponseError,
    messages::{HeartbeatRequest, HeartbeatResponse, SyncGroupRequest, SyncGroupResponse},
    protocol::StrBytes,
};

use super::{Classic, GroupEvent, State, Turn, assignment};
use crate::{
    model::Model,
    request::{Context, Reply},
};

impl Model {
    pub(crate) fn handle_sync_group(&mut self, context: &Context, request: SyncGroupRequest) -> Reply {
        match self.sync(context, request) {
            Ok(None) => Reply::Later,
            Ok(Some(response)) => response.into(),
            Err(error) => {
                self.refusal(context, error);
                refused(error).into()
            }
        }
    }

    /// `None` when the answer is sent with the leader's assignment.
    fn sync(
        &mut self,
        context: &Context,
        request: SyncGroupRequest,
    ) -> Result<Option<SyncGroupResponse>, ResponseError> {
        if context.version >= 5 && (request.protocol_type.is_none() || request.protocol_name.is_none()) {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        let group = request.group_id.as_str().to_owned();
        if group.is_empty() {
            return Err(ResponseError::InvalidGroupId);
        }
        self.check_coordinator(context, &group)?;
        if self.is_of_consumer_protocol(&group) {
            return Ok(Some(self.classic_sync_to_consumer(context, &request)));
        }
        self.turn(&group, |classic, turn| classic.sync(context, request, turn))
            .unwrap_or(Err(ResponseError::UnknownMemberId))
    }

    pub(crate) fn handle_heartbeat(&mut self, context: &Context, request: HeartbeatRequest) -> Reply {
        match self.heartbeat(context, &request) {
            Ok(response) => response.into(),
            Err(error) => HeartbeatResponse::default().with_error_code(self.refusal(context, error)).into(),
        }
    }

    fn heartbeat(
        &mut self,
        context: &Context,
        request: &HeartbeatRequest,
    ) -> Result<HeartbeatResponse, ResponseError> {
        let group = request.group_id.as_str();
        if group.is_empty() {
            return Err(ResponseError::InvalidGroupId);
        }
        match self.check_coordinator(context, group) {
            // A member is not refused only because its group is not loaded yet.
            Err(ResponseError::CoordinatorLoadInProgress) => return Ok(HeartbeatResponse::default()),
            checked => checked?,
        }
        if self.is_of_consumer_protocol(group) {
            return Ok(self.classic_heartbeat_to_consumer(context, request));
        }
        self.turn(group, |classic, turn| classic.heartbeat(request, turn))
            .unwrap_or(Err(ResponseError::UnknownMemberId))
            .map(|()| HeartbeatResponse::default())
    }
}

impl Classic {
    fn sync(
        &mut self,
        context: &Context,
        request: SyncGroupRequest,
        turn: &mut Turn<'_>,
    ) -> Result<Option<SyncGroupResponse>, ResponseError> {
        let id = request.member_id.as_str();
        if self.is_empty() {
            return Err(ResponseError::UnknownMemberId);
        }
        self.check_member(id, request.group_instance_id.as_deref())?;
        self.check_generation(request.generation_id)?;
        let differs = |said: &Option<StrBytes>, ours: &Option<StrBytes>| said.is_some() && said != ours;
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol_name, &self.protocol)
        {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        match self.state {
            State::Empty => return Err(ResponseError::UnknownMemberId),
            State::Preparing(_) => return Err(ResponseError::RebalanceInProgress),
            State::Completing => {}
            State::Stable => {
                self.has_synced(id);
                return Ok(Some(self.synced(id, turn)));
            }
        }
        if let Some(member) = self.members.get_mut(id) {
            member.sync = Some(context.clone());
        }
        self.has_synced(id);
        if self.is_leader(id) {
            let assignments: BTreeMap<StrBytes, Bytes> = request
                .assignments
                .into_iter()
                .map(|assignment| (assignment.member_id, assignment.assignment))
                .collect();
            self.assign(&assignments, turn);
        }
        Ok(None)
    }

    /// Applies the leader's assignment: each member gets its part, or nothing.
    fn assign(&mut self, assignments: &BTreeMap<StrBytes, Bytes>, turn: &mut Turn<'_>) {
        for (id, member) in &mut self.members {
            let given = assignments.iter().find(|(to, _)| to.as_str() == id);
            member.assignment = given.map(|(_, assignment)| assignment.clone()).unwrap_or_default();
        }
        self.state = State::Stable;
        self.store();
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let Some(waiting) = self.members.get_mut(&id).and_then(|member| member.sync.take()) else {
                continue;
            };
            let response = self.synced(&id, turn);
            turn.answer_sync(waiting, response);
            self.touch(&id, turn.now);
        }
    }

    fn has_synced(&mut self, id: &str) {
        self.unsynced.remove(id);
        if self.unsynced.is_empty() {
            self.sync_by = None;
        }
    }

    fn synced(&self, id: &str, turn: &mut Turn<'_>) -> SyncGroupResponse {
        let given = self.members.get(id).map(|member| member.assignment.clone()).unwrap_or_default();
        let partitions = if self.is_of_consumers() { assignment(given.clone()) } else { Vec::new() };
        turn.events.push(GroupEvent::Assigned {
            member: id.to_owned(),
            generation: self.generation,
            partitions,
        });
        SyncGroupResponse::default()
            .with_protocol_type(self.protocol_type.clone())
            .with_protocol_name(self.protocol.clone())
            .with_assignment(given)
    }

    /// Answers the waiting syncs with an error.
    pub(super) fn refuse_syncs(&mut self, error: ResponseError, turn: &mut Turn<'_>) {
        for member in self.members.values_mut() {
            if let Some(waiting) = member.sync.take() {
                turn.answer_sync(waiting, refused(error));
                member.expires = Some(turn.now + member.session_timeout);
            }
        }
    }

    fn heartbeat(&mut self, request: &HeartbeatRequest, turn: &Turn<'_>) -> Result<(), ResponseError> {
        self.check_member(&request.member_id, request.group_instance_id.as_deref())?;
        self.check_generation(request.generation_id)?;
        if self.is_empty() {
            return Err(ResponseError::UnknownMemberId);
        }
        self.touch(&request.member_id, turn.now);
        if self.state.is_preparing() { Err(ResponseError::RebalanceInProgress) } else { Ok(()) }
    }
}

pub(super) fn refused(error: ResponseError) -> SyncGroupResponse {
    SyncGroupResponse::default().with_error_code(error.code())
}
