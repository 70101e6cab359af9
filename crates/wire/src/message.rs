//! [`Message`], and the `message!` tables that define every message: one entry for both directions and all versions.
//!
//! A field of a table is `name: Type [omission, versions, null from.., tag n] = default`; everything after the type is optional.
//! `[3..]`, `[..=12]` and `[3..=7]` are the versions that have the field. A nullable field is an `Option`; `null 12..` means that
//! it may be null only from that version on. Fields are listed in wire order; on the wire, tagged ones follow all others,
//! wherever they are listed in the table, lowest tag first. They are written when they differ from their default; a tagged
//! `Option` of a struct may be absent.
//!
//! A field that a version does not have is read as its default. Writing it is an error, so that nothing is sent, unless it has
//! its default, or the table allows its omission: `ignorable`, as in Kafka's schemas; `or other`, where the field `other` has the
//! same meaning in that version and is set; `optional`, where this client can do without it. Defaults are Kafka's.
//!
//! The macro only lists the fields of a struct. The code that visits them is ordinary code, in `table.rs`.

use std::fmt::Debug;

use crate::{ApiKey, DecodeError, EncodeError, Encoding, Field, Reader, Shape, Writer};

/// An inclusive range of versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Versions {
    /// The lowest version.
    pub min: i16,
    /// The highest version.
    pub max: i16,
}

impl Versions {
    /// The range from `min` to `max`.
    pub const fn new(min: i16, max: i16) -> Self {
        Self { min, max }
    }

    /// Whether `version` is in the range.
    pub const fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }

    /// The versions in both ranges, if there are any.
    pub fn intersect(self, other: Self) -> Option<Self> {
        let both = Self { min: self.min.max(other.min), max: self.max.min(other.max) };
        (both.min <= both.max).then_some(both)
    }
}

/// A request, a response, or a struct in one: anything that a `message!` table describes.
pub trait Message: Field + Clone + Debug + Default + PartialEq {
    /// Kafka's name.
    const NAME: &'static str;
    /// The supported versions.
    const VERSIONS: Versions;
    /// The first flexible version (KIP-482); beyond the last one if none is.
    const FLEXIBLE: i16;

    /// Decodes it at `version`. Bytes after it stay in the reader: [`Reader::finish`] refuses leftovers.
    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        match Self::encoding(version) {
            Some(encoding) => Self::read(r, encoding),
            None => Err(DecodeError::Version { what: Self::NAME, version }),
        }
    }

    /// Encodes it at `version`.
    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        match Self::encoding(version) {
            Some(encoding) => self.write(w, encoding),
            None => Err(EncodeError::Version { what: Self::NAME, version }),
        }
    }

    /// The encoding of `version`, if it is supported.
    fn encoding(version: i16) -> Option<Encoding> {
        Self::VERSIONS.contains(version).then_some(Encoding { version, flexible: version >= Self::FLEXIBLE })
    }

    /// The fields at `version`.
    fn shape(version: i16) -> Shape;
}

/// A request, with its API key and its response.
pub trait Api: Message {
    /// The API.
    const KEY: ApiKey;
    /// The response type.
    type Response: Message;
}

/// The properties of a field in a table, other than its type.
#[derive(Clone, Copy)]
pub(crate) struct FieldSpec {
    pub(crate) versions: Versions,
    /// The first version in which an optional field may be null.
    pub(crate) null_from: i16,
    pub(crate) tag: Option<u32>,
    /// Whether Kafka omits it in versions that do not have it, even if it is set.
    pub(crate) ignorable: bool,
    /// Whether this client does so.
    pub(crate) optional: bool,
}

impl FieldSpec {
    pub(crate) const fn over(min: i16, max: i16) -> Self {
        Self {
            versions: Versions { min, max },
            null_from: i16::MIN,
            tag: None,
            ignorable: false,
            optional: false,
        }
    }

    pub(crate) const fn null_from(self, version: i16) -> Self {
        Self { null_from: version, ..self }
    }

    pub(crate) const fn tagged(self, tag: u32) -> Self {
        Self { tag: Some(tag), ..self }
    }

    pub(crate) const fn ignorable(self) -> Self {
        Self { ignorable: true, ..self }
    }

    pub(crate) const fn optional(self) -> Self {
        Self { optional: true, ..self }
    }

    /// Whether it must have its default, because this version does not have it; unless another field has the same meaning.
    pub(crate) const fn must_be_default(self, encoding: Encoding) -> bool {
        !self.ignorable && !self.optional && !self.in_order(encoding) && self.in_tags(encoding).is_none()
    }

    /// Whether it is among the fields in wire order.
    pub(crate) const fn in_order(self, encoding: Encoding) -> bool {
        self.tag.is_none() && self.versions.contains(encoding.version)
    }

    /// Its tag, if it is among the tagged fields.
    pub(crate) const fn in_tags(self, encoding: Encoding) -> Option<u32> {
        if encoding.flexible && self.versions.contains(encoding.version) { self.tag } else { None }
    }

    pub(crate) const fn refuses_null(self, encoding: Encoding) -> bool {
        encoding.version < self.null_from
    }
}

/// Parses the properties of a field in brackets.
macro_rules! spec {
    () => { $crate::message::FieldSpec::over(i16::MIN, i16::MAX) };
    (ignorable $($rest:tt)*) => { $crate::message::spec!($($rest)*).ignorable() };
    (optional $($rest:tt)*) => { $crate::message::spec!($($rest)*).optional() };
    (or $other:ident $($rest:tt)*) => { $crate::message::spec!($($rest)*) };
    (null $($rest:tt)*) => { $crate::message::spec!(0.., null $($rest)*) };
    (tag $($rest:tt)*) => { $crate::message::spec!(0.., tag $($rest)*) };
    (..= $max:literal $($rest:tt)*) => { $crate::message::spec!(0..=$max $($rest)*) };
    ($min:literal ..= $max:literal $(, null $null:literal ..)? $(, tag $tag:literal)?) => {
        $crate::message::FieldSpec::over($min, $max)$(.null_from($null))?$(.tagged($tag))?
    };
    ($min:literal .. $(, null $null:literal ..)? $(, tag $tag:literal)?) => {
        $crate::message::FieldSpec::over($min, i16::MAX)$(.null_from($null))?$(.tagged($tag))?
    };
}

/// Whether another field of the same message has the meaning of this one.
macro_rules! said_elsewhere {
    ($name:ident, $message:ident; or $other:ident $($rest:tt)*) => {
        $message.$other != $name::default().$other
    };
    ($name:ident, $message:ident; $($rest:tt)*) => {
        false
    };
}

/// A block, if the properties of a field contain a tag.
macro_rules! if_tagged {
    ($block:block) => {};
    ($block:block tag $($rest:tt)*) => { $block };
    ($block:block $other:tt $($rest:tt)*) => { $crate::message::if_tagged!($block $($rest)*) };
}

/// Parses the default of a field.
macro_rules! default {
    () => {
        Default::default()
    };
    ($value:expr) => {
        $value
    };
}

/// Defines the structs of one API (or of one embedded protocol), which share their versions.
macro_rules! message {
    ($min:literal ..= $max:literal; $($structs:tt)*) => {
        message! { $min..=$max, flexible 32767..; $($structs)* }
    };
    (
        $min:literal ..= $max:literal, flexible $flexible:literal ..;
        $(
            $(#[$doc:meta])*
            pub struct $name:ident {
                $(
                    $(#[$field_doc:meta])*
                    $field:ident: $ty:ty $([ $($spec:tt)* ])? $(= $default:expr)?
                ),* $(,)?
            }
        )+
    ) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, reason = "fields are Kafka's; what their names do not say has a line")]
        pub struct $name {
            $( $(#[$field_doc])* pub $field: $ty, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $crate::message::default!($($default)?), )* }
            }
        }

        const _: () = {
            struct Fields;

            // Outside of the visiting functions, so that the closures are compiled once, not for each type of visitor.
            impl Fields {$(
                #[inline(always)]
                fn $field() -> $crate::table::TableField<$name, $ty> {
                    $crate::table::TableField {
                        name: stringify!($field),
                        what: concat!(stringify!($name), ".", stringify!($field)),
                        spec: const { $crate::message::spec!($($($spec)*)?) },
                        default: || $crate::message::default!($($default)?),
                        get: |message| &message.$field,
                        get_mut: |message| &mut message.$field,
                        is_said_elsewhere: |_message| $crate::message::said_elsewhere!($name, _message; $($($spec)*)?),
                    }
                }
            )*}

            impl $crate::table::Table for $name {
                #[inline(always)]
                fn visit<V: $crate::table::Visitor<Self>>(visitor: &mut V) -> Result<(), V::Error> {
                    $( visitor.visit(Fields::$field())?; )*
                    Ok(())
                }

                const HAS_TAGGED: bool = false $( || $crate::message::spec!($($($spec)*)?).tag.is_some() )*;

                #[inline(always)]
                fn visit_tagged<V: $crate::table::Visitor<Self>>(_visitor: &mut V) -> Result<(), V::Error> {
                    $( $crate::message::if_tagged!({ _visitor.visit(Fields::$field())?; } $($($spec)*)?); )*
                    Ok(())
                }
            }
        };

        impl $crate::Message for $name {
            const NAME: &'static str = stringify!($name);
            const VERSIONS: $crate::Versions = $crate::Versions::new($min, $max);
            const FLEXIBLE: i16 = $flexible;

            fn shape(version: i16) -> $crate::Shape {
                $crate::table::shape::<Self>($crate::Encoding { version, flexible: version >= Self::FLEXIBLE })
            }
        }

        impl $crate::Field for $name {
            fn min_size(encoding: $crate::Encoding) -> usize {
                $crate::table::min_size::<Self>(encoding)
            }

            fn read(r: &mut $crate::Reader, encoding: $crate::Encoding) -> Result<Self, $crate::DecodeError> {
                $crate::table::read(r, encoding)
            }

            fn write(&self, w: &mut $crate::Writer, encoding: $crate::Encoding) -> Result<(), $crate::EncodeError> {
                $crate::table::write(self, w, encoding)
            }

            fn kind(encoding: $crate::Encoding) -> $crate::Kind {
                $crate::Kind::Struct { shape: $crate::table::shape::<Self>(encoding), nullable: false }
            }
        }
    )+};
}

pub(crate) use {default, if_tagged, message, said_elsewhere, spec};
