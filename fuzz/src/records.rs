//! Targets `batch_v2` and `legacy`: record sets, from the bytes to the last record, walked in every possible way.

use bytes::Bytes;
use offtake_wire::records::{
    AbortedTransactions, Batch, BatchBuilder, Batches, Compression, ControlRecord, Crc, Decompressor,
    Payload, PayloadPosition, Record, RecordError, legacy_wrapper,
};

use crate::meter;

const LIMIT: usize = 1 << 20;
/// The memory for the decompressors' own contexts.
const CONTEXT: usize = 256 << 10;

/// `[mode, step, …]`. An even mode: a set as it is, checksums ignored. An odd one: `[count, delta, flags, records…]`,
/// compressed and put into a batch by the target, so that compressed content is reached as well.
pub fn batch_v2(input: &[u8]) {
    let Some((&[mode, step], rest)) = input.split_first_chunk() else { return };
    if mode & 1 == 0 {
        return set(Bytes::copy_from_slice(rest), Crc::Trust, step);
    }
    let Some((&[count, delta, flags], records)) = rest.split_first_chunk() else { return };
    let mut batch = BatchBuilder::new(1000).compression(codec(mode)).last_offset_delta(delta.into());
    batch = batch.claim_count(count.into()).producer(i64::from(flags) - 1, 1, 0);
    if flags & 1 != 0 {
        batch = batch.log_append_time(77);
    }
    if flags & 2 != 0 {
        batch = batch.transactional();
    }
    if flags & 4 != 0 {
        batch = batch.control();
    }
    if flags & 8 != 0 {
        batch = batch.delete_horizon(i64::MAX - 5);
    }
    batch.push_encoded(records, count.into());
    set(batch.build().expect("it is small"), Crc::Check, step);
}

/// `[mode, step, …]`. An even mode: a set as it is, checksums ignored. An odd one: `[offset, set…]`, the set's own
/// checksums repaired, in a wrapper that the target builds.
pub fn legacy(input: &[u8]) {
    let Some((&[mode, step], rest)) = input.split_first_chunk() else { return };
    if mode & 1 == 0 {
        return set(Bytes::copy_from_slice(rest), Crc::Trust, step);
    }
    let Some((&offset, inner)) = rest.split_first() else { return };
    let mut inner = inner.to_vec();
    mend(&mut inner);
    let (magic, append_time) = ((mode >> 5 & 1).cast_signed(), mode >> 6 & 1 != 0);
    let wrapper = legacy_wrapper(magic, 1000 + i64::from(offset), codec(mode), 5000, append_time, &inner);
    set(wrapper, Crc::Check, step);
}

fn codec(mode: u8) -> Compression {
    let all = Compression::ALL;
    all[usize::from(mode >> 1 & 0xf) % all.len()]
}

/// Repairs the checksum of each message of format 0 or 1, as far as lengths lead to messages.
fn mend(mut set: &mut [u8]) {
    while let Some(length) = set.get(8..12) {
        let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        if length < 4 || set.len() - 12 < length {
            return;
        }
        let (message, rest) = set.split_at_mut(12 + length);
        let crc = crc32fast::hash(&message[16..]);
        message[12..16].copy_from_slice(&crc.to_be_bytes());
        set = rest;
    }
}

fn set(bytes: Bytes, crc: Crc, step: u8) {
    let size = bytes.len();
    let mut decompressor = Decompressor::with_limit(LIMIT);
    let mut batches = Batches::new(bytes, crc);
    let mut previous = None;
    loop {
        let (head, before) = (batches.peek(), batches.bytes_left());
        let batch = match batches.next() {
            Some(Ok(batch)) => batch,
            Some(Err(error)) => {
                assert!(error.first_offset() <= error.last_offset());
                assert_eq!(batches.bytes_left(), before, "an error consumes nothing");
                assert_eq!((batches.next(), batches.peek()), (None, None), "and nothing comes after it");
                return;
            }
            None => {
                assert_eq!(head, None, "what is seen coming comes");
                return;
            }
        };
        let head = head.expect("what comes was seen coming");
        assert_eq!((head.last_offset(), head.size()), (batch.last_offset(), batch.size()));
        assert_eq!(batch.size(), before - batches.bytes_left());
        assert!(previous < Some(batch.base_offset()) && 0 <= batch.base_offset());
        assert!(batch.base_offset() <= batch.last_offset() && batch.last_offset() < batch.next_offset());
        previous = Some(batch.last_offset());

        joined(&batches, &batch, usize::from(step) + 1);
        let opened = meter::within(8 * LIMIT + 8 * size + CONTEXT, || batch.open(&mut decompressor));
        match opened {
            Ok(payload) => {
                assert_eq!(payload.next_offset(), batch.next_offset());
                if batch.header().is_some() {
                    assert_eq!(payload.base_offset(), batch.base_offset());
                }
                walk(&payload, usize::from(step) + 1);
            }
            Err(error) => assert!(error.first_offset() <= error.last_offset()),
        }
        transactions(&batch, &mut decompressor);
    }
}

/// Batches of one record each, opened together, are the same as opened one by one. `batches` has returned the first of them last.
fn joined(batches: &Batches, first: &Batch, step: usize) {
    let mut together = batches.clone();
    let Some(payload) = together.join(first) else {
        assert_eq!(together.bytes_left(), batches.bytes_left(), "nothing is read");
        return;
    };
    let mut rest = batches.clone();
    let mut alone = vec![first.clone()];
    while rest.bytes_left() > together.bytes_left() {
        alone.push(rest.next().expect("what is joined is there").expect("and sound"));
    }
    assert_eq!((rest.bytes_left(), alone.len()), (together.bytes_left(), payload.count() as usize));
    assert_eq!(alone.last().map(Batch::next_offset), Some(payload.next_offset()));
    let alone: Vec<_> = alone
        .iter()
        .map(|batch| batch.open(&mut Decompressor::new()).expect("it is not compressed"))
        .collect();
    let each: Result<Vec<_>, RecordError> = alone.iter().flat_map(Payload::records).collect();
    let whole: Result<Vec<_>, RecordError> = payload.records().collect();
    assert_eq!(whole, each, "the same records, or the same error");
    let good: Vec<_> = payload.records().map_while(Result::ok).collect();
    take(&payload, step, &good, each.err());
}

fn walk(payload: &Payload, step: usize) {
    let mut walked: Vec<Record<'_>> = Vec::new();
    let mut records = payload.records();
    let mut error = None;
    for record in &mut records {
        match record {
            Ok(record) => walked.push(record),
            Err(fault) => error = Some(fault),
        }
    }
    assert!(records.next().is_none(), "the end is the end");
    assert!(error.is_some() || walked.len() == payload.count() as usize, "as many as were announced");
    let mut from = payload.base_offset();
    for record in &walked {
        assert!(from <= record.offset() && record.offset() <= payload.last_offset(), "{record:?}");
        from = record.offset() + 1;
        for owned in [record.copy(), record.detach()] {
            assert_eq!((owned.offset(), owned.timestamp()), (record.offset(), record.timestamp()));
            assert_eq!(
                (owned.key().map(|key| &key[..]), owned.value().map(|value| &value[..])),
                (record.key(), record.value())
            );
            assert!(owned.headers().eq(record.headers()));
        }
        assert_eq!(record.headers().count(), record.headers().len());
    }
    if let Some(error) = error {
        assert_eq!(error.first_offset(), from, "the error begins behind the last good record");
    }
    take(payload, step, &walked, error);
    if let Some(middle) = walked.get(walked.len() / 2) {
        let mut records = payload.records();
        assert_eq!(records.skip_to(middle.offset()), Ok(()));
        assert_eq!(records.next(), Some(Ok(*middle)));
    }
    build_again(payload, &walked);
}

/// Taken `step` at a time, the records are the same, and then the same error follows.
fn take(payload: &Payload, step: usize, walked: &[Record<'_>], error: Option<RecordError>) {
    let mut at = PayloadPosition::START;
    let mut taken = 0;
    let mut next_offset = payload.base_offset();
    loop {
        let (run, fault) = payload.take(&mut at, step);
        assert!(run.len() <= step);
        let expected = walked.get(taken..taken + run.len()).expect("no more than were walked");
        assert!(run.iter().eq(expected.iter().copied()), "the same records");
        taken += run.len();
        assert_eq!(at.index() as usize, taken);
        assert_eq!(run.next_offset(), payload.next_offset_at(at));
        assert!(next_offset <= run.next_offset() && run.next_offset() <= payload.next_offset());
        assert!(run.is_empty() || next_offset < run.next_offset());
        next_offset = run.next_offset();
        if fault.is_some() {
            assert_eq!(fault, error, "the same error");
            assert_eq!(taken, walked.len());
            assert!(next_offset <= payload.last_offset() + 1);
            let (again, repeated) = payload.take(&mut at, step);
            assert!(again.is_empty() && repeated == fault, "and again, until somebody skips");
            return;
        }
        if taken == payload.count() as usize {
            assert_eq!((taken, error), (walked.len(), None));
            assert_eq!(next_offset, payload.next_offset(), "behind the batch");
            return;
        }
        assert_eq!(run.len(), step, "short runs are the last, or have a reason");
    }
}

/// The records can be written, and are the same when read again.
fn build_again(payload: &Payload, walked: &[Record<'_>]) {
    let base = payload.base_offset();
    let delta = |offset: i64| i32::try_from(offset - base).expect("within a batch");
    let mut batch = BatchBuilder::new(base).last_offset_delta(delta(payload.last_offset()));
    for record in walked {
        let headers =
            record.headers().map(|header| (header.key, header.value)).collect::<Vec<_>>().into_iter();
        batch.push_at(delta(record.offset()), record.timestamp(), record.key(), record.value(), headers);
    }
    let mut batches = Batches::new(batch.build().expect("no larger than it was"), Crc::Check);
    let again = batches.next().expect("one batch").expect("that is sound");
    assert_eq!((batches.next(), batches.bytes_left()), (None, 0));
    let again = again.open(&mut Decompressor::new()).expect("and not packed");
    assert_eq!(again.next_offset(), payload.next_offset());
    assert_eq!(again.count() as usize, walked.len());
    for (again, before) in again.records().zip(walked) {
        let again = again.expect("what we write we read");
        assert_eq!((again.offset(), again.timestamp()), (before.offset(), before.timestamp()));
        assert_eq!((again.key(), again.value()), (before.key(), before.value()));
        assert!(again.headers().eq(before.headers()));
    }
}

fn transactions(batch: &Batch, decompressor: &mut Decompressor) {
    let marker = ControlRecord::read(batch, decompressor);
    assert!(batch.is_control() || marker == Ok(None));
    let Some(header) = batch.header() else { return };
    let mut aborted = AbortedTransactions::new([(header.producer_id(), header.base_offset()), (-1, 5)]);
    let listed = header.has_producer_id();
    assert_eq!(aborted.is_empty(), !listed);
    assert_eq!(aborted.is_aborted(header), listed && header.is_transactional() && !header.is_control());
    if let Ok(Some(marker)) = marker {
        aborted.end(header, marker);
        assert_eq!(aborted.is_empty(), !listed || matches!(marker, ControlRecord::Abort { .. }));
    }
}
