//! What came of commits and queries, and what is wrong, as the application is told.

use std::collections::BTreeMap;

use offtake_client::CommitReport;
use offtake_group::GroupError;
use offtake_machine::{BrokerId, ListedOffset, TopicPartition};
use offtake_offsets::{CommitError, CommitOutcome, QueryError, QueryOutcome};
use offtake_wire::ErrorCode;

use crate::{
    error::{Error, ErrorKind, Result},
    offsets::{OffsetAndMetadata, OffsetAndTimestamp},
    unreadable::error_kind,
};

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
        Failed::Records(fault) => (error_kind(fault), None, past(error)),
        Failed::NoProgress { .. } => (ErrorKind::Corrupt, None, "; the partition stops there".to_owned()),
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
