//! [`Transactions`]: the machine that begins and ends transactions.
//!
//! ```text
//!            ┌──────────── a new epoch is needed ───────────┐
//!            ▼                                              │
//!        Starting ──InitProducerId──▶ Ready ──begin──▶ Open ──end──▶ Ending
//!                                       ▲                             │
//!                                       └───────────EndTxn────────────┘
//!        any ──fenced, not allowed──▶ Over
//! ```
//!
//! One request is on its way at a time, to the coordinator of the transactional id or to that of a group. What is asked next follows from the
//! state alone ([`next_ask`](Transactions::next_ask)), so that a request whose answer was lost is asked again.

mod answers;
mod requests;

use std::{
    collections::VecDeque,
    mem,
    time::{Duration, Instant},
};

use offtake_client::{Error, ErrorKind};
use offtake_machine::{
    Backoff, BackoffConfig, BrokerId, Call, CallIds, Coordinator, GroupOffsets, Target, TopicPartition,
    Transmit, after, earliest,
};

pub(crate) use super::work::Protocol;
use super::work::{SentOffsets, Work};
use crate::sender::ProducerIdentity;

/// Coordinators need a moment to write the markers of the transaction before.
const AFTER_CONCURRENT: Duration = Duration::from_millis(20);

/// Whose answer a call's is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Transaction,
    /// Where the transactional id's coordinator is.
    Coordinator,
    /// Where the group's is.
    /// Where the group's is; the number of the group among those of this producer.
    GroupCoordinator(u32),
}

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// The producer is known by this from now on.
    Identified(ProducerIdentity),
    /// What `begin` or `await_ready` waited for; of `begin`, a transaction is open.
    Begun(Result<Option<Protocol>, Error>),
    /// These may be written to.
    Added(Vec<TopicPartition>),
    /// The offsets with this number are part of the transaction, or are not.
    OffsetsSent(u64, Result<(), Error>),
    /// The transaction cannot be committed: nothing more of it is sent.
    Failed(Error),
    /// The transaction has ended: committed, or aborted as was asked for. Or not, and it says what is known.
    Ended(Result<(), Error>),
    /// No transaction is open or ending any more.
    Closed,
    /// There will be no transaction any more.
    Over(Error),
    Found {
        broker: BrokerId,
        host: String,
        port: u16,
    },
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
    /// What the call on its way asks.
    asked: Ask,
    backoff: Backoff,
    coordinator: Coordinator,
    group: Option<GroupCoordinator>,
    groups: u32,
    identity: Option<ProducerIdentity>,
    protocol: Protocol,
    state: State,
    begin: Option<Begin>,
    /// Why the coordinator gives no id, as far as known.
    trouble: Option<String>,
    events: VecDeque<Event>,
}

#[derive(Debug)]
enum State {
    /// An id or the next epoch is asked for, after what the cluster can do.
    Starting {
        knows_protocol: bool,
    },
    Ready,
    Open(Work),
    Ending(Work, End),
    Over(Error),
}

/// The coordinator of the group whose offsets are sent.
#[derive(Debug)]
struct GroupCoordinator {
    id: String,
    number: u32,
    coordinator: Coordinator,
}

/// How a transaction is to end.
#[derive(Debug)]
struct End {
    commits: bool,
    /// Whether all that was sent has an outcome.
    is_quiet: bool,
    /// By when, once it is.
    deadline: Option<Instant>,
    asked: Asked,
    /// Whether the caller knows all that it will be told.
    is_told: bool,
    trouble: Option<String>,
}

/// What may have become of EndTxn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// It was not carried out.
    No,
    /// It is on its way. `before`: one before may have been carried out.
    InFlight { before: bool },
    /// No answer said whether it was carried out.
    Unanswered,
}

impl Asked {
    /// It is sent.
    fn sent(self) -> Self {
        Self::InFlight { before: self.may_be_done() }
    }

    /// It was answered: not carried out.
    fn refused(self) -> Self {
        match self {
            Self::InFlight { before: true } | Self::Unanswered => Self::Unanswered,
            Self::InFlight { before: false } | Self::No => Self::No,
        }
    }

    /// Whether any attempt may have been carried out.
    fn may_be_done(self) -> bool {
        self != Self::No
    }
}

/// A caller who waits for its transaction, or for the producer to be ready for one.
#[derive(Clone, Copy, Debug)]
struct Begin {
    opens: bool,
    deadline: Instant,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Features,
    Identity,
    Partitions,
    Offsets,
    CommitOffsets,
    End,
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
            state: State::Starting { knows_protocol: false },
            begin: None,
            trouble: None,
            events: VecDeque::new(),
            config,
        }
    }

    /// Waits for the transaction before to have ended, and opens one.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.wait_to_begin(now, true);
    }

    /// Waits until a transaction could be opened.
    pub(crate) fn await_ready(&mut self, now: Instant) {
        self.wait_to_begin(now, false);
    }

    fn wait_to_begin(&mut self, now: Instant, opens: bool) {
        // Whoever was given the one that is open went away without it.
        if self.is_open() {
            self.end(now, false);
        }
        self.begin = Some(Begin { opens, deadline: after(now, self.config.max_block) });
        self.advance(now);
    }

    /// The open transaction is to write to this partition. With [`Protocol::Announced`] it is [`Event::Added`] first.
    pub(crate) fn add(&mut self, now: Instant, partition: TopicPartition) {
        if let State::Open(work) | State::Ending(work, _) = &mut self.state {
            work.wanted.insert(partition);
        }
        self.advance(now);
    }

    /// Something of the open transaction was sent, by which a broker may open it at the coordinator.
    pub(crate) fn note_sent(&mut self, now: Instant) {
        if let State::Open(work) | State::Ending(work, _) = &mut self.state {
            work.begin(now);
        }
    }

    /// These offsets are committed with the open transaction.
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
                    trouble: None,
                });
                return self.advance(now);
            }
            _ => Error::misuse("no transaction is open"),
        };
        self.events.push_back(Event::OffsetsSent(id, Err(refusal)));
    }

    /// Something of the open transaction was not written: it cannot be committed.
    pub(crate) fn fail(&mut self, now: Instant, why: Error) {
        if why.kind() == ErrorKind::Fenced {
            return self.end_for_good(why);
        }
        let (State::Open(work) | State::Ending(work, _)) = &mut self.state else { return };
        if work.failed.is_some() {
            return;
        }
        let why = aborted(&why);
        work.failed = Some(why.clone());
        work.needs_epoch = true;
        for sent in mem::take(&mut work.offsets) {
            self.events.push_back(Event::OffsetsSent(sent.id, Err(why.clone())));
        }
        self.events.push_back(Event::Failed(why.clone()));
        // A commit that was not asked for yet becomes an abort.
        if let State::Ending(_, end) = &mut self.state
            && end.commits
            && !end.asked.may_be_done()
        {
            end.commits = false;
            end.tell(&mut self.events, Err(why));
        }
        self.advance(now);
    }

    /// The open transaction ends. What was sent of it must have its outcome first: [`is_quiet`](Self::is_quiet) says so.
    pub(crate) fn end(&mut self, now: Instant, commits: bool) {
        let work = match mem::replace(&mut self.state, State::Ready) {
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
        let mut end =
            End { commits, is_quiet: false, deadline: None, asked: Asked::No, is_told: false, trouble: None };
        if commits && let Some(why) = work.failed.clone() {
            end.commits = false;
            end.tell(&mut self.events, Err(why));
        }
        self.state = State::Ending(work, end);
        if !commits {
            self.drop_work();
        }
        self.advance(now);
    }

    /// What an aborted transaction was about to do is not done.
    fn drop_work(&mut self) {
        let State::Ending(work, _) = &mut self.state else { return };
        work.wanted.clear();
        // What is given up has a number, which will be missing.
        work.needs_epoch = true;
        let why = Error::new(ErrorKind::TransactionAborted, "the transaction was aborted");
        for sent in mem::take(&mut work.offsets) {
            self.events.push_back(Event::OffsetsSent(sent.id, Err(why.clone())));
        }
        if work.failed.is_none() {
            work.failed = Some(why.clone());
            self.events.push_back(Event::Failed(why));
        }
    }

    /// Whether it waits for all that was sent to have an outcome before it ends the transaction.
    pub(crate) fn awaits_quiet(&self) -> bool {
        matches!(&self.state, State::Ending(_, End { is_quiet: false, .. }))
    }

    /// All that was sent of the transaction that is ending has an outcome.
    pub(crate) fn is_quiet(&mut self, now: Instant) {
        if let State::Ending(_, end) = &mut self.state {
            end.is_quiet = true;
            end.deadline = Some(after(now, self.config.max_block));
        }
        self.advance(now);
    }

    /// Whether no transaction is open or ending.
    pub(crate) fn is_idle(&self) -> bool {
        match &self.state {
            State::Starting { .. } | State::Ready | State::Over(_) => true,
            State::Open(_) | State::Ending(..) => false,
        }
    }

    /// Whether a transaction is open: what was begun and not ended.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Goes on as far as it can without an answer.
    fn advance(&mut self, now: Instant) {
        if let State::Ending(work, end) = &mut self.state
            && end.is_quiet
            && work.offsets.is_empty()
            && work.begun.is_none()
            && work.adding.is_empty()
            && !self.call.is_sent()
        {
            // The coordinator has no transaction: there is nothing to end.
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

    /// What is to be asked next.
    fn next_ask(&self) -> Option<Ask> {
        match &self.state {
            State::Starting { knows_protocol: false } => Some(Ask::Features),
            State::Starting { .. } => Some(Ask::Identity),
            State::Open(work) => self.next_of(work),
            State::Ending(work, end) => {
                // What the coordinator may have heard of half is asked for until it is known.
                if !work.adding.is_empty() {
                    return Some(Ask::Partitions);
                }
                if end.commits
                    && let Some(ask) = self.next_of(work)
                {
                    return Some(ask);
                }
                (end.is_quiet && work.begun.is_some()).then_some(Ask::End)
            }
            State::Ready | State::Over(_) => None,
        }
    }

    fn next_of(&self, work: &Work) -> Option<Ask> {
        if work.failed.is_some() {
            return None;
        }
        if self.protocol == Protocol::Announced && !(work.wanted.is_empty() && work.adding.is_empty()) {
            return Some(Ask::Partitions);
        }
        let sent = work.offsets.front()?;
        let announces = self.protocol == Protocol::Announced && !sent.is_announced;
        Some(if announces { Ask::Offsets } else { Ask::CommitOffsets })
    }

    /// The producer has ended.
    pub(crate) fn stop(&mut self, why: Error) {
        self.end_for_good(why);
    }

    /// No transaction will be begun any more.
    fn end_for_good(&mut self, why: Error) {
        if let State::Over(_) = self.state {
            return;
        }
        self.events.push_back(Event::Over(why.clone()));
        match mem::replace(&mut self.state, State::Over(why.clone())) {
            State::Open(work) => self.refuse_offsets(work, &why),
            State::Ending(work, mut end) => {
                self.refuse_offsets(work, &why);
                // One that was asked to commit, and never said whether it did, may have.
                let told = match end.commits && end.asked.may_be_done() {
                    true => Err(unknown(&why.to_string())),
                    false => Err(why.clone()),
                };
                end.tell(&mut self.events, told);
            }
            State::Starting { .. } | State::Ready | State::Over(_) => {}
        }
        if self.begin.take().is_some() {
            self.events.push_back(Event::Begun(Err(why)));
        }
        self.call = Call::Idle;
    }

    fn refuse_offsets(&mut self, work: Work, why: &Error) {
        for sent in work.offsets {
            self.events.push_back(Event::OffsetsSent(sent.id, Err(why.clone())));
        }
    }

    /// The request on its way may have been carried out, and nobody says so.
    fn is_unanswered(&mut self) {
        if self.asked == Ask::End
            && let State::Ending(_, end) = &mut self.state
        {
            end.is_unanswered();
        }
    }

    fn again(&mut self, now: Instant) {
        self.call = Call::Due(after(now, self.backoff.next_wait()));
    }

    /// The coordinator is still about the transaction before.
    fn again_soon(&mut self, now: Instant) {
        let wait = self.backoff.next_wait();
        self.call = Call::Due(after(
            now,
            if self.backoff.failures() < 10 { wait.min(AFTER_CONCURRENT) } else { wait },
        ));
    }

    /// The clock moved.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.coordinator.handle_timeout(now);
        if let Some(group) = &mut self.group {
            group.coordinator.handle_timeout(now);
        }
        self.take_coordinator_events(now);
        if self.call.is_overdue(now) {
            self.lose_coordinator(now);
            self.is_unanswered();
            self.again(now);
        }
        if self.begin.is_some_and(|begin| begin.deadline <= now) {
            self.begin = None;
            let error = self.not_ready();
            self.events.push_back(Event::Begun(Err(error)));
        }
        self.expire_offsets(now);
        self.expire_end(now);
        self.warn_of_timeout(now);
        self.advance(now);
    }

    fn not_ready(&self) -> Error {
        let waited = self.config.max_block.as_millis();
        let what = match &self.state {
            State::Ending(_, end) if end.commits => "the transaction before is still being committed",
            State::Ending(..) => "the transaction before is still being aborted",
            _ if self.coordinator.broker().is_none() => "no coordinator was found for it",
            _ => "its coordinator does not give it an id",
        };
        let why = match &self.state {
            State::Ending(_, end) => end.trouble.as_deref(),
            _ => self.trouble.as_deref(),
        };
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        let text = format!(
            "transactional id {}: {what}{why} ({waited} ms, `max.block.ms`); it goes on, and the next call may succeed",
            self.config.id
        );
        Error::new(ErrorKind::Timeout, text)
    }

    fn expire_offsets(&mut self, now: Instant) {
        let (State::Open(work) | State::Ending(work, _)) = &self.state else { return };
        let Some(sent) = work.offsets.front().filter(|sent| sent.deadline <= now) else { return };
        let waited = self.config.max_block.as_millis();
        let why = sent.trouble.as_deref().unwrap_or("no coordinator answered");
        let text = format!("the offsets were not taken within {waited} ms (`max.block.ms`): {why}");
        self.fail(now, Error::new(ErrorKind::Timeout, text));
    }

    fn expire_end(&mut self, now: Instant) {
        let State::Ending(work, end) = &mut self.state else { return };
        if end.is_told || end.deadline.is_none_or(|deadline| deadline > now) {
            return;
        }
        let waited = self.config.max_block.as_millis();
        let why = end.trouble.as_deref().unwrap_or("its coordinator did not answer");
        let text = format!("{waited} ms (`max.block.ms`): {why}");
        if end.commits && end.asked.may_be_done() {
            // It is asked until the answer is known, and a new epoch then keeps the next transaction apart from this one.
            work.needs_epoch = true;
            end.tell(&mut self.events, Err(unknown(&text)));
        } else if end.commits {
            let text = format!("the transaction was not committed within {text}");
            self.fail(now, Error::new(ErrorKind::Timeout, text));
        } else {
            let text = format!(
                "the transaction was not aborted within {text}; it goes on, and the next one waits for that"
            );
            end.tell(&mut self.events, Err(Error::new(ErrorKind::Timeout, text)));
        }
    }

    /// A transaction that lasts too long is aborted by the coordinator, and its producer fenced.
    fn warn_of_timeout(&mut self, now: Instant) {
        let at = self.warns_at();
        let (State::Open(work) | State::Ending(work, _)) = &mut self.state else { return };
        if at.is_some_and(|at| at <= now) {
            work.is_warned = true;
            tracing::warn!(
                transactional_id = self.config.id,
                transaction_timeout_ms = self.config.timeout.as_millis(),
                "a transaction has been open for four fifths of `transaction.timeout.ms`: when that is over the coordinator aborts it, and this \
                 producer is fenced; raise it, or do less in one transaction"
            );
        }
    }

    fn warns_at(&self) -> Option<Instant> {
        let (State::Open(work) | State::Ending(work, _)) = &self.state else { return None };
        let begun = work.begun.filter(|_| !work.is_warned)?;
        Some(after(begun, self.config.timeout.saturating_mul(4) / 5))
    }

    /// When to call again.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let (offsets, end) = match &self.state {
            State::Open(work) => (work.offsets.front(), None),
            State::Ending(work, end) => (work.offsets.front(), end.deadline.filter(|_| !end.is_told)),
            _ => (None, None),
        };
        earliest([
            self.call.deadline().filter(|_| self.call.is_sent() || self.target().is_some()),
            self.coordinator.poll_timeout(),
            self.group.as_ref().and_then(|group| group.coordinator.poll_timeout()),
            self.begin.map(|begin| begin.deadline),
            offsets.map(|sent| sent.deadline),
            end,
            self.warns_at(),
        ])
    }

    /// What happened.
    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The coordinator that the next request goes to, if it is known.
    fn target(&self) -> Option<BrokerId> {
        match self.next_ask()? {
            Ask::CommitOffsets => self.wanted_group()?.coordinator.broker(),
            _ => self.coordinator.broker(),
        }
    }

    /// The coordinator of the group whose offsets are to be sent, if it was looked for.
    fn wanted_group(&self) -> Option<&GroupCoordinator> {
        let (State::Open(work) | State::Ending(work, _)) = &self.state else { return None };
        let id = &work.offsets.front()?.offsets.group.group_id;
        self.group.as_ref().filter(|group| group.id == *id)
    }

    /// What to send.
    pub(crate) fn poll_transmit(&mut self, now: Instant) -> Option<(Part, Transmit)> {
        if let Some(transmit) = self.coordinator.poll_transmit(now) {
            return Some((Part::Coordinator, transmit));
        }
        if let Some(group) = &mut self.group
            && let Some(transmit) = group.coordinator.poll_transmit(now)
        {
            return Some((Part::GroupCoordinator(group.number), transmit));
        }
        if !matches!(self.call, Call::Due(at) if at <= now) {
            return None;
        }
        let Some(ask) = self.next_ask() else {
            self.call = Call::Idle;
            return None;
        };
        let Some(to) = self.target() else {
            self.look_up(now, ask);
            return match ask {
                Ask::CommitOffsets => {
                    let group = self.group.as_mut()?;
                    Some((Part::GroupCoordinator(group.number), group.coordinator.poll_transmit(now)?))
                }
                _ => Some((Part::Coordinator, self.coordinator.poll_transmit(now)?)),
            };
        };
        let (request, max_version) = self.request(now, ask)?;
        let timeout = self.config.request_timeout;
        let id = self.call.start(now, &mut self.ids, timeout)?;
        self.asked = ask;
        let to = Target::Broker(to);
        Some((Part::Transaction, Transmit { id, to, request, max_version, timeout }))
    }

    fn look_up(&mut self, now: Instant, ask: Ask) {
        if ask != Ask::CommitOffsets {
            return self.coordinator.look_up(now);
        }
        let (State::Open(work) | State::Ending(work, _)) = &self.state else { return };
        let Some(sent) = work.offsets.front() else { return };
        let id = &sent.offsets.group.group_id;
        if self.wanted_group().is_none() {
            let TransactionConfig { request_timeout, backoff, .. } = self.config;
            self.groups = self.groups.wrapping_add(1);
            let seed = self.seed.wrapping_add(2);
            let coordinator = Coordinator::new(id.clone(), request_timeout, backoff, seed);
            self.group = Some(GroupCoordinator { id: id.clone(), number: self.groups, coordinator });
        }
        if let Some(group) = &mut self.group {
            group.coordinator.look_up(now);
        }
    }
}

impl End {
    /// It was sent, and there is no answer that says whether it was carried out.
    fn is_unanswered(&mut self) {
        if self.asked.may_be_done() {
            self.asked = Asked::Unanswered;
        }
    }

    /// Says how it ended, once.
    fn tell(&mut self, events: &mut VecDeque<Event>, result: Result<(), Error>) {
        if !mem::replace(&mut self.is_told, true) {
            events.push_back(Event::Ended(result));
        }
    }
}

/// Why a transaction is aborted, as its caller is told.
pub(super) fn aborted(why: &Error) -> Error {
    if why.kind() == ErrorKind::TransactionAborted {
        return why.clone();
    }
    let text = format!("the transaction is aborted, nothing of it is committed: {why}");
    let mut error = Error::new(ErrorKind::TransactionAborted, text).caused_by(why.clone());
    if let Some(code) = why.code() {
        error = error.with_code(code);
    }
    if let Some(partition) = why.partition() {
        error = error.with_partition(partition.clone());
    }
    error
}

/// Nobody knows whether a transaction was committed.
fn unknown(why: &str) -> Error {
    let text = format!(
        "whether the transaction was committed is not known; it may be: {why}. The next transaction waits until that is decided"
    );
    Error::new(ErrorKind::OutcomeUnknown, text)
}
