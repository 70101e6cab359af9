//! A reset as a plan: from the facts of each partition to the offset that the group is to have there.
//!
//! As with Kafka's own command, an offset beyond either end of a log becomes that end, and a time after the last record
//! means the end.

use std::collections::BTreeMap;

use offtake::TopicPartition;

/// The position from which a group is to continue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    Earliest,
    Latest,
    /// The committed offset, unchanged; the log end where there is none.
    Current,
    Offset(i64),
    /// The committed offset, moved by this many records.
    Shift(i64),
    /// The first record at or after the requested time, from [`Facts::at`].
    Time,
    /// An offset for each partition.
    Each(BTreeMap<TopicPartition, i64>),
}

/// The facts of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) committed: Option<i64>,
    pub(super) earliest: i64,
    /// The log end offset.
    pub(super) latest: i64,
    /// The first offset at or after the requested time; `None` if all records are older.
    pub(super) at: Option<i64>,
}

/// The change in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PartitionReset {
    pub(super) partition: TopicPartition,
    /// The committed offset.
    pub(super) from: Option<i64>,
    pub(super) to: i64,
    /// The requested offset, where the log does not have it.
    pub(super) asked: Option<i64>,
}

/// A step for each partition, in order; or the partitions that have no offset to shift, or no offset in the file.
pub(super) fn plan(
    goal: &Goal,
    facts: &BTreeMap<TopicPartition, Facts>,
) -> Result<Vec<PartitionReset>, Vec<TopicPartition>> {
    let mut steps = Vec::new();
    let mut without = Vec::new();
    for (partition, facts) in facts {
        let wanted = match goal {
            Goal::Earliest => Some(facts.earliest),
            Goal::Latest => Some(facts.latest),
            Goal::Current => Some(facts.committed.unwrap_or(facts.latest)),
            Goal::Offset(offset) => Some(*offset),
            Goal::Shift(by) => facts.committed.map(|committed| committed.saturating_add(*by)),
            Goal::Time => Some(facts.at.unwrap_or(facts.latest)),
            Goal::Each(offsets) => offsets.get(partition).copied(),
        };
        match wanted {
            None => without.push(partition.clone()),
            Some(wanted) => {
                let to = match goal {
                    Goal::Current => wanted,
                    // Not `clamp`, which panics if a broker reports an end before the start.
                    _ => wanted.min(facts.latest).max(facts.earliest),
                };
                let asked = (to != wanted).then_some(wanted);
                steps.push(PartitionReset { partition: partition.clone(), from: facts.committed, to, asked });
            }
        }
    }
    if without.is_empty() { Ok(steps) } else { Err(without) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(index: i32) -> TopicPartition {
        TopicPartition::new("t", index)
    }

    /// A log from 10 to 20, with 15 committed and 17 at the requested time.
    fn facts() -> BTreeMap<TopicPartition, Facts> {
        BTreeMap::from([(at(0), Facts { committed: Some(15), earliest: 10, latest: 20, at: Some(17) })])
    }

    fn planned(goal: Goal) -> (i64, Option<i64>) {
        let steps = plan(&goal, &facts()).unwrap();
        let [PartitionReset { partition, from: Some(15), to, asked }] = steps.as_slice() else {
            panic!("{steps:?}")
        };
        assert_eq!(*partition, at(0));
        (*to, *asked)
    }

    #[test]
    fn each_goal_means_an_offset() {
        assert_eq!(planned(Goal::Earliest), (10, None));
        assert_eq!(planned(Goal::Latest), (20, None));
        assert_eq!(planned(Goal::Offset(12)), (12, None));
        assert_eq!(planned(Goal::Shift(-3)), (12, None));
        assert_eq!(planned(Goal::Shift(5)), (20, None));
        assert_eq!(planned(Goal::Time), (17, None));
        assert_eq!(planned(Goal::Each(BTreeMap::from([(at(0), 11)]))), (11, None));
    }

    #[test]
    fn the_current_goal_keeps_committed_offsets_even_outside_of_the_log() {
        let mut facts = facts();
        facts.insert(at(1), Facts { committed: Some(3), earliest: 10, latest: 20, at: None });
        facts.insert(at(2), Facts { committed: None, earliest: 10, latest: 20, at: None });
        let steps = plan(&Goal::Current, &facts).unwrap();
        let read: Vec<_> = steps.iter().map(|step| (step.from, step.to, step.asked)).collect();
        assert_eq!(read, [(Some(15), 15, None), (Some(3), 3, None), (None, 20, None)]);
    }

    #[test]
    fn an_offset_outside_of_the_log_becomes_its_nearer_end() {
        assert_eq!(planned(Goal::Offset(9)), (10, Some(9)));
        assert_eq!(planned(Goal::Offset(21)), (20, Some(21)));
        assert_eq!(planned(Goal::Shift(i64::MAX)), (20, Some(i64::MAX)));
        assert_eq!(planned(Goal::Shift(i64::MIN)), (10, Some(15 + i64::MIN)));
        assert_eq!(planned(Goal::Each(BTreeMap::from([(at(0), 0)]))), (10, Some(0)));
    }

    #[test]
    fn a_time_after_the_last_record_is_the_end() {
        let mut facts = facts();
        facts.get_mut(&at(0)).unwrap().at = None;
        assert_eq!(plan(&Goal::Time, &facts).unwrap()[0].to, 20);
    }

    #[test]
    fn a_group_that_has_committed_nothing_can_go_anywhere_but_on_from_there() {
        let mut facts = facts();
        facts.insert(at(1), Facts { latest: 5, ..Facts::default() });
        let steps = plan(&Goal::Latest, &facts).unwrap();
        assert_eq!(
            steps.iter().map(|step| (step.from, step.to)).collect::<Vec<_>>(),
            [(Some(15), 20), (None, 5)]
        );
        assert_eq!(plan(&Goal::Shift(1), &facts), Err(vec![at(1)]));
        assert_eq!(plan(&Goal::Each(BTreeMap::from([(at(0), 11)])), &facts), Err(vec![at(1)]));
    }

    #[test]
    fn a_log_that_ends_before_it_begins_is_no_reason_to_panic() {
        let facts = BTreeMap::from([(at(0), Facts { earliest: 5, latest: 3, ..Facts::default() })]);
        assert_eq!(plan(&Goal::Offset(4), &facts).unwrap()[0].to, 5);
    }
}
