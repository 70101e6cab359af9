//! FAILURES INPUT23 to INPUT42 and INPUT47 to INPUT49, one by one: format 2.

use offtake_wire::records::{
    AnyBatchHeader, BatchBuilder, BatchHeader, Batches, CodecError, Compression, Crc, Decompressor,
    PayloadPosition, RecordFault, TimestampType, V2Batch, compress,
};

use super::*;

#[test]
fn input23_a_batch_length_that_no_batch_can_have() {
    let good = bytes(&abc(5));
    for length in [i32::MIN, -1, 0, 13, 48] {
        let mut bad = good.to_vec();
        bad[8..12].copy_from_slice(&length.to_be_bytes());
        let (offsets, error) = read(bad);
        let error = error.unwrap();
        assert_eq!((offsets, *error.fault()), (vec![], RecordFault::BatchLength(length)));
        assert_eq!((error.first_offset(), error.last_offset()), (5, 5));
    }
    let mut endless = good.to_vec();
    endless[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
    assert!(matches!(fault(endless), RecordFault::CutShort { .. }), "longer than what came");
}

#[test]
fn input24_a_last_batch_cut_short_ends_the_set_silently() {
    let (first, second) = (bytes(&abc(0)), bytes(&abc(3)));
    for cut in 0..second.len() {
        let mut all = Batches::new([&first[..], &second[..cut]].concat().into(), Crc::Check);
        assert_eq!(all.by_ref().map(|batch| batch.unwrap().next_offset()).collect::<Vec<_>>(), [3]);
        assert_eq!(all.bytes_left(), cut);
    }
}

#[test]
fn input24_an_only_batch_cut_short_is_an_error_since_asking_again_brings_the_same() {
    let batch = bytes(&abc(9));
    for cut in 1..batch.len() {
        let (offsets, error) = read(batch.slice(..cut));
        assert!(offsets.is_empty() && error.unwrap().is_cut_short());
    }
    assert_eq!(read(Bytes::new()), (vec![], None));
    assert_eq!(V2Batch::split_from(&mut batch.slice(..70), Crc::Check), Ok(None));
}

#[test]
fn input25_j1_nothing_from_a_batch_with_a_wrong_crc_and_the_error_names_its_offsets() {
    let mut bad = bytes(&abc(100)).to_vec();
    *bad.last_mut().unwrap() ^= 1;
    let all = [bytes(&abc(97)), bad.clone().into(), bytes(&abc(103))].concat();
    let mut set = Batches::new(all.clone().into(), Crc::Check);
    assert_eq!(set.next().unwrap().unwrap().last_offset(), 99);
    let error = set.next().unwrap().unwrap_err();
    assert!(matches!(error.fault(), RecordFault::WrongCrc { .. }));
    assert_eq!((error.first_offset(), error.last_offset()), (100, 102));
    assert_eq!(set.next(), None, "it stops where it is");
    assert_eq!(set.peek(), None);

    let mut buf = Bytes::from(bad);
    let before = buf.clone();
    assert!(V2Batch::split_from(&mut buf, Crc::Check).is_err());
    assert_eq!(buf, before, "and consumes nothing");
    assert_eq!(Batches::new(all.into(), Crc::Trust).count(), 3, "check.crcs=false");
}

#[test]
fn input26_an_unknown_magic_stops_the_partition() {
    for magic in [3i8, 100, -1, i8::MIN] {
        let mut bad = bytes(&abc(5)).to_vec();
        bad[16] = magic as u8;
        assert_eq!(fault(bad.clone()), RecordFault::Magic(magic));
        assert!(V2Batch::split_from(&mut bad.into(), Crc::Check).is_err());
    }
}

#[test]
fn input27_an_old_batch_is_passed_over_by_its_header_alone() {
    let mut old = bytes(&abc(0)).to_vec();
    *old.last_mut().unwrap() ^= 1; // would not pass its checksum
    let mut set = Batches::new([&old[..], &bytes(&abc(3))].concat().into(), Crc::Check);
    let position = 4;
    while let Some(head) = set.peek().filter(|head| head.last_offset() < position) {
        set.skip_batch(&head);
    }
    let payload = set.next().unwrap().unwrap().open(&mut Decompressor::new()).unwrap();
    let mut records = payload.records();
    records.skip_to(position).unwrap();
    assert_eq!(records.next().unwrap().unwrap().offset(), 4);
}

#[test]
fn input28_j4_codecs_five_to_seven_are_unknown() {
    for codec in 5..=7u8 {
        let bad = with(&bytes(&abc(0)), 21, &[0, codec]);
        assert_eq!(fault(bad), RecordFault::UnknownCodec(codec));
    }
}

#[test]
fn input29_j5_a_bomb_is_too_large_and_says_so() {
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let mut builder = BatchBuilder::new(7).compression(codec);
        builder.push(0, None, Some(&vec![0; 3 << 20]), &[]);
        let batch = only_batch(bytes(&builder));
        let error = batch.open(&mut Decompressor::with_limit(1 << 20)).unwrap_err();
        assert!(error.is_too_large(), "{codec}: {error}");
        assert_eq!((error.first_offset(), error.last_offset()), (7, 7));
        assert_eq!(batch.open(&mut Decompressor::with_limit(4 << 20)).unwrap().count(), 1, "{codec}");
    }
}

#[test]
fn input30_corrupt_packed_data_under_a_valid_crc() {
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let batch = bytes(&abc(0).compression(codec));
        let mut bad = batch[..batch.len() - 2].to_vec();
        let length = bad.len() as i32 - 12;
        bad[8..12].copy_from_slice(&length.to_be_bytes());
        mend(&mut bad);
        match fault(bad) {
            RecordFault::Codec(CodecError::Corrupt { codec: named, .. }) => assert_eq!(named, codec),
            other => panic!("{codec}: {other}"),
        }
    }
}

#[test]
fn input31_a_negative_record_count() {
    for count in [-1, i32::MIN] {
        assert_eq!(fault(bytes(&abc(0).claim_count(count))), RecordFault::RecordCount(count));
    }
    assert_eq!(
        fault(bytes(&abc(0).claim_count(4))),
        RecordFault::RecordCount(4),
        "more than there are offsets"
    );
}

#[test]
fn input32_a_count_larger_than_the_bytes_delivers_what_is_there_and_then_stops() {
    let (offsets, error) = read(bytes(&abc(10).claim_count(5).last_offset_delta(9)));
    let error = error.unwrap();
    assert_eq!((offsets, *error.fault()), (vec![10, 11, 12], RecordFault::TooFewBytes { missing: 2 }));
    assert_eq!((error.first_offset(), error.last_offset()), (13, 19));
}

#[test]
fn input33_a_count_smaller_than_the_bytes_does_not_pass_over_the_rest() {
    let payload = open(bytes(&abc(10).claim_count(2)));
    let mut at = PayloadPosition::START;
    let (run, error) = payload.take(&mut at, 2);
    assert_eq!(run.iter().map(|record| record.offset()).collect::<Vec<_>>(), [10, 11]);
    assert!(matches!(error.unwrap().fault(), RecordFault::BytesLeft(_)), "seen with the last record");
    assert_eq!(run.next_offset(), 12, "not behind the batch");
    let (again, error) = payload.take(&mut at, 2);
    assert!(again.is_empty() && error.is_some(), "and again, until somebody skips");
}

#[test]
fn input34_bytes_without_records_and_records_without_bytes() {
    let mut empty = BatchBuilder::new(0).last_offset_delta(0).claim_count(1);
    assert_eq!(fault(bytes(&empty)), RecordFault::TooFewBytes { missing: 1 });
    empty.push_encoded(&[0; 5], 0);
    assert_eq!(fault(bytes(&empty.claim_count(0))), RecordFault::BytesLeft(5));
}

#[test]
fn input35_a_record_length_that_lies() {
    let whole = raw_record(&[0, 0, 0, 1, 2, b'v', 0]);
    let mut one = BatchBuilder::new(0);
    assert_eq!(read(bytes(one.push_encoded(&whole, 1))), (vec![0], None));

    for length in [
        &[0x01][..],                        // -1
        &[0x00],                            // nothing at all
        &[whole[0] - 2],                    // one too short
        &[whole[0] + 2],                    // one too long
        &[0xfe, 0xff, 0xff, 0xff, 0x0f],    // i32::MAX
        &[0xff, 0xff, 0xff, 0xff, 0x0f],    // i32::MIN
        &[0x80, 0x80, 0x80, 0x80, 0x80, 1], // longer than a varint may be
    ] {
        for tail in [&[][..], &[0]] {
            let record = [length, &whole[1..], tail].concat();
            let mut bad = BatchBuilder::new(0);
            let (offsets, error) = read(bytes(bad.push_encoded(&record, 1)));
            assert!(offsets.is_empty() && error.is_some(), "{length:x?}");
        }
    }
    let mut padded = BatchBuilder::new(0);
    padded.push_encoded(&raw_record(&[0, 0, 0, 1, 1, 0, 0]), 1);
    assert_eq!(fault(bytes(&padded)), RecordFault::RecordLength, "a byte behind the headers");
}

#[test]
fn input36_key_and_value_lengths_below_minus_one_or_beyond_the_record() {
    let minus_two = 3;
    for body in [
        [0, 0, 0, minus_two, 1, 0],
        [0, 0, 0, 1, minus_two, 0],
        [0, 0, 0, 100, 1, 0],
        [0, 0, 0, 1, 100, 0],
        [0, 0, 0, 1, 4, 0],
    ] {
        let mut bad = BatchBuilder::new(0);
        bad.push_encoded(&raw_record(&body), 1);
        assert_eq!(fault(bytes(&bad)), RecordFault::FieldLength, "{body:?}");
    }
}

#[test]
fn input37_header_counts_and_keys() {
    for headers in [
        &[0x01][..],                           // count -1
        &[0x02],                               // one, and nothing there
        &[0x02, 0x00],                         // a key and no value
        &[0x02, 0x01, 0x01],                   // a null key
        &[0x02, 0x00, 0x03],                   // a value of -2
        &[0x02, 0x00, 0x01, 0x00],             // a byte too many
        &[0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 1], // i32::MAX of them
    ] {
        let mut bad = BatchBuilder::new(0);
        bad.push_encoded(&raw_record(&[&[0, 0, 0, 1, 1], headers].concat()), 1);
        assert_eq!(fault(bytes(&bad)), RecordFault::Headers, "{headers:x?}");
    }
}

#[test]
fn input37_headers_keep_order_duplicates_nulls_and_raw_keys() {
    let mut builder = BatchBuilder::new(0);
    let headers: [(&[u8], Option<&[u8]>); 5] =
        [(b"b", Some(b"1")), (b"a", None), (b"b", Some(b"")), (b"", Some(b"2")), (&[0xff, 0xfe], Some(&[0]))];
    builder.push_at(0, 0, None, None, headers.into_iter());
    let payload = open(bytes(&builder));
    let record = payload.records().next().unwrap().unwrap();
    let read: Vec<_> = record.headers().map(|header| (header.key, header.value)).collect();
    assert_eq!(read, headers);
    assert_eq!(record.headers().len(), 5);
    assert_eq!(record.headers().first("b").unwrap().value, Some(&b"1"[..]));
    assert!(record.headers().last().unwrap().key_str().is_err());
    assert_eq!(
        record.detach().headers().map(|header| (header.key, header.value)).collect::<Vec<_>>(),
        headers
    );
}

#[test]
fn input38_offsets_that_do_not_ascend_are_never_delivered() {
    for (deltas, delivered) in [
        (&[-1][..], &[][..]),
        (&[0, 0], &[10]),
        (&[3, 2, 5], &[13]),
        (&[0, 7], &[10]),
        (&[i32::MIN], &[]),
        (&[0, i32::MAX], &[10]),
    ] {
        let mut builder = BatchBuilder::new(10).last_offset_delta(6);
        for delta in deltas {
            builder.push_at(*delta, 0, None, None, std::iter::empty());
        }
        let (offsets, error) = read(bytes(&builder));
        assert_eq!(offsets, delivered);
        assert!(matches!(error.unwrap().fault(), RecordFault::NonMonotonic { .. }), "{deltas:?}");
    }
}

#[test]
fn input39_last_offset_delta_must_reach_the_records_and_not_the_end_of_the_log() {
    for delta in [-1, i32::MIN] {
        assert_eq!(fault(bytes(&abc(0).last_offset_delta(delta))), RecordFault::LastOffsetDelta(delta));
    }
    let far = bytes(&abc(0).last_offset_delta(1_000_000));
    let mut bounded = Batches::new(far.clone(), Crc::Check).ending_before(1_000_000);
    assert_eq!(bounded.peek(), None);
    let error = bounded.next().unwrap().unwrap_err();
    assert_eq!(*error.fault(), RecordFault::BeyondTheEnd { last: 1_000_000, end: 1_000_000 });
    assert!(Batches::new(far.clone(), Crc::Check).ending_before(1_000_001).all(|batch| batch.is_ok()));
    // Its three records fill three offsets, not a million and one.
    let mut gapless = Batches::new(far.clone(), Crc::Check).gapless_from(1_000_000);
    assert_eq!(gapless.peek(), None);
    let error = gapless.next().unwrap().unwrap_err();
    assert!(error.is_beyond_the_end(), "{error}");
    assert!(Batches::new(far, Crc::Check).gapless_from(1_000_001).all(|batch| batch.is_ok()));
    assert!(Batches::new(bytes(&abc(5)), Crc::Check).gapless_from(0).all(|batch| batch.is_ok()));
}

#[test]
fn input40_offsets_that_overflow() {
    for base in [i64::MAX, i64::MAX - 2, -1, i64::MIN] {
        assert!(matches!(fault(bytes(&abc(base))), RecordFault::Offset { .. }), "{base}");
    }
    let (offsets, error) = read(bytes(&abc(i64::MAX - 3)));
    assert_eq!((offsets.last(), error), (Some(&(i64::MAX - 1)), None));
}

#[test]
fn input41_j3_gaps_are_normal_and_the_position_goes_behind_the_batch() {
    let mut gaps = BatchBuilder::new(10).last_offset_delta(9);
    gaps.gap(2).push(0, None, None, &[]).gap(3).push(0, None, None, &[]);
    let emptied = BatchBuilder::new(25).last_offset_delta(4);
    let set = [bytes(&gaps), bytes(&emptied), bytes(&abc(40))].concat();
    assert_eq!(read(set.clone()), (vec![12, 16, 40, 41, 42], None));
    assert_eq!(batches(set).iter().map(|batch| batch.next_offset()).collect::<Vec<_>>(), [20, 30, 43]);

    let payload = open(bytes(&gaps));
    let mut at = PayloadPosition::START;
    assert_eq!(payload.take(&mut at, 1).0.next_offset(), 13);
    assert_eq!(payload.take(&mut at, 1).0.next_offset(), 20);
    let emptied = open(bytes(&emptied));
    assert_eq!((emptied.records().count(), emptied.next_offset_at(PayloadPosition::START)), (0, 30));
}

#[test]
fn input42_a_batch_that_begins_before_the_last_one_ended() {
    for base in [0, 10, 12] {
        let (offsets, error) = read([bytes(&abc(10)), bytes(&abc(base))].concat());
        assert_eq!(offsets, [10, 11, 12]);
        assert_eq!(*error.unwrap().fault(), RecordFault::Overlap { base, previous: 12 });
    }
}

#[test]
fn input47_a_transactional_batch_without_a_producer_is_not_transactional() {
    let Batch::V2(batch) = only_batch(bytes(&abc(0).transactional())) else { panic!() };
    assert!(!batch.is_transactional() && !batch.has_producer_id());
    let Batch::V2(batch) = only_batch(bytes(&abc(0).transactional().producer(7, 1, 0))) else { panic!() };
    assert!(batch.is_transactional());
    // A key that looks like a marker's does not make a control batch.
    let mut builder = BatchBuilder::new(0);
    builder.push(0, Some(&[0, 0, 0, 0]), Some(&[0; 6]), &[]);
    assert!(!only_batch(bytes(&builder)).is_control());
}

#[test]
fn input49_timestamps_wrap_and_are_kept() {
    for times in [[i64::MIN, i64::MAX, 0], [i64::MAX, i64::MIN, -1], [-1, 0, i64::MIN]] {
        let mut builder = BatchBuilder::new(0);
        for time in times {
            builder.push(time, None, None, &[]);
        }
        let payload = open(bytes(&builder));
        let read: Vec<_> = payload.records().map(|record| record.unwrap().timestamp()).collect();
        assert_eq!(read, times);
    }
}

#[test]
fn log_append_time_is_the_batchs_for_every_record() {
    let payload = open(bytes(&abc(0).log_append_time(77)));
    for record in payload.records() {
        let record = record.unwrap();
        assert_eq!((record.timestamp(), record.timestamp_type()), (77, TimestampType::LogAppendTime));
    }
}

#[test]
fn the_header_says_what_was_written() {
    let mut builder = BatchBuilder::new(1 << 40)
        .leader_epoch(9)
        .producer(4711, 3, 12)
        .transactional()
        .delete_horizon(500)
        .last_offset_delta(10);
    builder.push(700, None, None, &[]).push(600, None, None, &[]);
    let whole = bytes(&builder);
    let header = BatchHeader::peek(&whole).unwrap().unwrap();
    let batch = V2Batch::split_from(&mut whole.clone(), Crc::Check).unwrap().unwrap();
    assert_eq!(*batch.header(), header);
    assert_eq!(batch.as_bytes(), &whole);
    assert_eq!(
        (header.base_offset(), header.last_offset(), header.next_offset(), header.count(), header.size()),
        (1 << 40, (1 << 40) + 10, (1 << 40) + 11, 2, whole.len())
    );
    assert_eq!(
        (header.partition_leader_epoch(), header.base_timestamp(), header.max_timestamp()),
        (9, 500, 700)
    );
    assert_eq!((header.producer_id(), header.producer_epoch(), header.base_sequence()), (4711, 3, 12));
    assert!(header.is_transactional() && header.has_delete_horizon() && !header.is_control());
    assert_eq!((batch.compression(), batch.timestamp_type()), (Compression::None, TimestampType::CreateTime));
    let payload = open(whole);
    assert_eq!(payload.records().map(|record| record.unwrap().timestamp()).collect::<Vec<_>>(), [700, 600]);
}

#[test]
fn peek_reads_the_header_of_a_batch_whose_checksum_is_wrong() {
    let mut bad = bytes(&abc(4)).to_vec();
    *bad.last_mut().unwrap() ^= 1;
    let set = Batches::new(bad.into(), Crc::Check);
    let Some(AnyBatchHeader::V2(header)) = set.peek() else { panic!() };
    assert_eq!((header.base_offset(), header.next_offset()), (4, 7));
}

#[test]
fn j8_seeking_into_a_packed_batch_hands_out_no_earlier_record() {
    for codec in Compression::ALL {
        let mut builder = BatchBuilder::new(100).compression(codec);
        for index in 0..50 {
            builder.push(0, None, Some(&[index]), &[]).gap(1);
        }
        let payload = open(bytes(&builder));
        for (seek, found) in
            [(0, Some(100)), (100, Some(100)), (131, Some(132)), (198, Some(198)), (199, None)]
        {
            let mut records = payload.records();
            records.skip_to(seek).unwrap();
            let at = records.at();
            assert_eq!(records.next().map(|record| record.unwrap().offset()), found);
            assert_eq!(payload.records_from(at).next().map(|record| record.unwrap().offset()), found);
        }
    }
}

#[test]
fn a_batch_handed_out_in_parts_is_the_same_batch() {
    let mut builder = BatchBuilder::new(0).compression(Compression::Lz4).last_offset_delta(40);
    for index in 0..23u8 {
        builder.push(i64::from(index), Some(&[index]), Some(b"value"), &[("h", None)]);
    }
    let payload = open(bytes(&builder));
    let all: Vec<_> = payload.records().map(Result::unwrap).collect();
    for most in 1..25 {
        let (mut at, mut runs) = (PayloadPosition::START, Vec::new());
        while payload.count_from(at) > 0 {
            let (run, error) = payload.take(&mut at, most);
            assert!(error.is_none() && run.len() <= most && !run.is_empty());
            runs.push(run);
        }
        let parts: Vec<_> = runs.iter().flatten().collect();
        assert_eq!(parts, all);
        assert_eq!(runs.last().unwrap().next_offset(), 41);
    }
}

#[test]
fn a_detached_record_outlives_its_batch_and_shares_its_memory() {
    let mut builder = BatchBuilder::new(3);
    builder.push(9, Some(b"key"), Some(b"value"), &[("h", Some(b"1"))]).push(9, None, Some(b""), &[]);
    let payload = open(bytes(&builder));
    let memory = payload.as_bytes().as_ptr_range();
    let owned: Vec<_> = payload.records().map(|record| record.unwrap().detach()).collect();
    let copies: Vec<_> = payload.records().map(|record| record.unwrap().copy()).collect();
    drop(payload);
    let value = owned[0].value().unwrap();
    assert!(memory.contains(&value.as_ptr()));
    assert_eq!((&value[..], &owned[0].key().unwrap()[..]), (&b"value"[..], &b"key"[..]));
    assert_eq!((owned[1].key(), owned[1].value().map(|value| value.len())), (None, Some(0)));
    let copy = &copies[0];
    assert!(!memory.contains(&copy.value().unwrap().as_ptr()));
    assert_eq!((copy.key(), copy.value()), (owned[0].key(), owned[0].value()));
    assert_eq!((copy.offset(), copy.headers().first("h").unwrap().value), (3, Some(&b"1"[..])));
    assert_eq!((copies[1].key(), copies[1].value().map(|value| value.len())), (None, Some(0)));
}

#[test]
fn uncompressed_records_are_slices_of_the_answer() {
    let answer = bytes(&abc(0));
    let payload = open(answer.clone());
    let record = payload.records().next().unwrap().unwrap();
    assert!(answer.as_ptr_range().contains(&record.value().unwrap().as_ptr()));
}

#[test]
fn a_position_of_another_payload_is_harmless() {
    let (long, short) = (open(bytes(&abc(0))), open(bytes(BatchBuilder::new(0).push(0, None, None, &[]))));
    let mut records = long.records();
    for _ in 0..3 {
        records.next();
        let _ = short.records_from(records.at()).map(|record| record.is_ok()).collect::<Vec<_>>();
    }
    let mut at = records.at();
    let (run, _) = short.take(&mut at, 10);
    assert_eq!(run.iter().count(), 0);
}

#[test]
fn a_decompressor_serves_all_codecs_in_turn() {
    let mut decompressor = Decompressor::new();
    for round in 0..3u8 {
        for codec in Compression::ALL {
            let data = vec![round; 100_000];
            let mut packed = Vec::new();
            compress(codec, &data, &mut packed).unwrap();
            let checksum = offtake_wire::records::Lz4Checksum::Required;
            assert_eq!(decompressor.decompress(codec, &packed, checksum).unwrap(), data, "{codec}");
        }
    }
}
