//! Control records, which a coordinator writes into a partition when a transaction ends (KIP-98).

use super::compression::Decompressor;
use super::cursor::Payload;
use super::error::{RecordError, RecordFault};
use super::set::Batch;
use super::varint;

/// The contents of a control batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlRecord {
    /// The producer's transaction is aborted up to here.
    Abort {
        /// Epoch of the transaction coordinator.
        coordinator_epoch: i32,
    },
    /// The producer's transaction is committed up to here.
    Commit {
        /// Epoch of the transaction coordinator.
        coordinator_epoch: i32,
    },
    /// A type that does not concern consumers, such as KRaft's; to be ignored.
    Other(i16),
}

impl ControlRecord {
    /// Reads the first record of a control batch; others are ignored. `None` if compaction left none, or the batch is not a
    /// control batch.
    pub fn read(batch: &Batch, decompressor: &mut Decompressor) -> Result<Option<Self>, RecordError> {
        if !batch.is_control() {
            return Ok(None);
        }
        let payload = batch.open(decompressor)?;
        if payload.count() == 0 && payload.as_bytes().is_empty() {
            return Ok(None);
        }
        Self::first(&payload)
    }

    fn first(payload: &Payload) -> Result<Option<Self>, RecordError> {
        let Some(record) = payload.records().next().transpose()? else { return Ok(None) };
        Self::parse(record.key(), record.value()).map(Some).map_err(|reason| {
            RecordError::new(payload.base_offset(), payload.last_offset(), RecordFault::Control(reason))
        })
    }

    fn parse(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Self, &'static str> {
        let mut key = key.ok_or("no key")?;
        let (Some(version), Some(kind)) = (varint::i16(&mut key), varint::i16(&mut key)) else {
            return Err("its key is shorter than four bytes");
        };
        if version < 0 {
            return Err("its key has a negative version");
        }
        // Later versions may add fields at the end, so that bytes after the known fields are ignored.
        let coordinator_epoch = || {
            let mut value = value.ok_or("a marker without a value")?;
            match (varint::i16(&mut value), varint::i32(&mut value)) {
                (Some(version), Some(epoch)) if version >= 0 => Ok(epoch),
                (Some(_), Some(_)) => Err("its value has a negative version"),
                _ => Err("a marker's value is shorter than six bytes"),
            }
        };
        match kind {
            0 => Ok(Self::Abort { coordinator_epoch: coordinator_epoch()? }),
            1 => Ok(Self::Commit { coordinator_epoch: coordinator_epoch()? }),
            other => Ok(Self::Other(other)),
        }
    }
}
