//! Members of the classic protocol in a group of the consumer protocol (KIP-848).
//!
//! A classic member reaches the target by its joins instead of heartbeats: its generation is its member epoch, the
//! owned partitions of its subscription show what it has revoked, a sync gives it its partitions, and a heartbeat tells
//! it only to join again.

use bytes::Bytes;
use kafka_protocol::{
    error::ResponseError,
    messages::{
        HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
        LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse, leave_group_response::MemberResponse,
    },
    protocol::StrBytes,
};

use super::{
    ClusterView, Consumer, Member, Refusal,
    embedded::{embedded_assignment, owned, subscription},
    heartbeat::new_member_id,
    member::{ClassicPart, Stage},
    migrate::CONSUMER,
};
use crate::{
    model::{Model, millis},
    request::Context,
};

impl Model {
    /// JoinGroup to a group of the consumer protocol that has members. The session timeout is already checked.
    pub(crate) fn classic_join_to_consumer(
        &mut self,
        context: &Context,
        request: &JoinGroupRequest,
    ) -> JoinGroupResponse {
        self.classic_join(context, request).unwrap_or_else(|refusal| {
            self.observe_refusal(context, &refusal);
            JoinGroupResponse::default()
                .with_member_id(request.member_id.clone())
                .with_error_code(refusal.error.code())
        })
    }

    fn classic_join(
        &mut self,
        context: &Context,
        request: &JoinGroupRequest,
    ) -> Result<JoinGroupResponse, Refusal> {
        let name = request.group_id.as_str();
        let world = ClusterView::new(self.now, &self.topics, &self.config);
        let mut group = self.consumer_group(name, false)?;
        let unknown = request.member_id.is_empty();
        let id =
            if unknown { new_member_id(&mut self.random) } else { request.member_id.as_str().to_owned() };
        group.check_room(&id, &world)?;
        if !group.supports(request) {
            let message = format!("Member {id}'s protocols are not supported.");
            return Err(Refusal::new(ResponseError::InconsistentGroupProtocol, message));
        }
        if context.version >= 4 && unknown && request.group_instance_id.is_none() {
            return Ok(JoinGroupResponse::default()
                .with_member_id(StrBytes::from_string(id))
                .with_error_code(ResponseError::MemberIdRequired.code()));
        }
        let speaks_consumer =
            |group: &Consumer| group.members.values().any(|member| member.classic.is_none());
        let mixed = speaks_consumer(&group);
        let (was, replaced) = match request.group_instance_id.as_deref() {
            None => (group.members.get(&id).cloned().unwrap_or_else(|| Member::new(&id)), None),
            Some(instance) if unknown => group.admit_static(&id, instance, true)?,
            Some(instance) => (group.classic_member(name, &id, Some(instance))?.clone(), None),
        };
        let protocols: Vec<(String, Bytes)> = request
            .protocols
            .iter()
            .map(|protocol| (protocol.name.as_str().to_owned(), protocol.metadata.clone()))
            .collect();
        // Kafka fails on a malformed subscription as on an error of its own.
        let subscription = protocols.first().and_then(|(_, metadata)| subscription(metadata.clone()));
        let (_, subscription) = subscription.ok_or_else(|| {
            Refusal::new(ResponseError::UnknownServerError, "malformed embedded consumer protocol")
        })?;
        let session_timeout = millis(request.session_timeout_ms);
        let mut member = Member {
            client_id: context.client_id.as_deref().unwrap_or_default().to_owned(),
            client_host: format!("/{}", context.host.as_str()),
            names: subscription.topics.iter().map(|name| name.as_str().to_owned()).collect(),
            pattern: String::new(),
            session: Some(world.now + session_timeout),
            rebalance: None,
            join: None,
            classic: Some(ClassicPart { session_timeout, protocols }),
            ..was.clone()
        };
        if let Some(instance) = &request.group_instance_id {
            member.instance = Some(instance.as_str().to_owned());
        }
        if let Some(rack) = &subscription.rack_id {
            member.rack = Some(rack.as_str().to_owned());
        }
        if request.rebalance_timeout_ms != -1 {
            member.rebalance_timeout = millis(request.rebalance_timeout_ms);
        }
        member.sync = Some(world.now + member.rebalance_timeout);
        let change = group.change(&was, &member)?;
        group.members.insert(id.clone(), member);
        group.refresh_topics(change.any, &world);
        // If this replaces its last member of the consumer protocol, the group becomes a classic one, which assigns by itself.
        let downgrades = request.group_instance_id.is_some() && mixed && !speaks_consumer(&group);
        if !downgrades {
            group.refresh_target(&world);
        }
        if !downgrades || !change.any {
            let owned = owned(&subscription, &self.topics);
            group.reconcile(&id, change.any, Some(&owned), &world);
        }
        let now_is = group.members.get(&id);
        let protocol = now_is.and_then(Member::protocol).unwrap_or_default().to_owned();
        let response = JoinGroupResponse::default()
            .with_member_id(StrBytes::from_string(id.clone()))
            .with_generation_id(now_is.map_or(-1, |member| member.epoch))
            .with_protocol_type(Some(StrBytes::from_static_str(CONSUMER)))
            .with_protocol_name(Some(StrBytes::from_string(protocol)));
        self.put_consumer_group(name, group);
        if let Some(replaced) = replaced {
            self.observe_gone(name, &replaced, "replaced");
        }
        if downgrades {
            self.downgrade_if_classic(name, change.any);
        }
        Ok(response)
    }

    /// SyncGroup to a group of the consumer protocol.
    pub(crate) fn classic_sync_to_consumer(
        &mut self,
        context: &Context,
        request: &SyncGroupRequest,
    ) -> SyncGroupResponse {
        self.classic_sync(request).unwrap_or_else(|refusal| {
            self.observe_refusal(context, &refusal);
            SyncGroupResponse::default().with_error_code(refusal.error.code())
        })
    }

    fn classic_sync(&mut self, request: &SyncGroupRequest) -> Result<SyncGroupResponse, Refusal> {
        let name = request.group_id.as_str();
        let world = ClusterView::new(self.now, &self.topics, &self.config);
        let mut group = self.consumer_group(name, false)?;
        let epoch = group.epoch;
        let member = group.classic_caller(name, &request.member_id, request.group_instance_id.as_deref())?;
        member.check_generation(request.generation_id)?;
        let differs = |asked: &Option<StrBytes>, is: Option<&str>| {
            asked.as_deref().is_some_and(|asked| Some(asked) != is)
        };
        if differs(&request.protocol_type, Some(CONSUMER))
            || differs(&request.protocol_name, member.protocol())
        {
            let message = format!("The protocol of member {} is another.", member.id);
            return Err(Refusal::new(ResponseError::InconsistentGroupProtocol, message));
        }
        let rejoins = epoch > member.epoch && member.stage != Stage::Unrevoked;
        if rejoins {
            member.join = member.join.or(Some(world.now + member.rebalance_timeout));
        } else {
            member.sync = None;
            let session = member.classic.as_ref().map(|classic| classic.session_timeout);
            member.session = session.map(|timeout| world.now + timeout);
        }
        let classic = member.classic.as_ref();
        let assignment =
            classic.map(|classic| embedded_assignment(Some(&member.assignment()), classic, &world));
        let id = member.id.clone();
        self.put_consumer_group(name, group);
        if rejoins {
            return Err(Refusal::new(ResponseError::RebalanceInProgress, "the group epoch has moved"));
        }
        self.observe_assignment(name, &id);
        Ok(SyncGroupResponse::default()
            .with_protocol_type(request.protocol_type.clone())
            .with_protocol_name(request.protocol_name.clone())
            .with_assignment(assignment.unwrap_or_default()))
    }

    /// Heartbeat to a group of the consumer protocol.
    pub(crate) fn classic_heartbeat_to_consumer(
        &mut self,
        context: &Context,
        request: &HeartbeatRequest,
    ) -> HeartbeatResponse {
        let code = self.classic_heartbeat(request).map_or_else(
            |refusal| {
                self.observe_refusal(context, &refusal);
                refusal.error.code()
            },
            |rejoins| if rejoins { ResponseError::RebalanceInProgress.code() } else { 0 },
        );
        HeartbeatResponse::default().with_error_code(code)
    }

    fn classic_heartbeat(&mut self, request: &HeartbeatRequest) -> Result<bool, Refusal> {
        let name = request.group_id.as_str();
        let now = self.now;
        let mut group = self.consumer_group(name, false)?;
        let instance = request.group_instance_id.as_deref();
        let waits = {
            let member = group.classic_member(name, &request.member_id, instance)?;
            group.waits_for_others(member)
        };
        let epoch = group.epoch;
        let member = group.classic_caller(name, &request.member_id, instance)?;
        member.check_generation(request.generation_id)?;
        let session = member.classic.as_ref().map(|classic| classic.session_timeout);
        member.session = session.map(|timeout| now + timeout);
        let rejoins = member.epoch < epoch
            || match member.stage {
                Stage::Stable => false,
                Stage::Unrevoked => true,
                Stage::Unreleased => !waits,
            };
        if rejoins {
            member.join = member.join.or(Some(now + member.rebalance_timeout));
        }
        self.put_consumer_group(name, group);
        Ok(rejoins)
    }

    /// LeaveGroup to a group of the consumer protocol, for members of either protocol.
    pub(crate) fn classic_leave_to_consumer(
        &mut self,
        context: &Context,
        request: &LeaveGroupRequest,
    ) -> LeaveGroupResponse {
        let name = request.group_id.as_str();
        let before_batches = context.version < 3;
        let leaving: Vec<(StrBytes, Option<StrBytes>)> = if before_batches {
            vec![(request.member_id.clone(), None)]
        } else {
            let members = request.members.iter();
            members.map(|member| (member.member_id.clone(), member.group_instance_id.clone())).collect()
        };
        let (mut gone, mut answers) = (Vec::new(), Vec::new());
        for (id, instance) in leaving {
            let found = self.consumer_group(name, false).and_then(|group| match instance.as_deref() {
                None => group.classic_member(name, &id, None).map(|member| member.id.clone()),
                Some(instance) => {
                    let member =
                        group.static_member(instance).ok_or_else(|| Refusal::unknown_instance(instance))?;
                    // An administrator gives the instance id alone.
                    if !id.is_empty() && member.id != id.as_str() {
                        return Err(Refusal::fenced_instance(&id, instance, &member.id));
                    }
                    Ok(member.id.clone())
                }
            });
            let code = match found {
                Ok(id) => {
                    gone.push(id);
                    0
                }
                Err(refusal) => {
                    self.observe_refusal(context, &refusal);
                    refusal.error.code()
                }
            };
            answers.push(
                MemberResponse::default()
                    .with_member_id(id)
                    .with_group_instance_id(instance)
                    .with_error_code(code),
            );
        }
        self.fence_consumer_members(name, &gone, "left");
        if before_batches {
            let code = answers.first().map_or(0, |answer| answer.error_code);
            return LeaveGroupResponse::default().with_error_code(code);
        }
        LeaveGroupResponse::default().with_members(answers)
    }
}

impl Consumer {
    /// Whether a classic member may join: it has an assignor that all classic members have.
    fn supports(&self, request: &JoinGroupRequest) -> bool {
        let classic = || self.members.values().filter_map(|member| member.classic.as_ref());
        let has = |part: &ClassicPart, name: &str| part.protocols.iter().any(|(known, _)| known == name);
        let shared = |name: &str| classic().all(|part| has(part, name));
        request.protocol_type.as_str() == CONSUMER
            && request.protocols.iter().any(|protocol| shared(&protocol.name))
    }

    fn classic_member(&self, group: &str, id: &str, instance: Option<&str>) -> Result<&Member, Refusal> {
        let Some(instance) = instance else {
            return self.members.get(id).ok_or_else(|| Refusal::unknown_member(group, id));
        };
        let member = self.static_member(instance).ok_or_else(|| Refusal::unknown_instance(instance))?;
        if member.id == id { Ok(member) } else { Err(Refusal::fenced_instance(id, instance, &member.id)) }
    }

    /// The classic member that sent the request.
    fn classic_caller(
        &mut self,
        group: &str,
        id: &str,
        instance: Option<&str>,
    ) -> Result<&mut Member, Refusal> {
        let id = self.classic_member(group, id, instance)?.id.clone();
        match self.members.get_mut(&id) {
            Some(member) if member.classic.is_some() => Ok(member),
            _ => {
                let message = format!("Member {id} does not use the classic protocol.");
                Err(Refusal::new(ResponseError::UnknownMemberId, message))
            }
        }
    }
}

impl Member {
    /// The assignor that a classic member prefers, which the answer names as the group's.
    fn protocol(&self) -> Option<&str> {
        self.classic.as_ref()?.protocols.first().map(|(name, _)| name.as_str())
    }

    fn check_generation(&self, generation: i32) -> Result<(), Refusal> {
        if generation == self.epoch {
            return Ok(());
        }
        let message = format!("Generation {generation} of member {} is not {}.", self.id, self.epoch);
        Err(Refusal::new(ResponseError::IllegalGeneration, message))
    }
}
