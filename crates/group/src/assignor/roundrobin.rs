//! `roundrobin`: all partitions of all topics in turn to the next member that subscribes to the topic.

use super::{Group, Plan};

pub(super) fn assign(group: &Group<'_>) -> Plan {
    let mut plan = group.nothing();
    let order = group.dealing_order();
    let mut turn = 0;
    for (topic, takers) in group.topics.iter().zip(group.takers(&order)) {
        // Whose turn it is, or who comes next of those that want the topic; after the last one the first.
        let mut next = takers.partition_point(|at| *at < turn);
        for partition in topic.partitions() {
            next = if next < takers.len() { next } else { 0 };
            let Some(at) = takers.get(next).copied() else { break };
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
