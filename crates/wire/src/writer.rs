//! [`Writer`]: encodes values, the counterpart of [`Reader`](crate::Reader).

use bytes::{BufMut, Bytes, BytesMut};

use crate::{EncodeError, Uuid, reader::MAX_STRING};

/// Kafka's lengths and counts are signed 32-bit numbers, in the compact form too.
const MAX_LENGTH: usize = i32::MAX as usize;

/// In parts mode, byte fields of this length or more are not copied. Copying fewer bytes costs less than another part.
const PART: usize = 2048;

/// Appends to a buffer that becomes one frame or one embedded value.
#[derive(Clone, Debug)]
pub struct Writer {
    buf: BytesMut,
    /// Parts mode: the byte fields that are not in `buf`, each with its position there.
    parts: Option<Vec<(usize, Bytes)>>,
    what: &'static str,
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

macro_rules! fixed {
    ($($name:ident: $ty:ty = $put:ident),* $(,)?) => {$(
        #[doc = concat!("Big endian `", stringify!($ty), "`.")]
        pub fn $name(&mut self, value: $ty) {
            self.buf.$put(value);
        }
    )*};
}

impl Writer {
    /// An empty writer.
    pub fn new() -> Self {
        Self { buf: BytesMut::new(), parts: None, what: "message" }
    }

    /// A writer for a frame: it reserves four bytes for the length.
    pub fn frame() -> Self {
        let mut w = Self::new();
        w.i32(0);
        w
    }

    /// The same for a frame whose large byte fields are not copied: [`into_frame_parts`](Self::into_frame_parts) returns them as
    /// they are.
    pub fn frame_in_parts() -> Self {
        Self { parts: Some(Vec::new()), ..Self::frame() }
    }

    /// The frame, with its length in the bytes that [`frame`](Self::frame) reserved.
    pub fn into_frame(mut self) -> Result<Bytes, EncodeError> {
        self.write_frame_len()?;
        Ok(self.into_bytes())
    }

    /// The same as consecutive parts.
    pub fn into_frame_parts(mut self) -> Result<Vec<Bytes>, EncodeError> {
        self.write_frame_len()?;
        Ok(self.into_parts())
    }

    /// Returns the parts, none of which is empty.
    fn into_parts(self) -> Vec<Bytes> {
        let written = self.buf.freeze();
        let mut all = Vec::new();
        let mut begin = 0;
        for (at, part) in self.parts.into_iter().flatten() {
            all.extend([written.slice(begin..at), part]);
            begin = at;
        }
        all.push(written.slice(begin..));
        all.retain(|part| !part.is_empty());
        all
    }

    fn write_frame_len(&mut self) -> Result<(), EncodeError> {
        self.what = "frame";
        let length = self.checked(self.len().saturating_sub(4), MAX_LENGTH)?;
        if let Some(prefix) = self.buf.first_chunk_mut::<4>() {
            *prefix = length.to_be_bytes();
        }
        Ok(())
    }

    /// Names the next value for errors.
    pub fn set_context(&mut self, what: &'static str) {
        self.what = what;
    }

    /// The name set last by [`set_context`](Self::set_context).
    pub fn context(&self) -> &'static str {
        self.what
    }

    /// The number of bytes written.
    pub fn len(&self) -> usize {
        let parts = self.parts.iter().flatten().map(|(_, part)| part.len());
        self.buf.len().saturating_add(parts.sum())
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes written.
    pub fn into_bytes(self) -> Bytes {
        if self.parts.iter().flatten().next().is_none() {
            return self.buf.freeze();
        }
        self.into_parts().concat().into()
    }

    fixed! {
        i8: i8 = put_i8,
        u8: u8 = put_u8,
        i16: i16 = put_i16,
        u16: u16 = put_u16,
        i32: i32 = put_i32,
        u32: u32 = put_u32,
        i64: i64 = put_i64,
        f64: f64 = put_f64,
    }

    /// One byte, 0 or 1.
    pub fn bool(&mut self, value: bool) {
        self.buf.put_u8(value.into());
    }

    /// Sixteen bytes.
    pub fn uuid(&mut self, value: Uuid) {
        self.raw(&value.0);
    }

    /// Raw bytes, without a length.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buf.put_slice(bytes);
    }

    /// Seven bits a byte, least significant first.
    pub fn unsigned_varint(&mut self, value: u32) {
        self.unsigned_varlong(value.into());
    }

    /// Zigzag encoding of [`unsigned_varint`](Self::unsigned_varint).
    pub fn varint(&mut self, value: i32) {
        self.unsigned_varint(((value << 1) ^ (value >> 31)).cast_unsigned());
    }

    /// Seven bits a byte, least significant first.
    pub fn unsigned_varlong(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.buf.put_u8((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.buf.put_u8(value as u8);
    }

    /// Zigzag encoding of [`unsigned_varlong`](Self::unsigned_varlong).
    pub fn varlong(&mut self, value: i64) {
        self.unsigned_varlong(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    /// A string or null; `compact` is the form of flexible versions.
    pub fn nullable_string(&mut self, compact: bool, value: Option<&str>) -> Result<(), EncodeError> {
        let length = value.map(|text| self.checked(text.len(), MAX_STRING)).transpose()?;
        if compact {
            self.compact_length(length);
        } else {
            self.i16(length.map_or(-1, |length| length as i16)); // at most MAX_STRING
        }
        self.raw(value.unwrap_or_default().as_bytes());
        Ok(())
    }

    /// A string.
    pub fn string(&mut self, compact: bool, value: &str) -> Result<(), EncodeError> {
        self.nullable_string(compact, Some(value))
    }

    /// Bytes or null.
    pub fn nullable_bytes(&mut self, compact: bool, value: Option<&[u8]>) -> Result<(), EncodeError> {
        self.count(compact, value.map(<[u8]>::len))?;
        self.raw(value.unwrap_or_default());
        Ok(())
    }

    /// Shared bytes or null. In parts mode, large ones are not copied.
    pub fn nullable_shared_bytes(&mut self, compact: bool, value: Option<&Bytes>) -> Result<(), EncodeError> {
        let Some(value) = value.filter(|value| self.parts.is_some() && value.len() >= PART) else {
            return self.nullable_bytes(compact, value.map(|value| &value[..]));
        };
        self.count(compact, Some(value.len()))?;
        let at = self.buf.len();
        self.parts.get_or_insert_default().push((at, value.clone()));
        Ok(())
    }

    /// Bytes.
    pub fn bytes(&mut self, compact: bool, value: &[u8]) -> Result<(), EncodeError> {
        self.nullable_bytes(compact, Some(value))
    }

    /// The number of elements of an array, or null.
    pub fn count(&mut self, compact: bool, count: Option<usize>) -> Result<(), EncodeError> {
        let count = count.map(|count| self.checked(count, MAX_LENGTH)).transpose()?;
        if compact {
            self.compact_length(count);
        } else {
            self.i32(count.map_or(-1, |count| count as i32)); // at most MAX_LENGTH
        }
        Ok(())
    }

    /// Tagged fields, lowest tag first: their number, then the tag, the size and the value of each.
    pub fn tagged_fields(&mut self, fields: &[(u32, Self)]) -> Result<(), EncodeError> {
        self.unsigned_varint(fields.len() as u32); // a handful
        for (tag, value) in fields {
            let size = self.checked(value.len(), MAX_LENGTH)?;
            self.unsigned_varint(*tag);
            self.unsigned_varint(size);
            self.raw(&value.buf); // these are never in parts
        }
        Ok(())
    }

    /// A compact length: one more than the length, and zero for null.
    fn compact_length(&mut self, length: Option<u32>) {
        self.unsigned_varint(length.map_or(0, |length| length.saturating_add(1)));
    }

    fn checked(&self, length: usize, max: usize) -> Result<u32, EncodeError> {
        match u32::try_from(length) {
            Ok(fits) if length <= max => Ok(fits),
            _ => Err(EncodeError::TooLong { what: self.what, length, max }),
        }
    }
}
