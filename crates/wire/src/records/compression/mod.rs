//! The codecs of record batches, each with a bound on what it may inflate to.
//!
//! No size that the data claims is trusted: allocations follow from the bytes that are really there, and the
//! limit holds for all of a batch together.

mod buffers;
mod gzip;
mod lz4;
mod snappy;
mod zstd;

use std::fmt;

use bytes::Bytes;
use thiserror::Error;

use buffers::{Buffers, Output};
pub use lz4::Lz4Checksum;

/// The compression of a batch's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum Compression {
    /// Not at all.
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
    /// All of them.
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

/// Why data cannot be decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CodecError {
    /// Not what the codec writes.
    #[error("{codec} data is corrupt: {reason}")]
    Corrupt {
        /// The codec.
        codec: Compression,
        /// What is wrong with it.
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
}

/// What a codec finds wrong; it becomes a [`CodecError`] with the codec's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Corrupt(&'static str),
    TooLarge,
    Setup,
}

/// Decompresses batches. Keeps its contexts and buffers from one batch to the next.
///
/// A buffer that was given out is used again once the last handle to it (payload, record, detached record) is gone; at
/// most 4 MiB of buffers, none above 1 MiB, wait for that, so what is kept is bounded too. One `Decompressor` belongs
/// to the thread that reads records.
pub struct Decompressor {
    limit: usize,
    buffers: Buffers,
    gzip: gzip::Inflater,
    snappy: snap::raw::Decoder,
    zstd: Option<::zstd::bulk::Decompressor<'static>>,
}

impl Decompressor {
    /// The default limit of a decompressed batch: 64 MiB.
    pub const DEFAULT_LIMIT: usize = 64 << 20;

    /// With the default limit.
    pub fn new() -> Self {
        Self::with_limit(Self::DEFAULT_LIMIT)
    }

    /// No batch may inflate to more than `limit` bytes.
    pub fn with_limit(limit: usize) -> Self {
        Self {
            limit,
            buffers: Buffers::default(),
            gzip: gzip::Inflater::default(),
            snappy: snap::raw::Decoder::new(),
            zstd: None,
        }
    }

    /// The limit.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Decompresses all of `input`. `checksum` is for lz4 alone.
    pub fn decompress(
        &mut self,
        codec: Compression,
        input: &[u8],
        checksum: Lz4Checksum,
    ) -> Result<Bytes, CodecError> {
        self.unpack(codec, input, checksum).map_err(|fault| match fault {
            Fault::Corrupt(reason) => CodecError::Corrupt { codec, reason },
            Fault::TooLarge => CodecError::TooLarge { codec, limit: self.limit },
            Fault::Setup => CodecError::Setup { codec },
        })
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
            Compression::Snappy => snappy::inflate(&mut self.snappy, input, &mut output)?,
            Compression::Lz4 => lz4::inflate(input, checksum, &mut output)?,
            Compression::Zstd => zstd::inflate(&mut self.zstd, input, &mut output)?,
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

/// Compresses `input`, appending to `out`. Snappy is framed as Xerial's library does, since brokers expect that.
pub fn compress(codec: Compression, input: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
    match codec {
        Compression::None => {
            out.extend_from_slice(input);
            Some(())
        }
        Compression::Gzip => gzip::deflate(input, out),
        Compression::Snappy => snappy::deflate(input, out),
        Compression::Lz4 => lz4::deflate(input, out),
        Compression::Zstd => zstd::deflate(input, out),
    }
    .ok_or(CodecError::Setup { codec })
}
