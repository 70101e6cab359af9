//! [`Acceptance`]: decides whether a refusal by TLS or SASL is final, and whether a peer that is no Kafka broker will stay one.

use std::time::Duration;

use offtake_machine::CallError;
use tokio::time::Instant;

use crate::{call::CloseReason, clock};

/// How long refusals are retried after the last accepted connection has ended, because credentials and certificates are changed
/// on one side after the other.
const GRACE: Duration = Duration::from_secs(60);

/// Whether brokers have accepted this client's credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Acceptance {
    /// Not yet, so that a refusal is final.
    #[default]
    Never,
    /// They have accepted them, and since then refused nothing while no connection was open.
    Accepted,
    /// They had accepted them. Without an open connection, a refusal is final from this time on.
    RefusedUntil(Instant),
}

impl Acceptance {
    /// Notes that a connection was made.
    pub(super) fn accepted(&mut self) {
        *self = Self::Accepted;
    }

    /// Judges the end or the failure of a connection. `is_connected`: another one is open.
    pub(super) fn check(&mut self, now: Instant, is_connected: bool, why: CloseReason) -> CloseReason {
        let (address, reason) = match why {
            // Brokers have answered before: another program answers in their place while they are down.
            CloseReason::Unreachable(CallError::Unreachable { address, reason, not_kafka: true }) => {
                let not_kafka = *self == Self::Never;
                return CloseReason::Unreachable(CallError::Unreachable { address, reason, not_kafka });
            }
            CloseReason::Unreachable(CallError::Authentication { address, reason, is_final: true }) => {
                (address, reason)
            }
            why => return why,
        };
        let is_final = match *self {
            Self::Never => true,
            Self::Accepted | Self::RefusedUntil(_) if is_connected => {
                *self = Self::Accepted;
                false
            }
            Self::Accepted => {
                *self = Self::RefusedUntil(clock::after(now, GRACE));
                false
            }
            Self::RefusedUntil(end) => end <= now,
        };
        CloseReason::Unreachable(CallError::Authentication { address, reason, is_final })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_final(acceptance: &mut Acceptance, now: Instant, is_connected: bool) -> bool {
        let (address, reason) = ("b:9092".to_owned(), "refused".to_owned());
        let why = CloseReason::Unreachable(CallError::Authentication { address, reason, is_final: true });
        match acceptance.check(now, is_connected, why) {
            CloseReason::Unreachable(CallError::Authentication { is_final, .. }) => is_final,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_refusal_is_final_at_the_start() {
        let mut acceptance = Acceptance::default();
        assert!(is_final(&mut acceptance, clock::now(), false));
        assert!(is_final(&mut acceptance, clock::now(), false));
    }

    #[test]
    fn later_it_is_final_when_no_connection_has_been_accepted_for_a_minute() {
        let (mut acceptance, start) = (Acceptance::default(), clock::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        acceptance.accepted();
        assert!(!is_final(&mut acceptance, at(1000), true), "others live");
        assert!(!is_final(&mut acceptance, at(2000), false), "the last one has just ended");
        assert!(!is_final(&mut acceptance, at(2059), false));
        assert!(is_final(&mut acceptance, at(2060), false));
        acceptance.accepted();
        assert!(!is_final(&mut acceptance, at(3000), false), "the minute begins anew");
    }

    #[test]
    fn a5_a_peer_that_is_not_kafka_is_final_until_a_broker_has_answered() {
        let mut acceptance = Acceptance::default();
        let is_final = |acceptance: &mut Acceptance| {
            let (address, reason) = ("b:9092".to_owned(), "it speaks HTTP".to_owned());
            let why = CallError::Unreachable { address, reason, not_kafka: true };
            match acceptance.check(clock::now(), false, CloseReason::Unreachable(why)) {
                CloseReason::Unreachable(error) => !error.is_retriable(),
                other => panic!("{other:?}"),
            }
        };
        assert!(is_final(&mut acceptance));
        acceptance.accepted();
        assert!(!is_final(&mut acceptance), "the broker is down, and something answers in its place");
        assert!(!is_final(&mut acceptance));
    }

    #[test]
    fn a_close_reason_other_than_a_refusal_is_unchanged() {
        let mut acceptance = Acceptance::default();
        let why = acceptance.check(clock::now(), false, CloseReason::Broken("cut".to_owned()));
        assert!(matches!(why, CloseReason::Broken(reason) if reason == "cut"));
    }
}
