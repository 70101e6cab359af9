//! Produce.

use kafka_protocol::messages::{DescribeProducersRequest, ProduceRequest};

use crate::{
    model::Model,
    request::{Context, Reply},
};

impl Model {
    pub(crate) fn handle_produce(&mut self, _context: &Context, _request: ProduceRequest) -> Reply {
        Reply::Close
    }

    pub(crate) fn handle_describe_producers(
        &mut self,
        _context: &Context,
        _request: DescribeProducersRequest,
    ) -> Reply {
        Reply::Close
    }
}
