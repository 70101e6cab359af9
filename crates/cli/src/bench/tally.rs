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
    last: BTreeMap<TopicPartition, i64>,
}

/// The order of consecutive records of one partition: whether each follows the one before.
#[derive(Debug)]
struct Order {
    of: TopicPartition,
    last: Option<i64>,
    errors: u64,
}

impl Order {
    #[inline]
    fn follow(&mut self, offset: i64) {
        if self.last.is_some_and(|last| last.checked_add(1) != Some(offset)) {
            self.errors += 1;
        }
        self.last = Some(offset);
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
            order.follow(record.offset());
            self.add(record.partition(), record.offset(), record.key(), record.value());
            if headers {
                self.add_headers(record.headers().map(|header| (header.key, header.value)));
            }
        }
        self.add_order(order);
    }

    /// Adds another tally, of other partitions.
    pub(super) fn add_up(&mut self, other: &Self) {
        self.records += other.records;
        self.bytes = self.bytes.wrapping_add(other.bytes);
        self.order_errors += other.order_errors;
        self.checksum = self.checksum.wrapping_add(other.checksum);
    }

    /// Looked up once per call, not once per record.
    fn order(&self, of: &TopicPartition) -> Order {
        Order { of: of.clone(), last: self.last.get(of).copied(), errors: 0 }
    }

    fn add_order(&mut self, order: Order) {
        self.order_errors += order.errors;
        if let Some(last) = order.last {
            self.last.insert(order.of, last);
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
        let mut tally = Tally::default();
        let of = TopicPartition::new("t", 0);
        for run in [&[0, 1, 2][..], &[3], &[5, 4], &[4]] {
            let mut order = tally.order(&of);
            run.iter().for_each(|offset| order.follow(*offset));
            tally.add_order(order);
        }
        assert_eq!(tally.order_errors, 3, "the gap, the step back, and the repeat");
    }
}
