//! Tests that the charged memory is the held memory, and that paused partitions give memory back, wherever
//! their chunks are.

use bytes::Bytes;
use offtake_fetch::{Chunk, Config, Event};
use offtake_machine::{BrokerId, Position};
use offtake_wire::messages::fetch::PartitionData;

use crate::rig::{Asked, Rig, TOKEN, batch, build, data, joined, offsets, response, tp};

/// More than a chunk and a partition's header need besides the records.
const BESIDE: usize = 1500;

fn wide(base: i64, size: usize) -> Bytes {
    let value = vec![b'x'; size];
    build(base, 0, |mut builder| {
        builder.push(1_000, None, Some(&value), &[]);
        builder
    })
}

fn with_budget(budget: usize) -> Rig {
    Rig::with(Config { budget, max_partition_bytes: 100_000, ..Default::default() })
}

/// All ready chunks.
fn taken(rig: &mut Rig) -> Vec<Chunk> {
    std::iter::from_fn(|| rig.fetcher.take()).collect()
}

fn asked_back(rig: &mut Rig) -> Vec<String> {
    let asked = |event| match event {
        Event::Reclaim { partition: tp, token } => {
            assert_eq!(token, TOKEN);
            Some(tp.to_string())
        }
        _ => None,
    };
    rig.told().into_iter().filter_map(asked).collect()
}

fn answer(rig: &mut Rig, asked: &Asked, partitions: Vec<PartitionData>) {
    rig.answer(asked, response(7, vec![("a", partitions)]));
}

#[test]
fn p1_a_response_is_held_until_its_last_chunk_is_released() {
    let mut rig = with_budget(1_000_000).topic("a", &[1, 1]);
    rig.start("a", 0, 0);
    rig.start("a", 1, 0);
    let asked = rig.ask();
    answer(&mut rig, &asked, vec![data(0, wide(0, 100_000)), data(1, wide(0, 10))]);
    let whole = rig.fetcher.memory_held();
    assert!((100_010..100_010 + 2 * BESIDE).contains(&whole), "{whole}");
    let [large, small] = taken(&mut rig).try_into().unwrap();
    rig.fetcher.release(&large.partition, large.charge);
    assert_eq!(rig.fetcher.memory_held(), whole, "the small one holds all of it");
    rig.fetcher.release(&large.partition, large.charge);
    assert_eq!(rig.fetcher.memory_held(), whole, "released twice");
    rig.fetcher.release(&small.partition, small.charge);
    assert_eq!(rig.fetcher.memory_held(), 0);
}

#[test]
fn p1_a_response_counts_with_the_whole_of_its_buffer() {
    let mut rig = with_budget(1_000_000).topic("a", &[1]);
    rig.start("a", 0, 0);
    let asked = rig.ask();
    rig.answer_in(&asked, response(7, vec![("a", vec![data(0, wide(0, 10_000))])]), 40_000);
    let held = rig.fetcher.memory_held();
    assert!((40_000..40_000 + BESIDE).contains(&held), "{held}");
}

#[test]
fn p1_a_chunk_without_records_costs_something_too() {
    let mut rig = with_budget(5_000).topic("a", &[1]);
    rig.start("a", 0, 0);
    let mut chunks = Vec::new();
    let mut next = 0;
    while let Some(asked) = rig.sent() {
        assert!(chunks.len() < 100, "what nobody reads is asked for without end");
        answer(&mut rig, &asked, vec![data(0, marker(next))]);
        next += 10;
        chunks.extend(taken(&mut rig));
    }
    assert!(chunks.iter().all(|chunk| offsets(chunk).is_empty()) && chunks.len() > 2);
    for chunk in chunks {
        rig.fetcher.release(&chunk.partition, chunk.charge);
    }
    assert_eq!(rig.fetcher.memory_held(), 0);
    assert!(rig.sent().is_some());
}

/// Only the end of a transaction, at the first of ten offsets: no record is visible.
fn marker(base: i64) -> Bytes {
    build(base, 0, |builder| {
        let mut marker = builder.producer(1, 0, -1).transactional().control().last_offset_delta(9);
        marker.push(0, Some(&[0, 0, 0, 0]), Some(&[0, 0, 0, 0, 0, 1]), &[]);
        marker
    })
}

/// Two partitions of two brokers: one is paused, and its taken chunks have used up the budget.
fn held_by_a_paused_one() -> (Rig, Vec<Chunk>) {
    let mut rig = with_budget(10_000).topic("a", &[1, 2]);
    rig.start("a", 0, 0);
    let asked = rig.ask();
    answer(&mut rig, &asked, vec![data(0, wide(0, 9_500))]);
    let chunks = taken(&mut rig);
    rig.start("a", 1, 0);
    rig.silent();
    (rig, chunks)
}

#[test]
fn i12_chunks_of_a_paused_partition_are_asked_back_when_another_starves() {
    let (mut rig, chunks) = held_by_a_paused_one();
    assert_eq!(asked_back(&mut rig), [""; 0], "it is being read");
    rig.fetcher.pause(&tp("a", 0), TOKEN);
    rig.silent();
    assert_eq!(asked_back(&mut rig), ["a-0"]);
    rig.silent();
    assert_eq!(asked_back(&mut rig), [""; 0], "once");
    for chunk in chunks {
        rig.fetcher.release(&chunk.partition, chunk.charge);
    }
    assert!(rig.fetcher.rewind(&tp("a", 0), TOKEN, Position::at(0)));
    assert_eq!(rig.ask().asks(), ["a-1@0"]);
    rig.silent();
    rig.fetcher.resume(&tp("a", 0), TOKEN);
    let asked = rig.ask();
    assert_eq!(asked.broker, BrokerId(1), "from where the application stands, as the session has it still");
    assert_eq!(asked.asks(), [""; 0]);
    answer(&mut rig, &asked, vec![data(0, batch(0, 3))]);
    assert_eq!(taken(&mut rig).iter().map(offsets).collect::<Vec<_>>(), [[0, 1, 2]]);
}

#[test]
fn i12_nothing_is_asked_for_while_there_is_room_or_nobody_to_use_it() {
    let mut rig = with_budget(10_000).topic("a", &[1, 1]);
    rig.start("a", 0, 0);
    let asked = rig.ask();
    answer(&mut rig, &asked, vec![data(0, wide(0, 9_500))]);
    let _held = taken(&mut rig);
    rig.fetcher.pause(&tp("a", 0), TOKEN);
    rig.silent();
    assert_eq!(asked_back(&mut rig), [""; 0], "nobody else is read");
    rig.start("a", 1, 0);
    rig.silent();
    assert_eq!(asked_back(&mut rig), ["a-0"]);
    rig.fetcher.resume(&tp("a", 0), TOKEN);
    rig.silent();
    assert_eq!(asked_back(&mut rig), [""; 0]);
    rig.fetcher.pause(&tp("a", 0), TOKEN);
    rig.silent();
    assert_eq!(asked_back(&mut rig), ["a-0"], "paused anew, asked anew");
}

#[test]
fn i12_paused_partitions_keep_what_fits_into_a_quarter_of_the_budget() {
    let mut rig = with_budget(100_000).topic("a", &[1, 1, 2]);
    for partition in 0..3 {
        rig.start("a", partition, 0);
    }
    let (asked, other) = (rig.ask(), rig.ask());
    answer(&mut rig, &asked, vec![data(0, wide(0, 23_000))]);
    rig.answer(&other, response(8, vec![("a", vec![data(2, wide(0, 74_000))])]));
    let [_kept, read] = taken(&mut rig).try_into().unwrap();
    rig.fetcher.pause(&tp("a", 0), TOKEN);
    rig.silent();
    assert_eq!(asked_back(&mut rig), [""; 0], "there will be room when the other is read");
    rig.fetcher.release(&read.partition, read.charge);
    assert!(rig.sent().is_some() && rig.sent().is_some(), "both brokers");
}

#[test]
fn i12_no_more_is_asked_for_than_makes_room() {
    let mut rig = with_budget(40_000).topic("a", &[1, 2, 3]);
    let mut held = Vec::new();
    for partition in 0..2 {
        rig.start("a", partition, 0);
        let asked = rig.ask();
        answer(&mut rig, &asked, vec![data(partition, wide(0, 18_500))]);
        held.extend(taken(&mut rig));
        rig.fetcher.pause(&tp("a", partition), TOKEN);
    }
    rig.start("a", 2, 0);
    rig.silent();
    assert_eq!(asked_back(&mut rig), ["a-0"], "the oldest, and with that there is enough");
}

#[test]
fn i12_a_frame_that_others_read_too_is_not_worth_asking_for() {
    let mut rig = with_budget(10_000).topic("a", &[1, 1, 2]);
    rig.start("a", 0, 0);
    rig.start("a", 1, 0);
    let asked = rig.ask();
    answer(&mut rig, &asked, vec![data(0, wide(0, 5_000)), data(1, wide(0, 4_500))]);
    let [_, other] = taken(&mut rig).try_into().unwrap();
    rig.start("a", 2, 0);
    rig.fetcher.pause(&tp("a", 0), TOKEN);
    rig.silent();
    assert_eq!(asked_back(&mut rig), [""; 0], "the other one holds it as well");
    rig.fetcher.release(&other.partition, other.charge);
    rig.silent();
    assert_eq!(asked_back(&mut rig), ["a-0"]);
}

#[test]
fn i12_queued_chunks_are_dropped_before_delivered_ones_are_asked_back() {
    let mut rig = with_budget(40_000).topic("a", &[1, 2]);
    rig.start("a", 0, 0);
    let mut asked = rig.ask();
    answer(&mut rig, &asked, vec![data(0, wide(0, 10_000))]);
    let held = taken(&mut rig);
    assert_eq!(held.len(), 1);
    asked = rig.ask();
    rig.fetcher.pause(&tp("a", 0), TOKEN);
    answer(&mut rig, &asked, vec![data(0, wide(1, 29_000))]);
    rig.start("a", 1, 0);
    assert_eq!(rig.ask().asks(), ["a-1@0"]);
    assert_eq!(asked_back(&mut rig), [""; 0]);
    assert_eq!(rig.fetcher.position(&tp("a", 0)).unwrap().offset, 1, "to be read again");
}

#[test]
fn safe3_a_partition_given_back_while_it_is_validated_is_read_from_where_the_application_stands() {
    let (mut rig, chunks) = held_by_a_paused_one();
    rig.fetcher.pause(&tp("a", 0), TOKEN);
    rig.silent();
    assert_eq!(asked_back(&mut rig), ["a-0"]);
    rig.lead("a", 0, 1, 6);
    rig.show();
    let position = rig.fetcher.position(&tp("a", 0)).unwrap();
    assert_eq!(rig.told(), [Event::Validate { partition: tp("a", 0), token: TOKEN, position }]);
    for chunk in chunks {
        rig.fetcher.release(&chunk.partition, chunk.charge);
    }
    assert!(rig.fetcher.rewind(&tp("a", 0), TOKEN, Position::at(0)));
    rig.fetcher.resume(&tp("a", 0), TOKEN);
    assert_eq!(rig.ask().asks(), ["a-1@0"]);
    rig.silent();
    let start = rig.start_as("a", 0, TOKEN, position);
    assert_eq!(start.position, Position::at(0));
    assert_eq!(rig.ask().asks(), ["a-0@0"]);
}

#[test]
fn safe3_chunks_queued_before_a_given_back_position_are_fetched_again() {
    let mut rig = with_budget(10_000).topic("a", &[1]);
    rig.start("a", 0, 0);
    let asked = rig.ask();
    answer(&mut rig, &asked, vec![data(0, wide(0, 5_000))]);
    assert!(rig.fetcher.rewind(&tp("a", 0), TOKEN, Position::at(10)));
    assert_eq!(rig.fetcher.position(&tp("a", 0)), Some(Position::at(0)));
}

#[test]
fn i7_a_partition_that_was_sought_is_not_given_back() {
    let (mut rig, _held) = held_by_a_paused_one();
    rig.fetcher.pause(&tp("a", 0), TOKEN);
    rig.silent();
    rig.start_as("a", 0, TOKEN.after_seek(), Position::at(500));
    assert!(!rig.fetcher.rewind(&tp("a", 0), TOKEN, Position::at(0)));
    assert!(!rig.fetcher.rewind(&tp("a", 7), TOKEN, Position::at(0)));
    assert_eq!(rig.fetcher.position(&tp("a", 0)), Some(Position::at(500)));
}

#[test]
fn i11_a_partition_that_an_error_has_stopped_is_given_back_and_stops_again() {
    let mut rig = with_budget(10_000).topic("a", &[1, 2]);
    rig.start("a", 0, 0);
    let asked = rig.ask();
    let records = broken(wide(0, 9_500), 1);
    answer(&mut rig, &asked, vec![data(0, records.clone())]);
    let chunks = taken(&mut rig);
    assert!(matches!(rig.told().as_slice(), [Event::PartitionFailed { .. }]));
    rig.fetcher.pause(&tp("a", 0), TOKEN);
    rig.start("a", 1, 0);
    rig.silent();
    assert_eq!(asked_back(&mut rig), ["a-0"]);
    for chunk in chunks {
        rig.fetcher.release(&chunk.partition, chunk.charge);
    }
    assert!(rig.fetcher.rewind(&tp("a", 0), TOKEN, Position::at(0)));
    assert_eq!(rig.ask().asks(), ["a-1@0"]);
    rig.fetcher.resume(&tp("a", 0), TOKEN);
    let asked = rig.ask();
    assert_eq!((asked.broker, asked.asks()), (BrokerId(1), vec![]), "the session has it still");
    answer(&mut rig, &asked, vec![data(0, records)]);
    assert_eq!(taken(&mut rig).iter().map(offsets).collect::<Vec<_>>(), [[0]]);
    assert!(matches!(rig.told().as_slice(), [Event::PartitionFailed { .. }]));
}

/// The last batch has a magic that does not exist yet.
fn broken(good: Bytes, offset: i64) -> Bytes {
    let mut broken = batch(offset, 1).to_vec();
    broken[16] = 9;
    joined(&[good, Bytes::from(broken)])
}

#[test]
fn j1_an_error_is_reported_again_when_records_before_it_are_read_again() {
    let mut rig = with_budget(10_000).topic("a", &[1, 2]);
    rig.start("a", 0, 0);
    let asked = rig.ask();
    rig.fetcher.pause(&tp("a", 0), TOKEN);
    let records = broken(wide(0, 9_500), 1);
    answer(&mut rig, &asked, vec![data(0, records.clone())]);
    assert!(
        matches!(rig.told().as_slice(), [Event::PartitionFailed { position, .. }] if position.offset == 1)
    );
    rig.start("a", 1, 0);
    assert_eq!(rig.ask().asks(), ["a-1@0"], "it gives way");
    let position = Position::at(0);
    assert_eq!(rig.told(), [Event::Rewound { partition: tp("a", 0), token: TOKEN, position }]);
    rig.fetcher.resume(&tp("a", 0), TOKEN);
    let asked = rig.ask();
    assert_eq!(asked.broker, BrokerId(1));
    answer(&mut rig, &asked, vec![data(0, records)]);
    assert_eq!(taken(&mut rig).iter().map(offsets).collect::<Vec<_>>(), [[0]]);
    assert!(matches!(rig.told().as_slice(), [Event::PartitionFailed { .. }]));
}

fn stopped_by_an_error_at_1() -> Rig {
    let mut rig = with_budget(10_000).topic("a", &[1]);
    rig.start("a", 0, 0);
    let asked = rig.ask();
    answer(&mut rig, &asked, vec![data(0, broken(batch(0, 1), 1))]);
    for chunk in taken(&mut rig) {
        rig.fetcher.release(&chunk.partition, chunk.charge);
    }
    rig
}

#[test]
fn j1_a_partition_that_is_given_back_at_the_error_is_told_of_it_again() {
    let mut rig = stopped_by_an_error_at_1();
    let Some(Event::PartitionFailed { position, .. }) = rig.told().pop() else { panic!("it is stopped") };
    rig.fetcher.pause(&tp("a", 0), TOKEN);
    assert!(rig.fetcher.rewind(&tp("a", 0), TOKEN, position));
    rig.fetcher.resume(&tp("a", 0), TOKEN);
    let asked = rig.ask();
    assert_eq!(asked.asks(), ["a-0@1"]);
    answer(&mut rig, &asked, vec![data(0, broken(Bytes::new(), 1))]);
    assert!(matches!(rig.told().as_slice(), [Event::PartitionFailed { .. }]));
}

/// The application resumes, polls, and pauses again before the engine looks: it has ignored the request, and
/// the engine finds the partition paused, as before.
#[test]
fn i12_a_pause_that_is_said_again_asks_again() {
    let (mut rig, _held) = held_by_a_paused_one();
    rig.fetcher.pause(&tp("a", 0), TOKEN);
    rig.silent();
    assert_eq!(asked_back(&mut rig), ["a-0"]);
    rig.fetcher.pause(&tp("a", 0), TOKEN);
    rig.fetcher.pause(&tp("a", 0), TOKEN);
    rig.silent();
    assert_eq!(asked_back(&mut rig), ["a-0"]);
}

/// It was given back while it was stopped by an error that follows the records to read again.
#[test]
fn l8_stopping_a_rewound_partition_returns_the_position_to_read_from() {
    for (given, stopped) in [(0, 0), (1, 1), (5, 1)] {
        let mut rig = stopped_by_an_error_at_1();
        assert!(rig.fetcher.rewind(&tp("a", 0), TOKEN, Position::at(given)));
        assert_eq!(rig.fetcher.stop(&tp("a", 0)).map(|position| position.offset), Some(stopped));
    }
}

/// Its only broker has died, so `offsets` determines its position: that may take as long as the broker is
/// down.
#[test]
fn i12_a_paused_partition_without_a_leader_gives_its_memory_up() {
    let (mut rig, chunks) = held_by_a_paused_one();
    rig.lead("a", 0, -1, 6);
    rig.show();
    let position = rig.fetcher.position(&tp("a", 0)).unwrap();
    rig.fetcher.pause(&tp("a", 0), TOKEN);
    rig.silent();
    assert_eq!(asked_back(&mut rig), ["a-0"]);
    for chunk in chunks {
        rig.fetcher.release(&chunk.partition, chunk.charge);
    }
    assert!(rig.fetcher.rewind(&tp("a", 0), TOKEN, Position::at(0)));
    assert_eq!(rig.ask().asks(), ["a-1@0"]);
    let start = rig.start_as("a", 0, TOKEN, position);
    assert_eq!(start.position, Position::at(0));
}

#[test]
fn i12_safe3_queued_chunks_of_a_partition_without_a_leader_are_dropped_and_read_again() {
    let mut rig = with_budget(10_000).topic("a", &[1, 2]);
    rig.start_as("a", 0, TOKEN, Position { offset: 0, epoch: Some(5) });
    let asked = rig.ask();
    answer(&mut rig, &asked, vec![data(0, wide(0, 9_500))]);
    rig.lead("a", 0, -1, 6);
    rig.show();
    let position = rig.fetcher.position(&tp("a", 0)).unwrap();
    assert_eq!(rig.told(), [Event::Validate { partition: tp("a", 0), token: TOKEN, position }]);
    rig.fetcher.pause(&tp("a", 0), TOKEN);
    rig.start("a", 1, 0);
    assert_eq!(rig.ask().asks(), ["a-1@0"]);
    let (partition, position) = (tp("a", 0), Position { offset: 0, epoch: Some(5) });
    assert_eq!(rig.told(), [Event::Rewound { partition, token: TOKEN, position }]);
    assert!(!rig.fetcher.has_chunks(&tp("a", 0)));
    let start = rig.start_as("a", 0, TOKEN, Position { offset: 1, epoch: Some(5) });
    assert_eq!(start.position, position, "nothing of it is left out");
}
