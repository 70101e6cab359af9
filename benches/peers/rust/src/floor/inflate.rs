//! Decompression of a batch. Contexts and the buffer are created once; the buffer only ever grows, so that nothing is
//! zeroed twice.

use crate::common::Failure;
use crate::read;

/// The largest decompressed size of one batch.
const MOST: usize = 64 << 20;
const XERIAL: &[u8] = b"\x82SNAPPY\0";

#[derive(Default)]
pub struct Inflater {
    plain: Vec<u8>,
    /// How many of its bytes the batch has filled.
    filled: usize,
    gzip: Option<flate2::Decompress>,
    zstd: Option<zstd::bulk::Decompressor<'static>>,
    snappy: snap::raw::Decoder,
}

impl Inflater {
    pub fn inflate<'a>(&'a mut self, codec: i16, packed: &'a [u8]) -> Result<&'a [u8], Failure> {
        self.filled = 0;
        match codec {
            0 => return Ok(packed),
            1 => self.gzip(packed)?,
            2 => self.snappy(packed)?,
            3 => self.lz4(packed)?,
            4 => self.zstd(packed)?,
            other => return Err(format!("no such codec: {other}").into()),
        }
        Ok(self.plain.get(..self.filled).unwrap_or_default())
    }

    /// Makes room for this many bytes after the filled ones.
    fn room(&mut self, size: usize) -> Result<&mut [u8], Failure> {
        let end = self.filled + size;
        if end > MOST {
            return Err("a batch unpacks to too much".into());
        }
        if self.plain.len() < end {
            self.plain.resize(end, 0);
        }
        Ok(self.plain.get_mut(self.filled..).unwrap_or_default())
    }

    /// A gzip member as Java writes it, without any of the optional fields.
    fn gzip(&mut self, packed: &[u8]) -> Result<(), Failure> {
        let (head, deflated) = packed.split_first_chunk::<10>().ok_or("gzip ends too early")?;
        if head[..4] != [0x1f, 0x8b, 8, 0] {
            return Err("gzip with options".into());
        }
        let size = usize::try_from(packed.last_chunk::<4>().map_or(0, |size| u32::from_le_bytes(*size)))?;
        let mut gzip = self.gzip.take().unwrap_or_else(|| flate2::Decompress::new(false));
        gzip.reset(false);
        let done = gzip.decompress(deflated, self.room(size)?, flate2::FlushDecompress::Finish)?;
        self.gzip = Some(gzip);
        self.filled += size;
        if done == flate2::Status::StreamEnd { Ok(()) } else { Err(format!("gzip: {done:?}").into()) }
    }

    /// Java's producer streams, so the frame does not contain its size: the previous size is tried first.
    fn zstd(&mut self, packed: &[u8]) -> Result<(), Failure> {
        let mut zstd = self.zstd.take().map_or_else(zstd::bulk::Decompressor::new, Ok)?;
        let mut size = self.plain.len().max(packed.len() * 4);
        loop {
            match zstd.decompress_to_buffer(packed, self.room(size)?) {
                Ok(filled) => {
                    self.filled += filled;
                    self.zstd = Some(zstd);
                    return Ok(());
                }
                Err(error) if size * 2 > MOST => return Err(error.into()),
                Err(_) => size *= 2,
            }
        }
    }

    /// Blocks after a header of 16 bytes, as Java writes them, or one block alone.
    fn snappy(&mut self, packed: &[u8]) -> Result<(), Failure> {
        if !packed.starts_with(XERIAL) {
            return self.snappy_block(packed);
        }
        let mut left = packed.get(16..).ok_or("snappy ends too early")?;
        while !left.is_empty() {
            let size = usize::try_from(read::i32(&mut left)?)?;
            self.snappy_block(read::take(&mut left, size)?)?;
        }
        Ok(())
    }

    fn snappy_block(&mut self, packed: &[u8]) -> Result<(), Failure> {
        let mut snappy = std::mem::take(&mut self.snappy);
        let room = self.room(snap::raw::decompress_len(packed)?)?;
        self.filled += snappy.decompress(packed, room)?;
        self.snappy = snappy;
        Ok(())
    }

    /// A frame of independent blocks, as Java writes it.
    fn lz4(&mut self, packed: &[u8]) -> Result<(), Failure> {
        let mut left = packed;
        if read::fixed(&mut left)? != [0x04, 0x22, 0x4d, 0x18] {
            return Err("lz4: no frame".into());
        }
        let [flags, size] = read::fixed(&mut left)?;
        let (linked, checked, sized) = (flags & 0x20 == 0, flags & 0x10 != 0, flags & 0x08 != 0);
        if linked {
            return Err("lz4: blocks that need one another".into());
        }
        let largest = match size >> 4 & 7 {
            4 => 64 << 10,
            5 => 256 << 10,
            6 => 1 << 20,
            _ => 4 << 20,
        };
        read::take(&mut left, if sized { 9 } else { 1 })?; // the size, the header's checksum
        loop {
            let size = u32::from_le_bytes(read::fixed(&mut left)?);
            if size == 0 {
                return Ok(());
            }
            let block = read::take(&mut left, usize::try_from(size & 0x7fff_ffff)?)?;
            if checked {
                read::take(&mut left, 4)?;
            }
            let room = self.room(largest)?;
            self.filled += if size >> 31 == 0 {
                lz4_flex::block::decompress_into(block, room)?
            } else {
                room.get_mut(..block.len()).ok_or("lz4: a block is too long")?.copy_from_slice(block);
                block.len()
            };
        }
    }
}
