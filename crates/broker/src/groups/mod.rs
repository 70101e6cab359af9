//! Groups: their members, by either protocol, and what they committed.

mod admin;
mod classic;
mod consumer;
mod offsets;

use std::{collections::BTreeMap, time::Instant};

use crate::model::Model;

/// All groups.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    pub(crate) all: BTreeMap<String, Group>,
}

/// One group.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) members: Members,
    pub(crate) offsets: offsets::Stored,
}

/// Who is in a group, and by which protocol.
#[derive(Debug, Default)]
pub(crate) enum Members {
    /// Nobody ever was: offsets were committed by hand.
    #[default]
    None,
    Classic(classic::Classic),
    Consumer(consumer::Consumer),
}

impl Groups {
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        None
    }
}

impl Model {
    pub(crate) fn expire_groups(&mut self) {}

    /// Topics were created, deleted or grew: groups of the consumer protocol look at their assignment again, and offsets
    /// of deleted topics go.
    pub(crate) fn topics_changed(&mut self) {}

    /// A broker died, or a test moved a group: another broker loads it, without what was only in memory (joins and syncs
    /// under way); members' sessions begin anew.
    pub(crate) fn reload_groups_of(&mut self, _broker: i32) {}

    /// A transaction ended: its pending offsets become the group's, or are dropped.
    pub(crate) fn end_transaction_in_group(&mut self, _group: &str, _producer: i64, _commit: bool) {}
}
