//! What decides the future of a member of the classic protocol.

use std::{
    hash::{Hash, Hasher},
    mem,
    time::Duration,
};

use super::{
    Classic,
    state::{Plan, State},
};
use crate::fingerprint::{self, Relative};

impl Classic {
    pub(crate) fn longest_timeout(&self) -> Duration {
        fingerprint::longest_timeout(&self.config)
    }

    pub(crate) fn fingerprint(&self, relative: &Relative, to: &mut impl Hasher) {
        // Each field by name, so that a new one is not forgotten.
        let Self {
            config: _,
            ids: _,
            health,
            outbox,
            state,
            subscription,
            member_id,
            generation,
            assignor,
            lead,
            follow_up,
            overdue,
            pace,
            held,
            alive,
            undisturbed,
            deadline,
            polled,
            warned,
            last_asked,
            blocked,
            again,
            owes_rebalance,
        } = self;
        relative.health(health, to);
        relative.outbox(outbox, to);
        relative.pace(pace, to);
        mem::discriminant(state).hash(to);
        for exchange in state.exchanges() {
            relative.exchange(exchange, to);
        }
        match state {
            State::Joining { asked, .. } => asked.hash(to),
            State::Syncing { joined, asked, plan, .. } => {
                relative.time(*joined, to);
                asked.hash(to);
                mem::discriminant(plan).hash(to);
                if let Plan::Say(assignments) = plan {
                    for given in assignments {
                        (&given.member_id, &given.assignment).hash(to);
                    }
                }
            }
            State::Leaving { until, then, .. } => {
                relative.time(Some(*until), to);
                then.hash(to);
            }
            State::Outside
            | State::Unpolled
            | State::Failed
            | State::Stable { .. }
            | State::Releasing { .. } => {}
        }
        (subscription, member_id, generation, assignor, lead, follow_up, held).hash(to);
        for time in [alive, undisturbed, deadline, polled, overdue] {
            relative.time(*time, to);
        }
        (last_asked, blocked, again.is_some(), owes_rebalance, warned).hash(to);
    }
}
