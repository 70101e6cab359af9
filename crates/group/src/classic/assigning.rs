//! The tasks of a generation's leader alone: it makes the assignment, and rejoins when the topics' partitions
//! have changed since.

use std::time::Instant;

use offtake_machine::Cluster;

use super::{
    Classic, PARTITIONS_CHANGED,
    follow_up::{self, FollowUp, WithheldFrom},
    lead::Lead,
    leader_marker::LeaderMarker,
    state::{Membership, State, SyncPlan},
};
use crate::{assignor::RebalanceProtocol, call::CoordinatorCall};

impl Classic {
    pub(crate) fn handle_cluster(&mut self, now: Instant, cluster: &Cluster) {
        if let State::Syncing { sync, membership, plan, .. } = &mut self.state {
            let Membership { lead: Some(lead), rejoin_reason, .. } = &mut **membership else { return };
            match plan {
                SyncPlan::Make if lead.has_metadata(cluster) => *sync = CoordinatorCall::due(now),
                SyncPlan::Make => {}
                SyncPlan::Keep | SyncPlan::Send(_) if lead.outdated_by(cluster) => {
                    *rejoin_reason = Some(PARTITIONS_CHANGED)
                }
                SyncPlan::Keep | SyncPlan::Send(_) => {}
            }
        }
        self.check_partitions(now, cluster, |_| true);
    }

    /// A leader that got an earlier assignment back has not read the partitions of the topics yet.
    pub(super) fn check_kept_assignment(&mut self, now: Instant, cluster: &Cluster) {
        self.check_partitions(now, cluster, Lead::is_new);
    }

    fn check_partitions(&mut self, now: Instant, cluster: &Cluster, of: impl Fn(&Lead) -> bool) {
        if let State::Stable { membership } = &mut self.state
            && let Some(lead) = membership.lead.as_mut().filter(|lead| of(lead))
            && lead.outdated_by(cluster)
        {
            self.join_again(now, PARTITIONS_CHANGED);
        }
    }

    /// As leader with a SyncGroup to send: makes the assignment when the metadata is complete, or its time has come.
    pub(super) fn prepare_assignment(&mut self, now: Instant, cluster: &Cluster) {
        let State::Syncing { sync, membership, plan, .. } = &mut self.state else { return };
        let Membership { lead: Some(lead), assignor, follow_up, .. } = &mut **membership else { return };
        match plan {
            SyncPlan::Make if sync.is_due_by(now) || lead.has_metadata(cluster) => {
                let mut assignments = lead.assign(cluster);
                let cooperates = assignor.protocol() == RebalanceProtocol::Cooperative;
                let withheld = follow_up::withheld(lead, cluster, &assignments).filter(|_| cooperates);
                if let Some(from) = withheld {
                    *follow_up = FollowUp::Certain(from);
                }
                if let (Some(topology_hash), Some(_)) = (lead.topology_hash(), &self.core.config.instance_id)
                {
                    let withholds = withheld == Some(WithheldFrom::Static);
                    LeaderMarker { withholds, topology_hash }.write(&mut assignments, &self.member_id);
                }
                *plan = SyncPlan::Send(assignments);
                *sync = CoordinatorCall::due(now);
            }
            SyncPlan::Keep => {
                lead.watch_partitions(cluster);
                *plan = SyncPlan::Send(Vec::new());
            }
            SyncPlan::Make | SyncPlan::Send(_) => {}
        }
    }
}
