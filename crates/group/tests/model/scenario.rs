//! A scenario: which processes take part, and how often each fault may happen.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use offtake_group::{Config, Member, Protocol};
use offtake_machine::{
    BackoffConfig, BrokerId, Cluster, Identity, PartitionInfo, Topic, TopicInfo, TopicPartition,
};
use offtake_wire::{ErrorCode, Response, Uuid};

use crate::{
    coordinator::{Caller, Coordinator, Millis},
    world::{ProcessState, TICK, World},
};

const TOPIC: &str = "t";
const TOPIC_ID: Uuid = Uuid([7; 16]);
/// Steps of a continuation without faults.
pub const PATIENCE: usize = 600;

/// How much too early the flawed coordinator expires sessions.
pub const EARLY: Millis = 2 * TICK;

/// How often something may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Members that join, leave, crash, are paused or stop polling.
    pub churn: u8,
    /// Connections that break with the message on them.
    pub losses: u8,
    /// Messages that arrive twice.
    pub repeats: u8,
    /// How often the clock moves while a message is in flight.
    pub delays: u8,
    /// Callbacks that take time.
    pub slow: u8,
    pub commits: u8,
}

impl Budget {
    pub fn times(self, times: u8) -> Self {
        Self {
            churn: self.churn.saturating_mul(times),
            losses: self.losses.saturating_mul(times),
            repeats: self.repeats.saturating_mul(times),
            delays: self.delays.saturating_mul(times),
            slow: self.slow.saturating_mul(times),
            commits: self.commits.saturating_mul(times),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Churn {
    Join,
    Leave,
    Crash,
    Pause,
    /// The application stops polling.
    StopPolling,
}

/// A flaw that the invariants have to detect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The coordinator gives all members the assignment of one.
    AssignsTwice,
    /// The coordinator expires sessions too early.
    Impatient,
    /// The coordinator accepts commits from anyone.
    TakesAnyCommit,
    /// The process confirms a revocation before its callback has returned.
    ReleasesAtOnce,
    /// The process gets every event twice.
    TellsTwice,
}

#[derive(Clone)]
pub struct Scenario {
    pub config: Config,
    pub statics: bool,
    pub slots: usize,
    /// This many are stable members at the start.
    pub settled: usize,
    /// This many join at the start.
    pub joining: usize,
    pub partitions: i32,
    pub churn: Vec<Churn>,
    /// Each is a start state of its own; all of its budget may be used.
    pub budgets: Vec<Budget>,
    /// Whether a request may overtake an older one of the same process, or arrive twice. TCP allows neither, so only the
    /// invariants of safety hold then: Kafka's coordinators do not expect it.
    pub reorders: bool,
    pub flaw: Option<Flaw>,
    pub cluster: Arc<Cluster>,
    pub base: Instant,
}

impl Scenario {
    pub fn new(protocol: Protocol) -> Self {
        #[expect(clippy::disallowed_methods, reason = "an origin for virtual time; only differences count")]
        let base = Instant::now();
        // Small numbers, so that times coincide; waits between retries are over with the next tick.
        let config = Config {
            protocol,
            session_timeout: Duration::from_secs(5),
            heartbeat_interval: Duration::from_secs(2),
            rebalance_timeout: Duration::from_secs(6),
            request_timeout: Duration::from_secs(2),
            backoff: BackoffConfig { base: Duration::from_micros(1), max: Duration::from_micros(1) },
            ..Config::new("group")
        };
        let scenario = Self {
            config,
            statics: false,
            slots: 2,
            settled: 2,
            joining: 0,
            partitions: 2,
            churn: Vec::new(),
            budgets: vec![Budget::default()],
            reorders: false,
            flaw: None,
            cluster: Arc::new(Cluster::default()),
            base,
        };
        scenario.with_partitions(2)
    }

    pub fn with_partitions(mut self, partitions: i32) -> Self {
        let info = PartitionInfo::new(Some(BrokerId(1)), None);
        let info = TopicInfo {
            id: TOPIC_ID,
            error: ErrorCode::None,
            internal: false,
            partitions: (0..partitions).map(|p| (p, info.clone())).collect(),
        };
        self.partitions = partitions;
        self.cluster =
            Arc::new(Cluster { topics: [(TOPIC.into(), info)].into_iter().collect(), ..Cluster::default() });
        self
    }

    pub fn is_modern(&self) -> bool {
        self.config.protocol != Protocol::Classic
    }

    pub fn at(&self, millis: Millis) -> Instant {
        self.base + Duration::from_millis(millis)
    }

    /// The tick at which a timer fires.
    pub fn tick_of(&self, at: Instant) -> Millis {
        let millis = at.saturating_duration_since(self.base).as_nanos().div_ceil(1_000_000);
        u64::try_from(millis).unwrap_or(u64::MAX / 4).div_ceil(TICK) * TICK
    }

    pub fn request_timeout(&self) -> Millis {
        millis(self.config.request_timeout)
    }

    pub fn topics(&self) -> BTreeSet<Topic> {
        [TOPIC.into()].into_iter().collect()
    }

    pub fn all_partitions(&self) -> Vec<TopicPartition> {
        (0..self.partitions).map(|p| TopicPartition::new(TOPIC, p)).collect()
    }

    pub fn member(&self, who: usize, incarnation: u64) -> Member {
        let seed = u64::try_from(who).unwrap_or(0) * 1_000 + incarnation;
        let instance_id = self.statics.then(|| format!("instance-{who}"));
        let mut member = Member::new(Config { seed, instance_id, ..self.config.clone() }).unwrap();
        member.handle_cluster(self.base, &self.cluster);
        member
    }

    pub fn coordinator(&self) -> Coordinator {
        let mut coordinator = Coordinator::new();
        let early = if self.flaw == Some(Flaw::Impatient) { EARLY } else { 0 };
        coordinator.modern.session = millis(self.config.session_timeout) - early;
        coordinator.modern.interval = millis(self.config.heartbeat_interval);
        coordinator
            .modern
            .set_topics([(TOPIC.to_owned(), (TOPIC_ID, self.partitions))].into_iter().collect());
        coordinator
    }

    /// The coordinator's answer to a commit.
    pub fn judge(&self, coordinator: &Coordinator, by: &Identity) -> ErrorCode {
        match () {
            () if self.flaw == Some(Flaw::TakesAnyCommit) => ErrorCode::None,
            () if self.is_modern() => coordinator.modern.commit(&by.member_id, by.generation),
            () => coordinator.commit(&by.member_id, by.instance_id.as_ref(), by.generation),
        }
    }

    /// With that flaw: the assignment that all members get.
    pub fn last_assignment(&self, answers: &[(Caller, Response)]) -> Option<Bytes> {
        let assignments = answers.iter().filter_map(|(_, response)| match response {
            Response::SyncGroup(sync) => Some(sync.assignment.clone()),
            _ => None,
        });
        assignments.filter(|_| self.flaw == Some(Flaw::AssignsTwice)).last()
    }

    /// Continues without faults. Returns whether the group converges.
    pub fn converges(&self, from: &World) -> bool {
        self.continued(from).last().is_some_and(|world| world.broken.is_some() || world.is_settled(self))
    }

    /// Continues step by step, until the group has converged, an invariant fails, or the steps run out.
    pub fn continued(&self, from: &World) -> impl Iterator<Item = World> {
        let mut first = from.clone();
        first.left = Budget::default();
        let next = |world: &World| {
            let mut world = world.clone();
            (world.broken.is_none() && !world.is_settled(self))
                .then(|| self.next_without_faults(&mut world))
                .map(|()| world)
        };
        std::iter::successors(Some(first), next).take(PATIENCE)
    }

    /// The next step without a fault.
    pub fn next_without_faults(&self, world: &mut World) {
        let find = |so: &dyn Fn(usize) -> bool| (0..self.slots).find(|who| so(*who));
        if let Some(who) = find(&|who| world.processes[who].life == ProcessState::Paused) {
            world.resume(self, who);
        } else if let Some(who) = find(&|who| !world.processes[who].polls) {
            world.resume_polling(self, who);
        } else if !world.mail.is_empty() {
            world.deliver(self, 0);
        } else if let Some(who) = find(&|who| world.processes[who].callback.is_some()) {
            world.release(self, who);
        } else {
            world.tick(self);
        }
    }
}

pub fn millis(duration: Duration) -> Millis {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 4)
}
