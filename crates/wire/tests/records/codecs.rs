//! The codecs alone: INPUT45, other writers' framings, and limits.

use offtake_wire::records::{CodecError, Compression, Decompressor, Lz4Checksum, compress};

fn unpack(codec: Compression, data: &[u8]) -> Result<Vec<u8>, CodecError> {
    Decompressor::new().decompress(codec, data, Lz4Checksum::Required).map(Into::into)
}

fn pack(codec: Compression, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    compress(codec, data, &mut out).unwrap();
    out
}

fn text(length: usize) -> Vec<u8> {
    (0..length).map(|index| b"the quick brown fox "[index % 20] ^ (index / 999) as u8 & 3).collect()
}

const PACKED: [Compression; 4] =
    [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

#[test]
fn every_size_comes_back() {
    for codec in PACKED {
        for length in [0, 1, 2, 100, 16_383, 16_384, 65_535, 65_536, 65_537, 131_073, 1_000_000, 5_000_000] {
            let data = text(length);
            assert_eq!(unpack(codec, &pack(codec, &data)).unwrap(), data, "{codec} {length}");
        }
    }
}

#[test]
fn the_limit_is_exact() {
    for codec in PACKED {
        for length in [1000usize, 70_000, 300_000] {
            let packed = pack(codec, &text(length));
            let at =
                |limit| Decompressor::with_limit(limit).decompress(codec, &packed, Lz4Checksum::Required);
            assert_eq!(at(length).unwrap().len(), length, "{codec}");
            assert_eq!(at(length - 1), Err(CodecError::TooLarge { codec, limit: length - 1 }));
            assert_eq!(at(0), Err(CodecError::TooLarge { codec, limit: 0 }));
        }
    }
}

#[test]
fn cut_anywhere_is_an_error() {
    for codec in PACKED {
        let packed = pack(codec, &text(70_000));
        for cut in (0..packed.len()).step_by(7).chain(packed.len() - 8..packed.len()) {
            match unpack(codec, &packed[..cut]) {
                Err(CodecError::Corrupt { .. }) => {}
                // Xerial's frame has no end marker: between two blocks, nothing is missing.
                Ok(_) if codec == Compression::Snappy => {}
                other => panic!("{codec} {cut}: {other:?}"),
            }
        }
    }
}

#[test]
fn bytes_behind_the_end_are_an_error() {
    for codec in PACKED {
        let packed = [&pack(codec, b"some data")[..], &[0]].concat();
        assert!(unpack(codec, &packed).is_err(), "{codec}");
    }
}

#[test]
fn streams_one_after_another_are_one() {
    for codec in PACKED {
        let packed = [pack(codec, b"first, "), pack(codec, b"second")].concat();
        assert_eq!(unpack(codec, &packed).unwrap(), b"first, second", "{codec}");
    }
}

fn xerial(blocks: &[&[u8]]) -> Vec<u8> {
    let mut out = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for block in blocks {
        out.extend((block.len() as u32).to_be_bytes());
        out.extend(*block);
    }
    out
}

#[test]
fn input45_snappy_raw_and_in_xerials_frame() {
    // 300 bytes: a literal of six, then copies of it.
    let snappy = b"\xac\x02\x14SNAPPY\xfe\x06\0\xfe\x06\0\xfe\x06\0\xfe\x06\0\x96\x06\0";
    let xerial_word = b"\xac\x02\x14XERIAL\xfe\x06\0\xfe\x06\0\xfe\x06\0\xfe\x06\0\x96\x06\0";
    assert_eq!(unpack(Compression::Snappy, snappy).unwrap(), b"SNAPPY".repeat(50));
    let both = unpack(Compression::Snappy, &xerial(&[snappy, xerial_word])).unwrap();
    assert_eq!(both, [b"SNAPPY".repeat(50), b"XERIAL".repeat(50)].concat());
    assert_eq!(unpack(Compression::Snappy, &xerial(&[])).unwrap(), b"");
}

#[test]
fn input45_snappy_lengths_that_lie() {
    let good = b"\x02\x04ab";
    assert_eq!(unpack(Compression::Snappy, good).unwrap(), b"ab");
    for length in [-1i32, i32::MIN, i32::MAX, 5] {
        let mut bad = xerial(&[good]);
        bad[16..20].copy_from_slice(&length.to_be_bytes());
        assert!(unpack(Compression::Snappy, &bad).is_err(), "{length}");
    }
    assert!(unpack(Compression::Snappy, &xerial(&[good, b""])).is_err(), "a block of nothing");
    assert!(unpack(Compression::Snappy, b"").is_err());
    // Claims 4 GiB in five bytes, and the largest value of a varint.
    assert!(unpack(Compression::Snappy, b"\xff\xff\xff\xff\x0f").is_err());
    assert!(unpack(Compression::Snappy, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01").is_err());
    assert!(unpack(Compression::Snappy, &xerial(&[good])[..18]).is_err());
}

#[test]
fn input45_many_small_blocks_count_together() {
    let block = pack(Compression::Snappy, &[0; 30_000])[20..].to_vec();
    let bomb = xerial(&vec![&block[..]; 50]);
    let mut decompressor = Decompressor::with_limit(1_000_000);
    let result = decompressor.decompress(Compression::Snappy, &bomb, Lz4Checksum::Required);
    assert_eq!(result, Err(CodecError::TooLarge { codec: Compression::Snappy, limit: 1_000_000 }));
}

#[test]
fn lz4_blocks_that_refer_to_those_before_them() {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    use std::io::Write;
    let data = text(400_000);
    for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max4MB] {
        let info = FrameInfo::new()
            .block_mode(BlockMode::Linked)
            .block_size(size)
            .block_checksums(true)
            .content_checksum(true)
            .content_size(Some(data.len() as u64));
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(&data).unwrap();
        let packed = encoder.finish().unwrap();
        assert_eq!(unpack(Compression::Lz4, &packed).unwrap(), data);
        for at in (0..packed.len()).step_by(11) {
            let mut flipped = packed.clone();
            flipped[at] ^= 0x10;
            assert!(unpack(Compression::Lz4, &flipped).is_err(), "a checksum covers byte {at}");
        }
    }
}

#[test]
fn lz4_a_small_block_that_inflates_a_lot() {
    let zeros = vec![0; 4 << 20];
    let info = lz4_flex::frame::FrameInfo::new().block_size(lz4_flex::frame::BlockSize::Max4MB);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    std::io::Write::write_all(&mut encoder, &zeros).unwrap();
    assert_eq!(unpack(Compression::Lz4, &encoder.finish().unwrap()).unwrap(), zeros);
}

#[test]
fn lz4_bits_kept_for_the_future_are_refused() {
    let good = pack(Compression::Lz4, b"some data");
    // The header's checksum is ignored, so that it is not the reason of the refusal.
    let read = |frame: &[u8]| {
        Decompressor::new().decompress(Compression::Lz4, frame, Lz4Checksum::Ignored).map(Vec::from)
    };
    assert_eq!(read(&good).unwrap(), b"some data");
    for (at, bit) in [(4, 0x02), (5, 0x01), (5, 0x02), (5, 0x04), (5, 0x08), (5, 0x80)] {
        let mut bad = good.clone();
        bad[at] |= bit;
        let reason = "reserved bits are set";
        assert_eq!(read(&bad), Err(CodecError::Corrupt { codec: Compression::Lz4, reason }));
    }
}

#[test]
fn zstd_frames_of_other_shapes() {
    let data = text(300_000);
    // Streamed: no content size, a checksum, many blocks, a large requested window.
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.window_log(27).unwrap();
    for chunk in data.chunks(7_000) {
        std::io::Write::write_all(&mut encoder, chunk).unwrap();
        std::io::Write::flush(&mut encoder).unwrap();
    }
    let streamed = encoder.finish().unwrap();
    assert_eq!(unpack(Compression::Zstd, &streamed).unwrap(), data);
    let skippable = [&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..], &streamed].concat();
    assert_eq!(unpack(Compression::Zstd, &skippable).unwrap(), data);
}

#[test]
fn input29_zstd_a_frame_that_claims_64_gib_costs_nothing() {
    // Magic, an eight-byte content size of 64 GiB, a window of 2 GiB, one empty last block.
    let claim =
        [&[0x28, 0xb5, 0x2f, 0xfd, 0xc0, 0xa8][..], &(64u64 << 30).to_le_bytes(), &[1, 0, 0]].concat();
    assert!(matches!(unpack(Compression::Zstd, &claim), Err(CodecError::Corrupt { .. })));
    // Four bytes each that expand to 128 KiB.
    let mut bomb = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58];
    for _ in 0..10_000 {
        bomb.extend([0x02, 0x00, 0x10, 0x00]);
    }
    bomb.extend([1, 0, 0]);
    assert!(matches!(unpack(Compression::Zstd, &bomb), Err(CodecError::TooLarge { .. })));
}

#[test]
fn gzip_members_with_all_optional_fields() {
    let mut deflated = pack(Compression::Gzip, b"hello")[10..].to_vec();
    let mut member = vec![0x1f, 0x8b, 8, 0x1e, 0, 0, 0, 0, 0, 3];
    member.extend([2, 0, 0xaa, 0xbb]); // extra
    member.extend(b"name\0comment\0");
    member.extend([0, 0]); // checksum of the header
    member.append(&mut deflated);
    assert_eq!(unpack(Compression::Gzip, &member).unwrap(), b"hello");
    for at in [0, 1, 2] {
        let mut bad = member.clone();
        bad[at] ^= 1;
        assert!(unpack(Compression::Gzip, &bad).is_err());
    }
    for back in 1..=8 {
        let mut bad = member.clone();
        let at = bad.len() - back;
        bad[at] ^= 1;
        assert!(unpack(Compression::Gzip, &bad).is_err(), "checksum and size are compared");
    }
}
