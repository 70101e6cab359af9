//! Compares statuses with Burrow's own examples (the tests of its evaluator, `core/internal/evaluator/caching_test.go`, as of
//! 2024). A commit there is a sample here; its lag gives the log's end at that time.

use super::*;

/// A commit: the time in seconds, the offset, and the lag at that time.
type Commit = (i64, i64, i64);

/// Replays the commits, then continues sampling like a monitor: every `every` seconds until `now`, when the log ends at `end`.
/// The window is as long as the commits.
fn replay(commits: &[Commit], every: i64, now: i64, end: i64, owned: bool) -> Option<Status> {
    let window = commits.last().unwrap().0 - commits[0].0;
    let mut world = World::with_window(window.unsigned_abs());
    world.owned = owned;
    let mut last = (0, 0, 0);
    for commit in commits {
        (world.now, world.committed, world.end) = (commit.0 * 1000, Some(commit.1), commit.1 + commit.2);
        world.look();
        last = *commit;
    }
    let mut at = last.0 + every;
    while at <= now {
        world.now = at * 1000;
        // Records are appended evenly up to the final end.
        let came = (end - last.1 - last.2) * (at - last.0) / (now - last.0).max(1);
        world.end = last.1 + last.2 + came;
        world.look();
        at += every;
    }
    world.partition().status
}

const FALLING_BEHIND: [Commit; 5] =
    [(100, 1000, 50), (200, 2000, 100), (300, 3000, 150), (400, 4000, 200), (500, 5000, 250)];
const WAS_AT_THE_END: [Commit; 5] =
    [(100, 1000, 0), (200, 2000, 50), (300, 3000, 100), (400, 4000, 150), (500, 5000, 200)];
const STANDING: [Commit; 5] =
    [(100, 1000, 100), (200, 1000, 150), (300, 1000, 200), (400, 1000, 250), (500, 1000, 300)];

#[test]
fn example_0_no_lag_somewhere_in_the_window_is_ok() {
    assert_eq!(replay(&WAS_AT_THE_END, 100, 500, 5200, true), Some(Status::Ok));
}

/// Burrow returns OK (example 1), because its window consists of the last commits, however old. Here the window has moved on by
/// 400 s, in which the group was never at the end and its lag never shrank.
#[test]
fn example_1_differs_a_window_of_time_moves_on_without_commits() {
    assert_eq!(replay(&WAS_AT_THE_END, 100, 900, 5200, true), Some(Status::Warn));
}

#[test]
fn examples_2_and_3_no_commit_for_longer_than_the_window_is_a_stop() {
    assert_eq!(replay(&WAS_AT_THE_END, 100, 1000, 5200, false), Some(Status::Stop));
    assert_eq!(replay(&FALLING_BEHIND, 100, 1000, 5250, false), Some(Status::Stop));
}

/// Samples do not show whether the same offset was committed again: if a member owns the partition, that is assumed.
#[test]
fn examples_2_and_3_differ_where_a_member_owns_the_partition() {
    assert_eq!(replay(&FALLING_BEHIND, 100, 1000, 5250, true), Some(Status::Stall));
}

#[test]
fn example_4_standing_still_since_there_was_no_lag_is_ok() {
    let commits = [(100, 1000, 0), (200, 1000, 50), (300, 1000, 100), (400, 1000, 150), (500, 1000, 200)];
    assert_eq!(replay(&commits, 100, 500, 1200, true), Some(Status::Ok));
}

#[test]
fn examples_5_and_6_the_same_offset_all_along_is_a_stall() {
    assert_eq!(replay(&STANDING, 100, 600, 1300, true), Some(Status::Stall));
    let same_lag = STANDING.map(|(at, offset, _)| (at, offset, 100));
    assert_eq!(replay(&same_lag, 100, 600, 1100, true), Some(Status::Stall));
}

#[test]
fn example_7_going_back_is_a_rewind_though_the_lag_shrinks_later() {
    let commits = [(100, 1000, 100), (200, 2000, 150), (300, 3000, 200), (400, 2000, 1250), (500, 4000, 300)];
    assert_eq!(replay(&commits, 100, 600, 4300, true), Some(Status::Rewind));
}

#[test]
fn example_8_no_lag_now_is_ok_whatever_was() {
    let mut commits = FALLING_BEHIND.to_vec();
    commits.push((1000, 5250, 0));
    assert_eq!(replay(&commits, 100, 1000, 5250, true), Some(Status::Ok));
}

/// Fifteen commits, one a second, each at the end of the log.
fn at_the_end() -> Vec<Commit> {
    (0..15).map(|nth| (nth, 792_748_079 + nth, 0)).collect()
}

/// Burrow #290.
#[test]
fn example_9_a_stop_is_one_though_there_was_never_lag_at_a_commit() {
    assert_eq!(replay(&at_the_end(), 1, 32, 792_749_024, false), Some(Status::Stop));
}

/// Burrow #303.
#[test]
fn example_10_a_record_that_has_just_come_makes_no_stop() {
    let mut world = World::with_window(14);
    for (at, offset, _) in at_the_end() {
        (world.now, world.committed, world.end) = (at * 1000, Some(offset), offset);
        world.look();
    }
    for at in 15..=31 {
        world.now = at * 1000;
        world.look();
    }
    world.now = 32_000;
    world.end += 1;
    assert_eq!(world.look().status, Some(Status::Ok));
}

#[test]
fn commits_that_move_while_the_lag_never_shrinks_are_a_warning() {
    assert_eq!(replay(&FALLING_BEHIND, 100, 500, 5250, true), Some(Status::Warn));
    let mut shrinking = FALLING_BEHIND;
    shrinking[3].2 = 149;
    assert_eq!(replay(&shrinking, 100, 500, 5250, true), Some(Status::Ok));
}

#[test]
fn until_there_is_a_window_of_samples_there_is_no_status() {
    let mut world = World::with_window(60);
    world.end = 10;
    for _ in 0..6 {
        assert_eq!(world.look().status, None);
        world.pass(10);
    }
    assert_eq!(world.look().status, Some(Status::Stall));
    assert_eq!(world.group().status, Some(Status::Err), "of a group it is an error");
    world.committed = None;
    assert_eq!(world.look().status, None, "nothing is committed any more");
}

/// Moments between two steps of the window are not forgotten.
#[test]
fn a_moment_without_lag_and_a_step_back_are_seen_however_often_samples_come() {
    let mut world = World::with_window(100);
    let mut status = None;
    for second in 0..150 {
        world.end = 1000 + second;
        world.committed = Some(if second == 77 { world.end } else { 500 + second });
        status = world.look().status;
        world.pass(1);
    }
    assert_eq!(status, Some(Status::Ok), "there was no lag at one moment");
    for second in 150..400 {
        world.end = 1000 + second;
        world.committed = Some(if second == 301 { 400 } else { 500 + second });
        status = world.look().status;
        world.pass(1);
    }
    assert_eq!(status, Some(Status::Rewind), "it went back at one moment");
}
