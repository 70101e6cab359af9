//! Compaction and truncation: the removal of records from the middle or the end of a log.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{
    Log,
    batch::{Batch, Header},
    records::Entry,
};

impl Log {
    /// Keeps the last record of each key below the last stable offset, and everything after that offset. A batch that
    /// loses records keeps its offsets, so readers must go by its last offset. A batch that loses all records stays as
    /// a header if it is its producer's last, so that the sequences are not forgotten; otherwise it is removed.
    /// Tombstones and markers stay: `delete.retention.ms` is not implemented here.
    pub(super) fn compact(&mut self) {
        let stable = self.last_stable();
        let is_aborted = |header: &Header| {
            header.is_transactional()
                && self.aborted.iter().any(|aborted| {
                    aborted.producer == header.producer_id
                        && aborted.first <= header.base_offset
                        && header.last_offset() < aborted.marker
                })
        };
        let mut last: BTreeMap<Bytes, i64> = BTreeMap::new();
        let cleanable = |batch: &Batch| batch.header.last_offset() < stable && !batch.header.is_control();
        let batches = || self.batches.iter().map(|stored| &stored.batch);
        for batch in batches().filter(|batch| cleanable(batch) && !is_aborted(&batch.header)) {
            for entry in batch.entries().unwrap_or_default() {
                if let Some(key) = &entry.key {
                    last.insert(key.clone(), batch.header.base_offset + i64::from(entry.offset_delta));
                }
            }
        }
        let mut kept = Vec::new();
        for batch in batches() {
            let Some(entries) = cleanable(batch).then(|| batch.entries().ok()).flatten() else {
                kept.push(batch.clone());
                continue;
            };
            let header = batch.header;
            let aborted = is_aborted(&header);
            let stays = |entry: &Entry| {
                let offset = header.base_offset + i64::from(entry.offset_delta);
                !aborted && entry.key.as_ref().is_some_and(|key| last.get(key) == Some(&offset))
            };
            let before = entries.len();
            let entries: Vec<Entry> = entries.into_iter().filter(stays).collect();
            if entries.len() == before && before > 0 {
                kept.push(batch.clone());
            } else if !entries.is_empty() || self.is_last_of_producer(&header) {
                kept.extend(with_entries(header, entries));
            }
        }
        self.refill(kept);
    }

    fn is_last_of_producer(&self, header: &Header) -> bool {
        let producer = self.producers.get(&header.producer_id).filter(|_| header.has_producer());
        producer.and_then(super::producers::Producer::last_offset) == Some(header.last_offset())
    }

    /// Removes everything from this offset on, and the state derived from it.
    pub(super) fn truncate(&mut self, offset: i64) {
        if offset >= self.end {
            return;
        }
        let keeps = |batch: &Batch| batch.header.last_offset() < offset;
        let batches: Vec<Batch> =
            self.batches.drain(..).map(|stored| stored.batch).filter(|batch| keeps(batch)).collect();
        self.producers.clear();
        self.aborted.clear();
        self.ended.clear();
        self.start = self.start.min(offset.max(0));
        // The end follows from the remaining batches, unless there are none, or the tail was compacted away.
        let last = batches.last().map_or(self.start, |batch| batch.header.last_offset() + 1);
        self.refill(Vec::new());
        self.end = last.max(self.start);
        let end = self.end;
        for batch in batches {
            self.account(&batch);
            self.push(batch);
        }
        self.end = end;
        self.epochs.cut_end(end);
    }
}

/// A batch without some of its records. Timestamps become relative to the first record that is left.
fn with_entries(header: Header, mut entries: Vec<Entry>) -> Option<Batch> {
    let times: Vec<i64> = entries.iter().map(|entry| header.timestamp_of(entry)).collect();
    let Some(first) = times.first().copied() else {
        return Batch::build(header, &[]);
    };
    for (entry, time) in entries.iter_mut().zip(&times) {
        entry.timestamp_delta = time.saturating_sub(first);
    }
    let max_timestamp = times.iter().copied().max().unwrap_or(header.max_timestamp);
    Batch::build(Header { base_timestamp: first, max_timestamp, ..header }, &entries)
}
