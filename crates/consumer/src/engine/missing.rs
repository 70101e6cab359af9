//! Topics that are wanted by name and do not exist.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use offtake_machine::{Cluster, Topic};
use offtake_wire::ErrorCode;

/// How long a topic may be missing before it is reported: it may be about to be created.
const REPORT_AFTER: Duration = Duration::from_secs(5);

/// A wrong topic name, or the address of another cluster, is the most frequent mistake of a first day.
/// Waiting for the topic is still right, since it may be created.
#[derive(Debug, Default)]
pub(super) struct MissingTopics(BTreeMap<Topic, Missing>);

#[derive(Clone, Copy, Debug)]
struct Missing {
    since: Instant,
    is_reported: bool,
}

/// The changes to report.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct MissingChanges {
    /// Have been missing for long; each reported once until it exists.
    pub(super) missing: Vec<Topic>,
    /// Were reported as missing, and exist now.
    pub(super) found: BTreeSet<Topic>,
}

impl MissingTopics {
    /// Looks for these topics in a new view of the cluster.
    pub(super) fn look<'a>(
        &mut self,
        now: Instant,
        wanted: impl Iterator<Item = &'a Topic>,
        cluster: &Cluster,
    ) -> MissingChanges {
        let before = std::mem::take(&mut self.0);
        let mut found = BTreeSet::new();
        for topic in wanted {
            let missing = before.get(topic).copied();
            if is_missing(topic, cluster) {
                let missing = missing.unwrap_or(Missing { since: now, is_reported: false });
                self.0.insert(topic.clone(), missing);
            } else if missing.is_some_and(|missing| missing.is_reported) {
                found.insert(topic.clone());
            }
        }
        let late = self.0.iter_mut().filter(|(_, missing)| {
            !missing.is_reported && now.saturating_duration_since(missing.since) >= REPORT_AFTER
        });
        let late = late.map(|(topic, missing)| {
            missing.is_reported = true;
            topic.clone()
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

    #[test]
    fn seam14_a_topic_that_stays_away_is_told_once_until_it_has_been_there() {
        let mut missing = MissingTopics::default();
        let began = crate::clock::now();
        let mut look = |seconds, error| {
            let wanted = [Topic::from("ordrs")];
            let looked = missing.look(began + Duration::from_secs(seconds), wanted.iter(), &shows(error));
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
        let mut missing = MissingTopics::default();
        let began = crate::clock::now();
        let nothing = Cluster { lists_all: true, ..Cluster::default() };
        let wanted = [Topic::from("ordrs")];
        let none = MissingChanges::default();
        assert_eq!(missing.look(began, wanted.iter(), &nothing), none);
        assert_eq!(missing.look(began, [].iter(), &nothing), none);
        assert_eq!(missing.look(began + REPORT_AFTER, wanted.iter(), &nothing), none);
        assert_eq!(missing.look(began + 2 * REPORT_AFTER, wanted.iter(), &nothing).missing, wanted);
    }
}
