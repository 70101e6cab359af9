//! Deserializes values into user types, reading them on demand.
//!
//! The requested type determines the form: a timestamp is a number for an `i64` and RFC 3339 text for a `String`. A type that
//! accepts anything (`deserialize_any`) gets the form of JSON, but bytes as bytes.

use serde::de::value::{MapDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{Deserializer, Error as _, IntoDeserializer, Visitor};

use super::access::{Variant, array, map, record};
use super::decimal;
use super::decode::{Decoder, Piece};
use super::error::{DecodeError, DecodeErrorKind};
use super::moments;
use super::program::{Op, OpId, Program};
use super::schema::Name;

pub(super) type Result<T> = std::result::Result<T, DecodeError>;

/// The next value.
pub(super) struct At<'a, 'x, 'de> {
    decoder: &'a mut Decoder<'x, 'de>,
    op: OpId,
}

/// A value after the branch of its union was read.
pub(super) struct Chosen<'a, 'x, 'de> {
    pub(super) decoder: &'a mut Decoder<'x, 'de>,
    pub(super) op: &'x Op,
    branch: Option<&'x Name>,
}

impl<'a, 'x, 'de: 'x> At<'a, 'x, 'de> {
    pub(super) fn new(decoder: &'a mut Decoder<'x, 'de>, op: OpId) -> Self {
        Self { decoder, op }
    }

    #[inline]
    fn choose(self) -> Result<Chosen<'a, 'x, 'de>> {
        let (op, branch) = self.decoder.choose(self.op)?;
        Ok(Chosen { decoder: self.decoder, op, branch })
    }
}

impl<'x, 'de: 'x> Chosen<'_, 'x, 'de> {
    #[inline]
    pub(super) fn any<V: Visitor<'de>>(self, visitor: V, charge_names: bool) -> Result<V::Value> {
        let decoder = self.decoder;
        match self.op {
            Op::Null => visitor.visit_unit(),
            Op::Boolean => visitor.visit_bool(decoder.boolean()?),
            Op::Int => visitor.visit_i32(decoder.int()?),
            Op::Long => visitor.visit_i64(decoder.long()?),
            Op::Float => visitor.visit_f32(decoder.float()?),
            Op::Double => visitor.visit_f64(decoder.double()?),
            Op::String => string(decoder, visitor),
            Op::Record(fields) => record(decoder, fields, charge_names, visitor),
            Op::Array(items) => array(decoder, *items, visitor),
            Op::Map(values) => map(decoder, *values, visitor),
            Op::Bytes => {
                let length = decoder.length()?;
                bytes(decoder, length, visitor)
            }
            Op::Enum(symbols) => visitor.visit_str(decoder.symbol(symbols)?),
            op => rare(decoder, op, visitor),
        }
    }

    /// A number, if the value is stored as one but represents something else.
    #[inline]
    fn number<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.op {
            Op::Moment(moment) if moment.is_int() => visitor.visit_i32(self.decoder.int()?),
            Op::Moment(_) => visitor.visit_i64(self.decoder.long()?),
            Op::Decimal { size, scale: 0 } => {
                let text = decimal_text(self.decoder, *size, 0)?;
                if let Ok(value) = text.parse() {
                    visitor.visit_i64(value)
                } else if let Ok(value) = text.parse() {
                    visitor.visit_u64(value)
                } else if let Ok(value) = text.parse() {
                    visitor.visit_i128(value)
                } else {
                    visitor.visit_string(text)
                }
            }
            _ => self.any(visitor, true),
        }
    }

    fn float<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.op {
            Op::Decimal { size, scale } => {
                let text = decimal_text(self.decoder, *size, *scale)?;
                match text.parse() {
                    Ok(value) => visitor.visit_f64(value),
                    Err(_) => visitor.visit_string(text),
                }
            }
            _ => self.any(visitor, true),
        }
    }

    /// Bytes as written, even if the value is normally shown as text.
    fn bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.op {
            Op::String | Op::Decimal { size: None, .. } => {
                let length = self.decoder.length()?;
                bytes(self.decoder, length, visitor)
            }
            Op::Decimal { size: Some(size), .. } => bytes(self.decoder, *size, visitor),
            Op::Uuid => bytes(self.decoder, 16, visitor),
            Op::Duration => bytes(self.decoder, 12, visitor),
            _ => self.any(visitor, true),
        }
    }

    /// A list; `Vec<u8>` and `[u8; 16]` request bytes in this way.
    pub(super) fn list<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let decoder = self.decoder;
        let taken = match self.op {
            Op::Bytes | Op::Decimal { size: None, .. } => {
                let length = decoder.length()?;
                decoder.take(length)?
            }
            Op::Fixed(size) | Op::Decimal { size: Some(size), .. } => decoder.take(*size)?,
            Op::Uuid => decoder.take(16)?,
            Op::Duration => {
                let parts = decimal::duration_parts(decoder.take(12)?);
                return visited_whole(SeqDeserializer::new(parts.into_iter()), visitor);
            }
            _ => return Chosen { decoder, ..self }.any(visitor, true),
        };
        visited_whole(SeqDeserializer::new(taken.iter().copied()), visitor)
    }

    fn fields_or_parts<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.op {
            Op::Duration => self.structure(visitor),
            _ => self.any(visitor, true),
        }
    }

    /// A record, or the parts of a duration. The names of a struct's fields belong to the type, and cost nothing.
    #[inline]
    pub(super) fn structure<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.op {
            Op::Duration => {
                let [months, days, millis] = decimal::duration_parts(self.decoder.take(12)?);
                let parts = [("months", months), ("days", days), ("millis", millis)];
                visitor.visit_map(MapDeserializer::new(parts.into_iter()))
            }
            _ => self.any(visitor, false),
        }
    }

    fn enumeration<V: Visitor<'de>>(self, variants: &'static [&'static str], visitor: V) -> Result<V::Value> {
        if let Some(variant) = self.branch.and_then(|branch| variant_of(branch, variants)) {
            return visitor.visit_enum(Variant { value: self, variant });
        }
        match (self.op, self.branch) {
            (Op::Enum(symbols), _) => {
                let symbol: StrDeserializer<'_, DecodeError> =
                    self.decoder.symbol(symbols)?.into_deserializer();
                visitor.visit_enum(symbol)
            }
            (Op::String, _) => {
                let length = self.decoder.length()?;
                let symbol: StrDeserializer<'_, DecodeError> =
                    utf8(self.decoder.take(length)?)?.into_deserializer();
                visitor.visit_enum(symbol)
            }
            (_, Some(branch)) => Err(DecodeError::custom(format!(
                "the union's branch {} is not among the variants {}",
                branch.full,
                variants.join(", ")
            ))),
            (_, None) => self.any(visitor, true),
        }
    }
}

/// The variant for a branch: with its full name, its simple name, or either in other case (`String` for `string`).
fn variant_of(branch: &Name, variants: &'static [&'static str]) -> Option<&'static str> {
    let by = |same: &dyn Fn(&str) -> bool| variants.iter().copied().find(|variant| same(variant));
    by(&|variant| *variant == *branch.full)
        .or_else(|| by(&|variant| variant == branch.simple()))
        .or_else(|| by(&|variant| variant.eq_ignore_ascii_case(branch.simple())))
}

/// Like `visit_seq`, with an error if the visitor does not read everything.
fn visited_whole<'de, V, I, T>(mut list: SeqDeserializer<I, DecodeError>, visitor: V) -> Result<V::Value>
where
    V: Visitor<'de>,
    I: Iterator<Item = T>,
    T: IntoDeserializer<'de, DecodeError>,
{
    let value = visitor.visit_seq(&mut list)?;
    list.end()?;
    Ok(value)
}

pub(super) fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| DecodeError::malformed("a string is not UTF-8"))
}

#[inline]
fn string<'x, 'de: 'x, V: Visitor<'de>>(decoder: &mut Decoder<'x, 'de>, visitor: V) -> Result<V::Value> {
    let length = decoder.length()?;
    match decoder.piece(length)? {
        Piece::Input(bytes) => visitor.visit_borrowed_str(utf8(bytes)?),
        Piece::Default(bytes) => visitor.visit_str(utf8(bytes)?),
    }
}

fn bytes<'x, 'de: 'x, V: Visitor<'de>>(
    decoder: &mut Decoder<'x, 'de>,
    length: usize,
    visitor: V,
) -> Result<V::Value> {
    match decoder.piece(length)? {
        Piece::Input(bytes) => visitor.visit_borrowed_bytes(bytes),
        Piece::Default(bytes) => visitor.visit_bytes(bytes),
    }
}

fn decimal_text<'x, 'de: 'x>(
    decoder: &mut Decoder<'x, 'de>,
    size: Option<usize>,
    scale: u32,
) -> Result<String> {
    let bytes = decoder.decimal(size)?;
    let text = decimal::format(bytes, scale);
    let text = text.ok_or_else(|| DecodeError::malformed(format!("a decimal has {} bytes", bytes.len())))?;
    // A byte can stand for a thousand zeros after the decimal point.
    decoder.charge_bytes(text.len() as u64)?;
    Ok(text)
}

/// The rarer kinds of values.
fn rare<'x, 'de: 'x, V: Visitor<'de>>(
    decoder: &mut Decoder<'x, 'de>,
    op: &'x Op,
    visitor: V,
) -> Result<V::Value> {
    match op {
        Op::LongAsFloat => visitor.visit_f32(decoder.long()? as f32),
        Op::LongAsDouble => visitor.visit_f64(decoder.long()? as f64),
        Op::FloatAsDouble => visitor.visit_f64(f64::from(decoder.float()?)),
        Op::Moment(moment) => {
            let value = if moment.is_int() { i64::from(decoder.int()?) } else { decoder.long()? };
            match moments::format(*moment, value) {
                Some(text) => visitor.visit_str(text.as_str()),
                None => visitor.visit_i64(value),
            }
        }
        Op::Fixed(size) => bytes(decoder, *size, visitor),
        Op::Decimal { size, scale } => visitor.visit_string(decimal_text(decoder, *size, *scale)?),
        Op::Uuid => visitor.visit_str(decimal::format_uuid(decoder.take(16)?).as_str()),
        Op::Duration => visitor.visit_str(decimal::format_duration(decoder.take(12)?).as_str()),
        // The others are handled by the caller, or were resolved.
        _ => Err(DecodeError::new(DecodeErrorKind::Malformed, "no value is here")),
    }
}

/// Methods that need the branch of a union first.
macro_rules! chosen_first {
    () => {
        chosen_first! {
            deserialize_i8 => number, deserialize_i16 => number, deserialize_i32 => number, deserialize_i64 => number,
            deserialize_i128 => number, deserialize_u8 => number, deserialize_u16 => number, deserialize_u32 => number,
            deserialize_u64 => number, deserialize_u128 => number, deserialize_f32 => float, deserialize_f64 => float,
            deserialize_bytes => bytes, deserialize_byte_buf => bytes, deserialize_seq => list,
            deserialize_map => fields_or_parts
        }

        serde::forward_to_deserialize_any! { bool char str string unit identifier }

        fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
            self.deserialize_any(visitor)
        }

        fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value> {
            self.choose()?.list(visitor)
        }

        fn deserialize_tuple_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            _: usize,
            visitor: V,
        ) -> Result<V::Value> {
            self.choose()?.list(visitor)
        }

        #[inline]
        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            _: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value> {
            self.choose()?.structure(visitor)
        }

        fn deserialize_enum<V: Visitor<'de>>(
            self,
            _: &'static str,
            variants: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value> {
            self.choose()?.enumeration(variants, visitor)
        }
    };
    ($($method:ident => $as:ident),*) => {
        $(#[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            self.choose()?.$as(visitor)
        })*
    };
}

impl<'x, 'de: 'x> Deserializer<'de> for At<'_, 'x, 'de> {
    type Error = DecodeError;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.choose()?.any(visitor, true)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let chosen = self.choose()?;
        match chosen.op {
            Op::Null => visitor.visit_none(),
            _ => visitor.visit_some(chosen),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.decoder.skip(self.op)?;
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    chosen_first! {}
}

impl<'x, 'de: 'x> Deserializer<'de> for Chosen<'_, 'x, 'de> {
    type Error = DecodeError;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.any(visitor, true)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.op {
            Op::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.decoder.skip_op(self.op)?;
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    chosen_first! {}
}

impl Chosen<'_, '_, '_> {
    fn choose(self) -> Result<Self> {
        Ok(self)
    }
}

/// Decodes one value, after which no bytes may follow.
pub(super) fn decode<'de, T: serde::Deserialize<'de>>(
    program: &Program,
    bytes: &'de [u8],
    budget: &super::Budget,
) -> Result<T> {
    let mut decoder = Decoder::new(program, bytes, budget);
    let value = T::deserialize(At::new(&mut decoder, program.root))?;
    decoder.finish()?;
    Ok(value)
}
