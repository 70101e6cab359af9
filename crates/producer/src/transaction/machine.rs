//! [`Transactions`]: the machine that begins and ends transactions.
//!
//! ```text
//!                       ┌──────────── a new epoch is needed ───────────┐
//!                       ▼                                              │
//! LearningProtocol ─▶ Identifying ─▶ Ready ──begin──▶ Open ──end──▶ Ending
//!                                      ▲                              │
//!                                      └───────────EndTxn─────────────┘
//!        any ──fenced, not allowed──▶ Over
//! ```
//!
//! One request is in flight at a time, to the coordinator of the transactional id or to that of a group. The next request follows
//! from the state alone ([`next_ask`](Transactions::next_ask)), so that a request whose response was lost is sent again.

mod answers;
mod coordinators;
mod ending;
#[cfg(test)]
mod model;
mod remedy;
mod requests;
#[cfg(test)]
mod tests;
mod waits;

use std::{
    collections::VecDeque,
    mem,
    time::{Duration, Instant},
};

use offtake_client::{Error, ErrorKind};
use offtake_machine::{
    Backoff, BackoffConfig, BrokerId, Call, CallId, CallIds, Coordinator, GroupOffsets, TopicPartition, after,
};

pub(crate) use super::work::Protocol;
use super::work::{SentOffsets, Work};
use crate::sender::ProducerIdentity;
use coordinators::GroupCoordinator;
use ending::{End, aborted, unknown};

/// The machine part that a call belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Transaction,
    /// The search for the transactional id's coordinator.
    Coordinator,
    /// The search for the group's coordinator, with the number of the group among those of this producer.
    GroupCoordinator(u32),
}

/// An event for the engine.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// The producer has this identity from now on.
    Identified(ProducerIdentity),
    /// The result of `begin` or `await_ready`. With a protocol, a transaction was opened.
    Begun(Result<Option<Protocol>, Error>),
    /// These partitions may be written to.
    Added(Vec<TopicPartition>),
    /// The offsets with this number became part of the transaction, or failed.
    OffsetsSent(u64, Result<(), Error>),
    /// The transaction cannot be committed: nothing more of it is to be sent.
    Failed(Error),
    /// The transaction has ended: committed, or aborted as requested. An error says what is known.
    Ended(Result<(), Error>),
    /// No transaction is open or ending any more.
    Closed,
    /// There will be no further transactions.
    Over(Error),
    Found {
        broker: BrokerId,
        host: String,
        port: u16,
    },
    /// This request of the machine's is not to leave any more, if it waits for a connection.
    Withdraw(CallId),
}

#[derive(Clone, Debug)]
pub(crate) struct TransactionConfig {
    pub(crate) id: String,
    pub(crate) timeout: Duration,
    pub(crate) max_block: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) backoff: BackoffConfig,
}

/// The machine.
#[derive(Debug)]
pub(crate) struct Transactions {
    config: TransactionConfig,
    seed: u64,
    ids: CallIds,
    call: Call,
    /// The kind of the request in flight.
    asked: Ask,
    backoff: Backoff,
    coordinator: Coordinator,
    group: Option<GroupCoordinator>,
    groups: u32,
    identity: Option<ProducerIdentity>,
    protocol: Protocol,
    state: State,
    begin: Option<Begin>,
    /// Why there is no producer id yet, as far as known.
    last_error: Option<String>,
    events: VecDeque<Event>,
}

#[derive(Debug)]
enum State {
    /// The cluster's features are being requested.
    LearningProtocol,
    /// A producer id, or the next epoch, is being requested.
    Identifying,
    Ready,
    Open(Work),
    Ending(Work, End),
    Over(Error),
}

/// A caller that waits for its transaction, or for the producer to be ready for one.
#[derive(Clone, Copy, Debug)]
struct Begin {
    opens: bool,
    deadline: Instant,
}

/// The kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Features,
    Identity,
    Partitions,
    Offsets,
    CommitOffsets,
    End,
}

impl State {
    /// The work of the transaction that is open or ending.
    fn work(&self) -> Option<&Work> {
        match self {
            Self::Open(work) | Self::Ending(work, _) => Some(work),
            Self::LearningProtocol | Self::Identifying | Self::Ready | Self::Over(_) => None,
        }
    }

    fn work_mut(&mut self) -> Option<&mut Work> {
        match self {
            Self::Open(work) | Self::Ending(work, _) => Some(work),
            Self::LearningProtocol | Self::Identifying | Self::Ready | Self::Over(_) => None,
        }
    }

    fn end_mut(&mut self) -> Option<&mut End> {
        match self {
            Self::Ending(_, end) => Some(end),
            _ => None,
        }
    }
}

impl Transactions {
    pub(crate) fn new(now: Instant, config: TransactionConfig, seed: u64) -> Self {
        let coordinator = Coordinator::of_transactions(
            &config.id,
            config.request_timeout,
            config.backoff,
            seed.wrapping_add(1),
        );
        Self {
            seed,
            ids: CallIds::default(),
            call: Call::Due(now),
            asked: Ask::Features,
            backoff: Backoff::new(config.backoff, seed),
            coordinator,
            group: None,
            groups: 0,
            identity: None,
            protocol: Protocol::default(),
            state: State::LearningProtocol,
            begin: None,
            last_error: None,
            events: VecDeque::new(),
            config,
        }
    }

    /// Waits for the previous transaction to end, and opens a new one.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.wait_to_begin(now, true);
    }

    /// Waits until a transaction could be opened.
    pub(crate) fn await_ready(&mut self, now: Instant) {
        self.wait_to_begin(now, false);
    }

    fn wait_to_begin(&mut self, now: Instant, opens: bool) {
        // The caller that began the open transaction went away without it.
        if self.is_open() {
            self.end(now, false);
        }
        self.begin = Some(Begin { opens, deadline: after(now, self.config.max_block) });
        self.advance(now);
    }

    /// Notes that the open transaction is about to write to this partition. With [`Protocol::Announced`], [`Event::Added`] allows
    /// it first.
    pub(crate) fn add(&mut self, now: Instant, partition: TopicPartition) {
        if let Some(work) = self.state.work_mut() {
            work.wanted.insert(partition);
        }
        self.advance(now);
    }

    /// Notes that a batch of the open transaction was sent, by which a broker may open the transaction at the coordinator.
    pub(crate) fn note_sent(&mut self, now: Instant) {
        if let Some(work) = self.state.work_mut() {
            work.begin(now);
        }
    }

    /// Commits these offsets with the open transaction.
    pub(crate) fn send_offsets(&mut self, now: Instant, id: u64, offsets: GroupOffsets) {
        if offsets.offsets.is_empty() {
            return self.events.push_back(Event::OffsetsSent(id, Ok(())));
        }
        let refusal = match &mut self.state {
            State::Open(Work { failed: Some(why), .. }) | State::Over(why) => why.clone(),
            State::Open(work) => {
                let deadline = after(now, self.config.max_block);
                work.offsets.push_back(SentOffsets {
                    id,
                    offsets,
                    deadline,
                    is_announced: false,
                    missing_since: None,
                    last_error: None,
                });
                return self.advance(now);
            }
            _ => Error::misuse("no transaction is open"),
        };
        self.events.push_back(Event::OffsetsSent(id, Err(refusal)));
    }

    /// Notes that a record of the open transaction was not written, so that it cannot be committed.
    pub(crate) fn fail(&mut self, now: Instant, why: Error) {
        if why.kind() == ErrorKind::Fenced {
            return self.end_for_good(why);
        }
        let Some(work) = self.state.work_mut().filter(|work| work.failed.is_none()) else { return };
        let why = aborted(&why);
        work.give_up(&why, &mut self.events);
        self.withdraw_offsets();
        // A commit for which no request was sent becomes an abort.
        if let Some(end) = self.state.end_mut()
            && end.commits
            && !end.progress.may_be_done()
        {
            end.commits = false;
            end.tell(&mut self.events, Err(why));
        }
        self.advance(now);
    }

    /// Ends the open transaction. First, all of its records need an outcome; [`on_records_settled`](Self::on_records_settled)
    /// reports that they have.
    pub(crate) fn end(&mut self, now: Instant, commits: bool) {
        let mut work = match mem::replace(&mut self.state, State::Ready) {
            State::Open(work) => work,
            State::Over(why) => {
                self.events.push_back(Event::Ended(Err(why.clone())));
                self.state = State::Over(why);
                return;
            }
            other => {
                self.state = other;
                let error = Error::misuse("no transaction is open");
                return self.events.push_back(Event::Ended(Err(error)));
            }
        };
        let mut end = End::new(commits);
        match work.failed.clone() {
            Some(why) if commits => {
                end.commits = false;
                end.tell(&mut self.events, Err(why));
            }
            None if !commits => {
                let why = Error::new(ErrorKind::TransactionAborted, "the transaction was aborted");
                work.give_up(&why, &mut self.events);
                self.withdraw_offsets();
            }
            Some(_) | None => {}
        }
        self.state = State::Ending(work, end);
        self.advance(now);
    }

    /// Withdraws the offsets of a transaction that is given up. They must not be sent later, to a group that the member may have
    /// left by then, and the end of the transaction does not wait for their connection.
    fn withdraw_offsets(&mut self) {
        if let (Ask::CommitOffsets, Call::Sent { id, .. }) = (self.asked, self.call) {
            self.events.push_back(Event::Withdraw(id));
        }
    }

    /// Whether the end of the transaction waits for outcomes of its records.
    pub(crate) fn awaits_records(&self) -> bool {
        matches!(&self.state, State::Ending(_, end) if end.awaits_records())
    }

    /// Notes that all records of the ending transaction have outcomes.
    pub(crate) fn on_records_settled(&mut self, now: Instant) {
        if let Some(end) = self.state.end_mut() {
            end.on_records_settled(after(now, self.config.max_block));
        }
        self.advance(now);
    }

    /// Whether no transaction is open or ending.
    pub(crate) fn is_idle(&self) -> bool {
        self.state.work().is_none()
    }

    /// Whether a transaction is open: begun and not ended.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Whether a transaction is being aborted.
    pub(crate) fn is_aborting(&self) -> bool {
        matches!(&self.state, State::Ending(_, end) if !end.commits)
    }

    /// Advances as far as possible without a response.
    fn advance(&mut self, now: Instant) {
        if let State::Ending(work, end) = &mut self.state
            && !end.awaits_records()
            && work.offsets.is_empty()
            && work.begun.is_none()
            && work.adding.is_empty()
            && !self.call.is_sent()
        {
            // The coordinator never opened the transaction, so that no request is needed to end it.
            self.events.push_back(Event::Closed);
            end.tell(&mut self.events, Ok(()));
            self.state = State::Ready;
        }
        match (&self.state, self.begin) {
            (State::Ready, Some(begin)) => {
                self.begin = None;
                let protocol = begin.opens.then_some(self.protocol);
                if begin.opens {
                    self.state = State::Open(Work::new());
                }
                self.events.push_back(Event::Begun(Ok(protocol)));
            }
            (State::Over(why), Some(_)) => {
                self.events.push_back(Event::Begun(Err(why.clone())));
                self.begin = None;
            }
            _ => {}
        }
        if self.call == Call::Idle && self.next_ask().is_some() {
            self.call = Call::Due(now);
        }
    }

    /// Ends the machine with the producer: there will be no further transactions.
    pub(crate) fn end_for_good(&mut self, why: Error) {
        if let State::Over(_) = self.state {
            return;
        }
        self.withdraw_offsets();
        self.events.push_back(Event::Over(why.clone()));
        if let Some(work) = self.state.work_mut() {
            work.refuse_offsets(&why, &mut self.events);
        }
        if let Some(end) = self.state.end_mut() {
            // A commit whose outcome was never reported may have succeeded.
            let told = match end.commits && end.progress.may_be_done() {
                true => unknown(&why.to_string()),
                false => why.clone(),
            };
            end.tell(&mut self.events, Err(told));
        }
        self.state = State::Over(why.clone());
        if self.begin.take().is_some() {
            self.events.push_back(Event::Begun(Err(why)));
        }
        self.call = Call::Idle;
    }

    /// Notes that the request in flight may be carried out, now or later, without a response.
    fn is_unanswered(&mut self) {
        match (self.asked, &mut self.state) {
            (Ask::End, State::Ending(_, end)) => end.is_unanswered(),
            // If it arrives after the end of this transaction, it must not open the next one.
            (
                Ask::Partitions | Ask::Offsets | Ask::CommitOffsets,
                State::Open(work) | State::Ending(work, _),
            ) => {
                work.needs_epoch = true;
            }
            _ => {}
        }
    }

    /// The next event.
    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}
