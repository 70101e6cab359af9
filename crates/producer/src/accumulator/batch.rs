//! A batch, from the first record until its outcome.

use std::{sync::Arc, time::Instant};

use offtake_client::{Error, ErrorKind};
use offtake_wire::records::{BatchWriter, BuildError, Compression, SealedBatch};

use super::SlotId;
use crate::delivery::BatchOutcome;

/// The number of a batch among all batches of its producer, in the order in which they were opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Serial(u64);

impl Serial {
    pub(super) const FIRST: Self = Self(0);

    pub(super) fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// The part of a batch that is the same in every state.
#[derive(Clone, Debug)]
pub(crate) struct BatchInfo {
    pub(crate) serial: Serial,
    /// The batch's place in its partition: the batch that its records were first written to, and the number of its first record
    /// there.
    pub(crate) order: (Serial, u32),
    pub(crate) outcome: Arc<BatchOutcome>,
    /// When `delivery.timeout.ms` ends.
    pub(crate) deadline: Instant,
}

/// A batch that still takes records.
#[derive(Debug)]
pub(super) struct OpenBatch {
    pub(super) info: BatchInfo,
    /// When `linger.ms` ends.
    pub(super) due: Instant,
    /// Whether it is in the engine's list of lingering batches.
    pub(super) is_lingering: bool,
    pub(super) writer: BatchWriter,
}

/// A full batch, to be sealed by the task that filled it.
#[derive(Debug)]
pub(crate) struct FilledBatch {
    pub(crate) slot: SlotId,
    pub(crate) serial: Serial,
    pub(crate) writer: BatchWriter,
}

/// A batch that can be sent.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) info: BatchInfo,
    pub(crate) sealed: SealedBatch,
}

impl Batch {
    pub(crate) fn new(info: BatchInfo, sealed: SealedBatch) -> Self {
        Self { info, sealed }
    }

    /// The bytes of memory that it holds. A batch that compression made larger counts with its uncompressed size.
    pub(crate) fn held(&self) -> usize {
        self.sealed.uncompressed_size().min(self.sealed.size())
    }

    /// The bytes of memory that compression freed.
    pub(crate) fn freed(&self) -> usize {
        self.sealed.uncompressed_size().saturating_sub(self.held())
    }

    /// The compressed size relative to the uncompressed size.
    pub(crate) fn ratio(&self) -> f32 {
        self.sealed.size() as f32 / self.sealed.uncompressed_size().max(1) as f32
    }
}

/// How batches are sealed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Codec {
    pub(crate) compression: Compression,
    pub(crate) level: Option<i32>,
    /// Whether the batches belong to transactions.
    pub(crate) is_transactional: bool,
}

/// Seals a batch. An error carries the bytes that the batch held.
pub(crate) fn seal(writer: BatchWriter, codec: Codec) -> Result<SealedBatch, (BuildError, usize)> {
    let size = writer.size();
    writer.seal(codec.compression, codec.level, codec.is_transactional).map_err(|error| (error, size))
}

/// The error for a batch that cannot be sealed.
pub(crate) fn seal_failed(error: &BuildError) -> Error {
    let kind = match error {
        BuildError::TooLarge => ErrorKind::TooLarge,
        BuildError::Codec(_) => ErrorKind::MissingCodec,
    };
    Error::new(kind, format!("the batch cannot be written: {error}"))
}
