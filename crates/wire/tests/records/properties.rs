//! Any batch survives a round trip; any damage is an error or harmless; nothing panics.

use offtake_wire::records::{
    BatchBuilder, Compression, LegacyMessage, OwnedRecord, PayloadPosition, legacy_set, legacy_wrapper,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
struct Written {
    gap: i32,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

fn written() -> impl Strategy<Value = Written> {
    let small = || option::of(vec(any::<u8>(), 0..40));
    let value = option::of(prop_oneof![
        vec(any::<u8>(), 0..200),
        (0..5000usize).prop_map(|length| vec![b'z'; length])
    ]);
    let headers = vec((vec(any::<u8>(), 0..10), small()), 0..4);
    let gap = prop_oneof![4 => Just(0), 1 => 1..1000i32];
    let timestamp = prop_oneof![1_600_000_000_000..1_800_000_000_000i64, any::<i64>()];
    (gap, timestamp, small(), value, headers).prop_map(|(gap, timestamp, key, value, headers)| Written {
        gap,
        timestamp,
        key,
        value,
        headers,
    })
}

fn codec() -> impl Strategy<Value = Compression> {
    proptest::sample::select(&Compression::ALL[..])
}

fn build(base: i64, codec: Compression, tail: i32, records: &[Written]) -> (BatchBuilder, Vec<i64>) {
    let mut builder = BatchBuilder::new(base).compression(codec);
    let (mut delta, mut offsets) = (0, Vec::new());
    for record in records {
        delta += record.gap;
        let headers: Vec<_> =
            record.headers.iter().map(|(key, value)| (&key[..], value.as_deref())).collect();
        builder.push_at(
            delta,
            record.timestamp,
            record.key.as_deref(),
            record.value.as_deref(),
            headers.into_iter(),
        );
        offsets.push(base + i64::from(delta));
        delta += 1;
    }
    (builder.last_offset_delta(delta - 1 + tail), offsets)
}

fn owned(record: &Record<'_>) -> OwnedRecord {
    record.detach()
}

fn same(record: &Record<'_>, offset: i64, written: &Written) -> bool {
    let headers: Vec<_> =
        record.headers().map(|header| (header.key.to_vec(), header.value.map(<[u8]>::to_vec))).collect();
    (record.offset(), record.timestamp()) == (offset, written.timestamp)
        && record.key() == written.key.as_deref()
        && record.value() == written.value.as_deref()
        && headers == written.headers
}

/// Where the messages of an old set begin.
fn starts(set: &[u8]) -> Vec<usize> {
    let mut starts = vec![0];
    while let Some(size) = starts.last().and_then(|at| set.get(at + 8..)).and_then(|rest| rest.first_chunk())
    {
        let next = starts.last().unwrap() + 12 + usize::try_from(i32::from_be_bytes(*size)).unwrap();
        starts.push(next);
    }
    starts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn any_batch_in_any_codec_with_any_gaps_comes_back(
        base in 0..i64::MAX / 2, codec in codec(), tail in 0..100i32,
        records in vec(written(), 1..30), most in 1..10usize,
    ) {
        let (builder, offsets) = build(base, codec, tail, &records);
        let payload = open(bytes(&builder));
        prop_assert_eq!(payload.count() as usize, records.len());
        prop_assert_eq!(payload.next_offset(), offsets.last().unwrap() + i64::from(tail) + 1);

        let (mut at, mut read) = (PayloadPosition::START, 0);
        while payload.count_from(at) > 0 {
            let (run, error) = payload.take(&mut at, most);
            prop_assert!(error.is_none());
            for record in &run {
                prop_assert!(same(&record, offsets[read], &records[read]));
                let owned = owned(&record);
                prop_assert_eq!(owned.value().map(|value| &value[..]), record.value());
                prop_assert!(owned.headers().eq(record.headers()));
                read += 1;
            }
        }
        prop_assert_eq!(read, records.len());
    }

    #[test]
    fn any_flipped_bit_is_an_error_or_the_same_records(
        codec in codec(), records in vec(written(), 1..6), at in any::<prop::sample::Index>(), bit in 0..8u8,
    ) {
        let (builder, offsets) = build(1 << 20, codec, 0, &records);
        let mut flipped = bytes(&builder).to_vec();
        let at = at.index(flipped.len());
        flipped[at] ^= 1 << bit;
        let (read, error) = read(flipped);
        // The broker sets base offset and leader epoch, so that the checksum excludes them: a flipped bit there shifts the
        // offsets, or has no effect.
        match at {
            0..8 => prop_assert!(error.is_some() || read.len() == records.len()),
            12..16 => prop_assert_eq!((read, error), (offsets, None)),
            _ => {
                prop_assert!(error.is_some());
                prop_assert!(read.is_empty());
            }
        }
    }

    #[test]
    fn damage_under_a_valid_checksum_never_panics(
        codec in codec(), records in vec(written(), 1..6),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (builder, _) = build(1 << 20, codec, 3, &records);
        let mut bad = bytes(&builder).to_vec();
        for (at, byte) in damage {
            let at = at.index(bad.len() - 21) + 21;
            bad[at] = byte;
        }
        mend(&mut bad);
        let (offsets, _) = read(bad);
        prop_assert!(offsets.is_sorted_by(|a, b| a < b), "never out of order: {:?}", offsets);
    }

    #[test]
    fn cut_at_any_byte_never_panics_and_never_invents(codec in codec(), records in vec(written(), 1..4)) {
        let (builder, offsets) = build(7, codec, 0, &records);
        let whole = bytes(&builder);
        for cut in 0..whole.len() {
            let (read_offsets, error) = read(whole.slice(..cut));
            prop_assert!(read_offsets.is_empty() && (cut == 0) == error.is_none());
            // The same cut, but with a length that claims it is complete.
            if cut > 61 {
                let mut claimed = whole[..cut].to_vec();
                claimed[8..12].copy_from_slice(&(cut as i32 - 12).to_be_bytes());
                mend(&mut claimed);
                let (read_offsets, error) = read(claimed);
                prop_assert!(error.is_some() && offsets.starts_with(&read_offsets));
            }
        }
    }

    #[test]
    fn noise_is_never_more_than_an_error(noise in vec(any::<u8>(), 0..300), magic in 0..4u8, codec in codec()) {
        let _ = read(noise.clone());
        let mut shaped = noise.clone();
        if shaped.len() > 61 {
            let length = shaped.len() as i32 - 12;
            shaped[8..12].copy_from_slice(&length.to_be_bytes());
            shaped[16] = magic;
            mend(&mut shaped);
            let _ = read(shaped);
        }
        for checksum in [offtake_wire::records::Lz4Checksum::Required, offtake_wire::records::Lz4Checksum::Ignored] {
            let _ = Decompressor::with_limit(1 << 20).decompress(codec, &noise, checksum);
        }
    }

    #[test]
    fn any_old_set_comes_back(
        magic in 0..2i8, base in 0..1_000_000i64, codec in proptest::sample::select(&Compression::ALL[..4]),
        messages in vec((0..3i64, option::of(vec(any::<u8>(), 0..50)), option::of(vec(any::<u8>(), 0..50))), 1..20),
        damage in option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let mut offset = -1;
        let messages: Vec<_> = messages.iter().map(|(gap, key, value)| {
            offset += gap + 1;
            LegacyMessage { offset, timestamp: offset * 3, attributes: 0, key: key.as_deref(), value: value.as_deref() }
        }).collect();
        let last = base + offset;
        let shifted: Vec<_> = messages.iter().map(|message| LegacyMessage { offset: base + message.offset, ..*message }).collect();
        let set = if codec == Compression::None {
            legacy_set(magic, &shifted)
        } else {
            let inner = legacy_set(magic, if magic == 0 { &shifted } else { &messages });
            legacy_wrapper(magic, last, codec, 0, false, &inner)
        };
        let expected: Vec<_> = shifted.iter().map(|message| message.offset).collect();
        prop_assert_eq!(read(set.clone()), (expected.clone(), None));
        if let Some((at, byte)) = damage {
            let mut bad = set.to_vec();
            let at = at.index(bad.len());
            bad[at] ^= byte;
            let (offsets, error) = read(bad);
            // Only the offset of a message is outside its checksum; one whose length leads beyond the end was cut off there.
            let within = at - starts(&set).into_iter().rfind(|start| *start <= at).unwrap_or(0);
            let is_cut = codec == Compression::None && (8..12).contains(&within) && expected.starts_with(&offsets);
            prop_assert!(error.is_some() || within < 8 || is_cut || offsets == expected, "{}: {:?}", within, offsets);
        }
    }
}
