//! `roundrobin`: all partitions of all topics in turn to the next member that subscribes to the topic.

use std::collections::BTreeMap;

use offtake_machine::TopicPartition;

use super::{Assignment, MemberSubscription, PartitionCounts, dealing_order, nothing, subscribed};

pub(super) fn assign(counts: &PartitionCounts, members: &BTreeMap<String, MemberSubscription>) -> Assignment {
    let mut assignment = nothing(members);
    let order = dealing_order(members);
    let mut turn = 0;
    for (topic, count) in subscribed(counts, members) {
        for partition in 0..count {
            // Somebody subscribes to it, or it would not be in the list: one round finds them.
            let taker = (turn..turn + order.len()).find_map(|at| {
                let id = *order.get(at % order.len())?;
                members.get(id)?.topics.contains(topic).then_some((at, id))
            });
            if let Some((at, id)) = taker {
                turn = (at + 1) % order.len();
                if let Some(list) = assignment.get_mut(id) {
                    list.push(TopicPartition::new(topic, partition));
                }
            }
        }
    }
    assignment
}
