//! A batch, from the first record until its outcome.

use std::{sync::Arc, time::Instant};

use offtake_client::{Error, ErrorKind};
use offtake_wire::records::{BatchWriter, BuildError, Compression, SealedBatch};

use super::SlotId;
use crate::delivery::BatchOutcome;

/// The number of a batch among all of its producer, in the order in which they were begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Serial(u64);

impl Serial {
    pub(super) const FIRST: Self = Self(0);

    pub(super) fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// What is known of a batch in every state.
#[derive(Clone, Debug)]
pub(crate) struct BatchInfo {
    pub(crate) serial: Serial,
    /// Its place among the batches of its partition: the batch that its records were first put into, and its first record's number there.
    pub(crate) order: (Serial, u32),
    pub(crate) outcome: Arc<BatchOutcome>,
    /// When `delivery.timeout.ms` is over.
    pub(crate) deadline: Instant,
}

/// A batch that takes records.
#[derive(Debug)]
pub(super) struct OpenBatch {
    pub(super) info: BatchInfo,
    /// When `linger.ms` is over.
    pub(super) due: Instant,
    /// Whether it is among those that the engine will look at by themselves.
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

    /// The bytes that it holds. One that compression made larger counts as it was.
    pub(crate) fn held(&self) -> usize {
        self.sealed.uncompressed_size().min(self.sealed.size())
    }

    /// How many bytes less it takes than its records took.
    pub(crate) fn freed(&self) -> usize {
        self.sealed.uncompressed_size().saturating_sub(self.held())
    }

    /// What compression left of it.
    pub(crate) fn ratio(&self) -> f32 {
        self.sealed.size() as f32 / self.sealed.uncompressed_size().max(1) as f32
    }
}

/// How batches are sealed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Codec {
    pub(crate) compression: Compression,
    pub(crate) level: Option<i32>,
    /// Whether they are parts of transactions.
    pub(crate) is_transactional: bool,
}

/// Seals a batch; the error comes with the bytes that it held.
pub(crate) fn seal(writer: BatchWriter, codec: Codec) -> Result<SealedBatch, (BuildError, usize)> {
    let size = writer.size();
    writer.seal(codec.compression, codec.level, codec.is_transactional).map_err(|error| (error, size))
}

/// Why a batch cannot be sealed.
pub(crate) fn seal_failed(error: &BuildError) -> Error {
    let kind = match error {
        BuildError::TooLarge => ErrorKind::TooLarge,
        BuildError::Codec(_) => ErrorKind::MissingCodec,
    };
    Error::new(kind, format!("the batch cannot be written: {error}"))
}
