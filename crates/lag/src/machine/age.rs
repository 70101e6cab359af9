//! The age of a record: the time that it has been in its log.

use super::log::{Appended, Log, Millis};
use crate::sample::RecordTime;

/// The two clocks at the last sample.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    /// The monotonic clock, with which samples are compared.
    pub(super) now: Millis,
    /// The wall clock in milliseconds since 1970, with which the timestamps of records are compared.
    pub(super) wall_ms: i64,
}

/// The age of a record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Age {
    pub(super) seconds: f64,
    /// The maximum error; `None` if it is unknown.
    pub(super) error: Option<f64>,
}

/// The acceptable error of an age: this many seconds, or this share of it.
const GOOD_ENOUGH: (f64, f64) = (1.0, 0.05);

/// Where nothing but the timestamp says when a record arrived, it may be this far ahead of this machine's clock, in milliseconds.
const CLOCKS_DIFFER: f64 = 10_000.0;

impl Age {
    const NOTHING_UNREAD: Self = Self { seconds: 0.0, error: Some(0.0) };

    pub(super) fn is_good_enough(&self) -> bool {
        let (seconds, share) = GOOD_ENOUGH;
        self.error.is_some_and(|error| error <= seconds.max(share * self.seconds))
    }
}

impl Clock {
    /// How long the record at this offset has been in its log.
    ///
    /// The samples of the log's end show between which two of them it was appended. If its timestamp was read, that is more
    /// exact, but it is trusted only as far as it is consistent with the samples, because a producer may write records of last
    /// year.
    pub(super) fn age(self, log: &Log, offset: i64) -> Option<Age> {
        let appended = log.ends.appended(log.first_record(offset));
        match log.time_of(offset) {
            Some(RecordTime::NoRecord) => Some(Age::NOTHING_UNREAD),
            Some(RecordTime::At { timestamp, error_ms }) => {
                Some(self.by_timestamp(timestamp, error_ms, appended))
            }
            Some(RecordTime::Without) | None => self.by_samples(appended?),
        }
    }

    fn by_samples(self, appended: Appended) -> Option<Age> {
        let (after, guess) = (appended.after? as f64, appended.guess?);
        let error = (guess - after).max(appended.before as f64 - guess);
        Some(self.since(guess, Some(error)))
    }

    fn by_timestamp(self, timestamp: i64, error_ms: u64, appended: Option<Appended>) -> Age {
        let made = self.now.saturating_sub(self.wall_ms.saturating_sub(timestamp)) as f64;
        let error = error_ms as f64;
        let Some(Appended { after, before, .. }) = appended else {
            // No sample has included it yet.
            return self.since(made, Some(error));
        };
        let (after, before) = (after.map(|after| after as f64), before as f64);
        let within = made.min(before).max(after.unwrap_or(f64::NEG_INFINITY));
        // Clocks differ a little; a timestamp further off is not the time of its arrival.
        let off = (made - within).abs();
        let error = match after {
            _ if off <= 1000.0 => Some(error + off),
            Some(after) => Some(before - after),
            None if off <= CLOCKS_DIFFER => Some(error + off),
            None => None,
        };
        self.since(within, error)
    }

    fn since(self, moment: f64, error: Option<f64>) -> Age {
        let seconds = ((self.now as f64 - moment) / 1000.0).max(0.0);
        Age { seconds, error: error.map(|error| (error / 1000.0).max(0.0)) }
    }

    /// The time since the record's timestamp, in seconds, which determines `retention.ms`; if the timestamp is unknown, its age.
    pub(super) fn stamped_ago(self, log: &Log, offset: i64) -> Option<f64> {
        match log.time_of(offset) {
            Some(RecordTime::At { timestamp, .. }) => {
                Some((self.wall_ms.saturating_sub(timestamp) as f64 / 1000.0).max(0.0))
            }
            _ => self.age(log, offset).map(|age| age.seconds),
        }
    }
}
