//! [`AddressState`]: the state of an address across connections.

use std::{net::SocketAddr, time::Duration};

use offtake_machine::Backoff;
use offtake_wire::ApiKey;
use tokio::time::Instant;

use crate::{address::Address, config::Config};

/// The state of an address across connections.
#[derive(Debug)]
pub(crate) struct AddressState {
    backoff: Backoff,
    /// The end of the reconnect backoff.
    not_before: Option<Instant>,
    /// The version of ApiVersions that worked last (FAILURES Q1).
    api_versions_version: Option<i16>,
    /// The address of the name that last worked. It is tried first, so that a dead address costs its timeout only once (FAILURES
    /// A8).
    last_good: Option<SocketAddr>,
    /// Why the last connection failed.
    last_reason: Option<String>,
    first_answer: FirstAnswer,
}

/// Whether a call was ever answered at the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstAnswer {
    Awaited,
    Had,
    /// This many connections were closed at their first call, since then.
    Missed {
        times: u32,
        since: Instant,
    },
}

impl FirstAnswer {
    /// Whether connections without SASL were closed at their first call for long enough, and no call was ever answered.
    pub(crate) fn expects_sasl(self, now: Instant) -> bool {
        match self {
            Self::Missed { times, since } => {
                times >= MISSED_FOR_SASL && now.saturating_duration_since(since) >= MISSED_SO_LONG
            }
            Self::Awaited | Self::Had => false,
        }
    }
}

/// A listener that closes this many connections at their first call, for this long, is assumed to expect SASL. The limits exist
/// because a stopping broker closes some connections too, and a network may lose a dozen in a row.
const MISSED_FOR_SASL: u32 = 2;
const MISSED_SO_LONG: Duration = Duration::from_secs(10);

/// The plan for the next connection to an address.
#[derive(Clone, Debug)]
pub(crate) struct DialPlan {
    pub(crate) not_before: Option<Instant>,
    pub(crate) connect_timeout: Duration,
    pub(crate) api_versions_version: i16,
    pub(crate) last_good: Option<SocketAddr>,
    /// Why the last connection failed, for calls that time out while waiting for the next one.
    pub(crate) last_reason: Option<String>,
    pub(crate) first_answer: FirstAnswer,
}

impl AddressState {
    pub(crate) fn new(config: &Config, seed: u64) -> Self {
        Self {
            backoff: Backoff::new(config.reconnect, seed),
            not_before: None,
            api_versions_version: None,
            last_good: None,
            last_reason: None,
            first_answer: FirstAnswer::Awaited,
        }
    }

    /// Notes that a connection without SASL was closed at its first call.
    pub(crate) fn closed_at_first_call(&mut self, now: Instant) {
        match &mut self.first_answer {
            FirstAnswer::Awaited => self.first_answer = FirstAnswer::Missed { times: 1, since: now },
            FirstAnswer::Missed { times, .. } => *times = times.saturating_add(1),
            FirstAnswer::Had => {}
        }
    }

    /// Notes that a connection failed or broke. Only the first failure in a row is logged.
    pub(crate) fn failed(&mut self, now: Instant, address: &Address, reason: &str) {
        if !self.is_failing() {
            tracing::warn!(%address, reason, "connection lost or refused; dialling again on demand");
        }
        self.api_versions_version = None; // the broker may come back with another version
        self.last_reason = Some(reason.to_owned());
        if self.backoff_until(now).is_some() {
            return; // its connections broke together: one failure
        }
        self.not_before = now.checked_add(self.backoff.next_wait());
    }

    /// Notes that ApiVersions was answered.
    pub(crate) fn connected(&mut self, via: SocketAddr, api_versions_version: i16) {
        self.last_good = Some(via);
        self.api_versions_version = Some(api_versions_version);
    }

    /// Notes that a call was answered. A handshake alone does not count: a port that answers ApiVersions and then closes must not
    /// be dialled without pause.
    pub(crate) fn worked(&mut self, address: &Address) {
        self.first_answer = FirstAnswer::Had;
        if self.is_failing() {
            tracing::info!(%address, "answers again");
            self.backoff.reset();
            self.not_before = None;
            self.last_reason = None;
        }
    }

    /// Whether a call was ever answered at the address.
    pub(crate) fn has_answered(&self) -> bool {
        self.first_answer == FirstAnswer::Had
    }

    /// Whether no call has been answered since the last failure.
    pub(crate) fn is_failing(&self) -> bool {
        self.backoff.failures() > 0
    }

    /// When the reconnect backoff ends, if that is in the future.
    pub(crate) fn backoff_until(&self, now: Instant) -> Option<Instant> {
        self.not_before.filter(|not_before| *not_before > now)
    }

    /// The plan for the next connection. `others_answer`: another address of the cluster has answered. If one broker answers
    /// without SASL, the others do not expect it either, so that connections closed at their first call have another cause.
    pub(crate) fn plan(&self, now: Instant, config: &Config, others_answer: bool) -> DialPlan {
        let doubled = 1u32.checked_shl(self.backoff.failures().min(16)).unwrap_or(1);
        let longest = config.connect_timeout_max.max(config.connect_timeout);
        DialPlan {
            not_before: self.backoff_until(now),
            connect_timeout: config.connect_timeout.saturating_mul(doubled).min(longest),
            api_versions_version: self.api_versions_version.unwrap_or(ApiKey::ApiVersions.versions().max),
            last_good: self.last_good,
            last_reason: self.last_reason.clone(),
            first_answer: if others_answer { FirstAnswer::Had } else { self.first_answer },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn sasl_is_expected_only_where_no_address_of_the_cluster_answers_without() {
        let config = Config::default();
        let mut state = AddressState::new(&config, 7);
        let began = crate::clock::now();
        for seconds in [0, 4, 11, 15] {
            state.closed_at_first_call(began + Duration::from_secs(seconds));
        }
        let now = began + Duration::from_secs(15);
        let expects = |state: &AddressState, others_answer| {
            state.plan(now, &config, others_answer).first_answer.expects_sasl(now)
        };
        assert!(expects(&state, false));
        assert!(!expects(&state, true), "its first calls were lost, four times");
        assert!(!state.has_answered());
        state.worked(&Address::new("localhost", 9092));
        assert!(state.has_answered() && !expects(&state, false));
    }
}
