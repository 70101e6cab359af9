//! Records and offsets: S1 no loss, S2 no repeats beyond the bound, S3 order, S4 where reading starts, S8 what may be
//! committed, S10 transactions, S13 positions, S14 lag.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    Complaints,
    ledger::Ledger,
    ownership::Ownership,
    reading::{Of, Reader, Sent},
    spoken::Spoken,
};
use crate::{
    events::{Event, Place, What, Who},
    plan::{Commits, Harm, Odd, Plan, Reset},
};

/// Markers behind the last record are passed over by the next `poll`; until then they count.
const MARKERS: u64 = 2;
/// Before which no member can be told where it is to begin.
const OFFSET_FETCH: i16 = 9;
/// So long after its start a member has seen the topics it subscribed to.
const KNOWS_TOPICS: Duration = Duration::from_secs(2);

/// For so long after the group was forgotten, answers may be of before.
const FORGOTTEN: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Records {
    started: BTreeMap<Who, Duration>,
    /// While it was stopped, it learned nothing.
    frozen: BTreeMap<usize, Duration>,
    /// How often each has dialled.
    dials: BTreeMap<Who, u64>,
    places: BTreeMap<Place, Of>,
    readers: BTreeMap<(Who, Place), Reader>,
    /// Given up, and not yet asked about anew.
    gone: BTreeSet<(Who, Place)>,
    quiet: bool,
    forgotten: Option<Duration>,
}

impl Records {
    pub(super) fn feed(
        &mut self,
        plan: &Plan,
        ledger: &Ledger,
        (spoken, ownership): (&Spoken, &Ownership),
        event: &Event,
        complaints: &mut Complaints,
    ) {
        let at = event.at;
        match &event.what {
            What::Started { who } => {
                self.started.insert(*who, at);
            }
            What::Frozen { who } => {
                self.frozen.insert(who.member, at);
            }
            What::Thawed { who } => {
                let Some(since) = self.frozen.remove(&who.member) else { return };
                for (_, started) in self.started.iter_mut().filter(|(it, _)| it.member == who.member) {
                    if since < *started + KNOWS_TOPICS {
                        *started += at - since;
                    }
                }
            }
            What::Dialled { who, .. } => *self.dials.entry(*who).or_default() += 1,
            What::Assigned { who, places, .. } => {
                for place in places {
                    let found = self.places.entry(place.clone()).or_default().committed;
                    let reader = self.readers.entry((*who, place.clone())).or_default();
                    (reader.held, reader.found, reader.last) = (true, found, None);
                    reader.again = None;
                }
            }
            What::Revoked { who, places } | What::Lost { who, places } => {
                for place in places {
                    self.readers.remove(&(*who, place.clone()));
                    self.gone.insert((*who, place.clone()));
                }
            }
            What::Request { api: OFFSET_FETCH, client, .. } => {
                let asks = Who::parse(client);
                self.gone.retain(|(who, _)| Some(*who) != asks);
            }
            What::Crashed { who } | What::CloseEnds { who } => {
                self.readers.retain(|(reader, _), _| reader != who);
            }
            What::Reset { who, at: place, from, to, reason } => {
                self.reset(plan, ledger, at, (*who, place, *from, *to, reason), complaints);
                self.forget_what_is_gone(*who, place);
            }
            What::Sought { who, at: place, to } => {
                self.places.entry(place.clone()).or_default().sought = Some((*who, *to));
                let reader = self.readers.entry((*who, place.clone())).or_default();
                (reader.told, reader.last) = (Some(*to), None);
            }
            What::TruncationTold { who, at: place, from, to } => {
                if let (Some(to), true) = (to, ledger.log(place).is_some_and(|log| log.recreated)) {
                    // An offset of the topic that was there before, taken for one of this (by name, before version 10).
                    let of = self.places.entry(place.clone()).or_default();
                    of.begin = of.begin.max(Some(*to));
                }
                if ledger.log(place).is_none_or(|log| !log.rewritten) {
                    let text = format!("{who} was told that {place} was truncated at {from}, and it was not");
                    complaints.add("S13", at, text);
                }
                let reader = self.readers.entry((*who, place.clone())).or_default();
                (reader.told, reader.last) = (to.or(reader.told), None);
                self.places.entry(place.clone()).or_default().rewound = true;
                self.forget_what_is_gone(*who, place);
            }
            What::Delivered { who, at: place, offset, id } => {
                self.delivered(plan, ledger, at, (*who, place, *offset, *id), complaints);
            }
            What::Processed { at: place, offset, .. } => {
                self.places.entry(place.clone()).or_default().processed.insert(*offset);
            }
            What::CommitSent { who, at: place, offset } => {
                let dials = self.dials.get(who).copied().unwrap_or_default();
                let of = self.places.entry(place.clone()).or_default();
                of.sent = Some((*who, *offset));
                let before = of.sent_after.get(offset).copied().filter(|sent| sent.who == *who);
                let sent = before.unwrap_or(Sent { who: *who, dials, first: at, last: at });
                of.sent_after.insert(*offset, Sent { last: at, ..sent });
            }
            What::Committed { member, at: place, offset, leader_epoch, .. } => {
                let taken = ownership.was_taken(plan, spoken, member, place);
                let commit = (member.as_str(), place, *offset, *leader_epoch);
                self.committed(plan, ledger, at, commit, taken, complaints);
            }
            What::Truncated { at: place, end } => {
                let of = self.places.entry(place.clone()).or_default();
                of.processed.split_off(end);
                of.checked = of.checked.min(*end);
                of.rewound = true;
                if let Some(committed) = of.committed.filter(|committed| of.blind && committed > end) {
                    of.begin = of.begin.max(Some(committed));
                }
            }
            What::Recreated { topic } => {
                for (_, of) in self.places.iter_mut().filter(|(place, _)| place.topic == *topic) {
                    *of = Of { rewound: true, ..Of::default() };
                }
            }
            What::Forgotten => {
                self.forgotten = Some(at);
                for of in self.places.values_mut() {
                    (of.committed, of.rewound, of.checked) = (None, true, 0);
                    of.leader_epoch = -1;
                }
            }
            What::Quiet => self.quiet = true,
            What::LagRead { who, at: place, lag }
                if self.quiet && *lag > MARKERS && self.is_at_end(plan, ledger, *who, place) =>
            {
                complaints.add("S14", at, format!("{who} says that {place} lags by {lag}, and all is read"));
            }
            _ => {}
        }
    }

    /// What a member is told of a partition that has gone already says nothing of the next time that it comes.
    fn forget_what_is_gone(&mut self, who: Who, place: &Place) {
        let reader = (who, place.clone());
        if self.gone.contains(&reader) {
            self.readers.remove(&reader);
        }
    }

    /// Whether nothing is left that this member would still be handed.
    fn is_at_end(&self, plan: &Plan, ledger: &Ledger, who: Who, place: &Place) -> bool {
        let last = self.readers.get(&(who, place.clone())).and_then(|reader| reader.last);
        let (Some(last), Some(log)) = (last, ledger.log(place)) else { return false };
        let seen = |transaction| {
            let outcome = ledger.outcome(transaction);
            if plan.members[who.member].read_committed { outcome == Some(true) } else { true }
        };
        !log.rewritten
            && !log.records.range(last + 1..).any(|(_, record)| !record.gone && seen(record.transaction))
    }

    /// S13: a position is given up only when there is nothing at it, and never because a question failed (L2).
    fn reset(
        &mut self,
        plan: &Plan,
        ledger: &Ledger,
        at: Duration,
        (who, place, from, to, reason): (Who, &Place, Option<i64>, i64, &str),
        complaints: &mut Complaints,
    ) {
        let of = self.places.entry(place.clone()).or_default();
        let Some(log) = ledger.log(place) else { return };
        let forgotten = self.forgotten.is_some_and(|since| at < since + FORGOTTEN);
        let cause = match from {
            // What was asked while the group was without its mind may be answered after the next commit.
            None => of.committed.is_none() || log.recreated || forgotten,
            Some(from) => from < log.start || log.rewritten,
        };
        // A leader that says it knows nothing of an epoch leaves no choice (FAILURES L4).
        let odd = Harm::Odd { which: Odd::UndefinedEpoch, times: 0 };
        let told_so = plan.faults.iter().any(|fault| fault.what.is_like(&odd)) && from.is_some();
        let cause = cause || told_so;
        if !cause {
            let stands = of.committed.map_or("nothing".to_owned(), |offset| offset.to_string());
            let text = format!(
                "{who} went from {from:?} to {to} in {place} ({reason}) without cause: committed is {stands}, the log \
                 starts at {}",
                log.start
            );
            complaints.add("S13", at, text);
        }
        if (from.is_some() || log.recreated) && plan.reset == Reset::Latest && cause {
            // The policy skips what was written meanwhile.
            of.begin = of.begin.max(Some(to));
        }
        if from.is_none() && cause && plan.reset == Reset::Latest {
            let started = self.started.get(&who).copied().unwrap_or(at);
            if log.born_late.is_some_and(|born| born > started + KNOWS_TOPICS)
                && to > log.start
                && who.member == 0
            {
                let text = format!(
                    "{place} was created under the group's eyes, and {who} began at {to} (FAILURES B4)"
                );
                complaints.add("S13", at, text);
            }
            // Who commits by hand commits nothing before its first record: until then each owner begins at the end.
            of.begin = of.begin.max(Some(to));
        }
        if from.is_some_and(|from| to < from) || log.rewritten || log.recreated {
            of.rewound = true;
        }
        let reader = self.readers.entry((who, place.clone())).or_default();
        match from.filter(|from| *from <= to) {
            // What was fetched before it is still handed out first.
            Some(from) => reader.skips.push((from, to)),
            None => {
                let before = reader.told.or(reader.found).map(|next| next - 1);
                reader.stale = reader.last.or(reader.stale).or(before);
                reader.again = from.filter(|from| to < *from).map(|_| to);
                (reader.told, reader.last) = (Some(to), None);
            }
        }
    }

    fn delivered(
        &mut self,
        plan: &Plan,
        ledger: &Ledger,
        at: Duration,
        (who, place, offset, id): (Who, &Place, i64, u64),
        complaints: &mut Complaints,
    ) {
        let Some(log) = ledger.log(place) else {
            return complaints.add(
                "S3",
                at,
                format!("{who} was handed a record of {place}, which does not exist"),
            );
        };
        let known = log.records.get(&offset).is_some_and(|record| record.id == id);
        let former = log.former.get(&offset).is_some_and(|ids| ids.contains(&id));
        if !known && !former {
            let text = format!(
                "{who} was handed {place} offset {offset} with value {id}, which was never written there"
            );
            complaints.add("S3", at, text);
        }
        let read_committed = plan.members[who.member].read_committed;
        if let Some(record) = log.records.get(&offset).filter(|record| record.id == id)
            && read_committed
            && ledger.outcome(record.transaction) != Some(true)
        {
            let text =
                format!("{who} reads what is committed and was handed {place} offset {offset}, which is not");
            complaints.add("S10", at, text);
        }
        let of = self.places.entry(place.clone()).or_default();
        let reader = self.readers.entry((who, place.clone())).or_default();
        if let (Some(stale), Some(told), None) = (reader.stale, reader.told, reader.last) {
            reader.stale = (told <= stale && offset > stale).then_some(offset);
            if reader.stale.is_some() {
                return;
            }
        }
        let is_first_from =
            |at: i64| at <= offset && !log.records.range(at..offset).any(|(_, record)| ledger.is_due(record));
        if reader.last.is_some_and(|last| offset <= last)
            && reader.again.take_if(|again| is_first_from(*again)).is_some()
        {
            (reader.last, reader.told) = (None, Some(offset));
        }
        let from = match (reader.last, reader.told) {
            (Some(last), _) => vec![last + 1],
            (None, Some(told)) => vec![told],
            // Nobody but the new owner commits from now on, so either may have been what it was told.
            (None, None) => [reader.found, of.committed].into_iter().flatten().collect(),
        };
        if reader.last.is_some_and(|last| offset <= last) && !log.rewritten {
            let text = format!("{who} was handed {place} offset {offset} after {:?}", reader.last);
            complaints.add("S3", at, text);
        }
        if !log.rewritten {
            let start = from.iter().copied().min();
            if start.is_some_and(|start| offset < start) {
                let text =
                    format!("{who} was handed {place} offset {offset}, and was to go on from {from:?}");
                complaints.add("S2", at, text);
            }
            // It may have asked before the group was without its mind.
            let forgotten = self.forgotten.is_some_and(|since| at < since + FORGOTTEN);
            if from.is_empty() && plan.reset == Reset::Earliest && offset > log.start && !forgotten {
                let text = format!("{who} began {place} at {offset}, and nobody told it to");
                complaints.add("S4", at, text);
            }
            let start = from.iter().copied().max().unwrap_or(offset).max(log.start);
            let skipped = log.records.range(start..offset.max(start)).find(|(number, record)| {
                let left_out = reader.skips.iter().any(|(from, to)| (*from..*to).contains(*number));
                let unseen = left_out
                    || record.gone
                    || (read_committed && ledger.outcome(record.transaction) == Some(false));
                !unseen
            });
            if let Some((missing, _)) = skipped {
                let text = format!(
                    "{who} was handed {place} offset {offset} after {start}, without {missing} between"
                );
                complaints.add("S3", at, text);
            }
        }
        (reader.last, reader.told) = (Some(offset), None);
    }

    fn committed(
        &mut self,
        plan: &Plan,
        ledger: &Ledger,
        at: Duration,
        (member, place, offset, leader_epoch): (&str, &Place, i64, i32),
        taken: bool,
        complaints: &mut Complaints,
    ) {
        let of = self.places.entry(place.clone()).or_default();
        let Some(log) = ledger.log(place) else { return };
        let excused =
            of.rewound || taken || of.committed.is_some_and(|before| of.was_given_up(offset, before));
        // What was read of a log that was cut afterwards may be committed all the same.
        if !log.rewritten {
            let begin = of.begin.unwrap_or(0).max(log.start).max(of.checked);
            let missing = log
                .records
                .range(begin..offset.max(begin))
                .find(|(number, record)| ledger.is_due(record) && !of.processed.contains(number));
            if let Some((missing, _)) = missing {
                let text =
                    format!("{member} committed {offset} of {place}, and nobody has processed {missing}");
                complaints.add("S1", at, text);
            }
            of.checked = of.checked.max(offset);
            // Markers and aborted records between the two make no difference.
            let back =
                |before: &i64| log.records.range(offset..*before).any(|(_, record)| ledger.is_due(record));
            if let Some(before) = of.committed.filter(|before| offset < *before).filter(back)
                && !excused
            {
                let text = format!("{member} committed {offset} of {place} after {before}");
                complaints.add("S8", at, text);
            }
            if leader_epoch >= 0 && leader_epoch < of.leader_epoch && !excused {
                let text = format!(
                    "{member} committed leader epoch {leader_epoch} of {place} after {}",
                    of.leader_epoch
                );
                complaints.add("S8", at, text);
            }
        }
        let by_hand = of.sent.is_some_and(|(who, sent)| {
            let listener = plan.members[who.member].commits == Commits::Listener;
            sent == offset && (listener || of.sought == Some((who, sent)))
        });
        of.blind = leader_epoch < 0 && by_hand;
        if of.blind && log.rewritten && !of.processed.contains(&(offset - 1)) {
            // It was cut off before the commit arrived.
            of.begin = of.begin.max(Some(offset));
        }
        if log.recreated {
            // By name (before version 10 of OffsetCommit) what is said of the old topic counts for the new one.
            of.begin = of.begin.max(Some(offset));
        }
        of.committed = Some(offset);
        of.leader_epoch = leader_epoch.max(of.leader_epoch);
    }

    pub(super) fn unprocessed(&self, ledger: &Ledger) -> Vec<(Place, i64, usize)> {
        let nothing = Of::default();
        let mut left = Vec::new();
        for place in ledger.places() {
            let of = self.places.get(place).unwrap_or(&nothing);
            let Some(log) = ledger.log(place) else { continue };
            // What was written before anybody looked is not for a group that begins at the end.
            let begin = of.begin.unwrap_or(log.start);
            let mut due = log
                .records
                .range(begin..)
                .filter(|(number, record)| ledger.is_due(record) && !of.processed.contains(number));
            if let Some((first, _)) = due.next() {
                left.push((place.clone(), *first, due.count() + 1));
            }
        }
        left
    }
}
