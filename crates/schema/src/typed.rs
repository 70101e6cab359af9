//! [`Typed`]: a consumer whose records have values of user types.

use std::{collections::BTreeMap, fmt, ops::Deref, sync::Arc, time::Duration};

use offtake::{Consumer, OwnedRecord, Record, TopicPartition};
use serde::Deserialize;

use crate::{
    deserializer::{Deserializer, Plain, Prepared},
    error::DecodeError,
    gate::{Gate, Pair, Sorted, WhenUnknown},
    id::SchemaId,
    payload::{Part, Payload},
};

/// Adds typed values to a [`Consumer`].
pub trait TypedConsumer: Sized {
    /// Decodes values with this deserializer; keys are [`Plain`].
    fn typed<V: Deserializer>(self, value: V) -> Typed<Plain, V> {
        self.typed_with_key(Plain, value)
    }

    /// Decodes keys and values with these deserializers.
    fn typed_with_key<K: Deserializer, V: Deserializer>(self, key: K, value: V) -> Typed<K, V>;
}

impl TypedConsumer for Consumer {
    fn typed_with_key<K: Deserializer, V: Deserializer>(self, key: K, value: V) -> Typed<K, V> {
        Typed::new(self, Arc::new(Pair { key, value }))
    }
}

/// A consumer whose records have values of user types.
///
/// A partition whose next records need an unknown schema waits for it, while the others go on: see
/// [`when_unknown`](Self::when_unknown). If the application itself marks records as finished (`enable.auto.offset.store=false`,
/// `finish_each`), all partitions wait in `poll`, for at most half of `max.poll.interval.ms`.
///
/// Records that wait inside `poll` are not committed before they are delivered, and those of a partition that is sought, paused
/// or given up meanwhile are not delivered. A partition listed by [`waiting`](Self::waiting) is paused. It is resumed when its
/// schema is known, even if the application has paused it as well.
///
/// The records of one `poll` can be decoded as long as they are kept, however many schemas they need: schemas beyond the
/// registry's cache (`cache_entries`, `cache_bytes`) are kept with them.
pub struct Typed<K, V> {
    consumer: Consumer,
    pair: Arc<Pair<K, V>>,
    gate: Gate<K, V>,
}

impl<K: Deserializer, V: Deserializer> Typed<K, V> {
    fn new(consumer: Consumer, pair: Arc<Pair<K, V>>) -> Self {
        let may_seek = consumer.config().enable_auto_offset_store;
        let gate = Gate::over(Arc::clone(&pair), WhenUnknown::default(), may_seek);
        Self { consumer, pair, gate }
    }

    /// Sets the treatment of records whose schema is unknown and cannot be fetched. Default: their partition waits 30 s. Records
    /// that already wait keep the previous setting.
    pub fn when_unknown(mut self, when_unknown: WhenUnknown) -> Self {
        self.gate.set_when_unknown(when_unknown);
        self
    }

    /// Like [`Consumer::poll`]. Cancel-safe.
    ///
    /// # Errors
    /// Those of [`Consumer::poll`].
    pub async fn poll(&mut self, timeout: Duration) -> offtake::Result<TypedRecords<K, V>> {
        let sorted = self.gate.poll(&mut self.consumer, timeout).await?;
        Ok(TypedRecords { sorted, pair: Arc::clone(&self.pair) })
    }

    /// Like [`Consumer::commit`]: exactly these records are finished.
    ///
    /// # Errors
    /// Those of [`Consumer::commit`].
    pub async fn commit(&mut self, records: &TypedRecords<K, V>) -> offtake::Result<()> {
        if let Some(whole) = records.sorted.whole() {
            return self.consumer.commit(whole).await;
        }
        // If a partition has several runs, the last one is furthest on.
        let ends: BTreeMap<TopicPartition, i64> = records
            .sorted
            .partitions()
            .map(|part| (part.topic_partition().clone(), part.next_offset()))
            .collect();
        self.consumer.commit_offsets(ends.into_iter().collect::<Vec<_>>()).await
    }

    /// The consumer.
    pub fn consumer(&self) -> &Consumer {
        &self.consumer
    }

    /// The consumer, for example to subscribe. Records polled directly from it do not pass through the gate.
    pub fn consumer_mut(&mut self) -> &mut Consumer {
        &mut self.consumer
    }

    /// The partitions that wait for a schema at present.
    pub fn waiting(&self) -> impl Iterator<Item = &TopicPartition> {
        self.gate.held()
    }

    /// Like [`Consumer::close`].
    ///
    /// # Errors
    /// Those of [`Consumer::close`].
    pub async fn close(self, timeout: Duration) -> offtake::Result<()> {
        self.consumer.close(timeout).await
    }
}

impl<K, V> fmt::Debug for Typed<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Typed").field("consumer", &self.consumer).finish_non_exhaustive()
    }
}

/// The records of one `poll`.
pub struct TypedRecords<K, V> {
    sorted: Sorted,
    pair: Arc<Pair<K, V>>,
}

impl<K, V> TypedRecords<K, V> {
    /// All records, each partition's in offset order.
    pub fn iter(&self) -> impl Iterator<Item = TypedRecord<'_, K, V>> {
        self.sorted.iter().map(|record| TypedRecord { record, pair: &self.pair })
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        self.sorted.partitions().map(|part| part.len()).sum()
    }
}

impl<K, V> fmt::Debug for TypedRecords<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedRecords").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// A record, whose key and value are decoded on request. It dereferences to [`Record`]; the bytes are at
/// [`raw_key`](Self::raw_key) and [`raw_value`](Self::raw_value).
pub struct TypedRecord<'a, K, V> {
    record: Record<'a>,
    pair: &'a Pair<K, V>,
}

impl<'a, K: Deserializer, V: Deserializer> TypedRecord<'a, K, V> {
    /// Decodes the value. A tombstone is `None` for an `Option`.
    ///
    /// # Errors
    /// The reason, with the record's place.
    pub fn value<T: Deserialize<'a>>(&self) -> Result<T, DecodeError> {
        let decoded = self.pair.value.deserialize(&Payload::of(Part::Value, &self.record));
        decoded.map_err(|error| error.at(RecordPlace { part: Part::Value, record: &self.record }))
    }

    /// Decodes the key. A missing key is `None` for an `Option`.
    ///
    /// # Errors
    /// The reason, with the record's place.
    pub fn key<T: Deserialize<'a>>(&self) -> Result<T, DecodeError> {
        let decoded = self.pair.key.deserialize(&Payload::of(Part::Key, &self.record));
        decoded.map_err(|error| error.at(RecordPlace { part: Part::Key, record: &self.record }))
    }
}

impl<'a, K, V> TypedRecord<'a, K, V> {
    /// The value's bytes, unchanged.
    pub fn raw_value(&self) -> Option<&'a [u8]> {
        self.record.value()
    }

    /// The key's bytes, unchanged.
    pub fn raw_key(&self) -> Option<&'a [u8]> {
        self.record.key()
    }

    /// The record.
    pub fn record(&self) -> Record<'a> {
        self.record
    }
}

impl<'a, K, V> Deref for TypedRecord<'a, K, V> {
    type Target = Record<'a>;

    fn deref(&self) -> &Record<'a> {
        &self.record
    }
}

impl<K, V> fmt::Debug for TypedRecord<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.record.fmt(f)
    }
}

/// The part of a record that an error concerns.
struct RecordPlace<'a> {
    part: Part,
    record: &'a Record<'a>,
}

impl fmt::Display for RecordPlace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} at offset {}",
            self.part.name(),
            self.record.topic_partition(),
            self.record.offset()
        )
    }
}

/// Decodes the value of an owned record. Waits at most this long for the needs of the deserializer.
///
/// # Errors
/// The reason, with the record's place.
pub async fn decode<T: serde::de::DeserializeOwned>(
    by: &impl Deserializer,
    record: &OwnedRecord,
    limit: Duration,
) -> Result<T, DecodeError> {
    decode_with(by, record, |id| by.prepare(id, limit)).await
}

/// The same, with the needs supplied by `prepare`.
pub(crate) async fn decode_with<T: serde::de::DeserializeOwned, P>(
    by: &impl Deserializer,
    record: &OwnedRecord,
    prepare: impl FnOnce(SchemaId) -> P,
) -> Result<T, DecodeError>
where
    P: Future<Output = Result<Prepared, DecodeError>>,
{
    let payload = Payload::of_owned(Part::Value, record);
    let decoded = match by.missing(&payload) {
        Some(id) => match prepare(id).await {
            // It is kept until the value is decoded, because a cache may evict it.
            Ok(_prepared) => by.deserialize(&payload),
            Err(error) => Err(error),
        },
        None => by.deserialize(&payload),
    };
    decoded.map_err(|error| {
        error.at(format_args!("value of {} at offset {}", record.topic_partition(), record.offset()))
    })
}
