//! What was handed out, and which of it is finished.
//!
//! There are three ways in which the application finishes records: by calling `poll` again
//! (`enable.auto.offset.store`, the default); by giving an offset (`store`, `commit`); or record by record,
//! in any order and from anywhere ([`Builder::finish_each`](crate::Builder::finish_each)), which the
//! [`Ledgers`] track. The snapshot for a commit is made here, on the application's own task, so that it can
//! never run ahead of it (FAILURES H3, BUG1, BUG2).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use offtake_machine::{Position, Token, TopicPartition};

use crate::{
    command::Command,
    delivery::Part,
    handle::Handle,
    ledger::Refusal,
    ledgers::{Ledgers, Positions},
    passed::Passed,
    records::{Delivered, RecordPosition},
};

/// How records are finished.
#[derive(Clone, Debug)]
pub(crate) enum Finishing {
    /// The next `poll` finishes everything handed out before.
    ByPoll,
    /// The application finishes everything up to an offset.
    ByStore,
    /// Each record is finished by itself.
    Each(Arc<Ledgers>),
}

#[derive(Debug)]
pub(crate) struct Progress {
    by: Finishing,
    /// Handed out by the last `poll`.
    handed: Vec<RecordPosition>,
    /// Handed out, but not passed to the application yet: no `poll` finishes these.
    withheld: Vec<RecordPosition>,
    finished: BTreeMap<TopicPartition, (Token, Position)>,
    /// Passed after records that are not finished yet; the last of each partition.
    passed: BTreeMap<TopicPartition, Passed>,
    /// The partitions with more finished than was reported.
    news: BTreeSet<TopicPartition>,
}

impl Progress {
    pub(crate) fn new(by: Finishing) -> Self {
        let (handed, withheld) = (Vec::new(), Vec::new());
        let (finished, passed, news) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { by, handed, withheld, finished, passed, news }
    }

    /// The ledgers, if records are finished one by one: then nothing else can finish them.
    pub(crate) fn of_each(&self) -> Option<&Arc<Ledgers>> {
        match &self.by {
            Finishing::Each(ledgers) => Some(ledgers),
            Finishing::ByPoll | Finishing::ByStore => None,
        }
    }

    /// Notes that the last `poll` hands these out.
    pub(crate) fn hand_out<P: Part>(&mut self, parts: &mut [P]) {
        match &self.by {
            Finishing::Each(ledgers) => parts.iter_mut().for_each(|part| part.enter(ledgers)),
            Finishing::ByStore => {}
            Finishing::ByPoll => {
                // A later run of a partition replaces its earlier one.
                let runs = parts.chunk_by(|part, next| part.topic_partition() == next.topic_partition());
                self.handed.extend(runs.filter_map(<[P]>::last).map(Delivered::record_position));
            }
        }
    }

    /// Finishes what was handed out, if the next `poll` does that (FAILURES H3), and the offsets without a
    /// record that follow it.
    pub(crate) fn on_next_poll(&mut self, passed: Vec<Passed>) {
        match &self.by {
            Finishing::Each(ledgers) => passed.into_iter().for_each(|passed| ledgers.pass(passed)),
            Finishing::ByStore => self.pass(passed, false),
            Finishing::ByPoll => {
                self.finish_handed();
                self.pass(passed, self.withheld.is_empty());
            }
        }
    }

    /// Withholds the records of the last `poll`, which the application has not received yet.
    pub(crate) fn withhold(&mut self) {
        self.withheld.append(&mut self.handed);
    }

    /// Notes that the application has received the withheld records.
    pub(crate) fn hand_out_withheld(&mut self) {
        self.handed.append(&mut self.withheld);
    }

    /// Finishes everything handed out so far.
    pub(crate) fn finish_handed(&mut self) {
        for place in std::mem::take(&mut self.handed) {
            self.finish(place);
        }
    }

    /// Notes that the position passed over these offsets. They are finished as soon as everything handed out
    /// before them is; `all_finished` says whether it is.
    fn pass(&mut self, passed: Vec<Passed>, all_finished: bool) {
        for new in passed {
            let old = self.passed.get_mut(&new.to.partition);
            match old.filter(|old| old.to.token == new.to.token && old.to.next.offset == new.from) {
                Some(old) => old.to = new.to,
                None => drop(self.passed.insert(new.to.partition.clone(), new)),
            }
        }
        for passed in std::mem::take(&mut self.passed).into_values() {
            let done = self
                .finished
                .get(&passed.to.partition)
                .is_some_and(|(token, position)| *token == passed.to.token && position.offset >= passed.from);
            if done || all_finished {
                self.finish(passed.to);
            } else {
                self.passed.insert(passed.to.partition.clone(), passed);
            }
        }
    }

    /// Finishes everything up to here.
    pub(crate) fn finish(&mut self, place: RecordPosition) {
        let RecordPosition { partition, token, next } = place;
        match self.finished.get_mut(&partition) {
            // Later tokens win; under the same token the offset only grows.
            Some((held, position)) if *held > token || (*held == token && position.offset >= next.offset) => {
                return;
            }
            Some(held) => *held = (token, next),
            None => drop(self.finished.insert(partition.clone(), (token, next))),
        }
        self.news.insert(partition);
    }

    /// Forgets these partitions, which are no longer ours: nothing of them will be committed.
    pub(crate) fn forget(&mut self, partitions: &[TopicPartition], why: &Refusal) {
        if partitions.is_empty() {
            return;
        }
        if let Finishing::Each(ledgers) = &self.by {
            ledgers.close(partitions, why);
        }
        for partition in partitions {
            self.finished.remove(partition);
            self.passed.remove(partition);
            self.news.remove(partition);
        }
        let gone: BTreeSet<_> = partitions.iter().collect();
        self.handed.retain(|place| !gone.contains(&place.partition));
        self.withheld.retain(|place| !gone.contains(&place.partition));
    }

    /// The cluster has moved these partitions back, each to an offset: what was finished beyond it belongs to
    /// a log that is gone. With `finish_each`, records before it can still be finished.
    pub(crate) fn moved_back(&mut self, back: &[(TopicPartition, Token, i64)]) {
        match &self.by {
            Finishing::Each(ledgers) => {
                for (partition, token, to) in back {
                    ledgers.cut_off(partition, *token, *to);
                }
            }
            Finishing::ByPoll | Finishing::ByStore => {
                let partitions: Vec<_> = back.iter().map(|(partition, ..)| partition.clone()).collect();
                self.forget(&partitions, &Refusal::Truncated);
            }
        }
    }

    /// Reports to the engine what is finished, if that is new.
    pub(crate) fn report(&mut self, handle: &Handle) {
        let tell = |positions| drop(handle.send(Command::Finished { positions }));
        if let Finishing::Each(ledgers) = &self.by {
            ledgers.report(tell);
        } else if let Some(positions) = self.news() {
            tell(positions);
        }
    }

    fn news(&mut self) -> Option<Positions> {
        let news = std::mem::take(&mut self.news).into_iter().filter_map(|partition| {
            let (token, position) = *self.finished.get(&partition)?;
            Some((partition, token, position))
        });
        let positions: Positions = news.collect();
        (!positions.is_empty()).then_some(positions)
    }
}

/// After the consumer's end none of its records can be finished.
impl Drop for Progress {
    fn drop(&mut self) {
        if let Finishing::Each(ledgers) = &self.by {
            ledgers.close_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: Token = Token { assignment: 1, seek: 0 };

    fn record_position(offset: i64) -> RecordPosition {
        RecordPosition {
            partition: TopicPartition::new("orders", 0),
            token: TOKEN,
            next: Position::at(offset),
        }
    }

    fn reported(progress: &mut Progress) -> Option<i64> {
        progress.news().map(|positions| positions[0].2.offset)
    }

    #[test]
    fn h3_skipped_offsets_wait_for_the_records_delivered_before_them() {
        let mut progress = Progress::new(Finishing::ByStore);
        progress.pass(
            vec![Passed { from: 10, to: record_position(12) }, Passed { from: 12, to: record_position(13) }],
            false,
        );
        assert_eq!(reported(&mut progress), None, "records up to 10 are not finished");
        progress.finish(record_position(9));
        progress.pass(Vec::new(), false);
        assert_eq!(reported(&mut progress), Some(9));
        progress.finish(record_position(10));
        progress.pass(Vec::new(), false);
        assert_eq!(reported(&mut progress), Some(13));
    }

    #[test]
    fn h1_the_finished_offset_does_not_go_back_under_one_token() {
        let mut progress = Progress::new(Finishing::ByStore);
        progress.finish(record_position(9));
        progress.finish(record_position(4));
        assert_eq!(reported(&mut progress), Some(9));
        assert_eq!(reported(&mut progress), None, "no news");
    }

    #[test]
    fn i7_skips_before_a_seek_are_not_finished_by_records_after_it() {
        let later = |offset| RecordPosition { token: TOKEN.after_seek(), ..record_position(offset) };
        let mut progress = Progress::new(Finishing::ByStore);
        progress.on_next_poll(vec![Passed { from: 10, to: record_position(12) }]);
        progress.finish(later(11));
        progress.on_next_poll(Vec::new());
        assert_eq!(reported(&mut progress), Some(11));
        // This begins where the other ended, and is unrelated to it.
        progress.on_next_poll(vec![Passed { from: 12, to: later(20) }]);
        progress.on_next_poll(Vec::new());
        assert_eq!(reported(&mut progress), None, "records from 11 on are not finished");
        progress.finish(later(12));
        progress.on_next_poll(Vec::new());
        assert_eq!(reported(&mut progress), Some(20));
    }

    #[test]
    fn h3_between_two_places_that_were_passed_over_there_may_be_records() {
        let mut progress = Progress::new(Finishing::ByStore);
        progress.on_next_poll(vec![Passed { from: 10, to: record_position(12) }]);
        progress.on_next_poll(vec![Passed { from: 15, to: record_position(18) }]);
        progress.finish(record_position(12));
        progress.on_next_poll(Vec::new());
        assert_eq!(reported(&mut progress), Some(12), "12 to 14 are not finished");
        progress.finish(record_position(15));
        progress.on_next_poll(Vec::new());
        assert_eq!(reported(&mut progress), Some(18));
    }

    #[test]
    fn i7_records_finished_before_a_seek_finish_no_skips_after_it() {
        let mut progress = Progress::new(Finishing::ByStore);
        progress.finish(record_position(9));
        progress.on_next_poll(vec![Passed {
            from: 3,
            to: RecordPosition { token: TOKEN.after_seek(), ..record_position(5) },
        }]);
        assert_eq!(progress.news().unwrap()[0].1, TOKEN);
    }

    #[test]
    fn i7_a_finish_after_a_seek_back_counts_though_more_was_finished_before() {
        let mut progress = Progress::new(Finishing::ByStore);
        progress.finish(record_position(9));
        progress.finish(RecordPosition { token: TOKEN.after_seek(), ..record_position(4) });
        assert_eq!(reported(&mut progress), Some(4));
    }

    #[test]
    fn h14_only_what_is_given_up_is_forgotten_and_all_of_that() {
        let at = |partition, offset| RecordPosition {
            partition: TopicPartition::new("orders", partition),
            ..record_position(offset)
        };
        let mut progress = Progress::new(Finishing::ByStore);
        progress.finish(at(0, 5));
        progress.finish(at(1, 5));
        progress.on_next_poll(vec![Passed { from: 9, to: at(0, 12) }, Passed { from: 9, to: at(1, 12) }]);
        progress.forget(&[TopicPartition::new("orders", 0)], &Refusal::Revoked);
        progress.finish(at(0, 9));
        progress.finish(at(1, 9));
        progress.on_next_poll(Vec::new());
        let news = progress.news().unwrap();
        let told: Vec<_> = news.iter().map(|(of, _, position)| (of.partition, position.offset)).collect();
        assert_eq!(told, [(0, 9), (1, 12)]);
        let mut progress = Progress::new(Finishing::ByPoll);
        progress.handed = vec![at(0, 3), at(1, 4)];
        progress.forget(&[], &Refusal::Revoked);
        progress.forget(&[TopicPartition::new("orders", 0)], &Refusal::Revoked);
        progress.on_next_poll(Vec::new());
        let news = progress.news().unwrap();
        let told: Vec<_> = news.iter().map(|(of, _, position)| (of.partition, position.offset)).collect();
        assert_eq!(told, [(1, 4)]);
    }

    #[test]
    fn h3_withheld_records_are_not_finished_nor_the_skips_behind_them() {
        let mut progress = Progress::new(Finishing::ByPoll);
        progress.handed = vec![record_position(3)];
        progress.withhold();
        progress.on_next_poll(vec![Passed { from: 3, to: record_position(5) }]);
        assert_eq!(reported(&mut progress), None);
        progress.hand_out_withheld();
        assert_eq!(reported(&mut progress), None, "the application has it now");
        progress.on_next_poll(Vec::new());
        assert_eq!(reported(&mut progress), Some(5));
    }

    #[test]
    fn h14_nothing_of_an_earlier_assignment_is_reported_for_a_later_one() {
        let mut progress = Progress::new(Finishing::ByStore);
        progress.finish(record_position(9));
        progress.forget(&[TopicPartition::new("orders", 0)], &Refusal::Revoked);
        progress.finish(RecordPosition { token: Token { assignment: 2, seek: 0 }, ..record_position(3) });
        assert_eq!(reported(&mut progress), Some(3));
        progress.finish(record_position(20));
        assert_eq!(reported(&mut progress), None, "the old owner's word counts no more");
    }
}
