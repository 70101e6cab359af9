//! The engine's output for the handle, in two ordered queues behind one lock: control, and the data of
//! partitions.
//!
//! The handle takes everything that has arrived at once, and handles the control before the data. Since both
//! queues are taken together, the control that explains an item of data has always been taken with it: an
//! unexplained item is stale. The lock is taken once per poll, and once each time the engine has output;
//! never per record.
//!
//! Neither queue refuses anything. The records in them are bounded by the fetcher's budget; everything else
//! is coalesced, so that its size stays proportional to the number of partitions even if the application does
//! not poll.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt, mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Instant,
};

use offtake_fetch::Chunk;
use offtake_group::RevocationId;
use offtake_machine::{Position, Token, TopicPartition};
use tokio::{sync::oneshot, task::coop};

use crate::{
    error::{self, Error, Result},
    event::Event,
    gauges::PartitionGauges,
};

/// The channel that answers one call of the application.
pub(crate) type Reply<T> = oneshot::Sender<Result<T>>;

/// The least length at which a queue is coalesced.
const MIN_COALESCED: usize = 256;
/// The number of errors that are kept; the oldest are dropped first.
const MAX_ERRORS: usize = 128;

/// A message about the consumer as a whole, or about the ownership of partitions.
#[derive(Debug)]
pub(crate) enum Control {
    Assigned {
        added: Vec<(TopicPartition, Arc<PartitionGauges>)>,
        owned: Vec<TopicPartition>,
        /// `None` if they were assigned manually.
        generation: Option<i32>,
    },
    Revoke {
        id: RevocationId,
        partitions: Vec<TopicPartition>,
        owned: Vec<TopicPartition>,
        generation: i32,
        /// When the group stops waiting.
        revoke_by: Option<Instant>,
    },
    Lost {
        id: RevocationId,
        partitions: Vec<TopicPartition>,
        owned: Vec<TopicPartition>,
        generation: i32,
    },
    /// An error for `poll` to return. It stops no partition.
    Failed(Error),
    /// The side that refused the consumer accepts it again: the earlier error ends.
    Recovered,
    /// The event that `next` returns for it.
    PollIntervalExceeded(Event),
    /// A handle closes the consumer: everything is given up, and then the engine ends.
    Close {
        deadline: Instant,
        reply: Reply<()>,
    },
    /// Makes `poll` return at once.
    Wake,
    /// A partition may be handed out again, or the session is confirmed again: the handle must look again.
    Recheck,
}

/// A message about the records of one partition, in order.
#[derive(Debug)]
pub(crate) enum Data {
    /// Reading starts here, or continues here.
    Started {
        partition: TopicPartition,
        token: Token,
        position: Position,
        restart: Restart,
    },
    Records(Chunk),
    /// The partition stops here, after everything that arrived before.
    Failed {
        partition: TopicPartition,
        token: Token,
        error: Error,
    },
    /// The application moved the position: records fetched under an older token are not handed out.
    Sought {
        partition: TopicPartition,
        token: Token,
        /// The new position, if it is known without asking a broker.
        position: Option<Position>,
    },
    /// Asks for the buffered records of a paused partition back, to free their memory.
    GiveBack {
        partition: TopicPartition,
        token: Token,
    },
    /// Answers the handle's offer to give records back: if it was `accepted`, the buffered ones are dropped
    /// and fetched again.
    GivenBack {
        partition: TopicPartition,
        token: Token,
        accepted: bool,
    },
}

/// Why a position moved other than by reading on.
#[derive(Debug, Default, Clone)]
pub(crate) struct Restart {
    /// The events to report: [`Event::Truncated`], [`Event::Reset`].
    pub(crate) resets: Vec<Event>,
    /// How often the cluster has moved the position back so far. The engine has to learn that the handle
    /// knows.
    pub(crate) rewinds: u32,
}

/// Everything that waits for the handle.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) control: VecDeque<Control>,
    pub(crate) data: VecDeque<Data>,
}

/// The queues, and the waker of the waiting consumer. A [`Handle`](crate::Handle) has it too, to wake the
/// consumer.
pub(crate) struct Inbox {
    queues: Mutex<Queues>,
    /// The consumer is being closed, so the end of its engine is not an error.
    is_closing: AtomicBool,
    /// The consumer has been closed or dropped.
    is_gone: AtomicBool,
}

struct Queues {
    waiting: Taken,
    /// The lengths at which the queues are coalesced again.
    coalesce_control_at: usize,
    coalesce_data_at: usize,
    waker: Option<Waker>,
    /// The engine has ended: nothing more will arrive.
    is_ended: bool,
}

/// Prints how much waits, and none of its contents: the lock is held only briefly.
impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (control, data) = {
            let queues = self.lock();
            (queues.waiting.control.len(), queues.waiting.data.len())
        };
        f.debug_struct("Inbox").field("control", &control).field("data", &data).finish_non_exhaustive()
    }
}

/// The engine's side. Dropping it marks the end of its output.
#[derive(Debug)]
pub(crate) struct InboxSender(Arc<Inbox>);

/// The consumer's side. Dropping it marks the consumer as gone.
#[derive(Debug)]
pub(crate) struct InboxReceiver(Arc<Inbox>);

/// A new inbox, as its two sides.
pub(crate) fn inbox() -> (InboxSender, InboxReceiver) {
    let queues = Queues {
        waiting: Taken::default(),
        coalesce_control_at: MIN_COALESCED,
        coalesce_data_at: MIN_COALESCED,
        waker: None,
        is_ended: false,
    };
    let inbox = Arc::new(Inbox {
        queues: Mutex::new(queues),
        is_closing: AtomicBool::new(false),
        is_gone: AtomicBool::new(false),
    });
    (InboxSender(inbox.clone()), InboxReceiver(inbox))
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the consumer has been closed or dropped.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Acquire)
    }

    /// Notes that the consumer is being closed, so the end of its engine is not an error.
    pub(crate) fn set_closing(&self) {
        self.is_closing.store(true, Ordering::Release);
    }

    /// Whether its end was requested.
    pub(crate) fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Acquire) || self.is_gone()
    }

    /// The error for an engine that has ended.
    pub(crate) fn ended(&self) -> Error {
        if self.is_closing() { error::closed() } else { error::engine_ended() }
    }

    pub(crate) fn send_control(&self, control: Control) {
        self.send([], [control]);
    }

    fn send(&self, data: impl IntoIterator<Item = Data>, control: impl IntoIterator<Item = Control>) {
        if self.is_gone() {
            return;
        }
        let mut queues = self.lock();
        // A receiver that was dropped meanwhile has emptied the queues under this lock.
        if self.is_gone() {
            return;
        }
        queues.waiting.control.extend(control);
        queues.waiting.data.extend(data);
        queues.coalesce();
        let waker = queues.waker.take();
        drop(queues);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl InboxSender {
    /// Sends all of this, each queue in its order.
    pub(crate) fn send(&self, new: &mut Taken) {
        if !new.control.is_empty() || !new.data.is_empty() {
            self.0.send(new.data.drain(..), new.control.drain(..));
        }
    }
}

impl Drop for InboxSender {
    fn drop(&mut self) {
        let mut queues = self.0.lock();
        queues.is_ended = true;
        let waker = queues.waker.take();
        drop(queues);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl InboxReceiver {
    pub(crate) fn shared(&self) -> Arc<Inbox> {
        self.0.clone()
    }

    /// Notes that the consumer is being closed. Returns whether it was already.
    pub(crate) fn set_closing(&self) -> bool {
        let was = self.0.is_closing();
        self.0.set_closing();
        was
    }

    /// The error for an engine that has ended.
    pub(crate) fn ended(&self) -> Error {
        self.0.ended()
    }

    /// Takes everything that has arrived, and appends it to what was taken before. False when there will
    /// never be more. Consumes tokio's cooperative budget, so that a loop of polls that are always ready lets
    /// other tasks run.
    pub(crate) fn poll_take(&mut self, cx: &mut Context<'_>, taken: &mut Taken) -> Poll<bool> {
        let budget = ready!(coop::poll_proceed(cx));
        budget.made_progress();
        let mut queues = self.0.lock();
        if queues.take_into(taken) {
            return Poll::Ready(true);
        }
        if queues.is_ended {
            return Poll::Ready(false);
        }
        if !queues.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            queues.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// The same at once, without registering a waker.
    pub(crate) fn take(&mut self, taken: &mut Taken) {
        self.0.lock().take_into(taken);
    }

    pub(crate) fn is_empty(&self) -> bool {
        let queues = self.0.lock();
        queues.waiting.control.is_empty() && queues.waiting.data.is_empty()
    }
}

impl Drop for InboxReceiver {
    fn drop(&mut self) {
        self.0.is_gone.store(true, Ordering::Release);
        let forgotten = mem::take(&mut self.0.lock().waiting);
        drop(forgotten);
    }
}

impl Queues {
    /// Returns whether there was anything.
    fn take_into(&mut self, taken: &mut Taken) -> bool {
        let is_empty = self.waiting.control.is_empty() && self.waiting.data.is_empty();
        taken.control.append(&mut self.waiting.control);
        taken.data.append(&mut self.waiting.data);
        (self.coalesce_control_at, self.coalesce_data_at) = (MIN_COALESCED, MIN_COALESCED);
        !is_empty
    }

    fn coalesce(&mut self) {
        if self.waiting.control.len() >= self.coalesce_control_at {
            coalesce_control(&mut self.waiting.control);
            self.coalesce_control_at = self.waiting.control.len().saturating_mul(2).max(MIN_COALESCED);
        }
        if self.waiting.data.len() >= self.coalesce_data_at {
            coalesce_data(&mut self.waiting.data);
            self.coalesce_data_at = self.waiting.data.len().saturating_mul(2).max(MIN_COALESCED);
        }
    }
}

/// Removes messages that later ones make redundant, and repeated errors.
fn coalesce_control(queue: &mut VecDeque<Control>) {
    let (mut looks, mut wakes, mut says_what_is_owned, mut recovers) = (false, false, false, false);
    let mut kept: Vec<Control> = mem::take(queue)
        .into_iter()
        .rev()
        .filter(|control| match control {
            Control::Recheck => !mem::replace(&mut looks, true),
            Control::Wake => !mem::replace(&mut wakes, true),
            // One that adds nothing only lists what is owned, so a later one replaces it.
            Control::Assigned { added, .. } if added.is_empty() => {
                !mem::replace(&mut says_what_is_owned, true)
            }
            Control::Assigned { .. } | Control::Revoke { .. } | Control::Lost { .. } => {
                says_what_is_owned = false;
                true
            }
            Control::Failed(_) => {
                recovers = false;
                true
            }
            Control::Recovered => !mem::replace(&mut recovers, true),
            Control::PollIntervalExceeded(_) | Control::Close { .. } => true,
        })
        .collect();
    kept.reverse();
    let mut told = BTreeSet::new();
    kept.retain(|control| match control {
        Control::Failed(error) => told.insert((error.partition().cloned(), error.to_string())),
        // These end a fatal error: the same error afterwards is a new one.
        Control::Assigned { .. } | Control::Recovered => {
            told.clear();
            true
        }
        _ => true,
    });
    drop_oldest_errors(&mut kept);
    *queue = kept.into();
}

/// Drops the oldest errors beyond [`MAX_ERRORS`]. Every `poll` returns the last fatal one, so that stays, however old it is.
fn drop_oldest_errors(queue: &mut Vec<Control>) {
    let is_error = |control: &Control| matches!(control, Control::Failed(_));
    let is_fatal = |control: &Control| matches!(control, Control::Failed(error) if error.is_fatal());
    let mut excess = queue.iter().filter(|control| is_error(control)).count().saturating_sub(MAX_ERRORS);
    let last_fatal = queue.iter().rposition(is_fatal);
    let mut index = 0_usize;
    queue.retain(|control| {
        let is_dropped = excess > 0 && is_error(control) && Some(index) != last_fatal;
        excess = excess.saturating_sub(usize::from(is_dropped));
        index = index.saturating_add(1);
        !is_dropped
    });
}

/// Removes messages from before the last seek (but keeps records, which are charged to the budget), and all
/// requests to give records back except the last; merges restarts of a partition that have no records between
/// them.
fn coalesce_data(queue: &mut VecDeque<Data>) {
    let mut last_seek: BTreeMap<TopicPartition, Token> = BTreeMap::new();
    for data in queue.iter() {
        if let Data::Sought { partition, token, .. } = data {
            last_seek.insert(partition.clone(), *token);
        }
    }
    let mut asked = BTreeSet::new();
    let is_asked_again: Vec<bool> = queue
        .iter()
        .rev()
        .map(|data| matches!(data, Data::GiveBack { partition, token } if !asked.insert((partition.clone(), *token))))
        .collect();
    let is_stale = |partition: &TopicPartition, token: &Token| {
        last_seek.get(partition).is_some_and(|last| token.same_assignment(*last) && token < last)
    };
    let mut kept: VecDeque<Data> = VecDeque::with_capacity(queue.len());
    // The index in `kept` of each partition's last start, if nothing of that partition has followed.
    let mut starts: BTreeMap<TopicPartition, usize> = BTreeMap::new();
    for (data, is_asked_again) in mem::take(queue).into_iter().zip(is_asked_again.into_iter().rev()) {
        match data {
            Data::GiveBack { .. } if is_asked_again => continue,
            Data::Sought { ref partition, ref token, .. } if is_stale(partition, token) => continue,
            Data::Failed { ref partition, ref token, .. } if is_stale(partition, token) => continue,
            Data::GiveBack { ref partition, ref token } if is_stale(partition, token) => continue,
            Data::GivenBack { ref partition, ref token, .. } if is_stale(partition, token) => continue,
            Data::Started { ref partition, ref token, .. } if is_stale(partition, token) => continue,
            Data::Started { partition, token, position, mut restart } => {
                let before = starts.get(&partition).and_then(|at| kept.get_mut(*at));
                if let Some(Data::Started { token: old, position: at, restart: told, .. }) = before
                    && *old == token
                {
                    *at = position;
                    told.rewinds = restart.rewinds;
                    told.resets.append(&mut restart.resets);
                    // The number of resets is unlimited, so only the last ones are kept.
                    let excess = told.resets.len().saturating_sub(MAX_RESETS);
                    told.resets.drain(..excess);
                } else {
                    starts.insert(partition.clone(), kept.len());
                    kept.push_back(Data::Started { partition, token, position, restart });
                }
            }
            Data::Records(chunk) => {
                starts.remove(&chunk.partition);
                kept.push_back(Data::Records(chunk));
            }
            Data::Failed { ref partition, .. }
            | Data::Sought { ref partition, .. }
            | Data::GiveBack { ref partition, .. }
            | Data::GivenBack { ref partition, .. } => {
                starts.remove(partition);
                kept.push_back(data);
            }
        }
    }
    *queue = kept;
}

/// How many resets of one partition are reported if it restarts again and again without a record.
const MAX_RESETS: usize = 16;

#[cfg(test)]
mod tests;
