//! The consequences of a handler's result: the record is finished, retried, dead-lettered, or stops its partition.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use offtake::{ErrorKind, TopicPartition};

use super::{
    Action, AssignmentId, Effect, JobTicket, Machine, Mode, Written, breaker::Outcome, lane::LaneState,
    partition::Phase,
};
use crate::{
    Event, FailureKind, FirstFailure, StopReason, StoppedPartition, clock, failure::Weight, output::Output,
};

/// The first pause before a letter is written again, and the longest; each is twice as long as the previous one. A letter whose
/// outcome is unknown may be there already, so that each attempt may be one more copy.
const WRITE_AGAIN: Duration = Duration::from_secs(1);
const WRITE_AGAIN_AT_MOST: Duration = Duration::from_secs(60);

/// A handler's result for one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HandlerResult {
    Done,
    Failed { kind: FailureKind, cause: Cause, weight: Weight, reason: String },
}

/// How a handler failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It returned an error.
    Handler,
    Panic,
    Timeout,
}

/// The results for the records of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Results {
    /// The same for each record.
    All(HandlerResult),
    /// One for each record, in order. Missing ones count as failures.
    Each(Vec<HandlerResult>),
}

impl Results {
    fn of(&self, nth: usize) -> HandlerResult {
        match self {
            Self::All(handler_result) => handler_result.clone(),
            Self::Each(handler_results) => {
                handler_results.get(nth).cloned().unwrap_or_else(|| HandlerResult::Failed {
                    kind: FailureKind::Retry,
                    cause: Cause::Handler,
                    weight: Weight::Whole,
                    reason: "the handler of its batch gave no result for it".to_owned(),
                })
            }
        }
    }
}

/// How a job ended, for all of its lanes.
#[derive(Clone, Copy, Debug)]
struct JobEnd {
    now: Instant,
    /// The wall clock.
    now_ms: i64,
    is_probe: bool,
    /// Whether it failed as a whole and had several records: which of them it failed for is not known.
    is_shared_failure: bool,
    /// Whether there is one result for all of its records.
    is_one_result: bool,
}

/// The copy of a record that is not retried here any more, for the dead letters or a retry topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeadLetter {
    pub(crate) offset: i64,
    /// The number of attempts in all, wherever they were made.
    pub(crate) attempts: u32,
    pub(crate) reason: String,
    pub(crate) first_failure: Option<Arc<FirstFailure>>,
    pub(crate) to: DeadLetterTarget,
}

/// The destination of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DeadLetterTarget {
    DeadLetters,
    /// The retry topic with this index.
    Retry(usize),
}

/// A letter being written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeadLetterTicket {
    assignment: AssignmentId,
    lane: usize,
    serial: u64,
    pub(crate) letter: DeadLetter,
}

impl<R: Clone> Machine<R> {
    /// Handles the end of a job. `now_ms` is the wall clock; `outputs` are the records sent by the handler, by handled record.
    pub(crate) fn job_ended(
        &mut self,
        now: Instant,
        now_ms: i64,
        ticket: &JobTicket,
        results: &Results,
        outputs: Vec<Vec<Output>>,
    ) {
        if let Some(name) = self.ending.remove(&ticket.id) {
            self.jobs = self.jobs.saturating_sub(1);
            if let Some(id) = self.by_name.get(&name).copied() {
                self.line_up(id);
                self.look_aside(id);
            }
            return;
        }
        let id = ticket.id.assignment;
        let runs = |state| matches!(state, LaneState::Running { job, .. } if job == ticket.id.serial);
        let Some(partition) = self.partitions.get(&id) else { return };
        let is_current =
            |(lane, _): &(usize, usize)| partition.lanes.get(*lane).is_some_and(|lane| runs(lane.state));
        if !ticket.lanes.iter().any(is_current) {
            return;
        }
        self.jobs = self.jobs.saturating_sub(1);
        self.metrics.handler_time.record(now.saturating_duration_since(ticket.began));
        let records: usize = ticket.lanes.iter().map(|(_, count)| count).sum();
        let torn = failed_in_part(results, records, &outputs).map(Results::All);
        let results = torn.as_ref().unwrap_or(results);
        let is_probe = self.probe.take_if(|probe| *probe == ticket.id).is_some();
        let is_shared_failure = records > 1 && matches!(results, Results::All(HandlerResult::Failed { .. }));
        let is_one_result = matches!(results, Results::All(_));
        let end = JobEnd { now, now_ms, is_probe, is_shared_failure, is_one_result };
        let mut outputs = outputs.into_iter();
        let mut nth = 0;
        for (lane, count) in &ticket.lanes {
            let mut sent = outputs.by_ref().take(*count).collect::<Vec<_>>().into_iter();
            let handler_results =
                (nth..nth + count).map(|nth| (results.of(nth), sent.next().unwrap_or_default()));
            nth += count;
            self.lane_ended(end, id, *lane, handler_results);
        }
        self.line_up(id);
    }

    /// Handles the results of one lane. After the first record that failed, the results of later ones are ignored.
    fn lane_ended(
        &mut self,
        end: JobEnd,
        id: AssignmentId,
        index: usize,
        handler_results: impl ExactSizeIterator<Item = (HandlerResult, Vec<Output>)>,
    ) {
        let count = handler_results.len();
        self.metrics.running = self.metrics.running.saturating_sub(count);
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        partition.running = partition.running.saturating_sub(count);
        let mut failed = None;
        let mut done = 0;
        let mut sent = Vec::new();
        for (handler_result, outputs) in handler_results {
            match handler_result {
                HandlerResult::Done => {
                    let entry = partition.finish_first(index);
                    sent.extend(entry.filter(|_| !outputs.is_empty()).map(|entry| (entry.offset, outputs)));
                }
                HandlerResult::Failed { kind, cause, weight, reason } => {
                    failed = Some((kind, cause, weight, reason));
                    break;
                }
            }
            done += 1;
        }
        // The remaining records wait again, for whatever reason.
        let back = partition.lanes.get(index).map(|lane| {
            let left = lane.records.iter().take(count - done);
            left.map(|entry| entry.bytes).sum::<usize>()
        });
        self.enter_queue(id, count - done, back.unwrap_or_default());
        self.metrics.handled += done as u64;
        self.has_news |= done > 0;
        for (offset, outputs) in sent {
            let bytes = outputs.iter().map(Output::bytes).sum();
            self.keep(id, offset, bytes, Effect::Outputs(outputs));
        }
        // A batch with one result is one outcome for each lane, as a failure of it is.
        let outcomes = if end.is_one_result { done.min(1) } else { done };
        for _ in 0..outcomes {
            self.note_outcome(end.now, end.is_probe, Outcome::Done);
        }
        let lane = self.partitions.get_mut(&id).and_then(|partition| partition.lanes.get_mut(index));
        if let Some(lane) = lane {
            lane.turn_ended(failed.is_none());
        }
        match failed {
            Some(failure) => {
                self.failed(end, id, index, if end.is_shared_failure { count } else { 1 }, failure)
            }
            None => self.lane_goes_on(id, index),
        }
        self.lane_shrank(id, index);
        if self.room.is_scarce() {
            self.lane_grew(id, index); // by the records that wait again
        }
        // Results may have waited for it.
        self.look_aside(id);
        self.drop_what_is_over(id);
    }

    fn note_outcome(&mut self, now: Instant, is_probe: bool, outcome: Outcome) {
        self.with_breaker(|breaker| match is_probe {
            true => breaker.probe_ended(now, outcome),
            false => breaker.attempt_ended(now, outcome),
        });
    }

    /// Handles a failure of the first records of a lane: of one, or of all that were in a batch that failed as a whole.
    fn failed(
        &mut self,
        JobEnd { now, now_ms, is_probe, is_shared_failure, .. }: JobEnd,
        id: AssignmentId,
        index: usize,
        records: usize,
        (kind, cause, weight, reason): (FailureKind, Cause, Weight, String),
    ) {
        let of_cause = |is_so| if is_so { records as u64 } else { 0 };
        self.metrics.failed += records as u64;
        self.metrics.panicked += of_cause(cause == Cause::Panic);
        self.metrics.timed_out += of_cause(cause == Cause::Timeout);
        let lane = self.partitions.get(&id).and_then(|partition| partition.lanes.get(index));
        let first = lane.and_then(|lane| lane.records.front());
        let outcome = match first.is_some_and(|entry| entry.first_failure.is_some()) {
            true => Outcome::FailedAgain,
            false => Outcome::Failed,
        };
        match kind {
            FailureKind::Retry if weight == Weight::Whole => self.note_outcome(now, is_probe, outcome),
            FailureKind::Retry if is_probe => self.with_breaker(|breaker| breaker.probe_cancelled()),
            FailureKind::Retry => {}
            FailureKind::Poison => self.note_outcome(now, is_probe, Outcome::Done),
            FailureKind::Fatal if is_probe => self.with_breaker(|breaker| breaker.probe_cancelled()),
            FailureKind::Fatal => {}
        }
        // While the breaker suspects an outage, attempts do not count.
        let counts = self.is_closed() && !is_probe && weight != Weight::Nothing;
        let random = self.random.next();
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let (name, goes_on) = (partition.name.clone(), partition.is_active() && self.mode == Mode::Running);
        let Some(lane) = partition.lanes.get_mut(index) else { return };
        let Some(entry) = lane.records.front_mut() else { return };
        let (offset, attempts) = (entry.offset, entry.attempts().saturating_add(1));
        if kind == FailureKind::Fatal {
            lane.state = LaneState::Held;
            self.actions.push_back(Action::Fatal { partition: name, offset, reason });
            return;
        }
        let untried = if weight == Weight::Nothing { entry.untried.saturating_add(1) } else { 0 };
        entry.untried = untried;
        let is_poison = kind == FailureKind::Poison;
        let failures = entry.failures.saturating_add(1);
        let failed_attempts: Vec<_> = lane
            .records
            .iter()
            .take(records)
            .map(|entry| (entry.offset, entry.attempts().saturating_add(1)))
            .collect();
        let first = Arc::new(FirstFailure { reason: reason.clone(), at_ms: now_ms });
        for entry in lane.records.iter_mut().take(records) {
            entry.has_failed = true;
            if weight != Weight::Nothing {
                entry.first_failure.get_or_insert_with(|| Arc::clone(&first));
            }
            if counts || is_poison {
                entry.failures = entry.failures.saturating_add(1);
            }
            // Alone, it shows whether it is the one.
            entry.is_suspect |= is_poison && is_shared_failure;
        }
        // Whether it is the one that failed is not known before it has failed alone.
        if !is_shared_failure && (is_poison || counts && failures >= self.options.retry.attempts) {
            return self.give_up(id, index, attempts, reason, kind);
        }
        if !goes_on {
            lane.state = LaneState::Held;
            return;
        }
        let delay = match counts {
            _ if is_poison => Duration::ZERO,
            true => self.options.retry.delay(failures, random),
            // The breaker's pause is the delay, if this failure counts for it.
            false if weight == Weight::Whole => Duration::ZERO,
            false => self.options.retry.delay_untried(untried, random),
        };
        self.metrics.retried += records as u64;
        if delay.is_zero() {
            partition.go_on(index);
        } else {
            let until = clock::later(now, delay);
            lane.state = LaneState::Waiting;
            self.waiting.insert((until, id, index));
        }
        for (offset, attempt) in failed_attempts {
            self.tell(Event::Retried {
                partition: name.clone(),
                offset,
                attempt,
                reason: reason.clone(),
                delay,
            });
        }
    }

    /// Gives up the first record of a lane: no further attempt is made here.
    fn give_up(&mut self, id: AssignmentId, index: usize, attempts: u32, reason: String, kind: FailureKind) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let name = partition.name.clone();
        let is_stopped = partition.is_stopped();
        let Some(lane) = partition.lanes.get_mut(index) else { return };
        let Some(entry) = lane.records.front() else { return };
        let (offset, first_failure) = (entry.offset, entry.first_failure.clone());
        if !self.has_dead_letters || is_stopped {
            lane.state = LaneState::Held;
            let why = match kind {
                FailureKind::Poison => StopReason::Poison { reason },
                FailureKind::Retry | FailureKind::Fatal => StopReason::OutOfAttempts { attempts, reason },
            };
            return self.stop_partition(StoppedPartition { partition: name, offset: Some(offset), why });
        }
        let later = self.options.retry.topic_after(name.topic.as_str());
        let to = match (kind, later) {
            (FailureKind::Retry, Some(later)) => DeadLetterTarget::Retry(later),
            _ => DeadLetterTarget::DeadLetters,
        };
        let letter = DeadLetter { offset, attempts, reason, first_failure, to };
        if self.options.transactions.is_some() {
            // The transaction that commits the record writes it.
            let record = entry.record.clone();
            self.finish_with(id, index, Effect::DeadLetter { record, letter });
            return;
        }
        self.write(id, index, letter);
    }

    /// Asks for the letter of the first record of a lane to be written.
    fn write(&mut self, id: AssignmentId, index: usize, letter: DeadLetter) {
        let serial = self.next_id;
        self.next_id += 1;
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let Some(lane) = partition.lanes.get_mut(index) else { return };
        let Some(record) = lane.records.front().map(|entry| entry.record.clone()) else { return };
        lane.state = LaneState::Writing { letter: serial };
        partition.writing += 1;
        let letter = DeadLetterTicket { assignment: id, lane: index, serial, letter };
        self.actions.push_back(Action::Write { letter, record });
    }

    /// Handles the end of a lane's wait: its first record is tried again, or its letter is written again.
    pub(super) fn lane_waited(&mut self, now: Instant, id: AssignmentId, index: usize) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let first = partition.lanes.get_mut(index).and_then(|lane| lane.records.front_mut());
        match first.and_then(|entry| entry.letter.take()) {
            Some(letter) if self.is_owner => self.write(id, index, letter),
            // Another member may own the record by now, and have written it.
            Some(letter) => self.write_later(now, id, index, letter),
            None => {
                partition.go_on(index);
                self.line_up(id);
            }
        }
    }

    /// Starts the pause before the letter of the first record of a lane is written again.
    fn write_later(&mut self, now: Instant, id: AssignmentId, index: usize, letter: DeadLetter) {
        let lane = self.partitions.get_mut(&id).and_then(|partition| partition.lanes.get_mut(index));
        let Some(lane) = lane else { return };
        let Some(entry) = lane.records.front_mut() else { return };
        entry.letter = Some(letter);
        lane.state = LaneState::Waiting;
        let doublings = entry.letter_failures.saturating_sub(1).min(16);
        let pause = WRITE_AGAIN.saturating_mul(1 << doublings).min(WRITE_AGAIN_AT_MOST);
        self.waiting.insert((clock::later(now, pause), id, index));
    }

    /// Finishes the first record of a lane with a letter that waits for a transaction.
    fn finish_with(&mut self, id: AssignmentId, index: usize, effect: Effect<R>) {
        let finished = self.partitions.get_mut(&id).and_then(|partition| partition.finish_first(index));
        let Some(entry) = finished else { return };
        self.has_news = true;
        self.leave_queue(id, 1, entry.bytes);
        self.keep(id, entry.offset, entry.bytes, effect);
        self.lane_goes_on(id, index);
    }

    /// Whether a letter is still to be written: its partition may be gone.
    pub(crate) fn wants_letter(&self, letter: &DeadLetterTicket) -> bool {
        let lane = self.partitions.get(&letter.assignment).and_then(|of| of.lanes.get(letter.lane));
        lane.is_some_and(|lane| lane.state == LaneState::Writing { letter: letter.serial })
    }

    /// Handles the result of writing a letter. One that could not be written because of its topic or the brokers is written
    /// again, without a limit. One that is refused stops its partition.
    pub(crate) fn letter_ended(
        &mut self,
        now: Instant,
        letter: DeadLetterTicket,
        written: Result<Written, offtake::Error>,
    ) {
        if !self.wants_letter(&letter) {
            return;
        }
        let DeadLetterTicket { assignment: id, lane: index, letter, .. } = letter;
        let goes_on = self.mode == Mode::Running;
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let goes_on = goes_on && partition.is_active();
        let Some(lane) = partition.lanes.get_mut(index) else { return };
        partition.writing = partition.writing.saturating_sub(1);
        let name = partition.name.clone();
        match written {
            Ok(written) => {
                let bytes = partition.finish_first(index).map_or(0, |entry| entry.bytes);
                self.has_news = true;
                self.leave_queue(id, 1, bytes);
                self.letter_written(name, letter, Some(written));
                self.lane_goes_on(id, index);
                self.lane_shrank(id, index);
                self.line_up(id);
            }
            Err(error) if may_be_written_later(&error) && goes_on => {
                if let Some(entry) = lane.records.front_mut() {
                    partition.unwritten += usize::from(entry.letter_failures == 0);
                    entry.letter_failures = entry.letter_failures.saturating_add(1);
                }
                self.write_later(now, id, index, letter);
                self.look_aside(id);
            }
            Err(error) if may_be_written_later(&error) => {
                lane.state = LaneState::Held;
                self.drop_what_is_over(id);
            }
            Err(error) => {
                lane.state = LaneState::Held;
                let DeadLetter { offset, reason, .. } = letter;
                let why = StopReason::DeadLetterFailed { error, reason };
                self.stop_partition(StoppedPartition { partition: name, offset: Some(offset), why });
                self.drop_what_is_over(id);
            }
        }
    }

    /// Reports that a record's letter was written and the record is finished.
    pub(super) fn letter_written(
        &mut self,
        partition: TopicPartition,
        letter: DeadLetter,
        written: Option<Written>,
    ) {
        let DeadLetter { offset, attempts, reason, to: target, .. } = letter;
        match target {
            DeadLetterTarget::DeadLetters => self.metrics.dead_lettered += 1,
            DeadLetterTarget::Retry(_) => self.metrics.postponed += 1,
        }
        let Some((to, to_offset)) = written else { return };
        self.tell(match target {
            DeadLetterTarget::DeadLetters => {
                Event::DeadLettered { partition, offset, attempts, reason, to, to_offset }
            }
            DeadLetterTarget::Retry(index) => {
                let delay = self.options.retry.topics.get(index).map(|topic| topic.delay).unwrap_or_default();
                Event::Postponed { partition, offset, attempts, reason, delay, to, to_offset }
            }
        });
    }

    /// Drops returned records of a partition that starts nothing any more, to free their room.
    pub(super) fn drop_what_is_over(&mut self, id: AssignmentId) {
        let Some(partition) = self.partitions.get(&id) else { return };
        if matches!(partition.phase, Phase::Revoking | Phase::Stopped(_)) {
            self.drop_queued(id);
        }
    }

    /// Queues the next record of a lane, if possible.
    fn lane_goes_on(&mut self, id: AssignmentId, index: usize) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        if partition.is_active() {
            partition.go_on(index);
        } else if let Some(lane) = partition.lanes.get_mut(index) {
            lane.state = LaneState::Held;
        }
    }
}

/// The failure of a batch of which a record made of the whole would be sent for a part only.
fn failed_in_part(results: &Results, records: usize, outputs: &[Vec<Output>]) -> Option<HandlerResult> {
    let is_of_batch = |output: &Output| output.first.is_some();
    if matches!(results, Results::All(_)) || !outputs.iter().flatten().any(is_of_batch) {
        return None;
    }
    let mut failures = (0..records).filter_map(|nth| match results.of(nth) {
        HandlerResult::Failed { reason, .. } => Some(reason),
        HandlerResult::Done => None,
    });
    let first = failures.next()?;
    (failures.count() + 1 < records).then(|| HandlerResult::Failed {
        kind: FailureKind::Fatal,
        cause: Cause::Handler,
        weight: Weight::Whole,
        reason: format!(
            "the handler sent a record made of its whole batch (`Batch::send`), and then failed only a part of the batch: return \
             `Handled::All` or an error, or send by `Attempt::send` for each record. The first failure was: {first}"
        ),
    })
}

/// Whether a letter that failed with this error may be written later: the error is about its topic or the brokers, and not about
/// the letter or what this client may do.
pub(crate) fn may_be_written_later(error: &offtake::Error) -> bool {
    use ErrorKind::{Malformed, OutcomeUnknown, Timeout, UnknownTopic, Unreachable};
    matches!(error.kind(), Malformed | OutcomeUnknown | Timeout | Unreachable | UnknownTopic)
}
