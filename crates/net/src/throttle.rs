//! Throttling by brokers (KIP-219).

use std::time::Duration;

use offtake_wire::{Request, Response};

/// The longest throttle that is obeyed (FAILURES INPUT51).
const MAX_THROTTLE: Duration = Duration::from_secs(3600);

/// The throttle time of a response.
pub(crate) fn throttle_time(response: &Response) -> Duration {
    let ms = match response {
        Response::Produce(r) => r.throttle_time_ms,
        Response::Fetch(r) => r.throttle_time_ms,
        Response::ListOffsets(r) => r.throttle_time_ms,
        Response::Metadata(r) => r.throttle_time_ms,
        Response::OffsetCommit(r) => r.throttle_time_ms,
        Response::OffsetFetch(r) => r.throttle_time_ms,
        Response::FindCoordinator(r) => r.throttle_time_ms,
        Response::JoinGroup(r) => r.throttle_time_ms,
        Response::Heartbeat(r) => r.throttle_time_ms,
        Response::LeaveGroup(r) => r.throttle_time_ms,
        Response::SyncGroup(r) => r.throttle_time_ms,
        Response::DescribeGroups(r) => r.throttle_time_ms,
        Response::ListGroups(r) => r.throttle_time_ms,
        Response::SaslHandshake(_) | Response::SaslAuthenticate(_) => 0, // these have none
        Response::ApiVersions(r) => r.throttle_time_ms,
        Response::CreateTopics(r) => r.throttle_time_ms,
        Response::DeleteTopics(r) => r.throttle_time_ms,
        Response::DeleteRecords(r) => r.throttle_time_ms,
        Response::DeleteGroups(r) => r.throttle_time_ms,
        Response::OffsetDelete(r) => r.throttle_time_ms,
        Response::InitProducerId(r) => r.throttle_time_ms,
        Response::AddPartitionsToTxn(r) => r.throttle_time_ms,
        Response::AddOffsetsToTxn(r) => r.throttle_time_ms,
        Response::EndTxn(r) => r.throttle_time_ms,
        Response::TxnOffsetCommit(r) => r.throttle_time_ms,
        Response::OffsetForLeaderEpoch(r) => r.throttle_time_ms,
        Response::ConsumerGroupHeartbeat(r) => r.throttle_time_ms,
        Response::DescribeConfigs(r) => r.throttle_time_ms,
        Response::DescribeLogDirs(r) => r.throttle_time_ms,
        Response::ConsumerGroupDescribe(r) => r.throttle_time_ms,
    };
    clamped(ms)
}

/// Clamps to the range from zero to an hour.
pub(crate) fn clamped(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0)).min(MAX_THROTTLE)
}

/// Whether a request is sent even while the broker throttles this client. The broker then does not read from the connection, so
/// that it loses nothing; and a wrong number in one response must not cost a membership (FAILURES A10).
pub(crate) fn is_exempt(request: &Request) -> bool {
    matches!(request, Request::Heartbeat(_) | Request::ConsumerGroupHeartbeat(_) | Request::LeaveGroup(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a10_a_throttle_time_is_clamped_to_an_hour_and_never_negative() {
        assert_eq!(clamped(-1), Duration::ZERO);
        assert_eq!(clamped(i32::MIN), Duration::ZERO);
        assert_eq!(clamped(250), Duration::from_millis(250));
        assert_eq!(clamped(i32::MAX), Duration::from_secs(3600));
    }
}
