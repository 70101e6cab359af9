//! How the cluster is reached: whether it answers, what is known of its brokers.

use std::collections::VecDeque;

use offtake_machine::{BrokerId, CallError};

#[derive(Debug, Default)]
pub(super) struct Reach {
    /// The last thing that went wrong on the way to the brokers, until something goes right.
    trouble: Option<CallError>,
    /// Whether any of that series would not go away by waiting.
    was_hopeless: bool,
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
        self.was_hopeless = false;
        self.trouble.take().is_some()
    }

    /// True if this is news: the first failure of a series, and the first of it that will not go away by waiting.
    pub(super) fn fails(&mut self, error: CallError) -> bool {
        let is_first = self.trouble.replace(error).is_none();
        let is_first_hopeless = self.is_hopeless() && !std::mem::replace(&mut self.was_hopeless, true);
        is_first || is_first_hopeless
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

#[cfg(test)]
mod tests {
    use super::*;

    fn unreachable(not_kafka: bool) -> CallError {
        CallError::Unreachable { address: "localhost:1".to_owned(), reason: "no".to_owned(), not_kafka }
    }

    #[test]
    fn trouble_that_will_not_go_away_is_news_behind_trouble_that_may() {
        let mut reach = Reach::default();
        assert!(reach.fails(unreachable(false)));
        assert!(!reach.fails(unreachable(false)), "the same again");
        assert!(reach.fails(unreachable(true)));
        assert!(reach.is_hopeless());
        assert!(!reach.fails(unreachable(false)));
        assert!(!reach.fails(unreachable(true)), "two servers, of which one is no broker");
        assert!(reach.cluster_is_known());
        assert!(reach.fails(unreachable(true)), "the first of another series");
        assert!(!reach.is_hopeless(), "a broker has answered before");
    }
}
