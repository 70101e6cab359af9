//! Batches of one record each, read together, are the same as read one by one.

use offtake_wire::records::{Compression, OwnedRecord, PayloadPosition};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
struct Written {
    gap: i64,
    /// The values of its records.
    values: Vec<Option<Vec<u8>>>,
    tail: i32,
    codec: Compression,
    epoch: i32,
    timestamp: i64,
    append_time: Option<i64>,
    is_control: bool,
}

fn written() -> impl Strategy<Value = Written> {
    let values = prop_oneof![
        6 => vec(option::of(vec(any::<u8>(), 0..200)), 1..2),
        1 => vec(option::of(vec(any::<u8>(), 0..9)), 0..4),
    ];
    let codec = prop_oneof![8 => Just(Compression::None), 1 => Just(Compression::Lz4)];
    let gap = prop_oneof![8 => Just(0), 1 => 0..4_i64, 1 => Just(i64::from(i32::MAX))];
    let tail = prop_oneof![8 => Just(0), 1 => 0..5_i32];
    let epoch = prop_oneof![8 => Just(3), 1 => -1..5_i32];
    let append_time = prop_oneof![8 => Just(None), 1 => (0..i64::MAX).prop_map(Some)];
    let written = (gap, values, tail, codec, epoch, any::<i64>(), append_time, prop::bool::weighted(0.05));
    written.prop_map(|(gap, values, tail, codec, epoch, timestamp, append_time, is_control)| Written {
        gap,
        values,
        tail,
        codec,
        epoch,
        timestamp,
        append_time,
        is_control,
    })
}

fn set(batches: &[Written]) -> Vec<u8> {
    let (mut set, mut next) = (Vec::new(), 100_i64);
    for batch in batches {
        next += batch.gap;
        let mut builder = BatchBuilder::new(next).compression(batch.codec).leader_epoch(batch.epoch);
        for (value, n) in batch.values.iter().zip(0_i64..) {
            let key = value.as_ref().map(|_| b"key".as_slice());
            let headers: &[(&str, Option<&[u8]>)] = if n == 0 { &[("h", Some(b"v"))] } else { &[] };
            builder.push(batch.timestamp.wrapping_add(n), key, value.as_deref(), headers);
        }
        if let Some(timestamp) = batch.append_time {
            builder = builder.log_append_time(timestamp);
        }
        if batch.is_control {
            builder = builder.control();
        }
        let last = i32::try_from(batch.values.len()).unwrap() - 1 + batch.tail;
        let builder = builder.last_offset_delta(last.max(0));
        set.extend(bytes(&builder));
        next += i64::from(last.max(0)) + 1;
    }
    set
}

type Read = (Vec<(OwnedRecordParts, Option<i32>)>, Option<RecordError>);
type OwnedRecordParts = (i64, i64, String, Option<Bytes>, Option<Bytes>, usize);

fn parts(record: &OwnedRecord) -> OwnedRecordParts {
    let kind = format!("{:?}", record.timestamp_type());
    let (key, value) = (record.key().cloned(), record.value().cloned());
    (record.offset(), record.timestamp(), kind, key, value, record.headers().count())
}

/// How the batches are read.
#[derive(Clone, Copy, Debug)]
enum Reading {
    OneByOne,
    /// Joined, by an iterator over all records.
    Joined,
    /// Joined, so many records at a time.
    InRuns(usize),
    /// Joined, and checked at once, but so many at a time.
    Split(usize),
}

fn read_all(mut set: Batches, reading: Reading) -> (Read, usize) {
    let (mut records, mut payloads) = (Vec::new(), 0);
    while let Some(batch) = set.next() {
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => return ((records, Some(error)), payloads),
        };
        let joined = if matches!(reading, Reading::OneByOne) { None } else { set.join(&batch) };
        let payload = match joined.map_or_else(|| batch.open(&mut Decompressor::new()), Ok) {
            Ok(payload) => payload,
            Err(error) => return ((records, Some(error)), payloads),
        };
        payloads += 1;
        let epoch = batch.leader_epoch();
        if let Reading::InRuns(most) = reading {
            let mut at = PayloadPosition::START;
            loop {
                let (slice, error) = payload.take(&mut at, most);
                records.extend(slice.iter().map(|record| (parts(&record.detach()), epoch)));
                assert_eq!(slice.next_offset(), payload.next_offset_at(at));
                match error {
                    Some(error) => return ((records, Some(error)), payloads),
                    None if payload.count_from(at) == 0 => break,
                    None => {}
                }
            }
            assert_eq!(payload.next_offset_at(at), payload.next_offset());
        } else if let Reading::Split(most) = reading {
            let (mut before, mut end) = (PayloadPosition::START, PayloadPosition::START);
            let (mut slice, error) = payload.take(&mut end, usize::MAX);
            loop {
                let behind = slice.split_off(&mut before, most);
                records.extend(slice.iter().map(|record| (parts(&record.detach()), epoch)));
                let at = if behind.is_some() { before } else { end };
                assert_eq!(slice.next_offset(), payload.next_offset_at(at));
                let Some(behind) = behind else { break };
                let (again, _) = payload.take(&mut before.clone(), behind.len());
                assert_eq!(again.rows(), behind.rows());
                assert_eq!(payload.count_from(before), payload.count_from(end) + behind.len() as u32);
                slice = behind;
            }
            if let Some(error) = error {
                return ((records, Some(error)), payloads);
            }
        } else {
            for record in payload.records() {
                match record {
                    Ok(record) => records.push((parts(&record.copy()), epoch)),
                    Err(error) => return ((records, Some(error)), payloads),
                }
            }
        }
    }
    ((records, None), payloads)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Whatever is written, damaged or cut short, and whether or not checksums are verified.
    #[test]
    fn joined_batches_are_read_as_they_are_one_by_one(
        written in vec(written(), 1..24),
        damages in vec((any::<prop::sample::Index>(), 0..8_u8), 0..3),
        is_damaged in prop::bool::weighted(0.4),
        cut in option::weighted(0.2, any::<prop::sample::Index>()),
        verifies in any::<bool>(),
        end in option::weighted(0.2, 100..130_i64),
        gapless in option::weighted(0.2, 100..130_i64),
        most in 1..9_usize,
    ) {
        let mut all = set(&written);
        for (at, bit) in damages.iter().filter(|_| is_damaged) {
            let at = at.index(all.len());
            all[at] ^= 1 << bit;
        }
        if let Some(cut) = cut {
            all.truncate(cut.index(all.len()));
        }
        let crc = if verifies { Crc::Check } else { Crc::Trust };
        let mut set = Batches::new(all.into(), crc);
        if let Some(end) = end {
            set = set.ending_before(end);
        }
        if let Some(offset) = gapless {
            set = set.gapless_from(offset);
        }
        let (expected, _) = read_all(set.clone(), Reading::OneByOne);
        let runs = [Reading::InRuns(most), Reading::InRuns(1000), Reading::Split(most)];
        for reading in [Reading::Joined].into_iter().chain(runs) {
            prop_assert_eq!(&read_all(set.clone(), reading).0, &expected, "{:?}", reading);
        }
    }
}

fn singles(from: i64, count: i64) -> Vec<u8> {
    (from..from + count).flat_map(|offset| single(offset).build().unwrap()).collect()
}

fn single(offset: i64) -> BatchBuilder {
    let mut builder = BatchBuilder::new(offset).leader_epoch(3);
    builder.push(1000 + offset, None, Some(&offset.to_be_bytes()), &[]);
    builder
}

#[test]
fn what_is_alike_is_joined_up_to_a_bound_and_nothing_else() {
    let payloads = |set: Vec<u8>| read_all(Batches::new(set.into(), Crc::Check), Reading::Joined).1;
    assert_eq!(payloads(singles(0, 500)), 1);
    assert_eq!(payloads(singles(0, 1001)), 3);
    let mut large = BatchBuilder::new(9).leader_epoch(3);
    large.push(1009, None, Some(&[7; 128 << 10]), &[]);
    assert_eq!(
        payloads([singles(0, 9), bytes(&large).to_vec(), singles(10, 9)].concat()),
        2,
        "or up to a size"
    );
    let with =
        |middle: BatchBuilder| [singles(0, 9), middle.build().unwrap().to_vec(), singles(30, 9)].concat();
    assert_eq!(payloads(with(single(12))), 1, "offsets may be missing");
    assert_eq!(payloads(with(single(12).leader_epoch(4))), 3);
    assert_eq!(payloads(with(single(12).log_append_time(5))), 3);
    assert_eq!(payloads(with(single(12).compression(Compression::Lz4))), 3);
    assert_eq!(payloads(with(single(12).control())), 3);
    assert_eq!(payloads(with(single(12).last_offset_delta(1))), 3);
    assert_eq!(payloads(with(abc(12).leader_epoch(3))), 3);
    let far = i64::from(i32::MAX);
    assert_eq!(payloads([singles(0, 9), singles(far, 1)].concat()), 1);
    assert_eq!(payloads([singles(0, 9), singles(far, 2)].concat()), 2);
}

/// Seeking past the error skips no other record.
#[test]
fn j1_an_unsound_record_among_joined_ones_is_an_error_of_its_own_offset() {
    let mut all = singles(0, 9);
    let size = all.len() / 9;
    let at = all.len() - 3 * size + 61 + 4; // the key's length of the seventh
    all[at] = 0x7f;
    let ((records, error), payloads) = read_all(Batches::new(all.into(), Crc::Trust), Reading::Joined);
    let error = error.unwrap();
    assert_eq!((records.len(), payloads), (6, 1));
    assert_eq!((error.first_offset(), error.last_offset()), (6, 6));
}
