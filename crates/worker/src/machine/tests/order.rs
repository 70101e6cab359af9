use std::collections::BTreeMap;

use super::*;

const DELAY: Duration = Duration::from_millis(100);

#[test]
fn a_keys_records_wait_for_one_another_through_retries_and_other_keys_go_on() {
    let mut world = World::new(options());
    world.assign([0]);
    world.receive(0, 10, &[A, A, B, B, C]);
    assert_eq!(world.offsets(), [10, 12, 14]);
    world.fail(10, Again);
    world.done(12);
    assert_eq!(world.offsets(), [14, 13], "11 waits behind 10");
    world.pass(DELAY / 2);
    assert_eq!(world.offsets(), [14, 13]);
    world.pass(DELAY);
    assert_eq!(world.offsets(), [14, 13, 10]);
    assert_eq!(world.running[2].0[0].attempt, 2);
    assert_eq!(world.running[2].0[0].first_failure.as_ref().unwrap().reason, "no");
    world.done(10);
    assert_eq!(world.offsets(), [14, 13, 11]);
}

#[test]
fn keys_are_of_a_partition() {
    let mut world = World::new(options());
    world.assign([0, 1]);
    world.receive(0, 0, &[A]);
    world.receive(1, 0, &[A]);
    assert_eq!(world.running.len(), 2);
}

#[test]
fn records_without_a_key_are_in_no_order() {
    let mut world = World::new(options());
    world.assign([0]);
    world.receive(0, 0, &[None, None, Some(0), None]);
    assert_eq!(world.offsets(), [0, 1, 2, 3]);
}

#[test]
fn partitions_are_lanes_if_they_are_to_be() {
    let mut world = World::new(Options { order: Order::Partition, ..options() });
    world.assign([0, 1]);
    world.receive(0, 0, &[A, B, None]);
    world.receive(1, 7, &[None, None]);
    assert_eq!(world.offsets(), [0, 7]);
    world.done(0);
    assert_eq!(world.offsets(), [7, 1]);
    let mut unordered = World::new(Options { order: Order::Unordered, ..options() });
    unordered.assign([0]);
    unordered.receive(0, 0, &[A, A, A, A, A]);
    assert_eq!(unordered.offsets(), [0, 1, 2, 3], "as many as may run");
}

#[test]
fn partitions_take_turns() {
    let mut world = World::new(Options { concurrency: 1, ..options() });
    world.assign([0, 1]);
    world.receive(0, 0, &[None; 5]);
    world.receive(1, 100, &[None; 5]);
    let mut order = Vec::new();
    while let Some(offset) = world.offsets().first().copied() {
        order.push(offset);
        world.done(offset);
    }
    assert_eq!(order, [0, 1, 100, 2, 101, 3, 102, 4, 103, 104], "0 began alone, 1 was in line");
}

#[test]
fn a_commit_never_passes_what_is_not_finished() {
    let mut world = World::new(options());
    world.assign([0]);
    world.receive(0, 10, &[A, B, C, None]);
    assert_eq!(world.commit(), []);
    world.done(12);
    world.done(11);
    assert_eq!(world.commit(), [(0, 10, vec![(11, 13)])]);
    world.fail(10, Again);
    assert_eq!(world.commit(), [], "nothing new");
    world.pass(DELAY);
    world.done(10);
    assert_eq!(world.commit(), [(0, 13, vec![])]);
}

#[test]
fn a_commit_that_failed_is_made_again_and_one_is_on_its_way_at_a_time() {
    let mut world = World::new(options());
    world.assign([0, 1]);
    world.receive(0, 0, &[A]);
    world.receive(1, 0, &[A]);
    world.done(0);
    world.done(0);
    let due = world.now + Duration::from_secs(1);
    assert_eq!(world.machine.poll_timeout(), Some(due));
    assert!(!world.machine.is_commit_due(world.now) && world.machine.is_commit_due(due));
    let commits = world.machine.take_commit(due, None);
    assert_eq!(commits.len(), 2);
    assert!(!world.machine.is_commit_due(due + Duration::from_secs(60)), "one is on its way");
    world.machine.commit_ended(&commits, |name| name.partition == 1);
    assert!(world.machine.is_commit_due(due + Duration::from_secs(1)));
    let again = world.machine.take_commit(due, None);
    assert_eq!(
        again.iter().map(|commit| (commit.name.partition, commit.what.offset)).collect::<Vec<_>>(),
        [(0, 1)]
    );
    world.machine.commit_ended(&again, |_| true);
    assert_eq!(world.machine.poll_timeout(), None, "nothing to do");
}

#[test]
fn without_dead_letters_a_record_out_of_attempts_stops_its_partition() {
    let mut world = World::new(options());
    world.assign([0, 1]);
    world.receive(0, 0, &[A, B, A]);
    world.receive(1, 50, &[A]);
    for _ in 0..2 {
        world.fail(0, Again);
        world.pass(DELAY);
    }
    world.fail(0, Again);
    assert_eq!(world.stopped(), [(0, Some(0))]);
    assert!(world.paused.contains(&partition(0)) && !world.paused.contains(&partition(1)));
    world.done(1);
    world.done(50);
    assert_eq!(world.offsets(), [0i64; 0], "2 waits behind 0, which goes on no more");
    assert_eq!(world.commit(), [(0, 0, vec![(1, 2)]), (1, 51, vec![])]);
    world.receive(0, 3, &[A, B]);
    world.pass(Duration::from_secs(3600));
    assert!(world.running.is_empty());
    assert_eq!(world.machine.metrics().queued, 0, "what will not be handled takes no room");
    let attempts = world.events.iter().filter(|event| matches!(event, Event::Retried { .. })).count();
    assert_eq!(attempts, 2);
}

#[test]
fn poison_is_not_tried_again() {
    let mut world = World::new(options());
    world.assign([0]);
    world.receive(0, 5, &[A]);
    world.fail(5, Poison);
    assert!(matches!(&world.events[..], [Event::Stopped(stopped)]
        if matches!(stopped.why, crate::StopReason::Poison { .. })));
}

#[test]
fn an_offset_passes_only_when_its_dead_letter_is_acknowledged() {
    let mut world = World::with(options(), 1, true);
    world.assign([0]);
    world.receive(0, 0, &[A, A]);
    world.fail(0, Poison);
    assert_eq!(world.commit(), []);
    assert!(world.running.is_empty(), "its key waits for it");
    assert!(!world.machine.is_idle());
    let (letter, record) = world.letters.remove(0);
    assert_eq!((record.offset, letter.letter.attempts, letter.letter.reason.as_str()), (0, 1, "no"));
    world.machine.letter_ended(world.now, letter.clone(), Ok((TopicPartition::new("dlq", 2), Some(9))));
    world.drain();
    assert_eq!(world.offsets(), [1]);
    assert_eq!(world.commit(), [(0, 1, vec![])]);
    world.machine.letter_ended(world.now, letter, Ok((TopicPartition::new("dlq", 2), Some(9))));
    assert_eq!(world.machine.metrics().dead_lettered, 1, "told twice is once");
}

#[test]
fn a_dead_letter_that_cannot_be_written_stops_its_partition_and_loses_nothing() {
    let mut world = World::with(options(), 1, true);
    world.assign([0, 1]);
    world.receive(0, 0, &[A, A, B]);
    world.receive(1, 30, &[A, A]);
    world.fail(0, Poison);
    let (letter, _) = world.letters.remove(0);
    let error = offtake::Error::new(offtake::ErrorKind::Authorization, "not allowed");
    world.machine.letter_ended(world.now, letter, Err(error));
    world.drain();
    assert_eq!(world.stopped(), [(0, Some(0))]);
    assert_eq!(world.machine.count_failed_unfinished(), 0, "it is that of its partition");
    world.done(2);
    world.done(30);
    world.done(31);
    assert_eq!(world.commit(), [(0, 0, vec![(2, 3)]), (1, 32, vec![])]);
}

/// The topic may be created later, and brokers may come back: nothing is passed, and the partition goes on.
#[test]
fn a_dead_letter_that_cannot_be_written_for_now_is_written_again_until_it_is() {
    use offtake::ErrorKind::{OutcomeUnknown, Timeout, UnknownTopic};
    let mut world = World::with(options(), 1, true);
    world.assign([0]);
    world.receive(0, 0, &[A, A, B]);
    world.fail(0, Poison);
    world.done(2);
    let mut pause = Duration::from_secs(1);
    for kind in [UnknownTopic, Timeout, OutcomeUnknown] {
        let (letter, _) = world.letters.remove(0);
        world.machine.letter_ended(world.now, letter, Err(offtake::Error::new(kind, "not now")));
        world.drain();
        assert!(world.letters.is_empty() && world.running.is_empty(), "not at once, and its key waits");
        assert_eq!(world.commit(), if kind == UnknownTopic { vec![(0, 0, vec![(2, 3)])] } else { vec![] });
        let metrics = world.machine.metrics();
        assert_eq!((metrics.waiting_for_retry, metrics.writing_dead_letters), (0, 1));
        assert_eq!(world.machine.count_failed_unfinished(), 1);
        if kind == Timeout {
            // A member that may have been replaced writes nothing.
            world.machine.owns(false);
            world.pass(pause);
            assert!(world.letters.is_empty());
            world.machine.owns(true);
        }
        world.pass(pause);
        pause *= 2;
        assert_eq!((world.letters.len(), world.machine.metrics().writing_dead_letters), (1, 1));
    }
    assert!(world.events.is_empty(), "{:?}", world.events);
    let (letter, record) = world.letters.remove(0);
    assert_eq!((record.offset, letter.letter.attempts, letter.letter.reason.as_str()), (0, 1, "no"));
    world.machine.letter_ended(world.now, letter, Ok((TopicPartition::new("dlq", 0), Some(0))));
    world.drain();
    assert_eq!(world.offsets(), [1]);
    assert_eq!(world.commit(), [(0, 1, vec![(2, 3)])]);
}

/// The record is left for the next owner, and for the next start.
#[test]
fn a_dead_letter_that_cannot_be_written_for_now_holds_up_neither_a_handover_nor_the_end() {
    for is_handed_over in [true, false] {
        for fails_before in [true, false] {
            let mut world = World::with(options(), 1, true);
            world.assign([0]);
            world.receive(0, 0, &[A, A]);
            world.fail(0, Poison);
            let (letter, _) = world.letters.remove(0);
            let fails = |world: &mut World| {
                let error = offtake::Error::new(offtake::ErrorKind::Timeout, "not now");
                world.machine.letter_ended(world.now, letter, Err(error));
                world.drain();
            };
            let ends = |world: &mut World| {
                match is_handed_over {
                    true => world.machine.revoking(&[partition(0)]),
                    false => world.machine.stop(),
                }
                world.drain();
            };
            if fails_before {
                fails(&mut world);
                ends(&mut world);
            } else {
                ends(&mut world);
                assert!(!world.machine.is_idle());
                fails(&mut world);
            }
            assert!(world.machine.is_idle());
            world.pass(Duration::from_secs(5));
            assert!(world.letters.is_empty() && world.stopped().is_empty());
            assert!(world.commit().iter().all(|(_, offset, beyond)| *offset == 0 && beyond.is_empty()));
        }
    }
}

#[test]
fn a_fatal_failure_is_told_and_finishes_nothing() {
    let mut world = World::with(options(), 1, true);
    world.assign([0]);
    world.receive(0, 0, &[A, A]);
    world.fail(0, Fatal);
    assert_eq!(world.fatal, ["no"]);
    assert!(world.running.is_empty() && world.letters.is_empty());
    assert_eq!(world.commit(), []);
}

#[test]
fn records_of_a_batch_behind_a_failure_of_their_lane_are_retried() {
    let mut world = World::with(options(), 10, false);
    world.assign([0]);
    world.receive(0, 0, &[A, A, A, B, B, None]);
    assert_eq!(world.offsets(), [0, 1, 2, 3, 4, 5], "one batch, lane by lane");
    let results = [HandlerResult::Done, failure(Again), HandlerResult::Done, HandlerResult::Done];
    world.end(0, Results::Each(results.to_vec()));
    // There is no result for 4 and 5.
    assert_eq!(world.commit(), [(0, 1, vec![(3, 4)])]);
    world.pass(DELAY);
    assert_eq!(world.offsets(), [1, 2, 4, 5]);
    let attempts: Vec<_> = world.running[0].0.iter().map(|started| started.attempt).collect();
    assert_eq!(attempts, [2, 1, 2, 2]);
    world.end(1, Results::All(HandlerResult::Done));
    assert_eq!(world.commit(), [(0, 6, vec![])]);
}

/// A handler with one result for its batch (`?`) cannot say which record it failed for.
#[test]
fn of_a_batch_that_fails_because_of_one_record_only_that_one_is_given_up_and_each_pauses_between_its_attempts()
 {
    const BAD: i64 = 5;
    for order in [Order::Partition, Order::Key, Order::Unordered] {
        for (kind, attempts) in [(Again, 3), (Again, 2), (Again, 1), (Poison, 3), (Poison, 1)] {
            let retry = Retry::fixed(DELAY).attempts(attempts);
            let mut world = World::with(Options { order, retry, concurrency: 1, ..options() }, 10, true);
            world.assign([0]);
            world.receive(0, 0, &[A, A, B, A, B, A, B, B, A, C]);
            let mut tried = BTreeMap::<i64, Vec<Instant>>::new();
            let what = format!("{order:?}, {kind:?}, {attempts} attempts");
            let end = world.now + DELAY * 20;
            let mut given_up = Vec::new();
            while world.machine.metrics().handled < 9 || given_up.is_empty() {
                let Some((records, _)) = world.running.first() else {
                    world.pass(Duration::from_millis(1));
                    continue;
                };
                for record in records {
                    assert!(attempts == 1 || !record.is_last || records.len() == 1, "{what}: {records:?}");
                    tried.entry(record.record.offset).or_default().push(world.now);
                }
                let first = records[0].record.offset;
                match records.iter().any(|record| record.record.offset == BAD) {
                    true => world.fail(first, kind),
                    false => world.done(first),
                }
                for (letter, record) in std::mem::take(&mut world.letters) {
                    given_up.push(record.offset);
                    world.machine.letter_ended(
                        world.now,
                        letter,
                        Ok((TopicPartition::new("dlq", 0), Some(0))),
                    );
                    world.drain();
                }
                assert!(world.now < end, "{what}: {:?}", world.machine.metrics());
            }
            assert_eq!(given_up, [BAD], "{what}");
            let most = if kind == Poison { 2 } else { attempts.max(2) as usize };
            for (offset, times) in tried {
                assert!(times.len() <= most, "{what}: {offset} was tried {} times", times.len());
                let pauses = times.windows(2).map(|pair| pair[1] - pair[0]);
                assert!(
                    kind == Poison || pauses.min() >= Some(DELAY) || times.len() == 1,
                    "{what}: {times:?}"
                );
            }
        }
    }
}

/// One that has many attempts left, or is never given up, does not keep the others of its batches from being handled.
#[test]
fn of_a_batch_that_fails_because_of_one_record_the_others_do_not_wait_until_that_one_is_given_up() {
    const BAD: i64 = 5;
    // Behind the bad record waits what is of its lane.
    for (order, attempts, handled, within) in [
        (Order::Unordered, u32::MAX, 9, 10),
        (Order::Key, u32::MAX, 8, 10),
        (Order::Partition, u32::MAX, 5, 10),
        (Order::Partition, 50, 9, 60),
    ] {
        let retry = Retry::fixed(DELAY).attempts(attempts);
        let mut world = World::with(Options { order, retry, concurrency: 1, ..options() }, 10, true);
        world.assign([0]);
        world.receive(0, 0, &[A, A, B, A, B, A, B, B, A, C]);
        let end = world.now + DELAY * within;
        while world.now < end {
            let Some((records, _)) = world.running.first() else {
                world.pass(Duration::from_millis(1));
                continue;
            };
            let first = records[0].record.offset;
            match records.iter().any(|record| record.record.offset == BAD) {
                true => world.fail(first, Again),
                false => world.done(first),
            }
            for (letter, _) in std::mem::take(&mut world.letters) {
                let written = Ok((TopicPartition::new("dlq", 0), Some(0)));
                world.machine.letter_ended(world.now, letter, written);
                world.drain();
            }
        }
        assert_eq!(world.machine.metrics().handled, handled, "{order:?}, {attempts} attempts");
    }
}

#[test]
fn a_letter_of_a_batch_that_was_poison_counts_both_attempts_whatever_the_limit() {
    for attempts in [1, 2, 5] {
        let retry = Retry::fixed(DELAY).attempts(attempts);
        let mut world = World::with(Options { retry, ..options() }, 10, true);
        world.assign([0]);
        world.receive(0, 0, &[A, A, B]);
        world.fail(0, Poison);
        let alone: Vec<_> =
            world.running.iter().map(|(records, _)| (records.len(), records[0].attempt)).collect();
        assert_eq!(alone, [(1, 2), (1, 2)], "{attempts}");
        world.done(0);
        assert_eq!(world.running[1].0[0].attempt, 2, "{attempts}: the second of its key");
        world.fail(1, Poison);
        assert_eq!(world.letters[0].0.letter.attempts, 2, "{attempts}");
    }
}

/// An attempt at a batch that fails as a whole is one at each of its records, whatever their order.
#[test]
fn a_batch_that_fails_as_a_whole_is_counted_and_told_for_each_of_its_records() {
    for (order, kind) in
        [(Order::Partition, Again), (Order::Key, Again), (Order::Unordered, Again), (Order::Key, Poison)]
    {
        let mut world = World::with(Options { order, ..options() }, 10, false);
        world.assign([0]);
        world.receive(0, 0, &[A, A, B]);
        world.fail(0, kind);
        let metrics = world.machine.metrics();
        assert_eq!((metrics.failed, metrics.retried), (3, 3), "{order:?}, {kind:?}");
        let retried = world.events.iter().filter_map(|event| match event {
            Event::Retried { offset, attempt: 1, .. } => Some(*offset),
            _ => None,
        });
        assert_eq!(retried.collect::<Vec<_>>(), [0, 1, 2], "{order:?}, {kind:?}");
    }
}

/// This holds whether a record is tried again because it failed, or because one before it did.
#[test]
fn each_record_has_one_queue_time() {
    let mut world = World::with(options(), 4, true);
    world.assign([0]);
    world.receive(0, 0, &[A, A, A]);
    world.end(0, Results::Each(vec![failure(Again), HandlerResult::Done, HandlerResult::Done]));
    world.pass(Duration::from_millis(100));
    assert_eq!(world.offsets(), [0, 1, 2]);
    world.end(
        0,
        Results::Each(vec![weighing(Again, Weight::Nothing), HandlerResult::Done, HandlerResult::Done]),
    );
    world.pass(Duration::from_millis(100));
    assert_eq!(world.offsets(), [0, 1, 2]);
    world.done(0);
    assert_eq!(world.machine.metrics().queue_time.count(), 3);
}

#[test]
fn a_record_that_is_not_tried_waits_longer_each_time_and_as_before_once_it_was() {
    let mut world = World::new(options());
    world.assign([0]);
    world.receive(0, 0, &[A]);
    for delay in [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
        world.end(0, Results::All(weighing(Again, Weight::Nothing)));
        world.pass(Duration::from_millis(delay - 1));
        assert!(world.running.is_empty(), "{delay}");
        world.pass(Duration::from_millis(1));
        assert_eq!(world.running[0].0[0].attempt, 1, "{delay}");
    }
    world.fail(0, Again);
    world.pass(Duration::from_millis(100));
    world.end(0, Results::All(weighing(Again, Weight::Nothing)));
    world.pass(Duration::from_millis(100));
    assert_eq!(world.running[0].0[0].attempt, 2);
}

#[test]
fn a_batch_is_of_one_partition_and_no_longer_than_it_may_be() {
    let mut world = World::with(Options { concurrency: 2, ..options() }, 3, false);
    world.assign([0, 1]);
    world.receive(0, 0, &[A; 5]);
    world.receive(1, 100, &[None; 5]);
    let jobs: Vec<Vec<_>> = world
        .running
        .iter()
        .map(|(records, _)| records.iter().map(|it| it.record.offset).collect())
        .collect();
    assert_eq!(jobs, [vec![0, 1, 2], vec![100, 101, 102]]);
}

#[test]
fn nothing_begins_once_it_stops_and_what_waits_is_left() {
    let mut world = World::with(options(), 1, true);
    world.assign([0]);
    world.receive(0, 0, &[A, B, C, None, None]);
    world.fail(0, Again);
    world.machine.stop();
    world.drain();
    assert!(world.paused.contains(&partition(0)));
    world.pass(Duration::from_secs(10));
    assert_eq!(world.offsets(), [1, 2, 3, 4]);
    world.fail(1, Again);
    world.fail(2, Poison);
    world.done(3);
    world.done(4);
    assert!(world.machine.has_no_jobs() && !world.machine.is_idle(), "a dead letter is on its way");
    let (letter, _) = world.letters.remove(0);
    world.machine.letter_ended(world.now, letter, Ok((TopicPartition::new("dlq", 0), None)));
    assert!(world.machine.is_idle());
    assert_eq!(world.commit(), [(0, 0, vec![(2, 5)])]);
    assert_eq!(world.machine.poll_timeout(), None, "nothing is waited for");
    assert_eq!(world.machine.count_failed_unfinished(), 2);
}

#[test]
fn a_record_that_had_failed_and_is_cancelled_is_left_unless_its_partition_has_stopped() {
    for stops in [false, true] {
        let mut world = World::with(options(), 1, false);
        world.assign([0]);
        world.receive(0, 0, &[A, B]);
        world.fail(1, Again);
        world.pass(Duration::from_secs(10));
        if stops {
            world.fail(0, Poison);
        }
        assert_eq!(world.stopped().len(), usize::from(stops));
        assert!(world.offsets().contains(&1), "it is being tried again");
        world.machine.stop();
        world.machine.cancel_all();
        world.drain();
        world.end_cancelled();
        assert_eq!(world.machine.count_failed_unfinished(), u64::from(!stops));
    }
}

#[test]
fn a_cancelled_job_is_no_attempt_and_its_result_is_ignored() {
    let mut world = World::new(options());
    world.assign([0]);
    world.receive(0, 0, &[A, B]);
    let (_, late) = world.running.remove(0);
    world
        .running
        .insert(0, (Vec::new(), JobTicket { id: late.id, lanes: late.lanes.clone(), began: late.began }));
    world.machine.cancel_all();
    world.drain();
    assert_eq!(world.cancelled.len(), 2);
    assert!(world.machine.has_no_jobs());
    world.machine.job_ended(world.now, 0, &late, &Results::All(HandlerResult::Done), Vec::new());
    assert_eq!(world.commit(), []);
    assert_eq!(world.machine.metrics().cancelled, 2);
}
