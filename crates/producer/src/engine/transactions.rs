//! The engine's part of transactions: the machine, its waiting callers, and the effects on the sender and the accumulator.

use std::{
    collections::{HashMap, VecDeque},
    time::Instant,
};

use offtake_client::{Error, Result};
use offtake_machine::{BrokerId, CallId, GroupOffsets, Transmit};
use tokio::sync::oneshot;

use super::Engine;
use crate::transaction::machine::{Event, Part, Protocol, Transactions};

type Reply = oneshot::Sender<Result<()>>;

/// A transaction request from the handle.
pub(crate) enum TransactionCommand {
    /// Answered when a transaction could be begun.
    AwaitReady(Reply),
    Begin(Reply),
    SendOffsets(GroupOffsets, Reply),
    /// Without a reply if the handle is gone; then the transaction is aborted.
    End {
        commits: bool,
        done: Option<Reply>,
    },
}

/// The machine of a transactional producer, and the callers that wait for its results.
pub(super) struct Transacting {
    pub(super) machine: Transactions,
    begin: Option<Reply>,
    end: Option<Reply>,
    offsets: HashMap<u64, Reply>,
    next_offsets: u64,
    found: VecDeque<(BrokerId, String, u16)>,
    /// Requests that are not to leave any more.
    withdrawn: VecDeque<CallId>,
}

impl Transacting {
    pub(super) fn new(machine: Transactions) -> Self {
        Self {
            machine,
            begin: None,
            end: None,
            offsets: HashMap::new(),
            next_offsets: 0,
            found: VecDeque::new(),
            withdrawn: VecDeque::new(),
        }
    }

    /// Ends the machine and all waits, because the engine has ended.
    pub(super) fn stop(&mut self, why: Error) {
        self.machine.end_for_good(why);
        while let Some(event) = self.machine.poll_event() {
            let (reply, result) = match event {
                Event::Begun(result) => (self.begin.take(), result.map(drop)),
                Event::Ended(result) => (self.end.take(), result),
                Event::OffsetsSent(id, result) => (self.offsets.remove(&id), result),
                Event::Withdraw(call) => {
                    self.withdrawn.push_back(call);
                    continue;
                }
                _ => continue,
            };
            if let Some(reply) = reply {
                let _ = reply.send(result);
            }
        }
    }

    pub(super) fn take_found(&mut self) -> Option<(BrokerId, String, u16)> {
        self.found.pop_front()
    }

    pub(super) fn take_withdrawn(&mut self) -> Option<CallId> {
        self.withdrawn.pop_front()
    }

    pub(super) fn poll_transmit(&mut self, now: Instant) -> Option<(Part, Transmit)> {
        self.machine.poll_transmit(now)
    }
}

impl Engine {
    pub(super) fn handle_transaction_command(&mut self, now: Instant, command: TransactionCommand) {
        // The outcomes of earlier records belong to the previous transaction.
        self.look(now);
        self.route_sender(now);
        let Some(transacting) = &mut self.transacting else { return };
        let machine = &mut transacting.machine;
        match command {
            TransactionCommand::AwaitReady(done) => {
                transacting.begin = Some(done);
                machine.await_ready(now);
            }
            TransactionCommand::Begin(done) => {
                transacting.begin = Some(done);
                machine.begin(now);
            }
            TransactionCommand::SendOffsets(offsets, done) => {
                let id = transacting.next_offsets;
                transacting.next_offsets = id.wrapping_add(1);
                transacting.offsets.insert(id, done);
                machine.send_offsets(now, id, offsets);
            }
            TransactionCommand::End { commits, done } => {
                transacting.end = done;
                // Everything accepted so far is sent without waiting for `linger.ms`.
                self.flushes.push((self.shared.lock().flush(), oneshot::channel().0));
                if let Some(transacting) = &mut self.transacting {
                    transacting.machine.end(now, commits);
                }
            }
        }
        self.route_transactions(now);
    }

    /// Routes the machine's events to the others, and reports to the machine when its records are settled.
    pub(super) fn route_transactions(&mut self, now: Instant) {
        let Some(transacting) = &mut self.transacting else { return };
        // All records have outcomes, and no response that could concern them is outstanding.
        if transacting.machine.awaits_records() && self.sender.is_quiet() && self.shared.lock().is_empty() {
            transacting.machine.on_records_settled(now);
        }
        while let Some(transacting) = &mut self.transacting
            && let Some(event) = transacting.machine.poll_event()
        {
            match event {
                Event::Identified(identity) => self.sender.identify(identity),
                Event::Begun(result) => {
                    let reply = transacting.begin.take();
                    self.begun(now, result, reply);
                }
                Event::Added(partitions) => self.sender.admit(partitions),
                Event::OffsetsSent(id, result) => {
                    if let Some(reply) = transacting.offsets.remove(&id) {
                        let _ = reply.send(result);
                    }
                }
                Event::Failed(why) => {
                    self.shared.lock().shut(why.clone());
                    self.sender.give_up_transaction(now, &why, &self.shared);
                    self.drop_unsent(now);
                    self.route_transactions(now);
                }
                Event::Ended(result) => {
                    if let Some(reply) = transacting.end.take() {
                        let _ = reply.send(result);
                    }
                }
                Event::Closed => self.sender.end_transaction(),
                Event::Over(why) => self.fail(now, why),
                Event::Found { broker, host, port } => transacting.found.push_back((broker, host, port)),
                Event::Withdraw(call) => transacting.withdrawn.push_back(call),
            }
        }
    }

    fn begun(&mut self, now: Instant, result: Result<Option<Protocol>>, reply: Option<Reply>) {
        let opened = matches!(result, Ok(Some(_)));
        if let Ok(Some(protocol)) = &result {
            self.shared.lock().open_transaction();
            self.sender.open_transaction(*protocol == Protocol::Announced);
        }
        let is_heard = reply.is_some_and(|reply| reply.send(result.map(drop)).is_ok());
        // The caller of `begin` has gone away.
        if opened
            && !is_heard
            && let Some(transacting) = &mut self.transacting
        {
            transacting.machine.end(now, false);
        }
    }

    /// Drops the unsent batches of a transaction that was given up.
    pub(super) fn drop_unsent(&mut self, now: Instant) {
        let dropped = self.shared.lock().take_dropped();
        if let Some((why, batches)) = dropped {
            self.sender.dropped(now, &why, batches, &self.shared);
        }
    }

    /// Fails the open transaction: it cannot be committed without the record or the partition concerned.
    pub(super) fn fail_transaction(&mut self, now: Instant, why: Error) {
        if let Some(transacting) = &mut self.transacting {
            transacting.machine.fail(now, why);
        }
    }
}
