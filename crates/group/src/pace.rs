//! [`Pace`]: when the next heartbeat is due. Usually an interval after the last; sooner for a bounded while in which the
//! coordinator probably has news for us that it can only tell when asked.
//!
//! The coordinator cannot speak first. A partition that moves is let go by one member and then taken by another, who
//! hears of it with its next heartbeat: whole intervals in which nobody reads it. So whoever may be about to get
//! something asks more often, at growing steps, until the while is over. What that costs the coordinator is bounded, per
//! member and rebalance, and named where a [`Haste`] is.

use std::time::{Duration, Instant};

/// How much faster, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Haste {
    /// From the news that began it to the first heartbeat.
    pub(crate) first: Duration,
    /// Steps grow by half, up to this.
    pub(crate) longest: Duration,
    /// How long in all.
    pub(crate) lasts: Duration,
}

/// Whether heartbeats are quick now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pace(Option<Quick>);

#[derive(Clone, Copy, Debug)]
struct Quick {
    until: Instant,
    step: Duration,
    longest: Duration,
}

impl Pace {
    /// There may be news soon. What is under way already is not cut short.
    pub(crate) fn hurry(&mut self, now: Instant, haste: Haste) {
        let until = now.checked_add(haste.lasts).unwrap_or(now);
        let until = self.0.map_or(until, |quick| quick.until.max(until));
        self.0 = Some(Quick { until, step: haste.first, longest: haste.longest });
    }

    pub(crate) fn calm(&mut self) {
        self.0 = None;
    }

    /// When the heartbeat after one that was answered now is due, if one was due `regular`ly then.
    pub(crate) fn next(&mut self, now: Instant, regular: Instant) -> Instant {
        let regular = regular.max(now);
        let Some(quick) = self.0.as_mut().filter(|quick| quick.until > now) else {
            self.0 = None;
            return regular;
        };
        let step = quick.step;
        quick.step = step.saturating_mul(3).checked_div(2).unwrap_or(step).min(quick.longest).max(step);
        now.checked_add(step).map_or(regular, |at| at.min(regular))
    }

    /// For a fingerprint: until when, and how long the next step is.
    pub(crate) fn contents(&self) -> Option<(Instant, Duration)> {
        self.0.map(|quick| (quick.until, quick.step))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASTE: Haste = Haste {
        first: Duration::from_millis(100),
        longest: Duration::from_millis(300),
        lasts: Duration::from_millis(1_000),
    };

    #[test]
    fn l3_quick_heartbeats_grow_apart_and_end() {
        #[expect(clippy::disallowed_methods, reason = "an origin for virtual time; only differences count")]
        let base = Instant::now();
        let at = |millis: u64| base + Duration::from_millis(millis);
        let mut pace = Pace::default();
        assert_eq!(pace.next(at(0), at(3_000)), at(3_000), "at peace");
        pace.hurry(at(0), HASTE);
        let mut beats = Vec::new();
        let mut now = 0;
        while now < 3_000 {
            let next = pace.next(at(now), at(now + 3_000));
            now = u64::try_from((next - base).as_millis()).unwrap_or(u64::MAX);
            beats.push(now);
        }
        assert_eq!(beats, [100, 250, 475, 775, 1_075, 4_075]);
    }

    #[test]
    fn l3_haste_never_makes_a_heartbeat_late() {
        #[expect(clippy::disallowed_methods, reason = "an origin for virtual time; only differences count")]
        let base = Instant::now();
        let mut pace = Pace::default();
        pace.hurry(base, HASTE);
        assert_eq!(
            pace.next(base, base + Duration::from_millis(20)),
            base + Duration::from_millis(20),
            "a broker may want them quicker still"
        );
    }
}
