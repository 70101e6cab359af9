//! Which partition a record goes to.
//!
//! A record that names its partition goes there; one with a key to the partition that the key's hash says, so that equal keys stay in
//! order; any other to the partition that is being filled ([`Sticky`], KIP-794).

mod murmur2;
mod sticky;

pub(crate) use murmur2::partition_of_key;
pub(crate) use sticky::Sticky;

use crate::ProducerRecord;

/// A choice of partitions of one's own, in place of the hash of the key.
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
    /// The partition for this record, which names none itself, of a topic with so many partitions; `None` leaves the choice to the producer.
    /// A number that the topic does not have makes the record wait, for `max.block.ms`, until it has.
    ///
    /// It is called while other senders wait: it should not take long, and may not call the producer. If it panics, the record is refused
    /// (`Misuse`, by its delivery).
    fn partition(&self, record: &ProducerRecord<'_>, partitions: u32) -> Option<i32>;
}
