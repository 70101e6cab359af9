//! Lists, creates and deletes topics.

use std::{collections::BTreeMap, time::Duration};

use offtake_machine::{Cluster, PartitionInfo, Target, Topic, TopicInfo};
use offtake_wire::{
    ErrorCode, Uuid,
    messages::{
        create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest},
        delete_topics::{DeleteTopicState, DeleteTopicsRequest},
    },
};

use crate::{
    Admin,
    attempts::{AttemptError, Retry},
    calls::{Calls, TopicSelection},
};
use offtake_client::{Error, ErrorKind, OneOrMany, Result, clock};

/// A topic and its partitions.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TopicDescription {
    /// The topic's name.
    pub name: Topic,
    /// The topic's id, in Kafka's notation; `None` if the brokers have no ids (before 2.8).
    pub id: Option<String>,
    /// Whether it is one of Kafka's internal topics.
    pub internal: bool,
    /// The partitions by index.
    pub partitions: BTreeMap<i32, PartitionInfo>,
}

impl TopicDescription {
    /// A topic with these partitions, without an id, and not internal, for tests of code that uses descriptions.
    pub fn new(name: impl Into<Topic>, partitions: BTreeMap<i32, PartitionInfo>) -> Self {
        Self { name: name.into(), id: None, internal: false, partitions }
    }
}

/// A topic to create.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewTopic {
    /// The topic's name.
    pub name: String,
    /// The number of partitions; `None` for the broker's default.
    pub partitions: Option<i32>,
    /// The number of replicas of each partition; `None` for the broker's default.
    pub replication: Option<i16>,
    /// Settings such as `cleanup.policy`.
    pub configs: Vec<(String, String)>,
}

impl Admin {
    /// Lists all topics; Kafka's internal ones only if requested.
    pub async fn list_topics(&mut self, internal: bool) -> Result<Vec<TopicDescription>> {
        let deadline = self.deadline();
        let cluster = self
            .calls
            .retrying(deadline, async |calls| {
                calls.cluster("list the topics", deadline, &TopicSelection::All).await
            })
            .await?;
        let ours = cluster.topics.into_iter().filter(|(_, topic)| internal || !topic.internal);
        Ok(ours.map(|(name, topic)| description(name, topic)).collect())
    }

    /// Describes these topics.
    ///
    /// # Errors
    /// `UnknownTopic` if one of them does not exist.
    pub async fn describe_topics<S>(
        &mut self,
        topics: impl OneOrMany<Topic, S>,
    ) -> Result<Vec<TopicDescription>> {
        let deadline = self.deadline();
        let topics = topics.into_items();
        let mut cluster =
            self.calls.retrying(deadline, async |calls| describe(calls, deadline, &topics).await).await?;
        Ok(topics
            .into_iter()
            .filter_map(|name| Some((cluster.topics.remove(&name)?, name)))
            .map(|(topic, name)| description(name, topic))
            .collect())
    }

    /// Creates a topic, and waits until all of its partitions have a leader.
    pub async fn create_topic(&mut self, topic: &NewTopic) -> Result<TopicDescription> {
        let deadline = self.deadline();
        let name: Topic = topic.name.as_str().into();
        let what = format!("create topic `{name}`");
        // Whether an attempt was sent without a response, or the broker continued after its response, so that it may have
        // succeeded.
        let mut unclear = false;
        self.calls
            .retrying(deadline, async |calls| {
                let request = CreateTopicsRequest {
                    topics: vec![creatable(topic)],
                    timeout_ms: millis_left(deadline),
                    validate_only: false,
                };
                let to = controller(calls, &what, deadline).await?;
                let answer = calls.call_once(&mut unclear, &what, deadline, to, request).await?;
                let Some(result) = answer.topics.into_iter().find(|result| result.name == topic.name) else {
                    return Err(AttemptError::malformed(&what, "missing in the response"));
                };
                match result.error_code {
                    ErrorCode::None => Ok(()),
                    ErrorCode::TopicAlreadyExists if unclear => Ok(()),
                    code => {
                        unclear |= goes_on(code);
                        Err(AttemptError::code(&what, code, result.error_message.as_deref()))
                    }
                }
            })
            .await?;
        let described = self
            .calls
            .retrying(deadline, async |calls| {
                let described = describe(calls, deadline, std::slice::from_ref(&name)).await;
                let mut cluster = described.map_err(|failure| match failure.retry {
                    Retry::AFewTimes => AttemptError { retry: Retry::UntilDeadline, ..failure }, // the brokers do not all know the topic yet
                    Retry::Never | Retry::UntilDeadline => failure,
                })?;
                match cluster.topics.remove(&name) {
                    Some(topic) if topic.partitions.values().all(|partition| partition.leader.is_some()) => {
                        Ok(topic)
                    }
                    _ => Err(AttemptError::code(&what, ErrorCode::LeaderNotAvailable, None)),
                }
            })
            .await?;
        Ok(description(name, described))
    }

    /// Deletes a topic with all of its records, and waits until the cluster no longer has it.
    pub async fn delete_topic(&mut self, topic: &str) -> Result<()> {
        let deadline = self.deadline();
        let what = format!("delete topic `{topic}`");
        let name: Topic = topic.into();
        let named = TopicSelection::Named(vec![name.clone()]);
        let before =
            self.calls.retrying(deadline, async |calls| calls.cluster(&what, deadline, &named).await).await?;
        let id = before.topics.get(&name).map(|topic| topic.id).filter(|id| *id != Uuid::ZERO);
        let mut unclear = false;
        self.calls
            .retrying(deadline, async |calls| {
                let request = DeleteTopicsRequest {
                    topics: vec![DeleteTopicState {
                        name: Some(topic.to_owned()),
                        ..DeleteTopicState::default()
                    }],
                    topic_names: vec![topic.to_owned()],
                    timeout_ms: millis_left(deadline),
                };
                let to = controller(calls, &what, deadline).await?;
                let answer = calls.call_once(&mut unclear, &what, deadline, to, request).await?;
                match answer.responses.into_iter().next() {
                    None => Err(AttemptError::malformed(&what, "missing in the response")),
                    Some(result) => match result.error_code {
                        ErrorCode::None => Ok(()),
                        ErrorCode::UnknownTopicOrPartition if unclear => Ok(()),
                        code => {
                            unclear |= goes_on(code);
                            Err(AttemptError::code(&what, code, result.error_message.as_deref()))
                        }
                    },
                }
            })
            .await?;
        self.calls
            .retrying(deadline, async |calls| {
                let cluster = calls.cluster(&what, deadline, &named).await?;
                match cluster.topics.get(&name) {
                    // It was created again meanwhile.
                    Some(other) if id.is_some_and(|id| other.id != Uuid::ZERO && other.id != id) => Ok(()),
                    Some(still) if still.error == ErrorCode::None => {
                        let error =
                            Error::new(ErrorKind::Timeout, format!("topic `{name}` is still being deleted"));
                        Err(AttemptError { error, retry: Retry::UntilDeadline })
                    }
                    _ => Ok(()),
                }
            })
            .await
    }
}

/// The topics, or the error of one of them.
pub(super) async fn describe(
    calls: &mut Calls,
    deadline: std::time::Instant,
    topics: &[Topic],
) -> Result<Cluster, AttemptError> {
    let what = match topics {
        [one] => format!("describe topic `{one}`"),
        _ => "describe topics".to_owned(),
    };
    let cluster = calls.cluster(&what, deadline, &TopicSelection::Named(topics.to_vec())).await?;
    for name in topics {
        let what = format!("describe topic `{name}`");
        match cluster.topics.get(name) {
            None => return Err(AttemptError::malformed(&what, "missing in the response")),
            Some(topic) if topic.error != ErrorCode::None => {
                return Err(AttemptError::code(&what, topic.error, None));
            }
            Some(_) => {}
        }
    }
    Ok(cluster)
}

/// Whether the controller may still carry out the request after this response.
fn goes_on(code: ErrorCode) -> bool {
    code == ErrorCode::RequestTimedOut
}

/// The broker that creates and deletes topics. A cluster without ZooKeeper names any broker, which forwards the request.
async fn controller(
    calls: &mut Calls,
    what: &str,
    deadline: std::time::Instant,
) -> Result<Target, AttemptError> {
    let cluster = calls.cluster(what, deadline, &TopicSelection::None).await?;
    let known = cluster.controller.filter(|id| cluster.brokers.contains_key(id));
    known.map(Target::Broker).ok_or_else(|| AttemptError::code(what, ErrorCode::NotController, None))
}

fn creatable(topic: &NewTopic) -> CreatableTopic {
    let configs = topic.configs.iter();
    CreatableTopic {
        name: topic.name.clone(),
        num_partitions: topic.partitions.unwrap_or(-1),
        replication_factor: topic.replication.unwrap_or(-1),
        configs: configs
            .map(|(name, value)| CreatableTopicConfig { name: name.clone(), value: Some(value.clone()) })
            .collect(),
        ..CreatableTopic::default()
    }
}

pub(super) fn description(name: Topic, topic: TopicInfo) -> TopicDescription {
    let id = (topic.id != Uuid::ZERO).then(|| topic.id.to_string());
    TopicDescription { name, id, internal: topic.internal, partitions: topic.partitions }
}

pub(super) fn millis_left(deadline: std::time::Instant) -> i32 {
    let left: Duration = deadline.saturating_duration_since(clock::now());
    i32::try_from(left.as_millis()).unwrap_or(i32::MAX)
}
