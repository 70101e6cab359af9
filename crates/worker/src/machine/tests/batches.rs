//! Batches whose handlers fail as a whole: how those go on that have many attempts; and in random schedules, that only a record
//! that fails alone is given up, and each attempt is counted once.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const RECORDS: i64 = 20;
const DELAY: Duration = Duration::from_millis(100);

/// An outage of up to 3 s at first, in which all fail; then each batch that has one of the bad records.
#[test]
fn only_a_record_that_fails_alone_is_given_up_and_each_attempt_is_counted_once() {
    for seed in 0..500_u64 {
        let mut random = Random::new(seed);
        let order = [Order::Partition, Order::Key, Order::Unordered][random.below(3) as usize];
        let attempts = [1, 2, 3, 5, 9, u32::MAX][random.below(6) as usize];
        let batch = [1, 2, 3, 10][random.below(4) as usize];
        // Bad records keep a breaker open if nothing else is left, unless they are poison.
        let has_breaker = random.below(3) == 0;
        let kind = if has_breaker || attempts == u32::MAX || random.below(2) == 0 { Poison } else { Again };
        let options = Options {
            order,
            retry: Retry::fixed(DELAY).attempts(attempts),
            concurrency: 1 + random.below(3) as usize,
            breaker: has_breaker.then(breaker),
            ..options()
        };
        let what = format!("seed {seed}: {order:?}, {attempts} attempts, batches of {batch}, {kind:?}");
        let mut world = World::with(options, batch, true);
        world.assign([0]);
        let keys: Vec<_> = (0..RECORDS).map(|_| [A, B, C, None][random.below(4) as usize]).collect();
        world.receive(0, 0, &keys);
        let bad: BTreeSet<_> = (0..random.below(3)).map(|_| random.below(RECORDS as u64) as i64).collect();
        let mut attempt_of = BTreeMap::new();
        let (mut done, mut given_up, mut failed, mut calls) = (0, 0, 0, 0);
        let began = world.now;
        let outage = began + Duration::from_millis(random.below(3000));
        while done + given_up < RECORDS as u64 {
            assert!(world.now < began + Duration::from_secs(4000), "{what}: {:?}", world.machine.metrics());
            if world.running.is_empty() {
                world.pass(DELAY / 2);
                continue;
            }
            calls += 1;
            let (records, _) = &world.running[random.below(world.running.len() as u64) as usize];
            let offsets: Vec<_> = records.iter().map(|started| started.record.offset).collect();
            for started in records {
                let before = attempt_of.insert(started.record.offset, started.attempt).unwrap_or(0);
                assert!(
                    (before.max(1)..=before + 1).contains(&started.attempt),
                    "{what}: {before}, {started:?}"
                );
            }
            let result = match world.now < outage {
                true => weighing(
                    Again,
                    [Weight::Nothing, Weight::Attempt, Weight::Whole][random.below(3) as usize],
                ),
                false if offsets.iter().any(|offset| bad.contains(offset)) => failure(kind),
                false => HandlerResult::Done,
            };
            match result {
                HandlerResult::Done => done += offsets.len() as u64,
                HandlerResult::Failed { .. } => failed += offsets.len() as u64,
            }
            world.now += Duration::from_millis(5);
            world.end(offsets[0], Results::All(result));
            for (letter, record) in std::mem::take(&mut world.letters) {
                assert_eq!(offsets, [record.offset], "{what}: it did not fail alone");
                given_up += 1;
                world.machine.letter_ended(world.now, letter, Ok((TopicPartition::new("dlq", 0), Some(0))));
                world.drain();
            }
        }
        let metrics = world.machine.metrics();
        assert_eq!((metrics.failed, metrics.retried), (failed, failed - given_up), "{what}");
        let retried = world.events.iter().filter(|event| matches!(event, Event::Retried { .. })).count();
        assert_eq!(retried as u64, metrics.retried, "{what}");
        assert_eq!((metrics.running, metrics.queued, metrics.waiting_for_retry), (0, 0, 0), "{what}");
        assert_eq!(world.commit(), [(0, RECORDS, vec![])], "{what}");
        assert!(calls < 2000, "{what}: {calls} calls");
    }
}

/// 500 records without a limit of attempts. Each call of the handler ends as `ending` says, by its number from 1; returns how many
/// calls it takes until all are handled, or until that time has passed.
fn calls(order: Order, within: Duration, ending: impl Fn(u32) -> HandlerResult) -> u32 {
    let retry = Retry::fixed(DELAY).unlimited();
    let mut world =
        World::with(Options { order, retry, concurrency: 1, queue: 2000, ..options() }, 500, false);
    world.assign([0]);
    world.receive(0, 0, &[None; 500]);
    let (mut calls, end) = (0, world.now + within);
    while world.machine.metrics().handled < 500 && world.now < end {
        let Some((records, _)) = world.running.first() else {
            world.pass(Duration::from_millis(10));
            continue;
        };
        calls += 1;
        let first = records[0].record.offset;
        world.end(first, Results::All(ending(calls)));
    }
    calls
}

const HOUR: Duration = Duration::from_secs(3600);

/// Records that have failed as batches are no reason to handle them one by one once they succeed.
#[test]
fn after_an_outage_a_lane_goes_on_in_batches() {
    for failed in 1..40 {
        let outage = |call| if call <= failed { failure(Again) } else { HandlerResult::Done };
        let calls = calls(Order::Partition, HOUR, outage);
        assert!((failed + 1..=failed + 10).contains(&calls), "{calls} calls, of which {failed} failed");
    }
}

/// A service that takes one call and refuses the next, for example.
#[test]
fn records_that_are_returned_without_an_attempt_every_other_time_go_on_together() {
    let calls = calls(Order::Partition, HOUR, |call| match call {
        1..=4 => failure(Again),
        _ if call % 2 == 1 => HandlerResult::Done,
        _ => weighing(Again, Weight::Nothing),
    });
    assert!((6..10).contains(&calls), "{calls} calls");
}

/// Each fourth failure lets each go alone once, and then what is no attempt changes nothing.
#[test]
fn records_that_are_returned_without_an_attempt_stay_together_however_often_they_have_failed() {
    let ending = |call| weighing(Again, if call <= 4 { Weight::Whole } else { Weight::Nothing });
    let calls = calls(Order::Unordered, Duration::from_secs(600), ending);
    assert!((560..600).contains(&calls), "500 alone, and then one in 10 s, and not {calls}");
}
