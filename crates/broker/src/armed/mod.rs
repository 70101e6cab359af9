//! The harm: rules, and what a test may do to the cluster.

use std::{collections::BTreeMap, time::Instant};

use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, RequestKind};

use crate::{
    api::VERSIONS,
    connection::Output,
    model::Model,
    request::{Context, Reply},
};

/// What has been ordered.
#[derive(Debug, Default)]
pub(crate) struct Arms {
    coordinators: BTreeMap<String, i32>,
}

impl Arms {
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        None
    }

    /// The broker that a test made the coordinator of this group or transactional id.
    pub(crate) fn coordinator(&self, key: &str) -> Option<i32> {
        self.coordinators.get(key).copied()
    }

    /// The versions that a broker speaks of an API, if it does.
    pub(crate) fn versions_of(&self, _broker: i32, key: ApiKey) -> Option<(i16, i16)> {
        VERSIONS.iter().find(|(known, ..)| *known == key).map(|(_, min, max)| (*min, *max))
    }
}

impl Model {
    /// What a rule makes of a request, instead of an answer; `None` lets it through.
    pub(crate) fn strike(&mut self, _context: &Context, _request: &RequestKind) -> Option<Reply> {
        None
    }

    /// An answer goes out, unless a rule wants otherwise. The connection may go on.
    pub(crate) fn send(&mut self, context: &Context, frame: Bytes) {
        self.idle(context.connection);
        self.outputs.push_back(Output::Send { connection: context.connection, bytes: frame });
    }

    pub(crate) fn release_delayed(&mut self) {}
}
