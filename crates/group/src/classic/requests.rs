//! The request of each state.

use offtake_wire::{
    EncodeError, Request,
    messages::{
        heartbeat::HeartbeatRequest,
        join_group::{JoinGroupRequest, JoinGroupRequestProtocol},
        leave_group::{LeaveGroupRequest, MemberIdentity},
        sync_group::SyncGroupRequest,
    },
};

use super::{
    Classic,
    state::{CallKind, State, SyncPlan},
};
use crate::{
    assignor::{Claim, RebalanceProtocol, encode_subscription},
    config::millis,
};

/// The protocol type of groups of consumers.
pub(super) const PROTOCOL_TYPE: &str = "consumer";

/// Brokers refuse longer reasons.
const LONGEST_REASON: usize = 255;

impl Classic {
    /// `None` in a state without a request of this kind.
    pub(super) fn request(&mut self, kind: CallKind) -> Result<Option<Request>, EncodeError> {
        Ok(match (kind, &self.state) {
            (_, State::Outside | State::Unpolled { .. } | State::Failed) => None,
            (CallKind::Step, State::Joining { reason, .. }) => Some(self.join(reason)?.into()),
            (CallKind::Step, State::Syncing { .. }) => Some(self.sync().into()),
            (CallKind::Step, State::Leaving { reason, .. }) => Some(self.leave_request(reason).into()),
            (CallKind::Step, State::Stable { .. } | State::Revoking { .. }) => None,
            (CallKind::Heartbeat, State::Leaving { .. }) => None,
            (
                CallKind::Heartbeat,
                State::Joining { .. } | State::Syncing { .. } | State::Stable { .. } | State::Revoking { .. },
            ) => Some(self.heartbeat_request().into()),
        })
    }

    fn join(&self, reason: &str) -> Result<JoinGroupRequest, EncodeError> {
        let protocols = self.core.config.assignors.iter().map(|assignor| {
            let metadata = encode_subscription(assignor, &self.claim())?;
            Ok(JoinGroupRequestProtocol { name: assignor.name().to_owned(), metadata })
        });
        Ok(JoinGroupRequest {
            group_id: self.core.config.group.clone(),
            session_timeout_ms: millis(self.core.config.session_timeout),
            rebalance_timeout_ms: millis(self.core.config.rebalance_timeout),
            member_id: self.member_id.clone(),
            group_instance_id: self.core.config.instance_id.clone(),
            protocol_type: PROTOCOL_TYPE.to_owned(),
            protocols: protocols.collect::<Result<_, EncodeError>>()?,
            reason: Some(shortened(reason)),
        })
    }

    /// The generation of a claim is that of the assignment: a generation that was joined without an assignment does not renew it
    /// (FAILURES D4, E5).
    fn claim(&self) -> Claim<'_> {
        let owned = match self.core.config.rebalance_protocol() {
            RebalanceProtocol::Eager => Vec::new(),
            RebalanceProtocol::Cooperative => self.owned.all.iter().cloned().collect(),
        };
        Claim {
            topics: &self.subscription,
            owned,
            generation: self.state.membership().map_or(-1, |_| self.owned.generation()),
            last: self.owned.last.as_ref().map(|(partitions, generation)| (partitions, *generation)),
            rack: self.core.config.rack.as_deref(),
        }
    }

    fn sync(&mut self) -> SyncGroupRequest {
        let assignments = match &mut self.state {
            State::Syncing { plan: SyncPlan::Send(assignments), .. } => std::mem::take(assignments),
            _ => Vec::new(),
        };
        SyncGroupRequest {
            group_id: self.core.config.group.clone(),
            generation_id: self.generation(),
            member_id: self.member_id.clone(),
            group_instance_id: self.core.config.instance_id.clone(),
            protocol_type: Some(PROTOCOL_TYPE.to_owned()),
            protocol_name: self.state.membership().map(|membership| membership.assignor.name().to_owned()),
            assignments,
        }
    }

    fn generation(&self) -> i32 {
        self.state.membership().map_or(-1, |membership| membership.generation)
    }

    fn heartbeat_request(&self) -> HeartbeatRequest {
        HeartbeatRequest {
            group_id: self.core.config.group.clone(),
            generation_id: self.generation(),
            member_id: self.member_id.clone(),
            group_instance_id: self.core.config.instance_id.clone(),
        }
    }

    fn leave_request(&self, reason: &str) -> LeaveGroupRequest {
        LeaveGroupRequest {
            group_id: self.core.config.group.clone(),
            member_id: self.member_id.clone(),
            members: vec![MemberIdentity {
                member_id: self.member_id.clone(),
                // With the member id, so that a fenced static member does not remove its successor.
                group_instance_id: self.core.config.instance_id.clone(),
                reason: Some(shortened(reason)),
            }],
        }
    }
}

/// The reason, cut to what brokers accept (KIP-800).
fn shortened(reason: &str) -> String {
    reason.char_indices().take_while(|(at, c)| at + c.len_utf8() <= LONGEST_REASON).map(|(_, c)| c).collect()
}
