//! Encodes one record of a v2 batch.

use super::varint::{put_varint, put_varlong, varint_len, varlong_len};

/// A record to write, with its offset and timestamp relative to the batch's.
#[derive(Clone)]
pub(super) struct RecordToWrite<'a, H> {
    pub(super) offset_delta: i32,
    pub(super) timestamp_delta: i64,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: H,
}

impl<'h, H> RecordToWrite<'_, H>
where
    H: ExactSizeIterator<Item = (&'h [u8], Option<&'h [u8]>)> + Clone,
{
    /// Its length without the length field; `None` if it is too long for the format.
    pub(super) fn len(&self) -> Option<i32> {
        let mut len = 1_usize // attributes, which are unused
            .checked_add(varlong_len(self.timestamp_delta))?
            .checked_add(varint_len(self.offset_delta))?
            .checked_add(field_len(self.key)?)?
            .checked_add(field_len(self.value)?)?
            .checked_add(varint_len(i32::try_from(self.headers.len()).ok()?))?;
        for (key, value) in self.headers.clone() {
            len = len.checked_add(field_len(Some(key))?)?.checked_add(field_len(value)?)?;
        }
        i32::try_from(len).ok()
    }

    /// Appends it. `len` is the result of [`len`](Self::len).
    pub(super) fn put(&self, out: &mut Vec<u8>, len: i32) {
        out.reserve(varint_len(len).saturating_add(usize::try_from(len).unwrap_or_default()));
        put_varint(out, len);
        out.push(0);
        put_varlong(out, self.timestamp_delta);
        put_varint(out, self.offset_delta);
        put_field(out, self.key);
        put_field(out, self.value);
        put_varint(out, length(self.headers.len()));
        for (key, value) in self.headers.clone() {
            put_field(out, Some(key));
            put_field(out, value);
        }
    }
}

fn field_len(field: Option<&[u8]>) -> Option<usize> {
    let Some(field) = field else { return Some(1) };
    varint_len(i32::try_from(field.len()).ok()?).checked_add(field.len())
}

fn put_field(out: &mut Vec<u8>, field: Option<&[u8]>) {
    let Some(field) = field else { return put_varint(out, -1) };
    put_varint(out, length(field.len()));
    out.extend_from_slice(field);
}

/// Converts a length that [`RecordToWrite::len`] has checked.
fn length(of: usize) -> i32 {
    i32::try_from(of).unwrap_or(i32::MAX)
}
