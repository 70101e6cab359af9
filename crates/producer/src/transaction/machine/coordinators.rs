//! The brokers that are sent requests: the coordinator of the transactional id, and that of the group whose offsets are
//! committed.

use std::time::Instant;

use offtake_client::{Error, ErrorKind};
use offtake_machine::{BrokerId, Coordinator, coordinator};
use offtake_wire::ErrorCode;

use super::{Ask, Event, TransactionConfig, Transactions};

/// The coordinator of the group whose offsets are committed.
#[derive(Debug)]
pub(super) struct GroupCoordinator {
    id: String,
    pub(super) number: u32,
    pub(super) coordinator: Coordinator,
}

impl Transactions {
    /// The coordinator for the next request, if it is known.
    pub(super) fn target(&self) -> Option<BrokerId> {
        match self.next_ask()? {
            Ask::CommitOffsets => self.wanted_group()?.coordinator.broker(),
            _ => self.coordinator.broker(),
        }
    }

    /// The coordinator of the group whose offsets come next, if it was searched for.
    fn wanted_group(&self) -> Option<&GroupCoordinator> {
        let id = &self.state.work()?.offsets.front()?.offsets.group.group_id;
        self.group.as_ref().filter(|group| group.id == *id)
    }

    pub(super) fn look_up(&mut self, now: Instant, ask: Ask) {
        if ask != Ask::CommitOffsets {
            return self.coordinator.look_up(now);
        }
        let Some(sent) = self.state.work().and_then(|work| work.offsets.front()) else { return };
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
    pub(super) fn take_coordinator_events(&mut self, now: Instant) {
        while let Some(event) = self.coordinator.poll_event() {
            match event {
                coordinator::Event::Found { broker, host, port } => {
                    self.events.push_back(Event::Found { broker, host, port });
                }
                coordinator::Event::Refused(ErrorCode::TransactionalIdAuthorizationFailed)
                | coordinator::Event::RefusedAgain(ErrorCode::TransactionalIdAuthorizationFailed) => {
                    let error = self.not_allowed();
                    self.end_for_good(error);
                }
                coordinator::Event::Refused(code) | coordinator::Event::RefusedAgain(code) => {
                    let text =
                        format!("transactional id {}: coordinator lookup failed: {code}", self.config.id);
                    self.end_for_good(Error::new(ErrorKind::Refused, text).with_code(code));
                }
                coordinator::Event::LookupFailed(error) if error.is_retriable() => {
                    self.note_error(&error.to_string());
                }
                coordinator::Event::Unsupported(error) | coordinator::Event::LookupFailed(error) => {
                    self.end_for_good(error.into());
                }
            }
        }
        while let Some(event) = self.group.as_mut().and_then(|group| group.coordinator.poll_event()) {
            match event {
                coordinator::Event::Found { broker, host, port } => {
                    self.events.push_back(Event::Found { broker, host, port });
                }
                // The search was for a transaction that has ended.
                _ if self.wanted_group().is_none() => self.group = None,
                coordinator::Event::Refused(code) | coordinator::Event::RefusedAgain(code) => {
                    let group = self.group.take().map(|group| group.id).unwrap_or_default();
                    let (kind, text) = match code {
                        ErrorCode::GroupAuthorizationFailed => (
                            ErrorKind::Authorization,
                            format!("this client may not use group {group} (READ)"),
                        ),
                        _ => (
                            ErrorKind::Refused,
                            format!("coordinator lookup of group {group} failed: {code}"),
                        ),
                    };
                    self.fail(now, Error::new(kind, text).with_code(code));
                }
                coordinator::Event::LookupFailed(error) if error.is_retriable() => {
                    self.note_error(&error.to_string());
                }
                coordinator::Event::Unsupported(error) | coordinator::Event::LookupFailed(error) => {
                    self.group = None;
                    self.fail(now, error.into());
                }
            }
        }
    }

    /// Forgets the coordinator of the last request: it may be down, or no longer the coordinator.
    pub(super) fn lose_coordinator(&mut self, now: Instant) {
        let coordinator = match self.asked {
            Ask::CommitOffsets => self.group.as_mut().map(|group| &mut group.coordinator),
            _ => Some(&mut self.coordinator),
        };
        if let Some(coordinator) = coordinator
            && let Some(broker) = coordinator.broker()
        {
            coordinator.on_lost(now, broker);
        }
    }

    pub(super) fn coordinator_answered(&mut self) {
        match self.asked {
            Ask::CommitOffsets => {
                if let Some(group) = &mut self.group {
                    group.coordinator.on_response();
                }
            }
            _ => self.coordinator.on_response(),
        }
    }
}
