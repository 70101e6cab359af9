//! [`Retry`]: how often a record is tried, and how long it waits between attempts.

use std::{ops::Range, time::Duration};

use offtake::Topic;

/// How often a record is tried, and how long it waits between attempts. Meanwhile the other records of its lane (its key, or its
/// partition) wait as well; other lanes go on. A record that fails for longer can be moved to a retry topic
/// ([`then_topics`](Self::then_topics)).
///
/// A delay of less than 1 ms counts as 1 ms.
///
/// Default: exponential from 100 ms to 10 s, with jitter, 5 attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    least: Duration,
    most: Duration,
    has_jitter: bool,
    /// The number of attempts, including the first.
    pub(crate) attempts: u32,
    /// The retry topics that follow, in turn.
    pub(crate) topics: Vec<RetryTopic>,
    pub(crate) allows_reordering: bool,
}

/// A topic whose records are tried again this long after they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RetryTopic {
    pub(crate) name: Topic,
    pub(crate) delay: Duration,
}

/// The minimum delay.
const SHORTEST: Duration = Duration::from_millis(1);
/// The delays of a record that was returned without an attempt more than once in a row, whatever the delays after attempts are.
const UNTRIED: Range<Duration> = Duration::from_millis(50)..Duration::from_secs(10);

impl Default for Retry {
    fn default() -> Self {
        Self::exponential(Duration::from_millis(100)..Duration::from_secs(10)).jitter()
    }
}

impl Retry {
    /// Waits for the start of the range after the first attempt, and twice as long after each further one, up to the end of the
    /// range. 5 attempts, no jitter.
    pub fn exponential(delays: Range<Duration>) -> Self {
        Self {
            least: delays.start,
            most: delays.end.max(delays.start),
            has_jitter: false,
            attempts: 5,
            topics: Vec::new(),
            allows_reordering: false,
        }
    }

    /// Waits for the same time after each attempt. 5 attempts, no jitter.
    pub fn fixed(delay: Duration) -> Self {
        Self::exponential(delay..delay)
    }

    /// One attempt, without a retry.
    pub fn never() -> Self {
        Self::fixed(Duration::ZERO).attempts(1)
    }

    /// Draws each delay between half of it and the whole, so that records which failed together are not retried together.
    #[must_use]
    pub fn jitter(self) -> Self {
        Self { has_jitter: true, ..self }
    }

    /// Sets how often a record is tried, including the first attempt. In a [retry topic](Self::then_topics), the count applies
    /// each time the record is read there. Attempts are counted in memory: if the partition moves, or the worker restarts, the
    /// count begins again. 0 is refused when the worker starts.
    ///
    /// A batch of several records that fails as a whole gives up none of them: one that has no attempt left then is tried once
    /// more, alone ([`run_batches`](crate::Worker::run_batches)).
    #[must_use]
    pub fn attempts(self, attempts: u32) -> Self {
        Self { attempts, ..self }
    }

    /// Retries until the record is done: only poison is dead-lettered.
    #[must_use]
    pub fn unlimited(self) -> Self {
        self.attempts(u32::MAX)
    }

    /// Moves a record that is out of attempts to the first of these topics, reads it from there, and tries it again this long
    /// after it was written. The next topics follow in turn, and after the last one the [dead
    /// letters](crate::Worker::dead_letters), which are required. The record's offset is committed once the copy is acknowledged.
    /// Later records of its partition overtake it meanwhile; therefore an order is refused unless that is
    /// [allowed](Self::allow_reordering).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use offtake_worker::Retry;
    /// let minutes = |n: u64| Duration::from_secs(60 * n);
    /// let retry = Retry::never().then_topics([("orders.retry.1m", minutes(1)), ("orders.retry.10m", minutes(10))]);
    /// ```
    ///
    /// Key, value and headers are copied unchanged, and the headers of [dead letters](crate::DeadLetterHeaders) are added. These
    /// keep [`Attempt::number`](crate::Attempt::number), [`first_failure`](crate::Attempt::first_failure) and
    /// [`origin`](crate::Attempt::origin) across members and restarts. `OwnedRecord::topic` is the retry topic.
    ///
    /// The topics have to exist. The worker reads them in addition to the topics that it [subscribes](crate::Worker::subscribe)
    /// to; without a committed offset, it begins at their first record, whatever `auto.offset.reset` says. They belong to one
    /// group: another group that read them would handle its records. A record is due after the topic's delay from its timestamp,
    /// by this machine's clock; a partition is not read beyond its first record until that is due. A record whose timestamp is
    /// ahead of that clock waits for the delay from when it is read, and the records after it wait longer by the difference of
    /// their timestamps.
    #[must_use]
    pub fn then_topics<T: Into<Topic>>(mut self, topics: impl IntoIterator<Item = (T, Duration)>) -> Self {
        let topics = topics.into_iter().map(|(name, delay)| RetryTopic { name: name.into(), delay });
        self.topics = topics.collect();
        self
    }

    /// Allows later records of its key or partition to overtake a record that waits in a [retry topic](Self::then_topics).
    #[must_use]
    pub fn allow_reordering(self) -> Self {
        Self { allows_reordering: true, ..self }
    }

    /// The index of this retry topic.
    pub(crate) fn topic_index(&self, name: &str) -> Option<usize> {
        self.topics.iter().position(|topic| topic.name.as_str() == name)
    }

    /// The index of the retry topic that follows this topic; `None` after the last.
    pub(crate) fn topic_after(&self, name: &str) -> Option<usize> {
        let next = self.topic_index(name).map_or(0, |index| index + 1);
        (next < self.topics.len()).then_some(next)
    }

    /// The delay of a record that was returned this many times in a row without an attempt: first as after a first attempt, then
    /// twice as long each time.
    pub(crate) fn delay_untried(&self, times: u32, random: u64) -> Duration {
        let first = self.delay(1, random);
        match times.saturating_sub(1) {
            0 => first,
            further => {
                let doubled = first.max(UNTRIED.start).saturating_mul(2u32.saturating_pow(further));
                doubled.min(UNTRIED.end.max(first))
            }
        }
    }

    /// The delay after this attempt, from 1; `random` determines the jitter.
    pub(crate) fn delay(&self, attempt: u32, random: u64) -> Duration {
        let doubled = 2u32.saturating_pow(attempt.saturating_sub(1));
        let delay = self.least.saturating_mul(doubled).min(self.most).max(SHORTEST);
        if !self.has_jitter {
            return delay;
        }
        let half = (delay / 2).max(SHORTEST);
        let spread = u64::try_from(delay.saturating_sub(half).as_nanos()).unwrap_or(u64::MAX);
        half.saturating_add(Duration::from_nanos(
            random.checked_rem(spread.saturating_add(1)).unwrap_or(random),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn delays_double_up_to_the_most() {
        let retry = Retry::exponential(millis(100)..millis(1000));
        let delays: Vec<_> = (1..=6).map(|attempt| retry.delay(attempt, 0).as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(retry.delay(u32::MAX, 0), millis(1000));
        assert_eq!(
            Retry::exponential(millis(5)..millis(1)).delay(9, 0),
            millis(5),
            "an empty range is its start"
        );
        assert!(Retry::exponential(Duration::MAX..Duration::MAX).jitter().delay(3, u64::MAX) > millis(1));
    }

    #[test]
    fn jitter_stays_between_half_and_the_whole() {
        let retry = Retry::fixed(millis(100)).jitter();
        for random in (0..1_000_000_000_000u64).step_by(7_777_777_777) {
            let delay = retry.delay(1, random);
            assert!(delay >= millis(50) && delay <= millis(100), "{delay:?}");
        }
    }

    #[test]
    fn no_attempt_follows_another_at_once() {
        assert_eq!(Retry::fixed(Duration::ZERO).delay(1, 0), millis(1));
        assert_eq!(Retry::fixed(Duration::ZERO).jitter().unlimited().delay(9, 99), millis(1));
        assert_eq!(Retry::exponential(Duration::ZERO..millis(9)).delay(9, 0), millis(1));
    }

    #[test]
    fn a_record_goes_through_the_topics_in_turn() {
        let retry = Retry::never().then_topics([("1m", millis(1)), ("10m", millis(10))]);
        let after = ["orders", "1m", "10m"].map(|topic| retry.topic_after(topic));
        assert_eq!(after, [Some(0), Some(1), None]);
        assert_eq!(Retry::never().topic_after("orders"), None);
    }
}
