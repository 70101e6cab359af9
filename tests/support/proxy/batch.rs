//! Finds record batches inside an answer without knowledge of Fetch versions: bytes with the header of a batch and a
//! valid checksum are one.

use std::ops::Range;

/// Offsets in a batch. The checksum covers everything after itself.
const LENGTH: usize = 8;
const MAGIC: usize = 16;
const CRC: usize = 17;
const COVERED: usize = 21;

/// The range that the checksum of each whole batch (format 2) covers.
pub(super) fn covered(answer: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = answer.get(at..).filter(|rest| rest.len() > COVERED) {
        if let Some(length) = whole(rest) {
            found.push(at + COVERED..at + length);
            at += length;
        } else {
            at += 1;
        }
    }
    found
}

/// The length of the batch at the start of these bytes, if there is one.
fn whole(bytes: &[u8]) -> Option<usize> {
    if bytes.get(MAGIC) != Some(&2) {
        return None;
    }
    let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let length = usize::try_from(number(LENGTH)?).ok()?.checked_add(LENGTH + 4)?;
    let covered = bytes.get(COVERED..length)?;
    (number(CRC)? == crc32c::crc32c(covered)).then_some(length)
}
