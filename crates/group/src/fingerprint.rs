//! The fingerprint of a member, for the model checker of `tests/model`: a hash of all state that decides the
//! member's future behaviour.
//!
//! Times in it are relative to now, and as coarse as possible. It exists only with the feature `_model`,
//! which only the package of that checker turns on.

use std::{
    hash::{Hash, Hasher},
    mem,
    time::{Duration, Instant},
};

use offtake_machine::Call;

use crate::{
    Machine, Member,
    call::CoordinatorCall,
    config::Config,
    core::MemberCore,
    event::{Event, Outbox},
    health::Health,
    pacer::HeartbeatPacer,
    session::Session,
};

/// From this many failures in a row on, the number makes no difference.
const MANY: u32 = 5;

impl Member {
    /// Hashes all state that decides its future behaviour, with times relative to `now` in steps of `grain`.
    /// A model checker treats two members with one configuration as the same if these hashes are equal.
    #[doc(hidden)]
    pub fn fingerprint(&self, now: Instant, grain: Duration, state: &mut impl Hasher) {
        match &self.machine {
            Machine::Classic(machine) => {
                machine.fingerprint(&Relative { now, grain, longest: machine.longest_timeout() }, state);
            }
            Machine::Consumer(machine) => {
                machine.fingerprint(&Relative { now, grain, longest: machine.longest_timeout() }, state);
            }
        }
    }
}

pub(crate) struct Relative {
    pub(crate) now: Instant,
    /// Times that one step of the clock reaches together are equal.
    pub(crate) grain: Duration,
    /// Times longer ago than any timeout make no difference.
    pub(crate) longest: Duration,
}

impl Relative {
    /// Steps from now, rounded up.
    pub(crate) fn steps(&self, at: Instant) -> i64 {
        let steps = |span: Duration, round: u128| {
            i64::try_from((span.as_nanos() + round) / self.grain.as_nanos().max(1)).unwrap_or(i64::MAX)
        };
        match at.checked_duration_since(self.now) {
            Some(ahead) => steps(ahead, self.grain.as_nanos().saturating_sub(1)),
            None => -steps(self.now.saturating_duration_since(at).min(self.longest), 0),
        }
    }

    pub(crate) fn time(&self, at: Option<Instant>, state: &mut impl Hasher) {
        at.map(|at| self.steps(at)).hash(state);
    }

    /// The id of the call makes no difference, as there is only one of each kind.
    pub(crate) fn coordinator_call(&self, call: &CoordinatorCall, state: &mut impl Hasher) {
        call.is_sent().hash(state);
        self.time(call.deadline(), state);
        self.time(call.sent().map(|sent| sent.at), state);
    }

    pub(crate) fn call(&self, call: &Call, state: &mut impl Hasher) {
        call.is_sent().hash(state);
        self.time(call.deadline(), state);
    }

    pub(crate) fn core(&self, core: &MemberCore, state: &mut impl Hasher) {
        let MemberCore { config: _, ids: _, health, outbox, poll_timer, last_asked, waits_for_coordinator } =
            core;
        self.health(health, state);
        self.outbox(outbox, state);
        let (last_poll_at, is_warned) = poll_timer.contents();
        self.time(last_poll_at, state);
        (is_warned, last_asked, waits_for_coordinator).hash(state);
    }

    pub(crate) fn session(&self, session: &Session, state: &mut impl Hasher) {
        self.time(session.last_accepted_at(), state);
        self.time(session.expires_at(), state);
    }

    /// Waits are random within bounds narrower than a grain, so only the number of failures is hashed.
    fn health(&self, health: &Health, state: &mut impl Hasher) {
        health.failures().min(MANY).hash(state);
        health.is_failing().hash(state);
    }

    pub(crate) fn pacer(&self, pacer: &HeartbeatPacer, state: &mut impl Hasher) {
        let (until, step) = pacer.contents().unzip();
        // A burst that is over counts as none.
        self.time(until.filter(|until| *until > self.now), state);
        step.filter(|step| *step > self.grain).hash(state);
    }

    fn outbox(&self, outbox: &Outbox, state: &mut impl Hasher) {
        let (queue, open) = outbox.contents();
        open.hash(state);
        queue.len().hash(state);
        for event in queue {
            mem::discriminant(event).hash(state);
            match event {
                // Their ids make no difference.
                Event::Revoke { id: _, partitions, generation }
                | Event::Lost { id: _, partitions, generation } => {
                    (partitions, generation).hash(state);
                }
                other => format!("{other:?}").hash(state),
            }
        }
    }
}

/// No timer of a member is longer than this.
pub(crate) fn longest_timeout(config: &Config) -> Duration {
    let timeouts = [config.session_timeout, config.rebalance_timeout, config.request_timeout];
    timeouts.into_iter().max().unwrap_or_default().saturating_add(config.heartbeat_interval)
}
