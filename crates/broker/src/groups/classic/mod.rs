//! The classic protocol: JoinGroup, SyncGroup, Heartbeat, LeaveGroup.
//!
//! [`Classic`] is the members and the generation of one group. It changes only within a [`Turn`], which gathers the
//! answers to send. Always true:
//! - a member whose join waits exists until its answer is sent: when the rebalance completes, or when it is fenced or expires;
//! - `statics` maps exactly the instance ids of the members to their ids;
//! - the stored state ([`stored`]) changes only where Kafka writes a record: when a leader's assignment arrives, when the group
//!   becomes empty, when a static member comes back under a new id.
//!
//! KIP-62, KIP-345, KIP-394, KIP-800, KIP-814.

mod join;
mod leave;
mod migrate;
mod rebalance;
mod stored;
mod sync;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes};
use kafka_protocol::{
    error::ResponseError,
    messages::{
        ConsumerProtocolAssignment, ConsumerProtocolSubscription, JoinGroupResponse, ResponseKind,
        SyncGroupResponse,
    },
    protocol::{Decodable, StrBytes},
};

use crate::{config::Config, observe::Observed, request::Context};

/// The protocol type of consumers, whose metadata the coordinator parses.
pub(super) const CONSUMER: &str = "consumer";

/// The members of a group of the classic protocol, and its state.
#[derive(Debug, Default)]
pub(crate) struct Classic {
    state: State,
    generation: i32,
    protocol_type: Option<StrBytes>,
    protocol: Option<StrBytes>,
    leader: Option<String>,
    members: BTreeMap<String, Member>,
    /// Member ids by `group.instance.id`.
    statics: BTreeMap<String, String>,
    /// Member ids that were given out but have not joined yet, and until when they may (KIP-394).
    pending: BTreeMap<String, Instant>,
    /// Members that have not yet asked for their assignment in this generation.
    unsynced: BTreeSet<String>,
    /// When the members in `unsynced` must have synced.
    sync_by: Option<Instant>,
    /// A member joined during the initial delay, which is then extended.
    newcomer: bool,
    /// The topics that the members of this generation subscribe to, if known.
    subscribed: Option<BTreeSet<String>>,
    stored: Box<stored::Record>,
}

/// The state of a group. Kafka's `Dead` is a group that does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Empty,
    Preparing(Preparing),
    Completing,
    Stable,
}

/// Members are joining.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Preparing {
    /// When members that have not joined are removed.
    due: Instant,
    /// The group was empty before: it waits for the whole `group.initial.rebalance.delay.ms`.
    initial: bool,
    /// How the initial delay may be extended when a member joins meanwhile.
    extension: Option<Extension>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extension {
    delay: Duration,
    remaining: Duration,
}

/// One member.
#[derive(Debug)]
struct Member {
    instance: Option<StrBytes>,
    client_id: StrBytes,
    /// In Java's format, with a leading `/`.
    client_host: StrBytes,
    rebalance_timeout: Duration,
    session_timeout: Duration,
    /// By name, in the member's order of preference.
    protocols: Vec<(StrBytes, Bytes)>,
    assignment: Bytes,
    /// The member has not yet seen the end of a rebalance, so it cannot send heartbeats: its join expires instead.
    new: bool,
    /// `None` after a session ended while the member was waiting for an answer.
    expires: Option<Instant>,
    join: Option<Context>,
    sync: Option<Context>,
}

/// One step of a group: its inputs, and its outputs.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    now: Instant,
    config: &'a Config,
    pub(super) answers: Vec<(Context, ResponseKind)>,
    pub(super) events: Vec<GroupEvent>,
}

/// An event of a group that the rest of the model may need.
#[derive(Debug)]
pub(crate) enum GroupEvent {
    Assigned { member: String, generation: i32, partitions: Vec<(String, i32)> },
    Gone { member: String, why: &'static str },
}

impl GroupEvent {
    pub(super) fn observed(self, at: Instant, group: &str) -> Observed {
        let group = group.to_owned();
        match self {
            Self::Assigned { member, generation, partitions } => {
                Observed::Assigned { at, group, member, generation, partitions }
            }
            Self::Gone { member, why } => Observed::MemberGone { at, group, member, why },
        }
    }
}

impl<'a> Turn<'a> {
    pub(super) fn new(now: Instant, config: &'a Config) -> Self {
        Self { now, config, answers: Vec::new(), events: Vec::new() }
    }

    fn answer_join(&mut self, context: Context, response: JoinGroupResponse) {
        let response = join::in_version(response, context.version);
        self.answers.push((context, ResponseKind::JoinGroup(response)));
    }

    fn answer_sync(&mut self, context: Context, response: SyncGroupResponse) {
        self.answers.push((context, ResponseKind::SyncGroup(response)));
    }

    fn record_gone(&mut self, member: &str, why: &'static str) {
        self.events.push(GroupEvent::Gone { member: member.to_owned(), why });
    }
}

impl State {
    fn is_preparing(self) -> bool {
        matches!(self, Self::Preparing(_))
    }
}

impl Classic {
    /// The state, by Kafka's name.
    pub(super) fn state(&self) -> &'static str {
        match self.state {
            State::Empty => "Empty",
            State::Preparing(_) => "PreparingRebalance",
            State::Completing => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state == State::Empty
    }

    pub(super) fn protocol_type(&self) -> Option<&StrBytes> {
        self.protocol_type.as_ref()
    }

    pub(super) fn is_of_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// Whether members read this topic. Consumers with an unknown subscription may.
    pub(super) fn subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.is_of_consumers(),
        }
    }

    /// Whether an offset may be committed: by a member of this generation, or by any client while the group is empty.
    pub(super) fn check_commit(
        &self,
        member: &str,
        instance: Option<&str>,
        generation: i32,
        transactional: bool,
    ) -> Result<(), ResponseError> {
        if generation < 0 && self.is_empty() {
            return Ok(());
        }
        if generation >= 0 || !member.is_empty() || instance.is_some() {
            self.check_member(member, instance)?;
            self.check_generation(generation)?;
        } else if !transactional && !self.is_empty() {
            return Err(ResponseError::UnknownMemberId);
        }
        if !transactional && self.state == State::Completing {
            return Err(ResponseError::RebalanceInProgress);
        }
        Ok(())
    }

    /// A commit proves that the member is alive, except while it should be syncing.
    pub(super) fn committed(&mut self, member: &str, turn: &Turn<'_>) {
        if self.state == State::Stable || self.state.is_preparing() {
            self.touch(member, turn.now);
        }
    }

    fn check_member(&self, member: &str, instance: Option<&str>) -> Result<(), ResponseError> {
        if let Some(instance) = instance {
            match self.statics.get(instance) {
                None => return Err(ResponseError::UnknownMemberId),
                Some(owner) if owner != member => return Err(ResponseError::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member) { Ok(()) } else { Err(ResponseError::UnknownMemberId) }
    }

    fn check_generation(&self, generation: i32) -> Result<(), ResponseError> {
        if generation == self.generation { Ok(()) } else { Err(ResponseError::IllegalGeneration) }
    }

    /// Renews the session of a member that called.
    fn touch(&mut self, member: &str, now: Instant) {
        if let Some(member) = self.members.get_mut(member) {
            member.expires = Some(now + member.session_timeout);
        }
    }

    /// Restarts running sessions at `from`, when the coordinator will have loaded the group.
    pub(super) fn sessions_begin_at(&mut self, from: Instant) {
        for member in self.members.values_mut().filter(|member| !member.new) {
            member.expires = member.expires.map(|at| at.max(from + member.session_timeout));
        }
    }

    fn is_leader(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    /// Whether all members wait for the rebalance to complete, and no other member is expected.
    fn all_joined(&self) -> bool {
        self.pending.is_empty() && self.members.values().all(|member| member.join.is_some())
    }

    /// The longest rebalance timeout of a member.
    fn rebalance_timeout(&self) -> Duration {
        self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default()
    }

    /// How many members support a protocol.
    fn supporters(&self, protocol: &str) -> usize {
        let supports = |member: &&Member| member.protocols.iter().any(|(name, _)| **name == *protocol);
        self.members.values().filter(supports).count()
    }

    /// Removes a member from every role it has.
    fn remove(&mut self, id: &str) -> Option<Member> {
        let removed = self.members.remove(id);
        if let Some(instance) = removed.as_ref().and_then(|member| member.instance.as_deref()) {
            self.statics.remove(instance);
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.pending.remove(id);
        self.unsynced.remove(id);
        removed
    }

    /// The topics that the members subscribe to; `None` if they are not consumers or a subscription is malformed.
    fn read_subscriptions(&self) -> Option<BTreeSet<String>> {
        if !self.is_of_consumers() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_deref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            topics.extend(subscription(member.metadata(protocol))?);
        }
        Some(topics)
    }
}

impl Member {
    fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols
            .iter()
            .find(|(name, _)| **name == *protocol)
            .map(|(_, metadata)| metadata.clone())
            .unwrap_or_default()
    }

    /// Whether the member waits for the coordinator, which is as good as a heartbeat, except during its first join.
    fn waits_for_answer(&self) -> bool {
        !self.new && (self.join.is_some() || self.sync.is_some())
    }
}

/// The topics of a consumer's subscription. Every version begins with the fields of version 0.
fn subscription(mut metadata: Bytes) -> Option<Vec<String>> {
    check_plausible(&metadata)?;
    metadata.advance(2);
    let subscription = ConsumerProtocolSubscription::decode(&mut metadata, 0).ok()?;
    Some(subscription.topics.into_iter().map(|topic| topic.as_str().to_owned()).collect())
}

/// The partitions of a consumer's assignment; none if the bytes are not an assignment.
fn assignment(mut bytes: Bytes) -> Vec<(String, i32)> {
    if check_plausible(&bytes).is_none() {
        return Vec::new();
    }
    bytes.advance(2);
    let Ok(assignment) = ConsumerProtocolAssignment::decode(&mut bytes, 0) else { return Vec::new() };
    let of = |topic: kafka_protocol::messages::consumer_protocol_assignment::TopicPartition| {
        let name = topic.topic.as_str().to_owned();
        topic.partitions.into_iter().map(move |partition| (name.clone(), partition))
    };
    assignment.assigned_partitions.into_iter().flat_map(of).collect()
}

/// Checks for a version of the consumer protocol and a plausible count: the decoder trusts it, and metadata can be anything.
fn check_plausible(bytes: &Bytes) -> Option<()> {
    let version = i16::from_be_bytes(bytes.get(..2)?.try_into().ok()?);
    let count = i32::from_be_bytes(bytes.get(2..6)?.try_into().ok()?);
    (version >= 0 && usize::try_from(count).ok()? <= bytes.len()).then_some(())
}
