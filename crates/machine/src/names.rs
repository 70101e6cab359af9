//! The names that all machines use.

use std::{borrow::Borrow, cmp::Ordering, convert::Infallible, fmt, str::FromStr, sync::Arc};

/// A broker's id, `node.id`. Never negative: a missing broker is an `Option`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BrokerId(pub i32);

impl BrokerId {
    /// `None` for Kafka's -1, which stands for no broker.
    pub fn known(id: i32) -> Option<Self> {
        (id >= 0).then_some(Self(id))
    }
}

impl fmt::Display for BrokerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broker {}", self.0)
    }
}

/// A topic's name. Clones are cheap, and comparing clones does not compare the bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Topic(Arc<str>);

/// The longest name that a topic can have, in bytes.
const LONGEST_TOPIC_NAME: usize = 249;

/// Why a topic cannot have a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTopic {
    /// It is empty.
    #[error("a topic name cannot be empty")]
    Empty,
    /// It is `.` or `..`.
    #[error("a topic name cannot be \".\" or \"..\"")]
    Dots,
    /// It has this many bytes.
    #[error("a topic name has at most {LONGEST_TOPIC_NAME} bytes, not {0}")]
    TooLong(usize),
    /// It contains this character.
    #[error("a topic name consists of ASCII letters, digits, '.', '_' and '-'; it cannot contain {0:?}")]
    Character(char),
}

impl Topic {
    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether Kafka permits a topic with this name. Other brokers than Kafka may have topics with other
    /// names; those are read nevertheless.
    pub fn check(&self) -> Result<(), InvalidTopic> {
        let legal = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        match &*self.0 {
            "" => Err(InvalidTopic::Empty),
            "." | ".." => Err(InvalidTopic::Dots),
            name if name.len() > LONGEST_TOPIC_NAME => Err(InvalidTopic::TooLong(name.len())),
            name => name.chars().find(|c| !legal(c)).map_or(Ok(()), |c| Err(InvalidTopic::Character(c))),
        }
    }
}

impl Ord for Topic {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
    }
}

impl PartialOrd for Topic {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<&str> for Topic {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<String> for Topic {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

/// Other types that convert to a name.
macro_rules! topic_from {
    ($($name:ty),*) => {$(
        impl From<$name> for Topic {
            fn from(name: $name) -> Self {
                Self(AsRef::<str>::as_ref(&name).into())
            }
        }
    )*};
}

topic_from!(
    &&str,
    &String,
    &&String,
    Box<str>,
    &Box<str>,
    std::borrow::Cow<'_, str>,
    &std::borrow::Cow<'_, str>
);

impl From<Arc<str>> for Topic {
    fn from(name: Arc<str>) -> Self {
        Self(name)
    }
}

impl FromStr for Topic {
    type Err = Infallible;

    fn from_str(name: &str) -> Result<Self, Infallible> {
        Ok(name.into())
    }
}

impl From<&Self> for Topic {
    fn from(topic: &Self) -> Self {
        topic.clone()
    }
}

impl From<&&Self> for Topic {
    fn from(topic: &&Self) -> Self {
        (*topic).clone()
    }
}

impl Borrow<str> for Topic {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Topic {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Topic {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

impl PartialEq<&str> for Topic {
    fn eq(&self, other: &&str) -> bool {
        &*self.0 == *other
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One partition of one topic.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Topic,
    /// The partition's index, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// `partition` of `topic`.
    pub fn new(topic: impl Into<Topic>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl<T: Into<Topic>> From<(T, i32)> for TopicPartition {
    fn from((topic, partition): (T, i32)) -> Self {
        Self::new(topic, partition)
    }
}

impl<'a, T> From<&'a (T, i32)> for TopicPartition
where
    &'a T: Into<Topic>,
{
    fn from((topic, partition): &'a (T, i32)) -> Self {
        Self::new(topic, *partition)
    }
}

impl From<&Self> for TopicPartition {
    fn from(partition: &Self) -> Self {
        partition.clone()
    }
}

impl From<&&Self> for TopicPartition {
    fn from(partition: &&Self) -> Self {
        (*partition).clone()
    }
}

impl fmt::Debug for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// Why a text is not a partition: see [`TopicPartition`]'s `FromStr`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no partition: it takes a topic, a dash and the partition's index, as in `orders-0`")]
pub struct ParseTopicPartitionError(String);

/// Parses the output of `Display`, `orders-0`. Topics may contain dashes too: the last one counts.
impl FromStr for TopicPartition {
    type Err = ParseTopicPartitionError;

    fn from_str(text: &str) -> Result<Self, ParseTopicPartitionError> {
        let parse = || {
            let (topic, partition) = text.rsplit_once('-').filter(|(topic, _)| !topic.is_empty())?;
            // `parse` alone would accept a sign.
            let partition =
                partition.parse().ok().filter(|_| partition.bytes().all(|c| c.is_ascii_digit()))?;
            Some(Self::new(topic, partition))
        };
        parse().ok_or_else(|| ParseTopicPartitionError(text.to_owned()))
    }
}

/// Serializes topics as their names, partitions as `orders-0`: in this form they can be the keys of a JSON
/// object.
#[cfg(feature = "serde")]
mod serde_impls {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use super::{Topic, TopicPartition};

    impl Serialize for Topic {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_str(self.as_str())
        }
    }

    impl<'de> Deserialize<'de> for Topic {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            String::deserialize(deserializer).map(Self::from)
        }
    }

    impl Serialize for TopicPartition {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self)
        }
    }

    impl<'de> Deserialize<'de> for TopicPartition {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
        }
    }
}

/// A leader epoch, which increases with each change of a partition's leader (KIP-320). `None` where Kafka
/// uses -1.
pub type LeaderEpoch = Option<i32>;

/// Turns Kafka's -1 into `None`.
pub fn known_epoch(epoch: i32) -> LeaderEpoch {
    (epoch >= 0).then_some(epoch)
}

/// A position in one partition: the next offset, and the leader epoch of the record before it, which shows whether the
/// log was truncated (KIP-320).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Position {
    /// The next offset to read.
    pub offset: i64,
    /// The leader epoch in which the record before it was written, if known.
    pub epoch: LeaderEpoch,
}

impl Position {
    /// `offset`, without a known epoch.
    pub fn at(offset: i64) -> Self {
        Self { offset, epoch: None }
    }
}

impl From<i64> for Position {
    fn from(offset: i64) -> Self {
        Self::at(offset)
    }
}

/// Ownership of a partition, as a value. Each assignment gets a new one. Records, stored offsets and commits
/// contain it, and a stale one is refused locally, so that nothing is committed after a revoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    /// The number of the assignment. It is unique in a consumer's life.
    pub assignment: u64,
    /// How many seeks there were since the assignment. Records fetched before a seek are not handed out after it.
    pub seek: u64,
}

impl Token {
    /// Whether both are of the same assignment, regardless of seeks. That is enough for a commit.
    pub fn same_assignment(self, other: Self) -> bool {
        self.assignment == other.assignment
    }

    /// The token after a seek.
    pub fn after_seek(self) -> Self {
        Self { seek: self.seek.saturating_add(1), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_topic_can_have_is_told_from_one_that_it_can() {
        let check = |name: &str| Topic::from(name).check();
        let longest = "a".repeat(LONGEST_TOPIC_NAME);
        for name in ["orders", "a.b_c-D9", "...", "__consumer_offsets", &longest] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        assert_eq!(check(""), Err(InvalidTopic::Empty));
        assert_eq!(check("."), Err(InvalidTopic::Dots));
        assert_eq!(check(".."), Err(InvalidTopic::Dots));
        assert_eq!(check(&"a".repeat(250)), Err(InvalidTopic::TooLong(250)));
        assert_eq!(check("two words"), Err(InvalidTopic::Character(' ')));
        assert_eq!(check("größe"), Err(InvalidTopic::Character('ö')));
    }

    #[test]
    fn a_partition_is_read_as_it_is_written_whatever_dashes_its_topic_has() {
        for (topic, partition) in
            [("orders", 0), ("a-b", 7), ("a-", 1), ("-", 2), ("1-2", 3), ("-1-", i32::MAX)]
        {
            let written = TopicPartition::new(topic, partition);
            assert_eq!(written.to_string().parse(), Ok(written));
        }
        for text in ["", "orders", "orders-", "-0", "orders-x", "orders-+1", "orders-2147483648", "orders- 1"]
        {
            let refused = text.parse::<TopicPartition>().unwrap_err();
            assert!(refused.to_string().contains(&format!("`{text}`")), "{refused}");
        }
    }

    #[test]
    fn topics_are_ordered_by_name_whether_or_not_cloned() {
        let (a, b) = (Topic::from("a"), Topic::from("b"));
        assert_eq!(a.cmp(&a.clone()), Ordering::Equal);
        assert_eq!(a.cmp(&Topic::from("a")), Ordering::Equal);
        assert_eq!((a.cmp(&b), b.cmp(&a)), (Ordering::Less, Ordering::Greater));
    }
}
