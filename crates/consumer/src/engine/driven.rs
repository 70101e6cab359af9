//! The engine's interface to the loop that drives it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use offtake_group::Member;
use offtake_machine::{Answer, BrokerId, CallError, Cluster, Coordinator, Target, Transmit, earliest};
use offtake_net::Lane;
use tokio::runtime;

use super::{CloseState, Engine, Machine, Route, unfinished::UnfinishedWatch, wire_log};
use crate::command::{Command, Output};

impl offtake_client::engine::Engine for Engine {
    type Command = Command;
    type Output = Output;

    fn handle_command(&mut self, now: Instant, command: Command) {
        self.on_command(now, command);
    }

    fn handle_abandoned(&mut self, now: Instant) {
        self.abandon(now, false);
    }

    fn handle_answer(&mut self, now: Instant, tag: u64, result: Result<Answer, CallError>) {
        let Some(Route { machine, id, to, .. }) = self.routes.remove(&tag) else { return };
        wire_log::answer(self.config.client.sent_client_id(), tag, &result);
        match &result {
            Ok(answer) => {
                self.reachability.answered();
                self.vitals.answered(now, answer.from, machine == Machine::Fetch);
            }
            Err(error) => self.vitals.not_answered(to, error),
        }
        match machine {
            Machine::Metadata => self.metadata.handle_answer(now, id, result),
            Machine::Coordinator => {
                if let Some(coordinator) = &mut self.coordinator {
                    coordinator.handle_answer(now, id, result);
                }
            }
            Machine::Group => {
                if let Some(member) = &mut self.member {
                    let before = member.last_accepted_at();
                    member.handle_answer(now, id, result);
                    if member.last_accepted_at() > before
                        && let Some(coordinator) = &mut self.coordinator
                    {
                        // A consumer that commits elsewhere, or nothing, has no other answer of it.
                        coordinator.on_response();
                    }
                }
                // The member may have become the leader, which needs the metadata of all members' topics, or
                // may have been assigned a topic whose name we do not know yet (FAILURES F4).
                self.want_topics(now);
                if self.member.as_ref().is_some_and(|member| !member.unnamed_topic_ids().is_empty()) {
                    self.metadata.refresh(now);
                }
            }
            Machine::Offsets => self.offsets.handle_answer(now, id, result),
            Machine::Fetch => self.fetch.handle_answer(now, id, result),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.sync_polls(now);
        self.metadata.handle_timeout(now);
        if let Some(coordinator) = &mut self.coordinator {
            coordinator.handle_timeout(now);
        }
        if let Some(member) = &mut self.member {
            member.handle_timeout(now);
        }
        self.offsets.handle_timeout(now);
        let freed = self.freed.take();
        self.release(freed);
        self.fetch.handle_timeout(now);
        self.answer_lookups(now);
        if self.ownership.revoke_by().is_some_and(|by| by <= now) {
            self.lose_revoking(now);
        }
        self.warn_of_silence(now);
        self.look_for_coordinator(now);
        self.watch_unfinished(now);
        self.advance_close(now);
    }

    fn handle_late_wakeup(&mut self, now: Instant, by: Duration) {
        self.on_late_wakeup(now, by);
    }

    fn handle_suspension(&mut self, now: Instant, by: Duration) {
        self.suspension.note(now, by, self.member.as_ref());
        self.report_stopped(by);
    }

    fn handle_wall_clock(&mut self, now: Instant, wall_ms: i64) {
        if !self.is_replay {
            self.offsets.set_wall_clock(now, wall_ms);
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let closing = match &self.life {
            CloseState::AwaitingCommits { until: at, .. }
            | CloseState::Closing { sessions_until: at, left: true, .. }
            | CloseState::Closing { deadline: at, left: false, .. } => Some(*at),
            CloseState::Open | CloseState::Closed => None,
        };
        earliest([
            self.metadata.poll_timeout(),
            self.coordinator.as_ref().and_then(Coordinator::poll_timeout),
            self.member.as_ref().and_then(Member::poll_timeout),
            self.offsets.poll_timeout(),
            self.fetch.poll_timeout(),
            self.waiters.poll_timeout(),
            self.reachability.poll_timeout(),
            self.ownership.revoke_by(),
            self.silence_timeout(),
            self.log.poll_timeout(),
            self.unfinished.as_ref().map(UnfinishedWatch::poll_timeout),
            closing,
        ])
    }

    fn is_closed(&self) -> bool {
        matches!(self.life, CloseState::Closed)
    }

    /// The next output for the handle, after all machines' events have been passed on to the others.
    fn poll_output(&mut self, now: Instant) -> Option<Output> {
        if self.outbox.is_empty() {
            self.route_events(now);
            self.end_revocations(now);
            self.log_starts(now);
            self.advance_close(now);
            // Closing may cause further events.
            self.route_events(now);
            self.waiters.answer_settled(now, |partition| self.offsets.has_commit(partition));
            while let Some(chunk) = self.fetch.take() {
                self.outbox.chunk(chunk);
            }
            self.outbox.release_waiting(|partition| self.fetch.has_chunks(partition));
            self.note_vitals(now);
        }
        self.outbox.pop()
    }

    fn take_rebootstrap(&mut self) -> bool {
        self.reachability.take_rebootstrap()
    }

    fn take_changed_cluster(&mut self) -> Option<Arc<Cluster>> {
        self.reachability.take_new_cluster().then(|| self.metadata.cluster().clone())
    }

    fn poll_found_broker(&mut self) -> Option<(BrokerId, String, u16)> {
        self.reachability.next_found()
    }

    fn poll_dial(&mut self) -> Option<(BrokerId, Lane)> {
        self.dials.next()
    }

    fn poll_withdrawal(&mut self) -> Option<u64> {
        self.withdrawals.pop()
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<(u64, Lane, Transmit)> {
        let (machine, lane, transmit) = self.next_transmit(now)?;
        if let (Lane::Join, Target::Broker(coordinator)) = (lane, transmit.to) {
            self.dials.join(coordinator);
        }
        self.next_tag = self.next_tag.wrapping_add(1);
        wire_log::request(self.config.client.sent_client_id(), self.next_tag, machine, &transmit);
        self.routes.insert(self.next_tag, Route { machine, id: transmit.id, to: transmit.to, lane });
        Some((self.next_tag, lane, transmit))
    }

    fn poll_probe(&mut self, now: Instant) -> Option<runtime::Handle> {
        self.wants_probe(now)
    }

    fn handle_probe_answered(&mut self, now: Instant) {
        self.probe_answered(now);
    }
}
