//! The way of notices from the engine to the handle. It has no fixed length, as none may be refused; but what a later one
//! makes idle is swept out, so that an application that does not read them holds no more than its partitions account for
//! (FAILURES P5).

use std::{
    collections::{BTreeSet, VecDeque},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use tokio::task::coop;

use crate::engine::command::Notice;

/// No sweep before so many wait.
const FEW: usize = 256;
/// Errors that are kept; of more, the oldest go.
const KEPT: usize = 128;

/// The engine's end. The way is closed when it is dropped.
#[derive(Debug)]
pub(crate) struct Notifier(Arc<Mutex<Way>>);

/// The handle's end.
#[derive(Debug)]
pub(crate) struct Notices(Arc<Mutex<Way>>);

#[derive(Debug)]
struct Way {
    queue: VecDeque<Notice>,
    /// How long the queue may be before it is swept again.
    sweep_at: usize,
    waker: Option<Waker>,
    closed: bool,
}

/// A new way, and its two ends.
pub(crate) fn way() -> (Notifier, Notices) {
    let way = Way { queue: VecDeque::new(), sweep_at: FEW, waker: None, closed: false };
    let way = Arc::new(Mutex::new(way));
    (Notifier(way.clone()), Notices(way))
}

fn lock(way: &Mutex<Way>) -> MutexGuard<'_, Way> {
    way.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Notifier {
    pub(crate) fn send(&self, notice: Notice) {
        let mut way = lock(&self.0);
        way.queue.push_back(notice);
        if way.queue.len() >= way.sweep_at {
            sweep(&mut way.queue);
            way.sweep_at = way.queue.len().saturating_mul(2).max(FEW);
        }
        let waker = way.waker.take();
        drop(way);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        let mut way = lock(&self.0);
        way.closed = true;
        let waker = way.waker.take();
        drop(way);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Notices {
    /// The next; `None` when there will be no more. Takes its share of the runtime's patience: a loop of polls that are
    /// always ready lets others run all the same.
    pub(crate) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Notice>> {
        let turn = ready!(coop::poll_proceed(cx));
        let mut way = lock(&self.0);
        if let Some(notice) = way.queue.pop_front() {
            if way.queue.is_empty() {
                way.sweep_at = FEW;
            }
            turn.made_progress();
            return Poll::Ready(Some(notice));
        }
        if way.closed {
            return Poll::Ready(None);
        }
        if !way.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            way.waker = Some(cx.waker().clone());
        }
        turn.made_progress();
        Poll::Pending
    }

    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.0).queue.is_empty()
    }

    /// Forgets all that wait.
    pub(crate) fn clear(&mut self) {
        let mut way = lock(&self.0);
        way.queue.clear();
        way.sweep_at = FEW;
    }
}

/// Takes out what says nothing beside the others.
fn sweep(queue: &mut VecDeque<Notice>) {
    // The last word counts: whether partitions are paused, where they were sought to, that the handle is to look again.
    let (mut paused, mut sought, mut stopped) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut ends = BTreeSet::new();
    let (mut current, mut woken, mut assigned, mut told) = (false, false, false, 0_usize);
    let mut kept: Vec<Notice> = mem::take(queue)
        .into_iter()
        .rev()
        .filter_map(|mut notice| {
            let is_news = match &mut notice {
                Notice::Paused { partitions } | Notice::Resumed { partitions } => {
                    partitions.retain(|partition| paused.insert(partition.clone()));
                    !partitions.is_empty()
                }
                Notice::Sought { partition, .. } => sought.insert(partition.clone()),
                Notice::AtEnd { partition, .. } => ends.insert(partition.clone()),
                Notice::Current => !mem::replace(&mut current, true),
                Notice::Wake => !mem::replace(&mut woken, true),
                // One that adds nothing says what is owned, until the next does.
                Notice::Assigned { added, .. } if added.is_empty() => !mem::replace(&mut assigned, true),
                Notice::Assigned { .. } | Notice::Revoke { .. } | Notice::Lost { .. } => {
                    assigned = false;
                    true
                }
                Notice::Failed { last: false, .. } => {
                    told = told.saturating_add(1);
                    told <= KEPT
                }
                Notice::Failed { error, last: true } => stopped.insert(error.partition().cloned()),
                Notice::Started { .. } | Notice::PollIntervalExceeded(_) => true,
            };
            is_news.then_some(notice)
        })
        .collect();
    kept.reverse();
    // The first word counts: where reading starts under a token (unless it jumps), and an error that is told already.
    let (mut started, mut failed) = (BTreeSet::new(), BTreeSet::new());
    kept.retain(|notice| match notice {
        Notice::Started { partition, token, jumps, .. } => {
            started.insert((partition.clone(), *token)) || !jumps.is_empty()
        }
        Notice::Failed { error, last: false } => {
            failed.insert((error.partition().cloned(), error.to_string()))
        }
        _ => true,
    });
    *queue = kept.into();
}

#[cfg(test)]
mod tests {
    use offtake_machine::{Position, Token, TopicPartition};

    use super::*;
    use crate::error::{Error, ErrorKind};

    fn failed(message: String) -> Notice {
        Notice::Failed { error: Error::new(ErrorKind::Unreachable, message), last: false }
    }

    fn all(notices: &mut Notices) -> Vec<Notice> {
        lock(&notices.0).queue.drain(..).collect()
    }

    fn orders(partition: i32) -> TopicPartition {
        TopicPartition::new("orders", partition)
    }

    #[test]
    fn p5_errors_that_nobody_reads_are_told_once_each_and_the_newest_are_kept() {
        let (notifier, mut notices) = way();
        for nth in 0..100_000 {
            notifier.send(failed(format!("the same in {}", nth % 3)));
        }
        assert!(lock(&notices.0).queue.len() < FEW);
        let told: BTreeSet<String> = all(&mut notices).iter().map(|notice| format!("{notice:?}")).collect();
        assert_eq!(told.len(), 3);
        for nth in 0..100_000 {
            notifier.send(failed(format!("number {nth}")));
        }
        let told = all(&mut notices);
        assert!(told.len() < 2 * FEW, "{}", told.len());
        assert!(format!("{:?}", told.last()).contains("number 99999"), "the newest is there");
    }

    #[test]
    fn p5_what_the_application_asks_for_without_reading_the_answers_has_a_bound_too() {
        let (notifier, mut notices) = way();
        let token = |seek| Token { assignment: 1, seek };
        for nth in 0..50_000_u32 {
            let partition = orders(i32::try_from(nth % 10).unwrap_or(0));
            notifier.send(Notice::Paused { partitions: vec![partition.clone()] });
            notifier.send(Notice::Sought { partition: partition.clone(), token: token(u64::from(nth)) });
            notifier.send(Notice::Wake);
            notifier.send(Notice::Current);
            notifier.send(Notice::Resumed { partitions: vec![partition] });
        }
        let left = all(&mut notices);
        assert!(left.len() < 2 * FEW, "{}", left.len());
        for of in (0..10).map(orders) {
            let last = left.iter().rev().find_map(|notice| match notice {
                Notice::Sought { partition, token } if *partition == of => Some(token.seek),
                _ => None,
            });
            assert_eq!(last, Some(49_990 + u64::try_from(of.partition).unwrap_or(0)), "the last word counts");
            let resumed = left.iter().rev().find_map(|notice| match notice {
                Notice::Paused { partitions } if partitions.contains(&of) => Some(false),
                Notice::Resumed { partitions } if partitions.contains(&of) => Some(true),
                _ => None,
            });
            assert_eq!(resumed, Some(true));
        }
    }

    #[test]
    fn p5_no_change_of_ownership_and_no_start_is_swept_out() {
        let (notifier, mut notices) = way();
        let token = Token { assignment: 1, seek: 0 };
        let added: Vec<_> = (0..1000).map(|index| (orders(index), token)).collect();
        let owned: Vec<_> = (0..1000).map(orders).collect();
        notifier.send(Notice::Assigned { added, owned: owned.clone(), generation: Some(1) });
        for partition in &owned {
            let position = Position::at(5);
            let (run, jumps) = (0, Vec::new());
            notifier.send(Notice::Started { partition: partition.clone(), token, position, run, jumps });
        }
        for generation in 2..1000 {
            let owned = owned.clone();
            notifier.send(Notice::Assigned { added: Vec::new(), owned, generation: Some(generation) });
        }
        notifier.send(Notice::Revoke {
            id: offtake_group::ReleaseId(1),
            partitions: owned,
            owned: Vec::new(),
            generation: 999,
            release_by: None,
        });
        let mut left = all(&mut notices);
        sweep(&mut VecDeque::new());
        let mut queue: VecDeque<_> = left.drain(..).collect();
        sweep(&mut queue);
        let count = |is: fn(&Notice) -> bool| queue.iter().filter(|notice| is(notice)).count();
        assert_eq!(count(|notice| matches!(notice, Notice::Started { .. })), 1000);
        assert_eq!(count(|notice| matches!(notice, Notice::Assigned { .. })), 2, "the first, and the newest");
        assert!(matches!(queue.back(), Some(Notice::Revoke { .. })));
    }
}
