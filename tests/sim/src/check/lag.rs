//! S14: lag is what is left to read.

use std::time::Duration;

use super::{
    Complaints,
    ledger::Ledger,
    records::{Records, Scene},
};
use crate::{
    events::{Place, Who},
    plan::Plan,
};

/// Markers behind the last record are passed over by the next `poll`; until then they count.
const MARKERS: u64 = 2;

impl Records {
    pub(super) fn lag_read(
        &mut self,
        scene: Scene<'_>,
        (who, place, lag): (Who, &Place, u64),
        complaints: &mut Complaints,
    ) {
        if self.quiet && lag > MARKERS && self.is_at_end(scene.plan, scene.ledger, who, place) {
            let text = format!("{who} says that {place} lags by {lag}, and all is read");
            complaints.add("S14", scene.at, text);
        }
    }

    /// Whether nothing is left that this member would still be handed.
    fn is_at_end(&self, plan: &Plan, ledger: &Ledger, who: Who, place: &Place) -> bool {
        let reader = self.readers.get(&(who, place.clone()));
        let (Some(reader), Some(log)) = (reader, ledger.log(place)) else { return false };
        let Some(last) = reader.last else { return false };
        let seen = |transaction| {
            let outcome = ledger.outcome(transaction);
            if plan.members[who.member].read_committed { outcome == Some(true) } else { true }
        };
        // Of a log that was cut, only what was read of it since.
        reader.incarnation == log.cuts.len()
            && !log.records.range(last + 1..).any(|(_, record)| !record.gone && seen(record.transaction))
    }

    /// The oldest record that a member has not been handed of what it would be, if it was written before then.
    pub(super) fn oldest_unread(
        &self,
        plan: &Plan,
        ledger: &Ledger,
        (who, place): (Who, &Place),
        before: Duration,
    ) -> Option<i64> {
        let reader = self.readers.get(&(who, place.clone()))?;
        let log = ledger.log(place)?;
        let last = reader.last.filter(|_| reader.incarnation == log.cuts.len())?;
        let read_committed = plan.members[who.member].read_committed;
        let seen = |transaction| !read_committed || ledger.outcome(transaction) == Some(true);
        let unread =
            log.records.range(last + 1..).find(|(_, record)| !record.gone && seen(record.transaction))?;
        (unread.1.since < before).then_some(*unread.0)
    }
}
