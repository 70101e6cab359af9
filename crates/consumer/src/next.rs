//! Records and events as one sequence of values.

use crate::{
    event::{Event, OwnershipChange},
    rebalance::Handover,
    records::Records,
};

/// A value that [`Consumer::next`](crate::Consumer::next) returns, in the order in which to act on them.
///
/// For one partition the sequence is `(Assigned Records* (Revoking | Lost))*`.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "records that nobody looks at are finished by the next call"]
pub enum Next {
    /// Records, at most `max.poll.records`; none after [`Handle::wake`](crate::Handle::wake).
    Records(Records),
    /// These were assigned to this consumer. Their first record comes later, so that you can seek, pause or
    /// prepare first.
    Assigned(OwnershipChange),
    /// These are about to be revoked. They are ours, and what is finished can be committed, until the value
    /// is dropped or the next one is requested.
    Revoking(Handover),
    /// These are lost, and perhaps owned by another member: a commit is refused. The consumer rejoins the
    /// group when the value is dropped or the next one is requested.
    Lost(Handover),
    /// [`Event::Reset`], [`Event::Truncated`], [`Event::PollIntervalExceeded`].
    Event(Event),
}
