//! The fingerprint of all state that decides the future of a member of the consumer protocol.

use std::{
    hash::{Hash, Hasher},
    mem,
    time::Duration,
};

use super::{Consumer, state::State};
use crate::fingerprint::{self, Relative};

impl Consumer {
    pub(crate) fn longest_timeout(&self) -> Duration {
        fingerprint::longest_timeout(&self.core.config)
    }

    pub(crate) fn fingerprint(&self, relative: &Relative, to: &mut impl Hasher) {
        // Each field by name, so that a new one is not forgotten.
        let Self {
            core,
            state,
            subscription,
            pattern,
            pattern_sent,
            member_id,
            epoch,
            interval,
            pacer,
            names,
            partitions,
            pending,
            heartbeat_at_once,
            session,
            session_timeout,
            unanswered_since,
            revoking_since,
            announced_epoch,
            unreleased_since,
        } = self;
        relative.core(core, to);
        relative.pacer(pacer, to);
        relative.session(session, to);
        mem::discriminant(state).hash(to);
        if let Some(heartbeat) = state.heartbeat() {
            relative.coordinator_call(heartbeat, to);
        }
        relative.call(session_timeout.call(), to);
        if let State::Leaving { until, epoch, then, .. } = state {
            relative.time(Some(*until), to);
            (epoch, then).hash(to);
        }
        (
            subscription,
            member_id,
            epoch,
            interval,
            names,
            partitions,
            pending,
            heartbeat_at_once,
            announced_epoch,
        )
            .hash(to);
        (pattern, pattern_sent, core.config.session_timeout).hash(to);
        for time in [unanswered_since, revoking_since, unreleased_since] {
            relative.time(*time, to);
        }
    }
}
