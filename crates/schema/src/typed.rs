//! [`Typed`]: a consumer whose records have values of the user's own types.

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

/// Gives a [`Consumer`] typed values.
pub trait TypedConsumer: Sized {
    /// Values are decoded by this; keys are [`Plain`].
    fn typed<V: Deserializer>(self, value: V) -> Typed<Plain, V> {
        self.typed_with_key(Plain, value)
    }

    /// Keys and values are decoded by these.
    fn typed_with_key<K: Deserializer, V: Deserializer>(self, key: K, value: V) -> Typed<K, V>;
}

impl TypedConsumer for Consumer {
    fn typed_with_key<K: Deserializer, V: Deserializer>(self, key: K, value: V) -> Typed<K, V> {
        Typed::new(self, Arc::new(Pair { key, value }))
    }
}

/// A consumer whose records have values of the user's own types.
///
/// A partition whose next records need a schema that is not known yet waits for it, and the others go on: see
/// [`when_unknown`](Self::when_unknown). Where the application says itself what is finished (`enable.auto.offset.store=false`, `finish_each`) all
/// partitions wait in `poll`, and at most half of `max.poll.interval.ms`.
///
/// Records that wait inside of `poll` are not committed before they are handed out, and those of a partition that is sought, paused or given
/// up meanwhile are not handed out. A partition that [`waiting`](Self::waiting) names is paused: it is resumed when its schema is known, also
/// where the application has paused it as well.
///
/// What one `poll` hands out can be decoded as long as it is kept, however many schemas it needs: those beyond the registry's cache
/// (`cache_entries`, `cache_bytes`) are kept with it.
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

    /// What becomes of records whose schema the registry cannot be asked for. Default: their partition waits 30 s.
    /// Records that wait already wait as long as was said before.
    pub fn when_unknown(mut self, when_unknown: WhenUnknown) -> Self {
        self.gate.set_when_unknown(when_unknown);
        self
    }

    /// As [`Consumer::poll`]. Dropping it loses nothing.
    ///
    /// # Errors
    /// As [`Consumer::poll`].
    pub async fn poll(&mut self, timeout: Duration) -> offtake::Result<TypedRecords<K, V>> {
        let sorted = self.gate.poll(&mut self.consumer, timeout).await?;
        Ok(TypedRecords { sorted, pair: Arc::clone(&self.pair) })
    }

    /// As [`Consumer::commit`]: exactly these records are finished.
    ///
    /// # Errors
    /// As [`Consumer::commit`].
    pub async fn commit(&mut self, records: &TypedRecords<K, V>) -> offtake::Result<()> {
        if let Some(whole) = records.sorted.whole() {
            return self.consumer.commit(whole).await;
        }
        // A partition's later run is further on.
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

    /// The consumer, to subscribe for example. Records that it hands out itself are not looked through.
    pub fn consumer_mut(&mut self) -> &mut Consumer {
        &mut self.consumer
    }

    /// The partitions that wait for a schema now.
    pub fn waiting(&self) -> impl Iterator<Item = &TopicPartition> {
        self.gate.held()
    }

    /// As [`Consumer::close`].
    ///
    /// # Errors
    /// As [`Consumer::close`].
    pub async fn close(self, timeout: Duration) -> offtake::Result<()> {
        self.consumer.close(timeout).await
    }
}

impl<K, V> fmt::Debug for Typed<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Typed").field("consumer", &self.consumer).finish_non_exhaustive()
    }
}

/// What one `poll` handed out.
pub struct TypedRecords<K, V> {
    sorted: Sorted,
    pair: Arc<Pair<K, V>>,
}

impl<K, V> TypedRecords<K, V> {
    /// All records, each partition's in offset order.
    pub fn iter(&self) -> impl Iterator<Item = TypedRecord<'_, K, V>> {
        self.sorted.iter().map(|record| TypedRecord { record, pair: &self.pair })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.sorted.partitions().map(|part| part.len()).sum()
    }
}

impl<K, V> fmt::Debug for TypedRecords<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedRecords").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// A record, whose key and value are decoded when they are asked for. It is a [`Record`] too; the bytes are at
/// [`raw_key`](Self::raw_key) and [`raw_value`](Self::raw_value).
pub struct TypedRecord<'a, K, V> {
    record: Record<'a>,
    pair: &'a Pair<K, V>,
}

impl<'a, K: Deserializer, V: Deserializer> TypedRecord<'a, K, V> {
    /// The value. A tombstone is `None` of an `Option`.
    ///
    /// # Errors
    /// Why there is none, with the record's place.
    pub fn value<T: Deserialize<'a>>(&self) -> Result<T, DecodeError> {
        let decoded = self.pair.value.deserialize(&Payload::of(Part::Value, &self.record));
        decoded.map_err(|error| error.at(RecordPlace { part: Part::Value, record: &self.record }))
    }

    /// The key. That there is none is `None` of an `Option`.
    ///
    /// # Errors
    /// Why there is none, with the record's place.
    pub fn key<T: Deserialize<'a>>(&self) -> Result<T, DecodeError> {
        let decoded = self.pair.key.deserialize(&Payload::of(Part::Key, &self.record));
        decoded.map_err(|error| error.at(RecordPlace { part: Part::Key, record: &self.record }))
    }
}

impl<'a, K, V> TypedRecord<'a, K, V> {
    /// The value's bytes, as they came.
    pub fn raw_value(&self) -> Option<&'a [u8]> {
        self.record.value()
    }

    /// The key's bytes, as they came.
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

/// The part of a record that an error is about.
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

/// The value of a record that outlives what it came in. What its deserialiser needs is waited for, at most so long.
///
/// # Errors
/// Why there is none, with the record's place.
pub async fn decode<T: serde::de::DeserializeOwned>(
    by: &impl Deserializer,
    record: &OwnedRecord,
    limit: Duration,
) -> Result<T, DecodeError> {
    decode_with(by, record, |id| by.prepare(id, limit)).await
}

/// The same, where what is needed comes of `prepare`.
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
            // It is kept until the value is there: a cache may forget it.
            Ok(_prepared) => by.deserialize(&payload),
            Err(error) => Err(error),
        },
        None => by.deserialize(&payload),
    };
    decoded.map_err(|error| {
        error.at(format_args!("value of {} at offset {}", record.topic_partition(), record.offset()))
    })
}
