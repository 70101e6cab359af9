//! The transaction coordinator.

use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, DescribeTransactionsRequest, EndTxnRequest,
    InitProducerIdRequest, ListTransactionsRequest,
};

use std::time::Instant;

use crate::{
    model::Model,
    request::{Context, Reply},
};

impl Model {
    pub(crate) fn handle_init_producer_id(
        &mut self,
        _context: &Context,
        _request: InitProducerIdRequest,
    ) -> Reply {
        Reply::Close
    }

    pub(crate) fn handle_add_partitions_to_txn(
        &mut self,
        _context: &Context,
        _request: AddPartitionsToTxnRequest,
    ) -> Reply {
        Reply::Close
    }

    pub(crate) fn handle_add_offsets_to_txn(
        &mut self,
        _context: &Context,
        _request: AddOffsetsToTxnRequest,
    ) -> Reply {
        Reply::Close
    }

    pub(crate) fn handle_end_txn(&mut self, _context: &Context, _request: EndTxnRequest) -> Reply {
        Reply::Close
    }

    pub(crate) fn handle_describe_transactions(
        &mut self,
        _context: &Context,
        _request: DescribeTransactionsRequest,
    ) -> Reply {
        Reply::Close
    }

    pub(crate) fn handle_list_transactions(
        &mut self,
        _context: &Context,
        _request: ListTransactionsRequest,
    ) -> Reply {
        Reply::Close
    }
}

/// All transactional ids.
#[derive(Debug, Default)]
pub(crate) struct Transactions {}

impl Transactions {
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        None
    }
}

impl Model {
    pub(crate) fn expire_transactions(&mut self) {}
}
