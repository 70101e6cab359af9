//! The state of a member of the consumer protocol.

use std::time::Instant;

use crate::{call::CoordinatorCall, core::AfterLeaving};

#[derive(Clone, Debug)]
pub(super) enum State {
    /// Not a member, and not trying to be one.
    Outside,
    /// Not a member because the application stopped polling. It rejoins at the next poll.
    Unpolled,
    /// Failed, until the next `subscribe`.
    Failed,
    Joining {
        heartbeat: CoordinatorCall,
    },
    Member {
        heartbeat: CoordinatorCall,
    },
    /// The application gives up what is lost; then the member rejoins. No heartbeat is sent until then
    /// (FAILURES F1).
    Revoking,
    Leaving {
        heartbeat: CoordinatorCall,
        until: Instant,
        /// The member epoch of the last heartbeat.
        epoch: i32,
        then: AfterLeaving,
    },
}

/// The fields that the next heartbeat has to have. A null field means that nothing has changed.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(super) struct PendingFields {
    pub(super) subscription: bool,
    pub(super) owned: bool,
    /// All fields: the broker may not have received the last heartbeat.
    pub(super) full: bool,
}

impl State {
    /// The outstanding heartbeat, or the next one.
    pub(super) fn heartbeat(&self) -> Option<&CoordinatorCall> {
        match self {
            Self::Outside | Self::Unpolled | Self::Failed | Self::Revoking => None,
            Self::Joining { heartbeat } | Self::Member { heartbeat } | Self::Leaving { heartbeat, .. } => {
                Some(heartbeat)
            }
        }
    }

    pub(super) fn heartbeat_mut(&mut self) -> Option<&mut CoordinatorCall> {
        match self {
            Self::Outside | Self::Unpolled | Self::Failed | Self::Revoking => None,
            Self::Joining { heartbeat } | Self::Member { heartbeat } | Self::Leaving { heartbeat, .. } => {
                Some(heartbeat)
            }
        }
    }

    /// Whether the application is expected to poll.
    pub(super) fn is_member(&self) -> bool {
        matches!(self, Self::Joining { .. } | Self::Member { .. } | Self::Revoking)
    }
}
