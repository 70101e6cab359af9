//! [`Reader`]: a member's state of a partition that it was given, and its possible positions.
//!
//! A reader is told at once of a reset or a truncation, while records fetched before are still handed out first. So its position is a set
//! of possibilities: each record that is handed out keeps those that it follows from. SAFE2 no repeats beyond the bound, SAFE3 no gap and
//! no step back, SAFE4 where reading starts.

use std::{collections::BTreeSet, time::Duration};

use super::ledger::{Ledger, Log};

/// A move of the position that a reader was told of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Move {
    from: Option<i64>,
    to: i64,
    /// The latest possible incarnation of the log.
    incarnation: usize,
}

/// A possible position: the next offset, and how many of the moves were made.
type Stand = (i64, usize);

#[derive(Debug, Default)]
pub(super) struct Reader {
    /// Everything that it has of the partition was requested after this: it revoked the partition then, or started.
    pub(super) since: Duration,
    /// When the coordinator gave it the partition.
    pub(super) granted: Option<Duration>,
    /// It was handed a record, or sought, since it was given the partition: it has a definite position.
    begun: bool,
    stands: BTreeSet<Stand>,
    moves: Vec<Move>,
    /// The last offset that it was handed.
    pub(super) last: Option<i64>,
    /// When it was handed that.
    pub(super) handed_at: Duration,
    /// Whether `told` and `incarnation` belong to its present ownership of the partition.
    pub(super) known: bool,
    /// How many of the log's cuts it was told of, or has read beyond.
    pub(super) told: usize,
    /// The recreations that it was told of, in all its life. The incarnation of a position does not imply them: the partition may be given
    /// to it, by name, before its metadata are as new.
    pub(super) heard: BTreeSet<usize>,
    /// A recreated topic that it took for a truncated one, as its brokers identify topics by name; and when.
    pub(super) takes_for_cut: Option<(usize, i64, Duration)>,
    /// The incarnation of its position: the number of cuts made before. Its commits belong to this one.
    pub(super) incarnation: usize,
    /// The newest incarnation of which it has committed the position that it was told to go to.
    has_committed: usize,
    /// It was told of a truncation but not of a new position: the policy decides, and a reset follows.
    pub(super) policy_decides: bool,
    /// It has surely read beyond records from before this many cuts.
    pub(super) beyond: usize,
    /// Where its application sought, with a kept epoch, until a record is handed out from there.
    pub(super) sought: Option<i64>,
    /// It was told that the log was cut below this position, either the sought one or the previous one.
    told_there: bool,
    /// Revoked, and not requested anew: later reports about it do not concern the next ownership.
    pub(super) gone: bool,
    /// It stands where it came from before an operator set the group's offset: it has not heard of that.
    pub(super) is_from_before_a_set: bool,
}

/// What is wrong with a record that was handed out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) rule: &'static str,
    pub(super) text: String,
}

/// The place of a record that is handed out, in the log after this many cuts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub(super) offset: i64,
    pub(super) cuts: usize,
    pub(super) read_committed: bool,
}

impl Reader {
    /// The state of a life that begins.
    pub(super) fn beginning(at: Duration) -> Self {
        Self { since: at, ..Self::default() }
    }

    /// It gives the partition up, though the coordinator may have `granted` it anew. A commit still to be sent belongs to the log that it has
    /// read, or has committed in.
    pub(super) fn gives_up(&mut self, at: Duration, granted: Option<Duration>) {
        let Self { heard, told, incarnation, has_committed, .. } = std::mem::take(self);
        *self = Self {
            since: at,
            gone: true,
            granted,
            heard,
            told,
            incarnation,
            has_committed,
            ..Self::default()
        };
    }

    /// The earliest time at which it may have fetched its start position.
    pub(super) fn asks_since(&self) -> Duration {
        self.granted.unwrap_or(self.since).max(self.since)
    }

    /// It gets the first report on the partition in this ownership, and begins with a commit of this incarnation.
    pub(super) fn begins_with(&mut self, incarnation: usize) {
        if !std::mem::replace(&mut self.known, true) {
            (self.told, self.incarnation) = (incarnation, incarnation);
        }
    }

    /// The application was told of the assignment.
    pub(super) fn assigned(&mut self) {
        self.is_from_before_a_set = false;
        self.last = None;
        self.begun = false;
        self.has_committed = 0;
        self.stands.clear();
    }

    pub(super) fn told_to_go(&mut self, from: Option<i64>, to: i64, incarnation: usize) {
        self.moves.push(Move { from, to, incarnation });
    }

    /// The incarnation of the log that its commit of this offset belongs to: that of the last record handed out, or of the position that it
    /// was told to go to since.
    pub(super) fn speaks_of(&self, offset: i64, by_hand: bool) -> usize {
        // An application that commits its last processed record refers to that one, though the consumer was told to go elsewhere.
        if by_hand && self.last == Some(offset - 1) {
            return self.incarnation;
        }
        let used = self.stands.iter().map(|(_, used)| *used).min().unwrap_or(0);
        let told = || self.moves.iter().skip(used).rev();
        let told = told().find(|step| step.to == offset);
        // Once it has committed the position that it was told to go to, it is there: it has skipped the invisible records that follow.
        told.map_or(self.incarnation.max(self.has_committed), |step| step.incarnation)
    }

    pub(super) fn was_told_to_go_beyond(&self, offset: i64) -> bool {
        self.moves.iter().any(|step| step.from.is_some_and(|from| from <= offset) && step.to > offset)
    }

    /// Whether it knows that this offset, which it commits since then, belongs to the topic before this recreation and not to the new one. A
    /// reader that takes the recreation for a truncation regards records below the cut as unchanged, and its earlier commits as from before the cut.
    pub(super) fn knows_to_be_gone(&self, offset: i64, since: Duration, recreated: usize) -> bool {
        let takes_for_cut = self.takes_for_cut.filter(|(number, ..)| *number == recreated);
        let is_the_same_to_it = takes_for_cut.is_some_and(|(_, to, told)| offset <= to || since < told);
        recreated < self.told && !is_the_same_to_it
    }

    /// Whether it may have reached this offset, which it commits, from where it was told to go, as no visible record lies in between.
    pub(super) fn may_have_passed_to(
        &mut self,
        offset: i64,
        ledger: &Ledger,
        log: &Log,
        read_committed: bool,
    ) -> bool {
        let used = self.stands.iter().map(|(_, used)| *used).min().unwrap_or(0);
        let hole = |from: i64| ledger.first_unskippable(log, (from, offset), log.cuts.len(), read_committed);
        let passes = |step: &&Move| step.to <= offset && hole(step.to).is_none();
        let passed = self.moves.iter().skip(used).filter(passes).map(|step| step.incarnation).max();
        self.has_committed = self.has_committed.max(passed.unwrap_or(0));
        passed.is_some()
    }

    /// It commits this offset.
    pub(super) fn commits(&mut self, offset: i64) {
        let used = self.stands.iter().map(|(_, used)| *used).min().unwrap_or(0);
        if let Some(step) = self.moves.iter().skip(used).rev().find(|step| step.to == offset) {
            self.has_committed = self.has_committed.max(step.incarnation);
        }
    }

    /// Whether it goes on at this offset in a topic that was created again, at the position of the former one, as it was not told.
    pub(super) fn passes_by_name(&self, log: &Log, offset: i64) -> bool {
        let mut cuts = log.cuts.iter().enumerate().skip(self.incarnation.max(self.told));
        let used = self.stands.iter().map(|(_, used)| *used).min().unwrap_or(0);
        let mut positions =
            self.stands.iter().map(|(next, _)| *next).chain(self.moves.iter().skip(used).map(|step| step.to));
        self.begun
            && positions.any(|next| next <= offset)
            && cuts.any(|(number, cut)| cut.recreated && !self.heard.contains(&number))
    }

    /// Its position beyond a cut that it was not told of, if it goes on from there: as far as it may have come in the log before, with no
    /// record that it may not skip between that and this record in the present log.
    pub(super) fn goes_on_unseen(&self, ledger: &Ledger, log: &Log, spot: Spot) -> Option<i64> {
        let Spot { offset, cuts, read_committed } = spot;
        let hole =
            |from: i64, to: i64, cuts: usize| ledger.first_unskippable(log, (from, to), cuts, read_committed);
        let leads_here = |from: i64| from <= offset && hole(from, offset, cuts).is_none();
        let unseen = || log.cuts.iter().enumerate().skip(self.told).filter(|(_, cut)| !cut.recreated);
        let stands = || self.stands.iter().map(|(next, _)| *next);
        let concerned = |next: i64| unseen().any(|(_, cut)| cut.concerns(next));
        if !self.begun || stands().any(|next| !concerned(next) && leads_here(next)) {
            return None;
        }
        let beyond = |next: i64| {
            unseen().find_map(|(number, cut)| {
                let last = hole(next, cut.from, number).unwrap_or(cut.from);
                [next, last].into_iter().find(|at| *at <= cut.from && cut.concerns(*at) && leads_here(*at))
            })
        };
        stands().find_map(beyond)
    }

    /// It goes on there: adds the position.
    pub(super) fn goes_on_at(&mut self, offset: i64) {
        let used = self.stands.iter().map(|(_, used)| *used).min().unwrap_or(0);
        self.stands.insert((offset, used));
    }

    /// An operator sets the group's offset. A member that is already reading does not move there.
    pub(super) fn is_passed_by_a_set(&mut self) {
        self.is_from_before_a_set = self.begun;
    }

    /// Whether it was handed a record, or sought, since it was given the partition.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether it was given the partition, and not told yet where it begins.
    pub(super) fn is_to_begin(&self) -> bool {
        !self.begun && self.moves.is_empty() && !self.policy_decides
    }

    /// The position that it was told to go to, if it may not be there yet.
    pub(super) fn is_to_go(&self) -> Option<i64> {
        self.moves.last().filter(|_| !self.has_gone()).map(|step| step.to)
    }

    /// Whether it surely is where it was last told to go.
    pub(super) fn has_gone(&self) -> bool {
        self.stands.iter().all(|(_, used)| *used == self.moves.len())
    }

    /// Whether a commit of this offset was sent from the position it was last told to go to: a commit beyond its present position was made
    /// before that, and waited.
    pub(super) fn commits_there(&self, offset: i64) -> bool {
        let was_told = !self.moves.is_empty() && !self.stands.is_empty();
        let reaches = !was_told || self.stands.iter().any(|(next, _)| offset <= *next);
        self.has_gone() && reaches
    }

    /// The application goes back to the committed offset, which it fetches after this; or to `otherwise`, if there is none.
    pub(super) fn goes_back(&mut self, since: Duration, otherwise: Option<i64>) {
        self.assigned();
        self.moves.clear();
        self.stands.extend(otherwise.map(|offset| (offset, 0)));
        (self.since, self.gone) = (since, false);
    }

    /// The application chose the position.
    pub(super) fn sought(&mut self, to: i64) {
        // In the log that it was last told of, though no record of that was handed out.
        let told = self.moves.iter().map(|step| step.incarnation).max();
        self.incarnation = self.incarnation.max(told.unwrap_or(0));
        self.moves.clear();
        // It has the partition, though it never fetched a start position.
        (self.gone, self.is_from_before_a_set) = (false, false);
        self.begun = true;
        self.stands = BTreeSet::from([(to, 0)]);
        self.last = None;
    }

    /// The application chose the position, and named its incarnation of the log: it will be told of later cuts.
    pub(super) fn sought_in(&mut self, to: i64, incarnation: usize) {
        self.sought(to);
        (self.sought, self.told_there) = (Some(to), false);
        (self.known, self.told, self.incarnation) = (true, incarnation, incarnation);
    }

    /// Whether a report concerns the position before its application sought elsewhere: the two crossed. That happens once for each seek.
    pub(super) fn crosses_a_seek(&mut self, from: i64) -> bool {
        self.sought.take_if(|to| *to != from).is_some()
    }

    /// It is told that the log was cut below this offset.
    pub(super) fn is_told_of_a_cut(&mut self, from: i64) {
        self.told_there = self.sought == Some(from);
    }

    /// Whether it is told of the same cut again: its position was also the one that its application sought, and each is reported. That
    /// happens once for each seek, before a record is handed out from there.
    pub(super) fn is_told_of_both(&mut self, from: i64) -> bool {
        std::mem::take(&mut self.told_there) && self.sought.take_if(|to| *to == from).is_some()
    }

    /// It is handed a record. `starts` are the committed offsets at which it may have begun.
    pub(super) fn handed(
        &mut self,
        ledger: &Ledger,
        log: &Log,
        spot: Spot,
        starts: impl IntoIterator<Item = i64>,
    ) -> Option<Wrong> {
        let Spot { offset, cuts, read_committed } = spot;
        self.sought = None;
        if cuts < self.has_committed {
            // It passed that offset only by chance: it is still handed records fetched before.
            self.has_committed = 0;
        }
        if !self.begun {
            self.stands.extend(starts.into_iter().map(|start| (start, 0)));
            self.begun = true;
        }
        let hole = |from: i64, to: i64| ledger.first_unskippable(log, (from, to), cuts, read_committed);
        // It skipped the offsets in the log that it read, either before the cut or after it.
        let passed = |from: i64, to: i64| {
            let before = self.incarnation.min(cuts);
            (before..=cuts)
                .any(|cuts| ledger.first_unskippable(log, (from, to), cuts, read_committed).is_none())
        };
        let reaches = |from: i64| from <= offset && hole(from, offset).is_none();
        // It may be told to go on, and from there again, before a record is handed out.
        let mut places = self.stands.clone();
        let least = self.stands.iter().map(|(_, used)| *used).min().unwrap_or(0);
        for (number, step) in self.moves.iter().enumerate().skip(least) {
            // A jump forward starts at an invalid position; all records before that were handed out.
            let may_leave = |next: i64| match step.from {
                Some(from) if step.to >= from && next < from => passed(next, from),
                _ => true,
            };
            let from_here = self.stands.is_empty()
                || places.iter().any(|(next, used)| *used <= number && may_leave(*next));
            if from_here {
                places.insert((step.to, number + 1));
            }
        }
        let here = places.into_iter().filter(|(next, _)| reaches(*next));
        let mut stands: BTreeSet<Stand> = here.map(|(_, used)| (offset + 1, used)).collect();
        let wrong = stands.is_empty().then(|| self.wrong(offset, hole));
        if stands.is_empty() {
            stands.insert((offset + 1, self.moves.len()));
        }
        self.stands = stands;
        self.last = Some(offset);
        wrong
    }

    fn wrong(&self, offset: i64, hole: impl Fn(i64, i64) -> Option<i64>) -> Wrong {
        let stands = self.stands.iter().map(|(next, _)| *next);
        let places: BTreeSet<i64> = stands.chain(self.moves.iter().map(|step| step.to)).collect();
        let Some(least) = places.first() else {
            return Wrong { rule: "SAFE4", text: format!("began at {offset}, and nobody told it to") };
        };
        if let Some(last) = self.last.filter(|last| offset <= *last) {
            return Wrong { rule: "SAFE3", text: format!("was handed offset {offset} after {last}") };
        }
        if offset < *least {
            return Wrong {
                rule: "SAFE2",
                text: format!("was handed offset {offset}, and was to go on from {places:?}"),
            };
        }
        let missing = places.iter().rev().find_map(|place| hole(*place, offset));
        Wrong {
            rule: "SAFE3",
            text: format!(
                "was handed offset {offset} where it was to go on from {places:?}, without {missing:?}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::forge::{Forged, M0, M1};
    use crate::plan::{FaultKind, Odd, Reset};

    #[test]
    fn a_story_that_is_fine_breaks_nothing() {
        Forged::begun().holds();
    }

    #[test]
    fn safe2_a_new_owner_reads_again_what_is_committed() {
        let handed_over = Forged::begun().revoked(M0).joins(M1, 2);
        handed_over.clone().handed(M1, 9..10, 0).is_found("SAFE2");
        // Records after the commit are read again.
        let behind = Forged::begun().written(10..12, 0).reads(M0, 10..12, 0).revoked(M0).joins(M1, 2);
        behind.handed(M1, 10..12, 0).holds();
    }

    #[test]
    fn safe3_a_record_is_left_out() {
        let more = Forged::begun().written(10..13, 0);
        more.clone().handed(M0, 11..13, 0).is_found("SAFE3");
        more.handed(M0, 10..13, 0).holds();
    }

    #[test]
    fn safe3_a_step_back_without_a_word() {
        Forged::begun().handed(M0, 9..10, 0).is_found("SAFE3");
        // It was told to go back, by a real truncation.
        let cut = Forged::begun().truncated(5).written(5..10, 1);
        let told = |forged: Forged| {
            forged.tell(crate::events::What::TruncationTold {
                who: M0,
                at: super::super::forge::orders(),
                from: 10,
                to: Some(5),
            })
        };
        told(cut.clone()).handed(M0, 5..10, 1).holds();
        // But not without being told, even though the log was cut: `rewritten` once excused this for ever.
        cut.handed(M0, 5..10, 1).is_found("SAFE3");
    }

    #[test]
    fn safe3_resets_of_a_partition_count_from_its_seek() {
        use crate::events::What;
        let place = super::super::forge::orders;
        let lost = Forged::begun().tell(What::Lost { who: M0, places: vec![place()] });
        let again = lost.granted(M0, 2).assigned(M0, 2);
        // The application seeks before the committed offset is fetched.
        let sought = again.tell(What::Sought { who: M0, at: place(), to: 10, epoch: 0 });
        let anew = sought.written(10..12, 0).reads(M0, 10..12, 0).recreated().wait(5).written(0..3, 1);
        anew.clone().reset(M0, Some(12), 0).handed(M0, 0..3, 1).holds();
        anew.handed(M0, 0..3, 1).is_found("SAFE3");
    }

    #[test]
    fn safe3_a_hole_after_a_truncation_is_one_too() {
        let told = Forged::begun().truncated(5).written(5..10, 1).tell(crate::events::What::TruncationTold {
            who: M0,
            at: super::super::forge::orders(),
            from: 10,
            to: Some(5),
        });
        told.handed(M0, 6..7, 1).is_found("SAFE3");
    }

    #[test]
    fn safe3_truncated_records_are_handed_out_only_by_a_member_that_had_fetched_them() {
        // Fetched before the cut.
        let before = Forged::begun().written(10..12, 0).truncated(10);
        before.clone().handed(M0, 10..12, 0).holds();
        // Handed to a member that was given the partition after the cut.
        before.revoked(M0).wait(10).joins(M1, 2).handed(M1, 10..12, 0).is_found("SAFE3");
    }

    #[test]
    fn safe3_after_the_new_log_never_the_old_one() {
        let cut = Forged::begun().written(10..14, 0).truncated(10).wait(5).written(10..12, 1);
        cut.clone().handed(M0, 10..12, 1).handed(M0, 12..14, 0).is_found("SAFE3");
        cut.handed(M0, 10..12, 1).holds();
    }

    #[test]
    fn safe3_it_leaves_from_behind_a_marker_that_was_cut_off() {
        // Offset 10 was a marker, and is a record in the log after the cut.
        let latest = |forged: Forged| forged.planned(|plan| plan.reset = Reset::Latest);
        let cut = |forged: Forged| latest(forged).truncated(8).wait(5).written(8..20, 1);
        let went = |forged: Forged, from| forged.reset(M0, Some(from), 20).written(20..22, 1);
        went(cut(Forged::begun()), 11).handed(M0, 20..22, 1).holds();
        // But in the log that it read it was also a record, which was not handed out.
        went(cut(Forged::begun().written(10..11, 0)), 11).handed(M0, 20..22, 1).is_found("SAFE3");
    }

    #[test]
    fn safe3_it_is_told_to_go_on_again_before_anything_was_handed_out() {
        // The plan of seed 5303312: the leader answers twice that it does not know the epoch.
        let undefined = FaultKind::Odd { which: Odd::UndefinedEpoch, times: 2 };
        let latest = Forged::begun().planned(|plan| plan.reset = Reset::Latest).fault(1, undefined);
        let once = latest.written(10..11, 0).reset(M0, Some(10), 11);
        let twice = |from| once.clone().written(11..13, 0).reset(M0, Some(from), 13).written(13..14, 0);
        twice(11).handed(M0, 13..14, 0).holds();
        // The second time it had left the position that it was sent to, and the records in between were not handed out.
        twice(12).handed(M0, 13..14, 0).is_found("SAFE3");
    }

    #[test]
    fn safe3_records_of_a_deleted_topic_are_handed_out_no_more() {
        let latest = Forged::begun().planned(|plan| plan.reset = Reset::Latest).written(10..15, 0);
        let went = |forged: Forged| forged.reset(M0, Some(15), 20).written(20..22, 1);
        went(latest.clone().recreated().wait(5).written(0..20, 1)).handed(M0, 20..22, 1).holds();
        // Records that a truncation left are.
        went(latest.truncated(12).wait(5).written(12..20, 1)).handed(M0, 20..22, 1).is_found("SAFE3");
    }

    #[test]
    fn safe4_it_begins_where_nobody_told_it_to() {
        let joins = |forged: Forged| forged.written(0..3, 0).joins(M0, 1);
        joins(Forged::new()).handed(M0, 2..3, 0).is_found("SAFE4");
        joins(Forged::new()).reset(M0, None, 0).handed(M0, 0..3, 0).holds();
    }

    #[test]
    fn safe2_offsets_fetched_before_the_assignment_is_reported_count() {
        // The plan of seed 1002788: it fetched the offsets, then the group was forgotten, then the application was told.
        let asked = Forged::begun().revoked(M0).wait(10).granted(M0, 2);
        let told = asked.tell(crate::events::What::Forgotten).assigned(M0, 2).written(10..11, 0);
        told.handed(M0, 10..11, 0).holds();
    }
}
