//! Looking up offsets by time.

use super::Log;

/// The record that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) timestamp: i64,
    pub(super) offset: i64,
    pub(super) leader_epoch: i32,
}

impl Log {
    /// The first record at or after this time.
    pub(super) fn at_time(&self, timestamp: i64) -> Option<Found> {
        let candidates = self.batches.iter().map(|stored| &stored.batch);
        for batch in candidates.filter(|batch| batch.header.max_timestamp >= timestamp) {
            let header = &batch.header;
            for entry in batch.entries().unwrap_or_default() {
                let (at, offset) =
                    (header.timestamp_of(&entry), header.base_offset + i64::from(entry.offset_delta));
                if at >= timestamp && offset >= self.start {
                    return Some(Found { timestamp: at, offset, leader_epoch: header.leader_epoch });
                }
            }
        }
        None
    }

    /// The first record with the greatest time.
    pub(super) fn at_latest_time(&self) -> Option<Found> {
        let greatest = self.batches.iter().map(|stored| stored.batch.header.max_timestamp).max()?;
        if greatest == -1 {
            return None;
        }
        let batch = &self.batches.iter().find(|stored| stored.batch.header.max_timestamp == greatest)?.batch;
        let header = &batch.header;
        let offset = if header.is_log_append_time() {
            header.base_offset
        } else {
            let entries = batch.entries().ok()?;
            let entry = entries.iter().find(|entry| header.timestamp_of(entry) == greatest)?;
            header.base_offset + i64::from(entry.offset_delta)
        };
        Some(Found { timestamp: greatest, offset, leader_epoch: header.leader_epoch })
    }
}
