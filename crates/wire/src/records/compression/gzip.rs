//! gzip: RFC 1952 members around raw deflate data, so that the inflater can be kept between batches.

use std::io::Write;

use flate2::{Decompress, FlushDecompress, Status};

use super::super::varint::{take, take_slice};
use super::{Fault, Output};

const CRC_OF_HEADER: u8 = 0x02;
const EXTRA: u8 = 0x04;
const NAME: u8 = 0x08;
const COMMENT: u8 = 0x10;
const RESERVED: u8 = 0xe0;

#[derive(Default)]
pub(super) struct Inflater {
    deflate: Option<Decompress>,
}

impl Inflater {
    pub(super) fn inflate(&mut self, mut input: &[u8], output: &mut Output<'_>) -> Result<(), Fault> {
        loop {
            let start = output.filled();
            header(&mut input).ok_or(Fault::Corrupt("bad member header"))?;
            self.member(&mut input, output)?;
            let (Some(crc), Some(size)) = (take(&mut input), take(&mut input)) else {
                return Err(Fault::Corrupt("no member trailer"));
            };
            let member = output.written(start);
            if crc32fast::hash(member) != u32::from_le_bytes(crc) {
                return Err(Fault::Corrupt("wrong checksum"));
            }
            if member.len() as u32 != u32::from_le_bytes(size) {
                return Err(Fault::Corrupt("wrong size"));
            }
            if input.is_empty() {
                return Ok(());
            }
        }
    }

    fn member(&mut self, input: &mut &[u8], output: &mut Output<'_>) -> Result<(), Fault> {
        let deflate = self.deflate.get_or_insert_with(|| Decompress::new(false));
        deflate.reset(false);
        loop {
            let (read, written) = (deflate.total_in(), deflate.total_out());
            let status = deflate
                .decompress(input, output.room(1)?, FlushDecompress::None)
                .map_err(|_| Fault::Corrupt("bad deflate stream"))?;
            let read = deflate.total_in().wrapping_sub(read) as usize;
            let written = deflate.total_out().wrapping_sub(written) as usize;
            take_slice(input, read).ok_or(Fault::Corrupt("bad deflate stream"))?;
            output.advance(written)?;
            match status {
                Status::StreamEnd => return Ok(()),
                _ if read == 0 && written == 0 => return Err(Fault::Corrupt("ends too early")),
                _ => {}
            }
        }
    }
}

fn header(input: &mut &[u8]) -> Option<()> {
    let [0x1f, 0x8b, 8, flags, _, _, _, _, _, _] = take::<10>(input)? else { return None };
    if flags & RESERVED != 0 {
        return None;
    }
    if flags & EXTRA != 0 {
        let length = u16::from_le_bytes(take(input)?);
        take_slice(input, usize::from(length))?;
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            let end = input.iter().position(|byte| *byte == 0)?;
            take_slice(input, end.checked_add(1)?)?;
        }
    }
    if flags & CRC_OF_HEADER != 0 {
        take::<2>(input)?;
    }
    Some(())
}

pub(super) fn deflate(level: Option<i32>, input: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let level = level.and_then(|level| u32::try_from(level.min(9)).ok());
    let level = level.map_or_else(flate2::Compression::default, flate2::Compression::new);
    let mut encoder = flate2::write::GzEncoder::new(out, level);
    encoder.write_all(input).and_then(|()| encoder.finish()).map_err(|_| Fault::Setup)?;
    Ok(())
}
