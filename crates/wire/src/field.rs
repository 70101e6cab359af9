//! [`Field`]: how each Rust type that may stand in a message table is read, written and described.

use bytes::Bytes;

use crate::{DecodeError, EncodeError, ErrorCode, Kind, Message, Reader, Uuid, Writer};

/// The version a message is read or written in, and whether that version is a flexible one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// The version.
    pub version: i16,
    /// Compact lengths and tagged fields (KIP-482).
    pub flexible: bool,
}

/// A type that a message table can use.
pub trait Field: Sized {
    /// The least it takes on the wire.
    fn min_size(encoding: Encoding) -> usize;
    /// Off the wire.
    fn read(r: &mut Reader, encoding: Encoding) -> Result<Self, DecodeError>;
    /// Onto the wire.
    fn write(&self, w: &mut Writer, encoding: Encoding) -> Result<(), EncodeError>;
    /// What it is, for [`Shape`](crate::Shape).
    fn kind(encoding: Encoding) -> Kind;

    /// Whether it is null, for fields that may be so only from some version on.
    fn is_null(&self) -> bool {
        false
    }
    /// As [`read`](Self::read), inside a tagged field.
    fn read_tagged(r: &mut Reader, encoding: Encoding) -> Result<Self, DecodeError> {
        Self::read(r, encoding)
    }
    /// As [`write`](Self::write), inside a tagged field.
    fn write_tagged(&self, w: &mut Writer, encoding: Encoding) -> Result<(), EncodeError> {
        self.write(w, encoding)
    }
    /// As [`kind`](Self::kind), inside a tagged field.
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

#[doc(hidden)] // applications see the code, and not how it is encoded
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

/// What a 32-bit length or count takes at least.
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

impl<T: Field> Field for Vec<T> {
    fn min_size(encoding: Encoding) -> usize {
        min_length(encoding)
    }
    fn read(r: &mut Reader, encoding: Encoding) -> Result<Self, DecodeError> {
        let what = r.context();
        Option::read(r, encoding)?.ok_or(DecodeError::Null { what })
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
        let Some(count) = r.count(encoding.flexible, T::min_size(encoding), size_of::<T>())? else {
            return Ok(None);
        };
        let mut elements = Vec::with_capacity(count); // the reader vouches for it
        for _ in 0..count {
            elements.push(T::read(r, encoding)?);
        }
        Ok(Some(elements))
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

/// A nullable struct has a byte before it, 1 or -1 for null. As a tagged field it has none: there, what is
/// null is absent. Some senders spell out a default that they could have left away; it says as little, and
/// reads as absent.
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
