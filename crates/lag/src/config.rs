//! The settings.

use std::{sync::OnceLock, time::Duration};

use offtake_admin::IsolationLevel;
use regex::Regex;

use crate::severity::Thresholds;

/// The settings for watching lag. Begin with the default, and change what you need.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The groups to watch. Default: all.
    pub groups: GroupSelection,
    /// The sliding window for statuses and rates. Default: 5 min. A group that commits less often than that appears to stall
    /// whenever it has lag. Values below 1 ms count as 1 ms.
    pub window: Duration,
    /// Records that retention deletes unread within this time, at the present rates, are about to be lost. Default: 1 h. If
    /// `retention.ms` is short, half of it applies instead.
    pub horizon: Duration,
    /// The end up to which lag is counted: the high watermark (the default), or the last stable offset.
    pub isolation: IsolationLevel,
    /// The severity thresholds of groups that match none of [`group_thresholds`](Self::group_thresholds).
    pub thresholds: Thresholds,
    /// The thresholds of groups whose whole name matches the pattern; the first match applies.
    pub group_thresholds: Vec<(Regex, Thresholds)>,
    /// The names of dead-letter topics. Default: names that contain `dlq`, `dlt`, `dead-letter` or `dead-letters` as a word.
    pub dead_letters: Regex,
    /// The timeout of requests to a broker. Default: 5 s. A broker that exceeds it gets no more requests in that round, except
    /// those that belong to the same step (members of both protocols, timestamps in large batches), so that each silent broker
    /// delays the others by this once or twice.
    pub broker_timeout: Duration,
    /// The most partitions in a round for which the timestamp of the first unread record is read. Default: 1,000. It is read if
    /// no cheaper source is exact enough; if it cannot be read, the age has a larger error.
    pub record_times_per_round: usize,
    /// How often the settings of topics and the list of partitions are read again. Default: 5 min. Partitions that move to other
    /// leaders are looked up at once.
    pub refresh: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            groups: GroupSelection::All,
            window: Duration::from_secs(300),
            horizon: Duration::from_secs(3600),
            isolation: IsolationLevel::ReadUncommitted,
            thresholds: Thresholds::default(),
            group_thresholds: Vec::new(),
            dead_letters: dead_letters(),
            broker_timeout: Duration::from_secs(5),
            record_times_per_round: 1000,
            refresh: Duration::from_secs(300),
        }
    }
}

impl Config {
    /// The thresholds of this group.
    pub(crate) fn thresholds_of(&self, group: &str) -> Thresholds {
        let whole = |pattern: &Regex| pattern.find_iter(group).any(|found| found.len() == group.len());
        let own = self.group_thresholds.iter().find(|(pattern, _)| whole(pattern));
        own.map_or(self.thresholds, |(_, thresholds)| *thresholds)
    }
}

fn dead_letters() -> Regex {
    static PATTERN: OnceLock<Regex> = OnceLock::new();
    #[expect(clippy::expect_used, reason = "the pattern is a constant, and a test compiles it")]
    let compile = || {
        Regex::new("(?i-u)(?:^|[._-])(?:dlq|dlt|dead[._-]?letters?)(?:$|[._-])").expect("a constant pattern")
    };
    PATTERN.get_or_init(compile).clone()
}

/// A selection of groups.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum GroupSelection {
    /// All groups.
    #[default]
    All,
    /// The groups with these names; a name without a group is in no report.
    Named(Vec<String>),
    /// The groups whose name contains a match of the pattern.
    Matching(Regex),
}

impl GroupSelection {
    pub(crate) fn includes(&self, group: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|name| name == group),
            Self::Matching(pattern) => pattern.is_match(group),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_of_dead_letters_are_known_by_a_word_of_their_name() {
        let pattern = Config::default().dead_letters;
        for name in
            ["orders.dlq", "DLQ", "orders-DLT", "dead-letters", "eu_dead_letter_orders", "a.deadletter"]
        {
            assert!(pattern.is_match(name), "{name}");
        }
        for name in ["orders", "dlqx", "medlt", "deadletterbox"] {
            assert!(!pattern.is_match(name), "{name}");
        }
    }

    #[test]
    fn the_first_pattern_that_matches_a_whole_name_counts() {
        let of = |seconds| Thresholds { warning: Duration::from_secs(seconds), ..Thresholds::default() };
        let pattern = |text| Regex::new(text).unwrap();
        let group_thresholds = vec![(pattern("a|ab"), of(1)), (pattern("ab.*"), of(2))];
        let config = Config { group_thresholds, ..Config::default() };
        let warning = |group| config.thresholds_of(group).warning.as_secs();
        assert_eq!([warning("a"), warning("abc"), warning("xab")], [1, 2, 10]);
    }
}
