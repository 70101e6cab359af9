//! The choice of a connection for a call that any broker may answer.
//!
//! The best candidate of those not tried yet, in this order: a broker with a connection on the lane; a broker with any
//! connection; a known broker that did not fail last time; a bootstrap server with a connection; a bootstrap server that did not
//! fail (FAILURES A7). Then those that failed last time: one that nevertheless has a connection, one that may be dialled again,
//! and finally the one that may be dialled soonest. Among equals, the one with the fewest outstanding calls is chosen, then by
//! rotation. An unwanted candidate comes just before those that are silent, and these just before those that failed.
//!
//! A broker that stopped answering on one lane is most likely silent on the others, though those are still open: a search for a
//! new coordinator, made because the old one is silent, must not ask the old one (FAILURES A2, C4). Nor must a refresh of the
//! metadata wait out `request.timeout.ms` at a broker that owes another answer for long (A2).

use tokio::time::Instant;

use crate::call::Endpoint;

/// A broker or bootstrap server that could get the call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) endpoint: Endpoint,
    /// Whether it has a connection on the lane.
    pub(crate) on_lane: bool,
    /// Whether it has a connection on some lane.
    pub(crate) connected: bool,
    /// The number of outstanding calls on the lane.
    pub(crate) in_flight: usize,
    /// Whether the call should go to another one, if there is any.
    pub(crate) unwanted: bool,
    /// Whether a call to its address is unanswered for long.
    pub(crate) silent: bool,
    /// Whether its address failed last time.
    pub(crate) failing: bool,
    /// When the reconnect backoff of its address ends, if that is in the future.
    pub(crate) backoff_until: Option<Instant>,
}

/// The best candidate. They are listed in a fixed order; `rotation` is the start among equals.
pub(crate) fn best(candidates: &[Candidate], rotation: u64) -> Option<Endpoint> {
    let count = candidates.len() as u64;
    let turn = |at: usize| (at as u64 + count - rotation.checked_rem(count).unwrap_or(0)) % count.max(1);
    let ranked =
        candidates.iter().enumerate().map(|(at, candidate)| (rank(candidate), turn(at), candidate.endpoint));
    ranked.min().map(|(_, _, endpoint)| endpoint)
}

fn rank(of: &Candidate) -> (u8, Option<Instant>, usize) {
    let is_broker = matches!(of.endpoint, Endpoint::Broker(_));
    if of.unwanted && !of.failing {
        // It is better than none, or than one that fails.
        return (5, None, of.in_flight);
    }
    if of.silent && !of.failing {
        return (if of.on_lane { 6 } else { 7 }, None, of.in_flight);
    }
    match (of.on_lane, of.failing, of.backoff_until, is_broker) {
        (true, true, ..) => (8, None, of.in_flight),
        (true, false, _, true) => (0, None, of.in_flight),
        (true, false, _, false) => (3, None, of.in_flight),
        (false, _, Some(until), _) => (10, Some(until), of.in_flight),
        (false, true, None, _) => (9, None, of.in_flight),
        (false, false, None, true) if of.connected => (1, None, of.in_flight),
        (false, false, None, true) => (2, None, of.in_flight),
        (false, false, None, false) => (4, None, of.in_flight),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use offtake_machine::BrokerId;

    use super::*;

    fn broker(id: i32) -> Candidate {
        let endpoint = Endpoint::Broker(BrokerId(id));
        Candidate {
            endpoint,
            on_lane: false,
            connected: false,
            in_flight: 0,
            unwanted: false,
            silent: false,
            failing: false,
            backoff_until: None,
        }
    }

    fn bootstrap(at: usize) -> Candidate {
        Candidate { endpoint: Endpoint::Bootstrap(at), ..broker(0) }
    }

    #[test]
    fn a_connected_broker_with_the_least_to_do_is_asked_first() {
        let busy = Candidate { on_lane: true, connected: true, in_flight: 3, ..broker(1) };
        let free = Candidate { on_lane: true, connected: true, in_flight: 1, ..broker(2) };
        let elsewhere = Candidate { connected: true, ..broker(3) };
        let all = [broker(0), busy, free, elsewhere, bootstrap(0)];
        assert_eq!(best(&all, 0), Some(free.endpoint));
        assert_eq!(best(&[all[0], elsewhere], 0), Some(elsewhere.endpoint));
    }

    #[test]
    fn a2_a_broker_that_is_silent_on_another_lane_is_not_asked_while_there_is_a_better_one() {
        let sleeping = Candidate { on_lane: true, connected: true, failing: true, ..broker(1) };
        assert_eq!(best(&[sleeping, broker(2)], 0), Some(broker(2).endpoint));
        assert_eq!(best(&[sleeping, bootstrap(0)], 0), Some(bootstrap(0).endpoint));
        let worse = Candidate { failing: true, ..broker(2) };
        assert_eq!(best(&[worse, sleeping], 0), Some(sleeping.endpoint), "no dial is needed");
    }

    #[test]
    fn a2_a_broker_that_owes_an_answer_for_long_is_asked_before_those_that_failed_only() {
        let silent = Candidate { on_lane: true, connected: true, silent: true, ..broker(1) };
        assert_eq!(best(&[silent, broker(2)], 0), Some(broker(2).endpoint));
        assert_eq!(best(&[silent, bootstrap(0)], 0), Some(bootstrap(0).endpoint));
        let unwanted = Candidate { unwanted: true, ..broker(2) };
        assert_eq!(best(&[silent, unwanted], 0), Some(unwanted.endpoint));
        let failing = Candidate { failing: true, ..broker(2) };
        assert_eq!(best(&[failing, silent], 0), Some(silent.endpoint));
        let same_by_bootstrap = Candidate { silent: true, ..bootstrap(0) };
        for rotation in 0..3 {
            assert_eq!(
                best(&[silent, same_by_bootstrap], rotation),
                Some(silent.endpoint),
                "no dial is needed"
            );
        }
    }

    /// B2: the broker for a second opinion must not be the one that gave the first.
    #[test]
    fn b2_one_that_is_not_wanted_is_asked_only_if_the_others_fail() {
        let first = Candidate { on_lane: true, connected: true, unwanted: true, ..broker(1) };
        let by_bootstrap = Candidate { unwanted: true, ..bootstrap(0) };
        for rotation in 0..4 {
            assert_eq!(best(&[first, broker(2), by_bootstrap], rotation), Some(broker(2).endpoint));
            assert_eq!(best(&[first, by_bootstrap, bootstrap(1)], rotation), Some(bootstrap(1).endpoint));
        }
        let failing = Candidate { failing: true, ..broker(2) };
        assert_eq!(best(&[failing, first], 0), Some(first.endpoint));
        let dead = Candidate { failing: true, ..first };
        assert_eq!(best(&[dead, broker(2)], 0), Some(broker(2).endpoint));
    }

    #[test]
    fn equals_take_turns() {
        let all = [broker(0), broker(1), broker(2)];
        let picked: Vec<_> = (1..5).map(|rotation| best(&all, rotation)).collect();
        assert_eq!(picked, [1, 2, 0, 1].map(|id| Some(broker(id).endpoint)));
        assert_eq!(best(&[], 3), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a7_when_every_known_broker_is_failing_the_bootstrap_servers_are_asked() {
        let soon = crate::clock::now() + Duration::from_millis(50);
        let failing = Candidate { failing: true, backoff_until: Some(soon), ..broker(1) };
        let later = Candidate { backoff_until: Some(soon + Duration::from_secs(1)), ..bootstrap(0) };
        assert_eq!(best(&[failing, bootstrap(0)], 0), Some(bootstrap(0).endpoint));
        assert_eq!(best(&[later, failing], 0), Some(failing.endpoint), "all fail: whoever is soonest");
        let due = Candidate { failing: true, ..broker(1) };
        assert_eq!(best(&[due, bootstrap(0)], 0), Some(bootstrap(0).endpoint), "it may be a black hole");
    }
}
