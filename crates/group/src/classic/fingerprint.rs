//! The fingerprint of all state that decides the future of a member of the classic protocol.

use std::{
    hash::{Hash, Hasher},
    mem,
    time::Duration,
};

use super::{
    Classic,
    state::{Membership, State, SyncPlan},
};
use crate::fingerprint::{self, Relative};

impl Classic {
    pub(crate) fn longest_timeout(&self) -> Duration {
        fingerprint::longest_timeout(&self.core.config)
    }

    pub(crate) fn fingerprint(&self, relative: &Relative, to: &mut impl Hasher) {
        // Each field by name, so that a new one is not forgotten.
        let Self { core, state, subscription, member_id, owned, must_trigger_rebalance } = self;
        relative.core(core, to);
        mem::discriminant(state).hash(to);
        if let Some(step) = state.step() {
            relative.coordinator_call(step, to);
        }
        state.membership().is_some().hash(to);
        if let Some(membership) = state.membership() {
            membership.fingerprint(relative, to);
        }
        match state {
            State::Joining { first_sent_at, sent_subscription, .. } => {
                relative.time(*first_sent_at, to);
                sent_subscription.hash(to);
            }
            State::Syncing { counts_from, sent_subscription, plan, .. } => {
                relative.time(*counts_from, to);
                sent_subscription.hash(to);
                mem::discriminant(plan).hash(to);
                if let SyncPlan::Send(assignments) = plan {
                    for given in assignments {
                        (&given.member_id, &given.assignment).hash(to);
                    }
                }
            }
            State::Leaving { until, then, .. } => {
                relative.time(Some(*until), to);
                then.hash(to);
            }
            State::Unpolled { static_id } => static_id.hash(to),
            State::Outside | State::Failed | State::Stable { .. } | State::Revoking { .. } => {}
        }
        (subscription, member_id, owned, must_trigger_rebalance).hash(to);
    }
}

impl Membership {
    fn fingerprint(&self, relative: &Relative, to: &mut impl Hasher) {
        let Self {
            generation,
            assignor,
            lead,
            follow_up,
            follow_up_at,
            heartbeat,
            is_over,
            pacer,
            session,
            last_stable_at,
            rejoin_reason,
        } = self;
        (generation, assignor, lead, follow_up, rejoin_reason.is_some(), is_over).hash(to);
        relative.coordinator_call(heartbeat, to);
        relative.pacer(pacer, to);
        relative.session(session, to);
        relative.time(*follow_up_at, to);
        relative.time(*last_stable_at, to);
    }
}
