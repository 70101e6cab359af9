//! Visitors of the fields of a `message!` table, which decode, encode and describe messages.
//!
//! The decoding and encoding visitors are always inlined, so that a table becomes straight-line code without unneeded parts:
//! otherwise, encoding a Fetch request of many partitions takes three times as long (`benches/messages.rs`).

use std::convert::Infallible;

use crate::{
    DecodeError, EncodeError, Encoding, Field, FieldShape, Kind, Reader, Shape, Writer, message::FieldSpec,
};

/// A message whose fields can be visited in the order of its table.
pub(crate) trait Table: Default {
    /// Passes each field to `visitor`, up to its first error.
    fn visit<V: Visitor<Self>>(visitor: &mut V) -> Result<(), V::Error>;
    /// Whether it has tagged fields, in any version.
    const HAS_TAGGED: bool;
    /// Passes only the tagged fields.
    fn visit_tagged<V: Visitor<Self>>(visitor: &mut V) -> Result<(), V::Error>;
}

pub(crate) trait Visitor<M> {
    type Error;

    fn visit<T: Field + PartialEq>(&mut self, field: TableField<M, T>) -> Result<(), Self::Error>;
}

/// A field of `M` as defined in its table.
pub(crate) struct TableField<M, T> {
    pub(crate) name: &'static str,
    /// `Message.field`, as used in errors.
    pub(crate) what: &'static str,
    pub(crate) spec: FieldSpec,
    pub(crate) default: fn() -> T,
    pub(crate) get: fn(&M) -> &T,
    pub(crate) get_mut: fn(&mut M) -> &mut T,
    /// Whether another field has the same meaning and is set.
    pub(crate) is_said_elsewhere: fn(&M) -> bool,
}

#[inline]
pub(crate) fn min_size<M: Table>(encoding: Encoding) -> usize {
    struct MinSize(Encoding, usize);

    impl<M> Visitor<M> for MinSize {
        type Error = Infallible;

        #[inline(always)]
        fn visit<T: Field + PartialEq>(&mut self, field: TableField<M, T>) -> Result<(), Infallible> {
            if field.spec.in_order(self.0) {
                self.1 += T::min_size(self.0);
            }
            Ok(())
        }
    }

    let mut visitor = MinSize(encoding, usize::from(encoding.flexible));
    let Ok(()) = M::visit(&mut visitor);
    visitor.1
}

pub(crate) fn shape<M: Table>(encoding: Encoding) -> Shape {
    struct Fields(Encoding, Vec<FieldShape>);

    // What does not depend on the type of a field is compiled once, not for each field of each message.
    impl Fields {
        fn add(&mut self, name: &'static str, spec: FieldSpec, kind: [fn(Encoding) -> Kind; 2]) {
            let (encoding, [in_order, tagged]) = (self.0, kind);
            let kind = match spec.in_order(encoding) {
                true => in_order(encoding),
                false if spec.in_tags(encoding).is_some() => tagged(encoding),
                false => return,
            };
            let kind = if spec.refuses_null(encoding) { kind.with_null(false) } else { kind };
            self.1.push(FieldShape { name, tag: spec.tag, kind, ignorable: spec.ignorable });
        }

        fn finish(mut self) -> Shape {
            self.1.sort_by_key(|field| field.tag); // stable: tagged fields come last
            Shape { flexible: self.0.flexible, fields: self.1 }
        }
    }

    impl<M> Visitor<M> for Fields {
        type Error = Infallible;

        fn visit<T: Field + PartialEq>(&mut self, field: TableField<M, T>) -> Result<(), Infallible> {
            self.add(field.name, field.spec, [T::kind, T::kind_tagged]);
            Ok(())
        }
    }

    let mut visitor = Fields(encoding, Vec::new());
    let Ok(()) = M::visit(&mut visitor);
    visitor.finish()
}

#[inline]
pub(crate) fn read<M: Table>(r: &mut Reader, encoding: Encoding) -> Result<M, DecodeError> {
    let mut message = M::default();
    M::visit(&mut InOrder { message: &mut message, io: r, encoding })?;
    if encoding.flexible && !M::HAS_TAGGED {
        r.tagged_fields(unknown)?; // not a closure: it would be compiled for each message
    } else if encoding.flexible {
        r.tagged_fields(|tag, r| {
            let mut visitor = OfTag { message: &mut message, r, encoding, tag, is_found: false };
            M::visit_tagged(&mut visitor)?;
            Ok(visitor.is_found)
        })?;
    }
    Ok(message)
}

fn unknown(_tag: u32, _: &mut Reader) -> Result<bool, DecodeError> {
    Ok(false)
}

/// Decodes or encodes the fields in wire order.
struct InOrder<'a, M, Io> {
    message: M,
    io: &'a mut Io,
    encoding: Encoding,
}

impl<M> Visitor<M> for InOrder<'_, &mut M, Reader> {
    type Error = DecodeError;

    #[inline(always)]
    fn visit<T: Field + PartialEq>(&mut self, field: TableField<M, T>) -> Result<(), DecodeError> {
        let (encoding, spec) = (self.encoding, field.spec);
        if !spec.in_order(encoding) {
            return Ok(());
        }
        self.io.set_context(field.what);
        let value = T::read(self.io, encoding)?;
        if spec.refuses_null(encoding) && value.is_null() {
            return Err(DecodeError::Null { what: field.what });
        }
        *(field.get_mut)(self.message) = value;
        Ok(())
    }
}

/// Decodes the field with a given tag, if there is one.
struct OfTag<'a, M> {
    message: &'a mut M,
    r: &'a mut Reader,
    encoding: Encoding,
    tag: u32,
    is_found: bool,
}

impl<M> Visitor<M> for OfTag<'_, M> {
    type Error = DecodeError;

    #[inline(always)]
    fn visit<T: Field + PartialEq>(&mut self, field: TableField<M, T>) -> Result<(), DecodeError> {
        if field.spec.in_tags(self.encoding) == Some(self.tag) {
            self.r.set_context(field.what);
            *(field.get_mut)(self.message) = T::read_tagged(self.r, self.encoding)?;
            self.is_found = true;
        }
        Ok(())
    }
}

#[inline]
pub(crate) fn write<M: Table>(message: &M, w: &mut Writer, encoding: Encoding) -> Result<(), EncodeError> {
    M::visit(&mut InOrder { message, io: w, encoding })?;
    if encoding.flexible {
        let mut tagged = Tagged { message, encoding, written: Vec::new() };
        M::visit_tagged(&mut tagged)?;
        w.tagged_fields(&tagged.written)?;
    }
    Ok(())
}

impl<M> Visitor<M> for InOrder<'_, &M, Writer> {
    type Error = EncodeError;

    #[inline(always)]
    fn visit<T: Field + PartialEq>(&mut self, field: TableField<M, T>) -> Result<(), EncodeError> {
        let (encoding, what) = (self.encoding, field.what);
        let version = encoding.version;
        let value = (field.get)(self.message);
        if field.spec.in_order(encoding) {
            if field.spec.refuses_null(encoding) && value.is_null() {
                return Err(EncodeError::Null { what, version });
            }
            self.io.set_context(what);
            return value.write(self.io, encoding);
        }
        let must_be_default = field.spec.must_be_default(encoding);
        if must_be_default && *value != (field.default)() && !(field.is_said_elsewhere)(self.message) {
            return Err(EncodeError::NotInVersion { what, version });
        }
        Ok(())
    }
}

/// Encodes the tagged fields that differ from their defaults, each separately.
struct Tagged<'a, M> {
    message: &'a M,
    encoding: Encoding,
    written: Vec<(u32, Writer)>,
}

impl<M> Visitor<M> for Tagged<'_, M> {
    type Error = EncodeError;

    #[inline(always)]
    fn visit<T: Field + PartialEq>(&mut self, field: TableField<M, T>) -> Result<(), EncodeError> {
        let value = (field.get)(self.message);
        if let Some(tag) = field.spec.in_tags(self.encoding)
            && *value != (field.default)()
        {
            let mut w = Writer::new();
            w.set_context(field.what);
            value.write_tagged(&mut w, self.encoding)?;
            self.written.push((tag, w));
        }
        Ok(())
    }
}
