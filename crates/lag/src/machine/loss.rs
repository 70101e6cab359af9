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

/// Of what is smaller than these nothing follows: it is within the errors of what it is made from. The first is how much older the first unread
/// record becomes in a second.
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

    /// `retention.ms` goes by timestamps. A record is lost that is deleted before the group comes to it: the first one of which that is true is looked
    /// for, among those that are unread and those that come. What is unread need not have come evenly: a group that catches up may have more
    /// before it than it reads in time, and one that stands in a burst of records may be through before the first of them is deleted.
    ///
    /// A record that is older than it may be is deleted when Kafka looks the next time, however fast the group reads.
    fn by_age(&self) -> Option<f64> {
        let unread = self.unread?;
        let stamped_ago = self.clock.stamped_ago(self.log, unread)?;
        // Where timestamps are not when records come, it is taken that they are off by as much for all.
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
        // What comes from now on is deleted so much later than what is there, and read later by what is read of it in a second.
        let ageing = 1.0 - rates.consumed / rates.produced.max(LEAST_RATE);
        let grows = rates.produced / rates.consumed - 1.0;
        (ageing > LEAST_AGEING).then(|| here.deleted + here.spare() / grows)
    }

    /// How old the records after an unread one are, up to the end: offsets and seconds, as far as the samples of the log tell, evenly in between.
    /// Of what was there before the first sample it is known how fast ages have changed that the group has read: so they go on.
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
        self.after(limit - unread, self.log.sizes.per_second(self.since)? - read)
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
        self.after(left, deleted - consumed)
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

    /// When so much is used up, unless the group has read all that there is before.
    fn after(&self, left: f64, per_second: f64) -> Option<f64> {
        let catches_up = self.rates.filter(|rates| rates.consumed > rates.produced);
        let read = catches_up.map(|rates| self.lag as f64 / (rates.consumed - rates.produced));
        let gone = (per_second > LEAST_RATE).then(|| left / per_second)?;
        read.is_none_or(|read| gone < read).then_some(gone)
    }
}

/// Seconds until the record at a place is deleted, and until it is read.
#[derive(Clone, Copy, Debug)]
struct Place {
    deleted: f64,
    read: f64,
}

impl Place {
    /// How much sooner it is read.
    fn spare(self) -> f64 {
        self.deleted - self.read
    }

    /// When the first record between this place, which is read in time, and one that is not, is deleted.
    fn lost_before(self, next: Self) -> f64 {
        let share = self.spare() / (self.spare() - next.spare()).max(f64::MIN_POSITIVE);
        self.deleted + (next.deleted - self.deleted) * share.min(1.0)
    }
}
