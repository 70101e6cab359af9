//! SAFE13: a position is given up only when there is no record at it, and never because a request failed (L2). Each cut of a log excuses
//! one reset, or one reported truncation, of each reader that had not been told of it.

use std::time::Duration;

use super::{
    Complaints,
    ledger::{Cut, Log},
    reader::Reader,
    records::{KNOWS_TOPICS, METADATA, Records, Scene, most_partitions},
};
use crate::{
    clock::ms,
    events::{Place, Who},
    nemesis::LAGS_BEHIND,
    plan::{FaultKind, Odd, Plan, Reset},
};

/// How many partitions may have got that answer by now.
fn undefined_epochs(plan: &Plan, at: Duration) -> u32 {
    let most = most_partitions(plan, at);
    let struck = plan.faults.iter().filter(|fault| ms(fault.at) <= at);
    struck
        .map(|fault| match fault.what {
            FaultKind::Odd { which: Odd::UndefinedEpoch, times } => times * most,
            _ => 0,
        })
        .sum()
}

/// How long a member that asks for the topics at `awake` may wait, as Metadata requests of this time are not answered, or refused: for
/// each, until it is given up (`request.timeout.ms`) and asked again.
fn unanswered(plan: &Plan, awake: Duration, until: Duration) -> Duration {
    const GIVEN_UP: Duration = Duration::from_secs(11);
    const REFUSED: Duration = Duration::from_millis(1_300);
    let struck = plan.faults.iter().filter(|fault| ms(fault.at) <= until);
    let waits = struck.map(|fault| match fault.what {
        FaultKind::Swallow { api: METADATA, times }
        | FaultKind::Drop { api: METADATA, times }
        | FaultKind::Late { api: METADATA, times, .. } => GIVEN_UP * times,
        FaultKind::Held { api: METADATA, .. } => GIVEN_UP,
        FaultKind::Code { api: METADATA, times, .. } => REFUSED * times,
        _ => Duration::ZERO,
    });
    waits.sum::<Duration>().min(until.saturating_sub(awake))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tells {
    Reset,
    Truncation,
}

/// Whether the new position came from an answer that was in flight when the log was cut, and was itself cut off: the reader has yet to be
/// told of this cut.
fn cut_meanwhile(log: &Log, cut: &Cut, to: i64) -> bool {
    !cut.recreated && cut.end < to && log.end() < to
}

/// The most transaction markers that may follow the last record of a log.
const MARKERS: i64 = 8;

/// The same for a topic that was created again: the new one has no such offset.
fn is_of_before(log: &Log, cut: &Cut, to: i64) -> bool {
    cut.recreated && log.end() + MARKERS < to
}

/// The reason of a reset to which an offset led that the log does not have.
const OUT_OF_RANGE: &str = "the offset is out of range";

/// Whether a topic that was created again, and has no record yet, does not reach to this position: its commit was for the topic of before.
fn is_beyond(log: &Log, from: i64) -> bool {
    log.records.is_empty() && from > log.start && log.cuts.last().is_some_and(|cut| cut.recreated)
}

/// The cut that is reported to a reader at this position by telling it to go elsewhere, if there is one that it had not been told of.
fn hears_of(
    reader: &mut Reader,
    log: &Log,
    (position, to): (i64, Option<i64>),
    (started, at): (Duration, Duration),
    of: Tells,
) -> Option<usize> {
    let is_news = |(number, cut): &(usize, &Cut)| {
        *number >= reader.told || (cut.recreated && started <= cut.at && !reader.heard.contains(number))
    };
    let (number, cut) = log.cuts_below(position).find(is_news)?;
    if to.is_some_and(|to| cut_meanwhile(log, cut, to) || (of == Tells::Reset && is_of_before(log, cut, to)))
    {
        return Some(number);
    }
    // A topic's new id is reported separately from epochs that do not match.
    if cut.recreated && of == Tells::Reset {
        reader.heard.insert(number);
        reader.takes_for_cut = None;
    }
    if cut.recreated && of == Tells::Truncation {
        reader.takes_for_cut = to.map(|to| (number, to, at));
    }
    reader.told = reader.told.max(number + 1);
    Some(number)
}

impl Records {
    pub(super) fn reset(
        &mut self,
        scene: Scene<'_>,
        (who, place, from, to, reason): (Who, &Place, Option<i64>, i64, &str),
        complaints: &mut Complaints,
    ) {
        let Scene { plan, ledger, at, .. } = scene;
        let Some(log) = ledger.log(place) else { return };
        let started = self.started.get(&who).copied().unwrap_or(at);
        self.begins(scene, who, place);
        let reader = self.reader(who, place);
        let since = reader.asks_since();
        let policy_decides = std::mem::take(&mut reader.policy_decides);
        if from.is_none()
            && let Some(cut) = log.cuts.iter().rposition(|cut| cut_meanwhile(log, cut, to))
        {
            reader.told = reader.told.min(cut);
        }
        // A broker that lagged behind had shown it the deleted topic, or shows it now. It goes back once more, but skips nothing.
        let skips_nothing = plan.reset == Reset::Earliest || from.is_some_and(|from| to <= from);
        let shown = if skips_nothing && plan.brokers > 1 { LAGS_BEHIND } else { Duration::ZERO };
        let known_since = started.saturating_sub(shown);
        let cut =
            from.and_then(|from| hears_of(reader, log, (from, Some(to)), (known_since, at), Tells::Reset));
        let of = self.groups.entry(place.clone()).or_default();
        let is_of_before = cut.filter(|cut| is_of_before(log, &log.cuts[*cut], to));
        if is_of_before.is_none() && cut.is_some_and(|cut| log.cuts[cut].recreated) {
            of.hears_of_the_new_topic(to);
        }
        let mut cause = match from {
            None => of.since(since).any(|noted| noted.offset.is_none()),
            // A move to the present position is not a move.
            Some(from) => {
                from == to
                    || from < log.start
                    || (reason == OUT_OF_RANGE && is_beyond(log, from))
                    || cut.is_some()
                    || policy_decides
            }
        };
        // A leader that answers that it does not know an epoch leaves no choice (L4); it does so as often as planned.
        if !cause && from.is_some() && self.undefined_epochs < undefined_epochs(plan, at) {
            self.undefined_epochs += 1;
            cause = true;
        }
        if !cause {
            let stands = of.committed().map_or("nothing".to_owned(), |offset| offset.to_string());
            let text = format!(
                "{who} went from {from:?} to {to} in {place} ({reason}) without cause: committed is {stands}, the log \
                 starts at {}",
                log.start
            );
            complaints.add("SAFE13", at, text);
        }
        if cause && plan.reset == Reset::Latest && is_of_before.is_none() {
            let awake = self.awake.get(&who).copied().unwrap_or(at);
            // A member that left the topic and returned to it begins as with a new topic.
            let back = self.subscribed_since.get(&(who, place.topic.clone())).copied();
            let awake = back.map_or(awake, |back| back.max(awake));
            let knows = awake + KNOWS_TOPICS + unanswered(plan, awake, at);
            // A topic that was created again since it last asked for the topics is the former one to it, where that had this partition.
            let asked = self.asked_metadata.get(&who).copied();
            let is_another =
                log.cuts.iter().any(|cut| cut.recreated && asked.is_some_and(|asked| asked < cut.at));
            let born_before_its_eyes = !is_another && log.born_late.is_some_and(|born| born > knows);
            if from.is_none() && born_before_its_eyes && to > log.start {
                let text = format!(
                    "{place} was created under the group's eyes, and {who} began at {to} (FAILURES B4)"
                );
                complaints.add("SAFE13", at, text);
            }
            // The policy skips records written meanwhile. And a member that commits by hand commits nothing before its first record: until
            // then each owner begins at the end.
            of.begin = of.begin.max(Some(to));
        }
        // It was sent there in the topic of before, by an answer that was under way when the topic was created again: its commit named an
        // epoch of that one.
        let is_of_another_topic = cut.is_some_and(|cut| log.cuts[cut].recreated);
        if from.is_some_and(|from| to < from || (to == from && is_of_another_topic)) {
            of.goes_back(at, to);
        }
        // Nor can it be of a topic that was created after its last question.
        let asked = self.asked_leaders.get(&who).copied();
        let created_since =
            log.cuts.iter().position(|cut| cut.recreated && asked.is_some_and(|asked| asked < cut.at));
        let reader = self.reader(who, place);
        if !reader.gone {
            // Records fetched from a topic that was deleted since are no longer handed out: it moves from wherever it is.
            let of_a_former_topic = cut.is_some_and(|cut| log.cuts.iter().skip(cut).any(|cut| cut.recreated));
            let incarnation = is_of_before.or(created_since).unwrap_or(log.cuts.len());
            reader.told_to_go(from.filter(|_| !of_a_former_topic), to, incarnation);
        }
    }

    pub(super) fn truncation_told(
        &mut self,
        scene: Scene<'_>,
        (who, place, from, to): (Who, &Place, i64, Option<i64>),
        complaints: &mut Complaints,
    ) {
        let Scene { ledger, at, .. } = scene;
        let Some(log) = ledger.log(place) else { return };
        let started = self.started.get(&who).copied().unwrap_or(at);
        self.begins(scene, who, place);
        let reader = self.reader(who, place);
        // Or it has read ahead since it sought, and does go there.
        let crosses = log.cuts_below(from).next().is_some() && reader.crosses_a_seek(from);
        let cut =
            if crosses { None } else { hears_of(reader, log, (from, to), (started, at), Tells::Truncation) };
        let is_excused = cut.is_some() || crosses || reader.is_told_of_both(from);
        if cut.is_some() {
            reader.is_told_of_a_cut(from);
        }
        if !is_excused {
            let text = format!("{who} was told that {place} was truncated at {from}, and it was not");
            complaints.add("SAFE13", at, text);
        }
        if !reader.gone {
            match to {
                Some(to) => reader.told_to_go(Some(from), to, log.cuts.len()),
                None => reader.policy_decides = true,
            }
        }
        let of = self.groups.entry(place.clone()).or_default();
        of.goes_back(at, to.unwrap_or(log.start));
        if let (Some(to), Some(cut)) = (to, cut)
            && log.cuts[cut].recreated
        {
            // An offset of the former topic, taken for one of this (by name, before version 10).
            of.begin = of.begin.max(Some(to));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::forge::{Forged, M0, M1, orders};
    use crate::{
        events::What,
        plan::{FaultKind, Odd, Reset},
    };

    fn told(forged: Forged, from: i64, to: i64) -> Forged {
        forged.tell(What::TruncationTold { who: M0, at: orders(), from, to: Some(to) })
    }

    #[test]
    fn safe13_a_reset_needs_a_cause() {
        Forged::begun().reset(M0, Some(10), 0).is_found("SAFE13");
        let retained = What::StartMoved { at: orders(), start: 12 };
        Forged::begun().written(10..15, 0).tell(retained).reset(M0, Some(10), 12).holds();
    }

    #[test]
    fn safe13_a_partition_that_was_added_is_begun_at_its_start_by_a_member_that_knew_the_topic() {
        let added = crate::events::Place { partition: 1, ..orders() };
        let of_a_plan = |planned: Forged, dialled: u64, refused: bool| {
            let begun = planned.planned(|plan| plan.reset = crate::plan::Reset::Latest).starts(M0);
            let dials = What::Dialled { who: M0, broker: 1, refused };
            let grown = What::Grown { topic: "orders".into(), partitions: 2 };
            let written = What::Appended { at: added.clone(), offset: 0, id: 1, transaction: 0 };
            let granted =
                What::GroupAssigned { member: M0.to_string(), generation: 2, places: vec![added.clone()] };
            let assigned = What::Assigned { who: M0, places: vec![added.clone()], generation: 2 };
            let forged = begun.wait(dialled).tell(dials).wait(5_000 - dialled).tell(grown).tell(written);
            let to_the_end = |forged: Forged| {
                let reason = "nothing is committed".to_owned();
                forged.tell(What::Reset { who: M0, at: added.clone(), from: None, to: 1, reason })
            };
            to_the_end(forged.tell(granted).tell(assigned))
        };
        let begins_at_the_end = |dialled, refused| of_a_plan(Forged::new(), dialled, refused);
        begins_at_the_end(1, false).is_found("SAFE13");
        // It had reached no broker for a long time.
        begins_at_the_end(4_000, false).holds();
        begins_at_the_end(4_000, true).is_found("SAFE13");
        // The plans of seeds 26032755 and 26054609: its request for the topics was not answered.
        let drops = |at, api| of_a_plan(Forged::new().fault(at, FaultKind::Drop { api, times: 1 }), 1, false);
        drops(1, 3).holds();
        drops(1, 11).is_found("SAFE13");
        drops(60_000, 3).is_found("SAFE13");
        // The plan of seed 26140610: it was refused.
        let refuses = |times| {
            let fault = FaultKind::Code { api: 3, code: -1, times };
            of_a_plan(Forged::new().fault(1, fault), 1, false)
        };
        refuses(4).holds();
        refuses(1).is_found("SAFE13");
    }

    #[test]
    fn safe13_every_member_that_knew_the_topic_begins_a_partition_that_was_added_at_its_start() {
        let added = crate::events::Place { partition: 1, ..orders() };
        let begins_at_the_end = |joined: u64, answered: u64| {
            let begun = Forged::new().planned(|plan| plan.reset = Reset::Latest).joins(M0, 1).wait(joined);
            let known = begun.starts(M1).tell(What::Dialled { who: M1, broker: 1, refused: false });
            let asks = What::Request { broker: 1, api: 11, client: M1.to_string() };
            let grown = What::Grown { topic: "orders".into(), partitions: 2 };
            let written = What::Appended { at: added.clone(), offset: 0, id: 1, transaction: 0 };
            let granted =
                What::GroupAssigned { member: M1.to_string(), generation: 2, places: vec![added.clone()] };
            let assigned = What::Assigned { who: M1, places: vec![added.clone()], generation: 2 };
            let reason = "nothing is committed".to_owned();
            let reset = What::Reset { who: M1, at: added.clone(), from: None, to: 1, reason };
            let known = known.wait(answered).tell(asks).wait(5_000 - joined - answered);
            known.tell(grown).tell(written).tell(granted).tell(assigned).tell(reset)
        };
        begins_at_the_end(1_000, 100).is_found("SAFE13");
        // It had only just started.
        begins_at_the_end(4_000, 100).holds();
        // The plan of seed 20069486: the answer to its first request was lost.
        begins_at_the_end(1_000, 3_000).holds();
    }

    #[test]
    fn safe13_a_partition_that_was_added_while_it_was_not_subscribed_to_the_topic_is_an_old_one() {
        let added = crate::events::Place { partition: 1, ..orders() };
        let subscribes = |forged: Forged, to: &str| {
            forged.tell(What::Resubscribed { who: M0, topics: vec![to.into()] }).wait(3_000)
        };
        let begins_at_the_end = |before: &str| {
            let begun = Forged::new().planned(|plan| plan.reset = Reset::Latest).starts(M0);
            let begun = begun.tell(What::Dialled { who: M0, broker: 1, refused: false });
            let grown = What::Grown { topic: "orders".into(), partitions: 2 };
            let written = What::Appended { at: added.clone(), offset: 0, id: 1, transaction: 0 };
            let back = subscribes(subscribes(begun, before).tell(grown).tell(written), "orders");
            let granted =
                What::GroupAssigned { member: M0.to_string(), generation: 2, places: vec![added.clone()] };
            let assigned = What::Assigned { who: M0, places: vec![added.clone()], generation: 2 };
            let reason = "nothing is committed".to_owned();
            let reset = What::Reset { who: M0, at: added.clone(), from: None, to: 1, reason };
            back.tell(granted).tell(assigned).tell(reset)
        };
        begins_at_the_end("bills").holds();
        begins_at_the_end("orders").is_found("SAFE13");
    }

    #[test]
    fn safe13_a_partition_added_to_a_recreated_topic_is_reset_only_for_a_member_that_knew_the_former_topic() {
        let added = crate::events::Place { partition: 1, ..orders() };
        let begins = |forged: Forged| {
            let grown = What::Grown { topic: "orders".into(), partitions: 2 };
            let granted =
                What::GroupAssigned { member: M0.to_string(), generation: 2, places: vec![added.clone()] };
            let assigned = What::Assigned { who: M0, places: vec![added.clone()], generation: 2 };
            let reason = "the topic was deleted and created again".to_owned();
            let reset = What::Reset { who: M0, at: added.clone(), from: Some(10), to: 0, reason };
            forged.tell(grown).tell(granted).tell(assigned).tell(reset)
        };
        begins(Forged::new().starts(M0).recreated().wait(5)).holds();
        begins(Forged::new().recreated().wait(5).starts(M0)).is_found("SAFE13");
        begins(Forged::new().starts(M0)).is_found("SAFE13");
    }

    #[test]
    fn safe13_nothing_is_committed_is_true_when_it_was_asked() {
        Forged::begun().revoked(M0).joins(M1, 2).reset(M1, None, 0).is_found("SAFE13");
        // The plan of seed 1019291: it fetched the offset before the former owner's commit arrived.
        let asked = Forged::new().written(0..2, 0).joins(M0, 1).reset(M0, None, 0).reads(M0, 0..2, 0);
        let asked = asked.starts(M1).granted(M1, 2).commits(M0, 2).revoked(M0).assigned(M1, 2);
        asked.reset(M1, None, 0).holds();
    }

    #[test]
    fn safe13_a_seek_with_a_leader_epoch_reports_a_truncation_since_then() {
        let sought = |forged: Forged, to: i64, epoch: i32| {
            forged.tell(What::Sought { who: M1, at: orders(), to, epoch })
        };
        // The former owner was told of the cut and committed beyond it: the group's offset is of the present log.
        let cut = told(Forged::begun().truncated(5).wait(5).written(5..12, 1), 10, 5);
        let over = cut.reads(M0, 5..7, 1).commits(M0, 7).revoked(M0).joins(M1, 2);
        let news = What::TruncationTold { who: M1, at: orders(), from: 10, to: Some(5) };
        sought(over.clone(), 10, 0).tell(news.clone()).handed(M1, 5..7, 1).holds();
        // A report about the position before its seek says nothing about the present one; there is one such report.
        let crosses = What::TruncationTold { who: M1, at: orders(), from: 7, to: Some(5) };
        let crossed = || sought(over.clone(), 10, 0).tell(crosses.clone());
        crossed().tell(news.clone()).handed(M1, 5..7, 1).holds();
        crossed().tell(crosses.clone()).tell(news.clone()).is_found("SAFE13");
        crossed().tell(news.clone()).tell(news.clone()).is_found("SAFE13");
        // The plan of seed 9037378: it had been at that position too.
        let both = sought(over.clone(), 10, 0).tell(news.clone()).tell(news.clone());
        both.clone().handed(M1, 5..7, 1).holds();
        both.tell(news.clone()).is_found("SAFE13");
        // If the seek named that log's epoch, there is nothing to report.
        sought(over.clone(), 10, 1).tell(news).is_found("SAFE13");
        // It was not told, and reads on in another log; and then it was told, once.
        let twice = What::TruncationTold { who: M1, at: orders(), from: 7, to: Some(5) };
        sought(over, 7, 1).reads(M1, 7..9, 1).tell(twice).is_found("SAFE13");
    }

    #[test]
    fn safe13_a_cut_excuses_one_word_of_each_reader() {
        let once = told(Forged::begun().truncated(5), 10, 5);
        once.holds();
        once.wait(100).written(5..9, 1).handed(M0, 5..9, 1).reset(M0, Some(9), 0).is_found("SAFE13");
    }

    #[test]
    fn safe13_a_reset_that_crossed_a_cut_has_not_heard_of_it() {
        let odd = FaultKind::Odd { which: Odd::UndefinedEpoch, times: 1 };
        let latest = Forged::begun().fault(1, odd).planned(|plan| plan.reset = Reset::Latest);
        let cut = latest.written(10..15, 0).truncated(3);
        // The end was returned before the log was cut.
        told(cut.clone().reset(M0, Some(10), 15), 15, 3).holds();
        // Or after.
        told(cut.wait(5).written(3..15, 1).reset(M0, Some(10), 15), 15, 3).is_found("SAFE13");
    }

    #[test]
    fn safe13_a_reset_that_crossed_the_end_of_its_topic_has_not_heard_of_it() {
        // The plan of seed 8020369.
        let latest = Forged::begun().planned(|plan| plan.reset = Reset::Latest).written(10..15, 0);
        let retained = latest.tell(What::StartMoved { at: orders(), start: 12 });
        let again = |end| retained.clone().recreated().wait(5).written(0..end, 1).reset(M0, Some(10), 15);
        again(5).reset(M0, Some(15), 0).handed(M0, 0..2, 1).holds();
        again(5).reset(M0, Some(15), 0).reset(M0, Some(0), 3).is_found("SAFE13");
        // A few markers may follow the last record.
        again(12).reset(M0, Some(15), 0).is_found("SAFE13");
        again(12).written(15..17, 1).reads(M0, 15..17, 1).commits(M0, 17).holds();
        // The reported position is of the new one.
        again(20).reset(M0, Some(15), 0).is_found("SAFE13");
    }

    #[test]
    fn safe13_a_start_at_an_end_that_is_truncated_meanwhile_is_reported_later() {
        let latest =
            || Forged::new().planned(|plan| plan.reset = Reset::Latest).written(0..10, 0).truncated(3);
        let begins = |forged: Forged| forged.joins(M0, 1).reset(M0, None, 10);
        told(begins(latest()), 10, 3).holds();
        told(told(begins(latest()), 10, 3), 10, 3).is_found("SAFE13");
        // That is the end of the log after the cut.
        told(begins(latest().wait(5).written(3..15, 1)), 10, 3).is_found("SAFE13");
    }

    #[test]
    fn safe13_a_consumer_that_was_dropped_still_hears_of_a_cut() {
        let read = Forged::new().written(0..10, 0).joins(M0, 1).reset(M0, None, 0).reads(M0, 0..10, 0);
        let dropped = read.tell(What::Crashed { who: M0 });
        told(dropped.clone().truncated(5), 10, 5).holds();
        told(told(dropped.clone().truncated(5), 10, 5), 10, 5).is_found("SAFE13");
        told(dropped, 10, 5).is_found("SAFE13");
    }

    #[test]
    fn safe13_an_offset_of_a_former_topic_is_reported_to_a_member_that_fetches_it_later() {
        let read = Forged::new().written(0..10, 0).joins(M1, 1).reset(M1, None, 0).reads(M1, 0..10, 0);
        let given = read.recreated().wait(5).sends(M1, 10).starts(M0).granted(M0, 2).assigned(M0, 2);
        let asks = |forged: Forged| forged.tell(What::Request { broker: 1, api: 9, client: M0.to_string() });
        let noted = given.noted(M1, 10);
        told(asks(noted.clone()), 10, 0).holds();
        told(told(asks(noted.clone()), 10, 0), 10, 0).is_found("SAFE13");
        told(noted, 10, 0).is_found("SAFE13");
    }

    #[test]
    fn safe13_a_truncation_reported_after_a_revocation_is_reported_again_next_time() {
        let late = told(Forged::begun().truncated(5).wait(5).revoked(M0), 10, 5);
        let asks = What::Request { broker: 1, api: 9, client: M0.to_string() };
        let again = late.clone().granted(M0, 2).tell(asks).assigned(M0, 2);
        told(again.clone(), 10, 5).holds();
        told(told(again, 10, 5), 10, 5).is_found("SAFE13");
        told(late, 10, 5).is_found("SAFE13");
    }

    #[test]
    fn safe13_a_recreation_excuses_one_reset_and_not_two() {
        let once = Forged::begun().recreated().written(0..5, 1).reset(M0, Some(10), 0).handed(M0, 0..3, 1);
        once.holds();
        once.reset(M0, Some(3), 0).is_found("SAFE13");
    }

    /// The plan of seed 3963412: the answer of a broker that lags behind has the former topic.
    #[test]
    fn safe13_a_broker_that_lags_behind_sends_a_reader_of_the_new_topic_back_and_never_ahead() {
        let shown = |brokers, waits, to| {
            let plan =
                move |plan: &mut crate::plan::Plan| (plan.reset, plan.brokers) = (Reset::Latest, brokers);
            let began = Forged::new().planned(plan).recreated().wait(waits).starts(M0);
            let reads = began.joins(M0, 1).reset(M0, None, 0).written(0..20, 1).reads(M0, 0..12, 1);
            reads.reset(M0, Some(12), to)
        };
        shown(3, 500, 11).holds();
        shown(1, 500, 11).is_found("SAFE13");
        shown(3, 500, 15).is_found("SAFE13");
        shown(3, 60_000, 11).is_found("SAFE13");
    }

    #[test]
    fn safe13_a_member_stopped_while_a_topic_is_recreated_learns_of_it_later() {
        let latest = || Forged::new().planned(|plan| plan.reset = crate::plan::Reset::Latest);
        let stopped = |forged: Forged| {
            forged
                .tell(What::Frozen { who: M0 })
                .wait(500)
                .recreated()
                .wait(500)
                .tell(What::Thawed { who: M0 })
        };
        // By name it is given the present topic, while its metadata are of the former one.
        let begins = |forged: Forged| {
            forged.granted(M0, 1).assigned(M0, 1).reset(M0, None, 0).written(0..2, 1).reset(M0, Some(0), 2)
        };
        begins(stopped(latest().starts(M0))).holds();
        // It had not started yet.
        begins(latest().recreated().wait(500).starts(M0))
            .written(2..4, 1)
            .reset(M0, Some(2), 4)
            .is_found("SAFE13");
    }

    #[test]
    fn safe13_a_truncation_that_was_none() {
        told(Forged::begun(), 10, 5).is_found("SAFE13");
        // The log was cut above this member's position.
        told(Forged::begun().truncated(10), 10, 5).is_found("SAFE13");
    }

    #[test]
    fn safe13_an_unknown_epoch_excuses_as_often_as_it_was_said() {
        let odd = || FaultKind::Odd { which: Odd::UndefinedEpoch, times: 1 };
        let struck = Forged::begun().fault(1, odd()).reset(M0, Some(10), 0);
        struck.holds();
        struck.reset(M0, Some(10), 0).is_found("SAFE13");
        // A partition that was added got that answer too.
        let twice = |forged: Forged| forged.reset(M0, Some(10), 0).reset(M0, Some(10), 0);
        let grown = |at| Forged::begun().fault(1, odd()).fault(at, FaultKind::Grow { topic: 0 });
        twice(grown(1)).holds();
        twice(grown(9_000)).is_found("SAFE13");
        // A fault that strikes later excuses nothing now.
        Forged::begun().fault(9_000, odd()).reset(M0, Some(10), 0).is_found("SAFE13");
    }
}
