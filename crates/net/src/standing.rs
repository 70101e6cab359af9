//! [`Standing`]: what we remember of an address from one connection to the next.

use std::{net::SocketAddr, time::Duration};

use offtake_machine::Backoff;
use offtake_wire::ApiKey;
use tokio::time::Instant;

use crate::{address::Address, config::Config};

/// What we remember of an address.
#[derive(Debug)]
pub(crate) struct Standing {
    backoff: Backoff,
    /// Not dialled again before.
    until: Option<Instant>,
    /// The version of ApiVersions to begin with (FAILURES Q1).
    greeting: Option<i16>,
    /// The address of the name that last worked: tried first, so that a dead one costs its timeout once (FAILURES A8).
    good: Option<SocketAddr>,
    /// What was wrong the last time.
    last_reason: Option<String>,
}

/// How to dial.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) not_before: Option<Instant>,
    pub(crate) connect_timeout: Duration,
    pub(crate) greeting: i16,
    pub(crate) good: Option<SocketAddr>,
    /// Why the last connection came to nothing, for calls that give up while they wait for the next.
    pub(crate) last_reason: Option<String>,
}

impl Standing {
    pub(crate) fn new(config: &Config, seed: u64) -> Self {
        Self {
            backoff: Backoff::new(config.reconnect, seed),
            until: None,
            greeting: None,
            good: None,
            last_reason: None,
        }
    }

    /// A connection to it could not be made, or broke. One line for the first time, none for the rest.
    pub(crate) fn failed(&mut self, now: Instant, address: &Address, reason: &str) {
        if !self.is_failing() {
            tracing::warn!(%address, reason, "connection lost or refused; dialling again on demand");
        }
        self.greeting = None; // it may come back as something else
        self.last_reason = Some(reason.to_owned());
        if self.waits(now).is_some() {
            return; // its connections broke together: one failure
        }
        self.until = now.checked_add(self.backoff.failed());
    }

    /// It greeted us.
    pub(crate) fn connected(&mut self, via: SocketAddr, greeting: i16) {
        self.good = Some(via);
        self.greeting = Some(greeting);
    }

    /// It answered a call. A greeting alone does not count: a port that greets and then closes must not be dialled
    /// without pause.
    pub(crate) fn worked(&mut self, address: &Address) {
        if self.is_failing() {
            tracing::info!(%address, "answers again");
            self.backoff.worked();
            self.until = None;
            self.last_reason = None;
        }
    }

    /// It has not worked since it failed.
    pub(crate) fn is_failing(&self) -> bool {
        self.backoff.failures() > 0
    }

    /// Until when it is left alone, if that is in the future.
    pub(crate) fn waits(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }

    pub(crate) fn plan(&self, now: Instant, config: &Config) -> Plan {
        let doubled = 1u32.checked_shl(self.backoff.failures().min(16)).unwrap_or(1);
        let longest = config.connect_timeout_max.max(config.connect_timeout);
        Plan {
            not_before: self.waits(now),
            connect_timeout: config.connect_timeout.saturating_mul(doubled).min(longest),
            greeting: self.greeting.unwrap_or(ApiKey::ApiVersions.versions().max),
            good: self.good,
            last_reason: self.last_reason.clone(),
        }
    }
}
