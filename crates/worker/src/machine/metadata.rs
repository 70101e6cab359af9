//! The records finished beyond a committed offset, encoded in the commit's metadata, so that they are not handled again after a
//! restart or by another member.
//!
//! The text is `ow1.`, followed in URL-safe base64 without padding by: a byte for the form of the data (0 ranges, 1 a bitmap); as
//! varints, the highest leader epoch of the finished records (0 for none, else plus one) and their latest timestamp (zigzag); the
//! ranges or the bitmap; and the CRC-32C of group, topic, partition, committed offset and everything before it. A range is two
//! varints: the distance of its start from the end of the previous range (for the first: from the committed offset), and its
//! length. The bitmap has a bit for each offset from the committed one on, the lowest bit first.
//!
//! Any other text is ignored: foreign metadata, a later version of this format, or a text copied to another offset, partition or
//! group. Then the records are handled again, and nothing is lost.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use offtake::TopicPartition;

const PREFIX: &str = "ow1.";
const RANGES: u8 = 0;
const BITMAP: u8 = 1;
const CRC_BYTES: usize = 4;

/// The key of a commit: group, partition and offset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CommittedOffset<'a> {
    pub(crate) group: &'a str,
    pub(crate) partition: &'a TopicPartition,
    pub(crate) offset: i64,
}

/// The records finished beyond an offset, and the signs by which another log is recognized.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FinishedBeyond {
    /// Ordered, neither overlapping nor touching; each from its first offset to the one after its last.
    pub(crate) ranges: Vec<(i64, i64)>,
    /// The highest leader epoch of these records.
    pub(crate) epoch: Option<i32>,
    /// Their latest timestamp.
    pub(crate) newest: i64,
}

impl FinishedBeyond {
    /// Encodes these in at most this many bytes. If that is too few, the ranges nearest to the committed offset are kept. Empty
    /// if nothing is left.
    pub(crate) fn encode(&self, committed_at: &CommittedOffset<'_>, limit: usize) -> String {
        let committed = committed_at.offset;
        let Some(room) = limit.checked_sub(PREFIX.len()).map(|left| left.saturating_mul(3) / 4) else {
            return String::new();
        };
        let mut head = Vec::new();
        varint(&mut head, self.epoch.map_or(0, |epoch| i64::from(epoch).unsigned_abs().saturating_add(1)));
        varint(&mut head, zigzag(self.newest));
        let Some(room) = room.checked_sub(1 + head.len() + CRC_BYTES) else { return String::new() };
        let (ranges, in_ranges) = self.as_ranges(committed, room);
        let (bitmap, in_bitmap) = self.as_bitmap(committed, room);
        if in_ranges == 0 && in_bitmap == 0 {
            return String::new();
        }
        // Prefer the form that holds more offsets, then the shorter one.
        let by_bitmap =
            (in_bitmap, std::cmp::Reverse(bitmap.len())) > (in_ranges, std::cmp::Reverse(ranges.len()));
        let (form, body) = if by_bitmap { (BITMAP, bitmap) } else { (RANGES, ranges) };
        let mut bytes = vec![form];
        bytes.extend(head);
        bytes.extend(body);
        let crc = checksum(committed_at, &bytes);
        bytes.extend(crc.to_be_bytes());
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Encodes as many ranges as fit. Returns them with the number of their offsets.
    fn as_ranges(&self, committed: i64, room: usize) -> (Vec<u8>, u64) {
        let (mut bytes, mut offsets, mut end) = (Vec::new(), 0u64, committed);
        for (from, to) in &self.ranges {
            let (gap, length) = (from.abs_diff(end), to.abs_diff(*from));
            let before = bytes.len();
            varint(&mut bytes, gap);
            varint(&mut bytes, length);
            if bytes.len() > room {
                bytes.truncate(before);
                break;
            }
            (offsets, end) = (offsets.saturating_add(length), *to);
        }
        (bytes, offsets)
    }

    /// Encodes the same as a bitmap.
    fn as_bitmap(&self, committed: i64, room: usize) -> (Vec<u8>, u64) {
        let (mut bytes, mut offsets) = (Vec::new(), 0u64);
        let bits = u64::try_from(room).unwrap_or(u64::MAX).saturating_mul(8);
        for (from, to) in &self.ranges {
            let (first, end) = (from.abs_diff(committed), to.abs_diff(committed).min(bits));
            for bit in first..end {
                let Ok(at) = usize::try_from(bit / 8) else { break };
                if at >= bytes.len() {
                    bytes.resize(at + 1, 0u8);
                }
                if let Some(byte) = bytes.get_mut(at) {
                    *byte |= 1 << (bit % 8);
                    offsets += 1;
                }
            }
            if end == bits {
                break;
            }
        }
        (bytes, offsets)
    }

    /// Decodes a text, if it has this format, is complete, and belongs to this offset.
    pub(crate) fn decode(committed_at: &CommittedOffset<'_>, text: &str) -> Option<Self> {
        let committed = committed_at.offset;
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
        let (bytes, crc) = bytes.split_last_chunk::<CRC_BYTES>()?;
        if checksum(committed_at, bytes) != u32::from_be_bytes(*crc) {
            return None;
        }
        let (form, mut rest) = bytes.split_first()?;
        let epoch = read_varint(&mut rest)?;
        let epoch = epoch.checked_sub(1).map(i32::try_from).transpose().ok()?;
        let newest = unzigzag(read_varint(&mut rest)?);
        let ranges = match *form {
            RANGES => read_ranges(committed, rest)?,
            BITMAP => read_bitmap(committed, rest)?,
            _ => return None,
        };
        Some(Self { ranges, epoch, newest })
    }

    /// Whether these contain the record at this offset.
    pub(crate) fn contains(&self, offset: i64) -> bool {
        let before = self.ranges.partition_point(|(from, _)| *from <= offset);
        let range = before.checked_sub(1).and_then(|last| self.ranges.get(last));
        range.is_some_and(|(_, to)| offset < *to)
    }

    /// Whether a record before the end of these has a later leader epoch than all of them. Then the log was truncated, and the
    /// records after it are others. (Leader epochs never decrease along a log.)
    pub(crate) fn is_cut_at(&self, offset: i64, epoch: Option<i32>) -> bool {
        let is_before_end = self.ranges.last().is_some_and(|(_, to)| offset < *to);
        is_before_end && epoch.zip(self.epoch).is_some_and(|(epoch, highest)| epoch > highest)
    }

    /// Whether a record at one of these offsets cannot be the one that was finished there. Then the log is another.
    pub(crate) fn contradicts(&self, epoch: Option<i32>, timestamp: i64) -> bool {
        timestamp > self.newest || epoch.zip(self.epoch).is_some_and(|(epoch, highest)| epoch > highest)
    }
}

fn read_ranges(committed: i64, mut rest: &[u8]) -> Option<Vec<(i64, i64)>> {
    let (mut ranges, mut end) = (Vec::new(), committed);
    while !rest.is_empty() {
        let from = end.checked_add_unsigned(read_varint(&mut rest)?)?;
        let to = from.checked_add_unsigned(read_varint(&mut rest)?)?;
        // Empty ranges, or ranges that touch the previous one, are never written. The first range may begin at the committed
        // offset: when that record is known to be finished, but was not read again before this commit.
        if to <= from || (from == end && !ranges.is_empty()) {
            return None;
        }
        ranges.push((from, to));
        end = to;
    }
    Some(ranges)
}

fn read_bitmap(committed: i64, bytes: &[u8]) -> Option<Vec<(i64, i64)>> {
    let mut ranges = Vec::<(i64, i64)>::new();
    for (nth, byte) in (0i64..).zip(bytes) {
        for bit in (0..8).filter(|bit| byte & (1 << bit) != 0) {
            let offset = committed.checked_add(nth.checked_mul(8)?)?.checked_add(bit)?;
            let end = offset.checked_add(1)?;
            match ranges.last_mut().filter(|(_, to)| *to == offset) {
                Some((_, to)) => *to = end,
                None => ranges.push((offset, end)),
            }
        }
    }
    Some(ranges)
}

/// The checksum covers the group, because another group that is given these offsets has not finished the records beyond them.
fn checksum(committed_at: &CommittedOffset<'_>, bytes: &[u8]) -> u32 {
    let CommittedOffset { group, partition, offset } = committed_at;
    let names = [group.as_bytes(), b"\0", partition.topic.as_str().as_bytes(), b"\0"].concat();
    let numbers = [&partition.partition.to_be_bytes()[..], &offset.to_be_bytes()[..]].concat();
    [&names[..], &numbers[..], bytes].iter().fold(0, |crc, bytes| crc32c::crc32c_append(crc, bytes))
}

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value as u8) | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn read_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Random;

    /// Encodes for the group `job`.
    fn encode(these: &FinishedBeyond, offset: i64, limit: usize) -> String {
        these.encode(
            &CommittedOffset { group: "job", partition: &TopicPartition::new("orders", 0), offset },
            limit,
        )
    }

    fn decode(offset: i64, text: &str) -> Option<FinishedBeyond> {
        FinishedBeyond::decode(
            &CommittedOffset { group: "job", partition: &TopicPartition::new("orders", 0), offset },
            text,
        )
    }

    fn beyond(ranges: impl IntoIterator<Item = (i64, i64)>) -> FinishedBeyond {
        FinishedBeyond { ranges: ranges.into_iter().collect(), epoch: Some(7), newest: 1_700_000_000_000 }
    }

    #[test]
    fn written_metadata_is_read_back() {
        for these in [
            beyond([(11, 12)]),
            beyond([(1_000_000, 2_000_000), (3_000_000_000, 3_000_000_001)]),
            beyond((0..500).map(|nth| (11 + 2 * nth, 12 + 2 * nth))),
            FinishedBeyond { ranges: vec![(12, i64::MAX)], epoch: None, newest: -1 },
            FinishedBeyond { ranges: vec![(11, 13)], epoch: Some(i32::MAX), newest: i64::MIN },
            beyond([(10, 20), (21, 22)]),
            beyond((0..500).map(|nth| (10 + 2 * nth, 11 + 2 * nth))),
        ] {
            let text = encode(&these, 10, 4096);
            assert!(text.len() <= 4096);
            assert_eq!(decode(10, &text), Some(these));
        }
        assert_eq!(encode(&beyond([]), 10, 4096), "", "nothing is nothing");
    }

    #[test]
    fn the_shorter_form_is_taken() {
        let scattered = encode(&beyond((0..800).map(|nth| (11 + 2 * nth, 12 + 2 * nth))), 10, 4096);
        assert!(scattered.len() < 320, "a bitmap: {}", scattered.len());
        let few = encode(&beyond([(1 << 20, 1 << 30)]), 10, 4096);
        assert!(few.len() < 40, "ranges: {}", few.len());
    }

    #[test]
    fn too_many_ranges_are_cut_and_the_nearest_are_kept() {
        let many = beyond((1..3000).map(|nth| (nth * 1000, nth * 1000 + 10)));
        let whole = encode(&many, 10, usize::MAX);
        for limit in (0..4200).step_by(37) {
            let text = encode(&many, 10, limit);
            assert!(text.len() <= limit);
            assert_eq!(text, encode(&many, 10, limit), "the same each time");
            if let Some(read) = decode(10, &text) {
                assert_eq!(read.ranges, many.ranges[..read.ranges.len()]);
            } else {
                assert!(limit < 60 && text.is_empty(), "{limit}");
            }
        }
        assert_eq!(decode(10, &whole), Some(many));
    }

    #[test]
    fn damaged_foreign_or_mismatched_metadata_is_ignored() {
        let text = encode(&beyond([(11, 20), (30, 31)]), 10, 4096);
        for foreign in ["", "ow1.", "ow2.AAAA", "ow1.!!!!", "{\"a\":1}", "bnVsbA==", "ow1.AAAAAAAA", "ä"] {
            assert_eq!(decode(10, foreign), None, "{foreign}");
        }
        assert_eq!(decode(11, &text), None);
        for (group, topic, partition) in [("job2", "orders", 0), ("job", "order", 0), ("job", "orders", 1)] {
            let partition = &TopicPartition::new(topic, partition);
            assert_eq!(
                FinishedBeyond::decode(&CommittedOffset { group, partition, offset: 10 }, &text),
                None
            );
        }
        for at in 0..text.len() {
            for with in ["A", "_", "z", ""] {
                let mut damaged = text.clone();
                damaged.replace_range(at..=at, with);
                if damaged != text {
                    assert_eq!(decode(10, &damaged), None, "{damaged}");
                }
            }
        }
    }

    /// A text with a valid checksum and senseless contents is refused without a panic, and decoded ranges are in order.
    #[test]
    fn nonsense_with_a_checksum_is_nothing() {
        let mut random = Random::new(1);
        for _ in 0..20_000 {
            let length = random.below(40);
            let mut bytes: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
            if let Some(form) = bytes.first_mut() {
                *form %= 3;
            }
            let committed = [0, 10, i64::MAX - 3, i64::MAX][random.below(4) as usize];
            bytes.extend(
                checksum(
                    &CommittedOffset {
                        group: "job",
                        partition: &TopicPartition::new("orders", 0),
                        offset: committed,
                    },
                    &bytes,
                )
                .to_be_bytes(),
            );
            let text = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
            if let Some(read) = decode(committed, &text) {
                let mut end = committed;
                for (nth, (from, to)) in read.ranges.into_iter().enumerate() {
                    assert!((from > end || nth == 0) && from >= end && to > from);
                    end = to;
                }
            }
        }
    }

    #[test]
    fn a_record_of_another_log_contradicts() {
        let these = beyond([(11, 13), (15, 16)]);
        assert_eq!(
            [10, 11, 12, 13, 14, 15, 16].map(|at| these.contains(at)),
            [false, true, true, false, false, true, false]
        );
        assert!(!these.contradicts(Some(7), these.newest) && !these.contradicts(None, -1));
        assert!(these.contradicts(Some(8), 0), "a later leader wrote it");
        assert!(these.contradicts(Some(1), these.newest + 1), "it was written later");
    }
}
