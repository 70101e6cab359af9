//! Compares the lag in seconds with the truth.

use super::*;

/// A producer with known times, and a group that is a fixed number of seconds behind; samples every ten seconds.
#[test]
fn between_samples_the_age_is_within_the_error_that_is_stated() {
    let mut world = World::with_window(60);
    let written_at = |offset: i64| offset * 250; // four a second, at these milliseconds
    for round in 0..200 {
        world.now = round * 10_000 + round % 7 * 130;
        world.end = world.now / 250 + 1;
        world.committed = Some((world.end - 40 - round % 50).max(0));
        let told = world.look();
        let truth = (world.now - written_at(world.committed.unwrap())) as f64 / 1000.0;
        let Some(seconds) = told.lag_seconds else { continue };
        let error = told.lag_seconds_error.unwrap();
        assert!((seconds - truth).abs() <= error, "{round}: {seconds} ± {error}, and it is {truth}");
        assert!((seconds - truth).abs() < 1.0, "{round}: {seconds}, and it is {truth}");
    }
}

#[test]
fn a_timestamp_is_read_where_samples_do_not_tell_enough_and_only_there() {
    let mut world = World::with_window(60);
    (world.end, world.committed) = (100, Some(50));
    world.look();
    // The record was in the first sample.
    assert_eq!(world.lag.wanted_record_times(10), [(orders(), 50)]);
    world.now = 1000;
    let told = world.look_and_read(|_| RecordTime::At { timestamp: EPOCH - 40_000, error_ms: 0 });
    assert_eq!((told.lag_seconds, told.lag_seconds_error), (Some(41.0), Some(0.0)));
    assert!(world.lag.wanted_record_times(10).is_empty(), "it is known now");
    world.pass(10);
    assert_eq!(world.look().lag_seconds, Some(51.0), "it becomes older without being read again");
    assert!(world.lag.wanted_record_times(10).is_empty());
    // The group moves on to a record that was appended between two samples, ten seconds apart: an error of 5 s is too large at
    // first, and within 5 % when the record is old.
    world.end = 200;
    world.pass(10);
    world.look();
    world.committed = Some(150);
    world.look();
    assert_eq!(world.lag.wanted_record_times(10), [(orders(), 150)]);
    world.pass(120);
    world.committed = Some(160);
    world.look();
    assert!(world.lag.wanted_record_times(10).is_empty());
    // If the group does not move, only reading distinguishes a record from a transaction marker.
    world.pass(10);
    world.look();
    assert_eq!(world.lag.wanted_record_times(10), [(orders(), 160)]);
    world.look_and_read(|_| RecordTime::Without);
    assert!(world.lag.wanted_record_times(10).is_empty(), "once");
}

#[test]
fn a_timestamp_is_believed_as_far_as_the_samples_allow() {
    let look = |stamped: i64| {
        let mut world = World::with_window(60);
        world.look();
        world.pass(10);
        world.end = 1; // it was appended within these ten seconds
        let told = world.look_and_read(|_| RecordTime::At { timestamp: EPOCH + stamped, error_ms: 0 });
        (told.lag_seconds.unwrap(), told.lag_seconds_error.unwrap())
    };
    assert_eq!(look(7_000), (3.0, 0.0), "its producer's clock is as ours");
    assert_eq!(look(-86_400_000), (10.0, 10.0), "a record of yesterday that came just now");
    assert_eq!(look(86_400_000), (0.0, 10.0), "one of tomorrow");
    assert_eq!(look(10_400), (0.0, 0.4), "a clock that is a little fast");
}

#[test]
fn a_record_without_a_timestamp_is_as_old_as_the_samples_say() {
    let mut world = World::with_window(60);
    world.end = 5;
    let told = world.look_and_read(|_| RecordTime::Without);
    assert_eq!((told.lag_seconds, told.lag), (None, Some(5)), "it was there before anybody looked");
    world.committed = Some(5);
    world.pass(10);
    world.end = 6;
    let told = world.look_and_read(|_| RecordTime::Without);
    assert_eq!((told.lag_seconds, told.lag_seconds_error), (Some(5.0), Some(5.0)));
}

#[test]
fn transaction_markers_and_what_compaction_has_removed_are_no_unread_records() {
    let mut world = World::with_window(60);
    world.end = 1;
    let told = world.look_and_read(|_| RecordTime::NoRecord);
    assert_eq!((told.lag, told.lag_seconds), (Some(1), Some(0.0)), "Kafka counts the marker");
}

/// The group is at a transaction marker, and a record is appended after it.
#[test]
fn a_record_behind_a_transaction_marker_is_as_old_as_it_is() {
    let mut world = World::with_window(60);
    world.end = 1;
    assert_eq!(world.look_and_read(|_| RecordTime::NoRecord).lag_seconds, Some(0.0));
    for _ in 0..100 {
        world.pass(10);
        assert_eq!(world.look().lag_seconds, Some(0.0));
        assert!(world.lag.wanted_record_times(10).is_empty(), "nothing came");
    }
    world.pass(10);
    world.end = 2;
    let told = world.look();
    assert_eq!(
        (told.lag_seconds, told.lag_seconds_error),
        (Some(5.0), Some(5.0)),
        "it came since the last sample"
    );
    assert_eq!(world.lag.wanted_record_times(10), [(orders(), 0)]);
    let stamped = EPOCH + world.now - 3000;
    let told = world.look_and_read(|_| RecordTime::At { timestamp: stamped, error_ms: 0 });
    assert_eq!((told.lag_seconds, told.lag_seconds_error), (Some(3.0), Some(0.0)));
    world.pass(60);
    world.end = 3;
    assert_eq!(world.look().lag_seconds, Some(63.0), "it is unread still");
}

/// Another marker was appended, and no record.
#[test]
fn a_log_that_grows_by_markers_alone_is_read_once_for_each() {
    let mut world = World::with_window(60);
    for end in 1..5 {
        world.end = end;
        assert_eq!(world.look_and_read(|_| RecordTime::NoRecord).lag_seconds, Some(0.0));
        assert!(world.lag.wanted_record_times(10).is_empty());
        world.pass(10);
    }
}

/// The marker was appended within a known second, so that samples alone determine its age.
#[test]
fn a_marker_is_known_for_one_however_often_samples_come() {
    let mut world = World::with_window(60);
    (world.end, world.committed) = (5, Some(5));
    world.look();
    world.pass(1);
    world.end = 6;
    for _ in 0..30 {
        world.look_and_read(|_| RecordTime::NoRecord);
        world.pass(1);
    }
    let told = world.look_and_read(|_| RecordTime::NoRecord);
    assert_eq!((told.lag, told.lag_seconds), (Some(1), Some(0.0)));
}

/// A group that commits with its transactions stays before the marker of the last one as long as no record is appended.
#[test]
fn a_group_that_stands_before_a_transaction_marker_has_caught_up() {
    let mut world = World::with_window(60);
    world.end = 1;
    for _ in 0..20 {
        world.look_and_read(|_| RecordTime::NoRecord);
        world.pass(10);
    }
    let told = world.look();
    assert_eq!((told.lag, told.status), (Some(1), Some(Status::Ok)));
    // Retention deletes everything, including the marker: nothing is lost.
    world.start = 1;
    for _ in 0..20 {
        world.look();
        world.pass(10);
    }
    let told = world.look();
    assert_eq!((told.status, told.time_to_data_loss_seconds), (Some(Status::Ok), None));
    assert_eq!(told.severity, crate::Severity::Healthy);
    // A record is appended, and nobody reads it.
    world.end = 2;
    for _ in 0..20 {
        world.look_and_read(|_| RecordTime::Without);
        world.pass(10);
    }
    assert_eq!(world.look().status, Some(Status::Stall));
}

#[test]
fn record_times_left_out_in_one_round_are_requested_in_the_next() {
    let mut world = World::with_window(60);
    let mut sample = world.sample();
    let of = |partition| TopicPartition::new("orders", partition);
    sample.groups[0].committed = Some((0..10).map(|partition| (of(partition), 0)).collect());
    world.end = 5;
    sample.logs = (0..10).map(|partition| (of(partition), world.log())).collect();
    world.lag.handle_sample(sample);
    let mut asked = BTreeMap::<_, u32>::new();
    for _ in 0..5 {
        // There is no response.
        for (partition, _) in world.lag.wanted_record_times(4) {
            *asked.entry(partition).or_default() += 1;
        }
    }
    assert_eq!(asked.len(), 10);
    assert!(asked.values().all(|times| *times == 2), "{asked:?}");
}

#[test]
fn a_wall_clock_that_jumps_changes_no_age_that_samples_tell() {
    let mut world = World::with_window(60);
    world.look();
    world.pass(10);
    world.end = 100;
    world.look();
    world.pass(200);
    let before = world.look().lag_seconds.unwrap();
    let mut sample = world.sample();
    sample.wall_ms -= 3_600_000;
    let after = world.give(sample).lag_seconds.unwrap();
    assert_eq!((before, after), (210.0 - 0.05, 210.0 - 0.05));
}

/// Its timestamp lies a day ahead, and it was there at the first sample: it ages from that on, and how old it was is not known.
#[test]
fn a_record_from_the_future_ages_from_the_first_sample_that_has_it() {
    let mut world = World::with_window(60);
    world.end = 1;
    let told = world.look_and_read(|_| RecordTime::At { timestamp: EPOCH + 86_400_000, error_ms: 0 });
    assert_eq!((told.lag_seconds, told.lag_seconds_error), (Some(0.0), None));
    for _ in 0..60 {
        world.pass(60);
        world.look();
    }
    let told = world.look();
    assert!(told.lag_seconds.unwrap() >= 3600.0 && told.lag_seconds_error.is_none(), "{told:?}");
}
