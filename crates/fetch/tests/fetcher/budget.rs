//! Tests of how much is requested and held: the budget, its shares, and what must cost nothing.

use std::time::{Duration, Instant};

use offtake_fetch::{Charge, Config, Event};
use offtake_machine::{BrokerId, Position};
use offtake_wire::records::Crc;

use crate::rig::{Asked, Rig, TOKEN, batch, build, data, epoch, nothing, response, tp};

fn small(budget: usize) -> Config {
    Config { budget, max_partition_bytes: 10_000, ..Default::default() }
}

/// A batch of exactly one record and at least `size` bytes.
fn wide(base: i64, size: usize) -> bytes::Bytes {
    let value = vec![b'x'; size];
    build(base, 0, |mut builder| {
        builder.push(1_000, None, Some(&value), &[]);
        builder
    })
}

#[test]
fn p1_ten_thousand_partitions_stay_inside_one_budget() {
    let budget = 1 << 20;
    let mut rig = Rig::with(Config { budget, ..Default::default() }).topic("a", &vec![1; 10_000]);
    for partition in 0..10_000 {
        rig.start("a", partition, 0);
    }
    let mut largest = 0;
    for _ in 0..100 {
        let Some(asked) = rig.sent() else { break };
        let allowed = usize::try_from(asked.request.max_bytes).unwrap();
        assert!(rig.fetcher.memory_held() + allowed <= budget);
        // The broker sends as much as permitted, from any of the requested partitions.
        let mut sent = 0;
        let partitions = asked.request.topics.iter().flat_map(|topic| &topic.partitions);
        let batches =
            partitions.map(|p| data(p.partition, wide(p.fetch_offset, 20_000))).take_while(|data| {
                sent += data.records.as_ref().unwrap().len();
                sent <= allowed
            });
        let answer = response(7, vec![("a", batches.collect())]);
        rig.answer(&asked, answer);
        largest = largest.max(rig.fetcher.memory_held());
    }
    assert!(largest > budget / 2 && largest <= budget, "{largest}");
    rig.silent();
}

#[test]
fn p1_idle_partitions_cost_nothing_per_request() {
    let mut rig = Rig::new().topic("a", &vec![1; 10_000]);
    for partition in 0..10_000 {
        rig.start("a", partition, 0);
    }
    let asked = rig.ask();
    rig.answer_late(&asked, response(7, vec![("a", (0..10_000).map(nothing).collect())]));
    let began: Instant = epoch();
    for _ in 0..10_000 {
        let asked = rig.ask();
        assert!(asked.request.topics.is_empty());
        rig.answer_late(&asked, response(7, vec![]));
    }
    assert!(began.elapsed() < Duration::from_secs(5), "10 000 idle rounds took {:?}", began.elapsed());
}

#[test]
fn p2_a_slow_reader_stops_the_fetching_and_each_release_lets_it_go_on() {
    let mut rig = Rig::with(small(40_000)).topic("a", &[1]);
    rig.start("a", 0, 0);
    let mut next = 0;
    while let Some(asked) = rig.sent() {
        rig.answer(&asked, response(7, vec![("a", vec![data(0, wide(next, 7_000))])]));
        next += 1;
    }
    assert!((30_000..=50_000).contains(&rig.fetcher.memory_held()), "{}", rig.fetcher.memory_held());
    let wakes = rig.poll_timeout();
    assert_eq!(wakes, None, "room is made by the reader, not by a timer");
    assert!(rig.fetcher.waits_for_memory());
    let taken: Vec<_> = std::iter::from_fn(|| rig.fetcher.take()).collect();
    rig.silent();
    let mut taken = taken.into_iter();
    for chunk in taken.by_ref().take(2) {
        rig.fetcher.release(&chunk.partition, chunk.charge);
    }
    assert_eq!(rig.ask().asks(), [format!("a-0@{next}")]);
    assert!(!rig.fetcher.waits_for_memory(), "a request is in flight");
    for chunk in taken {
        rig.fetcher.release(&chunk.partition, chunk.charge);
    }
    assert_eq!(rig.fetcher.memory_held(), 0);
    rig.fetcher.release(&tp("a", 0), Charge::unaccounted(12_345));
    assert_eq!(rig.fetcher.memory_held(), 0, "more than was lent cannot come back");
}

#[test]
fn safe15_a_batch_larger_than_the_whole_budget_passes_once_and_alone() {
    let mut rig = Rig::with(small(1000)).topic("a", &[1]);
    rig.start("a", 0, 0);
    let asked = rig.ask();
    rig.answer(&asked, response(7, vec![("a", vec![data(0, wide(0, 50_000))])]));
    rig.silent();
    let chunk = rig.fetcher.take().expect("KIP-74: it is delivered (I10)");
    assert_eq!(chunk.batches.read(Crc::Check).count(), 1);
    rig.silent();
    rig.fetcher.release(&tp("a", 0), chunk.charge);
    assert_eq!(rig.ask().asks(), ["a-0@1"]);
}

#[test]
fn prefetch_goes_on_while_there_is_room() {
    let mut rig = Rig::new().topic("a", &[1]);
    rig.start("a", 0, 0);
    for round in 0..50 {
        let asked = rig.ask();
        rig.answer(&asked, response(7, vec![("a", vec![data(0, batch(round * 5, 5))])]));
    }
    assert_eq!(rig.drain().len(), 50);
}

#[test]
fn a_partition_over_its_share_is_left_out_and_the_others_flow() {
    let mut rig = Rig::with(small(40_000)).topic("a", &[1, 1]);
    rig.start("a", 0, 0);
    rig.start("a", 1, 0);
    let asked = rig.ask();
    rig.answer_late(&asked, response(7, vec![("a", vec![data(0, wide(0, 25_000)), nothing(1)])]));
    let asked = rig.ask();
    assert_eq!(asked.forgets(), ["a-0"]);
    rig.answer(&asked, response(7, vec![("a", vec![data(1, batch(0, 1))])]));
    rig.drain();
    assert_eq!(rig.ask().asks(), ["a-0@1", "a-1@1"]);
}

#[test]
fn the_first_answers_are_small_so_that_the_first_records_come_early() {
    let mut rig = Rig::new().topic("a", &[1; 20]);
    (0..20).for_each(|partition| rig.start("a", partition, 0));
    let mut asked = rig.ask();
    assert_eq!(asked.request.max_bytes, 64 << 10);
    rig.answer_late(&asked, response(7, vec![("a", (0..20).map(nothing).collect())]));
    for (offset, kibibytes) in [(0, 64), (1, 256), (2, 1024), (3, 4096), (4, 16384), (5, 16384)] {
        asked = rig.ask();
        assert_eq!(asked.request.max_bytes >> 10, kibibytes);
        rig.answer(&asked, response(7, vec![("a", vec![data(0, batch(offset, 1))])]));
        rig.drain();
    }
}

/// Two partitions of one broker: the first is over its share, with this many bytes, and the other has
/// nothing.
fn one_left_out(config: Config) -> (Rig, Charge) {
    let mut rig = Rig::with(config).topic("a", &[1, 1]);
    rig.start("a", 0, 0);
    rig.start("a", 1, 0);
    let asked = rig.ask();
    rig.answer(&asked, response(7, vec![("a", vec![data(0, wide(0, 25_000)), nothing(1)])]));
    let charge = rig.fetcher.take().unwrap().charge;
    (rig, charge)
}

/// The other is requested, still has nothing, and is not requested again before this pause is over.
fn rests_for(rig: &mut Rig, pause: u64) -> Asked {
    let asked = rig.ask();
    rig.answer(&asked, response(7, vec![]));
    rig.silent();
    rig.pass_ms(pause - 1);
    rig.silent();
    rig.pass_ms(1);
    asked
}

#[test]
fn i12_a_partition_left_out_for_memory_does_not_wait_for_the_long_poll_of_others() {
    let (mut rig, charge) = one_left_out(small(40_000));
    // The other one is requested without a long poll, less and less often.
    for (nth, pause) in [20, 40, 80, 160, 320, 500, 500].into_iter().enumerate() {
        let asked = rests_for(&mut rig, pause);
        let forgets: &[&str] = if nth == 0 { &["a-0"] } else { &[] };
        assert_eq!(asked.forgets(), forgets);
        assert_eq!(asked.request.max_wait_ms, 1);
    }
    let asked = rig.ask();
    rig.answer(&asked, response(7, vec![]));
    rig.silent();

    // As soon as there is memory again the partition is requested, and with no partition left out the broker
    // may wait.
    assert!(rig.fetcher.waits_for_memory());
    rig.fetcher.release(&tp("a", 0), charge);
    let asked = rig.ask();
    assert!(!rig.fetcher.waits_for_memory());
    assert_eq!((asked.asks(), asked.request.max_wait_ms), (vec!["a-0@1".to_owned()], 500));
    rig.answer_late(&asked, response(7, vec![]));
    rig.ask();
}

#[test]
fn safe15_i12_a_left_out_partition_causes_no_busy_loop_however_short_the_wait() {
    let (mut rig, charge) = one_left_out(Config { max_wait: Duration::ZERO, ..small(40_000) });
    for pause in [20, 40] {
        rests_for(&mut rig, pause);
    }
    let asked = rig.ask();
    rig.answer(&asked, response(7, vec![]));
    rig.fetcher.release(&tp("a", 0), charge);
    assert_eq!(rig.ask().asks(), ["a-0@1"]);
}

#[test]
fn i12_a_stopped_partition_that_was_left_out_shortens_no_wait() {
    let mut rig = Rig::with(small(40_000)).topic("a", &[1, 1]);
    rig.start("a", 0, 0);
    rig.start("a", 1, 0);
    let asked = rig.ask();
    rig.answer(&asked, response(7, vec![("a", vec![data(0, wide(0, 25_000))])]));
    rig.fetcher.stop(&tp("a", 0));
    assert_eq!(rig.ask().request.max_wait_ms, 500);
}

#[test]
fn p1_one_partition_that_has_much_among_many_that_have_nothing_is_read_ahead() {
    let partitions = 1000;
    let mut rig = Rig::with(Config { budget: 1_000_000, max_partition_bytes: 10_000, ..Config::default() })
        .topic("a", &vec![1; partitions]);
    for partition in 0..i32::try_from(partitions).unwrap() {
        rig.start("a", partition, 0);
    }
    // Ten times the thousandth part of the budget in each response, and nothing is read yet.
    let mut held = 0;
    for offset in 0..4 {
        let asked = rig.ask();
        let wait = if offset == 0 { 1 } else { 500 }; // the first waits for nothing
        assert_eq!(asked.request.max_wait_ms, wait, "not left out with {held}");
        rig.answer(&asked, response(7, vec![("a", vec![data(0, wide(offset, 10_000))])]));
        held = rig.fetcher.memory_held();
    }
    assert_eq!(rig.ask().request.max_wait_ms, 1, "left out with {held}");
}

#[test]
fn i12_a_paused_partition_that_holds_the_budget_gives_way_and_loses_nothing() {
    let mut rig = Rig::with(small(40_000)).topic("a", &[1, 2, 3]);
    rig.start("a", 0, 0);
    rig.start("a", 1, 0);
    let (mut under_way, other) = (rig.ask(), rig.ask());
    for offset in [0, 1] {
        rig.answer_in(&under_way, response(7, vec![("a", vec![data(0, wide(offset, 7_000))])]), 11_000);
        under_way = rig.ask();
    }
    rig.fetcher.pause(&tp("a", 0), TOKEN);
    rig.answer(&other, response(8, vec![("a", vec![data(1, wide(0, 10_000))])]));
    rig.start("a", 2, 0);
    assert_eq!(rig.ask().broker, BrokerId(2));
    let asked = rig.ask();
    assert_eq!(asked.broker, BrokerId(3));
    let position = rig.fetcher.position(&tp("a", 0)).unwrap().offset;
    assert!(position < 2, "something had to give way");
    rig.answer(&under_way, response(7, vec![("a", vec![data(0, wide(2, 7_000))])]));
    assert_eq!(rig.fetcher.position(&tp("a", 0)).unwrap().offset, position, "I7: not what is missing now");
    rig.answer(&asked, response(9, vec![("a", vec![data(2, batch(0, 1))])]));
    assert_eq!(rig.drain(), [("a-1".to_owned(), vec![0]), ("a-2".to_owned(), vec![0])]);
    rig.fetcher.resume(&tp("a", 0), TOKEN);
    let seen: Vec<i64> = rig.drain().into_iter().flat_map(|(_, offsets)| offsets).collect();
    assert_eq!(seen, (0..position).collect::<Vec<_>>());
    let asks: Vec<_> = std::iter::from_fn(|| rig.sent()).flat_map(|asked| asked.asks()).collect();
    assert!(asks.contains(&format!("a-0@{position}")), "the rest is read again: {asks:?}");
}

/// The broker of another partition fails while paused partitions hold the budget: when its pause is over, they are to give way.
#[test]
fn i12_the_end_of_a_brokers_pause_is_a_time_to_wake_while_paused_partitions_hold_the_budget() {
    let mut rig = Rig::with(Config { max_partition_bytes: 100_000, ..small(10_000) }).topic("a", &[1, 2]);
    rig.start("a", 0, 0);
    rig.start("a", 1, 0);
    let (first, other) = (rig.ask(), rig.ask());
    assert_eq!((first.broker, other.broker), (BrokerId(1), BrokerId(2)));
    rig.answer(&first, response(7, vec![("a", vec![data(0, wide(0, 9_500))])]));
    let _taken = rig.fetcher.take().unwrap();
    rig.fail(&other);
    rig.fetcher.pause(&tp("a", 0), TOKEN);
    rig.silent();
    rig.told();
    let wakes = rig.fetcher.poll_timeout();
    assert!(wakes.is_some_and(|at| at <= rig.now + Duration::from_secs(2)), "nothing wakes it: {wakes:?}");
    rig.pass(Duration::from_secs(2));
    rig.silent();
    assert!(rig.told().iter().any(|event| matches!(event, Event::Reclaim { .. })));
    assert!(rig.fetcher.poll_timeout().is_none_or(|at| at > rig.now), "it has been asked for once");
}

#[test]
fn i12_a_partition_that_is_being_validated_gives_way_and_loses_nothing() {
    let mut rig = Rig::with(small(40_000)).topic("a", &[1, 2, 3]);
    rig.start("a", 0, 0);
    rig.start("a", 1, 0);
    let (mut first, other) = (rig.ask(), rig.ask());
    for offset in [0, 1] {
        rig.answer_in(&first, response(7, vec![("a", vec![data(0, wide(offset, 7_000))])]), 11_000);
        first = rig.ask();
    }
    rig.fetcher.pause(&tp("a", 0), TOKEN);
    let position = rig.fetcher.position(&tp("a", 0)).unwrap();
    rig.lead("a", 0, 1, 6);
    rig.show();
    assert_eq!(rig.told().len(), 1, "it is to be validated");
    rig.answer(&other, response(8, vec![("a", vec![data(1, wide(0, 10_000))])]));
    rig.start("a", 2, 0);
    assert!(rig.sent().is_some(), "there is room for the others");
    let dropped = rig.told().into_iter().filter_map(|event| match event {
        Event::Rewound { partition, position, .. } => Some((partition, position.offset)),
        _ => None,
    });
    assert_eq!(dropped.collect::<Vec<_>>(), [(tp("a", 0), 1)], "no more than is wanted");
    let start = rig.start_as("a", 0, TOKEN, position);
    assert_eq!(start.position.offset, 1);
    rig.fetcher.resume(&tp("a", 0), TOKEN);
    let seen = rig.drain().into_iter().filter(|(tp, _)| tp == "a-0").flat_map(|(_, offsets)| offsets);
    assert_eq!(seen.collect::<Vec<_>>(), [0]);
}

#[test]
fn i12_a_broker_that_joins_while_another_is_silent_finds_room() {
    let greedy = Config { budget: 40_000, max_partition_bytes: 40_000, ..Default::default() };
    let mut rig = Rig::with(greedy).topic("a", &[1, 2, 3]);
    for (partition, broker) in [(0, 1), (1, 2), (2, 3)] {
        rig.start("a", partition, 0);
        assert_eq!(rig.ask().broker, BrokerId(broker));
    }
}

#[test]
fn i12_when_there_is_room_for_one_request_brokers_take_turns() {
    let greedy = Config { budget: 40_000, max_partition_bytes: 40_000, ..Default::default() };
    let mut rig = Rig::with(greedy).topic("a", &[1, 1, 2]);
    rig.start("a", 0, 0);
    let asked = rig.ask();
    rig.answer(&asked, response(7, vec![("a", vec![data(0, wide(0, 32_000))])]));
    let held = rig.fetcher.take().unwrap();
    rig.fetcher.stop(&tp("a", 0));
    rig.start("a", 1, 0);
    rig.start("a", 2, 0);
    let mut turns = Vec::new();
    for _ in 0..4 {
        let asked = rig.ask();
        rig.silent();
        turns.push(asked.broker.0);
        let session = if asked.broker == BrokerId(1) { 7 } else { 8 };
        rig.answer_late(&asked, response(session, vec![("a", vec![nothing(asked.broker.0)])]));
    }
    assert_eq!(turns, [2, 1, 2, 1]);
    rig.fetcher.release(&held.partition, held.charge);
    assert!(rig.sent().is_some() && rig.sent().is_some(), "both at once");
}

#[test]
fn p4_nothing_to_fetch_is_nothing_to_do() {
    let mut rig = Rig::new().topic("a", &[1]);
    rig.silent();
    assert_eq!((rig.fetcher.poll_timeout(), rig.events()), (None, vec![]));
    rig.start_as("a", 0, TOKEN, Position::at(0));
    rig.fetcher.stop(&tp("a", 0));
    rig.silent();
    assert_eq!((rig.fetcher.poll_timeout(), rig.events()), (None, vec![]));
}

#[test]
fn sizes_and_waits_that_no_broker_can_work_with_are_raised_or_lowered() {
    let odd = Config {
        min_bytes: 0,
        max_bytes: -1,
        max_partition_bytes: 0,
        max_wait: Duration::ZERO,
        budget: 0,
        request_timeout: Duration::MAX,
        replica_lease: Duration::MAX,
        ..Default::default()
    };
    let mut rig = Rig::with(odd).topic("a", &[1]);
    rig.start("a", 0, 0);
    let asked = rig.ask();
    let request = &asked.request;
    assert_eq!((request.min_bytes, request.max_bytes, request.max_wait_ms), (1, 1, 1));
    assert_eq!(request.topics[0].partitions[0].partition_max_bytes, 1);
    rig.answer(&asked, response(7, vec![("a", vec![data(0, batch(0, 5))])]));
    assert_eq!(rig.drain().len(), 1);
}
