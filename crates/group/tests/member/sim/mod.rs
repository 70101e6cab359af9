//! A simulation: several members, one coordinator, an unreliable network, virtual time, one seed.
//!
//! After every step the invariants of the catalogue are checked: SAFE5 (one owner in a generation), SAFE6 (nothing is handed
//! out by two members at once), SAFE7 (no identity to commit with when nothing may be committed), SAFE9 (the callback grammar)
//! and SAFE15 (no hot loop).

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's support: not every test needs all of it"
)]

pub mod coordinator;
pub mod modern;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use coordinator::{Caller, Coordinator, Millis};
use offtake_group::{
    BuiltIn as Assignor, Config, Event, GroupError, GroupMembership, Member, Protocol, RevocationId,
};
use offtake_machine::{
    Answer, BackoffConfig, BrokerId, CallError, CallId, Cluster, PartitionInfo, SplitMix64, Topic, TopicInfo,
    TopicPartition,
};
use offtake_wire::{
    ApiKey, ErrorCode, JoinGroupRequest, Request, Response, Uuid,
    messages::describe_configs::{
        DescribeConfigsResourceResult, DescribeConfigsResponse, DescribeConfigsResult, GROUP,
    },
};

pub struct Random(SplitMix64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(SplitMix64::new(seed))
    }

    /// A number below `count`.
    pub fn below(&mut self, count: u64) -> u64 {
        self.0.next_u64() % count.max(1)
    }

    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What an application observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saw {
    Assigned { added: Vec<TopicPartition>, owned: Vec<TopicPartition>, generation: i32 },
    Revoked(Vec<TopicPartition>),
    Lost(Vec<TopicPartition>),
    Warned,
    Exceeded,
    Left,
    Failed(GroupError),
    Trouble,
    Recovered,
}

/// One process.
pub struct Process {
    /// The instance id, if it has one. A new process may replace it under the same one.
    name: String,
    pub member: Member,
    pub cluster: Arc<Cluster>,
    pub saw: Vec<(Millis, Saw)>,
    /// The partitions that it owns, according to its callbacks.
    pub has: BTreeSet<TopicPartition>,
    /// The partitions that a callback is revoking.
    going: BTreeSet<TopicPartition>,
    callback_until: Option<Millis>,
    /// The id that the running callback confirms.
    releasing: Option<RevocationId>,
    pub callback_takes: Millis,
    /// The time between polls; `None` if it has stopped polling.
    pub polls_every: Option<Millis>,
    next_poll: Millis,
    /// Paused until then, as by SIGSTOP.
    stopped_until: Millis,
    pub dead: bool,
    /// The last answer came from a coordinator that had not loaded the group. A member cannot see that, so it may hand out what
    /// another member was assigned. This is the only exception to SAFE6.
    deceived: bool,
    coordinator: Option<BrokerId>,
    found_at: Option<Millis>,
}

struct Call {
    process: usize,
    id: CallId,
    api: ApiKey,
    version: i16,
}

enum Parcel {
    Request(Caller, Request),
    Answer(Caller, Result<Response, bool>),
}

pub struct Sim {
    base: Instant,
    pub now: Millis,
    pub random: Random,
    pub processes: Vec<Process>,
    pub coordinator: Coordinator,
    pub broker: i32,
    /// The session timeout of the group in DescribeConfigs.
    pub described_session: Option<Millis>,
    topics: BTreeMap<Topic, i32>,
    mail: BTreeMap<(Millis, u64), Parcel>,
    calls: BTreeMap<Caller, Call>,
    serial: u64,
    pub delay: Millis,
    pub jitter: Millis,
    /// A percentage.
    pub loses_requests: u64,
    pub loses_answers: u64,
    pub repeats_answers: u64,
    /// All messages are lost, without an error.
    pub cut: BTreeSet<usize>,
    /// The next answers to an API, instead of the coordinator's.
    pub instead: Vec<(ApiKey, Response)>,
    owners: BTreeMap<(i32, TopicPartition), String>,
    /// The configuration of processes without their own.
    pub template: Config,
    pub requests: Vec<(Millis, usize, ApiKey)>,
    pub joins: Vec<(usize, JoinGroupRequest)>,
    stepped: Millis,
    steps: u32,
}

impl Sim {
    pub fn seeded(seed: u64) -> Self {
        #[expect(clippy::disallowed_methods, reason = "an origin for virtual time; only differences count")]
        let base = Instant::now();
        let template = Config {
            session_timeout: Duration::from_secs(10),
            heartbeat_interval: Duration::from_secs(3),
            rebalance_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(5),
            backoff: BackoffConfig { base: Duration::from_millis(100), max: Duration::from_secs(1) },
            ..Config::new("group")
        };
        Self {
            base,
            now: 0,
            random: Random::new(seed),
            processes: Vec::new(),
            coordinator: Coordinator::new(),
            broker: 1,
            described_session: None,
            topics: BTreeMap::new(),
            mail: BTreeMap::new(),
            calls: BTreeMap::new(),
            serial: 0,
            delay: 5,
            jitter: 0,
            loses_requests: 0,
            loses_answers: 0,
            repeats_answers: 0,
            cut: BTreeSet::new(),
            instead: Vec::new(),
            owners: BTreeMap::new(),
            template,
            requests: Vec::new(),
            joins: Vec::new(),
            stepped: 0,
            steps: 0,
        }
    }

    pub fn with_topic(mut self, topic: &str, partitions: i32) -> Self {
        self.topics.insert(topic.into(), partitions);
        self
    }

    pub fn with_session(mut self, session: Duration) -> Self {
        self.template.session_timeout = session;
        self
    }

    pub fn with(mut self, assignors: &[Assignor]) -> Self {
        self.template.assignors = assignors.iter().map(|assignor| (*assignor).into()).collect();
        self
    }

    /// All members use the consumer protocol.
    pub fn modern(mut self) -> Self {
        self.template.protocol = Protocol::Consumer { remote_assignor: None };
        self.coordinator.modern.interval = 3_000;
        self
    }

    fn is_modern(&self) -> bool {
        self.template.protocol != Protocol::Classic
    }

    /// Gives the broker the current topics and session timeouts.
    fn update_broker(&mut self) {
        self.coordinator.modern.session = self.session();
        let topics = self.topics.iter().map(|(t, n)| (t.as_str().to_owned(), (topic_id(t), *n))).collect();
        self.coordinator.modern.set_topics(topics);
    }

    pub fn at(&self, millis: Millis) -> Instant {
        self.base + Duration::from_millis(millis)
    }

    fn millis(&self, at: Instant) -> Millis {
        // Rounded up, so that no member is woken too early.
        u64::try_from((at - self.base).as_nanos().div_ceil(1_000_000)).unwrap()
    }

    pub fn session(&self) -> Millis {
        u64::try_from(self.template.session_timeout.as_millis()).unwrap()
    }

    pub fn rebalance(&self) -> Millis {
        u64::try_from(self.template.rebalance_timeout.as_millis()).unwrap()
    }

    pub fn cluster(&self) -> Cluster {
        let info = |topic: &Topic, count: i32| TopicInfo {
            id: topic_id(topic),
            error: ErrorCode::None,
            internal: false,
            partitions: (0..count).map(|p| (p, PartitionInfo::new(Some(BrokerId(1)), None))).collect(),
        };
        Cluster {
            topics: self.topics.iter().map(|(t, n)| (t.clone(), info(t, *n))).collect(),
            ..Cluster::default()
        }
    }

    // ── steps of a test ─────────────────────────────────────────────────────────────────────────────────────────────

    /// A process that subscribes to all topics.
    pub fn join(&mut self) -> usize {
        let topics: Vec<Topic> = self.topics.keys().cloned().collect();
        let config = self.template.clone();
        self.start(config, topics)
    }

    pub fn join_static(&mut self, instance: &str) -> usize {
        let topics: Vec<Topic> = self.topics.keys().cloned().collect();
        let config = Config { instance_id: Some(instance.into()), ..self.template.clone() };
        self.start(config, topics)
    }

    pub fn start(&mut self, config: Config, topics: Vec<Topic>) -> usize {
        self.update_broker();
        let seed = self.random.below(u64::MAX);
        let name = config.instance_id.clone().unwrap_or_else(|| format!("#{}", self.processes.len()));
        let mut member = Member::new(Config { seed, ..config }).unwrap();
        member.subscribe(self.at(self.now), topics.into_iter().collect());
        self.processes.push(Process {
            name,
            member,
            cluster: Arc::new(self.cluster()),
            saw: Vec::new(),
            has: BTreeSet::new(),
            going: BTreeSet::new(),
            callback_until: None,
            releasing: None,
            callback_takes: 0,
            polls_every: Some(500),
            next_poll: self.now,
            stopped_until: 0,
            dead: false,
            deceived: false,
            coordinator: None,
            found_at: None,
        });
        self.processes.len() - 1
    }

    pub fn subscribe(&mut self, who: usize, topics: &[&str]) {
        let now = self.at(self.now);
        self.processes[who].member.subscribe(now, topics.iter().map(|t| Topic::from(*t)).collect());
        self.step();
    }

    /// All living members subscribe to all topics.
    pub fn subscribe_all(&mut self) {
        let now = self.at(self.now);
        let topics: BTreeSet<Topic> = self.topics.keys().cloned().collect();
        for process in self.processes.iter_mut().filter(|p| !p.dead) {
            process.member.subscribe(now, topics.clone());
        }
    }

    pub fn leave(&mut self, who: usize) {
        let now = self.at(self.now);
        let process = &mut self.processes[who];
        process.has.clear();
        process.going.clear();
        process.callback_until = None;
        process.member.leave(now, "the story says so", GroupMembership::Default);
        self.step();
    }

    pub fn kill(&mut self, who: usize) {
        self.processes[who].dead = true;
    }

    /// SIGSTOP, and SIGCONT after this time.
    pub fn stop_for(&mut self, who: usize, millis: Millis) {
        self.processes[who].stopped_until = self.now + millis;
    }

    pub fn set_partitions(&mut self, topic: &str, partitions: i32) {
        self.topics.insert(topic.into(), partitions);
        self.update_broker();
        let cluster = Arc::new(self.cluster());
        let now = self.at(self.now);
        for process in self.processes.iter_mut().filter(|p| !p.dead) {
            process.cluster = cluster.clone();
            process.member.handle_cluster(now, &cluster);
        }
        self.step();
    }

    /// The coordinator's broker dies, another takes over.
    pub fn fail_over(&mut self, loading: Millis) {
        let cut = self.coordinator.fail_over(self.now, loading);
        self.broker += 1;
        for caller in cut {
            self.post(1, Parcel::Answer(caller, Err(false)));
        }
    }

    pub fn run(&mut self, millis: Millis) {
        let until = self.now + millis;
        while let Some(next) = self.next_time().filter(|next| *next <= until) {
            self.now = next.max(self.now);
            self.step();
        }
        self.now = until;
        self.step();
    }

    /// Runs, a millisecond at a time, until the condition holds.
    pub fn until(&mut self, what: &str, so: impl Fn(&Self) -> bool) {
        let patience = self.now + 200_000;
        while !so(self) {
            assert!(self.now < patience, "never: {what}; {}", self.states());
            self.run(1);
        }
    }

    /// Runs until all living members own what the coordinator assigned, or the time is up.
    pub fn settle(&mut self) {
        let until = self.now + self.session() + self.rebalance() + 10_000;
        while self.now < until {
            if self.is_settled() {
                return;
            }
            let Some(next) = self.next_time() else { return };
            self.now = next.max(self.now);
            self.step();
        }
        let all: Vec<usize> = (0..self.processes.len()).collect();
        panic!("not settled: {:?}, {}\n{}", self.coordinator.phase(), self.states(), self.history(&all));
    }

    pub fn states(&self) -> String {
        self.processes.iter().map(|p| format!("{} {:?}; ", p.member.state_name(), p.member.owned())).collect()
    }

    /// What happened to these members, for failure messages.
    pub fn history(&self, of: &[usize]) -> String {
        let mut lines: Vec<(Millis, String)> = Vec::new();
        for who in of {
            lines.extend(self.processes[*who].saw.iter().map(|(at, saw)| (*at, format!("#{who} {saw:?}"))));
        }
        lines.extend(
            self.requests
                .iter()
                .filter(|r| of.contains(&r.1))
                .map(|(at, who, api)| (*at, format!("#{who} > {api:?}"))),
        );
        lines.extend(self.coordinator.expelled.iter().map(|(at, id, why)| (*at, format!("{id} out: {why}"))));
        lines.sort_by_key(|(at, _)| *at);
        lines.iter().rev().take(60).rev().map(|(at, line)| format!("{at:>7} {line}\n")).collect()
    }

    pub fn is_settled(&self) -> bool {
        let (classic, modern) = (&self.coordinator, &self.coordinator.modern);
        let generation = if self.is_modern() { modern.epoch() } else { classic.generation() };
        let living: Vec<&Process> =
            self.processes.iter().filter(|p| !p.dead && p.member.state_name() != "outside").collect();
        living.iter().all(|p| p.member.state_name() == "stable" && p.callback_until.is_none())
            && classic.member_ids().len() + modern.member_count() == living.len()
            && (self.is_modern() || classic.phase() == coordinator::Phase::Stable)
            && modern.is_stable()
            && living.iter().all(|p| p.member.identity().is_some_and(|i| i.generation == generation))
            && self.assigned() == self.partitions()
    }

    /// All partitions of all topics.
    pub fn partitions(&self) -> BTreeSet<TopicPartition> {
        self.topics.iter().flat_map(|(t, n)| (0..*n).map(move |p| TopicPartition::new(t, p))).collect()
    }

    pub fn assigned(&self) -> BTreeSet<TopicPartition> {
        self.processes.iter().filter(|p| !p.dead).flat_map(|p| p.has.iter().cloned()).collect()
    }

    pub fn has(&self, who: usize) -> usize {
        self.processes[who].has.len()
    }

    pub fn saw(&self, who: usize) -> Vec<&Saw> {
        self.processes[who].saw.iter().map(|(_, saw)| saw).collect()
    }

    pub fn revoked(&self, who: usize) -> Vec<TopicPartition> {
        let revoked = self
            .saw(who)
            .into_iter()
            .filter_map(|saw| if let Saw::Revoked(p) = saw { Some(p.clone()) } else { None });
        revoked.flatten().collect()
    }

    pub fn lost(&self, who: usize) -> Vec<TopicPartition> {
        let lost = self
            .saw(who)
            .into_iter()
            .filter_map(|saw| if let Saw::Lost(p) = saw { Some(p.clone()) } else { None });
        lost.flatten().collect()
    }

    pub fn failure(&self, who: usize) -> Option<&GroupError> {
        self.processes[who]
            .saw
            .iter()
            .find_map(|(_, saw)| if let Saw::Failed(error) = saw { Some(error) } else { None })
    }

    pub fn count(&self, who: usize, api: ApiKey) -> usize {
        self.requests.iter().filter(|(_, w, a)| *w == who && *a == api).count()
    }

    /// Replaces the coordinator's next answer to `api`.
    pub fn answer_instead(&mut self, api: ApiKey, response: impl Into<Response>) {
        self.instead.push((api, response.into()));
    }

    // ── the machinery ────────────────────────────────────────────────────────────────────────────────────────────────

    fn post(&mut self, after: Millis, parcel: Parcel) {
        self.serial += 1;
        self.mail.insert((self.now + after, self.serial), parcel);
    }

    fn delay(&mut self) -> Millis {
        self.delay + self.random.below(self.jitter + 1)
    }

    fn next_time(&self) -> Option<Millis> {
        let mail = self.mail.first_key_value().map(|((at, _), _)| *at);
        let processes = self.processes.iter().filter(|p| !p.dead).filter_map(|p| {
            let machine = p.member.poll_timeout().map(|at| self.millis(at));
            let poll = p.polls_every.filter(|_| p.callback_until.is_none()).map(|_| p.next_poll);
            let next = [machine, poll, p.callback_until, p.found_at].into_iter().flatten().min()?;
            Some(next.max(p.stopped_until))
        });
        processes.chain(mail).chain(self.coordinator.next_deadline()).min().map(|at| at.max(self.now))
    }

    fn step(&mut self) {
        let now = self.now;
        self.steps = if self.stepped == now { self.steps + 1 } else { 0 };
        self.stepped = now;
        assert!(self.steps < 1_000, "SAFE15: time stands still: {}", self.states());
        self.coordinator.tick(now);
        self.collect();
        while let Some(((at, _), _)) = self.mail.first_key_value() {
            if *at > now {
                break;
            }
            let (key, parcel) = self.mail.pop_first().unwrap();
            match parcel {
                Parcel::Request(caller, request) => {
                    self.coordinator.handle(now, caller, request);
                    self.collect();
                }
                Parcel::Answer(caller, result) => {
                    let Some(call) = self.calls.get(&caller) else { continue };
                    let resumes = self.processes[call.process].stopped_until;
                    if resumes > now {
                        self.mail.insert((resumes, key.1), Parcel::Answer(caller, result));
                        continue;
                    }
                    self.deliver(caller, result);
                }
            }
        }
        for who in 0..self.processes.len() {
            self.drive(who);
        }
        self.check();
    }

    /// Sends the coordinator's answers.
    fn collect(&mut self) {
        for (caller, response) in std::mem::take(&mut self.coordinator.answers) {
            let Some(call) = self.calls.get(&caller) else { continue };
            let (process, api) = (call.process, call.api);
            let replaced =
                self.instead.iter().position(|(of, _)| *of == api).map(|at| self.instead.remove(at).1);
            let response = replaced.unwrap_or(response);
            if self.cut.contains(&process) {
                continue;
            }
            let delay = self.delay();
            if self.random.percent(self.loses_answers) {
                self.post(delay, Parcel::Answer(caller, Err(false)));
            } else {
                if self.random.percent(self.repeats_answers) {
                    self.post(delay + 3, Parcel::Answer(caller, Ok(response.clone())));
                }
                self.post(delay, Parcel::Answer(caller, Ok(response)));
            }
        }
    }

    fn deliver(&mut self, caller: Caller, result: Result<Response, bool>) {
        let now = self.at(self.now);
        let Some(call) = self.calls.get(&caller) else { return };
        let address = "broker:9092".to_owned();
        let answer = match result {
            Ok(response) => {
                Ok(Answer { from: Some(BrokerId(self.broker)), version: call.version, memory: 0, response })
            }
            Err(true) => Err(CallError::TimedOut { address, api: call.api, after: Duration::from_secs(5) }),
            Err(false) => Err(CallError::Disconnected { address, reason: "the simulation".into() }),
        };
        let process = &mut self.processes[call.process];
        if answer.is_ok() {
            process.deceived = self.coordinator.blind.contains(&caller);
        }
        if !process.dead {
            process.member.handle_answer(now, call.id, answer);
        }
    }

    fn drive(&mut self, who: usize) {
        let (now, instant) = (self.now, self.at(self.now));
        let broker = BrokerId(self.broker);
        let process = &mut self.processes[who];
        if process.dead || process.stopped_until > now {
            return;
        }
        if process.found_at.is_some_and(|at| at <= now) {
            process.found_at = None;
            process.coordinator = Some(broker);
        }
        if process.callback_until.is_some_and(|until| until <= now) {
            process.callback_until = None;
            for partition in std::mem::take(&mut process.going) {
                process.has.remove(&partition);
            }
            if process.polls_every.is_some() {
                process.member.on_poll(instant);
            }
            if let Some(id) = process.releasing.take() {
                process.member.revocation_done(instant, id);
            }
        }
        if let Some(every) =
            process.polls_every.filter(|_| process.callback_until.is_none() && process.next_poll <= now)
        {
            process.next_poll = now + every;
            process.member.on_poll(instant);
        }
        process.member.handle_timeout(instant);
        loop {
            let process = &mut self.processes[who];
            let mut quiet = true;
            if process.callback_until.is_none()
                && let Some(event) = process.member.poll_event()
            {
                quiet = false;
                self.act(who, event);
            }
            let process = &mut self.processes[who];
            if process.member.wants_coordinator()
                && process.coordinator.is_none()
                && process.found_at.is_none()
            {
                process.found_at = Some(now + 10);
            }
            let cluster = Arc::clone(&process.cluster);
            if let Some(transmit) = process.member.poll_transmit(instant, process.coordinator, &cluster) {
                quiet = false;
                self.send(who, transmit);
            }
            if quiet {
                return;
            }
        }
    }

    fn send(&mut self, who: usize, transmit: offtake_machine::Transmit) {
        if let Request::DescribeConfigs(_) = transmit.request {
            return self.describe(who, transmit.id);
        }
        self.serial += 1;
        let caller = self.serial;
        let api = transmit.request.api_key();
        self.requests.push((self.now, who, api));
        if let Request::JoinGroup(join) = &transmit.request {
            self.joins.push((who, join.clone()));
        }
        let version = api.versions().max;
        self.calls.insert(caller, Call { process: who, id: transmit.id, api, version });
        let timeout = u64::try_from(transmit.timeout.as_millis()).unwrap();
        self.post(timeout, Parcel::Answer(caller, Err(true)));
        if self.cut.contains(&who) {
            return;
        }
        let delay = self.delay();
        if transmit.to != offtake_machine::Target::Broker(BrokerId(self.broker))
            || self.random.percent(self.loses_requests)
        {
            self.post(delay, Parcel::Answer(caller, Err(false)));
        } else {
            self.post(delay, Parcel::Request(caller, transmit.request));
        }
    }

    /// Answers DescribeConfigs, if the test has a session timeout for it.
    fn describe(&mut self, who: usize, id: CallId) {
        let value = self.described_session.map(|millis| DescribeConfigsResourceResult {
            name: "consumer.session.timeout.ms".to_owned(),
            value: Some(millis.to_string()),
            ..Default::default()
        });
        let result = DescribeConfigsResult {
            resource_type: GROUP,
            resource_name: "group".to_owned(),
            configs: value.into_iter().collect(),
            ..Default::default()
        };
        let response = DescribeConfigsResponse { results: vec![result], ..Default::default() };
        let answer = Answer { from: Some(BrokerId(1)), version: 4, memory: 0, response: response.into() };
        let now = self.at(self.now);
        self.processes[who].member.handle_answer(now, id, Ok(answer));
    }

    fn act(&mut self, who: usize, event: Event) {
        let now = self.now;
        let process = &mut self.processes[who];
        let mut note = |saw| process.saw.push((now, saw));
        match event {
            Event::Assigned { added, owned, generation } => {
                for partition in &added {
                    assert!(
                        process.has.insert(partition.clone()),
                        "SAFE9: {partition} assigned twice to {who}"
                    );
                }
                let remains: BTreeSet<_> = process.has.difference(&process.going).cloned().collect();
                assert_eq!(
                    remains,
                    owned.iter().cloned().collect(),
                    "SAFE9: {who} has what it was told it has"
                );
                for partition in &owned {
                    let owner =
                        self.owners.entry((generation, partition.clone())).or_insert(process.name.clone());
                    assert_eq!(
                        *owner, process.name,
                        "SAFE5: {partition} has two owners in generation {generation}"
                    );
                }
                process.saw.push((now, Saw::Assigned { added, owned, generation }));
            }
            Event::Revoke { partitions, .. } | Event::Lost { partitions, .. } if partitions.is_empty() => {
                panic!("nothing to let go of");
            }
            Event::Revoke { id, partitions, .. } => {
                note(Saw::Revoked(partitions.clone()));
                self.start_callback(who, id, partitions);
            }
            Event::Lost { id, partitions, .. } => {
                note(Saw::Lost(partitions.clone()));
                self.start_callback(who, id, partitions);
            }
            Event::CoordinatorLost(broker) => {
                if process.coordinator == Some(broker) {
                    process.coordinator = None;
                }
            }
            Event::PollIntervalWarning { .. } => note(Saw::Warned),
            Event::PollIntervalExceeded => note(Saw::Exceeded),
            Event::Left => note(Saw::Left),
            Event::Failed(error) => note(Saw::Failed(error)),
            Event::CoordinatorFailing(_) => note(Saw::Trouble),
            Event::CoordinatorRecovered => note(Saw::Recovered),
            // All that is sent is on its way at once.
            Event::Withdraw(_) => {}
        }
    }

    fn start_callback(&mut self, who: usize, id: RevocationId, partitions: Vec<TopicPartition>) {
        let now = self.now;
        let process = &mut self.processes[who];
        for partition in partitions {
            assert!(
                process.has.contains(&partition),
                "SAFE9: {partition} taken from {who}, which does not have it"
            );
            assert!(process.going.insert(partition.clone()), "SAFE9: {partition} taken from {who} twice");
        }
        process.callback_until = Some(now + process.callback_takes);
        process.releasing = Some(id);
    }

    /// The partitions whose records a process may hand out now.
    pub fn hands_out(&self, who: usize) -> Vec<&TopicPartition> {
        let process = &self.processes[who];
        let valid = process.member.valid_until().is_some_and(|until| self.at(self.now) < until);
        if process.dead || process.deceived || process.stopped_until > self.now || !valid {
            return Vec::new();
        }
        // Partitions that the machine has lost may not be handed out, even if the application does not know
        // it yet.
        let kept = process.has.iter().filter(|p| !process.going.contains(*p));
        kept.filter(|p| process.member.owned().contains(*p)).collect()
    }

    fn check(&self) {
        let mut seen: BTreeMap<&TopicPartition, usize> = BTreeMap::new();
        for who in 0..self.processes.len() {
            for partition in self.hands_out(who) {
                if let Some(other) = seen.insert(partition, who)
                    && self.processes[other].name != self.processes[who].name
                {
                    panic!(
                        "SAFE6: {partition} is handed out by {other} and {who} at {}: {}\n{}",
                        self.now,
                        self.states(),
                        self.history(&[other, who])
                    );
                }
            }
            let process = &self.processes[who];
            if let Some(identity) = process.member.identity() {
                assert!(process.member.valid_until().is_some(), "SAFE7: an identity without a membership");
                assert!(!identity.member_id.is_empty(), "G7");
            }
        }
        let (now, requests) = (self.now, &self.requests);
        for who in 0..self.processes.len() {
            let burst = requests
                .iter()
                .rev()
                .take_while(|(at, ..)| at + 10 > now)
                .filter(|(_, w, _)| *w == who)
                .count();
            assert!(burst <= 50, "SAFE15: {who} sent {burst} requests within 10 ms");
        }
    }
}

fn topic_id(topic: &Topic) -> Uuid {
    let mut id = [7; 16];
    id.iter_mut().zip(topic.as_str().bytes()).for_each(|(to, from)| *to = from);
    Uuid(id)
}
