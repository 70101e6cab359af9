//! Where a member of the consumer protocol stands.

use std::time::Instant;

use offtake_machine::Call;

#[derive(Clone, Debug)]
pub(super) enum State {
    /// Not a member, and not trying to be one.
    Outside,
    /// Out because the application stopped polling; back when it does.
    Unpolled,
    /// Out for good.
    Failed,
    Joining {
        call: Call,
    },
    /// The call is the next heartbeat.
    Member {
        call: Call,
    },
    /// The application lets go of what is lost; then we join again. Silent until then (FAILURES F1).
    Releasing,
    Leaving {
        call: Call,
        until: Instant,
        /// What the last heartbeat has in its place.
        epoch: i32,
        then: Next,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Next {
    Outside,
    Unpolled,
    Failed,
    /// The application has polled meanwhile.
    Join,
    /// It has left and subscribed again meanwhile.
    LeftThenJoin,
}

/// What the next heartbeat has to mention. Null means "as before".
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(super) struct Say {
    pub(super) topics: bool,
    pub(super) owned: bool,
    /// The broker may not have heard the last one.
    pub(super) everything: bool,
}

impl State {
    pub(super) fn call(&self) -> Option<&Call> {
        match self {
            Self::Outside | Self::Unpolled | Self::Failed | Self::Releasing => None,
            Self::Joining { call } | Self::Member { call } | Self::Leaving { call, .. } => Some(call),
        }
    }

    pub(super) fn call_mut(&mut self) -> Option<&mut Call> {
        match self {
            Self::Outside | Self::Unpolled | Self::Failed | Self::Releasing => None,
            Self::Joining { call } | Self::Member { call } | Self::Leaving { call, .. } => Some(call),
        }
    }

    /// Whether the application is expected to poll.
    pub(super) fn is_member(&self) -> bool {
        matches!(self, Self::Joining { .. } | Self::Member { .. } | Self::Releasing)
    }
}
