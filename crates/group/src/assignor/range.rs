//! `range`: topic by topic, each member gets a run of partitions; the first ones get one more if it does not divide.

use std::collections::BTreeMap;

use offtake_machine::TopicPartition;

use super::{Assignment, MemberSubscription, PartitionCounts, dealing_order, nothing, subscribed};

pub(super) fn assign(counts: &PartitionCounts, members: &BTreeMap<String, MemberSubscription>) -> Assignment {
    let mut assignment = nothing(members);
    let order = dealing_order(members);
    for (topic, count) in subscribed(counts, members) {
        let takers: Vec<&str> = order
            .iter()
            .copied()
            .filter(|id| members.get(*id).is_some_and(|member| member.topics.contains(topic)))
            .collect();
        let count = usize::try_from(count).unwrap_or(0);
        let (Some(each), Some(extra)) = (count.checked_div(takers.len()), count.checked_rem(takers.len()))
        else {
            continue;
        };
        let mut partitions = 0..;
        for (nth, taker) in takers.into_iter().enumerate() {
            let share = each + usize::from(nth < extra);
            if let Some(list) = assignment.get_mut(taker) {
                list.extend(partitions.by_ref().take(share).map(|p| TopicPartition::new(topic, p)));
            }
        }
    }
    assignment
}
