//! The history of every record: one entry per offset. The summary is counted from the entries, never assumed.
//!
//! An entry has what was produced there (a digest of key and value), how often a member reported it as
//! processed or dead-lettered, and whether it was found when the dead-letter topic was read back. A report with
//! other bytes than were produced does not count.

use serde::Serialize;

/// The outcome of a record at a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Processed,
    /// Written to the dead-letter topic, and the write was acknowledged.
    GivenUp,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    produced: Option<u64>,
    processed: u32,
    given_up: u32,
    /// In the dead-letter topic.
    found: u32,
}

impl Entry {
    fn is(&self, digest: u64) -> bool {
        self.produced == Some(digest)
    }
}

/// The counts so far, for display.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) produced: u64,
    pub(super) processed: u64,
    pub(super) dead_lettered: u64,
    /// Attempts after the first.
    pub(super) retried: u64,
    /// Records that a member handled although one had done so before.
    pub(super) repeated: u64,
    /// Reports of bytes that were never produced there.
    pub(super) strange: u64,
}

impl Totals {
    /// Records that no member has handled yet.
    pub(super) fn waiting(&self) -> u64 {
        self.produced.saturating_sub(self.processed).saturating_sub(self.dead_lettered)
    }
}

/// The result of the demo; the fields are the command's JSON, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Summary {
    pub(super) produced: u64,
    pub(super) processed: u64,
    pub(super) dead_lettered: u64,
    pub(super) retried: u64,
    pub(super) repeated: u64,
    pub(super) lost: u64,
    pub(super) rebalances: u64,
}

/// The records of one topic.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    partitions: Vec<Vec<Entry>>,
    waiting: Vec<u64>,
    totals: Totals,
}

impl Ledger {
    pub(super) fn new(partitions: usize) -> Self {
        Self {
            partitions: vec![Vec::new(); partitions],
            waiting: vec![0; partitions],
            totals: Totals::default(),
        }
    }

    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    /// How many records of each partition no member has handled yet.
    pub(super) fn waiting(&self) -> &[u64] {
        &self.waiting
    }

    /// Adds a record that the broker acknowledged.
    pub(super) fn produced(&mut self, partition: i32, offset: i64, digest: u64) {
        let Ok(index) = usize::try_from(partition) else { return };
        let (Some(entries), Ok(at)) = (self.partitions.get_mut(index), usize::try_from(offset)) else {
            return;
        };
        if entries.len() <= at {
            entries.resize(at.saturating_add(1), Entry::default());
        }
        if let Some(entry) = entries.get_mut(at) {
            entry.produced = Some(digest);
            self.totals.produced += 1;
            if let Some(waiting) = self.waiting.get_mut(index) {
                *waiting += 1;
            }
        }
    }

    /// Counts a record that a member has finished.
    pub(super) fn handled(&mut self, partition: i32, offset: i64, digest: u64, outcome: Outcome) {
        let Some(entry) = entry(&mut self.partitions, partition, offset).filter(|entry| entry.is(digest))
        else {
            self.totals.strange += 1;
            return;
        };
        let first = entry.processed + entry.given_up == 0;
        match outcome {
            Outcome::Processed => entry.processed += 1,
            Outcome::GivenUp => entry.given_up += 1,
        }
        match (first, outcome) {
            (true, Outcome::Processed) => self.totals.processed += 1,
            (true, Outcome::GivenUp) => self.totals.dead_lettered += 1,
            (false, _) => self.totals.repeated += 1,
        }
        let waiting = usize::try_from(partition).ok().and_then(|index| self.waiting.get_mut(index));
        if let (true, Some(waiting)) = (first, waiting) {
            *waiting = waiting.saturating_sub(1);
        }
    }

    /// Counts a dead letter whose write was acknowledged. Whether it has the record's bytes shows when it is
    /// [found](Self::found).
    pub(super) fn count_dead_letter(&mut self, partition: i32, offset: i64) {
        let produced = entry(&mut self.partitions, partition, offset).and_then(|entry| entry.produced);
        match produced {
            Some(digest) => self.handled(partition, offset, digest, Outcome::GivenUp),
            None => self.totals.strange += 1,
        }
    }

    pub(super) fn retried(&mut self, attempts: u64) {
        self.totals.retried += attempts;
    }

    /// Counts a record of the dead-letter topic that names this one as its origin.
    pub(super) fn found(&mut self, partition: i32, offset: i64, digest: u64) {
        match entry(&mut self.partitions, partition, offset).filter(|entry| entry.is(digest)) {
            Some(entry) => entry.found += 1,
            None => self.totals.strange += 1,
        }
    }

    /// Counts every entry. A dead letter reported by a member counts only if the dead-letter topic contains it.
    pub(super) fn summary(&self, rebalances: u64) -> Summary {
        let mut summary = Summary {
            produced: 0,
            processed: 0,
            dead_lettered: 0,
            retried: self.totals.retried,
            repeated: 0,
            lost: 0,
            rebalances,
        };
        for entry in self.partitions.iter().flatten().filter(|entry| entry.produced.is_some()) {
            summary.produced += 1;
            match (entry.processed, entry.found) {
                (0, 0) => summary.lost += 1,
                (0, _) => summary.dead_lettered += 1,
                (_, _) => summary.processed += 1,
            }
            summary.repeated += u64::from((entry.processed + entry.given_up).saturating_sub(1));
        }
        summary
    }

    /// The end of each partition.
    pub(super) fn ends(&self) -> impl Iterator<Item = (i32, i64)> {
        let end = |entries: &Vec<Entry>| i64::try_from(entries.len()).unwrap_or(i64::MAX);
        (0..).zip(self.partitions.iter().map(end))
    }
}

fn entry(partitions: &mut [Vec<Entry>], partition: i32, offset: i64) -> Option<&mut Entry> {
    partitions.get_mut(usize::try_from(partition).ok()?)?.get_mut(usize::try_from(offset).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_four() -> Ledger {
        let mut ledger = Ledger::new(2);
        for (partition, offset, digest) in [(0, 0, 10), (0, 1, 11), (1, 0, 20), (1, 1, 21)] {
            ledger.produced(partition, offset, digest);
        }
        ledger
    }

    #[test]
    fn a_record_that_nobody_handled_is_lost() {
        let mut ledger = of_four();
        ledger.handled(0, 0, 10, Outcome::Processed);
        ledger.handled(1, 0, 20, Outcome::Processed);
        ledger.handled(1, 1, 21, Outcome::Processed);
        assert_eq!(ledger.waiting(), [1, 0]);
        let summary = ledger.summary(0);
        assert_eq!((summary.produced, summary.processed, summary.lost), (4, 3, 1));
    }

    #[test]
    fn a_dead_letter_counts_only_if_the_topic_has_it_with_the_same_bytes() {
        let mut ledger = of_four();
        for offset in 0..2 {
            ledger.handled(0, offset, 10 + offset.unsigned_abs(), Outcome::GivenUp);
        }
        assert_eq!(ledger.totals().dead_lettered, 2);
        ledger.found(0, 0, 10);
        ledger.found(0, 1, 99);
        let summary = ledger.summary(0);
        assert_eq!((summary.dead_lettered, summary.lost), (1, 3));
        assert_eq!(ledger.totals().strange, 1);
    }

    #[test]
    fn a_record_that_is_handled_again_is_repeated_and_counted_once() {
        let mut ledger = of_four();
        ledger.handled(0, 0, 10, Outcome::Processed);
        ledger.handled(0, 0, 10, Outcome::Processed);
        let summary = ledger.summary(3);
        assert_eq!((summary.processed, summary.repeated, summary.rebalances), (1, 1, 3));
        assert_eq!(ledger.totals().waiting(), 3);
    }

    #[test]
    fn other_bytes_than_were_produced_count_for_nothing() {
        let mut ledger = of_four();
        ledger.handled(0, 0, 77, Outcome::Processed);
        ledger.handled(0, 9, 10, Outcome::Processed);
        assert_eq!(ledger.totals().strange, 2);
        assert_eq!(ledger.summary(0).lost, 4);
    }

    #[test]
    fn the_summary_is_the_object_of_the_manual() {
        let mut ledger = of_four();
        ledger.retried(5);
        assert_eq!(
            serde_json::to_string(&ledger.summary(2)).unwrap(),
            r#"{"produced":4,"processed":0,"dead_lettered":0,"retried":5,"repeated":0,"lost":4,"rebalances":2}"#
        );
    }
}
