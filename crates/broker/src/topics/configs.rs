//! What may be set about topics and brokers.

use kafka_protocol::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};

use crate::{
    model::Model,
    request::{Context, Reply},
};

impl Model {
    pub(crate) fn handle_describe_configs(
        &mut self,
        _context: &Context,
        _request: DescribeConfigsRequest,
    ) -> Reply {
        Reply::Close
    }

    pub(crate) fn handle_incremental_alter_configs(
        &mut self,
        _context: &Context,
        _request: IncrementalAlterConfigsRequest,
    ) -> Reply {
        Reply::Close
    }
}
