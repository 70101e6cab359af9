//! Records in flight: how many at once, and how fast.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    task::{Poll, ready},
    time::{Duration, Instant},
};

use offtake_producer::{Error, ProducerRecord, RecordMetadata};

use crate::clock::now;

/// The most records that may wait for their outcomes; half of `buffer.memory` is a limit, too.
const MOST_RECORDS: usize = 20_000;
/// How long closing the producer may take; then every record has its outcome.
pub(crate) const CLOSING: Duration = Duration::from_secs(5);

/// Records without an outcome, in the order in which they were sent, each with what is `K`nown of it.
pub(crate) struct Unacknowledged<D, K> {
    records: VecDeque<Sent<D, K>>,
    bytes: usize,
    most_bytes: usize,
}

struct Sent<D, K> {
    delivery: D,
    bytes: usize,
    known: K,
}

impl<D, K> Unacknowledged<D, K>
where
    D: Future<Output = Result<RecordMetadata, Error>> + Unpin,
    K: Unpin,
{
    /// For a producer with this `buffer.memory`.
    pub(crate) fn new(buffer_memory: usize) -> Self {
        Self { records: VecDeque::new(), bytes: 0, most_bytes: buffer_memory / 2 }
    }

    pub(crate) fn push(&mut self, delivery: D, bytes: usize, known: K) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.records.push_back(Sent { delivery, bytes, known });
    }

    /// Whether another record may be sent before one of these has its outcome.
    pub(crate) fn has_room(&self) -> bool {
        self.has_room_for(0)
    }

    /// Whether a record of this many bytes may be sent. If nothing waits it always may.
    pub(crate) fn has_room_for(&self, bytes: usize) -> bool {
        self.records.is_empty()
            || self.records.len() < MOST_RECORDS && self.bytes.saturating_add(bytes) <= self.most_bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// The first record, with its outcome; never resolves if there is none. Takes nothing if dropped while it waits.
    pub(crate) async fn next(&mut self) -> (K, Result<RecordMetadata, Error>) {
        poll_fn(|cx| {
            let Some(first) = self.records.front_mut() else { return Poll::Pending };
            let outcome = ready!(Pin::new(&mut first.delivery).poll(cx));
            match self.records.pop_front() {
                Some(first) => {
                    self.bytes = self.bytes.saturating_sub(first.bytes);
                    Poll::Ready((first.known, outcome))
                }
                None => Poll::Pending,
            }
        })
        .await
    }
}

/// The overhead of a record beside its key, value and headers: more than their lengths take, and a batch of its own.
const RECORD_OVERHEAD: usize = 128;
/// The overhead of a header beside its key and value: their lengths.
const HEADER_OVERHEAD: usize = 10;

/// The most bytes of `buffer.memory` that a record takes up.
pub(crate) fn size(record: &ProducerRecord<'_>) -> usize {
    let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    let headers = record
        .header_bytes()
        .map(|(key, value)| HEADER_OVERHEAD.saturating_add(key.len()).saturating_add(length(value)));
    headers
        .chain([length(record.key_bytes()), length(record.value_bytes())])
        .fold(RECORD_OVERHEAD, usize::saturating_add)
}

/// How much of the time in which nothing was sent may be made up for: a timer may be late.
const CREDIT: Duration = Duration::from_millis(100);

/// When sending at a `rate` of records a second `began`, without the time in which nothing was sent, for whatever reason: what comes
/// after that is sent no faster.
pub(crate) fn without_pauses(rate: Option<u64>, began: Instant, sent: u64, now: Instant) -> Instant {
    let Some(rate) = rate.filter(|rate| *rate > 0) else { return began };
    let late = now.saturating_duration_since(began + after(rate, sent));
    began + late.saturating_sub(CREDIT)
}

/// How long this many records take at a rate.
fn after(rate: u64, sent: u64) -> Duration {
    let nanos = u128::from(sent) * 1_000_000_000 / u128::from(rate);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// When the next record may be sent at a `rate` of records a second, if that is not now.
pub(crate) fn due(rate: Option<u64>, began: Instant, sent: u64) -> Option<Instant> {
    let rate = rate.filter(|rate| *rate > 0)?;
    let due = began + after(rate, sent);
    (due > now()).then_some(due)
}

pub(crate) async fn until(due: Option<Instant>) {
    if let Some(due) = due {
        tokio::time::sleep_until(due.into()).await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Pending, pending};

    use super::*;

    type Nothing = Pin<Box<Pending<Result<RecordMetadata, Error>>>>;

    #[test]
    fn a_pause_of_the_input_is_not_made_up_for() {
        let (began, rate) = (now(), Some(10));
        let at = |millis| began + Duration::from_millis(millis);
        let so_far = |sent, millis| without_pauses(rate, began, sent, at(millis));
        assert_eq!(so_far(10, 900), began, "it is ahead");
        assert_eq!(so_far(10, 1_100), began, "a timer was late");
        let later = so_far(10, 61_000);
        assert_eq!(later, at(59_900), "a minute without input");
        assert_eq!(without_pauses(rate, later, 11, at(61_000)), later);
        assert_eq!(without_pauses(None, began, 10, at(61_000)), began);
    }

    #[test]
    fn the_size_of_a_record_includes_its_headers_and_its_key() {
        let record = ProducerRecord::to("t").key(&[0; 100]).value(&[0; 1000]).header("trace", &[0; 10_000]);
        assert!((11_105..11_400).contains(&size(&record)), "{}", size(&record));
    }

    #[test]
    fn there_is_room_for_half_of_the_memory_and_for_one_record_whatever_its_size() {
        let mut waiting = Unacknowledged::<Nothing, ()>::new(1000);
        assert!(waiting.has_room_for(usize::MAX));
        waiting.push(Box::pin(pending()), 400, ());
        assert_eq!([100, 101].map(|bytes| waiting.has_room_for(bytes)), [true, false]);
        waiting.push(Box::pin(pending()), 101, ());
        assert!(!waiting.has_room());
    }
}
