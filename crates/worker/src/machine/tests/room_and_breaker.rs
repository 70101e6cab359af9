use super::*;
use crate::BreakerState;

#[test]
fn a_full_queue_pauses_and_half_an_empty_one_resumes() {
    let mut world = World::new(Options { concurrency: 1, queue: 20, ..options() });
    world.assign([0, 1, 2]);
    world.receive(0, 0, &[None; 10]);
    assert!(world.paused.is_empty());
    world.receive(1, 100, &[None; 7]);
    assert_eq!(world.paused.iter().collect::<Vec<_>>(), [&partition(0)], "the fullest first");
    world.receive(2, 200, &[None; 7]);
    assert_eq!(world.paused.len(), 3, "then all");
    assert!(world.machine.metrics().queued <= 20 + 7);
    while world.machine.metrics().queued > 10 {
        assert_eq!(world.paused.len(), 3);
        let offset = world.offsets()[0];
        world.done(offset);
    }
    assert!(world.paused.is_empty());
}

/// The consumer is called once, however many partitions there are.
#[test]
fn all_are_paused_by_one_call_and_resumed_by_another() {
    let mut world = World::new(Options { concurrency: 1, queue: 8, ..options() });
    world.assign(0..10_000);
    world.receive(7, 0, &[None; 9]);
    assert_eq!((world.paused.len(), world.pauses), (10_000, 1));
    (0..9).for_each(|offset| world.done(offset));
    assert_eq!((world.paused.len(), world.pauses), (0, 2));
    world.machine.stop();
    world.drain();
    assert_eq!((world.paused.len(), world.pauses), (10_000, 3));
}

/// Partitions of retry topics are read once the consumer has moved to their committed offsets.
#[test]
fn partitions_that_are_to_go_elsewhere_first_are_paused_by_one_call() {
    let retry = Retry::never().then_topics([("orders", Duration::from_secs(60))]);
    let mut world = World::new(Options { retry, order: Order::Unordered, ..options() });
    let names: Vec<_> = (0..100).map(partition).collect();
    let assigned = world.machine.assigned(&names);
    world.drain();
    assert_eq!((world.paused.len(), world.pauses), (100, 1));
    assigned.into_iter().for_each(|(id, _)| world.machine.loaded(world.now, id, None));
    world.drain();
    assert_eq!((world.paused.len(), world.pauses), (0, 2));
}

#[test]
fn bytes_count_too() {
    let mut world = World::new(Options { concurrency: 1, queue_bytes: 100, ..options() });
    world.assign([0]);
    world.receive(0, 0, &[None; 12]);
    assert_eq!((world.paused.len(), world.machine.metrics().queued_bytes), (1, 110));
    for offset in 0..6 {
        world.done(offset);
    }
    assert_eq!((world.paused.len(), world.machine.metrics().queued_bytes), (0, 50));
}

#[test]
fn a_partition_that_comes_while_there_is_no_room_is_paused() {
    let mut world = World::new(Options { concurrency: 1, queue: 8, ..options() });
    world.assign([0]);
    world.receive(0, 0, &[None; 9]);
    world.assign([1]);
    assert_eq!(world.paused.len(), 2);
    for offset in 0..9 {
        world.done(offset);
    }
    assert!(world.paused.is_empty());
}

#[test]
fn a_hot_key_pauses_its_own_partition_alone() {
    let mut world = World::new(Options { queue: 100, ..options() });
    world.assign(0..10);
    world.receive(0, 0, &[A; 12]);
    assert_eq!(
        world.paused.iter().collect::<Vec<_>>(),
        [&partition(0)],
        "10 of 100 are the share of one of ten"
    );
    world.receive(1, 0, &[B; 5]);
    assert_eq!(world.paused.len(), 1);
    for offset in 0..6 {
        assert_eq!(world.paused.len(), 1, "{offset}");
        world.done(offset);
    }
    world.done(6);
    assert!(world.paused.is_empty(), "half of its share is left");
}

#[test]
fn records_that_wait_for_another_attempt_take_room_and_nothing_stands_still() {
    let mut world = World::new(Options { queue: 8, ..options() });
    world.assign([0]);
    world.receive(0, 0, &[Some(0), Some(1), Some(2), Some(3)]);
    for offset in 0..4 {
        world.fail(offset, Again);
    }
    world.receive(0, 4, &[Some(4), Some(5), Some(6), Some(7), Some(8), Some(9), Some(10), Some(11)]);
    assert_eq!(world.paused.len(), 1);
    assert_eq!(world.machine.metrics().waiting_for_retry, 4);
    for _ in 0..100 {
        if let Some(offset) = world.offsets().first().copied() {
            world.done(offset);
        } else {
            world.pass(Duration::from_millis(100));
        }
    }
    assert!(world.paused.is_empty());
    assert_eq!(world.commit(), [(0, 12, vec![])]);
}

#[test]
fn an_open_breaker_dead_letters_nothing_that_could_be_retried_and_reads_until_it_has_something_to_try() {
    let retry = Retry::never();
    let mut world = World::with(Options { breaker: Some(breaker()), retry, ..options() }, 1, true);
    world.assign([0, 1]);
    world.receive(0, 0, &[Some(0), Some(1), Some(2), Some(3), Some(4), Some(5)]);
    world.done(0);
    world.fail(1, Poison);
    assert_eq!(world.offsets(), [2, 3, 4, 5]);
    world.fail(2, Again);
    assert_eq!(world.letters.len(), 2, "while it is closed, one attempt is all there is");
    world.fail(3, Again);
    assert!(matches!(world.events[0], Event::Breaker { state: BreakerState::Open }), "half of the last four");
    assert!(world.paused.is_empty(), "what is in line has failed");
    world.fail(4, Again);
    world.done(5);
    assert_eq!(
        world.letters.len(),
        2,
        "the attempts that opened it, or ended while it was open, do not count"
    );
    world.pass(Duration::from_secs(29));
    assert!(world.running.is_empty());
    world.pass(Duration::from_secs(1));
    assert_eq!(
        (world.offsets(), world.running[0].0[0].attempt, world.running[0].0[0].is_probe),
        (vec![3], 1, true)
    );
    world.fail(3, Again);
    assert_eq!((world.paused.len(), world.letters.len()), (0, 2), "a probe is no attempt");
    world.pass(Duration::from_secs(30));
    assert_eq!(world.offsets(), [4], "in turn");
    world.done(4);
    assert_eq!(world.offsets(), [3]);
    world.done(3);
    assert!(matches!(world.events.last(), Some(Event::Breaker { state: BreakerState::Closed })));
    assert_eq!(world.commit(), [(0, 1, vec![(3, 6)])]);
}

/// Records that can never be handled do not keep the breaker open, as long as others arrive.
#[test]
fn a_probe_is_a_record_that_has_never_failed() {
    let mut world = World::new(Options { breaker: Some(breaker().of_last(2)), ..options() });
    world.assign([0, 1]);
    world.receive(0, 0, &[Some(0), Some(1), Some(2)]);
    for offset in [0, 1, 2] {
        world.fail(offset, Again);
    }
    assert!(world.paused.is_empty() && world.running.is_empty());
    world.receive(1, 10, &[Some(3), Some(4), Some(5)]);
    assert_eq!(world.paused.len(), 2, "there is something to try now");
    world.pass(Duration::from_secs(30));
    for offset in [10, 11] {
        assert_eq!(world.offsets(), [offset]);
        world.done(offset);
    }
    assert!(matches!(world.events.last(), Some(Event::Breaker { state: BreakerState::Closed })));
}

/// If others arrive one by one, a record that always fails has its turn after each of them.
#[test]
fn a_record_that_always_fails_ends_in_the_dead_letters_once_enough_others_have_succeeded() {
    let mut world = World::with(Options { breaker: Some(breaker().probes(3)), ..options() }, 1, true);
    world.assign([0, 1]);
    world.receive(0, 0, &[A, A, B, C]);
    // The service is down.
    [0, 2, 3].into_iter().for_each(|offset| world.fail(offset, Again));
    world.pass(Duration::from_millis(100));
    [2, 3, 0].into_iter().for_each(|offset| world.fail(offset, Again));
    assert_eq!(world.machine.metrics().breaker, BreakerState::Open);
    // The service is back, and the first record itself is at fault: failed records are tried in turn.
    world.pass(Duration::from_secs(30));
    for offset in [2, 3] {
        assert_eq!(world.offsets(), [offset]);
        world.done(offset);
    }
    for _ in 0..5 {
        assert_eq!((world.offsets(), world.machine.metrics().breaker), (vec![0], BreakerState::HalfOpen));
        world.fail(0, Again);
        assert_eq!((world.offsets(), world.machine.metrics().breaker), (vec![], BreakerState::Open));
        world.pass(Duration::from_secs(30));
    }
    world.fail(0, Again);
    assert!(world.letters.is_empty(), "as a probe it was no attempt");
    // One more arrives, the third to succeed.
    world.receive(1, 10, &[C]);
    world.pass(Duration::from_secs(30));
    assert_eq!(world.offsets(), [10]);
    world.done(10);
    assert_eq!(world.machine.metrics().breaker, BreakerState::Closed);
    world.fail(0, Again);
    world.pass(Duration::from_millis(100));
    world.fail(0, Again);
    let (letter, _) = world.letters.pop().expect("its third attempt that counts");
    assert_eq!(letter.letter.attempts, 3);
    world.machine.letter_ended(world.now, letter, Ok((TopicPartition::new("dlq", 0), Some(0))));
    world.drain();
    assert_eq!(world.offsets(), [1], "and its key goes on");
}

#[test]
fn a_probe_that_goes_with_its_partition_leaves_its_place_to_another() {
    let mut world = World::new(Options { breaker: Some(breaker().of_last(1)), ..options() });
    world.assign([0, 1]);
    world.receive(0, 0, &[A]);
    world.receive(1, 10, &[A]);
    world.fail(0, Again);
    world.fail(10, Again);
    world.pass(Duration::from_secs(30));
    assert_eq!(world.offsets(), [0]);
    world.machine.removed(&[partition(0)]);
    world.drain();
    assert_eq!(world.offsets(), [10]);
    world.fail(10, Fatal);
    assert_eq!(world.fatal.len(), 1);
}

#[test]
fn a_half_open_breaker_lets_one_record_of_a_batch_through() {
    let mut world = World::with(Options { breaker: Some(breaker().of_last(1)), ..options() }, 10, false);
    world.assign([0]);
    world.receive(0, 0, &[None; 5]);
    world.fail(0, Again);
    world.pass(Duration::from_secs(30));
    assert_eq!(world.offsets().len(), 1);
    let first = world.offsets()[0];
    world.done(first);
    assert_eq!(world.offsets().len(), 1);
    let second = world.offsets()[0];
    world.done(second);
    assert_eq!(world.offsets().len(), 3, "closed again");
}

/// Failures with a shared cause are distinguished from independent ones.
#[test]
fn a_failure_with_a_shared_cause_is_no_breaker_outcome_and_an_untried_one_is_no_attempt() {
    for (weight, attempt) in [(Weight::Attempt, 2), (Weight::Nothing, 1)] {
        let mut world = World::new(Options { breaker: Some(breaker()), concurrency: 9, ..options() });
        world.assign([0]);
        world.receive(0, 0, &[None; 9]);
        for offset in 0..9 {
            assert!(!world.running.iter().any(|(records, _)| records[0].is_last));
            world.end(offset, Results::All(weighing(Again, weight)));
        }
        assert_eq!(world.machine.metrics().breaker, BreakerState::Closed);
        world.pass(Duration::from_millis(99));
        assert!(world.running.is_empty(), "not at once");
        world.pass(Duration::from_millis(1));
        let attempts: Vec<_> = world.running.iter().map(|(records, _)| records[0].attempt).collect();
        assert_eq!(attempts, [attempt; 9]);
        assert_eq!(world.running[0].0[0].first_failure.is_some(), weight == Weight::Attempt);
    }
}

/// The breaker learns nothing from such a probe: it has to try another record, and not the same one at once.
#[test]
fn a_probe_that_says_nothing_is_followed_by_another_and_not_as_fast_as_can_be() {
    let mut world = World::new(Options { breaker: Some(breaker()), ..options() });
    world.assign([0]);
    world.receive(0, 0, &[None; 4]);
    (0..4).for_each(|offset| world.fail(offset, Again));
    assert_eq!(world.machine.metrics().breaker, BreakerState::Open);
    world.pass(Duration::from_secs(30));
    for _ in 0..4 {
        let offset = world.offsets()[0];
        assert_eq!(world.running.len(), 1);
        world.end(offset, Results::All(weighing(Again, Weight::Nothing)));
        assert_eq!(world.machine.metrics().breaker, BreakerState::HalfOpen);
    }
    assert!(world.running.is_empty(), "each waits");
    world.pass(Duration::from_millis(100));
    assert_eq!(world.running.len(), 1);
}

fn poison_all(world: &mut World) {
    while let Some(offset) = world.offsets().first().copied() {
        world.fail(offset, Poison);
    }
}

/// No letter can be written for now.
fn none_is_written(world: &mut World) {
    for (letter, _) in std::mem::take(&mut world.letters) {
        let error = offtake::Error::new(offtake::ErrorKind::Timeout, "not now");
        world.machine.letter_ended(world.now, letter, Err(error));
    }
    world.drain();
}

#[test]
fn a_partition_that_is_set_aside_is_not_the_fullest() {
    let mut world = World::with(Options { concurrency: 100, queue: 40, ..options() }, 1, true);
    world.assign([0, 1, 2, 3]);
    world.receive(0, 0, &[None; 30]);
    poison_all(&mut world);
    none_is_written(&mut world);
    world.machine.owns(false); // so that what follows waits
    world.receive(1, 100, &[None; 20]);
    world.receive(2, 200, &[None; 10]);
    assert_eq!(world.paused.iter().collect::<Vec<_>>(), [&partition(0), &partition(1)]);
}

/// Also if letters of several partitions are on their way when the first of them fail.
#[test]
fn partitions_whose_letters_cannot_be_written_leave_room_for_the_others() {
    for queue_bytes in [usize::MAX, 300] {
        let options = Options { concurrency: 100, queue: 40, queue_bytes, ..options() };
        let mut world = World::with(options, 1, true);
        world.assign(0..10);
        for index in 0..3 {
            for poll in 0..3 {
                if !world.paused.contains(&partition(index)) {
                    world.receive(index, 10 * poll, &[None; 10]);
                    poison_all(&mut world);
                }
            }
            none_is_written(&mut world);
        }
        for (at, count) in [(0, 5), (5, 10), (15, 10)] {
            for index in 3..10 {
                assert!(!world.paused.contains(&partition(index)), "{index} is paused");
                world.receive(index, at, &vec![None; count]);
                while let Some(offset) = world.offsets().first().copied() {
                    world.done(offset);
                }
            }
        }
        let queued = world.machine.metrics().queued;
        assert!((30..=60).contains(&queued), "{queued}");
        // All of them are written at last.
        while world.machine.metrics().queued > 0 {
            world.pass(Duration::from_secs(60));
            for (letter, _) in std::mem::take(&mut world.letters) {
                world.machine.letter_ended(world.now, letter, Ok((TopicPartition::new("dlq", 0), None)));
            }
            world.drain();
        }
        assert!(world.paused.is_empty());
    }
}
