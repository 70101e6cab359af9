//! The world of a run: the cluster, the network between it and the members, and the members' processes.

mod ask;
mod claims;
mod dial;
mod direct;
mod peek;
mod process;
mod stream;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use offtake_broker::{ConnectionId, Model, Observed, Output, RuleId};
use tokio::sync::Notify;

pub(crate) use self::{dial::Road, direct::Direct};
use crate::{
    clock,
    events::{Log, Place, What, Who},
    random::Random,
    working,
};

/// The group of every run.
pub(crate) const GROUP: &str = "g";

/// The members' bootstrap server: a name that follows the first broker wherever it listens.
pub(crate) const BOOTSTRAP: &str = "bootstrap:9092";

/// The world, shared by all; nobody holds its lock across an await.
#[derive(Clone)]
pub(crate) struct World {
    state: Arc<Mutex<State>>,
    stir: Arc<Notify>,
    pub(crate) log: Log,
}

pub(crate) struct State {
    pub(crate) model: Model,
    pub(crate) log: Log,
    pub(crate) random: Random,
    latency: (u64, u64),
    lines: BTreeMap<u64, Line>,
    of_connection: BTreeMap<ConnectionId, u64>,
    next_line: u64,
    due: BTreeMap<(Instant, u64), Arrival>,
    next_arrival: u64,
    pub(crate) troubles: Vec<Trouble>,
    /// The rules that strike requests, by class.
    pub(crate) armed: Vec<(&'static str, RuleId)>,
    pub(crate) partial_writes: bool,
    /// The transaction that each producer id has open, or had last.
    pub(crate) transactions: BTreeMap<i64, u64>,
    pub(crate) processes: BTreeMap<usize, process::Process>,
    /// The topics in which workers put records aside.
    pub(crate) retries: Vec<String>,
}

/// A connection, as the network sees it.
struct Line {
    who: Who,
    /// Whether it is the member's producer's, not its consumer's.
    produces: bool,
    broker: i32,
    connection: ConnectionId,
    /// The bytes of an incomplete frame from the member.
    partial: BytesMut,
    /// The bytes that have arrived for the member.
    readable: BytesMut,
    reader: Option<Waker>,
    end: Option<End>,
    /// Keeps the order: on a connection nothing overtakes.
    last: [Instant; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Closed,
    Reset,
}

enum Arrival {
    ToBroker { line: u64, frame: Bytes },
    ToMember { line: u64, bytes: Bytes },
    CloseAtMember { line: u64, end: End },
    CloseAtBroker { line: u64 },
}

impl Arrival {
    fn line(&self) -> u64 {
        match self {
            Self::ToBroker { line, .. }
            | Self::ToMember { line, .. }
            | Self::CloseAtMember { line, .. }
            | Self::CloseAtBroker { line } => *line,
        }
    }

    fn to_broker(&self) -> bool {
        matches!(self, Self::ToBroker { .. } | Self::CloseAtBroker { .. })
    }
}

/// A disturbance between a member and a broker, and until when.
pub(crate) struct Trouble {
    pub(crate) member: usize,
    pub(crate) broker: i32,
    pub(crate) until: Instant,
    pub(crate) what: Obstacle,
}

pub(crate) enum Obstacle {
    Slow(Duration),
    /// Nothing passes; `one_way`: only towards the member.
    Wall {
        one_way: bool,
    },
    Names,
}

impl World {
    pub(crate) fn new(model: Model, log: Log, seed: u64, latency: (u64, u64)) -> Self {
        let state = State {
            model,
            log: log.clone(),
            random: Random::new(seed, 2),
            latency,
            lines: BTreeMap::new(),
            of_connection: BTreeMap::new(),
            next_line: 0,
            due: BTreeMap::new(),
            next_arrival: 0,
            troubles: Vec::new(),
            armed: Vec::new(),
            partial_writes: false,
            transactions: BTreeMap::new(),
            processes: BTreeMap::new(),
            retries: Vec::new(),
        };
        Self { state: Arc::new(Mutex::new(state)), stir: Arc::new(Notify::new()), log }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Acts on the world, and carries out the consequences.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut State, Instant) -> R) -> R {
        let now = clock::now();
        let mut state = self.lock();
        state.model.at(now);
        let result = act(&mut state, now);
        state.settle(now);
        drop(state);
        self.stir.notify_one();
        result
    }

    /// Carries out everything that becomes due, for ever.
    pub(crate) async fn run(self) {
        loop {
            let wake = {
                let now = clock::now();
                let mut state = self.lock();
                state.settle(now);
                state.next_wake()
            };
            let sleep = async {
                match wake {
                    Some(at) => clock::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.stir.notified() => {}
                () = sleep => {}
            }
        }
    }
}

impl State {
    fn next_wake(&self) -> Option<Instant> {
        let arrival = self.due.keys().next().map(|(at, _)| *at);
        [arrival, self.model.poll_timeout()].into_iter().flatten().min()
    }

    /// Carries out everything that is due now, and its immediate consequences.
    fn settle(&mut self, now: Instant) {
        loop {
            let mut quiet = true;
            while let Some(entry) = self.due.first_entry() {
                if entry.key().0 > now {
                    break;
                }
                let arrival = entry.remove();
                quiet = false;
                self.carry_out(now, arrival);
            }
            if self.model.poll_timeout().is_some_and(|at| at <= now) {
                quiet = false;
                self.model.handle_timeout(now);
            }
            while let Some(output) = self.model.poll_output() {
                quiet = false;
                self.send_out(now, output);
            }
            while let Some(observed) = self.model.poll_observed() {
                self.note(observed);
            }
            if quiet {
                break;
            }
        }
    }

    fn carry_out(&mut self, now: Instant, arrival: Arrival) {
        let Some(line) = self.lines.get_mut(&arrival.line()) else { return };
        let (who, broker) = (line.who, line.broker);
        // Traffic that meets a wall on its way arrives when the wall is gone.
        if let Some(until) = self.wall(now, who.member, broker, arrival.to_broker()) {
            let at = until + self.one_way();
            return self.at(at, arrival);
        }
        let Some(line) = self.lines.get_mut(&arrival.line()) else { return };
        match arrival {
            Arrival::ToBroker { frame, .. } => self.model.receive(now, line.connection, frame),
            Arrival::CloseAtBroker { line } => {
                if let Some(line) = self.lines.remove(&line) {
                    self.of_connection.remove(&line.connection);
                    self.model.disconnect(now, line.connection);
                }
            }
            Arrival::ToMember { bytes, .. } => {
                if line.end.is_none() {
                    line.readable.extend_from_slice(&bytes);
                    wake(&mut line.reader);
                }
            }
            Arrival::CloseAtMember { end, .. } => {
                line.end.get_or_insert(end);
                if end == End::Reset {
                    line.readable.clear();
                }
                wake(&mut line.reader);
            }
        }
    }

    fn send_out(&mut self, now: Instant, output: Output) {
        let (connection, bytes) = match output {
            Output::Send { connection, bytes } => (connection, Some(bytes)),
            Output::Close(connection) => (connection, None),
        };
        let Some(line) = self.of_connection.get(&connection).copied() else { return };
        let arrival = match bytes {
            Some(bytes) => Arrival::ToMember { line, bytes },
            None => Arrival::CloseAtMember { line, end: End::Closed },
        };
        self.travel(now, arrival);
    }

    /// Sends something on its way.
    fn travel(&mut self, now: Instant, arrival: Arrival) {
        let mut takes = self.one_way();
        let Some(line) = self.lines.get(&arrival.line()) else { return };
        for trouble in &self.troubles {
            if let Obstacle::Slow(by) = trouble.what
                && trouble.until > now
                && (trouble.member, trouble.broker) == (line.who.member, line.broker)
            {
                takes += by;
            }
        }
        let at = now + takes;
        let Some(line) = self.lines.get_mut(&arrival.line()) else { return };
        let last = &mut line.last[usize::from(arrival.to_broker())];
        *last = at.max(*last);
        let at = *last;
        self.at(at, arrival);
    }

    fn at(&mut self, at: Instant, arrival: Arrival) {
        self.next_arrival += 1;
        self.due.insert((at, self.next_arrival), arrival);
    }

    pub(crate) fn one_way(&mut self) -> Duration {
        clock::ms(self.random.between(self.latency.0, self.latency.1))
    }

    /// Until when nothing passes.
    fn wall(&self, now: Instant, member: usize, broker: i32, to_broker: bool) -> Option<Instant> {
        self.troubles
            .iter()
            .filter(|trouble| {
                let stops = matches!(trouble.what, Obstacle::Wall { one_way } if !(one_way && to_broker));
                stops && trouble.until > now && (trouble.member, trouble.broker) == (member, broker)
            })
            .map(|trouble| trouble.until)
            .max()
    }

    /// A member's dial arrives: the new connection, unless it is refused.
    fn open_line(&mut self, now: Instant, (who, produces): (Who, bool), broker: i32) -> Option<u64> {
        let connection = self.model.connect(now, broker, "127.0.0.1");
        if !produces {
            self.log.tell(What::Dialled { who, broker, refused: connection.is_none() });
        }
        let connection = connection?;
        self.next_line += 1;
        let line = Line {
            who,
            produces,
            broker,
            connection,
            partial: BytesMut::new(),
            readable: BytesMut::new(),
            reader: None,
            end: None,
            last: [now, now],
        };
        self.lines.insert(self.next_line, line);
        self.of_connection.insert(connection, self.next_line);
        Some(self.next_line)
    }

    /// A member closed its end of a connection.
    fn disconnected(&self, line: u64) {
        if let Some(line) = self.lines.get(&line).filter(|line| !line.produces) {
            self.log.tell(What::Disconnected { who: line.who });
        }
    }

    /// Breaks the connections between a member and a broker, whatever was in flight.
    pub(crate) fn reset_lines(&mut self, member: usize, broker: i32) {
        let hit: Vec<u64> = self
            .lines
            .iter()
            .filter(|(_, line)| line.who.member == member && line.broker == broker)
            .map(|(id, _)| *id)
            .collect();
        let now = clock::now();
        for line in hit {
            self.at(now, Arrival::CloseAtMember { line, end: End::Reset });
            self.at(now, Arrival::CloseAtBroker { line });
        }
    }

    /// The number of connections that members hold open.
    pub(crate) fn open_lines(&self) -> usize {
        self.lines.len()
    }

    fn note(&mut self, observed: Observed) {
        let (at, what) = match observed {
            Observed::Request { at, broker, api, client, .. } => (at, What::Request { broker, api, client }),
            Observed::FetchedNothing { at, broker, client } => (at, What::FetchedNothing { broker, client }),
            Observed::Refused { at, broker, api, code, client } => {
                (at, What::Refused { broker, api, code, client })
            }
            Observed::Committed {
                at,
                group,
                member,
                generation,
                topic,
                partition,
                offset,
                leader_epoch,
                metadata,
            } => {
                let place = Place::new(&topic, partition);
                // For a group without members the group's name identifies the member.
                let member = if group == GROUP { member } else { group };
                let beyond = claims::beyond(offset, &metadata);
                let committed =
                    What::Committed { member, generation, at: place.clone(), offset, leader_epoch };
                self.log.tell_at(at, committed);
                if beyond.is_empty() {
                    return;
                }
                (at, What::Claimed { at: place, beyond })
            }
            Observed::Appended { at, topic, partition, first, last } if topic == working::LETTERS => {
                for letter in working::letters(&self.model, partition, first..=last) {
                    self.log.tell_at(at, letter);
                }
                return;
            }
            Observed::Appended { at, topic, partition, first, last } if self.retries.contains(&topic) => {
                for what in working::put_aside(&self.model, (&topic, partition), first..=last) {
                    self.log.tell_at(at, what);
                }
                return;
            }
            Observed::Assigned { at, member, generation, partitions, .. } => {
                let places = partitions.iter().map(|(topic, number)| Place::new(topic, *number)).collect();
                (at, What::GroupAssigned { member, generation, places })
            }
            Observed::GroupLoaded { at, .. } => (at, What::GroupLoaded),
            Observed::MemberGone { at, member, why, .. } => (at, What::MemberGone { member, why }),
            Observed::Ended { at, producer, committed, .. } => match self.transactions.get(&producer) {
                Some(transaction) => (at, What::Ended { transaction: *transaction, committed }),
                None => return,
            },
            // The producer reports it, with the records' content.
            _ => return,
        };
        self.log.tell_at(at, what);
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}
