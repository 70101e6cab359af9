//! [`Field`]: how each Rust type that may stand in a message table is read, written and described.

use bytes::Bytes;

use crate::{DecodeError, EncodeError, ErrorCode, Kind, Message, Reader, Uuid, Writer};

/// The version a message is read or written in, and whether that version is a flexible one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// The version.
    pub version: i16,
    /// Compact lengths and tagged fields (KIP-482).
    pub flexible: bool,
}

/// A type that a message table can use.
pub trait Field: Sized {
    /// The least it takes on the wire.
    fn smallest(form: Form) -> usize;
    /// Off the wire.
    fn read(r: &mut Reader, form: Form) -> Result<Self, DecodeError>;
    /// Onto the wire.
    fn write(&self, w: &mut Writer, form: Form) -> Result<(), EncodeError>;
    /// What it is, for [`Shape`](crate::Shape).
    fn kind(form: Form) -> Kind;

    /// Whether it is null, for fields that may be so only from some version on.
    fn is_null(&self) -> bool {
        false
    }
    /// As [`read`](Self::read), inside a tagged field.
    fn read_tagged(r: &mut Reader, form: Form) -> Result<Self, DecodeError> {
        Self::read(r, form)
    }
    /// As [`write`](Self::write), inside a tagged field.
    fn write_tagged(&self, w: &mut Writer, form: Form) -> Result<(), EncodeError> {
        self.write(w, form)
    }
    /// As [`kind`](Self::kind), inside a tagged field.
    fn kind_tagged(form: Form) -> Kind {
        Self::kind(form)
    }
}

macro_rules! fixed {
    ($($ty:ty = $method:ident, $size:literal, $kind:ident;)*) => {$(
        impl Field for $ty {
            fn smallest(_: Form) -> usize {
                $size
            }
            fn read(r: &mut Reader, _: Form) -> Result<Self, DecodeError> {
                r.$method()
            }
            fn write(&self, w: &mut Writer, _: Form) -> Result<(), EncodeError> {
                w.$method(*self);
                Ok(())
            }
            fn kind(_: Form) -> Kind {
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

impl Field for ErrorCode {
    fn smallest(_: Form) -> usize {
        2
    }
    fn read(r: &mut Reader, _: Form) -> Result<Self, DecodeError> {
        r.i16().map(Self::from)
    }
    fn write(&self, w: &mut Writer, _: Form) -> Result<(), EncodeError> {
        w.i16(self.code());
        Ok(())
    }
    fn kind(_: Form) -> Kind {
        Kind::I16
    }
}

impl Field for String {
    fn smallest(form: Form) -> usize {
        if form.flexible { 1 } else { 2 }
    }
    fn read(r: &mut Reader, form: Form) -> Result<Self, DecodeError> {
        r.string(form.flexible)
    }
    fn write(&self, w: &mut Writer, form: Form) -> Result<(), EncodeError> {
        w.string(form.flexible, self)
    }
    fn kind(_: Form) -> Kind {
        Kind::String { nullable: false }
    }
}

impl Field for Option<String> {
    fn smallest(form: Form) -> usize {
        String::smallest(form)
    }
    fn read(r: &mut Reader, form: Form) -> Result<Self, DecodeError> {
        r.nullable_string(form.flexible)
    }
    fn write(&self, w: &mut Writer, form: Form) -> Result<(), EncodeError> {
        w.nullable_string(form.flexible, self.as_deref())
    }
    fn kind(_: Form) -> Kind {
        Kind::String { nullable: true }
    }
    fn is_null(&self) -> bool {
        self.is_none()
    }
}

/// What a 32-bit length or count takes at least.
fn smallest_length(form: Form) -> usize {
    if form.flexible { 1 } else { 4 }
}

impl Field for Bytes {
    fn smallest(form: Form) -> usize {
        smallest_length(form)
    }
    fn read(r: &mut Reader, form: Form) -> Result<Self, DecodeError> {
        r.bytes(form.flexible)
    }
    fn write(&self, w: &mut Writer, form: Form) -> Result<(), EncodeError> {
        w.bytes(form.flexible, self)
    }
    fn kind(_: Form) -> Kind {
        Kind::Bytes { nullable: false }
    }
}

impl Field for Option<Bytes> {
    fn smallest(form: Form) -> usize {
        smallest_length(form)
    }
    fn read(r: &mut Reader, form: Form) -> Result<Self, DecodeError> {
        r.nullable_bytes(form.flexible)
    }
    fn write(&self, w: &mut Writer, form: Form) -> Result<(), EncodeError> {
        w.nullable_bytes(form.flexible, self.as_deref())
    }
    fn kind(_: Form) -> Kind {
        Kind::Bytes { nullable: true }
    }
    fn is_null(&self) -> bool {
        self.is_none()
    }
}

impl<T: Field> Field for Vec<T> {
    fn smallest(form: Form) -> usize {
        smallest_length(form)
    }
    fn read(r: &mut Reader, form: Form) -> Result<Self, DecodeError> {
        let what = r.what();
        Option::read(r, form)?.ok_or(DecodeError::Null { what })
    }
    fn write(&self, w: &mut Writer, form: Form) -> Result<(), EncodeError> {
        w.count(form.flexible, Some(self.len()))?;
        self.iter().try_for_each(|element| element.write(w, form))
    }
    fn kind(form: Form) -> Kind {
        Kind::Array { of: Box::new(T::kind(form)), nullable: false }
    }
}

impl<T: Field> Field for Option<Vec<T>> {
    fn smallest(form: Form) -> usize {
        smallest_length(form)
    }
    fn read(r: &mut Reader, form: Form) -> Result<Self, DecodeError> {
        let Some(count) = r.count(form.flexible, T::smallest(form), size_of::<T>())? else { return Ok(None) };
        let mut elements = Vec::with_capacity(count); // the reader vouches for it
        for _ in 0..count {
            elements.push(T::read(r, form)?);
        }
        Ok(Some(elements))
    }
    fn write(&self, w: &mut Writer, form: Form) -> Result<(), EncodeError> {
        match self {
            Some(elements) => elements.write(w, form),
            None => w.count(form.flexible, None),
        }
    }
    fn kind(form: Form) -> Kind {
        Vec::<T>::kind(form).with_null(true)
    }
    fn is_null(&self) -> bool {
        self.is_none()
    }
}

/// A nullable struct has a byte before it, 1 or -1 for null. As a tagged field it has none: there, what is
/// null is absent. Some senders spell out a default that they could have left away; it says as little, and
/// reads as absent.
impl<T: Message> Field for Option<T> {
    fn smallest(_: Form) -> usize {
        1
    }
    fn read(r: &mut Reader, form: Form) -> Result<Self, DecodeError> {
        match r.i8()? {
            -1 => Ok(None),
            1 => T::read(r, form).map(Some),
            byte => Err(DecodeError::Presence { what: r.what(), byte }),
        }
    }
    fn write(&self, w: &mut Writer, form: Form) -> Result<(), EncodeError> {
        w.i8(if self.is_some() { 1 } else { -1 });
        self.write_tagged(w, form)
    }
    fn kind(form: Form) -> Kind {
        T::kind(form).with_null(true)
    }
    fn is_null(&self) -> bool {
        self.is_none()
    }
    fn read_tagged(r: &mut Reader, form: Form) -> Result<Self, DecodeError> {
        let value = T::read(r, form)?;
        Ok((value != T::default()).then_some(value))
    }
    fn write_tagged(&self, w: &mut Writer, form: Form) -> Result<(), EncodeError> {
        self.as_ref().map_or(Ok(()), |value| value.write(w, form))
    }
    fn kind_tagged(form: Form) -> Kind {
        T::kind(form)
    }
}
