//! The engine's interface to the loop.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use offtake_machine::{Answer, BrokerId, CallError, Cluster, Transmit, after, earliest};
use offtake_net::Lane;

use super::{Command, Engine, EngineState, Machine};
use crate::transaction::machine::Part;

impl offtake_client::engine::Engine for Engine {
    type Command = Command;
    type Output = ();

    fn handle_command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Look => {}
            Command::Flush(done) => {
                let mark = self.shared.lock().flush();
                self.flushes.push((mark, done));
            }
            Command::Close { deadline, done } => self.close(now, Some(deadline), Some(done)),
            Command::Transaction(command) => self.handle_transaction_command(now, command),
        }
        self.look(now);
    }

    fn handle_abandoned(&mut self, now: Instant) {
        // A transaction that nobody ends is aborted by the coordinator after its timeout.
        let deadline = self.transacting.is_some().then(|| after(now, self.delivery_timeout));
        self.close(now, deadline, None);
    }

    fn handle_answer(&mut self, now: Instant, tag: u64, result: Result<Answer, CallError>) {
        let Some((machine, id)) = self.routes.remove(&tag) else { return };
        match machine {
            Machine::Metadata => self.metadata.handle_answer(now, id, result),
            Machine::Identity => self.identity.handle_answer(now, id, result),
            Machine::Transactions(part) => {
                if let Some(transacting) = &mut self.transacting {
                    transacting.machine.handle_answer(now, part, id, result);
                }
            }
            Machine::Sender => {
                self.sender.handle_answer(now, id, result, &self.shared);
                // The freed memory may have let waiting records fill batches.
                self.look(now);
            }
        }
    }

    /// With `acks=0`, closing the connection is the only way for a broker to report that it no longer leads a partition.
    fn handle_closed_unanswered(&mut self, now: Instant, _broker: BrokerId) {
        self.metadata.refresh(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.metadata.handle_timeout(now);
        self.identity.handle_timeout(now);
        if let Some(transacting) = &mut self.transacting {
            transacting.machine.handle_timeout(now);
        }
        self.sender.handle_timeout(now, &self.shared);
        self.forget_idle_topics(now);
        self.look(now);
        self.advance_close(now);
    }

    fn handle_late_wakeup(&mut self, _now: Instant, _by: Duration) {}

    fn poll_timeout(&self) -> Option<Instant> {
        let closing = match &self.life {
            EngineState::Closing { deadline, .. } => *deadline,
            EngineState::Failed(_) => return None,
            EngineState::Open | EngineState::Closed => None,
        };
        earliest([
            self.metadata.poll_timeout(),
            self.identity.poll_timeout(),
            self.sender.poll_timeout(),
            self.transacting.as_ref().and_then(|transacting| transacting.machine.poll_timeout()),
            self.shared.lock().poll_timeout(),
            Some(self.idle_check),
            closing,
        ])
    }

    fn is_closed(&self) -> bool {
        matches!(self.life, EngineState::Closed)
    }

    /// The handle has no output here: each record gets its own outcome.
    fn poll_output(&mut self, now: Instant) -> Option<()> {
        self.route_events(now);
        None
    }

    fn take_rebootstrap(&mut self) -> bool {
        mem::take(&mut self.rebootstraps)
    }

    fn take_changed_cluster(&mut self) -> Option<Arc<Cluster>> {
        mem::take(&mut self.is_cluster_new).then(|| self.metadata.cluster().clone())
    }

    fn poll_found_broker(&mut self) -> Option<(BrokerId, String, u16)> {
        self.transacting.as_mut()?.take_found()
    }

    fn poll_withdrawal(&mut self) -> Option<u64> {
        let call = self.transacting.as_mut()?.take_withdrawn()?;
        let wanted = (Machine::Transactions(Part::Transaction), call);
        self.routes.iter().find(|(_, route)| **route == wanted).map(|(tag, _)| *tag)
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<(u64, Lane, Transmit)> {
        loop {
            if matches!(self.life, EngineState::Failed(_)) {
                return None;
            }
            let transmit = self.next_transmit(now);
            // If the sender reported that it needs something first, another machine may send a request for that at once.
            if transmit.is_some() || !self.sender.has_events() {
                return transmit;
            }
            self.route_events(now);
        }
    }
}

impl Engine {
    fn next_transmit(&mut self, now: Instant) -> Option<(u64, Lane, Transmit)> {
        let cluster = self.metadata.cluster().clone();
        let (machine, lane, transmit) = if let Some(transmit) = self.metadata.poll_transmit(now) {
            (Machine::Metadata, Lane::Control, transmit)
        } else if let Some(transmit) = self.identity.poll_transmit(now) {
            (Machine::Identity, Lane::Control, transmit)
        } else if let Some((part, transmit)) =
            self.transacting.as_mut().and_then(|transacting| transacting.poll_transmit(now))
        {
            (Machine::Transactions(part), Lane::Control, transmit)
        } else {
            // Metadata requests must not queue behind megabytes of records.
            (Machine::Sender, Lane::Produce, self.sender.poll_transmit(now, &self.shared, &cluster)?)
        };
        self.next_tag = self.next_tag.wrapping_add(1);
        self.routes.insert(self.next_tag, (machine, transmit.id));
        Some((self.next_tag, lane, transmit))
    }
}
