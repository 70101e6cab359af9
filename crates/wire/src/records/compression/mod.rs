//! The codecs of record batches, each with a limit on the decompressed size.
//!
//! No size that the data claims is trusted: allocations depend on the bytes that are really there, and the limit applies to a
//! whole batch.
//!
//! Each codec is a cargo feature; only this list of modules depends on them.

#[allow(dead_code, reason = "which of it is needed depends on the features")]
mod absent;
#[allow(dead_code, reason = "each codec needs a part of it")]
mod buffers;
#[cfg(feature = "gzip")]
mod gzip;
#[cfg(feature = "lz4")]
mod lz4;
#[cfg(feature = "snappy")]
mod snappy;
#[cfg(feature = "zstd")]
mod zstd;

#[cfg(not(feature = "gzip"))]
use absent as gzip;
#[cfg(not(feature = "lz4"))]
use absent as lz4;
#[cfg(not(feature = "snappy"))]
use absent as snappy;
#[cfg(not(feature = "zstd"))]
use absent as zstd;

use std::fmt;

use bytes::Bytes;
use thiserror::Error;

use buffers::{Buffers, Output};
pub(super) use lz4::write_wrong_checksum as write_wrong_lz4_checksum;

/// The compression of a batch's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum Compression {
    /// No compression.
    #[default]
    None = 0,
    /// gzip.
    Gzip = 1,
    /// Snappy, raw or in the frames of Xerial's Java library.
    Snappy = 2,
    /// LZ4 frames.
    Lz4 = 3,
    /// Zstandard, since Kafka 2.1 (KIP-110).
    Zstd = 4,
}

impl Compression {
    /// All codecs.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The codec with this number in a batch's attributes.
    pub fn from_id(id: u8) -> Option<Self> {
        Self::ALL.get(usize::from(id)).copied()
    }

    /// The number in a batch's attributes.
    pub fn id(self) -> u8 {
        self as u8
    }

    /// Kafka's name for it, as in `compression.type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether the header checksum of an lz4 frame is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lz4Checksum {
    /// Message format 1 and later.
    Required,
    /// Message format 0, whose writers computed it over the wrong bytes (KAFKA-3160).
    Ignored,
}

/// Why data cannot be compressed or decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The data is not valid for the codec.
    #[error("{codec} data is corrupt: {reason}")]
    Corrupt {
        /// The codec.
        codec: Compression,
        /// The violation.
        reason: &'static str,
    },
    /// The decompressed data would exceed the limit.
    #[error("{codec} data inflates to more than {limit} bytes")]
    TooLarge {
        /// The codec.
        codec: Compression,
        /// The limit.
        limit: usize,
    },
    /// The codec could not be set up.
    #[error("{codec} could not be set up")]
    Setup {
        /// The codec.
        codec: Compression,
    },
    /// The codec was not compiled in.
    #[error("{codec} is not built in: build with the cargo feature \"{codec}\"")]
    NotBuiltIn {
        /// The codec; the feature has its name.
        codec: Compression,
    },
}

/// An error of a codec; becomes a [`CodecError`] with the codec's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(any(feature = "gzip", feature = "snappy", feature = "lz4", feature = "zstd")),
    expect(dead_code, reason = "only codecs that are built in find faults")
)]
enum Fault {
    Corrupt(&'static str),
    TooLarge,
    Setup,
    NotBuiltIn,
}

impl Fault {
    fn of(self, codec: Compression, limit: usize) -> CodecError {
        match self {
            Self::Corrupt(reason) => CodecError::Corrupt { codec, reason },
            Self::TooLarge => CodecError::TooLarge { codec, limit },
            Self::Setup => CodecError::Setup { codec },
            Self::NotBuiltIn => CodecError::NotBuiltIn { codec },
        }
    }
}

/// Decompresses batches. Keeps its contexts and buffers from one batch to the next.
///
/// A buffer that was handed out is used again once the last handle to it (payload, record, detached record) is dropped. At most 4
/// MiB of buffers (see [`with_buffer_limit`](Self::with_buffer_limit)), each of at most 1 MiB, are kept for that. Each thread
/// that reads records needs a `Decompressor` of its own.
pub struct Decompressor {
    limit: usize,
    buffers: Buffers,
    gzip: gzip::Inflater,
    snappy: snappy::Inflater,
    zstd: zstd::Inflater,
}

impl Decompressor {
    /// The default limit of a decompressed batch: 64 MiB.
    pub const DEFAULT_LIMIT: usize = 64 << 20;

    /// The largest limit: a record's length is 31 bits wide, and so is that of a batch that is not compressed.
    pub const MAX_LIMIT: usize = i32::MAX as usize;

    /// A decompressor with the default limit.
    pub fn new() -> Self {
        Self::with_limit(Self::DEFAULT_LIMIT)
    }

    /// A decompressor for batches of up to `limit` decompressed bytes, but at most [`MAX_LIMIT`](Self::MAX_LIMIT).
    pub fn with_limit(limit: usize) -> Self {
        Self {
            limit: limit.min(Self::MAX_LIMIT),
            buffers: Buffers::default(),
            gzip: Default::default(),
            snappy: Default::default(),
            zstd: Default::default(),
        }
    }

    /// Keeps up to this many bytes of buffers instead of 4 MiB, for callers that hold the output for a while.
    pub fn with_buffer_limit(mut self, bytes: usize) -> Self {
        self.buffers = Buffers::with_buffer_limit(bytes);
        self
    }

    /// The limit.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Decompresses all of `input`. `checksum` applies only to lz4.
    pub fn decompress(
        &mut self,
        codec: Compression,
        input: &[u8],
        checksum: Lz4Checksum,
    ) -> Result<Bytes, CodecError> {
        let limit = self.limit;
        self.unpack(codec, input, checksum).map_err(|fault| fault.of(codec, limit))
    }

    fn unpack(&mut self, codec: Compression, input: &[u8], checksum: Lz4Checksum) -> Result<Bytes, Fault> {
        let mut output = Output::new(&mut self.buffers, self.limit, input.len());
        match codec {
            Compression::None => {
                output
                    .room(input.len())?
                    .get_mut(..input.len())
                    .ok_or(Fault::TooLarge)?
                    .copy_from_slice(input);
                output.advance(input.len())?;
            }
            Compression::Gzip => self.gzip.inflate(input, &mut output)?,
            Compression::Snappy => self.snappy.inflate(input, &mut output)?,
            Compression::Lz4 => lz4::inflate(input, checksum, &mut output)?,
            Compression::Zstd => self.zstd.inflate(input, &mut output)?,
        }
        Ok(output.finish())
    }
}

impl Default for Decompressor {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressor").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// Compresses `input`, appending to `out`. Snappy uses the frames of Xerial's library, because brokers expect that.
pub fn compress(codec: Compression, input: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
    compress_at(codec, None, input, out)
}

/// Like [`compress`], at this level of the codec (gzip: 0 to 9, zstd: its own; a level out of range is clamped); `None` for its
/// default. Snappy has no levels, and lz4 only the fast one.
pub(in crate::records) fn compress_at(
    codec: Compression,
    level: Option<i32>,
    input: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    match codec {
        Compression::None => {
            out.extend_from_slice(input);
            Ok(())
        }
        Compression::Gzip => gzip::deflate(level, input, out),
        Compression::Snappy => snappy::deflate(level, input, out),
        Compression::Lz4 => lz4::deflate(level, input, out),
        Compression::Zstd => zstd::deflate(level, input, out),
    }
    .map_err(|fault| fault.of(codec, usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether this build has the codec's feature; `scripts/test` runs it with all features and with none.
    fn is_built_in(codec: Compression) -> bool {
        match codec {
            Compression::None => true,
            Compression::Gzip => cfg!(feature = "gzip"),
            Compression::Snappy => cfg!(feature = "snappy"),
            Compression::Lz4 => cfg!(feature = "lz4"),
            Compression::Zstd => cfg!(feature = "zstd"),
        }
    }

    #[test]
    fn a_codec_works_both_ways_or_says_that_it_is_not_built_in() {
        for codec in Compression::ALL {
            let mut packed = Vec::new();
            let compressed = compress(codec, b"some data", &mut packed);
            let decompressed = Decompressor::new().decompress(codec, &packed, Lz4Checksum::Required);
            if is_built_in(codec) {
                assert_eq!((compressed, decompressed), (Ok(()), Ok(Bytes::from_static(b"some data"))));
            } else {
                let error = CodecError::NotBuiltIn { codec };
                assert_eq!((compressed, decompressed), (Err(error), Err(error)));
                let advice = format!("build with the cargo feature \"{}\"", codec.name());
                assert!(error.to_string().contains(&advice), "{error}");
            }
        }
    }
}
