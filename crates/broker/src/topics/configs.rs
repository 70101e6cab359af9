//! DescribeConfigs and IncrementalAlterConfigs: topics in full; for brokers and groups only the settings that were changed.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::{
    error::ResponseError,
    messages::{
        DescribeConfigsRequest, DescribeConfigsResponse, IncrementalAlterConfigsRequest,
        IncrementalAlterConfigsResponse,
        describe_configs_request::DescribeConfigsResource,
        describe_configs_response::{
            DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
        },
        incremental_alter_configs_request::AlterConfigsResource,
        incremental_alter_configs_response::AlterConfigsResourceResponse,
    },
    protocol::StrBytes,
};

use super::{
    Refusal, names,
    settings::{self, Kind, Setting, Source},
    text,
};
use crate::{
    groups::settings::{HEARTBEAT_INTERVAL, SESSION_TIMEOUT},
    model::Model,
    request::{Context, Reply},
};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

impl Model {
    pub(crate) fn handle_describe_configs(
        &mut self,
        context: &Context,
        request: DescribeConfigsRequest,
    ) -> Reply {
        let known = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];
        let strange = request.resources.iter().any(|resource| !known.contains(&resource.resource_type));
        let mut results = Vec::with_capacity(request.resources.len());
        for resource in request.resources {
            let entries = if strange {
                Err(Refusal::new(ResponseError::InvalidRequest, "a resource of an unknown type"))
            } else {
                self.described(context.broker, &resource)
            };
            let mut result = DescribeConfigsResult::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name);
            match entries {
                Ok(mut entries) => {
                    let wanted = resource.configuration_keys.filter(|keys| !keys.is_empty());
                    entries.retain(|entry| wanted.as_ref().is_none_or(|keys| keys.contains(&entry.name)));
                    if !request.include_synonyms {
                        entries.iter_mut().for_each(|entry| entry.synonyms.clear());
                    }
                    if context.version < 3 {
                        entries.iter_mut().for_each(|entry| entry.config_type = 0);
                    }
                    result = result.with_configs(entries);
                }
                Err(refusal) => {
                    result.error_code = self.report_refusal(context, refusal.error);
                    // Kafka gives no reason for a topic that does not exist.
                    if refusal.error != ResponseError::UnknownTopicOrPartition {
                        result.error_message = refusal.text();
                    }
                }
            }
            results.push(result);
        }
        DescribeConfigsResponse::default().with_results(results).into()
    }

    fn described(
        &self,
        asked: i32,
        resource: &DescribeConfigsResource,
    ) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
        let name = resource.resource_name.as_str();
        match resource.resource_type {
            TOPIC => {
                names::check(name)?;
                let topic = self.topics.all.get(name).ok_or_else(|| {
                    Refusal::new(ResponseError::UnknownTopicOrPartition, format!("no topic '{name}'"))
                })?;
                Ok(settings::SETTINGS
                    .iter()
                    .map(|setting| self.topic_entry(&topic.configs, setting))
                    .collect())
            }
            BROKER if name.is_empty() => Ok(self.dynamic_defaults()),
            BROKER | BROKER_LOGGER => {
                check_broker(name, asked)?;
                // The model has no broker loggers.
                Ok(if resource.resource_type == BROKER { self.broker_entries(asked) } else { Vec::new() })
            }
            _ if name.is_empty() => {
                Err(Refusal::new(ResponseError::InvalidRequest, "a resource without a name"))
            }
            GROUP => Ok(self.group_entries(name)),
            _ => Ok(Vec::new()),
        }
    }

    fn topic_entry(
        &self,
        own: &BTreeMap<String, String>,
        setting: &Setting,
    ) -> DescribeConfigsResourceResult {
        let (value, source) = settings::effective(&self.config, own, setting);
        let (inherited, from) = settings::inherited(&self.config, setting);
        let mut synonyms = Vec::new();
        if source == Source::Topic {
            synonyms.push(synonym(setting.name, &value, Source::Topic));
        }
        for (name, default) in setting.broker {
            if from != Source::Default {
                synonyms.push(synonym(name, &inherited, from));
            }
            synonyms.push(synonym(name, default, Source::Default));
        }
        entry(setting.name, &value, setting.kind.number(), source).with_synonyms(synonyms)
    }

    fn broker_entries(&self, broker: i32) -> Vec<DescribeConfigsResourceResult> {
        let config = &self.config;
        let mut values: BTreeMap<String, (String, i8)> = settings::SETTINGS
            .iter()
            .filter(|setting| setting.name != "max.message.bytes")
            .flat_map(|setting| {
                let number = match setting.kind {
                    // The broker's setting is in hours, and an int.
                    Kind::Long { .. } if setting.broker.iter().any(|(name, _)| name.ends_with(".hours")) => 3,
                    kind => kind.number(),
                };
                setting
                    .broker
                    .iter()
                    .map(move |(name, value)| ((*name).to_owned(), ((*value).to_owned(), number)))
            })
            .collect();
        let mut put = |name: &str, value: String, number: i8| {
            values.insert(name.to_owned(), (value, number));
        };
        put("auto.create.topics.enable", config.auto_create_topics.to_string(), 1);
        put("broker.id", broker.to_string(), 3);
        put("default.replication.factor", config.replication_factor.to_string(), 3);
        put("fetch.max.bytes", config.fetch_max_bytes.to_string(), 3);
        put(
            "group.consumer.heartbeat.interval.ms",
            config.consumer_heartbeat_interval.as_millis().to_string(),
            3,
        );
        put("group.consumer.session.timeout.ms", config.consumer_session_timeout.as_millis().to_string(), 3);
        put("group.initial.rebalance.delay.ms", config.initial_rebalance_delay.as_millis().to_string(), 3);
        put("group.max.session.timeout.ms", config.max_session_timeout.as_millis().to_string(), 3);
        put("group.max.size", config.group_max_size.min(i32::MAX as usize).to_string(), 3);
        put("group.min.session.timeout.ms", config.min_session_timeout.as_millis().to_string(), 3);
        put("message.max.bytes", config.max_message_bytes.to_string(), 3);
        put("node.id", broker.to_string(), 3);
        put("num.partitions", config.num_partitions.to_string(), 3);
        put("offset.metadata.max.bytes", config.offset_metadata_max_bytes.to_string(), 3);
        put("socket.request.max.bytes", config.max_frame.to_string(), 3);
        let own = self.topics.broker_configs.get(&broker.to_string());
        let all = self.topics.broker_configs.get("");
        let described = values.into_iter().map(|(name, (value, number))| {
            let static_value = synonym(&name, &value, Source::StaticBroker);
            let layers = [(own, Source::DynamicBroker), (all, Source::DynamicDefault)];
            let set = layers.iter().find_map(|(layer, source)| Some((layer.as_ref()?.get(&name)?, *source)));
            let (value, source) =
                set.map_or((value.as_str(), Source::StaticBroker), |(value, source)| (value, source));
            let mut synonyms = vec![static_value];
            if source != Source::StaticBroker {
                synonyms.insert(0, synonym(&name, value, source));
            }
            entry(&name, value, number, source).with_synonyms(synonyms)
        });
        described.collect()
    }

    /// The settings changed for all brokers at run time.
    fn dynamic_defaults(&self) -> Vec<DescribeConfigsResourceResult> {
        let min_isr = ("min.insync.replicas", settings::DEFAULT_MIN_ISR.to_string());
        let mut values = BTreeMap::from([(min_isr.0.to_owned(), min_isr.1)]);
        values.extend(self.topics.broker_configs.get("").cloned().unwrap_or_default());
        let entries = values.iter().map(|(name, value)| {
            let number = broker_kind(name).map_or(2, Kind::number);
            let source = Source::DynamicDefault;
            entry(name, value, number, source).with_synonyms(vec![synonym(name, value, source)])
        });
        entries.collect()
    }

    fn group_entries(&self, group: &str) -> Vec<DescribeConfigsResourceResult> {
        let interval = (HEARTBEAT_INTERVAL, self.config.consumer_heartbeat_interval);
        let session = (SESSION_TIMEOUT, self.config.consumer_session_timeout);
        let own = self.groups.settings_of(group);
        let entries = [interval, session].map(|(name, time)| {
            let default = time.as_millis().to_string();
            let mut synonyms = vec![synonym(name, &default, Source::Default)];
            match own.get(name) {
                Some(value) => {
                    synonyms.insert(0, synonym(name, value, Source::Group));
                    entry(name, value, 3, Source::Group)
                }
                None => entry(name, &default, 3, Source::Default),
            }
            .with_synonyms(synonyms)
        });
        entries.into()
    }

    // ---- changing ------------------------------------------------------------------------------------------------

    pub(crate) fn handle_incremental_alter_configs(
        &mut self,
        context: &Context,
        request: IncrementalAlterConfigsRequest,
    ) -> Reply {
        let mut seen = BTreeSet::new();
        let repeated: BTreeSet<(i8, StrBytes)> = request
            .resources
            .iter()
            .map(|resource| (resource.resource_type, resource.resource_name.clone()))
            .filter(|resource| !seen.insert(resource.clone()))
            .collect();
        let mut responses = Vec::with_capacity(request.resources.len());
        for resource in request.resources {
            let key = (resource.resource_type, resource.resource_name.clone());
            let changed = if repeated.contains(&key) {
                Err(Refusal::new(ResponseError::InvalidRequest, "this resource is named twice"))
            } else {
                self.alter(context.broker, &resource, request.validate_only)
            };
            let mut response = AlterConfigsResourceResponse::default()
                .with_error_message(None)
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name);
            if let Err(refusal) = changed {
                response.error_code = self.report_refusal(context, refusal.error);
                response.error_message = refusal.text();
            }
            responses.push(response);
        }
        IncrementalAlterConfigsResponse::default().with_responses(responses).into()
    }

    fn alter(
        &mut self,
        asked: i32,
        resource: &AlterConfigsResource,
        validate_only: bool,
    ) -> Result<(), Refusal> {
        let name = resource.resource_name.as_str();
        let invalid = |message: &str| Err(Refusal::new(ResponseError::InvalidRequest, message));
        let keys: BTreeSet<&str> = resource.configs.iter().map(|config| config.name.as_str()).collect();
        if keys.len() != resource.configs.len() {
            return invalid("a setting is named twice");
        }
        if resource.configs.iter().any(|config| config.config_operation != DELETE && config.value.is_none()) {
            return invalid("a setting without a value");
        }
        if resource.configs.iter().any(|config| !(SET..=SUBTRACT).contains(&config.config_operation)) {
            // Not a deliberate code: the controller fails with an internal error.
            return Err(Refusal::silent(ResponseError::UnknownServerError));
        }
        let kind: fn(&str) -> Option<Kind> = match resource.resource_type {
            TOPIC => |name| settings::find(name).map(|setting| setting.kind),
            BROKER => {
                if !name.is_empty() {
                    check_broker(name, asked)?;
                }
                broker_kind
            }
            GROUP if name.is_empty() => return invalid("a group without a name"),
            GROUP => {
                let changed = apply(resource, self.groups.settings_of(name), |_| None)?;
                self.check_group_settings(&changed)
                    .map_err(|why| Refusal::new(ResponseError::InvalidConfig, why))?;
                if !validate_only {
                    self.groups.set(name, changed);
                }
                return Ok(());
            }
            CLIENT_METRICS | BROKER_LOGGER => return Ok(()),
            _ => return invalid("a resource of an unknown type"),
        };
        let existing = match resource.resource_type {
            TOPIC => self.topics.all.get(name).map(|topic| &topic.configs),
            _ => self.topics.broker_configs.get(name),
        };
        let changed = apply(resource, existing.cloned().unwrap_or_default(), kind)?;
        if resource.resource_type == BROKER {
            if !validate_only {
                self.topics.broker_configs.insert(name.to_owned(), changed);
            }
            return Ok(());
        }
        names::check(name)?;
        settings::check_all(&changed)?;
        let topic = self.topics.all.get_mut(name).ok_or_else(|| {
            Refusal::new(ResponseError::UnknownTopicOrPartition, format!("there is no topic '{name}'"))
        })?;
        if !validate_only {
            topic.configs = changed;
        }
        Ok(())
    }
}

/// The settings after a request's changes.
fn apply(
    resource: &AlterConfigsResource,
    mut configs: BTreeMap<String, String>,
    kind: fn(&str) -> Option<Kind>,
) -> Result<BTreeMap<String, String>, Refusal> {
    for config in &resource.configs {
        let (name, value) = (config.name.as_str(), config.value.as_deref().unwrap_or_default());
        let operation = config.config_operation;
        if matches!(operation, APPEND | SUBTRACT) && !kind(name).is_some_and(Kind::is_list) {
            return Err(Refusal::new(ResponseError::InvalidConfig, format!("{name} is not a list")));
        }
        let default = || settings::find(name).map_or("", |setting| setting.default).to_owned();
        let old = configs.get(name).cloned().unwrap_or_else(default);
        let mut items: Vec<&str> = old.split(',').filter(|item| !item.is_empty()).collect();
        match operation {
            SET => {
                configs.insert(name.to_owned(), value.to_owned());
                continue;
            }
            DELETE => {
                configs.remove(name);
                continue;
            }
            APPEND => {
                let new: Vec<&str> = value.split(',').filter(|item| !items.contains(item)).collect();
                items.extend(new);
            }
            _ => items.retain(|item| !value.split(',').any(|gone| gone == *item)),
        }
        configs.insert(name.to_owned(), items.join(","));
    }
    Ok(configs)
}

/// The kind of a topic's setting, by its name on brokers.
fn broker_kind(name: &str) -> Option<Kind> {
    let known = |setting: &&Setting| setting.broker.iter().any(|(broker, _)| *broker == name);
    settings::SETTINGS.iter().find(known).map(|setting| setting.kind)
}

/// A broker answers only about itself.
fn check_broker(name: &str, asked: i32) -> Result<(), Refusal> {
    match name.parse::<i32>() {
        Ok(id) if id == asked => Ok(()),
        Ok(id) => {
            Err(Refusal::new(ResponseError::InvalidRequest, format!("broker {asked} is asked about {id}")))
        }
        Err(_) => Err(Refusal::new(ResponseError::InvalidRequest, format!("'{name}' is not a broker id"))),
    }
}

fn entry(name: &str, value: &str, number: i8, source: Source) -> DescribeConfigsResourceResult {
    DescribeConfigsResourceResult::default()
        .with_name(text(name))
        .with_value(Some(text(value)))
        .with_config_source(source as i8)
        .with_config_type(number)
        .with_documentation(None)
}

fn synonym(name: &str, value: &str, source: Source) -> DescribeConfigsSynonym {
    DescribeConfigsSynonym::default()
        .with_name(text(name))
        .with_value(Some(text(value)))
        .with_source(source as i8)
}
