//! `offtake offsets`: the start and end offsets of topics, and the offsets of a time.

use offtake::{TopicPartition, config::IsolationLevel};
use offtake_admin::{Admin, OffsetSpec};
use serde_json::json;

use crate::{
    args::{Common, Offsets},
    failure::Failure,
    output::Output,
    setup,
    text::{table::Sheet, time},
};

pub(crate) async fn run(common: &Common, args: Offsets) -> Result<(), Failure> {
    let config = setup::config(common)?;
    let limit = config.client.default_api_timeout;
    let mut admin = Admin::new(config)?;
    admin.within(limit);
    let mut output = Output::stdout();
    let done = print(&mut admin, &args, common.json, &mut output).await;
    admin.close().await;
    done?;
    Ok(output.flush()?)
}

async fn print(admin: &mut Admin, args: &Offsets, json: bool, output: &mut Output) -> Result<(), Failure> {
    use IsolationLevel::{ReadCommitted, ReadUncommitted};
    let mut partitions = Vec::new();
    for topic in admin.describe_topics(args.topics.iter().map(String::as_str)).await? {
        if let Some(missing) = args.partitions.iter().find(|index| !topic.partitions.contains_key(index)) {
            let count = topic.partitions.len();
            return Err(Failure::failed(format!(
                "topic `{}` has no partition {missing}: it has {count}",
                topic.name
            )));
        }
        let wanted = topic
            .partitions
            .keys()
            .filter(|index| args.partitions.is_empty() || args.partitions.contains(index));
        partitions.extend(wanted.map(|index| TopicPartition::new(topic.name.clone(), *index)));
    }
    let all = || partitions.iter().cloned();
    let earliest = admin.list_offsets(all(), OffsetSpec::Earliest, ReadUncommitted).await?;
    let latest = admin.list_offsets(all(), OffsetSpec::Latest, ReadUncommitted).await?;
    let stable = admin.list_offsets(all(), OffsetSpec::Latest, ReadCommitted).await?;
    let at = match args.at {
        Some(time) => Some(admin.list_offsets(all(), OffsetSpec::Timestamp(time), ReadUncommitted).await?),
        None => None,
    };

    let mut head = vec!["topic", "#partition", "#earliest", "#latest", "#stable"];
    if at.is_some() {
        head.extend(["#at", "timestamp"]);
    }
    let mut sheet = Sheet::new(&head);
    for partition in &partitions {
        let (topic, index) = (partition.topic.as_str(), partition.partition);
        let offsets =
            [&earliest, &latest, &stable].map(|listed| listed.get(partition).map(|listed| listed.offset));
        let found = at.as_ref().map(|at| at.get(partition));
        if json {
            let [earliest, latest, stable] = offsets;
            let mut row = json!({
                "topic": topic, "partition": index, "earliest": earliest, "latest": latest, "stable": stable,
            });
            if let (Some(found), Some(row)) = (found, row.as_object_mut()) {
                row.insert("at".to_owned(), json!(found.map(|found| found.offset)));
                row.insert("timestamp".to_owned(), json!(found.and_then(|found| found.timestamp)));
            }
            output.json(&row);
        } else {
            let number = |number: Option<i64>| number.map_or("-".to_owned(), |number| number.to_string());
            let mut cells = vec![topic.to_owned(), index.to_string()];
            cells.extend(offsets.map(number));
            if let Some(found) = found {
                cells.push(number(found.map(|found| found.offset)));
                let timestamp = found.and_then(|found| found.timestamp);
                cells.push(timestamp.map_or("-".to_owned(), time::rfc3339));
            }
            sheet.row(cells);
        }
    }
    if !json {
        output.sheet(&sheet);
    }
    Ok(())
}
