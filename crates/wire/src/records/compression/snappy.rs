//! Snappy: one raw block, or several in the frame of Xerial's library (used by Java and most others).

use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use super::super::varint::{take, take_slice};
use super::{Fault, Output};

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// The version, and the oldest version that can read it.
const VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
/// Java's block size.
const BLOCK: usize = 32 << 10;
/// The densest element copies 64 bytes and takes three bytes, which gives the greatest possible compression ratio.
const DENSEST: usize = 22;

#[derive(Default)]
pub(super) struct Inflater {
    decoder: Decoder,
}

impl Inflater {
    pub(super) fn inflate(&mut self, mut input: &[u8], output: &mut Output<'_>) -> Result<(), Fault> {
        if !input.starts_with(&MAGIC) {
            return self.block(input, output);
        }
        while !input.is_empty() {
            // Streams may be concatenated, so that the header may occur again between blocks.
            if let Some(rest) = input.strip_prefix(&MAGIC) {
                input = rest;
                take::<8>(&mut input).ok_or(Fault::Corrupt("frame header cut short"))?;
                continue;
            }
            let size = take(&mut input).map(i32::from_be_bytes).and_then(|size| usize::try_from(size).ok());
            let size = size.ok_or(Fault::Corrupt("bad block length"))?;
            let data = take_slice(&mut input, size).ok_or(Fault::Corrupt("block beyond the end"))?;
            self.block(data, output)?;
        }
        Ok(())
    }

    fn block(&mut self, data: &[u8], output: &mut Output<'_>) -> Result<(), Fault> {
        if data.is_empty() {
            return Err(Fault::Corrupt("empty block"));
        }
        let size = decompress_len(data).map_err(|_| Fault::Corrupt("bad block header"))?;
        if size > data.len().saturating_mul(DENSEST) {
            return Err(Fault::Corrupt("block claims more than it can hold"));
        }
        if size > output.allowed() {
            return Err(Fault::TooLarge);
        }
        let room = output.room(size)?.get_mut(..size).ok_or(Fault::TooLarge)?;
        let written = self.decoder.decompress(data, room).map_err(|_| Fault::Corrupt("bad block"))?;
        output.advance(written)
    }
}

pub(super) fn deflate(_: Option<i32>, input: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let mut encoder = Encoder::new();
    let mut packed = vec![0; max_compress_len(BLOCK)];
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSIONS);
    for block in input.chunks(BLOCK) {
        let size = encoder.compress(block, &mut packed).map_err(|_| Fault::Setup)?;
        let (Ok(length), Some(data)) = (u32::try_from(size), packed.get(..size)) else {
            return Err(Fault::Setup);
        };
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(data);
    }
    Ok(())
}
