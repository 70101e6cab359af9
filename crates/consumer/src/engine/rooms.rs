//! The configuration as each room wants it, and each room's results as the application wants them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use offtake_machine::{BackoffConfig, MetadataConfig, TopicPartition, Transmit};
use offtake_net::Lane;
use offtake_wire::{ErrorCode, Request};

use super::command::ListAt;
use crate::{
    config::{AssignmentStrategy, AutoOffsetReset, Config, GroupProtocol, IsolationLevel, MetadataRecoveryStrategy},
    error::{Error, ErrorKind, Result},
    offsets::{OffsetAndMetadata, OffsetAndTimestamp, StartAt},
};

// ---- what each room is told --------------------------------------------------------------------------------------

pub(super) fn backoff(config: &Config) -> BackoffConfig {
    BackoffConfig { base: config.retry_backoff, max: config.retry_backoff_max }
}

pub(super) fn metadata(config: &Config, seed: u64) -> MetadataConfig {
    let rebootstrap = config.metadata_recovery_strategy == MetadataRecoveryStrategy::Rebootstrap;
    MetadataConfig {
        request_timeout: config.request_timeout,
        max_age: config.metadata_max_age,
        backoff: backoff(config),
        allow_auto_topic_creation: config.allow_auto_create_topics,
        rebootstrap_after: rebootstrap.then_some(config.metadata_recovery_rebootstrap_trigger),
        seed,
    }
}

pub(super) fn fetch(config: &Config, seed: u64) -> offtake_fetch::Config {
    offtake_fetch::Config {
        min_bytes: clamped(config.fetch_min_bytes),
        max_bytes: clamped(config.fetch_max_bytes),
        max_partition_bytes: clamped(config.max_partition_fetch_bytes),
        max_wait: config.fetch_max_wait,
        isolation: match config.isolation_level {
            IsolationLevel::ReadUncommitted => offtake_fetch::Isolation::ReadUncommitted,
            IsolationLevel::ReadCommitted => offtake_fetch::Isolation::ReadCommitted,
        },
        rack: Some(config.client_rack.clone()).filter(|rack| !rack.is_empty()),
        budget: config.fetch_buffer_max_bytes,
        request_timeout: config.request_timeout,
        replica_lease: config.metadata_max_age,
        check_crcs: config.check_crcs,
        backoff: backoff(config),
        seed,
    }
}

fn clamped(bytes: u32) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}

/// What a [`Net`](offtake_net::Net) is made of; it is made on the runtime that it runs on.
pub(super) struct NetParts {
    pub(super) config: offtake_net::Config,
    pub(super) bootstrap: Vec<(String, u16)>,
}

pub(crate) fn net_config(config: &Config, seed: u64) -> offtake_net::Config {
    offtake_net::Config {
        client_id: if config.client_id.is_empty() { "offtake".to_owned() } else { config.client_id.clone() },
        connect_timeout: config.socket_connection_setup_timeout,
        connect_timeout_max: config.socket_connection_setup_timeout_max,
        handshake_timeout: config.request_timeout.min(Duration::from_secs(5)),
        reconnect: BackoffConfig { base: config.reconnect_backoff, max: config.reconnect_backoff_max },
        max_idle: config.connections_max_idle.unwrap_or(Duration::MAX),
        send_buffer: config.send_buffer.map(|bytes| bytes as usize),
        receive_buffer: config.receive_buffer.map(|bytes| bytes as usize),
        max_frame: config.largest_response(),
        seed,
        ..offtake_net::Config::default()
    }
}

pub(super) fn net(config: &Config, seed: u64) -> NetParts {
    NetParts { config: net_config(config, seed), bootstrap: config.bootstrap_servers.clone() }
}

/// Which connection a request of `offsets` goes over: the coordinator's are the group's.
pub(super) fn lane_of(transmit: &Transmit) -> Lane {
    match transmit.request {
        Request::OffsetCommit(_) | Request::OffsetFetch(_) => Lane::Group,
        _ => Lane::Control,
    }
}
