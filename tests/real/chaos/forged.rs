//! Tests of the check itself: a correct forged history passes, and every flaw put into it is found.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Protocol;
use super::check::check;
use super::history::{Commit, End, History, ProcessHistory};
use crate::flow::Printed;

/// When the dead member of the history was killed, and when its session ended.
const KILLED: i64 = 5_000;
const TAKEN: i64 = 11_000;

fn change(what: &str, at: i64, partitions: &[i32], generation: i64) -> Value {
    let partitions: Vec<Value> = partitions.iter().map(|partition| json!(["t", partition])).collect();
    json!({ "event": what, "at": at, "partitions": partitions, "owned": [], "generation": generation })
}

fn committed(at: i64, offset: i64) -> Value {
    json!({ "event": "committed", "at": at, "offsets": [["t", 0, offset]] })
}

fn noted(at: i64, offset: i64) -> Commit {
    Commit { at, partition: 0, offset }
}

fn record(offset: i64, came: i64) -> (Printed, i64) {
    (Printed { partition: 0, offset, timestamp: came, value: offset.to_string() }, came)
}

/// One partition and ten records. Member 1 prints 0 to 5, and has committed 4 when it is killed; member 2 continues
/// from there.
fn story() -> History {
    let first = ProcessHistory {
        name: 1,
        records: (0..6).map(|offset| record(offset, 1_100 + 100 * offset)).collect(),
        events: vec![change("assigned", 1_000, &[0], 1), committed(2_000, 4)],
        stops: Vec::new(),
        late: 0,
        end: End::Killed { at: KILLED, held: BTreeSet::from([0]) },
    };
    let second = ProcessHistory {
        name: 2,
        records: (4..10).map(|offset| record(offset, TAKEN + 100 * offset)).collect(),
        events: vec![
            change("assigned", TAKEN, &[0], 2),
            committed(13_000, 10),
            change("revoked", 14_000, &[0], 2),
        ],
        stops: Vec::new(),
        late: 0,
        end: End::Left,
    };
    History {
        protocol: Protocol::Eager,
        log: (0..10).map(|offset| ((0, offset), offset.to_string())).collect(),
        lives: vec![first, second],
        commits: vec![noted(2_000, 4), noted(13_000, 10)],
        settled: Vec::new(),
    }
}

/// The check's findings after a change to the history.
fn found(tell: impl FnOnce(&mut History)) -> Vec<String> {
    let mut history = story();
    tell(&mut history);
    check(&history).wrong
}

fn assert_found(what: &str, tell: impl FnOnce(&mut History)) {
    let wrong = found(tell);
    assert!(wrong.iter().any(|each| each.starts_with(what)), "{what} is not among {wrong:#?}");
}

fn first(history: &mut History) -> &mut ProcessHistory {
    history.lives.first_mut().expect("the first")
}

fn second(history: &mut History) -> &mut ProcessHistory {
    history.lives.last_mut().expect("the second")
}

/// Assigns the partition to member 2 at another time.
fn assigned_at(history: &mut History, at: i64) {
    *second(history).events.first_mut().expect("assigned") = change("assigned", at, &[0], 2);
}

/// Member 1 is not killed but stopped from [`KILLED`] to `to`.
fn stop(history: &mut History, to: i64) {
    let life = first(history);
    life.end = End::Left;
    life.stops.push((KILLED, to));
    life.events.push(change("lost", to + 50, &[0], 1));
}

#[test]
fn the_check_finds_nothing_in_a_story_that_is_fine() {
    assert_eq!(found(|_| {}), [] as [String; 0]);
    // A member sleeps past its session, and prints the records of its last poll when it wakes.
    let slept = found(|history| {
        stop(history, 12_500);
        first(history).records.push(record(6, 12_510));
    });
    assert_eq!(slept, [] as [String; 0]);
    // A member that had slept before it was assigned the partition commits, and loses the partition much later.
    let slept_before = found(|history| {
        let life = first(history);
        life.end = End::Left;
        life.events.extend([committed(10_800, 6), change("revoked", 10_900, &[0], 1)]);
        history.commits.insert(1, noted(10_800, 6));
        let life = second(history);
        life.stops.push((10_500, 10_600));
        life.records.drain(..2);
        *life.events.last_mut().expect("its end") = change("lost", 14_000, &[0], 2);
    });
    assert_eq!(slept_before, [] as [String; 0]);
}

#[test]
fn safe1_the_check_finds_what_is_lost_or_altered() {
    assert_found("SAFE1", |history| drop(history.log.insert((0, 10), "10".to_owned())));
    assert_found("SAFE1", |history| drop(history.log.insert((0, 7), "something else".to_owned())));
    // Committed before it was printed: 3 arrived at 1,400.
    assert_found("SAFE1", |history| history.commits.insert(0, noted(1_000, 4)));
    let as_far_as_can_be_told = |history: &mut History| history.commits.insert(0, noted(1_200, 4));
    assert_eq!(found(as_far_as_can_be_told), [] as [String; 0]);
    // On a machine that was too busy to read, no more can be proved.
    let unread = |history: &mut History| {
        first(history).late = 500;
        history.commits.insert(0, noted(1_000, 4));
    };
    assert_eq!(found(unread), [] as [String; 0]);
}

#[test]
fn safe2_the_check_finds_what_is_repeated_without_need() {
    // Below the committed offset.
    assert_found("SAFE2", |history| second(history).records.insert(0, record(3, TAKEN + 10)));
    // After an orderly handover.
    assert_found("SAFE2", |history| {
        first(history).end = End::Left;
        first(history).events.push(change("revoked", KILLED, &[0], 1));
    });
}

#[test]
fn safe3_the_check_finds_holes_and_steps_back() {
    let hole = |history: &mut History| drop(second(history).records.remove(2));
    assert_found("SAFE3", hole);
    let back = |history: &mut History| second(history).records.push(record(5, 12_500));
    assert_found("SAFE3", back);
}

#[test]
fn safe5_safe6_the_check_finds_two_owners() {
    assert_found("SAFE5", |history| {
        let life = second(history);
        life.events = vec![change("assigned", TAKEN, &[0], 1), change("revoked", 14_000, &[0], 1)];
    });
    // Assigned to another while the first still reads.
    assert_found("SAFE6", |history| {
        first(history).end = End::Left;
        first(history).events.push(change("revoked", TAKEN + 1, &[0], 1));
    });
    // Assigned to another long before the sleeper's session ended.
    assert_found("SAFE6", |history| {
        stop(history, 12_500);
        assigned_at(history, KILLED + 3_000);
    });
}

#[test]
fn safe7_safe8_the_check_finds_commits_of_others_and_commits_that_go_back() {
    assert_found("SAFE7", |history| second(history).events.push(committed(14_100, 10)));
    assert_found("SAFE8", |history| second(history).events.insert(1, committed(11_500, 3)));
    assert_found("SAFE8", |history| history.commits.push(noted(13_500, 9)));
}

#[test]
fn safe9_the_check_finds_callbacks_out_of_turn() {
    assert_found("SAFE9", |history| second(history).events.insert(0, change("assigned", 10_900, &[0], 2)));
    assert_found("SAFE9", |history| second(history).events.push(change("lost", 14_100, &[0], 2)));
    assert_found("SAFE9", |history| drop(second(history).events.pop()));
}

#[test]
fn live5_m4_the_check_finds_late_heirs_and_stale_records() {
    assert_found("LIVE5", |history| assigned_at(history, KILLED + 12_000));
    assert_found("M4", |history| {
        stop(history, 12_500);
        first(history).records.extend((0..200).map(|nth| record(5, 12_505 + nth)));
    });
    // It slept past its session, and got no event about it.
    assert_found("M4", |history| {
        stop(history, 12_500);
        first(history).events.pop();
        first(history).events.push(change("revoked", 12_550, &[0], 1));
    });
    // Once it knows, not a single record more.
    assert_found("M4", |history| {
        stop(history, 12_500);
        history.protocol = Protocol::Consumer;
        first(history).records.push(record(6, 13_500));
    });
}

#[test]
fn the_check_minds_resets_and_errors_for_good() {
    for event in [
        json!({ "event": "reset", "at": 1_500, "topic": "t", "partition": 0, "from": 3, "to": 0, "reason": "" }),
        json!({ "event": "error", "at": 1_500, "retriable": false, "message": "" }),
        json!({ "event": "truncated", "at": 1_500 }),
    ] {
        assert_found("member 1 said", |history| first(history).events.push(event));
    }
}

/// A second of life allows for one more.
#[test]
fn the_check_minds_errors_that_come_in_a_loop() {
    let errors = |count: usize| {
        let event = json!({ "event": "error", "at": 1_500, "retriable": true, "message": "" });
        move |history: &mut History| first(history).events.extend(std::iter::repeat_n(event, count))
    };
    assert_eq!(found(errors(31)), [] as [String; 0]);
    assert_found("member 1 told 32 errors in 1000 ms", errors(32));
}
