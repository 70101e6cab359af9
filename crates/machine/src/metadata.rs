//! The cluster's metadata: brokers, topics and leaders, kept up to date.
//!
//! It is refreshed on request, when it is older than `metadata.max.age.ms`, and, with growing pauses, while a
//! wanted topic has no leader. A worse response never replaces a better one: a leader epoch never decreases,
//! a retriable error does not remove what is known, and a topic with neither an error nor partitions is
//! ignored. If several consecutive responses agree, they are accepted even so: that a topic is gone, that it
//! has an id again which had been replaced, or, if topics have no ids, that it was created again.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use offtake_wire::{ErrorCode, Response, Uuid, messages::metadata as wire};

use crate::{
    backoff::{Backoff, BackoffConfig},
    call::{Answer, Call, CallError, CallId, CallIds, Target, Transmit},
    clock::after,
    cluster::{Broker, Cluster, TopicInfo},
    names::{BrokerId, Topic, TopicPartition},
};

/// How many consecutive refreshes must report a known topic as unknown before it counts as deleted. A broker
/// that has just started responds like this too.
const LISTINGS_BEFORE_DELETED: u32 = 3;

/// How many consecutive responses must contain older leader epochs of a topic without an id before it counts
/// as created again, or an id that it had before the present one. A broker that lags behind responds like this
/// too, and so does one that is cut off from the controller, for as long as that lasts: so if there are several
/// brokers, the responses must not all be from one.
const OLDER_BEFORE_CREATED_ANEW: u32 = 5;

/// How many ids of one topic are remembered, the present one among them.
const REMEMBERED_IDS: usize = 4;

/// Of how many topics that are gone, or wanted no more, the ids are remembered: a broker that lags behind may still
/// show such an id when the topic has been created again.
const REMEMBERED_TOPICS: usize = 100;

/// The least age at which complete metadata is refreshed.
const SHORTEST_AGE: Duration = Duration::from_millis(10);

/// How often the metadata is refreshed, and what happens if that fails.
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
    /// The seed of the jitter in the pauses.
    pub seed: u64,
}

/// The machine.
#[derive(Debug)]
pub struct Metadata {
    config: MetadataConfig,
    interest: Interest,
    cluster: Arc<Cluster>,
    /// How many consecutive refreshes reported a known topic as unknown.
    unknown: BTreeMap<Topic, u32>,
    /// Topics for which the last responses contained less than is known: older leader epochs of a topic without
    /// an id, or an id from before.
    older: BTreeMap<Topic, OlderState>,
    /// The ids that each topic has had, the last known one last.
    known_ids: BTreeMap<Topic, Vec<Uuid>>,
    /// The broker that sent the last such response: another one is asked next.
    outdated_broker: Option<BrokerId>,
    backoff: Backoff,
    ids: CallIds,
    call: Call,
    /// How many requests were sent, and the number of the one that the view comes from.
    requests_sent: u64,
    view_request: u64,
    /// When to refresh after the outstanding call.
    next: NextRefresh,
    /// What the outstanding call requests: its response says nothing about other topics.
    asked: Interest,
    /// Since when all refreshes have failed.
    failing_since: Option<Instant>,
    events: VecDeque<Event>,
}

/// The evidence that what looks older than the known state is newer.
#[derive(Debug, Default)]
struct OlderState {
    /// The number of consecutive responses; of those with an id from before, the number since few have agreed with
    /// the known state.
    answers: u32,
    /// The brokers that sent them.
    of: BTreeSet<BrokerId>,
    /// The number of responses that agree, and the brokers that sent them.
    agreeing: u32,
    agree: BTreeSet<BrokerId>,
}

impl OlderState {
    fn agrees(&mut self, from: Option<BrokerId>) {
        self.agreeing = self.agreeing.saturating_add(1);
        self.agree.extend(from);
    }
}

/// When to refresh after the outstanding call, as far as that was requested meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum NextRefresh {
    /// When its response is too old, or soon if it is incomplete.
    AsAnswered,
    /// After a pause: the view was found to be stale, perhaps before this call was answered.
    Soon,
    /// At once: a topic is wanted that the call does not request.
    AtOnce,
}

#[derive(Clone, Debug, PartialEq)]
enum Interest {
    Topics(BTreeSet<Topic>),
    /// All topics; and the `named` ones even if they do not exist.
    All {
        named: BTreeSet<Topic>,
    },
}

impl Interest {
    fn is_all(&self) -> bool {
        matches!(self, Self::All { .. })
    }

    fn includes(&self, topic: &Topic) -> bool {
        match self {
            Self::All { .. } => true,
            Self::Topics(topics) => topics.contains(topic),
        }
    }
}

/// A change of the metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// There is a newer view.
    Updated,
    /// A refresh failed. It is repeated.
    RefreshFailed(CallError),
    /// None of the known brokers is usable: start again with the bootstrap servers (KIP-899).
    Rebootstrap,
}

impl Metadata {
    /// A machine that knows nothing, and wants only the brokers.
    pub fn new(now: Instant, config: MetadataConfig) -> Self {
        Self {
            interest: Interest::Topics(BTreeSet::new()),
            cluster: Arc::default(),
            unknown: BTreeMap::new(),
            older: BTreeMap::new(),
            known_ids: BTreeMap::new(),
            outdated_broker: None,
            backoff: Backoff::new(config.backoff, config.seed),
            ids: CallIds::default(),
            call: Call::Due(now),
            requests_sent: 0,
            view_request: 0,
            next: NextRefresh::AsAnswered,
            asked: Interest::Topics(BTreeSet::new()),
            failing_since: None,
            events: VecDeque::new(),
            config,
        }
    }

    /// The newest view.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// How many requests were sent. A view that [comes from](Self::view_request) a later one is newer than
    /// this moment.
    pub fn requests_sent(&self) -> u64 {
        self.requests_sent
    }

    /// The number of the request that the view comes from, apart from leader hints.
    pub fn view_request(&self) -> u64 {
        self.view_request
    }

    /// Keeps exactly these topics up to date.
    pub fn want_topics(&mut self, now: Instant, topics: BTreeSet<Topic>) {
        let news = match &self.interest {
            Interest::Topics(old) => !topics.is_subset(old),
            // A topic that the last listing lacked may exist by now.
            Interest::All { .. } => !topics.iter().all(|topic| self.knows(topic)),
        };
        self.interest = Interest::Topics(topics);
        if news {
            self.refresh_at(now, NextRefresh::AtOnce);
        }
    }

    /// Keeps all topics of the cluster up to date, for subscriptions by pattern. The `named` ones are in the view even if they
    /// do not exist.
    pub fn want_all(&mut self, now: Instant, named: BTreeSet<Topic>) {
        let news = match &self.interest {
            Interest::Topics(_) => true,
            Interest::All { named: old } => named.difference(old).any(|topic| !self.knows(topic)),
        };
        self.interest = Interest::All { named };
        if news {
            self.refresh_at(now, NextRefresh::AtOnce);
        }
    }

    fn knows(&self, topic: &Topic) -> bool {
        self.cluster.topics.get(topic).is_some_and(is_complete)
    }

    /// The view was found to be stale: refreshes soon, but not more often than the pauses allow.
    pub fn refresh(&mut self, now: Instant) {
        let soon = after(now, self.config.backoff.base);
        let wait = match self.call {
            Call::Sent { .. } => Duration::ZERO, // the pause follows the answer
            Call::Due(due) if due <= soon => return,
            Call::Due(_) | Call::Idle => self.backoff.next_wait(),
        };
        self.refresh_at(after(now, wait), NextRefresh::Soon);
    }

    /// Refreshes at once, for the application.
    pub fn refresh_now(&mut self, now: Instant) {
        self.refresh_at(now, NextRefresh::AtOnce);
    }

    fn refresh_at(&mut self, at: Instant, next: NextRefresh) {
        match self.call {
            Call::Sent { .. } => self.next = self.next.max(next),
            Call::Due(due) => self.call = Call::Due(due.min(at)),
            Call::Idle => self.call = Call::Due(at),
        }
    }

    /// A broker named the current leader in its response to another request (KIP-951). It is accepted only if
    /// the epoch is newer; then this returns true. If the partition or the leader's address is not known, the
    /// metadata is refreshed instead.
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

    /// One event stands for all changes since the last one was taken.
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
            Ok(Answer { from, response: Response::Metadata(response), .. }) => {
                self.learn(now, from, response)
            }
            Ok(_) => self.failed(now),
            Err(error) => {
                self.events.push_back(Event::RefreshFailed(error));
                self.failed(now);
            }
        }
    }

    fn failed(&mut self, now: Instant) {
        self.next = NextRefresh::AsAnswered;
        self.call = Call::Due(after(now, self.backoff.next_wait()));
        let since = *self.failing_since.get_or_insert(now);
        if self.config.rebootstrap_after.is_some_and(|limit| now.saturating_duration_since(since) >= limit) {
            self.failing_since = None;
            self.events.push_back(Event::Rebootstrap);
        }
    }

    fn learn(&mut self, now: Instant, from: Option<BrokerId>, response: wire::MetadataResponse) {
        if response.error_code == ErrorCode::RebootstrapRequired {
            self.call = Call::Due(after(now, self.backoff.next_wait()));
            self.events.push_back(Event::Rebootstrap);
            return;
        }
        let lists_all = self.asked.is_all() && self.interest.is_all();
        self.weigh_older(from, &response);
        let mut told = Cluster::from_response(response, lists_all, &self.cluster);
        if told.brokers.is_empty() {
            // A broker that has just started may list no broker, not even itself.
            return self.failed(now);
        }
        self.failing_since = None;
        if let Interest::Topics(wanted) = &self.interest {
            // A topic that the response leaves out is as unknown as one that it calls so.
            for name in wanted.iter().filter(|name| self.asked.includes(name)) {
                told.topics.entry(name.clone()).or_insert_with(TopicInfo::unknown);
            }
        }
        let is_open = |name: &Topic| self.interest.includes(name) && !self.asked.includes(name);
        let open = self.cluster.topics.iter().filter(|(name, _)| is_open(name));
        let mut topics: BTreeMap<_, _> = open.map(|(name, info)| (name.clone(), info.clone())).collect();
        let mut complete = true;
        for (name, info) in told.topics {
            if self.interest.includes(&name) {
                complete &= is_complete(&info) && !self.older.contains_key(&name);
                let info = self.keep_known(&name, info);
                topics.insert(name, info);
            }
        }
        if lists_all {
            complete &= self.keep_unlisted(&mut topics);
        }
        if let Interest::All { named } = &self.interest
            && lists_all
        {
            for name in named {
                topics.entry(name.clone()).or_insert_with(TopicInfo::unknown);
            }
        }
        self.cluster = Arc::new(Cluster { topics, ..told });
        let is_known = |name: &Topic| self.cluster.topic(name.as_str()).is_some();
        self.unknown.retain(|name, _| is_known(name));
        self.remember_ids();
        self.view_request = self.requests_sent;
        self.updated();
        let wait = match std::mem::replace(&mut self.next, NextRefresh::AsAnswered) {
            NextRefresh::AtOnce => Duration::ZERO,
            NextRefresh::AsAnswered if complete => {
                self.backoff.reset();
                // Even `metadata.max.age.ms=0` must not cause a busy loop (FAILURES SAFE15).
                self.config.max_age.max(self.config.backoff.base).max(SHORTEST_AGE)
            }
            NextRefresh::AsAnswered | NextRefresh::Soon => self.backoff.next_wait(),
        };
        self.call = Call::Due(after(now, wait));
    }

    /// A broker that lags behind shows a topic that was deleted and created again with the id that it had before.
    /// Without topic ids, older leader epochs are all that such a topic can be recognized by, and the response of
    /// a broker that lags behind looks the same. The known state is kept until several consecutive responses
    /// contradict it, from more than one broker; then it is forgotten.
    fn weigh_older(&mut self, from: Option<BrokerId>, response: &wire::MetadataResponse) {
        let enough_brokers = self.cluster.brokers.len().min(2);
        let cluster = &self.cluster;
        self.older.retain(|name, _| cluster.topic(name.as_str()).is_some());
        for topic in &response.topics {
            let Some(name) = topic.name.as_deref().filter(|_| topic.error_code.is_ok()) else { continue };
            let Some(known) = self.cluster.topic(name) else { continue };
            let goes_back = if known.id != topic.topic_id {
                // The last id is the present one, even if a broker without ids has answered since.
                let before = self.known_ids.get(name).and_then(|ids| ids.split_last());
                before.is_some_and(|(_, before)| before.contains(&topic.topic_id))
            } else {
                known.id.is_zero()
                    && topic.partitions.iter().any(|partition| {
                        let before = known.partitions.get(&partition.partition_index);
                        let epoch = before.and_then(|before| before.epoch);
                        partition.leader_epoch >= 0 && epoch > Some(partition.leader_epoch)
                    })
            };
            let name = Topic::from(name);
            if !goes_back {
                // One broker that agrees may itself be the one that lags behind.
                let agrees = known.id == topic.topic_id && !known.id.is_zero();
                let older = self.older.get_mut(&name).filter(|_| agrees);
                let is_over = older.is_none_or(|older| {
                    older.agrees(from);
                    older.agreeing >= OLDER_BEFORE_CREATED_ANEW || older.agree.len() >= enough_brokers
                });
                if is_over {
                    self.older.remove(&name);
                }
                continue;
            }
            let older = self.older.entry(name.clone()).or_default();
            older.answers = older.answers.saturating_add(1);
            older.of.extend(from);
            if older.answers >= OLDER_BEFORE_CREATED_ANEW && older.of.len() >= enough_brokers {
                self.older.remove(&name);
                if let Some(ids) = self.known_ids.get_mut(&name) {
                    // From now on the others are from before.
                    ids.retain(|id| *id != topic.topic_id);
                    ids.extend(Some(topic.topic_id).filter(|id| !id.is_zero()));
                }
                Arc::make_mut(&mut self.cluster).topics.remove(&name);
            }
        }
        self.outdated_broker = from.filter(|_| !self.older.is_empty());
    }

    /// A full listing may come from a broker that has just started and does not know all topics. So a known
    /// topic is kept until several consecutive listings lack it. Returns whether all known topics are listed.
    fn keep_unlisted(&mut self, listed: &mut BTreeMap<Topic, TopicInfo>) -> bool {
        let before = Arc::clone(&self.cluster);
        let mut nothing = true;
        for (name, known) in &before.topics {
            if !known.error.is_ok() || listed.contains_key(name) {
                continue;
            }
            let info = self.keep_known(name, TopicInfo::unknown());
            if info.error.is_ok() {
                nothing = false;
                listed.insert(name.clone(), info);
            }
        }
        nothing
    }

    fn remember_ids(&mut self) {
        let topics = &self.cluster.topics;
        if self.known_ids.len() > topics.len().saturating_add(REMEMBERED_TOPICS) {
            self.known_ids.retain(|name, _| topics.contains_key(name));
        }
        for (name, info) in topics.iter().filter(|(_, info)| !info.id.is_zero()) {
            let ids = self.known_ids.entry(name.clone()).or_default();
            // One that comes back after the topic was gone is not newer for that.
            if !ids.contains(&info.id) {
                ids.push(info.id);
                ids.drain(..ids.len().saturating_sub(REMEMBERED_IDS));
            }
        }
    }

    /// The state to keep for a topic that has an error now and had none before, or an id from before.
    fn keep_known(&mut self, name: &Topic, new: TopicInfo) -> TopicInfo {
        let is_unknown = matches!(new.error, ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId);
        let Some(known) = self.cluster.topic(name.as_str()) else { return new };
        if !is_unknown {
            self.unknown.remove(name);
        }
        let is_kept = match new.error {
            ErrorCode::None => known.id != new.id && self.older.contains_key(name),
            _ if is_unknown => {
                let times = self.unknown.entry(name.clone()).or_default();
                *times = times.saturating_add(1);
                *times < LISTINGS_BEFORE_DELETED
            }
            error => error.is_retriable(),
        };
        if is_kept { known.clone() } else { new }
    }

    /// The clock has advanced.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.call.is_overdue(now) {
            self.failed(now);
        }
    }

    /// The next request.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        let id = self.call.start(now, &mut self.ids, self.config.request_timeout)?;
        self.requests_sent = self.requests_sent.wrapping_add(1);
        self.asked = self.interest.clone();
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
            to: self.outdated_broker.map_or(Target::Any, Target::Other),
            request: request.into(),
            max_version: None,
            prompt: None,
            timeout: self.config.request_timeout,
        })
    }

    /// When to call again.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.call.deadline()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}

/// Whether the next refresh is not expected to add anything.
fn is_complete(topic: &TopicInfo) -> bool {
    match topic.error {
        ErrorCode::None => topic.partitions.values().all(|partition| partition.leader.is_some()),
        error => !error.is_retriable(),
    }
}

#[cfg(test)]
mod tests;
