//! The bytes of a log after an offset, as far as samples of its size show. Its size is bounded.

use std::collections::VecDeque;

use super::log::{Millis, thin};

/// The number of samples kept: all of the newest, and older ones at growing distances.
const POINTS: usize = 16;

/// The samples of a log's size.
///
/// While the start of a log does not move, its growth is the data written. If its start has moved, the data written meanwhile is
/// assumed to consist of records of the mean size. A log that shrinks without a move of its start was compacted; earlier data is
/// then discarded.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    points: VecDeque<Point>,
    last: Option<Sampled>,
}

/// The total size written up to this end, since the first sample.
#[derive(Clone, Copy, Debug)]
struct Point {
    at: Millis,
    end: i64,
    written: f64,
}

/// The last sample.
#[derive(Clone, Copy, Debug)]
struct Sampled {
    at: Millis,
    start: i64,
    end: i64,
    bytes: f64,
}

/// A number of bytes, with a maximum error of `error`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Bytes {
    pub(super) bytes: f64,
    pub(super) error: f64,
}

impl Sampled {
    /// The mean size of a record.
    fn mean(&self) -> f64 {
        self.bytes / self.end.saturating_sub(self.start).max(1) as f64
    }
}

impl Sizes {
    /// Adds a sample of the log's size between these offsets.
    pub(super) fn sample(&mut self, at: Millis, start: i64, end: i64, bytes: u64) {
        let now = Sampled { at, start, end: end.max(start), bytes: bytes as f64 };
        let written = self.last.and_then(|last| match last {
            _ if now.end < last.end || now.start < last.start => None,
            _ if now.start > last.start => Some(now.end.saturating_sub(last.end) as f64 * now.mean()),
            _ if now.bytes >= last.bytes => Some(now.bytes - last.bytes),
            _ => None,
        });
        let Some((written, last)) = written.zip(self.points.back().copied()) else {
            self.points = VecDeque::from([Point { at, end: now.end, written: 0.0 }]);
            self.last = Some(now);
            return;
        };
        let standing = self.points.iter().rev().take(2).filter(|point| point.end == now.end).count();
        if standing == 2 {
            self.points.pop_back();
        }
        if self.points.len() >= POINTS {
            thin(&mut self.points);
        }
        self.points.push_back(Point { at, end: now.end, written: last.written + written });
        self.last = Some(now);
    }

    /// The bytes from this offset to the end, which may have moved since the last sample; `None` without a sample.
    pub(super) fn behind(&self, offset: i64, end: i64) -> Option<Bytes> {
        let (last, newest) = (self.last?, self.points.back()?);
        let unseen = end.max(last.end).saturating_sub(offset.max(last.end)).max(0) as f64 * last.mean();
        let seen = self.seen(offset, last, newest.written);
        // Data since the last sample may have any size; it is little, because sizes are read each round.
        Some(Bytes { bytes: seen.bytes + unseen, error: seen.error + unseen })
    }

    /// The bytes from this offset to the end of the last sample.
    fn seen(&self, offset: i64, last: Sampled, newest: f64) -> Bytes {
        if offset >= last.end {
            return Bytes::default();
        }
        if offset <= last.start {
            return Bytes { bytes: last.bytes, error: 0.0 };
        }
        let after = self.points.partition_point(|point| point.end <= offset);
        let until = self.points.get(after).map_or((last.end, newest), |point| (point.end, point.written));
        let from = match after.checked_sub(1).and_then(|index| self.points.get(index)) {
            Some(point) => (point.end, point.written),
            // It was in the log before the first sample, together with everything left from that time.
            None => (last.start, until.1 - (last.bytes - (newest - until.1)).max(0.0)),
        };
        // If the start of a log has passed a sample, the sample cannot count more than the log still has.
        let least = newest - last.bytes;
        let (from, until) = ((from.0.max(last.start), from.1.max(least)), (until.0, until.1.max(least)));
        let share =
            offset.saturating_sub(from.0).max(0) as f64 / until.0.saturating_sub(from.0).max(1) as f64;
        let written = from.1 + (until.1 - from.1) * share.min(1.0);
        let error = if share == 0.0 { 0.0 } else { (written - from.1).max(until.1 - written) };
        Bytes { bytes: (newest - written).max(0.0), error }
    }

    /// The bytes written per second since this time, or since the first sample after it; `None` if that is the last one.
    pub(super) fn per_second(&self, since: Millis) -> Option<f64> {
        let (last, newest) = (self.last?, self.points.back()?);
        let first = self.points.get(self.points.partition_point(|point| point.at < since))?;
        let seconds = last.at.saturating_sub(first.at) as f64 / 1000.0;
        (seconds > 0.0).then(|| (newest.written - first.written).max(0.0) / seconds)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(sizes: &Sizes, offset: i64) -> (f64, f64) {
        let end = sizes.last.unwrap().end;
        let found = sizes.behind(offset, end).unwrap();
        (found.bytes, found.error)
    }

    #[test]
    fn one_sample_says_the_mean() {
        let mut sizes = Sizes::default();
        assert_eq!(sizes.behind(0, 10), None);
        sizes.sample(0, 100, 200, 5000);
        assert_eq!(bytes(&sizes, 100), (5000.0, 0.0), "all of it");
        assert_eq!(bytes(&sizes, 20), (5000.0, 0.0), "what is gone is not counted");
        assert_eq!(bytes(&sizes, 200), (0.0, 0.0));
        assert_eq!(bytes(&sizes, 180), (1000.0, 4000.0), "each may be as large as all others");
        assert_eq!(sizes.per_second(0), None);
        let beyond = sizes.behind(190, 210).unwrap();
        assert_eq!((beyond.bytes, beyond.error), (1000.0, 5000.0), "500 of the sample, and 500 since");
    }

    #[test]
    fn observed_records_have_the_size_by_which_the_log_grew() {
        let mut sizes = Sizes::default();
        sizes.sample(0, 0, 1000, 1000);
        sizes.sample(10_000, 0, 1010, 11_000);
        sizes.sample(20_000, 0, 1010, 11_000);
        sizes.sample(30_000, 0, 1010, 11_000);
        sizes.sample(40_000, 0, 1020, 12_000);
        assert_eq!(sizes.points.len(), 4, "of a time without records, its begin and its end");
        assert_eq!(bytes(&sizes, 1010), (1000.0, 0.0));
        assert_eq!(bytes(&sizes, 1000), (11_000.0, 0.0));
        assert_eq!(bytes(&sizes, 1005), (6000.0, 5000.0));
        assert_eq!(bytes(&sizes, 500), (11_500.0, 500.0));
        assert_eq!(sizes.per_second(25_000), Some(100.0));
        assert_eq!(sizes.per_second(0), Some(275.0));
    }

    #[test]
    fn retention_takes_the_beginning_and_leaves_the_rest_as_large_as_it_was() {
        let mut sizes = Sizes::default();
        sizes.sample(0, 0, 100, 100_000);
        sizes.sample(10_000, 0, 200, 110_000);
        // Fifty of the large ones are deleted while ten of 100 bytes are appended; these are assumed to have the mean size.
        sizes.sample(20_000, 50, 210, 61_000);
        let (found, _) = bytes(&sizes, 200);
        assert!((found - 3812.5).abs() < 0.1, "{found}");
        // Everything from before the first sample is deleted, and more.
        sizes.sample(30_000, 150, 210, 6000);
        assert_eq!(bytes(&sizes, 0), (6000.0, 0.0));
        let (half, error) = bytes(&sizes, 180);
        assert!(half <= 6000.0 && (half + error) >= 3000.0, "{half} {error}");
    }

    #[test]
    fn a_log_that_shrinks_where_it_is_is_compacted_and_known_by_its_mean() {
        let mut sizes = Sizes::default();
        sizes.sample(0, 0, 100, 10_000);
        sizes.sample(10_000, 0, 200, 20_000);
        sizes.sample(20_000, 0, 200, 2000);
        assert_eq!(bytes(&sizes, 100), (1000.0, 1000.0));
    }

    proptest! {
        #[test]
        fn the_truth_is_within_the_error_while_nothing_is_deleted(
            rounds in proptest::collection::vec((0..20_usize, 1..5000_u64), 1..60),
            mut records in proptest::collection::vec(1..5000_u64, 1..50),
            share in 0.0..1.0_f64,
        ) {
            let mut sizes = Sizes::default();
            for (at, (many, size)) in (0..).zip(rounds) {
                sizes.sample(at * 1000, 0, records.len() as i64, records.iter().sum());
                records.extend((0..many).map(|nth| size + nth as u64 * 37 % 100));
                prop_assert!(sizes.points.len() <= POINTS);
            }
            sizes.sample(1_000_000, 0, records.len() as i64, records.iter().sum());
            let offset = (records.len() as f64 * share) as usize;
            let truth = records.iter().skip(offset).sum::<u64>() as f64;
            let (found, error) = bytes(&sizes, offset as i64);
            prop_assert!((found - truth).abs() <= error + 1e-6, "{found} ± {error}, and it is {truth}");
        }

        #[test]
        fn nothing_that_a_broker_says_is_more_than_the_log_or_breaks_it(
            samples in proptest::collection::vec((any::<i64>(), any::<i64>(), any::<u64>()), 1..40),
            offset in any::<i64>(), end in any::<i64>(),
        ) {
            let mut sizes = Sizes::default();
            for (at, (start, end, bytes)) in (0..).zip(samples) {
                sizes.sample(at, start, end, bytes);
            }
            let found = sizes.behind(offset, end).unwrap();
            prop_assert!(found.bytes >= 0.0 && found.bytes.is_finite() && found.error.is_finite());
            prop_assert!(sizes.per_second(0).is_none_or(|rate| rate >= 0.0 && rate.is_finite()));
        }
    }
}
