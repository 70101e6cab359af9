//! Zstandard, decompressed in one step into the output: no window is allocated, whatever the frame demands.
//!
//! The size of the output buffer follows from the frame's block headers, never from the content size that it claims: a block
//! yields its declared size or at most 128 KiB.

use zstd::bulk::Decompressor;

use super::super::varint::{take, take_slice};
use super::{Fault, Output};

const MAGIC: u32 = 0xfd2f_b528;
const SKIPPABLE: u32 = 0x184d_2a50;
const LARGEST_BLOCK: usize = 128 << 10;
/// Kafka's default.
const LEVEL: i32 = 3;

#[derive(Default)]
pub(super) struct Inflater {
    context: Option<Decompressor<'static>>,
}

impl Inflater {
    pub(super) fn inflate(&mut self, input: &[u8], output: &mut Output<'_>) -> Result<(), Fault> {
        let bound = bound(input).ok_or(Fault::Corrupt("bad frame"))?;
        let size = bound.min(output.allowed());
        let context = match &mut self.context {
            Some(context) => context,
            None => self.context.insert(Decompressor::new().map_err(|_| Fault::Setup)?),
        };
        let room = output.room(size)?;
        match context.decompress_to_buffer(input, room.get_mut(..size).ok_or(Fault::TooLarge)?) {
            Ok(written) => output.advance(written),
            Err(_) if bound > size => Err(Fault::TooLarge),
            Err(_) => Err(Fault::Corrupt("bad block")),
        }
    }
}

/// The largest possible output of `input`. `None` if it does not consist of complete frames.
fn bound(mut input: &[u8]) -> Option<usize> {
    let input = &mut input;
    let mut bound = 0usize;
    if input.is_empty() {
        return None;
    }
    while !input.is_empty() {
        let magic = u32::from_le_bytes(take(input)?);
        if magic & !0xf == SKIPPABLE {
            let size = u32::from_le_bytes(take(input)?);
            take_slice(input, usize::try_from(size).ok()?)?;
            continue;
        }
        if magic != MAGIC {
            return None;
        }
        let [flags] = take::<1>(input)?;
        let single_segment = flags & 0x20 != 0;
        let window = usize::from(!single_segment);
        let dictionary = *[0, 1, 2, 4].get(usize::from(flags & 3))?;
        let content_size = match flags >> 6 {
            0 => usize::from(single_segment),
            1 => 2,
            2 => 4,
            _ => 8,
        };
        take_slice(input, window + dictionary + content_size)?;
        loop {
            let [a, b, c] = take::<3>(input)?;
            let header = u32::from_le_bytes([a, b, c, 0]);
            let size = usize::try_from(header >> 3).ok()?;
            let (takes, gives) = match header >> 1 & 3 {
                0 => (size, size),
                1 => (1, size),
                2 => (size, LARGEST_BLOCK),
                _ => return None,
            };
            take_slice(input, takes)?;
            bound = bound.saturating_add(gives);
            if header & 1 != 0 {
                break;
            }
        }
        if flags & 4 != 0 {
            take::<4>(input)?;
        }
    }
    Some(bound)
}

pub(super) fn deflate(level: Option<i32>, input: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    out.extend_from_slice(&zstd::bulk::compress(input, level.unwrap_or(LEVEL)).map_err(|_| Fault::Setup)?);
    Ok(())
}
