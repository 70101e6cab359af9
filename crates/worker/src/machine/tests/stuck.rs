//! A partition that cannot go on leaves room for the others, and takes part again once it can.

use super::*;
use crate::{Transactions, output::Output};

/// Partition 1 is read, and all of it is handled, for twice what the queue holds.
fn the_other_goes_on(world: &mut World) {
    for round in 0..8 {
        assert!(!world.paused.contains(&partition(1)), "it is paused in round {round}");
        world.receive(1, 1000 + round * 25, &[None; 25]);
        // Another poll comes before the first is handled.
        while let Some(offset) = world.offsets().into_iter().find(|offset| *offset >= 1000) {
            world.end(offset, Results::All(HandlerResult::Done));
        }
    }
    assert!(!world.paused.contains(&partition(1)));
}

fn hours(options: Options) -> Options {
    Options { retry: Retry::fixed(Duration::from_secs(3600)).attempts(3), ..options }
}

/// The lane takes more than half of the queue.
#[test]
fn a_key_that_is_tried_for_hours_stops_no_other_partition() {
    for (queue, queue_bytes) in [(100, usize::MAX), (10_000, 1000)] {
        for order in [Order::Key, Order::Partition] {
            let mut world = World::new(hours(Options { queue, queue_bytes, order, ..options() }));
            world.assign([0, 1]);
            world.receive(0, 0, &[A; 60]);
            world.fail(0, Again);
            world.receive(1, 900, &[None; 20]);
            world.receive(1, 920, &[None; 20]);
            while let Some(offset) = world.offsets().first().copied() {
                world.done(offset);
            }
            the_other_goes_on(&mut world);
            assert_eq!(world.paused.iter().collect::<Vec<_>>(), [&partition(0)]);
            world.pass(Duration::from_secs(3600));
            (0..60).for_each(|offset| world.done(offset));
            assert!(world.paused.is_empty(), "{:?}", world.paused);
            assert_eq!(world.machine.metrics().queued, 0);
        }
    }
}

/// As much as the queue is held beside it, and no more.
#[test]
fn what_cannot_go_on_is_held_up_to_a_limit() {
    let mut world = World::new(hours(Options { concurrency: 100, queue: 100, ..options() }));
    world.assign(0..50);
    for index in 0..50 {
        if !world.paused.contains(&partition(index)) {
            world.receive(index, 0, &[A; 25]);
            world.fail(0, Again);
        }
    }
    let queued = world.machine.metrics().queued;
    assert!((180..=225).contains(&queued), "{queued}");
    assert_eq!(world.paused.len(), 50);
    world.pass(Duration::from_secs(3600));
    while let Some((records, _)) = world.running.first() {
        let Rec { partition: index, offset, .. } = records[0].record;
        let at = world.running.iter().position(|(records, _)| records[0].record.partition == index);
        let (_, ticket) = world.running.remove(at.unwrap());
        assert!(offset < 25);
        world.machine.job_ended(world.now, 0, &ticket, &Results::All(HandlerResult::Done), Vec::new());
        world.drain();
    }
    assert!(world.paused.is_empty(), "{:?}", world.paused);
    assert_eq!(world.machine.metrics().queued, 0);
}

/// Ends all handlers but that of offset 0. Each has sent a record.
fn done_but_first(world: &mut World) {
    while let Some(at) = world.running.iter().position(|(records, _)| records[0].record.offset > 0) {
        let (_, ticket) = world.running.remove(at);
        let sent = Output {
            topic: "out".to_owned(),
            partition: None,
            key: None,
            value: None,
            headers: Vec::new(),
            timestamp: None,
            first: None,
        };
        let results = Results::All(HandlerResult::Done);
        world.machine.job_ended(world.now, 0, &ticket, &results, vec![vec![sent]]);
        world.drain();
    }
}

/// Results of a transactional worker wait for the record before them.
#[test]
fn a_record_that_holds_up_the_results_of_its_partition_stops_no_other() {
    let transactions = Some(Transactions::by("a"));
    let options = Options { transactions, metadata_bytes: 0, order: Order::Unordered, ..options() };
    let mut world = World::with(hours(options), 1, true);
    world.assign([0, 1]);
    world.receive(0, 0, &[None]);
    world.fail(0, Again);
    for poll in 0..4 {
        if !world.paused.contains(&partition(0)) {
            world.receive(0, 1 + poll * 25, &[None; 25]);
            done_but_first(&mut world);
        }
    }
    assert!(world.machine.metrics().queued > 75);
    for round in 0..8 {
        assert!(!world.paused.contains(&partition(1)), "it is paused in round {round}");
        world.receive(1, 1000 + round * 25, &[None; 25]);
        done_but_first(&mut world);
        commit(&mut world);
    }
    assert_eq!(world.paused.iter().collect::<Vec<_>>(), [&partition(0)]);
    world.pass(Duration::from_secs(3600));
    world.done(0);
    commit(&mut world);
    assert!(world.paused.is_empty(), "{:?}", world.paused);
    assert_eq!(world.machine.metrics().queued, 0);
}

/// The record is large, and alone in its lane.
#[test]
fn a_large_record_that_holds_up_the_results_of_its_partition_stops_no_other() {
    let transactions = Some(Transactions::by("a"));
    let options = Options { transactions, metadata_bytes: 0, order: Order::Unordered, ..options() };
    let mut world = World::with(hours(Options { queue_bytes: 10_000, ..options }), 1, true);
    world.assign([0, 1]);
    world.receive_items(0, vec![Item { bytes: 6000, ..item(0, 0, None) }], 1);
    world.fail(0, Again);
    let mut next = 1;
    for round in 0..20 {
        if !world.paused.contains(&partition(0)) {
            world.receive(0, next, &[None; 25]);
            next += 25;
        }
        assert!(!world.paused.contains(&partition(1)), "it is paused in round {round}");
        world.receive(1, 1000 + round * 25, &[None; 25]);
        done_but_first(&mut world);
        commit(&mut world);
    }
    assert!(world.machine.metrics().queued <= 225, "{}", world.machine.metrics().queued);
    world.pass(Duration::from_secs(3600));
    world.done(0);
    commit(&mut world);
    assert!(world.paused.is_empty(), "{:?}", world.paused);
    assert_eq!(world.machine.metrics().queued, 0);
}

fn commit(world: &mut World) {
    assert!(world.machine.begin_transaction(world.now));
    let commits = world.machine.take_commit(world.now, None);
    world.machine.send_effects(&commits);
    world.machine.transaction_ended(world.now, &commits, true, &BTreeMap::new());
    world.drain();
}

/// Nothing of its partition begins, in an assignment that comes after that.
#[test]
fn a_cancelled_handler_that_does_not_end_stops_no_other_partition() {
    let mut world = World::new(Options { order: Order::Unordered, ..options() });
    world.holds_ends = true;
    world.assign([0, 1]);
    world.receive(0, 0, &[None]);
    world.machine.rewound(&partition(0), 0);
    world.drain();
    world.machine.removed(&[partition(0)]);
    world.assign([0]);
    for poll in 0..4 {
        if !world.paused.contains(&partition(0)) {
            world.receive(0, poll * 25, &[None; 25]);
        }
    }
    the_other_goes_on(&mut world);
    assert_eq!(world.paused.iter().collect::<Vec<_>>(), [&partition(0)]);
    world.holds_ends = false;
    world.end_cancelled();
    while let Some(offset) = world.offsets().first().copied() {
        world.done(offset);
    }
    assert!(world.paused.is_empty(), "{:?}", world.paused);
}

/// The others come when the room is taken already, and the shares are smaller from then on.
#[test]
fn partitions_that_come_later_go_on_too() {
    let mut world = World::new(hours(options()));
    world.assign([0, 2]);
    for (index, count) in [(0, 40), (2, 36)] {
        world.receive(index, 0, &vec![A; count]);
        world.end(0, Results::All(failure(Again)));
    }
    world.receive(2, 36, &[A]);
    assert_eq!(world.paused.len(), 2);
    world.assign([1, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(world.paused.len(), 2, "those that cannot go on");
    the_other_goes_on(&mut world);
}

/// What is left of a lane after the log was cut is more than half of the queue.
#[test]
fn a_key_that_is_tried_for_hours_stops_nobody_after_a_cut_either() {
    let mut world = World::new(hours(options()));
    world.assign([0, 1]);
    world.receive(0, 0, &[A; 60]);
    world.fail(0, Again);
    world.machine.rewound(&partition(0), 59);
    world.drain();
    world.receive(1, 900, &[None; 25]);
    world.receive(1, 925, &[None; 25]);
    while let Some(offset) = world.offsets().into_iter().find(|offset| *offset >= 900) {
        world.done(offset);
    }
    the_other_goes_on(&mut world);
}

/// Nothing waits for it, so that its partition goes on: it is the only one of its lane.
#[test]
fn a_large_record_that_is_tried_for_hours_does_not_stop_its_own_partition() {
    let mut world = World::new(hours(Options { queue_bytes: 640, order: Order::Unordered, ..options() }));
    world.assign(0..64);
    world.receive(0, 0, &[None]);
    world.fail(0, Again);
    assert!(world.paused.is_empty(), "one of 64 may have ten bytes");
    world.receive(0, 1, &[None]);
    world.done(1);
    assert!(world.paused.is_empty());
}

/// With more bytes than half of the queue, few records, and more records of other keys beside them.
#[test]
fn a_key_with_large_records_that_is_tried_for_hours_stops_no_other_partition() {
    let large = |offset, key| Item { bytes: 1000, ..item(0, offset, key) };
    for count in [1, 40] {
        let size = if count == 1 { 40 } else { 1 };
        let mut world = World::new(hours(Options { queue: 1000, queue_bytes: 64_000, ..options() }));
        world.assign([0, 1]);
        let items: Vec<_> = (0..count).map(|nth| Item { bytes: size * 1000, ..large(nth, A) }).collect();
        world.receive_items(0, items, count);
        world.fail(0, Again);
        let first = i64::from(count == 1) + count;
        world.receive(0, first, &[None; 60]);
        let many = |first: i64| {
            (first..first + 10)
                .map(|offset| Item { bytes: 1000, ..item(1, offset, None) })
                .collect::<Vec<_>>()
        };
        world.receive_items(1, many(900), 910);
        world.receive_items(1, many(910), 920);
        world.receive_items(1, many(920), 930);
        while let Some(offset) = world.offsets().first().copied() {
            world.done(offset);
        }
        for round in 0..8 {
            assert!(!world.paused.contains(&partition(1)), "{count}: it is paused in round {round}");
            let first = 1000 + round * 10;
            world.receive_items(1, many(first), first + 10);
            while let Some(offset) = world.offsets().first().copied() {
                world.done(offset);
            }
        }
        assert!(!world.paused.contains(&partition(1)));
        world.pass(Duration::from_secs(3600));
        while let Some(offset) = world.offsets().first().copied() {
            world.done(offset);
        }
        assert!(world.paused.is_empty(), "{:?}", world.paused);
        assert_eq!((world.machine.metrics().queued, world.machine.metrics().queued_bytes), (0, 0));
    }
}

/// It begins again where it was committed, and is said to be paused until it is there: nothing of it is handed out before.
#[test]
fn a_partition_that_was_set_aside_and_begins_again_stays_paused() {
    let transactions = Some(Transactions::by("a"));
    let options = Options { transactions, metadata_bytes: 0, ..options() };
    let mut world = World::with(hours(options), 1, true);
    world.assign([0, 1]);
    world.receive(0, 0, &[B]);
    world.done(0);
    world.receive(0, 1, &[A; 60]);
    world.fail(1, Again);
    world.receive(1, 900, &[None; 20]);
    assert!(world.paused.contains(&partition(0)));
    assert!(world.machine.begin_transaction(world.now));
    let commits = world.machine.take_commit(world.now, None);
    assert_eq!(world.machine.start_over(&commits).len(), commits.len());
    world.drain();
    assert!(world.paused.contains(&partition(0)));
}
