//! The machine, its application and its coordinator, and the steps that they may take.

use std::{
    collections::BTreeMap,
    mem,
    time::{Duration, Instant},
};

use offtake_client::{Error, ErrorKind};
use offtake_machine::{CallError, GroupMetadata, GroupOffsets, OffsetAndMetadata, TopicPartition};
use offtake_wire::{ErrorCode, Request, Response};

use super::{
    super::{
        Event, Part, Protocol, State, Work,
        tests::{Asked, Bench, MAX_BLOCK, features, found, identity, lost},
    },
    Action, Bounds, Number,
    coordinator::{Coordinator, Held, Pending, refusal},
};

/// The state of the open transaction's record or offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    None,
    /// Its partition is not added yet.
    Waits,
    Sent,
    Written,
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Application {
    Idle,
    Begins,
    Open,
    /// The transaction is ending; nothing was reported yet.
    Ends {
        commits: bool,
    },
}

pub(super) struct World {
    bounds: Bounds,
    bench: Bench,
    protocol: Protocol,
    coordinator: Coordinator,
    application: Application,
    /// The producer has ended.
    is_over: bool,
    number: Number,
    record: Fate,
    offsets: Fate,
    sent: Option<Asked>,
    /// That one is not to leave any more.
    is_unwanted: bool,
    late: Vec<Request>,
    /// The reported outcome of each transaction that was to be committed.
    told: BTreeMap<Number, Result<(), ErrorKind>>,
    faults: u32,
    waits: u32,
    fences: u32,
    broken: Option<String>,
}

impl World {
    fn new(protocol: Protocol, bounds: Bounds) -> Self {
        let mut world = Self {
            bounds,
            bench: Bench::new(),
            protocol,
            coordinator: Coordinator::new(protocol),
            application: Application::Idle,
            is_over: false,
            number: 0,
            record: Fate::None,
            offsets: Fate::None,
            sent: None,
            is_unwanted: false,
            late: Vec::new(),
            told: BTreeMap::new(),
            faults: 0,
            waits: 0,
            fences: 0,
            broken: None,
        };
        for response in [features(protocol).into(), identity(0).into()] {
            world.run_until_idle();
            world.answer(response);
        }
        world.run_until_idle();
        world
    }

    pub(super) fn after(protocol: Protocol, bounds: Bounds, steps: &[Action]) -> Self {
        let mut world = Self::new(protocol, bounds);
        for step in steps {
            world.take(*step);
        }
        world
    }

    pub(super) fn steps(&self) -> Vec<Action> {
        let mut steps = Vec::new();
        match self.application {
            Application::Idle if self.number < self.bounds.transactions && !self.is_over => {
                steps.push(Action::Begin)
            }
            Application::Open => {
                steps.extend([Action::End { commits: true }, Action::End { commits: false }]);
                if self.bounds.sends_records && self.record == Fate::None {
                    steps.push(Action::Send);
                }
                if self.bounds.sends_offsets && self.offsets == Fate::None {
                    steps.push(Action::SendOffsets);
                }
            }
            _ => {}
        }
        match self.record {
            Fate::Sent => steps.extend([Action::Write, Action::Fail]),
            Fate::Waits => steps.push(Action::Fail),
            Fate::None | Fate::Written | Fate::Failed => {}
        }
        if !self.late.is_empty() {
            steps.push(Action::Arrive);
        }
        if self.sent.is_some() {
            steps.push(Action::Answer);
            if self.is_unwanted {
                steps.push(Action::TakeBack);
            }
            if self.faults < self.bounds.faults {
                steps.extend([Action::LoseAnswer, Action::LoseRequest, Action::Delay]);
                steps.push(Action::Refuse(ErrorCode::CoordinatorLoadInProgress));
                steps.extend(
                    [ErrorCode::NotCoordinator, ErrorCode::CoordinatorNotAvailable]
                        .into_iter()
                        .flat_map(|code| [Action::Refuse(code), Action::RefuseAfter(code)]),
                );
            }
        }
        if self.pause_ends().is_some() {
            steps.push(Action::AskAgain);
        }
        if self.waits < self.bounds.waits && !self.is_over {
            steps.push(Action::Expire);
        }
        if self.fences < self.bounds.fences {
            steps.push(Action::Fence);
            if matches!(self.coordinator.state, Held::Ongoing(_)) {
                steps.push(Action::Abandon);
            }
        }
        steps
    }

    fn take(&mut self, step: Action) {
        let now = self.bench.now;
        match step {
            Action::Begin => {
                self.application = Application::Begins;
                self.bench.machine.begin(now);
            }
            Action::Send => match self.protocol {
                Protocol::Announced => {
                    self.record = Fate::Waits;
                    self.bench.machine.add(now, TopicPartition::new("orders", 0));
                }
                Protocol::EpochPerTransaction => {
                    self.record = Fate::Sent;
                    self.bench.machine.note_sent(now);
                }
            },
            Action::Write => self.write(),
            Action::Fail => {
                if self.record == Fate::Sent && self.protocol == Protocol::EpochPerTransaction {
                    let _ = self.coordinator.opens(self.known_epoch());
                }
                self.record = Fate::Failed;
                self.bench.machine.fail(now, Error::new(ErrorKind::Timeout, "the record was not written"));
            }
            Action::SendOffsets => {
                self.offsets = Fate::Sent;
                let offset = OffsetAndMetadata::new(self.number.into());
                let offsets = [(TopicPartition::new("orders", 0), offset)];
                let offsets = GroupOffsets::new(GroupMetadata::new("g"), offsets);
                self.bench.machine.send_offsets(now, u64::from(self.number), offsets);
            }
            Action::Fence => {
                self.fences += 1;
                self.coordinator.fence();
            }
            Action::Abandon => {
                self.fences += 1;
                self.coordinator.time_out();
            }
            Action::End { commits } => {
                self.application = Application::Ends { commits };
                self.bench.machine.end(now, commits);
            }
            Action::Arrive => {
                let request = self.late.remove(0);
                self.coordinator.carry_out(&request);
            }
            Action::AskAgain => {
                self.bench.now = self.pause_ends().unwrap_or(now);
                self.bench.machine.handle_timeout(self.bench.now);
            }
            Action::Expire => {
                self.waits += 1;
                self.bench.now += MAX_BLOCK;
                self.bench.machine.handle_timeout(self.bench.now);
                // A request without a response by then is given up, and may still arrive.
                self.late.extend(self.sent.take().map(|asked| asked.request));
            }
            of_a_request => self.take_on_the_way(of_a_request),
        }
        self.run_until_idle();
    }

    fn take_on_the_way(&mut self, step: Action) {
        let Some(asked) = self.sent.take() else { return };
        let carried_out = matches!(step, Action::Answer | Action::LoseAnswer | Action::RefuseAfter(_))
            .then(|| self.coordinator.carry_out(&asked.request));
        self.faults += u32::from(!matches!(step, Action::Answer | Action::TakeBack));
        let now = self.bench.now;
        match step {
            Action::Refuse(code) | Action::RefuseAfter(code) => {
                self.bench.answers(&asked, refusal(&asked.request, code))
            }
            Action::Answer => self.bench.answers(&asked, carried_out.expect("it was")),
            Action::TakeBack => {
                self.bench.machine.handle_answer(now, asked.part, asked.id, Err(CallError::Withdrawn));
            }
            _ => {
                self.bench.machine.handle_answer(now, asked.part, asked.id, Err(lost()));
                if step == Action::Delay {
                    self.late.push(asked.request);
                }
            }
        }
    }

    fn known_epoch(&self) -> i16 {
        self.bench.machine.identity.expect("it has one").epoch
    }

    fn write(&mut self) {
        match self.coordinator.takes(self.known_epoch()) {
            Ok(pending) => {
                pending.records.insert(self.number);
                self.record = Fate::Written;
            }
            Err(code) => {
                self.record = Fate::Failed;
                let why = Error::new(ErrorKind::TransactionAborted, format!("refused: {code}"));
                self.bench.machine.fail(self.bench.now, why);
            }
        }
    }

    fn answer(&mut self, response: Response) {
        let asked = self.sent.take().expect("it asks");
        self.bench.answers(&asked, response);
    }

    /// When the next request is sent, if none is in flight. Callers wait longer than that.
    fn pause_ends(&self) -> Option<Instant> {
        let at = self.bench.machine.poll_timeout().filter(|_| self.sent.is_none())?;
        (at <= self.bench.now + Duration::from_secs(3)).then_some(at.max(self.bench.now))
    }

    /// Runs whatever follows without a step: events, and the report that all records have outcomes.
    fn run_until_idle(&mut self) {
        for _ in 0..50 {
            while let Some(event) = self.bench.machine.poll_event() {
                self.hear(event);
            }
            if self.bench.machine.awaits_records() && !matches!(self.record, Fate::Sent | Fate::Waits) {
                self.bench.machine.on_records_settled(self.bench.now);
                continue;
            }
            if self.sent.is_some() {
                return;
            }
            if let Some(asked) = self.bench.asks_now() {
                if asked.part == Part::Transaction {
                    self.watch(&asked.request);
                    (self.sent, self.is_unwanted) = (Some(asked), false);
                } else {
                    self.bench.answers(&asked, found());
                }
                continue;
            }
            return;
        }
        self.broken = Some("it does not come to rest".to_owned());
    }

    /// Checks that nothing is committed before everything has an outcome, nor without one of its records.
    fn watch(&mut self, request: &Request) {
        let is_whole =
            [self.record, self.offsets].iter().all(|sent| matches!(sent, Fate::None | Fate::Written));
        if matches!(request, Request::EndTxn(end) if end.committed) && !is_whole {
            let (record, offsets) = (self.record, self.offsets);
            self.broken =
                Some(format!("it is to be committed; its record: {record:?}, its offsets: {offsets:?}"));
        }
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Begun(Ok(_)) => {
                self.application = Application::Open;
                (self.record, self.offsets) = (Fate::None, Fate::None);
                self.number += 1;
            }
            Event::Begun(Err(_)) => self.application = Application::Idle,
            Event::Added(_) if self.record == Fate::Waits => self.record = Fate::Sent,
            // A waiting record is not sent; a sent one ends by itself.
            Event::Failed(_) if self.record == Fate::Waits => self.record = Fate::Failed,
            Event::OffsetsSent(_, told) => {
                self.offsets = if told.is_ok() { Fate::Written } else { Fate::Failed };
            }
            Event::Ended(told) => {
                if let Application::Ends { commits: true } = self.application {
                    self.told.insert(self.number, told.map_err(|error| error.kind()));
                }
                self.application = Application::Idle;
            }
            Event::Withdraw(call) => {
                self.is_unwanted = self.sent.as_ref().is_some_and(|asked| asked.id == call);
            }
            Event::Over(_) => {
                self.is_over = true;
                self.record = match self.record {
                    Fate::Sent | Fate::Waits => Fate::Failed,
                    as_before => as_before,
                };
            }
            _ => {}
        }
    }

    /// Checks the invariants.
    pub(super) fn check(&self) -> Result<(), String> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        let Coordinator { records, offsets, .. } = &self.coordinator;
        for (number, told) in &self.told {
            for (what, decided) in [("record", records), ("offsets", offsets)] {
                match told {
                    Ok(()) if decided.aborted.contains(number) => {
                        return Err(format!("{number} is told as committed, and its {what} aborted"));
                    }
                    Err(ErrorKind::OutcomeUnknown) | Ok(()) => {}
                    Err(kind) if decided.committed.contains(number) => {
                        return Err(format!("{number} is told as {kind:?}, and its {what} committed"));
                    }
                    Err(_) => {}
                }
            }
        }
        for (committed, aborted) in [(records, offsets), (offsets, records)] {
            if let Some(half) = committed.committed.intersection(&aborted.aborted).next() {
                return Err(format!("{half} is committed and aborted"));
            }
        }
        // A transaction reported as committed is committed, unless nothing was written in it.
        if let Held::Ongoing(Pending { records, offsets }) = &self.coordinator.state
            && let Some(number) = records.union(offsets).find(|number| self.told.get(number) == Some(&Ok(())))
        {
            return Err(format!("{number} is told as committed, and is open"));
        }
        let is_at_rest =
            matches!(self.bench.machine.state, State::Ready) && self.sent.is_none() && self.late.is_empty();
        if is_at_rest && matches!(self.coordinator.state, Held::Ongoing(_)) {
            return Err("a transaction is open that nobody ends".to_owned());
        }
        Ok(())
    }

    /// Everything that the future depends on, except the time and the number of failures.
    pub(super) fn print(&self) -> String {
        let machine = &self.bench.machine;
        let work = machine.state.work().map(|work| {
            let Work { wanted, adding, begun, failed, needs_epoch, .. } = work;
            (wanted.len(), adding.len(), begun.is_some(), failed.as_ref().map(Error::kind), *needs_epoch)
        });
        let end = match &machine.state {
            State::Ending(_, end) => Some((end.commits, end.progress, end.waits_until().is_some())),
            _ => None,
        };
        let sent = self.sent.as_ref().map(|asked| &asked.request);
        format!(
            "{:?} {work:?} {end:?} {:?} {:?} {:?} {sent:?} {:?} {:?} {:?} {} {:?} {:?} {} {:?}",
            mem::discriminant(&machine.state),
            machine.identity,
            machine.begin.map(|begin| begin.opens),
            (machine.call.is_sent(), self.pause_ends().is_some(), machine.coordinator.broker()),
            self.coordinator,
            self.late,
            (self.application, self.is_over, self.is_unwanted),
            self.number,
            (self.record, self.offsets),
            self.told,
            self.faults,
            (self.waits, self.fences),
        )
    }
}
