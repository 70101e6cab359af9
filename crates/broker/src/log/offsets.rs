//! Questions about offsets: ListOffsets, OffsetForLeaderEpoch, DeleteRecords.

use kafka_protocol::messages::{DeleteRecordsRequest, ListOffsetsRequest, OffsetForLeaderEpochRequest};

use crate::{
    model::Model,
    request::{Context, Reply},
};

impl Model {
    pub(crate) fn handle_list_offsets(&mut self, _context: &Context, _request: ListOffsetsRequest) -> Reply {
        Reply::Close
    }

    pub(crate) fn handle_offset_for_leader_epoch(
        &mut self,
        _context: &Context,
        _request: OffsetForLeaderEpochRequest,
    ) -> Reply {
        Reply::Close
    }

    pub(crate) fn handle_delete_records(
        &mut self,
        _context: &Context,
        _request: DeleteRecordsRequest,
    ) -> Reply {
        Reply::Close
    }
}
