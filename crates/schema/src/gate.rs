//! [`Gate`]: sits between a consumer's `poll` and the decoding. Partitions whose next records need an unknown schema wait, and
//! only they do.
//!
//! Such a partition is sought back to its first record of that poll and paused, until the schema is known. Its records therefore
//! do not count as delivered, and no commit passes them, whatever happens to the process meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use offtake::{Consumer, ErrorKind, Record, Records, TopicPartition, records::PartitionRecords};
use offtake_client::clock;
use tokio::task::{self, JoinSet};

use crate::{
    deserializer::{Deserializer, Prepared},
    error::DecodeError,
    id::SchemaId,
    payload::{Part, Payload},
};

/// The treatment of records whose schema is unknown and cannot be fetched from the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenUnknown {
    /// Their partition waits for this long, then they fail as with [`Fail`](Self::Fail).
    Wait(Duration),
    /// They are delivered at once, and decoding them fails with an error that [is retriable](DecodeError::is_retriable).
    Fail,
    /// Their partition waits until the registry responds, without a limit.
    Pause,
}

impl Default for WhenUnknown {
    /// 30 seconds.
    fn default() -> Self {
        Self::Wait(Duration::from_secs(30))
    }
}

/// How long to wait for a schema before its partition is sought back; most registries respond sooner.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long an id is not waited for again after a wait without success.
const GIVEN_UP_FOR: Duration = Duration::from_secs(10);

/// The deserializers of keys and values.
#[derive(Debug)]
pub(crate) struct Pair<K, V> {
    pub(crate) key: K,
    pub(crate) value: V,
}

type Need = (Part, SchemaId);

/// See the module's documentation.
pub struct Gate<K, V> {
    pair: Arc<Pair<K, V>>,
    when_unknown: WhenUnknown,
    /// Whether everything delivered before is finished when `poll` is called again. Only then may a partition be sought back.
    may_seek: bool,
    /// Records that were polled and not completely sorted yet, with the time of the poll. A `poll` that is dropped does not lose
    /// them, and the consumer excludes them from commits.
    unsorted: Option<Unsorted>,
    /// Partitions that deliver nothing before their needs are met.
    held: BTreeMap<TopicPartition, Held>,
    requests: SchemaRequests,
}

/// A partition that was sought back.
struct Held {
    needs: BTreeSet<Need>,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It is paused here, and its needs are being requested.
    Paused,
    /// It is resumed, and its needs are kept until its records have been polled again.
    Resumed,
}

#[derive(Clone)]
struct Unsorted {
    records: Records,
    came: Instant,
    /// Whether the application may have sought or paused since the poll.
    has_waited: bool,
}

/// The present requests. Each is a task, which goes on while the application does not call `poll`, because others may wait for
/// the same result; it ends with the gate.
#[derive(Default)]
struct SchemaRequests {
    asking: BTreeSet<Need>,
    tasks: JoinSet<Result<Prepared, DecodeError>>,
    needs: HashMap<task::Id, Need>,
    given_up: HashMap<Need, Instant>,
    /// Results, kept as long as records that need them are not delivered, because a cache may evict them.
    prepared: HashMap<Need, Prepared>,
}

/// The records delivered by one `poll`. They can be decoded as long as this is kept.
#[derive(Clone, Debug, Default)]
pub struct Sorted {
    records: Records,
    withheld: BTreeSet<TopicPartition>,
    /// Schemas that a cache may evict meanwhile.
    _prepared: Vec<Prepared>,
}

impl Sorted {
    /// The runs of consecutive records that are delivered.
    pub fn partitions(&self) -> impl Iterator<Item = &PartitionRecords> {
        self.records.partitions().filter(|part| !self.withheld.contains(part.topic_partition()))
    }

    /// All delivered records.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        self.partitions().flatten()
    }

    /// Whether no records are delivered.
    pub fn is_empty(&self) -> bool {
        self.partitions().next().is_none()
    }

    /// The records as returned by the consumer, including those of partitions that [are withheld](Self::withholds).
    pub fn all(&self) -> &Records {
        &self.records
    }

    /// Whether this partition is withheld.
    pub fn withholds(&self, partition: &TopicPartition) -> bool {
        self.withheld.contains(partition)
    }

    /// The records as returned by the consumer, if nothing is withheld.
    pub(crate) fn whole(&self) -> Option<&Records> {
        self.withheld.is_empty().then_some(&self.records)
    }
}

impl<K: Deserializer, V: Deserializer> Gate<K, V> {
    pub(crate) fn over(pair: Arc<Pair<K, V>>, when_unknown: WhenUnknown, may_seek: bool) -> Self {
        let (unsorted, held) = (None, BTreeMap::new());
        Self { pair, when_unknown, may_seek, unsorted, held, requests: SchemaRequests::default() }
    }

    /// A gate for callers that finish everything delivered before they call `poll` again.
    pub fn new(key: K, value: V, when_unknown: WhenUnknown) -> Self {
        Self::over(Arc::new(Pair { key, value }), when_unknown, true)
    }

    /// Sets the treatment of records that begin to wait from now on.
    pub(crate) fn set_when_unknown(&mut self, when_unknown: WhenUnknown) {
        self.when_unknown = when_unknown;
    }

    /// The partitions that wait for a schema at present.
    pub fn held(&self) -> impl Iterator<Item = &TopicPartition> {
        let held = self.held.iter().filter(|(_, held)| held.stage == Stage::Paused);
        held.map(|(partition, _)| partition)
    }

    /// Whether records returned by the consumer wait for a schema: the consumer's position is after them, although they were not
    /// delivered.
    pub fn is_waiting(&self) -> bool {
        self.unsorted.is_some() || self.held().next().is_some()
    }

    /// Like [`Consumer::poll`]. Cancel-safe: records that were polled and not delivered are returned by the next call, and are
    /// not committed before.
    ///
    /// # Errors
    /// Those of [`Consumer::poll`].
    pub async fn poll(&mut self, consumer: &mut Consumer, timeout: Duration) -> offtake::Result<Sorted> {
        let deadline = clock::after(timeout);
        loop {
            if self.unsorted.is_some() {
                let Some(sorted) = self.sort(consumer, deadline).await? else { return Ok(Sorted::default()) };
                if !sorted.is_empty() || !sorted.records.resets().is_empty() {
                    return Ok(sorted);
                }
            }
            self.release(consumer);
            let left = deadline.saturating_duration_since(clock::now());
            let polled = if self.requests.asking.is_empty() {
                consumer.poll(left).await?
            } else {
                tokio::select! {
                    biased;
                    () = self.requests.answered() => continue,
                    polled = consumer.poll(left) => polled?,
                }
            };
            if polled.is_empty() && polled.resets().is_empty() {
                return Ok(Sorted::default());
            }
            // There is no await in between, so that no commit passes these, whatever happens to this `poll`.
            consumer.withhold();
            self.unsorted = Some(Unsorted { records: polled, came: clock::now(), has_waited: false });
        }
    }

    /// Removes records that cannot be decoded yet. Returns `None` if a schema is still awaited at the end of this `poll`'s
    /// timeout.
    async fn sort(&mut self, consumer: &mut Consumer, deadline: Instant) -> offtake::Result<Option<Sorted>> {
        let Some(Unsorted { records, came, has_waited }) = self.unsorted.clone() else { return Ok(None) };
        let is_finished_each = records.iter().next().is_some_and(|record| record.ticket().is_ok());
        let may_seek = self.may_seek && !is_finished_each && self.when_unknown != WhenUnknown::Fail;
        let mut needs = self.needs(consumer, &records);
        let waits = needs.values().any(|needs| !self.requests.has(needs));
        if waits {
            if !self.wait_for(&needs, consumer, came, may_seek, deadline).await {
                return Ok(None);
            }
            needs = self.needs(consumer, &records);
        }
        // Records that were sought past or given up meanwhile are not delivered, because the application wants others.
        let stale = records.partitions().filter(|part| !consumer.is_current(part));
        let mut withheld: BTreeSet<_> = stale.map(|part| part.topic_partition().clone()).collect();
        let paused = if may_seek && (waits || has_waited) { consumer.paused() } else { Vec::new() };
        let mut prepared = BTreeMap::new();
        for part in records.partitions() {
            let partition = part.topic_partition();
            let is_paused = paused.contains(partition);
            let needed = needs.get(partition).filter(|needs| may_seek && !self.requests.has(needs));
            let Some(first) = part.iter().next() else { continue };
            if needed.is_none() && !is_paused {
                // Delivered records keep the schemas that they need.
                let needs = needs.get(partition).into_iter().flatten();
                prepared.extend(
                    needs.filter_map(|need| Some((*need, self.requests.prepared.get(need)?.clone()))),
                );
                if self.held.get(partition).is_some_and(|held| held.stage == Stage::Resumed) {
                    self.held.remove(partition);
                }
                continue;
            }
            if !withheld.insert(partition.clone()) {
                continue;
            }
            let sought = consumer.seek(partition.clone(), first.offset()).await;
            // A partition that the application has paused meanwhile is delivered when the application resumes it.
            let held =
                sought.and_then(|()| if is_paused { Ok(()) } else { consumer.pause(partition.clone()) });
            match (held, needed) {
                (Ok(()), Some(needed)) if !is_paused => {
                    let held = Held { needs: needed.clone(), stage: Stage::Paused };
                    self.held.insert(partition.clone(), held);
                }
                (Ok(()), _) => {}
                // The partition was reassigned: its new owner reads these records.
                (Err(error), _) if error.kind() == ErrorKind::NotOwned => {}
                (Err(error), _) => return Err(error),
            }
        }
        self.unsorted = None;
        consumer.hand_out_withheld();
        self.forget();
        Ok(Some(Sorted { records, withheld, _prepared: prepared.into_values().collect() }))
    }

    /// Requests the needs, and waits for them as long as the policy allows. Returns `false` if the timeout of this `poll` ends
    /// before.
    async fn wait_for(
        &mut self,
        needs: &BTreeMap<TopicPartition, BTreeSet<Need>>,
        consumer: &Consumer,
        came: Instant,
        may_seek: bool,
        deadline: Instant,
    ) -> bool {
        if let Some(unsorted) = &mut self.unsorted {
            unsorted.has_waited = true;
        }
        let limit = self.limit(consumer);
        let all = needs.values().flatten().filter(|need| !self.requests.prepared.contains_key(need));
        let all: BTreeSet<Need> = all.copied().collect();
        all.iter().for_each(|need| self.ask(*need, limit));
        // If no partition can be sought back, all of them wait as long as the policy allows. A single request ends by itself.
        let patience = match (may_seek, self.when_unknown) {
            (true, _) => clock::later(came, PATIENCE.min(limit)),
            (false, WhenUnknown::Fail) => clock::after(Duration::MAX),
            (false, _) => clock::later(came, limit),
        };
        while !self.requests.asking.is_disjoint(&all) {
            if clock::timeout_at(patience.min(deadline), self.requests.answered()).await.is_none() {
                return deadline >= patience;
            }
        }
        true
    }

    /// The needs of each partition's records that are not permanently known and not given up.
    fn needs(&mut self, consumer: &Consumer, records: &Records) -> BTreeMap<TopicPartition, BTreeSet<Need>> {
        let now = clock::now();
        self.requests.given_up.retain(|_, until| now < *until);
        let mut needs: BTreeMap<TopicPartition, BTreeSet<Need>> = BTreeMap::new();
        for part in records.partitions().filter(|part| consumer.is_current(part)) {
            for record in part {
                for need in missing(&self.pair, &record) {
                    if !self.requests.given_up.contains_key(&need) {
                        needs.entry(part.topic_partition().clone()).or_default().insert(need);
                    }
                }
            }
        }
        needs
    }

    fn limit(&self, consumer: &Consumer) -> Duration {
        match self.when_unknown {
            WhenUnknown::Fail => Duration::ZERO,
            _ if !self.may_seek => {
                let longest = consumer.config().max_poll_interval / 2;
                match self.when_unknown {
                    WhenUnknown::Wait(limit) => limit.min(longest),
                    WhenUnknown::Pause | WhenUnknown::Fail => longest,
                }
            }
            WhenUnknown::Wait(limit) => limit,
            WhenUnknown::Pause => Duration::MAX,
        }
    }

    fn ask(&mut self, need: Need, limit: Duration) {
        if !self.requests.asking.insert(need) {
            return;
        }
        let pair = Arc::clone(&self.pair);
        let task = self.requests.tasks.spawn(async move {
            match need.0 {
                Part::Key => pair.key.prepare(need.1, limit).await,
                Part::Value => pair.value.prepare(need.1, limit).await,
            }
        });
        self.requests.needs.insert(task.id(), need);
    }

    /// Resumes partitions that no longer wait for anything.
    fn release(&mut self, consumer: &Consumer) {
        let asking = &self.requests.asking;
        for (partition, held) in &mut self.held {
            if held.stage == Stage::Paused && held.needs.is_disjoint(asking) {
                held.stage = Stage::Resumed;
                // A partition that is no longer assigned is not paused either.
                let _ = consumer.resume(partition.clone());
            }
        }
        if self.held.values().any(|held| held.stage == Stage::Resumed) {
            let owned: BTreeSet<TopicPartition> = consumer.assignment().into_iter().collect();
            self.held.retain(|partition, _| owned.contains(partition));
        }
        self.forget();
    }

    /// Drops results that no held partition needs.
    fn forget(&mut self) {
        let held = &self.held;
        self.requests.prepared.retain(|need, _| held.values().any(|held| held.needs.contains(need)));
    }
}

impl SchemaRequests {
    /// Waits until one request ends, and removes it.
    async fn answered(&mut self) {
        let Some(ended) = self.tasks.join_next_with_id().await else { return };
        let (id, answer) = match ended {
            Ok((id, answer)) => (id, answer.ok()),
            Err(panicked) => (panicked.id(), None),
        };
        let Some(need) = self.needs.remove(&id) else { return };
        self.asking.remove(&need);
        match answer {
            Some(prepared) if prepared.holds() => drop(self.prepared.insert(need, prepared)),
            // The deserializer itself knows whether the schema is known.
            Some(_) => {}
            None => drop(self.given_up.insert(need, clock::after(GIVEN_UP_FOR))),
        }
    }

    /// Whether the results of all of them are kept.
    fn has(&self, needs: &BTreeSet<Need>) -> bool {
        needs.iter().all(|need| self.prepared.contains_key(need))
    }
}

fn missing<'a, K: Deserializer, V: Deserializer>(
    pair: &Pair<K, V>,
    record: &Record<'a>,
) -> impl Iterator<Item = Need> + use<K, V> {
    let key = pair.key.missing(&Payload::of(Part::Key, record)).map(|id| (Part::Key, id));
    let value = pair.value.missing(&Payload::of(Part::Value, record)).map(|id| (Part::Value, id));
    key.into_iter().chain(value)
}
