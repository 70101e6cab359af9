//! Brokers that do not answer are left alone for a while.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use offtake_admin::{BrokerId, Error, ErrorKind};
use offtake_client::clock;

/// How long one is left alone the first time, and at most.
const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(60);

/// The brokers that did not answer.
#[derive(Debug, Default)]
pub(super) struct Brokers(BTreeMap<BrokerId, Resting>);

#[derive(Debug)]
struct Resting {
    until: Instant,
    wait: Duration,
}

impl Brokers {
    pub(super) fn may_ask(&self, broker: BrokerId, now: Instant) -> bool {
        self.0.get(&broker).is_none_or(|resting| resting.until <= now)
    }

    pub(super) fn answered(&mut self, broker: BrokerId) {
        self.0.remove(&broker);
    }

    /// It failed; only what has to do with the connection makes it rest.
    pub(super) fn failed(&mut self, broker: BrokerId, error: &Error, now: Instant) {
        let silent =
            error.code().is_none() && matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unreachable);
        if !silent || !self.may_ask(broker, now) {
            return;
        }
        let wait = self.0.get(&broker).map_or(FIRST, |resting| LONGEST.min(resting.wait * 2));
        self.0.insert(broker, Resting { until: clock::later(now, wait), wait });
    }

    /// Those that are left alone, and for how long still.
    pub(super) fn resting(&self, now: Instant) -> impl Iterator<Item = (BrokerId, Duration)> {
        let resting = self.0.iter().filter(move |(_, resting)| resting.until > now);
        resting.map(move |(broker, resting)| (*broker, resting.until.saturating_duration_since(now)))
    }
}

#[cfg(test)]
mod tests {
    use offtake_admin::ErrorCode;

    use super::*;

    #[test]
    fn a_silent_broker_is_left_alone_longer_each_time_and_a_refusal_is_an_answer() {
        let (mut brokers, one) = (Brokers::default(), BrokerId(1));
        let mut now = clock::now();
        let silent = Error::new(ErrorKind::Timeout, "x");
        brokers.failed(one, &silent.clone().with_code(ErrorCode::NotCoordinator), now);
        assert!(brokers.may_ask(one, now));
        for seconds in [5, 10, 20, 40, 60, 60] {
            brokers.failed(one, &silent, now);
            brokers.failed(one, &silent, now); // another step of the same round
            assert_eq!(brokers.resting(now).next(), Some((one, Duration::from_secs(seconds))));
            now += Duration::from_secs(seconds);
            assert!(brokers.may_ask(one, now));
        }
        brokers.answered(one);
        brokers.failed(one, &silent, now);
        assert_eq!(brokers.resting(now).next(), Some((one, FIRST)));
    }
}
