//! Turns one machine's events into another's commands; the machines are connected here and nowhere else.

use std::time::Instant;

use offtake_machine::{CallError, Identity, Token, TopicPartition, coordinator, metadata};
use offtake_offsets::Cause;

use super::{CloseState, Engine, Machine, results};
use crate::{
    error::{Error, ErrorKind},
    event::Event,
    inbox::{Control, Data, Restart},
    shared::Validity,
};

impl Engine {
    /// Passes events on until no machine has another.
    pub(super) fn route_events(&mut self, now: Instant) {
        loop {
            let mut quiet = true;
            while let Some(event) = self.metadata.poll_event() {
                quiet = false;
                self.on_metadata_event(now, event);
            }
            while let Some(event) = self.coordinator.as_mut().and_then(|coordinator| coordinator.poll_event())
            {
                quiet = false;
                self.on_coordinator_event(now, event);
            }
            while let Some(event) = self.member.as_mut().and_then(|member| member.poll_event()) {
                quiet = false;
                self.on_member_event(now, event);
            }
            self.follow_member(now);
            while let Some(event) = self.offsets.poll_event() {
                quiet = false;
                self.on_offsets_event(now, event);
            }
            while let Some(event) = self.fetch.poll_event() {
                quiet = false;
                self.on_fetch_event(now, event);
            }
            if quiet {
                break;
            }
        }
    }

    fn on_metadata_event(&mut self, now: Instant, event: metadata::Event) {
        match event {
            metadata::Event::Updated => self.on_cluster_update(now),
            metadata::Event::RefreshFailed(error) => {
                if self.reachability.fails(error.clone()) {
                    self.reporter.report(|| Event::Error(error.clone().into()));
                    if self.reachability.is_hopeless() {
                        let then = match error {
                            CallError::Authentication { .. } => {
                                "every poll fails until a broker accepts; trying again"
                            }
                            _ => {
                                "every poll fails until a broker answers: look at bootstrap.servers; trying again"
                            }
                        };
                        self.reachability.logged();
                        self.refused.by_cluster = true;
                        self.fail_fatally(error.into(), then);
                    } else {
                        self.reachability.log_failure(&error);
                    }
                }
                self.answer_lookups(now);
            }
            metadata::Event::Rebootstrap => {
                tracing::warn!("starting again from the bootstrap servers");
                self.reachability.rebootstrap();
            }
        }
    }

    fn on_coordinator_event(&mut self, now: Instant, event: coordinator::Event) {
        match event {
            coordinator::Event::Found { broker, host, port } => {
                tracing::debug!(%broker, host, port, "found the group coordinator");
                self.reachability.found(broker, host, port);
                self.coordinator_recovered();
            }
            coordinator::Event::Refused(code) => {
                let group = self.config.group_id.as_deref().unwrap_or_default();
                let error = results::coordinator_refused(group, code);
                self.refused.by_coordinator = true;
                self.fail_fatally(
                    error,
                    "every poll of a subscribed consumer fails until then; trying again",
                );
                self.offsets.on_coordinator_lookup_failed(now, &results::lookup_refused(code));
            }
            coordinator::Event::RefusedAgain(code) => {
                self.offsets.on_coordinator_lookup_failed(now, &results::lookup_refused(code));
            }
            coordinator::Event::Unsupported(error) => {
                let group = self.config.group_id.as_deref().unwrap_or_default();
                self.refused.by_coordinator = true;
                self.fail_fatally(
                    results::coordinator_unsupported(group, &error),
                    "every poll of a subscribed consumer fails until a broker knows it; trying again",
                );
                self.offsets.on_coordinator_lookup_failed(now, &Cause::Call(error));
            }
            coordinator::Event::LookupFailed(error) => {
                tracing::debug!(%error, "the group coordinator cannot be looked up; trying again");
                // Whether others can be reached: a member that fetches nothing asks none of them otherwise.
                self.metadata.refresh(now);
                self.offsets.on_coordinator_lookup_failed(now, &Cause::Call(error));
            }
        }
    }

    fn on_member_event(&mut self, now: Instant, event: offtake_group::Event) {
        use offtake_group::Event as GroupEvent;
        match event {
            GroupEvent::Assigned { added, owned, generation } => {
                self.log_assigned(&added, owned.len(), generation);
                self.vitals.forget_losses(&added);
                self.ownership.assign(owned);
                self.want_topics(now);
                let new = added.into_iter().map(|partition| {
                    let start = self.start_of(&partition);
                    (partition, start)
                });
                let new = new.collect();
                self.begin(now, new, Some(generation));
            }
            GroupEvent::Revoke { id, partitions, generation } => {
                self.stop(&partitions);
                let revoke_by = self.member.as_ref().and_then(offtake_group::Member::revoke_by);
                self.ownership.begin_revocation(id, partitions.clone(), revoke_by);
                let owned = self.ownership.to_vec();
                self.log_revoked(&partitions, owned.len());
                self.vitals.forget_losses(&partitions);
                self.outbox.control(Control::Revoke { id, partitions, owned, generation, revoke_by });
            }
            GroupEvent::Lost { id, partitions, generation } => {
                self.stop(&partitions);
                self.ownership.lose(id, &partitions, |partition| self.offsets.uncommitted_offset(partition));
                self.offsets.unassign(&partitions);
                self.vitals.lost(&partitions, self.loss(now));
                // Partitions being revoked are lost with the rest.
                self.lose_revoking(now);
                let owned = self.ownership.to_vec();
                self.log_lost(&partitions, owned.len());
                self.outbox.control(Control::Lost { id, partitions, owned, generation });
            }
            GroupEvent::CoordinatorLost(broker) => self.coordinator_lost(now, broker),
            GroupEvent::PollIntervalWarning { since } => self.on_poll_interval_near(since),
            GroupEvent::PollIntervalExceeded => {
                self.lose_revoking(now);
                let event = self.on_poll_interval_exceeded(now);
                self.outbox.control(Control::PollIntervalExceeded(event));
            }
            GroupEvent::Left => {
                self.log_left();
                if let CloseState::Closing { left, .. } = &mut self.life {
                    *left = true;
                }
            }
            GroupEvent::Failed(error) => {
                self.group_failed = true;
                // Partitions being revoked are lost too: there is no member left to commit for them.
                self.lose_revoking(now);
                let then = "every poll fails from now on: remove the cause, then subscribe again or restart";
                self.fail_fatally(results::group_failed(&error), then);
            }
            GroupEvent::CoordinatorFailing(what) => {
                tracing::warn!(what, "the group coordinator does not answer as it should; trying again");
                self.reporter.report(|| {
                    let message = format!("the group coordinator does not answer as it should: {what}");
                    Event::Error(Error::new(ErrorKind::Unreachable, message))
                });
            }
            GroupEvent::CoordinatorRecovered => tracing::info!("the group coordinator answers again"),
            GroupEvent::Withdraw(call) => self.withdraw(Machine::Group, call),
        }
    }

    pub(super) fn coordinator_lost(&mut self, now: Instant, broker: offtake_machine::BrokerId) {
        if let Some(coordinator) = &mut self.coordinator {
            coordinator.on_lost(now, broker);
        }
    }

    /// Applies what follows from the member's state rather than from one of its events.
    fn follow_member(&mut self, now: Instant) {
        // Manually assigned partitions cannot be taken away, and commits for them are made without a member.
        // The state of a member that is still leaving does not matter for them.
        let member = self.member.as_ref().filter(|_| self.subscriptions.kind().is_of_a_group());
        let (identity, validity) = match member {
            Some(member) => {
                let validity = Validity::Until(self.suspension.valid_until(member));
                (member.identity().filter(|_| self.suspension.is_current(member, now)), validity)
            }
            None => (self.config.group_id.as_ref().map(|_| Identity::standalone()), Validity::Forever),
        };
        self.offsets.set_identity(identity);
        // A listener that waits for a commit would wait for the group, which we rejoin only when the listener
        // has ended.
        if member.is_some_and(offtake_group::Member::is_out_until_revoked) {
            self.lose_revoking(now);
        }
        if self.shared.set_validity(now, validity) {
            self.outbox.control(Control::Recheck);
        }
    }

    pub(super) fn on_offsets_event(&mut self, now: Instant, event: offtake_offsets::Event) {
        use offtake_offsets::Event as OffsetsEvent;
        match event {
            OffsetsEvent::Start { partition, token, position } => {
                let resets = self.outbox.take_resets(&partition);
                let committed = self.offsets.committed_position(&partition);
                if resets.is_empty() && committed.is_some_and(|committed| committed.offset == position.offset)
                {
                    tracing::debug!(%partition, offset = position.offset, "starting at the committed offset");
                }
                // The partition was given up, sought elsewhere, or stopped by the handle, while its position
                // was being resolved.
                if !self.ownership.contains(&partition)
                    || self.offsets.token_of(&partition) != Some(token)
                    || self.offsets.is_stopped(&partition)
                {
                    return;
                }
                let start = self.fetch.start(partition.clone(), token, position);
                let rewinds = self.offsets.rewinds(&partition);
                self.outbox.started(partition, token, start, Restart { resets, rewinds });
            }
            OffsetsEvent::LogGone { partition, token } => self.on_log_gone(now, &partition, token),
            OffsetsEvent::NewLog { partition, token } => {
                // As after a seek: nothing more of the old log is handed out.
                self.fetch.stop(&partition);
                self.outbox.forget(&partition);
                self.ownership.is_another_log(&partition, token);
                self.outbox.data(Data::Sought { partition, token, position: None });
            }
            OffsetsEvent::Reset { partition, from, to, reason, skipped, .. } => {
                match from {
                    Some(from) => {
                        tracing::warn!(%partition, from, to, skipped, %reason, "the position was reset")
                    }
                    None => self.log.note_start(now, partition.clone(), to, reason),
                }
                let event = Event::Reset { partition: partition.clone(), from, to, reason, skipped };
                self.on_reset(partition, event);
            }
            OffsetsEvent::Truncated { partition, from, to, epoch, .. } => {
                tracing::warn!(%partition, from, ?to, ?epoch, "the log was truncated");
                let event = Event::Truncated { partition: partition.clone(), from, to, epoch };
                self.on_reset(partition, event);
            }
            OffsetsEvent::PartitionFailed { partition, token, error, .. } => {
                // The partition stops, so no record follows before which a reset could be reported.
                self.outbox.take_resets(&partition);
                let (stops, told) = (error.stops(), results::offsets_failed(&partition, &error));
                self.partition_failed(partition, token, told, stops);
            }
            OffsetsEvent::RefreshMetadata => self.metadata.refresh(now),
            OffsetsEvent::Withdraw(call) => self.withdraw(Machine::Offsets, call),
            OffsetsEvent::CoordinatorLost(broker) => self.coordinator_lost(now, broker),
            OffsetsEvent::MembershipRefused { code, identity } => {
                if let Some(member) = &mut self.member {
                    member.on_commit_refused(now, code, &identity);
                }
            }
            OffsetsEvent::Committed { offsets } => {
                if let Some(coordinator) = &mut self.coordinator {
                    coordinator.on_response();
                }
                for (partition, offset) in &offsets {
                    self.ownership.committed(partition, *offset);
                }
                self.waiters.commit_landed(offsets.iter().map(|(partition, _)| partition));
                self.reporter.report(|| Event::Committed { offsets });
            }
            OffsetsEvent::CommitDone { id, outcome } => {
                let explain = |error| self.vitals.explain(error);
                let trouble = self.reachability.trouble();
                if let Some((error, began)) = self.waiters.commit_done(id, outcome, trouble, explain) {
                    self.log_unawaited_failure(now, &error, began);
                    self.reporter.report(|| Event::Error(error));
                }
            }
            OffsetsEvent::QueryDone { id, outcome } => {
                let trouble = self.reachability.trouble();
                self.waiters.question_done(id, outcome, trouble, self.metadata.cluster());
                self.want_topics(now);
            }
        }
    }

    /// Logs that a commit which no call waits for has failed: the automatic one, or one that was not awaited.
    /// Only the first of a series is logged.
    fn log_unawaited_failure(&self, now: Instant, error: &Error, began: Option<Instant>) {
        let age = began
            .map(|began| format!(", begun {:.1} s ago,", now.saturating_duration_since(began).as_secs_f64()));
        let offset_of =
            |position: Option<offtake_machine::Position>| position.map(|position| position.offset);
        let of = error.partition();
        let finished = offset_of(of.and_then(|partition| self.offsets.finished_position(partition)));
        let committed = offset_of(of.and_then(|partition| self.offsets.committed_position(partition)));
        tracing::warn!(
            partition = of.map(tracing::field::display),
            finished,
            committed,
            "a commit in the background{} failed: {error}; later commits go on trying, and this is not \
             said again before one succeeds",
            age.unwrap_or_default()
        );
    }

    /// Another topic has the name now.
    fn on_log_gone(&mut self, now: Instant, partition: &TopicPartition, token: Token) {
        if self.offsets.token_of(partition) == Some(token)
            && let Some(position) = self.fetch.stop(partition)
        {
            self.offsets.on_topic_recreated(now, partition, token, position);
        }
    }

    /// A position was reset, or its log truncated: reported at once, and again before the first record from
    /// there.
    fn on_reset(&mut self, partition: TopicPartition, event: Event) {
        self.reporter.report(|| event.clone());
        self.outbox.push_reset(partition, event);
    }

    pub(super) fn on_fetch_event(&mut self, now: Instant, event: offtake_fetch::Event) {
        use offtake_fetch::Event as FetchEvent;
        match event {
            FetchEvent::OutOfRange { partition, token, position } => {
                self.offsets.on_out_of_range(now, &partition, token, position);
            }
            FetchEvent::Validate { partition, token, position }
            | FetchEvent::Diverged { partition, token, position } => {
                self.offsets.validate(now, &partition, token, position);
            }
            FetchEvent::PartitionFailed { partition, token, error, .. } => {
                let (stops, told) = (error.stops(), results::fetch_failed(&partition, &error));
                self.partition_failed(partition, token, told, stops);
            }
            FetchEvent::Watermarks { partition, token, watermarks } => {
                self.ownership.learn_watermarks(&partition, token, watermarks);
            }
            FetchEvent::Reclaim { partition, token } => {
                self.outbox.data(Data::GiveBack { partition, token });
            }
            FetchEvent::Rewound { partition, token, position } => {
                if self.offsets.token_of(&partition) == Some(token) {
                    self.outbox.rewind(&partition, position);
                    self.offsets.start_again(&partition, token, position);
                }
            }
            FetchEvent::LogGone { partition, token } => self.on_log_gone(now, &partition, token),
            FetchEvent::RefreshMetadata => self.metadata.refresh(now),
            FetchEvent::LeaderHint { partition, leader, epoch, address } => {
                self.metadata.learn_leader(now, &partition, leader, epoch, address);
            }
            FetchEvent::BrokerFailing { broker, error } => {
                self.reachability.log_fetch_failure(broker, &error);
                self.reporter.report(|| Event::Error(results::broker_failing(broker, &error)));
            }
            FetchEvent::BrokerRecovered { broker } => self.reachability.log_fetch_recovery(broker),
        }
    }
}
