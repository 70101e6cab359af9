//! The rules for faults of answers.

use std::fmt;
use std::time::Duration;

/// The key of a request, as its header carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Api(pub i16);

impl Api {
    /// Fetch.
    pub const FETCH: Self = Self(1);
    /// ListOffsets.
    pub const LIST_OFFSETS: Self = Self(2);
    /// Metadata.
    pub const METADATA: Self = Self(3);
    /// OffsetCommit.
    pub const OFFSET_COMMIT: Self = Self(8);
    /// OffsetFetch.
    pub const OFFSET_FETCH: Self = Self(9);
    /// FindCoordinator.
    pub const FIND_COORDINATOR: Self = Self(10);
    /// JoinGroup.
    pub const JOIN_GROUP: Self = Self(11);
    /// Heartbeat.
    pub const HEARTBEAT: Self = Self(12);
    /// SyncGroup.
    pub const SYNC_GROUP: Self = Self(14);
    /// ConsumerGroupHeartbeat (KIP-848).
    pub const CONSUMER_GROUP_HEARTBEAT: Self = Self(68);
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::FETCH => "Fetch",
            Self::LIST_OFFSETS => "ListOffsets",
            Self::METADATA => "Metadata",
            Self::OFFSET_COMMIT => "OffsetCommit",
            Self::OFFSET_FETCH => "OffsetFetch",
            Self::FIND_COORDINATOR => "FindCoordinator",
            Self::JOIN_GROUP => "JoinGroup",
            Self::HEARTBEAT => "Heartbeat",
            Self::SYNC_GROUP => "SyncGroup",
            Self::CONSUMER_GROUP_HEARTBEAT => "ConsumerGroupHeartbeat",
            Self(other) => return write!(f, "key {other}"),
        })
    }
}

/// A fault of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerFault {
    /// It never arrives; later data on the connection does.
    Drop,
    /// It is delayed by this time, and so is everything after it.
    Delay(Duration),
    /// It is cut somewhere in the middle, and its connection ends.
    Cut,
    /// It is cut after this many bytes, including its length.
    CutAfter(usize),
    /// Neither it nor anything after it arrives, though its connection stays open until the client closes it.
    Stall,
    /// One bit that the checksum of one of its record batches covers is flipped. An answer without a batch is not counted.
    Corrupt,
}

impl AnswerFault {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Delay(_) => "delay",
            Self::Cut | Self::CutAfter(_) => "cut",
            Self::Stall => "stall",
            Self::Corrupt => "corrupt",
        }
    }
}

/// Says which answers get a fault.
#[derive(Debug, Clone)]
pub struct FaultRule {
    api: Option<Api>,
    least: usize,
    fault: AnswerFault,
    every: u64,
    left: u64,
    seen: u64,
}

impl FaultRule {
    /// The next answer to a request with this key, and no other.
    pub fn next(api: Api, fault: AnswerFault) -> Self {
        Self { api: Some(api), least: 0, fault, every: 1, left: 1, seen: 0 }
    }

    /// Every `nth` answer to a request with this key.
    pub fn each(nth: u64, api: Api, fault: AnswerFault) -> Self {
        Self { every: nth.max(1), left: u64::MAX, ..Self::next(api, fault) }
    }

    /// The next answer of at least this many bytes, including its length.
    pub(super) fn next_of_size(least: usize, fault: AnswerFault) -> Self {
        Self { api: None, least, fault, every: 1, left: 1, seen: 0 }
    }

    /// Whether an answer of `size` bytes gets the fault. Only rules that need `has_batch` call it.
    pub(super) fn strikes(
        &mut self,
        api: Option<Api>,
        size: usize,
        has_batch: impl FnOnce() -> bool,
    ) -> Option<AnswerFault> {
        let meant = (self.api.is_none() || self.api == api) && size >= self.least;
        if self.left == 0 || !meant || (self.fault == AnswerFault::Corrupt && !has_batch()) {
            return None;
        }
        self.seen += 1;
        if !self.seen.is_multiple_of(self.every) {
            return None;
        }
        self.left -= 1;
        Some(self.fault)
    }

    pub(super) fn is_spent(&self) -> bool {
        self.left == 0
    }
}
