//! Random histories: commands, responses in any order, errors and losses; then the faults stop.
//!
//! Always true: a partition starts only at the committed offset, or where the application or the policy
//! decides. The policy applies only after a response that permits it. Nothing is committed that was not
//! finished or requested, nor after its assignment, nor twice at a time. In the end all lookups are complete,
//! and every commit has one outcome.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use offtake_machine::{BrokerId, CallError, Position, Token, TopicPartition, Transmit};
use offtake_offsets::{Commit, CommitId, Event, ResetPolicy, StartAt};
use offtake_wire::{ErrorCode, Request, Response};
use proptest::{collection::vec, prelude::*};

use crate::{
    brokers::{Brokers, refusal},
    support::*,
};

#[derive(Clone, Debug)]
enum Step {
    Assign(i32, StartAt),
    Unassign(i32),
    Seek(i32, StartAt),
    Finish(i32, i64),
    CommitFinished,
    CommitThese(i32, i64),
    GiveBack {
        partition: i32,
        ahead: i64,
        validate: bool,
    },
    /// The true response.
    Answer(usize, u8),
    /// The request is executed, but the response is lost.
    Lose(usize),
    Refuse(usize, ErrorCode),
    LeaveOut(usize),
    /// No response at all.
    Forget(usize),
    Advance(u64),
    /// Another generation, or none.
    Identity(bool),
    Coordinator(Option<i32>),
    /// A new leader, which the client does not know yet; and the log may be truncated.
    Elect(i32, bool),
    Refresh,
}

fn start_at() -> impl Strategy<Value = StartAt> {
    let place =
        prop_oneof![Just(StartAt::Policy), Just(StartAt::Earliest), (0..200i64).prop_map(StartAt::offset),];
    prop_oneof![
        6 => Just(StartAt::Committed),
        1 => Just(StartAt::committed_or(StartAt::Earliest)),
        1 => place.prop_map(StartAt::committed_or),
        1 => Just(StartAt::Policy),
        1 => Just(StartAt::Earliest),
        1 => Just(StartAt::Latest),
        1 => (0..200i64).prop_map(StartAt::Timestamp),
        1 => (0..300u64).prop_map(StartAt::BeforeEnd),
        2 => (0..200i64).prop_map(|offset| StartAt::Offset(Position::at(offset))),
        1 => (0..200i64, 0..8i32).prop_map(|(offset, epoch)| StartAt::Offset(at(offset, epoch))),
    ]
}

/// The offset that the start names, with or without a committed one.
fn offset_of(start: &StartAt) -> Option<Position> {
    match start {
        StartAt::Offset(position) => Some(*position),
        StartAt::CommittedOr(otherwise) => offset_of(otherwise),
        _ => None,
    }
}

fn step() -> impl Strategy<Value = Step> {
    let p = 0..4i32;
    let i = any::<usize>();
    let code =
        proptest::sample::select(ErrorCode::ALL.to_vec()).prop_filter("an error", |code| !code.is_ok());
    let near = prop_oneof![
        Just(ErrorCode::NotCoordinator),
        Just(ErrorCode::CoordinatorLoadInProgress),
        Just(ErrorCode::RebalanceInProgress),
        Just(ErrorCode::IllegalGeneration),
        Just(ErrorCode::UnstableOffsetCommit),
        Just(ErrorCode::NotLeaderOrFollower),
        Just(ErrorCode::StaleMemberEpoch),
        code,
    ];
    prop_oneof![
        6 => (p.clone(), start_at()).prop_map(|(p, at)| Step::Assign(p, at)),
        2 => p.clone().prop_map(Step::Unassign),
        2 => (p.clone(), start_at()).prop_map(|(p, at)| Step::Seek(p, at)),
        8 => (p.clone(), 0..30i64).prop_map(|(p, n)| Step::Finish(p, n)),
        3 => Just(Step::CommitFinished),
        2 => (p.clone(), 0..200i64).prop_map(|(p, n)| Step::CommitThese(p, n)),
        4 => (p.clone(), 0..50i64, any::<bool>())
            .prop_map(|(partition, ahead, validate)| Step::GiveBack { partition, ahead, validate }),
        16 => (i, any::<u8>()).prop_map(|(i, v)| Step::Answer(i, v)),
        2 => i.prop_map(Step::Lose),
        4 => (i, near).prop_map(|(i, code)| Step::Refuse(i, code)),
        1 => i.prop_map(Step::LeaveOut),
        1 => i.prop_map(Step::Forget),
        6 => (0..3000u64).prop_map(Step::Advance),
        2 => any::<bool>().prop_map(Step::Identity),
        1 => proptest::option::of(1..4i32).prop_map(Step::Coordinator),
        2 => (p, any::<bool>()).prop_map(|(p, cut)| Step::Elect(p, cut)),
        3 => Just(Step::Refresh),
    ]
}

/// One assignment, and what it permits.
#[derive(Default)]
struct Claim {
    /// Where it may start: at an offset that was answered, requested or returned.
    places: BTreeSet<i64>,
    /// A response or the application permits the policy.
    policy: bool,
    /// The offsets that may be committed.
    done: BTreeSet<i64>,
    /// A commit may be below the committed offset.
    rewound: bool,
    position: Option<i64>,
}

struct History {
    sim: Sim,
    brokers: Brokers,
    claims: BTreeMap<TopicPartition, Claim>,
    outstanding: Vec<Transmit>,
    /// Commits in flight, as far as the machine can know.
    on_wire: BTreeMap<TopicPartition, (offtake_machine::CallId, Instant)>,
    commits: BTreeMap<CommitId, bool>,
}

impl History {
    fn new(reset: ResetPolicy, auto: bool) -> Self {
        let mut sim = Sim::new(|c| c.reset = reset);
        if auto {
            sim.commit_every(Duration::from_secs(5));
        }
        Self {
            sim,
            brokers: Brokers::new(),
            claims: BTreeMap::new(),
            outstanding: vec![],
            on_wire: BTreeMap::new(),
            commits: BTreeMap::new(),
        }
    }

    fn claim(&mut self, of: &TopicPartition) -> &mut Claim {
        self.claims.entry(of.clone()).or_default()
    }

    fn token(&self, of: &TopicPartition) -> Option<Token> {
        self.sim.offsets.token_of(of)
    }

    /// A start that the application chooses.
    fn aims(&mut self, of: &TopicPartition, start: &StartAt) {
        let claim = self.claim(of);
        claim.rewound = true;
        claim.places.clear();
        claim.position = None;
        claim.policy = matches!(start, StartAt::Policy);
        if let Some(position) = offset_of(start) {
            claim.places.insert(position.offset);
        }
        if let StartAt::BeforeEnd(back) = start {
            // The end may have moved by then.
            let ends = (0..=400i64).map(|end| end.saturating_sub(*back as i64));
            claim.places.extend(ends.filter(|offset| *offset >= 0));
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Assign(p, start) => {
                let of = orders(p);
                if self.token(&of).is_none() {
                    self.claims.remove(&of);
                    self.aims(&of, &start);
                }
                self.sim.assign([(of, start)]);
            }
            Step::Unassign(p) => self.sim.offsets.unassign([&orders(p)]),
            Step::Seek(p, start) => {
                let of = orders(p);
                if self.token(&of).is_some() {
                    self.aims(&of, &start);
                    if let StartAt::Offset(position) = start {
                        // Records beyond it are no longer finished, whatever the leader answers.
                        self.claim(&of).done.insert(position.offset);
                    }
                    self.sim.offsets.seek(self.sim.now, &of, start).unwrap();
                }
            }
            Step::Finish(p, further) => {
                let of = orders(p);
                let (Some(token), Some(from)) = (self.token(&of), self.claim(&of).position) else { return };
                let next = from + further;
                let claim = self.claim(&of);
                claim.position = Some(next);
                claim.done.insert(next);
                let epoch = self.brokers.logs[&of].epoch_at(next);
                self.sim.offsets.mark_finished(&of, token, at(next, epoch)).unwrap();
            }
            Step::CommitFinished => {
                let id = self.sim.offsets.commit(self.sim.now, Commit::Finished, self.sim.deadline());
                self.commits.insert(id, false);
            }
            Step::CommitThese(p, offset) => {
                let of = orders(p);
                let token = self.token(&of).unwrap_or(Token { assignment: 0, seek: 0 });
                if self.token(&of).is_some() {
                    let claim = self.claim(&of);
                    claim.done.insert(offset);
                    claim.rewound = true;
                }
                let these = vec![(of, token, Position::at(offset).into())];
                let id = self.sim.offsets.commit(self.sim.now, Commit::Offsets(these), self.sim.deadline());
                self.commits.insert(id, false);
            }
            Step::GiveBack { partition, ahead, validate } => {
                let of = orders(partition);
                let Some(token) = self.token(&of) else { return };
                let Some(from) = self.claim(&of).position.filter(|_| !self.sim.offsets.is_resolving(&of))
                else {
                    return;
                };
                let offset = from + ahead;
                let position = at(offset, self.brokers.logs[&of].epoch_at(offset));
                if validate {
                    self.claim(&of).places.insert(offset);
                    self.sim.offsets.validate(self.sim.now, &of, token, position);
                } else {
                    self.claim(&of).policy = true;
                    self.sim.offsets.on_out_of_range(self.sim.now, &of, token, position);
                }
            }
            Step::Answer(i, version) => {
                if let Some(transmit) = self.take(i) {
                    let (version, response) = self.brokers.truth(&transmit, version);
                    self.learn(&transmit, &response);
                    self.sim.answer(&transmit, version, response);
                }
            }
            Step::Lose(i) => {
                if let Some(transmit) = self.take(i) {
                    self.brokers.truth(&transmit, 0);
                    self.sim.fail(&transmit, disconnected());
                }
            }
            Step::Refuse(i, code) => {
                if let Some(transmit) = self.take(i) {
                    let response = refusal(&transmit, code);
                    self.sim.answer(&transmit, 9, response);
                    if matches!(code, ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable) {
                        self.sim.coordinator = Some(COORDINATOR);
                    }
                }
            }
            Step::LeaveOut(i) => {
                if let Some(transmit) = self.take(i) {
                    let response: Response = match &transmit.request {
                        Request::OffsetFetch(_) => fetched([]).into(),
                        Request::OffsetCommit(_) => commits([]).into(),
                        Request::ListOffsets(_) => listed([]).into(),
                        _ => offtake_wire::OffsetForLeaderEpochResponse::default().into(),
                    };
                    self.sim.answer(&transmit, 9, response);
                }
            }
            Step::Forget(i) => {
                self.take(i);
            }
            Step::Advance(ms) => self.sim.advance(Duration::from_millis(ms)),
            Step::Identity(known) => {
                self.brokers.generation += 1;
                self.sim.offsets.set_identity(known.then(|| member(self.brokers.generation)));
            }
            Step::Coordinator(broker) => self.sim.coordinator = broker.map(BrokerId),
            Step::Elect(p, cut) => {
                self.brokers.elect(&orders(p), cut);
            }
            Step::Refresh => self.refresh(),
        }
    }

    fn refresh(&mut self) {
        for (of, log) in &self.brokers.logs {
            let topic = self.sim.cluster.topics.get_mut(of.topic.as_str()).unwrap();
            let info = topic.partitions.get_mut(&of.partition).unwrap();
            info.leader = Some(BrokerId(log.leader));
            info.epoch = Some(log.epoch());
        }
        self.sim.offsets.handle_cluster(self.sim.now, &self.sim.cluster);
    }

    fn take(&mut self, i: usize) -> Option<Transmit> {
        if self.outstanding.is_empty() {
            return None;
        }
        let transmit = self.outstanding.remove(i % self.outstanding.len());
        Some(transmit)
    }

    /// Notes what a response permits.
    fn learn(&mut self, transmit: &Transmit, response: &Response) {
        match (&transmit.request, response) {
            (Request::OffsetFetch(_), _) => {
                for of in fetch_names(transmit) {
                    match self.brokers.logs[&of].committed {
                        Some((offset, _)) => {
                            self.claim(&of).places.insert(offset);
                        }
                        None => self.claim(&of).policy = true,
                    }
                }
            }
            (_, Response::ListOffsets(response)) => {
                for topic in &response.topics {
                    for p in topic.partitions.iter().filter(|p| p.error_code.is_ok() && p.offset >= 0) {
                        self.claim(&orders(p.partition_index)).places.insert(p.offset);
                    }
                }
            }
            (_, Response::OffsetForLeaderEpoch(response)) => {
                for topic in &response.topics {
                    for p in topic.partitions.iter().filter(|p| p.error_code.is_ok()) {
                        let claim = self.claim(&orders(p.partition));
                        if p.end_offset >= 0 {
                            claim.places.insert(p.end_offset);
                        } else {
                            claim.policy = true;
                        }
                    }
                }
            }
            _ => {}
        }
    }

    /// Checks all events and requests.
    fn drain(&mut self) -> Result<(), TestCaseError> {
        loop {
            let transmits = self.sim.transmits();
            let events = self.sim.events();
            if transmits.is_empty() && events.is_empty() {
                return Ok(());
            }
            for transmit in transmits {
                self.check_transmit(&transmit)?;
                self.outstanding.push(transmit);
            }
            for event in events {
                self.check_event(event)?;
            }
        }
    }

    fn check_transmit(&mut self, transmit: &Transmit) -> Result<(), TestCaseError> {
        let Request::OffsetCommit(request) = &transmit.request else { return Ok(()) };
        prop_assert_eq!(
            request.generation_id_or_member_epoch,
            self.brokers.generation,
            "SAFE7: as who we are"
        );
        for (of, offset, _) in commit_offsets(transmit) {
            prop_assert!(self.token(&of).is_some(), "H2: {of} is not ours");
            let busy = self.on_wire.get(&of).filter(|(_, until)| *until > self.sim.now);
            prop_assert!(busy.is_none(), "H1: two commits of {of} at a time");
            self.on_wire.insert(of.clone(), (transmit.id, self.sim.now + Duration::from_secs(60)));
            let had = self.brokers.logs[&of].committed;
            let claim = self.claim(&of);
            prop_assert!(claim.done.contains(&offset), "H3: {of} {offset} is not among {:?}", claim.done);
            let back = had.is_some_and(|(had, _)| offset < had);
            prop_assert!(!back || claim.rewound, "SAFE8: {of} back from {had:?} to {offset}");
        }
        Ok(())
    }

    fn check_event(&mut self, event: Event) -> Result<(), TestCaseError> {
        match event {
            Event::Start { partition, token, position } => {
                prop_assert_eq!(Some(token), self.token(&partition), "a stale start");
                prop_assert!(position.offset >= 0, "SAFE13");
                let claim = self.claim(&partition);
                let known = claim.places.contains(&position.offset);
                prop_assert!(known, "SAFE4: {partition} at {position:?}, not among {:?}", claim.places);
                claim.position = Some(position.offset);
                claim.done.insert(position.offset);
            }
            Event::Reset { partition, from, to, .. } => {
                let claim = self.claim(&partition);
                prop_assert!(
                    claim.policy,
                    "L2: nothing allowed a reset of {partition} from {from:?} to {to}"
                );
                claim.rewound |= from.is_none_or(|from| to < from);
            }
            Event::Truncated { partition, from, to, .. } => {
                prop_assert!(to.is_some_and(|to| to < from), "{from} {to:?}");
                self.claim(&partition).rewound = true;
            }
            Event::CommitDone { id, .. } => {
                // A failed automatic commit has an id that was not returned before.
                if let Some(done) = self.commits.get_mut(&id) {
                    prop_assert!(!std::mem::replace(done, true), "{id:?} is over twice");
                }
            }
            Event::Withdraw(id) => {
                // Half of the calls have not been written yet.
                let written = |transmit: &Transmit| transmit.id != id || id.0 % 2 == 0;
                if let Some(at) = self.outstanding.iter().position(|transmit| !written(transmit)) {
                    let transmit = self.outstanding.remove(at);
                    prop_assert!(matches!(transmit.request, Request::OffsetCommit(_)), "{transmit:?}");
                    self.on_wire.retain(|_, (on_wire, _)| *on_wire != id);
                    self.sim.fail(&transmit, CallError::Withdrawn);
                }
            }
            Event::LogGone { .. }
            | Event::NewLog { .. }
            | Event::PartitionFailed { .. }
            | Event::RefreshMetadata
            | Event::CoordinatorLost(_)
            | Event::MembershipRefused { .. }
            | Event::Committed { .. }
            | Event::QueryDone { .. } => {}
        }
        Ok(())
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        let before = self.outstanding.clone();
        let forgets = matches!(step, Step::Forget(_));
        self.run(step);
        // An answered or lost call is no longer in flight. One without an answer is, until it is given up.
        for gone in before {
            if !forgets && !self.outstanding.iter().any(|transmit| transmit.id == gone.id) {
                self.on_wire.retain(|_, (id, _)| *id != gone.id);
            }
        }
        self.drain()
    }

    /// No more faults.
    fn heal(&mut self) -> Result<(), TestCaseError> {
        self.brokers.generation += 1;
        self.sim.coordinator = Some(COORDINATOR);
        self.sim.offsets.set_identity(Some(member(self.brokers.generation)));
        self.refresh();
        self.drain()?;
        let begun = self.sim.now;
        for _ in 0..2000 {
            while let Some(transmit) = self.take(0) {
                let (version, response) = self.brokers.truth(&transmit, 2);
                self.learn(&transmit, &response);
                self.on_wire.retain(|_, (id, _)| *id != transmit.id);
                self.sim.answer(&transmit, version, response);
                self.drain()?;
            }
            let waiting = (0..4).any(|p| self.sim.offsets.is_resolving(&orders(p)));
            if !waiting && self.commits.values().all(|done| *done) {
                return Ok(());
            }
            self.sim.wake();
            self.drain()?;
            // A call without an answer is given up after two minutes at most, and then repeated.
            prop_assert!(
                self.sim.now - begun < Duration::from_secs(150),
                "LIVE2: stuck: {:?}",
                self.sim.offsets
            );
        }
        prop_assert!(false, "SAFE15: does not come to rest");
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn safe4_safe7_safe8_safe13_l2_h1_h2_whatever_happens(
        reset in prop_oneof![Just(ResetPolicy::Earliest), Just(ResetPolicy::Latest), Just(ResetPolicy::None)],
        auto in any::<bool>(),
        steps in vec(step(), 0..120),
    ) {
        let mut history = History::new(reset, auto);
        for step in steps {
            history.step(step)?;
        }
        history.heal()?;
    }
}
