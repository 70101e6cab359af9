//! Topics and their partitions: leader, epoch, and log.

mod admin;
mod configs;
mod create;
mod describe;
mod leaders;
mod metadata;
mod names;
mod settings;
#[cfg(test)]
pub(crate) mod test_client;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use kafka_protocol::{error::ResponseError, protocol::StrBytes};
use uuid::Uuid;

use crate::{log::Log, model::Model, observe::Observed, request::Context};

pub(crate) use create::{OFFSETS_TOPIC, TRANSACTIONS_TOPIC};

/// All topics.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    pub(crate) all: BTreeMap<String, Topic>,
    pub(crate) names: BTreeMap<Uuid, String>,
    /// How many topics clients have created so far, which places the next one's first replica.
    created: usize,
    /// The settings changed for all brokers (`""`) or for one, by IncrementalAlterConfigs.
    broker_configs: BTreeMap<String, BTreeMap<String, String>>,
}

/// One topic.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) id: Uuid,
    pub(crate) partitions: Vec<Partition>,
    /// The settings of this topic alone.
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
    /// In the order of `replicas`.
    pub(crate) isr: Vec<i32>,
    /// Replicas that left the ISR when it was already as small as `min.insync.replicas` allows: one of them may lead
    /// when it returns (KIP-966).
    pub(crate) elr: Vec<i32>,
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

/// An error code with a message for people. The wording is not Kafka's, whose messages are not part of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) error: ResponseError,
    /// `None` where Kafka sends no message with the code.
    pub(crate) message: Option<String>,
}

impl Refusal {
    pub(crate) fn new(error: ResponseError, message: impl Into<String>) -> Self {
        Self { error, message: Some(message.into()) }
    }

    pub(crate) fn silent(error: ResponseError) -> Self {
        Self { error, message: None }
    }

    pub(crate) fn text(&self) -> Option<StrBytes> {
        self.message.as_deref().map(text)
    }
}

pub(crate) fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

impl Model {
    /// Reports to observers that a request was refused with a code that a correct client does not meet in a cluster
    /// without faults. Returns the code.
    pub(crate) fn report_refusal(&mut self, context: &Context, error: ResponseError) -> i16 {
        let code = error.code();
        self.observe(|at| Observed::Refused {
            at,
            broker: context.broker,
            api: context.key as i16,
            code,
            client: context.client_id.as_deref().unwrap_or_default().to_owned(),
        });
        code
    }
}
