//! A model of Kafka's coordinator of consumer-protocol groups (KIP-848): one group. It refuses what the
//! broker refuses, and leaves a partition unassigned until its last owner has reported its revocation.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{Hash, Hasher},
};

use offtake_wire::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, ErrorCode, Uuid,
    messages::consumer_group_heartbeat::{Assignment, TopicPartitions},
};

use super::coordinator::{Caller, Millis};

type Id = (Uuid, i32);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Standing {
    Stable,
    /// Has to revoke these first.
    Unrevoked(BTreeSet<Id>),
    /// Waits for others to revoke.
    Unreleased,
}

#[derive(Clone, Debug)]
struct Member {
    instance: Option<String>,
    epoch: i32,
    previous: i32,
    standing: Standing,
    assigned: BTreeSet<Id>,
    topics: BTreeSet<String>,
    rebalance: Millis,
    seen: Millis,
    /// When it is fenced, unless it has revoked by then.
    fence: Option<Millis>,
    /// It left with -2: its place is kept.
    away: bool,
}

/// The group.
#[derive(Clone, Default)]
pub struct Modern {
    members: BTreeMap<String, Member>,
    epoch: i32,
    target: BTreeMap<String, BTreeSet<Id>>,
    topics: BTreeMap<String, (Uuid, i32)>,
    pub session: Millis,
    pub interval: Millis,
    /// The heartbeat interval in its responses, if another than `interval`.
    pub wanted_interval: Option<i32>,
    pub answers: Vec<(Caller, ConsumerGroupHeartbeatResponse)>,
    pub expelled: Vec<(Millis, String, &'static str)>,
    /// The next answers, instead of the true ones.
    pub instead: Vec<ConsumerGroupHeartbeatResponse>,
    /// The requests, in order.
    pub heard: Vec<ConsumerGroupHeartbeatRequest>,
}

impl Modern {
    pub fn set_topics(&mut self, topics: BTreeMap<String, (Uuid, i32)>) {
        if self.topics != topics {
            self.topics = topics;
            self.rebalance();
        }
    }

    pub fn member_count(&self) -> usize {
        self.members.values().filter(|member| !member.away).count()
    }

    pub fn epoch(&self) -> i32 {
        self.epoch
    }

    pub fn is_stable(&self) -> bool {
        self.members.values().all(|m| m.away || (m.standing == Standing::Stable && m.epoch == self.epoch))
    }

    pub fn expel(&mut self, now: Millis, id: &str) {
        self.remove(now, id, "by hand");
    }

    /// A failover: epochs stay, timers start again.
    pub fn fail_over(&mut self, from: Millis) {
        for member in self.members.values_mut() {
            member.seen = from;
            member.fence = member.fence.map(|_| from + member.rebalance);
        }
    }

    pub fn handle(&mut self, now: Millis, caller: Caller, request: ConsumerGroupHeartbeatRequest) {
        self.heard.push(request.clone());
        assert!(!request.member_id.is_empty(), "{request:?}");
        let answer = match request.member_epoch {
            0 => self.join(now, &request),
            1.. => self.heartbeat(now, &request),
            -1 | -2 => self.leave(now, &request),
            other => panic!("epoch {other}"),
        };
        let answer = answer
            .unwrap_or_else(|error_code| ConsumerGroupHeartbeatResponse { error_code, ..Default::default() });
        let answer = if self.instead.is_empty() { answer } else { self.instead.remove(0) };
        self.answers.push((caller, answer));
    }

    fn join(
        &mut self,
        now: Millis,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, ErrorCode> {
        assert!(request.rebalance_timeout_ms > 0, "F14: {request:?}");
        assert!(
            request.topic_partitions.as_ref().is_some_and(Vec::is_empty),
            "who joins owns nothing: {request:?}"
        );
        let topics: BTreeSet<String> = request
            .subscribed_topic_names
            .as_ref()
            .unwrap_or_else(|| panic!("F14"))
            .iter()
            .cloned()
            .collect();
        let mut assigned = BTreeSet::new();
        if let Some(name) = &request.instance_id {
            let holder = self.members.iter().find(|(_, m)| m.instance.as_ref() == Some(name));
            if let Some((id, member)) = holder.map(|(id, member)| (id.clone(), member.clone()))
                && id != request.member_id
            {
                if !member.away {
                    return Err(ErrorCode::UnreleasedInstanceId);
                }
                // The new process takes its place.
                self.members.remove(&id);
                let target = self.target.remove(&id).unwrap_or_default();
                self.target.insert(request.member_id.clone(), target);
                assigned = member.assigned.clone();
                let stays = Member { away: false, seen: now, ..member };
                self.members.insert(request.member_id.clone(), stays);
            }
        }
        if let Some(member) = self.members.get(&request.member_id) {
            assigned.clone_from(&member.assigned);
        }
        let known = self.members.get(&request.member_id).map(|m| m.topics.clone());
        let member = Member {
            instance: request.instance_id.clone(),
            epoch: 0,
            previous: 0,
            standing: Standing::Stable,
            // The member reports that it owns nothing; the response has its assignment.
            assigned,
            topics: topics.clone(),
            rebalance: u64::try_from(request.rebalance_timeout_ms).unwrap_or(0),
            seen: now,
            fence: None,
            away: false,
        };
        self.members.insert(request.member_id.clone(), member);
        if known != Some(topics) {
            self.rebalance();
        }
        self.settle(now, &request.member_id, Some(&BTreeSet::new()));
        Ok(self.answer(&request.member_id, true))
    }

    fn heartbeat(
        &mut self,
        now: Millis,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, ErrorCode> {
        let owned: Option<BTreeSet<Id>> = request.topic_partitions.as_ref().map(|topics| {
            topics.iter().flat_map(|t| t.partitions.iter().map(|p| (t.topic_id, *p))).collect()
        });
        let Some(member) = self.members.get_mut(&request.member_id) else {
            return Err(ErrorCode::UnknownMemberId);
        };
        if request.member_epoch != member.epoch {
            let believed = request.member_epoch == member.previous
                && owned.as_ref().is_some_and(|owned| owned.is_subset(&member.assigned));
            if !believed {
                return Err(ErrorCode::FencedMemberEpoch);
            }
        }
        member.seen = now;
        let before = member.assigned.clone();
        let mut changed = false;
        if let Some(names) = &request.subscribed_topic_names {
            let topics: BTreeSet<String> = names.iter().cloned().collect();
            changed = topics != member.topics;
            member.topics = topics;
        }
        if changed {
            self.rebalance();
        }
        self.settle(now, &request.member_id, owned.as_ref());
        let full =
            request.rebalance_timeout_ms != -1 && request.subscribed_topic_names.is_some() && owned.is_some();
        let moved = self.members.get(&request.member_id).is_some_and(|m| m.assigned != before);
        Ok(self.answer(&request.member_id, full || moved))
    }

    fn leave(
        &mut self,
        now: Millis,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, ErrorCode> {
        let Some(member) = self.members.get_mut(&request.member_id) else {
            return Err(ErrorCode::UnknownMemberId);
        };
        let member_epoch = request.member_epoch;
        if member_epoch == -2 {
            assert!(member.instance.is_some());
            member.away = true;
            member.seen = now;
            member.fence = None;
        } else {
            self.remove(now, &request.member_id, "left");
        }
        Ok(ConsumerGroupHeartbeatResponse { member_epoch, ..Default::default() })
    }

    fn answer(&self, id: &str, with_assignment: bool) -> ConsumerGroupHeartbeatResponse {
        let Some(member) = self.members.get(id) else { return ConsumerGroupHeartbeatResponse::default() };
        let mut topics: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in &member.assigned {
            topics.entry(*topic).or_default().push(*partition);
        }
        let listed =
            topics.into_iter().map(|(topic_id, partitions)| TopicPartitions { topic_id, partitions });
        ConsumerGroupHeartbeatResponse {
            member_id: Some(id.to_owned()),
            member_epoch: member.epoch,
            heartbeat_interval_ms: self
                .wanted_interval
                .unwrap_or_else(|| i32::try_from(self.interval).unwrap_or(i32::MAX)),
            assignment: with_assignment.then(|| Assignment { topic_partitions: listed.collect() }),
            ..Default::default()
        }
    }

    /// A new epoch and a new target: balanced, and keeping what fits.
    fn rebalance(&mut self) {
        self.epoch += 1;
        let mut target: BTreeMap<String, BTreeSet<Id>> =
            self.members.keys().map(|id| (id.clone(), BTreeSet::new())).collect();
        for (name, (topic, count)) in &self.topics {
            let takers: Vec<&String> =
                self.members.iter().filter(|(_, m)| m.topics.contains(name)).map(|(id, _)| id).collect();
            if takers.is_empty() {
                continue;
            }
            let most = usize::try_from(*count).unwrap_or(0).div_ceil(takers.len());
            for partition in (0..*count).map(|p| (*topic, p)) {
                let of_topic = |id: &String, target: &BTreeMap<String, BTreeSet<Id>>| {
                    target[id].iter().filter(|(t, _)| t == topic).count()
                };
                let before = takers.iter().find(|id| {
                    self.target.get(**id).is_some_and(|had| had.contains(&partition))
                        && of_topic(id, &target) < most
                });
                let taker = before.or_else(|| takers.iter().min_by_key(|id| of_topic(id, &target)));
                if let Some(list) = taker.and_then(|id| target.get_mut(*id)) {
                    list.insert(partition);
                }
            }
        }
        self.target = target;
    }

    /// Brings one member as close to the target as is possible now.
    fn settle(&mut self, now: Millis, id: &str, owned: Option<&BTreeSet<Id>>) {
        let taken: BTreeSet<Id> = self
            .members
            .iter()
            .filter(|(other, _)| *other != id)
            .flat_map(|(_, m)| {
                let going = if let Standing::Unrevoked(going) = &m.standing {
                    going.clone()
                } else {
                    BTreeSet::new()
                };
                m.assigned.iter().copied().chain(going).collect::<Vec<_>>()
            })
            .collect();
        let (epoch, target) = (self.epoch, self.target.get(id).cloned().unwrap_or_default());
        let Some(member) = self.members.get_mut(id) else { return };
        let holds = |going: &BTreeSet<Id>| owned.is_none_or(|owned| !owned.is_disjoint(going));
        match &member.standing {
            Standing::Stable if member.epoch == epoch => return,
            Standing::Unrevoked(going) if holds(going) => return,
            Standing::Stable | Standing::Unrevoked(_) | Standing::Unreleased => {}
        }
        let kept: BTreeSet<Id> = member.assigned.intersection(&target).copied().collect();
        let going: BTreeSet<Id> = member.assigned.difference(&target).copied().collect();
        if !going.is_empty() && holds(&going) {
            member.assigned = kept;
            member.standing = Standing::Unrevoked(going);
            member.fence = Some(now + member.rebalance);
            return;
        }
        let free: BTreeSet<Id> = target.difference(&taken).copied().collect();
        let waits = !target.is_subset(&free);
        member.fence = None;
        member.previous = member.epoch;
        member.epoch = epoch;
        member.assigned = free;
        member.standing = if waits { Standing::Unreleased } else { Standing::Stable };
    }

    fn remove(&mut self, now: Millis, id: &str, why: &'static str) {
        if self.members.remove(id).is_some() {
            self.expelled.push((now, id.to_owned(), why));
            self.rebalance();
        }
    }

    /// The answer to a commit by this member.
    pub fn commit(&self, id: &str, epoch: i32) -> ErrorCode {
        match self.members.get(id) {
            None => ErrorCode::UnknownMemberId,
            Some(member) if member.epoch != epoch => ErrorCode::StaleMemberEpoch,
            Some(_) => ErrorCode::None,
        }
    }

    /// Everything that decides its future, with times counted from `now`.
    pub fn fingerprint(&self, now: Millis, to: &mut impl Hasher) {
        for (id, member) in &self.members {
            let Member {
                instance,
                epoch,
                previous,
                standing,
                assigned,
                topics,
                rebalance: _,
                seen,
                fence,
                away,
            } = member;
            (id, instance, epoch, previous, standing, assigned, topics, away).hash(to);
            (now.saturating_sub(*seen), fence.map(|at| at.saturating_sub(now))).hash(to);
        }
        (self.epoch, &self.target).hash(to);
    }

    pub fn next_deadline(&self) -> Option<Millis> {
        let sessions = self.members.values().map(|m| m.seen + self.session);
        sessions.chain(self.members.values().filter_map(|m| m.fence)).min()
    }

    pub fn tick(&mut self, now: Millis) {
        let late = |m: &Member| m.seen + self.session <= now || m.fence.is_some_and(|at| at <= now);
        let gone: Vec<String> =
            self.members.iter().filter(|(_, m)| late(m)).map(|(id, _)| id.clone()).collect();
        for id in gone {
            self.remove(now, &id, "session or rebalance timeout");
        }
    }
}
