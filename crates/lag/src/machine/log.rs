//! One log according to the samples: its start and end offsets over time. Its size is bounded.

use std::collections::{BTreeMap, VecDeque};

use offtake_admin::IsolationLevel;

use super::{
    group::lag_end,
    sizes::{Bytes, Sizes},
};
use crate::sample::RecordTime;

/// Milliseconds on the monotonic clock. Times before its start are negative.
pub(super) type Millis = i64;

/// The number of samples of a log's end that are kept: all of the newest, and older ones at growing distances.
const ENDS: usize = 32;
/// The number of moves of a log's start that are kept.
const MOVES: usize = 4;

/// The state of a partition's log.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) start: Option<i64>,
    /// The start offset before the last sample.
    pub(super) start_before: Option<i64>,
    pub(super) high_watermark: Option<i64>,
    pub(super) last_stable: Option<i64>,
    pub(super) sizes: Sizes,
    /// The ends up to which lag is counted.
    pub(super) ends: Ends,
    pub(super) moves: StartMoves,
    /// The results of reading records, by requested offset; results that are no longer needed are removed.
    pub(super) times: BTreeMap<i64, Reading>,
}

/// The result of reading the first record from an offset on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    time: RecordTime,
    /// There is no record before this offset.
    first: i64,
}

impl Log {
    /// Adds a sample. A log that ends before its previous end is another log.
    pub(super) fn sample(&mut self, at: Millis, start: Option<i64>, end: Option<i64>) {
        if let Some(end) = end {
            if self.ends.last().is_some_and(|(_, last)| end < last) {
                *self = Self::default();
            }
            self.ends.push(at, end);
        }
        self.start_before = self.start;
        if let Some(start) = start {
            self.moves.push(at, start);
            self.start = Some(start);
        }
    }

    /// The end up to which lag is counted.
    pub(super) fn end(&self, isolation: IsolationLevel) -> Option<i64> {
        lag_end(isolation, self.high_watermark, self.last_stable)
    }

    /// The bytes from this offset to the high watermark, if sizes are known.
    pub(super) fn bytes_behind(&self, offset: i64) -> Option<Bytes> {
        self.sizes.behind(offset, self.high_watermark?)
    }

    /// Stores the result of reading the first record from this offset on. If there was no record, there is none before the
    /// present end.
    pub(super) fn read(&mut self, offset: i64, time: RecordTime) {
        if self.time_of(offset).is_some() {
            return;
        }
        let first = match (time, self.ends.last()) {
            (RecordTime::NoRecord, Some((_, end))) => end,
            _ => self.first_record(offset),
        };
        self.times.insert(offset, Reading { time, first });
    }

    /// The result of reading the record at this offset, or the first after it. The result that there is none holds until the log
    /// grows.
    pub(super) fn time_of(&self, offset: i64) -> Option<RecordTime> {
        let reading = self.times.get(&offset)?;
        let grown = || self.ends.last().is_some_and(|(_, end)| end > reading.first);
        (reading.time != RecordTime::NoRecord || !grown()).then_some(reading.time)
    }

    /// The offset of the first record from this offset on, or an offset before it: transaction markers that are known to be no
    /// records are skipped.
    pub(super) fn first_record(&self, offset: i64) -> i64 {
        self.times.get(&offset).map_or(offset, |reading| reading.first.max(offset))
    }
}

/// The end of a log over time.
#[derive(Debug, Default)]
pub(super) struct Ends(VecDeque<(Millis, i64)>);

/// Removes every second sample of the older half.
pub(super) fn thin<T>(samples: &mut VecDeque<T>) {
    let (mut nth, half) = (0, samples.len() / 2);
    samples.retain(|_| {
        nth += 1;
        nth > half || nth % 2 == 1
    });
}

/// The time at which a record was appended, as far as the samples show.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Appended {
    /// The earliest time; `None` if it was in the first sample.
    pub(super) after: Option<Millis>,
    /// The latest time.
    pub(super) before: Millis,
    /// The best estimate between the two, if records were appended evenly.
    pub(super) guess: Option<f64>,
}

impl Ends {
    pub(super) fn last(&self) -> Option<(Millis, i64)> {
        self.0.back().copied()
    }

    pub(super) fn first(&self) -> Option<(Millis, i64)> {
        self.0.front().copied()
    }

    /// The samples that included the record at this offset.
    pub(super) fn after(&self, offset: i64) -> impl Iterator<Item = (Millis, i64)> {
        let first = self.0.partition_point(|(_, end)| *end <= offset);
        self.0.iter().skip(first).copied()
    }

    /// Adds a sample. The end never goes back here, because [`Log::sample`] starts afresh in that case.
    fn push(&mut self, at: Millis, end: i64) {
        let standing = self.0.iter().rev().take(2).filter(|(_, known)| *known == end).count();
        if standing == 2 {
            // For a period without new records, its first and last samples are enough.
            self.0.pop_back();
        }
        if self.0.len() == ENDS {
            thin(&mut self.0);
        }
        self.0.push_back((at, end));
    }

    /// When the record at this offset was appended; `None` if no sample includes it.
    pub(super) fn appended(&self, offset: i64) -> Option<Appended> {
        let after = self.0.partition_point(|(_, end)| *end <= offset);
        let (before, end) = *self.0.get(after)?;
        let earlier = after.checked_sub(1).and_then(|index| self.0.get(index));
        let guess = earlier.map(|(at, known)| {
            let share =
                (offset.saturating_sub(*known) as f64 + 0.5) / (end.saturating_sub(*known)).max(1) as f64;
            *at as f64 + (before.saturating_sub(*at)) as f64 * share.clamp(0.0, 1.0)
        });
        Some(Appended { after: earlier.map(|(at, _)| *at), before, guess })
    }

    /// The oldest end known at or after this time, with its time.
    pub(super) fn since(&self, at: Millis) -> Option<(Millis, i64)> {
        self.0.get(self.0.partition_point(|(known, _)| *known < at)).copied()
    }
}

/// The moves of a log's start. They are rare and large, because retention deletes whole segments.
#[derive(Debug, Default)]
pub(super) struct StartMoves(VecDeque<(Millis, i64)>);

impl StartMoves {
    fn push(&mut self, at: Millis, start: i64) {
        match self.0.back() {
            Some((_, known)) if *known == start => return,
            Some((_, known)) if start < *known => self.0.clear(),
            _ => {}
        }
        // The first entry is the start in the first sample, and not a move.
        self.0.push_back((at, start));
        if self.0.len() > MOVES + 1 {
            self.0.pop_front();
        }
    }

    /// The records deleted per second until this time, or until the last move if that is later. Needs two moves, because one says
    /// nothing about the time of the next.
    pub(super) fn per_second(&self, now: Millis) -> Option<f64> {
        if self.0.len() < 3 {
            return None;
        }
        let ((first, from), (last, to)) = (self.0.front()?, self.0.back()?);
        let seconds = now.max(*last).saturating_sub(*first) as f64 / 1000.0;
        (seconds > 0.0).then(|| to.saturating_sub(*from) as f64 / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(points: &[(Millis, i64)]) -> Ends {
        let mut ends = Ends::default();
        points.iter().for_each(|(at, end)| ends.push(*at, *end));
        ends
    }

    #[test]
    fn a_record_was_appended_between_the_two_samples_around_it() {
        let ends = ends(&[(0, 100), (10_000, 100), (20_000, 100), (30_000, 110), (40_000, 130)]);
        // The first and last samples of the period without records are left.
        assert_eq!(ends.0.len(), 4);
        let of = |offset| ends.appended(offset);
        assert_eq!(of(99), Some(Appended { after: None, before: 0, guess: None }));
        assert_eq!(of(100), Some(Appended { after: Some(20_000), before: 30_000, guess: Some(20_500.0) }));
        assert_eq!(of(129), Some(Appended { after: Some(30_000), before: 40_000, guess: Some(39_750.0) }));
        assert_eq!(of(130), None);
    }

    #[test]
    fn a_long_history_is_thinned_where_it_is_old_and_stays_true() {
        let mut ends = Ends::default();
        for nth in 0..10_000 {
            ends.push(nth * 1000, nth * 7);
            assert!(ends.0.len() <= ENDS);
        }
        for offset in (0..69_993).step_by(13) {
            let found = ends.appended(offset).unwrap();
            let truth = (offset as f64 / 7.0).floor() * 1000.0 + 1000.0; // the sample that first included it
            assert!(found.after.is_none_or(|after| (after as f64) < truth) && truth <= found.before as f64);
        }
        let newest = ends.appended(69_990).unwrap();
        assert_eq!(newest.before - newest.after.unwrap(), 1000, "the newest samples are all there");
    }

    #[test]
    fn a_log_that_ends_before_its_end_is_another_one() {
        let mut log = Log::default();
        log.sample(0, Some(5), Some(100));
        log.read(7, RecordTime::Without);
        log.sample(1000, Some(0), Some(3));
        assert_eq!((log.ends.last(), log.start, log.times.len()), (Some((1000, 3)), Some(0), 0));
    }

    #[test]
    fn one_move_of_the_start_says_nothing_of_the_next() {
        let mut moves = StartMoves::default();
        for (at, start) in [(0, 0), (10_000, 0), (60_000, 600)] {
            moves.push(at, start);
        }
        assert_eq!(moves.per_second(60_000), None);
        moves.push(120_000, 1200);
        assert_eq!(moves.per_second(120_000), Some(10.0));
        // It has not moved since: each second makes it less likely that the rate continues.
        assert_eq!(moves.per_second(240_000), Some(5.0));
        moves.push(250_000, 0);
        assert_eq!(moves.per_second(250_000), None);
    }
}
