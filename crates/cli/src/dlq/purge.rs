//! `offtake dlq purge`: deletes dead letters that are no longer wanted.

use std::collections::BTreeMap;

use offtake::TopicPartition;
use serde_json::json;

use super::{
    STOPPED, Work, group_of,
    replay::first_left_out,
    source::{Next, Source},
};
use crate::{
    args::Purge,
    failure::{self, Failure, say},
    stop::Stop,
    text::table::Sheet,
};

pub(super) async fn run(work: &mut Work, args: Purge) -> Result<(), Failure> {
    let group = group_of(args.group.as_deref(), &args.topic);
    let by_group = (args.before.is_none() && !args.all).then_some(group.as_str());
    let mut source = Source::open(&work.config, &args.topic, by_group).await?;
    let planned = match (by_group, args.before) {
        (Some(group), _) => replayed(&source, group),
        (None, time) => older(&mut source, time, args.foreign, &mut work.stop).await,
    };
    let starts: BTreeMap<_, _> = source.ranges.iter().map(|(of, range)| (of.clone(), range.start)).collect();
    let closed = source.close().await;
    let mut cuts = planned?;
    closed?;
    cuts.retain(|partition, cut| starts.get(partition).is_some_and(|start| start < cut));
    let mut done = BTreeMap::new();
    let mut failures = Vec::new();
    if args.execute {
        for (partition, became) in delete(work, &cuts).await? {
            match became {
                Ok(start) => drop(done.insert(partition, start)),
                Err(error) => failures.push(error),
            }
        }
    }
    print(&starts, &cuts, &done, work);
    if !args.execute && !work.json {
        say(format_args!("dry run: nothing was deleted; add --execute to do it"));
    }
    failure::all_done(failures)
}

/// The offsets up to which the group has replayed everything.
fn replayed(source: &Source, group: &str) -> Result<BTreeMap<TopicPartition, i64>, Failure> {
    let left_out = first_left_out(source);
    let mut cuts = BTreeMap::new();
    for (partition, range) in &source.ranges {
        let Some(committed) = &range.committed else { continue };
        let passed = committed.offset;
        let cut = left_out.get(partition).map_or(passed, |left_out| passed.min(*left_out));
        if cut < passed {
            tracing::warn!(
                "{partition}: from offset {cut} on there are dead letters that were left out of the replay; they stay"
            );
        }
        cuts.insert(partition.clone(), cut);
    }
    if cuts.is_empty() {
        return Err(Failure::failed(format!(
            "nothing is replayed under group `{group}`: name another --group, or delete --before TIME or --all"
        )));
    }
    Ok(cuts)
}

/// Finds the letters that failed before this time, up to the first in each partition that did not; all of them
/// without a time. Records without a dead letter's headers are deleted only with `foreign`, as the user may
/// have named the wrong topic.
async fn older(
    source: &mut Source,
    time: Option<i64>,
    foreign: bool,
    stop: &mut Stop,
) -> Result<BTreeMap<TopicPartition, i64>, Failure> {
    let mut cuts: BTreeMap<_, _> =
        source.ranges.iter().map(|(partition, range)| (partition.clone(), range.end)).collect();
    let mut strangers = 0_u64;
    loop {
        match source.next(stop).await? {
            Next::Records(records) => {
                for letter in source.letters(&records) {
                    let cut = cuts.get_mut(letter.record.topic_partition());
                    // Records beyond the cut stay, whatever they are.
                    let Some(cut) = cut.filter(|cut| letter.record.offset() < **cut) else { continue };
                    match time.is_none_or(|time| letter.failed_at().is_some_and(|at| at < time)) {
                        true => strangers += u64::from(!foreign && letter.origin.topic.is_none()),
                        false => *cut = letter.record.offset(),
                    }
                }
            }
            Next::End if strangers > 0 => {
                return Err(Failure::failed(format!(
                    "nothing is deleted: no header of {strangers} of these records says that it is a dead letter; is this the topic that you mean? --foreign deletes them too"
                )));
            }
            Next::End => return Ok(cuts),
            Next::Stopped => return Err(Failure::failed(format!("{STOPPED}; nothing is deleted"))),
        }
    }
}

async fn delete(
    work: &Work,
    cuts: &BTreeMap<TopicPartition, i64>,
) -> Result<BTreeMap<TopicPartition, offtake_admin::Result<i64>>, Failure> {
    let mut admin = work.admin()?;
    let deleted = admin.delete_records(cuts.iter().map(|(partition, cut)| (partition.clone(), *cut))).await;
    admin.close().await;
    Ok(deleted)
}

/// `from` is the log start, `to` the new one.
fn print(
    starts: &BTreeMap<TopicPartition, i64>,
    cuts: &BTreeMap<TopicPartition, i64>,
    done: &BTreeMap<TopicPartition, i64>,
    work: &mut Work,
) {
    let Work { json, output, .. } = work;
    let mut sheet = Sheet::new(&["topic", "#partition", "#from", "#to", "executed"]);
    for (partition, from) in starts {
        let (topic, index) = (partition.topic.as_str(), partition.partition);
        let to = cuts.get(partition).unwrap_or(from);
        let executed = done.contains_key(partition);
        if *json {
            output.json(&json!({
                "topic": topic, "partition": index, "from": from, "to": to, "executed": executed,
            }));
        } else {
            let executed = if executed { "yes" } else { "no" };
            sheet.row([topic, &index.to_string(), &from.to_string(), &to.to_string(), executed]);
        }
    }
    if !*json {
        output.sheet(&sheet);
    }
}
