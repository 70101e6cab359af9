//! Tests of unreadable records, and where the error is reported.

use super::*;

#[test]
fn j1_good_records_come_before_the_error_of_a_damaged_batch_and_nothing_after_it() {
    for together in [true, false] {
        let mut sim = Sim::handing_out(500);
        let [good, bad, behind] = [batch(0, 3), damaged(&batch(3, 3)), batch(6, 3)];
        let batches = match together {
            true => vec![Bytes::from([&good[..], &bad[..], &behind[..]].concat())],
            false => vec![good, bad, behind],
        };
        sim.receive(chunk(0, 9, &batches));
        sim.receive(chunk(9, 12, &[batch(9, 3)]));
        assert_eq!(sim.poll().unwrap().unwrap(), [0, 1, 2]);
        let error = sim.poll().unwrap().unwrap_err();
        assert_eq!((error.kind(), error.partition()), (ErrorKind::Corrupt, Some(&orders())));
        assert!(error.to_string().contains("offsets 3 to 5"), "{error}");
        assert!(sim.stops());
        assert!(sim.poll().is_none(), "the partition has stopped");
        assert!(sim.delivery.passed().is_empty(), "nothing is passed over");
        assert_eq!(sim.delivery.position(&orders()), Some(3), "the position is kept");
        assert_eq!(sim.freed(), 2000, "each chunk once");
        sim.receive(chunk(12, 15, &[batch(12, 3)]));
        assert!(sim.poll().is_none());
        assert_eq!(sim.freed(), 1000);
    }
}

#[test]
fn j5_a_batch_that_cannot_be_inflated_is_not_passed_over_either() {
    let large = packed(3, 3);
    let mut sim = Sim::handing_out(500);
    sim.delivery.decompressor = Decompressor::with_limit(1000);
    sim.receive(chunk(0, 9, &[batch(0, 3), large, batch(6, 3)]));
    assert_eq!(sim.poll().unwrap().unwrap(), [0, 1, 2]);
    assert_eq!(sim.poll().unwrap().unwrap_err().kind(), ErrorKind::TooLarge);
    assert!(sim.poll().is_none());
}

#[test]
fn a_seek_goes_on_where_an_error_had_stopped() {
    let mut sim = Sim::handing_out(500);
    sim.receive(chunk(0, 3, &[damaged(&batch(0, 3))]));
    sim.poll().unwrap().unwrap_err();
    sim.seek(TOKEN.after_seek(), None);
    let token = TOKEN.after_seek();
    sim.receive(Chunk { token, ..chunk(3, 6, &[batch(3, 3)]) });
    assert_eq!(sim.poll().unwrap().unwrap(), [3, 4, 5]);
}

#[test]
fn j1_j5_a_damaged_batch_stops_its_partition_and_one_that_cannot_be_unpacked_says_so_when_opened() {
    let mut sim = Sim::handing_out(500);
    sim.receive(chunk(0, 9, &[batch(0, 3), packed(3, 3), damaged(&batch(6, 3))]));
    let batches = sim.poll_batches().unwrap().unwrap();
    assert_eq!(batches.len(), 2);
    let error = batches[1].open(&mut crate::batches::Decompressor::with_limit(1000)).unwrap_err();
    assert_eq!((error.kind(), error.partition()), (ErrorKind::TooLarge, Some(&orders())));
    assert!(error.to_string().contains("seek to 3"), "{error}");
    assert_eq!(sim.poll_batches().unwrap().unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(sim.poll_batches().is_none());
    assert_eq!(sim.delivery.position(&orders()), Some(6), "the position is kept");
}

#[test]
fn l1_j1_an_error_after_a_reset_leaves_the_position_at_the_reset() {
    for to in [3, 50] {
        let mut sim = Sim::handing_out(500);
        sim.receive(chunk(0, 9, &[batch(0, 9)]));
        sim.reset(9, to);
        sim.fails(orders());
        assert_eq!(sim.delivery.position(&orders()), Some(0), "what is buffered comes first");
        assert_eq!(sim.poll_and_resets(), ((0..9).collect(), vec![]));
        sim.poll().unwrap().unwrap_err();
        assert_eq!(sim.delivery.position(&orders()), Some(to));
        let back = usize::from(to < 9);
        assert_eq!(sim.delivery.moved_back().len(), back, "what was finished is another log's");
        assert_eq!(sim.poll_and_resets(), (vec![], vec![to]), "once");
        sim.receive(chunk(to, to + 3, &[batch(to, 3)]));
        assert!(sim.poll().is_none(), "the partition has stopped");
    }
}

#[test]
fn l1_j1_an_unreadable_batch_of_a_replaced_log_stops_nothing() {
    let mut sim = Sim::handing_out(500);
    sim.receive(chunk(0, 9, &[batch(0, 3), damaged(&batch(3, 3)), batch(6, 3)]));
    sim.receive(chunk(9, 12, &[batch(9, 3)]));
    sim.reset(12, 2);
    sim.receive(Chunk { start_id: 2, ..chunk(2, 5, &[batch(2, 3)]) });
    assert_eq!(sim.poll_and_resets(), (vec![0, 1, 2], vec![]));
    assert_eq!(sim.poll_and_resets(), (vec![2, 3, 4], vec![2]));
    assert_eq!(sim.delivery.moved_back().len(), 1);
    assert!(sim.poll().is_none());
    assert_eq!(sim.freed(), 3000, "each chunk once");
}

/// Records after a batch that was dropped must not be handed out as if they followed the records before it:
/// an application that commits them, and crashes before the dropped records are delivered again, has lost the
/// batch. Found by the arena (107835).
#[test]
fn safe1_l1_nothing_of_a_log_that_is_gone_is_handed_out_behind_what_could_not_be_read_of_it() {
    let mut sim = Sim::handing_out(500);
    sim.receive(chunk(0, 6, &[batch(0, 3), damaged(&batch(3, 3))]));
    sim.receive(chunk(6, 9, &[batch(6, 3)]));
    sim.reset(9, 0);
    assert_eq!(sim.poll_and_resets(), (vec![0, 1, 2], vec![]));
    assert_eq!(sim.poll_and_resets(), (vec![], vec![0]));
    assert_eq!(sim.freed(), 2000);
    sim.receive(Chunk { start_id: 2, ..chunk(0, 3, &[batch(0, 3)]) });
    assert_eq!(sim.poll_and_resets(), (vec![0, 1, 2], vec![]));
}

#[test]
fn l1_j1_an_unreadable_batch_before_the_truncation_still_stops_the_partition() {
    let mut sim = Sim::handing_out(500);
    sim.receive(chunk(0, 9, &[damaged(&batch(0, 3)), batch(3, 6)]));
    sim.reset(9, 3);
    sim.receive(Chunk { start_id: 2, ..chunk(3, 6, &[batch(3, 3)]) });
    assert!(sim.poll().unwrap().is_err());
    assert_eq!(sim.delivery.position(&orders()), Some(0));
    assert!(sim.poll().is_none());
}

#[test]
fn j1_an_error_comes_behind_its_good_records_and_before_what_others_still_have() {
    let mut sim = Sim::handing_out(4);
    let other = sim.assign(1);
    sim.receive(chunk(0, 2, &[batch(0, 2)]));
    sim.fails(orders());
    for first in 0..10 {
        sim.receive(of(&other, chunk(first * 4, first * 4 + 4, &[batch(first * 4, 4)])));
    }
    assert_eq!(sim.poll_all(), [(0, 0), (0, 1), (1, 0), (1, 1)]);
    assert_eq!(sim.poll().unwrap().unwrap_err().partition(), Some(&orders()), "though the other has more");
    assert_eq!(sim.poll_all(), [(1, 2), (1, 3), (1, 4), (1, 5)], "the other goes on");
}

#[test]
fn j1_an_error_behind_paused_records_waits_for_them_and_one_without_any_does_not() {
    let mut sim = Sim::handing_out(500);
    let other = sim.assign(1);
    sim.receive(chunk(0, 2, &[batch(0, 2)]));
    sim.fails(orders());
    sim.handle.pause([orders(), other.clone()]).unwrap();
    assert!(sim.poll().is_none(), "there are records before it");
    sim.fails(other.clone());
    assert_eq!(sim.poll().unwrap().unwrap_err().partition(), Some(&other));
    sim.handle.resume([orders()]).unwrap();
    assert_eq!(sim.poll().unwrap().unwrap(), [0, 1]);
    assert_eq!(sim.poll().unwrap().unwrap_err().partition(), Some(&orders()));
}

#[test]
fn j1_an_error_of_an_earlier_position_is_not_told() {
    let mut sim = Sim::handing_out(500);
    sim.fails(orders());
    sim.seek(TOKEN.after_seek(), Some(5));
    sim.fails(orders());
    assert!(sim.poll().is_none());
}
