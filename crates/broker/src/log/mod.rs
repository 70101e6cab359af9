//! A partition's log: record batches as their producers sent them, with offsets and leader epochs filled in.
//!
//! All replicas share one [`Log`]: replication is instant, unless a test holds the high watermark or a follower back.
//! Every change of a log must be followed by [`Model::wake_fetches`].

mod append;
mod batch;
mod compact;
mod compression;
mod describe;
mod direct;
mod dirs;
mod epochs;
mod lookup;
mod offsets;
mod produce;
mod producers;
mod read;
mod records;
mod replica;
mod validate;

#[cfg(test)]
pub(crate) mod stage;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use direct::NewRecord;
pub(crate) use read::{Limit, Slice};
pub(crate) use replica::ReplicaState;

use self::{batch::Batch, epochs::Epochs, producers::Producers};
use crate::model::Model;

/// One log.
#[derive(Debug, Default)]
pub(crate) struct Log {
    batches: Vec<Stored>,
    start: i64,
    end: i64,
    /// The high watermark may not pass this offset.
    held: Option<i64>,
    /// Limits of followers that a test holds back.
    lags: BTreeMap<i32, FollowerLimit>,
    epochs: Epochs,
    producers: Producers,
    /// Transactions that ended, kept until the high watermark passes their marker.
    ended: Vec<Ended>,
    /// Kafka's transaction index: aborted transactions, in the order in which they ended.
    aborted: Vec<Aborted>,
    /// Bytes since the last entry of the offset index.
    unindexed: u64,
}

/// A batch and its position: Kafka's lists of aborted transactions reach as far as the next entry of the offset index.
#[derive(Debug)]
struct Stored {
    batch: Batch,
    position: u64,
    indexed: bool,
}

/// How far a follower's log may reach.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FollowerLimit {
    /// The end of the follower's log.
    pub(crate) end: Option<i64>,
    /// The follower's high watermark.
    pub(crate) high_watermark: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
struct Ended {
    first: i64,
    marker: i64,
}

#[derive(Clone, Copy, Debug)]
struct Aborted {
    producer: i64,
    first: i64,
    marker: i64,
    /// The last stable offset after it ended: later entries begin at or after it.
    last_stable: i64,
}

/// `index.interval.bytes`.
const INDEX_INTERVAL: u64 = 4096;

impl Log {
    /// The first offset in the log.
    pub(crate) fn start(&self) -> i64 {
        self.start
    }

    /// The offset that the next record gets.
    pub(crate) fn end(&self) -> i64 {
        self.end
    }

    /// The high watermark: consumers may read up to it.
    pub(crate) fn high_watermark(&self) -> i64 {
        self.held.map_or(self.end, |held| held.clamp(self.start, self.end.max(self.start)))
    }

    /// The last stable offset, up to which consumers of committed data may read: before the first record of the oldest
    /// open transaction.
    pub(crate) fn last_stable(&self) -> i64 {
        self.last_stable_under(self.high_watermark())
    }

    /// The last stable offset of a replica with this high watermark. A transaction counts as open until its marker is below it.
    fn last_stable_under(&self, high_watermark: i64) -> i64 {
        let open = self.producers.values().filter_map(|producer| producer.open);
        let ended = self.ended.iter().filter(|ended| ended.marker >= high_watermark).map(|ended| ended.first);
        let unstable = open.chain(ended).min().map(|first| first.max(self.start));
        unstable.map_or(high_watermark, |first| first.min(high_watermark))
    }

    /// The latest epoch up to this one, and the end of its records in the log; `end` for the latest epoch.
    pub(crate) fn end_of_epoch(&self, epoch: i32, end: i64) -> Option<(i32, i64)> {
        self.epochs.end_of(epoch, end)
    }

    /// Notes that a leader wrote, or may write, in this epoch from here on.
    fn lead(&mut self, epoch: i32) {
        self.epochs.begin(epoch, self.end);
    }

    /// Puts a batch at the end; its offsets are set already.
    fn push(&mut self, batch: Batch) {
        let position = self.size_to(self.batches.len());
        let indexed = self.unindexed > INDEX_INTERVAL;
        if indexed {
            self.unindexed = 0;
        }
        self.unindexed += batch.size() as u64;
        self.end = batch.header.last_offset() + 1;
        self.batches.push(Stored { batch, position, indexed });
        self.forget_ended();
    }

    /// Updates the producer of a batch that was put at the end of the log.
    fn account(&mut self, batch: &Batch) {
        let header = batch.header;
        if !header.has_producer() {
            return;
        }
        let producer = self.producers.entry(header.producer_id).or_default();
        if !header.is_control() {
            producer.on_append(&header);
            return;
        }
        let (Some(commit), Some(coordinator_epoch)) = (batch.commits(), batch.coordinator_epoch()) else {
            return;
        };
        let Some(first) = producer.ended(&header, coordinator_epoch) else { return };
        let marker = header.base_offset;
        self.ended.push(Ended { first, marker });
        if !commit {
            let open = self.producers.values().filter_map(|producer| producer.open).min();
            let last_stable = open.unwrap_or(marker + 1);
            self.aborted.push(Aborted { producer: header.producer_id, first, marker, last_stable });
        }
    }

    fn forget_ended(&mut self) {
        // A follower that lags needs them longer than the leader.
        let slowest = self.lags.values().filter_map(|lag| lag.high_watermark.or(lag.end)).min();
        let passed = slowest.unwrap_or(i64::MAX).min(self.high_watermark());
        self.ended.retain(|ended| ended.marker >= passed);
    }

    /// Replaces the log's batches, and derives everything else anew.
    fn refill(&mut self, batches: Vec<Batch>) {
        let end = self.end;
        self.batches.clear();
        self.unindexed = 0;
        for batch in batches {
            self.push(batch);
        }
        self.end = end;
    }

    /// The bytes before the batch with this index.
    fn size_to(&self, index: usize) -> u64 {
        index
            .checked_sub(1)
            .and_then(|before| self.batches.get(before))
            .map_or(0, |stored| stored.position + stored.batch.size() as u64)
    }

    /// The index of the batch that contains this offset, or of the first one after it.
    fn at_or_after(&self, offset: i64) -> usize {
        self.batches.partition_point(|stored| stored.batch.header.last_offset() < offset)
    }

    /// Moves the start of the log to `offset`, which is at most the high watermark. Removes the batches that lie wholly before it.
    fn move_start(&mut self, offset: i64) {
        if offset <= self.start {
            return;
        }
        self.start = offset;
        self.end = self.end.max(offset);
        let gone = self.at_or_after(offset);
        self.batches.drain(..gone);
        self.epochs.cut_start(offset);
        self.aborted.retain(|aborted| aborted.marker >= offset);
        self.ended.retain(|ended| ended.marker >= offset);
    }
}

impl Model {
    /// Ends a producer's transaction in a partition: appends the marker. Unknown partitions (deleted meanwhile) are skipped.
    pub(crate) fn append_marker(
        &mut self,
        topic: &str,
        partition: i32,
        producer: i64,
        epoch: i16,
        commit: bool,
        coordinator_epoch: i32,
    ) {
        let timestamp = self.wall_ms();
        let Some(found) = self.topics.partition_mut(topic, partition) else { return };
        let known = found.log.producers.get(&producer);
        let fenced =
            known.is_some_and(|known| known.epoch > epoch || known.coordinator_epoch > coordinator_epoch);
        let marker = Batch::marker((producer, epoch), commit, coordinator_epoch, timestamp);
        let Some(marker) = marker.filter(|_| !fenced) else { return };
        found.log.lead(found.leader_epoch);
        let marker = marker.placed(found.log.end, found.leader_epoch);
        found.log.account(&marker);
        found.log.push(marker);
        self.observe(|at| crate::observe::Observed::Ended {
            at,
            topic: topic.to_owned(),
            partition,
            producer,
            committed: commit,
        });
        self.wake_fetches(topic, partition);
    }
}
