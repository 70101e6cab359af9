//! A group that reads while `retention.ms` deletes: whether it reads each record in time, and when it first fails to. The
//! forecast is compared with a simulation of the same log at constant rates.

use proptest::prelude::*;

use super::*;
use crate::severity::Severity;

/// A log, by the seconds of its records' timestamps, and a group on it.
#[derive(Clone)]
struct Simulation {
    /// The lifetime of records in seconds.
    lives: f64,
    /// The number of records in each second, from the first on.
    seconds: Vec<f64>,
    /// The time: seconds since the first record.
    now: f64,
    read: f64,
}

impl Simulation {
    /// The number of records stamped by this time.
    fn stamped_by(&self, time: f64) -> f64 {
        let whole = (time.max(0.0) as usize).min(self.seconds.len());
        let rest = self.seconds.get(whole).map_or(0.0, |records| records * time.max(0.0).fract());
        self.seconds[..whole].iter().sum::<f64>() + rest
    }

    /// The seconds until the first unread record is deleted, at these rates of writing and reading; infinite if that is not
    /// within 30 lifetimes.
    fn time_to_data_loss(&self, (written, reads): (f64, f64)) -> f64 {
        let (mut read, mut deleted) = (self.read, self.stamped_by(self.now - self.lives));
        let known = self.seconds.len();
        let end: f64 = self.seconds.iter().sum();
        for passed in 0..(30.0 * self.lives) as usize {
            if deleted > read + 1e-6 {
                return passed as f64;
            }
            let oldest = (self.now + passed as f64 - self.lives).floor();
            if oldest >= 0.0 {
                deleted += self.seconds.get(oldest as usize).copied().unwrap_or(written);
            }
            if oldest as usize >= known && written <= reads {
                return f64::INFINITY; // records are read as fast as they are written
            }
            read = (read + reads).min(end + written * (passed + 1) as f64);
        }
        f64::INFINITY
    }
}

/// A log and a group, sampled every ten seconds.
struct Play {
    world: World,
    log: Simulation,
    /// The time of the first sample, in seconds since the first record.
    looked: i64,
}

impl Play {
    /// A log with these records at the first sample: numbers of seconds, each with a number of records a second.
    fn new(lives: i64, backlog: &[(usize, f64)]) -> Self {
        let mut world = World::with_window(60);
        world.retention = Some(Retention { ms: Some(lives.unsigned_abs() * 1000), bytes: None });
        let seconds: Vec<f64> =
            backlog.iter().flat_map(|(seconds, rate)| std::iter::repeat_n(*rate, *seconds)).collect();
        let looked = seconds.len() as i64;
        let log = Simulation { lives: lives as f64, seconds, now: looked as f64, read: 0.0 };
        Self { world, log, looked }
    }

    /// Plays ten seconds in which records are appended and read at these rates.
    fn step(&mut self, comes: f64, reads: f64) -> PartitionReport {
        self.log.seconds.extend([comes; 10]);
        self.log.now += 10.0;
        self.world.pass(10);
        let end: f64 = self.log.seconds.iter().sum();
        self.log.read = (self.log.read + 10.0 * reads).min(end);
        self.world.end = end as i64;
        self.world.committed = Some(self.log.read as i64);
        self.world.start = self.log.stamped_by(self.log.now - self.log.lives) as i64;
        assert!(self.world.start <= self.log.read as i64, "it has lost some already");
        let (mut before, looked) = (0.0, self.looked);
        let stamps: Vec<f64> = self
            .log
            .seconds
            .iter()
            .map(|records| {
                before += records;
                before
            })
            .collect();
        self.world.look_and_read(|offset| {
            let second = stamps.partition_point(|until| *until <= offset as f64) as i64;
            RecordTime::At { timestamp: EPOCH + (second - looked) * 1000, error_ms: 0 }
        })
    }

    /// Plays a whole window of that.
    fn steps(&mut self, comes: f64, reads: f64) -> PartitionReport {
        (0..7).for_each(|_| drop(self.step(comes, reads)));
        self.step(comes, reads)
    }

    /// The truth at these rates.
    fn truth(&self, told: &PartitionReport) -> f64 {
        let rates = (told.produced_per_second.unwrap(), told.consumed_per_second.unwrap());
        self.log.time_to_data_loss(rates)
    }
}

fn told(report: &PartitionReport) -> f64 {
    report.time_to_data_loss_seconds.unwrap_or(f64::INFINITY)
}

/// Whether everything is read in time depends on the amount to read, and not on whether lag shrinks.
#[test]
fn a_group_that_catches_up_loses_what_it_does_not_come_to_in_time() {
    for (name, lives, backlog, comes, reads, is_lost) in [
        ("a burst that it is through with in time", 3600, vec![(60, 600.0), (2900, 0.0)], 0.0, 100.0, false),
        ("one that it is not", 3600, vec![(60, 600.0), (2900, 0.0)], 0.0, 40.0, true),
        ("and while little comes", 3600, vec![(60, 600.0), (2900, 1.0)], 1.0, 40.0, true),
        ("an even backlog, too long for it", 3600, vec![(3000, 24.0)], 10.0, 15.0, true),
        ("short enough", 3600, vec![(3000, 24.0)], 10.0, 22.0, false),
        ("it keeps its distance", 3600, vec![(3000, 24.0)], 24.0, 24.0, false),
        ("it catches up with what comes", 3600, vec![(3000, 24.0)], 24.0, 30.0, false),
        ("it falls behind", 3600, vec![(3000, 24.0)], 24.0, 20.0, true),
    ] {
        let mut play = Play::new(lives, &backlog);
        let report = play.steps(comes, reads);
        let (told, truth) = (told(&report), play.truth(&report));
        assert_eq!(truth.is_finite(), is_lost, "{name}: {truth}");
        assert_eq!(told.is_finite(), is_lost, "{name}: {told} and not {truth}");
        assert!(!is_lost || (told - truth).abs() <= 30.0 + truth * 0.05, "{name}: {told} and not {truth}");
        assert!(!is_lost || report.catch_up_seconds.is_some() == (reads > comes), "{name}");
    }
}

/// The group reads an old part with few records, so that its lag in seconds shrinks; but the part after that has more than it can
/// read.
#[test]
fn a_burst_that_lies_ahead_is_seen_before_the_group_comes_to_it() {
    let mut play = Play::new(3600, &[(10, 1.0)]);
    (0..60).for_each(|_| drop(play.step(1.0, 0.0)));
    (0..6).for_each(|_| drop(play.step(1000.0, 0.0)));
    (0..200).for_each(|_| drop(play.step(0.0, 0.0)));
    let report = play.steps(0.0, 4.0);
    let before = play.world.partition().lag_seconds.unwrap();
    let next = play.step(0.0, 4.0);
    assert!(next.lag_seconds.unwrap() < before, "it becomes less old");
    let (told, truth) = (told(&report), play.truth(&report));
    assert!(truth.is_finite() && (told - truth).abs() < 60.0, "{told} and not {truth}");
    // Warned in time, the group reads faster; then nothing is lost.
    let report = play.steps(0.0, 60.0);
    assert_eq!((report.time_to_data_loss_seconds, play.truth(&report)), (None, f64::INFINITY));
}

/// Whole segments are deleted, so that records may live longer than required; then each of Kafka's checks may delete them.
#[test]
fn records_older_than_the_retention_may_be_lost_at_any_time() {
    let mut world = World::with_window(60);
    world.retention = Some(Retention { ms: Some(600_000), bytes: None });
    (world.end, world.now) = (10_000, 700_000);
    let mut look = |read: i64| {
        world.pass(10);
        world.committed = Some(world.committed.unwrap() + read);
        // A record in each tenth of a second from the beginning on.
        world.look_and_read(|offset| RecordTime::At { timestamp: EPOCH + offset * 100, error_ms: 0 })
    };
    for _ in 0..8 {
        let told = look(200);
        assert_eq!((told.time_to_data_loss_seconds, told.severity), (Some(0.0), Severity::DataLoss));
    }
    // The group is at the record of 400 s at 800 s: that record has 200 s left, and the group reads the rest in half of that.
    let told = look(2400);
    assert_eq!((told.time_to_data_loss_seconds, told.severity), (None, Severity::Critical), "{told:?}");
}

/// Deletion that is faster than the group does not overtake it if there is little left to read.
#[test]
fn a_group_that_catches_up_before_the_log_start_loses_nothing() {
    for (end, is_lost) in [(60_000, true), (22_000, false)] {
        let mut world = World::with_window(60);
        (world.end, world.committed) = (end, Some(10_000));
        for _ in 0..12 {
            world.pass(10);
            world.start += 1000;
            world.committed = Some(world.committed.unwrap() + 800);
            world.look();
        }
        let told = world.partition();
        assert_eq!(told.time_to_data_loss_seconds.is_some(), is_lost, "{told:?}");
    }
}

proptest! {
    /// Whatever the history, the forecast is as exact as the samples. The errors of rates and times are allowed for.
    #[test]
    fn the_forecast_is_what_comes_of_it(
        lives in 200..1500_i64,
        history in proptest::collection::vec(0..200_u8, 2..20),
        comes in 0..60_u8,
        reads in 1..120_u8,
    ) {
        let mut play = Play::new(lives, &[(10, 0.0)]);
        let bursts = history.into_iter().map(|records| if records > 120 { f64::from(records) } else { 0.0 });
        for records in bursts {
            let next = play.log.stamped_by(play.log.now + 90.0 - play.log.lives);
            prop_assume!(next < 1.0, "it would lose some before it reads");
            play.step(records, 0.0);
        }
        for _ in 0..8 {
            let deleted = play.log.stamped_by(play.log.now + 10.0 - play.log.lives);
            prop_assume!(deleted < play.log.read.max(1.0));
            play.step(f64::from(comes), f64::from(reads));
        }
        let report = play.world.partition();
        prop_assume!(report.lag.unwrap() > 0 && play.log.read > 0.0);
        let rates = (report.produced_per_second.unwrap(), report.consumed_per_second.unwrap());
        let bound = |share: f64, lives: f64| {
            let log = Simulation { lives: play.log.lives + lives, ..play.log.clone() };
            log.time_to_data_loss((rates.0, rates.1 * share))
        };
        let (earliest, told, latest) = (bound(0.96, -12.0), told(&report), bound(1.04, 12.0));
        let least = earliest.min(25.0 * play.log.lives) - 2.0;
        prop_assert!(least <= told && told <= latest + 2.0, "{told} is not within {earliest} and {latest}");
    }
}
