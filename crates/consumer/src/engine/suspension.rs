//! The time that the machine was suspended: the clock for memberships stood still, and the group's did not
//! (FAILURES M4).

use std::time::{Duration, Instant};

use offtake_group::Member;

/// The last suspension of the machine. Sessions confirmed by requests sent before it are shorter by its
/// length.
#[derive(Debug, Default)]
pub(super) struct Suspension {
    noticed: Option<Instant>,
    /// All suspended time since the last heartbeat that was accepted, or more.
    lasted: Duration,
}

impl Suspension {
    pub(super) fn note(&mut self, now: Instant, by: Duration, member: Option<&Member>) {
        let is_over = self.noticed < member.and_then(Member::last_accepted_at);
        self.lasted = if is_over { by } else { self.lasted.saturating_add(by) };
        self.noticed = Some(now);
    }

    /// Until when records of the member's partitions may be handed out.
    pub(super) fn valid_until(&self, member: &Member) -> Option<Instant> {
        self.shortened(member.valid_until()?, member.last_accepted_at())
    }

    /// Whether the membership is known to be valid.
    pub(super) fn is_current(&self, member: &Member, now: Instant) -> bool {
        self.valid_until(member).is_some_and(|until| until > now)
    }

    fn shortened(&self, until: Instant, accepted: Option<Instant>) -> Option<Instant> {
        match self.noticed {
            Some(noticed) if accepted.is_none_or(|accepted| accepted <= noticed) => {
                until.checked_sub(self.lasted)
            }
            _ => Some(until),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m4_a_session_is_shorter_by_what_the_machine_slept_until_a_heartbeat_is_accepted_that_was_sent_since() {
        let second = Duration::from_secs(1);
        let began = crate::clock::later(crate::clock::now(), 10_000 * second);
        let at = |seconds| began + second * seconds;
        let mut suspension = Suspension::default();
        assert_eq!(suspension.shortened(at(45), Some(at(0))), Some(at(45)));
        suspension.note(at(3), 10 * second, None);
        assert_eq!(suspension.shortened(at(45), Some(at(0))), Some(at(35)), "it lasts as long as before");
        suspension.note(at(4), 7_200 * second, None);
        let shorter = suspension.shortened(at(45), Some(at(4)));
        assert!(shorter.is_some_and(|until| until < at(0)), "both count");
        assert_eq!(suspension.shortened(at(50), Some(at(5))), Some(at(50)), "renewed since");
    }
}
