//! How the cluster is reached: whether it answers, what is known of its brokers.

use std::collections::VecDeque;

use offtake_machine::{BrokerId, CallError};

#[derive(Debug, Default)]
pub(super) struct Reach {
    /// The last thing that went wrong on the way to the brokers, until something goes right.
    trouble: Option<CallError>,
    /// Whether a broker has ever answered.
    ever: bool,
    new_brokers: VecDeque<(BrokerId, String, u16)>,
    wants_rebootstrap: bool,
    has_new_cluster: bool,
}

impl Reach {
    pub(super) fn answered(&mut self) {
        self.ever = true;
    }

    /// Metadata has come. True if that ends a time of trouble.
    pub(super) fn cluster_is_known(&mut self) -> bool {
        self.ever = true;
        self.has_new_cluster = true;
        self.trouble.take().is_some()
    }

    /// True if this is news.
    pub(super) fn fails(&mut self, error: CallError) -> bool {
        self.trouble.replace(error).is_none()
    }

    pub(super) fn trouble(&self) -> Option<&CallError> {
        self.trouble.as_ref()
    }

    /// Whether the trouble will not go away by waiting.
    pub(super) fn is_hopeless(&self) -> bool {
        !self.ever && self.trouble.as_ref().is_some_and(|error| !error.is_retriable())
    }

    pub(super) fn found(&mut self, broker: BrokerId, host: String, port: u16) {
        self.new_brokers.push_back((broker, host, port));
    }

    pub(super) fn next_found(&mut self) -> Option<(BrokerId, String, u16)> {
        self.new_brokers.pop_front()
    }

    pub(super) fn rebootstrap(&mut self) {
        self.wants_rebootstrap = true;
    }

    pub(super) fn take_rebootstrap(&mut self) -> bool {
        std::mem::take(&mut self.wants_rebootstrap)
    }

    pub(super) fn take_new_cluster(&mut self) -> bool {
        std::mem::take(&mut self.has_new_cluster)
    }
}
