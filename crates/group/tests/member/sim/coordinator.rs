//! A model of Kafka's classic group coordinator, for one group. It refuses what a broker refuses.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{Hash, Hasher},
};

use bytes::Bytes;
use offtake_wire::{
    ConsumerGroupHeartbeatResponse, ErrorCode, Request, Response,
    messages::{
        heartbeat::{HeartbeatRequest, HeartbeatResponse},
        join_group::{
            JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse, JoinGroupResponseMember,
        },
        leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberResponse},
        sync_group::{SyncGroupRequest, SyncGroupResponse},
    },
};

use super::modern::Modern;

/// Milliseconds since the simulation began.
pub type Millis = u64;

/// The call that a response belongs to.
pub type Caller = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    Empty,
    Preparing,
    Completing,
    Stable,
}

#[derive(Clone, Debug)]
struct Member {
    instance: Option<String>,
    protocols: Vec<JoinGroupRequestProtocol>,
    session: Millis,
    rebalance: Millis,
    seen: Millis,
    joining: Option<Caller>,
    syncing: Option<Caller>,
    assignment: Bytes,
}

#[derive(Clone, Debug)]
struct Group {
    phase: Phase,
    generation: i32,
    protocol: String,
    leader: String,
    members: BTreeMap<String, Member>,
}

/// The coordinator of the one group.
#[derive(Clone)]
pub struct Coordinator {
    group: Group,
    /// The state in the log, which the next coordinator reads.
    persisted: Group,
    pending: BTreeMap<String, Millis>,
    deadline: Option<Millis>,
    /// The first members wait for others (`group.initial.rebalance.delay.ms`).
    delayed: bool,
    ids: u64,
    pub initial_delay: Millis,
    pub loading_until: Millis,
    pub most_members: usize,
    pub skips_assignment: bool,
    pub answers: Vec<(Caller, Response)>,
    /// Members that it removed, with the reason.
    pub expelled: Vec<(Millis, String, &'static str)>,
    pub generations: Vec<i32>,
    /// The group, if it uses the consumer protocol.
    pub modern: Modern,
    /// The number of answers while the group was not loaded.
    pub blind: BTreeSet<Caller>,
}

impl Coordinator {
    pub fn new() -> Self {
        let group = Group {
            phase: Phase::Empty,
            generation: 0,
            protocol: String::new(),
            leader: String::new(),
            members: BTreeMap::new(),
        };
        Self {
            persisted: group.clone(),
            group,
            pending: BTreeMap::new(),
            deadline: None,
            delayed: false,
            ids: 0,
            initial_delay: 0,
            loading_until: 0,
            most_members: usize::MAX,
            skips_assignment: true,
            answers: Vec::new(),
            expelled: Vec::new(),
            generations: Vec::new(),
            modern: Modern::default(),
            blind: BTreeSet::new(),
        }
    }

    pub fn phase(&self) -> Phase {
        self.group.phase
    }

    pub fn generation(&self) -> i32 {
        self.group.generation
    }

    pub fn leader(&self) -> &str {
        &self.group.leader
    }

    pub fn member_ids(&self) -> Vec<String> {
        self.group.members.keys().cloned().collect()
    }

    /// Removes a member, as an operator can.
    pub fn expel(&mut self, now: Millis, id: &str) {
        self.remove(now, id, "by hand");
    }

    /// Skips a generation, as if the group had rebalanced without its members.
    pub fn skip_a_generation(&mut self) {
        self.group.generation += 1;
    }

    /// Another broker takes over: state that is not in the log is lost, and connections of waiting requests break.
    pub fn fail_over(&mut self, now: Millis, loading: Millis) -> Vec<Caller> {
        let cut = self.group.members.values_mut();
        let cut = cut.flat_map(|m| [m.joining.take(), m.syncing.take()]).flatten().collect();
        self.group = self.persisted.clone();
        self.pending.clear();
        self.deadline = None;
        self.delayed = false;
        self.loading_until = now + loading;
        self.modern.fail_over(self.loading_until);
        for member in self.group.members.values_mut() {
            member.seen = self.loading_until;
            member.joining = None;
            member.syncing = None;
        }
        cut
    }

    pub fn handle(&mut self, now: Millis, caller: Caller, request: Request) {
        self.tick(now);
        let loading = now < self.loading_until;
        match request {
            Request::JoinGroup(join) => {
                assert!(join.session_timeout_ms > 0 && join.rebalance_timeout_ms > 0, "{join:?}");
                assert!(!join.protocols.is_empty(), "{join:?}");
                if loading {
                    return self.join_error(caller, ErrorCode::CoordinatorLoadInProgress, &join.member_id);
                }
                self.join(now, caller, join);
            }
            Request::SyncGroup(sync) => {
                assert!(!sync.member_id.is_empty() && sync.generation_id >= 0, "{sync:?}");
                if loading {
                    return self.sync_error(caller, ErrorCode::CoordinatorLoadInProgress);
                }
                self.sync(now, caller, sync);
            }
            Request::Heartbeat(beat) => {
                assert!(!beat.member_id.is_empty() && beat.generation_id >= 0, "{beat:?}");
                // A broker that is still loading knows no member, and answers every heartbeat without an error.
                let error_code = if loading { ErrorCode::None } else { self.heartbeat(now, &beat) };
                if loading {
                    self.blind.insert(caller);
                }
                self.answer(caller, HeartbeatResponse { error_code, ..Default::default() }.into());
            }
            Request::LeaveGroup(leave) => {
                if loading {
                    let error_code = ErrorCode::CoordinatorLoadInProgress;
                    return self
                        .answer(caller, LeaveGroupResponse { error_code, ..Default::default() }.into());
                }
                self.leave(now, caller, leave);
            }
            Request::ConsumerGroupHeartbeat(_) if loading => {
                let error_code = ErrorCode::CoordinatorLoadInProgress;
                self.answer(
                    caller,
                    ConsumerGroupHeartbeatResponse { error_code, ..Default::default() }.into(),
                );
            }
            Request::ConsumerGroupHeartbeat(beat) => {
                self.modern.handle(now, caller, beat);
                let answers = std::mem::take(&mut self.modern.answers);
                self.answers.extend(answers.into_iter().map(|(caller, answer)| (caller, answer.into())));
            }
            other => panic!("not for a coordinator: {other:?}"),
        }
    }

    fn answer(&mut self, caller: Caller, response: Response) {
        self.answers.push((caller, response));
    }

    fn join_error(&mut self, caller: Caller, error_code: ErrorCode, member_id: &str) {
        let member_id = member_id.to_owned();
        self.answer(caller, JoinGroupResponse { error_code, member_id, ..Default::default() }.into());
    }

    fn sync_error(&mut self, caller: Caller, error_code: ErrorCode) {
        self.answer(caller, SyncGroupResponse { error_code, ..Default::default() }.into());
    }

    fn new_id(&mut self) -> String {
        self.ids += 1;
        // Ids are in random order, like real ones.
        format!(
            "m-{:08x}-{}",
            self.ids.wrapping_mul(0x9E37_79B9).wrapping_add(0x51ED) & 0xffff_ffff,
            self.ids
        )
    }

    fn agrees(&self, protocols: &[JoinGroupRequestProtocol]) -> bool {
        protocols.iter().any(|offer| {
            self.group.members.values().all(|member| member.protocols.iter().any(|p| p.name == offer.name))
        })
    }

    fn join(&mut self, now: Millis, caller: Caller, join: JoinGroupRequest) {
        if !self.agrees(&join.protocols) {
            return self.join_error(caller, ErrorCode::InconsistentGroupProtocol, &join.member_id);
        }
        let instance = join.group_instance_id.clone();
        let of_instance = instance.as_ref().and_then(|name| {
            self.group
                .members
                .iter()
                .find(|(_, m)| m.instance.as_ref() == Some(name))
                .map(|(id, _)| id.clone())
        });
        if join.member_id.is_empty() {
            return match (&instance, of_instance) {
                (Some(_), Some(old)) => self.replace_static(now, caller, &old, join),
                (Some(_), None) => {
                    let id = self.new_id();
                    self.add(now, caller, id, join);
                }
                (None, _) if self.group.members.len() + self.pending.len() >= self.most_members => {
                    self.join_error(caller, ErrorCode::GroupMaxSizeReached, "");
                }
                (None, _) => {
                    let id = self.new_id();
                    self.pending.insert(id.clone(), now + session(&join));
                    self.join_error(caller, ErrorCode::MemberIdRequired, &id);
                }
            };
        }
        if self.pending.remove(&join.member_id).is_some() {
            let id = join.member_id.clone();
            return self.add(now, caller, id, join);
        }
        if instance.is_some() && of_instance.is_some_and(|id| id != join.member_id) {
            return self.join_error(caller, ErrorCode::FencedInstanceId, &join.member_id);
        }
        let Some(member) = self.group.members.get_mut(&join.member_id) else {
            return self.join_error(caller, ErrorCode::UnknownMemberId, &join.member_id);
        };
        let changed = member.protocols != join.protocols;
        member.protocols.clone_from(&join.protocols);
        member.session = session(&join);
        member.rebalance = rebalance(&join);
        member.seen = now;
        let leads = self.group.leader == join.member_id;
        let as_before = match self.group.phase {
            Phase::Preparing | Phase::Empty => false,
            Phase::Completing => !changed,
            Phase::Stable => !changed && !leads,
        };
        if as_before {
            let answer = self.joined(&join.member_id, false);
            return self.answer(caller, answer);
        }
        if let Some(member) = self.group.members.get_mut(&join.member_id)
            && let Some(stale) = member.joining.replace(caller)
        {
            self.join_error(stale, ErrorCode::UnknownMemberId, &join.member_id);
        }
        self.prepare(now);
    }

    fn add(&mut self, now: Millis, caller: Caller, id: String, join: JoinGroupRequest) {
        let member = Member {
            instance: join.group_instance_id.clone(),
            session: session(&join),
            rebalance: rebalance(&join),
            protocols: join.protocols,
            seen: now,
            joining: Some(caller),
            syncing: None,
            assignment: Bytes::new(),
        };
        self.group.members.insert(id, member);
        self.prepare(now);
    }

    fn replace_static(&mut self, now: Millis, caller: Caller, old: &str, join: JoinGroupRequest) {
        let Some(mut member) = self.group.members.remove(old) else { return };
        for (waiting, is_join) in [(member.joining.take(), true), (member.syncing.take(), false)] {
            match waiting {
                Some(fenced) if is_join => self.join_error(fenced, ErrorCode::FencedInstanceId, old),
                Some(fenced) => self.sync_error(fenced, ErrorCode::FencedInstanceId),
                None => {}
            }
        }
        let changed = topics(&member.protocols) != topics(&join.protocols);
        member.protocols = join.protocols;
        member.seen = now;
        let id = self.new_id();
        let leader = self.group.leader.clone();
        if self.group.leader == old {
            self.group.leader.clone_from(&id);
        }
        if self.group.phase == Phase::Stable && !changed {
            self.group.members.insert(id.clone(), member);
            self.persisted = self.group.clone();
            let mut answer = self.joined(&id, self.skips_assignment);
            if let (Response::JoinGroup(answer), false) = (&mut answer, self.skips_assignment) {
                // The response names another leader, its previous process or the real one, so that it does
                // not assign.
                (answer.leader, answer.members) = (leader, Vec::new());
            }
            return self.answer(caller, answer);
        }
        member.joining = Some(caller);
        self.group.members.insert(id, member);
        self.prepare(now);
    }

    fn joined(&self, id: &str, skip_assignment: bool) -> Response {
        let leads = self.group.leader == id;
        let members =
            self.group.members.iter().filter(|_| leads).map(|(id, member)| JoinGroupResponseMember {
                member_id: id.clone(),
                group_instance_id: member.instance.clone(),
                metadata: member
                    .protocols
                    .iter()
                    .find(|p| p.name == self.group.protocol)
                    .map(|p| p.metadata.clone())
                    .unwrap_or_default(),
            });
        JoinGroupResponse {
            generation_id: self.group.generation,
            protocol_type: Some("consumer".into()),
            protocol_name: Some(self.group.protocol.clone()),
            leader: self.group.leader.clone(),
            skip_assignment: skip_assignment && leads,
            member_id: id.to_owned(),
            members: members.collect(),
            ..Default::default()
        }
        .into()
    }

    fn prepare(&mut self, now: Millis) {
        match self.group.phase {
            Phase::Preparing => {}
            Phase::Empty if self.initial_delay > 0 => {
                self.delayed = true;
                self.deadline = Some(now + self.initial_delay);
            }
            Phase::Empty | Phase::Completing | Phase::Stable => {
                let mut waiting: Vec<Caller> = Vec::new();
                for member in self.group.members.values_mut() {
                    if let Some(caller) = member.syncing.take() {
                        member.seen = now;
                        waiting.push(caller);
                    }
                }
                for caller in waiting {
                    self.sync_error(caller, ErrorCode::RebalanceInProgress);
                }
                let patience = self.group.members.values().map(|member| member.rebalance).max().unwrap_or(0);
                self.deadline = Some(now + patience);
            }
        }
        self.group.phase = Phase::Preparing;
        self.complete_if_all_joined(now);
    }

    fn complete_if_all_joined(&mut self, now: Millis) {
        let all = self.group.members.values().all(|member| member.joining.is_some());
        if self.group.phase == Phase::Preparing && all && self.pending.is_empty() && !self.delayed {
            self.complete(now);
        }
    }

    fn complete(&mut self, now: Millis) {
        self.delayed = false;
        let absent: Vec<String> = self
            .group
            .members
            .iter()
            .filter(|(_, m)| m.joining.is_none() && m.instance.is_none())
            .map(|(id, _)| id.clone())
            .collect();
        for id in absent {
            self.expelled.push((now, id.clone(), "did not rejoin in time"));
            self.group.members.remove(&id);
        }
        self.group.generation += 1;
        self.deadline = None;
        if self.group.members.is_empty() {
            self.group.phase = Phase::Empty;
            self.group.leader.clear();
            self.persisted = self.group.clone();
            return;
        }
        self.generations.push(self.group.generation);
        if self.group.members.get(&self.group.leader).is_none_or(|m| m.joining.is_none()) {
            let joined = self.group.members.iter().find(|(_, m)| m.joining.is_some());
            self.group.leader = joined.map(|(id, _)| id.clone()).unwrap_or_default();
        }
        self.group.protocol = self.vote();
        self.group.phase = Phase::Completing;
        let patience = self.group.members.values().map(|member| member.rebalance).max().unwrap_or(0);
        self.deadline = Some(now + patience);
        let callers: Vec<(String, Caller)> = self
            .group
            .members
            .iter_mut()
            .filter_map(|(id, m)| {
                m.assignment = Bytes::new();
                let caller = m.joining.take()?;
                m.seen = now;
                Some((id.clone(), caller))
            })
            .collect();
        for (id, caller) in callers {
            let answer = self.joined(&id, false);
            self.answer(caller, answer);
        }
    }

    fn vote(&self) -> String {
        let common =
            |name: &str| self.group.members.values().all(|m| m.protocols.iter().any(|p| p.name == name));
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.group.members.values() {
            if let Some(vote) = member.protocols.iter().find(|p| common(&p.name)) {
                *votes.entry(&vote.name).or_default() += 1;
            }
        }
        votes.into_iter().max_by_key(|(_, n)| *n).map(|(name, _)| name.to_owned()).unwrap_or_default()
    }

    fn check(&self, id: &str, instance: Option<&String>, generation: i32) -> Option<ErrorCode> {
        if let Some(name) = instance {
            let holder = self.group.members.iter().find(|(_, m)| m.instance.as_ref() == Some(name));
            if holder.is_some_and(|(other, _)| other != id) {
                return Some(ErrorCode::FencedInstanceId);
            }
        }
        match self.group.members.get(id) {
            None => Some(ErrorCode::UnknownMemberId),
            Some(_) if generation != self.group.generation => Some(ErrorCode::IllegalGeneration),
            Some(_) => None,
        }
    }

    fn sync(&mut self, now: Millis, caller: Caller, sync: SyncGroupRequest) {
        if let Some(code) = self.check(&sync.member_id, sync.group_instance_id.as_ref(), sync.generation_id) {
            return self.sync_error(caller, code);
        }
        assert_eq!(sync.protocol_name.as_deref(), Some(self.group.protocol.as_str()));
        match self.group.phase {
            Phase::Empty => self.sync_error(caller, ErrorCode::UnknownMemberId),
            Phase::Preparing => self.sync_error(caller, ErrorCode::RebalanceInProgress),
            Phase::Completing => {
                if let Some(member) = self.group.members.get_mut(&sync.member_id) {
                    member.syncing = Some(caller);
                }
                if sync.member_id == self.group.leader {
                    for given in sync.assignments {
                        if let Some(member) = self.group.members.get_mut(&given.member_id) {
                            member.assignment = given.assignment;
                        }
                    }
                    self.group.phase = Phase::Stable;
                    self.deadline = None;
                    self.persisted = self.group.clone();
                    let waiting: Vec<(Caller, Bytes)> = self
                        .group
                        .members
                        .values_mut()
                        .filter_map(|m| {
                            let caller = m.syncing.take()?;
                            m.seen = now;
                            Some((caller, m.assignment.clone()))
                        })
                        .collect();
                    for (caller, assignment) in waiting {
                        let answer = self.synced(assignment);
                        self.answer(caller, answer);
                    }
                }
            }
            Phase::Stable => {
                let assignment = self.group.members.get_mut(&sync.member_id).map(|m| {
                    m.seen = now;
                    m.assignment.clone()
                });
                let answer = self.synced(assignment.unwrap_or_default());
                self.answer(caller, answer);
            }
        }
    }

    fn synced(&self, assignment: Bytes) -> Response {
        SyncGroupResponse {
            protocol_type: Some("consumer".into()),
            protocol_name: Some(self.group.protocol.clone()),
            assignment,
            ..Default::default()
        }
        .into()
    }

    fn heartbeat(&mut self, now: Millis, beat: &HeartbeatRequest) -> ErrorCode {
        if let Some(code) = self.check(&beat.member_id, beat.group_instance_id.as_ref(), beat.generation_id) {
            return code;
        }
        if let Some(member) = self.group.members.get_mut(&beat.member_id) {
            member.seen = now;
        }
        match self.group.phase {
            Phase::Empty => ErrorCode::UnknownMemberId,
            Phase::Preparing => ErrorCode::RebalanceInProgress,
            Phase::Completing | Phase::Stable => ErrorCode::None,
        }
    }

    fn leave(&mut self, now: Millis, caller: Caller, leave: LeaveGroupRequest) {
        let mut members = Vec::new();
        for who in leave.members {
            let was_pending = self.pending.remove(&who.member_id).is_some();
            let was_member = self.group.members.contains_key(&who.member_id);
            if was_member {
                self.remove(now, &who.member_id, "left");
            } else if was_pending {
                self.complete_if_all_joined(now);
            }
            let error_code =
                if was_member || was_pending { ErrorCode::None } else { ErrorCode::UnknownMemberId };
            members.push(MemberResponse { member_id: who.member_id, group_instance_id: None, error_code });
        }
        self.answer(caller, LeaveGroupResponse { members, ..Default::default() }.into());
    }

    fn remove(&mut self, now: Millis, id: &str, why: &'static str) {
        let Some(member) = self.group.members.remove(id) else { return };
        self.expelled.push((now, id.to_owned(), why));
        if let Some(caller) = member.joining {
            self.join_error(caller, ErrorCode::UnknownMemberId, id);
        }
        if let Some(caller) = member.syncing {
            self.sync_error(caller, ErrorCode::UnknownMemberId);
        }
        match self.group.phase {
            Phase::Empty => {}
            Phase::Preparing => self.complete_if_all_joined(now),
            Phase::Completing | Phase::Stable => self.prepare(now),
        }
    }

    /// The answer to a commit by this member.
    pub fn commit(&self, id: &str, instance: Option<&String>, generation: i32) -> ErrorCode {
        match self.check(id, instance, generation) {
            Some(code) => code,
            None if self.group.phase == Phase::Completing => ErrorCode::RebalanceInProgress,
            None => ErrorCode::None,
        }
    }

    /// Hashes all state that decides its future: times relative to `now`, and callers as `known` maps them.
    /// No failover may follow.
    pub fn fingerprint(&self, now: Millis, known: &impl Fn(Caller) -> u64, to: &mut impl Hasher) {
        let Group { phase, generation, protocol, leader, members } = &self.group;
        (phase, generation, protocol, leader, members.len()).hash(to);
        for (id, member) in members {
            let Member { instance, protocols, session: _, rebalance: _, seen, joining, syncing, assignment } =
                member;
            let waits = joining.or(*syncing).is_some();
            // A member whose request waits does not expire.
            (id, instance, (!waits).then(|| now.saturating_sub(*seen))).hash(to);
            for protocol in protocols {
                (&protocol.name, &protocol.metadata).hash(to);
            }
            (joining.map(known), syncing.map(known), assignment).hash(to);
        }
        for (id, until) in &self.pending {
            (id, until.saturating_sub(now)).hash(to);
        }
        (self.deadline.map(|at| at.saturating_sub(now)), self.delayed, self.ids).hash(to);
        self.modern.fingerprint(now, to);
    }

    pub fn next_deadline(&self) -> Option<Millis> {
        let sessions = self
            .group
            .members
            .values()
            .filter(|m| m.joining.is_none() && m.syncing.is_none())
            .map(|m| m.seen + m.session);
        sessions
            .chain(self.pending.values().copied())
            .chain(self.deadline)
            .chain(self.modern.next_deadline())
            .min()
    }

    pub fn tick(&mut self, now: Millis) {
        self.modern.tick(now);
        let expired: Vec<String> = self
            .group
            .members
            .iter()
            .filter(|(_, m)| m.joining.is_none() && m.syncing.is_none() && m.seen + m.session <= now)
            .map(|(id, _)| id.clone())
            .collect();
        for id in expired {
            self.remove(now, &id, "session expired");
        }
        let before = self.pending.len();
        self.pending.retain(|_, until| *until > now);
        if self.pending.len() < before {
            self.complete_if_all_joined(now);
        }
        if self.deadline.is_some_and(|at| at <= now) {
            self.deadline = None;
            match self.group.phase {
                Phase::Preparing => self.complete(now),
                Phase::Completing => {
                    let silent: Vec<String> = self
                        .group
                        .members
                        .iter()
                        .filter(|(_, m)| m.syncing.is_none())
                        .map(|(id, _)| id.clone())
                        .collect();
                    for id in silent {
                        self.remove(now, &id, "did not sync in time");
                    }
                }
                Phase::Empty | Phase::Stable => {}
            }
        }
    }
}

fn session(join: &JoinGroupRequest) -> Millis {
    u64::try_from(join.session_timeout_ms).unwrap_or(0)
}

fn rebalance(join: &JoinGroupRequest) -> Millis {
    u64::try_from(join.rebalance_timeout_ms).unwrap_or(0)
}

fn topics(protocols: &[JoinGroupRequestProtocol]) -> Vec<String> {
    let first = protocols.first().map(|p| p.metadata.clone()).unwrap_or_default();
    offtake_wire::ConsumerProtocolSubscription::decode_versioned(first).map(|s| s.topics).unwrap_or_default()
}
