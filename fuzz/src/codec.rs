//! Targets `gzip`, `snappy`, `lz4` and `zstd`: a decompressor alone, and the round trip.

use std::io::Read;

use bytes::Bytes;
use offtake_wire::records::{CodecError, Compression, Decompressor, Lz4Checksum, compress};

use crate::meter;

const LIMIT: usize = 1 << 20;
const LOW_LIMIT: usize = 1000;
/// The memory for the decompressors' own contexts, beyond the output.
const CONTEXT: usize = 256 << 10;

/// Target `gzip`.
pub fn gzip(input: &[u8]) {
    run(Compression::Gzip, input);
}

/// Target `snappy`.
pub fn snappy(input: &[u8]) {
    run(Compression::Snappy, input);
}

/// Target `lz4`.
pub fn lz4(input: &[u8]) {
    run(Compression::Lz4, input);
}

/// Target `zstd`.
pub fn zstd(input: &[u8]) {
    run(Compression::Zstd, input);
}

/// The input is first decompressed, and then compressed.
fn run(codec: Compression, input: &[u8]) {
    unpack(codec, input, Lz4Checksum::Required);
    if codec == Compression::Lz4 {
        unpack(codec, input, Lz4Checksum::Ignored);
    }
    there_and_back(codec, input);
}

fn unpack(codec: Compression, input: &[u8], checksum: Lz4Checksum) {
    let mut used = Decompressor::with_limit(LIMIT);
    // At most the limit and the reserve for growing to it, however small the input.
    let first =
        meter::within(3 * LIMIT + 4 * input.len() + CONTEXT, || used.decompress(codec, input, checksum));
    match &first {
        Ok(output) => assert!(output.len() <= LIMIT, "{} bytes passed the limit", output.len()),
        Err(CodecError::TooLarge { limit, .. }) => assert_eq!(*limit, LIMIT),
        Err(_) => {}
    }
    // Earlier input leaves no trace, not even in a reused buffer.
    assert_eq!(used.decompress(codec, input, checksum), first, "the second time");
    let kept = first.clone();
    drop(first);
    assert_eq!(used.decompress(codec, input, checksum), kept, "the third time, with a buffer to spare");

    match (Decompressor::with_limit(LOW_LIMIT).decompress(codec, input, checksum), &kept) {
        (Ok(low), Ok(output)) => assert!(low == *output && low.len() <= LOW_LIMIT),
        (Ok(_), Err(error)) => panic!("a lower limit mends {error}"),
        (Err(CodecError::TooLarge { .. }), Ok(output)) => {
            assert!(output.len() > LOW_LIMIT, "{}", output.len())
        }
        (Err(error), Ok(_)) => panic!("a lower limit makes it {error}"),
        (Err(_), Err(_)) => {}
    }
    if let Ok(output) = kept {
        second_opinion(codec, input, checksum, &output);
    }
}

/// gzip members and lz4 frames are parsed by code of ours: if it accepts them, another decoder does too.
fn second_opinion(codec: Compression, input: &[u8], checksum: Lz4Checksum, output: &Bytes) {
    let mut theirs = Vec::new();
    let read = match (codec, checksum) {
        (Compression::Gzip, _) => flate2::read::MultiGzDecoder::new(input).read_to_end(&mut theirs),
        (Compression::Lz4, Lz4Checksum::Required) => unframe_lz4(input, &mut theirs),
        _ => return,
    };
    match read {
        Ok(_) => assert_eq!(theirs, output[..], "{codec}"),
        // We skip the checksum of a gzip header, they verify it.
        Err(_) if codec == Compression::Gzip && has_header_crc(input) => {}
        Err(error) => panic!("{codec}: they refuse what we accept: {error}"),
    }
}

/// They pause at the end of a frame, and at an empty block.
fn unframe_lz4(input: &[u8], output: &mut Vec<u8>) -> std::io::Result<usize> {
    let mut decoder = lz4_flex::frame::FrameDecoder::new(input);
    loop {
        let left = decoder.get_ref().len();
        if decoder.read_to_end(output)? == 0 && decoder.get_ref().len() == left {
            return Ok(output.len());
        }
    }
}

/// Whether some member may have one.
fn has_header_crc(input: &[u8]) -> bool {
    input.windows(4).any(|window| matches!(window, [0x1f, 0x8b, 8, flags] if flags & 2 != 0))
}

fn there_and_back(codec: Compression, input: &[u8]) {
    let mut packed = vec![0xaa; 3];
    compress(codec, input, &mut packed).expect("anything can be packed");
    assert_eq!(packed[..3], [0xaa; 3], "what was there stays");
    let packed = &packed[3..];
    let unpacked = Decompressor::with_limit(input.len()).decompress(codec, packed, Lz4Checksum::Required);
    assert_eq!(unpacked.as_deref(), Ok(input));
    if let Some(less) = input.len().checked_sub(1) {
        let refused = Decompressor::with_limit(less).decompress(codec, packed, Lz4Checksum::Required);
        assert_eq!(refused, Err(CodecError::TooLarge { codec, limit: less }), "one byte too many");
    }
}
