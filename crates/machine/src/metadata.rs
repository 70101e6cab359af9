//! The cluster's metadata: brokers, topics, leaders, kept fresh.
//!
//! Refreshed when asked to, when it is older than `metadata.max.age.ms`, and, with a growing pause, for as long as a topic
//! that is wanted has no leader. What is known only gets better: a leader epoch never goes back, a passing
//! error does not wipe out what we knew, and "no error, no partitions" is not an answer.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use offtake_wire::{ErrorCode, Response, messages::metadata as wire};

use crate::{
    backoff::{Backoff, BackoffConfig},
    call::{Answer, Call, CallError, CallId, CallIds, Target, Transmit},
    clock::after,
    cluster::{Broker, Cluster, TopicInfo},
    names::{BrokerId, Topic, TopicPartition},
};

/// How many refreshes in a row must call a known topic unknown before we believe that it was deleted: a broker that has
/// just started answers so too.
const UNKNOWN_BEFORE_GONE: u32 = 3;

/// Complete metadata is kept for so long at least.
const SHORTEST_AGE: Duration = Duration::from_millis(10);

/// How the metadata is kept.
#[derive(Clone, Debug)]
pub struct MetadataConfig {
    /// `request.timeout.ms`.
    pub request_timeout: Duration,
    /// `metadata.max.age.ms`; not less than `retry.backoff.ms` or 10 ms.
    pub max_age: Duration,
    /// `retry.backoff.ms`, `retry.backoff.max.ms`.
    pub backoff: BackoffConfig,
    /// `allow.auto.create.topics`.
    pub allow_auto_topic_creation: bool,
    /// `metadata.recovery.rebootstrap.trigger.ms`, or `None` for `metadata.recovery.strategy=none` (KIP-899, KIP-1102).
    pub rebootstrap_after: Option<Duration>,
    /// For the jitter of the pauses.
    pub seed: u64,
}

/// The machine.
#[derive(Debug)]
pub struct Metadata {
    config: MetadataConfig,
    interest: Interest,
    cluster: Arc<Cluster>,
    /// Refreshes in a row that called a topic unknown which we knew.
    unknown: BTreeMap<Topic, u32>,
    backoff: Backoff,
    ids: CallIds,
    call: Call,
    /// How many requests have left, and which of them the view comes from.
    asked: u64,
    learnt: u64,
    /// What was asked for while a call is under way.
    next: Next,
    /// Whether the call under way asked for all topics.
    asked_all: bool,
    /// Since when no refresh has succeeded, while one was wanted.
    failing_since: Option<Instant>,
    events: VecDeque<Event>,
}

/// When to ask again after the call under way, as far as that was said meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    /// When its answer is old, or incomplete.
    AsAnswered,
    /// After a pause: somebody saw that the view is stale, perhaps before this call was answered.
    Soon,
    /// At once: something is wanted that the call did not ask for.
    AtOnce,
}

#[derive(Debug, PartialEq)]
enum Interest {
    Topics(BTreeSet<Topic>),
    /// All there are, and whether there are these.
    All {
        named: BTreeSet<Topic>,
    },
}

impl Interest {
    fn is_all(&self) -> bool {
        matches!(self, Self::All { .. })
    }
}

/// What the metadata tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// There is a newer view.
    Updated,
    /// A refresh failed; it goes on trying.
    Failing(CallError),
    /// The brokers we know are of no use: start again from the bootstrap servers.
    Rebootstrap,
}

impl Metadata {
    /// Nothing known, nothing wanted but the brokers themselves.
    pub fn new(now: Instant, config: MetadataConfig) -> Self {
        Self {
            interest: Interest::Topics(BTreeSet::new()),
            cluster: Arc::default(),
            unknown: BTreeMap::new(),
            backoff: Backoff::new(config.backoff, config.seed),
            ids: CallIds::default(),
            call: Call::Due(now),
            asked: 0,
            learnt: 0,
            next: Next::AsAnswered,
            asked_all: false,
            failing_since: None,
            events: VecDeque::new(),
            config,
        }
    }

    /// The newest view.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// How many requests have left. A view that [comes from](Self::learnt) a later one is newer than this moment.
    pub fn asked(&self) -> u64 {
        self.asked
    }

    /// Which request the view comes from, leader hints aside.
    pub fn learnt(&self) -> u64 {
        self.learnt
    }

    /// Keep these topics fresh, and no others.
    pub fn want_topics(&mut self, now: Instant, topics: BTreeSet<Topic>) {
        let news = match &self.interest {
            Interest::Topics(old) => !topics.is_subset(old),
            // What the last listing does not have may be there by now.
            Interest::All { .. } => !topics.iter().all(|topic| self.knows(topic)),
        };
        self.interest = Interest::Topics(topics);
        if news {
            self.refresh_at(now, Next::AtOnce);
        }
    }

    /// Keep all topics of the cluster fresh: somebody subscribes by pattern. Of `named` it is to be known too if they do not
    /// exist.
    pub fn want_all(&mut self, now: Instant, named: BTreeSet<Topic>) {
        let news = match &self.interest {
            Interest::Topics(_) => true,
            Interest::All { named: old } => named.difference(old).any(|topic| !self.knows(topic)),
        };
        self.interest = Interest::All { named };
        if news {
            self.refresh_at(now, Next::AtOnce);
        }
    }

    fn knows(&self, topic: &Topic) -> bool {
        self.cluster.topics.get(topic).is_some_and(is_complete)
    }

    /// Somebody saw that the view is stale. Refreshes soon, though not more often than the pauses allow.
    pub fn refresh(&mut self, now: Instant) {
        let soon = after(now, self.config.backoff.base);
        let wait = match self.call {
            Call::Sent { .. } => Duration::ZERO, // the pause follows the answer
            Call::Due(due) if due <= soon => return,
            Call::Due(_) | Call::Idle => self.backoff.failed(),
        };
        self.refresh_at(after(now, wait), Next::Soon);
    }

    /// Refreshes at once: the application asked.
    pub fn refresh_now(&mut self, now: Instant) {
        self.refresh_at(now, Next::AtOnce);
    }

    fn refresh_at(&mut self, at: Instant, next: Next) {
        match self.call {
            Call::Sent { .. } => self.next = self.next.max(next),
            Call::Due(due) => self.call = Call::Due(due.min(at)),
            Call::Idle => self.call = Call::Due(at),
        }
    }

    /// A broker told who leads now, in its answer to something else (KIP-951). Taken only if the epoch is newer.
    /// True if it was news. Where it is news and cannot be used, because the partition or the leader's address is unknown,
    /// the metadata is refreshed.
    pub fn learn_leader(
        &mut self,
        now: Instant,
        of: &TopicPartition,
        leader: BrokerId,
        epoch: i32,
        at: Option<Broker>,
    ) -> bool {
        let known = self.cluster.partition(of).map(|info| info.epoch);
        if epoch < 0 || known.flatten().is_some_and(|known| known >= epoch) {
            return false;
        }
        if known.is_none() || (at.is_none() && !self.cluster.brokers.contains_key(&leader)) {
            self.refresh(now);
            return false;
        }
        let cluster = Arc::make_mut(&mut self.cluster);
        if let Some(address) = at {
            cluster.brokers.insert(leader, address);
        }
        if let Some(info) =
            cluster.topics.get_mut(&of.topic).and_then(|topic| topic.partitions.get_mut(&of.partition))
        {
            info.leader = Some(leader);
            info.epoch = Some(epoch);
        }
        self.updated();
        true
    }

    /// Told once for all that changed since the last time that it was heard.
    fn updated(&mut self) {
        if !self.events.contains(&Event::Updated) {
            self.events.push_back(Event::Updated);
        }
    }

    /// The answer to Metadata.
    pub fn handle_answer(&mut self, now: Instant, id: CallId, answer: Result<Answer, CallError>) {
        if !self.call.take(id) {
            return;
        }
        match answer {
            Ok(Answer { response: Response::Metadata(response), .. }) => self.learn(now, response),
            Ok(_) => self.failed(now),
            Err(error) => {
                self.events.push_back(Event::Failing(error));
                self.failed(now);
            }
        }
    }

    fn failed(&mut self, now: Instant) {
        self.next = Next::AsAnswered;
        self.call = Call::Due(after(now, self.backoff.failed()));
        let since = *self.failing_since.get_or_insert(now);
        if self.config.rebootstrap_after.is_some_and(|limit| now.saturating_duration_since(since) >= limit) {
            self.failing_since = None;
            self.events.push_back(Event::Rebootstrap);
        }
    }

    fn learn(&mut self, now: Instant, response: wire::MetadataResponse) {
        if response.error_code == ErrorCode::RebootstrapRequired {
            self.call = Call::Due(after(now, self.backoff.failed()));
            self.events.push_back(Event::Rebootstrap);
            return;
        }
        let lists_all = self.asked_all && self.interest.is_all();
        let told = Cluster::read(response, lists_all, &self.cluster);
        if told.brokers.is_empty() {
            // A broker that has just started may know none, not even itself.
            return self.failed(now);
        }
        self.failing_since = None;
        let mut topics = BTreeMap::new();
        let mut complete = true;
        for (name, info) in told.topics {
            let wanted = match &self.interest {
                Interest::All { .. } => true,
                Interest::Topics(wanted) => wanted.contains(&name),
            };
            if wanted {
                complete &= is_complete(&info);
                let info = self.or_still_known(&name, info);
                topics.insert(name, info);
            }
        }
        match &self.interest {
            Interest::Topics(wanted) => complete &= wanted.iter().all(|name| topics.contains_key(name)),
            Interest::All { named } if lists_all => {
                let named = named.clone();
                complete &= self.keep_unlisted(&mut topics);
                for name in named {
                    topics.entry(name).or_insert_with(TopicInfo::unknown);
                }
            }
            Interest::All { .. } => {}
        }
        self.cluster = Arc::new(Cluster { topics, ..told });
        self.learnt = self.asked;
        self.updated();
        let wait = match std::mem::replace(&mut self.next, Next::AsAnswered) {
            Next::AtOnce => Duration::ZERO,
            Next::AsAnswered if complete => {
                self.backoff.worked();
                // `metadata.max.age.ms=0` is no busy loop (FAILURES S15).
                self.config.max_age.max(self.config.backoff.base).max(SHORTEST_AGE)
            }
            Next::AsAnswered | Next::Soon => self.backoff.failed(),
        };
        self.call = Call::Due(after(now, wait));
    }

    /// A full listing may come from a broker that has just started and does not know all topics: those that were known stay
    /// until several listings in a row lack them. Whether nothing had to stay.
    fn keep_unlisted(&mut self, listed: &mut BTreeMap<Topic, TopicInfo>) -> bool {
        let before = Arc::clone(&self.cluster);
        let mut nothing = true;
        for (name, known) in &before.topics {
            if !known.error.is_ok() || listed.contains_key(name) {
                continue;
            }
            let info = self.or_still_known(name, TopicInfo::unknown());
            if info.error.is_ok() {
                nothing = false;
                listed.insert(name.clone(), info);
            } else {
                self.unknown.remove(name);
            }
        }
        nothing
    }

    /// What to believe of a topic that now has an error and had none before.
    fn or_still_known(&mut self, name: &Topic, new: TopicInfo) -> TopicInfo {
        let known = self.cluster.topic(name.as_str());
        match (new.error, known) {
            (ErrorCode::None, _) | (_, None) => {
                self.unknown.remove(name);
                new
            }
            (ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId, Some(known)) => {
                let times = self.unknown.entry(name.clone()).or_default();
                *times = times.saturating_add(1);
                if *times >= UNKNOWN_BEFORE_GONE { new } else { known.clone() }
            }
            (error, Some(known)) if error.is_retriable() => known.clone(),
            (_, Some(_)) => new,
        }
    }

    /// The clock moved.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.call.is_overdue(now) {
            self.failed(now);
        }
    }

    /// What to send.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        let id = self.call.start(now, &mut self.ids, self.config.request_timeout)?;
        self.asked = self.asked.wrapping_add(1);
        self.asked_all = self.interest.is_all();
        let topics = match &self.interest {
            Interest::All { .. } => None,
            Interest::Topics(topics) => Some(
                topics
                    .iter()
                    .map(|name| wire::MetadataRequestTopic {
                        name: Some(name.as_str().to_owned()),
                        ..Default::default()
                    })
                    .collect(),
            ),
        };
        let request = wire::MetadataRequest {
            topics,
            allow_auto_topic_creation: self.config.allow_auto_topic_creation,
            ..Default::default()
        };
        Some(Transmit {
            id,
            to: Target::Any,
            request: request.into(),
            max_version: None,
            timeout: self.config.request_timeout,
        })
    }

    /// When to come back.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.call.deadline()
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}

/// Whether nothing of it can be expected to turn up at the next refresh.
fn is_complete(topic: &TopicInfo) -> bool {
    match topic.error {
        ErrorCode::None => topic.partitions.values().all(|partition| partition.leader.is_some()),
        error => !error.is_retriable(),
    }
}

#[cfg(test)]
mod tests;
