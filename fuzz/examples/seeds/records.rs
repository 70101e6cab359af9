//! Record sets of all formats, and compressed data.

use std::io::Write;

use bytes::Bytes;
use offtake_wire::records::{BatchBuilder, Compression, LegacyMessage, compress, legacy_set, legacy_wrapper};

use super::Corpora;

/// Mode and step before a set that is used as it is.
const RAW: &[u8] = &[0, 2];
const PACKED: [Compression; 4] =
    [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

/// The mode in which a target compresses the rest.
fn pack_with(codec: Compression) -> u8 {
    1 | codec.id() << 1
}

/// Sets that Java wrote: whole ones for `batch_v2` and `legacy`, their compressed content for the codecs.
pub(crate) fn java(corpora: &mut Corpora) {
    let sets = include_str!("../../../crates/wire/tests/records/java-3.9.1.txt");
    for line in sets.lines().filter_map(|line| line.strip_prefix("set ")) {
        let (name, hex) = line.split_once(" x").expect("a name and bytes");
        let bytes: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex"))
            .collect();
        let target = if name.starts_with("v2") { "batch_v2" } else { "legacy" };
        corpora.add(target, &format!("java-{name}"), &[RAW, &bytes]);
        let codec = PACKED.into_iter().find(|codec| name.contains(codec.name()));
        if let (Some(codec), "batch_v2") = (codec, target) {
            corpora.add(codec.name(), &format!("java-{name}"), &[&bytes[61..]]);
        }
    }
}

fn abc(base: i64) -> BatchBuilder {
    let mut batch = BatchBuilder::new(base);
    for value in [b"a", b"b", b"c"] {
        batch.push(1000, Some(b"key"), Some(value), &[("h", Some(b"1")), ("h", None)]);
    }
    batch
}

fn bytes(batch: &BatchBuilder) -> Vec<u8> {
    batch.build().expect("it is small").to_vec()
}

fn one(records: &[u8]) -> Vec<u8> {
    bytes(BatchBuilder::new(0).push_encoded(records, 1))
}

fn raw_record(body: &[u8]) -> Vec<u8> {
    [&[u8::try_from(body.len() * 2).expect("it is small")], body].concat()
}

fn deltas(all: &[i32]) -> Vec<u8> {
    let mut batch = BatchBuilder::new(10).last_offset_delta(6);
    for delta in all {
        batch.push_at(*delta, 0, None, None, std::iter::empty());
    }
    bytes(&batch)
}

fn with(mut batch: Vec<u8>, at: usize, change: &[u8]) -> Vec<u8> {
    batch[at..at + change.len()].copy_from_slice(change);
    batch
}

/// Batches of one record each.
fn singles() -> Vec<u8> {
    let single = |offset: i64| {
        let mut batch = BatchBuilder::new(100 + offset + offset / 4);
        bytes(batch.push(1000 * offset, Some(b"key"), Some(b"value"), &[("h", Some(b"1"))]))
    };
    (0..9).flat_map(single).collect()
}

/// Format 2: FAILURES INPUT23 to INPUT49. Checksums do not matter here.
pub(crate) fn batches(corpora: &mut Corpora) {
    let good = bytes(&abc(5));
    let mut gaps = BatchBuilder::new(10).last_offset_delta(9);
    gaps.gap(2).push(0, None, None, &[]).gap(3).push(0, None, None, &[]);
    let emptied = BatchBuilder::new(25).last_offset_delta(4);
    let mut times = BatchBuilder::new(0);
    times.push(i64::MIN, None, None, &[]).push(i64::MAX, None, None, &[]).push(-1, None, None, &[]);
    let mut marker = BatchBuilder::new(5).control().transactional().producer(1, 0, -1);
    marker.push(0, Some(&[0, 0, 0, 0]), Some(&[0, 0, 0, 0, 0, 21]), &[]);
    let mut short_marker = BatchBuilder::new(5).control().transactional().producer(1, 0, -1);
    short_marker.push(0, Some(&[0, 0, 0]), None, &[]);
    let record = raw_record(&[0, 0, 0, 1, 2, b'v', 0]);

    let rows: &[(&str, Vec<u8>)] = &[
        ("input23-negative-length", with(good.clone(), 8, &[0xff; 4])),
        ("input23-short-length", with(good.clone(), 8, &48_i32.to_be_bytes())),
        ("input23-endless-length", with(good.clone(), 8, &i32::MAX.to_be_bytes())),
        ("input24-cut-short", [&bytes(&abc(0))[..], &bytes(&abc(3))[..70]].concat()),
        ("input24-only-one-cut-short", good[..70].to_vec()),
        ("input26-magic-3", with(good.clone(), 16, &[3])),
        ("input26-magic-negative", with(good.clone(), 16, &[0xff])),
        ("input28-codec-5", with(good.clone(), 21, &[0, 5])),
        ("input30-not-packed", with(good.clone(), 21, &[0, 1])),
        ("input31-negative-count", bytes(&abc(0).claim_count(-1))),
        ("input31-large-count", bytes(&abc(0).claim_count(i32::MAX))),
        ("input32-count-above-the-bytes", bytes(&abc(10).claim_count(5).last_offset_delta(9))),
        ("input33-count-below-the-bytes", bytes(&abc(10).claim_count(2))),
        ("input34-no-bytes", bytes(&BatchBuilder::new(0).last_offset_delta(0).claim_count(1))),
        ("input34-no-records", bytes(BatchBuilder::new(0).last_offset_delta(0).push_encoded(&[0; 5], 0))),
        ("input35-negative-record", one(&[&[0x01][..], &record[1..]].concat())),
        ("input35-huge-record", one(&[&[0xfe, 0xff, 0xff, 0xff, 0x0f][..], &record[1..]].concat())),
        ("input35-endless-varint", one(&[&[0x80, 0x80, 0x80, 0x80, 0x80, 1][..], &record[1..]].concat())),
        ("input36-key-of-minus-two", one(&raw_record(&[0, 0, 0, 3, 1, 0]))),
        ("input36-value-beyond-the-record", one(&raw_record(&[0, 0, 0, 1, 100, 0]))),
        ("input37-negative-headers", one(&raw_record(&[0, 0, 0, 1, 1, 1]))),
        ("input37-null-header-key", one(&raw_record(&[0, 0, 0, 1, 1, 2, 1, 1]))),
        ("input37-many-headers", one(&raw_record(&[0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 1]))),
        ("input38-negative-delta", deltas(&[-1])),
        ("input38-same-delta", deltas(&[0, 0])),
        ("input38-falling-delta", deltas(&[3, 2, 5])),
        ("input38-delta-beyond-the-last", deltas(&[0, 7])),
        ("input39-negative-last-delta", bytes(&abc(0).last_offset_delta(-1))),
        ("input39-huge-last-delta", bytes(&abc(0).last_offset_delta(i32::MAX))),
        ("input40-last-offset", bytes(&abc(i64::MAX - 3))),
        ("input40-overflow", bytes(&abc(i64::MAX - 2))),
        ("input40-negative", bytes(&abc(-1))),
        ("input41-gaps", [bytes(&gaps), bytes(&emptied), bytes(&abc(40))].concat()),
        ("input42-overlap", [bytes(&abc(10)), bytes(&abc(12))].concat()),
        ("input46-marker", bytes(&marker)),
        ("input46-short-marker", bytes(&short_marker)),
        ("input47-no-producer", bytes(&abc(0).transactional())),
        ("input49-times", bytes(&times)),
        ("transactional", bytes(&abc(0).transactional().producer(7, 1, 0))),
        ("append-time", bytes(&abc(0).log_append_time(77))),
        ("delete-horizon", bytes(&abc(0).delete_horizon(i64::MAX))),
    ];
    for (name, set) in rows {
        corpora.add("batch_v2", name, &[RAW, set]);
    }
    let singles = singles();
    corpora.add("batch_v2", "singles", &[RAW, &singles]);
    // The length of the key of the fifth.
    let size = singles.len() / 9;
    corpora.add(
        "batch_v2",
        "singles-key-beyond-the-record",
        &[RAW, &with(singles, 4 * size + 61 + 4, &[0x7e])],
    );
    for codec in PACKED {
        let mut many = BatchBuilder::new(7).compression(codec);
        for at in 0..40 {
            many.push(at, Some(b"key"), Some(&[b'v'; 60]), &[("h", Some(b"1"))]);
        }
        corpora.add("batch_v2", codec.name(), &[RAW, &bytes(&many)]);
    }
    let records = &bytes(&abc(0))[61..];
    for codec in Compression::ALL {
        // Count, last delta, flags.
        corpora.add("batch_v2", &format!("pack-{codec}"), &[&[pack_with(codec), 1, 3, 2, 0], records]);
    }
    corpora.add("batch_v2", "pack-flags", &[&[pack_with(Compression::Lz4), 0, 3, 9, 0x0f], records]);
}

fn message(offset: i64, value: &[u8]) -> LegacyMessage<'_> {
    LegacyMessage { offset, timestamp: offset.wrapping_mul(10), value: Some(value), ..Default::default() }
}

fn inner(magic: i8, offsets: &[i64]) -> Bytes {
    legacy_set(magic, &offsets.iter().map(|offset| message(*offset, b"v")).collect::<Vec<_>>())
}

/// Formats 0 and 1: INPUT43 and INPUT44, and the cases that they share with format 2.
pub(crate) fn legacy(corpora: &mut Corpora) {
    for magic in [0, 1] {
        let wrap = |offset, inner: &[u8]| legacy_wrapper(magic, offset, Compression::Gzip, 0, false, inner);
        let good = inner(magic, &[0, 1]);
        let negative = with(good.to_vec(), 8, &[0xff; 4]);
        let length_at = good.len() / 2 - 5;
        let null = LegacyMessage { attributes: 1, ..Default::default() };
        let odd = LegacyMessage { attributes: 5, value: Some(b"v"), ..Default::default() };
        let rows: &[(&str, Vec<u8>)] = &[
            ("input43-wrapper-in-a-wrapper", wrap(1, &wrap(1, &good)).to_vec()),
            ("input43-other-format-inside", wrap(1, &inner(1 - magic, &[0, 1])).to_vec()),
            ("input43-nothing-inside", wrap(1, &[]).to_vec()),
            ("input43-offset-too-small", wrap(0, &good).to_vec()),
            ("input43-negative-offset", wrap(5, &inner(magic, &[-1, 1])).to_vec()),
            ("input43-same-offset", wrap(5, &inner(magic, &[1, 1])).to_vec()),
            ("input43-cut-inside", wrap(5, &good[..5]).to_vec()),
            ("input43-negative-size-inside", wrap(1, &negative).to_vec()),
            ("input43-no-value", legacy_set(magic, &[null]).to_vec()),
            (
                "input43-wide",
                wrap(i64::from(i32::MAX) + 2, &inner(magic, &[0, i64::from(i32::MAX) + 2])).to_vec(),
            ),
            ("input44-zstd", legacy_wrapper(magic, 1, Compression::Zstd, 0, false, &good).to_vec()),
            ("input28-codec-5", legacy_set(magic, &[odd]).to_vec()),
            ("input36-value-length", with(good.to_vec(), length_at, &[0x80, 0, 0, 0])),
            ("input24-cut-short", good[..good.len() - 3].to_vec()),
            ("input42-overlap", inner(magic, &[3, 3]).to_vec()),
            ("input40-last-offset", inner(magic, &[i64::MAX - 1]).to_vec()),
            ("input40-no-offset", inner(magic, &[i64::MAX]).to_vec()),
        ];
        for (name, set) in rows {
            corpora.add("legacy", &format!("{name}-v{magic}"), &[RAW, set]);
        }
        for codec in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4] {
            let mode = pack_with(codec) | magic.cast_unsigned() << 5;
            let set = inner(magic, &[0, 1, 5, 9]);
            corpora.add("legacy", &format!("wrap-{codec}-v{magic}"), &[&[mode, 1, 9], &set]);
        }
    }
    let mode = pack_with(Compression::Lz4) | 0x60;
    corpora.add("legacy", "wrap-append-time", &[&[mode, 0, 200], &inner(1, &[0, 9])]);
    corpora.add("legacy", "mixed", &[RAW, &inner(0, &[3, 4]), &bytes(&abc(5))]);
}

fn xerial(blocks: &[&[u8]]) -> Vec<u8> {
    let mut out = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for block in blocks {
        out.extend(u32::try_from(block.len()).expect("it is small").to_be_bytes());
        out.extend(*block);
    }
    out
}

/// Rows 29, 30 and 45, and the edge cases of each format.
pub(crate) fn codecs(corpora: &mut Corpora) {
    let pack = |codec, data: &[u8]| {
        let mut out = Vec::new();
        compress(codec, data, &mut out).expect("anything can be packed");
        out
    };
    let text: Vec<u8> =
        (0..3000_usize).map(|at| b"the quick brown fox "[at % 20] ^ (at / 999) as u8).collect();
    for codec in PACKED {
        let name = codec.name();
        corpora.add(name, "nothing", &[&pack(codec, b"")]);
        corpora.add(name, "text", &[&pack(codec, &text)]);
        corpora.add(name, "two", &[&pack(codec, b"first, "), &pack(codec, b"second")]);
        corpora.add(
            name,
            "input29-bomb",
            &[&pack(codec, &vec![0; if codec == Compression::Snappy { 200_000 } else { 1_500_000 }])],
        );
        let packed = pack(codec, &text);
        corpora.add(name, "input30-cut", &[&packed[..packed.len() - 2]]);
        corpora.add(name, "input30-behind", &[&packed, &[0]]);
    }
    let snappy = b"\xac\x02\x14SNAPPY\xfe\x06\0\xfe\x06\0\xfe\x06\0\xfe\x06\0\x96\x06\0";
    corpora.add("snappy", "input45-raw", &[snappy]);
    corpora.add("snappy", "input45-xerial", &[&xerial(&[snappy, snappy])]);
    corpora.add("snappy", "input45-empty-block", &[&xerial(&[snappy, b""])]);
    corpora.add("snappy", "input45-negative-block", &[&with(xerial(&[snappy]), 16, &[0xff; 4])]);
    corpora.add("snappy", "input45-huge-block", &[&with(xerial(&[snappy]), 16, &i32::MAX.to_be_bytes())]);
    corpora.add("snappy", "input29-claims-4-gib", &[b"\xff\xff\xff\xff\x0f"]);
    let member = pack(Compression::Gzip, b"named");
    // Extra field, name, comment and header checksum.
    let flagged =
        [&member[..3], &[0x1e], &member[4..10], &[2, 0, 1, 2], b"name\0comment\0\x11\x22", &member[10..]]
            .concat();
    corpora.add("gzip", "every-flag", &[&flagged]);
    corpora.add(
        "zstd",
        "skippable",
        &[&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3], &pack(Compression::Zstd, b"a")],
    );
    // A window of 2 GiB and more, and a content size of 2^64 - 1.
    corpora.add("zstd", "input29-window", &[&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xff, 9, 0, 0, b'a']]);
    corpora.add(
        "zstd",
        "input29-claims-all",
        &[&[0x28, 0xb5, 0x2f, 0xfd, 0xe0], &[0xff; 8], &[9, 0, 0, b'a']],
    );
    corpora.add("zstd", "run", &[&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58, 0x03, 0x00, 0x10, b'r']]);
    let reserved =
        [4, 0x22, 0x4d, 0x18, 0x60, 0xf7, 0x82, 7, 0, 0, 0x80, 0, 0x32, 0x0c, 0, 1, 0, 0, 0, 0, 0, 0];
    corpora.add("lz4", "reserved-bits", &[&reserved]);
    let of_nothing = [4, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    corpora.add("lz4", "blocks-of-nothing", &[&of_nothing, &of_nothing]);
    corpora.add(
        "lz4",
        "stored",
        &[&[4, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82, 1, 0, 0, 0x80, b'a', 0, 0, 0, 0]],
    );
    corpora.add("lz4", "linked-and-checked", &[&linked(&text.repeat(30))]);
}

/// An lz4 frame with all optional parts: linked blocks, both checksums, its size.
fn linked(data: &[u8]) -> Vec<u8> {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    let info = FrameInfo::new()
        .block_mode(BlockMode::Linked)
        .block_size(BlockSize::Max64KB)
        .block_checksums(true)
        .content_checksum(true)
        .content_size(Some(data.len() as u64));
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(data).expect("anything can be packed");
    encoder.finish().expect("anything can be packed")
}
