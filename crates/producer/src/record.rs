//! [`ProducerRecord`]: a record to be sent.

use std::fmt;

/// A record to be sent. It borrows its parts; sending copies them into a batch.
///
/// ```
/// use offtake_producer::ProducerRecord;
///
/// let record = ProducerRecord::to("orders").key("customer-7").value("{}").header("trace", "4bf9");
/// ```
#[derive(Clone)]
pub struct ProducerRecord<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Vec<Header<'a>>,
    pub(crate) timestamp: Option<i64>,
}

/// A header's key, and its value if that is not null.
pub(crate) type Header<'a> = (&'a [u8], Option<&'a [u8]>);

impl<'a> ProducerRecord<'a> {
    /// Begins a record for this topic, with no key, a null value and no headers. Its timestamp is the time at which it is sent.
    pub fn to(topic: &'a str) -> Self {
        Self { topic, partition: None, key: None, value: None, headers: Vec::new(), timestamp: None }
    }

    /// Sets the value. The default is null, which deletes the key in a compacted topic.
    pub fn value(self, value: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.maybe_value(Some(value.as_ref()))
    }

    /// Sets the value, or null.
    pub fn maybe_value(self, value: Option<&'a [u8]>) -> Self {
        Self { value, ..self }
    }

    /// Sets the key. Records with equal keys go to the same partition, as long as the topic's number of partitions does not
    /// change.
    pub fn key(self, key: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.maybe_key(Some(key.as_ref()))
    }

    /// Sets the key, or none.
    pub fn maybe_key(self, key: Option<&'a [u8]>) -> Self {
        Self { key, ..self }
    }

    /// Sets the partition, whatever the key.
    pub fn partition(self, partition: i32) -> Self {
        Self { partition: Some(partition), ..self }
    }

    /// Sets the timestamp, in milliseconds since 1970, instead of the time of sending.
    pub fn timestamp(self, millis: i64) -> Self {
        Self { timestamp: Some(millis), ..self }
    }

    /// Adds a header. The same key may occur more than once.
    pub fn header(
        self,
        key: &'a (impl AsRef<[u8]> + ?Sized),
        value: &'a (impl AsRef<[u8]> + ?Sized),
    ) -> Self {
        self.maybe_header(key, Some(value.as_ref()))
    }

    /// Adds a header whose value may be null.
    pub fn maybe_header(mut self, key: &'a (impl AsRef<[u8]> + ?Sized), value: Option<&'a [u8]>) -> Self {
        self.headers.push((key.as_ref(), value));
        self
    }

    /// The topic.
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// The key, for partitioners.
    pub fn key_bytes(&self) -> Option<&'a [u8]> {
        self.key
    }

    /// The value.
    pub fn value_bytes(&self) -> Option<&'a [u8]> {
        self.value
    }

    /// The partition, if the record names one.
    pub fn partition_index(&self) -> Option<i32> {
        self.partition
    }

    /// The headers, in order, as the bytes of each key and value.
    pub fn header_bytes(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        self.headers.iter().copied()
    }

    /// The timestamp, in milliseconds since 1970, if the record has its own.
    pub fn timestamp_millis(&self) -> Option<i64> {
        self.timestamp
    }
}

/// Shows sizes instead of contents, which may be confidential.
impl fmt::Debug for ProducerRecord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducerRecord")
            .field("topic", &self.topic)
            .field("partition", &self.partition)
            .field("key_bytes", &self.key.map(<[u8]>::len))
            .field("value_bytes", &self.value.map(<[u8]>::len))
            .field("headers", &self.headers.len())
            .field("timestamp", &self.timestamp)
            .finish()
    }
}

/// A record that owns its bytes while it waits.
#[derive(Debug)]
pub(crate) struct OwnedRecord {
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    pub(crate) timestamp: i64,
}

impl OwnedRecord {
    pub(crate) fn new(record: &ProducerRecord<'_>, timestamp: i64) -> Self {
        let headers = record.headers.iter().map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec)));
        Self {
            partition: record.partition,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: headers.collect(),
            timestamp,
        }
    }

    pub(crate) fn borrow<'a>(&'a self, topic: &'a str) -> ProducerRecord<'a> {
        ProducerRecord {
            topic,
            partition: self.partition,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: self.headers.iter().map(|(key, value)| (key.as_slice(), value.as_deref())).collect(),
            timestamp: Some(self.timestamp),
        }
    }
}
