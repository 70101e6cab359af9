//! What [`Consumer::assign`](super::Consumer::assign) takes.

use offtake_machine::{Topic, TopicPartition};

use crate::offsets::StartAt;

/// A partition to read, and from where: the committed offset unless it is told otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Assign {
    partition: TopicPartition,
    at: StartAt,
}

impl Assign {
    pub(super) fn parts(self) -> (TopicPartition, StartAt) {
        (self.partition, self.at)
    }
}

impl From<TopicPartition> for Assign {
    fn from(partition: TopicPartition) -> Self {
        Self { partition, at: StartAt::Committed }
    }
}

impl From<(TopicPartition, StartAt)> for Assign {
    fn from((partition, at): (TopicPartition, StartAt)) -> Self {
        Self { partition, at }
    }
}

impl<T: Into<Topic>> From<(T, i32)> for Assign {
    fn from((topic, partition): (T, i32)) -> Self {
        TopicPartition::new(topic, partition).into()
    }
}

impl<T: Into<Topic>> From<(T, i32, StartAt)> for Assign {
    fn from((topic, partition, at): (T, i32, StartAt)) -> Self {
        Self { partition: TopicPartition::new(topic, partition), at }
    }
}
