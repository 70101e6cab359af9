//! Creating, deleting and extending topics.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::{
    error::ResponseError,
    messages::{
        CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
        DeleteTopicsRequest, DeleteTopicsResponse, TopicName,
        create_partitions_request::CreatePartitionsTopic,
        create_partitions_response::CreatePartitionsTopicResult,
        create_topics_request::CreatableTopic,
        create_topics_response::{CreatableTopicConfigs, CreatableTopicResult},
        delete_topics_response::DeletableTopicResult,
    },
};
use uuid::Uuid;

use super::{Refusal, settings, text};
use crate::{
    model::Model,
    request::{Context, Reply},
};

impl Model {
    pub(crate) fn handle_create_topics(&mut self, context: &Context, request: CreateTopicsRequest) -> Reply {
        let repeated = repeated(request.topics.iter().map(|topic| topic.name.clone()));
        let mut results = Vec::with_capacity(request.topics.len());
        for topic in request.topics.iter().filter(|topic| !repeated.contains(&topic.name)) {
            let result = match self.create(topic, request.validate_only) {
                Ok(result) => result,
                Err(refusal) => self.not_created(context, &topic.name, &refusal),
            };
            results.push(result);
        }
        for name in repeated {
            let refusal = Refusal::new(ResponseError::InvalidRequest, "this topic is named twice");
            results.push(self.not_created(context, &name, &refusal));
        }
        CreateTopicsResponse::default().with_topics(results).into()
    }

    fn create(
        &mut self,
        topic: &CreatableTopic,
        validate_only: bool,
    ) -> Result<CreatableTopicResult, Refusal> {
        self.check_new_topic(&topic.name)?;
        let mut configs = BTreeMap::new();
        for config in &topic.configs {
            let Some(value) = &config.value else {
                let message = format!("no value for {}", config.name.as_str());
                return Err(Refusal::new(ResponseError::InvalidConfig, message));
            };
            configs.insert(config.name.to_string(), value.to_string());
        }
        settings::check_all(&configs)?;
        let replicas = if topic.assignments.is_empty() {
            self.place_topic(topic.num_partitions, topic.replication_factor)?
        } else {
            self.assigned(topic)?
        };
        let (partitions, factor) = (replicas.len(), replicas.first().map_or(0, Vec::len));
        let shown = settings::SETTINGS.iter().map(|setting| {
            let (value, source) = settings::effective(&self.config, &configs, setting);
            CreatableTopicConfigs::default()
                .with_name(text(setting.name))
                .with_value(Some(text(&value)))
                .with_config_source(source as i8)
        });
        let shown = shown.collect();
        let id = if validate_only {
            self.random.uuid()
        } else {
            self.insert_topic(&topic.name, replicas, configs)
        };
        Ok(CreatableTopicResult::default()
            .with_name(topic.name.clone())
            .with_topic_id(id)
            .with_error_message(None)
            .with_num_partitions(i32::try_from(partitions).unwrap_or(i32::MAX))
            .with_replication_factor(i16::try_from(factor).unwrap_or(i16::MAX))
            .with_configs(Some(shown)))
    }

    /// The replicas that a CreateTopics request itself assigns.
    fn assigned(&self, topic: &CreatableTopic) -> Result<Vec<Vec<i32>>, Refusal> {
        if topic.replication_factor != -1 || topic.num_partitions != -1 {
            let message = "replicas are named, so the counts must be -1";
            return Err(Refusal::new(ResponseError::InvalidRequest, message));
        }
        let refuse = |message: String| Err(Refusal::new(ResponseError::InvalidReplicaAssignment, message));
        let mut by_partition = BTreeMap::new();
        let mut factor = None;
        for assignment in &topic.assignments {
            let replicas: Vec<i32> = assignment.broker_ids.iter().map(|broker| broker.0).collect();
            if by_partition.contains_key(&assignment.partition_index) {
                return refuse(format!("partition {} is named twice", assignment.partition_index));
            }
            self.check_assignment(&replicas, factor)?;
            factor = Some(replicas.len());
            by_partition.insert(assignment.partition_index, replicas);
        }
        if !by_partition.keys().copied().eq(super::create::indices(by_partition.len())) {
            return refuse("partitions are numbered from 0 without a gap".to_owned());
        }
        Ok(by_partition.into_values().collect())
    }

    fn not_created(
        &mut self,
        context: &Context,
        name: &TopicName,
        refusal: &Refusal,
    ) -> CreatableTopicResult {
        let code = self.report_refusal(context, refusal.error);
        CreatableTopicResult::default()
            .with_name(name.clone())
            .with_error_code(code)
            .with_error_message(refusal.text())
    }

    // ---- deleting ------------------------------------------------------------------------------------------------

    /// Kafka shuffles the answer; here the refused topics come first, then the deleted ones, in the order of the request.
    pub(crate) fn handle_delete_topics(&mut self, context: &Context, request: DeleteTopicsRequest) -> Reply {
        let mut asked: Vec<(Option<TopicName>, Uuid)> =
            request.topic_names.into_iter().map(|name| (Some(name), Uuid::nil())).collect();
        asked.extend(request.topics.into_iter().map(|topic| (topic.name, topic.topic_id)));
        let repeated = repeated(asked.iter().cloned());

        let mut told_repeated = BTreeSet::new();
        let mut named = BTreeSet::new();
        let mut by_both = BTreeSet::new();
        let mut refused = Vec::new();
        let mut deleted = Vec::new();
        for (name, id) in asked {
            let found = match (&name, id.is_nil()) {
                (None, true) | (Some(_), false) => {
                    Err(Refusal::new(ResponseError::InvalidRequest, "either a name or an id"))
                }
                _ if repeated.contains(&(name.clone(), id)) => {
                    if !told_repeated.insert((name.clone(), id)) {
                        continue;
                    }
                    Err(Refusal::new(ResponseError::InvalidRequest, "this topic is named twice"))
                }
                (Some(name), true) => {
                    let known = self.topics.all.contains_key(name.as_str()).then(|| name.to_string());
                    known.ok_or_else(|| {
                        Refusal::new(ResponseError::UnknownTopicOrPartition, "there is no such topic")
                    })
                }
                (None, false) => self.topics.name_of(id).map(str::to_owned).ok_or_else(|| {
                    Refusal::new(ResponseError::UnknownTopicId, "there is no topic with this id")
                }),
            };
            match found {
                Ok(found) if named.insert(found.clone()) => deleted.push(found),
                Ok(found) => {
                    by_both.insert(found);
                }
                Err(refusal) => refused.push(self.not_deleted(context, name, id, &refusal)),
            }
        }
        for name in deleted {
            let id = self.topics.all.get(&name).map_or(Uuid::nil(), |topic| topic.id);
            let result =
                DeletableTopicResult::default().with_name(Some(text(&name).into())).with_topic_id(id);
            if by_both.contains(&name) {
                let refusal =
                    Refusal::new(ResponseError::InvalidRequest, "its name and its id are both there");
                refused.push(self.not_deleted(context, result.name, id, &refusal));
                continue;
            }
            refused.push(match self.delete_topic(&name) {
                Ok(()) => result,
                Err(error) => result.with_error_code(error.code()),
            });
        }
        DeleteTopicsResponse::default().with_responses(refused).into()
    }

    fn not_deleted(
        &mut self,
        context: &Context,
        name: Option<TopicName>,
        id: Uuid,
        refusal: &Refusal,
    ) -> DeletableTopicResult {
        let code = self.report_refusal(context, refusal.error);
        DeletableTopicResult::default()
            .with_name(name)
            .with_topic_id(id)
            .with_error_code(code)
            .with_error_message(refusal.text())
    }

    // ---- adding partitions ---------------------------------------------------------------------------------------

    pub(crate) fn handle_create_partitions(
        &mut self,
        context: &Context,
        request: CreatePartitionsRequest,
    ) -> Reply {
        let repeated = repeated(request.topics.iter().map(|topic| topic.name.clone()));
        let mut results = Vec::with_capacity(request.topics.len());
        for name in &repeated {
            let refusal = Refusal::new(ResponseError::InvalidRequest, "this topic is named twice");
            results.push(self.not_grown(context, name, &refusal));
        }
        for topic in request.topics.iter().filter(|topic| !repeated.contains(&topic.name)) {
            let result = match self.more_replicas(topic) {
                Ok(replicas) => {
                    if !request.validate_only {
                        self.grow_topic(&topic.name, replicas);
                    }
                    CreatePartitionsTopicResult::default().with_name(topic.name.clone())
                }
                Err(refusal) => self.not_grown(context, &topic.name, &refusal),
            };
            results.push(result);
        }
        CreatePartitionsResponse::default().with_results(results).into()
    }

    fn more_replicas(&self, topic: &CreatePartitionsTopic) -> Result<Vec<Vec<i32>>, Refusal> {
        let missing = self.missing_partitions(&topic.name, topic.count)?;
        let Some(assignments) = &topic.assignments else { return self.place_more(&topic.name, topic.count) };
        if assignments.len() != missing {
            let message = format!("{} new partitions, replicas for {}", missing, assignments.len());
            return Err(Refusal::new(ResponseError::InvalidReplicaAssignment, message));
        }
        let factor = self.topics.partition(&topic.name, 0).map(|first| first.replicas.len());
        let replicas: Vec<Vec<i32>> = assignments
            .iter()
            .map(|assignment| assignment.broker_ids.iter().map(|broker| broker.0).collect())
            .collect();
        replicas.iter().try_for_each(|replicas| self.check_assignment(replicas, factor))?;
        Ok(replicas)
    }

    fn not_grown(
        &mut self,
        context: &Context,
        name: &TopicName,
        refusal: &Refusal,
    ) -> CreatePartitionsTopicResult {
        let code = self.report_refusal(context, refusal.error);
        CreatePartitionsTopicResult::default()
            .with_name(name.clone())
            .with_error_code(code)
            .with_error_message(refusal.text())
    }
}

/// The items that occur more than once.
fn repeated<T: Ord + Clone>(items: impl Iterator<Item = T>) -> BTreeSet<T> {
    let mut seen = BTreeSet::new();
    items.filter(|item| !seen.insert(item.clone())).collect()
}
