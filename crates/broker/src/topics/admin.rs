//! Creating, deleting and growing topics.

use kafka_protocol::messages::{CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest};

use crate::{
    model::Model,
    request::{Context, Reply},
};

impl Model {
    pub(crate) fn handle_create_topics(
        &mut self,
        _context: &Context,
        _request: CreateTopicsRequest,
    ) -> Reply {
        Reply::Close
    }

    pub(crate) fn handle_delete_topics(
        &mut self,
        _context: &Context,
        _request: DeleteTopicsRequest,
    ) -> Reply {
        Reply::Close
    }

    pub(crate) fn handle_create_partitions(
        &mut self,
        _context: &Context,
        _request: CreatePartitionsRequest,
    ) -> Reply {
        Reply::Close
    }
}
