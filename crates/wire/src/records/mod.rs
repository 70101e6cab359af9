//! Record batches, as contained in Fetch responses and Produce requests.
//!
//! [`Batches`] splits the records field of a fetched partition into batches and verifies each one's checksum, once.
//! [`Batch::open`] decompresses one into a [`Payload`] ([`Batches::join`] makes one of several small ones), [`Records`] iterates over that, and a [`Record`] is a view into it:
//! between the socket and the application, a record is neither copied (unless its batch was compressed, and then once, with the
//! batch) nor allocated.
//!
//! Message formats 0 and 1 are read by the same calls: a [`LegacyBatch`] is rewritten to v2 records when it is opened, so that
//! callers need to know only one format.
//!
//! Every byte may be malicious. Errors are described by [`RecordFault`], with the offsets they concern. An error consumes
//! nothing, so that the position stays until the caller decides to skip.

mod aborted;
mod batch;
mod builder;
mod compression;
mod control;
mod cursor;
mod encode;
mod error;
mod header;
mod joined;
mod legacy;
mod legacy_builder;
mod record;
mod set;
mod varint;
mod writer;

pub use aborted::AbortedTransactions;
pub use batch::{BatchHeader, Crc, TimestampType, V2Batch};
pub use builder::{BatchBuilder, BuildError};
pub use compression::{CodecError, Compression, Decompressor, Lz4Checksum, compress};
pub use control::ControlRecord;
pub use cursor::{Payload, PayloadPosition, RecordSlice, RecordSliceIter, Records};
pub use error::{RecordError, RecordFault};
pub use legacy::LegacyBatch;
pub use legacy_builder::{LegacyMessage, legacy_set, legacy_wrapper};
pub use record::{Header, Headers, OwnedRecord, Record, Row};
pub use set::{AnyBatchHeader, Batch, Batches};
pub use writer::{BatchWriter, ProducerStamp, SealedBatch, next_sequence};
