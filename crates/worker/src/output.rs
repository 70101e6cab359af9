//! Records sent by handlers, kept until the transaction that finishes their input records.

use std::sync::{Arc, Mutex, PoisonError};

use offtake_producer::ProducerRecord;

use crate::Failure;

/// A record to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) topic: String,
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    pub(crate) timestamp: Option<i64>,
    /// The lowest offset of the records that it is made of, if there are several.
    pub(crate) first: Option<i64>,
}

impl Output {
    fn new(record: &ProducerRecord<'_>) -> Self {
        let headers = record.header_bytes().map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec)));
        Self {
            topic: record.topic().to_owned(),
            partition: record.partition_index(),
            key: record.key_bytes().map(<[u8]>::to_vec),
            value: record.value_bytes().map(<[u8]>::to_vec),
            headers: headers.collect(),
            timestamp: record.timestamp_millis(),
            first: None,
        }
    }

    pub(crate) fn as_record(&self) -> ProducerRecord<'_> {
        let mut record =
            ProducerRecord::to(&self.topic).maybe_key(self.key.as_deref()).maybe_value(self.value.as_deref());
        if let Some(partition) = self.partition {
            record = record.partition(partition);
        }
        if let Some(timestamp) = self.timestamp {
            record = record.timestamp(timestamp);
        }
        self.headers.iter().fold(record, |record, (key, value)| record.maybe_header(key, value.as_deref()))
    }

    /// An upper bound of its size in a producer's memory (`buffer.memory`).
    pub(crate) fn memory(&self) -> usize {
        /// The rest of a record, each field in its longest form, and of a batch with this record alone.
        const RECORD: usize = 97;
        /// The longest length fields of a header.
        const HEADER: usize = 10;
        self.bytes() + RECORD + HEADER * self.headers.len()
    }

    /// Its size in the queue.
    pub(crate) fn bytes(&self) -> usize {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers = self.headers.iter().map(|(key, value)| key.len() + length(value));
        headers.sum::<usize>() + length(&self.key) + length(&self.value)
    }
}

/// Holds the records sent by one attempt. Closed when the attempt has ended.
#[derive(Clone, Debug)]
pub(crate) struct Outbox(Arc<Mutex<Option<Vec<Output>>>>);

impl Outbox {
    pub(crate) fn open() -> Self {
        Self(Arc::new(Mutex::new(Some(Vec::new()))))
    }

    /// Sends a record. `first` is the lowest offset of the records that it is made of, if there are several.
    pub(crate) fn send(&self, record: &ProducerRecord<'_>, first: Option<i64>) -> Result<(), Failure> {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(sent) => {
                sent.push(Output { first, ..Output::new(record) });
                Ok(())
            }
            None => Err(Failure::retry("the attempt has ended: records sent now belong to no transaction")),
        }
    }

    /// Closes the outbox, and returns the records that were sent.
    pub(crate) fn close(&self) -> Vec<Output> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sent_records_are_kept_byte_for_byte_until_the_attempt_ends() {
        let outbox = Outbox::open();
        let record = ProducerRecord::to("t").key(&[0xff]).value("v").partition(3).timestamp(5);
        let record = record.header("a", "").maybe_header("b", None);
        outbox.send(&record, None).unwrap();
        outbox.send(&ProducerRecord::to("u"), None).unwrap();
        let sent = outbox.close();
        assert!(outbox.send(&record, None).is_err() && outbox.close().is_empty());
        assert_eq!(sent.len(), 2);
        assert_eq!((sent[0].bytes(), sent[1].bytes()), (4, 0));
        assert_eq!((sent[0].memory(), sent[1].memory()), (4 + 97 + 20, 97));
        assert_eq!(Output::new(&sent[0].as_record()), sent[0]);
        assert_eq!(Output::new(&sent[1].as_record()), sent[1]);
        assert_eq!((sent[0].partition, sent[1].partition, sent[1].timestamp), (Some(3), None, None));
    }
}
