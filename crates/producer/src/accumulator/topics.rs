//! The topics that records are sent to, and the records that wait for metadata of theirs.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    mem,
    time::Instant,
};

use offtake_client::{Error, Result};
use offtake_machine::{SplitMix64, Topic};

use super::{SlotId, waiting::Waiting};
use crate::partitioner::Sticky;

/// The metadata of a topic.
#[derive(Clone, Debug)]
pub(crate) enum TopicState {
    /// It has this many partitions; those of the list have no leader.
    Known { partitions: u32, leaderless: BTreeSet<i32> },
    /// Nothing is sent to it.
    Refused(Error),
}

#[derive(Debug)]
struct TopicQueues {
    name: Topic,
    state: Option<TopicState>,
    /// Partitions whose leaders are stalled.
    stalled: BTreeSet<i32>,
    /// By partition.
    slots: Vec<Option<SlotId>>,
    sticky: Sticky,
    /// Records that wait for the topic's metadata.
    waiting: VecDeque<Waiting>,
    /// Whether the brokers reported that the topic does not exist.
    is_missing: bool,
    was_used: bool,
    /// No record was sent to it for long, so that its metadata is not fetched. Its slots stay, because the sequences of a
    /// partition's batches go on.
    is_forgotten: bool,
}

/// The index of a topic. Topics are never removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TopicId(usize);

#[derive(Debug)]
pub(super) struct Topics {
    all: Vec<TopicQueues>,
    by_name: HashMap<Topic, TopicId>,
    /// The topic used last. Mostly the next record is for it too, which saves a lookup.
    last: TopicId,
    random: SplitMix64,
    /// Whether there is metadata to ask for.
    has_news: bool,
    /// Topics that records wait for.
    awaited: BTreeSet<Topic>,
}

impl Topics {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            all: Vec::new(),
            by_name: HashMap::new(),
            last: TopicId(0),
            random: SplitMix64::new(seed),
            has_news: false,
            awaited: BTreeSet::new(),
        }
    }

    /// Notes that a record is sent to this topic.
    pub(super) fn note_use(&mut self, name: &str) -> Result<TopicId> {
        if let Some(id) = self.id(name)
            && let Some(topic) = self.all.get_mut(id.0)
        {
            topic.was_used = true;
            // A topic that was refused may have been allowed since.
            let is_refused = matches!(topic.state, Some(TopicState::Refused(_)));
            self.has_news |= mem::take(&mut topic.is_forgotten) || is_refused;
            self.last = id;
            return Ok(id);
        }
        let topic = Topic::from(name);
        topic.check().map_err(|error| Error::misuse(error.to_string()))?;
        self.has_news = true;
        let queues = TopicQueues {
            name: topic.clone(),
            state: None,
            stalled: BTreeSet::new(),
            slots: Vec::new(),
            sticky: Sticky::new(self.random.next_u64()),
            waiting: VecDeque::new(),
            is_missing: false,
            was_used: true,
            is_forgotten: false,
        };
        let id = TopicId(self.all.len());
        self.all.push(queues);
        self.by_name.insert(topic, id);
        self.last = id;
        Ok(id)
    }

    /// Finds a topic that was used before.
    fn id(&self, name: &str) -> Option<TopicId> {
        match self.all.get(self.last.0) {
            Some(last) if last.name.as_str() == name => Some(self.last),
            _ => self.by_name.get(name).copied(),
        }
    }

    fn get(&self, name: &str) -> Option<&TopicQueues> {
        self.all.get(self.id(name)?.0)
    }

    fn get_mut(&mut self, name: &str) -> Option<&mut TopicQueues> {
        let id = self.id(name)?;
        self.all.get_mut(id.0)
    }

    /// The topic's name.
    pub(super) fn name(&self, of: TopicId) -> Option<Topic> {
        self.all.get(of.0).map(|topic| topic.name.clone())
    }

    /// The topic's number of partitions, if it is known.
    pub(super) fn partitions(&self, of: TopicId) -> Result<Option<u32>> {
        match self.all.get(of.0).and_then(|topic| topic.state.as_ref()) {
            Some(TopicState::Known { partitions, .. }) => Ok(Some(*partitions)),
            Some(TopicState::Refused(error)) => Err(error.clone()),
            None => Ok(None),
        }
    }

    /// The partition for a record without a key. `queue` returns how many batches wait in a slot.
    pub(super) fn sticky_partition(&mut self, of: TopicId, queue: impl Fn(SlotId) -> usize) -> Option<i32> {
        let TopicQueues { state, stalled, slots, sticky, .. } = self.all.get_mut(of.0)?;
        let Some(TopicState::Known { partitions, leaderless }) = state else { return None };
        if let Some(partition) = sticky.current()
            && partition.unsigned_abs() < *partitions
            && !leaderless.contains(&partition)
        {
            return Some(partition);
        }
        let all = 0..partitions.cast_signed();
        let length = |partition: i32| {
            let slot = usize::try_from(partition).ok().and_then(|at| slots.get(at).copied().flatten());
            (partition, slot.map_or(0, &queue))
        };
        let available = all.clone().filter(|partition| !leaderless.contains(partition));
        let flowing = available.clone().filter(|partition| !stalled.contains(partition));
        sticky
            .partition(flowing.map(length))
            .or_else(|| sticky.partition(available.map(length)))
            .or_else(|| sticky.partition(all.map(length)))
    }

    /// Notes that a record of this many bytes went to the partition that was chosen last.
    pub(super) fn appended(&mut self, to: TopicId, bytes: usize, batch_size: usize, batch_is_full: bool) {
        if let Some(topic) = self.all.get_mut(to.0) {
            topic.sticky.appended(bytes, batch_size, batch_is_full);
        }
    }

    /// The slot of this partition, created if there is none.
    pub(super) fn slot(
        &mut self,
        of: TopicId,
        partition: i32,
        make: impl FnOnce(Topic) -> SlotId,
    ) -> Option<SlotId> {
        let topic = self.all.get_mut(of.0)?;
        let at = usize::try_from(partition).ok()?;
        if topic.slots.len() <= at {
            topic.slots.resize(at.saturating_add(1), None);
        }
        let slot = topic.slots.get_mut(at)?;
        Some(*slot.get_or_insert_with(|| make(topic.name.clone())))
    }

    /// Keeps a record until its topic is known, or has the partition that the record names.
    pub(super) fn wait(&mut self, waiting: Waiting) {
        if let Some(topic) = self.all.get_mut(waiting.topic.0) {
            self.has_news |= topic.state.is_some() || mem::take(&mut topic.is_forgotten);
            self.awaited.insert(waiting.name.clone());
            // One that waited for memory before may have been sent earlier than those that are here.
            let place = topic.waiting.partition_point(|other| other.number < waiting.number);
            topic.waiting.insert(place, waiting);
        }
    }

    /// Stores the metadata of a topic. Returns the records that waited for it.
    pub(super) fn learn(&mut self, name: &Topic, state: TopicState) -> Option<VecDeque<Waiting>> {
        self.awaited.remove(name);
        let topic = self.get_mut(name.as_str())?;
        topic.state = Some(state);
        topic.is_missing = false;
        Some(mem::take(&mut topic.waiting))
    }

    /// Stores which partitions have stalled leaders; the leaders of all others are not stalled.
    pub(super) fn learn_stalls(&mut self, name: &Topic, stalled: BTreeSet<i32>) {
        if let Some(topic) = self.get_mut(name.as_str()) {
            topic.stalled = stalled;
        }
    }

    /// Notes that the brokers know no such topic, now or any more: its next records wait until they do, and take no memory.
    pub(super) fn note_missing(&mut self, name: &Topic) {
        if let Some(topic) = self.get_mut(name.as_str()) {
            topic.is_missing = true;
            topic.state = None;
        }
    }

    pub(super) fn is_missing(&self, of: TopicId) -> bool {
        self.all.get(of.0).is_some_and(|topic| topic.is_missing)
    }

    /// Notes that the metadata of a topic has to be fetched again.
    pub(super) fn want_news(&mut self) {
        self.has_news = true;
    }

    pub(super) fn has_news(&self) -> bool {
        self.has_news
    }

    pub(super) fn take_news(&mut self) -> bool {
        mem::take(&mut self.has_news)
    }

    /// The topics to request metadata for.
    pub(super) fn names(&self) -> BTreeSet<Topic> {
        self.all.iter().filter(|topic| !topic.is_forgotten).map(|topic| topic.name.clone()).collect()
    }

    /// Forgets topics that were not used since the last call and have nothing in their slots. Returns whether any were forgotten.
    pub(super) fn forget_idle(&mut self, is_idle: impl Fn(SlotId) -> bool) -> bool {
        let mut any = false;
        for topic in self.all.iter_mut().filter(|topic| !topic.is_forgotten) {
            let is_used = mem::take(&mut topic.was_used) || !topic.waiting.is_empty();
            if !is_used && topic.slots.iter().flatten().all(|slot| is_idle(*slot)) {
                topic.is_forgotten = true;
                topic.state = None;
                topic.stalled.clear();
                any = true;
            }
        }
        any
    }

    /// The oldest waiting record of each topic whose metadata is awaited.
    pub(super) fn first_waiting(&self) -> impl Iterator<Item = &Waiting> {
        self.awaited.iter().filter_map(|name| self.get(name.as_str())?.waiting.front())
    }

    /// Takes the records that have waited too long.
    pub(super) fn take_expired(&mut self, now: Instant) -> Vec<Waiting> {
        let mut expired = Vec::new();
        for name in &self.awaited {
            let id = self.by_name.get(name);
            let Some(topic) = id.and_then(|id| self.all.get_mut(id.0)) else { continue };
            while topic.waiting.front().is_some_and(|first| first.until <= now) {
                expired.extend(topic.waiting.pop_front());
            }
        }
        let (all, by_name) = (&self.all, &self.by_name);
        let queues = |name: &Topic| by_name.get(name).and_then(|id| all.get(id.0));
        self.awaited.retain(|name| queues(name).is_some_and(|topic| !topic.waiting.is_empty()));
        expired
    }

    /// Takes all waiting records.
    pub(super) fn take_waiting(&mut self) -> Vec<Waiting> {
        self.awaited.clear();
        self.all.iter_mut().flat_map(|topic| mem::take(&mut topic.waiting)).collect()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.first_waiting().map(|first| first.until).min()
    }
}
