//! Topics that are wanted by name, and partitions that are assigned, and that do not exist.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use offtake_machine::{Cluster, Topic};
use offtake_wire::ErrorCode;

/// How long a topic or a partition may be missing before it is reported: it may be about to be created.
const REPORT_AFTER: Duration = Duration::from_secs(5);

/// A wrong name or number, or the address of another cluster, is the most frequent mistake of a first day.
/// Waiting is still right, since the topic or the partition may be created.
#[derive(Debug)]
pub(super) struct Missing<T>(BTreeMap<T, Since>);

#[derive(Clone, Copy, Debug)]
struct Since {
    since: Instant,
    is_reported: bool,
}

/// The changes to report.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MissingChanges<T> {
    /// Have been missing for long; each reported once until it exists.
    pub(super) missing: Vec<T>,
    /// Were reported as missing, and exist now.
    pub(super) found: BTreeSet<T>,
}

impl<T> Default for Missing<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Ord + Clone> Missing<T> {
    /// Looks for these in a new view of the cluster.
    pub(super) fn look<'a>(
        &mut self,
        now: Instant,
        wanted: impl Iterator<Item = &'a T>,
        is_missing: impl Fn(&T) -> bool,
    ) -> MissingChanges<T>
    where
        T: 'a,
    {
        let before = std::mem::take(&mut self.0);
        let mut found = BTreeSet::new();
        for one in wanted {
            let missing = before.get(one).copied();
            if is_missing(one) {
                let missing = missing.unwrap_or(Since { since: now, is_reported: false });
                self.0.insert(one.clone(), missing);
            } else if missing.is_some_and(|missing| missing.is_reported) {
                found.insert(one.clone());
            }
        }
        let late = self.0.iter_mut().filter(|(_, missing)| {
            !missing.is_reported && now.saturating_duration_since(missing.since) >= REPORT_AFTER
        });
        let late = late.map(|(one, missing)| {
            missing.is_reported = true;
            one.clone()
        });
        MissingChanges { missing: late.collect(), found }
    }
}

/// Whether the brokers have reported that there is no such topic.
pub(super) fn is_missing(topic: &Topic, cluster: &Cluster) -> bool {
    match cluster.topics.get(topic) {
        Some(info) => {
            matches!(info.error, ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId)
        }
        None => cluster.lists_all,
    }
}

#[cfg(test)]
mod tests {
    use offtake_machine::TopicInfo;

    use super::*;

    fn shows(error: ErrorCode) -> Cluster {
        let info = TopicInfo {
            id: offtake_wire::Uuid::default(),
            error,
            internal: false,
            partitions: BTreeMap::new(),
        };
        Cluster { topics: [(Topic::from("ordrs"), info)].into(), ..Cluster::default() }
    }

    fn look_for(
        missing: &mut Missing<Topic>,
        at: Instant,
        wanted: &[Topic],
        cluster: &Cluster,
    ) -> MissingChanges<Topic> {
        missing.look(at, wanted.iter(), |topic| is_missing(topic, cluster))
    }

    #[test]
    fn seam14_a_topic_that_stays_away_is_told_once_until_it_has_been_there() {
        let mut missing = Missing::default();
        let began = crate::clock::now();
        let mut look = |seconds, error| {
            let wanted = [Topic::from("ordrs")];
            let looked = look_for(&mut missing, began + Duration::from_secs(seconds), &wanted, &shows(error));
            (looked.missing.len(), looked.found.len())
        };
        let gone = ErrorCode::UnknownTopicOrPartition;
        let told = [(0, gone), (4, gone), (5, gone), (60, gone)].map(|(at, error)| look(at, error));
        assert_eq!(told, [(0, 0), (0, 0), (1, 0), (0, 0)]);
        let told =
            [(61, ErrorCode::None), (62, gone), (66, gone), (67, gone)].map(|(at, error)| look(at, error));
        assert_eq!(told, [(0, 1), (0, 0), (0, 0), (1, 0)]);
        assert_eq!(look(68, ErrorCode::None), (0, 1));
        assert_eq!(look(69, ErrorCode::None), (0, 0), "once");
    }

    #[test]
    fn seam14_a_full_listing_without_it_says_so_too_and_what_is_wanted_no_more_is_forgotten() {
        let mut missing = Missing::default();
        let began = crate::clock::now();
        let nothing = Cluster { lists_all: true, ..Cluster::default() };
        let wanted = [Topic::from("ordrs")];
        let none = MissingChanges { missing: Vec::new(), found: BTreeSet::new() };
        assert_eq!(look_for(&mut missing, began, &wanted, &nothing), none);
        assert_eq!(look_for(&mut missing, began, &[], &nothing), none);
        assert_eq!(look_for(&mut missing, began + REPORT_AFTER, &wanted, &nothing), none);
        assert_eq!(look_for(&mut missing, began + 2 * REPORT_AFTER, &wanted, &nothing).missing, wanted);
    }
}
