//! DescribeConfigs: the settings in force of topics, brokers and groups (KIP-226, KIP-569; of groups: KIP-848).

use crate::{ErrorCode, message::message};

/// The resource type of a consumer group's settings.
pub const GROUP: i8 = 32;

message! {
    1..=4, flexible 4..;

    /// The settings and resources to describe.
    pub struct DescribeConfigsRequest {
        resources: Vec<DescribeConfigsResource>,
        include_synonyms: bool,
        include_documentation: bool [3..],
    }

    /// One requested resource.
    pub struct DescribeConfigsResource {
        /// 2: topic, 4: broker, 32: [group](GROUP).
        resource_type: i8,
        resource_name: String,
        /// Null: all of them.
        configuration_keys: Option<Vec<String>>,
    }

    /// The settings of each resource.
    pub struct DescribeConfigsResponse {
        throttle_time_ms: i32,
        results: Vec<DescribeConfigsResult>,
    }

    /// One resource.
    pub struct DescribeConfigsResult {
        error_code: ErrorCode,
        error_message: Option<String>,
        resource_type: i8,
        resource_name: String,
        configs: Vec<DescribeConfigsResourceResult>,
    }

    /// One setting.
    pub struct DescribeConfigsResourceResult {
        name: String,
        /// Null if it is secret.
        value: Option<String>,
        read_only: bool,
        config_source: i8 = -1,
        is_sensitive: bool,
        synonyms: Vec<DescribeConfigsSynonym>,
        config_type: i8 [ignorable 3..],
        documentation: Option<String> [ignorable 3..],
    }

    /// Another source of the setting's value.
    pub struct DescribeConfigsSynonym {
        name: String,
        value: Option<String>,
        source: i8,
    }
}
