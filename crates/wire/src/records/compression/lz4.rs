//! LZ4 frames, block by block into the output itself: blocks may refer to those before them, and the header's
//! checksum may be the one that old Kafka computed wrongly.

use std::io::Write;

use lz4_flex::block::{decompress_into, decompress_into_with_dict};
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use twox_hash::XxHash32;

use super::super::varint::{take, take_slice};
use super::{Fault, Lz4Checksum, Output};

const MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();
const VERSION: u8 = 0x40;
const VERSION_MASK: u8 = 0xc0;
const INDEPENDENT: u8 = 0x20;
const BLOCK_CHECKSUMS: u8 = 0x10;
const CONTENT_SIZE: u8 = 0x08;
const CONTENT_CHECKSUM: u8 = 0x04;
const DICTIONARY: u8 = 0x01;
/// What the format keeps for its future, in the flags and in the block descriptor.
const RESERVED: [u8; 2] = [0x02, 0x8f];
const STORED: u32 = 0x8000_0000;
/// How far back a block may refer.
const WINDOW: usize = 64 << 10;
/// No block can hold more than this many times its size.
const DENSEST: usize = 255;

pub(super) fn inflate(mut input: &[u8], checksum: Lz4Checksum, output: &mut Output<'_>) -> Result<(), Fault> {
    loop {
        let frame = Frame::header(&mut input, checksum)?;
        frame.blocks(&mut input, output)?;
        if input.is_empty() {
            return Ok(());
        }
    }
}

struct Frame {
    flags: u8,
    largest: usize,
    content_size: Option<u64>,
}

impl Frame {
    fn header(input: &mut &[u8], checksum: Lz4Checksum) -> Result<Self, Fault> {
        let short = Fault::Corrupt("header cut short");
        if take::<4>(input).ok_or(short)? != MAGIC {
            return Err(Fault::Corrupt("no frame"));
        }
        let described = *input;
        let [flags, block] = take::<2>(input).ok_or(short)?;
        if flags & VERSION_MASK != VERSION {
            return Err(Fault::Corrupt("unknown frame version"));
        }
        if flags & RESERVED[0] != 0 || block & RESERVED[1] != 0 {
            return Err(Fault::Corrupt("reserved bits are set"));
        }
        if flags & DICTIONARY != 0 {
            return Err(Fault::Corrupt("needs a dictionary"));
        }
        let largest = match block >> 4 & 7 {
            4 => 64 << 10,
            5 => 256 << 10,
            6 => 1 << 20,
            7 => 4 << 20,
            _ => return Err(Fault::Corrupt("unknown block size")),
        };
        let content_size = match flags & CONTENT_SIZE {
            0 => None,
            _ => Some(u64::from_le_bytes(take(input).ok_or(short)?)),
        };
        let described = described.get(..described.len().saturating_sub(input.len())).unwrap_or_default();
        let [found] = take::<1>(input).ok_or(short)?;
        if checksum == Lz4Checksum::Required && found != (XxHash32::oneshot(0, described) >> 8) as u8 {
            return Err(Fault::Corrupt("wrong header checksum"));
        }
        Ok(Self { flags, largest, content_size })
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn blocks(&self, input: &mut &[u8], output: &mut Output<'_>) -> Result<(), Fault> {
        let start = output.filled();
        loop {
            let size = u32::from_le_bytes(take(input).ok_or(Fault::Corrupt("no end mark"))?);
            if size == 0 {
                break;
            }
            let stored = size & STORED != 0;
            let data = usize::try_from(size & !STORED).ok().and_then(|size| take_slice(input, size));
            let data = data.ok_or(Fault::Corrupt("block beyond the end"))?;
            if self.has(BLOCK_CHECKSUMS) {
                let checksum = take(input).map(u32::from_le_bytes);
                if checksum != Some(XxHash32::oneshot(0, data)) {
                    return Err(Fault::Corrupt("wrong block checksum"));
                }
            }
            if stored {
                if data.len() > self.largest {
                    return Err(Fault::Corrupt("block larger than announced"));
                }
                output.room(data.len())?.get_mut(..data.len()).ok_or(Fault::TooLarge)?.copy_from_slice(data);
                output.advance(data.len())?;
            } else {
                self.block(data, start, output)?;
            }
        }
        let content = output.written(start);
        if self.content_size.is_some_and(|size| size != content.len() as u64) {
            return Err(Fault::Corrupt("wrong content size"));
        }
        if self.has(CONTENT_CHECKSUM) {
            let checksum = take(input).map(u32::from_le_bytes);
            if checksum != Some(XxHash32::oneshot(0, content)) {
                return Err(Fault::Corrupt("wrong content checksum"));
            }
        }
        Ok(())
    }

    /// A block does not say what comes out of it. Most fit a modest guess; the rest are tried again with all they can
    /// possibly need, so that a small block never has megabytes set aside for it.
    fn block(&self, data: &[u8], start: usize, output: &mut Output<'_>) -> Result<(), Fault> {
        let most = data.len().saturating_mul(DENSEST).saturating_add(64).min(self.largest);
        let guess = data.len().saturating_mul(8).max(64 << 10).min(most);
        let allowed = output.allowed().saturating_add(1);
        for size in [guess.min(allowed), most.min(allowed)] {
            let (written, room) = output.split(size)?;
            let room = room.get_mut(..size).ok_or(Fault::TooLarge)?;
            let done = if self.has(INDEPENDENT) {
                decompress_into(data, room)
            } else {
                let window =
                    written.get(written.len().saturating_sub(WINDOW).max(start)..).unwrap_or_default();
                decompress_into_with_dict(data, room, window)
            };
            if let Ok(count) = done {
                return output.advance(count);
            }
        }
        Err(if most > output.allowed() { Fault::TooLarge } else { Fault::Corrupt("bad block") })
    }
}

pub(super) fn deflate(_: Option<i32>, input: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    encoder.write_all(input).map_err(|_| Fault::Setup)?;
    encoder.finish().map_err(|_| Fault::Setup)?;
    Ok(())
}

/// Gives the frame the header checksum that old Kafka computed: over the magic number, too (KAFKA-3160).
pub(in super::super) fn write_wrong_checksum(frame: &mut [u8]) {
    if let Some((header, [checksum, ..])) = frame.split_at_mut_checked(6) {
        *checksum = (XxHash32::oneshot(0, header) >> 8) as u8;
    }
}
