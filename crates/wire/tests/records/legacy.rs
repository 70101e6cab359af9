//! Message formats 0 and 1: INPUT43 and INPUT44, J7, and the faults they share with format 2.

use offtake_wire::records::{
    AnyBatchHeader, Compression, LegacyMessage, TimestampType, legacy_set, legacy_wrapper,
};

use super::*;

const CODECS: [Compression; 3] = [Compression::Gzip, Compression::Snappy, Compression::Lz4];

fn message(offset: i64, value: &[u8]) -> LegacyMessage<'_> {
    LegacyMessage { offset, timestamp: offset.wrapping_mul(10), value: Some(value), ..Default::default() }
}

fn inner(magic: i8, offsets: &[i64]) -> Bytes {
    legacy_set(magic, &offsets.iter().map(|offset| message(*offset, b"v")).collect::<Vec<_>>())
}

#[test]
fn j7_single_messages_come_out_one_by_one() {
    for magic in [0, 1] {
        let set = legacy_set(magic, &[message(3, b"a"), message(4, b"b"), message(9, b"c")]);
        let all = batches(set.clone());
        assert_eq!(all.iter().map(Batch::next_offset).collect::<Vec<_>>(), [4, 5, 10]);
        assert_eq!(all.iter().map(Batch::size).sum::<usize>(), set.len());
        let payload = all[2].open(&mut Decompressor::new()).unwrap();
        assert_eq!(values(&payload), [(9, b"c".to_vec())]);
        let record = payload.records().next().unwrap().unwrap();
        let expected =
            if magic == 0 { (-1, TimestampType::NoTimestampType) } else { (90, TimestampType::CreateTime) };
        assert_eq!((record.timestamp(), record.timestamp_type()), expected);
    }
}

#[test]
fn j7_a_v1_wrapper_has_relative_offsets_and_a_v0_wrapper_absolute_ones() {
    for codec in CODECS {
        let relative = legacy_wrapper(1, 109, codec, 0, false, &inner(1, &[0, 1, 5, 9]));
        assert_eq!(read(relative), (vec![100, 101, 105, 109], None));
        let absolute = legacy_wrapper(0, 109, codec, 0, false, &inner(0, &[100, 101, 105, 109]));
        assert_eq!(read(absolute), (vec![100, 101, 105, 109], None));
        // Compaction removed the first messages: the offsets of the others still count from the first.
        let headless = legacy_wrapper(1, 109, codec, 0, false, &inner(1, &[5, 9]));
        assert_eq!(read(headless), (vec![105, 109], None));
    }
}

#[test]
fn j7_seeking_into_the_middle_of_a_wrapper() {
    let payload = open(legacy_wrapper(1, 109, Compression::Gzip, 0, false, &inner(1, &[0, 1, 5, 9])));
    let mut records = payload.records();
    records.skip_to(102).unwrap();
    assert_eq!(records.next().unwrap().unwrap().offset(), 105);
    assert_eq!(payload.next_offset(), 110);
}

#[test]
fn a_wrappers_log_append_time_holds_for_all_inside() {
    let payload = open(legacy_wrapper(1, 9, Compression::Snappy, 777, true, &inner(1, &[0, 9])));
    for record in payload.records() {
        let record = record.unwrap();
        assert_eq!((record.timestamp(), record.timestamp_type()), (777, TimestampType::LogAppendTime));
    }
    let own = open(legacy_wrapper(1, 9, Compression::Snappy, 777, false, &inner(1, &[0, 9])));
    assert_eq!(own.records().map(|record| record.unwrap().timestamp()).collect::<Vec<_>>(), [0, 90]);
}

#[test]
fn input43_wrappers_that_break_their_own_rules() {
    for codec in CODECS {
        for magic in [0, 1] {
            let wrap = |offset, inner: &[u8]| legacy_wrapper(magic, offset, codec, 0, false, inner);
            let good = inner(magic, &[0, 1]);
            let legacy = |set| match fault(set) {
                RecordFault::Legacy(reason) => reason,
                other => panic!("{codec}: {other}"),
            };
            assert_eq!(legacy(wrap(1, &wrap(1, &good))), "a wrapper inside a wrapper");
            assert_eq!(legacy(wrap(1, &inner(1 - magic, &[0, 1]))), "an inner message of another format");
            assert_eq!(legacy(wrap(1, &[])), "a wrapper around nothing");
            assert_eq!(legacy(wrap(0, &good)), "inner offsets beyond the wrapper's");
            assert_eq!(legacy(wrap(5, &inner(magic, &[-1, 1]))), "inner offsets beyond the wrapper's");
            assert_eq!(legacy(wrap(5, &inner(magic, &[1, 1]))), "inner offsets do not ascend");
            assert_eq!(legacy(wrap(5, &good[..5])), "a message is cut short");
            let wide = i64::from(i32::MAX) + 2;
            assert_eq!(
                legacy(wrap(wide, &inner(magic, &[0, wide]))),
                "inner offsets further apart than a batch can be"
            );

            let mut negative = good.to_vec();
            negative[8..12].copy_from_slice(&(-1i32).to_be_bytes());
            assert_eq!(fault(wrap(1, &negative)), RecordFault::BatchLength(-1));
            let mut flipped = good.to_vec();
            *flipped.last_mut().unwrap() ^= 1;
            assert!(matches!(fault(wrap(1, &flipped)), RecordFault::WrongCrc { .. }), "the inner one's own");
            let null = LegacyMessage { attributes: codec.id() as i8, ..Default::default() };
            assert_eq!(legacy(legacy_set(magic, &[null])), "a wrapper without a value");
        }
    }
}

#[test]
fn input44_zstd_came_after_these_formats() {
    for magic in [0, 1] {
        let set = legacy_wrapper(magic, 1, Compression::Zstd, 0, false, &inner(magic, &[0, 1]));
        assert_eq!(fault(set), RecordFault::UnknownCodec(4));
        for codec in 5..=7 {
            let odd = LegacyMessage { attributes: codec, value: Some(b"v"), ..Default::default() };
            assert_eq!(fault(legacy_set(magic, &[odd])), RecordFault::UnknownCodec(codec as u8));
        }
    }
}

#[test]
fn input44_the_wrong_lz4_checksum_of_old_kafka_is_accepted_in_format_0_alone() {
    let wrapper = |magic| {
        let mut set = legacy_wrapper(magic, 1, Compression::Lz4, 0, false, &inner(magic, &[0, 1])).to_vec();
        let frame = set.windows(4).position(|at| at == [0x04, 0x22, 0x4d, 0x18]).unwrap();
        set[frame + 6] ^= 0x55;
        let crc = crc32fast::hash(&set[16..]);
        set[12..16].copy_from_slice(&crc.to_be_bytes());
        set
    };
    assert_eq!(read(wrapper(0)), (vec![0, 1], None));
    assert!(matches!(fault(wrapper(1)), RecordFault::Codec(_)));
}

#[test]
fn input25_a_wrong_crc_in_the_old_formats() {
    for magic in [0, 1] {
        let mut set = legacy_set(magic, &[message(3, b"a")]).to_vec();
        *set.last_mut().unwrap() ^= 1;
        let (offsets, error) = read(set);
        let error = error.unwrap();
        assert!(offsets.is_empty() && matches!(error.fault(), RecordFault::WrongCrc { .. }));
        assert_eq!((error.first_offset(), error.last_offset()), (3, 3));
    }
}

#[test]
fn input36_lengths_in_the_old_formats() {
    for magic in [0, 1] {
        let good = legacy_set(magic, &[message(3, b"abcd")]);
        let value_length = good.len() - 8;
        for length in [-2, i32::MIN, 5, i32::MAX, 3] {
            let mut bad = good.to_vec();
            bad[value_length..value_length + 4].copy_from_slice(&length.to_be_bytes());
            let crc = crc32fast::hash(&bad[16..]);
            bad[12..16].copy_from_slice(&crc.to_be_bytes());
            let expected = if length == 3 { RecordFault::BytesLeft(1) } else { RecordFault::FieldLength };
            assert_eq!(fault(bad), expected);
        }
    }
}

#[test]
fn input40_input42_offsets_of_the_old_formats_ascend_too() {
    for offset in [-1, i64::MIN, i64::MAX] {
        assert!(matches!(fault(inner(1, &[offset])), RecordFault::Offset { .. }));
    }
    let (offsets, error) = read(inner(1, &[3, 3]));
    assert_eq!((offsets, *error.unwrap().fault()), (vec![3], RecordFault::Overlap { base: 3, previous: 3 }));
}

#[test]
fn input24_the_old_formats_are_cut_short_as_well() {
    let set = inner(0, &[0, 1]);
    let one = set.len() / 2;
    for cut in 1..set.len() {
        let (offsets, error) = read(set.slice(..cut));
        assert_eq!(offsets.len(), cut / one);
        assert_eq!(error.is_some_and(|error| error.is_cut_short()), cut < one);
    }
    assert_eq!(
        Batches::new(set.clone(), Crc::Check).peek(),
        Some(AnyBatchHeader::Legacy { last_offset: 0, size: one })
    );
}

#[test]
fn input29_a_bomb_in_a_wrapper() {
    for codec in CODECS {
        let big = vec![0; 2 << 20];
        let set = legacy_wrapper(1, 0, codec, 0, false, &legacy_set(1, &[message(0, &big)]));
        let error = only_batch(set).open(&mut Decompressor::with_limit(1 << 20)).unwrap_err();
        assert!(error.is_too_large(), "{codec}: {error}");
    }
}
