use super::*;

fn names(indexes: impl IntoIterator<Item = i32>) -> Vec<TopicPartition> {
    indexes.into_iter().map(partition).collect()
}

/// Decodes the metadata of the partition's commit.
fn left_behind(world: &mut World, index: i32) -> (i64, FinishedBeyond) {
    let commits = world.machine.take_commit(world.now, Some(&names([index])));
    let commit = commits.into_iter().next().expect("a commit");
    let beyond = decode(commit.name.partition, commit.what.offset, &commit.what.metadata);
    (commit.what.offset, beyond.unwrap_or_default())
}

#[test]
fn m4_a_process_that_slept_past_its_session_begins_nothing_of_what_it_had_queued() {
    let mut world = World::new(Options { concurrency: 1, ..options() });
    world.assign([0]);
    world.receive(0, 0, &[A, B, C]);
    assert_eq!(world.offsets(), [0]);
    // The process wakes up: a handler ends before the process has learned that the partition may belong to another member.
    world.machine.owns(false);
    world.done(0);
    assert!(world.offsets().is_empty());
    // The coordinator still knows it as a member.
    world.machine.owns(true);
    world.drain();
    assert_eq!(world.offsets(), [1]);
    world.machine.owns(false);
    world.machine.removed(&names([0]));
    world.drain();
    assert_eq!(world.cancelled.len(), 1, "what runs is cancelled all the same");
}

#[test]
fn a_revoked_partition_starts_no_jobs_and_those_that_end_in_time_count() {
    let mut world = World::new(Options { concurrency: 2, ..options() });
    world.assign([0, 1]);
    world.receive(0, 0, &[A, B, C]);
    world.receive(1, 70, &[A, A]);
    assert_eq!(world.offsets(), [0, 1]);
    world.machine.revoking(&names([0]));
    assert!(!world.machine.are_idle(&names([0])) && world.machine.are_idle(&names([1])));
    world.done(1);
    assert_eq!(world.offsets(), [0, 70], "the kept one goes on");
    world.done(70);
    world.fail(0, Again);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.offsets(), [71]);
    assert!(world.machine.are_idle(&names([0])));
    assert_eq!(
        left_behind(&mut world, 0),
        (0, FinishedBeyond { ranges: vec![(1, 2)], epoch: Some(1), newest: 1001 })
    );
    world.machine.removed(&names([0]));
    world.drain();
    world.done(71);
    assert_eq!(world.commit(), [(1, 72, vec![])]);
}

#[test]
fn results_of_a_lost_partition_do_not_count() {
    let mut world = World::with(options(), 1, true);
    world.assign([0]);
    world.receive(0, 0, &[A, B, C, C]);
    world.fail(2, Poison);
    world.done(1);
    let tickets: Vec<_> = world.running.iter().map(|(_, ticket)| ticket.id).collect();
    let (_, ticket) = world.running.remove(0);
    world.running.push((Vec::new(), JobTicket { id: tickets[0], lanes: Vec::new(), began: world.now }));
    world.machine.removed(&names([0]));
    world.drain();
    assert!(world.running.is_empty());
    world.assign([0]);
    world.machine.job_ended(world.now, 0, &ticket, &Results::All(HandlerResult::Done), Vec::new());
    let (letter, _) = world.letters.remove(0);
    world.machine.letter_ended(world.now, letter, Ok((TopicPartition::new("dlq", 0), None)));
    assert_eq!(world.commit(), []);
    world.receive(0, 0, &[A]);
    assert_eq!(world.offsets(), [0], "it comes again");
    assert_eq!(world.commit(), []);
    assert_eq!(world.machine.metrics().dead_lettered, 0);
}

#[test]
fn records_finished_beyond_the_committed_offset_are_not_handled_again() {
    let mut world = World::new(options());
    world.assign([0]);
    world.receive(0, 0, &[A, B, B, C, C, None]);
    for offset in [1, 2, 3, 5] {
        world.done(offset);
    }
    let (offset, beyond) = left_behind(&mut world, 0);
    assert_eq!((offset, beyond.ranges.clone()), (0, vec![(1, 4), (5, 6)]));
    let mut next = World::new(options());
    next.assign_after([(0, Some(beyond))]);
    next.receive(0, 0, &[A, B, B]);
    assert_eq!(next.offsets(), [0]);
    assert_eq!(next.commit(), [(0, 0, vec![(1, 4), (5, 6)])], "what has not come yet is still said");
    next.done(0);
    assert_eq!(next.commit(), [(0, 3, vec![(3, 4), (5, 6)])]);
    next.receive(0, 3, &[C, C, None]);
    assert_eq!(next.offsets(), [4]);
    next.done(4);
    assert_eq!(next.commit(), [(0, 6, vec![])]);
    assert_eq!(next.machine.metrics().skipped, 4);
}

#[test]
fn nothing_begins_before_it_is_known_what_was_finished() {
    let mut world = World::new(options());
    let id = world.machine.assigned(&names([0]))[0].0;
    world.receive(0, 10, &[A, B, C]);
    assert!(world.running.is_empty());
    assert_eq!(world.machine.metrics().queued, 3);
    let before = FinishedBeyond { ranges: vec![(11, 12)], epoch: None, newest: i64::MAX };
    world.machine.loaded(world.now, id, Some(before));
    world.drain();
    assert_eq!(world.offsets(), [10, 12]);
    world.machine.loaded(world.now, id, Some(FinishedBeyond::default()));
    world.machine.removed(&names([0]));
    world.machine.loaded(world.now, id, None);
    world.drain();
    assert_eq!(world.machine.metrics().queued, 0);
}

#[test]
fn records_of_another_log_are_handled_whatever_the_metadata_says() {
    let finished = FinishedBeyond { ranges: vec![(1, 4)], epoch: Some(1), newest: 1003 };
    for other in [
        FinishedBeyond { epoch: Some(0), ..finished.clone() }, // a later leader has written them
        FinishedBeyond { newest: 1000, ..finished.clone() },   // they were written later
    ] {
        let mut world = World::new(options());
        world.assign_after([(0, Some(other))]);
        world.receive(0, 0, &[A, B, C, None]);
        assert_eq!(world.offsets(), [0, 1, 2, 3]);
    }
    let mut world = World::new(options());
    world.assign_after([(0, Some(finished))]);
    world.receive(0, 0, &[A, B, C, None]);
    assert_eq!(world.offsets(), [0]);
}

#[test]
fn a_log_that_was_cut_is_read_again_from_there() {
    let mut world = World::with(options(), 1, true);
    world.assign([0]);
    world.receive(0, 0, &[A, B, C, A, B, C]);
    world.done(0);
    world.done(1);
    world.fail(2, Again);
    assert_eq!(world.offsets(), [3, 4]);
    world.machine.rewound(&partition(0), 4);
    world.drain();
    assert_eq!(world.offsets(), [3], "what ran is tried again where it is still there");
    assert_eq!(world.machine.metrics().queued, 1);
    assert_eq!(world.commit(), [(0, 2, vec![])]);
    world.receive(0, 4, &[A, A]);
    assert_eq!(world.offsets(), [3]);
    world.done(3);
    world.done(4);
    world.done(5);
    world.pass(Duration::from_millis(100));
    world.done(2);
    assert_eq!(world.commit(), [(0, 6, vec![])]);
    // Without a notice: an offset that is read again shows that the log was cut.
    world.receive(0, 3, &[B]);
    assert_eq!(world.offsets(), [3]);
    assert_eq!(world.commit(), [(0, 3, vec![])]);
}

#[test]
fn a_dead_letter_of_a_record_that_the_log_has_lost_finishes_nothing() {
    let mut world = World::with(options(), 1, true);
    world.assign([0]);
    world.receive(0, 0, &[A, B]);
    world.fail(1, Poison);
    world.machine.rewound(&partition(0), 1);
    world.drain();
    let (letter, _) = world.letters.remove(0);
    world.machine.letter_ended(world.now, letter, Ok((TopicPartition::new("dlq", 0), None)));
    assert_eq!(world.machine.metrics().dead_lettered, 0);
    world.done(0);
    assert!(world.machine.is_idle());
    assert_eq!(world.commit(), [(0, 1, vec![])]);
}

#[test]
fn many_partitions_come_and_go() {
    let mut world = World::new(options());
    for _ in 0..3 {
        world.assign(0..2000);
        for index in (0..2000).step_by(7) {
            world.receive(index, 5, &[A]);
        }
        world.machine.removed(&(0..2000).map(partition).collect::<Vec<_>>());
        world.drain();
    }
    let metrics = world.machine.metrics();
    assert_eq!((metrics.queued, metrics.running, metrics.partitions.len()), (0, 0, 0));
    world.machine.removed(&names([5]));
    world.machine.revoking(&names([5]));
    world.machine.cancel(&names([5]));
    world.machine.rewound(&partition(5), 0);
    world.receive(5, 0, &[A]);
    assert!(world.running.is_empty(), "what is not assigned changes nothing");
}

#[test]
fn a_log_that_was_cut_within_a_gap_is_passed_again() {
    let mut world = World::new(options());
    world.assign([0]);
    world.receive(0, 0, &[A]);
    world.done(0);
    world.receive(0, 30, &[A]);
    world.machine.rewound(&partition(0), 20);
    world.drain();
    world.receive(0, 25, &[A]);
    world.done(25);
    assert_eq!(world.commit(), [(0, 26, vec![])], "between 1 and 25 there is nothing");
}

/// A commit of the start of an assignment, with records finished beyond it, keeps the epoch. Otherwise a cut of the log before
/// that would go unnoticed (found by the arena: 7215730).
#[test]
fn l3_a_commit_of_where_it_began_keeps_the_epoch() {
    for (metadata_bytes, expected) in [(1000, vec![(6, Some(4))]), (0, vec![])] {
        let mut world = World::new(Options { metadata_bytes, order: Order::Unordered, ..options() });
        let id = world.machine.assigned(&names([0]))[0].0;
        world.machine.committed_at(id, 6, Some(4));
        world.machine.loaded(world.now, id, None);
        world.receive(0, 6, &[A, B]);
        world.done(7);
        let commits = world.machine.take_commit(world.now, None);
        let commits: Vec<_> = commits.iter().map(|commit| (commit.what.offset, commit.what.epoch)).collect();
        assert_eq!(commits, expected, "{metadata_bytes}");
    }
}

/// So does a commit of the first record, if that is not where another left it: a transaction marker may lie between (found by the
/// arena: 3962402).
#[test]
fn l3_a_commit_of_the_first_record_behind_a_marker_has_an_epoch() {
    let mut world = World::new(Options { order: Order::Unordered, ..options() });
    let id = world.machine.assigned(&names([0]))[0].0;
    world.machine.committed_at(id, 6, Some(4));
    world.machine.loaded(world.now, id, None);
    let item = |offset| Item { epoch: Some(5), ..item(0, offset, None) };
    world.receive_items(0, vec![item(7), item(9)], 10);
    world.done(9);
    let commits = world.machine.take_commit(world.now, None);
    let commits: Vec<_> = commits.iter().map(|commit| (commit.what.offset, commit.what.epoch)).collect();
    assert_eq!(commits, [(7, Some(5))]);
}

/// And a commit of where the log was cut: with the epoch that ends there. The next cut may lie further back.
#[test]
fn l3_a_commit_of_where_the_log_was_cut_has_the_epoch_that_ends_there() {
    let item = |offset| Item { epoch: Some(5), ..item(0, offset, A) };
    let cuts: [(&[(i64, i32)], _); 4] = [
        (&[(7, 4)], (7, Some(4))),
        (&[(7, 4), (6, 3)], (6, Some(3))),
        (&[(8, 4)], (7, Some(5))), // the first record is left
        (&[(9, 5), (8, 4)], (7, Some(5))),
    ];
    for (cuts, expected) in cuts {
        let mut world = World::new(options());
        let id = world.machine.assigned(&names([0]))[0].0;
        world.machine.committed_at(id, 6, None);
        world.machine.loaded(world.now, id, None);
        world.receive_items(0, vec![item(7), item(8), item(9)], 10);
        for (at, epoch) in cuts {
            world.machine.rewound(&partition(0), *at);
            world.machine.ends_with(&partition(0), *epoch, *at);
        }
        let commits = world.machine.take_commit(world.now, None);
        let commits: Vec<_> = commits.iter().map(|commit| (commit.what.offset, commit.what.epoch)).collect();
        assert_eq!(commits, [expected], "{cuts:?}");
    }
}

/// Also if that is found out before anything is read, or while it is looked up what was committed.
#[test]
fn l3_a_cut_before_the_first_record_is_committed_with_the_epoch_that_ends_there() {
    for is_loaded in [true, false] {
        let mut world = World::new(options());
        let id = world.machine.assigned(&names([0]))[0].0;
        if is_loaded {
            world.machine.committed_at(id, 6, Some(4));
            world.machine.loaded(world.now, id, None);
        }
        world.machine.rewound(&partition(0), 5);
        world.machine.begins_at(&partition(0), 5);
        world.machine.ends_with(&partition(0), 3, 5);
        if !is_loaded {
            world.machine.committed_at(id, 6, Some(4));
            world.machine.loaded(world.now, id, None);
        }
        let commits = world.machine.take_commit(world.now, None);
        let commits: Vec<_> = commits.iter().map(|commit| (commit.what.offset, commit.what.epoch)).collect();
        assert_eq!(commits, [(5, Some(3))], "{is_loaded}");
    }
}

/// The same holds for a commit after the log was cut further on: next time it may be cut before that offset (found by the arena:
/// 8021766).
#[test]
fn l3_a_commit_after_a_cut_keeps_the_epoch_of_what_is_left() {
    for (cut, expected) in [(8, (6, Some(4))), (6, (6, Some(4))), (5, (5, None))] {
        let mut world = World::new(options());
        let id = world.machine.assigned(&names([0]))[0].0;
        world.machine.committed_at(id, 6, Some(4));
        world.machine.loaded(world.now, id, None);
        world.receive(0, 6, &[A, B, A, B]);
        world.machine.rewound(&partition(0), cut);
        let commits = world.machine.take_commit(world.now, None);
        let commits: Vec<_> = commits.iter().map(|commit| (commit.what.offset, commit.what.epoch)).collect();
        assert_eq!(commits, [expected], "cut at {cut}");
    }
}

#[test]
fn where_reading_begins_is_committed_if_it_is_not_what_was() {
    let mut world = World::new(options());
    world.assign([0]);
    assert!(world.commit().is_empty(), "it goes on where another left it");
    world.machine.begins_at(&partition(0), 5);
    assert_eq!(world.commit(), [(0, 5, vec![])]);
    assert!(world.commit().is_empty(), "once");
    world.machine.begins_at(&partition(0), 3);
    world.receive(0, 5, &[A]);
    world.machine.begins_at(&partition(0), 0);
    world.done(5);
    assert_eq!(world.commit(), [(0, 6, vec![])], "what has begun begins no more");
    // Records from before a cut wait while the partition loads: it begins with these.
    let id = world.machine.assigned(&names([1]))[0].0;
    world.receive(1, 3, &[A, B]);
    world.machine.rewound(&partition(1), 4);
    world.machine.begins_at(&partition(1), 4);
    world.machine.loaded(world.now, id, None);
    world.drain();
    assert_eq!(world.offsets(), [3]);
    world.done(3);
    assert_eq!(world.commit(), [(1, 4, vec![])]);
}

#[test]
fn where_reading_goes_on_ahead_of_a_cut_is_committed() {
    let mut world = World::new(options());
    world.assign([0, 1]);
    world.machine.moved_ahead(&partition(0), 100, 500);
    assert_eq!(world.commit(), [(0, 500, vec![])], "of which nothing has come");
    world.receive(1, 100, &[A, B]);
    world.done(100);
    world.machine.moved_ahead(&partition(1), 102, 500);
    assert_eq!(world.commit(), [(1, 101, vec![(102, 500)])], "what runs is not passed");
    world.done(101);
    assert_eq!(world.commit(), [(1, 500, vec![])]);
    world.receive(1, 510, &[A]);
    world.done(510);
    assert_eq!(world.commit(), [(1, 511, vec![])]);
}

#[test]
fn no_leader_epoch_of_truncated_records_is_committed() {
    let mut world = World::new(options());
    world.assign([0]);
    world.receive_items(0, vec![Item { epoch: Some(3), ..item(0, 100, A) }], 101);
    world.done(100);
    world.machine.moved_ahead(&partition(0), 101, 500);
    let commits = world.machine.take_commit(world.now, None);
    let commits: Vec<_> = commits.iter().map(|commit| (commit.what.offset, commit.what.epoch)).collect();
    assert_eq!(commits, [(500, None)], "or the log would seem to be cut once more where that epoch ended");
}

#[test]
fn a_cut_passes_nothing_of_a_partition_that_is_about_to_go_elsewhere_or_goes_on_no_more() {
    let mut world = World::new(options());
    world.assign([0]);
    world.receive(0, 100, &[A]);
    world.done(100);
    world.machine.revoking(&[partition(0)]);
    world.machine.moved_ahead(&partition(0), 200, 500);
    assert_eq!(world.commit(), [(0, 101, vec![])], "what came meanwhile was dropped");
    let retry = Retry::never().then_topics([("orders", Duration::from_secs(60))]);
    let mut world = World::new(Options { retry, order: Order::Unordered, ..options() });
    world.machine.assigned(&[partition(0)]);
    world.machine.moved_ahead(&partition(0), 100, 500);
    world.drain();
    assert!(world.commit().is_empty());
}

#[test]
fn finished_ranges_do_not_outlive_their_log() {
    let before = || Some(FinishedBeyond { ranges: vec![(1, 3)], epoch: None, newest: i64::MAX });
    let changes: [fn(&mut Machine<Rec>); 3] = [
        |machine| machine.rewound(&partition(0), 0),
        |machine| machine.position_reset(&partition(0)),
        |machine| machine.log_replaced(&partition(0), 0),
    ];
    for change in changes {
        let mut world = World::new(options());
        let id = world.machine.assigned(&names([0]))[0].0;
        change(&mut world.machine);
        world.machine.loaded(world.now, id, before());
        world.receive(0, 0, &[A, B, C]);
        assert_eq!(world.offsets(), [0, 1, 2], "also where it is known only afterwards");
        let mut world = World::new(options());
        world.assign_after([(0, before())]);
        change(&mut world.machine);
        world.receive(0, 0, &[A, B, C]);
        assert_eq!(world.offsets(), [0, 1, 2]);
    }
}

#[test]
fn nothing_of_a_topic_that_was_created_again_counts_for_the_new_one() {
    let mut world = World::new(options());
    world.assign([0]);
    world.receive(0, 100, &[A, B, C]);
    world.done(101);
    world.machine.log_replaced(&partition(0), 0);
    world.drain();
    assert!(world.running.is_empty());
    world.receive(0, 200, &[A]);
    world.done(200);
    assert_eq!(world.commit(), [(0, 201, vec![])]);
}

#[test]
fn a_stopped_partition_that_is_rewound_takes_no_room() {
    let mut world = World::new(options());
    world.assign([0]);
    world.receive(0, 0, &[A, B, C]);
    world.fail(2, Poison);
    world.machine.rewound(&partition(0), 2);
    world.drain();
    assert_eq!(world.machine.metrics().queued, 0);
}

#[test]
fn nothing_of_a_partition_begins_while_a_cancelled_handler_may_still_be_at_it() {
    let mut world = World::new(Options { concurrency: 3, ..options() });
    world.holds_ends = true;
    world.assign([0, 1]);
    world.receive(0, 0, &[A, B]);
    world.machine.rewound(&partition(0), 1);
    world.drain();
    assert!(world.running.is_empty() && world.machine.has_no_jobs());
    world.receive(1, 7, &[A, B]);
    assert_eq!(world.offsets(), [7], "of others it does, as far as there are places: two are held still");
    assert!(!world.machine.have_ended(&names([0, 1])) && world.machine.have_ended(&names([1])));
    world.done(7);
    assert_eq!(world.offsets(), [8]);
    world.done(8);
    assert!(world.running.is_empty(), "there is a place, and offset 0 waits");
    world.machine.removed(&names([0]));
    world.assign([0]);
    world.receive(0, 0, &[A]);
    assert!(world.running.is_empty(), "of a later assignment neither");
    world.end_cancelled();
    assert_eq!(world.offsets(), [0]);
    assert_eq!(world.commit(), [(1, 9, vec![])], "what they say is of no account");
}

#[test]
fn a_log_that_was_cut_before_what_is_committed_is_committed_anew() {
    let mut world = World::new(options());
    world.assign([0]);
    world.receive(0, 0, &[A, A, A]);
    (0..3).for_each(|offset| world.done(offset));
    assert_eq!(world.commit(), [(0, 3, vec![])]);
    world.machine.rewound(&partition(0), 1);
    world.drain();
    assert!(world.machine.is_commit_due(world.now + Duration::from_secs(1)));
    assert_eq!(world.commit(), [(0, 1, vec![])]);
}

#[test]
fn records_before_an_unreadable_batch_are_handled() {
    let mut world = World::new(Options { concurrency: 1, ..options() });
    world.assign([0]);
    world.receive(0, 0, &[A, B, C]);
    let error = offtake::Error::new(offtake::ErrorKind::Corrupt, "damaged");
    let why = crate::StopReason::Unreadable(error);
    world.machine.unreadable(crate::StoppedPartition { partition: partition(0), offset: Some(3), why });
    world.drain();
    (0..3).for_each(|offset| world.done(offset));
    assert_eq!(world.commit(), [(0, 3, vec![])]);
    assert_eq!(world.stopped(), [(0, Some(3))]);
}

/// The outcome of its commit is unknown: it begins again at the committed offset.
#[test]
fn a_partition_that_starts_over_is_read_when_the_consumer_has_gone_back_and_forgets_what_it_had() {
    let mut world = World::new(Options { concurrency: 9, ..options() });
    world.assign([0, 1, 2]);
    for index in 0..3 {
        world.receive(index, 10, &[A, B, C]);
    }
    [10, 10, 10, 11].into_iter().for_each(|offset| world.done(offset));
    world.machine.revoking(&[partition(2)]);
    world.drain();
    let commits = world.machine.take_commit(world.now, None);
    world.machine.commit_ended(&commits, |_| false);
    let begun = world.machine.start_over(&commits);
    world.drain();
    let names: Vec<_> = begun.iter().map(|(_, name, from)| (name.partition, *from)).collect();
    assert_eq!(names, [(0, Some(10)), (1, Some(10))], "what is handed over is left to others");
    assert_eq!((world.offsets(), world.machine.metrics().queued), (vec![], 0));
    assert_eq!(world.paused.iter().collect::<Vec<_>>(), [&partition(0), &partition(1)]);
    for (id, _, _) in begun {
        world.machine.loaded(world.now, id, None);
    }
    world.drain();
    assert!(world.paused.is_empty());
    // One was committed, the other was not.
    world.receive(0, 12, &[C]);
    world.receive(1, 10, &[A, B, C]);
    assert_eq!(world.offsets(), [12, 10, 11, 12]);
    [12, 10, 11, 12].into_iter().for_each(|offset| world.done(offset));
    assert_eq!(world.commit(), [(0, 13, vec![]), (1, 13, vec![])]);
}

/// By default the consumer may begin far after the first record of a retry topic.
#[test]
fn nothing_of_a_retry_topic_is_read_before_it_is_known_where_it_begins() {
    let retry = Retry::never().then_topics([("orders", Duration::from_secs(1))]);
    let mut world = World::new(Options { retry, ..options() });
    let id = world.machine.assigned(&[partition(0)])[0].0;
    world.drain();
    assert_eq!(world.paused.len(), 1);
    world.machine.loaded(world.now, id, None);
    world.drain();
    assert!(world.paused.is_empty());
}

/// It is read again from where it began, and delivers nothing before it is there.
#[test]
fn a_partition_that_starts_over_stays_paused_until_it_is_loaded() {
    let mut world = World::new(Options { concurrency: 1, queue: 8, ..options() });
    world.assign([0]);
    world.receive(0, 0, &[None; 9]);
    world.done(0);
    let commits = world.machine.take_commit(world.now, None);
    world.machine.commit_ended(&commits, |_| false);
    let begun = world.machine.start_over(&commits);
    world.drain();
    assert!(world.paused.contains(&partition(0)));
    for (id, _, _) in begun {
        world.machine.loaded(world.now, id, None);
    }
    world.drain();
    assert!(world.paused.is_empty() && world.machine.metrics().queued == 0);
}
