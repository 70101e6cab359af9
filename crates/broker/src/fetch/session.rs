//! Fetch sessions of one broker (KIP-227): the partitions that a client asked for before, and what was last sent of each.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use kafka_protocol::{error::ResponseError, messages::fetch_response::PartitionData};

use super::plan::{Key, Wanted};
use crate::random::Random;

/// `min.incremental.fetch.session.eviction.ms`: how long a session must have been idle, or have lived, before it may be
/// evicted for another.
const EVICTION: Duration = Duration::from_secs(120);

/// All sessions of a broker, by id.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    all: BTreeMap<i32, Session>,
}

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    /// The epoch that the next request must have.
    pub(super) epoch: i32,
    /// Topics are named by id (Fetch from version 13 on).
    pub(super) ids: bool,
    created: Instant,
    used: Instant,
    partitions: Partitions,
}

/// A session's partitions, in the order in which they are read. A partition that was answered with data moves to the
/// end, so that a large one does not starve the others.
#[derive(Debug, Default)]
struct Partitions {
    cached: BTreeMap<u64, Cached>,
    places: HashMap<Key, u64>,
    next: u64,
}

#[derive(Debug)]
struct Cached {
    wanted: Wanted,
    high_watermark: i64,
    log_start: i64,
}

/// The epoch after this one. 0 and -1 have other meanings.
fn after(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch.max(0) + 1 }
}

impl Sessions {
    pub(super) fn close(&mut self, id: i32) {
        self.all.remove(&id);
    }

    pub(super) fn get_mut(&mut self, id: i32) -> Option<&mut Session> {
        self.all.get_mut(&id)
    }

    /// Applies a request to its session. Returns the epoch of the next request, or `None` if the session has no
    /// partition left and is closed.
    pub(super) fn resume(
        &mut self,
        id: i32,
        epoch: i32,
        ids: bool,
        named: Vec<Wanted>,
        forgotten: &[Key],
        now: Instant,
    ) -> Result<Option<i32>, ResponseError> {
        let session = self.all.get_mut(&id).ok_or(ResponseError::FetchSessionIdNotFound)?;
        if session.epoch != epoch {
            return Err(ResponseError::InvalidFetchSessionEpoch);
        }
        if session.ids != ids {
            return Err(ResponseError::FetchSessionTopicIdError);
        }
        session.update(named, forgotten);
        if session.partitions.cached.is_empty() {
            self.all.remove(&id);
            return Ok(None);
        }
        session.used = now;
        session.epoch = after(epoch);
        Ok(Some(session.epoch))
    }

    /// Begins a session and returns its id, or 0 if there is no room for it.
    pub(super) fn begin(
        &mut self,
        (slots, ids, now): (usize, bool, Instant),
        random: &mut Random,
        answered: impl ExactSizeIterator<Item = (Wanted, i64, i64)>,
    ) -> i32 {
        if self.all.len() >= slots && !self.evict(answered.len(), now) {
            return 0;
        }
        let id = loop {
            let id = i32::try_from(random.next() >> 33).unwrap_or(0);
            if id != 0 && !self.all.contains_key(&id) {
                break id;
            }
        };
        let cached = |(wanted, high_watermark, log_start)| Cached { wanted, high_watermark, log_start };
        let mut partitions = Partitions::default();
        answered.map(cached).for_each(|cached| partitions.push(cached));
        let session = Session { epoch: 1, ids, created: now, used: now, partitions };
        self.all.insert(id, session);
        id
    }

    /// Makes room for a session with this many partitions. Evicts the session that was idle longest, if that is long
    /// enough; otherwise the smallest that has lived a while, if the new one is larger.
    fn evict(&mut self, partitions: usize, now: Instant) -> bool {
        let old = |since: Instant| now.saturating_duration_since(since) > EVICTION;
        let idle = self.all.iter().min_by_key(|(id, session)| (session.used, **id));
        let stale = idle.filter(|(_, session)| old(session.used)).map(|(id, _)| *id);
        let lesser = || {
            let grown =
                |session: &Session| session.used.saturating_duration_since(session.created) > EVICTION;
            let evictable = self.all.iter().filter(|(_, session)| grown(session));
            let smallest = evictable.min_by_key(|(id, session)| (session.partitions.cached.len(), **id))?;
            (partitions > smallest.1.partitions.cached.len()).then_some(*smallest.0)
        };
        match stale.or_else(lesser) {
            Some(id) => self.all.remove(&id).is_some(),
            None => false,
        }
    }
}

impl Partitions {
    fn push(&mut self, cached: Cached) {
        self.places.insert(cached.wanted.key.clone(), self.next);
        self.cached.insert(self.next, cached);
        self.next += 1;
    }

    fn get_mut(&mut self, key: &Key) -> Option<&mut Cached> {
        self.cached.get_mut(self.places.get(key)?)
    }

    fn remove(&mut self, key: &Key) -> Option<Cached> {
        self.cached.remove(&self.places.remove(key)?)
    }
}

impl Session {
    fn update(&mut self, named: Vec<Wanted>, forgotten: &[Key]) {
        for wanted in named {
            match self.partitions.get_mut(&wanted.key) {
                Some(cached) => {
                    // A known name is kept: should the id disappear, the partition's answer reports that.
                    let topic = cached.wanted.topic.take().or_else(|| wanted.topic.clone());
                    cached.wanted = Wanted { topic, ..wanted };
                }
                None => self.partitions.push(Cached { wanted, high_watermark: -1, log_start: -1 }),
            }
        }
        for key in forgotten {
            self.partitions.remove(key);
        }
    }

    /// The partitions to read, in order. Topic names that are known by now are filled in.
    pub(super) fn wanted(&mut self, name_of: impl Fn(uuid::Uuid) -> Option<String>) -> Vec<Wanted> {
        for cached in self.partitions.cached.values_mut() {
            let wanted = &mut cached.wanted;
            if wanted.topic.is_none() {
                wanted.topic = name_of(wanted.key.id);
            }
        }
        self.partitions.cached.values().map(|cached| cached.wanted.clone()).collect()
    }

    /// Whether this data is new to the client, and has to be in the answer. If so, the partition is read last the next time.
    pub(super) fn is_news(&mut self, key: &Key, data: &PartitionData) -> bool {
        let Some(cached) = self.partitions.get_mut(key) else { return false };
        let failed = data.error_code != 0;
        let new = data.records.as_ref().is_some_and(|records| !records.is_empty())
            || cached.high_watermark != data.high_watermark
            || cached.log_start != data.log_start_offset
            || data.preferred_read_replica != -1
            || failed
            || data.diverging_epoch.epoch != -1;
        cached.log_start = data.log_start_offset;
        // After an error everything is new.
        cached.high_watermark = if failed { -1 } else { data.high_watermark };
        if new && let Some(cached) = self.partitions.remove(key) {
            self.partitions.push(cached);
        }
        new
    }
}
