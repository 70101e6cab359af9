//! Batches for producing: [`BatchWriter`] accepts records; a [`SealedBatch`] is sent to a broker, possibly more than once.

use bytes::{Bytes, BytesMut};

use super::batch::{HEADER, TRANSACTIONAL};
use super::builder::BuildError;
use super::compression::{Compression, compress_at};
use super::encode::RecordToWrite;
use super::header::{HeaderToWrite, write_producer};

/// An open batch. It writes each record directly into the bytes that will be sent.
#[derive(Debug)]
pub struct BatchWriter {
    /// The header, filled in later, then the records.
    out: Vec<u8>,
    count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl BatchWriter {
    /// An empty batch, with memory for this many bytes of records.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut out = Vec::with_capacity(HEADER.saturating_add(bytes));
        out.resize(HEADER, 0);
        Self { out, count: 0, base_timestamp: -1, max_timestamp: -1 }
    }

    /// An upper bound of the bytes that a record takes anywhere in a batch; `None` if it is too long for the format.
    pub fn max_record_size<'a>(
        key: Option<&'a [u8]>,
        value: Option<&'a [u8]>,
        headers: impl ExactSizeIterator<Item = (&'a [u8], Option<&'a [u8]>)> + Clone,
    ) -> Option<usize> {
        // The greatest sizes of the three fields that depend on its place.
        const LONGEST_LENGTH: usize = 5;
        let record = RecordToWrite { offset_delta: i32::MAX, timestamp_delta: i64::MAX, key, value, headers };
        usize::try_from(record.len()?).ok()?.checked_add(LONGEST_LENGTH)
    }

    /// Adds a record, with its timestamp in milliseconds since 1970.
    ///
    /// # Errors
    /// `TooLarge` if the record is too long for the format, or the batch has too many records. Nothing is added.
    pub fn push<'a>(
        &mut self,
        timestamp: i64,
        key: Option<&'a [u8]>,
        value: Option<&'a [u8]>,
        headers: impl ExactSizeIterator<Item = (&'a [u8], Option<&'a [u8]>)> + Clone,
    ) -> Result<(), BuildError> {
        let base = if self.count == 0 { timestamp } else { self.base_timestamp };
        let timestamp_delta = timestamp.wrapping_sub(base);
        let record = RecordToWrite { offset_delta: self.count, timestamp_delta, key, value, headers };
        let (Some(len), Some(count)) = (record.len(), self.count.checked_add(1)) else {
            return Err(BuildError::TooLarge);
        };
        record.put(&mut self.out, len);
        self.max_timestamp = if self.count == 0 { timestamp } else { self.max_timestamp.max(timestamp) };
        self.base_timestamp = base;
        self.count = count;
        Ok(())
    }

    /// The number of records so far.
    pub fn count(&self) -> i32 {
        self.count
    }

    /// The present size of the batch in bytes, with header, before compression.
    pub fn size(&self) -> usize {
        self.out.len()
    }

    /// The batch, compressed and ready to send.
    ///
    /// # Errors
    /// The codec is not compiled in, or failed; or the batch is too large for its format.
    pub fn seal(
        self,
        codec: Compression,
        level: Option<i32>,
        transactional: bool,
    ) -> Result<SealedBatch, BuildError> {
        let uncompressed = self.out.len();
        let mut batch = self.out;
        if codec != Compression::None {
            let records = batch.get(HEADER..).unwrap_or_default();
            let mut packed = Vec::with_capacity(HEADER.saturating_add(records.len() / 2));
            packed.resize(HEADER, 0);
            compress_at(codec, level, records, &mut packed)?;
            packed.shrink_to_fit(); // memory is counted by length
            batch = packed;
        }
        let header = HeaderToWrite {
            base_offset: 0,
            leader_epoch: -1,
            attributes: if transactional { TRANSACTIONAL } else { 0 },
            last_offset_delta: self.count.saturating_sub(1),
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer: ProducerStamp::NONE.as_tuple(),
            count: self.count,
        };
        header.write_unchecked(codec, &mut batch)?;
        Ok(SealedBatch { bytes: batch.into(), count: self.count, stamp: None, uncompressed })
    }
}

/// The producer of a batch, and the batch's sequence number in the partition (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStamp {
    /// The producer's id.
    pub id: i64,
    /// The epoch of the id.
    pub epoch: i16,
    /// The sequence number of the batch's first record.
    pub base_sequence: i32,
}

impl ProducerStamp {
    /// The stamp of a non-idempotent producer.
    pub const NONE: Self = Self { id: -1, epoch: -1, base_sequence: -1 };

    /// Splits the stamp of a batch for its two parts, the first of which has this many records.
    pub fn of_parts(self, first: i32) -> [Self; 2] {
        [self, Self { base_sequence: next_sequence(self.base_sequence, first), ..self }]
    }

    fn as_tuple(self) -> (i64, i16, i32) {
        (self.id, self.epoch, self.base_sequence)
    }
}

/// The sequence number this many records later. 0 follows the largest.
pub fn next_sequence(sequence: i32, count: i32) -> i32 {
    if sequence < 0 {
        return sequence; // the producer is not idempotent
    }
    sequence.checked_add(count).unwrap_or_else(|| count.saturating_sub(i32::MAX - sequence).saturating_sub(1))
}

/// A batch that accepts no more records. From one attempt to the next, only its [`ProducerStamp`] changes.
#[derive(Clone, Debug)]
pub struct SealedBatch {
    bytes: Bytes,
    count: i32,
    /// The stamp of the last call of `stamped`. Before the first call, there is no checksum.
    stamp: Option<ProducerStamp>,
    uncompressed: usize,
}

impl SealedBatch {
    /// The bytes to send, with this stamp. With the same stamp as in the last call, they are the same bytes.
    pub fn stamped(&mut self, stamp: ProducerStamp) -> Bytes {
        if self.stamp != Some(stamp) {
            let bytes = std::mem::take(&mut self.bytes);
            // Bytes that are being sent remain unchanged.
            let mut bytes = bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(shared.as_ref()));
            write_producer(&mut bytes, stamp.as_tuple());
            self.bytes = bytes.freeze();
            self.stamp = Some(stamp);
        }
        self.bytes.clone()
    }

    /// The number of records.
    pub fn count(&self) -> i32 {
        self.count
    }

    /// The number of bytes to send.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The number of bytes that would be sent without compression.
    pub fn uncompressed_size(&self) -> usize {
        self.uncompressed
    }

    /// The bytes with the last stamp; before the first stamp they have no checksum.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BatchHeader, Batches, CodecError, Crc, Decompressor};
    use super::*;

    const HEADERS: [(&[u8], Option<&[u8]>); 2] = [(b"trace", Some(b"7")), (b"trace", None)];

    fn three() -> BatchWriter {
        let mut batch = BatchWriter::with_capacity(0);
        batch.push(1_000, Some(b"k"), Some(b"v"), HEADERS.into_iter()).unwrap();
        batch.push(900, None, Some(b""), [].into_iter()).unwrap();
        batch.push(1_100, Some(b""), None, [].into_iter()).unwrap();
        batch
    }

    #[test]
    fn records_are_read_back_in_every_codec_and_with_every_producer_stamp() {
        for codec in Compression::ALL {
            let mut sealed = match three().seal(codec, None, true) {
                Ok(sealed) => sealed,
                Err(BuildError::Codec(CodecError::NotBuiltIn { .. })) => continue,
                Err(error) => panic!("{codec}: {error}"),
            };
            let first = sealed.stamped(ProducerStamp { id: 9, epoch: 3, base_sequence: 70 });
            let again = sealed.stamped(ProducerStamp { id: 9, epoch: 4, base_sequence: 0 });
            for (bytes, epoch, base_sequence) in [(first, 3, 70), (again, 4, 0)] {
                let header = BatchHeader::peek(&bytes).unwrap().unwrap();
                assert_eq!((header.producer_id(), header.producer_epoch()), (9, epoch), "{codec}");
                assert_eq!(
                    (header.base_sequence(), header.max_timestamp()),
                    (base_sequence, 1_100),
                    "{codec}"
                );
                assert!(header.is_transactional());
                let mut batches = Batches::new(bytes, Crc::Check);
                let batch = batches.next().unwrap().unwrap();
                let payload = batch.open(&mut Decompressor::new()).unwrap();
                let read: Vec<_> = payload
                    .records()
                    .map(|record| {
                        let record = record.unwrap();
                        (
                            record.offset(),
                            record.timestamp(),
                            record.key().map(<[u8]>::to_vec),
                            record.value().map(<[u8]>::to_vec),
                            record.headers().count(),
                        )
                    })
                    .collect();
                let expected = [
                    (0, 1_000, Some(b"k".to_vec()), Some(b"v".to_vec()), 2),
                    (1, 900, None, Some(vec![]), 0),
                    (2, 1_100, Some(vec![]), None, 0),
                ];
                assert_eq!(read, expected, "{codec}");
            }
        }
    }

    #[test]
    fn bytes_that_are_on_their_way_are_not_changed_by_another_stamp() {
        let mut sealed = three().seal(Compression::None, None, false).unwrap();
        let first = sealed.stamped(ProducerStamp { id: 1, epoch: 0, base_sequence: 0 });
        let before = first.to_vec();
        sealed.stamped(ProducerStamp { id: 1, epoch: 1, base_sequence: 0 });
        assert_eq!(first, before);
    }

    #[test]
    fn a_record_takes_no_more_than_is_said() {
        let most = BatchWriter::max_record_size(Some(b"k"), Some(b"v"), HEADERS.into_iter()).unwrap();
        let mut batch = BatchWriter::with_capacity(0);
        for timestamp in [0, i64::MIN, i64::MAX] {
            let before = batch.size();
            batch.push(timestamp, Some(b"k"), Some(b"v"), HEADERS.into_iter()).unwrap();
            assert!(batch.size() - before <= most);
        }
    }
}
