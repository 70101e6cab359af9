//! How members leave: for good, for a while, or because their time is up.

use std::time::Instant;

use kafka_protocol::{
    error::ResponseError,
    messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse},
};

use super::{Assigned, ClusterView, Consumer, Refusal, STATIC_LEAVE_EPOCH, member::Stage};
use crate::{groups::Members, model::Model};

impl Model {
    pub(super) fn leave_consumer_group(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let name = request.group_id.as_str();
        let error = ResponseError::GroupIdNotFound;
        let group = match self.groups.all.get_mut(name).map(|group| &mut group.members) {
            Some(Members::Consumer(group)) => group,
            Some(_) => return Err(Refusal::new(error, format!("Group {name} is not a consumer group."))),
            None => return Err(Refusal::new(error, format!("Group {name} not found."))),
        };
        let id = request.member_id.as_str();
        match request.instance_id.as_deref() {
            None if !group.members.contains_key(id) => return Err(Refusal::unknown_member(name, id)),
            None => {}
            Some(instance) => {
                let owner =
                    group.static_member(instance).ok_or_else(|| Refusal::unknown_instance(instance))?;
                if owner.id != id {
                    return Err(Refusal::fenced_instance(id, instance, &owner.id));
                }
            }
        }
        if request.instance_id.is_some() && request.member_epoch == STATIC_LEAVE_EPOCH {
            // It keeps its partitions, and its session goes on.
            if let Some(member) = group.members.get_mut(id) {
                member.epoch = STATIC_LEAVE_EPOCH;
                member.revoking = Assigned::new();
                member.assigned.values_mut().flat_map(|all| all.values_mut()).for_each(|since| *since = 0);
            }
        } else {
            self.fence_consumer_members(name, &[id.to_owned()], "left");
        }
        Ok(ConsumerGroupHeartbeatResponse::default()
            .with_member_id(Some(request.member_id.clone()))
            .with_member_epoch(request.member_epoch))
    }

    /// Removes members. When only members of the classic protocol are left, the group becomes a classic one.
    pub(super) fn fence_consumer_members(&mut self, name: &str, ids: &[String], why: &'static str) {
        let world = ClusterView::new(self.now, &self.topics, &self.config);
        let Some(Members::Consumer(group)) = self.groups.all.get_mut(name).map(|group| &mut group.members)
        else {
            return;
        };
        let gone: Vec<String> =
            ids.iter().filter(|id| group.members.remove(id.as_str()).is_some()).cloned().collect();
        if gone.is_empty() {
            return;
        }
        group.target.retain(|id, _| !gone.contains(id));
        group.forget_patterns();
        group.topics = group.subscribed_topics(&world);
        for id in &gone {
            self.observe_gone(name, id, why);
        }
        if !self.downgrade_if_classic(name, true)
            && let Some(group) = self.consumer_members(name)
        {
            group.epoch += 1;
        }
    }

    /// Fences members whose session or rebalance has expired.
    pub(crate) fn expire_consumer_groups(&mut self) {
        let names: Vec<String> = self.groups.all.keys().cloned().collect();
        for name in names {
            let now = self.now;
            while let Some((id, why)) = self.consumer_members(&name).and_then(|group| group.pop_due(now)) {
                self.fence_consumer_members(&name, &[id], why);
            }
        }
    }

    /// Topics were created, deleted or extended: patterns are matched again. Other changes each group notices at its
    /// members' next heartbeat.
    pub(crate) fn consumer_groups_topics_changed(&mut self) {
        let world = ClusterView::new(self.now, &self.topics, &self.config);
        for group in self.groups.all.values_mut() {
            if let Members::Consumer(group) = &mut group.members {
                group.resolve_patterns(true, &world);
            }
        }
    }

    /// Another broker takes over a group: its log has everything but the time that sessions have left.
    pub(crate) fn reload_consumer_group(&mut self, name: &str) {
        let (now, session) = (self.now, self.consumer_session_timeout(name));
        let Some(group) = self.consumer_members(name) else { return };
        for member in group.members.values_mut() {
            let session = member.classic.as_ref().map_or(session, |classic| classic.session_timeout);
            member.session = Some(now + session);
            let revokes = member.stage == Stage::Unrevoked;
            member.rebalance = revokes.then(|| (now + member.rebalance_timeout, member.epoch));
            (member.join, member.sync) = (None, None);
        }
    }

    pub(super) fn consumer_members(&mut self, name: &str) -> Option<&mut Consumer> {
        match self.groups.all.get_mut(name).map(|group| &mut group.members) {
            Some(Members::Consumer(group)) => Some(group),
            _ => None,
        }
    }
}

impl Consumer {
    /// A member whose time is up, and the reason.
    fn pop_due(&mut self, now: Instant) -> Option<(String, &'static str)> {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        self.members.values_mut().find_map(|member| {
            if due(member.session) {
                return Some((member.id.clone(), "session"));
            }
            let rebalance = member.rebalance.take_if(|(at, _)| *at <= now);
            let stuck = rebalance.is_some_and(|(_, epoch)| epoch == member.epoch);
            (stuck || due(member.join) || due(member.sync)).then(|| (member.id.clone(), "rebalance"))
        })
    }
}
