//! `offtake groups reset`: a plan, and with `--execute` its execution.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use offtake::{OffsetAndMetadata, TopicPartition, config::IsolationLevel};
use offtake_admin::{Admin, OffsetSpec};
use serde_json::json;

use super::{
    check_idle, file,
    plan::{Facts, Goal, PartitionReset, plan},
    scope,
};
use crate::{
    args::Reset,
    failure::{self, Failure, say},
    output::Output,
    text::table::Sheet,
};

pub(super) async fn run(
    admin: &mut Admin,
    args: Reset,
    json: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    let group = args.group.as_str();
    let mut goal = goal(&args)?;
    let exists = check_idle(admin, group).await?;
    let committed = admin.list_offsets_of_group(group).await?;
    let partitions = partitions(admin, &args, &goal, &committed).await?;
    if let Goal::Each(offsets) = &mut goal {
        offsets.retain(|partition, _| partitions.contains(partition));
    }
    let facts = facts(admin, &args, &partitions, &committed).await?;
    let steps = plan(&goal, &facts).map_err(|without| {
        let names: Vec<_> = without.iter().map(ToString::to_string).collect();
        Failure::failed(format!(
            "group `{group}` cannot be shifted where it has committed nothing: {}; use another form there, such as --to-earliest",
            names.join(", ")
        ))
    })?;
    if !exists {
        // Kafka's own command sets its offsets, too; the group may not have been started yet.
        tracing::warn!(
            "there is no group `{group}`: setting offsets creates it; `offtake groups list` lists the existing groups"
        );
    }
    for step in steps.iter().filter(|step| step.asked.is_some()) {
        let PartitionReset { partition, to, .. } = step;
        let asked = step.asked.unwrap_or(*to);
        let side = if asked > *to { "after the log end" } else { "before the log start" };
        tracing::warn!("{partition}: offset {asked} is {side}; using {to}");
    }
    let mut failures = Vec::new();
    let mut executed = BTreeSet::new();
    if args.execute {
        let offsets = steps.iter().map(|step| {
            let offset = OffsetAndMetadata::new(step.to);
            (step.partition.clone(), offset)
        });
        for (partition, became) in admin.alter_offsets(group, offsets.collect::<Vec<_>>()).await {
            match became {
                Ok(()) => drop(executed.insert(partition)),
                Err(error) => failures.push(error),
            }
        }
    }
    if args.export {
        file::write(output.buffer(), steps.iter().map(|step| (&step.partition, step.to)));
    } else {
        print(group, &steps, &executed, json, output);
    }
    if !args.execute && !json {
        say(format_args!("dry run: nothing was changed; add --execute to apply"));
    }
    failure::all_done(failures)
}

/// The goal of the options, without anything that only the cluster knows.
fn goal(args: &Reset) -> Result<Goal, Failure> {
    let to = &args.to;
    Ok(match (to.to_offset, to.shift_by, &to.from_file) {
        (Some(offset), _, _) => Goal::Offset(offset),
        (None, Some(by), _) => Goal::Shift(by),
        (None, None, Some(path)) => Goal::Each(file::read(path, &args.group)?),
        (None, None, None) if to.to_earliest => Goal::Earliest,
        (None, None, None) if to.to_latest => Goal::Latest,
        (None, None, None) if to.to_current => Goal::Current,
        (None, None, None) => Goal::Time,
    })
}

/// The selected partitions, all of which exist.
async fn partitions(
    admin: &mut Admin,
    args: &Reset,
    goal: &Goal,
    committed: &BTreeMap<TopicPartition, OffsetAndMetadata>,
) -> Result<BTreeSet<TopicPartition>, Failure> {
    let given: Option<BTreeSet<TopicPartition>> = match goal {
        Goal::Each(offsets) => Some(offsets.keys().cloned().collect()),
        _ => None,
    };
    if !args.topics.is_empty() {
        let names: BTreeSet<&str> = args.topics.iter().map(|scope| scope.topic.as_str()).collect();
        let topics = admin.describe_topics(names).await?;
        let named = scope::partitions(&args.topics, &topics)?;
        return match given {
            None => Ok(named),
            // From a file, only the partitions of these topics.
            Some(given) => non_empty(
                given.into_iter().filter(|partition| named.contains(partition)).collect(),
                "the file has no offsets of these topics and partitions",
            ),
        };
    }
    let group = &args.group;
    let all = match given {
        Some(given) if args.all_topics => {
            let known = given.into_iter().filter(|partition| committed.contains_key(partition));
            non_empty(
                known.collect(),
                &format!("the file has no offsets of the partitions that group `{group}` has committed"),
            )?
        }
        Some(given) => given,
        None => non_empty(
            committed.keys().cloned().collect(),
            &format!(
                "group `{group}` has committed nothing: check its name (`offtake groups list`), or name the topics to reset with --topic"
            ),
        )?,
    };
    let names: BTreeSet<&str> = all.iter().map(|partition| partition.topic.as_str()).collect();
    let topics = admin.describe_topics(names).await?;
    scope::check(&all, &topics)?;
    Ok(all)
}

fn non_empty(
    partitions: BTreeSet<TopicPartition>,
    otherwise: &str,
) -> Result<BTreeSet<TopicPartition>, Failure> {
    if partitions.is_empty() { Err(Failure::failed(otherwise)) } else { Ok(partitions) }
}

async fn facts(
    admin: &mut Admin,
    args: &Reset,
    partitions: &BTreeSet<TopicPartition>,
    committed: &BTreeMap<TopicPartition, OffsetAndMetadata>,
) -> Result<BTreeMap<TopicPartition, Facts>, Failure> {
    use IsolationLevel::ReadUncommitted;
    let all = || partitions.iter().cloned();
    let earliest = admin.list_offsets(all(), OffsetSpec::Earliest, ReadUncommitted).await?;
    let latest = admin.list_offsets(all(), OffsetSpec::Latest, ReadUncommitted).await?;
    let at = match time(args) {
        Some(time) => admin.list_offsets(all(), OffsetSpec::Timestamp(time), ReadUncommitted).await?,
        None => BTreeMap::new(),
    };
    let mut facts = BTreeMap::new();
    for partition in all() {
        let (Some(earliest), Some(latest)) = (earliest.get(&partition), latest.get(&partition)) else {
            return Err(Failure::failed(format!(
                "the leader of {partition} does not say where its log begins and ends"
            )));
        };
        let known = Facts {
            committed: committed.get(&partition).map(|committed| committed.offset),
            earliest: earliest.offset,
            latest: latest.offset,
            at: at.get(&partition).map(|at| at.offset),
        };
        facts.insert(partition, known);
    }
    Ok(facts)
}

/// The requested time; no record is older than 1970.
fn time(args: &Reset) -> Option<i64> {
    let ago = |millis: i64| Timestamp::now().as_millisecond().saturating_sub(millis).max(0);
    args.to.to_datetime.or_else(|| args.to.by_duration.map(ago))
}

fn print(
    group: &str,
    steps: &[PartitionReset],
    executed: &BTreeSet<TopicPartition>,
    json: bool,
    output: &mut Output,
) {
    let mut sheet = Sheet::new(&["group", "topic", "#partition", "#from", "#to", "executed"]);
    for PartitionReset { partition, from, to, .. } in steps {
        let (topic, index) = (partition.topic.as_str(), partition.partition);
        let executed = executed.contains(partition);
        if json {
            output.json(&json!({
                "group": group, "topic": topic, "partition": index, "from": from, "to": to, "executed": executed,
            }));
        } else {
            let from = from.map_or("-".to_owned(), |from| from.to_string());
            let executed = if executed { "yes" } else { "no" };
            sheet.row([group, topic, &index.to_string(), &from, &to.to_string(), executed]);
        }
    }
    if !json {
        output.sheet(&sheet);
    }
}
