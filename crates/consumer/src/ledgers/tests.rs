//! Tests of the ledgers through assignments, seeks and moves back; and of one by itself.

mod ledger;

use std::collections::BTreeSet;

use offtake_wire::records::{Batch, BatchBuilder, Batches, Crc, Decompressor};

use super::*;
use crate::{batches::Contents, ledger::MOST_DROPPED};

/// Deterministic random numbers below a limit.
fn random(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed | 1);
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    }
}

fn at(offset: i64, epoch: i32) -> Position {
    Position { offset, epoch: Some(epoch) }
}

/// A ledger with ten records from 10 on.
fn ten() -> Ledger {
    let ledger = Ledger::starting_at(10);
    ledger.hand_out(10..20, at(20, 1));
    ledger
}

fn done(ledger: &Ledger) -> Option<i64> {
    ledger.finished().map(|position| position.offset)
}

fn orders() -> TopicPartition {
    TopicPartition::new("orders", 0)
}

/// A batch with these offsets.
fn batch(offsets: &[i64]) -> Batch {
    let mut builder = BatchBuilder::new(offsets[0]).leader_epoch(3);
    let mut expected = offsets[0];
    for offset in offsets {
        builder.gap(i32::try_from(offset - expected).unwrap());
        builder.push(1, None, None, &[]);
        expected = offset + 1;
    }
    Batches::new(builder.build().unwrap(), Crc::Check).next().unwrap().unwrap()
}

/// A batch as `poll_batches` hands it out: with these offsets; reading continues at `next`.
fn unopened(token: Token, offsets: &[i64], next: i64) -> RecordBatch {
    RecordBatch {
        partition: orders(),
        token,
        contents: Contents::Packed(batch(offsets)),
        from: offsets[0],
        next: Position { offset: next, epoch: Some(3) },
        ledger: None,
    }
}

/// Records as `poll` hands them out: with these offsets; reading continues at `next`.
fn part(token: Token, offsets: &[i64], next: i64) -> PartitionRecords {
    let payload = batch(offsets).open(&mut Decompressor::default()).unwrap();
    let mut at = payload.records().at();
    let (slice, failed) = payload.take(&mut at, 1000);
    assert!(failed.is_none() && slice.len() == offsets.len());
    let next = Position { offset: next, epoch: Some(3) };
    PartitionRecords { partition: orders(), token, leader_epoch: Some(3), slice, next, ledger: None }
}

fn record_position(token: Token, next: i64) -> RecordPosition {
    RecordPosition { partition: orders(), token, next: Position { offset: next, epoch: Some(3) } }
}

fn told(ledgers: &Ledgers) -> Option<(Token, i64)> {
    let mut told = None;
    ledgers.report(|positions| told = positions.first().map(|(_, token, at)| (*token, at.offset)));
    told
}

const TOKEN: Token = Token { assignment: 1, seek: 0 };

#[test]
fn a_finished_offset_is_reported_once() {
    let ledgers = Ledgers::default();
    let mut records = part(TOKEN, &[5, 6, 7], 9);
    ledgers.hand_out(&mut records);
    assert_eq!(told(&ledgers), None);
    records.iter().skip(1).for_each(|record| record.finish().unwrap());
    assert_eq!(told(&ledgers), None, "5 is not finished");
    records.iter().next().unwrap().ticket().unwrap().finish().unwrap();
    assert_eq!(told(&ledgers), Some((TOKEN, 9)), "and what lies behind the last record");
    assert_eq!(told(&ledgers), None);
}

#[test]
fn a_finished_offset_has_the_leader_epoch_of_its_own_record() {
    let ledgers = Ledgers::default();
    // The marker was written after the leader changed.
    let mut records = part(TOKEN, &[5, 6, 7], 9);
    records.next.epoch = Some(4);
    ledgers.hand_out(&mut records);
    let told = |finished: usize| {
        records.iter().nth(finished).unwrap().finish().unwrap();
        let mut told = None;
        ledgers.report(|positions| told = positions.first().map(|(_, _, position)| *position));
        told
    };
    assert_eq!(told(0), Some(at(6, 3)));
    assert_eq!(told(1), Some(at(7, 3)));
    assert_eq!(told(2), Some(at(9, 4)));
}

#[test]
fn h3_a_batch_that_is_not_opened_is_not_finished_and_where_it_has_no_record_nothing_is_missing() {
    let ledgers = Ledgers::default();
    let mut whole = unopened(TOKEN, &[5, 8], 11);
    ledgers.hand_out_unopened(&mut whole);
    let told = || told(&ledgers).map(|(_, offset)| offset);
    assert_eq!(told(), None);
    let records = whole.open(&mut crate::batches::Decompressor::new()).unwrap();
    records.iter().next().unwrap().finish().unwrap();
    assert_eq!(told(), Some(8));
    records.iter().nth(1).unwrap().finish().unwrap();
    assert_eq!(told(), Some(11));
    let mut next = unopened(TOKEN, &[12], 13);
    next.from = 11;
    ledgers.hand_out_unopened(&mut next);
    next.finish().unwrap();
    assert_eq!(told(), Some(13), "unopened, but finished");
    // The log's start has overtaken the position.
    let mut beyond = unopened(TOKEN, &[50, 51], 52);
    ledgers.hand_out_unopened(&mut beyond);
    beyond.finish().unwrap();
    assert_eq!(told(), Some(52), "there was nothing between");
}

#[test]
fn h2_h14_a_record_of_before_a_seek_or_of_an_earlier_owner_finishes_nothing() {
    for token in [TOKEN.after_seek(), Token { assignment: 2, seek: 0 }] {
        let ledgers = Ledgers::default();
        let mut old = part(TOKEN, &[0, 1, 2], 3);
        ledgers.hand_out(&mut old);
        let ticket = old.iter().next().unwrap().ticket().unwrap();
        ledgers.close(&[orders()], &Refusal::Revoked);
        let mut new = part(token, &[0, 1, 2], 3);
        ledgers.hand_out(&mut new);
        assert_eq!(old.finish().unwrap_err().kind(), crate::ErrorKind::NotOwned);
        assert_eq!(ticket.finish().unwrap_err().kind(), crate::ErrorKind::NotOwned);
        assert_eq!(told(&ledgers), None);
        new.finish().unwrap();
        assert_eq!(told(&ledgers), Some((token, 3)));
    }
}

#[test]
fn h3_a_later_delivery_continues_the_ledger_and_is_reported_once() {
    let ledgers = Ledgers::default();
    let mut first = part(TOKEN, &[0, 1, 2], 3);
    ledgers.hand_out(&mut first);
    first.finish().unwrap();
    assert_eq!(told(&ledgers), Some((TOKEN, 3)));
    let mut second = part(TOKEN, &[3, 4], 5);
    ledgers.hand_out(&mut second);
    assert_eq!(told(&ledgers), None, "that was told before");
    let (one, other) = (first.ledger.as_ref().unwrap(), second.ledger.as_ref().unwrap());
    assert!(Arc::ptr_eq(one, other), "it is the same stretch of the log");
    ledgers.pass(Passed { from: 5, to: record_position(TOKEN, 8) });
    second.finish().unwrap();
    assert_eq!(told(&ledgers), Some((TOKEN, 8)));
}

/// L1: from what is handed out the ledgers detect by themselves that the position was moved back.
#[test]
fn l1_redelivered_records_must_be_finished_again_and_earlier_ones_still_count() {
    let ledgers = Ledgers::default();
    let mut old = part(TOKEN, &[0, 1, 2, 3], 4);
    ledgers.hand_out(&mut old);
    old.iter().skip(2).for_each(|record| record.finish().unwrap());
    let mut again = part(TOKEN, &[2, 3], 4);
    ledgers.hand_out(&mut again);
    old.iter().take(2).for_each(|record| record.finish().unwrap());
    assert_eq!(told(&ledgers), Some((TOKEN, 2)), "2 is another now");
    assert!(old.iter().nth(2).unwrap().finish().is_err());
    again.finish().unwrap();
    assert_eq!(told(&ledgers), Some((TOKEN, 4)));
}

/// I7: nothing continues under another token, even if the earlier ledger was not closed.
#[test]
fn i7_under_another_token_nothing_of_before_counts() {
    let later = TOKEN.after_seek();
    let ledgers = Ledgers::default();
    let mut old = part(TOKEN, &[0, 1, 2], 3);
    ledgers.hand_out(&mut old);
    let mut new = part(later, &[7, 8], 9);
    ledgers.hand_out(&mut new);
    assert_eq!(old.finish().unwrap_err().kind(), crate::ErrorKind::NotOwned);
    assert_eq!(told(&ledgers), None);
    ledgers.cut_off(&orders(), TOKEN, 8);
    new.finish().unwrap();
    assert_eq!(told(&ledgers), Some((later, 9)), "nor is it moved back by what was said of before");
    ledgers.close_all();
    assert_eq!(new.finish().unwrap_err().kind(), crate::ErrorKind::NotOwned);
    assert_eq!(told(&ledgers), None);
}

#[test]
fn h2_closing_a_partition_leaves_the_others_open() {
    let ledgers = Ledgers::default();
    let mut here = part(TOKEN, &[0, 1], 2);
    let mut there = part(TOKEN, &[0, 1], 2);
    there.partition.partition = 1;
    ledgers.hand_out(&mut here);
    ledgers.hand_out(&mut there);
    ledgers.close(&[there.partition.clone()], &Refusal::Revoked);
    assert!(here.finish().is_ok() && there.finish().is_err());
    assert_eq!(told(&ledgers), Some((TOKEN, 2)));
}

#[test]
fn a_finish_without_finish_each_is_a_misuse_error() {
    let error = part(TOKEN, &[0], 1).finish().unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Misuse);
    assert!(error.to_string().contains("finish_each"), "{error}");
}

#[test]
fn records_finished_during_a_handover_are_reported_last() {
    let ledgers = Ledgers::default();
    let mut records = part(TOKEN, &[0, 1], 2);
    ledgers.hand_out(&mut records);
    records.finish().unwrap();
    let mut last = None;
    assert!(
        ledgers
            .close_and_report(&[orders()], &Refusal::Revoked, |positions| last = Some(positions[0].2.offset))
    );
    assert_eq!(last, Some(2));
    assert!(!ledgers.close_and_report(&[orders()], &Refusal::Revoked, |_| panic!("there is no news")));
}

/// Finishes records of any time in any order, between hand-outs, seeks, revokes and moves back by the
/// cluster: the reported position is the first unfinished record of those handed out since, no more and no
/// less.
#[test]
fn h2_h3_whatever_happens_what_is_told_is_the_unbroken_run_of_what_was_handed_out() {
    for seed in 0..300 {
        let mut next = random(seed);
        let ledgers = Ledgers::default();
        let mut token = TOKEN;
        // Everything ever handed out, with its stretch and the offset from which its log is gone; and the
        // unfinished records of the present stretch.
        let (mut all, mut stretch) = (Vec::<(u32, i64, PartitionRecords)>::new(), 0);
        let mut open = BTreeSet::new();
        let (mut reach, mut known) = (10, None);
        for _ in 0..80 {
            match next(12) {
                0..=3 => {
                    let mut offsets = Vec::new();
                    for _ in 0..=next(5) {
                        reach += i64::try_from(next(3)).unwrap();
                        offsets.push(reach);
                        reach += 1;
                    }
                    known = known.or(Some(offsets[0]));
                    reach += i64::try_from(next(2)).unwrap();
                    let mut records = part(token, &offsets, reach);
                    ledgers.hand_out(&mut records);
                    open.extend(offsets);
                    all.push((stretch, i64::MAX, records));
                }
                4..=9 if !all.is_empty() => {
                    let (of, cut, records) = &all[usize::try_from(next(all.len() as u64)).unwrap()];
                    let nth = usize::try_from(next(records.len() as u64)).unwrap();
                    let whole = next(5) == 0;
                    let chosen = |(at, _): &(usize, _)| whole || *at == nth;
                    let finished: Vec<_> =
                        records.iter().enumerate().filter(chosen).map(|(_, record)| record).collect();
                    let outcome = if whole { records.finish() } else { finished[0].finish() };
                    let counts = |offset: i64| *of == stretch && offset < *cut;
                    let is_ours = counts(finished[0].offset());
                    assert_eq!(outcome.is_ok(), is_ours, "what is not ours any more is refused");
                    for offset in finished.iter().map(|record| record.offset()).filter(|at| counts(*at)) {
                        open.remove(&offset);
                    }
                }
                11 if next(4) == 0 => {
                    // Moved back by the cluster, by a little or by more.
                    let to = 10.max(reach - i64::try_from(next(12)).unwrap());
                    ledgers.cut_off(&orders(), token, to);
                    all.iter_mut().for_each(|(_, cut, _)| *cut = to.min(*cut));
                    open.split_off(&to);
                    reach = to;
                    known = known.map(|known: i64| known.min(to));
                }
                10 if next(4) == 0 => {
                    token = match next(2) {
                        0 => token.after_seek(),
                        _ => Token { assignment: token.assignment + 1, seek: 0 },
                    };
                    ledgers.close(&[orders()], &Refusal::Revoked);
                    open.clear();
                    (stretch, reach, known) = (stretch + 1, 10, None);
                }
                _ => {}
            }
            if let Some((of, at)) = told(&ledgers) {
                assert!(of == token && known.is_some_and(|before| before <= at), "{seed}");
                known = Some(at);
            }
            if let Some(known) = known {
                assert_eq!(known, open.first().copied().unwrap_or(reach), "{seed}");
            }
        }
    }
}

#[test]
fn open_records_between_finished_ones_are_counted() {
    let ledger = ten();
    assert_eq!(ledger.open(), Some(Open { first: 10, count: 10, dropped: None }));
    ledger.finish(12, 15);
    ledger.finish(10, 11);
    ledger.ticket_dropped(13);
    assert_eq!(ledger.open(), Some(Open { first: 11, count: 6, dropped: None }), "13 was finished");
    ledger.ticket_dropped(18);
    ledger.ticket_dropped(16);
    assert_eq!(ledger.open().and_then(|open| open.dropped), Some(16));
    ledger.finish(16, 17);
    assert_eq!(ledger.open().and_then(|open| open.dropped), Some(18), "by another ticket");
    ledger.finish(11, 20);
    assert_eq!(ledger.open(), None);
}

#[test]
fn a_ticket_that_is_dropped_counts_where_its_record_does() {
    let before = ten();
    before.ticket_dropped(17);
    before.ticket_dropped(11);
    let after = before.cut_off(15);
    assert_eq!(after.open(), Some(Open { first: 10, count: 5, dropped: Some(11) }), "17 comes again");
    after.finish(10, 12);
    before.ticket_dropped(13);
    before.ticket_dropped(16);
    assert_eq!(after.open(), Some(Open { first: 12, count: 3, dropped: Some(13) }));
    after.close(Refusal::Revoked);
    after.ticket_dropped(12);
    let few = Ledger::starting_at(0);
    few.hand_out(0..1000, at(1000, 1));
    (0..1000).rev().for_each(|offset| few.ticket_dropped(offset));
    assert_eq!(few.open().and_then(|open| open.dropped), Some(0));
    assert!(few.dropped_tickets() <= MOST_DROPPED);
}

#[test]
fn hand_outs_are_known_to_the_second_and_never_many() {
    let began = clock::now();
    let after = |millis| began + Duration::from_millis(millis);
    let mut handed = DeliveryTimes::default();
    assert_eq!(handed.of(0), None);
    for (from, millis) in [(0, 0), (10, 500), (20, 1000), (30, 1999), (40, 2000)] {
        handed.note(from, after(millis));
    }
    assert_eq!(handed.0.len(), 3);
    assert_eq!(handed.of(15), Some(began), "to within a second");
    assert_eq!(handed.of(39), Some(after(1000)));
    handed.note(25, after(9000));
    assert_eq!(handed.of(24), Some(after(1000)));
    assert_eq!(handed.of(40), Some(after(9000)), "it has come again");

    let mut handed = DeliveryTimes::default();
    for second in 0..100_000_u64 {
        handed.note(second.cast_signed(), after(1000 * second));
        assert!(handed.0.len() <= DeliveryTimes::MOST);
    }
    assert_eq!(handed.of(0), Some(began), "the one that holds up the others");
    let newest = handed.of(99_999).unwrap();
    assert!(newest > began && newest <= after(99_999_000));
}

#[test]
fn records_finished_behind_an_open_one_are_counted_and_refusals_have_a_reason() {
    let ledger = ten();
    assert_eq!((ledger.held_back(), ledger.refusal(10)), (None, None));
    ledger.finish(10, 12);
    assert_eq!(ledger.held_back(), None, "nothing is behind it");
    ledger.finish(13, 15);
    ledger.finish(19, 20);
    assert_eq!(ledger.held_back(), Some((12, 3)));
    let after = ledger.cut_off(14);
    assert_eq!(after.held_back(), Some((12, 1)), "of what is left");
    assert_eq!((ledger.refusal(14), ledger.refusal(13)), (Some(Refusal::Truncated), None));
    let lost = Refusal::Lost(Some("the session expired".into()));
    after.close(lost.clone());
    assert_eq!(ledger.refusal(13), Some(lost));
}
