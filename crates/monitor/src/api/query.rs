//! `/api/history`: the recorded rounds, as series.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use offtake_lag::Status;
use serde_json::{Value, json};

use crate::history::{Block, History, Picked};

/// The most points of a series.
const MOST_POINTS: usize = 1000;
/// The most values in the series of all groups together, because responses stay in memory while clients read them.
const MOST_VALUES: usize = 300_000;
/// The most partitions of a group with series of their own: those with the greatest lag.
const MOST_PARTITIONS: usize = 50;

/// A query of the history.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Query {
    /// Without a group, the sums of all groups.
    group: Option<String>,
    /// The time span back from the last round, in milliseconds.
    span: i64,
    points: usize,
    partitions: usize,
    pub(super) most_values: usize,
}

impl Query {
    /// Parses the part of a URL after the question mark.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut query =
            Self { group: None, span: 3_600_000, points: 200, partitions: 8, most_values: MOST_VALUES };
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(&value.replace('+', " ")).ok_or_else(|| format!("{name}: not UTF-8"))?;
            let number =
                || value.parse::<u32>().map_err(|_| format!("{name}: a number is needed, 0 to 4294967295"));
            match name {
                "group" => query.group = Some(value),
                "seconds" => query.span = i64::from(number()?) * 1000,
                "points" => query.points = usize::try_from(number()?).unwrap_or(MOST_POINTS),
                "partitions" => query.partitions = usize::try_from(number()?).unwrap_or(MOST_PARTITIONS),
                other => {
                    return Err(format!(
                        "there is no parameter {other:?}: group, seconds, points, partitions"
                    ));
                }
            }
        }
        query.points = query.points.clamp(1, MOST_POINTS);
        query.partitions = query.partitions.min(MOST_PARTITIONS);
        Ok(query)
    }

    /// Answers the query. Blocks while it reads the history.
    pub(crate) fn answer(&self, history: &mut History) -> Result<Value, String> {
        let since = history.last().unwrap_or(0).saturating_sub(self.span);
        let picked = history.pick(since, self.points);
        Ok(match &self.group {
            Some(group) => self.of_group(history, group, &picked),
            None => {
                let groups =
                    picked.last().and_then(|last| history.directory(last)).map_or(0, |last| last.len());
                // As many points are picked, or up to two more.
                let fewer =
                    self.most_values.checked_div(groups).map_or(self.points, |most| most.saturating_sub(2));
                let picked = if fewer < self.points { history.pick(since, fewer) } else { picked };
                of_all(history, &picked, self.most_values)
            }
        })
    }

    fn of_group(&self, history: &mut History, group: &str, picked: &[Picked]) -> Value {
        let mut sums = Series::default();
        let mut blocks = Vec::new();
        for picked in picked {
            let directory = history.directory(picked).unwrap_or_default();
            let entry = directory.iter().find(|entry| entry.group == group);
            sums.push(
                entry.map(|entry| entry.lag),
                entry.and_then(|entry| entry.lag_seconds),
                entry.and_then(|entry| entry.status),
            );
            let block = entry.filter(|_| self.partitions > 0).and_then(|entry| history.block(picked, entry));
            blocks.push(block.unwrap_or_default());
        }
        let partitions = self.furthest_behind(blocks.last()).into_iter().map(|(topic, partition)| {
            let mut series = Series::default();
            for block in &blocks {
                let of_topic = block.topics.iter().find(|(name, _)| *name == topic);
                let seen = of_topic.and_then(|(_, seen)| {
                    seen.binary_search_by_key(&partition, |seen| seen.partition)
                        .ok()
                        .and_then(|at| seen.get(at))
                });
                series.push(
                    seen.and_then(|seen| seen.lag),
                    seen.and_then(|seen| seen.lag_seconds),
                    seen.and_then(|seen| seen.status),
                );
            }
            json!({
                "topic": topic, "partition": partition, "lag": series.lag, "lag_seconds": series.lag_seconds,
                "status": series.status,
            })
        });
        json!({
            "group": group, "at": times(picked), "lag": sums.lag, "lag_seconds": sums.lag_seconds,
            "status": sums.status, "partitions": partitions.collect::<Vec<_>>(),
        })
    }

    /// The topic and number of the partitions with the greatest lag.
    fn furthest_behind(&self, last: Option<&Block>) -> Vec<(String, i32)> {
        let topics = last.into_iter().flat_map(|block| &block.topics);
        let mut all: Vec<_> = topics
            .flat_map(|(topic, seen)| {
                seen.iter().map(move |seen| (seen.lag.unwrap_or(0), topic, seen.partition))
            })
            .collect();
        all.sort_by(|left, right| {
            right.0.cmp(&left.0).then_with(|| (left.1, left.2).cmp(&(right.1, right.2)))
        });
        all.truncate(self.partitions);
        all.into_iter().map(|(_, topic, partition)| (topic.clone(), partition)).collect()
    }
}

/// The sums of each group, including those of deleted groups as far as there is room.
fn of_all(history: &mut History, picked: &[Picked], most_values: usize) -> Value {
    let most_groups = most_values / picked.len().max(1);
    let mut groups: BTreeMap<String, Series> = BTreeMap::new();
    // The groups of the last round come first.
    for (nth, picked) in picked.iter().rev().enumerate() {
        let directory = history.directory(picked).unwrap_or_default();
        let mut found: HashMap<_, _> = HashMap::with_capacity(directory.len());
        for entry in directory {
            found.insert(entry.group.clone(), entry);
        }
        for (group, series) in &mut groups {
            let entry = found.remove(group);
            series.push(
                entry.as_ref().map(|entry| entry.lag),
                entry.as_ref().and_then(|entry| entry.lag_seconds),
                entry.and_then(|entry| entry.status),
            );
        }
        let room = most_groups.saturating_sub(groups.len());
        for (group, entry) in found.into_iter().take(room) {
            let mut series = Series::absent(nth);
            series.push(Some(entry.lag), entry.lag_seconds, entry.status);
            groups.insert(group, series);
        }
    }
    groups.values_mut().for_each(Series::reverse);
    let groups: Vec<_> = groups
        .into_iter()
        .map(|(group, series)| {
            json!({ "group": group, "lag": series.lag, "lag_seconds": series.lag_seconds, "status": series.status })
        })
        .collect();
    json!({ "at": times(picked), "groups": groups })
}

fn times(picked: &[Picked]) -> Vec<i64> {
    picked.iter().map(Picked::at).collect()
}

/// Values over time; `None` at times without a value.
#[derive(Clone, Debug, Default)]
struct Series {
    lag: Vec<Option<u64>>,
    lag_seconds: Vec<Option<f64>>,
    status: Vec<Option<Status>>,
}

impl Series {
    /// A series that begins with this many missing values.
    fn absent(times: usize) -> Self {
        Self { lag: vec![None; times], lag_seconds: vec![None; times], status: vec![None; times] }
    }

    fn reverse(&mut self) {
        self.lag.reverse();
        self.lag_seconds.reverse();
        self.status.reverse();
    }

    fn push(&mut self, lag: Option<u64>, lag_seconds: Option<f64>, status: Option<Status>) {
        self.lag.push(lag);
        self.lag_seconds.push(lag_seconds);
        self.status.push(status);
    }
}

/// Decodes `%xx`; `None` if the result is not UTF-8. A `%` followed by something else stands for itself.
pub(crate) fn decode(text: &str) -> Option<String> {
    percent_encoding::percent_decode_str(text).decode_utf8().ok().map(Cow::into_owned)
}
