//! `offtake groups`: which there are, and what each member of one owns.

use std::collections::BTreeMap;

use offtake::{
    TopicPartition,
    admin::{Admin, GroupDescription, GroupMember},
};
use serde_json::{Value, json};

use crate::{
    args::{Common, Groups, GroupsCommand},
    failure::Failure,
    output::Output,
    setup,
    text::table::{Sheet, visible},
};

pub(crate) async fn run(common: &Common, args: Groups) -> Result<(), Failure> {
    let config = setup::config(common)?;
    let limit = config.default_api_timeout;
    let mut admin = Admin::new(config)?;
    admin.within(limit);
    let mut output = Output::stdout();
    let done = match args.what {
        GroupsCommand::List => list(&mut admin, common.json, &mut output).await,
        GroupsCommand::Describe { group } => describe(&mut admin, &group, common.json, &mut output).await,
    };
    admin.close().await;
    done?;
    Ok(output.flush()?)
}

async fn list(admin: &mut Admin, json: bool, output: &mut Output) -> Result<(), Failure> {
    let groups = admin.list_groups().await?;
    let mut sheet = Sheet::new(&["group", "state", "type", "#coordinator"]);
    for group in groups {
        if json {
            output.json(&json!({
                "group": group.group, "state": group.state, "type": group.group_type,
                "coordinator": group.coordinator.0,
            }));
        } else {
            sheet.row([group.group, group.state, group.group_type, group.coordinator.0.to_string()]);
        }
    }
    if !json {
        output.sheet(&sheet);
    }
    Ok(())
}

async fn describe(admin: &mut Admin, group: &str, json: bool, output: &mut Output) -> Result<(), Failure> {
    let group = admin.describe_group(group).await?;
    if json {
        output.json(&object(&group));
        return Ok(());
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
        return Ok(());
    }
    output.buffer().push(b'\n');
    let mut sheet = Sheet::new(&["member", "instance", "client", "host", "partitions"]);
    for member in members {
        sheet.row([
            &member.member_id,
            member.instance_id.as_deref().unwrap_or("-"),
            &member.client_id,
            &member.host,
            &owned(&member.partitions),
        ]);
    }
    output.sheet(&sheet);
    Ok(())
}

fn object(group: &GroupDescription) -> Value {
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
    })
}

/// `orders: 0-3,7  payments: 1`.
fn owned(partitions: &[TopicPartition]) -> String {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(partition.topic.as_str()).or_default().push(partition.partition);
    }
    let topics: Vec<_> =
        topics.into_iter().map(|(topic, indexes)| format!("{topic}: {}", runs(&indexes))).collect();
    if topics.is_empty() { "-".to_owned() } else { topics.join("  ") }
}

/// Ascending numbers, neighbours drawn together.
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
    fn what_a_member_owns_is_drawn_together() {
        let of = |topic: &str, index| TopicPartition::new(topic, index);
        let partitions = [of("orders", 0), of("orders", 1), of("orders", 2), of("orders", 7), of("x", 1)];
        assert_eq!(owned(&partitions), "orders: 0-2,7  x: 1");
        assert_eq!(owned(&[]), "-");
    }
}
