//! The finished records of one partition: a position before which everything is finished, and ranges beyond it.
//!
//! Each record covers the offsets from the end of the previous record to its own. Offsets without a record (compacted, or used by
//! transaction markers) are therefore finished together with the next record.

use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tracker {
    /// Everything before it is finished.
    position: i64,
    /// The finished ranges beyond it, by start: they neither overlap nor touch each other or the position.
    beyond: BTreeMap<i64, i64>,
    /// The end of the records received.
    received: i64,
    /// The leader epochs, each with the offset from which it applies. Those before the position are dropped, except the last
    /// [`EPOCHS`].
    epochs: Vec<(i64, Option<i32>)>,
    /// The latest timestamp of the finished records.
    newest: i64,
}

/// The most leader epochs that are known before the position: a transaction may commit an offset that lies before it.
const EPOCHS: usize = 16;

/// The offsets that a record covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cover {
    pub(crate) from: i64,
    pub(crate) to: i64,
}

impl Tracker {
    /// Begins with a partition whose first record has this offset.
    pub(crate) fn starting_at(offset: i64) -> Self {
        Self {
            position: offset,
            beyond: BTreeMap::new(),
            received: offset,
            epochs: Vec::new(),
            newest: i64::MIN,
        }
    }

    /// Adds a record that has arrived, after all earlier ones.
    pub(crate) fn receive(&mut self, offset: i64, epoch: Option<i32>) -> Cover {
        let cover = Cover { from: self.received, to: offset.saturating_add(1) };
        self.received = cover.to;
        if self.epochs.last().is_none_or(|(_, last)| *last != epoch) {
            self.epochs.push((cover.from, epoch));
        }
        cover
    }

    /// Notes that there are no records up to this offset.
    pub(crate) fn pass(&mut self, to: i64) {
        if to > self.received {
            let from = std::mem::replace(&mut self.received, to);
            self.cover(Cover { from, to });
        }
    }

    /// Notes that the log no longer has the records up to this offset. Their leader epoch is unknown.
    pub(crate) fn skip(&mut self, to: i64) {
        if to > self.received {
            self.epochs.push((self.received, None));
            self.pass(to);
        }
    }

    /// Marks a record as finished. A repeated call has no effect.
    pub(crate) fn finish(&mut self, cover: Cover, timestamp: i64) {
        self.newest = self.newest.max(timestamp);
        self.cover(cover);
    }

    fn cover(&mut self, Cover { mut from, mut to }: Cover) {
        if from <= self.position {
            while let Some(next) = self.beyond.first_entry().filter(|next| *next.key() <= to) {
                to = to.max(next.remove());
            }
            self.position = self.position.max(to);
            let before = self.epochs.partition_point(|(from, _)| *from < self.position);
            self.epochs.drain(..before.saturating_sub(EPOCHS));
            return;
        }
        // The range is merged with those that it touches.
        if let Some((start, _)) = self.beyond.range(..from).next_back().filter(|(_, end)| **end >= from) {
            from = *start;
        }
        while let Some((start, end)) = self.beyond.range(from..=to).next().map(|(start, end)| (*start, *end))
        {
            self.beyond.remove(&start);
            to = to.max(end);
        }
        self.beyond.insert(from, to);
    }

    /// Rewinds after the log was truncated or replaced: records from this offset on are read again. The first of them covers the
    /// same offsets as the unfinished record there before (from `open_from`), including a gap before it.
    pub(crate) fn rewind(&mut self, to: i64, open_from: i64) {
        self.position = self.position.min(to);
        self.received = self.received.min(to).min(open_from);
        drop(self.beyond.split_off(&to));
        if let Some(mut last) = self.beyond.last_entry() {
            let end = last.get_mut();
            *end = (*end).min(to);
        }
        self.epochs.retain(|(from, _)| *from < to);
    }

    /// The offset before which everything is finished.
    pub(crate) fn position(&self) -> i64 {
        self.position
    }

    /// The end of the records received.
    pub(crate) fn received(&self) -> i64 {
        self.received
    }

    /// The finished ranges beyond the position, in order.
    pub(crate) fn beyond(&self) -> impl Iterator<Item = (i64, i64)> + '_ {
        self.beyond.iter().map(|(start, end)| (*start, *end))
    }

    /// The number of offsets in these ranges.
    pub(crate) fn count_beyond(&self) -> u64 {
        self.beyond().map(|(start, end)| end.abs_diff(start)).sum()
    }

    /// The leader epoch of the last record before an offset.
    pub(crate) fn epoch_before(&self, offset: i64) -> Option<i32> {
        self.epochs.iter().rev().find(|(from, _)| *from < offset).and_then(|(_, epoch)| *epoch)
    }

    /// The leader epoch of the record that covers an offset, if it begins an epoch there.
    pub(crate) fn epoch_from(&self, offset: i64) -> Option<i32> {
        self.epochs.iter().rev().find(|(from, _)| *from == offset).and_then(|(_, epoch)| *epoch)
    }

    /// The latest timestamp of the finished records.
    pub(crate) fn newest(&self) -> i64 {
        self.newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(tracker: &mut Tracker, offsets: impl IntoIterator<Item = i64>) -> Vec<Cover> {
        offsets.into_iter().map(|offset| tracker.receive(offset, Some(3))).collect()
    }

    #[test]
    fn the_position_is_behind_the_longest_unbroken_run() {
        let mut tracker = Tracker::starting_at(10);
        let covers = receive(&mut tracker, 10..20);
        for nth in [1, 3, 4, 9] {
            tracker.finish(covers[nth], 0);
        }
        assert_eq!(tracker.position(), 10);
        assert_eq!(tracker.beyond().collect::<Vec<_>>(), [(11, 12), (13, 15), (19, 20)]);
        tracker.finish(covers[2], 0);
        assert_eq!(tracker.beyond().collect::<Vec<_>>(), [(11, 15), (19, 20)], "what touches is one");
        tracker.finish(covers[0], 0);
        assert_eq!((tracker.position(), tracker.count_beyond()), (15, 1));
        tracker.finish(covers[0], 0);
        assert_eq!(tracker.position(), 15, "twice is once");
    }

    #[test]
    fn offsets_without_a_record_are_finished_with_the_one_behind_them() {
        let mut tracker = Tracker::starting_at(5);
        let covers = receive(&mut tracker, [5, 9, 30]);
        tracker.pass(40);
        tracker.finish(covers[0], 0);
        assert_eq!(tracker.position(), 6);
        tracker.finish(covers[2], 0);
        assert_eq!(tracker.beyond().collect::<Vec<_>>(), [(10, 40)]);
        tracker.finish(covers[1], 0);
        assert_eq!(tracker.position(), 40);
        tracker.pass(40);
        tracker.pass(3);
        tracker.pass(50);
        assert_eq!(
            (tracker.position(), tracker.received()),
            (50, 50),
            "an end without records is passed at once"
        );
    }

    #[test]
    fn a_log_that_was_cut_takes_back_what_lies_behind_the_cut() {
        let mut tracker = Tracker::starting_at(0);
        let covers = receive(&mut tracker, 0..10);
        for nth in [0, 1, 4, 5, 6, 8] {
            tracker.finish(covers[nth], 0);
        }
        tracker.rewind(6, 6);
        assert_eq!((tracker.position(), tracker.received()), (2, 6));
        assert_eq!(tracker.beyond().collect::<Vec<_>>(), [(4, 6)]);
        tracker.rewind(1, 1);
        assert_eq!((tracker.position(), tracker.received(), tracker.count_beyond()), (1, 1, 0));
        let again = tracker.receive(1, Some(4));
        tracker.finish(again, 0);
        assert_eq!(tracker.position(), 2);
    }

    #[test]
    fn each_offset_knows_the_epoch_of_the_record_before_it() {
        let mut tracker = Tracker::starting_at(100);
        assert_eq!(tracker.epoch_before(100), None);
        let mut covers = receive(&mut tracker, [100, 101]);
        covers.push(tracker.receive(102, Some(4)));
        covers.push(tracker.receive(105, None));
        assert_eq!(
            [101, 102, 103, 106].map(|at| tracker.epoch_before(at)),
            [Some(3), Some(3), Some(4), None]
        );
        covers.into_iter().for_each(|cover| tracker.finish(cover, 0));
        assert_eq!(
            [102, 103, 106].map(|at| tracker.epoch_before(at)),
            [Some(3), Some(4), None],
            "a transaction may commit less"
        );
        for (offset, epoch) in (106..).zip(5..100) {
            let cover = tracker.receive(offset, Some(epoch));
            tracker.finish(cover, 0);
        }
        assert_eq!(tracker.epochs.len(), EPOCHS, "what is far behind is forgotten");
    }

    /// Compares with a set of offsets, in random orders.
    #[test]
    fn it_agrees_with_a_set() {
        for seed in 0..500u64 {
            let mut random = crate::machine::Random::new(seed);
            let mut tracker = Tracker::starting_at(0);
            let mut open: Vec<(Cover, i64)> = Vec::new();
            let mut finished = std::collections::BTreeSet::new();
            for _ in 0..200 {
                if random.below(2) == 0 {
                    let offset = tracker.received() + i64::try_from(random.below(3)).unwrap();
                    open.push((tracker.receive(offset, None), offset));
                } else if !open.is_empty() {
                    let nth = usize::try_from(random.below(open.len() as u64)).unwrap();
                    let (cover, _) = open.swap_remove(nth);
                    tracker.finish(cover, 0);
                    finished.extend(cover.from..cover.to);
                }
                let position = (0..).find(|offset| !finished.contains(offset)).unwrap();
                let beyond: Vec<_> = finished.range(position..).copied().collect();
                assert_eq!(tracker.position(), position, "seed {seed}");
                let ranges: Vec<_> = tracker.beyond().flat_map(|(start, end)| start..end).collect();
                assert_eq!(ranges, beyond, "seed {seed}");
            }
        }
    }
}
