//! [`Dials`]: connections that will be needed in a moment. Each is made while what comes before it is still asked, so that its
//! handshakes (TCP, TLS, ApiVersions, SASL) take no time of their own.

use std::collections::BTreeSet;

use offtake_machine::{BrokerId, Cluster, TopicPartition};
use offtake_net::Lane;

/// What a leader is asked for over these, one after the other: where a partition starts, and its records.
const OF_LEADERS: [Lane; 2] = [Lane::Control, Lane::Fetch];

#[derive(Debug, Default)]
pub(super) struct Dials {
    due: BTreeSet<(BrokerId, Lane)>,
    /// Partitions that were begun before their leader was known.
    leaderless: BTreeSet<TopicPartition>,
}

impl Dials {
    /// These partitions are begun.
    pub(super) fn begin<'a>(
        &mut self,
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
        cluster: &Cluster,
    ) {
        for partition in partitions {
            match cluster.leader(partition) {
                Some(leader) => self.dial_leader(leader),
                None => {
                    self.leaderless.insert(partition.clone());
                }
            }
        }
    }

    /// The cluster may say by now who leads those that were begun before; those that are no longer owned are forgotten.
    pub(super) fn find_leaders(&mut self, cluster: &Cluster, is_owned: impl Fn(&TopicPartition) -> bool) {
        for partition in std::mem::take(&mut self.leaderless).into_iter().filter(is_owned) {
            match cluster.leader(&partition) {
                Some(leader) => self.dial_leader(leader),
                None => {
                    self.leaderless.insert(partition);
                }
            }
        }
    }

    /// A member joins by this coordinator. What follows, offsets and heartbeats, goes over another lane.
    pub(super) fn join(&mut self, coordinator: BrokerId) {
        self.due.insert((coordinator, Lane::Group));
    }

    pub(super) fn next(&mut self) -> Option<(BrokerId, Lane)> {
        self.due.pop_first()
    }

    fn dial_leader(&mut self, leader: BrokerId) {
        self.due.extend(OF_LEADERS.map(|lane| (leader, lane)));
    }
}
