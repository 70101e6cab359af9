//! Handles the assignment in a SyncGroup response: adds and revokes partitions, and decides whether the group
//! has to rebalance again for it.

use std::{collections::BTreeSet, mem, time::Instant};

use bytes::Bytes;
use offtake_machine::TopicPartition;

use super::{
    Classic, UNASSIGNED,
    follow_up::{BURST, FollowUp, WithheldFrom},
    state::State,
};
use crate::{
    assignor::{MemberAssignment, decode_assignment},
    call::{CoordinatorCall, Sent},
    event::Event,
};

impl Classic {
    pub(super) fn on_assignment(&mut self, now: Instant, sent: Sent, given: MemberAssignment) {
        let (sent_subscription, counts_from, mut membership) =
            match mem::replace(&mut self.state, State::Outside) {
                State::Syncing { sent_subscription, counts_from, membership, .. } => {
                    (sent_subscription, counts_from, membership)
                }
                other => {
                    self.state = other;
                    return;
                }
            };
        self.core.health.on_success(&mut self.core.outbox);
        let config = &self.core.config;
        // If the others had synced before us, our SyncGroup renewed no session.
        if let Some(counts_from) = counts_from {
            membership.session.on_accepted(counts_from, config.session_timeout);
        }
        membership.session.restart(now, config.session_timeout);
        membership.stable_at(sent.at);
        match membership.follow_up {
            FollowUp::None => membership.pacer.stop_burst(),
            FollowUp::Possible | FollowUp::Certain(_) => membership.pacer.start_burst(now, BURST),
        }
        if membership.follow_up == FollowUp::Certain(WithheldFrom::Static) {
            // As long as its listener may take, and until the session of a member that does not restart has
            // expired.
            let patience = config.session_timeout.max(config.rebalance_timeout);
            membership.follow_up_at = now.checked_add(patience);
        }
        let heard = membership.session.last_accepted_at();
        let regular = heard.map_or(now, |at| now.max(at + config.heartbeats_apart()));
        // The answer to an earlier heartbeat may be about the rebalance that is complete now (brokers before Kafka 2.7).
        membership.heartbeat = CoordinatorCall::due(membership.pacer.next(now, regular));
        let (generation, assignor) = (membership.generation, membership.assignor.clone());
        let rejoin_reason = membership.rejoin_reason.take();
        self.state = State::Stable { membership };
        if sent_subscription != self.subscription {
            // The assignment is for a subscription that has changed since (FAILURES D8).
            return self.join_again(now, "the subscription has changed");
        }
        let given = self.only_subscribed(given);
        assignor.on_assignment(&given, generation);
        if let Some(reason) = self.apply_assignment(given, generation).or(rejoin_reason) {
            self.join_again(now, reason);
        }
    }

    /// The assignment without topics that we do not subscribe to.
    fn only_subscribed(&self, mut given: MemberAssignment) -> MemberAssignment {
        given.partitions.retain(|partition| {
            let wanted = self.subscription.contains(&partition.topic);
            if !wanted {
                tracing::warn!(%partition, "assigned by the leader but not subscribed to");
            }
            wanted
        });
        given
    }

    /// Adds new partitions and revokes those that are no longer assigned. Returns the reason to rejoin, if
    /// that is necessary.
    fn apply_assignment(&mut self, given: MemberAssignment, generation: i32) -> Option<&'static str> {
        let assigned: BTreeSet<TopicPartition> = given.partitions.into_iter().collect();
        let added: Vec<_> = assigned.difference(&self.owned.all).cloned().collect();
        let surplus: BTreeSet<_> = self.owned.all.difference(&assigned).cloned().collect();
        let owned = assigned.iter().cloned().collect();
        let moves = !surplus.is_empty();
        let is_static = self.core.config.instance_id.is_some();
        let must_trigger = mem::replace(&mut self.must_trigger_rebalance, moves && is_static);
        self.revoke(surplus);
        self.owned.all.extend(added.iter().cloned());
        self.owned.last = Some((assigned, generation));
        self.core.outbox.push(Event::Assigned { added, owned, generation });
        match (moves, must_trigger) {
            (true, _) => Some("partitions that move have been revoked"),
            (false, true) => Some(UNASSIGNED),
            (false, false) => None,
        }
    }
}

/// Some leaders leave out members without partitions; then the coordinator sends no bytes at all.
pub(super) fn assignment(bytes: Bytes) -> Result<MemberAssignment, offtake_wire::DecodeError> {
    if bytes.is_empty() { Ok(MemberAssignment::default()) } else { decode_assignment(bytes) }
}
