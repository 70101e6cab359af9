//! Record batches, format 2, in place.

use crate::common::{Failure, Tally};
use crate::read;

#[derive(Clone, Copy)]
pub enum Checksum {
    Crc32c,
    CrcFast,
}

pub struct Batch<'a> {
    base: i64,
    crc: u32,
    covered: &'a [u8],
    attributes: i16,
    last_delta: i32,
    count: i32,
    records: &'a [u8],
}

/// The next whole batch; `None` if the broker has cut it short.
pub fn take<'a>(from: &mut &'a [u8]) -> Result<Option<Batch<'a>>, Failure> {
    let mut at = *from;
    if at.len() < 61 {
        return Ok(None);
    }
    let base = read::i64(&mut at)?;
    let length = usize::try_from(read::i32(&mut at)?)?;
    let Some((mut batch, rest)) = at.split_at_checked(length) else { return Ok(None) };
    *from = rest;
    let head = &mut batch;
    read::i32(head)?; // leader epoch
    if read::fixed(head)? != [2_u8] {
        return Err("not of format 2".into());
    }
    let crc = u32::from_be_bytes(read::fixed(head)?);
    let covered = *head;
    let attributes = i16::from_be_bytes(read::fixed(head)?);
    let last_delta = read::i32(head)?;
    read::take(head, 8 + 8 + 8 + 2 + 4)?; // timestamps, producer
    let count = read::i32(head)?;
    Ok(Some(Batch { base, crc, covered, attributes, last_delta, count, records: head }))
}

impl<'a> Batch<'a> {
    pub fn check(&self, how: Checksum) -> Result<(), Failure> {
        let crc = match how {
            Checksum::Crc32c => crc32c::crc32c(self.covered),
            Checksum::CrcFast => crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, self.covered) as u32,
        };
        if crc == self.crc { Ok(()) } else { Err("a checksum does not hold".into()) }
    }

    pub fn codec(&self) -> i16 {
        self.attributes & 7
    }

    pub fn records(&self) -> &'a [u8] {
        self.records
    }

    /// The offset after the batch.
    pub fn end(&self) -> i64 {
        self.base + i64::from(self.last_delta) + 1
    }

    /// Walks every record from this offset on.
    pub fn walk(&self, mut plain: &[u8], from: i64, tally: &mut Tally) -> Result<(), Failure> {
        for _ in 0..self.count {
            let length = usize::try_from(read::varint(&mut plain)?)?;
            let mut record = read::take(&mut plain, length)?;
            let record = &mut record;
            read::fixed::<1>(record)?;
            read::varint(record)?; // timestamp
            let offset = self.base + read::varint(record)?;
            let key = read::bytes(record)?;
            let value = read::bytes(record)?;
            let mut headers = 0;
            for _ in 0..read::varint(record)? {
                headers += read::bytes(record)?.len() + read::bytes(record)?.len();
            }
            if offset >= from {
                tally.add(key.len(), headers, value);
            }
        }
        Ok(())
    }
}
