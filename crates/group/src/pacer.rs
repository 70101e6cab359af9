//! [`HeartbeatPacer`]: when the next heartbeat is due. Usually that is an interval after the last one. It is
//! sooner during a bounded burst, while the coordinator's responses probably have news for the member.
//!
//! The coordinator can notify a member only in the response to a heartbeat. A partition that moves is revoked
//! by one member and then assigned to another, which learns of it with its next heartbeat: the partition is
//! not read for whole intervals. So a member that may get partitions soon sends heartbeats more often, at
//! growing steps, until the burst is over. At each definition of a [`HeartbeatBurst`], a comment gives the
//! number of heartbeats that it adds per member and rebalance.

use std::time::{Duration, Instant};

/// How much faster heartbeats are sent, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeartbeatBurst {
    /// From its start to the first heartbeat.
    pub(crate) first: Duration,
    /// Steps grow by half, up to this.
    pub(crate) longest: Duration,
    /// How long the burst lasts.
    pub(crate) lasts: Duration,
}

/// The pace of heartbeats: with a burst, or without.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeartbeatPacer(Option<Burst>);

#[derive(Clone, Copy, Debug)]
struct Burst {
    until: Instant,
    step: Duration,
    longest: Duration,
}

impl HeartbeatPacer {
    /// Starts a burst. One that is running is not cut short.
    pub(crate) fn start_burst(&mut self, now: Instant, burst: HeartbeatBurst) {
        let until = now.checked_add(burst.lasts).unwrap_or(now);
        let until = self.0.map_or(until, |burst| burst.until.max(until));
        self.0 = Some(Burst { until, step: burst.first, longest: burst.longest });
    }

    pub(crate) fn stop_burst(&mut self) {
        self.0 = None;
    }

    /// A heartbeat was answered. Returns when the next one is due: without a burst, at `regular`.
    pub(crate) fn next(&mut self, now: Instant, regular: Instant) -> Instant {
        let regular = regular.max(now);
        let Some(burst) = self.0.as_mut().filter(|burst| burst.until > now) else {
            self.0 = None;
            return regular;
        };
        let step = burst.step;
        burst.step = step.saturating_mul(3).checked_div(2).unwrap_or(step).min(burst.longest).max(step);
        now.checked_add(step).map_or(regular, |at| at.min(regular))
    }

    /// For a fingerprint: the end of the burst, and the length of the next step.
    #[cfg(feature = "_model")]
    pub(crate) fn contents(&self) -> Option<(Instant, Duration)> {
        self.0.map(|burst| (burst.until, burst.step))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BURST: HeartbeatBurst = HeartbeatBurst {
        first: Duration::from_millis(100),
        longest: Duration::from_millis(300),
        lasts: Duration::from_millis(1_000),
    };

    #[test]
    fn live3_quick_heartbeats_grow_apart_and_end() {
        #[expect(clippy::disallowed_methods, reason = "an origin for virtual time; only differences count")]
        let base = Instant::now();
        let at = |millis: u64| base + Duration::from_millis(millis);
        let mut pacer = HeartbeatPacer::default();
        assert_eq!(pacer.next(at(0), at(3_000)), at(3_000), "no burst");
        pacer.start_burst(at(0), BURST);
        let mut heartbeats = Vec::new();
        let mut now = 0;
        while now < 3_000 {
            let next = pacer.next(at(now), at(now + 3_000));
            now = u64::try_from((next - base).as_millis()).unwrap_or(u64::MAX);
            heartbeats.push(now);
        }
        assert_eq!(heartbeats, [100, 250, 475, 775, 1_075, 4_075]);
    }

    #[test]
    fn live3_a_burst_never_makes_a_heartbeat_late() {
        #[expect(clippy::disallowed_methods, reason = "an origin for virtual time; only differences count")]
        let base = Instant::now();
        let mut pacer = HeartbeatPacer::default();
        pacer.start_burst(base, BURST);
        assert_eq!(
            pacer.next(base, base + Duration::from_millis(20)),
            base + Duration::from_millis(20),
            "a broker may want them quicker still"
        );
    }
}
