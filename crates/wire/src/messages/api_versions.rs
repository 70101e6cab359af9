//! ApiVersions: the versions of each API that the broker supports (KIP-35, KIP-511, KIP-584).
//!
//! The response always has header version 0, so that a client can read the refusal of a version that it guessed; the broker
//! answers such a request with a version 0 body.

use crate::message::message;

message! {
    0..=4, flexible 3..;

    /// Requests the supported versions.
    pub struct ApiVersionsRequest {
        client_software_name: String [ignorable 3..],
        client_software_version: String [ignorable 3..],
    }

    /// The version ranges of a broker, and the features of its cluster.
    pub struct ApiVersionsResponse {
        error_code: crate::ErrorCode,
        api_keys: Vec<ApiVersion>,
        throttle_time_ms: i32 [ignorable 1..],
        supported_features: Vec<SupportedFeatureKey> [ignorable 3.., tag 0],
        /// -1: unknown.
        finalized_features_epoch: i64 [ignorable 3.., tag 1] = -1,
        finalized_features: Vec<FinalizedFeatureKey> [ignorable 3.., tag 2],
        zk_migration_ready: bool [ignorable 3.., tag 3],
    }

    /// The versions of one API.
    pub struct ApiVersion {
        /// A number, because brokers have APIs that are unknown here.
        api_key: i16,
        min_version: i16,
        max_version: i16,
    }

    /// A feature that the broker supports.
    pub struct SupportedFeatureKey {
        name: String,
        min_version: i16,
        max_version: i16,
    }

    /// A feature level that is in force in the whole cluster.
    pub struct FinalizedFeatureKey {
        name: String,
        max_version_level: i16,
        min_version_level: i16,
    }
}
