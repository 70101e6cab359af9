//! Reading bytes from a log.

use bytes::{Bytes, BytesMut};
use kafka_protocol::error::ResponseError;

use super::{Log, ReplicaState, Stored};

/// Limits of a read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    /// The number of bytes.
    pub(crate) bytes: i32,
    /// Whether the first batch is returned whole, however long it is (KIP-74).
    pub(crate) at_least_one: bool,
    /// The offset at which reading stops.
    pub(crate) offset: i64,
    /// Whether to return the list of aborted transactions.
    pub(crate) aborted: bool,
}

/// The result of a read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slice {
    /// Batches; the last may be cut off anywhere.
    pub(crate) records: Bytes,
    /// Producer and first offset. Kafka's answer distinguishes "none" from "not requested".
    pub(crate) aborted: Option<Vec<(i64, i64)>>,
}

impl Log {
    /// Reads from the batch that contains `offset`, or the next one.
    pub(crate) fn read(
        &self,
        replica: &ReplicaState,
        offset: i64,
        limit: Limit,
    ) -> Result<Slice, ResponseError> {
        if offset < replica.start || offset > replica.end {
            return Err(ResponseError::OffsetOutOfRange);
        }
        if offset >= limit.offset {
            return Ok(Slice { records: Bytes::new(), aborted: limit.aborted.then(Vec::new) });
        }
        let at = self.at_or_after(offset);
        let Some(first) = self.batches.get(at) else { return Ok(Slice::default()) };
        let asked = usize::try_from(limit.bytes).map_err(|_| ResponseError::UnknownServerError)?;
        let size = first.batch.size();
        if !limit.at_least_one && asked > 0 && asked < size {
            return Ok(Slice::default());
        }
        let allowed = if limit.at_least_one { asked.max(size) } else { asked };
        let to = self.at_or_after(limit.offset);
        let reach = usize::try_from(self.size_to(to).saturating_sub(first.position)).unwrap_or(usize::MAX);
        let length = allowed.min(reach);
        let records = join(self.batches.get(at..to).unwrap_or_default(), length);
        let aborted = limit.aborted.then(|| self.aborted_in(offset, first.position + length as u64, at));
        Ok(Slice { records, aborted })
    }

    /// The aborted transactions that overlap the range from `offset` to the first entry of the offset index at or after
    /// a position: Kafka returns the same few too many.
    fn aborted_in(&self, offset: i64, position: u64, at: usize) -> Vec<(i64, i64)> {
        let after = self.batches.iter().skip(at).find(|stored| stored.indexed && stored.position >= position);
        let upper = after.map_or(self.end, |stored| stored.batch.header.last_offset());
        let mut found = Vec::new();
        for aborted in &self.aborted {
            if aborted.marker >= offset && aborted.first < upper {
                found.push((aborted.producer, aborted.first));
            }
            if aborted.last_stable >= upper {
                break;
            }
        }
        found
    }
}

/// The first `length` bytes of these batches.
fn join(batches: &[Stored], length: usize) -> Bytes {
    match batches {
        [first, ..] if first.batch.size() >= length => first.batch.bytes.slice(..length),
        _ => {
            let mut joined = BytesMut::with_capacity(length);
            for stored in batches {
                let part = stored.batch.size().min(length - joined.len());
                joined.extend_from_slice(&stored.batch.bytes.slice(..part));
                if joined.len() == length {
                    break;
                }
            }
            joined.freeze()
        }
    }
}
