//! Results of commits and queries, and errors, as the application receives them.

use std::collections::BTreeMap;

use offtake_client::CommitReport;
use offtake_group::GroupError;
use offtake_machine::{BrokerId, CallError, ListedOffset, TopicPartition};
use offtake_offsets::{Cause, CommitError, CommitOutcome, QueryError, QueryOutcome};
use offtake_wire::{ApiKey, ErrorCode};

use crate::{
    error::{Error, ErrorKind, Result},
    offsets::{OffsetAndMetadata, OffsetAndTimestamp},
    unreadable::error_kind,
};

/// The result of a commit, partition by partition (FAILURES H5). `trouble` is why no broker can be reached, if none can.
pub(super) fn committed(
    outcome: CommitOutcome,
    trouble: Option<&CallError>,
    explain: impl Fn(Error) -> Error,
) -> Result<()> {
    if outcome.values().all(Result::is_ok) {
        return Ok(());
    }
    let outcomes = outcome.into_iter().map(|(partition, result)| {
        let result = result.map_err(|error| explain(not_committed(&partition, error, trouble)));
        (partition, result)
    });
    CommitReport::verdict(outcomes.collect())
}

fn not_committed(partition: &TopicPartition, mut error: CommitError, trouble: Option<&CallError>) -> Error {
    let late = match &mut error {
        CommitError::TimedOut(cause) => late(cause, trouble),
        _ => ErrorKind::Timeout,
    };
    let kind = match &error {
        CommitError::NotOwned => ErrorKind::NotOwned,
        CommitError::NoGroup | CommitError::NegativeOffset(_) => ErrorKind::Misuse,
        CommitError::TimedOut(_) => late,
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
    let advice = match &error {
        CommitError::MetadataTooLong(_) => "; shorten the metadata",
        error if error.code() == Some(ErrorCode::OffsetMetadataTooLarge) => {
            "; shorten the metadata, or raise the brokers' offset.metadata.max.bytes"
        }
        _ => "",
    };
    let message = format!("the offset of {partition} was not committed: {error}{advice}");
    let failed = coded(Error::new(kind, message), error.code()).with_partition(partition.clone());
    match error {
        CommitError::TimedOut(Some(cause)) | CommitError::Failed(cause) => caused(failed, cause),
        CommitError::TimedOut(None)
        | CommitError::NotOwned
        | CommitError::NoGroup
        | CommitError::NegativeOffset(_)
        | CommitError::MetadataTooLong(_)
        | CommitError::QueueFull => failed,
    }
}

/// The kind of the error of a call whose time is up. Where no broker can be reached, that is the cause, unless a broker has
/// answered with another.
fn late(cause: &mut Option<Cause>, trouble: Option<&CallError>) -> ErrorKind {
    let trouble = trouble.filter(|_| cause.as_ref().is_none_or(|cause| cause.code().is_none()));
    let kind = trouble.map(|trouble| Error::from(trouble.clone()).kind());
    match (trouble, kind) {
        // Other trouble, such as metadata that are too large, says nothing of the brokers that were to answer this.
        (Some(trouble), Some(kind)) if WHY_LATE.contains(&kind) => {
            *cause = Some(Cause::Call(trouble.clone()));
            kind
        }
        _ => ErrorKind::Timeout,
    }
}

/// The kinds that the error of a call has whose time is up, beside `Timeout`.
const WHY_LATE: [ErrorKind; 3] = [ErrorKind::Unreachable, ErrorKind::NotKafka, ErrorKind::Authentication];

/// Whether a commit failed because its time was up: the kind may say why that was.
pub(crate) fn was_late(error: &Error) -> bool {
    error.kind() == ErrorKind::Timeout || WHY_LATE.contains(&error.kind())
}

fn caused(error: Error, cause: Cause) -> Error {
    match cause {
        Cause::Call(cause) => error.caused_by(cause),
        cause => error.caused_by(cause),
    }
}

pub(super) fn committed_offsets(
    outcome: QueryOutcome,
    trouble: Option<&CallError>,
) -> Result<BTreeMap<TopicPartition, OffsetAndMetadata>> {
    let QueryOutcome::Committed(answers) = outcome else { return Err(mixed_up()) };
    let mut found = BTreeMap::new();
    for (partition, answer) in answers {
        match answer {
            Ok(Some(offset)) => drop(found.insert(partition, offset)),
            Ok(None) => {}
            Err(error) => return Err(unanswered("the committed offset", &partition, error, trouble)),
        }
    }
    Ok(found)
}

pub(super) fn listed_offsets(
    outcome: QueryOutcome,
    trouble: Option<&CallError>,
) -> Result<BTreeMap<TopicPartition, OffsetAndTimestamp>> {
    let QueryOutcome::Listed(answers) = outcome else { return Err(mixed_up()) };
    let mut found = BTreeMap::new();
    for (partition, answer) in answers {
        match answer {
            Ok(Some(ListedOffset { offset, timestamp, leader_epoch })) => {
                found.insert(partition, OffsetAndTimestamp { offset, timestamp, leader_epoch });
            }
            Ok(None) => {}
            Err(error) => return Err(unanswered("the offset", &partition, error, trouble)),
        }
    }
    Ok(found)
}

fn unanswered(
    what: &str,
    partition: &TopicPartition,
    mut error: QueryError,
    trouble: Option<&CallError>,
) -> Error {
    let late = match &mut error {
        QueryError::TimedOut(cause) => late(cause, trouble),
        _ => ErrorKind::Timeout,
    };
    let kind = match (&error, error.code()) {
        (_, Some(ErrorCode::GroupAuthorizationFailed | ErrorCode::TopicAuthorizationFailed)) => {
            ErrorKind::Authorization
        }
        (_, Some(ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId)) => ErrorKind::UnknownTopic,
        (QueryError::NoGroup, _) => ErrorKind::Misuse,
        (QueryError::Failed(Cause::Refused { api: ApiKey::FindCoordinator, .. }), _) => ErrorKind::Group,
        (QueryError::Failed(Cause::Call(error)), _) => Error::from(error.clone()).kind(),
        (QueryError::TimedOut(_) | QueryError::Failed(_), _) => late,
    };
    let message = format!("{what} of {partition} is not known: {error}");
    let failed = coded(Error::new(kind, message), error.code()).with_partition(partition.clone());
    match error {
        QueryError::TimedOut(Some(cause)) | QueryError::Failed(cause) => caused(failed, cause),
        QueryError::TimedOut(None) | QueryError::NoGroup => failed,
    }
}

fn mixed_up() -> Error {
    Error::new(ErrorKind::Malformed, "unexpected response type")
}

pub(super) fn offsets_failed(partition: &TopicPartition, error: &offtake_offsets::PartitionError) -> Error {
    use offtake_offsets::PartitionError as Failed;
    let (kind, advice) = match error {
        Failed::NoOffset | Failed::OffsetOutOfRange { .. } | Failed::LogTruncated { .. } => {
            (ErrorKind::NoOffset, "; seek to where it should continue")
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

/// Why calls fail that wait for the coordinator.
pub(super) fn lookup_refused(code: ErrorCode) -> Cause {
    Cause::Refused { api: ApiKey::FindCoordinator, code }
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

/// An error of the group: partitions that were assigned manually are read without a coordinator.
pub(super) fn coordinator_unsupported(group: &str, error: &CallError) -> Error {
    let message = format!("the coordinator of group {group} cannot be found: {error}");
    Error::new(ErrorKind::Group, message).caused_by(error.clone())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn orders() -> TopicPartition {
        TopicPartition::new("orders", 0)
    }

    fn refused(code: ErrorCode) -> Cause {
        Cause::Refused { api: ApiKey::OffsetCommit, code }
    }

    /// Its kind, its code, and the advice at its end.
    fn kind_code_advice(error: &Error) -> (ErrorKind, Option<ErrorCode>, String) {
        assert_eq!(error.partition(), Some(&orders()), "{error}");
        let text = error.to_string();
        (error.kind(), error.code(), text.rsplit("; ").next().unwrap_or_default().to_owned())
    }

    #[test]
    fn h5_an_offset_that_was_not_committed_says_what_may_be_done() {
        use ErrorCode::{
            FencedInstanceId, GroupAuthorizationFailed, OffsetMetadataTooLarge, TopicAuthorizationFailed,
        };
        let nothing = |error: &CommitError| format!("the offset of orders-0 was not committed: {error}");
        let cases = [
            (CommitError::NotOwned, ErrorKind::NotOwned, None, None),
            (CommitError::NoGroup, ErrorKind::Misuse, None, None),
            (CommitError::NegativeOffset(-1), ErrorKind::Misuse, None, None),
            (CommitError::TimedOut(None), ErrorKind::Timeout, None, None),
            (CommitError::QueueFull, ErrorKind::CommitFailed, None, None),
            (
                CommitError::MetadataTooLong(40_000),
                ErrorKind::CommitFailed,
                Some(OffsetMetadataTooLarge),
                Some("shorten the metadata"),
            ),
            (
                CommitError::Failed(refused(OffsetMetadataTooLarge)),
                ErrorKind::CommitFailed,
                Some(OffsetMetadataTooLarge),
                Some("shorten the metadata, or raise the brokers' offset.metadata.max.bytes"),
            ),
            (
                CommitError::Failed(refused(GroupAuthorizationFailed)),
                ErrorKind::Authorization,
                Some(GroupAuthorizationFailed),
                None,
            ),
            (
                CommitError::Failed(refused(TopicAuthorizationFailed)),
                ErrorKind::Authorization,
                Some(TopicAuthorizationFailed),
                None,
            ),
            (CommitError::Failed(refused(FencedInstanceId)), ErrorKind::Fenced, Some(FencedInstanceId), None),
        ];
        for (error, kind, code, advice) in cases {
            let said = kind_code_advice(&not_committed(&orders(), error.clone(), None));
            let advice = advice.map_or_else(|| nothing(&error), str::to_owned);
            assert_eq!(said, (kind, code, advice), "{error:?}");
        }
    }

    #[test]
    fn an_offset_that_is_not_known_has_the_kind_of_its_reason() {
        let failed = |code| QueryError::Failed(refused(code));
        let (address, api) = ("b:9092".to_owned(), ApiKey::ListOffsets);
        let unsupported = Cause::Call(CallError::Unsupported { address, api });
        for (error, kind) in [
            (QueryError::NoGroup, ErrorKind::Misuse),
            (QueryError::TimedOut(None), ErrorKind::Timeout),
            (failed(ErrorCode::GroupAuthorizationFailed), ErrorKind::Authorization),
            (failed(ErrorCode::TopicAuthorizationFailed), ErrorKind::Authorization),
            (failed(ErrorCode::UnknownTopicOrPartition), ErrorKind::UnknownTopic),
            (failed(ErrorCode::UnknownTopicId), ErrorKind::UnknownTopic),
            (failed(ErrorCode::OffsetNotAvailable), ErrorKind::Timeout),
            (QueryError::Failed(unsupported), ErrorKind::Unsupported),
        ] {
            let outcome = QueryOutcome::Committed([(orders(), Err(error.clone()))].into());
            let said = committed_offsets(outcome, None).unwrap_err();
            assert_eq!((said.kind(), said.code()), (kind, error.code()), "{error:?}");
            let outcome = QueryOutcome::Listed([(orders(), Err(error.clone()))].into());
            assert_eq!(listed_offsets(outcome, None).unwrap_err().kind(), kind, "{error:?}");
        }
        let none = || [(orders(), Ok(None))].into();
        assert!(committed_offsets(QueryOutcome::Committed(none()), None).unwrap().is_empty());
        assert!(
            listed_offsets(QueryOutcome::Listed([(orders(), Ok(None))].into()), None).unwrap().is_empty()
        );
        assert_eq!(
            listed_offsets(QueryOutcome::Committed(none()), None).unwrap_err().kind(),
            ErrorKind::Malformed
        );
    }

    #[test]
    fn n1_a_commit_is_late_whatever_keeps_metadata_from_coming() {
        let (address, api, reason) = ("b:9092".to_owned(), ApiKey::Metadata, "refused".to_owned());
        for trouble in [
            None,
            Some(CallError::Unreachable { address: address.clone(), reason, not_kafka: false }),
            Some(CallError::Unsupported { address, api }),
        ] {
            let error = not_committed(&orders(), CommitError::TimedOut(None), trouble.as_ref());
            assert!(was_late(&error) && error.is_retriable(), "{trouble:?}: {error:?}");
        }
    }

    #[test]
    fn a_call_that_was_not_answered_in_time_says_so_where_no_broker_can_be_reached() {
        let (address, reason) = ("b:9092".to_owned(), "refused".to_owned());
        let trouble = CallError::Unreachable { address, reason, not_kafka: false };
        for (cause, kind, source) in [
            (None, ErrorKind::Unreachable, trouble.to_string()),
            (Some(Cause::NoLeader), ErrorKind::Unreachable, trouble.to_string()),
            (
                Some(refused(ErrorCode::NotCoordinator)),
                ErrorKind::Timeout,
                refused(ErrorCode::NotCoordinator).to_string(),
            ),
        ] {
            let query =
                unanswered("the offset", &orders(), QueryError::TimedOut(cause.clone()), Some(&trouble));
            let commit = not_committed(&orders(), CommitError::TimedOut(cause), Some(&trouble));
            for error in [query, commit] {
                assert_eq!((error.kind(), error.is_retriable()), (kind, true), "{error}");
                let said = std::error::Error::source(&error).map(ToString::to_string);
                assert_eq!(said.as_ref(), Some(&source));
                assert!(error.to_string().ends_with(&format!(" in time ({source})")), "{error}");
            }
        }
    }

    #[test]
    fn a_partition_that_cannot_be_read_says_how_to_go_on() {
        use offtake_fetch::PartitionError as Fetch;
        use offtake_offsets::PartitionError as Start;
        let starts = |error| kind_code_advice(&offsets_failed(&orders(), &error));
        let seek = "seek to where it should continue".to_owned();
        assert_eq!(starts(Start::NoOffset), (ErrorKind::NoOffset, None, seek.clone()));
        let truncated = Start::LogTruncated { from: 9, to: 5 };
        assert_eq!(starts(truncated), (ErrorKind::NoOffset, None, seek.clone()));
        let beyond = Start::OffsetOutOfRange { position: 9 };
        assert_eq!(starts(beyond), (ErrorKind::NoOffset, Some(ErrorCode::OffsetOutOfRange), seek));
        assert_eq!(starts(Start::NegativeOffset(-1)).0, ErrorKind::Misuse);
        for (code, kind) in [
            (ErrorCode::TopicAuthorizationFailed, ErrorKind::Authorization),
            (ErrorCode::GroupAuthorizationFailed, ErrorKind::Authorization),
            (ErrorCode::UnknownTopicOrPartition, ErrorKind::Unreachable),
        ] {
            let again = "trying again".to_owned();
            assert_eq!(starts(Start::Unresolved(refused(code))), (kind, Some(code), again));
        }

        let fetches = |error| kind_code_advice(&fetch_failed(&orders(), &error));
        let stops = "the partition stops there".to_owned();
        let large = Fetch::TooLarge { offset: 7, size: 2000, limit: 1000 };
        let text = fetch_failed(&orders(), &large).to_string();
        assert!(
            text.contains("; raise receive.message.max.bytes to at least 2000, or seek past it; "),
            "{text}"
        );
        assert_eq!(fetches(large), (ErrorKind::TooLarge, None, stops.clone()));
        assert_eq!(fetches(Fetch::NoProgress { offset: 7 }), (ErrorKind::Corrupt, None, stops));
        for (code, kind) in [
            (ErrorCode::TopicAuthorizationFailed, ErrorKind::Authorization),
            (ErrorCode::UnknownServerError, ErrorKind::Malformed),
        ] {
            assert_eq!(fetches(Fetch::Refused(code)), (kind, Some(code), "trying again".to_owned()));
        }
    }
}
