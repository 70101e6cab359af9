//! Lag in bytes, and retention by size as in Kafka: whole segments, as long as the rest is no less than `retention.bytes`.

use super::*;
use crate::severity::Severity;

const SEGMENT: u64 = 10_000;

/// A log of segments, each with its first offset and its size; the group reads at a given rate.
struct Play {
    world: World,
    limit: u64,
    segments: Vec<(i64, u64)>,
    /// The sizes of all records ever written.
    records: Vec<u64>,
    /// Whether an unread record was deleted.
    is_lost: bool,
}

impl Play {
    fn new(limit: u64, ms: Option<u64>) -> Self {
        let mut world = World::with_window(60);
        world.retention = Some(Retention { ms, bytes: Some(limit) });
        Self { world, limit, segments: vec![(0, 0)], records: Vec::new(), is_lost: false }
    }

    fn write(&mut self, many: i64, size: u64) {
        for _ in 0..many {
            if self.segments.last().unwrap().1 + size > SEGMENT {
                self.segments.push((self.world.end, 0));
            }
            self.segments.last_mut().unwrap().1 += size;
            self.records.push(size);
            self.world.end += 1;
        }
    }

    fn size(&self) -> u64 {
        self.segments.iter().map(|(_, size)| size).sum()
    }

    /// Deletes segments as Kafka does.
    fn retain(&mut self) {
        while self.segments.len() > 1 && self.size() - self.segments[0].1 >= self.limit {
            self.segments.remove(0);
        }
        self.world.start = self.segments[0].0;
    }

    /// Plays ten seconds: this many records of this size are appended, and this many are read.
    fn step(&mut self, (comes, size): (i64, u64), reads: i64) -> PartitionReport {
        self.world.pass(10);
        self.write(comes, size);
        self.retain();
        let committed = self.world.committed.unwrap();
        self.is_lost |= self.world.start > committed;
        self.world.committed = Some((committed + reads).clamp(self.world.start, self.world.end));
        let mut sample = self.world.sample();
        let offsets = LogSample::Offsets {
            start: Some(self.world.start),
            high_watermark: Some(self.world.end),
            last_stable: None,
            bytes: Some(self.size()),
        };
        sample.logs.insert(orders(), offsets);
        self.world.give(sample)
    }

    /// The bytes of the unread records in the log.
    fn unread(&self) -> u64 {
        let from = self.world.committed.unwrap().max(self.world.start);
        self.records[usize::try_from(from).unwrap()..].iter().sum()
    }
}

/// Whatever the records' sizes, the forecast is not later than the deletion of the first unread one, and not earlier than that by
/// much more than a segment.
#[test]
fn a_consumer_that_is_slower_than_what_comes_is_told_before_the_size_eats_what_it_has_not_read() {
    for (size, reads) in [(100, 5), (37, 0), (900, 7), (2000, 2)] {
        let mut play = Play::new(20 * SEGMENT, None);
        for _ in 0..60 {
            let told = play.step((10, size), 10);
            assert_eq!((told.time_to_data_loss_seconds, told.lag_bytes), (None, Some(0)), "{size}");
        }
        let (mut foretold, mut imminent) = (Vec::new(), None);
        for _ in 0..20_000 {
            let told = play.step((10, size), reads);
            if play.is_lost {
                break;
            }
            let bytes = told.lag_bytes.unwrap();
            assert!(bytes.abs_diff(play.unread()) <= 2, "{size}: {bytes} and not {}", play.unread());
            let now = play.world.now;
            foretold.extend(told.time_to_data_loss_seconds.map(|seconds| (now, seconds)));
            if told.severity == Severity::DataLoss {
                imminent.get_or_insert(now);
            }
        }
        assert!(play.is_lost, "{size}: it comes to an end");
        let gone = play.world.now;
        let falls_behind = (10.0 - reads as f64) * size as f64 / 10.0;
        let segment = SEGMENT as f64 / falls_behind;
        // When it has just become slow, the window still contains the time before.
        for (at, seconds) in foretold.iter().filter(|(at, _)| gone - at < (gone - 600_000) / 2) {
            let truth = (gone - at) as f64 / 1000.0;
            assert!(*seconds <= truth + 10.0, "{size}: too late by {}", seconds - truth);
            assert!(*seconds >= truth - 2.0 * segment - 20.0, "{size}: {seconds} and not {truth}");
        }
        assert!(imminent.is_some_and(|at| at < gone), "{size}: {imminent:?}, {gone}");
    }
}

#[test]
fn the_sooner_of_two_limits_counts() {
    let mut both = Play::new(20 * SEGMENT, Some(100_000));
    let mut size = Play::new(20 * SEGMENT, Some(1_000_000_000));
    for _ in 0..30 {
        both.step((10, 100), 5);
        size.step((10, 100), 5);
    }
    let (both, size) = (both.step((10, 100), 5), size.step((10, 100), 5));
    let of = |told: &PartitionReport| told.time_to_data_loss_seconds.unwrap();
    assert!(of(&both) < 200.0, "by age: {}", of(&both));
    assert!(of(&size) > 1000.0, "by size: {}", of(&size));
}

/// The record may be in the next segment that is deleted, however fast the group catches up; with less unread data, all is well.
#[test]
fn records_with_more_bytes_behind_them_than_retained_may_go_at_any_time() {
    let mut play = Play::new(45_000, None);
    play.write(600, 100); // 60,000 bytes, of which 50,000 are kept
    play.world.committed = Some(100);
    assert_eq!(play.step((0, 0), 0).time_to_data_loss_seconds, Some(0.0), "the first sample says so");
    for _ in 0..2 {
        let told = play.step((1, 100), 20);
        assert_eq!((told.time_to_data_loss_seconds, told.severity), (Some(0.0), Severity::DataLoss));
    }
    let told = play.step((1, 100), 20);
    assert_eq!((told.time_to_data_loss_seconds, play.is_lost), (None, false));
}

#[test]
fn a_lag_of_what_was_there_before_is_known_by_the_mean_and_its_error_said() {
    let mut play = Play::new(u64::MAX, None);
    play.write(50, 10);
    play.write(50, 190);
    play.world.committed = Some(50);
    let told = play.step((0, 0), 0);
    assert_eq!((told.lag_bytes, told.lag_bytes_error), (Some(5000), Some(5000)));
    assert_eq!(play.unread(), 9500);
    // The size of appended data is known.
    let told = play.step((10, 500), 50);
    assert_eq!((told.lag_bytes, told.lag_bytes_error), (Some(5000), Some(0)));
    let told = play.step((0, 0), 5);
    assert_eq!((told.lag_bytes, told.lag_bytes_error), (Some(2500), Some(2500)));
}

/// Without sizes, everything else stays the same.
#[test]
fn without_sizes_there_is_no_lag_in_bytes() {
    let mut world = World::with_window(60);
    world.retention = Some(Retention { ms: None, bytes: Some(10) });
    world.end = 100;
    let told = world.look();
    assert_eq!((told.lag_bytes, told.lag_bytes_error, told.time_to_data_loss_seconds), (None, None, None));
}
