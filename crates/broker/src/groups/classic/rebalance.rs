//! How a group moves from one generation to the next, and its timeouts.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use bytes::Bytes;
use kafka_protocol::{error::ResponseError, protocol::StrBytes};

use super::{Classic, Extension, Member, Preparing, State, Turn, join};

/// How long a join of a new member may wait: Kafka's `group.coordinator.new.member.join.timeout`, which is not
/// configurable.
pub(super) const NEW_MEMBER_JOIN_TIMEOUT: Duration = Duration::from_secs(300);

/// A group in which no member joins again checks anew after its rebalance timeout; with a timeout of zero it would loop for ever.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// A timer of the group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Join,
    Sync,
    /// A member's session, or the time limit of a pending one.
    Session(String),
}

impl Classic {
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.next_timer().map(|(at, _)| at)
    }

    fn next_timer(&self) -> Option<(Instant, Timer)> {
        let join = match self.state {
            State::Preparing(preparing) => Some((preparing.due, Timer::Join)),
            State::Empty | State::Completing | State::Stable => None,
        };
        let sync = self.sync_by.map(|at| (at, Timer::Sync));
        let member = |(id, member): (&String, &Member)| Some((member.expires?, Timer::Session(id.clone())));
        let pending = self.pending.iter().map(|(id, at)| (*at, Timer::Session(id.clone())));
        let sessions = self.members.iter().filter_map(member).chain(pending);
        sessions.chain(join).chain(sync).min()
    }

    /// Handles the timers that are due, in order.
    pub(crate) fn expire(&mut self, turn: &mut Turn<'_>) {
        while let Some((_, timer)) = self.next_timer().filter(|(at, _)| *at <= turn.now) {
            match timer {
                Timer::Join => self.expire_join(turn),
                Timer::Sync => self.expire_sync(turn),
                Timer::Session(id) => self.expire_session(&id, turn),
            }
        }
    }

    fn expire_join(&mut self, turn: &mut Turn<'_>) {
        let State::Preparing(preparing) = &mut self.state else { return };
        match preparing.extension {
            Some(Extension { delay, remaining }) if self.newcomer && !remaining.is_zero() => {
                self.newcomer = false;
                let next = turn.config.initial_rebalance_delay.min(remaining);
                preparing.due = turn.now + next.max(SHORTEST_WAIT);
                preparing.extension =
                    Some(Extension { delay: next, remaining: remaining.saturating_sub(delay) });
            }
            _ => self.complete(turn),
        }
    }

    fn expire_sync(&mut self, turn: &mut Turn<'_>) {
        self.sync_by = None;
        if self.unsynced.is_empty() || self.is_empty() || self.state.is_preparing() {
            return;
        }
        for id in std::mem::take(&mut self.unsynced) {
            self.remove(&id);
            turn.record_gone(&id, "rebalance");
        }
        self.prepare(turn);
    }

    fn expire_session(&mut self, id: &str, turn: &mut Turn<'_>) {
        if self.pending.remove(id).is_some() {
            if self.state.is_preparing() && self.all_joined() {
                self.complete(turn);
            }
            return;
        }
        let Some(member) = self.members.get_mut(id) else { return };
        member.expires = None;
        if member.waits_for_answer() {
            return;
        }
        self.drop_member(id, "session", turn);
        match self.state {
            State::Stable | State::Completing => self.prepare(turn),
            State::Preparing(_) if self.all_joined() => self.complete(turn),
            State::Preparing(_) | State::Empty => {}
        }
    }

    /// Removes a member, and refuses its join if one waits. A sync that waits is never answered, as in Kafka.
    pub(super) fn drop_member(&mut self, id: &str, why: &'static str, turn: &mut Turn<'_>) {
        let Some(member) = self.remove(id) else { return };
        turn.record_gone(id, why);
        if let Some(waiting) = member.join {
            turn.answer_join(waiting, join::refused("", ResponseError::UnknownMemberId));
        }
    }

    /// Begins a rebalance, or ends the one under way if it waited for nothing else.
    pub(super) fn rebalance(&mut self, turn: &mut Turn<'_>) {
        if self.state.is_preparing() { self.maybe_complete(turn) } else { self.prepare(turn) }
    }

    /// Begins a rebalance.
    pub(super) fn prepare(&mut self, turn: &mut Turn<'_>) {
        if self.state == State::Completing {
            for member in self.members.values_mut() {
                member.assignment = Bytes::new();
            }
            self.refuse_syncs(ResponseError::RebalanceInProgress, turn);
        }
        self.unsynced.clear();
        self.sync_by = None;
        let timeout = self.rebalance_timeout();
        if self.is_empty() {
            let delay = turn.config.initial_rebalance_delay;
            let extension = Some(Extension { delay, remaining: timeout.saturating_sub(delay) });
            self.state = State::Preparing(Preparing { due: turn.now + delay, initial: true, extension });
            return;
        }
        let due = turn.now + timeout;
        self.state = State::Preparing(Preparing { due, initial: false, extension: None });
        if self.all_joined() {
            self.complete(turn);
        }
    }

    /// Ends the rebalance if all members have joined. The first one of a group waits for its full delay.
    pub(super) fn maybe_complete(&mut self, turn: &mut Turn<'_>) {
        let ready = matches!(self.state, State::Preparing(preparing) if !preparing.initial);
        if ready && self.all_joined() {
            self.complete(turn);
        }
    }

    /// Forms the next generation of the members that have joined and the static members that have not; removes the others.
    fn complete(&mut self, turn: &mut Turn<'_>) {
        let absent = |member: &Member| member.join.is_none() && member.instance.is_none();
        let left: Vec<String> =
            self.members.iter().filter(|(_, member)| absent(member)).map(|(id, _)| id.clone()).collect();
        for id in left {
            self.remove(&id);
            turn.record_gone(&id, "rebalance");
        }
        if !self.elect_leader() && !self.members.is_empty() {
            let due = turn.now + self.rebalance_timeout().max(SHORTEST_WAIT);
            if let State::Preparing(preparing) = &mut self.state {
                *preparing = Preparing { due, extension: None, ..*preparing };
            }
            return;
        }
        self.generation += 1;
        self.protocol = self.select_protocol();
        self.subscribed = self.read_subscriptions();
        self.unsynced.clear();
        if self.members.is_empty() {
            self.state = State::Empty;
            self.store();
            return;
        }
        self.state = State::Completing;
        self.sync_by = Some(turn.now + self.rebalance_timeout());
        self.unsynced = self.members.keys().cloned().collect();
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let response = self.joined(&id, self.is_leader(&id));
            self.touch(&id, turn.now);
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.new = false;
            if let Some(waiting) = member.join.take() {
                turn.answer_join(waiting, response);
            }
        }
    }

    /// Keeps the leader if it has joined, or takes another member that has. `false` if none has.
    fn elect_leader(&mut self) -> bool {
        let Some(leader) = &self.leader else { return false };
        let joined = |member: &Member| member.join.is_some();
        if self.members.get(leader).is_some_and(joined) {
            return true;
        }
        let other = self.members.iter().find(|(_, member)| joined(member)).map(|(id, _)| id.clone());
        let elected = other.is_some();
        self.leader = other.or(self.leader.take());
        elected
    }

    /// The protocol that most members prefer among those that all support.
    pub(super) fn select_protocol(&self) -> Option<StrBytes> {
        let everywhere = |name: &StrBytes| self.supporters(name) == self.members.len();
        let mut votes: BTreeMap<&str, (usize, &StrBytes)> = BTreeMap::new();
        for member in self.members.values() {
            if let Some((name, _)) = member.protocols.iter().find(|(name, _)| everywhere(name)) {
                votes.entry(name.as_str()).or_insert((0, name)).0 += 1;
            }
        }
        let best = votes.values().map(|(count, _)| *count).max()?;
        let winners: BTreeSet<(u32, &str)> = votes
            .iter()
            .filter(|(_, (count, _))| *count == best)
            .map(|(name, _)| (java_bucket(name), *name))
            .collect();
        let (_, winner) = winners.first()?;
        votes.get(winner).map(|(_, name)| (*name).clone())
    }
}

/// The bucket of a string in a small Java `HashMap`: Kafka lets its order decide between protocols with equal votes.
fn java_bucket(name: &str) -> u32 {
    let hash =
        name.encode_utf16().fold(0_u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)));
    (hash ^ (hash >> 16)) & 15
}
