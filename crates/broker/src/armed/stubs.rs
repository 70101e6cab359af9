//! What other rooms of this crate do, until they do: to be deleted when theirs are there.

use bytes::Bytes;
use kafka_protocol::error::ResponseError;

use crate::{
    log::Log,
    model::Model,
    topics::{Partition, Topic},
};

impl Model {
    // ---- topics --------------------------------------------------------------------------------------------------

    pub(crate) fn create_topic(
        &mut self,
        name: &str,
        partitions: i32,
        _replication_factor: i16,
        _configs: &[(&str, &str)],
    ) -> Result<(), ResponseError> {
        let brokers: Vec<i32> = self.nodes.live().collect();
        let partition = |leader: &i32| Partition {
            leader: Some(*leader),
            leader_epoch: 0,
            replicas: brokers.clone(),
            isr: brokers.clone(),
            log: Log::default(),
        };
        let count = usize::try_from(partitions).unwrap_or(1);
        let partitions = brokers.iter().cycle().take(count).map(partition).collect();
        let id = self.random.uuid();
        self.topics.names.insert(id, name.to_owned());
        let topic = Topic { id, partitions, configs: Default::default(), internal: false };
        self.topics.all.insert(name.to_owned(), topic);
        Ok(())
    }

    pub(super) fn broker_returned(&mut self, broker: i32) {
        for partition in self.topics.all.values_mut().flat_map(|topic| &mut topic.partitions) {
            if partition.leader.is_none() && partition.replicas.contains(&broker) {
                partition.leader = Some(broker);
                partition.leader_epoch += 1;
            }
        }
    }

    // ---- groups --------------------------------------------------------------------------------------------------

    /// Another broker coordinates this group from now on: it loads what was stored, and joins and syncs under way are lost.
    pub(super) fn reload_group(&mut self, _key: &str) {}

    // ---- logs ----------------------------------------------------------------------------------------------------

    /// Appends records as a producer without a producer id does, and gives the first one's offset.
    pub(crate) fn append_records(
        &mut self,
        _topic: &str,
        _partition: i32,
        _records: &[(Option<Bytes>, Option<Bytes>)],
    ) -> Result<i64, ResponseError> {
        Err(ResponseError::UnsupportedVersion)
    }

    /// A broker forgets its fetch sessions.
    pub(super) fn forget_fetch_sessions(&mut self, _broker: i32) {}
}
