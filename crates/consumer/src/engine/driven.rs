//! The engine as the loop drives it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use offtake_machine::{Answer, BrokerId, CallError, Cluster, Transmit};
use offtake_net::Lane;
use tokio::runtime;

use super::{Engine, Life};
use crate::command::{Command, Output};

impl offtake_client::engine::Engine for Engine {
    type Command = Command;
    type Output = Output;

    fn handle_command(&mut self, now: Instant, command: Command) {
        Self::handle_command(self, now, command);
    }

    fn handle_abandoned(&mut self, now: Instant) {
        self.abandon(now, false);
    }

    fn handle_answer(&mut self, now: Instant, tag: u64, result: Result<Answer, CallError>) {
        Self::handle_answer(self, now, tag, result);
    }

    fn handle_timeout(&mut self, now: Instant) {
        Self::handle_timeout(self, now);
    }

    fn handle_late_wakeup(&mut self, now: Instant, by: Duration) {
        self.overslept(now, by);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Self::poll_timeout(self)
    }

    fn is_closed(&self) -> bool {
        matches!(self.life, Life::Closed)
    }

    fn poll_output(&mut self, now: Instant) -> Option<Output> {
        Self::poll_output(self, now)
    }

    fn take_rebootstrap(&mut self) -> bool {
        self.reach.take_rebootstrap()
    }

    fn take_changed_cluster(&mut self) -> Option<Arc<Cluster>> {
        self.reach.take_new_cluster().then(|| self.metadata.cluster().clone())
    }

    fn poll_found_broker(&mut self) -> Option<(BrokerId, String, u16)> {
        self.reach.next_found()
    }

    fn poll_withdrawal(&mut self) -> Option<u64> {
        self.withdrawals.pop()
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<(u64, Lane, Transmit)> {
        Self::poll_transmit(self, now)
    }

    fn poll_probe(&mut self, now: Instant) -> Option<runtime::Handle> {
        self.wants_probe(now)
    }

    fn handle_probe_answered(&mut self, now: Instant) {
        self.probe_answered(now);
    }
}
