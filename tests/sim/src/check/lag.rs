//! SAFE14: lag is the number of records left to read.

use std::time::Duration;

use super::{
    Complaints,
    ledger::{Ledger, Record},
    records::{Records, Scene},
};
use crate::{
    events::{Place, Who},
    plan::Plan,
};

/// A record this old is known to every reader.
const HEARD_OF: Duration = Duration::from_secs(5);
/// This long after the last fault all connections work again.
const SETTLED: Duration = Duration::from_secs(15);
/// Markers after the last record are skipped by the next `poll`; until then they count.
const MARKERS: u64 = 2;
/// A member that skips aborted records reduces its lag again within this time: several fetches.
const PASSES: Duration = Duration::from_secs(2);

impl Records {
    pub(super) fn lag_read(
        &mut self,
        scene: Scene<'_>,
        (who, place, lag): (Who, &Place, u64),
        complaints: &mut Complaints,
    ) {
        // Offsets from an answer are known; without faults and pauses, an answer arrives every half second.
        let settled = self.healed.is_some_and(|healed| healed + SETTLED < scene.at);
        let before = scene.at.saturating_sub(HEARD_OF);
        let unread = self.oldest_unread(scene.plan, scene.ledger, (who, place), before);
        let key = (who, place.clone());
        let granted = self.readers.get(&key).map(super::reader::Reader::asks_since);
        // While a partition is paused nothing is learned of it.
        let granted = granted.max(self.resumed.get(&key).copied());
        // Nor while the records that the application holds, of this poll and of the one before, take up all memory.
        let polls = self.polled.get(&who).is_none_or(|(before_last, _)| *before_last >= before);
        if let Some(offset) = unread
            && let waits =
                self.readers.get(&key).is_some_and(|reader| self.may_wait(who, reader.handed_at, before))
            && let least = if waits { 1 } else { self.least_known(scene, (who, place), before).max(1) }
            && lag < least
            && settled
            && polls
            && !self.paused.contains(&key)
            && granted.is_some_and(|granted| granted < before)
        {
            let text = format!(
                "{who} says that {place} lags by {lag}, and offset {offset} is unread: it lags by {least} at least"
            );
            complaints.add("SAFE14", scene.at, text);
        }
        if self.quiet && lag > MARKERS && self.is_at_end(scene.plan, scene.ledger, who, place) {
            // Aborted records are fetched and skipped like others, and count until then. So do records that were fetched before their log
            // was cut: the report of the cut waits behind them.
            let at_the_cut = self.readers.get(&key).is_none_or(super::reader::Reader::has_gone);
            let passes =
                if at_the_cut { self.left_to_pass(scene.ledger, who, place) } else { u64::MAX - MARKERS };
            let least = self.least_lag.entry(key).or_insert((lag, scene.at));
            if lag < least.0 {
                *least = (lag, scene.at);
            }
            let (_, since) = *least;
            if lag > passes + MARKERS || scene.at > since + PASSES {
                let text = format!("{who} says that {place} lags by {lag}, and all is read");
                complaints.add("SAFE14", scene.at, text);
            }
        }
    }

    /// Whether the records of an answer from before then may still wait in the client, where nothing more is fetched until they are handed out: a
    /// partition was handed some since, or each poll since it last was had records of others to hand out.
    fn may_wait(&self, who: Who, handed_at: Duration, before: Duration) -> bool {
        handed_at >= before || self.busy_since.get(&who).is_some_and(|since| *since <= handed_at)
    }

    /// The number of offsets that were left to read before then and still are, from the first record that a member has not been handed.
    fn least_known(&self, scene: Scene<'_>, (who, place): (Who, &Place), before: Duration) -> u64 {
        let Scene { plan, ledger, .. } = scene;
        let Some((reader, log)) = self.readers.get(&(who, place.clone())).zip(ledger.log(place)) else {
            return 0;
        };
        let read_committed = plan.members[who.member].read_committed;
        // A truncation may remove the marker of a transaction, which then keeps later records from a member that reads what is committed.
        if read_committed && log.cuts.iter().any(|cut| !cut.recreated) {
            return 0;
        }
        let after = reader.last.max(reader.is_to_go().map(|to| to - 1)).map_or(log.start, |last| last + 1);
        let is_passed = |transaction| read_committed && ledger.outcome(transaction) == Some(false);
        let mut left =
            log.records.range(after..).filter(|(_, record)| !record.gone && !is_passed(record.transaction));
        let Some((first, _)) = left.next() else { return 0 };
        // What is committed reaches up to the first open transaction.
        let is_known = |record: &Record| {
            record.since < before && (!read_committed || ledger.had_ended(record.transaction, before))
        };
        let known = log.records.range(first..).take_while(|(_, record)| is_known(record)).last();
        known.map_or(0, |(last, _)| u64::try_from(last + 1 - first).unwrap_or(0))
    }

    /// The number of offsets between the last record handed out and the last aborted record.
    fn left_to_pass(&self, ledger: &Ledger, who: Who, place: &Place) -> u64 {
        let last = self.readers.get(&(who, place.clone())).and_then(|reader| reader.last);
        let end = ledger.log(place).and_then(|log| log.records.last_key_value()).map(|(offset, _)| *offset);
        end.zip(last).map_or(0, |(end, last)| u64::try_from(end - last).unwrap_or(0))
    }

    /// Whether this member has no more records to be handed.
    fn is_at_end(&self, plan: &Plan, ledger: &Ledger, who: Who, place: &Place) -> bool {
        let reader = self.readers.get(&(who, place.clone()));
        let (Some(reader), Some(log)) = (reader, ledger.log(place)) else { return false };
        let Some(last) = reader.last else { return false };
        let seen = |transaction| {
            let outcome = ledger.outcome(transaction);
            if plan.members[who.member].read_committed { outcome == Some(true) } else { true }
        };
        // In a log that was cut, only records read since count. (Records that need not be handed out may be, and count until then.)
        reader.incarnation == log.cuts.len()
            && !log.records.range((last + 1).max(log.start)..).any(|(_, record)| seen(record.transaction))
    }

    /// The oldest record due to a member that it has not been handed, if it was written before then.
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
        // Records before its new position are no longer due to it.
        let last = last.max(reader.is_to_go().unwrap_or(0) - 1);
        let read_committed = plan.members[who.member].read_committed;
        let seen = |transaction| !read_committed || ledger.outcome(transaction) == Some(true);
        let unread =
            log.records.range(last + 1..).find(|(_, record)| !record.gone && seen(record.transaction))?;
        (unread.1.since < before).then_some(*unread.0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::forge::{Forged, M0, orders};
    use crate::events::{Call, Place, What};

    fn lags(forged: Forged, lag: u64) -> Forged {
        forged.tell(What::LagRead { who: M0, at: orders(), lag })
    }

    #[test]
    fn safe14_a_lag_too_large_when_all_is_read() {
        lags(Forged::begun().tell(What::Quiet), 5).is_found("SAFE14");
        lags(Forged::begun().tell(What::Quiet), 1).holds();
        // There are records left.
        lags(Forged::begun().written(10..15, 0).tell(What::Quiet), 5).holds();
    }

    #[test]
    fn safe14_aborted_records_count_until_they_are_passed_over() {
        let begun = Forged::begun().planned(|plan| plan.members[0].read_committed = true);
        let aborted = (10..20).fold(begun, |forged, offset| {
            forged.tell(What::Appended { at: orders(), offset, id: 7_000, transaction: 7 })
        });
        let aborted = aborted.tell(What::Ended { transaction: 7, committed: false }).tell(What::Quiet);
        lags(aborted.clone(), 10).holds();
        lags(lags(aborted.clone(), 10).wait(1_000), 6).holds();
        // It makes no progress; and there are not that many.
        lags(lags(aborted.clone(), 10).wait(2_100), 10).is_found("SAFE14");
        lags(aborted.clone(), 15).is_found("SAFE14");
    }

    #[test]
    fn safe14_records_that_were_fetched_before_their_log_was_cut_count_until_they_are_handed_out() {
        let told = What::TruncationTold { who: M0, at: orders(), from: 20, to: Some(11) };
        let cut = Forged::begun().written(10..20, 0).truncated(11);
        let told = cut.clone().tell(told).tell(What::Quiet).handed(M0, 10..11, 0);
        lags(told.clone(), 9).holds();
        lags(lags(told.clone(), 9).wait(1_000), 7).holds();
        // It makes no progress; and none of those records was on its way.
        lags(lags(told, 9).wait(2_100), 9).is_found("SAFE14");
        lags(cut.tell(What::Quiet).handed(M0, 10..11, 0), 9).is_found("SAFE14");
    }

    #[test]
    fn safe14_records_that_a_truncation_made_doubtful_are_left_to_read() {
        let appended = |forged: Forged, offset| {
            forged.tell(What::Appended { at: orders(), offset, id: 7_000, transaction: 7 })
        };
        let written = (11..15).fold(Forged::begun().written(10..11, 0), appended);
        let cut = written.tell(What::Ended { transaction: 7, committed: true }).truncated(15);
        let read = cut.tell(What::Quiet).handed(M0, 10..11, 0);
        lags(read, 4).holds();
    }

    #[test]
    fn safe14_records_skipped_by_a_reset_are_not_lag() {
        let waits = Forged::begun().written(10..20, 0).handed(M0, 10..12, 0).tell(What::Healed).wait(30_000);
        let start = What::StartMoved { at: orders(), start: 15 };
        lags(waits.clone().tell(start.clone()), 0).is_found("SAFE14");
        lags(waits.tell(start).reset(M0, Some(12), 20), 0).holds();
    }

    #[test]
    fn safe14_a_lag_smaller_than_what_is_left() {
        let healed = |forged: Forged| forged.tell(What::Healed).wait(20_000);
        let waits = healed(Forged::begun()).written(10..14, 0).wait(10_000);
        lags(waits.clone(), 3).is_found("SAFE14");
        lags(waits.clone(), 4).holds();
        // Some were handed out since; of some it need not know yet; some were compacted away.
        lags(waits.clone().handed(M0, 10..12, 0), 2).holds();
        // The plans of seeds 26024340 and 26025011: more may wait in the client, where nothing is fetched before they are handed out.
        let handed = waits.clone().handed(M0, 10..12, 0);
        lags(handed.clone(), 1).holds();
        lags(handed.clone(), 0).is_found("SAFE14");
        lags(handed.wait(6_000), 1).is_found("SAFE14");
        lags(waits.clone().written(14..20, 0), 4).holds();
        lags(waits.tell(What::Compacted { at: orders(), offset: 10 }), 3).holds();
        // Nor does a member that reads what is committed know of what lies beyond an open transaction, until a while after its end.
        let open = |committed: bool| {
            let planned = Forged::begun().planned(|plan| plan.members[0].read_committed = committed);
            let first = healed(planned).written(10..11, 0);
            let open = first.tell(What::Appended { at: orders(), offset: 11, id: 7_000, transaction: 7 });
            open.written(12..14, 0).wait(10_000)
        };
        lags(open(true), 1).holds();
        lags(open(false), 1).is_found("SAFE14");
        let ended = open(true).tell(What::Ended { transaction: 7, committed: true });
        lags(ended.clone().wait(1_000), 1).holds();
        lags(ended.wait(6_000), 1).is_found("SAFE14");
    }

    /// The plan of seed 26162492.
    #[test]
    fn safe14_records_wait_in_the_client_while_each_poll_has_those_of_another_partition() {
        let bills = || Place::new("bills", 0);
        let both = vec![orders(), bills()];
        let granted = What::GroupAssigned { member: M0.to_string(), generation: 2, places: both.clone() };
        let of_bills = |offset| (offset, 5_000 + u64::try_from(offset).unwrap());
        let begun = (0..8).map(of_bills).fold(Forged::begun().tell(granted), |forged, (offset, id)| {
            forged.tell(What::Appended { at: bills(), offset, id, transaction: 0 })
        });
        let begun = begun.tell(What::Assigned { who: M0, places: vec![bills()], generation: 2 });
        let begun =
            begun.tell(What::Reset { who: M0, at: bills(), from: None, to: 0, reason: "forged".into() });
        let waits = begun.tell(What::Healed).wait(20_000).written(10..14, 0).wait(10_000);
        // Eight seconds of polls, the first of which hands out what is new in `orders`, and the others a record of `bills` each, or nothing.
        let polled = |hands_out: bool| {
            let poll = || What::PollBegins { who: M0, timeout: Duration::from_millis(100) };
            let first = waits.clone().tell(poll()).handed(M0, 10..12, 0).processed(M0, 10..12, 0);
            (0..8).fold(first, |forged, offset| {
                let forged = forged.wait(1_000).tell(poll());
                if hands_out { forged.hand_out(M0, &bills(), of_bills(offset)) } else { forged }
            })
        };
        lags(polled(true), 1).holds();
        lags(polled(true), 0).is_found("SAFE14");
        lags(polled(false), 1).is_found("SAFE14");
    }

    #[test]
    fn safe14_a_lag_of_nothing_while_old_records_wait() {
        let waits = Forged::begun().tell(What::Healed).wait(20_000).written(10..12, 0).wait(10_000);
        lags(waits.clone(), 0).is_found("SAFE14");
        lags(waits.clone(), 2).holds();
        // There was no time yet to learn of them.
        let fresh = Forged::begun().tell(What::Healed).wait(20_000).written(10..12, 0).wait(1_000);
        lags(fresh, 0).holds();
        let paused = waits.tell(What::Paused { who: M0, at: orders() });
        lags(paused.clone(), 0).holds();
        // It was handed so many records that it has not polled for long.
        let begins = || What::PollBegins { who: M0, timeout: std::time::Duration::ZERO };
        let slow = Forged::begun().tell(begins()).tell(What::Healed).wait(20_000).written(10..12, 0);
        lags(slow.clone().wait(10_000).tell(begins()), 0).holds();
        lags(slow.clone().wait(10_000).tell(begins()).tell(begins()), 0).is_found("SAFE14");
        // Polls that wait for its listener hand out nothing.
        let calls = |what: fn(Call) -> What| slow.clone().wait(10_000).tell(what(Call::Assigned));
        let listens = calls(|call| What::ListenerBegins { who: M0, call, places: Vec::new(), generation: 1 });
        lags(listens.tell(begins()).tell(begins()), 0).holds();
        let listened = calls(|call| What::ListenerEnds { who: M0, call });
        lags(listened.tell(begins()).tell(begins()), 0).is_found("SAFE14");
        // While it is paused nothing is learned of it; soon afterwards it is.
        let resumed = paused.tell(What::Resumed { who: M0, at: orders() });
        lags(resumed.clone(), 0).holds();
        lags(resumed.wait(6_000), 0).is_found("SAFE14");
    }
}
