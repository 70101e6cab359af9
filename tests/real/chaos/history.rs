//! The evidence after all have left: the producer's ledger, and the output of every member, on one clock.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Protocol;
use crate::flow::{self, Log, Printed};

/// How a member ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// On request, without an error.
    Left,
    /// With an error that it explained: it met records that cannot be read. It left the group in order.
    Refused,
    /// By `kill -9`, while it held these by its own account.
    Killed { at: i64, held: BTreeSet<i32> },
}

/// One process.
#[derive(Debug)]
pub(super) struct ProcessHistory {
    pub(super) name: usize,
    /// The printed records, and when each was read from its pipe.
    pub(super) records: Vec<(Printed, i64)>,
    pub(super) events: Vec<Value>,
    /// From when until when it was stopped.
    pub(super) stops: Vec<(i64, i64)>,
    /// The longest delay of its output in the pipe while it was awake: the machine adds it to every delivery.
    pub(super) late: i64,
    pub(super) end: End,
}

/// How an ownership ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gone {
    Revoked,
    Lost,
    /// By the end of its process.
    Killed,
}

/// A member's hold on a partition, in epoch milliseconds.
#[derive(Debug, Clone)]
pub(super) struct Hold {
    pub(super) member: usize,
    pub(super) partition: i32,
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) gone: Gone,
    pub(super) generation: i64,
}

/// A commit as the coordinator stored it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Commit {
    pub(super) at: i64,
    pub(super) partition: i32,
    pub(super) offset: i64,
}

/// The whole history.
#[derive(Debug)]
pub(super) struct History {
    pub(super) protocol: Protocol,
    /// The records that the brokers have acknowledged.
    pub(super) log: Log,
    pub(super) lives: Vec<ProcessHistory>,
    /// The commits that the coordinators accepted, in order.
    pub(super) commits: Vec<Commit>,
    /// How long the group took to settle after each round, in milliseconds.
    pub(super) settled: Vec<i64>,
}

impl ProcessHistory {
    pub(super) fn named(&self, name: &str) -> impl Iterator<Item = &Value> {
        self.events.iter().filter(move |event| event["event"] == name)
    }

    /// Each hold from `assigned` to its end. `wrong` collects callbacks that do not alternate (SAFE9).
    pub(super) fn holds(&self, wrong: &mut Vec<String>) -> Vec<Hold> {
        let mut open: BTreeMap<i32, (i64, i64)> = BTreeMap::new();
        let mut holds = Vec::new();
        let member = self.name;
        for event in &self.events {
            let (at, what) = (flow::at(event), event["event"].as_str().unwrap_or_default());
            for partition in flow::partitions(&event["partitions"]) {
                let gone = match what {
                    "assigned" => {
                        let generation = event["generation"].as_i64().unwrap_or(-1);
                        if open.insert(partition, (at, generation)).is_some() {
                            wrong.push(format!(
                                "SAFE9: member {member} was assigned {partition} twice: {event}"
                            ));
                        }
                        continue;
                    }
                    "revoked" => Gone::Revoked,
                    "lost" => Gone::Lost,
                    _ => continue,
                };
                match open.remove(&partition) {
                    Some((from, generation)) => {
                        holds.push(Hold { member, partition, from, to: at, gone, generation });
                    }
                    None => wrong.push(format!(
                        "SAFE9: member {member} gave up {partition}, which it had not: {event}"
                    )),
                }
            }
        }
        for (partition, (from, generation)) in open {
            match self.end {
                End::Killed { at, .. } => {
                    holds.push(Hold { member, partition, from, to: at, gone: Gone::Killed, generation });
                }
                _ => wrong.push(format!("SAFE9: member {member} ended, and nothing was said of {partition}")),
            }
        }
        holds
    }

    /// `(at, partition, offset)` of each commit that it reported. Commits reported on waking, before it knew of its
    /// loss, were made before it was stopped.
    pub(super) fn committed(&self) -> Vec<(i64, i32, i64)> {
        let mut all = Vec::new();
        for event in self.named("committed") {
            let at = self.awake_at(flow::at(event));
            for each in event["offsets"].as_array().into_iter().flatten() {
                let partition = each[1].as_i64().and_then(|partition| i32::try_from(partition).ok());
                if let (Some(partition), Some(offset)) = (partition, each[2].as_i64()) {
                    all.push((at, partition, offset));
                }
            }
        }
        all
    }

    /// A moment between the stop and the knowledge of the loss counts as the time of the stop. A loss after another change of
    /// ownership is of no concern to that stop.
    pub(super) fn awake_at(&self, at: i64) -> i64 {
        let is_change =
            |event: &&Value| matches!(event["event"].as_str(), Some("assigned" | "revoked" | "lost"));
        let lost = |from: i64| {
            let next = self.events.iter().filter(is_change).find(|event| flow::at(event) >= from)?;
            (next["event"] == "lost").then(|| flow::at(next))
        };
        let within = |(from, _): &&(i64, i64)| lost(*from).is_some_and(|lost| (*from..=lost).contains(&at));
        self.stops.iter().find(within).map_or(at, |(from, _)| *from)
    }
}
