//! The parts of a manual assignment.

use offtake_machine::{Topic, TopicPartition};

use crate::StartAt;

/// A partition to read, and where to start: by default at the committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assign {
    partition: TopicPartition,
    at: StartAt,
}

impl Assign {
    /// Creates an assignment of this partition from there on.
    pub fn new(partition: impl Into<TopicPartition>, at: impl Into<StartAt>) -> Self {
        Self { partition: partition.into(), at: at.into() }
    }

    /// The partition, and where it starts.
    pub fn into_parts(self) -> (TopicPartition, StartAt) {
        (self.partition, self.at)
    }
}

impl From<TopicPartition> for Assign {
    fn from(partition: TopicPartition) -> Self {
        Self { partition, at: StartAt::Committed }
    }
}

impl From<&TopicPartition> for Assign {
    fn from(partition: &TopicPartition) -> Self {
        partition.clone().into()
    }
}

impl<T: Into<Topic>> From<(T, i32)> for Assign {
    fn from(partition: (T, i32)) -> Self {
        TopicPartition::from(partition).into()
    }
}

impl<P: Into<TopicPartition>, S: Into<StartAt>> From<(P, S)> for Assign {
    fn from((partition, at): (P, S)) -> Self {
        Self::new(partition, at)
    }
}

impl<T: Into<Topic>, S: Into<StartAt>> From<(T, i32, S)> for Assign {
    fn from((topic, partition, at): (T, i32, S)) -> Self {
        Self::new((topic, partition), at)
    }
}
