//! Tests of which responses count, and what is handed out: seeks, revokes, pauses, resets, truncation.

use offtake_fetch::{Event, PartitionError};
use offtake_machine::{Position, Token};
use offtake_wire::{
    ErrorCode, Uuid,
    messages::fetch::{EpochEndOffset, LeaderIdAndEpoch, PartitionData},
};

use crate::rig::{Rig, TOKEN, batch, data, error, nothing, response, tp};

fn at(offset: i64, epoch: i32) -> Position {
    Position { offset, epoch: Some(epoch) }
}

/// Partition 0 of "a" is fetched, and a request is outstanding.
fn flowing(offset: i64) -> (Rig, crate::rig::Asked) {
    let mut rig = Rig::new().topic("a", &[1]);
    rig.start("a", 0, offset);
    let asked = rig.ask();
    (rig, asked)
}

#[test]
fn b3_a_recreated_topic_gets_no_position_of_the_old_one() {
    let (mut rig, asked) = flowing(0);
    rig.answer(&asked, response(7, vec![("a", vec![data(0, batch(0, 5))])]));
    let asked = rig.ask();
    let new = Uuid([9; 16]);
    rig.topic_mut("a").id = new;
    rig.show();
    rig.answer(&asked, response(7, vec![("a", vec![data(0, batch(5, 5))])]));
    assert_eq!(rig.told(), []);
    rig.silent();
    // `offsets` has detected it too.
    assert_eq!(rig.fetcher.stop(&tp("a", 0)), Some(Position::at(0)), "before all that nobody has taken");
    assert!(rig.fetcher.take().is_none(), "records of the old topic");
    assert_eq!(rig.fetcher.memory_held(), 0);
    // The policy has decided.
    rig.start("a", 0, 0);
    let asked = rig.ask();
    assert_eq!(asked.asks(), ["a-0@0"]);
    assert_eq!(asked.request.topics[0].topic_id, new);
    // By id it is another topic to the broker (KIP-516). By name, as before Fetch 13, it is the same, and a
    // broker that gets the partition both as requested and as forgotten in one request forgets it: such a
    // request must not be sent.
    assert_eq!(asked.session(), (7, 0), "everything is said again");
    assert_eq!(asked.forgets(), Vec::<String>::new());
}

#[test]
fn b3_a_response_about_the_old_topic_says_nothing_of_the_new_one() {
    // The old topic had other leaders, and later epochs; and its first records had the same offsets.
    let leader = LeaderIdAndEpoch { leader_id: 2, leader_epoch: 9 };
    let fenced = PartitionData { current_leader: Some(leader), ..error(0, ErrorCode::FencedLeaderEpoch) };
    for answer in [fenced, data(0, batch(0, 5)), error(0, ErrorCode::OffsetOutOfRange)] {
        let (mut rig, asked) = flowing(0);
        rig.topic_mut("a").id = Uuid([9; 16]);
        rig.show();
        rig.fetcher.stop(&tp("a", 0));
        rig.start("a", 0, 0);
        rig.silent();
        rig.answer(&asked, response(7, vec![("a", vec![answer])]));
        assert_eq!((rig.told(), rig.drain()), (vec![], vec![]));
        let asked = rig.ask();
        assert_eq!(asked.asks(), ["a-0@0"], "at once, of the new one");
        assert_eq!(asked.request.topics[0].topic_id, Uuid([9; 16]));
    }
}

#[test]
fn e3_an_answer_to_a_revoked_partition_is_ignored_and_a_kept_one_is_delivered() {
    let mut rig = Rig::new().topic("a", &[1, 1]);
    rig.start("a", 0, 0);
    rig.start("a", 1, 0);
    let asked = rig.ask();
    rig.fetcher.stop(&tp("a", 0));
    rig.answer(&asked, response(7, vec![("a", vec![data(0, batch(0, 5)), data(1, batch(0, 5))])]));
    assert_eq!(rig.drain(), [("a-1".to_owned(), vec![0, 1, 2, 3, 4])]);
    assert_eq!(rig.fetcher.position(&tp("a", 0)), None);
}

#[test]
fn h8_after_stop_nothing_is_handed_out_and_the_position_is_behind_what_was_taken() {
    let (mut rig, asked) = flowing(0);
    rig.answer(&asked, response(7, vec![("a", vec![data(0, batch(0, 5))])]));
    let asked = rig.ask();
    rig.answer(&asked, response(7, vec![("a", vec![data(0, batch(5, 5))])]));
    let first = rig.fetcher.take().unwrap();
    assert_eq!(rig.fetcher.position(&tp("a", 0)), Some(at(10, 5)));
    assert_eq!(rig.fetcher.stop(&tp("a", 0)), Some(at(5, 5)));
    assert_eq!(first.next, at(5, 5));
    assert!(rig.fetcher.take().is_none());
    assert!(rig.fetcher.memory_held() > 0, "what was taken is still held by somebody");
    rig.fetcher.release(&tp("a", 0), first.charge);
    assert_eq!(rig.fetcher.memory_held(), 0);
}

#[test]
fn i7_an_answer_older_than_a_seek_is_dropped_also_if_it_is_an_error() {
    let (mut rig, asked) = flowing(0);
    rig.start_as("a", 0, TOKEN.after_seek(), Position::at(40));
    rig.answer(&asked, response(7, vec![("a", vec![error(0, ErrorCode::OffsetOutOfRange)])]));
    assert_eq!(rig.told(), []);
    let asked = rig.ask();
    assert_eq!(asked.asks(), ["a-0@40"]);
    rig.answer(&asked, response(7, vec![("a", vec![data(0, batch(38, 4))])]));
    assert_eq!(rig.drain(), [("a-0".to_owned(), vec![40, 41])], "J8: the batch begins before the position");
}

#[test]
fn i8_an_answer_during_validation_is_dropped_and_asked_for_again() {
    let mut rig = Rig::new().topic("a", &[1]);
    rig.start_as("a", 0, TOKEN, at(10, 4));
    let asked = rig.ask();
    rig.lead("a", 0, 1, 6);
    rig.show();
    assert_eq!(rig.told(), [Event::Validate { partition: tp("a", 0), token: TOKEN, position: at(10, 4) }]);
    rig.show();
    assert_eq!(rig.told(), [], "asked for once");
    rig.answer(&asked, response(7, vec![("a", vec![data(0, batch(10, 5))])]));
    assert!(rig.fetcher.take().is_none());
    rig.silent();
    rig.start_as("a", 0, TOKEN, at(10, 4));
    assert_eq!(rig.told(), [], "it is valid for the epoch that we told of");
    let asked = rig.ask();
    assert_eq!(asked.asks(), ["a-0@10"]);
    rig.answer(&asked, response(7, vec![("a", vec![data(0, batch(10, 5))])]));
    assert_eq!(rig.drain(), [("a-0".to_owned(), vec![10, 11, 12, 13, 14])]);
}

#[test]
fn l5_a_second_leader_change_during_validation_is_validated_too() {
    let mut rig = Rig::new().topic("a", &[1]);
    rig.start_as("a", 0, TOKEN, at(10, 4));
    rig.ask();
    rig.lead("a", 0, 2, 6);
    rig.show();
    rig.lead("a", 0, 3, 7);
    rig.show();
    assert_eq!(rig.told().len(), 1);
    rig.start_as("a", 0, TOKEN, at(10, 4));
    rig.silent();
    assert_eq!(rig.told(), [Event::Validate { partition: tp("a", 0), token: TOKEN, position: at(10, 4) }]);
}

#[test]
fn a_position_without_an_epoch_cannot_be_validated_and_moves_at_once() {
    let (mut rig, _) = flowing(10);
    rig.lead("a", 0, 2, 6);
    rig.show();
    assert_eq!(rig.told(), []);
    let asked = rig.ask();
    assert_eq!((asked.broker.0, asked.asks()), (2, vec!["a-0@10".to_owned()]));
    assert_eq!(asked.request.topics[0].partitions[0].current_leader_epoch, 6);
}

#[test]
fn a_validated_position_keeps_what_is_buffered() {
    let (mut rig, asked) = flowing(0);
    rig.answer(&asked, response(7, vec![("a", vec![data(0, batch(0, 5))])]));
    rig.ask();
    rig.lead("a", 0, 1, 6);
    rig.show();
    rig.start_as("a", 0, TOKEN, at(5, 5));
    assert_eq!(rig.drain(), [("a-0".to_owned(), vec![0, 1, 2, 3, 4])]);
}

#[test]
fn l3_truncation_into_what_is_buffered_keeps_what_lies_before_it_without_a_hole() {
    let (mut rig, mut asked) = flowing(0);
    for base in [0, 5, 10] {
        rig.answer(&asked, response(7, vec![("a", vec![data(0, batch(base, 5))])]));
        asked = rig.ask();
    }
    let diverging_epoch = Some(EpochEndOffset { epoch: 5, end_offset: 8 });
    let diverged = offtake_wire::messages::fetch::PartitionData { diverging_epoch, ..nothing(0) };
    rig.answer(&asked, response(7, vec![("a", vec![diverged])]));
    let told = Event::Diverged { partition: tp("a", 0), token: TOKEN, position: at(15, 5) };
    assert_eq!(rig.told(), [told]);
    rig.silent();
    rig.start_as("a", 0, TOKEN, at(8, 5));
    assert_eq!(rig.ask().asks(), ["a-0@5"], "5, 6 and 7 are still good, and were not handed out");
    assert_eq!(rig.drain(), [("a-0".to_owned(), vec![0, 1, 2, 3, 4])]);
}

#[test]
fn l3_a_position_found_good_after_all_is_not_held_against_its_epoch_again() {
    let mut rig = Rig::new().topic("a", &[1]);
    rig.start_as("a", 0, TOKEN, at(10, 4));
    let asked = rig.ask();
    assert_eq!(asked.request.topics[0].partitions[0].last_fetched_epoch, 4);
    let diverging_epoch = Some(EpochEndOffset { epoch: 3, end_offset: 8 });
    let diverged = offtake_wire::messages::fetch::PartitionData { diverging_epoch, ..nothing(0) };
    rig.answer(&asked, response(7, vec![("a", vec![diverged])]));
    assert_eq!(rig.told().len(), 1);
    rig.start_as("a", 0, TOKEN, at(10, 4));
    let asked = rig.ask();
    assert_eq!(
        asked.request.topics[0].partitions[0].last_fetched_epoch, -1,
        "or the two would go round for ever"
    );
    rig.answer(&asked, response(7, vec![("a", vec![data(0, batch(10, 1))])]));
    assert_eq!(rig.ask().request.topics[0].partitions[0].last_fetched_epoch, 5);
}

#[test]
fn i11_a_pause_keeps_what_is_buffered_in_order_and_a_seek_keeps_the_pause() {
    let (mut rig, asked) = flowing(0);
    rig.answer(&asked, response(7, vec![("a", vec![data(0, batch(0, 2))])]));
    let asked = rig.ask();
    rig.fetcher.pause(&tp("a", 0), TOKEN);
    rig.answer(&asked, response(7, vec![("a", vec![data(0, batch(2, 2))])]));
    assert!(rig.fetcher.take().is_none());
    rig.silent();
    rig.fetcher.resume(&tp("a", 0), TOKEN);
    assert_eq!(rig.drain(), [("a-0".to_owned(), vec![0, 1]), ("a-0".to_owned(), vec![2, 3])]);
    assert_eq!(rig.ask().asks(), ["a-0@4"], "not from an older position");
    rig.fetcher.pause(&tp("a", 0), TOKEN);
    rig.start_as("a", 0, TOKEN.after_seek(), Position::at(0));
    assert!(rig.fetcher.is_paused(&tp("a", 0)));
    rig.fetcher.stop(&tp("a", 0));
    rig.start_as("a", 0, Token { assignment: 2, seek: 0 }, Position::at(0));
    assert!(!rig.fetcher.is_paused(&tp("a", 0)), "E10: the pause was the earlier owner's");
}

#[test]
fn l1_out_of_range_goes_back_to_offsets_once_and_keeps_what_is_buffered() {
    let (mut rig, asked) = flowing(0);
    rig.answer(&asked, response(7, vec![("a", vec![data(0, batch(0, 5))])]));
    let asked = rig.ask();
    rig.answer(&asked, response(7, vec![("a", vec![error(0, ErrorCode::OffsetOutOfRange)])]));
    assert_eq!(rig.told(), [], "L4: first without the epoch, which the leader may have lost");
    let asked = rig.ask();
    assert_eq!(asked.request.topics[0].partitions[0].last_fetched_epoch, -1);
    rig.answer(&asked, response(7, vec![("a", vec![error(0, ErrorCode::OffsetOutOfRange)])]));
    assert_eq!(rig.told(), [Event::OutOfRange { partition: tp("a", 0), token: TOKEN, position: at(5, 5) }]);
    rig.silent();
    rig.start("a", 0, 100);
    assert_eq!(rig.ask().asks(), ["a-0@100"]);
    assert_eq!(rig.drain(), [("a-0".to_owned(), vec![0, 1, 2, 3, 4])]);
}

#[test]
fn o5_missing_permission_is_told_once_and_recovers() {
    let (mut rig, mut asked) = flowing(0);
    let mut told = Vec::new();
    for _ in 0..5 {
        rig.answer(&asked, response(7, vec![("a", vec![error(0, ErrorCode::TopicAuthorizationFailed)])]));
        told.extend(rig.told());
        rig.silent();
        rig.pass_ms(1300);
        asked = rig.ask();
    }
    let failed = PartitionError::Refused(ErrorCode::TopicAuthorizationFailed);
    assert_eq!(
        told,
        [Event::PartitionFailed {
            partition: tp("a", 0),
            token: TOKEN,
            position: Position::at(0),
            error: failed
        }]
    );
    rig.answer(&asked, response(7, vec![("a", vec![data(0, batch(0, 1))])]));
    assert_eq!(rig.drain(), [("a-0".to_owned(), vec![0])]);
}

#[test]
fn q4_an_unknown_code_backs_off_and_is_told_when_it_stays() {
    let (mut rig, mut asked) = flowing(0);
    let mut told = Vec::new();
    for _ in 0..5 {
        rig.answer(&asked, response(7, vec![("a", vec![error(0, ErrorCode::Unknown(4711))])]));
        told.push(rig.told().len());
        rig.pass_ms(1300);
        asked = rig.ask();
    }
    assert_eq!(told, [0, 0, 1, 0, 0]);
}

#[test]
fn safe13_a_negative_position_is_never_asked_for() {
    let mut rig = Rig::new().topic("a", &[1]);
    rig.start("a", 0, -1);
    rig.silent();
    assert!(matches!(rig.told().as_slice(), [Event::OutOfRange { .. }]));
}

#[test]
fn safe13_watermarks_are_put_in_order() {
    let (mut rig, asked) = flowing(0);
    assert_eq!(rig.fetcher.watermarks(&tp("a", 0)), None);
    let odd = offtake_wire::messages::fetch::PartitionData {
        high_watermark: 3,
        last_stable_offset: 9,
        log_start_offset: 7,
        ..data(0, batch(0, 5))
    };
    rig.answer(&asked, response(7, vec![("a", vec![odd])]));
    let watermarks = rig.fetcher.watermarks(&tp("a", 0)).unwrap();
    assert_eq!((watermarks.low, watermarks.last_stable, watermarks.high), (3, 3, 3));
    assert_eq!(rig.drain(), [("a-0".to_owned(), vec![0, 1, 2, 3, 4])], "INPUT22: the data is accepted");
}

#[test]
fn safe14_where_a_log_ends_is_told_by_the_first_answer_and_by_each_that_changes_it() {
    let ends = |rig: &mut Rig| -> Vec<(Token, i64)> {
        let end = |event| match event {
            Event::Watermarks { token, watermarks, .. } => Some((token, watermarks.high)),
            _ => None,
        };
        rig.events().into_iter().filter_map(end).collect()
    };
    let (mut rig, mut asked) = flowing(1000);
    let grown = |high| PartitionData { high_watermark: high, last_stable_offset: high, ..nothing(0) };
    for (data, told) in [
        (nothing(0), vec![(TOKEN, 1000)]),
        (nothing(0), vec![]),
        (grown(1007), vec![(TOKEN, 1007)]),
        (PartitionData { records: Some(batch(1000, 5)), ..grown(1009) }, vec![(TOKEN, 1009)]),
        (PartitionData { records: Some(batch(1005, 4)), ..grown(1009) }, vec![]),
    ] {
        rig.answer_late(&asked, response(7, vec![("a", vec![data])]));
        assert_eq!(ends(&mut rig), told);
        asked = rig.ask();
    }
    // Its present owner has not received any watermarks.
    rig.start_as("a", 0, TOKEN.after_seek(), Position::at(1009));
    rig.answer_late(&asked, response(7, vec![]));
    let asked = rig.ask();
    rig.answer_late(&asked, response(7, vec![("a", vec![grown(1009)])]));
    assert_eq!(ends(&mut rig), [(TOKEN.after_seek(), 1009)]);
}

#[test]
fn l3_start_says_where_reading_really_goes_on() {
    let (mut rig, mut asked) = flowing(0);
    for base in [0, 5] {
        rig.answer(&asked, response(7, vec![("a", vec![data(0, batch(base, 5))])]));
        asked = rig.ask();
    }
    // Truncated to 8: in the dropped chunk 5, 6 and 7 are still valid.
    let start = rig.start_as("a", 0, TOKEN, at(8, 5));
    assert_eq!(start.position, at(5, 5));
    let later = rig.start_as("a", 0, TOKEN, at(5, 5));
    assert_eq!(later.position, at(5, 5));
    assert!(later.start_id > start.start_id);
}

#[test]
fn e10_a_pause_of_one_assignment_says_nothing_of_another() {
    let next = Token { assignment: 2, seek: 0 };
    // Before it is started.
    let mut rig = Rig::new().topic("a", &[1]);
    rig.fetcher.pause(&tp("a", 0), TOKEN);
    rig.start("a", 0, 0);
    assert!(rig.fetcher.is_paused(&tp("a", 0)));
    rig.silent();
    // While it is stopped; a seek keeps the pause.
    rig.fetcher.stop(&tp("a", 0));
    rig.start_as("a", 0, TOKEN.after_seek(), Position::at(7));
    assert!(rig.fetcher.is_paused(&tp("a", 0)));
    // The next owner does not inherit it, and an old owner has no effect.
    rig.fetcher.stop(&tp("a", 0));
    rig.start_as("a", 0, next, Position::at(0));
    assert!(!rig.fetcher.is_paused(&tp("a", 0)));
    rig.fetcher.pause(&tp("a", 0), TOKEN);
    assert!(!rig.fetcher.is_paused(&tp("a", 0)));
    rig.fetcher.pause(&tp("a", 0), next);
    rig.fetcher.resume(&tp("a", 0), TOKEN);
    assert!(rig.fetcher.is_paused(&tp("a", 0)), "resumed by somebody else");
    rig.fetcher.resume(&tp("a", 0), next.after_seek());
    assert_eq!(rig.ask().asks(), ["a-0@0"]);
}

#[test]
fn e10_a_pause_that_was_never_started_is_forgotten_with_the_assignment() {
    let mut rig = Rig::new().topic("a", &[1]);
    rig.fetcher.pause(&tp("a", 0), TOKEN);
    assert_eq!(rig.fetcher.forget(&tp("a", 0)), None);
    assert!(!rig.fetcher.is_paused(&tp("a", 0)));
    rig.fetcher.pause(&tp("a", 0), TOKEN);
    rig.start_as("a", 0, Token { assignment: 2, seek: 0 }, Position::at(0));
    assert_eq!(rig.ask().asks(), ["a-0@0"], "not forgotten, but somebody else's");
}
