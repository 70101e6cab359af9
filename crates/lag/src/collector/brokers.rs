//! Brokers that do not respond get no requests for a while.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::{Duration, Instant},
};

use offtake_admin::{BrokerId, Error, ErrorKind};
use offtake_client::clock;

/// The first and the longest pause of a broker.
const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(60);
/// The pause after a refusal: permissions are granted manually, if at all.
const REFUSED: Duration = Duration::from_secs(600);

/// The kinds of requests to a broker in a round, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RequestKind {
    Groups,
    Members,
    Committed,
    Offsets,
    Settings,
    Sizes,
    Records,
}

/// Formatted to complete "did not".
impl fmt::Display for RequestKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Groups => "list its groups",
            Self::Members => "describe its groups",
            Self::Committed => "return committed offsets",
            Self::Offsets => "list offsets",
            Self::Settings => "return topic configurations",
            Self::Sizes => "return log sizes",
            Self::Records => "read timestamps",
        })
    }
}

/// The brokers that did not respond, either at all or to one kind of request. If a broker has responded in a round and then stays
/// silent, it is slow in that kind of request only, and still gets the others.
#[derive(Debug, Default)]
pub(super) struct Brokers {
    silent: BTreeMap<BrokerId, Paused>,
    slow: BTreeMap<(BrokerId, RequestKind), Paused>,
    /// Until when a refused kind of request is not sent to a broker.
    refused: BTreeMap<(BrokerId, RequestKind), Instant>,
    /// The brokers that have responded in this round.
    responded: BTreeSet<BrokerId>,
}

#[derive(Debug)]
struct Paused {
    until: Instant,
    wait: Duration,
}

impl Paused {
    /// Pauses from now on, for longer than the last time.
    fn again(last: Option<&Self>, now: Instant) -> Self {
        let wait = last.map_or(FIRST, |last| LONGEST.min(last.wait * 2));
        Self { until: clock::later(now, wait), wait }
    }
}

impl Brokers {
    pub(super) fn begin_round(&mut self) {
        self.responded.clear();
    }

    pub(super) fn may_ask(&self, broker: BrokerId, kind: RequestKind, now: Instant) -> bool {
        let paused = [self.silent.get(&broker), self.slow.get(&(broker, kind))];
        let paused = paused.into_iter().flatten().map(|paused| paused.until);
        paused.chain(self.refused.get(&(broker, kind)).copied()).all(|until| until <= now)
    }

    /// Notes a refusal. Returns whether no other broker has refused this kind before.
    pub(super) fn refused(&mut self, broker: BrokerId, kind: RequestKind, now: Instant) -> bool {
        let is_first = self.refused.keys().all(|(_, refused)| *refused != kind);
        self.refused.insert((broker, kind), clock::later(now, REFUSED));
        is_first
    }

    pub(super) fn answered(&mut self, broker: BrokerId, kind: RequestKind) {
        self.responded.insert(broker);
        self.silent.remove(&broker);
        self.slow.remove(&(broker, kind));
    }

    /// Notes a missing response.
    pub(super) fn failed(&mut self, broker: BrokerId, kind: RequestKind, now: Instant) {
        if !self.may_ask(broker, kind, now) {
            return;
        }
        if self.responded.contains(&broker) {
            let key = (broker, kind);
            self.slow.insert(key, Paused::again(self.slow.get(&key), now));
        } else {
            self.silent.insert(broker, Paused::again(self.silent.get(&broker), now));
        }
    }

    /// A sentence about each paused broker.
    pub(super) fn paused(&self, now: Instant) -> Vec<String> {
        let left = |paused: &Paused| paused.until.saturating_duration_since(now);
        let silent = self.silent.iter().filter(|(_, paused)| paused.until > now).map(|(broker, paused)| {
            let seconds = left(paused).as_secs();
            format!("{broker} did not respond: no requests for {seconds} s; its data is unchanged")
        });
        let slow = self.slow.iter().filter(|(_, paused)| paused.until > now);
        let slow = slow.map(|((broker, kind), paused)| {
            let seconds = left(paused).as_secs();
            format!(
                "{broker} did not {kind} in time: no such requests for {seconds} s; this data is unchanged"
            )
        });
        silent.chain(slow).collect()
    }
}

/// Whether this error means that there was no response at all. A refusal or a malformed response does count as one.
pub(super) fn is_silence(error: &Error) -> bool {
    error.code().is_none() && matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unreachable)
}

#[cfg(test)]
mod tests {
    use offtake_admin::ErrorCode;

    use super::*;

    const ONE: BrokerId = BrokerId(1);

    #[test]
    fn a_refusal_is_an_answer() {
        let silent = Error::new(ErrorKind::Timeout, "x");
        assert!(is_silence(&silent) && !is_silence(&silent.with_code(ErrorCode::NotCoordinator)));
    }

    #[test]
    fn a_refused_request_is_retried_rarely_and_others_go_on() {
        let (mut brokers, now) = (Brokers::default(), clock::now());
        assert!(brokers.refused(ONE, RequestKind::Sizes, now), "the first time it is told");
        assert!(!brokers.refused(BrokerId(2), RequestKind::Sizes, now));
        assert!(
            !brokers.may_ask(ONE, RequestKind::Sizes, now) && brokers.may_ask(ONE, RequestKind::Offsets, now)
        );
        assert!(brokers.paused(now).is_empty(), "it answers");
        let later = now + REFUSED;
        assert!(brokers.may_ask(ONE, RequestKind::Sizes, later));
        assert!(!brokers.refused(ONE, RequestKind::Sizes, later));
    }

    #[test]
    fn a_silent_broker_is_left_alone_longer_each_time() {
        let mut brokers = Brokers::default();
        let mut now = clock::now();
        for seconds in [5, 10, 20, 40, 60, 60] {
            brokers.begin_round();
            brokers.failed(ONE, RequestKind::Groups, now);
            brokers.failed(ONE, RequestKind::Members, now); // another step of the same round
            let told = brokers.paused(now);
            assert!(told.len() == 1 && told[0].contains(&format!("no requests for {seconds} s")), "{told:?}");
            assert!(!brokers.may_ask(ONE, RequestKind::Offsets, now));
            now += Duration::from_secs(seconds);
            assert!(brokers.may_ask(ONE, RequestKind::Groups, now));
        }
        brokers.answered(ONE, RequestKind::Groups);
        brokers.begin_round();
        brokers.failed(ONE, RequestKind::Groups, now);
        assert!(brokers.paused(now)[0].contains("no requests for 5 s"));
    }

    #[test]
    fn a_broker_that_is_slow_in_one_thing_is_asked_everything_else() {
        let mut brokers = Brokers::default();
        let mut now = clock::now();
        for seconds in [5, 10, 20, 40, 60, 60] {
            brokers.begin_round();
            brokers.answered(ONE, RequestKind::Groups);
            brokers.failed(ONE, RequestKind::Members, now);
            brokers.answered(ONE, RequestKind::Offsets);
            let told = brokers.paused(now);
            assert!(
                told.len() == 1 && told[0].contains(&format!("no such requests for {seconds} s")),
                "{told:?}"
            );
            assert!(!brokers.may_ask(ONE, RequestKind::Members, now));
            assert!(brokers.may_ask(ONE, RequestKind::Committed, now));
            now += Duration::from_secs(seconds);
        }
        brokers.answered(ONE, RequestKind::Members);
        brokers.failed(ONE, RequestKind::Members, now);
        assert!(brokers.paused(now)[0].contains("no such requests for 5 s"));
    }
}
