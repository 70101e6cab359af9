//! [`Dials`]: connections that will be needed soon. Each is made while an earlier request is still outstanding, so that its
//! handshakes (TCP, TLS, ApiVersions, SASL) cost no extra time.

use std::collections::BTreeSet;

use offtake_machine::{BrokerId, Cluster, TopicPartition};
use offtake_net::Lane;

/// The lanes to a leader: start offsets go over the first, records over the second.
const OF_LEADERS: [Lane; 2] = [Lane::Control, Lane::Fetch];

#[derive(Debug, Default)]
pub(super) struct Dials {
    due: BTreeSet<(BrokerId, Lane)>,
    /// Partitions that were started before their leader was known.
    leaderless: BTreeSet<TopicPartition>,
}

impl Dials {
    /// Dials the leaders of partitions that are being started.
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

    /// Dials the leaders that the cluster names by now. Partitions that are no longer owned are forgotten.
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

    /// Dials the coordinator of a member that joins, for the offsets and heartbeats that follow over another lane.
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
