//! `roundrobin`: the partitions of all topics, in turn, to the next member that subscribes to the topic.

use super::{Group, Plan};

pub(super) fn assign(group: &Group<'_>) -> Plan {
    let mut plan = group.empty_plan();
    let order = group.member_order();
    let mut turn = 0;
    for (topic, subscribers) in group.topics.iter().zip(group.subscribers(&order)) {
        // The next subscriber of the topic, from the current turn on; after the last one comes the first.
        let mut next = subscribers.partition_point(|at| *at < turn);
        for partition in topic.partitions() {
            next = if next < subscribers.len() { next } else { 0 };
            let Some(at) = subscribers.get(next).copied() else { break };
            if let Some(list) = order.get(at).and_then(|member| plan.get_mut(*member)) {
                list.push(partition);
            }
            turn = at + 1;
            next += 1;
        }
        turn = if turn < order.len() { turn } else { 0 };
    }
    plan
}
