//! Records and offsets: the state of each partition in the group, and at each member that reads it.
//!
//! The rules have their own files: [`reader`](super::reader) SAFE2 SAFE3 SAFE4, `commits` SAFE1 SAFE8, `resets` SAFE13, `lag` SAFE14;
//! SAFE10 is here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    Complaints,
    errors::FIRST,
    ledger::{Ledger, Log},
    offsets::{Noted, Offsets},
    ownership::Ownership,
    reader::{Reader, Spot},
    spoken::Spoken,
};
use crate::{
    clock::ms,
    events::{Event, Place, What, Who},
    plan::{Fault, FaultKind, Odd, Plan},
    working,
};

/// A member cannot learn its start position before it sends this.
const OFFSET_FETCH: i16 = 9;
/// What tells which topics there are.
pub(super) const METADATA: i16 = 3;
/// What only leaders are asked: Fetch, ListOffsets and OffsetForLeaderEpoch. Before its first such request a member may not have seen the
/// metadata, and so not know which topic has a name.
const OF_LEADERS: [i16; 3] = [1, 2, 23];
/// This long after its start a member knows the topics it subscribed to.
pub(super) const KNOWS_TOPICS: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) started: BTreeMap<Who, Duration>,
    /// The start of each, later by the time at the beginning in which it was stopped, reached no broker, or had no answer.
    pub(super) awake: BTreeMap<Who, Duration>,
    /// Those that have surely had an answer, as they asked for more than what a client asks for first.
    answered: BTreeSet<Who>,
    /// When each last asked a leader for something.
    pub(super) asked_leaders: BTreeMap<Who, Duration>,
    /// When each last asked which topics there are.
    pub(super) asked_metadata: BTreeMap<Who, Duration>,
    /// The topics each is subscribed to, if not all; below, since when, for topics added later.
    subscribed: BTreeMap<Who, BTreeSet<Arc<str>>>,
    pub(super) subscribed_since: BTreeMap<(Who, Arc<str>), Duration>,
    /// The members that have reached a broker.
    reached: BTreeSet<Who>,
    /// While a process was stopped, it learned nothing.
    frozen: BTreeMap<usize, Duration>,
    /// How many connections each has opened or closed.
    pub(super) connections: BTreeMap<Who, u64>,
    pub(super) groups: BTreeMap<Place, Offsets>,
    pub(super) readers: BTreeMap<(Who, Place), Reader>,
    members: BTreeMap<String, Who>,
    /// The last assignment of each by the coordinator.
    allowed: BTreeMap<Who, BTreeSet<Place>>,
    pub(super) quiet: bool,
    /// When the last fault was over.
    pub(super) healed: Option<Duration>,
    /// Members whose listener runs.
    listening: BTreeSet<Who>,
    /// The times of each member's last poll but one, and of its last, beside those that waited for its listener.
    pub(super) polled: BTreeMap<Who, (Duration, Duration)>,
    /// When each was last handed a record, and the first of its last polls that all handed out records.
    handed_at: BTreeMap<Who, Duration>,
    pub(super) busy_since: BTreeMap<Who, Duration>,
    pub(super) paused: BTreeSet<(Who, Place)>,
    /// While a partition is paused nothing is learned of it.
    pub(super) resumed: BTreeMap<(Who, Place), Duration>,
    /// The least lag that each has reported since all is read, and when it first did.
    pub(super) least_lag: BTreeMap<(Who, Place), (u64, Duration)>,
    /// Resets that were excused by a leader that answered that it does not know an epoch.
    pub(super) undefined_epochs: u32,
    /// Starts beyond a cut that were excused by metadata without epochs.
    unseen_cuts: u32,
}

/// The context of a rule, beside its own state.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) plan: &'a Plan,
    pub(super) ledger: &'a Ledger,
    pub(super) spoken: &'a Spoken,
    pub(super) ownership: &'a Ownership,
    pub(super) at: Duration,
}

impl Records {
    pub(super) fn feed(&mut self, scene: Scene<'_>, event: &Event, complaints: &mut Complaints) {
        let at = event.at;
        if let What::Request { api, client, .. } = &event.what
            && !FIRST.contains(api)
            && let Some(who) = Who::parse(client)
            && self.answered.insert(who)
        {
            self.awake.insert(who, at);
        }
        if let What::Request { api, client, .. } = &event.what
            && OF_LEADERS.contains(api)
        {
            self.asked_leaders.extend(Who::parse(client).map(|who| (who, at)));
        }
        if let What::Request { api: METADATA, client, .. } = &event.what {
            self.asked_metadata.extend(Who::parse(client).map(|who| (who, at)));
        }
        match &event.what {
            What::Started { who } => {
                self.started.insert(*who, at);
                self.awake.insert(*who, at);
                // A new life begins with the subscription of the one before.
                let mut changes = scene.plan.members[who.member].resubscribes.iter();
                if let Some(last) = changes.rfind(|change| ms(change.at) <= at) {
                    let names =
                        last.topics.iter().map(|topic| scene.plan.topics[*topic].name.as_str().into());
                    self.subscribed.insert(*who, names.collect());
                }
            }
            What::Resubscribed { who, topics } => {
                let before = self.subscribed.insert(*who, topics.iter().cloned().collect());
                let is_new =
                    |topic: &&Arc<str>| before.as_ref().is_some_and(|before| !before.contains(*topic));
                let new = topics.iter().filter(is_new).map(|topic| ((*who, topic.clone()), at));
                self.subscribed_since.extend(new);
            }
            What::Frozen { who } => {
                self.frozen.insert(who.member, at);
            }
            What::Thawed { who } => {
                let Some(since) = self.frozen.remove(&who.member) else { return };
                for (_, started) in self.awake.iter_mut().filter(|(it, _)| it.member == who.member) {
                    if since < *started + KNOWS_TOPICS {
                        *started += at - since;
                    }
                }
            }
            What::Dialled { who, refused, .. } => {
                *self.connections.entry(*who).or_default() += 1;
                if !refused && self.reached.insert(*who) {
                    self.awake.insert(*who, at);
                }
            }
            What::Disconnected { who } => *self.connections.entry(*who).or_default() += 1,
            What::Named { who, member } => {
                self.members.insert(member.clone(), *who);
            }
            What::GroupAssigned { member, places, .. } => self.granted(at, member, places),
            What::Assigned { who, places, .. } => {
                for place in places {
                    self.assigned(scene, *who, place);
                }
            }
            What::Revoked { who, places } | What::Lost { who, places } => {
                for place in places {
                    let reader = self.readers.entry((*who, place.clone())).or_default();
                    // The coordinator may have given it to this member again before the application finishes the revocation.
                    let granted = reader
                        .granted
                        .filter(|_| self.allowed.get(who).is_some_and(|all| all.contains(place)));
                    reader.gives_up(at, granted);
                }
            }
            What::Request { api: OFFSET_FETCH, client, .. } => {
                let asks = Who::parse(client);
                for (_, reader) in self.readers.iter_mut().filter(|((who, _), _)| Some(*who) == asks) {
                    // Later reports about the previous ownership belong to that one. And a commit made since it was given the partition is
                    // returned to it now.
                    if std::mem::take(&mut reader.gone) || reader.is_to_begin() {
                        reader.known = false;
                    }
                }
            }
            // A dropped consumer reads on while it finishes in the background, with the state it has.
            What::CloseEnds { who } => self.readers.retain(|(reader, _), _| reader != who),
            What::Reset { who, at: place, from, to, reason } => {
                self.reset(scene, (*who, place, *from, *to, reason), complaints);
            }
            What::WentBack { who, at: place, since, otherwise } => {
                let nothing = self.groups.get(place).is_none_or(|of| of.committed().is_none());
                // Commits decided by then may be written only later, and are waited for.
                self.reader(*who, place).goes_back(*since, nothing.then_some(*otherwise));
            }
            What::Sought { who, at: place, to, epoch: epoch @ 0.. } => {
                let log = scene.ledger.log(place);
                let of = self.groups.entry(place.clone()).or_default();
                // The seek names the epoch of that time: that of its first commit after it.
                of.leader_epoch = of.leader_epoch.min(*epoch);
                of.sought_at = Some(at);
                if of.committed().max(of.under_way(*who)).is_none_or(|committed| *to < committed) {
                    // Its store has a lower offset than the group: a policy had moved the group on, or is about to, as nothing is
                    // committed.
                    of.goes_back(at, *to);
                }
                // The application uses its own store, and skips the records that an operator went back to.
                of.begin = of.begin.max(of.set_back.map(|before| before.min(*to)));
                let incarnation = log.map_or(0, |log| log.incarnation_of(*to, *epoch, log.cuts.len()));
                self.reader(*who, place).sought_in(*to, incarnation);
            }
            What::Sought { who, at: place, to, .. } => {
                let told = self.reader(*who, place).told;
                let log = scene.ledger.log(place);
                let mut unheard = log.into_iter().flat_map(|log| log.cuts.iter().skip(told));
                let hidden = unheard.any(|cut| !cut.recreated && cut.concerns(*to));
                let of = self.groups.entry(place.clone()).or_default();
                of.sought = Some((*who, *to));
                if hidden {
                    // An application that names an offset without an epoch goes there, whatever log that offset belongs to now: it skips
                    // earlier records written since a cut that it was not told of.
                    of.begin = of.begin.max(Some(*to));
                }
                self.reader(*who, place).sought(*to);
            }
            What::TruncationTold { who, at: place, from, to } => {
                self.truncation_told(scene, (*who, place, *from, *to), complaints);
            }
            What::Delivered { who, at: place, offset, id, dated } => {
                self.delivered(scene, (*who, place, *offset, *id), *dated, complaints);
            }
            What::Processed { at: place, id, .. } => {
                self.groups.entry(place.clone()).or_default().processed.insert(*id);
            }
            What::CommitSent { who, at: place, offset, epoch, .. } => {
                self.commit_sent(scene, (*who, place, *offset, *epoch), complaints);
            }
            // An operator's commit, which has an event of its own.
            What::Committed { member, .. } if member.is_empty() => {}
            What::OffsetSet { at: place, offset } => {
                if let Some(log) = scene.ledger.log(place) {
                    self.groups.entry(place.clone()).or_default().set(at, *offset, log);
                    let readers = self.readers.iter_mut().filter(|((_, of), _)| of == place);
                    readers.for_each(|(_, reader)| reader.is_passed_by_a_set());
                }
            }
            What::OffsetDeleted { at: place } => {
                let of = self.groups.entry(place.clone()).or_default();
                of.note(Noted::nothing(at));
                (of.leader_epoch, of.checked, of.blind, of.rewound) = (-1, 0, false, None);
            }
            What::Committed { member, at: place, offset, leader_epoch, .. } => {
                self.committed(scene, (member, place, *offset, *leader_epoch), complaints);
            }
            What::Truncated { at: place, end, .. } => self.truncated(scene, place, *end),
            What::Recreated { topic } | What::Deleted { topic } => {
                // The coordinator deletes a topic's committed offsets with the topic.
                for (place, of) in self.groups.iter_mut().filter(|(place, _)| place.topic == *topic) {
                    of.note(Noted::nothing(at));
                    let cuts = scene.ledger.log(place).map_or(0, |log| log.cuts.len());
                    of.began.insert(cuts.saturating_sub(1), of.begin);
                    (of.leader_epoch, of.checked, of.begin, of.blind, of.rewound) =
                        (-1, 0, None, false, None);
                    (of.set_back, of.passed_by_name) = (None, None);
                }
                // Where an application sought before its member knew any topic of that name, it goes in the one that has the name then.
                for ((who, place), reader) in &self.readers {
                    if place.topic == *topic
                        && !self.asked_leaders.contains_key(who)
                        && reader.sought.is_some()
                    {
                        let of = self.groups.entry(place.clone()).or_default();
                        of.begin = of.begin.max(reader.sought);
                    }
                }
            }
            What::Forgotten => {
                for of in self.groups.values_mut() {
                    of.note(Noted::nothing(at));
                    (of.leader_epoch, of.checked, of.blind, of.rewound) = (-1, 0, false, None);
                }
            }
            What::ListenerBegins { who, .. } => {
                self.listening.insert(*who);
            }
            What::ListenerEnds { who, .. } => {
                self.listening.remove(who);
            }
            // While a listener runs, a poll hands out nothing.
            What::PollBegins { who, .. } if !self.listening.contains(who) => {
                let (_, last) = self.polled.get(who).copied().unwrap_or_default();
                self.polled.insert(*who, (last, at));
                if self.handed_at.get(who).is_none_or(|handed| *handed < last) {
                    self.busy_since.remove(who);
                }
                self.busy_since.entry(*who).or_insert(at);
            }
            What::Quiet => self.quiet = true,
            What::Healed => self.healed = Some(at),
            What::Paused { who, at: place } => {
                self.paused.insert((*who, place.clone()));
            }
            What::Resumed { who, at: place } => {
                self.paused.remove(&(*who, place.clone()));
                self.resumed.insert((*who, place.clone()), at);
            }
            What::LagRead { who, at: place, lag } => self.lag_read(scene, (*who, place, *lag), complaints),
            _ => {}
        }
    }

    pub(super) fn reader(&mut self, who: Who, place: &Place) -> &mut Reader {
        let started = self.started.get(&who).copied().unwrap_or_default();
        self.readers.entry((who, place.clone())).or_insert_with(|| Reader::beginning(started))
    }

    pub(super) fn who(&self, member: &str) -> Option<Who> {
        self.members.get(member).copied()
    }

    /// The coordinator has given these to a member: from now on it may fetch its start positions.
    fn granted(&mut self, at: Duration, member: &str, places: &[Place]) {
        let Some(who) = self.who(member) else { return };
        let now: BTreeSet<Place> = places.iter().cloned().collect();
        let before = self.allowed.insert(who, now.clone()).unwrap_or_default();
        for place in &now {
            let reader = self.reader(who, place);
            if !before.contains(place) || reader.granted.is_none() {
                reader.granted = Some(at);
            }
        }
    }

    fn assigned(&mut self, scene: Scene<'_>, who: Who, place: &Place) {
        self.begins(scene, who, place);
        self.reader(who, place).assigned();
    }

    /// A member begins in the log of the commit that it found.
    pub(super) fn begins(&mut self, scene: Scene<'_>, who: Who, place: &Place) {
        if self.reader(who, place).known {
            return;
        }
        let cuts = scene.ledger.log(place).map_or(0, |log| log.cuts.len());
        let since = self.reader(who, place).asks_since();
        let of = self.groups.entry(place.clone()).or_default();
        let incarnation = of.since(since).map(|noted| noted.incarnation.min(cuts)).min().unwrap_or(cuts);
        self.reader(who, place).begins_with(incarnation);
    }

    fn delivered(
        &mut self,
        scene: Scene<'_>,
        (who, place, offset, id): (Who, &Place, i64, u64),
        dated: i64,
        complaints: &mut Complaints,
    ) {
        let Scene { plan, ledger, at, .. } = scene;
        let Some(log) = ledger.log(place) else {
            let text = format!("{who} was handed a record of {place}, which does not exist");
            return complaints.add("SAFE3", at, text);
        };
        self.begins(scene, who, place);
        let of = self.groups.entry(place.clone()).or_default();
        let started = self.started.get(&who).copied().unwrap_or_default();
        let reader = self.readers.entry((who, place.clone())).or_insert_with(|| Reader::beginning(started));
        let read_committed = plan.members[who.member].read_committed;
        let current = log.records.get(&offset).filter(|record| record.id == id);
        let former = log.former(offset, id);
        let (record, cuts) = match (current, former) {
            (Some(record), _) => (record, log.cuts.len()),
            (None, Some(former)) => {
                // It was fetched before the cut, or it would not exist.
                if log.cuts[former.cut].at < reader.since || former.cut < reader.beyond {
                    let text = format!(
                        "{who} was handed {place} offset {offset} with value {id}, which was cut off before it asked"
                    );
                    complaints.add("SAFE3", at, text);
                }
                (&former.record, former.cut)
            }
            (None, None) => {
                let text = format!(
                    "{who} was handed {place} offset {offset} with value {id}, which was never written there"
                );
                return complaints.add("SAFE3", at, text);
            }
        };
        let written = working::dated(record.since, id);
        // The oldest format has no timestamps.
        let is_oldest = |fault: &Fault| matches!(fault.what, FaultKind::Legacy { magic: 0, .. });
        let is_undated = dated < 0 && plan.faults.iter().any(is_oldest);
        if dated != written && !is_undated {
            let text = format!(
                "{who} was handed {place} offset {offset} as written at {dated}: it was at {written}"
            );
            complaints.add("SAFE3", at, text);
        }
        if read_committed && ledger.outcome(record.transaction) != Some(true) {
            let text =
                format!("{who} reads what is committed and was handed {place} offset {offset}, which is not");
            complaints.add("SAFE10", at, text);
        }
        if !reader.has_begun()
            && reader.told < log.cuts.len()
            && self.unseen_cuts < told_no_epochs(plan, at)
            && let Some(start) = hidden_start(of, reader, log, offset)
        {
            // Without the leader's epoch no client can check whether the log was cut (FAILURES L6): it reads only the records that follow.
            self.unseen_cuts += 1;
            of.begin = of.begin.max(Some(start));
        }
        if current.is_some() && reads_by_name(plan, at) && reader.passes_by_name(log, offset) {
            // A broker that is read by topic name does not reveal a new topic; only newer metadata do.
            of.passes_by_name(offset);
            reader.goes_on_at(offset);
        }
        let starts: Vec<i64> = of.since(reader.asks_since()).filter_map(|noted| noted.offset).collect();
        let spot = Spot { offset, cuts, read_committed };
        if current.is_some()
            && self.unseen_cuts < told_no_epochs(plan, at)
            && let Some(stood) = reader.goes_on_unseen(ledger, log, spot)
        {
            // The same for a member that is already there.
            self.unseen_cuts += 1;
            of.begin = of.begin.max(Some(stood));
            reader.goes_on_at(stood);
        }
        if let Some(wrong) = reader.handed(ledger, log, spot, starts) {
            complaints.add(wrong.rule, at, format!("{who}, {place}: {}", wrong.text));
        }
        reader.handed_at = at;
        self.handed_at.insert(who, at);
        Self::learns(reader, log, record.since, cuts);
    }

    /// Derives from a record which log it was read from.
    fn learns(reader: &mut Reader, log: &Log, written: Duration, cuts: usize) {
        reader.incarnation = cuts;
        // A record written after a cut was read from the log after that cut.
        reader.beyond = reader.beyond.max(log.cuts_before(written));
        // (But a topic that is read by its name may be another one long before the metadata show it.)
        let mut later = log.cuts.iter().take(reader.beyond).skip(reader.told);
        reader.told += later.by_ref().take_while(|cut| !cut.recreated).count();
    }

    /// The records that a group has yet to process: a partition, the offset of the first one, and their number.
    pub(super) fn unprocessed(&self, ledger: &Ledger) -> Vec<(Place, i64, usize)> {
        let nothing = Offsets::default();
        let mut left = Vec::new();
        for place in ledger.places() {
            let of = self.groups.get(place).unwrap_or(&nothing);
            let Some(log) = ledger.log(place) else { continue };
            // Records written before the first reader are not due to a group that begins at the end.
            let begin = of.begin.unwrap_or(log.start);
            let mut due = log
                .records
                .range(begin..)
                .filter(|(_, record)| ledger.is_due(record) && !of.processed.contains(&record.id));
            if let Some((first, _)) = due.next() {
                left.push((place.clone(), *first, due.count() + 1));
            }
        }
        left
    }
}

/// The most partitions that may exist by now: those of the created topics, and those that were added.
pub(super) fn most_partitions(plan: &Plan, at: Duration) -> u32 {
    let created = plan.topics.iter().map(|topic| u32::try_from(topic.partitions).unwrap_or(0)).sum::<u32>();
    let added =
        plan.faults.iter().filter(|fault| matches!(fault.what, FaultKind::Grow { .. }) && ms(fault.at) <= at);
    created + u32::try_from(added.count()).unwrap_or(0)
}

/// The most partitions that may have been without epochs by now: an answer covers all of them.
fn told_no_epochs(plan: &Plan, at: Duration) -> u32 {
    let partitions = most_partitions(plan, at);
    let struck = plan.faults.iter().filter(|fault| ms(fault.at) <= at);
    struck
        .map(|fault| match fault.what {
            FaultKind::Odd { which: Odd::NoEpochs, times } => times * partitions,
            _ => 0,
        })
        .sum()
}

/// Whether there has been a broker so old that records are requested from it by topic name (before version 13 of Fetch).
fn reads_by_name(plan: &Plan, at: Duration) -> bool {
    let struck =
        |fault: &Fault| matches!(fault.what, FaultKind::Vintage { which: 0, .. }) && ms(fault.at) <= at;
    plan.faults.iter().any(struck)
}

/// A commit for the log before a cut, beyond the cut, if reading seems to have begun there.
fn hidden_start(of: &Offsets, reader: &Reader, log: &Log, offset: i64) -> Option<i64> {
    let truncated = |noted: &Noted, start: i64| {
        let cuts = log.cuts.iter().skip(noted.incarnation);
        cuts.clone().all(|cut| !cut.recreated) && cuts.clone().any(|cut| cut.concerns(start))
    };
    let hidden = of.since(reader.asks_since()).filter_map(|noted| {
        let start = noted.offset.filter(|start| *start <= offset)?;
        truncated(&noted, start).then_some(start)
    });
    hidden.max()
}

#[cfg(test)]
mod tests {
    use super::super::forge::{Forged, M0, M1, orders};
    use crate::{
        events::What,
        plan::{FaultKind, Odd},
    };

    #[test]
    fn safe3_a_record_says_when_it_was_written() {
        let begun = || Forged::begun().written(10..11, 0).wait(5);
        begun().handed_as(M0, (10, 0), 0).holds();
        begun().handed_as(M0, (10, 0), 1).is_found("SAFE3");
        // The oldest format has no timestamp; every other has one.
        let undated = i64::MIN / 2;
        begun().handed_as(M0, (10, 0), undated).is_found("SAFE3");
        let legacy = |magic| begun().fault(1, FaultKind::Legacy { magic, packed: false, times: 1 });
        legacy(0).handed_as(M0, (10, 0), undated).holds();
        legacy(1).handed_as(M0, (10, 0), undated).is_found("SAFE3");
    }

    #[test]
    fn safe1_a_member_without_leader_epochs_cannot_see_a_truncation() {
        let cut = |forged: Forged| forged.truncated(8).wait(5).written(8..12, 1).revoked(M0).joins(M1, 2);
        let reads = |forged: Forged| forged.reads(M1, 10..12, 1).commits(M1, 12);
        let odd = FaultKind::Odd { which: Odd::NoEpochs, times: 1 };
        reads(cut(Forged::begun().fault(1, odd.clone()))).holds();
        reads(cut(Forged::begun())).is_found("SAFE1");
        // As often as there were partitions to report, and not before.
        reads(cut(Forged::begun().fault(60_000, odd.clone()))).is_found("SAFE1");
        let again = reads(cut(Forged::begun().fault(1, odd))).truncated(11).wait(5).written(11..14, 2);
        again
            .revoked(M1)
            .wait(5)
            .granted(M0, 3)
            .assigned(M0, 3)
            .reads(M0, 12..14, 2)
            .commits(M0, 14)
            .is_found("SAFE1");
    }

    #[test]
    fn safe1_safe3_a_member_without_leader_epochs_goes_on_beyond_a_truncation() {
        let odd = |at: u64| Forged::begun().fault(at, FaultKind::Odd { which: Odd::NoEpochs, times: 1 });
        let cut = |forged: Forged| forged.truncated(5).wait(5).written(5..12, 1);
        let reads = |forged: Forged| cut(forged).reads(M0, 10..12, 1).commits(M0, 12);
        reads(odd(1)).holds();
        reads(odd(60_000)).is_found("SAFE1");
        reads(Forged::begun()).is_found("SAFE1");
        cut(odd(1)).handed(M0, 11..12, 1).is_found("SAFE3");
        // Once for each partition that could be reported.
        let again = reads(odd(1)).truncated(7).wait(5).written(7..15, 2).reads(M0, 12..15, 2);
        again.commits(M0, 15).is_found("SAFE1");
        // After a marker, which was cut off.
        let marked = |forged: Forged, from: i64| {
            forged.truncated_from(from, 10).wait(5).written(10..14, 1).handed(M0, 11..14, 1)
        };
        marked(odd(1), 11).holds();
        marked(odd(1), 10).is_found("SAFE3");
        marked(Forged::begun(), 11).is_found("SAFE3");
        // Its position is before the cut.
        odd(1).truncated_from(11, 10).wait(5).written(10..14, 1).reads(M0, 10..14, 1).commits(M0, 14).holds();
    }

    #[test]
    fn safe1_safe3_a_member_that_reads_by_name_goes_on_in_a_recreated_topic() {
        let older = |which| Forged::begun().fault(1, FaultKind::Vintage { broker: 1, which });
        let again = |which| older(which).recreated().wait(5).written(0..12, 1);
        let passed = |which| again(which).reads(M0, 10..12, 1).commits(M0, 12);
        passed(0).holds();
        // From a position that was a marker.
        again(0).reads(M0, 11..12, 1).commits(M0, 12).holds();
        again(1).handed(M0, 11..12, 1).is_found("SAFE3");
        passed(1).is_found("SAFE1");
        // Once it is told, all of the new topic is due.
        let heard = passed(0).reset(M0, Some(12), 0).reads(M0, 0..3, 1);
        heard.clone().commits(M0, 3).holds();
        heard.clone().commits(M0, 5).is_found("SAFE1");
        heard.handed(M0, 11..12, 1).is_found("SAFE3");
        // No topic was created again.
        older(0).written(10..12, 0).handed(M0, 11..12, 0).is_found("SAFE3");
        // The plan of seed 20052510: it took the recreation for a truncation, and goes on from there in the topic after that.
        let told = What::TruncationTold { who: M0, at: orders(), from: 10, to: Some(1) };
        let taken = again(0).tell(told);
        let twice = |written: i64| taken.clone().recreated().wait(5).written(0..written, 2);
        twice(2).reads(M0, 1..2, 2).commits(M0, 2).holds();
        twice(4).reads(M0, 1..2, 2).handed(M0, 3..4, 2).is_found("SAFE3");
        taken.handed(M0, 2..3, 1).is_found("SAFE3");
    }

    #[test]
    fn safe1_delivered_records_show_their_topic_before_a_reset_does() {
        // A commit for the former topic arrives when the partition was given again; an operator goes back; then it fetches.
        let set = What::OffsetSet { at: orders(), offset: 2 };
        let asks = What::Request { broker: 1, api: 9, client: M0.to_string() };
        let late = Forged::begun().sends(M0, 10).recreated().wait(5).written(0..15, 1).revoked(M0);
        let given = late.granted(M0, 2).noted(M0, 10).tell(set).wait(5).assigned(M0, 2).tell(asks);
        let moved = |forged: Forged, from: i64| {
            forged.tell(What::StartMoved { at: orders(), start: 12 }).reset(M0, Some(from), 12)
        };
        moved(given.clone().reads(M0, 2..5, 1), 5).commits(M0, 5).holds();
        moved(given, 10).commits(M0, 10).is_found("SAFE1");
    }

    fn in_a_transaction(committed: Option<bool>) -> Forged {
        let record = What::Appended { at: orders(), offset: 0, id: 0, transaction: 7 };
        let begun = Forged::new().planned(|plan| plan.members[0].read_committed = true).tell(record);
        let begun = begun.joins(M0, 1).reset(M0, None, 0);
        match committed {
            Some(committed) => begun.tell(What::Ended { transaction: 7, committed }),
            None => begun,
        }
    }

    #[test]
    fn safe10_only_what_is_committed() {
        in_a_transaction(Some(false)).handed(M0, 0..1, 0).is_found("SAFE10");
        in_a_transaction(None).handed(M0, 0..1, 0).is_found("SAFE10");
        in_a_transaction(Some(true)).handed(M0, 0..1, 0).holds();
    }

    #[test]
    fn safe3_a_value_that_was_never_written_there() {
        Forged::begun().written(10..11, 0).handed(M0, 10..11, 5).is_found("SAFE3");
    }
}
