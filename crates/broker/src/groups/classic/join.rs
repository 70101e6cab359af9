//! JoinGroup, v0 to v9.

use kafka_protocol::{
    error::ResponseError,
    messages::{JoinGroupRequest, JoinGroupResponse, join_group_response::JoinGroupResponseMember},
    protocol::StrBytes,
};

use super::{Classic, Member, State, Turn};
use crate::{
    groups::{Group, Members, classic::rebalance::NEW_MEMBER_JOIN_TIMEOUT},
    model::{Model, millis},
    request::{Context, Reply},
};

impl Model {
    pub(crate) fn handle_join_group(&mut self, context: &Context, mut request: JoinGroupRequest) -> Reply {
        if context.version == 0 {
            request.rebalance_timeout_ms = request.session_timeout_ms;
        }
        let answer = match self.check_join(context, &request) {
            Err((member, error)) => Some(refused(member, error)),
            Ok(()) if self.is_of_consumer_protocol(&request.group_id) => {
                let response = self.classic_join_to_consumer(context, &request);
                return in_version(response, context.version).into();
            }
            Ok(()) => self.join(context, request),
        };
        let Some(response) = answer else { return Reply::Later };
        if let Some(error) = ResponseError::try_from_code(response.error_code) {
            self.refusal(context, error);
        }
        in_version(response, context.version).into()
    }

    /// A refusal comes with the member id for its answer.
    fn check_join<'a>(
        &mut self,
        context: &Context,
        request: &'a JoinGroupRequest,
    ) -> Result<(), (&'a str, ResponseError)> {
        if request.group_id.is_empty() {
            return Err((&request.member_id, ResponseError::InvalidGroupId));
        }
        let session = millis(request.session_timeout_ms);
        let bounds = self.config.min_session_timeout..=self.config.max_session_timeout;
        if request.session_timeout_ms < 0 || !bounds.contains(&session) {
            return Err((&request.member_id, ResponseError::InvalidSessionTimeout));
        }
        self.check_coordinator(context, &request.group_id).map_err(|error| ("", error))
    }

    /// `None` when the answer is sent at the end of the rebalance.
    fn join(&mut self, context: &Context, request: JoinGroupRequest) -> Option<JoinGroupResponse> {
        let group = request.group_id.as_str().to_owned();
        let new = request.member_id.is_empty();
        match self.groups.all.get_mut(&group) {
            // An empty group of the other protocol is replaced.
            Some(Group { members: members @ Members::Consumer(_), .. }) if new => {
                *members = Members::Classic(Classic::default());
            }
            Some(Group { members: Members::None | Members::Classic(_), .. }) => {}
            Some(Group { members: Members::Consumer(_), .. }) | None if !new => {
                return Some(refused(&request.member_id, ResponseError::UnknownMemberId));
            }
            Some(Group { members: Members::Consumer(_), .. }) | None => {
                let coordinator = self.coordinator_of(&group);
                self.groups.all.insert(group.clone(), Group { coordinator, ..Group::default() });
            }
        }
        if new {
            let prefix = request.group_instance_id.as_ref().or(context.client_id.as_ref());
            let id = format!("{}-{}", prefix.map_or("", StrBytes::as_str), self.random.uuid());
            self.turn(&group, |classic, turn| classic.join_new(id, context, request, turn))?
        } else {
            self.turn(&group, |classic, turn| classic.join_again(context, request, turn))?
        }
    }
}

impl Classic {
    /// Joins a member without a member id.
    fn join_new(
        &mut self,
        id: String,
        context: &Context,
        request: JoinGroupRequest,
        turn: &mut Turn<'_>,
    ) -> Option<JoinGroupResponse> {
        if !self.has_room_for("", turn) {
            return Some(refused("", ResponseError::GroupMaxSizeReached));
        }
        if !self.supports(&request) {
            return Some(refused("", ResponseError::InconsistentGroupProtocol));
        }
        match &request.group_instance_id {
            Some(instance) => match self.statics.get(instance.as_str()).cloned() {
                Some(old) => return self.join_replacing(&old, id, context, request, turn),
                None => self.add(id, context, request, turn),
            },
            // KIP-394: the client must join again with the id, so that lost answers leave no members behind.
            None if context.version >= 4 => {
                self.pending.insert(id.clone(), turn.now + millis(request.session_timeout_ms));
                return Some(refused(&id, ResponseError::MemberIdRequired));
            }
            None => self.add(id, context, request, turn),
        }
        None
    }

    /// Joins a member with a member id.
    fn join_again(
        &mut self,
        context: &Context,
        request: JoinGroupRequest,
        turn: &mut Turn<'_>,
    ) -> Option<JoinGroupResponse> {
        let id = request.member_id.as_str().to_owned();
        if !self.has_room_for(&id, turn) {
            if self.remove(&id).is_some() {
                turn.record_gone(&id, "rebalance");
            }
            return Some(refused("", ResponseError::GroupMaxSizeReached));
        }
        if !self.supports(&request) {
            return Some(refused(&id, ResponseError::InconsistentGroupProtocol));
        }
        if self.pending.contains_key(&id) {
            if request.group_instance_id.is_some() {
                // Only dynamic members are ever pending; Kafka fails on an assertion of its own here.
                return Some(refused("", ResponseError::UnknownServerError));
            }
            self.add(id, context, request, turn);
            return None;
        }
        if let Err(error) = self.check_member(&id, request.group_instance_id.as_deref()) {
            return Some(refused(&id, error));
        }
        let protocols = protocols(&request);
        let same = self.members.get(&id).is_some_and(|member| member.protocols == protocols);
        let leads = self.is_leader(&id);
        match self.state {
            State::Empty => return Some(refused(&id, ResponseError::UnknownMemberId)),
            // It may not have received its answer.
            State::Completing if same => return Some(self.joined(&id, leads)),
            // Only a leader may want a rebalance for reasons that its metadata does not show.
            State::Stable if same && !leads => return Some(self.joined(&id, false)),
            State::Preparing(_) | State::Completing | State::Stable => {}
        }
        if let Some(member) = self.members.get_mut(&id) {
            member.rejoin(context, &request);
        }
        self.rebalance(turn);
        None
    }

    /// A static member returns without its member id: it replaces its former self (KIP-345).
    fn join_replacing(
        &mut self,
        old: &str,
        id: String,
        context: &Context,
        request: JoinGroupRequest,
        turn: &mut Turn<'_>,
    ) -> Option<JoinGroupResponse> {
        let former_leader = self.leader.clone();
        let led = self.is_leader(old);
        let mut member = self.members.remove(old)?;
        let fenced = ResponseError::FencedInstanceId;
        if let Some(waiting) = member.join.take() {
            turn.answer_join(waiting, refused(old, fenced));
        }
        if let Some(waiting) = member.sync.take() {
            turn.answer_sync(waiting, super::sync::refused(fenced));
        }
        turn.record_gone(old, "replaced");
        if led {
            self.leader = Some(id.clone());
        }
        if let Some(instance) = &request.group_instance_id {
            self.statics.insert(instance.as_str().to_owned(), id.clone());
        }
        member.new = false;
        member.expires = Some(turn.now + member.session_timeout);
        member.rejoin(context, &request);
        self.members.insert(id.clone(), member);
        match self.state {
            State::Stable if self.select_protocol() == self.protocol => {
                self.store();
                if let Some(member) = self.members.get_mut(&id) {
                    member.join = None;
                }
                let mut response = self.joined(&id, led && context.version >= 9);
                if context.version >= 9 {
                    // KIP-814: it leads again and gets the members, but need not assign anew.
                    response.skip_assignment = led;
                } else if let Some(former) = former_leader {
                    // An old client that found itself leader would compute an assignment that the group does not await.
                    response.leader = StrBytes::from_string(former);
                }
                return Some(response);
            }
            State::Stable => self.rebalance(turn),
            // The leader may already be assigning partitions to the former id.
            State::Completing => self.prepare(turn),
            State::Preparing(_) | State::Empty => self.maybe_complete(turn),
        }
        None
    }

    fn add(&mut self, id: String, context: &Context, request: JoinGroupRequest, turn: &mut Turn<'_>) {
        if matches!(self.state, State::Preparing(preparing) if preparing.initial) {
            self.newcomer = true;
        }
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(id.clone());
        }
        if let Some(instance) = &request.group_instance_id {
            self.statics.insert(instance.as_str().to_owned(), id.clone());
        }
        self.pending.remove(&id);
        let member = Member {
            instance: request.group_instance_id.clone(),
            client_id: context.client_id.clone().unwrap_or_default(),
            client_host: StrBytes::from_string(format!("/{}", context.host)),
            rebalance_timeout: millis(request.rebalance_timeout_ms),
            session_timeout: millis(request.session_timeout_ms),
            protocols: protocols(&request),
            assignment: bytes::Bytes::new(),
            new: true,
            expires: Some(turn.now + NEW_MEMBER_JOIN_TIMEOUT),
            join: Some(context.clone()),
            sync: None,
        };
        self.members.insert(id, member);
        self.rebalance(turn);
    }

    fn has_room_for(&self, id: &str, turn: &Turn<'_>) -> bool {
        let max = turn.config.group_max_size;
        let member = self.members.get(id);
        match self.state {
            State::Empty => true,
            State::Preparing(_) => {
                let waiting = self.members.values().filter(|member| member.join.is_some()).count();
                member.is_some_and(|member| member.join.is_some()) || waiting < max
            }
            State::Completing | State::Stable => member.is_some() || self.members.len() < max,
        }
    }

    /// Whether the joining member has a protocol in common with all members.
    fn supports(&self, request: &JoinGroupRequest) -> bool {
        if self.is_empty() {
            return !request.protocol_type.is_empty() && !request.protocols.is_empty();
        }
        let common = |name: &str| self.supporters(name) == self.members.len();
        self.protocol_type.as_ref() == Some(&request.protocol_type)
            && request.protocols.iter().any(|protocol| common(&protocol.name))
    }

    /// The answer with the present generation; with all members if `with_members`, for the leader.
    pub(super) fn joined(&self, id: &str, with_members: bool) -> JoinGroupResponse {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let describe = |(id, member): (&String, &Member)| {
            JoinGroupResponseMember::default()
                .with_member_id(StrBytes::from_string(id.clone()))
                .with_group_instance_id(member.instance.clone())
                .with_metadata(member.metadata(protocol))
        };
        let members = if with_members { self.members.iter().map(describe).collect() } else { Vec::new() };
        JoinGroupResponse::default()
            .with_generation_id(self.generation)
            .with_protocol_type(self.protocol_type.clone())
            .with_protocol_name(self.protocol.clone())
            .with_leader(StrBytes::from_string(self.leader.clone().unwrap_or_default()))
            .with_member_id(StrBytes::from_string(id.to_owned()))
            .with_members(members)
    }
}

impl Member {
    /// Replaces a join that still waits: as in Kafka, only the newest is answered.
    fn rejoin(&mut self, context: &Context, request: &JoinGroupRequest) {
        self.protocols = protocols(request);
        self.rebalance_timeout = millis(request.rebalance_timeout_ms);
        self.session_timeout = millis(request.session_timeout_ms);
        self.join = Some(context.clone());
    }
}

fn protocols(request: &JoinGroupRequest) -> Vec<(StrBytes, bytes::Bytes)> {
    request.protocols.iter().map(|protocol| (protocol.name.clone(), protocol.metadata.clone())).collect()
}

pub(super) fn refused(member: &str, error: ResponseError) -> JoinGroupResponse {
    JoinGroupResponse::default()
        .with_member_id(StrBytes::from_string(member.to_owned()))
        .with_error_code(error.code())
}

/// A missing protocol is an empty name up to v6, and null from then on.
pub(super) fn in_version(mut response: JoinGroupResponse, version: i16) -> JoinGroupResponse {
    let name = response.protocol_name.take().filter(|name| !name.is_empty());
    response.protocol_name = if version >= 7 { name } else { Some(name.unwrap_or_default()) };
    response
}
