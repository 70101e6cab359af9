//! [`Delivery`]: the outcome of one record.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll, Waker},
};

use offtake_client::{Error, ErrorKind, Result};
use offtake_machine::TopicPartition;

/// The place of a written record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordMetadata {
    /// The topic and the partition.
    pub partition: TopicPartition,
    /// The record's offset. `None` with `acks=0`, and for a duplicate whose offset the broker no longer remembers (it remembers
    /// the last five batches).
    pub offset: Option<i64>,
    /// The timestamp in milliseconds since 1970: the record's own, or the broker's if the topic has
    /// `message.timestamp.type=LogAppendTime`.
    pub timestamp: i64,
}

/// A record that is being sent. The future completes when the record is written, or has failed.
///
/// The record is sent whether this is awaited, kept or dropped; records of one partition are sent in the order of the calls of
/// [`send`](crate::Producer::send).
///
/// # Errors
/// Those of `send`.
#[derive(Debug)]
#[must_use = "a record that could not be sent says so here alone"]
pub struct Delivery(State);

#[derive(Debug)]
enum State {
    /// The record is in no batch yet.
    Waiting(Arc<PendingAppend>),
    /// The record has this number in its batch.
    InBatch {
        outcome: Arc<BatchOutcome>,
        index: u32,
        timestamp: i64,
    },
    Refused(Error),
}

impl Delivery {
    pub(crate) fn waiting(pending: Arc<PendingAppend>) -> Self {
        Self(State::Waiting(pending))
    }

    pub(crate) fn refused(error: Error) -> Self {
        Self(State::Refused(error))
    }

    pub(crate) fn in_batch(position: BatchPosition) -> Self {
        let BatchPosition { outcome, index, timestamp } = position;
        Self(State::InBatch { outcome, index, timestamp })
    }
}

impl Future for Delivery {
    type Output = Result<RecordMetadata>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &self.0 {
                State::Waiting(pending) => match pending.poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(position)) => *self = Self::in_batch(position),
                    Poll::Ready(Err(error)) => *self = Self::refused(error),
                },
                State::InBatch { outcome, index, timestamp } => return outcome.poll(cx, *index, *timestamp),
                State::Refused(error) => return Poll::Ready(Err(error.clone())),
            }
        }
    }
}

/// A record's place in a batch.
#[derive(Clone, Debug)]
pub(crate) struct BatchPosition {
    pub(crate) outcome: Arc<BatchOutcome>,
    pub(crate) index: u32,
    pub(crate) timestamp: i64,
}

/// A record that waits for its place in a batch.
#[derive(Debug, Default)]
pub(crate) struct PendingAppend(Mutex<PendingAppendState>);

#[derive(Debug, Default)]
enum PendingAppendState {
    #[default]
    Nobody,
    Wanted(Waker),
    Done(Result<BatchPosition>),
}

impl PendingAppend {
    /// Completes it with the record's place, or with the reason why there is none.
    pub(crate) fn complete(&self, position: Result<BatchPosition>) {
        let before = std::mem::replace(&mut *lock(&self.0), PendingAppendState::Done(position));
        if let PendingAppendState::Wanted(waker) = before {
            waker.wake();
        }
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Result<BatchPosition>> {
        let mut state = lock(&self.0);
        if let PendingAppendState::Done(position) = &*state {
            return Poll::Ready(position.clone());
        }
        *state = PendingAppendState::Wanted(cx.waker().clone());
        Poll::Pending
    }
}

/// The outcome of a batch, and the tasks that wait for it.
#[derive(Debug, Default)]
pub(crate) struct BatchOutcome {
    /// Set once. All records of the batch read it without a lock.
    ended: OnceLock<Outcome>,
    /// The waiting tasks by the number of their record. Empty once the batch has ended.
    waiting: Mutex<Vec<(u32, Waker)>>,
}

/// How a batch ended.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Written {
        partition: TopicPartition,
        base_offset: Option<i64>,
        /// The broker's time, if the topic uses it.
        append_time: Option<i64>,
    },
    Failed(Error),
    /// The records that are at fault, by number. The others fail with them.
    Refused {
        at_fault: Vec<(u32, Error)>,
        others: Error,
    },
    /// The batch was split: each part, with the number of its first record.
    Split(Vec<(u32, Arc<BatchOutcome>)>),
}

impl BatchOutcome {
    /// Sets the outcome. Only the first call counts.
    pub(crate) fn end(&self, outcome: Outcome) {
        let mut waiting = lock(&self.waiting);
        if self.ended.set(outcome).is_err() {
            return;
        }
        let woken = std::mem::take(&mut *waiting);
        drop(waiting);
        for (_, waker) in woken {
            waker.wake();
        }
    }

    /// The outcome. If there is none yet, the task is woken when there is.
    fn outcome(&self, cx: &Context<'_>, index: u32) -> Option<&Outcome> {
        if let Some(outcome) = self.ended.get() {
            return Some(outcome);
        }
        let mut waiting = lock(&self.waiting);
        // The batch may have ended before the lock was taken.
        if let Some(outcome) = self.ended.get() {
            return Some(outcome);
        }
        match waiting.binary_search_by_key(&index, |(index, _)| *index) {
            Ok(at) => {
                if let Some((_, waker)) = waiting.get_mut(at) {
                    waker.clone_from(cx.waker());
                }
            }
            Err(at) => waiting.insert(at, (index, cx.waker().clone())),
        }
        None
    }

    fn poll(&self, cx: &Context<'_>, index: u32, timestamp: i64) -> Poll<Result<RecordMetadata>> {
        let Some(outcome) = self.outcome(cx, index) else { return Poll::Pending };
        let (part, first) = match outcome {
            Outcome::Written { partition, base_offset, append_time } => {
                return Poll::Ready(Ok(RecordMetadata {
                    partition: partition.clone(),
                    offset: base_offset.map(|base| base.saturating_add(i64::from(index))),
                    timestamp: append_time.unwrap_or(timestamp),
                }));
            }
            Outcome::Failed(error) => return Poll::Ready(Err(error.clone())),
            Outcome::Refused { at_fault, others } => {
                let own = at_fault.iter().find(|(at, _)| *at == index).map(|(_, error)| error);
                return Poll::Ready(Err(own.unwrap_or(others).clone()));
            }
            Outcome::Split(parts) => match parts.iter().rev().find(|(first, _)| *first <= index) {
                Some((first, part)) => (part, *first),
                None => {
                    let error =
                        Error::new(ErrorKind::Closed, "the record is missing in the parts of its batch");
                    return Poll::Ready(Err(error));
                }
            },
        };
        part.poll(cx, index.saturating_sub(first), timestamp)
    }
}

/// A panic of another thread leaves the values under these locks consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
