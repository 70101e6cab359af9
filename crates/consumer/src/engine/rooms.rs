//! The configuration as each room wants it, and each room's results as the application wants them.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use offtake_group::{GroupError, Strategy};
use offtake_machine::{BackoffConfig, BrokerId, ListedOffset, MetadataConfig, OffsetSpec, TopicPartition};
use offtake_net::{Dial, Net};
use offtake_offsets::{CommitError, CommitOutcome, QueryError, QueryOutcome};
use offtake_wire::ErrorCode;

use super::command::ListAt;
use crate::{
    committing::CommitReport,
    config::{AutoOffsetReset, Config, GroupProtocol, MetadataRecoveryStrategy},
    error::{Error, ErrorKind, Result},
    offsets::{OffsetAndMetadata, OffsetAndTimestamp},
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
        isolation: config.isolation_level,
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
pub(crate) struct NetParts {
    config: offtake_net::Config,
    bootstrap: Vec<(String, u16)>,
    dial: Option<Arc<dyn Dial>>,
}

impl NetParts {
    pub(super) fn make(self) -> Net {
        match self.dial {
            Some(dial) => Net::with_dial(self.config, self.bootstrap, dial),
            None => Net::new(self.config, self.bootstrap),
        }
    }
}

pub(crate) fn net_config(config: &Config, seed: u64) -> offtake_net::Config {
    offtake_net::Config {
        client_id: config.sent_client_id().to_owned(),
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

pub(super) fn net(config: &Config, seed: u64, dial: Option<Arc<dyn Dial>>) -> NetParts {
    NetParts { config: net_config(config, seed), bootstrap: config.bootstrap_servers.clone(), dial }
}

pub(super) fn offsets(config: &Config, seed: u64, wall: (Instant, i64)) -> offtake_offsets::Config {
    offtake_offsets::Config {
        group: config.group_id.clone(),
        reset: match config.auto_offset_reset {
            AutoOffsetReset::Earliest => offtake_offsets::ResetPolicy::Earliest,
            AutoOffsetReset::Latest => offtake_offsets::ResetPolicy::Latest,
            AutoOffsetReset::None => offtake_offsets::ResetPolicy::None,
            AutoOffsetReset::ByDuration(ago) => offtake_offsets::ResetPolicy::ByDuration(ago),
        },
        isolation: config.isolation_level,
        request_timeout: config.request_timeout,
        backoff: backoff(config),
        wall,
        seed,
    }
}

pub(super) fn group(config: &Config, assignors: &[Strategy], seed: u64) -> offtake_group::Config {
    let group = config.group_id.clone().unwrap_or_default();
    offtake_group::Config {
        instance_id: config.group_instance_id.clone(),
        protocol: match config.group_protocol {
            GroupProtocol::Classic => offtake_group::Protocol::Classic,
            GroupProtocol::Consumer => {
                offtake_group::Protocol::Consumer { remote_assignor: config.group_remote_assignor.clone() }
            }
        },
        session_timeout: config.session_timeout,
        heartbeat_interval: config.heartbeat_interval,
        rebalance_timeout: config.max_poll_interval,
        request_timeout: config.request_timeout,
        backoff: backoff(config),
        assignors: assignors.to_vec(),
        rack: Some(config.client_rack.clone()).filter(|rack| !rack.is_empty()),
        seed,
        ..offtake_group::Config::new(group)
    }
}

// ---- between two rooms -------------------------------------------------------------------------------------------

pub(super) fn list_spec(at: ListAt) -> OffsetSpec {
    match at {
        ListAt::Earliest => OffsetSpec::Earliest,
        ListAt::Latest => OffsetSpec::Latest,
        ListAt::Timestamp(at) => OffsetSpec::Timestamp(at),
    }
}

// ---- what the application is told --------------------------------------------------------------------------------

/// What became of a commit, partition by partition (FAILURES H5).
pub(super) fn committed(outcome: CommitOutcome, explain: impl Fn(Error) -> Error) -> Result<()> {
    if outcome.values().all(Result::is_ok) {
        return Ok(());
    }
    let outcomes = outcome.into_iter().map(|(partition, result)| {
        let result = result.map_err(|error| explain(not_committed(&partition, &error)));
        (partition, result)
    });
    CommitReport::verdict(outcomes.collect())
}

fn not_committed(partition: &TopicPartition, error: &CommitError) -> Error {
    let kind = match error {
        CommitError::NotOwned => ErrorKind::NotOwned,
        CommitError::NoGroup | CommitError::NegativeOffset(_) => ErrorKind::Misuse,
        CommitError::TimedOut(_) => ErrorKind::Timeout,
        CommitError::QueueFull | CommitError::MetadataTooLong(_) | CommitError::Failed(_) => {
            match error.code() {
                Some(ErrorCode::GroupAuthorizationFailed | ErrorCode::TopicAuthorizationFailed) => {
                    ErrorKind::Authorization
                }
                Some(ErrorCode::FencedInstanceId) => ErrorKind::Fenced,
                _ => ErrorKind::CommitFailed,
            }
        }
    };
    let advice = match error {
        CommitError::MetadataTooLong(_) => "; shorten the metadata",
        error if error.code() == Some(ErrorCode::OffsetMetadataTooLarge) => {
            "; shorten the metadata, or raise the brokers' offset.metadata.max.bytes"
        }
        _ => "",
    };
    coded(
        Error::new(kind, format!("the offset of {partition} was not committed: {error}{advice}")),
        error.code(),
    )
    .with_partition(partition.clone())
}

pub(super) fn committed_offsets(
    outcome: QueryOutcome,
) -> Result<BTreeMap<TopicPartition, OffsetAndMetadata>> {
    let QueryOutcome::Committed(answers) = outcome else { return Err(mixed_up()) };
    let mut found = BTreeMap::new();
    for (partition, answer) in answers {
        match answer {
            Ok(Some(offset)) => drop(found.insert(partition, offset)),
            Ok(None) => {}
            Err(error) => return Err(unanswered(&partition, &error)),
        }
    }
    Ok(found)
}

pub(super) fn listed_offsets(outcome: QueryOutcome) -> Result<BTreeMap<TopicPartition, OffsetAndTimestamp>> {
    let QueryOutcome::Listed(answers) = outcome else { return Err(mixed_up()) };
    let mut found = BTreeMap::new();
    for (partition, answer) in answers {
        match answer {
            Ok(Some(ListedOffset { offset, timestamp, leader_epoch })) => {
                found.insert(partition, OffsetAndTimestamp { offset, timestamp, leader_epoch });
            }
            Ok(None) => {}
            Err(error) => return Err(unanswered(&partition, &error)),
        }
    }
    Ok(found)
}

fn unanswered(partition: &TopicPartition, error: &QueryError) -> Error {
    let kind = match (error, error.code()) {
        (_, Some(ErrorCode::GroupAuthorizationFailed | ErrorCode::TopicAuthorizationFailed)) => {
            ErrorKind::Authorization
        }
        (_, Some(ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId)) => ErrorKind::UnknownTopic,
        (QueryError::NoGroup, _) => ErrorKind::Misuse,
        (QueryError::TimedOut(_) | QueryError::Failed(_), _) => ErrorKind::Timeout,
    };
    coded(Error::new(kind, format!("the offset of {partition} is not known: {error}")), error.code())
        .with_partition(partition.clone())
}

fn mixed_up() -> Error {
    Error::new(ErrorKind::Malformed, "the answer belongs to another question")
}

pub(super) fn offsets_failed(partition: &TopicPartition, error: &offtake_offsets::PartitionError) -> Error {
    use offtake_offsets::PartitionError as Failed;
    let (kind, advice) = match error {
        Failed::NoOffset | Failed::OffsetOutOfRange { .. } | Failed::LogTruncated { .. } => {
            (ErrorKind::NoOffset, "; seek to where it is to go on")
        }
        Failed::NegativeOffset(_) => (ErrorKind::Misuse, ""),
        Failed::Unresolved(_) => (authorization_or(error.code(), ErrorKind::Unreachable), "; trying again"),
    };
    coded(Error::new(kind, format!("{partition}: {error}{advice}")), error.code())
        .with_partition(partition.clone())
}

pub(super) fn fetch_failed(partition: &TopicPartition, error: &offtake_fetch::PartitionError) -> Error {
    use offtake_fetch::PartitionError as Failed;
    let (kind, code, advice) = match error {
        Failed::Records(fault) if fault.is_too_large() => (ErrorKind::TooLarge, None, past(error)),
        Failed::Records(_) => (ErrorKind::Corrupt, None, past(error)),
        Failed::NoProgress { .. } => (ErrorKind::TooLarge, None, "; the partition stops there".to_owned()),
        Failed::TooLarge { size, .. } => {
            let raise = format!("; raise receive.message.max.bytes to at least {size}, or seek past it");
            (ErrorKind::TooLarge, None, format!("{raise}; the partition stops there"))
        }
        Failed::Refused(code) => {
            (authorization_or(Some(*code), ErrorKind::Malformed), Some(*code), "; trying again".to_owned())
        }
    };
    coded(Error::new(kind, format!("{partition}: {error}{advice}")), code).with_partition(partition.clone())
}

fn past(error: &offtake_fetch::PartitionError) -> String {
    match error.offsets() {
        Some((_, last)) => {
            format!("; the partition stops there, seek to {} to go on without them", last.saturating_add(1))
        }
        None => "; the partition stops there".to_owned(),
    }
}

pub(super) fn broker_failing(broker: BrokerId, error: &offtake_fetch::BrokerError) -> Error {
    Error::new(ErrorKind::Unreachable, format!("fetching from {broker} fails: {error}; trying again"))
}

pub(super) fn group_failed(error: &GroupError) -> Error {
    let (kind, code) = match error {
        GroupError::GroupAuthorizationFailed { .. } => {
            (ErrorKind::Group, Some(ErrorCode::GroupAuthorizationFailed))
        }
        GroupError::FencedInstanceId { .. } => (ErrorKind::Fenced, Some(ErrorCode::FencedInstanceId)),
        GroupError::UnreleasedInstanceId { .. } => (ErrorKind::Fenced, Some(ErrorCode::UnreleasedInstanceId)),
        GroupError::InconsistentGroupProtocol { .. } => {
            (ErrorKind::Group, Some(ErrorCode::InconsistentGroupProtocol))
        }
        GroupError::GroupMaxSizeReached { .. } => (ErrorKind::Group, Some(ErrorCode::GroupMaxSizeReached)),
        GroupError::InvalidSessionTimeout { .. } => {
            (ErrorKind::Group, Some(ErrorCode::InvalidSessionTimeout))
        }
        GroupError::UnsupportedVersion { .. } => (ErrorKind::Unsupported, None),
        GroupError::InvalidPattern { .. } => (ErrorKind::Group, Some(ErrorCode::InvalidRegularExpression)),
        GroupError::Refused { code, .. } => (ErrorKind::Group, Some(*code)),
        GroupError::NotEncodable { .. } => (ErrorKind::Group, None),
    };
    coded(Error::new(kind, error.to_string()), code)
}

pub(super) fn coordinator_refused(group: &str, code: ErrorCode) -> Error {
    let message = match code {
        ErrorCode::GroupAuthorizationFailed => {
            format!("not authorised for group {group}; it needs the READ permission on the group")
        }
        code => format!("the coordinator of group {group} cannot be found: {code}"),
    };
    Error::new(ErrorKind::Group, message).with_code(code)
}

fn authorization_or(code: Option<ErrorCode>, kind: ErrorKind) -> ErrorKind {
    match code {
        Some(ErrorCode::TopicAuthorizationFailed | ErrorCode::GroupAuthorizationFailed) => {
            ErrorKind::Authorization
        }
        _ => kind,
    }
}

fn coded(error: Error, code: Option<ErrorCode>) -> Error {
    match code {
        Some(code) => error.with_code(code),
        None => error,
    }
}
