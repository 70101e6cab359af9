//! Who leads what, and where.

use kafka_protocol::messages::{DescribeClusterRequest, DescribeTopicPartitionsRequest, MetadataRequest};

use crate::{
    model::Model,
    request::{Context, Reply},
};

impl Model {
    pub(crate) fn handle_metadata(&mut self, _context: &Context, _request: MetadataRequest) -> Reply {
        Reply::Close
    }

    pub(crate) fn handle_describe_cluster(
        &mut self,
        _context: &Context,
        _request: &DescribeClusterRequest,
    ) -> Reply {
        Reply::Close
    }

    pub(crate) fn handle_describe_topic_partitions(
        &mut self,
        _context: &Context,
        _request: DescribeTopicPartitionsRequest,
    ) -> Reply {
        Reply::Close
    }
}
