//! The handling of coordinators' responses.

use std::{
    mem,
    time::{Duration, Instant},
};

use offtake_client::{Error, ErrorKind};
use offtake_machine::{Answer, CallError, CallId, TopicPartition};
use offtake_wire::{
    AddPartitionsToTxnResponse, ApiVersionsResponse, EndTxnResponse, ErrorCode, InitProducerIdResponse,
    Response, TxnOffsetCommitResponse,
};

use super::{
    Ask, Event, Part, Protocol, State, Transactions,
    ending::{EndTxnProgress, aborted, unknown},
    remedy::{Remedy, knows_no_such_transaction},
};
use crate::sender::ProducerIdentity;

/// The feature that decides the transaction protocol (KIP-890, KIP-1022), and the level from which each transaction has its own
/// epoch. A producer keeps the protocol that it found at its start. Coordinators support the older protocol at every level, but
/// no longer the newer one after the level was lowered.
const FEATURE: (&str, i16) = ("transaction.version", 2);

/// How long a topic may be missing. A broker may not know a topic yet that was just created; one missing for longer was deleted.
const WORTH_WAITING: Duration = Duration::from_secs(5);

impl Transactions {
    /// Handles the response to a request, or its failure.
    pub(crate) fn handle_answer(
        &mut self,
        now: Instant,
        part: Part,
        id: CallId,
        answer: Result<Answer, CallError>,
    ) {
        match part {
            Part::Coordinator => self.coordinator.handle_answer(now, id, answer),
            Part::GroupCoordinator(number) => {
                if let Some(group) = self.group.as_mut().filter(|group| group.number == number) {
                    group.coordinator.handle_answer(now, id, answer);
                }
            }
            Part::Transaction => {
                if self.call.take(id) {
                    self.answered(now, answer);
                }
            }
        }
        self.take_coordinator_events(now);
        self.advance(now);
    }

    /// Keeps the reason for a retry, to report it to waiting callers when they time out.
    pub(super) fn note_error(&mut self, reason: &str) {
        tracing::debug!(
            transactional_id = self.config.id,
            reason,
            "a request of a transaction is asked again"
        );
        let (work, end) = match &mut self.state {
            State::Open(work) => (work, None),
            State::Ending(work, end) => (work, Some(end)),
            _ => {
                self.last_error = Some(reason.to_owned());
                return;
            }
        };
        if let Some(sent) = work.offsets.front_mut() {
            sent.last_error = Some(reason.to_owned());
        }
        if let Some(end) = end {
            end.last_error = Some(reason.to_owned());
        }
    }

    fn answered(&mut self, now: Instant, answer: Result<Answer, CallError>) {
        let response = match answer {
            Ok(answer) => answer.response,
            // What is asked next follows from the state.
            Err(CallError::Withdrawn) => return,
            Err(error) if error.is_retriable() => {
                if error.may_have_arrived() {
                    self.is_unanswered();
                } else {
                    self.is_refused();
                }
                if error.loses_coordinator() {
                    self.lose_coordinator(now);
                }
                return self.ask_again(now, &error.to_string());
            }
            Err(error) => return self.end_for_good(error.into()),
        };
        match (self.asked, response) {
            (Ask::Features, Response::ApiVersions(response)) => self.learn_features(now, &response),
            (Ask::Identity, Response::InitProducerId(response)) => self.identified(now, &response),
            (Ask::Partitions, Response::AddPartitionsToTxn(response)) => self.added(now, response),
            (Ask::Offsets, Response::AddOffsetsToTxn(response)) => self.announced(now, response.error_code),
            (Ask::CommitOffsets, Response::TxnOffsetCommit(response)) => self.offsets_taken(now, &response),
            (Ask::End, Response::EndTxn(response)) => self.ended(now, &response),
            (ask, _) => {
                self.is_unanswered();
                self.ask_again(now, &format!("unexpected response type to {ask:?}"));
            }
        }
    }

    /// Notes that EndTxn was not carried out this time.
    fn is_refused(&mut self) {
        if self.asked == Ask::End
            && let Some(end) = self.state.end_mut()
        {
            end.progress = end.progress.refused();
        }
    }

    fn ask_again(&mut self, now: Instant, reason: &str) {
        self.note_error(reason);
        self.again(now);
    }

    /// Applies a remedy, and retries where that may help. Returns whether the request succeeded.
    fn apply_remedy(&mut self, now: Instant, remedy: Remedy) -> bool {
        match remedy {
            Remedy::Done => {
                self.backoff.reset();
                self.last_error = None;
                self.coordinator_answered();
                return true;
            }
            Remedy::Again(reason) => self.ask_again(now, &reason),
            Remedy::AgainSoon(reason) => {
                self.note_error(&reason);
                self.again_soon(now);
            }
            Remedy::Elsewhere(reason) => {
                self.lose_coordinator(now);
                self.ask_again(now, &reason);
            }
            Remedy::Abort(error) => self.fail(now, error),
            Remedy::Over(error) => self.end_for_good(error),
        }
        false
    }

    fn learn_features(&mut self, now: Instant, response: &ApiVersionsResponse) {
        let remedy = self.remedy(response.error_code, "the versions of the coordinator");
        if !self.apply_remedy(now, remedy) {
            return;
        }
        let (feature, own_epochs) = FEATURE;
        let level = response.finalized_features.iter().find(|known| known.name == feature);
        let is_newer = level.is_some_and(|known| known.max_version_level >= own_epochs);
        self.protocol = if is_newer { Protocol::EpochPerTransaction } else { Protocol::Announced };
        self.state = State::Identifying;
    }

    fn identified(&mut self, now: Instant, response: &InitProducerIdResponse) {
        let id = &self.config.id;
        let code = response.error_code;
        let remedy = match code {
            ErrorCode::None if response.producer_id < 0 || response.producer_epoch < 0 => {
                Remedy::Again("the coordinator returned a negative producer id".to_owned())
            }
            ErrorCode::InvalidTransactionTimeout => {
                let timeout = self.config.timeout.as_millis();
                let text = format!(
                    "the broker does not take a `transaction.timeout.ms` of {timeout}: it may be as much as the broker's `transaction.max.timeout.ms`, \
                     which is 900000 unless it was changed"
                );
                Remedy::Over(Error::new(ErrorKind::Config, text).with_code(code))
            }
            code => match self.remedy(code, &format!("transactional id {id}: no producer id")) {
                Remedy::Abort(error) => {
                    Remedy::Over(Error::new(ErrorKind::Refused, error.to_string()).with_code(code))
                }
                remedy => remedy,
            },
        };
        if !self.apply_remedy(now, remedy) {
            return;
        }
        self.become_known_by(ProducerIdentity { id: response.producer_id, epoch: response.producer_epoch });
        self.state = State::Ready;
    }

    fn become_known_by(&mut self, identity: ProducerIdentity) {
        self.identity = Some(identity);
        self.events.push_back(Event::Identified(identity));
    }

    fn added(&mut self, now: Instant, response: AddPartitionsToTxnResponse) {
        let is_aborting = match &self.state {
            State::Ending(work, end) => !end.commits || work.failed.is_some(),
            _ => false,
        };
        let Some(work) = self.state.work_mut() else { return };
        let asked = mem::take(&mut work.adding);
        let mut left = asked.clone();
        let (mut added, mut worst) = (Vec::new(), Remedy::Done);
        for topic in response.results_by_topic_v3_and_below {
            for told in topic.results_by_partition {
                let Some(partition) = asked
                    .iter()
                    .find(|one| one.topic.as_str() == topic.name && one.partition == told.partition_index)
                else {
                    continue;
                };
                if told.partition_error_code == ErrorCode::None {
                    left.remove(partition);
                    added.push(partition.clone());
                    continue;
                }
                let is_unknown = matches!(
                    told.partition_error_code,
                    ErrorCode::UnknownTopicOrPartition | ErrorCode::OperationNotAttempted
                );
                if is_aborting && is_unknown {
                    left.remove(partition);
                    continue;
                }
                let what = format!("{partition} was not added to the transaction");
                let remedy = match (told.partition_error_code, self.remedy(told.partition_error_code, &what))
                {
                    // The failure of another partition prevented this one.
                    (ErrorCode::OperationNotAttempted, _) => Remedy::Again(what),
                    (_, Remedy::Abort(error)) => Remedy::Abort(error.with_partition(partition.clone())),
                    (_, remedy) => remedy,
                };
                worst = worst.or(remedy);
            }
        }
        if !left.is_empty() {
            worst = worst.or(Remedy::Again("partitions are missing in the response".to_owned()));
        }
        let refuses = matches!(worst, Remedy::Abort(_) | Remedy::Over(_));
        if let Some(work) = self.state.work_mut().filter(|_| !refuses) {
            work.adding = left;
        }
        if !added.is_empty() {
            self.events.push_back(Event::Added(added));
        }
        self.apply_remedy(now, worst);
    }

    fn announced(&mut self, now: Instant, code: ErrorCode) {
        let remedy = self.remedy(code, "the offsets are not added to the transaction");
        if self.apply_remedy(now, remedy)
            && let Some(sent) = self.state.work_mut().and_then(|work| work.offsets.front_mut())
        {
            sent.is_announced = true;
        }
    }

    fn offsets_taken(&mut self, now: Instant, response: &TxnOffsetCommitResponse) {
        let told = |partition: &TopicPartition| {
            let topic = response.topics.iter().find(|topic| topic.name == partition.topic.as_str())?;
            let told = topic.partitions.iter().find(|told| told.partition_index == partition.partition)?;
            Some(told.error_code)
        };
        let Some(sent) = self.state.work_mut().and_then(|work| work.offsets.front_mut()) else { return };
        let is_missing = |partition| told(partition) == Some(ErrorCode::UnknownTopicOrPartition);
        let missing = sent.offsets.offsets.keys().any(is_missing);
        sent.missing_since = missing.then(|| sent.missing_since.unwrap_or(now));
        let is_deleted =
            sent.missing_since.is_some_and(|since| now.saturating_duration_since(since) >= WORTH_WAITING);
        let Some(sent) = self.state.work().and_then(|work| work.offsets.front()) else { return };
        let has_own_epoch = self.protocol == Protocol::EpochPerTransaction;
        let mut worst = Remedy::Done;
        for partition in sent.offsets.offsets.keys() {
            let remedy = match told(partition) {
                // Brokers return this code for batches, too. Whether another producer has begun shows when the coordinator is
                // asked to abort.
                Some(code @ ErrorCode::InvalidProducerEpoch) if has_own_epoch => {
                    let timeout = self.config.timeout.as_millis();
                    let id = &self.config.id;
                    let text = format!(
                        "the transaction is aborted, nothing of it is committed: the offset of {partition} comes after its end ({code}): perhaps \
                         another producer has begun with transactional id {id}, or it was open for longer than `transaction.timeout.ms` ({timeout} ms)"
                    );
                    Remedy::Abort(Error::new(ErrorKind::TransactionAborted, text).with_code(code))
                }
                Some(code @ ErrorCode::UnknownTopicOrPartition) if is_deleted => {
                    let text = format!(
                        "the offset of {partition} was not accepted: there is no such topic ({code})"
                    );
                    Remedy::Abort(Error::new(ErrorKind::CommitFailed, text).with_code(code))
                }
                Some(code) => self.remedy(code, &format!("the offset of {partition} was not accepted")),
                None => Remedy::Again(format!("{partition} is missing in the response")),
            };
            let remedy = match remedy {
                Remedy::Abort(error) => Remedy::Abort(error.with_partition(partition.clone())),
                remedy => remedy,
            };
            worst = worst.or(remedy);
        }
        if self.apply_remedy(now, worst)
            && let Some(sent) = self.state.work_mut().and_then(|work| work.offsets.pop_front())
        {
            self.events.push_back(Event::OffsetsSent(sent.id, Ok(())));
        }
    }

    fn ended(&mut self, now: Instant, response: &EndTxnResponse) {
        let code = response.error_code;
        let State::Ending(work, end) = &mut self.state else { return };
        match code {
            // The coordinator refuses with these before it writes its decision.
            ErrorCode::CoordinatorLoadInProgress | ErrorCode::ConcurrentTransactions => {
                end.progress = end.progress.refused();
            }
            // This code does not say whether the decision was written; the next coordinator may read it and carry it out.
            ErrorCode::UnknownServerError => end.is_unanswered(),
            code if code.is_retriable() => end.is_unanswered(),
            _ => end.progress = end.progress.refused(),
        }
        let (commits, was_asked_before) = (end.commits, end.progress.may_be_done());
        let what =
            if commits { "the transaction is not committed" } else { "the transaction is not aborted" };
        match code {
            ErrorCode::None => {
                self.backoff.reset();
                self.coordinator.on_response();
                self.events.push_back(Event::Closed);
                end.tell(&mut self.events, Ok(()));
                // A duplicate of the request may still be in flight: it must not end the next transaction.
                let is_late = work.needs_epoch || was_asked_before;
                let has_identity = response.producer_id >= 0 && response.producer_epoch >= 0;
                self.state = match self.protocol {
                    Protocol::Announced if is_late => State::Identifying,
                    // The cluster's features have changed.
                    Protocol::EpochPerTransaction if !has_identity => State::LearningProtocol,
                    Protocol::Announced | Protocol::EpochPerTransaction => State::Ready,
                };
                if has_identity {
                    let identity =
                        ProducerIdentity { id: response.producer_id, epoch: response.producer_epoch };
                    self.become_known_by(identity);
                }
            }
            ErrorCode::UnknownServerError => self.ask_again(now, &format!("{what}: {code}")),
            code if knows_no_such_transaction(code) => {
                let timeout = self.config.timeout.as_millis();
                let text = format!(
                    "{what}: its coordinator does not have it ({code}); it aborts one that is open for longer than `transaction.timeout.ms` ({timeout} ms)"
                );
                let told = match commits {
                    false => Ok(()),
                    true if was_asked_before => Err(unknown(&text)),
                    true => Err(Error::new(ErrorKind::TransactionAborted, text).with_code(code)),
                };
                self.events.push_back(Event::Closed);
                end.tell(&mut self.events, told);
                self.state = State::Identifying;
            }
            code => {
                match self.remedy(code, what) {
                    // The transaction was not committed, and is now aborted.
                    Remedy::Abort(error) if commits => {
                        let State::Ending(work, end) = &mut self.state else { return };
                        end.commits = false;
                        end.progress = EndTxnProgress::No;
                        work.needs_epoch = true;
                        let told =
                            if was_asked_before { unknown(&error.to_string()) } else { aborted(&error) };
                        end.tell(&mut self.events, Err(told));
                        self.again(now);
                    }
                    Remedy::Abort(error) => self.ask_again(now, &error.to_string()),
                    remedy => drop(self.apply_remedy(now, remedy)),
                }
            }
        }
    }
}
