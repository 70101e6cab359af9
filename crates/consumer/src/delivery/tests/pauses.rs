//! Tests of what a paused partition keeps, and what it gives back.

use super::*;

#[test]
fn i11_a_pause_keeps_what_is_buffered_and_in_order() {
    let mut sim = Sim::handing_out(2);
    sim.receive(chunk(0, 4, &[batch(0, 4)]));
    assert_eq!(sim.poll().unwrap().unwrap(), [0, 1]);
    sim.handle.pause([orders()]).unwrap();
    assert!(sim.poll().is_none());
    sim.receive(chunk(4, 6, &[batch(4, 2)]));
    assert!(sim.poll().is_none());
    assert_eq!(sim.freed(), 0);
    sim.handle.resume([orders()]).unwrap();
    let polls: Vec<_> = std::iter::from_fn(|| sim.poll()).map(|poll| poll.unwrap()).collect();
    assert_eq!(polls, [vec![2, 3], vec![4, 5]]);
}

#[test]
fn i11_a_pause_by_a_handle_is_in_force_at_once_and_ends_with_the_assignment() {
    let mut sim = Sim::handing_out(500);
    sim.receive(chunk(0, 2, &[batch(0, 2)]));
    for _ in 0..300 {
        sim.handle.pause([orders()]).unwrap();
        sim.handle.resume([orders()]).unwrap();
        sim.handle.pause([orders()]).unwrap();
        assert!(sim.poll().is_none());
    }
    assert_eq!(sim.handle.paused(), [orders()]);
    assert_eq!(sim.delivery.paused().count(), 1);
    sim.delivery.leave(&[orders()]);
    assert_eq!(sim.handle.pause([orders()]).unwrap_err().kind(), ErrorKind::NotOwned, "it is on its way out");
    sim.delivery.left(&[orders()]);
    let token = Token { assignment: 2, seek: 0 };
    sim.delivery.start(vec![(orders(), Arc::new(PartitionGauges::new(token, false)))]);
    assert!(sim.handle.paused().is_empty());
    assert_eq!(
        sim.handle.resume([TopicPartition::new("orders", 7)]).unwrap_err().kind(),
        ErrorKind::NotOwned
    );
}

/// Errors are reported while the partition is paused, even if it had its turn with records that are gone now.
#[test]
fn i11_a_paused_partition_that_was_sought_tells_its_error_without_a_resume() {
    let mut sim = Sim::handing_out(500);
    sim.receive(chunk(0, 2, &[batch(0, 2)]));
    sim.handle.pause([orders()]).unwrap();
    assert!(sim.poll().is_none());
    sim.seek(TOKEN.after_seek(), Some(50));
    assert!(sim.poll().is_none());
    let error = Error::new(ErrorKind::Corrupt, "damaged").with_partition(orders());
    sim.delivery.receive(Data::Failed { partition: orders(), token: TOKEN.after_seek(), error });
    assert_eq!(sim.poll().unwrap().unwrap_err().kind(), ErrorKind::Corrupt);
}

/// SEAM3: or it would seem that others wait, and nothing be opened ahead.
#[test]
fn i11_a_partition_that_is_resumed_again_and_again_has_one_turn() {
    let mut sim = Sim::handing_out(2);
    for from in [0, 2, 4] {
        sim.handle.pause([orders()]).unwrap();
        assert!(sim.poll().is_none());
        for _ in 0..3 {
            sim.handle.resume([orders()]).unwrap();
            sim.handle.pause([orders()]).unwrap();
            sim.handle.resume([orders()]).unwrap();
        }
        for first in [3 * from, 3 * from + 3] {
            sim.receive(chunk(first, first + 3, &[batch(first, 3)]));
        }
        assert_eq!(sim.poll().unwrap().unwrap(), [from, from + 1]);
        assert_eq!(sim.delivery.turns, [orders()]);
    }
}

#[test]
fn i12_buffered_records_of_a_paused_partition_are_given_back_and_read_again() {
    let mut sim = Sim::handing_out(2);
    sim.receive(chunk(0, 6, &[batch(0, 6)]));
    sim.receive(chunk(6, 9, &[batch(6, 3)]));
    assert_eq!(sim.poll().unwrap().unwrap(), [0, 1]);
    assert_eq!(sim.give_back(), None, "it is being read");
    sim.handle.pause([orders()]).unwrap();
    assert_eq!(sim.give_back(), Some(Position { offset: 2, epoch: Some(3) }));
    sim.handle.resume([orders()]).unwrap();
    assert!(sim.poll().is_none(), "until the engine has answered nothing is handed out twice");
    assert_eq!(sim.give_back(), None, "once");
    sim.delivery.receive(Data::GivenBack { partition: orders(), token: TOKEN, accepted: true });
    assert_eq!(sim.freed(), 2000);
    assert!(sim.poll().is_none());
    sim.receive(Chunk { start_id: 2, ..chunk(2, 9, &[batch(2, 7)]) });
    assert_eq!(sim.poll().unwrap().unwrap(), [2, 3]);
    assert!(sim.delivery.moved_back().is_empty(), "for the application nothing has moved");
}

#[test]
fn i12_records_that_are_not_taken_back_are_handed_out() {
    let mut sim = Sim::handing_out(500);
    sim.receive(chunk(0, 2, &[batch(0, 2)]));
    sim.started(orders(), 10, vec![reset(2, 10)]);
    sim.handle.pause([orders()]).unwrap();
    assert!(sim.give_back().is_some());
    sim.delivery.receive(Data::GivenBack { partition: orders(), token: TOKEN, accepted: false });
    assert!(sim.poll().is_none(), "it is paused");
    sim.handle.resume([orders()]).unwrap();
    assert_eq!(sim.poll_and_resets(), (vec![0, 1], vec![]));
    assert_eq!(sim.poll_and_resets(), (vec![], vec![10]));
}

/// The records before a reset are given back; the reset is reported even so.
#[test]
fn i12_l1_a_reset_is_told_though_the_records_around_it_were_given_back() {
    let mut sim = Sim::handing_out(500);
    sim.receive(chunk(0, 2, &[batch(0, 2)]));
    sim.started(orders(), 10, vec![reset(2, 10)]);
    sim.handle.pause([orders()]).unwrap();
    assert_eq!(sim.give_back(), Some(Position::at(0)));
    sim.delivery.receive(Data::GivenBack { partition: orders(), token: TOKEN, accepted: true });
    assert_eq!(sim.poll_and_resets(), (vec![], vec![10]));
    assert_eq!(sim.delivery.position(&orders()), Some(0), "what lay before the reset is read again");
}

/// The log was truncated, or reset to its beginning: records of the new one lie before the position.
#[test]
fn i12_l1_buffered_records_behind_a_backward_reset_are_given_back_from_there() {
    let mut sim = Sim::handing_out(500);
    sim.receive(chunk(0, 140, &[batch(0, 140)]));
    assert_eq!(sim.poll().unwrap().unwrap().len(), 140);
    sim.receive(chunk(140, 150, &[batch(140, 10)]));
    sim.reset(150, 120);
    sim.receive(Chunk { start_id: 2, ..chunk(120, 130, &[batch(120, 10)]) });
    sim.handle.pause([orders()]).unwrap();
    assert_eq!(sim.give_back(), Some(Position::at(120)), "the fetcher may stand behind all of it, at 130");
    sim.delivery.receive(Data::GivenBack { partition: orders(), token: TOKEN, accepted: true });
    assert_eq!(sim.poll_and_resets(), (vec![], vec![120]));
    sim.handle.resume([orders()]).unwrap();
    sim.receive(Chunk { start_id: 2, ..chunk(120, 130, &[batch(120, 10)]) });
    assert_eq!(sim.poll().unwrap().unwrap(), (120..130).collect::<Vec<_>>());
    assert_eq!(sim.delivery.moved_back(), [(orders(), TOKEN, 120)]);
}

/// The fetcher has gone back between the offer and its answer: the rewind position then lies beyond what it
/// has.
#[test]
fn i12_l1_a_reset_backwards_that_crosses_the_offer_is_offered_too() {
    let mut sim = Sim::handing_out(500);
    sim.receive(chunk(0, 140, &[batch(0, 140)]));
    assert_eq!(sim.poll().unwrap().unwrap().len(), 140);
    sim.receive(chunk(140, 150, &[batch(140, 10)]));
    sim.handle.pause([orders()]).unwrap();
    assert_eq!(sim.give_back().map(|from| from.offset), Some(140));
    sim.reset(150, 120);
    sim.receive(Chunk { start_id: 2, ..chunk(120, 130, &[batch(120, 10)]) });
    sim.freed();
    let accepted = Data::GivenBack { partition: orders(), token: TOKEN, accepted: true };
    sim.delivery.receive(accepted);
    assert_eq!(sim.delivery.offers(), [(orders(), TOKEN, Position::at(120))], "once more, from there");
    assert_eq!(sim.freed(), 0);
    assert_eq!(sim.poll_and_resets(), (vec![], vec![]), "nothing before the answer");
    sim.delivery.receive(Data::GivenBack { partition: orders(), token: TOKEN, accepted: true });
    assert!(sim.delivery.offers().is_empty());
    assert_eq!(sim.freed(), 2000);
    assert_eq!(sim.poll_and_resets(), (vec![], vec![120]));
}
