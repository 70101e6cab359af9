//! The choice of a record's partition.
//!
//! A record that names its partition goes there. A record with a key goes to the partition that the key's hash gives, so that
//! records with equal keys stay in order. Any other record goes to the partition that is being filled ([`Sticky`], KIP-794).

mod murmur2;
mod sticky;

pub(crate) use murmur2::partition_of_key;
pub(crate) use sticky::Sticky;

use crate::ProducerRecord;

/// A custom choice of partitions, in place of the hash of the key.
///
/// ```
/// use offtake_producer::{Partitioner, ProducerRecord};
///
/// /// Everything without a key to the first partition.
/// struct First;
///
/// impl Partitioner for First {
///     fn partition(&self, record: &ProducerRecord<'_>, _partitions: u32) -> Option<i32> {
///         record.key_bytes().is_none().then_some(0)
///     }
/// }
/// ```
pub trait Partitioner: Send + Sync + 'static {
    /// Returns the partition for a record that names none, of a topic with this many partitions. `None` leaves the choice to the
    /// producer. A partition that does not exist makes the record wait for it, up to `max.block.ms`.
    ///
    /// Other senders wait during the call: it should be fast, and must not call the producer. If it panics, the record is refused
    /// (its delivery fails with `Misuse`).
    fn partition(&self, record: &ProducerRecord<'_>, partitions: u32) -> Option<i32>;
}
