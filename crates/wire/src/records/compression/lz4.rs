//! LZ4 frames, decompressed block by block into the output itself, because blocks may refer to earlier ones. The header's
//! checksum may be the wrong one of old Kafka versions.

use lz4_flex::block::{
    CompressTable, DecompressError, compress_into_with_table, decompress_into, decompress_into_with_dict,
    get_maximum_output_size,
};
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
/// The reserved bits in the flags and in the block descriptor.
const RESERVED: [u8; 2] = [0x02, 0x8f];
const STORED: u32 = 0x8000_0000;
/// The largest block that is written.
const BLOCK: usize = 64 << 10;
/// How far back a block may refer.
const WINDOW: usize = 64 << 10;
/// The greatest possible compression ratio of a block.
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

    /// A block does not contain its decompressed size. Most fit a modest guess; the others are tried again with their largest
    /// possible size, so that no megabytes are allocated for a small block.
    fn block(&self, data: &[u8], start: usize, output: &mut Output<'_>) -> Result<(), Fault> {
        let most = data.len().saturating_mul(DENSEST).saturating_add(64).min(self.largest);
        let guess = data.len().saturating_mul(8).max(64 << 10).min(most);
        let allowed = output.allowed().saturating_add(1);
        for size in [guess.min(allowed), most.min(allowed)] {
            let (written, room) = output.split(size)?;
            let room = room.get_mut(..size).ok_or(Fault::TooLarge)?;
            let done = if self.has(INDEPENDENT) {
                decode(data, room)
            } else {
                let window =
                    written.get(written.len().saturating_sub(WINDOW).max(start)..).unwrap_or_default();
                decode_with_window(data, room, window)
            };
            if let Ok(count) = done {
                return output.advance(count);
            }
        }
        Err(if most > output.allowed() { Fault::TooLarge } else { Fault::Corrupt("bad block") })
    }
}

// Inlining would make the compiled code depend on the surroundings; that cost up to 12 % of the time.

#[inline(never)]
fn decode(data: &[u8], room: &mut [u8]) -> Result<usize, DecompressError> {
    decompress_into(data, room)
}

#[inline(never)]
fn decode_with_window(data: &[u8], room: &mut [u8], window: &[u8]) -> Result<usize, DecompressError> {
    decompress_into_with_dict(data, room, window)
}

pub(super) fn deflate(_: Option<i32>, input: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    const FLAGS: [u8; 2] = [VERSION | INDEPENDENT, 4 << 4]; // blocks of up to 64 KiB
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&FLAGS);
    out.push((XxHash32::oneshot(0, &FLAGS) >> 8) as u8);
    let mut table = CompressTable::default();
    for block in input.chunks(BLOCK) {
        put_block(block, &mut table, out).ok_or(Fault::Setup)?;
    }
    out.extend_from_slice(&[0; 4]);
    Ok(())
}

/// Writes a block directly from the input to the frame; lz4_flex's own frames would copy it twice. A block that does not become
/// smaller is stored uncompressed.
fn put_block(block: &[u8], table: &mut CompressTable, out: &mut Vec<u8>) -> Option<()> {
    let begin = out.len();
    let data = begin.checked_add(4)?;
    out.resize(data.checked_add(get_maximum_output_size(block.len()))?, 0);
    let room = out.get_mut(data..)?;
    let packed = compress_into_with_table(block, room, table).ok()?;
    let (size, stored) = if packed < block.len() {
        (packed, 0)
    } else {
        room.get_mut(..block.len())?.copy_from_slice(block);
        (block.len(), STORED)
    };
    let size_field = u32::try_from(size).ok()? | stored;
    *out.get_mut(begin..)?.first_chunk_mut()? = size_field.to_le_bytes();
    out.truncate(data.checked_add(size)?);
    Some(())
}

/// Gives the frame the header checksum of old Kafka versions, which also covers the magic number (KAFKA-3160).
pub(in super::super) fn write_wrong_checksum(frame: &mut [u8]) {
    if let Some((header, [checksum, ..])) = frame.split_at_mut_checked(6) {
        *checksum = (XxHash32::oneshot(0, header) >> 8) as u8;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn frames_are_read_by_another_reader_too() {
        let mut random = 1_u32;
        let mut noise = move || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 24) as u8
        };
        let noise: Vec<u8> = (0..200_000).map(|_| noise()).collect();
        let text = b"placed paid packed ".repeat(11_000);
        for input in [&noise, &text] {
            for size in [0, 1, 100, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK - 7] {
                let input = &input[..size];
                let mut frame = b"before".to_vec();
                deflate(None, input, &mut frame).unwrap();
                let mut read = Vec::new();
                lz4_flex::frame::FrameDecoder::new(&frame[6..]).read_to_end(&mut read).unwrap();
                assert!(read == input, "{size}");
                let most = size + 7 + 4 * (size.div_ceil(BLOCK) + 1);
                assert!(frame.len() - 6 <= most, "{size}: {}", frame.len());
            }
        }
    }
}
