//! Finding, listing, describing and deleting groups.

use kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, ListGroupsRequest,
};

use crate::{
    model::Model,
    request::{Context, Reply},
};

impl Model {
    pub(crate) fn handle_find_coordinator(
        &mut self,
        _context: &Context,
        _request: FindCoordinatorRequest,
    ) -> Reply {
        Reply::Close
    }

    pub(crate) fn handle_list_groups(&mut self, _context: &Context, _request: ListGroupsRequest) -> Reply {
        Reply::Close
    }

    pub(crate) fn handle_describe_groups(
        &mut self,
        _context: &Context,
        _request: DescribeGroupsRequest,
    ) -> Reply {
        Reply::Close
    }

    pub(crate) fn handle_delete_groups(
        &mut self,
        _context: &Context,
        _request: DeleteGroupsRequest,
    ) -> Reply {
        Reply::Close
    }
}
