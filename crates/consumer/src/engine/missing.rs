//! Topics that are wanted by their names and do not exist.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use offtake_machine::{Cluster, Topic};
use offtake_wire::ErrorCode;

/// How long a topic may be missing before anybody is told: it may be about to be created.
const WORTH_TELLING: Duration = Duration::from_secs(5);

/// The most frequent mistake of a first day is a topic's name, or the address of another cluster. Waiting for the topic is right all
/// the same, since it may come.
#[derive(Debug, Default)]
pub(super) struct MissingTopics(BTreeMap<Topic, Missing>);

#[derive(Clone, Copy, Debug)]
struct Missing {
    since: Instant,
    is_told: bool,
}

impl MissingTopics {
    /// Looks for these in a new view of the cluster. Those that have been missing for long, each once until it is there.
    pub(super) fn look<'a>(
        &mut self,
        now: Instant,
        wanted: impl Iterator<Item = &'a Topic>,
        cluster: &Cluster,
    ) -> Vec<Topic> {
        let before = std::mem::take(&mut self.0);
        for topic in wanted.filter(|topic| is_missing(topic, cluster)) {
            let missing = before.get(topic).copied().unwrap_or(Missing { since: now, is_told: false });
            self.0.insert(topic.clone(), missing);
        }
        let late = self.0.iter_mut().filter(|(_, missing)| {
            !missing.is_told && now.saturating_duration_since(missing.since) >= WORTH_TELLING
        });
        late.map(|(topic, missing)| {
            missing.is_told = true;
            topic.clone()
        })
        .collect()
    }
}

fn is_missing(topic: &Topic, cluster: &Cluster) -> bool {
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
    fn b2_d4_a_topic_that_stays_away_is_told_once_until_it_has_been_there() {
        let mut missing = MissingTopics::default();
        let began = crate::clock::now();
        let mut look = |seconds, error| {
            let wanted = [Topic::from("ordrs")];
            missing.look(began + Duration::from_secs(seconds), wanted.iter(), &shows(error)).len()
        };
        let gone = ErrorCode::UnknownTopicOrPartition;
        let told = [(0, gone), (4, gone), (5, gone), (60, gone)].map(|(at, error)| look(at, error));
        assert_eq!(told, [0, 0, 1, 0]);
        let told =
            [(61, ErrorCode::None), (62, gone), (66, gone), (67, gone)].map(|(at, error)| look(at, error));
        assert_eq!(told, [0, 0, 0, 1]);
    }

    #[test]
    fn d4_a_full_listing_without_it_says_so_too_and_what_is_wanted_no_more_is_forgotten() {
        let mut missing = MissingTopics::default();
        let began = crate::clock::now();
        let nothing = Cluster { lists_all: true, ..Cluster::default() };
        let wanted = [Topic::from("ordrs")];
        assert!(missing.look(began, wanted.iter(), &nothing).is_empty());
        assert!(missing.look(began, [].iter(), &nothing).is_empty());
        assert!(missing.look(began + WORTH_TELLING, wanted.iter(), &nothing).is_empty());
        assert_eq!(missing.look(began + 2 * WORTH_TELLING, wanted.iter(), &nothing), wanted);
    }
}
