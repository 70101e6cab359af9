//! The history of the last minutes, for charts.

use std::collections::{HashMap, VecDeque};

use offtake_lag::{GroupReport, PartitionReport, Report};

/// The number of rounds kept.
pub(super) const ROUNDS: usize = 150;
/// Up to this many partitions, those of all groups have a history; beyond it only those of the group on the screen.
const MOST_PARTITIONS: usize = 20_000;

/// A point of a chart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    /// Milliseconds since 1970.
    pub(super) at: i64,
    pub(super) lag: Option<u64>,
    pub(super) seconds: Option<f64>,
    /// Records produced per second.
    pub(super) produced: Option<f64>,
    /// Records committed per second.
    pub(super) consumed: Option<f64>,
}

/// The points of groups and of partitions over time.
#[derive(Debug, Default)]
pub(super) struct Histories {
    groups: HashMap<String, VecDeque<Point>>,
    partitions: HashMap<String, HashMap<(String, i32), VecDeque<Point>>>,
}

impl Histories {
    pub(super) fn push(&mut self, report: &Report, looked_at: Option<&str>) {
        // Anything missing from the report is gone, and so is its history.
        let mut groups = std::mem::take(&mut self.groups);
        let mut partitions = std::mem::take(&mut self.partitions);
        let all: usize = report.groups.iter().map(|group| group.partitions.len()).sum();
        for group in &report.groups {
            let mut history = groups.remove(&group.group).unwrap_or_default();
            add(&mut history, of_group(report.at, group));
            self.groups.insert(group.group.clone(), history);
            if all > MOST_PARTITIONS && looked_at != Some(group.group.as_str()) {
                continue;
            }
            let mut before = partitions.remove(&group.group).unwrap_or_default();
            let mut kept = HashMap::with_capacity(group.partitions.len());
            for partition in &group.partitions {
                let key = (partition.topic.clone(), partition.partition);
                let mut history = before.remove(&key).unwrap_or_default();
                let point = Point {
                    at: report.at,
                    lag: partition.lag,
                    seconds: partition.lag_seconds,
                    produced: partition.produced_per_second,
                    consumed: partition.consumed_per_second,
                };
                add(&mut history, point);
                kept.insert(key, history);
            }
            self.partitions.insert(group.group.clone(), kept);
        }
    }

    pub(super) fn group(&self, group: &str) -> impl Iterator<Item = Point> {
        self.groups.get(group).into_iter().flatten().copied()
    }

    pub(super) fn partition(&self, group: &str, topic: &str, partition: i32) -> impl Iterator<Item = Point> {
        let of_group = self.partitions.get(group);
        let history = of_group.and_then(|partitions| partitions.get(&(topic.to_owned(), partition)));
        history.into_iter().flatten().copied()
    }
}

fn of_group(at: i64, group: &GroupReport) -> Point {
    Point {
        at,
        lag: Some(group.lag),
        seconds: group.lag_seconds,
        produced: sum(group, |partition| partition.produced_per_second),
        consumed: sum(group, |partition| partition.consumed_per_second),
    }
}

/// The sum over the partitions that have a value; `None` if none has.
pub(super) fn sum(group: &GroupReport, value: fn(&PartitionReport) -> Option<f64>) -> Option<f64> {
    group.partitions.iter().filter_map(value).reduce(|left, right| left + right)
}

fn add(history: &mut VecDeque<Point>, point: Point) {
    if history.len() >= ROUNDS {
        history.pop_front();
    }
    history.push_back(point);
}
