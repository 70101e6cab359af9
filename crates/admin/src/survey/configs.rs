//! The configurations of many topics.

use std::collections::BTreeMap;

use offtake_machine::{BrokerId, Topic};
use offtake_wire::{
    ErrorCode, Message,
    messages::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource},
};

use super::{Answers, Survey};

/// The most topics in one request.
const TOPICS: usize = 1000;
/// The resource type of topics.
const TOPIC: i8 = 2;

impl Survey<'_> {
    /// The values in force of these settings for each topic, requested from one broker; settings without a value are left out.
    pub async fn topic_configs(
        &mut self,
        broker: BrokerId,
        topics: &[Topic],
        names: &[&str],
    ) -> Answers<Topic, BTreeMap<String, String>> {
        const WHAT: &str = "read the settings of topics";
        let resource = |topic: &Topic| DescribeConfigsResource {
            resource_type: TOPIC,
            resource_name: topic.as_str().to_owned(),
            configuration_keys: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        };
        let requests = topics.chunks(TOPICS).map(|topics| {
            let resources = topics.iter().map(resource).collect();
            let request = DescribeConfigsRequest { resources, ..DescribeConfigsRequest::default() };
            (topics.to_vec(), broker, request)
        });
        let requests = requests.collect();
        self.ask(DescribeConfigsRequest::VERSIONS.max, WHAT, requests, |answers, broker, _, answer| {
            for result in answer.results {
                let topic = Topic::from(result.resource_name);
                match result.error_code {
                    ErrorCode::None => {
                        let configs = result.configs.into_iter();
                        let configs = configs.filter_map(|config| Some((config.name, config.value?)));
                        answers.found.insert(topic, configs.collect());
                    }
                    code => answers.fail(broker, topic, WHAT, code),
                }
            }
        })
        .await
    }
}
