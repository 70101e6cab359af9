//! `roundrobin`: the partitions of all topics, in turn, to the next member that subscribes to the topic.

use super::{Group, Plan, index::IndexVec};

pub(super) fn assign(group: &Group<'_>) -> Plan {
    let mut plan = group.empty_plan();
    let order = group.member_order();
    let mut place_of = IndexVec::filled(0, order.len());
    for (place, member) in order.iter().enumerate() {
        place_of.set(*member, place);
    }
    let mut turn = 0;
    let subscribers = group.subscribers(order.iter().copied());
    for (topic, subscribers) in group.topics.iter().zip(subscribers.iter()) {
        // The next subscriber of the topic, from the current turn on; after the last one comes the first.
        let mut next = subscribers.partition_point(|member| place_of.get(*member) < Some(&turn));
        for partition in topic.partitions() {
            next = if next < subscribers.len() { next } else { 0 };
            let Some(member) = subscribers.get(next).copied() else { break };
            plan.change(member, |list| list.push(partition));
            turn = place_of.get(member).map_or(0, |place| place + 1);
            next += 1;
        }
        turn = if turn < order.len() { turn } else { 0 };
    }
    plan
}
