//! What has to be said to [`Offsets`](crate::Offsets) before it can begin.

use std::time::{Duration, Instant};

use offtake_machine::{BackoffConfig, IsolationLevel, Position};

/// How a consumer's offsets are looked up and committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `group.id`: without one nothing is ever committed, and the policy decides where to begin.
    pub group: Option<String>,
    /// `auto.offset.reset`.
    pub reset: ResetPolicy,
    /// `isolation.level`: the end of a log is the last stable offset for those who read committed.
    pub isolation: IsolationLevel,
    /// `request.timeout.ms`.
    pub request_timeout: Duration,
    /// `retry.backoff.ms` and `retry.backoff.max.ms`.
    pub backoff: BackoffConfig,
    /// One moment on both clocks, the second in milliseconds since 1970: what [`ResetPolicy::ByDuration`] counts from.
    pub wall: (Instant, i64),
    /// Of the jitter in backoffs.
    pub seed: u64,
}

impl Config {
    /// `ago` before `now`, in milliseconds since 1970.
    pub(crate) fn millis_before(&self, now: Instant, ago: Duration) -> i64 {
        let (then, wall) = self.wall;
        let since = millis(now.saturating_duration_since(then));
        wall.saturating_add(since).saturating_sub(millis(ago)).max(0)
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// Where to begin when nothing is committed, or when the position is not in the log: `auto.offset.reset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetPolicy {
    /// At the first record that is there.
    Earliest,
    /// After the last one.
    Latest,
    /// Nowhere: the application decides.
    None,
    /// At the first record that is not older than this (KIP-1106).
    ByDuration(Duration),
}

/// Where a partition is to begin, or to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// At what the group has committed; failing that, where the policy says.
    Committed,
    /// At what the group has committed; failing that, at the first record: for partitions that were born after the
    /// subscription, whatever the policy.
    CommittedOrEarliest,
    /// At what the group has committed; failing that, here.
    CommittedOr(Place),
    /// Where the policy says, whatever is committed.
    Policy,
    /// Here. With a leader epoch it is first compared with the leader's log (KIP-320).
    Offset(Position),
    /// At the first record.
    Earliest,
    /// After the last one.
    Latest,
    /// At the first record of this time, in milliseconds since 1970, or a later one; at the end if there is none.
    Timestamp(i64),
    /// So many offsets before the end, or at the first record if there are fewer.
    BeforeEnd(u64),
}

/// A place in a log that nothing need be committed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Where the policy says.
    Policy,
    /// This offset.
    Offset(Position),
    /// The first record.
    Earliest,
    /// After the last one.
    Latest,
    /// The first record of this time, in milliseconds since 1970, or a later one; the end if there is none.
    Timestamp(i64),
    /// So many offsets before the end, or the first record if there are fewer.
    BeforeEnd(u64),
}

impl StartAt {
    /// Whether what is committed comes first, and the place otherwise.
    pub(crate) fn parts(self) -> (bool, Place) {
        match self {
            Self::Committed => (true, Place::Policy),
            Self::CommittedOrEarliest => (true, Place::Earliest),
            Self::CommittedOr(place) => (true, place),
            Self::Policy => (false, Place::Policy),
            Self::Offset(position) => (false, Place::Offset(position)),
            Self::Earliest => (false, Place::Earliest),
            Self::Latest => (false, Place::Latest),
            Self::Timestamp(at) => (false, Place::Timestamp(at)),
            Self::BeforeEnd(records) => (false, Place::BeforeEnd(records)),
        }
    }
}
