//! Leader epochs, and the offsets at which they began (KIP-101, KIP-320).

/// The epochs of a log in order, each with the first offset written in it.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    starts: Vec<(i32, i64)>,
}

impl Epochs {
    /// Begins an epoch at this offset. Earlier epochs without a record are forgotten.
    pub(super) fn begin(&mut self, epoch: i32, start: i64) {
        if self.latest().is_some_and(|(latest, _)| latest >= epoch) {
            return;
        }
        self.starts.retain(|(_, begun)| *begun < start);
        self.starts.push((epoch, start));
    }

    pub(super) fn latest(&self) -> Option<(i32, i64)> {
        self.starts.last().copied()
    }

    /// The epoch in which an offset was written.
    pub(super) fn of(&self, offset: i64) -> Option<i32> {
        self.starts.iter().rev().find(|(_, start)| *start <= offset).map(|(epoch, _)| *epoch)
    }

    /// The answer of OffsetForLeaderEpoch: the latest epoch up to `epoch`, and the offset where its records end. `None`
    /// if `epoch` is later than all that the log has.
    pub(super) fn end_of(&self, epoch: i32, log_end: i64) -> Option<(i32, i64)> {
        if epoch < 0 {
            return None;
        }
        if self.latest().is_some_and(|(latest, _)| latest == epoch) {
            return Some((epoch, log_end));
        }
        let (_, end) = self.starts.iter().find(|(later, _)| *later > epoch)?;
        let found = self.starts.iter().rev().find(|(known, _)| *known <= epoch);
        Some((found.map_or(epoch, |(known, _)| *known), *end))
    }

    pub(super) fn cut_end(&mut self, end: i64) {
        self.starts.retain(|(_, start)| *start < end);
    }

    pub(super) fn cut_start(&mut self, start: i64) {
        if let Some(at) = self.starts.iter().rposition(|(_, begun)| *begun <= start) {
            self.starts.drain(..at);
            if let Some(first) = self.starts.first_mut() {
                first.1 = start;
            }
        }
    }
}
