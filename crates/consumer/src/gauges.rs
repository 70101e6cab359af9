//! What is known of one assigned partition without a request: its position, its lag, whether it is paused.
//!
//! One set of gauges belongs to one assignment, and ends with it: a pause does not outlive it. Each gauge is
//! written by the side that knows it (the engine: the end of the log, and the target of a seek; the polling
//! task: the position from then on; the pausing caller: the pause) and read by all. They need not agree with
//! one another to the record.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

use offtake_fetch::Watermarks;
use offtake_machine::Token;

#[derive(Debug)]
pub(crate) struct PartitionGauges {
    /// The assignment's token, as it was before any seek.
    token: Token,
    committed_only: bool,
    position: Mutex<PositionGauge>,
    high_watermark: AtomicI64,
    last_stable_offset: AtomicI64,
    is_paused: AtomicBool,
    /// Nothing more is handed out, but it is assigned until its revocation ends.
    is_leaving: AtomicBool,
}

/// The offset that is handed out next, and the `seek` of the token that it belongs to.
#[derive(Clone, Copy, Debug)]
struct PositionGauge {
    seek: u64,
    offset: Option<i64>,
    /// Whether the application knows its position: it received records since the assignment, or sought there.
    is_known: bool,
}

const UNKNOWN: i64 = -1;

fn known(offset: i64) -> Option<i64> {
    (offset != UNKNOWN).then_some(offset)
}

impl PartitionGauges {
    /// The gauges of the assignment with this token. Lag is counted to the last stable offset if
    /// `committed_only`, to the high watermark otherwise.
    pub(crate) fn new(token: Token, committed_only: bool) -> Self {
        Self {
            token,
            committed_only,
            position: Mutex::new(PositionGauge { seek: token.seek, offset: None, is_known: false }),
            high_watermark: AtomicI64::new(UNKNOWN),
            last_stable_offset: AtomicI64::new(UNKNOWN),
            is_paused: AtomicBool::new(false),
            is_leaving: AtomicBool::new(false),
        }
    }

    pub(crate) fn token(&self) -> Token {
        self.token
    }

    /// Stores the end of the log that a response contained.
    pub(crate) fn set_watermarks(&self, watermarks: Watermarks) {
        self.high_watermark.store(watermarks.high, Ordering::Relaxed);
        self.last_stable_offset.store(watermarks.last_stable, Ordering::Relaxed);
    }

    /// Forgets the end of the log, because another log replaces it.
    pub(crate) fn forget_watermarks(&self) {
        self.high_watermark.store(UNKNOWN, Ordering::Relaxed);
        self.last_stable_offset.store(UNKNOWN, Ordering::Relaxed);
    }

    /// Sets the offset that is handed out next under `token`; without effect if the application has sought
    /// since.
    pub(crate) fn set_position(&self, token: Token, offset: Option<i64>) {
        self.update_position(PositionGauge { seek: token.seek, offset, is_known: false });
    }

    /// The same for an offset that the application knows: it received the records before it, or sought there.
    pub(crate) fn set_known_position(&self, token: Token, offset: Option<i64>) {
        self.update_position(PositionGauge { seek: token.seek, offset, is_known: true });
    }

    fn update_position(&self, new: PositionGauge) {
        let mut gauge = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        if gauge.seek <= new.seek {
            *gauge = new;
        }
    }

    fn read_position(&self) -> PositionGauge {
        *self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn position(&self) -> Option<i64> {
        self.read_position().offset
    }

    /// The position if the application knows it: nothing beyond it can be finished.
    pub(crate) fn known_position(&self) -> Option<i64> {
        let gauge = self.read_position();
        gauge.offset.filter(|_| gauge.is_known)
    }

    /// The position if there was no seek and no new assignment since the token was created.
    pub(crate) fn position_under(&self, token: Token) -> Option<i64> {
        let gauge = self.read_position();
        gauge.offset.filter(|_| self.token.same_assignment(token) && gauge.seek == token.seek)
    }

    /// How many records are still to be handed out, counted in offsets; `None` before a response has
    /// contained the end of the log, and while the position is not known.
    pub(crate) fn lag(&self) -> Option<u64> {
        let end = if self.committed_only { &self.last_stable_offset } else { &self.high_watermark };
        let left = known(end.load(Ordering::Relaxed))?.saturating_sub(self.position()?);
        Some(u64::try_from(left).unwrap_or(0))
    }

    pub(crate) fn set_paused(&self, is_paused: bool) {
        self.is_paused.store(is_paused, Ordering::Release);
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.is_paused.load(Ordering::Acquire)
    }

    /// Marks the partition as being revoked: nothing more of it is handed out.
    pub(crate) fn set_leaving(&self) {
        self.is_leaving.store(true, Ordering::Release);
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: Token = Token { assignment: 1, seek: 0 };

    /// INPUT22: a broker that tells an end of the log before what it has sent, for one.
    #[test]
    fn input22_beyond_the_end_of_the_log_lag_is_nothing_and_never_negative() {
        for committed_only in [false, true] {
            let gauges = PartitionGauges::new(TOKEN, committed_only);
            assert_eq!(gauges.lag(), None);
            gauges.set_position(TOKEN, Some(10));
            assert_eq!(gauges.lag(), None, "nobody has told where the log ends");
            for (last_stable, high, lag) in
                [(12, 15, [5, 2]), (10, 10, [0, 0]), (7, 8, [0, 0]), (0, 11, [1, 0]), (0, 0, [0, 0])]
            {
                gauges.set_watermarks(Watermarks { low: 0, last_stable, high });
                assert_eq!(gauges.lag(), Some(lag[usize::from(committed_only)]), "{last_stable}, {high}");
            }
            gauges.set_position(TOKEN, Some(i64::MAX));
            assert_eq!(gauges.lag(), Some(0));
        }
    }
}
