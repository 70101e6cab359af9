//! The forecast when retention deletes unread records.

use std::time::Duration;

use super::{
    age::Clock,
    log::{Log, Millis},
    window::Rates,
};
use crate::sample::Retention;

/// The data for the time until records are lost, for a partition with lag.
#[derive(Debug)]
pub(super) struct Outlook<'a> {
    pub(super) clock: Clock,
    pub(super) log: &'a Log,
    pub(super) retention: Option<Retention>,
    /// The offset up to which the group has read, as far as known: the committed offset, or beyond it the end of the offsets
    /// without records.
    pub(super) read: i64,
    /// The log start before the committed offset was requested.
    pub(super) began: Option<i64>,
    pub(super) unread: Option<i64>,
    pub(super) lag: i64,
    /// The beginning of the window.
    pub(super) since: Millis,
    /// `None` after a single sample; the forecast then assumes that nothing is read.
    pub(super) rates: Option<Rates>,
}

/// Smaller rates than these are ignored, because they are within the errors of their sources. The first one is the ageing of the
/// first unread record per second.
const LEAST_AGEING: f64 = 0.01;
const LEAST_RATE: f64 = 1e-6;

impl Outlook<'_> {
    /// The seconds until an unread record is deleted; `None` if that never happens, or is unknown.
    ///
    /// Kafka deletes whole segments, depending on the newest record in each, and only from time to time. Records therefore live
    /// longer than required, so that this is the earliest time.
    pub(super) fn time_to_data_loss(&self) -> Option<f64> {
        // A start requested later may have moved to an offset that was committed in between.
        if self.began.is_some_and(|began| self.read < began) {
            return Some(0.0);
        }
        let times = [self.by_age(), self.by_size(), self.by_log_start()];
        times.into_iter().flatten().filter(|seconds| seconds.is_finite()).reduce(f64::min)
    }

    /// `retention.ms` depends on timestamps. A record is lost if it is deleted before the group reads it. This looks for the
    /// first such record, among the unread ones and the future ones. Unread records need not have been appended evenly: a group
    /// that catches up may have more to read than it can in time, and a group in a burst of records may finish before the first
    /// of them is deleted.
    ///
    /// A record older than its retention is deleted at Kafka's next check, however fast the group reads.
    fn by_age(&self) -> Option<f64> {
        let unread = self.unread?;
        let stamped_ago = self.clock.stamped_ago(self.log, unread)?;
        // If timestamps differ from the times of arrival, the same difference is assumed for all records.
        let age = self.clock.age(self.log, unread)?.seconds;
        let limit = self.retention?.ms? as f64 / 1000.0 - (stamped_ago - age);
        if limit <= age {
            return Some(0.0);
        }
        let Some(rates) = self.rates.filter(|rates| rates.consumed > LEAST_RATE) else {
            return Some(limit - age);
        };
        let place = |(offset, age): (f64, f64)| Place {
            deleted: limit - age,
            read: (offset - unread as f64) / rates.consumed,
        };
        let mut here = place((unread as f64, age));
        for next in self.ages_after(unread, age, rates).into_iter().map(place) {
            if next.spare() <= 0.0 {
                return Some(here.lost_before(next));
            }
            here = next;
        }
        // A future record is deleted later by the time of its arrival, and read later by what has to be read before it.
        let ageing = 1.0 - rates.consumed / rates.produced.max(LEAST_RATE);
        let grows = rates.produced / rates.consumed - 1.0;
        (ageing > LEAST_AGEING).then(|| here.deleted + here.spare() / grows)
    }

    /// The ages of the records after an unread one, up to the end, as offsets and seconds: from the samples of the log,
    /// interpolated between them. For records before the first sample, the ages are extrapolated from those that the group has
    /// read.
    fn ages_after(&self, unread: i64, age: f64, rates: Rates) -> Vec<(f64, f64)> {
        let ago = |at: Millis| self.clock.now.saturating_sub(at).max(0) as f64 / 1000.0;
        let mut ages = Vec::new();
        if let Some((first, end)) = self.log.ends.first().filter(|(_, end)| *end > unread)
            && let Some(ageing) = rates.ageing
        {
            let (first, end) = (ago(first).min(age), end as f64);
            let seconds_a_record = ((1.0 - ageing) / rates.consumed).max(0.0);
            let records = ((age - first) / seconds_a_record.max(f64::MIN_POSITIVE)).min(end - unread as f64);
            ages.push((unread as f64 + records, (age - records * seconds_a_record).max(first)));
        }
        let samples = self.log.ends.after(unread).filter(|(at, _)| *at <= self.clock.now);
        ages.extend(samples.map(|(at, end)| (end as f64, ago(at).min(age))));
        ages
    }

    /// `retention.bytes` depends on the bytes after a record: Kafka deletes the oldest segment if all later data is at least that
    /// large. A record is therefore deleted at the earliest when that many bytes come after it, and at the latest one segment
    /// (`segment.bytes`) later. The segment of a record is unknown: from the earliest time on, each of Kafka's checks may delete
    /// it, however fast the group catches up.
    fn by_size(&self) -> Option<f64> {
        let limit = self.retention?.bytes? as f64;
        let unread = self.log.bytes_behind(self.unread?)?.bytes;
        if unread >= limit {
            return Some(0.0);
        }
        let read = self.rates?.consumed * unread / self.lag.max(1) as f64;
        self.after(limit - unread, self.log.sizes.per_second(self.since)? - read)
    }

    /// The forecast from the movement of the log start. It is used only if the log is limited by size and sizes are unknown. Otherwise the start
    /// moves by age or by size, which are known better, or because an application deletes consumed records, as Kafka Streams does in its
    /// repartition topics.
    fn by_log_start(&self) -> Option<f64> {
        let by_size = |bytes: Option<u64>| bytes.is_none() || self.log.bytes_behind(self.read).is_some();
        if self.retention.is_some_and(|retention| by_size(retention.bytes)) {
            return None;
        }
        let deleted = self.log.moves.per_second(self.clock.now)?;
        let left = self.read.saturating_sub(self.began?).max(0) as f64;
        let consumed = self.rates.map_or(0.0, |rates| rates.consumed);
        self.after(left, deleted - consumed)
    }

    /// Whether this time is within the horizon. If all records are deleted soon, a group that has not committed for a while would
    /// always be in danger; therefore half of their lifetime applies if that is less.
    pub(super) fn is_imminent(&self, seconds: f64, horizon: Duration) -> bool {
        let limits = self.retention.unwrap_or_default();
        let by_age = limits.ms.map(|ms| ms as f64 / 1000.0);
        let written = self.log.sizes.per_second(self.since).filter(|rate| *rate > LEAST_RATE);
        let by_size = limits.bytes.zip(written).map(|(bytes, rate)| bytes as f64 / rate);
        let lives = by_age.into_iter().chain(by_size).reduce(f64::min);
        seconds <= lives.map_or(f64::INFINITY, |lives| lives / 2.0).min(horizon.as_secs_f64())
    }

    /// When this amount is used up, unless the group has caught up before.
    fn after(&self, left: f64, per_second: f64) -> Option<f64> {
        let catches_up = self.rates.filter(|rates| rates.consumed > rates.produced);
        let read = catches_up.map(|rates| self.lag as f64 / (rates.consumed - rates.produced));
        let gone = (per_second > LEAST_RATE).then(|| left / per_second)?;
        read.is_none_or(|read| gone < read).then_some(gone)
    }
}

/// The seconds until the record at some place is deleted, and until it is read.
#[derive(Clone, Copy, Debug)]
struct Place {
    deleted: f64,
    read: f64,
}

impl Place {
    /// The time between reading and deletion.
    fn spare(self) -> f64 {
        self.deleted - self.read
    }

    /// When the first record is deleted that lies between this place, which is read in time, and one that is not.
    fn lost_before(self, next: Self) -> f64 {
        let share = self.spare() / (self.spare() - next.spare()).max(f64::MIN_POSITIVE);
        self.deleted + (next.deleted - self.deleted) * share.min(1.0)
    }
}
