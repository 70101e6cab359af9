//! The consequences of a failure: first the codes that Kafka documents for the request, then the general
//! meaning of a code.

use offtake_machine::CallError;
use offtake_wire::{ApiKey, ErrorCode};

use crate::Cause;

/// When a failure that is retried is reported to the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// Never: it is part of normal operation.
    Never,
    /// After [`REPORT_AFTER`] failures in a row.
    AfterRetries,
    /// At once: a person has to act.
    Immediately,
}

/// How many failures in a row are needed before one is reported.
pub(crate) const REPORT_AFTER: u32 = 5;

/// What to do besides a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Only retry.
    Wait,
    /// Look up the coordinator.
    FindCoordinator,
    /// Refresh the metadata.
    RefreshMetadata,
    /// Notify the member: the coordinator does not accept its identity.
    Membership,
}

/// The consequences of a failed OffsetFetch. No failure counts as "nothing committed" (FAILURES F2, H11, L2).
pub(crate) fn for_offset_fetch(cause: &Cause) -> (Remedy, Report) {
    use ErrorCode as E;
    match cause {
        Cause::Refused { code, .. } => match *code {
            E::NotCoordinator | E::CoordinatorNotAvailable => (Remedy::FindCoordinator, Report::Never),
            E::CoordinatorLoadInProgress
            | E::UnstableOffsetCommit
            | E::RebalanceInProgress
            | E::RequestTimedOut
            | E::ThrottlingQuotaExceeded => (Remedy::Wait, Report::Never),
            E::StaleMemberEpoch
            | E::UnknownMemberId
            | E::IllegalGeneration
            | E::FencedMemberEpoch
            | E::FencedInstanceId => (Remedy::Membership, Report::Never),
            E::GroupIdNotFound => (Remedy::Membership, Report::AfterRetries),
            E::UnknownTopicOrPartition | E::UnknownTopicId => (Remedy::RefreshMetadata, Report::AfterRetries),
            code => (Remedy::Wait, report_of_code(code)),
        },
        Cause::Call(error) => (remedy_of_call(error), call(error)),
        Cause::PartitionMissing { .. } | Cause::BadOffset { .. } => (Remedy::Wait, Report::AfterRetries),
        Cause::NoLeader | Cause::OldMetadata { .. } => (Remedy::RefreshMetadata, Report::AfterRetries),
        Cause::Topic(code) => (Remedy::RefreshMetadata, report_of_code(*code)),
    }
}

/// The consequences of a failed ListOffsets or OffsetForLeaderEpoch.
pub(crate) fn for_leader_request(cause: &Cause) -> (Remedy, Report) {
    use ErrorCode as E;
    match cause {
        Cause::Refused { code, .. } => match *code {
            E::UnknownTopicOrPartition | E::UnknownTopicId => (Remedy::RefreshMetadata, Report::AfterRetries),
            E::ThrottlingQuotaExceeded => (Remedy::Wait, Report::Never),
            code if code.is_retriable() => (Remedy::RefreshMetadata, Report::Never),
            code => (Remedy::RefreshMetadata, report_of_code(code)),
        },
        Cause::Call(error) => (Remedy::RefreshMetadata, call(error)),
        Cause::PartitionMissing { .. } | Cause::BadOffset { .. } => (Remedy::Wait, Report::AfterRetries),
        Cause::NoLeader | Cause::OldMetadata { .. } => (Remedy::RefreshMetadata, Report::Never),
        Cause::Topic(code) => (Remedy::RefreshMetadata, report_of_code(*code)),
    }
}

/// How long a failed commit is retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retrying {
    /// Until its deadline.
    UntilDeadline,
    /// A few times: the topic may be deleted (FAILURES H6).
    AFewTimes,
    /// Until its deadline, once the identity has changed.
    WithNewIdentity,
    /// Not at all.
    Never,
}

/// The consequences of a failed OffsetCommit.
pub(crate) fn for_commit(cause: &Cause) -> (Remedy, Retrying) {
    use ErrorCode as E;
    match cause {
        Cause::Refused { code, .. } => match *code {
            E::NotCoordinator | E::CoordinatorNotAvailable | E::RequestTimedOut => {
                (Remedy::FindCoordinator, Retrying::UntilDeadline)
            }
            // Between JoinGroup and SyncGroup, or between a bumped epoch and the heartbeat that reports it, the member still
            // owns its partitions (FAILURES E4, F3, H7).
            E::RebalanceInProgress | E::StaleMemberEpoch => (Remedy::Membership, Retrying::UntilDeadline),
            E::IllegalGeneration => (Remedy::Membership, Retrying::WithNewIdentity),
            E::UnknownMemberId | E::FencedMemberEpoch | E::FencedInstanceId | E::GroupIdNotFound => {
                (Remedy::Membership, Retrying::Never)
            }
            E::UnknownTopicOrPartition | E::UnknownTopicId => (Remedy::RefreshMetadata, Retrying::AFewTimes),
            code if code.is_retriable() => (Remedy::Wait, Retrying::UntilDeadline),
            _ => (Remedy::Wait, Retrying::Never),
        },
        Cause::Call(CallError::Unsupported { .. } | CallError::TooLarge { .. }) => {
            (Remedy::Wait, Retrying::Never)
        }
        Cause::Call(error) => (remedy_of_call(error), Retrying::UntilDeadline),
        Cause::PartitionMissing { .. }
        | Cause::BadOffset { .. }
        | Cause::NoLeader
        | Cause::OldMetadata { .. } => (Remedy::Wait, Retrying::UntilDeadline),
        Cause::Topic(_) => (Remedy::Wait, Retrying::Never),
    }
}

/// Whether a retry of a query cannot help.
pub(crate) fn is_permanent(cause: &Cause) -> bool {
    match cause {
        Cause::Refused { code, .. } => !code.is_retriable() && *code != ErrorCode::StaleMemberEpoch,
        Cause::Topic(code) => !code.is_retriable(),
        Cause::Call(CallError::Unsupported { .. } | CallError::TooLarge { .. }) => true,
        Cause::Call(_) | Cause::PartitionMissing { .. } | Cause::NoLeader | Cause::OldMetadata { .. } => {
            false
        }
        Cause::BadOffset { .. } => true,
    }
}

/// Whether the leader cannot validate positions at all. Then positions are not validated (FAILURES L6).
pub(crate) fn cannot_validate(cause: &Cause) -> bool {
    match cause {
        Cause::Call(CallError::Unsupported { .. }) => true,
        // Before version 3 only brokers were permitted to send it.
        Cause::Refused { api: ApiKey::OffsetForLeaderEpoch, code } => {
            matches!(*code, ErrorCode::ClusterAuthorizationFailed | ErrorCode::UnsupportedVersion)
        }
        _ => false,
    }
}

fn report_of_code(code: ErrorCode) -> Report {
    use ErrorCode as E;
    match code {
        E::TopicAuthorizationFailed
        | E::GroupAuthorizationFailed
        | E::ClusterAuthorizationFailed
        | E::InvalidTopicException
        | E::InvalidGroupId
        | E::InvalidRequest
        | E::UnsupportedVersion
        | E::UnsupportedForMessageFormat
        | E::SecurityDisabled => Report::Immediately,
        code if code.is_retriable() => Report::Never,
        _ => Report::AfterRetries,
    }
}

fn call(error: &CallError) -> Report {
    match error {
        CallError::Unsupported { .. } | CallError::TooLarge { .. } => Report::Immediately,
        CallError::Malformed { .. } => Report::AfterRetries,
        CallError::Unreachable { not_kafka: true, .. } | CallError::Authentication { is_final: true, .. } => {
            Report::AfterRetries
        }
        // `net` and `metadata` report unreachable brokers.
        CallError::Unreachable { .. }
        | CallError::Authentication { .. }
        | CallError::Disconnected { .. }
        | CallError::NotSent { .. }
        | CallError::TimedOut { .. }
        | CallError::Withdrawn
        | CallError::UnknownBroker(_) => Report::Never,
    }
}

fn remedy_of_call(error: &CallError) -> Remedy {
    if error.loses_coordinator() { Remedy::FindCoordinator } else { Remedy::Wait }
}
