//! SAFE15 for workers: no more handlers run than configured, and no more records wait.

use std::collections::{BTreeMap, BTreeSet};

use super::{WorkScene, ended};
use crate::{
    check::Complaints,
    events::{Event, What, Who},
};

/// The bytes of a record's header names and key, beside its value; and of the additional headers of one that was put aside.
const BESIDE_VALUE: usize = 200;
const PUT_ASIDE: usize = 700;

/// The least share of the queue that a partition has, in records.
const LEAST_SHARE: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Bounds {
    calls: BTreeMap<Who, BTreeMap<u64, BTreeSet<i64>>>,
}

impl Bounds {
    pub(super) fn feed(&mut self, scene: WorkScene<'_>, event: &Event, complaints: &mut Complaints) {
        let options = scene.options;
        match &event.what {
            What::HandlerBegan { who, call, offset, .. } => {
                let calls = self.calls.entry(*who).or_default();
                let records = calls.entry(*call).or_default();
                records.insert(*offset);
                if records.len() > options.batch {
                    let text = format!("{who}: its handler was given {} records at once", records.len());
                    complaints.add("SAFE15", event.at, text);
                }
                if calls.len() > options.concurrency {
                    let text =
                        format!("{who}: {} of its handlers run, of {}", calls.len(), options.concurrency);
                    complaints.add("SAFE15", event.at, text);
                }
            }
            What::HandlerEnded { who, call, .. } => {
                if let Some(calls) = self.calls.get_mut(who) {
                    calls.remove(call);
                }
            }
            What::Queued { who, records, bytes, letters } => {
                // As much as the queue is held beside it, of partitions that cannot go on. The records of one poll, and those that
                // handlers return, may be added.
                let (queue, queue_bytes) = (2 * options.queue, 2 * options.queue_bytes);
                let polled = usize::try_from(scene.plan.members[who.member].max_poll_records).unwrap_or(0);
                // So may what partitions hold whose letters cannot be written: what was in the queue then, and a share of each.
                let partitions = scene.plan.topics.iter().map(|topic| topic.partitions).sum::<i32>();
                let share = (options.queue / 2).max(LEAST_SHARE).min(options.queue);
                let set_aside = queue + usize::try_from(partitions).unwrap_or(0) * share;
                let set_aside = if *letters { set_aside } else { 0 };
                let beyond = polled + options.concurrency * options.batch + set_aside;
                let largest =
                    scene.plan.producers.iter().map(|producer| producer.value_bytes).max().unwrap_or(0);
                let largest = usize::try_from(largest).unwrap_or(0) + BESIDE_VALUE;
                let largest = if options.retries.is_empty() { largest } else { largest + PUT_ASIDE };
                let (most, most_bytes) = (queue + beyond, queue_bytes + beyond * largest);
                if *records > most || *bytes > most_bytes {
                    let text = format!(
                        "{who}: {records} records wait, of {bytes} bytes; {most} of {most_bytes} may"
                    );
                    complaints.add("SAFE15", event.at, text);
                }
            }
            what => {
                if let Some(who) = ended(what) {
                    self.calls.remove(&who);
                }
            }
        }
    }
}
