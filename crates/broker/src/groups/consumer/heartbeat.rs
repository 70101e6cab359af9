//! ConsumerGroupHeartbeat: joining, staying, and moving to the target assignment.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::{
    error::ResponseError,
    messages::{
        ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
        consumer_group_heartbeat_request::TopicPartitions as Owned,
        consumer_group_heartbeat_response::{Assignment, TopicPartitions},
    },
    protocol::StrBytes,
};
use uuid::Uuid;

use super::{Assigned, ClusterView, Consumer, Member, Partitions, Refusal, STATIC_LEAVE_EPOCH};
use crate::{
    groups::Members,
    model::{Model, millis},
    observe::Observed,
    random::Random,
    request::{Context, Reply},
};

/// `group.consumer.assignors`.
const ASSIGNORS: [&str; 2] = ["uniform", "range"];

impl Model {
    pub(crate) fn handle_consumer_group_heartbeat(
        &mut self,
        context: &Context,
        request: ConsumerGroupHeartbeatRequest,
    ) -> Reply {
        let answer = self.consumer_heartbeat(context, &request);
        answer
            .unwrap_or_else(|refusal| {
                self.observe_refusal(context, &refusal);
                ConsumerGroupHeartbeatResponse::default()
                    .with_error_code(refusal.error.code())
                    .with_error_message(Some(StrBytes::from_string(refusal.message)))
            })
            .into()
    }

    fn consumer_heartbeat(
        &mut self,
        context: &Context,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        check(request, context.version)?;
        let name = request.group_id.as_str();
        if let Err(error) = self.check_coordinator(context, name) {
            let text = match error {
                ResponseError::NotCoordinator => "This is not the correct coordinator.",
                _ => "The coordinator is loading and hence can't process requests.",
            };
            return Err(Refusal::new(error, text));
        }
        if request.member_epoch < 0 {
            return self.leave_consumer_group(request);
        }
        let world = ClusterView::new(self.now, &self.topics, &self.config);
        let joins = request.member_epoch == 0;
        let mut group = self.consumer_group(name, joins)?;
        group.check_room(&request.member_id, &world)?;
        let id = if request.member_id.is_empty() {
            new_member_id(&mut self.random)
        } else {
            request.member_id.as_str().to_owned()
        };
        let (was, replaced) = group.admit(name, &id, request)?;
        let mut member = Member {
            client_id: context.client_id.as_deref().unwrap_or_default().to_owned(),
            client_host: format!("/{}", context.host.as_str()),
            classic: None,
            join: None,
            sync: None,
            ..was.clone()
        };
        member.take_over(request);
        let change = group.change(&was, &member)?;
        group.members.insert(id.clone(), member);
        group.refresh_topics(change.bumps, &world);
        group.refresh_target(&world);
        let owned = request.topic_partitions.as_deref().map(partitions);
        group.reconcile(&id, change.any, owned.as_ref(), &world);
        if let Some(member) = group.members.get_mut(&id) {
            member.session = Some(world.now + self.consumer_session_timeout(name));
        }

        let full = request.rebalance_timeout_ms != -1
            && (request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some())
            && owned.is_some();
        let now_is = group.members.get(&id).map(|member| (member.epoch, member.assigned.clone()));
        let (epoch, assigned) = now_is.unwrap_or_default();
        let sends_assignment = joins || full || assigned != was.assigned;
        let interval = i32::try_from(self.consumer_heartbeat_interval(name).as_millis());
        let response = ConsumerGroupHeartbeatResponse::default()
            .with_member_id(Some(StrBytes::from_string(id.clone())))
            .with_member_epoch(epoch)
            .with_heartbeat_interval_ms(interval.unwrap_or(i32::MAX))
            .with_assignment(sends_assignment.then(|| assignment_of(&assigned)));

        group.resolve_patterns(false, &world);
        self.put_consumer_group(name, group);
        if let Some(replaced) = replaced {
            self.observe_gone(name, &replaced, "replaced");
        }
        self.observe_assignment(name, &id);
        Ok(response)
    }

    /// A copy of the group, to work on; an empty one if the request may create it. An empty group of the classic
    /// protocol is replaced, one with members is converted if possible (KIP-848).
    pub(super) fn consumer_group(&self, name: &str, creates: bool) -> Result<Consumer, Refusal> {
        let error = ResponseError::GroupIdNotFound;
        match self.groups.all.get(name).map(|group| &group.members) {
            None if !creates => Err(Refusal::new(error, format!("Consumer group {name} not found."))),
            Some(Members::Consumer(group)) => Ok(group.clone()),
            None | Some(Members::None) if creates => Ok(Consumer::default()),
            Some(Members::Classic(classic)) if creates => {
                let size = self.config.group_max_size;
                Consumer::upgrade(name, classic.migration(), size, self.now, &self.topics)
            }
            _ => Err(Refusal::new(error, format!("Group {name} is not a consumer group."))),
        }
    }

    /// Replaces the group by the copy that was worked on.
    pub(super) fn put_consumer_group(&mut self, name: &str, group: Consumer) {
        if matches!(self.groups.all.get(name).map(|group| &group.members), Some(Members::Classic(_))) {
            self.abandon_classic_calls(name);
        }
        self.groups.all.entry(name.to_owned()).or_default().members = Members::Consumer(group);
    }

    pub(super) fn observe_refusal(&mut self, context: &Context, refusal: &Refusal) {
        if refusal.is_client_error() {
            self.observe(|at| Observed::Refused {
                at,
                broker: context.broker,
                api: context.key as i16,
                code: refusal.error.code(),
                client: context.client_id.as_deref().unwrap_or_default().to_owned(),
            });
        }
    }

    pub(super) fn observe_gone(&mut self, group: &str, member: &str, why: &'static str) {
        self.observe(|at| Observed::MemberGone {
            at,
            group: group.to_owned(),
            member: member.to_owned(),
            why,
        });
    }

    /// Reports the assignment that a member was sent, if it is new.
    pub(super) fn observe_assignment(&mut self, name: &str, id: &str) {
        let Some(Members::Consumer(group)) = self.groups.all.get_mut(name).map(|group| &mut group.members)
        else {
            return;
        };
        let Some(member) = group.members.get_mut(id) else { return };
        let reported = (member.epoch, member.assignment());
        if member.reported.as_ref() == Some(&reported) {
            return;
        }
        member.reported = Some(reported.clone());
        let (generation, assignment) = reported;
        let partitions = assignment
            .iter()
            .flat_map(|(topic, all)| all.iter().map(move |one| (topic, one)))
            .filter_map(|(topic, one)| Some((self.topics.name_of(*topic)?.to_owned(), *one)))
            .collect();
        let (group, member) = (name.to_owned(), id.to_owned());
        self.observe(|at| Observed::Assigned { at, group, member, generation, partitions });
    }
}

impl Consumer {
    pub(super) fn check_room(&self, member: &str, world: &ClusterView) -> Result<(), Refusal> {
        if self.members.len() < world.max_size || self.members.contains_key(member) {
            return Ok(());
        }
        let message =
            format!("The consumer group has reached its maximum capacity of {} members.", world.max_size);
        Err(Refusal::new(ResponseError::GroupMaxSizeReached, message))
    }

    /// The member of the request, new or found; and the id of the member it replaces.
    fn admit(
        &mut self,
        group: &str,
        id: &str,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<(Member, Option<String>), Refusal> {
        let joins = request.member_epoch == 0;
        let Some(instance) = request.instance_id.as_deref() else {
            let member = match self.members.get(id) {
                Some(member) => member.clone(),
                None if joins => Member::new(id),
                None => return Err(Refusal::unknown_member(group, id)),
            };
            member.check_epoch(request)?;
            return Ok((member, None));
        };
        if joins {
            return self.admit_static(id, instance, false);
        }
        let member = self.static_member(instance).ok_or_else(|| Refusal::unknown_instance(instance))?;
        if member.id != id {
            return Err(Refusal::fenced_instance(id, instance, &member.id));
        }
        member.check_epoch(request)?;
        Ok((member.clone(), None))
    }

    /// Admits a static member: as a new one, or in place of one that is away. Between members of the consumer protocol
    /// only a member that announced it ([`STATIC_LEAVE_EPOCH`]) is away.
    pub(super) fn admit_static(
        &mut self,
        id: &str,
        instance: &str,
        classic: bool,
    ) -> Result<(Member, Option<String>), Refusal> {
        let Some(owner) = self.static_member(instance).cloned() else {
            return Ok((self.members.get(id).cloned().unwrap_or_else(|| Member::new(id)), None));
        };
        if !classic && owner.classic.is_none() && owner.epoch != STATIC_LEAVE_EPOCH {
            let message = format!(
                "Static member {id} with instance id {instance} cannot join the group because the instance id is owned by {} member.",
                owner.id
            );
            return Err(Refusal::new(ResponseError::UnreleasedInstanceId, message));
        }
        self.members.remove(&owner.id);
        if let Some(target) = self.target.remove(&owner.id) {
            self.target.insert(id.to_owned(), target);
        }
        let replaced = (owner.id != id).then(|| owner.id.clone());
        let (join, sync, rebalance, reported) = (None, None, None, None);
        let member = Member {
            id: id.to_owned(),
            epoch: 0,
            previous_epoch: 0,
            join,
            sync,
            rebalance,
            reported,
            ..owner
        };
        // The group contains it already while its new subscription is checked.
        self.members.insert(id.to_owned(), member.clone());
        Ok((member, replaced))
    }
}

impl Member {
    /// Takes over the fields of a heartbeat; those that it leaves out stay.
    fn take_over(&mut self, request: &ConsumerGroupHeartbeatRequest) {
        let text = |text: &StrBytes| text.as_str().to_owned();
        if let Some(instance) = &request.instance_id {
            self.instance = Some(text(instance));
        }
        if let Some(rack) = &request.rack_id {
            self.rack = Some(text(rack));
        }
        if request.rebalance_timeout_ms != -1 {
            self.rebalance_timeout = millis(request.rebalance_timeout_ms);
        }
        if let Some(assignor) = &request.server_assignor {
            self.assignor = Some(text(assignor));
        }
        if let Some(names) = &request.subscribed_topic_names {
            self.names = names.iter().map(|name| text(name)).collect();
        }
        if let Some(pattern) = &request.subscribed_topic_regex {
            self.pattern = text(pattern);
        }
    }

    /// Accepts the member's epoch; 0, to start over; or the previous epoch if the member owns only assigned partitions:
    /// then the answer with the new epoch was lost.
    fn check_epoch(&self, request: &ConsumerGroupHeartbeatRequest) -> Result<(), Refusal> {
        let epoch = request.member_epoch;
        let has = |topic: &Uuid, one: &i32| self.assigned.get(topic).is_some_and(|has| has.contains_key(one));
        let holds_no_more = || {
            request.topic_partitions.as_ref().is_some_and(|owned| {
                owned.iter().all(|owned| {
                    self.assigned.contains_key(&owned.topic_id)
                        && owned.partitions.iter().all(|one| has(&owned.topic_id, one))
                })
            })
        };
        if epoch == 0 || epoch == self.epoch {
            return Ok(());
        }
        if epoch < self.epoch && epoch == self.previous_epoch && holds_no_more() {
            return Ok(());
        }
        let message = format!(
            "The consumer group member has a {} member epoch ({epoch}) than the one known by the group coordinator ({}). The member must abandon all its partitions and rejoin.",
            if epoch > self.epoch { "greater" } else { "smaller" },
            self.epoch
        );
        Err(Refusal::new(ResponseError::FencedMemberEpoch, message))
    }
}

/// Checks a request by itself, in Kafka's order.
fn check(request: &ConsumerGroupHeartbeatRequest, version: i16) -> Result<(), Refusal> {
    // Java's `trim` removes all characters up to the space.
    let blank = |text: &str| text.chars().all(|char| char <= ' ');
    let epoch = request.member_epoch;
    if (version >= 1 || epoch > 0 || epoch == -1) && blank(&request.member_id) {
        return Err(Refusal::invalid("MemberId can't be empty."));
    }
    if blank(&request.group_id) {
        return Err(Refusal::invalid("GroupId can't be empty."));
    }
    if request.instance_id.as_deref().is_some_and(blank) {
        return Err(Refusal::invalid("InstanceId can't be empty."));
    }
    if request.rack_id.as_deref().is_some_and(blank) {
        return Err(Refusal::invalid("RackId can't be empty."));
    }
    if epoch == 0 {
        if request.rebalance_timeout_ms == -1 {
            return Err(Refusal::invalid("RebalanceTimeoutMs must be provided in first request."));
        }
        if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) {
            return Err(Refusal::invalid("TopicPartitions must be empty when (re-)joining."));
        }
        if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() {
            return Err(Refusal::invalid(
                "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
            ));
        }
    } else if epoch == STATIC_LEAVE_EPOCH && request.instance_id.is_none() {
        return Err(Refusal::invalid("InstanceId can't be null."));
    } else if epoch < STATIC_LEAVE_EPOCH {
        return Err(Refusal::invalid("MemberEpoch is invalid."));
    }
    match request.server_assignor.as_deref() {
        Some(assignor) if !ASSIGNORS.contains(&assignor) => {
            let known = ASSIGNORS.join(", ");
            let message =
                format!("ServerAssignor {assignor} is not supported. Supported assignors: {known}.");
            Err(Refusal::new(ResponseError::UnsupportedAssignor, message))
        }
        _ => Ok(()),
    }
}

fn partitions(owned: &[Owned]) -> Partitions {
    let mut all: BTreeMap<Uuid, BTreeSet<i32>> = BTreeMap::new();
    for owned in owned {
        all.entry(owned.topic_id).or_default().extend(&owned.partitions);
    }
    all
}

fn assignment_of(assigned: &Assigned) -> Assignment {
    let topics = super::member::without_epochs(assigned).into_iter().map(|(topic, partitions)| {
        TopicPartitions::default().with_topic_id(topic).with_partitions(partitions.into_iter().collect())
    });
    Assignment::default().with_topic_partitions(topics.collect())
}

/// An id as Kafka generates it for a member without one: 16 random bytes in URL-safe base64.
pub(super) fn new_member_id(random: &mut Random) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    loop {
        // 22 letters of six bits hold 132 bits: the last four are zero.
        let bits = random.uuid().as_u128();
        let letter = |at: u32| {
            let six = if at < 21 { (bits >> (122 - 6 * at)) & 63 } else { (bits << 4) & 63 };
            usize::try_from(six)
                .ok()
                .and_then(|six| LETTERS.get(six))
                .map_or('A', |letter| char::from(*letter))
        };
        let id: String = (0..22).map(letter).collect();
        // Kafka avoids ids that look like an option.
        if !id.starts_with('-') {
            return id;
        }
    }
}
