//! Produce with `acks=-1`: answered once the high watermark has passed the appended records.

use std::time::Duration;

use kafka_protocol::{error::ResponseError, messages::ProduceResponse};

use super::Work;
use crate::{
    model::Model,
    request::{Context, Reply},
};

/// The appended parts of a Produce that wait for other replicas.
#[derive(Debug, Default)]
pub(crate) struct Acks(Vec<Ack>);

#[derive(Debug)]
struct Ack {
    /// The indexes of the topic and of the partition in the answer.
    place: (usize, usize),
    topic: String,
    partition: i32,
    /// The offset that the high watermark must reach.
    offset: i64,
}

/// An answer that is complete except for its acknowledgements.
#[derive(Debug)]
pub(super) struct Unacked {
    pub(super) response: ProduceResponse,
    acks: Acks,
}

impl Acks {
    pub(crate) fn wait_for(&mut self, place: (usize, usize), (topic, partition): (&str, i32), offset: i64) {
        self.0.push(Ack { place, topic: topic.to_owned(), partition, offset });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Unacked {
    pub(super) fn awaits(&self, topic: &str, partition: i32) -> bool {
        self.acks.0.iter().any(|ack| ack.topic == topic && ack.partition == partition)
    }
}

impl Model {
    pub(crate) fn await_acks(
        &mut self,
        context: &Context,
        response: ProduceResponse,
        acks: Acks,
        timeout: Duration,
    ) -> Reply {
        let mut unacked = Unacked { response, acks };
        if self.acknowledge(context, &mut unacked, timeout.is_zero()) {
            return unacked.response.into();
        }
        self.fetches.park(context, self.now + timeout, Work::Produce(unacked));
        Reply::Later
    }

    /// Whether the answer may be sent: everything is acknowledged, or the time is up.
    pub(super) fn acknowledge(&self, context: &Context, unacked: &mut Unacked, expired: bool) -> bool {
        let mut late = Vec::new();
        for ack in std::mem::take(&mut unacked.acks.0) {
            let error = match self.topics.partition(&ack.topic, ack.partition) {
                None => Some(ResponseError::UnknownTopicOrPartition),
                Some(found) if found.leader != Some(context.broker) => {
                    Some(ResponseError::NotLeaderOrFollower)
                }
                Some(found) if found.log.high_watermark() >= ack.offset => None,
                Some(_) if expired => Some(ResponseError::RequestTimedOut),
                Some(_) => {
                    late.push(ack);
                    continue;
                }
            };
            let topic = unacked.response.responses.get_mut(ack.place.0);
            let answer = topic.and_then(|topic| topic.partition_responses.get_mut(ack.place.1));
            if let (Some(error), Some(answer)) = (error, answer) {
                answer.error_code = error.code();
            }
        }
        unacked.acks.0 = late;
        unacked.acks.is_empty()
    }
}
