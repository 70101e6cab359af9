//! A group's commits on a partition within the sliding window, and the status that follows by Burrow's rules.

use std::collections::VecDeque;

use super::log::Millis;
use crate::report::Status;

/// The number of steps of the window; samples within a step are merged.
const STEPS: i64 = 10;

/// The samples of the window, and the last one before it.
#[derive(Debug, Default)]
pub(super) struct Window(VecDeque<Entry>);

/// One step of the window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) at: Millis,
    pub(super) committed: i64,
    pub(super) end: i64,
    /// The age of the first unread record in seconds, if known.
    pub(super) age: Option<f32>,
    /// Whether there was a moment without lag in this step.
    caught_up: bool,
    /// Whether the committed offset went back in this step.
    rewound: bool,
}

impl Entry {
    /// `read` is the committed offset, or beyond it the end of the offsets without records.
    pub(super) fn new(at: Millis, committed: i64, read: i64, end: i64) -> Self {
        let caught_up = committed.max(read) >= end;
        Self { at, committed, end, age: None, caught_up, rewound: false }
    }

    fn lag(&self) -> i64 {
        self.end.saturating_sub(self.committed).max(0)
    }
}

/// The records per second within the window, and the change of the age of the first unread record.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) produced: f64,
    pub(super) consumed: f64,
    /// The ageing of the first unread record in seconds per second: 1 if nothing is read, 0 if the group keeps its distance.
    pub(super) ageing: Option<f64>,
}

impl Window {
    pub(super) fn push(&mut self, mut entry: Entry, window: Millis) {
        if let Some(last) = self.0.back() {
            entry.rewound = entry.committed < last.committed;
        }
        // The newest step is extended until it is long enough.
        let step = (window / STEPS).max(1);
        let mut newest = self.0.iter().rev();
        if let (Some(last), Some(before)) = (newest.next(), newest.next())
            && last.at.saturating_sub(before.at) < step
        {
            entry.caught_up |= last.caught_up;
            entry.rewound |= last.rewound;
            self.0.pop_back();
        }
        self.0.push_back(entry);
        // One entry is kept from before the window; otherwise the samples would never cover the whole window.
        let begins = entry.at.saturating_sub(window);
        while self.0.get(1).is_some_and(|second| second.at < begins) {
            self.0.pop_front();
        }
        // Samples may arrive faster than the clock ticks.
        while self.0.len() as i64 > STEPS + 2 {
            self.0.remove(1);
        }
    }

    /// Sets the age of the first unread record, in the sample of this moment.
    pub(super) fn set_age(&mut self, at: Millis, age: Option<f32>) {
        if let Some(last) = self.0.back_mut().filter(|last| last.at == at) {
            last.age = age;
        }
    }

    /// Notes that the unread offsets in the sample of this moment contain no records.
    pub(super) fn set_caught_up(&mut self, at: Millis) {
        if let Some(last) = self.0.back_mut().filter(|last| last.at == at) {
            last.caught_up = true;
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether the samples reach back to the beginning of the window.
    fn is_whole(&self, now: Millis, window: Millis) -> bool {
        self.0.front().is_some_and(|first| now.saturating_sub(first.at) >= window)
    }

    /// The status by Burrow's rules, in their order: no lag now or at some moment of the window; an offset that went back; the
    /// same offset all along; more lag from step to step. `None` while the samples do not reach back far enough.
    ///
    /// Burrow reads every commit. Samples do not show a commit of the same offset: the same offset all along is a stall if a
    /// member owns the partition, and a stop if none does.
    pub(super) fn status(&self, now: Millis, window: Millis, owned: bool) -> Option<Status> {
        if !self.is_whole(now, window) {
            return None;
        }
        let (first, last) = (self.0.front()?, self.0.back()?);
        // For the time before the window, only the first entry is known.
        let within = || self.0.iter().skip(usize::from(now.saturating_sub(first.at) > window));
        if last.lag() == 0 || within().any(|entry| entry.caught_up) {
            return Some(Status::Ok);
        }
        if within().any(|entry| entry.rewound) {
            return Some(Status::Rewind);
        }
        if self.0.iter().all(|entry| entry.committed == last.committed) {
            return Some(if owned { Status::Stall } else { Status::Stop });
        }
        let pairs = || self.0.iter().zip(self.0.iter().skip(1));
        let shrinks = pairs().any(|(before, after)| after.lag() < before.lag());
        Some(if shrinks { Status::Ok } else { Status::Warn })
    }

    /// The rates from the first sample to the last; `None` for a single sample.
    pub(super) fn rates(&self) -> Option<Rates> {
        let (first, last) = (self.0.front()?, self.0.back()?);
        let between = |from: &Entry| last.at.saturating_sub(from.at) as f64 / 1000.0;
        let seconds = between(first);
        if seconds <= 0.0 {
            return None;
        }
        let per_second = |from: i64, to: i64| to.saturating_sub(from).max(0) as f64 / seconds;
        let aged = self.0.iter().find(|entry| entry.age.is_some());
        let ageing = aged.and_then(|from| {
            let (then, now) = (f64::from(from.age?), f64::from(last.age?));
            let seconds = between(from);
            (seconds > 0.0).then(|| ((now - then) / seconds).min(1.0))
        });
        let produced = per_second(first.end, last.end);
        let consumed = per_second(first.committed, last.committed);
        Some(Rates { produced, consumed, ageing })
    }
}
