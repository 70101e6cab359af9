//! One incremental fetch session with one broker (KIP-227). A request contains only what has changed since
//! the previous one.
//!
//! Always true: `entries` is the content of the broker's session once it has read the last request that was
//! built. With at most one outstanding request, the next response is therefore for exactly these entries.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use offtake_machine::{LeaderEpoch, Token, Topic, TopicPartition};
use offtake_wire::{
    Uuid,
    messages::fetch::{FetchPartition, FetchTopic, ForgottenTopic},
};

use crate::Watermarks;

/// One partition of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Not sent: it makes a seek to the same offset a change, so that the response to the earlier request is
    /// not mistaken for one to the later (FAILURES I7, I15).
    pub(crate) token: Token,
    pub(crate) topic_id: Uuid,
    pub(crate) offset: i64,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) last_fetched_epoch: LeaderEpoch,
}

/// The session.
#[derive(Debug, Default)]
pub(crate) struct Session {
    /// 0: no session.
    id: i32,
    /// The epoch of the next request; 0 opens a session, with a full request.
    epoch: i32,
    /// Whether the next request is a full one, whatever the response to the one in flight.
    restarts: bool,
    /// Whether topics are identified by id (KIP-516). Must not change within a session (FAILURES I13).
    by_id: bool,
    entries: BTreeMap<TopicPartition, Entry>,
    /// The watermarks that the broker reported last. It does not repeat them while they are unchanged, even
    /// if the partition was revoked and assigned again meanwhile.
    watermarks: BTreeMap<TopicPartition, Watermarks>,
    /// The last partition that had records.
    last_with_records: Option<TopicPartition>,
    names: BTreeMap<Uuid, Topic>,
}

/// The session's part of a Fetch request.
#[derive(Debug)]
pub(crate) struct SessionRequest {
    pub(crate) session_id: i32,
    pub(crate) session_epoch: i32,
    pub(crate) by_id: bool,
    pub(crate) topics: Vec<FetchTopic>,
    pub(crate) forgotten: Vec<ForgottenTopic>,
    /// Partitions whose entry has changed, with their last reported watermarks.
    pub(crate) watermarks: Vec<(TopicPartition, Watermarks)>,
}

impl Session {
    /// Makes the next request a full one; the broker closes the old session.
    pub(crate) fn restart(&mut self) {
        self.restarts = true;
    }

    /// Forgets the session, which the broker does not have.
    pub(crate) fn forget(&mut self) {
        self.id = 0;
        self.epoch = 0;
    }

    /// Whether it contains partitions of this topic.
    fn has_topic(&self, topic: &Topic) -> bool {
        let first = TopicPartition { topic: topic.clone(), partition: i32::MIN };
        self.entries.range(first..).next().is_some_and(|(next, _)| next.topic == *topic)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.id != 0
    }

    pub(crate) fn id(&self) -> i32 {
        self.id
    }

    /// Whether topics are identified by name.
    pub(crate) fn by_name(&self) -> bool {
        !self.by_id
    }

    pub(crate) fn entry(&self, tp: &TopicPartition) -> Option<Entry> {
        self.entries.get(tp).copied()
    }

    /// The topic with this id, if it was requested.
    pub(crate) fn named(&self, id: Uuid) -> Option<&Topic> {
        self.names.get(&id)
    }

    /// Notes that the response had records of the partition. The next full request begins after it: a broker
    /// that keeps no session fills its response in the order of the request, and the last partitions would
    /// starve (FAILURES I12).
    pub(crate) fn note_records(&mut self, partition: &TopicPartition) {
        self.last_with_records = Some(partition.clone());
    }

    /// Stores the watermarks that the broker has reported for a partition.
    pub(crate) fn learn_watermarks(&mut self, partition: &TopicPartition, watermarks: Watermarks) {
        self.watermarks.insert(partition.clone(), watermarks);
    }

    /// The broker has accepted the last request that was built, with this session id.
    pub(crate) fn accept(&mut self, id: i32) {
        if id == 0 {
            // Its session cache is full: each request is a full one until it has space (FAILURES I2).
            self.forget();
        } else if self.epoch == 0 || id == self.id {
            self.id = id;
            self.epoch = self.epoch.checked_add(1).unwrap_or(1);
        } else {
            self.restart();
        }
    }

    /// Builds the request after which the session contains `wanted` and nothing else. `dirty` are the
    /// partitions that may have changed since the previous request; it is emptied.
    pub(crate) fn build_request(
        &mut self,
        wanted: &BTreeSet<TopicPartition>,
        dirty: &mut BTreeSet<TopicPartition>,
        max_bytes: i32,
        entry: impl Fn(&TopicPartition) -> Option<Entry>,
    ) -> SessionRequest {
        let mut topics = Topics::default();
        let mut forgotten = Forgotten::default();
        let mut watermarks = Vec::new();
        let changed = std::mem::take(dirty);
        // A new id under the same name is another topic to a broker that identifies topics by id, and the
        // same one to a broker that does so by name, as all do before Fetch 13, even if Metadata has ids: the
        // latter would add the partition and then forget it.
        let replaced = |tp: &TopicPartition, new: Entry| {
            self.entries.get(tp).is_some_and(|old| old.topic_id != new.topic_id)
        };
        let says_all =
            |tp: &&TopicPartition| entry(tp).is_some_and(|new| has_no_id(new) || replaced(tp, new));
        if self.by_id && changed.iter().filter(|tp| wanted.contains(*tp)).any(|tp| says_all(&tp)) {
            self.restart();
        }
        if std::mem::take(&mut self.restarts) {
            self.epoch = 0;
        }
        if self.epoch == 0 {
            self.watermarks.clear();
            self.entries = wanted.iter().filter_map(|tp| Some((tp.clone(), entry(tp)?))).collect();
            self.by_id = !self.entries.values().copied().any(has_no_id);
            self.names = self.entries.iter().map(|(tp, entry)| (entry.topic_id, tp.topic.clone())).collect();
            self.names.remove(&Uuid::ZERO);
            let after = self.last_with_records.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            let until = self.last_with_records.as_ref().map(|last| (Bound::Unbounded, Bound::Included(last)));
            let first = self.entries.range((after, Bound::Unbounded));
            for (tp, entry) in first.chain(until.into_iter().flat_map(|until| self.entries.range(until))) {
                topics.push(tp, *entry, max_bytes);
            }
        } else {
            for tp in changed {
                let now = if wanted.contains(&tp) { entry(&tp) } else { None };
                match (self.entries.get(&tp).copied(), now) {
                    (Some(old), Some(new)) if old == new => {}
                    (old, Some(new)) => {
                        if old.is_some_and(|old| old.topic_id == new.topic_id) {
                            watermarks.extend(self.watermarks.get(&tp).map(|known| (tp.clone(), *known)));
                        } else {
                            self.watermarks.remove(&tp);
                        }
                        topics.push(&tp, new, max_bytes);
                        if !new.topic_id.is_zero() {
                            self.names.insert(new.topic_id, tp.topic.clone());
                        }
                        self.entries.insert(tp, new);
                    }
                    (Some(old), None) => {
                        forgotten.push(&tp, old.topic_id);
                        self.entries.remove(&tp);
                        self.watermarks.remove(&tp);
                        if !self.has_topic(&tp.topic) {
                            self.names.remove(&old.topic_id);
                        }
                    }
                    (None, None) => {}
                }
            }
        }
        SessionRequest {
            session_id: self.id,
            session_epoch: self.epoch,
            by_id: self.by_id,
            topics: topics.0,
            forgotten: forgotten.0,
            watermarks,
        }
    }

    /// Whether the last request that was built opened a session.
    pub(crate) fn was_full(&self) -> bool {
        self.epoch == 0
    }

    /// How many partitions the session holds.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

fn has_no_id(entry: Entry) -> bool {
    entry.topic_id.is_zero()
}

/// Partitions grouped by topic, in their order. A topic may appear twice, as it may in requests of Kafka's
/// own clients.
#[derive(Default)]
struct Topics(Vec<FetchTopic>);

impl Topics {
    fn push(&mut self, tp: &TopicPartition, entry: Entry, max_bytes: i32) {
        let partition = FetchPartition {
            partition: tp.partition,
            current_leader_epoch: entry.leader_epoch.unwrap_or(-1),
            fetch_offset: entry.offset,
            last_fetched_epoch: entry.last_fetched_epoch.unwrap_or(-1),
            partition_max_bytes: max_bytes,
            ..Default::default()
        };
        match self.0.last_mut() {
            Some(topic) if tp.topic == topic.topic.as_str() && topic.topic_id == entry.topic_id => {
                topic.partitions.push(partition);
            }
            _ => self.0.push(FetchTopic {
                topic: tp.topic.as_str().to_owned(),
                topic_id: entry.topic_id,
                partitions: vec![partition],
            }),
        }
    }
}

#[derive(Default)]
struct Forgotten(Vec<ForgottenTopic>);

impl Forgotten {
    fn push(&mut self, tp: &TopicPartition, topic_id: Uuid) {
        match self.0.last_mut() {
            Some(topic) if tp.topic == topic.topic.as_str() && topic.topic_id == topic_id => {
                topic.partitions.push(tp.partition);
            }
            _ => self.0.push(ForgottenTopic {
                topic: tp.topic.as_str().to_owned(),
                topic_id,
                partitions: vec![tp.partition],
            }),
        }
    }
}
