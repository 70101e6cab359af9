//! Tests of a record's accessors, in a batch and as an owned record.

use offtake_wire::records::{Batch, BatchBuilder, Batches, Crc, Decompressor};

use super::*;
use crate::batches::{Contents, RecordBatch};

const TOKEN: Token = Token { assignment: 4, seek: 2 };
const LARGE: usize = SMALL + 1;

fn payments() -> TopicPartition {
    TopicPartition::new("payments", 3)
}

/// Three records from 10 on, under leader epoch 6: one with all fields, one with none, one that is large.
fn batch() -> Batch {
    let mut builder = BatchBuilder::new(10).leader_epoch(6).base_timestamp(1000);
    builder.push(1001, Some(b"key"), Some(b"value"), &[("trace", Some(&b"7"[..])), ("trace", None)]);
    builder.push(1002, None, None, &[]);
    builder.push(1003, Some(b""), Some(&[1; LARGE]), &[]);
    Batches::new(builder.build().unwrap(), Crc::Check).next().unwrap().unwrap()
}

fn part(next: i64) -> PartitionRecords {
    let payload = batch().open(&mut Decompressor::default()).unwrap();
    let mut at = payload.records().at();
    let (slice, _) = payload.take(&mut at, 1000);
    let next = Position { offset: next, epoch: Some(7) };
    PartitionRecords { partition: payments(), token: TOKEN, leader_epoch: Some(6), slice, next, ledger: None }
}

#[test]
fn a_record_says_where_it_is_from_and_what_was_written() {
    let part = part(15);
    let mut records = part.iter();
    assert_eq!((records.size_hint(), records.len()), ((3, Some(3)), 3));
    let first = records.next().unwrap();
    assert_eq!((first.topic(), first.partition(), first.offset()), ("payments", 3, 10));
    assert_eq!(*first.topic_partition(), payments());
    assert_eq!((first.timestamp(), first.timestamp_type()), (1001, TimestampType::CreateTime));
    assert_eq!((first.key(), first.value()), (Some(&b"key"[..]), Some(&b"value"[..])));
    assert_eq!(first.headers().count(), 2);
    assert_eq!((first.leader_epoch(), first.token()), (Some(6), TOKEN));
    let second = records.next().unwrap();
    assert_eq!((second.offset(), second.timestamp()), (11, 1002));
    assert_eq!((second.key(), second.value(), second.headers().count()), (None, None, 0));
    let third = records.next().unwrap();
    assert_eq!((third.key(), third.value().map(<[u8]>::len)), (Some(&b""[..]), Some(LARGE)));
    assert!(records.next().is_none() && records.next().is_none());
}

#[test]
fn a_record_on_its_own_says_the_same() {
    let part = part(15);
    for record in &part {
        for owned in [record.detach(), record.detach_copied(), record.detach_shared()] {
            assert_eq!((owned.topic(), owned.partition(), owned.offset()), ("payments", 3, record.offset()));
            assert_eq!(*owned.topic_partition(), payments());
            assert_eq!(owned.timestamp(), record.timestamp());
            assert_eq!(owned.timestamp_type(), record.timestamp_type());
            assert_eq!(owned.key(), record.key());
            assert_eq!(owned.value(), record.value());
            assert_eq!(owned.headers().count(), record.headers().count());
            assert_eq!((owned.leader_epoch(), owned.token()), (Some(6), TOKEN));
        }
    }
}

#[test]
fn a_small_record_is_copied_and_a_large_one_shares_the_memory_that_it_came_in() {
    let part = part(15);
    let (first, third) = (part.iter().next().unwrap(), part.iter().nth(2).unwrap());
    let is_shared = |record: &Record<'_>, owned: &OwnedRecord| {
        record.value().map(<[u8]>::as_ptr) == owned.value().map(|value| value.as_ptr())
    };
    assert!(!is_shared(&first, &first.detach()) && is_shared(&first, &first.detach_shared()));
    assert!(is_shared(&third, &third.detach()) && is_shared(&third, &third.detach_shared()));
    assert!(!is_shared(&third, &third.detach_copied()), "however large it is");
}

#[test]
fn j3_the_last_records_spot_is_its_own_and_the_whole_parts_lies_behind_what_follows() {
    let part = part(15);
    let last = part.iter().last().unwrap();
    for record_position in [last.record_position(), last.detach().record_position()] {
        assert_eq!((record_position.partition, record_position.token), (payments(), TOKEN));
        assert_eq!(record_position.next, Position { offset: 13, epoch: Some(6) });
    }
    assert_eq!(part.record_position().next, Position { offset: 15, epoch: Some(7) });
    assert_eq!((part.record_position().partition, part.record_position().token), (payments(), TOKEN));
    assert_eq!((part.topic(), part.partition(), part.next_offset()), ("payments", 3, 15));
    assert_eq!((part.topic_partition(), part.len(), part.is_empty()), (&payments(), 3, false));
}

#[test]
fn records_come_part_by_part_and_are_counted() {
    let mut records = Records::default();
    assert!(records.is_empty() && records.iter().next().is_none());
    records.push(part(13));
    let mut other = part(13);
    other.partition.partition = 4;
    records.push(other);
    assert_eq!((records.len(), records.is_empty(), records.partitions().len()), (6, false, 2));
    let mut iter = records.iter();
    for left in (0..6).rev() {
        assert!(iter.next().is_some());
        assert_eq!((iter.size_hint(), iter.len()), ((left, Some(left)), left));
    }
    assert!(iter.next().is_none());
    let all: Vec<_> = (&records).into_iter().map(|record| (record.partition(), record.offset())).collect();
    assert_eq!(all, [(3, 10), (3, 11), (3, 12), (4, 10), (4, 11), (4, 12)]);
}

/// Finishes single records and a whole run, for a consumer whose records are finished one by one.
#[test]
fn h3_a_record_finishes_itself_and_nothing_before_it() {
    let ledgers = crate::ledgers::Ledgers::default();
    let mut part = part(15);
    assert!(part.iter().all(|record| record.finish().is_err() && record.detach().finish().is_err()));
    ledgers.hand_out(&mut part);
    let finished = || part.ledger.as_ref().unwrap().finished().map(|position| position.offset);
    let last = part.iter().last().unwrap();
    last.detach().finish().unwrap();
    assert_eq!(finished(), None);
    let first = part.iter().next().unwrap();
    let (ticket, same) = (first.ticket().unwrap(), first.detach().ticket().unwrap());
    assert_eq!((ticket.topic_partition(), ticket.offset()), (&payments(), 10));
    ticket.finish().unwrap();
    same.finish().unwrap();
    assert_eq!(finished(), Some(11));
    part.iter().nth(1).unwrap().finish().unwrap();
    assert_eq!(finished(), Some(15));
}

#[test]
fn a_batch_says_where_it_is_from_and_how_much_it_holds() {
    let whole = RecordBatch {
        partition: payments(),
        token: TOKEN,
        contents: Contents::Packed(batch()),
        from: 10,
        next: Position { offset: 15, epoch: Some(7) },
        ledger: None,
    };
    assert_eq!((whole.topic(), whole.partition(), whole.topic_partition()), ("payments", 3, &payments()));
    assert_eq!((whole.first_offset(), whole.next_offset(), whole.count()), (10, 15, 3));
    assert_eq!((whole.leader_epoch(), whole.end()), (Some(6), Position { offset: 13, epoch: Some(6) }));
    assert_eq!((whole.record_position().token, whole.record_position().next.offset), (TOKEN, 15));
    assert_eq!(whole.open(&mut crate::batches::Decompressor::default()).unwrap().len(), 3);
    let mut batches = crate::Batches::default();
    assert!(batches.is_empty());
    batches.parts.extend([whole.clone(), whole]);
    assert_eq!((batches.len(), batches.is_empty(), batches.iter().count()), (2, false, 2));
    assert_eq!(((&batches).into_iter().count(), batches.into_iter().count()), (2, 2));
}

#[test]
fn a_decompressor_has_the_limit_that_it_was_given() {
    use crate::batches::Decompressor;
    assert_eq!(Decompressor::with_limit(1000).with_buffer_limit(1 << 20).limit(), 1000);
    assert_eq!(Decompressor::with_limit(usize::MAX).limit(), Decompressor::MAX_LIMIT);
}
