//! `offtake groups describe`.

use std::{collections::BTreeMap, time::Duration};

use offtake::TopicPartition;
use offtake_admin::{Admin, GroupDescription, GroupMember};
use offtake_lag::{Collector, Config, GroupReport, GroupSelection};
use serde_json::{Value, json};

use crate::{
    failure::Failure,
    lag,
    output::Output,
    text::table::{Sheet, visible},
};

/// Prints everything known about one group, with the numbers of `offtake lag`.
pub(super) async fn run(
    admin: Admin,
    limit: Duration,
    group: &str,
    json: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut config = Config::default();
    config.groups = GroupSelection::Named(vec![group.to_owned()]);
    config.broker_timeout = limit;
    let mut collector = Collector::new(admin, config);
    let done = described(&mut collector, limit, group, json, output).await;
    collector.close().await;
    done
}

async fn described(
    collector: &mut Collector,
    limit: Duration,
    group: &str,
    json: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    let group = collector.admin().describe_group(group).await?;
    let mut patience = limit;
    let report = lag::patient_round(collector, &mut patience).await?;
    let report = lag::with_ages(collector, report, &mut patience, Some(limit)).await?;
    let behind = report.groups.into_iter().next().unwrap_or_default();
    let is_unknown = behind.partitions.is_empty() && !report.failures.is_empty();
    if json {
        output.json(&object(&group, (!is_unknown).then_some(&behind)));
        return lag::report_failures(&report.failures);
    }
    let GroupDescription { state, group_type, coordinator, host, port, members, .. } = &group;
    let assignor = group.assignor.as_deref().unwrap_or("-");
    let text = format!(
        "group        {}\nstate        {}\ntype         {group_type}\nassignor     {}\ncoordinator  {} ({}:{port})\n",
        visible(&group.group),
        visible(state),
        visible(assignor),
        coordinator.0,
        visible(host),
    );
    output.buffer().extend_from_slice(text.as_bytes());
    if members.is_empty() {
        output.buffer().extend_from_slice(b"no members\n");
    } else {
        output.buffer().push(b'\n');
        output.sheet(&table(members));
    }
    if is_unknown {
        output.buffer().extend_from_slice(b"the committed offsets are not known\n");
    } else if behind.partitions.is_empty() {
        output.buffer().extend_from_slice(b"no committed offsets\n");
    } else {
        output.buffer().push(b'\n');
        output.sheet(&lag::table(behind.rows(), false, None));
    }
    lag::report_failures(&report.failures)
}

/// While a group moves to KIP-848 its members use two protocols, and while it moves partitions some members
/// lack part of their target: a column for each of the two.
fn table(members: &[GroupMember]) -> Sheet {
    let mixed = members.windows(2).any(|pair| matches!(pair, [a, b] if a.member_type != b.member_type));
    let moving =
        members.iter().any(|member| member.target.as_ref().is_some_and(|to| *to != member.partitions));
    let mut head = vec!["member", "instance", "client", "host", "partitions"];
    head.extend(mixed.then_some("type"));
    head.extend(moving.then_some("target"));
    let mut sheet = Sheet::new(&head);
    for member in members {
        let mut cells = vec![
            member.member_id.clone(),
            member.instance_id.clone().unwrap_or_else(|| "-".to_owned()),
            member.client_id.clone(),
            member.host.clone(),
            owned(&member.partitions),
        ];
        if mixed {
            cells.push(member.member_type.clone().unwrap_or_else(|| "-".to_owned()));
        }
        if moving {
            cells.push(member.target.as_ref().map_or("-".to_owned(), |target| owned(target)));
        }
        sheet.row(cells);
    }
    sheet
}

/// `behind` is `None` if it is not known.
fn object(group: &GroupDescription, behind: Option<&GroupReport>) -> Value {
    let member = |member: &GroupMember| {
        let partitions = member.partitions.iter().map(|of| json!([of.topic.as_str(), of.partition]));
        json!({
            "member_id": member.member_id, "instance_id": member.instance_id, "client_id": member.client_id,
            "host": member.host, "partitions": partitions.collect::<Vec<_>>(),
        })
    };
    json!({
        "group": group.group, "state": group.state, "type": group.group_type, "assignor": group.assignor,
        "coordinator": group.coordinator.0, "members": group.members.iter().map(member).collect::<Vec<_>>(),
        "offsets": behind.map(|behind| behind.rows().map(|row| lag::object_of_group(&row)).collect::<Vec<_>>()),
    })
}

/// Formats as `orders: 0-3,7  payments: 1`.
fn owned(partitions: &[TopicPartition]) -> String {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(partition.topic.as_str()).or_default().push(partition.partition);
    }
    let topics: Vec<_> =
        topics.into_iter().map(|(topic, indexes)| format!("{topic}: {}", runs(&indexes))).collect();
    if topics.is_empty() { "-".to_owned() } else { topics.join("  ") }
}

/// Formats ascending numbers, with ranges for consecutive ones.
fn runs(numbers: &[i32]) -> String {
    let neighbours = numbers.chunk_by(|a, b| a.checked_add(1) == Some(*b));
    let runs = neighbours.filter_map(|run| match run {
        [] => None,
        [one] => Some(one.to_string()),
        [first, .., last] => Some(format!("{first}-{last}")),
    });
    runs.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partitions_of_a_member_are_grouped_by_topic_in_ranges() {
        let of = |topic: &str, index| TopicPartition::new(topic, index);
        let partitions = [of("orders", 0), of("orders", 1), of("orders", 2), of("orders", 7), of("x", 1)];
        assert_eq!(owned(&partitions), "orders: 0-2,7  x: 1");
        assert_eq!(owned(&[]), "-");
    }
}
