//! The contents of transactions.

use super::*;
use crate::{Transactions, output::Output};

fn world() -> World {
    let options = Options { transactions: Some(Transactions::by("a")), metadata_bytes: 0, ..options() };
    let mut world = World::with(options, 1, true);
    world.assign([0]);
    world
}

/// Ends the handler of this offset, which has sent its offset with the last record of its job.
fn done(world: &mut World, offset: i64) {
    let has = |(records, _): &(Vec<Started<Rec>>, _)| records.iter().any(|it| it.record.offset == offset);
    let at = world.running.iter().position(has).expect("it runs");
    let (records, ticket) = world.running.remove(at);
    let output = Output {
        topic: "out".to_owned(),
        partition: None,
        key: None,
        value: Some(offset.to_string().into_bytes()),
        headers: Vec::new(),
        timestamp: None,
        first: (records.len() > 1).then(|| records[0].record.offset),
    };
    let mut outputs = vec![Vec::new(); records.len() - 1];
    outputs.push(vec![output]);
    world.machine.job_ended(world.now, 0, &ticket, &Results::All(HandlerResult::Done), outputs);
    world.drain();
}

/// Begins a transaction. Returns its commits, the offset that it commits, and the offsets of the records whose results or letters
/// it contains.
fn begin(world: &mut World) -> (Vec<PartitionCommit>, Option<i64>, Vec<i64>) {
    let commits = match world.machine.begin_transaction(world.now) {
        true => world.machine.take_commit(world.now, None),
        false => Vec::new(),
    };
    let sent = world.machine.send_effects(&commits).iter().map(|(id, _)| id.offset).collect();
    let offset = commits.first().map(|commit| commit.what.offset);
    (commits, offset, sent)
}

fn end(world: &mut World, commits: &[PartitionCommit], is_committed: bool) {
    world.machine.transaction_ended(world.now, commits, is_committed, &BTreeMap::new());
    world.drain();
}

#[test]
fn a_transaction_has_what_lies_before_its_offset_and_one_that_is_aborted_leaves_it_for_the_next() {
    let mut world = world();
    world.receive(0, 0, &[A, B, C, None]);
    done(&mut world, 1);
    assert_eq!(begin(&mut world).1, None, "nothing is finished without a gap");
    done(&mut world, 0);
    done(&mut world, 3);
    let (commits, offset, sent) = begin(&mut world);
    assert_eq!((offset, sent), (Some(2), vec![0, 1]));
    assert!(!world.machine.is_commit_due(world.now + Duration::from_secs(9)), "one at a time");
    end(&mut world, &commits, false);
    assert!(!world.machine.is_commit_due(world.now), "not at once");
    assert_eq!(world.machine.metrics().queued, 3, "what is kept takes room");
    done(&mut world, 2);
    let (commits, offset, sent) = begin(&mut world);
    assert_eq!((offset, sent), (Some(4), vec![0, 1, 2, 3]));
    end(&mut world, &commits, true);
    assert_eq!(world.machine.metrics().queued, 0);
    assert_eq!(begin(&mut world).1, None, "what is committed is not committed again");
}

#[test]
fn a_letter_is_a_part_of_the_transaction_that_passes_its_record() {
    let mut world = world();
    world.receive(0, 0, &[A, A]);
    world.fail(0, Poison);
    assert!(world.letters.is_empty(), "it is not written alone");
    assert_eq!(world.offsets(), [1], "its key goes on");
    let (commits, offset, sent) = begin(&mut world);
    assert_eq!((offset, sent), (Some(1), vec![0]));
    assert_eq!(world.machine.metrics().dead_lettered, 0);
    end(&mut world, &commits, true);
    assert_eq!(world.machine.metrics().dead_lettered, 1);
}

#[test]
fn a_refused_result_stops_its_partition_and_earlier_records_are_committed() {
    let mut world = world();
    world.receive(0, 0, &[A, B, C]);
    (0..3).for_each(|offset| done(&mut world, offset));
    let (commits, ..) = begin(&mut world);
    let (id, _) = world.machine.send_effects(&commits)[1];
    end(&mut world, &commits, false);
    let error = offtake::Error::new(offtake::ErrorKind::TooLarge, "too large");
    world.machine.effect_refused(id, error);
    world.drain();
    assert_eq!(world.stopped(), [(0, Some(1))]);
    let (commits, offset, sent) = begin(&mut world);
    assert_eq!((offset, sent), (Some(1), vec![0]));
    end(&mut world, &commits, true);
    assert_eq!(world.machine.metrics().queued, 0, "what lies behind it takes no room");
}

/// The next owner handles the finished records again. Nothing of the partition goes into a transaction any more, whatever its
/// handlers return, so that the others are committed.
#[test]
fn a_partition_whose_offset_is_refused_stops_and_holds_up_no_other() {
    let mut world = world();
    world.assign([1]);
    world.receive(0, 0, &[A, B, C, A]);
    world.receive(1, 10, &[A]);
    (0..2).for_each(|offset| done(&mut world, offset));
    let (commits, offset, _) = begin(&mut world);
    assert_eq!(offset, Some(2));
    end(&mut world, &commits, true);
    [2, 10].into_iter().for_each(|offset| done(&mut world, offset));
    let (commits, ..) = begin(&mut world);
    assert_eq!(commits.len(), 2);
    end(&mut world, &commits, false);
    let error = offtake::Error::new(offtake::ErrorKind::Authorization, "no");
    world.machine.offset_refused(commits[0].id, error);
    world.drain();
    assert_eq!(world.stopped(), [(0, Some(2))]);
    assert_eq!(world.cancelled.len(), 1, "what runs of it");
    let (commits, _, sent) = begin(&mut world);
    assert_eq!((commits.len(), commits[0].name.partition, sent), (1, 1, vec![10]));
    end(&mut world, &commits, true);
    let metrics = world.machine.metrics();
    assert_eq!((metrics.queued, metrics.queued_bytes, world.machine.kept), (0, 0, 0));
    assert_eq!(begin(&mut world).1, None);
}

/// The records that replace lost ones have results of their own. A transaction with the results of the lost records does not
/// contain them.
#[test]
fn results_of_a_log_that_was_cut_are_not_taken_for_those_of_the_new_one() {
    let mut world = world();
    world.receive(0, 0, &[A, B]);
    (0..2).for_each(|offset| done(&mut world, offset));
    let (commits, offset, _) = begin(&mut world);
    assert_eq!(offset, Some(2));
    world.machine.rewound(&partition(0), 1);
    world.drain();
    world.receive(0, 1, &[C]);
    done(&mut world, 1);
    end(&mut world, &commits, true);
    let (_, offset, sent) = begin(&mut world);
    assert_eq!((offset, sent), (Some(2), vec![1]), "also where the offset is the same");
}

#[test]
fn a_removed_partition_leaves_nothing_behind() {
    let mut world = world();
    world.receive(0, 0, &[A, B]);
    done(&mut world, 0);
    let (commits, ..) = begin(&mut world);
    world.machine.removed(&[partition(0)]);
    world.drain();
    end(&mut world, &commits, true);
    let metrics = world.machine.metrics();
    assert_eq!((metrics.queued, metrics.queued_bytes, world.machine.kept), (0, 0, 0));
    assert_eq!(begin(&mut world).1, None);
}

/// A world with four records a job and no dead letters: 1, 2, 3 and 5 are one job, and 4 another.
fn batches() -> World {
    let options = Options { transactions: Some(Transactions::by("a")), metadata_bytes: 0, ..options() };
    let mut world = World::with(options, 4, false);
    world.assign([0]);
    world.receive(0, 1, &[A, A, A, None, A]);
    assert_eq!(world.running.len(), 2);
    world
}

#[test]
fn results_of_a_batch_are_committed_with_all_of_it() {
    let mut world = batches();
    done(&mut world, 1);
    assert_eq!(begin(&mut world).1, None, "1 to 3 wait for what was made of them, at 5");
    done(&mut world, 4);
    let (commits, offset, sent) = begin(&mut world);
    assert_eq!((offset, sent), (Some(6), vec![4, 5]));
    end(&mut world, &commits, true);
    assert_eq!(world.machine.metrics().queued, 0);
}

#[test]
fn a_batch_around_the_record_that_stops_its_partition_is_not_finished() {
    for is_first in [true, false] {
        let mut world = batches();
        if is_first {
            done(&mut world, 1);
        }
        world.fail(4, Poison);
        assert_eq!(world.stopped(), [(0, Some(4))]);
        if !is_first {
            done(&mut world, 1);
        }
        assert_eq!(begin(&mut world).1, None, "whoever has the partition next handles 1 to 3 again");
        assert_eq!(world.machine.metrics().queued, 0);
    }
}

/// A stopped partition finishes nothing after a record that waited. If those effects were kept, they would fill the queue for
/// good.
#[test]
fn records_behind_one_that_is_not_retried_take_no_room() {
    for waits in [true, false] {
        let options = Options { transactions: Some(Transactions::by("a")), metadata_bytes: 0, ..options() };
        let mut world = World::with(options, 1, false);
        world.assign([0]);
        world.receive(0, 0, &[A, B, C, None]);
        if waits {
            world.fail(0, Again);
        }
        done(&mut world, 1);
        world.fail(3, Poison);
        if !waits {
            world.fail(0, Again);
        }
        done(&mut world, 2);
        assert_eq!(world.machine.metrics().queued, 0);
        assert_eq!(begin(&mut world).1, None);
    }
}

fn refused(ids: &[EffectId]) -> Vec<(EffectId, offtake::Error)> {
    let error = || offtake::Error::new(offtake::ErrorKind::Refused, "a batch is refused");
    ids.iter().map(|id| (*id, error())).collect()
}

/// Runs a transaction, which brokers refuse as a whole if it contains this record's result, because everything is in one batch.
/// Returns its contents.
fn transaction(world: &mut World, at_fault: (i32, i64)) -> Vec<(i32, i64)> {
    let commits = match world.machine.begin_transaction(world.now) {
        true => world.machine.take_commit(world.now, None),
        false => Vec::new(),
    };
    let ids: Vec<_> = world.machine.send_effects(&commits).iter().map(|(id, _)| *id).collect();
    let of = |id: &EffectId| commits.iter().find(|commit| commit.id == id.assignment).unwrap().name.partition;
    let sent: Vec<_> = ids.iter().map(|id| (of(id), id.offset)).collect();
    let is_refused = sent.contains(&at_fault);
    world.machine.transaction_ended(world.now, &commits, !is_refused, &BTreeMap::new());
    world.machine.effects_refused(if is_refused { refused(&ids) } else { Vec::new() }, ids.len());
    world.drain();
    sent
}

#[test]
fn the_partition_at_fault_is_found_in_a_refused_transaction_and_no_other_stops() {
    for fault in 0..4 {
        let options = Options {
            transactions: Some(Transactions::by("a")),
            metadata_bytes: 0,
            concurrency: 99,
            ..options()
        };
        let mut world = World::with(options, 1, true);
        world.assign(0..3);
        for index in 0..3 {
            let first = i64::from(index) * 10;
            world.receive(index, first, &[A, B, C, None]);
            (first..first + 4).for_each(|offset| done(&mut world, offset));
        }
        let at_fault = (1, 10 + fault);
        let mut rounds = 0;
        while !transaction(&mut world, at_fault).is_empty() {
            rounds += 1;
            assert!(rounds < 30, "it comes to an end");
        }
        assert_eq!(world.stopped(), [(1, Some(10 + fault))]);
        let committed: Vec<_> = world.machine.partitions.values().map(|of| of.commits.base).collect();
        assert_eq!(committed, [Some(4), Some(10 + fault), Some(24)]);
        assert_eq!((world.machine.metrics().queued, world.machine.kept), (0, 0));
    }
}

/// Records that cannot be committed separately are not separated: for a batch around other records, each transaction contains
/// everything.
#[test]
fn records_that_are_committed_together_are_at_fault_together() {
    let mut world = batches();
    done(&mut world, 1);
    done(&mut world, 4);
    let mut sent = Vec::new();
    while world.stopped().is_empty() {
        sent.push(transaction(&mut world, (0, 5)));
        assert!(sent.len() < 5, "{sent:?}");
    }
    assert_eq!(sent, [[(0, 4), (0, 5)], [(0, 4), (0, 5)]]);
    assert_eq!(world.stopped(), [(0, Some(4))]);
    assert!(transaction(&mut world, (0, 5)).is_empty());
}

/// Begins a transaction with at most this many effects.
fn limited(world: &mut World, most: usize) -> (Vec<PartitionCommit>, Vec<(i32, i64)>) {
    assert!(world.machine.begin_transaction(world.now));
    let commits = world.machine.take_commit(world.now, None);
    world.machine.take_less(&commits, most);
    let commits = world.machine.take_commit(world.now, None);
    let of = |id: &EffectId| commits.iter().find(|commit| commit.id == id.assignment).unwrap().name.partition;
    let sent = world.machine.send_effects(&commits).iter().map(|(id, _)| (of(id), id.offset)).collect();
    (commits, sent)
}

fn three_partitions() -> World {
    let transactions = Some(Transactions::by("a"));
    let mut world = World::new(Options { transactions, metadata_bytes: 0, concurrency: 99, ..options() });
    world.assign(0..3);
    for index in 0..3 {
        let first = i64::from(index) * 10;
        world.receive(index, first, &[A, B, C]);
        (first..first + 3).for_each(|offset| done(&mut world, offset));
    }
    world
}

/// If a transaction cannot hold everything, each partition has its turn, however much the others have. After an aborted
/// transaction, the next one contains the same.
#[test]
fn the_next_transaction_begins_with_what_the_last_one_left_out() {
    let mut world = three_partitions();
    let (commits, sent) = limited(&mut world, 4);
    assert_eq!(sent, [(0, 0), (0, 1), (0, 2), (1, 10)]);
    end(&mut world, &commits, false);
    let (commits, sent) = limited(&mut world, 4);
    assert_eq!(sent, [(0, 0), (0, 1), (0, 2), (1, 10)]);
    end(&mut world, &commits, true);
    world.receive(0, 3, &[A, B, C, None]);
    (3..7).for_each(|offset| done(&mut world, offset));
    let (commits, sent) = limited(&mut world, 4);
    assert_eq!(sent, [(1, 11), (1, 12), (2, 20), (2, 21)]);
    end(&mut world, &commits, true);
    let (commits, sent) = limited(&mut world, 4);
    assert_eq!(sent, [(2, 22), (0, 3), (0, 4), (0, 5)]);
    end(&mut world, &commits, true);
    assert_eq!(limited(&mut world, 4).1, [(0, 6)]);
}

#[test]
fn partitions_to_be_handed_over_go_into_the_next_transaction() {
    let mut world = three_partitions();
    world.machine.revoking(&[partition(1)]);
    let (commits, sent) = limited(&mut world, 2);
    assert_eq!(sent, [(1, 10), (1, 11)]);
    end(&mut world, &commits, true);
    assert!(world.machine.has_uncommitted(&[partition(1)]));
    let (commits, sent) = limited(&mut world, 2);
    assert_eq!(sent, [(1, 12), (2, 20)]);
    end(&mut world, &commits, true);
    assert!(!world.machine.has_uncommitted(&[partition(1)]), "it need not wait for the others");
    assert!(world.machine.has_uncommitted(&[partition(1), partition(0)]));
}

#[test]
fn a_record_made_of_a_whole_batch_is_not_sent_for_a_part_of_it() {
    let output = |first| Output {
        topic: "out".to_owned(),
        partition: None,
        key: None,
        value: None,
        headers: Vec::new(),
        timestamp: None,
        first,
    };
    let failed = || failure(Again);
    for order in [Order::Partition, Order::Key, Order::Unordered] {
        for (first, results, is_refused) in [
            (Some(0), vec![HandlerResult::Done, failed(), HandlerResult::Done], true),
            (Some(0), vec![HandlerResult::Done, HandlerResult::Done], true), // the third has no result
            (Some(0), vec![failed(), failed(), failed()], false),
            (Some(0), vec![HandlerResult::Done; 3], false),
            (None, vec![HandlerResult::Done, failed(), HandlerResult::Done], false),
        ] {
            let transactions = Some(Transactions::by("a"));
            let options = Options { transactions, order, metadata_bytes: 0, ..options() };
            let mut world = World::with(options, 3, true);
            world.assign([0]);
            world.receive(0, 0, &[A, A, B]);
            let (_, ticket) = world.running.remove(0);
            let outputs = vec![Vec::new(), Vec::new(), vec![output(first)]];
            world.machine.job_ended(world.now, 0, &ticket, &Results::Each(results.clone()), outputs);
            world.drain();
            assert_eq!(!world.fatal.is_empty(), is_refused, "{order:?}, {results:?}");
            if is_refused {
                assert!(world.fatal[0].contains("`Batch::send`"), "{:?}", world.fatal);
                assert_eq!(begin(&mut world).1, None, "nothing is finished, and nothing sent");
            }
        }
    }
}
