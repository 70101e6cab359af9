//! Committed offsets.

use kafka_protocol::messages::{
    OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, TxnOffsetCommitRequest,
};

use crate::{
    model::Model,
    request::{Context, Reply},
};

impl Model {
    pub(crate) fn handle_offset_commit(
        &mut self,
        _context: &Context,
        _request: OffsetCommitRequest,
    ) -> Reply {
        Reply::Close
    }

    pub(crate) fn handle_offset_fetch(&mut self, _context: &Context, _request: OffsetFetchRequest) -> Reply {
        Reply::Close
    }

    pub(crate) fn handle_offset_delete(
        &mut self,
        _context: &Context,
        _request: OffsetDeleteRequest,
    ) -> Reply {
        Reply::Close
    }

    pub(crate) fn handle_txn_offset_commit(
        &mut self,
        _context: &Context,
        _request: TxnOffsetCommitRequest,
    ) -> Reply {
        Reply::Close
    }
}

/// What a group committed, and what transactions are about to.
#[derive(Debug, Default)]
pub(crate) struct Stored {}
