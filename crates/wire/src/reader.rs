//! [`Reader`]: decodes a broker's bytes.
//!
//! Always true:
//! - nothing is read beyond the end, or, inside a tagged field, beyond its declared size;
//! - no allocation trusts a count: an array must fit into the remaining bytes with its smallest elements, and all arrays of one
//!   message together may take a small multiple of its size;
//! - byte fields are slices of the input, never copies;
//! - the first error ends the decoding: no method loops once the bytes have run out.

use bytes::Bytes;

use crate::{DecodeError, Uuid};

/// Kafka's strings have 16-bit signed lengths; the same limit applies to the compact form.
pub(crate) const MAX_STRING: usize = i16::MAX as usize;

/// The memory for array elements per byte of message. The widest legitimate ratio is near 12 (a list of one-letter topic names:
/// 24 bytes of `String` for 2 bytes on the wire).
const MAX_EXPANSION: usize = 16;
/// Added for the smallest messages, whose ratio varies.
const EXPANSION_SLACK: usize = 64 * 1024;

/// Known tags are few and small, so that one bit each records which were seen.
const KNOWN_TAGS: u32 = 64;

/// Decodes one message from front to back.
#[derive(Clone, Debug)]
pub struct Reader {
    bytes: Bytes,
    at: usize,
    /// The position at which reading stops: the end of the bytes, or of the current tagged field.
    end: usize,
    /// The memory that array elements may still take.
    memory: usize,
    what: &'static str,
}

macro_rules! fixed {
    ($($(#[$doc:meta])* $name:ident: $ty:ty),* $(,)?) => {$(
        $(#[$doc])*
        pub fn $name(&mut self) -> Result<$ty, DecodeError> {
            Ok(<$ty>::from_be_bytes(self.array()?))
        }
    )*};
}

impl Reader {
    /// A reader of one complete message, without its length prefix.
    pub fn new(bytes: Bytes) -> Self {
        let end = bytes.len();
        let memory = end.saturating_mul(MAX_EXPANSION).saturating_add(EXPANSION_SLACK);
        Self { bytes, at: 0, end, memory, what: "message" }
    }

    /// Names the next value for errors.
    pub fn set_context(&mut self, what: &'static str) {
        self.what = what;
    }

    /// The name set last by [`set_context`](Self::set_context).
    pub fn context(&self) -> &'static str {
        self.what
    }

    /// The number of bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.end.saturating_sub(self.at)
    }

    /// The number of bytes read so far.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Checks that no bytes are left over.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(DecodeError::Trailing { what: self.what, left }),
        }
    }

    /// The next `n` bytes, sharing the message's memory.
    pub fn take(&mut self, n: usize) -> Result<Bytes, DecodeError> {
        let from = self.advance(n)?;
        Ok(self.bytes.slice(from..self.at))
    }

    /// All remaining bytes.
    pub fn rest(&mut self) -> Bytes {
        let rest = self.bytes.slice(self.at..self.end);
        self.at = self.end;
        rest
    }

    fixed! {
        /// A signed byte.
        i8: i8,
        /// A byte.
        u8: u8,
        /// Big endian, as all fixed-width numbers are.
        i16: i16,
        /// Big endian.
        u16: u16,
        /// Big endian.
        i32: i32,
        /// Big endian.
        u32: u32,
        /// Big endian.
        i64: i64,
        /// IEEE 754, big endian.
        f64: f64,
    }

    /// One byte; any value but zero is true, as in Kafka.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.u8()? != 0)
    }

    /// Sixteen bytes.
    pub fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        Ok(Uuid(self.array()?))
    }

    /// Seven bits a byte, least significant first, at most five bytes. Padding with zero bits is accepted; set bits above the
    /// 32nd are not.
    pub fn unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        let value = self.base128(32)?;
        u32::try_from(value).map_err(|_| DecodeError::Varint { what: self.what, bits: 32 })
    }

    /// Zigzag encoding of [`unsigned_varint`](Self::unsigned_varint).
    pub fn varint(&mut self) -> Result<i32, DecodeError> {
        let zigzag = self.unsigned_varint()?;
        Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }

    /// Like [`unsigned_varint`](Self::unsigned_varint), with at most ten bytes and 64 bits.
    pub fn unsigned_varlong(&mut self) -> Result<u64, DecodeError> {
        self.base128(64)
    }

    /// Zigzag encoding of [`unsigned_varlong`](Self::unsigned_varlong).
    pub fn varlong(&mut self) -> Result<i64, DecodeError> {
        let zigzag = self.unsigned_varlong()?;
        Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }

    /// A nullable string; `compact` is the form of flexible versions.
    pub fn nullable_string(&mut self, compact: bool) -> Result<Option<String>, DecodeError> {
        Ok(self.nullable_str(compact)?.map(str::to_owned))
    }

    /// The same as a slice of the input.
    pub fn nullable_str(&mut self, compact: bool) -> Result<Option<&str>, DecodeError> {
        let what = self.what;
        let length = if compact { self.compact_length()? } else { length(self.i16()?.into(), what)? };
        let Some(length) = length else { return Ok(None) };
        if length > MAX_STRING {
            return Err(DecodeError::TooLong { what, length, max: MAX_STRING });
        }
        let from = self.advance(length)?;
        let text = self.bytes.get(from..self.at).unwrap_or_default();
        str::from_utf8(text).map(Some).map_err(|_| DecodeError::NotUtf8 { what })
    }

    /// A non-nullable string, as a slice of the input.
    pub fn str(&mut self, compact: bool) -> Result<&str, DecodeError> {
        let what = self.what;
        self.nullable_str(compact)?.ok_or(DecodeError::Null { what })
    }

    /// A non-nullable string.
    pub fn string(&mut self, compact: bool) -> Result<String, DecodeError> {
        self.nullable_string(compact)?.ok_or(DecodeError::Null { what: self.what })
    }

    /// Nullable bytes, sharing the message's memory.
    pub fn nullable_bytes(&mut self, compact: bool) -> Result<Option<Bytes>, DecodeError> {
        match self.length32(compact)? {
            Some(length) => self.take(length).map(Some),
            None => Ok(None),
        }
    }

    /// Non-nullable bytes.
    pub fn bytes(&mut self, compact: bool) -> Result<Bytes, DecodeError> {
        self.nullable_bytes(compact)?.ok_or(DecodeError::Null { what: self.what })
    }

    /// The number of elements of an array, or `None` for null. The result is safe to allocate: every element needs `min_size`
    /// bytes on the wire and takes `in_memory` bytes here, and both are available.
    pub fn count(
        &mut self,
        compact: bool,
        min_size: usize,
        in_memory: usize,
    ) -> Result<Option<usize>, DecodeError> {
        let Some(count) = self.length32(compact)? else { return Ok(None) };
        let (what, left) = (self.what, self.remaining());
        // No known element is empty on the wire. If there were one, it would count as a byte.
        let min_size = min_size.max(1);
        if count.checked_mul(min_size).is_none_or(|needed| needed > left) {
            return Err(DecodeError::Count { what, count, min_size, left });
        }
        let memory = count.checked_mul(in_memory).and_then(|taken| self.memory.checked_sub(taken));
        self.memory = memory.ok_or(DecodeError::Budget { what, count })?;
        Ok(Some(count))
    }

    /// The tagged fields at the end of a flexible struct. `known` reads the value of a known tag and returns true, or returns
    /// false; unknown tags are skipped, whatever their order. The value of a known tag must have exactly its declared size.
    pub fn tagged_fields(
        &mut self,
        mut known: impl FnMut(u32, &mut Self) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        let mut seen = 0_u64;
        for _ in 0..self.unsigned_varint()? {
            let (tag, size) = (self.unsigned_varint()?, self.unsigned_varint()? as usize);
            let (outer, left) = (self.end, self.remaining());
            if size > left {
                return Err(DecodeError::Short { what: self.what, needed: size, left });
            }
            if tag < KNOWN_TAGS && seen & (1 << tag) != 0 {
                return Err(DecodeError::DuplicateTag { what: self.what, tag });
            }
            self.end = self.at.saturating_add(size);
            if known(tag, self)? {
                seen |= 1_u64.checked_shl(tag).unwrap_or(0);
                self.finish()?;
            }
            self.at = self.end;
            self.end = outer;
        }
        Ok(())
    }

    /// A 32-bit length or count; `None` for null.
    fn length32(&mut self, compact: bool) -> Result<Option<usize>, DecodeError> {
        if compact { self.compact_length() } else { length(self.i32()?.into(), self.what) }
    }

    /// A compact length: one more than the length, and zero for null.
    fn compact_length(&mut self) -> Result<Option<usize>, DecodeError> {
        Ok((self.unsigned_varint()? as usize).checked_sub(1))
    }

    fn base128(&mut self, bits: u32) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for shift in (0..bits).step_by(7) {
            let byte = self.u8()?;
            let low = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit; shifting back shows which bits would be lost.
            if (low << shift) >> shift != low {
                break;
            }
            value |= low << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Varint { what: self.what, bits })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (what, left) = (self.what, self.remaining());
        let from = self.advance(N)?;
        let bytes = self.bytes.get(from..).and_then(|rest| rest.first_chunk::<N>());
        bytes.copied().ok_or(DecodeError::Short { what, needed: N, left })
    }

    /// Moves on by `n` bytes and returns the previous position.
    fn advance(&mut self, n: usize) -> Result<usize, DecodeError> {
        let left = self.remaining();
        if n > left {
            return Err(DecodeError::Short { what: self.what, needed: n, left });
        }
        let from = self.at;
        self.at = from.saturating_add(n);
        Ok(from)
    }
}

/// -1 is null; other negative lengths are errors.
fn length(length: i64, what: &'static str) -> Result<Option<usize>, DecodeError> {
    match length {
        -1 => Ok(None),
        _ => usize::try_from(length).map(Some).map_err(|_| DecodeError::NegativeLength { what, length }),
    }
}
