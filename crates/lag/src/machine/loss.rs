//! When retention deletes what is not read.

use std::time::Duration;

use super::{
    age::Clock,
    log::{Log, Millis},
    window::Rates,
};
use crate::sample::Retention;

/// What the time until records are lost follows from, on a partition that has lag.
#[derive(Debug)]
pub(super) struct Outlook<'a> {
    pub(super) clock: Clock,
    pub(super) log: &'a Log,
    pub(super) retention: Option<Retention>,
    /// As far as the group is known to have read: what is committed, and beyond it what are no records.
    pub(super) read: i64,
    /// Where the log began before the committed offset was asked for.
    pub(super) began: Option<i64>,
    pub(super) unread: Option<i64>,
    pub(super) lag: i64,
    /// The window is of this time and after it.
    pub(super) since: Millis,
    /// `None` while there is one sample only: then it is taken that nothing is read.
    pub(super) rates: Option<Rates>,
}

/// Of rates smaller than these nothing follows: they are within the errors of what they are made from.
const LEAST_AGEING: f64 = 0.01;
const LEAST_RATE: f64 = 1e-6;

impl Outlook<'_> {
    /// Seconds until a record is deleted that is not read; `None` where that never happens, or is not known.
    ///
    /// Kafka deletes whole segments, of which the newest record counts, and looks for them now and then only: records live longer than
    /// they must, so that this is the earliest time.
    pub(super) fn time_to_data_loss(&self) -> Option<f64> {
        // A start that was asked for later may have moved to what was committed in between.
        if self.began.is_some_and(|began| self.read < began) {
            return Some(0.0);
        }
        let times = [self.by_age(), self.by_size(), self.by_log_start()];
        times.into_iter().flatten().filter(|seconds| seconds.is_finite()).reduce(f64::min)
    }

    /// `retention.ms` goes by timestamps. The first unread record becomes older as slowly as the group falls behind.
    fn by_age(&self) -> Option<f64> {
        let limit = self.retention?.ms? as f64 / 1000.0;
        let left = (limit - self.clock.stamped_ago(self.log, self.unread?)?).max(0.0);
        self.after(left, self.ageing(), LEAST_AGEING)
    }

    /// How much older the first unread record becomes in a second. Where its age was not known at the begin of the window, it follows
    /// from how much of what comes is read.
    fn ageing(&self) -> f64 {
        let Some(rates) = self.rates else { return 1.0 };
        rates.ageing.unwrap_or_else(|| {
            if rates.consumed <= 0.0 { 1.0 } else { 1.0 - rates.consumed / rates.produced.max(LEAST_RATE) }
        })
    }

    /// `retention.bytes` goes by what comes after a record: Kafka deletes the oldest segment if all that comes after that is as large, so a
    /// record goes when that many bytes come after it, at the earliest, and one segment (`segment.bytes`) later at the latest. Which
    /// segment a record is in is not known: from there on each look of Kafka's may be the one that deletes it, however
    /// fast the group catches up.
    fn by_size(&self) -> Option<f64> {
        let limit = self.retention?.bytes? as f64;
        let unread = self.log.bytes_behind(self.unread?)?.bytes;
        if unread >= limit {
            return Some(0.0);
        }
        let read = self.rates?.consumed * unread / self.lag.max(1) as f64;
        self.after(limit - unread, self.log.sizes.per_second(self.since)? - read, LEAST_RATE)
    }

    /// However it is that the log's start moves, but where no size limits it, or sizes are known: there it moves by age or by size, which are
    /// known better, or because somebody deletes what was read, as Kafka Streams does of its repartition topics.
    fn by_log_start(&self) -> Option<f64> {
        let by_size = |bytes: Option<u64>| bytes.is_none() || self.log.bytes_behind(self.read).is_some();
        if self.retention.is_some_and(|retention| by_size(retention.bytes)) {
            return None;
        }
        let deleted = self.log.moves.per_second(self.clock.now)?;
        let left = self.read.saturating_sub(self.began?).max(0) as f64;
        let consumed = self.rates.map_or(0.0, |rates| rates.consumed);
        self.after(left, deleted - consumed, LEAST_RATE)
    }

    /// Whether so many seconds are within the horizon. Where all records are deleted soon, a group that has not committed for a while would
    /// always be in danger: half of the time that they live counts if that is less.
    pub(super) fn is_imminent(&self, seconds: f64, horizon: Duration) -> bool {
        let limits = self.retention.unwrap_or_default();
        let by_age = limits.ms.map(|ms| ms as f64 / 1000.0);
        let written = self.log.sizes.per_second(self.since).filter(|rate| *rate > LEAST_RATE);
        let by_size = limits.bytes.zip(written).map(|(bytes, rate)| bytes as f64 / rate);
        let lives = by_age.into_iter().chain(by_size).reduce(f64::min);
        seconds <= lives.map_or(f64::INFINITY, |lives| lives / 2.0).min(horizon.as_secs_f64())
    }

    fn after(&self, left: f64, per_second: f64, least: f64) -> Option<f64> {
        (per_second > least).then(|| left / per_second)
    }
}
