//! The machine in virtual time: literal samples, a year in a second, properties over random histories.

mod ages;
mod burrow;
mod catching_up;
mod loss;
mod odd;
mod properties;
mod sizes;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use offtake_admin::TopicPartition;

use super::Lag;
use crate::{
    config::Config,
    report::{GroupReport, PartitionReport, Report, Status},
    sample::{GroupSample, LogSample, MemberSample, RecordTime, Retention, Sample, TopicSample},
};

/// The beginning of the tests, in milliseconds since 1970.
const EPOCH: i64 = 1_790_000_000_000;

/// One group on one partition, and the passing time.
struct World {
    lag: Lag,
    began: Instant,
    /// Milliseconds since the beginning.
    now: i64,
    committed: Option<i64>,
    start: i64,
    end: i64,
    owned: bool,
    retention: Option<Retention>,
}

fn orders() -> TopicPartition {
    TopicPartition::new("orders", 0)
}

impl World {
    fn new(config: Config) -> Self {
        Self {
            lag: Lag::new(config),
            began: offtake_client::clock::now(),
            now: 0,
            committed: Some(0),
            start: 0,
            end: 0,
            owned: true,
            retention: None,
        }
    }

    /// With a window of this many seconds.
    fn with_window(seconds: u64) -> Self {
        Self::new(Config { window: Duration::from_secs(seconds), ..Config::default() })
    }

    fn sample(&self) -> Sample {
        let millis = Duration::from_millis(self.now.unsigned_abs());
        let mut sample = Sample::at(self.began + millis, EPOCH + self.now);
        let member = MemberSample {
            member_id: "m".to_owned(),
            partitions: if self.owned { vec![orders()] } else { Vec::new() },
            ..MemberSample::default()
        };
        sample.groups.push(GroupSample {
            group: "audit".to_owned(),
            state: "Stable".to_owned(),
            members: Some(vec![member]),
            committed: Some(self.committed.iter().map(|offset| (orders(), *offset)).collect()),
            ..GroupSample::default()
        });
        sample.topics.push(TopicSample { topic: "orders".into(), id: None, retention: self.retention });
        sample.logs.insert(orders(), self.log());
        sample
    }

    fn log(&self) -> LogSample {
        LogSample::Offsets {
            start: Some(self.start),
            high_watermark: Some(self.end),
            last_stable: None,
            bytes: None,
        }
    }

    /// Takes a sample now, without reading a record.
    fn look(&mut self) -> PartitionReport {
        let sample = self.sample();
        self.give(sample)
    }

    fn give(&mut self, sample: Sample) -> PartitionReport {
        self.lag.handle_sample(sample);
        self.lag.record_times([]);
        self.partition()
    }

    /// Takes a sample now, and returns this timestamp for the unread record.
    fn look_and_read(&mut self, stamped: impl Fn(i64) -> RecordTime) -> PartitionReport {
        let sample = self.sample();
        self.lag.handle_sample(sample);
        let wanted = self.lag.wanted_record_times(10);
        self.lag.record_times(wanted.into_iter().map(|(partition, at)| (partition, at, stamped(at))));
        self.partition()
    }

    fn report(&self) -> Report {
        self.lag.report()
    }

    fn group(&self) -> GroupReport {
        self.report().groups.remove(0)
    }

    fn partition(&self) -> PartitionReport {
        self.group().partitions.remove(0)
    }

    fn pass(&mut self, seconds: i64) {
        self.now += seconds * 1000;
    }
}
