//! The fingerprint of a [`World`], for the checker; and descriptions of its messages, for display.

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    time::{Duration, Instant},
};

use super::{Message, Process, TICK, What, World};
use crate::coordinator::Caller;

impl World {
    /// Hashes everything that decides the future, and nothing that belongs only to the past.
    pub fn fingerprint(&self, base: Instant, to: &mut impl Hasher) {
        let now = base + Duration::from_millis(self.now);
        let live = |who: usize, caller: Caller| {
            self.processes[who].call(caller).is_some()
                || self.processes[who].commit.is_some_and(|commit| commit.caller == caller)
        };
        let known = |caller: Caller| {
            let whose = (0..self.processes.len()).find(|who| live(*who, caller));
            whose.and_then(|who| u64::try_from(who).ok()).unwrap_or(u64::MAX)
        };
        self.coordinator.fingerprint(self.now, &known, to);
        for process in &self.processes {
            // Which revocation a callback confirms makes no difference.
            let Process {
                member,
                life,
                has,
                going,
                callback,
                releasing: _,
                polls,
                calls,
                commit,
                incarnation,
                assigned,
            } = &**process;
            if let Some(member) = member {
                member.fingerprint(now, Duration::from_millis(TICK), to);
            }
            (member.is_some(), life, has, going, callback, polls, incarnation, assigned).hash(to);
            calls.map(|call| call.map(|call| call.until.saturating_sub(self.now))).hash(to);
            commit.map(|commit| commit.until.saturating_sub(self.now)).hash(to);
        }
        // Without order, except for the requests of one process.
        let mut mail: Vec<u64> = self
            .mail
            .iter()
            .map(|message| {
                let mut hash = DefaultHasher::new();
                let rank =
                    self.mail.iter().filter(|other| message.is_request() && other.is_before(message)).count();
                (message.who, message.lane, message.digest, live(message.who, message.caller), rank)
                    .hash(&mut hash);
                hash.finish()
            })
            .collect();
        mail.sort_unstable();
        (mail, self.left, self.broken.as_ref().map(|(invariant, _)| invariant)).hash(to);
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = self.who;
        match &self.what {
            What::Request(request) => write!(f, "#{who} > {request:?}"),
            What::Commit(identity, _) => write!(f, "#{who} > commit as {identity:?}"),
            What::Answer(_, Some(response)) => write!(f, "#{who} < {response:?}"),
            What::Answer(_, None) => write!(f, "#{who} < disconnected"),
            What::Committed(_, code) => write!(f, "#{who} < committed: {code:?}"),
        }
    }
}
