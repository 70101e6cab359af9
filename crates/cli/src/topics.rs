//! `offtake topics`: lists, describes, creates and deletes topics.

use std::time::Duration;

use offtake_admin::{Admin, BrokerId, NewTopic, TopicDescription};
use serde_json::json;

use crate::{
    args::{Common, Create, Topics, TopicsCommand},
    failure::{self, Failure},
    output::Output,
    setup,
    text::table::Sheet,
};

pub(crate) async fn run(common: &Common, args: Topics) -> Result<(), Failure> {
    let config = setup::config(common)?;
    let limit = config.client.default_api_timeout;
    let mut admin = Admin::new(config)?;
    admin.within(limit);
    let mut output = Output::stdout();
    let done = match args.what.unwrap_or(TopicsCommand::List { internal: false }) {
        TopicsCommand::List { internal } => list(&mut admin, internal, common.json, &mut output).await,
        TopicsCommand::Describe { topics } => describe(&mut admin, topics, common.json, &mut output).await,
        TopicsCommand::Create(create) => self::create(&mut admin, create, common.json, &mut output).await,
        TopicsCommand::Delete { topics } => delete(&mut admin, limit, topics, common.json, &mut output).await,
    };
    admin.close().await;
    // Output from before a failure is printed all the same.
    let written = output.flush().map_err(Failure::from);
    done.and(written)
}

async fn list(admin: &mut Admin, internal: bool, json: bool, output: &mut Output) -> Result<(), Failure> {
    let topics = admin.list_topics(internal).await?;
    if json {
        for topic in &topics {
            output.json(&summary(topic));
        }
        return Ok(());
    }
    let mut sheet = Sheet::new(&["topic", "#partitions", "#replicas"]);
    for topic in &topics {
        sheet.row([topic.name.to_string(), topic.partitions.len().to_string(), replicas(topic).to_string()]);
    }
    output.sheet(&sheet);
    Ok(())
}

async fn describe(
    admin: &mut Admin,
    topics: Vec<String>,
    json: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    let topics = admin.describe_topics(topics).await?;
    let ids = |brokers: &[BrokerId]| brokers.iter().map(|broker| broker.0).collect::<Vec<_>>();
    let text =
        |brokers: &[BrokerId]| ids(brokers).iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let mut sheet = Sheet::new(&["topic", "#partition", "#leader", "#epoch", "replicas", "isr", "offline"]);
    for topic in &topics {
        for (index, partition) in &topic.partitions {
            let leader = partition.leader.map(|broker| broker.0);
            if json {
                output.json(&json!({
                    "topic": topic.name.as_str(), "id": topic.id, "internal": topic.internal, "partition": index,
                    "leader": leader, "leader_epoch": partition.epoch, "replicas": ids(&partition.replicas),
                    "isr": ids(&partition.isr), "offline": ids(&partition.offline),
                }));
            } else {
                let number = |number: Option<i32>| number.map_or("-".to_owned(), |number| number.to_string());
                sheet.row([
                    topic.name.to_string(),
                    index.to_string(),
                    number(leader),
                    number(partition.epoch),
                    text(&partition.replicas),
                    text(&partition.isr),
                    text(&partition.offline),
                ]);
            }
        }
    }
    if !json {
        output.sheet(&sheet);
    }
    Ok(())
}

async fn create(admin: &mut Admin, args: Create, json: bool, output: &mut Output) -> Result<(), Failure> {
    let Create { topic, partitions, replication, settings } = args;
    let topic = NewTopic { name: topic, partitions, replication, configs: settings };
    let created = admin.create_topic(&topic).await?;
    if json {
        output.json(&summary(&created));
    } else {
        let (name, partitions, replicas) = (&created.name, created.partitions.len(), replicas(&created));
        let s = if partitions == 1 { "" } else { "s" };
        let text =
            format!("created topic {name}: {partitions} partition{s}, replication factor {replicas}\n");
        output.buffer().extend_from_slice(text.as_bytes());
    }
    Ok(())
}

async fn delete(
    admin: &mut Admin,
    limit: Duration,
    topics: Vec<String>,
    json: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    let (mut left_alone, mut failures, mut written) = (Vec::new(), Vec::new(), Ok(()));
    // What does not come to an end is waited for once, and not for each topic.
    let mut goes_on = true;
    for topic in topics {
        let deleted = match goes_on {
            true => admin.delete_topic(&topic).await,
            false => Err(failure::left_alone(&format!("topic `{topic}`"))),
        };
        if json {
            output.json(&json!({"topic": topic, "deleted": deleted.is_ok()}));
        } else if deleted.is_ok() {
            output.buffer().extend_from_slice(format!("deleted {topic}\n").as_bytes());
        }
        // The rest is deleted also if nobody reads what was.
        if written.is_ok() {
            written = output.flush();
        }
        let took_too_long = failure::took_too_long(&deleted);
        if goes_on { &mut failures } else { &mut left_alone }.extend(deleted.err());
        goes_on &= !took_too_long;
        admin.within(limit);
    }
    // The last line is why.
    left_alone.extend(failures);
    failure::all_done(left_alone)?;
    Ok(written?)
}

fn summary(topic: &TopicDescription) -> serde_json::Value {
    json!({
        "topic": topic.name.as_str(), "id": topic.id, "internal": topic.internal,
        "partitions": topic.partitions.len(), "replicas": replicas(topic),
    })
}

/// The replication factor of the partition that has the most replicas.
fn replicas(topic: &TopicDescription) -> usize {
    topic.partitions.values().map(|partition| partition.replicas.len()).max().unwrap_or(0)
}
