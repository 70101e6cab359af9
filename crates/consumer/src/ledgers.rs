//! The ledgers of a consumer whose records are finished one by one ([`Builder::finish_each`]), shared with
//! its [`Handle`]s.
//!
//! A report to the engine is sent under the same lock under which ledgers are closed: so nothing about a log
//! that is gone is reported after the engine was told of its end.
//!
//! [`Builder::finish_each`]: crate::Builder::finish_each
//! [`Handle`]: crate::Handle

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use offtake_machine::{Position, Token, TopicPartition};

use crate::{
    batches::RecordBatch,
    clock,
    health::Unfinished,
    ledger::{Ledger, Open, Refusal},
    passed::Passed,
    records::{PartitionRecords, RecordPosition},
};

/// Finished positions, as reported to the engine.
pub(crate) type Positions = Vec<(TopicPartition, Token, Position)>;

#[derive(Debug, Default)]
pub(crate) struct Ledgers(Mutex<BTreeMap<TopicPartition, Kept>>);

/// How many partitions are named in a line.
const MOST_SHOWN: usize = 8;

#[derive(Debug)]
struct Kept {
    token: Token,
    ledger: Arc<Ledger>,
    /// The position last reported to the engine.
    told: Option<Position>,
    handed: DeliveryTimes,
}

/// When records were handed out, to within a second: not one entry per poll, and never many, however long a
/// record holds others back.
#[derive(Debug, Default)]
struct DeliveryTimes(VecDeque<(i64, Instant)>);

impl DeliveryTimes {
    const GRAIN: Duration = Duration::from_secs(1);
    const MOST: usize = 64;

    /// Notes that the records from `from` on were handed out now.
    fn note(&mut self, from: i64, now: Instant) {
        while self.0.back().is_some_and(|(earlier, _)| *earlier >= from) {
            self.0.pop_back();
        }
        if self.0.back().is_some_and(|(_, at)| now.saturating_duration_since(*at) < Self::GRAIN) {
            return;
        }
        self.0.push_back((from, now));
        if self.0.len() > Self::MOST {
            // The later of two neighbours then counts as handed out with the earlier one.
            let mut nth = 0;
            self.0.retain(|_| {
                nth += 1;
                nth % 2 == 1
            });
        }
    }

    /// When the record at this offset was handed out; forgets entries before it.
    fn of(&mut self, offset: i64) -> Option<Instant> {
        while self.0.get(1).is_some_and(|(from, _)| *from <= offset) {
            self.0.pop_front();
        }
        self.0.front().map(|(_, at)| *at)
    }
}

impl Ledgers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<TopicPartition, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that these are handed out, and gives them their ledger.
    pub(crate) fn hand_out(&self, part: &mut PartitionRecords) {
        let Some(first) = part.iter().next().map(|record| record.offset()) else { return };
        let ledger = self.of(&part.partition, part.token, first, |ledger| ledger.handed() <= first);
        // Offsets without a record that follow may have a later leader epoch: a commit in between uses that
        // of the records.
        let end = Position { offset: part.slice.next_offset(), epoch: part.leader_epoch };
        ledger.hand_out(part.iter().map(|record| record.offset()), end);
        ledger.pass(end.offset, part.next);
        part.ledger = Some(ledger);
    }

    /// The same for a batch that is not opened yet.
    pub(crate) fn hand_out_unopened(&self, batch: &mut RecordBatch) {
        let goes_on = |ledger: &Ledger| ledger.handed() <= batch.from;
        let ledger = self.of(&batch.partition, batch.token, batch.from, goes_on);
        let end = batch.end();
        ledger.hand_out_unopened(batch.from, end);
        ledger.pass(end.offset, batch.next);
        batch.ledger = Some(ledger);
    }

    /// Notes that the position moved without a record.
    pub(crate) fn pass(&self, passed: Passed) {
        let RecordPosition { partition, token, next } = passed.to;
        self.of(&partition, token, passed.from, |_| true).pass(passed.from, next);
    }

    /// The ledger for records from `from` on: a new one if the token is another, or if `from` does not
    /// continue the old one.
    fn of(
        &self,
        partition: &TopicPartition,
        token: Token,
        from: i64,
        goes_on: impl FnOnce(&Ledger) -> bool,
    ) -> Arc<Ledger> {
        let now = clock::now();
        let mut kept = self.lock();
        match kept.get_mut(partition) {
            Some(kept) if kept.token == token => {
                if !goes_on(&kept.ledger) {
                    kept.cut_off(from);
                }
                kept.handed.note(from, now);
                kept.ledger.clone()
            }
            old => {
                if let Some(old) = old {
                    old.ledger.close(Refusal::Sought);
                }
                let ledger = Arc::new(Ledger::starting_at(from));
                let handed = DeliveryTimes([(from, now)].into());
                kept.insert(partition.clone(), Kept { token, ledger: ledger.clone(), told: None, handed });
                ledger
            }
        }
    }

    /// The records that were handed out and are not finished, by partition.
    pub(crate) fn unfinished(&self, now: Instant) -> BTreeMap<TopicPartition, Unfinished> {
        let mut kept = self.lock();
        let unfinished = kept.iter_mut().filter_map(|(partition, kept)| {
            let Open { first, count, dropped } = kept.ledger.open()?;
            let handed = kept.handed.of(first).unwrap_or(now);
            let age = now.saturating_duration_since(handed);
            Some((partition.clone(), Unfinished { count, first, age, dropped }))
        });
        unfinished.collect()
    }

    /// Logs the finished records of these partitions that will be delivered again even so, when they are
    /// about to be given up.
    pub(crate) fn log_held_back(&self, partitions: &[TopicPartition]) {
        let kept = self.lock();
        let held_back: Vec<_> = partitions
            .iter()
            .filter_map(|partition| Some((partition, kept.get(partition)?.ledger.held_back()?)))
            .collect();
        drop(kept);
        if held_back.is_empty() {
            return;
        }
        let count: u64 = held_back.iter().map(|(_, (_, count))| count).sum();
        let shown = held_back.iter().take(MOST_SHOWN);
        let mut which = shown
            .map(|(partition, (first, count))| format!("{partition} from offset {first} ({count} finished)"))
            .collect::<Vec<_>>()
            .join(", ");
        if let left @ 1.. = held_back.len().saturating_sub(MOST_SHOWN) {
            which = format!("{which} and {left} more");
        }
        tracing::info!(
            count,
            partitions = held_back.len(),
            "finished records come again, as a record before them is not finished: {which}"
        );
    }

    /// The cluster has moved this partition back to this offset: records before it are still to be finished.
    pub(crate) fn cut_off(&self, partition: &TopicPartition, token: Token, at: i64) {
        if let Some(kept) = self.lock().get_mut(partition).filter(|kept| kept.token == token) {
            kept.cut_off(at);
        }
    }

    /// Closes the ledgers of these partitions: no more of their records can be finished.
    pub(crate) fn close(&self, partitions: &[TopicPartition], why: &Refusal) {
        let mut kept = self.lock();
        for partition in partitions {
            if let Some(kept) = kept.remove(partition) {
                kept.ledger.close(why.clone());
            }
        }
    }

    /// Closes all ledgers, as the consumer ends.
    pub(crate) fn close_all(&self) {
        for kept in std::mem::take(&mut *self.lock()).into_values() {
            kept.ledger.close(Refusal::ConsumerClosed);
        }
    }

    /// Closes these; reports what was finished in them, if that is new.
    pub(crate) fn close_and_report(
        &self,
        partitions: &[TopicPartition],
        why: &Refusal,
        tell: impl FnOnce(Positions),
    ) -> bool {
        let mut kept = self.lock();
        let mut positions = Positions::new();
        for partition in partitions {
            if let Some(mut kept) = kept.remove(partition) {
                let finished = kept.ledger.close(why.clone());
                positions.extend(kept.news(partition, finished));
            }
        }
        let news = !positions.is_empty();
        if news {
            tell(positions);
        }
        news
    }

    /// Reports what is finished by now, if that is new.
    pub(crate) fn report(&self, tell: impl FnOnce(Positions)) {
        let mut kept = self.lock();
        let news = |(partition, kept): (&TopicPartition, &mut Kept)| {
            let finished = kept.ledger.finished();
            kept.news(partition, finished)
        };
        let positions: Positions = kept.iter_mut().filter_map(news).collect();
        if !positions.is_empty() {
            tell(positions);
        }
    }
}

impl Kept {
    fn cut_off(&mut self, at: i64) -> Arc<Ledger> {
        self.ledger = self.ledger.cut_off(at);
        // The engine has been moved back too, so what was reported to it before is no longer valid.
        self.told = None;
        self.ledger.clone()
    }

    fn news(
        &mut self,
        partition: &TopicPartition,
        finished: Option<Position>,
    ) -> Option<(TopicPartition, Token, Position)> {
        let position = finished.filter(|_| self.told != finished)?;
        self.told = finished;
        Some((partition.clone(), self.token, position))
    }
}

#[cfg(test)]
mod tests;
