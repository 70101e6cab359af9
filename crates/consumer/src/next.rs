//! Records and what happens to them as one sequence of values.

use crate::{
    event::{Event, OwnershipChange},
    rebalance::Handover,
    records::Records,
};

/// What [`Consumer::next`](crate::Consumer::next) hands out, in the order in which it is to be acted upon.
///
/// Of one partition the sequence is `(Assigned Records* (Revoking | Lost))*`.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "records that nobody looks at are finished by the next call"]
pub enum Next {
    /// Records, at most `max.poll.records`; none after [`Handle::wake`](crate::Handle::wake).
    Records(Records),
    /// These were given to this consumer. Their first record comes later, so that they can be sought, paused or prepared
    /// for.
    Assigned(OwnershipChange),
    /// These are about to be handed over. They are ours, and what is finished can be committed, until the value is dropped
    /// or the next is asked for.
    Revoking(Handover),
    /// These are gone already, perhaps to another member: a commit is refused. The consumer comes back to the group when
    /// the value is dropped or the next is asked for.
    Lost(Handover),
    /// [`Event::Reset`], [`Event::Truncated`], [`Event::PollIntervalExceeded`].
    Event(Event),
}
