//! The time until retention deletes unread records.

use super::*;
use crate::severity::Severity;

fn by_age(seconds: u64) -> Option<Retention> {
    Some(Retention { ms: Some(seconds * 1000), bytes: None })
}

/// Plays steps of ten seconds: the log grows by `comes` records a second and starts where `retention.ms` lets it; the group reads
/// `reads` records a second.
struct Play {
    world: World,
    retention: i64,
    comes: i64,
    lost: i64,
}

impl Play {
    fn new(retention: i64) -> Self {
        let mut world = World::with_window(60);
        world.retention = by_age(retention.unsigned_abs());
        Self { world, retention, comes: 100, lost: 0 }
    }

    fn step(&mut self, reads: i64) -> PartitionReport {
        self.world.pass(10);
        self.world.end += self.comes * 10;
        let oldest = (self.world.now / 1000 - self.retention) * self.comes;
        self.world.start = self.world.start.max(oldest).max(0);
        let committed = self.world.committed.unwrap();
        self.lost = self.world.start - committed;
        self.world.committed = Some((committed + reads * 10).clamp(self.world.start, self.world.end));
        let stamp = self.comes;
        self.world.look_and_read(move |offset| RecordTime::At {
            timestamp: EPOCH + offset * 1000 / stamp,
            error_ms: 0,
        })
    }
}

/// A consumer slows down while records live for half an hour: that is reported in time, and also that it has caught up.
#[test]
fn the_story_of_a_slow_consumer_is_told_before_the_first_record_is_gone() {
    let mut play = Play::new(1800);
    for _ in 0..30 {
        let told = play.step(100);
        assert_eq!((told.severity, told.time_to_data_loss_seconds), (Severity::Healthy, None));
    }
    assert_eq!(play.world.partition().status, Some(Status::Ok));
    let mut seen = Vec::new();
    let mut warned = None;
    while play.lost <= 0 {
        let told = play.step(40);
        if seen.last() != Some(&(told.status, told.severity)) {
            seen.push((told.status, told.severity));
        }
        if told.status == Some(Status::DataLossImminent) {
            warned.get_or_insert((play.world.now, told.time_to_data_loss_seconds.unwrap()));
        }
        assert!(play.world.now < 20_000_000, "it comes to an end");
    }
    use Status::{DataLossImminent, Ok, Warn};
    // While it has just fallen behind, the window of 60 s contains moments without lag.
    let expected = [
        (Some(Ok), Severity::Healthy),
        (Some(Ok), Severity::Warning),
        (Some(Warn), Severity::Warning),
        (Some(Warn), Severity::High),
        (Some(Warn), Severity::Critical),
        (Some(DataLossImminent), Severity::DataLoss),
    ];
    assert_eq!(seen, expected);
    let (at, foretold) = warned.unwrap();
    let (early, truth) = (1800.0 / 2.0, (play.world.now - at) as f64 / 1000.0);
    assert!((truth - early).abs() < 60.0, "half of the retention before it, not {truth} s");
    assert!((foretold - truth).abs() < 60.0, "foretold {foretold} s, and it was {truth} s");
    // The consumer recovers: nothing is about to be lost any more, and when it has caught up it is healthy.
    let mut last = play.step(300);
    for _ in 0..200 {
        last = play.step(300);
    }
    assert_eq!((last.status, last.severity), (Some(Status::Ok), Severity::Healthy));
    assert_eq!((last.time_to_data_loss_seconds, last.catch_up_seconds), (None, Some(0.0)));
}

#[test]
fn a_group_that_keeps_its_distance_loses_nothing_however_short_records_live() {
    let mut play = Play::new(600);
    for _ in 0..30 {
        play.step(0);
    }
    // Five minutes behind, constantly.
    for _ in 0..60 {
        play.step(100);
    }
    let told = play.step(100);
    assert_eq!((told.time_to_data_loss_seconds, told.severity), (None, Severity::Critical));
}

#[test]
fn with_one_sample_it_is_taken_that_nothing_is_read() {
    let mut world = World::with_window(60);
    (world.retention, world.end) = (by_age(3600), 10);
    let told = world.look_and_read(|_| RecordTime::At { timestamp: EPOCH - 600_000, error_ms: 0 });
    assert_eq!(told.time_to_data_loss_seconds, Some(3000.0));
    assert_eq!((told.status, told.severity), (None, Severity::Critical), "an hour's half is 1800 s");
}

#[test]
fn an_offset_before_the_log_start_is_data_loss() {
    let mut world = World::with_window(60);
    (world.start, world.end) = (5, 10);
    let told = world.look();
    assert_eq!(
        told.time_to_data_loss_seconds, None,
        "it may have been committed and deleted between the two questions"
    );
    let told = world.look_and_read(|offset| RecordTime::At { timestamp: EPOCH - offset * 1000, error_ms: 0 });
    assert_eq!((told.time_to_data_loss_seconds, told.severity), (Some(0.0), Severity::DataLoss));
    assert_eq!(
        (told.lag, told.lag_seconds),
        (Some(10), Some(5.0)),
        "the first that is still there is its oldest"
    );
}

/// The group commits, and deletes the records it has read, after its commits were requested and before the log start was.
#[test]
fn records_committed_and_deleted_between_two_requests_are_not_lost() {
    let mut world = World::with_window(60);
    world.end = 1000;
    for _ in 0..20 {
        world.pass(10);
        world.end += 1000;
        world.start = world.committed.unwrap() + 300;
        let told = world.look();
        assert_ne!(told.time_to_data_loss_seconds, Some(0.0), "{told:?}");
        world.committed = Some(world.committed.unwrap() + 1000);
    }
}

#[test]
fn records_of_a_compacted_or_unlimited_topic_are_never_lost() {
    for retention in [None, Some(Retention::default())] {
        let mut world = World::with_window(60);
        (world.retention, world.end) = (retention, 10);
        let told = world.look_and_read(|_| RecordTime::At { timestamp: 0, error_ms: 0 });
        assert_eq!((told.time_to_data_loss_seconds, told.severity), (None, Severity::Critical));
    }
}

#[test]
fn retention_by_size_goes_by_what_comes_after_a_record() {
    let mut world = World::with_window(60);
    world.retention = Some(Retention { ms: None, bytes: Some(100_000) });
    // Records of 100 bytes, ten a second; the group reads nothing and is 400 records behind.
    for _ in 0..10 {
        world.pass(10);
        world.end += 100;
        world.committed = Some(world.end - 400);
        let mut sample = world.sample();
        let bytes = Some(world.end.unsigned_abs() * 100);
        sample.logs.insert(
            orders(),
            LogSample::Offsets { start: Some(0), high_watermark: Some(world.end), last_stable: None, bytes },
        );
        world.give(sample);
    }
    let told = world.partition();
    assert_eq!(told.lag_bytes, Some(40_000));
    assert_eq!(told.time_to_data_loss_seconds, None, "it keeps its distance");
    world.pass(10);
    world.end += 100;
    let told = world.look();
    // Within the window it has read 9 of 10 records a second, so that the rest of 100,000 bytes lasts a while.
    let (rate, left) =
        ((told.produced_per_second.unwrap(), told.consumed_per_second.unwrap()), 100_000.0 - 50_000.0);
    let expected = left / ((rate.0 - rate.1) * 100.0);
    let loss = told.time_to_data_loss_seconds.unwrap();
    assert!((loss / expected - 1.0).abs() < 0.2, "{loss}, {expected}");
}

/// Records are deleted manually, or by an application: the log start shows that. Kafka Streams deletes committed records from its
/// repartition topics every 30 s.
#[test]
fn records_deleted_after_they_were_read_are_not_lost() {
    for ms in [None, Some(7 * 86_400_000)] {
        let mut world = World::with_window(60);
        world.retention = Some(Retention { ms, bytes: None });
        for round in 0..100 {
            world.pass(10);
            world.end += 1000;
            world.committed = Some(world.end - 500);
            if round % 3 == 0 {
                world.start = world.end - 500;
            }
            let told = world.look();
            assert_eq!((told.time_to_data_loss_seconds, told.severity), (None, Severity::Healthy));
        }
        // This holds even if it reads more slowly for a while.
        for _ in 0..3 {
            world.pass(10);
            world.end += 1000;
            let told = world.look();
            assert!(told.time_to_data_loss_seconds.is_none_or(|seconds| seconds > 86_400.0), "{told:?}");
        }
    }
}

#[test]
fn a_log_start_that_catches_up_is_imminent_data_loss() {
    let mut world = World::with_window(60);
    world.end = 100_000;
    world.committed = Some(20_000);
    for _ in 0..12 {
        world.pass(10);
        world.start += 1000;
        world.look();
    }
    let told = world.partition();
    let loss = told.time_to_data_loss_seconds.unwrap();
    assert!((loss - 80.0).abs() < 20.0, "{loss}: 8,000 records at 100 a second");
    assert_eq!(told.status, Some(Status::DataLossImminent));
}
