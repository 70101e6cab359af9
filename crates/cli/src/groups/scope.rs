//! `--topic T[:P,…]`: the partitions to reset.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
};

use offtake::TopicPartition;
use offtake_admin::TopicDescription;

use crate::failure::Failure;

/// A topic, or some of its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) topic: String,
    /// `None`: all partitions.
    pub(crate) partitions: Option<BTreeSet<i32>>,
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORMS: &str = "write TOPIC or TOPIC:PARTITION,…";
        let (topic, partitions) = match text.split_once(':') {
            Some((topic, partitions)) => (topic, Some(partitions)),
            None => (text, None),
        };
        if topic.is_empty() {
            return Err(FORMS.to_owned());
        }
        let index = |text: &str| text.parse::<u32>().ok().and_then(|index| i32::try_from(index).ok());
        let partitions = match partitions {
            None => None,
            Some(list) => Some(list.split(',').map(index).collect::<Option<_>>().ok_or(FORMS)?),
        };
        Ok(Self { topic: topic.to_owned(), partitions })
    }
}

/// The union of several scopes, over described topics.
pub(super) fn partitions(
    scopes: &[Scope],
    topics: &[TopicDescription],
) -> Result<BTreeSet<TopicPartition>, Failure> {
    let mut all = BTreeSet::new();
    for scope in scopes {
        let Some(topic) = topics.iter().find(|topic| topic.name == scope.topic.as_str()) else { continue };
        let existing = topic.partitions.keys().copied();
        let wanted: BTreeSet<i32> = scope.partitions.clone().unwrap_or_else(|| existing.collect());
        all.extend(wanted.into_iter().map(|index| TopicPartition::new(topic.name.clone(), index)));
    }
    check(&all, topics)?;
    Ok(all)
}

/// Checks that all of them exist.
pub(super) fn check(
    partitions: &BTreeSet<TopicPartition>,
    topics: &[TopicDescription],
) -> Result<(), Failure> {
    let count: BTreeMap<&str, &TopicDescription> =
        topics.iter().map(|topic| (topic.name.as_str(), topic)).collect();
    let of = |partition: &TopicPartition| count.get(partition.topic.as_str()).copied();
    let exists = |partition: &&TopicPartition| {
        of(partition).is_some_and(|topic| topic.partitions.contains_key(&partition.partition))
    };
    let missing: Vec<_> = partitions.iter().filter(|partition| !exists(partition)).collect();
    let Some(first) = missing.first() else { return Ok(()) };
    let names: Vec<_> = missing.iter().map(ToString::to_string).collect();
    let has = match of(first) {
        Some(topic) => format!("topic `{}` has {} partitions", topic.name, topic.partitions.len()),
        None => format!("there is no topic `{}`", first.topic),
    };
    Err(Failure::failed(format!("these partitions do not exist: {} ({has})", names.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(text: &str) -> Scope {
        text.parse().unwrap()
    }

    fn topic(name: &str, partitions: i32) -> TopicDescription {
        let info = offtake::PartitionInfo::new(None, None);
        TopicDescription::new(name, (0..partitions).map(|index| (index, info.clone())).collect())
    }

    #[test]
    fn a_topic_is_meant_whole_or_by_partitions() {
        assert_eq!(scope("orders"), Scope { topic: "orders".to_owned(), partitions: None });
        assert_eq!(scope("orders:2,0,2").partitions, Some(BTreeSet::from([0, 2])));
        for text in
            ["", ":1", "orders:", "orders:1,", "orders:-1", "orders:a", "orders:1:2", "orders:4294967295"]
        {
            assert!(text.parse::<Scope>().is_err(), "{text}");
        }
    }

    #[test]
    fn scopes_add_up() {
        let topics = [topic("a", 2), topic("b", 3)];
        let found = partitions(&[scope("b:2"), scope("a"), scope("b:0,2")], &topics).unwrap();
        let names: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["a-0", "a-1", "b-0", "b-2"]);
    }

    #[test]
    fn partitions_that_do_not_exist_are_named() {
        let failure = partitions(&[scope("a:1,2,7")], &[topic("a", 2)]).unwrap_err().to_string();
        assert_eq!(failure, "these partitions do not exist: a-2, a-7 (topic `a` has 2 partitions)");
    }
}
