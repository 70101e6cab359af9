//! The assigned partitions, and those being revoked.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use offtake_fetch::Watermarks;
use offtake_group::RevocationId;
use offtake_machine::{Position, Token, TopicPartition};

use crate::gauges::PartitionGauges;

#[derive(Debug, Default)]
pub(super) struct Ownership {
    /// The partitions assigned now, by the group or manually.
    assigned: Partitions,
    /// The partitions of each revocation that the handle was notified of and has not ended. Their positions
    /// can still be sought.
    revoking: BTreeMap<RevocationId, Partitions>,
    /// Revocations that the application is done with; they end when their commits do.
    done: BTreeSet<RevocationId>,
    /// What the group took away, until the application is done with that change.
    lost: BTreeMap<RevocationId, BTreeMap<TopicPartition, Uncommitted>>,
    /// The time at which the group stops waiting, as the handle was told: it may be later by now.
    revoke_by: Option<Instant>,
}

/// Partitions with their gauges, once they have started.
type Partitions = BTreeMap<TopicPartition, Option<Arc<PartitionGauges>>>;

/// The offset up to which the application has finished a lost partition, as far as that is not committed.
type Uncommitted = Option<i64>;

impl Ownership {
    /// Assigns exactly these from now on. Returns those that are no longer assigned.
    pub(super) fn assign(&mut self, owned: impl IntoIterator<Item = TopicPartition>) -> Vec<TopicPartition> {
        let mut before = std::mem::take(&mut self.assigned);
        let now = owned.into_iter().map(|partition| {
            let gauges = before.remove(&partition).flatten();
            (partition, gauges)
        });
        self.assigned = now.collect();
        before.into_keys().collect()
    }

    /// Notes that it starts to be read under this assignment.
    pub(super) fn begin(&mut self, partition: TopicPartition, gauges: Arc<PartitionGauges>) {
        self.assigned.insert(partition, Some(gauges));
    }

    /// Unassigns everything, and returns it.
    pub(super) fn clear(&mut self) -> Vec<TopicPartition> {
        self.lost.clear();
        std::mem::take(&mut self.assigned).into_keys().collect()
    }

    pub(super) fn contains(&self, partition: &TopicPartition) -> bool {
        self.assigned.contains_key(partition)
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.assigned.keys()
    }

    pub(super) fn len(&self) -> usize {
        self.assigned.len()
    }

    pub(super) fn to_vec(&self) -> Vec<TopicPartition> {
        self.assigned.keys().cloned().collect()
    }

    // ---- its gauges ----------------------------------------------------------------------------------------------

    fn gauges(&self, partition: &TopicPartition, token: Token) -> Option<&PartitionGauges> {
        Self::gauges_in(&self.assigned, partition, token)
    }

    fn gauges_in<'a>(
        these: &'a Partitions,
        partition: &TopicPartition,
        token: Token,
    ) -> Option<&'a PartitionGauges> {
        these.get(partition)?.as_deref().filter(|gauges| gauges.token().same_assignment(token))
    }

    /// Stores the end of the log that a response contained.
    pub(super) fn learn_watermarks(&self, partition: &TopicPartition, token: Token, watermarks: Watermarks) {
        if let Some(gauges) = self.gauges(partition, token) {
            gauges.set_watermarks(watermarks);
        }
    }

    /// Stores that the application has moved the position, perhaps to one that only a broker can resolve. It
    /// may also move that of a partition that is being revoked.
    pub(super) fn sought(&self, partition: &TopicPartition, token: Token, position: Option<Position>) {
        let mut all = std::iter::once(&self.assigned).chain(self.revoking.values());
        if let Some(gauges) = all.find_map(|these| Self::gauges_in(these, partition, token)) {
            gauges.set_known_position(token, position.map(|position| position.offset));
        }
    }

    /// The topic was created again.
    pub(super) fn is_another_log(&self, partition: &TopicPartition, token: Token) {
        if let Some(gauges) = self.gauges(partition, token) {
            gauges.forget_watermarks();
            gauges.set_position(token, None);
        }
    }

    /// Whether it is paused, as long as this assignment lasts.
    pub(super) fn is_paused(&self, partition: &TopicPartition, token: Token) -> Option<bool> {
        self.gauges(partition, token).map(PartitionGauges::is_paused)
    }

    // ---- revocations -------------------------------------------------------------------------------------------

    /// Notes that the handle was told to give these up: they are assigned no longer.
    pub(super) fn begin_revocation(
        &mut self,
        id: RevocationId,
        partitions: Vec<TopicPartition>,
        by: Option<Instant>,
    ) {
        let partitions = partitions.into_iter().map(|partition| {
            let gauges = self.assigned.remove(&partition).flatten();
            (partition, gauges)
        });
        self.revoking.insert(id, partitions.collect());
        self.revoke_by = by;
    }

    /// Notes that the application is done with this change. Returns what it gives up, if that is still being revoked.
    pub(super) fn application_is_done(&mut self, id: RevocationId) -> Vec<TopicPartition> {
        self.done.insert(id);
        self.lost.remove(&id);
        self.revoking.get(&id).into_iter().flat_map(BTreeMap::keys).cloned().collect()
    }

    /// A change that the application is done with, and that no `held` partition delays. Each is returned
    /// once.
    pub(super) fn next_done(&mut self, held: impl Fn(&TopicPartition) -> bool) -> Option<RevocationId> {
        let is_held =
            |id: &RevocationId| self.revoking.get(id).is_some_and(|partitions| partitions.keys().any(&held));
        let id = self.done.iter().copied().find(|id| !is_held(id))?;
        self.done.remove(&id).then_some(id)
    }

    /// Ends the change. Returns its partitions; none the second time.
    pub(super) fn end_revocation(&mut self, id: RevocationId) -> Vec<TopicPartition> {
        let gone = self.revoking.remove(&id).unwrap_or_default();
        self.revoke_by = self.revoke_by.filter(|_| !self.revoking.is_empty());
        gone.into_keys().collect()
    }

    /// Ends all revocations, because their partitions are given up. Returns these.
    pub(super) fn end_all_revocations(&mut self) -> Vec<TopicPartition> {
        self.revoke_by = None;
        std::mem::take(&mut self.revoking).into_values().flat_map(BTreeMap::into_keys).collect()
    }

    // ---- what was lost ---------------------------------------------------------------------------------------------

    /// Notes that the handle was told that these are lost: they are assigned no longer.
    pub(super) fn lose(
        &mut self,
        id: RevocationId,
        partitions: &[TopicPartition],
        uncommitted: impl Fn(&TopicPartition) -> Uncommitted,
    ) {
        for partition in partitions {
            self.assigned.remove(partition);
        }
        self.note_lost(id, partitions, uncommitted);
    }

    /// Ends all revocations, because their partitions are lost. Returns these.
    pub(super) fn lose_revoking(
        &mut self,
        uncommitted: impl Fn(&TopicPartition) -> Uncommitted,
    ) -> Vec<TopicPartition> {
        let mut gone = Vec::new();
        for (id, partitions) in std::mem::take(&mut self.revoking) {
            let partitions: Vec<_> = partitions.into_keys().collect();
            if !self.done.contains(&id) {
                self.note_lost(id, &partitions, &uncommitted);
            }
            gone.extend(partitions);
        }
        self.revoke_by = None;
        gone
    }

    fn note_lost(
        &mut self,
        id: RevocationId,
        partitions: &[TopicPartition],
        uncommitted: impl Fn(&TopicPartition) -> Uncommitted,
    ) {
        let lost = partitions.iter().map(|partition| (partition.clone(), uncommitted(partition)));
        self.lost.insert(id, lost.collect());
    }

    /// The application has finished records of this partition that cannot be committed any more. (If it does not count as lost, the application
    /// has been told already.)
    pub(super) fn not_committed(&mut self, partition: &TopicPartition, offset: i64) {
        for uncommitted in self.lost.values_mut().filter_map(|of| of.get_mut(partition)) {
            *uncommitted = (*uncommitted).max(Some(offset));
        }
    }

    /// A commit that was sent before the loss was made after all.
    pub(super) fn committed(&mut self, partition: &TopicPartition, offset: i64) {
        for uncommitted in self.lost.values_mut().filter_map(|of| of.get_mut(partition)) {
            *uncommitted = uncommitted.filter(|finished| *finished > offset);
        }
    }

    /// The partitions that were lost before everything that the application has finished of them was committed, as long as it does not know
    /// of the loss.
    pub(super) fn lost_uncommitted(&self) -> Vec<TopicPartition> {
        let lost = self.lost.values().flatten();
        lost.filter(|(_, uncommitted)| uncommitted.is_some())
            .map(|(partition, _)| partition.clone())
            .collect()
    }

    /// When the group stops waiting for the revocations.
    pub(super) fn revoke_by(&self) -> Option<Instant> {
        self.revoke_by
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders(partition: i32) -> TopicPartition {
        TopicPartition::new("orders", partition)
    }

    fn gauges(assignment: u64) -> Arc<PartitionGauges> {
        Arc::new(PartitionGauges::new(Token { assignment, seek: 0 }, false))
    }

    #[test]
    fn safe14_a_kept_partition_keeps_its_gauges_and_a_reassigned_one_gets_new_ones() {
        let mut ownership = Ownership::default();
        assert!(ownership.assign([orders(0), orders(1)]).is_empty());
        let (kept, gone) = (gauges(1), gauges(2));
        ownership.begin(orders(0), kept.clone());
        ownership.begin(orders(1), gone.clone());
        assert_eq!(ownership.assign([orders(0), orders(2)]), [orders(1)]);
        let high = |high| Watermarks { low: 0, high, last_stable: high };
        ownership.learn_watermarks(&orders(0), kept.token().after_seek(), high(10));
        ownership.learn_watermarks(&orders(1), gone.token(), high(20));
        let stale = Token { assignment: 9, seek: 0 };
        ownership.learn_watermarks(&orders(0), stale, high(30));
        for gauges in [&kept, &gone] {
            gauges.set_position(gauges.token(), Some(4));
        }
        assert_eq!((kept.lag(), gone.lag()), (Some(6), None));
    }
    #[test]
    fn h2_a_revocation_waits_only_for_the_commits_of_its_own_partitions() {
        let mut ownership = Ownership::default();
        ownership.begin_revocation(RevocationId(1), vec![orders(0), orders(1)], None);
        ownership.begin_revocation(RevocationId(2), vec![orders(2)], None);
        assert_eq!(ownership.next_done(|_| false), None, "the application is not done");
        assert_eq!(ownership.application_is_done(RevocationId(1)), [orders(0), orders(1)]);
        assert_eq!(ownership.application_is_done(RevocationId(2)), [orders(2)]);
        assert!(ownership.application_is_done(RevocationId(3)).is_empty());
        let commits = |partition: &TopicPartition| *partition == orders(1);
        assert_eq!(ownership.next_done(commits), Some(RevocationId(2)));
        assert_eq!(
            ownership.next_done(commits),
            Some(RevocationId(3)),
            "of what was lost nothing is revoked"
        );
        assert_eq!(ownership.next_done(commits), None);
        assert_eq!(ownership.end_all_revocations().len(), 3, "the group waits no longer");
        assert_eq!(ownership.next_done(commits), Some(RevocationId(1)));
        assert_eq!(ownership.next_done(commits), None, "once");
    }

    #[test]
    fn a_release_is_a_value_and_counts_once() {
        let mut ownership = Ownership::default();
        let by = crate::clock::now();
        ownership.begin_revocation(RevocationId(1), vec![orders(0)], Some(by));
        ownership.begin_revocation(RevocationId(2), vec![orders(1)], Some(by));
        assert!(ownership.end_revocation(RevocationId(7)).is_empty(), "nobody was told of it");
        assert_eq!(ownership.end_revocation(RevocationId(1)), [orders(0)]);
        assert!(ownership.end_revocation(RevocationId(1)).is_empty(), "it was over");
        assert_eq!(ownership.revoke_by(), Some(by), "the other is not");
        assert_eq!(ownership.end_all_revocations(), [orders(1)]);
        assert_eq!(ownership.revoke_by(), None);
    }
    /// I11: however two calls overlap on their way here, the last state of the gauges is valid.
    #[test]
    fn i11_a_pause_is_what_the_gauges_of_this_assignment_say() {
        let mut ownership = Ownership::default();
        ownership.assign([orders(0)]);
        let of = gauges(1);
        assert_eq!(ownership.is_paused(&orders(0), of.token()), None, "it has not begun");
        ownership.begin(orders(0), of.clone());
        of.set_paused(true);
        assert_eq!(ownership.is_paused(&orders(0), of.token().after_seek()), Some(true));
        of.set_paused(false);
        assert_eq!(ownership.is_paused(&orders(0), of.token()), Some(false));
        assert_eq!(ownership.is_paused(&orders(0), Token { assignment: 2, seek: 0 }), None);
    }

    /// L8: the engine stores the target of a seek before anyone else can, and no other write undoes it.
    #[test]
    fn l8_a_seek_shows_at_once_and_what_was_handed_out_before_it_does_not_show_any_more() {
        let mut ownership = Ownership::default();
        ownership.assign([orders(0)]);
        let of = gauges(1);
        ownership.begin(orders(0), of.clone());
        of.set_position(of.token(), Some(7));
        let token = of.token().after_seek();
        ownership.sought(&orders(0), token, Some(Position::at(100)));
        of.set_position(of.token(), Some(8));
        assert_eq!(of.position(), Some(100));
        of.set_position(token, Some(150));
        assert_eq!(of.position(), Some(150));
        ownership.is_another_log(&orders(0), token.after_seek());
        assert_eq!((of.position(), of.lag()), (None, None));
    }

    /// L8: it shows for a partition that is being revoked, too, and not for a later assignment of it.
    #[test]
    fn l8_a_seek_shows_while_its_partition_is_being_revoked() {
        let mut ownership = Ownership::default();
        ownership.assign([orders(0)]);
        let (old, new) = (gauges(1), gauges(2));
        ownership.begin(orders(0), old.clone());
        old.set_position(old.token(), Some(7));
        ownership.begin_revocation(RevocationId(1), vec![orders(0)], None);
        assert!(!ownership.contains(&orders(0)));
        ownership.sought(&orders(0), old.token().after_seek(), Some(Position::at(3)));
        assert_eq!(old.position(), Some(3));
        ownership.begin(orders(0), new.clone());
        ownership.sought(&orders(0), new.token().after_seek(), Some(Position::at(50)));
        assert_eq!((old.position(), new.position()), (Some(3), Some(50)));
        ownership.end_revocation(RevocationId(1));
        ownership.sought(&orders(0), old.token().after_seek().after_seek(), Some(Position::at(9)));
        assert_eq!((old.position(), new.position()), (Some(3), Some(50)), "that assignment has ended");
    }

    #[test]
    fn with_the_last_release_nothing_has_a_deadline_any_more() {
        let mut ownership = Ownership::default();
        let by = crate::clock::now();
        ownership.begin_revocation(RevocationId(1), vec![orders(0)], Some(by));
        ownership.end_revocation(RevocationId(7));
        assert_eq!(ownership.revoke_by(), Some(by), "that was another");
        ownership.end_revocation(RevocationId(1));
        assert_eq!(ownership.revoke_by(), None);
    }

    #[test]
    fn a_partition_is_assigned_until_it_is_removed_or_all_are() {
        let mut ownership = Ownership::default();
        ownership.assign([orders(0), orders(1), orders(2)]);
        ownership.lose(RevocationId(1), &[orders(1)], |_| None);
        assert!(ownership.contains(&orders(0)) && !ownership.contains(&orders(1)));
        assert!(ownership.partitions().eq([&orders(0), &orders(2)]));
        assert_eq!(ownership.clear(), [orders(0), orders(2)]);
        assert!(ownership.to_vec().is_empty() && ownership.clear().is_empty());
    }

    /// B3: the known end of the old log means nothing for the new one.
    #[test]
    fn b3_the_end_of_a_recreated_log_is_unknown() {
        let mut ownership = Ownership::default();
        ownership.assign([orders(0)]);
        let of = gauges(1);
        ownership.begin(orders(0), of.clone());
        ownership.learn_watermarks(&orders(0), of.token(), Watermarks { low: 0, high: 9, last_stable: 9 });
        of.set_position(of.token(), Some(4));
        assert_eq!(of.lag(), Some(5));
        ownership.is_another_log(&orders(0), Token { assignment: 2, seek: 0 });
        assert_eq!(of.lag(), Some(5), "that is an earlier assignment's");
        ownership.is_another_log(&orders(0), of.token());
        of.set_position(of.token(), Some(0));
        assert_eq!(of.lag(), None);
    }
}
