//! What may be set.

use std::{sync::OnceLock, time::Duration};

use offtake_admin::IsolationLevel;
use regex::Regex;

use crate::severity::Thresholds;

/// What may be set about watching lag. Begin with the default, and set what differs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Which groups are watched: all unless it is set.
    pub groups: GroupSelection,
    /// The sliding window that statuses and rates are of: 5 min unless it is set. A group that commits less often than that is taken for
    /// one that stalls whenever it has lag. What is below 1 ms counts as that.
    pub window: Duration,
    /// Records that retention deletes unread within this time, at the present rates, are about to be lost: 1 h unless it is set. Where
    /// `retention.ms` is short, half of it counts instead.
    pub horizon: Duration,
    /// Which end a lag counts to: the high watermark unless it is set, or the last stable offset.
    pub isolation: IsolationLevel,
    /// The thresholds of severities, of groups for which none of [`group_thresholds`](Self::group_thresholds) is.
    pub thresholds: Thresholds,
    /// The thresholds of the groups whose whole name matches; the first that does counts.
    pub group_thresholds: Vec<(Regex, Thresholds)>,
    /// Topics of these names hold dead letters. By default those in which `dlq`, `dlt`, `dead-letter` or `dead-letters` stands as a word.
    pub dead_letters: Regex,
    /// How long a broker may take for an answer: 5 s unless it is set. One that takes longer is asked nothing more in that round but what goes with the same
    /// question (members of both protocols, timestamps in large batches), so that each silent broker delays the others by this once or twice.
    pub broker_timeout: Duration,
    /// Of how many partitions the timestamp of the first unread record is read in a round at most: 1,000 unless it is set. It is read
    /// where nothing cheaper says the age well enough; where it is not, the age has a larger error.
    pub record_times_per_round: usize,
    /// How often the settings of topics and the list of partitions are read anew: 5 min unless it is set. Partitions that move to other
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
    /// The thresholds that count for this group.
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

/// Which groups are watched.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum GroupSelection {
    /// All that there are.
    #[default]
    All,
    /// Those of these names; one that does not exist is in no report.
    Named(Vec<String>),
    /// Those in whose name the pattern is found.
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
