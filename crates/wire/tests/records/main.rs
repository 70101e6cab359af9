//! Record batches: valid ones, invalid ones, and those written by Java.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends")]

mod codecs;
mod control;
mod java;
mod joined;
mod legacy;
mod properties;
mod rows;

use bytes::Bytes;
use offtake_wire::records::{
    Batch, BatchBuilder, Batches, Crc, Decompressor, Payload, Record, RecordError, RecordFault,
};

/// Three records, `a` to `c`, from offset `base` on.
fn abc(base: i64) -> BatchBuilder {
    let mut builder = BatchBuilder::new(base);
    for value in [b"a", b"b", b"c"] {
        builder.push(1000, None, Some(value), &[]);
    }
    builder
}

fn bytes(builder: &BatchBuilder) -> Bytes {
    builder.build().unwrap()
}

/// A v2 record from the bytes of its fields, with the length in front.
fn raw_record(body: &[u8]) -> Vec<u8> {
    let length = u8::try_from(body.len() * 2).unwrap();
    assert!(length < 0x80, "a varint of one byte");
    [&[length], body].concat()
}

fn batches(records: impl Into<Bytes>) -> Vec<Batch> {
    Batches::new(records.into(), Crc::Check).collect::<Result<_, _>>().unwrap()
}

fn only_batch(records: impl Into<Bytes>) -> Batch {
    let mut all = batches(records);
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn open(records: impl Into<Bytes>) -> Payload {
    only_batch(records).open(&mut Decompressor::new()).unwrap()
}

fn values(payload: &Payload) -> Vec<(i64, Vec<u8>)> {
    let value = |record: Record<'_>| (record.offset(), record.value().unwrap_or(b"null").to_vec());
    payload.records().map(|record| value(record.unwrap())).collect()
}

/// Reads one batch. Returns the offsets up to the first error, and that error.
fn read(records: impl Into<Bytes>) -> (Vec<i64>, Option<RecordError>) {
    let mut offsets = Vec::new();
    for batch in Batches::new(records.into(), Crc::Check) {
        let payload = match batch.and_then(|batch| batch.open(&mut Decompressor::new())) {
            Ok(payload) => payload,
            Err(error) => return (offsets, Some(error)),
        };
        for record in payload.records() {
            match record {
                Ok(record) => offsets.push(record.offset()),
                Err(error) => return (offsets, Some(error)),
            }
        }
    }
    (offsets, None)
}

fn fault(records: impl Into<Bytes>) -> RecordFault {
    let (_, error) = read(records);
    *error.unwrap_or_else(|| panic!("nothing is wrong")).fault()
}

/// Writes `change` into a batch and corrects its checksum, so that the change itself is checked.
fn with(batch: &Bytes, at: usize, change: &[u8]) -> Bytes {
    let mut changed = batch.to_vec();
    changed[at..at + change.len()].copy_from_slice(change);
    mend(&mut changed);
    changed.into()
}

fn mend(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}
