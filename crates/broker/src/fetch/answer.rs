//! Fetch.

use kafka_protocol::messages::FetchRequest;

use crate::{
    model::Model,
    request::{Context, Reply},
};

impl Model {
    pub(crate) fn handle_fetch(&mut self, _context: &Context, _request: FetchRequest) -> Reply {
        Reply::Close
    }
}
