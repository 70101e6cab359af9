//! The machine in every schedule, against a small model of a coordinator: answers that are lost, requests that come late or twice, refusals
//! before and after the decision was written, callers who wait no longer.
//!
//! A state is the steps that lead to it; two whose [`World::print`] is the same are one.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use offtake_wire::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, EndTxnRequest, EndTxnResponse, ErrorCode,
    InitProducerIdRequest, InitProducerIdResponse, Request, Response,
    messages::add_partitions_to_txn::{AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult},
};

use super::{
    tests::{Asked, Bench, MAX_BLOCK, features, found, identity, lost},
    *,
};

/// The number of a transaction, as the application counts.
type Number = u32;

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Begin,
    /// A record is sent within the transaction.
    Send,
    /// It is written.
    Write,
    /// It is not, and may have opened the transaction.
    Fail,
    End {
        commits: bool,
    },
    /// The request on its way arrives, and its answer too.
    Answer,
    /// It arrives, and its answer does not.
    LoseAnswer,
    /// It does not arrive.
    LoseRequest,
    /// It will arrive later, when nobody waits for it.
    Delay,
    /// One of those arrives.
    Arrive,
    /// It is refused before anything is done.
    Refuse(ErrorCode),
    /// It is carried out, and refused nevertheless: the coordinator lost its place meanwhile.
    RefuseAfter(ErrorCode),
    /// The pause before something is asked again is over.
    AskAgain,
    /// Nobody waits any longer for anything.
    Expire,
}

/// The coordinator of the id, and what has become of transactions.
#[derive(Debug)]
struct Coordinator {
    protocol: Protocol,
    epoch: i16,
    state: Held,
    committed: BTreeSet<Number>,
    aborted: BTreeSet<Number>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Held {
    Empty,
    /// With the records of these.
    Ongoing(BTreeSet<Number>),
    Done {
        committed: bool,
    },
}

/// The record of the open transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Record {
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
    /// Its transaction ends; nothing was told yet.
    Ends {
        commits: bool,
    },
    /// The producer has ended.
    Over,
}

struct World {
    bench: Bench,
    coordinator: Coordinator,
    application: Application,
    number: Number,
    record: Record,
    sent: Option<Asked>,
    late: Vec<Request>,
    /// What was told of each transaction that was to be committed.
    told: BTreeMap<Number, Result<(), ErrorKind>>,
    faults: u32,
    waits: u32,
    broken: Option<String>,
}

/// How much may happen.
const TRANSACTIONS: Number = 2;
const FAULTS: u32 = 2;
const WAITS: u32 = 1;

impl Coordinator {
    fn end(&mut self, commits: bool) {
        if let Held::Ongoing(records) = &mut self.state {
            let ended = if commits { &mut self.committed } else { &mut self.aborted };
            ended.append(records);
        }
        self.state = Held::Done { committed: commits };
    }

    fn opens(&mut self, epoch: i16) -> Result<(), ErrorCode> {
        if epoch != self.epoch {
            return Err(ErrorCode::InvalidProducerEpoch);
        }
        if !matches!(self.state, Held::Ongoing(_)) {
            self.state = Held::Ongoing(BTreeSet::new());
        }
        Ok(())
    }

    fn carry_out(&mut self, request: &Request) -> Response {
        match request {
            Request::InitProducerId(request) => self.identify(request).into(),
            Request::AddPartitionsToTxn(request) => self.add(request).into(),
            Request::EndTxn(request) => self.answer_end(request).into(),
            other => panic!("not of this model: {other:?}"),
        }
    }

    fn identify(&mut self, request: &InitProducerIdRequest) -> InitProducerIdResponse {
        let known = request.producer_epoch;
        if known == self.epoch {
            if let Held::Ongoing(_) = self.state {
                self.end(false);
            }
            self.state = Held::Empty;
            self.epoch += 1;
        } else if known + 1 != self.epoch {
            let error_code = ErrorCode::ProducerFenced;
            return InitProducerIdResponse { error_code, ..Default::default() };
        }
        identity(self.epoch)
    }

    fn add(&mut self, request: &AddPartitionsToTxnRequest) -> AddPartitionsToTxnResponse {
        let opened = self.opens(request.v3_and_below_producer_epoch);
        let partition_error_code = opened.err().unwrap_or(ErrorCode::None);
        let topic = AddPartitionsToTxnTopicResult {
            name: "orders".to_owned(),
            results_by_partition: vec![AddPartitionsToTxnPartitionResult {
                partition_index: 0,
                partition_error_code,
            }],
        };
        AddPartitionsToTxnResponse { results_by_topic_v3_and_below: vec![topic], ..Default::default() }
    }

    fn answer_end(&mut self, request: &EndTxnRequest) -> EndTxnResponse {
        let (epoch, commits) = (request.producer_epoch, request.committed);
        let refused = |error_code| EndTxnResponse { error_code, ..Default::default() };
        let is_again = epoch + 1 == self.epoch && self.protocol == Protocol::EpochPerTransaction;
        if epoch != self.epoch && !is_again {
            return refused(ErrorCode::ProducerFenced);
        }
        match (&self.state, self.protocol) {
            (Held::Ongoing(_), _) if !is_again => self.end(commits),
            (Held::Done { committed }, Protocol::Announced) if *committed == commits => {
                return refused(ErrorCode::None);
            }
            (Held::Done { committed }, Protocol::EpochPerTransaction)
                if is_again && *committed == commits =>
            {
                return self.next();
            }
            (Held::Empty | Held::Done { .. }, Protocol::EpochPerTransaction) if !commits && !is_again => {
                self.state = Held::Done { committed: false };
            }
            _ => return refused(ErrorCode::InvalidTxnState),
        }
        match self.protocol {
            Protocol::Announced => refused(ErrorCode::None),
            Protocol::EpochPerTransaction => {
                self.epoch += 1;
                self.next()
            }
        }
    }

    /// The epoch for the next transaction.
    fn next(&self) -> EndTxnResponse {
        EndTxnResponse { producer_id: 7, producer_epoch: self.epoch, ..Default::default() }
    }
}

impl World {
    fn new(protocol: Protocol) -> Self {
        let state = Held::Empty;
        let (committed, aborted) = (BTreeSet::new(), BTreeSet::new());
        let mut world = Self {
            bench: Bench::new(),
            coordinator: Coordinator { protocol, epoch: 0, state, committed, aborted },
            application: Application::Idle,
            number: 0,
            record: Record::None,
            sent: None,
            late: Vec::new(),
            told: BTreeMap::new(),
            faults: 0,
            waits: 0,
            broken: None,
        };
        for response in [features(protocol).into(), identity(0).into()] {
            world.settle();
            world.answer(response);
        }
        world.settle();
        world
    }

    fn after(protocol: Protocol, steps: &[Step]) -> Self {
        let mut world = Self::new(protocol);
        for step in steps {
            world.take(*step);
        }
        world
    }

    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        match self.application {
            Application::Idle if self.number < TRANSACTIONS => steps.push(Step::Begin),
            Application::Open => {
                steps.extend([Step::End { commits: true }, Step::End { commits: false }]);
                if self.record == Record::None {
                    steps.push(Step::Send);
                }
            }
            _ => {}
        }
        match self.record {
            Record::Sent => steps.extend([Step::Write, Step::Fail]),
            Record::Waits => steps.push(Step::Fail),
            Record::None | Record::Written | Record::Failed => {}
        }
        if !self.late.is_empty() {
            steps.push(Step::Arrive);
        }
        if self.sent.is_some() {
            steps.push(Step::Answer);
            if self.faults < FAULTS {
                steps.extend([Step::LoseAnswer, Step::LoseRequest, Step::Delay]);
                steps.push(Step::Refuse(ErrorCode::CoordinatorLoadInProgress));
                steps.extend(
                    [ErrorCode::NotCoordinator, ErrorCode::CoordinatorNotAvailable]
                        .into_iter()
                        .flat_map(|code| [Step::Refuse(code), Step::RefuseAfter(code)]),
                );
            }
        }
        if self.pause_ends().is_some() {
            steps.push(Step::AskAgain);
        }
        if self.waits < WAITS && self.application != Application::Over {
            steps.push(Step::Expire);
        }
        steps
    }

    fn take(&mut self, step: Step) {
        let now = self.bench.now;
        match step {
            Step::Begin => {
                self.application = Application::Begins;
                self.bench.machine.begin(now);
            }
            Step::Send => match self.coordinator.protocol {
                Protocol::Announced => {
                    self.record = Record::Waits;
                    self.bench.machine.add(now, TopicPartition::new("orders", 0));
                }
                Protocol::EpochPerTransaction => {
                    self.record = Record::Sent;
                    self.bench.machine.note_sent(now);
                }
            },
            Step::Write => self.write(),
            Step::Fail => {
                if self.record == Record::Sent && self.coordinator.protocol == Protocol::EpochPerTransaction {
                    let _ = self.coordinator.opens(self.known_epoch());
                }
                self.record = Record::Failed;
                self.bench.machine.fail(now, Error::new(ErrorKind::Timeout, "the record was not written"));
            }
            Step::End { commits } => {
                self.application = Application::Ends { commits };
                self.bench.machine.end(now, commits);
            }
            Step::Arrive => {
                let request = self.late.remove(0);
                self.coordinator.carry_out(&request);
            }
            Step::AskAgain => {
                self.bench.now = self.pause_ends().unwrap_or(now);
                self.bench.machine.handle_timeout(self.bench.now);
            }
            Step::Expire => {
                self.waits += 1;
                self.bench.now += MAX_BLOCK;
                self.bench.machine.handle_timeout(self.bench.now);
                // A request that has no answer by then is given up, and may arrive yet.
                self.late.extend(self.sent.take().map(|asked| asked.request));
            }
            of_a_request => self.take_on_the_way(of_a_request),
        }
        self.settle();
    }

    fn take_on_the_way(&mut self, step: Step) {
        let Some(asked) = self.sent.take() else { return };
        let carried_out = matches!(step, Step::Answer | Step::LoseAnswer | Step::RefuseAfter(_))
            .then(|| self.coordinator.carry_out(&asked.request));
        self.faults += u32::from(step != Step::Answer);
        let now = self.bench.now;
        match step {
            Step::Refuse(code) | Step::RefuseAfter(code) => {
                self.bench.answers(&asked, refusal(&asked.request, code))
            }
            Step::Answer => self.bench.answers(&asked, carried_out.expect("it was")),
            _ => {
                self.bench.machine.handle_answer(now, asked.part, asked.id, Err(lost()));
                if step == Step::Delay {
                    self.late.push(asked.request);
                }
            }
        }
    }

    fn known_epoch(&self) -> i16 {
        self.bench.machine.identity.expect("it has one").epoch
    }

    fn write(&mut self) {
        let epoch = self.known_epoch();
        let opened = match (&self.coordinator.state, self.coordinator.protocol) {
            (Held::Ongoing(_), Protocol::Announced) if epoch == self.coordinator.epoch => Ok(()),
            (_, Protocol::Announced) => Err(ErrorCode::InvalidTxnState),
            (_, Protocol::EpochPerTransaction) => self.coordinator.opens(epoch),
        };
        match (opened, &mut self.coordinator.state) {
            (Ok(()), Held::Ongoing(records)) => {
                records.insert(self.number);
                self.record = Record::Written;
            }
            (refused, _) => {
                self.record = Record::Failed;
                let why = Error::new(ErrorKind::TransactionAborted, format!("refused: {refused:?}"));
                self.bench.machine.fail(self.bench.now, why);
            }
        }
    }

    fn answer(&mut self, response: Response) {
        let asked = self.sent.take().expect("it asks");
        self.bench.answers(&asked, response);
    }

    /// When the next thing is asked, if nothing is on its way. Callers wait longer.
    fn pause_ends(&self) -> Option<Instant> {
        let at = self.bench.machine.poll_timeout().filter(|_| self.sent.is_none())?;
        (at <= self.bench.now + Duration::from_secs(3)).then_some(at.max(self.bench.now))
    }

    /// What follows by itself: events, and that a transaction has all its outcomes.
    fn settle(&mut self) {
        for _ in 0..50 {
            while let Some(event) = self.bench.machine.poll_event() {
                self.hear(event);
            }
            if self.bench.machine.awaits_records() && !matches!(self.record, Record::Sent | Record::Waits) {
                self.bench.machine.on_records_settled(self.bench.now);
                continue;
            }
            if self.sent.is_some() {
                return;
            }
            if let Some(asked) = self.bench.asks_now() {
                if asked.part == Part::Transaction {
                    self.watch(&asked.request);
                    self.sent = Some(asked);
                } else {
                    self.bench.answers(&asked, found());
                }
                continue;
            }
            return;
        }
        self.broken = Some("it does not come to rest".to_owned());
    }

    /// Nothing is committed before all of it has its outcome, nor without one of its records.
    fn watch(&mut self, request: &Request) {
        let is_whole = matches!(self.record, Record::None | Record::Written);
        if matches!(request, Request::EndTxn(end) if end.committed) && !is_whole {
            self.broken = Some(format!("it is to be committed, and its record: {:?}", self.record));
        }
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Begun(Ok(_)) => {
                self.application = Application::Open;
                self.record = Record::None;
                self.number += 1;
            }
            Event::Begun(Err(_)) => self.application = Application::Idle,
            Event::Added(_) if self.record == Record::Waits => self.record = Record::Sent,
            // What waits is not sent; what was sent ends by itself.
            Event::Failed(_) if self.record == Record::Waits => self.record = Record::Failed,
            Event::Ended(told) => {
                if let Application::Ends { commits: true } = self.application {
                    self.told.insert(self.number, told.map_err(|error| error.kind()));
                }
                self.application = Application::Idle;
            }
            Event::Over(_) => {
                self.application = Application::Over;
                self.record = match self.record {
                    Record::Sent | Record::Waits => Record::Failed,
                    as_before => as_before,
                };
            }
            _ => {}
        }
    }

    /// What must always be so.
    fn check(&self) -> Result<(), String> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        let Coordinator { committed, aborted, .. } = &self.coordinator;
        for (number, told) in &self.told {
            match told {
                Ok(()) if aborted.contains(number) => {
                    return Err(format!("{number} is told as committed, and was aborted"));
                }
                Err(ErrorKind::OutcomeUnknown) | Ok(()) => {}
                Err(kind) if committed.contains(number) => {
                    return Err(format!("{number} is told as {kind:?}, and was committed"));
                }
                Err(_) => {}
            }
        }
        // A transaction that is told as committed is, unless nothing was written in it.
        let held = match &self.coordinator.state {
            Held::Ongoing(records) => records.clone(),
            Held::Empty | Held::Done { .. } => BTreeSet::new(),
        };
        if let Some(number) = held.iter().find(|number| self.told.get(number) == Some(&Ok(()))) {
            return Err(format!("{number} is told as committed, and is open"));
        }
        let is_at_rest =
            matches!(self.bench.machine.state, State::Ready) && self.sent.is_none() && self.late.is_empty();
        if is_at_rest && matches!(self.coordinator.state, Held::Ongoing(_)) {
            return Err("a transaction is open that nobody ends".to_owned());
        }
        Ok(())
    }

    /// All that the future depends on, but the time and how often something failed.
    fn print(&self) -> String {
        let machine = &self.bench.machine;
        let work = machine.state.work().map(|work| {
            let Work { wanted, adding, begun, failed, needs_epoch, .. } = work;
            (wanted.len(), adding.len(), begun.is_some(), failed.as_ref().map(Error::kind), *needs_epoch)
        });
        let end = match &machine.state {
            State::Ending(_, end) => Some((end.commits, end.asked, end.waits_until().is_some())),
            _ => None,
        };
        let sent = self.sent.as_ref().map(|asked| &asked.request);
        format!(
            "{:?} {work:?} {end:?} {:?} {:?} {:?} {sent:?} {:?} {:?} {:?} {} {:?} {:?} {} {}",
            mem::discriminant(&machine.state),
            machine.identity,
            machine.begin.map(|begin| begin.opens),
            (machine.call.is_sent(), self.pause_ends().is_some(), machine.coordinator.broker()),
            self.coordinator,
            self.late,
            self.application,
            self.number,
            self.record,
            self.told,
            self.faults,
            self.waits,
        )
    }
}

/// Tries every schedule; the number of states.
fn explore(protocol: Protocol) -> usize {
    let mut seen = HashSet::new();
    let mut queue = VecDeque::from([Vec::new()]);
    while let Some(steps) = queue.pop_front() {
        let world = World::after(protocol, &steps);
        if let Err(broken) = world.check() {
            panic!("{protocol:?}: {broken}, after {steps:#?}");
        }
        if !seen.insert(world.print()) {
            continue;
        }
        queue.extend(world.steps().into_iter().map(|step| [&steps[..], &[step]].concat()));
    }
    seen.len()
}

fn refusal(of: &Request, code: ErrorCode) -> Response {
    match of {
        Request::InitProducerId(_) => {
            InitProducerIdResponse { error_code: code, ..Default::default() }.into()
        }
        Request::EndTxn(_) => EndTxnResponse { error_code: code, ..Default::default() }.into(),
        _ => {
            let result = AddPartitionsToTxnPartitionResult { partition_index: 0, partition_error_code: code };
            let topic = AddPartitionsToTxnTopicResult {
                name: "orders".to_owned(),
                results_by_partition: vec![result],
            };
            AddPartitionsToTxnResponse { results_by_topic_v3_and_below: vec![topic], ..Default::default() }
                .into()
        }
    }
}

#[test]
fn k8_in_every_schedule_what_is_told_of_a_transaction_is_so_where_epochs_are_kept() {
    let states = explore(Protocol::Announced);
    println!("{states} states");
    assert!(states > 1000, "{states}: the faults do not strike");
}

#[test]
fn k8_in_every_schedule_what_is_told_of_a_transaction_is_so_where_each_has_its_epoch() {
    let states = explore(Protocol::EpochPerTransaction);
    println!("{states} states");
    assert!(states > 1000, "{states}: the faults do not strike");
}
