//! Where a member of the consumer protocol stands.

use std::time::Instant;

use crate::{call::CoordinatorCall, core::AfterLeaving};

#[derive(Clone, Debug)]
pub(super) enum State {
    /// Not a member, and not trying to be one.
    Outside,
    /// Out because the application stopped polling; back when it does.
    Unpolled,
    /// Out for good.
    Failed,
    Joining {
        heartbeat: CoordinatorCall,
    },
    Member {
        heartbeat: CoordinatorCall,
    },
    /// The application lets go of what is lost; then we join again. Silent until then (FAILURES F1).
    Revoking,
    Leaving {
        heartbeat: CoordinatorCall,
        until: Instant,
        /// What the last heartbeat has in its place.
        epoch: i32,
        then: AfterLeaving,
    },
}

/// What the next heartbeat has to mention. Null means "as before".
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(super) struct PendingFields {
    pub(super) subscription: bool,
    pub(super) owned: bool,
    /// All of them: the broker may not have heard the last one.
    pub(super) full: bool,
}

impl State {
    /// The outstanding heartbeat, or the next.
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
