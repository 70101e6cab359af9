//! The partitions without a start offset, by the state of their lookups, so that finding the few that are
//! ready does not require a search through all of them: there may be hundreds of thousands, of topics that do
//! not exist.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use offtake_machine::{BrokerId, CallError, CallId, TopicPartition};

use crate::{Cause, Offsets, partition::Partition};

/// An index of all lookups of start offsets. It repeats state of the partitions themselves
/// ([`Offsets::index_lookup`]).
#[derive(Debug, Default)]
pub(crate) struct Lookups {
    all: BTreeMap<TopicPartition, Entry>,
    /// Ready to be sent to the coordinator, as soon as it is known.
    for_coordinator: BTreeSet<TopicPartition>,
    /// Ready to be sent to their leaders.
    for_leaders: BTreeSet<TopicPartition>,
    /// The same, but their leaders have enough to answer.
    held: BTreeMap<BrokerId, BTreeSet<TopicPartition>>,
    /// Another topic has their names.
    replaced: BTreeSet<TopicPartition>,
    /// Not to be sent before these times.
    later: BTreeSet<(Instant, TopicPartition)>,
    sent: BTreeMap<CallId, BTreeSet<TopicPartition>>,
    /// How many are lookups at the coordinator, at any stage.
    of_coordinator: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    is_for_coordinator: bool,
    stage: Stage,
}

/// The stage of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Ready,
    /// It is ready, but its leader has enough to answer.
    Held(BrokerId),
    /// It is ready, but another topic has the name.
    Replaced,
    Later(Instant),
    Sent(CallId),
}

impl Lookups {
    /// All partitions without a start offset.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.all.keys()
    }

    pub(crate) fn contains(&self, partition: &TopicPartition) -> bool {
        self.all.contains_key(partition)
    }

    /// Whether any lookup needs the coordinator.
    pub(crate) fn want_coordinator(&self) -> bool {
        self.of_coordinator > 0
    }

    /// Those that are ready for the coordinator.
    pub(crate) fn ready_for_coordinator(&self) -> Vec<TopicPartition> {
        self.for_coordinator.iter().cloned().collect()
    }

    /// Those that are ready for their leaders.
    pub(crate) fn ready_for_leaders(&self) -> Vec<TopicPartition> {
        self.for_leaders.iter().cloned().collect()
    }

    /// Keeps one that is ready for its leader until [`release_held`](Offsets::release_held).
    pub(crate) fn hold(&mut self, partition: &TopicPartition, of: BrokerId) {
        self.set(partition, Some(Entry { is_for_coordinator: false, stage: Stage::Held(of) }));
    }

    /// Those that this leader, or any, has not been asked about because it has enough to answer.
    fn held_for(&self, of: Option<BrokerId>) -> Vec<TopicPartition> {
        let held = self.held.iter().filter(|(leader, _)| of.is_none_or(|of| of == **leader));
        held.flat_map(|(_, partitions)| partitions).cloned().collect()
    }

    /// Those that are ready while another topic has their name.
    pub(crate) fn replaced(&self) -> Vec<TopicPartition> {
        self.replaced.iter().cloned().collect()
    }

    /// Those that this call contains.
    pub(crate) fn sent_in(&self, call: CallId) -> Vec<TopicPartition> {
        self.sent.get(&call).into_iter().flatten().cloned().collect()
    }

    /// When the next one becomes ready.
    pub(crate) fn next_wakeup(&self) -> Option<Instant> {
        self.later.first().map(|(at, _)| *at)
    }

    /// One whose wait is over.
    fn waited_until(&self, now: Instant) -> Option<TopicPartition> {
        self.later.first().filter(|(at, _)| *at <= now).map(|(_, partition)| partition.clone())
    }

    fn set(&mut self, partition: &TopicPartition, entry: Option<Entry>) {
        let before = match entry {
            Some(entry) => self.all.insert(partition.clone(), entry),
            None => self.all.remove(partition),
        };
        if before == entry {
            return;
        }
        if let Some(before) = before {
            self.of_coordinator = self.of_coordinator.saturating_sub(usize::from(before.is_for_coordinator));
            self.remove(partition, before);
        }
        if let Some(entry) = entry {
            self.of_coordinator = self.of_coordinator.saturating_add(usize::from(entry.is_for_coordinator));
            self.insert(partition.clone(), entry);
        }
    }

    fn remove(&mut self, partition: &TopicPartition, entry: Entry) {
        match entry.stage {
            Stage::Ready if entry.is_for_coordinator => {
                self.for_coordinator.remove(partition);
            }
            Stage::Ready => {
                self.for_leaders.remove(partition);
            }
            Stage::Held(of) => remove(&mut self.held, &of, partition),
            Stage::Replaced => {
                self.replaced.remove(partition);
            }
            Stage::Later(at) => {
                self.later.remove(&(at, partition.clone()));
            }
            Stage::Sent(call) => remove(&mut self.sent, &call, partition),
        }
    }

    fn insert(&mut self, partition: TopicPartition, entry: Entry) {
        match entry.stage {
            Stage::Ready if entry.is_for_coordinator => {
                self.for_coordinator.insert(partition);
            }
            Stage::Ready => {
                self.for_leaders.insert(partition);
            }
            Stage::Held(of) => {
                self.held.entry(of).or_default().insert(partition);
            }
            Stage::Replaced => {
                self.replaced.insert(partition);
            }
            Stage::Later(at) => {
                self.later.insert((at, partition));
            }
            Stage::Sent(call) => {
                self.sent.entry(call).or_default().insert(partition);
            }
        }
    }
}

fn remove<K: Ord>(from: &mut BTreeMap<K, BTreeSet<TopicPartition>>, key: &K, partition: &TopicPartition) {
    if let Some(partitions) = from.get_mut(key) {
        partitions.remove(partition);
        if partitions.is_empty() {
            from.remove(key);
        }
    }
}

impl Offsets {
    /// The lookup of this partition has begun, changed or ended.
    pub(crate) fn index_lookup(&mut self, partition: &TopicPartition) {
        let entry = self.partitions.get(partition).and_then(Partition::resolving).map(|waiting| {
            let stage = match (waiting.retry.outstanding, waiting.retry.not_before()) {
                (Some(call), _) => Stage::Sent(call),
                (None, Some(at)) if at > self.clock => Stage::Later(at),
                (None, _) if self.is_replaced(partition) => Stage::Replaced,
                (None, _) => Stage::Ready,
            };
            Entry { is_for_coordinator: waiting.is_for_coordinator(), stage }
        });
        self.lookups.set(partition, entry);
    }

    /// Lookups whose wait is over are ready.
    pub(crate) fn wake_lookups(&mut self) {
        while let Some(partition) = self.lookups.waited_until(self.clock) {
            self.index_lookup(&partition);
        }
    }

    /// This leader may be gone.
    pub(crate) fn fail_held(&mut self, now: Instant, of: BrokerId, error: &CallError) {
        let backoffs = self.backoffs.next_round();
        for partition in self.lookups.held_for(Some(of)) {
            self.on_leader_failure(now, &partition, Cause::Call(error.clone()), &backoffs);
        }
    }

    /// This leader, or any, can be asked about more.
    pub(crate) fn release_held(&mut self, of: Option<BrokerId>) {
        for partition in self.lookups.held_for(of) {
            self.index_lookup(&partition);
        }
    }
}
