//! The consumer protocol (KIP-848).

use kafka_protocol::messages::{ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest};

use crate::{
    model::Model,
    request::{Context, Reply},
};

impl Model {
    pub(crate) fn handle_consumer_group_heartbeat(
        &mut self,
        _context: &Context,
        _request: ConsumerGroupHeartbeatRequest,
    ) -> Reply {
        Reply::Close
    }

    pub(crate) fn handle_consumer_group_describe(
        &mut self,
        _context: &Context,
        _request: ConsumerGroupDescribeRequest,
    ) -> Reply {
        Reply::Close
    }
}

/// The members of a group of the consumer protocol.
#[derive(Debug, Default)]
pub(crate) struct Consumer {}
