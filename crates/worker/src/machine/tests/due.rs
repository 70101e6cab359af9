//! Records of retry topics that are not due yet.

use super::*;

fn world() -> World {
    let retry = Retry::never().then_topics([("orders", Duration::from_secs(60))]);
    let mut world = World::new(Options { retry, order: Order::Unordered, ..options() });
    world.assign([0]);
    world
}

/// Receives records of these offsets, each due in this many seconds from now.
fn receive(world: &mut World, these: &[(i64, u64)]) {
    let now = world.now;
    let due =
        |seconds: u64| (seconds > 0).then(|| Due { at: now + Duration::from_secs(seconds), is_ahead: false });
    let items = these.iter().map(|(offset, seconds)| Item { due: due(*seconds), ..item(0, *offset, None) });
    let next = these.last().map_or(0, |(offset, _)| offset + 1);
    world.receive_items(0, items.collect(), next);
}

fn sought(world: &mut World, is_done: bool) -> i64 {
    let (seek, to) = world.seeks.remove(0);
    world.machine.seek_ended(seek, is_done);
    world.drain();
    to.offset
}

#[test]
fn due_records_are_handled_and_reading_resumes_when_the_rest_is_due() {
    let mut world = world();
    receive(&mut world, &[(0, 0), (1, 0), (2, 30), (3, 31)]);
    assert_eq!(world.offsets(), [0, 1]);
    assert!(world.paused.contains(&partition(0)));
    receive(&mut world, &[(4, 31)]); // a second part of the same poll
    assert_eq!(sought(&mut world, true), 2);
    world.done(0);
    world.done(1);
    assert_eq!(world.commit(), [(0, 2, vec![])]);
    assert_eq!(world.machine.metrics().queued, 0, "what waits is not kept");
    world.pass(Duration::from_secs(29));
    assert!(world.paused.contains(&partition(0)));
    world.pass(Duration::from_secs(1));
    assert!(world.paused.is_empty());
    receive(&mut world, &[(2, 0), (3, 1)]);
    assert_eq!(world.offsets(), [2]);
    assert_eq!(world.seeks.len(), 1);
}

/// While the record waits, the log may be cut before it, and go on with other records; its leader epoch reveals that.
#[test]
fn the_consumer_is_sent_back_with_the_leader_epoch_of_the_record() {
    let mut world = world();
    let due = Some(Due { at: world.now + Duration::from_secs(60), is_ahead: false });
    let items = [(99, 3, None), (100, 5, due)];
    let items = items.map(|(offset, epoch, due)| Item { epoch: Some(epoch), due, ..item(0, offset, None) });
    world.receive_items(0, items.into(), 101);
    assert_eq!(world.seeks[0].1, Position { offset: 100, epoch: Some(5) });
    world.machine.rewound(&partition(0), 50);
    world.drain();
    assert_eq!(world.seeks[1].1, Position::at(50), "of which nothing has come");
}

/// Nothing is read before the consumer has gone back: the records in between would be lost.
#[test]
fn a_seek_that_fails_or_is_late_is_waited_for() {
    let mut world = world();
    receive(&mut world, &[(0, 1), (1, 1)]);
    world.pass(Duration::from_secs(5));
    assert!(world.paused.contains(&partition(0)), "it is on its way");
    assert_eq!(sought(&mut world, false), 0);
    world.pass(Duration::from_secs(1));
    assert_eq!(sought(&mut world, true), 0, "it is asked for again");
    assert!(world.paused.contains(&partition(0)));
    world.pass(Duration::from_secs(1));
    assert!(world.paused.is_empty());
    receive(&mut world, &[(0, 0), (1, 0)]);
    assert_eq!(world.offsets(), [0, 1]);
}

#[test]
fn a_wait_ends_with_its_assignment_and_with_its_log() {
    let mut world = world();
    receive(&mut world, &[(5, 30)]);
    world.machine.removed(&[partition(0)]);
    world.drain();
    assert!(world.machine.poll_timeout().is_none_or(|at| at < world.now + Duration::from_secs(30)));
    world.assign([0]);
    assert_eq!(sought(&mut world, true), 5, "which is of no account");
    receive(&mut world, &[(5, 30)]);
    sought(&mut world, true);
    world.machine.rewound(&partition(0), 3);
    world.drain();
    assert!(world.paused.is_empty(), "what is there now says itself whether it is due");
    receive(&mut world, &[(3, 0)]);
    assert_eq!(world.offsets(), [3]);
}

/// A seek carried out after the new log has begun would skip its first records, which would never be handled.
#[test]
fn b3_a_seek_into_a_log_that_was_replaced_is_not_begun_or_is_followed_by_one_to_where_the_new_log_begins() {
    let mut world = world();
    receive(&mut world, &[(5, 30)]);
    let old = world.seeks[0].0;
    assert!(world.machine.wants_seek(old));
    world.machine.log_replaced(&partition(0), 0);
    world.drain();
    assert!(!world.machine.wants_seek(old), "where it was not begun yet");
    assert_eq!(sought(&mut world, true), 5, "where it was");
    world.pass(Duration::from_secs(30));
    assert!(world.paused.contains(&partition(0)), "nothing is read on from there");
    assert_eq!(sought(&mut world, true), 0);
    world.pass(Duration::from_secs(1));
    assert!(world.paused.is_empty());
    receive(&mut world, &[(0, 0), (1, 0)]);
    assert_eq!(world.offsets(), [0, 1]);
}

/// Its timestamp is ahead of the clock: each time it is read, it appears to have the whole delay to wait.
#[test]
fn a_record_waits_once_whatever_it_says_of_itself() {
    let mut world = world();
    receive(&mut world, &[(0, 60), (1, 60)]);
    assert_eq!(sought(&mut world, true), 0);
    world.pass(Duration::from_secs(60));
    receive(&mut world, &[(0, 60), (1, 60)]);
    assert_eq!(world.offsets(), [0]);
    assert_eq!(sought(&mut world, true), 1, "the next one waits in its turn");
    world.machine.rewound(&partition(0), 0);
    world.drain();
    receive(&mut world, &[(0, 60)]);
    assert!(world.offsets().is_empty(), "another record of the same offset has not waited");
}

/// The log was cut while a seek was in flight. The consumer has to seek once more, and nothing is read before that seek has ended
/// too. Otherwise records delivered between the two would be delivered again.
#[test]
fn a_partition_that_is_to_go_elsewhere_reads_on_when_it_has_gone_there() {
    for to in [0, 1] {
        let mut world = world();
        receive(&mut world, &[(0, 0), (1, 1), (2, 1)]);
        world.machine.rewound(&partition(0), to);
        world.drain();
        assert_eq!(world.seeks.iter().map(|(_, at)| at.offset).collect::<Vec<_>>(), [1, to]);
        assert_eq!(sought(&mut world, true), 1);
        world.pass(Duration::from_secs(1));
        assert!(world.paused.contains(&partition(0)), "the second one is on its way");
        assert_eq!(sought(&mut world, true), to);
        world.pass(Duration::from_secs(1));
        assert!(world.paused.is_empty());
    }
}

/// Receives records of these offsets, each with the seconds of a clock that stays ahead: each time one is read, it appears to
/// have the whole delay to wait.
fn receive_ahead(world: &mut World, these: &[(i64, i64)]) {
    let due = Some(Due { at: world.now + Duration::from_secs(60), is_ahead: true });
    let items =
        these.iter().map(|(offset, second)| Item { due, timestamp: second * 1000, ..item(0, *offset, None) });
    world.receive_items(0, items.collect(), these.last().map_or(0, |(offset, _)| offset + 1));
}

#[test]
fn records_of_a_fast_clock_wait_one_delay_together() {
    let mut world = world();
    let these = [(0, 5000), (1, 5000), (2, 4999), (3, 5010), (4, 5012), (5, 9000)];
    receive_ahead(&mut world, &these);
    assert_eq!(sought(&mut world, true), 0);
    world.pass(Duration::from_secs(59));
    assert!(world.paused.contains(&partition(0)));
    for (seconds, handled) in [(1, 0..3), (10, 3..4), (2, 4..5)] {
        world.pass(Duration::from_secs(seconds));
        assert!(world.paused.is_empty(), "{handled:?} is due");
        receive_ahead(&mut world, &these[handled.start..]);
        assert_eq!(world.offsets(), handled.clone().map(|nth| these[nth].0).collect::<Vec<_>>());
        handled.clone().for_each(|nth| world.done(these[nth].0));
        assert_eq!(sought(&mut world, true), these[handled.end].0);
    }
    world.pass(Duration::from_secs(60));
    receive_ahead(&mut world, &these[5..]);
    assert_eq!(world.offsets(), [5], "none waits longer than a delay from when it was read");
}

/// A record in between, written by a correct clock, waits as its own timestamp says. Another log says nothing about this one.
#[test]
fn a_record_of_a_correct_clock_waits_by_its_own_timestamp() {
    let mut world = world();
    receive_ahead(&mut world, &[(0, 5000)]);
    sought(&mut world, true);
    world.pass(Duration::from_secs(60));
    receive_ahead(&mut world, &[(0, 5000)]);
    world.done(0);
    receive(&mut world, &[(1, 40)]);
    assert_eq!(sought(&mut world, true), 1);
    world.pass(Duration::from_secs(39));
    assert!(world.paused.contains(&partition(0)));
    world.pass(Duration::from_secs(1));
    receive(&mut world, &[(1, 0)]);
    world.done(1);
    receive_ahead(&mut world, &[(2, 5039)]);
    assert_eq!(world.offsets(), [2], "40 s after the first was due");
    world.done(2);
    receive_ahead(&mut world, &[(3, 4000)]);
    assert!(world.offsets().is_empty(), "of a clock that is less ahead");
    world.machine.rewound(&partition(0), 0);
    world.drain();
    receive_ahead(&mut world, &[(0, 5000)]);
    assert!(world.offsets().is_empty());
}
