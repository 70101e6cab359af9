//! The classic protocol: JoinGroup, SyncGroup, Heartbeat, LeaveGroup.
//!
//! [`Classic`] is the members and the generation of one group, and moves only within a [`Turn`], which gathers what is to be
//! answered. Always true:
//! - a member whose join waits is there to get its answer when the rebalance completes, is fenced or runs out;
//! - `statics` maps exactly the instance ids of the members to their ids;
//! - what is stored ([`stored`]) changes only where Kafka writes a record: when a leader's assignment arrives, when the group
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

/// The protocol type of consumers, whose metadata the coordinator looks into.
pub(super) const CONSUMER: &str = "consumer";

/// The members of a group of the classic protocol, and where it stands.
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
    /// Member ids that were given out and are awaited, and until when (KIP-394).
    pending: BTreeMap<String, Instant>,
    /// Members that have not yet asked for their assignment in this generation.
    unsynced: BTreeSet<String>,
    /// By when they must have.
    sync_by: Option<Instant>,
    /// Somebody joined during the initial delay, which is then extended.
    newcomer: bool,
    /// What the members of this generation subscribe to, if it can be told.
    subscribed: Option<BTreeSet<String>>,
    stored: Box<stored::Record>,
}

/// Where a group stands. Kafka's `Dead` is a group that is not there.
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
    /// When those who have not joined are left behind.
    due: Instant,
    /// The group was empty before: it waits for the whole `group.initial.rebalance.delay.ms`.
    initial: bool,
    /// How the initial delay may be extended when somebody joins meanwhile.
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
    /// As Java prints it, with a leading `/`.
    client_host: StrBytes,
    rebalance_timeout: Duration,
    session_timeout: Duration,
    /// By name, in the member's order of preference.
    protocols: Vec<(StrBytes, Bytes)>,
    assignment: Bytes,
    /// It has not yet seen the end of a rebalance, so it cannot send heartbeats: its join runs out instead.
    new: bool,
    /// `None` after a session ended while the member was waiting for us.
    expires: Option<Instant>,
    join: Option<Context>,
    sync: Option<Context>,
}

/// One step of a group: what it may know, and what it wants done.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    now: Instant,
    config: &'a Config,
    pub(super) answers: Vec<(Context, ResponseKind)>,
    pub(super) seen: Vec<Seen>,
}

/// What a group did that others may want to know.
#[derive(Debug)]
pub(crate) enum Seen {
    Assigned { member: String, generation: i32, partitions: Vec<(String, i32)> },
    Gone { member: String, why: &'static str },
}

impl Seen {
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
        Self { now, config, answers: Vec::new(), seen: Vec::new() }
    }

    fn answer_join(&mut self, context: Context, response: JoinGroupResponse) {
        let response = join::in_version(response, context.version);
        self.answers.push((context, ResponseKind::JoinGroup(response)));
    }

    fn answer_sync(&mut self, context: Context, response: SyncGroupResponse) {
        self.answers.push((context, ResponseKind::SyncGroup(response)));
    }

    fn gone(&mut self, member: &str, why: &'static str) {
        self.seen.push(Seen::Gone { member: member.to_owned(), why });
    }
}

impl State {
    fn is_preparing(self) -> bool {
        matches!(self, Self::Preparing(_))
    }
}

impl Classic {
    /// The state in Kafka's words.
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

    /// Whether members read this topic. Consumers whose subscription is not known may.
    pub(super) fn subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.is_of_consumers(),
        }
    }

    /// Whether an offset may be committed: by a member of this generation, or by anybody while the group is empty.
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

    /// A commit says that the member lives, except while it should be syncing.
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

    /// A member was heard of.
    fn touch(&mut self, member: &str, now: Instant) {
        if let Some(member) = self.members.get_mut(member) {
            member.expires = Some(now + member.session_timeout);
        }
    }

    /// Sessions that run begin anew at `from`, which is when their coordinator will have loaded the group.
    pub(super) fn sessions_begin_at(&mut self, from: Instant) {
        for member in self.members.values_mut().filter(|member| !member.new) {
            member.expires = member.expires.map(|at| at.max(from + member.session_timeout));
        }
    }

    fn is_leader(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    /// All members wait for the rebalance to complete, and nobody is expected beside them.
    fn all_joined(&self) -> bool {
        self.pending.is_empty() && self.members.values().all(|member| member.join.is_some())
    }

    /// The longest that a member asked for.
    fn rebalance_timeout(&self) -> Duration {
        self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default()
    }

    /// How many members support a protocol.
    fn supporters(&self, protocol: &str) -> usize {
        let supports = |member: &&Member| member.protocols.iter().any(|(name, _)| **name == *protocol);
        self.members.values().filter(supports).count()
    }

    /// Takes a member out, in whatever role it has.
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

    /// What the members subscribe to; `None` if they are no consumers or it cannot be told.
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

    /// Waiting for the coordinator is as good as a heartbeat, unless it is the first time.
    fn waits_for_us(&self) -> bool {
        !self.new && (self.join.is_some() || self.sync.is_some())
    }
}

/// The topics of a consumer's subscription. All versions begin with version 0.
fn subscription(mut metadata: Bytes) -> Option<Vec<String>> {
    sane(&metadata)?;
    metadata.advance(2);
    let subscription = ConsumerProtocolSubscription::decode(&mut metadata, 0).ok()?;
    Some(subscription.topics.into_iter().map(|topic| topic.as_str().to_owned()).collect())
}

/// The partitions of a consumer's assignment; none if it is no such thing.
fn assignment(mut bytes: Bytes) -> Vec<(String, i32)> {
    if sane(&bytes).is_none() {
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

/// A version of the consumer protocol and a count that may be true: the decoder trusts it, and metadata can be anything.
fn sane(bytes: &Bytes) -> Option<()> {
    let version = i16::from_be_bytes(bytes.get(..2)?.try_into().ok()?);
    let count = i32::from_be_bytes(bytes.get(2..6)?.try_into().ok()?);
    (version >= 0 && usize::try_from(count).ok()? <= bytes.len()).then_some(())
}
