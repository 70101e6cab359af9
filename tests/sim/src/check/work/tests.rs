//! Forged histories for each rule about workers.

use std::time::Duration;

use crate::{
    check::forge::{Forged, M0, M1, orders},
    clock::ms,
    events::{How, Place, What, Who},
    plan::{Breaker, FaultKind, Order, Work},
};

fn options() -> Work {
    Work {
        order: Order::Key,
        batch: 1,
        concurrency: 2,
        queue: 10,
        queue_bytes: 1_000,
        attempts: 2,
        delay: (100, 100),
        jitter: false,
        letters: Some(1),
        headers: 0,
        delivery_timeout: 5_000,
        timeout: Some(1_000),
        grace: 1_000,
        close_timeout: 1_000,
        revoke_grace: None,
        commit_interval: 1_000,
        metadata_bytes: 4_096,
        breaker: None,
        keys: 2,
        hot: 0,
        poison: 0,
        doomed: 0,
        flaky: 0,
        panics: 0,
        hangs: 0,
        slow: 0,
        fatal: 0,
        outages: Vec::new(),
        strikes: Vec::new(),
        cuts: false,
        transactional: false,
        retries: Vec::new(),
        blocking: false,
        restarts_after: 0,
    }
}

/// Eight records of two alternating keys; the first member has their partition.
fn begun() -> Forged {
    let planned = Forged::new().planned(|plan| plan.work = Some(options()));
    let written = (0..8).fold(planned.written(0..8, 0), |forged, offset| {
        let key = Some(["a", "b"][usize::from(offset % 2 == 1)].to_owned());
        forged.tell(What::Wrote { at: orders(), offset, key, digest: digest(offset) })
    });
    written.joins(M0, 1)
}

fn digest(offset: i64) -> u64 {
    offset.unsigned_abs() + 100
}

fn with(forged: Forged, change: impl FnOnce(&mut Work)) -> Forged {
    forged.planned(|plan| change(plan.work.as_mut().unwrap()))
}

/// Each call of a handler has the number of its record.
fn begins(forged: Forged, who: Who, offset: i64) -> Forged {
    called(forged, who, offset.unsigned_abs(), offset)
}

fn called(forged: Forged, who: Who, call: u64, offset: i64) -> Forged {
    let (id, attempt, probe) = (offset.unsigned_abs(), 1, false);
    forged.tell(What::HandlerBegan { who, call, at: orders(), offset, id, attempt, probe })
}

fn ends(forged: Forged, who: Who, offset: i64, how: How) -> Forged {
    forged.tell(What::HandlerEnded { who, call: offset.unsigned_abs(), at: orders(), offset, how })
}

fn handles(forged: Forged, who: Who, offset: i64, how: How) -> Forged {
    ends(begins(forged, who, offset), who, offset, how)
}

fn done(forged: Forged, who: Who, offsets: impl IntoIterator<Item = i64>) -> Forged {
    offsets.into_iter().fold(forged, |forged, offset| handles(forged, who, offset, How::Done))
}

fn claims(forged: Forged, beyond: &[(i64, i64)]) -> Forged {
    forged.tell(What::Claimed { at: orders(), beyond: beyond.to_vec() })
}

fn letters() -> Place {
    Place::new("letters", 0)
}

fn letter(forged: Forged, of: i64) -> Forged {
    letter_after(forged, of, 2)
}

fn letter_after(forged: Forged, of: i64, attempts: u32) -> Forged {
    says_letter(forged, Some((orders(), of)), digest(of), attempts)
}

fn says_letter(forged: Forged, of: Option<(Place, i64)>, digest: u64, attempts: u32) -> Forged {
    forged.tell(What::Letter { at: letters(), offset: 0, of, digest, attempts: Some(attempts) })
}

fn hands_over(forged: Forged, who: Who, lost: bool) -> Forged {
    forged.revoked(who).tell(What::HandedOver { who, places: vec![orders()], lost })
}

fn crashes(forged: Forged) -> Forged {
    forged.tell(What::Crashed { who: M0 }).joins(M1, 2)
}

#[test]
fn safe1_a_commit_passes_what_is_neither_handled_nor_dead_lettered() {
    done(begun(), M0, [0, 1]).commits(M0, 2).holds();
    done(begun(), M0, [0, 1]).commits(M0, 3).is_found("SAFE1");
    handles(done(begun(), M0, [0, 1]), M0, 2, How::Failed).commits(M0, 3).is_found("SAFE1");
    let poison = || handles(done(begun(), M0, [0, 1]), M0, 2, How::Poison);
    poison().commits(M0, 3).is_found("SAFE1");
    letter(poison(), 2).commits(M0, 3).holds();
    // Its letter arrives after the commit.
    letter(poison().commits(M0, 3), 2).is_found("SAFE1");
    // The records can no longer be read.
    done(begun(), M0, [0, 1]).tell(What::StartMoved { at: orders(), start: 3 }).commits(M0, 3).holds();
}

#[test]
fn safe1_a_commit_claims_what_is_open_beyond_it() {
    let some = || done(begun(), M0, [0, 1, 3]).commits(M0, 2);
    claims(some(), &[(3, 4)]).holds();
    claims(some(), &[(3, 5)]).is_found("SAFE1");
}

#[test]
fn safe1_aborted_records_are_passed_by_those_that_do_not_see_them() {
    let aborted = |read_committed| {
        let planned = begun().planned(|plan| {
            plan.members.iter_mut().for_each(|member| member.read_committed = read_committed);
        });
        let written = planned.tell(What::Appended { at: orders(), offset: 8, id: 8, transaction: 7 });
        let ended = written.tell(What::Ended { transaction: 7, committed: false });
        done(ended, M0, 0..8).commits(M0, 10)
    };
    aborted(true).holds();
    aborted(false).is_found("SAFE1");
}

#[test]
fn safe2_a_finished_record_that_is_begun_again_is_found() {
    done(done(begun(), M0, [0]), M0, [0]).is_found("SAFE2");
    let written = letter(handles(begun(), M0, 0, How::Poison), 0);
    let told = written.tell(What::LetterTold {
        who: M0,
        at: orders(),
        offset: 0,
        to: letters(),
        to_offset: Some(0),
    });
    begins(told, M0, 0).is_found("SAFE2");
    // A failure is retried.
    handles(handles(begun(), M0, 0, How::Failed), M0, 0, How::Done).holds();
}

#[test]
fn safe2_a_committed_record_that_the_next_owner_begins_again_is_found() {
    let some = || done(begun(), M0, [0, 1, 2, 3, 5]);
    begins(crashes(some()), M1, 0).holds();
    begins(crashes(some().commits(M0, 4)), M1, 2).is_found("SAFE2");
    begins(crashes(some().commits(M0, 2)), M1, 2).holds();
    let claimed = || claims(some().commits(M0, 4), &[(5, 6)]);
    begins(done(crashes(claimed()), M1, [7]), M1, 5).is_found("SAFE3");
    begins(crashes(claimed()), M1, 5).is_found("SAFE2");
    // It could not read the offsets, or keeps no metadata.
    let error = What::Failed {
        who: M1,
        call: "worker",
        kind: "Timeout".to_owned(),
        message: String::new(),
        fatal: false,
    };
    begins(crashes(claimed()).tell(error), M1, 5).holds();
    begins(with(crashes(claimed()), |work| work.metadata_bytes = 0), M1, 5).holds();
}

#[test]
fn safe2_a_partition_is_handed_over_in_order_and_what_was_finished_is_not_committed() {
    let some = || done(begun(), M0, [0, 1]);
    hands_over(some(), M0, false).is_found("SAFE2");
    hands_over(some().commits(M0, 1), M0, false).is_found("SAFE2");
    hands_over(some().commits(M0, 2), M0, false).holds();
    hands_over(claims(some().commits(M0, 1), &[(1, 2)]), M0, false).holds();
    hands_over(some(), M0, true).holds();
    // It was reported at the moment at which another was cancelled.
    let cancelled = |how| {
        let running = begins(begins(done(begun(), M0, [0]).commits(M0, 1), M0, 1), M0, 2);
        let cut = ends(running, M0, 2, How::Dropped).at_once(What::HandlerEnded {
            who: M0,
            call: 1,
            at: orders(),
            offset: 1,
            how,
        });
        hands_over(cut, M0, false)
    };
    cancelled(How::Done).holds();
}

#[test]
fn safe2_a_finish_after_the_last_commit_need_not_be_committed() {
    // A letter is reported after the last commit was made, which is sent once more.
    let sends = |forged: Forged, metadata: &str| {
        let metadata = metadata.to_owned();
        forged.tell(What::CommitSent { who: M0, at: orders(), offset: 1, epoch: -1, metadata }).noted(M0, 1)
    };
    let told = |forged: Forged| {
        let written = letter(handles(forged, M0, 1, How::Poison), 1);
        let (to, to_offset) = (letters(), Some(0));
        written.tell(What::LetterTold { who: M0, at: orders(), offset: 1, to, to_offset })
    };
    let late = |again| hands_over(sends(told(sends(done(begun(), M0, [0]), "a")), again), M0, false);
    late("a").holds();
    late("b").is_found("SAFE2");
    // A handler ends at the very moment at which its partition is revoked.
    let ended = What::HandlerEnded { who: M0, call: 1, at: orders(), offset: 1, how: How::Done };
    let gives_up = |forged: Forged| {
        let given_up = forged.at_once(What::Revoked { who: M0, places: vec![orders()] });
        given_up.tell(What::HandedOver { who: M0, places: vec![orders()], lost: false })
    };
    let running = || begins(done(begun(), M0, [0]).commits(M0, 1), M0, 1);
    gives_up(running().tell(ended.clone())).holds();
    gives_up(running().tell(ended).tell(What::Queued { who: M0, records: 0, bytes: 0, letters: false }))
        .is_found("SAFE2");
    // It ends at the very moment of the last commit: of its own partition, or of another one.
    let sent_of = |at: Place| {
        let metadata = "b".to_owned();
        let sent = What::CommitSent { who: M0, at, offset: 1, epoch: -1, metadata };
        let running = begins(done(begun(), M0, [0]).commits(M0, 1), M0, 1);
        hands_over(ends(running, M0, 1, How::Done).at_once(sent), M0, false)
    };
    sent_of(orders()).holds();
    sent_of(Place { partition: 1, ..orders() }).is_found("SAFE2");
    // The plan of seed 9052757: one ends at the very moment at which another is cancelled, which blocks on for a while.
    let blocks = || with(begun(), |work| (work.blocking, work.order) = (true, Order::Unordered));
    let two = || begins(begins(blocks(), M0, 0), M0, 1);
    let ignored = |forged: Forged, offset| hands_over(ends(forged, M0, offset, How::Ignored), M0, false);
    ignored(ends(two(), M0, 1, How::Done), 0).holds();
    // A third was not cancelled when that had ended already; or the other had not begun.
    let third = ends(ends(begins(two(), M0, 2), M0, 1, How::Done), M0, 2, How::Failed);
    ignored(third, 0).is_found("SAFE2");
    let later = begins(ends(begins(blocks(), M0, 1), M0, 1, How::Done), M0, 0);
    ignored(later, 0).is_found("SAFE2");
}

#[test]
fn safe2_a_clean_stop_leaves_something_uncommitted() {
    let stops = |forged: Forged, clean| {
        let closing = forged.tell(What::CloseBegins { who: M0, timeout: ms(1_000) });
        closing.revoked(M0).tell(What::WorkerEnded { who: M0, clean })
    };
    stops(done(begun(), M0, [0, 1]).commits(M0, 2), true).holds();
    stops(done(begun(), M0, [0, 1]), true).is_found("SAFE2");
    stops(done(begun(), M0, [0, 1]), false).holds();
    // A handler ends at the very moment at which the worker is stopped.
    let at_once = |forged: Forged| {
        let closing = forged.at_once(What::CloseBegins { who: M0, timeout: ms(1_000) });
        closing.revoked(M0).tell(What::WorkerEnded { who: M0, clean: true })
    };
    at_once(done(done(begun(), M0, [0]).commits(M0, 1), M0, [1])).holds();
    at_once(done(begun(), M0, [0, 1])).is_found("SAFE2");
    // The plan of seed 26061656: the next owner begins, and commits less than this one had, before the worker has ended.
    let overlaps = |forged: Forged| {
        let closing = forged.tell(What::CloseBegins { who: M0, timeout: ms(1_000) }).revoked(M0);
        closing.joins(M1, 2).commits(M1, 0).tell(What::WorkerEnded { who: M0, clean: true })
    };
    overlaps(claims(done(begun(), M0, [1]).commits(M0, 0), &[(1, 2)])).holds();
    overlaps(done(begun(), M0, [1]).commits(M0, 0)).is_found("SAFE2");
    // It was in the middle of a hand-over.
    let hands_over = |forged: Forged| {
        let closing = forged.tell(What::CloseBegins { who: M0, timeout: ms(1_000) });
        hands_over(closing, M0, false).tell(What::WorkerEnded { who: M0, clean: true })
    };
    hands_over(done(begun(), M0, [0, 1]).commits(M0, 2)).holds();
    hands_over(done(begun(), M0, [0, 1])).is_found("SAFE2");
}

#[test]
fn safe3_the_next_of_a_key_begins_too_early() {
    begins(begins(begun(), M0, 0), M0, 1).holds();
    begins(begins(begun(), M0, 0), M0, 2).is_found("SAFE3");
    done(begun(), M0, [0, 2, 4]).holds();
    let ended = |how| begins(handles(begun(), M0, 0, how), M0, 2);
    ended(How::Failed).is_found("SAFE3");
    ended(How::Panicked).is_found("SAFE3");
    ended(How::Dropped).is_found("SAFE3");
    ended(How::Poison).is_found("SAFE3");
    begins(letter(handles(begun(), M0, 0, How::Poison), 0), M0, 2).holds();
    let order = |order| with(begun(), move |work| work.order = order);
    begins(begins(order(Order::Unordered), M0, 0), M0, 2).holds();
    begins(begins(order(Order::Partition), M0, 0), M0, 1).is_found("SAFE3");
}

#[test]
fn safe3_a_batch_has_several_of_a_key() {
    let batches = || with(begun(), |work| work.batch = 3);
    called(called(batches(), M0, 9, 0), M0, 9, 2).holds();
    called(called(batches(), M0, 9, 0), M0, 10, 2).is_found("SAFE3");
}

#[test]
fn safe3_another_is_still_at_it() {
    let running = || begins(begun(), M0, 0);
    let moved = |forged: Forged| begins(forged.revoked(M0).joins(M1, 2), M1, 0);
    moved(running()).is_found("SAFE3");
    moved(ends(running(), M0, 0, How::Dropped)).holds();
    begins(crashes(running()), M1, 0).holds();
    // A stopped process cannot end anything.
    moved(running().tell(What::Frozen { who: M0 })).holds();
    // It was not told.
    let replaced = || running().tell(What::MemberGone { member: M0.to_string(), why: "replaced" });
    moved(replaced()).holds();
    // The plan of seed 26051418: the other begins at the very moment at which it is told.
    let told = || replaced().joins(M1, 2).tell(What::Lost { who: M0, places: vec![orders()] });
    let began = |offset| What::HandlerBegan {
        who: M1,
        call: 9,
        at: orders(),
        offset,
        id: 0,
        attempt: 1,
        probe: false,
    };
    told().at_once(began(0)).holds();
    told().wait(10).tell(began(0)).is_found("SAFE3");
}

#[test]
fn safe3_another_is_still_at_it_and_was_to_let_go_when_the_group_became_a_consumer_group() {
    // The plan of seed 9313533: Kafka takes over what the members were last assigned.
    let modern = begun().planned(|plan| plan.members[1].consumer_protocol = true);
    let given = |forged: Forged, places: Vec<Place>| {
        forged.tell(What::GroupAssigned { member: M0.to_string(), generation: 2, places })
    };
    let next = |forged: Forged| begins(forged.joins(M1, 3), M1, 0);
    next(given(begins(modern.clone(), M0, 0), Vec::new())).holds();
    // It was to keep it; and the group goes on as a classic one.
    next(given(begins(modern, M0, 0), vec![orders()])).is_found("SAFE3");
    next(given(begins(begun(), M0, 0), Vec::new())).is_found("SAFE3");
    // The plan of seed 25000271: the next owner is at it, and the member that was to let go goes on until it hears of it.
    let goes_on = |forged: Forged| begins(begins(forged.joins(M1, 3), M1, 0), M0, 0);
    let modern = begun().planned(|plan| plan.members[1].consumer_protocol = true);
    goes_on(given(modern.clone(), Vec::new())).holds();
    goes_on(given(modern, vec![orders()])).is_found("SAFE3");
    goes_on(given(begun(), Vec::new())).is_found("SAFE3");
}

#[test]
fn safe3_a_handler_that_blocks_goes_on_when_its_partition_is_gone() {
    let running = || called(with(begun(), |work| work.blocking = true), M0, 9, 0);
    // The handler cannot be ended: the next owner does not wait for it, but this member does, if it is given the partition again.
    let late = || running().wait(3_100);
    called(late().revoked(M0).joins(M1, 2), M1, 1, 0).holds();
    // It revoked the partition before it had to; or is being stopped, with little time.
    let early = || running().wait(1_000).revoked(M0);
    early().assigned(M0, 2).is_found("SAFE3");
    // A worker that ends by itself (the plans of seeds 9039075 and 9041086: its producer was fenced, a handler could not go on) no longer
    // waits.
    early().holds();
    running().tell(What::CloseBegins { who: M0, timeout: ms(10_000) }).revoked(M0).holds();
    called(running().joins(M1, 2), M1, 1, 0).is_found("SAFE3");
    let again = || late().revoked(M0).assigned(M0, 2);
    called(again(), M0, 10, 0).is_found("SAFE3");
    let ended = |how| What::HandlerEnded { who: M0, call: 9, at: orders(), offset: 0, how };
    called(again().tell(ended(How::Ignored)), M0, 10, 0).holds();
    // It checks whether its result is still awaited before it reports success.
    late().revoked(M0).tell(ended(How::Done)).is_found("SAFE3");
    late().tell(ended(How::Done)).revoked(M0).holds();
    // Its result does not count.
    running().tell(ended(How::Done)).commits(M0, 1).holds();
    running().tell(ended(How::Ignored)).commits(M0, 1).is_found("SAFE1");
}

#[test]
fn safe3_in_an_assignment_it_goes_back() {
    let all = || done(begun(), M0, [0, 2]);
    begins(begins(crashes(all()), M1, 2), M1, 0).is_found("SAFE3");
    begins(done(crashes(all()), M1, [0]), M1, 2).holds();
    // That is another record.
    let other =
        What::HandlerBegan { who: M0, call: 0, at: orders(), offset: 0, id: 77, attempt: 1, probe: false };
    begun().tell(other).is_found("SAFE3");
}

#[test]
fn safe12_a_dead_letter_is_not_what_it_should_be() {
    let failed = |times| (0..times).fold(begun(), |forged, _| handles(forged.wait(200), M0, 0, How::Failed));
    letter(failed(2), 0).holds();
    letter(failed(1), 0).is_found("SAFE12");
    letter(handles(begun(), M0, 0, How::Poison), 0).holds();
    letter(begun(), 0).is_found("SAFE12");
    letter_after(failed(2), 0, 1).is_found("SAFE12");
    let poison = || handles(begun(), M0, 0, How::Poison);
    letter_after(poison(), 0, 1).holds();
    letter_after(poison(), 0, 0).is_found("SAFE12");
    letter_after(poison(), 0, 3).is_found("SAFE12");
    let says = |of, digest| says_letter(poison(), of, digest, 1);
    says(Some((orders(), 0)), digest(0)).holds();
    says(Some((orders(), 0)), 5).is_found("SAFE12");
    says(Some((orders(), 99)), digest(0)).is_found("SAFE12");
    says(None, digest(0)).is_found("SAFE12");
}

#[test]
fn safe12_a_dead_letter_is_told_that_is_not_there() {
    let told = |to_offset| {
        letter(handles(begun(), M0, 0, How::Poison), 0).tell(What::LetterTold {
            who: M0,
            at: orders(),
            offset: 0,
            to: letters(),
            to_offset: Some(to_offset),
        })
    };
    told(0).holds();
    told(1).is_found("SAFE12");
}

#[test]
fn safe12_a_retry_comes_too_early() {
    let retried = |waits| {
        let failed = handles(begun(), M0, 0, How::Failed);
        let delay = Duration::from_millis(100);
        let told = failed.at_once(What::Retried { who: M0, at: orders(), offset: 0, delay });
        begins(told.wait(waits), M0, 0)
    };
    retried(100).holds();
    retried(50).is_found("SAFE12");
}

#[test]
fn safe15_more_handlers_run_or_more_records_wait_than_may() {
    let unordered = || with(begun(), |work| work.order = Order::Unordered);
    begins(begins(unordered(), M0, 0), M0, 1).holds();
    begins(begins(begins(unordered(), M0, 0), M0, 1), M0, 2).is_found("SAFE15");
    called(called(unordered(), M0, 0, 0), M0, 0, 1).is_found("SAFE15");
    let waiting = |records, bytes, letters| {
        let few = begun().planned(|plan| plan.members[0].max_poll_records = 5);
        few.tell(What::Queued { who: M0, records, bytes, letters })
    };
    waiting(27, 1_000, false).holds();
    waiting(28, 1_000, false).is_found("SAFE15");
    waiting(27, 18_000, false).is_found("SAFE15");
    // What dead letters hold up is held beside the queue.
    waiting(28, 1_000, true).holds();
    waiting(100, 1_000, true).is_found("SAFE15");
}

/// A plan with two retry topics: records wait half a second in the first, and two seconds in the second. The first member has their
/// partitions too.
fn with_retries() -> Forged {
    let forged = with(begun(), |work| work.retries = vec![500, 2_000]);
    let places = vec![aside(1), aside(2)];
    forged.tell(What::Assigned { who: M0, places, generation: 2 })
}

fn aside(stage: usize) -> Place {
    Place::new(&format!("retry.{stage}"), 0)
}

/// The handler fails these attempts with record 0, wherever it is.
fn fails(forged: Forged, stage: usize, numbers: std::ops::RangeInclusive<u32>) -> Forged {
    let at = if stage == 0 { orders() } else { aside(stage) };
    numbers.fold(forged, |forged, attempt| {
        let (who, call, offset) = (M0, u64::from(attempt), 0);
        let began = What::HandlerBegan { who, call, at: at.clone(), offset, id: 0, attempt, probe: false };
        let said = What::FailureSaid { who, at: at.clone(), offset, reason: format!("not now {attempt}") };
        let ended = What::HandlerEnded { who, call, at: at.clone(), offset, how: How::Failed };
        forged.tell(began).tell(said).tell(ended)
    })
}

/// Record 0 is appended to a retry topic; now, by the clock of its writer.
fn put_aside(forged: Forged, stage: usize, attempts: u32, first: &str) -> Forged {
    put_aside_with(forged, stage, Some(attempts), Some(first), digest(0))
}

fn put_aside_with(
    forged: Forged,
    stage: usize,
    attempts: Option<u32>,
    first: Option<&str>,
    digest: u64,
) -> Forged {
    let at = aside(stage);
    let appended = forged.tell(What::Appended { at: at.clone(), offset: 0, id: 0, transaction: 0 });
    let key = Some("a".to_owned());
    let wrote = appended.tell(What::Wrote { at: at.clone(), offset: 0, key, digest });
    let (of, first) = (Some((orders(), 0)), first.map(str::to_owned));
    let written = wrote.events().last().map(|event| event.at).unwrap_or_default();
    wrote.tell(What::PutAside { at, offset: 0, of, attempts, first, written })
}

#[test]
fn safe12_a_record_is_put_aside_that_is_not_out_of_attempts_or_says_something_else() {
    let failed = |times| fails(with_retries(), 0, 1..=times);
    put_aside(failed(2), 1, 2, "not now 1").holds();
    put_aside(failed(1), 1, 2, "not now 1").is_found("SAFE12");
    // It skips a topic.
    put_aside(failed(2), 2, 2, "not now 1").is_found("SAFE12");
    put_aside(failed(2), 1, 1, "not now 1").is_found("SAFE12");
    put_aside(failed(2), 1, 2, "not now 9").is_found("SAFE12");
    put_aside_with(failed(2), 1, Some(2), None, digest(0)).is_found("SAFE12");
    put_aside_with(failed(2), 1, None, Some("not now 1"), digest(0)).is_found("SAFE12");
    put_aside_with(failed(2), 1, Some(2), Some("not now 1"), digest(1)).is_found("SAFE12");
    let poison = handles(with_retries(), M0, 0, How::Poison);
    put_aside(poison, 1, 1, "never").is_found("SAFE12");
}

#[test]
fn safe12_attempts_and_the_first_failure_go_with_a_record_through_its_topics() {
    let once = || put_aside(fails(with_retries(), 0, 1..=2), 1, 2, "not now 1").wait(500);
    fails(once(), 1, 3..=4).holds();
    // Its attempts begin at 1 again; or there is one more than allowed.
    fails(once(), 1, 1..=1).is_found("SAFE12");
    fails(once(), 1, 3..=5).is_found("SAFE12");
    let told = |first: &str, of| {
        let of = Some((orders(), of));
        once().tell(What::CameAgain { who: M0, at: aside(1), offset: 0, of, first: Some(first.to_owned()) })
    };
    told("not now 1", 0).holds();
    told("not now 3", 0).is_found("SAFE12");
    told("not now 1", 2).is_found("SAFE12");
    let twice = |first| put_aside(fails(once(), 1, 3..=4), 2, 4, first);
    twice("not now 1").holds();
    twice("not now 3").is_found("SAFE12");
    let through = |attempts| letter_after(fails(twice("not now 1").wait(2_000), 2, 5..=6), 0, attempts);
    through(6).holds();
    through(2).is_found("SAFE12");
    // The last topic comes before the dead letters.
    letter_after(fails(once(), 1, 3..=4), 0, 4).is_found("SAFE12");
}

#[test]
fn safe12_a_record_that_was_put_aside_is_handled_before_it_is_due() {
    let aside = |waits| put_aside(fails(with_retries(), 0, 1..=2), 1, 2, "not now 1").wait(waits);
    fails(aside(500), 1, 3..=3).holds();
    fails(aside(490), 1, 3..=3).is_found("SAFE12");
}

#[test]
fn safe12_it_is_told_that_a_record_is_put_aside_where_it_is_not() {
    let told = |stage, to_offset| {
        let put = put_aside(fails(with_retries(), 0, 1..=2), 1, 2, "not now 1");
        let to_offset = Some(to_offset);
        put.tell(What::LetterTold { who: M0, at: orders(), offset: 0, to: aside(stage), to_offset })
    };
    told(1, 0).holds();
    told(1, 1).is_found("SAFE12");
    told(2, 0).is_found("SAFE12");
}

#[test]
fn safe1_a_commit_passes_a_record_that_is_neither_put_aside_nor_handled_where_it_was() {
    let commits = |forged: Forged, at: Place| {
        let (member, who) = (M0.to_string(), M0);
        let metadata = String::new();
        let sent = forged.tell(What::CommitSent { who, at: at.clone(), offset: 1, epoch: -1, metadata });
        sent.tell(What::Committed { member, generation: 1, at, offset: 1, leader_epoch: 0 })
    };
    let failed = || fails(with_retries(), 0, 1..=2);
    commits(failed(), orders()).is_found("SAFE1");
    let put = || put_aside(failed(), 1, 2, "not now 1");
    commits(put(), orders()).holds();
    let again = || fails(commits(put(), orders()).wait(500), 1, 3..=4);
    commits(again(), aside(1)).is_found("SAFE1");
    commits(put_aside(again(), 2, 4, "not now 1"), aside(1)).holds();
    // In the end the records of all retry topics are handled.
    let rest = |forged| commits_all(done(forged, M0, 1..8));
    assert_eq!(left(rest(put())), [(0, 1)]);
    let handled = fails(put().wait(500), 1, 3..=3).tell(What::HandlerEnded {
        who: M0,
        call: 9,
        at: aside(1),
        offset: 0,
        how: How::Done,
    });
    assert_eq!(left(commits(rest(handled), aside(1))), []);
}

/// The group commits all eight.
fn commits_all(forged: Forged) -> Forged {
    forged.commits(M0, 8)
}

/// A breaker that opens when two of four attempts fail, for a second, and closes after two probes.
fn guarded() -> Forged {
    with(begun(), |work| {
        work.breaker = Some(Breaker { share: 50, window: 4, pause: 1_000, probes: 2 });
        (work.order, work.attempts) = (Order::Unordered, 0);
    })
}

fn says(forged: Forged, state: &str) -> Forged {
    forged.tell(What::Breaker { who: M0, state: state.to_owned() })
}

fn opened() -> Forged {
    let some = done(guarded(), M0, [0, 1]);
    says([2, 3].into_iter().fold(some, |forged, offset| handles(forged, M0, offset, How::Failed)), "open")
}

fn half_open() -> Forged {
    says(opened().wait(1_000), "half-open")
}

fn probes(forged: Forged, offset: i64, how: How) -> Forged {
    ends(probe(forged, offset), M0, offset, how)
}

fn probe(forged: Forged, offset: i64) -> Forged {
    let (call, id) = (offset.unsigned_abs(), offset.unsigned_abs());
    forged.tell(What::HandlerBegan { who: M0, call, at: orders(), offset, id, attempt: 1, probe: true })
}

#[test]
fn safe21_a_breaker_changes_for_no_reason() {
    opened().holds();
    says(done(guarded(), M0, [0, 1, 2, 3]), "open").is_found("SAFE21");
    says(handles(guarded(), M0, 0, How::Failed), "open").is_found("SAFE21");
    half_open().holds();
    says(opened().wait(500), "half-open").is_found("SAFE21");
    says(opened().wait(1_000), "closed").is_found("SAFE21");
    says(begun(), "open").is_found("SAFE21");
    let closes = |probed: Forged| says(probed, "closed");
    closes(probes(half_open(), 4, How::Done)).is_found("SAFE21");
    closes(probes(probes(half_open(), 4, How::Done), 5, How::Done)).holds();
    says(probes(half_open(), 4, How::Done), "open").is_found("SAFE21");
    says(probes(half_open(), 4, How::Failed), "open").holds();
    // Earlier successes still count if a record fails again, but not if another one fails.
    let again = |offset| {
        let one = probes(half_open(), 4, How::Done);
        let open = says(probes(one, offset, How::Failed), "open").wait(1_000);
        closes(probes(says(open, "half-open"), 5, How::Done))
    };
    again(2).holds();
    again(6).is_found("SAFE21");
}

#[test]
fn safe21_a_breaker_lets_through_what_it_should_not() {
    begins(opened(), M0, 4).is_found("SAFE21");
    begins(half_open(), M0, 4).is_found("SAFE21");
    probe(half_open(), 4).holds();
    probe(probe(half_open(), 4), 5).is_found("SAFE21");
    probe(guarded(), 4).is_found("SAFE21");
    // The plan of seed 8001886: its thread blocks on after it was cancelled, and the next one need not wait for it.
    let blocks = || with(probe(probe(half_open(), 4), 5), |work| work.blocking = true);
    ends(blocks(), M0, 4, How::Ignored).holds();
    ends(blocks(), M0, 4, How::Done).is_found("SAFE21");
}

#[test]
fn safe6_a_handler_call_after_the_member_was_removed_is_found() {
    let out = || {
        let late = FaultKind::Late { api: 12, by: 7_000, times: 1 };
        let gone = What::MemberGone { member: M0.to_string(), why: "session" };
        with(begun().fault(1, late), |work| work.batch = 2).tell(What::Frozen { who: M0 }).tell(gone)
    };
    begins(out(), M0, 0).is_found("SAFE6");
    // It had that batch before.
    let batch = |forged| called(called(forged, M0, 9, 0), M0, 9, 1);
    batch(begun().planned(|plan| plan.work.as_mut().unwrap().batch = 2)).holds();
}

/// The records left at the end: for each partition the first one, and their number.
fn left(forged: Forged) -> Vec<(i64, usize)> {
    let mut checker = crate::check::Checker::new(std::sync::Arc::new(forged.plan.clone()));
    forged.events().iter().for_each(|event| checker.feed(event));
    checker.unhandled().into_iter().map(|(_, first, count)| (first, count)).collect()
}

#[test]
fn safe1_records_that_were_written_where_others_were_finished_are_left() {
    let cut = || {
        let all = done(with(begun(), |work| work.cuts = true), M0, 0..8).commits(M0, 8);
        let again = all.truncated(6).tell(What::Appended { at: orders(), offset: 6, id: 77, transaction: 0 });
        again.tell(What::Wrote { at: orders(), offset: 6, key: None, digest: 777 })
    };
    assert_eq!(left(cut()), [(6, 1)]);
    let began =
        What::HandlerBegan { who: M0, call: 90, at: orders(), offset: 6, id: 77, attempt: 1, probe: false };
    let again = || cut().tell(began.clone());
    assert_eq!(left(again()), [(6, 1)]);
    let ended = What::HandlerEnded { who: M0, call: 90, at: orders(), offset: 6, how: How::Done };
    assert_eq!(left(again().tell(ended)), []);
    let of = || Some((orders(), 6));
    assert_eq!(left(says_letter(cut(), of(), 777, 1)), []);
    assert_eq!(left(says_letter(cut(), of(), 106, 1)), [(6, 1)]);
}

#[test]
fn safe3_two_handlers_of_one_worker_in_a_lane_of_a_truncated_log_are_found() {
    let cut = |order| {
        let begun = with(begun(), |work| (work.cuts, work.order) = (true, order));
        called(begun, M0, 9, 2).truncated(6)
    };
    called(cut(Order::Key), M0, 10, 4).is_found("SAFE3");
    called(cut(Order::Key), M0, 10, 3).holds();
    called(cut(Order::Partition), M0, 10, 3).is_found("SAFE3");
    called(cut(Order::Unordered), M0, 10, 4).holds();
    called(cut(Order::Unordered), M0, 10, 2).is_found("SAFE3");
    let ended = What::HandlerEnded { who: M0, call: 9, at: orders(), offset: 2, how: How::Ignored };
    called(cut(Order::Key).tell(ended), M0, 10, 2).holds();
    // It is not known what another worker was told.
    called(cut(Order::Key).revoked(M0).joins(M1, 2), M1, 10, 2).holds();
}

/// An operator has the group skip the present records, but none that are written later.
#[test]
fn safe12_records_written_behind_a_set_offset_are_handled() {
    let set = |offset: i64| {
        let some = done(with(begun(), |work| work.cuts = true), M0, 0..4).commits(M0, 4);
        some.tell(What::OffsetSet { at: orders(), offset }).commits(M0, offset)
    };
    assert_eq!(left(set(4)), [(4, 4)]);
    assert_eq!(left(set(6)), [(6, 2)], "what was set is not handled");
    assert_eq!(left(set(8)), []);
    let later = set(8).tell(What::Appended { at: orders(), offset: 8, id: 77, transaction: 0 });
    assert_eq!(left(later.commits(M0, 9)), [(8, 1)]);
    // The plan of seed 9026265: an operator's commit has no leader epoch, and no member can see that the log was cut since.
    let cut = |set_to, end| {
        let some = done(with(begun(), |work| work.cuts = true), M0, 0..8).commits(M0, 4);
        let (member, generation, leader_epoch) = (String::new(), -1, -1);
        let set = some.tell(What::OffsetSet { at: orders(), offset: set_to });
        let set =
            set.tell(What::Committed { member, generation, at: orders(), offset: set_to, leader_epoch });
        let set = set.truncated(end).wait(5);
        (end..8).fold(set, |forged, offset| {
            forged.tell(What::Appended {
                at: orders(),
                offset,
                id: 50 + offset.unsigned_abs(),
                transaction: 0,
            })
        })
    };
    let again =
        |forged: Forged| forged.tell(What::Appended { at: orders(), offset: 6, id: 90, transaction: 0 });
    assert_eq!(left(cut(8, 6).commits(M0, 8)), []);
    assert_eq!(left(cut(7, 6).commits(M0, 8)), [(7, 1)], "what lies behind it is seen");
    assert_eq!(left(cut(6, 6).commits(M0, 8)), [(6, 2)], "the cut is not below it");
    // A member's later commit shows which log it belongs to.
    assert_eq!(left(again(cut(8, 6).commits(M0, 8).truncated(6).wait(5)).commits(M0, 8)), [(6, 1)]);
    let back = || set(2);
    assert_eq!(left(back()), [(2, 6)]);
    assert_eq!(left(done(back(), M0, 4..8).commits(M0, 8)), [], "handled is handled, before it or after");
}

/// The plan of seed 6003106: the very first commit is sent by topic name for a topic that was created again. The timestamps in its metadata
/// distinguish its claims from the records of the new one.
#[test]
fn safe1_a_commit_may_be_of_a_former_topic_as_long_as_nobody_has_heard_of_the_new_one() {
    let again = |waits, offset| {
        let former = done(with(begun(), |work| work.cuts = true), M0, 0..4);
        let commits = former.recreated().wait(waits).commits(M0, offset);
        let written = (0..4).fold(commits, |forged, offset| {
            forged.tell(What::Appended {
                at: orders(),
                offset,
                id: 50 + offset.unsigned_abs(),
                transaction: 0,
            })
        });
        (4..6).fold(claims(written, &[(offset + 1, offset + 2)]), |forged, offset| {
            forged.tell(What::Appended {
                at: orders(),
                offset,
                id: 50 + offset.unsigned_abs(),
                transaction: 0,
            })
        })
    };
    assert_eq!(left(again(100, 4)), [(4, 2)]);
    assert_eq!(left(again(100, 2)), [(2, 4)]);
    assert_eq!(left(again(30_000, 4)), [(0, 6)]);
}
