//! Records to be produced, specified to the last byte.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// One record for [`JavaTool::produce`](crate::JavaTool::produce). Unset fields are null, or left to Java's producer
/// (partition, timestamp).
#[derive(Debug, Clone)]
pub struct RecordSpec {
    /// The topic.
    pub topic: String,
    /// The partition, if set.
    pub partition: Option<i32>,
    /// CreateTime in milliseconds.
    pub timestamp: Option<i64>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Option<Vec<u8>>,
    /// The headers in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl RecordSpec {
    /// A record with null key and value.
    pub fn to(topic: &str) -> Self {
        Self {
            topic: topic.into(),
            partition: None,
            timestamp: None,
            key: None,
            value: None,
            headers: Vec::new(),
        }
    }

    /// Sets the partition.
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// CreateTime in milliseconds.
    pub fn timestamp(mut self, millis: i64) -> Self {
        self.timestamp = Some(millis);
        self
    }

    /// A key, possibly empty.
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.key = Some(key.as_ref().to_vec());
        self
    }

    /// A value, possibly empty.
    pub fn value(mut self, value: impl AsRef<[u8]>) -> Self {
        self.value = Some(value.as_ref().to_vec());
        self
    }

    /// Adds a header; names may repeat.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.into(), Some(value.as_ref().to_vec())));
        self
    }

    /// Adds a header whose value is null.
    pub fn null_header(mut self, name: &str) -> Self {
        self.headers.push((name.into(), None));
        self
    }

    pub(crate) fn to_json(&self) -> Value {
        let base64 = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| STANDARD.encode(bytes));
        let headers: Vec<Value> =
            self.headers.iter().map(|(name, value)| json!([name, base64(value)])).collect();
        json!({
            "topic": self.topic, "partition": self.partition, "timestamp": self.timestamp,
            "key_base64": base64(&self.key), "value_base64": base64(&self.value), "headers": headers,
        })
    }
}
