//! ApiVersions: which versions of which APIs the broker speaks (KIP-35, KIP-511, KIP-584).
//!
//! The response has header version 0 in every version, so that a client can read the refusal of a version
//! that it guessed; the broker answers such a request with a version 0 body.

use crate::message::message;

message! {
    0..=4, flexible 3..;

    /// What do you speak?
    pub struct ApiVersionsRequest {
        client_software_name: String [ignorable 3..],
        client_software_version: String [ignorable 3..],
    }

    /// The ranges of a broker, and the features of its cluster.
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
        /// A number, for brokers have APIs that we have no name for.
        api_key: i16,
        min_version: i16,
        max_version: i16,
    }

    /// What the broker could do.
    pub struct SupportedFeatureKey {
        name: String,
        min_version: i16,
        max_version: i16,
    }

    /// What the whole cluster has been told to do.
    pub struct FinalizedFeatureKey {
        name: String,
        max_version_level: i16,
        min_version_level: i16,
    }
}
