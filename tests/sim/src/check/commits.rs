//! SAFE1: records are processed before a commit of them is sent. SAFE8: a commit does not go back, nor does its leader epoch.

use super::{
    Complaints,
    offsets::{Noted, Sent},
    records::{Records, Scene},
};
use crate::{
    events::{Place, Who},
    plan::Commits,
};

impl Records {
    pub(super) fn commit_sent(
        &mut self,
        scene: Scene<'_>,
        (who, place, offset, epoch): (Who, &Place, i64, i32),
        complaints: &mut Complaints,
    ) {
        let connections = self.connections.get(&who).copied().unwrap_or_default();
        let cuts = scene.ledger.log(place).map_or(0, |log| log.cuts.len());
        let reader = self.reader(who, place);
        let by_hand = epoch < 0 && scene.plan.members[who.member].commits == Commits::Listener;
        let about = reader.speaks_of(offset, by_hand);
        // The commit may have waited since before its reader was handed records of another log: its epoch tells which log it belongs to.
        let incarnation = match scene.ledger.log(place).filter(|_| epoch >= 0) {
            Some(log) => log.incarnation_of(offset, epoch, about),
            None => about,
        };
        let is_from_before_a_set = reader.is_from_before_a_set;
        let settled = reader.commits_there(offset) && incarnation >= reader.incarnation;
        reader.commits(offset);
        let recreated =
            scene.ledger.log(place).and_then(|log| log.cuts.iter().rposition(|cut| cut.recreated));
        let read_committed = scene.plan.members[who.member].read_committed;
        let has_passed = scene
            .ledger
            .log(place)
            .is_some_and(|log| reader.may_have_passed_to(offset, scene.ledger, log, read_committed));
        // A commit noted since then is done: this is another one, even with the same content.
        let before = self.groups.get(place).and_then(|of| {
            let sent = of.sent.get(&offset).filter(|sent| sent.who == who)?;
            (!of.was_noted(offset, sent.last)).then_some(*sent)
        });
        let (connections, first) =
            before.map_or((connections, scene.at), |sent| (sent.connections, sent.first));
        let is_known = |recreated| self.reader(who, place).knows_to_be_gone(offset, first, recreated);
        let of_a_topic_known_to_be_gone =
            !has_passed && recreated.filter(|recreated| incarnation <= *recreated).is_some_and(is_known);
        let of = self.groups.entry(place.clone()).or_default();
        of.last_sent = Some((who, offset));
        let last = scene.at;
        // Either of two commits in flight may arrive.
        let oldest = before.map_or(incarnation, |sent| sent.incarnation.min(incarnation));
        let sent =
            Sent { who, connections, first, last, incarnation: oldest, settled, of_a_topic_known_to_be_gone };
        of.sent.insert(offset, sent);
        let Some(log) = scene.ledger.log(place) else { return };
        // What an operator goes back to was not to be read by who read on meanwhile; whoever comes after that reads it.
        let set_back = of.set_back.filter(|_| is_from_before_a_set);
        let begin = of.begin.max(set_back).unwrap_or(0).max(log.start).max(of.checked);
        let missing = log.records.range(begin..offset.max(begin)).find(|(number, record)| {
            let done = !scene.ledger.is_due(record) || of.processed.contains(&record.id);
            // The member commits for the log before a cut that it has not been told of, where this offset held another record.
            let elsewhere = |cut: usize| {
                let held = log.former.get(number).into_iter().flatten().find(|former| former.cut == cut);
                let began = of.began.get(&cut).copied().flatten();
                held.is_none_or(|former| {
                    began.is_some_and(|began| **number < began)
                        || !scene.ledger.is_due(&former.record)
                        || of.processed.contains(&former.record.id)
                })
            };
            let excused = (incarnation..cuts).any(|cut| log.cuts[cut].end <= **number && elsewhere(cut));
            !done && !excused
        });
        if let Some((missing, _)) = missing {
            let text = format!("{who} commits {offset} of {place}, and nobody has processed {missing}");
            complaints.add("SAFE1", scene.at, text);
        }
        if incarnation >= cuts && set_back.is_none() {
            of.checked = of.checked.max(offset);
        }
    }

    pub(super) fn committed(
        &mut self,
        scene: Scene<'_>,
        (member, place, offset, leader_epoch): (&str, &Place, i64, i32),
        complaints: &mut Complaints,
    ) {
        let Scene { plan, ledger, spoken, ownership, at } = scene;
        let taken = ownership.was_taken(plan, spoken, member, place);
        // An application that commits its last processed record does so also when the consumer was told to read on elsewhere since.
        let sender = self.groups.get(place).and_then(|of| of.sent.get(&offset)).map(|sent| sent.who);
        let told_to_go_on = sender.is_some_and(|who| {
            plan.members[who.member].commits == Commits::Listener
                && leader_epoch < 0
                && self.reader(who, place).was_told_to_go_beyond(offset)
        });
        let of = self.groups.entry(place.clone()).or_default();
        let Some(log) = ledger.log(place) else { return };
        let cuts = log.cuts.len();
        let sent = of.sent.get(&offset).copied();
        let incarnation = sent.map_or(cuts, |sent| sent.incarnation);
        let mut unheard = log.cuts.iter().skip(incarnation).filter(|cut| cut.concerns(offset)).peekable();
        let of_a_former_log = unheard.peek().is_some();
        let of_a_former_topic = unheard.any(|cut| cut.recreated);
        let committed = of.committed();
        // Records of a former topic do not count for the topic that has its name now, once the member knows.
        if sent.is_some_and(|sent| sent.of_a_topic_known_to_be_gone) && !taken {
            let text = format!("{member} committed {offset} of {place} for a topic that it knew to be gone");
            complaints.add("SAFE1", at, text);
        }
        // Each of these excuses this commit alone, and none after it.
        let goes_back = of.rewound.is_some_and(|rewound| rewound.to <= offset) || told_to_go_on;
        let given_up = committed.is_some_and(|before| of.was_given_up(offset, before));
        let excused = goes_back || given_up || taken || of.is_stale() || of_a_former_log;
        // Markers and aborted records in between do not count, nor records written there after a cut.
        let stood = of.incarnation();
        let back = |before: &i64| ledger.any_due(log, (offset, *before), stood);
        if let Some(before) = committed.filter(|before| offset < *before).filter(back)
            && !excused
        {
            let text = format!("{member} committed {offset} of {place} after {before}");
            complaints.add("SAFE8", at, text);
        }
        if leader_epoch >= 0 && leader_epoch < of.leader_epoch && !excused {
            let text = format!(
                "{member} committed leader epoch {leader_epoch} of {place} after {}",
                of.leader_epoch
            );
            complaints.add("SAFE8", at, text);
        }
        // The repetition of a commit from before that does not use it up.
        if of.rewound.is_some_and(|rewound| sent.is_some_and(|sent| sent.settled && sent.first > rewound.at))
        {
            of.rewound = None;
            of.leader_epoch = leader_epoch;
        }
        let by_hand = of.last_sent.is_some_and(|(who, sent)| {
            let listener = plan.members[who.member].commits == Commits::Listener;
            sent == offset && (listener || of.sought == Some((who, sent)))
        });
        of.blind = leader_epoch < 0 && by_hand;
        // Without an epoch nobody can see that it belongs to a log that was cut; and by name (before version 10 of OffsetCommit) a commit
        // for a former topic counts for the topic that has its name now.
        if of_a_former_topic || (of.blind && of_a_former_log) {
            of.begin = of.begin.max(Some(offset));
        }
        of.note(Noted {
            at,
            offset: Some(offset),
            incarnation,
            stale: taken || of_a_former_log,
            of_a_former_topic,
        });
        // An application that commits by hand at its own position ignores the markers that the consumer passed, and their epoch.
        let steps_back = of.blind && committed.is_some_and(|before| offset < before);
        let was_on_its_way = sent.is_some_and(|sent| of.sought_at.is_some_and(|sought| sent.last <= sought));
        if !of_a_former_log && !was_on_its_way {
            of.leader_epoch = if steps_back { leader_epoch } else { leader_epoch.max(of.leader_epoch) };
        }
    }

    pub(super) fn truncated(&mut self, scene: Scene<'_>, place: &Place, end: i64) {
        let cuts = scene.ledger.log(place).map_or(0, |log| log.cuts.len());
        let of = self.groups.entry(place.clone()).or_default();
        of.checked = of.checked.min(end);
        of.began.insert(cuts.saturating_sub(1), of.begin);
        of.begin = of.begin.map(|begin| begin.min(end));
        if let Some(committed) = of.committed().filter(|committed| of.hides_cuts() && *committed > end) {
            of.begin = of.begin.max(Some(committed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::forge::{Forged, M0, M1, orders};
    use crate::{
        events::What,
        plan::{Commits, FaultKind, Odd},
    };

    fn told(forged: Forged, from: i64, to: i64) -> Forged {
        forged.tell(What::TruncationTold { who: M0, at: orders(), from, to: Some(to) })
    }

    #[test]
    fn safe1_a_commit_leaves_before_its_records_are_processed() {
        let handed = Forged::begun().written(10..12, 0).handed(M0, 10..12, 0);
        // Processed only while the commit was in flight: too late.
        handed.clone().sends(M0, 12).processed(M0, 10..12, 0).noted(M0, 12).is_found("SAFE1");
        handed.processed(M0, 10..12, 0).commits(M0, 12).holds();
    }

    #[test]
    fn safe1_after_a_truncation_the_new_records_count() {
        let cut = told(Forged::begun().truncated(5).wait(5).written(5..10, 1), 10, 5);
        let handed = cut.handed(M0, 5..10, 1);
        handed.clone().commits(M0, 10).is_found("SAFE1");
        handed.processed(M0, 5..10, 1).commits(M0, 10).holds();
    }

    #[test]
    fn safe1_records_of_a_truncated_log_may_be_committed_until_the_member_learns_of_it() {
        let cut = Forged::begun().written(10..12, 0).reads(M0, 10..12, 0).truncated(5).written(5..12, 1);
        cut.commits(M0, 12).holds();
        // But not records that were never read.
        let unread = Forged::begun().written(10..12, 0).truncated(5).wait(5).written(5..12, 1);
        unread.commits(M0, 12).is_found("SAFE1");
    }

    #[test]
    fn safe1_a_commit_that_waited_is_of_the_log_of_its_epoch() {
        // Read and processed before the cut; nothing of the new log is processed yet.
        let cut = Forged::begun().written(10..12, 0).reads(M0, 10..12, 0).truncated(5).wait(5);
        let handed = told(cut.written(5..12, 1), 12, 5).handed(M0, 5..12, 1);
        handed.clone().sends_of_epoch(M0, 12, 0).noted(M0, 12).holds();
        handed.clone().sends_of_epoch(M0, 12, 1).is_found("SAFE1");
        handed.clone().processed(M0, 5..12, 1).sends_of_epoch(M0, 12, 1).holds();
        // Records of the old log that were never read cannot be finished there either.
        let unread = Forged::begun().written(10..12, 0).truncated(5).wait(5);
        told(unread.written(5..12, 1), 10, 5).sends_of_epoch(M0, 12, 0).is_found("SAFE1");
    }

    #[test]
    fn safe1_a_manual_commit_belongs_to_the_last_processed_record() {
        // Prefetched from the log that was cut, and handed out after the cut was reported; the consumer commits its new position.
        let cut = |commits| {
            let begun = Forged::begun().planned(|plan| plan.members[0].commits = commits);
            let told = told(begun.written(10..11, 0).truncated(5).wait(5), 10, 5).reads(M0, 10..11, 0);
            told.sends_of_epoch(M0, 5, 1).noted(M0, 5).written(5..11, 1)
        };
        cut(Commits::Listener).commits(M0, 11).holds();
        cut(Commits::Sync).commits(M0, 11).is_found("SAFE1");
        cut(Commits::Listener).commits(M0, 10).is_found("SAFE1");
    }

    #[test]
    fn safe8_a_commit_that_waited_does_not_use_up_the_step_back() {
        let cut = Forged::begun().written(10..12, 0).reads(M0, 10..12, 0).truncated(5).wait(5);
        let read = told(cut.written(5..9, 1), 12, 5).reads(M0, 5..7, 1);
        let late = read.sends_of_epoch(M0, 12, 0).noted(M0, 12);
        late.clone().sends_of_epoch(M0, 7, 1).noted(M0, 7).holds();
        // Once a commit for the new log has landed, none may go back.
        let landed = late.sends_of_epoch(M0, 7, 1).noted(M0, 7);
        landed.sends_of_epoch(M0, 6, 1).noted(M0, 6).is_found("SAFE8");
    }

    #[test]
    fn safe8_nor_does_one_of_before_a_reset_that_waited_for_its_connection() {
        let odd = FaultKind::Odd { which: Odd::UndefinedEpoch, times: 1 };
        let read = Forged::begun().fault(1, odd).written(10..12, 0).reads(M0, 10..12, 0);
        let reset = read.reset(M0, Some(12), 0).reads(M0, 0..1, 0);
        let late = reset.commits(M0, 12).reads(M0, 1..3, 0);
        late.clone().commits(M0, 3).holds();
        late.commits(M0, 3).commits(M0, 12).commits(M0, 3).is_found("SAFE8");
        // The plan of seed 121121915: it was not answered, and is sent again when all has been handed out once more.
        let odd = FaultKind::Odd { which: Odd::UndefinedEpoch, times: 1 };
        let unanswered = Forged::begun().fault(1, odd).written(10..12, 0).reads(M0, 10..12, 0).sends(M0, 12);
        let reset = unanswered.wait(10_000).reset(M0, Some(12), 0).wait(5).handed(M0, 0..12, 0);
        let again = reset.processed(M0, 0..3, 0).sends(M0, 12).noted(M0, 12);
        again.clone().commits(M0, 3).holds();
        again.commits(M0, 3).commits(M0, 2).is_found("SAFE8");
    }

    #[test]
    fn safe1_a_topic_that_was_created_again_is_due_from_its_first_record() {
        let anew = Forged::begun().recreated().wait(5).written(0..20, 1).reset(M0, Some(10), 0);
        let read = anew.reads(M0, 0..3, 1);
        read.clone().commits(M0, 15).is_found("SAFE1");
        read.commits(M0, 3).holds();
    }

    #[test]
    fn safe1_a_recreation_taken_for_a_truncation_changes_nothing_below_the_cut() {
        // The plan of seed 20012590: the brokers read by name, and have fewer records than it has fetched.
        let read = Forged::begun().written(10..20, 0).reads(M0, 10..12, 0);
        let taken = |to: i64| told(read.clone().recreated().wait(5).written(0..14, 1), 20, to);
        taken(14).commits(M0, 12).holds();
        taken(11).commits(M0, 12).is_found("SAFE1");
        // What it had sent before, and sends again as its connection broke, is of before the cut.
        let sent = read.clone().sends(M0, 12).recreated().wait(5).written(0..14, 1);
        told(sent.clone(), 20, 11).commits(M0, 12).holds();
        told(sent.clone(), 20, 11).commits(M0, 11).holds();
        told(sent, 20, 11).reset(M0, Some(11), 0).commits(M0, 12).is_found("SAFE1");
        // It was told of another topic after that.
        taken(14).reset(M0, Some(14), 0).commits(M0, 12).is_found("SAFE1");
    }

    #[test]
    fn safe1_a_commit_of_the_new_topic_is_sent_again_after_the_partition_was_given_up() {
        // The plan of seed 20043024: no record of the new topic was handed out, only where it begins was committed.
        let anew = Forged::begun().recreated().wait(5).reset(M0, Some(10), 0);
        let sent = anew.clone().sends_of_epoch(M0, 0, 1).revoked(M0);
        sent.sends_of_epoch(M0, 0, 1).noted(M0, 0).holds();
        anew.revoked(M0).commits(M0, 10).is_found("SAFE1");
    }

    #[test]
    fn safe1_where_it_seeks_in_a_topic_that_was_created_again_is_of_that_one() {
        let begun = Forged::begun().planned(|plan| plan.members[0].read_committed = true);
        let anew = begun.recreated().wait(5).reset(M0, Some(10), 0);
        let aborted = (0..3).fold(anew, |forged, offset| {
            forged.tell(What::Appended { at: orders(), offset, id: 7_000, transaction: 7 })
        });
        // No record of the new topic is handed out: all were aborted.
        let aborted = aborted.tell(What::Ended { transaction: 7, committed: false });
        let sought = aborted.clone().tell(What::Sought { who: M0, at: orders(), to: 3, epoch: -1 });
        sought.commits(M0, 3).holds();
        aborted.written(4..5, 1).commits(M0, 10).is_found("SAFE1");
    }

    #[test]
    fn safe1_where_an_application_sought_before_its_member_knew_the_topic_it_goes_in_the_next_one() {
        // The plan of seed 26152606: the member had no metadata until the topic had been created again.
        let asks =
            |forged: Forged, api: i16| forged.tell(What::Request { broker: 1, api, client: M1.to_string() });
        let kept = What::Sought { who: M1, at: orders(), to: 7, epoch: 0 };
        let seeks = asks(Forged::begun().revoked(M0).joins(M1, 2).tell(kept), 3);
        let reads = |forged: Forged| forged.recreated().written(0..20, 1).wait(5).reads(M1, 7..20, 1);
        reads(seeks.clone()).commits(M1, 20).holds();
        // It had seen the topic, and sought in that one.
        reads(asks(seeks.clone(), 23)).commits(M1, 20).is_found("SAFE1");
        // What comes after that is due.
        let skips = seeks.recreated().written(0..20, 1).wait(5).handed(M1, 7..20, 1).processed(M1, 8..20, 1);
        skips.commits(M1, 20).is_found("SAFE1");
    }

    #[test]
    fn safe1_an_application_that_seeks_without_having_heard_of_a_cut_skips_what_lies_before() {
        let cut = || Forged::begun().truncated(5).wait(5).written(5..12, 1);
        let seeks = |forged: Forged| forged.tell(What::Sought { who: M0, at: orders(), to: 10, epoch: -1 });
        seeks(cut()).reads(M0, 10..12, 1).commits(M0, 12).holds();
        // The member had been told of the cut.
        seeks(told(cut(), 10, 5)).reads(M0, 10..12, 1).commits(M0, 12).is_found("SAFE1");
        // There was no cut.
        seeks(Forged::begun().written(10..12, 0)).reads(M0, 10..12, 0).commits(M0, 12).holds();
    }

    #[test]
    fn safe1_a_groups_progress_in_a_topic_counts_from_where_it_began_in_it() {
        // The topic was created again before anybody read it; the group began at its end; then it was created again.
        let latest =
            Forged::new().planned(|plan| plan.reset = crate::plan::Reset::Latest).recreated().wait(5);
        let begun = |at: i64| latest.clone().written(0..9, 1).joins(M0, 1).reset(M0, None, at);
        let again = |begun: Forged| begun.recreated().wait(5).written(0..2, 2).commits(M0, 12);
        again(begun(9).written(9..12, 1).reads(M0, 9..12, 1)).holds();
        again(begun(0).written(9..12, 1)).is_found("SAFE1");
    }

    #[test]
    fn safe8_a_commit_goes_back() {
        Forged::begun().commits(M0, 5).is_found("SAFE8");
        told(Forged::begun().truncated(5), 10, 5).commits(M0, 5).holds();
    }

    #[test]
    fn safe8_a_step_back_excuses_one_commit_and_not_the_next() {
        let back = told(Forged::begun().truncated(5).wait(5).written(5..10, 1), 10, 5);
        let read = back.reads(M0, 5..10, 1).commits(M0, 10);
        read.clone().commits(M0, 6).is_found("SAFE8");
        read.holds();
    }

    #[test]
    fn safe8_a_commit_of_what_a_group_gave_before_it_was_forgotten() {
        let forgotten = |forged: Forged| {
            forged.tell(What::Forgotten).joins(M1, 1).reset(M1, None, 10).reads(M1, 10..15, 0).commits(M1, 15)
        };
        let before = || Forged::begun().written(10..20, 0).commits(M0, 10).reads(M0, 10..12, 0);
        forgotten(before()).commits(M0, 12).holds();
        // It was told that it lost the partition, or was assigned it anew.
        let lost = What::Lost { who: M0, places: vec![orders()] };
        forgotten(before()).tell(lost.clone()).commits(M0, 12).is_found("SAFE8");
        forgotten(before()).tell(lost).granted(M0, 2).assigned(M0, 2).commits(M0, 12).is_found("SAFE8");
    }

    #[test]
    fn safe8_a_leader_epoch_goes_back() {
        let noted = |forged: Forged, offset: i64, leader_epoch: i32| {
            forged.sends(M0, offset).tell(What::Committed {
                member: M0.to_string(),
                generation: 1,
                at: orders(),
                offset,
                leader_epoch,
            })
        };
        noted(noted(Forged::begun(), 10, 3), 10, 2).is_found("SAFE8");
        noted(noted(Forged::begun(), 10, 3), 10, 4).holds();
    }

    #[test]
    fn safe8_the_epochs_of_a_topic_that_was_created_again_begin_anew_where_its_reader_stands() {
        // The plan of seed 9200919: the leader of the topic of before said where to begin.
        let noted = |forged: Forged, leader_epoch: i32| {
            let (member, at) = (M0.to_string(), orders());
            let committed = What::Committed { member, generation: 1, at, offset: 0, leader_epoch };
            forged.sends_of_epoch(M0, 0, leader_epoch).tell(committed)
        };
        let begun = noted(Forged::new().joins(M0, 1).recreated().wait(5).reset(M0, None, 0), 2);
        let hears = |forged: Forged| forged.reset(M0, Some(0), 0);
        noted(hears(begun.clone()), 0).holds();
        noted(begun.clone(), 0).is_found("SAFE8");
        noted(noted(noted(hears(begun), 0), 1), 0).is_found("SAFE8");
    }

    #[test]
    fn safe8_by_hand_an_application_commits_before_the_markers_that_its_consumer_passed() {
        let noted = |forged: Forged, offset: i64, leader_epoch: i32| {
            let (member, at) = (M0.to_string(), orders());
            let committed = What::Committed { member, generation: 1, at, offset, leader_epoch };
            forged.sends_of_epoch(M0, offset, leader_epoch).tell(committed)
        };
        let begun = || Forged::begun().planned(|plan| plan.members[0].commits = Commits::Listener);
        // At 10 and 11 there are markers, the second of the next epoch. A reader that continues before them has read only records of the
        // first.
        let passed = || noted(begun(), 12, 1);
        noted(noted(passed(), 10, -1), 11, 0).holds();
        noted(noted(passed(), 12, -1), 13, 0).is_found("SAFE8");
        noted(passed(), 10, 0).is_found("SAFE8");
    }

    #[test]
    fn safe8_records_written_over_a_truncated_marker_were_not_committed_before() {
        let begun = |until: i64| {
            let begun = Forged::begun().planned(|plan| plan.members[0].commits = Commits::Listener);
            begun.written(10..until, 0).reads(M0, 10..until, 0).commits(M0, 11)
        };
        let cut = |until: i64| begun(until).truncated(10).wait(5).written(10..11, 1).commits(M0, 10);
        cut(10).holds();
        cut(11).is_found("SAFE8");
    }

    #[test]
    fn safe8_a_seek_to_a_kept_offset_names_its_leader_epoch() {
        let noted = |forged: Forged, offset: i64, leader_epoch: i32| {
            let (member, at) = (M0.to_string(), orders());
            let committed = What::Committed { member, generation: 1, at, offset, leader_epoch };
            forged.sends_of_epoch(M0, offset, leader_epoch).tell(committed)
        };
        let passed = noted(Forged::begun(), 10, 3);
        let seeks = |epoch: i32| What::Sought { who: M0, at: orders(), to: 10, epoch };
        noted(passed.clone().tell(seeks(2)), 10, 2).holds();
        noted(passed.clone().tell(seeks(2)), 10, 1).is_found("SAFE8");
        noted(passed.clone().tell(seeks(-1)), 10, 2).is_found("SAFE8");
        // A commit of another epoch was in flight.
        let (member, at) = (M0.to_string(), orders());
        let arrives = What::Committed { member, generation: 1, at, offset: 10, leader_epoch: 3 };
        let crossed = passed.sends_of_epoch(M0, 10, 3).tell(seeks(2)).tell(arrives);
        noted(crossed.clone(), 10, 2).holds();
        noted(crossed, 10, 1).is_found("SAFE8");
        // The offset may go back too, if the application sought there.
        let lower = |to: i64| What::Sought { who: M0, at: orders(), to, epoch: 0 };
        let again = |to: i64| Forged::begun().tell(lower(to)).handed(M0, 5..6, 0);
        again(5).commits(M0, 6).holds();
        Forged::begun().tell(lower(10)).commits(M0, 6).is_found("SAFE8");
        // The commit of the policy's position was in flight.
        let latest = Forged::new().planned(|plan| plan.reset = crate::plan::Reset::Latest).written(0..10, 0);
        let put = || latest.clone().joins(M0, 1).reset(M0, None, 10).sends(M0, 10);
        let kept = |to: i64| put().tell(lower(to)).noted(M0, 10).reads(M0, to..7, 0);
        kept(5).commits(M0, 7).holds();
        kept(5).commits(M0, 7).commits(M0, 6).is_found("SAFE8");
        kept(5).commits(M0, 4).is_found("SAFE8");
        put().noted(M0, 10).commits(M0, 7).is_found("SAFE8");
        // Or about to be sent: it leaves before the consumer has carried out the seek.
        let told = || latest.clone().joins(M0, 1).reset(M0, None, 10).tell(lower(5));
        let metadata = String::new();
        let leaves =
            told().at_once(What::CommitSent { who: M0, at: orders(), offset: 10, epoch: 0, metadata });
        leaves.noted(M0, 10).reads(M0, 5..7, 0).commits(M0, 7).holds();
        told().wait(5).commits(M0, 10).commits(M0, 7).is_found("SAFE8");
    }

    #[test]
    fn safe2_safe8_an_operator_sets_the_offset_back_or_forth() {
        let set = |offset| What::OffsetSet { at: orders(), offset };
        let begun = |offset| Forged::begun().revoked(M0).wait(5).tell(set(offset)).wait(5).joins(M1, 2);
        begun(4).handed(M1, 4..6, 0).commits(M1, 6).holds();
        begun(4).handed(M1, 3..4, 0).is_found("SAFE2");
        // No operator set it.
        Forged::begun().revoked(M0).joins(M1, 2).handed(M1, 4..6, 0).is_found("SAFE2");
        // It excuses no other step back.
        begun(4).handed(M1, 4..6, 0).commits(M1, 6).commits(M1, 5).is_found("SAFE8");
        // Records that it skips need not be read; later ones have to be.
        let more =
            |offset| Forged::begun().written(10..20, 0).revoked(M0).tell(set(offset)).wait(5).joins(M1, 2);
        more(15).reads(M1, 15..17, 0).commits(M1, 17).holds();
        more(15).handed(M1, 15..17, 0).commits(M1, 17).is_found("SAFE1");
        more(15).handed(M1, 16..17, 0).is_found("SAFE3");
        // A member that keeps offsets elsewhere skips what the operator went back to, which was not due before.
        let latest = Forged::new().planned(|plan| plan.reset = crate::plan::Reset::Latest).written(0..10, 0);
        let began = |read: i64| {
            let began = latest.clone().joins(M0, 1).reset(M0, None, 10).written(10..15, 0);
            began.reads(M0, 10..read, 0).revoked(M0).tell(set(0)).wait(5).joins(M1, 2)
        };
        let kept = |to: i64| What::Sought { who: M1, at: orders(), to, epoch: 0 };
        began(12).tell(kept(12)).reads(M1, 12..15, 0).commits(M1, 15).holds();
        began(12).tell(kept(13)).reads(M1, 13..15, 0).commits(M1, 15).is_found("SAFE1");
        began(12)
            .tell(kept(5))
            .handed(M1, 5..15, 0)
            .processed(M1, 6..15, 0)
            .commits(M1, 15)
            .is_found("SAFE1");
        // The offset goes back by its number, but forward in the log after the cut.
        let cut = |offset: i64| {
            let cut = Forged::begun().revoked(M0).truncated(0).wait(5).written(0..9, 1);
            cut.tell(set(offset)).wait(5).joins(M1, 2)
        };
        cut(4).reads(M1, 4..6, 1).commits(M1, 6).holds();
        cut(4).handed(M1, 4..6, 1).commits(M1, 6).is_found("SAFE1");
    }

    #[test]
    fn safe1_a_member_that_reads_on_while_an_operator_sets_the_offset_back_need_not_go_there() {
        // The plan of seed 9337864: the group was forgotten, so that its offsets could be set, and its member had not heard of it.
        let latest = Forged::new().planned(|plan| plan.reset = crate::plan::Reset::Latest).written(0..10, 0);
        let began = latest.joins(M0, 1).reset(M0, None, 10).written(10..15, 0);
        let set = |forged: Forged| {
            forged.tell(What::Forgotten).tell(What::OffsetSet { at: orders(), offset: 0 }).wait(5)
        };
        let read_on = set(began.clone().reads(M0, 10..15, 0)).sends(M0, 15);
        read_on.holds();
        // It was to read all that came after where it began.
        set(began.clone().handed(M0, 10..15, 0).processed(M0, 11..15, 0)).sends(M0, 15).is_found("SAFE1");
        // And whoever begins after that, what the operator went back to: the next one, this one, and one that had not begun.
        let lost = || What::Lost { who: M0, places: vec![orders()] };
        read_on.clone().tell(lost()).joins(M1, 2).commits(M1, 15).is_found("SAFE1");
        read_on.tell(lost()).granted(M0, 2).assigned(M0, 2).commits(M0, 15).is_found("SAFE1");
        set(began).reads(M0, 10..15, 0).sends(M0, 15).is_found("SAFE1");
    }

    #[test]
    fn safe13_safe8_an_operator_deletes_the_offset() {
        let begun = || Forged::begun().revoked(M0).wait(5);
        let deleted = begun().tell(What::OffsetDeleted { at: orders() }).wait(5).joins(M1, 2);
        deleted.reset(M1, None, 0).handed(M1, 0..2, 0).commits(M1, 2).holds();
        // No operator deleted it.
        begun().joins(M1, 2).reset(M1, None, 0).is_found("SAFE13");
    }

    #[test]
    fn safe1_records_processed_by_another_member_count() {
        let over = Forged::begun().written(10..12, 0).reads(M0, 10..12, 0).revoked(M0).joins(M1, 2);
        over.commits(M1, 12).holds();
    }
}
