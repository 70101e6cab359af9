//! [`Gate`]: between a consumer's `poll` and whoever decodes: partitions whose next records need a schema that is not known wait, and
//! only they do.
//!
//! Such a partition is sought back to its first record of that poll and paused, until the schema is known. So nothing of it counts as handed
//! out, and nothing is committed beyond it, whatever becomes of the process meanwhile.

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

/// What becomes of records whose schema the registry cannot be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenUnknown {
    /// Their partition waits so long, then they fail as with [`Fail`](Self::Fail).
    Wait(Duration),
    /// They are handed out at once, and decoding them fails with an error that [is retriable](DecodeError::is_retriable).
    Fail,
    /// Their partition waits until the registry answers, however long.
    Pause,
}

impl Default for WhenUnknown {
    /// 30 seconds.
    fn default() -> Self {
        Self::Wait(Duration::from_secs(30))
    }
}

/// A schema is waited for this long before its partition is sought back: most registries answer sooner.
const PATIENCE: Duration = Duration::from_millis(500);
/// So long an id that was waited for in vain is not waited for again.
const GIVEN_UP_FOR: Duration = Duration::from_secs(10);

/// How keys and values are decoded.
#[derive(Debug)]
pub(crate) struct Pair<K, V> {
    pub(crate) key: K,
    pub(crate) value: V,
}

type Need = (Part, SchemaId);

/// See the module's head.
pub struct Gate<K, V> {
    pair: Arc<Pair<K, V>>,
    when_unknown: WhenUnknown,
    /// Whether all that was handed out before is finished when `poll` is called again: only then a partition may be sought back.
    may_seek: bool,
    /// Polled, and not looked through to the end, and since when: a `poll` that is dropped loses none of it. The consumer withholds it
    /// from commits.
    unsorted: Option<Unsorted>,
    /// Partitions of which nothing is handed out before what they need is known.
    held: BTreeMap<TopicPartition, Held>,
    questions: Questions,
}

/// A partition that was sought back.
struct Held {
    needs: BTreeSet<Need>,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It is paused here, and its needs are asked for.
    Paused,
    /// It is resumed, and what it needs is kept until its records have come again.
    Resumed,
}

#[derive(Clone)]
struct Unsorted {
    records: Records,
    came: Instant,
    /// The application may have sought or paused since they came.
    has_waited: bool,
}

/// What is asked for now. Each question is a task: it goes on while the application is away from `poll`, as others may wait for the same
/// answer, and ends with the gate.
#[derive(Default)]
struct Questions {
    asking: BTreeSet<Need>,
    tasks: JoinSet<Result<Prepared, DecodeError>>,
    needs: HashMap<task::Id, Need>,
    given_up: HashMap<Need, Instant>,
    /// Answers, for as long as records that need them are not handed out: a cache may forget them.
    prepared: HashMap<Need, Prepared>,
}

/// What one `poll` hands out. It can be decoded as long as this is kept.
#[derive(Clone, Debug, Default)]
pub struct Sorted {
    records: Records,
    withheld: BTreeSet<TopicPartition>,
    /// What a cache may forget meanwhile.
    _prepared: Vec<Prepared>,
}

impl Sorted {
    /// The runs of consecutive records that are handed out.
    pub fn partitions(&self) -> impl Iterator<Item = &PartitionRecords> {
        self.records.partitions().filter(|part| !self.withheld.contains(part.topic_partition()))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        self.partitions().flatten()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.partitions().next().is_none()
    }

    /// As the consumer gave them, with those of partitions of which nothing [is handed out](Self::withholds).
    pub fn all(&self) -> &Records {
        &self.records
    }

    /// Whether nothing of this partition is handed out.
    pub fn withholds(&self, partition: &TopicPartition) -> bool {
        self.withheld.contains(partition)
    }

    /// As the consumer gave them, if nothing is withheld.
    pub(crate) fn whole(&self) -> Option<&Records> {
        self.withheld.is_empty().then_some(&self.records)
    }
}

impl<K: Deserializer, V: Deserializer> Gate<K, V> {
    pub(crate) fn over(pair: Arc<Pair<K, V>>, when_unknown: WhenUnknown, may_seek: bool) -> Self {
        let (unsorted, held) = (None, BTreeMap::new());
        Self { pair, when_unknown, may_seek, unsorted, held, questions: Questions::default() }
    }

    /// A gate for who says before each `poll` that all that was handed out before is finished.
    pub fn new(key: K, value: V, when_unknown: WhenUnknown) -> Self {
        Self::over(Arc::new(Pair { key, value }), when_unknown, true)
    }

    /// For what comes to wait from now on.
    pub(crate) fn set_when_unknown(&mut self, when_unknown: WhenUnknown) {
        self.when_unknown = when_unknown;
    }

    /// The partitions that wait for a schema now.
    pub fn held(&self) -> impl Iterator<Item = &TopicPartition> {
        let held = self.held.iter().filter(|(_, held)| held.stage == Stage::Paused);
        held.map(|(partition, _)| partition)
    }

    /// Whether records that the consumer has given wait for a schema: it stands behind them, though they were not handed out.
    pub fn is_waiting(&self) -> bool {
        self.unsorted.is_some() || self.held().next().is_some()
    }

    /// As [`Consumer::poll`]. Dropping it loses nothing: what was polled and not handed out comes with the next call, and is not committed
    /// before.
    ///
    /// # Errors
    /// As [`Consumer::poll`].
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
            let polled = if self.questions.asking.is_empty() {
                consumer.poll(left).await?
            } else {
                tokio::select! {
                    biased;
                    () = self.questions.answered() => continue,
                    polled = consumer.poll(left) => polled?,
                }
            };
            if polled.is_empty() && polled.resets().is_empty() {
                return Ok(Sorted::default());
            }
            // Nothing is waited for in between: whatever becomes of this `poll`, no commit passes these.
            consumer.withhold();
            self.unsorted = Some(Unsorted { records: polled, came: clock::now(), has_waited: false });
        }
    }

    /// Takes out what cannot be decoded yet. `None`: a schema is still waited for, and the time of this `poll` is over.
    async fn sort(&mut self, consumer: &mut Consumer, deadline: Instant) -> offtake::Result<Option<Sorted>> {
        let Some(Unsorted { records, came, has_waited }) = self.unsorted.clone() else { return Ok(None) };
        let is_finished_each = records.iter().next().is_some_and(|record| record.ticket().is_ok());
        let may_seek = self.may_seek && !is_finished_each && self.when_unknown != WhenUnknown::Fail;
        let mut needs = self.needs(consumer, &records);
        let waits = needs.values().any(|needs| !self.questions.has(needs));
        if waits {
            if !self.wait_for(&needs, consumer, came, may_seek, deadline).await {
                return Ok(None);
            }
            needs = self.needs(consumer, &records);
        }
        // What was sought or given up meanwhile is not handed out: who did that wants other records.
        let stale = records.partitions().filter(|part| !consumer.is_current(part));
        let mut withheld: BTreeSet<_> = stale.map(|part| part.topic_partition().clone()).collect();
        let paused = if may_seek && (waits || has_waited) { consumer.paused() } else { Vec::new() };
        let mut prepared = BTreeMap::new();
        for part in records.partitions() {
            let partition = part.topic_partition();
            let is_paused = paused.contains(partition);
            let needed = needs.get(partition).filter(|needs| may_seek && !self.questions.has(needs));
            let Some(first) = part.iter().next() else { continue };
            if needed.is_none() && !is_paused {
                // What is handed out takes with it what it needs.
                let needs = needs.get(partition).into_iter().flatten();
                prepared.extend(
                    needs.filter_map(|need| Some((*need, self.questions.prepared.get(need)?.clone()))),
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
            // What the application has paused meanwhile comes when it resumes it.
            let held =
                sought.and_then(|()| if is_paused { Ok(()) } else { consumer.pause(partition.clone()) });
            match (held, needed) {
                (Ok(()), Some(needed)) if !is_paused => {
                    let held = Held { needs: needed.clone(), stage: Stage::Paused };
                    self.held.insert(partition.clone(), held);
                }
                (Ok(()), _) => {}
                // It has changed hands: whoever has it now reads these records.
                (Err(error), _) if error.kind() == ErrorKind::NotOwned => {}
                (Err(error), _) => return Err(error),
            }
        }
        self.unsorted = None;
        consumer.hand_out_withheld();
        self.forget();
        Ok(Some(Sorted { records, withheld, _prepared: prepared.into_values().collect() }))
    }

    /// Asks for what is needed, and waits for it as long as the policy says. `false`: the time of this `poll` is over before that.
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
        let all = needs.values().flatten().filter(|need| !self.questions.prepared.contains_key(need));
        let all: BTreeSet<Need> = all.copied().collect();
        all.iter().for_each(|need| self.ask(*need, limit));
        // Where a partition cannot be sought back, all wait as long as the policy says. One request ends by itself.
        let patience = match (may_seek, self.when_unknown) {
            (true, _) => clock::later(came, PATIENCE.min(limit)),
            (false, WhenUnknown::Fail) => clock::after(Duration::MAX),
            (false, _) => clock::later(came, limit),
        };
        while !self.questions.asking.is_disjoint(&all) {
            if clock::timeout_at(patience.min(deadline), self.questions.answered()).await.is_none() {
                return deadline >= patience;
            }
        }
        true
    }

    /// What the records of each partition need that is not known for good and not given up.
    fn needs(&mut self, consumer: &Consumer, records: &Records) -> BTreeMap<TopicPartition, BTreeSet<Need>> {
        let now = clock::now();
        self.questions.given_up.retain(|_, until| now < *until);
        let mut needs: BTreeMap<TopicPartition, BTreeSet<Need>> = BTreeMap::new();
        for part in records.partitions().filter(|part| consumer.is_current(part)) {
            for record in part {
                for need in missing(&self.pair, &record) {
                    if !self.questions.given_up.contains_key(&need) {
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
        if !self.questions.asking.insert(need) {
            return;
        }
        let pair = Arc::clone(&self.pair);
        let task = self.questions.tasks.spawn(async move {
            match need.0 {
                Part::Key => pair.key.prepare(need.1, limit).await,
                Part::Value => pair.value.prepare(need.1, limit).await,
            }
        });
        self.questions.needs.insert(task.id(), need);
    }

    /// Lets go on what waits for nothing any more.
    fn release(&mut self, consumer: &Consumer) {
        let asking = &self.questions.asking;
        for (partition, held) in &mut self.held {
            if held.stage == Stage::Paused && held.needs.is_disjoint(asking) {
                held.stage = Stage::Resumed;
                // One that is not ours any more is not paused either.
                let _ = consumer.resume(partition.clone());
            }
        }
        if self.held.values().any(|held| held.stage == Stage::Resumed) {
            let owned: BTreeSet<TopicPartition> = consumer.assignment().into_iter().collect();
            self.held.retain(|partition, _| owned.contains(partition));
        }
        self.forget();
    }

    /// Keeps of what was answered what a partition that is held needs.
    fn forget(&mut self) {
        let held = &self.held;
        self.questions.prepared.retain(|need, _| held.values().any(|held| held.needs.contains(need)));
    }
}

impl Questions {
    /// Waits until one of them has its answer, and takes it off.
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
            // The deserialiser says itself whether it is known.
            Some(_) => {}
            None => drop(self.given_up.insert(need, clock::after(GIVEN_UP_FOR))),
        }
    }

    /// Whether all of them were answered, and are kept.
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
