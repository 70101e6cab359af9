//! The four codecs of Kafka, on whole payloads.

use std::io::{Read, Write};

use bytes::Bytes;

/// The compression of a batch's records: the low three bits of its attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// The header of snappy-java's stream, before its blocks: a magic and two versions.
const XERIAL: &[u8] = b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01";
/// The largest size of a decompressed batch, so that a compression bomb does not exhaust the memory.
const LARGEST: u64 = 1 << 30;

impl Codec {
    pub(super) fn of(attributes: i16) -> Option<Self> {
        match attributes & 7 {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// A value of the topic's `compression.type`; `None` for `producer`, which leaves batches as they are.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "uncompressed" => Some(Self::None),
            "gzip" => Some(Self::Gzip),
            "snappy" => Some(Self::Snappy),
            "lz4" => Some(Self::Lz4),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    pub(super) fn bits(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    pub(super) fn unpack(self, packed: &Bytes) -> Option<Bytes> {
        let plain = match self {
            Self::None => return Some(packed.clone()),
            Self::Gzip => read_all(flate2::read::MultiGzDecoder::new(packed.as_ref()))?,
            Self::Lz4 => read_all(lz4_flex::frame::FrameDecoder::new(packed.as_ref()))?,
            Self::Zstd => unpack_zstd(packed)?,
            Self::Snappy => unpack_snappy(packed)?,
        };
        Some(plain.into())
    }

    pub(super) fn pack(self, plain: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::None => Some(plain.to_vec()),
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(plain).ok()?;
                encoder.finish().ok()
            }
            Self::Snappy => {
                let block = snap::raw::Encoder::new().compress_vec(plain).ok()?;
                let mut packed = XERIAL.to_vec();
                packed.extend_from_slice(&u32::try_from(block.len()).ok()?.to_be_bytes());
                packed.extend_from_slice(&block);
                Some(packed)
            }
            Self::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                encoder.write_all(plain).ok()?;
                encoder.finish().ok()
            }
            Self::Zstd => pack_zstd(plain),
        }
    }
}

#[cfg(feature = "zstd")]
fn unpack_zstd(packed: &[u8]) -> Option<Vec<u8>> {
    read_all(zstd::stream::read::Decoder::new(packed).ok()?)
}

#[cfg(feature = "zstd")]
fn pack_zstd(plain: &[u8]) -> Option<Vec<u8>> {
    zstd::stream::encode_all(plain, 3).ok()
}

/// zstd is not built in: no such batch can be read.
#[cfg(not(feature = "zstd"))]
fn unpack_zstd(_: &[u8]) -> Option<Vec<u8>> {
    None
}

#[cfg(not(feature = "zstd"))]
fn pack_zstd(_: &[u8]) -> Option<Vec<u8>> {
    None
}

fn read_all(reader: impl Read) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    let read = reader.take(LARGEST + 1).read_to_end(&mut plain).ok()?;
    (read as u64 <= LARGEST).then_some(plain)
}

/// Decompresses raw snappy, or the blocks of snappy-java's stream.
fn unpack_snappy(packed: &[u8]) -> Option<Vec<u8>> {
    let mut decoder = snap::raw::Decoder::new();
    if !packed.starts_with(XERIAL.get(..8)?) {
        return decompress_block(&mut decoder, packed);
    }
    let mut rest = packed.get(XERIAL.len()..)?;
    let mut plain = Vec::new();
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (block, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        plain.extend_from_slice(&decompress_block(&mut decoder, block)?);
        rest = after;
    }
    Some(plain)
}

fn decompress_block(decoder: &mut snap::raw::Decoder, block: &[u8]) -> Option<Vec<u8>> {
    let length = snap::raw::decompress_len(block).ok()?;
    if length as u64 > LARGEST {
        return None;
    }
    decoder.decompress_vec(block).ok()
}
