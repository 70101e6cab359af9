//! [`Metrics`]: the metrics of a worker.

use std::{collections::BTreeMap, time::Duration};

use offtake::TopicPartition;

use crate::BreakerState;

/// The metrics of a worker at one moment. Counters start with the worker.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Metrics {
    /// Records that were read.
    pub received: u64,
    /// Records whose handler succeeded.
    pub handled: u64,
    /// Attempts that failed, for whatever reason.
    pub failed: u64,
    /// Failed attempts that panicked.
    pub panicked: u64,
    /// Failed attempts that took longer than [`Worker::timeout`](crate::Worker::timeout).
    pub timed_out: u64,
    /// Attempts that failed and were followed by another.
    pub retried: u64,
    /// Records that were written to the dead letters.
    pub dead_lettered: u64,
    /// Records that were written to a retry topic.
    pub postponed: u64,
    /// Records that were not handled here, because the metadata of a commit marked them as finished.
    pub skipped: u64,
    /// Attempts that were cancelled.
    pub cancelled: u64,
    /// Commits that were confirmed.
    pub commits: u64,
    /// Commits that failed.
    pub failed_commits: u64,
    /// How often the breaker opened.
    pub breaker_opened: u64,
    /// Records at a handler.
    pub running: usize,
    /// Records that wait to be handled, including those that wait for another attempt. In a
    /// [transactional](crate::Worker::transactional) worker also the records whose results or letters wait for their transaction.
    pub queued: usize,
    /// The bytes of their keys, values and headers.
    pub queued_bytes: usize,
    /// Records that wait for another attempt.
    pub waiting_for_retry: usize,
    /// Dead letters that are being written.
    pub writing_dead_letters: usize,
    /// The state of the breaker.
    pub breaker: BreakerState,
    /// How long records waited between their arrival and their first attempt.
    pub queue_time: Histogram,
    /// How long attempts took.
    pub handler_time: Histogram,
    /// The metrics of the assigned partitions.
    pub partitions: BTreeMap<TopicPartition, PartitionMetrics>,
}

impl Metrics {
    /// Nothing waits in a worker that has ended: what it has not finished comes again, to the next owner of its partition.
    pub(crate) fn at_the_end(self) -> Self {
        let ended = |of| PartitionMetrics { running: 0, queued: 0, ..of };
        Self {
            running: 0,
            queued: 0,
            queued_bytes: 0,
            waiting_for_retry: 0,
            writing_dead_letters: 0,
            partitions: self.partitions.into_iter().map(|(partition, of)| (partition, ended(of))).collect(),
            ..self
        }
    }
}

/// The metrics of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionMetrics {
    /// Records at a handler.
    pub running: usize,
    /// Records that wait to be handled.
    pub queued: usize,
    /// All records before this offset are finished.
    pub finished_to: Option<i64>,
    /// The number of records that are finished beyond it.
    pub finished_beyond: u64,
    /// The last committed offset.
    pub committed: Option<i64>,
    /// Whether nothing more of it is read for now, because the queue is full or the breaker is open.
    pub is_paused: bool,
    /// Whether the partition has stopped.
    pub is_stopped: bool,
}

/// A histogram of durations, with buckets whose bounds double from 64 µs to 18 min.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BUCKETS],
    sum: Duration,
}

/// The number of buckets. The last one has no bound.
const BUCKETS: usize = 26;
/// The bound of the first bucket, in microseconds.
const FIRST_BOUND: u64 = 64;

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], sum: Duration::ZERO }
    }
}

impl Histogram {
    /// Adds a duration.
    pub(crate) fn record(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = micros
            .div_ceil(FIRST_BOUND)
            .max(1)
            .checked_next_power_of_two()
            .map_or(BUCKETS, |power| power.ilog2() as usize);
        if let Some(count) = self.counts.get_mut(bucket.min(BUCKETS - 1)) {
            *count += 1;
        }
        self.sum = self.sum.saturating_add(duration);
    }

    /// The number of durations.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of the durations.
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// The buckets: the inclusive upper bound of each (the last one has none), and the number of durations in this bucket alone.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        self.counts.iter().enumerate().map(|(nth, count)| (Self::bound(nth), *count))
    }

    /// An upper bound for the given quantile, from 0 to 1: the bound of its bucket. `None` if there are no durations, or if the
    /// quantile is beyond the last bound.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        let wanted = ((count as f64) * share.clamp(0.0, 1.0)).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bound, in_bucket) in self.buckets() {
            seen += in_bucket;
            if seen >= wanted {
                return bound;
            }
        }
        None
    }

    fn bound(bucket: usize) -> Option<Duration> {
        (bucket + 1 < BUCKETS).then(|| Duration::from_micros(FIRST_BOUND << bucket))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_buckets_whose_bounds_double() {
        let mut histogram = Histogram::default();
        for micros in [0, 64, 65, 128, 129, u64::MAX] {
            histogram.record(Duration::from_micros(micros));
        }
        let filled: Vec<_> = histogram.buckets().filter(|(_, count)| *count > 0).collect();
        let micros = |n| Some(Duration::from_micros(n));
        assert_eq!(filled, [(micros(64), 2), (micros(128), 2), (micros(256), 1), (None, 1)]);
        assert_eq!(histogram.count(), 6);
    }

    #[test]
    fn a_quantile_is_the_bound_of_its_bucket() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        for _ in 0..99 {
            histogram.record(Duration::from_micros(100));
        }
        histogram.record(Duration::from_secs(1));
        assert_eq!(histogram.quantile(0.5), Some(Duration::from_micros(128)));
        assert_eq!(histogram.quantile(0.99), Some(Duration::from_micros(128)));
        assert_eq!(histogram.quantile(1.0), Some(Duration::from_micros(1 << 20)));
        assert_eq!(histogram.quantile(f64::NAN), Some(Duration::from_micros(128)));
    }
}
