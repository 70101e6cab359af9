//! State of a consumer that other tasks may read without a message: the [gauges](PartitionGauges) of its
//! partitions, as a snapshot that changes with the assignment.

use std::{collections::BTreeMap, sync::Arc};

use offtake_machine::TopicPartition;
use tokio::sync::watch;

use crate::gauges::PartitionGauges;

type Gauges = BTreeMap<TopicPartition, Arc<PartitionGauges>>;

/// The polling task's side.
#[derive(Debug, Default)]
pub(crate) struct View(watch::Sender<Gauges>);

impl View {
    pub(crate) fn add(&self, added: impl IntoIterator<Item = (TopicPartition, Arc<PartitionGauges>)>) {
        self.0.send_modify(|gauges| gauges.extend(added));
    }

    pub(crate) fn remove<'a>(&self, partitions: impl IntoIterator<Item = &'a TopicPartition>) {
        self.0.send_modify(|gauges| {
            for partition in partitions {
                gauges.remove(partition);
            }
        });
    }

    pub(crate) fn reader(&self) -> Viewer {
        Viewer(Some(self.0.subscribe()))
    }
}

/// The readers' side.
#[derive(Clone, Debug, Default)]
pub(crate) struct Viewer(Option<watch::Receiver<Gauges>>);

impl Viewer {
    /// Reads the gauges; `None` once the consumer is gone.
    fn read<T>(&self, read: impl FnOnce(&Gauges) -> T) -> Option<T> {
        let gauges = self.0.as_ref().filter(|gauges| gauges.has_changed().is_ok())?.borrow();
        Some(read(&gauges))
    }

    /// The partitions being handed out whose gauges meet a condition.
    pub(crate) fn owned(&self, is_meant: impl Fn(&PartitionGauges) -> bool) -> Vec<TopicPartition> {
        let owned = self.read(|gauges| {
            let owned = gauges.iter().filter(|(_, gauges)| !gauges.is_leaving() && is_meant(gauges));
            owned.map(|(partition, _)| partition.clone()).collect()
        });
        owned.unwrap_or_default()
    }

    /// The lag of each partition that is being handed out.
    pub(crate) fn lags(&self) -> BTreeMap<TopicPartition, Option<u64>> {
        let lags = self.read(|gauges| {
            let owned = gauges.iter().filter(|(_, gauges)| !gauges.is_leaving());
            owned.map(|(partition, gauges)| (partition.clone(), gauges.lag())).collect()
        });
        lags.unwrap_or_default()
    }

    /// The gauges of a partition, also of one that is being revoked.
    pub(crate) fn gauges(&self, partition: &TopicPartition) -> Option<Arc<PartitionGauges>> {
        self.read(|gauges| gauges.get(partition).cloned()).flatten()
    }
}
