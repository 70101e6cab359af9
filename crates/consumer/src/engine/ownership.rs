//! Which partitions are assigned, and what of them is on its way out.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use offtake_fetch::Watermarks;
use offtake_machine::{Token, TopicPartition};

use crate::gauges::PartitionGauges;

#[derive(Debug, Default)]
pub(super) struct Ownership {
    /// What is assigned now, by the group or by hand, and its gauges from when it has begun.
    assigned: BTreeMap<TopicPartition, Option<Arc<PartitionGauges>>>,
    generation: Option<i32>,
    releasing: Option<Releasing>,
    /// Partitions in which the handle met something unreadable: nothing of them is fetched before they are sought.
    stopped: BTreeMap<TopicPartition, Token>,
}

/// What the handle is to release: the partitions of the revoke that it was told of.
#[derive(Debug)]
struct Releasing {
    partitions: Vec<TopicPartition>,
    /// When the group waits for it no longer.
    by: Option<Instant>,
}

impl Ownership {
    /// These are assigned from now on, and no others. Gives those that no longer are.
    pub(super) fn assign(
        &mut self,
        owned: impl IntoIterator<Item = TopicPartition>,
        generation: Option<i32>,
    ) -> Vec<TopicPartition> {
        let mut before = std::mem::take(&mut self.assigned);
        let now = owned.into_iter().map(|partition| {
            let gauges = before.remove(&partition).flatten();
            (partition, gauges)
        });
        self.assigned = now.collect();
        self.generation = generation;
        before.into_keys().collect()
    }

    /// It begins to be read under this assignment.
    pub(super) fn begin(&mut self, partition: TopicPartition, gauges: Arc<PartitionGauges>) {
        self.assigned.insert(partition, Some(gauges));
    }

    /// These are no longer assigned.
    pub(super) fn remove(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.assigned.remove(partition);
        }
    }

    /// Nothing is; what was.
    pub(super) fn clear(&mut self) -> Vec<TopicPartition> {
        self.releasing = None;
        self.generation = None;
        std::mem::take(&mut self.assigned).into_keys().collect()
    }

    pub(super) fn contains(&self, partition: &TopicPartition) -> bool {
        self.assigned.contains_key(partition)
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.assigned.keys()
    }

    pub(super) fn to_vec(&self) -> Vec<TopicPartition> {
        self.assigned.keys().cloned().collect()
    }

    /// An answer has told where the log ends.
    pub(super) fn learn_watermarks(&self, partition: &TopicPartition, token: Token, watermarks: Watermarks) {
        if let Some(Some(gauges)) = self.assigned.get(partition)
            && gauges.token().same_owner(token)
        {
            gauges.set_watermarks(watermarks);
        }
    }

    // ---- on its way out ------------------------------------------------------------------------------------------

    /// The handle is told to release these.
    pub(super) fn releases(&mut self, partitions: Vec<TopicPartition>, by: Option<Instant>) {
        self.releasing = Some(Releasing { partitions, by });
    }

    /// They are released, or lost.
    pub(super) fn released(&mut self) -> Vec<TopicPartition> {
        self.releasing.take().map(|releasing| releasing.partitions).unwrap_or_default()
    }

    /// When the group waits no longer.
    pub(super) fn release_by(&self) -> Option<Instant> {
        self.releasing.as_ref()?.by
    }

    // ---- unreadable ----------------------------------------------------------------------------------------------

    pub(super) fn stop(&mut self, partition: TopicPartition, token: Token) {
        self.stopped.insert(partition, token);
    }

    pub(super) fn is_stopped(&self, partition: &TopicPartition, token: Token) -> bool {
        self.stopped.get(partition) == Some(&token)
    }

    pub(super) fn restart(&mut self, partition: &TopicPartition) {
        self.stopped.remove(partition);
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
    fn s14_what_is_kept_keeps_its_gauges_and_what_comes_anew_gets_others() {
        let mut ownership = Ownership::default();
        assert!(ownership.assign([orders(0), orders(1)], Some(1)).is_empty());
        let (kept, gone) = (gauges(1), gauges(2));
        ownership.begin(orders(0), kept.clone());
        ownership.begin(orders(1), gone.clone());
        assert_eq!(ownership.assign([orders(0), orders(2)], Some(2)), [orders(1)]);
        let high = |high| Watermarks { low: 0, high, last_stable: high };
        ownership.learn_watermarks(&orders(0), kept.token().sought(), high(10));
        ownership.learn_watermarks(&orders(1), gone.token(), high(20));
        let stale = Token { assignment: 9, seek: 0 };
        ownership.learn_watermarks(&orders(0), stale, high(30));
        for gauges in [&kept, &gone] {
            gauges.set_position(gauges.token(), Some(4));
        }
        assert_eq!((kept.lag(), gone.lag()), (Some(6), None));
    }

    #[test]
    fn what_is_released_is_so_once() {
        let mut ownership = Ownership::default();
        ownership.releases(vec![orders(0)], None);
        assert_eq!(ownership.released(), [orders(0)]);
        assert!(ownership.released().is_empty());
    }
}
