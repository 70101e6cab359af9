//! Encodes the header of a v2 batch.

use super::batch::{CHECKED, HEADER};
use super::builder::BuildError;
use super::compression::Compression;

/// The contents of a header, without its lengths and its checksum.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeaderToWrite {
    pub(super) base_offset: i64,
    pub(super) leader_epoch: i32,
    /// Without the codec.
    pub(super) attributes: i16,
    pub(super) last_offset_delta: i32,
    pub(super) base_timestamp: i64,
    pub(super) max_timestamp: i64,
    /// The producer's id, epoch and first sequence; -1 for none.
    pub(super) producer: (i64, i16, i32),
    pub(super) count: i32,
}

impl HeaderToWrite {
    /// Writes it to the first bytes of `batch`, which the records follow, compressed with `codec`.
    pub(super) fn write(&self, codec: Compression, batch: &mut [u8]) -> Result<(), BuildError> {
        self.write_unchecked(codec, batch)?;
        write_checksum(batch);
        Ok(())
    }

    /// The same without the checksum, for a batch whose producer is not known yet; [`write_producer`] also writes the checksum.
    pub(super) fn write_unchecked(&self, codec: Compression, batch: &mut [u8]) -> Result<(), BuildError> {
        // The length counts the bytes after it.
        let length = i32::try_from(batch.len().saturating_sub(12)).map_err(|_| BuildError::TooLarge)?;
        let (producer_id, producer_epoch, base_sequence) = self.producer;
        let mut fields = Fields { batch, at: 0 };
        fields.put(self.base_offset.to_be_bytes());
        fields.put(length.to_be_bytes());
        fields.put(self.leader_epoch.to_be_bytes());
        fields.put([2]);
        fields.put([0; 4]); // the checksum, written last
        fields.put((self.attributes | i16::from(codec.id())).to_be_bytes());
        fields.put(self.last_offset_delta.to_be_bytes());
        fields.put(self.base_timestamp.to_be_bytes());
        fields.put(self.max_timestamp.to_be_bytes());
        fields.put(producer_id.to_be_bytes());
        fields.put(producer_epoch.to_be_bytes());
        fields.put(base_sequence.to_be_bytes());
        fields.put(self.count.to_be_bytes());
        debug_assert_eq!(fields.at, HEADER);
        Ok(())
    }
}

/// The offset of the producer's id in a header, followed by the epoch and the first sequence.
const PRODUCER: usize = 43;

/// Overwrites a producer's id, epoch and first sequence in a complete batch, and updates its checksum.
pub(super) fn write_producer(batch: &mut [u8], (id, epoch, base_sequence): (i64, i16, i32)) {
    let mut fields = Fields { batch, at: PRODUCER };
    fields.put(id.to_be_bytes());
    fields.put(epoch.to_be_bytes());
    fields.put(base_sequence.to_be_bytes());
    write_checksum(batch);
}

fn write_checksum(batch: &mut [u8]) {
    let Some((head, checked)) = batch.split_at_mut_checked(CHECKED) else { return };
    if let Some(checksum) = head.last_chunk_mut::<4>() {
        *checksum = crc32c::crc32c(checked).to_be_bytes();
    }
}

/// Writes consecutive fields.
struct Fields<'a> {
    batch: &'a mut [u8],
    at: usize,
}

impl Fields<'_> {
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        if let Some(field) = self.batch.get_mut(self.at..).and_then(|rest| rest.first_chunk_mut::<N>()) {
            *field = bytes;
        }
        self.at = self.at.saturating_add(N);
    }
}
