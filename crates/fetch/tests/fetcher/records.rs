//! Tests of which records of a response are handed out, and where reading continues: gaps, cuts, corruption,
//! transactions.

use bytes::Bytes;
use offtake_fetch::{Config, Event, PartitionError};
use offtake_machine::{IsolationLevel, Position};
use offtake_wire::{
    ErrorCode,
    messages::fetch::{AbortedTransaction, PartitionData},
    records::{BatchBuilder, CodecError, Compression, Crc, RecordFault, legacy_set},
};

use crate::rig::{Asked, Rig, batch, build, data, error, joined, response, tp};

/// Partition 0 of "a" is requested from 0 on.
fn asked() -> (Rig, Asked) {
    asked_at(0, IsolationLevel::ReadUncommitted)
}

fn asked_at(offset: i64, isolation: IsolationLevel) -> (Rig, Asked) {
    let mut rig = Rig::with(Config { isolation, ..Default::default() }).topic("a", &[1]);
    rig.start("a", 0, offset);
    let asked = rig.ask();
    (rig, asked)
}

fn answer(rig: &mut Rig, asked: &Asked, records: Bytes) {
    rig.answer(asked, response(7, vec![("a", vec![data(0, records)])]));
}

fn position(rig: &Rig) -> i64 {
    rig.fetcher.position(&tp("a", 0)).unwrap().offset
}

/// The reported error; the partition has stopped, with its position before the error.
fn failure(rig: &mut Rig) -> PartitionError {
    let told = rig.told();
    let [Event::PartitionFailed { position: at, error, .. }] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(at.offset, position(rig));
    assert!(error.stops());
    rig.silent();
    error.clone()
}

fn fault(rig: &mut Rig) -> RecordFault {
    match failure(rig) {
        PartitionError::Records(error) => *error.fault(),
        other => panic!("{other}"),
    }
}

fn transactional(base: i64, count: i64, producer: i64) -> Bytes {
    build(base, count, |builder| builder.producer(producer, 0, 0).transactional())
}

fn marker(offset: i64, producer: i64, kind: i16) -> Bytes {
    let mut builder =
        BatchBuilder::new(offset).leader_epoch(5).producer(producer, 0, -1).transactional().control();
    let key = [[0, 0], kind.to_be_bytes()].concat();
    builder.push(1_000, Some(&key), Some(&[0, 0, 0, 0, 0, 1]), &[]);
    builder.build().unwrap()
}

fn abort(offset: i64, producer: i64) -> Bytes {
    marker(offset, producer, 0)
}

fn commit(offset: i64, producer: i64) -> Bytes {
    marker(offset, producer, 1)
}

/// Answers a read_committed fetch from 0 on. Returns the visible records and the next position.
fn committed(records: &[Bytes], aborted: &[(i64, i64)]) -> (Vec<i64>, i64) {
    let (mut rig, asked) = asked_at(0, IsolationLevel::ReadCommitted);
    assert_eq!(asked.request.isolation_level, 1);
    let aborted = aborted.iter().map(|(producer_id, first_offset)| AbortedTransaction {
        producer_id: *producer_id,
        first_offset: *first_offset,
    });
    let data = PartitionData { aborted_transactions: Some(aborted.collect()), ..data(0, joined(records)) };
    rig.answer(&asked, response(7, vec![("a", vec![data])]));
    assert_eq!(rig.told(), []);
    (rig.drain().into_iter().flat_map(|(_, offsets)| offsets).collect(), position(&rig))
}

#[test]
fn j1_a_wrong_checksum_is_found_by_the_reader_and_prefetch_starts_again_behind_the_good_batches() {
    let (mut rig, asked) = asked();
    let mut bad = batch(5, 5).to_vec();
    *bad.last_mut().unwrap() ^= 1;
    answer(&mut rig, &asked, joined(&[batch(0, 5), bad.into(), batch(10, 5)]));
    let chunk = rig.fetcher.take().unwrap();
    let mut read = chunk.batches.read(Crc::Check);
    assert_eq!(read.next().unwrap().unwrap().next_offset(), 5);
    let error = read.next().unwrap().unwrap_err();
    assert_eq!((error.first_offset(), error.last_offset()), (5, 9));
    assert!(read.next().is_none(), "nothing behind it is handed out");
    rig.fetcher.stop(&tp("a", 0));
    rig.start("a", 0, error.last_offset() + 1);
    assert_eq!(position(&rig), 10);
}

#[test]
fn j1_a_broken_header_stops_the_partition_behind_the_good_batches_and_no_other() {
    let mut rig = Rig::new().topic("a", &[1, 1]);
    rig.start("a", 0, 0);
    rig.start("a", 1, 0);
    let asked = rig.ask();
    let mut bad = batch(5, 5).to_vec();
    bad[8..12].copy_from_slice(&3i32.to_be_bytes());
    let broken = data(0, joined(&[batch(0, 5), bad.into()]));
    rig.answer(&asked, response(7, vec![("a", vec![broken, data(1, batch(0, 1))])]));
    assert_eq!(rig.drain(), [("a-0".to_owned(), vec![0, 1, 2, 3, 4]), ("a-1".to_owned(), vec![0])]);
    let told = rig.told();
    let [Event::PartitionFailed { position, error: PartitionError::Records(error), .. }] = told.as_slice()
    else {
        panic!("{told:?}")
    };
    assert_eq!((position.offset, *error.fault()), (5, RecordFault::BatchLength(3)));
    let asked = rig.ask();
    assert_eq!((asked.asks(), asked.forgets()), (vec!["a-1@1".to_owned()], vec!["a-0".to_owned()]));
}

#[test]
fn j2_a_cut_last_batch_is_asked_for_again_and_a_cut_only_one_is_an_error() {
    let (mut rig, asked) = asked();
    let whole = joined(&[batch(0, 5), batch(5, 5)]);
    answer(&mut rig, &asked, whole.slice(..whole.len() - 1));
    assert_eq!(rig.drain(), [("a-0".to_owned(), vec![0, 1, 2, 3, 4])]);
    let asked = rig.ask();
    assert_eq!(asked.asks(), ["a-0@5"]);
    let second = batch(5, 5);
    answer(&mut rig, &asked, second.slice(..second.len() - 1));
    assert_eq!(failure(&mut rig), PartitionError::NoProgress { offset: 5 });
}

#[test]
fn j3_gaps_emptied_batches_and_removed_tails_move_the_position_on() {
    let (mut rig, asked) = asked();
    let sparse = build(10, 3, |builder| builder.last_offset_delta(9));
    let emptied = build(20, 0, |builder| builder.last_offset_delta(4));
    answer(&mut rig, &asked, joined(&[sparse, emptied]));
    let chunk = rig.fetcher.take().unwrap();
    assert_eq!(crate::rig::offsets(&chunk), [10, 11, 12]);
    assert_eq!(chunk.next, Position { offset: 25, epoch: Some(5) });
    assert_eq!(rig.ask().asks(), ["a-0@25"]);
}

#[test]
fn j4_an_unknown_magic_stops_the_partition() {
    let (mut rig, asked) = asked();
    let mut bad = batch(0, 5).to_vec();
    bad[16] = 3;
    answer(&mut rig, &asked, bad.into());
    assert_eq!(fault(&mut rig), RecordFault::Magic(3));
}

#[test]
fn j7_old_message_formats_are_handed_out_too() {
    let message = offtake_wire::records::LegacyMessage {
        offset: 3,
        timestamp: 9,
        key: None,
        value: Some(b"v"),
        ..Default::default()
    };
    let (mut rig, asked) = asked();
    answer(&mut rig, &asked, legacy_set(1, &[message]));
    assert_eq!(rig.drain(), [("a-0".to_owned(), vec![3])]);
    assert_eq!(rig.fetcher.position(&tp("a", 0)), Some(Position::at(4)));
}

#[test]
fn input27_only_batches_from_before_the_position_are_no_progress_and_no_loop() {
    let (mut rig, mut asked) = asked_at(10, IsolationLevel::ReadUncommitted);
    let mut requests = 1;
    for _ in 0..200 {
        answer(&mut rig, &asked, batch(0, 5));
        assert_eq!(rig.drain(), []);
        rig.pass_ms(10);
        match rig.sent() {
            Some(again) => (asked, requests) = (again, requests + 1),
            None => continue,
        }
    }
    assert!(requests <= 3, "{requests}");
    let failure = failure(&mut rig);
    assert_eq!(failure, PartitionError::NoProgress { offset: 10 });
    assert_eq!(failure.offsets(), Some((10, 10)), "what an application would have to pass over");
    assert_eq!(PartitionError::Refused(offtake_wire::ErrorCode::TopicAuthorizationFailed).offsets(), None);
}

#[test]
fn input27_batches_from_before_the_position_are_skipped_silently() {
    let (mut rig, asked) = asked_at(7, IsolationLevel::ReadUncommitted);
    answer(&mut rig, &asked, joined(&[batch(0, 5), batch(5, 5), batch(10, 5)]));
    let chunk = rig.fetcher.take().unwrap();
    assert_eq!(chunk.batches.clone().read(Crc::Check).count(), 2);
    assert_eq!(crate::rig::offsets(&chunk), (7..15).collect::<Vec<_>>(), "J8");
    assert_eq!(rig.told(), []);
}

#[test]
fn input39_a_false_last_offset_does_not_make_the_position_jump() {
    // Five records that end at 1000, the end of the log, or beyond. The watermark may have been read too
    // early.
    for delta in [1_000, (1 << 24) - 1, i32::MAX] {
        let (mut rig, mut asked) = asked();
        let far = build(0, 5, |builder| builder.last_offset_delta(delta));
        for _ in 0..2 {
            answer(&mut rig, &asked, far.clone());
            assert_eq!(rig.told(), []);
            assert!(rig.sent().is_none(), "not without a pause");
            rig.pass_ms(1_000);
            asked = rig.ask();
        }
        answer(&mut rig, &asked, far);
        assert!(matches!(fault(&mut rig), RecordFault::BeyondTheEnd { .. }));
        assert_eq!(position(&rig), 0);
    }
    // If there are no gaps, the checksum must be verified.
    let (mut rig, asked) = asked_at(0, IsolationLevel::ReadUncommitted);
    let mut bad = batch(0, 5).to_vec();
    bad[23..27].copy_from_slice(&5_000i32.to_be_bytes());
    bad[57..61].copy_from_slice(&5_001i32.to_be_bytes());
    answer(&mut rig, &asked, bad.into());
    assert!(matches!(fault(&mut rig), RecordFault::WrongCrc { .. }));
    assert_eq!(position(&rig), 0);
}

#[test]
fn input39_a_watermark_that_was_read_before_the_log_costs_nothing() {
    // Appended since: there is a record for each offset.
    let (mut rig, asked) = asked_at(998, IsolationLevel::ReadUncommitted);
    answer(&mut rig, &asked, batch(998, 5));
    assert_eq!((rig.drain(), position(&rig)), (vec![("a-0".to_owned(), (998..1003).collect())], 1003));
    // A follower's watermark is late: the next response has it.
    let (mut rig, asked) = asked_at(998, IsolationLevel::ReadUncommitted);
    let compacted = build(998, 2, |builder| builder.last_offset_delta(4));
    answer(&mut rig, &asked, compacted.clone());
    rig.pass_ms(1_000);
    let asked = rig.ask();
    let data = PartitionData { high_watermark: 1003, ..data(0, compacted) };
    rig.answer(&asked, response(7, vec![("a", vec![data])]));
    assert_eq!((rig.drain(), position(&rig)), (vec![("a-0".to_owned(), vec![998, 999])], 1003));
}

#[test]
fn input42_a_batch_that_begins_before_the_last_one_ended_stops_the_partition() {
    let (mut rig, asked) = asked();
    answer(&mut rig, &asked, joined(&[batch(0, 5), batch(3, 5)]));
    assert_eq!(fault(&mut rig), RecordFault::Overlap { base: 3, previous: 4 });
    assert_eq!((rig.drain(), position(&rig)), (vec![("a-0".to_owned(), vec![0, 1, 2, 3, 4])], 5));
}

#[test]
fn k1_an_unordered_list_of_aborted_transactions_hides_all_of_them() {
    let log = [
        transactional(0, 2, 1),
        transactional(2, 2, 2),
        batch(4, 1),
        abort(5, 1),
        abort(6, 2),
        transactional(7, 2, 1),
        commit(9, 1),
    ];
    assert_eq!(committed(&log, &[(2, 2), (1, 0), (1, 0)]), (vec![4, 7, 8], 10));
}

#[test]
fn k2_an_aborted_transaction_without_data_hides_nothing_that_comes_after() {
    assert_eq!(committed(&[abort(0, 1), transactional(1, 2, 1), commit(3, 1)], &[(1, 0)]), (vec![1, 2], 4));
}

#[test]
fn k3_aborted_and_compressed_is_hidden() {
    let packed = build(0, 5, |b| b.compression(Compression::Lz4).producer(1, 0, 0).transactional());
    assert_eq!(committed(&[packed, abort(5, 1), batch(6, 1)], &[(1, 0)]), (vec![6], 7));
}

#[test]
fn k4_markers_too_many_or_without_a_transaction_change_nothing() {
    let log = [abort(0, 9), transactional(1, 1, 1), abort(2, 1), abort(3, 1), batch(4, 1), commit(5, 8)];
    assert_eq!(committed(&log, &[(1, 1)]), (vec![4], 6));
}

#[test]
fn k5_only_aborted_data_moves_the_position_and_costs_no_more_than_a_chunk() {
    let (mut rig, mut asked) = asked_at(0, IsolationLevel::ReadCommitted);
    for base in [0, 10, 20] {
        let aborted_transactions = Some(vec![AbortedTransaction { producer_id: 1, first_offset: 0 }]);
        let data = PartitionData { aborted_transactions, ..data(0, transactional(base, 10, 1)) };
        rig.answer(&asked, response(7, vec![("a", vec![data])]));
        asked = rig.ask();
    }
    assert_eq!(position(&rig), 30);
    assert!(rig.fetcher.memory_held() < 1500, "{}", rig.fetcher.memory_held());
    let chunk = rig.fetcher.take().unwrap();
    assert!(chunk.batches.is_empty());
    assert_eq!(chunk.next.offset, 30, "one chunk, not three (P5)");
    assert!(rig.fetcher.take().is_none());
}

#[test]
fn safe10_uncommitted_reading_sees_all_but_control_batches() {
    let (mut rig, asked) = asked();
    answer(&mut rig, &asked, joined(&[transactional(0, 2, 1), abort(2, 1), batch(3, 1)]));
    assert_eq!(rig.drain(), [("a-0".to_owned(), vec![0, 1, 3])]);
}

#[test]
fn input46_a_malformed_control_batch_stops_the_partition() {
    let mut builder = BatchBuilder::new(1).leader_epoch(5).producer(1, 0, -1).transactional().control();
    builder.push(1_000, Some(&[0]), None, &[]);
    let (mut rig, asked) = asked_at(0, IsolationLevel::ReadCommitted);
    answer(&mut rig, &asked, joined(&[batch(0, 1), builder.build().unwrap()]));
    assert!(matches!(fault(&mut rig), RecordFault::Control(_)));
    assert_eq!((rig.drain(), position(&rig)), (vec![("a-0".to_owned(), vec![0])], 1));
}

#[test]
fn input46_a_control_batch_that_inflates_stops_the_partition() {
    let packed = |value: &[u8]| {
        let builder = BatchBuilder::new(0).leader_epoch(5).producer(1, 0, -1).transactional().control();
        let mut builder = builder.compression(Compression::Lz4);
        builder.push(1_000, Some(&[0, 0, 0, 0]), Some(value), &[]);
        builder.build().unwrap()
    };
    assert_eq!(committed(&[packed(&[0, 0, 0, 0, 0, 1]), batch(1, 1)], &[]), (vec![1], 2));
    let (mut rig, asked) = asked_at(0, IsolationLevel::ReadCommitted);
    answer(&mut rig, &asked, packed(&[0; 1 << 20]));
    let fault = fault(&mut rig);
    assert!(matches!(fault, RecordFault::Codec(CodecError::TooLarge { limit: 4096, .. })), "{fault}");
}

#[test]
fn input25_a_hidden_batch_with_a_wrong_checksum_does_not_move_the_position() {
    let mut bad = abort(1, 1).to_vec();
    bad[23..27].copy_from_slice(&500i32.to_be_bytes());
    let (mut rig, asked) = asked();
    answer(&mut rig, &asked, joined(&[batch(0, 1), bad.into()]));
    assert!(matches!(fault(&mut rig), RecordFault::WrongCrc { .. }));
    assert_eq!(position(&rig), 1);
}

/// A moved partition does not count as a response without progress.
#[test]
fn input27_a_refused_fetch_does_not_count_as_a_response_without_progress() {
    let (mut rig, mut asked) = asked_at(10, IsolationLevel::ReadUncommitted);
    let again = |rig: &mut Rig| {
        rig.pass_ms(2_000);
        rig.ask()
    };
    for _ in 0..5 {
        let moved = response(7, vec![("a", vec![error(0, ErrorCode::NotLeaderOrFollower)])]);
        rig.answer(&asked, moved);
        asked = again(&mut rig);
    }
    for _ in 0..2 {
        answer(&mut rig, &asked, batch(0, 5));
        assert_eq!(rig.told(), []);
        asked = again(&mut rig);
    }
    answer(&mut rig, &asked, batch(0, 5));
    assert_eq!(failure(&mut rig), PartitionError::NoProgress { offset: 10 }, "three in a row are");
}
