//! Tests of one ledger by itself.

use super::*;

#[test]
fn h3_nothing_beyond_the_first_record_that_is_not_finished_counts() {
    let ledger = ten();
    assert_eq!(done(&ledger), None);
    for (offset, expected) in
        [(12, None), (11, None), (15, None), (10, Some(13)), (13, Some(14)), (14, Some(16))]
    {
        assert!(ledger.finish(offset, offset + 1));
        assert_eq!(done(&ledger), expected, "after {offset}");
    }
}

#[test]
fn whole_runs_and_what_was_finished_twice_count_once() {
    let ledger = ten();
    ledger.finish(14, 18);
    ledger.finish(12, 16);
    ledger.finish(14, 15);
    assert_eq!(ledger.islands(), 1, "they have merged");
    ledger.finish(10, 12);
    assert_eq!(done(&ledger), Some(18));
    ledger.finish(10, 11);
    assert_eq!((done(&ledger), ledger.islands()), (Some(18), 0));
}

#[test]
fn h9_an_offset_that_was_not_delivered_cannot_be_finished() {
    let ledger = ten();
    assert!(ledger.finish(0, 100));
    assert_eq!(done(&ledger), Some(20));
}

#[test]
fn j3_offsets_without_a_record_are_no_holes() {
    let ledger = Ledger::starting_at(10);
    ledger.hand_out([12, 15], at(18, 1));
    ledger.pass(18, at(19, 1));
    ledger.hand_out([25], at(26, 2));
    ledger.finish(15, 16);
    assert_eq!(done(&ledger), Some(12), "what comes before the first record");
    ledger.finish(12, 13);
    assert_eq!(ledger.finished(), Some(at(25, 2)));
    ledger.finish(25, 26);
    assert_eq!(ledger.finished(), Some(at(26, 2)));
}

#[test]
fn the_leader_epoch_is_that_of_the_last_finished_record() {
    let ledger = ten();
    ledger.hand_out(20..30, at(30, 4));
    ledger.finish(10, 20);
    assert_eq!(ledger.finished(), Some(at(20, 1)));
    ledger.finish(20, 21);
    assert_eq!(ledger.finished(), Some(at(21, 4)));
}

#[test]
fn h2_h14_nothing_counts_after_the_end() {
    let ledger = ten();
    ledger.finish(10, 12);
    assert_eq!(ledger.close(Refusal::Revoked), Some(at(12, 1)));
    assert!(!ledger.finish(12, 13));
    assert_eq!(done(&ledger), Some(12));
}

/// The log now ends at 15, and other records with the offsets 15 to 19 are delivered.
#[test]
fn l1_records_before_a_truncation_still_have_to_be_finished() {
    let before = ten();
    before.finish(11, 13);
    before.finish(17, 19);
    let after = before.cut_off(15);
    after.hand_out(15..20, at(20, 2));
    after.finish(15, 20);
    assert_eq!(done(&after), None, "10 is not finished, and does not come again");
    assert!(before.finish(10, 11));
    assert_eq!(after.finished(), Some(at(13, 1)), "13 and 14 are not");
    assert!(!before.finish(17, 18), "it is of the log that is gone");
    assert!(before.finish(13, 18), "of which 15 to 17 are");
    assert_eq!(after.finished(), Some(at(20, 2)));
    // This may happen repeatedly, whatever was finished by then.
    let last = after.cut_off(12).cut_off(11);
    assert_eq!(done(&last), None, "the cluster took back more than was not finished");
    last.hand_out(11..12, at(12, 3));
    assert!(!before.finish(11, 12) && !after.finish(11, 12));
    last.finish(11, 12);
    assert_eq!(last.finished(), Some(at(12, 3)));
    last.close(Refusal::Revoked);
    assert!(!before.finish(10, 11), "with the last of them it is over");
}

#[test]
fn a_ledger_grows_with_what_is_unfinished_and_not_with_what_is_finished() {
    let ledger = Ledger::starting_at(0);
    for run in 0..1000 {
        ledger.hand_out(run * 100..run * 100 + 100, at(run * 100 + 100, 1));
        // All but the very first.
        for offset in (run * 100..run * 100 + 100).rev().filter(|offset| *offset != 0) {
            ledger.finish(offset, offset + 1);
        }
    }
    assert_eq!(ledger.islands(), 1);
    ledger.finish(0, 1);
    assert_eq!(done(&ledger), Some(100_000));
}

/// Finishes in any order, with gaps, runs of several and repetitions; compared with a set of offsets.
#[test]
fn the_finished_offset_is_always_the_end_of_the_longest_unbroken_run() {
    let mut next = random(7);
    for _ in 0..300 {
        let ledger = Ledger::starting_at(5);
        let (mut handed, mut open, mut reach) = (Vec::new(), BTreeSet::new(), 5_i64);
        for _ in 0..60 {
            match next(4) {
                0 => {
                    let mut run = Vec::new();
                    for _ in 0..=next(5) {
                        reach += i64::try_from(next(3)).unwrap();
                        run.push(reach);
                        reach += 1;
                    }
                    reach += i64::try_from(next(2)).unwrap();
                    ledger.hand_out(run.iter().copied(), at(reach, 1));
                    handed.extend(&run);
                    open.extend(run);
                }
                1 if next(4) == 0 => {
                    let from = reach;
                    reach += 2;
                    ledger.pass(from, at(reach, 1));
                }
                _ if !handed.is_empty() => {
                    let first = usize::try_from(next(handed.len() as u64)).unwrap();
                    let last = (first + usize::try_from(next(3)).unwrap()).min(handed.len() - 1);
                    assert!(ledger.finish(handed[first], handed[last] + 1));
                    for offset in &handed[first..=last] {
                        open.remove(offset);
                    }
                }
                _ => {}
            }
            let expected = open.first().copied().unwrap_or(reach);
            assert_eq!(done(&ledger).unwrap_or(5), expected);
            assert!(ledger.islands() <= open.len(), "bounded by what is not finished");
        }
    }
}
