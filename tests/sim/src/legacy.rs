//! Message formats 0 and 1, as in the logs of clusters older than Kafka 0.11: rewrites some batches of Fetch answers in these formats.

use bytes::Bytes;
use kafka_protocol::records::{Record, RecordBatchDecoder};
use offtake_wire::records::{Compression, LegacyMessage, legacy_wrapper};

/// The bytes before it are a batch's first offset and its length.
const PREFIX: usize = 12;
const MAGIC: usize = 16;
const ATTRIBUTES: usize = 22;
/// How far the batch reaches beyond its first offset, even if its last records are gone.
const LAST_OFFSET_DELTA: usize = 23;

/// Rewrites an answer's batches of a partition, where the older format can express them.
pub(crate) fn rewrite(records: &mut Vec<u8>, magic: i8, packed: bool) {
    let mut rest = std::mem::take(records);
    while let Some(whole) = length(&rest).filter(|whole| *whole <= rest.len()) {
        let after = rest.split_off(whole);
        let batch = std::mem::replace(&mut rest, after);
        match older(&batch, magic, packed) {
            Some(older) => records.extend_from_slice(&older),
            None => records.extend_from_slice(&batch),
        }
    }
    // The last batch may be cut off by the broker.
    records.extend_from_slice(&rest);
}

fn length(batch: &[u8]) -> Option<usize> {
    let length = i32::from_be_bytes(batch.get(8..PREFIX)?.try_into().ok()?);
    Some(PREFIX + usize::try_from(length).ok()?)
}

fn last_offset(batch: &[u8]) -> Option<i64> {
    let base = i64::from_be_bytes(batch.first_chunk().copied()?);
    let delta = batch.get(LAST_OFFSET_DELTA..)?.first_chunk().copied()?;
    Some(base + i64::from(i32::from_be_bytes(delta)))
}

/// The batch in an older format, which has neither transactions nor headers.
fn older(batch: &[u8], magic: i8, packed: bool) -> Option<Bytes> {
    let plain = batch.get(MAGIC) == Some(&2) && batch.get(ATTRIBUTES).is_some_and(|bits| bits & 0x37 == 0);
    let records =
        plain.then(|| RecordBatchDecoder::decode(&mut Bytes::copy_from_slice(batch)).ok())??.records;
    if records.is_empty() || records.iter().any(|record| !record.headers.is_empty()) {
        return None;
    }
    let (first, last) = (records.first()?.offset, records.last()?.offset);
    if last != last_offset(batch)? {
        return None; // the cleaner has removed its last records, and older messages have no way to express that
    }
    let base = if packed && magic == 1 { first } else { 0 };
    let message = |record: &'_ Record| -> Vec<u8> {
        let mut out = Vec::new();
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        let (offset, timestamp) = (record.offset - base, record.timestamp);
        LegacyMessage { offset, timestamp, attributes: 0, key, value }.write(magic, &mut out);
        out
    };
    let set: Vec<u8> = records.iter().flat_map(message).collect();
    let timestamp = records.iter().map(|record| record.timestamp).max()?;
    Some(match packed {
        true => legacy_wrapper(magic, last, Compression::Gzip, timestamp, false, &set),
        false => set.into(),
    })
}

#[cfg(test)]
mod tests {
    use offtake_wire::records::{BatchBuilder, Batches, Crc};

    use super::*;

    fn last_offsets(magic: i8, packed: bool) -> Vec<i64> {
        let mut batch = BatchBuilder::new(40);
        for gap in [0, 1, 0] {
            batch.gap(gap).push(7, Some(b"key"), Some(b"value"), &[]);
        }
        let mut records = batch.build().unwrap().to_vec();
        rewrite(&mut records, magic, packed);
        Batches::new(records.into(), Crc::Check).map(|batch| batch.unwrap().last_offset()).collect()
    }

    #[test]
    fn a_batch_becomes_messages_with_its_offsets() {
        for magic in [0, 1] {
            assert_eq!(last_offsets(magic, false), [40, 42, 43]);
            assert_eq!(last_offsets(magic, true), [43]);
        }
    }

    #[test]
    fn a_batch_whose_end_was_compacted_away_stays_as_it_is() {
        let mut batch = BatchBuilder::new(40).last_offset_delta(9);
        batch.push(7, Some(b"key"), Some(b"value"), &[]);
        let batch = batch.build().unwrap().to_vec();
        let mut records = batch.clone();
        rewrite(&mut records, 1, false);
        assert_eq!(records, batch);
    }

    #[test]
    fn an_incomplete_batch_is_unchanged() {
        let mut cut = vec![0, 1, 2];
        rewrite(&mut cut, 1, false);
        assert_eq!(cut, [0, 1, 2]);
    }
}
