//! Fetch: sessions (KIP-227) and long polls.

mod answer;

use std::time::Instant;

use crate::{connection::ConnectionId, model::Model};

/// Sessions, and the fetches that wait for data.
#[derive(Debug, Default)]
pub(crate) struct Fetches {}

impl Fetches {
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        None
    }
}

impl Model {
    /// The log of this partition grew, its high watermark or last stable offset moved, or it has another leader: fetches
    /// that wait for it look again.
    pub(crate) fn wake_fetches(&mut self, _topic: &str, _partition: i32) {}

    pub(crate) fn expire_fetches(&mut self) {}

    pub(crate) fn forget_fetches(&mut self, _connection: ConnectionId) {}
}
