//! Steps that happen automatically: timers fire, machines are drained, messages are sent, callbacks are
//! called.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use offtake_group::{Event, RevocationId};
use offtake_machine::{CallError, TopicPartition, Transmit};
use offtake_wire::{ApiKey, Request, Response};

use super::{BROKER, Callback, Invariant, Lane, Message, Outstanding, ProcessState, What, World};
use crate::{
    coordinator::Caller,
    scenario::{Flaw, Scenario, millis},
};

impl World {
    pub(super) fn wake(&mut self, scenario: &Scenario, who: usize) {
        let (millis, now) = (self.now, scenario.at(self.now));
        let process = self.process(who);
        if process.commit.is_some_and(|commit| commit.until <= millis) {
            process.commit = None;
        }
        if let Some(member) = process.member.as_mut().filter(|_| process.polls && process.callback.is_none())
        {
            member.on_poll(now);
        }
        if let Some(member) = &mut process.member {
            member.handle_timeout(now);
        }
        for lane in [Lane::Join, Lane::Group] {
            let process = self.process(who);
            let call = process.calls[lane as usize].take_if(|call| call.until <= millis);
            let Some(call) = call else { continue };
            if let Some(member) = &mut process.member {
                let error = CallError::TimedOut {
                    address: "broker".into(),
                    api: ApiKey::Heartbeat,
                    after: Duration::ZERO,
                };
                member.handle_answer(now, call.id, Err(error));
            }
            self.mail.retain(|message| message.caller != call.caller || message.is_request());
        }
        self.drive(scenario, who);
    }

    pub(super) fn drive(&mut self, scenario: &Scenario, who: usize) {
        let now = scenario.at(self.now);
        if self.processes[who].life != ProcessState::Running {
            return;
        }
        loop {
            let process = self.process(who);
            let Some(member) = &mut process.member else { return };
            member.handle_timeout(now);
            if process.callback.is_none()
                && let Some(event) = member.poll_event()
            {
                let released = event.revocation().filter(|_| scenario.flaw == Some(Flaw::ReleasesAtOnce));
                if scenario.flaw == Some(Flaw::TellsTwice) {
                    self.act(who, event.clone());
                }
                self.act(who, event);
                if let (Some(member), Some(id)) = (self.process(who).member.as_mut(), released) {
                    member.revocation_done(now, id);
                }
            } else if let Some(transmit) = member.poll_transmit(now, Some(BROKER), &scenario.cluster) {
                if let Request::DescribeConfigs(_) = transmit.request {
                    // Brokers of this model do not report the session timeout.
                    let error =
                        CallError::Unsupported { address: "broker".into(), api: ApiKey::DescribeConfigs };
                    member.handle_answer(now, transmit.id, Err(error));
                    continue;
                }
                self.send(who, transmit);
            } else {
                return;
            }
        }
    }

    fn send(&mut self, who: usize, transmit: Transmit) {
        let caller = self.serial();
        let until = self.now + millis(transmit.timeout);
        let lane = match transmit.request {
            Request::JoinGroup(_) | Request::SyncGroup(_) => Lane::Join,
            _ => Lane::Group,
        };
        self.process(who).calls[lane as usize] = Some(Outstanding { caller, id: transmit.id, until });
        self.post(who, caller, lane, What::Request(transmit.request));
    }

    pub(super) fn post(&mut self, who: usize, caller: Caller, lane: Lane, what: What) {
        let mut digest = DefaultHasher::new();
        match &what {
            What::Request(request) => format!("{request:?}").hash(&mut digest),
            What::Commit(identity, partitions) => format!("{identity:?}{partitions:?}").hash(&mut digest),
            What::Answer(_, response) => format!("{response:?}").hash(&mut digest),
            What::Committed(identity, code) => format!("{identity:?}{code:?}").hash(&mut digest),
        }
        self.mail.push(Arc::new(Message { who, caller, lane, what, digest: digest.finish() }));
    }

    /// Sends the coordinator's answers to the processes that still wait for them.
    pub(super) fn collect(&mut self, scenario: &Scenario) {
        let coordinator = Arc::make_mut(&mut self.coordinator);
        let answers = std::mem::take(&mut coordinator.answers);
        coordinator.expelled.clear();
        coordinator.generations.clear();
        coordinator.modern.expelled.clear();
        coordinator.modern.heard.clear();
        let last_assignment = scenario.last_assignment(&answers);
        for (caller, mut response) in answers {
            if let (Response::SyncGroup(sync), Some(theirs)) = (&mut response, &last_assignment) {
                sync.assignment = theirs.clone();
            }
            let lane = match &response {
                Response::JoinGroup(_) | Response::SyncGroup(_) => Lane::Join,
                _ => Lane::Group,
            };
            let asked = self
                .processes
                .iter()
                .enumerate()
                .find_map(|(who, process)| process.call(caller).map(|call| (who, call.id)));
            if let Some((who, id)) = asked {
                self.post(who, caller, lane, What::Answer(id, Some(response)));
            }
        }
    }

    fn act(&mut self, who: usize, event: Event) {
        let process = self.process(who);
        match event {
            Event::Assigned { added, owned, generation } => {
                for partition in added {
                    if !process.has.insert(partition.clone()) {
                        return self.breaks(Invariant::Safe9, format!("{partition} assigned to {who} twice"));
                    }
                }
                let owned: BTreeSet<_> = owned.into_iter().collect();
                if process.has.difference(&process.going).cloned().collect::<BTreeSet<_>>() != owned {
                    return self.breaks(Invariant::Safe9, format!("{who} has not what it was told it has"));
                }
                process.assigned.retain(|(of, _)| *of >= generation - 1 && *of != generation);
                process.assigned.push((generation, owned.clone()));
                for other in (0..self.processes.len()).filter(|other| *other != who) {
                    let same = self.processes[other].assigned.iter().filter(|(of, _)| *of == generation);
                    if let Some(both) = same.flat_map(|(_, theirs)| theirs).find(|p| owned.contains(*p)) {
                        let how = format!("{both} is {who}'s and {other}'s in generation {generation}");
                        return self.breaks(Invariant::Safe5, how);
                    }
                }
            }
            Event::Revoke { id, partitions, .. } => self.start_callback(who, id, partitions, false),
            Event::Lost { id, partitions, .. } => self.start_callback(who, id, partitions, true),
            Event::Failed(error) => self.breaks(Invariant::Failed, format!("{who}: {error}")),
            Event::CoordinatorLost(_)
            | Event::PollIntervalWarning { .. }
            | Event::PollIntervalExceeded
            | Event::Left
            | Event::CoordinatorFailing(_)
            | Event::CoordinatorRecovered
            | Event::Withdraw(_) => {}
        }
    }

    fn start_callback(&mut self, who: usize, id: RevocationId, partitions: Vec<TopicPartition>, lost: bool) {
        let process = self.process(who);
        process.callback = Some(Callback { lost, slow: false });
        process.releasing = Some(id);
        if partitions.is_empty() {
            return self.breaks(Invariant::Safe9, format!("{who} has to let go of nothing"));
        }
        for partition in partitions {
            if !process.has.contains(&partition) || !process.going.insert(partition.clone()) {
                return self.breaks(
                    Invariant::Safe9,
                    format!("{partition} is taken from {who}, which does not have it"),
                );
            }
        }
    }
}
