//! Sums that any client can compute, so that results can be compared.

use std::collections::BTreeMap;

use offtake::{PartitionRecords, TopicPartition};

/// The records read so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) records: u64,
    /// The bytes of keys and values.
    pub(super) bytes: u64,
    /// Records whose offset is not their predecessor's plus one.
    pub(super) order_errors: u64,
    pub(super) checksum: u64,
    /// Of the partition that records came of last.
    current: Option<Order>,
    /// The last offset of each other partition.
    last: BTreeMap<TopicPartition, i64>,
}

/// The records of one partition: whether each follows the one before.
#[derive(Debug)]
struct Order {
    of: TopicPartition,
    last: Option<i64>,
}

impl Order {
    /// Whether it does not.
    #[inline]
    fn breaks(&mut self, offset: i64) -> bool {
        let before = self.last.replace(offset);
        before.is_some_and(|last| last.checked_add(1) != Some(offset))
    }
}

impl Tally {
    /// Adds these records, up to an offset and until `most` are reached.
    pub(super) fn add_part(&mut self, part: &PartitionRecords, end: i64, most: u64, headers: bool) {
        let mut order = self.order(part.topic_partition());
        for record in part {
            if record.offset() >= end || self.records >= most {
                break;
            }
            self.order_errors += u64::from(order.breaks(record.offset()));
            self.add(record.partition(), record.offset(), record.key(), record.value());
            if headers {
                self.add_headers(record.headers().map(|header| (header.key, header.value)));
            }
        }
        self.current = Some(order);
    }

    /// Adds another tally, of other partitions.
    pub(super) fn add_up(&mut self, other: &Self) {
        self.records += other.records;
        self.bytes = self.bytes.wrapping_add(other.bytes);
        self.order_errors += other.order_errors;
        self.checksum = self.checksum.wrapping_add(other.checksum);
    }

    /// Looked up once when the partition changes, not once per record, nor once per batch of one record.
    fn order(&mut self, of: &TopicPartition) -> Order {
        if let Some(order) = self.current.take_if(|order| order.of == *of) {
            return order;
        }
        self.end_current();
        Order { of: of.clone(), last: self.last.get(of).copied() }
    }

    fn end_current(&mut self) {
        if let Some(Order { of, last: Some(last) }) = self.current.take() {
            self.last.insert(of, last);
        }
    }

    /// Adds `31·(offset+1) + 17·partition + 7·len(value) + 5·len(key) + first(value) + 3·last(value)`, wrapping.
    #[inline]
    fn add(&mut self, partition: i32, offset: i64, key: Option<&[u8]>, value: Option<&[u8]>) {
        let key = length(key.unwrap_or_default());
        let value = value.unwrap_or_default();
        let first = value.first().copied().map_or(0, u64::from);
        let last = value.last().copied().map_or(0, u64::from);
        let value = length(value);
        let sum = 31u64
            .wrapping_mul(wrapping(offset.wrapping_add(1)))
            .wrapping_add(17u64.wrapping_mul(wrapping(i64::from(partition))))
            .wrapping_add(7u64.wrapping_mul(value))
            .wrapping_add(5u64.wrapping_mul(key))
            .wrapping_add(first)
            .wrapping_add(3 * last);
        self.checksum = self.checksum.wrapping_add(sum);
        self.records += 1;
        self.bytes = self.bytes.wrapping_add(key).wrapping_add(value);
    }

    /// Adds `11 + len(key) + len(value)` for each header.
    fn add_headers<'a>(&mut self, headers: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>) {
        for (key, value) in headers {
            let sum = 11u64.wrapping_add(length(key)).wrapping_add(length(value.unwrap_or_default()));
            self.checksum = self.checksum.wrapping_add(sum);
        }
    }
}

fn length(bytes: &[u8]) -> u64 {
    bytes.len() as u64
}

/// Two's complement, as the sum is defined.
fn wrapping(number: i64) -> u64 {
    number.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_documented_sum() {
        let mut tally = Tally::default();
        tally.add(2, 9, Some(b"abc"), Some(b"\x01\x02\xff"));
        assert_eq!(tally.checksum, 31 * 10 + 17 * 2 + 7 * 3 + 5 * 3 + 1 + 3 * 255);
        assert_eq!((tally.records, tally.bytes), (1, 6));
        tally.add_headers([(&b"h"[..], Some(&b"xy"[..])), (b"n", None)].into_iter());
        assert_eq!(tally.checksum, 31 * 10 + 17 * 2 + 7 * 3 + 5 * 3 + 1 + 3 * 255 + (11 + 1 + 2) + (11 + 1));
    }

    #[test]
    fn null_and_empty_values_add_their_place_alone() {
        let sum = |value| {
            let mut tally = Tally::default();
            tally.add(0, 0, None, value);
            tally.checksum
        };
        assert_eq!(sum(None), 31);
        assert_eq!(sum(Some(&b""[..])), 31);
    }

    #[test]
    fn a_record_that_does_not_follow_its_predecessor_is_an_order_error_across_runs_too() {
        let (of, other) = (TopicPartition::new("t", 0), TopicPartition::new("t", 1));
        for is_interrupted in [false, true] {
            let mut tally = Tally::default();
            for run in [&[0, 1, 2][..], &[3], &[5, 4], &[4]] {
                let mut order = tally.order(&of);
                tally.order_errors += run.iter().filter(|offset| order.breaks(**offset)).count() as u64;
                tally.current = Some(order);
                if is_interrupted {
                    tally.current = Some(tally.order(&other));
                }
            }
            assert_eq!(tally.order_errors, 3, "the gap, the step back, and the repeat");
        }
    }
}
