//! An answer as a list of leaves, each a path and a value, with symbols in place of values that naturally differ.

use std::{collections::BTreeMap, fmt::Debug, sync::LazyLock};

use kafka_protocol::messages::{ApiKey, ResponseKind};
use regex::{Captures, Regex};

use crate::differential::batch;

/// One field of an answer.
pub(crate) type Leaf = (String, String);

/// The APIs that the box supports: a real broker lists more.
const OF_THE_BOX: &[i16] = &[
    0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 28, 32, 35, 36, 37,
    42, 44, 47, 60, 61, 65, 66, 68, 69, 75,
];

/// The leaves of an answer. Lists whose order comes from Kafka's hash maps are sorted.
pub(crate) fn leaves(mut answer: ResponseKind) -> Vec<Leaf> {
    let mut records = Vec::new();
    match &mut answer {
        ResponseKind::ApiVersions(answer) => {
            answer.api_keys.retain(|api| OF_THE_BOX.contains(&api.api_key));
            let keys = std::mem::take(&mut answer.api_keys);
            for key in keys {
                let name = ApiKey::try_from(key.api_key).map_or("?".into(), |key| format!("{key:?}"));
                records.push((format!("api_keys[{name}].min_version"), key.min_version.to_string()));
                records.push((format!("api_keys[{name}].max_version"), key.max_version.to_string()));
            }
            answer.supported_features.sort_by_key(|feature| feature.name.to_string());
            answer.finalized_features.sort_by_key(|feature| feature.name.to_string());
        }
        ResponseKind::Fetch(answer) => {
            for (t, topic) in answer.responses.iter_mut().enumerate() {
                for (p, partition) in topic.partitions.iter_mut().enumerate() {
                    if let Some(bytes) = partition.records.take().filter(|bytes| !bytes.is_empty()) {
                        records.extend(batch::leaves(
                            &format!("responses[{t}].partitions[{p}].records"),
                            &bytes,
                        ));
                    }
                }
            }
        }
        ResponseKind::ListGroups(answer) => answer.groups.sort_by_key(|group| group.group_id.to_string()),
        ResponseKind::DescribeGroups(answer) => {
            answer.groups.sort_by_key(|group| group.group_id.to_string());
            for group in &mut answer.groups {
                group.members.sort_by_key(|member| {
                    (member.client_id.to_string(), member.group_instance_id.as_deref().map(str::to_owned))
                });
            }
        }
        ResponseKind::JoinGroup(answer) => {
            answer.members.sort_by_key(|member| {
                (
                    member.group_instance_id.as_deref().map(str::to_owned),
                    member.metadata.clone(),
                    member.member_id.to_string(),
                )
            });
        }
        ResponseKind::ConsumerGroupDescribe(answer) => {
            for group in &mut answer.groups {
                group.members.sort_by_key(|member| {
                    let instance = member.instance_id.as_deref().map(str::to_owned);
                    (member.client_id.to_string(), instance, member.subscribed_topic_names.clone())
                });
                for member in &mut group.members {
                    member.assignment.topic_partitions.sort_by_key(|topic| topic.topic_name.to_string());
                    member
                        .target_assignment
                        .topic_partitions
                        .sort_by_key(|topic| topic.topic_name.to_string());
                }
            }
        }
        ResponseKind::ConsumerGroupHeartbeat(answer) => {
            if let Some(assignment) = &mut answer.assignment {
                // Their order is by random ids; their partitions distinguish them well enough.
                assignment.topic_partitions.sort_by_key(|topic| topic.partitions.clone());
            }
        }
        ResponseKind::OffsetFetch(answer) => {
            answer
                .topics
                .iter_mut()
                .for_each(|topic| topic.partitions.sort_by_key(|partition| partition.partition_index));
            for topic in answer.groups.iter_mut().flat_map(|group| &mut group.topics) {
                topic.partitions.sort_by_key(|partition| partition.partition_index);
            }
        }
        ResponseKind::DescribeConfigs(answer) => {
            for result in &mut answer.results {
                result.configs.sort_by_key(|config| config.name.to_string());
            }
        }
        ResponseKind::CreateTopics(answer) => {
            for topic in &mut answer.topics {
                if let Some(configs) = &mut topic.configs {
                    configs.sort_by_key(|config| config.name.to_string());
                }
            }
        }
        // Kafka shuffles them, so that their order reveals nothing about existing topics.
        ResponseKind::DeleteTopics(answer) => {
            answer
                .responses
                .sort_by_key(|topic| (topic.name.as_ref().map(|name| name.to_string()), topic.error_code));
        }
        ResponseKind::ListTransactions(answer) => {
            answer.transaction_states.sort_by_key(|state| state.transactional_id.to_string());
        }
        ResponseKind::DescribeProducers(answer) => {
            for partition in answer.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
                partition.active_producers.sort_by_key(|producer| *producer.producer_id);
            }
        }
        _ => (),
    }
    let mut all = of(&answer);
    by_name(&mut all);
    all.extend(records);
    all
}

/// Identifies settings by name, not by index, so that a missing one is a single difference.
fn by_name(all: &mut [Leaf]) {
    static PLACE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^(.*configs)\[([0-9]+)\]\.").unwrap());
    let names: BTreeMap<String, String> = all
        .iter()
        .filter(|(path, _)| path.ends_with(".name") && PLACE.is_match(path))
        .map(|(path, name)| (path.trim_end_matches(".name").to_owned(), name.trim_matches('"').to_owned()))
        .collect();
    for (path, _) in all {
        let Some(found) = PLACE.captures(path) else { continue };
        let place = found[0].trim_end_matches('.').to_owned();
        if let Some(name) = names.get(&place) {
            *path = format!("{}[{name}].{}", &found[1], &path[found[0].len()..]);
        }
    }
}

/// Parses the pretty form that `derive(Debug)` prints. `Some`, newtypes and enum variants add nothing to a path.
pub(crate) fn of(value: &impl Debug) -> Vec<Leaf> {
    struct Frame {
        path: String,
        next: Option<usize>,
    }
    static NAME: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^([a-z_0-9]+): (.*)$").unwrap());
    let text = format!("{value:#?}");
    let mut frames = vec![Frame { path: String::new(), next: None }];
    let mut all = Vec::new();
    for line in text.lines() {
        let line = line.trim_start();
        let line = line.strip_suffix(',').unwrap_or(line);
        if matches!(line, "}" | "]" | ")") {
            frames.pop();
            continue;
        }
        let parent = frames.last_mut().unwrap();
        let (name, value) = NAME.captures(line).map_or((None, line), |found| {
            (Some(found.get(1).unwrap().as_str()), found.get(2).unwrap().as_str())
        });
        let path = match (name, &mut parent.next) {
            (Some(name), _) if parent.path.is_empty() => name.to_owned(),
            (Some(name), _) => format!("{}.{name}", parent.path),
            (None, Some(next)) => {
                *next += 1;
                format!("{}[{}]", parent.path, *next - 1)
            }
            (None, None) => parent.path.clone(),
        };
        match value.chars().last() {
            Some('[') => frames.push(Frame { path, next: Some(0) }),
            Some('{' | '(') => frames.push(Frame { path, next: None }),
            _ => {
                // A list of numbers with one element per line and a short `Some(1)` look the same.
                if !path.ends_with("unknown_tagged_fields") || value != "{}" {
                    all.push((path, value.to_owned()));
                }
            }
        }
    }
    all
}

/// Values that naturally differ, numbered in the order of their first appearance: `member#1`, `producer#2`.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    seen: BTreeMap<&'static str, Vec<String>>,
}

impl Symbols {
    pub(crate) fn replace(&mut self, leaves: &mut [Leaf]) {
        for (path, value) in leaves {
            let field =
                path.rsplit('.').next().unwrap_or(path).split('[').next().unwrap_or_default().to_owned();
            self.value(&field, value);
        }
    }

    fn value(&mut self, field: &str, value: &mut String) {
        static UUID: LazyLock<Regex> = LazyLock::new(|| {
            Regex::new("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").unwrap()
        });
        static SHORT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b[0-9A-Za-z_-]{22}\b").unwrap());
        static TIME: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b1[78][0-9]{11}\b").unwrap());
        static PRODUCER: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"([Pp]roducer ?[Ii]d[ :=]*)([0-9]+)").unwrap());
        let number = value.parse::<i64>().ok();
        match field {
            "producer_id" if number.is_some_and(|id| id >= 0) => *value = self.symbol("producer", value),
            "session_id" if number.is_some_and(|id| id > 0) => *value = self.symbol("session", value),
            "port" if number.is_some_and(|port| port > 0) => *value = self.symbol("port", value),
            "host" if value.len() > 2 => *value = self.symbol("host", value),
            "cluster_id" if value != "None" => *value = self.symbol("cluster", value),
            "finalized_features_epoch" if number.is_some_and(|epoch| epoch >= 0) => {
                "features".clone_into(value)
            }
            "records" => (),
            _ => (),
        }
        let new = UUID.replace_all(value, |found: &Captures<'_>| {
            if found[0].chars().all(|digit| matches!(digit, '0' | '-')) {
                "nil".to_owned()
            } else {
                self.symbol("uuid", &found[0])
            }
        });
        let new = TIME.replace_all(&new, "now");
        let new = PRODUCER.replace_all(&new, |found: &Captures<'_>| {
            format!("{}{}", &found[1], self.symbol("producer", &found[2]))
        });
        let new = if matches!(field, "member_id" | "leader" | "error_message") {
            SHORT.replace_all(&new, |found: &Captures<'_>| self.symbol("id", &found[0])).into_owned()
        } else {
            new.into_owned()
        };
        *value = new;
    }

    fn symbol(&mut self, kind: &'static str, value: &str) -> String {
        let known = self.seen.entry(kind).or_default();
        let at = known.iter().position(|seen| seen == value).unwrap_or_else(|| {
            known.push(value.to_owned());
            known.len() - 1
        });
        format!("{kind}#{}", at + 1)
    }
}
