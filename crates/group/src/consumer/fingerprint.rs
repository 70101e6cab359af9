//! What decides the future of a member of the consumer protocol.

use std::{
    hash::{Hash, Hasher},
    mem,
    time::Duration,
};

use super::{Consumer, state::State};
use crate::fingerprint::{self, Relative};

impl Consumer {
    pub(crate) fn longest_timeout(&self) -> Duration {
        fingerprint::longest_timeout(&self.config)
    }

    pub(crate) fn fingerprint(&self, relative: &Relative, to: &mut impl Hasher) {
        // Each field by name, so that a new one is not forgotten.
        let Self {
            config,
            ids: _,
            health,
            outbox,
            state,
            subscription,
            pattern,
            told_pattern,
            member_id,
            epoch,
            interval,
            pace,
            names,
            holding,
            say,
            hurry,
            alive,
            unheard_since,
            giving_up_since,
            announced,
            deadline,
            session_timeout,
            polled,
            warned,
            sent,
            unreleased_since,
            blocked,
        } = self;
        relative.health(health, to);
        relative.outbox(outbox, to);
        relative.pace(pace, to);
        mem::discriminant(state).hash(to);
        if let Some(call) = state.call() {
            relative.call(call, to);
            relative.time(sent.filter(|_| call.is_sent()).map(|(at, _)| at), to);
        }
        relative.call(session_timeout.call(), to);
        if let State::Leaving { until, epoch, then, .. } = state {
            relative.time(Some(*until), to);
            (epoch, then).hash(to);
        }
        (subscription, member_id, epoch, interval, names, holding, say, hurry, announced, blocked).hash(to);
        (warned, pattern, told_pattern, config.session_timeout).hash(to);
        let times = [alive, unheard_since, giving_up_since, deadline, unreleased_since, polled];
        for time in times {
            relative.time(*time, to);
        }
    }
}
