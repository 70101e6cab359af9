//! What the coordinator's answers mean: for each call the codes that Kafka names for it, then what a code means in
//! general.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use bytes::Bytes;
use offtake_machine::{Answer, BrokerId, CallError, CallId, TopicPartition};
use offtake_wire::{
    ErrorCode, Response,
    messages::{
        heartbeat::HeartbeatResponse, join_group::JoinGroupResponse, leave_group::LeaveGroupResponse,
        sync_group::SyncGroupResponse,
    },
};

use super::{
    Classic, NOBODYS,
    follow_up::{FollowUp, HASTE, WithheldFrom},
    lead::Lead,
    requests::PROTOCOL_TYPE,
    stamp::Stamp,
    state::{As, Kind, Plan, State},
};
use crate::{
    assignor::{MemberAssignment, Strategy, decode_assignment},
    config::millis,
    event::{Event, GroupError},
    exchange::{Exchange, Sent},
};

/// Whether the coordinator answered without mentioning a rebalance.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Undisturbed {
    Yes,
    No,
}

/// Times that we ask again after a code that says nothing: one we have never heard of (FAILURES Q4), or
/// UNKNOWN_SERVER_ERROR, which an assignment that is too large for the broker's log is answered with each time.
const UNKNOWN_CODE_RETRIES: u32 = 5;
/// The first JoinGroup version with static members (KIP-345).
const STATIC_MEMBERS_SINCE: i16 = 5;

impl Classic {
    pub(crate) fn handle_answer(&mut self, now: Instant, id: CallId, answer: Result<Answer, CallError>) {
        match self.state.take(id) {
            Some((Kind::Step, sent)) => self.on_step_answer(now, sent, answer),
            Some((Kind::Heartbeat, sent)) => self.on_heartbeat_answer(now, sent, answer),
            None => {} // answers a call we have given up
        }
    }

    fn on_step_answer(&mut self, now: Instant, sent: Sent, answer: Result<Answer, CallError>) {
        match (&self.state, answer) {
            (State::Joining { .. }, Ok(Answer { version, response: Response::JoinGroup(join), .. })) => {
                self.joined(now, sent, version, join);
            }
            (State::Syncing { .. }, Ok(Answer { response: Response::SyncGroup(sync), .. })) => {
                self.synced(now, sent, sync)
            }
            (State::Leaving { .. }, Ok(Answer { response: Response::LeaveGroup(bye), .. })) => {
                self.left(now, sent, &bye)
            }
            // Asked before we left: now we know who has to.
            (State::Leaving { .. }, Ok(Answer { response: Response::JoinGroup(join), .. })) => {
                self.member_id = join.member_id;
                self.call_again_at(now);
                if self.member_id.is_empty() {
                    self.gone(now);
                }
            }
            (State::Leaving { .. }, _) if self.member_id.is_empty() => self.gone(now),
            (_, Ok(_)) => self.retry(now, "unexpected response type"),
            (_, Err(error)) => {
                if self.is_answerable(sent, &error) {
                    self.retry(now, &error.to_string());
                }
            }
        }
    }

    fn on_heartbeat_answer(&mut self, now: Instant, sent: Sent, answer: Result<Answer, CallError>) {
        match answer {
            Ok(Answer { response: Response::Heartbeat(heartbeat), .. }) => {
                self.on_heartbeat(now, sent, &heartbeat);
            }
            Ok(_) => self.retry_heartbeat(now, "unexpected response type"),
            Err(error) => {
                if self.is_answerable(sent, &error) {
                    self.retry_heartbeat(now, &error.to_string());
                }
            }
        }
    }

    fn joined(&mut self, now: Instant, sent: Sent, version: i16, join: JoinGroupResponse) {
        match join.error_code {
            ErrorCode::None => self.joined_generation(now, sent, version, join),
            // KIP-394: the same again, with the id that the coordinator will know us by.
            ErrorCode::MemberIdRequired if !join.member_id.is_empty() => {
                let again = || "asked for a member id that it was given".to_owned();
                let at = match self.member_id.is_empty() {
                    true => now,
                    false => self.health.began_anew(now, &mut self.outbox, again),
                };
                self.member_id = join.member_id;
                self.call_again_at(at);
            }
            ErrorCode::UnknownMemberId => self.lost(now, As::New),
            ErrorCode::IllegalGeneration => self.lost(now, As::Same),
            ErrorCode::FencedInstanceId => self.fail(self.fenced()),
            code => self.refused(now, sent, code),
        }
    }

    fn joined_generation(&mut self, now: Instant, sent: Sent, version: i16, join: JoinGroupResponse) {
        if join.generation_id < 0 || join.member_id.is_empty() {
            return self.retry(now, "a JoinGroup answer without a generation or a member id");
        }
        if self.config.instance_id.is_some() && version < STATIC_MEMBERS_SINCE {
            // It has taken us in as a dynamic member.
            self.member_id = join.member_id;
            let what = "group.instance.id needs Kafka 2.3 or newer; leave it out".into();
            let group = self.config.group.clone();
            return self.fail_and_leave(now, GroupError::UnsupportedVersion { group, what });
        }
        let chosen =
            self.config.assignors.iter().find(|ours| Some(ours.name()) == join.protocol_name.as_deref());
        let of_consumers = join.protocol_type.as_deref().is_none_or(|of| of == PROTOCOL_TYPE);
        let Some(assignor) = chosen.filter(|_| of_consumers).cloned() else {
            return self.fail(self.inconsistent());
        };
        if self.was_passed_by(now, join.generation_id) {
            tracing::warn!(group = %self.config.group, generation = join.generation_id,
                "the group has rebalanced without this member: what it held may have had another owner");
            self.member_id = join.member_id;
            return self.lost_because(now, As::Same, "the group rebalanced without this member");
        }
        let State::Joining { asked, .. } = &mut self.state else { return };
        let asked = std::mem::take(asked);
        let leads = join.leader == join.member_id;
        self.member_id = join.member_id;
        // Who joins a generation that it was in already is only told so.
        let known = [self.generation, self.held.last.as_ref().map(|(_, generation)| *generation)];
        let is_news = !known.contains(&Some(join.generation_id));
        let joined = is_news.then_some(sent.at);
        self.generation = Some(join.generation_id);
        self.silence_counts_from(now);
        self.lead = leads.then(|| Lead::new(assignor.clone(), join.members));
        self.follow_up = if leads { FollowUp::None } else { FollowUp::of_follower(&assignor) };
        self.assignor = Some(assignor);
        self.overdue = None;
        let (plan, at) = match (leads, join.skip_assignment) {
            (false, _) => (Plan::Say(Vec::new()), now),
            (true, true) => (Plan::Keep, now),
            (true, false) => (Plan::Make, now + self.patience()),
        };
        // The session counts from now: the others may take their time to sync, too.
        let heartbeat = Exchange::due(now + self.config.heartbeat_interval);
        self.state = State::Syncing { sync: Exchange::due(at), heartbeat, joined, asked, plan };
    }

    /// Whether others may have been given what we hold: generations are missing between our last and this one, and it is
    /// long enough ago that we were heard. A coordinator that put a member out takes it in again under its name and does
    /// not say so: a static one that did not join in time (FAILURES E5, E11), and in a group of KIP-848 any that took too
    /// long to let go.
    fn was_passed_by(&self, now: Instant, generation: i32) -> bool {
        let next = self.generation.map(|last| last.saturating_add(1));
        let lapsed = self.valid_until().is_none_or(|until| until <= now);
        !self.held.all.is_empty() && lapsed && next.is_none_or(|next| generation > next)
    }

    /// How long the leader waits for metadata before it assigns without: the coordinator counts its silence.
    fn patience(&self) -> Duration {
        self.config
            .request_timeout
            .min(self.config.session_timeout / 3)
            .min(self.config.rebalance_timeout / 2)
    }

    fn synced(&mut self, now: Instant, sent: Sent, sync: SyncGroupResponse) {
        match sync.error_code {
            ErrorCode::None => {
                let chosen = self.assignor.as_ref().map(Strategy::name);
                let of_consumers = sync.protocol_type.as_deref().is_none_or(|of| of == PROTOCOL_TYPE);
                if !of_consumers || sync.protocol_name.as_deref().is_some_and(|name| Some(name) != chosen) {
                    return self.fail(self.inconsistent());
                }
                if let Some(stamp) = Stamp::read(&sync.assignment) {
                    self.recognizes(stamp);
                }
                match assignment(sync.assignment) {
                    Ok(assigned) => self.assigned(now, sent, assigned),
                    Err(error) => {
                        tracing::warn!(group = %self.config.group, %error, "unreadable assignment: joining again");
                        self.rejoin_after_failure(now, "could not read the assignment");
                    }
                }
            }
            // What we hold we still hold; our claim to it is as old as it was (FAILURES D4).
            ErrorCode::RebalanceInProgress => {
                self.rejoin_after_failure(now, "the group began another rebalance")
            }
            ErrorCode::UnknownMemberId => self.lost(now, As::New),
            ErrorCode::IllegalGeneration => self.lost(now, As::Same),
            ErrorCode::FencedInstanceId => self.fail(self.fenced()),
            code => self.refused(now, sent, code),
        }
    }

    fn assigned(&mut self, now: Instant, sent: Sent, mut given: MemberAssignment) {
        let State::Syncing { asked, joined, .. } = &mut self.state else { return };
        let (asked, joined) = (std::mem::take(asked), *joined);
        self.health.worked(&mut self.outbox);
        // Where the others were through before us, our SyncGroup renewed no session.
        self.alive = self.alive.max(joined);
        self.undisturbed = self.undisturbed.max(Some(sent.at));
        self.silence_counts_from(now);
        match self.follow_up {
            FollowUp::None => self.pace.calm(),
            FollowUp::Possible | FollowUp::Certain(_) => self.pace.hurry(now, HASTE),
        }
        if self.follow_up == FollowUp::Certain(WithheldFrom::Static) {
            // As long as its listener may take, and until the coordinator misses a member that is not started again.
            let patience = self.config.session_timeout.max(self.config.rebalance_timeout);
            self.overdue = now.checked_add(patience);
        }
        let regular = self.alive.map_or(now, |at| now.max(at + self.config.heartbeat_interval));
        // A heartbeat of before may have been answered with the rebalance that is over now (brokers before Kafka 2.7).
        self.state = State::Stable { heartbeat: Exchange::due(self.pace.next(now, regular)) };
        if asked != self.subscription {
            // Made for a subscription that we no longer have (FAILURES D8).
            return self.join_again(now, "the subscription has changed");
        }
        given.partitions.retain(|partition| {
            let wanted = self.subscription.contains(&partition.topic);
            if !wanted {
                tracing::warn!(%partition, "assigned by the leader but not subscribed to");
            }
            wanted
        });
        let generation = self.generation.unwrap_or(-1);
        if let Some(assignor) = &self.assignor {
            assignor.on_assignment(&given, generation);
        }
        let assigned: BTreeSet<TopicPartition> = given.partitions.into_iter().collect();
        let added: Vec<_> = assigned.difference(&self.held.all).cloned().collect();
        let surplus: BTreeSet<_> = self.held.all.difference(&assigned).cloned().collect();
        let owned = assigned.iter().cloned().collect();
        let moves = !surplus.is_empty();
        let is_static = self.config.instance_id.is_some();
        let owes = std::mem::replace(&mut self.owes_rebalance, moves && is_static);
        self.revoke(surplus);
        self.held.all.extend(added.iter().cloned());
        self.held.last = Some((assigned, generation));
        self.outbox.push(Event::Assigned { added, owned, generation });
        if moves {
            self.join_again(now, "partitions that move have been let go");
        } else if owes {
            self.join_again(now, NOBODYS);
        } else if let Some(reason) = self.again.take() {
            self.join_again(now, reason);
        }
    }

    fn on_heartbeat(&mut self, now: Instant, sent: Sent, answer: &HeartbeatResponse) {
        match answer.error_code {
            ErrorCode::None => {
                self.accepted(sent, Undisturbed::Yes);
                self.heartbeat_again(now, sent);
                self.join_if_it_was_lost(now, sent);
            }
            // While we sync, brokers before Kafka 2.7 say so of the rebalance that we are in, and renew no session.
            ErrorCode::RebalanceInProgress if matches!(self.state, State::Syncing { .. }) => {
                self.heartbeat_again(now, sent);
            }
            ErrorCode::RebalanceInProgress => {
                self.accepted(sent, Undisturbed::No);
                self.heartbeat_again(now, sent);
                if matches!(self.state, State::Stable { .. }) {
                    self.join_again(now, "the group is rebalancing");
                }
            }
            ErrorCode::UnknownMemberId => self.lost(now, As::New),
            ErrorCode::IllegalGeneration => self.generation_is_over(now),
            ErrorCode::FencedInstanceId => self.fail(self.fenced()),
            code => self.heartbeat_refused(now, sent, code),
        }
    }

    /// The group is in another generation. If we have asked to join, its answer tells more: it is on its way, or lost.
    pub(super) fn generation_is_over(&mut self, now: Instant) {
        match &mut self.state {
            State::Joining { join, heartbeat, .. } => {
                *heartbeat = Exchange::IDLE;
                join.give_up_by(now + self.config.request_timeout);
            }
            _ => self.lost(now, As::Same),
        }
    }

    /// While a JoinGroup of ours waits, the coordinator says that the group is rebalancing. If it says that all is well,
    /// long after the JoinGroup has left, it has not got it.
    fn join_if_it_was_lost(&mut self, now: Instant, heartbeat: Sent) {
        if let State::Joining { join, .. } = &mut self.state
            && let Some(joined) = join.sent()
            && heartbeat.at.saturating_duration_since(joined.at) >= self.config.request_timeout
        {
            *join = Exchange::due(now);
        }
    }

    fn left(&mut self, now: Instant, sent: Sent, bye: &LeaveGroupResponse) {
        let code = match bye.members.first() {
            Some(member) if bye.error_code.is_ok() => member.error_code,
            _ => bye.error_code,
        };
        // Who is not known has left. Other refusals will not get better in the little time there is.
        if code.is_retriable() {
            self.refused(now, sent, code);
        } else {
            self.gone(now);
        }
    }

    /// A code that the call has no remedy of its own for.
    fn refused(&mut self, now: Instant, sent: Sent, code: ErrorCode) {
        match self.verdict(sent, code) {
            Some(error) => self.fail(error),
            None => self.retry(now, code.name()),
        }
    }

    fn heartbeat_refused(&mut self, now: Instant, sent: Sent, code: ErrorCode) {
        match self.verdict(sent, code) {
            Some(error) => self.fail(error),
            None => self.retry_heartbeat(now, code.name()),
        }
    }

    /// Why we fail, unless the same may work later.
    fn verdict(&mut self, sent: Sent, code: ErrorCode) -> Option<GroupError> {
        let group = || self.config.group.clone();
        Some(match code {
            ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable => {
                self.coordinator_lost(Some(sent));
                return None;
            }
            ErrorCode::RebalanceInProgress => return None,
            ErrorCode::UnknownServerError | ErrorCode::Unknown(_)
                if self.health.failures() < UNKNOWN_CODE_RETRIES =>
            {
                return None;
            }
            code if code.is_retriable() => return None,
            ErrorCode::GroupAuthorizationFailed => GroupError::GroupAuthorizationFailed { group: group() },
            ErrorCode::InconsistentGroupProtocol => self.inconsistent(),
            ErrorCode::GroupMaxSizeReached => GroupError::GroupMaxSizeReached { group: group() },
            ErrorCode::InvalidSessionTimeout => GroupError::InvalidSessionTimeout {
                group: group(),
                session_ms: millis(self.config.session_timeout),
            },
            ErrorCode::UnsupportedVersion => GroupError::UnsupportedVersion {
                group: group(),
                what: "it does not speak the classic group protocol as we do".into(),
            },
            code => GroupError::Refused { group: group(), code, message: None },
        })
    }

    /// Whether a call without an answer may have one later; otherwise we fail.
    fn is_answerable(&mut self, sent: Sent, error: &CallError) -> bool {
        match error {
            CallError::Unsupported { .. } => {
                self.fail(GroupError::UnsupportedVersion {
                    group: self.config.group.clone(),
                    what: error.to_string(),
                });
                return false;
            }
            CallError::Unreachable { .. }
            | CallError::Disconnected { .. }
            | CallError::TimedOut { .. }
            | CallError::UnknownBroker(_) => self.coordinator_lost(Some(sent)),
            CallError::Malformed { .. } | CallError::TooLarge { .. } => {}
        }
        true
    }

    /// The call again, after a while; a SyncGroup's generation may be over by then, so it is a JoinGroup.
    pub(super) fn retry(&mut self, now: Instant, why: &str) {
        let state = self.state_name();
        let at = self.health.failed(now, &mut self.outbox, || format!("{state}: {why}"));
        match self.state {
            State::Syncing { .. } => self.join_at(at, "the assignment did not arrive"),
            _ => self.call_again_at(at),
        }
    }

    /// What waits at the coordinator beside it goes on waiting: where there is another coordinator, it is
    /// [asked](Self::follow_coordinator).
    pub(super) fn retry_heartbeat(&mut self, now: Instant, why: &str) {
        let state = self.state_name();
        let at = self.health.failed(now, &mut self.outbox, || format!("{state}: heartbeat: {why}"));
        if let Some(heartbeat) = self.state.heartbeat_mut() {
            *heartbeat = Exchange::due(at.min(now + self.config.heartbeat_interval));
        }
    }

    /// A JoinGroup or SyncGroup that waits at a broker which no longer coordinates the group waits for nothing.
    pub(super) fn follow_coordinator(&mut self, now: Instant, coordinator: BrokerId) {
        let waits_elsewhere = |step: &Exchange| step.sent().is_some_and(|sent| sent.to != coordinator);
        match &mut self.state {
            State::Joining { join, .. } if waits_elsewhere(join) => *join = Exchange::due(now),
            State::Syncing { sync, .. } if waits_elsewhere(sync) => {
                self.join_at(now, "the coordinator has moved");
            }
            _ => {}
        }
    }

    fn rejoin_after_failure(&mut self, now: Instant, reason: &'static str) {
        let at = self.health.soon(now);
        self.join_at(at, reason);
    }

    fn call_again_at(&mut self, at: Instant) {
        if let Some(step) = self.state.step_mut() {
            *step = Exchange::due(at);
        }
    }

    /// An interval after the last one left, however long its answer took; or sooner.
    fn heartbeat_again(&mut self, now: Instant, sent: Sent) {
        let regular = sent.at + self.config.heartbeat_interval;
        let next = match self.state {
            // What comes next is told by the answer that is waited for. Nor do these heartbeats say that a JoinGroup works.
            State::Joining { .. } | State::Syncing { .. } => regular.max(now),
            _ => {
                self.health.worked(&mut self.outbox);
                self.pace.next(now, regular)
            }
        };
        if let Some(heartbeat) = self.state.heartbeat_mut() {
            *heartbeat = Exchange::due(next);
        }
    }

    /// The call that was answered counts as a sign of life from when it left.
    fn accepted(&mut self, sent: Sent, undisturbed: Undisturbed) {
        self.alive = self.alive.max(Some(sent.at));
        if undisturbed == Undisturbed::Yes {
            self.undisturbed = self.undisturbed.max(Some(sent.at));
        }
        self.deadline = self.deadline.max(sent.at.checked_add(self.config.session_timeout));
    }

    /// The coordinator kept us while a JoinGroup or SyncGroup waited, and counts again from its answer on. When it gave
    /// that we cannot know, only that it was not later than now: enough for not giving ourselves up, though not for
    /// handing anything out.
    fn silence_counts_from(&mut self, now: Instant) {
        self.deadline = self.deadline.max(now.checked_add(self.config.session_timeout));
    }

    /// The broker that a call was for is not our coordinator, or cannot be reached.
    pub(super) fn coordinator_lost(&mut self, sent: Option<Sent>) {
        if let Some(sent) = sent {
            self.outbox.push(Event::CoordinatorLost(sent.to));
        }
    }

    fn inconsistent(&self) -> GroupError {
        let ours: Vec<_> = self.config.assignors.iter().map(|assignor| assignor.name()).collect();
        GroupError::InconsistentGroupProtocol { group: self.config.group.clone(), ours: ours.join(", ") }
    }

    pub(super) fn fenced(&self) -> GroupError {
        GroupError::FencedInstanceId {
            group: self.config.group.clone(),
            instance_id: self.config.instance_id.clone().unwrap_or_default(),
        }
    }
}

/// Some leaders leave out members that get nothing; the coordinator then hands on no bytes at all.
fn assignment(bytes: Bytes) -> Result<MemberAssignment, offtake_wire::DecodeError> {
    if bytes.is_empty() { Ok(MemberAssignment::default()) } else { decode_assignment(bytes) }
}
