//! DescribeProducers, and the check of transactional writes with the coordinator.

use kafka_protocol::{
    error::ResponseError,
    messages::{
        DescribeProducersRequest, DescribeProducersResponse,
        describe_producers_response::{PartitionResponse, ProducerState, TopicResponse},
    },
    protocol::StrBytes,
};

use super::Log;
use crate::{
    model::Model,
    request::{Context, Reply},
};

impl Model {
    pub(crate) fn handle_describe_producers(
        &mut self,
        context: &Context,
        request: DescribeProducersRequest,
    ) -> Reply {
        let topics = request.topics.into_iter().map(|topic| {
            let known = self.topics.all.contains_key(topic.name.as_str());
            let describe = |partition: &i32| {
                let answer = PartitionResponse::default().with_partition_index(*partition);
                if !known {
                    let message = "This server does not host this topic-partition.";
                    return answer
                        .with_error_code(ResponseError::UnknownTopicOrPartition.code())
                        .with_error_message(Some(StrBytes::from_static_str(message)));
                }
                match self.replica(context.broker, (topic.name.as_str(), *partition), -1, false) {
                    Ok(found) => answer.with_active_producers(found.log.active_producers()),
                    Err(code) => answer.with_error_code(code.code()),
                }
            };
            let partitions = topic.partition_indexes.iter().map(describe).collect();
            TopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions)
        });
        DescribeProducersResponse::default().with_topics(topics.collect()).into()
    }
}

impl Log {
    fn active_producers(&self) -> Vec<ProducerState> {
        let state = |(id, producer): (&i64, &super::producers::Producer)| {
            ProducerState::default()
                .with_producer_id((*id).into())
                .with_producer_epoch(i32::from(producer.epoch))
                .with_last_sequence(producer.last_sequence())
                .with_last_timestamp(producer.last_timestamp)
                .with_coordinator_epoch(producer.coordinator_epoch)
                .with_current_txn_start_offset(producer.open.unwrap_or(-1))
        };
        self.producers.iter().map(state).collect()
    }
}
