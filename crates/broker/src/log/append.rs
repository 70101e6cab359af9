//! Appending a client's batch.

use kafka_protocol::error::ResponseError;

use super::{Log, batch::Batch};

/// The position of an appended batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Appended {
    pub(super) first: i64,
    pub(super) last: i64,
    /// For a duplicate: the time of the batch that was already there.
    pub(super) duplicate: Option<i64>,
}

impl Log {
    /// Whether a producer has a transaction open here in this epoch.
    pub(super) fn in_transaction(&self, producer: i64, epoch: i16) -> bool {
        self.producers.get(&producer).is_some_and(|known| known.epoch == epoch && known.open.is_some())
    }

    /// Appends a batch that is valid by itself, unless it does not follow its producer's previous one. A duplicate is
    /// answered with the offsets of the original.
    pub(super) fn append(
        &mut self,
        batch: &Batch,
        leader_epoch: i32,
        from_zero: bool,
    ) -> Result<Appended, ResponseError> {
        let batch = batch.placed(self.end, leader_epoch);
        let header = batch.header;
        if header.has_producer() {
            let known = self.producers.get(&header.producer_id).cloned().unwrap_or_default();
            if let Some(sent) = known.duplicate(&header) {
                let (first, last) = (sent.first_offset, sent.last_offset);
                return Ok(Appended { first, last, duplicate: Some(sent.timestamp) });
            }
            known.check(&header, from_zero)?;
        }
        self.account(&batch);
        self.push(batch);
        Ok(Appended { first: header.base_offset, last: header.last_offset(), duplicate: None })
    }
}
