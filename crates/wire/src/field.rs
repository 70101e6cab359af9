//! [`Field`]: the reading, writing and description of each Rust type used in message tables.

use bytes::Bytes;

use crate::{DecodeError, EncodeError, ErrorCode, Kind, Message, Reader, Uuid, Writer};

/// The version in which a message is read or written, and whether that version is flexible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// The version.
    pub version: i16,
    /// Compact lengths and tagged fields (KIP-482).
    pub flexible: bool,
}

/// A type that a message table can use.
pub trait Field: Sized {
    /// Its smallest size on the wire.
    fn min_size(encoding: Encoding) -> usize;
    /// Reads it.
    fn read(r: &mut Reader, encoding: Encoding) -> Result<Self, DecodeError>;
    /// Writes it.
    fn write(&self, w: &mut Writer, encoding: Encoding) -> Result<(), EncodeError>;
    /// Its type, for [`Shape`](crate::Shape).
    fn kind(encoding: Encoding) -> Kind;

    /// Whether it is null, for fields that may be null only from some version on.
    fn is_null(&self) -> bool {
        false
    }
    /// Like [`read`](Self::read), inside a tagged field.
    fn read_tagged(r: &mut Reader, encoding: Encoding) -> Result<Self, DecodeError> {
        Self::read(r, encoding)
    }
    /// Like [`write`](Self::write), inside a tagged field.
    fn write_tagged(&self, w: &mut Writer, encoding: Encoding) -> Result<(), EncodeError> {
        self.write(w, encoding)
    }
    /// Like [`kind`](Self::kind), inside a tagged field.
    fn kind_tagged(encoding: Encoding) -> Kind {
        Self::kind(encoding)
    }
}

macro_rules! fixed {
    ($($ty:ty = $method:ident, $size:literal, $kind:ident;)*) => {$(
        impl Field for $ty {
            fn min_size(_: Encoding) -> usize {
                $size
            }
            fn read(r: &mut Reader, _: Encoding) -> Result<Self, DecodeError> {
                r.$method()
            }
            fn write(&self, w: &mut Writer, _: Encoding) -> Result<(), EncodeError> {
                w.$method(*self);
                Ok(())
            }
            fn kind(_: Encoding) -> Kind {
                Kind::$kind
            }
        }
    )*};
}

fixed! {
    bool = bool, 1, Bool;
    i8 = i8, 1, I8;
    i16 = i16, 2, I16;
    u16 = u16, 2, U16;
    i32 = i32, 4, I32;
    u32 = u32, 4, U32;
    i64 = i64, 8, I64;
    f64 = f64, 8, F64;
    Uuid = uuid, 16, Uuid;
}

#[doc(hidden)] // applications use the code, not its encoding
impl Field for ErrorCode {
    fn min_size(_: Encoding) -> usize {
        2
    }
    fn read(r: &mut Reader, _: Encoding) -> Result<Self, DecodeError> {
        r.i16().map(Self::from)
    }
    fn write(&self, w: &mut Writer, _: Encoding) -> Result<(), EncodeError> {
        w.i16(self.code());
        Ok(())
    }
    fn kind(_: Encoding) -> Kind {
        Kind::I16
    }
}

impl Field for String {
    fn min_size(encoding: Encoding) -> usize {
        if encoding.flexible { 1 } else { 2 }
    }
    fn read(r: &mut Reader, encoding: Encoding) -> Result<Self, DecodeError> {
        r.string(encoding.flexible)
    }
    fn write(&self, w: &mut Writer, encoding: Encoding) -> Result<(), EncodeError> {
        w.string(encoding.flexible, self)
    }
    fn kind(_: Encoding) -> Kind {
        Kind::String { nullable: false }
    }
}

impl Field for Option<String> {
    fn min_size(encoding: Encoding) -> usize {
        String::min_size(encoding)
    }
    fn read(r: &mut Reader, encoding: Encoding) -> Result<Self, DecodeError> {
        r.nullable_string(encoding.flexible)
    }
    fn write(&self, w: &mut Writer, encoding: Encoding) -> Result<(), EncodeError> {
        w.nullable_string(encoding.flexible, self.as_deref())
    }
    fn kind(_: Encoding) -> Kind {
        Kind::String { nullable: true }
    }
    fn is_null(&self) -> bool {
        self.is_none()
    }
}

/// The smallest size of a 32-bit length or count.
fn min_length(encoding: Encoding) -> usize {
    if encoding.flexible { 1 } else { 4 }
}

impl Field for Bytes {
    fn min_size(encoding: Encoding) -> usize {
        min_length(encoding)
    }
    fn read(r: &mut Reader, encoding: Encoding) -> Result<Self, DecodeError> {
        r.bytes(encoding.flexible)
    }
    fn write(&self, w: &mut Writer, encoding: Encoding) -> Result<(), EncodeError> {
        w.nullable_shared_bytes(encoding.flexible, Some(self))
    }
    fn kind(_: Encoding) -> Kind {
        Kind::Bytes { nullable: false }
    }
}

impl Field for Option<Bytes> {
    fn min_size(encoding: Encoding) -> usize {
        min_length(encoding)
    }
    fn read(r: &mut Reader, encoding: Encoding) -> Result<Self, DecodeError> {
        r.nullable_bytes(encoding.flexible)
    }
    fn write(&self, w: &mut Writer, encoding: Encoding) -> Result<(), EncodeError> {
        w.nullable_shared_bytes(encoding.flexible, self.as_ref())
    }
    fn kind(_: Encoding) -> Kind {
        Kind::Bytes { nullable: true }
    }
    fn is_null(&self) -> bool {
        self.is_none()
    }
}

/// The elements of an array, or `None` for null.
#[inline(always)]
fn elements<T: Field>(r: &mut Reader, encoding: Encoding) -> Result<Option<Vec<T>>, DecodeError> {
    let Some(count) = r.count(encoding.flexible, T::min_size(encoding), size_of::<T>())? else {
        return Ok(None);
    };
    let mut elements = Vec::with_capacity(count); // the reader has checked the count
    for _ in 0..count {
        elements.push(T::read(r, encoding)?);
    }
    Ok(Some(elements))
}

impl<T: Field> Field for Vec<T> {
    fn min_size(encoding: Encoding) -> usize {
        min_length(encoding)
    }
    fn read(r: &mut Reader, encoding: Encoding) -> Result<Self, DecodeError> {
        let what = r.context();
        elements(r, encoding)?.ok_or(DecodeError::Null { what })
    }
    fn write(&self, w: &mut Writer, encoding: Encoding) -> Result<(), EncodeError> {
        w.count(encoding.flexible, Some(self.len()))?;
        self.iter().try_for_each(|element| element.write(w, encoding))
    }
    fn kind(encoding: Encoding) -> Kind {
        Kind::Array { of: Box::new(T::kind(encoding)), nullable: false }
    }
}

impl<T: Field> Field for Option<Vec<T>> {
    fn min_size(encoding: Encoding) -> usize {
        min_length(encoding)
    }
    fn read(r: &mut Reader, encoding: Encoding) -> Result<Self, DecodeError> {
        elements(r, encoding)
    }
    fn write(&self, w: &mut Writer, encoding: Encoding) -> Result<(), EncodeError> {
        match self {
            Some(elements) => elements.write(w, encoding),
            None => w.count(encoding.flexible, None),
        }
    }
    fn kind(encoding: Encoding) -> Kind {
        Vec::<T>::kind(encoding).with_null(true)
    }
    fn is_null(&self) -> bool {
        self.is_none()
    }
}

/// A nullable struct is preceded by a byte: 1, or -1 for null. A tagged field has no such byte; null is expressed by its absence.
/// Some senders write out a default that could have been omitted; it means the same, and is read as absent.
impl<T: Message> Field for Option<T> {
    fn min_size(_: Encoding) -> usize {
        1
    }
    fn read(r: &mut Reader, encoding: Encoding) -> Result<Self, DecodeError> {
        match r.i8()? {
            -1 => Ok(None),
            1 => T::read(r, encoding).map(Some),
            byte => Err(DecodeError::Presence { what: r.context(), byte }),
        }
    }
    fn write(&self, w: &mut Writer, encoding: Encoding) -> Result<(), EncodeError> {
        w.i8(if self.is_some() { 1 } else { -1 });
        self.write_tagged(w, encoding)
    }
    fn kind(encoding: Encoding) -> Kind {
        T::kind(encoding).with_null(true)
    }
    fn is_null(&self) -> bool {
        self.is_none()
    }
    fn read_tagged(r: &mut Reader, encoding: Encoding) -> Result<Self, DecodeError> {
        let value = T::read(r, encoding)?;
        Ok((value != T::default()).then_some(value))
    }
    fn write_tagged(&self, w: &mut Writer, encoding: Encoding) -> Result<(), EncodeError> {
        self.as_ref().map_or(Ok(()), |value| value.write(w, encoding))
    }
    fn kind_tagged(encoding: Encoding) -> Kind {
        T::kind(encoding)
    }
}
