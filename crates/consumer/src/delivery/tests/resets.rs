//! Tests of positions that the cluster has moved, and where that is reported.

use super::*;

#[test]
fn l3_a_position_that_was_moved_back_is_told_before_what_comes_again() {
    let mut sim = Sim::handing_out(500);
    sim.receive(chunk(0, 6, &[batch(0, 6)]));
    assert_eq!(sim.poll().unwrap().unwrap(), [0, 1, 2, 3, 4, 5]);
    assert!(sim.delivery.moved_back().is_empty());
    sim.receive(chunk(4, 7, &[batch(4, 3)]));
    assert_eq!(sim.poll().unwrap().unwrap(), [4, 5, 6]);
    assert_eq!(sim.delivery.moved_back(), [(orders(), TOKEN, 4)]);
}

#[test]
fn l1_a_reset_is_told_behind_what_was_fetched_before_it_and_ahead_of_what_comes_after() {
    for to in [0, 4, 50] {
        let mut sim = Sim::handing_out(500);
        sim.receive(chunk(0, 6, &[batch(0, 6)]));
        sim.receive(chunk(6, 9, &[batch(6, 3)]));
        sim.reset(9, to);
        sim.receive(Chunk { start_id: 2, ..chunk(to, to + 3, &[batch(to, 3)]) });
        assert_eq!(sim.poll_and_resets(), ((0..9).collect(), vec![]), "to {to}");
        assert!(sim.delivery.moved_back().is_empty(), "to {to}");
        assert_eq!(sim.poll_and_resets(), (vec![to, to + 1, to + 2], vec![to]));
        assert_eq!(sim.delivery.moved_back().len(), usize::from(to < 9));
    }
}

#[test]
fn l1_the_first_start_and_a_log_without_records_are_told_of_too() {
    let mut sim = Sim::handing_out(500);
    let token = TOKEN.after_seek();
    sim.seek(token, None);
    let started = |to, resets| Data::Started {
        partition: orders(),
        token,
        position: Position::at(to),
        restart: Restart { resets, rewinds: 0 },
    };
    sim.delivery.receive(started(7, vec![reset(0, 7)]));
    assert_eq!(sim.delivery.position(&orders()), Some(7), "at once: nothing can lie before it");
    sim.receive(Chunk { token, ..chunk(7, 9, &[batch(7, 2)]) });
    assert_eq!(sim.poll_and_resets(), (vec![7, 8], vec![7]));
    sim.delivery.receive(started(20, vec![reset(9, 20)]));
    assert_eq!(sim.poll_and_resets(), (vec![], vec![20]));
    assert_eq!(sim.poll_and_resets(), (vec![], vec![]), "once");
    sim.delivery.receive(started(30, vec![reset(20, 30)]));
    sim.seek(token.after_seek(), Some(4));
    assert_eq!(sim.poll_and_resets(), (vec![], vec![]), "a seek comes first (L8)");
    assert_eq!(sim.delivery.position(&orders()), Some(4));
}

/// Offsets passed over at the end of a log that is gone are not finished in the log that replaces it.
#[test]
fn b3_safe1_offsets_skipped_before_a_rewind_do_not_count() {
    let mut sim = Sim::handing_out(500);
    sim.receive(chunk(0, 3, &[batch(0, 3)]));
    sim.poll().unwrap().unwrap();
    sim.receive(chunk(3, 9, &[]));
    sim.reset(9, 0);
    sim.receive(Chunk { start_id: 2, ..chunk(0, 2, &[batch(0, 2)]) });
    assert_eq!(sim.poll().unwrap().unwrap(), [0, 1]);
    assert_eq!(sim.delivery.moved_back(), [(orders(), TOKEN, 0)]);
    assert!(sim.delivery.passed().is_empty());
}

/// Offsets that no longer exist count as passed, like a transaction's marker: otherwise they are never
/// committed, and the next start is out of range again.
#[test]
fn l1_offsets_skipped_by_a_reset_count_as_passed() {
    let mut sim = Sim::handing_out(500);
    sim.receive(chunk(0, 6, &[batch(0, 6)]));
    sim.reset(6, 50);
    assert_eq!(sim.poll_and_resets(), ((0..6).collect(), vec![]));
    assert!(sim.delivery.passed().is_empty());
    assert_eq!(sim.poll_and_resets(), (vec![], vec![50]));
    let passed: Vec<_> =
        sim.delivery.passed().into_iter().map(|passed| (passed.from, passed.to.next.offset)).collect();
    assert_eq!(passed, [(6, 50)]);
}

/// The engine accepts nothing beyond a move back until the handle has confirmed it.
#[test]
fn safe8_a_move_back_is_confirmed_when_it_is_told_wherever_the_handle_stands() {
    for read in [0, 6] {
        let mut sim = Sim::handing_out(500);
        let token = TOKEN.after_seek();
        sim.seek(token, (read > 0).then_some(0));
        if read > 0 {
            sim.receive(Chunk { token, ..chunk(0, read, &[batch(0, read)]) });
        }
        sim.delivery.receive(Data::Started {
            partition: orders(),
            token,
            position: Position::at(3),
            restart: Restart { resets: vec![reset(6, 3)], rewinds: 2 },
        });
        assert_eq!(sim.delivery.restarted().len(), usize::from(read == 0), "not ahead of what it follows");
        sim.poll_and_resets();
        sim.poll_and_resets();
        if read > 0 {
            assert_eq!(sim.delivery.restarted(), [(orders(), token, 2)]);
        }
    }
}

#[test]
fn l1_a_reset_of_one_partition_does_not_shorten_the_output_of_others() {
    let mut sim = Sim::handing_out(500);
    let others: Vec<_> = (1..4).map(|partition| sim.assign(partition)).collect();
    for partition in [orders()].iter().chain(&others) {
        sim.receive(of(partition, chunk(0, 2, &[batch(0, 2)])));
        sim.started(partition.clone(), 10, vec![reset(2, 10)]);
        sim.receive(of(partition, chunk(10, 12, &[batch(10, 2)])));
    }
    assert_eq!(sim.poll_and_resets(), ([0, 1].repeat(4), vec![]), "what comes before the resets");
    assert_eq!(sim.poll_and_resets(), ([10, 11].repeat(4), vec![10; 4]), "and what comes behind them");
}

/// If changes are returned as values, each reset is one, before the records that follow it.
#[test]
fn l1_resets_that_are_told_apart_come_ahead_of_their_records_and_do_not_cut_those_of_others() {
    let mut sim = Sim::handing_out(500);
    let others: Vec<_> = (1..4).map(|partition| sim.assign(partition)).collect();
    for partition in &others {
        sim.started(partition.clone(), 10, vec![reset(0, 10)]);
        sim.receive(of(partition, chunk(10, 12, &[batch(10, 2)])));
    }
    sim.receive(chunk(0, 2, &[batch(0, 2)]));
    let (mut resets, mut outputs) = (0, Vec::new());
    while let Some(output) = sim.delivery.hand_out::<Records>(&sim.handle, true) {
        while sim.delivery.next_reset().is_some() {
            resets += 1;
        }
        let records = output.unwrap();
        if !records.is_empty() {
            outputs.push((resets, records.len()));
        }
    }
    assert_eq!(outputs, [(3, 8)], "all resets, then all records");
}

/// The last event for a partition that is gone is its revocation.
#[test]
fn l1_a_reset_of_a_partition_that_is_gone_is_not_told_with_the_records_of_others() {
    let mut sim = Sim::handing_out(500);
    let other = TopicPartition::new("orders", 1);
    sim.delivery.start(vec![(other.clone(), Arc::new(PartitionGauges::new(TOKEN, false)))]);
    sim.started(
        other.clone(),
        0,
        vec![Event::Truncated { partition: other.clone(), from: 9, to: Some(0), epoch: None }],
    );
    assert!(sim.poll().is_none());
    sim.delivery.leave(std::slice::from_ref(&other));
    sim.delivery.left(std::slice::from_ref(&other));
    sim.receive(chunk(0, 3, &[batch(0, 3)]));
    let (records, resets) = sim.poll_and_resets();
    assert_eq!((records, resets), (vec![0, 1, 2], vec![]));
}
